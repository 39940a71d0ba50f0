package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/backlog"
	"cratelog/cargo/backlog/visit"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
)

// proveLockOptions are those of prove --lock.
type proveLockOptions struct {
	on, submit       bool
	jobs             int
	mapping, dir     string
	report, manifest string
	only             []string
	format           string
}

// lockFlags are the options that only --lock has, and otherFlags those that it has not.
var (
	lockFlags  = []string{"jobs", "submit", "dir", "report", "manifest-path", "p", "package", "message-format"}
	otherFlags = []string{"repository", "commit", "path", "o", "registry", "index", "submodule", "opening"}
)

func (o *proveLockOptions) register(fs *flag.FlagSet) {
	fs.BoolVar(&o.on, "lock", false, "prove the crates of Cargo.lock that nobody has proven yet, each from the repository "+
		"that its manifest names")
	fs.IntVar(&o.jobs, "jobs", 1, "with --lock: `N` proofs at a time; one uses all processors already")
	fs.BoolVar(&o.submit, "submit", false, "with --lock and --log: hand each entry to the log as it is made")
	fs.StringVar(&o.mapping, "map", "", "with --lock and NAME@VERSION: `FILE` that says where repositories are (default: "+
		backlog.MapName+" beside Cargo.lock, if it is there)")
	fs.StringVar(&o.dir, "dir", "", "with --lock: `DIRECTORY` for entries, openings and bundles (default: one of the workspace "+
		"in the user's cache)")
	fs.StringVar(&o.report, "report", "", "with --lock: `FILE` for the report as JSON (default: "+backlog.ReportName+
		" in the directory of --dir)")
	manifestFlag(fs, &o.manifest)
	for _, name := range []string{"p", "package"} {
		fs.Func(name, "with --lock: only `NAME[@VERSION]`; may be repeated", policy.AppendTo(&o.only))
	}
	fs.StringVar(&o.format, "message-format", "human", "with --lock: `FORMAT` of the report on standard output: human or json")
}

// checkLock refuses options and arguments that do not go together.
func (o *proveOptions) checkLock(fs *flag.FlagSet, found []string) error {
	wrong := otherFlags
	if !o.lock.on {
		wrong = lockFlags
	}
	name := given(fs, wrong...)
	switch {
	case o.lock.on && len(found) > 0:
		return outcome.Usagef("prove takes --lock or %s, not both; -p NAME proves one crate of the lock file", found[0])
	case !o.lock.on && len(found) == 0:
		return outcome.Usagef("prove takes one argument, FILE.crate or NAME@VERSION, and got none; --lock proves all crates of " +
			"Cargo.lock")
	case name != "" && o.lock.on:
		return outcome.Usagef("--%s is for one crate; with --lock, say it in %s", name, backlog.MapName)
	case name != "":
		return outcome.Usagef("--%s goes with --lock only", name)
	case o.lock.mapping != "" && !o.lock.on && !isPublished(found[0]):
		return outcome.Usagef("--map goes with --lock and NAME@VERSION only; name the repository of %s with --repository",
			found[0])
	case o.lock.submit && o.log == "":
		return outcome.Usagef("--submit needs --log URL: which log is to hold the entries")
	case o.lock.jobs < 1 || o.lock.jobs > 64:
		return outcome.Usagef("--jobs is 1 to 64, not %d", o.lock.jobs)
	case o.lock.format != "human" && o.lock.format != "json":
		return outcome.Usagef("--message-format is human or json, not %q", o.lock.format)
	}
	return nil
}

// proveLock proves what a lock file names. The keys are ready.
func (o *proveOptions) proveLock(ctx context.Context, sh *shell) error {
	ws, err := workspace(o.lock.manifest)
	if err != nil {
		return err
	}
	cfg, err := o.lockConfig(ctx, sh, ws)
	if err != nil {
		return err
	}
	if len(cfg.Packages) == 0 {
		sh.Status("Finished", "%s names no crate of a registry", shorten(ws.LockPath))
	} else {
		sh.Status("Looking", "at %s of %s", crates(len(cfg.Packages)), shorten(ws.LockPath))
	}
	steps, endSteps := sh.Steps()
	defer endSteps()
	cfg.Progress = steps
	cfg.Decided = func(c backlog.Crate, s backlog.Status) { tellDecided(sh, c, s) }
	r, err := backlog.New(*cfg)
	if err != nil {
		return err
	}
	begin := time.Now()
	stop := showStatus(sh, r)
	report, err := r.Run(ctx)
	stop()
	endSteps()
	if errors.Is(err, backlog.ErrBusy) {
		return err
	}
	if saveErr := o.saveReport(cfg.Dir, report); err == nil {
		err = saveErr
	}
	if err == nil || ctx.Err() != nil {
		if tellErr := o.tellReport(sh, report, cfg, time.Since(begin)); err == nil {
			err = tellErr
		}
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %s left; what is proven is kept in %s, and the same command goes on from there",
			crates(report.Count(backlog.Left)), cfg.Dir)
	case err != nil:
		return err
	}
	failed, refused := report.Count(backlog.Failed)+report.Count(backlog.Left), report.Count(backlog.Refused)
	switch {
	case failed > 0:
		return fmt.Errorf("%s could not be tried; run the same command again", crates(failed))
	case refused > 0:
		return outcome.Refusef("%s cannot be proven", crates(refused))
	}
	return nil
}

