package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"cratelog/cargo/backlog"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
)

// byCount returns the keys of a count, the greatest first.
func byCount(n map[string]int) []string {
	return slices.SortedFunc(maps.Keys(n), func(a, b string) int {
		return cmp.Or(cmp.Compare(n[b], n[a]), cmp.Compare(a, b))
	})
}

// reviewOptions are those of suggest and prune.
type reviewOptions struct {
	believe
	lock lockOptions
}

func (o *reviewOptions) register(fs *flag.FlagSet) {
	o.believe.register(fs)
	o.lock.format = "human"
	o.lock.registerPlace(fs)
}

// An advice is what can be done about an exception.
type advice struct {
	policy.Exception
	What  string // one of the keys of advices
	Cause string // for unprovable: as backlog.Cause
}

// advices are what suggest says, cheapest first.
var advices = []struct{ what, text, do string }{
	{"false", "of what does not verify: look at it", "cargo zkp verify -v names it once the exception is removed; do " +
		"not use the crate before"},
	{"logged", "can go: what is excepted is logged, and verifies", "run cargo zkp prune"},
	{"needless", "of what needs no proof anyway", "run cargo zkp prune"},
	{"gone", "about crates that Cargo.lock has no more", "run cargo zkp prune"},
	{"updated", "about versions that Cargo.lock has no more: others are not excepted", "run cargo zkp prune"},
	{"proven", "of what was proven here, and is not logged", ""}, // what proveLock says
	{"provable", "of what could be proven from what it names", ""},
	{"registry", "of what the policy lets no log be asked about", "if a log may hear of that registry's crates, name it " +
		"in zkp.toml: logs = [...] under [registry.\"INDEX\"]"},
	{"unprovable", "of what cannot be proven as it is", "ask its author for a release from a clean commit, or depend " +
		"on another version"},
	{"unknown", "of what could not be looked at", "try again when the log answers"},
}

// reviewed is what is known of exceptions.
type reviewed struct {
	*surveyed
	all []advice
}

// review looks at all exceptions as if they were none.
func (o *reviewOptions) review(ctx context.Context, sh *shell, file string) (*reviewed, error) {
	k, err := examineAs(ctx, sh, o.believe, o.lock, func(s policy.Status) bool { return s == policy.Excepted })
	if err != nil {
		return nil, err
	}
	report, err := proveReport(sh, k.Workspace.Root, file)
	if err != nil {
		return nil, err
	}
	r := &reviewed{surveyed: k}
	for _, e := range k.Policy.Exceptions {
		r.all = append(r.all, k.adviceAbout(e, report))
	}
	return r, nil
}

// adviceAbout says what can be done about one exception.
func (k *lockCheck) adviceAbout(e policy.Exception, report *backlog.Report) advice {
	a := advice{Exception: e, What: "gone"}
	for i := range k.verdicts {
		v := &k.verdicts[i]
		if !e.Covers(v.Demand.Package) {
			if v.Name == e.Crate && a.What == "gone" {
				a.What = "updated"
			}
			continue
		}
		what, cause := adviceFor(v, report)
		// Of several versions that one covers, the worst counts.
		if a.What == "gone" || a.What == "updated" || a.What == "needless" || a.What == "logged" && what != "needless" {
			a.What, a.Cause = what, cause
		}
		if what == "false" {
			return advice{e, what, ""}
		}
	}
	return a
}

