package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// watched starts a monitor of a site's log, and returns it with its settings.
func watched(t *testing.T, s *site) (monitor *process, settings string) {
	t.Helper()
	settings = filepath.Join(t.TempDir(), "monitor.toml")
	write(t, settings, fmt.Sprintf(`
database = "monitor.db"
evidence = "evidence"
listen = "127.0.0.1:0"
development = true
poll = "100ms"
view_poll = "200ms"
[[log]]
trust = %q
`, s.policy))
	s.run("monitor", "init", "-config", settings)
	return start(t, "monitor", "run", "-config", settings), settings
}

// TestTwoReadersWhoWereShownDifferentHistoriesMeetAtAMonitor: the log and all its
// witnesses conspire, and show a second reader another tree. Nothing that this
// reader can check alone is wrong. The reader gossips, and they are convicted.
func TestTwoReadersWhoWereShownDifferentHistoriesMeetAtAMonitor(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many programs")
	}
	s := newSite(t)
	s.logFixtures(t)
	s.addLogURL()
	monitor, settings := watched(t, s)
	wanted := "hello-inner = { version = \"0.1.0\", verification = \"zkp\" }\n"

	honest := newDependent(t, s, wanted)
	honest.policy("")
	honest.mustCargo("fetch")
	honest.zkp("gossip", monitor.url).want(t, 0, "has shown anything")
	honest.zkp("verify").want(t, 0, "1 crate proven")
	monitor.eventually(t, "consistent", func() bool {
		o := honest.zkp("gossip", monitor.url)
		if o.code != 0 {
			t.Fatalf("%v", o)
		}
		return strings.Contains(o.stderr, ": consistent:")
	})

	cheated := newDependent(t, s, wanted)
	cheated.trust(s.log.url, s.forked(t))
	cheated.mustCargo("fetch")
	cheated.zkp("verify").want(t, 0, "1 crate proven")
	cheated.zkp("gossip", monitor.url).want(t, 1, "another history than it showed the monitor", "do not use this log")

	monitor.stop()
	o := s.once(t, settings)
	o.want(t, 1, "security findings stand")
	files, err := filepath.Glob(filepath.Join(filepath.Dir(settings), "evidence", "*.evidence"))
	fatalIf(t, err)
	// The log, and each of its three witnesses.
	if len(files) != 4 {
		t.Fatalf("%d files of evidence", len(files))
	}
	convicted := ""
	for _, f := range files {
		o := command(t, "", nil, program(t, "monitor"), "verify-evidence", f, "--trust", s.policy)
		o.want(t, 0)
		convicted += o.stdout
	}
	for _, who := range []string{origin, witnessName(0), witnessName(1), witnessName(2)} {
		if !strings.Contains(convicted, who) {
			t.Errorf("%s is not convicted:\n%s", who, convicted)
		}
	}
}

// once runs "monitor once", which wants the database for itself.
func (s *site) once(t *testing.T, settings string) outcome {
	t.Helper()
	return command(t, "", nil, program(t, "monitor"), "once", "-config", settings)
}

// TestAMonitorWithoutItsLogSaysSoAndAccusesNoOne runs the program against a log that is
// stopped.
func TestAMonitorWithoutItsLogSaysSoAndAccusesNoOne(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many programs")
	}
	s := newSite(t)
	s.logFixtures(t)
	s.addLogURL()
	monitor, settings := watched(t, s)
	monitor.stop()
	s.once(t, settings).want(t, 0)
	s.stopAll()
	s.once(t, settings).want(t, 3)
	if files, err := os.ReadDir(filepath.Join(filepath.Dir(settings), "evidence")); err != nil || len(files) != 0 {
		t.Errorf("%v %v", files, err)
	}
}
