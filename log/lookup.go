package log

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	tclient "github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/internal/sqlite"
	"cratelog/internal/web"
)

// Bounds of the lists of one answer.
const (
	maxVersions = 256
	maxOfClaim  = 64 // entries with one identity: one for each program
)

// ofEntries keeps the rows of what the log itself made, and of what is no leaf, out of answers.
const ofEntries = "kind IN ('source', 'build')"

// parameters reads a request's query strictly: one that is unknown or given twice is an error.
func parameters(r *http.Request, known ...string) (map[string]string, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(MalformedRequest, err, "The query is not URL-encoded.")
	}
	out := make(map[string]string)
	for _, key := range known {
		if len(values[key]) > 1 {
			return nil, refuse(MalformedRequest, nil, "The query gives %s more than once.", key)
		}
		if len(values[key]) == 1 {
			out[key] = values[key][0]
		}
		delete(values, key)
	}
	for key := range values {
		return nil, refuse(MalformedRequest, nil, "The query has no parameter %.40q; it takes %s.", key,
			strings.Join(known, " and "))
	}
	return out, nil
}

// decimal reads a number that has one spelling.
func decimal(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return n, err == nil && strconv.FormatUint(n, 10) == text
}

// hexHash reads a hash in lower-case hex.
func hexHash(text string) (h [32]byte, ok bool) {
	b, err := hex.DecodeString(text)
	ok = err == nil && len(b) == len(h) && hex.EncodeToString(b) == text
	copy(h[:], b)
	return h, ok
}

// versionsBody is the JSON of the versions of a crate that a log has entries about.
type versionsBody struct {
	Registry string        `json:"registry"`
	Versions []versionBody `json:"versions"`       // by name and version, as bytes
	Next     string        `json:"next,omitempty"` // what to give as after, to go on; absent: that is all
	Size     uint64        `json:"size"`           // of the published tree in which this is all
}

type versionBody struct {
	Name    string `json:"name"` // as its entries write it
	Version string `json:"version"`
	SHA256  string `json:"sha256"`         // of the .crate
	Index   uint64 `json:"index"`          // of its first entry
	Void    bool   `json:"void,omitempty"` // the version has another checksum, by an entry that was before it
}

// crateVersions lists what stands about a crate: all versions, page by page, whatever of case, '_' and '-' in
// its name, since a registry takes such names for one.
func (l *Log) crateVersions(w http.ResponseWriter, r *http.Request) error {
	p, err := parameters(r, "registry", "after")
	if err != nil {
		return err
	}
	name, registry := r.PathValue("name"), cmp.Or(p["registry"], entry.DefaultRegistry)
	after := [2]string{}
	if p["after"] != "" {
		var ok bool
		if after[0], after[1], ok = strings.Cut(p["after"], "@"); !ok || entry.CheckName(after[0]) != nil ||
			entry.CheckVersion(after[1]) != nil {
			return refuse(MalformedRequest, nil, "The query's after is not NAME@VERSION, the next of an answer before.")
		}
	}
	if err := errors.Join(entry.CheckName(name), entry.CheckRegistry(registry)); err != nil {
		return refuse(MalformedRequest, err, "The request is not one for the versions of a crate: %v.", err)
	}
	head, err := l.head()
	if err != nil {
		return err
	}
	b := versionsBody{Registry: registry, Versions: []versionBody{}, Size: head.size}
	most := cmp.Or(l.cfg.testingOnlyPage, maxVersions)
	for {
		v, found, err := l.index.nextVersion(r.Context(), registry, name, after, b.Size)
		if err != nil {
			return err
		}
		switch {
		case !found && len(b.Versions) == 0 && p["after"] == "":
			return refuse(NotFound, nil, "This log has no published entry about a crate with this name.")
		case !found:
			return web.SendJSON(w, r, b)
		case len(b.Versions) == most:
			b.Next = after[0] + "@" + after[1]
			return web.SendJSON(w, r, b)
		}
		sum, err := l.checksum(head, versionKey{registry, v.Name, v.Version})
		if err != nil {
			return err
		}
		v.Void = v.SHA256 != hex.EncodeToString(sum[:])
		b.Versions = append(b.Versions, v)
		after = [2]string{v.Name, v.Version}
	}
}

