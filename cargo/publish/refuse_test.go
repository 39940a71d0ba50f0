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
	"cratelog/client"
	"cratelog/internal/outcome"
)

func nothing(*Config) {}

func TestWhatIsNotCommittedOrNotPushedIsRefused(t *testing.T) {
	s := newSite(t)
	s.pkg("", "hello-publish", "0.1.0", "")
	_, err := s.run()
	if err == nil || !strings.Contains(err.Error(), "commit") {
		t.Errorf("nothing committed: %v", err)
	}
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
	if err := os.RemoveAll(filepath.Join(s.dir, ".git")); err != nil {
		t.Fatal(err)
	}
	_, err := s.run()
	if err == nil || !strings.Contains(err.Error(), "git repository") {
		t.Error(err)
	}
}

func TestAVersionThatStandsForOtherBytesIsRefusedBeforeAnythingIsProved(t *testing.T) {
	s := newSite(t)
	s.pkg("", "hello-publish", "0.1.0", "")
	s.push()
	s.mustRun(func(c *Config) { c.LogOnly = true })
	made := s.forger.made
	s.write(filepath.Join(s.dir, "src", "lib.rs"), "pub fn other() {}\n")
	s.push()
	s.refused(nothing, "the log at", "an entry for this version already", "about another .crate", "a version is logged once: publish those bytes, or a new version")

	s.pkg("", "hello-publish", "0.2.0", "")
	s.push()
	s.reg.AddCrate(makeOther("hello-publish", "0.2.0"))
	s.refused(nothing, "the registry lists hello-publish v0.2.0 with SHA-256", "published already, with other bytes")
	if s.forger.made != made || s.logged() != 1 || s.arrived() != nil {
		t.Errorf("%d proofs, log of %d", s.forger.made, s.logged())
	}
}

func TestMistakesOfTheCallerAreNamed(t *testing.T) {
	s := newSite(t)
	s.pkg("", "hello-publish", "0.1.0", "publish = [\"my\"]\n")
	s.push()
	for what, c := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"unknown member":     {func(c *Config) { c.Selection.Packages = []string{"nobody"} }, `no member of the workspace at ` + s.dir + ` is named "nobody"`},
		"exclude alone":      {func(c *Config) { c.Selection.Exclude = []string{"x"} }, "--exclude can only be used with --workspace"},
		"two registries":     {func(c *Config) { c.Index = "sparse+https://registry.example.com/" }, "--registry or --index, not both"},
		"no log":             {func(c *Config) { c.Log, c.Policy.Trust = "", nil }, "which log is to hold the entries?"},
		"a trust file amiss": {func(c *Config) { c.Policy.Trust = []string{filepath.Join(s.dir, "gone")} }, "gone"},
		"not allowed there":  {func(c *Config) { c.Registry = "other" }, `may not be published to the registry other: "publish" in its Cargo.toml lists ["my"]`},
		"a missing manifest": {func(c *Config) { c.Cargo.Manifest = filepath.Join(s.dir, "gone.toml") }, "gone.toml"},
	} {
		_, err := s.run(c.edit)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: it does not say %q: %v", what, c.want, err)
		}
	}
	// Without --log the trust file's log counts, and without --registry the package's.
	s.mustRun(func(c *Config) { c.Log, c.Registry = "", "" })
	if got := s.arrived(); len(got) != 1 {
		t.Errorf("uploaded: %v", got)
	}
}

func TestALogThatIsDownOrLiesStopsEverything(t *testing.T) {
	s := newSite(t)
	s.pkg("", "hello-publish", "0.1.0", "")
	s.push()
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
	s.refused(func(c *Config) { c.Policy.Development = false }, "the log's answer cannot be believed", "--development")
	if s.arrived() != nil {
		t.Error("something was published")
	}
}

