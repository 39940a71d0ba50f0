package git

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cratelog/internal/durable"
	"cratelog/internal/flock"
	"cratelog/internal/gitobject"
)

// A Visitor fetches repositories as anybody can: by https, without any setting, cookie, certificate or
// password of the user's, and without being sent to another host. Its clones are apart from those that
// were made with credentials: what is in them is public, or was when it was fetched.
//
// It is safe for concurrent use, and beside other processes: they take turns at a repository.
type Visitor struct {
	Clones   Clones
	MaxBytes int64         // of one repository; 0 for DefaultMaxBytes
	Timeout  time.Duration // of one repository's fetch; 0 for 15 minutes

	mu    sync.Mutex
	found map[string]string // where an address was found to be, by address
}

// DefaultMaxBytes is how much a Visitor takes of a repository. Without blobs, commits of the largest
// have a few megabytes.
const DefaultMaxBytes = 1 << 30

// DefaultVisitor returns a visitor whose clones are below the user's cache.
func DefaultVisitor() (*Visitor, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("no cache directory for repositories: %w", err)
	}
	return &Visitor{Clones: Clones(filepath.Join(dir, "cratelog", "public"))}, nil
}

// A GoneError says that no repository answers at a URL, or not to everybody.
type GoneError struct{ Repository, Why string }

func (e *GoneError) Error() string {
	return fmt.Sprintf("there is no repository at %s that anybody can fetch: %s", e.Repository, e.Why)
}

// An AddressError says why a URL is not visited.
type AddressError struct{ Repository, Why string }

func (e *AddressError) Error() string {
	return fmt.Sprintf("the repository %s %s", e.Repository, e.Why)
}

// Address is where a repository is.
type Address struct {
	URL string // of https
	// Own says that the user named it: then it may be on a private network, and of http on this machine.
	Own bool
}

// check refuses what is not visited.
func (a Address) check(ctx context.Context) (*url.URL, error) {
	wrong := func(why string) error { return &AddressError{redact(a.URL), why} }
	u, err := url.Parse(a.URL)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || strings.HasPrefix(u.Host, "-"):
		return nil, wrong("has no URL of https")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, wrong("has a user, a query or a fragment in its URL")
	case a.Own && u.Scheme == "http" && onThisMachine(u.Hostname()):
		return u, nil
	case u.Scheme != "https":
		return nil, wrong("has no URL of https")
	case !a.Own && !proxied(u):
		if err := worldwide(ctx, u.Hostname()); errors.As(err, new(*net.DNSError)) {
			return nil, err
		} else if err != nil {
			return nil, wrong("is not public: " + err.Error())
		}
	}
	return u, nil
}

func onThisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// proxied says whether a proxy connects to a host, which then knows its addresses.
func proxied(u *url.URL) bool {
	p, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	return err == nil && p != nil
}

// Fetch returns the directory of a clone that has a commit, as Clones.Fetch does. Others that will be
// wanted are asked for in the same request, if there is one.
//
// Errors: *AddressError, *GoneError, *NoCommitError and ErrTooMuch are answers; with others it could not
// be tried.
func (v *Visitor) Fetch(ctx context.Context, a Address, commit [20]byte, others ...[20]byte) (string, error) {
	id := hex.EncodeToString(commit[:])
	if dir, ok := v.known(ctx, a.URL, id); ok {
		return dir, nil
	}
	at, err := v.find(ctx, a)
	if err != nil {
		return "", err
	}
	if dir, ok := v.known(ctx, at, id); ok {
		return dir, nil
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(v.Timeout, fetchTimeout))
	defer cancel()
	dir, err := v.Clones.clone(ctx, at)
	if err != nil {
		return "", err
	}
	unlock, err := lockClone(ctx, dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	t, err := v.transport(a)
	if err != nil {
		return "", err
	}
	if _, err := needed(ctx, dir, id); err != nil { // trees are missing, or all of it
		if err := t.fetchCommit(ctx, dir, id, others); err != nil {
			return "", err
		}
	}
	if !has(ctx, dir, id) {
		return "", &NoCommitError{redact(at), id}
	}
	return dir, t.fetchBlobs(ctx, dir, id)
}

// lockClone keeps other fetches away from a clone, and removes what one that was killed has left.
func lockClone(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		held, err := flock.Try(f)
		if err == nil && !held {
			break
		} else if err == nil {
			select {
			case <-time.After(50 * time.Millisecond):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		f.Close()
		return nil, err
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".git", "objects", "pack", "tmp_*")) // the pattern is one
	for _, path := range append(left, filepath.Join(dir, ".git", "shallow.lock")) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			f.Close()
			return nil, err
		}
	}
	return func() { f.Close() }, nil
}

