package git_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
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
	home := t.TempDir() // of one who hardened git
	fatalIf(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[safe]\n\tbareRepository = explicit\n"), 0o644))
	t.Setenv("HOME", home)
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

// TestTheLockFilesOfACommitAreFetched, of which a claim can name one; sources are not.
func TestTheLockFilesOfACommitAreFetched(t *testing.T) {
	fixture.Need(t, "git")
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		out, err := git.Run(t.Context(), dir, args...)
		fatalIf(t, err)
		return strings.TrimSpace(out)
	}
	run("init", "-q", "--object-format=sha1")
	for name, content := range map[string]string{"Cargo.lock": "version = 4\n", "Cargo.toml": "[workspace]\n", "main.rs": "fn main() {}\n"} {
		fatalIf(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	run("add", "-A")
	run("-c", "user.name=a", "-c", "user.email=a@a.example", "commit", "-q", "-m", "a")
	run("config", "uploadpack.allowFilter", "true")
	run("config", "uploadpack.allowAnySHA1InWant", "true")
	commit, err := hex.DecodeString(run("rev-parse", "HEAD"))
	fatalIf(t, err)
	got, err := git.Clones(t.TempDir()).Fetch(t.Context(), "file://"+filepath.ToSlash(dir), [20]byte(commit))
	fatalIf(t, err)
	repo, err := git.Open(t.Context(), got)
	fatalIf(t, err)
	defer repo.Close()
	top, err := repo.At(t.Context(), [20]byte(commit))
	fatalIf(t, err)
	for _, name := range []string{"main.rs", "Cargo.lock", "main.rs", "Cargo.toml"} { // what is missing ends nothing
		there := name != "main.rs"
		e, err := top.Entry(t.Context(), name)
		fatalIf(t, err)
		if _, err := top.Blob(t.Context(), e.ID, 1000); (err == nil) != there || err != nil && !errors.As(err, new(*git.MissingError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTheListingOfARepositoryMayBeLong fetches a commit of ten million paths, which are eight
// trees: no list of all of them is made.
func TestTheListingOfARepositoryMayBeLong(t *testing.T) {
	_, dir := served(t, "true")
	file := filepath.Join(t.TempDir(), "tree")
	tree := func(name string, id string) string {
		var content strings.Builder
		raw, err := hex.DecodeString(id)
		fatalIf(t, err)
		for i := range 10 {
			content.WriteString(fmt.Sprintf("%s%d\x00%s", name, i, raw))
		}
		fatalIf(t, os.WriteFile(file, []byte(content.String()), 0o644))
		out, err := git.Run(t.Context(), dir, "hash-object", "-t", "tree", "-w", file)
		fatalIf(t, err)
		return strings.TrimSpace(out)
	}
	blob, err := git.Run(t.Context(), dir, "rev-parse", "v0.1.0:Cargo.toml")
	fatalIf(t, err)
	top := tree("120000 link", strings.TrimSpace(blob))
	for range 7 {
		top = tree("40000 d", top)
	}
	out, err := git.Run(t.Context(), dir, "-c", "user.name=a", "-c", "user.email=a@a.example", "commit-tree", "-m", "x", top)
	fatalIf(t, err)
	commit, err := hex.DecodeString(strings.TrimSpace(out))
	fatalIf(t, err)
	got, err := git.Clones(t.TempDir()).Fetch(t.Context(), "file://"+filepath.ToSlash(dir), [20]byte(commit))
	fatalIf(t, err)
	if _, err := git.Run(t.Context(), got, "cat-file", "-e", strings.TrimSpace(blob)); err != nil {
		t.Errorf("the links' texts were not fetched: %v", err)
	}
	// What is listed after all, and is too long, is said to be that.
	fatalIf(t, os.WriteFile(file, make([]byte, 65<<20), 0o644))
	large, err := git.Run(t.Context(), dir, "hash-object", "-w", file)
	fatalIf(t, err)
	_, err = git.Run(t.Context(), dir, "cat-file", "blob", strings.TrimSpace(large))
	if err == nil || !strings.Contains(err.Error(), "what git cat-file prints: more than 67108864 bytes") {
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
