// Package proxy is a registry for cargo that hands out only crates that a judge has
// accepted. It stands between cargo and a real registry, by cargo's source
// replacement:
//
//	[source.crates-io]
//	replace-with = "cratelog"
//	[source.cratelog]
//	registry = "sparse+http://127.0.0.1:18081/index/"
//
// The index is the real one, byte for byte: cargo holds the checksums in Cargo.lock
// against it, and Cargo.lock does not change. A .crate is fetched, held against the
// index's checksum, judged, and then handed out; or it is refused with 403 and a
// sentence, which cargo prints before it stops. cargo would try again after a 5xx:
// that is answered only where trying again may help, never for a verdict.
//
// # What the proxy answers
//
//	GET /index/config.json         its own place of downloads, and no web API
//	GET /index/PATH                the index file of a crate, unaltered
//	GET /d/NAME/VERSION            a .crate that was accepted
//	GET /explain/NAME/VERSION      in full why one is handed out or not, as text
//	GET /identity?nonce=HEX        who this is; see Identity
//	GET /                          what this is, as text
//
// # What it does not do
//
// cargo sends requests for this machine, too, to the HTTP proxy that http_proxy,
// https_proxy, all_proxy, CARGO_HTTP_PROXY or http.proxy names, and that one will not find us:
// no_proxy must hold 127.0.0.1.
//
// cargo does not ask for what it has: a crate in CARGO_HOME's registry/cache or
// registry/src is not judged again, even if an attacker put it there. Who relies on the
// proxy must look at those as well ("cargo zkp verify").
//
// Every program that can connect can read what the proxy serves. It listens on the loopback
// interface, and takes no registry that wants a token, so that this is public
// anyway.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"cratelog/cargo/registry"
	"cratelog/internal/h2c"
)

// Address is where the proxy listens unless told otherwise. The port is fixed
// because cargo keeps what it downloaded by the URL of the source: with another
// port, it downloads all of it again.
const Address = "127.0.0.1:18081"

const (
	userAgent     = "cratelog-proxy"
	workTime      = 5 * time.Minute  // for fetching and judging one crate
	patience      = 25 * time.Second // for an answer; cargo waits for 30 s
	defaultJobs   = 64
	maxKnown      = 20000 // crates whose releases are remembered
	prefetchQueue = 1000
)

// Judge decides whether a crate may be handed out.
type Judge interface {
	// Judge returns nil if a crate with these bytes may be handed out. sum is their
	// SHA-256, which was checked, and what the registry's index lists. An error is
	// a sentence for the person who builds; it may have a method Remedy() string
	// that says what they can do. It is called from many goroutines.
	Judge(ctx context.Context, name, version string, sum [32]byte, raw []byte) error
}

// Prefetcher is a Judge that can begin its work before the crate is asked for.
type Prefetcher interface {
	// Prefetch fetches what Judge will need. It reports nothing: Judge will.
	Prefetch(ctx context.Context, name, version string, sum [32]byte)
}

// Config says what a proxy does. Upstream, Judge, Base and Dir are required.
type Config struct {
	Upstream *registry.Index // the real registry; its Cache is set to one in Dir if it has none
	Judge    Judge
	Base     string // URL that the proxy is reached at, such as http://127.0.0.1:18081
	Dir      string // for the index, accepted crates and the identity's key; made if missing
	Policy   string // what Judge goes by, in a few words or a digest; for Identity only

	// Local returns the bytes of a crate if they are on this machine already, such as in
	// cargo's own cache. They are hashed, and judged, like those of the registry. nil
	// knows none.
	Local func(name, version string, sum [32]byte) ([]byte, bool)

	Lasting   bool         // it serves until it is told to stop, not for one call; for Identity only
	CacheSize int64        // bytes of accepted crates that are kept; zero: 2 GiB
	Jobs      int          // crates that are worked on at one time; zero: 64
	Log       *slog.Logger // nil: nothing is said

	testingOnlyPatience time.Duration
}

// Proxy is an http.Handler. It is safe for concurrent use.
type Proxy struct {
	Config
	key     []byte // of the identity
	handler http.Handler
	store   *store
	jobs    chan struct{} // one token for each crate that is worked on

	ctx    context.Context // of the work, which goes on when those who asked have gone
	cancel context.CancelFunc
	work   sync.WaitGroup
	queue  chan Want // to prefetch

	flights singleflight.Group         // the work on each crate
	known   *lru.Cache[string, []Want] // releases, by the lower-case name of the crate

	mu     sync.Mutex // guards closed: no work begins after it is set
	closed bool
}

// Want is a release as the index lists it, such as one that cargo will probably ask for.
type Want struct {
	Name, Version string
	Sum           [32]byte
}

