package log

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
	"cratelog/witness"
)

// testMirror is a tlog-mirror, written down from the specification. It takes what is proved, and objects to
// everything else.
type testMirror struct {
	t      *testing.T
	key    *testlog.Key
	log    note.Verifier
	server *httptest.Server
	// most is how many packages of a request it takes before it says how far it got.
	most int
	// lies answers a request in the place of the mirror, if it says so.
	lies func(rw http.ResponseWriter, call string) bool

	mu      sync.Mutex
	pending tlog.Tree
	tree    *testlog.Tree
	signed  int64 // size of the mirror checkpoint
	asked   int
}

func newTestMirror(t *testing.T, name, logVKey string, most int, lies func(rw http.ResponseWriter, call string) bool) *testMirror {
	m := &testMirror{t: t, key: testlog.MLDSAKey(name, time.Unix(1_800_000_000, 0)), log: testlog.Must(note.NewVerifier(logVKey)),
		most: most, lies: lies, tree: &testlog.Tree{}}
	m.server = httptest.NewServer(m)
	t.Cleanup(m.server.Close)
	return m
}

func (m *testMirror) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	call := strings.TrimPrefix(r.URL.Path, "/sub/")
	if m.lies != nil && m.lies(rw, call) {
		return
	}
	switch call {
	case "add-checkpoint":
		m.addCheckpoint(rw, r)
	case "add-entries":
		m.addEntries(rw, r)
	default:
		m.t.Errorf("asked for %s", r.URL)
	}
}

func (m *testMirror) addCheckpoint(rw http.ResponseWriter, r *http.Request) {
	req := testlog.Must(witness.ParseRequest(testlog.Must(io.ReadAll(r.Body))))
	_, signed, _ := strings.Cut(req.Marshal(), "\n\n")
	if _, err := note.Open([]byte(signed), note.VerifierList(m.log)); err != nil || len(req.Signatures) != 1 {
		m.t.Errorf("add-checkpoint with %d signatures: %v", len(req.Signatures), err)
	}
	if req.Old != m.pending.N {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintf(rw, "%d\n", m.pending.N)
		return
	}
	c := req.Checkpoint
	if req.Old > 0 && tlog.CheckTree(req.Proof, c.N, c.Hash, m.pending.N, m.pending.Hash) != nil {
		m.t.Errorf("the proof from %d to %d does not verify", req.Old, c.N)
	}
	m.pending = c.Tree // the answer may be empty
}

func (m *testMirror) addEntries(rw http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Content-Type") != "application/octet-stream" {
		m.t.Errorf("entries come as %q", r.Header.Get("Content-Type"))
	}
	body := testlog.Must(io.ReadAll(testlog.Must(gzip.NewReader(r.Body))))
	number := func(n int) uint64 {
		v := binary.BigEndian.Uint64(append(make([]byte, 8-n), body[:n]...))
		body = body[n:]
		return v
	}
	text := func(n uint64) string {
		v := string(body[:n])
		body = body[n:]
		return v
	}
	if origin := text(number(2)); origin != testOrigin {
		m.t.Errorf("entries of %q", origin)
	}
	start, end := int64(number(8)), int64(number(8))
	ticket := text(number(2))
	if end != m.pending.N || start > m.tree.Size() || m.tree.Size()-start > 2048 {
		m.info(rw, http.StatusConflict)
		return
	}
	if start < end && ticket != "a ticket" {
		m.t.Errorf("the ticket is %q", ticket)
	}
	packages := 0
	for len(body) > 0 {
		first := start / 256 * 256
		stop := min(end, first+256)
		for ; start < stop; start++ {
			if e := text(number(2)); start >= m.tree.Size() {
				m.tree.Append([]byte(e))
			}
		}
		proof := make([]tlog.Hash, number(1))
		for i := range proof {
			proof[i] = tlog.Hash([]byte(text(32)))
		}
		hash := testlog.Must(torchwood.SubtreeHash(first, stop, m.tree))
		if err := torchwood.CheckSubtree(proof, m.pending.N, m.pending.Hash, first, stop, hash); err != nil {
			m.t.Errorf("entries %d to %d: %v", first, stop, err)
		}
		if packages++; packages == m.most && start < end {
			break
		}
	}
	if start < end {
		m.info(rw, http.StatusAccepted)
		return
	}
	m.signed = end
	m.sign(rw, torchwood.Checkpoint{Origin: testOrigin, Tree: m.pending})
}

