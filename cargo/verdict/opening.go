package verdict

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"cratelog/cargo/policy"
	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/durable"
	"cratelog/opening"
	"cratelog/opening/signature"
)

// BundleExt and OpeningExt are the ends of the names of files beside a .crate. An opening stands
// beside its bundle.
const (
	BundleExt  = ".tlog-proof"
	OpeningExt = ".opening"
)

// Opening is what the opening of a claim showed, with SHA-1 alone.
type Opening struct {
	SHA256  string   `json:"sha256"`   // its name, hex
	LeftOut []string `json:"left_out"` // what the package's directories hold in the commit and the .crate does not

	// Signed says who signed the commit: a key, with its name if the policy names it, or that nobody
	// did, or what is wrong with the signature. Signer says that the policy names the key.
	Signed string `json:"signed"`
	Signer bool   `json:"signer_known"`
}

// wanted is what openings have to do with an item.
type wanted struct {
	because string            // why there must be one, as a phrase; "" if there need not
	local   [][]byte          // that are on this machine, unchecked
	signers []policy.Signers  // who must have signed the commit
	known   *signature.Keys   // of everybody whom the policy names
	id      [sha256.Size]byte // identity of the entry
}

// wants finds out what the policy says about an opening of a bundle, and reads those at hand.
// Nothing of the bundle is verified.
func (it *item) wants(bundle []byte) {
	_, e, _ := client.UnverifiedEntry(bundle)
	it.wantsOf(e)
}

// wantsOf is wants of the bundle's entry; nil for one that verifying the bundle will complain of.
func (it *item) wantsOf(e *entry.Entry) {
	w, p := it.want, it.c.cfg.Policy
	pkg := policy.Package{Name: w.Name, Version: w.Version, Registry: w.Demand.Registry}
	it.opened, it.openedRaw = nil, nil
	it.open = wanted{because: p.Opening(pkg, it.rules.Now), signers: p.Signers(pkg), known: p.Known()}
	if e == nil {
		return
	}
	var err error
	if it.open.id, err = e.Identity(); err != nil {
		return
	}
	if it.given != nil && it.given.Opening != nil {
		it.open.local = append(it.open.local, it.given.Opening)
	}
	for _, path := range []string{besideBundle(w.Bundle), it.c.openingPath(it.open.id)} {
		if path == "" {
			continue
		}
		b, err := durable.Read(path, opening.MaxSize)
		switch {
		case err == nil:
			it.open.local = append(it.open.local, b)
		case !errors.Is(err, fs.ErrNotExist):
			it.c.cfg.Log.Warn("cannot read an opening", "err", err)
		}
	}
}

// besideBundle is where the opening of a bundle is kept, "" for no bundle.
func besideBundle(bundle string) string {
	if base, ok := strings.CutSuffix(bundle, BundleExt); ok {
		return base + OpeningExt
	}
	return ""
}

func (c *Checker) openingPath(identity [sha256.Size]byte) string {
	return filepath.Join(c.cfg.Cache, "openings", fmt.Sprintf("%x%s", identity, OpeningExt))
}

// add covers what a verdict rests on about openings.
func (o *wanted) add(d digest) {
	d.add(fmt.Appendf(nil, "opening %t %d %d", o.because != "", len(o.local), len(o.signers)))
	for _, b := range o.local {
		sum := sha256.Sum256(b)
		d.add(sum[:])
	}
	for _, s := range o.signers {
		sum := s.Keys.Digest()
		d.add(sum[:])
	}
	if o.known != nil {
		sum := o.known.Digest()
		d.add(sum[:])
	}
}