func TestABusyLogIsAskedAgainWhenItSays(t *testing.T) {
	s := newSite(t)
	s.pkg("", "hello-publish", "0.1.0", "")
	s.push()
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
	s := newSite(t)
	s.pkg("", "hello-publish", "0.1.0", "")
	s.push()
	cargo, err := exec.LookPath("cargo")
	if err != nil {
		t.Fatal(err)
	}
	fickle := filepath.Join(t.TempDir(), "cargo")
	s.write(fickle, fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = publish ]; then echo '// more' >> src/lib.rs; git -c user.name=a -c user.email=a@b.example commit -q -a -m more; fi\nexec %s \"$@\"\n", cargo))
	if err := os.Chmod(fickle, 0o755); err != nil {
		t.Fatal(err)
	}
	for what, config := range map[string]string{
		"a token in the file":                "",
		"a provider for all registries":      "[registry]\nglobal-credential-providers = [\"cargo:token\"]\n",
		"a provider of the registry's":       "credential-provider = \"cargo:token\"\n",
		"a provider that is another program": "credential-provider = [\"" + s.provider() + "\", \"secret\"]\n",
	} {
		t.Run(what, func(t *testing.T) {
			s.write(filepath.Join(s.home, "config.toml"), "[registries.my]\nindex = \"sparse+"+s.reg.Index+"\"\n"+config)
			_, err := s.run(func(c *Config) { c.Cargo.Program = fickle })
			if err == nil || !strings.Contains(s.out.String(), "cargo has packaged hello-publish 0.1.0 again with other bytes than those that were proved and logged") {
				t.Errorf("%v", err)
			}
			if got := s.reg.Published(); len(got) != 0 {
				t.Fatal("uploaded")
			}
			s.git(s.dir, "reset", "-q", "--hard", "origin/main")
		})
	}
	t.Run("then with the usual one", func(t *testing.T) {
		s.mustRun()
		if got := s.arrived(); len(got) != 1 {
			t.Errorf("uploaded: %v", got)
		}
	})
	t.Run("a provider of the environment's", func(t *testing.T) {
		t.Setenv("CARGO_REGISTRIES_MY_CREDENTIAL_PROVIDER", s.provider()+" secret")
		s.pkg("", "hello-publish", "0.1.3", "")
		s.push()
		_, err := s.run(func(c *Config) { c.Cargo.Program = fickle })
		if err == nil || len(s.reg.Published()) != 0 {
			t.Fatal("uploaded")
		}
		s.git(s.dir, "reset", "-q", "--hard", "origin/main")
		s.mustRun()
		if got := s.arrived(); len(got) != 1 {
			t.Errorf("uploaded: %v", got)
		}
	})
	t.Run("providers of the environment's", func(t *testing.T) {
		s.write(filepath.Join(s.home, "config.toml"), "[registries.my]\nindex = \"sparse+"+s.reg.Index+"\"\n")
		t.Setenv(credential.GlobalVariable, "cargo:token")
		s.pkg("", "hello-publish", "0.1.4", "")
		s.push()
		s.refused(nothing, "the environment sets CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS")
	})
	t.Run("with --token", func(t *testing.T) {
		s.reg.SetToken("on-the-command-line", false)
		s.pkg("", "hello-publish", "0.1.1", "")
		s.push()
		_, err := s.run(func(c *Config) { c.Cargo.Program, c.Token = fickle, "on-the-command-line" })
		if err == nil || len(s.reg.Published()) != 0 {
			t.Fatal("uploaded")
		}
		s.git(s.dir, "reset", "-q", "--hard", "origin/main")
		s.mustRun(func(c *Config) { c.Token = "on-the-command-line" })
		if got := s.arrived(); len(got) != 1 {
			t.Errorf("uploaded: %v", got)
		}
	})
	t.Run("with --index", func(t *testing.T) {
		s.write(filepath.Join(s.home, "config.toml"), "")
		s.pkg("", "hello-publish", "0.1.2", "")
		s.push()
		index := func(c *Config) {
			c.Registry, c.Index, c.Token = "", "sparse+"+s.reg.Index, "on-the-command-line"
		}
		_, err := s.run(index, func(c *Config) { c.Cargo.Program = fickle })
		if err == nil || len(s.reg.Published()) != 0 {
			t.Fatal("uploaded")
		}
		s.git(s.dir, "reset", "-q", "--hard", "origin/main")
		s.mustRun(index)
		if got := s.arrived(); len(got) != 1 {
			t.Errorf("uploaded: %v", got)
		}
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
	if err := os.Chmod(name, 0o755); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// plain runs cargo publish without us, but for what the configuration says.
func (s *site) plain(config string, args ...string) (string, error) {
	s.t.Helper()
	s.write(filepath.Join(s.home, "config.toml"), "[registries.my]\nindex = \"sparse+"+s.reg.Index+"\"\n"+config)
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
	s := newSite(t)
	s.pkg("", "hello-publish", "0.1.0", "")
	s.push()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("%q, \"--trust\", %q, \"--development\"", self, s.world.File)
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
			for _, w := range []string{"is not known to be logged with a proof, so it is not published", "has no entry for hello-publish 0.1.", `run "cargo zkp publish"`} {
				if err == nil || !strings.Contains(said, w) {
					t.Errorf("it does not say %q", w)
				}
			}
			if len(s.reg.Published()) != 0 {
				t.Fatal("uploaded")
			}
			s.mustRun(func(c *Config) { c.LogOnly = true })
			if i == 0 { // the log has it as well
				if err := os.RemoveAll(filepath.Join(s.dir, "target", "zkp")); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.plain(way.config); err != nil || len(s.reg.Published()) != 1 {
				t.Errorf("logged, and still refused: %v", err)
			}
			// Each way with a version of its own.
			s.pkg("", "hello-publish", fmt.Sprintf("0.1.%d", i+1), "")
			s.push()
		})
	}
	t.Run("a bundle about other bytes", func(t *testing.T) {
		s.mustRun(func(c *Config) { c.LogOnly = true })
		s.write(filepath.Join(s.dir, "src", "lib.rs"), "pub fn other() {}\n")
		s.push()
		said, err := s.plain(alone)
		if err == nil || strings.Count(said, "it is about another .crate of this version, with SHA-256") != 2 {
			t.Errorf("%v", err)
		}
	})
	t.Run("nobody to believe", func(t *testing.T) {
		said, err := s.plain(fmt.Sprintf("credential-provider = [%q]\n", self))
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
	s.pkg("", "hello-publish", "0.1.0", "")
	s.push()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(credential.TokenVariable("my"), secret)
	options := fmt.Sprintf("%q, \"--trust\", %q, \"--development\"", self, s.world.File)
	for _, config := range []string{
		"credential-provider = [" + options + "]\n",
		"[credential-alias]\nlogged = [" + options + ", \"--next\"]\n[registry]\nglobal-credential-providers = [\"cargo:token\", \"logged\"]\n",
	} {
		if said, err := s.plain(config); err == nil || !strings.Contains(said, "is not known to be logged") {
			t.Errorf("%v", err)
		}
	}
	if len(s.reg.Published()) != 0 {
		t.Error("uploaded")
	}
}

func TestOnlyTheLogsOwnRefusalIsAnAnswer(t *testing.T) {
	s := newSite(t)
	for status, refused := range map[int]bool{400: true, 404: true, 409: true, 422: true, 429: false, 500: false, 503: false} {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }))
		_, err := Submit(t.Context(), &client.Log{URL: front.URL}, []byte("entry"), []byte("crate"))
		front.Close()
		if (outcome.Of(err) == outcome.Refused) != refused {
			t.Errorf("%d: %v", status, err)
		}
	}
	_ = s
}

