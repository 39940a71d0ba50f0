package publish

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/credential"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/internal/outcome"
)

func nothing(*Config) {}

func TestWhatIsNotCommittedOrNotPushedIsRefused(t *testing.T) {
	s := newSite(t)
	s.pkg("", "hello-publish", "0.1.0", "")
	_, err := s.run()
	says(t, fmt.Sprint(err), "commit")
	s.commit()
	s.refused(nothing, "no remote branch or tag that this repository knows contains commit "+s.git(s.dir, "rev-parse", "HEAD"), "push it first, or pass --unpushed")
	said := s.mustRun(func(c *Config) { c.Unpushed, c.DryRun = true, true })
	if !strings.Contains(said, "warning: hello-publish v0.1.0: no remote branch") {
		t.Error("it does not warn")
	}
	s.git(s.dir, "push", "-q", "origin", "HEAD:refs/heads/main")
	s.write(filepath.Join(s.dir, "src", "lib.rs"), "pub fn evil() {}\n")
	s.refused(nothing, "cargo package failed", "not everything is committed", "M src/lib.rs", "--allow-dirty is no way around it")
	// cargo does not see this one.
	s.git(s.dir, "update-index", "--assume-unchanged", "src/lib.rs")
	s.refused(nothing, "hello-publish v0.1.0", "src/lib.rs: its content differs")
	if s.logged() != 0 || s.arrived() != nil {
		t.Error("something was logged or published")
	}
}

func TestACrateOutsideOfGitIsRefused(t *testing.T) {
	s := newSite(t)
	s.pkg("", "hello-publish", "0.1.0", "")
	fatalIf(t, os.RemoveAll(filepath.Join(s.dir, ".git")))
	_, err := s.run()
	says(t, fmt.Sprint(err), "git repository")
}

func TestAVersionThatStandsForOtherBytesIsRefusedBeforeAnythingIsProved(t *testing.T) {
	s := newSite(t)
	s.release("0.1.0")
	s.mustRun(logOnly)
	made, commit := s.forger.made, s.git(s.dir, "rev-parse", "HEAD")
	s.write(filepath.Join(s.dir, "src", "lib.rs"), "pub fn other() {}\n")
	s.push()
	s.refused(nothing, "the log at", "an entry for this version already", "about another .crate", "a version has one checksum in a log: publish those bytes, or a new version",
		"what is logged was made of commit "+commit, "git checkout "+commit)

	s.release("0.2.0")
	s.reg.AddCrate(makeOther("hello-publish", "0.2.0"))
	s.refused(nothing, "the registry lists hello-publish v0.2.0 with SHA-256", "published already, with other bytes")
	if s.forger.made != made || s.logged() != 1 || s.arrived() != nil {
		t.Errorf("%d proofs, log of %d", s.forger.made, s.logged())
	}
}

// TestADryRunGoesOnWithWhatIsPublishedAlready, as cargo's does: versions change last.
func TestADryRunGoesOnWithWhatIsPublishedAlready(t *testing.T) {
	s := newSite(t)
	s.release("0.1.0")
	s.mustRun(logOnly)
	kept, err := os.ReadFile(s.kept("0.1.0", credential.ExtBundle))
	fatalIf(t, err)
	s.reg.AddCrate(makeOther("hello-publish", "0.1.0"))
	s.write(filepath.Join(s.dir, "src", "lib.rs"), "pub fn more() {}\n")
	s.push()
	said := s.mustRun(dryRun)
	says(t, said, "warning: the registry lists hello-publish v0.1.0 with SHA-256", "warning: hello-publish v0.1.0: the log at",
		"what is logged was made of commit ", "Proved hello-publish v0.1.0", "nothing was logged or published")
	if b, err := os.ReadFile(s.kept("0.1.0", credential.ExtBundle)); err != nil || string(b) != string(kept) {
		t.Errorf("a dry run removed the bundle of the release: %v", err)
	}
	if s.forger.made != 2 || s.logged() != 1 || s.arrived() != nil {
		t.Errorf("%d proofs, log of %d", s.forger.made, s.logged())
	}
}

