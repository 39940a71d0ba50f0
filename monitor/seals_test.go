package monitor

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/index"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

// liars are logs whose index is not what their leaves make, from the 301st leaf on.
var liars = []struct {
	name string
	do   func(w *world)
	want []string
}{
	{"an entry left out", func(w *world) {
		w.log.Tree.Omit(7)
	}, []string{kindIndexOmission, kindIndexOmission}}, // its version, and itself
	{"a builder's word left out", func(w *world) {
		w.log.Add(ann.says(rebuilders, 7, 1))
		w.clean(302)
		w.log.Tree.Omit(300)
	}, []string{kindIndexOmission, kindIndexOmission}}, // the version has an earlier entry
	{"a version whose first entry is hidden by a later one", func(w *world) {
		w.logs(7, func(e *entry.Entry) { e.Subject.SHA256[0]++ })
		w.log.Tree.Omit(7)
	}, []string{kindIndexOmission, kindIndexOmission, kindVoid}},
	{"a checksum that no entry gives", func(w *world) {
		w.log.Tree.Phantom(version("crate-7", index.Version{SHA256: [32]byte{1}, First: 7}))
	}, []string{kindIndexPhantom}},
	{"a version that no entry is about", func(w *world) {
		w.log.Tree.Phantom(version("nobody", index.Version{SHA256: [32]byte{1}, First: 8}))
	}, []string{kindIndexPhantom}},
	{"a version of an entry that is not there yet", func(w *world) {
		w.log.Tree.Phantom(version("nobody", index.Version{SHA256: [32]byte{1}, First: 1000}))
	}, []string{kindIndexPhantom}},
	{"a version of a log before that there was not", func(w *world) {
		w.log.Tree.Phantom(version("nobody", index.Version{SHA256: [32]byte{1}, First: 1, Inherited: true}))
	}, []string{kindIndexPhantom}},
	{"a row of no form", func(w *world) {
		w.log.Tree.Phantom(index.Row{Key: index.Key{77}, Value: bytes.Repeat([]byte{255}, 9)})
	}, []string{kindIndexPhantom}},
	{"many lies", func(w *world) {
		for i := range int64(40) {
			w.log.Tree.Omit(3 * i)
		}
	}, []string{kindIndexOmission}},
}

func version(name string, v index.Version) index.Row {
	return index.Row{Key: index.VersionKey(entry.DefaultRegistry, name, "1.0.0"), Value: v.Marshal()}
}

// TestWhatAnIndexHidesIsFoundInIt, however small its pages are, and convicts the log without a replay.
func TestWhatAnIndexHidesIsFoundInIt(t *testing.T) {
	for _, x := range liars {
		for _, rows := range []int{0, 3} {
			t.Run(fmt.Sprintf("%s, %d", x.name, rows), func(t *testing.T) {
				w := verifiedWorld(t, 300)
				w.log.PageRows = rows
				x.do(w)
				w.grow(10)
				w.once()
				if x.name == "many lies" {
					got := 0
					for _, f := range w.findings() {
						if f.Kind == kindIndexOmission {
							got++
							w.checkEvidence(f)
						}
					}
					if got == 0 || got > maxDifferences {
						t.Errorf("%d of many lies are found", got)
					}
					return
				}
				want := append(slices.Clone(x.want), kindSealMismatch)
				if rows > 0 && len(w.findings()) < len(want) { // the first page that differs may have one of two rows
					want = slices.Delete(want, 0, 1)
				}
				for _, f := range w.found(want...) {
					if f.Kind == kindSealMismatch && !strings.Contains(f.Detail, shown) {
						t.Errorf("%s", f.Detail)
					}
					if (f.Kind == kindIndexOmission || f.Kind == kindIndexPhantom) && f.Evidence == "" {
						t.Errorf("%+v", f)
					}
				}
			})
		}
	}
}

// TestWhatNewerVersionsMayKnowIsAFindingWithoutEvidence, and ends no monitor.
func TestWhatNewerVersionsMayKnowIsAFindingWithoutEvidence(t *testing.T) {
	w := verifiedWorld(t, 300)
	w.log.Add(bytes.Replace(newEntry(w.t, 1000, nil), []byte("\x66source\x02\x02"), []byte("\x66source\x02\x03"), 1))
	w.log.Tree.Phantom(version("nobody", index.Version{SHA256: [32]byte{1}, First: 300}))
	w.grow(10)
	w.looks(312, 1)
	kinds := make(map[string]store.Finding)
	for _, f := range w.findings() {
		kinds[f.Kind] = f
	}
	if f := kinds[kindIndexPhantom]; len(kinds) != 3 || f.Index != 300 || f.Evidence != "" || !strings.Contains(f.Detail, "No evidence file") {
		t.Errorf("%+v", kinds)
	}
}

