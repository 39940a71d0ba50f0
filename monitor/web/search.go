package web

import (
	"fmt"
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

func (s *Server) search(q *request) error {
	d := &searchJSON{Query: strings.TrimSpace(q.get("q")), Crates: []string{},
		Entries: []entryJSON{}, Complete: "Searched:"}
	for i, h := range q.heads(0) {
		if i > 0 {
			d.Complete += ","
		}
		d.Complete += fmt.Sprintf(" all %s of %s that this monitor holds", count(h.Size, "entry", "entries"), h.Log)
	}
	d.Complete += "."
	if err := s.searchFor(q, d); err != nil {
		return err
	}
	title := "Search"
	if d.Query != "" {
		title = "Search for " + clip(d.Query)
	}
	return s.show(q, "search", d, page{Title: title, Nav: "search", Twin: "/search.json"})
}

// searchFor finds out what a query can mean: a checksum or leaf hash, a commit, an
// index, or the beginning of a name.
func (s *Server) searchFor(q *request, d *searchJSON) (err error) {
	word := strings.ToLower(d.Query)
	if d.Query == "" {
		return nil
	}
	if b, ok := parseHex(word, 32); ok {
		d.Caption = "Entries with this checksum or leaf hash."
		return s.addEntries(q, d, store.EntryQuery{Leaf: b}, store.EntryQuery{SHA256: b})
	}
	if b, ok := parseHex(word, 20); ok {
		d.Caption = "Entries about this commit."
		return s.addEntries(q, d, store.EntryQuery{Commit: b})
	}
	if index, ok := parseSize(word); ok {
		d.Caption = "Entries of this index."
		for _, log := range q.all {
			e, found, err := s.cfg.Store.EntryAt(q.ctx(), log.ID, index)
			if err != nil {
				return err
			}
			if found {
				one, err := s.entryViews(q.ctx(), q.logs, []store.Entry{e})
				if err != nil {
					return err
				}
				d.Entries = append(d.Entries, one...)
			}
		}
		return nil
	}
	if entry.CheckName(d.Query) != nil {
		d.Problem = "That is not the name of a crate, a checksum or leaf hash (64 hexadecimal digits), a commit " +
			"(40 of them) or an index."
		return nil
	}
	d.Crates, err = s.cfg.Store.Names(q.ctx(), d.Query, maxNames+1)
	if len(d.Crates) > maxNames {
		d.Crates, d.More = d.Crates[:maxNames], true
	}
	if err != nil || len(d.Crates) == 0 {
		d.Crates = []string{}
		return err
	}
	d.Caption = "The newest entries about " + d.Query + "."
	return s.addEntries(q, d, store.EntryQuery{Name: d.Query, Newest: true})
}

func (s *Server) addEntries(q *request, d *searchJSON, all ...store.EntryQuery) error {
	for _, find := range all {
		find.Limit = searchLimit
		found, err := s.cfg.Store.Entries(q.ctx(), find)
		if err != nil {
			return err
		}
		views, err := s.entryViews(q.ctx(), q.logs, found)
		if err != nil {
			return err
		}
		d.Entries = append(d.Entries, views...)
	}
	return nil
}
