package e2e

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/registry"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/registrytest"
)

// forget empties the user's cache, and what the tools remember of logs.
func (d *dependent) forget() {
	d.t.Helper()
	for _, dir := range []string{".cache", ".local"} {
		fatalIf(d.t, os.RemoveAll(filepath.Join(d.user, dir)))
	}
}

// hellos is a project that depends on two versions of a crate under the strictest policy, and on
// another crate, from a registry that takes evidence.
func hellos(t *testing.T, s *site) *dependent {
	t.Helper()
	d := newDependent(t, s, "hello-proof = \"=0.1.0\"\nhello-inner = \"0.1.0\"\n")
	d.policy("require = \"all\"\n")
	d.mustCargo("fetch")
	return d
}

// TestABuildNeedsNoLogWhereTheRegistryCarriesTheEvidence: a tree of evidence, written once, is handed
// out by the registry, by a file server and from a directory, and the log is switched off; then the
// evidence is missing, or not what it should be.
func TestABuildNeedsNoLogWhereTheRegistryCarriesTheEvidence(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	s := newSite(t)
	s.logFixtures(t)
	s.addLogURL()
	d := hellos(t, s)
	d.zkp("evidence", "tree").want(t, 0, "Wrote evidence to tree: 2 new or newer, 0 as before, 0 crates without")
	d.zkp("evidence", "tree", "--refresh").want(t, 0, "0 crates without")
	d.zkp("evidence", "tree").want(t, 0, "0 new or newer, 2 as before")
	cached, err := filepath.Glob(filepath.Join(d.home, "registry", "cache", "*", "hello-proof-0.1.0.crate"))
	fatalIf(t, err)
	d.zkp(append([]string{"evidence", "other"}, cached...)...).want(t, 0, "Wrote evidence to other: 1 new or newer")
	tree := filepath.Join(d.dir, "tree")
	s.log.stop()

	d.forget()
	d.zkp("verify").want(t, 3, "the log "+origin+" did not say whether it holds hello-proof 0.1.0")
	d.registry.TakeEvidence()
	d.registry.LoadEvidence(tree)
	d.forget()
	d.zkp("build").want(t, 0)
	d.forget()
	d.zkp("vendor").want(t, 0, "Vendored 2 crates in vendor")
	if found, err := filepath.Glob(filepath.Join(d.dir, "vendor", ".cratelog", "*.tlog-proof")); err != nil || len(found) != 2 {
		t.Errorf("beside what is vendored are %q, %v", found, err)
	}
	fatalIf(t, os.RemoveAll(filepath.Join(d.dir, "vendor")))

	path := registry.BundlePath(entry.DefaultRegistry, "hello-proof", "0.1.0", origin)
	good := d.registry.Evidence()[path]
	another := d.registry.Evidence()[registry.BundlePath(entry.DefaultRegistry, "hello-inner", "0.1.0", origin)]
	if len(good) == 0 || len(another) == 0 {
		t.Fatal("the tree has no bundle where there should be one")
	}
	tampered := bytes.Clone(good)
	tampered[len(tampered)/2]++
	for _, c := range []struct {
		b     []byte
		words string
	}{
		{tampered, "holds does not do: "},
		{bytes.Repeat(good, 200), "holds does not do: "},
		{another, "another crate: the entry is about hello-inner 0.1.0, wanted is hello-proof 0.1.0"},
		{nil, "did not say whether it holds hello-proof 0.1.0"},
	} {
		d.registry.SetEvidence(path, c.b)
		d.forget()
		d.zkp("verify").want(t, 3, c.words)
	}
	d.zkp("build").want(t, 3, "did not say whether it holds hello-proof 0.1.0")
	d.policy("require = \"all\"\nevidence = [\"nowhere\", \"tree\"]\n")
	d.registry.SetEvidence(path, tampered)
	d.forget()
	d.zkp("verify", "-v").want(t, 0, "2 crates proven", "holds does not do: ")
	d.registry.Meddle(func(w http.ResponseWriter, q *http.Request) bool {
		if strings.HasPrefix(q.URL.Path, "/evidence/") {
			http.Redirect(w, q, "http://example.com"+q.URL.Path, http.StatusFound)
			return true
		}
		return false
	})
	d.forget()
	d.zkp("verify", "--message-format", "json").want(t, 0)
	d.registry.Meddle(nil)

	mirror := registrytest.New(t)
	mirror.TakeEvidence()
	mirror.LoadEvidence(tree)
	d.registry.Announce(nil)
	d.policy("require = \"all\"\nevidence = [\"" + mirror.URL + "/evidence/\"]\n")
	d.forget()
	d.zkp("build").want(t, 0)
}

