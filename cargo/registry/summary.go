package registry

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cratelog/internal/toml"
)

// maxSchema is the newest form of index lines that cargo takes without an unstable
// feature: what newer ones say cannot be compared.
const maxSchema = 2

// maxManifest is how many bytes of a Cargo.toml are read, as in package crate/manifest.
const maxManifest = 1 << 20

// A Summary is what cargo takes from a release's index line for whoever depends on
// it, and never from the Cargo.toml of the .crate. Requirements, targets and registries
// are in one form for all their spellings, and lists are sorted: two Summaries that
// mean the same are equal, and have the same Digest. See Agrees for links.
//
// Dev-dependencies are not in it, since no dependent builds them; nor are the checksum,
// "yanked" and "rust_version".
type Summary struct {
	Name, Version string
	Dependencies  []Dependency        `json:",omitempty"`
	Features      map[string][]string `json:",omitempty"` // the explicit ones; features and features2 of a line
	Links         string              `json:",omitempty"`
}

// A Dependency is one that a dependent's build has: normal, or of a build script.
type Dependency struct {
	Name            string   // as the crate's code and features call it
	Package         string   `json:",omitempty"` // the package's name, if the line gives it beside Name
	Build           bool     `json:",omitempty"`
	Target          string   `json:",omitempty"` // platform, "" for all
	Requirement     string   `json:"-"`          // as written; not compared
	Versions        string   // what it accepts, as intervals
	Registry        string   `json:",omitempty"` // index of the registry, "" for cargo's default one
	Optional        bool     `json:",omitempty"`
	DefaultFeatures bool     `json:",omitempty"`
	Features        []string `json:",omitempty"`
	Artifact        []string `json:",omitempty"` // unstable: what is built of it beside a library,
	ArtifactTarget  string   `json:",omitempty"` // and for which platform,
	ArtifactLib     bool     `json:",omitempty"` // and whether the library too
}

// Summary returns what the release's line says. index is the registry that the line is
// from, as Cargo.lock names it behind "registry+", or with "sparse+"; "" is cargo's
// default registry, and so is a mirror of it. An error means that cargo does not use
// such a line, or uses what is not known here.
func (r Release) Summary(index string) (Summary, error) {
	s, err := lineSummary(r, indexName(index))
	if err != nil {
		return Summary{}, fmt.Errorf("the index line of %s v%s: %w", r.Name, r.Version, err)
	}
	return s, nil
}

func lineSummary(r Release, index string) (Summary, error) {
	fields, err := object(r.Line)
	if err != nil {
		return Summary{}, err
	}
	var schema *uint32
	var links *string
	var deps []map[string]json.RawMessage
	var features, more map[string][]string
	err = errors.Join(
		field(fields, "v", &schema, false),
		field(fields, "deps", &deps, true),
		field(fields, "features", &features, false),
		field(fields, "features2", &more, false),
		field(fields, "links", &links, false))
	if err != nil {
		return Summary{}, err
	}
	if schema != nil && *schema > maxSchema {
		return Summary{}, fmt.Errorf("its schema is version %d, and only those up to %d are known", *schema, maxSchema)
	}
	s := Summary{Name: r.Name, Version: r.Version, Features: make(map[string][]string)}
	for _, part := range []map[string][]string{features, more} {
		for name, list := range part {
			s.Features[name] = append(s.Features[name], list...)
		}
	}
	s.Links = given(links)
	for i, d := range deps {
		kind, dep, err := lineDependency(d, index)
		if err != nil {
			return Summary{}, fmt.Errorf("dependency %d: %w", i, err)
		}
		if kind != "dev" {
			s.Dependencies = append(s.Dependencies, dep)
		}
	}
	return s.sorted(), nil
}

// empty stands for what a line gives, but as nothing: cargo does not take "" for null. (A
// dependency whose target is "" is one of no platform.)
const empty = "(empty)"

// given returns a text of a line, "" if it is null or not there.
func given(s *string) string {
	switch {
	case s == nil:
		return ""
	case *s == "":
		return empty
	}
	return *s
}

