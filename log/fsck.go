package log

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/sqlite"
	"cratelog/log/storage"
)

// Finding is something that Fsck found to be wrong.
type Finding struct {
	Where    string // a file, or "entry N"
	What     string
	Repaired bool
}

func (f Finding) String() string {
	if f.Repaired {
		return f.Where + ": " + f.What + " (repaired)"
	}
	return f.Where + ": " + f.What
}

// Bounds of what Fsck keeps in memory. Tests lower some.
const maxFindings = 10_000

var (
	maxRows    = 100_000
	maxRepairs = 4096 // tiles, of 8 KiB, and those at the edge
)

// Fsck reads all that a log has on its disk, and compares it: each entry with its tile, each tile with the
// one above, each seal with the map of the entries before it, the root with what was signed, the checkpoint
// with log key and quorum, each entry's proof, the index with the entries, and the rows of the other databases
// with the index. It returns what is wrong; an error says that it could not look.
//
// Without repair it only reads, and the log may be running. With it, it takes the log's locks, and repairs
// what follows from what is there: tiles from entries, the tree's state from tiles that continue what was
// signed, the index from the entries; rows that refer to nothing, and a checkpoint's file that is none, are
// removed. It signs nothing. An entry that is damaged follows from nothing.
//
// progress, if not nil, is told after each bundle how many of all entries were read.
func Fsck(ctx context.Context, cfg Config, repair bool, progress func(done, all uint64)) ([]Finding, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	if repair && cfg.Cluster != nil {
		done, err := holdLease(ctx, &cfg)
		if err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
		defer func() { _ = done(context.WithoutCancel(ctx)) }() // if it is not given back, it runs out
	}
	f := &checkup{cfg: cfg, repair: repair, progress: progress, tiles: map[fileKey]shouldBe{},
		leaves: newLeafMap(), sealed: map[uint64]bool{}}
	if f.progress == nil {
		f.progress = func(uint64, uint64) {}
	}
	policy, err := parsePolicy(cfg.Policy, cfg.Origin, cfg.keys())
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	f.log = &Log{cfg: cfg, policy: policy, log: cfg.Logger}
	defer f.close()
	for _, step := range []func(context.Context) error{f.lock, f.checkpoint, f.guard, f.state, f.openIndex, f.entries,
		f.seals, f.edges, f.roots, f.write, f.writeRows, f.wholeIndex, f.others} {
		if err := step(ctx); err != nil {
			return f.all(), fmt.Errorf("log: %w", err)
		}
	}
	return f.all(), nil
}

func (f *checkup) all() []Finding {
	out := make([]Finding, len(f.findings))
	for i, x := range f.findings {
		out[i] = *x
	}
	return out
}

// checkup is one run of Fsck.
type checkup struct {
	cfg      Config
	repair   bool
	progress func(done, all uint64)
	log      *Log // its settings and policy only
	tree     storage.Tree
	locks    []func() error
	findings []*Finding

	memory    string             // what remembers the signatures, in findings
	published *client.Checkpoint // nil: there is none, or none of this log
	signed    mark
	head      treeHead
	badState  bool // head is not what the tree's state says

	above [9]filling           // by level: the tile that is being filled
	tiles map[fileKey]shouldBe // tiles that differ
	whole bool                 // the tree, as the tiles should be, is one that continues what was signed

	index   *rowStore // nil: there is none
	differs bool      // the index is not what the entries say
	rows    []row     // that the index does not have as they are
	leaves  *leafMap
	sealed  map[uint64]bool // signed.Size and published.Size, if they end in a seal
	blind   bool            // some leaves are damaged, so that the map ends before them

	full   bool // and there are more
	unread bool // some entries are damaged, so the index may lack them
}

// filling is a tile of which the nodes are known from the left to the right.
type filling struct {
	index uint64
	nodes []byte
}

// shouldBe is what a tile should be.
type shouldBe struct {
	data    []byte
	finding *Finding
}

