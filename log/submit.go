package log

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/index"
)

// Reason is the machine-readable name of a refusal.
type Reason string

// The reasons. Their strings are part of the HTTP interface and do not change.
const (
	MalformedRequest Reason = "malformed-request" // the HTTP body is not what the interface asks for
	MalformedEntry   Reason = "malformed-entry"   // the entry does not parse, or is not canonical
	EntryTooLarge    Reason = "entry-too-large"   // more than entry.MaxSize bytes
	CrateTooLarge    Reason = "crate-too-large"   // more than the log's limits
	UnknownProgram   Reason = "unknown-program"   // the proof is of a program that this log does not accept
	UnknownClaim     Reason = "unknown-claim"     // the claim is of a kind that this log cannot check
	VersionConflict  Reason = "version-conflict"  // the crate version stands in the log with another checksum
	CrateMismatch    Reason = "crate-mismatch"    // the .crate is not the one that the entry names
	CrateRefused     Reason = "crate-refused"     // the .crate does not bear out the claim
	ProofInvalid     Reason = "proof-invalid"     // the proof does not verify
	ProgramWithdrawn Reason = "program-withdrawn" // nothing new is accepted under the proof's program
	TooManyClaims    Reason = "too-many-claims"   // the version has all the claims that it may have
	OpeningTooLarge  Reason = "opening-too-large" // more than opening.MaxSize bytes
	OpeningRefused   Reason = "opening-refused"   // it is not the claim's, or the log keeps none
	OpeningsFull     Reason = "openings-full"     // no room is left for openings

	// Of a log that asks registries.
	RegistryRefused     Reason = "registry-refused"     // it takes no crates of the registry that the entry names
	RegistryMismatch    Reason = "registry-mismatch"    // the registry lists the version with another checksum
	NotInRegistry       Reason = "not-in-registry"      // the registry does not list the version: try again when it does
	RegistryUnavailable Reason = "registry-unavailable" // the registry could not be asked: try again later

	// Of a build claim.
	BuildRefused  Reason = "build-refused"   // of a set, toolchain, environment or recipe that this log does not take
	SetWithdrawn  Reason = "set-withdrawn"   // nothing new is accepted of the set of builders
	ListTooLarge  Reason = "list-too-large"  // more than build.MaxList bytes
	ListRefused   Reason = "list-refused"    // the list of compiled crates is not the claim's, or is none
	SourceMissing Reason = "source-missing"  // no claim about the sources is logged
	SourceRefused Reason = "source-refused"  // the bundle that came with it does not show one
	TooManyBuilds Reason = "too-many-builds" // the set has said as much about the build as it has members
	// BuilderContradiction: the builder has said something else of the same build.
	BuilderContradiction Reason = "builder-contradiction"

	Timeout          Reason = "timeout"            // the upload was too slow
	TooManyRequests  Reason = "too-many-requests"  // of one client; try again later
	StorageFailed    Reason = "storage-failed"     // the log cannot write; try again later
	Overloaded       Reason = "overloaded"         // try again later
	NotPublished     Reason = "not-yet-published"  // accepted and kept: submit again to get the bundle
	Halted           Reason = "halted"             // the log found itself inconsistent and accepts nothing
	ShuttingDown     Reason = "shutting-down"      // try again later
	Starting         Reason = "starting"           // nothing is published yet: try again later
	Damaged          Reason = "damaged"            // what was asked for is damaged on the log's disk, and is not handed out
	Frozen           Reason = "frozen"             // the log has ended; it may name a successor
	ReadOnly         Reason = "read-only"          // a copy for readers
	NotFound         Reason = "not-found"          // no such entry
	VoidEntry        Reason = "void-entry"         // the version had another checksum before it
	TooManyRows      Reason = "too-many-rows"      // of the index, for one page
	MethodNotAllowed Reason = "method-not-allowed" // wrong HTTP method
	Internal         Reason = "internal"           // our fault
)

// Refusal is the answer to a submission that got no bundle.
type Refusal struct {
	Reason  Reason
	Message string // a sentence for a person

	// Of a VersionConflict or a BuilderContradiction, the entry that stands, if it is published.
	Index  *uint64
	Bundle []byte

	RetryAfter time.Duration // 0: trying again does not help
	Err        error         // the cause; not for strangers
}

func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Message }

func (r *Refusal) Unwrap() error { return r.Err }

func refuse(reason Reason, err error, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...), Err: err}
}

// later is a refusal that asks to try again, at a time that differs from
// caller to caller.
func later(reason Reason, base time.Duration, err error, format string, args ...any) *Refusal {
	r := refuse(reason, err, format, args...)
	r.RetryAfter = base + rand.N(base)
	return r
}

