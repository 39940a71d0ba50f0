package monitor

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/torchwood"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

func TestGossipIsJudgedByTheRebuiltTree(t *testing.T) {
	w := newWorld(t)
	w.grow(123)
	early := w.log.Sign(w.log.Tree, 123, w.log.Witnesses...)
	w.grow(177)
	w.clean(300)
	w.append(49)
	w.log.Tree.Seal()
	future := w.log.Sign(w.log.Tree, 350) // signed, not published yet
	w.gossip(early, store.Consistent)
	w.gossip(future, store.Pending)
	w.log.Publish()
	w.clean(350)
	w.gossip(future, store.Consistent)
	// A bundle carries a checkpoint too.
	if c := w.gossip(w.log.Tree.Bundle(5, 123, early), store.Consistent); c.Size != 123 {
		t.Errorf("the bundle's checkpoint is of %d entries", c.Size)
	}
	w.noAttack()
}

func TestWhatTheLogDidNotSignIsRefusedAndForgotten(t *testing.T) {
	w := verifiedWorld(t, 300)
	signed := w.log.Sign(w.log.Tree, 200, w.log.Witnesses...)
	other := testlog.New("log.example/other", 3, w.clock)
	stranger := testlog.New(origin, 0, w.clock, "another seed")
	text, lines, _ := bytes.Cut(signed, []byte("\n\n"))
	for name, b := range map[string][]byte{
		"nothing":           nil,
		"garbage":           []byte("hello\n"),
		"another size":      bytes.Replace(signed, []byte("\n200\n"), []byte("\n201\n"), 1),
		"no signature":      append(bytes.Clone(text), "\n\n"...),
		"witnesses alone":   append(append(bytes.Clone(text), "\n\n"...), lines[bytes.IndexByte(lines, '\n')+1:]...),
		"another log":       other.Sign(w.log.Tree, 200),
		"another key":       stranger.Sign(w.log.Tree.Fork(100), 100),
		"extension":         bytes.Replace(signed, []byte("\n\n"), []byte("\nmore\n\n"), 1),
		"spoilt signature":  bytes.Replace(signed, lines[:40], append(bytes.Clone(lines[:39]), lines[39]^1), 1),
		"something too big": bytes.Repeat([]byte("x"), 1<<20),
	} {
		w.refused(name, b)
	}
	w.found()
}

// Whoever passes a checkpoint on can spoil cosignatures in it. That must not save a
// log that forked.
func TestASpoiltCosignatureDoesNotHideAFork(t *testing.T) {
	w := verifiedWorld(t, 300)
	signed := w.log.Sign(w.fork(98, 2), 100, w.log.Witnesses[0])
	signed[len(signed)-10] ^= 1
	if c := w.gossip(signed, store.Inconsistent); len(c.Cosignatures) != 0 {
		t.Fatalf("%+v", c)
	}
	w.found(kindForkPrefix)
}

func TestAnAbsurdSizeIsNoTargetAndHangsNothing(t *testing.T) {
	w := verifiedWorld(t, 10)
	for _, size := range []string{"9223372036854775807", "4611686018427387905", "281474976710657"} {
		text := strings.Replace(string(w.log.Sign(w.log.Tree, 10)), "\n10\n", "\n"+size+"\n", 1)
		w.refused(size, []byte(text))
		w.refused(size, w.log.SignText(text[:strings.Index(text, "\n\n")+1]))
	}
	// The largest that is taken cannot be downloaded, and stops nothing else.
	huge := w.log.SignText(strings.Replace(w.log.Head(10), "\n10\n", "\n281474976710656\n", 1), w.log.Witnesses...)
	if c := w.gossip(huge, store.Pending); !c.Accepted {
		t.Fatalf("%+v\n%s", c, huge)
	}
	w.grow(10)
	w.looks(20, 3)
	w.noAttack()
}

