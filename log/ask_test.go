package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// snapshot copies tree and state of a log that writes nothing more, but perhaps the rest of a checkpoint, whose file
// gets its name last; the result puts them back.
func (w *world) snapshot() (restore func()) {
	w.t.Helper()
	kept := w.t.TempDir()
	dirs := map[string]string{w.cfg.TreeDir: filepath.Join(kept, "tree"), w.cfg.StateDir: filepath.Join(kept, "state")}
	for from, to := range dirs {
		err := os.CopyFS(to, os.DirFS(from))
		for range 20 {
			if !errors.Is(err, fs.ErrNotExist) {
				break
			}
			fatalIf(w.t, os.RemoveAll(to)) // a file got its name meanwhile
			err = os.CopyFS(to, os.DirFS(from))
		}
		fatalIf(w.t, err)
	}
	return func() {
		for from, to := range dirs {
			fatalIf(w.t, os.RemoveAll(from))
			fatalIf(w.t, os.CopyFS(from, os.DirFS(to)))
		}
	}
}

func (w *world) setHides(hides bool) {
	for _, c := range w.witnesses {
		c.mu.Lock()
		c.hides = hides
		c.mu.Unlock()
	}
}

func (w *world) noFork(t *testing.T) {
	t.Helper()
	for _, c := range w.witnesses {
		c.mu.Lock()
		if c.refused > 0 {
			t.Error("a witness was shown a fork")
		}
		c.mu.Unlock()
	}
}

// TestALogOfASnapshotSignsNothing: tree and state come together from a copy, so nothing here remembers what
// was signed since. The witnesses do.
func TestALogOfASnapshotSignsNothing(t *testing.T) {
	t.Parallel()
	for _, hides := range []bool{false, true} {
		t.Run(fmt.Sprintf("witnesses without checkpoints=%v", hides), func(t *testing.T) {
			t.Parallel()
			w, l := openWorld(t)
			w.fill(l, "a", 3)
			w.closeLog(l)
			restore := w.snapshot()
			l = w.open()
			w.fill(l, "b", 3)
			w.closeLog(l)
			restore()
			w.setHides(hides)

			w.cfg.PublishWait.Duration = 300 * time.Millisecond
			l, err := Open(t.Context(), w.cfg)
			fatalIf(t, err)
			defer l.Close(expired())
			e, c := w.good("other", "1.0.0")
			_, err = l.Submit(t.Context(), e, bytes.NewReader(c), nil)
			problems := strings.Join(l.health().Problems, " ")
			if hides {
				// A number is no proof: it keeps this log from signing, and not from accepting.
				wantRefusal(t, err, NotPublished, "")
				if !strings.Contains(problems, "nothing is signed before a quorum") || !strings.Contains(problems, "it knows 12 entries of this log, which has ") {
					t.Errorf("health: %s", problems)
				}
			} else {
				wantRefusal(t, err, Halted, "")
				if !errors.Is(l.halt.reason(), ErrRollback) || !strings.Contains(problems, "has a checkpoint of 12 entries, signed with this log's key, but the tree here has 6") {
					t.Errorf("health: %s", problems)
				}
				kept := testlog.Must(os.ReadFile(filepath.Join(w.cfg.StateDir, signedElsewhere)))
				if c := testlog.Must(l.ownCheckpoint(kept)); c.Size != 12 {
					t.Errorf("kept is a checkpoint of %d entries", c.Size)
				}
			}
			time.Sleep(3 * w.cfg.CheckpointInterval.Duration) // for Tessera to try
			if m, _ := l.guard.mark(); m.Size != 6 {
				t.Errorf("the guard signed %d entries", m.Size)
			}
			standing, _ := w.good("a0", "1.0.0")
			w.checkBundle(testlog.Must(l.bundle(t.Context(), 0, l.published.head())), standing)
			w.noFork(t)
		})
	}
}

// TestTheSameKeyOnAnEmptyDiskSignsNothing.
func TestTheSameKeyOnAnEmptyDiskSignsNothing(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	w.closeLog(l)
	w.cfg.TreeDir, w.cfg.StateDir = filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "state")
	l, err := Open(t.Context(), w.cfg)
	fatalIf(t, err)
	defer l.Close(expired())
	e, c := w.good("other", "1.0.0")
	_, err = l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, Halted, "")
	if m, _ := l.guard.mark(); m.Size != 0 {
		t.Errorf("the guard signed %d entries", m.Size)
	}
	w.noFork(t)
}

