package log

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/durable"
	"cratelog/internal/web"
)

// Predecessor is a log that has ended, for which this one goes on: a shard before it. The versions that it
// logged, and those that it took over itself, keep their checksums here. It is read once, before the first
// entry.
type Predecessor struct {
	Origin string
	Policy []byte // a trust file that lists it, of whose quorum its last checkpoint is; "quorum none" will do

	// From is where it is read: a directory with its tree or an export, or the URL of either, without a slash
	// at its end. Nothing there is believed before it is compared with what the log signed.
	From string
}

// Remote says whether From is a URL.
func (p *Predecessor) Remote() bool {
	return strings.HasPrefix(p.From, "https://") || strings.HasPrefix(p.From, "http://")
}

// Check looks at the settings alone.
func (p *Predecessor) Check() error {
	policy, err := client.ParsePolicy(p.Policy)
	switch {
	case err != nil:
		return err
	case !slices.ContainsFunc(policy.Logs(), func(l client.PolicyLog) bool { return l.Origin == p.Origin }):
		return fmt.Errorf("its key or trust file is none of the log %q", p.Origin)
	case p.Remote():
		if err := web.CheckAddress(p.From); err != nil {
			return fmt.Errorf("from: %w", err)
		}
	}
	return nil
}

// checkPredecessors looks at the settings alone.
func (c *Config) checkPredecessors() error {
	seen := map[string]bool{c.Origin: true}
	for i, p := range c.Predecessors {
		err := p.Check()
		if err == nil && seen[p.Origin] {
			err = errors.New("it is this log itself, or named twice")
		}
		if err != nil {
			return fmt.Errorf("predecessor %d, %s: %w", i+1, p.Origin, err)
		}
		seen[p.Origin] = true
	}
	return nil
}

// log returns a client of the place where the predecessor is read.
func (p *Predecessor) log() *client.Log {
	if p.Remote() {
		return &client.Log{URL: p.From}
	}
	return &client.Log{URL: "http://localhost",
		HTTP: &http.Client{Transport: http.NewFileTransportFS(os.DirFS(p.From))}}
}

// load reads all of a predecessor, and verifies it: that it has ended, that its last tree is the one that its
// last checkpoint signs, and that its last seal is of the map of that tree. begun is the leaf with which it
// must have begun, and before what it took over with that; nil: it went on for no other log. It returns the map of
// what is taken over of it, and the leaf that says so.
func (p *Predecessor) load(ctx context.Context, begun *entry.Start, before *index.Snapshot) (*index.Snapshot,
	*entry.Start, error) {
	policy, err := client.ParsePolicy(p.Policy)
	if err != nil {
		return nil, nil, err
	}
	from := p.log()
	raw, err := from.Checkpoint(ctx)
	if err != nil {
		if _, missing := os.Stat(p.From); !p.Remote() && missing != nil {
			err = missing // no server has answered anything
		}
		return nil, nil, fmt.Errorf("no checkpoint of it is there: %w", err)
	}
	note, err := from.Frozen(ctx)
	if err == nil && note == nil {
		err = errors.New("it has not ended, so that it may log versions that its successor does not know: run " +
			"\"logd freeze -successor VKEY\" there first")
	}
	if err != nil {
		return nil, nil, err
	}
	end, err := policy.CheckFrozen(note)
	if err != nil {
		return nil, nil, err
	}
	c, err := policy.CheckCheckpointRules(raw, client.Rules{AllowNoWitnesses: true})
	switch {
	case err != nil:
		return nil, nil, err
	case c.Origin != p.Origin || end.Origin != p.Origin:
		return nil, nil, fmt.Errorf("it is the log %q", c.Origin)
	case c.Size != end.Size || c.Root != end.Root:
		return nil, nil, fmt.Errorf("its checkpoint is of %d entries and the root %v, and it ended with %d and %v", c.Size,
			c.Root, end.Size, end.Root)
	case c.Size == 0:
		return nil, nil, errors.New("it has no entries: leave it out of predecessor")
	}
	m, err := replay(ctx, from, c, begun, before)
	if err != nil {
		return nil, nil, err
	}
	var mine index.Map
	if err := mine.Inherit(m); err != nil {
		return nil, nil, err
	}
	s := mine.Snapshot()
	return s, &entry.Start{Origin: c.Origin, Size: uint64(c.Size), Tree: c.Root, Rules: entry.Rules, Root: s.Root()}, nil
}

