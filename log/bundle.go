package log

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	tclient "github.com/transparency-dev/tessera/client"
)

// bundle builds the c2sp.org/tlog-proof of entry idx under head, which covers
// it, with the entry in the extra line, and verifies it before it is given
// away. The entry is read from the tree: what stands there may have another
// proof than the one that was submitted last.
func (l *Log) bundle(ctx context.Context, idx uint64, head published) ([]byte, error) {
	data, err := entryAt(ctx, idx, head.size, l.reader.ReadEntryBundle)
	if err != nil {
		return nil, err
	}
	pb, err := tclient.NewProofBuilder(ctx, head.size, l.reader.ReadTile)
	if err != nil {
		return nil, err
	}
	hashes, err := pb.InclusionProof(ctx, idx)
	if err != nil {
		return nil, err
	}
	b, err := marshalBundle(idx, hashes, data, head.raw)
	if err != nil {
		return nil, err
	}
	if err := l.verifyBundle(b, data); err != nil {
		err = fmt.Errorf("%w: the bundle of entry %d does not verify: %w", errContradiction, idx, err)
		l.halt.now(err)
		return nil, err
	}
	return b, nil
}

// Bundle returns the bundle of the earliest entry of a crate version, under
// the latest checkpoint. It is a *Refusal, NotFound, if none is published.
func (l *Log) Bundle(ctx context.Context, name, version string) ([]byte, error) {
	r, found, err := l.index.byVersion(ctx, name, version)
	if err != nil {
		return nil, err
	}
	head := l.published.head()
	if !found || head.raw == nil || r.idx >= head.size {
		return nil, refuse(NotFound, nil, "This log has no published entry for this crate version.")
	}
	return l.bundle(ctx, r.idx, head)
}

// crateVersion serves the bundle of the earliest entry of a crate version.
func (l *Log) crateVersion(w http.ResponseWriter, r *http.Request) {
	b, err := l.Bundle(r.Context(), r.PathValue("name"), r.PathValue("version"))
	if err != nil {
		l.fail(w, r, err)
		return
	}
	writeBundle(w, b)
}

func writeBundle(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.Write(b)
}

var errOtherOrigin = errors.New("the checkpoint is of another log")
