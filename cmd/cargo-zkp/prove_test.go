package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/publish"
	"cratelog/prover"
	"cratelog/prover/git"
)

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.example")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestCommitsThatNobodyCanLookAtAreWarnedOf(t *testing.T) {
	origin, dir := t.TempDir(), t.TempDir()
	runGit(t, origin, "init", "-q", "--bare", "--object-format=sha1")
	runGit(t, dir, "init", "-q", "--object-format=sha1")
	runGit(t, dir, "commit", "-q", "--allow-empty", "-m", "work")
	hash := runGit(t, dir, "rev-parse", "HEAD")
	id, err := hex.DecodeString(hash)
	fatalIf(t, err)
	warned := func(what, dir, want string) {
		t.Helper()
		var out bytes.Buffer
		err := warnUnpublished(t.Context(), &shell{stderr: &out}, dir, [20]byte(id), false)
		if got := out.String(); err != nil || got != want {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	warned("without a remote", dir, "")
	runGit(t, dir, "remote", "add", "origin", origin)
	warned("not pushed", dir, "warning: no remote branch that this repository knows contains commit "+hash+": push it, or readers cannot look at what you proved\n")
	runGit(t, dir, "push", "-q", "origin", "HEAD:refs/heads/main")
	warned("pushed", dir, "")
	warned("no repository", t.TempDir(), "")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := warnUnpublished(ended, newShell(nil, &bytes.Buffer{}), dir, [20]byte(id), false); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func TestSubmodulesAreFoundFromAnyDirectoryOfTheWorkTree(t *testing.T) {
	top := t.TempDir()
	runGit(t, top, "init", "-q", "--object-format=sha1")
	member := filepath.Join(top, "crates", "member")
	module := filepath.Join(member, "vendor")
	fatalIf(t, os.MkdirAll(module, 0o755))
	open := func() *git.Repo {
		t.Helper()
		s := &git.Submodules{WorkTree: git.WorkTree(member)}
		t.Cleanup(s.Close)
		r, err := s.Open(t.Context(), "crates/member/vendor")
		fatalIf(t, err)
		return r
	}
	if open() != nil {
		t.Error("the repository around an empty folder was taken for the submodule")
	}
	runGit(t, module, "init", "-q", "--object-format=sha1")
	if open() == nil {
		t.Error("not found")
	}
}

func TestCleanCheckoutsAreAdvisedOnlyWhereNothingBetterIsKnown(t *testing.T) {
	const advice = "package the crate from a clean checkout"
	known := &prover.UnprovableError{Files: []prover.Unprovable{{File: "a", Why: "differs", Fix: "do this"}}}
	if err := publish.PlanError(known); strings.Contains(err.Error(), advice) {
		t.Error(err)
	}
	known.Files = append(known.Files, prover.Unprovable{File: "b", Why: "is not there"})
	if err := publish.PlanError(known); !strings.Contains(err.Error(), advice) || !strings.Contains(err.Error(), "about a: do this") {
		t.Error(err)
	}
}
