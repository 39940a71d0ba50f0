package cargo

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/entry"
)

// DefaultSource is cargo's name for the registry that it uses where none is named.
const DefaultSource = "crates-io"

// IsDefault says whether an index, as Package.Registry returns it, is that of cargo's
// default registry, in any spelling that cargo takes for the same.
func IsDefault(index string) bool {
	return index != "" && entry.Registry(index) == entry.DefaultRegistry
}

// A Config is what cargo's configuration files say.
type Config struct {
	// Env looks up what the environment says before the files; it is os.Getenv.
	Env   func(string) string
	Paths []string // absolute directories of "paths": packages there are built instead of those that a lock file names

	home       string
	files      []file           // that were read; what an earlier one says counts
	sources    map[string]table // [source.NAME], merged; a value is a setting
	registries map[string]table // [registries.NAME], merged
}

// A file is a configuration file and what it says. It may hold tokens: never print it.
type file struct {
	path string
	doc  table
}

// A Value is what one file says at a key.
type Value struct {
	File  string
	Value any // as TOML has it
}

// A setting is a string and where it stands.
type setting struct{ value, file, key string }

// A Source is where crates come from.
type Source struct {
	Name string // of [source.NAME] or [registries.NAME]; "" if it has none
	Kind string // "registry", "local-registry", "directory" or "git"
	// At is the index of a registry (with "sparse+" in front if it is sparse; "" for cargo's
	// own default), the absolute path of a local one or of a directory, or a git repository.
	At      string
	Because string // file and key of the first replace-with that leads here; "" if nothing is replaced
}

// LoadConfig reads the configuration files that count in a directory, as cargo does: those in
// .cargo of it and of all directories above it, then that in cargo's home, each with the files
// that it includes. "config" without an ending counts where both are there. Command-line
// --config settings are not seen.
func LoadConfig(dir, home string) (*Config, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if home, err = filepath.Abs(home); err != nil {
		return nil, err
	}
	c := &Config{Env: os.Getenv, home: home, sources: map[string]table{}, registries: map[string]table{}}
	for d := dir; ; d = filepath.Dir(d) {
		if err := c.readDir(filepath.Join(d, ".cargo")); err != nil {
			return nil, err
		}
		if d == filepath.Dir(d) {
			return c, c.readDir(home)
		}
	}
}

// ReadCredentials adds the file in cargo's home that tokens are in. Cargo lays it over all
// other files.
func (c *Config) ReadCredentials() error {
	path, err := findFile(c.home, "credentials")
	if err != nil || path == "" {
		return err
	}
	doc, err := readTOML(path)
	if err != nil {
		// The parser's message might show a token.
		return fmt.Errorf("%s is not the TOML of a cargo configuration; cargo itself tells where it is wrong", path)
	}
	c.files = slices.Insert(c.files, 0, file{path, doc})
	return nil
}

// CheckTokens refuses files in which a token or the default registry is not a string.
func (c *Config) CheckTokens() error {
	for _, f := range c.files {
		registries, ok := f.doc["registries"].(table)
		if f.doc["registries"] != nil && !ok {
			return wrong(f.path, "registries", "is not a table")
		}
		tables := table{"registry": f.doc["registry"]}
		for name, t := range registries {
			tables[join("registries", name)] = t
		}
		for at, v := range tables {
			t, ok := v.(table)
			if v != nil && !ok {
				return wrong(f.path, at, "is not a table")
			}
			for _, key := range []string{"default", "token"} {
				if _, ok := t[key].(string); t[key] != nil && !ok {
					return wrong(f.path, at+"."+key, "is not a string")
				}
			}
		}
	}
	return nil
}

// All returns what each file says at a key, that which counts most first.
func (c *Config) All(key ...string) []Value {
	var all []Value
	for _, f := range c.files {
		var v any = f.doc
		for _, k := range key {
			t, _ := v.(table)
			v = t[k]
		}
		if v != nil {
			all = append(all, Value{f.path, v})
		}
	}
	return all
}

// Digest is a SHA-256 over all files that were read, with their places. It covers tokens, so it
// is nobody else's business.
func (c *Config) Digest() [32]byte {
	h := sha256.New()
	for _, f := range c.files {
		fmt.Fprintf(h, "%q %#v\n", f.path, f.doc) // maps are printed in the order of their keys
	}
	return [32]byte(h.Sum(nil))
}

