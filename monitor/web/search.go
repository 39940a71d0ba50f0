package web

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"cratelog/entry"
	"cratelog/monitor/store"
)

type searchJSON struct {
	Query string `json:"query"`
	// Problem is "" unless the query could not be read as anything.
	Problem  string         `json:"problem"`
	Crates   []crateHit     `json:"crates"`   // of that name first, then those whose names begin so
	More     bool           `json:"more"`     // there are more of them
	Results  []searchResult `json:"results"`  // entries, by what the query was taken for
	Complete string         `json:"complete"` // what was searched
}

// crateHit is a crate that a search found.
type crateHit struct {
	Crate    string `json:"crate"`
	Entries  uint64 `json:"entries"`
	Versions uint64 `json:"versions"`
	Newest   string `json:"newest"` // the version that was logged last
	Page     string `json:"page"`
}

// searchResult is the entries that match a query in one way.
type searchResult struct {
	What    string      `json:"what"`
	Entries []entryJSON `json:"entries"`
	More    bool        `json:"more"` // there may be more of them
}

// What a search lists at most, and reads at most of a query.
const (
	maxNames    = 50
	searchLimit = 20
	maxQuery    = 500
	maxWords    = 12
)

func (s *Server) search(q *request) error {
	d := &searchJSON{Query: strings.TrimSpace(q.get("q")), Crates: []crateHit{}, Results: []searchResult{}, Complete: "Searched:"}
	for i, h := range q.heads(0) {
		if i > 0 {
			d.Complete += ","
		}
		d.Complete += fmt.Sprintf(" all %s of %s that this monitor holds", count(h.Size, "entry", "entries"), h.Log)
	}
	d.Complete += "."
	if err := (&searcher{s, q, d}).run(); err != nil {
		return err
	}
	title := "Search"
	if d.Query != "" {
		title = "Search for " + clip(d.Query)
	}
	return s.show(q, "search", d, page{Title: title, Nav: "search", Twin: "/search.json"})
}

// searcher answers one query.
type searcher struct {
	s *Server
	q *request
	d *searchJSON
}

var (
	hexDigits = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
	// NAME VERSION, NAME@VERSION, NAME vVERSION, NAME = "VERSION", NAME-VERSION.crate; the version may be the
	// beginning of one.
	nameVersion = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_-]*?)(?:\s*[@=:]\s*|\s+)[\^~=]*\s*v?([0-9][0-9A-Za-z.+-]*)$`)
	crateFile   = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_-]*?)-([0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*?)(?:\.crate|\.tlog-proof)?$`)
	tomlTable   = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_-]*)\s*=\s*\{.*\bversion\s*=\s*"([^"]*)".*$`)
	scpAddress  = regexp.MustCompile(`^[A-Za-z0-9_.-]+@([A-Za-z0-9.-]+\.[A-Za-z]+):(.+)$`)
	hostAddress = regexp.MustCompile(`^[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}(?::[0-9]+)?/\S+$`)
	word        = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_-]*`)
)

// run finds out what a query can mean, and looks for all of it.
func (x *searcher) run() error {
	query := strings.Trim(x.d.Query, "\"'`,;? ")
	if x.d.Query == "" {
		return nil
	}
	if len(query) > maxQuery || query == "" {
		x.d.Problem = "That is too long, or nothing, to search for."
		return nil
	}
	if repository, commit := repositoryOf(query); repository != "" {
		if err := x.repository(repository); err != nil || commit == "" {
			return err
		}
		return x.hashes(commit)
	}
	index, isNumber := parseSize(strings.ReplaceAll(strings.TrimPrefix(query, "#"), ",", ""))
	if isNumber {
		if err := x.index(index); err != nil {
			return err
		}
	}
	lower := strings.ToLower(query)
	digits := strings.TrimPrefix(strings.TrimPrefix(lower, "sha256:"), "0x")
	if hexDigits.MatchString(digits) {
		if err := x.hashes(digits); err != nil || len(digits) >= 40 {
			return err
		}
	}
	if m := tomlTable.FindStringSubmatch(query); m != nil {
		return x.version(m[1], strings.TrimLeft(m[2], "^~= v"))
	}
	for _, form := range []*regexp.Regexp{nameVersion, crateFile} {
		if m := form.FindStringSubmatch(strings.ReplaceAll(query, `"`, "")); m != nil {
			return x.version(m[1], m[2])
		}
	}
	if entry.CheckName(query) == nil {
		return x.crates(query)
	}
	if len(x.d.Results) > 0 || hexDigits.MatchString(digits) || isNumber {
		return nil
	}
	return x.words(query)
}

// repositoryOf returns the address that a query is, without scheme, in lower case, and the commit that it
// names; "" if it is none.
func repositoryOf(query string) (repository, commit string) {
	if m := scpAddress.FindStringSubmatch(query); m != nil {
		query = "ssh://" + m[1] + "/" + m[2]
	}
	query = strings.TrimPrefix(query, "git+")
	if !strings.Contains(query, "://") {
		if !hostAddress.MatchString(query) {
			return "", ""
		}
		query = "https://" + query
	}
	u, err := url.Parse(query)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return "", ""
	}
	at := u.Path
	for _, part := range []string{"/-/", "/commit/", "/commits/", "/tree/", "/blob/", "/src/"} {
		if before, after, ok := strings.Cut(at, part); ok {
			at = before
			after = strings.TrimPrefix(strings.TrimPrefix(after, "commit/"), "tree/")
			after, _, _ = strings.Cut(after, "/")
			commit = after
		}
	}
	for _, c := range []string{u.Fragment, u.Query().Get("rev")} {
		if c != "" {
			commit = c
		}
	}
	if commit = strings.ToLower(commit); !hexDigits.MatchString(commit) || len(commit) > 40 {
		commit = ""
	}
	return strings.ToLower(u.Host + strings.TrimSuffix(strings.TrimRight(at, "/"), ".git")), commit
}