// TestAfterAWrongSealTheOwnMapGoesOn: each is compared, and a second time of lies is a second finding.
func TestAfterAWrongSealTheOwnMapGoesOn(t *testing.T) {
	w := verifiedWorld(t, 300)
	lie := func() int64 {
		w.append(5)
		w.log.Tree.SealAs(index.Hash{1})
		w.log.Publish()
		w.once()
		return w.log.Tree.Size() - 1
	}
	first := lie()
	lie()
	found := w.found(kindSealMismatch)
	f := found[0]
	for _, words := range []string{fmt.Sprintf("at entry %d ", first), fmt.Sprintf("%x", index.Hash{1}), fmt.Sprintf("%x", w.log.Tree.Map(first).Root()),
		"did not show it"} {
		if !strings.Contains(f.Summary+f.Detail, words) {
			t.Errorf("no %q in %s %s", words, f.Summary, f.Detail)
		}
	}
	if f.Index != first || f.Evidence != "" || len(w.m.Sealed(origin)) != 0 {
		t.Errorf("%+v", f)
	}
	w.grow(10)
	w.looks(w.log.Tree.Size(), 1)
	if p := w.position(); p.WrongSeal != -1 || p.Sealed != w.log.Tree.Size() {
		t.Errorf("%+v", p)
	}
	if s := w.m.Sealed(origin); len(s) != 1 || s[0].Size != w.log.Tree.Size() || s[0].Map.Root() != w.log.Tree.Map(s[0].Size-1).Root() {
		t.Errorf("%+v", s)
	}
	lie()
	w.found(kindSealMismatch, kindSealMismatch)
}

// TestALogThatRefusesOrMendsIsAccusedOfTheSealAlone: a log shows the difference, or it refuses.
func TestALogThatRefusesOrMendsIsAccusedOfTheSealAlone(t *testing.T) {
	for name, x := range map[string]struct {
		answer func(rw http.ResponseWriter, r *http.Request) bool
		words  string
	}{
		"it refuses":             {testlog.Answer("/v1/index", http.StatusForbidden, nil), "did not show it"},
		"it has none":            {testlog.Answer("/v1/index", http.StatusNotFound, nil), "did not show it"},
		"it says junk":           {testlog.Answer("/v1/index", http.StatusOK, []byte("<html>")), "did not show it"},
		"it always has too much": {testlog.Answer("/v1/index", http.StatusRequestEntityTooLarge, []byte(`{"reason":"too-many-rows","message":"no"}`)), "did not show it"},
	} {
		t.Run(name, func(t *testing.T) {
			w := verifiedWorld(t, 300)
			w.log.Tree.Omit(7)
			w.log.Intercept(x.answer)
			w.grow(10)
			if f := w.found(kindSealMismatch)[0]; !strings.Contains(f.Detail, x.words) {
				t.Error(f.Detail)
			}
			// It is asked again, and now it answers.
			w.log.Intercept(nil)
			w.later(11 * time.Minute)
			w.log.Publish()
			w.found(kindSealMismatch, kindIndexOmission, kindIndexOmission)
		})
	}
	t.Run("its index is right again", func(t *testing.T) {
		w := verifiedWorld(t, 300)
		w.append(5)
		w.log.Tree.SealAs(index.Hash{1})
		signed := w.log.Sign(w.log.Tree, w.log.Tree.Size(), w.log.Witnesses...)
		w.log.Serve(w.log.Tree, w.log.Tree.Size(), signed)
		size := w.log.Tree.Size()
		right := w.log.Tree.Fork(size)
		w.fill(right, 500, 3, nil)
		right.Seal()
		w.log.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/v1/index") { // as of what it publishes in this moment
				w.log.Tree = right
				w.log.Intercept(nil)
				w.log.ServeSigned(right, right.Size(), w.log.Witnesses...)
				w.log.ServeHTTP(rw, r)
				return true
			}
			return false
		})
		w.once()
		if p := w.position(); p.Sealed != right.Size() || p.WrongSeal != -1 {
			t.Errorf("%+v", p)
		}
		if all := w.findings(); len(all) != 1 || all[0].Kind != kindSealMismatch || !strings.Contains(all[0].Detail, "right again") {
			t.Errorf("%+v", all)
		}
	})
}