// lockConfig says what to prove and how.
func (o *proveOptions) lockConfig(ctx context.Context, sh *shell, ws *cargo.Workspace) (*backlog.Config, error) {
	text, err := readLock(ctx, sh, ws, false, false)
	if err != nil {
		return nil, err
	}
	lock, err := cargo.ParseLock(text)
	if err != nil {
		return nil, err
	}
	cfg := &backlog.Config{Lock: sha256.Sum256(text), Keys: &o.keys, Loose: o.loose, Jobs: o.lock.jobs, Submit: o.lock.submit,
		UserAgent: userAgent, Dir: o.lock.dir}
	if cfg.Packages, err = choosePackages(lock, o.lock.only); err != nil {
		return nil, err
	}
	if cfg.Home, err = cargo.Home(); err != nil {
		return nil, err
	}
	if cfg.Settings, err = cargo.LoadConfig(ws.Root, cfg.Home); err != nil {
		return nil, err
	}
	if cfg.Dir == "" {
		if cfg.Dir, err = backlog.Dir(ws.Root); err != nil {
			return nil, err
		}
	}
	if cfg.Mapping, err = backlog.ReadMappingFor(o.lock.mapping, filepath.Dir(ws.LockPath)); err != nil {
		return nil, policyError(err)
	}
	if cfg.Visitor, err = visit.Default(); err != nil {
		return nil, err
	}
	if o.log == "" {
		return cfg, nil
	}
	cfg.Log = logClient(sh, o.log)
	return cfg, o.believeLog(ctx, ws, cfg)
}

// policy loads the one that counts for a workspace.
func (o *proveOptions) policy(ws *cargo.Workspace) (*policy.Policy, error) {
	var b believe
	b.Development = o.keys.AllowDevelopment
	return b.load(ws)
}

// believeLog has the policy of the workspace say what the log may be told, and what of it is believed.
func (o *proveOptions) believeLog(ctx context.Context, ws *cargo.Workspace, cfg *backlog.Config) error {
	p, err := o.policy(ws)
	if err != nil {
		return err
	}
	checkpoint, err := cfg.Log.Checkpoint(ctx)
	if err != nil {
		return fmt.Errorf("the log at %s could not be asked: %w", o.log, err)
	}
	origin := client.Origin(checkpoint)
	cfg.MayAsk = func(index string) bool {
		if cargo.IsDefault(index) {
			index = ""
		}
		return p.MayAsk(index, origin)
	}
	v, err := proofcheck.New(p.Programs)
	if err != nil {
		return err
	}
	for _, t := range p.Trust {
		if slices.ContainsFunc(t.Policy.Logs(), func(l client.PolicyLog) bool { return l.Origin == origin }) {
			cfg.Believed = func(raw, bundle []byte) error { return verifies(t.Policy, v, p.Development, raw, bundle) }
			break
		}
	}
	return nil
}

// verifies says whether a bundle holds for a .crate, whatever its claim leaves unproven: a proof that
// shows more cannot be made.
func verifies(trust *client.Policy, v entry.Verifier, development bool, raw, bundle []byte) error {
	_, e, err := client.UnverifiedEntry(bundle)
	if err != nil {
		return err
	}
	rules := client.Rules{Registry: e.Subject.Registry, AllowCRLF: client.AnyCRLF, AllowNoWitnesses: development}
	if src, ok := e.Claim.(*entry.Source); ok {
		rules.AllowUnproven = src.Unproven
	}
	_, err = client.Verify(raw, bundle, trust, v, rules)
	return err
}

// choosePackages returns the packages of registries, or those of them that only names.
func choosePackages(lock *cargo.Lock, only []string) (chosen []cargo.Package, err error) {
	missed := map[string]bool{}
	for _, o := range only {
		missed[o] = true
	}
	for _, p := range lock.Packages {
		if _, ok := p.Registry(); !ok {
			continue
		}
		wanted := len(only) == 0
		for _, o := range only {
			if o == p.Name || o == p.Name+"@"+p.Version {
				wanted = true
				delete(missed, o)
			}
		}
		if wanted {
			chosen = append(chosen, p)
		}
	}
	for _, o := range only {
		if missed[o] {
			return nil, outcome.Usagef("-p: Cargo.lock has no crate of a registry that is %s", o)
		}
	}
	return chosen, nil
}

