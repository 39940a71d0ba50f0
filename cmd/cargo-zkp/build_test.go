package main

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/loopback"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
)

// depot is a running log that holds fixture crates, a registry, and a user's directories
// of his own.
type depot struct {
	t        *testing.T
	log      *loopback.World
	registry *registrytest.Registry
	address  string // where a proxy may listen
	home     string // cargo's
}

func newDepot(t *testing.T) *depot {
	t.Helper()
	fixture.Need(t, "cargo")
	dir := t.TempDir()
	w, err := loopback.Start(t.Context(), loopback.Config{Origin: "depot.example/log", Dir: t.TempDir()})
	fatalIf(t, err)
	t.Cleanup(func() { fatalIf(t, w.Close()) })
	d := &depot{t: t, log: w, registry: registrytest.New(t), home: filepath.Join(dir, "cargo")}
	for name, value := range map[string]string{
		"CARGO_HOME": d.home, "XDG_CACHE_HOME": filepath.Join(dir, "cache"), "XDG_STATE_HOME": filepath.Join(dir, "state"),
		"XDG_CONFIG_HOME": filepath.Join(dir, "config"), "CARGO_TERM_COLOR": "never", "CARGO_TARGET_DIR": "",
		// An HTTP proxy that is not there must not matter on this machine.
		"http_proxy": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": "",
	} {
		t.Setenv(name, value)
	}
	os.Unsetenv("CARGO_TARGET_DIR")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatalIf(t, err)
	d.address = l.Addr().String()
	fatalIf(t, l.Close())
	put(t, filepath.Join(d.home, "config.toml"), "[source.crates-io]\nreplace-with = \"depot\"\n"+
		"[source.depot]\nregistry = \"sparse+"+d.registry.Index+"\"\n")
	return d
}

// submit has the log accept hello-proof 0.1.0.
func (d *depot) submit() {
	d.t.Helper()
	_, err := (&client.Log{URL: d.log.URL}).Submit(d.t.Context(), fixture.Read(d.t, "hello-proof-0.1.0.entry"),
		helloProof(d.t), nil)
	fatalIf(d.t, err)
}

func helloProof(t testing.TB) []byte { return fixture.Crate(t, "hello-proof", "0.1.0") }

// proven is a depot with hello-proof 0.1.0 in its log and registry.
func proven(t *testing.T) *depot {
	t.Helper()
	d := newDepot(t)
	d.submit()
	d.registry.AddCrate(helloProof(t))
	return d
}

// project makes a package that depends on others, and goes there.
func (d *depot) project(deps string) string {
	d.t.Helper()
	dir := d.t.TempDir()
	put(d.t, filepath.Join(dir, "Cargo.toml"),
		"[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\n"+deps)
	put(d.t, filepath.Join(dir, "src", "main.rs"), "fn main() { println!(\"it ran\"); std::process::exit(7) }\n")
	d.t.Chdir(dir)
	return dir
}

// cargo runs "cargo zkp VERB ARGS" and returns what it printed and its exit code.
func (d *depot) cargo(verb string, args ...string) (string, int) {
	d.t.Helper()
	args = append([]string{"--zkp-trust", d.log.File, "--zkp-development"}, args...)
	var out bytes.Buffer
	sh := newShell(&out, &out)
	c, _, err := parseCall(sh, verb, args)
	fatalIf(d.t, err)
	err = c.run(d.t.Context(), sh)
	var exit cargoExit
	if errors.As(err, &exit) {
		return out.String(), int(exit)
	}
	code := sh.fail(err) // which prints
	return out.String(), code
}

// wants runs cargo and checks its exit code and that it says all of the words.
func (d *depot) wants(code int, words []string, verb string, args ...string) string {
	d.t.Helper()
	out, got := d.cargo(verb, args...)
	if got != code {
		d.t.Errorf("%s %q: exit %d, not %d\n%s", verb, args, got, code, out)
	}
	tells(d.t, out, words...)
	return out
}

// holds says whether a directory holds a file with a part of a name.
func holds(t *testing.T, dir, part string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		found = found || strings.Contains(filepath.Base(path), part)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

const asked = "hello-proof = { version = \"0.1\", verification = \"zkp\" }\n"

func TestAWrappedCallBuildsWhatThePolicyAccepts(t *testing.T) {
	d := proven(t)
	d.registry.AddCrate(registrytest.MakeCrate("leaf", "1.0.0", nil)) // nobody proved it, nobody asks
	dir := d.project(asked + "leaf = \"1\"\n")
	d.wants(7, []string{"it ran"}, "run")
	lock, err := os.ReadFile(filepath.Join(dir, "Cargo.lock"))
	if err != nil || strings.Contains(string(lock), "127.0.0.1") {
		t.Errorf("the lock file knows the proxy: %v\n%s", err, lock)
	}
	// Again, with everything cached, and then without any network.
	d.wants(0, nil, "build")
	d.registry.Fail("/", 500)
	d.wants(0, nil, "build", "--offline")
	after, err := os.ReadFile(filepath.Join(dir, "Cargo.lock"))
	if err != nil || !bytes.Equal(lock, after) {
		t.Errorf("the lock file changed: %v\n%s", err, after)
	}
}

func TestAWrappedCallStopsBeforeAnythingIsCompiled(t *testing.T) {
	good := helloProof(t)
	other := registrytest.MakeCrate("hello-proof", "0.1.0", nil)
	for name, c := range map[string]struct {
		prepare func(d *depot)
		code    outcome.Code
		want    []string
	}{
		"not logged": {func(d *depot) {}, outcome.Refused, []string{"hello-proof v0.1.0: ", "no one has proved"}},
		"another crate than is logged": {func(d *depot) {
			d.submit()
			d.registry.Replace("hello-proof", "0.1.0", other)
		}, outcome.Refused, []string{"hello-proof v0.1.0: another crate"}},
		"the log is down": {func(d *depot) {
			fatalIf(d.t, d.log.Close())
		}, outcome.Unchecked, []string{"hello-proof v0.1.0: the log"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDepot(t)
			d.registry.AddCrate(good)
			c.prepare(d)
			dir := d.project(asked)
			d.wants(int(c.code), c.want, "build")
			if holds(t, filepath.Join(dir, "target"), "hello_proof") {
				t.Error("something was compiled")
			}
		})
	}
}

// Another directory for the same crates would be another source for cargo, and it would
// compile, and download, everything again.
func TestCargoBuildAndCargoZkpBuildInTurnCompileOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.project(asked)
	compiles := func(out string) bool { return strings.Contains(out, "Compiling hello-proof") }
	plain := func() string {
		out, err := exec.Command("cargo", "build").CombinedOutput()
		if err != nil {
			t.Fatalf("plain cargo: %v\n%s", err, out)
		}
		return string(out)
	}
	if out := d.wants(0, nil, "build"); !compiles(out) {
		t.Fatalf("nothing was compiled:\n%s", out)
	}
	d.registry.Requests()
	if out := plain(); compiles(out) {
		t.Errorf("plain cargo after ours:\n%s", out)
	}
	if out := d.wants(0, nil, "build"); compiles(out) {
		t.Errorf("ours after plain cargo:\n%s", out)
	}
	if q := d.registry.Requests(); len(q) > 0 {
		t.Errorf("the registry was asked again: %q", q)
	}
}

// Offline, what another build would need may be missing.
func TestCargoMayBeConfiguredToBeOffline(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.registry.Add("leaf", "1.0.0")
	d.project(asked + "leaf = { version = \"1\", optional = true }\n")
	d.wants(0, nil, "build")
	fatalIf(t, os.RemoveAll(only(t, filepath.Join(d.home, "registry", "src", "*", "leaf-1.0.0"))))
	fatalIf(t, os.Remove(only(t, filepath.Join(d.home, "registry", "cache", "*", "leaf-1.0.0.crate"))))
	d.wants(0, nil, "build", "--offline")
	t.Setenv("CARGO_NET_OFFLINE", "true")
	d.wants(0, nil, "build")
	t.Setenv("CARGO_NET_OFFLINE", "")
	put(t, filepath.Join(".cargo", "config.toml"), "[net]\noffline = true\n")
	d.wants(0, nil, "build", "--locked")
}

// only returns the one path that a pattern matches.
func only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

// What verify says of crates that are good enough, build says too.
func TestABuildNamesExceptionsAndWhatWasYanked(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := newDepot(t)
	d.submit()
	d.registry.AddCrate(helloProof(t))
	d.registry.Add("leaf", "1.0.0")
	dir := d.project(asked + "leaf = { version = \"1\", verification = \"zkp\" }\n")
	put(t, filepath.Join(dir, "zkp.toml"), "version = 1\n[[exception]]\ncrate = \"leaf\"\nreason = \"r\"\n"+
		"expires = \"2999-01-01\"\n")
	d.wants(0, []string{"Excepted 1 crate until 2999-01-01: leaf v1.0.0"}, "build")
	d.registry.Yank("hello-proof", "0.1.0", true)
	fatalIf(t, os.RemoveAll(filepath.Join(d.home, "registry", "index")))
	d.wants(0, []string{"warning: hello-proof v0.1.0: it was yanked"}, "build")
}

