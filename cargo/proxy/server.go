package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"cratelog/cargo/registry"
	"cratelog/internal/h2c"
)

// A Server serves many workspaces at one address, each below its ID and by its own Proxy. What
// names no workspace that is installed gets 403 and a sentence, unless ServeAll was called. It
// is safe for concurrent use.
type Server struct {
	ServerConfig
	handler http.Handler
	ctx     context.Context // of what is opened
	cancel  context.CancelFunc

	mu      sync.Mutex          // guards what follows
	opened  map[string]*opening // by ID
	closed  bool
	unbound *Proxy // see ServeAll
}

// ServerConfig says what a server does. All but Given is required.
type ServerConfig struct {
	Base       string // URL that it is reached at, such as http://127.0.0.1:18081
	Workspaces Workspaces
	Given      *Workspace // is served as well, and need not be installed

	// Open makes the proxy for a workspace, with what is shared by all. base is its Base.
	Open func(ctx context.Context, w Workspace, base string) (*Proxy, error)
	Log  *slog.Logger
}

// opening is a proxy that is, or was, made.
type opening struct {
	done  chan struct{}
	proxy *Proxy
	err   error
}

// installAgain is the remedy for a URL that names nothing.
const installAgain = "run \"cargo zkp proxy --install\" in the workspace that you build, and cargo again"

// NewServer makes a server. Close ends it.
func NewServer(c ServerConfig) (*Server, error) {
	base, err := url.Parse(c.Base)
	if err != nil || base.Host == "" || strings.Trim(base.Path, "/") != "" || c.Open == nil || c.Log == nil {
		return nil, fmt.Errorf("a server of proxies needs the URL of a host (not %q), and what opens them", c.Base)
	}
	c.Base = strings.TrimRight(c.Base, "/")
	s := &Server{ServerConfig: c, opened: map[string]*opening{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.handler = guard(http.HandlerFunc(s.serve), base)
	return s, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// ServeAll has the given workspace also served where no workspace is named: to whoever was
// pointed there by hand.
func (s *Server) ServeAll(ctx context.Context) (err error) {
	s.unbound, err = s.Open(ctx, *s.Given, s.Base)
	return err
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	id, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !isID(id) {
		s.serveNone(w, r)
		return
	}
	p, err := s.Proxy(r.Context(), id)
	var gone *fs.PathError
	switch {
	case err == nil:
		p.ServeHTTP(w, r)
	case r.Context().Err() != nil: // the client has gone
	case errors.Is(err, ErrNotInstalled), errors.As(err, &gone):
		s.Log.Warn("a request is refused", "path", r.URL.Path, "reason", err)
		refuse(w, http.StatusForbidden, "cratelog refuses this: "+err.Error()+".\nThe workspace moved, or is a copy, or this "+
			"is another user's proxy: "+installAgain+".")
	case mayHelp(err):
		fail(w, r, s.Log, err)
	default: // of configuration, for example
		s.Log.Warn("a request is refused", "path", r.URL.Path, "reason", err)
		refuse(w, http.StatusForbidden, "cratelog refuses this, since it cannot ask the registry: "+
			shorten(err.Error(), 400))
	}
}

// mayHelp says of an error whether trying again may help.
func mayHelp(err error) bool {
	var upstream *registry.StatusError
	var network net.Error
	return errors.As(err, &upstream) || errors.As(err, &network) || errors.Is(err, context.Canceled)
}

// serveNone answers what names no workspace.
func (s *Server) serveNone(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "This is a cratelog proxy: a registry for cargo that hands out only crates that a workspace's policy "+
			"accepts.\n\nIn a workspace, \"cargo zkp proxy --install\" writes its address into .cargo/config.toml.")
	case s.unbound != nil:
		s.unbound.ServeHTTP(w, r)
	default:
		s.Log.Warn("a request is refused, because it names no workspace", "path", r.URL.Path)
		refuse(w, http.StatusForbidden, "cratelog refuses this: the address names no workspace, so that it is not known "+
			"whose policy counts.\nTo write the right one, "+installAgain+".")
	}
}

// Proxy returns the proxy for the workspace with an ID, and makes it the first time.
func (s *Server) Proxy(ctx context.Context, id string) (*Proxy, error) {
	w, err := s.workspace(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, context.Canceled
	}
	o := s.opened[id]
	if o == nil {
		o = &opening{done: make(chan struct{})}
		s.opened[id] = o
		go s.open(w, o)
	}
	s.mu.Unlock()
	select {
	case <-o.done:
		return o.proxy, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// open makes a proxy. One that could not be made is made anew for the next request.
func (s *Server) open(w Workspace, o *opening) {
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	o.proxy, o.err = s.Open(ctx, w, s.Base+"/"+w.ID())
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.err != nil {
		delete(s.opened, w.ID())
	} else if s.closed {
		o.proxy.Close()
	} else {
		s.Log.Info("a workspace is served", "manifest", w.Manifest, "policy", o.proxy.Policy, "registry",
			o.proxy.Upstream.URL)
	}
	close(o.done)
}

// workspace returns what an ID stands for, as it is installed now.
func (s *Server) workspace(id string) (w Workspace, err error) {
	if s.Given != nil && s.Given.ID() == id {
		w = *s.Given
	} else if w, err = s.Workspaces.Get(id); err != nil {
		return w, err
	}
	return w, w.Gone()
}

// Close stops the work under way and waits for it.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	all := maps.Clone(s.opened)
	s.mu.Unlock()
	s.cancel()
	for _, o := range all {
		if <-o.done; o.proxy != nil {
			o.proxy.Close()
		}
	}
	if s.unbound != nil {
		s.unbound.Close()
	}
}

// A Handler answers requests until it is closed.
type Handler interface {
	http.Handler
	Close()
}

var _, _ Handler = &Proxy{}, &Server{}

// Serve serves on a listener until ctx ends, then lets requests under way finish.
// It closes the handler.
func Serve(ctx context.Context, l net.Listener, h Handler, log *slog.Logger) error {
	defer h.Close()
	up := h2c.New(h, workTime+time.Minute)
	server := &http.Server{
		Handler:           up,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      workTime + time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // of connections that break
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
	h.Close() // what is under way is not worth waiting for: cargo has gone, or will ask again
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
	if err := CheckAddress(address, allowAny); err != nil {
		return nil, err
	}
	return net.Listen("tcp", address)
}

// CheckAddress refuses what Listen would not listen at.
func CheckAddress(address string, allowAny bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("the address to listen at must be HOST:PORT: %w", err)
	}
	ip := net.ParseIP(host)
	if !allowAny && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s is not a loopback address: every machine that can connect to the proxy can use it, "+
			"over plain http; allow it explicitly if that is wanted, with --allow-any-address", address)
	}
	return nil
}

// guard refuses what cannot come from cargo: a web page that a browser
// shows under the name of an attacker's host, and the proxy itself.
func guard(next http.Handler, base *url.URL) http.Handler {
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
