package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"cratelog/internal/durable"
	"cratelog/monitor/store"
)

func (s *Server) findings(w http.ResponseWriter, r *http.Request) error {
	list, err := s.findingList(r, "newest", pageLimit)
	if err != nil {
		return err
	}
	data := struct {
		findingList
		browse
	}{*list, s.browse(r, &params{values: r.URL.Query()}, list.Next)}
	return s.show(w, r, "findings", list, page{Title: "Findings and evidence", Nav: "evidence", Twin: twinOf("/evidence.json", r), Feed: "/feed.atom", FeedTitle: "Findings", Data: data})
}

// maxEvidence is the size of an evidence file that is served; maxText of one that is
// shown in its page, in bytes.
const (
	maxEvidence = 64 << 20
	maxText     = 64 << 10
)

// evidence answers for an evidence file: its page, the twin, and the file itself. A
// file that is not what its name says is not handed out.
func (s *Server) evidence(w http.ResponseWriter, r *http.Request) error {
	if err := noParams(r); err != nil {
		return err
	}
	key, raw := strings.CutSuffix(r.PathValue("key"), evidenceSuffix)
	key = strings.TrimSuffix(key, jsonSuffix)
	b, err := s.readEvidence(key)
	if err != nil {
		return err
	}
	if raw {
		immutable(w)
		download(w, key+evidenceSuffix)
		return send(w, r, "application/octet-stream", b)
	}
	d, err := s.evidenceDetail(r.Context(), key, b)
	if err != nil {
		return err
	}
	return s.show(w, r, "evidence", d, page{Title: "Evidence " + key[:12], Nav: "evidence", Twin: "/evidence/" + key + jsonSuffix})
}

func (s *Server) readEvidence(key string) ([]byte, error) {
	want, ok := parseHex(key, sha256.Size)
	if !ok {
		return nil, notFound("Evidence is named by its SHA-256, 64 digits of lower-case hexadecimal.")
	}
	if s.cfg.Evidence == "" {
		return nil, notFound("This monitor serves no evidence files.")
	}
	b, err := durable.Read(filepath.Join(s.cfg.Evidence, key+evidenceSuffix), maxEvidence)
	if errors.Is(err, os.ErrNotExist) {
		return nil, notFound("This monitor has no evidence of that name.")
	}
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); !bytes.Equal(sum[:], want) {
		return nil, fmt.Errorf("evidence %s: the file has the SHA-256 %s", key, hex.EncodeToString(sum[:]))
	}
	return b, nil
}

func (s *Server) evidenceDetail(ctx context.Context, key string, b []byte) (*evidenceDetail, error) {
	l, err := s.logs(ctx)
	if err != nil {
		return nil, err
	}
	findings, err := s.cfg.Store.Findings(ctx, store.FindingQuery{Evidence: key, Limit: maxLimit})
	if err != nil {
		return nil, err
	}
	d := &evidenceDetail{SHA256: key, Bytes: len(b), File: "/evidence/" + key + evidenceSuffix, Findings: findingViews(findings, l)}
	if len(b) <= maxText && isText(b) {
		d.Text = string(b)
	}
	return d, nil
}

// isText says whether bytes can be shown as they are.
func isText(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
