// Package lockfile reads Cargo.lock, in every format that cargo has written.
package lockfile

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cratelog/entry"
	"cratelog/internal/toml"
)

// A table is a decoded TOML table.
type table = map[string]any

// An Error says what is wrong with a Cargo.lock, at which key, and what to do.
type Error struct {
	Key string // dotted key, "" for the whole file
	Why string // the rest of the sentence
}

func (e *Error) Error() string {
	if e.Key == "" {
		return e.Why
	}
	return e.Key + ": " + e.Why
}

func wrong(key, why string, args ...any) error { return &Error{key, fmt.Sprintf(why, args...)} }

// MaxSize is the largest Cargo.lock that is read, in bytes.
const MaxSize = 32 << 20

// A Lock is a Cargo.lock that Parse has accepted.
type Lock struct {
	Version  int       // 1 to 4
	Packages []Package // in the file's order; the [root] of old files comes last

	byName   map[string][]int    // indexes into Packages, by folded name
	meanings map[string]*meaning // by what dependencies may call a package
	deps     [][]int             // of each package, resolved Dependencies
}

// A Package is one [[package]] of a Cargo.lock.
type Package struct {
	Name, Version string
	Source        string    // as in the file: "registry+URL", "sparse+URL", "git+URL#commit"; "" for a path
	Checksum      *[32]byte // SHA-256 of the .crate; never nil where Registry is ok
	Dependencies  []string  // as in the file: "name", "name version" or "name version (source)"
	Replace       string    // what a [replace] in a manifest builds instead of this package; else ""
}

// Registry returns the index of the registry that cargo takes the package from, in the
// notation of cargo's configuration: a URL, with "sparse+" in front where the index is
// sparse. It is not ok for packages from a path or from git, and for those that a
// [replace] keeps from being built.
func (p Package) Registry() (index string, ok bool) {
	if p.Replace != "" {
		return "", false
	}
	if url, ok := strings.CutPrefix(p.Source, "registry+"); ok {
		return url, true
	}
	return p.Source, strings.HasPrefix(p.Source, "sparse+")
}

// String returns the package as cargo names it in dependencies: "name version (source)".
func (p Package) String() string {
	if p.Source == "" {
		return p.Name + " " + p.Version
	}
	return p.Name + " " + p.Version + " (" + p.Source + ")"
}

