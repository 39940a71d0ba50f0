package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/monitor"
	"cratelog/monitor/store"
	"cratelog/proofcheck"
)

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// followed is a log with what a monitor needs to follow it.
type followed struct {
	log  *testlog.Log
	file string // settings
	dir  string
	url  string
	f    *forge.Forger
}

func newFollowed(t *testing.T, more string) *followed {
	t.Helper()
	x := &followed{dir: t.TempDir()}
	x.log = testlog.New("log.example/program", 3, time.Now)
	server := httptest.NewServer(x.log)
	t.Cleanup(server.Close)
	x.url = server.URL
	x.f = testlog.Must(forge.Default())
	fatalIf(t, os.WriteFile(filepath.Join(x.dir, "trust.policy"), x.log.Trust(server.URL), 0o600))
	x.file = filepath.Join(x.dir, "monitor.toml")
	fatalIf(t, os.WriteFile(x.file, []byte(`database = "monitor.db"
evidence = "evidence"
listen = "127.0.0.1:0"
development = true
poll = "20ms"
opening_interval = "1ms"
[[log]]
trust = "trust.policy"
`+more), 0o600))
	ends(t, 0, "", "", "init", "-config", x.file)
	return x
}

// add appends entries with valid proofs.
func (x *followed) add(t *testing.T, from, to int, change func(e *entry.Entry)) {
	t.Helper()
	for i := from; i < to; i++ {
		e := &entry.Entry{Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: fmt.Sprintf("crate-%d", i), Version: "1.0.0", SHA256: entry.LeafHash(fmt.Append(nil, i))},
			Claim: &entry.Source{Commit: [20]byte{byte(i)}, Path: "crates/x"}}
		fatalIf(t, x.f.Prove(e, []byte("ct")))
		if change != nil {
			change(e)
		}
		b := testlog.Must(e.Marshal())
		x.log.Tree.Append(b)
	}
}

func TestOnceSaysWithItsExitCodeHowItIs(t *testing.T) {
	x := newFollowed(t, "")
	x.add(t, 0, 20, nil)
	x.log.Publish()
	code, out, errs := command(t, "once", "-config", x.file)
	if code != 0 || out != "log.example/program: 21 entries verified of 21\nsecurity findings: 0\noperational findings: 0\n" {
		t.Fatalf("an honest log: %d\n%s%s", code, out, errs)
	}
	if !strings.Contains(errs, "UNSAFE") || !strings.Contains(errs, "no alert channel") || !strings.Contains(errs, "msg=following") {
		t.Errorf("the summary at the start is %s", errs)
	}
	x.log.Intercept(func(w http.ResponseWriter, r *http.Request) bool { http.Error(w, "down", 500); return true })
	ends(t, 3, "trouble: log.example/program: the log answered 500", "", "once", "-config", x.file)
	x.log.Intercept(nil)
	x.add(t, 20, 21, func(e *entry.Entry) { e.Subject.SHA256[0]++ })
	x.log.Publish()
	out = ends(t, 1, "", "1 security findings stand", "once", "-json", "-config", x.file)
	var sum monitor.Summary
	fatalIf(t, json.Unmarshal([]byte(out), &sum))
	if sum.Security != 1 || sum.Logs[0].Verified != 23 {
		t.Errorf("a false entry: %s", out)
	}
	files, err := filepath.Glob(filepath.Join(x.dir, "evidence", "*.evidence"))
	if err != nil || len(files) != 1 {
		t.Fatalf("evidence %q, %v", files, err)
	}
	ends(t, 0, "log.example/program", "", "verify-evidence", files[0], "--trust", filepath.Join(x.dir, "trust.policy"), "--development")
	ends(t, 0, "", "", "ack", "-config", x.file, "1", "-by", "me", "-why", "told them")
	ends(t, 0, "", "", "once", "-config", x.file)
}

