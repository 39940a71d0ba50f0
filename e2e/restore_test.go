package e2e

import (
	"context"
	"os"
	"testing"
	"time"

	"cratelog/client"
)

// TestARestoredBackupCannotTellASecondHistory puts an old copy of the log's
// directories in their place, as an operator might after a broken disk, or to
// forget an entry. The log must notice by itself when it can; when its own memory
// is old too, it asks the witnesses before it signs anything, so that nobody gets
// evidence against it.
func TestARestoredBackupCannotTellASecondHistory(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many programs")
	}
	s := newSite(t)
	all, r := items(t), s.reader()
	submit := func(it item, patience time.Duration) ([]byte, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return (&client.Log{URL: s.log.url}).Submit(ctx, it.entry, it.crate, nil)
	}
	_, err := submit(all[0], time.Minute)
	fatalIf(t, err)
	s.log.stop()
	s.copyDir("tree", "tree.old")
	s.copyDir("state", "state.old")
	s.startLog()
	kept, err := submit(all[1], time.Minute)
	fatalIf(t, err)
	s.log.stop()

	t.Run("the tree alone", func(t *testing.T) {
		s.copyDir("tree", "tree.new")
		s.copyDir("tree.old", "tree")
		p := launch(t, "logd", "serve", "-config", s.path("logd.toml"))
		select {
		case <-p.done:
		case <-time.After(time.Minute):
			p.kill()
		}
		if code := p.cmd.ProcessState.ExitCode(); code != 3 {
			t.Errorf("the log started on an old tree, exit code %d:\n%s", code, p.log)
		}
		s.copyDir("tree.new", "tree")
	})
	t.Run("the tree and the memory", func(t *testing.T) {
		s.copyDir("tree.old", "tree")
		s.copyDir("state.old", "state")
		s.startLog()
		bundle, err := submit(all[2], 4*time.Second)
		if err == nil {
			t.Fatalf("a log that has forgotten an entry was believed:\n%s", bundle)
		}
		t.Logf("the submitter hears: %v", err)
		s.log.kill() // it would wait for its witnesses until its shutdown_timeout
	})
	if _, err := r.verify(all[1].crate, kept); err != nil {
		t.Errorf("the entry that was to be forgotten: %v", err)
	}
	s.stopAll()
	for i := range s.witnesses {
		if o := command(t, "", nil, program(t, "witness"), "evidence", "-config", s.witnessFile(i)); o.code != 0 {
			t.Errorf("the log signed another history, and witness %d has it: %v", i, o)
		}
	}
	if _, err := os.Stat(s.path("state/signed-elsewhere.checkpoint")); err != nil {
		t.Errorf("what a witness showed is not kept: %v", err)
	}
}

// copyDir replaces a directory by a copy of another one.
func (s *site) copyDir(from, to string) {
	s.t.Helper()
	fatalIf(s.t, os.RemoveAll(s.path(to)))
	fatalIf(s.t, os.CopyFS(s.path(to), os.DirFS(s.path(from))))
}
