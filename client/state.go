package client

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"cratelog/evidence"
	"cratelog/internal/durable"
)

// State remembers, in a directory, the newest checkpoint of every log that it
// was given, so that a log that later shows another past is caught.
//
// There is one directory per log, named by the SHA-256 of its origin in hex, and
// in it one file per remembered checkpoint, named by its size in 20 digits: the
// signed note, as it was verified. A file is written whole and never changed, so
// that processes may share the directory; the one with the largest size counts.
//
// What State can and cannot see: two checkpoints of one size with two roots are
// a fork, at once and with evidence. Checkpoints of two sizes can only be
// compared with a consistency proof, which a bundle does not carry. So an older
// checkpoint is let pass unseen, and a newer one is remembered only if the
// caller has a proof; see Standing.
type State struct{ dir string }

// Standing says how a checkpoint relates to the one that was remembered.
type Standing int

const (
	// First: nothing was remembered for this log. It is now.
	First Standing = iota
	// Same: size and root are those that were remembered.
	Same
	// Newer: it is larger, shown to be consistent, and remembered now.
	Newer
	// NewerUnproven: it is larger, and there was no proof. It was neither compared
	// nor remembered.
	NewerUnproven
	// Older: it is smaller. It was neither compared nor remembered: a bundle is
	// as good under an older checkpoint.
	Older
)

// ForkError is evidence that a log signed two different trees of one size. It is
// ErrFork for errors.Is.
type ForkError struct {
	Old, New Checkpoint
	Evidence string // file with both signed notes; see State.Observe
}

func (e *ForkError) Error() string {
	return refuse(ErrFork, "%q signed two trees of %d entries, with the roots %v and %v; both notes are in %s",
		clip(e.Old.Origin), e.Old.Size, e.Old.Root, e.New.Root, e.Evidence).Error()
}

// Unwrap returns ErrFork.
func (e *ForkError) Unwrap() error { return ErrFork }

// OpenState uses a directory, which it creates if it does not exist.
func OpenState(dir string) (*State, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &State{dir}, nil
}

// Observe compares a checkpoint, which a Policy must have verified, with the one
// that is remembered for its log, and remembers it if it is the newest. proof is
// a consistency proof from the remembered checkpoint (Latest) to this one, or
// nil if the caller has none; it matters only if the checkpoint is larger.
//
// A fork is a *ForkError. Before it is returned, both signed notes are written to
// fork-<size>-<first digits of both roots>.evidence in the log's directory, a file of
// package evidence, unless there is one from before. A proof that does not hold is
// ErrConsistency, and changes nothing.
func (s *State) Observe(c Checkpoint, proof [][sha256.Size]byte) (Standing, error) {
	if err := os.MkdirAll(s.logDir(c.Origin), 0o700); err != nil {
		return 0, err
	}
	old, known, err := s.Latest(c.Origin)
	if err != nil {
		return 0, err
	}
	switch {
	case !known:
		return First, s.remember(c)
	case c.Size < old.Size:
		return Older, nil
	case c.Size == old.Size && c.Root == old.Root:
		return Same, nil
	case c.Size == old.Size:
		return 0, s.fork(old, c)
	case proof == nil && old.Size > 0:
		return NewerUnproven, nil
	}
	if err := CheckConsistency(old, c, proof); err != nil {
		return 0, err
	}
	return Newer, s.remember(c)
}

// Latest returns what is remembered for a log, and false if nothing is. Of the
// checkpoint, only Origin, Size, Root and Signed are set. Its signatures were
// verified when it was remembered, not now.
func (s *State) Latest(origin string) (Checkpoint, bool, error) {
	sizes, err := s.Sizes(origin)
	if err != nil || len(sizes) == 0 {
		return Checkpoint{}, false, err
	}
	c, err := s.At(origin, sizes[len(sizes)-1])
	return c, err == nil, err
}

// Sizes returns the sizes of all checkpoints that were ever remembered for a log, in
// rising order. Two processes that remember at the same time each see the other's if
// they look after they wrote.
func (s *State) Sizes(origin string) ([]int64, error) {
	entries, err := os.ReadDir(s.logDir(origin))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var sizes []int64
	for _, e := range entries {
		// Of the same length, they sort as the numbers do.
		if n, err := strconv.ParseInt(e.Name(), 10, 64); err == nil && n >= 0 && sizeName(n) == e.Name() {
			sizes = append(sizes, n)
		}
	}
	return sizes, nil
}

// At returns the checkpoint of a size that was remembered for a log, as Latest does.
func (s *State) At(origin string, size int64) (Checkpoint, error) {
	path := filepath.Join(s.logDir(origin), sizeName(size))
	signed, err := durable.Read(path, MaxCheckpointSize)
	if err != nil {
		return Checkpoint{}, err
	}
	end := bytes.LastIndex(signed, []byte("\n\n"))
	c, err := parseTreeHead(string(signed[:end+1]), origin)
	if err != nil || c.Size != size {
		return Checkpoint{}, fmt.Errorf("the remembered checkpoint %s is damaged: look at it, and "+
			"remove it only if you know why; "+
			"what the log showed before is then forgotten", path)
	}
	c.Signed = signed
	return c, nil
}

// remember writes a checkpoint. If another process has remembered one of the
// same size meanwhile, the two are compared.
func (s *State) remember(c Checkpoint) error {
	err := durable.WriteNew(filepath.Join(s.logDir(c.Origin), sizeName(c.Size)), c.Signed, 0o600)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	other, err := s.At(c.Origin, c.Size)
	if err != nil || other.Root == c.Root {
		return err
	}
	return s.fork(other, c)
}

// fork writes the evidence, then accuses.
func (s *State) fork(old, next Checkpoint) error {
	fork := &ForkError{Old: old, New: next, Evidence: "no file, for it could not be written"}
	e, err := evidence.NewFork(old.Signed, next.Signed, nil, evidence.Meta{Observed: time.Now()})
	if err != nil {
		return errors.Join(fork, err)
	}
	b, err := e.Marshal()
	if err != nil {
		return errors.Join(fork, err)
	}
	path := filepath.Join(s.logDir(old.Origin), fmt.Sprintf("fork-%d-%x-%x.evidence", old.Size, old.Root[:4],
		next.Root[:4]))
	if err := durable.WriteNew(path, b, 0o644); err != nil && !errors.Is(err, fs.ErrExist) {
		return errors.Join(fork, err)
	}
	fork.Evidence = path
	return fork
}

// Keys returns the keys of the policy's logs and witnesses, to judge evidence by.
func (p *Policy) Keys() (evidence.Keys, error) {
	var logs, witnesses []string
	for _, l := range p.logs {
		logs = append(logs, l.VKey)
	}
	for _, w := range p.witnesses {
		witnesses = append(witnesses, w.VKey)
	}
	return evidence.NewKeys(logs, witnesses)
}

func (s *State) logDir(origin string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%x", sha256.Sum256([]byte(origin))))
}

func sizeName(n int64) string { return fmt.Sprintf("%020d", n) }
