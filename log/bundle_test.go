package log

import (
	"bytes"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/testlog"
)

// sneak puts a leaf into the tree as a second front end would: nothing is checked.
func (w *world) sneak(l *Log, leaf []byte) uint64 {
	w.t.Helper()
	at, err := l.appender(w.t.Context(), tessera.NewEntry(leaf))()
	fatalIf(w.t, err)
	return at.Index
}

// indexOf is the index in a bundle.
func indexOf(bundle []byte) uint64 { return testlog.Must(client.ParseBundle(bundle)).Index }

// TestNoBundleOfAVoidEntryIsHandedOut: nor is it any list's, and its address says which entry was first.
func TestNoBundleOfAVoidEntryIsHandedOut(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	good, c := w.good("alpha", "1.0.0")
	first := indexOf(w.submit(l, good, c))
	void, _ := w.other("alpha", "1.0.0")
	at := w.sneak(l, void)
	spelled, _ := w.other("Alpha", "1.0.0+x")
	also := w.sneak(l, spelled)
	w.fill(l, "b", 1) // which publishes all

	for _, i := range []uint64{at, also} {
		code, h, b := get(t, fmt.Sprintf("%s/v1/entries/%d", srv.URL, i))
		r := decodeRefusal(t, b)
		if code != 409 || r.Reason != VoidEntry || r.Index == nil || *r.Index != first || r.Bundle != "" ||
			!strings.Contains(r.Message, fmt.Sprintf("by entry %d, which was first", first)) || h.Get("ETag") != "" {
			t.Errorf("entry %d: %d %s", i, code, b)
		}
	}
	_, err := l.Submit(t.Context(), void, failingReader{t}, failingReader{t})
	wantRefusal(t, err, VersionConflict, fmt.Sprintf("as entry %d", first)) // as if it did not stand
	w.wantBundle(l, client.Query{Name: "alpha", Version: "1.0.0"}, good)
	_, err = l.Bundle(t.Context(), client.Query{Name: "Alpha", Version: "1.0.0+x"})
	wantRefusal(t, err, NotFound, "none such as was asked for")
	if b := decode[claimsBody](t, srv.URL+"/v1/crates/alpha/1.0.0/claims"); len(b.Claims) != 1 || b.Claims[0].Index != first {
		t.Errorf("%+v", b)
	}
	versions := decode[versionsBody](t, srv.URL+"/v1/crates/alpha").Versions
	if len(versions) != 2 || !versions[0].Void || versions[0].Name != "Alpha" || versions[1].Void {
		t.Errorf("%+v", versions)
	}
	for _, e := range [][]byte{good, void} {
		f := decode[entryFacts](t, fmt.Sprintf("%s/v1/entries/by-leaf/%x", srv.URL, testLeaf(e)))
		if f.Void != bytes.Equal(e, void) {
			t.Errorf("%+v", f)
		}
	}
	// Its crate's owner sees it all the same.
	rows := w.page(l, srv.URL, index.NamePrefix(entry.DefaultRegistry, "alpha"))
	if len(rows) != 4 { // the version, and three entries
		t.Errorf("%d rows", len(rows))
	}
}

// page asks a log for a page, as readers do.
func (w *world) page(l *Log, url string, under index.Prefix) []index.Row {
	w.t.Helper()
	raw, err := (&client.Log{URL: url}).Page(w.t.Context(), under)
	fatalIf(w.t, err)
	p := testlog.Must(client.ParsePage(raw))
	testlog.Must(p.Check(l.policy, client.Rules{}, under))
	return p.Rows
}