// submission is a parsed entry on its way through admission.
type submission struct {
	raw    []byte
	entry  *entry.Entry
	source *entry.Source // nil: it is a build
	build  *entry.Build  // nil: it is not
	proven
	built
	row     row // but for its index
	facts   index.Facts
	version index.Key // of the crate version

	// Set by checkBuild:
	crates []byte // the list of compiled crates
	proved bool   // all is checked but what only the index says

	// Set by check:
	list     *crate.List // of the .crate
	nameless bool        // the .crate names no commit
	opening  []byte      // nil: none came with it
}

// held is how many bytes of memory wait with it for its place.
func (s *submission) held() int { return len(s.raw) + len(s.opening) + len(s.crates) }

// maxNameless is the number of claims, with proofs of one program, about a crate version
// whose .crate names no commit. One that does is held to that commit; of the others anybody
// who has the files in a commit of his own can make a claim.
const maxNameless = 8

// Submit admits an entry with its .crate, and returns the bundle: the proof
// that it stands in the log, under a checkpoint that satisfies the policy.
// For an entry that is already in the log (same subject, claim and program) it
// returns the bundle of the one that stands, and reads nothing else. opening yields
// the claim's opening, if the submitter wants the log to keep it, or no byte; it may
// be nil, and is read after the .crate.
//
// Every error that tells the submitter something is a *Refusal. Nothing that
// is refused leaves a trace, except NotPublished: that entry is in the tree
// and stays there. When ctx ends after the checks, the entry goes on.
func (l *Log) Submit(ctx context.Context, entryBytes []byte, crateData, opening io.Reader) (bundle []byte, err error) {
	s, err := l.parse(entryBytes)
	if err == nil && s.source == nil {
		err = refuse(MalformedRequest, nil, "The parts of a claim about a build are entry, list and perhaps source.")
	}
	return l.submitted(ctx, s, err, crateData, opening)
}

// submitted is Submit and SubmitBuild of what parse returned, with the parts that follow the entry.
func (l *Log) submitted(ctx context.Context, s *submission, parsed error, second, third io.Reader) (bundle []byte,
	err error) {
	start := time.Now()
	known := false
	defer func() { l.observe(start, known, err) }()
	if parsed != nil {
		return nil, parsed
	}
	check := l.check
	if s.build != nil {
		check = l.checkBuild
	}
	bundle, known, err = l.admit(ctx, s, func() error { return check(ctx, s, second, third) })
	if err == nil && known && s.build != nil {
		if err = l.keepMissingList(ctx, s, second); err != nil {
			bundle = nil
		}
	}
	return bundle, err
}

// admit answers with the bundle of what stands, or checks and sequences what is new.
func (l *Log) admit(ctx context.Context, s *submission, check func() error) (bundle []byte, known bool, err error) {
	if err := l.accepting(); err != nil {
		return nil, false, err
	}
	idx, known, err := l.standing(ctx, s)
	if err != nil {
		return nil, known, l.conflict(ctx, s, err)
	}
	if !known {
		if err := l.canStore(ctx); err != nil { // before it costs anything
			return nil, known, err
		}
		if err := l.takesRegistry(s.entry.Subject); err != nil {
			return nil, known, err
		}
		if err := check(); err != nil {
			return nil, known, err
		}
		if err := l.listed(ctx, s.entry.Subject); err != nil { // last: a stranger's word makes nobody ask
			return nil, known, err
		}
		if idx, err = l.sequence(ctx, s); err != nil {
			return nil, known, err
		}
	}
	bundle, err = l.awaitBundle(ctx, idx)
	return bundle, known, err
}

func (l *Log) observe(start time.Time, known bool, err error) {
	var r *Refusal
	result := "accepted"
	switch {
	case errors.As(err, &r):
		result = string(r.Reason)
	case errors.Is(err, context.Canceled):
		result = "canceled"
	case err != nil:
		result = string(Internal)
	case known:
		result = "known"
	default:
		l.metrics.duration.Observe(time.Since(start).Seconds())
	}
	l.answered(result)
}