// loadAll reads predecessors, the oldest first, of which each goes on for the one before it.
func loadAll(ctx context.Context, all []Predecessor) (before *index.Snapshot, start *entry.Start, err error) {
	for _, p := range all {
		if before, start, err = p.load(ctx, start, before); err != nil {
			return nil, nil, fmt.Errorf("the predecessor %s at %s: %w", p.Origin, p.From, err)
		}
	}
	return before, start, nil
}

// replay makes the map of all leaves of a checkpoint's tree, and compares both with what was signed.
func replay(ctx context.Context, from *client.Log, c client.Checkpoint, begun *entry.Start, before *index.Snapshot) (
	*index.Snapshot, error) {
	size, leaves, err := from.Entries(ctx)
	if err == nil && size != c.Size {
		err = fmt.Errorf("its checkpoint went from %d entries to %d", c.Size, size)
	}
	if err != nil {
		return nil, err
	}
	var m index.Map
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	var last []byte
	i := uint64(0)
	for raw, err := range leaves {
		if err != nil {
			return nil, err
		}
		hash := tlog.RecordHash(raw)
		if err := tree.Append(hash[:], nil); err != nil {
			return nil, err
		}
		leaf, _ := entry.ParseLeaf(raw) // what is none inserts nothing
		if i == 0 {
			err = inherit(&m, leaf, begun, before)
		} else {
			err = m.AddLeaf(i, leaf)
		}
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		last, i = raw, i+1
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		return nil, err
	}
	if tlog.Hash(root) != c.Root {
		return nil, fmt.Errorf("its entries are not those of its last checkpoint: they give the root %v, not %v",
			tlog.Hash(root), c.Root)
	}
	seal, err := entry.SealOf(c.Size, last)
	if err != nil {
		return nil, fmt.Errorf("nobody has said what it holds: %w", err)
	}
	s := m.Snapshot()
	if seal.Root != s.Root() {
		return nil, fmt.Errorf("its last seal says that the map of its entries has the root %x, but they make %x: it has "+
			"lied, or its program was at fault, and nothing is taken over of it", seal.Root, s.Root())
	}
	return s, nil
}

// inherit takes the first leaf of a log into its map: it must be the one with which the log is said to have
// begun.
func inherit(m *index.Map, first entry.Leaf, begun *entry.Start, before *index.Snapshot) error {
	start, is := first.(*entry.Start)
	switch {
	case is && begun == nil:
		return fmt.Errorf("it goes on for the log %s itself: name that one in predecessor too, before it", start.Origin)
	case !is && begun != nil:
		return fmt.Errorf("it does not go on for the log %s, which is named before it", begun.Origin)
	case is && *start != *begun:
		return fmt.Errorf("it went on for the log %s with %d entries and versions with the root %x, not for %s with %d and %x",
			start.Origin, start.Size, start.Root, begun.Origin, begun.Size, begun.Root)
	case is:
		return m.Inherit(before)
	}
	return m.AddLeaf(0, first)
}

// openPredecessor finds out whether the log goes on for another one, and has then what it took over of it. A
// log that has yet to begin takes that over now, and begins with the leaf that says so.
func (l *Log) openPredecessor(ctx context.Context) error {
	tree, err := l.integrated(ctx, 0, 0)
	if err != nil {
		return err
	}
	if tree.size == 0 && !l.follows() {
		return l.begin(ctx)
	}
	raw, err := entryAt(ctx, 0, tree.size, l.tree.ReadEntryBundle)
	if err != nil {
		return nil // what is damaged is found, and said, where all rows are made
	}
	named := ""
	if n := len(l.cfg.Predecessors); n > 0 {
		named = l.cfg.Predecessors[n-1].Origin
	}
	leaf, _ := entry.ParseLeaf(raw)
	start, is := leaf.(*entry.Start)
	switch {
	case !is && named != "":
		return fmt.Errorf("the settings name the predecessor %s, but this log has %d entries and does not begin with it: "+
			"a log takes over versions before its first entry, or never; leave predecessor out, or begin a new log",
			named, tree.size)
	case !is:
		return nil
	case named != "" && start.Origin != named:
		return fmt.Errorf("the settings name the predecessor %s, but this log goes on for %s: correct predecessor", named,
			start.Origin)
	case start.Rules != entry.Rules:
		return fmt.Errorf("the log's start is of the rules %d, and this program knows the rules %d only: get a newer version",
			start.Rules, entry.Rules)
	}
	l.begun = start
	before, err := readEstate(l.cfg.StateDir, start.Root)
	if err != nil {
		return l.inheritAgain(ctx, err)
	}
	l.leaves.before = before
	return nil
}

