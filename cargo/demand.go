package cargo

import (
	"maps"
	"slices"
)

// A Demand is the wish of a manifest that a crate be verified.
type Demand struct {
	Crate       string // its name in the registry, also if it is renamed; "" for all crates
	Requirement string // version requirement as written, "" if there is none
	Registry    string // name of the registry as written, "" for the default one
	Member      int    // index into Members of whose dependencies it is about; -1: of all
	Direct      bool   // it is about a dependency of Member itself
	Transitive  bool   // and about all that the crate depends on
	File, Key   string // where it was asked: path of the Cargo.toml, dotted key
}

// Where says where the demand was made, for people.
func (d Demand) Where() string { return d.File + ", " + d.Key }

// Names says whether the demand is about a package by its name, and not about all crates or
// what another one depends on.
func (d Demand) Names(p Package) bool { return fold(d.Crate) == fold(p.Name) }

const (
	verificationKey = "verification"
	verificationZKP = "zkp"
)

// A dependency is one entry of a dependency table.
type dependency struct {
	key          string // dotted key of the entry
	crate        string
	requirement  string
	registry     string
	path         string // absolute directory, "" if none
	asked        bool   // verification = "zkp" in this entry
	inherits     string // name in [workspace.dependencies], "" if not inherited
	inheritsFrom string // dotted key there
	askedThere   bool
}

// dependencyTables are the names of the tables; cargo knows two spellings of two of them.
var dependencyTables = []string{"dependencies", "dev-dependencies", "dev_dependencies", "build-dependencies",
	"build_dependencies"}

// dependencies returns all dependencies of a package, of every kind and target, with what
// they inherit from the root.
func (m *manifest) dependencies(root *manifest) ([]dependency, error) {
	shared, err := root.shared()
	if err != nil {
		return nil, err
	}
	all, err := m.dependencyTables(m.doc, "", shared)
	if err != nil {
		return nil, err
	}
	targets, err := m.table(m.doc, "", "target")
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		t, err := m.table(targets, "target", name)
		if err != nil {
			return nil, err
		}
		some, err := m.dependencyTables(t, join("target", name), shared)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func (m *manifest) dependencyTables(t table, at string, shared map[string]dependency) ([]dependency, error) {
	var all []dependency
	for _, kind := range dependencyTables {
		deps, err := m.table(t, at, kind)
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(deps)) {
			d, err := m.dependency(name, deps[name], join(join(at, kind), name), shared)
			if err != nil {
				return nil, err
			}
			all = append(all, d)
		}
	}
	return all, nil
}

// shared returns [workspace.dependencies] of a root.
func (m *manifest) shared() (map[string]dependency, error) {
	if m.inherited != nil {
		return m.inherited, nil
	}
	deps, err := m.table(m.workspace, "workspace", "dependencies")
	if err != nil {
		return nil, err
	}
	all := map[string]dependency{}
	for name, v := range deps {
		if all[name], err = m.dependency(name, v, join("workspace.dependencies", name), nil); err != nil {
			return nil, err
		}
	}
	m.inherited = all
	return all, nil
}

// dependency reads one entry: a version requirement, or a table.
func (m *manifest) dependency(name string, v any, key string, shared map[string]dependency) (dependency, error) {
	d := dependency{key: key, crate: name}
	if s, ok := v.(string); ok {
		d.requirement = s
		return d, nil
	}
	t, ok := v.(table)
	if !ok {
		return d, wrong(m.path, key, "is neither a version nor a table")
	}
	asked, err := m.asksHere(t, key)
	if err != nil {
		return d, err
	}
	if inherit, _ := t["workspace"].(bool); inherit {
		from, ok := shared[name]
		if !ok {
			return d, wrong(m.path, key, "inherits from the workspace, whose [workspace.dependencies] does not have %s", name)
		}
		from.inherits, from.inheritsFrom, from.askedThere = name, from.key, from.asked
		from.key, from.asked = key, asked
		return from, nil
	}
	d.asked = asked
	var path, renamed, index string
	for k, to := range map[string]*string{"version": &d.requirement, "path": &path, "package": &renamed,
		"registry": &d.registry, "registry-index": &index} {
		if *to, err = m.text(t, key, k); err != nil {
			return d, err
		}
	}
	if renamed != "" {
		d.crate = renamed
	}
	if path != "" {
		d.path = m.below(path)
	}
	if d.registry == "" {
		d.registry = index
	}
	return d, nil
}

// asksHere reads the verification key of one entry of a dependency table.
func (m *manifest) asksHere(t table, key string) (bool, error) {
	v, said := t[verificationKey]
	if said && v != verificationZKP {
		return false, wrong(m.path, join(key, verificationKey), "%#v is not known; the only verification is %q",
			v, verificationZKP)
	}
	return said, nil
}

// collect reads what the members ask for, and the root.
func (w *Workspace) collect(l *loader, root *manifest, paths []string) error {
	inherited := map[string]bool{}
	for i, path := range paths {
		m, err := l.load(path)
		if err != nil {
			return err
		}
		if err := w.addMember(m, root); err != nil {
			return err
		}
		deps, err := m.dependencies(root)
		if err != nil {
			return err
		}
		for _, d := range deps {
			inherited[d.inherits] = true
			w.addDirect(d, i, m, root)
		}
		if err := w.addMetadata(m, m.pkg, "package", i); err != nil {
			return err
		}
		if err := m.refuseElsewhere(); err != nil {
			return err
		}
	}
	return w.collectRoot(root, inherited)
}

// collectRoot reads what the root says for the whole workspace.
func (w *Workspace) collectRoot(root *manifest, inherited map[string]bool) error {
	shared, err := root.shared()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(shared)) {
		if d := shared[name]; d.asked && !inherited[name] {
			w.addDirect(d, -1, root, root)
		}
	}
	if err := w.addMetadata(root, root.workspace, "workspace", -1); err != nil {
		return err
	}
	return root.refuseElsewhere()
}

func (w *Workspace) addMember(m, root *manifest) error {
	name, err := m.text(m.pkg, "package", "name")
	if err != nil {
		return err
	}
	version := "0.0.0" // cargo's default
	switch v := m.pkg["version"].(type) {
	case nil:
	case string:
		version = v
	default: // version.workspace = true
		shared, err := root.table(root.workspace, "workspace", "package")
		if err != nil {
			return err
		}
		if version, err = root.text(shared, "workspace.package", "version"); err != nil {
			return err
		}
	}
	if name == "" {
		return wrong(m.path, "package.name", "is missing")
	}
	w.Members = append(w.Members, Member{Manifest: m.path, Name: name, Version: version})
	return nil
}

// addDirect adds the demands of one dependency: of its own entry, and of the one that it inherits.
func (w *Workspace) addDirect(d dependency, member int, m, root *manifest) {
	demand := Demand{Crate: d.crate, Requirement: d.requirement, Registry: d.registry, Member: member, Direct: member >= 0}
	if d.asked {
		demand.File, demand.Key = m.path, join(d.key, verificationKey)
		w.Demands = append(w.Demands, demand)
	}
	if d.askedThere {
		demand.File, demand.Key = root.path, join(d.inheritsFrom, verificationKey)
		w.Demands = append(w.Demands, demand)
	}
}
