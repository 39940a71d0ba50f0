package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t testing.TB) (*Store, Log) {
	t.Helper()
	s := testlog.Must(Create(t.Context(), filepath.Join(t.TempDir(), "m.db")))
	t.Cleanup(func() { s.Close() })
	l := testlog.Must(s.AddLog(t.Context(), "log.example", []string{"k1"}, "http://log.example/", now))
	return s, l
}

func leaf(i int64) []byte { return fmt.Appendf(nil, "leaf %d", i) }

func entries(log, from, to int64) []Entry {
	var out []Entry
	for i := from; i < to; i++ {
		e := Entry{Log: log, Index: i, LeafHash: tlog.RecordHash(leaf(i)), Identity: sha256.Sum256(leaf(i)), Name: fmt.Sprintf("crate%d", i%50),
			Version: fmt.Sprintf("1.0.%d", i), SHA256: sha256.Sum256(leaf(-i)), Kind: "source", FirstSeen: now, Verdict: OK, Data: leaf(i)}
		out = append(out, e)
	}
	return out
}

func TestTheTreeOfStoredEntriesIsTheLibrarys(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	const n = 1500
	ref := &testlog.Tree{} // by the library, over all leaves
	for i := range int64(n) {
		ref.Append(leaf(i))
	}
	size := int64(0)
	for _, step := range []int64{1, 254, 1, 1, 255, 1, 511, 3} {
		fatalIf(t, s.AppendEntries(ctx, l.ID, entries(l.ID, size, size+step)))
		size += step
		for _, at := range []int64{0, 1, size / 2, size - 1, size} {
			got := testlog.Must(s.Root(ctx, l.ID, at))
			if got != ref.Root(at) {
				t.Fatalf("after %d entries, the root of the first %d is wrong", size, at)
			}
		}
	}
	// What is rewound is forgotten, and can be written again.
	fatalIf(t, s.SetVerified(ctx, l.ID, 300, tlog.Hash{1}, []tlog.Hash{{2}, {3}}))
	fatalIf(t, s.RewindEntries(ctx, l.ID))
	p := testlog.Must(s.Position(ctx, l.ID))
	if p.Downloaded != 300 || p.Verified != 300 || p.Root != (tlog.Hash{1}) || len(p.Range) != 2 || p.Range[1] != (tlog.Hash{3}) {
		t.Fatalf("position %+v", p)
	}
	if _, err := s.Root(ctx, l.ID, 301); err == nil {
		t.Error("the tree still has a rewound entry")
	}
	fatalIf(t, s.AppendEntries(ctx, l.ID, entries(l.ID, 300, n)))
	got := testlog.Must(s.Root(ctx, l.ID, n))
	if got != ref.Root(n) {
		t.Error("the tree is another one after a rewind")
	}
	proof := testlog.Must(tlog.ProveRecord(n, 1234, s.Hashes(ctx, l.ID)))
	fatalIf(t, tlog.CheckRecord(proof, n, got, 1234, tlog.RecordHash(leaf(1234))))
	hashes := testlog.Must(s.LeafHashes(ctx, l.ID, 250, 600))
	if len(hashes) != 350 || hashes[0] != tlog.RecordHash(leaf(250)) || hashes[349] != tlog.RecordHash(leaf(599)) {
		t.Error("the leaf hashes are wrong")
	}
}

