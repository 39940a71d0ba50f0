package log

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/tessera"

	"cratelog/internal/testlog"
)

// tamper changes the index of a closed log by SQL.
func (w *world) tamper(query string) {
	w.t.Helper()
	db := testlog.Must(sql.Open("sqlite", "file:"+filepath.Join(w.cfg.StateDir, indexFile)))
	testlog.Must(db.Exec(query))
	fatalIf(w.t, db.Close())
}

// TestARottenIndexIsRepairedBeforeAnythingIsAdmitted: whatever is wrong with whichever row, or with one of
// SQLite's own indexes, no version gets a second checksum by it, and no claim a second entry.
func TestARottenIndexIsRepairedBeforeAnythingIsAdmitted(t *testing.T) {
	t.Parallel()
	w, l, _ := filled(t, 299)
	at := map[string]int{}
	for i, e := range entriesOf(t, l) {
		at[string(e)] = i
	}
	w.closeLog(l)
	path := filepath.Join(w.cfg.StateDir, indexFile)
	good := testlog.Must(os.ReadFile(path))
	e, raw := w.good("c53", "1.0.0")
	other := testCrate(t, "c53", "1.0.0", "// another")
	second := testEntry(t, other, "c53", "1.0.0", 1)
	w.proofs.believe(second)

	rotten := "a row of index.db is damaged"
	sqlOf := func(query string) func() { return func() { w.tamper(fmt.Sprintf(query, at[string(e)])) } }
	for name, c := range map[string]struct {
		do    func()
		words string // in the operator's log
	}{
		"identity": {sqlOf("UPDATE entries SET identity = zeroblob(32) WHERE idx = %d"), rotten},
		"name":     {sqlOf("UPDATE entries SET name = 'c-53' WHERE idx = %d"), rotten},
		"sha256":   {sqlOf("UPDATE entries SET sha256 = zeroblob(32) WHERE idx = %d"), rotten},
		"short":    {sqlOf("UPDATE entries SET sha256 = x'00' WHERE idx = %d"), rotten},
		"kind":     {sqlOf("UPDATE entries SET kind = 'build' WHERE idx = %d"), rotten},
		"missing":  {sqlOf("DELETE FROM entries WHERE idx = %d"), rotten},
		"moved":    {sqlOf("UPDATE entries SET idx = 100000 WHERE idx = %d"), rotten},
		"path":     {sqlOf("UPDATE entries SET path = 'x' WHERE idx = %d"), rotten},
		"compiled": {sqlOf("UPDATE entries SET compiled = zeroblob(32) WHERE idx = %d"), rotten},
		"all":      {func() { w.tamper("UPDATE entries SET name = 'x'") }, "row of index.db is damaged: row 0"},
		"a whole other row": {func() { w.rewriteRow(at[string(e)], func(r *row) { r.sha256[0] ^= 1 }) },
			"the seal at 299 names the root"},
		"a row of another kind": {func() { w.rewriteRow(at[string(e)], func(r *row) { r.kind = kindVoid }) },
			"the seal at 299 names the root"},
		"last is missing": {func() { w.tamper("DELETE FROM entries WHERE idx = 299") }, ""},
		"programs":        {func() { w.tamper("INSERT INTO programs VALUES (zeroblob(32))") }, "list of programs differed"},
		"no programs":     {func() { w.tamper("DELETE FROM programs") }, "list of programs differed"},
		"SQL index":       {func() { w.rotIndex("c531.0.0default", "c931.0.0default") }, "the index is damaged"},
		"not a file":      {func() { fatalIf(t, os.WriteFile(path, bytes.Repeat([]byte("x"), 4096), 0o600)) }, "the index is damaged"},
		"zeroed pages":    {func() { clear(good[8192:16384]); fatalIf(t, os.WriteFile(path, good, 0o600)) }, "the index is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			good = bytes.Clone(good)
			kept := bytes.Clone(good)
			defer func() { good = kept }()
			fatalIf(t, os.WriteFile(path, good, 0o600))
			c.do()
			said := &lines{}
			w.cfg.Logger = slog.New(slog.NewTextHandler(said, nil))
			l := w.open()
			if c.words != "" && (said.count(c.words) == 0 || said.count("level=WARN") == 0) {
				t.Errorf("the operator is not told %q: %s", c.words, said.buf.String())
			}
			_, err := l.Submit(t.Context(), marshal(second), bytes.NewReader(other), nil)
			wantRefusal(t, err, VersionConflict, "is in the log with another checksum")
			w.submit(l, e, raw)
			wantSize(t, l, 299)
			if h := l.health(); !h.OK || h.Indexed != 300 {
				t.Errorf("health: %+v", h)
			}
			fatalIf(t, l.index.sound(t.Context()))
			w.closeLog(l)
			said.buf.Reset()
			w.closeLog(w.open())
			if said.count("written anew")+said.count("the index is damaged") > 0 {
				t.Errorf("it was not repaired: %s", said.buf.String())
			}
		})
	}
}

