package log

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/testlog"
)

// ended is a world whose log has some crates, in version 1.0.0, and has ended.
func ended(t *testing.T, origin string, before []Predecessor, crates ...string) (*world, Predecessor) {
	t.Helper()
	w := newWorldOf(t, origin, "w."+strings.ReplaceAll(origin, "/", "."))
	w.cfg.Predecessors = before
	l := w.open()
	for _, name := range crates {
		e, c := w.good(name, "1.0.0")
		w.submit(l, e, c)
	}
	w.closeLog(l)
	w.freeze(Successor{})
	return w, Predecessor{Origin: origin, Policy: w.trust, From: w.cfg.TreeDir}
}

// other is an entry about another .crate of the same version, whose proof holds.
func (w *world) other(name, version string) (entryBytes, crateBytes []byte) {
	w.t.Helper()
	raw := testCrate(w.t, name, version, "// another "+name)
	e := testEntry(w.t, raw, name, version, 9)
	w.proofs.believe(e)
	return marshal(e), raw
}

// wantHeir submits what a log that goes on for one with an entry about alpha must take, and must not.
func (w *world) wantHeir(l *Log, where string) {
	w.t.Helper()
	e, c := w.other("alpha", "1.0.0")
	_, err := l.Submit(w.t.Context(), e, bytes.NewReader(c), nil)
	if r := wantRefusal(w.t, err, VersionConflict, where); r.Index != nil || r.Bundle != nil {
		w.t.Errorf("an index of another log is given as one of this: %d", *r.Index)
	}
	e, c = w.good("alpha", "1.0.0")
	b := w.submit(l, e, c)
	r, err := client.OpenBundle(b, l.policy, client.Rules{})
	fatalIf(w.t, err)
	if !r.First.Inherited || r.First.First != 0 {
		w.t.Errorf("the bundle says that %+v was first", r.First)
	}
}

// TestShardTwoWithAVersionOfShardOne: the version has one checksum in both, whatever becomes of the state.
func TestShardTwoWithAVersionOfShardOne(t *testing.T) {
	t.Parallel()
	one, before := ended(t, "log.test/2025", nil, "alpha", "beta")
	w := newWorld(t)
	w.cfg.Predecessors = []Predecessor{before}
	l := w.open()
	where := "entry 0 of the log log.test/2025"
	w.wantHeir(l, where)
	e, c := w.other("Beta", "1.0.0+x") // as canonical names go, the same version
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, VersionConflict, "of the log log.test/2025")
	srv := serve(t, l)
	about := decode[aboutBody](t, srv.URL+"/v1/log")
	if p := about.Predecessor; p == nil || p.Origin != "log.test/2025" || p.Size == 0 {
		t.Errorf("%+v", p)
	}
	held := w.held(l, srv.URL, "beta", "1.0.0")
	if !held.Logged || !held.Inherited {
		t.Errorf("%+v", held)
	}
	if held := w.held(l, srv.URL, "gamma", "1.0.0"); held.Logged {
		t.Errorf("%+v", held)
	}
	w.closeLog(l)

	// The log before is not needed any more, nor is the index.
	aside := one.cfg.TreeDir + ".aside"
	fatalIf(t, os.Rename(one.cfg.TreeDir, aside))
	for _, settings := range [][]Predecessor{{before}, nil} {
		w.cfg.Predecessors = settings
		l = w.open()
		w.wantHeir(l, where)
		w.closeLog(l)
		for _, suffix := range []string{"", "-wal", "-shm"} {
			os.Remove(filepath.Join(w.cfg.StateDir, indexFile+suffix))
		}
	}
	if findings := w.fsck(false); places(findings) != indexFile {
		t.Errorf("fsck without an index: %v", findings)
	}
	w.closeLog(w.open())
	if findings := w.fsck(false); len(findings) > 0 {
		t.Errorf("fsck: %v", findings)
	}

	// Without the versions there is no start, and they must be the right ones.
	file := filepath.Join(w.cfg.StateDir, estateFile)
	good := testlog.Must(os.ReadFile(file))
	bad := bytes.Clone(good)
	bad[len(bad)-50] ^= 1
	for name, b := range map[string][]byte{"missing": nil, "rotten": bad, "cut": good[:len(good)-3],
		"short": good[:len(good)-estateRow], "empty": {}} {
		if b == nil {
			fatalIf(t, os.Remove(file))
		} else {
			fatalIf(t, os.WriteFile(file, b, 0o600))
		}
		if findings := w.fsck(false); !strings.Contains(places(findings), estateFile) {
			t.Errorf("fsck with versions that are %s: %v", name, findings)
		}
		w.wantNoOpen(nil, "has not the versions that it took over")
		if name == "rotten" {
			w.wantNoOpen(nil, "has other versions than those")
		}
	}
	w.cfg.Predecessors = []Predecessor{before}
	w.wantNoOpen(nil, "no checkpoint of it is there: stat "+before.From+": no such file or directory")
	fatalIf(t, os.Rename(aside, one.cfg.TreeDir))
	w.closeLog(w.open())
	if b := testlog.Must(os.ReadFile(file)); !bytes.Equal(b, good) {
		t.Error("the versions were not read again")
	}

	// Another log is not the one with which this began.
	_, stranger := ended(t, "log.test/2024", nil, "alpha")
	w.cfg.Predecessors = []Predecessor{stranger}
	w.wantNoOpen(nil, "goes on for log.test/2025")
	w.cfg.Predecessors = nil
	w.closeLog(w.open())
}

