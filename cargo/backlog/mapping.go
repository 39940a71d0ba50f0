package backlog

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/cargo/backlog/visit"
	"cratelog/config"
	"cratelog/entry"
	"cratelog/prover/git"
)

// MapName is the name of the mapping file that is read where it stands beside Cargo.lock.
const MapName = "zkp-repositories.toml"

// A Mapping says where repositories are, where manifests do not, or not rightly. It is the user's own: what it
// names is fetched from private networks as well, and read on this disk.
//
//	[repositories]                      # what a manifest names = where it is
//	"https://git.example/old" = "https://git.example/new"
//	"https://git.example/b" = "../clones/b"
//	[crate.NAME]                        # or [crate."NAME@VERSION"], which goes before
//	repository = "https://git.example/fork"
//	commit = "v1.2.3"                   # an id or a tag; only for crates that name no commit themselves
//	path = "sub/dir"                    # of the package in the repository; likewise
//	submodules = { "vendor/z" = "https://git.example/z" }
type Mapping struct {
	Repositories map[string]string    `toml:"repositories"`
	Crates       map[string]MapsCrate `toml:"crate"`

	dir string // that paths are relative to
}

// MapsCrate is what a Mapping says of a crate.
type MapsCrate struct {
	Repository string            `toml:"repository"`
	Commit     string            `toml:"commit"`
	Path       *string           `toml:"path"`
	Submodules map[string]string `toml:"submodules"`
}

// ReadMapping reads a mapping file, strictly. Relative paths in it are seen from its directory.
func ReadMapping(path string) (*Mapping, error) {
	m := &Mapping{dir: filepath.Dir(path)}
	if err := config.LoadTOML(path, m); err != nil {
		return nil, err
	}
	var all []error
	wrong := func(key string, err error) {
		if err != nil {
			all = append(all, fmt.Errorf("%s: %s: %w", path, key, err))
		}
	}
	byKey := map[string]string{}
	for _, from := range slices.Sorted(maps.Keys(m.Repositories)) {
		at := fmt.Sprintf("repositories.%q", from)
		wrong(at, checkPlace(m.Repositories[from]))
		key := mapKey(from)
		if other, ok := byKey[key]; ok && other != m.Repositories[from] {
			wrong(at, errors.New("the same repository is there twice, in another spelling"))
		}
		byKey[key] = m.Repositories[from]
	}
	m.Repositories = byKey
	for _, name := range slices.Sorted(maps.Keys(m.Crates)) {
		c, at := m.Crates[name], fmt.Sprintf("crate.%q", name)
		bare, version, versioned := strings.Cut(name, "@")
		wrong(at, entry.CheckName(bare))
		if versioned {
			wrong(at, entry.CheckVersion(version))
		}
		if c.Repository != "" {
			wrong(at+".repository", checkPlace(c.Repository))
		}
		if c.Path != nil && *c.Path != "" {
			wrong(at+".path", entry.CheckPath(*c.Path))
		}
		if len(c.Commit) > 255 || strings.HasPrefix(c.Commit, "-") || strings.ContainsFunc(c.Commit, func(r rune) bool { return !printable(r) || r == ' ' }) {
			wrong(at+".commit", fmt.Errorf("%.99q is neither a commit's id nor a tag", c.Commit))
		}
		for _, p := range slices.Sorted(maps.Keys(c.Submodules)) {
			wrong(fmt.Sprintf("%s.submodules.%q", at, p), errors.Join(entry.CheckPath(p), checkPlace(c.Submodules[p])))
		}
	}
	return m, errors.Join(all...)
}

// mapKey is one spelling of what manifests name.
func mapKey(repository string) string {
	if u, err := RepositoryURL(repository); err == nil {
		return strings.TrimSuffix(u, ".git")
	}
	return strings.TrimSpace(repository)
}

// checkPlace refuses what is neither a path nor a URL that a Visitor visits.
func checkPlace(s string) error {
	if s == "" || strings.HasPrefix(s, "-") || len(s) > maxText || s != clean(s) {
		return fmt.Errorf("%.99q is neither a URL nor a path", s)
	}
	if !git.IsURL(s) && !strings.Contains(s, "::") {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return fmt.Errorf("%.99q is no URL of https (or of http on this machine), without a user; the directory of a clone will "+
			"do as well", s)
	}
	return nil
}

// crate returns what the mapping says of a crate.
func (m *Mapping) crate(name, version string) MapsCrate {
	if m == nil {
		return MapsCrate{}
	}
	if c, ok := m.Crates[name+"@"+version]; ok {
		return c
	}
	return m.Crates[name]
}

// place is a repository: a directory of the user's, or an address.
type place struct {
	dir string
	visit.Address
}

func (p place) String() string {
	if p.dir != "" {
		return p.dir
	}
	return p.URL
}

// public says that what comes from there came without credentials, from a host that all can reach.
func (p place) public() bool { return p.dir == "" && !p.Own }

