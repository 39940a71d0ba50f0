package publish

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"cratelog/cargo/credential"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/loopback"
	"cratelog/internal/outcome"
	"cratelog/log"
)

// newBackedSite is a site whose log takes only what the registry lists.
func newBackedSite(t *testing.T) *site {
	t.Helper()
	return newSiteWith(t, loopback.Config{}, func(s *site, c *loopback.Config) { c.Registries = s.registries() })
}

func (s *site) registries() []log.Registry {
	return []log.Registry{{Subject: entry.Registry("sparse+" + s.reg.Index), Index: s.reg.Index}}
}

// quick lets no time pass while a run waits, but for the log, which forgets what the registry did not
// list.
func (s *site) quick(c *Config) {
	c.testingOnlyWait = func(ctx context.Context, _ time.Duration) error {
		if err := s.world.Log.SetRegistries(s.registries(), 10000); err != nil {
			return err
		}
		return ctx.Err()
	}
}

// interrupted ends a run when it begins to wait.
func interrupted(c *Config) {
	c.testingOnlyWait = func(context.Context, time.Duration) error { return context.Canceled }
}

func inOrderOf(t *testing.T, said string, words ...string) {
	t.Helper()
	rest := said
	for _, w := range words {
		at := strings.Index(rest, w)
		if at < 0 {
			t.Fatalf("it does not say %q there:\n%s", w, said)
		}
		rest = rest[at+len(w):]
	}
}

func TestACrateIsUploadedAndThenLoggedWhereTheLogAsksTheRegistry(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newBackedSite(t)
	s.release("0.1.0")
	inOrderOf(t, s.mustRun(dryRun), "Order upload, then log: so the log says of itself", "nothing was logged or published")
	backed := func(c *Config) { c.Policy.RegistryBacked = []string{"publish.example/log"} }
	inOrderOf(t, s.mustRun(dryRun, backed), "Order upload, then log: the policy calls the log publish.example/log registry-backed")
	s.uploads(0)

	// --log-only uploads nothing, and says what is left to do.
	_, err := s.run(logOnly)
	if outcome.Of(err) != outcome.Unchecked {
		t.Errorf("log only: %v", err)
	}
	says(t, fmt.Sprint(err), "takes only what the registry lists, which does not list hello-publish v0.1.0 yet", "publish with \"cargo publish\"")
	s.uploads(0)

	said := s.mustRun(s.quick)
	inOrderOf(t, said, "Submitting hello-publish v0.1.0", "Uploading hello-publish v0.1.0 before it is logged",
		"readers who require proofs of all crates cannot use it", "uploaded what is proved, SHA-256", "Waiting hello-publish v0.1.0", "Logged hello-publish v0.1.0 as entry 0")
	s.uploads(1)
	said = s.mustRun(s.quick)
	says(t, said, "is logged, as the bundle in", "published already, with these bytes")
	if s.forger.made != 1 || s.logged() != 1 {
		t.Errorf("%d proofs, log of %d", s.forger.made, s.logged())
	}
	s.uploads(0)
}

// TestALogThatIsNotWhatThePolicyCallsItIsNamed: it took what no registry lists.
func TestALogThatIsNotWhatThePolicyCallsItIsNamed(t *testing.T) {
	s := newSite(t)
	s.release("0.1.0")
	said := s.mustRun(func(c *Config) { c.Policy.RegistryBacked = []string{"publish.example/log"} })
	inOrderOf(t, said, "Order upload, then log", "Logged hello-publish v0.1.0 as entry 0",
		"warning: the policy calls the log publish.example/log registry-backed, and it has taken hello-publish v0.1.0")
	s.uploads(1)
	s.release("0.2.0")
	inOrderOf(t, s.mustRun(), "Order log, then upload; no policy calls the log registry-backed", "Logged hello-publish v0.2.0 as entry 2")
}

