package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cratelog/config"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

// upload is the head and body of a submission.
func upload(t *testing.T, e, c []byte) (head string, body []byte) {
	ctype, body := encodeForm(t, [2]string{"entry", string(e)}, [2]string{"crate", string(c)})
	return fmt.Sprintf("POST /v1/submit HTTP/1.1\r\nHost: log\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		ctype, len(body)), body
}

// dripped sends a submission in pieces with pauses, and returns the answer.
func dripped(t *testing.T, address string, e, c []byte, pieces int, pause time.Duration) string {
	t.Helper()
	head, body := upload(t, e, c)
	conn := testlog.Must(net.Dial("tcp", address))
	defer conn.Close()
	testlog.Must(io.WriteString(conn, head))
	go func() {
		for i := range pieces {
			if _, err := conn.Write(body[i*len(body)/pieces : (i+1)*len(body)/pieces]); err != nil {
				return
			}
			time.Sleep(pause)
		}
	}()
	answer := testlog.Must(io.ReadAll(conn))
	return string(answer)
}

// TestSlowHonestLinesAreWaitedFor as long as they are not slower than the log says, and told so in words beyond.
func TestSlowHonestLinesAreWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Door.UploadGrace.Duration = time.Minute
	l := w.open()
	srv := httptest.NewUnstartedServer(l.Handler())
	srv.Config.ReadTimeout = 200 * time.Millisecond // which would end it
	srv.Config.WriteTimeout = 200 * time.Millisecond
	srv.Start()
	defer srv.Close()
	e, c := w.good("alpha", "1.0.0")
	if a := dripped(t, srv.Listener.Addr().String(), e, c, 10, 50*time.Millisecond); !strings.HasPrefix(a, "HTTP/1.1 200 ") {
		t.Fatalf("a slow line is answered %.300s", a)
	}

	l.door.spool.grace, l.door.spool.speed = 100*time.Millisecond, 1<<40
	e, c = w.good("beta", "1.0.0")
	a := dripped(t, srv.Listener.Addr().String(), e, c, 2, time.Minute)
	if !strings.HasPrefix(a, "HTTP/1.1 408 ") || !strings.Contains(a, `"reason":"timeout"`) || !strings.Contains(a, "too slow") {
		t.Errorf("a line that is too slow is answered %s", a)
	}
	if n, _ := l.door.spool.full(); n != 0 || len(l.door.spool.bodies) != 0 {
		t.Errorf("%d bytes are left of it", n)
	}
}

// TestTenMegabytesOverASlowLine: what ships takes 10 MiB at 20 kB/s, and ends what stands still.
func TestTenMegabytesOverASlowLine(t *testing.T) {
	t.Parallel()
	var d Door
	fatalIf(t, d.complete())
	p := testlog.Must(openSpool(t.TempDir(), d))
	b := &body{spool: p, begun: time.Unix(0, 0)}
	for second := range int64(10 << 20 / 20_000) {
		if b.size = second * 20_000; !b.deadline().After(time.Unix(second+1, 0)) {
			t.Fatalf("after %d s and %d bytes it is too slow", second, b.size)
		}
	}
	b.size = 1000
	if b.deadline().After(time.Unix(21, 0)) {
		t.Error("what stands still is waited for")
	}
}

// TestUploadsTakeNoPlace: with one place to check .crates, many that stand still keep nobody out.
func TestUploadsTakeNoPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Limits.Cores = 1
	l := w.open()
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	e, c := w.good("alpha", "1.0.0")
	head, body := upload(t, e, c)
	for range 40 {
		conn := testlog.Must(net.Dial("tcp", srv.Listener.Addr().String()))
		defer conn.Close()
		testlog.Must(io.WriteString(conn, head+string(body[:len(body)-10])))
	}
	eventually(t, "they are there", func() bool { n, _ := l.door.spool.full(); return n > 40*int64(len(body)-20) })
	ctype, body := encodeForm(t, [2]string{"entry", string(e)}, [2]string{"crate", string(c)})
	if resp, b := post(t, srv.URL+"/v1/submit", ctype, body); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
}

// spoolAll reads a body into a spool, as a client.
func spoolAll(p *spool, client string, data []byte, cut func()) (*body, error) {
	r := httptest.NewRequest("POST", "/", bytes.NewReader(data))
	r.RemoteAddr = client + ":1"
	return p.read(httptest.NewRecorder(), r, 1<<30, cut)
}

