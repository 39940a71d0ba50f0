package client

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"cratelog/entry"
	"cratelog/index"
)

// MaxJoinedSize is the largest size of a joined file in bytes.
const MaxJoinedSize = 8 << 20

const (
	joinedVersion = 2

	maxJoinedParts = 8192
	maxJoinedList  = 512 << 10
	maxJoinedLock  = 4 << 20

	maxJoinedEntries = 128 << 20 // bytes that its source entries take once they are parsed
)

// Joined is a file NAME.builds: all that is logged about one binary of one crate, under one
// checkpoint, so that it can be verified offline with the .crates at hand. It is one item of
// deterministically encoded CBOR (RFC 8949, section 4.2.1) of at most 8 MiB. In CDDL:
//
//	joined = {
//	  1: 2,                          ; version of the format
//	  2: bstr .size (1..131072),     ; the checkpoint, a signed note
//	  3: [1*8192 build],             ; build entries: who says so, and who says otherwise
//	  4: [*8192 source],             ; source entries: of the crate, and of those compiled into it
//	  5: bstr .size (0..524288),     ; the list of the compiled crates
//	  6: bstr .size (0..4194304),    ; the commit's Cargo.lock if the crate's follows from it, else empty
//	  7: mapproof,                   ; that 3 is complete
//	  8: seal, 9: path,              ; of the checkpoint's tree
//	  10: version, 11: mapproof      ; of the crate whose binary it is
//	}
//
//	build  = [index, leaf, path, bstr .size 0, bstr .size 0]
//	source = [index, leaf, path, version, mapproof]
//	index  = uint                    ; below 2^63
//	leaf   = bstr .size (1..65535)   ; the entry
//	path   = [*63 bstr .size 32]     ; RFC 6962 inclusion path, the leaf's sibling first
//
// Seal, version and mapproof are as in a Bundle: 2, 4 and 5 of it.
//
// Entries are strictly ascending by index in 3 and in 4, and no index stands in both. Nothing in it
// is to be believed before Check has looked at it.
//
// 7 is the proof of the sealed map for the prefix of the .crate's checksum, the binary and the target. The rows
// there follow from the entries of 3: all requests, all roots and, if the .crate is logged in several registries,
// all of these. So no entry can be left out, but for one that repeats what a member said of the same request
// before: the map has the first only. Later ones may stand in 3 too. A member's second result
// convicts him, and is for monitors to find.
type Joined struct {
	Checkpoint []byte
	Seal       Seal
	Version    Lookup // of the crate
	Builds     []Part // whose Version is empty
	Complete   []byte // proof of the map for all that builders say of the binary
	Sources    []Part
	List       []byte
	Lock       []byte // nil for none
}

// Part is one entry of a log with its inclusion path.
type Part struct {
	Index   uint64              // below 2^63
	Entry   []byte              // as the log holds it
	Hashes  [][sha256.Size]byte // the leaf's sibling first; at most 63
	Version Lookup              // of the entry's version, in a file of builds only of a source entry; else empty
}

type wireJoined struct {
	Format     uint64     `cbor:"1,keyasint"`
	Checkpoint []byte     `cbor:"2,keyasint"`
	Builds     []wirePart `cbor:"3,keyasint"`
	Sources    []wirePart `cbor:"4,keyasint"`
	List       []byte     `cbor:"5,keyasint"`
	Lock       []byte     `cbor:"6,keyasint"`
	Complete   []byte     `cbor:"7,keyasint"`
	Seal       []byte     `cbor:"8,keyasint"`
	Path       wireHashes `cbor:"9,keyasint"`
	Value      []byte     `cbor:"10,keyasint"`
	Proof      []byte     `cbor:"11,keyasint"`
}

type wirePart struct {
	_ struct{} `cbor:",toarray"`

	Index  uint64
	Entry  []byte
	Hashes wireHashes
	Value  []byte
	Proof  []byte
}

var (
	joinedEnc = mustMode(func() cbor.EncOptions {
		o := cbor.CoreDetEncOptions()
		o.NilContainers = cbor.NilContainerAsEmpty
		return o
	}().EncMode())
	joinedDec = mustMode(strictly(maxJoinedParts).DecMode())
	pathDec   = mustMode(strictly(maxHashes + 1).DecMode())
)