func TestPositionsNeverSkipOrGoBack(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	fatalIf(t, s.AppendEntries(ctx, l.ID, entries(l.ID, 0, 10)))
	if err := s.AppendEntries(ctx, l.ID, entries(l.ID, 11, 12)); err == nil {
		t.Error("an entry was left out")
	}
	if err := s.AppendEntries(ctx, l.ID, entries(l.ID, 9, 12)); err == nil {
		t.Error("an entry was stored twice")
	}
	if err := s.SetVerified(ctx, l.ID, 11, tlog.Hash{}, nil); err == nil {
		t.Error("verified is ahead of downloaded")
	}
	fatalIf(t, s.SetVerified(ctx, l.ID, 5, tlog.Hash{}, nil))
	if err := s.SetVerified(ctx, l.ID, 4, tlog.Hash{}, nil); err == nil {
		t.Error("verified went back")
	}
	n := 0
	for e, err := range s.EntriesIn(ctx, l.ID, 3, 100) {
		fatalIf(t, err)
		if e.Index != int64(3+n) || string(e.Data) != string(leaf(e.Index)) || e.Verdict != OK || !e.FirstSeen.Equal(now) {
			t.Fatalf("entry %+v", e)
		}
		n++
	}
	if n != 7 {
		t.Errorf("walked %d entries", n)
	}
}

func TestRepeatsAreFoundWhereTheyBegin(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	all := entries(l.ID, 0, 10)
	all[8].Identity, all[8].Name, all[8].Version, all[8].SHA256 = all[2].Identity, all[2].Name, all[2].Version, all[2].SHA256
	fatalIf(t, s.AppendEntries(ctx, l.ID, all))
	pairs := testlog.Must(s.Repeats(ctx, l.ID, 0, 10, 10))
	if len(pairs) != 1 || pairs[0].First.Index != 2 || pairs[0].Second.Index != 8 {
		t.Errorf("repeats: %+v", pairs)
	}
	if pairs = testlog.Must(s.Repeats(ctx, l.ID, 9, 10, 10)); len(pairs) != 0 {
		t.Errorf("repeats before the range: %+v", pairs)
	}
}

// due is what waits for the channel a.
func (s *Store) due(ctx context.Context, at time.Time) []Delivery {
	return testlog.Must(s.PendingDeliveries(ctx, "a", at, 10))
}

func TestAStandingFindingIsRecordedOnce(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	f := Finding{Key: "log-down/1", Log: l.ID, Kind: "log-down", Class: Operational, Summary: "It is down.", Index: -1, FirstSeen: now}
	got, isNew, err := s.RecordFinding(ctx, f, []string{"a", "b"})
	fatalIf(t, err)
	if !isNew || got.ID == 0 || got.Origin != "log.example" || got.Count != 1 {
		t.Errorf("%v %+v", isNew, got)
	}
	f.FirstSeen = now.Add(time.Minute)
	got, isNew, err = s.RecordFinding(ctx, f, []string{"a", "b"})
	fatalIf(t, err)
	if isNew || got.Count != 2 || !got.FirstSeen.Equal(now) || !got.LastSeen.Equal(f.FirstSeen) {
		t.Errorf("%v %+v", isNew, got)
	}
	due := s.due(ctx, now)
	if len(due) != 1 || due[0].Finding.Key != f.Key || due[0].Event != Found {
		t.Fatalf("due: %+v", due)
	}
	fatalIf(t, s.Failed(ctx, due[0].ID, "no route", now.Add(time.Hour)))
	if due := s.due(ctx, now.Add(time.Minute)); len(due) != 0 {
		t.Errorf("tried again too early: %+v", due)
	}
	due = s.due(ctx, now.Add(time.Hour))
	if len(due) != 1 || due[0].Attempts != 1 || due[0].Error != "no route" {
		t.Fatalf("due: %+v", due)
	}
	fatalIf(t, s.Delivered(ctx, due[0].ID, now))
	resolved := testlog.Must(s.ResolveFinding(ctx, f.Key, now, []string{"a"}))
	due = s.due(ctx, now.Add(time.Hour))
	if !resolved || len(due) != 1 || due[0].Event != Resolved {
		t.Errorf("resolved %v, due %+v", resolved, due)
	}
	if _, isNew, err = s.RecordFinding(ctx, f, nil); err != nil || !isNew {
		t.Errorf("the condition came back and is no finding: %v", err)
	}
}

