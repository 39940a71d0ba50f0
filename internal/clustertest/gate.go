package clustertest

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// Gate stands before a store and can refuse some of the requests that one process sends there: the store answers, and
// does not do everything.
type Gate struct {
	Address string // host:port

	refuses atomic.Pointer[func(*http.Request) bool]
	server  *http.Server
	served  chan struct{}
}

// NewGate makes a gate before the store at an address, which refuses nothing yet.
func NewGate(target string) (*Gate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &Gate{Address: l.Addr().String(), served: make(chan struct{})}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: target})
			r.Out.Host = r.In.Host // which is signed
		},
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		// What does not reach the store is a connection that breaks.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	g.server = &http.Server{ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refuses := g.refuses.Load(); refuses != nil && (*refuses)(r) {
				http.Error(w, "refused by a test", http.StatusInternalServerError)
				return
			}
			proxy.ServeHTTP(w, r)
		})}
	go func() {
		defer close(g.served)
		_ = g.server.Serve(l) // it ends with Close
	}()
	return g, nil
}

// Refuse answers requests with status 500 from now on; nil: none.
func (g *Gate) Refuse(which func(*http.Request) bool) {
	if which == nil {
		g.refuses.Store(nil)
		return
	}
	g.refuses.Store(&which)
}

// Close ends it.
func (g *Gate) Close() error {
	err := g.server.Close()
	<-g.served
	return err
}
