package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cratelog/config"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
	"cratelog/witness"
)

func list(logs ...*testlog.Log) string {
	text := "logs/v0\n"
	for _, l := range logs {
		text += fmt.Sprintf("vkey %s\nqpd 24\ncontact x\n", l.VKey)
	}
	return text
}

// cosigns waits until the witness answers a request so.
func cosigns(t *testing.T, p *process, body string, want int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		code, text, err := post(p.url, body)
		fatal(t, err)
		if code == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the witness answers %d %q, wanted %d", code, text, want)
		}
	}
}

func TestNewLogsNeedNoRestart(t *testing.T) {
	a, b, c, d := testlog.Of("a.example", 9), testlog.Of("b.example", 9), testlog.Of("c.example", 9), testlog.Of("d.example", 9)
	var served atomic.Int64
	var text atomic.Value
	text.Store(list(b))
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if !strings.HasPrefix(r.UserAgent(), "cratelog-witness/") {
			t.Errorf("it calls itself %q", r.UserAgent())
		}
		rw.Header().Set("ETag", `"1"`)
		io.WriteString(rw, text.Load().(string))
	}))
	defer server.Close()
	settings, _ := setUp(t, a)
	file := filepath.Join(filepath.Dir(settings), "more.list")
	fatal(t, os.WriteFile(file, []byte(list(c)), 0o644))
	before := string(testlog.Must(os.ReadFile(settings)))
	with := before + fmt.Sprintf("[[list]]\nfrom = %q\n[[list]]\nfrom = \"more.list\"\nevery = \"24h\"\n", server.URL+"/log-list.1")
	fatal(t, os.WriteFile(settings, []byte(with), 0o644))
	p := start(t, build(t), settings)
	cosigns(t, p, a.Request(0, 5), 200)
	cosigns(t, p, b.Request(0, 5), 200)
	cosigns(t, p, c.Request(0, 5), 200)
	cosigns(t, p, d.Request(0, 5), 404)

	hangUp := func(newSettings string) {
		t.Helper()
		fatal(t, os.WriteFile(settings, []byte(newSettings), 0o644))
		fatal(t, p.cmd.Process.Signal(syscall.SIGHUP))
	}
	// d comes into the settings, a and the first list go out, and that list is empty now: only a is disabled.
	text.Store("logs/v0\n")
	dLog := fmt.Sprintf("[[log]]\nvkey = %q\n", d.VKey)
	hangUp(strings.Split(before, "[[log]]")[0] + dLog)
	cosigns(t, p, d.Request(0, 5), 200)
	cosigns(t, p, a.Request(5, 6), 404)
	cosigns(t, p, b.Request(5, 6), 200)
	cosigns(t, p, c.Request(5, 6), 200)
	health(t, p, 200, `"ok":true`)

	// What cannot be taken over changes nothing, and is said.
	hangUp("name = 3\n")
	health(t, p, 503, "the settings were not taken over at the last SIGHUP")
	cosigns(t, p, d.Request(5, 6), 200)
	hangUp(strings.Replace(with, "127.0.0.1:0", "127.0.0.1:1", 1))
	health(t, p, 503, `the setting \"listen\" has changed, which takes a restart`)
	cosigns(t, p, a.Request(5, 6), 404)

	hangUp("disabled = [\"b.example\"]\n" + with + dLog)
	cosigns(t, p, a.Request(5, 6), 200) // it goes on where it was
	cosigns(t, p, b.Request(6, 7), 404)
	health(t, p, 200, `"ok":true`)
	if served.Load() < 2 {
		t.Errorf("the list was asked for %d times", served.Load())
	}
	fatal(t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.done
	if p.err != nil || !strings.Contains(p.stderr.String(), "new settings hold") {
		t.Errorf("ended with %v; the log should say what changed:\n%s", p.err, p.stderr)
	}
}

