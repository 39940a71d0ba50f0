package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
	"cratelog/monitor/alert"
	"cratelog/monitor/store"
)

// site is a directory with a store, and two channels that append what they are told to files.
type site struct {
	*setup
	dir   string
	store *store.Store
}

func newSite(t *testing.T) *site {
	t.Helper()
	fixture.Need(t, "/bin/sh") // the hooks are scripts
	dir := t.TempDir()
	hook := filepath.Join(dir, "hook")
	fatalIf(t, os.WriteFile(hook, []byte("#!/bin/sh\ntest ! -e \"$1.broken\" && echo \"$ALERT_ID $EVENT $KIND $FINDING_ID $EVIDENCE_FILE $EVIDENCE_URL\" >> \"$1\"\n"), 0o755))
	file := filepath.Join(dir, "monitor.toml")
	fatalIf(t, os.WriteFile(file, fmt.Appendf(nil, `
database = "monitor.db"
evidence = "evidence"
public_url = "https://monitor.example/"

[[channel]]
name = "a"
type = "command"
command = [%q, %q]

[[channel]]
name = "b"
type = "command"
command = [%q, %q]
min_class = "info"
`, hook, filepath.Join(dir, "a"), hook, filepath.Join(dir, "b")), 0o600))
	settings := testlog.Must(loadSettings(file))
	s := testlog.Must(store.Create(t.Context(), settings.database()))
	t.Cleanup(func() { s.Close() })
	return &site{settings, dir, s}
}

// told returns what a channel's hook wrote: ALERT_ID EVENT KIND FINDING_ID EVIDENCE_FILE.
func (s *site) told(t *testing.T, channel string) [][]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, channel))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var all [][]string
	for line := range strings.Lines(string(b)) {
		all = append(all, strings.Fields(line))
	}
	return all
}

func (s *site) drain(t *testing.T) error {
	t.Helper()
	d := testlog.Must(newDispatcher(s.store, s.setup, slog.New(slog.DiscardHandler)))
	return d.Drain(t.Context())
}

func (s *site) record(t *testing.T, key string, class store.Class) store.Finding {
	t.Helper()
	f, _, err := s.store.RecordFinding(t.Context(), store.Finding{Key: key, Kind: "unsealed", Class: class, Summary: "Summary of " + key + ".",
		Evidence: strings.Repeat("ab", 32), Index: -1, FirstSeen: time.Now()}, alert.Routes(s.Channel).For(class, "unsealed", ""))
	fatalIf(t, err)
	return f
}

// TestAFindingPagesEachChannelOnce however often it is seen, and whatever restarts.
func TestAFindingPagesEachChannelOnce(t *testing.T) {
	s := newSite(t)
	for range 3 {
		s.record(t, "one", store.Security)
		s.record(t, "two", store.Info)
		fatalIf(t, s.drain(t))
	}
	a, b := s.told(t, "a"), s.told(t, "b")
	if len(a) != 1 || len(b) != 2 || a[0][0] != b[0][0] || b[0][0] == b[1][0] || a[0][1] != alert.Found {
		t.Errorf("a: %q, b: %q", a, b)
	}
	if want := filepath.Join(s.dir, "evidence", strings.Repeat("ab", 32)+".evidence"); a[0][4] != want {
		t.Errorf("the evidence lies in %q", a[0][4])
	}
	if want := "https://monitor.example/evidence/" + strings.Repeat("ab", 32) + ".evidence"; a[0][5] != want {
		t.Errorf("the evidence is served at %q", a[0][5])
	}
}

