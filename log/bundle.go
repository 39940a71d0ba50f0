package log

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	tclient "github.com/transparency-dev/tessera/client"

	"cratelog/client"
	"cratelog/entry"
)

// bundle builds the c2sp.org/tlog-proof of entry idx under head, which covers
// it, with the entry in the extra line. The entry is read from the tree: what
// stands there may have another proof than the one that was submitted last.
//
// It is verified with the readers' code before it is given away. A bundle
// that fails is our own contradiction, and halts the log.
func (l *Log) bundle(ctx context.Context, idx uint64, head published) ([]byte, error) {
	data, err := entryAt(ctx, idx, head.size, l.recent.ReadEntryBundle)
	if err != nil {
		return nil, err
	}
	pb, err := tclient.NewProofBuilder(ctx, head.size, l.recent.ReadTile)
	if err != nil {
		return nil, err
	}
	hashes, err := pb.InclusionProof(ctx, idx)
	if err != nil {
		return nil, err
	}
	p := client.Proof{Index: idx, Checkpoint: head.raw, Extra: data}
	for _, h := range hashes {
		p.Hashes = append(p.Hashes, [32]byte(h))
	}
	b, err := p.Marshal()
	if err == nil {
		err = l.verifyBundle(b, idx, data)
	}
	if err != nil {
		err = fmt.Errorf("%w: the bundle of entry %d does not verify: %w", errContradiction, idx, err)
		l.halt.now(err)
		return nil, err
	}
	return b, nil
}

func (l *Log) verifyBundle(b []byte, idx uint64, data []byte) error {
	e, err := entry.Parse(data)
	if err != nil {
		return err
	}
	// What may stay unproven is the reader's choice; admission has decided
	// what may be logged.
	var rules client.Rules
	if src, ok := e.Claim.(*entry.Source); ok {
		rules.AllowUnproven = src.Unproven
	}
	r, err := client.VerifyBundle(b, l.policy, l.proofs, rules)
	if err != nil {
		return err
	}
	if r.Index != idx || r.Checkpoint.Origin != l.cfg.Origin || !bytes.Equal(r.EntryBytes, data) {
		return fmt.Errorf("it is of entry %d of %q", r.Index, r.Checkpoint.Origin)
	}
	return nil
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
func (l *Log) crateVersion(w http.ResponseWriter, r *http.Request) error {
	b, err := l.Bundle(r.Context(), r.PathValue("name"), r.PathValue("version"))
	if err != nil {
		return err
	}
	return writeBundle(w, b)
}

func writeBundle(w http.ResponseWriter, b []byte) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.Write(b)
	return nil
}
