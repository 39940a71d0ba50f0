package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cratelog/cargo/proxy"
	"cratelog/cargo/registry"
	"cratelog/internal/fixture"
	"cratelog/internal/registrytest"
)

// judge refuses the crates that it is told to, and records what it was asked.
type judge struct {
	mu         sync.Mutex
	refuse     map[string]error // by "name version"
	judged     map[string]int
	prefetched map[string]int
	wait       chan struct{} // if not nil, Judge waits until it is closed
	required   bool          // all crates must be proven
}

func newJudge() *judge {
	return &judge{refuse: map[string]error{}, judged: map[string]int{}, prefetched: map[string]int{}}
}

func (j *judge) Judge(ctx context.Context, name, version string, sum [32]byte, raw []byte) (bool, [32]byte, error) {
	j.mu.Lock()
	j.judged[name+" "+version]++
	err, wait, required := j.refuse[name+" "+version], j.wait, j.required
	j.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return required, [32]byte{}, ctx.Err()
		}
	}
	return required, [32]byte{}, err
}

func (j *judge) Requires(_, _ string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.required
}

func (j *judge) Prefetch(_ context.Context, name, version string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.prefetched[name+" "+version]++
}

func (j *judge) set(crate string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refuse[crate] = err
}

func (j *judge) times(crate string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.judged[crate]
}

// await polls until something holds of what the judge has recorded.
func (j *judge) await(t *testing.T, holds func() bool) {
	t.Helper()
	for {
		j.mu.Lock()
		done := holds()
		j.mu.Unlock()
		if done {
			return
		}
		fatalIf(t, t.Context().Err())
		time.Sleep(time.Millisecond) // nothing rests on how long
	}
}

// start runs a proxy before a registry until the test ends, and returns its URL.
func start(t *testing.T, index string, j proxy.Judge, dir string) (*proxy.Proxy, string) {
	t.Helper()
	l, err := proxy.Listen("127.0.0.1:0", false)
	fatalIf(t, err)
	c := config(t, index, j)
	c.Base, c.Dir = "http://"+l.Addr().String()+"/0123456789abcdef", openDir(t, dir, 0)
	p, err := proxy.New(t.Context(), c)
	fatalIf(t, err)
	run(t, l, p)
	return p, c.Base
}

// run serves until the test ends.
func run(t *testing.T, l net.Listener, h proxy.Handler) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- proxy.Serve(ctx, l, h, quiet) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the proxy stopped with: %v", err)
		}
	})
}

var quiet = slog.New(slog.DiscardHandler)

func openDir(t *testing.T, path string, size int64) *proxy.Dir {
	t.Helper()
	d, err := proxy.OpenDir(path, size)
	fatalIf(t, err)
	return d
}

// world runs a registry that has version 1.0.0 of some crates, and a proxy before it, with
// a judge that accepts everything.
func world(t *testing.T, crates ...string) (r *registrytest.Registry, j *judge, base string) {
	t.Helper()
	r, j = registrytest.New(t), newJudge()
	for _, name := range crates {
		r.Add(name, "1.0.0")
	}
	_, base = start(t, r.Index, j, t.TempDir())
	return r, j, base
}

// config is that of a proxy which is not where it says.
func config(t *testing.T, index string, j proxy.Judge) proxy.Config {
	t.Helper()
	return proxy.Config{Upstream: &registry.Index{URL: index}, Judge: j, Base: "http://127.0.0.1:1", Dir: openDir(t, t.TempDir(), 0),
		Policy: "of the test", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// serve serves such a proxy, and returns its address.
func serve(t *testing.T, c proxy.Config) string {
	t.Helper()
	p, err := proxy.New(t.Context(), c)
	fatalIf(t, err)
	t.Cleanup(p.Close)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s.URL
}

// project is a directory with a package that depends on crates of cargo's default
// registry, which its cargo finds behind a proxy. Its home is its own.
type project struct {
	t         *testing.T
	dir, home string
}

func newProject(t *testing.T, base, deps string) *project {
	t.Helper()
	fixture.Need(t, "cargo")
	p := &project{t, t.TempDir(), t.TempDir()}
	p.write("Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\n"+deps)
	p.write("src/lib.rs", "pub fn f() {}\n")
	p.write(".cargo/config.toml", "[source.crates-io]\nreplace-with = \"cratelog\"\n[source.cratelog]\nregistry = \""+proxy.Index(base)+"\"\n")
	return p
}

func (p *project) write(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	fatalIf(p.t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)))
}

