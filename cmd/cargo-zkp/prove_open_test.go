package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cratelog/crate"
	"cratelog/internal/durable"
	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
	"cratelog/opening"
	"cratelog/prover"
	"cratelog/prover/git"
)

func TestProveOpensWhatIsPublicOrWhatItIsToldTo(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	raw, repo := helloProof(t), fixture.Repo(t)
	c, err := crate.Read(raw, "hello-proof", "0.1.0", crate.DefaultLimits)
	fatalIf(t, err)
	var may atomic.Bool
	url := fixture.ServeGit(t, filepath.Dir(repo), func(*http.Request) bool { return may.Load() }) + "/" + filepath.Base(repo)
	may.Store(true)
	for _, test := range []struct {
		what           string
		args           []string
		anybody        bool // may fetch now
		opened, public bool
		says           string // "": nothing
	}{
		{"a directory", []string{"--repository", repo}, true, false, false, ""},
		{"a directory, to be opened", []string{"--repository", repo, "--opening"}, true, true, false, "names and hashes of all that stands in the directories"},
		{"file://", []string{"--repository", "file://" + repo}, true, false, false, "is not a URL of https"},
		{"public", []string{"--repository", url}, true, true, true, "anybody can fetch commit"},
		{"public, not to be opened", []string{"--repository", url, "--opening=false"}, true, false, true, "anybody can fetch commit"},
		{"private, though the clone is here", []string{"--repository", url}, false, false, false, "taken for private: it cannot be fetched without credentials"},
		{"private, to be opened", []string{"--repository", url, "--opening"}, false, true, false, "names and hashes of all that stands in the directories"},
	} {
		var said bytes.Buffer
		sh := newShell(&said, &said)
		o := proveArgs(t, test.args...)
		if strings.HasPrefix(o.repository, "https:") {
			o.public = git.Fetchable
		}
		may.Store(true)
		dir, err := o.fetch(t.Context(), sh, c)
		fatalIf(t, err)
		source, err := git.Open(t.Context(), dir)
		fatalIf(t, err)
		plan, err := prover.NewPlan(t.Context(), c, source, prover.Source{})
		fatalIf(t, err)
		said.Reset()
		may.Store(test.anybody)
		opened, err := o.open(t.Context(), sh, plan)
		if err != nil || (opened != nil) != test.opened || o.keys.PublicSource != test.public {
			t.Errorf("%s: %d bytes, public: %v, %v", test.what, len(opened), o.keys.PublicSource, err)
		}
		if !strings.Contains(said.String(), test.says) || test.says == "" && said.Len() > 0 {
			t.Errorf("%s: it says %q, not %q", test.what, &said, test.says)
		}
		if opened != nil {
			if _, err := opening.Check(opened, plan.Claim, plan.List); err != nil {
				t.Errorf("%s: %v", test.what, err)
			}
		}
		source.Close()
	}
}

// TestTheOpeningIsLeftBesideTheEntry, and goes to the log with it.
func TestTheOpeningIsLeftBesideTheEntry(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes the proving key, and proves")
	}
	repo, raw := fixture.Repo(t), helloProof(t) // both are found from where the test stands
	t.Chdir(t.TempDir())
	put(t, "hello-proof-0.1.0.crate", string(raw))
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--opening"}, "hello-proof-0.1.0.opening"},
		{[]string{"--opening", "-o", "a/x.entry"}, "a/x.opening"},
		{[]string{"-o", "b/x.entry"}, ""},
		{[]string{"-o", "b/x.entry", "--opening"}, "b/x.opening"},
		{[]string{"-o", "b/x.entry"}, ""}, // what an earlier run left would go to the log
	} {
		fatalIf(t, os.MkdirAll("a", 0o755))
		fatalIf(t, os.MkdirAll("b", 0o755))
		var out bytes.Buffer
		args := append([]string{"prove", "hello-proof-0.1.0.crate", "--repository", repo}, test.args...)
		if code := run(t.Context(), args, &out, &out); code != 0 {
			t.Fatalf("%q: exit code %d\n%s", args, code, &out)
		}
		if test.want != "" {
			if b, err := durable.Read(test.want, opening.MaxSize); err != nil || !bytes.HasPrefix(b, []byte("commit ")) {
				t.Errorf("%q: %d bytes, %v", args, len(b), err)
			}
		} else if found, err := filepath.Glob("b/*"); err != nil || len(found) != 1 {
			t.Errorf("%q: left %q, %v", args, found, err)
		}
	}
}

// TestAnOpeningGoesToTheLogWithItsCrate: FILE.opening by itself, and what was named or nothing.
func TestAnOpeningGoesToTheLogWithItsCrate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a-1.0.0.crate")
	var said bytes.Buffer
	sh := newShell(&said, &said)
	if b, err := openingFor(sh, file, ""); b != nil || err != nil || said.Len() != 0 {
		t.Errorf("none is there: %d bytes, %v, %s", len(b), err, &said)
	}
	if _, err := openingFor(sh, file, filepath.Join(dir, "gone")); err == nil {
		t.Error("one was named that is not there")
	}
	put(t, filepath.Join(dir, "a-1.0.0.opening"), "beside")
	put(t, filepath.Join(dir, "other"), "other")
	for named, want := range map[string]string{"": "beside", filepath.Join(dir, "other"): "other"} {
		said.Reset()
		if b, err := openingFor(sh, file, named); string(b) != want || err != nil || !strings.Contains(said.String(), "goes to the log too") {
			t.Errorf("%q: %q, %v, %s", named, b, err, &said)
		}
	}
	fatalIf(t, os.Truncate(filepath.Join(dir, "other"), opening.MaxSize+1))
	if _, err := openingFor(sh, file, filepath.Join(dir, "other")); outcome.Of(err) != outcome.Refused {
		t.Errorf("one that is too large: %v", err)
	}
}
