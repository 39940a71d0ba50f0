package verdict

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/cargo/policy"
	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/proofcheck"
)

// itemState says how far an item is.
type itemState int

const (
	seeking itemState = iota // a bundle must be found
	proving                  // the bundle is good if its proof is, and the .crate is its subject
	holding                  // the bundle is good, the checkpoint is to be compared
	decided                  // the verdict is final
)

// item is a crate on its way to a verdict. One goroutine has it at a time.
type item struct {
	c       *Checker
	want    Want
	verdict *Verdict
	state   itemState
	rules   client.Rules

	given *Given // the one bundle that counts; nil: find one
	links *links // to the logs; nil: none was asked yet

	sum    [sha256.Size]byte // of the .crate as it was hashed
	looked bool
	raw    []byte       // nil: not read, or not held any more
	crate  *crate.Crate // raw unpacked; likewise
	disk   error        // what is wrong with what lies on the disk

	next    []candidate // that are not tried yet; nil before the first
	tried   []attempt   // and failed
	current candidate

	bundle []byte
	key    [sha256.Size]byte // of the memo
	proof  *entry.Entry      // whose proof is to be checked
	chain  entry.Chain       // what the proof shows
	open   wanted            // what openings have to do with it
	opened *Opening          // what one showed; not to be believed before holding

	openedRaw []byte         // its bytes
	versions  versions       // likewise
	passing   bool           // another look may show more: not to be remembered
	result    *client.Result // not to be believed before holding; nil if remembered
	facts     *Facts         // likewise; nil before release if not remembered

	summary string // Facts.Summary of result
}

// attempt is a candidate that came to nothing.
type attempt struct {
	candidate
	err error
	bad bool // there was a bundle, and it does not verify

	bundle []byte // it, if that may be no more than a warning: see doubts
}

// advance takes an item to proving, holding or decided.
func (it *item) advance(ctx context.Context, links *links) {
	if err := ctx.Err(); err != nil {
		it.decide(Unchecked, interrupted(err))
		return
	}
	it.links = links
	defer it.drop()
	if !it.looked {
		// The name becomes part of paths and addresses.
		if err := errors.Join(entry.CheckName(it.want.Name), entry.CheckVersion(it.want.Version)); err != nil {
			it.decide(Unchecked, refuse(ErrUnreadable, "Look at the lock file", "%q %q is no crate: %v",
				it.want.Name, it.want.Version, err))
			return
		}
		if status, err := it.look(); err != nil {
			it.decide(status, err)
			return
		}
		it.looked = true
		if it.want.Demand.Status != policy.Required {
			it.state = decided
			return
		}
	}
	if err := it.c.barred(it.want); err != nil {
		it.decide(Violation, err)
		return
	}
	if len(it.tried) == 0 && it.next == nil {
		it.next = it.c.candidates(it.want)
	}
	for it.state = seeking; it.state == seeking; {
		if err := ctx.Err(); err != nil {
			it.decide(Unchecked, interrupted(err))
			return
		}
		if len(it.next) == 0 {
			it.decide(it.judge())
			return
		}
		it.current, it.next = it.next[0], it.next[1:]
		if !it.c.mayAsk(it.want, it.current.source) {
			continue
		}
		if !it.current.cached {
			it.drop() // a log may take its time
		}
		bundle, err := it.c.bundle(ctx, it.current, it.want, it.rules, links)
		if err != nil {
			it.tried = append(it.tried, attempt{candidate: it.current, err: err,
				bad: it.current.place != nil && holdsBad(err)})
			continue
		}
		it.verify(bundle)
	}
}

// drop lets go of the .crate: a lock file has hundreds. It is read again if the next
// bundle must be tried.
func (it *item) drop() {
	if it.want.Raw == nil {
		it.raw = nil
	}
	it.crate = nil
}

// load reads the .crate if it is not held. It must not change in between.
func (it *item) load() error {
	if it.raw != nil || it.crate != nil {
		return nil
	}
	raw, err := durable.Read(it.want.Path, limits.Compressed)
	if err != nil {
		return err
	}
	if sha256.Sum256(raw) != it.sum {
		return errors.New("it changed while it was read")
	}
	it.raw = raw
	return nil
}