// found takes note of what is wrong. Of more than maxFindings it only says that there are more.
func (f *checkup) found(where, format string, args ...any) *Finding {
	x := &Finding{Where: where, What: fmt.Sprintf(format, args...)}
	if n := len(f.findings); n > 0 && *f.findings[n-1] == *x {
		return f.findings[n-1]
	}
	switch {
	case len(f.findings) < maxFindings:
		f.findings = append(f.findings, x)
	case len(f.findings) == maxFindings:
		f.findings = append(f.findings, &Finding{Where: "fsck",
			What: "more is wrong than is listed: run it again after a repair"})
	}
	return x
}

func (f *checkup) close() {
	if f.index != nil {
		f.index.close()
	}
	if f.tree != nil {
		f.tree.Close()
	}
	for _, unlock := range f.locks {
		unlock()
	}
}

// lock opens the tree, and takes the log's locks if something is to be written.
func (f *checkup) lock(ctx context.Context) error {
	for _, dir := range []string{f.cfg.TreeDir, f.cfg.StateDir} {
		if _, err := os.Stat(dir); err != nil && dir != "" { // the one of a tree that machines share
			return err
		}
	}
	var err error
	if f.tree, err = openPlace(ctx, &f.cfg, false); err != nil || !f.repair {
		return err
	}
	for _, take := range []func() (io.Closer, error){
		func() (io.Closer, error) { return f.tree.Lock(ctx) },
		func() (io.Closer, error) { return storage.LockDir(f.cfg.StateDir) },
	} {
		lock, err := take()
		if err != nil {
			return err
		}
		f.locks = append(f.locks, lock.Close)
	}
	return nil
}

// checkpoint is read first, then what was signed, then the tree: each is the larger, also of a running log.
func (f *checkup) checkpoint(ctx context.Context) error {
	const where = storage.Checkpoint
	raw, _, err := f.tree.Read(ctx, where, client.MaxCheckpointSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // the log publishes another when it starts
	case err != nil && !errors.Is(err, durable.ErrTooLarge):
		return err
	case err == nil:
		c, ownErr := f.log.ownCheckpoint(raw)
		if err = ownErr; err == nil {
			f.published = &c
			if _, err := f.log.policy.CheckCheckpoint(raw); err != nil {
				f.found(where, "does not satisfy the trust file: %v", err)
			}
			return nil
		}
	}
	x := f.found(where, "is none that this log has signed: %v", err)
	if f.repair {
		if err := f.tree.Remove(ctx, where); err != nil {
			return err
		}
		x.Repaired = true
		x.What += "; it is removed, and the log publishes another when it starts"
	}
	return nil
}

// guard reads what was signed.
func (f *checkup) guard(ctx context.Context) error {
	store, err := f.openGuard(ctx)
	if err != nil {
		return err
	}
	defer store.close()
	known, err := store.load(ctx)
	switch {
	case err != nil:
		return err
	case known == nil:
		return fmt.Errorf("%s remembers no checkpoint: %s", store.name, store.find)
	case known.origin != f.cfg.Origin:
		return fmt.Errorf("%s belongs to the log %q", store.name, known.origin)
	}
	f.signed = known.head
	g := guard{keys: f.cfg.keys(), origin: f.cfg.Origin, store: store}
	if _, _, err := g.compareKeys(known); err != nil {
		f.found(f.memory, "%v", err)
	}
	if err := f.frozen(ctx, known.frozen); err != nil {
		return err
	}
	if f.signed.Note == nil {
		return nil
	}
	c, err := f.log.ownCheckpoint(f.signed.Note)
	if err != nil || uint64(c.Size) != f.signed.Size || c.Root != f.signed.Root {
		f.found(f.memory, "its checkpoint is not the one of %d entries that it remembers (%v)", f.signed.Size, err)
	}
	return nil
}

