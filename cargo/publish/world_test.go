package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cratelog/cargo/credential"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/loopback"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
	"cratelog/proofcheck"
	"cratelog/prover"
	"cratelog/prover/git"
)

// TestMain lets the test binary be the credential provider that cargo starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == credential.PluginFlag {
		if err := credential.Main(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(fixture.Main(m))
}

const secret = "a-token-that-nobody-may-see"

// site is a publisher: a work tree with a remote, cargo's home with a token, a
// registry, and a log with three witnesses.
type site struct {
	t      *testing.T
	dir    string // the work tree
	home   string // CARGO_HOME
	reg    *registrytest.Registry
	world  *loopback.World
	forger *forger
	out    *output
}

func newSite(t *testing.T) *site { return newSiteWith(t, loopback.Config{}) }

// newSiteWith is newSite with another log; edit may look at the registry.
func newSiteWith(t *testing.T, cfg loopback.Config, edit ...func(*site, *loopback.Config)) *site {
	t.Helper()
	fixture.Need(t, "cargo", "git")
	s := &site{t: t, dir: filepath.Join(t.TempDir(), "work"), home: t.TempDir(), reg: registrytest.New(t), forger: newForger(t), out: &output{}}
	t.Setenv("CARGO_HOME", s.home)
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("CARGO_TERM_COLOR", "never")
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	s.reg.SetToken(secret, false)
	s.configure("")
	s.write(filepath.Join(s.home, "credentials.toml"), "[registries.my]\ntoken = \""+secret+"\"\n")
	var err error
	cfg.Origin, cfg.Dir = "publish.example/log", t.TempDir()
	for _, e := range edit {
		e(s, &cfg)
	}
	s.world, err = loopback.Start(t.Context(), cfg)
	fatalIf(t, err)
	t.Cleanup(func() {
		if err := s.world.Close(); err != nil {
			t.Error(err)
		}
	})
	origin := filepath.Join(t.TempDir(), "origin.git")
	s.git("", "init", "-q", "--bare", "--object-format=sha1", origin)
	s.git("", "init", "-q", "--object-format=sha1", s.dir)
	s.git(s.dir, "remote", "add", "origin", origin)
	s.write(filepath.Join(s.dir, ".gitignore"), "/target\nCargo.lock\nzkp.toml\n")
	return s
}

func (s *site) write(name, content string) {
	s.t.Helper()
	fatalIf(s.t, errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)))
}

// configure writes cargo's configuration: the registry's table, and more behind it.
func (s *site) configure(more string) {
	s.t.Helper()
	s.write(filepath.Join(s.home, "config.toml"), "[registries.my]\nindex = \"sparse+"+s.reg.Index+"\"\n"+more)
}

// kept is where a file about a version of hello-publish is kept.
func (s *site) kept(version, ext string) string { return s.store().File("hello-publish", version, ext) }

func (s *site) store() credential.Dir { return credential.Dir(filepath.Join(s.dir, "target", "zkp")) }

func (s *site) git(dir string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.example")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// release pushes a version of hello-publish.
func (s *site) release(version string) {
	s.t.Helper()
	s.pkg("", "hello-publish", version, "")
	s.push()
}

// pkg writes a package; more goes behind its [package] table.
func (s *site) pkg(dir, name, version, more string) {
	s.t.Helper()
	dir = filepath.Join(s.dir, dir)
	s.write(filepath.Join(dir, "Cargo.toml"), fmt.Sprintf("[package]\nname = %q\nversion = %q\nedition = \"2021\"\nlicense = \"MIT\"\ndescription = \"a test\"\n%s", name, version, more))
	s.write(filepath.Join(dir, "src", "lib.rs"), "pub fn hello() {}\n")
}

func (s *site) commit() {
	s.t.Helper()
	s.git(s.dir, "add", "-A")
	s.git(s.dir, "commit", "-q", "-m", "work")
}

func (s *site) push() {
	s.t.Helper()
	s.commit()
	s.git(s.dir, "push", "-q", "origin", "HEAD:refs/heads/main")
}

// config is that of a publisher who verifies the log's answers.
func (s *site) config(edit ...func(*Config)) Config {
	s.t.Helper()
	self, err := os.Executable()
	fatalIf(s.t, err)
	cfg := Config{testingOnlyPublic: git.Fetchable,
		Cargo: Cargo{Program: "cargo", Dir: s.dir, Out: s.out}, PackageFlags: []string{"--no-verify"},
		Registry: "my", Log: s.world.URL, Prover: s.forger, Guard: self, Home: s.home, Report: s.out, UserAgent: "test",
	}
	cfg.Policy.Trust, cfg.Policy.Development = []string{s.world.File}, true
	for _, e := range edit {
		e(&cfg)
	}
	return cfg
}

func dryRun(c *Config)  { c.DryRun = true }
func logOnly(c *Config) { c.LogOnly = true }

// run publishes and returns what was said.
func (s *site) run(edit ...func(*Config)) (string, error) {
	s.t.Helper()
	s.out.reset()
	err := Run(s.t.Context(), s.config(edit...))
	said := s.out.String()
	s.t.Logf("%v\n%s", err, said)
	if strings.Contains(said+fmt.Sprint(err), secret) {
		s.t.Error("the token was shown")
	}
	return said, err
}

// mustRun is run for what must succeed.
func (s *site) mustRun(edit ...func(*Config)) string {
	s.t.Helper()
	said, err := s.run(edit...)
	fatalIf(s.t, err)
	return said
}

// refused is run for what must be refused, with all of the words.
func (s *site) refused(edit func(*Config), words ...string) {
	s.t.Helper()
	_, err := s.run(edit)
	if outcome.Of(err) != outcome.Refused {
		s.t.Errorf("not refused: %v", err)
	}
	says(s.t, fmt.Sprint(err), words...)
}

// says checks that a text has all of the words.
func says(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q:\n%s", w, text)
		}
	}
}

