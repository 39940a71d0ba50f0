package registrytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"

	"cratelog/cargo/registry"
)

// lineOf makes the index line of a .crate from its Cargo.toml (cargo's reference, "Index
// Format"): what it must say, and nothing about dev-dependencies. A dependency for which
// Cargo.toml names no registry is one of this registry, which stands for cargo's default one.
func lineOf(raw []byte) (map[string]any, error) {
	text, err := manifestOf(raw)
	if err != nil {
		return nil, fmt.Errorf("the .crate cannot be published: %w", err)
	}
	s, err := registry.ManifestSummary(text)
	if err != nil {
		return nil, fmt.Errorf("the .crate cannot be published: %w", err)
	}
	deps := []map[string]any{}
	for _, d := range s.Dependencies {
		kind := "normal"
		if d.Build {
			kind = "build"
		}
		deps = append(deps, map[string]any{
			"name": d.Name, "package": orNull(d.Package), "req": d.Requirement, "features": append([]string{}, d.Features...),
			"optional": d.Optional, "default_features": d.DefaultFeatures, "target": orNull(d.Target), "kind": kind,
			"registry": orNull(d.Registry),
		})
	}
	features := make(map[string][]string)
	for name, list := range s.Features {
		features[name] = append([]string{}, list...)
	}
	// "dep:x" and "x?/y", which old cargos do not know, could stand in "features", but
	// registries put them where these do not look.
	return map[string]any{
		"name": s.Name, "vers": s.Version, "deps": deps, "cksum": fmt.Sprintf("%x", sha256.Sum256(raw)),
		"features": map[string]any{}, "features2": features, "yanked": false, "links": orNull(s.Links), "v": 2,
	}, nil
}

// orNull returns nil, which is JSON's null, for "".
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
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
