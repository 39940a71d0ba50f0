package verdict

import (
	"errors"
	"testing"

	"cratelog/cargo/policy"
	"cratelog/client"
)

// At warn level what is missing passes, and what is false does not, whatever it comes with.
func TestOnlyWhatIsMissingIsMild(t *testing.T) {
	for _, c := range []struct {
		err  error
		mild bool
	}{
		{notCached(Want{}), true},
		{both(ErrUnreachable, errors.New("x")), true},
		{refuse(client.ErrNotLogged, "", "x"), true},
		{&client.Error{Reason: client.ErrProof}, false},
		{&client.Error{Reason: client.ErrSubject}, false},
		{besides(both(ErrUnreachable, errors.New("x")), &client.Error{Reason: client.ErrProof}), false},
		{both(ErrNotDownloaded, ErrSourceTampered), false},
		{interrupted(errors.New("x")), false},
		{errors.New("nobody knows"), false},
	} {
		v := Verdict{Want: Want{Demand: policy.Demand{Status: policy.Required, Warn: true}}, Status: Violation, Err: c.err}
		if v.soften(); (v.Status == Warned) != c.mild {
			t.Errorf("%v: %s", c.err, v.Status)
		}
		v.Status, v.Demand.Warn = Unchecked, false
		if v.soften(); v.Status != Unchecked {
			t.Errorf("%v is softened though it is required", c.err)
		}
	}
	for _, s := range slugs {
		if abouts[s.slug] == "" && s.slug != "unreadable" && s.slug != "interrupted" && s.slug != "state" {
			t.Errorf("nothing says what %s is about", s.slug)
		}
	}
}