func TestMistakesInTheSettingsAreNamed(t *testing.T) {
	x := newFollowed(t, "")
	good := testlog.Must(os.ReadFile(x.file))
	for name, c := range map[string]struct{ old, new, says string }{
		"an unknown key":         {"poll", "pole", "pole"},
		"no database":            {`database = "monitor.db"`, "", `the setting "database" is missing`},
		"a missing database":     {"monitor.db", "other.db", "monitor init"},
		"no log":                 {"[[log]]\ntrust = \"trust.policy\"", "", "there is no log to follow"},
		"no trust file":          {`trust = "trust.policy"`, "", "trust: name the"},
		"a missing trust file":   {"trust.policy", "none.policy", "none.policy"},
		"development keys":       {"development = true", "", "set development = true"},
		"a bad URL":              {"development = true", "development = true\npublic_url = \"example\"", "public_url"},
		"a registry without URL": {"[[log]]", "[registry]\ncontents = true\n[[log]]", "registry: index is missing"},
		"a registry by http":     {"[[log]]", "[registry]\nindex = \"http://a.example/\"\n[[log]]", "or set allow_http"},
		"a witness unknown":      {`trust = "trust.policy"`, "trust = \"trust.policy\"\nwitnesses = {w9 = \"-\"}", `"w9"`},
		"a bad channel":          {"[[log]]", "[[channel]]\nname = \"x\"\ntype = \"pigeon\"\n[[log]]", "pigeon"},
		"no evidence directory":  {`evidence = "evidence"`, `evidence = "nowhere"`, "monitor init makes it"},
	} {
		fatalIf(t, os.WriteFile(x.file, bytes.Replace(good, []byte(c.old), []byte(c.new), 1), 0o600))
		if out := ends(t, 3, "", c.says, "once", "-config", x.file); out != "" {
			t.Errorf("%s: %q", name, out)
		}
	}
	taken := testlog.Must(net.Listen("tcp", "127.0.0.1:0"))
	defer taken.Close()
	fatalIf(t, os.WriteFile(x.file, bytes.Replace(good, []byte("127.0.0.1:0"), []byte(taken.Addr().String()), 1), 0o600))
	ends(t, 3, "", "end what listens there, or choose another address: the setting \"listen\" of "+x.file, "run", "-config", x.file)
	fatalIf(t, os.WriteFile(x.file, good, 0o600))
	for _, args := range [][]string{{"once"}, {"once", "-config", x.file, "more"}, {"fly"}, {}, {"watch", "-config", x.file, "-crate", "a", "-path", "b"}, {"authorize", "-config", x.file, "-crate", "a"}} {
		ends(t, 2, "", "", args...)
	}
}

func TestTheExampleSettingsAreGood(t *testing.T) {
	s := testlog.Must(loadSettings(filepath.Join("..", "..", "config", "monitor.example.toml")))
	if len(s.Log) != 1 || len(s.Channel) != 2 || s.Poll.Duration != 30*time.Second {
		t.Errorf("%+v", s.settings)
	}
}

func TestWatchesAreAddedListedAndRemoved(t *testing.T) {
	x := newFollowed(t, "")
	for _, c := range []struct{ args, says string }{
		{"watch -crate serde -note mine", "watch 1\n"},
		{"watch -prefix my-", "watch 2\n"},
		{"watch", "1\tcrate\tserde\t\tmine\n2\tprefix\tmy-\t\t\n"},
		{"watch -remove 1", ""},
		{"watch", "2\tprefix\tmy-\t\t\n"},
		{"authorize -crate serde -version 1.0.0 -by me -days 0", "authorization 1\n"},
		{"authorize", "1\tserde\t1.0.0\tany checksum\tfor ever\tme\n"},
		{"authorize -remove 1", ""},
		{"authorize", ""},
	} {
		if out := ends(t, 0, "", "", append(strings.Fields(c.args), "-config", x.file)...); out != c.says {
			t.Errorf("%s: %q", c.args, out)
		}
	}
	for _, bad := range []string{"watch -commit xyz", "watch -crate 9x", "watch -crate serde -channel none", "watch -remove 9", "authorize -crate serde -version 1 -by me"} {
		ends(t, 3, "", "monitor: ", append(strings.Fields(bad), "-config", x.file)...)
	}
}

// buildMonitor builds the program.
func buildMonitor(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "monitor")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// The program is killed at ever later moments of its work, until it gets through. At no
// moment may a finding name evidence that is not there, and in the end every finding
// is on record once.
func TestKilledAtAnyMomentItLosesNoFinding(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts the program many times")
	}
	x := newFollowed(t, "[[channel]]\nname = \"hook\"\ntype = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"cat >> $0; echo >> $0\", \"OUT\"]\nmin_class = \"info\"\n")
	told := filepath.Join(x.dir, "told")
	text := testlog.Must(os.ReadFile(x.file))
	fatalIf(t, os.WriteFile(x.file, bytes.Replace(text, []byte(`"OUT"`), fmt.Appendf(nil, "%q", told), 1), 0o600))
	want := x.misbehave(t)
	bin := buildMonitor(t)
	kills := 0
	for delay := 10 * time.Millisecond; ; delay += delay / 5 {
		ctx, cancel := context.WithTimeout(t.Context(), delay) // ends with SIGKILL
		out, err := exec.CommandContext(ctx, bin, "once", "-config", x.file).CombinedOutput()
		cancel()
		x.checkEvidence(t)
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 1 {
			break
		}
		if kills++; kills > 60 {
			t.Fatalf("it does not get through in %v: %v\n%s", delay, err, out)
		}
	}
	t.Logf("killed %d times", kills)
	if kills < 3 {
		t.Errorf("it was killed %d times only, so this test sees nothing", kills)
	}
	if got := x.checkEvidence(t); !slices.Equal(got, want) {
		t.Errorf("found %q\nwant  %q", got, want)
	}
	sent := testlog.Must(os.ReadFile(told))
	ids := make(map[string]bool)
	for line := range strings.Lines(string(sent)) {
		var a struct{ ID, Kind string }
		if json.Unmarshal([]byte(line), &a) == nil {
			ids[a.ID] = true
		}
	}
	if len(ids) != len(want)+3 { // and of void entries
		t.Errorf("%d alerts were sent for %d findings", len(ids), len(want))
	}
}

