package gitobject

import (
	"strings"
	"unicode/utf8"
)

// isDotGit says whether a name is ".git" to some file system. It follows git's is_hfs_dotgit and
// is_ntfs_dotgit (utf8.c, path.c), by which fsck says hasDotgit.
func isDotGit(name string) bool {
	if strings.EqualFold(name, ".git") || isDotGitHFS(name) {
		return true
	}
	// Backslashes part names on Windows.
	for part := range strings.SplitSeq(name, `\`) {
		if isDotGitNTFS(part) {
			return true
		}
	}
	return false
}

// isDotGitNTFS follows NTFS: the short name git~1 is .git, dots and spaces at the end do not count,
// and what follows a colon is a stream of the same file.
func isDotGitNTFS(name string) bool {
	lower := strings.ToLower(name)
	for _, git := range []string{".git", "git~1"} {
		rest, ok := strings.CutPrefix(lower, git)
		if !ok {
			continue
		}
		rest, _, _ = strings.Cut(rest, ":")
		if strings.Trim(rest, ". ") == "" {
			return true
		}
	}
	return false
}

// isDotGitHFS follows HFS+, which ignores case and some code points.
func isDotGitHFS(name string) bool {
	if !utf8.ValidString(name) {
		return false
	}
	return strings.EqualFold(strings.Map(func(r rune) rune {
		switch {
		case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
			return -1
		}
		return r
	}, name), ".git")
}
