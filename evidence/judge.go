package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"cratelog/crate"
	"cratelog/entry"
)

// judge decides whether an entry that the log included is false as e says, and completes c.
func (e *Evidence) judge(c Conviction, pv entry.Verifier) (Conviction, error) {
	leaf, malformedBecause := entry.ParseLeaf(e.Entries[0].Bytes)
	x, isEntry := leaf.(*entry.Entry)
	if malformedBecause == nil && !isEntry {
		return Conviction{}, notProven("leaf %d is a seal or a start, which only its place can make void", e.Entries[0].Index)
	}
	why, err := e.malformedWhy(malformedBecause)
	if err == nil && malformedBecause == nil {
		switch e.Reason {
		case Files:
			why, err = e.filesWhy(x)
		default:
			why, err = e.proofWhy(x, pv)
		}
	}
	if err != nil {
		return Conviction{}, err
	}
	c.Who = "log " + c.Origin
	if e.Reason == UnknownProgram {
		c.Who, c.Transferable = "", false
	}
	c.What = fmt.Sprintf("The log %q signed a tree that includes, at index %d, %s", clip(c.Origin), e.Entries[0].Index, why)
	return c, nil
}

// malformedWhy decides about the reason Malformed, given what the parser said.
func (e *Evidence) malformedWhy(because error) (string, error) {
	switch i := e.Entries[0].Index; {
	case e.Reason == Malformed && because == nil:
		return "", notProven("entry %d is well-formed", i)
	case e.Reason == Malformed && errors.Is(because, entry.ErrUnknownClaim):
		return "", fmt.Errorf("%w: entry %d is of a format or claim that this version does not know, and a newer one may: %w",
			ErrUndecided, i, because)
	case e.Reason != Malformed && because != nil:
		return "", notProven("entry %d is malformed, which is another reason than %q: %w", i, e.Reason, because)
	}
	return fmt.Sprintf("bytes that are no leaf of version 2 of the format: %v. "+
		"A log must accept nothing that it cannot read.", because), nil
}

// proofWhy decides about the reasons ProofInvalid and UnknownProgram.
func (e *Evidence) proofWhy(x *entry.Entry, pv entry.Verifier) (string, error) {
	if pv == nil {
		return "", fmt.Errorf("%w: no proof verifier was given", ErrUndecided)
	}
	err := e.checkProof(x, pv)
	if errors.Is(err, ErrNotProven) {
		return "", err
	}
	unknown := errors.Is(err, entry.ErrUnknownProgram)
	about := fmt.Sprintf("an entry about %s %s", x.Subject.Name, x.Subject.Version)
	switch i := e.Entries[0].Index; {
	case err == nil:
		return "", notProven("the proof of entry %d holds", i)
	case e.Reason == UnknownProgram && unknown:
		return about + fmt.Sprintf(" with a proof of the program %x, which you do not accept. Others may; this convicts nobody.",
			x.Proof.Program), nil
	case e.Reason == UnknownProgram:
		return "", notProven("the program %x of entry %d is known; that its proof does not hold is another reason",
			x.Proof.Program, i)
	case unknown:
		return "", fmt.Errorf("%w: the proof of entry %d is of the program %x, which is not accepted here; give its program file",
			ErrUndecided, i, x.Proof.Program)
	}
	return about + fmt.Sprintf(" whose proof is false (%v). Its program is %x, a hash of the verifying key. "+
		"A log must verify a proof before it accepts an entry.", err, x.Proof.Program), nil
}

// checkProof checks what the proof shows: of the list, if it is there, else without.
func (e *Evidence) checkProof(x *entry.Entry, pv entry.Verifier) error {
	src, ok := x.Claim.(*entry.Source)
	if e.List != nil && (!ok || sha256.Sum256(e.List) != src.Files) {
		return notProven("the list of files in this file is not that of entry %d", e.Entries[0].Index)
	}
	chain, err := pv.Chain(x)
	if err != nil || e.List == nil {
		return err
	}
	return chain.Check(e.List)
}

// filesWhy decides about the reason Files.
func (e *Evidence) filesWhy(x *entry.Entry) (string, error) {
	src, ok := x.Claim.(*entry.Source)
	if !ok {
		return "", notProven("the claim is of the kind %q, which says nothing of files", x.Claim.Kind())
	}
	c, err := e.readCrate(x)
	if errors.Is(err, ErrUndecided) || errors.Is(err, ErrNotProven) {
		return "", err
	}
	if err == nil {
		_, err = c.Check(x.Subject, src)
	}
	if err == nil {
		return "", notProven("the .crate is what entry %d claims", e.Entries[0].Index)
	}
	return fmt.Sprintf("an entry about %s %s whose .crate is not what the entry claims: %v. "+
		"A log must compare the two before it accepts an entry.", x.Subject.Name, x.Subject.Version, err), nil
}

// readCrate reads the .crate of an entry, which must be there. An error that is none of this
// package's says what is wrong with the archive.
func (e *Evidence) readCrate(x *entry.Entry) (*crate.Crate, error) {
	if e.Crate == nil {
		return nil, fmt.Errorf("%w: it needs the .crate of %s %s with the checksum %x, which is too large to be in the file",
			ErrUndecided, x.Subject.Name, x.Subject.Version, x.Subject.SHA256)
	}
	if sum := sha256.Sum256(e.Crate); sum != x.Subject.SHA256 {
		return nil, notProven("the .crate has the checksum %x, the entry is about %x", sum, x.Subject.SHA256)
	}
	c, err := crate.Read(bytes.Clone(e.Crate), x.Subject.Name, x.Subject.Version, crate.DefaultLimits)
	var archive *crate.ArchiveError
	if errors.As(err, &archive) && archive.Limit {
		// A log may have larger limits, so this is not held against it.
		return nil, fmt.Errorf("%w: %w, that of this program", ErrUndecided, err)
	}
	return c, err
}
