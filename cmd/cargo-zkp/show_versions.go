package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"

	"golang.org/x/mod/semver"

	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/internal/outcome"
)

// listed is a version that a log says it has an entry about.
type listed struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Checksum string `json:"checksum"`
	Log      string `json:"log"`   // origin
	Index    uint64 `json:"index"` // of its first entry there
}

// showVersions lists all versions of a crate that the trusted logs hold. It is what they say: to look at one
// verifies it.
func showVersions(ctx context.Context, sh *shell, p *policy.Policy, name, format string) error {
	var all []listed
	var failed []error
	asked := map[string]bool{}
	for _, t := range p.Trust {
		for _, l := range t.Policy.Origins() {
			if l.URL == "" || asked[l.Origin] {
				continue
			}
			asked[l.Origin] = true
			rows, err := (&client.Log{URL: l.URL, UserAgent: userAgent}).Versions(ctx, "", name)
			if err != nil && !errors.Is(err, client.ErrNotLogged) {
				sh.Warn("%s: %v", l.Origin, err)
				failed = append(failed, fmt.Errorf("%s: %w", l.Origin, err))
			}
			for _, r := range rows {
				all = append(all, listed{r.Name, r.Version, fmt.Sprintf("%x", r.SHA256), l.Origin, r.Index})
			}
		}
	}
	switch {
	case len(asked) == 0:
		return outcome.Usagef("no trust file names the URL of a log that could be asked: name one with --trust")
	case len(all) == 0 && len(failed) > 0:
		return fmt.Errorf("no log that answers has an entry about %s in cargo's default registry, and not all answer", name)
	case len(all) == 0:
		return outcome.Refusef("no log that is trusted has an entry about %s in cargo's default registry", name)
	}
	slices.SortStableFunc(all, func(a, b listed) int {
		return cmp.Or(semver.Compare("v"+a.Version, "v"+b.Version), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Name,
			b.Name))
	})
	if format == "json" {
		return printJSON(sh, struct {
			Versions []listed `json:"versions"`
		}{all})
	}
	w := tabwriter.NewWriter(sh.stdout, 0, 0, 2, ' ', 0)
	for _, v := range all {
		fmt.Fprintf(w, "%s@%s\tentry %d\t%s\t%s\n", v.Name, v.Version, v.Index, printable(v.Log), v.Checksum)
	}
	return w.Flush()
}
