package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
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
		for _, l := range t.Policy.Logs() {
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
	all := slices.Clone(r.Policy.Exceptions)
	for _, a := range r.Policy.Allows {
		all = append(all, a.Exception)
	}
	for i, e := range all {
		key := fmt.Sprintf("exception[%d] (%s)", i+1, e)
		if n := i - len(r.Policy.Exceptions); n >= 0 {
			key = fmt.Sprintf("allow[%d] (%s)", n+1, e)
		}
		if e.Expires.Past(now) {
			r.warn(key, "it expired on %s and does not count any more; remove it, or look again and "+
				"give it a new date", e.Expires)
		}
		if packages != nil && !e.coversAny(packages) {
			r.warn(key, "no registry package of the lock file is %s; remove it, or correct its name", e)
		}
	}
}