// strictly are the options of a decoder of arrays of at most so many elements.
func strictly(elements int) cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8RejectInvalid,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxNestedLevels:   4,
		MaxArrayElements:  elements,
		MaxMapPairs:       16,
	}
}

func mustMode[T any](mode T, err error) T {
	if err != nil {
		panic(err) // the options are constant
	}
	return mode
}

// ParseJoined decodes a joined file and checks its shape, every limit, and that b is its one
// encoding. The entries in it are not parsed. Errors are ErrJoined.
func ParseJoined(b []byte) (*Joined, error) {
	if len(b) > MaxJoinedSize {
		return nil, refuse(ErrJoined, "it has %d bytes, at most %d are read", len(b), MaxJoinedSize)
	}
	var w wireJoined
	if err := joinedDec.Unmarshal(b, &w); err != nil {
		return nil, refuseErr(ErrJoined, err, "it is not the CBOR that the format asks for")
	}
	if w.Format != joinedVersion {
		return nil, refuse(ErrJoined, "its format version is %d, and only version %d is known", w.Format,
			joinedVersion)
	}
	j := &Joined{Checkpoint: w.Checkpoint, Seal: Seal{Leaf: w.Seal}, Version: lookup(w.Value, w.Proof),
		Complete: w.Complete, List: w.List}
	if len(w.Lock) > 0 {
		j.Lock = w.Lock
	}
	var err error
	if j.Seal.Hashes, err = w.Path.fixed(ErrJoined, "the seal's path"); err != nil {
		return nil, err
	}
	if j.Builds, err = parts("build", w.Builds); err != nil {
		return nil, err
	}
	if j.Sources, err = parts("source", w.Sources); err != nil {
		return nil, err
	}
	again, err := j.Marshal()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, refuse(ErrJoined, "it is not in its one encoding")
	}
	return j, nil
}

