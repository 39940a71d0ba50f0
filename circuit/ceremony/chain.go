package ceremony

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"

	"cratelog/internal/durable"
)

// link is a state of a phase: *mpcsetup.Phase1 or *mpcsetup.Phase2.
type link interface {
	io.WriterTo
	io.ReaderFrom
	Contribute() // multiplies in new secrets, which it does not keep or erase, and says what it continues
}

func newLink(phase int) link {
	if phase == 1 {
		return new(mpcsetup.Phase1)
	}
	return new(mpcsetup.Phase2)
}

// challenge is the hash of the file before.
func challenge(l link) []byte {
	switch l := l.(type) {
	case *mpcsetup.Phase1:
		return l.Challenge
	case *mpcsetup.Phase2:
		return l.Challenge
	}
	return nil
}

// follows checks that next is prev with a contribution whose maker knew it. Both were
// decoded, so their points are of their groups and they are of one size.
//
// gnark's Verify does it: UpdateProof.Verify for each secret, whose proof of knowledge is
// bound to the hash of prev and which is not zero, and for phase 1's vectors SameRatioMany.
// A secret that was not zero stays so: the start's are one, or checked by checkImported.
func follows(prev, next link) error {
	switch p := prev.(type) {
	case *mpcsetup.Phase1:
		return p.Verify(next.(*mpcsetup.Phase1))
	case *mpcsetup.Phase2:
		return p.Verify(next.(*mpcsetup.Phase2))
	}
	return errors.New("no such phase")
}

// add writes a link, or a start, to the folder.
func (f *Folder) add(phase, number int, l io.WriterTo) (Contribution, error) {
	tmp, err := durable.Create(f.dir)
	if err != nil {
		return Contribution{}, err
	}
	defer tmp.Discard()
	hash, err := writeLink(tmp, l)
	if err != nil {
		return Contribution{}, err
	}
	name := nameOf(phase, number, hash)
	return Contribution{phase, number, hash, name}, tmp.CommitNew(filepath.Join(f.dir, name), 0o644)
}

func hashLink(l io.WriterTo) ([32]byte, error) { return writeLink(io.Discard, l) }

// writeLink writes a link and returns the SHA-256 of what it wrote.
func writeLink(to io.Writer, l io.WriterTo) ([32]byte, error) {
	h := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(to, h), 1<<20)
	if _, err := l.WriteTo(w); err != nil {
		return [32]byte{}, err
	}
	err := w.Flush()
	return [32]byte(h.Sum(nil)), err
}

// fullReader fills the whole buffer wherever it can: gnark reads a contribution's
// last field with one Read and takes what it gets.
type fullReader struct{ r io.Reader }

