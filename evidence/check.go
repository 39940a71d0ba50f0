package evidence

import (
	"bytes"
	"strings"
	"time"

	"filippo.io/torchwood"

	"cratelog/opening"
)

// form is which parts a kind has.
type form struct {
	notes, entries                    int
	witness, reason, registry, hashes bool
	opening                           bool // and a list
	statements                        bool // and sets
	lookup                            bool // and the last entry is that of the tree
}

var forms = map[Kind]form{
	ForkSameSize:      {notes: 2},
	ForkPrefix:        {notes: 2, hashes: true},
	CosignerFork:      {notes: 2, witness: true, hashes: true},
	FalseEntry:        {notes: 1, entries: 1, reason: true},
	EntryRootMismatch: {notes: 1, hashes: true},
	Stale:             {notes: 1},
	RegistryMismatch:  {notes: 1, entries: 1, registry: true},

	OpeningContradiction: {notes: 1, entries: 1, opening: true},
	BuilderContradiction: {statements: true},

	Unsealed:      {notes: 1, entries: 1},
	IndexOmission: {notes: 1, entries: 2, lookup: true},
	IndexPhantom:  {notes: 1, entries: 2, lookup: true},
}

// check says whether e has the parts of its kind, in their order and within the
// limits. What needs a key or a hash is for Verify.
func (e *Evidence) check() error {
	f, known := forms[e.Kind]
	if e.Kind == IndexPhantom && len(e.Entries) == 1 {
		f.entries = 1 // nothing is there to show beside the seal
	}
	switch {
	case !known:
		return malformed("there is no kind %q", clip(string(e.Kind)))
	case len(e.Notes) != f.notes || len(e.Entries) != f.entries:
		return malformed("%s has %d notes and %d entries, not %d and %d",
			e.Kind, f.notes, f.entries, len(e.Notes), len(e.Entries))
	case (e.Witness != "") != f.witness || (e.Reason != "") != f.reason || (e.Registry.Name != "") != f.registry:
		return malformed("it lacks a part of %s, or has one too many: witness, reason, registry", e.Kind)
	case (e.Opening != nil) != f.opening || f.opening && e.List == nil:
		return malformed("it lacks a part of %s, or has one too many: list, opening", e.Kind)
	case !f.statements && len(e.Statements)+len(e.Sets) > 0:
		return malformed("%s has no statements and no sets", e.Kind)
	case (len(e.Lookups) > 0) != f.lookup:
		return malformed("it lacks a part of %s, or has one too many: lookup", e.Kind)
	case !f.hashes && (e.Root != nil || len(e.Hashes) > 0):
		return malformed("%s has no root and no hashes", e.Kind)
	case e.Registry.Name == "" &&
		(e.Registry.what() != "crate" || e.Registry.SHA256 != [32]byte{} || e.Registry.URL != ""):
		return malformed("the registry has no name")
	case (e.Registry.Line != nil) != (e.Registry.URL != "") || e.Registry.Line != nil && !e.Registry.Index:
		return malformed("an index line has the URL of its index, and nothing else of a registry has one")
	case len(e.Registry.Line) > MaxLine:
		return malformed("the index line has %d bytes, at most %d are allowed", len(e.Registry.Line), MaxLine)
	}
	if err := e.checkWords(); err != nil {
		return err
	}
	if f.statements {
		return e.checkStatements()
	}
	heads, err := e.heads()
	if err != nil {
		return err
	}
	if err := e.checkEntries(heads[0]); err != nil {
		return err
	}
	switch e.Kind {
	case ForkSameSize, ForkPrefix, CosignerFork:
		return e.checkPair(heads[0], heads[1])
	case Unsealed, IndexOmission, IndexPhantom:
		return e.checkLookups(heads[0])
	case EntryRootMismatch:
		want := heads[0].N/groupWidth + heads[0].N%groupWidth
		if e.Root != nil || int64(len(e.Hashes)) != want {
			return malformed("of a tree with %d entries it holds %d hashes, not the %d that it needs",
				heads[0].N, len(e.Hashes), want)
		}
	}
	return nil
}

func (e *Evidence) checkWords() error {
	if y := e.Observed.Year(); y < 1970 || y > 9999 ||
		!e.Observed.Equal(e.Observed.Truncate(time.Second)) || e.Observed.Location() != time.UTC {
		return malformed("the time of observation is not one of whole seconds in UTC")
	}
	if len(e.Sources) > maxSources {
		return malformed("it has %d sources, at most %d are allowed", len(e.Sources), maxSources)
	}
	for _, s := range e.Sources {
		if !printable(s) {
			return malformed("the source %q is not 1 to %d bytes of printable text", clip(s), maxText)
		}
	}
	if e.Registry.Name != "" && !printable(e.Registry.Name) {
		return malformed("the registry %q is not 1 to %d bytes of printable text", clip(e.Registry.Name), maxText)
	}
	if e.Registry.URL != "" && (!printable(e.Registry.URL) || strings.Contains(e.Registry.URL, " ")) {
		return malformed("the index %q is not a URL", clip(e.Registry.URL))
	}
	if e.Witness != "" && (!printable(e.Witness) || strings.Contains(e.Witness, " ") || !endsInKeyID(e.Witness)) {
		return malformed("the witness %q is not a key's name, + and 8 lower-case hex digits", clip(e.Witness))
	}
	return e.checkAttached()
}

