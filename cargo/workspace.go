package cargo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	manifestName = "Cargo.toml"
	lockName     = "Cargo.lock"
	maxMembers   = 10000
)

// A Workspace is what the manifests of a workspace, or of a package without one, say.
type Workspace struct {
	Root     string   // absolute directory of the root manifest
	Manifest string   // the root manifest
	LockPath string   // Cargo.lock beside it; it may not be there
	Members  []Member // in the order in which cargo finds them; none if only virtual
	Demands  []Demand // what all of them ask to be verified, in the members' order
	Policy   string   // absolute path that a metadata.zkp.policy names, "" if none does
	PolicyAt string   // file and key that name it

	// Unified says that cargo turns on a crate's features for all that any package of the lock
	// file asks of it, also one that is for another platform and not built: its resolver is
	// the first (cargo's reference, "Dependency Resolution", resolver versions).
	Unified bool

	// Digest is a SHA-256 over all manifests that were read, with their places.
	Digest [32]byte

	own     map[string]bool   // names of the packages that are the user's own
	outside map[string]string // names of others that are built from a path, and their directories
}

// A Member is a package of the workspace.
type Member struct {
	Manifest      string // absolute path of its Cargo.toml
	Name, Version string
}

// FindManifest returns the Cargo.toml of a directory or of the nearest one above it, as
// cargo finds it without --manifest-path.
func FindManifest(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		path := filepath.Join(d, manifestName)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("there is no Cargo.toml in %s or in a directory above it; name one with --manifest-path", dir)
		}
	}
}

// LoadWorkspace reads the manifest at a path, finds its workspace as cargo does (by
// package.workspace, or the nearest manifest above with a [workspace] that does not exclude
// it), reads the manifests of all members (members with their globs, exclude, and path
// dependencies below the root), and collects what they ask to be verified.
//
// It refuses what cargo refuses of a workspace's shape, and every key of ours that says
// something unknown. Errors are *FileError, or of the file system.
func LoadWorkspace(manifestPath string) (*Workspace, error) {
	l, start, root, err := findRoot(manifestPath)
	if err != nil {
		return nil, err
	}
	w := &Workspace{Root: filepath.Dir(root), Manifest: root, LockPath: filepath.Join(filepath.Dir(root), lockName)}
	rootDoc, err := l.load(root)
	if err != nil {
		return nil, err
	}
	paths, err := l.members(rootDoc)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(paths, root) && start == root && rootDoc.pkg != nil {
		paths = []string{root} // SPEC: a root that excludes itself is a package without a workspace
	}
	if !slices.Contains(paths, start) && start != root {
		return nil, wrong(start, "", "its workspace is %s, which does not have it as a member; add it to "+
			"workspace.members there, or to workspace.exclude, or give it an empty [workspace] table", root)
	}
	if err := w.collect(l, rootDoc, paths); err != nil {
		return nil, err
	}
	if err := w.findLocals(l, rootDoc, paths); err != nil {
		return nil, err
	}
	w.Unified = rootDoc.unified()
	w.Digest = l.digest()
	return w, nil
}

// unified says that the root does not choose a resolver after the first. A virtual one has no
// edition that would choose for it; what cannot be read is taken for the first.
func (m *manifest) unified() bool {
	chosen, ok := m.workspace["resolver"]
	if !ok {
		chosen, ok = m.pkg["resolver"]
	}
	if !ok {
		edition, _ := m.pkg["edition"].(string)
		if _, inherited := m.pkg["edition"].(table); inherited {
			shared, _ := m.workspace["package"].(table)
			edition, _ = shared["edition"].(string)
		}
		return edition < "2021" // "2015" and "2018" are those before
	}
	version, _ := chosen.(string)
	return version != "2" && version != "3"
}

// A loader keeps the manifests that were read.
type loader struct {
	read map[string]*manifest
	home string
}

// A manifest is a decoded Cargo.toml.
type manifest struct {
	path      string
	dir       string
	doc       table
	pkg       table // [package], or [project] as it was called once; nil if there is none
	workspace table // nil if there is none

	inherited map[string]dependency // what shared returned; nil before
}