// TestNothingIsLoggedThatCannotBeUploaded: the first entry of a version fixes its checksum.
func TestNothingIsLoggedThatCannotBeUploaded(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.release("0.1.0")
	credentials := filepath.Join(s.home, "credentials.toml")
	token, err := os.ReadFile(credentials)
	fatalIf(t, err)
	fatalIf(t, os.Remove(credentials))
	fails := func(words ...string) {
		t.Helper()
		_, err := s.run()
		if outcome.Of(err) != outcome.Unchecked {
			t.Errorf("outcome of %v", err)
		}
		says(t, fmt.Sprint(err), append(words, "nothing was logged or published")...)
		if s.forger.made != 0 || s.logged() != 0 || s.arrived() != nil {
			t.Fatalf("%d proofs, log of %d", s.forger.made, s.logged())
		}
	}
	fails("no token was found for the registry my", "CARGO_REGISTRIES_MY_TOKEN")
	s.configure("credential-provider = [\"" + s.provider() + "\"]\n")
	fails("no token was found for the registry my")
	s.configure("")
	s.write(credentials, string(token))
	s.reg.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("User-Agent") != "test" { // cargo itself, which packages
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	fails("the registry my cannot be asked", "500 Internal Server Error")
	s.reg.Meddle(nil)
	s.mustRun()
	s.uploads(1)
}

func TestMistakesOfTheCallerAreNamed(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.pkg("", "hello-publish", "0.1.0", "publish = [\"my\"]\n")
	s.push()
	for what, c := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"unknown member": {func(c *Config) { c.Selection.Packages = []string{"nobody"} }, `no member of the workspace at ` + s.dir + ` is named "nobody"`},
		"exclude alone":  {func(c *Config) { c.Selection.Exclude = []string{"x"} }, "--exclude can only be used with --workspace"},
		"two registries": {func(c *Config) { c.Index = "sparse+https://registry.example.com/" }, "--registry or --index, not both"},
		"no log":         {func(c *Config) { c.Log, c.Policy.Trust = "", nil }, "which log is to hold the entries?"},
		"a log that only a trust file names": {func(c *Config) { c.Log = "" }, "which log is to hold the entries? What is logged is public, " +
			"so no log counts for the registry my only because a trust file names it: pass --log URL, or write log = \"URL\" under " +
			"[package.metadata.zkp] or [workspace.metadata.zkp] in Cargo.toml, or logs = [\"ORIGIN\"] under [registry.\"sparse+" +
			s.reg.Index + "\"] in zkp.toml, of a log whose URL a trust file has"},
		"a trust file amiss": {func(c *Config) { c.Policy.Trust = []string{filepath.Join(s.dir, "gone")} }, "gone"},
		"not allowed there":  {func(c *Config) { c.Registry = "other" }, `may not be published to the registry other: "publish" in its Cargo.toml lists ["my"]`},
		"a missing manifest": {func(c *Config) { c.Cargo.Manifest = filepath.Join(s.dir, "gone.toml") }, "gone.toml"},
	} {
		_, err := s.run(c.edit)
		says(t, what+": "+fmt.Sprint(err), c.want)
	}
	// Without --log the trust file's log counts where the policy lets it be told of the registry's crates, and without
	// --registry the package's.
	s.write(filepath.Join(s.dir, policy.FileName), "version = 1\n[registry.\"sparse+"+s.reg.Index+"\"]\nlogs = [\"publish.example/log\"]\n")
	s.mustRun(func(c *Config) { c.Log, c.Registry = "", "" })
	s.uploads(1)
}

func TestALogThatIsDownOrLiesStopsEverything(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.release("0.1.0")
	_, err := s.run(func(c *Config) { c.Log = "http://127.0.0.1:1" })
	if outcome.Of(err) != outcome.Unchecked || !strings.Contains(err.Error(), "the log at http://127.0.0.1:1 cannot be asked") {
		t.Errorf("log down: %v", err)
	}
	if s.forger.made != 0 {
		t.Error("time was spent on a proof for a log that is down")
	}
	// Another log's good answer, which no witness of the publisher's policy has seen.
	elsewhere := newSite(t)
	elsewhere.dir, elsewhere.home = s.dir, s.home
	t.Setenv("CARGO_HOME", s.home)
	s.refused(func(c *Config) { c.Log = elsewhere.world.URL }, "the log's answer cannot be believed", "nothing was published")
	// A reader who does not accept what anybody can forge.
	s.refused(func(c *Config) { c.Policy.Development = false }, "your own policy does not accept it", "nothing was logged", "--development")
	if s.arrived() != nil {
		t.Error("something was published")
	}
}

func TestABusyLogIsAskedAgainWhenItSays(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.release("0.1.0")
	busy := 1
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && busy > 0 {
			busy--
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		s.world.Log.Handler().ServeHTTP(w, r)
	}))
	defer front.Close()
	said := s.mustRun(func(c *Config) { c.Log = front.URL })
	if strings.Count(said, "the log is busy; again in 1s") != 1 || busy != 0 {
		t.Error(said)
	}
}

