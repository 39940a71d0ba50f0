package web

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
	"cratelog/proofcheck"
)

const testOrigin = "example.com/crates/2026"

var testNow = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// forger is made once: it takes a moment to compute the secrets.
var forger = sync.OnceValues(forge.Default)

// world is a monitor's store that the store's own writer has filled, with a server
// over it.
type world struct {
	t         testing.TB
	store     *store.Store
	evidence  string
	cfg       Config
	logs      []store.Log
	keys      map[int64]*testlog.Key
	witnesses []*testlog.Key
	now       time.Time // of what is written next
}

// newWorld is an empty store of one log, whose only program is called to have an
// origin: that of a ceremony, or proofcheck.OriginDevelopment.
func newWorld(t testing.TB, origin string) *world {
	t.Helper()
	dir := t.TempDir()
	st := testlog.Must(store.Create(t.Context(), filepath.Join(dir, "monitor.db")))
	return worldOver(t, origin, dir, st)
}

// worldOver is a world over a store, new or not, of the one log.
func worldOver(t testing.TB, origin, dir string, st *store.Store) *world {
	t.Helper()
	t.Cleanup(func() { st.Close() })
	w := &world{t: t, store: st, evidence: dir, now: testNow, keys: make(map[int64]*testlog.Key)}
	programs := testlog.Must(proofcheck.Embedded())
	for i := range programs {
		programs[i].Origin = origin
	}
	proofs := testlog.Must(proofcheck.New(programs))
	for _, name := range []string{"amber", "basalt", "cedar"} {
		w.witnesses = append(w.witnesses, testlog.WitnessKey(name+".example/witness", testNow))
	}
	w.cfg = Config{
		Store: st.Reader, Proofs: proofs, Policies: make(map[string]*client.Policy), Evidence: dir,
		Now: func() time.Time { return testNow }, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	w.addLog(testOrigin)
	return w
}

func (w *world) addLog(origin string) store.Log {
	w.t.Helper()
	key := testlog.LogKey(origin)
	policy := "log " + key.VKey + " https://log.example.com/\n"
	for i, s := range w.witnesses {
		policy += fmt.Sprintf("witness w%d %s https://witness%d.example/\n", i, s.VKey, i)
	}
	p := testlog.Must(client.ParsePolicy([]byte(policy + "group g 2 w0 w1 w2\nquorum g\n")))
	w.cfg.Policies[origin] = p
	l := testlog.Must(w.store.AddLog(w.t.Context(), origin, []string{key.VKey}, "https://log.example.com/", w.now))
	w.keys[l.ID], w.logs = key, append(w.logs, l)
	return l
}

// row is an entry as the monitor stores it.
func row(t testing.TB, e *entry.Entry) store.Entry {
	t.Helper()
	b := testlog.Must(e.Marshal())
	id := testlog.Must(e.Identity())
	src := e.Claim.(*entry.Source)
	return store.Entry{
		LeafHash: tlog.RecordHash(b), Identity: id, Registry: e.Subject.Registry, Name: e.Subject.Name, Version: e.Subject.Version, SHA256: e.Subject.SHA256,
		Kind: src.Kind(), Commit: src.Commit, Path: src.Path, Unproven: src.Unproven, Links: len(src.Links),
		Submodules: len(src.Submodules), Outside: len(src.Outside), Workspace: src.Workspace != nil,
		Program: e.Proof.Program, Verdict: store.OK, Data: b,
	}
}

// made is an entry with a forged proof, about a crate that does not exist.
func made(t testing.TB, name, version string, change ...func(e *entry.Entry, s *entry.Source)) store.Entry {
	t.Helper()
	sum := func(what string) [32]byte { return sha256.Sum256([]byte(what + name + version)) }
	commit, files := sum("commit"), sum("files")
	files[0] &= 0x0f // below the field's order
	src := &entry.Source{Commit: [20]byte(commit[:20]), Path: "crates/" + name, Files: files, Unproven: []string{"Cargo.lock"}}
	e := &entry.Entry{Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: name, Version: version, SHA256: sum("crate")}, Claim: src}
	for _, c := range change {
		c(e, src)
	}
	f := testlog.Must(forger())
	fatalIf(t, f.Prove(e, []byte("ct")))
	return row(t, e)
}

// real is an entry of the fixtures, with a true proof.
func real(t testing.TB, name string) store.Entry {
	t.Helper()
	return row(t, fixture.Entry(t, name))
}