// known returns the clone of an address if it has all that the proof of a commit can need.
func (v *Visitor) known(ctx context.Context, address, commit string) (string, bool) {
	dir := v.Clones.dir(address)
	if _, err := os.Stat(filepath.Join(dir, ".git", "HEAD")); err != nil {
		return "", false
	}
	have, err := hasAll(ctx, dir, commit)
	return dir, err == nil && have
}

// fetchCommit fetches a commit and the others by their ids, or what the server hands out instead: first
// that one alone, then all branches and tags.
func (t *transport) fetchCommit(ctx context.Context, dir, id string, others [][20]byte) error {
	one := []string{noBlobs, "--depth=1", "--", "origin", id}
	all := one
	for _, c := range others {
		if other := hex.EncodeToString(c[:]); len(all) < maxAtOnce && !has(ctx, dir, other) {
			all = append(all, other)
		}
	}
	err := t.fetch(ctx, dir, "", all...)
	if err != nil && len(all) > len(one) && answered(err) {
		err = t.fetch(ctx, dir, "", one...) // perhaps another is the one that it lacks
	}
	switch {
	case err == nil || !answered(err):
		return err
	case strings.Contains(err.Error(), "not our ref"): // SPEC: of protocol 2, which hands out all that there is
		return nil
	}
	return t.fetchRefs(ctx, dir, noBlobs)
}

// maxAtOnce bounds the commits of one request, about.
const maxAtOnce = 64

// answered says whether git's error is what the server said to a request for a commit, and not of a
// connection.
func answered(err error) bool {
	text := err.Error()
	return strings.Contains(text, "not our ref") || strings.Contains(text, "unadvertised object") ||
		strings.Contains(text, "remote error:")
}

// transport is git's, of nobody.
func (v *Visitor) transport(a Address) (*transport, error) {
	home := filepath.Join(string(v.Clones), ".home") // nothing is ever in it
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	env := append(anonymous(os.Environ(), home), "GIT_NO_REPLACE_OBJECTS=1")
	if a.Own && strings.HasPrefix(a.URL, "http://") {
		env = append(env, "GIT_ALLOW_PROTOCOL=http")
	}
	return &transport{env: env, alone: true, maxBytes: cmp.Or(v.MaxBytes, DefaultMaxBytes), settings: []string{"-c", "protocol.version=2",
		"-c", "http.followRedirects=false", "-c", "transfer.bundleURI=false", "-c", "fetch.unpackLimit=1",
		"-c", "core.bigFileThreshold=16m", "-c", "pack.threads=1"}}, nil
}

// Tags returns the commits, or other objects, that the tags of a repository name, by name.
func (v *Visitor) Tags(ctx context.Context, a Address) (map[string][20]byte, error) {
	at, err := v.find(ctx, a)
	if err != nil {
		return nil, err
	}
	t, err := v.transport(a)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tagsTimeout)
	defer cancel()
	out, err := t.run(ctx, string(v.Clones), "", append(t.settings, "ls-remote", "--tags", "--", at)...)
	if err != nil {
		return nil, fmt.Errorf("the repository cannot be asked for its tags: %w", err)
	}
	return parseTags(out), nil
}

// tagsTimeout bounds how long a repository may take to list its tags.
const tagsTimeout = 2 * time.Minute