// uploads checks how many crates were uploaded since the last call.
func (s *site) uploads(n int) {
	s.t.Helper()
	if got := s.arrived(); len(got) != n {
		s.t.Errorf("uploaded: %v", got)
	}
}

// unused checks that nothing reached the registry.
func (s *site) unused(t *testing.T) {
	t.Helper()
	if len(s.reg.Published()) != 0 {
		t.Fatal("uploaded")
	}
}

// arrived returns the names of what was uploaded since the last call. Each must be
// what the log holds.
func (s *site) arrived() (names []string) {
	s.t.Helper()
	for _, p := range s.reg.Published() {
		bundle, err := os.ReadFile(s.store().File(p.Name, p.Version, credential.ExtBundle))
		fatalIf(s.t, err)
		r, err := s.reader().Verify(s.t.Context(), bundle, p.Raw, nil, s.pkgOf(p.Name, p.Version), nil)
		if err != nil {
			s.t.Errorf("%s: %v", p.Name, err)
		} else if r.SHA256 != sha256.Sum256(p.Raw) {
			s.t.Errorf("%s: other bytes were uploaded than are logged", p.Name)
		}
		names = append(names, p.Name+" "+p.Version)
	}
	return names
}

func (s *site) pkgOf(name, version string) policy.Package {
	return policy.Package{Name: name, Version: version, Registry: "sparse+" + s.reg.Index}
}

func (s *site) reader() *credential.Reader {
	s.t.Helper()
	p, err := s.config().Policy.Load()
	fatalIf(s.t, err)
	reader, err := credential.NewReader(p)
	fatalIf(s.t, err)
	return reader
}

// forger is a Prover that takes no time. It cannot prove what is false: plans are
// true.
type forger struct {
	*forge.Forger
	program [32]byte
	made    int
}

func newForger(t *testing.T) *forger {
	t.Helper()
	f, err := forge.Default()
	fatalIf(t, err)
	return &forger{Forger: f, program: f.Program().ID()}
}

func (f *forger) UseLog(context.Context, prover.KeyServer, bool) (*proofcheck.Program, error) {
	return nil, nil
}

func (f *forger) Program(*prover.Plan) ([32]byte, error) { return f.program, nil }

func (f *forger) Prove(_ context.Context, p *prover.Plan, _ prover.Progress) (*entry.Entry, error) {
	f.made++
	e := &entry.Entry{Subject: p.Subject, Claim: p.Claim}
	return e, f.Forger.Prove(e, p.List.Bytes)
}

// output is a Reporter that keeps what it is told, and cargo's output.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.Reset()
}

func (o *output) Status(verb, format string, args ...any) {
	fmt.Fprintf(o, "%12s %s\n", verb, fmt.Sprintf(format, args...))
}
func (o *output) Warn(format string, args ...any) {
	fmt.Fprintf(o, "warning: %s\n", fmt.Sprintf(format, args...))
}
func (o *output) Steps() (prover.Progress, func()) { return nil, func() {} }

func (s *site) client() *client.Log { return &client.Log{URL: s.world.URL} }

// logged returns how many entries the log has published, without its seals.
func (s *site) logged() (n int64) {
	s.t.Helper()
	_, leaves, err := s.client().Entries(s.t.Context())
	fatalIf(s.t, err)
	for leaf, err := range leaves {
		fatalIf(s.t, err)
		if _, err := entry.Parse(leaf); err == nil {
			n++
		}
	}
	return n
}

// makeOther packs a .crate that is not the publisher's.
func makeOther(name, version string) []byte {
	return registrytest.MakeCrate(name, version, map[string]string{"src/lib.rs": "pub fn of_somebody_else() {}\n"})
}
