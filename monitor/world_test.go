package monitor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cratelog/build"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

const origin = "log.example/rogue"

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// told believes a proof that says "true", of one program; of one that says "of other files" only
// that objects exist.
type told struct{}

type ofOtherFiles struct{ entry.Chain }

// ofObjects is a proof about so many objects: the commit, and one for each of its parts.
type ofObjects struct {
	entry.Chain
	objects int
}

func (c ofObjects) Objects() int { return c.objects }

func (ofOtherFiles) Check([]byte) error { return errors.New("the objects hold other files") }

var program = sha256.Sum256([]byte("program"))

func (p told) Chain(e *entry.Entry) (entry.Chain, error) {
	chain, err := testlog.ChainOf(e, p.check(e))
	chain = ofObjects{chain, 1 + len(e.Proof.Parts)}
	if err == nil && string(e.Proof.Parts[0]) == "of other files" {
		chain = ofOtherFiles{chain}
	}
	return chain, err
}

func (p told) check(e *entry.Entry) error {
	switch {
	case e.Proof.Program == build.NamedProgram:
		_, err := build.VerifyNamed(e)
		return err
	case e.Proof.Program != program:
		return fmt.Errorf("program: %w", entry.ErrUnknownProgram)
	case string(e.Proof.Parts[0]) != "true" && string(e.Proof.Parts[0]) != "of other files":
		return errors.New("the proof says something else")
	}
	return nil
}

func (p told) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	return testlog.Chains(p, entries)
}

// newEntry is the n-th of many true entries; change may make it another one.
func newEntry(t testing.TB, n int64, change func(e *entry.Entry)) []byte {
	t.Helper()
	e := &entry.Entry{
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: fmt.Sprintf("crate-%d", n), Version: "1.0.0", SHA256: sha256.Sum256(fmt.Appendf(nil, "crate %d", n))},
		Claim:   &entry.Source{Commit: [20]byte{byte(n), byte(n >> 8)}, Path: "crates/x"},
		Proof:   entry.Proof{Program: program, Parts: [][]byte{[]byte("true")}},
	}
	if change != nil {
		change(e)
	}
	b := testlog.Must(e.Marshal())
	return b
}