func TestAForkedLogThatGoesOnIsOneFinding(t *testing.T) {
	w := verifiedWorld(t, 300)
	other := w.log.Tree.Fork(250)
	for n := range int64(200) {
		other.Append(newEntry(t, 1000+n, nil))
		if n%40 == 39 {
			w.log.ServeSigned(other, other.Size(), w.log.Witnesses[1:]...)
			w.once()
		}
	}
	found := w.found(kindForkPrefix, kindCosignerFork, kindCosignerFork)
	if found[0].Count < 2 {
		t.Errorf("it was seen %d times", found[0].Count)
	}
	// The honest tree goes on as well, and is verified.
	w.grow(50)
	w.looks(350, 1)
	for _, f := range found {
		fatalIf(t, w.cfg.Store.Acknowledge(t.Context(), f.ID, "me", "the log was shut down", w.clock()))
	}
	w.clean(350) // all is acknowledged
	if n := len(w.findings()); n != 3 {
		t.Errorf("%d findings", n)
	}
}

func TestALogThatMendsItsEntriesIsVerifiedAgain(t *testing.T) {
	w := verifiedWorld(t, 300)
	w.grow(100)
	wrong := w.fork(398, 2)
	w.log.Intercept(serveBundles(wrong))
	w.found(kindRootMismatch)
	var requests atomic.Int64
	w.log.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/tile/entries/") {
			requests.Add(1)
		}
		return serveBundles(wrong)(rw, r)
	})
	w.open()
	w.once()
	first := requests.Load()
	w.once()
	if now := requests.Load(); now != first || first == 0 {
		t.Errorf("%d bundles were fetched at once, and %d again without a pause", first, now-first)
	}
	w.later(11 * time.Minute)
	w.found(kindRootMismatch)
	w.log.Intercept(nil)
	w.later(11 * time.Minute)
	w.log.Publish()
	if s := w.looks(400, 1); len(s.Trouble) != 0 { // the finding stands
		t.Errorf("%+v", s)
	}
}

func TestADownloadGoesOnWhereItStopped(t *testing.T) {
	w := newWorld(t)
	w.grow(2000)
	w.log.Intercept(testlog.Answer("/tile/entries/005", http.StatusTooManyRequests, nil))
	w.looks(0, 3)
	if p := w.position(); p.Downloaded != 5*256 {
		t.Errorf("%d entries are stored", p.Downloaded)
	}
	w.log.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/tile/entries/00") && r.URL.Path < "/tile/entries/005" {
			t.Errorf("%s is fetched again", r.URL.Path)
		}
		return false
	})
	w.open()
	w.clean(2000)
}

// SPEC (tlog-tiles): a log may delete partial tiles once there is the full one.
func TestPartialBundlesThatAreGoneAreReadFromFullOnes(t *testing.T) {
	w := newWorld(t)
	w.grow(300)
	early := w.log.Sign(w.log.Tree, 300, w.log.Witnesses...)
	w.grow(212)
	w.log.Serve(w.log.Tree, 512, early)
	for _, x := range w.log.Witnesses {
		w.log.Show(x, early)
	}
	w.log.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, ".p/") {
			http.NotFound(rw, r)
			return true
		}
		return false
	})
	w.clean(300)
	w.log.Publish()
	w.clean(512)
}

// The log's key can sign without end, and show it to others only. That must not keep the
// monitor from what the log shows to it.
func TestUnpublishedCheckpointsHideNoTarget(t *testing.T) {
	w := verifiedWorld(t, 10)
	for n := range int64(maxTargets + 20) {
		w.fill(w.log.Tree, 5000+n, 1, nil)
		w.log.Tree.Seal()
		w.gossip(w.log.Sign(w.log.Tree, w.log.Tree.Size()), store.Pending)
	}
	// First shown by one witness only, and then by the log.
	early := w.log.Sign(w.log.Tree, 16, w.log.Witnesses[0])
	w.log.Show(w.log.Witnesses[0], early)
	w.once()
	w.log.Serve(w.log.Tree, 16, early)
	if s := w.once(); s.Logs[0].Verified != 16 || s.Security != 0 {
		t.Errorf("%+v", s)
	}
}