// TestSealsAreNoEntries: their addresses say so, and the tiles have them.
func TestSealsAreNoEntries(t *testing.T) {
	t.Parallel()
	_, l, srv := filled(t, 1)
	all := leavesOf(t, l)
	for i, leaf := range all {
		_, isEntry := testlog.Must(entry.ParseLeaf(leaf)).(*entry.Entry)
		code, _, b := get(t, fmt.Sprintf("%s/v1/entries/%d", srv.URL, i))
		if isEntry != (code == 200) || !isEntry && !strings.Contains(decodeRefusal(t, b).Message, "the log itself made it") {
			t.Errorf("entry %d: %d %.200s", i, code, b)
		}
		if code, _, _ := get(t, fmt.Sprintf("%s/v1/entries/by-leaf/%x", srv.URL, testLeaf(leaf))); isEntry != (code == 200) {
			t.Errorf("the leaf of entry %d: %d", i, code)
		}
	}
	if code, _, b := get(t, srv.URL+"/v1/entries/by-identity/"+strings.Repeat("0", 64)); code != 404 {
		t.Errorf("what has no identity is found by one: %d %s", code, b)
	}
	_, err := l.Submit(t.Context(), all[len(all)-1], bytes.NewReader(nil), nil)
	wantRefusal(t, err, MalformedEntry, "")
	if len(all) != 2 {
		t.Errorf("%d leaves", len(all))
	}
}

// TestLookupsShowWhatIsLoggedAndWhatIsNot, in whatever spelling, and pages all of it.
func TestLookupsShowWhatIsLoggedAndWhatIsNot(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	for _, path := range []string{"/v1/lookup/alpha/1.0.0", "/v1/index/alpha", "/v1/index?bits=0"} {
		if code, _, b := get(t, srv.URL+path); code != 404 || !strings.Contains(decodeRefusal(t, b).Message, "holds nothing yet") {
			t.Errorf("%s of an empty log: %d %s", path, code, b)
		}
	}
	e, c := w.good("foo-bar", "1.0.0+x")
	i := indexOf(w.submit(l, e, c))
	w.fill(l, "b", 3)
	sum := testlog.Must(entry.Parse(e)).Subject.SHA256
	for _, name := range []string{"foo-bar", "Foo_Bar"} {
		if h := w.held(l, srv.URL, name, "1.0.0+y"); !h.Logged || h.First != i || h.SHA256 != sum {
			t.Errorf("%s: %+v", name, h)
		}
		if h := w.held(l, srv.URL, name, "1.0.1"); h.Logged {
			t.Errorf("%s: %+v", name, h)
		}
	}
	head := l.published.head()
	if h := w.held(l, srv.URL, "foo-bar", "1.0.0"); uint64(h.Checkpoint.Size) != head.size {
		t.Errorf("a look-up is under %d entries, and %d are published", h.Checkpoint.Size, head.size)
	}
	if rows := w.page(l, srv.URL, index.Prefix{}); len(rows) != 8 {
		t.Errorf("%d rows", len(rows))
	}
	for name, n := range map[string]int{"foo_bar": 2, "none": 0} {
		raw, err := (&client.Log{URL: srv.URL}).CratePage(t.Context(), "", name)
		fatalIf(t, err)
		p := testlog.Must(client.ParsePage(raw))
		testlog.Must(p.Check(l.policy, client.Rules{}, index.NamePrefix(entry.DefaultRegistry, name)))
		if len(p.Rows) != n {
			t.Errorf("%s: %d rows", name, len(p.Rows))
		}
	}
	crate := index.NamePrefix(entry.DefaultRegistry, "foo-bar")
	longer := fmt.Sprintf("under=%x00&bits=272", crate.Bytes())
	if code, _, b := get(t, srv.URL+"/v1/index/foo-bar?"+longer); code != 200 {
		t.Errorf("%d %s", code, b)
	}
	for query, path := range map[string]string{
		longer: "/v1/index/b0?", "x=1": "/v1/index?", "bits=777": "/v1/index?", "bits=-1": "/v1/index?", "bits=7&under=01": "/v1/index?",
		"bits=8&under=0A": "/v1/index?", "bits=08&under=00": "/v1/index?", "bits=8": "/v1/index?", "bits=0&bits=0": "/v1/index?",
		"registry=x%20y": "/v1/lookup/a/1.0.0?", "after=1": "/v1/lookup/a/1.0.0?", "": "/v1/lookup/a/1.0?",
		"registry=": "/v1/index/9?",
	} {
		if code, _, b := get(t, srv.URL+path+query); code != 400 || decodeRefusal(t, b).Reason != MalformedRequest {
			t.Errorf("%s%s: %d %s", path, query, code, b)
		}
	}
	other := "?registry=https%3A%2F%2Findex.example%2Fx"
	raw, err := (&client.Log{URL: srv.URL}).Lookup(t.Context(), "https://index.example/x", "foo-bar", "1.0.0")
	fatalIf(t, err)
	if code, _, b := get(t, srv.URL+"/v1/lookup/foo-bar/1.0.0"+other); code != 200 || !bytes.Equal(b, raw) {
		t.Errorf("%d", code)
	}
	if h, err := testlog.Must(client.ParseLookup(raw)).Check(l.policy, client.Rules{}, "https://index.example/x", "foo-bar",
		"1.0.0"); err != nil || h.Logged {
		t.Errorf("%+v %v", h, err)
	}
}

