package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
)

// verify runs "cargo zkp verify ARGS" and returns what it printed and its exit code.
func (d *depot) verify(args ...string) (string, int) {
	d.t.Helper()
	code, out := zkp(d.t, append([]string{"zkp", "verify"}, args...)...)
	return out, code
}

// tells runs verify and checks its exit code, that it says words, and, behind a "!", that it
// does not.
func (d *depot) tells(code outcome.Code, words []string, args ...string) {
	d.t.Helper()
	d.zkp(code, words, append([]string{"verify"}, args...)...)
}

// settings writes the project's zkp.toml.
func (d *depot) settings(dir, more string) {
	d.t.Helper()
	put(d.t, filepath.Join(dir, "zkp.toml"), "version = 1\ndevelopment = true\ntrust = [\""+filepath.ToSlash(d.log.File)+"\"]\n"+more)
}

// mustCargo runs plain cargo, which must succeed.
func (d *depot) mustCargo(args ...string) {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), "cargo", args...)
	cmd.Env = append(os.Environ(), "no_proxy=127.0.0.1")
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("cargo %q: %v\n%s", args, err, out)
	}
}

// The finding: verify --locked passed with a lock file that the next cargo build changes.
func TestAStaleLockFileIsRefusedOrBroughtUpToDate(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.registry.AddCrate(registrytest.MakeCrate("leaf", "1.0.0", nil))
	dir := d.project(asked)
	d.settings(dir, "")
	d.mustCargo("generate-lockfile")
	d.tells(outcome.OK, []string{"1 crate proven"}, "--locked")
	t.Run("the second time cargo is not asked", func(t *testing.T) {
		t.Setenv("PATH", "")
		d.tells(outcome.OK, []string{"1 crate proven"}, "--frozen")
	})
	lock, err := os.ReadFile(filepath.Join(dir, "Cargo.lock"))
	fatalIf(t, err)
	manifest, err := os.ReadFile(filepath.Join(dir, "Cargo.toml"))
	fatalIf(t, err)
	put(t, filepath.Join(dir, "Cargo.toml"), string(manifest)+"leaf = \"1\"\n")
	for _, args := range [][]string{{"--locked"}, {"--frozen"}, {"--locked", "-p", "hello-proof"}} {
		d.tells(outcome.Unchecked, []string{"Cargo.lock is not up to date, or cargo cannot tell", "--locked forbids"}, args...)
	}
	// Other programs read the answer, so there is one.
	fatalIf(t, os.Mkdir(filepath.Join(filepath.Dir(dir), ".git"), 0o755))
	d.tells(outcome.Unchecked, []string{`{"message_type":"verify-finished","success":false,"error":"Cargo.lock is not up to date`},
		"--locked", "--message-format", "json")
	d.tells(outcome.Unchecked, []string{`"ruleId": "not-verifiable"`, `"text": "Cargo.lock is not up to date`,
		`"uri": "` + filepath.Base(dir) + `/Cargo.lock"`}, "--locked", "--message-format", "sarif")
	fatalIf(t, os.Remove(filepath.Join(filepath.Dir(dir), ".git")))
	if after, err := os.ReadFile(filepath.Join(dir, "Cargo.lock")); err != nil || !bytes.Equal(lock, after) {
		t.Errorf("--locked changed it: %v", err)
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"vendor", "--locked"}, &out, &out); code != int(outcome.Unchecked) {
		t.Errorf("vendor --locked: exit %d\n%s", code, &out)
	}
	d.tells(outcome.OK, []string{"cargo update --workspace, which brings Cargo.lock up to date", "2 crates of Cargo.lock"})
	d.tells(outcome.OK, []string{"!cargo update"}, "--locked")

	// Whoever cannot ask cargo does not know.
	put(t, filepath.Join(dir, "Cargo.toml"), string(manifest)+"leaf = \"1.0\"\n")
	t.Setenv("CARGO", filepath.Join(dir, "no-such-cargo"))
	d.tells(outcome.Unchecked, []string{"Cargo.lock is not up to date, or cargo cannot tell"}, "--locked")
	d.tells(outcome.OK, []string{"cargo could not bring Cargo.lock up to date", "1 crate proven"})
	d.tells(outcome.Unchecked, []string{"Cargo.lock is not up to date, or cargo cannot tell"}, "--locked") // nor later
}

