package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"cratelog/client"
	"cratelog/internal/testlog"
	"cratelog/testdata"
)

// mirrorName is the name of sunlight's mirror.
const mirrorName = "sun.example/m1"

const patience = time.Minute

// kind is the kind of keys that witnesses sign with. One log is cosigned by keys of one kind: each witness has
// one address, and a policy has one key for it.
type kind string

const (
	classic     kind = "Ed25519"
	postQuantum kind = "ML-DSA-44"
)

// logOf is one of our logs, with its witnesses.
type logOf struct {
	kind              kind
	origin, vkey, url string
	trust             []byte
	bundle            []byte // of one entry
	checkpoint        []byte
}

// cosigner is a witness under one of its keys.
type cosigner struct {
	name, url string
	vkey      map[kind]string
}

// world is everything that runs, in a directory.
type world struct {
	*builder
	run  string // directory of this run
	logs map[kind]*logOf
	// tree is a log that this program itself plays.
	tree *testlog.Log

	cosigners map[string]cosigner // by program
	mirrorKey string              // of sunlight's mirror
	failed    map[string]error    // what could not be started, by program

	mu        sync.Mutex
	processes []*process
	closers   []func()
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// start starts a program that runs until the end.
func (w *world) start(ctx context.Context, env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, w.path(name), args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = w.run, append(os.Environ(), env...)
	log, err := os.Create(filepath.Join(w.run, fmt.Sprintf("%s-%d.log", name, len(w.processes))))
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = p.cmd.Wait(); log.Close(); close(p.done) }()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.processes = append(w.processes, p)
	return p, nil
}

// stop ends all that was started, the last first, each by its own id.
func (w *world) stop() {
	for i := len(w.processes) - 1; i >= 0; i-- {
		w.processes[i].stop()
	}
	for _, c := range w.closers {
		c()
	}
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// port returns an address that was free a moment ago: these programs take no listener.
func port() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}

