package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"filippo.io/torchwood"

	"cratelog/entry"
	"cratelog/index"
)

// unsealedText checks that the last leaf of a tree is no seal of it.
func (e *Evidence) unsealedText(head torchwood.Checkpoint) (string, error) {
	_, err := entry.SealOf(head.N, e.Entries[0].Bytes)
	switch {
	case err == nil:
		return "", notProven("the tree of %d entries ends in a seal", head.N)
	case errors.Is(err, entry.ErrUnknownClaim):
		return "", undecided("%w", err)
	}
	return fmt.Sprintf("The log %q signed a tree of %d entries that does not end in a seal, but in a leaf that this file "+
		"holds (%v). A log must sign no tree without the seal of its index, because nobody can see then that a version has one "+
		"checksum in it.", clip(head.Origin), head.N, err), nil
}

func undecided(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUndecided, fmt.Errorf(format, args...))
}

// sealed returns the seal of the tree, whose map has what the first look-up says.
func (e *Evidence) sealed(head torchwood.Checkpoint) (*entry.Seal, error) {
	seal, err := entry.SealOf(head.N, e.Entries[len(e.Entries)-1].Bytes)
	switch {
	case errors.Is(err, entry.ErrUnknownClaim):
		return nil, undecided("%w", err)
	case err != nil:
		return nil, notProven("no index is sealed, which is another kind, %s: %w", Unsealed, err)
	}
	return seal, e.Lookups[0].holds(seal.Root)
}

func (l Lookup) holds(root index.Hash) error {
	if err := index.VerifyLookup(root, l.Key, l.Value, l.Proof); err != nil {
		return notProven("the look-up: %w", err)
	}
	return nil
}

// number returns the number in a value, and whether it counts in a log before this one. It fails if an
// index of rules 1 cannot have the value for the key.
func (l Lookup) number() (n uint64, inherited bool, err error) {
	return index.Row{Key: l.Key, Value: l.Value}.Names()
}

// text says in words what the value is.
func (l Lookup) text() string {
	n, inherited, err := l.number()
	switch {
	case l.Value == nil:
		return "nothing"
	case err != nil:
		return fmt.Sprintf("the value %x, which no leaf gives to a key of its kind (%v)", l.Value, err)
	}
	first := fmt.Sprintf("leaf %d", n)
	if inherited {
		first = fmt.Sprintf("entry %d of a log before this one", n)
	}
	switch {
	case l.Key.IsVersion():
		return fmt.Sprintf("the checksum %x, by %s", l.Value[:32], first)
	case l.Key.IsBuild():
		return fmt.Sprintf("the result %x under the root %x, by %s", l.Value[:32], l.Value[32:64], first)
	}
	return "the number of " + first
}

// inserted is what the bytes at one index insert.
type inserted struct {
	what  string // in words
	rows  []index.Row
	start *entry.Start // whose rows another log has
}

// inserts returns what a leaf inserts. It is undecided about what a newer version may know.
func (l Leaf) inserts() (inserted, error) {
	leaf, err := entry.ParseLeaf(l.Bytes)
	if errors.Is(err, entry.ErrUnknownClaim) {
		return inserted{}, undecided("leaf %d: %w", l.Index, err)
	}
	switch x := leaf.(type) {
	case *entry.Entry:
		f, err := index.FactsOf(x)
		if err != nil {
			return inserted{}, notProven("leaf %d: %w", l.Index, err)
		}
		return inserted{what: fmt.Sprintf("an entry about %s %s", f.Name, f.Version), rows: f.Rows(uint64(l.Index))}, nil
	case *entry.Seal:
		return inserted{what: "a seal"}, nil
	case *entry.Start:
		switch {
		case l.Index != 0:
			return inserted{what: "a start that is not the first leaf"}, nil // SPEC: a start at index 0
		case x.Rules != entry.Rules:
			return inserted{}, undecided("the start is of the rules %d, and this program knows the rules %d only: get a newer version",
				x.Rules, entry.Rules)
		}
		return inserted{what: fmt.Sprintf("the start that goes on for the log %q", clip(x.Origin)), start: x}, nil
	}
	return inserted{what: "no leaf of a log"}, nil // SPEC: Seals, and bytes that are no leaf, insert nothing.
}

// started returns what the start's map has for the key.
func (e *Evidence) started(start *entry.Start) ([]byte, error) {
	if start == nil || len(e.Lookups) != 2 {
		return nil, notProven("a start goes with a look-up in its own index, and nothing else does")
	}
	return e.Lookups[1].Value, e.Lookups[1].holds(start.Root)
}

