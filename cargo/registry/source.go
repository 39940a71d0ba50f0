package registry

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// defaultHashes end the names of the directories in CARGO_HOME that belong to the
// sparse index of cargo's default registry (cargo since 1.85, and before): they follow
// from its URL alone.
var defaultHashes = []string{"-1949cf8c6b5b557f", "-6f17d22bba15001f"}

// ErrNoIndex: it is not known where a registry's sparse index is.
var ErrNoIndex = errors.New("the URL of the registry's sparse index is not known")

// SparseURL returns the base URL of a sparse index without "sparse+", ending in a
// slash. A URL without that prefix is taken for a sparse index too; one with
// "registry+", or of another scheme, is an error.
func SparseURL(s string) (string, error) {
	address := strings.TrimPrefix(s, "sparse+")
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("the registry's index URL: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("%w: %q is not the http or https URL of a sparse index", ErrNoIndex, s)
	}
	if !strings.HasSuffix(address, "/") {
		address += "/"
	}
	return address, nil
}

// IndexURL is SparseURL of an index as cargo writes it, in its configuration or a Cargo.lock: what
// has no "sparse+" in front is a git repository there, which nothing here reads.
func IndexURL(s string) (string, error) {
	if !strings.HasPrefix(s, "sparse+") {
		return "", fmt.Errorf("%w: the index %.200q is a git repository, and only sparse ones are read", ErrNoIndex, s)
	}
	return SparseURL(s)
}

// DefaultIndex returns the sparse index of cargo's default registry as cargo itself
// recorded it in CARGO_HOME: the directory that cargo keeps for it is named by its
// host. The error wraps ErrNoIndex if cargo has not used that registry yet.
func DefaultIndex(home string) (string, error) {
	dirs, err := os.ReadDir(filepath.Join(home, "registry", "index"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	for _, hash := range defaultHashes {
		for _, d := range dirs {
			host, ok := strings.CutSuffix(d.Name(), hash)
			if !ok || !hostName(host) {
				continue
			}
			return "https://" + host + "/", nil
		}
	}
	return "", fmt.Errorf("%w: cargo has not used its default registry on this machine; pass the index with --index "+
		"URL, or run \"cargo fetch\" once without the proxy", ErrNoIndex)
}

// IsDefaultDir says whether a directory of CARGO_HOME has a name that cargo gives those of its default
// registry. The crates of that registry lie elsewhere where a mirror stands in for it.
func IsDefaultDir(name string) bool {
	return slices.ContainsFunc(defaultHashes, func(hash string) bool {
		host, ok := strings.CutSuffix(name, hash)
		return ok && hostName(host)
	})
}

// hostName says whether a string is a host's name in lower case, with a dot.
func hostName(s string) bool {
	odd := func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.') }
	return len(s) <= 253 && strings.Contains(s, ".") && !strings.ContainsFunc(s, odd)
}
