// Package proxy is a registry for cargo that hands out only crates that a judge has
// accepted. It stands between cargo and a real registry, by cargo's source
// replacement:
//
//	[source.crates-io]
//	replace-with = "cratelog (cargo zkp proxy)"
//	[source."cratelog (cargo zkp proxy)"]
//	registry = "sparse+http://127.0.0.1:18081/0123456789abcdef/index/"
//
// A .crate is fetched, held against the index's checksum, judged, and then handed out; or it
// is refused with 403 and a sentence, which cargo prints before it stops. cargo would try
// again after a 5xx: that is answered only where trying again may help, never for a verdict.
//
// # Whose policy
//
// One server serves many workspaces, each below an ID that stands for its files and options
// (see Workspace), so that none is ever served under the policy of another. What they say is
// read anew as it changes, under the same ID: cargo keeps downloads by their URL.
//
// # The index
//
// The index is the real one, byte for byte, but for lines that cannot be read. cargo takes a
// crate's dependencies, features and links from its index line, and not from the Cargo.toml
// that is proven. So a .crate that must be proven is handed out only if every line that was
// ever served for it says what its Cargo.toml says, and from then on an index file in which a
// line says anything else of it is refused. cargo holds the checksums in Cargo.lock
// against the index, and Cargo.lock does not change.
//
// # What the proxy answers
//
//	GET /ID/index/config.json         its own place of downloads, and no web API
//	GET /ID/index/PATH                the index file of a crate
//	GET /ID/d/NAME/VERSION            a .crate that was accepted
//	GET /ID/e/default/NAME/VERSION/FILE
//	                                  the evidence by which it was, as registry.Evidence lays it out
//	GET /ID/explain/NAME/VERSION      in full why one is handed out or not, as text
//	GET /ID/                          what is served there, as text
//	GET /                             what this is, as text
//
// # How long it takes
//
// cargo gives up when it sees fewer than 10 bytes in 30 seconds (http.timeout,
// http.low-speed-limit), and tries again three times. Nothing but bytes of the body
// count. Where a registry or a judgement is slow, the first bytes of the .crate are sent one by
// one meanwhile, never half of it: cargo holds the whole against its checksum before it uses
// any of it. If there is no .crate in the end, the answer is cut off, and the request
// that cargo makes then is answered with the reason.
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
// A directory that is copied, with its .cargo/config.toml, names the ID of the original, and
// nothing in cargo's requests tells the two apart.
//
// Every program that can connect can read what the proxy serves. It listens on the loopback
// interface, and takes no registry that wants a token, so that this is public
// anyway.
package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"cratelog/cargo/registry"
)

// Address is where the proxy listens unless told otherwise. The port is fixed
// because cargo keeps what it downloaded by the URL of the source: with another
// port, it downloads all of it again.
const Address = "127.0.0.1:18081"

const (
	userAgent     = "cratelog-proxy"
	workTime      = 30 * time.Minute // for fetching and judging one crate
	patience      = 15 * time.Second // for an answer; cargo waits for 30 s
	trickle       = 10 * time.Second // between a few bytes and the next, after that
	maxJobs       = 64               // crates that are worked on at one time
	maxKnown      = 20000            // crates whose releases are remembered
	prefetchQueue = 1000
)

// Judge decides whether a crate may be handed out. It is called from many goroutines.
type Judge interface {
	// Judge returns nil if a crate with these bytes may be handed out. sum is their
	// SHA-256, which was checked, and what the registry's index lists. An error is
	// a sentence for the person who builds; it may have a method Remedy() string
	// that says what they can do. required is as Requires says, and summary the
	// registry.Summary.Digest of a required crate's Cargo.toml; zero if that is not at hand.
	Judge(ctx context.Context, name, version string, sum [32]byte, raw []byte) (required bool, summary [32]byte, err error)

	// Requires says whether a crate must be proven: whether its index line must say what its
	// Cargo.toml says. Where that is not known it must.
	Requires(name, version string) bool
}