func TestOnlyWhatThisSystemNeedsIsDownloaded(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.registry.Add("leaf", "1.0.0")
	d.registry.Add("twig", "1.0.0")
	d.project(asked + "[target.'cfg(target_os = \"none\")'.dependencies]\nleaf = \"1\"\n" +
		"[target.thumbv6m-none-eabi.dependencies]\ntwig = \"1\"\n")
	d.wants(0, nil, "build")
	if holds(t, d.home, "leaf-1.0.0") || holds(t, d.home, "twig-1.0.0") {
		t.Error("cargo downloaded what another system needs")
	}
	t.Setenv("CARGO_BUILD_TARGET", "thumbv6m-none-eabi")
	if d.cargo("check"); !holds(t, d.home, "leaf-1.0.0") { // it fails where that target's core is missing
		t.Error("cargo did not download what its target needs")
	}
}

// The first resolver turns on what a crate for another system asks of one for this system, so
// that one's line must be seen too, and compared.
func TestTheFirstResolverNeedsWhatOtherSystemsNeed(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.registry.Add("leaf", "1.0.0")
	dir := d.project(asked + "[target.'cfg(target_os = \"none\")'.dependencies]\n" +
		"leaf = { version = \"1\", verification = \"zkp\" }\n")
	d.wants(0, nil, "build")
	manifest := filepath.Join(dir, "Cargo.toml")
	text, err := os.ReadFile(manifest)
	fatalIf(t, err)
	put(t, manifest, strings.Replace(string(text), "edition", "resolver = \"1\"\nedition", 1))
	d.wants(int(outcome.Unchecked), []string{"leaf"}, "build", "--offline")
	d.wants(int(outcome.Refused), []string{"leaf v1.0.0"}, "build")
}

func TestWhatIsOnTheDiskIsCheckedBeforeCargoRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	dir := d.project(asked)
	d.wants(0, nil, "fetch")
	sources, err := filepath.Glob(filepath.Join(d.home, "registry", "src", "*", "hello-proof-0.1.0", "src", "lib.rs"))
	if err != nil || len(sources) != 1 {
		t.Fatalf("%q, %v", sources, err)
	}
	fatalIf(t, os.WriteFile(sources[0], []byte("pub fn evil() {}\n"), 0o644))
	d.wants(int(outcome.Refused), []string{"src/lib.rs"}, "build")
	if holds(t, filepath.Join(dir, "target"), "hello_proof") {
		t.Error("it was compiled")
	}
}

// After a crash files may be empty, and cargo downloads or unpacks again.
func TestWhatACrashLeavesIsNoTampering(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.project(asked)
	d.wants(0, nil, "build")
	archive := only(t, filepath.Join(d.home, "registry", "cache", "*", "hello-proof-0.1.0.crate"))
	sources := only(t, filepath.Join(d.home, "registry", "src", "*", "hello-proof-0.1.0"))
	verify := func(code outcome.Code, args ...string) {
		t.Helper()
		var out bytes.Buffer
		args = append([]string{"verify", "--trust", d.log.File, "--development"}, args...)
		if got := run(t.Context(), args, &out, &out); got != int(code) || strings.Contains(out.String(), "differs") {
			t.Errorf("%q: exit %d, not %d\n%s", args, got, code, &out)
		}
	}
	fatalIf(t, os.Truncate(archive, 0))
	verify(outcome.Unchecked, "--offline")
	verify(outcome.OK) // cargo downloads it again
	fatalIf(t, os.Truncate(archive, 0))
	d.wants(0, nil, "build")
	for _, marker := range []string{"missing", "", "{"} {
		fatalIf(t, os.Truncate(filepath.Join(sources, "src", "lib.rs"), 0))
		put(t, filepath.Join(sources, ".cargo-ok"), marker)
		if marker == "missing" {
			fatalIf(t, os.Remove(filepath.Join(sources, ".cargo-ok")))
		}
		if marker == "{" {
			verify(outcome.Unchecked)
		} else {
			verify(outcome.OK)
		}
		d.wants(0, nil, "build")
	}
}