// openGuard opens what remembers the signatures.
func (f *checkup) openGuard(ctx context.Context) (*guardStore, error) {
	const missing = "without it nobody knows what this log has signed"
	if f.memory = guardFile; f.cfg.Cluster != nil {
		f.memory = "memory"
		store, err := readGuardStore(ctx, &f.cfg)
		if err == nil && store == nil {
			err = errors.New("the memory is empty: " + missing)
		}
		return store, err
	}
	path := filepath.Join(f.cfg.StateDir, guardFile)
	db, err := guardDatabase.OpenReader(ctx, path, 1, missing)
	if err != nil {
		return nil, err
	}
	if err := soundDatabase(ctx, db); err != nil {
		f.found(f.memory, "%v", err)
	}
	return guardOf(db, path), nil
}

// frozen compares the log's last word as the guard remembers it, nil if it does not, with the file.
func (f *checkup) frozen(ctx context.Context, known []byte) error {
	if known != nil {
		n, err := f.log.checkFrozen(known)
		if err != nil || uint64(n.Size) != f.signed.Size || n.Root != f.signed.Root {
			f.found(f.memory, "its frozen note is not one of the %d entries that were signed (%v)", f.signed.Size, err)
			return nil
		}
	}
	raw, _, err := f.tree.Read(ctx, storage.Frozen, client.MaxFrozenSize)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case known == nil && missing, err == nil && known != nil && bytes.Equal(raw, known):
	case known == nil:
		f.found(storage.Frozen, "says that this log is frozen, but %s does not know it: the state is an old copy", f.memory)
	default:
		x := f.found(storage.Frozen, "is not the note that %s remembers", f.memory)
		if f.repair {
			if err := f.tree.Write(ctx, storage.Frozen, known); err != nil {
				return err
			}
			x.Repaired = true
		}
	}
	return nil
}

const stateFile = ".state/treeState" // as findings call Tessera's record, wherever it is

// state reads what Tessera says of the tree.
func (f *checkup) state(ctx context.Context) error {
	raw, _, err := f.tree.Read(ctx, storage.Version, 16)
	if err == nil {
		_, err = strconv.ParseUint(string(raw), 10, 16)
	}
	if errors.Is(err, durable.ErrTooLarge) || errors.Is(err, strconv.ErrSyntax) || errors.Is(err, strconv.ErrRange) {
		x := f.found(storage.Version, "is no version")
		if f.repair {
			if err := f.tree.Remove(ctx, storage.Version); err != nil {
				return err
			}
			x.Repaired = true
		}
	}
	s, err := f.tree.State(ctx)
	if err != nil && !errors.Is(err, storage.ErrDamaged) {
		return err
	}
	if err == nil && !s.Found {
		err = errors.New("it is missing")
	}
	if err == nil {
		f.head = treeHead{s.Size, s.Root}
	} else {
		f.badState = true
		f.head = treeHead{f.signed.Size, f.signed.Root}
		f.found(stateFile, "%v; the tree is taken to have the %d entries that were signed", err, f.signed.Size)
	}
	if f.head.size < f.signed.Size {
		f.found(stateFile, "the tree has %d entries, but %d were signed: it is an old copy", f.head.size, f.signed.Size)
	}
	if f.published != nil && uint64(f.published.Size) > f.signed.Size {
		f.found(f.memory, "remembers %d entries, but %d are published: it is an old copy, and the log must not go on "+
			"with it", f.signed.Size, f.published.Size)
	}
	return nil
}

// openIndex opens the index: to be read, or to be repaired.
func (f *checkup) openIndex(ctx context.Context) error {
	path := filepath.Join(f.cfg.StateDir, indexFile)
	if f.repair {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			f.found(indexFile, "is missing").Repaired = true
		}
		err := f.log.openIndexFile(ctx)
		if err == nil {
			if unsound := f.log.index.sound(ctx); unsound != nil {
				f.found(indexFile, "%v", unsound).Repaired = true
				err = f.log.renewIndexFile(ctx, unsound)
			}
		}
		f.index = f.log.index
		return err
	}
	db, err := indexDatabase.OpenReader(ctx, path, 1, "the log makes it again when it starts")
	if err == nil {
		if err = soundDatabase(ctx, db); err == nil {
			if f.index, err = newIndex(ctx, db); err == nil {
				return nil
			}
		}
		db.Close()
	}
	f.differs = true
	f.found(indexFile, "%v", err)
	return nil
}

