package monitor

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"cratelog/build"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/monitor/store"
)

// kindOfSource is the kind of claims about sources.
const kindOfSource = "source"

// reportBuilds records what verified entries with from <= index < to say of builds that others, or the same
// builder, say otherwise.
func (f *follower) reportBuilds(ctx context.Context, from, to int64) error {
	pairs, err := f.store.Contradictions(ctx, f.id, from, to, maxPerKind+1)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if err := f.reportBuilder(ctx, p); err != nil {
			return err
		}
	}
	if pairs, err = f.store.Dissents(ctx, f.id, from, to, maxPerKind+1); err != nil {
		return err
	}
	for _, p := range pairs {
		if err := f.reportDissent(ctx, p); err != nil {
			return err
		}
	}
	alone, err := f.store.Sourceless(ctx, f.id, from, to, maxPerKind+1)
	if err != nil {
		return err
	}
	for _, e := range alone {
		x := f.entryFinding(kindSourceless, e)
		x.Summary = fmt.Sprintf("Of the .crate of %s of %s, about a build, no followed log has a claim about sources before it.",
			what(e), f.origin)
		x.Detail = "The log may have seen one of a log that this monitor does not follow."
		if err := f.report(ctx, x, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// twoBuilds are the entries of a pair, parsed.
type twoBuilds struct {
	first, second *entry.Build
	request       [32]byte
}

func parsePair(p store.BuildPair) (t twoBuilds, err error) {
	for _, e := range []struct {
		row store.Entry
		to  **entry.Build
	}{{p.First, &t.first}, {p.Second, &t.second}} {
		x, err := entry.Parse(e.row.Data)
		if err != nil {
			return t, fmt.Errorf("the database is damaged: entry %d: %w", e.row.Index, err)
		}
		b, ok := x.Claim.(*entry.Build)
		if !ok {
			return t, fmt.Errorf("the database is damaged: entry %d is not about a build", e.row.Index)
		}
		if *e.to = b; t.request == [32]byte{} {
			if t.request, err = b.Request(x.Subject); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}

// reportDissent records that two members of one set say two things of one build.
func (f *follower) reportDissent(ctx context.Context, p store.BuildPair) error {
	t, err := parsePair(p)
	if err != nil {
		return err
	}
	x := f.entryFinding(kindOtherDissent, p.Second)
	name := fmt.Sprintf("with the root %x, which this monitor does not know", t.second.Root)
	if set := f.m.sets[t.second.Root]; set != nil {
		x.Kind, name = kindDissent, set.Name
	}
	x.Key = fmt.Sprintf("%s/%s/%x/%x", x.Kind, f.origin, t.request, t.second.Root)
	x.Summary = fmt.Sprintf("Builders of the set %s disagree about the binary %s of %s %s.", name, t.second.Binary, p.Second.Name,
		p.Second.Version)
	x.Detail = fmt.Sprintf("Of the same build, with the toolchain %x in the environment %x for %s, %s has the binary with the SHA-256 "+
		"%x, and %s the one with %x. Either the build does not give the same bytes everywhere, or somebody's machine, or word, is "+
		"not good: rebuild it.", t.second.Toolchain, t.second.Environment, t.second.Target, f.where(p.First), t.first.Artifact,
		f.where(p.Second), t.second.Artifact)
	if t.first.Artifact == t.second.Artifact {
		x.Detail += " The binary is the same, and what was compiled for it is not."
	}
	return f.report(ctx, x, nil, nil)
}

// where names an entry and, of another log, the log.
func (f *follower) where(e store.Entry) string {
	if e.Log == f.id {
		return fmt.Sprintf("entry %d", e.Index)
	}
	for _, other := range f.m.followers {
		if other.id == e.Log {
			return fmt.Sprintf("entry %d of %s", e.Index, other.origin)
		}
	}
	return fmt.Sprintf("entry %d of another log", e.Index)
}

// reportBuilder accuses a builder who says two things of one build in followed logs.
func (f *follower) reportBuilder(ctx context.Context, p store.BuildPair) error {
	x := f.entryFinding(kindBuilder, p.Second)
	t, err := parsePair(p)
	if err != nil {
		return err
	}
	x.Key = fmt.Sprintf("%s/%x/%x", x.Kind, t.request, t.second.Tag)
	x.Summary = fmt.Sprintf("One builder says two things of the binary %s of %s %s: in %s and in %s.", t.second.Binary,
		p.Second.Name, p.Second.Version, f.where(p.First), f.where(p.Second))
	x.Detail = fmt.Sprintf("That it has the SHA-256 %x, and that it has %x.", t.first.Artifact, t.second.Artifact)
	if p.First.Log == p.Second.Log {
		x.Detail += " A log must not take the second."
	}
	if by := f.forgers(p.First.Program, p.Second.Program); by != "" {
		x.Detail += fmt.Sprintf(" This shows nothing about anybody: of the keys of their proofs it holds that %s, and who forges "+
			"can write such a pair in the name of any member.", by)
	}
	if f.m.sets[t.first.Root] == nil || f.m.sets[t.second.Root] == nil {
		x.Detail += " Who it is, this monitor does not know: name the files of both sets in [builds] of its settings."
	}
	return f.report(ctx, x, nil, func() (*evidence.Evidence, error) {
		program := f.program(p.Second.Program)
		if p.Second.Program == build.NamedProgram {
			program = nil
		}
		return evidence.NewBuilderContradiction(p.First.Data, p.Second.Data, f.setFiles(), program, evidence.Meta{
			Observed: f.cfg.Now(), Sources: []string{printable(f.where(p.First) + " and " + f.where(p.Second) + " of " + f.origin)}})
	})
}

// setFiles are the files of the sets that this monitor knows.
func (f *follower) setFiles() (files [][]byte) {
	for _, s := range f.m.sets {
		if b, err := s.Marshal(); err == nil {
			files = append(files, b)
		}
	}
	return files
}

// forgers says who, but all contributors of a ceremony, can have written builds with proofs of some programs, "" for
// nobody.
func (f *follower) forgers(programs ...[32]byte) string {
	for _, id := range programs {
		if id == build.NamedProgram {
			continue
		}
		if by := (prover{f.cfg.Proofs, f.cfg.Forgers}).Forgers(id); by != "" {
			return by
		}
	}
	return ""
}

// contradictionsPerLook bounds how much evidence a log is asked for before other work has its turn.
const contradictionsPerLook = 64

// contradictionsOnce takes what evidence against builders the log shows: it refuses what it keeps there, so that
// it stands in no tree. What does not convict a member of a set of the settings is forgotten.
func (f *follower) contradictionsOnce(ctx context.Context) error {
	look, cancel := context.WithTimeout(ctx, f.cfg.RequestTimeout.Duration) // all together: they can be large, and slow
	defer cancel()
	files, err := f.log.Contradictions(look, f.contradictions, contradictionsPerLook)
	var status *client.StatusError
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.As(err, &status) && (status.Status == http.StatusNotFound || status.Status == http.StatusMethodNotAllowed):
		return nil // it takes no builds
	case err != nil:
		f.trouble.add("%s: contradictions of builders: %v", f.origin, err)
		return nil
	}
	for _, c := range files {
		if err := f.takeContradiction(ctx, c.File); err != nil {
			return err
		}
		f.contradictions = c.Number + 1
	}
	return nil
}

// prover is what evidence asks about proofs.
type prover struct {
	proofs  entry.BatchVerifier
	forgers func(program [32]byte) string
}

func (p prover) Chain(e *entry.Entry) (entry.Chain, error) {
	chains, errs := p.proofs.Chains([]*entry.Entry{e})
	return chains[0], errs[0]
}

func (p prover) Forgers(program [32]byte) string {
	if p.forgers == nil {
		return "it is not known here who made them, and whoever did could forge"
	}
	return p.forgers(program)
}

func (f *follower) takeContradiction(ctx context.Context, file []byte) error {
	e, err := evidence.Parse(file)
	if err == nil && e.Kind != evidence.BuilderContradiction {
		err = fmt.Errorf("it is of the kind %q", e.Kind)
	}
	if err == nil {
		// The log's set files could have anybody's name beside a key: only this monitor's own ones say who it is.
		e, err = evidence.NewBuilderContradiction(e.Statements[0], e.Statements[1], f.setFiles(), e.Program,
			evidence.Meta{Observed: e.Observed, Sources: e.Sources})
	}
	var c evidence.Conviction
	if err == nil {
		c, err = evidence.Verify(e, evidence.Keys{}, prover{f.cfg.Proofs, f.cfg.Forgers})
	}
	if err != nil || !c.Convicts() {
		f.cfg.Logger.Info("the log shows evidence against a builder that convicts nobody here", "log", f.origin, "err", err)
		return nil
	}
	s, err := e.Statement()
	if err != nil {
		return err
	}
	x := store.Finding{Key: fmt.Sprintf("%s/%x/%x", kindBuilder, s.Request, s.Claim.Tag), Kind: kindBuilder, Index: -1,
		Name: s.Subject.Name, Version: s.Subject.Version, Detail: c.What,
		Summary: fmt.Sprintf("The %s says two things of the binary %s of %s %s, one of which the log %s has refused.", c.Who,
			s.Claim.Binary, s.Subject.Name, s.Subject.Version, f.origin)}
	return f.report(ctx, x, nil, func() (*evidence.Evidence, error) { return e, nil })
}