// checkAttached checks the parts that depend on the reason.
func (e *Evidence) checkAttached() error {
	contradicted := e.Kind == OpeningContradiction
	mayProgram := e.Reason == ProofInvalid || e.Reason == UnknownProgram || contradicted || e.Kind == BuilderContradiction
	switch e.Reason {
	case "", Malformed, UnknownProgram, ProofInvalid, Files:
	default:
		return malformed("there is no reason %q", clip(string(e.Reason)))
	}
	switch {
	case e.Program != nil && !mayProgram:
		return malformed("a program belongs only to an entry whose proof is in question")
	case e.Program != nil && (len(e.Program) > MaxProgram || !isText(e.Program)):
		return malformed("the program file has more than %d bytes, or is not text that ends in a newline", MaxProgram)
	case e.Crate != nil && e.Reason != Files && e.Registry.Line == nil:
		return malformed("a .crate belongs to the reason %q, and to an index line, and only there", Files)
	case e.Crate != nil && len(e.Crate) == 0:
		return malformed("the .crate is empty")
	case e.List != nil && e.Reason != ProofInvalid && !contradicted:
		return malformed("a list of files belongs to the reason %q, and to an %s, and only there", ProofInvalid,
			OpeningContradiction)
	case e.Opening != nil && (len(e.Opening) == 0 || len(e.Opening) > opening.MaxSize):
		return malformed("the opening has %d bytes, not 1 to %d", len(e.Opening), opening.MaxSize)
	case e.List != nil && (len(e.List) == 0 || len(e.List) > MaxList):
		return malformed("the list of files has %d bytes, not 1 to %d", len(e.List), MaxList)
	}
	return nil
}

func (e *Evidence) checkEntries(head torchwood.Checkpoint) error {
	for i, l := range e.Entries {
		switch {
		case l.Index < 0 || l.Index >= head.N:
			return malformed("the index %d is not in a tree of %d entries", l.Index, head.N)
		case i > 0 && l.Index <= e.Entries[i-1].Index:
			return malformed("the entries are not in the order of their indexes")
		case len(l.Path) > maxPath:
			return malformed("an inclusion path has %d hashes, a tree needs at most %d", len(l.Path), maxPath)
		case len(l.Bytes) > maxLeaf:
			return malformed("an entry has %d bytes, a log's tiles hold at most %d", len(l.Bytes), maxLeaf)
		}
	}
	return nil
}

// checkLookups checks the form of what is said of the end of a tree.
func (e *Evidence) checkLookups(head torchwood.Checkpoint) error {
	if e.Entries[len(e.Entries)-1].Index != head.N-1 {
		return malformed("its last entry is not that of the tree, which has %d", head.N)
	}
	for i, l := range e.Lookups {
		switch {
		case i > 0 && (i > 1 || l.Key != e.Lookups[0].Key):
			return malformed("it has more than two look-ups, or of two keys")
		case l.Value != nil && len(l.Value) == 0 || len(l.Value) > maxValue || len(l.Proof) > maxProof:
			return malformed("a look-up's value or proof is longer than one can be, or empty")
		}
	}
	return nil
}

// maxLeaf is the largest entry that c2sp.org/tlog-tiles can hold.
const maxLeaf = 65535

// checkPair checks what two notes of a fork have beside each other.
func (e *Evidence) checkPair(a, b torchwood.Checkpoint) error {
	same := a.N == b.N
	switch {
	case e.Kind == ForkSameSize && !same, e.Kind == ForkPrefix && same:
		return malformed("its notes have %d and %d entries, which is not a %s", a.N, b.N, e.Kind)
	case same && (e.Root != nil || len(e.Hashes) > 0):
		return malformed("two trees of one size need no root and no hashes")
	case same && bytes.Compare(a.Hash[:], b.Hash[:]) >= 0:
		return malformed("of two notes of one size, the one with the smaller root comes first, and the roots differ")
	case same:
		return nil
	case a.N > b.N:
		return malformed("the note of the smaller tree comes first")
	case a.N == 0:
		return malformed("an empty tree begins every tree; a wrong root of one is an %s", EntryRootMismatch)
	case e.Root == nil || len(e.Hashes) == 0 || len(e.Hashes) > maxPath+1:
		return malformed("two trees of different sizes need the root of the larger one at the smaller size, "+
			"and 1 to %d hashes", maxPath+1)
	}
	return nil
}

func endsInKeyID(s string) bool {
	name, id, ok := strings.Cut(s, "+")
	return ok && name != "" && isKeyID(id)
}

func isKeyID(s string) bool { return len(s) == 8 && strings.Trim(s, "0123456789abcdef") == "" }
