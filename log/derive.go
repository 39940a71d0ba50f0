package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/transparency-dev/tessera/api/layout"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/sqlite"
	"cratelog/log/storage"
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

// deriveIndex makes the map of the rows and of the leaves that have none yet, and compares it with the last
// seal that was signed, which is the last leaf of the first signed leaves, and with all that follow. If they
// differ, or a row is damaged, all rows are made again of the tree. What the tree holds then halts the log if
// it breaks its rules.
func (l *Log) deriveIndex(ctx context.Context, tree treeHead, signed uint64) error {
	start := time.Now()
	why := l.index.sound(ctx)
	again := why != nil
	if why == nil {
		next, rows, err := l.index.extent(ctx)
		if err != nil {
			return err
		}
		if l.front() { // it may have been the sequencer, whose index knows more than is published
			rows = min(rows, tree.size)
		} else if next > tree.size && rows > tree.size {
			return fmt.Errorf("%w: the index knows %d entries, but the tree has %d: the tree's directory is an old copy, "+
				"or the index is another log's; put the right one back", ErrRollback, rows, tree.size)
		}
		first := min(rows, max(signed, 1)-1)
		if why, err = l.loadRows(ctx, tree, first); err != nil {
			return err
		}
		again = why != nil && first > 0 // else it is not for the rows
	}
	if again {
		if err := l.renewIndexFile(ctx, why); err != nil {
			return err
		}
		var err error
		if why, err = l.loadRows(ctx, tree, 0); err != nil {
			return err
		}
	}
	if why != nil {
		l.halt.now(why)
	}
	if err := l.mendPrograms(ctx); err != nil {
		return err
	}
	void, repeated := l.leaves.idle()
	l.log.Info("the index is what the tree says", "entries", l.indexed, "void", void, "repeated", repeated,
		"took", time.Since(start).Round(time.Millisecond))
	return nil
}

// loadRows makes the map of the first rows, and then of the other leaves of the tree, whose rows it writes anew.
// why is what is wrong with rows or leaves.
func (l *Log) loadRows(ctx context.Context, tree treeHead, first uint64) (why, err error) {
	l.leaves.reset()
	published := l.publishedBefore()
	l.leaves.publish(published)
	err = l.index.each(ctx, first, func(r row) error {
		if r.kind == kindSeal && r.idx+1 != published {
			r.kind = kindVoid // the map is compared with the last of them
		}
		_, err := l.leaves.add(r)
		return err
	})
	if rows, _ := l.leaves.open(); err == nil && rows < first {
		err = fmt.Errorf("%w: that of entry %d is missing", errRotten, rows)
	}
	if err == nil {
		err = l.index.rewrite(ctx, nil, first)
	}
	if sqlite.IsDamaged(err) || errors.Is(err, errRotten) || errors.Is(err, errContradiction) {
		return err, nil
	}
	if err != nil {
		return nil, err
	}
	l.setIndexed(first)
	read := func(ctx context.Context, n uint64) ([][]byte, error) { return l.verified.entries(ctx, tree, n) }
	for l.indexed < tree.size {
		err := l.indexBatch(ctx, tree.size, read)
		switch {
		case errors.Is(err, errDamaged): // which other rows cannot mend
			l.blind = true
			l.halt.now(fmt.Errorf("the index lacks entries whose bundle is damaged, so the log cannot know what stands: %w; %s",
				err, repairAdvice))
			return nil, nil
		case errors.Is(err, errContradiction):
			why = cmp.Or(why, err)
		case err != nil:
			return nil, err
		}
	}
	return why, nil
}

// publishedBefore is the size of the checkpoint that was published last, 0 if that is not known.
func (l *Log) publishedBefore() uint64 {
	raw, _, err := l.tree.Read(l.ctx, storage.Checkpoint, client.MaxCheckpointSize)
	if err != nil {
		return 0
	}
	c, err := l.ownCheckpoint(raw)
	if err != nil {
		return 0
	}
	// Where something older was put over what this process has shown, that stays.
	if shown, err := l.ownCheckpoint(l.cfg.shown); err == nil && shown.Size > c.Size {
		return uint64(shown.Size)
	}
	return uint64(c.Size)
}

// repairRows writes rows anew, and says so.
func (l *Log) repairRows(ctx context.Context, bad []row) error {
	which := make([]uint64, 0, 16)
	for _, r := range bad[:min(len(bad), 16)] {
		which = append(which, r.idx)
	}
	if err := l.index.rewrite(ctx, bad, l.indexed); err != nil {
		return err
	}
	l.log.Warn("rows of the index differed from the tree, and were written anew: is the disk of the state sound?",
		"rows", len(bad), "entries", which)
	return l.mendPrograms(ctx)
}

