package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
)

// Log is what a builder asks of a log: *Shown.
type Log interface {
	// Builds returns all published build claims about a crate version.
	Builds(ctx context.Context, s entry.Subject) ([]client.BuildRow, error)
}

// Shown is a log that has to show that what it says is all, and how fresh that is.
type Shown struct {
	Log    *client.Log
	Policy *client.Policy // with which it is believed
	Rules  client.Rules   // MaxAge, Now and AllowNoWitnesses count
}

// Builds returns all build claims that the log's index has of a crate version, in the order of the log. Errors are
// those of client.Log.Everything.
func (s *Shown) Builds(ctx context.Context, of entry.Subject) ([]client.BuildRow, error) {
	all, err := s.Log.Everything(ctx, s.Policy, s.Rules, index.VersionPrefix(of.Registry, of.Name, of.Version))
	if err != nil {
		return nil, err
	}
	rows := []client.BuildRow{}
	for _, one := range all.Entries {
		row, ok, err := rowOf(one.Index, one.Entry)
		if err != nil {
			return nil, err
		}
		if ok {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// rowOf returns what an entry says of a build, if it does.
func rowOf(i uint64, e *entry.Entry) (row client.BuildRow, ok bool, err error) {
	b, ok := e.Claim.(*entry.Build)
	if !ok {
		return row, false, nil
	}
	request, err := b.Request(e.Subject)
	return client.BuildRow{Index: i, Program: e.Proof.Program, Binary: b.Binary, Target: b.Target, Artifact: b.Artifact,
		Compiled: b.Compiled, Request: request, Result: b.Result(), Root: b.Root, Tag: b.Tag}, true, err
}

// ContradictionError: the key has attested another result of this request. Nothing was attested.
type ContradictionError struct {
	Request, Said, Now [32]byte
	Index              *uint64 // of the log's entry with what was said; nil: the journal says it
}

func (e *ContradictionError) Error() string {
	where := "this key's journal says that it attested the result"
	if e.Index != nil {
		where = fmt.Sprintf("the log says, as entry %d, that this key attested the result", *e.Index)
	}
	s := fmt.Sprintf("%s %x of this build, and now it is to be %x; nothing was attested: two results under one tag "+
		"unmask their builder", where, e.Said, e.Now)
	if e.Index != nil {
		s += "\nthe journal is an old one, or somebody else has the key: stop using it, and look with " +
			"\"cargo zkp builder status\""
	}
	return s
}

// UnknownError: the log has attestations under this key's tag that the journal does not know.
type UnknownError struct {
	Rows []client.BuildRow
}

func (e *UnknownError) Error() string {
	var b strings.Builder
	b.WriteString("the log has attestations of this key that its journal does not know:")
	for _, r := range e.Rows {
		fmt.Fprintf(&b, "\n  entry %d: binary %s, SHA-256 %x", r.Index, r.Binary, r.Artifact)
	}
	b.WriteString("\nthe journal is an old one, or somebody else has the key. If you made these attestations yourself, " +
		"take them into the journal with \"cargo zkp builder status --adopt\"; if not, the key is stolen: tell who keeps " +
		"the set")
	return b.String()
}

// StandsError: the log has this attestation already.
type StandsError struct {
	Row   client.BuildRow
	Other bool // under the root of another set
}

func (e *StandsError) Error() string {
	if e.Other {
		return fmt.Sprintf("this key has attested this build as a member of another set or of a former one, entry %d of the "+
			"log, under the same tag: to say it again links both sets, and whoever is in both; --again does", e.Row.Index)
	}
	return fmt.Sprintf("this key has attested this build already: entry %d of the log", e.Row.Index)
}

// DissentError: other builders say that something else comes out of this build.
type DissentError struct {
	Artifact, Compiled [32]byte // what is to be said
	Others             []client.BuildRow
}

func (e *DissentError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "other builders say that something else comes out of this build; here it is\n"+
		"  binary %x, compiled list %x\nand in the log", e.Artifact, e.Compiled)
	for _, r := range e.Others {
		fmt.Fprintf(&b, "\n  binary %x, compiled list %x (entry %d)", r.Artifact, r.Compiled, r.Index)
		if r.Artifact == e.Artifact {
			b.WriteString(", the same binary of other crates")
		}
	}
	b.WriteString("\nnothing was attested. Rebuild, on another machine too; if you are sure, say so with --dissent")
	return b.String()
}

// An Attestation is what a builder is asked to say.
type Attestation struct {
	Set     *build.Set
	Subject entry.Subject
	Claim   entry.Build // Root and Tag do not count
	List    build.List  // of Claim.Compiled

	Keys *membership.Keys // of the program, for a hidden set

	// Rows are all that the log has about the subject, as Shown returns them. Without them, Offline must be set: then only
	// the journal keeps the key from contradicting itself.
	Rows    []client.BuildRow
	Offline bool

	Dissent bool // say it though others say something else
	Again   bool // say it though this key said it as a member of another set
}

// Attest makes the entry in which the key's member of the set says what the claim says, which the caller
// has seen come out of two builds. What it will say stands in the journal before a proof is made.
// Besides others it fails with a *ContradictionError, an *UnknownError, a *StandsError or a
// *DissentError.
func (k *Key) Attest(ctx context.Context, a Attestation) (*entry.Entry, error) {
	if err := k.locked(); err != nil {
		return nil, err
	}
	index, err := k.Find(a.Set)
	if err != nil {
		return nil, err
	}
	if err := a.List.Check(); err != nil {
		return nil, err
	}
	if a.List.Digest() != a.Claim.Compiled {
		return nil, errors.New("the list of compiled crates is not that of the claim; rebuild")
	}
	if k.Kind == build.Hidden && a.Keys == nil {
		return nil, errors.New("a hidden member needs a program and its proving key")
	}
	if a.Rows == nil && !a.Offline {
		return nil, errors.New("the log was not asked what it has about this crate")
	}
	request, err := a.Claim.Request(a.Subject)
	if err != nil {
		return nil, err
	}
	if err := k.look(a, index, request); err != nil {
		return nil, err
	}
	if err := k.journal.record(request, a.Claim.Result()); err != nil {
		return nil, err
	}
	if k.Kind == build.Named {
		return build.Sign(k.signer, a.Set.Members[index].VKey, a.Set, a.Subject, &a.Claim)
	}
	return membership.Prove(ctx, a.Keys, a.Set.Leaves(), index, k.secret, a.Subject, &a.Claim)
}

// look searches what the log has about a crate version for what speaks against an attestation.
func (k *Key) look(a Attestation, index int, request [32]byte) error {
	member, root, result := a.Set.Members[index], a.Set.Root(), a.Claim.Result()
	var said, others []client.BuildRow
	for _, r := range a.Rows {
		switch {
		case r.Request != request:
		case r.Tag == k.tag(member, request):
			said = append(said, r)
		case r.Result != result:
			others = append(others, r)
		}
	}
	for _, r := range said {
		if r.Result != result {
			return &ContradictionError{Request: request, Said: r.Result, Now: result, Index: &r.Index}
		}
	}
	if _, known := k.journal.results[request]; len(said) > 0 && !known {
		return &UnknownError{said}
	}
	for _, r := range said {
		if r.Root == root {
			return &StandsError{Row: r}
		}
	}
	if len(said) > 0 && !a.Again {
		return &StandsError{said[0], true}
	}
	if len(others) > 0 && !a.Dissent {
		return &DissentError{a.Claim.Artifact, a.Claim.Compiled, others}
	}
	return nil
}

// Status is what a log has of a key's attestations about one crate version.
type Status struct {
	Known   []client.BuildRow // the journal says the same
	Unknown []client.BuildRow // the journal has no result of that request
	Against []client.BuildRow // the journal has another result
}

// Status searches what the log has about a crate version for this key's attestations. For a named
// key, sets are those in which it has a vkey; a hidden key's tags need none.
func (k *Key) Status(rows []client.BuildRow, sets []*build.Set) (Status, error) {
	s, err := k.status(rows, sets)
	if err != nil || k.lock != nil || len(s.Unknown) == 0 {
		return s, err
	}
	// Who uses the key may have said it since the journal was read: it stood there first.
	if k.journal, err = readJournal(k.path+JournalExt, k.ID()); err != nil {
		return Status{}, err
	}
	return k.status(rows, sets)
}

func (k *Key) status(rows []client.BuildRow, sets []*build.Set) (s Status, err error) {
	members := []build.Member{{}}
	if k.Kind == build.Named {
		members = nil
		for _, set := range sets {
			i, err := k.Find(set)
			if err != nil {
				return s, err
			}
			members = append(members, set.Members[i])
		}
	}
	for _, r := range rows {
		if k.Kind == build.Hidden && r.Request[0] > 0x1f {
			continue // entry.Build's requests have the three highest bits cleared; others may have no tag
		}
		for _, m := range members {
			if r.Tag != k.tag(m, r.Request) {
				continue
			}
			switch result, ok := k.journal.results[r.Request]; {
			case !ok:
				s.Unknown = append(s.Unknown, r)
			case result != r.Result:
				s.Against = append(s.Against, r)
			default:
				s.Known = append(s.Known, r)
			}
			break
		}
	}
	return s, nil
}

// Adopt takes attestations that the journal does not know into it: the key's owner says that he made
// them.
func (k *Key) Adopt(rows []client.BuildRow) error {
	if err := k.locked(); err != nil {
		return err
	}
	for _, r := range rows {
		if err := k.journal.record(r.Request, r.Result); err != nil {
			return err
		}
	}
	return nil
}

// Attested returns how many requests the journal has.
func (k *Key) Attested() int { return len(k.journal.results) }
