package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"cratelog/build"
	"cratelog/build/builder"
	"cratelog/build/membership"
	"cratelog/build/rebuild"
	"cratelog/cargo/publish"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// maxBundleFile bounds a bundle that the command line names, in bytes.
const maxBundleFile = client.MaxBundleSize

// memberOptions are those of everything that speaks as a member of a set.
type memberOptions struct {
	key, set                 string
	program, provingKey, log string
	development              bool
}

func (o *memberOptions) register(fs *flag.FlagSet) {
	fs.StringVar(&o.key, "key", "", "`FILE` with the builder's key (required)")
	fs.StringVar(&o.set, "set", "", "`FILE` of the set of builders (required)")
	o.registerKeys(fs)
	fs.StringVar(&o.log, "log", "", "`URL` of the log")
}

func (o *memberOptions) registerKeys(fs *flag.FlagSet) {
	fs.StringVar(&o.program, "program", "", "`FILE` of the program for a hidden member's proofs, as a ceremony made it")
	fs.StringVar(&o.provingKey, "proving-key", "", "`FILE` of that program's proving key; it is checked against the "+
		"circuit")
	fs.BoolVar(&o.development, "development", false, "instead of --program and --proving-key: the development "+
		"program, which shows nothing: anyone can forge its proofs")
}

// open opens key and set.
func (o *memberOptions) open(verb string) (*builder.Key, *build.Set, error) {
	if o.key == "" || o.set == "" {
		return nil, nil, outcome.Usagef("%s needs --key FILE and --set FILE: who is to speak, and in which set", verb)
	}
	set, err := build.ReadSet(o.set)
	if err != nil {
		return nil, nil, err
	}
	key, err := builder.Open(o.key)
	return key, set, err
}

// keys returns what a hidden member proves with, and nil for a named one.
func (o *memberOptions) keys(ctx context.Context, sh *shell, kind build.Kind) (*membership.Keys, error) {
	switch {
	case kind == build.Named:
		return nil, nil
	case o.development && (o.program != "" || o.provingKey != ""):
		return nil, outcome.Usagef("--development is instead of --program and --proving-key")
	case o.development:
		sh.Warn("proving with UNSAFE development keys: anyone can forge such proofs, and name anybody as one who " +
			"contradicts himself")
		return membership.DevelopmentKeys()
	case o.program == "" || o.provingKey == "":
		return nil, outcome.Usagef("a hidden member needs --program FILE and --proving-key FILE, which a ceremony " +
			"made; for a try, --development")
	}
	sh.Status("Checking", "the proving key %s against the circuit", o.provingKey)
	return membership.ReadKeys(ctx, o.program, o.provingKey)
}

func attestVerb(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "attest", "FILE", "Say, as a member of a set of builders, that FILE is what the compiler makes "+
		"of a crate: the\nbinary that \"cargo zkp rebuild --out DIR\" made twice and put into DIR. The log, which must be "+
		"one of\nthe policy, has to show before all that was said about the crate; what others deny is said with\n"+
		"--dissent only.")
	var o memberOptions
	o.register(fs)
	var b believe
	b.RegisterTrust(fs)
	report := fs.String("report", "", "`DIR` that rebuild wrote (default: the directory of FILE)")
	offline := fs.Bool("offline", false, "ask no log and submit nothing: only the key's journal keeps it from "+
		"contradicting itself")
	relay := fs.Bool("relay", false, "take FILE.entry and FILE.list as they are, and hand them to the log: it need "+
		"not be the builder who does")
	hold := fs.Bool("hold", false, "make FILE.entry and FILE.list, and submit nothing: another one may, with --relay")
	dissent := fs.Bool("dissent", false, "say it though other builders say that something else comes out")
	again := fs.Bool("again", false, "say it though this key has said it as a member of another set")
	source := fs.String("source", "", "`FILE` with a bundle of the crate's source claim, of another log (default: it "+
		"stands in this one)")
	file, err := parse(fs, args, "FILE")
	if err != nil {
		return err
	}
	switch {
	case *offline && (*relay || o.log != ""):
		return outcome.Usagef("--offline is without --log and --relay")
	case !*offline && o.log == "":
		return outcome.Usagef("attest needs --log URL: which log is asked, and is to hold the entry; --offline does " +
			"without")
	}
	s := submission{log: o.log, file: file}
	if *source != "" {
		if s.source, err = readFile(*source, maxBundleFile); err != nil {
			return err
		}
	}
	if *relay {
		return s.relay(ctx, sh)
	}
	r, err := attestable(file, cmp.Or(*report, filepath.Dir(file)))
	if err != nil {
		return err
	}
	key, set, err := o.open("attest")
	if err != nil {
		return err
	}
	defer key.Close()
	keys, err := o.keys(ctx, sh, set.Kind)
	if err != nil {
		return err
	}
	a := builder.Attestation{Set: set, Subject: r.Subject, Claim: r.Claim, List: r.List, Keys: keys, Offline: *offline,
		Dissent: *dissent, Again: *again}
	if !*offline {
		b.Development = o.development
		if a.Rows, err = b.rowsOf(ctx, sh, o.log, r.Subject); err != nil {
			return err
		}
	}
	e, err := attestAs(ctx, key, a)
	if err != nil {
		return err
	}
	raw, err := e.Marshal()
	if err != nil {
		return err
	}
	// The list first: whoever sees an entry finds it too.
	if err := durable.Write(file+".list", r.List.Marshal(), 0o644); err != nil {
		return err
	}
	if err := durable.Write(file+".entry", raw, 0o644); err != nil {
		return err
	}
	sh.Status("Attested", "%s of %s v%s, SHA-256 %x, in %s", r.Claim.Binary, r.Subject.Name, r.Subject.Version,
		r.Claim.Artifact,
		file+".entry")
	if *offline || *hold {
		return nil
	}
	return s.relay(ctx, sh)
}

