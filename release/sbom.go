package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// component is a part, as CycloneDX 1.5 says it.
type component struct {
	Type       string      `json:"type"`
	Ref        string      `json:"bom-ref"`
	Name       string      `json:"name"`
	Version    string      `json:"version,omitempty"`
	PURL       string      `json:"purl,omitempty"`
	Hashes     []hash      `json:"hashes,omitempty"`
	Properties []property  `json:"properties,omitempty"`
	Components []component `json:"components,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// dependency says which parts a part is made of.
type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// sbom lists what the programs are made of, as the go command has written it into them: each module
// with its version and the sum of go.sum, and Go's own library.
func (r *release) sbom(name string, programs []file) ([]byte, error) {
	whole := component{Type: "application", Ref: name, Name: "cratelog", Version: r.version}
	parts := make(map[string]component)
	var uses []dependency
	seed := sha256.New()
	for _, p := range programs {
		info, err := buildinfo.Read(bytes.NewReader(p.data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		sum := sha256.Sum256(p.data)
		seed.Write(sum[:])
		c := component{Type: "application", Ref: name + "/" + p.name, Name: p.name, Version: r.version,
			Hashes: []hash{{"SHA-256", fmt.Sprintf("%x", sum)}}}
		for _, s := range info.Settings {
			c.Properties = append(c.Properties, property{"go:build:" + s.Key, s.Value})
		}
		whole.Components = append(whole.Components, c)
		use := dependency{c.Ref, []string{add(parts, "std", strings.TrimPrefix(info.GoVersion, "go"), "")}}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			use.DependsOn = append(use.DependsOn, add(parts, m.Path, m.Version, m.Sum))
		}
		uses = append(uses, use)
	}
	id := seed.Sum(nil)
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // a UUID of version 8
	var list []component
	for _, ref := range slices.Sorted(maps.Keys(parts)) {
		list = append(list, parts[ref])
	}
	b, err := json.MarshalIndent(struct {
		Format       string         `json:"bomFormat"`
		SpecVersion  string         `json:"specVersion"`
		Serial       string         `json:"serialNumber"`
		Version      int            `json:"version"`
		Metadata     map[string]any `json:"metadata"`
		Components   []component    `json:"components"`
		Dependencies []dependency   `json:"dependencies"`
	}{"CycloneDX", "1.5", fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16]), 1,
		map[string]any{"timestamp": r.time.Format(time.RFC3339), "component": whole}, list, uses}, "", "  ")
	return append(b, '\n'), err
}

// add adds a module to the parts, and returns its reference.
func add(parts map[string]component, path, version, sum string) string {
	ref := fmt.Sprintf("pkg:golang/%s@%s", path, version)
	c := component{Type: "library", Ref: ref, Name: path, Version: version, PURL: ref}
	if sum != "" {
		c.Properties = []property{{"go:sum", sum}}
	}
	parts[ref] = c
	return ref
}
