package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
)

// signedTrust writes a trust file with maintainers a, b and c, of which two must sign.
func signedTrust(sequence int, more string, signers ...string) []byte {
	text := fmt.Sprintf("# cratelog trust/v1 readers\n# sequence %d\n# threshold 2\n", sequence)
	for _, name := range []string{"a", "b", "c"} {
		text += "# maintainer " + testlog.LogKey(name).VKey + "\n"
	}
	text += "log " + testlog.LogKey("log.example").VKey + "\n" + more + "quorum none\n"
	var keys []*testlog.Key
	for _, name := range signers {
		keys = append(keys, testlog.LogKey(name))
	}
	if len(keys) == 0 {
		return []byte(text)
	}
	out := text + "# signed\n"
	for line := range strings.Lines(string(testlog.Sign(text, keys...)[len(text)+1:])) {
		out += "# " + line
	}
	return []byte(out)
}

// TestATrustFileIsUpdatedOnlyByItsMaintainersAndNeverSilently.
func TestATrustFileIsUpdatedOnlyByItsMaintainersAndNeverSilently(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var served []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/trust.policy" {
			http.NotFound(w, r)
			return
		}
		w.Write(served)
	}))
	defer server.Close()
	file := filepath.Join(dir, "trust.policy")
	at := func() string { return string(testlog.Must(os.ReadFile(file))) }
	update := func(code outcome.Code, words []string, args ...string) {
		t.Helper()
		zkpSays(t, code, words, append([]string{"trust", "update", "--trust", file}, args...)...)
	}
	first := signedTrust(3, "", "a", "b")
	put(t, file, string(first))
	zkpSays(t, outcome.OK, []string{"trust file readers, number 3", "signed by 2 of", "a (signed this one)", "c (has not signed this one)", "log log.example"},
		"trust", "show", "--trust", file)

	served = signedTrust(4, "# a new line\n", "a", "c")
	update(outcome.Usage, []string{"number 4 after 3, signed by a, c", "- # sequence 3", "+ # sequence 4", "+ # a new line", "nothing is changed", "--yes"}, server.URL)
	if at() != string(first) {
		t.Error("the file changed without a yes")
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"below the threshold":  {signedTrust(4, "", "a"), "1 of the maintainers that the trust file at hand names have signed"},
		"by nobody":            {signedTrust(4, ""), "0 of the maintainers"},
		"older":                {signedTrust(2, "", "a", "b", "c"), "the one at hand is newer, number 3"},
		"the same number":      {signedTrust(3, "# x\n", "a", "b", "c"), "two trust files with the number 3"},
		"without maintainers":  {[]byte("log " + testlog.LogKey("log.example").VKey + "\nquorum none\n"), "names no maintainers and has no signatures"},
		"changed on the way":   {bytes.Replace(served, []byte("a new"), []byte("a bad"), 1), "0 of the maintainers"},
		"something after it":   {append(bytes.Clone(served), "quorum none\n"...), "trust file"},
		"not a trust file":     {[]byte("<html>"), "trust file"},
		"of another name":      {bytes.Replace(served, []byte("v1 readers"), []byte("v1 others"), 1), `is "others", the one at hand is "readers"`},
		"terminal's obedience": {[]byte("\x1b[2Jlog x\n"), "control character"},
	} {
		good := served
		served = c.file
		t.Run(name, func(t *testing.T) {
			update(outcome.Refused, []string{c.want}, server.URL, "--yes", "--unsigned")
			if at() != string(first) {
				t.Error("the file changed")
			}
		})
		served = good
	}
	update(outcome.OK, []string{"Updated"}, server.URL+"/trust.policy", "--yes")
	if at() != string(served) {
		t.Error("the file did not change")
	}
	update(outcome.OK, []string{"is up to date"}, server.URL)
	put(t, filepath.Join(dir, "next.policy"), string(signedTrust(5, "", "b", "c")))
	update(outcome.OK, []string{"- # a new line"}, filepath.Join(dir, "next.policy"), "--yes", "--offline")
	update(outcome.Refused, []string{"no successor of the trust file: ", "the one at hand is newer, number 5"}, server.URL, "--yes")

	t.Run("of a file without maintainers", func(t *testing.T) {
		plain := "log " + testlog.LogKey("log.example").VKey + " " + server.URL + "\nquorum none\n"
		put(t, file, plain)
		update(outcome.Refused, []string{"the trust file at hand names no maintainers, so nothing shows that", "SHA-256"}, "--yes")
		if at() != plain {
			t.Error("the file changed")
		}
		update(outcome.OK, []string{"NOT signed by anybody", "2 of its 3 maintainers decide"}, "--yes", "--unsigned")
		if at() != string(served) {
			t.Error("the file did not change")
		}
	})
	t.Run("through a link", func(t *testing.T) {
		put(t, file, string(first))
		link := filepath.Join(dir, "link.policy")
		fatalIf(t, os.Symlink(file, link))
		zkpSays(t, outcome.OK, []string{"Updated"}, "trust", "update", "--trust", link, "--yes", server.URL)
		if info := testlog.Must(os.Lstat(link)); info.Mode()&os.ModeSymlink == 0 || at() != string(served) {
			t.Error("the link was replaced, and not its file")
		}
	})
	update(outcome.Usage, []string{"--offline"}, server.URL, "--offline")
	zkpSays(t, outcome.Usage, []string{"there are 2 trust files"}, "trust", "update", "--trust", file, "--trust", file)
	zkpSays(t, outcome.Usage, []string{"show and update"}, "trust")
}

func TestOnlyYesIsAYes(t *testing.T) {
	for answer, want := range map[string]outcome.Code{"y\n": 0, "Yes\n": 0, " y \n": 0, "yes": 0, "n\n": outcome.Refused, "\n": outcome.Refused,
		"": outcome.Refused, "yeah\n": outcome.Refused, strings.Repeat("y", 5000): outcome.Refused} {
		if err := agreed(strings.NewReader(answer)); outcome.Of(err) != want {
			t.Errorf("%.20q: %v", answer, err)
		}
	}
}
