package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/cargo"
	"cratelog/cargo/backlog"
	"cratelog/cargo/backlog/visit"
	"cratelog/cargo/registry"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/prover/git"
)

// published gets a published crate. Its .crate is written beside the entry, once there is one:
// it is submitted with it.
func (o *proveOptions) published(ctx context.Context, sh *shell, name, version string) (*crate.Crate, error) {
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return nil, outcome.Usagef("%s@%s is not a crate: %v", name, version, err)
	}
	raw, err := o.get(ctx, sh, name, version)
	if err != nil {
		return nil, err
	}
	c, err := crate.Read(raw, name, version, crate.DefaultLimits)
	if err != nil {
		return nil, outcome.Refusef("%s v%s: %w", name, version, err)
	}
	if o.out == "" {
		dir, err := leftIn()
		if err != nil {
			return nil, err
		}
		o.out = filepath.Join(dir, name+"-"+version+".entry")
	}
	if !o.given("repository") {
		if err := o.find(sh, c); err != nil {
			return nil, err
		}
	}
	o.crateFile = &keptCrate{path: filepath.Join(filepath.Dir(o.out), name+"-"+version+".crate"), raw: raw}
	if old, err := readFile(o.crateFile.path, crate.DefaultLimits.Compressed); err == nil && bytes.Equal(old, raw) {
		o.crateFile.there = true
	} else if err == nil || !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is there already and is another .crate; move it away, or name another place with -o",
			o.crateFile.path)
	}
	return c, nil
}

// find takes the repository that the mapping file names, or else the crate's manifest.
func (o *proveOptions) find(sh *shell, c *crate.Crate) error {
	dir := "."
	if ws, err := workspace(""); err == nil {
		dir = filepath.Dir(ws.LockPath)
	}
	m, err := backlog.ReadMappingFor(o.lock.mapping, dir)
	if err != nil {
		return policyError(err)
	}
	found, err := m.Find(c.Name, c.Version, c.Repository())
	if err != nil {
		return outcome.Usagef("prove %s@%s needs --repository, the path or the URL of the git repository that the crate comes "+
			"from, or %s, which names it: %v", c.Name, c.Version, backlog.MapName, err)
	}
	o.repository, o.named, o.own = cmp.Or(found.Dir, found.URL), found.Dir == "", found.Own
	who := "the crate's manifest"
	if found.Dir != "" || found.Own {
		who = cmp.Or(o.lock.mapping, backlog.MapName)
	}
	sh.Status("Taking", "the repository that %s names, %s", who, o.repository)
	if info, _ := c.VCSInfo(); info == nil && !o.given("commit") {
		o.commit = found.Commit
	}
	if !o.given("path") {
		o.mappedPath = found.Path
	}
	for path, to := range found.Submodules {
		if _, ok := o.submodules[path]; !ok {
			o.submodules[path] = to
		}
	}
	return nil
}

// A keptCrate is a .crate to be left beside its entry, but not beside none.
type keptCrate struct {
	path  string
	raw   []byte
	there bool
}

func (k *keptCrate) write() error {
	if k == nil || k.there {
		return nil
	}
	return durable.WriteNew(k.path, k.raw, 0o644)
}

// leftIn is where the entry of a published crate is left: here, but in a package's directory below
// target, where git does not look, as the next publish would refuse files that are in no commit.
func leftIn() (string, error) {
	ws, err := workspace("")
	if err != nil {
		return "", nil
	}
	dir := filepath.Join(ws.Root, "target", "zkp", "proved")
	return dir, os.MkdirAll(dir, 0o755)
}

// get finds the bytes of a published crate: in cargo's cache, or in the registry.
func (o *proveOptions) get(ctx context.Context, sh *shell, name, version string) ([]byte, error) {
	home, err := cargo.Home()
	if err != nil {
		return nil, err
	}
	cached, err := cachedCrates(home, name, version)
	if err != nil {
		return nil, err
	}
	if o.registry == "" && o.index == "" {
		switch len(cached) {
		case 1:
			for sum, raw := range cached {
				sh.Status("Found", "%s v%s in cargo's cache, SHA-256 %x", name, version, sum)
				o.warnOther(sh, home, name, version)
				return raw, nil
			}
		case 0:
		default:
			return nil, outcome.Usagef("cargo's cache has %d different crates %s v%s, of several registries; say which one "+
				"is meant with --registry NAME or --index URL", len(cached), name, version)
		}
	}
	index, err := o.indexURL(home)
	if err != nil {
		return nil, err
	}
	x := &registry.Index{URL: index, UserAgent: userAgent}
	releases, err := x.Releases(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%s in the registry's index %s: %w", name, index, err)
	}
	release, err := registry.Find(releases, version)
	if err != nil {
		return nil, fmt.Errorf("%s v%s in the registry's index %s: %w", name, version, index, err)
	}
	if raw, ok := cached[release.Checksum]; ok {
		return raw, nil
	}
	sh.Status("Downloading", "%s v%s, SHA-256 %x", name, version, release.Checksum)
	return x.Download(ctx, release.Name, release.Version, release.Checksum)
}

// warnOther warns of a crate that cargo may have from another registry than its default one, of
// which the entry would say that it is.
func (o *proveOptions) warnOther(sh *shell, home, name, version string) {
	paths, err := cargo.FindCached(home, name, version)
	if err != nil || slices.ContainsFunc(paths, func(p string) bool { return registry.IsDefaultDir(filepath.Base(filepath.Dir(p))) }) {
		return
	}
	sh.Warn("cargo keeps %s v%s apart from the crates of its default registry, of which the entry says that it is: "+
		"that is right for a mirror; else name the registry with --registry NAME", name, version)
}

