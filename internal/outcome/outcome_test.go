package outcome

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
)

func TestEachErrorHasItsExitCode(t *testing.T) {
	base := errors.New("no")
	for _, c := range []struct {
		err  error
		want Code
	}{
		{nil, OK}, {Refuse(nil), OK}, {Misuse(nil), OK}, {fmt.Errorf("x: %w", flag.ErrHelp), OK},
		{Refuse(base), Refused}, {fmt.Errorf("x: %w", Refusef("y: %w", base)), Refused},
		{Misuse(base), Usage}, {Usagef("y: %w", base), Usage},
		{base, Unchecked},
		{Misuse(Refuse(base)), Usage}, // the outermost mark counts
	} {
		if got := Of(c.err); got != c.want {
			t.Errorf("%v: got %d, want %d", c.err, got, c.want)
		}
		if c.err != nil && c.want != OK && !errors.Is(c.err, base) {
			t.Errorf("%v does not wrap its cause", c.err)
		}
	}
}

func TestExitPrintsTheErrorAlone(t *testing.T) {
	for err, want := range map[error]string{
		nil:                      "",
		Usagef("no such verb"):   "p: no such verb\n",
		Refusef("it is another"): "p: it is another\n",
		errors.New("no disk"):    "p: no disk\n",
	} {
		var b strings.Builder
		if code := Exit("p", err, &b); code != int(Of(err)) || b.String() != want {
			t.Errorf("%v: exit code %d, printed %q", err, code, b.String())
		}
	}
}

func TestExitNamesTheProgramOnce(t *testing.T) {
	for _, c := range []struct{ program, err, want string }{
		{"witness", "witness: no signing key is configured", "witness: no signing key is configured\n"},
		{"monitor", "monitor: log \"x\": no", "monitor: log \"x\": no\n"},
		{"logd", "log: the directory is in use", "logd: the directory is in use\n"},
		{"logd", "index: log: no", "logd: index: log: no\n"},
		{"witness", "log: no", "witness: log: no\n"},
	} {
		var b strings.Builder
		if Exit(c.program, errors.New(c.err), &b); b.String() != c.want {
			t.Errorf("%s, %q: printed %q, wanted %q", c.program, c.err, b.String(), c.want)
		}
	}
}