// A directory source has no newer crates, so cargo cannot bring Cargo.lock up to date from one.
func TestVendorAgainTakesInANewDependency(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.registry.AddCrate(registrytest.MakeCrate("leaf", "1.0.0", nil))
	dir := d.project(asked)
	d.settings(dir, "")
	vendor := func(want string, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{"vendor"}, args...), &stdout, &stderr); code != 0 ||
			!strings.Contains(stderr.String(), want) {
			t.Fatalf("vendor: exit %d, without %q\n%s", code, want, &stderr)
		}
		return stdout.String()
	}
	put(t, filepath.Join(dir, ".cargo", "config.toml"), vendor("1 written, 0 removed"))
	manifest, err := os.ReadFile(filepath.Join(dir, "Cargo.toml"))
	fatalIf(t, err)
	put(t, filepath.Join(dir, "Cargo.toml"), string(manifest)+"leaf = \"1\"\n")
	vendor("1 written, 0 removed")
	d.tells(outcome.OK, []string{"2 crates of Cargo.lock", "1 crate proven"}, "--locked", "--offline")
	put(t, filepath.Join(dir, "Cargo.toml"), string(manifest))
	vendor("0 written, 1 removed")
}

// The finding: a dependency from git was a way around require = "all".
func TestADependencyFromGitIsRefusedIfAllMustBeProven(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	repo := t.TempDir()
	put(t, filepath.Join(repo, "Cargo.toml"), "[package]\nname = \"gitty\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")
	put(t, filepath.Join(repo, "src", "lib.rs"), "")
	repository(t, repo)
	dir := d.project(asked + "gitty = { git = \"file://" + filepath.ToSlash(repo) + "\" }\n")
	d.settings(dir, "require = \"all\"\n")
	refusal := []string{"gitty v0.1.0 is from the git repository file://" + filepath.ToSlash(repo), "it comes by app > gitty", "requires all crates"}
	d.tells(outcome.Refused, append(refusal, "!app v0.1.0 is"))
	d.tells(outcome.Refused, []string{`"ruleId": "not-verifiable"`, "gitty v0.1.0 is from the git repository"}, "--message-format", "sarif")
	d.tells(outcome.Refused, []string{`"success":false`, `"not_from_a_registry":1`}, "--message-format", "json")
	d.wants(int(outcome.Refused), refusal, "build")
	if holds(t, filepath.Join(dir, "target"), "gitty") {
		t.Error("it was compiled")
	}
	d.settings(dir, "require = \"all\"\n[git]\nallow = [\"file://"+filepath.ToSlash(repo)+"\"]\n")
	d.tells(outcome.OK, []string{"1 crate proven, 1 from git or a path not looked at"})
	d.settings(dir, "")
	d.tells(outcome.OK, []string{"1 from git or a path not looked at"})
}

// The finding: a private crate with a public name was said to be another crate, and its name
// was told to the public log.
func TestAPrivateCrateWithAPublicNameIsNoAlarm(t *testing.T) {
	d := newDepot(t)
	d.submit()
	private := registrytest.New(t)
	private.AddCrate(registrytest.MakeCrate("hello-proof", "0.1.0", nil))
	t.Setenv("CARGO_REGISTRIES_PRIVATE_INDEX", "sparse+"+private.Index)
	dir := d.project("hello-proof = { version = \"0.1\", registry = \"private\" }\n")
	d.settings(dir, "require = \"all\"\n")
	d.tells(outcome.Refused, []string{"which the policy does not name, so no log is asked about it", "!Do not use"})
	table := "[registry.\"sparse+" + private.Index + "\"]\n"
	d.settings(dir, "require = \"all\"\n"+table+"require = \"none\"\n")
	d.tells(outcome.OK, []string{"0 crates proven, 1 with the lock file's checksum only"})
	d.tells(outcome.OK, []string{`"registry":"sparse+` + private.Index + `"`, `"hashed":true`}, "--message-format", "json")
	var out bytes.Buffer
	if code := run(t.Context(), []string{"show", "hello-proof"}, &out, &out); code != int(outcome.Refused) || !strings.Contains(out.String(), "not every log may know of") {
		t.Errorf("show: exit %d\n%s", code, &out)
	}
}

