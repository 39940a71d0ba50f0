package web

import (
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"cratelog/entry"
	"cratelog/internal/web"
	"cratelog/monitor/store"
)

// feedLimit is how many things a feed holds, the newest.
const feedLimit = 100

// atomFeed is an Atom feed (RFC 4287).
type atomFeed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string      `xml:"id"`
	Title   string      `xml:"title"`
	Updated string      `xml:"updated"`
	Author  atomPerson  `xml:"author"`
	Links   []atomLink  `xml:"link"`
	Entries []atomEntry `xml:"entry"`
}

type atomPerson struct {
	Name string `xml:"name"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	ID        string    `xml:"id"`
	Title     string    `xml:"title"`
	Published string    `xml:"published"`
	Updated   string    `xml:"updated"`
	Link      atomLink  `xml:"link"`
	Category  *category `xml:"category"`
	Summary   string    `xml:"summary"`
}

type category struct {
	Term string `xml:"term,attr"`
}

// atomID is a permanent id for what some words name: a UUID of version 8 (RFC 9562),
// made of their SHA-256. It depends neither on the monitor's address nor on the order
// of its rows.
func atomID(words ...string) string {
	h := sha256.New()
	fmt.Fprintf(h, "cratelog/atom/v1\n%q\n", words)
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *Server) sendFeed(q *request, f atomFeed, self, page string) error {
	f.Author = atomPerson{s.cfg.Name}
	f.Links = []atomLink{{"self", "application/atom+xml", s.cfg.URL + self},
		{"alternate", "text/html", s.cfg.URL + page}}
	begin := time.Unix(0, 0) // of an empty feed: it has not changed since this monitor began
	if len(q.all) > 0 {
		begin = q.all[0].Added
	}
	f.Updated = rfc3339(begin)
	for _, e := range f.Entries {
		f.Updated = max(f.Updated, e.Updated)
	}
	b, err := xml.MarshalIndent(f, "", " ")
	if err != nil {
		return err
	}
	return web.Send(q.w, q.r, "application/atom+xml; charset=utf-8", append([]byte(xml.Header), append(b, '\n')...))
}

// feed is the feed of findings: without a class, of all that are graver than info.
func (s *Server) feed(q *request) error {
	if q.has("prefix") {
		return s.prefixFeed(q, q.get("prefix"))
	}
	find := store.FindingQuery{Class: q.class(), Newest: true, Limit: feedLimit}
	find.Graver = find.Class == ""
	if q.err != nil {
		return q.err
	}
	findings, err := s.cfg.Store.Findings(q.ctx(), find)
	if err != nil {
		return err
	}
	f := atomFeed{ID: atomID("findings", s.cfg.Name), Title: s.cfg.Name + ": findings"}
	self := "/feed.atom"
	if find.Class != "" {
		f.ID, f.Title = atomID("findings", s.cfg.Name, string(find.Class)), f.Title+" of class "+string(find.Class)
		self += "?class=" + string(find.Class)
	}
	for _, x := range findings {
		f.Entries = append(f.Entries, s.findingEntry(x))
	}
	return s.sendFeed(q, f, self, "/evidence")
}

func (s *Server) findingEntry(x store.Finding) atomEntry {
	first := rfc3339(x.FirstSeen)
	e := atomEntry{
		ID:    atomID("finding", s.cfg.Name, x.Key, first),
		Title: string(x.Class) + ": " + x.Kind, Published: first, Updated: first, Summary: x.Summary,
		Link: atomLink{"alternate", "text/html", s.cfg.URL + "/evidence"}, Category: &category{string(x.Class)},
	}
	if x.Evidence != "" {
		e.Link.Href += "/" + x.Evidence
	}
	if !x.Resolved.IsZero() {
		e.Updated = rfc3339(x.Resolved)
		e.Title = "over: " + e.Title
	}
	return e
}

// crateFeed is the feed of new entries about a crate.
func (s *Server) crateFeed(q *request, name string) error {
	if err := noParams(q.r); err != nil {
		return err
	}
	if entry.CheckName(name) != nil {
		return notFound("That is not the name of a crate.")
	}
	entries, err := s.cfg.Store.Entries(q.ctx(), store.EntryQuery{Name: name, Newest: true, Limit: feedLimit})
	if err != nil {
		return err
	}
	f := atomFeed{ID: atomID("crate", s.cfg.Name, name), Title: s.cfg.Name + ": " + name}
	if err := s.addEntries(q, &f, entries); err != nil {
		return err
	}
	return s.sendFeed(q, f, crateURL(name)+".atom", crateURL(name))
}

// prefixFeed is the feed of entries and findings about crates whose names begin so.
func (s *Server) prefixFeed(q *request, prefix string) error {
	if q.has("class") {
		return badRequest("The parameters class and prefix do not go together.")
	}
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	entries, err := s.cfg.Store.EntriesFrom(q.ctx(), prefix, false, feedLimit)
	if err != nil {
		return err
	}
	findings, err := s.cfg.Store.FindingsFrom(q.ctx(), prefix, false, feedLimit)
	if err != nil {
		return err
	}
	f := atomFeed{ID: atomID("prefix", s.cfg.Name, store.Fold(prefix)), Title: s.cfg.Name + ": crates that begin with " + prefix}
	if err := s.addEntries(q, &f, entries); err != nil {
		return err
	}
	for _, x := range findings {
		f.Entries = append(f.Entries, s.findingEntry(x))
	}
	slices.SortStableFunc(f.Entries, func(a, b atomEntry) int { return strings.Compare(b.Updated, a.Updated) })
	return s.sendFeed(q, f, prefixFeed(prefix), "/watch?prefix="+url.QueryEscape(prefix))
}

// addEntries adds entries of logs to a feed.
func (s *Server) addEntries(q *request, f *atomFeed, entries []store.Entry) error {
	views, err := s.entryViews(q.ctx(), q.logs, entries)
	if err != nil {
		return err
	}
	for _, x := range views {
		seen := rfc3339(x.Seen)
		f.Entries = append(f.Entries, atomEntry{
			ID:    atomID("entry", x.Log, fmt.Sprint(x.Index), x.Leaf),
			Title: x.Crate + " " + x.Version, Published: seen, Updated: seen,
			Link: atomLink{"alternate", "text/html", s.cfg.URL + x.Page},
			Summary: fmt.Sprintf("%s %s was logged as entry %d of %s: checksum %s, commit %s. %s", x.Crate, x.Version,
				x.Index, x.Log, x.Checksum, x.Commit, x.Coverage.Summary),
		})
		last := &f.Entries[len(f.Entries)-1]
		if x.Build != nil {
			last.Title += ": a build"
			last.Summary = fmt.Sprintf("A build of %s %s was logged as entry %d of %s. %s", x.Crate, x.Version, x.Index, x.Log,
				x.Coverage.Summary)
		}
		if x.Void != nil {
			last.Title += ": void"
			last.Summary += fmt.Sprintf(" It is void: in this log the version has the checksum %s.", x.Void.Checksum)
		}
	}
	return nil
}
