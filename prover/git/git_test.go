package git

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/internal/gitobject"
)

func open(t *testing.T, dir string) *Repo {
	t.Helper()
	r, err := Open(t.Context(), dir)
	fatalIf(t, err)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// run runs git without the user's configuration and returns its output.
func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Env = append(Environment(os.Environ()), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_ALLOW_PROTOCOL=file", "GIT_NO_LAZY_FETCH=0",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@a.example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@a.example")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func mustID(t *testing.T, s string) [20]byte {
	t.Helper()
	id, ok := gitobject.ParseID(s)
	if !ok {
		t.Fatalf("%q is not an id", s)
	}
	return id
}

// everyTree reads all trees of a commit and compares them with git ls-tree.
func everyTree(t *testing.T, r *Repo, dir string, commit [20]byte) {
	t.Helper()
	paths := []string{""}
	for p := range strings.Lines(run(t, dir, "ls-tree", "-r", "-d", "--name-only", fmt.Sprintf("%x", commit))) {
		paths = append(paths, strings.TrimSpace(p))
	}
	c, trees, err := walk(t, r, commit, paths)
	fatalIf(t, err)
	if got := sha1.Sum(c.Object.Encode()); got != commit {
		t.Errorf("the commit's bytes hash to %x", got)
	}
	for i, tree := range trees {
		if got := sha1.Sum(tree.Object.Encode()); got != tree.ID {
			t.Errorf("%q: bytes hash to %x, id is %x", paths[i], got, tree.ID)
		}
		var want, got []string
		for line := range strings.Lines(run(t, dir, "ls-tree", fmt.Sprintf("%x:%s", commit, paths[i]))) {
			want = append(want, strings.TrimSpace(line))
		}
		for _, e := range tree.Entries {
			kind := map[string]string{ModeDirectory: "tree", ModeSubmodule: "commit"}[e.Mode]
			if kind == "" {
				kind = "blob"
			}
			got = append(got, fmt.Sprintf("%06s %s %x\t%s", e.Mode, kind, e.ID, e.Name))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q:\n got %q\nwant %q", paths[i], got, want)
		}
	}
}

func TestEveryKindOfRepositoryGivesTheSameObjects(t *testing.T) {
	bare := fixture.Repo(t)
	commit := fixture.Commit(t, "0.1.2")
	tmp := t.TempDir()
	clone := func(name string, args ...string) string {
		run(t, tmp, append(append([]string{"clone", "-q"}, args...), name)...)
		return filepath.Join(tmp, name)
	}
	packed := clone("packed", "--bare", "--no-local", "file://"+bare)
	run(t, packed, "gc", "-q")
	for name, dir := range map[string]string{
		"bare":          bare,
		"packed":        packed,
		"work tree":     clone("work", bare),
		"shallow":       clone("shallow", "--depth=1", "file://"+bare),
		"alternates":    clone("alternates", "--shared", bare),
		"below the top": filepath.Join(clone("below", bare), "src", "greet"),
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, dir)
			got, err := r.ResolveCommit(t.Context(), "HEAD")
			fatalIf(t, err)
			if got != commit {
				t.Errorf("HEAD is %x, want %x", got, commit)
			}
			everyTree(t, r, bare, commit)
		})
	}
}

func TestResolveCommitTakesTagsAndIDs(t *testing.T) {
	dir := fixture.Repo(t)
	r := open(t, dir)
	old := fixture.Commit(t, "0.1.0")
	for _, rev := range []string{"v0.1.0", "refs/tags/v0.1.0", hex.EncodeToString(old[:]), "HEAD~2", "HEAD^{/Greet the world}"} {
		got, err := r.ResolveCommit(t.Context(), rev)
		if err != nil {
			t.Errorf("%s: %v", rev, err)
		} else if got != old {
			t.Errorf("%s is %x, want %x", rev, got, old)
		}
	}
	for rev, want := range map[string]string{
		"":                      `"" is not a git revision`,
		"HEAD\nHEAD":            `"HEAD\nHEAD" is not a git revision`,
		"no-such-branch":        "has no commit \"no-such-branch\"; check the name, or fetch it: git -C " + dir + " fetch --depth=1 REMOTE no-such-branch",
		"v0.1.0:src":            `has no commit "v0.1.0:src"`,
		"v0.1.0:Cargo.toml":     `has no commit "v0.1.0:Cargo.toml"`,
		"-h":                    `has no commit "-h"`,
		"HEAD missing":          `has no commit "HEAD missing"`,
		strings.Repeat("0", 40): "has no commit",
	} {
		_, err := r.ResolveCommit(t.Context(), rev)
		refused(t, rev, err, want)
	}
	if _, err := r.ResolveCommit(t.Context(), "HEAD"); err != nil {
		t.Errorf("after the refusals: %v", err)
	}
}

