package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cratelog/build"
	"cratelog/build/rebuild"
	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/crate"
	"cratelog/internal/outcome"
)

// sourceFacts are what is known of the sources of a binary.
type sourceFacts struct {
	lock bool   // the crate's Cargo.lock is proven
	text string // what was verified, a phrase
}

// versions says who chose the versions of the crates that are compiled.
func (f sourceFacts) versions() string {
	if f.lock {
		return "chosen by the commit"
	}
	return "chosen by whoever packaged, not proven"
}

// lockProven says whether the commit chose the versions in the Cargo.lock of a crate, by what was verified of
// it; facts may be nil.
func lockProven(facts *verdict.Facts) bool {
	return facts != nil && facts.Versions == string(crate.ByCommit)
}

// verifySources verifies a crate and what is compiled with it, as the policy demands. Where it demands a
// proof of any of them, or says whom to believe about binaries, the crate itself must be proven; and if its Cargo.lock
// is not, so that whoever packaged it chose the others, these too, unless require-source says otherwise.
func (o *rebuildOptions) verifySources(ctx context.Context, sh *shell, p rebuild.Plan) (f sourceFacts, err error) {
	var ws *cargo.Workspace
	if o.Flag == "" && len(o.Trust) == 0 {
		ws, _ = workspace("") // one crate is built outside of workspaces as well
	}
	rules, err := o.load(ws)
	if err != nil {
		return f, err
	}
	warnUnlisted(sh, rules.Builds, p)
	index, err := o.subjectIndex()
	if err != nil {
		return f, err
	}
	subject := verdict.Want{Name: p.Subject.Name, Version: p.Subject.Version, Checksum: p.Subject.SHA256, Raw: p.Crate,
		Index: index}
	wants := demanded(rules, append([]verdict.Want{subject}, compiledWants(p)...))
	source := o.sourceRule(rules)
	if o.requireSource == "" && rules.Builds == nil && !slices.ContainsFunc(wants, required) {
		sh.Warn("nothing of it was verified: no policy demands a proof of any of these crates")
		f.text = "nothing of it was verified"
		return f, nil
	}
	if len(rules.Trust) == 0 {
		return f, outcome.Usagef("%s", rules.NoTrust())
	}
	checker, err := o.checker(rules)
	if err != nil {
		return f, err
	}
	first := wants[:1]
	first[0].Versions = true
	if first[0].Demand.Status != policy.Excepted {
		require(&first[0], "it has the binary")
	}
	verdicts := checker.All(ctx, first, nil)
	if err := judged(ctx, sh, verdicts); err != nil {
		return f, err
	}
	if f.lock = lockProven(verdicts[0].Facts); !f.lock && verdicts[0].Facts != nil &&
		verdicts[0].Facts.VersionsWhy != "" {
		sh.Warn("who chose the versions of %s: %s", p.Subject.Name, verdicts[0].Facts.VersionsWhy)
	}
	switch rest := wants[1:]; {
	case source == policy.CrateOnly && !f.lock:
		sh.Warn("the versions of the crates that are compiled were chosen by whoever packaged %s, and "+
			"require-source = \"crate\" does without proofs of them", p.Subject.Name)
	case source == policy.AllSources:
		requireAll(rest, "require-source is \"all\"")
	case source == policy.ByLock && !f.lock:
		requireAll(rest, fmt.Sprintf("whoever packaged %s chose it: its Cargo.lock is not proven; --require-source "+
			"crate does without", p.Subject.Name))
	}
	verdicts = append(verdicts, checker.All(ctx, wants[1:], nil)...)
	if err := judged(ctx, sh, verdicts[1:]); err != nil {
		return f, err
	}
	n := verdict.Counts(verdicts)
	f.text = fmt.Sprintf("%d proven", n[verdict.Verified])
	if left := len(verdicts) - n[verdict.Verified]; left > 0 {
		f.text += fmt.Sprintf(", %d not", left)
	}
	if slices.ContainsFunc(verdicts, func(v verdict.Verdict) bool { return v.Facts != nil && v.Facts.Development }) {
		sh.Warn("accepted proofs made with UNSAFE development keys: anyone can forge them")
	}
	return f, nil
}

