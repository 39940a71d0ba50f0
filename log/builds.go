package log

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"cratelog/build"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
)

// Builds says which build claims a log takes. The zero value takes none.
type Builds struct {
	// Sets are the sets of builders whose members may speak. The set of an entry that stands must
	// be here for ever.
	Sets []*build.Set
	// Withdrawn are roots of Sets under which nothing new is accepted.
	Withdrawn [][32]byte
	// Toolchains and Environments are the ids that a claim may have. A builder can make a
	// new request out of each, so this is what bounds how much he may say.
	Toolchains, Environments [][32]byte
}

// any says whether build claims are taken at all.
func (b *Builds) any() bool {
	return len(b.Sets) > 0 && len(b.Toolchains) > 0 && len(b.Environments) > 0
}

// builderSet is a set with what is computed of it once.
type builderSet struct {
	*build.Set
	root      [32]byte
	file      []byte
	members   int
	withdrawn bool
}

// openBuilds checks the settings for builds.
func (l *Log) openBuilds(context.Context) error {
	b := &l.cfg.Builds
	for _, s := range b.Sets {
		file, err := s.Marshal()
		if err != nil {
			return fmt.Errorf("builds: %w", err)
		}
		root := s.Root()
		if other := l.sets[root]; other != nil {
			return fmt.Errorf("builds: the sets %s and %s have the same root, which is that of their keys: name one of them",
				other.Name, s.Name)
		}
		l.sets[root] = &builderSet{Set: s, root: root, file: file, members: s.Size(),
			withdrawn: slices.Contains(b.Withdrawn, root)}
		l.setOrder = append(l.setOrder, root)
	}
	for _, root := range b.Withdrawn {
		if l.sets[root] == nil {
			return fmt.Errorf("builds: the set with the root %x is withdrawn, but it is none of sets: keep its file there, "+
				"so that the log can show who contradicts himself", root)
		}
	}
	if len(b.Sets) > 0 && !b.any() {
		return errors.New("builds: sets are named, but no toolchains or no environments, so that no build claim would be " +
			"taken; `cargo zkp toolchain` and `cargo zkp environment` print ids")
	}
	return nil
}

// checkRoots wants the set of every root that the tree's entries name to be known: without it the log
// could not show a contradiction.
func (l *Log) checkRoots(ctx context.Context) error {
	roots, err := l.index.roots(ctx)
	if err != nil {
		return err
	}
	for _, root := range roots {
		if l.sets[root] == nil {
			return fmt.Errorf("entries of this log name the set of builders with the root %x, which the settings do not: put "+
				"its file back into sets of [builds], and its root into withdrawn if nothing new is to be accepted under it", root)
		}
	}
	return nil
}

// checkSettings decides whether the log takes a build claim of this set, toolchain and environment.
func (l *Log) checkSettings(s *submission) error {
	b := &l.cfg.Builds
	if !b.any() {
		return refuse(BuildRefused, nil, "This log takes no build claims: its settings name no set of builders.")
	}
	c := s.build
	set := l.sets[c.Root]
	switch {
	case set == nil:
		return refuse(BuildRefused, nil, "This log takes no claims of the set of builders with the root %x. It takes "+
			"those of %s.",
			c.Root, l.setList())
	case set.withdrawn:
		return refuse(SetWithdrawn, nil, "This log takes nothing new of the set of builders %s with the root %x, which "+
			"was withdrawn. It takes claims of %s.", set.Name, c.Root, l.setList())
	case (set.Kind == build.Named) != (s.program == build.NamedProgram):
		return refuse(BuildRefused, nil, "The set of builders %s is %s, and the program of the proof is for sets that are "+
			"not.",
			set.Name, set.Kind)
	case !slices.Contains(b.Toolchains, c.Toolchain):
		return refuse(BuildRefused, nil, "This log takes no builds with the toolchain %x. It takes those with %s.",
			c.Toolchain,
			list(b.Toolchains))
	case !slices.Contains(b.Environments, c.Environment):
		return refuse(BuildRefused, nil, "This log takes no builds in the environment %x. It takes those in %s.",
			c.Environment,
			list(b.Environments))
	case c.Recipe != entry.Recipe1:
		return refuse(BuildRefused, nil, "This log takes no builds by the recipe %d. It takes those by the recipe %d.",
			c.Recipe,
			entry.Recipe1)
	}
	return nil
}

// setList names the sets whose claims the log takes.
func (l *Log) setList() string {
	var names []string
	for _, root := range l.setOrder {
		if set := l.sets[root]; !set.withdrawn {
			names = append(names, fmt.Sprintf("%s (%x)", set.Name, root))
		}
	}
	return some(names)
}

func list(ids [][32]byte) string {
	var names []string
	for _, id := range ids {
		names = append(names, fmt.Sprintf("%x", id))
	}
	return some(names)
}

