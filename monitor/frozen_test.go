package monitor

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"cratelog/client"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

// end has the log say that it has ended, with a tree of n entries.
func (w *world) end(n int64, signer note.Signer) {
	w.t.Helper()
	f := client.Frozen{Origin: origin, Size: n, Root: w.log.Tree.Root(n), Time: w.clock(),
		Successor: testlog.LogKey("next.test/log").VKey}
	signed := testlog.Must(note.Sign(&note.Note{Text: testlog.Must(f.Text())}, signer))
	w.log.Intercept(testlog.Answer("/frozen", http.StatusOK, signed))
}

func TestALogThatGrowsAfterItsEndIsConvicted(t *testing.T) {
	for name, grow := range map[string]func(w *world){
		"shown by itself": func(w *world) { w.grow(2) },
		"shown in gossip": func(w *world) {
			w.gossip(w.log.Sign(w.fork(300, 2), 302), store.Pending)
		},
		"and hides its words": func(w *world) { w.log.Intercept(nil); w.grow(2) },
	} {
		t.Run(name, func(t *testing.T) {
			w := verifiedWorld(t, 300)
			w.end(300, testlog.LogKey(origin, "another"))
			w.found() // anybody can write a note
			w.end(300, w.log.Key)
			found := w.found(kindFrozen)
			if !strings.Contains(found[0].Summary, "300 entries") || !strings.Contains(found[0].Detail, "cratelog/frozen/v1") {
				t.Errorf("%+v", found[0])
			}
			w.open() // the note outlives the monitor
			grow(w)
			for _, f := range w.found(kindFrozen, kindFrozenGrew) {
				if f.Kind == kindFrozenGrew && (!strings.Contains(f.Summary, "of 302") || !strings.Contains(f.Detail,
					origin+"\n302\n")) {
					t.Errorf("%+v", f)
				}
			}
			if code := w.once().ExitCode(); code != 1 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestANoteOfAnotherTreeConvicts(t *testing.T) {
	w := verifiedWorld(t, 300)
	f := client.Frozen{Origin: origin, Size: 300, Root: w.log.Tree.Root(299), Time: w.clock()}
	w.log.Intercept(testlog.Answer("/frozen", http.StatusOK,
		testlog.Must(note.Sign(&note.Note{Text: testlog.Must(f.Text())}, w.log.Key))))
	w.found(kindFrozen, kindFrozenGrew)
}

func TestADamagedNoteIsToldAndNothingIsBelieved(t *testing.T) {
	w := verifiedWorld(t, 300)
	w.end(300, w.log.Key)
	w.found(kindFrozen)
	fatalIf(t, os.WriteFile(w.m.followers[0].frozenPath(), []byte("x"), 0o644))
	if _, _, err := w.m.followers[0].frozen(t.Context()); err == nil {
		t.Error("a damaged note is taken for none")
	}
}

// TestAShardThatTakesOverLessThanTheEndIsTold: versions that were logged later would have no checksum in it.
func TestAShardThatTakesOverLessThanTheEndIsTold(t *testing.T) {
	for name, x := range map[string]struct {
		size int64
		want []string
	}{
		"all":     {300, []string{kindFrozen}},
		"most":    {200, []string{kindFrozen, kindStartMismatch}},
		"nothing": {0, []string{kindFrozen, kindStartMismatch}},
	} {
		t.Run(name, func(t *testing.T) {
			w := verifiedWorld(t, 300)
			next := testlog.New("log.example/next", 1, w.clock)
			server := httptest.NewServer(next)
			t.Cleanup(server.Close)
			next.Tree.Continue(origin, w.log.Tree, x.size, nil)
			next.Publish()
			w.cfg.Logs = append(w.cfg.Logs, followed(next, server.URL))
			w.open()
			w.once()
			if all := w.findings(); len(all) > 0 {
				t.Errorf("before the end: %+v", all)
			}
			w.end(300, w.log.Key)
			w.once()
			var got []string
			for _, f := range w.findings() {
				got = append(got, f.Kind)
			}
			if slices.Sort(got); !slices.Equal(got, x.want) {
				t.Errorf("%q", got)
			}
		})
	}
}
