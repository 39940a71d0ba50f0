package log

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/internal/testlog"
	"cratelog/log/storage"
)

func (w *world) fsck(repair bool) []Finding {
	w.t.Helper()
	var last, all uint64
	findings, err := Fsck(w.t.Context(), w.cfg, repair, func(done, of uint64) {
		if done <= last {
			w.t.Errorf("progress goes from %d to %d", last, done)
		}
		last, all = done, of
	})
	fatalIf(w.t, err)
	if last != all {
		w.t.Errorf("progress ended with %d of %d", last, all)
	}
	return findings
}

func (w *world) treeFile(name string) string {
	return filepath.Join(w.cfg.TreeDir, filepath.FromSlash(name))
}

// TestFsckFindsAndRepairs: each kind of damage is found where it is. What follows from what is there is
// repaired, and the log is as before; the rest is left as it is.
func TestFsckFindsAndRepairs(t *testing.T) {
	t.Parallel()
	w, l, _ := filled(t, 299)
	if findings := w.fsck(false); len(findings) > 0 {
		t.Errorf("of a running log that is in order: %v", findings)
	}
	if _, err := Fsck(t.Context(), w.cfg, true, nil); err == nil || !strings.Contains(err.Error(), "in use by another log server") {
		t.Errorf("a running log is repaired: %v", err)
	}
	w.closeLog(l)
	if findings := w.fsck(true); len(findings) > 0 {
		t.Errorf("of a log that is in order: %v", findings)
	}
	restore := w.snapshot()
	flip := func(name string, at int) func() { return func() { w.flip(name, at) } }
	remove := func(name string) func() { return func() { fatalIf(t, os.RemoveAll(w.treeFile(name))) } }
	write := func(name, text string) func() {
		return func() { fatalIf(t, os.WriteFile(w.treeFile(name), []byte(text), 0o644)) }
	}
	state := func(query string) func() { return func() { w.tamper(query) } }
	in := func(db, query string, args ...any) func() {
		return func() {
			of := map[string]func() error{openingsFile: func() error {
				d, err := openingsDatabase.Open(t.Context(), filepath.Join(w.cfg.StateDir, db), false)
				fatalIf(t, err)
				testlog.Must(d.Exec(query, args...))
				return d.Close()
			}, buildsFile: func() error {
				d, err := buildsDatabase.Open(t.Context(), filepath.Join(w.cfg.StateDir, db), false)
				fatalIf(t, err)
				testlog.Must(d.Exec(query, args...))
				return d.Close()
			}}
			fatalIf(t, of[db]())
		}
	}
	for name, c := range map[string]struct {
		do     func()
		where  string // of all findings, sorted, each once
		words  string // of one of them
		remain bool   // it cannot be repaired
	}{
		"full tile":     {flip("tile/0/000", 77), "tile/0/000", "is not what the entries below it say", false},
		"edge tile":     {flip("tile/0/001.p/44", 77), "tile/0/001.p/44", "is not what the entries", false},
		"upper tile":    {flip("tile/1/000.p/1", 7), "tile/1/000.p/1", "is not what the entries", false},
		"tile is short": {write("tile/0/000", "short"), "tile/0/000", "too short", false},
		"no tiles":      {func() { remove("tile/0")(); remove("tile/1")() }, "tile/0/000 tile/0/001.p/44 tile/1/000.p/1", "cannot be read", false},
		"no tiles, no index": {func() { remove("tile/0")(); remove("tile/1")(); w.removeIndex() },
			"index.db tile/0/000 tile/0/001.p/44 tile/1/000.p/1", "rows of the entries 0 to 299", false},
		"full bundle":             {flip("tile/entries/000", 77), "tile/entries/000", "holds another entry 0", true},
		"edge bundle":             {flip("tile/entries/001.p/44", 77), "tile/entries/001.p/44", "holds another entry 256", true},
		"no bundle":               {remove("tile/entries/000"), "tile/entries/000", "cannot be read", true},
		"no bundle, no tile":      {func() { remove("tile/entries/000")(); remove("tile/0/000")() }, "tile/entries/000", "nor can its tile", true},
		"two faults":              {func() { flip("tile/0/000", 77)(); flip("tile/entries/001.p/44", 9)() }, "tile/0/000 tile/entries/001.p/44", "holds another entry", true},
		"checkpoint":              {write("checkpoint", "garbage"), "checkpoint", "is none that this log has signed", false},
		"tree state":              {write(".state/treeState", "garbage"), ".state/treeState", "is damaged", false},
		"no tree state":           {remove(".state/treeState"), ".state/treeState", "missing", false},
		"version of the layout":   {write(".state/version", "x"), ".state/version", "is no version", false},
		"rot that was built on":   {w.rotTheEdge, ".state/treeState tile/0/001.p/44", "has another root than the entries", false},
		"row":                     {state("UPDATE entries SET name = 'x' WHERE idx = 3"), "index.db", "the row of entry 3", false},
		"row is missing":          {state("DELETE FROM entries WHERE idx = 299"), "index.db", "the row of entry 299", false},
		"row too many":            {state("UPDATE entries SET idx = 1000 WHERE idx = 7"), "index.db", "the row of entry 7", false},
		"programs":                {state("DELETE FROM programs"), "index.db", "list of programs", false},
		"SQL index":               {func() { w.rotIndex("c531.0.0default", "c931.0.0default") }, "index.db", "SQLite finds it damaged", false},
		"index is empty":          {func() { fatalIf(t, os.Truncate(filepath.Join(w.cfg.StateDir, indexFile), 0)) }, "index.db", "rows of the entries 0 to 299", false},
		"no index":                {w.removeIndex, "index.db", "is missing", false},
		"opening of nothing":      {in(openingsFile, "INSERT INTO openings VALUES (?, zeroblob(32), 1, x'00')", make([]byte, 32)), "openings.db", "of which there is no entry", false},
		"list of nothing":         {in(buildsFile, "INSERT INTO lists VALUES (zeroblob(32), x'00')"), "builds.db", "which no entry names", false},
		"contradiction of nobody": {in(buildsFile, "INSERT INTO contradictions (request, tag, file) VALUES (zeroblob(32), zeroblob(32), x'00')"), "builds.db", "of which there is no entry", true},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			restore()
			c.do()
			first := w.fsck(false)
			if slices.ContainsFunc(first, func(f Finding) bool { return f.Repaired }) {
				t.Errorf("it was repaired without being told to: %v", first)
			}
			findings := w.fsck(true)
			if got := places(findings); got != c.where || !strings.Contains(fmt.Sprint(findings), c.words) {
				t.Errorf("found %v\nwant %s: %s", findings, c.where, c.words)
			}
			again := w.fsck(true)
			if c.remain != (len(again) > 0) {
				t.Errorf("after the repair: %v", again)
			}
			if c.remain {
				return
			}
			// The witnesses know it, so it must be the same log to the last entry.
			l := w.open()
			eventually(t, "it is published", func() bool { return l.published.head().size == 300 })
			for i := range uint64(299) {
				testlog.Must(l.bundle(t.Context(), i, l.published.head()))
			}
			e, raw := w.good("c53", "1.0.0")
			w.submit(l, e, raw)
			if h := l.health(); !h.OK {
				t.Errorf("health: %+v", h.Problems)
			}
			w.closeLog(l)
		})
	}
	w.t = t
}

