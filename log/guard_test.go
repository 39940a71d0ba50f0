package log

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/internal/clustertest"
	"cratelog/internal/durable"
	"cratelog/internal/testlog"
	"cratelog/log/storage"
	"cratelog/proofcheck"
)

// wantNoOpen opens and wants a refusal with the words.
func (w *world) wantNoOpen(is error, words ...string) {
	w.t.Helper()
	l, err := Open(w.t.Context(), w.cfg)
	if err == nil {
		w.closeLog(l)
		w.t.Fatalf("the log opened, want: ... %s ...", words)
	}
	if is != nil && !errors.Is(err, is) {
		w.t.Errorf("got %v, want %v", err, is)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			w.t.Errorf("got %v\nwant ... %s ...", err, word)
		}
	}
}

func (w *world) fill(l *Log, prefix string, n int) {
	w.t.Helper()
	for i := range n {
		e, c := w.good(fmt.Sprintf("%s%d", prefix, i), "1.0.0")
		w.submit(l, e, c)
	}
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	fatalIf(t, os.CopyFS(to, os.DirFS(from)))
	return to
}

func TestARolledBackTreeIsRefused(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 1)
	stateFile := filepath.Join(w.cfg.TreeDir, ".state", "treeState")
	old := testlog.Must(os.ReadFile(stateFile))
	oldTree := copyDir(t, w.cfg.TreeDir)
	w.fill(l, "b", 2)
	w.closeLog(l)

	t.Run("only the tree state", func(t *testing.T) {
		now := testlog.Must(os.ReadFile(stateFile))
		fatalIf(t, os.WriteFile(stateFile, old, 0o644))
		w.wantNoOpen(ErrRollback, "was rolled back to 2 entries, but this log has signed a checkpoint of 6", "start a new log under a new origin")
		fatalIf(t, os.WriteFile(stateFile, now, 0o644))
	})
	t.Run("the whole directory", func(t *testing.T) {
		right := w.cfg.TreeDir
		w.cfg.TreeDir = oldTree
		w.wantNoOpen(ErrRollback, "was rolled back to 2 entries")
		w.cfg.TreeDir = right
	})
	t.Run("an empty directory", func(t *testing.T) {
		right := w.cfg.TreeDir
		w.cfg.TreeDir = filepath.Join(t.TempDir(), "empty")
		w.wantNoOpen(ErrRollback, "is not there, but this log has signed a checkpoint of 6 entries")
		if _, err := os.Stat(filepath.Join(w.cfg.TreeDir, ".state")); err == nil {
			t.Error("a new tree was begun before the guard had looked")
		}
		w.cfg.TreeDir = right
	})
	t.Run("the state is lost", func(t *testing.T) {
		right := w.cfg.StateDir
		w.cfg.StateDir = filepath.Join(t.TempDir(), "empty")
		w.wantNoOpen(ErrRollback, "has 6 entries, but", "remembers no checkpoint")
		w.cfg.StateDir = right
	})
	l = w.open() // with everything in its place it goes on
	wantSize(t, l, 3)
	w.fill(l, "c", 1)
}

func TestAnotherLogsTreeIsRefused(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	w.closeLog(l)
	right := w.cfg.TreeDir
	for _, size := range []int{1, 2, 4} {
		other := newWorld(t)
		lo := other.open()
		other.fill(lo, "x", size)
		other.closeLog(lo)

		w.cfg.TreeDir = other.cfg.TreeDir
		if size < 2 {
			w.wantNoOpen(ErrRollback, "was rolled back")
		} else {
			w.wantNoOpen(ErrRollback, "another log's tree, or it was changed")
		}
		w.cfg.TreeDir = right

		other.cfg.StateDir = w.cfg.StateDir
		other.wantNoOpen(nil, "belongs to the log", "use the state directory of this log")
	}
	w.open()
}

