package web

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cratelog/entry"
	"cratelog/monitor/store"
)

// defaultLimit and maxLimit bound the items of one answer.
const (
	defaultLimit = 100
	maxLimit     = 1000
	pageLimit    = 50 // of a page for people
)

// params are the parameters of a request, each of which may be asked for once and
// must be known. The first mistake is kept in err.
type params struct {
	values url.Values
	err    error
}

// parseParams reads the query of a request, which may have the given parameters
// and no others.
func parseParams(r *http.Request, known []string) (*params, error) {
	if len(known) == 0 {
		return &params{}, noParams(r)
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("The part of the address behind the question mark is malformed.")
	}
	for name, given := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, badRequest(fmt.Sprintf("There is no parameter %q here; there are: %s.",
				clip(name), strings.Join(known, ", ")))
		case !utf8.ValidString(given[0]) || strings.ContainsFunc(given[0], unicode.IsControl):
			return nil, badRequest(fmt.Sprintf("The parameter %s is not text.", name))
		case len(given) > 1:
			return nil, badRequest(fmt.Sprintf("The parameter %s is given %d times; give it once.", name, len(given)))
		case given[0] == "" && name != "path" && name != "q":
			return nil, badRequest(fmt.Sprintf("The parameter %s is empty; leave it out or give it a value.", name))
		}
	}
	return &params{values: values}, nil
}