// unpack unpacks the .crate that is held.
func (it *item) unpack(name, version string) (*crate.Crate, error) {
	if it.crate != nil {
		return it.crate, nil
	}
	var err error
	it.crate, err = crate.ReadHashed(it.raw, it.sum, name, version, limits)
	return it.crate, err
}

// look reads the .crate and compares it with the lock file, and what is unpacked with it.
func (it *item) look() (Status, error) {
	w := &it.want
	it.c.slots <- struct{}{}
	defer func() { <-it.c.slots }()
	if w.Raw != nil {
		it.raw, it.sum = w.Raw, sha256.Sum256(w.Raw)
		if int64(len(w.Raw)) > limits.Compressed {
			return Violation, tooLarge(w.place())
		}
		if w.Checksum != ([sha256.Size]byte{}) && it.sum != w.Checksum {
			return Violation, &client.Error{Reason: client.ErrSubject, What: differs(w.place(), it.sum, w.Checksum)}
		}
		return 0, nil
	}
	if status, err := it.readArchives(); err != nil {
		return status, err
	}
	if it.disk == nil {
		it.disk = it.compareSources()
	}
	switch {
	case it.raw != nil || w.Demand.Status != policy.Required:
		return 0, nil
	case it.disk != nil:
		return diskVerdict(it.disk)
	}
	return Unchecked, notDownloaded(*w)
}

// readArchives reads all files that may be the .crate: all must be.
func (it *item) readArchives() (Status, error) {
	w := &it.want
	if w.Path == "" {
		return 0, nil
	}
	for _, path := range append([]string{w.Path}, w.Copies...) {
		raw, err := durable.Read(path, limits.Compressed)
		sum := sha256.Sum256(raw)
		for n := 0; n < 5 && err == nil && sum != w.Checksum && w.Checksum != ([32]byte{}) &&
			beingWritten(path); n++ {
			time.Sleep(writing / 4)
			raw, err = durable.Read(path, limits.Compressed)
			sum = sha256.Sum256(raw)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, durable.ErrTooLarge):
			return Violation, tooLarge(path)
		case err != nil:
			it.disk = errors.Join(it.disk, unreadable(path, err))
		case w.Checksum != ([sha256.Size]byte{}) && sum != w.Checksum:
			it.disk = errors.Join(it.disk, w.altered(path, sum))
		case it.raw == nil:
			it.raw, it.sum, w.Path = raw, sum, path
		}
	}
	return 0, nil
}

// writing is how long a cargo that is downloading, for an editor perhaps, may take to write
// an archive that it has received.
const writing = time.Second

func beingWritten(path string) bool {
	info, err := os.Stat(path)
	return err == nil && time.Since(info.ModTime()).Abs() < writing
}

// verify checks what a bundle shows by itself but its proof, or finds that all was checked
// before. If it fails, the item goes on seeking.
func (it *item) verify(bundle []byte) {
	it.bundle = bundle
	it.wants(bundle)
	if it.given == nil {
		it.key = it.c.memoKey(it, it.rules)
		if it.facts = it.c.remembered(it, it.rules); it.facts != nil {
			it.state = holding
			return
		}
	}
	pv := &collector{proofs: it.c.proofs}
	r, err := client.VerifyBundle(bundle, it.current.source.trust.Policy, pv, it.rules)
	switch {
	case errors.Is(err, client.ErrSeal):
		it.reject(it.c.badSeal(it, err))
	case err != nil:
		it.reject(err)
	case pv.entry == nil || pv.entry != r.Entry:
		// It cannot happen, and must not pass if it does.
		it.reject(&client.Error{Reason: client.ErrProof, What: "the proof was not looked at"})
	default:
		it.result, it.proof, it.state = r, pv.entry, proving
	}
}

// bind holds the .crate against the claim, whose proof is good: before that it is not unpacked
// for a log's sake. If it is another one, the item goes on seeking.
func (it *item) bind(ctx context.Context) {
	if err := ctx.Err(); err != nil {
		it.decide(Unchecked, interrupted(err))
		return
	}
	it.state = holding
	if it.given != nil && it.given.Crate == nil {
		return
	}
	defer it.drop()
	if it.compare(); it.state == holding {
		it.opens(ctx)
	}
}