// TestFsckRepairsTheEdgeThatWasBuiltOn: the last tile of what is published rots, and the next entry is put behind it. The
// tree is larger then than what was signed, so that two files are wrong.
func TestFsckRepairsTheEdgeThatWasBuiltOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openUnclosed()
	w.fill(l, "a", 2)
	head := l.published.head()
	edge := fmt.Sprintf("tile/0/000.p/%d", head.size)
	w.flip(edge, 40)
	next, _ := w.good("b", "1.0.0")
	at := w.sneak(l, next)
	eventually(t, "it is integrated", func() bool {
		s := testlog.Must(l.tree.State(t.Context()))
		return s.Size > at
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if l.Close(ctx) == nil { // it is halted
		t.Error("what was put behind it was published")
	}
	wider := fmt.Sprintf("tile/0/000.p/%d", testlog.Must(treeIn(w.cfg.TreeDir).State(t.Context())).Size)
	if got := places(w.fsck(false)); !strings.Contains(got, edge) || !strings.Contains(got, wider) || edge == wider {
		t.Errorf("found %s, want %s and %s", got, edge, wider)
	}
	w.fsck(true)
	if findings := w.fsck(false); len(findings) > 0 {
		t.Fatalf("after the repair: %v", findings)
	}
	l = w.open()
	eventually(t, "the entry is published", func() bool { return l.published.head().size > at })
	testlog.Must(l.bundle(t.Context(), at, l.published.head()))
	if h := l.health(); !h.OK {
		t.Errorf("health: %+v", h.Problems)
	}
	w.closeLog(l)
}

// rotTheEdge is a rotten tile on which Tessera has built: the tree's state has its root.
func (w *world) rotTheEdge() {
	w.t.Helper()
	w.flip("tile/0/001.p/44", 77)
	edge := edgeTiles{}
	for _, k := range edgeOf(300) {
		edge[k.level] = testlog.Must(os.ReadFile(w.treeFile(k.String())))
	}
	fatalIf(w.t, treeIn(w.cfg.TreeDir).WriteState(w.t.Context(), storage.State{Size: 300, Root: edge.root()}))
}

func places(findings []Finding) string {
	var all []string
	for _, f := range findings {
		all = append(all, f.Where)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// TestFsckFindsWhatAdmissionMustHaveStopped: a proof that does not hold, what is no entry, and a seal that is wrong
// but for its place. That an entry is void is no fault of the disk.
func TestFsckFindsWhatAdmissionMustHaveStopped(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 1)
	w.closeLog(l)
	second := testEntry(t, testCrate(t, "a0", "1.0.0", "other"), "a0", "1.0.0", 1)
	void := testEntry(t, testCrate(t, "a0", "1.0.0", "void"), "a0", "1.0.0", 1)
	w.proofs.believe(void)
	growWith(t, w.cfg.TreeDir, marshal(second), []byte("not an entry"), marshal(void),
		testlog.Must((&entry.Seal{Rules: entry.Rules, Size: 5}).Marshal()), testlog.Must((&entry.Seal{Size: 5}).Marshal()))
	l = w.openUnclosed() // for the index
	l.Close(expired())
	findings := w.fsck(true)
	if places(findings) != "entry 2 entry 3 entry 5" || slices.ContainsFunc(findings, func(f Finding) bool { return f.Repaired }) {
		t.Errorf("%v", findings)
	}
	for _, words := range []string{"entry 2: its proof does not verify", "entry 3: the tree contradicts itself", "the seal at 5 names the root 000"} {
		if !strings.Contains(fmt.Sprint(findings), words) {
			t.Errorf("want %q in %v", words, findings)
		}
	}
}

// TestFsckOfAnOldCopyRepairsNothing: neither an old tree nor an old guard can be made new.
func TestFsckOfAnOldCopyRepairsNothing(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	w.closeLog(l)
	kept := t.TempDir()
	fatalIf(t, os.CopyFS(filepath.Join(kept, "tree"), os.DirFS(w.cfg.TreeDir)))
	fatalIf(t, os.CopyFS(filepath.Join(kept, "state"), os.DirFS(w.cfg.StateDir)))
	l = w.open()
	w.fill(l, "b", 2)
	w.closeLog(l)
	newer := w.snapshot()
	for name, words := range map[string][]string{
		"tree":  {"the tree has 4 entries, but 8 were signed: it is an old copy", "do not hash to the root that was signed (the tree has only 4)"},
		"state": {"remembers 4 entries, but 8 are published: it is an old copy"},
	} {
		newer()
		dir := map[string]string{"tree": w.cfg.TreeDir, "state": w.cfg.StateDir}[name]
		fatalIf(t, os.RemoveAll(dir))
		fatalIf(t, os.CopyFS(dir, os.DirFS(filepath.Join(kept, name))))
		w.fsck(true)
		said := fmt.Sprint(w.fsck(true))
		for _, want := range words {
			if !strings.Contains(said, want) {
				t.Errorf("%s: want %q in %s", name, want, said)
			}
		}
	}
}

// TestFsckOfAnotherTreeRepairsNothing: a whole tree that is not the one which was signed.
func TestFsckOfAnotherTreeRepairsNothing(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 3)
	w.closeLog(l)
	other, o := openWorld(t)
	other.fill(o, "b", 3)
	other.closeLog(o)
	fatalIf(t, os.RemoveAll(w.cfg.TreeDir))
	fatalIf(t, os.CopyFS(w.cfg.TreeDir, os.DirFS(other.cfg.TreeDir)))
	before := testlog.Must(os.ReadFile(w.treeFile("tile/0/000.p/3")))
	findings := w.fsck(true)
	if !strings.Contains(fmt.Sprint(findings), "do not hash to the root that was signed") {
		t.Errorf("%v", findings)
	}
	after := testlog.Must(os.ReadFile(w.treeFile("tile/0/000.p/3")))
	if tlog.RecordHash(before) != tlog.RecordHash(after) {
		t.Error("the tree was changed")
	}
	if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Where == indexFile && !f.Repaired }) {
		t.Errorf("the index was made another tree's: %v", findings)
	}
}

