package git_test

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
	"cratelog/prover"
	"cratelog/prover/git"
)

// served is the fixture's repository on a server that can leave out blobs and hands out
// commits by id ("true"), or does neither ("false").
func served(t *testing.T, able string) (url, dir string) {
	t.Helper()
	fixture.Need(t, "git")
	dir = fixture.Repo(t)
	for _, key := range []string{"uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"} {
		_, err := git.Run(t.Context(), dir, "config", key, able)
		fatalIf(t, err)
	}
	return "file://" + filepath.ToSlash(dir), dir
}

func planIn(t *testing.T, dir, name, version string) error {
	t.Helper()
	return planFrom(t, dir, name, version, nil)
}

func planFrom(t *testing.T, dir, name, version string, commit *[20]byte) error {
	t.Helper()
	c, err := crate.Read(fixture.Crate(t, name, version), name, version, crate.DefaultLimits)
	fatalIf(t, err)
	repo, err := git.Open(t.Context(), dir)
	fatalIf(t, err)
	defer repo.Close()
	_, err = prover.NewPlan(t.Context(), c, repo, prover.Source{Commit: commit})
	return err
}

func TestAFetchedCommitIsEnoughToProveFrom(t *testing.T) {
	url, dir := served(t, "true")
	cache := git.Clones(filepath.Join(t.TempDir(), "repositories"))
	commit := fixture.Commit(t, "0.1.0")
	got, err := cache.Fetch(t.Context(), url, commit)
	fatalIf(t, err)
	for _, name := range []string{"hello-proof", "hello-inner"} {
		if err := planIn(t, got, name, "0.1.0"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A crate that is not the commit's is told apart without the sources, too.
	var unprovable *prover.UnprovableError
	if err := planFrom(t, got, "hello-proof", "0.1.1", &commit); !errors.As(err, &unprovable) || !strings.Contains(err.Error(), "src/lib.rs: its content differs") {
		t.Errorf("another crate: %v", err)
	}
	// Sources were left out, and so was the other commit.
	id := hex.EncodeToString(commit[:])
	source, err := git.Run(t.Context(), got, "rev-parse", id+":src/lib.rs")
	fatalIf(t, err)
	lost, err := git.Run(t.Context(), got, "rev-list", "--objects", "--missing=print", "--max-count=1", id)
	if err != nil || !strings.Contains(lost, "?"+strings.TrimSpace(source)+"\n") {
		t.Errorf("missing are %s: %v", lost, err)
	}
	other := fixture.Commit(t, "0.1.1")
	if _, err := git.Run(t.Context(), got, "cat-file", "-e", hex.EncodeToString(other[:])); err == nil {
		t.Error("it has the other commit")
	}
	// The repository goes away: what was fetched stays.
	fatalIf(t, os.Rename(dir, dir+".gone"))
	if again, err := cache.Fetch(t.Context(), url, commit); err != nil || again != got {
		t.Errorf("again: %s %v", again, err)
	}
	_, err = cache.Fetch(t.Context(), url, fixture.Commit(t, "0.1.1"))
	if err == nil || !strings.Contains(err.Error(), "the repository cannot be fetched") {
		t.Errorf("the other commit, from a repository that is gone: %v", err)
	}
}

func TestARepositoryWithoutTheCommitIsToldFromOneThatIsDown(t *testing.T) {
	url, _ := served(t, "true")
	cache := git.Clones(t.TempDir())
	_, err := cache.Fetch(t.Context(), url, [20]byte{1, 2, 3})
	if outcome.Of(err) != outcome.Refused || !strings.Contains(err.Error(), "has no commit 0102030000000000000000000000000000000000 in its branches and tags") || !strings.Contains(err.Error(), "never pushed there") {
		t.Error(err)
	}
	_, err = cache.Fetch(t.Context(), "file://"+t.TempDir()+"/gone", [20]byte{1})
	if outcome.Of(err) != outcome.Unchecked {
		t.Error(err)
	}
}

func TestAnOldServerIsFetchedWhole(t *testing.T) {
	url, _ := served(t, "false")
	got, err := git.Clones(t.TempDir()).Fetch(t.Context(), url, fixture.Commit(t, "0.1.0"))
	fatalIf(t, err)
	if err := planIn(t, got, "hello-proof", "0.1.0"); err != nil {
		t.Error(err)
	}
	got, err = git.Clones(t.TempDir()).FetchAll(t.Context(), url)
	fatalIf(t, err)
	if err := planIn(t, got, "hello-proof", "0.1.1"); err != nil {
		t.Error(err)
	}
}

func TestGitIsSentNowhereElse(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for address, ok := range map[string]bool{
		"https://git.example.com/a/b": true, "ssh://git@git.example.com/a": true, "git@git.example.com:a/b.git": true, "file:///a/b": true,
		"http://git.example.com/a": false, "git://git.example.com/a": false, "ext::sh -c true://": false, "ext::sh": false,
		"ssh://-oProxyCommand=x/a": false, "ssh://-x@git.example.com/a": false, "git@-oProxyCommand=x:a": false, "-u@git.example.com:a": false,
		"git@git.example.com:-a": false, "--upload-pack=x://": false, "https://%zz/": false,
	} {
		_, err := git.Clones(t.TempDir()).FetchAll(cancelled, address)
		refused := err != nil && !strings.Contains(err.Error(), "context canceled")
		if refused == ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	for what, isURL := range map[string]bool{".": false, "../a": false, "a:b": false, "https://a.example/b": true, "git@a.example:b": true} {
		if git.IsURL(what) != isURL {
			t.Errorf("%s", what)
		}
	}
}

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
