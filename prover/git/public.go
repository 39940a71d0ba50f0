package git

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"cratelog/internal/outcome"
)

// Public returns nil if anybody can fetch a commit from the repository at a URL: this call has
// done so, over https, with no setting, cookie, certificate or password of the user's, from a host
// with public addresses. Else the error says why the commit has to be taken for private.
//
// What is fetched is the commit alone, into a directory that is removed again: a clone that was
// made with credentials proves nothing.
func Public(ctx context.Context, address string, commit [20]byte) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Host == "" || checkURL(address) != nil {
		return fmt.Errorf("%s is not a URL of https without a user", Redact(address))
	}
	if u.RawQuery != "" || u.Fragment != "" { // where tokens stand as well
		u.RawQuery, u.Fragment = "", ""
		return fmt.Errorf("the URL %s has a query or a fragment, which could hold a token", u)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	if err := Worldwide(ctx, u.Hostname()); err != nil {
		return err
	}
	return Fetchable(ctx, address, commit)
}

// Worldwide refuses a host that only a network of an organization reaches, where servers often ask
// nobody for a password.
func Worldwide(ctx context.Context, host string) error {
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return fmt.Errorf("the addresses of the repository's host are not known: %w", err)
	}
	for _, a := range all {
		if a = a.Unmap(); !a.IsGlobalUnicast() || a.IsPrivate() || shared.Contains(a) {
			return fmt.Errorf("the repository's host %s has the address %s, which not everybody reaches", host, a)
		}
	}
	return nil
}

var shared = netip.MustParsePrefix("100.64.0.0/10") // SPEC: RFC 6598; also of private networks over the Internet

// Fetchable returns nil if a commit can be fetched without credentials, from wherever this machine
// may connect to. It is less than Public, which is what decides.
func Fetchable(ctx context.Context, address string, commit [20]byte) error {
	dir, err := os.MkdirTemp("", "cratelog-public-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	env := anonymous(os.Environ(), dir)
	id := hex.EncodeToString(commit[:])
	if _, err := runWith(ctx, dir, env, "", "init", "--quiet", "--template=", "--object-format=sha1", "--bare", "."); err != nil {
		return err
	}
	t := &transport{env: env}
	has := func() bool {
		_, err := runWith(ctx, dir, append(env, "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none"), "", "cat-file", "-e",
			id+"^{commit}")
		return err == nil
	}
	const noTrees = "--filter=tree:0"
	// Most servers hand out any commit by its id.
	err = t.fetch(ctx, dir, "", noTrees, "--depth=1", "--", address, id)
	if err != nil || !has() {
		err = t.fetch(ctx, dir, "", noTrees, "--", address, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
	}
	switch {
	case err != nil:
		return fmt.Errorf("it cannot be fetched without credentials: %w", err)
	case !has():
		return outcome.Refusef("without credentials, the repository at %s hands out no commit %s", address, id)
	}
	return nil
}

// anonymous is the environment of a git that may connect by https, and knows nothing of the user
// but how to reach the network: home is an empty directory.
func anonymous(env []string, home string) []string {
	out := []string{"HOME=" + home, "XDG_CONFIG_HOME=" + home, "USERPROFILE=" + home, "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=",
		"SSH_ASKPASS=", "GIT_ALLOW_PROTOCOL=https"}
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch strings.ToUpper(name) {
		case "PATH", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
			"GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE", "SSL_CERT_DIR":
			out = append(out, kv)
		}
	}
	return out
}
