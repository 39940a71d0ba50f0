// Package registry reads crates and their index from a registry that speaks
// cargo's sparse protocol, any registry.
//
// # Protocol
//
// A sparse index is a tree of files below one URL, which ends in a slash
// (cargo's reference, "Index Format" and "Sparse Protocol"):
//
//	config.json     {"dl": "...", "api": "...", "auth-required": true}
//	1/a  2/ab       one file for each crate, its name in lower case: see Path
//	3/a/abc
//	ab/cd/abcdef
//
// A crate's file holds one JSON object on each line, one line for each release.
// "dl" is where .crate files are: a URL with the markers {crate}, {version},
// {prefix}, {lowerprefix} and {sha256-checksum}, or without any, and then
// /{crate}/{version}/download follows it.
//
// # What is believed
//
// Nothing that a registry says is believed beyond that it says so. Every body is
// bounded; a .crate is returned only if it has the checksum that the caller asked
// for. Plain http is spoken with loopback addresses only, unless it is allowed; a
// token goes to the index's own host, and to the place of downloads only if the
// registry says that it wants one there.
package registry

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cratelog/entry"
)

// Bounds of what is read, in bytes.
const (
	MaxConfigSize = 64 << 10
	MaxIndexSize  = 32 << 20 // the index file of one crate
	MaxCrateSize  = 64 << 20
	maxErrorBody  = 4 << 10
)

const (
	configAge    = 10 * time.Minute // how long config.json is not asked for again
	headTimeout  = 30 * time.Second // until the first byte of an answer
	wholeTimeout = 5 * time.Minute  // one request, its body included
	maxRedirects = 5
)

// ErrNotFound: the registry has no such crate, release or file.
var ErrNotFound = errors.New("the registry does not have it")

// Index is a client for one registry. What it returns is bounded; of what it returns
// only a .crate's checksum is checked. It is safe for concurrent use, and must not
// be copied once it is used.
type Index struct {
	URL string // base URL of the sparse index, without "sparse+"; https, or http on a loopback address

	HTTP      *http.Client // makes the requests; nil for one with timeouts. Its CheckRedirect is not used.
	UserAgent string       // "cratelog" if empty; some registries refuse requests without one
	Token     string       // sent as Authorization, if the registry wants one
	AllowHTTP bool         // plain http to any host: everything that travels can then be read and changed

	// TokenIfAsked keeps the Token from the index, too, until that has asked for one, as cargo does: config.json
	// says "auth-required", or is refused with 401. A token is for publishing, and an index often another host's.
	TokenIfAsked bool

	// Cache keeps index files between calls, so that one that did not change is not
	// sent again. nil keeps nothing.
	Cache Cache

	asked atomic.Bool // the index has asked for the Token

	mu      sync.Mutex // guards the two below
	config  *Config
	fetched time.Time
}

// Release is one line of a crate's index file.
type Release struct {
	Name, Version string   // as the registry writes them
	Checksum      [32]byte // SHA-256 of the .crate
	Yanked        bool
	Line          []byte // the whole line, without its end
}

// StatusError is an answer of a registry that is neither success nor "not found".
type StatusError struct {
	URL    string
	Status int    // HTTP status code
	Body   string // the beginning of what it said, one line; not to be believed

	RetryAfter string // the header, as sent; "" if there was none
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("the registry answered %d %s to %s", e.Status, http.StatusText(e.Status), e.URL)
	if e.Body != "" {
		s += fmt.Sprintf(": %q", e.Body)
	}
	if e.Status == http.StatusUnauthorized {
		s += "; it wants a token that it knows"
	}
	return s
}

// Wait returns how long the registry asks to be left alone, seconds or until a date; 0 if it does not say.
func (e *StatusError) Wait(now time.Time) time.Duration {
	if n, err := strconv.ParseUint(strings.TrimSpace(e.RetryAfter), 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(strings.TrimSpace(e.RetryAfter)); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

// ChecksumError says that a registry served other bytes than were asked for.
type ChecksumError struct {
	Name, Version, URL string
	Want, Got          [sha256.Size]byte
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("the registry served other bytes for %s v%s: SHA-256 %x, expected %x (%s)", e.Name, e.Version,
		e.Got, e.Want, e.URL)
}

// Path returns where a crate's file is in the index: 1/a, 2/ab, 3/a/abc or
// ab/cd/abcd, in lower case. The name must be a crate's (entry.CheckName).
func Path(name string) string {
	name = strings.ToLower(name)
	return prefix(name) + "/" + name
}

// prefix returns the directories that a name stands in.
func prefix(name string) string {
	switch len(name) {
	case 0, 1, 2:
		return fmt.Sprint(len(name))
	case 3:
		return "3/" + name[:1]
	}
	return name[:2] + "/" + name[2:4]
}

// Find returns the release of a version. Of two lines for one version the later counts,
// as for cargo (up to 1.95; newer versions may resolve with either): what must hold of the
// release must hold of every line about it.
func Find(releases []Release, version string) (Release, error) {
	for _, r := range slices.Backward(releases) {
		if r.Version == version {
			return r, nil
		}
	}
	return Release{}, fmt.Errorf("version %s: %w", version, ErrNotFound)
}

// CheckURL checks the base URL of a sparse index: absolute, https (or http on a
// loopback address, or anywhere if allowed), ending in a slash, without user, query
// and fragment.
func CheckURL(s string, allowHTTP bool) error {
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("the registry's index URL: %w", err)
	}
	if u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" ||
		!strings.HasSuffix(u.Path, "/") {
		return fmt.Errorf("the registry's index URL %q is not a URL without user, query and fragment that ends in '/'", s)
	}
	return checkHost(u, allowHTTP)
}

// checkHost says whether we speak with a URL's host by its scheme.
func checkHost(u *url.URL, allowHTTP bool) error {
	switch {
	case u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("the registry's URL %q is not an absolute http or https URL", u.Redacted())
	case u.Scheme == "http" && !allowHTTP && !loopback(u.Hostname()):
		return fmt.Errorf("the registry's URL %q is plain http to another machine: use https; http is for localhost and "+
			"loopback addresses only", u.Redacted())
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkRelease checks what becomes a part of URLs and file names.
func checkRelease(name, version string) error {
	return errors.Join(entry.CheckName(name), entry.CheckVersion(version))
}