// Parse parses a Cargo.lock of format 1 to 4. As cargo does, it passes over keys
// that it does not know. It refuses what cargo refuses, and more: a package of a
// registry without a checksum, a checksum that is not 64 lower-case hex digits, sources of
// unknown kinds, and dependencies that are not in the file or could be several packages of
// it; cargo writes none of these. Errors are *Error.
func Parse(b []byte) (*Lock, error) {
	l, err := decode(b)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func decode(b []byte) (*Lock, error) {
	if len(b) > MaxSize {
		return nil, wrong("", "is larger than the %d bytes that are read of such a file", MaxSize)
	}
	doc, err := toml.Parse(b)
	if err != nil {
		return nil, wrong("", "%v", err)
	}
	l := &Lock{byName: map[string][]int{}, meanings: map[string]*meaning{}}
	if l.Version, err = lockVersion(doc); err != nil {
		return nil, err
	}
	if err := l.readPackages(doc); err != nil {
		return nil, err
	}
	if err := l.readMetadata(doc); err != nil {
		return nil, err
	}
	for _, p := range l.Packages {
		if _, ok := p.Registry(); ok && p.Checksum == nil {
			return nil, wrong("", "%s has no checksum, so nothing says which bytes it is; delete its entry and run "+
				"`cargo generate-lockfile`, from a registry whose index has checksums", p)
		}
	}
	return l, l.resolve()
}

// lockVersion returns the format: 1 and 2 do not say which they are, and are told apart by
// where their checksums stand.
func lockVersion(doc table) (int, error) {
	v, said := doc["version"]
	if n, ok := v.(int64); ok && (n == 3 || n == 4) {
		return int(n), nil
	} else if said {
		return 0, wrong("version", "%v is not a version of the format that is known here (3, 4, or none for 1 and 2); "+
			"if a newer cargo wrote the file, use a newer version of this program", v)
	}
	metadata, _ := doc["metadata"].(table)
	for k := range metadata {
		if strings.HasPrefix(k, "checksum ") {
			return 1, nil
		}
	}
	return 2, nil
}

func (l *Lock) readPackages(doc table) error {
	list, ok := doc["package"].([]any)
	if _, said := doc["package"]; said && !ok {
		return wrong("package", "is not an array of tables")
	}
	if root, said := doc["root"]; said {
		list = append(list, root)
	}
	seen := make(map[string]bool, len(list))
	for i, item := range list {
		t, ok := item.(table)
		if !ok {
			return wrong("package", "number %d is not a table", i+1)
		}
		p, err := lockPackage(t)
		if err != nil {
			var e *Error
			if errors.As(err, &e) {
				e.Key = fmt.Sprintf("package number %d, %s", i+1, e.Key)
			}
			return err
		}
		if seen[p.String()] {
			return wrong("package", "%s is there twice; run `cargo generate-lockfile`, or resolve the merge that "+
				"doubled it", p)
		}
		seen[p.String()] = true
		l.add(p)
	}
	return nil
}

func lockPackage(t table) (p Package, err error) {
	sum := ""
	for key, to := range map[string]*string{"name": &p.Name, "version": &p.Version, "source": &p.Source,
		"replace": &p.Replace, "checksum": &sum} {
		v, said := t[key]
		if s, ok := v.(string); ok && s != "" {
			*to = s
		} else if said {
			return p, wrong(key, "is not a string with something in it")
		}
	}
	if err := checkPackage(p); err != nil {
		return p, err
	}
	if _, said := t["checksum"]; said {
		if p.Checksum, err = parseChecksum(p.String(), sum); err != nil {
			return p, err
		}
	}
	p.Dependencies, err = toml.Strings(t["dependencies"])
	if err != nil {
		return p, wrong("dependencies", "of %s %v", p, err)
	}
	return p, nil
}

// checkPackage refuses sources whose kind is unknown, because nothing says what cargo builds
// there, and names and versions that no package can have, which would not even be printed
// well. Those of a registry's package may still be such as only that registry knows: see Odd.
func checkPackage(p Package) error {
	kind, url, _ := strings.Cut(p.Source, "+")
	known := kind == "registry" || kind == "sparse" || kind == "git"
	if p.Source != "" && (!known || url == "" ||
		len(url) > maxURL || strings.ContainsAny(url, oddChars) || !plain(url)) {
		return wrong("source", "of %.99q: %.999q is not a registry, sparse registry or git repository, and other "+
			"sources are not known here", p.Name+" "+p.Version, p.Source)
	}
	for key, s := range map[string]string{"name": p.Name, "version": p.Version} {
		if s == "" || len(s) > maxOdd || strings.ContainsAny(s, oddChars+"/\\") || !plain(s) {
			return wrong(key, "%.99q is not one: it takes 1 to %d printable characters, without spaces, brackets and "+
				"slashes", s, maxOdd)
		}
	}
	return nil
}

// Odd returns why a package of a registry cannot be looked at, nil if it can: its name or
// version is one that no .crate and no entry of a log can have. Private registries have such.
func (p Package) Odd() error {
	if err := entry.CheckName(p.Name); err != nil {
		return err
	}
	return entry.CheckVersion(p.Version)
}

// How long a name or a version, and a URL, in a Cargo.lock may be, in bytes.
const maxOdd, maxURL = 255, 4096

// plain says that a text does nothing to a terminal.
func plain(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) < 0
}

// oddChars are in no name, version or URL of a Cargo.lock: they delimit these.
const oddChars = " ()\n\r\t\x00"

func parseChecksum(of, s string) (*[32]byte, error) {
	var sum [32]byte
	if n, err := hex.Decode(sum[:], []byte(s[:min(len(s), 64)])); err != nil || n != 32 || len(s) != 64 ||
		strings.ToLower(s) != s {
		return nil, wrong("checksum", "of %s: %q is not 64 lower-case hex digits; run `cargo generate-lockfile`", of, s)
	}
	return &sum, nil
}

// readMetadata takes the checksums out of [metadata], where format 1 has them.
func (l *Lock) readMetadata(doc table) error {
	metadata, ok := doc["metadata"].(table)
	if _, said := doc["metadata"]; said && !ok {
		return wrong("metadata", "is not a table")
	}
	for _, k := range slices.Sorted(maps.Keys(metadata)) {
		id, ok := strings.CutPrefix(k, "checksum ")
		if !ok {
			continue
		}
		at, err := l.find(id)
		if err != nil {
			return wrong(toml.Join("metadata", k), "%v; run `cargo generate-lockfile`", err)
		}
		s, _ := metadata[k].(string)
		if s == "<none>" {
			continue
		}
		sum, err := parseChecksum(id, s)
		if err != nil {
			return err
		}
		p := &l.Packages[at]
		if p.Checksum != nil && *p.Checksum != *sum {
			return wrong(toml.Join("metadata", k), "is another checksum than the package's own; run `cargo generate-lockfile`")
		}
		p.Checksum = sum
	}
	return nil
}
