// Package logsite runs a log as it runs in earnest: logd and witness, built from this module, each in a
// process of its own, with the settings that ship. It is for measurements, which want to tell what the log
// costs from what its clients and its witnesses cost.
package logsite

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/entry"
	"cratelog/internal/clustertest"
	"cratelog/internal/forge"
)

// Origin of the log.
const Origin = "bench.example/log"

// Site is a running log with three witnesses, of which two make the quorum. It accepts the programs that
// ship, development keys included.
type Site struct {
	URL    string
	Dir    string
	Output *bytes.Buffer // what logd has written; to be read after Close

	log       *clustertest.Program
	processes []*clustertest.Program
}

// Build builds logd, witness and more programs of cmd/ into dir. The working directory must be in this module.
func Build(ctx context.Context, dir string, more ...string) error {
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, name := range append([]string{"logd", "witness"}, more...) {
		args = append(args, "cratelog/cmd/"+name)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// Start starts the programs in bin, whose files come into dir. settings are lines for the log's settings
// file, beside those that are required; files bounds how many files logd may have open, 0 for no other bound
// than this process has.
func Start(ctx context.Context, bin, dir, settings string, files int) (s *Site, err error) {
	s = &Site{Dir: dir, Output: new(bytes.Buffer)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(), errors.New(s.Output.String()))
		}
	}()
	vkey, witnesses, err := s.begin(ctx, bin)
	if err != nil {
		return s, err
	}
	if err := s.writePolicy("trust.policy", vkey, witnesses); err != nil {
		return s, err
	}
	text := fmt.Sprintf("origin = %q\nlisten = \"127.0.0.1:0\"\nkeys = [\"log.pem\"]\ntree = \"tree\"\nstate = \"state\"\n"+
		"trust = \"trust.policy\"\ndevelopment = true\n%s", Origin, settings)
	if err := os.WriteFile(filepath.Join(dir, "logd.toml"), []byte(text), 0o644); err != nil {
		return s, err
	}
	s.log, s.URL, err = s.serve(ctx, filepath.Join(bin, "logd"), "logd", files)
	return s, err
}

// member is a running witness.
type member struct{ name, vkey, url string }

// begin makes the log's key and starts the witnesses.
func (s *Site) begin(ctx context.Context, bin string) (vkey string, witnesses []member, err error) {
	if vkey, err = output(ctx, filepath.Join(bin, "logd"), "keygen", "-origin", Origin, "-out",
		filepath.Join(s.Dir, "log.pem")); err != nil {
		return "", nil, err
	}
	for i := range 3 {
		w, err := s.startWitness(ctx, filepath.Join(bin, "witness"), fmt.Sprintf("w%d", i+1), vkey)
		if err != nil {
			return "", nil, err
		}
		witnesses = append(witnesses, w)
	}
	return vkey, witnesses, nil
}

// writePolicy writes a trust file: two of the witnesses make the quorum.
func (s *Site) writePolicy(file, vkey string, witnesses []member) error {
	policy := "log " + vkey + "\n"
	for _, w := range witnesses {
		policy += fmt.Sprintf("witness %s %s %s\n", w.name, w.vkey, w.url)
	}
	policy += "group quorum-of-two 2 w1 w2 w3\nquorum quorum-of-two\n"
	return os.WriteFile(filepath.Join(s.Dir, file), []byte(policy), 0o644)
}

func (s *Site) startWitness(ctx context.Context, program, name, logVKey string) (w member, err error) {
	full := name + ".witness.example"
	w = member{name: name}
	if w.vkey, err = output(ctx, program, "keygen", "-name", full, "-out", filepath.Join(s.Dir, name+".pem")); err != nil {
		return w, err
	}
	text := fmt.Sprintf("name = %q\nlisten = \"127.0.0.1:0\"\ndatabase = %q\nkeys = [%q]\n[[log]]\norigin = %q\nvkey = %q\n",
		full, name+".db", name+".pem", Origin, logVKey)
	file := filepath.Join(s.Dir, name+".toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return w, err
	}
	if _, err := output(ctx, program, "init", "-config", file); err != nil {
		return w, err
	}
	_, w.url, err = s.serve(ctx, program, name, 0)
	return w, err
}