// attestable reads the report about a binary, which both runs must have made.
func attestable(file, dir string) (*rebuild.Report, error) {
	r, err := rebuild.ReadReport(dir)
	if err != nil {
		return nil, fmt.Errorf("%w\nmake the report with \"cargo zkp rebuild NAME@VERSION --out DIR\"", err)
	}
	if want := filepath.Join(dir, r.Claim.Binary); !sameFile(want, file) {
		return nil, outcome.Usagef("the report in %s is about %s, not about %s", dir, want, file)
	}
	if !r.Same {
		return nil, outcome.Refusef("the two runs of the rebuild made another binary each: they differ in %s. What "+
			"differs is never attested", r.Difference)
	}
	return r, nil
}

func sameFile(a, b string) bool {
	x, errX := filepath.Abs(a)
	y, errY := filepath.Abs(b)
	return errX == nil && errY == nil && x == y
}

// rowsOf has a log show all build claims about a crate version.
func (b *believe) rowsOf(ctx context.Context, sh *shell, url string, s entry.Subject) ([]client.BuildRow, error) {
	log, err := b.shown(sh, url)
	if err != nil {
		return nil, err
	}
	rows, err := log.Builds(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("asking the log at %s what builders say about %s v%s: %w", url, s.Name, s.Version, err)
	}
	return rows, nil
}

// shownAge is how old what a log shows may be to whoever speaks after it: what was said since would be missed.
const shownAge = 24 * time.Hour

// shown returns the log at a URL, which must be one of the policy.
func (b *believe) shown(sh *shell, url string) (*builder.Shown, error) {
	trust, development, err := b.trustOf(url)
	if err != nil {
		return nil, err
	}
	rules := client.Rules{MaxAge: shownAge, AllowNoWitnesses: development}
	if !trust.NeedsWitnesses() {
		rules.MaxAge = 0
	}
	return &builder.Shown{Log: logClient(sh, url), Policy: trust, Rules: rules}, nil
}

// attestAs is key.Attest; what speaks against it is a refusal.
func attestAs(ctx context.Context, key *builder.Key, a builder.Attestation) (*entry.Entry, error) {
	e, err := key.Attest(ctx, a)
	var contradiction *builder.ContradictionError
	var unknown *builder.UnknownError
	var stands *builder.StandsError
	var dissent *builder.DissentError
	if errors.As(err, &contradiction) || errors.As(err, &unknown) || errors.As(err, &stands) || errors.As(err,
		&dissent) {
		err = outcome.Refuse(err)
	}
	return e, err
}

// A submission is of an entry and a list that stand beside a binary.
type submission struct {
	log, file string
	source    []byte // bundle of the source claim, or nil
}

// relay reads both, hands them to the log, and keeps the bundle.
func (s *submission) relay(ctx context.Context, sh *shell) error {
	raw, err := readFile(s.file+".entry", entry.MaxSize)
	if err != nil {
		return err
	}
	list, err := readFile(s.file+".list", build.MaxList)
	if err != nil {
		return err
	}
	e, err := entry.Parse(raw)
	if err != nil {
		return outcome.Refusef("%s: %w", s.file+".entry", err)
	}
	to, err := newOutput(s.file + ".tlog-proof")
	if err != nil {
		return err
	}
	defer to.Discard()
	sh.Status("Submitting", "what is said about %s v%s to %s", e.Subject.Name, e.Subject.Version, s.log)
	bundle, index, err := submitBuild(ctx, logClient(sh, s.log), e, list, s.source)
	if outcome.Of(err) == outcome.Unchecked && ctx.Err() == nil {
		return fmt.Errorf("%w\nnothing is lost: run the same command with --relay later", err)
	} else if err != nil {
		return err
	}
	if err := to.commit(bundle); err != nil {
		return err
	}
	sh.Status("Finished", "entry %d of the log; bundle in %s", index, to.path)
	return nil
}

// submitBuild hands an entry with a build claim to a log, and returns the bundle that answers it.
func submitBuild(ctx context.Context, log *client.Log, e *entry.Entry, list, source []byte) (bundle []byte,
	index uint64, err error) {
	raw, err := e.Marshal()
	if err != nil {
		return nil, 0, err
	}
	bundle, err = log.SubmitBuild(ctx, raw, list, source)
	var refused *client.SubmitError
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.As(err, &refused) && refused.Status != http.StatusTooManyRequests && refused.Status < 500:
		err = outcome.Refuse(err)
	}
	if err != nil {
		return nil, 0, err
	}
	p, _, err := publish.CheckAnswer(e, bundle)
	if err != nil {
		return nil, 0, outcome.Refusef("the log did not answer with this entry's bundle: %w", err)
	}
	return bundle, uint64(p.Index), nil
}
