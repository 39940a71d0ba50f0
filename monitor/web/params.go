package web

import (
	"context"
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
func parseParams(r *http.Request, known ...string) (*params, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("The part of the address behind the question mark is malformed.")
	}
	for name, given := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, badRequest(fmt.Sprintf("There is no parameter %q here; there are: %s.", clip(name), strings.Join(known, ", ")))
		case !utf8.ValidString(given[0]) || strings.ContainsFunc(given[0], unicode.IsControl):
			return nil, badRequest(fmt.Sprintf("The parameter %s is no text.", name))
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

func (p *params) hash32(name string) *[32]byte {
	if b := p.hash(name, 32); len(b) == 32 {
		return (*[32]byte)(b)
	}
	return nil
}

func (p *params) commit(name string) *[20]byte {
	if b := p.hash(name, 20); len(b) == 20 {
		return (*[20]byte)(b)
	}
	return nil
}

func (p *params) time(name string) time.Time {
	if !p.has(name) {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, p.get(name))
	if err != nil {
		p.bad(name, "is no RFC 3339 time such as 2026-01-31T12:00:00Z")
	}
	return t
}

func (p *params) limit(standard int) int {
	if !p.has("limit") {
		return standard
	}
	n, err := strconv.Atoi(p.get("limit"))
	if err != nil || n < 1 || n > maxLimit {
		p.bad("limit", "is no number from 1 to %d", maxLimit)
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

func (p *params) size(name string) *int64 {
	if !p.has(name) {
		return nil
	}
	n, ok := parseSize(p.get(name))
	if !ok {
		p.bad(name, "is no number of entries")
	}
	return &n
}

// parseSize reads a decimal number in its one form.
func parseSize(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// log reads the parameter log, the origin of a followed log: nil if it is not given.
func (s *Server) log(ctx context.Context, p *params) (*store.Log, error) {
	if !p.has("log") {
		return nil, nil
	}
	logs, err := s.cfg.Store.Logs(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range logs {
		if l.Origin == p.get("log") {
			return &l, nil
		}
	}
	return nil, notFound("This monitor follows no log of that origin; /v1/logs lists those that it does.")
}

// oneLog is log where an answer is about one log: without the parameter, it is the
// log that this monitor has followed longest, so that an address keeps its meaning
// when another log is added.
func (s *Server) oneLog(ctx context.Context, p *params) (store.Log, error) {
	if l, err := s.log(ctx, p); err != nil || l != nil {
		if l == nil {
			l = new(store.Log)
		}
		return *l, err
	}
	logs, err := s.cfg.Store.Logs(ctx)
	if err != nil {
		return store.Log{}, err
	}
	if len(logs) == 0 {
		return store.Log{}, notFound("This monitor follows no log yet.")
	}
	return logs[0], nil
}

// A cursor is the base64url of a place in the store's order, 8 bytes big-endian, and
// 8 bytes of a hash over the question that it belongs to. It is opaque to readers.
func (p *params) makeCursor(what string, place int64) *string {
	b := binary.BigEndian.AppendUint64(nil, uint64(place))
	s := base64.RawURLEncoding.EncodeToString(append(b, p.question(what)...))
	return &s
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

// filters are the parameters that choose entries.
var filters = []string{"crate", "version", "checksum", "commit", "path", "repository", "program", "leaf", "from", "to", "log"}

// entryQuery reads the filters.
func (s *Server) entryQuery(ctx context.Context, p *params) (store.EntryQuery, error) {
	q := store.EntryQuery{
		Name: p.get("crate"), Version: p.get("version"),
		SHA256: p.hash32("checksum"), Leaf: p.hash32("leaf"), Program: p.hash32("program"),
		Commit: p.commit("commit"), From: p.time("from"), To: p.time("to"),
	}
	if q.Name != "" && entry.CheckName(q.Name) != nil {
		p.bad("crate", "is no name of a crate")
	}
	if q.Version != "" && entry.CheckVersion(q.Version) != nil {
		p.bad("version", "is no exact version such as 1.2.3")
	}
	if p.has("path") {
		path := p.get("path")
		q.Path = &path
	}
	if p.has("repository") {
		if q.Names = s.cratesOf(p.get("repository")); q.Names == nil {
			p.bad("repository", "names none that this monitor knows: entries carry commits, not addresses, and only its operator's settings tell whose they are")
		}
	}
	if p.err != nil {
		return q, p.err
	}
	l, err := s.log(ctx, p)
	if l != nil {
		q.Log = l.ID
	}
	return q, err
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
