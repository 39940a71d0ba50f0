package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/transparency-dev/tessera/api/layout"

	"cratelog/internal/sqlite"
)

const indexFile = "index.db" // in the state directory

// openIndexFile opens the index, or makes an empty one where SQLite cannot read what is there.
func (l *Log) openIndexFile(ctx context.Context) (err error) {
	path := filepath.Join(l.cfg.StateDir, indexFile)
	if l.index, err = openIndex(ctx, path); sqlite.IsDamaged(err) {
		err = l.renewIndexFile(ctx, err)
	}
	return err
}

// renewIndexFile moves a damaged index away, and opens an empty one.
func (l *Log) renewIndexFile(ctx context.Context, why error) error {
	path := filepath.Join(l.cfg.StateDir, indexFile)
	l.log.Warn("the index is damaged; it is moved away and made again from the tree", "err", why, "moved", path+".damaged")
	if l.index != nil {
		if err := l.index.close(); err != nil {
			return err
		}
		l.index = nil
	}
	if err := os.Rename(path, path+".damaged"); err != nil {
		return err
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	var err error
	l.index, err = openIndex(ctx, path)
	return err
}

// deriveIndex compares the whole index with the tree, repairs what differs, adds what is missing at its
// end, and halts the log if what the tree holds breaks its rules. Nothing of an index is believed that
// was not compared in this run.
func (l *Log) deriveIndex(ctx context.Context, tree treeHead) error {
	start := time.Now()
	if err := l.index.sound(ctx); err != nil {
		if err := l.renewIndexFile(ctx, err); err != nil {
			return err
		}
	}
	next, rows, err := l.index.extent(ctx)
	if err != nil {
		return err
	}
	if next > tree.size && rows > tree.size {
		return fmt.Errorf("%w: the index knows %d entries, but the tree has %d: the tree's directory is an old copy, "+
			"or the index is another log's; put the right one back", ErrRollback, rows, tree.size)
	}
	l.setIndexed(min(next, tree.size))
	unread, err := l.compareIndex(ctx, tree, next > tree.size)
	if err != nil {
		return err
	}
	compared := l.indexed
	if tree.size > l.indexed {
		l.log.Info("indexing entries of the tree", "from", l.indexed, "to", tree.size)
	}
	read := func(ctx context.Context, n uint64) ([][]byte, error) { return l.verified.entries(ctx, tree, n) }
	for l.indexed < tree.size {
		// A contradiction is looked for below, among all rows.
		if err := l.indexBatch(ctx, tree.size, read); errors.Is(err, errDamaged) {
			unread = err
			break
		} else if err != nil && !errors.Is(err, errContradiction) {
			return err
		}
	}
	if unread != nil {
		l.halt.now(fmt.Errorf("the index lacks entries whose bundle is damaged, so the log cannot know what stands: %w; %s",
			unread, repairAdvice))
	}
	if err := l.index.contradiction(ctx); errors.Is(err, errContradiction) {
		l.halt.now(err)
	} else if err != nil {
		return err
	}
	l.log.Info("the index is what the tree says", "compared", compared, "entries", l.indexed,
		"took", time.Since(start).Round(time.Millisecond))
	return nil
}

// compareIndex compares every row with its entry, and repairs those that differ. It returns the damage of
// the first bundle that cannot be read and that lacks rows; rows whose bundle is damaged, but which are
// there, are left as they stand.
func (l *Log) compareIndex(ctx context.Context, tree treeHead, strays bool) (unread, err error) {
	if l.indexed == 0 && !strays {
		return nil, nil
	}
	var bad []row
	for first, last := uint64(0), (l.indexed+layout.EntryBundleWidth-1)/layout.EntryBundleWidth; first < last; {
		some := l.rowsOfBundles(ctx, tree, first, min(last, first+uint64(runtime.GOMAXPROCS(0))))
		for _, b := range some {
			if b.err != nil && !errors.Is(b.err, errDamaged) {
				return nil, b.err
			}
			rows := b.rows[:min(uint64(len(b.rows)), l.indexed-min(l.indexed, first*layout.EntryBundleWidth))]
			differ, err := l.index.differing(ctx, rows)
			if err != nil {
				return nil, err
			}
			if bad = append(bad, differ...); len(bad) > 1<<12 {
				if err := l.repairRows(ctx, bad, strays); err != nil {
					return nil, err
				}
				bad, strays = nil, false
			}
			if b.err != nil && unread == nil {
				from, to := first*layout.EntryBundleWidth, min((first+1)*layout.EntryBundleWidth, l.indexed)
				n, err := l.index.rowsIn(ctx, from, to)
				if err != nil {
					return nil, err
				}
				if n < to-from {
					unread = b.err
				}
			}
			first++
		}
	}
	return unread, l.repairRows(ctx, bad, strays)
}

// repairRows writes rows anew, and says so.
func (l *Log) repairRows(ctx context.Context, bad []row, strays bool) error {
	if len(bad) > 0 || strays {
		which := make([]uint64, 0, 16)
		for _, r := range bad[:min(len(bad), 16)] {
			which = append(which, r.idx)
		}
		if err := l.index.rewrite(ctx, bad, l.indexed); err != nil {
			return err
		}
		l.log.Warn("rows of the index differed from the tree, and were written anew: is the disk of the state sound?",
			"rows", len(bad), "entries", which, "beyond_the_tree", strays)
	}
	differ, err := l.index.programsDiffer(ctx)
	if err == nil && differ {
		l.log.Warn("the index's list of programs differed from its rows, and was written anew")
		err = l.index.listPrograms(ctx)
	}
	return err
}

// bundleRows are the rows of a bundle's entries.
type bundleRows struct {
	rows []row
	err  error // errDamaged: there are none
}

// rowsOfBundles reads and parses the entries of some bundles, each on a core of its own.
func (l *Log) rowsOfBundles(ctx context.Context, tree treeHead, first, last uint64) []bundleRows {
	out := make([]bundleRows, last-first)
	var g sync.WaitGroup
	for i := range out {
		g.Go(func() {
			n := first + uint64(i)
			// Not remembered: there may be more than memory.
			entries, err := l.verified.readEntries(ctx, tree, n)
			if err != nil {
				out[i].err = err
				return
			}
			for j, data := range entries {
				r, _ := newRow(n*layout.EntryBundleWidth+uint64(j), data) // contradictions are looked for among the rows
				out[i].rows = append(out[i].rows, r)
			}
		})
	}
	g.Wait()
	return out
}

// indexUpTo copies what Tessera has integrated into the index, and returns
// when it holds at least want entries. Concurrent callers share one
// transaction: the first copies everything.
//
// The index is written here and where a start compares it, and nowhere else: a row is
// there because its entry is in the tree, and for no other reason.
func (l *Log) indexUpTo(ctx context.Context, want uint64) error {
	l.indexing.Lock()
	defer l.indexing.Unlock()
	if want > 0 && l.indexed >= want {
		return nil
	}
	size, err := l.reader.IntegratedSize(ctx)
	if err != nil {
		return fmt.Errorf("reading the size of the tree: %w", err)
	}
	if size < want {
		return fmt.Errorf("%w: entry %d was added, but the tree has %d entries", errContradiction, want-1, size)
	}
	read := func(ctx context.Context, n uint64) ([][]byte, error) {
		return entriesIn(ctx, n, size, l.reader.ReadEntryBundle)
	}
	for l.indexed < size {
		if err := l.indexBatch(ctx, size, read); err != nil {
			return err
		}
	}
	return nil
}

// indexBatch appends the rest of some bundles in one transaction. With an errContradiction they are
// appended too.
func (l *Log) indexBatch(ctx context.Context, size uint64,
	read func(ctx context.Context, n uint64) ([][]byte, error)) error {
	const bundles = 16
	var rows []row
	var contradiction error
	next := l.indexed
	for n := 0; n < bundles && next < size; n++ {
		entries, err := read(ctx, next/layout.EntryBundleWidth)
		if err != nil && len(rows) > 0 {
			break // the next call begins with it
		}
		if err != nil {
			return err
		}
		for _, data := range entries[next%layout.EntryBundleWidth:] {
			r, err := newRow(next, data)
			if err != nil && contradiction == nil {
				contradiction = err
			}
			rows = append(rows, r)
			next++
		}
	}
	err := l.index.append(ctx, rows)
	if err != nil && !errors.Is(err, errContradiction) {
		return err
	}
	l.setIndexed(next)
	return errors.Join(contradiction, err)
}

func (l *Log) setIndexed(n uint64) {
	l.indexed = n
	l.metrics.indexed.Set(float64(n))
}

// checkBundleRows compares the rows of one bundle while the log runs, and repairs them.
func (l *Log) checkBundleRows(ctx context.Context, tree treeHead, n uint64) error {
	b := l.rowsOfBundles(ctx, tree, n, n+1)[0]
	if b.err != nil {
		return b.err
	}
	l.indexing.Lock()
	defer l.indexing.Unlock()
	rows := slices.DeleteFunc(b.rows, func(r row) bool { return r.idx >= l.indexed })
	bad, err := l.index.differing(ctx, rows)
	if err != nil || len(bad) == 0 {
		return err
	}
	if err := l.repairRows(ctx, bad, false); err != nil {
		return err
	}
	return l.index.contradiction(ctx)
}
