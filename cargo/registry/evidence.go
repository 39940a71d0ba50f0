package registry

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"cratelog/entry"
	"cratelog/internal/durable"
)

// Evidence is a place where the evidence about crates lies beside them: of each release a bundle
// for each log, and openings, in the layout of BundlePath and OpeningPath. It may be a part of a
// registry, a file server, or a directory. Nothing that it hands out was verified. It is safe for
// concurrent use.
type Evidence struct {
	index *Index // makes the requests; nil for a directory
	base  string // URL that ends in a slash
	put   string // where evidence is handed in, likewise; "" for nowhere
	auth  bool   // reading needs the registry's token
	dir   string
}

// evidenceTime is how long one file of evidence is waited for.
const evidenceTime = 30 * time.Second

// Evidence returns where a registry has its evidence, as its config.json announces it, or nil
// if it announces none:
//
//	"cratelog": {"evidence": "URL/", "put": "URL/"}
//
// cargo passes over the key. Both are absolute URLs that end in a slash; "put", where evidence is
// handed in, may be missing.
func (x *Index) Evidence(ctx context.Context) (*Evidence, error) {
	c, err := x.Config(ctx)
	if err != nil {
		return nil, err
	}
	e, err := c.evidence(x.AllowHTTP)
	if e != nil {
		e.index = x
	}
	return e, err
}

// evidence reads what is announced; nil for nothing.
func (c Config) evidence(allowHTTP bool) (*Evidence, error) {
	const where = `the registry's config.json, "cratelog": `
	all, err := object(c.Raw)
	if err != nil || all["cratelog"] == nil || string(all["cratelog"]) == "null" {
		return nil, err
	}
	var says map[string]json.RawMessage
	if json.Unmarshal(all["cratelog"], &says) != nil {
		return nil, errors.New(where + "it is not a JSON object")
	}
	e := &Evidence{auth: c.Auth}
	if err := errors.Join(field(says, "evidence", &e.base, true), field(says, "put", &e.put, false)); err != nil {
		return nil, fmt.Errorf(where+"%w", err)
	}
	for _, u := range []string{e.base, e.put} {
		if err := CheckURL(u, allowHTTP); err != nil && (u != "" || e.base == "") {
			return nil, fmt.Errorf(where+"%w", err)
		}
	}
	return e, nil
}

// OpenEvidence returns the evidence in a place of a person's choice: the URL of a file server, or
// a directory. client and userAgent are as in Index.
func OpenEvidence(place string, client *http.Client, userAgent string) (*Evidence, error) {
	if !IsURL(place) {
		return &Evidence{dir: place}, nil
	}
	base := strings.TrimRight(place, "/") + "/"
	if err := CheckURL(base, false); err != nil {
		return nil, err
	}
	return &Evidence{base: base, index: &Index{URL: base, HTTP: client, UserAgent: userAgent}}, nil
}

// IsURL says whether a place of evidence is a URL, and not a directory.
func IsURL(place string) bool { return strings.Contains(place, "://") }

// String names the place for people.
func (e *Evidence) String() string { return cmp.Or(e.dir, e.base) }

// evidenceDir is where the files about one release lie: REGISTRY/NAME/VERSION. REGISTRY is that of
// an entry's subject: "default", or the SHA-256 of another one's index, as entry.Registry spells it,
// in hex.
func evidenceDir(registry, name, version string) string {
	if registry != entry.DefaultRegistry {
		registry = hash(registry)
	}
	return registry + "/" + name + "/" + version + "/"
}

func hash(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// BundlePath returns where the bundle lies that the log with an origin has about a release:
// REGISTRY/NAME/VERSION/LOG.tlog-proof, where LOG is the SHA-256 of the origin in hex. registry is
// as in entry.Subject; name and version must be a crate's.
func BundlePath(registry, name, version, origin string) string {
	return evidenceDir(registry, name, version) + hash(origin) + ".tlog-proof"
}

// OpeningPath returns where the opening lies of the claim with an identity:
// REGISTRY/NAME/VERSION/IDENTITY.opening, in hex.
func OpeningPath(registry, name, version string, identity [32]byte) string {
	return evidenceDir(registry, name, version) + fmt.Sprintf("%x.opening", identity)
}

// LogPath returns below which directory the tiles of a log lie, as the log has them:
// logs/LOG/tile/...
func LogPath(origin string) string { return "logs/" + hash(origin) }

// Get returns a file of at most limit bytes. The error is ErrNotFound if it is not there, wraps
// durable.ErrTooLarge if it is larger, or is a *StatusError or one of the network or the disk.
func (e *Evidence) Get(ctx context.Context, path string, limit int64) ([]byte, error) {
	if e.dir != "" {
		if !filepath.IsLocal(filepath.FromSlash(path)) {
			return nil, fmt.Errorf("%w: %s is no name for a file on this system", ErrNotFound, path)
		}
		b, err := durable.Read(filepath.Join(e.dir, filepath.FromSlash(path)), limit)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w (%w)", ErrNotFound, err)
		}
		return b, err
	}
	ctx, cancel := context.WithTimeout(ctx, evidenceTime)
	defer cancel()
	token := ""
	if e.auth {
		token = e.index.Token
	}
	resp, err := e.index.get(ctx, e.base+escape(path), http.Header{}, token, false)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return read(resp, limit)
}

// escape writes a path into a URL. A + stands for a space on some file servers.
func escape(path string) string { return strings.ReplaceAll(path, "+", "%2B") }

// Tiles returns the URL of the mirror of a log's tiles that a place may have, and what asks it; nil
// where a token is needed.
func (e *Evidence) Tiles(origin string) (url string, c *http.Client) {
	switch {
	case e.dir != "":
		return "http://localhost/" + LogPath(origin), &http.Client{Transport: http.NewFileTransport(files(e.dir))}
	case e.auth:
		return "", nil
	}
	return e.base + LogPath(origin), e.index.client(true)
}

// files are the regular files in a directory: to open others may block, or act.
type files string

func (d files) Open(name string) (http.File, error) {
	info, err := os.Stat(filepath.Join(string(d), filepath.FromSlash(path.Clean("/"+name))))
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	return http.Dir(d).Open(name)
}

// Takes says whether evidence can be handed in.
func (e *Evidence) Takes() bool { return e.put != "" }

// Put hands in a file: with PUT, the registry's token as Authorization, and no redirects. The same
// file may be handed in again. The error is a *StatusError if the registry answers anything but 200,
// 201 or 204.
func (e *Evidence) Put(ctx context.Context, path string, body []byte, token string) error {
	ctx, cancel := context.WithTimeout(ctx, evidenceTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, e.put+escape(path), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", cmp.Or(e.index.UserAgent, "cratelog"))
	r.Header.Set("Content-Type", "application/octet-stream")
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	c := e.index.client(true)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // the status is what matters
	return &StatusError{URL: r.URL.Redacted(), Status: resp.StatusCode, Body: oneLine(said),
		RetryAfter: clean(resp.Header.Get("Retry-After"))}
}