// LocalTags is Visitor.Tags of a repository on this disk.
func LocalTags(ctx context.Context, dir string) (map[string][20]byte, error) {
	out, err := Run(ctx, dir, "for-each-ref", "--format=%(objectname) %(refname)%0a%(*objectname) %(refname)^{}", "refs/tags")
	return parseTags(out), err
}

// parseTags reads "ID refs/tags/NAME" a line. An annotated tag's commit follows it, at NAME^{}.
func parseTags(out string) map[string][20]byte {
	tags := map[string][20]byte{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		name, ok := strings.CutPrefix(fields[1], "refs/tags/")
		if id, valid := gitobject.ParseID(fields[0]); ok && valid {
			tags[strings.TrimSuffix(name, "^{}")] = id
		}
	}
	return tags
}

const (
	findTimeout = time.Minute
	maxMoves    = 3
	gitRefs     = "/info/refs"
	gitService  = "service=git-upload-pack"
)

// find asks whether there is a repository at an address, once, and returns its URL: servers tell of those
// that were renamed. A redirect to another host is not followed.
func (v *Visitor) find(ctx context.Context, a Address) (string, error) {
	v.mu.Lock()
	at := v.found[a.URL]
	v.mu.Unlock()
	if at != "" {
		return at, nil
	}
	u, err := a.check(ctx)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	client, err := visitorClient()
	if err != nil {
		return "", err
	}
	defer client.CloseIdleConnections()
	at = strings.TrimRight(u.String(), "/")
	for range maxMoves {
		moved, err := ask(ctx, client, at)
		if err != nil {
			return "", err
		}
		if moved == "" {
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.found == nil {
				v.found = map[string]string{}
			}
			v.found[a.URL] = at
			return at, nil
		}
		to, err := url.Parse(moved)
		if err != nil || to.Scheme != u.Scheme || to.Host != u.Host {
			return "", &GoneError{redact(a.URL), fmt.Sprintf("it has moved to %.200q, and other hosts are not followed to: "+
				"map it there if that is right", moved)}
		}
		at = moved
	}
	return "", &GoneError{redact(a.URL), "it moves on and on"}
}

// ask makes git's first request, and returns where the repository has moved to, "" if it is there.
func ask(ctx context.Context, client *http.Client, at string) (moved string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at+gitRefs+"?"+gitService, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("User-Agent", "git/2 (cratelog)") // some answer only git so
	r.Header.Set("Git-Protocol", "version=2")
	resp, err := client.Do(r)
	if err != nil {
		return "", fmt.Errorf("the repository's host cannot be asked: %w", err)
	}
	resp.Body.Close() // git asks again
	switch status := resp.StatusCode; {
	case status == http.StatusOK && resp.Header.Get("Content-Type") == "application/x-git-upload-pack-advertisement":
		return "", nil
	case status == http.StatusOK:
		return "", &GoneError{redact(at), "what answers is no git server"}
	case status >= 300 && status < 400:
		to, err := resp.Location()
		if err == nil && to.RawQuery == gitService && to.User == nil && strings.HasSuffix(to.Path, gitRefs) {
			to.RawQuery, to.Fragment = "", ""
			return strings.TrimSuffix(to.String(), gitRefs), nil
		}
		return "", &GoneError{redact(at), "it is sent elsewhere, to what is no repository"}
	case status == http.StatusTooManyRequests || status >= 500:
		return "", fmt.Errorf("the repository's host answers %s for %s", resp.Status, redact(at))
	default:
		return "", &GoneError{redact(at), "the answer is " + resp.Status}
	}
}

// visitorClient makes requests as git does them: it believes who git believes, and follows nothing.
func visitorClient() (*http.Client, error) {
	tr := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 20 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10}
	if file := os.Getenv("GIT_SSL_CAINFO"); file != "" {
		pem, err := durable.Read(file, 16<<20)
		if err != nil {
			return nil, fmt.Errorf("GIT_SSL_CAINFO: %w", err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		tr.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}, nil
}