// A cargo that makes other bytes when it publishes than when it packaged.
func TestOtherBytesThanThoseLoggedAreNotUploaded(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.release("0.1.0")
	cargo, err := exec.LookPath("cargo")
	fatalIf(t, err)
	fickle := filepath.Join(t.TempDir(), "cargo")
	s.write(fickle, fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = publish ]; then echo '// more' >> src/lib.rs; git -c user.name=a -c user.email=a@b.example commit -q -a -m more; fi\nexec %s \"$@\"\n", cargo))
	fatalIf(t, os.Chmod(fickle, 0o755))
	withFickle := func(c *Config) { c.Cargo.Program = fickle }
	// guarded publishes a version with that cargo, and then with the usual one.
	guarded := func(t *testing.T, version string, edit func(*Config)) {
		t.Helper()
		s.release(version)
		if _, err := s.run(edit, withFickle); err == nil {
			t.Error("published")
		}
		s.unused(t)
		s.git(s.dir, "reset", "-q", "--hard", "origin/main")
		s.mustRun(edit)
		s.uploads(1)
	}
	for what, config := range map[string]string{
		"a token in the file":                "",
		"a provider for all registries":      "[registry]\nglobal-credential-providers = [\"cargo:token\"]\n",
		"a provider of the registry's":       "credential-provider = \"cargo:token\"\n",
		"a provider that is another program": "credential-provider = [\"" + s.provider() + "\", \"secret\"]\n",
	} {
		t.Run(what, func(t *testing.T) {
			s.configure(config)
			_, err := s.run(withFickle)
			if err == nil || !strings.Contains(s.out.String(), "cargo has packaged hello-publish 0.1.0 again with other bytes than those that were proved and logged") {
				t.Errorf("%v", err)
			}
			s.unused(t)
			s.git(s.dir, "reset", "-q", "--hard", "origin/main")
		})
	}
	t.Run("then with the usual one", func(t *testing.T) {
		s.mustRun()
		s.uploads(1)
	})
	t.Run("a provider of the environment's", func(t *testing.T) {
		t.Setenv("CARGO_REGISTRIES_MY_CREDENTIAL_PROVIDER", s.provider()+" secret")
		guarded(t, "0.1.3", nothing)
	})
	t.Run("providers of the environment's", func(t *testing.T) {
		s.configure("")
		t.Setenv(credential.GlobalVariable, "cargo:token")
		s.release("0.1.4")
		s.refused(nothing, "the environment sets CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS")
	})
	t.Run("with --token", func(t *testing.T) {
		s.reg.SetToken("on-the-command-line", false)
		guarded(t, "0.1.1", func(c *Config) { c.Token = "on-the-command-line" })
	})
	t.Run("with --index", func(t *testing.T) {
		s.write(filepath.Join(s.home, "config.toml"), "")
		guarded(t, "0.1.2", func(c *Config) {
			c.Registry, c.Index, c.Token = "", "sparse+"+s.reg.Index, "on-the-command-line"
		})
	})
}

// provider writes a credential provider that is not ours, and gives the token only if
// it is given the word "secret".
func (s *site) provider() string {
	s.t.Helper()
	name := filepath.Join(s.home, "other-provider")
	s.write(name, `#!/bin/sh
echo '{"v":[1]}'
while read -r line; do
  case "$line" in
    *'"secret"'*'"get"'*|*'"get"'*'"secret"'*) echo '{"Ok":{"kind":"get","token":"`+secret+`","cache":"session","operation_independent":true}}';;
    *) echo '{"Err":{"kind":"not-found"}}';;
  esac
done
`)
	fatalIf(s.t, os.Chmod(name, 0o755))
	return name
}

// options are how cargo's configuration names our provider.
func (s *site) options() string {
	return fmt.Sprintf("%q, \"--trust\", %q, \"--development\", \"--log\", %q", s.config().Guard, s.world.File, s.world.URL)
}