func TestASlowLogIsGivenUpAndDelaysNoOtherView(t *testing.T) {
	w := verifiedWorld(t, 10)
	w.cfg.HTTP = &http.Client{Timeout: 2 * time.Second}
	w.open()
	w.log.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/checkpoint" {
			rw.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}
		return false
	})
	w.grow(2)
	w.looks(12, 3) // the witnesses showed the new tree, and the log serves it
	w.noAttack()
}

func TestAMonitorRefusesAnotherLogsMemory(t *testing.T) {
	w := verifiedWorld(t, 300)
	stranger := followed(testlog.New(origin, 3, w.clock, "another seed"), w.server.URL)
	ours := w.cfg.Logs[0]
	refused := func(says string, logs ...LogConfig) {
		t.Helper()
		cfg := w.cfg
		cfg.Logs = logs
		if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	refused(store.ErrOtherLog.Error(), stranger)
	refused("does not list it", LogConfig{Origin: "log.example/none", Policy: stranger.Policy})
	refused("twice", ours, ours)
	refused(`"w9"`, LogConfig{Origin: origin, Policy: ours.Policy, Witnesses: map[string]string{"w9": "-"}})
	// A memory that contradicts itself.
	fatalIf(t, w.cfg.Store.SetVerified(t.Context(), 1, 300, tlog.Hash{1}, nil))
	refused("damaged", ours)
}

// The log that comes back smaller, after its disk was restored from a copy, must not
// make the monitor begin anew.
func TestALogThatStartsAgainIsNotFollowedAnew(t *testing.T) {
	w := verifiedWorld(t, 300)
	w.log.Tree = w.fork(100, 300)
	w.log.Publish()
	found := w.found(kindForkPrefix, kindCosignerFork, kindCosignerFork, kindCosignerFork)
	if p := w.position(); p.Verified != 300 || found[0].Evidence == "" {
		t.Errorf("position %+v", p)
	}
}

func TestWatchesTellOfWhatWasNotAnnounced(t *testing.T) {
	w := newWorld(t)
	w.cfg.Route = func(f store.Finding, watch *store.Watch) []string {
		if watch != nil && watch.Channel != "" {
			return []string{watch.Channel}
		}
		return []string{"pager"}
	}
	w.open()
	ctx := t.Context()
	for _, x := range []store.Watch{{Kind: store.WatchCrate, Value: "crate-3", Channel: "owner"}, {Kind: store.WatchPrefix, Value: "crate-29"}, {Kind: store.WatchCommit, Value: "0500000000000000000000000000000000000000"}} {
		_, err := w.cfg.Store.AddWatch(ctx, x)
		fatalIf(t, err)
	}
	sum := [32]byte{1}
	for _, a := range []store.Authorization{{Name: "crate-291", Version: "1.0.0"}, {Name: "crate-292", Version: "1.0.0", SHA256: &sum}} {
		_, err := w.cfg.Store.Authorize(ctx, a)
		fatalIf(t, err)
	}
	w.grow(300)
	w.clean(300)
	w.open()
	w.clean(300)
	got := make(map[string]int)
	for _, f := range w.findings() {
		got[f.Name]++
		if f.Kind != kindWatch || f.Class != store.Info {
			t.Errorf("finding %+v", f)
		}
	}
	// crate-3, crate-5, and crate-29, 290, 292 to 298.
	if len(got) != 11 || got["crate-3"] != 1 || got["crate-5"] != 1 || got["crate-291"] != 0 || got["crate-292"] != 1 {
		t.Errorf("found %v", got)
	}
	due, err := w.cfg.Store.PendingDeliveries(ctx, "owner", w.clock(), 10)
	if err != nil || len(due) != 1 || due[0].Finding.Name != "crate-3" {
		t.Errorf("the owner is told %+v, %v", due, err)
	}
}

func TestRunFollowsUntilItIsStopped(t *testing.T) {
	w := newWorld(t)
	w.cfg.Poll.Duration, w.cfg.ViewPoll.Duration = 5*time.Millisecond, 5*time.Millisecond
	w.open()
	w.grow(10)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.m.Run(ctx) }()
	verified := func(n int64) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			p := w.position()
			if p.Verified == n {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("verified %d, want %d", p.Verified, n)
			}
		}
	}
	verified(10)
	_, err := w.m.Gossip(ctx, w.log.ServeSigned(w.fork(10, 600), 610, w.log.Witnesses...), "gossip") // wakes it up
	fatalIf(t, err)
	verified(610)
	stop()
	fatalIf(t, <-done)
	w.noAttack()
}