// omissionText checks that the sealed map lacks what a leaf inserts, or has it of a later one.
func (e *Evidence) omissionText(head torchwood.Checkpoint) (string, error) {
	if _, err := e.sealed(head); err != nil {
		return "", err
	}
	left, look := e.Entries[0], e.Lookups[0]
	in, err := left.inserts()
	if err != nil {
		return "", err
	}
	what, why := "takes over the checksum of a version", ""
	if in.start != nil || len(e.Lookups) > 1 {
		why, err = e.notTakenOver(in.start)
	} else if at := slices.IndexFunc(in.rows, func(r index.Row) bool { return r.Key == look.Key }); at >= 0 {
		what = "inserts " + [...]string{"the checksum of that version", "itself", "what a builder says of a binary"}[at]
		why, err = look.later(left.Index)
	} else {
		err = notProven("leaf %d, %s, inserts no such key", left.Index, in.what)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s Leaf %d, %s, %s under the key %x. But the sealed index has %s%s.",
		sealText(head), left.Index, in.what, what, look.Key, look.text(), why), nil
}

// sealText begins what is said of a false index.
func sealText(head torchwood.Checkpoint) string {
	return fmt.Sprintf("The log %q signed a tree of %d entries that ends in a seal: the root of the index that the %d leaves before it "+
		"make, by the rules %d. That index must hold what those leaves insert, and nothing else. Whoever asks it is shown, with a "+
		"proof that holds, what is not so.", clip(head.Origin), head.N, head.N-1, entry.Rules)
}

// later checks that the value is not one that an index has that holds what leaf i inserts.
func (l Lookup) later(i int64) (string, error) {
	if l.Value == nil {
		return "", nil
	}
	n, inherited, err := l.number()
	switch {
	case err != nil:
		return "", notProven("the value has not the form of one, which is another kind, %s: %w", IndexPhantom, err)
	case inherited:
		return "", notProven("the value counts in a log before this one, which comes before leaf %d", i)
	case n <= uint64(i):
		return "", notProven("the value names leaf %d, which is not later than leaf %d", n, i)
	}
	return ", and the first counts", nil
}

// notTakenOver checks that the start's map has a version, and the sealed one has not, or another value.
func (e *Evidence) notTakenOver(start *entry.Start) (string, error) {
	want, err := e.started(start)
	if err != nil {
		return "", err
	}
	v, err := index.ParseVersion(want)
	switch {
	case want == nil:
		return "", notProven("the start's index has nothing there either")
	case err != nil || !v.Inherited || !e.Lookups[0].Key.IsVersion():
		return "", notProven("what the start's index has there is no version of the log before it")
	case bytes.Equal(want, e.Lookups[0].Value):
		return "", notProven("the sealed index has what the start's index has")
	}
	return fmt.Sprintf(", and that of the start %s", e.Lookups[1].text()), nil
}

// phantomText checks that the sealed map has what no leaf inserts.
func (e *Evidence) phantomText(head torchwood.Checkpoint) (string, error) {
	seal, err := e.sealed(head)
	if err != nil {
		return "", err
	}
	look := e.Lookups[0]
	if look.Value == nil {
		return "", notProven("nothing stands under the key")
	}
	n, inherited, formless := look.number()
	nowhere := formless != nil || !inherited && n >= seal.Size
	why := ""
	switch {
	case nowhere != (len(e.Entries) == 1):
		err = notProven("it lacks the leaf that the value names, or has one that it does not name")
	case len(e.Lookups) > 1 && !inherited:
		err = notProven("a start has nothing to do with the value")
	case formless != nil: // which text says
	case nowhere:
		why = ", which is none of those leaves"
	case inherited:
		why, err = e.notBefore()
	default:
		why, err = e.otherLeaf(n)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s Under the key %x the sealed index has %s%s.", sealText(head), look.Key, look.text(), why), nil
}

// otherLeaf checks that the leaf that the value names does not insert it.
func (e *Evidence) otherLeaf(n uint64) (string, error) {
	named, look := e.Entries[0], e.Lookups[0]
	if uint64(named.Index) != n {
		return "", notProven("the value names leaf %d, and not leaf %d", n, named.Index)
	}
	in, err := named.inserts()
	if err != nil {
		return "", err
	}
	what := "inserts no such key"
	for _, r := range in.rows {
		switch {
		case r.Key != look.Key:
		case bytes.Equal(r.Value, look.Value):
			return "", notProven("leaf %d, %s, inserts it", n, in.what)
		default:
			what = fmt.Sprintf("gives %s", Lookup{Key: r.Key, Value: r.Value}.text())
		}
	}
	return fmt.Sprintf("; but that leaf is %s, and %s", in.what, what), nil
}

// notBefore checks that a value cannot come from a log before this one.
func (e *Evidence) notBefore() (string, error) {
	if i := e.Entries[0].Index; i != 0 {
		return "", notProven("the value counts in a log before this one, and leaf %d is not the first", i)
	}
	in, err := e.Entries[0].inserts()
	if err != nil {
		return "", err
	}
	if in.start == nil && len(e.Lookups) == 1 {
		return fmt.Sprintf("; but leaf 0 is %s, and no start, so there was none", in.what), nil
	}
	value, err := e.started(in.start)
	switch {
	case err != nil:
		return "", err
	case value != nil:
		return "", notProven("the start's index has the key; if its value is another one, that is an %s", IndexOmission)
	}
	return fmt.Sprintf("; but leaf 0 is %s, and the index in it has nothing there", in.what), nil
}