// TestFsckKeepsWhatItCannotJudge: openings do not follow from the tree. They are dropped only where every
// entry has been read and has its row.
func TestFsckKeepsWhatItCannotJudge(t *testing.T) {
	w, l, _ := filled(t, 299)
	for _, idx := range []int{5, 298} {
		r := testlog.Must(l.index.rows(t.Context(), "WHERE idx = ?", idx))[0]
		testlog.Must(l.openings.db.Exec("INSERT INTO openings VALUES (?, zeroblob(32), 1, x'00')", r.identity[:]))
	}
	w.closeLog(l)
	restore := w.snapshot()
	kept := func() (n int) {
		db := testlog.Must(openingsDatabase.Open(t.Context(), filepath.Join(w.cfg.StateDir, openingsFile), false))
		defer db.Close()
		fatalIf(t, db.QueryRow("SELECT count(*) FROM openings").Scan(&n))
		return n
	}
	for name, do := range map[string]func(){
		"a bundle and the index are damaged": func() { w.flip("tile/entries/000", 77); w.removeIndex() },
		"more rows are missing than fit":     func() { w.removeIndex(); maxRows = 100 },
	} {
		restore()
		do()
		findings := w.fsck(true)
		maxRows = 100_000
		if kept() != 2 {
			t.Errorf("%s: openings were dropped: %v", name, findings)
		}
		if !slices.ContainsFunc(findings, func(f Finding) bool { return !f.Repaired }) {
			t.Errorf("%s: all is said to be repaired: %v", name, findings)
		}
	}
}

