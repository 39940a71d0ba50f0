package git

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Walk reads a commit and the trees at the given paths in it ("" is the root),
// in the order of the paths. Errors name the path; an object that is not there
// is a *MissingError with its path.
func (r *Repo) Walk(ctx context.Context, commit [20]byte, paths []string) (*Commit, []*Tree, error) {
	c, err := r.Commit(ctx, commit)
	if err != nil {
		return nil, nil, err
	}
	w := walk{repo: r, commit: c, trees: map[string]*Tree{}}
	var trees []*Tree
	for _, p := range paths {
		t, err := w.tree(ctx, p)
		if err != nil {
			return nil, nil, err
		}
		trees = append(trees, t)
	}
	return c, trees, nil
}

// Lookup returns the entry at a path in a commit's tree, for a file, directory,
// link or submodule. Links are not followed.
func (r *Repo) Lookup(ctx context.Context, commit [20]byte, path string) (TreeEntry, error) {
	c, err := r.Commit(ctx, commit)
	if err != nil {
		return TreeEntry{}, err
	}
	w := walk{repo: r, commit: c, trees: map[string]*Tree{}}
	return w.entry(ctx, path)
}

// A walk remembers the trees of one commit by path.
type walk struct {
	repo   *Repo
	commit *Commit
	trees  map[string]*Tree
}

func (w *walk) tree(ctx context.Context, path string) (*Tree, error) {
	if t := w.trees[path]; t != nil {
		return t, nil
	}
	id := w.commit.Tree
	if path != "" {
		e, err := w.entry(ctx, path)
		if err != nil {
			return nil, err
		}
		if e.Mode != ModeDirectory {
			return nil, fmt.Errorf("%q in commit %x is %s, not a directory", path, w.commit.ID, kindOf(e.Mode))
		}
		id = e.ID
	}
	t, err := w.repo.Tree(ctx, id)
	if err != nil {
		var missing *MissingError
		if errors.As(err, &missing) {
			missing.Path = path
			return nil, missing
		}
		return nil, fmt.Errorf("%q in commit %x: %w", path, w.commit.ID, err)
	}
	w.trees[path] = t
	return t, nil
}

// entry recurses once per component; a path is as deep as its caller made it.
func (w *walk) entry(ctx context.Context, path string) (TreeEntry, error) {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	t, err := w.tree(ctx, dir)
	if err != nil {
		return TreeEntry{}, err
	}
	e, ok := t.Find(name)
	if !ok {
		return TreeEntry{}, &NotFoundError{Commit: w.commit.ID, Path: path}
	}
	return e, nil
}

// A NotFoundError says that a commit's tree has nothing at a path.
type NotFoundError struct {
	Commit [20]byte
	Path   string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("there is no %q in commit %x", e.Path, e.Commit)
}

func kindOf(mode string) string {
	switch mode {
	case ModeDirectory:
		return "a directory"
	case ModeSymlink:
		return "a symbolic link"
	case ModeSubmodule:
		return "a submodule"
	}
	return "a file"
}
