package visit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cratelog/internal/fixture"
	"cratelog/internal/flock"
	"cratelog/prover/git"
)

// counted counts what git asks of a server on loopback.
func counted(t *testing.T, h http.Handler) (url string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func newVisitor(t *testing.T) *Visitor {
	t.Helper()
	fixture.Need(t, "git")
	return &Visitor{Git: git.Anonymous{Clones: git.Clones(filepath.Join(t.TempDir(), "public"))}}
}

func TestAVisitorFetchesACommitOnce(t *testing.T) {
	v, repo := newVisitor(t), fixture.Repo(t)
	url, asked := counted(t, fixture.GitServer(t, filepath.Dir(repo)))
	a := Address{URL: url + "/" + filepath.Base(repo), Own: true}
	first, second := fixture.Commit(t, "0.1.0"), fixture.Commit(t, "0.1.1")
	dir, err := v.Fetch(t.Context(), a, first, second)
	fatalIf(t, err)
	n := asked.Load()
	if n == 0 {
		t.Fatal("nothing was asked, so that this test sees nothing")
	}
	if again, err := v.Fetch(t.Context(), a, first); err != nil || again != dir || asked.Load() != n {
		t.Errorf("again, %d requests: %v", asked.Load()-n, err)
	}
	// The other commit came along; only blobs can be missing.
	if _, err := git.Run(t.Context(), dir, "cat-file", "-e", hex.EncodeToString(second[:])); err != nil {
		t.Error("the other commit was not fetched in the same request")
	}
	if _, err := v.Fetch(t.Context(), a, second); err != nil || asked.Load()-n > 2 {
		t.Errorf("the second, %d requests: %v", asked.Load()-n, err)
	}
	// A commit that is not there is no reason to fetch all.
	n = asked.Load()
	if _, err := v.Fetch(t.Context(), a, [20]byte{1}); !errors.As(err, new(*git.NoCommitError)) || asked.Load()-n > 3 {
		t.Errorf("%d requests: %v", asked.Load()-n, err)
	}
	// Nor does it spoil a request for one that is.
	other := newVisitor(t)
	if _, err := other.Fetch(t.Context(), a, first, [20]byte{1}); err != nil {
		t.Error(err)
	}
	tags, err := v.Tags(t.Context(), a)
	fatalIf(t, err)
	if tags["v0.1.0"] != first {
		t.Errorf("%x", tags)
	}
	local, err := git.LocalTags(t.Context(), repo)
	if err != nil || local["v0.1.0"] != first || len(local) != len(tags) {
		t.Errorf("%v %x", err, local)
	}
}

// TestAVisitorGoesNowhereElse: nothing of these addresses is ever asked.
func TestAVisitorGoesNowhereElse(t *testing.T) {
	v := newVisitor(t)
	url, asked := counted(t, http.NotFoundHandler())
	port := url[strings.LastIndexByte(url, ':')+1:]
	for _, a := range []Address{
		{URL: url + "/a"}, // of somebody's manifest
		{URL: "https://127.0.0.1:" + port + "/a"},
		{URL: "https://localhost:" + port + "/a"},
		{URL: "https://[::ffff:127.0.0.1]:" + port + "/a"},
		{URL: "https://10.1.2.3/a"},
		{URL: "https://[64:ff9b::127.0.0.1]/a"},
		{URL: "https://127.0.0.1.:" + port + "/a"}, // git would not know it for the host that was looked at
		{URL: "https://example.com./a"},
		{URL: "https://u:p@127.0.0.1:" + port + "/a", Own: true},
		{URL: "http://192.0.2.1/a", Own: true},
		{URL: "file:///etc", Own: true},
		{URL: "ssh://127.0.0.1/a", Own: true},
		{URL: "git@127.0.0.1:a", Own: true},
		{URL: "ext::sh -c touch% " + filepath.Join(t.TempDir(), "x"), Own: true},
		{URL: "--upload-pack=touch", Own: true},
		{URL: url + "/a?x=y", Own: true},
	} {
		if _, err := v.Fetch(t.Context(), a, [20]byte{1}); !errors.As(err, new(*AddressError)) {
			t.Errorf("%+v: %v", a, err)
		}
		if _, err := v.Tags(t.Context(), a); !errors.As(err, new(*AddressError)) {
			t.Errorf("%+v: %v", a, err)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestARepositoryThatMovedIsFollowedOnItsHostOnly(t *testing.T) {
	repo := fixture.Repo(t)
	elsewhere, asked := counted(t, http.NotFoundHandler())
	backend, self := fixture.GitServer(t, filepath.Dir(repo)), ""
	mux := http.NewServeMux()
	mux.Handle("/", backend)
	mux.HandleFunc("/old/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/"+filepath.Base(repo)+"/info/refs?"+r.URL.RawQuery, http.StatusMovedPermanently)
	})
	mux.HandleFunc("/away/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere+"/a/info/refs?"+r.URL.RawQuery, http.StatusMovedPermanently)
	})
	mux.HandleFunc("/page/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) })
	mux.HandleFunc("/loop/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, self+"/loop/info/refs?"+r.URL.RawQuery, http.StatusFound)
	})
	// A server that says yes, and then sends git itself away.
	mux.HandleFunc("/late/info/refs", func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.UserAgent(), "git/2 (") {
			http.Redirect(w, r, elsewhere+"/a/info/refs?"+r.URL.RawQuery, http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
	})
	self, _ = counted(t, mux)
	v, commit := newVisitor(t), fixture.Commit(t, "0.1.0")
	if _, err := v.Fetch(t.Context(), Address{self + "/old", true}, commit); err != nil {
		t.Errorf("renamed: %v", err)
	}
	for path, want := range map[string]string{"/away": "other hosts are not followed", "/page": "sent elsewhere", "/loop": "moves on and on", "/none": "404"} {
		_, err := v.Fetch(t.Context(), Address{self + path, true}, commit)
		if !errors.As(err, new(*GoneError)) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := v.Fetch(t.Context(), Address{self + "/late", true}, commit); err == nil {
		t.Error("it was fetched")
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}
}

func TestAnAnswerIsToldFromAFailure(t *testing.T) {
	v := newVisitor(t)
	for status, gone := range map[int]bool{401: true, 403: true, 404: true, 410: true, 451: true, 429: false, 500: false, 503: false, 200: true} {
		url, _ := counted(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		_, err := v.Fetch(t.Context(), Address{url + "/a", true}, [20]byte{1})
		if err == nil || errors.As(err, new(*GoneError)) != gone {
			t.Errorf("%d: %v", status, err)
		}
	}
	if _, err := v.Fetch(t.Context(), Address{"http://127.0.0.1:1/a", true}, [20]byte{1}); err == nil || errors.As(err, new(*GoneError)) {
		t.Errorf("nobody answers: %v", err)
	}
}

// flood is a server that promises a pack and never ends it.
func flood(w http.ResponseWriter, r *http.Request) {
	line := func(s string) { fmt.Fprintf(w, "%04x%s", len(s)+4, s) }
	if strings.HasSuffix(r.URL.Path, gitRefs) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		line("# service=git-upload-pack\n")
		io.WriteString(w, "0000")
		line("version 2\n")
		line("ls-refs\n")
		line("fetch=shallow filter\n")
		line("object-format=sha1\n")
		io.WriteString(w, "0000")
		return
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
	if strings.Contains(string(body), "command=ls-refs") {
		io.WriteString(w, "0000")
		return
	}
	line("packfile\n")
	pack := append([]byte{1}, "PACK\x00\x00\x00\x02\x00\x00\x00\x01"...)
	line(string(pack))
	blob := append([]byte{1, 0xb0 | 0x0f, 0xff, 0xff, 0xff, 0x7f}, 0x78, 0x01) // a blob of gigabytes, stored
	line(string(blob))
	stored := append([]byte{1, 0x00, 0x00, 0xf0, 0xff, 0x0f}, make([]byte, 0xf000)...)
	for {
		if _, err := fmt.Fprintf(w, "%04x", len(stored)+4); err != nil {
			return
		}
		if _, err := w.Write(stored); err != nil {
			return
		}
	}
}

func TestARepositoryWithoutAnEndIsEnded(t *testing.T) {
	v := newVisitor(t)
	v.Git.MaxBytes = 4 << 20
	url, _ := counted(t, http.HandlerFunc(flood))
	if _, err := v.Fetch(t.Context(), Address{url + "/a", true}, [20]byte{1}); !errors.Is(err, git.ErrTooMuch) {
		t.Error(err)
	}
}

// TestAVisitIsInterrupted: git and what it has started have ended when Fetch returns.
func TestAVisitIsInterrupted(t *testing.T) {
	v := newVisitor(t)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	url, _ := counted(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			flood(w, r)
			return
		}
		cancel()
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done() // the connection ends with who made it
		close(gone)
	}))
	if _, err := v.Fetch(ctx, Address{url + "/a", true}, [20]byte{1}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("what git has started goes on")
	}
}

