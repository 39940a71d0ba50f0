package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"cratelog/build"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/forge"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
)

// bench is a user's directory: a binary of app 1.0.0, which three of four named builders made, what a log shows about
// it in app.builds, the .crates in crates/, and a zkp.toml.
type bench struct {
	t      *testing.T
	dir    string
	log    *testlog.Log
	set    *build.Set
	app    entry.Subject
	claim  entry.Build
	binary []byte
	list   build.List
	builds []int64
	src    []int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	f, err := forge.Default()
	fatalIf(t, err)
	d := &bench{t: t, dir: t.TempDir(), log: testlog.New("log.example/"+t.Name(), 1, time.Now),
		set:    &build.Set{Kind: build.Named, Name: "rebuilders"},
		binary: []byte("\x7fELF the binary")}
	t.Chdir(d.dir)
	for i := range 4 {
		m := build.Member{Name: fmt.Sprintf("b%d", i), Contact: "x@example.com"}
		k, err := build.NewVKey(m.Name, testlog.Ed25519(m.Name).Public())
		fatalIf(t, err)
		m.VKey = k.String()
		d.set.Members = append(d.set.Members, m)
	}
	raw, e, err := f.Crate("dep", "1.0.0", "// dep\n")
	fatalIf(t, err)
	put(t, "crates/dep-1.0.0.crate", string(raw))
	d.src = append(d.src, d.add(e))
	d.list = build.List{build.Crate(e.Subject)}
	lock := fmt.Sprintf("version = 4\n\n[[package]]\nname = \"app\"\nversion = \"1.0.0\"\n\n[[package]]\nname = "+
		"\"dep\"\nversion = \"1.0.0\"\n"+
		"source = \"registry+https://github.com/rust-lang/crates"+".io-index\"\nchecksum = \"%x\"\n", e.Subject.SHA256)
	raw, err = forge.Pack("app", "1.0.0", forge.Manifest("app", "1.0.0"), forge.File{Path: "Cargo.lock", Content: lock},
		forge.File{Path: "src/main.rs", Content: "fn main() {}\n"})
	fatalIf(t, err)
	put(t, "crates/app-1.0.0.crate", string(raw))
	e, err = forge.Claim(raw, "app", "1.0.0", &entry.Source{Commit: sha1.Sum([]byte("app")),
		Unproven: []string{"Cargo.lock"}})
	fatalIf(t, err)
	fatalIf(t, f.Prove(e, testlog.Must(forge.List(raw, e))))
	d.app, d.src = e.Subject, append(d.src, d.add(e))
	target := architectures[runtime.GOARCH] + "-unknown-" + systems[runtime.GOOS] + "-gnu"
	d.claim = entry.Build{Binary: "app", Target: target, Artifact: sha256.Sum256(d.binary),
		Toolchain: [32]byte{1}, Environment: [32]byte{2},
		Recipe: entry.Recipe1, Lock: sha256.Sum256([]byte(lock)), Compiled: d.list.Digest()}
	for i := range 3 {
		d.say(i, nil)
	}
	put(t, "x.policy", string(d.log.Trust("https://log.example")))
	put(t, "b.set", string(testlog.Must(d.set.Marshal())))
	d.settings("need = 3\n")
	put(t, "app", string(d.binary))
	d.write()
	return d
}

func (d *bench) add(e *entry.Entry) int64 {
	d.log.Tree.Append(testlog.Must(e.Marshal()))
	return d.log.Tree.Size() - 1
}

func (d *bench) say(member int, change func(*entry.Build)) *entry.Entry {
	d.t.Helper()
	claim, m := d.claim, d.set.Members[member]
	if change != nil {
		change(&claim)
	}
	e, err := build.Sign(testlog.Ed25519(m.Name), m.VKey, d.set, d.app, &claim)
	fatalIf(d.t, err)
	d.builds = append(d.builds, d.add(e))
	return e
}

func (d *bench) settings(more string) {
	d.t.Helper()
	put(d.t, "zkp.toml", fmt.Sprintf("version = 1\ntrust = [\"x.policy\"]\ndevelopment = true\n[builds]\nset = "+
		"\"b.set\"\ndigest = \"%x\"\n"+
		"toolchains = [\"%x\"]\nenvironments = [\"%x\"]\n%s", d.set.Digest(), d.claim.Toolchain,
		d.claim.Environment, more))
}

