// Package publish publishes crates with proofs: it packages with cargo, proves,
// logs, and has cargo upload the very bytes that are logged. It also fetches the
// repositories that proofs of other people's crates need.
//
// # The order
//
// Run does all of one step for all crates before it begins the next: package;
// compare with the commit; prove; log; upload; hand the evidence to a registry that takes it. So a
// workspace in which one member
// cannot be proven is not half published.
//
// A log that takes only what the registry lists answers that it does not list the crate yet. It has
// checked everything else by then, so the crate is uploaded, and logged when it is listed.
//
// What is proved and logged is kept in target/zkp. A run that ended early is taken up
// where it stopped: what was kept is checked again, and used if it is still about the
// bytes that cargo packages now.
//
// # The same bytes
//
// cargo packages again when it publishes. It asks a credential provider before it
// uploads, and tells it the SHA-256 of what it is about to upload; Run has it ask
// package credential, which refuses anything but what was logged. Afterwards Run
// compares with the registry's index, if it can be reached.
package publish

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cratelog/cargo/credential"
	"cratelog/cargo/policy"
	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
	"cratelog/prover"
)

// A Reporter tells a person what is going on, in cargo's manner.
type Reporter interface {
	Status(verb, format string, args ...any)
	Warn(format string, args ...any)
	// Steps returns a progress to hand to the prover; done ends the last step.
	Steps() (p prover.Progress, done func())
}

// A Prover makes proofs. *prover.Keyring is one.
type Prover interface {
	// UseLog has the proofs be of a log's program, if no other was named, and returns it; nil if
	// that is one that ships, or was named. log is nil where there is none; development says that a
	// development key will do.
	UseLog(ctx context.Context, log prover.KeyServer, development bool) (*proofcheck.Program, error)
	// Program returns the id of the program that would prove a plan. It refuses
	// one that none can.
	Program(p *prover.Plan) ([32]byte, error)
	// Prove makes the entry of a plan.
	Prove(ctx context.Context, p *prover.Plan, progress prover.Progress) (*entry.Entry, error)
}

// Config says what to publish, and how.
type Config struct {
	Cargo     Cargo
	Selection Selection

	// PackageFlags are for cargo package, which also builds: --no-verify, features,
	// --target, --jobs.
	PackageFlags []string

	Registry, Index string // where to publish; both "" for what cargo would take
	Token           string // for the registry; "" for what cargo's providers give

	// Log is the log's URL; "" for the one that [package.metadata.zkp] or
	// [workspace.metadata.zkp] names, or that the policy's trust files name
	// and the policy lets be told of the registry's crates.
	Log string

	// Policy is where the publisher's own policy is; Root and Metadata are filled in.
	// Bundles are verified under it. Without any trust file they are not.
	Policy policy.Place

	Prover Prover // whose program ships, is in Policy.Programs, or is the log's

	// Guard is the program that serves credential.Main when cargo calls it.
	Guard string
	// Home is CARGO_HOME.
	Home string

	DryRun   bool // neither log nor upload
	LogOnly  bool // log, and do not upload
	Unpushed bool // go on though no remote branch has the commit

	// Opening says whether the log gets the git objects themselves, with the names of all files
	// beside the crate's; nil for where anybody can fetch them.
	Opening *bool

	// testingOnlyPublic stands in for git.Public, which takes no server on loopback for public.
	testingOnlyPublic func(ctx context.Context, url string, commit [20]byte) error
	testingOnlyWait   func(ctx context.Context, d time.Duration) error

	UserAgent string
	Report    Reporter
}

