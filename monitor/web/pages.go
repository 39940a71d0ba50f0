package web

import (
	"bytes"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"cratelog/entry"
	"cratelog/internal/web"
	"cratelog/monitor/store"
)

// page is what every template gets.
type page = web.Page

// pageNames are the templates, each with the layout around it.
var pageNames = []string{"overview", "log", "search", "crate", "version", "entry", "checkpoint",
	"findings", "evidence", "error", "watch", "unsubscribe", "about", "api", "compare",
	"browser"}

func parsePages(s *Server) (map[string]*template.Template, error) {
	layout, err := web.Layout(s.funcs())
	if err == nil {
		layout, err = layout.ParseFS(files, "templates/layout.html")
	}
	if err != nil {
		return nil, err
	}
	out := make(map[string]*template.Template)
	for _, name := range pageNames {
		t, err := layout.Clone()
		if err == nil {
			t, err = t.ParseFS(files, "templates/"+name+".html")
		}
		if err != nil {
			return nil, err
		}
		out[name] = t
	}
	return out, nil
}

func (s *Server) render(name string, p page) ([]byte, error) {
	p.Site.Name, p.Now = s.cfg.Name, s.cfg.Now()
	p.Site.Browser = s.browser != nil
	return web.Render(s.pages[name], p)
}

// show answers with a page, or with its JSON twin if that was asked for. The twin's
// address takes the page's parameters.
func (s *Server) show(q *request, name string, twin any, p page) error {
	if strings.HasSuffix(q.r.URL.Path, jsonSuffix) {
		return q.sendJSON(twin)
	}
	if p.Data == nil {
		p.Data = twin
	}
	if q.r.URL.RawQuery != "" {
		p.Twin += "?" + q.r.URL.RawQuery
	}
	b, err := s.render(name, p)
	if err != nil {
		return err
	}
	return web.Send(q.w, q.r, "text/html; charset=utf-8", b)
}

// errorPage answers a person with a refusal.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request, x *web.Refusal) bool {
	if !wantsPage(r) {
		return false
	}
	title := map[int]string{http.StatusNotFound: "Not here", http.StatusBadRequest: "That cannot be asked",
		http.StatusServiceUnavailable: "Too slow"}[x.Status]
	if title == "" {
		title = "No answer"
	}
	b, err := s.render("error", page{Title: title, Data: struct{ Title, Message string }{title, x.Message}})
	if err != nil {
		return false
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(x.Status)
	w.Write(b)
	return true
}

func (s *Server) overview(q *request) error {
	o, err := s.overviewOf(q)
	if err != nil {
		return err
	}
	return s.show(q, "overview", o, page{Title: o.Statement, Nav: "overview", Twin: "/index.json", Feed: "/feed.atom",
		FeedTitle: "Findings"})
}

// browse is where a list goes on, for people: the address of the first page if this
// is not it, and of the next one.
type browse struct{ First, Older string }

func (q *request) browse(next *string) browse {
	var b browse
	keep := maps.Clone(q.values)
	delete(keep, "cursor")
	at := func() string {
		if len(keep) == 0 {
			return q.r.URL.Path
		}
		return q.r.URL.Path + "?" + keep.Encode()
	}
	if q.has("cursor") {
		b.First = at()
	}
	if next != nil {
		if keep == nil {
			keep = url.Values{}
		}
		keep.Set("cursor", *next)
		b.Older = at()
	}
	return b
}

type logDetail struct {
	Log         logJSON          `json:"log"`
	Others      []logLink        `json:"others"`
	Entries     []entryJSON      `json:"entries"` // the newest first
	Next        *string          `json:"next"`
	Checkpoints []checkpointJSON `json:"checkpoints"` // the newest first
}

type logLink struct {
	Origin string `json:"origin"`
	Page   string `json:"page"`
}

// logHeads is how many checkpoints the page of a log shows.
const logHeads = 20