// TestABodyIsTheSameInMemoryAndOnTheDisk, and takes no more memory than it may.
func TestABodyIsTheSameInMemoryAndOnTheDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fatalIf(t, os.WriteFile(filepath.Join(dir, "upload-1234"), []byte("of a killed server"), 0o600))
	p := testlog.Must(openSpool(dir, Door{SpoolBytes: 100 << 20, SpoolMemory: 10 * spoolChunk, LeastSpeed: 1 << 20}))
	for _, size := range []int{0, 1, spoolChunk - 1, spoolChunk, spoolChunk + 1, 9*spoolChunk + 7, 30 * spoolChunk, mostInMemory + 3*spoolChunk + 1} {
		want := bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size]
		b := testlog.Must(spoolAll(p, "192.0.2.1", want, nil))
		if p.inMemory > p.memory {
			t.Errorf("%d bytes are in memory", p.inMemory)
		}
		for range 2 {
			if got := testlog.Must(io.ReadAll(b.reader())); !bytes.Equal(got, want) {
				t.Errorf("of %d bytes, %d come back", size, len(got))
			}
		}
		if files := testlog.Must(os.ReadDir(dir)); len(files) != 0 {
			t.Errorf("a file has a name: %v", files)
		}
		b.close()
		b.close()
		if n, _ := p.full(); n != 0 || p.inMemory != 0 || len(p.bodies) != 0 || len(p.taken) != 0 {
			t.Errorf("after %d bytes there are %d left, %d in memory", size, n, p.inMemory)
		}
	}
}

// TestWhoUploadsMostLosesTheOldest when there is no room, and nobody else loses any.
func TestWhoUploadsMostLosesTheOldest(t *testing.T) {
	t.Parallel()
	p := testlog.Must(openSpool(t.TempDir(), Door{SpoolBytes: 10 << 20, SpoolMemory: 1 << 20, LeastSpeed: 1 << 20}))
	clock := time.Unix(0, 0)
	p.now = func() time.Time { clock = clock.Add(time.Second); return clock }
	data := make([]byte, 1<<20)
	var greedy []*body
	cuts := make([]int, 10)
	for i := range 9 {
		greedy = append(greedy, testlog.Must(spoolAll(p, "192.0.2.66", data, func() { cuts[i]++ })))
	}
	honest := testlog.Must(spoolAll(p, "192.0.2.1", data, func() { t.Error("the honest one is cut") }))
	second := testlog.Must(spoolAll(p, "192.0.2.2", data, func() { t.Error("the second is cut") }))
	if fmt.Sprint(cuts) != "[1 0 0 0 0 0 0 0 0 0]" || honest.cutError() != nil || second.cutError() != nil {
		t.Errorf("cut were %v", cuts)
	}
	wantRefusal(t, greedy[0].cutError(), Overloaded, "more uploads than others")
	if _, err := spoolAll(p, "192.0.2.66", make([]byte, 11<<20), func() {}); err == nil {
		t.Error("more than there is room for is taken")
	} else {
		wantRefusal(t, err, Overloaded, "no room")
	}
	if honest.cutError() != nil || second.cutError() != nil {
		t.Error("others lost for it")
	}
	for _, b := range append(greedy, honest, second) {
		b.close()
	}
	if n, _ := p.full(); n != 0 || p.inMemory != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestAClientIsToldToWait when it submits more often than it may; others are not.
func TestAClientIsToldToWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Door = Door{SubmissionsBurst: 2, SubmissionsPerMinute: 6, TrustedProxies: []string{"127.0.0.1"}}
	l := w.open()
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	ask := func(client string) *http.Response {
		r := testlog.Must(http.NewRequest("POST", srv.URL+"/v1/submit", strings.NewReader("--x--")))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		r.Header.Set("X-Forwarded-For", client)
		resp := testlog.Must(http.DefaultClient.Do(r))
		b := testlog.Must(io.ReadAll(resp.Body))
		resp.Body.Close()
		if x := decodeRefusal(t, b); resp.StatusCode == 429 && x.Reason != TooManyRequests {
			t.Errorf("%s", b)
		}
		return resp
	}
	for i, want := range []int{400, 400, 429} {
		resp := ask("192.0.2.1")
		if resp.StatusCode != want {
			t.Errorf("request %d: %d, want %d", i, resp.StatusCode, want)
		}
		if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); want == 429 && (err != nil || after < 1 || after > 10) {
			t.Errorf("Retry-After %q", resp.Header.Get("Retry-After"))
		}
	}
	if resp := ask("192.0.2.2"); resp.StatusCode != 400 {
		t.Errorf("another client: %d", resp.StatusCode)
	}
}