func TestCratesOfOtherRegistriesAreCheckedToo(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := newDepot(t)
	d.submit()
	other, raw, commit := registrytest.New(t), helloProof(t), fixture.Commit(t, "0.1.0")
	other.AddCrate(raw)
	other.AddCrate(registrytest.MakeCrate("leaf", "1.0.0", nil))
	t.Setenv("CARGO_REGISTRIES_OTHER_INDEX", "sparse+"+other.Index)
	of := "version = 1\n[registry.\"sparse+" + other.Index + "\"]\n"
	dir := d.project("hello-proof = { version = \"0.1\", registry = \"other\", verification = \"zkp\" }\n")
	d.wants(int(outcome.Refused), []string{"is of the registry sparse+" + other.Index + ", which the policy does not name, so no log is asked about it",
		"logs = [\"depot.example/log\"]"}, "build")
	put(t, filepath.Join(dir, "zkp.toml"), of)
	d.wants(int(outcome.Refused), []string{"about whose crates the policy lets no log be asked"}, "build")
	put(t, filepath.Join(dir, "zkp.toml"), "version = 1\n[[exception]]\ncrate = \"hello-proof\"\nregistry = \"sparse+"+other.Index+
		"\"\nreason = \"r\"\nexpires = \"2999-01-31\"\n")
	d.zkp(outcome.OK, []string{"1 exception of what the policy lets no log be asked about", "logs = [...]"}, "suggest", "--trust", d.log.File,
		"--development")
	put(t, filepath.Join(dir, "zkp.toml"), of+"logs = [\"depot.example/log\"]\n")
	d.wants(int(outcome.Refused), []string{"has no entry for hello-proof 0.1.0"}, "build") // but of the default registry
	d.logFor(other.Index, raw, "hello-proof", "0.1.0", commit)
	d.wants(0, nil, "build")
	// NAME@VERSION is one of the default registry, so it is no advice.
	d.zkp(outcome.Refused, []string{"check it with \"cargo zkp verify -v -p hello-proof\"\n"}, "show", "hello-proof", "--trust", d.log.File,
		"--development")
	d.zkp(outcome.OK, []string{"Verified hello-proof v0.1.0"}, "verify", "-v", "-p", "hello-proof", "--trust", d.log.File,
		"--development")
	dir = d.project("leaf = { version = \"1\", registry = \"other\", verification = \"zkp\" }\n")
	put(t, filepath.Join(dir, "zkp.toml"), of+"logs = [\"depot.example/log\"]\n")
	d.wants(int(outcome.Refused), []string{"leaf v1.0.0"}, "build")
	if holds(t, filepath.Join(dir, "target"), "leaf") {
		t.Error("it was compiled")
	}
}

// logFor has the log hold a forged entry of a crate of the registry with an index.
func (d *depot) logFor(index string, raw []byte, name, version string, commit [20]byte) {
	d.t.Helper()
	f, err := forge.Default()
	fatalIf(d.t, err)
	d.logBy(f, index, raw, name, version, commit)
}

// logBy is logFor with an entry of a forger's program.
func (d *depot) logBy(f *forge.Forger, index string, raw []byte, name, version string, commit [20]byte) {
	d.t.Helper()
	e, err := forge.Claim(raw, name, version, &entry.Source{Commit: commit})
	fatalIf(d.t, err)
	if index != "" {
		e.Subject.Registry = entry.Registry(index)
	}
	list, err := forge.List(raw, e)
	fatalIf(d.t, err)
	fatalIf(d.t, f.Prove(e, list))
	text, err := e.Marshal()
	fatalIf(d.t, err)
	_, err = (&client.Log{URL: d.log.URL}).Submit(d.t.Context(), text, raw, nil)
	fatalIf(d.t, err)
}

