package log

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/build"
	"cratelog/client"
	"cratelog/config"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
	"cratelog/witness"
)

const testOrigin = "log.test/2026"

var (
	testProgram  = proofcheck.Program{System: "test", Claim: proofcheck.ClaimSource, Origin: proofcheck.OriginDevelopment}
	otherProgram = proofcheck.Program{System: "other", Claim: proofcheck.ClaimSource, Origin: proofcheck.OriginDevelopment}
)

// world is a log's surroundings: keys, directories, three witnesses, and a
// proof verifier that believes what a test tells it.
type world struct {
	t         *testing.T
	cfg       Config
	trust     []byte // the log's own trust file; cfg.Policy may name other logs too
	witnesses []*cosigner
	proofs    *toldProofs
}

func newWorld(t *testing.T) *world { return newWorldOf(t, testOrigin, "witness.test") }

// newWorldOf is a world of a log with an origin and of witnesses with names of their own.
func newWorldOf(t *testing.T, origin, witnesses string) *world {
	t.Helper()
	key := testlog.LogKey(origin, rand.Text())
	w := &world{t: t, proofs: &toldProofs{believed: make(map[proven][]byte), programs: []proofcheck.Program{testProgram}}}
	policy := "log " + key.VKey + "\n"
	for i := range 3 {
		c := newCosigner(t, fmt.Sprintf("%s/%d", witnesses, i), key.VKey)
		w.witnesses = append(w.witnesses, c)
		policy += fmt.Sprintf("witness w%d %s %s\n", i, c.signer.VKey, c.server.URL)
	}
	policy += "group g 2 w0 w1 w2\nquorum g\n"
	w.trust = []byte(policy)
	dir := t.TempDir()
	w.cfg = Config{
		Origin: origin, Signer: key, VKey: key.VKey,
		TreeDir: filepath.Join(dir, "tree"), StateDir: filepath.Join(dir, "state"),
		Policy: []byte(policy), Proofs: w.proofs, Development: true,
		Timing: Timing{CheckpointInterval: config.Duration{Duration: 100 * time.Millisecond},
			BatchAge:    config.Duration{Duration: 5 * time.Millisecond},
			PublishWait: config.Duration{Duration: time.Minute}}, // a machine may be busy
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	return w
}

// openWorld is a world with its log open.
func openWorld(t *testing.T) (*world, *Log) {
	t.Helper()
	w := newWorld(t)
	return w, w.open()
}

func (w *world) open() *Log {
	w.t.Helper()
	l, err := Open(w.t.Context(), w.cfg)
	fatalIf(w.t, err)
	w.t.Cleanup(func() { w.closeLog(l) })
	return l
}

func (w *world) closeLog(l *Log) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		w.t.Errorf("Close: %v", err)
	}
}

// toldProofs accepts exactly the identities, programs and proofs that a test names.
type toldProofs struct {
	mu       sync.Mutex
	believed map[proven][]byte
	programs []proofcheck.Program
	checking func() // if not nil, called by each check
}

func (p *toldProofs) Chain(e *entry.Entry) (entry.Chain, error) {
	return testlog.ChainOf(e, p.check(e))
}

func (p *toldProofs) check(e *entry.Entry) error {
	id, err := e.Identity()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.checking != nil {
		p.checking()
	}
	if e.Proof.Program != build.NamedProgram && !slices.ContainsFunc(p.programs, func(q proofcheck.Program) bool { return q.ID() == e.Proof.Program }) {
		return entry.ErrUnknownProgram
	}
	if e.Proof.Program == build.NamedProgram {
		_, err := build.VerifyNamed(e)
		return err
	}
	told := p.believed[proven{id, e.Proof.Program}]
	if told == nil || len(e.Proof.Parts) != 1 || !bytes.Equal(told, e.Proof.Parts[0]) {
		return errors.New("the verifier was not told of this proof")
	}
	return nil
}

func (p *toldProofs) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	return testlog.Chains(p, entries)
}

func (p *toldProofs) Programs() []proofcheck.Program { return p.programs }

func (p *toldProofs) believe(e *entry.Entry) {
	id, err := e.Identity()
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.believed[proven{id, e.Proof.Program}] = e.Proof.Parts[0]
}

// testCrate builds a .crate of three files.
func testCrate(t *testing.T, name, version, body string) []byte {
	t.Helper()
	return testlog.Must(forge.Pack(name, version, forge.Manifest(name, version),
		forge.File{Path: "README.md", Content: "# " + name + "\n"}, forge.File{Path: "src/lib.rs", Content: body}))
}

// testEntry is an entry about a .crate that is true except for its proof.
func testEntry(t *testing.T, raw []byte, name, version string, commit byte) *entry.Entry {
	t.Helper()
	e := testlog.Must(forge.Claim(raw, name, version, &entry.Source{Commit: [20]byte{commit}, Path: "crates/" + name}))
	e.Proof = entry.Proof{Program: testProgram.ID(), Parts: [][]byte{{1, 2, 3, 4}}}
	return e
}

func marshal(e *entry.Entry) []byte { return testlog.Must(e.Marshal()) }

