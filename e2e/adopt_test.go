package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/registrytest"
)

// TestATeamAdoptsItFromItsLockFile follows docs/adopt.md with real programs: from a lock file of which
// nothing is proven to a green build, and on from there.
func TestATeamAdoptsItFromItsLockFile(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	s := newSite(t)
	s.addLogURL()
	deps := "hello-proof = \"=0.1.0\"\n"
	for i := range 11 {
		deps += fmt.Sprintf("leaf%02d = \"1\"\n", i)
	}
	d := newDependent(t, s, deps)
	for i := range 11 {
		d.registry.AddCrate(registrytest.MakeCrate(fmt.Sprintf("leaf%02d", i), "1.0.0", nil))
	}
	write(t, filepath.Join(d.dir, ".gitignore"), "/target\n")
	d.git("init", "-q")

	// The first day.
	trust := t.TempDir()
	write(t, filepath.Join(trust, "trust.policy"), string(read(t, s.policy)))
	d.zkp("init", "--from-lock", "--trust", trust, "--development", "--expires", "2999-01-31").want(t, 0,
		"Excepted 12 crates until 2999-01-31 in zkp-exceptions.toml; 0 proven", "11 names no repository",
		"1 could be proven from what they name", "Created zkp.toml")
	d.zkp("policy", "check").want(t, 0, "can be used")
	d.zkp("verify", "--locked").want(t, 0, "0 crates proven, 12 excepted")
	d.zkp("build").want(t, 0, "Excepted 12 crates until 2999-01-31: hello-proof v0.1.0, leaf00 v1.0.0, leaf01 v1.0.0 and 9 more")
	d.git("add", ".")
	d.git("-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", "x")
	d.zkp("verify", "--since", "HEAD").says(t, 0, "No crate of a registry was added to Cargo.lock or changed since HEAD.")

	// One crate is logged.
	zkp(t, "submit", copyFixture(t, "hello-proof-0.1.0", t.TempDir()), "--log", s.log.url).want(t, 0, "Finished")
	d.zkp("suggest").says(t, 0, "1 exception can go: what is excepted is logged, and verifies", "hello-proof@0.1.0", "run cargo zkp prune",
		"11 exceptions of what cannot be proven as it is")
	d.zkp("prune").want(t, 0, "1 removed (1 proven now, 0 not in Cargo.lock), 11 left")
	d.zkp("verify").want(t, 0, "1 crate proven, 11 excepted")

	// A crate is updated: it alone fails in review.
	d.registry.AddCrate(registrytest.MakeCrate("leaf03", "1.0.1", nil))
	d.mustCargo("update", "-p", "leaf03")
	d.zkp("verify", "--since", "HEAD", "--message-format", "markdown").says(t, 1,
		"| leaf03 | 1.0.0 | 1.0.1 | no: not logged, names no repository", "1 crate is not what the policy asks for")
	if out := d.zkp("verify", "--since", "HEAD").String(); strings.Contains(out, "leaf04") || strings.Contains(out, "hello-proof") {
		t.Errorf("what did not change is named:\n%s", out)
	}
	d.zkp("build").want(t, 1, "leaf03 v1.0.1: the log")
	d.zkp("prune").want(t, 0, "Removing leaf03@1.0.0: Cargo.lock has another version", "10 left")
	d.zkp("init", "--from-lock", "--force", "--expires", "2999-02-28").want(t, 0, "Excepted 11 crates until 2999-02-28", "1 proven")
	d.zkp("build").want(t, 0, "Excepted 11 crates until 2999-02-28")

	// The day comes.
	file := filepath.Join(d.dir, "zkp-exceptions.toml")
	text := string(read(t, file))
	write(t, file, strings.Replace(text, "2999-02-28", "2020-01-31", 1))
	d.zkp("policy", "check", "--deny", "warnings").want(t, 1, "exceptions expired, and do not count any more")
	d.zkp("verify").want(t, 1, "11 crates: no log that is trusted has an entry for this version (not-logged)", "11 names no repository",
		"11 crates are not what the policy asks for")
	d.zkp("verify", "--paths").want(t, 1, "app 0.1.0 > leaf07 1.0.0")

	// Nobody gets anything past it by the file.
	for name, hostile := range map[string]string{
		"a pattern":    strings.Replace(text, `crate = "leaf00"`, `crate = "*"`, 1),
		"no version":   strings.Replace(text, `version = "1.0.0", `, "", 1),
		"two settings": strings.Replace(text, "exceptions = [", "require = \"none\"\nexceptions = [", 1),
		"cut off":      text[:len(text)-3],
		"huge":         text + strings.Repeat("#", 2<<20),
		"not text":     text + "\x00",
	} {
		write(t, file, hostile)
		if o := d.zkp("verify"); o.code != 2 && o.code != 3 || !strings.Contains(o.String(), "zkp-exceptions.toml") {
			t.Errorf("%s: %v", name, o)
		}
	}
	fatalIf(t, os.Remove(file))
	d.zkp("verify").want(t, 3, "zkp-exceptions.toml", "init --from-lock")
}

// says is want of both of a program's outputs.
func (o outcome) says(t *testing.T, code int, words ...string) {
	t.Helper()
	outcome{o.code, "", o.stdout + o.stderr}.want(t, code, words...)
}

// git runs git in the project.
func (d *dependent) git(args ...string) {
	d.t.Helper()
	if o := command(d.t, d.dir, d.env, "git", args...); o.code != 0 {
		d.t.Fatalf("git %q: %v", args, o)
	}
}