// TestAnEndBetweenUploadAndLogLosesNothing, whatever is left on the disk.
func TestAnEndBetweenUploadAndLogLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newBackedSite(t)
	for i, version := range []string{"0.1.0", "0.2.0"} {
		s.release(version)
		_, err := s.run(interrupted)
		says(t, fmt.Sprint(err), "hello-publish v"+version+" is published, and not logged", "run the same command again")
		if got := s.reg.Published(); len(got) != 1 || s.logged() != int64(i) {
			t.Fatalf("%d uploads, log of %d", len(got), s.logged())
		}
		made := s.forger.made
		if i == 1 { // all of it lost: the registry has what was uploaded
			fatalIf(t, os.RemoveAll(string(s.store())))
			made++
		}
		said := s.mustRun(s.quick, logOnly)
		inOrderOf(t, said, "Logged hello-publish v"+version, "logged; it was published before")
		says(t, s.mustRun(s.quick), "published already, with these bytes")
		if got := s.reg.Published(); len(got) != 0 || s.logged() != int64(i+1) || s.forger.made != made {
			t.Errorf("%d uploads, log of %d, %d proofs", len(got), s.logged(), s.forger.made)
		}
	}
}

// TestTheIndexMayLag: a registry shows to cargo what it does not show to the log yet.
func TestTheIndexMayLag(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newBackedSite(t)
	s.release("0.1.0")
	var left atomic.Int32
	left.Store(1 << 30)
	s.reg.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("User-Agent") != "cratelog-logd" || strings.HasSuffix(r.URL.Path, "config.json") || left.Add(-1) < 0 {
			return false
		}
		http.NotFound(w, r)
		return true
	})
	_, err := s.run(s.quick)
	if outcome.Of(err) != outcome.Unchecked {
		t.Errorf("an index that does not move: %v", err)
	}
	says(t, fmt.Sprint(err), "is published, and not logged", "does not take it within 15m0s", "not-in-registry")
	left.Store(5)
	said := s.mustRun(s.quick)
	if n := strings.Count(said, "Waiting hello-publish"); n < 5 || n > 6 {
		t.Errorf("it waited %d times:\n%s", n, said)
	}
	if s.logged() != 1 || s.forger.made != 1 {
		t.Errorf("%d proofs, log of %d", s.forger.made, s.logged())
	}
	s.uploads(1)
}

// TestALogThatHasEndedIsNotPublishedWith: it would take nothing after the upload.
func TestALogThatHasEndedIsNotPublishedWith(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package")
	}
	s := newBackedSite(t)
	s.release("0.1.0")
	s.mustRun(dryRun)
	text, err := (&client.Frozen{Origin: "publish.example/log", Time: time.Now()}).Text()
	fatalIf(t, err)
	said, err := note.Sign(&note.Note{Text: text}, s.world.Signer)
	fatalIf(t, err)
	to, err := url.Parse(s.world.URL)
	fatalIf(t, err)
	live := httputil.NewSingleHostReverseProxy(to)
	ended, err := s.world.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/frozen" {
			live.ServeHTTP(w, r)
			return
		}
		_, err := w.Write(said)
		fatalIf(t, err)
	}))
	fatalIf(t, err)
	s.refused(func(c *Config) { c.Log = ended }, "says that it has ended", "nothing was logged or published")
	s.configure(s.guarded("--registry-backed", "publish.example/log", "--log", ended))
	cfg := s.config()
	if cfg.Cargo.run(t.Context(), nil, "publish", "--no-verify", "--registry", "my") == nil {
		t.Error("published")
	}
	says(t, s.out.String(), "is neither logged nor ready to be", "says that it has ended")
	s.uploads(0)
}

// TestARegistryThatFailsTheLogAfterTheUploadIsWaitedOut, unless it asks for more patience than anybody has.
func TestARegistryThatFailsTheLogAfterTheUploadIsWaitedOut(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package")
	}
	s := newBackedSite(t)
	s.release("0.1.0")
	var uploaded, left atomic.Int32
	retry := "900"
	s.reg.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			uploaded.Store(1)
		}
		if r.Header.Get("User-Agent") != "cratelog-logd" || uploaded.Load() == 0 || left.Add(-1) < 0 {
			return false
		}
		w.Header().Set("Retry-After", retry)
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	left.Store(1 << 30)
	_, err := s.run(s.quick)
	if outcome.Of(err) != outcome.Unchecked {
		t.Errorf("a registry that wants to be left alone: %v", err)
	}
	says(t, fmt.Sprint(err), "is published, and not logged", "does not take it within 15m0s", "registry-unavailable")
	fatalIf(t, s.world.Log.SetRegistries(s.registries(), 10000))
	left.Store(1)
	retry = "700" // more than one submission waits
	says(t, s.mustRun(s.quick), "Waiting hello-publish v0.1.0", "Logged hello-publish v0.1.0 as entry 0")
	s.uploads(1)
}

