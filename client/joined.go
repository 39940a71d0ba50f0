package client

import (
	"bytes"
	"crypto/sha256"
	"math"

	"github.com/fxamacker/cbor/v2"

	"cratelog/entry"
)

// MaxJoinedSize is the largest size of a joined file in bytes.
const MaxJoinedSize = 8 << 20

const (
	joinedVersion = 1

	maxJoinedParts = 8192
	maxJoinedList  = 512 << 10
	maxJoinedLock  = 4 << 20
)

// Joined is a file NAME.builds: all that is logged about one binary of one crate, under one
// checkpoint, so that it can be verified offline with the .crates at hand. It is one item of
// deterministically encoded CBOR (RFC 8949, section 4.2.1) of at most 8 MiB. In CDDL:
//
//	joined = {
//	  1: 1,                          ; version of the format
//	  2: bstr .size (1..131072),     ; the checkpoint, a signed note
//	  3: [1*8192 part],              ; build entries: who says so, and who says otherwise
//	  4: [*8192 part],               ; source entries: of the crate, and of those compiled into it
//	  5: bstr .size (0..524288),     ; the list of the compiled crates
//	  6: bstr .size (0..4194304),    ; the commit's Cargo.lock if the crate's follows from it, else empty
//	  7: bstr .size 0,               ; proof that 3 is complete: there is none before logs are sealed
//	}
//
//	part = [uint, bstr .size (1..65535), [*63 bstr .size 32]]  ; index, entry, RFC 6962 inclusion path
//
// Parts are strictly ascending by index in 3 and in 4, and no index stands in both. Nothing in it
// is to be believed before Check has looked at it, and that the log has no other build entry it
// does not show at all.
type Joined struct {
	Checkpoint []byte
	Builds     []Part
	Sources    []Part
	List       []byte
	Lock       []byte // nil for none
}

// Part is one entry of a log with its inclusion path.
type Part struct {
	Index  uint64              // below 2^63
	Entry  []byte              // as the log holds it
	Hashes [][sha256.Size]byte // the leaf's sibling first; at most 63
}

type wireJoined struct {
	Version    uint64     `cbor:"1,keyasint"`
	Checkpoint []byte     `cbor:"2,keyasint"`
	Builds     []wirePart `cbor:"3,keyasint"`
	Sources    []wirePart `cbor:"4,keyasint"`
	List       []byte     `cbor:"5,keyasint"`
	Lock       []byte     `cbor:"6,keyasint"`
	Complete   []byte     `cbor:"7,keyasint"`
}

type wirePart struct {
	_ struct{} `cbor:",toarray"`

	Index  uint64
	Entry  []byte
	Hashes wireHashes
}

// wireHashes is a path. It is decoded by itself, so that a file of 8 MiB with nothing but the empty hashes of
// paths that are too long does not take 24 times its size.
type wireHashes [][]byte

// UnmarshalCBOR decodes a path of one hash too many at most.
func (h *wireHashes) UnmarshalCBOR(b []byte) error { return pathDec.Unmarshal(b, (*[][]byte)(h)) }

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
	if w.Version != joinedVersion {
		return nil, refuse(ErrJoined, "its format version is %d, and only version %d is known", w.Version,
			joinedVersion)
	}
	if len(w.Complete) > 0 {
		return nil, refuse(ErrJoined, "it holds a proof that it is complete, which only a newer version of this "+
			"tool can read")
	}
	j := &Joined{Checkpoint: w.Checkpoint, List: w.List}
	if len(w.Lock) > 0 {
		j.Lock = w.Lock
	}
	var err error
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
		p := Part{Index: w.Index, Entry: w.Entry}
		if len(w.Hashes) > maxHashes {
			return nil, refuse(ErrJoined, "%s entry %d has a path of %d hashes, and a tree needs at most %d", what, i,
				len(w.Hashes), maxHashes)
		}
		for _, h := range w.Hashes {
			if len(h) != sha256.Size {
				return nil, refuse(ErrJoined, "%s entry %d has a hash of %d bytes, and they have %d", what, i,
					len(h), sha256.Size)
			}
			p.Hashes = append(p.Hashes, [sha256.Size]byte(h))
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
	}
	w := wireJoined{Version: joinedVersion, Checkpoint: j.Checkpoint, List: j.List, Lock: j.Lock}
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
			case p.Index > math.MaxInt64:
				return nil, refuse(ErrJoined, "%s entry %d has the index %d, which is not below 2^63", of.what, i,
					p.Index)
			case i > 0 && p.Index <= of.from[i-1].Index:
				return nil, refuse(ErrJoined, "its %s entries are not strictly ascending by index: %d follows %d",
					of.what, p.Index,
					of.from[i-1].Index)
			case seen[p.Index]:
				return nil, refuse(ErrJoined, "the entry with the index %d is there as a build and as a source",
					p.Index)
			case len(p.Entry) == 0 || len(p.Entry) > entry.MaxSize:
				return nil, refuse(ErrJoined, "%s entry %d has %d bytes, and entries have 1 to %d", of.what, i,
					len(p.Entry), entry.MaxSize)
			case len(p.Hashes) > maxHashes:
				return nil, refuse(ErrJoined, "%s entry %d has a path of %d hashes, and a tree needs at most %d",
					of.what, i,
					len(p.Hashes), maxHashes)
			}
			seen[p.Index] = true
			one := wirePart{Index: p.Index, Entry: p.Entry}
			for _, h := range p.Hashes {
				one.Hashes = append(one.Hashes, h[:])
			}
			*of.to = append(*of.to, one)
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

