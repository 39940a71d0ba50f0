package main

import (
	"slices"
	"strings"
	"testing"

	"cratelog/cargo/verdict"
)

func TestCommitsAreLinkedOnKnownHostsOnly(t *testing.T) {
	for repository, want := range map[string]string{
		"https://github.com/a/b":              "https://github.com/a/b/commit/c0",
		"https://GitHub.com/a/b.git/":         "https://github.com/a/b/commit/c0",
		"https://github.com/a/b/tree/main/x":  "https://github.com/a/b/commit/c0",
		"https://gitlab.com/a/g/b":            "https://gitlab.com/a/g/b/-/commit/c0",
		"https://gitlab.com/a/b/-/tree/main":  "https://gitlab.com/a/b/-/commit/c0",
		"https://bitbucket.org/a/b":           "https://bitbucket.org/a/b/commits/c0",
		"https://github.com/a":                "",
		"https://github.com":                  "",
		"https://github.com.evil.example/a/b": "",
		"https://user@github.com/a/b":         "",
		"http://github.com/a/b":               "",
		"javascript:alert(1)":                 "",
		"https://git.example/a/b":             "",
		"github.com/a/b":                      "",
		"https://github.com/a/b\x1b[2J":       "",
		"https://github.com/a/%2e%2e%2f%0a":   "https://github.com/a/%2e%2e%2f%0a/commit/c0",
	} {
		if got := commitLink(repository, "c0"); got != want {
			t.Errorf("%q: %q, want %q", repository, got, want)
		}
	}
}

func TestWhatIsNotProvenIsSaidToBe(t *testing.T) {
	if got := claimed("https://github.com/a/b", "c0"); !strings.HasSuffix(got, "(claimed, not proven)") {
		t.Error(got)
	}
	if got := claimed("x\x1b[2J", "c0"); strings.ContainsRune(got, 0x1b) || !strings.Contains(got, `x\x1b[2J`) {
		t.Errorf("%q", got)
	}
	if claimed("", "c0") != "" {
		t.Error("nothing is claimed")
	}
	if got := from("c0", "p", false); got != "its files are in commit c0 at p; the crate itself names no commit" {
		t.Error(got)
	}
	if got := from("c0", "", true); got != "commit c0" {
		t.Error(got)
	}
	o := &verdict.Opening{Signed: "nobody has signed the commit", LeftOut: slices.Repeat([]string{"a\n"}, 30)}
	all := opened(o)
	if len(all) != 3 || !strings.Contains(all[2], `a\n, a\n`) || !strings.HasSuffix(all[2], "and 10 more") {
		t.Errorf("%q", all)
	}
	if opened(nil) != nil {
		t.Error("there is no opening")
	}
}
