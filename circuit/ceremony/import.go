package ceremony

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"

	gcmpc "github.com/consensys/gnark-crypto/ecc/bn254/mpcsetup"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
)

// readImport reads import.json.
func (f *Folder) readImport() (*Import, []byte, error) {
	from := new(Import)
	text, err := readJSON(filepath.Join(f.dir, importName), from)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w; get it from another copy of the folder", ErrImport, err)
	}
	for _, h := range []struct {
		value string
		size  int
	}{{from.SHA256, 32}, {from.BLAKE2b, 64}, {from.Records, 32}, {from.Yields, 32}} {
		if b, err := hex.DecodeString(h.value); err != nil || len(b) != h.size || hex.EncodeToString(b) != h.value {
			return nil, nil, fmt.Errorf("%w: %s has %q where a hash of %d bytes in lower-case hex "+
				"must stand; get it from another copy of the folder", ErrImport, importName, h.value, h.size)
		}
	}
	return from, text, nil
}

// checkImportedStart checks that the start of phase 1 is what an import leads to. Only the
// powers-of-tau file can show that it comes from there.
func (f *Folder) checkImportedStart(ctx context.Context, s *state, progress Progress) error {
	from, _, err := f.readImport()
	if err != nil {
		return err
	}
	of := s.files[0][0]
	if from.Yields != hex.EncodeToString(of.SHA256[:]) {
		return fmt.Errorf("%w: %s says that it has the SHA-256 %s, and the folder has %s; get "+
			"both from another copy of the folder",
			ErrImport, importName, from.Yields, of.Name)
	}
	if f.known.imported == of.SHA256 {
		return nil
	}
	return progress.do(ctx, "checking the imported powers of tau", f.shape.estimate().Verify[0], func() error {
		r, err := f.read(of)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := f.checkParts(r, 1); err != nil {
			return err
		}
		start := new(bare)
		if _, err := r.Seek(3*proofSize, io.SeekStart); err != nil {
			return err
		}
		if _, err := start.SrsCommons.ReadFrom(bufio.NewReaderSize(r, 1<<20)); err != nil {
			return tampered(r, "cannot be decoded (%v)", err)
		}
		if hash, err := hashLink(start); err != nil {
			return err
		} else if hash != of.SHA256 {
			return fmt.Errorf("%w: %s holds a contribution", ErrImport, of.Name)
		}
		if err := checkImported(&start.SrsCommons); err != nil {
			return fmt.Errorf("%w: %s does not hold the powers of one tau: %v", ErrImport, of.Name, err)
		}
		f.known.imported = of.SHA256
		return nil
	})
}

// bare is a state of phase 1 without a contribution, in the encoding of mpcsetup.Phase1:
// three empty proofs, the powers, and no hash of a file before.
type bare struct{ mpcsetup.SrsCommons }

func (b *bare) WriteTo(w io.Writer) (n int64, err error) {
	none := new(gcmpc.UpdateProof)
	for _, part := range []io.WriterTo{none, none, none, &b.SrsCommons, bytes.NewBuffer([]byte{0})} {
		m, err := part.WriteTo(w)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// CompareImport checks that phase 1 starts from the given powers-of-tau file. Whether
// that file is the one that its ceremony published, its hashes say.
func (f *Folder) CompareImport(ctx context.Context, path string, progress Progress) error {
	s, err := f.scan()
	if err != nil {
		return err
	}
	if !s.imported {
		return fmt.Errorf("%w: this ceremony starts from nothing, not from a powers-of-tau file", ErrImport)
	}
	from, _, err := f.readImport()
	if err != nil {
		return err
	}
	return progress.do(ctx, "comparing with the powers-of-tau file", f.shape.estimate().Verify[0], func() error {
		_, is, err := readPtau(path, f.shape.domain)
		if err != nil {
			return err
		}
		if is != *from {
			return fmt.Errorf("%w: %s has the SHA-256 %s and leads to the start %s, and %s says "+
				"%s and %s; compare with the file that the ceremony began with",
				ErrImport, filepath.Base(path), is.SHA256, is.Yields, importName, from.SHA256, from.Yields)
		}
		return nil
	})
}