// write writes app.builds.
func (d *bench) write() {
	d.t.Helper()
	t := d.log.Tree
	t.Seal()
	j := &client.Joined{Checkpoint: d.log.Sign(t, t.Size(), d.log.Witnesses...), List: d.list.Marshal()}
	bundle := func(i int64) *client.Bundle {
		return testlog.Must(client.ParseBundle(t.Bundle(i, t.Size(), j.Checkpoint)))
	}
	for _, i := range d.builds {
		b := bundle(i)
		j.Builds, j.Seal, j.Version = append(j.Builds, client.Part{Index: b.Index, Entry: b.Entry, Hashes: b.Hashes}), b.Seal, b.Version
	}
	for _, i := range d.src {
		b := bundle(i)
		j.Sources = append(j.Sources, client.Part{Index: b.Index, Entry: b.Entry, Hashes: b.Hashes, Version: b.Version})
	}
	_, j.Complete = t.Map(t.Size() - 1).Prefix(index.BinaryPrefix(d.app.SHA256, d.claim.Binary, d.claim.Target))
	put(d.t, "app.builds", string(testlog.Must(j.Marshal())))
}

// does runs a verb under the bench's policy and checks its exit code, that it says words, and, behind a "!", that it does not.
func (d *bench) does(code outcome.Code, words []string, args ...string) string {
	d.t.Helper()
	return zkpSays(d.t, code, words, append([]string{"zkp", args[0], "--policy", "zkp.toml"}, args[1:]...)...)
}

func TestABinaryIsVerifiedAsItsBuildersSay(t *testing.T) {
	d := newBench(t)
	offline := []string{"verify", "--binary", "app", "--crates", "crates", "--offline"}
	said := []string{"Verified app: the binary app of app v1.0.0 for ", "3 of 4 of set rebuilders say so: b0, b1, " +
		"b2", "this log, as of ", "shows no other result", "1 crate compiled, 1 proven", "versions chosen by whoever packaged, not proven",
		"offline: what the log shows was cosigned",
		"Finished app is what 3 of 4 builders make of app v1.0.0, whose source is", "UNSAFE development keys"}
	d.does(outcome.OK, said, append(offline, "app@1.0.0")...)
	d.does(outcome.OK, append(said, "compiled dep v1.0.0: commit ", "toolchain 0100"), append(offline,
		"app@1.0.0", "-v", "--bin", "app", "--bundle", "app.builds")...)
	// Whose binary it is must be said.
	d.does(outcome.Refused, []string{"it is the binary app of app v1.0.0 of the registry default, and nobody said " +
		"that this is the crate that you want", "pass app@1.0.0", "--any"},
		offline...)
	d.does(outcome.OK, said, append(offline, "--any")...)
	d.does(outcome.Refused, []string{"another crate: the entries are about binaries of app 1.0.0", "wanted is " +
		"app2 1.0.0"}, append(offline, "app2@1.0.0")...)
	d.does(outcome.Refused, []string{"wanted is app2"}, append(offline, "app@1.0.0", "--bin", "app2")...)
	var v struct {
		Name, Set string
		Agree     []struct{ Member string }
		Compiled  []struct{ Proven bool }
		ByCommit  *bool `json:"versions_by_commit"`
	}
	fatalIf(t, json.Unmarshal([]byte(d.does(outcome.OK, nil, append(offline, "-q", "app@1.0.0",
		"--message-format", "json")...)), &v))
	if v.Name != "app" || v.Set != "rebuilders" || len(v.Agree) != 3 || v.Agree[2].Member != "b2" ||
		!v.Compiled[0].Proven || v.ByCommit == nil || *v.ByCommit {
		t.Errorf("%+v", v)
	}

	d.settings("need = 4\n")
	d.does(outcome.Refused, []string{"3 of 4 of set rebuilders say that this is app", "the policy needs 4"},
		append(offline, "app@1.0.0")...)
	d.settings("need = 3\n")
	fatalIf(t, os.Remove("crates/dep-1.0.0.crate"))
	d.does(outcome.Refused, []string{"dep 1.0.0 (logged, its files not checked here)"}, append(offline, "app@1.0.0")...)
	d.settings("need = 3\nrequire-source = \"crate\"\n")
	d.does(outcome.OK, []string{"1 crate compiled, 0 proven, 1 not: dep 1.0.0 (logged, its files not checked " +
		"here)"}, append(offline, "app@1.0.0")...)
	put(t, "app", string(d.binary)+"x")
	d.does(outcome.Refused, []string{"no builder made that", fmt.Sprintf("they made %x", d.claim.Artifact),
		"!Finished"}, append(offline, "app@1.0.0")...)
	fatalIf(t, os.Remove("app.builds"))
	d.does(outcome.Unchecked, []string{"app.builds", "name the file of builds with --bundle"}, append(offline,
		"app@1.0.0")...)
}