// lineDependency reads one of a line's dependencies. A kind that cargo does not know it
// takes for a normal one.
func lineDependency(fields map[string]json.RawMessage, index string) (kind string, d Dependency, err error) {
	d = Dependency{DefaultFeatures: true, Registry: index}
	var ofKind, target, registry, renamed, artifactTarget *string
	err = errors.Join(
		field(fields, "name", &d.Name, true),
		field(fields, "req", &d.Requirement, true),
		field(fields, "kind", &ofKind, false),
		field(fields, "features", &d.Features, false),
		field(fields, "optional", &d.Optional, false),
		field(fields, "default_features", &d.DefaultFeatures, false),
		field(fields, "target", &target, false),
		field(fields, "registry", &registry, false),
		field(fields, "package", &renamed, false),
		field(fields, "artifact", &d.Artifact, false),
		field(fields, "bindep_target", &artifactTarget, false),
		field(fields, "lib", &d.ArtifactLib, false))
	if err != nil {
		return "", d, err
	}
	if ofKind != nil {
		kind = *ofKind
	}
	d.Build = kind == "build"
	d.Package, d.Target, d.ArtifactTarget = given(renamed), platform(given(target)), given(artifactTarget)
	if d.Artifact != nil && len(d.Artifact) == 0 {
		d.Artifact = []string{empty}
	}
	if registry != nil {
		d.Registry = indexName(given(registry))
	}
	if kind != "dev" { // whose requirement may be as old and odd as it will
		d.Versions, err = meaning(d.Requirement)
	}
	return kind, d, err
}

// ManifestSummary returns what the index line of a release must say, from the Cargo.toml
// of its .crate, whatever registry the release is in: a dependency for which Cargo.toml names
// no registry is one of cargo's default registry.
func ManifestSummary(cargoToml []byte) (Summary, error) {
	s, err := manifestSummary(cargoToml)
	if err != nil {
		return Summary{}, fmt.Errorf("what Cargo.toml says: %w", err)
	}
	return s, nil
}

type table = map[string]any

func manifestSummary(cargoToml []byte) (Summary, error) {
	if len(cargoToml) > maxManifest {
		return Summary{}, fmt.Errorf("it has more than %d bytes", maxManifest)
	}
	doc, err := toml.Parse(cargoToml)
	if err != nil {
		return Summary{}, fmt.Errorf("it %w", err)
	}
	m := manifest{doc: doc}
	key := "package"
	if _, ok := doc["package"]; !ok {
		key = "project"
	}
	pkg := get[table](&m, doc, key)
	s := Summary{
		Name: get[string](&m, pkg, "name"), Version: strings.TrimSpace(get[string](&m, pkg, "version")),
		Features: make(map[string][]string),
	}
	if _, ok := pkg["links"]; ok {
		links := get[string](&m, pkg, "links")
		s.Links = given(&links)
	}
	if s.Name == "" || s.Version == "" {
		return Summary{}, errors.New("it has no package with a name and a version")
	}
	features := get[table](&m, doc, "features")
	for name := range features {
		s.Features[name] = m.strings(features, name)
	}
	m.dependencies(doc, "")
	targets := get[table](&m, doc, "target")
	for target := range targets {
		m.dependencies(get[table](&m, targets, target), target)
	}
	if m.err != nil {
		return Summary{}, m.err
	}
	s.Dependencies = m.found
	return s.sorted(), nil
}

// A manifest is a Cargo.toml that is being read.
type manifest struct {
	doc   table
	found []Dependency
	err   error // the first, sticky
}

func (m *manifest) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
	}
}

// get returns a value, the zero one if there is none.
func get[T any](m *manifest, t table, key string) T {
	v, ok := t[key].(T)
	if _, there := t[key]; there && !ok {
		m.fail("%s is %T, not %T", quote(key), t[key], v)
	}
	return v
}

func (m *manifest) strings(t table, key string) []string {
	var list []string
	for _, e := range get[[]any](m, t, key) {
		s, ok := e.(string)
		if !ok {
			m.fail("%s is not a list of strings", quote(key))
		}
		list = append(list, s)
	}
	return list
}

// spelled returns the spelling of a key with hyphens that a table has. cargo's versions
// differ in what they do if both are there.
func (m *manifest) spelled(t table, key string) string {
	old := strings.ReplaceAll(key, "-", "_")
	_, hyphens := t[key]
	_, scores := t[old]
	if hyphens && scores && key != old {
		m.fail("it has both %q and %q", key, old)
	}
	if scores {
		return old
	}
	return key
}

// dependencies reads the dependencies of a manifest or of one of its targets.
func (m *manifest) dependencies(t table, target string) {
	for kind, build := range map[string]bool{"dependencies": false, "build-dependencies": true} {
		deps := get[table](m, t, m.spelled(t, kind))
		for name, value := range deps {
			m.dependency(name, value, Dependency{
				Name: name, Build: build, Target: platform(target), DefaultFeatures: true,
			})
		}
	}
}