// there refuses a directory that is not there: it is misspelled, and no other try finds it.
func (p place) there() error {
	if _, err := os.Stat(p.dir); errors.Is(err, fs.ErrNotExist) {
		return &refusal{RepositoryGone, fmt.Errorf("the directory %s is not there; the mapping file names it", p.dir)}
	}
	return nil
}

// place returns where something is that the mapping names.
func (m *Mapping) place(s string) place {
	if git.IsURL(s) {
		return place{Address: visit.Address{URL: strings.TrimRight(s, "/"), Own: true}}
	}
	if !filepath.IsAbs(s) {
		s = filepath.Join(m.dir, s)
	}
	return place{dir: filepath.Clean(s)}
}

// repository returns where a crate's repository is: as the mapping says, or else as its manifest does.
func (m *Mapping) repository(name, version, said string) (place, error) {
	if to := m.crate(name, version).Repository; to != "" {
		return m.place(to), nil
	}
	if m != nil {
		if to, ok := m.Repositories[mapKey(said)]; ok {
			return m.place(to), nil
		}
	}
	u, err := RepositoryURL(said)
	return place{Address: visit.Address{URL: u}}, err
}

// Found is where a crate is from.
type Found struct {
	Dir           string // of a repository on this disk; "" for that of Address
	visit.Address        // whose Own says that the mapping names it

	Commit     string            // the mapping's, for a crate that names none
	Path       *string           // likewise
	Submodules map[string]string // directories or URLs that the mapping names, by path
}

// Find returns where a crate is from whose manifest names a repository, "" for none: as the mapping
// says, or else as the manifest does. m may be nil.
func (m *Mapping) Find(name, version, said string) (*Found, error) {
	at, err := m.repository(name, version, said)
	if err != nil {
		return nil, err
	}
	c := m.crate(name, version)
	f := &Found{Dir: at.dir, Address: at.Address, Commit: c.Commit, Path: c.Path, Submodules: map[string]string{}}
	for path, to := range c.Submodules {
		f.Submodules[path] = m.place(to).String()
	}
	return f, nil
}

// ReadMappingFor reads the mapping file at a path; without one, the one in the directory of a lock file
// if it is there. It returns nil if there is none.
func ReadMappingFor(path, dir string) (*Mapping, error) {
	m, err := ReadMapping(cmp.Or(path, filepath.Join(dir, MapName)))
	if errors.Is(err, fs.ErrNotExist) && path == "" {
		return nil, nil
	}
	return m, err
}

// submodule returns where a submodule's repository is: as the mapping says, or else as .gitmodules of a
// commit of the repository at super does.
func (m *Mapping) submodule(name, version, path, said string, super place) (place, error) {
	if to := m.crate(name, version).Submodules[path]; to != "" {
		return m.place(to), nil
	}
	if said == "" {
		return place{}, fmt.Errorf(".gitmodules of the commit names no repository for the submodule %s", path)
	}
	at := said
	if strings.HasPrefix(said, "./") || strings.HasPrefix(said, "../") { // SPEC: gitsubmodule, relative to the superproject's
		if super.dir != "" {
			return place{}, fmt.Errorf("the submodule %s has the relative URL %.200q, and the repository is a directory: map it",
				path, said)
		}
		var err error
		if at, err = relative(super.URL, said); err != nil {
			return place{}, fmt.Errorf("the submodule %s: %w", path, err)
		}
		if super.Own { // from the same host, as nothing else is left of what was said
			return place{Address: visit.Address{URL: at, Own: true}}, nil
		}
	}
	if m != nil {
		if to, ok := m.Repositories[mapKey(at)]; ok {
			return m.place(to), nil
		}
	}
	u, err := RepositoryURL(at)
	if err != nil {
		return place{}, fmt.Errorf("the submodule %s has the URL %.200q, which is not one of https that anybody can fetch; "+
			"map it", path, said)
	}
	return place{Address: visit.Address{URL: u}}, nil
}

// relative resolves a submodule's relative URL as git does, by components of the path.
func relative(super, said string) (string, error) {
	u, err := url.Parse(super)
	if err != nil {
		return "", err
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	for _, p := range strings.Split(strings.Trim(said, "/"), "/") {
		switch {
		case p == "." || p == "":
		case p == ".." && len(parts) == 0:
			return "", fmt.Errorf("its relative URL %.200q leaves the host", said)
		case p == "..":
			parts = parts[:len(parts)-1]
		default:
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return "", fmt.Errorf("its relative URL %.200q names no repository", said)
	}
	u.Path, u.RawPath, u.RawQuery, u.Fragment = "/"+strings.Join(parts, "/"), "", "", ""
	return u.String(), nil
}

// commitID reads a whole commit id.
func commitID(s string) (id [20]byte, ok bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, false
	}
	return [20]byte(b), true
}