func TestSeveralLogsAreFollowedEachForItself(t *testing.T) {
	w := newWorld(t)
	second := testlog.New("log.example/second", 1, w.clock)
	server := httptest.NewServer(second)
	defer server.Close()
	w.cfg.Logs = append(w.cfg.Logs, followed(second, server.URL))
	w.open()
	w.grow(300)
	// The same versions in two logs contradict nobody, whatever their checksums.
	w.fill(second.Tree, 0, 100, func(e *entry.Entry) { e.Subject.SHA256[0]++ })
	second.Publish()
	s := w.once()
	if len(s.Logs) != 2 || s.Logs[0].Verified != 300 || s.Logs[1].Verified != 101 || s.ExitCode() != 0 {
		t.Fatalf("%+v", s)
	}
	// What one does is not the other's.
	w.gossip(second.Sign(w.fill(second.Tree.Fork(50), 999, 1, nil), 51), store.Inconsistent)
	if all := w.findings(); len(all) != 1 || all[0].Origin != second.KeyName {
		t.Errorf("%+v", all)
	}
}

// TestALogCannotShowAnotherOfItsTrustFile: its key signed it, but for another log.
func TestALogCannotShowAnotherOfItsTrustFile(t *testing.T) {
	w := newWorld(t)
	second := testlog.New("log.example/second", 0, w.clock)
	w.follow("log " + second.VKey + "\n" + string(w.log.Trust(w.server.URL)))
	w.grow(10)
	w.clean(10)
	w.fill(second.Tree, 7, 1, nil)
	signed := second.Sign(second.Tree, 1, w.log.Witnesses...)
	w.log.Serve(second.Tree, 1, signed)
	w.log.Show(w.log.Witnesses[0], signed)
	s := w.once()
	if s.Security != 0 || len(s.Trouble) != 2 || !strings.Contains(s.Trouble[0], second.KeyName) {
		t.Errorf("%+v", s)
	}
}