func TestWrongTypesAndAbsentPathsAreNamed(t *testing.T) {
	r := open(t, fixture.Repo(t))
	commit := fixture.Commit(t, "0.1.0")
	c, err := r.Commit(t.Context(), commit)
	fatalIf(t, err)
	_, err = r.Commit(t.Context(), c.Tree)
	refused(t, "a tree read as a commit", err, "is a tree, not a commit")
	_, err = r.Tree(t.Context(), commit)
	refused(t, "a commit read as a tree", err, "is a commit, not a tree")
	for path, want := range map[string]string{
		"nothing":        `there is no "nothing" in commit`,
		"src/nothing/at": `there is no "src/nothing" in commit`,
		"src/lib.rs/x":   `"src/lib.rs" in commit ` + hex.EncodeToString(commit[:]) + ` is a file, not a directory`,
	} {
		_, err := lookup(t, r, commit, path)
		refused(t, path, err, want)
	}
	e, err := lookup(t, r, commit, "scripts/greet.sh")
	if err != nil || e.Mode != ModeExecutable {
		t.Fatalf("scripts/greet.sh: %v %v", e, err)
	}
	b, err := r.Blob(t.Context(), e.ID, 1000)
	if err != nil || !strings.HasPrefix(string(b), "#!/bin/sh\n") {
		t.Errorf("its blob: %q, %v", b, err)
	}
	var none *MissingError
	if _, err := r.Tree(t.Context(), [20]byte{1}); !errors.As(err, &none) || none.What != TypeTree {
		t.Errorf("a tree that is nowhere: %v", err)
	}
	if _, err := r.Commit(t.Context(), [20]byte{1}); !errors.As(err, &none) || !strings.Contains(err.Error(), "fetch --depth=1 REMOTE 01000000") {
		t.Errorf("a commit that is nowhere: %v", err)
	}
}

func TestObjectsOverTheLimitAreNotRead(t *testing.T) {
	r := open(t, fixture.Repo(t))
	e, err := lookup(t, r, fixture.Commit(t, "0.1.0"), "README.md")
	fatalIf(t, err)
	b, err := r.Blob(t.Context(), e.ID, 1<<20)
	fatalIf(t, err)
	if _, err := r.Blob(t.Context(), e.ID, int64(len(b))); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	_, err = r.Blob(t.Context(), e.ID, int64(len(b))-1)
	refused(t, "one byte above the limit", err, "more than the limit of 90")
	if again, err := r.Blob(t.Context(), e.ID, 1<<20); err != nil || !bytes.Equal(again, b) {
		t.Errorf("after an answer that was left half read: %q, %v", again, err)
	}
}

