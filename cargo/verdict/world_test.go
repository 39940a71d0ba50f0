package verdict

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
)

var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func edKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("verdict test " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// signer signs notes as a log or, with a time, as a witness, written down from the
// specifications.
type signer struct {
	name string
	id   uint32
	key  ed25519.PrivateKey
	at   func() time.Time // nil for a log
}

func (s *signer) Name() string    { return s.name }
func (s *signer) KeyHash() uint32 { return s.id }
func (s *signer) Sign(text []byte) ([]byte, error) {
	if s.at == nil {
		return ed25519.Sign(s.key, text), nil
	}
	ts := uint64(s.at().Unix())
	msg := fmt.Sprintf("cosignature/v1\ntime %d\n%s", ts, text)
	return append(binary.BigEndian.AppendUint64(nil, ts), ed25519.Sign(s.key, []byte(msg))...), nil
}

// fakeLog is a log over HTTP that serves bundles and tiles. It signs whatever it is
// told to, and so do its witnesses.
type fakeLog struct {
	t      testing.TB
	origin string
	trust  string // text of the trust file
	server *httptest.Server
	log    *signer
	wits   []*signer

	mu       sync.Mutex
	time     time.Time // at which witnesses sign
	leaves   [][]byte
	hashes   []tlog.Hash
	index    map[string]int64
	notes    map[string][]byte // checkpoint's text and time -> signed
	size     int64             // of the checkpoint that is handed out; 0 for all leaves
	requests []string
	answer   func(w http.ResponseWriter, r *http.Request) bool // before the honest answer
}

func newLog(t testing.TB, origin string) *fakeLog {
	t.Helper()
	l := &fakeLog{t: t, origin: origin, time: now, index: map[string]int64{}, notes: map[string][]byte{}}
	key := edKey(origin)
	vkey, err := note.NewEd25519VerifierKey(origin, key.Public().(ed25519.PublicKey))
	fatalIf(t, err)
	v, err := note.NewVerifier(vkey)
	fatalIf(t, err)
	l.log = &signer{name: origin, id: v.KeyHash(), key: key}
	l.server = httptest.NewServer(l)
	t.Cleanup(l.server.Close)
	l.trust = fmt.Sprintf("log %s %s\n", vkey, l.server.URL)
	for _, n := range []string{"W1", "W2", "W3"} {
		name := n + ".example"
		wk := edKey(name)
		wv, err := torchwood.NewCosignatureVerifierFromKey(name, wk.Public())
		fatalIf(t, err)
		l.wits = append(l.wits, &signer{name, wv.KeyHash(), wk, func() time.Time { return l.time }})
		l.trust += fmt.Sprintf("witness %s %s\n", n, wv)
	}
	l.trust += "group G 2 W1 W2 W3\nquorum G\n"
	return l
}

func (l *fakeLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = l.hashes[x]
	}
	return out, nil
}

// add appends an entry.
func (l *fakeLog) add(e *entry.Entry) {
	l.t.Helper()
	b, err := e.Marshal()
	fatalIf(l.t, err)
	l.addLeaf(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index[e.Subject.Name+"/"+e.Subject.Version] = int64(len(l.leaves)) - 1
}

func (l *fakeLog) addLeaf(b []byte) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := tlog.StoredHashes(int64(len(l.leaves)), b, l)
	fatalIf(l.t, err)
	l.hashes, l.leaves = append(l.hashes, h...), append(l.leaves, b)
}

// pad adds leaves that are no entries until there are n.
func (l *fakeLog) pad(n int, what string) {
	for i := len(l.leaves); i < n; i++ {
		l.addLeaf(fmt.Appendf(nil, "%s %d", what, i))
	}
}

// bundle makes the bundle of a leaf under the first size ones.
func (l *fakeLog) bundle(index, size int64) []byte {
	rp, err := tlog.ProveRecord(size, index, l)
	fatalIf(l.t, err)
	p := &client.Proof{Index: uint64(index), Checkpoint: l.checkpoint(size), Extra: l.leaves[index]}
	for _, h := range rp {
		p.Hashes = append(p.Hashes, h)
	}
	b, err := p.Marshal()
	fatalIf(l.t, err)
	return b
}

func (l *fakeLog) checkpoint(size int64) []byte {
	root, err := tlog.TreeHash(size, l)
	fatalIf(l.t, err)
	text := torchwood.Checkpoint{Origin: l.origin, Tree: tlog.Tree{N: size, Hash: root}}.String()
	key := text + l.time.String()
	if l.notes[key] == nil {
		signers := []note.Signer{l.log}
		for _, w := range l.wits {
			signers = append(signers, w)
		}
		l.notes[key], err = note.Sign(&note.Note{Text: text}, signers...)
		fatalIf(l.t, err)
	}
	return l.notes[key]
}

