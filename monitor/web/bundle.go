package web

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/web"
	"cratelog/monitor/store"
)

// prove returns the best checkpoint that covers an entry, and the entry's inclusion
// path under it; no path if there is no such checkpoint yet. It is made of this
// monitor's own hashes, and compared with the root that the log signed.
func (s *Server) prove(q *request, e store.Entry) (store.Checkpoint, tlog.RecordProof, bool, error) {
	c, found, err := s.cfg.Store.BestCovering(q.ctx(), e.Log, e.Index+1, q.pos[e.Log].Downloaded)
	if err != nil || !found {
		return c, nil, false, err
	}
	path, root, err := s.cfg.Store.Prove(q.ctx(), e.Log, c.Size, e.Index)
	if err == nil && root != c.Root {
		err = fmt.Errorf("the stored hashes of %q give another root at size %d than the checkpoint that was found "+
			"consistent", q.origin(e.Log), c.Size)
	}
	if err == nil {
		err = tlog.CheckRecord(path, c.Size, c.Root, e.Index, e.LeafHash)
	}
	return c, path, err == nil, err
}

func (s *Server) inclusion(q *request, e store.Entry) (*proofJSON, error) {
	c, path, ok, err := s.prove(q, e)
	if !ok {
		return nil, err
	}
	v := &proofJSON{Checkpoint: checkpointView(q.logs, c), Path: []string{}}
	for _, h := range path {
		v.Path = append(v.Path, hex.EncodeToString(h[:]))
	}
	return v, nil
}

// bundle answers with the c2sp.org/tlog-proof of an entry, verified with the code of
// those who will rely on it.
func (s *Server) bundle(q *request, key string) error {
	e, err := s.find(q, key)
	if err != nil {
		return err
	}
	c, path, ok, err := s.prove(q, e)
	if err != nil {
		return err
	}
	if !ok {
		return notFound("This monitor holds no checkpoint that covers this entry yet; try again in a minute.")
	}
	b, err := s.makeBundle(q.origin(e.Log), e, c, path)
	if err != nil {
		return err
	}
	download(q.w, fileName(e)+bundleSuffix)
	return web.Send(q.w, q.r, "text/plain; charset=utf-8", b)
}

func (s *Server) makeBundle(origin string, e store.Entry, c store.Checkpoint, path tlog.RecordProof) ([]byte, error) {
	policy := s.cfg.Policies[origin]
	parsed, err := entry.Parse(e.Data)
	if policy == nil || err != nil {
		return nil, refuse(http.StatusConflict, "no-bundle",
			"There is no bundle of this entry: it cannot be read, or the monitor no longer follows its log.")
	}
	proof := client.Proof{Index: uint64(e.Index), Checkpoint: c.Signed, Extra: e.Data}
	for _, h := range path {
		proof.Hashes = append(proof.Hashes, h)
	}
	b, err := proof.Marshal()
	if err != nil {
		return nil, err
	}
	rules := client.Rules{AllowNoWitnesses: !policy.NeedsWitnesses()}
	if src, ok := parsed.Claim.(*entry.Source); ok {
		rules.AllowUnproven = src.Unproven // what may be unproven is the reader's choice
	}
	res, err := client.VerifyBundle(b, policy, s.cfg.Proofs, rules)
	if err != nil {
		return nil, refuse(http.StatusConflict, "no-bundle",
			"There is no bundle of this entry that verifies under this monitor's trust file. "+err.Error())
	}
	if res.Index != uint64(e.Index) || !bytes.Equal(res.EntryBytes, e.Data) {
		return nil, fmt.Errorf("the bundle of entry %d of %q is of entry %d", e.Index, origin, res.Index)
	}
	return b, nil
}

// rawEntry answers with an entry's bytes, as they stand in the log.
func (s *Server) rawEntry(q *request, key string) error {
	e, err := s.find(q, key)
	if err != nil {
		return err
	}
	if e.Index < q.pos[e.Log].Verified {
		web.Immutable(q.w)
	}
	download(q.w, fileName(e)+rawSuffix)
	return web.Send(q.w, q.r, "application/octet-stream", e.Data)
}

// fileName is what a download of an entry is called. The parts of a crate's name and
// version are harmless in a file name; see package entry.
func fileName(e store.Entry) string {
	if e.Name == "" {
		return "entry-" + strconv.FormatInt(e.Index, 10)
	}
	return e.Name + "-" + e.Version
}

func download(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
}