// compare holds the .crate against the claim.
func (it *item) compare() {
	it.c.slots <- struct{}{}
	defer func() { <-it.c.slots }()
	if err := it.load(); err != nil {
		it.decide(Unchecked, unreadable(it.want.place(), err))
		return
	}
	checked := it.result.EntryBytes
	r, err := client.VerifyCrate(it.sum, it.unpack, it.bundle, it.current.source.trust.Policy, proven{it.chain}, it.rules)
	switch {
	case errors.Is(err, client.ErrProof): // of the list of this .crate
		it.reject(it.falseList(err))
	case err != nil:
		it.reject(err)
	case !bytes.Equal(r.EntryBytes, checked):
		// Nor can this.
		it.reject(&client.Error{Reason: client.ErrProof, What: "the proof that was looked at is another one's"})
	default:
		it.result, it.summary = r, summaryOf(it.crate)
	}
}

// falseList is what is said of an entry whose proof does not hold for the list that it claims.
func (it *item) falseList(cause error) error {
	src, ok := it.result.Entry.Claim.(*entry.Source)
	if !ok || it.crate == nil {
		return cause
	}
	list, err := it.crate.Check(it.result.Entry.Subject, src)
	if err != nil {
		return cause
	}
	var refusal *client.Error
	if errors.As(cause, &refusal) {
		cause = refusal.Err
	}
	return it.c.falseEntry(it, list.Bytes, cause)
}

// proven is an entry.Verifier for an entry whose proof was looked at before.
type proven struct{ chain entry.Chain }

func (p proven) Chain(*entry.Entry) (entry.Chain, error) { return p.chain, nil }

// reject notes that the current bundle does not verify.
func (it *item) reject(err error) {
	a := attempt{candidate: it.current, err: err, bad: true}
	if it.want.Demand.Warn && Mild(err) {
		a.bundle = it.bundle
	}
	it.tried = append(it.tried, a)
	if at := it.current.place; at != nil {
		it.c.cfg.Log.Warn("evidence does not do", "at", at.name, "crate", it.want.Name, "version", it.want.Version,
			"err", err)
	}
	it.bundle, it.proof, it.chain, it.result, it.facts, it.state = nil, nil, nil, nil, nil, seeking
}

func (it *item) decide(s Status, err error) {
	it.bundle, it.proof, it.chain, it.result, it.facts, it.state = nil, nil, nil, nil, nil, decided
	it.verdict.Refuse(s, err)
}

// collector is a entry.Verifier that puts the proof off: it sees to it that
// the program is accepted, and keeps the entry for the batch.
type collector struct {
	proofs *proofcheck.Verifier
	entry  *entry.Entry
}

var _ entry.Verifier = &collector{}

func (c *collector) Chain(e *entry.Entry) (entry.Chain, error) {
	if _, ok := c.proofs.Program(e.Proof.Program); !ok {
		return c.proofs.Chain(e) // which says so
	}
	c.entry = e
	return nil, nil
}

// checkProofs checks the proofs of all items that wait for it, in one batch, and then their
// .crates.
func (c *Checker) checkProofs(ctx context.Context, items []*item) {
	var waiting []*item
	var entries []*entry.Entry
	for _, it := range items {
		if it.state == proving {
			waiting, entries = append(waiting, it), append(entries, it.proof)
		}
	}
	var chains []entry.Chain
	var errs []error
	if len(entries) == 1 { // others may come at the same time, each with one
		chain, err := c.together.Chain(entries[0])
		chains, errs = []entry.Chain{chain}, []error{err}
	} else {
		chains, errs = c.proofs.Chains(entries)
	}
	var g errgroup.Group
	g.SetLimit(inFlight)
	for i, err := range errs {
		if it := waiting[i]; err != nil {
			it.reject(c.falseEntry(it, nil, err))
		} else {
			it.chain = chains[i]
			g.Go(func() error { it.bind(ctx); return nil })
		}
	}
	g.Wait() // there are no errors
}