// held asks a log what it holds of a version, as readers do.
func (w *world) held(l *Log, url, name, version string) *client.Held {
	w.t.Helper()
	raw, err := (&client.Log{URL: url}).Lookup(w.t.Context(), "", name, version)
	fatalIf(w.t, err)
	held, err := testlog.Must(client.ParseLookup(raw)).Check(l.policy, client.Rules{}, entry.DefaultRegistry, name, version)
	fatalIf(w.t, err)
	return held
}

// TestALogBeginsForAnotherOrNever: one with entries takes nothing over any more.
func TestALogBeginsForAnotherOrNever(t *testing.T) {
	t.Parallel()
	_, before := ended(t, "log.test/2025", nil, "alpha")
	w, l := openWorld(t)
	w.fill(l, "a", 1)
	w.closeLog(l)
	w.cfg.Predecessors = []Predecessor{before}
	w.wantNoOpen(nil, "does not begin with it")
}

// TestThreeShardsAreOneHistory: what the first logged has its checksum in the third.
func TestThreeShardsAreOneHistory(t *testing.T) {
	t.Parallel()
	_, first := ended(t, "log.test/2024", nil, "alpha")
	_, second := ended(t, "log.test/2025", []Predecessor{first}, "beta")
	w := newWorld(t)
	for _, all := range [][]Predecessor{{second}, {second, first}} {
		w.cfg.Predecessors = all
		w.wantNoOpen(nil, "itself: name that one")
	}
	_, stranger := ended(t, "log.test/2024", nil, "gamma")
	w.cfg.Predecessors = []Predecessor{stranger, second}
	w.wantNoOpen(nil, "it went on for the log log.test/2024 with")
	_, alone := ended(t, "log.test/2025", nil, "beta")
	w.cfg.Predecessors = []Predecessor{first, alone}
	w.wantNoOpen(nil, "it does not go on for the log log.test/2024")
	w.cfg.Predecessors = []Predecessor{first, second}
	l := w.open()
	w.wantHeir(l, "of the log log.test/2025 or one before it")
}