func (m *testMirror) info(rw http.ResponseWriter, code int) {
	rw.Header().Set("Content-Type", "text/x.tlog.mirror-info")
	rw.WriteHeader(code)
	fmt.Fprintf(rw, "%d\n%d\n%s\n", m.pending.N, m.tree.Size(), base64.StdEncoding.EncodeToString([]byte("a ticket")))
}

func (m *testMirror) sign(rw http.ResponseWriter, c torchwood.Checkpoint) {
	_, lines, _ := strings.Cut(string(testlog.Sign(c.String(), m.key)), "\n\n")
	io.WriteString(rw, lines)
}

func (m *testMirror) state() (signed int64, asked int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.signed, m.asked
}

// Mirrors get all entries, whatever they take at a time and however often they fail; what they cosign is believed
// only if it is the log's tree. Those that lie cost the log, and the other mirrors, nothing.
func TestMirrorsGetAllEntries(t *testing.T) {
	w := newWorld(t)
	failed := false
	honest := map[string]*testMirror{
		"one package at a time": newTestMirror(t, "slow.example/m", w.cfg.VKey, 1, nil),
		"all at once":           newTestMirror(t, "quick.example/m", w.cfg.VKey, 100, nil),
		"fails once": newTestMirror(t, "weak.example/m", w.cfg.VKey, 1, func(rw http.ResponseWriter, call string) bool {
			if call == "add-entries" && !failed {
				failed = true
				panic(http.ErrAbortHandler)
			}
			return false
		}),
	}
	lying := map[string]*testMirror{}
	lie := func(name string, lies func(m *testMirror, rw http.ResponseWriter, call string) bool) {
		m := newTestMirror(t, name+".example/m", w.cfg.VKey, 1, nil)
		m.lies = func(rw http.ResponseWriter, call string) bool { return lies(m, rw, call) }
		lying[name] = m
	}
	onEntries := func(answer func(m *testMirror, rw http.ResponseWriter)) func(*testMirror, http.ResponseWriter, string) bool {
		return func(m *testMirror, rw http.ResponseWriter, call string) bool {
			if call == "add-entries" {
				answer(m, rw)
			}
			return call == "add-entries"
		}
	}
	lie("another-root", onEntries(func(m *testMirror, rw http.ResponseWriter) {
		m.sign(rw, torchwood.Checkpoint{Origin: testOrigin, Tree: tlog.Tree{N: m.pending.N, Hash: tlog.Hash{1}}})
	}))
	lie("nothing", onEntries(func(_ *testMirror, rw http.ResponseWriter) {}))
	lie("garbage", onEntries(func(_ *testMirror, rw http.ResponseWriter) { io.WriteString(rw, strings.Repeat("— x AAAA\n", 1000)) }))
	lie("endless", onEntries(func(_ *testMirror, rw http.ResponseWriter) { rw.Write(make([]byte, mirrorAnswer+1)) }))
	lie("conflict-for-ever", onEntries(func(m *testMirror, rw http.ResponseWriter) { m.info(rw, http.StatusConflict) }))
	lie("accepts-for-ever", onEntries(func(m *testMirror, rw http.ResponseWriter) { m.info(rw, http.StatusAccepted) }))
	lie("creeps", onEntries(func(m *testMirror, rw http.ResponseWriter) {
		if m.tree.Size() < m.pending.N {
			m.tree.Append(nil) // it says that it took one entry of a package
		}
		m.info(rw, http.StatusAccepted)
	}))
	past := map[*testMirror]bool{} // they have said where they stand
	lie("cosigns-the-past", onEntries(func(m *testMirror, rw http.ResponseWriter) {
		if past[m] = !past[m]; past[m] {
			rw.Header().Set("Content-Type", "text/x.tlog.mirror-info")
			rw.WriteHeader(http.StatusConflict)
			io.WriteString(rw, "0\n0\n\n")
			return
		}
		m.sign(rw, torchwood.Checkpoint{Origin: testOrigin, Tree: tlog.Tree{Hash: testlog.Must(tlog.TreeHash(0, nil))}})
	}))
	lie("no-info", onEntries(func(_ *testMirror, rw http.ResponseWriter) { rw.WriteHeader(http.StatusConflict) }))
	lie("ahead", func(_ *testMirror, rw http.ResponseWriter, call string) bool {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintln(rw, int64(1)<<62)
		return true
	})
	lie("unknown", func(_ *testMirror, rw http.ResponseWriter, call string) bool { http.NotFound(rw, nil); return true })
	lie("moved", func(_ *testMirror, rw http.ResponseWriter, call string) bool {
		rw.Header().Set("Location", "http://127.0.0.1:1/")
		rw.WriteHeader(http.StatusTemporaryRedirect)
		return true
	})
	for _, all := range []map[string]*testMirror{honest, lying} {
		for _, m := range all {
			w.cfg.Mirrors = append(w.cfg.Mirrors, Mirror{m.server.URL + "/sub", m.key.VKey})
		}
	}
	l := w.open()
	const total = 300 // more than a package
	var submitting sync.WaitGroup
	for i := range total {
		submitting.Go(func() {
			entryBytes, crateBytes := w.good(fmt.Sprintf("c%03d", i), "1.0.0")
			w.submit(l, entryBytes, crateBytes)
		})
	}
	submitting.Wait()
	for name, m := range honest {
		eventually(t, "all at the mirror: "+name, func() bool {
			signed, _ := m.state()
			return uint64(signed) == l.published.head().size && signed > total
		})
	}
	server := httptest.NewServer(l.Handler())
	defer server.Close()
	metrics := func() string {
		_, _, text := get(t, server.URL+"/metrics")
		return string(text)
	}
	for name, m := range lying {
		eventually(t, "a failure of "+name, func() bool {
			return strings.Contains(metrics(), fmt.Sprintf("cratelog_mirror_failures_total{mirror=%q} ", m.key.KeyName)) &&
				!strings.Contains(metrics(), fmt.Sprintf("cratelog_mirror_failures_total{mirror=%q} 0\n", m.key.KeyName))
		})
		if want := fmt.Sprintf("cratelog_mirror_size{mirror=%q} 0\n", m.key.KeyName); !strings.Contains(metrics(), want) {
			t.Errorf("%s is believed: metrics should say %q", name, want)
		}
		if _, asked := m.state(); asked > 100 {
			t.Errorf("%s was asked %d times", name, asked)
		}
	}
	for _, m := range honest {
		want := fmt.Sprintf("cratelog_mirror_size{mirror=%q} %d\n", m.key.KeyName, l.published.head().size)
		eventually(t, want, func() bool { return strings.Contains(metrics(), want) })
	}
}

func TestMirrorsOfTheSettingsAreChecked(t *testing.T) {
	w := newWorld(t)
	key := testlog.MLDSAKey("m.example", time.Time{}).VKey
	for want, mirrors := range map[string][]Mirror{
		"is not an http or https URL":        {{"m.example", key}},
		"is no verifier key of cosignatures": {{"https://m.example", w.cfg.VKey}},
		"mirror: m.example is there twice":   {{"https://m.example", key}, {"https://n.example", key}},
	} {
		cfg := w.cfg
		cfg.Mirrors = mirrors
		if l, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			if err == nil {
				w.closeLog(l)
			}
			t.Errorf("%v, wanted %q", err, want)
		}
	}
}