// misbehave makes a log with something of everything, and returns what is to be found.
func (x *followed) misbehave(t *testing.T) []string {
	t.Helper()
	var want []string
	say := func(kind string, index int) { want = append(want, fmt.Sprintf("%s %d", kind, index)) }
	for i := range 3 {
		n := int(x.log.Tree.Size())
		x.add(t, 100*i, 100*i+60, nil)
		x.add(t, 100*i+60, 100*i+61, func(e *entry.Entry) { e.Subject.SHA256[0]++ })
		say("false-entry", n+60)
		x.log.Tree.Append(fmt.Append(nil, "no entry ", i))
		say("malformed-entry", n+61)
		x.add(t, 100*i+70, 100*i+71, nil)
		e := testlog.Must(entry.Parse(x.log.Tree.Leaves[n+62]))
		e.Subject.SHA256[0]++
		fatalIf(t, x.f.Prove(e, []byte("ct")))
		b := testlog.Must(e.Marshal())
		x.log.Tree.Append(b)
	}
	x.log.Tree.Omit(5)
	x.log.Publish()
	x.log.Show(x.log.Witnesses[1], x.log.Sign(x.log.Tree, 50, x.log.Witnesses[1]))
	want = append(want, "unsealed -1", "index-omission 5", "index-omission 5", fmt.Sprintf("seal-mismatch %d", x.log.Tree.Size()-1))
	fork := x.log.Tree.Fork(50)
	fork.Append(x.log.Tree.Leaves[0])
	x.log.Show(x.log.Witnesses[0], x.log.Sign(fork, 51, x.log.Witnesses[0]))
	want = append(want, "fork-prefix -1", "cosigner-fork -1")
	slices.Sort(want)
	return want
}

// checkEvidence demands that every finding on record has evidence that holds, and
// returns what is on record.
func (x *followed) checkEvidence(t *testing.T) []string {
	t.Helper()
	db := testlog.Must(store.Open(t.Context(), filepath.Join(x.dir, "monitor.db")))
	defer db.Close()
	policy := testlog.Must(client.ParsePolicy(x.log.Trust(x.url)))
	var witnesses []string
	for _, w := range policy.Witnesses() {
		witnesses = append(witnesses, w.VKey)
	}
	keys := testlog.Must(evidence.NewKeys([]string{x.log.VKey}, witnesses))
	pv := testlog.Must(proofcheck.Load(nil, true))
	var all []string
	for id := int64(1); ; id++ {
		f, ok, err := db.FindingByID(t.Context(), id)
		fatalIf(t, err)
		if !ok {
			break
		}
		if f.Class != store.Security {
			continue
		}
		if all = append(all, fmt.Sprintf("%s %d", f.Kind, f.Index)); f.Kind == "seal-mismatch" {
			continue // the leaves show it
		}
		e, err := evidence.Read(filepath.Join(x.dir, "evidence", f.Evidence+".evidence"))
		if err != nil {
			t.Fatalf("finding %d: %v", id, err)
		}
		if c, err := evidence.Verify(e, keys, pv); err != nil || !c.Convicts() {
			t.Fatalf("finding %d (%s): the evidence convicts nobody: %v", id, f.Kind, err)
		}
	}
	slices.Sort(all)
	return all
}