// plain runs cargo publish without us, but for what the configuration says.
func (s *site) plain(config string, args ...string) (string, error) {
	s.t.Helper()
	s.configure(config)
	cmd := exec.CommandContext(s.t.Context(), "cargo", append([]string{"publish", "--registry", "my", "--no-verify"}, args...)...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	s.t.Logf("%v\n%s", err, out)
	if strings.Contains(string(out), secret) {
		s.t.Error("the token was shown")
	}
	return string(out), err
}

func TestAPlainCargoPublishIsRefusedUntilTheCrateIsLogged(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.release("0.1.0")
	options := s.options()
	printed := filepath.Join(t.TempDir(), "token")
	s.write(printed, secret+"\n")
	alone := "credential-provider = [" + options + "]\n"
	ways := []struct{ what, config string }{
		{"alone", alone},
		{"with another program", "credential-provider = [" + options + ", \"--\", \"" + s.provider() + "\", \"secret\"]\n"},
		{"with a program that prints", "credential-provider = [" + options + ", \"--\", \"cargo:token-from-stdout\", \"cat\", \"" + printed + "\"]\n"},
		{"before the next in the list", "[credential-alias]\nlogged = [" + options + ", \"--next\"]\n[registry]\nglobal-credential-providers = [\"cargo:token\", \"logged\"]\n"},
	}
	for i, way := range ways {
		t.Run(way.what, func(t *testing.T) {
			said, err := s.plain(way.config)
			if err == nil {
				t.Error("published")
			}
			says(t, said, "is not known to be logged with a proof, so it is not published",
				"has no entry for hello-publish 0.1.", `run "cargo zkp publish"`)
			s.unused(t)
			s.mustRun(logOnly)
			if i == 0 { // the log has it as well
				fatalIf(t, os.RemoveAll(filepath.Join(s.dir, "target", "zkp")))
			}
			if _, err := s.plain(way.config); err != nil || len(s.reg.Published()) != 1 {
				t.Errorf("logged, and still refused: %v", err)
			}
			// Each way with a version of its own.
			s.release(fmt.Sprintf("0.1.%d", i+1))
		})
	}
	t.Run("a bundle about other bytes", func(t *testing.T) {
		s.mustRun(logOnly)
		s.write(filepath.Join(s.dir, "src", "lib.rs"), "pub fn other() {}\n")
		s.push()
		said, err := s.plain(alone)
		if err == nil || strings.Count(said, "it is about another .crate of this version, with SHA-256") != 2 {
			t.Errorf("%v", err)
		}
	})
	t.Run("nobody to believe", func(t *testing.T) {
		said, err := s.plain(fmt.Sprintf("credential-provider = [%q]\n", s.config().Guard))
		if err == nil || !strings.Contains(said, "no trust file says which logs and witnesses to believe") {
			t.Errorf("%v", err)
		}
	})
	t.Run("what is documented as a way around", func(t *testing.T) {
		if _, err := s.plain(alone, "--token", secret); err != nil || len(s.reg.Published()) != 1 {
			t.Errorf("cargo has changed: --token does not go past the provider: %v", err)
		}
	})
}

// What the documentation says of cargo, and cargo does.
func TestATokenInTheEnvironmentDoesNotGoPastTheProvider(t *testing.T) {
	s := newSite(t)
	s.release("0.1.0")
	t.Setenv(credential.TokenVariable("my"), secret)
	options := s.options()
	for _, config := range []string{
		"credential-provider = [" + options + "]\n",
		"[credential-alias]\nlogged = [" + options + ", \"--next\"]\n[registry]\nglobal-credential-providers = [\"cargo:token\", \"logged\"]\n",
	} {
		if said, err := s.plain(config); err == nil || !strings.Contains(said, "is not known to be logged") {
			t.Errorf("%v", err)
		}
	}
	s.unused(t)
}

func TestOnlyTheLogsOwnRefusalIsAnAnswer(t *testing.T) {
	for status, refused := range map[int]bool{400: true, 404: true, 409: true, 422: true, 429: false, 500: false, 503: false} {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }))
		_, err := Submit(t.Context(), &client.Log{URL: front.URL}, Submission{Entry: []byte("entry"), Crate: []byte("crate")})
		front.Close()
		if (outcome.Of(err) == outcome.Refused) != refused {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// A private registry wants a token for its index, too.
func TestAPrivateRegistryIsPublishedTo(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.reg.SetToken(secret, true)
	s.release("0.1.0")
	for i, config := range []string{
		"credential-provider = \"cargo:token\"\n",
		"[registry]\nglobal-credential-providers = [\"cargo:token\"]\n",
		"[registry]\nglobal-credential-providers = [\"" + s.provider() + " secret\"]\n",
	} {
		s.configure(config)
		s.release(fmt.Sprintf("0.1.%d", i+1))
		s.mustRun()
		s.uploads(1)
	}
	// Which of several gives the token for reading is cargo's to know.
	s.configure("[registry]\nglobal-credential-providers = [\"cargo:token\", \"" + s.provider() + " x\"]\n")
	s.release("0.2.0")
	s.refused(nothing, "the registry my demands a token for reading", "name the one that gives its token")
}