func TestMetricsSayHowFarEachLogIsVerified(t *testing.T) {
	w := verifiedWorld(t, 300)
	r := prometheus.NewPedanticRegistry()
	fatalIf(t, r.Register(w.m))
	families := testlog.Must(r.Gather())
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			if m.Gauge != nil {
				got[f.GetName()] += m.Gauge.GetValue()
			} else {
				got[f.GetName()] += m.Counter.GetValue()
			}
		}
	}
	for name, want := range map[string]float64{"log_size": 300, "verified_entries": 300, "downloaded_entries": 300, "entries_checked_total": 300, "view_size": 4 * 300, "findings": 0} {
		if v, ok := got["cratelog_monitor_"+name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}

// TestAFloodForOneWatchSilencesNoOther: whoever watches a name hears of it, however many crates match another watch.
func TestAFloodForOneWatchSilencesNoOther(t *testing.T) {
	w := newWorld(t)
	for _, x := range []store.Watch{{Kind: store.WatchPrefix, Value: "noise-", Added: w.clock()}, {Kind: store.WatchCrate, Value: "mine", Added: w.clock()}} {
		testlog.Must(w.cfg.Store.AddWatch(t.Context(), x))
	}
	n := 0
	w.fill(w.log.Tree, 0, maxPerKind+20, func(e *entry.Entry) {
		if e.Subject.Name = fmt.Sprintf("noise-%d", n); n == maxPerKind+10 {
			e.Subject.Name = "mine"
		}
		n++
	})
	w.log.Publish()
	w.once()
	found := slices.ContainsFunc(w.findings(), func(f store.Finding) bool { return f.Kind == kindWatch && f.Name == "mine" })
	if all := w.findings(); !found || len(all) != maxPerKind+2 {
		t.Errorf("%d findings; the watched crate is among them: %v", len(all), found)
	}
}

func TestAFloodOfFindingsIsCounted(t *testing.T) {
	w := newWorld(t)
	w.fill(w.log.Tree, 0, maxPerKind+20, func(e *entry.Entry) { e.Claim.(*entry.Source).Unproven = []string{"src/lib.rs"} })
	w.log.Publish()
	w.once()
	all := w.findings()
	if len(all) != maxPerKind+1 || all[maxPerKind].Count != 1 || !strings.Contains(all[maxPerKind].Summary, "more than 1000") {
		t.Errorf("%d findings, the last %+v", len(all), all[len(all)-1])
	}
}

func TestAFindingWithoutAFileIsStillAFinding(t *testing.T) {
	w := newWorld(t)
	f := w.m.followers[0]
	x := store.Finding{Key: "x", Kind: kindCrateMismatch, Summary: "It is so.", Index: -1}
	fatalIf(t, f.report(t.Context(), x, nil, func() (*evidence.Evidence, error) { return &evidence.Evidence{}, nil }))
	if all := w.findings(); len(all) != 1 || all[0].Evidence != "" || !strings.Contains(all[0].Detail, "No evidence file") {
		t.Errorf("%+v", all)
	}
	// But a disk that is full is no reason to go on.
	x.Key = "y"
	w.m.cfg.EvidenceDir = filepath.Join(t.TempDir(), "none")
	w.grow(2)
	note := w.log.Publish()
	err := f.report(t.Context(), x, nil, func() (*evidence.Evidence, error) { return evidence.NewStale(note, evidence.Meta{Observed: w.clock()}) })
	if err == nil || len(w.findings()) != 1 {
		t.Errorf("a finding was recorded before its evidence: %v", err)
	}
}

// No alert is sent, and nothing is passed over, before the evidence is on the disk.
func TestNothingIsVerifiedPastAFindingThatCannotBeRecorded(t *testing.T) {
	w := newWorld(t)
	w.grow(10)
	w.log.Tree.Append([]byte("no entry"))
	w.log.Publish()
	good := w.cfg.EvidenceDir
	w.cfg.EvidenceDir = filepath.Join(t.TempDir(), "none")
	w.open()
	for range 2 {
		if _, err := w.m.Once(t.Context()); err == nil || len(w.findings()) != 0 {
			t.Fatalf("%v, %d findings", err, len(w.findings()))
		}
	}
	if p := w.position(); p.Verified != 0 || p.Downloaded != 12 {
		t.Errorf("position %+v", p)
	}
	w.cfg.EvidenceDir = good
	w.open()
	w.found(kindMalformed)
}

func TestALogWithoutWitnessesIsFollowedForWhatItIs(t *testing.T) {
	w := newWorld(t)
	w.follow("log " + w.log.VKey + " " + w.server.URL + "\nquorum none\n")
	w.grow(100)
	w.later(100 * time.Hour)
	w.clean(100)
}

func TestPlainHTTPIsSpokenWithThisMachineOnly(t *testing.T) {
	w := newWorld(t)
	for _, change := range []func(l *LogConfig){
		func(l *LogConfig) { l.URL = "http://log.example/" },
		func(l *LogConfig) { l.Mirrors = []string{"http://10.0.0.1/"} },
		func(l *LogConfig) { l.Witnesses = map[string]string{"w1": "http://w1.example"} },
	} {
		cfg := w.cfg
		cfg.Logs = []LogConfig{w.cfg.Logs[0]}
		change(&cfg.Logs[0])
		if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "is plain http to another machine: use https, or set allow_http") {
			t.Errorf("%+v: %v", cfg.Logs[0], err)
		}
		cfg.AllowHTTP = true
		if _, err := New(t.Context(), cfg); err != nil {
			t.Errorf("%+v: %v", cfg.Logs[0], err)
		}
	}
}