// append stores entries as downloaded, and the checkpoint that covers them.
func (w *world) append(log store.Log, rows ...store.Entry) {
	w.t.Helper()
	p := testlog.Must(w.store.Position(w.t.Context(), log.ID))
	for i := range rows {
		rows[i].Log, rows[i].Index = log.ID, p.Downloaded+int64(i)
		rows[i].FirstSeen, rows[i].Logged, rows[i].Covered = w.now, w.now, p.Downloaded+int64(len(rows))
	}
	fatalIf(w.t, w.store.AppendEntries(w.t.Context(), log.ID, rows))
}

// seal stores the seal of all that is downloaded.
func (w *world) seal(log store.Log) {
	w.t.Helper()
	p := testlog.Must(w.store.Position(w.t.Context(), log.ID))
	m := testlog.Must(w.store.Map(w.t.Context(), log.ID, p.Downloaded))
	b := testlog.Must((&entry.Seal{Rules: entry.Rules, Size: uint64(p.Downloaded), Root: m.Snapshot().Root()}).Marshal())
	w.append(log, store.Entry{LeafHash: tlog.RecordHash(b), Kind: store.KindSeal, Verdict: store.OK, Data: b})
}

// verify moves the verified position, and that of compared seals, to all that is downloaded.
func (w *world) verify(log store.Log) {
	w.t.Helper()
	p := testlog.Must(w.store.Position(w.t.Context(), log.ID))
	root := testlog.Must(w.store.Root(w.t.Context(), log.ID, p.Downloaded))
	fatalIf(w.t, w.store.SetVerified(w.t.Context(), log.ID, p.Downloaded, root, nil))
	m := testlog.Must(w.store.Map(w.t.Context(), log.ID, p.Downloaded))
	fatalIf(w.t, w.store.SetSealed(w.t.Context(), log.ID, p.Downloaded, m.Snapshot().Root(), -1))
}

// head stores a signed checkpoint of all that is downloaded, cosigned by the first
// so many witnesses.
func (w *world) head(log store.Log, witnesses int) {
	w.t.Helper()
	p := testlog.Must(w.store.Position(w.t.Context(), log.ID))
	root := testlog.Must(w.store.Root(w.t.Context(), log.ID, p.Downloaded))
	w.sign(log, p.Downloaded, root, store.Consistent, "log", witnesses)
}

func (w *world) sign(log store.Log, size int64, root tlog.Hash, verdict, source string, witnesses int) []byte {
	w.t.Helper()
	c := store.Checkpoint{Log: log.ID, Size: size, Root: root, Source: source, FirstSeen: w.now, LastSeen: w.now, Verdict: verdict}
	signers := []*testlog.Key{w.keys[log.ID]}
	for i, s := range w.witnesses[:witnesses] {
		at := w.now.Add(-time.Duration(i) * time.Second)
		signers = append(signers, s.At(at))
		c.Cosignatures = append(c.Cosignatures, store.Cosignature{Witness: fmt.Sprintf("w%d", i), KeyName: s.KeyName, KeyID: s.ID, Time: at})
	}
	c.Signed = testlog.Sign(testlog.Head(log.Origin, size, root), signers...)
	_, _, err := w.store.PutCheckpoint(w.t.Context(), c, func(signed []byte) (bool, time.Time) {
		got, err := w.cfg.Policies[log.Origin].CheckCheckpoint(signed)
		return err == nil, got.Witnessed
	})
	fatalIf(w.t, err)
	return c.Signed
}

func (w *world) view(log store.Log, witness int, size int64, problem string) {
	w.t.Helper()
	v := store.View{Log: log.ID, Source: fmt.Sprintf("witness w%d", witness), URL: "https://witness.example/", Size: size,
		Cosigned: w.now.Add(-2 * time.Minute), Tried: w.now, Seen: w.now.Add(-time.Minute), Changed: w.now, Error: problem}
	if problem != "" {
		v.Tried = w.now.Add(-4 * time.Minute)
		v.Seen, v.Cosigned, v.Failing = w.now.Add(-3*time.Hour), w.now.Add(-3*time.Hour), w.now.Add(-3*time.Hour)
	}
	fatalIf(w.t, w.store.PutView(w.t.Context(), v))
}