func TestNothingIsUploadedThatTheLogWouldNotTake(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newBackedSite(t)
	s.release("0.1.0")
	fatalIf(t, s.world.Log.SetRegistries([]log.Registry{{Subject: entry.DefaultRegistry, Index: s.reg.Index}}, 0))
	s.refused(nothing, "registry-refused", "takes crates of these registries only")
	s.uploads(0)
	fatalIf(t, s.world.Log.SetRegistries(s.registries(), 0))
	s.reg.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("User-Agent") != "cratelog-logd" {
			return false
		}
		w.Header().Set("Retry-After", "3000") // longer than anybody waits
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	_, err := s.run()
	if outcome.Of(err) != outcome.Unchecked || !strings.Contains(fmt.Sprint(err), "registry-unavailable") {
		t.Errorf("a registry that is busy: %v", err)
	}
	s.uploads(0)
	if s.logged() != 0 {
		t.Error("something was logged")
	}
}

func TestAWorkspaceIsUploadedAndThenLogged(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newBackedSite(t)
	s.write(filepath.Join(s.dir, "Cargo.toml"), "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"2\"\n")
	s.pkg("crates/base", "base", "0.1.0", "")
	s.pkg("crates/top", "top", "0.1.0", "[dependencies]\nbase = { version = \"0.1.0\", path = \"../base\", registry-index = \"sparse+"+s.reg.Index+"\" }\n")
	s.push()
	all := func(c *Config) { c.Selection.Workspace = true }
	// The registry takes the first, and no more.
	var uploads atomic.Int32
	s.reg.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || uploads.Add(1) == 1 {
			return false
		}
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	_, err := s.run(all, s.quick)
	says(t, fmt.Sprint(err), "cargo publish failed for top v0.1.0", "it is proved, and nothing is lost")
	s.reg.Meddle(nil)
	s.mustRun(all, s.quick)
	if got := s.arrived(); !slices.Equal(got, []string{"base 0.1.0", "top 0.1.0"}) || s.logged() != 2 || s.forger.made != 2 {
		t.Errorf("uploaded %v, log of %d, %d proofs", got, s.logged(), s.forger.made)
	}
}

// guarded is cargo's credential provider, as the configuration names it, with options.
func (s *site) guarded(options ...string) string {
	self, err := os.Executable()
	fatalIf(s.t, err)
	if !slices.Contains(options, "--log") {
		options = append(slices.Clone(options), "--log", s.world.URL)
	}
	quoted := make([]string, 0, len(options)+5)
	for _, w := range append([]string{self, "--trust", s.world.File, "--development", "--bundles", string(s.store())}, options...) {
		quoted = append(quoted, fmt.Sprintf("%q", w))
	}
	return "credential-provider = [" + strings.Join(quoted, ", ") + "]\n"
}

