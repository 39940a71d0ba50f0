// Package rebuild makes the binary of a crate again, twice, and says whether both times the same
// came out.
//
// # Recipe 1
//
// A recipe is everything that determines a build, but for the crate, its lock file, the toolchain and the
// environment, which the claim names. Recipe 1 is closed: it has no options. Inside of the sandbox
// (package sandbox) stand
//
//	/build/src     the files of the .crate, in directories that can be written to
//	/build/vendor  NAME-VERSION of every crate that its Cargo.lock names, with .cargo-checksum.json; of those
//	               that are not compiled, Cargo.toml and files that no compiler takes
//	/build/home    config.toml, which replaces every registry of the lock file by /build/vendor
//
// and in /build, where no configuration or rust-toolchain.toml of the package counts, runs
//
//	/build/rust/bin/cargo build --release --locked --offline --frozen -j 2 --bin NAME
//	    --manifest-path /build/src/Cargo.toml --target-dir /build/target
//
// with CARGO_HOME=/build/home and CARGO_INCREMENTAL=0 beside the sandbox's own environment. So it
// is the release profile as the crate has it, the default features, and the compiler's own target. The result is
// /build/target/release/NAME. Refused are packages that this does not build as their registry's
// users would: without a Cargo.lock, with [patch] or [replace], with packages from git or a path, and
// binaries that need other features.
//
// The list of compiled crates is what cargo's unit graph has for that binary. It is asked for in a
// run of its own, in which no code of any crate runs: what build scripts and procedural macros print
// or write later cannot change it. A crate that is not in it cannot be compiled, nor its files read.
//
// # Two runs
//
// The second run has one CPU instead of all, starts seconds later at least, and where root calls
// is another user's on the host (and neither is root's). Nothing of the host's file system can be seen in
// either. What depends on the number of CPUs, the time or the user differs then. What depends on the kind of CPU, the
// kernel or the day does not: other builders find that out.
package rebuild

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"cratelog/build"
	"cratelog/build/sandbox"
	"cratelog/cargo"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// cargoFailed is the exit code with which cargo says that it will not: any other is not cargo's.
const cargoFailed = 101

// Where things stand inside of the sandbox.
const (
	srcDir    = "/build/src"
	vendorDir = "/build/vendor"
	homeDir   = "/build/home"
	targetDir = "/build/target"
	cargoBin  = "/build/rust/bin/cargo"
)

const (
	// maxCrates bounds the .crate files of a lock file together, in bytes.
	maxCrates = 1 << 30
	// apart is the least time between the starts of both runs: more than a second, which is what a
	// build may write down of the time.
	apart = 2100 * time.Millisecond
	// firstUser and otherUser are the host's users of both runs, if root calls: high enough to be nobody's.
	// Neither is root, for whom bubblewrap covers more of /proc, which a build can see.
	firstUser, otherUser = 64998, 64999
)

// Config says what is to be built.
type Config struct {
	Crate   []byte        // the .crate, at most crate.DefaultLimits.Compressed
	Subject entry.Subject // which one it is to be
	Binary  string        // name of the binary; "" for the only one

	Toolchain   *sandbox.Toolchain
	Environment *sandbox.Environment
	Limits      sandbox.Limits // zero: the sandbox's defaults

	// Fetch returns the .crate of a crate of the lock file; what it returns is compared with the checksum.
	Fetch func(ctx context.Context, c build.Crate) ([]byte, error)

	// Approve is asked once it is known what will be compiled, before any code of it runs. An error
	// ends the work. Nil approves of everything.
	Approve func(ctx context.Context, p Plan) error

	// Progress is told what is done next, in a phrase, and gets a function that says how much of it is
	// done, from 0 to 1; nil if that is not known. Nil: nobody is told.
	Progress func(what string, share func() float64)

	run func(context.Context, sandbox.Spec) (sandbox.Used, error) // of tests; nil for sandbox.Run
}

// A Plan is what will be compiled.
type Plan struct {
	Subject entry.Subject
	Crate   []byte // the subject's .crate
	Binary  string
	Lock    *Lock
	List    build.List             // all that is compiled but the subject
	Raw     map[build.Crate][]byte // the .crate of every crate of the lock file
}