func (s *Server) logPage(q *request) error {
	log, err := q.oneLog()
	if err != nil {
		return err
	}
	d := logDetail{Others: []logLink{}}
	if d.Log, err = s.logView(q.ctx(), q.logs, log); err != nil {
		return err
	}
	for _, other := range q.all {
		if other.ID != log.ID {
			d.Others = append(d.Others, logLink{other.Origin, q.at("/log", other.ID)})
		}
	}
	where := "entries of " + log.Origin
	find := store.EntryQuery{Log: log.ID, Newest: true, After: q.cursor(where), Limit: pageLimit + 1}
	s.chosen(q, &find)
	find.Crates = find.Kind == ""
	if q.err != nil {
		return q.err
	}
	entries, err := s.cfg.Store.Entries(q.ctx(), find)
	if err != nil {
		return err
	}
	if len(entries) > pageLimit {
		entries = entries[:pageLimit]
		d.Next = q.makeCursor(where, entries[pageLimit-1].Place)
	}
	if d.Entries, err = s.entryViews(q.ctx(), q.logs, entries); err != nil {
		return err
	}
	heads, err := s.cfg.Store.Checkpoints(q.ctx(), store.CheckpointQuery{Log: log.ID, Newest: true, Limit: logHeads})
	if err != nil {
		return err
	}
	d.Checkpoints = checkpointViews(q.logs, heads)
	data := struct {
		logDetail
		browse
		Filters []filter
	}{d, q.browse(d.Next), q.filters(log.ID)}
	return s.show(q, "log", d, page{Title: "Log " + log.Origin, Nav: "log", Twin: "/log.json", Data: data})
}

// filter is a link to a part of a list.
type filter struct {
	Word, Page string
	Current    bool
}

// filters lead to the kinds of entries of a log.
func (q *request) filters(log int64) []filter {
	var out []filter
	for _, f := range []struct{ word, name, value string }{
		{"All", "", ""}, {"Sources", "claim", "source"}, {"Builds", "claim", "build"}, {"Seals", "claim", "seal"}, {"Development keys", "development", "yes"},
	} {
		v := url.Values{}
		if q.has("log") {
			v.Set("log", q.get("log"))
		}
		current := !q.has("claim") && !q.has("development")
		if f.name != "" {
			v.Set(f.name, f.value)
			current = q.get(f.name) == f.value
		}
		at := "/log"
		if len(v) > 0 {
			at += "?" + v.Encode()
		}
		out = append(out, filter{f.word, at + "#entries", current})
	}
	return out
}

type crateDetail struct {
	crateJSON
	browse
	Sentence, Caption, Void, FeedURL string

	Versions             []string // with claims about sources, the newest first
	CompareURL, BadgeURL string
}

func (s *Server) crate(q *request) error {
	name := q.r.PathValue("name")
	if n, ok := strings.CutSuffix(name, ".atom"); ok {
		return s.crateFeed(q, n)
	}
	name = strings.TrimSuffix(name, jsonSuffix) // a crate's name has no dot
	c, err := s.crateOf(q, name, "newest", pageLimit)
	if err != nil {
		return err
	}
	d := crateDetail{crateJSON: *c, FeedURL: crateURL(name) + ".atom", browse: q.browse(c.Next),
		Void: void(c.Entries)}
	if n := len(c.Entries); n > 0 {
		d.Sentence = count(uint64(n), "entry is", "entries are") + " about this crate."
		d.Caption = "All versions, the newest first."
		if c.Next != nil || q.has("cursor") {
			d.Sentence, d.Caption = "Some of the entries about this crate.", "The newest first."
		}
	}
	for _, e := range c.Entries {
		if e.Claim == (&entry.Source{}).Kind() && !slices.Contains(d.Versions, e.Version) {
			d.Versions = append(d.Versions, e.Version)
		}
	}
	d.BadgeURL = "/badge/" + url.PathEscape(name) + badgeSuffix
	if len(d.Versions) > 1 {
		d.CompareURL = crateURL(name) + "/compare?" + url.Values{"from": d.Versions[1:2], "to": d.Versions[:1]}.Encode()
	}
	return s.show(q, "crate", c, page{Title: name, Twin: crateURL(name) + jsonSuffix, Feed: d.FeedURL,
		FeedTitle: "New versions of " + name, Data: d})
}

// void names the versions about which some of the entries are void.
func void(entries []entryJSON) string {
	var versions []string
	for _, e := range entries {
		if e.Void != nil && !slices.Contains(versions, e.Version) {
			versions = append(versions, e.Version)
		}
	}
	return strings.Join(versions, ", ")
}

// checksumJSON is the one checksum that a version has in a log.
type checksumJSON struct {
	Log      string `json:"log"`
	Registry string `json:"registry"`
	Checksum string `json:"checksum"`
}

