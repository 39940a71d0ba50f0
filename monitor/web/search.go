package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"cratelog/entry"
	"cratelog/monitor/store"
)

type searchJSON struct {
	Query    string      `json:"query"`
	Problem  string      `json:"problem,omitempty"`
	Crates   []string    `json:"crates"` // names that begin with the query
	More     bool        `json:"more"`   // there are more of them
	Entries  []entryJSON `json:"entries"`
	Caption  string      `json:"-"`
	Complete string      `json:"complete"` // what was searched
}

// maxNames and searchLimit are how many names and entries a search lists.
const (
	maxNames    = 50
	searchLimit = 20
)

func (s *Server) search(w http.ResponseWriter, r *http.Request) error {
	p, err := parseParams(r, "q")
	if err != nil {
		return err
	}
	l, err := s.logs(r.Context())
	if err != nil {
		return err
	}
	d := &searchJSON{Query: strings.TrimSpace(p.get("q")), Crates: []string{}, Entries: []entryJSON{}, Complete: "Searched:"}
	for i, h := range l.heads(0) {
		if i > 0 {
			d.Complete += ","
		}
		d.Complete += fmt.Sprintf(" all %s of %s that this monitor holds", count(h.Size, "entry", "entries"), h.Log)
	}
	d.Complete += "."
	if err := s.searchFor(r.Context(), l, d); err != nil {
		return err
	}
	title := "Search"
	if d.Query != "" {
		title = "Search for " + clip(d.Query)
	}
	return s.show(w, r, "search", d, page{Title: title, Nav: "search", Twin: twinOf("/search.json", r)})
}

// searchFor finds out what a query can mean: a checksum or leaf hash, a commit, an
// index, or the beginning of a name.
func (s *Server) searchFor(ctx context.Context, l *logs, d *searchJSON) (err error) {
	word := strings.ToLower(d.Query)
	var q store.EntryQuery
	if b, ok := parseHex(word, 32); ok {
		q.SHA256, d.Caption = (*[32]byte)(b), "Entries with this checksum or leaf hash."
		if err := s.addEntries(ctx, l, d, store.EntryQuery{Leaf: q.SHA256}); err != nil {
			return err
		}
		return s.addEntries(ctx, l, d, q)
	}
	if b, ok := parseHex(word, 20); ok {
		q.Commit, d.Caption = (*[20]byte)(b), "Entries about this commit."
		return s.addEntries(ctx, l, d, q)
	}
	if index, ok := parseSize(word); ok {
		d.Caption = "Entries of this index."
		for _, log := range l.all {
			e, found, err := s.cfg.Store.EntryAt(ctx, log.ID, index)
			if err != nil {
				return err
			}
			if found {
				d.Entries = append(d.Entries, s.entryView(l, e))
			}
		}
		return nil
	}
	if d.Query == "" {
		return nil
	}
	if entry.CheckName(d.Query) != nil {
		d.Problem = "That is no crate's name, no checksum or leaf hash (64 hexadecimal digits), no commit (40 of them) and no index."
		return nil
	}
	d.Crates, err = s.cfg.Store.Names(ctx, d.Query, maxNames+1)
	if len(d.Crates) > maxNames {
		d.Crates, d.More = d.Crates[:maxNames], true
	}
	if err != nil || len(d.Crates) == 0 {
		d.Crates = []string{}
		return err
	}
	d.Caption = "The newest entries about " + d.Query + "."
	return s.addEntries(ctx, l, d, store.EntryQuery{Name: d.Query, Newest: true})
}

func (s *Server) addEntries(ctx context.Context, l *logs, d *searchJSON, q store.EntryQuery) error {
	q.Limit = searchLimit
	found, err := s.cfg.Store.Entries(ctx, q)
	d.Entries = append(d.Entries, s.entryViews(l, found)...)
	return err
}