// good returns an entry that the log must accept, and its .crate.
func (w *world) good(name, version string) (entryBytes, crateBytes []byte) {
	w.t.Helper()
	raw := testCrate(w.t, name, version, "// "+name)
	e := testEntry(w.t, raw, name, version, 1)
	w.proofs.believe(e)
	return marshal(e), raw
}

// submit submits what must be accepted, and checks the bundle.
func (w *world) submit(l *Log, entryBytes, crateBytes []byte) []byte {
	w.t.Helper()
	b, err := l.Submit(w.t.Context(), entryBytes, bytes.NewReader(crateBytes), nil)
	fatalIf(w.t, err)
	w.checkBundle(b, entryBytes)
	return b
}

// checkBundle lets torchwood, which is not our code, verify a bundle.
func (w *world) checkBundle(bundle, entryBytes []byte) {
	w.t.Helper()
	policy := testlog.Must(torchwood.ParsePolicy(w.trust))
	if err := torchwood.VerifyProof(policy, tlog.RecordHash(entryBytes), bundle); err != nil {
		w.t.Errorf("torchwood does not accept the bundle: %v", err)
	}
	if b := testlog.Must(client.ParseBundle(bundle)); !bytes.Equal(b.Entry, entryBytes) {
		w.t.Error("the bundle carries another entry")
	}
}

// cosigner is the smallest witness of c2sp.org/tlog-witness that is honest.
// It is a fake with teeth: a checkpoint that does not extend the last one
// fails the test, unless the test expects it.
type cosigner struct {
	t      *testing.T
	server *httptest.Server
	signer *testlog.Key
	logKey note.Verifier

	mu      sync.Mutex
	tree    tlog.Tree
	down    bool
	refused int
	instead http.HandlerFunc                        // answers instead of the honest witness
	mangle  func(head string, answer []byte) []byte // changes what it answers; may wait
	signed  []byte                                  // the checkpoint cosigned last, as the log signed it
	hides   bool                                    // it shows no checkpoint, as some witnesses do
}

func newCosigner(t *testing.T, name, logVKey string) *cosigner {
	t.Helper()
	c := &cosigner{t: t, signer: testlog.WitnessKey(name, time.Time{})}
	c.signer.Time = time.Now
	c.logKey = testlog.Must(note.NewVerifier(logVKey))
	c.server = httptest.NewServer(c)
	t.Cleanup(c.server.Close)
	return c
}

func (c *cosigner) setDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

func (c *cosigner) answer(h http.HandlerFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.instead = h
}

func (c *cosigner) mangles(f func(head string, answer []byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mangle = f
}

func (c *cosigner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	instead := c.instead
	c.mu.Unlock()
	if instead != nil {
		instead(w, r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		http.Error(w, "down", http.StatusBadGateway)
		return
	}
	if r.Method == http.MethodGet && !c.hides && c.signed != nil {
		w.Write(c.signed)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != "/add-checkpoint" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	req, err := witness.ParseRequest(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, signed, _ := strings.Cut(string(body), "\n\n")
	n, err := note.Open([]byte(signed), note.VerifierList(c.logKey))
	if err != nil {
		http.Error(w, "not the log's", http.StatusForbidden)
		return
	}
	if req.Old != c.tree.N {
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintf(w, "%d\n", c.tree.N)
		return
	}
	if err := c.extends(req.Checkpoint.Tree, req.Proof); err != nil {
		c.refused++
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	c.tree, c.signed = req.Checkpoint.Tree, []byte(signed)
	lines := testlog.Sign(n.Text, c.signer)[len(n.Text)+1:]
	if c.mangle != nil {
		lines = c.mangle(n.Text, lines)
	}
	w.Write(lines)
}

func (c *cosigner) extends(next tlog.Tree, proof tlog.TreeProof) error {
	if c.tree.N == 0 || next == c.tree {
		return nil
	}
	return tlog.CheckTree(proof, next.N, next.Hash, c.tree.N, c.tree.Hash)
}

// wantRefusal checks the reason and that the message has the words.
func wantRefusal(t *testing.T, err error, reason Reason, words string) *Refusal {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal: %s", err, reason)
	}
	if r.Reason != reason || !strings.Contains(r.Message, words) {
		t.Errorf("got %s: %s\nwant %s: ... %s ...", r.Reason, r.Message, reason, words)
	}
	return r
}

// encodeForm encodes a multipart body of named parts.
func encodeForm(t *testing.T, parts ...[2]string) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for _, p := range parts {
		pw := testlog.Must(m.CreateFormFile(p[0], p[0]))
		testlog.Must(pw.Write([]byte(p[1])))
	}
	fatalIf(t, m.Close())
	return m.FormDataContentType(), b.Bytes()
}

// get reads an address and returns status, header and body.
func get(t *testing.T, url string) (int, http.Header, []byte) {
	t.Helper()
	resp := testlog.Must(http.Get(url))
	defer resp.Body.Close()
	b := testlog.Must(io.ReadAll(resp.Body))
	return resp.StatusCode, resp.Header, b
}

func decodeRefusal(t *testing.T, b []byte) refusalBody {
	t.Helper()
	var r refusalBody
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("not the JSON of a refusal: %v: %q", err, b)
	}
	return r
}

// eventually waits for something that another goroutine brings about.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