// begin takes predecessors, if there are any, over into an empty log: into the state first, then into the tree.
func (l *Log) begin(ctx context.Context) error {
	s, start, err := loadAll(ctx, l.cfg.Predecessors)
	if err != nil || start == nil {
		return err
	}
	raw, err := start.Marshal()
	if err == nil {
		err = writeEstate(l.cfg.StateDir, s)
	}
	if err != nil {
		return err
	}
	at, err := l.appender(ctx, tessera.NewEntry(raw))()
	if err == nil && at.Index != 0 {
		err = fmt.Errorf("%w: the start was added as entry %d", errContradiction, at.Index)
	}
	if err != nil {
		return fmt.Errorf("beginning the log with what %s logged: %w", start.Origin, err)
	}
	l.begun, l.leaves.before = start, s
	l.log.Info("the log begins with the versions of its predecessor", "predecessor", start.Origin, "size", start.Size,
		"versions", s.Len())
	_, err = l.integrated(ctx, 1, 0)
	return err
}

// inheritAgain reads the predecessors again, because the state has not what was taken over of them.
func (l *Log) inheritAgain(ctx context.Context, why error) error {
	path := filepath.Join(l.cfg.StateDir, estateFile)
	if len(l.cfg.Predecessors) == 0 {
		return fmt.Errorf("this log goes on for %s, and %s has not the versions that it took over: name that log in "+
			"[[predecessor]], so that they are read again (%v)", l.begun.Origin, path, why)
	}
	l.log.Warn("the state has not the versions of the predecessor; they are read again", "predecessor", l.begun.Origin,
		"file", path, "err", why)
	s, start, err := loadAll(ctx, l.cfg.Predecessors)
	if err != nil {
		return err
	}
	if *start != *l.begun {
		return fmt.Errorf("the predecessor %s is not the one with which this log began: it has %d entries and versions with "+
			"the root %x, not %d and %x", start.Origin, start.Size, start.Root, l.begun.Size, l.begun.Root)
	}
	l.leaves.before = s
	return writeEstate(l.cfg.StateDir, s)
}

// aboutStart is what /v1/log says of the log for which this one goes on. The first leaf has it.
type aboutStart struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"`
	Root   string `json:"root"` // of its last tree, hex
	Map    string `json:"map"`  // root of the map of what was taken over, hex
}

func (l *Log) aboutStart() *aboutStart {
	s := l.begun
	if s == nil {
		return nil
	}
	return &aboutStart{s.Origin, s.Size, fmt.Sprintf("%x", s.Tree), fmt.Sprintf("%x", s.Root)}
}

// inheritedFrom names an entry of the predecessor.
func (l *Log) inheritedFrom(first uint64) string {
	origin := "the log before this one"
	if l.begun != nil {
		origin = "the log " + l.begun.Origin + " or one before it, for which this one goes on"
	}
	return fmt.Sprintf("entry %d of %s", first, origin)
}

// estateFile is in the state directory what a log took over of its predecessor. It cannot be read from the
// tree, whose first leaf has its root.
const (
	estateFile  = "predecessor"
	estateLabel = "cratelog/predecessor/v1\n"
	estateRow   = 32 + 32 + 40 // name, version and value of a version key
)

// writeEstate puts the versions that a log takes over into its state: the label, and a row for each, in the
// order of their keys.
func writeEstate(stateDir string, s *index.Snapshot) error {
	f, err := durable.Create(stateDir)
	if err != nil {
		return err
	}
	defer f.Discard()
	b := bufio.NewWriter(f)
	b.WriteString(estateLabel)
	for r := range s.Rows(index.Prefix{}) {
		b.Write(r.Key[1:65])
		b.Write(r.Value)
	}
	if err := b.Flush(); err != nil { // the first error of all
		return err
	}
	return f.Replace(filepath.Join(stateDir, estateFile), 0o600)
}

// readEstate reads what writeEstate wrote of a map with a root.
func readEstate(stateDir string, root index.Hash) (*index.Snapshot, error) {
	f, err := os.Open(filepath.Join(stateDir, estateFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := bufio.NewReaderSize(f, 1<<20)
	label := make([]byte, len(estateLabel))
	if _, err := io.ReadFull(b, label); err != nil || string(label) != estateLabel {
		return nil, fmt.Errorf("%s is no file of a predecessor's versions", f.Name())
	}
	var m index.Map
	for {
		row := make([]byte, estateRow)
		switch _, err := io.ReadFull(b, row); err {
		case nil:
			var k index.Key
			copy(k[1:], row[:64])
			m.Insert(k, row[64:])
		case io.EOF:
			s := m.Snapshot()
			if s.Root() != root {
				return nil, fmt.Errorf("%s has other versions than those", f.Name())
			}
			return s, nil
		default:
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
}