// TestATreeThatWasForkedBehindTheGuardIsRefused grows an old copy of the tree
// with other entries, past what was signed, without our guard.
func TestATreeThatWasForkedBehindTheGuardIsRefused(t *testing.T) {
	t.Parallel()
	for _, past := range []int{0, 2} {
		t.Run(fmt.Sprintf("past=%d", past), func(t *testing.T) {
			w, l := openWorld(t)
			w.fill(l, "a", 1)
			oldTree := copyDir(t, w.cfg.TreeDir)
			w.fill(l, "b", 2)
			w.closeLog(l)
			growWithoutGuard(t, oldTree, 4+past)
			w.cfg.TreeDir = oldTree
			w.wantNoOpen(ErrRollback, "the first 6 entries have the root", "another log's tree, or it was changed")
		})
	}
}

func growWithoutGuard(t *testing.T, dir string, n int) {
	t.Helper()
	var leaves [][]byte
	for i := range n {
		leaves = append(leaves, fmt.Appendf(nil, "forged %d", i))
	}
	growTree(t, dir, leaves)
}

func growTree(t *testing.T, dir string, leaves [][]byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	fatalIf(t, os.RemoveAll(filepath.Join(dir, ".state", "treeState.lock"))) // a copy's leads nowhere
	driver := testlog.Must(posix.New(ctx, posix.Config{Path: dir}))
	a, shutdown, _, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().WithCheckpointSigner(testlog.LogKey(testOrigin, "another")).
		WithCheckpointInterval(100*time.Millisecond).WithBatching(1, time.Millisecond))
	fatalIf(t, err)
	for _, leaf := range leaves {
		testlog.Must(a.Add(ctx, tessera.NewEntry(leaf))())
	}
	fatalIf(t, shutdown(ctx))
}

// TestATreeExchangedUnderARunningLogHaltsIt: Tessera reads its state from the
// disk for every batch and would go on from whatever it finds.
func TestATreeExchangedUnderARunningLogHaltsIt(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 1)
	stateFile := filepath.Join(w.cfg.TreeDir, ".state", "treeState")
	old := testlog.Must(os.ReadFile(stateFile))
	w.fill(l, "b", 2)
	before := l.published.head()
	fatalIf(t, durable.Write(stateFile, old, 0o644))
	e, c := w.good("c", "1.0.0")
	if _, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil); !errors.Is(err, ErrRollback) {
		t.Errorf("got %v", err)
	}
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, Halted, "")
	eventually(t, "the guard has refused", func() bool { _, err := l.guard.mark(); return errors.Is(err, ErrRollback) })
	if m, _ := l.guard.mark(); m.Size != 6 {
		t.Errorf("the guard signed %d entries", m.Size)
	}
	if !bytes.Equal(l.published.head().raw, before.raw) && l.published.head().size != before.size {
		t.Error("something was published after the exchange")
	}
	for _, wit := range w.witnesses {
		if wit.refused > 0 {
			t.Error("a witness saw a fork: the guard let it through")
		}
	}
}

// TestTheGuardSignsOnlyWhatExtendsItsMark feeds it every kind of message.
func TestTheGuardSignsOnlyWhatExtendsItsMark(t *testing.T) {
	t.Parallel()
	for name, stores := range guardStores {
		t.Run(name, func(t *testing.T) { signsOnlyWhatExtends(t, stores(t)) })
	}
}