// entries reads the tree from the left to the right.
func (f *checkup) entries(ctx context.Context) error {
	for n := uint64(0); n*layout.EntryBundleWidth < f.head.size; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.bundle(ctx, n); err != nil {
			return err
		}
		f.progress(min((n+1)*layout.EntryBundleWidth, f.head.size), f.head.size)
	}
	for level := 1; level < len(f.above); level++ {
		if a := &f.above[level]; len(a.nodes) > 0 {
			f.compareTile(ctx, fileKey{level, a.index, uint64(len(a.nodes) / tlog.HashSize)}, a.nodes)
		}
	}
	return nil
}

// bundle compares a bundle with its tile. Where they differ, the tile above says which of them is right.
func (f *checkup) bundle(ctx context.Context, n uint64) error {
	width := widthAt(0, n, f.head.size)
	of := fileKey{0, n, width}
	entries, err := entriesIn(ctx, n, f.head.size, f.tree.ReadEntryBundle)
	var fromEntries []byte
	if err == nil {
		for _, e := range entries {
			h := tlog.RecordHash(e)
			fromEntries = append(fromEntries, h[:]...)
		}
	}
	tile, tileErr := f.readTile(ctx, of)
	right := fromEntries
	if tileErr != nil || !bytes.Equal(tile, fromEntries) {
		right, entries = f.settle(ctx, of, entries, fromEntries, tile, err, tileErr)
	}
	switch above, known := f.above0(ctx, n); {
	case width < layout.TileWidth:
		f.above[0] = filling{n, right}
	case right != nil:
		f.up(ctx, 1, n, subtree(right))
	case known:
		f.up(ctx, 1, n, above)
	default:
		f.up(ctx, 1, n, tlog.Hash{}) // the root will not be right
	}
	return f.check(ctx, n, entries)
}

// settle decides what a tile should be that is not what its entries say, and returns the entries only if
// they are not known to be wrong.
func (f *checkup) settle(ctx context.Context, k fileKey, entries [][]byte, fromEntries, tile []byte,
	err, tileErr error) ([]byte, [][]byte) {
	bundle := fileKey{-1, k.index, k.width}.String()
	fits := f.fits(ctx, k)
	switch {
	case fromEntries == nil && tile == nil:
		f.found(bundle, "cannot be read (%v), nor can its tile (%v); put both back from a copy of the tree", err, tileErr)
		return nil, nil
	case fromEntries == nil, tile != nil && fits(tile) > fits(fromEntries):
		f.found(bundle, "%s; put this file back from a copy of the tree", whyBundle(err, tile, fromEntries, k.index))
		return tile, nil
	}
	f.repairTile(k, fromEntries, tileErr)
	if fits(fromEntries) == 0 {
		entries = nil
	}
	return fromEntries, entries
}

// fits returns how well a tile of level 0 fits to the rest of the tree: 0 if it does not. Of a full one the
// file of the tile above tells; without it nothing does (1). Of the last one, that what was signed begins with it (1), and the root of
// the tree as well (2).
func (f *checkup) fits(ctx context.Context, k fileKey) func(tile []byte) int {
	if k.width == layout.TileWidth {
		above, known := f.above0(ctx, k.index)
		return func(tile []byte) int {
			switch {
			case !known:
				return 1
			case subtree(tile) == above:
				return 2
			}
			return 0
		}
	}
	edge := edgeTiles{}
	for level, a := range f.above {
		edge[level] = a.nodes
	}
	begin := k.index * layout.EntryBundleWidth
	return func(tile []byte) int {
		if f.signed.Size > begin && f.signed.Size <= f.head.size {
			edge[0] = tile[:(f.signed.Size-begin)*tlog.HashSize]
			if edge.root() != f.signed.Root {
				return 0
			}
		}
		if edge[0] = tile; edge.root() != f.head.root {
			return 1
		}
		return 2
	}
}

