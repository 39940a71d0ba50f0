// Package visit finds the repositories that crates name, and fetches from them as anybody can.
package visit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"cratelog/prover/git"
)

// A Visitor asks what answers at an address, and where that has moved to, before git is sent there. It is safe
// for concurrent use.
type Visitor struct {
	Git git.Anonymous

	mu    sync.Mutex
	found map[Address]git.Remote // where an address was found to be
}

// Default returns a visitor whose clones are below the user's cache.
func Default() (*Visitor, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("no cache directory for repositories: %w", err)
	}
	return &Visitor{Git: git.Anonymous{Clones: git.Clones(filepath.Join(dir, "cratelog", "public"))}}, nil
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

// check refuses what is not visited. at are the addresses that it may be visited at; none for any.
func (a Address) check(ctx context.Context) (u *url.URL, at []netip.Addr, err error) {
	wrong := func(why string) error { return &AddressError{git.Redact(a.URL), why} }
	u, err = url.Parse(a.URL)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || strings.HasPrefix(u.Host, "-") ||
		strings.HasSuffix(u.Hostname(), "."):
		return nil, nil, wrong("has no URL of https")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, nil, wrong("has a user, a query or a fragment in its URL")
	case a.Own && u.Scheme == "http" && git.OnThisMachine(u.Hostname()):
		return u, nil, nil
	case u.Scheme != "https":
		return nil, nil, wrong("has no URL of https")
	case !a.Own && !proxied(u):
		if at, err = git.Worldwide(ctx, u.Hostname()); errors.As(err, new(*net.DNSError)) {
			return nil, nil, err
		} else if err != nil {
			return nil, nil, wrong("is not public: " + err.Error())
		}
	}
	return u, at, nil
}

// proxied says whether a proxy connects to a host, which then knows its addresses.
func proxied(u *url.URL) bool {
	p, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	return err == nil && p != nil
}

// git fetches into clones that are apart for what the user named: that need not be public.
func (v *Visitor) git(a Address) *git.Anonymous {
	g := v.Git
	if a.Own {
		g.Clones += "-own"
	}
	return &g
}

// Fetch returns the directory of a clone that has a commit, as git.Clones.Fetch does. Others that will be
// wanted are asked for in the same request, if there is one.
//
// Errors: *AddressError, *GoneError, *git.NoCommitError and git.ErrTooMuch are answers; with others it could not
// be tried.
func (v *Visitor) Fetch(ctx context.Context, a Address, commit [20]byte, others ...[20]byte) (string, error) {
	g := v.git(a)
	if dir, ok := g.Known(ctx, a.URL, commit); ok {
		return dir, nil
	}
	at, err := v.find(ctx, a)
	if err != nil {
		return "", err
	}
	return g.Fetch(ctx, at, commit, others...)
}

// Tags returns the commits, or other objects, that the tags of a repository name, by name.
func (v *Visitor) Tags(ctx context.Context, a Address) (map[string][20]byte, error) {
	at, err := v.find(ctx, a)
	if err != nil {
		return nil, err
	}
	return v.git(a).Tags(ctx, at)
}

const (
	findTimeout = time.Minute
	dialTimeout = 10 * time.Second
	maxMoves    = 3
	gitRefs     = "/info/refs"
	gitService  = "service=git-upload-pack"
)

// find asks whether there is a repository at an address, once, and returns its URL: servers tell of those
// that were renamed. A redirect to another host is not followed.
func (v *Visitor) find(ctx context.Context, a Address) (git.Remote, error) {
	v.mu.Lock()
	found, ok := v.found[a]
	v.mu.Unlock()
	if ok {
		return found, nil
	}
	u, addresses, err := a.check(ctx)
	if err != nil {
		return git.Remote{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	client, err := visitorClient(addresses)
	if err != nil {
		return git.Remote{}, err
	}
	defer client.CloseIdleConnections()
	at := strings.TrimRight(u.String(), "/")
	for range maxMoves {
		moved, err := ask(ctx, client, at)
		if err != nil {
			return git.Remote{}, err
		}
		if moved == "" {
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.found == nil {
				v.found = map[Address]git.Remote{}
			}
			v.found[a] = git.Remote{URL: at, At: addresses}
			return v.found[a], nil
		}
		to, err := url.Parse(moved)
		if err != nil || to.Scheme != u.Scheme || to.Host != u.Host {
			return git.Remote{}, &GoneError{git.Redact(a.URL), fmt.Sprintf("it has moved to %.200q, and other hosts are "+
				"not followed to: map it there if that is right", moved)}
		}
		at = moved
	}
	return git.Remote{}, &GoneError{git.Redact(a.URL), "it moves on and on"}
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
		return "", &GoneError{git.Redact(at), "what answers is no git server"}
	case status >= 300 && status < 400:
		to, err := resp.Location()
		if err == nil && to.RawQuery == gitService && to.User == nil && strings.HasSuffix(to.Path, gitRefs) {
			to.RawQuery, to.Fragment = "", ""
			return strings.TrimSuffix(to.String(), gitRefs), nil
		}
		return "", &GoneError{git.Redact(at), "it is sent elsewhere, to what is no repository"}
	case status == http.StatusTooManyRequests || status >= 500:
		return "", fmt.Errorf("the repository's host answers %s for %s", resp.Status, git.Redact(at))
	default:
		return "", &GoneError{git.Redact(at), "the answer is " + resp.Status}
	}
}

// visitorClient makes requests as git does them: it believes who git believes, and follows nothing. If
// there are addresses, it connects to those only.
func visitorClient(at []netip.Addr) (*http.Client, error) {
	tr := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 20 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10}
	if len(at) > 0 {
		tr.DialContext = func(ctx context.Context, network, address string) (c net.Conn, err error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			for _, a := range at {
				c, err = (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, net.JoinHostPort(a.String(), port))
				if err == nil {
					return c, nil
				}
			}
			return nil, err
		}
	}
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