// serve starts a program that serves, and waits until it does.
func (s *Site) serve(ctx context.Context, program, name string, files int) (p *clustertest.Program, url string, err error) {
	ready := filepath.Join(s.Dir, name+".ready")
	args := []string{"serve", "-config", filepath.Join(s.Dir, name+".toml"), "-ready-file", ready}
	p = clustertest.NewProgram(name, func() *exec.Cmd {
		cmd := exec.Command(program, args...)
		if files > 0 {
			cmd = exec.Command("sh", append([]string{"-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(files), program},
				args...)...)
		}
		if name == "logd" {
			cmd.Stderr = s.Output
		}
		return cmd
	}, func(context.Context) error {
		b, err := os.ReadFile(ready)
		url = strings.TrimSpace(string(b))
		return err
	})
	s.processes = append(s.processes, p)
	err = p.Start(ctx)
	return p, url, err
}

func output(ctx context.Context, program string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", program, args[0], err)
	}
	return strings.TrimSpace(string(out)), err
}

// CPU returns the processor time that logd has taken so far, in seconds.
func (s *Site) CPU() (float64, error) { return s.Metric("process_cpu_seconds_total") }

// Metric returns a metric without labels.
func (s *Site) Metric(name string) (float64, error) { return metric(context.Background(), s.URL, name) }

func metric(ctx context.Context, url, name string) (float64, error) {
	b, err := Fetch(ctx, url+"/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("%s has no metric %s", url, name)
}

// Alive says whether logd still runs.
func (s *Site) Alive() bool {
	select {
	case <-s.log.Ended():
		return false
	default:
		return true
	}
}

// Close ends all processes, the log first.
func (s *Site) Close() error {
	var errs []error
	for i := len(s.processes) - 1; i >= 0; i-- {
		errs = append(errs, s.processes[i].Stop())
	}
	s.processes = nil
	return errors.Join(errs...)
}

// A Submission is the body of a request that logs an entry.
type Submission struct {
	Crate, Entry []byte
	Type         string // Content-Type
	Body         []byte
}

// NewSubmission encodes a form.
func NewSubmission(entry, crate []byte) (Submission, error) {
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for _, p := range []struct {
		name string
		data []byte
	}{{"entry", entry}, {"crate", crate}} {
		w, err := m.CreateFormFile(p.name, p.name)
		if err == nil {
			_, err = w.Write(p.data)
		}
		if err != nil {
			return Submission{}, err
		}
	}
	err := m.Close()
	return Submission{Crate: crate, Entry: entry, Type: m.FormDataContentType(), Body: b.Bytes()}, err
}

// Segments is how many segments the proofs of Make have: the median of real crates has 56 SHA-1 blocks.
const Segments = 2

// Make makes n submissions with .crates of 20 files and about size bytes, and proofs that hold.
func Make(name string, n, size int) ([]Submission, error) {
	f, err := forge.Default()
	if err != nil {
		return nil, err
	}
	subs := make([]Submission, n)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		g.Go(func() (err error) {
			subs[i], err = makeOne(f, fmt.Sprintf("%s-%d", name, i), size, rand.New(rand.NewPCG(uint64(i), 1)))
			return err
		})
	}
	return subs, g.Wait()
}

func makeOne(f *forge.Forger, name string, size int, random *rand.Rand) (Submission, error) {
	const version, parts = "1.0.0", 18
	files := []forge.File{forge.Manifest(name, version), {Path: "src/lib.rs", Content: "// " + name + "\n"}}
	for i := range parts {
		files = append(files, forge.File{Path: fmt.Sprintf("src/part_%d.rs", i),
			Content: forge.Source(random, size*27/10/parts)})
	}
	raw, err := forge.Pack(name, version, files...)
	if err != nil {
		return Submission{}, err
	}
	e, err := forge.Claim(raw, name, version, &entry.Source{Commit: sha1.Sum([]byte(name))})
	if err != nil {
		return Submission{}, err
	}
	list, err := forge.List(raw, e)
	if err == nil {
		err = f.ProveSegments(e, list, Segments)
	}
	if err != nil {
		return Submission{}, err
	}
	b, err := e.Marshal()
	if err != nil {
		return Submission{}, err
	}
	return NewSubmission(b, raw)
}

// Client returns a client whose connections come from an address, which may be "".
func Client(from string, connections int) *http.Client {
	d := net.Dialer{Timeout: 30 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	return &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DialContext: d.DialContext,
		MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}
}

// Submit sends a submission once, and returns status and body.
func Submit(c *http.Client, url string, s Submission) (status int, body []byte, err error) {
	return SubmitFor(context.Background(), c, url, s)
}

// SubmitFor is Submit until ctx ends.
func SubmitFor(ctx context.Context, c *http.Client, url string, s Submission) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/submit", bytes.NewReader(s.Body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", s.Type)
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	return resp.StatusCode, body, err
}