func (l *fakeLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, r.URL.Path)
	if l.answer != nil && l.answer(w, r) {
		return
	}
	if name, ok := strings.CutPrefix(r.URL.Path, "/v1/crates/"); ok {
		i, ok := l.index[name]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"reason":"not-found","message":"no entry"}`)
			return
		}
		size := l.size
		if size == 0 {
			size = int64(len(l.leaves))
		}
		w.Write(l.bundle(i, size))
		return
	}
	tile, err := torchwood.ParseTilePath(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil || tile.L < 0 {
		l.t.Errorf("a log is asked for %s", r.URL.Path)
		http.NotFound(w, r)
		return
	}
	data, err := tlog.ReadTileData(tile, l)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Write(data)
}

// asked returns how often the log was asked since the last time.
func (l *fakeLog) asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.requests)
	l.requests = nil
	return n
}

func (l *fakeLog) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// down makes the log answer nothing.
func (l *fakeLog) down() {
	l.set(func() {
		l.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
	})
}

func (l *fakeLog) up() { l.set(func() { l.answer = nil }) }

// place is a user's machine.
type place struct {
	t      testing.TB
	dir    string // cache, state, crates and zkp.toml
	policy *policy.Policy
	at     time.Time
}

func newPlace(t testing.TB, settings string, logs ...*fakeLog) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), at: now}
	p.settings(settings, logs...)
	return p
}

func (p *place) settings(settings string, logs ...*fakeLog) {
	p.t.Helper()
	var names []string
	for i, l := range logs {
		name := fmt.Sprintf("log%d.policy", i)
		fatalIf(p.t, os.WriteFile(filepath.Join(p.dir, name), []byte(l.trust), 0o600))
		names = append(names, fmt.Sprintf("%q", name))
	}
	text := "version = 1\n"
	if len(logs) > 0 {
		text += "trust = [" + strings.Join(names, ", ") + "]\n"
	}
	path := filepath.Join(p.dir, policy.FileName)
	fatalIf(p.t, os.WriteFile(path, []byte(text+settings), 0o600))
	var err error
	p.policy, err = policy.Load(path, "")
	fatalIf(p.t, err)
}

func (p *place) checker(offline bool) *Checker {
	p.t.Helper()
	c, err := New(Config{Policy: p.policy, Cache: filepath.Join(p.dir, "cache"), State: filepath.Join(p.dir, "state"), Offline: offline,
		Now: func() time.Time { return p.at }, Log: slog.New(slog.DiscardHandler)})
	fatalIf(p.t, err)
	return c
}

// want stores a .crate and returns a required Want.
func (p *place) want(name, version string, raw []byte) Want {
	p.t.Helper()
	path := filepath.Join(p.dir, name+"-"+version+".crate")
	fatalIf(p.t, os.WriteFile(path, raw, 0o600))
	return Want{Name: name, Version: version, Checksum: sha256.Sum256(raw), Path: path, Demand: required(name, version)}
}

func required(name, version string) policy.Demand {
	return policy.Demand{Package: policy.Package{Name: name, Version: version}, Status: policy.Required, Because: []string{"the test asks for it"}}
}

func (p *place) all(wants ...Want) []Verdict {
	p.t.Helper()
	return p.checker(false).All(p.t.Context(), wants, nil)
}

func (p *place) offline(wants ...Want) []Verdict {
	p.t.Helper()
	return p.checker(true).All(p.t.Context(), wants, nil)
}

// real returns the fixtures' crates with their entries, whose proofs are real.
func real(t testing.TB) (names [][2]string, raws [][]byte, entries []*entry.Entry) {
	t.Helper()
	for _, n := range [][2]string{{"hello-proof", "0.1.0"}, {"hello-proof", "0.1.1"}, {"hello-inner", "0.1.0"}} {
		b, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", n[0]+"-"+n[1]+".entry"))
		fatalIf(t, err)
		e, err := entry.Parse(b)
		fatalIf(t, err)
		names, raws, entries = append(names, n), append(raws, fixture.Crate(t, n[0], n[1])), append(entries, e)
	}
	return names, raws, entries
}

var forger = sync.OnceValues(forge.Default)

// forged returns a crate of one file with an entry whose proof verifies.
func forged(t testing.TB, name, version string) ([]byte, *entry.Entry) {
	t.Helper()
	f, err := forger()
	fatalIf(t, err)
	raw, e, err := f.Crate(name, version, "// "+name+" "+version+"\n")
	fatalIf(t, err)
	return raw, e
}

// verified checks that all verdicts are good.
func verified(t testing.TB, vs []Verdict) {
	t.Helper()
	for _, v := range vs {
		if v.Status != Verified || v.Facts == nil || v.Err != nil {
			t.Errorf("%s %s is %v: %v", v.Name, v.Version, v.Status, v.Err)
		}
	}
}

// refused checks that a verdict is bad for a reason, in words.
func refused(t testing.TB, v Verdict, s Status, slug string, words ...string) {
	t.Helper()
	e := Explain(v.Err)
	if e == nil || v.Status != s || e.Reason != slug || v.Facts != nil {
		t.Errorf("%s %s is %v, %+v: %v\nwant %v, %s", v.Name, v.Version, v.Status, e, v.Err, s, slug)
		return
	}
	for _, w := range words {
		if !strings.Contains(e.Error(), w) {
			t.Errorf("%s %s: %v\nwant ... %s ...", v.Name, v.Version, e, w)
		}
	}
}

// files lists files below a directory of the place.
func (p *place) files(below string) []string {
	p.t.Helper()
	var out []string
	fatalIf(p.t, filepath.WalkDir(filepath.Join(p.dir, below), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	}))
	slices.Sort(out)
	return out
}