// The finding: "Hashed" was said of what was not on the disk.
func TestWhatIsNotOnTheDiskIsNotSaidToBeHashed(t *testing.T) {
	d := proven(t)
	d.registry.AddCrate(registrytest.MakeCrate("leaf", "1.0.0", nil))
	dir := d.project("leaf = \"1\"\n")
	d.settings(dir, "")
	d.mustCargo("generate-lockfile")
	d.tells(outcome.OK, []string{"Skipped leaf v1.0.0; it is not on this disk", "!Hashed", "!checksum only", "0 crates proven, 1 not on this disk"}, "-v")
	out, _ := d.verify("--message-format", "json", "-q")
	var v struct{ Hashed *bool }
	fatalIf(t, json.NewDecoder(strings.NewReader(out)).Decode(&v))
	if v.Hashed == nil || *v.Hashed {
		t.Errorf("JSON says %s", out)
	}
	d.mustCargo("fetch")
	d.tells(outcome.OK, []string{"Hashed leaf v1.0.0", "1 with the lock file's checksum only"}, "-v")
}

// The finding: one private crate with a long name, and no other crate was verified.
func TestAnOddPackageIsOnlyItsOwnTrouble(t *testing.T) {
	d := proven(t)
	dir := d.project(asked)
	d.settings(dir, "")
	d.mustCargo("fetch")
	lock, err := os.ReadFile(filepath.Join(dir, "Cargo.lock"))
	fatalIf(t, err)
	odd := strings.Repeat("x", 70)
	text := strings.Replace(string(lock), "dependencies = [\n", "dependencies = [\n \""+odd+"\",\n", 1) + "\n[[package]]\nname = \"" + odd +
		"\"\nversion = \"1.0.0\"\nsource = \"sparse+https://registry.example.com/\"\nchecksum = \"" + strings.Repeat("2", 64) + "\"\n"
	put(t, filepath.Join(dir, "Cargo.lock"), text)
	t.Setenv("CARGO", filepath.Join(dir, "no-such-cargo")) // which would take it out again
	d.tells(outcome.OK, []string{"1 crate proven, 1 not on this disk"})
	d.settings(dir, "require = [\"x*\"]\n")
	d.tells(outcome.Unchecked, []string{"error: " + odd + " v1.0.0", "1 crate could not be checked", "Verified hello-proof"}, "-v")
}

func TestOptionsAreCargosAndMistakesAreTold(t *testing.T) {
	d := proven(t)
	d.registry.AddCrate(registrytest.MakeCrate("leaf", "1.0.0", nil))
	d.registry.AddCrate(registrytest.MakeCrate("twig", "1.0.0", nil))
	dir := d.project(asked + "leaf = \"1\"\ntwig = \"1\"\n")
	d.settings(dir, "require = \"all\"\n")
	d.mustCargo("fetch")
	d.tells(outcome.OK, []string{"1 crate proven"}, "-p", "hello-proof", "--workspace")
	d.tells(outcome.Refused, []string{"leaf v1.0.0", "!twig v1.0.0"}, "-p", "hello-proof", "--package", "leaf@1.0.0")
	d.tells(outcome.Usage, []string{"no package from a registry in Cargo.lock is gone"}, "-p", "leaf", "-p", "gone")
	out, code := d.verify("--lokced")
	if code != int(outcome.Usage) || out != "error: there is no option --lokced; did you mean --locked?\n  \"cargo zkp verify --help\" lists the options\n" {
		t.Errorf("an unknown option: exit %d\n%s", code, out)
	}
	if out, code := d.verify("--help"); code != 0 || !strings.Contains(out, "-frozen") {
		t.Errorf("--help: exit %d\n%s", code, out)
	}
	crates, err := filepath.Glob(filepath.Join(d.home, "registry", "cache", "*", "hello-proof-0.1.0.crate"))
	if err != nil || len(crates) != 1 {
		t.Fatalf("%q, %v", crates, err)
	}
	d.tells(outcome.OK, nil, crates[0], "--log", d.log.URL, "--max-age", "30d")
	d.tells(outcome.Usage, []string{`is not an age; write it like "30d"`}, crates[0], "--max-age", "30 days")
	d.tells(outcome.Usage, []string{"give -p once"}, crates[0], "-p", "a", "-p", "b")
}

func TestPolicyCheckRefusesWhatVerifyRefusesAtOnce(t *testing.T) {
	d := newDepot(t)
	dir := d.project("")
	for text, want := range map[string]outcome.Code{
		"version = 1\nrequire = \"all\"\n": outcome.Refused,
		"version = 1\n":                    outcome.OK,
	} {
		put(t, filepath.Join(dir, "zkp.toml"), text)
		var out bytes.Buffer
		if code := run(t.Context(), []string{"policy", "check"}, &out, &out); code != int(want) || (want != outcome.OK) != strings.Contains(out.String(), "cannot be used as it is") {
			t.Errorf("%q: exit %d\n%s", text, code, &out)
		}
	}
}