// TestAPredecessorThatLiesIsNotTakenOver: nothing begins with a log that goes on, or that is not what it signed.
func TestAPredecessorThatLiesIsNotTakenOver(t *testing.T) {
	t.Parallel()
	const origin = "log.test/2025"
	// lying returns a predecessor that serves what a test makes of an honest one with two entries.
	lying := func(seal func(*testlog.Tree), change func(f *client.Frozen)) (*testlog.Log, Predecessor) {
		log := testlog.New(origin, 0, nil)
		w := newWorld(t)
		for _, name := range []string{"alpha", "beta"} {
			e, _ := w.good(name, "1.0.0")
			log.Tree.Append(e)
		}
		seal(log.Tree)
		n := log.Tree.Size()
		log.ServeSigned(log.Tree, n)
		f := client.Frozen{Origin: origin, Size: n, Root: log.Tree.Root(n), Time: time.Unix(1e9, 0)}
		change(&f)
		signed := testlog.Must(note.Sign(&note.Note{Text: testlog.Must(f.Text())}, log.Key))
		log.Intercept(testlog.Answer("/frozen", 200, signed))
		srv := httptest.NewServer(log)
		t.Cleanup(srv.Close)
		return log, Predecessor{Origin: origin, Policy: log.Trust(srv.URL), From: srv.URL}
	}
	honest := func(t *testlog.Tree) { t.Seal() }
	same := func(*client.Frozen) {}
	seals := func(rules, size uint64, root byte) func(*testlog.Tree) {
		return func(tree *testlog.Tree) {
			s := &entry.Seal{Rules: rules, Size: size, Root: tree.Map(tree.Size()).Root()}
			s.Root[0] ^= root
			tree.Append(testlog.Must(s.Marshal()))
		}
	}
	w := newWorld(t)
	refused := func(p Predecessor, words string) {
		t.Helper()
		w.cfg.Predecessors = []Predecessor{p}
		w.wantNoOpen(nil, words)
	}
	_, p := lying(honest, func(f *client.Frozen) { f.Size++ })
	refused(p, "and it ended with 4")
	_, p = lying(honest, func(f *client.Frozen) { f.Root[0] ^= 1 })
	refused(p, "and it ended with 3")
	_, p = lying(func(*testlog.Tree) {}, same)
	refused(p, "does not end in a seal")
	_, p = lying(seals(entry.Rules, 1, 0), same)
	refused(p, "does not end in a seal")
	_, p = lying(seals(entry.Rules+1, 2, 0), same)
	refused(p, "knows the rules 1 only")
	_, p = lying(seals(entry.Rules, 2, 1), same)
	refused(p, "has lied")
	l, p := lying(honest, same)
	l.Intercept(func(http.ResponseWriter, *http.Request) bool { return false })
	refused(p, "it has not ended")
	l, p = lying(honest, same)
	signed := l.Sign(l.Tree, 3)
	e, _ := w.good("evil", "1.0.0")
	l.Serve(l.Tree.With(0, e), 3, signed)
	refused(p, "not those of its last checkpoint")
	_, p = lying(honest, same)
	p.Policy = testlog.New(origin, 0, nil, "other key").Trust(p.From)
	refused(p, "no valid signature of the log")
	p.Origin = "log.test/2023"
	refused(p, "is none of the log \"log.test/2023\"")

	_, p = lying(honest, same) // the same, without a lie
	w.cfg.Predecessors = []Predecessor{p}
	w.wantHeir(w.open(), "entry 0 of the log "+origin)
}

// TestAStateOfVersionsIsReadAsItWasWritten.
func TestAStateOfVersionsIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	var before, m index.Map
	for i := range 300 {
		f := index.Facts{Registry: "default", Name: fmt.Sprintf("c%d", i%70), Version: fmt.Sprintf("%d.0.0", i), SHA256: [32]byte{byte(i)}}
		before.Add(uint64(i), f)
	}
	fatalIf(t, m.Inherit(before.Snapshot()))
	dir, s := t.TempDir(), m.Snapshot()
	fatalIf(t, writeEstate(dir, s))
	if got := testlog.Must(readEstate(dir, s.Root())); got.Len() != 300 {
		t.Errorf("%d rows with the root %x", got.Len(), got.Root())
	}
}
