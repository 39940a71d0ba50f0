package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"

	"cratelog/cargo"
	"cratelog/cargo/backlog"
	cover "cratelog/cargo/coverage"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/crate"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// reportVerb says how much of a lock file is proven, and what would add most to it.
func reportVerb(ctx context.Context, sh *shell, args []string) error {
	opts := newFlags(sh, "report", "", `Tell how much of Cargo.lock is proven, by crates and by lines of Rust, who pulls in what is
not, and which proofs would add most. The logs are asked about all crates of registries
about whose crates the policy lets them be asked, also those that need no proof.`)
	var b believe
	b.register(opts)
	var o lockOptions
	o.registerPlace(opts)
	format := opts.String("message-format", "human", "`FORMAT` of the answer: human or json")
	top := opts.Int("top", 7, "tell at most `N` of the proofs that would add most")
	tried := opts.String("prove-report", "", "`FILE` that cargo zkp prove --lock wrote: why proofs did not come "+
		"about (default: the one that it keeps for this lock file)")
	if _, err := parseUpTo(0, opts, args, ""); err != nil {
		return err
	}
	if *format != "human" && *format != "json" {
		return outcome.Usagef("--message-format is human or json, not %q", *format)
	}
	if *top < 0 {
		return outcome.Usagef("--top is a number of proofs, not %d", *top)
	}
	k, err := examineAll(ctx, sh, b, o)
	if err != nil {
		return err
	}
	report, err := k.coverage(ctx, sh, *tried, *top)
	if err != nil {
		return err
	}
	if *format == "json" {
		err = printJSON(sh, struct {
			*cover.Report
			Logs []verdict.Heard `json:"logs"`
		}{report, verdict.HeardOf(k.verdicts)})
	} else {
		err = printCoverage(sh, report, k)
	}
	n := 0
	for _, c := range report.Crates {
		if c.State == cover.Unchecked {
			n++
		}
	}
	if err == nil && n > 0 {
		return fmt.Errorf("%s could not be checked, so that more may be proven than is said here\n"+
			"\"cargo zkp verify -p NAME\" says why", crates(n))
	}
	return err
}

// surveyed is a lock file of which more was checked than has to be.
type surveyed struct {
	*lockCheck
	demands []policy.Demand // what the policy wants in truth, of Wants
}

// examineAll is examineAs for all crates.
func examineAll(ctx context.Context, sh *shell, b believe, o lockOptions) (*surveyed, error) {
	return examineAs(ctx, sh, b, o, func(policy.Status) bool { return true })
}

// examineAs is examineLock, as if the policy wanted everything proven of which it says what is chosen.
func examineAs(ctx context.Context, sh *shell, b believe, o lockOptions,
	chosen func(policy.Status) bool) (*surveyed, error) {
	if err := freshLock(ctx, sh, b, o); err != nil {
		return nil, err
	}
	k, err := planLock(ctx, sh, b, o)
	if err != nil {
		return nil, err
	}
	if len(k.Policy.Trust) == 0 { // which is how everybody begins
		sh.Warn("nothing counts as proven: %s", k.Policy.NoTrust())
	}
	s := &surveyed{lockCheck: k}
	for i := range k.Wants {
		d := &k.Wants[i].Demand
		s.demands = append(s.demands, *d)
		if chosen(d.Status) {
			d.Status, d.Warn = policy.Required, false
		}
	}
	return s, k.run(ctx, sh, b)
}