// TestAnUnsealedCheckpointConvictsTheLog, once, whoever cosigned it and whoever shows it.
func TestAnUnsealedCheckpointConvictsTheLog(t *testing.T) {
	w := verifiedWorld(t, 300)
	w.append(3)
	w.log.ServeSigned(w.log.Tree, 303, w.log.Witnesses...)
	w.looks(303, 1)
	w.log.Tree.Seal()
	w.gossip(w.log.Sign(w.log.Tree, 302), store.Consistent)
	w.log.Publish()
	f := w.found(kindUnsealed)[0]
	if f.Evidence == "" || !strings.Contains(f.Summary, "303 entries") {
		t.Errorf("%+v", f)
	}
	if s := w.m.Sealed(origin); len(s) != 1 || s[0].Size != 304 {
		t.Errorf("%+v", s)
	}
}

// TestVoidSealsAndStartsSayNothing, whatever they say.
func TestVoidSealsAndStartsSayNothing(t *testing.T) {
	w := verifiedWorld(t, 300)
	seal := testlog.Must((&entry.Seal{Rules: 1, Size: 299, Root: [32]byte{9}}).Marshal())
	start := testlog.Must((&entry.Start{Origin: "log.example/none", Rules: 9}).Marshal())
	w.log.Add(seal, newEntry(t, 500, nil), seal, start)
	w.clean(305)
	w.found()
	n := testlog.Must(w.cfg.Store.CountLeaves(t.Context(), 1))
	if n != (store.LeafCount{Seals: 3, VoidSeals: 2}) {
		t.Errorf("%+v", n)
	}
	// A checkpoint that ends in one is not sealed.
	w.log.Tree.Append(seal)
	w.log.ServeSigned(w.log.Tree, 306, w.log.Witnesses...)
	w.found(kindUnsealed)
}

// TestSealsOfOtherRulesWantAnUpdate, and accuse nobody.
func TestSealsOfOtherRulesWantAnUpdate(t *testing.T) {
	w := verifiedWorld(t, 300)
	w.append(3)
	w.log.Tree.Append(testlog.Must((&entry.Seal{Rules: 2, Size: 303, Root: [32]byte{9}}).Marshal()))
	w.log.Publish()
	w.looks(304, 3)
	if f := w.found(kindUnknownRules)[0]; !strings.Contains(f.Summary, "it must be updated") {
		t.Errorf("%+v", f)
	}
	w.grow(10)
	w.clean(314)
	// Whoever has written one seal so is compared all the same.
	w.log.Tree.Omit(7)
	w.grow(10)
	w.found(kindUnknownRules, kindSealMismatch, kindIndexOmission, kindIndexOmission)
}

// TestAVoidEntryNamesBothChecksums, and reaches whoever watches the crate, though any release was announced.
func TestAVoidEntryNamesBothChecksums(t *testing.T) {
	w := verifiedWorld(t, 300)
	ctx := t.Context()
	testlog.Must(w.cfg.Store.AddWatch(ctx, store.Watch{Kind: store.WatchCrate, Value: "crate-7"}))
	testlog.Must(w.cfg.Store.Authorize(ctx, store.Authorization{Name: "crate_7", Version: "1.0.0+x"}))
	w.logs(7, func(e *entry.Entry) {
		e.Subject.Name, e.Subject.Version, e.Subject.SHA256[0] = "crate_7", "1.0.0+x", e.Subject.SHA256[0]+1
	})
	found := w.found(kindVoid, kindWatch)
	for _, f := range found {
		e := testlog.Must(entry.Parse(w.log.Tree.Leaves[7]))
		for _, words := range []string{"Entry 300 ", "is void", fmt.Sprintf("By entry 7, which was first, it has %x", e.Subject.SHA256)} {
			if !strings.Contains(f.Summary+" "+f.Detail, words) {
				t.Errorf("no %q in %s %s", words, f.Summary, f.Detail)
			}
		}
		if f.Class != store.Info || f.Index != 300 || f.Evidence != "" {
			t.Errorf("%+v", f)
		}
	}
	v, ok, err := w.cfg.Store.Void(ctx, 1, 300)
	if err != nil || !ok || v.First != 7 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, ok, _ := w.cfg.Store.Void(ctx, 1, 7); ok {
		t.Error("the first is void")
	}
}

// damage changes the database behind the store's back.
func (w *world) damage(statement string) {
	w.t.Helper()
	db := testlog.Must(sql.Open("sqlite", w.cfg.Store.Path()))
	_, err := db.Exec(statement)
	fatalIf(w.t, errors.Join(err, db.Close()))
}