// Run publishes. Its errors are marked with their outcome; what was done until then is kept.
func Run(ctx context.Context, cfg Config) error {
	r := &run{Config: cfg}
	defer r.repos.close()
	for _, step := range []func(context.Context) error{r.look, r.pack, r.compare, r.logged, r.ready,
		r.prove, r.submit, r.upload, r.logRest, r.handIn} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// run is what one call of Run knows.
type run struct {
	Config
	settings *credential.Settings
	meta     *metadata
	target   *target
	store    store
	log      *client.Log        // nil in a dry run without one
	policy   *policy.Policy     // the publisher's own
	reader   *credential.Reader // of policy; nil without trust files
	proofs   *proofcheck.Verifier
	repos    repositories
	jobs     []*job // those that others depend on first
	token    string // for the registry, "" if it is not known
}

// job is one crate on its way.
type job struct {
	*member
	raw        []byte
	plan       *prover.Plan
	opening    []byte   // nil if there is to be none
	program    [32]byte // that proves it
	entry      *entry.Entry
	entryBytes []byte
	bundle     []byte        // verified
	index      uint64        // that it shows
	published  bool          // the registry has these bytes
	pending    bool          // the log takes it when the registry lists it
	again      time.Duration // until the log is to be asked again, if it is pending
	why        error         // what it said
	unlisted   error         // why that could not be told
}

// pack has cargo package all crates, in one call: members may need each other.
func (r *run) pack(ctx context.Context) error {
	args := slices.Concat(r.PackageFlags, r.target.registryFlags())
	for _, j := range r.jobs {
		args = append(args, "-p", j.spec())
	}
	if err := r.Cargo.run(ctx, nil, "package", args...); err != nil {
		if ctx.Err() != nil {
			return err
		}
		if dirty := dirtyFiles(ctx, r.meta.Root); dirty != "" {
			return outcome.Refusef("cargo package failed (%w), and not everything is committed:\n%s\n"+
				"a proof shows that a .crate is what a commit says, so commit first; --allow-dirty is no way around it", err, dirty)
		}
		return fmt.Errorf("cargo package failed (%w); nothing was proved or published", err)
	}
	for _, j := range r.jobs {
		path := filepath.Join(r.meta.TargetDir, "package", j.Name+"-"+j.Version+".crate")
		raw, err := durable.Read(path, crate.DefaultLimits.Compressed)
		if err != nil {
			return fmt.Errorf("cargo package left no .crate for %s: %w", j.member, err)
		}
		j.raw = raw
	}
	return nil
}

// compare compares every crate with its commit, and the registry with every crate.
func (r *run) compare(ctx context.Context) error {
	for _, j := range r.jobs {
		plan, files, top, err := r.repos.plan(ctx, j.member, j.raw, entry.Registry(r.target.indexOf()))
		if err != nil {
			return err
		}
		j.plan = plan
		if j.program, err = r.Prover.Program(plan); err != nil {
			return named(j.member, err)
		}
		r.Report.Status("Compared", "%s with commit %x: %d files, %d SHA-1 blocks", j.member, plan.Claim.Commit, files,
			plan.Blocks)
		for _, f := range plan.Claim.Unproven {
			if f != "Cargo.lock" {
				r.Report.Warn("%s: %s is not proven: the commit does not have it in this form", j.member, f)
			}
		}
		if err := r.checkPushed(ctx, j, top); err != nil {
			return err
		}
		if err := r.open(ctx, j, top); err != nil {
			return err
		}
		if err := r.store.save(j.member, credential.ExtCrate, j.raw); err != nil {
			return err
		}
		j.published, j.unlisted = r.listed(ctx, j, r.target.index)
		switch {
		case j.unlisted == nil:
		case r.DryRun:
			r.Report.Warn("%v", j.unlisted)
		case outcome.Of(j.unlisted) == outcome.Refused:
			return j.unlisted
		}
	}
	return nil
}

// checkPushed asks whether readers can look at the commit.
func (r *run) checkPushed(ctx context.Context, j *job, top string) error {
	commit := j.plan.Claim.Commit
	published, known, err := prover.Published(ctx, top, commit)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil || !known:
		r.Report.Warn("whether commit %x was pushed cannot be told: %s has no remote, or not its whole history", commit, top)
	case !published && !r.Unpushed:
		return outcome.Refusef("%s: no remote branch or tag that this repository knows contains commit %x: once it is "+
			"logged, readers see that it was proved and cannot look at it\npush it first, or pass --unpushed to go "+
			"on", j.member, commit)
	case !published:
		r.Report.Warn("%s: no remote branch that this repository knows contains commit %x", j.member, commit)
	}
	return nil
}