func TestMistakesAboutBinariesAreTold(t *testing.T) {
	d := newBench(t)
	d.does(outcome.Usage, []string{"--deny-unproven is not for a binary"}, "verify", "--binary", "app",
		"--deny-unproven")
	d.does(outcome.Usage, []string{"--locked is not for a binary"}, "verify", "--binary", "app", "--locked")
	d.does(outcome.Usage, []string{"--join is for a binary"}, "verify", "--join", "x")
	d.does(outcome.Usage, []string{`not "app"`}, "verify", "--binary", "app", "app")
	d.does(outcome.Usage, []string{"human or json for a binary"}, "verify", "--binary", "app", "--message-format",
		"sarif")
	d.does(outcome.Unchecked, []string{"nothing"}, "verify", "--binary", "nothing", "app@1.0.0")
	d.does(outcome.Usage, []string{"one exact version"}, "install", "app")
	d.does(outcome.Usage, []string{"--slsa is of a file of builds"}, "show", "--slsa", "app@1.0.0")
	put(t, "zkp.toml", "version = 1\ntrust = [\"x.policy\"]\n")
	d.does(outcome.Usage, []string{"zkp.toml has no table [builds], so nobody is believed about binaries"},
		"verify", "--binary", "app", "app@1.0.0")
}

func TestABinaryIsInstalledOnlyIfItSatisfiesThePolicy(t *testing.T) {
	d := newBench(t)
	install := func(more ...string) []string {
		return append([]string{"install", "app@1.0.0", "--binary", "app", "--crates", "crates", "--offline",
			"--root", "root"}, more...)
	}
	at := filepath.Join("root", "bin", "app")
	d.does(outcome.OK, []string{"3 of 4 of set rebuilders", "Installed app of app v1.0.0 as " + at}, install()...)
	if info, err := os.Stat(at); err != nil || info.Mode().Perm()&0o111 == 0 ||
		!bytes.Equal(testlog.Must(os.ReadFile(at)), d.binary) {
		t.Errorf("%v", err)
	}
	d.does(outcome.OK, []string{"already is this binary"}, install()...)
	put(t, at, "other")
	d.does(outcome.Refused, []string{"is there already and is another file; --force replaces it"}, install()...)
	d.does(outcome.OK, nil, install("--force")...)
	fatalIf(t, os.RemoveAll("root"))

	put(t, "app", string(d.binary)+"x")
	d.does(outcome.Refused, []string{"no builder made that", "!Installed"}, install()...)
	put(t, "app", string(d.binary))
	d.settings("need = 4\n")
	d.does(outcome.Refused, []string{"the policy needs 4", "!Installed"}, install()...)
	d.settings("need = 3\n")
	if _, err := os.Stat("root"); err == nil {
		t.Error("something was installed")
	}
	server := httptest.NewServer(http.FileServer(http.Dir(".")))
	defer server.Close()
	web := []string{"install", "app@1.0.0", "--binary", server.URL + "/app", "--crates", "crates", "--bundle",
		"app.builds", "--root", "root"}
	d.does(outcome.OK, []string{"Downloading http://127.0.0.1", "Installed app"}, web...)
	web[3] = server.URL + "/nothing"
	d.does(outcome.Unchecked, []string{"the server answered 404"}, web...)
	web[3] = "http://example.com/app"
	d.does(outcome.Usage, []string{"takes a file or an https URL"}, web...)
	if err := runsHere("wasm32-wasip1"); err == nil || !strings.Contains(err.Error(), "would not run here") {
		t.Error(err)
	}
}