func TestRunServesAndStops(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts the program")
	}
	x := newFollowed(t, "")
	x.add(t, 0, 20, nil)
	signed := x.log.Publish()
	ready := filepath.Join(x.dir, "ready")
	cmd := exec.Command(buildMonitor(t), "run", "-config", x.file, "-ready-file", ready)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	fatalIf(t, cmd.Start())
	defer cmd.Process.Kill()
	var url []byte
	wait := func(what string, f func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("still not: %s", what)
			}
		}
	}
	wait("ready", func() bool {
		var err error
		url, err = os.ReadFile(ready)
		url = bytes.TrimSpace(url)
		return err == nil
	})
	get := func(path string) string {
		t.Helper()
		r := testlog.Must(http.Get(string(url) + path))
		defer r.Body.Close()
		b := testlog.Must(io.ReadAll(r.Body))
		return string(b)
	}
	wait("verified", func() bool {
		return strings.Contains(get("/metrics"), `cratelog_monitor_sealed_entries{log="log.example/program"} 21`)
	})
	for path, want := range map[string]string{"/": "log.example/program", "/v1/entries": "crate-7", "/v1/logs": "log.example/program"} {
		if body := get(path); !strings.Contains(body, want) {
			t.Errorf("%s has no %q: %.300s", path, want, body)
		}
	}
	// Both would verify, and write what they found: one follows at a time.
	ends(t, 3, "", "another monitor follows its logs with the database", "once", "-config", x.file)
	r := testlog.Must(http.Post(string(url)+"/v1/gossip", "text/plain", bytes.NewReader(signed)))
	b, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || !strings.Contains(string(b), "consistent") {
		t.Errorf("gossip: %s %s", r.Status, b)
	}
	good := testlog.Must(os.ReadFile(x.file))
	for _, path := range []string{"/livez", "/readyz", "/healthz"} {
		if body := get(path); !strings.Contains(body, `"ok":true`) {
			t.Errorf("%s of a monitor that is well: %s", path, body)
		}
	}
	for text, want := range map[string]string{"poll = \"1s\"": "when it is restarted", "pole = 1": "pole"} {
		fatalIf(t, os.WriteFile(x.file, bytes.Replace(good, []byte("poll = \"20ms\""), []byte(text), 1), 0o600))
		fatalIf(t, cmd.Process.Signal(syscall.SIGHUP))
		wait("word of "+text, func() bool { return strings.Contains(get("/healthz"), want) })
		if body := get("/readyz"); !strings.Contains(body, `"ok":true`) {
			t.Errorf("a monitor with older settings is not ready: %s", body)
		}
	}
	fatalIf(t, os.WriteFile(x.file, good, 0o600))
	fatalIf(t, cmd.Process.Signal(syscall.SIGHUP))
	wait("all is well again", func() bool { return strings.Contains(get("/healthz"), `"ok":true`) })
	if body := get("/metrics"); !strings.Contains(body, "cratelog_build_info{") || !strings.Contains(body, `cratelog_disk_free_bytes{directory="evidence"}`) {
		t.Errorf("metrics: %s", body)
	}
	fatalIf(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &stderr)
	}
	if _, err := os.Stat(ready); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the ready file is still there: %v", err)
	}
	ends(t, 0, "21 entries verified of 21", "", "once", "-config", x.file)
}

func TestCheckLooksAtWhatRunWouldAndChangesNothing(t *testing.T) {
	x := newFollowed(t, "")
	good := testlog.Must(os.ReadFile(x.file))
	before := testlog.Must(filepath.Glob(filepath.Join(x.dir, "*")))
	ends(t, 0, "ok    database", "", "check", "-config", x.file)
	if after := testlog.Must(filepath.Glob(filepath.Join(x.dir, "*"))); !slices.Equal(after, before) {
		t.Errorf("before %q, after %q", before, after)
	}
	for name, c := range map[string]struct{ old, new, says string }{
		"an unknown key":     {"poll", "pole", "FAIL  settings"},
		"a missing database": {"monitor.db", "other.db", "FAIL  database"},
		"another's database": {"monitor.db", "trust.policy", "FAIL  database"},
		"no trust file":      {`trust = "trust.policy"`, "", "FAIL  trust files"},
		"development keys":   {"development = true", "", "FAIL  programs"},
		"a bad channel":      {"[[log]]", "[[channel]]\nname = \"x\"\ntype = \"pigeon\"\n[[log]]", "FAIL  alert channels"},
		"no evidence":        {`evidence = "evidence"`, `evidence = "nowhere"`, "monitor init makes it"},
		"no address":         {`listen = "127.0.0.1:0"`, `listen = "nowhere"`, "FAIL  listen"},
	} {
		fatalIf(t, os.WriteFile(x.file, bytes.Replace(good, []byte(c.old), []byte(c.new), 1), 0o600))
		if out := ends(t, 1, "", "checks failed", "check", "-config", x.file); !strings.Contains(out, c.says) {
			t.Errorf("%s: want %q in\n%s", name, c.says, out)
		}
	}
}
