package policy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"cratelog/internal/durable"
	"cratelog/opening/signature"
)

// checkOpening reads the key opening.
func checkOpening(v any, wrong complain) []Pattern {
	const want = `must be "optional", "required", or a list such as ["serde", "tokio@1.50.0", "my-*"]`
	switch v := v.(type) {
	case string:
		switch v {
		case "required":
			return []Pattern{All}
		case "optional":
		default:
			wrong("opening", "is %q; it "+want, v)
		}
	case []any:
		return checkRequire("opening", v, wrong)
	default:
		wrong("opening", want)
	}
	return nil
}

// Opening says who wants the claim about a package opened at a time, as a phrase: the opening must
// be there, and hold. It is "" if no one does.
func (p *Policy) Opening(pkg Package, now time.Time) string {
	for _, e := range p.Expects {
		if e.fits(pkg.Name, pkg.Version) && e.SignedBy != nil {
			return p.Path + " says who must have signed its commit"
		}
	}
	index := indexOf(pkg.Registry)
	excused := slices.ContainsFunc(p.Allows, func(a Allow) bool {
		return a.WithoutOpening && a.covers(pkg, index) && !a.Expires.Past(now)
	})
	if excused {
		return ""
	}
	for _, pattern := range p.Openings {
		switch {
		case pattern == All:
			return p.Path + " requires openings"
		case pattern.Matches(pkg.Name, pkg.Version):
			return fmt.Sprintf("%s requires an opening of %q", p.Path, pattern)
		}
	}
	return ""
}

// Signers are people one of whom must have signed a commit.
type Signers struct {
	Files []string // of their public keys
	Keys  *signature.Keys
}

// Signers returns who must have signed the commit of a package: one of each.
func (p *Policy) Signers(pkg Package) (all []Signers) {
	for _, e := range p.Expects {
		if e.fits(pkg.Name, pkg.Version) && e.SignedBy != nil {
			all = append(all, Signers{e.SignedBy, e.keys})
		}
	}
	return all
}

// Known returns all keys of people that the policy names for any crate.
func (p *Policy) Known() *signature.Keys {
	var all []*signature.Keys
	for _, e := range p.Expects {
		if e.keys != nil {
			all = append(all, e.keys)
		}
	}
	return signature.Join(all...)
}

// loadSigners reads the files of keys of every expectation.
func (p *Policy) loadSigners(f *file) error {
	var errs []error
	for i := range p.Expects {
		e := &p.Expects[i]
		if e.SignedBy == nil {
			continue
		}
		e.SignedBy = f.below(e.SignedBy)
		var all []*signature.Keys
		for _, path := range e.SignedBy {
			text, err := durable.Read(path, signature.MaxKeys)
			var k *signature.Keys
			if err == nil {
				k, err = signature.ParseKeys(text)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("expect[%d].signed-by: the file of keys %s cannot be used: %w", i+1, path, err))
				continue
			}
			all = append(all, k)
		}
		e.keys = signature.Join(all...)
	}
	return errors.Join(errs...)
}
