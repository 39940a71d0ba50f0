package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"cratelog/cargo/registry"
	"cratelog/crate"
	"cratelog/internal/durable"
)

// Dir is where proxies keep index files, accepted crates, and what their index lines must
// say. The proxies of a process share one.
type Dir struct {
	crates *store
	lines  *lines
	proven *proofs
	client *http.Client

	// serving is held by who serves lines, and alone by who compares them: none is served
	// between the comparison and the time from which it counts.
	serving sync.RWMutex
}

// OpenDir opens a directory, and makes it if it is missing. size is how many bytes of
// accepted crates are kept; zero: 2 GiB.
func OpenDir(path string, size int64) (*Dir, error) {
	if size == 0 {
		size = 2 << 30
	}
	crates, err := openStore(filepath.Join(path, "crates"), size)
	if err != nil {
		return nil, err
	}
	d := &Dir{crates: crates, client: newClient()}
	d.lines = &lines{files: registry.DirCache(filepath.Join(path, "index")), gone: filepath.Join(path, "index", "gone")}
	if d.lines.sums, err = lru.New[string, [32]byte](maxKnown); err != nil {
		return nil, err
	}
	form := registry.Summary{}.Digest() // digests of another form say nothing
	d.proven, err = openProofs(filepath.Join(path, "proven-"+hex.EncodeToString(form[:4])))
	return d, err
}

// lines keeps the index files as they were served last, and all lines that were served and
// are in them no more: cargo may still have those.
type lines struct {
	files registry.DirCache
	gone  string // directory of such lines

	mu   sync.Mutex                   // of what writes
	sums *lru.Cache[string, [32]byte] // SHA-256 of the bodies in files, by URL
}

var _ registry.Cache = &lines{}

// maxGone bounds the lines of one crate that are in its index file no more.
const maxGone = 8 << 20

// Load implements registry.Cache.
func (l *lines) Load(url string) (registry.Cached, bool) {
	c, ok := l.files.Load(url)
	if ok {
		l.sums.Add(url, sha256.Sum256(c.Body))
	} else {
		l.sums.Remove(url)
	}
	return c, ok
}

// Store implements registry.Cache. It is left to hold.
func (l *lines) Store(string, registry.Cached) {}

