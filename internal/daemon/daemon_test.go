package daemon

import (
	"context"
	"flag"
	"io"
	"strings"
	"testing"

	"cratelog/internal/outcome"
)

const usage = `p does things.

	p one -file FILE
	                 does one
	p oneself        does another
	p two query      asks

Exit status: 0.
`

func TestEachVerbHasItsHelp(t *testing.T) {
	verbs := map[string]Verb{
		"one": func(_ context.Context, args []string, _, _ io.Writer) error {
			fs := flag.NewFlagSet("one", flag.ContinueOnError)
			fs.String("file", "", "settings `FILE`")
			return Parse(fs, args, "file")
		},
		"two": func(context.Context, []string, io.Writer, io.Writer) error { return flag.ErrHelp },
	}
	const one, two = "\tp one -file FILE\n\t                 does one\n\n  -file FILE\n    \tsettings FILE\n", "\tp two query      asks\n"
	for line, want := range map[string]string{
		"help": usage, "-h": usage, "one --help": one, "one -file x -h": one, "help one": one, "--help one": one,
		"two -help": two, "help two": two,
	} {
		var out strings.Builder
		err := Run(t.Context(), usage, verbs, strings.Fields(line), &out, io.Discard)
		if outcome.Of(err) != outcome.OK || out.String() != want {
			t.Errorf("%s: %v, printed %q, wanted %q", line, err, out.String(), want)
		}
	}
	for line, want := range map[string]string{
		"": "no command is given\n\"p help\" lists them", "help three": "there is no command \"three\"\n\"p help\" lists them",
		"one": "one needs -file\n\"p help one\" tells how to call it", "one -file x y": "one takes no argument \"y\"\n\"p help one\" tells how to call it",
		"one -x": "flag provided but not defined: -x\n\"p help one\" tells how to call it",
	} {
		err := Run(t.Context(), usage, verbs, strings.Fields(line), io.Discard, io.Discard)
		if outcome.Of(err) != outcome.Usage || err.Error() != want {
			t.Errorf("%q: %v, wanted %q", line, err, want)
		}
	}
}
