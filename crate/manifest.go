package crate

import (
	"errors"

	"cratelog/entry"
)

// nameAndVersion returns package.name and package.version of a decoded Cargo.toml.
// It is decoded into maps, because struct fields would also match
// keys in other upper and lower case, which cargo ignores.
func nameAndVersion(doc map[string]any) (name, version string, err error) {
	pkg, ok := doc["package"].(map[string]any)
	if !ok {
		return "", "", &ManifestError{"has no [package] table"}
	}
	if name, ok = pkg["name"].(string); !ok {
		return "", "", &ManifestError{"has no package.name that is a string"}
	}
	if version, ok = pkg["version"].(string); !ok {
		return "", "", &ManifestError{"has no package.version that is a string; cargo writes one when it packages"}
	}
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return "", "", &ManifestError{"is refused: " + err.Error()}
	}
	return name, version, nil
}
