package cargo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
)

// Home returns cargo's home directory as cargo finds it: CARGO_HOME, seen from the
// working directory if it is relative, or else .cargo in the user's home.
func Home() (string, error) {
	if home := os.Getenv("CARGO_HOME"); home != "" {
		return filepath.Abs(home)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cargo's home directory is not known: set CARGO_HOME: %w", err)
	}
	return filepath.Join(home, ".cargo"), nil
}

// FindCached returns the paths of a crate's archive in cargo's cache below home, one for
// each registry's directory that has it, sorted: registry/cache/*/NAME-VERSION.crate. There
// may be none. Nothing is read: it may be of another registry's crate of that name, or
// an attacker's; compare its SHA-256.
func FindCached(home, name, version string) ([]string, error) {
	return find(home, "cache", name, version, ".crate")
}

// FindSources returns the directories that cargo unpacked a crate into and builds it from,
// one for each registry's directory that has it, sorted: registry/src/*/NAME-VERSION. There
// may be none. What lies there is not looked at: see CompareSource.
func FindSources(home, name, version string) ([]string, error) {
	return find(home, "src", name, version, "")
}

func find(home, kind, name, version, suffix string) ([]string, error) {
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return nil, err
	}
	base := filepath.Join(home, "registry", kind)
	registries, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var found []string
	for _, r := range registries {
		p := filepath.Join(base, r.Name(), name+"-"+version+suffix)
		_, err := os.Lstat(p)
		switch {
		case err == nil:
			found = append(found, p)
		case !errors.Is(err, fs.ErrNotExist) && r.IsDir():
			return nil, err
		}
	}
	return found, nil
}

// ReadCached reads an archive that FindCached found. It reads regular files of at most
// crate.DefaultLimits.Compressed bytes.
func ReadCached(path string) ([]byte, error) {
	return durable.Read(path, crate.DefaultLimits.Compressed)
}