// warnUnlisted says what of a build is not as the policy has it for binaries: its result will be another one.
func warnUnlisted(sh *shell, b *policy.Builds, p rebuild.Plan) {
	if b == nil {
		return
	}
	for _, x := range []struct {
		what, option string
		id           [32]byte
		listed       [][32]byte
	}{
		{"toolchain", "--toolchain ID", p.Toolchain, b.Toolchains},
		{"environment", "--environment DIR", p.Environment, b.Environments},
	} {
		if !slices.Contains(x.listed, x.id) {
			sh.Warn("%s %x is none of those under [builds] in the policy: builders who use these may get another "+
				"binary; %s takes one of them", x.what, x.id, x.option)
		}
	}
}

// compiledWants are the crates that are compiled, for the engine.
func compiledWants(p rebuild.Plan) (wants []verdict.Want) {
	for _, c := range p.List {
		wants = append(wants, wantOf(p, c))
	}
	return wants
}

func wantOf(p rebuild.Plan, c build.Crate) verdict.Want {
	return verdict.Want{Name: c.Name, Version: c.Version, Checksum: c.SHA256, Raw: p.Raw[c], Index: p.Lock.Index(c)}
}

// subjectIndex returns the registry of the crate as policies name it: "" for cargo's default one.
func (o *rebuildOptions) subjectIndex() (string, error) {
	home, err := cargo.Home()
	if err != nil {
		return "", err
	}
	index, err := o.published.namedIndex(home)
	if cargo.IsDefault(index) {
		index = ""
	}
	return index, err
}

// demanded fills in what a policy demands.
func demanded(rules *policy.Policy, wants []verdict.Want) []verdict.Want {
	var packages []policy.Package
	for _, w := range wants {
		packages = append(packages, policy.Package{Name: w.Name, Version: w.Version, Registry: w.Index})
	}
	for i, d := range rules.Resolve(nil, packages, time.Now()).Demands {
		wants[i].Demand = d
	}
	return wants
}

func required(w verdict.Want) bool { return w.Demand.Status == policy.Required }

// require demands a proof of a crate.
func require(w *verdict.Want, because string) {
	w.Demand.Status = policy.Required
	w.Demand.Because = append(w.Demand.Because, because)
}

// requireAll demands a proof of crates that no exception of the policy covers.
func requireAll(wants []verdict.Want, because string) {
	for i := range wants {
		if wants[i].Demand.Status == policy.NotAsked {
			require(&wants[i], because)
		}
	}
}

// sourceRule says which sources must be proven: as the command line has it, else as the policy has it for binaries.
func (o *rebuildOptions) sourceRule(rules *policy.Policy) policy.RequireSource {
	switch {
	case o.requireSource == "all":
		return policy.AllSources
	case o.requireSource == "crate":
		return policy.CrateOnly
	case rules.Builds != nil:
		return rules.Builds.Source
	}
	return policy.ByLock
}

// judged prints what is not as it should be, and returns it as an error.
func judged(ctx context.Context, sh *shell, verdicts []verdict.Verdict) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k := &lockCheck{Lock: &verdict.Lock{}, verdicts: verdicts}
	for i := range verdicts {
		switch v := &verdicts[i]; v.Status {
		case verdict.Violation, verdict.Unchecked:
			k.complain(sh, v)
		case verdict.Verified:
			if sh.verbose {
				describe(sh, v)
			}
		}
		for _, note := range verdicts[i].Notes {
			sh.Warn("%s v%s: %s", verdicts[i].Name, verdicts[i].Version, note)
		}
	}
	n := verdict.Counts(verdicts)
	switch verdict.Worst(verdicts) {
	case verdict.Violation:
		return outcome.Refusef("%s that would be compiled not as the policy asks: nothing was built",
			areCrates(n[verdict.Violation]))
	case verdict.Unchecked:
		return fmt.Errorf("%s that would be compiled could not be checked: nothing was built",
			crates(n[verdict.Unchecked]))
	}
	return nil
}

func areCrates(n int) string {
	if n == 1 {
		return "1 crate is"
	}
	return fmt.Sprintf("%d crates are", n)
}
