package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"cratelog/build"
	"cratelog/build/rebuild"
	"cratelog/build/sandbox"
	"cratelog/cargo"
	"cratelog/cargo/registry"
	"cratelog/cargo/verdict"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/prover"
)

// rebuildVerb builds a binary of a crate twice, and says whether both are the same.
func rebuildVerb(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "rebuild", "NAME@VERSION|FILE.crate", `Build a binary of a crate twice, each time in a sandbox that shows no file of this machine, and say
whether both are the same, and what they are. What it is compiled from is verified before, as the
policy asks. It needs Linux, bubblewrap, and an environment ("cargo zkp environment make").`)
	o := rebuildOptions{}
	o.register(fs)
	out := fs.String("out", "", "write the binary and a report, for \"cargo zkp attest\", into this `DIR`")
	what, err := parse(fs, args, "NAME@VERSION or FILE.crate")
	if err != nil {
		return err
	}
	done, err := o.rebuild(ctx, sh, what)
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: nothing was written; run the same command again")
	} else if err != nil {
		return err
	}
	if *out != "" {
		if err := done.report.Write(*out); err != nil {
			return err
		}
		sh.Status("Written", "%s and report.json to %s", done.report.Claim.Binary, shorten(*out))
	}
	done.print(sh)
	if !done.report.Same {
		return outcome.Refusef("both runs made another binary: they differ in %s\n"+
			"it depends on something that is not the source: the number of CPUs, the time, the user, or chance",
			done.report.Difference)
	}
	return nil
}

// rebuildOptions are those of everything that rebuilds.
type rebuildOptions struct {
	believe
	published     proveOptions // of which registry and index count
	binary        string
	toolchain     string
	environment   string
	requireSource string
}

func (o *rebuildOptions) register(fs *flag.FlagSet) {
	o.believe.register(fs)
	fs.StringVar(&o.binary, "bin", "", "build this binary, `NAME`, of a crate with several")
	fs.StringVar(&o.published.registry, "registry", "", "`NAME`, in cargo's configuration, of the "+
		"registry that the crate is from")
	fs.StringVar(&o.published.index, "index", "", "the crate is from the registry with the sparse index at this `URL`")
	fs.StringVar(&o.toolchain, "toolchain", "", "`ID` of a toolchain in the cache, or the directory of one, a sysroot "+
		"(default: the one that rustc is of here)")
	fs.StringVar(&o.environment, "environment", "", "`DIR` of the environment, as \"cargo zkp environment make\" "+
		"makes it (default: the newest in the cache)")
	fs.Func("require-source", "`WHICH` crates must be proven: all that are compiled, or crate, for only the one that "+
		"has the binary (default: the policy's; else all, if it demands any proof and Cargo.lock is not proven)",
		func(v string) error {
			if v != "all" && v != "crate" {
				return fmt.Errorf("must be all or crate")
			}
			o.requireSource = v
			return nil
		})
}

// A rebuilt is what came out of a rebuild.
type rebuilt struct {
	report *rebuild.Report
	source sourceFacts
}

// rebuild gets a crate, by NAME@VERSION or as a FILE.crate, verifies and builds it.
func (o *rebuildOptions) rebuild(ctx context.Context, sh *shell, what string) (*rebuilt, error) {
	toolchain, err := o.findToolchain(ctx, sh)
	if err != nil {
		return nil, err
	}
	environment, err := o.findEnvironment(ctx)
	if err != nil {
		return nil, err
	}
	raw, subject, err := o.get(ctx, sh, what)
	if err != nil {
		return nil, err
	}
	steps, ended := sh.Steps()
	defer ended()
	done := &rebuilt{}
	done.report, err = rebuild.Run(ctx, rebuild.Config{
		Crate: raw, Subject: subject, Binary: o.binary, Toolchain: toolchain, Environment: environment,
		Fetch: (&crateSource{offline: o.offline}).fetch,
		Approve: func(ctx context.Context, p rebuild.Plan) (err error) {
			steps(prover.Step{What: fmt.Sprintf("verifying %s and the %s that are compiled for it", p.Subject.Name,
				crates(len(p.List)))})
			ended()
			done.source, err = o.verifySources(ctx, sh, p)
			return err
		},
		Progress: func(what string, share func() float64) { steps(prover.Step{What: what, Share: share}) },
	})
	return done, err
}