// noParams is for addresses that take none.
func noParams(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	return badRequest("This address takes no parameters.")
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

func (p *params) get(name string) string { return p.values.Get(name) }
func (p *params) has(name string) bool   { return p.values.Has(name) }

func (p *params) bad(name, format string, args ...any) {
	if p.err == nil {
		p.err = badRequest("The parameter " + name + " " + fmt.Sprintf(format, args...) + ".")
	}
}

// hash reads a parameter of n bytes in lower-case hex, nil if it is not given.
func (p *params) hash(name string, n int) []byte {
	if !p.has(name) {
		return nil
	}
	b, ok := parseHex(p.get(name), n)
	if !ok {
		p.bad(name, "is not %d digits of lower-case hexadecimal", 2*n)
	}
	return b
}

func parseHex(s string, n int) ([]byte, bool) {
	b, err := hex.DecodeString(s)
	return b, err == nil && len(b) == n && strings.ToLower(s) == s
}

func (p *params) time(name string) time.Time {
	if !p.has(name) {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, p.get(name))
	if err != nil {
		p.bad(name, "is not an RFC 3339 time such as 2026-01-31T12:00:00Z")
	}
	return t
}

func (p *params) limit(standard int) int {
	if !p.has("limit") {
		return standard
	}
	n, err := strconv.Atoi(p.get("limit"))
	if err != nil || n < 1 || n > maxLimit {
		p.bad("limit", "is not a number from 1 to %d", maxLimit)
	}
	return n
}

// oneOf reads a parameter that takes one of a few words; "" if it is not given.
func (p *params) oneOf(name string, words ...string) string {
	if v := p.get(name); v == "" || slices.Contains(words, v) {
		return v
	}
	p.bad(name, "takes one of: %s", strings.Join(words, ", "))
	return ""
}

// class reads the parameter class, "" if it is not given.
func (p *params) class() store.Class {
	return store.Class(p.oneOf("class", string(store.Security), string(store.Operational), string(store.Info)))
}

func (p *params) size(name string) *int64 {
	if !p.has(name) {
		return nil
	}
	n, ok := parseSize(p.get(name))
	if !ok {
		p.bad(name, "is not a number of entries")
	}
	return &n
}

// parseSize reads a decimal number in its one form.
func parseSize(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// log reads the parameter log, the origin of a followed log: nil if it is not given.
func (q *request) log() (*store.Log, error) {
	if !q.has("log") {
		return nil, nil
	}
	for _, l := range q.all {
		if l.Origin == q.get("log") {
			return &l, nil
		}
	}
	return nil, notFound("This monitor follows no log of that origin; /v1/logs lists those that it does.")
}

// oneLog is log where an answer is about one log: without the parameter, it is the
// log that this monitor has followed longest, so that an address keeps its meaning
// when another log is added.
func (q *request) oneLog() (store.Log, error) {
	l, err := q.log()
	switch {
	case err != nil:
		return store.Log{}, err
	case l != nil:
		return *l, nil
	case len(q.all) == 0:
		return store.Log{}, notFound("This monitor follows no log yet.")
	}
	return q.all[0], nil
}

// only ends the reading of a list's parameters, and returns the log that it is of: 0 for
// all.
func (q *request) only() (int64, error) {
	if q.err != nil {
		return 0, q.err
	}
	l, err := q.log()
	if l == nil {
		return 0, err
	}
	return l.ID, nil
}

// A cursor is the base64url of a place in the store's order, 8 bytes big-endian, and
// 8 bytes of a hash over the question that it belongs to. It is opaque to readers.
func (p *params) makeCursor(what string, place int64) *string {
	b := binary.BigEndian.AppendUint64(nil, uint64(place))
	return new(base64.RawURLEncoding.EncodeToString(append(b, p.question(what)...)))
}

// question identifies what is asked, without how much of it.
func (p *params) question(what string) []byte {
	var names []string
	for name := range p.values {
		if name != "cursor" && name != "limit" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	h := sha256.New()
	fmt.Fprintf(h, "cratelog/cursor/v1\n%s\n", what)
	for _, name := range names {
		fmt.Fprintf(h, "%s\n%q\n", name, p.get(name))
	}
	return h.Sum(nil)[:8]
}

// cursor reads the parameter cursor; 0 if it is not given.
func (p *params) cursor(what string) int64 {
	if !p.has("cursor") {
		return 0
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(p.get("cursor"))
	if err != nil || len(b) != 16 {
		p.bad("cursor", "is none that this monitor gave; take it from the field next")
		return 0
	}
	if !slices.Equal(b[8:], p.question(what)) {
		p.bad("cursor", "belongs to another question; keep all other parameters as they were")
		return 0
	}
	place := int64(binary.BigEndian.Uint64(b))
	if place <= 0 {
		p.bad("cursor", "is none that this monitor gave; take it from the field next")
	}
	return place
}

// The parameters that choose entries and findings.
const (
	entryFilters   = "registry crate version checksum commit path repository program claim development leaf from to log"
	findingFilters = "log class kind crate standing order limit cursor"
)

// entryQuery reads the filters.
func (s *Server) entryQuery(q *request) (store.EntryQuery, error) {
	out := store.EntryQuery{
		Registry: q.get("registry"), Name: q.get("crate"), Version: q.get("version"),
		SHA256: q.hash("checksum", 32), Leaf: q.hash("leaf", 32), Program: q.hash("program", 32),
		Commit: q.hash("commit", 20), From: q.time("from"), To: q.time("to"),
	}
	if out.Registry != "" && entry.CheckRegistry(out.Registry) != nil {
		q.bad("registry", "is neither \"default\" nor the index of a registry as entries name it")
	}
	if out.Name != "" && entry.CheckName(out.Name) != nil {
		q.bad("crate", "is not the name of a crate")
	}
	if out.Version != "" && entry.CheckVersion(out.Version) != nil {
		q.bad("version", "is not an exact version such as 1.2.3")
	}
	s.chosen(q, &out)
	if q.has("path") {
		out.Path = new(q.get("path"))
	}
	if q.has("repository") {
		if out.Names = s.cratesOf(q.get("repository")); out.Names == nil {
			q.bad("repository", "names none that this monitor knows: entries carry commits, not addresses, and only "+
				"its operator's settings tell whose they are")
		}
	}
	var err error
	out.Log, err = q.only()
	return out, err
}

// cratesOf returns the crates that the settings place in a repository.
func (s *Server) cratesOf(repository string) []string {
	var names []string
	for name, address := range s.cfg.Repositories {
		if address == repository {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// chosen reads the filters by what an entry claims, and by whose key.
func (s *Server) chosen(q *request, find *store.EntryQuery) {
	find.Kind = q.oneOf("claim", (&entry.Source{}).Kind(), (&entry.Build{}).Kind(), store.KindSeal)
	if q.oneOf("development", "yes") == "yes" {
		find.Programs = [][32]byte{}
		for _, p := range s.cfg.Proofs.Programs() {
			if p.Development() {
				find.Programs = append(find.Programs, p.ID())
			}
		}
	}
}