// until waits for something, as long as a process that is asked for runs.
func until(ctx context.Context, p *process, what string, holds func() error) error {
	for end := time.Now().Add(patience); ; {
		err := holds()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no %s: %w", what, err)
		}
		var ended <-chan struct{}
		if p != nil {
			ended = p.done
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return fmt.Errorf("%s has ended; see its .log", filepath.Base(p.cmd.Path))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// listens waits until an address answers.
func listens(ctx context.Context, p *process, address string) error {
	return until(ctx, p, "answer at "+address, func() error {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
}

func ask(ctx context.Context, method, url string, body []byte) (code int, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, text, err
}

func get(ctx context.Context, url string) ([]byte, error) {
	code, text, err := ask(ctx, http.MethodGet, url, nil)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %.200s", url, code, text)
	}
	return text, err
}

// keygen makes a key with a program of ours, and returns its vkey.
func (w *world) keygen(ctx context.Context, program, flag, name, file string, more ...string) (string, error) {
	out, err := output(ctx, w.run, nil, w.path(program), append([]string{"keygen", flag, name, "-out", file}, more...)...)
	return strings.TrimSpace(out), err
}

// list writes all logs as a list of witness-network.org.
func (w *world) list() (string, error) {
	text := "logs/v0\n"
	for _, vkey := range w.vkeys() {
		text += fmt.Sprintf("\nvkey %s\nqpd 86400\ncontact nobody\n", vkey)
	}
	path := filepath.Join(w.run, "logs.list")
	return path, os.WriteFile(path, []byte(text), 0o644)
}

func (w *world) vkeys() []string {
	return []string{w.logs[classic].vkey, w.logs[postQuantum].vkey, w.tree.VKey}
}

// startWitnesses starts every witness that there is. One that does not start is noted.
func (w *world) startWitnesses(ctx context.Context) error {
	list, err := w.list()
	if err != nil {
		return err
	}
	for program, start := range map[string]func(context.Context, string) (cosigner, error){
		"witness": w.ourWitness, "litewitness": w.litewitness, "omniwitness": w.omniwitness, "sunlight": w.sunlight,
	} {
		c, err := start(ctx, list)
		if err != nil {
			w.failed[program] = err
			continue
		}
		w.cosigners[program] = c
	}
	return w.failed["witness"]
}

func (w *world) ourWitness(ctx context.Context, list string) (c cosigner, err error) {
	c = cosigner{name: "ours.example/w1", vkey: make(map[kind]string)}
	if c.vkey[classic], err = w.keygen(ctx, "witness", "-name", c.name, "w-ed.pem"); err != nil {
		return c, err
	}
	if c.vkey[postQuantum], err = w.keygen(ctx, "witness", "-name", c.name, "w-pq.pem", "-type", "ml-dsa-44"); err != nil {
		return c, err
	}
	settings := fmt.Sprintf("name = %q\nlisten = \"127.0.0.1:0\"\ndatabase = \"w.db\"\nkeys = [\"w-ed.pem\", \"w-pq.pem\"]\n"+
		"[[list]]\nfrom = %q\n", c.name, list)
	if c.url, err = w.serveWitness(ctx, "w", settings); err != nil {
		return c, err
	}
	// The list is read while the witness serves already.
	return c, until(ctx, nil, "log of the list at the witness", func() error {
		text, err := get(ctx, c.url+"/")
		if err == nil && !strings.Contains(string(text), w.tree.KeyName) {
			err = errors.New("not yet there")
		}
		return err
	})
}

// serveWitness makes and starts a witness of ours.
func (w *world) serveWitness(ctx context.Context, name, settings string) (url string, err error) {
	file := filepath.Join(w.run, name+".toml")
	if err := os.WriteFile(file, []byte(settings), 0o644); err != nil {
		return "", err
	}
	if err := run(ctx, w.run, nil, w.path("witness"), "init", "-config", file); err != nil {
		return "", err
	}
	return w.serve(ctx, "witness", file)
}

// serve starts a server of ours and returns its URL.
func (w *world) serve(ctx context.Context, program, settings string) (url string, err error) {
	ready := settings + ".ready"
	p, err := w.start(ctx, nil, program, "serve", "-config", settings, "-ready-file", ready)
	if err != nil {
		return "", err
	}
	err = until(ctx, p, "address of "+program, func() error {
		b, err := os.ReadFile(ready)
		url = strings.TrimSpace(string(b))
		return err
	})
	return url, err
}

// litewitness has its key in an ssh-agent, which is this program.
func (w *world) litewitness(ctx context.Context, _ string) (c cosigner, err error) {
	if err := w.has("litewitness", "witnessctl"); err != nil {
		return c, err
	}
	key := testlog.Ed25519("interop litewitness")
	c = cosigner{name: "lite.example/w1"}
	signer, err := torchwood.NewCosignatureSigner(c.name, key)
	if err != nil {
		return c, err
	}
	c.vkey = map[kind]string{classic: signer.Verifier().String()}
	socket, fingerprint, err := w.sshAgent(key)
	if err != nil {
		return c, err
	}
	for _, vkey := range w.vkeys() {
		origin, _, _ := strings.Cut(vkey, "+")
		if err := run(ctx, w.run, nil, w.path("witnessctl"), "add-log", "-db", "lite.db", "-origin", origin); err != nil {
			return c, err
		}
		if err := run(ctx, w.run, nil, w.path("witnessctl"), "add-key", "-db", "lite.db", "-origin", origin, "-key",
			vkey); err != nil {
			return c, err
		}
	}
	address := port()
	p, err := w.start(ctx, nil, "litewitness", "-db", "lite.db", "-name", c.name, "-key", fingerprint, "-ssh-agent",
		socket,
		"-listen", address)
	if err != nil {
		return c, err
	}
	c.url = "http://" + address
	return c, listens(ctx, p, address)
}

func (w *world) sshAgent(key ed25519.PrivateKey) (socket, fingerprint string, err error) {
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: &key}); err != nil {
		return "", "", err
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", "", err
	}
	dir, err := os.MkdirTemp("", "a") // a socket's path is short
	if err != nil {
		return "", "", err
	}
	socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return "", "", err
	}
	w.closers = append(w.closers, func() { l.Close(); os.RemoveAll(dir) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _ = agent.ServeAgent(ring, c) }()
		}
	}()
	return socket, ssh.FingerprintSHA256(public), nil
}

func (w *world) omniwitness(ctx context.Context, _ string) (c cosigner, err error) {
	if err := w.has("omniwitness", "omniwitness-keys"); err != nil {
		return c, err
	}
	c = cosigner{name: "omni.example/w1", vkey: make(map[kind]string)}
	for k, flags := range map[kind][]string{classic: nil, postQuantum: {"-mldsa"}} {
		file := filepath.Join(w.run, "omni-"+string(k))
		args := append([]string{"-origin", c.name, "-out_priv", file, "-out_pub", file + ".pub"}, flags...)
		if err := run(ctx, w.run, nil, w.path("omniwitness-keys"), args...); err != nil {
			return c, err
		}
		vkey, err := os.ReadFile(file + ".pub")
		if err != nil {
			return c, err
		}
		c.vkey[k] = strings.TrimSpace(string(vkey))
	}
	yaml := "Logs:\n"
	for _, vkey := range w.vkeys() {
		origin, _, _ := strings.Cut(vkey, "+")
		yaml += fmt.Sprintf("  - Origin: %s\n    PublicKey: %s\n    URL: http://127.0.0.1:1/\n", origin, vkey)
	}
	logs := filepath.Join(w.run, "omni.yaml")
	if err := os.WriteFile(logs, []byte(yaml), 0o644); err != nil {
		return c, err
	}
	address := port()
	p, err := w.start(ctx, nil, "omniwitness", "--listen", address, "--metrics_listen", port(), "--db_file", "omni.db",
		"--private_key_path", "omni-"+string(classic), "--private_key_path", "omni-"+string(postQuantum),
		"--additional_logs", logs)
	if err != nil {
		return c, err
	}
	c.url = "http://" + address
	return c, listens(ctx, p, address)
}

