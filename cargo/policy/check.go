package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cratelog/cargo"
)

// Report is what Check has to say about a policy.
type Report struct {
	Policy   *Policy  // nil if it cannot be read
	Err      error    // why not, naming files and keys
	Faults   []string // why what must be proven is refused, whatever the crates are
	Warnings []string
}

// Check loads the policy at path, or the default one if path is "", with all files
// that it names, and looks for what is allowed but may not be meant: exceptions
// that are over or soon will be, and with a lock file (packages not nil)
// exceptions and demands that fit no package; trust files that ask for no witness
// or name no address; UNSAFE settings. What makes every verification fail, or this lock
// file's, is a fault.
func Check(path, userDir string, asks []Ask, packages []Package, now time.Time) Report {
	var r Report
	if r.Policy, r.Err = Load(path, userDir); r.Err != nil {
		return r
	}
	r.settings()
	r.trust(len(asks) > 0)
	r.exceptions(packages, now)
	r.registries(packages)
	if packages != nil {
		res := r.Policy.Resolve(asks, packages, now)
		r.Faults = append(r.Faults, res.Missing...)
		r.Warnings = append(r.Warnings, res.Unmatched...)
	}
	return r
}

func (r *Report) sentence(key, format string, args ...any) string {
	at := r.Policy.Path
	if at == "" {
		at = "the default policy"
	}
	return fmt.Sprintf("%s: %s: %s", at, key, fmt.Sprintf(format, args...))
}

func (r *Report) warn(key, format string, args ...any) {
	r.Warnings = append(r.Warnings, r.sentence(key, format, args...))
}

func (r *Report) settings() {
	p := r.Policy
	if p.Development {
		r.warn("development", "proofs with UNSAFE development keys are accepted, which anyone can "+
			"forge; set it to false for anything but trying things out")
	}
	for _, file := range p.AllowUnproven {
		if file == "Cargo.toml" {
			r.warn("allow-unproven", "any crate may have an unproven Cargo.toml, so its dependencies "+
				"and build script can be anything; name single crates under [[allow]] instead")
		}
	}
}

// trust looks at whom the policy believes. If nobody, that is a fault if something must be
// proven.
func (r *Report) trust(asked bool) {
	p := r.Policy
	to := &r.Warnings
	if asked || p.requires() {
		to = &r.Faults
	}
	if len(p.Programs) == 0 {
		*to = append(*to, r.sentence("programs", "no program is accepted, so no proof will be; name a program that you "+
			"trust, or set development = true to try things out"))
	}
	if len(p.Trust) == 0 {
		*to = append(*to, r.sentence("trust", "nothing can be verified: %s", p.NoTrust()))
	}
	good := false
	var witnessless []string
	for _, t := range p.Trust {
		good = good || t.Policy.NeedsWitnesses()
		if !t.Policy.NeedsWitnesses() {
			text := "every bundle of its logs is refused; name witnesses and a quorum"
			if p.Development {
				text = "its logs can show each reader another tree; name witnesses and a quorum"
			}
			witnessless = append(witnessless, fmt.Sprintf(`%s says "quorum none": %s`, t.Path, text))
		}
		for _, l := range t.Policy.Origins() {
			if l.URL == "" {
				r.Warnings = append(r.Warnings, fmt.Sprintf("%s names no address of the log %q, so "+
					"nothing can be fetched from it; add its URL behind the key", t.Path, l.Origin))
			}
		}
	}
	if good || p.Development {
		to = &r.Warnings
	}
	*to = append(*to, witnessless...)
}

// requires says whether the policy itself wants anything proven.
func (p *Policy) requires() bool {
	n := len(p.Require) + len(p.Expects) + len(p.openings().all)
	for _, r := range p.Registries {
		n += len(r.Require)
	}
	return n > 0
}

// registries looks for registries whose table does nothing.
func (r *Report) registries(packages []Package) {
	known := map[string]bool{}
	for _, t := range r.Policy.Trust {
		for _, l := range t.Policy.Logs() {
			known[l.Origin] = true
		}
	}
	used := map[string]bool{"": true}
	for _, pkg := range packages {
		used[indexOf(pkg.Registry)] = true
	}
	for _, index := range slices.Sorted(maps.Keys(r.Policy.Registries)) {
		reg := r.Policy.Registries[index]
		key := fmt.Sprintf("registry.%q", cmp.Or(index, cargo.DefaultSource))
		for _, origin := range reg.Logs {
			if !known[origin] {
				r.warn(key+".logs", "no trust file lists a log %q, so that it is not asked; correct its origin, or add its "+
					"trust file", origin)
			}
		}
		if len(reg.Require) > 0 && !reg.AnyLog && len(reg.Logs) == 0 {
			r.warn(key, "no log may be asked about its crates, so that those which must be proven cannot be; name logs, or "+
				`write require = "none"`)
		}
		if packages != nil && !used[index] {
			r.warn(key, "no package of the lock file is from there; compare it with the lines source = ... of Cargo.lock")
		}
	}
}

func (r *Report) exceptions(packages []Package, now time.Time) {
	n, allows := map[bool]int{}, len(r.Policy.Exceptions)
	all := slices.Clone(r.Policy.Exceptions)
	for _, a := range r.Policy.Allows {
		all = append(all, a.Exception)
	}
	var over, soon, gone []string // of generated ones
	for i, e := range all {
		var key string
		if e.File == "" {
			n[i < allows]++
			key = fmt.Sprintf("exception[%d] (%s)", n[true], e)
		}
		if i >= allows {
			key = fmt.Sprintf("allow[%d] (%s)", n[false], e)
		}
		unmatched := packages != nil && !e.coversAny(packages)
		switch {
		case e.File != "":
			for list, is := range map[*[]string]bool{&over: e.Expires.Past(now), &soon: e.Expires.Soon(now), &gone: unmatched} {
				if is {
					*list = append(*list, e.String())
				}
			}
			continue
		case e.Expires.Past(now):
			r.warn(key, "it expired on %s and does not count any more; remove it, or look again and "+
				"give it a new date", e.Expires)
		case e.Expires.Soon(now):
			r.warn(key, "it expires on %s; what it excepts will be refused then", e.Expires)
		}
		if unmatched {
			r.warn(key, "no registry package of the lock file is %s; remove it, or correct its name", e)
		}
	}
	for _, g := range []struct {
		list []string
		text string
	}{
		{over, `expired, and do not count any more: %s; "cargo zkp suggest" tells what can be done`},
		{soon, `expire within 14 days: %s; "cargo zkp suggest" tells what can be done`},
		{gone, `are about no registry package of the lock file: %s; "cargo zkp prune" removes them`},
	} {
		if len(g.list) > 0 {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s: exceptions "+g.text, r.Policy.ExceptionsPath, Few(g.list)))
		}
	}
}

// Few lists the first of some names.
func Few(names []string) string {
	const most = 3
	text := strings.Join(names[:min(len(names), most)], ", ")
	if n := len(names) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
