package verdict

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/proofcheck"
)

// itemState says how far an item is.
type itemState int

const (
	seeking itemState = iota // a bundle must be found
	proving                  // the bundle is good if its proof is
	holding                  // the bundle is good, the checkpoint is to be compared
	decided                  // the verdict is final
)

// item is a crate on its way to a verdict. One goroutine has it at a time.
type item struct {
	c       *Checker
	want    Want
	verdict *Verdict
	state   itemState

	sum     [sha256.Size]byte // of the .crate as it was hashed
	hashed  bool
	next    int       // of candidates
	tried   []attempt // and failed
	current candidate

	bundle []byte
	key    [sha256.Size]byte // of the memo
	proof  *entry.Entry      // whose proof is to be checked
	result *client.Result    // not to be believed before holding; nil if remembered
	facts  *Facts            // likewise; nil before release if not remembered
}

// attempt is a candidate that came to nothing.
type attempt struct {
	candidate
	err error
	bad bool // there was a bundle, and it does not verify
}

// advance takes an item to proving, holding or decided.
func (it *item) advance(ctx context.Context, links links) {
	if !it.hashed {
		// The name becomes part of paths and addresses.
		if err := errors.Join(entry.CheckName(it.want.Name), entry.CheckVersion(it.want.Version)); err != nil {
			it.decide(Unchecked, refuse(ErrUnreadable, "Look at the lock file", "%q %q is no crate: %v", it.want.Name, it.want.Version, err))
			return
		}
		if status, err := it.hash(); err != nil {
			it.decide(status, err)
			return
		}
		it.hashed = true
	}
	for it.state = seeking; it.state == seeking; {
		if err := ctx.Err(); err != nil {
			it.decide(Unchecked, interrupted(err))
			return
		}
		if it.next == it.c.candidates() {
			it.decide(it.judge())
			return
		}
		it.current = it.c.candidate(it.next)
		it.next++
		bundle, err := it.c.bundle(ctx, it.current, it.want, links)
		if err != nil {
			it.tried = append(it.tried, attempt{it.current, err, false})
			continue
		}
		it.verify(bundle)
	}
}

// hash reads the .crate and compares it with the lock file.
func (it *item) hash() (Status, error) {
	w := it.want
	it.c.slots <- struct{}{}
	defer func() { <-it.c.slots }()
	switch {
	case w.Raw != nil:
		it.sum = sha256.Sum256(w.Raw)
	case w.Path == "":
		return Unchecked, notDownloaded(w)
	default:
		f, err := os.Open(w.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return Unchecked, notDownloaded(w)
		}
		if err != nil {
			return Unchecked, unreadable(w, err)
		}
		defer f.Close()
		h := sha256.New()
		n, err := io.Copy(h, io.LimitReader(f, limits.Compressed+1))
		if err != nil {
			return Unchecked, unreadable(w, err)
		}
		if n > limits.Compressed {
			return Violation, &client.Error{Reason: client.ErrFiles, What: fmt.Sprintf("%s has more than %d bytes, the most that is read", w.Path, limits.Compressed)}
		}
		it.sum = [sha256.Size]byte(h.Sum(nil))
	}
	if w.Checksum != ([sha256.Size]byte{}) && it.sum != w.Checksum {
		return Violation, &client.Error{Reason: client.ErrSubject, What: fmt.Sprintf("%s has SHA-256 %x, the lock file says %x", w.place(), it.sum, w.Checksum)}
	}
	return 0, nil
}

// place names the .crate for people.
func (w Want) place() string {
	if w.Path != "" && w.Raw == nil {
		return w.Path
	}
	return fmt.Sprintf("the .crate of %s %s", w.Name, w.Version)
}