// judge decides about an item that no bundle verified. A bundle of the log that
// fails is an answer, and so is a log that has none; silence is not.
func (it *item) judge() (Status, error) {
	var fetched, cached, network, missing, placed, silent error
	for _, a := range it.tried {
		switch {
		case a.place != nil && a.bad:
			placed = graver(placed, doesNotDo(a))
		case a.place != nil && !errors.Is(a.err, errNothing) && !errors.Is(a.err, registry.ErrNotFound):
			silent = cmp.Or(silent, a.err)
		case a.place != nil: // it has none, which the logs may have
		case a.bad && !a.cached:
			fetched = graver(fetched, a.err)
		case a.bad && !errors.Is(a.err, client.ErrBundle):
			cached = graver(cached, a.err)
		case a.bad, a.cached: // damaged, or not there: as good as nothing
		case errors.Is(a.err, client.ErrNotLogged), errors.Is(a.err, client.ErrWithheld):
			switch err := absent(it.want, it.sum, a.source, it.c.cfg.Policy, a.err); {
			case !Mild(err): // it holds another .crate, or what it shows is false
				fetched = graver(fetched, err)
			case errors.Is(err, client.ErrWithheld):
				network = cmp.Or(network, err)
			default:
				missing = cmp.Or(missing, err)
			}
		default:
			network = cmp.Or(network, unreachable(it.want, a.source, a.err))
		}
	}
	status, err := Violation, cmp.Or(fetched, missing)
	switch {
	case fetched != nil:
	case it.c.cfg.Offline && cached != nil:
		err, cached = cached, nil
	case it.c.cfg.Offline && placed != nil:
		err, placed = placed, nil
	case it.c.cfg.Offline:
		return Unchecked, notCached(it.want)
	case network != nil && cached != nil:
		status, err, cached = Unchecked, besides(network, cached), nil
	case network != nil && placed == nil && silent != nil:
		return Unchecked, also(network, "nor is there an answer of ", silent)
	case network != nil:
		status, err = Unchecked, network
	case missing == nil:
		return Unchecked, noLog(it.c.cfg.Policy)
	}
	// What else is false must not go unsaid, as a policy may pass over what is missing.
	if placed != nil && (fetched == nil || !Mild(placed)) {
		err = also(err, "", placed)
	}
	if cached != nil && !Mild(cached) {
		err = besides(err, cached)
	}
	return status, err
}

// absences returns items that hold the checkpoints under which logs showed that they hold no bundle for others, which
// are returned as well, in the same order: where a log lies about its history, nothing that it shows counts.
func (c *Checker) absences(items []*item) (shown, of []*item) {
	for _, it := range items {
		for _, a := range it.tried {
			var none *client.NotLoggedError
			if it.state == decided && errors.As(a.err, &none) {
				shown = append(shown, &item{c: c, want: it.want, verdict: &Verdict{}, state: holding,
					result: &client.Result{Checkpoint: none.Held.Checkpoint}})
				of = append(of, it)
			}
		}
	}
	return shown, of
}

// graver returns the first of two errors, unless only the second says that something is false.
func graver(a, b error) error {
	if a == nil || Mild(a) && !Mild(b) {
		return b
	}
	return a
}

// release gives the verdict of an item whose bundle, proof and checkpoint are good.
func (it *item) release() {
	if it.state != holding {
		return
	}
	it.state = decided
	it.verdict.Status = Verified
	for _, a := range it.tried {
		if a.place != nil && a.bad && !errors.Is(a.err, client.ErrStale) { // age is no fault
			it.verdict.Notes = append(it.verdict.Notes, Explain(doesNotDo(a)).Message)
		}
	}
	if it.facts == nil && it.given == nil {
		it.facts = it.c.newFacts(it.result)
		it.facts.Summary, it.facts.Opening = it.summary, it.opened
		it.facts.Versions, it.facts.VersionsWhy = it.versions.by, it.versions.why
		it.c.keep(it)
	} else if it.given == nil && !it.current.cached { // the verdict outlived its bundle
		it.c.keepBundle(it.current.source, it.want, it.bundle)
	}
	if err := it.displeases(); err != nil {
		it.verdict.Refuse(Violation, err)
		return
	}
	if it.given != nil {
		return
	}
	it.c.verified.Store(it.want.file(), sha256.Sum256(it.bundle))
	it.verdict.Facts, it.verdict.Bundle, it.verdict.Opened = it.facts, it.bundle, it.openedBytes()
}
