package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"cratelog/cargo"
	"cratelog/internal/fixture"
)

// What --since compares with is the lock file that the commit has in the workspace's place, and no other.
func TestSinceReadsTheLockFileOfTheCommit(t *testing.T) {
	fixture.Need(t, "git")
	top := t.TempDir()
	lock := func(dir string, versions ...string) {
		text := "version = 4\n"
		for _, v := range versions {
			text += fmt.Sprintf("\n[[package]]\nname = \"x\"\nversion = %q\n", v)
		}
		put(t, filepath.Join(top, dir, "Cargo.lock"), text)
	}
	lock(".", "9.0.0")
	lock("a/[b] *", "1.0.0")
	repository(t, top)
	runGit(t, top, "tag", "-a", "-m", "x", "annotated")
	lock("a/[b] *", "1.0.0", "2.0.0")
	lock("a/moved", "3.0.0")
	fatalIf(t, os.Symlink(filepath.Join(top, "Cargo.lock"), filepath.Join(top, "link.lock")))
	put(t, filepath.Join(top, "bad", "Cargo.lock"), "version = 4\n[[package]]\n")
	fatalIf(t, os.Mkdir(filepath.Join(top, "linked"), 0o755))
	fatalIf(t, os.Symlink(filepath.Join("..", "Cargo.lock"), filepath.Join(top, "linked", "Cargo.lock")))
	runGit(t, top, "add", ".")
	runGit(t, top, "commit", "-qm", "y")
	shallow := filepath.Join(t.TempDir(), "shallow")
	runGit(t, top, "clone", "-q", "--depth=1", "file://"+filepath.ToSlash(top), shallow)
	for _, c := range []struct {
		root, ref, want string // want: versions, or what the error says
	}{
		{filepath.Join(top, "a", "[b] *"), "HEAD", "[1.0.0 2.0.0]"},
		{filepath.Join(top, "a", "[b] *"), "HEAD~1", "[1.0.0]"},
		{filepath.Join(top, "a", "[b] *"), "annotated", "[1.0.0]"},
		{top, "HEAD", "[9.0.0]"},
		{filepath.Join(top, "a", "moved"), "HEAD~1", "[]"}, // all are new
		{filepath.Join(shallow, "a", "moved"), "HEAD", "[3.0.0]"},
		{filepath.Join(shallow, "a", "moved"), "HEAD~1", `git finds no commit "HEAD~1"`},
		{filepath.Join(top, "bad"), "HEAD", "--since: of HEAD: "},
		{filepath.Join(top, "linked"), "HEAD", "Cargo.lock of HEAD is no file there"},
		{top, "-x", "names no commit"},
		{top, "--all", "names no commit"},
		{top, "HEAD:Cargo.lock", "names no commit"},
		{top, "^HEAD", "names no commit"},
		{top, "HEAD~1..HEAD", "git finds no commit"},
		{top, "HEAD^{tree}", "git finds no commit"},
		{top, " ", "git finds no commit"},
		{t.TempDir(), "HEAD", "git finds no commit"},
	} {
		s, err := lockAt(t.Context(), &cargo.Workspace{Root: c.root, LockPath: filepath.Join(c.root, "Cargo.lock")}, c.ref)
		got := fmt.Sprint(err)
		if err == nil {
			versions := []string{}
			for _, p := range s.old.Packages {
				versions = append(versions, p.Version)
			}
			got = fmt.Sprint(versions)
		}
		tells(t, got, c.want)
	}
}