// TestTheProviderAsksForAnEntryThatIsReadyWhereTheLogAsksTheRegistry: with real cargo, and as the
// reader's own settings say. What the log says of itself does not count.
func TestTheProviderAsksForAnEntryThatIsReadyWhereTheLogAsksTheRegistry(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newBackedSite(t)
	s.release("0.1.0")
	plain := func(words ...string) {
		t.Helper()
		cfg := s.config()
		s.out.reset()
		err := cfg.Cargo.run(t.Context(), nil, "publish", "--no-verify", "--registry", "my")
		said := s.out.String()
		t.Logf("%v\n%s", err, said)
		if (err == nil) != (len(s.reg.Published()) == 1) {
			t.Errorf("cargo says %v", err)
		}
		says(t, said, words...)
	}
	backed := []string{"--registry-backed", "publish.example/log"}
	s.configure(s.guarded(backed...))
	plain("is neither logged nor ready to be", "no entry about hello-publish 0.1.0 is ready", "cargo zkp publish --dry-run")
	s.mustRun(dryRun)
	s.configure(s.guarded())
	plain("is not known to be logged with a proof")
	s.configure(s.guarded("--registry-backed", "another.example/log"))
	plain("it is publish.example/log, which the policy does not call registry-backed")
	s.configure(s.guarded(append(backed, "--log", "http://127.0.0.1:1/")...))
	plain("none of the logs that the policy calls registry-backed answers")

	// An entry that is not true, or of other bytes.
	s.configure(s.guarded(backed...))
	for _, ext := range []string{credential.ExtEntry, credential.ExtCrate} {
		good, err := os.ReadFile(s.kept("0.1.0", ext))
		fatalIf(t, err)
		bad := slices.Clone(good)
		bad[len(bad)-9] ^= 1
		s.write(s.kept("0.1.0", ext), string(bad))
		plain("is neither logged nor ready to be")
		s.write(s.kept("0.1.0", ext), string(good))
	}
	s.write(filepath.Join(s.dir, "src", "lib.rs"), "pub fn other() {}\n")
	s.commit()
	plain("it is about another .crate of this version")
	s.git(s.dir, "reset", "-q", "--hard", "HEAD^")

	// Readers will ask for the opening: so does the provider.
	settings := filepath.Join(s.dir, "zkp.toml")
	s.write(settings, "version = 1\nopening = \"required\"\n")
	plain("there is no opening of hello-publish 0.1.0", "zkp.toml requires openings")
	fatalIf(t, os.Remove(settings))

	plain("hello-publish 0.1.0 may be published, and is to be logged when the registry lists it", "cargo zkp publish --log-only")
	if s.logged() != 0 {
		t.Error("logged")
	}
	s.mustRun(s.quick, logOnly)
	if s.logged() != 1 || s.forger.made != 1 {
		t.Errorf("%d proofs, log of %d", s.forger.made, s.logged())
	}
}

// TestWhatThePolicyWillNotHaveIsNeitherUploadedNorLogged: what readers will ask for is asked for before the
// upload, or the entry that cannot be taken back.
func TestWhatThePolicyWillNotHaveIsNeitherUploadedNorLogged(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	for name, site := range map[string]func(*testing.T) *site{"upload, then log": newBackedSite, "log, then upload": newSite} {
		t.Run(name, func(t *testing.T) {
			s := site(t)
			s.release("0.1.0") // private: there is no opening
			settings := filepath.Join(s.dir, "zkp.toml")
			s.write(settings, "version = 1\nopening = \"required\"\n")
			s.refused(nothing, "your own policy does not accept it", "there is no opening of hello-publish 0.1.0", "zkp.toml requires openings")
			s.refused(dryRun, "there is no opening of hello-publish 0.1.0")
			s.write(settings, "version = 1\n[[expect]]\ncrate = \"hello-publish\"\npath = \"elsewhere\"\n")
			s.refused(nothing, "your own policy does not accept it", "elsewhere")
			s.uploads(0)
			if s.logged() != 0 {
				t.Error("logged")
			}
			s.write(settings, "version = 1\nopening = \"required\"\n")
			open := func(c *Config) { c.Opening = new(true) }
			if name == "upload, then log" {
				s.mustRun(s.quick, open)
			} else {
				s.mustRun(open)
			}
			s.uploads(1)
		})
	}
}

// TestALoggedCrateIsSaidToBeLogged also where its bundle cannot be kept, as on a full disk.
func TestALoggedCrateIsSaidToBeLogged(t *testing.T) {
	for name, site := range map[string]func(*testing.T) *site{"upload, then log": newBackedSite, "log, then upload": newSite} {
		t.Run(name, func(t *testing.T) {
			s := site(t)
			s.release("0.1.0")
			fatalIf(t, os.MkdirAll(s.kept("0.1.0", credential.ExtBundle), 0o755)) // no file can take its place
			_, err := s.run(s.quick)
			if s.logged() != 1 || outcome.Of(err) != outcome.Unchecked {
				t.Fatalf("log of %d, %v", s.logged(), err)
			}
			says(t, fmt.Sprint(err), "hello-publish v0.1.0 is logged, as entry 0, and its bundle cannot be kept", "run the same command again")
			if strings.Contains(fmt.Sprint(err), "not logged") {
				t.Error("it says that it is not logged")
			}
			fatalIf(t, os.Remove(s.kept("0.1.0", credential.ExtBundle)))
			s.mustRun(s.quick)
			if s.logged() != 1 || s.forger.made != 1 {
				t.Errorf("%d proofs, log of %d", s.forger.made, s.logged())
			}
		})
	}
}
