package web

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cratelog/entry"
	"cratelog/internal/web"
	"cratelog/monitor/store"
)

// page is what every template gets.
type page struct {
	Site      site
	Title     string
	Nav       string // which item of the navigation it stands under
	Twin      string // address of the page as JSON
	Feed      string // address of its feed, with FeedTitle
	FeedTitle string
	Now       time.Time
	Data      any
}

type site struct{ Name, Style string }

// pageNames are the templates, each with the layout around it.
var pageNames = []string{"overview", "log", "search", "crate", "version", "entry", "checkpoint", "findings", "evidence", "error"}

func parsePages(s *Server) (map[string]*template.Template, error) {
	layout, err := template.New("layout").Funcs(s.funcs()).ParseFS(files, "templates/layout.html")
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
	p.Site, p.Now = site{s.cfg.Name, s.stylesrc}, s.cfg.Now()
	var b bytes.Buffer
	err := s.pages[name].ExecuteTemplate(&b, "layout", p)
	return b.Bytes(), err
}

// show answers with a page, or with its JSON twin if that was asked for.
func (s *Server) show(w http.ResponseWriter, r *http.Request, name string, twin any, p page) error {
	if strings.HasSuffix(r.URL.Path, jsonSuffix) {
		return sendJSON(w, r, twin)
	}
	if p.Data == nil {
		p.Data = twin
	}
	b, err := s.render(name, p)
	if err != nil {
		return err
	}
	return send(w, r, "text/html; charset=utf-8", b)
}

// errorPage answers a person with a refusal.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request, x *web.Refusal) bool {
	if !wantsPage(r) {
		return false
	}
	title := map[int]string{http.StatusNotFound: "Not here", http.StatusBadRequest: "That cannot be asked", http.StatusServiceUnavailable: "Too slow"}[x.Status]
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

// twinOf is the address of a page's JSON, with the page's own parameters.
func twinOf(path string, r *http.Request) string {
	if r.URL.RawQuery != "" {
		return path + "?" + r.URL.RawQuery
	}
	return path
}

func (s *Server) overview(w http.ResponseWriter, r *http.Request) error {
	if err := noParams(r); err != nil {
		return err
	}
	o, err := s.overviewOf(r.Context())
	if err != nil {
		return err
	}
	return s.show(w, r, "overview", o, page{Title: o.Statement, Nav: "overview", Twin: "/index.json", Feed: "/feed.atom", FeedTitle: "Findings"})
}

// browse is where a list goes on, for people: the address of the first page if this
// is not it, and of the next one.
type browse struct{ First, Older string }

