package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cratelog/cargo/backlog/visit"
	"cratelog/cargo/publish"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/prover"
	"cratelog/prover/git"
)

// proveOptions are the options of the verb prove.
type proveOptions struct {
	repository, commit, path string
	loose                    bool
	out                      string
	submodules               map[string]string
	registry, index          string
	keys                     prover.Keyring
	log                      string // URL of the one whose program to prove with
	url                      string // of the repository, if it was fetched
	named                    bool   // by the crate's manifest or the mapping file: it is fetched as anybody can
	own                      bool   // by the mapping file
	mappedPath               *string
	visitor                  *visit.Visitor
	opening                  bool              // write one; if it is not given: where the source is public
	modules                  map[string]string // URLs of the submodules that were fetched, by path
	crateFile                *keptCrate        // for NAME@VERSION
	lock                     proveLockOptions

	given func(name string) bool // says that an option stands on the command line

	// public is git.Public, which takes no server on loopback for public.
	public func(ctx context.Context, url string, commit [20]byte) error
}

func (o *proveOptions) register(fs *flag.FlagSet) {
	fs.StringVar(&o.repository, "repository", "", "git repository that has the commit: a `PATH`, in any form, or a URL of https, ssh or file "+
		"(default: of NAME@VERSION what its manifest names, by https; else the directory here)")
	fs.StringVar(&o.commit, "commit", "", "`COMMIT` to prove from, an id, a tag or a branch (default: the one that the .crate names)")
	fs.StringVar(&o.path, "path", "", "`PATH` of the package in the repository (default: the one that the .crate names, or else where the commit has its Cargo.toml)")
	fs.BoolVar(&o.loose, "unproven-manifest", false, "if Cargo.toml does not follow from its original, or the original is not the commit's, list them as "+
		"unproven instead of refusing the crate; few readers accept that")
	fs.StringVar(&o.out, "o", "", "`FILE` for the entry (default: FILE.entry for FILE.crate; NAME-VERSION.entry here, or in target/zkp/proved of a package)")
	fs.StringVar(&o.registry, "registry", "", "`NAME` of the registry that the crate is published in; NAME@VERSION is taken from there (default: "+
		"cargo's default registry, and of NAME@VERSION what lies in cargo's cache)")
	fs.StringVar(&o.index, "index", "", "`URL` of the index of that registry, instead of its name")
	o.submodules, o.modules = map[string]string{}, map[string]string{}
	fs.Func("submodule", "`PATH=DIR`, or PATH=URL: the repository of the submodule at PATH (default: PATH in the repository's work tree); may be repeated", func(v string) error {
		path, dir, ok := strings.Cut(v, "=")
		if !ok {
			return errors.New("must be PATH=DIR or PATH=URL")
		}
		o.submodules[path] = dir
		return nil
	})
	keyFlags(fs, &o.keys)
	fs.StringVar(&o.log, "log", "", "`URL` of a log: prove with its program, and fetch the proving key from it")
	fs.BoolVar(&o.keys.AllowDevelopment, "development", false,
		"with --log: development keys will do (default: as zkp.toml says)")
	fs.BoolVar(&o.opening, "opening", false, "write FILE.opening beside the entry: the git objects themselves, with "+
		"the names of all files beside the crate's (default: where anybody can fetch the commits, from --repository https://...)")
	o.lock.register(fs)
	o.public = git.Public
	o.given = func(name string) bool { return given(fs, name) != "" }
}