// sunlight is a log server with a witness and a mirror inside; it does not start without a log of its own.
func (w *world) sunlight(ctx context.Context, list string) (c cosigner, err error) {
	if err := w.has("sunlight", "sunlight-keygen"); err != nil {
		return c, err
	}
	c = cosigner{name: "sun.example/w1", vkey: make(map[kind]string)}
	out, err := output(ctx, w.run, nil, w.path("sunlight-keygen"), "-f", "sun.seed", "-witness", c.name, "-mirror",
		mirrorName)
	if err != nil {
		return c, err
	}
	for _, vkey := range regexp.MustCompile(regexp.QuoteMeta(c.name)+`\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+`).FindAllString(out,
		-1) {
		if k := classic; len(vkey) < 200 {
			c.vkey[k] = vkey
		} else {
			c.vkey[postQuantum] = vkey
		}
	}
	if len(c.vkey) != 2 {
		return c, fmt.Errorf("sunlight-keygen printed no two keys: %s", out)
	}
	if w.mirrorKey = regexp.MustCompile(regexp.QuoteMeta(mirrorName) +
		`\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+`).FindString(out); w.mirrorKey == "" {
		return c, fmt.Errorf("sunlight-keygen printed no key of a mirror: %s", out)
	}
	if err := w.sunlightFiles(ctx); err != nil {
		return c, err
	}
	address, today := port(), time.Now().UTC()
	settings := fmt.Sprintf(`listen: [%q]
checkpoints: sun.db
witness:
  name: %s
  submissionprefix: https://127.0.0.1
  monitoringprefix: https://127.0.0.1/mon
  secret: sun.seed
  loglists: [%s]
  localdirectory: sun-public
  mirrorname: %s
  mirrorloglists: [%s]
logs:
  - name: 127.0.0.1/ct
    shortname: ctlog
    inception: %s
    submissionprefix: https://127.0.0.1/ct
    monitoringprefix: https://127.0.0.1/ctmon
    roots: sun-roots.pem
    secret: sun-ct.seed
    cache: sun-cache.db
    localdirectory: sun-ct
    notafterstart: %s
    notafterlimit: %s
`, address, c.name, list, mirrorName, list, today.Format(time.DateOnly), today.Format(time.RFC3339), today.AddDate(1, 0, 0).Format(time.RFC3339))
	if err := os.WriteFile(filepath.Join(w.run, "sun.yaml"), []byte(settings), 0o644); err != nil {
		return c, err
	}
	p, err := w.start(ctx, nil, "sunlight", "-c", "sun.yaml")
	if err != nil {
		return c, err
	}
	c.url = "http://" + address
	return c, listens(ctx, p, address)
}

// startLog starts one of our logs, with the witnesses that have keys of its kind, all of which must cosign.
func (w *world) startLog(ctx context.Context, l *logOf) error {
	trust, members := fmt.Sprintf("log %s http://127.0.0.1\n", l.vkey), ""
	for _, program := range witnesses {
		if vkey := w.cosigners[program].vkey[l.kind]; vkey != "" {
			trust += fmt.Sprintf("witness the-%s %s %s\n", program, vkey, w.cosigners[program].url)
			members += " the-" + program
		}
	}
	l.trust = []byte(trust + "group all-of-them all" + members + "\nquorum all-of-them\n")
	dir := filepath.Join(w.run, "log-"+string(l.kind))
	mirror := ""
	if w.mirrorKey != "" {
		mirror = fmt.Sprintf("[[mirror]]\nurl = %q\nvkey = %q\n", w.cosigners["sunlight"].url, w.mirrorKey)
	}
	err := writeFiles(dir, map[string]string{"trust.policy": string(l.trust),
		"logd.toml": fmt.Sprintf("origin = %q\nlisten = \"127.0.0.1:0\"\n"+
			"keys = [\"../log-%s.pem\"]\ntree = \"tree\"\nstate = \"state\"\ntrust = \"trust.policy\"\ndevelopment = true\n"+
			"checkpoint_interval = \"500ms\"\npublish_wait = \"60s\"\n%s", l.origin, l.kind, mirror)})
	if err != nil {
		return err
	}
	if l.url, err = w.serve(ctx, "logd", filepath.Join(dir, "logd.toml")); err != nil {
		return err
	}
	for _, name := range []string{"hello-proof-0.1.0", "hello-proof-0.1.1", "hello-inner-0.1.0"} {
		entry, err1 := testdata.Files.ReadFile(name + ".entry")
		crate, err2 := testdata.Files.ReadFile(name + ".crate")
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if l.bundle, err = (&client.Log{URL: l.url}).Submit(ctx, entry, crate, nil); err != nil {
			return err
		}
	}
	l.checkpoint, err = get(ctx, l.url+"/checkpoint")
	return err
}
