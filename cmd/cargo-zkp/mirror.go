package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"cratelog/build"
	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/publish"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/outcome"
	"cratelog/opening"
	"cratelog/proofcheck"
	"cratelog/prover"
)

// mirrorEntries submits what one log holds to another. Neither is believed: an entry stands by its
// proof and its .crate, which are verified here before anything is submitted.
func mirrorEntries(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "mirror-entries", "FROM TO", `Submit the entries of the log at the URL FROM, with their openings, to the log at the URL TO.
Each is verified before, with its .crate: out of cargo's cache, or from its registry. What TO
holds is passed over, so that it can be interrupted and run again.`)
	lock := fs.Bool("lock", false, "only the entries of the crates in Cargo.lock that come from cargo's default registry")
	var manifest string
	manifestFlag(fs, &manifest)
	var registries []string
	fs.Func("registry", "also entries of crates of the registry with this `INDEX`, which TO then hears of: their .crate "+
		"is taken out of cargo's cache; may be repeated (default: only those of cargo's default registry)",
		policy.AppendTo(&registries))
	jobs := fs.Int("jobs", 4, "`N` entries at a time")
	urls, err := parseUpTo(2, fs, args, "FROM and TO")
	if err != nil {
		return err
	}
	switch {
	case len(urls) != 2:
		return outcome.Usagef("mirror-entries takes two arguments, the URLs of the logs FROM and TO, and got %d", len(urls))
	case *jobs < 1 || *jobs > 64:
		return outcome.Usagef("--jobs is 1 to 64, not %d", *jobs)
	case manifest != "" && !*lock:
		return outcome.Usagef("--manifest-path is for --lock")
	case len(registries) > 0 && *lock:
		return outcome.Usagef("--registry and --lock exclude each other")
	}
	m, err := newMirror(ctx, sh, urls[0], urls[1])
	if err != nil {
		return err
	}
	m.tell = map[string]bool{entry.DefaultRegistry: true}
	for _, r := range registries {
		m.tell[entry.Registry(r)] = true
	}
	progress, done := sh.Steps()
	defer done()
	if *lock {
		err = m.lock(ctx, manifest, *jobs, progress)
	} else {
		err = m.all(ctx, *jobs, progress)
	}
	done()
	m.report()
	if err != nil {
		return fmt.Errorf("%w\nwhat is moved is moved: run the same command again to go on", err)
	}
	return m.outcome()
}

// mirror moves entries.
type mirror struct {
	sh       *shell
	from, to *client.Log
	programs [][32]byte           // that TO accepts
	proofs   *proofcheck.Verifier // of those
	crates   crateSource
	cached   crateSource     // of other registries
	tell     map[string]bool // registries of whose crates TO may hear

	mu    sync.Mutex
	ended map[cause][]string // what became of each entry
}

// A cause is why an entry is not moved, or one of the two good ends.
type cause int

const (
	moved cause = iota
	there
	aboutBuild
	otherRegistry
	notLogged
	otherProgram
	noCrate
	untrue
	notTaken
	notListed
)

// causes say in words what entries of a cause are, after their number.
var causes = map[cause]string{
	aboutBuild:    "about builds, which their builders submit",
	otherRegistry: "of crates of other registries: name those of which TO may hear with --registry INDEX; their .crate must be in cargo's cache",
	notLogged:     "of crates that FROM does not hold under a program that TO accepts",
	otherProgram:  "of programs that TO does not accept: prove them again with \"cargo zkp prove --lock --log TO\"",
	noCrate:       "of crates whose .crate cannot be had",
	untrue:        "false: FROM holds what does not verify",
	notTaken:      "refused by TO",
	notListed:     "not what the registries list that TO asks",
}

func newMirror(ctx context.Context, sh *shell, from, to string) (*mirror, error) {
	m := &mirror{sh: sh, from: logClient(sh, from), to: logClient(sh, to), cached: crateSource{offline: true},
		ended: map[cause][]string{}}
	if strings.TrimRight(from, "/") == strings.TrimRight(to, "/") {
		return nil, outcome.Usagef("FROM and TO are one log")
	}
	programs, err := accepted(ctx, m.to)
	if err != nil {
		return nil, fmt.Errorf("the log TO, %s: %w", to, err)
	}
	for _, p := range programs {
		m.programs = append(m.programs, p.ID())
	}
	m.proofs, err = proofcheck.New(programs)
	return m, err
}

