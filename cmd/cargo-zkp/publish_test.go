package main

import (
	"bytes"
	"strings"
	"testing"

	"cratelog/cargo/credential"
	"cratelog/internal/outcome"
)

func TestMistakesOnPublishsCommandLineAreNamed(t *testing.T) {
	t.Setenv("CARGO_TERM_COLOR", "never")
	t.Chdir(t.TempDir())
	for what, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"dirty":         {[]string{"--allow-dirty"}, int(outcome.Usage), "what is not committed cannot be published with one: commit first"},
		"an argument":   {[]string{"serde"}, int(outcome.Usage), `takes no argument "serde"`},
		"both":          {[]string{"--dry-run", "--log-only"}, int(outcome.Usage), "--dry-run or --log-only, not both"},
		"half a key":    {[]string{"--program", "x"}, int(outcome.Usage), "go together"},
		"a typo":        {[]string{"--dry-rum"}, int(outcome.Usage), "dry-rum"},
		"a value":       {[]string{"--locked=maybe"}, int(outcome.Usage), "locked"},
		"no package":    {[]string{"--log", "https://log.example.com/"}, int(outcome.Unchecked), "cargo"},
		"help is given": {[]string{"--help"}, int(outcome.OK), ""},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), append([]string{"publish"}, c.args...), &out, &out); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: exit code %d, it does not say %q:\n%s", what, code, c.want, out.String())
		}
	}
}

// TestThisProgramIsCargosCredentialProvider: cargo starts it with one argument. (Standard input
// of a test is empty.)
func TestThisProgramIsCargosCredentialProvider(t *testing.T) {
	for want, args := range map[string][]string{
		"{\"v\":[1]}\n":  {"--cargo-plugin"},
		credential.Usage: {"--cargo-plugin", "--help"},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), args, &out, &out); code != 0 || out.String() != want {
			t.Errorf("%q: exit code %d, %s", args, code, &out)
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--cargo-plugin", "verify"}, &out, &out); code != 2 {
		t.Errorf("an argument that it does not know: exit code %d, %s", code, &out)
	}
}