// print says what was built, a fact a line.
func (r *rebuilt) print(sh *shell) {
	p, c := r.report, r.report.Claim
	line := func(key, format string, args ...any) {
		fmt.Fprintf(sh.stdout, "%-12s %s\n", key, fmt.Sprintf(format, args...))
	}
	line("binary", "%s of %s v%s, for %s", c.Binary, p.Subject.Name, p.Subject.Version, c.Target)
	if p.Same {
		line("sha256", "%x", c.Artifact)
		line("runs", "both made the same %d bytes, in %.1f and %.1f s", len(p.Artifact), p.Took[0].Seconds(),
			p.Took[1].Seconds())
	} else {
		line("first", "%x", c.Artifact)
		line("second", "%x", sha256.Sum256(p.Second))
		line("runs", "they differ in %s", p.Difference)
	}
	user := "as two users of this machine"
	if p.SameUser {
		user = "as the same user of this machine: only root can take another"
	}
	line("sandbox", "limits by %s; %s", p.Limits, user)
	line("compiled", "%s: the crate and %d more; %s", crates(len(p.List)+1), len(p.List), r.source.text)
	line("versions", "%s", r.source.versions())
	line("recipe", "%d", c.Recipe)
	line("toolchain", "%x", c.Toolchain)
	line("environment", "%x", c.Environment)
}

// get returns the bytes of a crate, and what they are to be.
func (o *rebuildOptions) get(ctx context.Context, sh *shell, what string) ([]byte, entry.Subject, error) {
	var s entry.Subject
	if o.published.registry != "" && o.published.index != "" {
		return nil, s, outcome.Usagef("rebuild takes --registry or --index, not both")
	}
	index, err := o.published.subjectRegistry()
	if err != nil {
		return nil, s, err
	}
	if strings.HasSuffix(what, ".crate") {
		c, err := crate.ReadFile(what, crate.DefaultLimits)
		if err != nil {
			return nil, s, readError(err)
		}
		raw, err := durable.ReadAny(what, crate.DefaultLimits.Compressed)
		return raw, entry.Subject{Registry: index, Name: c.Name, Version: c.Version, SHA256: c.SHA256}, err
	}
	name, version, ok := strings.Cut(what, "@")
	if !ok || entry.CheckName(name) != nil || entry.CheckVersion(version) != nil {
		return nil, s, outcome.Usagef("rebuild takes NAME@VERSION or FILE.crate, not %q", what)
	}
	get := o.published.get
	if o.offline {
		get = offlineCrate
	}
	raw, err := get(ctx, sh, name, version)
	return raw, entry.Subject{Registry: index, Name: name, Version: version, SHA256: sha256.Sum256(raw)}, err
}

// offlineCrate takes a crate out of cargo's cache.
func offlineCrate(_ context.Context, _ *shell, name, version string) ([]byte, error) {
	home, err := cargo.Home()
	if err != nil {
		return nil, err
	}
	cached, err := cachedCrates(home, name, version)
	if err != nil {
		return nil, err
	}
	if len(cached) != 1 {
		return nil, fmt.Errorf("cargo's cache has %d crates %s v%s, and --offline forbids to ask a registry: name the "+
			"FILE.crate", len(cached), name, version)
	}
	for _, raw := range cached {
		return raw, nil
	}
	return nil, nil // there is one
}

