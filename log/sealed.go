package log

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/index"
)

// sealed is a tree that ends in a seal.
type sealed struct {
	leaf []byte          // its last leaf
	seal *entry.Seal     // what that says
	snap *index.Snapshot // the map of the leaves before it
}

// size returns the number of leaves of the tree.
func (s sealed) size() uint64 { return s.seal.Size + 1 }

// errUnsealed says that a tree does not end in a seal, so that nothing is signed or shown of it.
var errUnsealed = errors.New("the tree does not end in a seal")

// moreSeals is how many trees are kept: of those up to the published one for readers who still ask about them,
// and of the latest, of which one is published next.
const moreSeals = 8

// leafMap is the map of the tree's leaves (package index), as far as they have rows, and trees that end
// in a seal: the published one, a few before it, and the latest.
type leafMap struct {
	before *index.Snapshot // what is taken over of the log before this one; nil: nothing. Set before any leaf

	mu       sync.RWMutex
	m        *index.Map // owned by mu
	next     uint64     // owned by mu; leaves in the map
	kept     []sealed   // owned by mu, by size; the last may not be in the tree yet
	public   uint64     // owned by mu; size of the published tree
	void     uint64     // owned by mu; entries whose version has another checksum
	repeated uint64     // owned by mu; entries that say what stands
	wrong    error      // owned by mu; the first contradiction among the leaves, known before the map has its leaf
}

func newLeafMap() *leafMap { return &leafMap{m: new(index.Map)} }

// reset makes the map that of no leaves.
func (c *leafMap) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m, c.next, c.kept, c.void, c.repeated, c.wrong = new(index.Map), 0, nil, 0, 0, nil
}

// add takes the next leaf into the map. The error is an errContradiction if the leaf is none, or is a seal at
// its place with another root than the map's. note is what an operator is to be told of an entry that counts
// for nothing.
func (c *leafMap) add(r row) (note string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.idx != c.next {
		return "", fmt.Errorf("%w: that of entry %d comes where entry %d should be", errRotten, r.idx, c.next)
	}
	if n := len(c.kept); n > 0 && c.kept[n-1].seal.Size == r.idx && r.kind != kindSeal {
		c.kept = c.kept[:n-1] // a seal was to stand here, and something else does
	}
	switch r.kind {
	case kindSource, kindBuild:
		note = c.addEntry(r)
	case kindSeal:
		if s := c.seal(); tlog.RecordHash(s.leaf) != r.leaf {
			c.kept = c.kept[:len(c.kept)-1]
			err = fmt.Errorf("%w: the seal at %d names the root %x by other rules, or another root than %x, that of the map",
				errContradiction, r.idx, r.sha256, s.seal.Root)
		}
	case kindStart:
		err = c.inherit(r)
	case kindNone:
		err = fmt.Errorf("%w: entry %d is no entry", errContradiction, r.idx)
	}
	c.next++
	c.wrong = cmp.Or(c.wrong, err)
	return note, err
}

// contradict says that one of the leaves that come next breaks the log's rules in what the map does not know.
func (c *leafMap) contradict(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = cmp.Or(c.wrong, err)
}

// contradiction is the first one among the leaves, or nil.
func (c *leafMap) contradiction() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.wrong
}

func (c *leafMap) addEntry(r row) (note string) {
	f := r.facts()
	if v, found := c.version(f); found && v.SHA256 != f.SHA256 {
		c.void++
		note = fmt.Sprintf("it gives its version another checksum than entry %d, which was first", v.First)
	} else if _, found := c.m.Get(f.EntryKey()); found {
		c.repeated++
		note = "it repeats an entry"
	}
	c.m.Add(r.idx, f)
	return note
}