// TestWhoStillWritesIsToldWhy an upload was given up, here because its file cannot be made; and so is the operator.
func TestWhoStillWritesIsToldWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	fatalIf(t, os.RemoveAll(l.door.spool.dir))
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	conn := testlog.Must(net.Dial("tcp", srv.Listener.Addr().String()))
	defer conn.Close()
	head, body := upload(t, nil, make([]byte, 6<<20))
	testlog.Must(io.WriteString(conn, head))
	testlog.Must(conn.Write(body)) // all of it, as clients do that look for an answer only then
	answer := string(testlog.Must(io.ReadAll(conn)))
	if !strings.HasPrefix(answer, "HTTP/1.1 503 ") || !strings.Contains(answer, string(StorageFailed)) {
		t.Errorf("%.500q", answer)
	}
	if p := l.doorProblems(); len(p) != 1 || !strings.Contains(p[0], "no such file or directory") {
		t.Errorf("health says %q", p)
	}
}

// TestAnUploadThatCannotBeReadAgainIsTheLogsFault, and no mistake of who submits.
func TestAnUploadThatCannotBeReadAgainIsTheLogsFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Door.SpoolMemory = 1 // all in files
	l := w.open()
	for _, name := range []string{"entry", "crate"} {
		ctype, body := encodeForm(t, [2]string{"entry", "an entry"}, [2]string{"crate", string(make([]byte, 1<<20))})
		r := httptest.NewRequest("POST", "/v1/submit", bytes.NewReader(body))
		r.Header.Set("Content-Type", ctype)
		err := l.withForm(httptest.NewRecorder(), r, func(_ context.Context, f *form) error {
			if name == "crate" {
				testlog.Must(f.next("entry", false))
			}
			fatalIf(t, f.kept.file.Close()) // the disk fails
			_, err := readPart(&partReader{form: f, name: name}, 2<<20, CrateTooLarge, name)
			return err
		})
		x := wantRefusal(t, err, StorageFailed, "cannot read again what was uploaded")
		if got := status(x.Reason); got != 503 {
			t.Errorf("%s: %d", name, got)
		}
	}
	if p := l.doorProblems(); len(p) != 1 || !strings.Contains(p[0], "file already closed") {
		t.Errorf("health says %q", p)
	}
}