func signsOnlyWhatExtends(t *testing.T, store func() *guardStore) {
	w := newWorld(t)
	tree := newMemoryTree(300)
	g := guardOn(t, store(), w.cfg.keys(), tree)
	defer func() { g.close() }()
	sign := func(size int64, root tlog.Hash) error {
		_, err := g.Sign([]byte(testlog.Head(testOrigin, size, root)))
		return err
	}
	fatalIf(t, sign(0, tree.Root(0)))
	if err := sign(7, tlog.Hash{7}); !errors.Is(err, ErrRollback) {
		t.Errorf("a first root that the tiles do not have: %v", err)
	}
	fatalIf(t, sign(7, tree.Root(7)))
	fatalIf(t, sign(7, tree.Root(7))) // again: a republished checkpoint
	fatalIf(t, sign(258, tree.Root(258)))
	other := tree.Root(259)
	other[0] ^= 1
	body := tree.Head(testOrigin, 259)
	for name, msg := range map[string]string{
		"smaller":              tree.Head(testOrigin, 7),
		"empty":                tree.Head(testOrigin, 0),
		"same size, new root":  testlog.Head(testOrigin, 258, other),
		"larger, inconsistent": testlog.Head(testOrigin, 259, other),
		"beyond the tiles":     testlog.Head(testOrigin, 1<<20, other),
		"another origin":       tree.Head("other.test", 259),
		"extension line":       body + "extension\n",
		"not a checkpoint":     "hello\n",
		"nothing":              "",
		"leading zero":         strings.Replace(body, "\n259\n", "\n0259\n", 1),
	} {
		if sig, err := g.Sign([]byte(msg)); err == nil || sig != nil {
			t.Errorf("signed: %s", name)
		}
		if m, refusal := g.mark(); m.Size != 258 || refusal == nil {
			t.Errorf("%s moved the mark to %d, refusal %v", name, m.Size, refusal)
		}
	}
	fatalIf(t, sign(300, tree.Root(300)))
	m, refusal := g.mark()
	if m.Size != 300 || refusal != nil {
		t.Errorf("mark %d, refusal %v", m.Size, refusal)
	}
	v := testlog.Must(note.NewVerifier(w.cfg.VKey))
	if _, err := note.Open(m.Note, note.VerifierList(v)); err != nil {
		t.Errorf("the remembered note: %v", err)
	}
	fatalIf(t, g.close())
	// The memory outlives the process: opened with a tree that has none of it.
	if _, _, err := openGuard(t.Context(), store(), treeIn(filepath.Join(t.TempDir(), "none")), w.cfg.keys(), tree.readTile); !errors.Is(err, ErrRollback) {
		t.Errorf("got %v", err)
	}
}

// TestNothingIsSignedThatIsNotRemembered: a guard whose database fails, or
// was changed by somebody else, does not give the signature away.
func TestNothingIsSignedThatIsNotRemembered(t *testing.T) {
	t.Parallel()
	for name, stores := range guardStores {
		t.Run(name, func(t *testing.T) { signsOnlyWhatIsRemembered(t, stores(t)()) })
	}
}

func signsOnlyWhatIsRemembered(t *testing.T, store *guardStore) {
	w := newWorld(t)
	tree := newMemoryTree(10)
	g := guardOn(t, store, w.cfg.keys(), tree)
	msg := []byte(tree.Head(testOrigin, 5))
	testlog.Must(g.store.db.Exec("UPDATE guard SET size = 9"))
	if sig, err := g.Sign(msg); sig != nil || err == nil || !strings.Contains(err.Error(), "another process changed") {
		t.Errorf("got %x, %v", sig, err)
	}
	fatalIf(t, g.close())
	if sig, err := g.Sign(msg); sig != nil || err == nil || !strings.Contains(err.Error(), "cannot remember") {
		t.Errorf("got %x, %v", sig, err)
	}
}

func treeIn(dir string) storage.Tree { return testlog.Must(storage.OpenPosix(dir, false)) }

// guardStores are the memories that a log can have. Each returns what opens one, as often as it is called: guard.db, and
// the one on a server, with a lease.
var guardStores = map[string]func(*testing.T) func() *guardStore{
	guardFile: func(t *testing.T) func() *guardStore {
		dir := t.TempDir()
		return func() *guardStore { return fileStore(t, dir) }
	},
	"memory": func(t *testing.T) func() *guardStore {
		dsn := clustertest.Memory(t)
		l := leads(t, dsn)
		return func() *guardStore { return memoryStore(t, dsn, l) }
	},
}

// leads returns a lease that is held.
func leads(t *testing.T, dsn string) *lease {
	t.Helper()
	l := leaseAt(t, dsn, "http://a.example", patient)
	if got, _, err := l.acquire(t.Context()); !got {
		t.Fatal(err)
	}
	return l
}