// rewriteRow changes a row of the index as the log itself would write it.
func (w *world) rewriteRow(idx int, change func(*row)) {
	w.t.Helper()
	x := testlog.Must(openIndex(w.t.Context(), filepath.Join(w.cfg.StateDir, indexFile)))
	r, _, err := x.at(w.t.Context(), uint64(idx))
	fatalIf(w.t, err)
	change(&r)
	fatalIf(w.t, x.append(w.t.Context(), []row{r}))
	fatalIf(w.t, x.close())
}

// rotIndex changes bytes of the index's file, as a disk would.
func (w *world) rotIndex(from, to string) {
	w.t.Helper()
	path := filepath.Join(w.cfg.StateDir, indexFile)
	b := testlog.Must(os.ReadFile(path))
	if !bytes.Contains(b, []byte(from)) {
		w.t.Errorf("%q does not stand in the file", from)
	}
	fatalIf(w.t, os.WriteFile(path, bytes.ReplaceAll(b, []byte(from), []byte(to)), 0o600))
}

// TestARowOfARottenBundleStands: the tree cannot say what it is, and what stands keeps others out. Without
// the row nobody knows what stands, so nothing is accepted.
func TestARowOfARottenBundleStands(t *testing.T) {
	t.Parallel()
	w, l, _ := filled(t, 299)
	first := entriesOf(t, l)[0]
	w.closeLog(l)
	w.flip("tile/entries/000", 40)
	l = w.open()
	b, err := l.Submit(t.Context(), first, bytes.NewReader(nil), nil) // it is known, and cannot be shown
	if err == nil || answer(err).Status != 500 {
		t.Errorf("%q, %v", b, err)
	}
	e, raw := w.good("new", "1.0.0")
	w.submit(l, e, raw)
	w.closeLog(l)

	w.tamper("DELETE FROM entries WHERE idx = 7")
	l = w.open()
	e, raw = w.good("newer", "1.0.0")
	_, err = l.Submit(t.Context(), e, bytes.NewReader(raw), nil)
	wantRefusal(t, err, Halted, "")
	if h := l.health(); !strings.Contains(strings.Join(h.Problems, " "), "lacks entries whose bundle is damaged") {
		t.Errorf("%+v", h.Problems)
	}
	if _, err := l.bundle(t.Context(), 300, l.published.head()); !errors.Is(err, errDamaged) {
		t.Errorf("the bundle of an entry, of which nobody knows whether it is void: %v", err)
	}
	testlog.Must(l.verified.entry(t.Context(), l.published.head().tree(), 300)) // auditors may have it
	w.closeLog(l)

	w.removeIndex()
	l = w.open()
	if _, err = l.Submit(t.Context(), e, bytes.NewReader(raw), nil); err == nil {
		t.Error("an entry was accepted by a log that does not know its tree")
	}
}

// TestATreeThatCannotBeWrittenIsASentence: Tessera would panic.
func TestATreeThatCannotBeWrittenIsASentence(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 1)
	state := filepath.Join(w.cfg.TreeDir, ".state")
	fatalIf(t, os.Rename(state, state+"-away")) // root may write anywhere, but not where nothing is
	e, c := w.good("b", "1.0.0")
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	r := wantRefusal(t, err, StorageFailed, "its disk is full or fails")
	if r.RetryAfter == 0 || l.health().OK {
		t.Errorf("%+v", l.health())
	}
	fatalIf(t, os.Rename(state+"-away", state))
	eventually(t, "the log is well by itself", func() bool { return l.health().OK })
	w.submit(l, e, c)
	wantSize(t, l, 2)
}

// TestTheSizeOfTheIndexIsKnownFromTheStart.
func TestTheSizeOfTheIndexIsKnownFromTheStart(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	z, _ := w.good("z", "1.0.0")
	testlog.Must(l.appender(t.Context(), tessera.NewEntry(z))())
	w.closeLog(l) // which seals it
	for range 2 {
		l = w.open()
		for _, m := range testlog.Must(l.metrics.registry.Gather()) {
			if m.GetName() == "cratelog_indexed_size" && m.GetMetric()[0].GetGauge().GetValue() != 6 {
				t.Errorf("cratelog_indexed_size is %v", m.GetMetric()[0].GetGauge().GetValue())
			}
		}
		w.closeLog(l)
	}
}