// TestWhatIsPublishedIsBuiltElsewhereWithoutALog: cargo zkp publish hands the evidence to a registry
// that takes it, and who depends on the crate never asks the log, nor is any other told its name.
func TestWhatIsPublishedIsBuiltElsewhereWithoutALog(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes the proving key, and proves")
	}
	fixture.Need(t, "cargo", "git")
	s, reg := newSite(t), registrytest.New(t)
	const token = "token-of-the-end-to-end-test"
	reg.SetToken(token, true) // also for reading
	reg.TakeEvidence()
	dir, home, at := filepath.Join(t.TempDir(), "work"), t.TempDir(), filepath.Join(t.TempDir(), "origin.git")
	fatalIf(t, os.MkdirAll(filepath.Join(dir, "src"), 0o755))
	write(t, filepath.Join(home, "credentials.toml"), "[registries.my]\ntoken = \""+token+"\"\n")
	write(t, filepath.Join(home, "config.toml"), "[registries.my]\nindex = \"sparse+"+reg.Index+"\"\n")
	write(t, filepath.Join(dir, "Cargo.toml"), "[package]\nname = \"our-secret\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"+
		"license = \"MIT\"\ndescription = \"a test\"\n[package.metadata.zkp]\nlog = \""+s.log.url+"\"\n")
	write(t, filepath.Join(dir, "src", "lib.rs"), "pub fn hello() {}\n")
	write(t, filepath.Join(dir, ".gitignore"), "/target\n/Cargo.lock\n")
	write(t, filepath.Join(dir, "zkp.toml"), "version = 1\ntrust = ["+quoted(s.policy)+"]\ndevelopment = true\n")
	env := []string{"CARGO_HOME=" + home, "GIT_CONFIG_GLOBAL=" + os.DevNull, "CARGO_TERM_COLOR=never",
		"RUSTUP_HOME=" + rustupHome(t), "XDG_STATE_HOME=" + t.TempDir(), "no_proxy=127.0.0.1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.example",
		"PATH=" + filepath.Dir(program(t, "cargo-zkp")) + string(os.PathListSeparator) + os.Getenv("PATH")}
	for _, args := range [][]string{{"init", "-q", "--bare", "--object-format=sha1", at},
		{"init", "-q", "--object-format=sha1"}, {"remote", "add", "origin", at},
		{"add", "-A"}, {"commit", "-q", "-m", "work"}, {"push", "-q", "origin", "HEAD:refs/heads/main"}} {
		command(t, dir, env, "git", args...).want(t, 0)
	}
	command(t, dir, env, "cargo", "zkp", "publish", "--registry", "my").want(t, 0, "uploaded what is logged",
		"Handed the evidence of our-secret v0.1.0 to the registry")
	command(t, dir, env, "cargo", "zkp", "publish", "--registry", "my").want(t, 0,
		"the registry has the evidence of our-secret v0.1.0")
	s.addLogURL()
	s.log.stop()

	d := newDependent(t, s, "our-secret = { version = \"0.1.0\", registry = \"my\" }\n")
	d.write(".cargo/config.toml", "[registries.my]\nindex = \"sparse+"+reg.Index+"\"\n")
	write(t, filepath.Join(d.home, "credentials.toml"), "[registries.my]\ntoken = \""+token+"\"\n")
	d.env = append(d.env, "CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS=cargo:token")
	d.policy("require = \"all\"\n[registry.\"sparse+" + reg.Index + "\"]\nlogs = [\"" + origin + "\"]\n")
	d.zkp("build").want(t, 0)
	if q := d.registry.Requests(); len(q) != 0 {
		t.Errorf("another registry is asked %q", q)
	}
}