// A mirror that forked, and a target that cannot be had beside it.
func TestAForkIsKnownThoughALargerTreeCannotBeHad(t *testing.T) {
	w := verifiedWorld(t, 300)
	huge := w.fill(w.log.Tree.Fork(300), 3000, 300, nil)
	w.gossip(w.log.Sign(huge, 600, w.log.Witnesses...), store.Pending)
	w.log.ServeSigned(w.fork(290, 60), 350, w.log.Witnesses[0])
	w.found(kindForkPrefix, kindCosignerFork)
}

func TestTheRulesForAlertsNameMetricsThatExist(t *testing.T) {
	w := verifiedWorld(t, 2)
	rules, doc := document("../deploy/monitor.rules.yml"), document("monitoring.md")
	described := make(chan *prometheus.Desc, 100)
	w.m.Describe(described)
	close(described)
	var all string
	for d := range described {
		all += d.String()
		_, name, _ := strings.Cut(d.String(), `fqName: "cratelog_monitor`)
		if name, _, _ = strings.Cut(name, `"`); !strings.Contains(doc, name+"`") {
			t.Errorf("docs/monitoring.md does not explain %s", name)
		}
	}
	for _, name := range regexp.MustCompile(`cratelog_monitor_[a-z_]+`).FindAllString(rules, -1) {
		if !strings.Contains(all, `"`+name+`"`) {
			t.Errorf("there is no metric %s", name)
		}
	}
}

func document(name string) string {
	return string(testlog.Must(os.ReadFile(filepath.Join("..", "docs", name))))
}

// What parses as a bundle is encoded in one way.
func FuzzBundle(f *testing.F) {
	f.Add([]byte{0, 1, 7, 0, 0}, uint8(2))
	f.Add([]byte{0, 1}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, n uint8) {
		entries, err := parseBundle(b, int(n))
		if err != nil {
			return
		}
		var again []byte
		for _, e := range entries {
			again = testlog.Must(torchwood.AppendTileEntry(again, e))
		}
		if len(entries) != int(n) || !bytes.Equal(again, b) {
			t.Errorf("%x is not what it says", b)
		}
	})
}

func TestEveryKindIsExplainedToOperators(t *testing.T) {
	explained := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (security|operational|info) \\| [A-Z].*\\. \\|$").FindAllStringSubmatch(document("monitoring.md"), -1)
	for _, line := range explained {
		if classes[line[1]] != store.Class(line[2]) {
			t.Errorf("docs/monitoring.md has the kind %s of class %s; it is %q", line[1], line[2], classes[line[1]])
		}
	}
	if len(explained) != len(classes) {
		t.Errorf("docs/monitoring.md explains %d kinds, and there are %d", len(explained), len(classes))
	}
}

func TestTroubleOnTheWayIsToldInWords(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	for _, why := range []string{"it hung up", "connection refused"} {
		_, err := http.Get(s.URL + "/checkpoint")
		got := errorText(fmt.Errorf("the log: %w", err))
		if want := "the log: " + s.URL + "/checkpoint does not answer: " + why; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		s.Close()
	}
}
