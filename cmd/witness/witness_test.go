package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/config"
	"cratelog/evidence"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
	"cratelog/witness"
)

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// build builds the program once for a test.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "witness")
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// A process is the program, running.
type process struct {
	cmd    *exec.Cmd
	url    string
	stderr *bytes.Buffer
	done   chan struct{} // closed when it has ended
	err    error         // how; valid when done is closed
}

// start runs "witness serve" and waits until it listens.
func start(t *testing.T, bin, settings string) *process {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	p := &process{cmd: exec.Command(bin, "serve", "-config", settings, "-ready-file", ready), stderr: new(bytes.Buffer), done: make(chan struct{})}
	p.cmd.Stderr = p.stderr
	fatal(t, p.cmd.Start())
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() { p.cmd.Process.Kill(); <-p.done })
	if p.url = listening(t, ready, p.done); p.url == "" {
		t.Fatalf("the witness ended: %v\n%s", p.err, p.stderr)
	}
	return p
}

// listening waits until a witness writes its URL, or has ended.
func listening(t *testing.T, ready string, ended <-chan struct{}) string {
	t.Helper()
	for deadline := time.After(90 * time.Second); ; {
		if text, err := os.ReadFile(ready); err == nil {
			return strings.TrimSpace(string(text))
		}
		select {
		case <-ended:
			return ""
		case <-deadline:
			t.Fatal("the witness does not listen")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// setUp makes a key, settings for the logs, and a database, with the program.
func setUp(t *testing.T, logs ...*testlog.Log) (settings, vkey string) {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	fatal(t, run(t.Context(), []string{"keygen", "-name", "witness.example/w1", "-out", filepath.Join(dir, "key.pem")}, &out, io.Discard))
	text := "name = \"witness.example/w1\"\nlisten = \"127.0.0.1:0\"\ndatabase = \"w.db\"\nkeys = [\"key.pem\"]\n"
	for _, l := range logs {
		text += fmt.Sprintf("[[log]]\norigin = %q\nvkey = %q\n", l.KeyName, l.VKey)
	}
	settings = filepath.Join(dir, "witness.toml")
	fatal(t, os.WriteFile(settings, []byte(text), 0o644))
	fatal(t, run(t.Context(), []string{"init", "-config", settings}, io.Discard, io.Discard))
	return settings, strings.TrimSpace(out.String())
}

func post(url, body string) (int, string, error) {
	resp, err := http.Post(url+"/add-checkpoint", "text/plain", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// push grows the log at the witness one leaf at a time, from the size that the
// witness names, and stores every size that it acknowledged. It ends with the
// first failed connection or at the log's end.
func push(l *testlog.Log, url string, n int64, acked *atomic.Int64, progress func()) error {
	for old, steps := int64(0), int64(0); old < n && steps < 4*n; steps++ {
		code, text, err := post(url, l.Request(old, old+1))
		switch {
		case err != nil:
			return nil // killed
		case code == 200:
			old++
			acked.Store(old)
			progress()
		case code == 409:
			if _, err := fmt.Sscanf(text, "%d\n", &old); err != nil {
				return fmt.Errorf("conflict body %q", text)
			}
			if old < acked.Load() {
				return fmt.Errorf("%s: the witness says %d, but it acknowledged %d", l.KeyName, old, acked.Load())
			}
		default:
			return fmt.Errorf("status %d: %s", code, text)
		}
	}
	return nil
}

// rounds is how often a witness is killed: go test ./cmd/witness -run Killed -rounds 100
var rounds = flag.Int("rounds", 4, "how often the tests of crashes kill a witness")

// The real program is killed in the middle of a load, several times. Every size
// that it acknowledged must be remembered.
func TestKilledWitnessRemembersWhatItAcknowledged(t *testing.T) {
	const nLogs, size, perRound = 3, 400, 60
	bin := build(t)
	var logs []*testlog.Log
	for i := range nLogs {
		logs = append(logs, testlog.Of(fmt.Sprintf("log%d.example", i), size))
	}
	settings, _ := setUp(t, logs...)
	acked := make([]atomic.Int64, nLogs)
	for round := range *rounds {
		p := start(t, bin, settings)
		for i, l := range logs {
			checkRemembered(t, p.url, l, acked[i].Load())
		}
		var count atomic.Int64
		var kill sync.Once
		var wg sync.WaitGroup
		for i, l := range logs {
			wg.Go(func() {
				err := push(l, p.url, size, &acked[i], func() {
					if count.Add(1) == perRound {
						kill.Do(func() { p.cmd.Process.Kill() }) // SIGKILL, while the other logs are busy
					}
				})
				if err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		wg.Wait()
		<-p.done
		if p.cmd.ProcessState.Success() {
			t.Fatalf("round %d: the witness ended by itself:\n%s", round, p.stderr)
		}
	}
	p := start(t, bin, settings)
	for i, l := range logs {
		if acked[i].Load() == 0 {
			t.Errorf("%s: nothing was acknowledged", l.KeyName)
		}
		checkRemembered(t, p.url, l, acked[i].Load())
	}
}

// checkRemembered asks for the log's checkpoint and tries to roll it back.
func checkRemembered(t *testing.T, url string, l *testlog.Log, acked int64) {
	t.Helper()
	if acked == 0 {
		return
	}
	resp := testlog.Must(http.Get(fmt.Sprintf("%s/%x/checkpoint", url, sha256.Sum256([]byte(l.KeyName)))))
	defer resp.Body.Close()
	stored := testlog.Must(io.ReadAll(resp.Body))
	verifier := testlog.Must(note.NewVerifier(l.VKey))
	n := testlog.Must(note.Open(stored, note.VerifierList(verifier)))
	c := testlog.Must(torchwood.ParseCheckpoint(n.Text))
	if c.N < acked || n.Text != l.Head(c.N) {
		t.Errorf("%s: the witness remembers %q after acknowledging size %d", l.KeyName, n.Text, acked)
	}
	if code, text, err := post(url, l.Request(0, 1)); err != nil || code != 409 || text != fmt.Sprintf("%d\n", c.N) {
		t.Errorf("%s: rolling back: %d %q, %v", l.KeyName, code, text, err)
	}
}

func TestServeStopsOnASignalAndLeavesNothingBehind(t *testing.T) {
	l := testlog.Of("log.example", 5)
	bin := build(t)
	settings, vkey := setUp(t, l)
	p := start(t, bin, settings)
	code, lines, err := post(p.url, l.Request(0, 5))
	if err != nil || code != 200 {
		t.Fatalf("add-checkpoint: %d %q, %v", code, lines, err)
	}
	v := testlog.Must(torchwood.NewCosignatureVerifier(vkey))
	if _, err := note.Open([]byte(l.Head(5)+"\n"+lines), note.VerifierList(v)); err != nil {
		t.Errorf("the cosignature does not verify under the vkey that keygen printed: %v", err)
	}
	fatal(t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.done
	if p.err != nil {
		t.Errorf("ended with %v\n%s", p.err, p.stderr)
	}
	for _, want := range []string{"witness listens", "url=" + p.url, "the server stops"} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("the log %q should contain %q", p.stderr, want)
		}
	}
	if _, err := os.Stat(p.cmd.Args[len(p.cmd.Args)-1]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the ready file is still there: %v", err)
	}
}

func TestRequestsUnderWayAreFinishedBeforeStopping(t *testing.T) {
	settings, _ := setUp(t)
	ready := filepath.Join(t.TempDir(), "ready")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"serve", "-config", settings, "-ready-file", ready}, io.Discard, io.Discard)
	}()
	url := listening(t, ready, nil)
	body, finish := io.Pipe()
	got := make(chan string, 1)
	go func() {
		// With "Expect: 100-continue" the body is not asked for before the
		// handler reads it: then the request is under way.
		client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
		defer client.CloseIdleConnections()
		req := testlog.Must(http.NewRequest("POST", url+"/add-checkpoint", body))
		req.Header.Set("Expect", "100-continue")
		resp := testlog.Must(client.Do(req))
		defer resp.Body.Close()
		got <- resp.Status
	}()
	testlog.Must(io.WriteString(finish, "old 0\n")) // returns when it is read: asked for
	cancel()
	finish.Close()
	if answer := <-got; answer != "400 Bad Request" {
		t.Errorf("the request under way got %q", answer)
	}
	if err := <-done; err != nil {
		t.Errorf("serve ended with %v", err)
	}
}

func TestMistakesAreNamedAndGetTheirExitCode(t *testing.T) {
	dir := t.TempDir()
	settings, _ := setUp(t)
	good := testlog.Must(os.ReadFile(settings))
	spoilt := func(old, new string) string {
		if !strings.Contains(string(good), old) {
			t.Fatalf("settings do not contain %q", old)
		}
		path := filepath.Join(filepath.Dir(settings), fmt.Sprintf("%x.toml", sha256.Sum256([]byte(old+new))))
		fatal(t, os.WriteFile(path, []byte(strings.Replace(string(good), old, new, 1)), 0o644))
		return path
	}
	loose := filepath.Join(dir, "loose.pem")
	fatal(t, config.GenerateKey(loose))
	fatal(t, os.Chmod(loose, 0o644))
	taken := testlog.Must(net.Listen("tcp", "127.0.0.1:0"))
	defer taken.Close()
	busy := spoilt("127.0.0.1:0", taken.Addr().String())
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"serve", "-config", busy}, 3, "address already in use: end what listens there, or choose another address: " +
			"the setting \"listen\" of " + busy},
		{nil, 2, "no command is given"},
		{[]string{"server"}, 2, `there is no command "server"`},
		{[]string{"serve"}, 2, "serve needs -config"},
		{[]string{"serve", "-confg", "x"}, 2, "flag provided but not defined: -confg"},
		{[]string{"serve", "-config", "x", "y"}, 2, `serve takes no argument "y"`},
		{[]string{"init"}, 2, "init needs -config"},
		{[]string{"evidence"}, 2, "evidence needs -config"},
		{[]string{"keygen", "-out", filepath.Join(dir, "k")}, 2, "keygen needs -name"},
		{[]string{"keygen", "-name", "w"}, 2, "keygen needs -out"},
		{[]string{"keygen", "-name", "a b", "-out", filepath.Join(dir, "k")}, 2, "contains a space"},
		{[]string{"keygen", "-name", "w", "-out", filepath.Join(dir, "k"), "-type", "rsa"}, 2, `-type is ed25519 or ml-dsa-44, not "rsa"`},
		{[]string{"keygen", "-name", "w", "-out", settings}, 3, "already exists and is left alone"},
		{[]string{"vkey", "-name", "w", "-key", filepath.Join(dir, "none")}, 3, "no such file"},
		{[]string{"vkey", "-name", "w", "-key", loose}, 3, "run: chmod 600 " + loose},
		{[]string{"serve", "-config", filepath.Join(dir, "none.toml")}, 3, "no such file"},
		{[]string{"serve", "-config", spoilt("listen", "lisen")}, 3, `line 2: unknown key "lisen"; correct its spelling or remove it`},
		{[]string{"serve", "-config", spoilt("name = \"witness.example/w1\"\n", "")}, 3, `the setting "name" is missing; see config/witness.example.toml`},
		{[]string{"serve", "-config", spoilt("listen = \"127.0.0.1:0\"\n", "")}, 3, `the setting "listen" is missing`},
		{[]string{"serve", "-config", spoilt("database = \"w.db\"\n", "")}, 3, `the setting "database" is missing`},
		{[]string{"serve", "-config", spoilt("keys = [\"key.pem\"]\n", "")}, 3, `the setting "keys" is missing; make a key with: witness keygen`},
		{[]string{"serve", "-config", spoilt("w1", "w 1")}, 3, "contains a space"},
		{[]string{"serve", "-config", spoilt("w1", "w2")}, 3, "it belongs to the witness"},
		{[]string{"serve", "-config", spoilt("w.db", "new.db")}, 3, "does not exist; if this witness has never signed, create it with: witness init"},
		{[]string{"serve", "-config", spoilt("127.0.0.1:0", "127.0.0.1:x")}, 3, "listen tcp"},
		{[]string{"serve", "-config", spoilt("key.pem", "nokey.pem")}, 3, "keys: secret file"},
		{[]string{"init", "-config", settings}, 3, "already exists and is left alone"},
		{[]string{"help"}, 0, ""},
		{[]string{"serve", "-h"}, 0, ""},
	} {
		var stderr bytes.Buffer
		code := outcome.Exit("witness", run(t.Context(), test.args, io.Discard, io.Discard), &stderr)
		if code != test.code || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("witness %q: exit %d and %q\nwant %d and %q", test.args, code, stderr.String(), test.code, test.want)
		}
		if said := stderr.String(); strings.Contains(said, "\n\"witness help") != (code == 2) || strings.Count(said, "\n") > 2 {
			t.Errorf("witness %q: where help is belongs to exit code 2 only:\n%s", test.args, said)
		}
	}
}

