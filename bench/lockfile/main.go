// Command lockfile measures what "cargo zkp verify" costs a reader who builds: a lock
// file of 300 crates, all of which must be proven, in a log with three witnesses.
//
//	lockfile_fetch    nothing is known yet: every bundle comes from the log, on loopback
//	lockfile_first    the bundles are in the cache, and nothing was verified before
//	lockfile_again    the same again: .crates are hashed, unpacked sources look unchanged
//	lockfile_rehash   the same, and every unpacked file is compared again
//
// The time is that of the program as a user runs it, from start to end. And the time
// that the verifying proxy adds to a clean "cargo fetch" of 100 of these crates:
//
//	cargo_fetch       from a registry that takes 20 ms to begin each answer
//	proxy_fetch_first through the proxy on its first day: it knows no bundle, no verdict
//	proxy_fetch       through it later, with an empty cargo home again: it has kept the
//	                  index, and hashes crates that it has accepted before
//	proxy_overhead    of the last over the first, and proxy_overhead_first
//
// and the same with _loopback, from a registry that answers at once, where everything is
// bounded by the processor.
//
// The entries are made by internal/forge; verifying one costs what any other does.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/loopback"
	"cratelog/log"
)

func main() {
	n := flag.Int("crates", 300, "crates in the lock file")
	fetched := flag.Int("fetch", 100, "crates that cargo fetches")
	flag.Parse()
	if err := run(context.Background(), *n, min(*fetched, *n)); err != nil {
		fmt.Fprintln(os.Stderr, "bench/lockfile:", err)
		os.Exit(1)
	}
}

// release is a crate of the benchmark.
type release struct {
	name  string
	raw   []byte
	entry *entry.Entry
	files []forge.File
}

const version = "1.0.0"

// place is where everything is.
type place struct {
	dir, home, project, program string
	world                       *loopback.World
	crates                      []release
}

func run(ctx context.Context, n, fetched int) error {
	dir, err := os.MkdirTemp("", "cratelog-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p := &place{dir: dir, home: filepath.Join(dir, "cargo"), project: filepath.Join(dir, "project"),
		program: filepath.Join(dir, "cargo-zkp")}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", p.program,
		"./cmd/cargo-zkp").CombinedOutput(); err != nil {
		return fmt.Errorf("run it at the top of the repository: %w\n%s", err, out)
	}
	if err := p.makeCrates(n); err != nil {
		return err
	}
	if p.world, err = loopback.Start(ctx, loopback.Config{Origin: "bench.example/log", Dir: dir,
		Limits: log.Limits{Waiting: 1024}}); err != nil {
		return err
	}
	defer p.world.Close()
	if err := errors.Join(p.layOut(ctx), p.submit(ctx)); err != nil {
		return err
	}
	if err := p.measureVerify(ctx); err != nil {
		return err
	}
	return p.measureProxy(ctx, fetched)
}

// makeCrates makes packages of 20 files and about 100 kB, packed.
func (p *place) makeCrates(n int) error {
	f, err := forge.Default()
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		r := release{name: fmt.Sprintf("bench-crate-%d", i)}
		r.files = []forge.File{forge.Manifest(r.name, version), {Path: "src/lib.rs", Content: "// " + r.name + "\n"}}
		for j := range 18 {
			r.files = append(r.files, forge.File{Path: fmt.Sprintf("src/part_%d.rs", j),
				Content: forge.Source(random, 14000)})
		}
		if r.raw, err = forge.Pack(r.name, version, r.files...); err != nil {
			return err
		}
		if r.entry, err = f.Entry(r.raw, r.name, version); err != nil {
			return err
		}
		p.crates = append(p.crates, r)
	}
	return nil
}

func (p *place) submit(ctx context.Context) error {
	var g errgroup.Group
	for _, r := range p.crates {
		g.Go(func() error {
			raw, err := r.entry.Marshal()
			if err == nil {
				_, err = p.world.Log.Submit(ctx, raw, bytes.NewReader(r.raw), nil)
			}
			return err
		})
	}
	return g.Wait()
}

// demands is the project's zkp.toml.
const demands = "version = 1\ndevelopment = true\nrequire = \"all\"\ntrust = [\"../trust.policy\"]\n"

// layOut makes the project, and has cargo fill its home and the lock file.
func (p *place) layOut(ctx context.Context) error {
	base, err := p.serveRegistry(len(p.crates), new(atomic.Int64))
	if err != nil {
		return err
	}
	var dependencies strings.Builder
	for _, r := range p.crates {
		fmt.Fprintf(&dependencies, "%s = \"=%s\"\n", r.name, version)
	}
	if err := errors.Join(writeProject(p.project, dependencies.String()), mirror(p.project, base+"/index/")); err != nil {
		return err
	}
	_, err = p.timed(ctx, p.project, p.home, "cargo", "fetch")
	return err
}

// mirror has cargo take the default registry's crates from an index.
func mirror(project, index string) error {
	return write(filepath.Join(project, ".cargo", "config.toml"),
		fmt.Appendf(nil, "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nregistry = \"sparse+%s\"\n", index))
}

// writeProject writes a project with dependencies.
func writeProject(dir, dependencies string) error {
	return errors.Join(write(filepath.Join(dir, "Cargo.toml"), []byte(forge.Manifest("app", "0.1.0").Content+
		"\n[dependencies]\n"+dependencies)),
		write(filepath.Join(dir, "src", "lib.rs"), nil),
		write(filepath.Join(dir, "zkp.toml"), []byte(demands)))
}

func write(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

// environment gives a program directories of its own. What rustup keeps stays where
// it is.
func (p *place) environment(home string) []string {
	rustup := os.Getenv("RUSTUP_HOME")
	if user, err := os.UserHomeDir(); err == nil && rustup == "" {
		rustup = filepath.Join(user, ".rustup")
	}
	return append(os.Environ(), "RUSTUP_HOME="+rustup, "HOME="+filepath.Join(p.dir, "user"),
		"XDG_CACHE_HOME="+filepath.Join(p.dir, "cache"),
		"XDG_STATE_HOME="+filepath.Join(p.dir, "state"), "XDG_CONFIG_HOME="+filepath.Join(p.dir,
			"config"), "CARGO_HOME="+home, "no_proxy=127.0.0.1")
}

// timed runs a program in the project and returns how long it took.
func (p *place) timed(ctx context.Context, dir, home, program string, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, p.environment(home)
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begin)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return took, nil
}

func (p *place) measureVerify(ctx context.Context) error {
	for _, m := range []struct {
		name   string
		forget []string // of the cache
		args   []string
	}{
		{"lockfile_fetch", nil, []string{"verify"}},
		{"lockfile_first", []string{"verdicts", "sources.json"}, []string{"verify"}},
		{"lockfile_again", nil, []string{"verify"}},
		{"lockfile_rehash", nil, []string{"verify", "--rehash"}},
	} {
		for _, name := range m.forget {
			if err := os.RemoveAll(filepath.Join(p.dir, "cache", "cratelog", name)); err != nil {
				return err
			}
		}
		took, err := p.timed(ctx, p.project, p.home, p.program, m.args...)
		if err != nil {
			return err
		}
		fmt.Printf("%s %.2f s\n", m.name, took.Seconds())
	}
	return nil
}