func (s *Server) browse(r *http.Request, p *params, next *string) browse {
	var b browse
	keep := url.Values{}
	if p.has("log") {
		keep.Set("log", p.get("log"))
	}
	at := func() string {
		if len(keep) == 0 {
			return r.URL.Path
		}
		return r.URL.Path + "?" + keep.Encode()
	}
	if p.has("cursor") {
		b.First = at()
	}
	if next != nil {
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

func (s *Server) logPage(w http.ResponseWriter, r *http.Request) error {
	p, err := parseParams(r, "log", "cursor")
	if err != nil {
		return err
	}
	ctx := r.Context()
	log, err := s.oneLog(ctx, p)
	if err != nil {
		return err
	}
	l, err := s.logs(ctx)
	if err != nil {
		return err
	}
	d := logDetail{Others: []logLink{}}
	if d.Log, err = s.logView(ctx, l, log); err != nil {
		return err
	}
	for _, other := range l.all {
		if other.ID != log.ID {
			d.Others = append(d.Others, logLink{other.Origin, l.at("/log", other.ID)})
		}
	}
	where := "entries of " + log.Origin
	after := p.cursor(where)
	if p.err != nil {
		return p.err
	}
	entries, err := s.cfg.Store.Entries(ctx, store.EntryQuery{Log: log.ID, Newest: true, After: after, Limit: pageLimit + 1})
	if err != nil {
		return err
	}
	if len(entries) > pageLimit {
		entries = entries[:pageLimit]
		d.Next = p.makeCursor(where, entries[pageLimit-1].Place)
	}
	d.Entries = s.entryViews(l, entries)
	heads, err := s.cfg.Store.Checkpoints(ctx, store.CheckpointQuery{Log: log.ID, Newest: true, Limit: logHeads})
	if err != nil {
		return err
	}
	d.Checkpoints = checkpointViews(l, heads)
	data := struct {
		logDetail
		browse
	}{d, s.browse(r, p, d.Next)}
	return s.show(w, r, "log", d, page{Title: "Log " + log.Origin, Nav: "log", Twin: twinOf("/log.json", r), Data: data})
}

type crateDetail struct {
	crateJSON
	browse
	Sentence, Duplicates, FeedURL string
}

func (s *Server) crate(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if n, ok := strings.CutSuffix(name, ".atom"); ok {
		return s.crateFeed(w, r, n)
	}
	name = strings.TrimSuffix(name, jsonSuffix) // a crate's name has no dot
	c, err := s.crateOf(r, name, "newest", pageLimit)
	if err != nil {
		return err
	}
	d := crateDetail{crateJSON: *c, FeedURL: crateURL(name) + ".atom"}
	values := r.URL.Query()
	d.browse = s.browse(r, &params{values: values}, c.Next)
	if n := len(c.Entries); n > 0 {
		d.Sentence = count(uint64(n), "entry is", "entries are") + " about this crate."
		if c.Next != nil || values.Has("cursor") {
			d.Sentence = "Some of the entries about this crate."
		}
	}
	d.Duplicates = duplicates(c.Entries)
	return s.show(w, r, "crate", c, page{Title: name, Twin: twinOf(crateURL(name)+jsonSuffix, r), Feed: d.FeedURL, FeedTitle: "New versions of " + name, Data: d})
}

// duplicates names the versions that entries give more than one checksum.
func duplicates(entries []entryJSON) string {
	sums, twice := make(map[string]string), []string{}
	for _, e := range entries {
		if have, ok := sums[e.Version]; ok && have != e.Checksum {
			twice = append(twice, e.Version)
		}
		sums[e.Version] = e.Checksum
	}
	return strings.Join(twice, ", ")
}

type versionJSON struct {
	Crate     string      `json:"crate"`
	Version   string      `json:"version"`
	Duplicate bool        `json:"duplicate"` // there are entries with different checksums
	Heads     []headJSON  `json:"heads"`
	Entries   []entryJSON `json:"entries"`
}

func (s *Server) version(w http.ResponseWriter, r *http.Request) error {
	if err := noParams(r); err != nil {
		return err
	}
	v := versionJSON{Crate: r.PathValue("name"), Version: strings.TrimSuffix(r.PathValue("version"), jsonSuffix)}
	if strings.HasSuffix(r.URL.Path, "/") {
		v.Version = r.PathValue("version") // see versionURL
	}
	if entry.CheckName(v.Crate) != nil || entry.CheckVersion(v.Version) != nil {
		return notFound("That is no crate and version.")
	}
	l, err := s.logs(r.Context())
	if err != nil {
		return err
	}
	entries, err := s.cfg.Store.Entries(r.Context(), store.EntryQuery{Name: v.Crate, Version: v.Version, Limit: maxLimit})
	if err != nil {
		return err
	}
	v.Heads, v.Entries = l.heads(0), s.entryViews(l, entries)
	v.Duplicate = duplicates(v.Entries) != ""
	sentence := "No log that this monitor follows holds an entry about this version."
	switch n := len(entries); {
	case n == 1:
		sentence = "One entry, and no other, is about this version."
	case n > 1:
		sentence = fmt.Sprintf("%d entries are about this version.", n)
	}
	data := struct {
		versionJSON
		Sentence string
	}{v, sentence}
	return s.show(w, r, "version", v, page{Title: v.Crate + " " + v.Version, Twin: crateURL(v.Crate) + "/" + url.PathEscape(v.Version) + jsonSuffix, Data: data})
}

// entry answers for everything under /e/: page, twin, raw bytes and bundle.
func (s *Server) entry(w http.ResponseWriter, r *http.Request) error {
	p, err := parseParams(r, "log")
	if err != nil {
		return err
	}
	key := r.PathValue("key")
	if k, ok := strings.CutSuffix(key, rawSuffix); ok {
		return s.rawEntry(w, r, p, k)
	}
	if k, ok := strings.CutSuffix(key, bundleSuffix); ok {
		return s.bundle(w, r, p, k)
	}
	key = strings.TrimSuffix(key, jsonSuffix)
	d, err := s.entryDetail(r.Context(), p, key)
	if err != nil {
		return err
	}
	title := fmt.Sprintf("Entry %d", d.Index)
	if d.Crate != "" {
		title = fmt.Sprintf("%s %s, entry %d", d.Crate, d.Version, d.Index)
	}
	return s.show(w, r, "entry", d, page{Title: title, Twin: twinOf("/e/"+key+jsonSuffix, r)})
}

type checkpointDetail struct {
	Log         string           `json:"log"`
	Size        uint64           `json:"size"`
	Fork        bool             `json:"fork"` // the log signed more than one tree of this size
	Checkpoints []checkpointJSON `json:"checkpoints"`
	File        string           `json:"file"` // the first of them, as a signed note
}

func (s *Server) checkpoint(w http.ResponseWriter, r *http.Request) error {
	p, err := parseParams(r, "log")
	if err != nil {
		return err
	}
	key, note := strings.CutSuffix(r.PathValue("key"), noteSuffix)
	key = strings.TrimSuffix(key, jsonSuffix)
	size, ok := parseSize(key)
	if !ok {
		return notFound("A checkpoint is named by its size, a number of entries.")
	}
	log, err := s.oneLog(r.Context(), p)
	if err != nil {
		return err
	}
	l, err := s.logs(r.Context())
	if err != nil {
		return err
	}
	found, err := s.cfg.Store.Checkpoints(r.Context(), store.CheckpointQuery{Log: log.ID, Size: &size, Limit: maxLimit})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return notFound("This monitor has seen no checkpoint of that size.")
	}
	if note {
		download(w, fmt.Sprintf("%d%s", size, noteSuffix))
		return send(w, r, "text/plain; charset=utf-8", found[0].Signed)
	}
	d := checkpointDetail{log.Origin, uint64(size), len(found) > 1, checkpointViews(l, found), l.at("/cp/"+key+noteSuffix, log.ID)}
	return s.show(w, r, "checkpoint", d, page{Title: "Checkpoint of " + count(d.Size, "entry", "entries"), Nav: "log", Twin: twinOf("/cp/"+key+jsonSuffix, r)})
}
