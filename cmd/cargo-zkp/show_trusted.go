package main

import (
	"context"
	"fmt"

	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
)

const trustedUsage = "ask the registry's API which workflow published a crate and from which commit, and whether that is the " +
	"proven one; at most one crate a second, and the registry learns which"

// trustedText says in words how a crate was published, beside what is proven; "" if nobody asked.
func trustedText(t *verdict.TrustedPublishing) string {
	if t == nil {
		return ""
	}
	switch t.Standing {
	case verdict.Agrees:
		return "agrees: the registry says that it was published " + t.From()
	case verdict.Differs:
		return "DIFFERS: the registry says that it was published " + t.From()
	}
	return "none: the registry names no commit that it was published from"
}

// askTrusted asks about a crate that is shown.
func (s *shown) askTrusted(ctx context.Context, checker *verdict.Checker) (err error) {
	s.trusted, err = checker.Trusted(ctx, policy.Package{Name: s.Name, Version: s.Version}, s.SHA256, fmt.Sprintf("%x", s.Commit))
	if err != nil {
		return refusal(err)
	}
	return nil
}
