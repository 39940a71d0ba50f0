package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/internal/registrytest"
)

// TestACrateIsPublishedWithItsProof is a publisher's first day, through cargo and the
// programs: a plain cargo publish is refused by the credential provider; cargo zkp
// publish proves for real, logs and uploads; a reader verifies what the registry has.
func TestACrateIsPublishedWithItsProof(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes the proving key, and proves")
	}
	fixture.Need(t, "cargo", "git")
	s, reg := newSite(t), registrytest.New(t)
	const token = "token-of-the-end-to-end-test"
	reg.SetToken(token, false)
	dir, home, origin := filepath.Join(t.TempDir(), "work"), t.TempDir(), filepath.Join(t.TempDir(), "origin.git")
	fatalIf(t, os.MkdirAll(filepath.Join(dir, "src"), 0o755))
	write(t, filepath.Join(home, "credentials.toml"), "[registries.my]\ntoken = \""+token+"\"\n")
	write(t, filepath.Join(dir, "Cargo.toml"),
		"[package]\nname = \"hello-publish\"\nversion = \"0.1.0\"\nedition = \"2021\"\nlicense = \"MIT\"\ndescription = \"a test\"\n"+
			"[package.metadata.zkp]\nlog = \""+s.log.url+"\"\n")
	write(t, filepath.Join(dir, "src", "lib.rs"), "pub fn hello() {}\n")
	write(t, filepath.Join(dir, ".gitignore"), "/target\n/Cargo.lock\n")
	write(t, filepath.Join(dir, "zkp.toml"), "version = 1\ntrust = [\""+s.policy+"\"]\ndevelopment = true\n")
	write(t, filepath.Join(home, "config.toml"),
		"[registries.my]\nindex = \"sparse+"+reg.Index+"\"\ncredential-provider = [\"cargo-zkp\"]\n")
	env := []string{"CARGO_HOME=" + home, "GIT_CONFIG_GLOBAL=" + os.DevNull, "CARGO_TERM_COLOR=never",
		"RUSTUP_HOME=" + rustupHome(t), "XDG_STATE_HOME=" + t.TempDir(),
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.example",
		"PATH=" + filepath.Dir(program(t, "cargo-zkp")) + string(os.PathListSeparator) + os.Getenv("PATH")}
	run := func(name string, args ...string) outcome {
		t.Helper()
		o := command(t, dir, env, name, args...)
		if strings.Contains(o.stdout+o.stderr, token) {
			t.Error("the token was shown")
		}
		return o
	}
	for _, args := range [][]string{{"init", "-q", "--bare", "--object-format=sha1", origin},
		{"init", "-q", "--object-format=sha1"}, {"remote", "add", "origin", origin},
		{"add", "-A"}, {"commit", "-q", "-m", "work"}, {"push", "-q", "origin", "HEAD:refs/heads/main"}} {
		run("git", args...).want(t, 0)
	}

	plain := []string{"publish", "--registry", "my", "--no-verify"}
	run("cargo", plain...).want(t, 101, "hello-publish 0.1.0 (SHA-256 ",
		"is not known to be logged with a proof, so it is not published",
		"the trust files name none by its URL", `run "cargo zkp publish" instead of "cargo publish"`)
	if len(reg.Published()) != 0 {
		t.Fatal("it was published without a proof")
	}

	run("cargo", "zkp", "publish", "--registry", "my").want(t, 0,
		"Compared hello-publish v0.1.0 with commit", "Proved hello-publish v0.1.0 in", "GB of memory",
		"Logged hello-publish v0.1.0 as entry 0", "uploaded what is logged")
	published := reg.Published()
	if len(published) != 1 {
		t.Fatalf("%d releases arrived", len(published))
	}
	file := filepath.Join(t.TempDir(), "hello-publish-0.1.0.crate")
	write(t, file, string(published[0].Raw))
	bundle := filepath.Join(dir, "target", "zkp", "hello-publish-0.1.0", "hello-publish-0.1.0.tlog-proof")
	s.verify(t, file, "--bundle", bundle, "--registry", reg.Index).want(t, 0, "Finished hello-publish v0.1.0 is the source of commit")

	run("cargo", "zkp", "publish", "--registry", "my").want(t, 0, "Fresh hello-publish v0.1.0 is logged",
		"published already, with these bytes")
	// The provider lets these bytes pass now; that they are there is the registry's to say.
	run("cargo", plain...).want(t, 101, "already")
}
