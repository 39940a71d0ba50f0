package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/config"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
	"cratelog/log"
	"cratelog/proofcheck"
	"cratelog/witness"
)

// TestMain lets the test binary be the server, in a process of its own that a
// test can kill: "logd ..." is the program as it is, "logd-testproofs ..." the
// program with testProofs in the place of the embedded ones, "witness ..." a
// witness of one log.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "logd") && os.Args[1] != "witness" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if os.Args[1] == "witness" {
		err = serveWitness(ctx, os.Args[2:])
	} else if os.Args[1] == "logd-testproofs" {
		err = serve(ctx, os.Args[2:], os.Stderr, testPrograms)
	} else {
		err = run(ctx, os.Args[2:], os.Stdout, os.Stderr)
	}
	os.Exit(outcome.Exit("logd", err, os.Stderr))
}

// testProofs accepts exactly one proof for each claim.
type testProofs struct{}

var testProgram = proofcheck.Program{System: "test", Claim: proofcheck.ClaimSource, Origin: "test"}

func testProof(e *entry.Entry) ([]byte, error) {
	id, err := e.Identity()
	h := sha256.Sum256(append([]byte("test proof"), id[:]...))
	return h[:], err
}

func (p testProofs) Chain(e *entry.Entry) (entry.Chain, error) {
	return testlog.ChainOf(e, p.check(e))
}

func (p testProofs) check(e *entry.Entry) error {
	want, err := testProof(e)
	if err != nil || e.Proof.Program != testProgram.ID() || len(e.Proof.Parts) != 1 || !bytes.Equal(e.Proof.Parts[0], want) {
		return errors.New("not the test proof")
	}
	return nil
}

func (p testProofs) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	return testlog.Chains(p, entries)
}

func (testProofs) Programs() []proofcheck.Program { return []proofcheck.Program{testProgram} }

func testPrograms([]string, bool) (log.Proofs, error) { return testProofs{}, nil }

// site is a log's directory with a key, a policy, and three witnesses.
type site struct {
	t      *testing.T
	origin string // "": that of most tests
	dir    string
	vkey   string
	policy torchwood.Policy
	wrap   []string // a command that runs the server
}

const origin = "log.test/2026"

func newSite(t *testing.T, settings string) *site {
	t.Helper()
	return newSiteOf(t, origin, settings)
}

func newSiteOf(t *testing.T, origin, settings string) *site {
	t.Helper()
	s := &site{t: t, origin: origin, dir: t.TempDir()}
	s.makeKey()
	policy := ""
	for i := range 3 {
		vkey, url := s.startWitness(fmt.Sprintf("witness.test/w%d", i))
		policy += fmt.Sprintf("witness w%d %s %s\n", i, vkey, url)
	}
	s.makePolicy(policy)
	s.settings(settings)
	return s
}

func (s *site) makeKey() {
	s.t.Helper()
	var out bytes.Buffer
	fatalIf(s.t, run(s.t.Context(), []string{"keygen", "-origin", cmp.Or(s.origin, origin), "-out", filepath.Join(s.dir, "key.pem")}, &out, io.Discard))
	s.vkey = strings.TrimSpace(out.String())
}

// makePolicy writes a trust file with the lines of the witnesses w0 to w2.
func (s *site) makePolicy(witnesses string) {
	s.t.Helper()
	policy := "log " + s.vkey + "\n" + witnesses + "group g 2 w0 w1 w2\nquorum g\n"
	s.policy = testlog.Must(torchwood.ParsePolicy([]byte(policy)))
	s.write("trust.policy", []byte(policy))
}

func (s *site) write(name string, text []byte) {
	s.t.Helper()
	fatalIf(s.t, os.WriteFile(filepath.Join(s.dir, name), text, 0o644))
}

func (s *site) settings(more string) {
	text := fmt.Sprintf("origin = %q\nlisten = \"127.0.0.1:0\"\nkeys = [\"key.pem\"]\ntree = \"tree\"\nstate = \"state\"\ntrust = \"trust.policy\"\n%s", cmp.Or(s.origin, origin), more)
	s.write("logd.toml", []byte(text))
}

