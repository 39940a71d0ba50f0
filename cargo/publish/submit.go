package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/outcome"
)

// Submission is what a log is asked to take.
type Submission struct {
	Entry, Crate []byte
	Opening      []byte // of the entry, to be published with it; may be nil
	// Without is told why the log takes all but the opening; if it is nil, all is refused then.
	Without func(why error)
}

// Unlisted says whether a log would take a submission if the registry listed it. wait is when to ask again, and
// not 0 either if the registry did not answer the log.
func Unlisted(err error) (wait time.Duration, yes bool) {
	var refused *client.SubmitError
	if !errors.As(err, &refused) {
		return 0, false
	}
	switch refused.Reason {
	case client.NotInRegistry:
		return refused.RetryAfter, true
	case "registry-unavailable":
		return refused.RetryAfter, false
	}
	return 0, false
}

// Unregistered says whether a log refuses a submission for good because of what its registry lists.
func Unregistered(err error) bool {
	var refused *client.SubmitError
	return errors.As(err, &refused) && (refused.Reason == "registry-refused" || refused.Reason == "registry-mismatch")
}

// Submit hands an entry and its .crate to a log and returns the bundle, which must
// still be verified. It marks a refusal with outcome.Refused.
func Submit(ctx context.Context, log *client.Log, s Submission) ([]byte, error) {
	b, err := log.Submit(ctx, s.Entry, s.Crate, s.Opening)
	var refused *client.SubmitError
	if errors.As(err, &refused) && strings.HasPrefix(refused.Reason, "opening") && s.Opening != nil && s.Without != nil {
		s.Without(refused)
		b, err = log.Submit(ctx, s.Entry, s.Crate, nil)
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return b, err
	case !errors.As(err, &refused):
		return nil, fmt.Errorf("the log at %s could not be asked: %w\nnothing is lost: run the same command again later", log.URL, err)
	case refused.Status == http.StatusTooManyRequests || refused.Status >= 500:
		return nil, fmt.Errorf("%w\nnothing is lost: run the same command again later", err)
	case refused.Status == http.StatusConflict:
		why := "publish the bytes that are logged, or a new version"
		if _, e, err := client.UnverifiedEntry(refused.Bundle); err == nil {
			why = (&StandingError{e, why}).Error()
		}
		return nil, outcome.Refusef("%w\n%s", refused, why)
	}
	return nil, outcome.Refuse(refused)
}

// StandingError says that a log holds another entry of a version than the one that is wanted.
type StandingError struct {
	Entry *entry.Entry // that stands
	Why   string
}

// Error tells where the entry that stands comes from, and how to publish that.
func (e *StandingError) Error() string {
	s, ok := e.Entry.Claim.(*entry.Source)
	if !ok {
		return e.Why
	}
	at := ""
	if s.Path != "" {
		at = ", in " + s.Path
	}
	return fmt.Sprintf("%s\nwhat is logged was made of commit %x%s: to publish it, \"git checkout %x\" and run "+
		"\"cargo zkp publish\" there", e.Why, s.Commit, at, s.Commit)
}

// CheckAnswer checks that a bundle is about the same subject and claim as an entry, and
// returns it with its own entry, whose proof may be another. Whether log and witnesses really
// signed it is for a policy to say. A bundle of another entry is a *StandingError.
func CheckAnswer(want *entry.Entry, bundle []byte) (*client.Bundle, *entry.Entry, error) {
	p, e, err := client.UnverifiedEntry(bundle)
	if err != nil {
		return nil, nil, err
	}
	if e.Subject != want.Subject {
		return nil, nil, &StandingError{e, fmt.Sprintf("it is about another .crate, with SHA-256 %x, and not %x\n"+
			"a version has one checksum in a log: publish those bytes, or a new version", e.Subject.SHA256, want.Subject.SHA256)}
	}
	if same, err := sameStatement(e, want); err != nil {
		return nil, nil, err
	} else if !same {
		return nil, nil, &StandingError{e, "it makes another claim about the same .crate"}
	}
	return p, e, nil
}

// sameStatement says whether two entries have one identity: the same subject and
// claim, whatever their proofs.
func sameStatement(a, b *entry.Entry) (bool, error) {
	x, err := a.Identity()
	if err != nil {
		return false, err
	}
	y, err := b.Identity()
	return x == y, err
}
