package git

import (
	"cmp"
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
	at, err := Worldwide(ctx, u.Hostname())
	if err != nil {
		return err
	}
	return fetchable(ctx, Remote{URL: address, At: at}, commit)
}

// Worldwide returns the addresses of a host. It refuses one that only a network of an organization reaches,
// where servers often ask nobody for a password.
func Worldwide(ctx context.Context, host string) ([]netip.Addr, error) {
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("the addresses of the repository's host are not known: %w", err)
	}
	for i, a := range all {
		a = a.Unmap()
		if all[i] = a; nat64.Contains(a) {
			to := a.As16()
			a = netip.AddrFrom4([4]byte(to[12:]))
		}
		if !a.IsGlobalUnicast() || a.IsPrivate() || shared.Contains(a) {
			return nil, fmt.Errorf("the repository's host %s has the address %s, which not everybody reaches", host, all[i])
		}
	}
	return all, nil
}

var (
	shared = netip.MustParsePrefix("100.64.0.0/10") // SPEC: RFC 6598; also of private networks over the Internet
	nat64  = netip.MustParsePrefix("64:ff9b::/96")  // SPEC: RFC 6052; ends in an address of IPv4
)

// A Remote is a repository's URL, and the addresses that its host is taken to have: else a host could have
// others when it is connected to than when it was looked at. Without any, git looks them up, and so does a
// git before 2.37.
type Remote struct {
	URL string
	At  []netip.Addr
}

// settings make git connect to the addresses.
func (r Remote) settings() []string {
	u, err := url.Parse(r.URL)
	if err != nil || len(r.At) == 0 {
		return nil
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return nil // it is its address
	}
	var at []string
	for _, a := range r.At {
		if text := a.String(); a.Is6() {
			at = append(at, "["+text+"]")
		} else {
			at = append(at, text)
		}
	}
	return []string{"-c", "http.curloptResolve=" + u.Hostname() + ":" + cmp.Or(u.Port(), "443") + ":" + strings.Join(at, ",")}
}

// Fetchable returns nil if a commit can be fetched without credentials, from wherever this machine
// may connect to. It is less than Public, which is what decides.
func Fetchable(ctx context.Context, address string, commit [20]byte) error {
	return fetchable(ctx, Remote{URL: address}, commit)
}

func fetchable(ctx context.Context, from Remote, commit [20]byte) error {
	address := from.URL
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
	t := &transport{env: env, settings: append(noTicket(), from.settings()...)}
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

// noTicket keeps git from proving who the user is to a server that asks: it would without a password, by a
// ticket of Kerberos or as Windows does it.
func noTicket() []string { return []string{"-c", "http.emptyAuth=false"} }

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