// parse does everything that needs neither the index nor the .crate. Of an entry that is one, but that this log
// does not take, the submission says beside the error what it is about.
func (l *Log) parse(raw []byte) (*submission, error) {
	if len(raw) > entry.MaxSize {
		return nil, refuse(EntryTooLarge, nil,
			"The entry has more than %d bytes, the most that a log can hold.", entry.MaxSize)
	}
	e, err := entry.Parse(raw)
	if err != nil {
		return nil, refuse(MalformedEntry, err, "The entry is not a canonical cratelog entry: %v.", err)
	}
	s := &submission{raw: bytes.Clone(raw), entry: e, row: row{leaf: entry.LeafHash(raw)}}
	if _, known := l.programs[e.Proof.Program]; !known {
		return s, refuse(UnknownProgram, nil,
			"The proof is of program %x, which this log does not accept; /v1/log lists those it does.", e.Proof.Program)
	}
	err = s.row.ofEntry(e)
	s.proven, s.built, s.facts, s.version = s.row.proven, s.row.built, s.row.facts(), s.row.mapKey()
	switch c := e.Claim.(type) {
	case *entry.Source:
		s.source = c
	case *entry.Build:
		s.build = c
	default:
		return s, refuse(UnknownClaim, nil, "This log cannot check claims of the kind %q yet.", e.Claim.Kind())
	}
	if err != nil {
		return s, refuse(MalformedEntry, err, "The entry is not a canonical cratelog entry: %v.", err)
	}
	return s, nil
}

// standing answers from the map of all that is in the tree, and the index: is the entry there already, or, an
// error, does something that stands keep it out? That is a *conflictError if the version has another checksum.
func (l *Log) standing(ctx context.Context, s *submission) (idx uint64, known bool, err error) {
	stop := l.sealing.measure()
	version, same := l.leaves.standing(s.facts)
	stop()
	switch {
	case version != nil && version.SHA256 != s.entry.Subject.SHA256:
		return 0, false, &conflictError{*version}
	case same != nil:
		return *same, true, nil
	case !l.programs[s.program]:
		return 0, false, refuse(ProgramWithdrawn, nil, "This log accepts nothing new under the program %x, which was withdrawn: "+
			"prove the claim again under one that /v1/log lists, and that is not.", s.program)
	case version == nil:
		return 0, false, nil
	case s.proved: // what a tag says counts only with a proof
		return 0, false, l.builderStanding(ctx, s)
	case !s.nameless:
		return 0, false, nil
	}
	k := keyOf(s.entry.Subject)
	n, err := l.index.count(ctx, k, s.program, maxNameless)
	if err == nil && n >= maxNameless {
		err = refuse(TooManyClaims, nil, "The log holds %d claims about %v with proofs of this program, and takes no more: "+
			"its .crate names no commit, so that each commit with the same files makes one. "+
			"/v1/crates/NAME/VERSION/claims lists them.", n, k)
	}
	return 0, false, err
}

// conflictError is a version conflict. With mu held there is no time to wait for the
// standing entry's bundle.
type conflictError struct{ index.Version }

func (e *conflictError) Error() string { return fmt.Sprintf("version conflict with entry %d", e.First) }

// conflict makes of a *conflictError or *contradictionError the refusal that shows the entry that
// stands.
func (l *Log) conflict(ctx context.Context, s *submission, err error) error {
	var b *contradictionError
	if errors.As(err, &b) {
		return l.contradiction(ctx, s, b.idx)
	}
	var c *conflictError
	if !errors.As(err, &c) {
		return err
	}
	k, where := keyOf(s.entry.Subject), fmt.Sprintf("as entry %d", c.First)
	if c.Inherited {
		where = "as " + l.inheritedFrom(c.First)
	} else if row, found, err := l.index.at(ctx, c.First); err == nil && found && row.versionKey != k {
		where += fmt.Sprintf(", which spells it %v", row.versionKey)
	}
	r := refuse(VersionConflict, nil, "%v is in the log with another checksum, %s: a version has one checksum in a "+
		"log, and the first one stays, even where its registry deleted it and took the version again with other bytes.",
		k, where)
	if c.Inherited {
		return r
	}
	r.Index = &c.First
	if r.Bundle, err = l.awaitBundle(ctx, c.First); err != nil {
		l.log.Warn("no bundle for a version conflict", "index", c.First, "err", err)
	}
	return r
}

// check decides whether the claim is true: first the proof, so that nothing of the .crate is read,
// inflated or parsed that no proof stands for, then the .crate. It ends between two steps when ctx does.
func (l *Log) check(ctx context.Context, s *submission, crateData, openingData io.Reader) error {
	defer closeAll(crateData, openingData)
	l.metrics.checking.Inc()
	defer l.metrics.checking.Dec()
	chain, err := l.checkProof(ctx, s)
	if err != nil {
		return err
	}
	return l.checkFiles(ctx, s, chain, crateData, openingData)
}