// Where builders disagree, whoever installs finds out himself.
func TestADissentIsSettledByRebuildingHere(t *testing.T) {
	d := newBench(t)
	d.say(3, func(b *entry.Build) { b.Artifact[0] ^= 1 })
	d.write()
	real := rebuildHere
	defer func() { rebuildHere = real }()
	content, failed := d.binary, error(nil)
	rebuildHere = func(_ context.Context, _ *shell, o *installOptions, spec string) (string, []byte, error) {
		if spec != "app@1.0.0" {
			t.Errorf("%q is rebuilt", spec)
		}
		return "app", content, failed
	}
	args := []string{"install", "app@1.0.0", "--binary", "app", "--crates", "crates", "--offline", "--root", "root"}
	d.does(outcome.OK, []string{"and 1 say that the same build makes another result", ", by b3", "it is rebuilt " +
		"here instead", "is app, byte for byte", "Installed app"}, args...)
	content = []byte("mine")
	d.does(outcome.OK, []string{"what was rebuilt here is NOT app", "Installed app"}, append(args, "--force")...)
	if !bytes.Equal(testlog.Must(os.ReadFile("root/bin/app")), content) {
		t.Error("another binary than the rebuilt one was installed")
	}
	failed = outcome.Refusef("both runs made another binary")
	d.does(outcome.Refused, []string{"both runs made another binary", "!Installed"}, append(args, "--force")...)
	// Without a binary it is rebuilt in any case.
	failed = nil
	d.does(outcome.OK, []string{"Installed app of app v1.0.0", "!rebuilders"}, "install", "app@1.0.0", "--root",
		"root2")
}

func TestWhatAFileOfBuildsHoldsIsShown(t *testing.T) {
	d := newBench(t)
	e := d.say(3, func(b *entry.Build) { b.Artifact = [32]byte{0xab} })
	d.write()
	d.does(outcome.OK, []string{"app v1.0.0", "log.example/" + t.Name() + ", 8 entries, as of ",
		fmt.Sprintf("entry 2:     %x by b0 of set rebuilders", d.claim.Artifact),
		"entry 6:     ab0000", "by b3 of set rebuilders", "dep v1.0.0, its source is entry 0", "cargo zkp verify " +
			"--binary FILE --bundle app.builds"}, "show", "app.builds")
	put(t, "app.entry", string(testlog.Must(e.Marshal())))
	d.does(outcome.OK, []string{"binary:      app for ", "said by:     b3 of set rebuilders", "proof:       " +
		"holds; whether a log has the entry is not known"}, "show", "app.entry")
	e.Proof.Parts[1][10] ^= 1
	put(t, "app.entry", string(testlog.Must(e.Marshal())))
	d.does(outcome.Refused, []string{"its proof does not hold"}, "show", "app.entry")
	put(t, "app.entry", string(d.log.Tree.Leaves[0]))
	d.does(outcome.Refused, []string{"is a claim about the source of dep v1.0.0"}, "show", "app.entry")
	// A list of nobody's is not shown as if the builders had said it.
	j := testlog.Must(client.ParseJoined(testlog.Must(os.ReadFile("app.builds"))))
	j.List = nil
	put(t, "app.builds", string(testlog.Must(j.Marshal())))
	d.does(outcome.Refused, []string{"its list of compiled crates has the SHA-256 e3b0", "none of its entries is of that"},
		"show", "app.builds")
	put(t, "app.builds", "x")
	d.does(outcome.Refused, []string{"malformed file of builds"}, "show", "app.builds")
}

func TestProvenanceIsOfWhatWasVerified(t *testing.T) {
	d := newBench(t)
	out := d.does(outcome.OK, nil, "show", "--slsa", "-q", "--crates", "crates", "--offline", "app.builds")
	var s statement
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	fatalIf(t, dec.Decode(&s))
	b := s.Predicate.BuildDefinition
	if s.Type != "https://in-toto.io/Statement/v1" || s.PredicateType != "https://slsa.dev/provenance/v1" ||
		len(s.Subject) != 1 ||
		s.Subject[0].Digest["sha256"] != fmt.Sprintf("%x", d.claim.Artifact) ||
		b.BuildType != "urn:cratelog:build:recipe:1" ||
		s.Predicate.RunDetails.Builder.ID != fmt.Sprintf("urn:cratelog:builders:rebuilders:%x", d.set.Root()) {
		t.Errorf("%+v", s)
	}
	for key, want := range map[string]any{"registry": "default", "crate": "app", "version": "1.0.0",
		"binary": "app", "target": d.claim.Target, "recipe": 1.0} {
		if b.ExternalParameters[key] != want {
			t.Errorf("the external parameter %s is %v", key, b.ExternalParameters[key])
		}
	}
	var uris []string
	for _, dep := range b.ResolvedDependencies {
		uris = append(uris, dep.Name+dep.URI)
		if len(dep.Digest["sha256"]) != 64 {
			t.Errorf("%+v has no digest", dep)
		}
	}
	if got := strings.Join(uris, " "); got != "pkg:cargo/app@1.0.0 Cargo.lock toolchain environment "+
		"pkg:cargo/dep@1.0.0" {
		t.Error(got)
	}
	if by := s.Predicate.RunDetails.Byproducts; len(by) != 3 || by[0].Annotations["member"] != "b0" {
		t.Errorf("%+v", by)
	}
	if url := packageURL(entry.Subject{Registry: "https://registry.example.com", Name: "x", Version: "1.0.0+y"}); url !=
		"pkg:cargo/x@1.0.0%2By?repository_url=https%3A%2F%2Fregistry.example.com" {
		t.Error(url)
	}
	// What does not satisfy the policy has no provenance.
	d.settings("need = 4\n")
	d.does(outcome.Refused, []string{"the policy needs 4", "!in-toto"}, "show", "--slsa", "--crates", "crates",
		"--offline", "app.builds")
}

