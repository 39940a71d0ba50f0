package rebuild

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/build"
	"cratelog/build/sandbox"
	"cratelog/entry"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
)

// A world is a crate with the crates of its lock file, and a sandbox that does as it is told.
type world struct {
	cfg    Config
	crates map[string][]byte // by name

	plan, planSaid string // what cargo says when it is asked for a plan
	planErr        error
	made           []string // what each run makes
	runErr         error
	specs          []sandbox.Spec
	began          []time.Time
	steps          []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{crates: map[string][]byte{}, made: []string{"binary", "binary"}}
	lock := ownEntry
	for _, id := range []string{"one 1.0.0", "two 2.0.0", "three 3.0.0", "index 5.0.0"} {
		name, version, _ := strings.Cut(id, " ")
		raw := registrytest.MakeCrate(name, version, nil)
		w.crates[name] = raw
		lock += strings.Replace(locked(name, version), strings.Repeat("ab", 32), fmt.Sprintf("%x", sha256.Sum256(raw)), 1)
	}
	raw := registrytest.MakeCrate("app", "1.0.0", map[string]string{"Cargo.lock": lock, "src/main.rs": "fn main() {}\n"})
	w.plan = said + graph
	w.cfg = Config{
		Crate: raw, Binary: "app",
		Subject:     entry.Subject{Registry: entry.DefaultRegistry, Name: "app", Version: "1.0.0", SHA256: sha256.Sum256(raw)},
		Toolchain:   &sandbox.Toolchain{ID: [32]byte{1}, Host: "x86_64-unknown-linux-gnu"},
		Environment: &sandbox.Environment{ID: [32]byte{2}},
		Fetch:       func(_ context.Context, c build.Crate) ([]byte, error) { return w.crates[c.Name], nil },
		Progress:    func(what string, _ func() float64) { w.steps = append(w.steps, what) },
		run:         w.run,
	}
	return w
}

func (w *world) run(_ context.Context, s sandbox.Spec) (sandbox.Used, error) {
	w.specs, w.began = append(w.specs, s), append(w.began, time.Now())
	used := sandbox.Used{Limits: "cgroup v2", Wall: 1}
	if strings.Contains(s.Command[2], "--unit-graph") {
		io.WriteString(s.Stdout, w.plan)
		io.WriteString(s.Stderr, w.planSaid)
		return used, w.planErr
	}
	io.WriteString(s.Stderr, "   Compiling one v1.0.0\nerror: \x1b[31mno\n")
	if _, err := io.WriteString(s.Stdout, w.made[len(w.specs)-2]); err != nil {
		return used, err
	}
	return used, w.runErr
}

