package client

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
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
// fork-<size>-<first digits of both roots>.txt in the log's directory: the line
// "cratelog/fork/v1", then for each note a line "note <length in bytes>" and its
// bytes. A proof that does not hold is ErrConsistency, and changes nothing.
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
	entries, err := os.ReadDir(s.logDir(origin))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, false, err
	}
	newest := ""
	for _, e := range entries {
		// Of the same length, they sort as the numbers do.
		if name := e.Name(); isSizeName(name) && name > newest {
			newest = name
		}
	}
	if newest == "" {
		return Checkpoint{}, false, nil
	}
	c, err := s.load(origin, newest)
	return c, err == nil, err
}

func (s *State) load(origin, name string) (Checkpoint, error) {
	path := filepath.Join(s.logDir(origin), name)
	signed, err := os.ReadFile(path)
	if err != nil {
		return Checkpoint{}, err
	}
	end := bytes.LastIndex(signed, []byte("\n\n"))
	c, err := parseTreeHead(string(signed[:end+1]), origin)
	if err != nil || sizeName(c.Size) != name {
		return Checkpoint{}, fmt.Errorf("the remembered checkpoint %s is damaged: look at it, and remove it only if you know why; what the log showed before is then forgotten", path)
	}
	c.Signed = signed
	return c, nil
}

// remember writes a checkpoint. If another process has remembered one of the
// same size meanwhile, the two are compared.
func (s *State) remember(c Checkpoint) error {
	name := sizeName(c.Size)
	err := writeNew(filepath.Join(s.logDir(c.Origin), name), c.Signed)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	other, err := s.load(c.Origin, name)
	if err != nil || other.Root == c.Root {
		return err
	}
	return s.fork(other, c)
}

// fork writes the evidence, then accuses.
func (s *State) fork(old, next Checkpoint) error {
	path := filepath.Join(s.logDir(old.Origin), fmt.Sprintf("fork-%d-%x-%x.txt", old.Size, old.Root[:4], next.Root[:4]))
	var b bytes.Buffer
	b.WriteString("cratelog/fork/v1\n")
	for _, c := range []Checkpoint{old, next} {
		fmt.Fprintf(&b, "note %d\n%s", len(c.Signed), c.Signed)
	}
	fork := &ForkError{Old: old, New: next, Evidence: path}
	if err := writeNew(path, b.Bytes()); err != nil && !errors.Is(err, fs.ErrExist) {
		fork.Evidence = "no file, for it could not be written"
		return errors.Join(fork, err)
	}
	return fork
}

func (s *State) logDir(origin string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%x", sha256.Sum256([]byte(origin))))
}

func sizeName(n int64) string { return fmt.Sprintf("%020d", n) }

func isSizeName(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n >= 0 && sizeName(n) == s
}

// writeNew creates a file with its whole content, durably, and fails with
// fs.ErrExist if there is one: temporary file, fsync, link, fsync of the
// directory, in this order.
func writeNew(path string, data []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "tmp-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in a directory durable. Windows has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
