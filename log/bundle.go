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
// It is verified with the readers' code before it is given away. One that fails is not given
// away, and the operator is told; it says nothing about what may be admitted.
func (l *Log) bundle(ctx context.Context, idx uint64, head published) ([]byte, error) {
	data, err := l.verified.entry(ctx, head.tree(), idx)
	if err != nil {
		return nil, err
	}
	hashes, err := l.prover.inclusion(ctx, idx, head.tree())
	if err != nil {
		return nil, err
	}
	p := client.Proof{Index: idx, Checkpoint: head.raw, Extra: data, Hashes: hashes}
	b, err := p.Marshal()
	if err == nil {
		err = l.verifyBundle(b, idx, data)
	}
	of := fmt.Sprintf("the bundle of entry %d", idx)
	if err != nil {
		err = &damage{of, "does not verify: " + err.Error()}
		l.damages.report(of, err)
		return nil, err
	}
	l.damages.report(of, nil)
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
	head, err := l.head()
	if err != nil {
		return nil, err
	}
	idx, err := l.fullest(ctx, q, head)
	if err != nil {
		return nil, err
	}
	return l.bundle(ctx, idx, head)
}

// fullest returns the index of the entry that Bundle shows.
func (l *Log) fullest(ctx context.Context, q client.Query, head published) (uint64, error) {
	choices := [][][32]byte{q.Programs}
	if len(q.Programs) == 0 {
		choices = [][][32]byte{l.admitted(), nil}
	}
	for _, q.Programs = range choices {
		rows, err := l.index.query(ctx, q, head.size, 1)
		if err != nil {
			return 0, err
		}
		if len(rows) > 0 {
			return rows[0].idx, nil
		}
	}
	return 0, refuse(NotFound, nil,
		"This log has no published entry for this crate version, or none such as was asked for.")
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
	head, err := l.head()
	if err != nil {
		return err
	}
	idx, err := l.fullest(r.Context(), q, head)
	if err != nil {
		return err
	}
	return l.sendBundle(w, r, idx, head)
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
	head, err := l.head()
	if err != nil {
		return err
	}
	rows, err := l.index.query(r.Context(), q, head.size, maxClaims+1)
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
	return web.SendJSON(w, r, b)
}

// entryBundle serves the bundle of any published entry.
func (l *Log) entryBundle(w http.ResponseWriter, r *http.Request) error {
	head, err := l.head()
	if err != nil {
		return err
	}
	text := r.PathValue("index")
	idx, err := strconv.ParseUint(text, 10, 63)
	if err != nil || strconv.FormatUint(idx, 10) != text || idx >= head.size {
		return refuse(NotFound, nil, "This log has no published entry with this number.")
	}
	return l.sendBundle(w, r, idx, head)
}

// sendBundle answers a GET with the bundle of an entry. It follows from index and checkpoint: a reader who
// has it costs nothing more.
func (l *Log) sendBundle(w http.ResponseWriter, r *http.Request, idx uint64, head published) error {
	tag := web.Tag(strconv.AppendUint(nil, idx, 10), head.raw)
	if web.Has(w, r, tag) {
		return nil
	}
	b, err := l.bundle(r.Context(), idx, head)
	if err == nil {
		web.Content(w, r, "text/plain; charset=utf-8", tag, b)
	}
	return err
}

// writeBundle answers a submission.
func writeBundle(w http.ResponseWriter, b []byte) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(b)
	return nil
}
