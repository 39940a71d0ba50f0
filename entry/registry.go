package entry

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// DefaultRegistry is the Registry of a Subject from the registry that cargo uses where none is
// named.
const DefaultRegistry = "default"

// maxRegistry bounds the index of a registry, in bytes.
const maxRegistry = 1024

// defaultIndexes are the SHA-256 of the index URLs of the default registry in their canonical
// spelling: the one that every Cargo.lock has behind "registry+", and the sparse one, with
// "sparse+". The URLs themselves are not written down here: nothing in this package goes there.
var defaultIndexes = []string{
	"d2a97a7c0ce0ab3aa045f18ee7e877a76ef25606a002f8dcfe95e952db4186b8",
	"22feb8444f82b801d254c00b65de1ee79fb2663740f7d950e3ee163f96fe5f4e",
}

// Registry returns the Registry of a Subject from the registry with an index, as cargo writes it
// in a Cargo.lock, a configuration or its metadata. The index of the default registry is
// DefaultRegistry, and so is "". Every other is its URL without "registry+", "sparse+" and
// slashes at the end, with scheme and host in lower case, without the port that is the scheme's
// own. What it returns is to be checked with CheckRegistry.
func Registry(index string) string {
	index = strings.TrimPrefix(strings.TrimPrefix(index, "registry+"), "sparse+")
	index = strings.TrimRight(index, "/")
	if u, err := url.Parse(index); err == nil && u.Scheme != "" && strings.HasPrefix(index[len(u.Scheme):], "://") {
		// Of what stands before the path, only scheme and host know no case.
		start := strings.Index(index, "://") + len("://")
		host := start + strings.LastIndexByte(index[start:start+authority(index[start:])], '@') + 1
		end := start + authority(index[start:])
		scheme, at := strings.ToLower(index[:start]), strings.ToLower(index[host:end])
		for _, port := range []string{"", ownPorts[scheme]} {
			at = strings.TrimSuffix(at, ":"+port)
		}
		index = scheme + index[start:host] + at + index[end:]
	}
	if index == "" || isDefault(index) {
		return DefaultRegistry
	}
	return index
}

// ownPorts are the ports that cargo leaves out, by scheme: no others.
var ownPorts = map[string]string{"https://": "443", "http://": "80"}

// authority is where the authority of a URL ends, of which the scheme is cut off.
func authority(rest string) int {
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return i
	}
	return len(rest)
}

// isDefault says whether an index is that of the default registry, in any spelling that cargo
// takes for the same.
func isDefault(index string) bool {
	if i := strings.IndexAny(index, "?#"); i >= 0 {
		index = strings.TrimRight(index[:i], "/")
	}
	if u, err := url.Parse(index); err == nil && u.Host == "github.com" { // SPEC: cargo's CanonicalUrl
		u.Scheme, u.Path = "https", strings.ToLower(u.Path)
		index = u.String()
	}
	index = strings.TrimSuffix(index, ".git")
	return slices.ContainsFunc([]string{index, "sparse+" + index}, func(s string) bool {
		sum := sha256.Sum256([]byte(s))
		return slices.Contains(defaultIndexes, hex.EncodeToString(sum[:]))
	})
}

// registryShape is what every version of every URL parser reads alike. What is an entry must not
// depend on that: a log that accepts what others call malformed is convicted by it. Go's parser, for
// one, has become stricter about colons and brackets in hosts.
var registryShape = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://([A-Za-z0-9._~-]+@)?([a-z0-9._-]*|\[([0-9a-f:.]+)\])(:[0-9]{1,5})?([/?][!-~]*)?$`)

func isIPv6(s string) bool {
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Is6()
}

// isDots says whether a URL's path component is "." or "..", as written or escaped.
func isDots(s string) bool {
	s = strings.NewReplacer("%2e", ".", "%2E", ".").Replace(s)
	return s == "." || s == ".."
}

// CheckRegistry checks the Registry of a Subject: DefaultRegistry, or an absolute URL as Registry
// returns it, 1 to 1024 bytes of printable ASCII without a password and a fragment. Its host, if it
// has one, is a name or an IP address.
func CheckRegistry(s string) error {
	if s == DefaultRegistry {
		return nil
	}
	if len(s) < 1 || len(s) > maxRegistry {
		return fmt.Errorf("the registry is %d bytes long, must be 1 to %d", len(s), maxRegistry)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("the registry %q is not printable ASCII without spaces", s)
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Opaque != "" || !strings.Contains(s, "://") {
		return fmt.Errorf("the registry %q is neither %q nor the URL of an index", s, DefaultRegistry)
	}
	if _, secret := u.User.Password(); secret || strings.Contains(s, "#") {
		return fmt.Errorf("the registry %q has a password or a fragment", u.Redacted())
	}
	if slices.ContainsFunc(strings.Split(u.EscapedPath(), "/"), isDots) {
		return fmt.Errorf("the registry %q has a component . or .. in its path, which cargo resolves: write it without", s)
	}
	if one := Registry(s); one != s {
		return fmt.Errorf("the registry %q must be written %q", s, one)
	}
	shape := registryShape.FindStringSubmatch(s)
	if shape == nil || shape[3] != "" && !isIPv6(shape[3]) {
		return fmt.Errorf("the registry %q has a host that is neither a name nor an IP address, a port that is no number, "+
			"or a user whose name has other characters than letters, digits and \"._~-\"", s)
	}
	return nil
}
