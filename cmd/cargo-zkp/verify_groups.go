package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/cargo"
	"cratelog/cargo/backlog"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/crate"
)

// What is wrong fits a screen of this size, with what cargo and the verb say before.
const (
	columns   = 100
	maxGroups = 5 // that are told of at length, in at most four lines each
	indent    = 2
	maxSingle = 3 // complaints that are told of one by one
)

// look finds out of crates that no log has what their .crates show of why, and by what all that are
// complained of come.
func (k *lockCheck) look(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range k.verdicts {
		v := &k.verdicts[i]
		switch v.Status {
		case verdict.Violation, verdict.Unchecked, verdict.Warned:
		default:
			continue
		}
		v.By = k.PulledInBy(i)
		if verdict.Explain(v.Err).Reason == "not-logged" {
			g.Go(func() error {
				if ctx.Err() == nil {
					cause, _ := causeOf(v)
					v.Cause = string(cause)
				}
				return nil
			})
		}
	}
	g.Wait() // there are no errors
}

// causeOf returns what a .crate shows of why it is not proven, and whether there was one to look at.
func causeOf(v *verdict.Verdict) (backlog.Cause, bool) {
	raw, err := cargo.ReadCached(v.Path)
	if v.Path == "" || err != nil {
		return "", false
	}
	c, err := crate.Read(raw, v.Name, v.Version, crate.DefaultLimits)
	if err != nil {
		return backlog.Other, true
	}
	return backlog.Look(c), true
}

// complaints prints what is wrong, one by one if that is little, else in groups.
func (k *lockCheck) complaints(sh *shell) {
	var bad []*verdict.Verdict
	for i := range k.verdicts {
		if s := k.verdicts[i].Status; s == verdict.Violation || s == verdict.Unchecked {
			bad = append(bad, &k.verdicts[i])
		}
	}
	if sh.verbose || len(bad)+len(k.Elsewhere) <= maxSingle {
		for _, v := range bad {
			k.complain(sh, v)
		}
		for _, text := range k.Elsewhere {
			sh.complain(text)
		}
		return
	}
	k.groups(sh, bad)
}

// failing are crates of which the same is wrong.
type failing struct {
	reason string
	all    []*verdict.Verdict
}

// grouped sorts crates by what is wrong: what is false last, where it is seen, and before it the many
// before the few.
func grouped(bad []*verdict.Verdict) (groups []failing) {
	for _, v := range bad {
		reason := verdict.Explain(v.Err).Reason
		at := slices.IndexFunc(groups, func(g failing) bool { return g.reason == reason })
		if at < 0 {
			at, groups = len(groups), append(groups, failing{reason, nil})
		}
		groups[at].all = append(groups[at].all, v)
	}
	rank := func(g failing) int {
		if slices.ContainsFunc(g.all, func(v *verdict.Verdict) bool { return !verdict.Mild(v.Err) }) {
			return len(g.all)
		}
		return -len(g.all)
	}
	slices.SortFunc(groups, func(a, b failing) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.reason, b.reason))
	})
	return groups
}

func (k *lockCheck) groups(sh *shell, bad []*verdict.Verdict) {
	groups := grouped(bad)
	if n := len(groups) - maxGroups; n > 0 {
		count := 0
		for _, g := range groups[:n] {
			count += len(g.all)
		}
		sh.complain(fmt.Sprintf("%s for %d more reasons; -v names them", crates(count), n))
		groups = groups[n:]
	}
	for _, text := range k.Elsewhere[:min(len(k.Elsewhere), maxSingle-1)] {
		first, _, _ := strings.Cut(text, "\n")
		sh.complain(clip(first, columns-len("error: ")))
	}
	if n := len(k.Elsewhere) - (maxSingle - 1); n > 0 {
		sh.complain(fmt.Sprintf("%d more cannot be verified at all; -v names them", n))
	}
	for _, g := range groups {
		why := fmt.Sprintf(" (%s)", g.reason)
		text := clip(fmt.Sprintf("%s: %s", crates(len(g.all)), verdict.About(g.reason)),
			columns-len("error: ")-len(why)) + why
		if k.paths {
			for _, v := range g.all {
				text += "\n" + strings.Join(v.By, " > ")
			}
		} else {
			text += "\n" + fit(g.all)
		}
		if causes := causesOf(g.all); g.reason == "not-logged" {
			text += "\n" + causes
		}
		text += ended(g.all)
		sh.complain(text + "\n" + g.remedy(k.Policy))
	}
}

