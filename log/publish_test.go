package log

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines collects what a logger says.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), words)
}

func TestOperatorIsToldOnceThatNothingIsPublished(t *testing.T) {
	w := newWorld(t)
	said := &lines{}
	w.cfg.Logger = slog.New(slog.NewTextHandler(said, nil))
	w.cfg.WitnessTimeout.Duration = 200 * time.Millisecond
	for _, c := range w.witnesses {
		c.setDown(true)
	}
	w.open()
	eventually(t, "an error in the operator's log", func() bool { return said.count("the log is not well") > 0 })
	if said.count("the witnesses' quorum has not cosigned") == 0 {
		t.Error("the operator is not told why")
	}
	for _, c := range w.witnesses {
		c.setDown(false)
	}
	eventually(t, "word that it is well again", func() bool { return said.count("the log is well again") > 0 })
	if said.count("the log is not well") != 1 || said.count("the log is well again") != 1 {
		t.Error("the operator is told more than once")
	}
}

// TestWhatCannotBeReadIsSaid once it has lasted: of a store that is away for a moment nobody needs to hear.
func TestWhatCannotBeReadIsSaid(t *testing.T) {
	l := &Log{}
	now := time.Now()
	says := func(err error, after time.Duration, want int) {
		t.Helper()
		l.condition.reading = err
		if got := l.unreadable(now.Add(after)); len(got) != want {
			t.Errorf("%v after %v: %q", err, after, got)
		}
	}
	away := errors.New("the store is away")
	says(nil, 0, 0)
	says(away, 0, 0)
	says(away, longSince+time.Second, 1)
	says(nil, longSince+2*time.Second, 0)
	says(away, longSince+3*time.Second, 0)
}
