package verdict

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/build"
	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
)

// Binary is a file of which is asked whether it is what a crate compiles to.
type Binary struct {
	SHA256 [sha256.Size]byte // of the file
	Joined []byte            // what is logged about it; see client.Joined

	// Package is the crate that the reader wants. Without a name it is the one that the joined
	// file is about: then the reader must look whose binary it is.
	Package policy.Package
	Name    string // of the binary; "" for any of the crate's

	// Crate returns the .crate with the checksum of a Crate, or nil if it is not at hand; an
	// error says why. It is asked for the crate itself and for each that was compiled into it, for
	// several at a time.
	Crate func(ctx context.Context, c build.Crate) ([]byte, error)
}

// A Built is what was verified about a binary: it is what the compiler makes of the crate, as enough
// members of the policy's set say.
type Built struct {
	Claim   entry.Build // as those say who agree; Tag is zero
	Subject entry.Subject
	Request [32]byte

	Set     string // name
	Hidden  bool   // nobody learns who the members are
	Of      int    // so many members could have said so
	Agree   []Said
	Dissent []Said  // of the same build, with another result; not more than the policy tolerates
	Others  []Other // results of other builds of this binary: with another compiler or environment

	Log     string    // origin
	Size    int64     // of the checkpoint
	AsOf    time.Time // when the witnesses' quorum cosigned it; zero without witnesses
	Offline bool      // its age was not held against the policy

	Commit   string // of the crate's source
	Facts    *Facts // of the crate itself
	ByCommit bool   // the commit's own lock file chose the versions of what was compiled
	Compiled []Compiled
	Notes    []string
}

// Said is what one member said.
type Said struct {
	Index    uint64   // of the entry
	Member   string   // name; "" in a hidden set
	Artifact [32]byte // SHA-256 of the binary that he made
}

// Other is how often a result was said under another request, or under the same one by whoever does not count.
type Other struct {
	Artifact, Toolchain, Environment [32]byte

	Same    bool // it is the same build, and another result
	Listed  bool // the set is the policy's, and so are toolchain and environment
	Entries int
}

// Compiled is one crate that was compiled into the binary.
type Compiled struct {
	build.Crate
	Proven   bool
	Excepted bool   // the policy makes an exception
	Commit   string // if it is proven
	Why      string // a phrase, if it is not
}

// Build decides whether a binary is what the policy asks for. The error is a *Error.
func (c *Checker) Build(ctx context.Context, b Binary) (*Built, error) {
	v := &builds{c: c, p: c.cfg.Policy.Builds, b: b, out: &Built{Offline: c.cfg.Offline}}
	if err := v.run(ctx); err != nil {
		e := Explain(err)
		if e.Status = Violation; v.unchecked {
			e.Status = Unchecked
		}
		return nil, e
	}
	return v.out, nil
}

// Open verifies that a log that is trusted holds what a joined file says, however old it is. Proofs and sources are
// not looked at. The error is a *Error.
func (c *Checker) Open(joined []byte) (*client.Joined, *client.Logged, error) {
	v := &builds{c: c}
	file, err := client.ParseJoined(joined)
	if err == nil {
		err = v.from(file)
	}
	if err == nil {
		v.seen, err = file.Check(v.src.trust.Policy, client.Rules{AllowNoWitnesses: c.cfg.Policy.Development})
	}
	if err != nil {
		e := Explain(err)
		if e.Status = Violation; v.unchecked {
			e.Status = Unchecked
		}
		return nil, nil, e
	}
	return file, v.seen, nil
}

// Proves returns nil if the proof of a build entry holds. The error is entry.ErrUnknownProgram if the policy
// does not accept its program.
func (c *Checker) Proves(e *entry.Entry) error {
	_, errs := c.builds.Chains([]*entry.Entry{e})
	return errs[0]
}

// builds is one decision about a binary.
type builds struct {
	c    *Checker
	p    *policy.Builds
	b    Binary
	out  *Built
	file *client.Joined
	seen *client.Logged
	src  *source // log of the file

	said []statement // of members who count, verified

	crate *crate.Crate // the .crate itself

	unchecked bool // the error is no answer
	unsure    bool // a log did not say whether it holds some source
}

// statement is a build entry whose proof holds.
type statement struct {
	Said
	claim           *entry.Build
	request, result [32]byte
}