// raw returns the bytes of the .crate. They may have changed since hash.
func (it *item) raw() ([]byte, error) {
	if it.want.Raw != nil {
		return it.want.Raw, nil
	}
	f, err := os.Open(it.want.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	if info, err := f.Stat(); err == nil && info.Size() <= limits.Compressed {
		b.Grow(int(info.Size()) + bytes.MinRead)
	}
	_, err = io.Copy(&b, io.LimitReader(f, limits.Compressed+1))
	return b.Bytes(), err
}

// verify checks everything of a bundle but its proof, or finds that this was done
// before. If it fails, the item goes on seeking.
func (it *item) verify(bundle []byte) {
	rules := it.c.cfg.Policy.Rules(it.want.Name, it.want.Version, it.c.cfg.Now())
	it.bundle, it.key = bundle, it.c.memoKey(it, rules)
	if it.facts = it.c.remembered(it, rules); it.facts != nil {
		it.state = holding
		return
	}
	it.c.slots <- struct{}{}
	defer func() { <-it.c.slots }()
	raw, err := it.raw()
	if err != nil {
		it.decide(Unchecked, unreadable(it.want, err))
		return
	}
	pv := &collector{proofs: it.c.proofs}
	r, err := client.Verify(raw, bundle, it.current.source.trust.Policy, pv, rules)
	switch {
	case err != nil:
		it.reject(err)
	case r.SHA256 != it.sum:
		it.decide(Unchecked, unreadable(it.want, errors.New("it changed while it was read")))
	case pv.entry == nil || pv.entry != r.Entry:
		// It cannot happen, and must not pass if it does.
		it.reject(&client.Error{Reason: client.ErrProof, What: "the proof was not looked at"})
	default:
		it.result, it.proof, it.state = r, pv.entry, proving
	}
}

// reject notes that the current bundle does not verify.
func (it *item) reject(err error) {
	it.tried = append(it.tried, attempt{it.current, err, true})
	it.bundle, it.proof, it.result, it.facts, it.state = nil, nil, nil, nil, seeking
}

func (it *item) decide(s Status, err error) {
	it.bundle, it.proof, it.result, it.facts, it.state = nil, nil, nil, nil, decided
	it.verdict.Refuse(s, err)
}

// collector is a entry.Verifier that puts the proof off: it sees to it that
// the program is accepted, and keeps the entry for the batch.
type collector struct {
	proofs *proofcheck.Verifier
	entry  *entry.Entry
}

var _ entry.Verifier = &collector{}

func (c *collector) Check(e *entry.Entry) error {
	if _, ok := c.proofs.Program(e.Proof.Program); !ok {
		return c.proofs.Check(e) // which says so
	}
	c.entry = e
	return nil
}

// checkProofs checks the proofs of all items that wait for it, in one batch.
func (c *Checker) checkProofs(items []*item) {
	var waiting []*item
	var entries []*entry.Entry
	for _, it := range items {
		if it.state == proving {
			waiting, entries = append(waiting, it), append(entries, it.proof)
		}
	}
	check := c.proofs.CheckBatch
	if len(entries) == 1 {
		// Others may come at the same time, each with one.
		check = func(e []*entry.Entry) []error { return []error{c.together.Check(e[0])} }
	}
	for i, err := range check(entries) {
		if it := waiting[i]; err != nil {
			it.reject(c.falseEntry(it, err))
		} else {
			it.state = holding
		}
	}
}

// judge decides about an item that no bundle verified. A bundle of the log that
// fails is an answer, and so is a log that has none; silence is not.
func (it *item) judge() (Status, error) {
	var fetched, cached, network, missing error
	for _, a := range it.tried {
		switch {
		case a.bad && !a.cached:
			fetched = first(fetched, a.err)
		case a.bad && !errors.Is(a.err, client.ErrBundle):
			cached = first(cached, a.err)
		case a.bad, a.cached: // damaged, or not there: as good as nothing
		case errors.Is(a.err, client.ErrNotLogged):
			missing = first(missing, notLogged(it.want, a.source))
		default:
			network = first(network, unreachable(it.want, a.source, a.err))
		}
	}
	switch {
	case fetched != nil:
		return Violation, fetched
	case it.c.cfg.Offline && cached != nil:
		return Violation, cached
	case it.c.cfg.Offline:
		return Unchecked, notCached(it.want)
	case network != nil && cached != nil:
		return Unchecked, besides(network, cached)
	case network != nil:
		return Unchecked, network
	case missing != nil:
		return Violation, missing
	}
	return Unchecked, noLog(it.c.cfg.Policy)
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// release gives the verdict of an item whose bundle, proof and checkpoint are good.
func (it *item) release() {
	if it.state != holding {
		return
	}
	it.state = decided
	if it.facts == nil {
		it.facts = it.c.newFacts(it.result)
		it.c.keep(it)
	}
	it.verdict.Status, it.verdict.Facts = Verified, it.facts
}