// TestFsckRepairsMoreTilesThanFit takes several runs, of which each repairs some.
func TestFsckRepairsMoreTilesThanFit(t *testing.T) {
	w, l, _ := filled(t, 299)
	w.closeLog(l)
	fatalIf(t, os.RemoveAll(w.treeFile("tile/0")))
	fatalIf(t, os.RemoveAll(w.treeFile("tile/1")))
	maxRepairs = 0
	defer func() { maxRepairs = 4096 }()
	if findings := w.fsck(true); !slices.ContainsFunc(findings, func(f Finding) bool { return f.Repaired }) {
		t.Errorf("nothing is repaired: %v", findings)
	}
	maxRepairs = 4096
	w.fsck(true)
	if findings := w.fsck(false); len(findings) > 0 {
		t.Errorf("%v", findings)
	}
}

// TestFsckDoesNotMakeThePublishedTreeSmaller: an old guard, and no state of the tree, which then seems to
// have only the entries that the guard knows.
func TestFsckDoesNotMakeThePublishedTreeSmaller(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	w.closeLog(l)
	kept := t.TempDir()
	fatalIf(t, os.CopyFS(kept, os.DirFS(w.cfg.StateDir)))
	l = w.open()
	w.fill(l, "b", 2)
	w.closeLog(l)
	fatalIf(t, os.RemoveAll(w.cfg.StateDir))
	fatalIf(t, os.CopyFS(w.cfg.StateDir, os.DirFS(kept)))
	fatalIf(t, os.Remove(w.treeFile(stateFile)))
	findings := w.fsck(true)
	if s, err := treeIn(w.cfg.TreeDir).State(t.Context()); err != nil || s.Found {
		t.Errorf("the state of a tree of %d entries was written (%v): %v", s.Size, err, findings)
	}
}