// mendPrograms compares the list of programs with the rows.
func (l *Log) mendPrograms(ctx context.Context) error {
	differ, err := l.index.programsDiffer(ctx)
	if err == nil && differ {
		l.log.Warn("the index's list of programs differed from its rows, and was written anew")
		err = l.index.listPrograms(ctx)
	}
	return err
}

// indexUpTo takes what Tessera has integrated into the index and the map, and returns
// when they hold at least want leaves.
//
// The index is written here and where a start compares it, and nowhere else: a row is
// there because its leaf is in the tree, and for no other reason.
func (l *Log) indexUpTo(ctx context.Context, want uint64) error {
	tree, err := l.grown(ctx, want)
	if err != nil {
		return err
	}
	l.indexing.Lock()
	defer l.indexing.Unlock()
	read := func(ctx context.Context, n uint64) ([][]byte, error) { return l.verified.readEntries(ctx, tree, n) }
	for l.indexed < tree.size {
		if err := l.indexBatch(ctx, tree.size, read); err != nil {
			return err
		}
	}
	return nil
}

// grown is integrated of a log that runs. Where machines share the tree it waits for the database only so long.
func (l *Log) grown(ctx context.Context, want uint64) (treeHead, error) {
	had := l.indexedSize()
	if d := l.patience(); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	tree, err := l.integrated(ctx, want, had)
	if errors.Is(err, context.DeadlineExceeded) {
		l.wedge(err)
	}
	return tree, err
}

// indexBatch appends the rest of some bundles in one transaction. With an errContradiction they are
// appended too.
func (l *Log) indexBatch(ctx context.Context, size uint64,
	read func(ctx context.Context, n uint64) ([][]byte, error)) error {
	const bundles = 16
	var rows []row
	var contradiction error
	var strangers []stranger
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
			r, known, err := l.rowAt(next, data)
			if err != nil && contradiction == nil {
				contradiction = err
			}
			if rows = append(rows, r); !known && r.isEntry() && next >= l.vouched {
				strangers = append(strangers, stranger{r, data})
			}
			next++
		}
	}
	if err := l.checkStrangers(strangers); errors.Is(err, errContradiction) {
		l.leaves.contradict(err)
		contradiction = cmp.Or(contradiction, err)
	} else if err != nil {
		return err
	}
	if err := l.index.append(ctx, rows); err != nil {
		return err
	}
	defer l.sealing.measure()()
	for _, r := range rows {
		note, err := l.leaves.add(r)
		if contradiction == nil {
			contradiction = err
		}
		if note != "" {
			l.log.Warn("an entry counts for nothing: it did not come through this log's door", "entry", r.idx,
				"crate", r.versionKey.String(), "why", note)
		}
	}
	l.setIndexed(next)
	return contradiction
}

// stranger is an entry that this process did not put into the tree: another one did before it ended, or
// whatever else can write there.
type stranger struct {
	row
	data []byte
}

// maxInflated is how many bytes of workspaces' manifests checkStrangers has in memory, and one more.
const maxInflated = 16 << 20

// checkStrangers verifies the proofs of strangers that were not signed yet, so that nothing is that was not verified.
// What is false is an errContradiction.
func (l *Log) checkStrangers(all []stranger) error {
	for len(all) > 0 {
		var entries []*entry.Entry
		for n := 0; len(entries) < len(all) && n <= maxInflated; {
			e, err := entry.Parse(all[len(entries)].data)
			if err != nil {
				return err // newRow has parsed it
			}
			entries, n = append(entries, e), n+e.Inflated()
		}
		_, errs := l.cfg.Proofs.Chains(entries)
		if len(errs) != len(entries) {
			return errors.New("log: the verifier of proofs gave fewer answers than it was asked for")
		}
		for i, err := range errs {
			if err != nil {
				return fmt.Errorf("%w: entry %d of the tree, %v, did not come through this log's door, and its proof does not "+
					"verify: %w", errContradiction, all[i].idx, all[i].versionKey, err)
			}
		}
		all = all[len(entries):]
	}
	return nil
}

func (l *Log) setIndexed(n uint64) {
	l.indexed = n
	l.metrics.indexed.Set(float64(n))
}

// checkBundleRows compares the rows of one bundle while the log runs, and repairs them.
func (l *Log) checkBundleRows(ctx context.Context, tree treeHead, n uint64) error {
	entries, err := l.verified.readEntries(ctx, tree, n) // not remembered: there may be more than memory
	if err != nil {
		return err
	}
	l.indexing.Lock()
	defer l.indexing.Unlock()
	var rows []row
	for i, data := range entries {
		if idx := n*layout.EntryBundleWidth + uint64(i); idx < l.indexed {
			r, _ := newRow(idx, data) // what is wrong with the leaf was said when it came
			rows = append(rows, r)
		}
	}
	bad, err := l.index.differing(ctx, rows)
	if err != nil || len(bad) == 0 {
		return err
	}
	return l.repairRows(ctx, bad)
}