func (v *builds) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{v.open, v.listen, v.count, v.settle, v.compile} {
		if err := ctx.Err(); err != nil {
			v.unchecked = true
			return interrupted(err)
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// open verifies that a log holds what the file says.
func (v *builds) open(context.Context) (err error) {
	if v.p == nil {
		v.unchecked = true
		at := v.c.cfg.Policy.Path
		return refuse(ErrNoBuilds, "Write [builds] into "+cmp.Or(at, "a zkp.toml, which \"cargo zkp init\" makes")+
			", with the set of builders that you believe", "the policy names no set of builders, so nobody is "+
			"believed about binaries")
	}
	if v.file, err = client.ParseJoined(v.b.Joined); err != nil {
		return err
	}
	if err := v.from(v.file); err != nil {
		return err
	}
	origin := client.Origin(v.file.Checkpoint)
	if v.p.Log != "" && origin != v.p.Log {
		return refuse(client.ErrLog, "Get what that log shows", "the file is of the log %.100q, and for builds "+
			"only the log %q counts",
			origin, v.p.Log)
	}
	rules := client.Rules{MaxAge: v.p.MaxAge, Now: v.c.cfg.Now(), AllowNoWitnesses: v.c.cfg.Policy.Development}
	if v.c.cfg.Offline || v.c.cfg.Policy.Development && !v.src.trust.Policy.NeedsWitnesses() {
		rules.MaxAge = 0
	}
	if v.seen, err = v.file.Check(v.src.trust.Policy, rules); err != nil {
		if errors.Is(err, client.ErrStale) {
			return refuse(err, "Get it again from the log, since members may have said otherwise; max-age under "+
				"[builds] says how old "+
				"it may be, and --offline prints how old it is", "%s", Explain(err).Message)
		}
		return err
	}
	ck := v.seen.Checkpoint
	v.out.Log, v.out.Size, v.out.AsOf, v.out.Subject = ck.Origin, ck.Size, ck.Witnessed, v.seen.Subject
	return v.wanted()
}

// from finds the log of a file.
func (v *builds) from(file *client.Joined) error {
	if v.src = v.c.heads.sources[client.Origin(file.Checkpoint)]; v.src != nil {
		return nil
	}
	if len(v.c.sources) == 0 {
		v.unchecked = true
		return noLog(v.c.cfg.Policy)
	}
	v.src = v.c.sources[0] // which refuses it in its own words
	return nil
}

// wanted holds the file's subject against the crate that the reader wants.
func (v *builds) wanted() error {
	s, want, name := v.seen.Subject, v.b.Package, v.seen.Builds[0].Claim.Binary
	if want.Name == "" {
		v.b.Package = policy.Package{Name: s.Name, Version: s.Version}
		if s.Registry != entry.DefaultRegistry {
			v.b.Package.Registry = s.Registry
		}
	} else if rules := v.c.cfg.Policy.RulesFor(want, v.c.cfg.Now()); s.Name != want.Name ||
		s.Version != want.Version || s.Registry != rules.Registry {
		return &client.Error{Reason: client.ErrSubject, What: fmt.Sprintf("the entries are about binaries of %s "+
			"%s of the registry %q, "+
			"wanted is %s %s of %q", s.Name, s.Version, s.Registry, want.Name, want.Version, rules.Registry)}
	}
	if v.b.Name != "" && name != v.b.Name {
		return &client.Error{Reason: client.ErrSubject, What: fmt.Sprintf("the entries are about the binary %s of "+
			"%s, wanted is %s", name,
			s.Name, v.b.Name)}
	}
	return nil
}

// listen verifies what members of the policy's set say.
func (v *builds) listen(context.Context) error {
	strangers, late, without, unknown := 0, 0, map[string]bool{}, 0
	var ours []client.LoggedBuild
	var entries []*entry.Entry
	for _, l := range v.seen.Builds {
		switch {
		case l.Claim.Root != v.p.Root:
			strangers++
		case !v.p.Counts(l.Index):
			late++
		default:
			ours, entries = append(ours, l), append(entries, l.Entry)
		}
	}
	_, errs := v.c.builds.Chains(entries)
	for i, l := range ours {
		switch err := errs[i]; {
		case errors.Is(err, entry.ErrUnknownProgram):
			unknown++
			continue
		case err != nil:
			return &client.Error{Reason: client.ErrProof, What: fmt.Sprintf("entry %d of %s, a member's of the "+
				"set %s", l.Index, v.out.Log,
				v.p.Set.Name), Err: err}
		}
		s := statement{Said: Said{l.Index, "", l.Claim.Artifact}, claim: l.Claim, result: l.Claim.Result()}
		var err error
		if s.request, err = l.Claim.Request(l.Entry.Subject); err != nil {
			return err
		}
		if named := l.Entry.Proof.Program == build.NamedProgram; named != (v.p.Set.Kind == build.Named) {
			return &client.Error{Reason: client.ErrProof, What: fmt.Sprintf("entry %d of %s is not signed as "+
				"members of the %s set %s sign",
				l.Index, v.out.Log, v.p.Set.Kind, v.p.Set.Name)}
		} else if named {
			if s.Member, err = build.VerifyNamed(l.Entry); err != nil {
				return &client.Error{Reason: client.ErrProof, What: fmt.Sprintf("entry %d of %s", l.Index,
					v.out.Log), Err: err}
			}
			if slices.Contains(v.p.Without, s.Member) {
				without[s.Member] = true
				continue
			}
		}
		v.said = append(v.said, s)
	}
	v.note(len(v.seen.Elsewhere) > 0, "%s about the same .crate under another name or registry: they do not count",
		entriesAre(len(v.seen.Elsewhere)))
	v.note(late > 0, "%s at or behind the index %d, where the policy ends the set %s: they do not count",
		entriesStand(late), v.p.Until, v.p.Set.Name)
	v.note(unknown > 0, "%s under a program that the policy does not accept: they do not count", entriesStand(unknown))
	v.note(strangers > 0, "%s of sets that the policy does not list: they do not count", entriesAre(strangers))
	for _, name := range v.p.Without {
		v.note(without[name], "%s speaks of it, and does not count any more: the policy says without", name)
	}
	return v.heard(unknown, late+len(without))
}

// heard refuses if nobody who counts made this binary, and says why.
func (v *builds) heard(unknown, ended int) error {
	ours := v.artifacts(func(l client.LoggedBuild) bool { return l.Claim.Root == v.p.Root })
	all := v.artifacts(func(client.LoggedBuild) bool { return true })
	mine := func(s statement) bool { return s.Artifact == v.b.SHA256 }
	switch {
	case slices.ContainsFunc(v.said, mine):
		return nil
	case slices.Contains(ours, v.b.SHA256) && ended > 0:
		return refuse(ErrBuilders, "Rebuild it with cargo zkp rebuild, or get what members say who count", "only "+
			"members who do not count any "+
			"more, or entries at or behind the index where the policy ends the set %s, say that this is %s",
			v.p.Set.Name, v.whose())
	case slices.Contains(ours, v.b.SHA256) && unknown > 0:
		return refuse(client.ErrProgram, "If you trust whoever made that program's key, name its file under "+
			"programs in zkp.toml; a newer version "+
			"of this tool may hold it", "members of the set %s say that this is %s only under a program that the "+
			"policy does not accept", v.p.Set.Name,
			v.whose())
	case slices.Contains(all, v.b.SHA256):
		return refuse(ErrBuilders, "Believe another set only if you know who is in it", "this is %s only as "+
			"members of sets say that the policy "+
			"does not list: of the set %s nobody does", v.whose(), v.p.Set.Name)
	}
	others := ours
	if len(others) == 0 {
		others = all
	}
	made := make([]string, 0, 3)
	for _, a := range others[:min(len(others), 3)] {
		made = append(made, fmt.Sprintf("%x", a))
	}
	return refuse(ErrAnotherBinary, "Do not run it. Download it again; if it stays like this, it was not made "+
		"from this crate alone",
		"this binary has the SHA-256 %x, and no builder made that of %s: they made %s", v.b.SHA256, v.whose(),
		strings.Join(made, ", "))
}

// whose names the binary that the file is about.
func (v *builds) whose() string {
	b := v.seen.Builds[0].Claim
	return fmt.Sprintf("%s of %s %s for %s", b.Binary, v.seen.Subject.Name, v.seen.Subject.Version, b.Target)
}

// artifacts returns the binaries that some entries are about, each once.
func (v *builds) artifacts(of func(client.LoggedBuild) bool) (all [][32]byte) {
	for _, l := range v.seen.Builds {
		if of(l) && !slices.Contains(all, l.Claim.Artifact) {
			all = append(all, l.Claim.Artifact)
		}
	}
	return all
}

// count finds the build for which most members say that the binary is its result.
func (v *builds) count(context.Context) error {
	var best *votes
	var why error
	type said struct{ request, result [32]byte }
	seen := map[said]bool{}
	for i := range v.said {
		s := &v.said[i]
		if s.Artifact != v.b.SHA256 || seen[said{s.request, s.result}] {
			continue
		}
		seen[said{s.request, s.result}] = true
		if err := v.fits(s.claim); err != nil {
			why = cmp.Or(why, err)
			continue
		}
		if x := v.votes(s); best == nil || best.less(x) {
			best = x
		}
	}
	if best == nil {
		return why
	}
	v.out.Claim, v.out.Request, v.out.Agree, v.out.Dissent = *best.claim, best.request, best.agree, best.dissent
	v.out.Claim.Tag = [32]byte{}
	v.out.Set, v.out.Hidden, v.out.Of = v.p.Set.Name, v.p.Set.Kind == build.Hidden, v.p.Members()
	v.others(best.request, best.claim.Result())
	return best.judge(v)
}

// fits says what the policy has against how a binary was built.
func (v *builds) fits(b *entry.Build) error {
	switch at := v.c.cfg.Policy.Path; {
	case !slices.Contains(v.p.Toolchains, b.Toolchain):
		return refuse(ErrToolchain, "Compare it with what \"cargo zkp toolchain\" prints, and with what the set "+
			"publishes",
			"it was built with the toolchain %x, which %s does not list", b.Toolchain, at)
	case !slices.Contains(v.p.Environments, b.Environment):
		return refuse(ErrEnvironment, "Compare it with what \"cargo zkp environment\" prints, and with what the "+
			"set publishes",
			"it was built in the environment %x, which %s does not list", b.Environment, at)
	case b.Recipe != entry.Recipe1:
		return refuse(ErrEnvironment, "Update this tool", "it was built by recipe %d, and only recipe %d is "+
			"known", b.Recipe, entry.Recipe1)
	}
	return nil
}

// votes are what members say about one build, each member once.
type votes struct {
	claim          *entry.Build
	request        [32]byte
	agree, dissent []Said
}

// less prefers more members, and then fewer who say otherwise.
func (x *votes) less(y *votes) bool {
	return len(x.agree) < len(y.agree) || len(x.agree) == len(y.agree) && len(x.dissent) > len(y.dissent)
}

// votes counts tags. A member who said two things about one build says otherwise.
func (v *builds) votes(of *statement) *votes {
	x := &votes{claim: of.claim, request: of.request}
	otherwise := map[[32]byte]bool{}
	for _, s := range v.said {
		if s.request == of.request && s.result != of.result {
			if !otherwise[s.claim.Tag] {
				x.dissent = append(x.dissent, s.Said)
			}
			otherwise[s.claim.Tag] = true
		}
	}
	for _, s := range v.said {
		if s.request == of.request && s.result == of.result && !otherwise[s.claim.Tag] {
			otherwise[s.claim.Tag] = true
			x.agree = append(x.agree, s.Said)
		}
	}
	return x
}

func (x *votes) judge(v *builds) error {
	if n := len(x.dissent); n > v.p.Tolerate {
		result := fmt.Sprintf("%x", x.dissent[0].Artifact)
		if x.dissent[0].Artifact == v.b.SHA256 {
			result = "the same binary, of other crates"
		}
		return refuse(ErrDissent, "Rebuild it with cargo zkp rebuild, which shows who is right; cargo zkp install "+
			"does that by itself",
			"%d of %d of set %s say that this is %s, and %d say that the same build makes another result: %s "+
				"(entry %d)%s; the policy tolerates %d",
			len(x.agree), v.p.Members(), v.p.Set.Name, v.whose(), n, result, x.dissent[0].Index, names(x.dissent),
			v.p.Tolerate)
	}
	if n := len(x.agree); n < v.p.Need {
		return refuse(ErrTooFew, "Wait until more have built it, or rebuild it with cargo zkp rebuild",
			"%d of %d of set %s say that this is %s, and the policy needs %d", n, v.p.Members(), v.p.Set.Name,
			v.whose(), v.p.Need)
	}
	return nil
}

// names lists members who have names.
func names(all []Said) string {
	var out []string
	for _, s := range all {
		if s.Member != "" {
			out = append(out, s.Member)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return ", by " + few(out)
}

// others notes what came out of other builds of the same binary, whoever says so, and what those say of this build
// who do not count.
func (v *builds) others(request, result [32]byte) {
	counts := map[uint64]bool{}
	for _, s := range v.said {
		counts[s.Index] = true
	}
	at := map[Other]int{}
	for _, l := range v.seen.Builds {
		r, err := l.Claim.Request(l.Entry.Subject)
		if err != nil || r == request && (l.Claim.Result() == result || counts[l.Index]) {
			continue
		}
		o := Other{Artifact: l.Claim.Artifact, Toolchain: l.Claim.Toolchain, Environment: l.Claim.Environment, Same: r == request,
			Listed: r != request && l.Claim.Root == v.p.Root && v.fits(l.Claim) == nil}
		i, known := at[o]
		if !known {
			i = len(v.out.Others)
			at[o], v.out.Others = i, append(v.out.Others, o)
		}
		v.out.Others[i].Entries++
	}
	// Those that the policy would believe first: of the others anybody can make as many as he likes.
	slices.SortStableFunc(v.out.Others, func(a, b Other) int { return cmp.Compare(rank(a), rank(b)) })
}

func rank(o Other) int {
	if o.Listed {
		return 0
	}
	return 1
}

// settle compares the checkpoint with what the log showed before.
func (v *builds) settle(ctx context.Context) error {
	s := v.seen.Subject
	out := v.c.settled(ctx, Want{Name: s.Name, Version: s.Version}, v.seen.Checkpoint)
	v.out.Notes, v.unchecked = append(v.out.Notes, out.Notes...), out.Status == Unchecked && out.Err != nil
	return out.Err
}

// settled compares checkpoints, which are verified, of one log with what that showed before, and with each other.
func (c *Checker) settled(ctx context.Context, w Want, all ...client.Checkpoint) (v Verdict) {
	var items []*item
	for _, at := range all {
		items = append(items, &item{c: c, verdict: &v, state: holding, want: w, result: &client.Result{Checkpoint: at}})
	}
	c.heads.settle(ctx, items)
	return v
}

// compile verifies the source of the crate, and of what was compiled into it.
func (v *builds) compile(ctx context.Context) error {
	list, err := v.list()
	if err != nil {
		return err
	}
	s := v.seen.Subject
	raw, err := v.b.Crate(ctx, build.Crate(s))
	if raw == nil {
		v.unchecked = true
		why := ""
		if err != nil {
			why = ": " + err.Error()
		}
		return refuse(ErrNotDownloaded, "Get it with cargo fetch, or name a directory that has it with --crates",
			"the .crate of %s %s with "+
				"the SHA-256 %x is not at hand, and without it nothing shows what its source is%s", s.Name, s.Version,
			s.SHA256, why)
	}
	own := v.prove(ctx, []build.Crate{build.Crate(s)}, [][]byte{raw})[0]
	if own.Status != Verified {
		v.unchecked = own.Status == Unchecked
		return own.Err
	}
	v.out.Facts, v.out.Commit = own.Facts, own.Facts.Commit
	v.out.Notes = append(v.out.Notes, own.Notes...)
	if v.crate, err = crate.ReadHashed(raw, s.SHA256, s.Name, s.Version, limits); err != nil {
		return unreadable("the .crate of "+s.Name, err)
	}
	lock, err := v.lock()
	if err != nil {
		return err
	}
	if err := locked(lock, list); err != nil {
		return err
	}
	if v.out.ByCommit, err = v.chosen(own); err != nil {
		return err
	}
	if err := v.sources(ctx, list); err != nil {
		return err
	}
	return v.enough()
}

// list reads the list of what was compiled.
func (v *builds) list() (build.List, error) {
	if sum := sha256.Sum256(v.file.List); sum != v.out.Claim.Compiled {
		return nil, refuse(client.ErrJoined, "Get it again", "its list of compiled crates has the SHA-256 %x, and "+
			"the builders say %x", sum,
			v.out.Claim.Compiled)
	}
	list, err := build.ParseList(v.file.List)
	if err != nil {
		return nil, refuse(both(client.ErrJoined, err), "Tell the set that its builders attest such a list", "the "+
			"builders' list of compiled "+
			"crates is not one: %v", err)
	}
	return list, nil
}

// lock reads the lock file in the .crate, which decides what cargo compiles.
func (v *builds) lock() (*cargo.Lock, error) {
	var text []byte
	err := v.crate.Contents([]string{"Cargo.lock"}, cargo.MaxLock, func(_ crate.File,
		content []byte) {
		text = bytes.Clone(content)
	})
	if err != nil || text == nil {
		return nil, refuse(ErrLock, "Do not use the binary", "the .crate of %s has no Cargo.lock, so nothing says "+
			"what it is compiled with",
			v.crate.Name)
	}
	if sum := sha256.Sum256(text); sum != v.out.Claim.Lock {
		return nil, refuse(ErrLock, "Do not use the binary: it was built with other versions than the crate "+
			"names", "the Cargo.lock in the "+
			".crate has the SHA-256 %x, and the builders built with %x", sum, v.out.Claim.Lock)
	}
	lock, err := cargo.ParseLock(text)
	if err != nil {
		return nil, refuse(both(ErrLock, err), "", "the Cargo.lock in the .crate of %s cannot be read: %v",
			v.crate.Name, err)
	}
	return lock, nil
}

// locked returns nil if every crate of the list stands in the lock file, with its checksum.
func locked(lock *cargo.Lock, list build.List) error {
	stands := make(map[build.Crate]bool, len(lock.Packages))
	for _, p := range lock.Packages {
		if index, ok := p.Registry(); ok {
			stands[build.Crate{Registry: entry.Registry(index), Name: p.Name, Version: p.Version, SHA256: *p.Checksum}] = true
		}
	}
	for _, c := range list {
		if !stands[c] {
			return refuse(ErrLock, "Do not use the binary", "the builders say that %s %s with the SHA-256 %x was "+
				"compiled, and it does not stand "+
				"so in the crate's Cargo.lock", c.Name, c.Version, c.SHA256)
		}
	}
	return nil
}

// chosen says whether the commit's own lock file chose the versions; if not, it notes why.
func (v *builds) chosen(own Verdict) (bool, error) {
	_, e, err := client.UnverifiedEntry(own.Bundle)
	if err != nil {
		return false, err
	}
	src, ok := e.Claim.(*entry.Source)
	if !ok {
		return false, unreadable("the claim about "+own.Name, errors.New("it is of another kind"))
	}
	by, err := v.crate.LockChosenBy(src, v.file.Lock)
	v.note(by != crate.ByCommit && err != nil, "who chose the versions: %v", err)
	return by == crate.ByCommit, nil
}

// inHand is how many .crates are held at a time.
const inHand = 32

// sources verifies the source of each crate of the list.
func (v *builds) sources(ctx context.Context, list build.List) error {
	for part := range slices.Chunk(list, inHand) {
		got := make([][]byte, len(part))
		ones := make([]Compiled, len(part))
		var g errgroup.Group
		g.SetLimit(inFlight)
		for i, c := range part {
			one := &ones[i]
			if one.Crate = c; ctx.Err() != nil {
				break
			}
			if ex := v.excepted(c); ex != nil {
				one.Excepted, one.Why = true, "excepted until "+ex.Expires.String()
				continue
			}
			g.Go(func() error { got[i], one.Why = v.fetch(ctx, c); return nil })
		}
		g.Wait() // there are no errors: what is not at hand is not proven
		if err := ctx.Err(); err != nil {
			v.unchecked = true
			return interrupted(err)
		}
		var crates []build.Crate
		var raws [][]byte
		var at []int // in out.Compiled
		for i, raw := range got {
			if raw != nil {
				crates, raws, at = append(crates, part[i]), append(raws, raw), append(at, len(v.out.Compiled)+i)
			}
		}
		v.out.Compiled = append(v.out.Compiled, ones...)
		for i, verdict := range v.prove(ctx, crates, raws) {
			one := &v.out.Compiled[at[i]]
			switch err := verdict.Err; {
			case verdict.Status == Verified:
				one.Proven, one.Commit = true, verdict.Facts.Commit
			case errors.Is(err, client.ErrFork), errors.Is(err, ErrContradicted), ctx.Err() != nil:
				v.unchecked = verdict.Status == Unchecked
				return err
			case errors.Is(err, client.ErrNotLogged):
				one.Why = "not logged"
			case errors.Is(err, ErrNotCached):
				one.Why = "not logged, as the file of builds has it"
			default:
				one.Why = Explain(err).Message
				v.unsure = v.unsure || errors.Is(err, ErrUnreachable)
			}
			for _, n := range verdict.Notes {
				v.note(true, "%s %s: %s", one.Name, one.Version, n)
			}
		}
	}
	return nil
}

func (v *builds) fetch(ctx context.Context, c build.Crate) (raw []byte, why string) {
	raw, err := v.b.Crate(ctx, c)
	switch {
	case raw != nil && sha256.Sum256(raw) == c.SHA256:
		return raw, ""
	case v.part(entry.Subject(c)) != nil:
		return nil, "logged, its files not checked here"
	case err != nil:
		return nil, "its .crate is not at hand: " + err.Error()
	}
	return nil, "its .crate is not at hand"
}

// excepted returns the exception that the policy makes for a crate, nil for none.
func (v *builds) excepted(c build.Crate) *policy.Exception {
	pkg := pkgOf(c)
	ask := policy.Ask{Crate: policy.Exactly(c.Name, c.Version), Registry: pkg.Registry, Where: "the binary"}
	return v.c.cfg.Policy.Resolve([]policy.Ask{ask}, []policy.Package{pkg}, v.c.cfg.Now()).Demands[0].Except
}

func pkgOf(c build.Crate) policy.Package {
	p := policy.Package{Name: c.Name, Version: c.Version, Registry: c.Registry}
	if c.Registry == entry.DefaultRegistry {
		p.Registry = ""
	}
	return p
}

// part returns the source entry that the file has of a crate.
func (v *builds) part(s entry.Subject) *client.Part {
	for i := range v.seen.Sources {
		if v.seen.Sources[i].Entry.Subject == s {
			return &v.seen.Sources[i].Part
		}
	}
	return nil
}

// prove decides about crates whose .crates are at hand: first by the entry that the file has, then, if that
// does not do, like any other crate.
func (v *builds) prove(ctx context.Context, crates []build.Crate, raws [][]byte) []Verdict {
	out := make([]Verdict, len(crates))
	var items []*item
	for i, c := range crates {
		demand := policy.Demand{Package: pkgOf(c), Status: policy.Required, Because: []string{"it is compiled " +
			"into the binary"}}
		w := Want{Name: c.Name, Version: c.Version, Checksum: c.SHA256, Raw: raws[i], Demand: demand}
		out[i].Want = w
		items = append(items, v.c.newItem(w, &out[i]))
	}
	for _, it := range items {
		v.begin(it)
	}
	v.c.checkProofs(ctx, items)
	v.c.run(ctx, items, nil)
	return out
}

// begin takes an item as far as the file's entry of it goes.
func (v *builds) begin(it *item) {
	c := it.want
	registry := c.Demand.Registry
	if registry == "" {
		registry = entry.DefaultRegistry
	}
	p := v.part(entry.Subject{Registry: registry, Name: c.Name, Version: c.Version, SHA256: c.Checksum})
	if p == nil || v.c.barred(c) != nil {
		return
	}
	if _, err := it.look(); err != nil {
		return // as advance will find as well
	}
	bundle, err := v.file.Bundle(*p)
	if err != nil {
		return
	}
	it.looked, it.current = true, candidate{source: v.src}
	it.verify(bundle)
}

// enough holds what is proven against what must be.
func (v *builds) enough() error {
	open := v.out.open()
	must := v.p.Source == policy.AllSources || v.p.Source == policy.ByLock && !v.out.ByCommit
	if len(open) == 0 || !must {
		return nil
	}
	because := fmt.Sprintf("%s says require-source = \"all\"", v.c.cfg.Policy.Path)
	if v.p.Source == policy.ByLock {
		because = "the versions were chosen by whoever packaged it, not by the commit"
	}
	v.unchecked = v.unsure
	return refuse(ErrSources, "Have them proven, or read them and write exceptions; require-source = \"crate\" "+
		"under [builds] accepts all "+
		"that was compiled, proven or not", "%s were compiled into it, of which %d are not proven, and %s: %s",
		crates(len(v.out.Compiled)),
		len(open), because, strings.Join(atMost10(open), ", "))
}

// open lists, as phrases, what was compiled and is not proven.
func (b *Built) open() (all []string) {
	for _, c := range b.Compiled {
		if !c.Proven && !c.Excepted {
			all = append(all, fmt.Sprintf("%s %s (%s)", c.Name, c.Version, c.Why))
		}
	}
	return all
}

func atMost10(all []string) []string {
	const most = 10
	if n := len(all) - most; n > 0 {
		return append(all[:most:most], fmt.Sprintf("and %d more", n))
	}
	return all
}

func crates(n int) string {
	if n == 1 {
		return "1 crate"
	}
	return fmt.Sprintf("%d crates", n)
}

func entriesStand(n int) string {
	if n == 1 {
		return "1 entry stands"
	}
	return fmt.Sprintf("%d entries stand", n)
}

func entriesAre(n int) string {
	if n == 1 {
		return "1 entry is"
	}
	return fmt.Sprintf("%d entries are", n)
}

func (v *builds) note(when bool, format string, args ...any) {
	if when {
		v.out.Notes = append(v.out.Notes, fmt.Sprintf(format, args...))
	}
}

// Says returns what was found, a phrase each.
func (b *Built) Says() (all []string) {
	who := ""
	if !b.Hidden {
		who = strings.Replace(names(b.Agree), ", by ", ": ", 1)
	}
	all = append(all, fmt.Sprintf("%d of %d of set %s say so%s", len(b.Agree), b.Of, b.Set, who))
	asOf := client.Checkpoint{Size: b.Size, Witnessed: b.AsOf}.AsOf()
	same := func(o Other) bool { return o.Same }
	switch {
	case len(b.Dissent) == 0 && slices.ContainsFunc(b.Others, same):
		all = append(all, fmt.Sprintf("this log, %s, shows another result only of those who do not count", asOf))
	case len(b.Dissent) == 0:
		all = append(all, fmt.Sprintf("this log, %s, shows no other result", asOf))
	default:
		all = append(all, fmt.Sprintf("%d say otherwise, which the policy tolerates, %s: %x%s", len(b.Dissent),
			asOf, b.Dissent[0].Artifact,
			names(b.Dissent)))
	}
	const most = 10
	for _, o := range b.Others[:min(len(b.Others), most)] {
		if o.Same {
			all = append(all, fmt.Sprintf("the same build makes %x, as %s of those who do not count", o.Artifact,
				entriesOf(o.Entries)))
			continue
		}
		by := "the policy's set and builds it lists"
		if !o.Listed {
			by = "another set, toolchain or environment than the policy lists"
		}
		all = append(all, fmt.Sprintf("another build (toolchain %x, environment %x) makes %x, as %s of %s",
			o.Toolchain[:4], o.Environment[:4],
			o.Artifact, entriesOf(o.Entries), by))
	}
	if n := len(b.Others) - most; n > 0 {
		all = append(all, fmt.Sprintf("%d other builds make something else", n))
	}
	return append(all, b.compiled(), b.versions())
}

func entriesOf(n int) string {
	if n == 1 {
		return "1 entry says"
	}
	return fmt.Sprintf("%d entries say", n)
}

func (b *Built) compiled() string {
	open, excepted := b.open(), 0
	for _, c := range b.Compiled {
		if c.Excepted {
			excepted++
		}
	}
	text := fmt.Sprintf("%s compiled, %d proven", crates(len(b.Compiled)), len(b.Compiled)-len(open)-excepted)
	if excepted > 0 {
		text += fmt.Sprintf(", %d excepted", excepted)
	}
	if len(open) > 0 {
		text += fmt.Sprintf(", %d not: %s", len(open), strings.Join(atMost10(open), ", "))
	}
	return text
}

func (b *Built) versions() string {
	if b.ByCommit {
		return "versions chosen by the commit"
	}
	return "versions chosen by whoever packaged, not proven"
}