// TestLargeBodiesCountForMore, whatever is in them, also those that are too large; and one that says at once that it
// is takes no room.
func TestLargeBodiesCountForMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Door = Door{SubmissionsBurst: 8, SubmissionsPerMinute: 1}
	l := w.open()
	h := l.Handler()
	post := func(client string, size int, said int64) int {
		r := httptest.NewRequest("POST", "/v1/submit", strings.NewReader(strings.Repeat("x", size)))
		r.RemoteAddr, r.ContentLength = client, said
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		r.Header.Set("Expect", "100-continue") // what is refused is not read
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		return answer.Code
	}
	const most = 16 << 20 // more than any submission
	for _, c := range []struct {
		client string
		size   int
		said   int64
		want   []int
	}{
		{"192.0.2.1:1", 1000, 1000, []int{400, 400, 400, 400, 400, 400, 400, 400, 429}},
		{"192.0.2.2:1", 1 << 20, -1, []int{400, 400, 429}},
		{"192.0.2.3:1", most, -1, []int{413, 429}},
		{"192.0.2.4:1", 1000, most, []int{413, 413}},
	} {
		for i, want := range c.want {
			if got := post(c.client, c.size, c.said); got != want {
				t.Errorf("%d bytes, said to be %d, for the %d. time: %d, want %d", c.size, c.said, i+1, got, want)
			}
		}
	}
	if n, _ := l.door.spool.full(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

func TestABucketFillsAgain(t *testing.T) {
	t.Parallel()
	r := newRates(60, 3)
	clock := time.Unix(0, 0)
	r.now = func() time.Time { return clock }
	for i, want := range []time.Duration{0, 0, 0, time.Second, time.Second} {
		if got := r.take("a"); got != want {
			t.Errorf("request %d waits %v, want %v", i, got, want)
		}
	}
	clock = clock.Add(time.Second)
	if r.take("a") != 0 || r.take("a") == 0 {
		t.Error("after a second there is not one token")
	}
	r.charge("a", 100)
	if got := r.take("a"); got != 4*time.Second {
		t.Errorf("after what it is charged it waits %v", got)
	}
	clock = clock.Add(-time.Hour) // a clock can go back
	if got := r.take("a"); got != 4*time.Second {
		t.Errorf("it waits %v", got)
	}
	clock = clock.Add(24 * time.Hour)
	for range 3 {
		if r.take("a") != 0 {
			t.Error("the bucket is not full again")
		}
	}
}

// TestFalseProofsAreCheckedOnceAndAlone: one that is known to be false is not checked again, and whoever brought one is
// checked apart from others.
func TestFalseProofsAreCheckedOnceAndAlone(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	checks := 0
	w.proofs.checking = func() { checks++ }
	raw := testCrate(t, "alpha", "1.0.0", "")
	e := testEntry(t, raw, "alpha", "1.0.0", 1)
	bad := WithClient(t.Context(), "bad")
	for range 3 {
		_, err := l.Submit(bad, marshal(e), failingReader{t}, nil)
		wantRefusal(t, err, ProofInvalid, "does not verify")
	}
	if checks != 1 {
		t.Errorf("a false proof is checked %d times", checks)
	}
	var places []*turn // all for proofs that are checked together
	for i := range proofsTogether {
		places = append(places, testlog.Must(l.door.proofs.begin(t.Context(), fmt.Sprint(i), 0, false)))
	}
	e.Proof.Parts[0][0]++
	_, err := l.Submit(bad, marshal(e), failingReader{t}, nil)
	wantRefusal(t, err, ProofInvalid, "does not verify") // it did not wait for the others
	for _, p := range places {
		p.end()
	}
	e.Proof.Parts[0][0]++
	w.proofs.believe(e)
	b := testlog.Must(l.Submit(bad, marshal(e), bytes.NewReader(raw), nil)) // a true one is as good as anybody's
	w.checkBundle(b, marshal(e))
}

// TestBombsWaitForOthers: while .crates that take long are read, those of others come in.
func TestBombsWaitForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Limits.Cores = 1
	l := w.open()
	content := strings.Repeat("\n", 14<<20)
	bomb := testlog.Must(forge.Pack("bomb", "1.0.0", forge.Manifest("bomb", "1.0.0"), forge.File{Path: "a", Content: content},
		forge.File{Path: "b", Content: content}, forge.File{Path: "c", Content: content}, forge.File{Path: "d", Content: content}))
	entries := make([][]byte, 4)
	for i := range entries {
		e := testEntry(t, bomb, "bomb", "1.0.0", byte(i))
		e.Claim.(*entry.Source).Files[0]++ // found out at the end
		w.proofs.believe(e)
		entries[i] = marshal(e)
	}
	first := testlog.Must(l.door.cores.begin(t.Context(), "first", 0, false))
	var g sync.WaitGroup
	for _, e := range entries {
		g.Go(func() {
			_, err := l.Submit(WithClient(t.Context(), "bomber"), e, bytes.NewReader(bomb), nil)
			var r *Refusal
			if !errors.As(err, &r) || r.Reason != CrateRefused {
				t.Errorf("got %v", err)
			}
		})
	}
	eventually(t, "all are there", func() bool { return l.door.cores.queued() == len(entries) })
	first.end()
	turn := testlog.Must(l.door.cores.begin(t.Context(), "honest", 0, false))
	l.door.cores.mu.Lock()
	if n := l.door.cores.stopped; n != 1 {
		t.Errorf("%d bombs are read in part and wait: they came first", n)
	}
	l.door.cores.mu.Unlock()
	turn.end()
	e, c := w.good("alpha", "1.0.0")
	b := testlog.Must(l.Submit(WithClient(t.Context(), "honest"), e, bytes.NewReader(c), nil))
	w.checkBundle(b, e)
	g.Wait()
}

// TestManyAtOnceAreAllLogged, from one address and from many, with the defaults.
func TestManyAtOnceAreAllLogged(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	var g sync.WaitGroup
	for i := range 200 {
		e, c := w.good(fmt.Sprintf("c%d", i), "1.0.0")
		ctype, body := encodeForm(t, [2]string{"entry", string(e)}, [2]string{"crate", string(c)})
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%2*i))}}
		hc := &http.Client{Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}}
		g.Go(func() {
			resp, err := hc.Post(srv.URL+"/v1/submit", ctype, bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != 200 {
				b, _ := io.ReadAll(resp.Body)
				t.Errorf("%d %s", resp.StatusCode, b)
			}
		})
	}
	g.Wait()
	wantSize(t, l, 200)
}