// above0 is what the file of the tile above says of a full tile of level 0.
func (f *checkup) above0(ctx context.Context, n uint64) (tlog.Hash, bool) {
	index := n / layout.TileWidth
	width := widthAt(1, index, f.head.size)
	if n%layout.TileWidth >= width {
		return tlog.Hash{}, false
	}
	above, err := f.readTile(ctx, fileKey{1, index, width})
	if err != nil {
		return tlog.Hash{}, false
	}
	return hashIn(above, n%layout.TileWidth), true
}

func whyBundle(err error, tile, fromEntries []byte, n uint64) string {
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	for i := uint64(0); ; i++ {
		if hashIn(tile, i) != hashIn(fromEntries, i) {
			return fmt.Sprintf("holds another entry %d than the tree says", n*layout.EntryBundleWidth+i)
		}
	}
}

// readTile reads the file of a tile as wide as it should be.
func (f *checkup) readTile(ctx context.Context, k fileKey) ([]byte, error) {
	data, err := f.tree.ReadTile(ctx, uint64(k.level), k.index, uint8(k.width%layout.TileWidth))
	if err == nil && uint64(len(data)) < k.width*tlog.HashSize {
		err = errors.New("it is too short")
	}
	if err != nil {
		return nil, err
	}
	return data[:k.width*tlog.HashSize], nil
}

// up adds a node to the tile of a level, and goes on when that is full.
func (f *checkup) up(ctx context.Context, level int, index uint64, h tlog.Hash) {
	a := &f.above[level]
	a.index = index / layout.TileWidth
	a.nodes = append(a.nodes, h[:]...)
	if len(a.nodes) < layout.TileWidth*tlog.HashSize {
		return
	}
	nodes := a.nodes
	a.nodes = nil
	f.compareTile(ctx, fileKey{level, a.index, layout.TileWidth}, nodes)
	f.up(ctx, level+1, a.index, subtree(nodes))
}

func (f *checkup) compareTile(ctx context.Context, k fileKey, want []byte) {
	if got, err := f.readTile(ctx, k); err != nil || !bytes.Equal(got, want) {
		f.repairTile(k, want, err)
	}
}

// repairTile takes note of what a tile should be.
func (f *checkup) repairTile(k fileKey, want []byte, err error) {
	why := "is not what the entries below it say"
	if err != nil {
		why = "cannot be read: " + err.Error()
	}
	x := f.found(k.String(), "%s", why)
	if len(f.tiles) < maxRepairs || f.atEdge(k) {
		f.tiles[k] = shouldBe{bytes.Clone(want), x}
	}
}

// atEdge says whether a root that must be right is made of a tile: without it nothing could be repaired.
func (f *checkup) atEdge(k fileKey) bool {
	sizes := []uint64{f.head.size, f.signed.Size}
	if f.published != nil {
		sizes = append(sizes, uint64(f.published.Size))
	}
	return slices.ContainsFunc(sizes, func(size uint64) bool {
		nodes := size >> (8 * k.level)
		return nodes > 0 && k.index == (nodes-1)/layout.TileWidth
	})
}

// check looks at the entries of a bundle, which are nil if they are known to be wrong.
func (f *checkup) check(ctx context.Context, n uint64, entries [][]byte) error {
	var rows []row
	var parsed []*entry.Entry
	f.blind = f.blind || entries == nil
	for i, data := range entries {
		idx := n*layout.EntryBundleWidth + uint64(i)
		r, err := newRow(idx, data)
		if err == nil && r.isEntry() {
			e, err := entry.Parse(data)
			if err != nil {
				return err // newRow has parsed it
			}
			parsed = append(parsed, e)
		}
		if !f.blind {
			if wrong := f.mapped(r); err == nil {
				err = wrong
			}
		}
		if err != nil {
			f.found(fmt.Sprintf("entry %d", idx), "%v", err)
		}
		rows = append(rows, r)
	}
	if err := f.proofs(rows, parsed); err != nil || f.index == nil {
		return err
	}
	bad, err := f.index.differing(ctx, rows)
	if len(bad) > maxRows-len(f.rows) {
		bad = bad[:maxRows-len(f.rows)]
		if !f.full {
			f.found(indexFile, "more than %d rows are not what the entries say; the log writes all of them when it starts",
				maxRows)
		}
		f.full = true
	}
	f.rows = append(f.rows, bad...)
	f.unread = f.unread || entries == nil
	return err
}

