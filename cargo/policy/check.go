package policy

import (
	"fmt"
	"slices"
	"time"
)

// Report is what Check has to say about a policy.
type Report struct {
	Policy   *Policy // nil if it cannot be used
	Err      error   // why not, naming files and keys
	Warnings []string
}

// Check loads the policy at path, or the default one if path is "", with all files
// that it names, and looks for what is allowed but may not be meant: exceptions
// that are over or soon will be, and with a lock file (packages not nil)
// exceptions and demands that fit no package; trust files that ask for no witness
// or name no address; UNSAFE settings.
func Check(path, userDir string, asks []Ask, packages []Package, now time.Time) Report {
	var r Report
	if r.Policy, r.Err = Load(path, userDir); r.Err != nil {
		return r
	}
	r.settings(now)
	r.trust()
	r.exceptions(packages, now)
	if packages != nil {
		r.Warnings = append(r.Warnings, r.Policy.Resolve(asks, packages, now).Unmatched...)
	}
	return r
}

func (r *Report) warn(key, format string, args ...any) {
	at := r.Policy.Path
	if at == "" {
		at = "the default policy"
	}
	r.Warnings = append(r.Warnings, fmt.Sprintf("%s: %s: %s", at, key, fmt.Sprintf(format, args...)))
}

func (r *Report) settings(now time.Time) {
	p := r.Policy
	if p.Development {
		r.warn("development", "proofs with UNSAFE development keys are accepted, which anyone can "+
			"forge; set it to false for anything but trying things out")
	}
	if len(p.Programs) == 0 {
		r.warn("programs", "no program is accepted, so no proof will be; name a program that you trust")
	}
	for _, file := range p.AllowUnproven {
		if file == "Cargo.toml" {
			r.warn("allow-unproven", "any crate may have an unproven Cargo.toml, so its dependencies "+
				"and build script can be anything; name single crates under [[allow]] instead")
		}
	}
}

func (r *Report) trust() {
	if len(r.Policy.Trust) == 0 {
		r.warn("trust", "nothing can be verified: %s", r.Policy.NoTrust())
	}
	for _, t := range r.Policy.Trust {
		if !t.Policy.NeedsWitnesses() {
			text := "every bundle of its logs is refused; name witnesses and a quorum"
			if r.Policy.Development {
				text = "its logs can show each reader another tree; name witnesses and a quorum"
			}
			r.Warnings = append(r.Warnings, fmt.Sprintf(`%s says "quorum none": %s`, t.Path, text))
		}
		for _, l := range t.Policy.Logs() {
			if l.URL == "" {
				r.Warnings = append(r.Warnings, fmt.Sprintf("%s names no address of the log %q, so "+
					"nothing can be fetched from it; add its URL behind the key", t.Path, l.Origin))
			}
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
