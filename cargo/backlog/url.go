package backlog

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// forges are hosts whose repositories have a path of two components, whatever follows.
var forges = []string{"github.com", "codeberg.org", "bitbucket.org"}

// insides are what stands between a repository and a place in it, in the URLs of web pages.
var insides = []string{"/-/", "/tree/", "/blob/", "/src/branch/", "/src/commit/"}

// RepositoryURL returns the URL of https that a manifest's repository means: authors write URLs of
// other schemes, and of pages and directories in it. What takes an account, a password or ssh is
// refused, as is what would not leave this machine.
func RepositoryURL(said string) (string, error) {
	s := strings.TrimSpace(said)
	if s == "" {
		return "", errors.New("its manifest names no repository")
	}
	refuse := func(why string) (string, error) {
		return "", fmt.Errorf("its manifest names the repository %.200q, %s", said, why)
	}
	u, err := url.Parse(strings.TrimPrefix(s, "git+"))
	if err != nil || u.Scheme == "" || u.Host == "" {
		if strings.Contains(s, "@") {
			return refuse("which takes ssh and an account: map it to a URL of https")
		}
		return refuse("which is no URL of https")
	}
	switch u.Scheme {
	case "https", "http", "git": // the last two carry no proof of who answers: what hosts serve, they serve by https
		if u.Scheme != "https" && u.Port() != "" {
			return refuse("which is no URL of https")
		}
		u.Scheme = "https"
	case "ssh":
		return refuse("which takes ssh and an account: map it to a URL of https")
	default:
		return refuse("which is no URL of https")
	}
	switch {
	case u.User != nil:
		return refuse("with a user in it: map it to a URL without one")
	case u.RawQuery != "":
		return refuse("with a query in it: map it to the repository's own URL")
	case strings.HasPrefix(u.Host, "-") || u.Opaque != "":
		return refuse("which is no URL of https")
	}
	u.Host, u.Fragment, u.RawFragment = strings.ToLower(u.Host), "", ""
	path := u.EscapedPath()
	for _, inside := range insides {
		path, _, _ = strings.Cut(path, inside)
	}
	path = "/" + strings.Trim(path, "/")
	host := strings.TrimPrefix(u.Host, "www.")
	if parts := strings.Split(path[1:], "/"); slices.Contains(forges, host) {
		if len(parts) < 2 {
			return refuse("which is no repository")
		}
		u.Host, path = host, "/"+parts[0]+"/"+strings.TrimSuffix(parts[1], ".git")
	} else if host == "gitlab.com" {
		path = strings.TrimSuffix(path, ".git")
	}
	if strings.Trim(path, "/.") == "" {
		return refuse("which is no repository")
	}
	return "https://" + u.Host + path, nil
}
