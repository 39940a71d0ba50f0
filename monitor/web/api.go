package web

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"

	"cratelog/entry"
	"cratelog/monitor/store"
)

const jsonSuffix = ".json"

// sendJSON answers a GET with a value.
func sendJSON(w http.ResponseWriter, r *http.Request, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return send(w, r, "application/json", append(b, '\n'))
}

func (s *Server) apiEntries(w http.ResponseWriter, r *http.Request) error {
	p, err := parseParams(r, append([]string{"order", "limit", "cursor"}, filters...)...)
	if err != nil {
		return err
	}
	list, err := s.entryList(r.Context(), p, p.oneOf("order", "oldest", "newest") == "newest", defaultLimit)
	if err != nil {
		return err
	}
	return sendJSON(w, r, list)
}

// entryList is one page of the entries that the filters choose.
func (s *Server) entryList(ctx context.Context, p *params, newest bool, standard int) (*entryList, error) {
	what := "entries, the oldest first"
	if newest {
		what = "entries, the newest first"
	}
	limit, after := p.limit(standard), p.cursor(what)
	q, err := s.entryQuery(ctx, p)
	if err != nil {
		return nil, err
	}
	q.Newest, q.After, q.Limit = newest, after, limit+1 // one more tells whether there is more
	l, err := s.logs(ctx)                               // before the entries: what is complete up to there
	if err != nil {
		return nil, err
	}
	found, err := s.cfg.Store.Entries(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &entryList{Heads: l.heads(q.Log)}
	if len(found) > limit {
		found = found[:limit]
		out.Next = p.makeCursor(what, found[limit-1].Place)
	}
	out.Entries = s.entryViews(l, found)
	return out, nil
}

func (s *Server) apiEntry(w http.ResponseWriter, r *http.Request) error {
	p, err := parseParams(r, "log")
	if err != nil {
		return err
	}
	d, err := s.entryDetail(r.Context(), p, strings.TrimSuffix(r.PathValue("key"), jsonSuffix))
	if err != nil {
		return err
	}
	return sendJSON(w, r, d)
}

func (s *Server) apiCrate(w http.ResponseWriter, r *http.Request) error {
	c, err := s.crateOf(r, strings.TrimSuffix(r.PathValue("name"), jsonSuffix), "oldest", defaultLimit)
	if err != nil {
		return err
	}
	return sendJSON(w, r, c)
}

// crateOf is one page of a crate's history.
func (s *Server) crateOf(r *http.Request, name, order string, standard int) (*crateJSON, error) {
	p, err := parseParams(r, "log", "order", "limit", "cursor")
	if err != nil {
		return nil, err
	}
	if entry.CheckName(name) != nil {
		return nil, notFound("That is no name of a crate.")
	}
	if given := p.oneOf("order", "oldest", "newest"); given != "" {
		order = given
	}
	p.values.Set("crate", name)
	list, err := s.entryList(r.Context(), p, order == "newest", standard)
	if err != nil {
		return nil, err
	}
	return &crateJSON{Crate: name, entryList: *list}, nil
}

func (s *Server) apiCheckpoints(w http.ResponseWriter, r *http.Request) error {
	p, err := parseParams(r, "log", "size", "verdict", "order", "limit", "cursor")
	if err != nil {
		return err
	}
	q := store.CheckpointQuery{
		Size: p.size("size"), Verdict: p.oneOf("verdict", store.Consistent, store.Inconsistent, store.Pending),
		Newest: p.oneOf("order", "oldest", "newest") == "newest", After: p.cursor("checkpoints"),
	}
	limit := p.limit(defaultLimit)
	l, err := s.forList(r.Context(), p, &q.Log)
	if err != nil {
		return err
	}
	q.Limit = limit + 1
	found, err := s.cfg.Store.Checkpoints(r.Context(), q)
	if err != nil {
		return err
	}
	var out checkpointList
	if len(found) > limit {
		found = found[:limit]
		out.Next = p.makeCursor("checkpoints", found[limit-1].ID)
	}
	out.Checkpoints = checkpointViews(l, found)
	return sendJSON(w, r, out)
}

// forList ends the reading of a list's parameters, and sets the log that it is of.
func (s *Server) forList(ctx context.Context, p *params, log *int64) (*logs, error) {
	if p.err != nil {
		return nil, p.err
	}
	only, err := s.log(ctx, p)
	if err != nil {
		return nil, err
	}
	if only != nil {
		*log = only.ID
	}
	return s.logs(ctx)
}

func (s *Server) apiFindings(w http.ResponseWriter, r *http.Request) error {
	list, err := s.findingList(r, "oldest", defaultLimit)
	if err != nil {
		return err
	}
	return sendJSON(w, r, list)
}

func (s *Server) findingList(r *http.Request, order string, standard int) (*findingList, error) {
	p, err := parseParams(r, "log", "class", "kind", "crate", "standing", "order", "limit", "cursor")
	if err != nil {
		return nil, err
	}
	if given := p.oneOf("order", "oldest", "newest"); given != "" {
		order = given
	}
	q := store.FindingQuery{
		Class: store.Class(p.oneOf("class", string(store.Security), string(store.Operational), string(store.Info))),
		Kind:  p.get("kind"), Name: p.get("crate"), Standing: p.oneOf("standing", "yes") == "yes",
		Newest: order == "newest", After: p.cursor("findings, the " + order),
	}
	limit := p.limit(standard)
	l, err := s.forList(r.Context(), p, &q.Log)
	if err != nil {
		return nil, err
	}
	q.Limit = limit + 1
	found, err := s.cfg.Store.Findings(r.Context(), q)
	if err != nil {
		return nil, err
	}
	out := &findingList{Heads: l.heads(q.Log)}
	if len(found) > limit {
		found = found[:limit]
		out.Next = p.makeCursor("findings, the "+order, found[limit-1].ID)
	}
	out.Findings = findingViews(found, l)
	return out, nil
}

// logViews are all logs, or the one that the parameter log names.
func (s *Server) logViews(r *http.Request) ([]logJSON, error) {
	p, err := parseParams(r, "log")
	if err != nil {
		return nil, err
	}
	var only int64
	l, err := s.forList(r.Context(), p, &only)
	if err != nil {
		return nil, err
	}
	out := []logJSON{}
	for _, log := range l.all {
		if only != 0 && only != log.ID {
			continue
		}
		v, err := s.logView(r.Context(), l, log)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (s *Server) apiLogs(w http.ResponseWriter, r *http.Request) error {
	views, err := s.logViews(r)
	if err != nil {
		return err
	}
	return sendJSON(w, r, map[string]any{"logs": views})
}

func (s *Server) apiWitnesses(w http.ResponseWriter, r *http.Request) error {
	views, err := s.logViews(r)
	if err != nil {
		return err
	}
	out := []witnessJSON{}
	for _, v := range views {
		out = append(out, v.Witnesses...)
	}
	return sendJSON(w, r, map[string]any{"witnesses": out})
}

// statisticsJSON is the numbers of one log.
type statisticsJSON struct {
	headJSON
	Backlog    backlogJSON   `json:"backlog"`
	Results    resultsJSON   `json:"results"`
	Findings   findingCount  `json:"findings"`
	AgeSeconds int64         `json:"checkpoint_age_seconds"`
	Programs   []programJSON `json:"programs"`
	More       int           `json:"more_programs"`
	Growth     []growthJSON  `json:"growth"`
}

func (s *Server) apiStatistics(w http.ResponseWriter, r *http.Request) error {
	views, err := s.logViews(r)
	if err != nil {
		return err
	}
	out := []statisticsJSON{}
	for _, v := range views {
		out = append(out, statisticsJSON{headJSON{v.Origin, v.Downloaded, v.Verified, v.Root, v.Page}, v.Backlog, v.Results, v.Findings, v.AgeSeconds, v.Programs, v.MorePrograms, v.Growth})
	}
	return sendJSON(w, r, map[string]any{"statistics": out})
}

// find returns the entry that a key names: its index, or its leaf hash in hex.
func (s *Server) find(ctx context.Context, p *params, key string) (store.Entry, *logs, error) {
	var none store.Entry
	l, err := s.logs(ctx)
	if err != nil {
		return none, nil, err
	}
	if leaf, ok := parseHex(key, 32); ok {
		return s.findLeaf(ctx, p, l, [32]byte(leaf))
	}
	index, ok := parseSize(key)
	if !ok {
		return none, nil, notFound("An entry is named by its index, or by its leaf hash in 64 digits of lower-case hexadecimal.")
	}
	log, err := s.oneLog(ctx, p)
	if err != nil {
		return none, nil, err
	}
	e, found, err := s.cfg.Store.EntryAt(ctx, log.ID, index)
	if err == nil && !found {
		err = notFound("This monitor holds no entry of that index; its copy of the log may end before it.")
	}
	return e, l, err
}

// findLeaf returns the first entry with a leaf hash.
func (s *Server) findLeaf(ctx context.Context, p *params, l *logs, leaf [32]byte) (store.Entry, *logs, error) {
	q := store.EntryQuery{Leaf: &leaf, Limit: 1}
	log, err := s.log(ctx, p)
	if err != nil {
		return store.Entry{}, nil, err
	}
	if log != nil {
		q.Log = log.ID
	}
	found, err := s.cfg.Store.Entries(ctx, q)
	if err != nil {
		return store.Entry{}, nil, err
	}
	if len(found) == 0 {
		return store.Entry{}, nil, notFound("This monitor holds no entry with the leaf hash " + hex.EncodeToString(leaf[:]) + ".")
	}
	return found[0], l, nil
}

// around is how many earlier and later entries of a crate an entry's page names.
const around = 10

// entryDetail is an entry with all that stands around it.
func (s *Server) entryDetail(ctx context.Context, p *params, key string) (*entryDetail, error) {
	e, l, err := s.find(ctx, p, key)
	if err != nil {
		return nil, err
	}
	d := &entryDetail{entryJSON: s.entryView(l, e), Data: e.Data, Earlier: []entryJSON{}, Later: []entryJSON{}}
	if d.Inclusion, err = s.inclusion(ctx, l, e); err != nil {
		return nil, err
	}
	if d.Inclusion == nil {
		d.Bundle = ""
	}
	findings, err := s.cfg.Store.Findings(ctx, store.FindingQuery{Log: e.Log, Index: &e.Index, Limit: maxLimit})
	if err != nil {
		return nil, err
	}
	d.Findings = findingViews(findings, l)
	if e.Name == "" {
		return d, nil
	}
	q := store.EntryQuery{Name: e.Name, After: e.Place, Limit: around}
	later, err := s.cfg.Store.Entries(ctx, q)
	if err != nil {
		return nil, err
	}
	q.Newest = true
	earlier, err := s.cfg.Store.Entries(ctx, q)
	d.Earlier, d.Later = s.entryViews(l, earlier), s.entryViews(l, later)
	return d, err
}
