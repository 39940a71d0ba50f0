package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/loopback"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
	"cratelog/log"
	"cratelog/proofcheck"
)

// mirrors is a log that holds fixture crates, an empty one, and a user whose cargo has a registry.
type mirrors struct {
	t        *testing.T
	from, to *loopback.World
	registry *registrytest.Registry
	home     string // cargo's
}

var mirrored = [][2]string{{"hello-proof", "0.1.0"}, {"hello-proof", "0.1.1"}, {"hello-inner", "0.1.0"}}

func newMirrors(t *testing.T, programs ...proofcheck.Program) *mirrors {
	t.Helper()
	m := &mirrors{t: t, registry: registrytest.New(t), home: t.TempDir()}
	var err error
	m.from, err = loopback.Start(t.Context(), loopback.Config{Origin: "from.example/log", Dir: t.TempDir()})
	fatalIf(t, err)
	t.Cleanup(func() { fatalIf(t, m.from.Close()) })
	m.to, err = loopback.Start(t.Context(), loopback.Config{Origin: "to.example/log", Dir: t.TempDir(), Programs: programs})
	fatalIf(t, err)
	t.Cleanup(func() { fatalIf(t, m.to.Close()) })
	for _, c := range mirrored {
		name := c[0] + "-" + c[1]
		var opened []byte
		if name == "hello-proof-0.1.0" {
			opened = fixture.Read(t, name+".opening")
		}
		raw := fixture.Crate(t, c[0], c[1])
		_, err := (&client.Log{URL: m.from.URL}).Submit(t.Context(), fixture.Read(t, name+".entry"), raw, opened)
		fatalIf(t, err)
		m.registry.AddCrate(raw)
	}
	t.Setenv("CARGO_HOME", m.home)
	put(t, filepath.Join(m.home, "config.toml"), "[source.crates-io]\nreplace-with = \"r\"\n[source.r]\nregistry = \"sparse+"+
		m.registry.Index+"\"\n")
	return m
}

// run mirrors, wants an exit code, and words on standard error.
func (m *mirrors) run(from string, code outcome.Code, words []string, args ...string) string {
	m.t.Helper()
	var out bytes.Buffer
	got := run(m.t.Context(), append([]string{"mirror-entries", from, m.to.URL}, args...), &out, &out)
	tells(m.t, out.String(), words...)
	if got != int(code) || m.t.Failed() {
		m.t.Fatalf("exit code %d, wanted %d:\n%s", got, code, &out)
	}
	return out.String()
}

// entriesOf says how many entries a log has.
func entriesOf(t *testing.T, url string) (n int64) {
	t.Helper()
	_, leaves, err := (&client.Log{URL: url}).Entries(t.Context())
	fatalIf(t, err)
	for leaf, err := range leaves {
		fatalIf(t, err)
		if _, err := entry.Parse(leaf); err == nil {
			n++
		}
	}
	return n
}

func TestEntriesAndOpeningsMoveOnce(t *testing.T) {
	m := newMirrors(t)
	// One .crate lies in cargo's cache, among which another lies in its place; two are downloaded.
	put(t, filepath.Join(m.home, "registry", "cache", "a", "hello-proof-0.1.0.crate"), "another")
	put(t, filepath.Join(m.home, "registry", "cache", "b", "hello-proof-0.1.0.crate"), string(helloProof(t)))
	m.run(m.from.URL, outcome.OK, []string{"3 moved, 0 were there"}, "--jobs", "2")
	for _, r := range m.registry.Requests() {
		if strings.Contains(r, "hello-proof/0.1.0") {
			t.Errorf("what is in the cache was asked of the registry: %s", r)
		}
	}
	if n := entriesOf(t, m.to.URL); n != 3 {
		t.Errorf("TO has %d entries", n)
	}
	log := &client.Log{URL: m.to.URL}
	bundle, err := log.Bundle(t.Context(), client.Query{Name: "hello-proof", Version: "0.1.0"})
	fatalIf(t, err)
	_, err = client.Verify(helloProof(t), bundle, m.to.Policy, m.to.Proofs, client.DefaultRules())
	fatalIf(t, err)
	id, err := fixture.Entry(t, "hello-proof-0.1.0").Identity()
	fatalIf(t, err)
	opened, err := log.Opening(t.Context(), id)
	if err != nil || !bytes.Equal(opened, fixture.Read(t, "hello-proof-0.1.0.opening")) {
		t.Errorf("the opening of TO: %d bytes, %v", len(opened), err)
	}
	before := len(m.registry.Requests())
	m.run(m.from.URL, outcome.OK, []string{"0 moved, 3 were there"})
	if after := len(m.registry.Requests()); after != before {
		t.Errorf("a second time it asks the registry %d times", after-before)
	}
}