// TestABrokenChannelIsAFindingOnTheOthers and its alerts arrive when it works again.
func TestABrokenChannelIsAFindingOnTheOthers(t *testing.T) {
	s := newSite(t)
	broken := filepath.Join(s.dir, "a.broken")
	fatalIf(t, os.WriteFile(broken, nil, 0o600))
	d := testlog.Must(newDispatcher(s.store, s.setup, slog.New(slog.DiscardHandler)))
	for i := range 6 {
		s.record(t, fmt.Sprint(i), store.Security)
		if err := d.Drain(t.Context()); err == nil {
			t.Error("the broken channel is content")
		}
	}
	fatalIf(t, s.drainIgnoring(t, "a"))
	if a, b := s.told(t, "a"), s.told(t, "b"); len(a) != 0 || len(b) != 7 || b[6][2] != kindChannelBroken && b[5][2] != kindChannelBroken {
		t.Errorf("a: %q, b: %q", a, b)
	}
	open, err := s.store.Findings(t.Context(), store.FindingQuery{Class: store.Operational, Standing: true, Limit: 100})
	if err != nil || len(open) != 1 || !strings.Contains(open[0].Detail, "exit status 1") {
		t.Fatal(open, err)
	}
	due, err := s.store.PendingDeliveries(t.Context(), "a", time.Now().Add(2*time.Hour), 100)
	if err != nil || len(due) != 6 {
		t.Errorf("%d alerts wait for a, %v", len(due), err)
	}
	_, text, err := status(t.Context(), s.store, time.Now())
	if err != nil || !strings.Contains(text, "6 alerts wait for the channel a") || !strings.Contains(text, "open security finding 1 since ") {
		t.Errorf("%s %v", text, err)
	}
	fatalIf(t, os.Remove(broken))
	s.record(t, "last", store.Security)
	fatalIf(t, d.Drain(t.Context()))
	fatalIf(t, d.Drain(t.Context())) // the first one may have left what the other channel found out
	b := s.told(t, "b")
	if last := b[len(b)-1]; last[1] != alert.Resolved && b[len(b)-2][1] != alert.Resolved {
		t.Errorf("no channel was told that a works again: %q", b)
	}
}

// drainIgnoring drains, and lets one channel fail.
func (s *site) drainIgnoring(t *testing.T, channel string) error {
	t.Helper()
	rest := *s.setup
	rest.Channel = slices.DeleteFunc(slices.Clone(s.Channel), func(c alert.Config) bool { return c.Name == channel })
	d := testlog.Must(newDispatcher(s.store, &rest, slog.New(slog.DiscardHandler)))
	return d.Drain(t.Context())
}

func TestAnAcknowledgedFindingDoesNotPageButANewOneDoes(t *testing.T) {
	s := newSite(t)
	broken := filepath.Join(s.dir, "a.broken")
	fatalIf(t, os.WriteFile(broken, nil, 0o600))
	f := s.record(t, "one", store.Security)
	if err := s.drain(t); err == nil {
		t.Error("the broken channel is content")
	}
	id := fmt.Sprint(f.ID)
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{2, "needs the number of a finding", []string{"-config", s.path, "-why", "x"}},
		{2, "needs -config, -by and -why", []string{"-config", s.path, id}},
		{2, `"seven" is not the number`, []string{"-config", s.path, "-why", "x", "seven"}},
		{1, "there is no such finding: 99", []string{"-config", s.path, "-why", "x", "99"}},
		{3, "no such file", []string{"-config", s.path + "x", "-why", "x", id}},
	} {
		ends(t, c.code, "", c.says, append([]string{"ack", "-by", "me"}, c.args...)...)
	}
	ends(t, 0, id+": acknowledged: Summary of one.\n", "", "ack", "-config", s.path, id, "-by", "me", "-why", "we called them")
	fatalIf(t, os.Remove(broken))
	s.record(t, "one", store.Security)
	due, err := s.store.PendingDeliveries(t.Context(), "a", time.Now().Add(2*time.Hour), 100)
	if err != nil || len(due) != 0 {
		t.Errorf("it still waits: %v, %v", due, err)
	}
	s.record(t, "one, with other evidence", store.Security)
	fatalIf(t, s.drain(t))
	if a := s.told(t, "a"); len(a) != 1 || a[0][3] == id {
		t.Errorf("a: %q", a)
	}
}

func TestTestAlertReportsOnEachChannel(t *testing.T) {
	s := newSite(t)
	if out := ends(t, 0, "a: sent in ", "", "test-alert", "-config", s.path); !strings.Contains(out, "b: sent in ") {
		t.Error(out)
	}
	fatalIf(t, os.WriteFile(filepath.Join(s.dir, "a.broken"), nil, 0o600))
	if out := ends(t, 3, "a: FAILED after ", "1 of 2 channels do not work", "test-alert", "-config", s.path); !strings.Contains(out, "b: sent in ") {
		t.Error(out)
	}
	if out := ends(t, 0, "", "", "test-alert", "-config", s.path, "-channel", "b"); strings.Contains(out, "a:") {
		t.Error(out)
	}
	ends(t, 3, "", "", "test-alert", "-config", s.path, "-channel", "c")
	if a := s.told(t, "a"); len(a) != 1 || a[0][1] != alert.Test {
		t.Errorf("a: %q", a)
	}
	ends(t, 2, "", "", "test-alert")
}