func TestTwoRunsOfOnePlanMakeAReport(t *testing.T) {
	w := newWorld(t)
	var plan Plan
	w.cfg.Approve = func(_ context.Context, p Plan) error {
		if len(w.specs) != 1 {
			t.Errorf("it was asked after %d runs, not after planning", len(w.specs))
		}
		plan = p
		return nil
	}
	r, err := Run(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Same || r.Difference != "" || string(r.Artifact) != "binary" || r.Claim.Artifact != sha256.Sum256([]byte("binary")) {
		t.Errorf("the report is %+v", r)
	}
	if plan.Binary != "app" || len(plan.List) != 3 || len(plan.Raw) != 4 || plan.Subject != w.cfg.Subject {
		t.Errorf("the plan is %s, %v", plan.Binary, plan.List)
	}
	c := r.Claim
	if c.Toolchain != [32]byte{1} || c.Environment != [32]byte{2} || c.Target != "x86_64-unknown-linux-gnu" || c.Binary != "app" ||
		c.Recipe != entry.Recipe1 || c.Compiled != plan.List.Digest() || c.Lock != sha256.Sum256(plan.Lock.Text) {
		t.Errorf("the claim is %+v", c)
	}
	if len(w.specs) != 3 || w.specs[1].OneCPU || !w.specs[2].OneCPU {
		t.Fatalf("%d runs", len(w.specs))
	}
	users := map[int]bool{0: true}
	for _, s := range w.specs[1:] {
		users[s.User] = true
	}
	if want := map[bool]int{true: 1, false: 3}[r.SameUser]; len(users) != want {
		t.Errorf("the runs are those of users %v, and the report says same user: %v", users, r.SameUser)
	}
	if between := w.began[2].Sub(w.began[1]); between < 2*time.Second {
		t.Errorf("%v are between the runs: a build that writes down the time could be the same twice", between)
	}
	// Both are the same recipe, to the letter.
	first, second := w.specs[1], w.specs[2]
	if !slices.Equal(first.Command, second.Command) || !maps.Equal(first.Env, second.Env) || first.Dir != second.Dir {
		t.Error("the runs are two recipes")
	}
	want := []string{"/bin/sh", "-c", "set -e\n/build/rust/bin/cargo build --release --locked --offline --frozen -j 2 " +
		"--manifest-path /build/src/Cargo.toml --target-dir /build/target --bin \"$1\" >&2\n" +
		"exec cat \"/build/target/release/$1\"\n", "sh", "app"}
	if !slices.Equal(first.Command, want) || first.Dir != "/build" ||
		!maps.Equal(first.Env, map[string]string{"CARGO_HOME": "/build/home", "CARGO_INCREMENTAL": "0"}) {
		t.Errorf("recipe 1 has changed: %q %q %q", first.Command, first.Env, first.Dir)
	}
	if len(w.steps) != 4 || !strings.Contains(w.steps[2], "first run") || !strings.Contains(w.steps[3], "second run, on one CPU") {
		t.Errorf("the steps are %q", w.steps)
	}
}

func TestRunsThatDifferAreAReportThatSaysSo(t *testing.T) {
	w := newWorld(t)
	w.made = []string{"binary", "Binary"}
	r, err := Run(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Same || string(r.Second) != "Binary" || !strings.HasPrefix(r.Difference, "byte 0 of 6 and 6 bytes") {
		t.Errorf("the report is %+v", r)
	}
	if err := r.Write(t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeBuiltEndsWithItsSentence(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*world)
		want  string
		code  outcome.Code
		runs  int
	}{
		"another crate": {func(w *world) { w.cfg.Subject.SHA256[0]++ }, "the .crate of app v1.0.0 has SHA-256", outcome.Refused, 0},
		"no crate":      {func(w *world) { w.cfg.Crate = nil }, "app v1.0.0: ", outcome.Refused, 0},
		"a dependency with another checksum": {func(w *world) { w.crates["two"] = w.crates["one"] },
			"two v2.0.0: the .crate has SHA-256", outcome.Refused, 0},
		"a dependency that is not to be had": {func(w *world) {
			w.cfg.Fetch = func(context.Context, build.Crate) ([]byte, error) { return nil, errors.New("gone") }
		}, "one v1.0.0: gone", outcome.Unchecked, 0},
		"a lock file that cargo would change": {func(w *world) {
			w.plan, w.planErr = said, &sandbox.Failed{ExitCode: 101}
			w.planSaid = "error: the lock file needs to be updated but --locked was passed"
		}, "cargo refuses to build app v1.0.0 with its own Cargo.lock:\nerror: the lock file needs", outcome.Refused, 1},
		"a manifest that cargo refuses": {func(w *world) {
			w.plan, w.planErr, w.planSaid = "", &sandbox.Failed{ExitCode: 101}, "error: failed to parse manifest"
		}, "with its own Cargo.lock:\nerror: failed to parse manifest", outcome.Refused, 1},
		"a library": {func(w *world) {
			w.cfg.Binary, w.plan, w.planErr = "", `{"packages":[{"name":"app","version":"1.0.0"}]}`, &sandbox.Failed{ExitCode: 101}
		}, "app v1.0.0 has no binary: it is a library", outcome.Refused, 1},
		"a plan that took too long": {func(w *world) { w.planErr = &sandbox.Failed{Killed: "took longer than 1h0m0s"} },
			"the command took longer than 1h0m0s, and was ended", outcome.Unchecked, 1},
		"a shell that finds no cargo": {func(w *world) { w.plan, w.planErr = "", &sandbox.Failed{ExitCode: 127} },
			"asking cargo what it would compile: the command failed with exit code 127", outcome.Unchecked, 1},
		"no sandbox": {func(w *world) { w.planErr = &sandbox.Refused{Why: "there is no bubblewrap"} },
			"asking cargo what it would compile: there is no bubblewrap", outcome.Unchecked, 1},
		"a plan of another crate": {func(w *world) { w.plan = said + strings.ReplaceAll(graph, "#two@2.0.0", "#two@2.0.1") },
			"not in the lock file", outcome.Unchecked, 1},
		"no approval": {func(w *world) {
			w.cfg.Approve = func(context.Context, Plan) error { return outcome.Refusef("never") }
		}, "never", outcome.Refused, 1},
		"a build that fails": {func(w *world) { w.runErr = &sandbox.Failed{ExitCode: 101} },
			"first run: the command failed with exit code 101\nCompiling one v1.0.0\nerror: ?[31mno", outcome.Unchecked, 2},
		"nothing made": {func(w *world) { w.made[0] = "" }, "cargo made an empty file", outcome.Unchecked, 2},
		"no toolchain": {func(w *world) { w.cfg.Toolchain = nil }, "a toolchain, an environment", outcome.Unchecked, 0},
	} {
		w := newWorld(t)
		c.spoil(w)
		r, err := Run(t.Context(), w.cfg)
		if err == nil || r != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %q", name, r, err, c.want)
		}
		if outcome.Of(err) != c.code {
			t.Errorf("%s: exit code %d, want %d", name, outcome.Of(err), c.code)
		}
		if len(w.specs) != c.runs {
			t.Errorf("%s: %d runs, want %d", name, len(w.specs), c.runs)
		}
	}
}

func TestAnEndedContextEndsARebuild(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.cfg.Approve = func(context.Context, Plan) error { cancel(); return nil }
	w.runErr = &sandbox.Failed{ExitCode: 1}
	if _, err := Run(ctx, w.cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestWhatCargoSaysIsBounded(t *testing.T) {
	said := &tail{}
	for range 1000 {
		fmt.Fprintf(said, "   Compiling x v1.0.0 %s\n", strings.Repeat("y", 200))
	}
	io.WriteString(said, strings.Repeat("\x00", 9000)+"\nthe\u202e \x1b]0;end\a\xff")
	text := said.String()
	if len(text) > maxTail || strings.Count(text, "\n") > 30 || !strings.HasSuffix(text, "\n"+strings.Repeat("?", maxTailLine)+"...\nthe? ?]0;end??") {
		t.Errorf("%d bytes: %q", len(text), text[max(0, len(text)-100):])
	}
	if n := said.compiled.Load(); n != 1000 {
		t.Errorf("%d compiled", n)
	}
}
