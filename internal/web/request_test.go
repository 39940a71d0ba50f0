package web

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestOnlyATrustedProxyNamesTheClient(t *testing.T) {
	t.Parallel()
	proxies, err := ParseProxies([]string{"10.0.0.0/8", "2001:db8:1::7"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:5", "", "192.0.2.1"},
		{"192.0.2.1:5", "198.51.100.9", "192.0.2.1"}, // anybody can write a header
		{"10.1.2.3:5", "198.51.100.9", "198.51.100.9"},
		{"10.1.2.3:5", "", "10.1.2.3"},
		{"10.1.2.3:5", "203.0.113.5, 198.51.100.9", "198.51.100.9"},           // what stands before it the client wrote
		{"10.1.2.3:5", "203.0.113.5, 198.51.100.9, 10.9.9.9", "198.51.100.9"}, // two proxies
		{"10.1.2.3:5", "10.9.9.9", "10.9.9.9"},
		{"10.1.2.3:5", "nonsense", "10.1.2.3"},
		{"10.1.2.3:5", "203.0.113.5, nonsense", "10.1.2.3"},
		{"10.1.2.3:5", "198.51.100.9:4711", "198.51.100.9"},
		{"10.1.2.3:5", "[2001:db8:5:6:7:8:9:a]:4711", "2001:db8:5:6::/64"},
		{"10.1.2.3:5", "::ffff:198.51.100.9", "198.51.100.9"},
		{"[::ffff:10.1.2.3]:5", "198.51.100.9", "198.51.100.9"},
		{"[2001:db8:1::7]:5", "198.51.100.9", "198.51.100.9"},
		{"[2001:db8:1::8]:5", "198.51.100.9", "2001:db8:1::/64"},
		{"[2001:db8:a:b:c::1]:5", "", "2001:db8:a:b::/64"}, // whoever has one address of a network has all
		{"[2001:db8:a:b:d::2]:5", "", "2001:db8:a:b::/64"},
		{"[fe80::1%eth0]:5", "", "fe80::/64"},
		{"@", "198.51.100.9", "local"},
		{"10.1.2.3:5", strings.Repeat("10.0.0.1,", 100) + "10.0.0.2", "10.0.0.1"},
	} {
		if got := clientOf(tt.remote, []string{tt.forwarded}, proxies); got != tt.want {
			t.Errorf("%s, forwarded for %q: %s, want %s", tt.remote, tt.forwarded, got, tt.want)
		}
	}
	for _, bad := range []string{"", "10.0.0.1/8", "proxy.example", "fe80::1%eth0", "::ffff:10.0.0.0/104", "10.0.0.0/33"} {
		if got, err := ParseProxies([]string{bad}); err == nil {
			t.Errorf("%q is taken as %v", bad, got)
		}
	}
}

func TestEveryAnswerHasAnIDAndIsRecorded(t *testing.T) {
	t.Parallel()
	proxies, _ := ParseProxies([]string{"192.0.2.1"})
	var all []Access
	s := Server{Name: "test", Log: slog.New(slog.DiscardHandler), Proxies: proxies, Access: func(a Access) { all = append(all, a) }}
	h := s.Handler([]Route{
		{"POST /take", func(w http.ResponseWriter, r *http.Request) error {
			new(bytes.Buffer).ReadFrom(r.Body)
			Note(r, slog.String("crate", "alpha"))
			w.Write([]byte(Client(r)))
			return nil
		}},
		{"GET /no", func(http.ResponseWriter, *http.Request) error {
			return &Refusal{Status: 429, Reason: "too-many", Message: "Wait.", RetryAfter: time.Second}
		}},
	})
	ask := func(method, path, remote string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader("12345"))
		r.RemoteAddr = remote
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := ask("POST", "/take", "192.0.2.1:1", "X-Request-Id", "from-the-proxy/7", "X-Forwarded-For", "203.0.113.9")
	if w.Body.String() != "203.0.113.9" || w.Header().Get("X-Request-Id") != "from-the-proxy/7" {
		t.Errorf("%s %v", w.Body, w.Header())
	}
	for _, id := range []string{"mine", "a\"b", "", strings.Repeat("x", 129)} {
		remote := "192.0.2.1:1"
		if id == "mine" {
			remote = "192.0.2.2:1"
		}
		if got := ask("GET", "/no", remote, "X-Request-Id", id).Header().Get("X-Request-Id"); got == id || len(got) < 20 {
			t.Errorf("the id %q is answered %q", id, got)
		}
	}
	if a := all[0]; a.Client != "203.0.113.9" || a.Status != 200 || a.Received != 5 || a.Sent != int64(w.Body.Len()) ||
		a.Reason != "" || len(a.Notes) != 1 || a.Notes[0].Value.String() != "alpha" || a.Path != "/take" || a.Method != "POST" {
		t.Errorf("%+v", a)
	}
	if a := all[1]; a.Client != "192.0.2.2" || a.Status != 429 || a.Reason != "too-many" {
		t.Errorf("%+v", a)
	}
	ask("GET", "/"+strings.Repeat("x", 5000), "192.0.2.2:1")
	if a := all[len(all)-1]; a.Status != 404 || len(a.Path) != 256 {
		t.Errorf("%+v", a)
	}
}

// pipeListener accepts what a test gives it.
type pipeListener struct {
	net.Listener
	conns chan net.Conn
}

func (l pipeListener) Accept() (net.Conn, error) { return <-l.conns, nil }

type remoteConn struct {
	net.Conn
	from net.Addr
}

func (c remoteConn) RemoteAddr() net.Addr { return c.from }

// crowd opens connections of clients at a Limiter, in turn, under a clock that goes on by a second each time.
type crowd struct {
	t     *testing.T
	l     *Limiter
	conns chan net.Conn
}

func newCrowd(t *testing.T, most int) *crowd {
	c := &crowd{t: t, conns: make(chan net.Conn, 1)}
	c.l = Limit(pipeListener{conns: c.conns}, most)
	now := time.Unix(0, 0)
	c.l.now = func() time.Time { now = now.Add(time.Second); return now }
	return c
}

// open returns the connection that the server has, nil if it was turned away, and the client's end.
func (c *crowd) open(client string) (*conn, net.Conn) {
	c.t.Helper()
	server, mine := net.Pipe()
	c.t.Cleanup(func() { mine.Close() })
	raw := remoteConn{server, &net.TCPAddr{IP: net.ParseIP(client)}}
	got := &conn{Conn: raw, limiter: c.l, client: clientOf(raw.RemoteAddr().String(), nil, nil), since: c.l.now()}
	victim, ok := c.l.admit(got)
	if victim != nil {
		victim.Conn.Close()
	}
	if !ok {
		return nil, mine
	}
	return got, mine
}

func (c *crowd) has(client string) int {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return len(c.l.clients[client])
}

// TestWhoHasMostConnectionsLosesTheStalest, and nobody else loses any.
func TestWhoHasMostConnectionsLosesTheStalest(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 10)
	var mine []*conn
	for range 10 {
		got, _ := c.open("192.0.2.66")
		mine = append(mine, got)
	}
	mine[0].enter(serving)
	mine[1].enter(receiving)
	for i := range 4 {
		if got, _ := c.open("192.0.2.1"); got == nil {
			t.Fatalf("connection %d of an honest client is turned away", i)
		} else {
			got.enter(serving)
		}
	}
	if mine[0].closed || mine[1].closed || !mine[2].closed || !mine[5].closed || mine[6].closed {
		t.Error("other connections are closed than those that did least for longest")
	}
	for range 100 {
		c.open("192.0.2.66")
	}
	if a, b := c.has("192.0.2.1"), c.has("192.0.2.66"); a != 4 || b != 6 {
		t.Errorf("after a flood: %d and %d", a, b)
	}
	for range 20 {
		c.open("192.0.2.1")
	}
	if a, b := c.has("192.0.2.1"), c.has("192.0.2.66"); a != 5 || b != 5 {
		t.Errorf("whoever waits has %d, the flood %d: want halves", a, b)
	}
	if open, cut := c.l.Connections(); open != 10 || cut < 100 {
		t.Errorf("%d open, %d cut", open, cut)
	}
}

func TestWhatIsAtWorkIsNotClosedForAnEqual(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 3)
	for _, client := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		got, _ := c.open(client)
		got.enter(serving)
	}
	if got, _ := c.open("192.0.2.4"); got != nil {
		t.Error("a connection at work was closed for one that wants no less")
	}
	if open, _ := c.l.Connections(); open != 3 {
		t.Errorf("%d are open", open)
	}
}

// TestALimitedServerServes over real connections, also after floods.
func TestALimitedServerServes(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Received(r)
		w.Write([]byte("here"))
	}))
	limiter := Limit(srv.Listener, 8)
	srv.Listener = limiter
	srv.Config.ConnContext, srv.Config.ConnState = ConnContext, ConnState
	srv.Start()
	defer srv.Close()
	for range 50 {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for range 20 {
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if open, cut := limiter.Connections(); open > 8 || cut == 0 {
		t.Errorf("%d open, %d cut", open, cut)
	}
}
