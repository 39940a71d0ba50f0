package web

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"cratelog/entry"
	"cratelog/internal/web"
	"cratelog/monitor/store"
)

const jsonSuffix = ".json"

// sendJSON answers a GET with a value.
func (q *request) sendJSON(v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return web.Send(q.w, q.r, "application/json", append(b, '\n'))
}

// answerJSON is sendJSON of what a function found.
func answerJSON[T any](q *request, v T, err error) error {
	if err != nil {
		return err
	}
	return q.sendJSON(v)
}

// order reads the parameter order, and says whether the newest come first.
func (q *request) order(standard string) (newest bool, order string) {
	if given := q.oneOf("order", "oldest", "newest"); given != "" {
		standard = given
	}
	return standard == "newest", standard
}

func (s *Server) apiEntries(q *request) error {
	list, err := s.entryList(q, "oldest", defaultLimit)
	return answerJSON(q, list, err)
}

// entryList is one page of the entries that the filters choose.
func (s *Server) entryList(q *request, order string, standard int) (*entryList, error) {
	newest, order := q.order(order)
	what := "entries, the " + order + " first"
	limit, after := q.limit(standard), q.cursor(what)
	find, err := s.entryQuery(q)
	if err != nil {
		return nil, err
	}
	find.Newest, find.After, find.Limit = newest, after, limit+1 // one more tells whether there is more
	found, err := s.cfg.Store.Entries(q.ctx(), find)
	if err != nil {
		return nil, err
	}
	out := &entryList{Heads: q.heads(find.Log)}
	if len(found) > limit {
		found = found[:limit]
		out.Next = q.makeCursor(what, found[limit-1].Place)
	}
	if out.Entries, err = s.entryViews(q.ctx(), q.logs, found); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Server) apiEntry(q *request) error {
	d, err := s.entryDetail(q, strings.TrimSuffix(q.r.PathValue("key"), jsonSuffix))
	return answerJSON(q, d, err)
}

func (s *Server) apiCrate(q *request) error {
	c, err := s.crateOf(q, strings.TrimSuffix(q.r.PathValue("name"), jsonSuffix), "oldest", defaultLimit)
	return answerJSON(q, c, err)
}

// crateOf is one page of a crate's history.
func (s *Server) crateOf(q *request, name, order string, standard int) (*crateJSON, error) {
	if entry.CheckName(name) != nil {
		return nil, notFound("That is not the name of a crate.")
	}
	q.values.Set("crate", name)
	list, err := s.entryList(q, order, standard)
	if err != nil {
		return nil, err
	}
	return &crateJSON{Crate: name, entryList: *list}, nil
}

func (s *Server) apiCheckpoints(q *request) error {
	find := store.CheckpointQuery{
		Size: q.size("size"), Verdict: q.oneOf("verdict", store.Consistent, store.Inconsistent, store.Pending),
		After: q.cursor("checkpoints"),
	}
	find.Newest, _ = q.order("oldest")
	limit := q.limit(defaultLimit)
	var err error
	if find.Log, err = q.only(); err != nil {
		return err
	}
	find.Limit = limit + 1
	found, err := s.cfg.Store.Checkpoints(q.ctx(), find)
	if err != nil {
		return err
	}
	var out checkpointList
	if len(found) > limit {
		found = found[:limit]
		out.Next = q.makeCursor("checkpoints", found[limit-1].ID)
	}
	out.Checkpoints = checkpointViews(q.logs, found)
	return q.sendJSON(out)
}

func (s *Server) apiFindings(q *request) error {
	list, err := s.findingList(q, "oldest", defaultLimit, false)
	return answerJSON(q, list, err)
}

func (s *Server) findingList(q *request, order string, standard int, graver bool) (*findingList, error) {
	newest, order := q.order(order)
	what := "findings, the " + order
	find := store.FindingQuery{
		Class: q.class(),
		Kind:  q.get("kind"), Name: q.get("crate"), Standing: q.oneOf("standing", "yes") == "yes",
		Newest: newest, After: q.cursor(what), Graver: graver && !q.has("class") && !q.has("kind"),
	}
	limit := q.limit(standard)
	var err error
	if find.Log, err = q.only(); err != nil {
		return nil, err
	}
	find.Limit = limit + 1
	found, err := s.cfg.Store.Findings(q.ctx(), find)
	if err != nil {
		return nil, err
	}
	out := &findingList{Heads: q.heads(find.Log), Info: []kindCount{}}
	kinds, err := s.cfg.Store.CountKinds(q.ctx(), find.Log, store.Info)
	if err != nil {
		return nil, err
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		v := url.Values{"kind": {kind}}
		if q.has("log") {
			v.Set("log", q.get("log"))
		}
		out.Info = append(out.Info, kindCount{kind, kinds[kind], "/evidence?" + v.Encode()})
	}
	if len(found) > limit {
		found = found[:limit]
		out.Next = q.makeCursor(what, found[limit-1].ID)
	}
	out.Findings = findingViews(found, q.logs)
	return out, nil
}