// hold keeps an index file before it is served. The order must not change: lines that go are
// kept before the file is that held them.
func (l *lines) hold(url string, f registry.Cached) error {
	sum := sha256.Sum256(f.Body)
	if held, ok := l.sums.Get(url); ok && held == sum {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, ok := l.Load(url); ok && !bytes.HasPrefix(f.Body, old.Body) {
		if err := l.keep(url, missing(old.Body, f.Body)); err != nil {
			return fmt.Errorf("what the index said before cannot be kept: %w", err)
		}
	}
	l.files.Store(url, f)
	if now, ok := l.Load(url); !ok || !bytes.Equal(now.Body, f.Body) {
		return fmt.Errorf("an index file cannot be kept in %s", l.files)
	}
	return nil
}

// missing returns the lines of old that are not in now.
func missing(old, now []byte) (gone []byte) {
	there := map[string]bool{}
	for line := range bytes.Lines(now) {
		there[string(bytes.TrimRight(line, "\r\n"))] = true
	}
	for line := range bytes.Lines(old) {
		if line = bytes.TrimRight(line, "\r\n"); !there[string(line)] {
			gone = append(append(gone, line...), '\n')
		}
	}
	return gone
}

func (l *lines) file(url string) string {
	sum := sha256.Sum256([]byte(url))
	return filepath.Join(l.gone, hex.EncodeToString(sum[:16]))
}

// keep adds lines to those that are gone.
func (l *lines) keep(url string, add []byte) error {
	old, err := l.before(url)
	if err != nil {
		return err
	}
	add = missing(add, old)
	if len(add) == 0 {
		return nil
	}
	if len(old)+len(add) > maxGone {
		return fmt.Errorf("%s has too many lines already: if the registry is honest, remove it", l.file(url))
	}
	if err := os.MkdirAll(l.gone, 0o755); err != nil {
		return err
	}
	return durable.Write(l.file(url), append(old, add...), 0o644)
}

// before returns the lines that are gone.
func (l *lines) before(url string) ([]byte, error) {
	b, err := durable.Read(l.file(url), maxGone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// all returns every line that was served for the bytes of a version: those of the newest
// index file, and those that are gone.
func (l *lines) all(url string, w Want) (now, before []registry.Release, err error) {
	gone, err := l.before(url)
	if err != nil {
		return nil, nil, err
	}
	f, _ := l.Load(url)
	return about(f.Body, w), about(gone, w), nil
}

// about returns the lines for the bytes of a version. What ParseReleases leaves out is never
// served.
func about(body []byte, w Want) (found []registry.Release) {
	var some []byte
	for line := range bytes.Lines(body) {
		if bytes.Contains(line, []byte(w.Version)) || bytes.IndexByte(line, '\\') >= 0 { // to read fewer
			some = append(append(some, bytes.TrimRight(line, "\r\n")...), '\n')
		}
	}
	releases, _ := registry.ParseReleases(w.Name, some) // an error means that there are none
	for _, r := range releases {
		if r.Version == w.Version && r.Checksum == w.Sum {
			found = append(found, r)
		}
	}
	return found
}

// index returns the index file of a crate with the lines that can be read. From then on they
// count as served. However many ask at one time, it is fetched once, also when they have gone:
// a second try finds it here.
func (p *Proxy) index(ctx context.Context, name string) (registry.Cached, error) {
	got := p.files.DoChan(strings.ToLower(name), func() (any, error) {
		if !p.begin() {
			return registry.Cached{}, context.Canceled
		}
		defer p.work.Done()
		ctx, cancel := context.WithTimeout(p.ctx, workTime)
		defer cancel()
		return p.fetchIndex(ctx, name)
	})
	select {
	case r := <-got:
		return r.Val.(registry.Cached), r.Err
	case <-ctx.Done():
		return registry.Cached{}, ctx.Err()
	}
}

func (p *Proxy) fetchIndex(ctx context.Context, name string) (registry.Cached, error) {
	f, err := p.Upstream.File(ctx, name)
	if err != nil {
		return f, err
	}
	p.Dir.serving.RLock()
	defer p.Dir.serving.RUnlock()
	releases, err := registry.ParseReleases(name, f.Body)
	if err != nil { // the file is for nothing, and cargo says so
		p.Log.Warn("the index file of a crate cannot be read", "crate", name, "error", err)
	}
	if err := p.Dir.proven.read(); err != nil {
		return f, err
	}
	for _, r := range releases {
		if err := p.refuted(r); err != nil {
			return f, err // it is not served, and so it is not held
		}
	}
	if err := p.Dir.lines.hold(p.indexURL(name), f); err != nil {
		return f, err
	}
	p.learn(name, releases)
	if readable := readable(releases, f.Body); len(readable) != len(f.Body) {
		p.Log.Warn("an index file is served without lines that cannot be read", "crate", name)
		f = registry.Cached{Body: readable} // the registry's validators are not for this
	}
	return f, nil
}

func (p *Proxy) indexURL(name string) string { return p.Upstream.URL + registry.Path(name) }

// readable returns an index file without the lines that are not among its releases: the file
// itself if there are none.
func readable(releases []registry.Release, body []byte) []byte {
	lines := len(releases)
	for line := range bytes.Lines(body) {
		if len(bytes.TrimSpace(line)) > 0 {
			lines--
		}
	}
	if lines == 0 {
		return body
	}
	var keep []byte
	for _, r := range releases {
		keep = append(append(keep, r.Line...), '\n')
	}
	return keep
}

// refuted returns what is wrong with a line about a release that must be proven and was handed
// out, or nil: cargo may have its .crate, and would not ask for it again. Other bytes are
// wrong as well.
func (p *Proxy) refuted(r registry.Release) error {
	held, ok := p.Dir.proven.get(p.indexURL(r.Name), r.Version)
	if !ok {
		return nil
	}
	said, err := r.Summary(proxied)
	if r.Checksum == held.sum && err == nil && said.Agrees(held.digest) || !p.Judge.Requires(r.Name, r.Version) {
		return nil
	}
	lie := &Lie{What: "it says something else than when the crate was handed out"}
	w := Want{r.Name, r.Version, held.sum}
	if raw, ok := p.here(w); err != nil {
		lie.What = err.Error()
	} else if r.Checksum != held.sum {
		lie.What = fmt.Sprintf("it names other bytes, with the SHA-256 %x", r.Checksum)
	} else if proven, err := summary(w, raw); ok && err == nil {
		lie.What = said.Diff(proven)
	}
	p.Log.Warn("an index file is refused", "crate", r.Name, "version", r.Version, "reason", lie)
	return &Refusal{r.Name, r.Version, held.sum, lie}
}

// proxied is the registry that the lines are from, as registry.Release.Summary names it: the
// proxy stands before cargo's default registry only.
const proxied = ""

// Lie is a line of the registry's index that does not say what the proven Cargo.toml says, or
// that cannot be compared.
type Lie struct {
	What   string // the rest of a sentence about the line
	Before bool   // it is in the index no more
	line   registry.Release
}

func (e *Lie) Error() string {
	if e.Before {
		return "the registry's index said other than its proven Cargo.toml, and cargo may still go by that: " + e.What
	}
	return "the registry's index says other than its proven Cargo.toml, and cargo goes by the index: " + e.What
}

// Remedy says what to do.
func (e *Lie) Remedy() string {
	if e.Before {
		return "Find out who changed it. Then remove registry/index in cargo's home and proxy/index in cratelog's cache " +
			"directory, and run cargo again."
	}
	return "Do not build; tell the registry. Its index is wrong for whoever depends on this."
}

// agree returns a line that was served for a crate and does not say what its Cargo.toml says. If
// there is none, none is served from now on. digest is that of its Summary; zero if it is not
// known. With an error, nothing was found out.
func (p *Proxy) agree(ctx context.Context, w Want, raw []byte, digest [32]byte) (*Lie, error) {
	if digest == [32]byte{} {
		proven, err := summary(w, raw)
		if err != nil {
			return &Lie{What: err.Error()}, nil
		}
		digest = proven.Digest()
	}
	lie, err := p.compare(w, digest)
	if errors.Is(err, registry.ErrNotFound) { // the cache was emptied, or the index has changed
		if _, err = p.index(ctx, w.Name); err == nil {
			lie, err = p.compare(w, digest)
		}
	}
	if lie == nil {
		return nil, err
	}
	if proven, err := summary(w, raw); err != nil {
		lie.What = err.Error()
	} else if said, err := lie.line.Summary(proxied); err != nil {
		lie.What = err.Error()
	} else {
		lie.What = said.Diff(proven)
	}
	return lie, nil
}

// compare returns a line that was served for a release and has another digest. If there is
// none, none is served from now on.
func (p *Proxy) compare(w Want, digest [32]byte) (*Lie, error) {
	p.Dir.serving.Lock()
	defer p.Dir.serving.Unlock()
	url := p.indexURL(w.Name)
	now, before, err := p.Dir.lines.all(url, w)
	if err == nil && len(now) == 0 {
		err = fmt.Errorf("%s v%s, in its index: %w", w.Name, w.Version, registry.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	for i, r := range append(now, before...) {
		if said, err := r.Summary(proxied); err != nil || !said.Agrees(digest) {
			return &Lie{Before: i >= len(now), line: r}, nil
		}
	}
	return nil, p.Dir.proven.add(url, w.Version, proof{w.Sum, digest})
}

// summary returns what a crate's index line must say.
func summary(w Want, raw []byte) (registry.Summary, error) {
	c, err := crate.ReadHashed(raw, w.Sum, w.Name, w.Version, crate.DefaultLimits)
	if err != nil {
		return registry.Summary{}, err
	}
	return registry.ManifestSummary(c.Manifest())
}