func TestPartialCloneSaysWhatIsMissingAndFetchesNothing(t *testing.T) {
	bare := fixture.Repo(t)
	run(t, bare, "config", "uploadpack.allowFilter", "true")
	tmp := t.TempDir()
	dir := filepath.Join(tmp, "partial")
	run(t, tmp, "clone", "-q", "--no-checkout", "--filter=tree:0", "file://"+bare, dir)
	commit := fixture.Commit(t, "0.1.1")
	r := open(t, dir)
	_, _, err := walk(t, r, commit, []string{"src"})
	var missing *MissingError
	if !errors.As(err, &missing) || missing.What != TypeTree || missing.Path != "" {
		t.Fatalf("got %v, want the missing root tree", err)
	}
	if !strings.Contains(err.Error(), "git -C "+dir+" cat-file -e "+missing.ID) {
		t.Errorf("%q does not say how to fetch it", err)
	}
	// What the sentence advises works.
	for fetched := 0; err != nil; fetched++ {
		if fetched > 10 || !errors.As(err, &missing) {
			t.Fatal(err)
		}
		t.Logf("fetching %s at %q", missing.ID, missing.Path)
		run(t, dir, "cat-file", "-e", missing.ID)
		_, _, err = walk(t, open(t, dir), commit, []string{"src/greet"})
	}
}

func TestMissingObjectIsNamedWithItsPath(t *testing.T) {
	dir := fixture.Repo(t)
	commit := fixture.Commit(t, "0.1.1")
	id := run(t, dir, "rev-parse", "HEAD:src/greet")
	fatalIf(t, os.Remove(filepath.Join(dir, "objects", id[:2], id[2:])))
	r := open(t, dir)
	_, _, err := walk(t, r, commit, []string{"", "src", "src/greet"})
	var missing *MissingError
	if !errors.As(err, &missing) || missing.Path != "src/greet" || missing.ID != id {
		t.Fatalf("got %v, want the missing tree at src/greet", err)
	}
	want := "the tree " + id + " at \"src/greet\" is not in the repository " + dir +
		"; in a partial clone this fetches it: git -C " + dir + " cat-file -e " + id
	if err.Error() != want {
		t.Errorf("got  %q\nwant %q", err, want)
	}
	if _, _, err := walk(t, r, commit, []string{"", "src"}); err != nil {
		t.Errorf("the rest can no longer be read: %v", err)
	}
}

func TestDamagedObjectIsRefused(t *testing.T) {
	dir := fixture.Repo(t)
	c, err := open(t, dir).Commit(t.Context(), fixture.Commit(t, "0.1.0"))
	fatalIf(t, err)
	// Put another tree's file where the root tree's stands.
	other := run(t, dir, "rev-parse", "v0.1.0:src")
	path := func(id string) string { return filepath.Join(dir, "objects", id[:2], id[2:]) }
	b, err := os.ReadFile(path(other))
	fatalIf(t, err)
	fatalIf(t, os.WriteFile(path(hex.EncodeToString(c.Tree[:])), b, 0o644))
	r, err := Open(t.Context(), dir)
	fatalIf(t, err)
	defer r.Close()
	if tree, err := r.Tree(t.Context(), c.Tree); err == nil {
		t.Errorf("believed %d entries of another tree", len(tree.Entries))
	}
}

func TestReplacedObjectsAreNotFollowed(t *testing.T) {
	dir := fixture.Repo(t)
	old, now := fixture.Commit(t, "0.1.0"), fixture.Commit(t, "0.1.1")
	run(t, dir, "replace", hex.EncodeToString(now[:]), hex.EncodeToString(old[:]))
	c, err := open(t, dir).Commit(t.Context(), now)
	fatalIf(t, err)
	if want := run(t, dir, "--no-replace-objects", "rev-parse", hex.EncodeToString(now[:])+"^{tree}"); hex.EncodeToString(c.Tree[:]) != want {
		t.Errorf("the tree is %x, want %s", c.Tree, want)
	}
}

func TestEnvironmentCannotTurnGitElsewhere(t *testing.T) {
	t.Setenv("GIT_DIR", t.TempDir())
	t.Setenv("GIT_OBJECT_DIRECTORY", t.TempDir())
	t.Setenv("GIT_CONFIG_COUNT", "nonsense")
	r := open(t, fixture.Repo(t))
	if _, err := r.ResolveCommit(t.Context(), "HEAD"); err != nil {
		t.Error(err)
	}
}

