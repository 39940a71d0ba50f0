package crate

import (
	"errors"

	"cratelog/entry"
	"cratelog/internal/toml"
)

// Manifest returns the content of Cargo.toml, which the caller must not change.
func (c *Crate) Manifest() []byte { return c.manifest }

// parseManifest returns package.name and package.version of a Cargo.toml.
// The document is decoded into maps, because struct fields would also match
// keys in other upper and lower case, which cargo ignores.
func parseManifest(b []byte) (name, version string, err error) {
	doc, err := toml.Parse(b)
	if err != nil {
		return "", "", &ManifestError{err.Error()}
	}
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