// findFile returns the path of a configuration file in a directory, "" if there is none. The
// name without an ending is the older one, and cargo prefers it.
func findFile(dir, name string) (string, error) {
	for _, name := range []string{name, name + ".toml"} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			return path, nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

func (c *Config) readDir(dir string) error {
	path, err := findFile(dir, "config")
	if err != nil || path == "" || slices.ContainsFunc(c.files, func(f file) bool { return f.path == path }) {
		return err
	}
	return c.readFile(path, 0)
}

// readFile merges a file into what nearer files have said, and then what it includes.
func (c *Config) readFile(path string, depth int) error {
	if depth > 16 {
		return wrong(path, "include", "is nested too deep, or goes in a circle")
	}
	doc, err := readTOML(path)
	if err != nil {
		return err
	}
	c.files = append(c.files, file{path, doc})
	for key, into := range map[string]map[string]table{"source": c.sources, "registries": c.registries} {
		if err := merge(into, doc, path, key); err != nil {
			return err
		}
	}
	paths, err := stringList(doc["paths"])
	if err != nil {
		return wrong(path, "paths", "%v", err)
	}
	for _, p := range paths {
		c.Paths = append(c.Paths, relativeTo(path, p))
	}
	return c.include(path, doc, depth)
}

// include reads the files that a file includes; a later one counts before an earlier one.
func (c *Config) include(path string, doc table, depth int) error {
	list, ok := doc["include"].([]any)
	if _, said := doc["include"]; said && !ok {
		return wrong(path, "include", "is not an array")
	}
	for _, item := range slices.Backward(list) {
		t, isTable := item.(table)
		s, isString := item.(string)
		if isTable {
			s, isString = t["path"].(string)
		}
		if !isString || s == "" {
			return wrong(path, "include", "has something that is neither a path nor a table with one")
		}
		if !filepath.IsAbs(s) {
			s = filepath.Join(filepath.Dir(path), filepath.FromSlash(s))
		}
		err := c.readFile(s, depth+1)
		if optional := t["optional"] == true; err != nil && !(optional && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}

// relativeTo returns a path of a configuration file, which is seen from the directory that
// holds .cargo.
func relativeTo(file, p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(filepath.Dir(filepath.Dir(file)), filepath.FromSlash(p))
}

// merge adds the tables below doc[key] to into, and keeps what is already there.
func merge(into map[string]table, doc table, file, key string) error {
	v, said := doc[key]
	all, ok := v.(table)
	if said && !ok {
		return wrong(file, key, "is not a table")
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		at := join(key, name)
		t, ok := all[name].(table)
		if !ok {
			return wrong(file, at, "is not a table")
		}
		if into[name] == nil {
			into[name] = table{}
		}
		for k, v := range t {
			s, ok := v.(string)
			_, before := into[name][k]
			switch {
			case before:
			case ok:
				into[name][k] = setting{s, file, join(at, k)}
			case slices.Contains(sourceKinds, k) || k == "index" || k == "replace-with":
				return wrong(file, join(at, k), "is not a string")
			}
		}
	}
	return nil
}

// sourceKinds are the keys that say where a source is.
var sourceKinds = []string{"registry", "local-registry", "directory", "git"}

func get(t table, key string) (setting, bool) {
	s, ok := t[key].(setting)
	return s, ok
}

// Registry returns the index of a named registry, as configured: [registries.NAME] index, or
// CARGO_REGISTRIES_NAME_INDEX, which cargo prefers.
func (c *Config) Registry(name string) (index string, ok bool) {
	env := "CARGO_REGISTRIES_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_INDEX"
	if v := c.Env(env); v != "" {
		return v, true
	}
	s, ok := get(c.registries[name], "index")
	return s.value, ok
}

// Default returns where crates of the default registry come from, all replacements followed.
func (c *Config) Default() (Source, error) { return c.follow(DefaultSource) }

// Index returns where crates come from of the registry with an index, as Package.Registry
// returns it: all replacements followed.
func (c *Config) Index(index string) (Source, error) {
	if IsDefault(index) {
		return c.Default()
	}
	for _, name := range slices.Sorted(maps.Keys(c.sources)) {
		if s, ok := get(c.sources[name], "registry"); ok && Canonical(s.value) == Canonical(index) {
			return c.follow(name)
		}
	}
	return Source{Kind: "registry", At: index}, nil
}

// Canonical makes equal what cargo holds to be one index or git repository: without query and
// fragment, without a slash or ".git" at the end, and on one code host without regard to case.
func Canonical(s string) string {
	kind, s := "", strings.TrimPrefix(s, "registry+")
	if rest, ok := strings.CutPrefix(s, "sparse+"); ok {
		kind, s = "sparse+", rest
	}
	s, _, _ = strings.Cut(s, "#")
	s, _, _ = strings.Cut(s, "?")
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
		if u.Host == "github.com" { // SPEC: cargo's CanonicalUrl
			u.Scheme, u.Path = "https", strings.ToLower(u.Path)
		}
		s = u.String()
	}
	return kind + strings.TrimSuffix(strings.TrimSuffix(s, "/"), ".git")
}

// follow goes from a source to that which finally replaces it.
func (c *Config) follow(name string) (Source, error) {
	because, from := "", setting{}
	for range len(c.sources) + 1 {
		t, ok := c.sources[name]
		with, replaced := get(t, "replace-with")
		switch {
		case !ok && name != DefaultSource:
			index, ok := c.Registry(name)
			if !ok {
				return Source{}, wrong(from.file, from.key, "names %q, which is neither a [source] nor one of [registries]", name)
			}
			return Source{Name: name, Kind: "registry", At: index, Because: because}, nil
		case !replaced:
			return c.place(name, because)
		}
		if because == "" {
			because = with.file + ", " + with.key
		}
		name, from = with.value, with
	}
	return Source{}, wrong(from.file, from.key, "leads in a circle of replacements")
}

// place returns what a [source.NAME] that is not replaced says.
func (c *Config) place(name, because string) (Source, error) {
	t := c.sources[name]
	s := Source{Name: name, Because: because}
	for _, kind := range sourceKinds {
		at, ok := get(t, kind)
		if !ok {
			continue
		}
		if s.Kind != "" {
			return Source{}, wrong(at.file, at.key, "is there beside a %s; a source is one thing", s.Kind)
		}
		s.Kind, s.At = kind, at.value
		if kind == "directory" || kind == "local-registry" {
			s.At = relativeTo(at.file, at.value)
		}
	}
	switch {
	case name == DefaultSource && (s.Kind == "" || s.Kind == "registry" && IsDefault(s.At)):
		return Source{Name: name, Kind: "registry", Because: because}, nil
	case name == DefaultSource && because == "":
		// SPEC: what is said here replaces the default registry.
		at, _ := get(t, s.Kind)
		s.Because = at.file + ", " + at.key
	case s.Kind == "":
		return Source{}, wrong("", join("source", name), "says nowhere where it is: it needs registry, local-registry, "+
			"directory or git")
	}
	return s, nil
}
