package web

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
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
	path, err := s.path(q, c, e.Index)
	if err == nil {
		err = tlog.CheckRecord(path, c.Size, c.Root, e.Index, e.LeafHash)
	}
	return c, path, err == nil, err
}

// path is the inclusion path of a leaf to the root of a checkpoint.
func (s *Server) path(q *request, c store.Checkpoint, at int64) (tlog.RecordProof, error) {
	path, root, err := s.cfg.Store.Prove(q.ctx(), c.Log, c.Size, at)
	if err == nil && root != c.Root {
		err = fmt.Errorf("the stored hashes of %q give another root at size %d than the checkpoint that was found "+
			"consistent", q.origin(c.Log), c.Size)
	}
	return path, err
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

// bundle answers with an entry's bundle, verified with the code of those who will rely on it. What the log's index
// says of the version is of this monitor's own map, if the log's seal says the same.
func (s *Server) bundle(q *request, key string) error {
	e, err := s.find(q, key)
	if err != nil {
		return err
	}
	void, is, err := s.cfg.Store.Void(q.ctx(), e.Log, e.Index)
	if err == nil && is {
		err = noBundle(fmt.Sprintf("it is void, because in this log the version has the checksum %x.", void.SHA256))
	}
	if err != nil {
		return err
	}
	c, m, why, err := s.sealedUnder(q, e.Log, e.Index)
	if err != nil {
		return err
	}
	if m == nil {
		return noBundle(why)
	}
	b, err := s.makeBundle(q, e, c, m)
	if err != nil {
		return err
	}
	download(q.w, fileName(e)+bundleSuffix)
	return web.Send(q.w, q.r, "text/plain; charset=utf-8", b)
}

// sealedUnder returns the best checkpoint that covers a log's entry of an index, of those whose seal says what this
// monitor's own map of the entries before it says, and that map: one that satisfies the trust file, if there is one. If
// there is none, why says so.
func (s *Server) sealedUnder(q *request, log, at int64) (best store.Checkpoint, m *index.Snapshot, why string, err error) {
	var all []store.Sealed
	if s.cfg.Sealed != nil {
		all = s.cfg.Sealed(q.origin(log))
	} else if all, err = s.cfg.Store.Sealed(q.ctx(), log); err != nil {
		return best, nil, "", err
	}
	for _, x := range all {
		if x.Size <= at+1 {
			continue // the last leaf is the seal
		}
		same, err := s.cfg.Store.CheckpointsOfSize(q.ctx(), log, x.Size)
		if err != nil {
			return best, nil, "", err
		}
		for _, c := range same {
			if c.Verdict == store.Consistent && (m == nil || c.Accepted && !best.Accepted) {
				best, m = c, x.Map
			}
		}
	}
	if m != nil {
		return best, m, "", nil
	}
	p := q.pos[log]
	_, covered, err := s.cfg.Store.BestCovering(q.ctx(), log, at+1, p.Downloaded)
	switch {
	case err != nil:
	case !covered:
		err = notFound("This monitor holds no checkpoint that covers this entry yet; try again in a minute.")
	case p.WrongSeal >= 0:
		why = "the log's seals are not of the index that its entries make; see the findings."
	case p.Sealed < p.Verified:
		why = "the seals of the log are not compared with this monitor's own map yet; see the findings."
	default:
		why = "no checkpoint that covers it ends in a seal that this monitor agrees with."
	}
	return best, nil, why, err
}

func noBundle(why string) error {
	return refuse(http.StatusConflict, "no-bundle", "There is no bundle of this entry: "+why)
}

func (s *Server) makeBundle(q *request, e store.Entry, c store.Checkpoint, m *index.Snapshot) ([]byte, error) {
	origin := q.origin(e.Log)
	policy := s.cfg.Policies[origin]
	parsed, err := entry.Parse(e.Data)
	if policy == nil || err != nil {
		return nil, noBundle("it cannot be read, or is none about a crate, or the monitor no longer follows its log.")
	}
	out := client.Bundle{Index: uint64(e.Index), Checkpoint: c.Signed, Entry: e.Data}
	if out.Seal, err = s.leafUnder(q, c, c.Size-1); err != nil {
		return nil, err
	}
	own, err := s.leafUnder(q, c, e.Index)
	if err != nil {
		return nil, err
	}
	out.Hashes = own.Hashes
	subject := parsed.Subject
	out.Version.Value, out.Version.Proof = m.Lookup(index.VersionKey(subject.Registry, subject.Name, subject.Version))
	b, err := out.Marshal()
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

// leafUnder is a leaf with its path to the root of a checkpoint.
func (s *Server) leafUnder(q *request, c store.Checkpoint, at int64) (l client.Seal, err error) {
	e, ok, err := s.cfg.Store.EntryAt(q.ctx(), c.Log, at)
	if err == nil && !ok {
		err = fmt.Errorf("leaf %d of %q is missing", at, q.origin(c.Log))
	}
	if err != nil {
		return l, err
	}
	path, err := s.path(q, c, at)
	l.Leaf = e.Data
	for _, h := range path {
		l.Hashes = append(l.Hashes, h)
	}
	return l, err
}

// lookup answers what the log holds of a version, as the log itself does: out of this monitor's own map, under a
// checkpoint whose seal says the same.
func (s *Server) lookup(q *request) error {
	name, version, registry := q.r.PathValue("name"), q.r.PathValue("version"), q.get("registry")
	if registry == "" {
		registry = entry.DefaultRegistry
	}
	if errors.Join(entry.CheckName(name), entry.CheckVersion(version), entry.CheckRegistry(registry)) != nil {
		return badRequest("That is not a crate, a version and a registry.")
	}
	log, err := q.oneLog()
	if err != nil {
		return err
	}
	policy := s.cfg.Policies[log.Origin]
	c, m, why, err := s.sealedUnder(q, log.ID, -1)
	if err != nil {
		return err
	}
	if m == nil || policy == nil {
		return refuse(http.StatusConflict, "no-lookup", "Nothing can be shown of this log: "+cmp.Or(why, "this monitor no longer follows it."))
	}
	out := client.SealedLookup{Head: client.Head{Index: uint64(c.Size - 1), Checkpoint: c.Signed}}
	if out.Seal, err = s.leafUnder(q, c, c.Size-1); err != nil {
		return err
	}
	out.Version.Value, out.Version.Proof = m.Lookup(index.VersionKey(registry, name, version))
	b, err := out.Marshal()
	if err != nil {
		return err
	}
	if _, err := out.Check(policy, client.Rules{AllowNoWitnesses: !policy.NeedsWitnesses()}, registry, name, version); err != nil {
		return refuse(http.StatusConflict, "no-lookup", "There is no look-up that verifies under this monitor's trust file. "+err.Error())
	}
	return web.Send(q.w, q.r, "text/plain; charset=utf-8", b)
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