// serve has the bench's log answer about builds, under the address that the trust file names.
func (d *bench) serve() {
	server := httptest.NewServer(d.log)
	d.t.Cleanup(server.Close)
	put(d.t, "x.policy", string(d.log.Trust(server.URL)))
	d.log.Publish()
	d.log.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		var body any
		switch r.URL.Path {
		case "/v1/crates/app/1.0.0/builds":
			rows := []object{}
			for _, i := range d.builds {
				e := testlog.Must(entry.Parse(d.log.Tree.Leaves[i]))
				b := e.Claim.(*entry.Build)
				row := object{"index": i, "binary": b.Binary, "target": b.Target}
				for key, h := range map[string][32]byte{"program": e.Proof.Program, "artifact": b.Artifact,
					"compiled": b.Compiled, "root": b.Root, "tag": b.Tag,
					"request": testlog.Must(b.Request(e.Subject)), "result": b.Result()} {
					row[key] = fmt.Sprintf("%x", h)
				}
				rows = append(rows, row)
			}
			body = object{"builds": rows, "size": d.log.Tree.Size()}
		case fmt.Sprintf("/v1/artifacts/%x", d.claim.Artifact):
			row := object{"registry": d.app.Registry, "name": "app", "version": "1.0.0",
				"sha256": fmt.Sprintf("%x", d.app.SHA256), "binary": "app",
				"target": d.claim.Target, "index": d.builds[0]}
			body = object{"artifacts": []object{row, row}}
		case fmt.Sprintf("/v1/lists/%x", d.claim.Compiled):
			w.Write(d.list.Marshal())
			return true
		case "/v1/crates/app/1.0.0":
			size := d.log.Tree.Size()
			w.Write(d.log.Tree.Bundle(d.src[1], size, d.log.Sign(d.log.Tree, size, d.log.Witnesses...)))
			return true
		default:
			return false
		}
		fatalIf(d.t, json.NewEncoder(w).Encode(body))
		return true
	})
}

func TestWhatALogShowsOfABinaryIsVerifiedAndJoined(t *testing.T) {
	d := newBench(t)
	want := testlog.Must(os.ReadFile("app.builds"))
	fatalIf(t, os.Remove("app.builds"))
	d.serve()
	ask := []string{"verify", "--binary", "app", "--crates", "crates"}
	d.does(outcome.OK, []string{"Written app.builds, what the log shows about it", "3 of 4 of set rebuilders say " +
		"so", "!offline:"}, append(ask, "app@1.0.0", "--join", "app.builds")...)
	if got := testlog.Must(os.ReadFile("app.builds")); !bytes.Equal(got, want) {
		t.Errorf("another file of builds, of %d bytes, was joined", len(got))
	}
	d.does(outcome.Refused, []string{"Found app@1.0.0, which is said to make this binary", "3 of 4", "nobody said " +
		"that this is the crate that you want"}, ask...)
	d.does(outcome.OK, []string{"Found app@1.0.0"}, append(ask, "--any")...)
	put(t, "app", "another")
	d.does(outcome.Refused, []string{"no build that the logs show makes a binary with the SHA-256"}, ask...)
	d.does(outcome.Refused, []string{"no builder made that of app of app 1.0.0"}, append(ask, "app@1.0.0")...)
	d.does(outcome.Refused, []string{"shows no build of app 1.0.1", "Rebuild it with cargo zkp rebuild"},
		append(ask, "app@1.0.1")...)
	d.log.Intercept(testlog.Answer("/v1/crates/", http.StatusInternalServerError, nil))
	d.does(outcome.Unchecked, []string{"did not say which builds it holds"}, append(ask, "app@1.0.0")...)
}