func TestOnlyWhatIsLockedMoves(t *testing.T) {
	m := newMirrors(t)
	sum := fixture.Entry(t, "hello-proof-0.1.0").Subject.SHA256
	t.Chdir(t.TempDir())
	pkg := func(name, version, source string, sum [32]byte) string {
		return fmt.Sprintf("\n[[package]]\nname = %q\nversion = %q\nsource = %q\nchecksum = \"%x\"\n", name, version, source, sum)
	}
	crates := "registry+https://github.com/rust-lang/crates" + ".io-index"
	put(t, "Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\n")
	put(t, "src/lib.rs", "")
	put(t, "Cargo.lock", "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n"+
		pkg("hello-inner", "0.1.0", crates, [32]byte{1})+
		pkg("hello-proof", "0.1.0", crates, sum)+
		pkg("secret", "0.1.0", "sparse+https://registry.example/index/", [32]byte{2})+
		pkg("unknown", "1.0.0", crates, [32]byte{3}))
	var mu sync.Mutex
	var asked []string
	from := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		http.Redirect(w, r, r.URL.Path, http.StatusTeapot)
	}))
	defer from.Close()
	m.run(m.from.URL, outcome.Refused, []string{"1 moved, 0 were there", "hello-inner v0.1.0: FROM holds hello-inner 0.1.0 with SHA-256",
		"1 entry is of crates of other registries", "secret v0.1.0", "1 entry is of crates that FROM does not hold", "unknown v1.0.0"}, "--lock")
	if n := entriesOf(t, m.to.URL); n != 1 {
		t.Errorf("TO has %d entries", n)
	}
	m.run(from.URL, outcome.Unchecked, []string{"cannot be read", "run the same command again"}, "--lock")
	for _, path := range asked {
		if strings.Contains(path, "secret") {
			t.Errorf("FROM was told of a crate of another registry: %s", path)
		}
	}
	if len(asked) == 0 {
		t.Error("FROM was not asked, so this sees nothing")
	}
}

func TestWhatTOCannotVerifyIsNotUploaded(t *testing.T) {
	f, err := forge.Invent("other", proofcheck.OriginSolo+"Other", 8)
	fatalIf(t, err)
	m := newMirrors(t, f.Program())
	m.run(m.from.URL, outcome.Refused, []string{"3 entries are of programs that TO does not accept", "0 moved"})
	if n := len(m.registry.Requests()); n != 0 {
		t.Errorf("%d requests for what TO would refuse", n)
	}
}

// TestWhatTheRegistryOfTOListsMoves, and nothing else; the rest goes on.
func TestWhatTheRegistryOfTOListsMoves(t *testing.T) {
	m := newMirrors(t)
	registries := []log.Registry{{Subject: "default", Index: m.registry.Index}}
	fatalIf(t, m.to.Log.SetRegistries(registries, 0))
	// In cargo's cache lies what the registry deleted, and what it lists otherwise.
	for _, c := range mirrored {
		put(t, filepath.Join(m.home, "registry", "cache", "a", c[0]+"-"+c[1]+".crate"), string(fixture.Crate(t, c[0], c[1])))
	}
	m.registry.Hide("hello-proof", "0.1.0", true)
	m.registry.SetChecksum("hello-inner", "0.1.0", [32]byte{1})
	m.run(m.from.URL, outcome.Refused, []string{"2 entries are not what the registries list that TO asks", "hello-proof v0.1.0", "not-in-registry",
		"hello-inner v0.1.0", "registry-mismatch", "1 moved"})
	if n := entriesOf(t, m.to.URL); n != 1 {
		t.Errorf("TO has %d entries", n)
	}
	m.registry.Hide("hello-proof", "0.1.0", false)
	m.registry.SetChecksum("hello-inner", "0.1.0", fixture.Entry(t, "hello-inner-0.1.0").Subject.SHA256)
	fatalIf(t, m.to.Log.SetRegistries(registries, 0))
	m.run(m.from.URL, outcome.OK, []string{"2 moved, 1 were there"})
}