// cargo runs the real cargo, and returns its output and exit code.
func (p *project) cargo(args ...string) (string, int) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), "cargo", args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "CARGO_HOME="+p.home, "CARGO_TARGET_DIR="+filepath.Join(p.dir, "target"), "no_proxy=127.0.0.1", "CARGO_TERM_COLOR=never")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// compiled says whether anything of a crate was unpacked or compiled.
func (p *project) compiled(name string) bool {
	p.t.Helper()
	found := false
	for _, dir := range []string{filepath.Join(p.dir, "target"), filepath.Join(p.home, "registry", "src"), filepath.Join(p.home, "registry", "cache")} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if strings.Contains(filepath.Base(path), name) || strings.Contains(filepath.Base(path), strings.ReplaceAll(name, "-", "_")) {
				found = true
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.t.Fatal(err)
		}
	}
	return found
}

func TestCargoBuildsWhatTheJudgeAccepts(t *testing.T) {
	r, j, base := world(t, "leaf")
	r.AddCrate(fixture.Crate(t, "hello-proof", "0.1.0"))
	r.AddCrate(registrytest.MakeCrate("branch", "1.0.0", map[string]string{"Cargo.toml": "[package]\nname = \"branch\"\nversion = \"1.0.0\"\n[dependencies]\nleaf = \"1\"\n"}))
	p := newProject(t, base, "hello-proof = \"0.1\"\nbranch = \"1\"\n")
	if out, code := p.cargo("build"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	for _, crate := range []string{"hello-proof 0.1.0", "leaf 1.0.0", "branch 1.0.0"} {
		if j.times(crate) != 1 {
			t.Errorf("%s was judged %d times", crate, j.times(crate))
		}
	}
	lock, err := os.ReadFile(filepath.Join(p.dir, "Cargo.lock"))
	fatalIf(t, err)
	if strings.Contains(string(lock), base) || !strings.Contains(string(lock), `source = "registry+`) {
		t.Errorf("Cargo.lock knows of the proxy:\n%s", lock)
	}
	if out, code := p.cargo("build", "--locked"); code != 0 {
		t.Errorf("with --locked: exit %d\n%s", code, out)
	}
}

// told is a refusal with advice of its own.
type told struct{ error }

func (told) Remedy() string { return "Ask its publisher." }

func TestCargoStopsAndPrintsTheReason(t *testing.T) {
	proved := fixture.Crate(t, "hello-proof", "0.1.0")
	other := registrytest.MakeCrate("hello-proof", "0.1.0", nil)
	flipped := append([]byte(nil), proved...)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		misbehave func(*registrytest.Registry, *judge)
		want      []string
	}{
		"no entry": {
			func(_ *registrytest.Registry, j *judge) {
				j.set("hello-proof 0.1.0", told{errors.New("no log that you trust has an entry for it")})
			},
			[]string{"got 403", "cratelog refuses hello-proof v0.1.0: no log that you trust has an entry for it.\n", "Ask its publisher.\n", "/explain/hello-proof/0.1.0"},
		},
		"the log is down": {
			func(_ *registrytest.Registry, j *judge) {
				j.set("hello-proof 0.1.0", errors.New("the log at https://log.example.com cannot be reached"))
			},
			[]string{"got 403", "the log at https://log.example.com cannot be reached.", "Use another version, ask its publisher for a proof, or allow it in zkp.toml"},
		},
		"one byte changed in the registry": {
			func(r *registrytest.Registry, _ *judge) { r.Swap("hello-proof", "0.1.0", flipped) },
			[]string{"got 403", "cratelog refuses hello-proof v0.1.0: the registry served other bytes than its index lists", "Try again later"},
		},
		"another checksum in the index": {
			func(r *registrytest.Registry, _ *judge) { r.SetChecksum("hello-proof", "0.1.0", [32]byte{1}) },
			[]string{"got 403", "the registry served other bytes than its index lists"},
		},
		"the registry does not have the file": {
			func(r *registrytest.Registry, _ *judge) { r.Fail("/dl/", http.StatusNotFound) },
			[]string{"got 404", "the registry does not have it"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, j, base := world(t, "leaf")
			r.AddCrate(proved)
			c.misbehave(r, j)
			p := newProject(t, base, "hello-proof = \"0.1\"\nleaf = \"1\"\n")
			out, code := p.cargo("build")
			if code != 101 {
				t.Errorf("exit %d", code)
			}
			for _, want := range c.want {
				// cargo indents the lines of a body.
				if !strings.Contains(strings.ReplaceAll(out, "\n  ", "\n"), want) {
					t.Errorf("cargo does not say %q", want)
				}
			}
			if strings.Contains(out, "spurious") {
				t.Error("cargo tried again, which cannot help")
			}
			if p.compiled("hello-proof") {
				t.Error("something of the refused crate was unpacked or compiled")
			}
			if t.Failed() {
				t.Logf("cargo said:\n%s", out)
			}
		})
	}
	// An honest registry again, another crate under the locked checksum's name.
	t.Run("replaced after it was locked", func(t *testing.T) {
		r, _, base := world(t)
		r.AddCrate(proved)
		p := newProject(t, base, "hello-proof = \"0.1\"\n")
		if out, code := p.cargo("generate-lockfile"); code != 0 {
			t.Fatal(out)
		}
		r.Replace("hello-proof", "0.1.0", other)
		out, code := p.cargo("build")
		if code != 101 || !strings.Contains(out, "the registry served other bytes than its index lists") || p.compiled("hello-proof") {
			t.Errorf("exit %d:\n%s", code, out)
		}
		// The proxy now knows the new checksum; cargo knows the old one.
		out, code = p.cargo("build")
		if code != 101 || !strings.Contains(out, "failed to verify the checksum of `hello-proof v0.1.0") || p.compiled("hello_proof") {
			t.Errorf("the second time: exit %d:\n%s", code, out)
		}
	})
}

