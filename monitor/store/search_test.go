package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	_ "modernc.org/sqlite"

	"cratelog/internal/sqlite"
	"cratelog/internal/testlog"
)

// recorder is a driver that remembers what is asked of another.
type recorder struct {
	of      driver.Driver
	path    string
	queries *[]asked
}

type asked struct {
	query string
	args  []any
}

type recorded struct {
	driver.Conn
	queries *[]asked
}

var _ driver.Connector = recorder{}

func (r recorder) Driver() driver.Driver { return r.of }

func (r recorder) Connect(context.Context) (driver.Conn, error) {
	c, err := r.of.Open(r.path)
	return recorded{c, r.queries}, err
}

func (c recorded) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	a := asked{query: query}
	for _, v := range args {
		a.args = append(a.args, v.Value)
	}
	*c.queries = append(*c.queries, a)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

// TestNoSearchReadsTheWholeTable looks into SQLite's plan for every question of the pages' search, filters and
// feeds.
func TestNoSearchReadsTheWholeTable(t *testing.T) {
	s, _ := many(t)
	var queries []asked
	plain := testlog.Must(sql.Open("sqlite", s.Path()))
	defer plain.Close()
	db := sql.OpenDB(recorder{of: plain.Driver(), path: s.Path(), queries: &queries})
	defer db.Close()
	r, ctx := &Reader{s.Path(), db}, t.Context()
	for name, ask := range map[string]func() error{
		"named":    func() error { _, err := r.CratesNamed(ctx, "crate-7", 9); return err },
		"from":     func() error { _, err := r.CratesFrom(ctx, "crate", 9); return err },
		"entries":  func() error { _, err := r.EntriesFrom(ctx, "crate", false, 9); return err },
		"exact":    func() error { _, err := r.EntriesFrom(ctx, "crate7", true, 9); return err },
		"versions": func() error { _, err := r.EntriesOfVersions(ctx, "crate7", "1.", 9); return err },
		"leaf":     func() error { _, err := r.EntriesWithHash(ctx, LeafHash, "0123456", 9); return err },
		"checksum": func() error { _, err := r.EntriesWithHash(ctx, Checksum, "0123456", 9); return err },
		"commit":   func() error { _, err := r.EntriesWithHash(ctx, CommitID, "01234567", 9); return err },
		"claiming": func() error { _, err := r.EntriesClaiming(ctx, []string{"https://a.example/b", "x"}, 9); return err },
		"findings": func() error { _, err := r.FindingsFrom(ctx, "crate", false, 9); return err },
		"kind":     func() error { _, err := r.Entries(ctx, EntryQuery{Kind: "source", Newest: true, Limit: 9}); return err },
		"programs": func() error {
			_, err := r.Entries(ctx, EntryQuery{Programs: make([][32]byte, 2), After: 9, Limit: 9})
			return err
		},
		"news":     func() error { _, err := r.News(ctx, Subscription{Prefix: "crate"}, 9); return err },
		"by token": func() error { _, _, err := r.SubscriptionByToken(ctx, "x"); return err },
		"a version": func() error {
			_, err := r.Entries(ctx, EntryQuery{Name: "crate7", Version: "1.0.7", Limit: 9})
			return err
		},
	} {
		queries = nil
		if err := ask(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(queries) == 0 {
			t.Errorf("%s: nothing was asked", name)
		}
		for _, q := range queries {
			steps, err := sqlite.All(ctx, plain, func(r sqlite.Scanner) (step string, err error) {
				var id, parent, unused int
				return step, r.Scan(&id, &parent, &unused, &step)
			}, "EXPLAIN QUERY PLAN "+q.query, q.args...)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, step := range steps {
				if what, ok := strings.CutPrefix(step, "SCAN "); ok && strings.Fields(what)[0] != "c" && what != "logs" && what != "CONSTANT ROW" {
					t.Errorf("%s: %s in\n%s", name, step, q.query)
				}
			}
		}
	}
	// The test sees something: this one has to read everything.
	steps, err := sqlite.All(ctx, plain, func(r sqlite.Scanner) (step string, err error) {
		var id, parent, unused int
		return step, r.Scan(&id, &parent, &unused, &step)
	}, "EXPLAIN QUERY PLAN "+selectEntry+"WHERE detail = 'x'")
	if err != nil || len(steps) != 1 || !strings.HasPrefix(steps[0], "SCAN entries") {
		t.Errorf("a scan is not seen: %q, %v", steps, err)
	}
}

func TestNamesAreFoundAsRegistriesCompareThem(t *testing.T) {
	s, l := newStore(t)
	rows := entries(l.ID, 0, 6)
	for i, name := range []string{"Serde_JSON", "serde-json", "serde", "serde_json", "serdex", ""} {
		rows[i].Name, rows[i].Version = name, fmt.Sprintf("1.0.%d", i)
	}
	fatalIf(t, s.AppendEntries(t.Context(), l.ID, rows))
	names := func(found []CrateCount, err error) string {
		fatalIf(t, err)
		var out []string
		for _, c := range found {
			out = append(out, fmt.Sprintf("%s %d %d %s", c.Name, c.Entries, c.Versions, c.Newest))
		}
		return strings.Join(out, ", ")
	}
	if got := names(s.CratesNamed(t.Context(), "SERDE-json", 9)); got != "Serde_JSON 1 1 1.0.0, serde-json 1 1 1.0.1, serde_json 1 1 1.0.3" {
		t.Error(got)
	}
	if got := names(s.CratesFrom(t.Context(), "serDe", 9)); got != "Serde_JSON 1 1 1.0.0, serde-json 1 1 1.0.1, serde_json 1 1 1.0.3, serdex 1 1 1.0.4" {
		t.Error(got)
	}
	if got := names(s.CratesFrom(t.Context(), "", 2)); strings.Count(got, ",") != 1 {
		t.Errorf("%q is not bounded", got)
	}
	for digits, want := range map[string]int{"000000": 0, fmt.Sprintf("%x", rows[2].LeafHash[:])[:9]: 1, fmt.Sprintf("%x", rows[5].LeafHash[:]): 1,
		"xyzxyzxyz": 0, strings.Repeat("0", 65): 0} {
		if got := testlog.Must(s.EntriesWithHash(t.Context(), LeafHash, digits, 9)); len(got) != want {
			t.Errorf("%s: %d entries", digits, len(got))
		}
	}
	if got := testlog.Must(s.EntriesWithHash(t.Context(), CommitID, strings.Repeat("0", 40), 99)); len(got) > 0 && got[0].Name == "" {
		t.Error("an entry that does not parse has a commit")
	}
	for i, u := range []string{"https://git.example/A/b", "https://git.example/a/b/tree/main/x", "https://git.example/a/bc", "https://git.example/a/b.git"} {
		fatalIf(t, s.PutCrate(t.Context(), Crate{Log: l.ID, Index: int64(i), Repository: u}))
	}
	got := testlog.Must(s.EntriesClaiming(t.Context(), []string{"https://git.example/a/b", "https://git.example/a/b.git"}, 9))
	if len(got) != 3 || got[0].Index != 3 || got[2].Index != 0 {
		t.Errorf("%d entries claim the repository", len(got))
	}
}

func TestASubscriptionIsToldOfEachThingOnce(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	put := func(names ...string) {
		p := testlog.Must(s.Position(ctx, l.ID))
		rows := entries(l.ID, p.Downloaded, p.Downloaded+int64(len(names)))
		for i := range rows {
			rows[i].Name = names[i]
		}
		fatalIf(t, s.AppendEntries(ctx, l.ID, rows))
	}
	verify := func() {
		p := testlog.Must(s.Position(ctx, l.ID))
		fatalIf(t, s.SetVerified(ctx, l.ID, p.Downloaded, tlog.Hash{}, nil))
	}
	put("acme-old")
	verify()
	sub := Subscription{Token: "t", Secret: []byte("s"), Prefix: "acme_", URL: "https://hook.example/", Added: now}
	fatalIf(t, s.Subscribe(ctx, sub, 1))
	if err := s.Subscribe(ctx, sub, 9); !errors.Is(err, ErrSubscribed) {
		t.Errorf("twice: %v", err)
	}
	other := sub
	other.Token, other.Exact = "u", true
	if err := s.Subscribe(ctx, other, 1); !errors.Is(err, ErrTooMany) {
		t.Errorf("too many: %v", err)
	}
	put("Acme-One", "acmetwo", "acme_three", "acme-four")
	next := func() (names []string) {
		due := testlog.Must(s.DueSubscriptions(ctx, now))
		if len(due) != 1 {
			t.Fatalf("%d are due", len(due))
		}
		n := testlog.Must(s.News(ctx, due[0], 2))
		for _, e := range n.Entries {
			names = append(names, e.Name)
		}
		for _, f := range n.Findings {
			names = append(names, f.Summary)
		}
		fatalIf(t, s.Told(ctx, due[0], n))
		return names
	}
	if got := next(); len(got) != 0 {
		t.Errorf("told before it is verified: %q", got)
	}
	verify()
	_, _, err := s.RecordFinding(ctx, Finding{Key: "k", Kind: "k", Class: Security, Index: -1, FirstSeen: now, Name: "ACME-x", Summary: "bad"}, nil)
	fatalIf(t, err)
	for _, want := range []string{"[Acme-One acme_three bad]", "[acme-four]", "[]"} {
		if got := fmt.Sprint(next()); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	}
	due := testlog.Must(s.DueSubscriptions(ctx, now))
	fatalIf(t, s.NotTold(ctx, due[0], now, now.Add(time.Hour)))
	if got := testlog.Must(s.DueSubscriptions(ctx, now)); len(got) != 0 {
		t.Error("it does not wait")
	}
	x, ok, err := s.SubscriptionByToken(ctx, "t")
	if err != nil || !ok || x.Attempts != 1 || !x.Failing.Equal(now) {
		t.Errorf("%+v %v %v", x, ok, err)
	}
	if found := testlog.Must(s.Unsubscribe(ctx, "t")); !found || testlog.Must(s.CountSubscriptions(ctx)) != 0 {
		t.Error("it does not end")
	}
	if found := testlog.Must(s.Unsubscribe(ctx, "t")); found {
		t.Error("it ends twice")
	}
}

// TestNoFindingIsMissedThatComesMeanwhile: one that is recorded while news are read is told with the next.
func TestNoFindingIsMissedThatComesMeanwhile(t *testing.T) {
	s, _ := newStore(t)
	ctx := t.Context()
	fatalIf(t, s.Subscribe(ctx, Subscription{Token: "t", Secret: []byte("s"), Prefix: "acme", URL: "https://hook.example/", Added: now}, 1))
	const all = 300
	done := make(chan error, 1)
	go func() {
		for i := range all {
			if _, _, err := s.RecordFinding(ctx, Finding{Key: fmt.Sprint(i), Kind: "k", Class: Security, Index: -1, FirstSeen: now,
				Name: "acme", Summary: "bad"}, nil); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	told := 0
	for over := false; ; {
		due := testlog.Must(s.DueSubscriptions(ctx, now))
		n := testlog.Must(s.News(ctx, due[0], 1000))
		if told += len(n.Findings); len(n.Findings) == 0 && over {
			break
		}
		fatalIf(t, s.Told(ctx, due[0], n))
		select {
		case err := <-done:
			fatalIf(t, err)
			over = true
		default:
		}
	}
	if told != all {
		t.Errorf("%d of %d findings were told", told, all)
	}
}

// TestWhatCameOfASubscriptionThatHasEndedIsNoOthers: it may end while its endpoint is told.
func TestWhatCameOfASubscriptionThatHasEndedIsNoOthers(t *testing.T) {
	s, _ := newStore(t)
	ctx := t.Context()
	sub := Subscription{Token: "t", Secret: []byte("s"), Prefix: "acme", URL: "https://hook.example/", Added: now}
	fatalIf(t, s.Subscribe(ctx, sub, 1))
	ended := testlog.Must(s.DueSubscriptions(ctx, now))[0]
	news := testlog.Must(s.News(ctx, ended, 9))
	testlog.Must(s.Unsubscribe(ctx, "t"))
	_, _, err := s.RecordFinding(ctx, Finding{Key: "k", Kind: "k", Class: Security, Index: -1, FirstSeen: now, Name: "acme", Summary: "bad"}, nil)
	fatalIf(t, err)
	sub.Token = "u"
	fatalIf(t, s.Subscribe(ctx, sub, 1))
	fatalIf(t, s.NotTold(ctx, ended, now, now.Add(time.Hour)))
	fatalIf(t, s.Told(ctx, ended, news))
	fatalIf(t, s.NotTold(ctx, ended, now, now.Add(time.Hour)))
	if x := testlog.Must(s.DueSubscriptions(ctx, now)); len(x) != 1 || x[0].Finding != 1 {
		t.Errorf("the other one: %+v", x)
	}
}