func parts(what string, wire []wirePart) (out []Part, err error) {
	for i, w := range wire {
		p := Part{Index: w.Index, Entry: w.Entry, Version: lookup(w.Value, w.Proof)}
		if p.Hashes, err = w.Hashes.fixed(ErrJoined, fmt.Sprintf("the path of %s entry %d", what, i)); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// Marshal returns the one encoding of j. It fails if j is not what ParseJoined could return.
func (j *Joined) Marshal() ([]byte, error) {
	switch {
	case len(j.Checkpoint) == 0 || len(j.Checkpoint) > MaxCheckpointSize:
		return nil, refuse(ErrJoined, "its checkpoint has %d bytes, and checkpoints have 1 to %d",
			len(j.Checkpoint), MaxCheckpointSize)
	case len(j.List) > maxJoinedList:
		return nil, refuse(ErrJoined, "its list of compiled crates has %d bytes, at most %d are read",
			len(j.List), maxJoinedList)
	case len(j.Lock) > maxJoinedLock:
		return nil, refuse(ErrJoined, "its Cargo.lock has %d bytes, at most %d are read", len(j.Lock), maxJoinedLock)
	case len(j.Builds) == 0:
		return nil, refuse(ErrJoined, "it holds no build entry, so it says nothing about a binary")
	case j.Version.Value == nil:
		return nil, refuse(ErrJoined, "it does not say which checksum the crate's version has in the log's index")
	case len(j.Complete) > maxPath:
		return nil, refuse(ErrJoined, "its proof that it is complete has %d bytes, at most %d are read", len(j.Complete),
			maxPath)
	}
	if err := errors.Join(j.Seal.bounded(ErrJoined), j.Version.bounded(ErrJoined)); err != nil {
		return nil, err
	}
	w := wireJoined{joinedVersion, j.Checkpoint, nil, nil, j.List, j.Lock, j.Complete, j.Seal.Leaf,
		pathOf(j.Seal.Hashes), j.Version.Value, j.Version.Proof}
	seen := map[uint64]bool{}
	for _, of := range []struct {
		what string
		from []Part
		to   *[]wirePart
	}{{"build", j.Builds, &w.Builds}, {"source", j.Sources, &w.Sources}} {
		if len(of.from) > maxJoinedParts {
			return nil, refuse(ErrJoined, "it has %d %s entries, at most %d are read", len(of.from), of.what,
				maxJoinedParts)
		}
		for i, p := range of.from {
			switch {
			case i > 0 && p.Index <= of.from[i-1].Index:
				return nil, refuse(ErrJoined, "its %s entries are not strictly ascending by index: %d follows %d",
					of.what, p.Index, of.from[i-1].Index)
			case seen[p.Index]:
				return nil, refuse(ErrJoined, "the entry with the index %d is there as a build and as a source",
					p.Index)
			}
			if err := p.bounded(of.what, i); err != nil {
				return nil, err
			}
			seen[p.Index] = true
			*of.to = append(*of.to, wirePart{Index: p.Index, Entry: p.Entry, Hashes: pathOf(p.Hashes), Value: p.Version.Value,
				Proof: p.Version.Proof})
		}
	}
	b, err := joinedEnc.Marshal(w)
	if err != nil {
		return nil, refuseErr(ErrJoined, err, "it cannot be encoded")
	}
	if len(b) > MaxJoinedSize {
		return nil, refuse(ErrJoined, "it would have %d bytes, at most %d are read", len(b), MaxJoinedSize)
	}
	return b, nil
}

// bounded wants a part to have the form of one: what and i say where it stands.
func (p Part) bounded(what string, i int) error {
	switch {
	case p.Index > math.MaxInt64:
		return refuse(ErrJoined, "%s entry %d has the index %d, which is not below 2^63", what, i, p.Index)
	case len(p.Entry) == 0 || len(p.Entry) > entry.MaxSize:
		return refuse(ErrJoined, "%s entry %d has %d bytes, and entries have 1 to %d", what, i, len(p.Entry), entry.MaxSize)
	case len(p.Hashes) > maxHashes:
		return refuse(ErrJoined, "%s entry %d has a path of %d hashes, and a tree needs at most %d", what, i, len(p.Hashes),
			maxHashes)
	case what == "build" && (p.Version.Value != nil || len(p.Version.Proof) > 0):
		return refuse(ErrJoined, "build entry %d has a look-up of its own, and the file has one for all", i)
	case what == "source" && p.Version.Value == nil:
		return refuse(ErrJoined, "source entry %d comes without what the log's index holds of its version", i)
	}
	return p.Version.bounded(ErrJoined)
}

// Bundle returns the bundle of a source entry under the file's checkpoint.
func (j *Joined) Bundle(p Part) ([]byte, error) {
	return (&Bundle{p.Index, p.Hashes, j.Checkpoint, p.Entry, j.Seal, p.Version}).Marshal()
}

// Logged are the entries of a joined file that are in the log, as Check saw. Builds and Elsewhere together are
// all build entries that the log holds of a binary of that name, for that target, of that .crate, as of Checkpoint;
// see Joined.
type Logged struct {
	Checkpoint Checkpoint
	Subject    entry.Subject // of Builds
	First      index.Version // which entry gave the subject's version its one checksum in this log
	Builds     []LoggedBuild
	Elsewhere  []LoggedBuild // about the same .crate under another name or registry
	Sources    []LoggedSource
}

// LoggedBuild is a build entry that the log holds. Its proof was not looked at.
type LoggedBuild struct {
	Index uint64
	Entry *entry.Entry
	Claim *entry.Build
}

// LoggedSource is a source entry that the log holds, and that is not void. Its proof was not looked at.
type LoggedSource struct {
	Index uint64
	Entry *entry.Entry
	Part  Part
}

// Check verifies the checkpoint under a policy and its seal, and that the log holds every entry of the file:
// build claims about one binary, for one target, of one .crate, all that there are, and source claims, one of a crate;
// and that none is void. It looks at no proof, and MaxAge, Now and AllowNoWitnesses are all that counts of the
// rules. Errors are those of CheckCheckpointRules, ErrSeal, ErrEntry, ErrInclusion, ErrVoid and ErrJoined.
func (j *Joined) Check(policy *Policy, rules Rules) (*Logged, error) {
	c, err := policy.CheckCheckpointRules(j.Checkpoint, rules)
	if err != nil {
		return nil, err
	}
	seal, err := j.Seal.Check(c)
	if err != nil {
		return nil, err
	}
	out := &Logged{Checkpoint: c}
	if err := j.builds(out, seal); err != nil {
		return nil, err
	}
	subjects, size := map[entry.Subject]bool{}, 0
	for _, p := range j.Sources {
		e, err := p.open(c)
		if err != nil {
			return nil, err
		}
		if size += len(p.Entry) + e.Inflated(); size > maxJoinedEntries {
			return nil, refuse(ErrJoined, "its source entries, with the workspaces' manifests in them, take more than %d bytes",
				maxJoinedEntries)
		}
		if _, ok := e.Claim.(*entry.Source); !ok {
			return nil, refuse(ErrJoined, "entry %d stands among the source entries, and is a claim of the kind "+
				"%q", p.Index, e.Claim.Kind())
		}
		if subjects[e.Subject] {
			return nil, refuse(ErrJoined, "entry %d is a second source entry of %s %s", p.Index, e.Subject.Name,
				e.Subject.Version)
		}
		if _, err := p.Version.CheckEntry(seal, e.Subject, p.Index); err != nil {
			return nil, err
		}
		subjects[e.Subject] = true
		out.Sources = append(out.Sources, LoggedSource{p.Index, e, p})
	}
	return out, nil
}

// builds verifies the build entries, and that they are all.
func (j *Joined) builds(out *Logged, seal *entry.Seal) error {
	var all []LoggedBuild
	var said index.Map
	for _, p := range j.Builds {
		e, err := p.open(out.Checkpoint)
		if err != nil {
			return err
		}
		claim, ok := e.Claim.(*entry.Build)
		if !ok {
			return refuse(ErrJoined, "entry %d stands among the build entries, and is a claim of the kind %q", p.Index,
				e.Claim.Kind())
		}
		all = append(all, LoggedBuild{p.Index, e, claim})
		first := all[0]
		if e.Subject.SHA256 != first.Entry.Subject.SHA256 || claim.Binary != first.Claim.Binary ||
			claim.Target != first.Claim.Target {
			return refuse(ErrJoined, "entry %d is about the binary %s of %s %s for %s, and the file is about another one",
				p.Index, claim.Binary, e.Subject.Name, e.Subject.Version, claim.Target)
		}
		if err := said.AddLeaf(p.Index, e); err != nil {
			return refuseErr(ErrEntry, err, "entry %d", p.Index)
		}
	}
	under := index.BinaryPrefix(all[0].Entry.Subject.SHA256, all[0].Claim.Binary, all[0].Claim.Target)
	rows := slices.Collect(said.Snapshot().Rows(under))
	if err := index.VerifyPrefix(seal.Root, under, rows, j.Complete); err != nil {
		return refuseErr(ErrJoined, err, "its build entries are not shown to be all that the log holds of the binary")
	}
	var err error // of the last, if the index says of none that the .crate is its version's
	for _, b := range all {
		if out.First, err = j.Version.CheckEntry(seal, b.Entry.Subject, b.Index); err == nil {
			out.Subject = b.Entry.Subject
			break
		}
	}
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.Entry.Subject != out.Subject {
			out.Elsewhere = append(out.Elsewhere, b)
			continue
		}
		if _, err := j.Version.CheckEntry(seal, b.Entry.Subject, b.Index); err != nil {
			return err
		}
		out.Builds = append(out.Builds, b)
	}
	return nil
}

// open parses an entry that the checkpoint's tree holds.
func (p Part) open(c Checkpoint) (*entry.Entry, error) {
	if err := includes(c, p.Index, p.Entry, p.Hashes, ErrInclusion); err != nil {
		return nil, err
	}
	e, err := entry.Parse(p.Entry)
	if err != nil {
		return nil, refuseErr(ErrEntry, err, "entry %d", p.Index)
	}
	return e, nil
}