// TestAVisitorHasNothingOfTheUsers: neither settings nor helpers, hooks or passwords.
func TestAVisitorHasNothingOfTheUsers(t *testing.T) {
	v, repo, home := newVisitor(t), fixture.Repo(t), t.TempDir()
	mark := filepath.Join(home, "mark")
	fatalIf(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[credential]\n\thelper = \"!touch "+mark+"; echo username=u; echo password=p\"\n"+
		"[core]\n\tsshCommand = touch "+mark+"\n\thooksPath = "+home+"\n\tgitProxy = touch "+mark+"\n\tfsmonitor = touch "+mark+
		"\n[http]\n\textraHeader = \"Authorization: secret\"\n[url \"ext::touch "+mark+" \"]\n\tinsteadOf = http://\n"), 0o600))
	for _, hook := range []string{"reference-transaction", "post-checkout", "post-merge", "pre-auto-gc"} {
		fatalIf(t, os.WriteFile(filepath.Join(home, hook), []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o700))
	}
	t.Setenv("HOME", home)
	t.Setenv("GIT_ASKPASS", "touch")
	t.Setenv("GIT_PROXY_COMMAND", "touch "+mark)
	backend := fixture.GitServer(t, filepath.Dir(repo))
	url, _ := counted(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("%s has a password", r.URL)
		}
		if strings.HasPrefix(r.URL.Path, "/closed") {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	commit := fixture.Commit(t, "0.1.0")
	if _, err := v.Fetch(t.Context(), Address{url + "/" + filepath.Base(repo), true}, commit); err != nil {
		t.Error(err)
	}
	if _, err := v.Fetch(t.Context(), Address{url + "/closed", true}, commit); !errors.As(err, new(*GoneError)) {
		t.Error(err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("something of the user's was run")
	}
}

// TestAKilledFetchIsInNobodysWay: what git leaves when it is killed neither stops the next fetch nor
// counts as its.
func TestAKilledFetchIsInNobodysWay(t *testing.T) {
	v, repo := newVisitor(t), fixture.Repo(t)
	v.Git.MaxBytes = 8 << 20
	url, _ := counted(t, fixture.GitServer(t, filepath.Dir(repo)))
	a := Address{url + "/" + filepath.Base(repo), true}
	dir, err := v.Fetch(t.Context(), a, fixture.Commit(t, "0.1.0"))
	fatalIf(t, err)
	fatalIf(t, os.WriteFile(filepath.Join(dir, ".git", "shallow.lock"), nil, 0o600))
	fatalIf(t, os.WriteFile(filepath.Join(dir, ".git", "objects", "pack", "tmp_pack_abc"), make([]byte, 16<<20), 0o600))
	if _, err := v.Fetch(t.Context(), a, fixture.Commit(t, "0.1.1")); err != nil {
		t.Error(err)
	}
	// Another process is at it.
	f, err := os.OpenFile(dir+".lock", os.O_RDWR, 0)
	fatalIf(t, err)
	if held, err := flock.Try(f); held || err != nil {
		t.Fatal(held, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := v.Fetch(ctx, a, [20]byte{1}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWhatTheUserNamedIsNotPublic: that a repository was fetched because the user said so makes its address
// none that a stranger's manifest may name.
func TestWhatTheUserNamedIsNotPublic(t *testing.T) {
	v, repo := newVisitor(t), fixture.Repo(t)
	url, _ := counted(t, fixture.GitServer(t, filepath.Dir(repo)))
	a, commit := Address{URL: url + "/" + filepath.Base(repo), Own: true}, fixture.Commit(t, "0.1.0")
	_, err := v.Fetch(t.Context(), a, commit)
	fatalIf(t, err)
	a.Own = false
	for _, v := range []*Visitor{v, {Git: v.Git}} {
		if dir, err := v.Fetch(t.Context(), a, commit); !errors.As(err, new(*AddressError)) {
			t.Errorf("%q, %v", dir, err)
		}
		if _, err := v.Tags(t.Context(), a); !errors.As(err, new(*AddressError)) {
			t.Error(err)
		}
	}
}

// TestAHostThatMovesIsNotFollowed: it has a public address when it is looked at, and is then one of this machine.
func TestAHostThatMovesIsNotFollowed(t *testing.T) {
	asked := fixture.ServeGit(t, t.TempDir(), func(*http.Request) bool { t.Error("it was asked"); return true })
	v := newVisitor(t)
	rebind(t, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.1"))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	a := Address{URL: "https://example.com:" + asked[strings.LastIndexByte(asked, ':')+1:] + "/a"}
	if _, err := v.Fetch(ctx, a, [20]byte{1}); err == nil {
		t.Error("it was fetched")
	}
	// Git connects where it was told to.
	repo := fixture.Repo(t)
	url := fixture.ServeGit(t, filepath.Dir(repo), func(*http.Request) bool { return true })
	from := git.Remote{URL: "https://example.com:" + url[strings.LastIndexByte(url, ':')+1:] + "/" + filepath.Base(repo),
		At: []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1").Unmap()}}
	if _, err := v.Git.Fetch(t.Context(), from, fixture.Commit(t, "0.1.0")); err != nil {
		t.Error(err)
	}
	if tags, err := v.Git.Tags(t.Context(), from); err != nil || len(tags) == 0 {
		t.Error(err)
	}
}

// rebind has every name stand for the first address once, and then for the second.
func rebind(t *testing.T, first, then netip.Addr) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	fatalIf(t, err)
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 512)
		for next := first; ; {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			end := 12 // SPEC: RFC 1035 4.1; the header, and one question of labels, a type and a class
			for end < n && b[end] != 0 {
				end += int(b[end]) + 1
			}
			end += 5
			if end > n {
				continue
			}
			answer := append([]byte{b[0], b[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, b[12:end]...)
			if b[end-3] == 1 { // of IPv4
				answer[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				answer = append(answer, next.AsSlice()...)
				next = then
			}
			conn.WriteTo(answer, from)
		}
	}()
	old := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = old })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}
