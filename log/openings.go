package log

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"

	"cratelog/internal/durable"
	"cratelog/internal/web"
	"cratelog/opening"
)

// Whose openings a log keeps.
const (
	OpeningsSubmitter = "submitter" // those that come with an entry that is new
	OpeningsAny       = "any"       // those of everybody, also of entries that stand
	OpeningsOff       = "off"       // none, and none is served
)

// checkOpening checks what a submitter shows of the repository against the claim, and the
// list of the .crate's files.
func (l *Log) checkOpening(s *submission) error {
	if s.opening == nil {
		return nil
	}
	_, err := opening.Check(s.opening, s.source, s.list)
	if errors.Is(err, opening.ErrContradiction) {
		// Nothing is kept: what is refused leaves no trace, and monitors find and prove it of entries
		// that stand.
		l.metrics.contradictions.Inc()
		l.log.Error("SOMEBODY CAN FORGE PROOFS of this program: a proof of it holds, and git's own objects contradict it; "+
			"withdraw the program", "program", fmt.Sprintf("%x", s.program), "crate", keyOf(s.entry.Subject).String(),
			"identity", fmt.Sprintf("%x", s.identity), "err", err)
	}
	if err != nil {
		return refuse(OpeningRefused, err, "The opening is refused: %v.", err)
	}
	return nil
}

// keepOpening keeps a checked opening.
func (l *Log) keepOpening(ctx context.Context, identity [32]byte, raw []byte) (isNew bool, err error) {
	if raw == nil {
		return false, nil
	}
	isNew, err = l.openings.put(ctx, identity, raw)
	switch {
	case errors.Is(err, errOpeningsFull):
		err = refuse(OpeningsFull, err, "This log has no room for further openings: submit the entry without it, "+
			"and give the opening away in a file beside the bundle.")
	case errors.Is(err, errOpeningDeleted):
		err = refuse(OpeningRefused, err, "The operator of this log has deleted this opening, and does not take it again.")
	}
	return isNew, err
}

// readOpening reads the opening that may follow a .crate; nil if none does.
func (l *Log) readOpening(r io.Reader) ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	raw, err := readPart(r, opening.MaxSize, OpeningTooLarge, "opening")
	switch {
	case err != nil:
		return nil, err
	case len(raw) == 0:
		return nil, nil
	case l.cfg.Openings == OpeningsOff:
		return nil, refuse(OpeningRefused, nil, "This log keeps no openings: submit the entry without it, "+
			"and give the opening away in a file beside the bundle.")
	}
	return raw, nil
}

// takeOpening takes multipart/form-data with the parts crate and opening, of the logged
// claim that the address names, where the operator lets everybody bring openings. The
// .crate says which of the objects' entries the claim is about; it is not kept.
func (l *Log) takeOpening(w http.ResponseWriter, r *http.Request) error {
	if l.cfg.Openings != OpeningsAny {
		return refuse(OpeningRefused, nil, "This log keeps an opening only if it comes with the submission of its entry.")
	}
	row, err := l.openingOf(r)
	if err != nil {
		return err
	}
	isNew := false
	if err := l.withForm(w, r, func(ctx context.Context, f *form) error {
		isNew, err = l.addOpening(ctx, row, &partReader{form: f, name: "crate"},
			&partReader{form: f, name: "opening", last: true})
		return err
	}); err != nil {
		return err
	}
	code := http.StatusOK
	if isNew {
		code = http.StatusCreated
	}
	w.Header().Set("Cache-Control", "no-store")
	web.WriteJSON(w, code, struct{}{})
	return nil
}

// addOpening is admission of an opening alone.
func (l *Log) addOpening(ctx context.Context, r row, crateData, openingData io.Reader) (isNew bool, err error) {
	if err := l.accepting(); err != nil {
		return false, err
	}
	head, err := l.head()
	if err != nil {
		return false, err
	}
	raw, err := l.verified.entry(ctx, head.tree(), r.idx)
	if err != nil {
		return false, err
	}
	s, err := l.parse(raw)
	if err != nil {
		return false, err
	}
	if err := l.check(ctx, s, crateData, openingData); err != nil {
		return false, err
	}
	if s.opening == nil {
		return false, refuse(MalformedRequest, nil, "The part opening is missing.")
	}
	return l.keepOpening(ctx, s.identity, s.opening)
}

// openingOf returns the earliest published entry of the claim that an address names.
func (l *Log) openingOf(r *http.Request) (row, error) {
	name := r.PathValue("identity")
	id, err := hex.DecodeString(name)
	if err != nil || len(id) != 32 || hex.EncodeToString(id) != name {
		return row{}, refuse(NotFound, nil, "An opening has the address of its claim's identity, a SHA-256 in lower-case hex.")
	}
	head, err := l.head()
	if err != nil {
		return row{}, err
	}
	found, known, err := l.index.byIdentity(r.Context(), [32]byte(id))
	if err == nil && (!known || found.kind != kindSource || found.idx >= head.size) {
		err = refuse(NotFound, nil, "This log has no published entry with a claim about sources with this identity.")
	}
	return found, err
}

// serveOpening serves the opening of a claim. It can be deleted, so it is asked for again.
func (l *Log) serveOpening(w http.ResponseWriter, r *http.Request) error {
	row, err := l.openingOf(r)
	if err != nil {
		return err
	}
	var kept storedOpening
	found := false
	if l.cfg.Openings != OpeningsOff {
		if kept, found, err = l.openings.get(r.Context(), row.identity); err != nil {
			return err
		}
	}
	if !found {
		return refuse(NotFound, nil, "This log holds no opening of this claim. Any other source of it is as good.")
	}
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Vary", "Accept-Encoding")
	if web.AcceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		return web.Send(w, r, "application/octet-stream", kept.gzipped)
	}
	z, err := gzip.NewReader(bytes.NewReader(kept.gzipped))
	if err != nil {
		return err
	}
	raw, err := durable.ReadAll(z, opening.MaxSize)
	if err != nil {
		return err
	}
	return web.Send(w, r, "application/octet-stream", raw)
}