// logViews are all logs, or the one that the parameter log names.
func (s *Server) logViews(q *request) ([]logJSON, error) {
	only, err := q.only()
	if err != nil {
		return nil, err
	}
	out := []logJSON{}
	for _, log := range q.all {
		if only != 0 && only != log.ID {
			continue
		}
		v, err := s.logView(q.ctx(), q.logs, log)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (s *Server) apiLogs(q *request) error {
	views, err := s.logViews(q)
	return answerJSON(q, logList{views}, err)
}

func (s *Server) apiWitnesses(q *request) error {
	views, err := s.logViews(q)
	out := []witnessJSON{}
	for _, v := range views {
		out = append(out, v.Witnesses...)
	}
	return answerJSON(q, witnessList{out}, err)
}

// statisticsJSON is the numbers of one log.
type statisticsJSON struct {
	headJSON
	Backlog    backlogJSON   `json:"backlog"`
	Results    resultsJSON   `json:"results"`
	Findings   findingCount  `json:"findings"`
	Seals      sealsJSON     `json:"seals"`
	AgeSeconds int64         `json:"checkpoint_age_seconds"`
	Programs   []programJSON `json:"programs"`
	More       int           `json:"more_programs"`
	Growth     []growthJSON  `json:"growth"`
}

// What the lists of logs answer.
type (
	logList struct {
		Logs []logJSON `json:"logs"`
	}
	witnessList struct {
		Witnesses []witnessJSON `json:"witnesses"`
	}
	statisticsList struct {
		Statistics []statisticsJSON `json:"statistics"`
	}
)

func (s *Server) apiStatistics(q *request) error {
	views, err := s.logViews(q)
	out := []statisticsJSON{}
	for _, v := range views {
		out = append(out, statisticsJSON{
			headJSON{v.Origin, v.Downloaded, v.Verified, v.Root, v.Page},
			v.Backlog, v.Results, v.Findings, v.Seals, v.AgeSeconds, v.Programs, v.MorePrograms, v.Growth,
		})
	}
	return answerJSON(q, statisticsList{out}, err)
}

// find returns the entry that a key names: its index, or its leaf hash in hex.
func (s *Server) find(q *request, key string) (e store.Entry, err error) {
	if leaf, ok := parseHex(key, 32); ok {
		return s.findLeaf(q, leaf)
	}
	index, ok := parseSize(key)
	if !ok {
		return e, notFound("An entry is named by its index, or by its leaf hash in 64 digits of lower-case hexadecimal.")
	}
	log, err := q.oneLog()
	if err != nil {
		return e, err
	}
	e, found, err := s.cfg.Store.EntryAt(q.ctx(), log.ID, index)
	if err == nil && !found {
		err = notFound("This monitor holds no entry of that index; its copy of the log may end before it.")
	}
	return e, err
}

// findLeaf returns the first entry with a leaf hash.
func (s *Server) findLeaf(q *request, leaf []byte) (e store.Entry, err error) {
	log, err := q.only()
	if err != nil {
		return e, err
	}
	found, err := s.cfg.Store.Entries(q.ctx(), store.EntryQuery{Log: log, Leaf: leaf, Limit: 1})
	if err != nil {
		return e, err
	}
	if len(found) == 0 {
		return e, notFound("This monitor holds no entry with the leaf hash " + hex.EncodeToString(leaf) + ".")
	}
	return found[0], nil
}

// around is how many earlier and later entries of a crate an entry's page names.
const around = 10

// entryDetail is an entry with all that stands around it.
func (s *Server) entryDetail(q *request, key string) (*entryDetail, error) {
	e, err := s.find(q, key)
	if err != nil {
		return nil, err
	}
	d := &entryDetail{Data: e.Data, Earlier: []entryJSON{}, Later: []entryJSON{}}
	one, err := s.entryViews(q.ctx(), q.logs, []store.Entry{e})
	if err != nil {
		return nil, err
	}
	d.entryJSON = one[0]
	if d.Inclusion, err = s.inclusion(q, e); err != nil {
		return nil, err
	}
	if d.Inclusion == nil {
		d.Bundle = ""
	}
	findings, err := s.cfg.Store.Findings(q.ctx(), store.FindingQuery{Log: e.Log, Index: &e.Index, Limit: maxLimit})
	if err != nil {
		return nil, err
	}
	d.Findings = findingViews(findings, q.logs)
	if err := s.addProof(q.ctx(), d, e); err != nil {
		return nil, err
	}
	if e.Name == "" {
		return d, nil
	}
	d.Verify = verifyCommands(&d.entryJSON)
	find := store.EntryQuery{Registry: e.Registry, Name: e.Name, After: e.Place, Limit: around}
	later, err := s.cfg.Store.Entries(q.ctx(), find)
	if err != nil {
		return nil, err
	}
	find.Newest = true
	earlier, err := s.cfg.Store.Entries(q.ctx(), find)
	if err != nil {
		return nil, err
	}
	if d.Earlier, err = s.entryViews(q.ctx(), q.logs, earlier); err != nil {
		return nil, err
	}
	if d.Later, err = s.entryViews(q.ctx(), q.logs, later); err != nil {
		return nil, err
	}
	return d, err
}