// coverage sums up what was found.
func (k *surveyed) coverage(ctx context.Context, sh *shell, tried string, top int) (*cover.Report, error) {
	report, err := proveReport(sh, k.Workspace.Root, tried)
	if err != nil {
		return nil, err
	}
	lock, err := cargo.ParseLock(k.Text)
	if err != nil {
		return nil, err
	}
	facts, err := k.measure(ctx, sh)
	if err != nil {
		return nil, err
	}
	var all []cover.Crate
	for i := range k.verdicts {
		v := &k.verdicts[i]
		c := cover.New(k.Packages[i], k.Wants[i].Index)
		if c.Demand = strings.ReplaceAll(k.demands[i].Status.String(), " ", "-"); k.demands[i].Warn {
			c.Demand = "warned"
		}
		c.Lines, c.State = facts[i].Lines, cover.Proven
		if v.Status != verdict.Verified {
			c.Reason = verdict.Explain(v.Err).Reason
			c.State, c.Cause = stateOf(v.Status, c.Reason)
		}
		if c.State == cover.Unproven && c.Cause == "" {
			c.Cause = facts[i].Cause
			switch try := reported(v, report); {
			case try == nil:
			case try.Outcome == backlog.Refused:
				c.Cause = string(try.Cause)
			case try.Outcome == backlog.Failed:
				c.Again = true
			}
		}
		all = append(all, c)
	}
	return cover.Summarize(k.Text, lock, all, top), nil
}

// stateOf says what a verdict that is not Verified is for a report, and why no proof can be made,
// if that follows from it.
func stateOf(s verdict.Status, reason string) (state, cause string) {
	switch {
	case slices.Contains([]string{"not-logged", "no-claim", "no-log"}, reason):
		return cover.Unproven, ""
	case reason == "registry":
		return cover.Unproven, "other-registry"
	case s == verdict.Violation:
		return cover.Refused, reason
	}
	return cover.Unchecked, reason
}

// proveReport reads a report that cargo zkp prove --lock wrote. With file "" it is the one that is kept for
// a workspace; nil if there is none that can be read.
func proveReport(sh *shell, root, file string) (*backlog.Report, error) {
	path := file
	if path == "" {
		dir, err := backlog.Dir(root)
		if err != nil {
			return nil, err
		}
		path = filepath.Join(dir, backlog.ReportName)
	}
	r, err := backlog.ReadReport(path)
	if file == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		err = fmt.Errorf("the report of cargo zkp prove --lock cannot be read: %w", err)
	}
	if err != nil && file == "" {
		sh.Warn("%v", err)
		return nil, nil
	}
	return r, err
}