// A list's server is asked no more than it wants: only for what is new, and not before the time that it names.
func TestListsAreReadPolitely(t *testing.T) {
	l := testlog.Of("a.example", 5)
	w := openWitness(t)
	var asked []string
	answer := func(rw http.ResponseWriter) { io.WriteString(rw, list(l)) }
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("If-None-Match"))
		if r.Header.Get("If-None-Match") == `"1"` {
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		answer(rw)
	}))
	defer server.Close()
	var said bytes.Buffer
	ls := newLists(w, slog.New(slog.NewTextHandler(&said, nil)), nil)
	s, f := listSettings{From: server.URL + "/l"}, &fetched{}
	s.Every.Duration = time.Hour
	visit := func(atLeast, atMost time.Duration) {
		t.Helper()
		ls.visit(t.Context(), s, f)
		if wait := time.Until(f.next); wait < atLeast-time.Minute || wait > atMost {
			t.Errorf("the next visit is in %v, wanted %v to %v", wait, atLeast, atMost)
		}
	}
	answer = func(rw http.ResponseWriter) { rw.Header().Set("ETag", `"1"`); io.WriteString(rw, list(l)) }
	visit(time.Hour, 67*time.Minute)
	visit(time.Hour, 67*time.Minute)
	if len(asked) != 2 || asked[1] != `"1"` || len(w.Origins()) != 1 {
		t.Errorf("asked %q, known %v", asked, w.Origins())
	}
	f.etag = ""
	answer = func(rw http.ResponseWriter) { http.Error(rw, "no", http.StatusNotFound) }
	visit(5*time.Minute, 6*time.Minute)
	visit(10*time.Minute, 12*time.Minute)
	answer = func(rw http.ResponseWriter) {
		rw.Header().Set("Retry-After", "86400")
		rw.WriteHeader(http.StatusTooManyRequests)
	}
	visit(24*time.Hour, 25*time.Hour)
	answer = func(rw http.ResponseWriter) { rw.Header().Set("Retry-After", "99999999999"); rw.WriteHeader(503) }
	visit(time.Minute, longest+time.Hour)
	answer = func(rw http.ResponseWriter) { io.WriteString(rw, "<html>") }
	visit(time.Minute, 2*time.Hour)
	answer = func(rw http.ResponseWriter) { rw.Write(bytes.Repeat([]byte("#"), witness.MaxList+1)) }
	visit(time.Minute, 2*time.Hour)
	answer = func(rw http.ResponseWriter) { rw.Header().Set("Location", "http://example.org/l"); rw.WriteHeader(302) }
	visit(time.Minute, 2*time.Hour)
	for _, want := range []string{"404 Not Found", "429 Too Many Requests", "a list begins with", "has more than", "where others could change it"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &said)
		}
	}
	if len(w.Origins()) != 1 {
		t.Errorf("known are %v", w.Origins())
	}
}

func openWitness(t *testing.T) *witness.Witness {
	settings, _ := setUp(t)
	_, cfg, err := loadKeys(settings, slog.New(slog.DiscardHandler))
	fatal(t, err)
	w := testlog.Must(witness.Open(t.Context(), cfg))
	t.Cleanup(func() { w.Close() })
	return w
}

func TestASecondWitnessOnOneDatabaseIsRefused(t *testing.T) {
	l := testlog.Of("log.example", 5)
	settings, _ := setUp(t, l)
	bin := build(t)
	p := start(t, bin, settings)
	var stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := run(ctx, []string{"serve", "-config", settings}, io.Discard, io.Discard)
	if code := outcome.Exit("witness", err, &stderr); code != 3 || !strings.Contains(stderr.String(), "another process has the database") {
		t.Errorf("a second witness: exit %d, %s", code, &stderr)
	}
	if err := run(ctx, []string{"evidence", "-config", settings}, io.Discard, io.Discard); err != nil {
		t.Errorf("evidence beside a witness that runs: %v", err)
	}
	p.cmd.Process.Kill() // the lock ends with the process
	<-p.done
	start(t, bin, settings)
}

func TestAKeyFileThatIsGoneIsNamed(t *testing.T) {
	settings, _ := setUp(t)
	key := filepath.Join(filepath.Dir(settings), "key.pem")
	_, cfg, err := loadKeys(settings, slog.New(slog.DiscardHandler))
	fatal(t, err)
	if p := cfg.Check(); len(p) != 0 {
		t.Errorf("all is well, and it says %q", p)
	}
	wants := func(want string) {
		t.Helper()
		if p := cfg.Check(); len(p) != 1 || !strings.Contains(p[0], want) {
			t.Errorf("it says %q, wanted %q", p, want)
		}
	}
	fatal(t, os.Chmod(key, 0o644))
	wants("run: chmod 600")
	fatal(t, os.Remove(key))
	wants("no such file")
	fatal(t, config.GenerateKey(key))
	wants("has changed since the start")
}