func fileStore(t *testing.T, dir string) *guardStore {
	t.Helper()
	return testlog.Must(openGuardStore(t.Context(), &Config{StateDir: dir}))
}

func memoryStore(t *testing.T, dsn string, l *lease) *guardStore {
	t.Helper()
	return memoryOf(testlog.Must(openMemory(&Cluster{Memory: dsn, Lease: patient}, testOrigin)), l)
}

// guardOn opens a guard for a directory without a tree.
func guardOn(t *testing.T, store *guardStore, keys []Key, tree memoryTree) *guard {
	t.Helper()
	g, _, err := openGuard(t.Context(), store, treeIn(filepath.Join(t.TempDir(), "none")), keys, tree.readTile)
	fatalIf(t, err)
	return g
}

// openedGuard is guardOn a file in a directory of its own.
func openedGuard(t *testing.T, keys []Key, tree memoryTree) *guard {
	t.Helper()
	return guardOn(t, fileStore(t, t.TempDir()), keys, tree)
}

// memoryTree is a tree of made-up entries, by x/mod's code.
type memoryTree struct{ *testlog.Tree }

func newMemoryTree(n int64) memoryTree { return memoryTree{new(testlog.Tree).Grow(n, "entry")} }

func (m memoryTree) readTile(_ context.Context, level, index uint64, p uint8) ([]byte, error) {
	w := int(p)
	if w == 0 {
		w = 256
	}
	return tlog.ReadTileData(tlog.Tile{H: 8, L: int(level), N: int64(index), W: w}, m)
}

// TestAPowerFailureForgetsNoSignature: what the guard remembers is on the disk when Sign
// returns. With a rollback journal this takes synchronous EXTRA: after a power failure
// with FULL, the journal may be there again, and is rolled back.
func TestAPowerFailureForgetsNoSignature(t *testing.T) {
	t.Parallel()
	l := newWorld(t).open()
	for _, db := range []struct {
		*sql.DB
		journal string
	}{{l.guard.store.db, "delete"}, {l.index.db, "wal"}} {
		for pragma, want := range map[string]string{"journal_mode": db.journal, "synchronous": "3", "fullfsync": "1", "checkpoint_fullfsync": "1"} {
			var got string
			fatalIf(t, db.QueryRow("PRAGMA "+pragma).Scan(&got))
			if got != want {
				t.Errorf("%s = %s, want %s", pragma, got, want)
			}
		}
	}
}

func TestAnotherFileThanTheLogsOwnIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.closeLog(w.open())
	guard, index := filepath.Join(w.cfg.StateDir, "guard.db"), filepath.Join(w.cfg.StateDir, "index.db")
	right := testlog.Must(os.ReadFile(guard))
	derived := testlog.Must(os.ReadFile(index))
	for _, c := range []struct {
		path    string
		content []byte
		words   string
	}{
		{guard, derived, "it is not a log's guard.db; use the state directory of this log"},
		{guard, right[:len(right)-4096], "guard.db"},
		{guard, bytes.Repeat([]byte("x"), 4096), "guard.db"},
		{index, right, "it is not a log's index.db; delete it while the log is stopped"},
	} {
		fatalIf(t, os.WriteFile(guard, right, 0o600))
		fatalIf(t, os.WriteFile(index, derived, 0o600))
		fatalIf(t, os.WriteFile(c.path, c.content, 0o600))
		w.wantNoOpen(nil, c.words)
		if now, err := os.ReadFile(c.path); err != nil || !bytes.Equal(now, c.content) {
			t.Errorf("%s: the refused file was changed", c.words)
		}
	}
}

func TestOneServerPerDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open()
	w.wantNoOpen(nil, "is in use by another log server")
}

func (w *world) removeIndex() {
	w.t.Helper()
	for _, f := range testlog.Must(filepath.Glob(filepath.Join(w.cfg.StateDir, "index.db*"))) {
		fatalIf(w.t, os.Remove(f))
	}
}