func (w *world) find(f store.Finding, evidence []byte) store.Finding {
	w.t.Helper()
	f.FirstSeen = w.now
	if evidence != nil {
		sum := sha256.Sum256(evidence)
		f.Evidence = hex.EncodeToString(sum[:])
		fatalIf(w.t, os.WriteFile(filepath.Join(w.evidence, f.Evidence+evidenceSuffix), evidence, 0o644))
	}
	got, _, err := w.store.RecordFinding(w.t.Context(), f, nil)
	fatalIf(w.t, err)
	return got
}

// served is a server that a test asks.
type served struct {
	*Server
	t testing.TB
}

func (w *world) server() served { return served{testlog.Must(New(w.cfg)), w.t} }

// weeks is the database of a healthy world, made once for all tests.
var weeks struct {
	sync.Once
	db []byte
}

// healthy is a world of some weeks in which nothing went wrong.
func healthy(t testing.TB, origin string) *world {
	t.Helper()
	weeks.Do(func() {
		w := newWorld(t, origin)
		w.fillWeeks()
		fatalIf(t, w.store.Close())
		weeks.db = testlog.Must(os.ReadFile(w.store.Path()))
	})
	dir := t.TempDir()
	path := filepath.Join(dir, "monitor.db")
	fatalIf(t, os.WriteFile(path, weeks.db, 0o600))
	st := testlog.Must(store.Open(t.Context(), path))
	w := worldOver(t, origin, dir, st)
	w.cfg.Repositories = map[string]string{"fjord": "https://git.example.com/nordic/fjord.git"}
	return w
}

// damage changes the database behind the store's back.
func (w *world) damage(statement string) {
	w.t.Helper()
	db := testlog.Must(sql.Open("sqlite", w.store.Path()))
	_, err := db.Exec(statement)
	fatalIf(w.t, errors.Join(err, db.Close()))
}

// fillWeeks writes some weeks of a log's life.
func (w *world) fillWeeks() {
	t := w.t
	log := w.logs[0]
	w.now = testNow.Add(-24 * 24 * time.Hour)
	w.append(log, real(t, "hello-proof-0.1.0"), real(t, "hello-inner-0.1.0"), real(t, "hello-proof-0.1.1"))
	names := []string{"amber-core", "bramble", "copper_io", "delta", "ember", "fjord", "granite", "harbor", "iris", "juniper", "kelp-derive"}
	for i := range 45 {
		w.now = testNow.Add(-24*24*time.Hour + time.Duration(i*i*17)*time.Minute)
		var rows []store.Entry
		for j := range 1 + i%3 {
			n := names[(i+j*5)%len(names)]
			rows = append(rows, made(t, n, fmt.Sprintf("%d.%d.%d", i/20, i/4, i), func(e *entry.Entry, s *entry.Source) {
				if i%4 == 0 {
					s.Unproven = nil
				}
			}))
		}
		w.append(log, rows...)
		w.head(log, 2+i%2)
		w.verify(log)
	}
	w.now = testNow.Add(-3 * time.Minute)
	w.append(log, made(t, "ember", "2.4.0"), made(t, "fjord", "1.12.1", func(_ *entry.Entry, s *entry.Source) {
		s.Links = []entry.Link{{Path: "crates/fjord/README.md", Target: "../../README.md"}}
		s.Workspace = &entry.Workspace{Path: "", Manifest: []byte("[workspace]\nmembers = [\"crates/*\"]\n")}
	}))
	w.seal(log) // of the others, tests want nothing
	w.head(log, 3)
	w.verify(log)
	w.now = testNow
	p := testlog.Must(w.store.Position(t.Context(), log.ID))
	for i := range 3 {
		w.view(log, i, p.Downloaded, "")
	}
}

const hostile = `"><script>alert('1')</script><img src=evil.png onerror=alert(2)>&amp;` + "\u202e"