// TestAnotherTreeOfTheSameSizeConvicts.
func TestAnotherTreeOfTheSameSizeConvicts(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	w.closeLog(l)
	w.witnesses[1].answer(w.shows(4, tlog.Hash{1}))
	l, err := Open(t.Context(), w.cfg)
	fatalIf(t, err)
	defer l.Close(expired())
	eventually(t, "the log is halted", func() bool { return errors.Is(l.halt.reason(), ErrRollback) })
	if !strings.Contains(l.halt.reason().Error(), "its root is not that of as many entries") {
		t.Error(l.halt.reason())
	}
}

// shows is a witness that shows a checkpoint which the log's key has signed.
func (w *world) shows(size int, root tlog.Hash) http.HandlerFunc {
	text := fmt.Sprintf("%s\n%d\n%s\n", w.cfg.Origin, size, root)
	return w.showsNote(testlog.Sign(text, w.cfg.Signer.(*testlog.Key)), size)
}

func (w *world) showsNote(signed []byte, size int) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			rw.Write(signed)
			return
		}
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintf(rw, "%d\n", size)
	}
}

// TestAKeyThatSignsElsewhereHaltsARunningLog: the witness that refuses its checkpoint can show why.
func TestAKeyThatSignsElsewhereHaltsARunningLog(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	w.witnesses[0].answer(w.shows(9, tlog.Hash{1}))
	w.fill(l, "b", 1) // by the others' quorum
	eventually(t, "the log is halted", func() bool { return errors.Is(l.halt.reason(), ErrRollback) })
	e, c := w.good("c", "1.0.0")
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, Halted, "")
}

// TestOneWitnessCannotShutALogByWords: numbers, and checkpoints of other keys, convict nobody.
func TestOneWitnessCannotShutALogByWords(t *testing.T) {
	t.Parallel()
	key := testlog.LogKey(testOrigin, "somebody else")
	forged := testlog.Sign(fmt.Sprintf("%s\n99\n%s\n", testOrigin, tlog.Hash{1}), key)
	for name, answer := range map[string]func(w *world) http.HandlerFunc{
		"a number":         func(w *world) http.HandlerFunc { return refuseWith(http.StatusConflict, "99\n") },
		"no number":        func(w *world) http.HandlerFunc { return refuseWith(http.StatusConflict, "x") },
		"422":              func(w *world) http.HandlerFunc { return refuseWith(http.StatusUnprocessableEntity, "") },
		"another's key":    func(w *world) http.HandlerFunc { return w.showsNote(forged, 99) },
		"garbage":          func(w *world) http.HandlerFunc { return w.showsNote([]byte("garbage"), 99) },
		"endless":          func(w *world) http.HandlerFunc { return func(rw http.ResponseWriter, r *http.Request) { endless(rw) } },
		"an older, signed": func(w *world) http.HandlerFunc { return w.shows(0, testlog.Must(rootAt(w.t.Context(), 0, nil))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.witnesses[0].answer(answer(w))
			l := w.open()
			w.fill(l, "a", 2)
			h := l.health()
			if !h.OK {
				t.Errorf("health: %+v", h.Problems)
			}
			if name == "a number" && !strings.Contains(h.Witnesses[0].Error, "it knows 99 entries of this log, which has ") {
				t.Errorf("what the witness says is not shown: %+v", h.Witnesses[0])
			}
			w.closeLog(l)
			w.fill(w.open(), "b", 1)
		})
	}
}

func refuseWith(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}

// TestNothingIsSignedBeforeAQuorumWasAsked, and entries are accepted meanwhile.
func TestNothingIsSignedBeforeAQuorumWasAsked(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 1)
	w.closeLog(l)
	w.witnesses[0].setDown(true)
	w.witnesses[1].setDown(true)
	w.cfg.PublishWait.Duration = 300 * time.Millisecond
	l = w.open()
	e, c := w.good("b", "1.0.0")
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, NotPublished, "")
	time.Sleep(3 * w.cfg.CheckpointInterval.Duration)
	if m, _ := l.guard.mark(); m.Size != 2 {
		t.Errorf("the guard signed %d entries before a quorum was asked", m.Size)
	}
	if h := l.health(); h.OK || !strings.Contains(strings.Join(h.Problems, " "), "w0: it shows no checkpoint of this log") {
		t.Errorf("health: %+v", h.Problems)
	}
	w.witnesses[1].setDown(false)
	eventually(t, "it is published", func() bool { return l.published.head().size == 4 })
	w.submit(l, e, c)
}

// expired is a context for the Close of a log that cannot publish what it accepted.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
