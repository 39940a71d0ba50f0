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

// told believes a proof that says "true", of one program.
type told struct{}

var program = sha256.Sum256([]byte("program"))

func (told) Check(e *entry.Entry) error {
	switch {
	case e.Proof.Program != program:
		return fmt.Errorf("program: %w", entry.ErrUnknownProgram)
	case string(e.Proof.Parts[0]) != "true":
		return errors.New("the proof says something else")
	}
	return nil
}

func (p told) CheckBatch(entries []*entry.Entry) []error {
	errs := make([]error, len(entries))
	for i, e := range entries {
		errs[i] = p.Check(e)
	}
	return errs
}

// newEntry is the n-th of many true entries; change may make it another one.
func newEntry(t testing.TB, n int64, change func(e *entry.Entry)) []byte {
	t.Helper()
	e := &entry.Entry{
		Subject: entry.Subject{Name: fmt.Sprintf("crate-%d", n), Version: "1.0.0", SHA256: sha256.Sum256(fmt.Appendf(nil, "crate %d", n))},
		Claim:   &entry.Source{Commit: [20]byte{byte(n), byte(n >> 8)}, Path: "crates/x"},
		Proof:   entry.Proof{Program: program, Parts: [][]byte{[]byte("true")}},
	}
	if change != nil {
		change(e)
	}
	b, err := e.Marshal()
	fatalIf(t, err)
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
	n      int64 // of entries made

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

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)}
	w.log = testlog.New(origin, 3, w.clock)
	w.server = httptest.NewServer(w.log)
	t.Cleanup(w.server.Close)
	policy, err := client.ParsePolicy(w.log.Trust(w.server.URL))
	fatalIf(t, err)
	var witnesses []string
	for _, x := range w.log.Witnesses {
		witnesses = append(witnesses, x.VKey)
	}
	w.keys, err = evidence.NewKeys([]string{w.log.VKey}, witnesses)
	fatalIf(t, err)
	dir := t.TempDir()
	s, err := store.Create(t.Context(), filepath.Join(dir, "monitor.db"))
	fatalIf(t, err)
	t.Cleanup(func() { s.Close() })
	w.cfg = Config{
		Logs:  []LogConfig{{Origin: origin, Policy: policy}},
		Store: s, EvidenceDir: dir, Proofs: told{}, Now: w.clock,
		Route:  func(store.Finding, *store.Watch) []string { return []string{"pager"} },
		HTTP:   &http.Client{Timeout: 5 * time.Second},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	w.cfg.Interval.Duration = time.Nanosecond
	w.open()
	return w
}

// verifiedWorld is a world whose monitor has verified n true entries.
func verifiedWorld(t *testing.T, n int64) *world {
	t.Helper()
	w := newWorld(t)
	w.grow(n)
	w.clean(n)
	return w
}

// open makes a monitor on the store, as a restart does.
func (w *world) open() {
	w.t.Helper()
	var err error
	w.m, err = New(w.t.Context(), w.cfg)
	fatalIf(w.t, err)
}

// grow appends true entries and publishes them.
func (w *world) grow(n int64) {
	w.t.Helper()
	w.append(n)
	w.log.Publish()
}

func (w *world) append(n int64) {
	w.t.Helper()
	for range n {
		w.log.Tree.Append(newEntry(w.t, w.n, nil))
		w.n++
	}
}

// fork returns a tree of the log's first entries and n others.
func (w *world) fork(keep, n int64) *testlog.Tree {
	w.t.Helper()
	t := w.log.Tree.Fork(keep)
	for i := range n {
		t.Append(newEntry(w.t, 1000+i, nil))
	}
	return t
}

func (w *world) once() Summary {
	w.t.Helper()
	s, err := w.m.Once(w.t.Context())
	fatalIf(w.t, err)
	return s
}

// verified demands that a monitor that looks once has verified so many entries, and
// finds nothing at all.
func (w *world) clean(size int64) {
	w.t.Helper()
	s := w.once()
	if s.Logs[0].Verified != size || s.ExitCode() != 0 || len(s.Trouble) != 0 {
		w.t.Fatalf("got %+v, want %d entries verified and no trouble", s, size)
	}
}

func (w *world) findings() []store.Finding {
	w.t.Helper()
	var all []store.Finding
	for id := int64(1); ; id++ {
		f, ok, err := w.cfg.Store.FindingByID(w.t.Context(), id)
		fatalIf(w.t, err)
		if !ok {
			return all
		}
		all = append(all, f)
	}
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
	due, err := w.cfg.Store.PendingDeliveries(w.t.Context(), "pager", w.clock().Add(time.Hour), 100)
	fatalIf(w.t, err)
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
		kindDuplicate: "log " + origin, kindCrateMismatch: "log " + origin, kindRootMismatch: "log " + origin, kindCosignerFork: "witness ",
		kindUnknownProgram: "", kindRegistryIndex: "", kindRegistryServed: "", kindRollback: "", kindStale: "", kindLogBehind: "",
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
