package web

import (
	"net/url"
	"slices"

	"cratelog/entry"
	"cratelog/monitor/store"
)

// compareJSON is two versions of a crate beside each other.
type compareJSON struct {
	Crate string    `json:"crate"`
	From  entryJSON `json:"from"`
	To    entryJSON `json:"to"`
	// SameCommit: both were made of one commit. SamePath: of the same place in their repositories.
	SameCommit bool `json:"same_commit"`
	SamePath   bool `json:"same_path"`
	// Appeared and Disappeared are files that only one of the two leaves unproven.
	Appeared    []string `json:"unproven_appeared"`
	Disappeared []string `json:"unproven_disappeared"`
	// Repositories that the .crates claim, "" where this monitor has not looked.
	FromRepository string   `json:"from_repository_claimed"`
	ToRepository   string   `json:"to_repository_claimed"`
	Command        string   `json:"command"` // shows the difference, in a clone of the repository
	Others         []string `json:"others"`  // pages of the versions that have more entries than the one shown
}

func (s *Server) compare(q *request) error {
	name := q.r.PathValue("name")
	from, to := q.get("from"), q.get("to")
	if entry.CheckName(name) != nil {
		return notFound("That is not the name of a crate.")
	}
	if entry.CheckVersion(from) != nil || entry.CheckVersion(to) != nil {
		return badRequest("Give two versions to compare: from and to, such as 1.2.3.")
	}
	d := compareJSON{Crate: name, Appeared: []string{}, Disappeared: []string{}, Others: []string{}}
	a, err := s.sourceOf(q, &d, from, &d.From)
	if err != nil {
		return err
	}
	b, err := s.sourceOf(q, &d, to, &d.To)
	if err != nil {
		return err
	}
	for _, x := range []struct {
		e  store.Entry
		to *string
	}{{a, &d.FromRepository}, {b, &d.ToRepository}} {
		c, _, err := s.cfg.Store.Crate(q.ctx(), x.e.Log, x.e.Index)
		if err != nil {
			return err
		}
		*x.to = c.Repository
	}
	d.SameCommit, d.SamePath = d.From.Commit == d.To.Commit, d.From.Path == d.To.Path
	without := func(list, of []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(p string) bool { return slices.Contains(of, p) })
	}
	d.Appeared, d.Disappeared = without(d.To.Coverage.Unproven, d.From.Coverage.Unproven), without(d.From.Coverage.Unproven, d.To.Coverage.Unproven)
	d.Command = "git diff " + d.From.Commit + " " + d.To.Commit
	if d.SamePath && d.To.Path != "" {
		d.Command += " -- " + quote(d.To.Path)
	}
	v := url.Values{"from": {from}, "to": {to}}
	return s.show(q, "compare", d, page{Title: name + " " + from + " and " + to, Twin: crateURL(name) + "/compare.json",
		Data: struct {
			compareJSON
			Swap string
		}{d, crateURL(name) + "/compare?" + url.Values{"from": v["to"], "to": v["from"]}.Encode()}})
}

// sourceOf finds the first claim about the sources of a version, one that is not void if there is one.
func (s *Server) sourceOf(q *request, d *compareJSON, version string, v *entryJSON) (e store.Entry, err error) {
	found, err := s.cfg.Store.Entries(q.ctx(), store.EntryQuery{Name: d.Crate, Version: version, Limit: maxLimit})
	if err != nil {
		return e, err
	}
	found = slices.DeleteFunc(found, func(e store.Entry) bool { return e.Kind != (&entry.Source{}).Kind() })
	if len(found) == 0 {
		return e, notFound("This monitor holds no entry about the sources of " + d.Crate + " " + version + ".")
	}
	if len(found) > 1 {
		d.Others = append(d.Others, versionURL(d.Crate, version))
	}
	views, err := s.entryViews(q.ctx(), q.logs, found)
	if err != nil {
		return e, err
	}
	at := max(0, slices.IndexFunc(views, func(v entryJSON) bool { return v.Void == nil }))
	*v = views[at]
	return found[at], nil
}