// logged finds out what needs no proof any more: what is logged already.
func (r *run) logged(ctx context.Context) error {
	for _, j := range r.jobs {
		if kept := r.store.bundle(j.member); kept != nil {
			switch err := r.useBundle(ctx, j, kept); {
			case err == nil:
				r.Report.Status("Fresh", "%s is logged, as the bundle in %s shows", j.member, r.store.file(j.member,
					credential.ExtBundle))
				continue
			case outcome.Of(err) != outcome.Refused:
				return fmt.Errorf("%s: the bundle in %s could not be checked: %w\nnothing was logged or published",
					j.member, r.store.file(j.member, credential.ExtBundle), err)
			}
			if !r.DryRun {
				r.store.remove(j.member, credential.ExtBundle)
			}
		}
		if r.log == nil {
			continue
		}
		b, err := r.log.Bundle(ctx, r.query(j))
		if err != nil && !errors.Is(err, client.ErrNotLogged) {
			return fmt.Errorf("the log at %s cannot be asked: %w\nnothing was logged or published", r.log.URL, err)
		}
		var standing *StandingError
		if err == nil {
			err = r.useBundle(ctx, j, b)
		}
		switch {
		case err == nil:
		case errors.As(err, &standing) && standing.Entry.Subject == j.plan.Subject:
			// Anybody with the .crate can log a claim, that shows less for example; a log takes more than one.
			r.Report.Status("Note", "%s: the log has another claim about the same .crate, and takes this one beside it",
				j.member)
			fallthrough
		case errors.Is(err, client.ErrNotLogged):
			if r.reader != nil {
				if err := r.reader.Ended(ctx, r.log); err != nil {
					return fmt.Errorf("the log at %s: %w\nnothing was logged or published; --log URL names another", r.log.URL, err)
				}
			}
			continue
		default:
			err = fmt.Errorf("%s: the log at %s has an entry for this version already: %w", j.member, r.log.URL, err)
			if r.DryRun && standing != nil {
				r.Report.Warn("%v", err)
				continue
			}
			return err
		}
		r.Report.Status("Fresh", "%s is logged already", j.member)
		if err := r.store.save(j.member, credential.ExtBundle, b); err != nil {
			return err
		}
	}
	return nil
}

// ready asks for all that the upload needs, before anything is logged for ever: that cargo
// can be made to ask us, a token, and a registry that answers.
func (r *run) ready(ctx context.Context) error {
	if r.DryRun || r.LogOnly || !slices.ContainsFunc(r.jobs, func(j *job) bool { return !j.published }) {
		return nil
	}
	if err := r.mayUpload(ctx); err != nil {
		return fmt.Errorf("%w\nnothing was logged or published", err)
	}
	return nil
}

func (r *run) mayUpload(ctx context.Context) (err error) {
	if _, err := r.target.guard(r.settings, r.Guard, "", r.Token, os.Getenv); err != nil {
		return err
	}
	known := true
	if r.token = r.Token; r.token == "" {
		index, _ := r.index(r.target.index)
		if r.token, known, err = r.settings.AskToken(ctx, r.target.name, index); err != nil {
			return err
		}
	}
	if !known {
		r.Report.Warn("whether there is a token for the registry %s is for cargo to find out, when it publishes", r.target.name)
	}
	for _, j := range r.jobs {
		if j.unlisted != nil && r.token != "" {
			j.published, j.unlisted = r.listed(ctx, j, r.target.index)
		}
		switch {
		case j.unlisted == nil:
		case outcome.Of(j.unlisted) == outcome.Refused:
			return j.unlisted
		case errors.Is(j.unlisted, registry.ErrNoIndex), !known:
			r.Report.Warn("%s: whether the registry has this version already could not be looked up: %v", j.member, j.unlisted)
		default:
			return fmt.Errorf("%s: the registry %s cannot be asked: %w", j.member, r.target.name, j.unlisted)
		}
	}
	return nil
}

// useBundle verifies a bundle and takes it for a job.
func (r *run) useBundle(ctx context.Context, j *job, bundle []byte) error {
	p, e, err := CheckAnswer(j.statement(), bundle)
	if err != nil {
		return outcome.Refuse(err)
	}
	if r.reader != nil {
		_, err = r.reader.Verify(ctx, bundle, j.raw, j.opening, r.pkg(j), r.quiet())
	} else {
		err = outcome.Refuse(entry.Check(r.proofs, e, j.plan.List.Bytes))
	}
	if err == nil {
		j.bundle, j.index = bundle, p.Index
	}
	return err
}

func (r *run) pkg(j *job) policy.Package {
	return policy.Package{Name: j.Name, Version: j.Version, Registry: r.target.indexOf()}
}

// query asks the log for what readers accept, or, without a policy, for anything.
func (r *run) query(j *job) client.Query {
	if r.reader != nil {
		return r.reader.Query(r.pkg(j))
	}
	return client.Query{Registry: entry.Registry(r.target.indexOf()), Name: j.Name, Version: j.Version}
}

// quiet is the log for the engine, which asks it from many goroutines.
func (r *run) quiet() *client.Log {
	if r.log == nil {
		return nil
	}
	quiet := *r.log
	quiet.OnWait = nil
	return &quiet
}