// TestOnlySafeDirectoriesAreTakenFromTheSettingsOfOthers says what is safe in each place where
// git looks, and in one where it must not.
func TestOnlySafeDirectoriesAreTakenFromTheSettingsOfOthers(t *testing.T) {
	fixture.Need(t, "git")
	settings := func(dir string) string {
		file := filepath.Join(t.TempDir(), "settings")
		content := fmt.Sprintf("[safe]\n\tdirectory = %s\n\tbareRepository = explicit\n[alias]\n\tmine = version\n", dir)
		fatalIf(t, os.WriteFile(file, []byte(content), 0o644))
		return file
	}
	repo := t.TempDir()
	run(t, repo, "init", "-q", ".")
	run(t, repo, "config", "safe.directory", "/repository")
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"none":        {nil, ""},
		"system":      {[]string{"GIT_CONFIG_SYSTEM=" + settings("/s")}, "/s"},
		"no system":   {[]string{"GIT_CONFIG_SYSTEM=" + settings("/s"), "GIT_CONFIG_NOSYSTEM=1"}, ""},
		"global":      {[]string{"GIT_CONFIG_GLOBAL=" + settings("/g/*")}, "/g/*"},
		"environment": {[]string{"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}, "*"},
		"all":         {[]string{"GIT_CONFIG_SYSTEM=" + settings("/s"), "GIT_CONFIG_GLOBAL=" + settings("/g"), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0="}, "/s\x00/g\x00"},
		"repository":  {[]string{"GIT_DIR=" + filepath.Join(repo, ".git")}, ""},
	} {
		env := append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=0"}, c.env...)
		cmd := exec.CommandContext(t.Context(), "git", "config", "-z", "--get-regexp", "^(safe|alias)[.]")
		cmd.Dir, cmd.Env = t.TempDir(), Environment(env)
		out, _ := cmd.Output() // fails if there is none
		got := strings.TrimSuffix(strings.ReplaceAll(string(out), "safe.directory\n", ""), "\x00")
		if got != c.want {
			t.Errorf("%s: %q", name, out)
		}
	}
}

// TestASearchThroughHostileTreesEnds has a thousand million long paths to what is looked for.
func TestASearchThroughHostileTreesEnds(t *testing.T) {
	fixture.Need(t, "git")
	dir := t.TempDir()
	run(t, dir, "init", "-q", "--bare", ".")
	write := func(entries ...string) string {
		file := filepath.Join(t.TempDir(), "objects")
		fatalIf(t, os.WriteFile(file, []byte(strings.Join(entries, "")), 0o644))
		return run(t, dir, "hash-object", "-t", "tree", "-w", "--literally", file)
	}
	entry := func(name, id string) string { raw := mustID(t, id); return "40000 " + name + "\x00" + string(raw[:]) }
	empty := write()
	search := func(top string) error {
		s, err := open(t, dir).At(t.Context(), mustID(t, run(t, dir, "commit-tree", "-m", "x", top)))
		fatalIf(t, err)
		_, _, err = s.Find(t.Context(), func(t *Tree) bool { return len(t.Entries) == 0 })
		return err
	}
	wide := empty // of 1,000 long names each of which holds what the one below holds
	for range 3 {
		var entries []string
		for i := range 1000 {
			entries = append(entries, entry(fmt.Sprintf("%03d%s", i, strings.Repeat("x", 400)), wide))
		}
		wide = write(entries...)
	}
	if err := search(wide); !errors.Is(err, ErrTooManyTrees) {
		t.Errorf("wide: %v", err)
	}
	few := write(entry("a", empty), entry("b", write(entry("c", empty))))
	if err := search(few); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesWhatIsNoRepository(t *testing.T) {
	empty := t.TempDir()
	_, err := Open(t.Context(), empty)
	refused(t, "an empty directory", err, "not a git repository (or any of the parent directories): .git\na proof says that a .crate is what a git commit says")
	_, err = Open(t.Context(), filepath.Join(empty, "absent"))
	refused(t, "an absent directory", err, "No such file or directory")
	sha256 := t.TempDir()
	run(t, sha256, "init", "-q", "--object-format=sha256")
	_, err = Open(t.Context(), sha256)
	refused(t, "a SHA-256 repository", err, "does not use SHA-1 object ids")
}

func TestCancelledContextEndsTheProcess(t *testing.T) {
	dir := fixture.Repo(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Open(ctx, dir)
	fatalIf(t, err)
	cancel()
	if _, err := r.ResolveCommit(t.Context(), "HEAD"); err != nil {
		// The process may still have answered before it was killed.
		t.Logf("after the end of Open's context: %v", err)
	}
	r.Close()
	if r.cmd.ProcessState == nil {
		t.Error("the process was not waited for")
	}
	r = open(t, dir)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.ResolveCommit(done, "HEAD"); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled request: %v", err)
	}
	if _, err := r.ResolveCommit(t.Context(), "HEAD"); err != nil {
		t.Errorf("a request that was never sent spoilt the process: %v", err)
	}
}

func TestGoroutinesTakeTurns(t *testing.T) {
	r := open(t, fixture.Repo(t))
	var wg sync.WaitGroup
	for _, version := range []string{"0.1.0", "0.1.1"} {
		id := fixture.Commit(t, version)
		for range 4 {
			wg.Go(func() {
				for range 20 {
					if got, err := r.Commit(t.Context(), id); err != nil || got.ID != id {
						t.Errorf("%x: %v", id, err)
					}
				}
			})
		}
	}
	wg.Wait()
}

func TestRealRepositoriesAreRead(t *testing.T) {
	for name, commit := range map[string]string{
		"itoa-1.0.18":          "af77385d0daf4d0e949e81f2588be2e44f69f086",
		"serde-1.0.228":        "a866b336f14aa57a07f0d0be9f8762746e64ecb4",
		"tokio-1.53.1":         "75fef53d0a8590c2d1dbb63672aa7b7d1ef51155",
		"wasm-bindgen-0.2.127": "a579ee62b631fd1fa96c7740b52a2952b07c0219",
	} {
		t.Run(name, func(t *testing.T) {
			tarball := fixture.Corpus(t, name)
			dir := t.TempDir()
			if out, err := exec.CommandContext(t.Context(), "tar", "-xzf", tarball, "-C", dir, "--strip-components=1").CombinedOutput(); err != nil {
				t.Fatalf("tar: %v\n%s", err, out)
			}
			id := mustID(t, commit)
			r := open(t, dir)
			if testing.Short() {
				if _, _, err := walk(t, r, id, []string{""}); err != nil {
					t.Error(err)
				}
				return
			}
			paths := []string{""}
			for at := 0; at < len(paths) && at < 500; at++ {
				_, trees, err := walk(t, r, id, paths[at:at+1])
				if err != nil {
					t.Fatalf("%q: %v", paths[at], err)
				}
				for _, e := range trees[0].Entries {
					if e.Mode == ModeDirectory {
						paths = append(paths, strings.TrimPrefix(paths[at]+"/"+e.Name, "/"))
					}
				}
			}
			if _, err := lookup(t, r, id, "Cargo.toml"); err != nil {
				t.Error(err)
			}
		})
	}
}

// walk reads a commit and the trees at paths of it.
func walk(t testing.TB, r *Repo, commit [20]byte, paths []string) (*Commit, []*Tree, error) {
	s, err := r.At(t.Context(), commit)
	if err != nil {
		return nil, nil, err
	}
	var trees []*Tree
	for _, p := range paths {
		tree, err := s.Tree(t.Context(), p)
		if err != nil {
			return nil, nil, err
		}
		trees = append(trees, tree)
	}
	return s.Commit, trees, nil
}

// lookup reads the entry at a path of a commit.
func lookup(t testing.TB, r *Repo, commit [20]byte, path string) (TreeEntry, error) {
	s, err := r.At(t.Context(), commit)
	if err != nil {
		return TreeEntry{}, err
	}
	return s.Entry(t.Context(), path)
}

// refused checks that an error says a word.
func refused(t *testing.T, what string, err error, word string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), word) {
		t.Errorf("%s: %v, want a word on %q", what, err, word)
	}
}

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