func TestTheIndexIsDerivedFromTheTree(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 5)
	e, c := w.good("a3", "1.0.0")
	w.closeLog(l)

	w.removeIndex()
	l = w.open()
	if l.indexed != 10 {
		t.Errorf("indexed %d entries, want 10", l.indexed)
	}
	w.submit(l, e, c)
	wantSize(t, l, 5)
}

func TestAnIndexAheadOfTheTreeIsRefused(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	fatalIf(t, l.index.append(t.Context(), []row{someRow(4, 1, 1, "b", 1)}))
	w.closeLog(l)
	w.wantNoOpen(ErrRollback, "the index knows 5 entries, but the tree has 4")
}

// someRow is a row about version 1.0.0 of a crate of the default registry.
func someRow(idx uint64, identity, program byte, name string, sum byte) row {
	return row{idx: idx, kind: kindSource, proven: proven{[32]byte{identity}, [32]byte{program}},
		versionKey: versionKey{entry.DefaultRegistry, name, "1.0.0"}, sha256: [32]byte{sum}}
}

// TestEntriesAddedWithoutTheirRowsAreFoundAtStart is the crash between
// Tessera's write and the index's, without the crash.
func TestEntriesAddedWithoutTheirRowsAreFoundAtStart(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	e, c := w.good("late", "1.0.0")
	testlog.Must(l.appender(t.Context(), tessera.NewEntry(e))())
	w.closeLog(l)
	l = w.open()
	w.submit(l, e, c)
	wantSize(t, l, 3)
}

// TestATreeThatBreaksTheRulesIsReadOnly, at each start: what it holds is served, and nothing is added to it.
func TestATreeThatBreaksTheRulesIsReadOnly(t *testing.T) {
	t.Parallel()
	for name, leaf := range map[string][]byte{
		"entry 2 of the tree: ":                     []byte("not an entry"),
		"the seal at 2 names the root 0100":         testlog.Must((&entry.Seal{Rules: 1, Size: 2, Root: [32]byte{1}}).Marshal()),
		"the seal at 2 names the root e3b0c44298fc": testlog.Must((&entry.Seal{Rules: 9, Size: 2, Root: sha256.Sum256(nil)}).Marshal()),
	} {
		t.Run(name, func(t *testing.T) {
			w, l := openWorld(t)
			w.fill(l, "a", 1)
			testlog.Must(l.appender(t.Context(), tessera.NewEntry(leaf))())
			e, c := w.good("new", "1.0.0")
			_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
			if !errors.Is(err, errContradiction) {
				t.Errorf("it is not found by a running log: %v", err)
			}
			l.Close(expired())
			for range 2 {
				l, err := Open(t.Context(), w.cfg)
				fatalIf(t, err)
				e, c := w.good("newer", "1.0.0")
				_, err = l.Submit(t.Context(), e, bytes.NewReader(c), nil)
				wantRefusal(t, err, Halted, "accepts nothing until its operator has looked")
				if h := l.health(); h.OK || !strings.Contains(strings.Join(h.Problems, " "), name) || h.Indexed < 3 {
					t.Errorf("health: %+v", h)
				}
				standing, _ := w.good("a0", "1.0.0")
				w.checkBundle(testlog.Must(l.bundle(t.Context(), 0, l.published.head())), standing)
				if head := l.published.head(); head.size != 2 {
					t.Errorf("published %d", head.size)
				}
				w.closeLog(l)
				w.removeIndex()
			}
		})
	}
}

