package cargo

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// members returns the paths of the members' manifests, in cargo's order. Without a
// [workspace] it is the root alone; a virtual root is no member.
func (l *loader) members(root *manifest) ([]string, error) {
	if root.workspace == nil {
		return []string{root.path}, nil
	}
	f := &finder{loader: l, root: root, seen: map[string]bool{}}
	patterns, err := stringList(root.workspace["members"])
	if err != nil {
		return nil, wrong(root.path, "workspace.members", "%v", err)
	}
	for _, pattern := range patterns {
		dirs, err := expand(root.dir, pattern)
		if err != nil {
			return nil, wrong(root.path, "workspace.members", "%q: %v", pattern, err)
		}
		for _, dir := range dirs {
			if err := f.add(filepath.Join(dir, manifestName), false); err != nil {
				return nil, wrong(root.path, "workspace.members", "%q: %v", pattern, err)
			}
		}
	}
	return f.found, f.add(root.path, false)
}

// A finder follows cargo's find_path_deps.
type finder struct {
	*loader
	root  *manifest
	found []string
	seen  map[string]bool
}

// add makes the manifest at a path a member, and the path dependencies that it has, unless
// it is excluded, or a path dependency outside of the workspace.
func (f *finder) add(path string, dependency bool) error {
	if f.seen[path] {
		return nil
	}
	if dependency && !within(f.root.dir, path) {
		root, err := f.loader.root(path)
		if err != nil || root != f.root.path {
			return err
		}
	}
	if out, err := f.root.excludes(path); err != nil || out {
		return err
	}
	f.seen[path] = true
	m, err := f.load(path)
	if err != nil {
		return err
	}
	if m.workspace != nil && path != f.root.path {
		return wrong(path, "workspace", "is there, but the workspace %s has this package as a member; there can be only "+
			"one root", f.root.path)
	}
	if m.pkg == nil {
		return nil
	}
	if len(f.found) == maxMembers {
		return wrong(f.root.path, "workspace", "has more than %d members", maxMembers)
	}
	f.found = append(f.found, path)
	deps, err := m.dependencies(f.root)
	if err != nil {
		return err
	}
	for _, d := range deps {
		if d.path == "" {
			continue
		}
		if err := f.add(filepath.Join(d.path, manifestName), true); err != nil {
			return wrong(m.path, d.key, "%v", err)
		}
	}
	return nil
}

// expand returns the directories that an entry of workspace.members means: itself, or what
// its glob matches, as Rust's glob crate has it: * ? [a] [!a], and ** for any directories. A
// glob that matches nothing stands for itself, as in cargo.
func expand(root, pattern string) ([]string, error) {
	base := root
	if filepath.IsAbs(filepath.FromSlash(pattern)) {
		base = filepath.VolumeName(filepath.FromSlash(pattern)) + string(filepath.Separator)
	}
	dirs := []string{base}
	literal := true
	for part := range strings.SplitSeq(filepath.ToSlash(pattern), "/") {
		if part == "" || part == "." {
			continue
		}
		if !strings.ContainsAny(part, "*?[") {
			for i := range dirs {
				dirs[i] = filepath.Join(dirs[i], part)
			}
			continue
		}
		literal = false
		var err error
		if dirs, err = matchAll(dirs, part); err != nil {
			return nil, err
		}
	}
	if literal {
		return dirs, nil
	}
	dirs = slices.DeleteFunc(dirs, func(d string) bool { info, err := os.Stat(d); return err != nil || !info.IsDir() })
	if len(dirs) == 0 {
		return []string{filepath.Join(base, filepath.FromSlash(pattern))}, nil
	}
	return dirs, nil
}

// matchAll returns what a component of a glob matches in each of the directories.
func matchAll(dirs []string, part string) (found []string, err error) {
	for _, dir := range dirs {
		if part == "**" {
			if found, err = appendTree(found, dir); err != nil {
				return nil, err
			}
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			// In Rust's globs a backslash is a character, and ! negates a class.
			ok, err := filepath.Match(strings.ReplaceAll(strings.ReplaceAll(part, `\`, `\\`), "[!", "[^"), e.Name())
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, filepath.Join(dir, e.Name()))
			}
		}
	}
	if len(found) > 10*maxMembers {
		return nil, errors.New("matches too much")
	}
	return found, nil
}

// appendTree appends a directory and all below it, without following links.
func appendTree(found []string, dir string) ([]string, error) {
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case len(found) > 10*maxMembers:
			return errors.New("matches too much")
		case d.IsDir():
			found = append(found, p)
		}
		return nil
	})
	return found, err
}