// TestTheMapIsMadeAgainAtTheStart: out of rows, if they give what they gave before, else of the entries' own bytes.
func TestTheMapIsMadeAgainAtTheStart(t *testing.T) {
	w := verifiedWorld(t, 300)
	w.log.Add(ann.says(rebuilders, 7, 1))
	w.clean(302)
	root := w.m.Sealed(origin)[0].Map.Root()
	w.open()
	w.grow(10)
	w.clean(312)
	for i, statement := range []string{"UPDATE entries SET sha256 = zeroblob(32) WHERE idx = 9",
		"UPDATE entries SET sha256 = zeroblob(32) WHERE idx = 0",
		"UPDATE entries SET sha256 = (SELECT sha256 FROM entries WHERE idx = 9) WHERE idx = 8", "UPDATE builds SET target = 'x'"} {
		w.damage(statement)
		w.open()
		w.grow(10)
		s := w.looks(312+10*int64(i+1), 3)
		if len(s.Trouble) != 1 || !strings.Contains(s.Trouble[0], "rows do not give the map") {
			t.Errorf("%s: %+v", statement, s)
		}
	}
	w.noAttack()
	if s := w.m.Sealed(origin); len(s) != 1 || s[0].Map.Root() == root {
		t.Errorf("%+v", s)
	}
	// What the tree does not have either is no memory.
	w.damage("UPDATE entries SET data = (SELECT data FROM entries WHERE idx = 5) WHERE idx = 4")
	w.open()
	w.grow(10)
	if _, err := w.m.Once(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v", err)
	}
}

// shards is a world whose log has ended, and a second one that goes on for it.
func shards(t *testing.T, change func(s *entry.Start)) (w *world, next *testlog.Log) {
	w = verifiedWorld(t, 300)
	next = testlog.New("log.example/next", 1, w.clock)
	server := httptest.NewServer(next)
	t.Cleanup(server.Close)
	next.Tree.Continue(origin, w.log.Tree, 300, change)
	next.Publish()
	w.cfg.Logs = append(w.cfg.Logs, followed(next, server.URL))
	w.open()
	return w, next
}

// TestAShardHasTheVersionsOfItsPredecessor: another checksum for one is void in it, and its seals are judged.
func TestAShardHasTheVersionsOfItsPredecessor(t *testing.T) {
	w, next := shards(t, nil)
	w.fill(next.Tree, 7, 1, func(e *entry.Entry) { e.Subject.SHA256[0]++ })
	w.fill(next.Tree, 8, 1, nil)
	w.fill(next.Tree, 500, 20, nil)
	next.Publish()
	s := w.once()
	if s.Logs[1].Verified != next.Tree.Size() || s.Security != 0 || s.ExitCode() != 0 {
		t.Fatalf("%+v", s)
	}
	if all := w.findings(); len(all) != 1 || all[0].Kind != kindVoid || !strings.Contains(all[0].Detail, "By entry 7 of the log before it") {
		t.Fatalf("%+v", all)
	}
	v, ok, err := w.cfg.Store.Void(t.Context(), 2, 2)
	if err != nil || !ok || v.First != -1 {
		t.Errorf("%+v, %v, %v", v, ok, err)
	}
	w.open()
	w.once()
	if s := w.m.Sealed(next.KeyName); len(s) != 1 || s[0].Size != next.Tree.Size() {
		t.Errorf("after a restart: %+v", s)
	}
}

// TestAStartIsNotAccusedOfWhatTheDatabaseLost: the rows of the log before it are damaged, and their bytes are not.
func TestAStartIsNotAccusedOfWhatTheDatabaseLost(t *testing.T) {
	const damage = "UPDATE entries SET sha256 = zeroblob(32) WHERE log = 1 AND idx IN (0, 9)"
	t.Run("before", func(t *testing.T) {
		w, _ := shards(t, nil)
		w.damage(damage)
		s := w.once()
		if s.Security != 0 || len(s.Trouble) == 0 || !strings.Contains(s.Trouble[0], "rows do not give the map") {
			t.Errorf("%+v %+v", s, w.findings())
		}
	})
	t.Run("after", func(t *testing.T) {
		w, next := shards(t, nil)
		w.once()
		w.damage(damage)
		w.open()
		w.fill(next.Tree, 500, 3, nil)
		next.Publish()
		s := w.once()
		if s.Security != 0 || len(s.Trouble) == 0 || !strings.Contains(s.Trouble[0], "rows do not give the map") {
			t.Errorf("%+v %+v", s, w.findings())
		}
	})
}

