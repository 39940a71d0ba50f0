package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cratelog/internal/testlog"
)

// serviceManager is one that the programs which this test starts talk to.
func serviceManager(t *testing.T) chan string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn := testlog.Must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}))
	t.Setenv("NOTIFY_SOCKET", path)
	said := make(chan string, 1000)
	go func() {
		defer close(said)
		for buf := make([]byte, 1<<16); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			for line := range strings.Lines(string(buf[:n])) {
				said <- strings.TrimSpace(line)
			}
		}
	}()
	t.Cleanup(func() { conn.Close() })
	return said
}

// until waits for a line that begins so.
func until(t *testing.T, said chan string, prefix string) string {
	t.Helper()
	for deadline := time.After(2 * time.Minute); ; {
		select {
		case line := <-said:
			if strings.HasPrefix(line, prefix) {
				return line
			}
		case <-deadline:
			t.Fatalf("the service manager was not told %s", prefix)
		}
	}
}

// hup sends SIGHUP, and waits until the program has done with it.
func (p *server) hup(said chan string) {
	p.t.Helper()
	fatalIf(p.t, p.cmd.Process.Signal(syscall.SIGHUP))
	until(p.t, said, "RELOADING=1")
	until(p.t, said, "READY=1")
}

func (p *server) problems() (problems []string, code int) {
	p.t.Helper()
	resp := testlog.Must(http.Get(p.url + "/healthz"))
	defer resp.Body.Close()
	var h struct {
		Problems []string
		Version  string
	}
	fatalIf(p.t, json.NewDecoder(resp.Body).Decode(&h))
	if h.Version == "" {
		p.t.Error("/healthz does not say the version")
	}
	return h.Problems, resp.StatusCode
}

func TestSystemdIsToldAndSIGHUPTakesOverTheSettings(t *testing.T) {
	said := serviceManager(t)
	s := newSite(t, "")
	s.program("one", "solo: one")
	s.program("two", "solo: two")
	const quick = "checkpoint_interval = \"100ms\"\n"
	s.settings("programs = [\"one.program\"]\n" + quick)
	p := s.start("logd", "serve")
	until(t, said, "READY=1")
	until(t, said, "STATUS=")
	before := p.about().Programs

	s.settings("programs = [\"one.program\", \"two.program\"]\n" + quick)
	p.hup(said)
	if now := p.about().Programs; len(now) != len(before)+1 || !slices.ContainsFunc(now, func(p program) bool { return p.Origin == "solo: two" }) {
		t.Errorf("after SIGHUP: %+v", now)
	}
	if problems, code := p.problems(); code != http.StatusOK {
		t.Errorf("after SIGHUP: %d %q", code, problems)
	}

	for settings, words := range map[string]string{
		"programs = [\"none.program\"]\n":                           "none.program",
		"programs = [\"one.program\"]\nshutdown_timeout = \"1s\"\n": "shutdown_timeout changed: that needs a restart",
		"nonsense = 1\n": "nonsense",
	} {
		s.settings(settings + quick)
		p.hup(said)
		problems, code := p.problems()
		if code != http.StatusServiceUnavailable || !strings.Contains(strings.Join(problems, "\n"), words) {
			t.Errorf("%s: /healthz says %d %q, want %q", settings, code, problems, words)
		}
		if now := p.about().Programs; len(now) != len(before)+1 {
			t.Errorf("%s: the old settings do not hold: %+v", settings, now)
		}
	}

	// A trust file with one witness less.
	trust := string(testlog.Must(os.ReadFile(filepath.Join(s.dir, "trust.policy"))))
	var less string
	for line := range strings.Lines(trust) {
		if !strings.HasPrefix(line, "witness w2") {
			less += line
		}
	}
	s.write("trust.policy", []byte(strings.Replace(less, " w2", "", 1)))
	s.settings("programs = [\"one.program\", \"two.program\"]\ndebug = true\n" + quick)
	p.hup(said)
	var about struct{ Witnesses []any }
	if p.get("/v1/log", &about); len(about.Witnesses) != 2 {
		t.Errorf("after a new trust file there are %d witnesses", len(about.Witnesses))
	}
	if problems, code := p.problems(); code != http.StatusOK {
		t.Errorf("after a new trust file: %d %q", code, problems)
	}
	p.stop()
	until(t, said, "STOPPING=1")
	for _, words := range []string{`changes=[programs]`, `changes="[debug trust]"`, "the settings are not taken over; the old ones hold"} {
		if !strings.Contains(p.out.String(), words) {
			t.Errorf("the journal does not say %s:\n%s", words, p.out)
		}
	}
}

