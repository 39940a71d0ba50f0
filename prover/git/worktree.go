package git

import (
	"context"
	"os"
	"path/filepath"
)

// WorkTree returns the top of the work tree that a directory lies in, as git finds
// it; the directory itself if there is none, as in a bare repository.
func WorkTree(dir string) string {
	at, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	for {
		if _, err := os.Stat(filepath.Join(at, ".git")); err == nil {
			return at
		}
		up := filepath.Dir(at)
		if up == at {
			return dir
		}
		at = up
	}
}

// Submodules opens the repositories of submodules: named ones, and those checked out
// in the work tree.
type Submodules struct {
	WorkTree string            // "" if there is none
	Named    map[string]string // directory by path in the repository

	opened map[string]*Repo
}

// Open is for prover.Source. It opens each repository once.
func (s *Submodules) Open(ctx context.Context, path string) (*Repo, error) {
	if r := s.opened[path]; r != nil {
		return r, nil
	}
	dir, named := s.Named[path]
	if !named {
		if s.WorkTree == "" {
			return nil, nil
		}
		dir = filepath.Join(s.WorkTree, filepath.FromSlash(path))
		// A submodule that is not checked out is an empty folder, in which git would
		// find the repository around it.
		if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
			return nil, nil
		}
	}
	r, err := Open(ctx, dir)
	if err == nil {
		if s.opened == nil {
			s.opened = map[string]*Repo{}
		}
		s.opened[path] = r
	}
	return r, err
}

// Close closes what Open has opened.
func (s *Submodules) Close() {
	for _, r := range s.opened {
		r.Close()
	}
}
