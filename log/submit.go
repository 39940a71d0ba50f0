package log

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
)

// Reason is the machine-readable name of a refusal.
type Reason string

// The reasons. Their strings are part of the HTTP interface and do not change.
const (
	MalformedRequest Reason = "malformed-request"  // the HTTP body is not what the interface asks for
	MalformedEntry   Reason = "malformed-entry"    // the entry does not parse, or is not canonical
	EntryTooLarge    Reason = "entry-too-large"    // more than entry.MaxSize bytes
	CrateTooLarge    Reason = "crate-too-large"    // more than the log's limits
	UnknownProgram   Reason = "unknown-program"    // the proof is of a program that this log does not accept
	UnknownClaim     Reason = "unknown-claim"      // the claim is of a kind that this log cannot check
	VersionConflict  Reason = "version-conflict"   // the crate version stands in the log with another checksum
	CrateMismatch    Reason = "crate-mismatch"     // the .crate is not the one that the entry names
	CrateRefused     Reason = "crate-refused"      // the .crate does not bear out the claim
	ProofInvalid     Reason = "proof-invalid"      // the proof does not verify
	Overloaded       Reason = "overloaded"         // try again later
	NotPublished     Reason = "not-yet-published"  // accepted and kept: submit again to get the bundle
	Halted           Reason = "halted"             // the log found itself inconsistent and accepts nothing
	ShuttingDown     Reason = "shutting-down"      // try again later
	NotFound         Reason = "not-found"          // no such entry
	MethodNotAllowed Reason = "method-not-allowed" // wrong HTTP method
	Internal         Reason = "internal"           // our fault
)

// Refusal is the answer to a submission that got no bundle.
type Refusal struct {
	Reason  Reason
	Message string // a sentence for a person

	// Of a VersionConflict, the entry that stands, if it is published.
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
	raw      []byte
	entry    *entry.Entry
	source   *entry.Source
	identity [32]byte
}

// Submit admits an entry with its .crate, and returns the bundle: the proof
// that it stands in the log, under a checkpoint that satisfies the policy.
// For an entry that is already in the log (same subject and claim) it returns
// the bundle of the one that stands, and does not read the .crate.
//
// Every error that tells the submitter something is a *Refusal. Nothing that
// is refused leaves a trace, except NotPublished: that entry is in the tree
// and stays there. When ctx ends after the checks, the entry goes on.
func (l *Log) Submit(ctx context.Context, entryBytes []byte, crateData io.Reader) (bundle []byte, err error) {
	start := time.Now()
	known := false
	defer func() { l.observe(start, known, err) }()

	s, err := l.parse(entryBytes)
	if err != nil {
		return nil, err
	}
	if err := l.accepting(); err != nil {
		return nil, err
	}
	idx, known, err := l.standing(ctx, s)
	if err != nil {
		return nil, l.conflict(ctx, s, err)
	}
	if !known {
		if err := l.check(ctx, s, crateData); err != nil {
			return nil, err
		}
		if idx, err = l.sequence(ctx, s); err != nil {
			return nil, err
		}
	}
	return l.awaitBundle(ctx, idx)
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
	l.metrics.submissions.WithLabelValues(result).Inc()
}

// parse does everything that needs neither the index nor the .crate.
func (l *Log) parse(raw []byte) (*submission, error) {
	if len(raw) > entry.MaxSize {
		return nil, refuse(EntryTooLarge, nil,
			"The entry has more than %d bytes, the most that a log can hold.", entry.MaxSize)
	}
	e, err := entry.Parse(raw)
	if err != nil {
		return nil, refuse(MalformedEntry, err, "The entry is not a canonical cratelog entry: %v.", err)
	}
	if !l.programs[e.Proof.Program] {
		return nil, refuse(UnknownProgram, nil,
			"The proof is of program %x, which this log does not accept; /v1/log lists those it does.", e.Proof.Program)
	}
	src, ok := e.Claim.(*entry.Source)
	if !ok {
		return nil, refuse(UnknownClaim, nil, "This log cannot check claims of the kind %q yet.", e.Claim.Kind())
	}
	id, err := e.Identity()
	if err != nil {
		return nil, refuse(MalformedEntry, err, "The entry is not a canonical cratelog entry: %v.", err)
	}
	return &submission{raw: bytes.Clone(raw), entry: e, source: src, identity: id}, nil
}