// TestAShardThatTakesOverWrongIsConvicted: it leaves out what its start takes over, or takes over what was not there.
func TestAShardThatTakesOverWrongIsConvicted(t *testing.T) {
	for kind, lie := range map[string]func(next *testlog.Log){
		kindIndexOmission: func(next *testlog.Log) { next.Tree.Omit(0) },
		kindIndexPhantom: func(next *testlog.Log) {
			next.Tree.Phantom(version("nobody", index.Version{First: 1, Inherited: true}))
		},
	} {
		t.Run(kind, func(t *testing.T) {
			w, next := shards(t, nil)
			w.once()
			lie(next)
			w.fill(next.Tree, 500, 20, nil)
			next.Publish()
			w.once()
			found := 0
			for _, f := range w.findings() {
				if f.Kind != kind {
					continue
				}
				found++
				e, err := evidence.Read(filepath.Join(w.cfg.EvidenceDir, f.Evidence+".evidence"))
				fatalIf(t, err)
				keys := testlog.Must(evidence.NewKeys([]string{next.VKey}, nil))
				if c, err := evidence.Verify(e, keys, told{}); err != nil || c.Who != "log "+next.KeyName {
					t.Errorf("it convicts %q: %v", c.Who, err)
				}
			}
			if found == 0 {
				t.Errorf("%+v", w.findings())
			}
		})
	}
}

// TestAStartIsComparedWithItsPredecessor: with its tree and with its versions.
func TestAStartIsComparedWithItsPredecessor(t *testing.T) {
	for name, x := range map[string]struct {
		change func(s *entry.Start)
		want   []string
		judged bool
	}{
		"another tree":      {func(s *entry.Start) { s.Tree[0]++ }, []string{kindStartMismatch}, false},
		"another size":      {func(s *entry.Start) { s.Size-- }, []string{kindStartMismatch}, false},
		"another index":     {func(s *entry.Start) { s.Root[0]++ }, []string{kindStartMismatch}, true},
		"rules to come":     {func(s *entry.Start) { s.Rules++ }, nil, true},
		"an unknown log":    {func(s *entry.Start) { s.Origin = "log.example/none" }, []string{kindPredecessor}, false},
		"what is not there": {func(s *entry.Start) { s.Size = 1000 }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, next := shards(t, x.change)
			w.once()
			w.fill(next.Tree, 500, 3, nil)
			next.Publish()
			s := w.once()
			var got []string
			for _, f := range w.findings() {
				got = append(got, f.Kind)
			}
			p := testlog.Must(w.cfg.Store.Position(t.Context(), 2))
			if !slices.Equal(got, x.want) || (p.Sealed == p.Verified) != x.judged || p.Verified != next.Tree.Size() {
				t.Errorf("%q, %+v", got, p)
			}
			if security := slices.Contains(x.want, kindStartMismatch); security != (s.ExitCode() == 1) || !x.judged && s.ExitCode() == 0 {
				t.Errorf("%+v", s)
			}
			// Time alone changes nothing, but for a log that does not catch up.
			w.later(30 * time.Minute)
			w.log.Publish()
			next.Publish()
			w.once()
			if standing := w.findings(); name == "what is not there" && (len(standing) != 1 || standing[0].Kind != kindPredecessor) {
				t.Errorf("%+v", standing)
			}
		})
	}
}

// TestAShardIsJudgedFromItsFirstSealOnceItsPredecessorIsFollowed.
func TestAShardIsJudgedFromItsFirstSealOnceItsPredecessorIsFollowed(t *testing.T) {
	w, next := shards(t, nil)
	next.Tree.Omit(0)
	w.fill(next.Tree, 500, 3, nil)
	next.Publish()
	both := w.cfg.Logs
	s := testlog.Must(store.Create(t.Context(), filepath.Join(t.TempDir(), "monitor.db")))
	t.Cleanup(func() { s.Close() })
	w.cfg.Store, w.cfg.Logs = s, both[1:]
	w.open()
	if s := w.once(); s.Operational != 1 || s.Security != 0 || w.findings()[0].Kind != kindPredecessor {
		t.Fatalf("%+v %+v", s, w.findings())
	}
	w.cfg.Logs = both
	w.open()
	w.once()
	if s := w.once(); s.Operational != 0 || s.Security == 0 {
		t.Errorf("%+v %+v", s, w.findings())
	}
}