// adviceFor says what can be done about a crate that is excepted.
func adviceFor(v *verdict.Verdict, report *backlog.Report) (what, cause string) {
	switch v.Status {
	case verdict.Verified:
		return "logged", ""
	case verdict.NotAsked:
		return "needless", ""
	}
	if !verdict.Mild(v.Err) {
		if v.Status == verdict.Unchecked {
			return "unknown", ""
		}
		return "false", ""
	}
	switch verdict.Explain(v.Err).Reason {
	case "not-logged", "no-claim", "no-log", "not-cached":
	case "unreachable", "withheld", "not-downloaded", "index-not-seen":
		return "unknown", ""
	case "registry":
		return "registry", ""
	default:
		return "unprovable", ""
	}
	if c := reported(v, report); c != nil && c.Outcome == backlog.Proven {
		return "proven", ""
	} else if c != nil && c.Outcome == backlog.Refused {
		return "unprovable", string(c.Cause)
	}
	switch seen, looked := causeOf(v); {
	case !looked:
		return "unknown", ""
	case seen == "":
		return "provable", ""
	default:
		return "unprovable", string(seen)
	}
}

// suggest tells what can be done about the exceptions, cheapest first.
func suggest(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "suggest", "", `Tell what can be done about the exceptions of zkp.toml, cheapest first: which can go, which
crates could be proven and how, which exceptions end soon, and which are about nothing.`)
	var o reviewOptions
	o.register(fs)
	var path string
	fs.StringVar(&path, "report", "", "`FILE` that cargo zkp prove --lock --report wrote (default: the one in its "+
		"work directory)")
	fs.StringVar(&o.lock.format, "message-format", "human", "`FORMAT` of the answer: human, or json (one object a "+
		"line)")
	if _, err := parseUpTo(0, fs, args, ""); err != nil {
		return err
	}
	if o.lock.format != "human" && o.lock.format != "json" {
		return outcome.Usagef("--message-format is human or json, not %q", o.lock.format)
	}
	r, err := o.review(ctx, sh, path)
	if err != nil {
		return err
	}
	if o.lock.format == "json" {
		return r.json(sh)
	}
	return r.human(sh)
}

func (r *reviewed) human(sh *shell) error {
	if len(r.all) == 0 {
		sh.Status("Finished", "there are no exceptions")
		return nil
	}
	over, soon := map[bool][]advice{}, 0
	for _, a := range r.all {
		over[a.Expires.Past(time.Now())] = append(over[a.Expires.Past(time.Now())], a)
		if a.Expires.Soon(time.Now()) {
			soon++
		}
	}
	for _, one := range advices {
		var of []advice
		causes := map[string]int{}
		for _, a := range r.all {
			if a.What == one.what {
				of = append(of, a)
				if a.Cause != "" {
					causes[causeSentence(a.Cause)]++
				}
			}
		}
		if len(of) == 0 {
			continue
		}
		fmt.Fprintf(sh.stdout, "%s %s\n", exceptions(len(of)), one.text)
		printExceptions(sh, of)
		for _, c := range byCount(causes) {
			fmt.Fprintf(sh.stdout, "  %d %s\n", causes[c], c)
		}
		fmt.Fprintf(sh.stdout, "  %s\n", cmp.Or(one.do, "run "+proveLock(r.Policy)))
	}
	if list := over[true]; len(list) > 0 {
		fmt.Fprintf(sh.stdout, "%s expired: no more in force\n", exceptions(len(list)))
		printExceptions(sh, list)
		fmt.Fprintln(sh.stdout, "  when the above is done, run cargo zkp init --from-lock --force for a new date, "+
			"or edit the date")
	}
	if soon > 0 {
		fmt.Fprintf(sh.stdout, "%s to end within 14 days\n", exceptions(soon))
	}
	return nil
}

func exceptions(n int) string {
	if n == 1 {
		return "1 exception"
	}
	return fmt.Sprintf("%d exceptions", n)
}

// printExceptions names some, with -v all, each with its reason.
func printExceptions(sh *shell, list []advice) {
	if sh.verbose {
		for _, a := range list {
			fmt.Fprintf(sh.stdout, "  %s until %s: %s\n", a.Exception, a.Expires, plain(a.Reason))
		}
		return
	}
	var names []string
	for _, a := range list {
		names = append(names, a.String())
	}
	fmt.Fprintf(sh.stdout, "  %s\n", policy.Few(names))
}