// mapped takes a leaf into the map, and compares the map with a seal.
func (f *checkup) mapped(r row) error {
	if r.kind == kindStart {
		before, err := readEstate(f.cfg.StateDir, r.sha256)
		if err != nil {
			f.found(estateFile, "has not the versions that the log took over of the one before it; a start of the log with "+
				"that one in [[predecessor]] makes it again: %v", err)
			f.blind = true
			return nil
		}
		f.leaves.before = before
	}
	_, err := f.leaves.add(r)
	f.leaves.publish(r.idx)
	size := r.idx + 1
	if err == nil && r.kind == kindSeal && (size == f.signed.Size || f.published != nil && size == uint64(f.published.Size)) {
		f.sealed[size] = true
	}
	return err
}

// seals wants what was signed and what is published to end in a seal.
func (f *checkup) seals(context.Context) error {
	if f.blind {
		return nil // why, has been said
	}
	if f.signed.Size > 0 && f.signed.Size <= f.head.size && !f.sealed[f.signed.Size] {
		f.found(f.memory, "the %d entries that were signed do not end in a seal of the others", f.signed.Size)
	}
	if f.published != nil && f.published.Size > 0 && !f.sealed[uint64(f.published.Size)] {
		f.found("checkpoint", "its %d entries do not end in a seal of the others", f.published.Size)
	}
	return nil
}

// proofs verifies the proofs of the entries of a bundle, together.
func (f *checkup) proofs(rows []row, entries []*entry.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	_, errs := f.cfg.Proofs.Chains(entries)
	at := 0
	for _, r := range rows {
		if !r.isEntry() {
			continue
		}
		if at >= len(errs) {
			return errors.New("the verifier of proofs gave fewer answers than it was asked for")
		}
		if err := errs[at]; err != nil {
			f.found(fmt.Sprintf("entry %d", r.idx), "its proof does not verify: %v", err)
		}
		at++
	}
	return nil
}

// overlay reads the tiles as they should be.
func (f *checkup) overlay(ctx context.Context, level, index uint64, p uint8) ([]byte, error) {
	width := uint64(p)
	if p == 0 {
		width = layout.TileWidth
	}
	k := fileKey{int(level), index, max(width, widthAt(level, index, f.head.size))}
	if x, differs := f.tiles[k]; differs {
		return x.data[:width*tlog.HashSize], nil
	}
	data, err := f.readTile(ctx, k)
	if err != nil {
		return nil, err
	}
	return data[:width*tlog.HashSize], nil
}

// edges compares the last tiles of what was signed and of what is published, which are narrower files while the tree
// is larger: those who have that checkpoint read them.
func (f *checkup) edges(ctx context.Context) error {
	sizes := []uint64{f.signed.Size}
	if f.published != nil {
		sizes = append(sizes, uint64(f.published.Size))
	}
	for _, size := range sizes {
		if size >= f.head.size {
			continue // these are the tree's last ones, or there are none
		}
		for level := uint64(0); size>>(8*level) > 0; level++ {
			nodes := size >> (8 * level)
			k := fileKey{int(level), nodes / layout.TileWidth, nodes % layout.TileWidth}
			if _, known := f.tiles[k]; k.width == 0 || known || k.width == widthAt(level, k.index, f.head.size) {
				continue
			}
			if want, err := f.overlay(ctx, level, k.index, uint8(k.width)); err == nil { // else that has been said
				f.compareTile(ctx, k, want)
			}
		}
	}
	return nil
}