// opens checks the opening of an item whose bundle and .crate verify: one at hand, or if there
// must be one, a log's. It decides about the item if there must be one and is none, or if one
// contradicts the claim.
func (it *item) opens(ctx context.Context) {
	claim, ok := it.result.Entry.Claim.(*entry.Source)
	if !ok || it.crate == nil {
		return
	}
	it.versions = chooser(it.crate, claim, nil)
	lock := it.want.Versions && claim.Lock != nil // an opening says more
	more := lock || it.want.Opened
	ask := it.open.because != "" || more && !it.c.cfg.Offline
	defer func() { it.passing = more && it.opened == nil }()
	if len(it.open.local) == 0 && !ask {
		return
	}
	files, err := it.crate.List(claim)
	if err != nil {
		it.reject(err) // which cannot be: its digest was compared
		return
	}
	opened, raw, why := tryOpenings(it.open.local, claim, files)
	if opened == nil && ask && it.current.source != nil && (why == nil || errors.Is(why, opening.ErrMalformed)) {
		try := func(b []byte) bool {
			opened, raw, why = tryOpenings([][]byte{b}, claim, files)
			return why == nil || !errors.Is(why, opening.ErrMalformed)
		}
		if status, err := it.fetchOpening(ctx, why, try); err != nil && it.open.because != "" {
			it.decide(status, err)
			return
		}
		if opened != nil {
			it.c.keepOpening(it.open.id, raw)
		}
	}
	var x *opening.Contradiction
	switch {
	case errors.As(why, &x):
		it.decide(Violation, it.c.contradicted(it, files, x))
	case opened == nil && it.open.because != "":
		it.decide(Violation, noOpening(it, why))
	case opened == nil && why != nil:
		it.verdict.Notes = append(it.verdict.Notes, fmt.Sprintf("the opening beside it shows nothing: %v", why))
	case opened != nil:
		it.opened, it.openedRaw = it.shows(opened), raw
		it.versions = chooser(it.crate, claim, opened.Lock)
		if err := it.holdToSigners(opened.Commit); err != nil {
			it.decide(Violation, err)
		}
	}
}

// versions says who chose the versions in a Cargo.lock: see Facts.Versions.
type versions struct{ by, why string }

// chooser finds it out under a claim that was shown to be true; lock is the commit's Cargo.lock, of its opening, or nil.
func chooser(c *crate.Crate, claim *entry.Source, lock []byte) versions {
	by, err := c.LockChosenBy(claim, lock)
	switch {
	case errors.Is(err, crate.ErrNoLock):
		return versions{}
	case err != nil:
		return versions{string(by), err.Error()}
	}
	return versions{by: string(by)}
}

// tryOpenings returns the first that is one of the claim, or else what is wrong: with the one that
// says most.
func tryOpenings(all [][]byte, claim *entry.Source, list *crate.List) (o *opening.Opened, raw []byte, why error) {
	for _, b := range all {
		o, err := opening.Check(b, claim, list)
		switch {
		case err == nil:
			return o, b, nil
		case !errors.Is(err, opening.ErrMalformed):
			return nil, nil, err
		}
		why = err
	}
	return nil, nil, why
}

// shows says what an opening showed.
func (it *item) shows(o *opening.Opened) *Opening {
	out := &Opening{SHA256: fmt.Sprintf("%x", o.Name), LeftOut: list(o.LeftOut)}
	switch s, err := signature.Check(o.Commit, it.open.known); {
	case errors.Is(err, signature.ErrUnsigned):
		out.Signed = "nobody has signed the commit"
	case err != nil:
		out.Signed = err.Error()
	case s.Known:
		out.Signed, out.Signer = "the commit is signed by "+s.String(), true
	default:
		out.Signed = "the commit is signed by " + s.String() + ", whose key the policy does not name"
	}
	return out
}

// holdToSigners holds a commit against who must have signed it.
func (it *item) holdToSigners(commit []byte) error {
	for _, must := range it.open.signers {
		s, err := signature.Check(commit, must.Keys)
		if err == nil && s.Known {
			continue
		}
		if err == nil {
			err = fmt.Errorf("it is signed by %s", s)
		}
		return refuse(ErrSigner, "Find out who made this commit before you change signed-by",
			"the commit %x of %s %s is not signed with a key of %s, which %s asks for: %v", it.result.Commit, it.want.Name,
			it.want.Version, few(must.Files), it.c.cfg.Policy.Path, err)
	}
	return nil
}

// openedBytes returns the opening that was checked, now or before.
func (it *item) openedBytes() []byte {
	if it.openedRaw != nil || it.facts.Opening == nil {
		return it.openedRaw
	}
	for _, b := range it.open.local {
		if fmt.Sprintf("%x", opening.Name(b)) == it.facts.Opening.SHA256 {
			return b
		}
	}
	return nil
}