// nextVersion returns the first version below size of a crate, whatever the spelling of its name, that comes
// after another, and whether there is one. It reads one place of the index, however many entries there are.
func (x *rowStore) nextVersion(ctx context.Context, registry, name string, after [2]string, size uint64) (versionBody,
	bool, error) {
	v, found, err := sqlite.Found(func() (v versionBody, err error) {
		var sum []byte
		err = x.db.QueryRowContext(ctx,
			"SELECT name, version, sha256, idx FROM entries WHERE replace(lower(name), '_', '-') = "+
				"replace(lower(?), '_', '-') AND registry = ? AND (name, version) > (?, ?) AND idx < ? "+
				"ORDER BY name, version, idx LIMIT 1",
			name, registry, after[0], after[1], int64(size)).Scan(&v.Name, &v.Version, &sum, &v.Index)
		v.SHA256 = hex.EncodeToString(sum)
		return v, err
	}())
	if err != nil {
		err = fmt.Errorf("index: %w", err)
	}
	return v, found, err
}

// entryFacts is the JSON of what an entry is about. Its bundle shows all of it.
type entryFacts struct {
	Index    uint64 `json:"index"`
	Leaf     string `json:"leaf"` // RFC 6962 hash of the entry
	Identity string `json:"identity"`
	Program  string `json:"program"`
	Kind     string `json:"kind"` // source or build
	Registry string `json:"registry"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	SHA256   string `json:"sha256"`         // of the .crate
	Void     bool   `json:"void,omitempty"` // the version has another checksum, by an entry that was before it
}

// facts says what a published entry is about, as it stands in the tree, not in the index.
func (l *Log) facts(ctx context.Context, of row, head published) (entryFacts, error) {
	data, err := l.verified.entry(ctx, head.tree(), of.idx)
	if err != nil {
		return entryFacts{}, err
	}
	r, err := newRow(of.idx, data)
	if err != nil {
		return entryFacts{}, err
	}
	if r != of {
		return entryFacts{}, fmt.Errorf("the index and the tree disagree about entry %d", of.idx)
	}
	sum, err := l.checksum(head, r.versionKey)
	return entryFacts{r.idx, fmt.Sprintf("%x", r.leaf), fmt.Sprintf("%x", r.identity), fmt.Sprintf("%x", r.program),
		r.kind, r.registry, r.name, r.version, fmt.Sprintf("%x", r.sha256), sum != r.sha256}, err
}

// entryByLeaf says which entry has a leaf hash.
func (l *Log) entryByLeaf(w http.ResponseWriter, r *http.Request) error {
	leaf, ok := hexHash(r.PathValue("hash"))
	if !ok {
		return refuse(NotFound, nil, "A leaf has the address of its RFC 6962 hash in lower-case hex.")
	}
	head, err := l.head()
	if err != nil {
		return err
	}
	rows, err := l.index.rows(r.Context(), "WHERE leaf = ? AND idx < ? AND "+ofEntries+" ORDER BY idx LIMIT 1", leaf[:], int64(head.size))
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return refuse(NotFound, nil, "This log has no published entry with this leaf hash.")
	}
	b, err := l.facts(r.Context(), rows[0], head)
	if err != nil {
		return err
	}
	web.Immutable(w)
	return web.SendJSON(w, r, b)
}

// identityBody is the JSON of the entries that hold one claim, in the order of the tree.
type identityBody struct {
	Entries []entryFacts `json:"entries"`
}

// entriesByIdentity lists the entries of a claim: one for each program that proves it.
func (l *Log) entriesByIdentity(w http.ResponseWriter, r *http.Request) error {
	identity, ok := hexHash(r.PathValue("identity"))
	if !ok {
		return refuse(NotFound, nil, "A claim has the address of its identity, a SHA-256 in lower-case hex.")
	}
	head, err := l.head()
	if err != nil {
		return err
	}
	rows, err := l.index.rows(r.Context(), "WHERE identity = ? AND idx < ? AND "+ofEntries+" ORDER BY idx LIMIT ?", identity[:],
		int64(head.size), maxOfClaim)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return refuse(NotFound, nil, "This log has no published entry with a claim of this identity.")
	}
	b := identityBody{}
	for _, row := range rows {
		f, err := l.facts(r.Context(), row, head)
		if err != nil {
			return err
		}
		b.Entries = append(b.Entries, f)
	}
	return web.SendJSON(w, r, b)
}

// What became of a submission.
const (
	submissionUnknown   = "unknown"   // the log has accepted no such entry, or is still checking it
	submissionAccepted  = "accepted"  // it is on its way into the tree
	submissionSequenced = "sequenced" // it stands in the tree, and waits for a checkpoint with the witnesses' quorum
	submissionPublished = "published" // its bundle is there
)

// submissionBody is the JSON of what became of a submission.
type submissionBody struct {
	State  string  `json:"state"`            // unknown, accepted, sequenced or published
	Index  *uint64 `json:"index,omitempty"`  // of the entry, once it is sequenced
	Bundle string  `json:"bundle,omitempty"` // the address of its bundle, once it is published
}

// submission says what became of the entry with a claim and, if the query names one, a proof of a program.
func (l *Log) submission(w http.ResponseWriter, r *http.Request) error {
	p, err := parameters(r, "program")
	if err != nil {
		return err
	}
	identity, ok := hexHash(r.PathValue("identity"))
	if !ok {
		return refuse(NotFound, nil, "A submission has the address of its claim's identity, a SHA-256 in lower-case hex.")
	}
	find := func() (row, bool, error) { return l.index.byIdentity(r.Context(), identity) }
	same := func(p proven) bool { return p.identity == identity }
	if text, named := p["program"]; named {
		program, ok := hexHash(text)
		if !ok {
			return refuse(MalformedRequest, nil, "The query's program is no id, a SHA-256 in lower-case hex.")
		}
		find = func() (row, bool, error) { return l.index.byProven(r.Context(), proven{identity, program}) }
		same = func(p proven) bool { return p == proven{identity, program} }
	}
	// First what is on its way: it leaves there only once its row is in the index.
	waiting := l.onItsWay(same)
	found, known, err := find()
	if err != nil {
		return err
	}
	b := submissionBody{State: submissionUnknown}
	if waiting {
		b.State = submissionAccepted
	}
	if known {
		b.State, b.Index = submissionSequenced, &found.idx
		if found.idx < l.published.head().size {
			b.State, b.Bundle = submissionPublished, fmt.Sprintf("/v1/entries/%d", found.idx)
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	return web.SendJSON(w, r, b)
}

// onItsWay says whether an entry is accepted that has no row yet.
func (l *Log) onItsWay(is func(proven) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.reserved {
		if is(r.proven) {
			return true
		}
	}
	return false
}

// inclusionBody is the JSON of an RFC 6962 inclusion proof.
type inclusionBody struct {
	Index  uint64   `json:"index"`
	Size   uint64   `json:"size"`
	Leaf   string   `json:"leaf"`
	Root   string   `json:"root"` // of the first size entries
	Hashes []string `json:"hashes"`
}

// consistencyBody is the JSON of an RFC 6962 consistency proof.
type consistencyBody struct {
	Old     uint64   `json:"old"`
	Size    uint64   `json:"size"`
	OldRoot string   `json:"old_root"`
	Root    string   `json:"root"`
	Hashes  []string `json:"hashes"`
}

// tilesOf reads tiles of any width that the published tree has.
func (l *Log) tilesOf(head published) tclient.TileFetcherFunc {
	return l.verified.tiles(head.tree())
}

// rootOf returns the root of the first size entries, and has compared it with the published one: a proof
// must lead from one to the other.
func (l *Log) rootOf(ctx context.Context, size uint64, head published) (tlog.Hash, error) {
	root, err := rootAt(ctx, size, l.tilesOf(head))
	if err != nil || size == 0 {
		return root, err
	}
	if size == head.size && root == head.root {
		return root, nil
	}
	hashes, err := l.consistencyHashes(ctx, size, head.size, head)
	if err == nil {
		err = proof.VerifyConsistency(rfc6962.DefaultHasher, size, head.size, hashes, root[:], head.root[:])
	}
	if err != nil {
		err = fmt.Errorf("the tiles are not those of the published root: %w", err)
	}
	return root, err
}

func (l *Log) consistencyHashes(ctx context.Context, old, size uint64, head published) ([][]byte, error) {
	if old == 0 || old == size {
		return nil, nil
	}
	pb, err := tclient.NewProofBuilder(ctx, size, l.tilesOf(head))
	if err != nil {
		return nil, err
	}
	return pb.ConsistencyProof(ctx, old, size)
}

func hexesOf(hashes [][]byte) []string {
	out := make([]string, len(hashes))
	for i, h := range hashes {
		out[i] = hex.EncodeToString(h)
	}
	return out
}

// proofQuery reads the two numbers of a request for a proof. A size that is left out is the published one,
// and only what names its size never changes.
func (l *Log) proofQuery(w http.ResponseWriter, r *http.Request, first string) (n, size uint64, head published,
	err error) {
	if head, err = l.head(); err != nil {
		return 0, 0, head, err
	}
	p, err := parameters(r, first, "size")
	if err != nil {
		return 0, 0, head, err
	}
	n, ok := decimal(p[first])
	size, sized := head.size, true
	if text, named := p["size"]; named {
		size, sized = decimal(text)
	}
	if !ok || !sized {
		return 0, 0, head, refuse(MalformedRequest, nil,
			"A proof is asked for with %s and, perhaps, size, which are decimal numbers.", first)
	}
	if size > head.size || size == 0 {
		return 0, 0, head, refuse(NotFound, nil,
			"The published tree has %d entries: a proof is made for sizes from 1 to that.", head.size)
	}
	if p["size"] != "" {
		web.Immutable(w)
	}
	return n, size, head, nil
}

// inclusion serves the proof that an entry stands in the tree of a size of one's choice.
func (l *Log) inclusion(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	idx, size, head, err := l.proofQuery(w, r, "index")
	if err != nil {
		return err
	}
	if idx >= size {
		return refuse(NotFound, nil, "The tree of %d entries has no entry %d.", size, idx)
	}
	root, err := l.rootOf(ctx, size, head)
	if err != nil {
		return err
	}
	data, err := l.verified.entry(ctx, head.tree(), idx)
	if err != nil {
		return err
	}
	leaf := tlog.RecordHash(data)
	pb, err := tclient.NewProofBuilder(ctx, size, l.tilesOf(head))
	if err != nil {
		return err
	}
	hashes, err := pb.InclusionProof(ctx, idx)
	if err == nil {
		err = proof.VerifyInclusion(rfc6962.DefaultHasher, idx, size, leaf[:], hashes, root[:])
	}
	if err != nil {
		return fmt.Errorf("proving entry %d in the tree of %d: %w", idx, size, err)
	}
	return web.SendJSON(w, r, inclusionBody{idx, size, hex.EncodeToString(leaf[:]), hex.EncodeToString(root[:]),
		hexesOf(hashes)})
}

// consistency serves the proof that a tree of one size continues that of another.
func (l *Log) consistency(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	old, size, head, err := l.proofQuery(w, r, "old")
	if err != nil {
		return err
	}
	if old > size {
		return refuse(MalformedRequest, nil, "The old size, %d, is larger than the size, %d.", old, size)
	}
	oldRoot, err := l.rootOf(ctx, old, head)
	if err != nil {
		return err
	}
	root, err := l.rootOf(ctx, size, head)
	if err != nil {
		return err
	}
	hashes, err := l.consistencyHashes(ctx, old, size, head)
	if err == nil && old > 0 {
		err = proof.VerifyConsistency(rfc6962.DefaultHasher, old, size, hashes, oldRoot[:], root[:])
	}
	if err != nil {
		return fmt.Errorf("proving that the tree of %d continues that of %d: %w", size, old, err)
	}
	return web.SendJSON(w, r, consistencyBody{old, size, hex.EncodeToString(oldRoot[:]), hex.EncodeToString(root[:]),
		hexesOf(hashes)})
}