func TestSecurityFindingsDoNotEndAndAcknowledgedOnesDoNotPage(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	record := func() (Finding, bool) {
		f, isNew, err := s.RecordFinding(ctx, Finding{Key: "fork/1", Log: l.ID, Kind: "fork", Class: Security, Summary: "x", Index: -1, FirstSeen: now}, []string{"a"})
		fatalIf(t, err)
		return f, isNew
	}
	f, _ := record()
	if _, err := s.ResolveFinding(ctx, "fork/1", now, nil); err == nil {
		t.Error("a security finding was resolved")
	}
	if err := s.Acknowledge(ctx, f.ID, "me", "", now); err == nil {
		t.Error("acknowledged without a reason")
	}
	if err := s.Acknowledge(ctx, 77, "me", "because", now); !errors.Is(err, ErrNoFinding) {
		t.Errorf("acknowledged nothing: %v", err)
	}
	open := FindingQuery{Class: Security, Standing: true, Limit: 100}
	if standing := testlog.Must(s.Findings(ctx, open)); len(standing) != 1 {
		t.Errorf("%v", standing)
	}
	fatalIf(t, s.Acknowledge(ctx, f.ID, "me", "because", now))
	if due := s.due(ctx, now); len(due) != 0 {
		t.Errorf("still due: %+v", due)
	}
	if standing := testlog.Must(s.Findings(ctx, open)); len(standing) != 0 {
		t.Errorf("%v", standing)
	}
	if _, isNew := record(); isNew {
		t.Error("acknowledged, and found anew")
	}
}

const text = "log.example\n5\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"

func TestACheckpointKeepsEverySignatureAndTheNewestCosignature(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	// Lines of keys 1, 2 and 3.
	l1, l2old, l2new, l3 := "— log AAAAAQE=\n", "— w2 AAAAAgE=\n", "— w2 AAAAAgI=\n", "— w3 AAAAAwE=\n"
	put := func(signed string, at time.Time, w ...Cosignature) Checkpoint {
		c := Checkpoint{Log: l.ID, Size: 5, Root: sha256.Sum256(nil), Signed: []byte(signed), Source: "log", FirstSeen: at, LastSeen: at, Verdict: Pending, Cosignatures: w}
		got, _, err := s.PutCheckpoint(ctx, c, func(signed []byte) (bool, time.Time) { return strings.Count(string(signed), "—") == 3, at })
		fatalIf(t, err)
		return got
	}
	put(text+"\n"+l1+l2new, now, Cosignature{"W2", "w2", 2, now.Add(time.Hour)})
	put(text+"\n"+l1+l2old, now, Cosignature{"W2", "w2", 2, now})
	got := put(text+"\n"+l1+l3, now.Add(time.Minute), Cosignature{"W3", "w3", 3, now})
	if want := text + "\n" + l1 + l2new + l3; string(got.Signed) != want || !got.Accepted || len(got.Cosignatures) != 2 {
		t.Errorf("got %+v\n%s", got, got.Signed)
	}
	fatalIf(t, s.SetVerdict(ctx, got.ID, Consistent))
	fatalIf(t, s.SetVerdict(ctx, got.ID, Inconsistent))
	stored, ok, err := s.Newest(ctx, l.ID, true)
	fatalIf(t, err)
	if !ok || stored.Verdict != Consistent || string(stored.Signed) != string(got.Signed) || !stored.Cosignatures[0].Time.Equal(now.Add(time.Hour)) || !stored.LastSeen.Equal(now.Add(time.Minute)) {
		t.Errorf("stored %+v", stored)
	}
}

