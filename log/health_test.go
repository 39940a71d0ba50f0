package log

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
)

// asked returns what a log answers to a probe.
func asked(t *testing.T, l *Log, path string) (int, healthBody) {
	t.Helper()
	w := httptest.NewRecorder()
	l.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	var b healthBody
	if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil || b.OK != (w.Code == http.StatusOK) || b.Version == "" {
		t.Errorf("%s: %d %s %v", path, w.Code, w.Body, err)
	}
	return w.Code, b
}

// wantProblem wants words among the problems of /healthz, and whether the log is ready all the same.
func wantProblem(t *testing.T, l *Log, words string, ready bool) {
	t.Helper()
	if code, b := asked(t, l, "/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(strings.Join(b.Problems, "\n"), words) {
		t.Errorf("/healthz: %d %q, want %q", code, b.Problems, words)
	}
	if code, b := asked(t, l, "/readyz"); (code == http.StatusOK) != ready {
		t.Errorf("with %q /readyz says %d %q", words, code, b.Problems)
	}
	if code, _ := asked(t, l, "/livez"); code != http.StatusOK {
		t.Errorf("with %q /livez says %d", words, code)
	}
}

func wantWell(t *testing.T, l *Log) {
	t.Helper()
	for _, path := range []string{"/livez", "/readyz", "/healthz"} {
		if code, b := asked(t, l, path); code != http.StatusOK {
			t.Errorf("%s of a log that is well: %d %q", path, code, b.Problems)
		}
	}
}

func TestHealthTellsWhatIsWrongAndReadinessWhetherItMatters(t *testing.T) {
	w := newWorld(t)
	w.cfg.testingOnlyPlace = filepath.Join(t.TempDir(), "disk")
	fatalIf(t, os.Mkdir(w.cfg.testingOnlyPlace, 0o700))
	l := w.open()
	well := func() bool { return l.health().OK }
	eventually(t, "a log that is well", well)
	wantWell(t, l)

	fatalIf(t, os.Remove(w.cfg.testingOnlyPlace))
	eventually(t, "word of the disk", func() bool { return !well() })
	wantProblem(t, l, "the disk of the test", false)
	fatalIf(t, os.Mkdir(w.cfg.testingOnlyPlace, 0o700))
	eventually(t, "a log that is well again", well)

	for _, c := range w.witnesses {
		c.signer.Time = func() time.Time { return time.Now().Add(time.Hour) }
	}
	e, c := w.good("alpha", "1.0.0")
	w.submit(l, e, c)
	wantProblem(t, l, "the clock is wrong", true)
	for _, c := range w.witnesses {
		c.signer.Time = time.Now
	}
	e, c = w.good("beta", "1.0.0")
	w.submit(l, e, c)
	wantWell(t, l)

	l.halt.now(errors.New("two roots"))
	wantProblem(t, l, "halted: two roots", false)
}

func TestHealthNamesAnEntryThatCouldNotBeWritten(t *testing.T) {
	w := newWorld(t)
	full := true
	w.cfg.testingOnlyAppender = func(add tessera.AddFn) tessera.AddFn {
		return func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
			if full {
				return func() (tessera.Index, error) { return tessera.Index{}, errors.New("no space left on device") }
			}
			return add(ctx, e)
		}
	}
	l := w.open()
	eventually(t, "a checkpoint", func() bool { return l.published.head().raw != nil })
	e, c := w.good("alpha", "1.0.0")
	if _, err := l.Submit(t.Context(), e, strings.NewReader(string(c)), nil); err == nil {
		t.Error("an entry that could not be written was accepted")
	}
	wantProblem(t, l, "the latest entry could not be written to the tree", false)
	if got := gauge(t, l, "cratelog_add_errors_total"); got != 1 {
		t.Errorf("cratelog_add_errors_total is %v", got)
	}
	full = false
	eventually(t, "a tree that can be written", func() bool { return l.health().OK })
	w.submit(l, e, c)
	wantWell(t, l)
	if got := gauge(t, l, "cratelog_last_accepted_timestamp_seconds"); time.Since(time.Unix(int64(got), 0)) > time.Hour {
		t.Errorf("the latest entry was accepted at %v", got)
	}
}

// gauge returns the value of a metric without labels.
func gauge(t *testing.T, l *Log, name string) float64 {
	t.Helper()
	all, err := l.metrics.registry.Gather()
	fatalIf(t, err)
	for _, m := range all {
		if m.GetName() == name {
			return m.GetMetric()[0].GetGauge().GetValue() + m.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestAfterARestartTheMetricsTellTheTruthAtOnce(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	for _, name := range []string{"alpha", "beta"} {
		e, c := w.good(name, "1.0.0")
		w.submit(l, e, c)
	}
	w.closeLog(l)
	for _, c := range w.witnesses {
		c.setDown(true)
	}
	old := time.Now().Add(-time.Hour)
	fatalIf(t, os.Chtimes(filepath.Join(w.cfg.TreeDir, "checkpoint"), old, old))
	l = w.open()
	if got := gauge(t, l, "cratelog_indexed_size"); got != 4 {
		t.Errorf("cratelog_indexed_size is %v, of 2 entries and 2 seals", got)
	}
	if got := gauge(t, l, "cratelog_published_size"); got != 4 {
		t.Errorf("cratelog_published_size is %v, of 2 entries and 2 seals", got)
	}
	if got := gauge(t, l, "cratelog_checkpoint_age_seconds"); got < 3600 || got > 2*3600 {
		t.Errorf("a checkpoint of an hour ago is %v seconds old", got)
	}
	for _, c := range w.witnesses {
		c.setDown(false)
	}
}

// TestTheFirstEntryAfterAQuietTimeIsNoBacklog: nothing is published at the moment that an entry is indexed.
func TestTheFirstEntryAfterAQuietTimeIsNoBacklog(t *testing.T) {
	_, l := openWorld(t)
	eventually(t, "a checkpoint", func() bool { return l.published.head().raw != nil })
	head, now := l.published.head(), time.Now()
	grace := 3*l.cfg.CheckpointInterval.Duration + l.cfg.WitnessTimeout.Duration
	l.cancel() // nobody else looks
	l.watcher.Wait()
	l.indexing.Lock()
	l.indexed = head.size + 1
	l.indexing.Unlock()
	late := now.Add(grace + time.Minute) // of a quiet time
	if p := l.unpublished(late); p != nil {
		t.Errorf("at once: %q", p)
	}
	if p := l.unpublished(late.Add(grace + time.Second)); len(p) != 1 || !strings.Contains(p[0], "a backlog of 1 entries") {
		t.Errorf("after a while: %q", p)
	}
	l.indexing.Lock()
	l.indexed = head.size
	l.indexing.Unlock()
	if p := l.unpublished(late.Add(grace + 2*time.Second)); p != nil {
		t.Errorf("when it is published: %q", p)
	}
}