// some joins the first few of a list for a sentence.
func some(names []string) string {
	const most = 8
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > most:
		return strings.Join(names[:most], ", ") + " and others; /v1/log lists all"
	}
	return strings.Join(names, ", ")
}

// SubmitBuild is Submit of an entry with a build claim. list yields the bytes of its list of compiled
// crates. source yields a bundle of a source claim about the same .crate, of a log that the
// trust file names, or no byte if such a claim stands in this log; it may be nil, and is read after
// the list.
func (l *Log) SubmitBuild(ctx context.Context, entryBytes []byte, list, source io.Reader) (bundle []byte, err error) {
	s, err := l.parse(entryBytes)
	if err == nil && s.build == nil {
		err = refuse(MalformedRequest, nil, "The parts of a claim about sources are entry, crate and perhaps opening.")
	}
	return l.submitted(ctx, s, err, list, source)
}

// checkBuild decides whether the log takes a build claim: settings and proof first, so that nothing is
// read that no proof stands for. What the tag says is decided after all that, where no other
// submission can come in between: by reserve.
func (l *Log) checkBuild(ctx context.Context, s *submission, list, source io.Reader) error {
	if err := l.checkSettings(s); err != nil {
		return err
	}
	defer closeAll(list, source)
	l.metrics.checking.Inc()
	defer l.metrics.checking.Dec()
	if _, err := l.checkProof(ctx, s); err != nil {
		return err
	}
	turn, err := l.door.cores.begin(ctx, clientOf(ctx), 0, false)
	if err != nil {
		return l.noTurn(err)
	}
	defer turn.end()
	if s.crates, err = readList(s, list); err != nil {
		return err
	}
	if err := l.checkSource(ctx, s, source); err != nil {
		return err
	}
	s.proved = true
	return nil
}

// readList reads the list of compiled crates, and holds it to the claim's digest before it parses it.
func readList(s *submission, r io.Reader) ([]byte, error) {
	raw, err := readPart(r, build.MaxList, ListTooLarge, "list of compiled crates")
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(raw); sum != s.build.Compiled {
		return nil, refuse(ListRefused, nil, "The list of compiled crates has the SHA-256 %x, but the claim is of %x.", sum,
			s.build.Compiled)
	}
	crates, err := build.ParseList(raw)
	if err != nil {
		return nil, refuse(ListRefused, err, "The list of compiled crates is refused: %v.", err)
	}
	own := s.entry.Subject
	for _, c := range crates {
		if c.Registry == own.Registry && c.Name == own.Name && c.Version == own.Version {
			return nil, refuse(ListRefused, nil, "The list of compiled crates is refused: it has %v itself, whose binary it "+
				"is about.",
				keyOf(own))
		}
	}
	return raw, nil
}

// keepMissingList keeps the list of an entry that stands, where the log lost it.
func (l *Log) keepMissingList(ctx context.Context, s *submission, r io.Reader) error {
	if _, kept, err := l.builds.list(ctx, s.build.Compiled); kept || err != nil && !errors.Is(err, errDamaged) {
		return err
	}
	raw, err := readList(s, r)
	if err == nil {
		_, err = l.builds.putList(ctx, raw)
	}
	if err == nil {
		l.damages.report(listName(s.build.Compiled), nil)
	}
	return err
}

// checkSource wants a source claim about the same .crate: in the tree, which then has it at a lower
// index, or in a bundle.
func (l *Log) checkSource(ctx context.Context, s *submission, r io.Reader) error {
	bundle := []byte(nil)
	if r != nil {
		var err error
		if bundle, err = readPart(r, client.MaxBundleSize, SourceRefused, "bundle of the source claim"); err != nil {
			return err
		}
	}
	if len(bundle) > 0 {
		return l.checkSourceBundle(s, bundle)
	}
	stands, err := l.index.hasSource(ctx, s.entry.Subject)
	if err == nil && !stands {
		err = refuse(SourceMissing, nil, "This log holds no claim about the sources of %v with the checksum %x: log that "+
			"first, or submit its bundle of another log, one that this log's trust file names, as the part source.",
			keyOf(s.entry.Subject),
			s.entry.Subject.SHA256)
	}
	return err
}

func (l *Log) checkSourceBundle(s *submission, bundle []byte) error {
	e, err := l.openSource(bundle)
	switch {
	case err != nil:
		return refuse(SourceRefused, err, "The bundle of the source claim is refused: %v.", err)
	case e.Subject != s.entry.Subject:
		return refuse(SourceRefused, nil, "The bundle of the source claim is about %v with the checksum %x, and the build "+
			"about %v with the checksum %x.", keyOf(e.Subject), e.Subject.SHA256, keyOf(s.entry.Subject), s.entry.Subject.SHA256)
	}
	return nil
}