// A dependency for which its line names no registry is one of the line's own.
func TestTheIndexOfAnotherRegistryIsCompared(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := newDepot(t)
	other := registrytest.New(t)
	manifest := forge.Manifest("between", "1.0.0")
	manifest.Content += "[dependencies.leaf]\nversion = \"1\"\nregistry-index = \"sparse+" + other.Index + "\"\n"
	raw, err := forge.Pack("between", "1.0.0", manifest, forge.File{Path: "src/lib.rs", Content: "pub use leaf;\n"})
	fatalIf(t, err)
	d.logFor(other.Index, raw, "between", "1.0.0", [20]byte{1})
	other.AddCrate(raw)
	other.Add("leaf", "1.0.0")
	d.registry.AddCrate(registrytest.MakeCrate("leaf", "1.0.0", map[string]string{"src/lib.rs": "pub fn evil() {}\n"}))
	t.Setenv("CARGO_REGISTRIES_OTHER_INDEX", "sparse+"+other.Index)
	registryOf := func(to any) {
		other.Doctor("between", "1.0.0", func(line map[string]any) { line["deps"].([]map[string]any)[0]["registry"] = to })
		fatalIf(t, errors.Join(os.RemoveAll(filepath.Join(d.home, "registry")), os.RemoveAll("Cargo.lock")))
	}
	dir := d.project("between = { version = \"1\", registry = \"other\", verification = \"zkp\" }\n")
	put(t, filepath.Join(dir, "zkp.toml"), "version = 1\n[registry.\"sparse+"+other.Index+"\"]\nlogs = [\"depot.example/log\"]\n")
	registryOf(nil)
	d.wants(0, nil, "build")
	registryOf(defaultSource(t))
	d.wants(int(outcome.Refused), []string{"between v1.0.0: the registry's index does not say", "leaf"}, "build")
}

// defaultSource returns the index of cargo's default registry, as cargo writes it.
func defaultSource(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "Cargo.toml"), "[package]\nname = \"ask\"\nversion = \"0.1.0\"\n[dependencies]\nleaf = \"1\"\n")
	put(t, filepath.Join(dir, "src", "lib.rs"), "")
	cmd := exec.Command("cargo", "generate-lockfile")
	cmd.Dir, cmd.Env = dir, cargoEnv(os.Environ())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lock, err := cargo.ReadLock(filepath.Join(dir, "Cargo.lock"))
	fatalIf(t, err)
	index, _ := lock.Packages[lock.Named("leaf")[0]].Registry()
	return index
}

func TestTheLockFileIsUpToDateBeforeItIsJudged(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.registry.AddCrate(registrytest.MakeCrate("leaf", "1.0.0", nil))
	dir := d.project("leaf = \"1\"\n")
	d.wants(0, nil, "check")
	manifest := filepath.Join(dir, "Cargo.toml")
	text, err := os.ReadFile(manifest)
	fatalIf(t, err)
	// leaf is to be verified now, and lies in cargo's cache already.
	text = bytes.Replace(text, []byte(`leaf = "1"`), []byte("leaf = { version = \"1\", verification = \"zkp\" }\n"+asked), 1)
	fatalIf(t, os.WriteFile(manifest, text, 0o644))
	if out, code := d.cargo("check", "--locked"); code != 101 && code != int(outcome.Refused) {
		t.Errorf("with --locked: exit %d\n%s", code, out)
	}
	d.wants(int(outcome.Refused), []string{"leaf v1.0.0"}, "check")
}

func TestCallsAreTakenApart(t *testing.T) {
	sh := newShell(&bytes.Buffer{}, &bytes.Buffer{})
	c, help, err := parseCall(sh, "run", []string{"--zkp-policy=p", "--release", "--zkp-trust", "a", "--manifest-path", "m/Cargo.toml", "--zkp-trust=b", "--frozen", "--zkp-development",
		"--target=x", "-Zy", "--config", "profile.dev.debug=1", "--", "--zkp-policy", "--offline"})
	if err != nil || help {
		t.Fatal(help, err)
	}
	if want := []string{"--release", "--manifest-path", "m/Cargo.toml", "--frozen", "--target=x", "-Zy", "--config",
		"profile.dev.debug=1", "--", "--zkp-policy", "--offline"}; !slices.Equal(c.args, want) {
		t.Errorf("cargo gets %q, not %q", c.args, want)
	}
	b := believe{Place: policy.Place{Flag: "p", Trust: []string{"a", "b"}, Development: true}}
	if !reflect.DeepEqual(c.believe, b) || !slices.Equal(c.targets, []string{"x"}) ||
		!slices.Equal(c.config, []string{"-Z", "y", "--config", "profile.dev.debug=1"}) || c.lock.manifestPath != "m/Cargo.toml" || !c.offline || !c.locked {
		t.Errorf("understood as %+v", c)
	}
	for _, bad := range [][]string{{"--zkp-polcy", "p"}, {"--zkp-policy"}, {"--zkp-development=yes"}, {"--manifest-path"}, {"--color", "blue"},
		{"--zkp-index", "x"}, {"--lockfile-path", "other/Cargo.lock"}, {"-Zlockfile-path"}, {"--config", "paths=['evil']"}, {"--config", "file.toml"},
		{"--config", "source.x.directory='evil'"}, {"--config=\"source\".crates-io.replace-with='x'"}} {
		_, _, err := parseCall(sh, "run", bad)
		if outcome.Of(err) != outcome.Usage {
			t.Errorf("%q: %v", bad, err)
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"build", "--help"}, &out, &out); code != 0 || !strings.Contains(out.String(), "--zkp-policy FILE") {
		t.Errorf("help: %d\n%s", code, &out)
	}
}

