package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"cratelog/internal/fixture"
)

// TestMain keeps the user's settings and caches out of the tests.
func TestMain(m *testing.M) { os.Exit(fixture.Main(m)) }

// Every option's argument has a name, and no line of usage has a hole.
func TestTheHelpOfAVerbReadsWell(t *testing.T) {
	for _, verb := range []string{"publish", "prove", "submit", "verify", "init", "policy", "show", "vendor", "gossip", "proxy"} {
		var out bytes.Buffer
		if code := run(t.Context(), []string{verb, "--help"}, &out, &out); code != 0 {
			t.Errorf("%s --help: exit %d", verb, code)
		}
		for _, hole := range []string{"  [OPTIONS]", " string\n", " value\n", "(default true)"} {
			if strings.Contains(out.String(), hole) {
				t.Errorf("%s --help has %q:\n%s", verb, hole, &out)
			}
		}
	}
}
