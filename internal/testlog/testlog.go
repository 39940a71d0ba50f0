// Package testlog is the log of tests and measurements. It has a key, a tree in memory
// and witnesses with keys, signs and serves whatever a test tells it to, lies included,
// and checks nothing that it takes in.
//
// It is written down from the specifications, on golang.org/x/mod and torchwood, and
// uses nothing of what it tests but the entry format. What goes wrong in it is the
// test's own mistake, and panics.
package testlog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/index"
)

// Log is a log with its witnesses.
type Log struct {
	*Key
	Witnesses []*Key // in the trust file: w1, w2, ...
	Tree      *Tree  // for tests to append to while nothing is asked
	PageRows  int    // of a page at most; 0: 4096

	adding    sync.Mutex
	mu        sync.Mutex
	served    *Tree
	size      int64 // of served that is published
	shown     []byte
	cosigned  map[*Key][]byte // what each witness shows
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

// New makes a log whose keys follow from its origin or, if one is given, from a secret.
func New(origin string, witnesses int, now func() time.Time, secret ...string) *Log {
	l := &Log{Key: LogKey(origin, secret...), Tree: &Tree{}, cosigned: make(map[*Key][]byte)}
	for i := range witnesses {
		w := WitnessKey(fmt.Sprintf("w%d.example", i+1), time.Time{})
		w.Time = now
		l.Witnesses = append(l.Witnesses, w)
	}
	return l
}

// Of makes a log without witnesses, of n leaves that are no entries.
func Of(origin string, n int64) *Log {
	l := New(origin, 0, nil)
	l.Tree.Grow(n, origin)
	return l
}

// Trust returns a trust file in which more than half of the witnesses make the quorum.
// url is where the log is served.
func (l *Log) Trust(url string) []byte {
	text := fmt.Sprintf("log %s %s\n", l.VKey, url)
	if len(l.Witnesses) == 0 {
		return []byte(text + "quorum none\n")
	}
	names := ""
	for i, w := range l.Witnesses {
		name := fmt.Sprintf("w%d", i+1)
		text += fmt.Sprintf("witness %s %s %s/%s\n", name, w.VKey, url, name)
		names += " " + name
	}
	return fmt.Appendf(nil, "%sgroup g %d%s\nquorum g\n", text, len(l.Witnesses)/2+1, names)
}

// Head is the unsigned checkpoint of the first n leaves.
func (l *Log) Head(n int64) string { return l.Tree.Head(l.KeyName, n) }

// Sign returns the checkpoint of the first n leaves of a tree, signed by the log and
// by some witnesses.
func (l *Log) Sign(t *Tree, n int64, witnesses ...*Key) []byte {
	return l.SignText(t.Head(l.KeyName, n), witnesses...)
}

// SignText signs any text.
func (l *Log) SignText(text string, witnesses ...*Key) []byte {
	return Sign(text, append([]*Key{l.Key}, witnesses...)...)
}

// Request is the right request to a witness to go from old to size.
func (l *Log) Request(old, size int64) string {
	return Request(old, l.Tree.Consistency(old, size), string(l.Sign(l.Tree, size)))
}

// Request is the body of any add-checkpoint request (c2sp.org/tlog-witness).
func Request(old int64, proof []tlog.Hash, signed string) string {
	body := fmt.Sprintf("old %d\n", old)
	for _, h := range proof {
		body += h.String() + "\n"
	}
	return body + "\n" + signed
}

// Add appends leaves while the log may be asked, and publishes them.
func (l *Log) Add(leaves ...[]byte) {
	l.adding.Lock()
	defer l.adding.Unlock()
	l.mu.Lock()
	l.Tree.Append(leaves...)
	l.mu.Unlock()
	l.Publish()
}

// Publish seals Tree, makes all its leaves public under a checkpoint that every witness
// cosigned and shows, and returns it.
func (l *Log) Publish() []byte {
	l.mu.Lock()
	l.Tree.Seal()
	l.mu.Unlock()
	signed := l.ServeSigned(l.Tree, l.Tree.Size(), l.Witnesses...)
	for _, w := range l.Witnesses {
		l.Show(w, signed)
	}
	return signed
}

// ServeSigned is Serve with the checkpoint that the log and some witnesses sign.
func (l *Log) ServeSigned(t *Tree, n int64, witnesses ...*Key) []byte {
	signed := l.Sign(t, n, witnesses...)
	l.Serve(t, n, signed)
	return signed
}

// Serve makes the log serve the first n leaves of a tree, and a checkpoint.
func (l *Log) Serve(t *Tree, n int64, signed []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served, l.size, l.shown = t, n, signed
}

// Show makes a witness show a checkpoint to monitors.
func (l *Log) Show(w *Key, signed []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cosigned[w] = signed
}

// Intercept lets f answer requests before the log does: it returns true if it has.
func (l *Log) Intercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.intercept = f
}