// json prints one object a line for each exception.
func (r *reviewed) json(sh *shell) error {
	out := json.NewEncoder(sh.stdout)
	out.SetEscapeHTML(false)
	for _, a := range r.all {
		err := out.Encode(struct {
			Type      string `json:"message_type"`
			Crate     string `json:"crate"`
			Version   string `json:"version,omitempty"`
			Registry  string `json:"registry,omitempty"`
			Advice    string `json:"advice"`
			Cause     string `json:"cause,omitempty"`
			Expires   string `json:"expires"`
			Expired   bool   `json:"expired"`
			Generated bool   `json:"generated"`
		}{"exception", a.Crate, a.Version, a.Registry, a.What, a.Cause, a.Expires.String(),
			a.Expires.Past(time.Now()), a.File != ""})
		if err != nil {
			return err
		}
	}
	return nil
}

// prune takes exceptions that are not needed any more out of the file of exceptions.
func prune(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "prune", "", `Take out of the file of exceptions what is not needed any more: crates that are proven now,
that need no proof, or that Cargo.lock has no more. What stands in zkp.toml itself is named, and
stays.`)
	var o reviewOptions
	o.register(fs)
	dry := fs.Bool("dry-run", false, "only say what would be done")
	force := fs.Bool("force", false, "also write over a file that was changed by hand: its comments are lost")
	if _, err := parseUpTo(0, fs, args, ""); err != nil {
		return err
	}
	r, err := o.review(ctx, sh, "")
	if err != nil {
		return err
	}
	return r.prune(sh, *dry, *force)
}

func (r *reviewed) prune(sh *shell, dry, force bool) error {
	// Other workspaces may need what this one does not, but for those below it.
	rel, err := filepath.Rel(r.Workspace.Root, r.Policy.Path)
	shared := err != nil || !filepath.IsLocal(rel)
	x := &policy.Exceptions{}
	n := map[string]int{}
	var byHand, others []string
	for _, a := range r.all {
		goes := a.What == "logged" || a.What == "needless" || a.What == "gone" || a.What == "updated"
		switch {
		case a.File == "" && goes:
			byHand = append(byHand, a.String())
		case a.File == "":
		case goes && shared && a.What != "logged":
			others = append(others, a.String())
			fallthrough
		case !goes:
			x.List, x.Expires = append(x.List, a.Exception), a.Expires
		default:
			n[a.What]++
			x.Expires = a.Expires
			sh.Status("Removing", "%s: %s", a.Exception, map[string]string{"logged": "it is logged, and verifies",
				"needless": "it needs no proof anyway",
				"gone":     "Cargo.lock does not have it", "updated": "Cargo.lock has another version"}[a.What])
		}
	}
	if len(byHand) > 0 {
		sh.Warn("%s has exceptions that are not needed any more; take them out by hand: %s", shorten(r.Policy.Path),
			policy.Few(byHand))
	}
	if len(others) > 0 {
		sh.Warn("%s is of other workspaces too, perhaps, so that what this one does not need stays: %s",
			shorten(r.Policy.Path), policy.Few(others))
	}
	gone := n["gone"] + n["updated"]
	removed := n["logged"] + n["needless"] + gone
	what := fmt.Sprintf("%d removed (%d proven now, %d not in Cargo.lock), %d left", removed, n["logged"], gone,
		len(x.List))
	switch {
	case r.Policy.ExceptionsPath == "":
		sh.Status("Finished", "there is no file of exceptions to shorten")
		return nil
	case removed == 0:
		sh.Status("Finished", "all exceptions of %s are needed", shorten(r.Policy.ExceptionsPath))
		return nil
	case dry:
		sh.Status("Finished", "%s: %s; nothing was written, for --dry-run", shorten(r.Policy.ExceptionsPath), what)
		return nil
	}
	if err := x.Write(r.Policy.ExceptionsPath, force); err != nil {
		return err
	}
	sh.Status("Finished", "%s: %s", shorten(r.Policy.ExceptionsPath), what)
	return nil
}