// cargo's own client must take HTTP/2 on the proxy's plain connection; only so
// does it ask for more than two crates at one time.
func TestCargoAsksForManyCratesAtOneTime(t *testing.T) {
	const n = 8
	r, j := registrytest.New(t), newJudge()
	deps := ""
	for i := range n {
		name := fmt.Sprintf("crate-%d", i)
		r.Add(name, "1.0.0")
		deps += name + " = \"1\"\n"
	}
	j.wait = make(chan struct{})
	all := &gate{judge: j, n: n}
	_, base := start(t, r.Index, all, t.TempDir())
	p := newProject(t, base, deps)
	if out, code := p.cargo("fetch"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
}

// cargo gives up on what is silent for 30 seconds. Here it sees bytes after a moment, then a cut,
// and then the reason.
func TestCargoWaitsForASlowVerdict(t *testing.T) {
	for _, verdict := range []error{nil, errors.New("nobody proved it")} {
		r, j := registrytest.New(t), newJudge()
		r.AddCrate(registrytest.MakeCrate("leaf", "1.0.0", map[string]string{"src/lib.rs": noise(3000)}))
		j.set("leaf 1.0.0", verdict)
		j.wait = make(chan struct{})
		l, err := proxy.Listen("127.0.0.1:0", false)
		fatalIf(t, err)
		c := config(t, r.Index, j)
		c.Base = "http://" + l.Addr().String()
		c.SetPatience(time.Millisecond)
		p, err := proxy.New(t.Context(), c)
		fatalIf(t, err)
		began := make(chan struct{})
		run(t, l, &seen{p, began, sync.Once{}})
		go func() { // the verdict comes when cargo has got some bytes
			<-began
			close(j.wait)
		}()
		out, code := newProject(t, c.Base, "leaf = \"1\"\n").cargo("fetch")
		if verdict == nil && (code != 0 || strings.Contains(out, "spurious")) {
			t.Errorf("exit %d\n%s", code, out)
		}
		if verdict != nil && (code != 101 || strings.Count(out, "spurious") != 1 || !strings.Contains(out, "cratelog refuses leaf v1.0.0: nobody proved it")) {
			t.Errorf("exit %d\n%s", code, out)
		}
	}
}

// seen tells when the first bytes of a crate have gone to the client.
type seen struct {
	*proxy.Proxy
	began chan struct{}
	once  sync.Once
}

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/d/") {
		w = &seenWriter{w, s}
	}
	s.Proxy.ServeHTTP(w, r)
}

type seenWriter struct {
	http.ResponseWriter
	seen *seen
}

func (w *seenWriter) Write(b []byte) (int, error) {
	defer w.seen.once.Do(func() { close(w.seen.began) })
	return w.ResponseWriter.Write(b)
}

func (w *seenWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// gate judges nothing until n crates wait for its judgement.
type gate struct {
	*judge
	n    int
	mu   sync.Mutex
	seen int
}

func (g *gate) Judge(ctx context.Context, name, version string, sum [32]byte, raw []byte) (bool, [32]byte, error) {
	g.mu.Lock()
	g.seen++
	if g.seen == g.n {
		close(g.wait)
	}
	g.mu.Unlock()
	return g.judge.Judge(ctx, name, version, sum, raw)
}

func TestListenersStayOnTheMachine(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:0", "127.0.0.1"} {
		if l, err := proxy.Listen(address, false); err == nil {
			l.Close()
			t.Errorf("it listens at %s", address)
		}
	}
	l, err := proxy.Listen("0.0.0.0:0", true)
	fatalIf(t, err)
	l.Close()
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener goes on")
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
