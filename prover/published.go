package prover

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cratelog/prover/git"
)

// maxAsk bounds how long git may take to answer one question about branches.
const maxAsk = 20 * time.Second

// Published says whether a branch or tag that a clone knows of its remotes has a
// commit in its history. It asks no remote: known is false if the repository at dir
// cannot tell, as it is bare or shallow, or has no remote. A local tag counts, as
// git does not remember where it came from.
func Published(ctx context.Context, dir string, commit [20]byte) (published, known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxAsk)
	defer cancel()
	kind, err := git.Run(ctx, dir, "rev-parse", "--is-bare-repository", "--is-shallow-repository")
	if err != nil || strings.TrimSpace(kind) != "false\nfalse" {
		return false, false, err
	}
	if remotes, err := git.Run(ctx, dir, "remote"); err != nil || strings.TrimSpace(remotes) == "" {
		return false, false, err
	}
	alone, err := git.Run(ctx, dir, "rev-list", "--max-count=1", fmt.Sprintf("%x", commit), "--not", "--remotes", "--tags")
	return err == nil && strings.TrimSpace(alone) == "", err == nil, err
}
