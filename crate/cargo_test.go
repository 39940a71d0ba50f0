package crate

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/prover/git"
)

// tool runs a program without the user's git and cargo settings.
func tool(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "GIT_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@a.example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@a.example",
		"CARGO_HOME="+filepath.Join(filepath.Dir(dir), "cargo-home"), "CARGO_TARGET_DIR="+filepath.Join(filepath.Dir(dir), "target"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// packaged runs cargo package in a directory of a checkout and reads the .crate.
func packaged(t *testing.T, checkout, dir, file string) *Crate {
	t.Helper()
	tool(t, checkout, "cargo", "package", "--quiet", "--no-verify", "--exclude-lockfile", "--offline",
		"--manifest-path", filepath.Join(checkout, dir, "Cargo.toml"))
	c, err := ReadFile(filepath.Join(filepath.Dir(checkout), "target", "package", file), DefaultLimits)
	fatalIf(t, err)
	if c.Trailing != 0 {
		t.Errorf("%s: %d bytes trail", file, c.Trailing)
	}
	return c
}

// inTree asks git whether every entry of the list stands in the commit's trees,
// with its mode and id.
func inTree(t *testing.T, repo string, l *List, commit [20]byte) {
	t.Helper()
	r, err := git.Open(t.Context(), repo)
	fatalIf(t, err)
	defer r.Close()
	snapshot, err := r.At(t.Context(), commit)
	fatalIf(t, err)
	var trees []*git.Tree
	for _, o := range l.Objects[1:] {
		tree, err := snapshot.Tree(t.Context(), o.Path)
		fatalIf(t, err)
		trees = append(trees, tree)
	}
	for i, tree := range trees {
		o := l.Objects[i+1]
		var order []string
		for _, e := range tree.Entries {
			order = append(order, e.Name)
		}
		at := -1
		for _, want := range o.Entries {
			got, ok := tree.Find(want.Name)
			if !ok || got.Mode != want.Mode {
				t.Errorf("%q: %+v, want %+v", o.Path, got, want)
				continue
			}
			if want.Mode != modeDir && got.ID != want.Blob {
				t.Errorf("%q/%q: git has the blob %x, the crate %x", o.Path, want.Name, got.ID, want.Blob)
			}
			if want.Mode == modeDir && got.ID != trees[want.Child-1].ID {
				t.Errorf("%q/%q: git has the tree %x, object %d is %x", o.Path, want.Name, got.ID, want.Child, trees[want.Child-1].ID)
			}
			next := at + 1
			for next < len(order) && order[next] != want.Name {
				next++
			}
			if next == len(order) {
				t.Errorf("%q: %q is listed out of git's order", o.Path, want.Name)
			}
			at = next
		}
	}
}

func TestFixturesStandInTheirCommit(t *testing.T) {
	fixture.Need(t, "git")
	repo := fixture.Repo(t)
	for _, f := range fixtures {
		c, _, src := claimOf(t, f.name, f.version, f.path)
		l, err := c.List(src)
		fatalIf(t, err)
		inTree(t, repo, l, src.Commit)
	}
}

// TestRealCratesStandInTheirCommit packages real crates with cargo and finds
// every listed file in git.
func TestRealCratesStandInTheirCommit(t *testing.T) {
	fixture.Need(t, "git", "cargo", "tar")
	for _, c := range []struct{ name, version string }{{"itoa", "1.0.18"}, {"arrayref", "0.3.9"}} {
		t.Run(c.name, func(t *testing.T) {
			id := c.name + "-" + c.version
			corpus := fixture.Corpus(t, id)
			tmp := t.TempDir()
			bare := filepath.Join(tmp, "bare")
			fatalIf(t, os.Mkdir(bare, 0o755))
			tool(t, tmp, "tar", "-xzf", corpus, "-C", bare, "--strip-components=1")
			work := filepath.Join(tmp, "work")
			tool(t, tmp, "git", "clone", "-q", "file://"+bare, work)
			checkReal(t, packaged(t, work, "", id+".crate"), bare)
		})
	}
}

func checkReal(t *testing.T, c *Crate, repo string) {
	t.Helper()
	info, err := c.VCSInfo()
	if err != nil || info == nil {
		t.Fatalf("origin %v, %v", info, err)
	}
	src := &entry.Source{Commit: info.Commit, Path: info.Path}
	l, err := c.List(src)
	fatalIf(t, err)
	files := proven(c, src)
	checkList(t, l, files, src.Path)
	inTree(t, repo, l, info.Commit)
	src.Files = l.Digest
	if _, err := c.Check(entry.Subject{Registry: entry.DefaultRegistry, Name: c.Name, Version: c.Version, SHA256: c.SHA256}, src); err != nil {
		t.Error(err)
	}
}

// TestCargosOddPathsStandInTheirCommit packages names that need a long name
// record, JSON escapes, UTF-8 and git's order.
func TestCargosOddPathsStandInTheirCommit(t *testing.T) {
	fixture.Need(t, "git", "cargo")
	tmp := t.TempDir()
	work := filepath.Join(tmp, "work")
	base := `crates/odd "quoted" näme`
	long := strings.Repeat("quite-long/", 12) + "файл.rs"
	cut := strings.Repeat("é", 100) + ".rs"
	for path, body := range map[string]string{
		"README.md":          "not in the crate\n",
		base + "/Cargo.toml": "[package]\nname = \"odd\"\nversion = \"1.0.0-rc.1+build.7\"\nedition = \"2021\"\n",
		base + "/src/lib.rs": "//! Odd.\n",
		base + "/a-b":        "1", base + "/a.b": "2", base + "/a/x": "3", base + "/a0": "4",
		base + "/" + long: "5",
		base + "/" + cut:  "6",
		base + "/run.sh":  "#!/bin/sh\n",
		base + "/empty":   "",
	} {
		full := filepath.Join(work, filepath.FromSlash(path))
		fatalIf(t, os.MkdirAll(filepath.Dir(full), 0o755))
		mode := os.FileMode(0o644)
		if strings.HasSuffix(path, ".sh") {
			mode = 0o755
		}
		fatalIf(t, os.WriteFile(full, []byte(body), mode))
	}
	tool(t, work, "git", "init", "-q")
	tool(t, work, "git", "add", "-A")
	tool(t, work, "git", "commit", "-q", "-m", "odd")
	c := packaged(t, work, base, "odd-1.0.0-rc.1+build.7.crate")
	if info, err := c.VCSInfo(); err != nil || info.Path != base || fmt.Sprintf("%x", info.Commit) != tool(t, work, "git", "rev-parse", "HEAD") {
		t.Errorf("origin is %v, %v", info, err)
	}
	for _, p := range []string{long, cut, "empty", "a/x"} {
		if _, ok := c.lookup(p); !ok {
			t.Errorf("%q is not in the crate", p)
		}
	}
	checkReal(t, c, work)
}