// A private registry wants a token for its index, too.
func TestAPrivateRegistryIsPublishedTo(t *testing.T) {
	s := newSite(t)
	s.reg.SetToken(secret, true)
	s.pkg("", "hello-publish", "0.1.0", "")
	s.push()
	index := "[registries.my]\nindex = \"sparse+" + s.reg.Index + "\"\n"
	for i, config := range []string{
		"credential-provider = \"cargo:token\"\n",
		"[registry]\nglobal-credential-providers = [\"cargo:token\"]\n",
		"[registry]\nglobal-credential-providers = [\"" + s.provider() + " secret\"]\n",
	} {
		s.write(filepath.Join(s.home, "config.toml"), index+config)
		s.pkg("", "hello-publish", fmt.Sprintf("0.1.%d", i+1), "")
		s.push()
		s.mustRun()
		if got := s.arrived(); len(got) != 1 {
			t.Errorf("%s: uploaded %v", config, got)
		}
	}
	// Which of several gives the token for reading is cargo's to know.
	s.write(filepath.Join(s.home, "config.toml"), index+"[registry]\nglobal-credential-providers = [\"cargo:token\", \""+s.provider()+" x\"]\n")
	s.pkg("", "hello-publish", "0.2.0", "")
	s.push()
	s.refused(nothing, "the registry my demands a token for reading", "name the one that gives its token")
}
