package log

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"cratelog/internal/testlog"
)

// TestARunningLogFindsWhatRots, though it remembers what the files held, and no reader asks.
func TestARunningLogFindsWhatRots(t *testing.T) {
	t.Parallel()
	w, l, _ := filled(t, 299)
	w.closeLog(l)
	w.cfg.ScrubPeriod.Duration = 20 * time.Millisecond
	l = w.open()
	for i := range uint64(299) {
		testlog.Must(l.bundle(t.Context(), i, l.published.head()))
	}
	for _, name := range []string{"tile/0/000", "tile/entries/000", "tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"} {
		undo := w.flip(name, 20)
		eventually(t, name+" is found", func() bool {
			l.damages.mu.Lock()
			defer l.damages.mu.Unlock()
			return strings.HasPrefix(l.damages.files[name], name+" ")
		})
		if l.health().OK {
			t.Errorf("%s: /healthz says that all is well", name)
		}
		e, raw := w.good("c9", "1.0.0")
		w.submit(l, e, raw) // it is known, and shown from what was verified
		undo()
		eventually(t, name+" is in order again", func() bool { return l.health().OK })
	}
	testlog.Must(l.index.db.Exec("UPDATE entries SET name = 'x' WHERE idx = 200"))
	eventually(t, "the row is repaired", func() bool {
		var name string
		err := l.index.db.QueryRow("SELECT name FROM entries WHERE idx = 200").Scan(&name)
		return err == nil && name != "x"
	})
	e, raw := w.good("new", "1.0.0")
	if _, err := l.Submit(t.Context(), e, bytes.NewReader(raw), nil); err != nil {
		t.Error(err)
	}
}