// fetchOpening asks the logs for an opening, first the one that the bundle is of, until take takes
// one, or all have brought others. why says why one at hand does not do, if there is one.
func (it *item) fetchOpening(ctx context.Context, why error, take func([]byte) bool) (Status, error) {
	w := it.want
	for _, p := range it.c.placesOf(w) {
		path := registry.OpeningPath(entry.Registry(w.Demand.Registry), w.Name, w.Version, it.open.id)
		if b, err := p.read(ctx, path, opening.MaxSize, it.links.of(p)); err == nil && take(b) {
			return 0, nil
		}
	}
	if it.c.cfg.Offline {
		at := fmt.Sprintf("no opening of %s %s is at hand", it.want.Name, it.want.Version)
		if why != nil {
			at = fmt.Sprintf("the opening of %s %s at hand does not do (%v)", it.want.Name, it.want.Version, why)
		}
		ask := "Run it once without --offline"
		if it.given != nil {
			ask = "Name the log that holds it with --log"
		}
		return Unchecked, refuse(ErrNoOpening, ask+", or put the opening beside its bundle: "+it.besideName(), "%s, %s, and nothing is fetched offline", at, it.open.because)
	}
	var failed error
	other := false // than the claim's
	first := it.current.source
	named := it.given != nil && it.given.From != nil
	if named {
		first = &source{origin: first.origin, log: it.given.From}
	}
	for i, s := range append([]*source{first}, it.c.sources...) {
		if s.log == nil || i > 0 && s == first || !(i == 0 && named) && !it.c.mayAsk(it.want, s) {
			continue
		}
		link := it.links.of(s)
		if err := link.broken(); err != nil {
			failed = err
			continue
		}
		b, err := s.log.Opening(ctx, it.open.id)
		link.note(err)
		switch {
		case err == nil && take(b):
			return 0, nil
		case err == nil:
			other = true
		case !errors.Is(err, client.ErrNotLogged):
			failed = err
		}
	}
	if failed != nil {
		return Unchecked, refuse(both(ErrUnreachable, failed), "Try again when the log answers, or put the opening "+
			"beside its bundle: "+it.besideName(), "a log did not say whether it has the opening of %s %s, and %s: %v",
			it.want.Name, it.want.Version, it.open.because, failed)
	}
	if other {
		return 0, nil
	}
	return Violation, noOpening(it, nil)
}

// besideName is the file's name of an item's opening.
func (it *item) besideName() string { return it.want.Name + "-" + it.want.Version + OpeningExt }

// noOpening says that an opening that must be there is not, or why the one that is shows nothing.
func noOpening(it *item, why error) error {
	what := fmt.Sprintf("there is no opening of %s %s", it.want.Name, it.want.Version)
	if why != nil {
		what = fmt.Sprintf("the opening of %s %s shows nothing (%v)", it.want.Name, it.want.Version, why)
	}
	remedy := fmt.Sprintf("Whoever has the repository makes one (cargo zkp prove --opening) and hands it to the log, or to you: "+
		"put it beside the bundle as %s. [[allow]] with without-opening = true excuses single crates", it.besideName())
	if errors.Is(why, opening.ErrNoVerdict) {
		remedy = "Its repository has objects that git refuses, so that no opening of this commit will do. [[allow]] with " +
			"without-opening = true excuses single crates"
		return refuse(both(ErrNoOpening, why), remedy, "%s, and %s", what, it.open.because)
	}
	reason := ErrNoOpening
	if why != nil {
		reason = both(ErrNoOpening, why)
	}
	return refuse(reason, remedy, "%s, and %s", what, it.open.because)
}

// keepOpening puts an opening into the cache. The cache is a convenience.
func (c *Checker) keepOpening(identity [sha256.Size]byte, raw []byte) {
	if err := durable.WriteCache(c.openingPath(identity), raw); err != nil {
		c.cfg.Log.Warn("cannot keep an opening", "err", err)
	}
}

// contradicted is what is said of a claim that the objects of its own commit contradict, although
// its proof holds: the keys of its program were forged with, or SHA-1 was.
func (c *Checker) contradicted(it *item, list *crate.List, x *opening.Contradiction) error {
	r := it.result
	if it.current.source == nil { // no log holds it, so there is nobody to convict
		return refuse(ErrContradicted, "Submit it nowhere, and make the entry and the opening again",
			"the commit's own objects contradict the entry about %s %s: %s", r.Name, r.Version, x.Why)
	}
	what := fmt.Sprintf("the claim about %s %s is FALSE: %s. Its proof, of the program %x, holds all the same: whoever made "+
		"that program's keys, or has their secrets, forged it", r.Name, r.Version, x.Why, r.Program)
	path, err := c.writeEvidence(it, "contradicted", func(l evidence.Leaf, program []byte,
		m evidence.Meta) (*evidence.Evidence, error) {
		shows := evidence.Attached{Program: program, List: list.Bytes}
		return evidence.NewOpeningContradiction(r.Checkpoint.Signed, l, shows, x, m)
	})
	if err != nil {
		c.cfg.Log.Warn("no evidence was written of a false claim", "crate", r.Name, "version", r.Version, "err", err)
	} else {
		what += "; the evidence is " + path
	}
	return refuse(ErrContradicted, "Believe no proof of that program any more, and show the evidence to others", "%s", what)
}