// measure counts the lines of all crates that are on the disk, and looks at what in them stands
// against a proof. What was found before is remembered by checksum.
func (k *surveyed) measure(ctx context.Context, sh *shell) ([]cover.Fact, error) {
	cache, _, err := verdict.Dirs()
	if err != nil {
		return nil, err
	}
	memo := cover.OpenMemo(filepath.Join(cache, "lines.json"))
	facts := make([]cover.Fact, len(k.verdicts))
	bar := &bar{sh: sh}
	defer bar.clear()
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range k.verdicts {
		v := &k.verdicts[i]
		g.Go(func() error {
			facts[i] = cover.Fact{Lines: -1}
			defer done.Add(1)
			if v.Path == "" || ctx.Err() != nil {
				return ctx.Err()
			}
			if f, err := memo.Of(v.Name, v.Version, v.Checksum, func() (cover.Fact,
				error) {
				return lookAt(v)
			}); err == nil {
				facts[i] = f
			}
			return nil
		})
		bar.set(int(done.Load()), len(k.verdicts))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := memo.Save(); err != nil {
		sh.Warn("the lines will be counted again next time: %v", err)
	}
	return facts, nil
}

// lookAt reads one .crate. An error is not about its bytes.
func lookAt(v *verdict.Verdict) (cover.Fact, error) {
	raw, err := durable.Read(v.Path, crate.DefaultLimits.Compressed)
	if err != nil {
		return cover.Fact{}, err
	}
	sum := sha256.Sum256(raw)
	if sum != v.Checksum {
		return cover.Fact{}, fmt.Errorf("%s is another .crate", v.Path) // which the verdict says
	}
	c, err := crate.ReadHashed(raw, sum, v.Name, v.Version, crate.DefaultLimits)
	if err != nil {
		return cover.Fact{Lines: -1, Cause: "other"}, nil
	}
	f := cover.Fact{Cause: string(backlog.Look(c))}
	if f.Lines, err = cover.Count(c); err != nil {
		f.Lines = -1
	}
	return f, nil
}

// printCoverage prints a report that fits on a screen.
func printCoverage(sh *shell, r *cover.Report, k *surveyed) error {
	out := &strings.Builder{}
	fmt.Fprintf(out, "%s: %d of %s proven (%d percent), and %d percent of %s lines of Rust\n",
		shorten(k.Workspace.LockPath), r.Proven.Crates, crates(r.Total.Crates),
		cover.Percent(r.Proven.Crates, r.Total.Crates), cover.Percent(r.Proven.Lines, r.Total.Lines),
		thousands(r.Total.Lines))
	for _, c := range []struct {
		n    int
		what string
	}{
		{r.Excepted, "not proven and excepted in the policy"},
		{r.Warned, "not proven, and the policy warns only"},
		{r.Unknown, "not on this disk or not readable: their lines are not counted"},
		{k.Others, "from git or a path: not counted"},
	} {
		if c.n > 0 {
			fmt.Fprintf(out, "  %s %s\n", crates(c.n), c.what)
		}
	}
	for _, h := range verdict.HeardOf(k.verdicts) {
		fmt.Fprintf(out, "  %s\n", visible(h.String()))
	}
	table := func(title string, rows int, row func(i int, w *tabwriter.Writer), most int, unit string) {
		if rows == 0 {
			return
		}
		fmt.Fprintf(out, "\n%s\n", title)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		for i := range min(rows, most) {
			row(i, w)
		}
		w.Flush()
		if rows > most {
			fmt.Fprintf(out, "  and %d more %s\n", rows-most, unit)
		}
	}
	table("Not proven, by cause (crates, lines):", len(r.Groups), func(i int, w *tabwriter.Writer) {
		g := r.Groups[i]
		fmt.Fprintf(w, "%d\t%s\t  %s\n", g.Crates, thousands(g.Lines), whyOpen(g))
	}, 6, "causes")
	table("By whom they come (crates, lines; one may come by several):", len(r.Through), func(i int,
		w *tabwriter.Writer) {
		t := r.Through[i]
		fmt.Fprintf(w, "%d\t%s\t  %s v%s\n", t.Crates, thousands(t.Lines), t.Name, t.Version)
	}, 5, "direct dependencies")
	if n := len(r.Next); n > 0 {
		table(stepsTitle(r), n, func(i int, w *tabwriter.Writer) {
			s := r.Next[i]
			fmt.Fprintf(w, "%d %%\t%s\t  %s v%s\n", cover.Percent(s.After.Lines, r.Total.Lines), thousands(s.Lines),
				s.Name, s.Version)
		}, n, "")
		fmt.Fprintf(out, "  %s\n  makes them, each with -p NAME@VERSION, or all\n", proveLock(k.Policy))
	}
	_, err := fmt.Fprint(sh.stdout, out.String())
	return err
}

// stepsTitle says what the next proofs would change.
func stepsTitle(r *cover.Report) string {
	n := len(r.Next)
	from, to := cover.Percent(r.Proven.Lines, r.Total.Lines), cover.Percent(r.Next[n-1].After.Lines, r.Total.Lines)
	these, take, add := fmt.Sprintf("These %d proofs", n), "take", "add"
	if n == 1 {
		these, take, add = "This proof", "takes", "adds"
	}
	if from == to {
		return fmt.Sprintf("%s %s less than one percent of the lines:", these, add)
	}
	return fmt.Sprintf("%s %s you from %d to %d percent of the lines:", these, take, from, to)
}

// whyOpen says in words why the crates of a group are not proven.
func whyOpen(g cover.Group) string {
	switch {
	case g.State == cover.Unproven && g.Cause == "":
		return "not logged, and nothing known stands against a proof"
	case g.State == cover.Unproven:
		return backlog.Cause(g.Cause).Sentence()
	case g.State == cover.Refused:
		return "refused: " + g.Cause + " (cargo zkp verify says more)"
	case g.Cause == "not-downloaded":
		return "not on this disk"
	}
	return "could not be checked: " + g.Cause
}

// thousands writes a number with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