func TestVKeyIsThatOfKeygen(t *testing.T) {
	for _, kind := range []string{"ed25519", "ml-dsa-44"} {
		path := filepath.Join(t.TempDir(), "k.pem")
		var made, read bytes.Buffer
		fatal(t, run(t.Context(), []string{"keygen", "-name", "w", "-out", path, "-type", kind}, &made, io.Discard))
		fatal(t, run(t.Context(), []string{"vkey", "-name", "w", "-key", path}, &read, io.Discard))
		if made.String() != read.String() || strings.Count(made.String(), "\n") != 1 {
			t.Errorf("%s: keygen printed %q, vkey %q", kind, made.String(), read.String())
		}
		if _, err := torchwood.NewCosignatureVerifier(strings.TrimSpace(made.String())); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestEvidenceOfAForkEndsWithOne(t *testing.T) {
	l := testlog.Of("log.example", 5)
	settings, _ := setUp(t, l)
	var out, stderr bytes.Buffer
	if code := outcome.Exit("witness", run(t.Context(), []string{"evidence", "-config", settings}, &out, io.Discard), &stderr); code != 0 || !strings.Contains(out.String(), `"forks": []`) {
		t.Errorf("no evidence: exit %d, %q, %q", code, out.String(), stderr.String())
	}
	_, cfg, err := loadKeys(settings, nil)
	fatal(t, err)
	addFork(t, cfg, l)
	out.Reset()
	if code := outcome.Exit("witness", run(t.Context(), []string{"evidence", "-config", settings}, &out, io.Discard), &stderr); code != 1 || !strings.Contains(stderr.String(), "there is proof of 1 forks") || !strings.Contains(out.String(), `"a": "log.example\n5\n`) {
		t.Errorf("a fork: exit %d, %q, %q", code, out.String(), stderr.String())
	}
	dir := t.TempDir()
	for range 2 { // the same file again
		if err := run(t.Context(), []string{"evidence", "-config", settings, "-out", dir}, io.Discard, io.Discard); err == nil {
			t.Error("a fork is on record, but evidence is content")
		}
	}
	files := testlog.Must(filepath.Glob(filepath.Join(dir, "*")))
	if len(files) != 1 {
		t.Fatalf("%d files of one fork: %q", len(files), files)
	}
	e := testlog.Must(evidence.Read(files[0]))
	keys := testlog.Must(evidence.NewKeys([]string{cfg.Logs[0].VKey}, nil))
	if c, err := evidence.Verify(e, keys, nil); err != nil || c.Who != "log log.example" {
		t.Errorf("the file shows %+v, %v", c, err)
	}
}

// The shipped example is the settings file of a witness that starts.
func TestShippedExampleLoads(t *testing.T) {
	text := testlog.Must(os.ReadFile("../../config/witness.example.toml"))
	dir := t.TempDir()
	settings := filepath.Join(dir, "witness.example.toml")
	fatal(t, os.WriteFile(settings, text, 0o644))
	fatal(t, run(t.Context(), []string{"keygen", "-name", "witness.example.org/w1", "-out", filepath.Join(dir, "witness-key.pem")}, io.Discard, io.Discard))
	fatal(t, run(t.Context(), []string{"init", "-config", settings}, io.Discard, io.Discard))
	s, cfg, err := loadKeys(settings, nil)
	fatal(t, err)
	if s.Listen != "127.0.0.1:8400" || len(cfg.Signers) != 1 || len(cfg.Logs) != 1 || cfg.Logs[0].Origin != "log.example.org/2026" {
		t.Errorf("loaded %+v", s)
	}
	if _, ok := cfg.Signers[0].(ed25519.PrivateKey); !ok {
		t.Errorf("signer %T", cfg.Signers[0])
	}
}

// addFork lets the log sign two trees of size 5 and hands both to the witness.
func addFork(t *testing.T, cfg witness.Config, l *testlog.Log) {
	t.Helper()
	w := testlog.Must(witness.Open(t.Context(), cfg))
	defer w.Close()
	testlog.Must(w.AddCheckpoint(t.Context(), []byte(l.Request(0, 5))))
	signed := l.SignText(testlog.Head(l.KeyName, 5, tlog.Hash{1}))
	if _, err := w.AddCheckpoint(t.Context(), []byte("old 5\n\n"+string(signed))); !errors.Is(err, witness.ErrFork) {
		t.Fatalf("the second tree: %v", err)
	}
}
