package evidence

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/cargo/registry"
	"cratelog/entry"
)

// Conviction is what evidence shows to a reader who has keys.
type Conviction struct {
	Kind   Kind
	Origin string // of the log whose notes they are; "" of a BuilderContradiction, which needs no log

	// Who is convicted: "log <origin>", "witness <key name>+<key id>", "builder <name>", or "program <id>"
	// for whoever made its keys; empty if the evidence is true, but convicts nobody.
	Who string

	// Also are the others, in the form of Who, who signed or cosigned both sides of a fork, which
	// convicts them as well.
	Also []string

	// Transferable says that every reader who has the keys comes to the same conclusion. If
	// not, they must believe the captor, or look for themselves; What says where.
	Transferable bool

	What string // plain sentences: what it shows, why that is wrong, and what it rests on
}

// Convicts says whether a log, a witness, a builder or a program is convicted.
func (c Conviction) Convicts() bool { return c.Who != "" }

// Verify decides what e shows to a reader who knows these keys. pv decides about proofs; it
// is used for a FalseEntry and contradictions only, may be nil otherwise, and should accept the program that the
// file holds, if any: the entry names it by the hash of its key. A hidden builder is convicted only if
// pv is an Origins too; what it says of a program must not come from the file alone.
//
// An error means that nothing is shown: it wraps ErrMalformed, ErrNotProven, ErrUnknownKey or
// ErrUndecided. An error convicts nobody.
func Verify(e *Evidence, keys Keys, pv entry.Verifier) (Conviction, error) {
	if e.Kind == BuilderContradiction {
		return e.verifyContradiction(pv)
	}
	heads, c, err := e.demonstrate()
	if err != nil {
		return Conviction{}, err
	}
	c.Kind, c.Origin = e.Kind, heads[0].Origin
	if e.Kind == CosignerFork {
		if err := keys.checkWitness(e); err != nil {
			return Conviction{}, err
		}
		if c.Who = "witness " + e.Witness; keys.checkLog(e, c.Origin) == nil {
			c.Also = []string{"log " + c.Origin}
		}
		return c.and(keys.cosigners(e)), nil
	}
	if err := keys.checkLog(e, c.Origin); err != nil {
		return Conviction{}, err
	}
	switch e.Kind {
	case Stale, RegistryMismatch:
		return c, nil
	case FalseEntry:
		return e.judge(c, pv)
	case OpeningContradiction:
		return e.judgeProgram(c, pv)
	}
	if c.Who = "log " + c.Origin; len(heads) == 2 {
		c = c.and(keys.cosigners(e))
	}
	return c, nil
}

// and adds those whom the same fork convicts as well.
func (c Conviction) and(cosigners []string) Conviction {
	for _, k := range cosigners {
		c.Also = append(c.Also, "witness "+k)
	}
	if len(c.Also) > 0 {
		c.What += " Both were signed as well by " + strings.Join(c.Also, ", ") + ", which convicts them too."
	}
	return c
}

// demonstrate checks everything about e that needs no key and no proof verifier, and says
// what it comes to if the signatures are good.
func (e *Evidence) demonstrate() ([]torchwood.Checkpoint, Conviction, error) {
	if err := e.check(); err != nil {
		return nil, Conviction{}, err
	}
	if e.Kind == BuilderContradiction {
		_, _, err := e.contradiction()
		return nil, Conviction{}, err
	}
	heads, err := e.heads()
	if err != nil {
		return nil, Conviction{}, err
	}
	for _, l := range e.Entries {
		if err := l.included(heads[0]); err != nil {
			return nil, Conviction{}, err
		}
	}
	c := Conviction{Transferable: true}
	switch e.Kind {
	case ForkSameSize, ForkPrefix:
		c.What, err = e.forkText(heads, fmt.Sprintf("The log %q signed", clip(heads[0].Origin)))
	case CosignerFork:
		c.What, err = e.forkText(heads,
			fmt.Sprintf("The witness key %s cosigned, for the log %q,", e.Witness, clip(heads[0].Origin)))
	case EntryRootMismatch:
		c.Transferable = heads[0].N == 0
		c.What, err = e.rootText(heads[0])
	case OpeningContradiction:
		c.What, err = e.contradictionText(heads[0])
	case Unsealed:
		c.What, err = e.unsealedText(heads[0])
	case IndexOmission:
		c.What, err = e.omissionText(heads[0])
	case IndexPhantom:
		c.What, err = e.phantomText(heads[0])
	case Stale:
		c.Transferable = false
		c.What = e.staleText(heads[0])
	case RegistryMismatch:
		c.Transferable = false
		c.What, err = e.registryText(heads[0])
	}
	return heads, c, err
}

func (l Leaf) included(head torchwood.Checkpoint) error {
	leaf := tlog.Hash(entry.LeafHash(l.Bytes))
	if err := tlog.CheckRecord(l.Path, head.N, head.Hash, l.Index, leaf); err != nil {
		return notProven("the inclusion path does not lead from the entry, at index %d, to the root of the note", l.Index)
	}
	return nil
}

// forkText checks that two heads cannot be of one append-only log.
func (e *Evidence) forkText(heads []torchwood.Checkpoint, who string) (string, error) {
	a, b := heads[0], heads[1]
	if a.N == b.N { // and the roots differ, as check has seen
		return fmt.Sprintf("%s two different trees of %d entries. Their roots are %v and %v. "+
			"A log that only appends has one tree of each size. The two notes in this file are the proof.",
			who, a.N, a.Hash, b.Hash), nil
	}
	if err := tlog.CheckTree(e.Hashes, b.N, b.Hash, a.N, *e.Root); err != nil {
		return "", notProven("the consistency proof does not lead from the given root at %d entries to the note with %d; "+
			"a proof that fails convicts nobody", a.N, b.N)
	}
	if *e.Root == a.Hash {
		return "", notProven("the tree of %d entries begins with the tree of %d: the notes are consistent", b.N, a.N)
	}
	return fmt.Sprintf("%s a tree of %d entries with the root %v, and a tree of %d entries with the root %v. "+
		"The second does not begin with the first: its own first %d entries have the root %v, "+
		"as the consistency proof in this file shows. "+
		"A log that only appends never changes the beginning.", who, a.N, a.Hash, b.N, b.Hash, a.N, *e.Root), nil
}