// tellDecided tells of a crate as it is decided: what takes long, and with -v all.
func tellDecided(sh *shell, c backlog.Crate, s backlog.Status) {
	at := fmt.Sprintf("(%d of %d%s)", s.Done, s.Total, left(s.Left))
	name := c.Name + " v" + c.Version
	if sh.tty && !sh.quiet {
		fmt.Fprint(sh.stderr, "\r\x1b[K")
	}
	switch {
	case c.Outcome == backlog.Proven:
		sh.Status("Proven", "%s from commit %.12s %s", name, c.Commit, at)
	case !sh.verbose:
	case c.Outcome == backlog.Logged:
		sh.Status("Logged", "%s already %s", name, at)
	case c.Outcome == backlog.Refused:
		sh.Status("Refused", "%s: %s\n%s", name, c.Cause.Sentence(), indented(c.Detail))
	case c.Outcome == backlog.Failed:
		sh.Status("Failed", "%s:\n%s", name, indented(c.Detail))
	}
}

func left(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < 2*time.Minute:
		return fmt.Sprintf(", about %d s left", int(d.Seconds())+1)
	}
	return fmt.Sprintf(", about %d min left", int(d.Round(time.Minute).Minutes()))
}

func indented(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }

// showStatus shows on a terminal how far a run is, until stop is called.
func showStatus(sh *shell, r *backlog.Runner) (stop func()) {
	if !sh.tty || sh.quiet {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-end:
				fmt.Fprint(sh.stderr, "\r\x1b[K")
				return
			case <-t.C:
			}
			if s := r.Status(); s.Now != "" {
				fmt.Fprintf(sh.stderr, "\r%12s [%s] %d of %d, %s%s\x1b[K", "", filled(s.Share), s.Done, s.Total, s.Now, left(s.Left))
			}
		}
	}()
	return func() { close(end); <-ended }
}

func (o *proveOptions) saveReport(dir string, r *backlog.Report) error {
	b, err := r.Marshal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path, kept := filepath.Join(dir, backlog.ReportName), b
	if old, err := backlog.ReadReport(path); err == nil && len(o.lock.only) > 0 { // what was found of others still helps
		if kept, err = r.With(old).Marshal(); err == nil {
			_, err = backlog.ParseReport(kept)
		}
		if err != nil { // it is too large
			kept = b
		}
	}
	err = durable.Write(path, kept, 0o644)
	if err == nil && o.lock.report != "" {
		err = durable.Write(o.lock.report, b, 0o644)
	}
	return err
}

// tellReport writes the report to standard output.
func (o *proveOptions) tellReport(sh *shell, r *backlog.Report, cfg *backlog.Config, took time.Duration) error {
	if o.lock.format == "json" {
		b, err := r.Marshal()
		if err == nil {
			_, err = sh.stdout.Write(b)
		}
		return err
	}
	if sh.quiet || len(r.Crates) == 0 {
		return nil
	}
	writeReport(sh.stdout, r, sh.verbose)
	where := ""
	if o.lock.report != "" {
		where = "; the report in " + o.lock.report
	}
	sh.Status("Finished", "in %s; entries and bundles are in %s%s", took.Round(time.Second/10), shorten(cfg.Dir), where)
	return nil
}

// writeReport writes what became of the crates, by outcome and cause, so that it fits a screen; with all
// names if it is to be whole.
func writeReport(w io.Writer, r *backlog.Report, whole bool) {
	names := func(is func(c backlog.Crate) bool) (n int, text string) {
		var all []string
		for _, c := range r.Crates {
			if is(c) {
				all = append(all, c.Name+" "+c.Version)
			}
		}
		const most = 3
		if n = len(all); n > most && !whole {
			all = append(all[:most:most], fmt.Sprintf("%d more", n-most))
		}
		return n, strings.Join(all, ", ")
	}
	line := func(what string, is func(c backlog.Crate) bool) {
		if n, text := names(is); n > 0 {
			fmt.Fprintf(w, "%5d %s: %s\n", n, what, text)
		}
	}
	is := func(o backlog.Outcome) func(c backlog.Crate) bool {
		return func(c backlog.Crate) bool { return c.Outcome == o }
	}
	line("proven", is(backlog.Proven))
	line("logged already", is(backlog.Logged))
	for _, cause := range backlog.Causes {
		line("cannot be proven, "+cause.Sentence(), func(c backlog.Crate) bool { return c.Cause == cause })
	}
	line("could not be tried", is(backlog.Failed))
	if i := slices.IndexFunc(r.Crates, is(backlog.Failed)); i >= 0 && !whole { // else each has been told
		why, _, _ := strings.Cut(r.Crates[i].Detail, "\n")
		fmt.Fprintf(w, "      %s: %s\n", r.Crates[i].Name, visible(why))
	}
	line("left", is(backlog.Left))
	for _, text := range r.Steps() {
		fmt.Fprintf(w, "  next: %s\n", text)
	}
}
