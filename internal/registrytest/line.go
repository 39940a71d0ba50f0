package registrytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// line is a release in the index (cargo's reference, "Index Format").
type line struct {
	Name        string              `json:"name"`
	Version     string              `json:"vers"`
	Deps        []dependency        `json:"deps"`
	Checksum    string              `json:"cksum"`
	Features    map[string][]string `json:"features"`
	Features2   map[string][]string `json:"features2,omitempty"`
	Yanked      bool                `json:"yanked"`
	Links       *string             `json:"links"`
	V           int                 `json:"v,omitempty"`
	RustVersion string              `json:"rust_version,omitempty"`
}

type dependency struct {
	Name     string   `json:"name"`
	Req      string   `json:"req"`
	Features []string `json:"features"`
	Optional bool     `json:"optional"`
	Default  bool     `json:"default_features"`
	Target   *string  `json:"target"`
	Kind     string   `json:"kind"`
	Registry *string  `json:"registry"`
	Package  *string  `json:"package"`
}

// The parts of a normalized Cargo.toml that an index line repeats.
type manifest struct {
	Package struct {
		Name        string  `toml:"name"`
		Version     string  `toml:"version"`
		Links       *string `toml:"links"`
		RustVersion string  `toml:"rust-version"`
	} `toml:"package"`
	Features map[string][]string `toml:"features"`
	tables
	Target map[string]tables `toml:"target"`
}

type tables struct {
	Normal map[string]any `toml:"dependencies"`
	Dev    map[string]any `toml:"dev-dependencies"`
	Build  map[string]any `toml:"build-dependencies"`
}

// lineOf makes the line of a .crate from its Cargo.toml. A dependency without
// registry-index is one of this registry.
func lineOf(raw []byte) (line, error) {
	text, err := manifestOf(raw)
	if err != nil {
		return line{}, fmt.Errorf("the .crate cannot be published: %w", err)
	}
	var m manifest
	if err := toml.Unmarshal(text, &m); err != nil {
		return line{}, fmt.Errorf("the .crate's Cargo.toml: %w", err)
	}
	if m.Package.Name == "" || m.Package.Version == "" {
		return line{}, errors.New("the .crate's Cargo.toml has no name or version")
	}
	sum := sha256.Sum256(raw)
	l := line{
		Name: m.Package.Name, Version: m.Package.Version, Checksum: hex.EncodeToString(sum[:]),
		Links: m.Package.Links, RustVersion: m.Package.RustVersion,
		Deps: []dependency{}, Features: map[string][]string{},
	}
	l.setFeatures(m.Features)
	err = l.addTables(m.tables, nil)
	for _, target := range slices.Sorted(maps.Keys(m.Target)) {
		err = errors.Join(err, l.addTables(m.Target[target], &target))
	}
	return l, err
}

// setFeatures puts what old cargos do not know ("dep:x", "x?/y") in features2.
func (l *line) setFeatures(features map[string][]string) {
	for name, values := range features {
		isNew := func(v string) bool { return strings.HasPrefix(v, "dep:") || strings.Contains(v, "?/") }
		if !slices.ContainsFunc(values, isNew) {
			l.Features[name] = values
			continue
		}
		if l.Features2 == nil {
			l.Features2, l.V = map[string][]string{}, 2
		}
		l.Features2[name] = values
	}
}

func (l *line) addTables(t tables, target *string) error {
	for kind, deps := range map[string]map[string]any{"normal": t.Normal, "dev": t.Dev, "build": t.Build} {
		for name, value := range deps {
			d, err := dependencyOf(name, value)
			if err != nil {
				return err
			}
			d.Kind, d.Target = kind, target
			l.Deps = append(l.Deps, d)
		}
	}
	slices.SortFunc(l.Deps, func(a, b dependency) int {
		return strings.Compare(a.Kind+"\x00"+a.Name, b.Kind+"\x00"+b.Name)
	})
	return nil
}

// dependencyOf reads one dependency: a version, or a table.
func dependencyOf(name string, value any) (dependency, error) {
	d := dependency{Name: name, Default: true, Features: []string{}, Req: "*"}
	if v, ok := value.(string); ok {
		d.Req = v
		return d, nil
	}
	t, ok := value.(map[string]any)
	if !ok {
		return d, fmt.Errorf("the dependency %s is neither a version nor a table", name)
	}
	said := map[string]any{} // by the index's names of the keys
	for key, as := range map[string]string{"version": "req", "optional": "optional", "default-features": "default_features",
		"registry-index": "registry", "package": "package", "features": "features"} {
		if v, ok := t[key]; ok {
			said[as] = v
		}
	}
	b, err := json.Marshal(said)
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		return d, fmt.Errorf("the dependency %s: %w", name, err)
	}
	return d, nil
}

// manifestOf returns the Cargo.toml at the top of the archive.
func manifestOf(raw []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err != nil {
			return nil, fmt.Errorf("no Cargo.toml was found in the archive: %w", err)
		}
		if _, file, _ := strings.Cut(h.Name, "/"); file == "Cargo.toml" {
			return io.ReadAll(io.LimitReader(t, 1<<20))
		}
	}
}
