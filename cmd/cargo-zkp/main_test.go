package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
)

// TestMain keeps the user's settings and caches out of the tests.
func TestMain(m *testing.M) { os.Exit(fixture.Main(m)) }

// Every option's argument has a name, and no line of usage has a hole.
func TestTheHelpOfAVerbReadsWell(t *testing.T) {
	for _, verb := range allVerbs() {
		var out bytes.Buffer
		if code := run(t.Context(), append(strings.Fields(verb), "--help"), &out, &out); code != 0 {
			t.Errorf("%s --help: exit %d", verb, code)
		}
		for _, hole := range []string{"  [OPTIONS]", " string\n", " value\n", "(default true)", "(default -1)", "of both"} {
			if strings.Contains(out.String(), hole) {
				t.Errorf("%s --help has %q:\n%s", verb, hole, &out)
			}
		}
		about, _, ok := strings.Cut(out.String(), "\nUsage: ")
		for i, line := range strings.Split(strings.TrimRight(about, "\n"), "\n") {
			if n := len(line); !ok || n > 103 || i == 0 && n < 50 && !strings.HasSuffix(line, ".") {
				t.Errorf("%s --help has a line of %d columns: %s", verb, n, line)
			}
		}
	}
}

// What is wrong with an option is said of the option as it was written.
func TestAWrongOptionIsNamedAsItWasWritten(t *testing.T) {
	for want, args := range map[string][]string{
		"error: there is no option -C\n":                                          {"verify", "-C", "x"},
		"error: there is no option --foo\n":                                       {"verify", "--foo"},
		"error: --policy needs an argument\n":                                     {"verify", "--policy"},
		"error: -p needs an argument\n":                                           {"verify", "-p"},
		"error: --allow-dirty: a proof shows that a .crate is what a commit says": {"publish", "--allow-dirty"},
		"error: --max-age: \"x\" is not an age":                                   {"verify", "--max-age", "x"},
		"error: --offline: ":                                                      {"verify", "--offline=x"},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), args, &out, &out); code != int(outcome.Usage) || !strings.Contains(out.String(), want) {
			t.Errorf("%q: exit %d\n%s\nwant %s", args, code, &out, want)
		}
	}
}