func TestAStoreRefusesWhatIsNotItsOwn(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	if _, err := Open(ctx, filepath.Join(dir, "none.db")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "monitor init") {
		t.Errorf("a missing file: %v", err)
	}
	path := filepath.Join(dir, "m.db")
	s := testlog.Must(Create(ctx, path))
	for _, step := range []struct {
		keys []string
		want error
	}{{[]string{"k1"}, nil}, {[]string{"k2"}, ErrOtherLog}, {[]string{"k1", "k2"}, nil}, {[]string{"k2"}, nil}} {
		if _, err := s.AddLog(ctx, "log.example", step.keys, "", now); !errors.Is(err, step.want) {
			t.Errorf("keys %q: %v", step.keys, err)
		}
	}
	if l := testlog.Must(s.Logs(ctx)); len(l[0].VKeys) != 2 {
		t.Errorf("%+v", l)
	}
	fatalIf(t, s.Close())
	if _, err := Create(ctx, path); err == nil {
		t.Error("an existing file was taken")
	}
	for name, change := range map[string]string{
		"it has schema 2":              "PRAGMA user_version = 2",
		"no version of this program":   "PRAGMA user_version = 0",
		"it is not a monitor's":        "PRAGMA application_id = 7",
		"PRAGMA application_id = back": "",
	} {
		db := testlog.Must(sql.Open("sqlite", path))
		_, err := db.Exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; %s", database.ID, database.Version, change))
		fatalIf(t, errors.Join(err, db.Close()))
		s, err := Open(ctx, path)
		if change == "" {
			fatalIf(t, err)
			s.Close()
		} else if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", change, err)
		}
	}
	fatalIf(t, os.WriteFile(path, []byte(strings.Repeat("x", 9000)), 0o600))
	if _, err := Open(ctx, path); err == nil {
		t.Error("a text file was opened")
	}
}

