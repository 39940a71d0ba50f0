package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/internal/registrytest"
)

// workTree is a package in a git repository with a remote, and the surroundings of who works there.
func workTree(t *testing.T, reg *registrytest.Registry, token, lib, logURL string) (dir string, env []string) {
	t.Helper()
	dir, home, at := filepath.Join(t.TempDir(), "work"), t.TempDir(), filepath.Join(t.TempDir(), "origin.git")
	fatalIf(t, os.MkdirAll(filepath.Join(dir, "src"), 0o755))
	write(t, filepath.Join(home, "credentials.toml"), "[registries.my]\ntoken = \""+token+"\"\n")
	write(t, filepath.Join(home, "config.toml"), "[registries.my]\nindex = \"sparse+"+reg.Index+"\"\ncredential-provider = [\"cargo-zkp\"]\n")
	write(t, filepath.Join(dir, "Cargo.toml"),
		"[package]\nname = \"wanted\"\nversion = \"99.0.0\"\nedition = \"2021\"\nlicense = \"MIT\"\ndescription = \"a test\"\n"+
			"[package.metadata.zkp]\nlog = \""+logURL+"\"\n")
	write(t, filepath.Join(dir, "src", "lib.rs"), lib)
	write(t, filepath.Join(dir, ".gitignore"), "/target\n/Cargo.lock\n")
	env = []string{"CARGO_HOME=" + home, "GIT_CONFIG_GLOBAL=" + os.DevNull, "CARGO_TERM_COLOR=never",
		"RUSTUP_HOME=" + rustupHome(t), "XDG_STATE_HOME=" + t.TempDir(), "no_proxy=127.0.0.1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.example",
		"PATH=" + filepath.Dir(program(t, "cargo-zkp")) + string(os.PathListSeparator) + os.Getenv("PATH")}
	for _, args := range [][]string{{"init", "-q", "--bare", "--object-format=sha1", at},
		{"init", "-q", "--object-format=sha1"}, {"remote", "add", "origin", at}} {
		command(t, dir, env, "git", args...).want(t, 0)
	}
	return dir, env
}

// TestANameIsItsOwnersWhereTheLogAsksTheRegistry: logd with [[registry]], real proofs, real cargo. A
// stranger with a true claim comes first, and gets nothing; the owner's publication is killed between
// upload and log, and goes on.
func TestANameIsItsOwnersWhereTheLogAsksTheRegistry(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes the proving key, and proves")
	}
	fixture.Need(t, "cargo", "git")
	reg := registrytest.New(t)
	s := newSiteWith(t, func(*site) string {
		return "development = true\n[[registry]]\nindex = \"sparse+" + reg.Index + "\"\n"
	})
	s.addLogURL()
	const token = "token-of-the-end-to-end-test"
	reg.SetToken(token, false)
	policy := "version = 1\ntrust = [\"" + s.policy + "\"]\ndevelopment = true\nregistry-backed = [\"" + origin + "\"]\n" +
		"[registry.\"sparse+" + reg.Index + "\"]\nlogs = [\"" + origin + "\"]\n"
	in := func(lib string) (dir string, env []string) {
		dir, env = workTree(t, reg, token, lib, s.log.url)
		write(t, filepath.Join(dir, "zkp.toml"), policy)
		for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "-m", "work"}, {"push", "-q", "origin", "HEAD:refs/heads/main"}} {
			command(t, dir, env, "git", args...).want(t, 0)
		}
		return dir, env
	}

	stranger, strangerEnv := in("pub fn of_a_stranger() {}\n")
	command(t, stranger, strangerEnv, "cargo", "zkp", "publish", "--registry", "my", "--log-only").want(t, 3,
		"Order upload, then log: the policy calls the log", "takes only what the registry lists, which does not list wanted v99.0.0 yet")

	// cargo publish by itself needs an entry that is ready; the log does not see the upload yet.
	owner, env := in("pub fn of_the_owner() {}\n")
	var hidden atomic.Bool
	hidden.Store(true)
	reg.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		if !hidden.Load() || r.Header.Get("User-Agent") != "cratelog-logd" {
			return false
		}
		http.NotFound(w, r)
		return true
	})
	plain := []string{"publish", "--registry", "my", "--no-verify"}
	command(t, owner, env, "cargo", plain...).want(t, 101, "is neither logged nor ready to be", "no entry about wanted 99.0.0 is ready")
	p := launchIn(t, owner, env, "cargo-zkp", "publish", "--registry", "my")
	p.waitFor(t, "Waiting wanted v99.0.0")
	p.kill()
	if n := len(reg.Published()); n != 1 {
		t.Fatalf("%d releases arrived", n)
	}
	hidden.Store(false)

	// Now the stranger's version is refused for good, and the owner's goes on.
	command(t, stranger, strangerEnv, "cargo", "zkp", "publish", "--registry", "my").want(t, 1, "with other bytes")
	crateFile := filepath.Join(stranger, "target", "zkp", "wanted-99.0.0", "wanted-99.0.0.crate")
	for o := (outcome{code: 3}); ; {
		if o = command(t, stranger, strangerEnv, "cargo", "zkp", "submit", crateFile, "--log", s.log.url); o.code == 3 &&
			strings.Contains(o.stderr, "not-in-registry") { // for some seconds more
			continue
		}
		o.want(t, 1, "registry-mismatch")
		break
	}
	command(t, owner, env, "cargo", "zkp", "publish", "--registry", "my").want(t, 0, "Fresh wanted v99.0.0 is proved",
		"Logged wanted v99.0.0 as entry 0", "Fresh wanted v99.0.0 is published already, with these bytes")
	if n := len(reg.Published()); n != 0 {
		t.Errorf("uploaded again: %d", n)
	}
	command(t, stranger, strangerEnv, "cargo", "zkp", "submit", crateFile, "--log", s.log.url).want(t, 1, "version-conflict")
	bundle := filepath.Join(owner, "target", "zkp", "wanted-99.0.0", "wanted-99.0.0.tlog-proof")
	s.verify(t, filepath.Join(owner, "target", "zkp", "wanted-99.0.0", "wanted-99.0.0.crate"), "--bundle", bundle,
		"--registry", reg.Index).want(t, 0, "Finished wanted v99.0.0 is the source of commit")
}