// Bundle returns the bundle of one part under the file's checkpoint.
func (j *Joined) Bundle(p Part) ([]byte, error) {
	return (&Proof{Index: p.Index, Hashes: p.Hashes, Checkpoint: j.Checkpoint, Extra: p.Entry}).Marshal()
}

// Logged are the entries of a joined file that are in the log, as Check saw.
type Logged struct {
	Checkpoint Checkpoint
	Subject    entry.Subject // of all builds
	Builds     []LoggedBuild
	Sources    []LoggedSource
}

// LoggedBuild is a build entry that the log holds. Its proof was not looked at.
type LoggedBuild struct {
	Index uint64
	Entry *entry.Entry
	Claim *entry.Build
}

// LoggedSource is a source entry that the log holds. Its proof was not looked at.
type LoggedSource struct {
	Index uint64
	Entry *entry.Entry
	Part  Part
}

// Check verifies the checkpoint under a policy, and that the log holds every entry of the file:
// build claims about one binary, for one target, of one crate, and source claims, one of a crate. It looks
// at no proof, and MaxAge, Now and AllowNoWitnesses are all that counts of the rules. Errors are
// those of CheckCheckpointRules, ErrEntry, ErrInclusion and ErrJoined.
func (j *Joined) Check(policy *Policy, rules Rules) (*Logged, error) {
	c, err := policy.CheckCheckpointRules(j.Checkpoint, rules)
	if err != nil {
		return nil, err
	}
	out := &Logged{Checkpoint: c}
	var first *entry.Build
	for _, p := range j.Builds {
		e, err := j.open(p, c)
		if err != nil {
			return nil, err
		}
		claim, ok := e.Claim.(*entry.Build)
		if !ok {
			return nil, refuse(ErrJoined, "entry %d stands among the build entries, and is a claim of the kind "+
				"%q", p.Index,
				e.Claim.Kind())
		}
		if first == nil {
			first, out.Subject = claim, e.Subject
		}
		if e.Subject != out.Subject || claim.Binary != first.Binary || claim.Target != first.Target {
			return nil, refuse(ErrJoined, "entry %d is about the binary %s of %s %s for %s, and the file is about "+
				"another one", p.Index,
				claim.Binary, e.Subject.Name, e.Subject.Version, claim.Target)
		}
		out.Builds = append(out.Builds, LoggedBuild{p.Index, e, claim})
	}
	subjects := map[entry.Subject]bool{}
	for _, p := range j.Sources {
		e, err := j.open(p, c)
		if err != nil {
			return nil, err
		}
		if _, ok := e.Claim.(*entry.Source); !ok {
			return nil, refuse(ErrJoined, "entry %d stands among the source entries, and is a claim of the kind "+
				"%q", p.Index,
				e.Claim.Kind())
		}
		if subjects[e.Subject] {
			return nil, refuse(ErrJoined, "entry %d is a second source entry of %s %s", p.Index, e.Subject.Name,
				e.Subject.Version)
		}
		subjects[e.Subject] = true
		out.Sources = append(out.Sources, LoggedSource{p.Index, e, p})
	}
	return out, nil
}

// open parses an entry that the checkpoint's tree holds.
func (j *Joined) open(p Part, c Checkpoint) (*entry.Entry, error) {
	if err := checkInclusion(&Proof{Index: p.Index, Hashes: p.Hashes, Extra: p.Entry}, c); err != nil {
		return nil, err
	}
	e, err := entry.Parse(p.Entry)
	if err != nil {
		return nil, refuseErr(ErrEntry, err, "entry %d", p.Index)
	}
	return e, nil
}
