package log

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/web"
)

// sealOf returns what the tree under head ends in, with its path, and the map that it is of. Of an empty tree,
// which nothing seals, the error is a *Refusal, NotFound.
func (l *Log) sealOf(ctx context.Context, head published) (client.Seal, sealed, error) {
	s, err := l.sealedAt(head.size)
	if err != nil {
		return client.Seal{}, s, err
	}
	hashes, err := l.prover.inclusion(ctx, head.size-1, head.tree())
	return client.Seal{Leaf: s.leaf, Hashes: hashes}, s, err
}

// bundle builds the bundle of entry idx under head, which covers it. The entry is read from the tree: what
// stands there may have another proof than the one that was submitted last. The error is a *Refusal, NotFound
// or VoidEntry, of a leaf that is no entry, and of an entry that is void.
//
// It is verified with the readers' code, but for the proof, before it is given away. One that fails is not given
// away, and the operator is told; it says nothing about what may be admitted.
func (l *Log) bundle(ctx context.Context, idx uint64, head published) ([]byte, error) {
	data, err := l.verified.entry(ctx, head.tree(), idx)
	if err != nil {
		return nil, err
	}
	r, err := l.entryOf(idx, data)
	if err != nil {
		return nil, err
	}
	seal, s, err := l.sealOf(ctx, head)
	if err != nil {
		return nil, err
	}
	stop := l.sealing.measure()
	value, proof := s.snap.Lookup(r.mapKey())
	stop()
	if err := l.notVoid(r, value); err != nil {
		return nil, err
	}
	hashes, err := l.prover.inclusion(ctx, idx, head.tree())
	if err != nil {
		return nil, err
	}
	p := client.Bundle{Index: idx, Hashes: hashes, Checkpoint: head.raw, Entry: data, Seal: seal,
		Version: client.Lookup{Value: value, Proof: proof}}
	return l.checked(fmt.Sprintf("the bundle of entry %d", idx), p.Marshal, func(b []byte) error {
		return l.verifyBundle(b, idx)
	})
}

// checked returns what is about to be given away, if it verifies. Else it is damage, which the operator is
// told of.
func (l *Log) checked(of string, make func() ([]byte, error), verify func([]byte) error) ([]byte, error) {
	b, err := make()
	if err == nil {
		err = verify(b)
	}
	if err != nil {
		err = &damage{of, "does not verify: " + err.Error()}
		l.damages.report(of, err)
		return nil, err
	}
	l.damages.report(of, nil)
	return b, nil
}

// entryOf says what an entry is about. What the log itself made, and what is no leaf at all, is not found.
func (l *Log) entryOf(idx uint64, data []byte) (row, error) {
	r, _, err := l.rowAt(idx, data)
	switch {
	case err != nil:
		return r, refuse(NotFound, err, "Number %d of this log is no entry.", idx)
	case !r.isEntry():
		return r, refuse(NotFound, nil, "Number %d of this log is no entry: the log itself made it, and the tiles have it.",
			idx)
	}
	return r, nil
}

// notVoid wants an entry to be about the one checksum of its version. value is what the map has of that.
func (l *Log) notVoid(of row, value []byte) error {
	v, err := index.ParseVersion(value)
	if err != nil || v.SHA256 == of.sha256 {
		return err
	}
	where := fmt.Sprintf("entry %d, which was first", v.First)
	if v.Inherited {
		where = l.inheritedFrom(v.First)
	}
	r := refuse(VoidEntry, nil, "Entry %d is void: it gives %v the checksum %x, but in this log the version has %x, by %s. "+
		"Nobody is to use it; auditors find it in the tiles.", of.idx, of.versionKey, of.sha256, v.SHA256, where)
	if !v.Inherited {
		r.Index = &v.First
	}
	return r
}

// verifyBundle verifies a bundle as readers do, but for the entry's proof: nothing is signed without it, and readers
// verify it themselves. What may stay unproven, or have other line ends, is their choice, too.
func (l *Log) verifyBundle(b []byte, idx uint64) error {
	r, err := client.OpenBundle(b, l.policy, client.Rules{})
	if err == nil && (r.Index != idx || r.Checkpoint.Origin != l.cfg.Origin) {
		err = fmt.Errorf("it is of entry %d of %q", r.Index, r.Checkpoint.Origin)
	}
	return err
}

// checksum returns the one checksum that a version has in the published map, or zeros, as no .crate has it.
func (l *Log) checksum(head published, k versionKey) (sum [32]byte, err error) {
	if head.size == 0 {
		return sum, nil
	}
	s, err := l.sealedAt(head.size)
	if err != nil {
		return sum, err
	}
	value, there := s.snap.Get(k.mapKey())
	if !there {
		return sum, nil
	}
	v, err := index.ParseVersion(value)
	return v.SHA256, err
}

// mapKey is the version's key in the map.
func (k versionKey) mapKey() index.Key { return index.VersionKey(k.registry, k.name, k.version) }

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
	sum, err := l.checksum(head, versionKey{cmp.Or(q.Registry, entry.DefaultRegistry), q.Name, q.Version})
	if err != nil {
		return 0, err
	}
	choices := [][][32]byte{q.Programs}
	if len(q.Programs) == 0 {
		choices = [][][32]byte{l.admitted(), nil}
	}
	for _, q.Programs = range choices {
		rows, err := l.index.query(ctx, q, sum, head.size, 1)
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

// crateClaims lists the published claims that the request names, but for those that are void.
func (l *Log) crateClaims(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	head, err := l.head()
	if err != nil {
		return err
	}
	sum, err := l.checksum(head, versionKey{q.Registry, q.Name, q.Version})
	if err != nil {
		return err
	}
	rows, err := l.index.query(r.Context(), q, sum, head.size, maxClaims+1)
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
