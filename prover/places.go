package prover

import (
	"context"
	"errors"
	"regexp"
	"slices"

	"cratelog/crate"
	"cratelog/internal/outcome"
	"cratelog/prover/git"
)

// The files of a crate that cargo makes or copies under another name.
const (
	manifestFile = "Cargo.toml"
	origFile     = "Cargo.toml.orig"
	vcsFile      = ".cargo_vcs_info.json"
	cargoLock    = "Cargo.lock"
)

// places finds the directories of a commit that can be the crate's package: those whose
// Cargo.toml is the crate's Cargo.toml.orig, perhaps as git checks it out, or else those
// whose Cargo.toml names a package of the crate's name. The nearest to the root come first.
func places(ctx context.Context, c *crate.Crate, top *git.Snapshot) ([]string, error) {
	want, err := manifestBlobs(c)
	if err != nil {
		return nil, err
	}
	found, err := find(ctx, top, func(e git.TreeEntry) bool { return want[e.ID] })
	if err != nil || len(found) > 0 {
		return found, err
	}
	named := regexp.MustCompile(`(?m)^[ \t]*name[ \t]*=[ \t]*["']` + regexp.QuoteMeta(c.Name) + `["']`)
	tried, left := map[[20]byte]bool{}, maxManifests
	return find(ctx, top, func(e git.TreeEntry) bool {
		if matches, ok := tried[e.ID]; ok || left <= 0 {
			return matches
		}
		content, err := top.Blob(ctx, e.ID, maxRead)
		left -= len(content)
		tried[e.ID] = err == nil && named.Match(content)
		return tried[e.ID]
	})
}

// maxManifests is how many bytes of a commit's manifests are read for the package's name.
const maxManifests = 256 << 20

// find returns the directories of a commit whose Cargo.toml matches. Where there is none, a tree
// that could not be read may have held it.
func find(ctx context.Context, top *git.Snapshot, match func(git.TreeEntry) bool) ([]string, error) {
	found, skipped, err := top.Find(ctx, func(t *git.Tree) bool {
		e, ok := t.Find(manifestFile)
		return ok && e.Mode != git.ModeDirectory && e.Mode != git.ModeSubmodule && match(e)
	})
	if errors.Is(err, git.ErrTooManyTrees) {
		err = outcome.Refusef("%w\nname the package's directory with --path", err)
	}
	if err == nil && len(found) == 0 {
		err = skipped
	}
	return found, err
}

// manifestOf names the file of a crate that is the commit's Cargo.toml.
func manifestOf(c *crate.Crate) string {
	if slices.ContainsFunc(c.Files, func(f crate.File) bool { return f.Path == origFile }) {
		return origFile
	}
	return manifestFile
}

// manifestBlobs returns the ids of the blobs that the commit can have for a crate's
// Cargo.toml.
func manifestBlobs(c *crate.Crate) (map[[20]byte]bool, error) {
	ids := map[[20]byte]bool{}
	err := c.Contents([]string{manifestOf(c)}, maxExplained, func(f crate.File, content []byte) {
		ids[f.Blob] = true
		for _, u := range undone(content) {
			if id, ok := u.blob(); ok {
				ids[id] = true
			}
		}
	})
	return ids, err
}