// inherit takes over the versions of the log before this one.
func (c *leafMap) inherit(r row) error {
	if c.before == nil {
		return fmt.Errorf("%w: it goes on where another log ended, of which the settings do not tell", errContradiction)
	}
	if err := c.m.Inherit(c.before); err != nil {
		return err
	}
	if root := c.m.Snapshot().Root(); root != r.sha256 {
		return fmt.Errorf("%w: its start takes over a map with the root %x, and that of the log before it has %x",
			errContradiction, r.sha256, root)
	}
	return nil
}

// prepare returns the tree that the leaves in the map make with a seal after them.
func (c *leafMap) prepare() sealed {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seal()
}

// seal is called with mu held.
func (c *leafMap) seal() sealed {
	if n := len(c.kept); n > 0 && c.kept[n-1].seal.Size == c.next {
		return c.kept[n-1]
	}
	snap := c.m.Snapshot()
	seal := &entry.Seal{Rules: entry.Rules, Size: c.next, Root: snap.Root()}
	leaf, err := seal.Marshal()
	if err != nil {
		panic(err) // there are not 2^63 leaves
	}
	s := sealed{leaf, seal, snap}
	c.kept = append(c.kept, s)
	c.trim()
	return s
}

// at returns the tree of a size that ends in a seal. known is how many leaves of it must be in the map: all,
// or, for who finds out whether the seal stands there, all but the seal.
func (c *leafMap) at(size, known uint64) (sealed, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i := slices.IndexFunc(c.kept, func(s sealed) bool { return s.size() == size })
	if i < 0 || c.next < known {
		return sealed{}, fmt.Errorf("%w: of %d leaves, %d are known", errUnsealed, size, c.next)
	}
	return c.kept[i], nil
}

// open says whether the leaves in the map do not end in a seal, and how many there are.
func (c *leafMap) open() (leaves uint64, open bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n := len(c.kept)
	return c.next, c.next > 0 && (n == 0 || c.kept[n-1].size() != c.next)
}

// idle returns how many entries are void, and how many repeat another.
func (c *leafMap) idle() (void, repeated uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.void, c.repeated
}

// publish says which tree is published: it is kept until another is.
func (c *leafMap) publish(size uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.public = size
	c.trim()
}

// trim is called with mu held. While the witnesses' quorum is away there are ever more trees that nobody will ask
// about.
func (c *leafMap) trim() {
	shown := 0
	for _, s := range c.kept {
		if s.size() <= c.public {
			shown++
		}
	}
	some := slices.Clone(c.kept[max(0, shown-moreSeals):shown])
	c.kept = append(some, c.kept[max(shown, len(c.kept)-moreSeals):]...)
}

// version is called with mu held.
func (c *leafMap) version(f index.Facts) (index.Version, bool) {
	value, found := c.m.Get(index.VersionKey(f.Registry, f.Name, f.Version))
	if !found {
		return index.Version{}, false
	}
	v, err := index.ParseVersion(value)
	if err != nil {
		panic(err) // the map made it
	}
	return v, true
}

// standing returns what the leaves say of an entry's version, and the index of the entry that says the
// same, each if there is one.
func (c *leafMap) standing(f index.Facts) (version *index.Version, same *uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if v, found := c.version(f); found {
		version = &v
	}
	if value, found := c.m.Get(f.EntryKey()); found {
		i, err := index.ParseEntryNumber(value)
		if err != nil {
			panic(err) // the map made it
		}
		same = &i
	}
	return version, same
}

// sealedAt returns the published tree of a size, which ends in a seal. Readers ask for the latest, or one that
// was it a moment ago. Of the empty tree there is none: NotFound.
func (l *Log) sealedAt(size uint64) (sealed, error) {
	if size == 0 {
		return sealed{}, refuse(NotFound, nil, "This log holds nothing yet, and so nothing is sealed.")
	}
	s, err := l.leaves.at(size, size)
	if err != nil && l.blind {
		err = &damage{"the tree", "is damaged, so that nobody knows what its last seal seals; " + repairAdvice}
	}
	return s, err
}
