package verdict

import (
	"context"
	"errors"
	"fmt"

	"cratelog/client"
	"cratelog/entry"
)

// errUnshown is that a log's trees could not be compared.
var errUnshown = errors.New("not compared")

// doubts looks at what a warning would pass over. A bundle is refused at the first check that it
// fails, and some of those say only that less is shown than the policy wants: it is old, leaves out
// a file, or its program is not accepted. What comes after such a check is checked here, so that age
// is no cover: a proof that does not hold, another .crate, and a fork are refused, wherever they
// stand. (What was not looked at is no verdict: nothing is believed by it.)
func (c *Checker) doubts(ctx context.Context, items []*item) {
	var all, held []*item
	of := map[*item]*item{}
	for _, it := range items {
		if !it.verdict.warns() {
			continue
		}
		for _, a := range it.tried {
			if a.bundle != nil {
				d := it.doubt(a)
				all, of[d] = append(all, d), it
			}
		}
	}
	c.checkProofs(ctx, all)
	for _, d := range all {
		if d.state == holding {
			held = append(held, d)
		}
	}
	if len(held) > 0 {
		c.heads.settle(ctx, held)
	}
	for _, d := range all {
		status, err := Violation, d.verdict.Err
		switch {
		case d.state == seeking: // it was rejected
			err = d.tried[0].err
		case d.state == decided:
			status = d.verdict.Status
		}
		if err == nil || Mild(err) || errors.Is(err, errUnshown) {
			continue
		}
		if v := of[d].verdict; v.warns() {
			if d.current.place != nil {
				err = doesNotDo(attempt{candidate: d.current, err: err})
			}
			v.Refuse(status, err)
		}
	}
}

// warns says that a verdict is to be no more than a warning.
func (v *Verdict) warns() bool {
	return v.Demand.Warn && (v.Status == Violation || v.Status == Unchecked) && Mild(v.Err)
}

// doubt returns the item of a bundle that was refused mildly, for a reader to whom that does not matter.
// It was taken as far as verify takes it.
func (it *item) doubt(a attempt) *item {
	d := &item{c: it.c, want: it.want, verdict: &Verdict{Want: it.want}, links: it.links, rules: it.rules, sum: it.sum,
		looked: true, current: a.candidate}
	if it.want.Raw != nil {
		d.raw = it.want.Raw
	}
	d.rules.MaxAge, d.rules.AllowCRLF = 0, client.AnyCRLF
	p, e, err := client.UnverifiedEntry(a.bundle)
	if err != nil {
		d.reject(err) // which cannot be: only what parses is refused mildly
		return d
	}
	if src, ok := e.Claim.(*entry.Source); ok {
		d.rules.AllowUnproven = src.Unproven
	}
	d.verify(a.bundle)
	if d.state != seeking || !errors.Is(d.tried[0].err, client.ErrProgram) {
		return d
	}
	// Nothing can be said of its proof. Its checkpoint counts, and what it is about.
	checkpoint, err := d.current.source.trust.Policy.CheckCheckpointRules(p.Checkpoint, d.rules)
	switch {
	case err != nil:
		d.reject(err) // nor can this be: it was good before
	case e.Subject.SHA256 != d.sum:
		d.tried[0].err = &client.Error{Reason: client.ErrSubject, What: fmt.Sprintf("the entry is about %s %s with "+
			"SHA-256 %x, this .crate has %x", e.Subject.Name, e.Subject.Version, e.Subject.SHA256, d.sum)}
	default:
		d.tried, d.bundle, d.state = nil, a.bundle, holding
		d.result = &client.Result{Checkpoint: checkpoint}
	}
	return d
}
