package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"cratelog/internal/durable"
	"cratelog/internal/web"
	"cratelog/monitor/store"
)

func (s *Server) findings(q *request) error {
	list, err := s.findingList(q, "newest", pageLimit, true)
	if err != nil {
		return err
	}
	data := struct {
		findingList
		browse
		Shown string // the class or kind that is asked for, "" for all but info
	}{*list, q.browse(list.Next), q.get("kind") + q.get("class")}
	return s.show(q, "findings", list, page{Title: "Findings and evidence", Nav: "evidence", Twin: "/evidence.json",
		Feed: "/feed.atom", FeedTitle: "Findings", Data: data})
}

// maxEvidence is the size of an evidence file that is served; maxText of one that is
// shown in its page, in bytes.
const (
	maxEvidence = 16 << 20 // as evidence.MaxSize, which the monitor writes at most
	maxText     = 64 << 10
)

// evidence answers for an evidence file: its page, the twin, and the file itself. A
// file that is not what its name says is not handed out.
func (s *Server) evidence(q *request) error {
	key, raw := strings.CutSuffix(q.r.PathValue("key"), evidenceSuffix)
	key = strings.TrimSuffix(key, jsonSuffix)
	b, err := s.readEvidence(key)
	if err != nil {
		return err
	}
	if raw {
		web.Immutable(q.w)
		download(q.w, key+evidenceSuffix)
		return web.Send(q.w, q.r, "application/octet-stream", b)
	}
	findings, err := s.cfg.Store.Findings(q.ctx(), store.FindingQuery{Evidence: key, Limit: maxLimit})
	if err != nil {
		return err
	}
	d := &evidenceDetail{SHA256: key, Bytes: len(b), File: "/evidence/" + key + evidenceSuffix,
		Findings: findingViews(findings, q.logs)}
	if len(b) <= maxText && isText(b) {
		d.Text = string(b)
	}
	return s.show(q, "evidence", d, page{Title: "Evidence " + key[:12], Nav: "evidence",
		Twin: "/evidence/" + key + jsonSuffix})
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
