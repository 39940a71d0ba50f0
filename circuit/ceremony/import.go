package ceremony

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"
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
			return nil, nil, fmt.Errorf("%w: %s has %q where a hash of %d bytes in lower-case hex must stand; get it from another copy of the folder", ErrImport, importName, h.value, h.size)
		}
	}
	return from, text, nil
}

// importedStart reads the start of phase 1 that came from a powers-of-tau file, and
// checks that it is what it should be, but for what only the file can show: that it is
// from there.
func (f *Folder) importedStart(ctx context.Context, s *state, progress Progress) (start *phase1, err error) {
	from, _, err := f.readImport()
	if err != nil {
		return nil, err
	}
	of := s.files[0][0]
	if from.Yields != hex.EncodeToString(of.hash[:]) {
		return nil, fmt.Errorf("%w: %s says that it has the SHA-256 %s, and the folder has %s; get both from another copy of the folder", ErrImport, importName, from.Yields, of.name)
	}
	if l := f.known.imported; l != nil && f.known.importedAs == of.hash {
		return l, nil
	}
	err = progress.do(ctx, "checking the imported powers of tau", f.shape.estimate().Verify[0], func() error {
		l, err := f.load(of)
		if err != nil {
			return err
		}
		start = l.(*phase1)
		if !start.bare() {
			return fmt.Errorf("%w: %s holds a contribution", ErrImport, of.name)
		}
		if err := checkImported(&start.srs); err != nil {
			return fmt.Errorf("%w: %s does not hold the powers of one tau: %v", ErrImport, of.name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.known.imported, f.known.importedAs = start, of.hash
	return start, nil
}

// bare says that a state is no contribution: it has no proofs and follows nothing.
func (p *phase1) bare() bool {
	none := new(phase1)
	var got, want bytes.Buffer
	for i := range p.proofs {
		_, err := p.proofs[i].WriteTo(&got)
		_, err2 := none.proofs[i].WriteTo(&want)
		if err != nil || err2 != nil {
			return false
		}
	}
	return len(p.challenge) == 0 && bytes.Equal(got.Bytes(), want.Bytes())
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
			return fmt.Errorf("%w: %s has the SHA-256 %s and leads to the start %s, and %s says %s and %s; compare with the file that the ceremony began with",
				ErrImport, filepath.Base(path), is.SHA256, is.Yields, importName, from.SHA256, from.Yields)
		}
		return nil
	})
}