func (f fullReader) Read(p []byte) (int, error) {
	n, err := io.ReadFull(f.r, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

// measure opens a link's file if it has exactly the right size. It returns the file's
// SHA-256.
func (f *Folder) measure(path string, phase, number int) (r *os.File, hash [32]byte, err error) {
	r, err = openRegular(path)
	if err != nil {
		return nil, hash, err
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	name := filepath.Base(path)
	info, err := r.Stat()
	if err != nil {
		return nil, hash, err
	}
	if want := f.shape.size(phase, number); info.Size() != want {
		what := "something is missing (was it cut short on its way?)"
		if info.Size() > want {
			what = "something was added"
		}
		return nil, hash, fmt.Errorf("%w: %s has %d bytes and must have %d: %s; get it again", ErrSize, name,
			info.Size(), want, what)
	}
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return nil, hash, err
	}
	hash = [32]byte(h.Sum(nil))
	return r, hash, nil
}

func tampered(r *os.File, format string, a ...any) error {
	return fmt.Errorf("%w: %s %s; get it again from its maker, or ask for a new one", ErrTampered,
		filepath.Base(r.Name()), fmt.Sprintf(format, a...))
}

// checkParts checks a measured file's layout.
func (f *Folder) checkParts(r *os.File, phase int) error {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := f.shape.checkParts(r, phase); err != nil {
		return tampered(r, "%v", err)
	}
	return nil
}

// decode reads a measured file, whose hash is known. Every point is checked to be of
// its group, and the file to be the one encoding of what it says.
func (f *Folder) decode(r *os.File, phase int, hash [32]byte) (link, error) {
	if err := f.checkParts(r, phase); err != nil {
		return nil, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	l := newLink(phase)
	var again [32]byte
	err := guard(func() (err error) {
		if _, err = l.ReadFrom(fullReader{bufio.NewReaderSize(r, 1<<20)}); err != nil {
			return err
		}
		again, err = hashLink(l)
		return err
	})
	if err != nil {
		return nil, tampered(r, "cannot be decoded (%v)", err)
	}
	if again != hash { // also: it was not consumed to its end, or changed meanwhile
		return nil, tampered(r, "is not in its canonical encoding")
	}
	return l, nil
}

// read measures one of the folder's files and checks that its name has its hash.
func (f *Folder) read(of Contribution) (*os.File, error) {
	r, hash, err := f.measure(filepath.Join(f.dir, of.Name), of.Phase, of.Number)
	if err != nil {
		return nil, err
	}
	if hash != of.SHA256 {
		r.Close()
		return nil, fmt.Errorf("%w: %s has the SHA-256 %x, so it was altered; get it again from its maker",
			ErrTampered, of.Name, hash)
	}
	return r, nil
}

func (f *Folder) unaltered(of Contribution) error {
	r, err := f.read(of)
	if err != nil {
		return err
	}
	return r.Close()
}

// load reads one of the folder's links, unless it is known. The caller must not change it.
func (f *Folder) load(of Contribution) (link, error) {
	if m := f.known.newest[of.Phase-1]; m.link != nil && m.hash == of.SHA256 {
		return m.link, f.unaltered(of)
	}
	return f.fresh(of)
}

// fresh reads one of the folder's links, for a caller who changes it.
func (f *Folder) fresh(of Contribution) (link, error) {
	r, err := f.read(of)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return f.decode(r, of.Phase, of.SHA256)
}

// known is what a Folder has found out since it was opened, by the hashes of what the
// files held, so that it does not find out the same twice.
type known struct {
	newest   [2]newest            // by phase: the link that was verified or made last
	follows  map[[2][32]byte]bool // the second follows from the first, a contribution from the one before
	imported [32]byte             // the checked start that came from a powers-of-tau file
	srs      *mpcsetup.SrsCommons
	srsOf    [32]byte    // what it was made from: see sealedBy
	start    [2][32]byte // a start of phase 2 that follows from the srs of the other hash
}

type newest struct {
	hash [32]byte
	link link
}

func (k *known) remember(phase int, prev, hash [32]byte, l link) {
	if k.follows == nil {
		k.follows = map[[2][32]byte]bool{}
	}
	k.follows[[2][32]byte{prev, hash}] = true
	k.newest[phase-1] = newest{hash, l}
}

// sealedBy names the parameters that a contribution and a beacon lead to.
func sealedBy(last [32]byte, beacon []byte) [32]byte {
	return sha256.Sum256(append(last[:], beacon...))
}

// check verifies that next, called name, follows prev, the link of the last of files.
func check(files []Contribution, prev, next link, name string) error {
	last := files[len(files)-1]
	if c := challenge(next); !bytes.Equal(c, last.SHA256[:]) {
		for _, old := range files[:len(files)-1] {
			if bytes.Equal(c, old.SHA256[:]) {
				return fmt.Errorf("%w: %s continues %s, and after that came %s; its maker must "+
					"contribute again on top of the newest", ErrOrder, name, old.Name, last.Name)
			}
		}
		return fmt.Errorf("%w: %s continues a file with the SHA-256 %x and not %s: a contribution "+
			"between them is missing, or it was made for another ceremony; put the files in their "+
			"order, or contribute again", ErrOrder, name, c, last.Name)
	}
	if err := guard(func() error { return follows(prev, next) }); err != nil {
		return fmt.Errorf("%w: %s does not follow from %s (%v); refuse it and ask for a new one",
			ErrTampered, name, last.Name, err)
	}
	return nil
}

// verifyChain verifies every contribution of a phase in its order, from the start, of
// which the caller has checked that it is what the folder holds. It returns the last.
func (f *Folder) verifyChain(ctx context.Context, s *state, phase int, start link,
	progress Progress) (link, error) {
	files := s.files[phase-1]
	prev := start
	for i := 1; i < len(files); i++ {
		what := fmt.Sprintf("verifying contribution %d of %d of phase %d", i, len(files)-1, phase)
		err := progress.do(ctx, what, f.shape.estimate().Verify[phase-1], func() (err error) {
			if f.known.follows[[2][32]byte{files[i-1].SHA256, files[i].SHA256}] {
				prev = nil
				return f.unaltered(files[i])
			}
			if prev == nil {
				if prev, err = f.load(files[i-1]); err != nil {
					return err
				}
			}
			next, err := f.load(files[i])
			if err != nil {
				return err
			}
			if err := check(files[:i], prev, next, files[i].Name); err != nil {
				return err
			}
			f.known.remember(phase, files[i-1].SHA256, files[i].SHA256, next)
			prev = next
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if prev == nil { // the last one was known
		return f.load(s.last(phase))
	}
	return prev, nil
}
