package git

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of a search through a commit.
const (
	maxTrees = 1 << 18   // tree objects
	maxBytes = 256 << 20 // of their content, in all
	maxDepth = 1 << 10   // how deep they nest
	maxFound = 16        // directories that are found
	maxPaths = 16 << 20  // bytes of their paths, on the way
)

// ErrTooManyTrees says that a commit is too large to look through.
var ErrTooManyTrees = fmt.Errorf("the commit's directories are too many to look through: more than %d different "+
	"ones, or %d MB, or some deeper than %d", maxTrees, maxBytes>>20, maxDepth)

// Find returns the directories of the commit, "" for its root, whose trees match: those of
// fewest components first, at most 16. Each tree object is read once, however many paths
// lead to it. Submodules are not entered. A tree that is refused holds nothing: skipped says why
// the first such one is.
func (s *Snapshot) Find(ctx context.Context, match func(*Tree) bool) (paths []string, skipped, err error) {
	f := finder{ctx: ctx, repo: s.repo, match: match, found: map[[20]byte][]string{}}
	paths, err = f.below(s.Commit.Tree, 0)
	return paths, f.skipped, err
}

// finder remembers what each tree was found to hold, as paths below it.
type finder struct {
	ctx   context.Context
	repo  *Repo
	match func(*Tree) bool
	found map[[20]byte][]string
	bytes int // of trees
	paths int // bytes

	skipped error
}

func (f *finder) below(id [20]byte, depth int) (paths []string, err error) {
	if paths, ok := f.found[id]; ok {
		return paths, nil
	}
	if len(f.found) == maxTrees || f.bytes > maxBytes || depth > maxDepth {
		return nil, ErrTooManyTrees
	}
	t, err := f.repo.Tree(f.ctx, id)
	switch {
	case err != nil && (errors.As(err, new(*MissingError)) || errors.As(err, new(*SizeError)) || f.repo.unusable() ||
		f.ctx.Err() != nil): // after a tree that is too large git is started again, which many such would make long
		return nil, err
	case err != nil:
		f.found[id], f.skipped = nil, cmp.Or(f.skipped, err)
		return nil, nil
	case f.match(t):
		paths = append(paths, "")
	}
	f.bytes += len(t.Object.Content)
	for _, e := range t.Entries {
		if e.Mode != ModeDirectory {
			continue
		}
		deeper, err := f.below(e.ID, depth+1)
		if err != nil {
			return nil, err
		}
		for _, p := range deeper {
			paths = append(paths, strings.TrimSuffix(e.Name+"/"+p, "/"))
			if f.paths += len(e.Name) + len(p); f.paths > maxPaths {
				return nil, ErrTooManyTrees
			}
		}
	}
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(cmp.Compare(components(a), components(b)), strings.Compare(a, b))
	})
	paths = paths[:min(len(paths), maxFound)]
	f.found[id] = paths
	return paths, nil
}

// components is how many names a path has.
func components(path string) int {
	if path == "" {
		return 0
	}
	return strings.Count(path, "/") + 1
}