// world is a rogue log with three witnesses, and a monitor of it.
type world struct {
	t      *testing.T
	log    *testlog.Log
	server *httptest.Server
	cfg    Config
	m      *Monitor
	keys   evidence.Keys

	mu  sync.Mutex
	now time.Time
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// newWorld makes a world, in which the test runs beside others.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)}
	w.log = testlog.New(origin, 3, w.clock)
	w.server = httptest.NewServer(w.log)
	t.Cleanup(w.server.Close)
	var witnesses []string
	for _, x := range w.log.Witnesses {
		witnesses = append(witnesses, x.VKey)
	}
	w.keys = testlog.Must(evidence.NewKeys([]string{w.log.VKey}, witnesses))
	dir := t.TempDir()
	s := testlog.Must(store.Create(t.Context(), filepath.Join(dir, "monitor.db")))
	t.Cleanup(func() { s.Close() })
	w.cfg = Config{
		Logs:  []LogConfig{followed(w.log, w.server.URL)},
		Store: s, EvidenceDir: dir, Proofs: told{}, Now: w.clock, Sets: []*build.Set{rebuilders},
		Route:  func(store.Finding, *store.Watch) []string { return []string{"pager"} },
		HTTP:   &http.Client{Timeout: time.Minute},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	w.cfg.Interval.Duration, w.cfg.OpeningInterval.Duration = time.Nanosecond, time.Nanosecond
	w.open()
	return w
}

// followed is how a monitor is told of a log.
func followed(l *testlog.Log, url string) LogConfig {
	return LogConfig{Origin: l.KeyName, Policy: testlog.Must(client.ParsePolicy(l.Trust(url)))}
}

// follow makes the monitor follow the log with another trust file.
func (w *world) follow(trust string) {
	w.t.Helper()
	w.cfg.Logs[0].Policy = testlog.Must(client.ParsePolicy([]byte(trust)))
	w.open()
}

// verifiedWorld is a world whose monitor has verified n leaves: true entries, and a seal.
func verifiedWorld(t *testing.T, n int64) *world {
	t.Helper()
	w := newWorld(t)
	if n > 200 {
		w.grow(200) // so that there is a second seal
	}
	w.grow(n - w.log.Tree.Size())
	w.clean(n)
	return w
}

// open makes a monitor on the store, as a restart does.
func (w *world) open() {
	w.t.Helper()
	w.m = testlog.Must(New(w.t.Context(), w.cfg))
}

// grow makes the log n leaves larger, two or more, and publishes it: true entries, of which each has the number of
// its index, and a seal.
func (w *world) grow(n int64) {
	w.t.Helper()
	if n < 2 {
		w.t.Fatalf("a log does not grow by %d", n) // by a seal alone it does not
	}
	w.append(n - 1)
	w.log.Publish()
}

func (w *world) append(n int64) {
	w.t.Helper()
	w.fill(w.log.Tree, w.log.Tree.Size(), n, nil)
}

// fill appends entries, the first of them of a number.
func (w *world) fill(t *testlog.Tree, first, n int64, change func(e *entry.Entry)) *testlog.Tree {
	w.t.Helper()
	for i := range n {
		t.Append(newEntry(w.t, first+i, change))
	}
	return t
}

// fork returns a tree of the log's first leaves and n others, of which the last is a seal.
func (w *world) fork(keep, n int64) *testlog.Tree {
	w.t.Helper()
	t := w.fill(w.log.Tree.Fork(keep), 1000, n-1, nil)
	t.Seal()
	return t
}

// logs appends the n-th entry, changed, and publishes it.
func (w *world) logs(n int64, change func(e *entry.Entry)) {
	w.t.Helper()
	w.log.Add(newEntry(w.t, n, change))
}

func (w *world) once() Summary {
	w.t.Helper()
	s := testlog.Must(w.m.Once(w.t.Context()))
	return s
}

// looks demands that a monitor that looks once has verified so many entries, and
// returns with an exit code.
func (w *world) looks(size int64, code int) Summary {
	w.t.Helper()
	s := w.once()
	if s.Logs[0].Verified != size || s.ExitCode() != code {
		w.t.Fatalf("got %+v, want %d entries verified and exit code %d", s, size, code)
	}
	return s
}

// clean is looks, without trouble of any kind.
func (w *world) clean(size int64) { w.t.Helper(); w.looks(size, 0) }

func (w *world) position() store.Position {
	return testlog.Must(w.cfg.Store.Position(w.t.Context(), 1))
}

// gossip hands a checkpoint to the monitor, and demands its verdict.
func (w *world) gossip(signed []byte, verdict string) store.Checkpoint {
	w.t.Helper()
	c, err := w.m.Gossip(w.t.Context(), signed, "gossip")
	if err != nil || c.Verdict != verdict {
		w.t.Fatalf("gossip is %s, want %s: %v", c.Verdict, verdict, err)
	}
	return c
}

// refused demands that the monitor refuses gossip.
func (w *world) refused(name string, b []byte) {
	w.t.Helper()
	if c, err := w.m.Gossip(w.t.Context(), b, "gossip"); !errors.Is(err, ErrRefused) {
		w.t.Errorf("%s: %s, %v", name, c.Verdict, err)
	}
}

func (w *world) findings() []store.Finding {
	return testlog.Must(w.cfg.Store.Findings(w.t.Context(), store.FindingQuery{Limit: 10000}))
}

// found demands that exactly findings of these kinds are on record, that each was
// handed to the alerts once, and that what has evidence has some that holds and
// convicts. It looks twice more, and after a restart, for nothing may be found twice.
func (w *world) found(kinds ...string) []store.Finding {
	w.t.Helper()
	w.once()
	w.open()
	w.once()
	var got []string
	for _, f := range w.findings() {
		got = append(got, f.Kind)
		if f.Class != classes[f.Kind] || f.Summary == "" || f.Origin != origin {
			w.t.Errorf("finding %+v", f)
		}
		w.checkEvidence(f)
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(kinds))
	if !slices.Equal(got, want) {
		for _, f := range w.findings() {
			w.t.Logf("found %s: %s %s", f.Kind, f.Summary, f.Detail)
		}
		w.t.Fatalf("found %q, want %q", got, want)
	}
	due := testlog.Must(w.cfg.Store.PendingDeliveries(w.t.Context(), "pager", w.clock().Add(time.Hour), 100))
	told := make(map[int64]int)
	for _, d := range due {
		if d.Event == store.Found {
			told[d.Finding.ID]++
		}
	}
	for _, f := range w.findings() {
		if told[f.ID] != 1 {
			w.t.Errorf("%s was handed out %d times", f.Kind, told[f.ID])
		}
	}
	return w.findings()
}

// checkEvidence demands that a file convicts whom its kind says.
func (w *world) checkEvidence(f store.Finding) {
	w.t.Helper()
	convicts, ok := map[string]string{
		kindForkSameSize: "log " + origin, kindForkPrefix: "log " + origin, kindFalseEntry: "log " + origin, kindMalformed: "log " + origin,
		kindUnsealed: "log " + origin, kindIndexOmission: "log " + origin, kindIndexPhantom: "log " + origin, kindCrateMismatch: "log " + origin, kindRootMismatch: "log " + origin, kindCosignerFork: "witness ",
		kindContradiction: "program ", kindBuilder: "builder ann",
		kindUnknownProgram: "", kindRegistryIndex: "", kindRegistryServed: "", kindRegistryManifest: "", kindRollback: "", kindStale: "", kindLogBehind: "",
	}[f.Kind]
	if !ok {
		if f.Evidence != "" {
			w.t.Errorf("%s has evidence that this test does not know", f.Kind)
		}
		return
	}
	e, err := evidence.Read(filepath.Join(w.cfg.EvidenceDir, f.Evidence+".evidence"))
	if err != nil {
		w.t.Errorf("%s: %v", f.Kind, err)
		return
	}
	c, err := evidence.Verify(e, w.keys, told{})
	if f.Kind == kindUnknownProgram && (errors.Is(err, evidence.ErrUndecided) || errors.Is(err, entry.ErrUnknownProgram)) {
		return
	}
	if err != nil {
		w.t.Errorf("%s: the evidence does not hold: %v", f.Kind, err)
		return
	}
	if convicts == "" && c.Who != "" || !strings.HasPrefix(c.Who, convicts) {
		w.t.Errorf("%s: the evidence convicts %q, want %q", f.Kind, c.Who, convicts)
	}
}

// noAttack demands that nothing of class security is on record.
func (w *world) noAttack() {
	w.t.Helper()
	for _, f := range w.findings() {
		if f.Class == store.Security {
			w.t.Errorf("honest trouble is called an attack: %s: %s %s", f.Kind, f.Summary, f.Detail)
		}
	}
}

// mirror serves the log's files at another address.
func (w *world) mirror() (url string, stop func()) {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.Header.Set("X-Mirror", "1")
		w.log.ServeHTTP(rw, r)
	}))
	return s.URL, s.Close
}