func TestChildrenGoPastTheHTTPProxyOnThisMachine(t *testing.T) {
	for _, c := range []struct{ env, want []string }{
		{[]string{"A=b"}, []string{"A=b", "no_proxy=127.0.0.1,localhost", "NO_PROXY=127.0.0.1,localhost"}},
		{[]string{"NO_PROXY=x.example", "A=b"}, []string{"A=b", "no_proxy=x.example,127.0.0.1,localhost", "NO_PROXY=x.example,127.0.0.1,localhost"}},
		{[]string{"no_proxy=low", "NO_PROXY=high"}, []string{"no_proxy=low,127.0.0.1,localhost", "NO_PROXY=low,127.0.0.1,localhost"}},
		{[]string{"NO_PROXY=high", "no_proxy=low"}, []string{"no_proxy=low,127.0.0.1,localhost", "NO_PROXY=low,127.0.0.1,localhost"}},
		{[]string{"no_proxy=*"}, []string{"no_proxy=*", "NO_PROXY=*"}},
	} {
		if got := cargoEnv(c.env); !slices.Equal(got, c.want) {
			t.Errorf("%q becomes %q, not %q", c.env, got, c.want)
		}
	}
}

func TestADetourOfCargosRequestsIsSeen(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"A=b"}, ""}, {[]string{"http_proxy="}, ""}, {[]string{"http_proxy=x"}, "http_proxy"}, {[]string{"CARGO_HTTP_PROXY=x", "no_proxy=example.com"}, "CARGO_HTTP_PROXY"},
		{[]string{"ALL_PROXY=x", "no_proxy=a,127.0.0.1"}, ""}, {[]string{"NO_PROXY=*", "HTTPS_PROXY=x"}, ""},
	} {
		if got := detour(c.env); got != c.want {
			t.Errorf("%q: %q, want %q", c.env, got, c.want)
		}
	}
}

func TestCargoIsAskedForItsRegistryAndReachesNobody(t *testing.T) {
	fixture.Need(t, "cargo")
	index, err := askCargo(t.Context())
	if err != nil || !strings.HasPrefix(index, "https://") || !strings.HasSuffix(index, "/") {
		t.Errorf("%q, %v", index, err)
	}
}

func TestTheRealIndexIsNeverTheProxy(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	config := filepath.Join(dir, ".cargo", "config.toml")
	fatalIf(t, os.MkdirAll(filepath.Join(home, "registry", "index", "index.example.com-1949cf8c6b5b557f"), 0o755))
	const ours = "[source.crates-io]\nreplace-with = \"cratelog (cargo zkp proxy)\"\n[source.\"cratelog (cargo zkp proxy)\"]\nregistry = \"sparse+http://127.0.0.1:18081/index/\"\n"
	for _, c := range []struct{ config, named, want string }{
		{"", "", "https://index.example.com/"},
		{ours, "", "https://index.example.com/"},
		{ours, "sparse+https://named.example.com/x", "https://named.example.com/x/"},
		{"[source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\nregistry = \"sparse+https://mirror.example.com/\"\n", "", "https://mirror.example.com/"},
		{"[source.crates-io]\nregistry = \"sparse+https://mirror.example.com/\"\n" + ours[len("[source.crates-io]\n"):], "", "https://mirror.example.com/"},
		{"[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n", "", ""},
	} {
		put(t, config, c.config)
		got, err := realIndex(t.Context(), c.named, dir, home)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("with %q, named %q: %q, %v; want %q", c.config, c.named, got, err, c.want)
		}
	}
}

// put writes a file, with its directory.
func put(t testing.TB, name, content string) {
	t.Helper()
	fatalIf(t, errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)))
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