// rootText checks that the captured hashes do not make the root.
func (e *Evidence) rootText(head torchwood.Checkpoint) (string, error) {
	root := rootOf(e.Hashes, head.N)
	if root == head.Hash {
		return "", notProven("the captured hashes do lead to the signed root")
	}
	if head.N == 0 {
		return fmt.Sprintf("The log %q signed a tree without entries whose root is %v. "+
			"An empty tree has the root %v, which is the SHA-256 of nothing.",
			clip(head.Origin), head.Hash, root), nil
	}
	return fmt.Sprintf("The log %q signed a tree of %d entries with the root %v. The hashes in this file, "+
		"which the captor says are those of the entries that the log served, lead to the root %v. "+
		"This file alone convinces only those who believe the captor that the log served these entries. "+
		"To see it for yourself, download the log's entries below %d and rebuild the root; if it is %v again, keep them.",
		clip(head.Origin), head.N, head.Hash, root, head.N, root), nil
}

// rootOf returns the RFC 6962 root over n leaves, given the roots of their full groups
// of 256 and the leaves that are left over.
func rootOf(hashes []tlog.Hash, n int64) tlog.Hash {
	if n == 0 {
		return sha256.Sum256(nil)
	}
	// A full group is as high as a power of two of leaves, so that RFC 6962 always splits
	// between groups, and the last, smaller one takes its place beside them as it is.
	full := int(n / groupWidth)
	groups := slices.Clone(hashes[:full])
	if rest := hashes[full:]; len(rest) > 0 {
		groups = append(groups, merkle(rest))
	}
	return merkle(groups)
}

// merkle is the RFC 6962 root over hashes, of which there is at least one.
func merkle(h []tlog.Hash) tlog.Hash {
	if len(h) == 1 {
		return h[0]
	}
	k := 1 << (bits.Len(uint(len(h)-1)) - 1) // the largest power of two below
	return tlog.NodeHash(merkle(h[:k]), merkle(h[k:]))
}

func (e *Evidence) staleText(head torchwood.Checkpoint) string {
	return fmt.Sprintf("At %s, says the captor, the log %q still showed its tree of %d entries, and no newer one. "+
		"This may be trouble or a log that hides what is new; it convicts nobody.",
		e.Observed.Format(time.RFC3339), clip(head.Origin), head.N)
}

func (e *Evidence) registryText(head torchwood.Checkpoint) (string, error) {
	x, err := entry.Parse(e.Entries[0].Bytes)
	switch {
	case err != nil:
		return "", notProven("entry %d is malformed: %w", e.Entries[0].Index, err)
	case e.Registry.Line != nil:
		return e.lineText(head, x)
	case x.Subject.SHA256 == e.Registry.SHA256:
		return "", notProven("the registry's checksum is the entry's")
	}
	what := map[bool]string{true: "listed in its index", false: "served a .crate with"}[e.Registry.Index]
	return fmt.Sprintf("Entry %d of the log %q says that %s %s has the checksum %x. "+
		"At %s, says the captor, the registry %q %s the checksum %x. "+
		"A registry signs nothing, so this convicts nobody; ask the registry, and the crate's owners.",
		e.Entries[0].Index, clip(head.Origin), x.Subject.Name, x.Subject.Version, x.Subject.SHA256,
		e.Observed.Format(time.RFC3339), e.Registry.Name, what, e.Registry.SHA256), nil
}

// lineText checks that an index line says something else than the Cargo.toml of the .crate.
func (e *Evidence) lineText(head torchwood.Checkpoint, x *entry.Entry) (string, error) {
	r, err := registry.ParseRelease(e.Registry.Line)
	switch {
	case err != nil:
		return "", notProven("the index line cannot be read, and cargo would not use it: %w", err)
	case r.Name != x.Subject.Name || r.Version != x.Subject.Version || r.Checksum != x.Subject.SHA256 ||
		e.Registry.SHA256 != x.Subject.SHA256:
		return "", notProven("the index line is about another crate, version or checksum than entry %d", e.Entries[0].Index)
	}
	c, err := e.readCrate(x)
	if err != nil && !errors.Is(err, ErrUndecided) && !errors.Is(err, ErrNotProven) {
		err = notProven("the .crate cannot be read: %w", err)
	}
	if err != nil {
		return "", err
	}
	diff, err := r.Deviation(e.Registry.URL, c.Manifest())
	switch {
	case err != nil:
		return "", notProven("the index line and Cargo.toml cannot be compared: %w", err)
	case diff == "":
		return "", notProven("the index line says what Cargo.toml says")
	}
	return fmt.Sprintf("Entry %d of the log %q is about the .crate of %s %s with the checksum %x, which is in this file "+
		"or beside it. At %s, says the captor, the index of the registry %q had a line about it that says something else "+
		"than the Cargo.toml in it: %s. cargo takes dependencies and features from that line. A registry signs nothing, so "+
		"this convicts nobody. That the two differ, this file shows; that the registry served the line is the captor's "+
		"word. Ask the registry, and the crate's owners.", e.Entries[0].Index, clip(head.Origin), x.Subject.Name,
		x.Subject.Version, x.Subject.SHA256, e.Observed.Format(time.RFC3339), e.Registry.Name, diff), nil
}