// TestEachSubmissionIsALine of the access log, with who, what, and how it ended.
func TestEachSubmissionIsALine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what  string
		lines int
	}{{"", 2}, {AccessSubmissions, 2}, {AccessAll, 3}, {AccessOff, 0}} {
		w := newWorld(t)
		var out syncBuffer
		w.cfg.Logger = slog.New(slog.NewJSONHandler(&out, nil))
		w.cfg.Door.AccessLog = tt.what
		l := w.open()
		srv := httptest.NewServer(l.Handler())
		e, c := w.good("alpha", "1.0.0")
		ctype, body := encodeForm(t, [2]string{"entry", string(e)}, [2]string{"crate", string(c)})
		resp, _ := post(t, srv.URL+"/v1/submit", ctype, body)
		e, c = w.good("beta", "1.0.0")
		cutType, cut := encodeForm(t, [2]string{"entry", string(e)}, [2]string{"crate", string(c)})
		post(t, srv.URL+"/v1/submit", cutType, cut[:len(cut)-200])
		get(t, srv.URL+"/v1/log")
		srv.Close()
		text := out.String()
		if n := strings.Count(text, `"msg":"request"`); n != tt.lines {
			t.Errorf("%q: %d lines, want %d:\n%s", tt.what, n, tt.lines, text)
		}
		for _, want := range []string{`"client":"127.0.0.1"`, `"crate":"alpha"`, `"version":"1.0.0"`, `"status":200`, `"status":400`,
			`"reason":"malformed-request"`, fmt.Sprintf(`"received":%d`, len(body)),
			`"request_id":"` + resp.Header.Get("X-Request-Id") + `"`} {
			if tt.lines > 0 && !strings.Contains(text, want) {
				t.Errorf("no line has %s:\n%s", want, text)
			}
		}
	}
}

// syncBuffer may be written to and read at the same time.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestSettingsOfTheDoorAreHeldToTheirRules(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]Door{
		"a limit of [door] is negative":          {SpoolBytes: -1},
		"access_log of [door] is \"some\"":       {AccessLog: "some"},
		"trusted_proxies of [door]: \"10.0.0.1/": {TrustedProxies: []string{"10.0.0.1/8"}},
	} {
		if err := d.complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// FuzzForm sends bodies that are almost forms: nothing of them panics, or is left in the spool.
func FuzzForm(f *testing.F) {
	l := &Log{cfg: Config{Door: Door{SpoolBytes: 1 << 20, SpoolMemory: spoolChunk, LeastSpeed: 1 << 20, UploadGrace: config.Duration{Duration: time.Minute}}}}
	l.limits.Crate.Compressed = 1 << 20
	l.door.spool = testlog.Must(openSpool(f.TempDir(), l.cfg.Door))
	l.door.rates = newRates(1<<30, 1<<30)
	for _, s := range []string{
		"--x\r\nContent-Disposition: form-data; name=\"entry\"\r\n\r\n1\r\n--x\r\nContent-Disposition: form-data; name=\"crate\"\r\n\r\n2\r\n--x--\r\n",
		"--x\r\nContent-Disposition: form-data; name=\"entry\"\r\n\r\n1", "--x--", "", strings.Repeat("--x\r\n\r\n", 100),
	} {
		f.Add("multipart/form-data; boundary=x", []byte(s))
	}
	f.Fuzz(func(t *testing.T, contentType string, data []byte) {
		r := httptest.NewRequest("POST", "/v1/submit", bytes.NewReader(data))
		r.Header.Set("Content-Type", contentType)
		var got []byte
		err := l.withForm(httptest.NewRecorder(), r, func(_ context.Context, f *form) error {
			part, err := f.next("entry", false)
			if err != nil {
				return err
			}
			if _, err := io.ReadAll(part); err != nil {
				return refuse(MalformedRequest, err, "entry")
			}
			for _, p := range []*partReader{{form: f, name: "crate"}, {form: f, name: "opening", last: true}} {
				b, err := readPart(p, 1<<20, CrateTooLarge, "part")
				if err != nil {
					return err
				}
				got = append(got, b...)
			}
			return nil
		})
		var x *Refusal
		if err != nil && !errors.As(err, &x) {
			t.Errorf("the error is no refusal: %v", err)
		}
		if err == nil && len(got) > len(data) {
			t.Errorf("more comes out than went in")
		}
		if n, _ := l.door.spool.full(); n != 0 || l.door.spool.inMemory != 0 {
			t.Errorf("%d bytes are left", n)
		}
	})
}