func (x *searcher) repository(repository string) error {
	var spellings []string
	for _, scheme := range []string{"https://", "http://", "git://", "ssh://git@"} {
		spellings = append(spellings, scheme+repository, scheme+repository+".git")
	}
	found, err := x.s.cfg.Store.EntriesClaiming(x.q.ctx(), spellings, searchLimit+1)
	if err != nil {
		return err
	}
	x.d.Complete += " Entries carry no repository: one is known only where this monitor has looked into the .crate, " +
		"which claims it, or where the operator's settings name it."
	if err := x.add("Entries whose .crate claims this repository. It is claimed, not proven.", found); err != nil {
		return err
	}
	for name, address := range x.s.cfg.Repositories {
		if known, _ := repositoryOf(address); known == repository {
			if err := x.named(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *searcher) index(index int64) error {
	var found []store.Entry
	for _, log := range x.q.all {
		e, ok, err := x.s.cfg.Store.EntryAt(x.q.ctx(), log.ID, index)
		if err != nil {
			return err
		}
		if ok {
			found = append(found, e)
		}
	}
	return x.add("Entries of this index.", found)
}

func (x *searcher) hashes(digits string) error {
	for _, look := range []struct{ column, what string }{
		{store.Checksum, "the checksum of the .crate"}, {store.CommitID, "the git commit"}, {store.LeafHash, "the leaf hash"},
	} {
		found, err := x.s.cfg.Store.EntriesWithHash(x.q.ctx(), look.column, digits, searchLimit+1)
		if err != nil {
			return err
		}
		what := "Entries where " + look.what + " begins so."
		if len(digits) == 64 || len(digits) == 40 && look.column == store.CommitID {
			what = "Entries where this is " + look.what + "."
		}
		if err := x.add(what, found); err != nil {
			return err
		}
	}
	return nil
}

// named adds the crates of a name.
func (x *searcher) named(name string) error {
	found, err := x.s.cfg.Store.CratesNamed(x.q.ctx(), name, maxNames)
	x.hits(found)
	return err
}

func (x *searcher) hits(found []store.CrateCount) {
	for _, c := range found {
		hit := crateHit{c.Name, uint64(c.Entries), uint64(c.Versions), c.Newest, crateURL(c.Name)}
		if slices.Contains(x.d.Crates, hit) {
			continue
		}
		if len(x.d.Crates) == maxNames {
			x.d.More = true
			return
		}
		x.d.Crates = append(x.d.Crates, hit)
	}
}

// crates adds the crates of a name, those whose names begin so, and the newest entries about the first.
func (x *searcher) crates(name string) error {
	if err := x.named(name); err != nil {
		return err
	}
	exact := len(x.d.Crates) > 0
	found, err := x.s.cfg.Store.CratesFrom(x.q.ctx(), name, maxNames+1)
	if err != nil {
		return err
	}
	x.hits(found)
	if !exact {
		return nil
	}
	entries, err := x.s.cfg.Store.EntriesFrom(x.q.ctx(), name, true, searchLimit+1)
	if err != nil {
		return err
	}
	return x.add("The newest entries about "+name+".", entries)
}

// version adds the entries about a version of a crate, or about those that begin so.
func (x *searcher) version(name, version string) error {
	if entry.CheckName(name) != nil {
		return x.words(x.d.Query)
	}
	if err := x.named(name); err != nil {
		return err
	}
	for _, c := range slices.Clone(x.d.Crates) {
		found, err := x.s.cfg.Store.EntriesOfVersions(x.q.ctx(), c.Crate, version, searchLimit+1)
		if err != nil {
			return err
		}
		what := c.Crate + " " + version + " and versions that begin so."
		exact := slices.DeleteFunc(slices.Clone(found), func(e store.Entry) bool { return e.Version != version })
		if len(exact) > 0 {
			found, what = exact, "Entries about "+c.Crate+" "+version+"."
		}
		if err := x.add(what, found); err != nil {
			return err
		}
	}
	if len(x.d.Crates) == 0 {
		return x.crates(name) // others may begin so
	}
	return nil
}

// words adds the crates that the words of a query name.
func (x *searcher) words(query string) error {
	for i, w := range word.FindAllString(query, maxWords) {
		if len(w) < 2 || i == maxWords {
			continue
		}
		if err := x.named(w); err != nil {
			return err
		}
	}
	if len(x.d.Crates) == 0 {
		x.d.Problem = "No word of that is the name of a crate here, and it is nothing else that can be looked up."
	}
	return nil
}

// add adds a group of entries, unless it is empty.
func (x *searcher) add(what string, found []store.Entry) error {
	if len(found) == 0 {
		return nil
	}
	r := searchResult{What: what, More: len(found) > searchLimit}
	var err error
	r.Entries, err = x.s.entryViews(x.q.ctx(), x.q.logs, found[:min(len(found), searchLimit)])
	x.d.Results = append(x.d.Results, r)
	return err
}
