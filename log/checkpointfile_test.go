package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"cratelog/internal/sqlite"
	"cratelog/internal/testlog"
	"cratelog/log/storage"
)

// TestAClockThatWasAheadDoesNotStopPublishing, neither of a running log nor across a start.
func TestAClockThatWasAheadDoesNotStopPublishing(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.cfg.PublishWait.Duration = 20 * time.Second
	ahead := func() {
		at := time.Now().Add(time.Hour)
		fatalIf(t, os.Chtimes(filepath.Join(w.cfg.TreeDir, "checkpoint"), at, at))
	}
	w.fill(l, "a", 1)
	ahead()
	w.fill(l, "b", 1)
	w.closeLog(l)
	ahead()
	said := &lines{}
	w.cfg.Logger = slog.New(slog.NewTextHandler(said, nil))
	before := testlog.Must(os.ReadFile(filepath.Join(w.cfg.TreeDir, "checkpoint")))
	l = w.open()
	if head := l.published.head(); !bytes.Equal(head.raw, before) {
		t.Error("the published checkpoint is not read at the start")
	}
	w.fill(l, "c", 1)
	if said.count("a clock that was ahead") == 0 {
		t.Error("the operator is not told the cause")
	}
}

// TestACheckpointFileOfGarbageIsPublishedAnew, which Tessera does not do.
func TestACheckpointFileOfGarbageIsPublishedAnew(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 1)
	path := filepath.Join(w.cfg.TreeDir, "checkpoint")
	right := testlog.Must(os.ReadFile(path))
	fatalIf(t, os.WriteFile(path, []byte("garbage"), 0o644))
	w.fill(l, "b", 1)
	w.closeLog(l)
	fatalIf(t, os.WriteFile(path, append([]byte("x"), right...), 0o644))
	l = w.open()
	w.fill(l, "c", 1)
}

// stuckTree is a tree of which nothing can be removed for a while.
type stuckTree struct {
	storage.Tree
	fails atomic.Int32
}

func (s *stuckTree) Remove(ctx context.Context, name string) error {
	if s.fails.Add(-1) >= 0 {
		return errors.New("the file system is read-only")
	}
	return s.Tree.Remove(ctx, name)
}

// TestACheckpointFileOfGarbageIsRemovedWhenItCanBe, if not at once.
func TestACheckpointFileOfGarbageIsRemovedWhenItCanBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	said := &lines{}
	w.cfg.Logger = slog.New(slog.NewTextHandler(said, nil))
	tree := &stuckTree{}
	w.cfg.testingOnlyTree = func(t storage.Tree) storage.Tree { tree.Tree = t; return tree }
	l := w.open()
	w.fill(l, "a", 1)
	tree.fails.Store(3)
	fatalIf(t, os.WriteFile(filepath.Join(w.cfg.TreeDir, "checkpoint"), []byte("garbage"), 0o644))
	w.fill(l, "b", 1)
	if n := said.count("none of this log; it is removed"); n != 1 {
		t.Errorf("it is said %d times that it is removed", n)
	}
}

// TestNothingIsSaidBeforeThePublishedCheckpointIsRead: a reader would take not-found for the last word.
func TestNothingIsSaidBeforeThePublishedCheckpointIsRead(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 1)
	w.closeLog(l)
	fatalIf(t, os.Remove(filepath.Join(w.cfg.TreeDir, "checkpoint")))
	w.cfg.testingOnlyPoll = time.Hour // nothing is read after the start
	l = w.open()
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	e, _ := w.good("a0", "1.0.0")
	id := testlog.Must(l.parse(e)).identity
	paths := []string{"/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1", "/v1/crates/a0/1.0.0", "/v1/crates/a0/1.0.0/claims",
		"/v1/crates/a0/1.0.0/builds", "/v1/entries/0", fmt.Sprintf("/v1/openings/%x", id), fmt.Sprintf("/v1/artifacts/%x", id)}
	for _, path := range paths {
		code, h, b := get(t, srv.URL+path)
		if code != http.StatusServiceUnavailable || h.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v %s", path, code, h, b)
		}
	}
}

// TestADatabaseOfANewerSchemaIsRefused, each of them, and left as it is.
func TestADatabaseOfANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.closeLog(w.open())
	for name, of := range map[string]sqlite.Owned{"guard.db": guardDatabase, indexFile: indexDatabase,
		openingsFile: openingsDatabase, buildsFile: buildsDatabase} {
		path := filepath.Join(w.cfg.StateDir, name)
		db := testlog.Must(of.Open(t.Context(), path, false))
		testlog.Must(db.Exec("PRAGMA user_version = 99"))
		fatalIf(t, db.Close())
		w.wantNoOpen(nil, name, "it has schema 99, and this program knows schemas up to")
		older := of
		older.Version = 99
		db = testlog.Must(older.Open(t.Context(), path, false))
		testlog.Must(db.Exec(fmt.Sprintf("PRAGMA user_version = %d", of.Version)))
		fatalIf(t, db.Close())
	}
	w.closeLog(w.open())
}