// TestAPowerFailureForgetsNoCommit reads back what that takes.
func TestAPowerFailureForgetsNoCommit(t *testing.T) {
	s, _ := newStore(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "3", "fullfsync": "1", "checkpoint_fullfsync": "1"} {
		var got string
		fatalIf(t, s.write.QueryRow("PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("%s = %s, want %s", pragma, got, want)
		}
	}
}

func TestWatchesAndAuthorizations(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	for _, w := range []Watch{{Kind: "crate", Value: "a b"}, {Kind: "commit", Value: "AB"}, {Kind: "path", Value: "../x"}, {Kind: "owner", Value: "x"}} {
		if _, err := s.AddWatch(ctx, w); err == nil {
			t.Errorf("accepted %+v", w)
		}
	}
	w := Watch{Kind: WatchPrefix, Value: "crate1", Added: now}
	id := testlog.Must(s.AddWatch(ctx, w))
	if again := testlog.Must(s.AddWatch(ctx, w)); again != id {
		t.Error("the same watch is another one")
	}
	e := entries(l.ID, 11, 12)[0]
	if !w.Matches(&e) || w.Matches(&Entry{Name: "crat"}) || (Watch{Kind: WatchPath, Value: ""}).Matches(&Entry{}) {
		t.Error("matches wrongly")
	}
	a := Authorization{Name: e.Name, Version: e.Version, SHA256: new([32]byte), Added: now, Expires: now.Add(time.Hour)}
	for _, step := range []struct {
		sum  [32]byte
		at   time.Time
		want bool
	}{{[32]byte{1}, now, false}, {e.SHA256, now.Add(2 * time.Hour), false}, {e.SHA256, now, true}} {
		*a.SHA256 = step.sum
		id := testlog.Must(s.Authorize(ctx, a))
		if got := testlog.Must(s.Authorized(ctx, &e, step.at)); got != step.want {
			t.Errorf("authorized %v, want %v", got, step.want)
		}
		if !testlog.Must(s.RemoveAuthorization(ctx, id)) {
			t.Error("not removed")
		}
	}
	fatalIf(t, s.PutRetry(ctx, Retry{Log: l.ID, Index: 3, Since: now, NextTry: now.Add(time.Hour)}))
	fatalIf(t, s.PutRetry(ctx, Retry{Log: l.ID, Index: 3, Since: now.Add(time.Hour), NextTry: now.Add(2 * time.Hour)}))
	due := func() []Retry { return testlog.Must(s.DueRetries(ctx, l.ID, now.Add(2*time.Hour), 10)) }
	if got := due(); len(got) != 1 || !got[0].Since.Equal(now) {
		t.Errorf("due %+v", got)
	}
	fatalIf(t, s.PutRetry(ctx, Retry{Log: l.ID, Index: 3, Since: now.Add(time.Hour), NextTry: now.Add(2 * time.Hour), Why: "no"}))
	if got := due(); len(got) != 1 || !got[0].Since.Equal(now.Add(time.Hour)) || got[0].Why != "no" {
		t.Errorf("what is of another kind began later: %+v", got)
	}
	if n, oldest, err := s.Unanswered(ctx, l.ID, 5); n != 1 || len(oldest) != 1 || err != nil {
		t.Errorf("%d, %+v, %v", n, oldest, err)
	}
	fatalIf(t, s.DropRetry(ctx, l.ID, 3))
	if got := due(); len(got) != 0 {
		t.Errorf("due %+v", got)
	}
}

func BenchmarkAppendEntries(b *testing.B) {
	s, l := newStore(b)
	ctx := context.Background()
	data := make([]byte, 600)
	n := int64(0)
	for b.Loop() {
		batch := entries(l.ID, n, n+1000)
		for i := range batch {
			batch[i].Data = data
		}
		fatalIf(b, s.AppendEntries(ctx, l.ID, batch))
		n += 1000
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
	size, err := s.FileSize(ctx)
	fatalIf(b, err)
	b.ReportMetric(float64(size)/float64(n), "bytes/entry")
}

// TestOpeningsAreAskedForAgainOnlyWhenTheyAreTo: and an unusable one counts from when it became so.
func TestOpeningsAreAskedForAgainOnlyWhenTheyAreTo(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	put := func(o Opening) {
		t.Helper()
		o.Log = l.ID
		fatalIf(t, s.PutOpening(ctx, o))
	}
	put(Opening{Index: 1, State: OpeningHolds, SHA256: [32]byte{1}, Since: now})
	put(Opening{Index: 2, State: OpeningUnusable, Since: now, NextTry: now.Add(time.Hour), Why: "junk"})
	put(Opening{Index: 2, State: OpeningUnusable, Since: now.Add(time.Hour), NextTry: now.Add(2 * time.Hour), Why: "rot"})
	put(Opening{Index: 3, State: OpeningObjects, SHA256: [32]byte{3}, Since: now, NextTry: now.Add(time.Minute)})
	due := func(at time.Time) (all []int64) {
		for _, o := range testlog.Must(s.DueOpenings(ctx, l.ID, at, 10)) {
			all = append(all, o.Index)
		}
		return all
	}
	if got := due(now.Add(time.Hour)); !slices.Equal(got, []int64{3}) {
		t.Errorf("due %d", got)
	}
	if got := due(now.Add(2 * time.Hour)); !slices.Equal(got, []int64{3, 2}) {
		t.Errorf("due %d", got)
	}
	n, oldest, err := s.UnusableOpenings(ctx, l.ID, 5)
	if err != nil || n != 1 || len(oldest) != 1 || !oldest[0].Since.Equal(now) || oldest[0].Why != "rot" {
		t.Errorf("unusable: %d, %+v, %v", n, oldest, err)
	}
	put(Opening{Index: 2, State: OpeningNoVerdict, Since: now.Add(3 * time.Hour)})
	o, ok, err := s.Opening(ctx, l.ID, 2)
	if err != nil || !ok || !o.Since.Equal(now.Add(3*time.Hour)) || !o.NextTry.IsZero() || o.Why != "" {
		t.Errorf("%+v, %v", o, err)
	}
	fatalIf(t, s.DropOpening(ctx, l.ID, 3))
	if got := due(now.Add(9 * time.Hour)); len(got) != 0 {
		t.Errorf("due %d", got)
	}
	fatalIf(t, s.SetOpenings(ctx, l.ID, 7))
	fatalIf(t, s.SetOpenings(ctx, l.ID, 6)) // it does not go back
	fatalIf(t, s.SetReopen(ctx, l.ID, 5, now))
	if p := testlog.Must(s.Position(ctx, l.ID)); p.Openings != 7 || p.Reopen != 5 || !p.Reopening.Equal(now) {
		t.Errorf("%+v", p)
	}
}

// TestAClockThatWasWrongHoldsNoAlertBack: what was recorded, or tried, while the clock was years ahead is due once it is right.
func TestAClockThatWasWrongHoldsNoAlertBack(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	ahead := now.AddDate(10, 0, 0)
	for _, key := range []string{"one", "two"} {
		_, _, err := s.RecordFinding(ctx, Finding{Key: key, Log: l.ID, Kind: "k", Class: Security, Summary: "bad", Index: -1, FirstSeen: ahead},
			[]string{"a"})
		fatalIf(t, err)
	}
	fatalIf(t, s.Failed(ctx, s.due(ctx, ahead)[0].ID, "no route", ahead.Add(time.Minute)))
	if due := s.due(ctx, now); len(due) != 2 {
		t.Errorf("%d alerts are due, want 2", len(due))
	}
	fatalIf(t, s.Subscribe(ctx, Subscription{Token: "t", Secret: []byte("s"), Prefix: "acme", URL: "https://hook.example/", Added: now}, 1))
	x := testlog.Must(s.DueSubscriptions(ctx, now))
	fatalIf(t, s.NotTold(ctx, x[0], ahead, ahead.Add(time.Minute)))
	if x := testlog.Must(s.DueSubscriptions(ctx, now)); len(x) != 1 {
		t.Errorf("%d subscriptions are due, want 1", len(x))
	}
}

// TestAWatchsNumberIsNoOthers: what was found for a watch that is gone is not held against a new one.
func TestAWatchsNumberIsNoOthers(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	first := testlog.Must(s.AddWatch(ctx, Watch{Kind: WatchPrefix, Value: "a", Added: now}))
	_, _, err := s.RecordFinding(ctx, Finding{Key: "k", Log: l.ID, Kind: "watch", Class: Info, Index: -1, FirstSeen: now, Watch: first}, nil)
	fatalIf(t, err)
	testlog.Must(s.RemoveWatch(ctx, first))
	second := testlog.Must(s.AddWatch(ctx, Watch{Kind: WatchPrefix, Value: "ab", Added: now}))
	if n := testlog.Must(s.CountFindings(ctx, l.ID, "watch", second)); second == first || n != 0 {
		t.Errorf("the watches have the numbers %d and %d; of the second there are %d findings", first, second, n)
	}
}

// TestThatItIsOverIsToldAfterThatItBegan, also where telling that it began has failed at first: else it would be open for
// ever to whoever is told.
func TestThatItIsOverIsToldAfterThatItBegan(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	f := Finding{Key: "log-down/1", Log: l.ID, Kind: "log-down", Class: Operational, Summary: "It is down.", Index: -1, FirstSeen: now}
	_, _, err := s.RecordFinding(ctx, f, []string{"a", "b"})
	fatalIf(t, err)
	began := s.due(ctx, now)[0]
	fatalIf(t, s.Failed(ctx, began.ID, "no route", now.Add(time.Minute)))
	if resolved := testlog.Must(s.ResolveFinding(ctx, f.Key, now, []string{"a"})); !resolved {
		t.Error("it does not end")
	}
	if due := s.due(ctx, now); len(due) != 0 {
		t.Errorf("%q is told first", due[0].Event)
	}
	if due := s.due(ctx, now.Add(time.Minute)); len(due) != 1 || due[0].ID != began.ID {
		t.Errorf("due: %+v", due)
	}
	fatalIf(t, s.Delivered(ctx, began.ID, now))
	if due := s.due(ctx, now.Add(time.Minute)); len(due) != 1 || due[0].Event != Resolved {
		t.Errorf("due: %+v", due)
	}
}
