package cargo

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/entry"
)

// addMetadata reads [package.metadata.zkp] or [workspace.metadata.zkp].
func (w *Workspace) addMetadata(m *manifest, t table, at string, member int) error {
	metadata, ok := t["metadata"].(table)
	if !ok {
		return nil // cargo lets it be anything
	}
	at += ".metadata"
	zkp, err := m.table(metadata, at, "zkp")
	if err != nil || zkp == nil {
		return err
	}
	at += ".zkp"
	for _, key := range slices.Sorted(maps.Keys(zkp)) {
		switch key {
		case "require":
			err = w.addRequire(m, zkp[key], at+".require", member)
		case "policy":
			err = w.addPolicy(m, zkp, at)
		case "log": // for cargo zkp publish
			_, err = m.text(zkp, at, key)
		case "transitive":
			_, ok := zkp[key].(bool)
			if !ok {
				err = wrong(m.path, join(at, key), "is neither true nor false")
			}
		default:
			err = wrong(m.path, join(at, key), "is not known; there are require, policy, log and transitive")
		}
		if err != nil {
			return err
		}
	}
	if zkp["transitive"] == true {
		w.makeTransitive(member)
	}
	return nil
}

// makeTransitive extends the demands of a member, or of all, to what the crates depend on.
func (w *Workspace) makeTransitive(member int) {
	for i, d := range w.Demands {
		if member < 0 || d.Member == member {
			w.Demands[i].Transitive = true
		}
	}
}

func (w *Workspace) addRequire(m *manifest, v any, at string, member int) error {
	demand := Demand{Member: member, File: m.path, Key: at}
	if v == "all" {
		w.Demands = append(w.Demands, demand)
		return nil
	}
	names, err := stringList(v)
	if _, ok := v.([]any); err != nil || !ok {
		return wrong(m.path, at, `is neither "all" nor an array of crates' names such as ["serde"]`)
	}
	for _, name := range names {
		if err := entry.CheckName(name); err != nil {
			return wrong(m.path, at, "%v; versions and patterns belong into zkp.toml", err)
		}
		demand.Crate = name
		w.Demands = append(w.Demands, demand)
	}
	return nil
}

func (w *Workspace) addPolicy(m *manifest, zkp table, at string) error {
	s, err := m.text(zkp, at, "policy")
	if err != nil {
		return err
	}
	at = join(at, "policy")
	if strings.TrimSpace(s) == "" {
		return wrong(m.path, at, "is empty; name a file, as seen from this manifest")
	}
	path := m.below(s)
	if w.Policy != "" && w.Policy != path {
		return wrong(m.path, at, "names %s, but %s names %s; a workspace has one policy", path, w.PolicyAt, w.Policy)
	}
	w.Policy, w.PolicyAt = filepath.Clean(path), m.path+", "+at
	return nil
}

// refuseElsewhere refuses the key where it would do nothing: a wish must not be passed over.
func (m *manifest) refuseElsewhere() error {
	for _, key := range []string{"patch", "replace"} {
		t, _ := m.doc[key].(table)
		if at := findKey(t, key); at != "" {
			return wrong(m.path, at, "is not looked at here; ask for it where the crate is depended on, or in "+
				"[workspace.metadata.zkp]")
		}
	}
	for _, t := range []struct {
		at string
		t  table
	}{{"", m.doc}, {"package", m.pkg}, {"workspace", m.workspace}} {
		for _, key := range []string{verificationKey, verificationZKP} {
			if _, said := t.t[key]; said {
				return wrong(m.path, join(t.at, key), "is not looked at here; write [package.metadata.zkp] or "+
					"[workspace.metadata.zkp]")
			}
		}
	}
	return nil
}

// findKey returns the dotted key at which a verification stands in t or in tables of t, two deep.
func findKey(t table, at string) string {
	for _, k := range slices.Sorted(maps.Keys(t)) {
		sub, ok := t[k].(table)
		if !ok {
			continue
		}
		if _, said := sub[verificationKey].(string); said {
			return join(join(at, k), verificationKey)
		}
		if found := findKey(sub, join(at, k)); found != "" {
			return found
		}
	}
	return ""
}