// rootOf is the root of so many entries as the tiles should be, in words where it cannot be computed.
func (f *checkup) rootOf(ctx context.Context, size uint64) (tlog.Hash, error) {
	if size > f.head.size {
		return tlog.Hash{}, fmt.Errorf("the tree has only %d", f.head.size)
	}
	return rootAt(ctx, size, f.overlay)
}

// roots compares the tree with what was signed. What was found is repaired only if that makes the tree one
// that continues it.
func (f *checkup) roots(ctx context.Context) error {
	root, err := f.rootOf(ctx, f.head.size)
	signed, signedErr := f.rootOf(ctx, f.signed.Size)
	continues := signedErr == nil && signed == f.signed.Root
	if !continues {
		f.found(f.memory, "the first %d entries do not hash to the root that was signed (%v)", f.signed.Size, signedErr)
	}
	if f.published != nil {
		if r, err := f.rootOf(ctx, uint64(f.published.Size)); err != nil || r != f.published.Root {
			continues = false
			f.found("checkpoint", "the first %d entries do not hash to its root (%v)", f.published.Size, err)
		}
	}
	if err == nil && root != f.head.root && continues {
		f.found(stateFile, "has another root than the entries; they continue what was signed")
		f.badState, f.head.root = true, root
	} else if err != nil || root != f.head.root {
		f.found(stateFile, "the entries do not hash to its root (%v)", err)
	}
	f.whole = err == nil && continues && root == f.head.root
	return nil
}

// write writes the tiles and the state of the tree.
func (f *checkup) write(ctx context.Context) error {
	if !f.repair || !f.whole {
		return nil // or nothing says that they would be right
	}
	for k, x := range f.tiles {
		if err := f.tree.WriteTile(ctx, uint64(k.level), k.index, uint8(k.width%layout.TileWidth), x.data); err != nil {
			return err
		}
		x.finding.Repaired = true
	}
	if !f.badState {
		return nil
	}
	err := f.tree.WriteState(ctx, storage.State{Size: f.head.size, Root: f.head.root})
	for _, x := range f.findings {
		if x.Where == stateFile {
			x.Repaired = err == nil
		}
	}
	return err
}

// writeRows tells which rows of the index differ, and writes them.
func (f *checkup) writeRows(ctx context.Context) error {
	if f.index == nil || len(f.rows) == 0 {
		return nil
	}
	if !f.repair { // a running log may have been about to write them
		time.Sleep(time.Second)
		var still []row
		for _, r := range f.rows {
			bad, err := f.index.differing(ctx, []row{r})
			if err != nil {
				return err
			}
			still = append(still, bad...)
		}
		f.rows = still
	}
	write := f.repair && f.whole
	for i := 0; i < len(f.rows); {
		first := f.rows[i].idx
		last := first
		for i++; i < len(f.rows) && f.rows[i].idx == last+1; i++ {
			last++
		}
		what := fmt.Sprintf("the row of entry %d is not what the entry says", first)
		if last > first {
			what = fmt.Sprintf("the rows of the entries %d to %d are not what the entries say", first, last)
		}
		f.found(indexFile, "%s", what).Repaired = write
	}
	f.differs = len(f.rows) > 0 && !write
	if !write {
		return nil
	}
	return f.index.rewrite(ctx, f.rows, f.head.size)
}

// wholeIndex looks at the index as a whole.
func (f *checkup) wholeIndex(ctx context.Context) error {
	if f.index == nil {
		return nil // it has been said
	}
	if next, n, err := f.index.extent(ctx); err != nil {
		return err
	} else if state, err := f.tree.State(ctx); err == nil && next > max(state.Size, f.head.size) {
		x := f.found(indexFile, "has rows that no entry stands for: %d rows, the last is of entry %d", n, next-1)
		if f.repair && f.whole {
			if err := f.index.rewrite(ctx, nil, f.head.size); err != nil {
				return err
			}
			x.Repaired = true
		}
	}
	if differ, err := f.index.programsDiffer(ctx); err != nil {
		return err
	} else if differ {
		x := f.found(indexFile, "its list of programs is not that of its rows")
		if f.repair {
			if err := f.index.listPrograms(ctx); err != nil {
				return err
			}
			x.Repaired = true
		}
	}
	return nil
}

