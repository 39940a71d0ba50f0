package log

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/web"
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
	hashes, err := l.prover.inclusion(ctx, idx, head.size)
	if err != nil {
		return nil, err
	}
	p := client.Proof{Index: idx, Checkpoint: head.raw, Extra: data, Hashes: hashes}
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
	// What may stay unproven, or have other line ends, is the reader's choice; admission has
	// decided what may be logged.
	src, ok := e.Claim.(*entry.Source)
	if !ok {
		return l.verifyBuildBundle(b, idx, data)
	}
	rules := client.Rules{AllowCRLF: client.AnyCRLF, AllowUnproven: src.Unproven}
	r, err := client.VerifyBundle(b, l.policy, l.proofs, rules)
	if err != nil {
		return err
	}
	if r.Index != idx || r.Checkpoint.Origin != l.cfg.Origin || !bytes.Equal(r.EntryBytes, data) {
		return fmt.Errorf("it is of entry %d of %q", r.Index, r.Checkpoint.Origin)
	}
	return nil
}

// maxClaims bounds what is listed of one crate version. All there is stands in the tree.
const maxClaims = 256

// Bundle returns the bundle, under the latest checkpoint, of the fullest published claim that
// the query names. A query that names no programs gets one that is withdrawn only if there is
// no other. The error is a *Refusal, NotFound, if none is published.
func (l *Log) Bundle(ctx context.Context, q client.Query) ([]byte, error) {
	head := l.published.head()
	choices := [][][32]byte{q.Programs}
	if len(q.Programs) == 0 {
		choices = [][][32]byte{l.admitted(), nil}
	}
	for _, q.Programs = range choices {
		rows, err := l.index.query(ctx, q, head.size, 1)
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			return l.bundle(ctx, rows[0].idx, head)
		}
	}
	return nil, refuse(NotFound, nil, "This log has no published entry for this crate version, or none such as was asked for.")
}

// admitted returns the ids of the programs that are not withdrawn.
func (l *Log) admitted() [][32]byte {
	var ids [][32]byte
	for _, p := range l.cfg.Proofs.Programs() {
		if id := p.ID(); l.programs[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// crateVersion serves the bundle of the claim that the request names.
func (l *Log) crateVersion(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	b, err := l.Bundle(r.Context(), q)
	if err != nil {
		return err
	}
	return writeBundle(w, b)
}

func parseQuery(r *http.Request) (client.Query, error) {
	q, err := client.ParseQuery(r.PathValue("name"), r.PathValue("version"), r.URL.RawQuery)
	if err != nil {
		err = refuse(MalformedRequest, err, "The request is not one for a crate version: %v.", err)
	}
	return q, err
}

// claimsBody is the JSON of the claims about a crate version, the fullest first.
type claimsBody struct {
	Claims []claimBody `json:"claims"`
	More   bool        `json:"more,omitempty"` // not all are listed
}

type claimBody struct {
	Index    uint64 `json:"index"`
	Identity string `json:"identity"`
	Program  string `json:"program"`
	Commit   string `json:"commit"`
	Path     string `json:"path"`
	Unproven int    `json:"unproven"`          // number of files that the claim leaves out
	CRLF     int    `json:"crlf,omitempty"`    // number of files whose line ends are not the commit's
	Opening  string `json:"opening,omitempty"` // SHA-256, if the log holds one
}

// crateClaims lists the published claims that the request names.
func (l *Log) crateClaims(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	rows, err := l.index.query(r.Context(), q, l.published.head().size, maxClaims+1)
	if err != nil {
		return err
	}
	b := claimsBody{Claims: []claimBody{}, More: len(rows) > maxClaims}
	for _, row := range rows[:min(len(rows), maxClaims)] {
		c := claimBody{
			Index: row.idx, Identity: hex.EncodeToString(row.identity[:]), Program: hex.EncodeToString(row.program[:]),
			Commit: hex.EncodeToString(row.commit[:]), Path: row.path, Unproven: row.unproven, CRLF: row.crlf,
		}
		if l.cfg.Openings != OpeningsOff {
			sum, _, err := l.openings.named(r.Context(), row.identity)
			if err != nil {
				return err
			}
			c.Opening = hex.EncodeToString(sum)
		}
		b.Claims = append(b.Claims, c)
	}
	w.Header().Set("Cache-Control", "no-cache")
	web.WriteJSON(w, http.StatusOK, b)
	return nil
}

// entryBundle serves the bundle of any published entry.
func (l *Log) entryBundle(w http.ResponseWriter, r *http.Request) error {
	text := r.PathValue("index")
	idx, err := strconv.ParseUint(text, 10, 63)
	head := l.published.head()
	if err != nil || strconv.FormatUint(idx, 10) != text || idx >= head.size {
		return refuse(NotFound, nil, "This log has no published entry with this number.")
	}
	b, err := l.bundle(r.Context(), idx, head)
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