// ended says how many of some crates were excepted, and are no more.
func ended(all []*verdict.Verdict) string {
	n, last := 0, policy.Date{}
	for _, v := range all {
		for i, x := range v.Demand.Expired {
			if i == 0 {
				n++
			}
			if last.Before(x.Expires) {
				last = x.Expires
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("\nexceptions for %d of them ended, the last on %s", n, last)
}

// remedy says once what can be done.
func (g failing) remedy(p *policy.Policy) string {
	if g.reason == "not-logged" {
		force := ""
		if p.ExceptionsPath != "" { // which is there, and is not written over without
			force = " --force"
		}
		return proveLock(p) + "\nproves what can be; cargo zkp init --from-lock" + force + " excepts the rest"
	}
	first, _, _ := strings.Cut(verdict.Explain(g.all[0].Err).Remedy, ". ")
	return clip(cmp.Or(first, "-v tells more of each"), columns-indent)
}

// clip cuts a text that is longer than a line.
func clip(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:width-len("...")]) + "..."
	}
	return s
}

// fit lists as many crates as a line holds.
func fit(all []*verdict.Verdict) string {
	const more = " and 12345 more"
	text := ""
	for i, v := range all {
		one := v.Name + " v" + v.Version
		if i > 0 {
			one = ", " + one
		}
		if i > 0 && len(text)+len(one) > columns-indent-len(more) {
			return text + fmt.Sprintf(" and %d more", len(all)-i)
		}
		text += one
	}
	return text
}

// causesOf counts why crates are not proven, the most frequent first.
func causesOf(all []*verdict.Verdict) string {
	n := map[string]int{}
	for _, v := range all {
		n[v.Cause]++
	}
	var list []string
	for _, c := range byCount(n) {
		list = append(list, fmt.Sprintf("%d %s", n[c], causeSentence(c)))
	}
	return strings.Join(list[:min(len(list), 3)], "; ")
}

// causeSentence is Cause.Sentence, also of crates that look provable.
func causeSentence(cause string) string {
	return cmp.Or(backlog.Cause(cause).Sentence(), "could be proven from what they name")
}

// warn prints the notes on crates that are good enough, those that are not proven and should be, and
// exceptions that end: each kind once if it is of many.
func (k *lockCheck) warn(sh *shell) {
	lacking, warned, soon := k.noted(sh)
	if len(lacking) > 0 {
		sh.Warn("what manifests name was left out of %s; \"cargo zkp verify -v\" names it", crates(len(lacking)))
	}
	for _, g := range grouped(warned) {
		sh.Warn("%s not proven, and should be: %s\n%s", crates(len(g.all)), verdict.About(g.reason), fit(g.all))
	}
	if len(soon) > 0 {
		slices.SortStableFunc(soon, func(a, b *verdict.Verdict) int {
			return strings.Compare(a.Demand.Except.Expires.String(), b.Demand.Except.Expires.String())
		})
		sh.Warn("%s will be refused when an exception ends, the first after %s; \"cargo zkp suggest\" tells what "+
			"can be done\n%s",
			crates(len(soon)), soon[0].Demand.Except.Expires, fit(soon))
	}
}

// noted prints single notes, and returns what is told of together.
func (k *lockCheck) noted(sh *shell) (lacking, warned, soon []*verdict.Verdict) {
	for i := range k.verdicts {
		v := &k.verdicts[i]
		switch e := v.Demand.Except; {
		case v.Status == verdict.Warned:
			warned = append(warned, v)
		case v.Status == verdict.Excepted && e.Expires.Soon(time.Now()):
			soon = append(soon, v)
		}
		for _, note := range v.Notes {
			if !sh.verbose && v.Facts != nil && len(v.Facts.Coverage.LeftOut) > 0 && strings.HasPrefix(note,
				"it lacks ") {
				lacking = append(lacking, v)
			} else {
				sh.Warn("%s v%s: %s", v.Name, v.Version, note)
			}
		}
	}
	return lacking, warned, soon
}

// warnings counts what there is to be warned of, whatever the format of the answer.
func (k *lockCheck) warnings() int {
	n, development := len(k.Unmatched), 0
	for _, v := range k.verdicts {
		n += len(v.Notes)
		if v.Status == verdict.Warned || v.Status == verdict.Excepted && v.Demand.Except.Expires.Soon(time.Now()) {
			n++
		}
		if v.Status == verdict.Verified && v.Facts.Development {
			development = 1
		}
	}
	return n + development
}

// excepted counts the crates that need no proof for some time, and names those of which that ends first.
func (k *lockCheck) excepted() string {
	first, all := policy.Date{}, 0
	var names []string
	for _, v := range k.verdicts {
		e := v.Demand.Except
		if v.Status != verdict.Excepted || e == nil {
			continue
		}
		if all++; all == 1 || e.Expires.Before(first) {
			first, names = e.Expires, nil
		}
		if e.Expires == first {
			names = append(names, v.Name+" v"+v.Version)
		}
	}
	switch {
	case all == 0:
		return ""
	case len(names) == all:
		return fmt.Sprintf("%s until %s: %s", crates(all), first, policy.Few(names))
	}
	return fmt.Sprintf("%s, %d until %s: %s", crates(all), len(names), first, policy.Few(names))
}
