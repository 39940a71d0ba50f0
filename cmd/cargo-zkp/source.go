package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"cratelog/cargo/verdict"
)

// from says in words where the files of a crate stand. A commit that the crate itself does not
// name was chosen by whoever made the claim.
func from(commit, path string, named bool) string {
	at := ""
	if path != "" {
		at = " at " + path
	}
	if named {
		return "commit " + commit + at
	}
	return "its files are in commit " + commit + at + "; the crate itself names no commit"
}

// claimed says in words which repository a crate's manifest names, with a link to the commit where
// its host is known to have one; "" if the manifest names none. Nobody has checked it.
func claimed(repository, commit string) string {
	if repository == "" {
		return ""
	}
	text := printable(repository)
	if link := commitLink(repository, commit); link != "" {
		text += ", " + link
	}
	return text + " (claimed, not proven)"
}

// commitPaths are what stands between a repository and a commit's id, by host.
var commitPaths = map[string]string{"github.com": "commit", "gitlab.com": "-/commit", "codeberg.org": "commit",
	"bitbucket.org": "commits", "git.sr.ht": "commit"}

// commitLink returns the page of a commit in a repository, "" if it is not known. Of what manifests
// name as a repository, the first two components of the path are one.
func commitLink(repository, commit string) string {
	u, err := url.Parse(strings.TrimPrefix(repository, "git+"))
	if err != nil || u.Scheme != "https" || u.User != nil || commitPaths[strings.ToLower(u.Host)] == "" {
		return ""
	}
	host := strings.ToLower(u.Host)
	path, _, _ := strings.Cut(u.EscapedPath()+"/", "/-/") // behind which gitlab.com has what is in the repository
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) < 2 {
		return ""
	}
	if host != "gitlab.com" { // which has groups in groups
		parts = parts[:2]
	}
	last := &parts[len(parts)-1]
	*last = strings.TrimSuffix(*last, ".git")
	return "https://" + host + "/" + strings.Join(parts, "/") + "/" + commitPaths[host] + "/" + commit
}

// opened says in words what an opening showed, a phrase each.
func opened(o *verdict.Opening) (all []string) {
	if o == nil {
		return nil
	}
	all = append(all, "opened: the commit's own objects show it, without the proof", o.Signed)
	const most = 20
	left := o.LeftOut
	if n := len(left) - most; n > 0 {
		left = append(left[:most:most], fmt.Sprintf("and %d more", n))
	}
	if len(left) > 0 {
		all = append(all, "in the commit and not in the crate: "+printable(strings.Join(left, ", ")))
	}
	return all
}

// printable writes what is not printable as Go does: names in a repository can be anything.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}