// Prefetcher is a Judge that can begin its work before the crate is asked for.
type Prefetcher interface {
	// Prefetch fetches what Judge will need. It reports nothing: Judge will.
	Prefetch(ctx context.Context, name, version string)
}

// Keeper is a Judge that keeps the evidence by which it decides.
type Keeper interface {
	// Kept returns a file of the evidence about a release that Judge has accepted, by its name in
	// registry.BundlePath or registry.OpeningPath; ok is false if there is none.
	Kept(name, version, file string) (b []byte, ok bool)
}

// Config says what a proxy does. Upstream, Judge, Base and Dir are required.
type Config struct {
	Upstream *registry.Index // the real registry; how it fetches and caches is the proxy's business
	Judge    Judge
	Base     string // URL that the proxy is reached at, such as http://127.0.0.1:18081/0123456789abcdef
	Dir      *Dir
	Policy   string // what Judge goes by, in a few words, for people

	// Local returns the bytes of a crate if they are on this machine already, such as in
	// cargo's own cache. They are hashed, and judged, like those of the registry. nil
	// knows none.
	Local func(name, version string, sum [32]byte) ([]byte, bool)

	Log *slog.Logger // nil: nothing is said

	testingOnlyPatience, testingOnlyTrickle time.Duration
}

// Proxy is an http.Handler. It is safe for concurrent use.
type Proxy struct {
	Config
	handler http.Handler
	jobs    chan struct{} // one token for each crate that is worked on

	ctx    context.Context // of the work, which goes on when those who asked have gone
	cancel context.CancelFunc
	work   sync.WaitGroup
	queue  chan Want // to prefetch

	files singleflight.Group         // the work on each index file
	known *lru.Cache[string, []Want] // releases, by the lower-case name of the crate

	mu      sync.Mutex // guards what follows
	flights map[string]*flight
	closed  bool // no work begins after it is set
}

// Want is a release as the index lists it, such as one that cargo will probably ask for.
type Want struct {
	Name, Version string
	Sum           [32]byte
}

// New makes a proxy, and asks the registry for its configuration. Close ends it.
func New(ctx context.Context, c Config) (*Proxy, error) {
	base, err := url.Parse(c.Base)
	if err != nil || base.Host == "" || base.RawQuery != "" || c.Upstream == nil || c.Judge == nil || c.Dir == nil {
		return nil, fmt.Errorf("a proxy needs a registry, a judge, a directory, and the URL (not %q) where it is reached",
			c.Base)
	}
	c.Base = strings.TrimRight(c.Base, "/")
	if strings.HasPrefix(c.Upstream.URL, base.Scheme+"://"+base.Host+"/") {
		return nil, fmt.Errorf("the registry %s is the proxy itself: configure the real one", c.Upstream.URL)
	}
	c.Upstream.Cache, c.Upstream.HTTP, c.Upstream.UserAgent = c.Dir.lines, c.Dir.client, userAgent
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.testingOnlyPatience == 0 {
		c.testingOnlyPatience, c.testingOnlyTrickle = patience, trickle
	}
	upstream, err := c.Upstream.Config(ctx)
	if err != nil {
		return nil, err
	}
	if upstream.Auth {
		return nil, fmt.Errorf("the registry %s wants a token, and the proxy would hand its crates to every user of this "+
			"machine: use \"cargo zkp verify\" for them", c.Upstream.URL)
	}
	p := &Proxy{Config: c, jobs: make(chan struct{}, maxJobs), queue: make(chan Want, prefetchQueue),
		flights: map[string]*flight{}}
	if p.known, err = lru.New[string, []Want](maxKnown); err != nil {
		return nil, err
	}
	p.handler = guard(http.StripPrefix(strings.TrimRight(base.Path, "/"), p.routes()), base)
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
	mux.HandleFunc("GET /e/default/{name}/{version}/{file}", p.serveEvidence)
	mux.HandleFunc("GET /explain/{name}/{version}", p.serveExplain)
	mux.HandleFunc("GET /{$}", p.serveFront)
	return mux
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }
