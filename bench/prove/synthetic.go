package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"cratelog/crate"
	"cratelog/internal/forge"
	"cratelog/prover"
	"cratelog/prover/git"
)

// Sizes of the synthetic repository, in bytes.
const (
	perDirectory = 100
	perEntry     = len("100644 f00.rs\x00") + 20
	perBlock     = 64
)

// syntheticPlan plans a package with files of which the git objects take exactly so many SHA-1
// blocks: directories of 100 small files each, and a commit whose text fills the rest.
func syntheticPlan(ctx context.Context, dir string, blocks int) (*prover.Plan, error) {
	const fixed = 9 // commit, root tree, src and the last directory, about
	files := max(1, (blocks-fixed)*perBlock/(perEntry+1))
	text := 0
	for try := range 3 {
		plan, err := planFiles(ctx, filepath.Join(dir, fmt.Sprint(try)), files, text)
		switch {
		case err != nil:
			return nil, err
		case plan.Blocks == blocks:
			return plan, nil
		case plan.Blocks > blocks:
			files -= (plan.Blocks - blocks + 1) * perBlock / perEntry
		default:
			text += (blocks - plan.Blocks) * perBlock
		}
	}
	return nil, fmt.Errorf("no synthetic repository of %d blocks was found", blocks)
}

// planFiles plans a package with so many files, and a commit with so many bytes more than it needs.
func planFiles(ctx context.Context, dir string, files, text int) (*prover.Plan, error) {
	content := []forge.File{forge.Manifest("synthetic", "1.0.0"), {Path: "src/lib.rs", Content: "//\n"}}
	for i := range files {
		content = append(content, forge.File{Path: fmt.Sprintf("src/d%02d/f%02d.rs", i/perDirectory, i%perDirectory),
			Content: "//\n"})
	}
	raw, err := forge.Pack("synthetic", "1.0.0", content...)
	if err != nil {
		return nil, err
	}
	c, err := crate.Read(raw, "synthetic", "1.0.0", crate.DefaultLimits)
	if err != nil {
		return nil, err
	}

	var stream strings.Builder
	data := func(s string) { fmt.Fprintf(&stream, "data %d\n%s\n", len(s), s) }
	stream.WriteString("commit refs/heads/main\ncommitter nobody <> 1700000000 +0000\n")
	data("synthetic\n" + strings.Repeat("x", text))
	for _, f := range content {
		fmt.Fprintf(&stream, "M 100644 inline %s\n", f.Path)
		data(f.Content)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := output(ctx, dir, "git", "init", "--quiet", "--bare"); err != nil {
		return nil, err
	}
	imports := exec.CommandContext(ctx, "git", "fast-import", "--quiet")
	imports.Dir, imports.Env, imports.Stdin = dir, git.Environment(os.Environ()), strings.NewReader(stream.String())
	if said, err := imports.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("git fast-import: %s (%w)", bytes.TrimSpace(said), err)
	}
	head, err := output(ctx, dir, "git", "rev-parse", "refs/heads/main")
	if err != nil {
		return nil, err
	}
	var commit [20]byte
	if _, err := hex.Decode(commit[:], []byte(strings.TrimSpace(head))); err != nil {
		return nil, err
	}
	repo, err := git.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	return prover.NewPlan(ctx, c, repo, prover.Source{Commit: &commit, Path: new(string)})
}