// Run builds a crate twice. Where both runs differ it returns a Report that says so, and no error. The
// error is marked as refused (package outcome) if the package is not one that recipe 1 builds; it wraps
// *sandbox.Refused where the machine cannot run the sandbox. When ctx ends, so do both runs.
func Run(ctx context.Context, c Config) (*Report, error) {
	j, err := newJob(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := j.plan(ctx); err != nil {
		return nil, err
	}
	if c.Approve != nil {
		if err := c.Approve(ctx, j.Plan); err != nil {
			return nil, err
		}
	}
	return j.both(ctx)
}

// A job is one rebuild.
type job struct {
	Plan
	cfg   Config
	crate *crate.Crate
}

// newJob reads the .crate and its lock file, and gets the crates that this names.
func newJob(ctx context.Context, c Config) (*job, error) {
	if c.Toolchain == nil || c.Environment == nil || c.Fetch == nil {
		return nil, errors.New("rebuild: a toolchain, an environment and a source of crates are needed")
	}
	if c.run == nil {
		c.run = sandbox.Run
	}
	if c.Progress == nil {
		c.Progress = func(string, func() float64) {}
	}
	s := c.Subject
	read, err := crate.Read(c.Crate, s.Name, s.Version, crate.DefaultLimits)
	if err != nil {
		return nil, outcome.Refusef("%s v%s: %w", s.Name, s.Version, err)
	}
	if read.SHA256 != s.SHA256 {
		return nil, outcome.Refusef("the .crate of %s v%s has SHA-256 %x, not %x", s.Name, s.Version, read.SHA256, s.SHA256)
	}
	if err := entry.CheckRegistry(s.Registry); err != nil {
		return nil, err
	}
	if err := checkManifest(read); err != nil {
		return nil, err
	}
	lock, err := ReadLock(read)
	if err != nil {
		return nil, err
	}
	j := &job{cfg: c, crate: read, Plan: Plan{Subject: s, Crate: c.Crate, Lock: lock, Raw: map[build.Crate][]byte{}}}
	return j, j.fetch(ctx)
}

// fetch gets the crates of the lock file. cargo needs all of them, also those that it does not compile.
func (j *job) fetch(ctx context.Context) error {
	total := len(j.Crate)
	var done atomic.Int64
	j.cfg.Progress(fmt.Sprintf("getting %d crates", len(j.Lock.Crates)), share(&done, len(j.Lock.Crates)))
	for _, c := range j.Lock.Crates {
		if err := ctx.Err(); err != nil {
			return err
		}
		raw, err := j.cfg.Fetch(ctx, c)
		if err != nil {
			return fmt.Errorf("%s v%s: %w", c.Name, c.Version, err)
		}
		if sum := sha256.Sum256(raw); sum != c.SHA256 {
			return outcome.Refusef("%s v%s: the .crate has SHA-256 %x, and the Cargo.lock of %s v%s wants %x", c.Name, c.Version,
				sum, j.Subject.Name, j.Subject.Version, c.SHA256)
		}
		if total += len(raw); total > maxCrates {
			return outcome.Refusef("the crates of the Cargo.lock of %s v%s have more than %d bytes together", j.Subject.Name,
				j.Subject.Version, maxCrates)
		}
		j.Raw[c] = raw
		done.Add(1)
	}
	return nil
}

// share returns a function that says how much of a number is done.
func share(done *atomic.Int64, of int) func() float64 {
	return func() float64 { return min(1, float64(done.Load())/float64(max(1, of))) }
}

// build is the part of cargo's command line that planning and building have alike.
const buildArgs = cargoBin + " build --release --locked --offline --frozen -j 2 --manifest-path " + srcDir +
	"/Cargo.toml --target-dir " + targetDir

// asNightly lets cargo take -Z, and nobody else. RUSTC_BOOTSTRAP=1 would reach the compiler too, which then
// has more cfg's than it has when it builds; and what Cargo.toml has under [target.'cfg(not(target_thread_local))']
// would be compiled, and not planned. A cargo that does not know it has no plan.
const asNightly = "__CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS=nightly"

// Both scripts say no more than cargo does. The binary's name is the argument of the second one.
const (
	planScript = "set -e\n" +
		cargoBin + " metadata --no-deps --offline --format-version 1 --manifest-path " + srcDir + "/Cargo.toml\n" +
		asNightly + " " + buildArgs + " --bins --unit-graph -Z unstable-options\n"
	buildScript = "set -e\n" +
		buildArgs + ` --bin "$1" >&2` + "\n" +
		`exec cat "` + targetDir + `/release/$1"` + "\n"
)

// spec is what both kinds of runs have alike.
func (j *job) spec(script string, args ...string) sandbox.Spec {
	return sandbox.Spec{
		Toolchain: j.cfg.Toolchain, Environment: j.cfg.Environment, Files: j.layOut, Limits: j.cfg.Limits,
		Command: append([]string{"/bin/sh", "-c", script, "sh"}, args...), Dir: "/build",
		Env: map[string]string{"CARGO_HOME": homeDir, "CARGO_INCREMENTAL": "0"},
	}
}

// plan asks cargo what it would compile.
func (j *job) plan(ctx context.Context) error {
	j.cfg.Progress("asking cargo what it would compile", nil)
	out, said := &durable.Buffer{Limit: maxPlan}, &tail{}
	spec := j.spec(planScript)
	spec.Stdout, spec.Stderr = out, said
	if os.Geteuid() == 0 {
		spec.User = firstUser
	}
	_, err := j.cfg.run(ctx, spec)
	var failed *sandbox.Failed
	if err != nil && (!errors.As(err, &failed) || failed.Killed != "" || failed.ExitCode != cargoFailed) {
		return failure(ctx, "asking cargo what it would compile", err, said)
	}
	p, parsed := parsePlan(out.Bytes(), j.Subject)
	if parsed == nil {
		j.Binary, parsed = p.binary(j.Subject, j.cfg.Binary) // which may say better why cargo failed
	}
	switch {
	case err != nil && (parsed == nil || len(out.Bytes()) == 0):
		return outcome.Refusef("cargo refuses to build %s v%s with its own Cargo.lock:\n%s", j.Subject.Name,
			j.Subject.Version, said)
	case parsed != nil:
		return parsed
	}
	j.List, err = p.compiled(j.Binary, j.Lock)
	return err
}

// both builds twice, and compares.
func (j *job) both(ctx context.Context) (*Report, error) {
	r := &Report{Subject: j.Subject, List: j.List, SameUser: os.Geteuid() != 0}
	begin := time.Now()
	first, used, err := j.build(ctx, "first run", false)
	if err != nil {
		return nil, err
	}
	r.Limits, r.Took[0] = used.Limits, used.Wall
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Until(begin.Add(apart))):
	}
	what := "second run, on one CPU, as another user"
	if r.SameUser {
		what = "second run, on one CPU, as the same user"
	}
	second, used, err := j.build(ctx, what, true)
	if err != nil {
		return nil, err
	}
	r.Took[1] = used.Wall
	if used.Limits != r.Limits {
		r.Limits += ", then " + used.Limits
	}
	r.Artifact, r.Difference = first, difference(first, second)
	if r.Same = r.Difference == ""; !r.Same {
		r.Second = second
	}
	r.Claim = entry.Build{
		Binary: j.Binary, Target: j.cfg.Toolchain.Host, Artifact: sha256.Sum256(first), Toolchain: j.cfg.Toolchain.ID,
		Environment: j.cfg.Environment.ID, Recipe: entry.Recipe1, Lock: j.Lock.Digest(), Compiled: j.List.Digest(),
	}
	return r, r.Check()
}

