package evidence

import (
	"bytes"
	"errors"
	"fmt"

	"filippo.io/torchwood"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/opening"
)

// contradictionText checks that the objects contradict the list, which is the claim's.
func (e *Evidence) contradictionText(head torchwood.Checkpoint) (string, error) {
	i := e.Entries[0].Index
	x, err := entry.Parse(e.Entries[0].Bytes)
	if err != nil {
		return "", notProven("entry %d is malformed: %w", i, err)
	}
	claim, ok := x.Claim.(*entry.Source)
	if !ok {
		return "", notProven("the claim is of the kind %q, which says nothing of a commit", x.Claim.Kind())
	}
	list, err := crate.ParseList(e.List)
	if err != nil {
		return "", notProven("the list of files cannot be read: %w", err)
	}
	_, err = opening.Check(e.Opening, claim, list)
	var c *opening.Contradiction
	switch {
	case err == nil:
		return "", notProven("the objects show that entry %d is true", i)
	case !errors.As(err, &c):
		return "", notProven("the objects do not contradict entry %d: %w", i, err)
	case !bytes.Equal(c.Objects, e.Opening):
		return "", notProven("more objects are in the file than show the contradiction")
	}
	return fmt.Sprintf("Entry %d of the log %q says that the files of %s %s, with the checksum %x, stand in the git commit %x. "+
		"The commit's own objects, which are in this file and have its id by SHA-1, say otherwise: %s.", i, clip(head.Origin),
		x.Subject.Name, x.Subject.Version, x.Subject.SHA256, claim.Commit, c.Why), nil
}

// judgeProgram decides whether the proof of a false claim holds, which convicts its program.
func (e *Evidence) judgeProgram(c Conviction, pv entry.Verifier) (Conviction, error) {
	if pv == nil {
		return Conviction{}, fmt.Errorf("%w: no proof verifier was given", ErrUndecided)
	}
	x, err := entry.Parse(e.Entries[0].Bytes)
	if err != nil {
		return Conviction{}, notProven("entry %d is malformed: %w", e.Entries[0].Index, err)
	}
	switch err := entry.Check(pv, x, e.List); {
	case errors.Is(err, entry.ErrUnknownProgram):
		return Conviction{}, fmt.Errorf("%w: the proof of entry %d is of the program %x, which is not accepted here; "+
			"give its program file", ErrUndecided, e.Entries[0].Index, x.Proof.Program)
	case err != nil:
		return Conviction{}, notProven("the proof of entry %d does not hold, which convicts its log, as a %s: %w",
			e.Entries[0].Index, FalseEntry, err)
	}
	c.Who = fmt.Sprintf("program %x", x.Proof.Program)
	c.What += fmt.Sprintf(" Its proof, of the program %x, holds all the same. So the proof was forged, with the secrets of that "+
		"program's keys or through a fault in the program, or SHA-1 has been broken in a new way: believe no proof of that "+
		"program any more. The log could not know this.", x.Proof.Program)
	return c, nil
}
