package git

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
)

// A Snapshot is the tree of one commit. It reads each tree once and remembers it.
// It is not safe for concurrent use.
type Snapshot struct {
	Commit *Commit
	repo   *Repo
	trees  map[string]*Tree // by path
}

// At returns the snapshot of a commit.
func (r *Repo) At(ctx context.Context, commit [20]byte) (*Snapshot, error) {
	c, err := r.Commit(ctx, commit)
	if err != nil {
		return nil, err
	}
	return &Snapshot{Commit: c, repo: r, trees: map[string]*Tree{}}, nil
}

// Tree returns the tree at a path of directories, "" for the root. Links and
// submodules are not followed. Errors name the path: a *NotFoundError, a
// *NotDirectoryError, or a *MissingError for an object that is not in the
// repository.
func (s *Snapshot) Tree(ctx context.Context, path string) (*Tree, error) {
	if t := s.trees[path]; t != nil {
		return t, nil
	}
	id := s.Commit.Tree
	if path != "" {
		e, err := s.Entry(ctx, path)
		if err != nil {
			return nil, err
		}
		if e.Mode != ModeDirectory {
			return nil, &NotDirectoryError{Commit: s.Commit.ID, Path: path, Mode: e.Mode}
		}
		id = e.ID
	}
	t, err := s.repo.Tree(ctx, id)
	if err != nil {
		var missing *MissingError
		if errors.As(err, &missing) {
			missing.Path = path
			return nil, missing
		}
		return nil, fmt.Errorf("%q in commit %x: %w", path, s.Commit.ID, err)
	}
	s.trees[path] = t
	return t, nil
}

// Entry returns the entry at a path: of a file, directory, link or submodule.
// It recurses once per component; a path is as deep as its caller made it.
func (s *Snapshot) Entry(ctx context.Context, at string) (TreeEntry, error) {
	dir, name := path.Split(at)
	t, err := s.Tree(ctx, strings.TrimSuffix(dir, "/"))
	if err != nil {
		return TreeEntry{}, err
	}
	e, ok := t.Find(name)
	if !ok {
		return TreeEntry{}, &NotFoundError{Commit: s.Commit.ID, Path: at}
	}
	return e, nil
}

// Blob reads the content of a blob of at most max bytes.
func (s *Snapshot) Blob(ctx context.Context, id [20]byte, max int64) ([]byte, error) {
	return s.repo.Blob(ctx, id, max)
}

// A NotFoundError says that a commit's tree has nothing at a path.
type NotFoundError struct {
	Commit [20]byte
	Path   string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("there is no %q in commit %x", e.Path, e.Commit)
}

// A NotDirectoryError says that a path of a commit leads through something else
// than a directory.
type NotDirectoryError struct {
	Commit [20]byte
	Path   string // of what is not a directory
	Mode   string
}

func (e *NotDirectoryError) Error() string {
	return fmt.Sprintf("%q in commit %x is %s, not a directory", e.Path, e.Commit, KindOf(e.Mode))
}

// KindOf names what a tree entry of a mode is, with its article.
func KindOf(mode string) string {
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