// checksums returns the one checksum of a version, which entries are about, in each log and registry.
func checksums(entries []entryJSON) []checksumJSON {
	out := []checksumJSON{}
	for _, e := range entries {
		c := checksumJSON{e.Log, e.Registry, e.Checksum}
		if e.Void != nil {
			c.Checksum = e.Void.Checksum
		}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

type versionJSON struct {
	Crate     string         `json:"crate"`
	Version   string         `json:"version"`
	Checksums []checksumJSON `json:"checksums"` // one for each log and registry
	Heads     []headJSON     `json:"heads"`
	Entries   []entryJSON    `json:"entries"`
}

func (s *Server) version(q *request) error {
	v := versionJSON{Crate: q.r.PathValue("name"), Version: strings.TrimSuffix(q.r.PathValue("version"), jsonSuffix)}
	if strings.HasSuffix(q.r.URL.Path, "/") {
		v.Version = q.r.PathValue("version") // see versionURL
	}
	if entry.CheckName(v.Crate) != nil || entry.CheckVersion(v.Version) != nil {
		return notFound("That is not a crate and version.")
	}
	entries, err := s.cfg.Store.Entries(q.ctx(), store.EntryQuery{Name: v.Crate, Version: v.Version, Limit: maxLimit})
	if err != nil {
		return err
	}
	v.Heads = q.heads(0)
	if v.Entries, err = s.entryViews(q.ctx(), q.logs, entries); err != nil {
		return err
	}
	v.Checksums = checksums(v.Entries)
	sentence := "No log that this monitor follows holds an entry about this version."
	switch n := len(entries); {
	case n == 1:
		sentence = "One entry, and no other, is about this version."
	case n > 1:
		sentence = fmt.Sprintf("%d entries are about this version.", n)
	}
	data := struct {
		versionJSON
		Sentence, Void string
	}{v, sentence, void(v.Entries)}
	return s.show(q, "version", v, page{Title: v.Crate + " " + v.Version,
		Twin: crateURL(v.Crate) + "/" + url.PathEscape(v.Version) + jsonSuffix, Data: data})
}

// entry answers for everything under /e/: page, twin, raw bytes and bundle.
func (s *Server) entry(q *request) error {
	key := q.r.PathValue("key")
	if k, ok := strings.CutSuffix(key, rawSuffix); ok {
		return s.rawEntry(q, k)
	}
	if k, ok := strings.CutSuffix(key, bundleSuffix); ok {
		return s.bundle(q, k)
	}
	key = strings.TrimSuffix(key, jsonSuffix)
	d, err := s.entryDetail(q, key)
	if err != nil {
		return err
	}
	title := fmt.Sprintf("Entry %d", d.Index)
	if d.Crate != "" {
		title = fmt.Sprintf("%s %s, entry %d", d.Crate, d.Version, d.Index)
	}
	return s.show(q, "entry", d, page{Title: title, Twin: "/e/" + key + jsonSuffix})
}

type checkpointDetail struct {
	Log         string           `json:"log"`
	Size        uint64           `json:"size"`
	Fork        bool             `json:"fork"` // the log signed more than one tree of this size
	Checkpoints []checkpointJSON `json:"checkpoints"`
	File        string           `json:"file"` // the first of them, as a signed note
}

func (s *Server) checkpoint(q *request) error {
	key, note := strings.CutSuffix(q.r.PathValue("key"), noteSuffix)
	key = strings.TrimSuffix(key, jsonSuffix)
	size, ok := parseSize(key)
	if !ok {
		return notFound("A checkpoint is named by its size, a number of entries.")
	}
	log, err := q.oneLog()
	if err != nil {
		return err
	}
	found, err := s.cfg.Store.Checkpoints(q.ctx(), store.CheckpointQuery{Log: log.ID, Size: &size, Limit: maxLimit})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return notFound("This monitor has seen no checkpoint of that size.")
	}
	if root := q.hash("root", 32); q.err != nil {
		return q.err
	} else if root != nil {
		found = slices.DeleteFunc(found, func(c store.Checkpoint) bool { return !bytes.Equal(c.Root[:], root) })
	}
	if len(found) == 0 {
		return notFound("This monitor has seen no checkpoint of that size with that root.")
	}
	if note {
		download(q.w, fmt.Sprintf("%d%s", size, noteSuffix))
		return web.Send(q.w, q.r, "text/plain; charset=utf-8", found[0].Signed)
	}
	d := checkpointDetail{log.Origin, uint64(size), len(found) > 1, checkpointViews(q.logs, found),
		q.at("/cp/"+key+noteSuffix, log.ID)}
	return s.show(q, "checkpoint", d, page{Title: "Checkpoint of " + count(d.Size, "entry", "entries"), Nav: "log",
		Twin: "/cp/" + key + jsonSuffix})
}
