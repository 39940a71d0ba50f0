package cargo

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Own says whether a package of the lock file is the user's own, which nobody has to prove to
// them: a member of the workspace, or a path dependency inside of the repository that the
// workspace lies in (without one, of the workspace's directory). A link in there that leads out
// of it leads outside.
func (w *Workspace) Own(p Package) bool {
	_, outside := w.outside[p.Name]
	return p.Source == "" && w.own[p.Name] && !outside
}

// Outside returns the directory that a package from a path is built from and that makes it not
// the user's own; "" if it is not known.
func (w *Workspace) Outside(p Package) string { return w.outside[p.Name] }

// findLocals follows path dependencies, also those of [patch] and [replace], wherever they
// lead. One that cannot be read is passed over: cargo will say so, and what is not found is
// not the user's own.
func (w *Workspace) findLocals(l *loader, root *manifest, members []string) error {
	top, err := repository(w.Root)
	if err != nil {
		return err
	}
	w.own, w.outside = map[string]bool{}, map[string]string{}
	todo := append(slices.Clone(members), root.replacements()...)
	roots, seen := map[string]*manifest{}, map[string]bool{}
	for _, path := range members {
		roots[path] = root
	}
	for ; len(todo) > 0 && len(seen) < maxMembers; todo = todo[1:] {
		path := todo[0]
		if seen[path] {
			continue
		}
		seen[path] = true
		m, err := l.load(path)
		if err != nil {
			continue
		}
		if name, err := m.text(m.pkg, "package", "name"); err != nil {
			continue
		} else if inside(top, m.dir) || roots[path] != nil && !within(w.Root, path) {
			w.own[name] = true
		} else {
			w.outside[name] = m.dir
		}
		todo = append(todo, l.pathDependencies(m, roots[path])...)
	}
	return nil
}

// pathDependencies returns the manifests of a package's path dependencies, as far as they can
// be told. root is that of its workspace, nil if it is another one.
func (l *loader) pathDependencies(m, root *manifest) (paths []string) {
	if root == nil {
		root = m
		if path, err := l.root(m.path); err == nil && path != "" {
			if r, err := l.load(path); err == nil {
				root = r
			}
		}
	}
	deps, err := m.dependencies(root)
	if err != nil {
		return nil
	}
	for _, d := range deps {
		if d.path != "" {
			paths = append(paths, filepath.Join(d.path, manifestName))
		}
	}
	return paths
}

// replacements returns the manifests that the [patch] and [replace] of a root name by a path.
func (m *manifest) replacements() (paths []string) {
	var tables []table
	patch, _ := m.doc["patch"].(table)
	for _, source := range slices.Sorted(maps.Keys(patch)) {
		t, _ := patch[source].(table)
		tables = append(tables, t)
	}
	replace, _ := m.doc["replace"].(table)
	for _, t := range append(tables, replace) {
		for _, name := range slices.Sorted(maps.Keys(t)) {
			entry, _ := t[name].(table)
			if path, ok := entry["path"].(string); ok {
				paths = append(paths, filepath.Join(m.below(path), manifestName))
			}
		}
	}
	return paths
}

// repository returns the real path of the nearest directory with a .git in it, at dir or
// above; of dir itself if there is none.
func repository(dir string) (string, error) {
	top := dir
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Lstat(filepath.Join(d, ".git")); err == nil {
			top = d
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if d == filepath.Dir(d) {
			break
		}
	}
	return filepath.EvalSymlinks(top)
}

// InRepository returns the path of a file of a workspace as code hosts write it: below the nearest
// directory with a .git in it, or below the file's own directory if there is none.
func InRepository(file string) string {
	file, err := filepath.Abs(file)
	if err != nil {
		return filepath.Base(file)
	}
	top, err := repository(filepath.Dir(file))
	if dir, linked := filepath.EvalSymlinks(filepath.Dir(file)); err == nil && linked == nil {
		if rel, err := filepath.Rel(top, filepath.Join(dir, filepath.Base(file))); err == nil {
			return filepath.ToSlash(rel)
		}
	}
	return filepath.Base(file)
}

// inside says whether a directory really lies in another, links followed.
func inside(top, dir string) bool {
	dir, err := filepath.EvalSymlinks(dir)
	return err == nil && within(top, dir)
}

// digest covers the manifests that were read.
func (l *loader) digest() [32]byte {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(l.read)) {
		fmt.Fprintf(h, "%q %#v\n", path, l.read[path].doc) // maps are printed in the order of their keys
	}
	return [32]byte(h.Sum(nil))
}