// statement is an entry without a proof: what is to be logged.
func (j *job) statement() *entry.Entry {
	return &entry.Entry{Subject: j.plan.Subject, Claim: j.plan.Claim}
}

// prove makes the proofs that are not there.
func (r *run) prove(ctx context.Context) error {
	var todo []*job
	for _, j := range r.jobs {
		if j.bundle != nil {
			continue
		}
		if e, b := r.store.entry(j.member); e != nil && r.holds(j, e) {
			j.entry, j.entryBytes = e, b
			r.Report.Status("Fresh", "%s is proved", j.member)
			continue
		}
		todo = append(todo, j)
	}
	for _, j := range todo {
		if err := r.proveOne(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// holds says whether a stored entry is what would be proved now.
func (r *run) holds(j *job, e *entry.Entry) bool {
	same, err := sameStatement(e, j.statement())
	if err != nil || !same || e.Proof.Program != j.program {
		return false
	}
	return entry.Check(r.proofs, e, j.plan.List.Bytes) == nil
}

func (r *run) proveOne(ctx context.Context, j *job) (err error) {
	begin := time.Now()
	r.Report.Status("Proving", "%s", j.member)
	progress, done := r.Report.Steps()
	j.entry, err = r.Prover.Prove(ctx, j.plan, progress)
	done()
	if err != nil {
		return named(j.member, err)
	}
	if j.entryBytes, err = j.entry.Marshal(); err != nil {
		return err
	}
	if err := r.store.save(j.member, credential.ExtEntry, j.entryBytes); err != nil {
		return err
	}
	r.Report.Status("Proved", "%s in %.1f s%s", j.member, time.Since(begin).Seconds(), peakMemory())
	return nil
}

// acceptable refuses, before anything is logged or uploaded, what the publisher's own policy would not have
// of a log either.
func (r *run) acceptable(ctx context.Context) error {
	for _, j := range r.jobs {
		if j.bundle != nil || r.reader == nil {
			continue
		}
		if _, err := r.reader.Entry(ctx, j.entryBytes, j.raw, j.opening, r.pkg(j)); err != nil {
			return fmt.Errorf("%s: your own policy does not accept it: %w\nnothing was logged or published in this run",
				j.member, err)
		}
	}
	return nil
}

// submit hands to the log what it does not have, and verifies its answers.
func (r *run) submit(ctx context.Context) error {
	if err := r.acceptable(ctx); err != nil {
		return err
	}
	r.tellOrder(ctx)
	if r.DryRun {
		r.Report.Status("Finished", "dry run: nothing was logged or published; proofs are kept in %s", r.store.Dir)
		return nil
	}
	for _, j := range r.jobs {
		if j.bundle != nil {
			continue
		}
		r.Report.Status("Submitting", "%s to %s", j.member, r.log.URL)
		if err := r.submitOne(ctx, j); err != nil && j.published {
			return unlogged(j, err)
		} else if err != nil {
			return err
		}
		if origin := r.backed(); origin != "" && !j.pending && !j.published && j.unlisted == nil {
			r.Report.Warn("the policy calls the log %s registry-backed, and it has taken %s, which the registry does not list: "+
				"ask its operator, and take it out of registry-backed", origin, j.member)
		}
	}
	return r.mayLeave()
}

// submitOne hands one entry to the log. One that waits for the registry is pending then, which is no
// error.
func (r *run) submitOne(ctx context.Context, j *job) error {
	b, err := Submit(ctx, r.log, Submission{Entry: j.entryBytes, Crate: j.raw, Opening: j.opening,
		Without: func(why error) { r.Report.Warn("%s: the log does not keep the opening: %v", j.member, why) }})
	if wait, yes := Unlisted(err); yes || j.published && wait > 0 {
		j.pending, j.again, j.why = true, wait, err
		return nil
	}
	if err != nil {
		return named(j.member, err)
	}
	if err := r.useBundle(ctx, j, b); err != nil {
		nothing := "nothing was published"
		if j.published {
			nothing = "it is published all the same"
		}
		return fmt.Errorf("%s: the log's answer cannot be believed: %w\n%s", j.member, err, nothing)
	}
	j.pending = false
	if err := r.store.save(j.member, credential.ExtBundle, b); err != nil {
		return fmt.Errorf("%s is logged, as entry %d, and its bundle cannot be kept: %w\n%s", j.member, j.index, err, again)
	}
	r.Report.Status("Logged", "%s as entry %d; bundle in %s", j.member, j.index, r.store.file(j.member,
		credential.ExtBundle))
	return nil
}