func TestACrateThatCannotBeHadIsLeft(t *testing.T) {
	m := newMirrors(t)
	m.registry.Swap("hello-inner", "0.1.0", []byte("another"))
	m.run(m.from.URL, outcome.Unchecked, []string{"2 moved", "1 entry is of crates whose .crate cannot be had", "hello-inner v0.1.0"})
	m.registry.Swap("hello-inner", "0.1.0", fixture.Crate(t, "hello-inner", "0.1.0"))
	m.run(m.from.URL, outcome.OK, []string{"1 moved, 2 were there"})
}

// hostile serves entries that a log could make up, under a checkpoint without a signature.
func hostile(t *testing.T, size int, entries ...[]byte) string {
	t.Helper()
	var tile []byte
	for _, e := range entries {
		tile = append(binary.BigEndian.AppendUint16(tile, uint16(len(e))), e...)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/checkpoint":
			fmt.Fprintf(w, "evil.example\n%d\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u2014 evil.example AAAA\n", size)
		case strings.HasPrefix(r.URL.Path, "/tile/entries/"):
			w.Write(tile)
		default:
			w.WriteHeader(http.StatusOK) // of openings, too
			fmt.Fprint(w, "nonsense")
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAHostileFROMMovesOnlyWhatIsTrue(t *testing.T) {
	m := newMirrors(t)
	good := fixture.Read(t, "hello-proof-0.1.0.entry")
	false1 := fixture.Entry(t, "hello-inner-0.1.0")
	false1.Proof.Parts[0] = bytes.Clone(fixture.Entry(t, "hello-proof-0.1.1").Proof.Parts[0])
	moved, err := false1.Marshal()
	fatalIf(t, err)
	out := m.run(hostile(t, 4, []byte("no entry"), good, moved, nil), outcome.Refused,
		[]string{"1 moved", "3 entries are false", "entry 0: ", "entry 3: ", "hello-inner v0.1.0", "without its opening"})
	if n := entriesOf(t, m.to.URL); n != 1 {
		t.Errorf("TO has %d entries:\n%s", n, out)
	}
	for what, url := range map[string]string{
		"fewer entries than it says": hostile(t, 5, good),
		"a tile that is cut":         hostile(t, 1),
	} {
		t.Run(what, func(t *testing.T) {
			m.t = t
			m.run(url, outcome.Unchecked, []string{"cannot be read", "run the same command again to go on"})
		})
	}
}

func TestMirroringNeedsTwoLogs(t *testing.T) {
	for want, args := range map[string][]string{
		"takes two arguments": {"https://a.example"},
		"are one log":         {"https://a.example", "https://a.example/"},
		"--jobs is 1 to 64":   {"https://a.example", "https://b.example", "--jobs", "0"},
		"is for --lock":       {"https://a.example", "https://b.example", "--manifest-path", "Cargo.toml"},
	} {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"mirror-entries"}, args...), &out, &out)
		if code != int(outcome.Usage) || !strings.Contains(out.String(), want) {
			t.Errorf("%v: exit code %d, %s", args, code, &out)
		}
	}
}

// What a company's log holds of its own registry is nobody's business unless it is named.
func TestTOHearsOfNoOtherRegistryUnlessItIsNamed(t *testing.T) {
	asked := false
	to := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked = true
		http.NotFound(w, nil)
	}))
	defer to.Close()
	const index = "sparse+https://registry.example/index/"
	e := fixture.Entry(t, "hello-proof-0.1.0")
	e.Subject.Registry = entry.Registry(index)
	raw, err := e.Marshal()
	fatalIf(t, err)
	m := &mirror{to: &client.Log{URL: to.URL}, programs: [][32]byte{e.Proof.Program}, cached: crateSource{offline: true},
		tell: map[string]bool{entry.DefaultRegistry: true}, ended: map[cause][]string{}}
	if err := m.raw(t.Context(), raw, "it"); err != nil || asked || len(m.ended[otherRegistry]) != 1 {
		t.Errorf("%v, asked: %v, %v", err, asked, m.ended)
	}
	m.tell[entry.Registry(index)] = true
	if err := m.raw(t.Context(), raw, "it"); err == nil || !asked {
		t.Errorf("named: %v, asked: %v, %v", err, asked, m.ended)
	}
}