// standing answers from the index: is the entry there already, or, a *conflictError,
// does something else stand for this version?
func (l *Log) standing(ctx context.Context, s *submission) (idx uint64, known bool, err error) {
	r, found, err := l.index.byIdentity(ctx, s.identity)
	if err != nil || found {
		return r.idx, found, err
	}
	r, found, err = l.index.byVersion(ctx, s.entry.Subject.Name, s.entry.Subject.Version)
	if err == nil && found && r.sha256 != s.entry.Subject.SHA256 {
		err = &conflictError{r.idx}
	}
	return 0, false, err
}

// conflictError is a version conflict. With mu held there is no time to wait for the
// standing entry's bundle.
type conflictError struct{ idx uint64 }

func (e *conflictError) Error() string { return fmt.Sprintf("version conflict with entry %d", e.idx) }

// conflict makes of a *conflictError the refusal that shows the entry that stands.
func (l *Log) conflict(ctx context.Context, s *submission, err error) error {
	var c *conflictError
	if !errors.As(err, &c) {
		return err
	}
	r := refuse(VersionConflict, nil,
		"%s %s is in the log with another checksum, as entry %d: a version is logged once.",
		s.entry.Subject.Name, s.entry.Subject.Version, c.idx)
	r.Index = &c.idx
	if r.Bundle, err = l.awaitBundle(ctx, c.idx); err != nil {
		l.log.Warn("no bundle for a version conflict", "index", c.idx, "err", err)
	}
	return r
}

// check decides whether the claim is true: first the proof, so that nothing is read,
// inflated or parsed that no proof stands for, then the .crate. It holds one of the
// limited places for uploads from the first byte to the last check, and ends between two
// steps when ctx does.
func (l *Log) check(ctx context.Context, s *submission, crateData io.Reader) error {
	select {
	case l.uploads <- struct{}{}:
		defer func() { <-l.uploads }()
	default:
		return later(Overloaded, l.retry, nil, "The log is busy with other submissions: try again later.")
	}
	l.metrics.checking.Inc()
	defer l.metrics.checking.Dec()

	// Outside of the cores' places, so that proofs come together.
	chain, err := l.proofs.Chain(s.entry)
	if err != nil {
		return refuse(ProofInvalid, err, "The proof does not verify for this claim.")
	}
	raw, err := l.readCrate(crateData)
	if err != nil {
		return err
	}
	if sha256.Sum256(raw) != s.entry.Subject.SHA256 {
		return refuse(CrateMismatch, nil, "The .crate has the SHA-256 %x, but the entry is about %x.",
			sha256.Sum256(raw), s.entry.Subject.SHA256)
	}
	return l.checkCrate(ctx, s, chain, raw)
}

func (l *Log) readCrate(r io.Reader) ([]byte, error) {
	raw, err := durable.ReadAll(r, l.limits.Crate.Compressed)
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		return nil, refusal
	case errors.Is(err, durable.ErrTooLarge):
		return nil, refuse(CrateTooLarge, nil,
			"The .crate has more than %d bytes, the limit of this log.", l.limits.Crate.Compressed)
	case err != nil:
		return nil, refuse(MalformedRequest, err, "The .crate could not be read to its end.")
	}
	return raw, nil
}

// checkCrate recomputes the file list and the manifest facts from the .crate, and compares them
// with the proof, in one of the cores' places.
func (l *Log) checkCrate(ctx context.Context, s *submission, chain entry.Chain, raw []byte) error {
	select {
	case l.cores <- struct{}{}:
		defer func() { <-l.cores }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil { // also if there was a place at the same time
		return err
	}
	c, err := crate.Read(raw, s.entry.Subject.Name, s.entry.Subject.Version, l.limits.Crate)
	if err != nil {
		return refuse(CrateRefused, err, "The .crate is refused: %v.", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	list, err := c.Check(s.entry.Subject, s.source)
	if err != nil {
		return refuse(CrateRefused, err, "The .crate does not bear out the claim: %v.", err)
	}
	if err := chain.Check(list.Bytes); err != nil {
		return refuse(ProofInvalid, err, "The proof does not verify for this claim.")
	}
	return nil
}

// accepting returns the refusal of a log that is closed or halted.
func (l *Log) accepting() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acceptingLocked()
}

func (l *Log) acceptingLocked() error {
	if l.halt.reason() != nil {
		return refuse(Halted, l.halt.reason(),
			"The log found itself inconsistent and accepts nothing until its operator has looked.")
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
	head, err := l.published.wait(wait, idx)
	if err != nil && ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, later(NotPublished, l.retry, err, "The entry was accepted as number %d, but it is not yet published "+
			"under a checkpoint that enough witnesses have signed: submit it again to get the bundle.", idx)
	}
	return l.bundle(ctx, idx, head)
}