func TestAWrongConfigurationIsRefusedWithASentence(t *testing.T) {
	t.Parallel()
	base := newWorld(t)
	policy := string(base.cfg.Policy)
	lines := strings.SplitAfter(policy, "\n")
	url := func(i int) string { return base.witnesses[i].server.URL }
	for _, tt := range []struct {
		words string
		edit  func(c *Config)
	}{
		{"no signing key", func(c *Config) { c.Signer = nil }},
		{"they must be the same", func(c *Config) { c.Origin = "other.test" }},
		{"must both be configured", func(c *Config) { c.StateDir = "" }},
		{"is inside the tree's directory", func(c *Config) { c.StateDir = filepath.Join(c.TreeDir, "state") }},
		{"is inside the tree's directory", func(c *Config) { c.StateDir = c.TreeDir }},
		{"no proof program is accepted", func(c *Config) { c.Proofs = noProofs{} }},
		{"no proof program is accepted", func(c *Config) { c.Proofs = nil }},
		{"or say that this is a development log", func(c *Config) { c.Development = false }},
		{"the least is 100ms", func(c *Config) { c.CheckpointInterval.Duration = time.Millisecond }},
		{"is shorter than the checkpoint interval", func(c *Config) { c.RepublishInterval.Duration = 50 * time.Millisecond }},
		{"is negative", func(c *Config) { c.Limits.Waiting = -1 }},
		{"crate_bytes is", func(c *Config) { c.Limits.Crate.Compressed = math.MaxInt64 }},
		{"trust file", func(c *Config) { c.Policy = nil }},
		{"trust file", func(c *Config) { c.Policy = []byte("nonsense\n") }},
		{"does not name this log", func(c *Config) { c.Policy = []byte(strings.Join(lines[1:], "")) }},
		{"asks for no witnesses", func(c *Config) { c.Policy = []byte(lines[0] + lines[1] + "quorum none\n") }},
		{"asks for no witnesses", func(c *Config) { c.Policy = []byte(lines[0] + "quorum none\n") }},
		{"gives no URL for the witness w1", func(c *Config) { c.Policy = []byte(strings.Replace(policy, " "+url(1), "", 1)) }},
		{"is listed twice", func(c *Config) { c.MoreKeys = []Key{{c.Signer, c.VKey}} }},
		{"they must be the same", func(c *Config) { c.MoreKeys = []Key{{testlog.LogKey("other.test"), ""}} }},
		{"longer than the witness timeout", func(c *Config) { c.CosignatureGrace.Duration = time.Hour }},
		{"trust file", func(c *Config) { c.Policy = []byte(strings.Replace(policy, url(1), "ftp://x", 1)) }},
		{"", func(c *Config) { c.Policy = []byte(strings.Replace(policy, url(1), url(1)+"#x", 1)) }},
		{"trust file", func(c *Config) { c.Policy = []byte(strings.Replace(policy, "quorum g\n", "", 1)) }},
	} {
		t.Run(tt.words, func(t *testing.T) {
			w := &world{t: t, cfg: base.cfg}
			tt.edit(&w.cfg)
			w.wantNoOpen(nil, tt.words)
		})
	}
}

// TestACheckpointWithoutItsQuorumIsNotServed, even if it lies where Tessera
// puts them and the log itself has signed it.
func TestACheckpointWithoutItsQuorumIsNotServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.CheckpointInterval.Duration = time.Minute // Tessera does not write again
	w.cfg.RepublishInterval.Duration = time.Minute
	l := w.open()
	eventually(t, "the empty tree is published", func() bool { return l.published.head().raw != nil })
	before := l.published.head()
	tree := newMemoryTree(5)
	alone := testlog.Sign(tree.Head(testOrigin, 5), w.cfg.Signer)
	for _, raw := range [][]byte{alone, []byte("nonsense"), nil} {
		path := filepath.Join(w.cfg.TreeDir, "checkpoint")
		fatalIf(t, os.WriteFile(path, raw, 0o644))
		err := l.refreshCheckpoint(t.Context())
		if _, gone := os.Stat(path); err == nil && gone == nil { // what is no checkpoint is removed
			t.Errorf("taken over: %q", raw)
		}
		if head := l.published.head(); !bytes.Equal(head.raw, before.raw) {
			t.Errorf("published: %q", head.raw)
		}
	}
	fatalIf(t, os.WriteFile(filepath.Join(w.cfg.TreeDir, "checkpoint"), before.raw, 0o644))
}

// noProofs accepts no program.
type noProofs struct{ *toldProofs }

func (noProofs) Programs() []proofcheck.Program { return nil }