// Answer is for Intercept: what lies below a path is answered with code and body.
func Answer(path string, code int, body []byte) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, path) {
			return false
		}
		w.WriteHeader(code)
		w.Write(body)
		return true
	}
}

// ServeHTTP serves the log's checkpoint, tiles, bundles, look-ups and pages, and each witness's
// monitoring endpoint below its name.
func (l *Log) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	f := l.intercept
	l.mu.Unlock()
	if f != nil && f(w, r) {
		return
	}
	b := l.answer(strings.TrimPrefix(r.URL.Path, "/"), r.URL.Query())
	if b == nil {
		http.Error(w, `{"reason":"not-found","message":"no entry"}`, http.StatusNotFound)
		return
	} else if len(b) == 0 && strings.HasPrefix(r.URL.Path, "/v1/index") {
		http.Error(w, `{"reason":"too-many-rows","message":"ask for its halves"}`, http.StatusRequestEntityTooLarge)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b)
}

// answer is what the log serves at a path, or nil.
func (l *Log) answer(path string, query url.Values) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, wit := range l.Witnesses {
		if path == fmt.Sprintf("w%d/%x/checkpoint", i+1, sha256.Sum256([]byte(l.KeyName))) {
			return l.cosigned[wit]
		}
	}
	if path == "checkpoint" {
		return l.shown
	}
	if name, ok := strings.CutPrefix(path, "v1/"); ok && l.shown != nil {
		return l.sealed(strings.Split(name, "/"), query)
	}
	b, err := l.served.Tile(l.size, path)
	if err != nil {
		return nil
	}
	return b
}

// sealed is a bundle, look-up or page under the shown checkpoint, which may be of less than is served.
func (l *Log) sealed(path []string, query url.Values) []byte {
	text, _, _ := strings.Cut(string(l.shown), "\n\n")
	size := Must(torchwood.ParseCheckpoint(text + "\n")).N
	registry := cmp.Or(query.Get("registry"), entry.DefaultRegistry)
	switch {
	case size == 0:
		return nil
	case path[0] == "crates" && len(path) == 3:
		return l.bundle(path[1], path[2], size)
	case path[0] == "lookup" && len(path) == 3:
		return l.served.Lookup(registry, path[1], path[2], size, l.shown)
	case path[0] == "index" && query.Has("bits"):
		var k index.Key
		copy(k[:], Must(hex.DecodeString(query.Get("under"))))
		return l.page(Must(index.NewPrefix(k, Must(strconv.Atoi(query.Get("bits"))))), size)
	case path[0] == "index" && len(path) == 2:
		return l.page(index.NamePrefix(registry, path[1]), size)
	}
	return nil
}

// page is empty if it would have too many rows.
func (l *Log) page(under index.Prefix, size int64) []byte {
	n := 0
	for range l.served.Map(size - 1).Rows(under) {
		if n++; n > cmp.Or(l.PageRows, 4096) {
			return []byte{}
		}
	}
	return l.served.Page(under, size, l.shown)
}

// bundle is that of the last entry of a version.
func (l *Log) bundle(name, version string, size int64) []byte {
	for i := size - 1; i >= 0; i-- {
		leaf := l.served.Leaves[i]
		if !bytes.Contains(leaf, []byte(name)) {
			continue
		}
		if e, err := entry.Parse(leaf); err == nil && e.Subject.Name == name && e.Subject.Version == version {
			return l.served.Bundle(i, size, l.shown)
		}
	}
	return nil
}