// openSource verifies a bundle with a source claim. What may stay unproven, or have other line ends, is
// the reader's choice.
func (l *Log) openSource(bundle []byte) (*entry.Entry, error) {
	r, err := client.OpenBundle(bundle, l.policy, client.Rules{})
	if err != nil {
		return nil, err
	}
	if _, ok := r.Entry.Claim.(*entry.Source); !ok {
		return nil, fmt.Errorf("its claim is of the kind %q", r.Entry.Claim.Kind())
	}
	_, err = l.proofs.ChainOf(r.Entry, entry.LeafHash(r.EntryBytes))
	return r.Entry, err
}

// builderStanding looks at what stands of the same build: did the same builder say something else, or
// has his set said all it can? The proof of s was checked.
func (l *Log) builderStanding(ctx context.Context, s *submission) error {
	other, found, err := l.index.otherResult(ctx, s.built)
	if err != nil {
		return err
	}
	if found {
		return &contradictionError{other.idx}
	}
	set, k := l.sets[s.root], keyOf(s.entry.Subject)
	most := set.members
	n, err := l.index.countBuilds(ctx, k, s.built, s.program, most)
	if err == nil && n >= most {
		err = refuse(TooManyBuilds, nil, "The log holds %d claims about this build of %v of the set of builders %s, which "+
			"has as many members, and takes no more.", n, k, set.Name)
	}
	if err != nil {
		return err
	}
	most = min(cmp.Or(l.cfg.testingOnlyPerMember, maxPerMember)*set.members, maxPerVersion)
	n, err = l.index.countOf(ctx, k, s.root, most, "")
	if err == nil && n >= most {
		err = refuse(TooManyBuilds, nil, "The log holds %d claims about builds of %v of the set of builders %s, and takes "+
			"no more of them: a set of %d members may say so much about all binaries of a version. "+
			"/v1/crates/NAME/VERSION/builds lists them.",
			n, k, set.Name, set.members)
	}
	return err
}

// A member can make a request of any name of a binary, target and lock file, so the members of a set
// are bounded by version as well: to maxPerMember claims of each, on average since hidden
// ones cannot be told apart, and to maxPerVersion together, which a joined file can hold.
const (
	maxPerMember  = 32
	maxPerVersion = 4096
)

// contradictionError says that a builder contradicts what he said in an entry that stands.
type contradictionError struct{ idx uint64 }

func (e *contradictionError) Error() string {
	return fmt.Sprintf("the builder has said something else in entry %d", e.idx)
}

// contradiction keeps the evidence against a builder, and returns the refusal that shows it.
func (l *Log) contradiction(ctx context.Context, s *submission, idx uint64) error {
	n, err := l.keepContradiction(ctx, s, idx)
	if err != nil {
		return err
	}
	l.metrics.builders.Inc()
	l.log.Warn("a builder contradicts himself", "crate", keyOf(s.entry.Subject).String(), "entry", idx, "contradiction", n)
	r := refuse(BuilderContradiction, nil, "The builder with the tag %x has said something else of this build, in "+
		"entry %d. The log takes one of the two, and keeps both as evidence: /v1/contradictions/%d.", s.tag, idx, n)
	r.Index = &idx
	if r.Bundle, err = l.awaitBundle(ctx, idx); err != nil {
		l.log.Warn("no bundle for a contradiction", "index", idx, "err", err)
	}
	return r
}

func (l *Log) keepContradiction(ctx context.Context, s *submission, idx uint64) (int64, error) {
	if n, found, err := l.builds.contradicts(ctx, s.request, s.tag); err != nil || found {
		return n, err
	}
	state, err := l.tree.State(ctx)
	if err != nil {
		return 0, err
	}
	data, err := entryAt(ctx, idx, state.Size, l.tree.ReadEntryBundle)
	if err != nil {
		return 0, err
	}
	other, err := entry.Parse(data)
	if err != nil {
		return 0, err
	}
	var sets [][]byte
	for _, root := range l.setOrder {
		sets = append(sets, l.sets[root].file)
	}
	program, err := l.programFile(s.program, other.Proof.Program)
	if err != nil {
		return 0, err
	}
	e, err := evidence.NewBuilderContradiction(s.raw, data, sets, program, evidence.Meta{Observed: time.Now(),
		Sources: []string{"log " + l.cfg.Origin, fmt.Sprintf("entry %d, and a submission that was refused", idx)}})
	if err != nil {
		return 0, err
	}
	file, err := e.Marshal()
	if err != nil {
		return 0, err
	}
	return l.builds.putContradiction(ctx, s.request, s.tag, file)
}

// programFile returns the file of the first of some programs that has one.
func (l *Log) programFile(ids ...[32]byte) ([]byte, error) {
	for _, p := range l.cfg.Proofs.Programs() {
		if slices.Contains(ids, p.ID()) {
			return p.Marshal()
		}
	}
	return nil, nil
}