func (l *loader) load(path string) (*manifest, error) {
	if m, ok := l.read[path]; ok {
		return m, nil
	}
	doc, err := readTOML(path)
	if err != nil {
		return nil, err
	}
	m := &manifest{path: path, dir: filepath.Dir(path), doc: doc}
	for key, to := range map[string]*table{"package": &m.pkg, "workspace": &m.workspace} {
		if *to, err = m.table(doc, "", key); err != nil {
			return nil, err
		}
	}
	if m.pkg == nil {
		if m.pkg, err = m.table(doc, "", "project"); err != nil {
			return nil, err
		}
	}
	if m.pkg == nil && m.workspace == nil {
		return nil, wrong(path, "", "has neither a [package] nor a [workspace]")
	}
	l.read[path] = m
	return m, nil
}

// table returns the table at a key of t, which stands at the dotted key at; nil if absent.
func (m *manifest) table(t table, at, key string) (table, error) {
	v, said := t[key]
	if !said {
		return nil, nil
	}
	sub, ok := v.(table)
	if !ok {
		return nil, wrong(m.path, join(at, key), "is not a table")
	}
	return sub, nil
}

// text returns the string at a key of t, "" if absent.
func (m *manifest) text(t table, at, key string) (string, error) {
	v, said := t[key]
	s, ok := v.(string)
	if said && (!ok || strings.ContainsRune(s, 0)) {
		return "", wrong(m.path, join(at, key), "is not a string")
	}
	return s, nil
}

// findRoot returns the absolute path of a manifest, and the root manifest of its workspace,
// which is itself if it has none.
func findRoot(manifestPath string) (l *loader, start, root string, err error) {
	if filepath.Base(manifestPath) != manifestName {
		return nil, "", "", fmt.Errorf("%s: the path of a manifest must end in Cargo.toml", manifestPath)
	}
	if start, err = filepath.Abs(manifestPath); err != nil {
		return nil, "", "", err
	}
	l = &loader{read: map[string]*manifest{}}
	if l.home, err = Home(); err != nil {
		return nil, "", "", err
	}
	if root, err = l.root(start); root == "" {
		root = start
	}
	return l, start, root, err
}

// root follows cargo's find_workspace_root: "" means that there is no workspace.
func (l *loader) root(path string) (string, error) {
	m, err := l.load(path)
	if err != nil {
		return "", err
	}
	if root, err := m.points(path); err != nil || root != "" {
		return root, err
	}
	for last, d := m.dir, filepath.Dir(m.dir); d != last; last, d = d, filepath.Dir(d) {
		// SPEC: cargo's find_root_iter: not past CARGO_HOME, nor out of target/package.
		if last == l.home && last != m.dir || strings.HasSuffix(filepath.ToSlash(d), "/target/package") {
			return "", nil
		}
		above := filepath.Join(d, manifestName)
		if _, err := os.Stat(above); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		a, err := l.load(above)
		if err != nil {
			return "", err
		}
		if root, err := a.points(path); err != nil || root != "" {
			return root, err
		}
	}
	return "", nil
}

// points returns the root that a manifest gives to the manifest at path, which is itself or
// one below: it is a root and does not exclude path, or names one; else "".
func (m *manifest) points(path string) (string, error) {
	to, err := m.text(m.pkg, "package", "workspace")
	if err != nil {
		return "", err
	}
	switch {
	case m.workspace != nil && m.pkg["workspace"] != nil:
		return "", wrong(m.path, "package.workspace", "cannot be there beside a [workspace]")
	case m.workspace != nil:
		out, err := m.excludes(path)
		if err != nil || out {
			return "", err
		}
		return m.path, nil
	case m.pkg["workspace"] != nil:
		return filepath.Join(m.below(to), manifestName), nil
	}
	return "", nil
}

// below returns a path of a manifest as seen from its directory.
func (m *manifest) below(p string) string {
	p = filepath.FromSlash(p)
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(m.dir, p)
}

// excludes follows cargo's is_excluded: a plain prefix, and a literal member wins.
func (m *manifest) excludes(path string) (bool, error) {
	in, err := m.covers("exclude", path)
	if err != nil || !in {
		return false, err
	}
	member, err := m.covers("members", path)
	return !member, err
}

func (m *manifest) covers(key, path string) (bool, error) {
	list, err := stringList(m.workspace[key])
	if err != nil {
		return false, wrong(m.path, "workspace."+key, "%v", err)
	}
	for _, p := range list {
		if within(m.below(p), path) {
			return true, nil
		}
	}
	return false, nil
}

// within says whether path is dir or lies below it.
func within(dir, path string) bool {
	const sep = string(filepath.Separator)
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, sep)+sep)
}
