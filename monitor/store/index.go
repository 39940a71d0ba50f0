package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/sqlite"
)

// Leaf is what the map of a log, and its seals, need of a leaf.
type Leaf struct {
	Index int64
	Kind  string
	Facts index.Facts // of an entry; of what is none, the name is ""
	Data  []byte      // of a seal or start
}

const selectLeaf = "SELECT e.idx, e.kind, e.registry, e.name, e.version, e.sha256, e.identity, e.program, " +
	"b.request, b.result, b.root, b.tag, coalesce(b.binary, ''), coalesce(b.target, ''), " +
	"CASE WHEN e.kind IN ('seal', 'start') THEN e.data END " +
	"FROM entries e LEFT JOIN builds b ON b.log = e.log AND b.idx = e.idx "

func scanLeaf(r scanner) (l Leaf, err error) {
	var request, result, root, tag []byte
	var b index.Build
	f := &l.Facts
	err = r.Scan(&l.Index, &l.Kind, &f.Registry, &f.Name, &f.Version, fixed(f.SHA256[:]), fixed(f.Identity[:]),
		fixed(f.Program[:]), &request, &result, &root, &tag, &b.Binary, &b.Target, &l.Data)
	if err != nil || request == nil {
		return l, err
	}
	f.Build = &b
	return l, errors.Join(fixed(b.Request[:]).Scan(request), fixed(b.Result[:]).Scan(result), fixed(b.Root[:]).Scan(root),
		fixed(b.Tag[:]).Scan(tag))
}

// Walk walks leaves: Leaves or LeavesFromBytes.
type Walk func(ctx context.Context, log, from, to int64) iter.Seq2[Leaf, error]

// Leaves walks the leaves with from <= index < to in order. No connection is held while the caller works on one.
func (r *Reader) Leaves(ctx context.Context, log, from, to int64) iter.Seq2[Leaf, error] {
	return pages(func() ([]Leaf, error) {
		return sqlite.All(ctx, r.read, scanLeaf, selectLeaf+"WHERE e.log = ? AND e.idx >= ? AND e.idx < ? ORDER BY e.idx LIMIT ?",
			log, from, to, entryPage)
	}, func(last Leaf) { from = last.Index + 1 })
}