func (m *manifest) dependency(name string, value any, d Dependency) {
	d.Requirement = "*"
	switch v := value.(type) {
	case string:
		d.Requirement = v
	case table:
		if _, ok := v["version"]; ok {
			d.Requirement = get[string](m, v, "version")
		}
		for _, key := range []string{"workspace", "registry"} {
			if _, ok := v[key]; ok {
				m.fail("the dependency %s has %q, which nobody but its publisher can resolve", quote(name), key)
			}
		}
		d.Package, d.Optional = get[string](m, v, "package"), get[bool](m, v, "optional")
		if key := m.spelled(v, "default-features"); v[key] != nil {
			d.DefaultFeatures = get[bool](m, v, key)
		}
		d.Features, d.Registry = m.strings(v, "features"), indexName(get[string](m, v, "registry-index"))
		d.ArtifactTarget, d.ArtifactLib = get[string](m, v, "target"), get[bool](m, v, "lib")
		if one, ok := v["artifact"].(string); ok {
			d.Artifact = []string{one}
		} else {
			d.Artifact = m.strings(v, "artifact")
		}
	default:
		m.fail("the dependency %s is neither a version nor a table", quote(name))
	}
	var err error
	if d.Versions, err = meaning(d.Requirement); err != nil {
		m.fail("the dependency %s: %w", quote(name), err)
	}
	m.found = append(m.found, d)
}

// sorted brings lists into one order. An empty name of a feature, which old lines have,
// cargo leaves out.
func (s Summary) sorted() Summary {
	for name, list := range s.Features {
		s.Features[name] = set(list)
	}
	if len(s.Features) == 0 {
		s.Features = nil
	}
	for i := range s.Dependencies {
		d := &s.Dependencies[i]
		d.Features = set(slices.DeleteFunc(d.Features, func(f string) bool { return f == "" }))
		d.Artifact = set(d.Artifact)
	}
	slices.SortFunc(s.Dependencies, compareDependencies)
	s.Dependencies = slices.CompactFunc(s.Dependencies, func(a, b Dependency) bool { return compareDependencies(a, b) == 0 })
	return s
}

func set(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// place is what a dependency is known by: it can stand once in each place of a Cargo.toml.
func (d Dependency) place() string {
	return strings.Join([]string{strconv.FormatBool(d.Build), d.Target, d.Name}, "\x00")
}

func compareDependencies(a, b Dependency) int {
	flags := func(d Dependency) string { return fmt.Sprint(d.Optional, d.DefaultFeatures, d.ArtifactLib) }
	return cmp.Or(
		strings.Compare(a.place(), b.place()),
		strings.Compare(a.Package, b.Package),
		strings.Compare(a.Versions, b.Versions),
		strings.Compare(a.Registry, b.Registry),
		strings.Compare(flags(a), flags(b)),
		slices.Compare(a.Features, b.Features),
		slices.Compare(a.Artifact, b.Artifact),
		strings.Compare(a.ArtifactTarget, b.ArtifactTarget))
}

// digestDomain separates these digests from all others.
const digestDomain = "cratelog/registry/summary/v1\n"

// digestOfRest is how many bytes of a Digest are about all but links.
const digestOfRest = 24

// Digest returns a hash that two Summaries share if they are equal: 24 bytes of a SHA-256 of
// all but links, and 8 of one of links, zeros if there are none.
func (s Summary) Digest() (digest [32]byte) {
	links := sha256.Sum256([]byte(digestDomain + s.Links))
	if s.Links != "" {
		copy(digest[digestOfRest:], links[:])
	}
	s.Links = ""
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings, lists and booleans: cannot happen
	}
	rest := sha256.Sum256(append([]byte(digestDomain), b...))
	copy(digest[:digestOfRest], rest[:])
	return digest
}

// Agrees says whether an index line's Summary says what one with a Digest says, which follows
// from the proven Cargo.toml. A line may leave links out: those of early 2018 do. It only
// keeps two crates with the same links out of one build; what is linked, Cargo.toml says.
func (said Summary) Agrees(proven [32]byte) bool {
	digest := said.Digest()
	return digest == proven || said.Links == "" && [digestOfRest]byte(digest[:]) == [digestOfRest]byte(proven[:])
}

// defaultIndexes are the SHA-256 of the URLs of cargo's default registry, the git index
// and the sparse one: cargo holds them for one registry.
var defaultIndexes = []string{
	"d2a97a7c0ce0ab3aa045f18ee7e877a76ef25606a002f8dcfe95e952db4186b8",
	"22feb8444f82b801d254c00b65de1ee79fb2663740f7d950e3ee163f96fe5f4e",
}

// indexName returns a registry's index URL in one form, "" for cargo's default registry,
// in cargo's way: a slash at the end, and a git repository's ".git", say nothing.
func indexName(url string) string {
	url = strings.TrimSuffix(strings.TrimPrefix(url, "registry+"), "/")
	if !strings.HasPrefix(url, "sparse+") {
		url = strings.TrimSuffix(url, ".git")
	}
	if slices.Contains(defaultIndexes, fmt.Sprintf("%x", sha256.Sum256([]byte(url)))) {
		return ""
	}
	return url
}

// maxQuoted is how many bytes of a foreign string a sentence repeats.
const maxQuoted = 80

// quote quotes a string that somebody else made, and cuts it if it is long.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(s[:maxQuoted]) + "..."
	}
	return strconv.Quote(s)
}