// others looks for rows of the other databases that refer to nothing.
func (f *checkup) others(ctx context.Context) error {
	if f.index == nil || f.differs || f.full || f.unread {
		return nil // it has been said, and nothing says what they should refer to
	}
	for _, of := range []struct {
		name  string
		owned sqlite.Owned
		query string
		refer func(values [][]byte) (bool, error)
		drop  string
		what  string
	}{
		{openingsFile, openingsDatabase, "SELECT identity, identity FROM openings WHERE gzipped IS NOT NULL",
			func(v [][]byte) (bool, error) {
				_, logged, err := f.index.byIdentity(ctx, [32]byte(v[0]))
				return logged, err
			}, "DELETE FROM openings WHERE identity = ? AND identity = ?",
			"the opening of the claim %x, of which there is no entry"},
		{buildsFile, buildsDatabase, "SELECT sha256, sha256 FROM lists", func(v [][]byte) (bool, error) {
			return f.index.hasList(ctx, [32]byte(v[0]))
		}, "DELETE FROM lists WHERE sha256 = ? AND sha256 = ?", "the list of compiled crates %x, which no entry names"},
		{buildsFile, buildsDatabase, "SELECT request, tag FROM contradictions", func(v [][]byte) (bool, error) {
			return f.index.exists(ctx, ofBuilds+" AND request = ? AND tag = ?", v[0], v[1])
		}, "", "the contradiction about the build %x, of which there is no entry"},
	} {
		db, err := f.readKept(ctx, &of.owned, of.name)
		if err != nil {
			f.found(of.name, "%v", err)
			continue
		}
		if db == nil { // of a log that keeps nothing yet
			continue
		}
		err = f.refers(ctx, db, of.name, of.query, of.what, of.drop, of.refer)
		if err := errors.Join(err, db.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (f *checkup) refers(ctx context.Context, db sqlite.Querier, name, query, what, drop string,
	refer func([][]byte) (bool, error)) error {
	rows, err := sqlite.All(ctx, db, func(s sqlite.Scanner) (v [][]byte, err error) {
		v = make([][]byte, 2)
		err = s.Scan(&v[0], &v[1])
		return v, err
	}, query)
	if err != nil {
		f.found(name, "cannot be read: %v", err)
		return nil
	}
	for _, v := range rows {
		is := len(v[0]) == 32
		if is {
			if is, err = refer(v); err != nil {
				return err
			}
		}
		if is {
			continue
		}
		x := f.found(name, what, v[0])
		if f.repair && drop != "" {
			if err := f.drop(ctx, name, drop, v); err != nil {
				return err
			}
			x.Repaired = true
		}
	}
	return nil
}

// readKept opens what is kept beside the tree for looking.
func (f *checkup) readKept(ctx context.Context, of *sqlite.Owned, file string) (*sql.DB, error) {
	if c := f.cfg.Cluster; c != nil {
		return keptDatabase.Peek(ctx, c.Tree.Database, f.cfg.Origin, c.Tree.AddDeadline)
	}
	return of.OpenReader(ctx, filepath.Join(f.cfg.StateDir, file), 1, "the log makes one when it starts")
}

func (f *checkup) drop(ctx context.Context, name, query string, v [][]byte) error {
	of := openingsDatabase
	if strings.HasPrefix(name, buildsFile) {
		of = buildsDatabase
	}
	db, err := openKeptIn(ctx, &f.cfg, &of, name)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, query, v[0], v[1])
	return errors.Join(err, db.Close())
}