// LeavesFromBytes is Leaves by the leaves' own bytes, compared with the tree, whatever the columns say that were
// made of them.
func (r *Reader) LeavesFromBytes(ctx context.Context, log, from, to int64) iter.Seq2[Leaf, error] {
	return func(yield func(Leaf, error) bool) {
		for e, err := range r.EntriesIn(ctx, log, from, to) {
			var l Leaf
			if err == nil {
				l, err = r.leafOf(ctx, e)
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

func (r *Reader) leafOf(ctx context.Context, e Entry) (l Leaf, err error) {
	hashes, err := r.LeafHashes(ctx, e.Log, e.Index, e.Index+1)
	if err == nil && hashes[0] != tlog.RecordHash(e.Data) {
		err = fmt.Errorf("the database is damaged: the bytes of entry %d are not those in the tree", e.Index)
	}
	if err != nil {
		return l, err
	}
	leaf, err := entry.ParseLeaf(e.Data)
	l = Leaf{Index: e.Index, Kind: KindOf(leaf, e.Index), Data: e.Data}
	if x, ok := leaf.(*entry.Entry); ok && err == nil {
		if l.Facts, err = index.FactsOf(x); err != nil {
			return l, err
		}
	}
	return l, nil // what does not parse inserts nothing
}

// KindOf is the kind of a leaf at an index, "" of bytes that are none.
func KindOf(leaf entry.Leaf, at int64) string {
	switch x := leaf.(type) {
	case *entry.Entry:
		return x.Claim.Kind()
	case *entry.Seal:
		if x.Size == uint64(at) {
			return KindSeal
		}
		return KindVoidSeal
	case *entry.Start:
		if at == 0 {
			return KindStart
		}
		return KindVoidStart
	}
	return ""
}

// ErrPredecessor: a log goes on for another one, whose versions are not known here.
var ErrPredecessor = errors.New("the versions of the log before this one are not known here")

// Start returns the start of a log, nil if it has none.
func (r *Reader) Start(ctx context.Context, log int64) (*entry.Start, error) {
	e, ok, err := r.EntryAt(ctx, log, 0)
	if err != nil || !ok || e.Kind != KindStart {
		return nil, err
	}
	leaf, err := entry.ParseLeaf(e.Data)
	start, ok := leaf.(*entry.Start)
	if err != nil || !ok {
		return nil, fmt.Errorf("the database is damaged: entry 0 of log %d is no start", log)
	}
	return start, nil
}

// Inherited returns the map that a start makes: all versions of the log before, as this database knows it. The
// error is ErrPredecessor if it does not; a tree that is another one than the start says is *OtherTreeError too.
func (r *Reader) Inherited(ctx context.Context, s *entry.Start, leaves Walk) (*index.Map, error) {
	logs, err := r.Logs(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range logs {
		if l.Origin != s.Origin {
			continue
		}
		p, err := r.Position(ctx, l.ID)
		switch {
		case err != nil:
			return nil, err
		case s.Size > uint64(p.Verified):
			return nil, fmt.Errorf("%w: of %q %d leaves are verified, and it went over with %d", ErrPredecessor, s.Origin,
				p.Verified, s.Size)
		}
		root, err := r.Root(ctx, l.ID, int64(s.Size))
		if err != nil {
			return nil, err
		}
		if root != tlog.Hash(s.Tree) {
			return nil, &OtherTreeError{Start: *s, Root: root}
		}
		before, err := r.mapOf(ctx, l.ID, int64(s.Size), leaves)
		if err != nil {
			return nil, err
		}
		var m index.Map
		return &m, m.Inherit(before.Snapshot())
	}
	return nil, fmt.Errorf("%w: it follows no log %q", ErrPredecessor, s.Origin)
}

// OtherTreeError is ErrPredecessor: a start names another tree than its log had at that size.
type OtherTreeError struct {
	Start entry.Start
	Root  tlog.Hash // that the log had
}

func (e *OtherTreeError) Error() string {
	return fmt.Sprintf("the log before was %q, whose first %d leaves have the root %v, and not %v", e.Start.Origin, e.Start.Size,
		e.Root, tlog.Hash(e.Start.Tree))
}

// Is makes it ErrPredecessor.
func (e *OtherTreeError) Is(target error) bool { return target == ErrPredecessor }

// Map returns the map of the first leaves of a log, which must be verified. The error is ErrPredecessor if the log
// goes on for one whose versions are not known.
func (r *Reader) Map(ctx context.Context, log, size int64) (*index.Map, error) {
	return r.mapOf(ctx, log, size, r.Leaves)
}

func (r *Reader) mapOf(ctx context.Context, log, size int64, leaves Walk) (*index.Map, error) {
	if size == 0 {
		return &index.Map{}, nil
	}
	m := &index.Map{}
	start, err := r.Start(ctx, log)
	if err == nil && start != nil {
		// This ends: no start is in a tree whose root it names, or in one that such a tree names.
		m, err = r.Inherited(ctx, start, leaves)
	}
	if err != nil {
		return nil, err
	}
	return m, Fill(m, leaves(ctx, log, 0, size))
}

// Fill adds leaves to a map.
func Fill(m *index.Map, leaves iter.Seq2[Leaf, error]) error {
	for l, err := range leaves {
		if err != nil {
			return err
		}
		if l.Facts.Name != "" {
			m.Add(uint64(l.Index), l.Facts)
		}
	}
	return nil
}

// Sealed is the map of the leaves before the seal with which a tree of so many leaves ends. The seal has its root.
type Sealed struct {
	Size int64
	Map  *index.Snapshot
}

// Sealed returns, of the checkpoints whose seals this database has found to agree with the map, the largest, and
// the largest that satisfies the trust file: the larger first, and one if they are the same.
func (r *Reader) Sealed(ctx context.Context, log int64) ([]Sealed, error) {
	p, err := r.Position(ctx, log)
	if err != nil {
		return nil, err
	}
	sizes, err := r.SealedSizes(ctx, log, p.Sealed)
	if err != nil || len(sizes) == 0 {
		return nil, err
	}
	_, all, err := r.SealedMaps(ctx, log, p.Sealed, sizes, r.Leaves)
	return all, err
}

// SealedSizes returns the sizes of at most two consistent checkpoints of at most size leaves that end in a seal,
// whatever it says: the largest, and the largest that satisfies the trust file, the larger first.
func (r *Reader) SealedSizes(ctx context.Context, log, size int64) ([]int64, error) {
	const sealed = `SELECT size FROM checkpoints c WHERE log = ?1 AND verdict = 'consistent' AND size <= ?2 AND EXISTS
		(SELECT 1 FROM entries e WHERE e.log = c.log AND e.idx = c.size - 1 AND e.kind = 'seal')`
	return sqlite.All(ctx, r.read, func(r scanner) (n int64, err error) { return n, r.Scan(&n) },
		"SELECT size FROM ("+sealed+" ORDER BY size DESC LIMIT 1) UNION SELECT size FROM ("+sealed+
			" AND accepted = 1 ORDER BY size DESC LIMIT 1) ORDER BY size DESC", log, size)
}

// SealedMaps returns the map of the first size leaves, and those of the trees of some sizes whose seals agree with
// them; the sizes descend.
func (r *Reader) SealedMaps(ctx context.Context, log, size int64, sizes []int64, leaves Walk) (*index.Map, []Sealed,
	error) {
	at := min(size, 1) // of a start the versions, if there is one
	m, err := r.mapOf(ctx, log, at, leaves)
	var all []Sealed
	for i := len(sizes) - 1; i >= 0 && err == nil; i-- {
		if err = Fill(m, leaves(ctx, log, at, sizes[i]-1)); err != nil {
			break
		}
		at = max(at, sizes[i]-1)
		var ok bool
		s := Sealed{sizes[i], m.Snapshot()}
		if ok, err = r.agrees(ctx, log, s); ok {
			all = append([]Sealed{s}, all...)
		}
	}
	if err == nil {
		err = Fill(m, leaves(ctx, log, at, size))
	}
	return m, all, err
}

// agrees says whether the last leaf of a tree is a seal that says the same as a map.
func (r *Reader) agrees(ctx context.Context, log int64, s Sealed) (bool, error) {
	e, ok, err := r.EntryAt(ctx, log, s.Size-1)
	if err != nil || !ok || e.Kind != KindSeal {
		return false, err
	}
	seal, err := entry.SealOf(s.Size, e.Data)
	if errors.Is(err, entry.ErrUnknownClaim) {
		return false, nil
	}
	return err == nil && seal.Root == s.Map.Root(), err
}

// PutVoids remembers that entries are void, all or none.
func (s *Store) PutVoids(ctx context.Context, all []Void) error {
	if len(all) == 0 {
		return nil
	}
	return s.tx(ctx, func(tx *sql.Tx) error {
		for _, v := range all {
			if err := exec(ctx, tx, "INSERT OR REPLACE INTO voids (log, idx, first, sha256) VALUES (?,?,?,?)", v.Log, v.Index,
				v.First, v.SHA256[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Void says what makes an entry void, and whether it is.
func (r *Reader) Void(ctx context.Context, log, index int64) (Void, bool, error) {
	return sqlite.One(ctx, r.read, func(r scanner) (v Void, err error) {
		return v, r.Scan(&v.Log, &v.Index, &v.First, fixed(v.SHA256[:]))
	}, "SELECT log, idx, first, sha256 FROM voids WHERE log = ? AND idx = ?", log, index)
}

// LeafCount counts the leaves of a log that are not entries, and its void entries.
type LeafCount struct{ Seals, VoidSeals, VoidEntries int64 }

// CountLeaves counts them.
func (r *Reader) CountLeaves(ctx context.Context, log int64) (n LeafCount, err error) {
	return n, r.read.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM entries WHERE kind = 'seal' AND log = ?1),
		(SELECT count(*) FROM entries WHERE kind = 'void-seal' AND log = ?1), (SELECT count(*) FROM voids WHERE log = ?1)`, log).
		Scan(&n.Seals, &n.VoidSeals, &n.VoidEntries)
}