// findToolchain returns the toolchain, as a copy that holds its files and no others.
func (o *rebuildOptions) findToolchain(ctx context.Context, sh *shell) (*sandbox.Toolchain, error) {
	cache, _, err := verdict.Dirs()
	if err != nil {
		return nil, err
	}
	var t *sandbox.Toolchain
	sysroot := o.toolchain
	id, notID := hex.DecodeString(sysroot)
	switch {
	case notID == nil && len(id) == 32:
		t, err = sandbox.OpenToolchain(ctx, cache, [32]byte(id))
	case sysroot == "":
		if sysroot, err = sandbox.FindToolchain(ctx, ""); err != nil {
			return nil, err
		}
		fallthrough
	default:
		t, err = sandbox.KeepToolchain(ctx, sysroot, cache)
	}
	if err != nil {
		return nil, err
	}
	sh.Status("Using", "rustc %s, toolchain %x", t.Release, t.ID)
	return t, nil
}

// findEnvironment returns the environment that is meant: by default the newest in the cache.
func (o *rebuildOptions) findEnvironment(ctx context.Context) (*sandbox.Environment, error) {
	if o.environment != "" {
		return sandbox.OpenEnvironment(ctx, o.environment)
	}
	cache, _, err := verdict.Dirs()
	if err != nil {
		return nil, err
	}
	ids, err := sandbox.KeptEnvironments(cache)
	if err != nil {
		return nil, err
	}
	var newest [32]byte
	var at time.Time
	for _, id := range ids {
		if info, err := os.Stat(sandbox.KeptEnvironment(cache, id)); err == nil && (at.IsZero() ||
			info.ModTime().After(at)) {
			newest, at = id, info.ModTime()
		}
	}
	if at.IsZero() {
		return nil, outcome.Usagef("there is no environment in the cache: make one: cargo zkp environment make")
	}
	return sandbox.OpenKeptEnvironment(ctx, cache, newest)
}

// A crateSource gets crates by their checksums: out of cargo's cache, or of their registry.
// It is safe for concurrent use, and must not be copied.
type crateSource struct {
	offline bool

	mu      sync.Mutex                 // guards indexes
	indexes map[string]*registry.Index // by registry
}

func (s *crateSource) fetch(ctx context.Context, c build.Crate) ([]byte, error) {
	home, err := cargo.Home()
	if err != nil {
		return nil, err
	}
	cached, err := cachedCrates(home, c.Name, c.Version)
	if err != nil {
		return nil, err
	}
	if raw, ok := cached[c.SHA256]; ok {
		return raw, nil
	}
	if s.offline {
		return nil, fmt.Errorf("no .crate with SHA-256 %x is in cargo's cache, and --offline forbids to get it",
			c.SHA256)
	}
	x, err := s.index(home, c.Registry)
	if err != nil {
		return nil, err
	}
	return x.Download(ctx, c.Name, c.Version, c.SHA256)
}

// index returns the index of a registry.
func (s *crateSource) index(home, of string) (*registry.Index, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.indexes[of]; x != nil {
		return x, nil
	}
	url, err := registry.SparseURL(of)
	if of == entry.DefaultRegistry {
		url, err = defaultIndex(home)
	}
	if err != nil {
		return nil, err
	}
	if s.indexes == nil {
		s.indexes = map[string]*registry.Index{}
	}
	s.indexes[of] = &registry.Index{URL: url, UserAgent: userAgent}
	return s.indexes[of], nil
}

// defaultIndex returns the sparse index that crates of cargo's default registry come from: of the
// one that replaces it by cargo's configuration, or its own.
func defaultIndex(home string) (string, error) {
	config, err := cargo.LoadConfig(".", home)
	if err != nil {
		return "", err
	}
	from, err := config.Default()
	switch {
	case err != nil:
		return "", err
	case from.At == "":
		return registry.DefaultIndex(home)
	case from.Kind != "registry":
		return "", fmt.Errorf("%s replaces cargo's default registry by a %s, which has no downloads", from.Because,
			from.Kind)
	}
	return registry.IndexURL(from.At)
}