// accepted returns the programs of source claims under which a log accepts entries, by its own list.
func accepted(ctx context.Context, log *client.Log) (programs []proofcheck.Program, err error) {
	text, err := log.ProvingKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the programs that it accepts: %w", err)
	}
	var list struct {
		Keys []struct {
			File json.RawMessage `json:"file"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("its list of programs: %w", err)
	}
	for _, k := range list.Keys {
		p, err := proofcheck.ParseProgram(k.File)
		if err == nil && p.Claim == proofcheck.ClaimSource && len(programs) < client.MaxQuery {
			programs = append(programs, p)
		}
	}
	if len(programs) == 0 {
		return nil, errors.New("it accepts no program that this version knows")
	}
	return programs, nil
}

// all moves everything that FROM holds.
func (m *mirror) all(ctx context.Context, jobs int, progress prover.Progress) error {
	size, entries, err := m.from.Entries(ctx)
	if err != nil {
		return m.unread(err)
	}
	var failed error
	what := fmt.Sprintf("the entries of a tree of %d", size)
	err = m.each(ctx, jobs, what, int(size), progress, func(yield func(func(context.Context) error) bool) {
		number := -1
		for raw, err := range entries {
			number++
			at := number
			if err != nil {
				failed = m.unread(err)
				return
			}
			if !yield(func(ctx context.Context) error { return m.raw(ctx, raw, fmt.Sprintf("entry %d", at)) }) {
				return
			}
		}
	})
	return errors.Join(err, failed)
}

func (m *mirror) unread(err error) error {
	return fmt.Errorf("the log FROM, %s, cannot be read: %w", m.from.URL, err)
}

// lock moves what FROM holds of a lock file.
func (m *mirror) lock(ctx context.Context, manifest string, jobs int, progress prover.Progress) error {
	if manifest == "" {
		var err error
		if manifest, err = cargo.FindManifest("."); err != nil {
			return outcome.Misuse(err)
		}
	}
	w, err := cargo.LoadWorkspace(manifest)
	if err != nil {
		return outcome.Misuse(err)
	}
	l, err := cargo.ReadLock(filepath.Join(w.Root, "Cargo.lock"))
	if err != nil {
		return err
	}
	packages := slices.DeleteFunc(slices.Clone(l.Packages), func(p cargo.Package) bool {
		_, ok := p.Registry()
		return !ok
	})
	return m.each(ctx, jobs, fmt.Sprintf("%d entries", len(packages)), len(packages), progress, func(yield func(func(context.Context) error) bool) {
		for _, p := range packages {
			if !yield(func(ctx context.Context) error { return m.locked(ctx, p) }) {
				return
			}
		}
	})
}

// each does some work at a time, until one piece fails or ctx ends.
func (m *mirror) each(ctx context.Context, jobs int, what string, total int, progress prover.Progress,
	work func(yield func(func(context.Context) error) bool)) error {
	var done atomic.Int64
	progress(prover.Step{What: fmt.Sprintf("moving %s from %s to %s", what, m.from.URL, m.to.URL),
		Share: func() float64 { return float64(done.Load()) / float64(max(total, 1)) }})
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for f := range work {
		if all.Err() != nil {
			break
		}
		g.Go(func() error {
			defer done.Add(1)
			return f(all)
		})
	}
	return cmp.Or(g.Wait(), ctx.Err())
}

// locked moves the entry of a locked package.
func (m *mirror) locked(ctx context.Context, p cargo.Package) error {
	name := p.Name + " v" + p.Version
	if index, _ := p.Registry(); entry.Registry(index) != entry.DefaultRegistry {
		m.end(otherRegistry, name)
		return nil
	}
	bundle, err := m.from.Bundle(ctx, client.Query{Name: p.Name, Version: p.Version, Programs: m.programs})
	switch {
	case errors.Is(err, client.ErrNotLogged):
		m.end(notLogged, name)
		return nil
	case err != nil:
		return m.unread(err)
	}
	proof, e, err := client.UnverifiedEntry(bundle)
	if err == nil && (e.Subject.Name != p.Name || e.Subject.Version != p.Version || e.Subject.SHA256 != *p.Checksum) {
		err = fmt.Errorf("FROM holds %s %s with SHA-256 %x, and Cargo.lock has %x", e.Subject.Name, e.Subject.Version,
			e.Subject.SHA256, *p.Checksum)
	}
	if err != nil {
		m.end(untrue, name+": "+err.Error())
		return nil
	}
	return m.raw(ctx, proof.Entry, name)
}

// raw moves an entry. Seals and starts are of FROM alone, and are passed over.
func (m *mirror) raw(ctx context.Context, raw []byte, what string) error {
	leaf, err := entry.ParseLeaf(raw)
	if err != nil {
		m.end(untrue, what+": "+err.Error())
		return nil
	}
	e, ok := leaf.(*entry.Entry)
	if !ok {
		return nil
	}
	what = e.Subject.Name + " v" + e.Subject.Version
	claim, ok := e.Claim.(*entry.Source)
	if !ok {
		m.end(aboutBuild, what)
		return nil
	}
	if !m.tell[e.Subject.Registry] {
		m.end(otherRegistry, what)
		return nil
	}
	if !slices.Contains(m.programs, e.Proof.Program) {
		m.end(otherProgram, what)
		return nil
	}
	if held, err := m.held(ctx, e, claim); err != nil || held {
		if held {
			m.end(there, what)
		}
		return err
	}
	archive, why, err := m.archive(ctx, e.Subject)
	if ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		m.end(why, what+": "+err.Error())
		return nil
	}
	list, err := m.verify(e, claim, archive)
	if err != nil {
		m.end(untrue, what+": "+err.Error())
		return nil
	}
	return m.submit(ctx, e, carried{what, raw, archive, m.opening(ctx, e, claim, list, what)})
}

// held says whether TO holds an entry.
func (m *mirror) held(ctx context.Context, e *entry.Entry, claim *entry.Source) (bool, error) {
	bundle, err := m.to.Bundle(ctx, client.Query{Registry: e.Subject.Registry, Name: e.Subject.Name,
		Version: e.Subject.Version, Programs: [][32]byte{e.Proof.Program}, Commits: [][20]byte{claim.Commit}, Path: &claim.Path})
	switch {
	case errors.Is(err, client.ErrNotLogged):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("the log TO, %s, cannot be asked: %w", m.to.URL, err)
	}
	_, _, err = publish.CheckAnswer(e, bundle)
	return err == nil, nil // another claim, or nonsense: TO will say
}

// archive finds a .crate by its SHA-256: in cargo's cache, or in cargo's default registry. Another
// registry is not asked: FROM chose its address.
func (m *mirror) archive(ctx context.Context, s entry.Subject) ([]byte, cause, error) {
	from, why := &m.crates, noCrate
	if s.Registry != entry.DefaultRegistry {
		from, why = &m.cached, otherRegistry
	}
	raw, err := from.fetch(ctx, build.Crate{Name: s.Name, Version: s.Version, Registry: s.Registry, SHA256: s.SHA256})
	return raw, why, err
}

// verify checks that an entry's proof shows what it claims of a .crate.
func (m *mirror) verify(e *entry.Entry, claim *entry.Source, archive []byte) (*crate.List, error) {
	c, err := crate.Read(archive, e.Subject.Name, e.Subject.Version, crate.DefaultLimits)
	if err != nil {
		return nil, err
	}
	list, err := c.Check(e.Subject, claim)
	if err != nil {
		return nil, err
	}
	return list, entry.Check(m.proofs, e, list.Bytes)
}

// opening returns FROM's opening of an entry, if it has one that holds.
func (m *mirror) opening(ctx context.Context, e *entry.Entry, claim *entry.Source, list *crate.List,
	what string) []byte {
	id, err := e.Identity()
	if err != nil {
		return nil
	}
	raw, err := m.from.Opening(ctx, id)
	if err == nil {
		_, err = opening.Check(raw, claim, list)
	}
	if err != nil {
		if !errors.Is(err, client.ErrNotLogged) && ctx.Err() == nil {
			m.warn("%s is moved without its opening: %v", what, err)
		}
		return nil
	}
	return raw
}

// carried is an entry to be submitted.
type carried struct {
	what                  string
	entry, crate, opening []byte
}

func (m *mirror) submit(ctx context.Context, e *entry.Entry, s carried) error {
	bundle, err := publish.Submit(ctx, m.to, publish.Submission{Entry: s.entry, Crate: s.crate, Opening: s.opening,
		Without: func(why error) { m.warn("TO does not keep the opening of %s: %v", s.what, why) }})
	if err == nil {
		_, _, err = publish.CheckAnswer(e, bundle)
		err = outcome.Refuse(err)
	}
	_, unlisted := publish.Unlisted(err)
	switch {
	case err == nil:
		m.end(moved, s.what)
	case unlisted, publish.Unregistered(err):
		m.end(notListed, s.what+": "+err.Error())
	case ctx.Err() != nil || outcome.Of(err) != outcome.Refused:
		return err
	default:
		m.end(notTaken, s.what+": "+err.Error())
	}
	return nil
}

func (m *mirror) warn(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sh.Warn(format, args...)
}

// end notes what became of an entry.
func (m *mirror) end(c cause, what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended[c] = append(m.ended[c], what)
	if c == moved && m.sh.verbose {
		m.sh.Status("Moved", "%s", what)
	}
}

// report tells what became of all, by cause.
func (m *mirror) report() {
	for c := aboutBuild; c <= notListed; c++ {
		all := m.ended[c]
		if len(all) == 0 {
			continue
		}
		slices.Sort(all) // they ended in any order
		const most = 5
		shown := all[:min(len(all), most)]
		if m.sh.verbose {
			shown = all
		}
		text := ""
		for _, what := range shown {
			text += "\n" + printable(what)
		}
		if n := len(all) - len(shown); n > 0 {
			text += fmt.Sprintf("\nand %d more, which -v names", n)
		}
		be := "entries are"
		if len(all) == 1 {
			be = "entry is"
		}
		m.sh.Warn("%d %s %s%s", len(all), be, causes[c], text)
	}
	m.sh.Status("Finished", "%d moved, %d were there", len(m.ended[moved]), len(m.ended[there]))
}

// outcome is the verb's exit code: what was passed over is no failure.
func (m *mirror) outcome() error {
	no := len(m.ended[otherProgram]) + len(m.ended[untrue]) + len(m.ended[notTaken]) + len(m.ended[notListed])
	switch missing := len(m.ended[noCrate]); {
	case no > 0:
		return outcome.Refusef("%d entries do not verify, or are not taken", no)
	case missing > 0:
		return fmt.Errorf("%d .crates could not be had", missing)
	}
	return nil
}