// cachedCrates returns what cargo's cache has of a crate, by SHA-256.
func cachedCrates(home, name, version string) (map[[32]byte][]byte, error) {
	paths, err := cargo.FindCached(home, name, version)
	if err != nil {
		return nil, err
	}
	found := map[[32]byte][]byte{}
	for _, path := range paths {
		raw, err := cargo.ReadCached(path)
		if err != nil {
			return nil, err
		}
		found[sha256.Sum256(raw)] = raw
	}
	return found, nil
}

// indexURL returns the sparse index of the registry that is meant.
func (o *proveOptions) indexURL(home string) (string, error) {
	index, err := o.namedIndex(home)
	switch {
	case err != nil:
		return "", err
	case index == "":
		return registry.DefaultIndex(home)
	case o.index != "":
		return registry.SparseURL(index)
	}
	return registry.IndexURL(index)
}

// namedIndex returns the index of the registry that the options name, as cargo writes it; "" if
// they name none, or cargo's default one.
func (o *proveOptions) namedIndex(home string) (string, error) {
	switch {
	case o.registry != "" && o.index != "":
		return "", outcome.Usagef("prove takes --registry or --index, not both")
	case o.index != "" || o.registry == "" || o.registry == cargo.DefaultSource:
		return o.index, nil
	}
	cwd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	config, err := cargo.LoadConfig(cwd, home)
	if err != nil {
		return "", err
	}
	index, ok := config.Registry(o.registry)
	if !ok {
		return "", outcome.Usagef("cargo's configuration has no registry %q", o.registry)
	}
	return index, nil
}

// subjectRegistry is the registry that the entry is to name.
func (o *proveOptions) subjectRegistry() (string, error) {
	home, err := cargo.Home()
	if err != nil {
		return "", err
	}
	index, err := o.namedIndex(home)
	if err != nil {
		return "", err
	}
	r := entry.Registry(index)
	if err := entry.CheckRegistry(r); err != nil {
		return "", outcome.Usagef("%v", err)
	}
	return r, nil
}

// fetch returns a directory with the commit that the crate is proved from.
func (o *proveOptions) fetch(ctx context.Context, sh *shell, c *crate.Crate) (string, error) {
	if !git.IsURL(o.repository) {
		return cmp.Or(o.repository, "."), nil
	}
	cache, err := git.DefaultClones()
	if err != nil {
		return "", err
	}
	if o.visitor == nil {
		if o.visitor, err = visit.Default(); err != nil {
			return "", err
		}
	}
	commit, err := o.wanted(ctx, c)
	if err != nil {
		return "", err
	}
	if o.chosen() {
		o.commit = hex.EncodeToString(commit[:])
	}
	o.url = o.repository
	sh.Status("Fetching", "commit %x", commit)
	if o.named {
		return o.visitor.Fetch(ctx, visit.Address{URL: o.repository, Own: o.own}, commit)
	}
	return cache.Fetch(ctx, o.repository, commit)
}

// chosen says that the command line or the mapping file names a commit.
func (o *proveOptions) chosen() bool { return o.commit != "" || o.given("commit") }

// wanted returns the commit to fetch.
func (o *proveOptions) wanted(ctx context.Context, c *crate.Crate) (commit [20]byte, err error) {
	if o.chosen() {
		if id, err := hex.DecodeString(o.commit); err == nil && len(id) == len(commit) {
			return [20]byte(id), nil
		}
		if o.named {
			return o.tag(ctx)
		}
		return git.ResolveRemote(ctx, o.repository, o.commit)
	}
	info, err := c.VCSInfo()
	if info != nil {
		return info.Commit, nil // a crate that says "dirty" is refused later, with what differs
	}
	if err == nil {
		err = outcome.Usagef("%s v%s does not say which commit it comes from; name it with "+
			"--commit, an id or a tag", c.Name, c.Version)
	}
	return commit, err
}

// tag returns the commit of the tag that --commit names, of a repository that a stranger's manifest names.
func (o *proveOptions) tag(ctx context.Context) ([20]byte, error) {
	tags, err := o.visitor.Tags(ctx, visit.Address{URL: o.repository, Own: o.own})
	if err != nil {
		return [20]byte{}, err
	}
	id, ok := tags[strings.TrimPrefix(o.commit, "refs/tags/")]
	if !ok {
		return id, outcome.Usagef("the repository at %s has no tag %q; --commit takes one, or a whole commit id of 40 digits",
			o.repository, o.commit)
	}
	return id, nil
}

// fetchSubmodule fetches the repository of a submodule that is named by a URL. Which
// commit is needed is not known here, so all branches and tags are fetched.
func (o *proveOptions) fetchSubmodule(ctx context.Context, sh *shell, path string) error {
	url := o.submodules[path]
	if !git.IsURL(url) {
		return nil
	}
	cache, err := git.DefaultClones()
	if err != nil {
		return err
	}
	sh.Status("Fetching", "the submodule at %s", path)
	dir, err := cache.FetchAll(ctx, url)
	if err != nil {
		return err
	}
	o.submodules[path], o.modules[path] = dir, url
	return nil
}