// New makes a proxy, and asks the registry for its configuration. Close ends it.
func New(ctx context.Context, c Config) (*Proxy, error) {
	base, err := url.Parse(c.Base)
	if err != nil || base.Host == "" || strings.Trim(base.Path, "/") != "" || base.RawQuery != "" ||
		c.Upstream == nil || c.Judge == nil || c.Dir == "" {
		return nil, fmt.Errorf("a proxy needs a registry, a judge, a directory, and the URL of a host (not %q) where it "+
			"is reached", c.Base)
	}
	c.Base = strings.TrimRight(c.Base, "/")
	if strings.HasPrefix(c.Upstream.URL, c.Base+"/") {
		return nil, fmt.Errorf("the registry %s is the proxy itself: configure the real one", c.Upstream.URL)
	}
	if c.Upstream.Cache == nil {
		c.Upstream.Cache = registry.DirCache(filepath.Join(c.Dir, "index"))
	}
	c.Upstream.UserAgent = userAgent
	if c.Jobs == 0 {
		c.Jobs = defaultJobs
	}
	if c.CacheSize == 0 {
		c.CacheSize = 2 << 30
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.testingOnlyPatience == 0 {
		c.testingOnlyPatience = patience
	}
	upstream, err := c.Upstream.Config(ctx)
	if err != nil {
		return nil, err
	}
	if upstream.Auth {
		return nil, fmt.Errorf("the registry %s wants a token, and the proxy would hand its crates to every user of this "+
			"machine: use \"cargo zkp verify\" for them", c.Upstream.URL)
	}
	p := &Proxy{Config: c, jobs: make(chan struct{}, c.Jobs), queue: make(chan Want, prefetchQueue)}
	if p.known, err = lru.New[string, []Want](maxKnown); err != nil {
		return nil, err
	}
	if p.store, err = openStore(filepath.Join(c.Dir, "crates"), c.CacheSize); err != nil {
		return nil, err
	}
	if p.key, err = identityKey(c.Dir); err != nil {
		return nil, err
	}
	p.handler = p.guard(p.routes(), base)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.startPrefetching()
	return p, nil
}

// Close stops the work under way and waits for it.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.work.Wait()
}

// Index returns what cargo calls the proxy's index, for source replacement.
func (p *Proxy) Index() string { return Index(p.Base) }

// Index returns what cargo calls the index of a proxy that is reached at base.
func Index(base string) string { return "sparse+" + strings.TrimRight(base, "/") + "/index/" }

func (p *Proxy) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /index/config.json", p.serveConfig)
	mux.HandleFunc("GET /index/{path...}", p.serveIndex)
	mux.HandleFunc("GET /d/{name}/{version}", p.serveCrate)
	mux.HandleFunc("GET /explain/{name}/{version}", p.serveExplain)
	mux.HandleFunc("GET /identity", p.serveIdentity)
	mux.HandleFunc("GET /{$}", p.serveFront)
	return mux
}

// guard refuses what cannot come from cargo: a web page that a browser
// shows under the name of an attacker's host, and the proxy itself.
func (p *Proxy) guard(next http.Handler, base *url.URL) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if host != base.Hostname() && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			refuse(w, http.StatusMisdirectedRequest, "cratelog: the proxy is not known by the host name of this request")
			return
		}
		if strings.HasPrefix(r.UserAgent(), userAgent) {
			refuse(w, http.StatusForbidden, "cratelog: the proxy was given a proxy for its registry; configure the real one")
			return
		}
		w.Header().Set("X-Served-By", userAgent) // cargo prints this header with an error
		next.ServeHTTP(w, r)
	})
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// Serve serves on a listener until ctx ends, then lets requests under way finish.
// It closes the proxy.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	defer p.Close()
	up := h2c.New(p, workTime+time.Minute)
	server := &http.Server{
		Handler:           up,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      workTime + time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(p.Log.Handler(), slog.LevelDebug), // of connections that break
	}
	failed := make(chan error, 2) // buffered: Serve reads only the first
	go func() { failed <- server.Serve(l) }()
	go func() { failed <- up.Serve() }()
	select {
	case err := <-failed:
		server.Close()
		up.Shutdown(canceled())
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	p.cancel() // what is under way is not worth waiting for: cargo has gone, or will ask again
	return errors.Join(server.Shutdown(end), up.Shutdown(end))
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Listen listens on an address, which must be a loopback address unless any is
// allowed.
func Listen(address string, allowAny bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("the address to listen at must be HOST:PORT: %w", err)
	}
	ip := net.ParseIP(host)
	if !allowAny && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s is not a loopback address: every machine that can connect to the proxy can use it, "+
			"over plain http; allow it explicitly if that is wanted", address)
	}
	return net.Listen("tcp", address)
}