// checkFiles reads the .crate and what may follow it, which must be there already, and checks both, in one
// of the cores' places.
func (l *Log) checkFiles(ctx context.Context, s *submission, chain entry.Chain, crateData, openingData io.Reader) error {
	turn, err := l.door.cores.begin(ctx, clientOf(ctx), 0, false)
	if err != nil {
		return l.noTurn(err)
	}
	defer turn.end()
	buffer := crateBuffers.Get().(*bytes.Buffer)
	defer func() {
		if buffer.Cap() <= mostPooled {
			buffer.Reset()
			crateBuffers.Put(buffer)
		}
	}()
	raw, err := readPartInto(buffer, crateData, l.limits.Crate.Compressed, CrateTooLarge, ".crate")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	if sum != s.entry.Subject.SHA256 {
		return refuse(CrateMismatch, nil, "The .crate has the SHA-256 %x, but the entry is about %x.", sum,
			s.entry.Subject.SHA256)
	}
	if s.opening, err = l.readOpening(openingData); err != nil {
		return err
	}
	err = l.checkCrate(ctx, s, chain, raw, turn)
	var r *Refusal
	if errors.As(err, &r) && (r.Reason == CrateRefused || r.Reason == ProofInvalid) {
		l.door.rates.charge(clientOf(ctx), badCrateCost(turn.used))
	}
	return err
}

// crateBuffers hold .crates while they are checked. Nothing of a .crate is kept that shares its bytes.
var crateBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// mostPooled is the largest buffer that is kept for the next .crate.
const mostPooled = 1 << 20

// readPart reads what was uploaded, at most limit bytes of it.
func readPart(r io.Reader, limit int64, tooLarge Reason, what string) ([]byte, error) {
	return readPartInto(new(bytes.Buffer), r, limit, tooLarge, what)
}

func readPartInto(b *bytes.Buffer, r io.Reader, limit int64, tooLarge Reason, what string) ([]byte, error) {
	_, err := b.ReadFrom(io.LimitReader(r, limit+1))
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		return nil, refusal
	case err != nil:
		return nil, refuse(MalformedRequest, err, "The %s could not be read to its end.", what)
	case int64(b.Len()) > limit:
		return nil, refuse(tooLarge, nil, "The %s has more than %d bytes, the limit of this log.", what, limit)
	}
	return b.Bytes(), nil
}

// checkCrate recomputes the file list and the manifest facts from the .crate, whose SHA-256 is the
// subject's, and compares with them what the proof and the opening show. It lets shorter work of others go first.
func (l *Log) checkCrate(ctx context.Context, s *submission, chain entry.Chain, raw []byte, turn *turn) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	limits := l.limits.Crate
	limits.Pause = turn
	c, err := crate.ReadHashed(raw, s.entry.Subject.SHA256, s.entry.Subject.Name, s.entry.Subject.Version, limits)
	if errors.Is(err, errBusy) {
		return l.noTurn(err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return refuse(CrateRefused, err, "The .crate is refused: %v.", err)
	}
	s.list, err = c.Check(s.entry.Subject, s.source)
	if errors.Is(err, errBusy) {
		return l.noTurn(err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return refuse(CrateRefused, err, "The .crate does not bear out the claim: %v.", err)
	}
	if err := chain.Check(s.list.Bytes); err != nil {
		return refuse(ProofInvalid, err, "The proof does not verify for this claim.")
	}
	s.nameless = !c.NamesCommit()
	err = l.checkOpening(s)
	s.list = nil // it may wait long
	return err
}

// accepting returns the refusal of a log that is closed or halted.
func (l *Log) accepting() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acceptingLocked()
}

// isHalted is the refusal of a log that has halted.
func (l *Log) isHalted() error {
	return refuse(Halted, l.halt.reason(),
		"The log found itself inconsistent and accepts nothing until its operator has looked.")
}

func (l *Log) acceptingLocked() error {
	if err := l.ended(); err != nil {
		return err
	}
	if l.halt.reason() != nil {
		return l.isHalted()
	}
	if l.behind != nil {
		return l.isBehind(l.behind)
	}
	if l.closing {
		return later(ShuttingDown, l.retry, nil, "The log is shutting down: try again later.")
	}
	return nil
}

// awaitBundle waits until entry idx is published, and returns its bundle.
func (l *Log) awaitBundle(ctx context.Context, idx uint64) ([]byte, error) {
	wait, cancel := context.WithTimeout(ctx, l.cfg.PublishWait.Duration)
	defer cancel()
	defer context.AfterFunc(l.staying, cancel)()
	head, err := l.published.wait(wait, idx+1)
	if err != nil && ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, later(NotPublished, l.retry, err, "The entry was accepted as number %d, but it is not yet published "+
			"under a checkpoint that enough witnesses have signed: submit it again to get the bundle.", idx)
	}
	return l.bundle(ctx, idx, head)
}