func TestCheckSaysWhatServeWouldSay(t *testing.T) {
	s := newSite(t, "")
	s.program("own", "solo: own")
	file := filepath.Join(s.dir, "logd.toml")
	look := func(want int, words ...string) {
		t.Helper()
		out, err := logd("check", "-config", file)
		if want == 0 {
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		} else {
			wantExit(t, err, out, want, words[0])
		}
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("want %q in\n%s", w, out)
			}
		}
	}
	good := "programs = [\"own.program\"]\n"
	s.settings(good)
	look(0, "ok    trust file", "ok    listen", "ok    tree can be written")
	if left := testlog.Must(filepath.Glob(filepath.Join(s.dir, "*"))); slices.ContainsFunc(left, func(p string) bool { return filepath.Base(p) == "tree" }) {
		t.Error("check made the tree")
	}
	s.settings("")
	look(1, "FAIL  programs and limits", "development key")
	s.settings(good + "trust_for_readers = \"none\"\n")
	look(1, "FAIL  settings", "logd.toml: trust_for_readers: ")
	s.settings(good + "colour = 1\n")
	look(1, "FAIL  settings", "colour")
	s.settings(good + "proving_keys = \"none\"\n")
	look(1, "FAIL  proving keys")
	twice := "[[registry]]\nindex = \"https://index.example/\"\n"
	s.settings(good + twice + twice)
	look(1, "FAIL  registries", "is named twice")
	s.settings(good + "proving_keys = \"none\"\n")
	taken := testlog.Must(net.Listen("tcp", "127.0.0.1:0"))
	defer taken.Close()
	address := taken.Addr().String()
	text := string(testlog.Must(os.ReadFile(file)))
	s.write("logd.toml", []byte(strings.Replace(text, "proving_keys = \"none\"", "", 1)))
	text = strings.Replace(string(testlog.Must(os.ReadFile(file))), "127.0.0.1:0", address, 1)
	s.write("logd.toml", []byte(text))
	look(1, "FAIL  listen", "address already in use")
	taken.Close()
	p := s.start("logd", "serve")
	look(0, "ok    listen: it is running there")
	p.stop()

	s.settings(good + "# " + fmt.Sprint(1))
	other := newSite(t, "")
	s.write("trust.policy", testlog.Must(os.ReadFile(filepath.Join(other.dir, "trust.policy"))))
	look(1, "FAIL  trust file", "does not name this log")
	s.write("key.pem", testlog.Must(os.ReadFile(filepath.Join(other.dir, "key.pem"))))
	look(1, "FAIL  tree and guard", "belongs to the log")
	out, err := logd("check", "-json", "-config", file)
	var report struct {
		OK     bool
		Checks []struct{ Name, Text string }
	}
	first, _, _ := strings.Cut(out, "\nlogd: ")
	if jsonErr := json.Unmarshal([]byte(first), &report); jsonErr != nil || report.OK || len(report.Checks) < 6 {
		t.Errorf("%v %v %s", err, jsonErr, out)
	}
}

// TestAStopTakesLessThanSystemdWaits: 90 s, for requests and log, each with its time.
func TestAStopTakesLessThanSystemdWaits(t *testing.T) {
	s := newSite(t, "")
	loaded, _, err := load(filepath.Join(s.dir, "logd.toml"))
	if fatalIf(t, err); 2*loaded.ShutdownTimeout.Duration > 80*time.Second {
		t.Errorf("a stop may take twice %v", loaded.ShutdownTimeout)
	}
}