func (s *site) startWitness(name string) (vkey, url string) {
	s.t.Helper()
	key := filepath.Join(s.t.TempDir(), "key.pem")
	fatalIf(s.t, config.GenerateKey(key))
	signer := testlog.Must(config.ReadKey(key))
	w := testlog.Must(witness.Open(s.t.Context(), witness.Config{
		Name: name, Signers: []crypto.Signer{signer}, Logs: []witness.Log{{VKey: s.vkey}},
		DBPath: filepath.Join(filepath.Dir(key), "witness.db"), Create: true,
	}))
	srv := httptest.NewServer(w.Handler())
	s.t.Cleanup(func() {
		srv.Close()
		if err := w.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return w.VKeys()[0], srv.URL
}

// server is a running logd.
type server struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	out  *bytes.Buffer
	done chan error
}

// start runs the test binary as mode, "logd" or "logd-testproofs".
func (s *site) start(mode string, args ...string) *server {
	s.t.Helper()
	return testlog.Must(s.tryStart(mode, args...))
}

func (s *site) tryStart(mode string, args ...string) (*server, error) {
	s.t.Helper()
	ready := filepath.Join(s.t.TempDir(), "ready")
	p := &server{t: s.t, out: new(bytes.Buffer), done: make(chan error, 1)}
	args = append([]string{mode}, args...)
	args = slices.Concat(s.wrap, []string{os.Args[0]}, args, []string{"-config", filepath.Join(s.dir, "logd.toml"), "-ready-file", ready})
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	fatalIf(s.t, p.cmd.Start())
	go func() { p.done <- p.cmd.Wait() }()
	s.t.Cleanup(func() { p.cmd.Process.Kill() })
	for range 9000 {
		if b, err := os.ReadFile(ready); err == nil {
			p.url = strings.TrimSpace(string(b))
			return p, nil
		}
		select {
		case err := <-p.done:
			return p, fmt.Errorf("it ended: %v\n%s", err, p.out)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return p, errors.New("it did not get ready")
}

// kill is kill -9, by the process's own id.
func (p *server) kill() {
	p.t.Helper()
	fatalIf(p.t, p.cmd.Process.Kill())
	<-p.done
}

// stop is SIGTERM; it must end well.
func (p *server) stop() {
	p.t.Helper()
	fatalIf(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-p.done:
		if err != nil {
			p.t.Errorf("after SIGTERM: %v\n%s", err, p.out)
		}
	case <-time.After(time.Minute):
		p.t.Fatalf("it did not stop\n%s", p.out)
	}
}

// get reads what the server says as JSON.
func (p *server) get(path string, into any) {
	p.t.Helper()
	resp := testlog.Must(http.Get(p.url + path))
	defer resp.Body.Close()
	fatalIf(p.t, json.NewDecoder(resp.Body).Decode(into))
}

type program struct{ ID, Origin string }

type about struct {
	Origin, VKey string
	Development  bool
	Programs     []program
}

func (p *server) about() (a about) {
	p.t.Helper()
	p.get("/v1/log", &a)
	return a
}

// item is something to submit.
type item struct {
	name         string
	entry, crate []byte
}

func newItem(name string) item {
	raw := testlog.Must(forge.Pack(name, "1.0.0", forge.Manifest(name, "1.0.0")))
	e := testlog.Must(forge.Claim(raw, name, "1.0.0", &entry.Source{Commit: [20]byte{1}}))
	e.Proof = entry.Proof{Program: testProgram.ID(), Parts: [][]byte{testlog.Must(testProof(e))}}
	return item{name, testlog.Must(e.Marshal()), raw}
}

// submit returns the bundle; a refusal is a *client.SubmitError.
func submit(ctx context.Context, url string, it item) ([]byte, error) {
	return (&client.Log{URL: url}).Submit(ctx, it.entry, it.crate, nil)
}

// readEntries returns the published entries, without what the log itself made.
func (s *site) readEntries(url string) [][]byte {
	s.t.Helper()
	return slices.DeleteFunc(s.readLog(url), func(leaf []byte) bool {
		_, err := entry.Parse(leaf)
		return err != nil
	})
}

// readLog reads every published leaf with torchwood, over HTTP.
func (s *site) readLog(url string) [][]byte {
	s.t.Helper()
	fetcher := testlog.Must(torchwood.NewTileFetcher(url + "/"))
	signed := testlog.Must(fetcher.ReadEndpoint(s.t.Context(), "checkpoint"))
	cp, _, err := torchwood.VerifyCheckpoint(signed, s.policy)
	fatalIf(s.t, err)
	c := testlog.Must(torchwood.NewClient(fetcher))
	var all [][]byte
	for i, e := range c.AllEntries(s.t.Context(), cp.Tree, 0) {
		if i != int64(len(all)) {
			s.t.Fatalf("entry %d in the place of %d", i, len(all))
		}
		all = append(all, bytes.Clone(e))
	}
	fatalIf(s.t, c.Err())
	return all
}

// bundleIndex verifies a bundle with torchwood and returns its index.
func (s *site) bundleIndex(bundle, entryBytes []byte) int {
	s.t.Helper()
	if err := torchwood.VerifyProof(s.policy, tlog.RecordHash(entryBytes), bundle); err != nil {
		s.t.Fatalf("a bundle that was given away is not valid: %v", err)
	}
	for line := range strings.Lines(string(bundle)) {
		var i int
		if _, err := fmt.Sscanf(line, "index %d\n", &i); err == nil {
			return i
		}
	}
	s.t.Fatal("a bundle without an index")
	return -1
}

func TestSIGTERMFinishesWhatWasBegun(t *testing.T) {
	s := newSite(t, "checkpoint_interval = \"500ms\"\n")
	p := s.start("logd-testproofs")
	got := make(chan []byte, 5)
	items := make([]item, 5)
	var clients sync.WaitGroup
	for i := range items {
		items[i] = newItem(fmt.Sprintf("c%d", i))
	}
	for _, it := range items {
		clients.Go(func() {
			b, err := submit(t.Context(), p.url, it)
			if err != nil {
				t.Errorf("%s: %v", it.name, err)
				return
			}
			s.bundleIndex(b, it.entry)
			got <- b
		})
	}
	// Until all of them are in the tree, and wait for the checkpoint.
	for range 1000 {
		var h struct{ Indexed int }
		p.get("/healthz", &h)
		if h.Indexed >= len(items) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	p.stop()
	if strings.Contains(p.out.String(), log.ErrEarly.Error()) {
		t.Errorf("the operator is told each time that Tessera asks too early:\n%s", p.out)
	}
	clients.Wait()
	if len(got) != len(items) {
		t.Errorf("%d bundles for %d submissions", len(got), len(items))
	}
	if _, err := os.Stat(filepath.Join(s.dir, "ready")); err == nil {
		t.Error("the ready file was left")
	}
}

// logd runs a verb to its end.
func logd(args ...string) (string, error) {
	out, err := exec.Command(os.Args[0], append([]string{"logd"}, args...)...).CombinedOutput()
	return string(out), err
}

// wantNoStart wants words on why the settings are refused.
func (s *site) wantNoStart(settings, words string) {
	s.t.Helper()
	s.settings(settings)
	p, err := s.tryStart("logd", "serve")
	if err == nil {
		p.stop()
		s.t.Errorf("%s: it started", settings)
	} else if !strings.Contains(p.out.String(), words) {
		s.t.Errorf("%s: want %q in %s", settings, words, p.out)
	}
}

func TestTheRealProgram(t *testing.T) {
	s := newSite(t, "")
	key := filepath.Join(s.dir, "key.pem")
	t.Run("vkey", func(t *testing.T) {
		if out, err := logd("vkey", "-origin", origin, "-key", key); err != nil || strings.TrimSpace(out) != s.vkey {
			t.Errorf("%v %s", err, out)
		}
	})
	t.Run("a key is never overwritten", func(t *testing.T) {
		out, err := logd("keygen", "-origin", origin, "-out", key)
		wantExit(t, err, out, 3, "key.pem")
	})
	t.Run("usage", func(t *testing.T) {
		for _, args := range [][]string{{}, {"sing"}, {"serve"}, {"serve", "-x"}, {"serve", "-config", "x", "y"}, {"keygen", "-origin", "a b", "-out", "x"}, {"vkey"}} {
			out, err := logd(args...)
			wantExit(t, err, out, 2, "\n\"logd help")
			if strings.Count(out, "\n") != 2 {
				t.Errorf("not a sentence and where help is:\n%s", out)
			}
		}
		if out, err := logd("help"); err != nil || !strings.HasPrefix(out, "logd is the server") {
			t.Errorf("%v %s", err, out)
		}
	})
	t.Run("development keys are refused", func(t *testing.T) { s.wantNoStart("", "set development = true") })
	t.Run("unknown setting", func(t *testing.T) { s.wantNoStart("develpoment = true\n", "develpoment") })
	t.Run("an address that is taken", func(t *testing.T) {
		taken := testlog.Must(net.Listen("tcp", "127.0.0.1:0"))
		defer taken.Close()
		path := filepath.Join(s.dir, "taken.toml")
		s.settings("development = true\n")
		text := testlog.Must(os.ReadFile(filepath.Join(s.dir, "logd.toml")))
		s.write("taken.toml", bytes.Replace(text, []byte("127.0.0.1:0"), []byte(taken.Addr().String()), 1))
		out, err := logd("serve", "-config", path)
		wantExit(t, err, out, 3, "end what listens there, or choose another address: the setting \"listen\" of "+path)
	})
	t.Run("programs of one's own", func(t *testing.T) {
		s.programs()
		for settings, want := range map[string]string{
			`programs = ["none.program"]`:                         "none.program",
			`programs = ["bad.program"]`:                          "bad.program: program file",
			`programs = ["development.program"]`:                  "has a development key",
			`programs = ["renamed.program"]`:                      "ships with cratelog",
			`programs = ["own.program", "own.program"]`:           "listed twice",
			"programs = [\"own.program\"]\nproving_keys = \"no\"": "directory of proving keys",
		} {
			s.wantNoStart(settings+"\n", want)
		}
		s.settings("programs = [\"own.program\"]\ncheckpoint_interval = \"100ms\"\n")
		p := s.start("logd", "serve")
		if got := p.about(); got.Development || !slices.ContainsFunc(got.Programs, func(p program) bool { return strings.HasPrefix(p.Origin, "ceremony:") }) {
			t.Errorf("%+v", got)
		}
		p.stop()
	})
	t.Run("serve", func(t *testing.T) {
		s.settings("development = true\ncheckpoint_interval = \"100ms\"\n")
		p := s.start("logd", "serve")
		about := p.about()
		if about.Origin != origin || about.VKey != s.vkey || !about.Development || len(about.Programs) == 0 {
			t.Errorf("%+v", about)
		}
		var refused *client.SubmitError
		_, err := submit(t.Context(), p.url, newItem("alpha"))
		if !errors.As(err, &refused) || refused.Status != http.StatusUnprocessableEntity || refused.Reason != "unknown-program" {
			t.Error(err)
		}
		p.stop()
	})
}

// programs writes program files: the key of own.program is made up.
func (s *site) programs() {
	s.t.Helper()
	p := testlog.Must(proofcheck.Embedded())[0]
	text := testlog.Must(p.Marshal())
	s.write("renamed.program", bytes.Replace(text, []byte(`"development"`), []byte(`"solo: me"`), 1))
	s.write("bad.program", text[1:])
	p.Blocks++
	s.write("development.program", testlog.Must(p.Marshal()))
	s.program("own", "ceremony:"+strings.Repeat("ab", 32))
}

// program writes NAME.program, of a key that only its forger has.
func (s *site) program(name, origin string) *forge.Forger {
	s.t.Helper()
	f := testlog.Must(forge.Invent(name, origin, 41))
	s.write(name+".program", testlog.Must(f.Program().Marshal()))
	return f
}

// TestAProgramIsWithdrawn is the procedure of docs/operating.md, with real proofs and
// readers: what was logged stays, everything is proven again, and each reader gets what he
// accepts.
func TestAProgramIsWithdrawn(t *testing.T) {
	s := newSite(t, "")
	a, b := s.program("a", "solo: us"), s.program("b", "solo: us")
	readers := map[*forge.Forger]*proofcheck.Verifier{}
	for _, f := range []*forge.Forger{a, b} {
		readers[f] = testlog.Must(proofcheck.New([]proofcheck.Program{f.Program()}))
	}
	policy := testlog.Must(client.ParsePolicy(testlog.Must(os.ReadFile(filepath.Join(s.dir, "trust.policy")))))
	raw, first, err := a.Crate("alpha", "1.0.0", "// alpha")
	fatalIf(t, err)
	again := testlog.Must(entry.Parse(testlog.Must(first.Marshal())))
	fatalIf(t, b.Prove(again, testlog.Must(forge.List(raw, again))))
	// reads wants a reader of one program to get his proof of alpha.
	reads := func(p *server, f *forge.Forger) {
		t.Helper()
		id := f.Program().ID()
		bundle, err := (&client.Log{URL: p.url}).Bundle(t.Context(), client.Query{Name: "alpha", Version: "1.0.0", Programs: [][32]byte{id}})
		fatalIf(t, err)
		r, err := client.Verify(raw, bundle, policy, readers[f], client.DefaultRules())
		fatalIf(t, err)
		if r.Program != id {
			t.Errorf("a proof of %x, not %x", r.Program, id)
		}
	}
	it := func(e *entry.Entry, raw []byte) item { return item{entry: testlog.Must(e.Marshal()), crate: raw} }

	const settings = "checkpoint_interval = \"100ms\"\nprograms = [\"a.program\""
	s.settings(settings + "]\n")
	p := s.start("logd", "serve")
	testlog.Must(submit(t.Context(), p.url, it(first, raw)))
	reads(p, a)
	p.stop()

	idA := fmt.Sprintf("%x", a.Program().ID())
	s.settings(settings + ", \"b.program\"]\nwithdrawn = [\"" + idA + "\"]\n")
	p = s.start("logd", "serve")
	beta, late, err := a.Crate("beta", "1.0.0", "// beta")
	fatalIf(t, err)
	var refused *client.SubmitError
	if _, err := submit(t.Context(), p.url, it(late, beta)); !errors.As(err, &refused) || refused.Reason != "program-withdrawn" {
		t.Errorf("a new entry of the withdrawn program: %v", err)
	}
	_, err = (&client.Log{URL: p.url}).Bundle(t.Context(), client.Query{Name: "alpha", Version: "1.0.0", Programs: [][32]byte{b.Program().ID()}})
	if !errors.Is(err, client.ErrNotLogged) {
		t.Errorf("before it is proven again: %v", err)
	}
	testlog.Must(submit(t.Context(), p.url, it(again, raw)))
	reads(p, a)
	reads(p, b)
	if all := s.readEntries(p.url); len(all) != 2 {
		t.Errorf("the log has %d entries, want 2", len(all))
	}
	p.stop()

	s.wantNoStart("programs = [\"b.program\"]\n", "name the program "+idA)
	s.wantNoStart("programs = [\"b.program\"]\nwithdrawn = [\""+idA+"\"]\n", "keep its file in programs")
	s.wantNoStart("programs = [\"b.program\"]\nwithdrawn = [\"A\"]\n", "withdrawn: \"A\" is no id")
}

func TestOpeningsAreDeletedByCommand(t *testing.T) {
	s := newSite(t, "development = true\n")
	file := filepath.Join(s.dir, "logd.toml")
	for _, args := range [][]string{{"openings"}, {"openings", "list"}, {"openings", "delete", "-config", file}, {"openings", "delete", "-config", file, "-claim", "ab"}} {
		out, err := logd(args...)
		wantExit(t, err, out, 2, "\"logd help openings\"")
	}
	out, err := logd("openings", "delete", "-config", file, "-claim", strings.Repeat("ab", 32))
	wantExit(t, err, out, 3, "holds no opening of the claim abab")
}

func wantExit(t *testing.T, err error, out string, code int, words string) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code || !strings.Contains(out, words) {
		t.Errorf("got %v, want exit status %d and ... %s ...\n%s", err, code, words, out)
	}
}

func TestTheRegistriesOfTheSettings(t *testing.T) {
	dir := t.TempDir()
	fatalIf(t, config.GenerateKey(filepath.Join(dir, "log-key.pem")))
	fatalIf(t, os.WriteFile(filepath.Join(dir, "trust.policy"), []byte("quorum none\n"), 0o644))
	fatalIf(t, os.WriteFile(filepath.Join(dir, "token"), []byte("secret\n"), 0o600))
	fatalIf(t, os.WriteFile(filepath.Join(dir, "two"), []byte("a\nb\n"), 0o600))
	read := func(tables string) ([]log.Registry, int, error) {
		file := filepath.Join(dir, "logd.toml")
		fatalIf(t, os.WriteFile(file, []byte("origin = \"log.example/x\"\nlisten = \"127.0.0.1:0\"\nkeys = [\"log-key.pem\"]\ntree = \"tree\"\n"+
			"state = \"state\"\ntrust = \"trust.policy\"\nregistry_requests = 7\n"+tables), 0o644))
		_, cfg, err := load(file)
		return cfg.Registries, cfg.RegistryRequests, err
	}
	got, n, err := read("[[registry]]\nindex = \"sparse+https://a.example/\"\nsubject = \"default\"\n" +
		"[[registry]]\nindex = \"http://127.0.0.1:8080/index/\"\ntoken_file = \"token\"\n")
	fatalIf(t, err)
	want := []log.Registry{{Subject: "default", Index: "sparse+https://a.example/"}, {Index: "http://127.0.0.1:8080/index/", Token: "secret"}}
	if !slices.Equal(got, want) || n != 7 {
		t.Errorf("%+v, %d", got, n)
	}
	for tables, words := range map[string]string{
		"[[registry]]\nsubject = \"default\"\n":                                "[[registry]] number 1: index is missing",
		"[[registry]]\nindex = \"https://a.example/\"\nname = \"x\"\n":         "name",
		"[[registry]]\nindex = \"http://a.example/\"\n":                        "plain http to another machine",
		"[[registry]]\nindex = \"https://a.example/\"\nsubject = \"x\"\n":      "subject",
		"[[registry]]\nindex = \"https://a.example/\"\ntoken_file = \"no\"\n":  "token_file",
		"[[registry]]\nindex = \"https://a.example/\"\ntoken_file = \"two\"\n": "does not hold one line",
	} {
		if _, _, err := read(tables); err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "logd.toml") {
			t.Errorf("%s: %v", tables, err)
		}
	}
}

func TestThePredecessorsOfTheSettings(t *testing.T) {
	dir := t.TempDir()
	fatalIf(t, config.GenerateKey(filepath.Join(dir, "log-key.pem")))
	fatalIf(t, os.WriteFile(filepath.Join(dir, "trust.policy"), []byte("quorum none\n"), 0o644))
	vkey := testlog.LogKey("log.example/2025").VKey
	fatalIf(t, os.WriteFile(filepath.Join(dir, "2025.policy"), []byte("log "+vkey+"\nquorum none\n"), 0o644))
	file := filepath.Join(dir, "logd.toml")
	read := func(tables string) ([]log.Predecessor, error) {
		fatalIf(t, os.WriteFile(file, []byte("origin = \"log.example/2026\"\nlisten = \"127.0.0.1:0\"\nkeys = [\"log-key.pem\"]\n"+
			"tree = \"tree\"\nstate = \"state\"\ntrust = \"trust.policy\"\n"+tables), 0o644))
		_, cfg, err := load(file)
		return cfg.Predecessors, err
	}
	const origin = "[[predecessor]]\norigin = \"log.example/2025\"\n"
	key := "vkey = \"" + vkey + "\"\n"
	for tables, from := range map[string]string{
		origin + key + "from = \"old\"\n":                         filepath.Join(dir, "old"),
		origin + "trust = \"2025.policy\"\nfrom = \"/srv/old\"\n": "/srv/old",
		origin + key + "from = \"https://log.example/2025\"\n":    "https://log.example/2025",
	} {
		got, err := read(tables)
		if err != nil || len(got) != 1 || got[0].From != from || got[0].Origin != "log.example/2025" ||
			string(got[0].Policy) != "log "+vkey+"\nquorum none\n" {
			t.Errorf("%s: %+v, %v", tables, got, err)
		}
	}
	for tables, words := range map[string]string{
		origin + key:              "[[predecessor]] number 1: it needs origin, from, and one of vkey and trust",
		origin + "from = \"x\"\n": "it needs origin", key + "from = \"x\"\n": "vkey",
		origin + key + "trust = \"2025.policy\"\nfrom = \"x\"\n": "it needs origin",
		origin + "trust = \"no\"\nfrom = \"x\"\n":                "trust: ", origin + key + "from = \"https://x/\"\n": "without a slash",
		origin + "vkey = \"x\"\nfrom = \"x\"\n": "line 1", origin + key + "from = \"x\"\nurl = \"x\"\n": "url",
		"[[predecessor]]\norigin = \"log.example/2024\"\n" + key + "from = \"x\"\n": "is none of the log \"log.example/2024\"",
	} {
		if _, err := read(tables); err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "logd.toml") {
			t.Errorf("%s: %v", tables, err)
		}
	}
}

func TestTheShippedExampleLoads(t *testing.T) {
	dir := t.TempDir()
	example := testlog.Must(os.ReadFile(filepath.Join("..", "..", "config", "logd.example.toml")))
	fatalIf(t, os.WriteFile(filepath.Join(dir, "logd.toml"), example, 0o644))
	fatalIf(t, config.GenerateKey(filepath.Join(dir, "log-key.pem")))
	fatalIf(t, os.WriteFile(filepath.Join(dir, "trust.policy"), []byte("quorum none\n"), 0o644))
	s, cfg, err := load(filepath.Join(dir, "logd.toml"))
	fatalIf(t, err)
	if s.Development || cfg.Development || cfg.TreeDir != filepath.Join(dir, "tree") ||
		cfg.CheckpointInterval.Duration != 800*time.Millisecond || cfg.RegistryRequests != 120 {
		t.Errorf("%+v", s)
	}
	// What the example says of its optional settings is what leaving them out means.
	var required []string
	for line := range strings.Lines(string(example)) {
		if strings.HasPrefix(line, "# The rest may be left out") {
			break
		}
		required = append(required, line)
	}
	fatalIf(t, os.WriteFile(filepath.Join(dir, "short.toml"), []byte(strings.Join(required, "")), 0o644))
	_, short, err := load(filepath.Join(dir, "short.toml"))
	fatalIf(t, err)
	if d := log.DefaultDoor(); len(cfg.Door.TrustedProxies) > 0 || fmt.Sprint(d) != fmt.Sprint(cfg.Door) {
		t.Errorf("the example's door is %+v, the default %+v", cfg.Door, d)
	}
	if short.Limits.Crate != cfg.Limits.Crate {
		t.Errorf("the example's limits are %+v, the defaults %+v", cfg.Limits.Crate, short.Limits.Crate)
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