// TestAPageHasNoMoreRowsThanReadersTake: beyond, its halves have them.
func TestAPageHasNoMoreRowsThanReadersTake(t *testing.T) {
	t.Parallel()
	_, l, _ := filled(t, 1)
	var m index.Map
	for i := range client.MaxRows/2 + 1 {
		m.Add(uint64(i), index.Facts{Registry: "default", Name: fmt.Sprintf("c%d", i), Version: "1.0.0"})
	}
	_, err := l.pageOf(sealed{snap: m.Snapshot()}, client.Head{}, index.Prefix{})
	wantRefusal(t, err, TooManyRows, "one bit more")
	if status(TooManyRows) != 413 || client.TooManyRows != string(TooManyRows) {
		t.Error("clients do not know what this says")
	}
	// One that its readers would not believe is not handed out.
	head := l.published.head()
	seal, s, err := l.sealOf(t.Context(), head)
	fatalIf(t, err)
	s.snap = m.Snapshot()
	zero, one, err := index.Prefix{}.Halves()
	fatalIf(t, err)
	for _, half := range []index.Prefix{zero, one} {
		_, err = l.pageOf(s, client.Head{Index: head.size - 1, Checkpoint: head.raw, Seal: seal}, half)
		var r *Refusal
		if !errors.Is(err, errDamaged) && !errors.As(err, &r) {
			t.Errorf("a page of another map is handed out: %v", err)
		}
	}
}

// TestProofsAreForThePublishedRootUnderLoad: while entries come, each answer verifies, under a checkpoint that
// was published.
func TestProofsAreForThePublishedRootUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.BatchAge.Duration = 20 * time.Millisecond
	l := w.open()
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	w.fill(l, "first", 1)
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, path := range []string{"/v1/crates/first0/1.0.0", "/v1/lookup/first0/1.0.0", "/v1/lookup/none/1.0.0", "/v1/index?bits=0"} {
					code, _, b := get(t, srv.URL+path)
					if code != 200 {
						t.Errorf("%s: %d %s", path, code, b)
						continue
					}
					_, signed, _ := bytes.Cut(b, []byte("\n\n"))
					if c := testlog.Must(l.policy.CheckCheckpoint(signed)); uint64(c.Size) > l.published.head().size {
						t.Errorf("%s is under %d entries, which are not published", path, c.Size)
					}
				}
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			for j := range 30 {
				e, c := w.good(fmt.Sprintf("c%d-%d", i, j), "1.0.0")
				if _, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if n := len(w.page(l, srv.URL, index.Prefix{})); n != 2*121 {
		t.Errorf("%d rows", n)
	}
}

// TestAPageIsMadeOnce for all who ask for it under one checkpoint.
func TestAPageIsMadeOnce(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	head := testlog.Must(l.head())
	made := 0
	page := func(s sealed, h client.Head) ([]byte, error) {
		made++
		return l.pageOf(s, h, index.Prefix{})
	}
	first := testlog.Must(l.sealedBytes(t.Context(), "tag", head, page))
	again := testlog.Must(l.sealedBytes(t.Context(), "tag", head, page))
	if made != 1 || !bytes.Equal(first, again) {
		t.Errorf("made %d times", made)
	}
	if _, err := testlog.Must(client.ParsePage(first)).Check(l.policy, client.Rules{}, index.Prefix{}); err != nil {
		t.Error(err)
	}
}