func prove(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "prove", "FILE.crate | NAME@VERSION | --lock", "Make an entry: a proof that the files of a crate stand "+
		"in its git commit.\nAnyone can prove any crate that is published, NAME@VERSION, whose repository is public;\n"+
		"with --lock, all crates of Cargo.lock that nobody has proven yet.")
	var o proveOptions
	o.register(fs)
	found, err := parseUpTo(1, fs, args, "FILE.crate or NAME@VERSION")
	if err != nil {
		return err
	}
	if err := o.checkLock(fs, found); err != nil {
		return err
	}
	if err := o.useLog(sh); err != nil {
		return err
	}
	if err := prepareKeys(&o.keys); err != nil {
		return err
	}
	logs, err := o.keys.Ask(ctx)
	if err != nil {
		return err
	}
	tellKeys(sh, &o.keys, logs)
	if o.lock.on {
		return o.proveLock(ctx, sh)
	}
	c, err := o.crate(ctx, sh, found[0])
	if err != nil {
		return err
	}
	if c.Trailing > 0 {
		sh.Warn("%s v%s has %d bytes after its archive; cargo ignores them, and so does the proof", c.Name, c.Version,
			c.Trailing)
	}
	dir, err := o.fetch(ctx, sh, c)
	if err != nil {
		return err
	}
	repo, err := git.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer repo.Close()
	modules := &git.Submodules{Named: o.submodules}
	if !git.IsURL(o.repository) {
		modules.WorkTree = git.WorkTree(dir)
	}
	defer modules.Close()
	src, err := o.source(ctx, repo)
	if err != nil {
		return err
	}
	src.Submodule = func(ctx context.Context, path string) (*git.Repo, error) {
		if err := o.fetchSubmodule(ctx, sh, path); err != nil {
			return nil, err
		}
		return modules.Open(ctx, path)
	}
	to, err := newOutput(o.out)
	if err != nil {
		return err
	}
	defer to.Discard()
	begin := time.Now()
	raw, opened, err := o.make(ctx, sh, c, dir, repo, src)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("interrupted: no entry was written: %w", err)
	} else if err != nil {
		return err
	}
	if err := o.crateFile.write(); err != nil {
		return err
	}
	if err := writeOpening(sh, strings.TrimSuffix(o.out, ".entry")+verdict.OpeningExt, opened); err != nil {
		return err
	}
	if err := to.commit(raw); err != nil {
		return err
	}
	next := ""
	if o.log != "" && o.crateFile != nil {
		next = fmt.Sprintf("; hand it to the log with \"cargo zkp submit --log %s %s\"", printable(o.log), o.crateFile.path)
	}
	sh.Status("Finished", "%s, %d bytes, in %.1f s%s", o.out, len(raw), time.Since(begin).Seconds(), next)
	return nil
}

// useLog has the keys be those of a log's program, if one is named.
func (o *proveOptions) useLog(sh *shell) error {
	switch {
	case o.log == "" && o.keys.AllowDevelopment:
		return outcome.Usagef("--development says that the log's program may have development keys: name the log with --log URL")
	case o.log == "":
		return nil
	case o.keys.ProgramFile != "" || o.keys.KeyFile != "":
		return outcome.Usagef("prove takes the program and key of the log, --log, or of files, --program and --proving-key, not both")
	}
	o.keys.Log = logClient(sh, o.log)
	return o.asPolicy()
}

// asPolicy accepts development keys where the policy of the workspace accepts them.
func (o *proveOptions) asPolicy() error {
	if o.given("development") {
		return nil
	}
	ws, err := workspace(o.lock.manifest)
	if err != nil {
		if o.lock.on {
			return err
		}
		return nil // one crate is proven anywhere
	}
	p, err := o.policy(ws)
	if err != nil {
		return err
	}
	o.keys.AllowDevelopment = p.Development
	return nil
}

// logClient asks a log, and says if that takes longer as the log is busy.
func logClient(sh *shell, url string) *client.Log {
	return &client.Log{URL: url, UserAgent: userAgent, OnWait: func(wait time.Duration) {
		sh.Status("Waiting", "the log is busy; again in %v", wait)
	}}
}

// crate reads the crate that is meant, and decides where its entry goes.
func (o *proveOptions) crate(ctx context.Context, sh *shell, what string) (*crate.Crate, error) {
	if name, version, _ := strings.Cut(what, "@"); isPublished(what) {
		return o.published(ctx, sh, name, version)
	}
	if o.out == "" {
		o.out = sibling(what, ".entry")
	}
	c, err := crate.ReadFile(what, crate.DefaultLimits)
	if err != nil {
		return nil, readError(err)
	}
	return c, nil
}

// isPublished says that an argument is NAME@VERSION.
func isPublished(what string) bool {
	return strings.Contains(what, "@") && !strings.HasSuffix(what, ".crate")
}

// source says what to prove the crate from.
func (o *proveOptions) source(ctx context.Context, repo *git.Repo) (prover.Source, error) {
	src := prover.Source{UnprovenManifest: o.loose, Published: o.crateFile != nil}
	var err error
	if src.Registry, err = o.subjectRegistry(); err != nil {
		return src, err
	}
	src.Path = o.mappedPath
	if o.given("path") {
		if err := checkPath(o.path); err != nil {
			return src, err
		}
		src.Path = &o.path
	}
	if o.chosen() {
		id, err := repo.ResolveCommit(ctx, o.commit) // of a URL, the id that was fetched
		if err != nil {
			return src, err
		}
		src.Commit = &id
	}
	return src, nil
}

// checkPath refuses a --path that can stand in no commit.
func checkPath(path string) error {
	if path == "" {
		return nil
	}
	if err := entry.CheckPath(path); err != nil {
		return outcome.Usagef("--path is the package's directory, counted from the top of the repository, \"\" if it is "+
			"the top: %v", err)
	}
	return nil
}