// build builds once, and returns the binary.
func (j *job) build(ctx context.Context, what string, again bool) ([]byte, sandbox.Used, error) {
	out, said := &durable.Buffer{Limit: MaxBinary}, &tail{}
	what = fmt.Sprintf("building %s of %s v%s, %s", j.Binary, j.Subject.Name, j.Subject.Version, what)
	j.cfg.Progress(what, share(&said.compiled, len(j.List)+1))
	spec := j.spec(buildScript, j.Binary)
	spec.Stdout, spec.Stderr, spec.OneCPU = out, said, again
	if os.Geteuid() == 0 {
		if spec.User = firstUser; again {
			spec.User = otherUser
		}
	}
	used, err := j.cfg.run(ctx, spec)
	if err != nil {
		return nil, used, failure(ctx, what, err, said)
	}
	if len(out.Bytes()) == 0 {
		return nil, used, fmt.Errorf("%s: cargo made an empty file\n%s", what, said)
	}
	return out.Bytes(), used, nil
}

// failure says why a run failed, with what cargo said last.
func failure(ctx context.Context, what string, err error, said *tail) error {
	var refused *sandbox.Refused
	if ctx.Err() != nil {
		return ctx.Err()
	} else if text := said.String(); text != "" && !errors.As(err, &refused) {
		return fmt.Errorf("%s: %w\n%s", what, err, text)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// layOut writes sources, vendored crates and cargo's configuration.
func (j *job) layOut(w *sandbox.Tree) error {
	var paths []string
	for _, f := range j.crate.Files {
		paths = append(paths, f.Path)
	}
	var failed error
	err := j.crate.Contents(paths, crate.DefaultLimits.Inflated, func(f crate.File, content []byte) {
		if failed == nil {
			failed = put(w, srcDir, f, content)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("%s v%s: %w", j.Subject.Name, j.Subject.Version, err)
	}
	if err := w.Dir(vendorDir); err != nil {
		return err
	}
	for _, c := range j.Lock.Crates {
		if err := vendor(w, c, j.Raw[c], slices.Contains(j.List, c)); err != nil {
			return fmt.Errorf("%s v%s: %w", c.Name, c.Version, err)
		}
	}
	return w.File(homeDir+"/config.toml", 0o644, j.Lock.config())
}

// put writes one file of a crate below a directory.
func put(w *sandbox.Tree, dir string, f crate.File, content []byte) error {
	mode := os.FileMode(0o644)
	if f.Exec {
		mode = 0o755
	}
	return w.File(dir+"/"+f.Path, mode, content)
}

// notCompiled is what stands in the files of crates that are not compiled, but for their Cargo.toml: cargo looks
// whether they are there. No compiler takes it, so that nothing gets into a binary but what is listed.
const notCompiled = "compile_error!(\"this crate is not in the list of those that are compiled\");\n"

// vendor writes one crate into the directory source.
func vendor(w *sandbox.Tree, c build.Crate, raw []byte, compiled bool) error {
	read, err := crate.ReadHashed(raw, c.SHA256, c.Name, c.Version, crate.DefaultLimits)
	if err != nil {
		return outcome.Refuse(err)
	}
	dir := vendorDir + "/" + c.Name + "-" + c.Version
	sums, err := cargo.Vendor(read, func(f crate.File, content []byte) ([]byte, error) {
		if !compiled && f.Path != "Cargo.toml" {
			content = []byte(notCompiled)
		}
		return content, put(w, dir, f, content)
	})
	if err != nil {
		return err
	}
	return w.File(dir+"/"+cargo.ChecksumsFile, 0o644, sums)
}

// config returns cargo's configuration: every registry of the lock file is replaced by vendorDir.
func (l *Lock) config() []byte {
	var b bytes.Buffer
	sources := map[string]bool{}
	for _, p := range l.packages {
		sources[p.Source] = true
	}
	b.WriteString("[net]\noffline = true\n\n")
	named := map[string]bool{}
	for _, source := range slices.Sorted(maps.Keys(sources)) {
		index := strings.TrimPrefix(source, "registry+")
		if cargo.IsDefault(index) {
			named[cargo.DefaultSource] = true
			continue
		}
		named[source] = true
		fmt.Fprintf(&b, "[source.%q]\nregistry = %q\nreplace-with = \"vendored\"\n\n", source, index)
	}
	if named[cargo.DefaultSource] || len(named) == 0 {
		fmt.Fprintf(&b, "[source.%s]\nreplace-with = \"vendored\"\n\n", cargo.DefaultSource)
	}
	fmt.Fprintf(&b, "[source.vendored]\ndirectory = %q\n", vendorDir)
	return b.Bytes()
}

// A tail keeps the end of what cargo says, and counts the crates that it begins to compile. It never
// fails: that would end cargo.
type tail struct {
	b        []byte
	compiled atomic.Int64
}

const maxTail = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.compiled.Add(int64(bytes.Count(p, []byte("   Compiling "))))
	t.b = append(t.b, p...)
	if n := len(t.b) - maxTail; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

// String returns the last lines, without anything that would act on a terminal.
func (t *tail) String() string {
	text := strings.ToValidUTF8(string(t.b), "?")
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if n := len(lines) - 30; n > 0 {
		lines = lines[n:]
	}
	return strings.Join(lines, "\n")
}
