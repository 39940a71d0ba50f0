package rebuild

import (
	"crypto/sha256"
	"fmt"
	"path"
	"strings"

	"cratelog/build"
	"cratelog/cargo"
	"cratelog/crate"
	"cratelog/crate/manifest"
	"cratelog/entry"
	"cratelog/internal/outcome"
	"cratelog/internal/toml"
)

const (
	// maxLock bounds a Cargo.lock, in bytes, and maxLocked the packages in it: a list of those
	// that are compiled has no room for more.
	maxLock   = 4 << 20
	maxLocked = 4096
)

// A Lock is what the Cargo.lock of a .crate says, if one can build from it.
type Lock struct {
	Text   []byte
	Crates build.List // all that it names but the package itself, in its order; many are not compiled

	packages []cargo.Package // of Crates
}

// Digest returns the SHA-256 of the lock file: entry.Build.Lock.
func (l *Lock) Digest() [32]byte { return sha256.Sum256(l.Text) }

// Index returns the registry of a crate of the lock file as cargo.Package.Registry has it, "" for
// cargo's default one.
func (l *Lock) Index(c build.Crate) string {
	for i, other := range l.Crates {
		if index, _ := l.packages[i].Registry(); other == c && !cargo.IsDefault(index) {
			return index
		}
	}
	return ""
}

// ReadLock reads the lock file of a .crate. It refuses what recipe 1 does not build: a package
// without one, and one that names anything but crates of registries with their checksums.
func ReadLock(c *crate.Crate) (*Lock, error) {
	who := c.Name + " v" + c.Version
	text, err := fileOf(c, "Cargo.lock", maxLock)
	if err != nil {
		return nil, err
	}
	if text == nil {
		return nil, outcome.Refusef("%s has no Cargo.lock, so nothing says which crates its binaries are made of\n"+
			"its author can publish with one: cargo packs it with every package that has a binary, unless it is told "+
			"otherwise", who)
	}
	parsed, err := cargo.ParseLock(text)
	if err != nil {
		return nil, outcome.Refusef("the Cargo.lock of %s: %w", who, err)
	}
	if n := len(parsed.Packages); n > maxLocked {
		return nil, outcome.Refusef("the Cargo.lock of %s has %d packages; at most %d are built", who, n, maxLocked)
	}
	l := &Lock{Text: text}
	places, own := map[string]string{}, 0
	for _, p := range parsed.Packages {
		if p.Source == "" && p.Replace == "" && p.Name == c.Name && p.Version == c.Version {
			own++
			continue
		}
		index, err := lockedRegistry(p)
		if err != nil {
			return nil, outcome.Refusef("the Cargo.lock of %s: %w", who, err)
		}
		name := p.Name + "-" + p.Version
		if other, twice := places[name]; twice {
			return nil, outcome.Refusef("the Cargo.lock of %s has %s v%s from %s and from %s: one directory cannot hold both",
				who, p.Name, p.Version, other, p.Source)
		}
		places[name] = p.Source
		l.Crates = append(l.Crates, build.Crate{Registry: index, Name: p.Name, Version: p.Version, SHA256: *p.Checksum})
		l.packages = append(l.packages, p)
	}
	if own != 1 {
		return nil, outcome.Refusef("the Cargo.lock of %s does not name that package itself: it is another one's", who)
	}
	return l, nil
}

// lockedRegistry returns the registry of a package as entry.Registry spells it.
func lockedRegistry(p cargo.Package) (string, error) {
	index, ok := p.Registry()
	git, isGit := strings.CutPrefix(p.Source, "git+")
	switch {
	case p.Replace != "":
		return "", fmt.Errorf("%s is replaced by %s, so that there is no .crate to build it from", p, p.Replace)
	case isGit:
		return "", fmt.Errorf("%s v%s is from the git repository %s, of which there is no .crate", p.Name, p.Version, git)
	case !ok:
		return "", fmt.Errorf("%s v%s is from a path, of which there is no .crate", p.Name, p.Version)
	}
	if err := p.Odd(); err != nil {
		return "", err
	}
	registry := entry.Registry(index)
	return registry, entry.CheckRegistry(registry)
}

// ids are what cargo may call a package in a unit graph: a package id specification, which leaves
// out the name where the URL ends in it.
func ids(p cargo.Package) []string {
	all := []string{p.Source + "#" + p.Name + "@" + p.Version}
	if path.Base(p.Source) == p.Name {
		all = append(all, p.Source+"#"+p.Version)
	}
	return all
}

// fileOf returns the content of one file of a crate, nil if it has no such file.
func fileOf(c *crate.Crate, name string, limit int64) (content []byte, err error) {
	for _, f := range c.Files {
		if f.Path == name && f.Size > limit {
			return nil, outcome.Refusef("the %s of %s v%s has %d bytes; at most %d are read", name, c.Name, c.Version, f.Size,
				limit)
		}
	}
	err = c.Contents([]string{name}, limit, func(_ crate.File, b []byte) { content = append([]byte{}, b...) })
	return content, err
}

// checkManifest refuses a Cargo.toml that builds other crates than the lock file seems to say.
func checkManifest(c *crate.Crate) error {
	doc, err := toml.ParseKeys(c.Manifest(), manifest.MaxKeys)
	if err != nil {
		return outcome.Refusef("the Cargo.toml of %s v%s: %w", c.Name, c.Version, err)
	}
	for _, key := range []string{"patch", "replace"} {
		if _, said := doc[key]; said {
			return outcome.Refusef("the Cargo.toml of %s v%s has a [%s], which makes cargo build other sources than those of "+
				"the registry; cargo publishes none, so whoever packaged this put it there", c.Name, c.Version, key)
		}
	}
	for _, table := range []string{"package", "project"} { // which is its old name
		pkg, _ := doc[table].(map[string]any)
		if pkg["workspace"] == nil {
			continue
		}
		return outcome.Refusef("the Cargo.toml of %s v%s has package.workspace, which makes cargo take another Cargo.lock, "+
			"and profiles, than the package's own; cargo publishes none, so whoever packaged this put it there", c.Name,
			c.Version)
	}
	return nil
}