// make plans, tells what it found, and proves. It returns the entry, and the opening if there is to
// be one.
func (o *proveOptions) make(ctx context.Context, sh *shell, c *crate.Crate, dir string, repo *git.Repo,
	src prover.Source) (raw, opened []byte, err error) {
	plan, err := prover.NewPlan(ctx, c, repo, src)
	if err != nil {
		return nil, nil, publish.PlanError(err)
	}
	if _, err := o.keys.Program(plan); err != nil {
		return nil, nil, err
	}
	sh.Status("Proving", "%s v%s from commit %x: %d files, %d SHA-1 blocks", c.Name, c.Version, plan.Claim.Commit,
		len(c.Files), plan.Blocks)
	for _, said := range plan.Unproven() {
		sh.Warn("%s", said)
	}
	if plan.Claim.Lock != nil && plan.LockWhy == nil {
		sh.Status("Derived", "Cargo.lock: the commit's own chose all versions in it")
	}
	if n := len(plan.Claim.CRLF); n > 0 {
		why := "as from a checkout on Windows; few readers accept that"
		if plan.Claim.Attributes != nil {
			why = "as .gitattributes of the commit say of some, which readers accept by default"
		}
		sh.Warn("%s CRLF line ends where the commit has LF (%s is the first), %s", filesHave(n), plan.Claim.CRLF[0], why)
	}
	if err := warnUnpublished(ctx, sh, dir, plan.Claim.Commit, src.Published); err != nil {
		return nil, nil, err
	}
	if opened, err = o.open(ctx, sh, plan); err != nil {
		return nil, nil, err
	}
	progress, done := sh.Steps()
	defer done()
	e, err := o.keys.Prove(ctx, plan, progress)
	if err != nil {
		return nil, nil, err
	}
	raw, err = e.Marshal()
	return raw, opened, err
}

// open finds out whether the source is public, and returns the plan's opening if there is to be one.
func (o *proveOptions) open(ctx context.Context, sh *shell, plan *prover.Plan) ([]byte, error) {
	if url := o.url; url != "" {
		err := plan.Public(ctx, url, func(path string) string { return o.modules[path] }, o.public)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			sh.Status("Private", "the source is taken for private: %v", err)
		default:
			sh.Status("Public", "anybody can fetch commit %x", plan.Claim.Commit)
			o.keys.PublicSource = true
		}
	}
	if !o.opening && (!o.keys.PublicSource || o.given("opening")) {
		return nil, nil
	}
	opened, err := plan.Opening()
	if err != nil && !o.opening {
		sh.Warn("there is no opening: %v", err)
		return nil, nil
	}
	if err == nil && !o.keys.PublicSource {
		sh.Warn("%s", discloses)
	}
	return opened, outcome.Refuse(err)
}

// discloses says what the opening of a private source gives away.
const discloses = "the opening shows, to whoever gets it, the whole commit with its author and message, and the names " +
	"and hashes of all that stands in the directories on the crate's paths, also of what is not in the crate; a log publishes it"

// writeOpening writes an opening, or removes the one of an earlier run, which submit would publish.
func writeOpening(sh *shell, path string, opened []byte) error {
	if opened == nil {
		err := os.Remove(path)
		if err == nil {
			sh.Status("Removed", "%s, the opening that an earlier run left", path)
		} else if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return err
	}
	if err := durable.Write(path, opened, 0o644); err != nil {
		return err
	}
	sh.Status("Opened", "%s has the commit and its trees as they are: whoever checks it needs to believe no key", path)
	return nil
}

// warnUnpublished warns of a commit that no remote seems to have. A repository that
// cannot tell is no reason to stop; the end of ctx is.
func warnUnpublished(ctx context.Context, sh *shell, dir string, commit [20]byte, others bool) error {
	published, known, err := prover.Published(ctx, dir, commit)
	what := "push it, or readers cannot look at what you proved"
	if others {
		what = "fetch from the public repository, to see whether readers can look at what you prove"
	}
	if err == nil && known && !published {
		sh.Warn("no remote branch that this repository knows contains commit %x: %s", commit, what)
	}
	return ctx.Err()
}

// readError marks the errors of package crate: a refused archive is an answer, a file that
// cannot be read is not.
func readError(err error) error {
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		return err
	}
	return outcome.Refuse(err)
}

// sibling returns FILE with its .crate replaced.
func sibling(file, ext string) string {
	return filepath.Join(filepath.Dir(file), strings.TrimSuffix(filepath.Base(file), ".crate")+ext)
}