func TestSettingsOfListsAndBastionsAreChecked(t *testing.T) {
	settings, _ := setUp(t)
	good := string(testlog.Must(os.ReadFile(settings)))
	for text, want := range map[string]string{
		"[[list]]\nfrom = \"http://example.org/l\"":                                  "is not an https URL",
		"[[list]]\nfrom = \"ftp://example.org/l\"":                                   "is not an https URL",
		"[[list]]\nfrom = \"https://me:secret@example.org/l\"":                       "is not an https URL",
		"[[list]]\nevery = \"1h\"":                                                   "\"from\" is missing",
		"[[list]]\nfrom = \"f\"\nevery = \"1s\"":                                     "is not from 1m0s to 168h0m0s",
		"[[list]]\nfrom = \"f\"\nevery = \"200h\"":                                   "is not from",
		"[[bastion]]\naddress = \"b.example\"\nkey = \"k\"":                          "is not \"host:port\"",
		"[[bastion]]\naddress = \"b.example:443\"":                                   "the key of b.example:443 is missing",
		"[[bastion]]\naddress = \"b.example:443\"\nkey = \"key.pem\"":                "is a key of the witness",
		strings.Repeat("[[bastion]]\naddress = \"b.example:443\"\nkey = \"k\"\n", 2): "is there twice",
	} {
		path := filepath.Join(filepath.Dir(settings), "spoilt.toml")
		fatal(t, os.WriteFile(path, []byte(good+text+"\n"), 0o644))
		if _, _, err := load(path, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, wanted %q", text, err, want)
		}
	}
	path := filepath.Join(filepath.Dir(settings), "spoilt.toml")
	fatal(t, os.WriteFile(path, []byte("max_listed = -1\n"+good), 0o644))
	if _, _, err := load(path, nil); err == nil || !strings.Contains(err.Error(), "max_listed") {
		t.Errorf("a negative number of logs: %v", err)
	}
}

func TestCheckSaysWhatServeWouldRefuse(t *testing.T) {
	settings, _ := setUp(t, testlog.Of("log.example", 5))
	dir := filepath.Dir(settings)
	good := string(testlog.Must(os.ReadFile(settings)))
	fatal(t, os.WriteFile(filepath.Join(dir, "broken.list"), []byte("<html>"), 0o644))
	for _, test := range []struct {
		text string
		code int
		want string
	}{
		{good, 0, "ok    logs and database"},
		{strings.Replace(good, "w.db", "no.db", 1), 1, "FAIL  logs and database"},
		{strings.Replace(good, "w1", "w2", 1), 1, "it belongs to the witness"},
		{strings.Replace(good, "key.pem", "no.pem", 1), 1, "FAIL  settings and keys"},
		{strings.Replace(good, "vkey = ", "vkey = \"x\" #", 1), 1, "is not a verifier key"},
		{strings.Replace(good, "127.0.0.1:0", "127.0.0.1:x", 1), 1, "FAIL  listen"},
		{good + "[[list]]\nfrom = \"broken.list\"\n", 1, "a list begins with"},
		{good + "[[bastion]]\naddress = \"b.example:1\"\nkey = \"none.pem\"\n", 1, "FAIL  bastion b.example:1"},
	} {
		path := filepath.Join(dir, "checked.toml")
		fatal(t, os.WriteFile(path, []byte(test.text), 0o644))
		var out, stderr bytes.Buffer
		before := testlog.Must(os.ReadDir(dir))
		code := outcome.Exit("witness", run(t.Context(), []string{"check", "-config", path}, &out, io.Discard), &stderr)
		if code != test.code || !strings.Contains(out.String(), test.want) {
			t.Errorf("exit %d\n%s%s\nwanted %d and %q", code, &out, &stderr, test.code, test.want)
		}
		if after := testlog.Must(os.ReadDir(dir)); len(after) != len(before) {
			t.Errorf("files before: %v, after: %v", before, after)
		}
	}
	// Beside a witness that runs, and of an older copy.
	p := start(t, build(t), settings)
	var out bytes.Buffer
	fatal(t, run(t.Context(), []string{"check", "-config", settings}, &out, io.Discard))
	cosigns(t, p, testlog.Of("log.example", 5).Request(0, 5), 200)
}