// troubled is healthy with everything that can go wrong, and with hostile values
// wherever an attacker can write one.
func troubled(t testing.TB) *world {
	w := healthy(t, proofcheck.OriginDevelopment)
	log := w.logs[0]
	garbage := store.Entry{LeafHash: tlog.RecordHash([]byte(hostile)), Data: []byte(hostile),
		Verdict: store.Bad, Reason: "malformed-entry", Detail: "no CBOR " + hostile}
	lie := made(t, "delta", "9.9.9")
	lie.Verdict, lie.Reason, lie.Detail = store.Bad, "false-entry", "proof does not hold"
	twice := made(t, "ember", "2.4.0", func(e *entry.Entry, s *entry.Source) { e.Subject.SHA256 = [32]byte{9} })
	nasty := made(t, "nasty", "1.0.0-x.json", func(e *entry.Entry, s *entry.Source) {
		s.Path, s.Unproven = "=HYPERLINK("+hostile+")", []string{hostile}
		s.Links = []entry.Link{{Path: "l", Target: hostile}}
		s.Submodules, s.Outside, s.CRLF = []string{hostile}, []string{hostile}, []string{hostile}
	})
	w.append(log, garbage, lie, twice, nasty)
	w.seal(log)
	w.head(log, 1)
	w.verify(log)
	at := testlog.Must(w.store.Position(t.Context(), log.ID)).Verified - 2 // of nasty
	fatalIf(t, w.store.PutVoids(t.Context(), []store.Void{{Log: log.ID, Index: at - 1, First: 93, SHA256: made(t, "ember", "2.4.0").SHA256}}))
	fatalIf(t, w.store.PutCrate(t.Context(), store.Crate{Log: log.ID, Index: at, Repository: "javascript:alert(3)//" + hostile}))
	fatalIf(t, w.store.PutOpening(t.Context(), store.Opening{Log: log.ID, Index: at, State: store.OpeningUnusable, Since: w.now,
		NextTry: w.now, Why: hostile}))
	w.append(log, made(t, "granite", "7.0.0"))
	p := testlog.Must(w.store.Position(t.Context(), log.ID))
	note := w.sign(log, p.Verified, tlog.Hash{1, 2, 3}, store.Inconsistent, "gossip", 2)
	w.sign(log, p.Downloaded+900, tlog.Hash{4}, store.Pending, "witness w1", 1)
	w.view(log, 1, 60, "https://w1.example/0a/checkpoint does not answer: connection refused "+hostile)
	w.find(store.Finding{Key: "fork", Log: log.ID, Kind: "fork-same-size", Class: store.Security, Index: -1,
		Summary: fmt.Sprintf("The log signed two different trees of %d entries.", p.Verified)},
		append([]byte("cratelog/evidence/v2\nkind fork-same-size\n\n"), note...))
	w.find(store.Finding{Key: "false", Log: log.ID, Kind: "false-entry", Class: store.Security, Index: p.Verified - 4,
		Summary: "The proof of entry 97 does not hold " + hostile, Detail: hostile, Name: "delta", Version: "9.9.9"},
		[]byte{0, 1, 2, 0xff})
	w.find(store.Finding{Key: "witness", Log: log.ID, Kind: "witness-unreachable", Class: store.Operational, Index: -1,
		Summary: "Witness w1 has not answered for 3 hours."}, nil)
	fatalIf(t, w.store.PutView(t.Context(), store.View{Log: log.ID, Source: "mirror https://mirror.example/",
		URL: "https://mirror.example/", Size: 90, Seen: w.now, Error: hostile}))
	f := w.find(store.Finding{Key: "watch", Log: log.ID, Kind: "new-version", Class: store.Info, Index: 5,
		Summary: "A new version of ember was logged.", Name: "ember"}, nil)
	fatalIf(t, w.store.Acknowledge(t.Context(), f.ID, "someone "+hostile, "it is mine "+hostile, w.now))
	return w
}

// answer is what a server said.
type answer struct {
	code   int
	header http.Header
	body   string

	elements []element // of a page that was crawled
	text     string
}

func (s served) get(path string) answer { return s.ask(httptest.NewRequest(http.MethodGet, path, nil)) }

func (s served) ask(r *http.Request) answer {
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	return answer{code: rec.Code, header: rec.Header(), body: rec.Body.String()}
}

func (s served) must(path string) answer {
	s.t.Helper()
	a := s.get(path)
	if a.code != http.StatusOK {
		s.t.Fatalf("GET %s: %d %s", path, a.code, strings.TrimSpace(a.body))
	}
	return a
}

// wants demands the code of an answer, and words in it.
func (s served) wants(a answer, code int, words string) {
	s.t.Helper()
	if a.code != code || !strings.Contains(a.body, words) {
		s.t.Errorf("%d %s, want %d with %q", a.code, a.body, code, words)
	}
}

// read is must of JSON.
func read[T any](s served, path string) T {
	s.t.Helper()
	return decode[T](s.t, s.must(path))
}

func operational(kind string) store.Finding {
	return store.Finding{Key: kind, Log: 1, Kind: kind, Class: store.Operational, Index: -1, Summary: "The log has not answered for an hour."}
}
