package backlog

import (
	"strconv"

	"cratelog/crate"
)

func printable(r rune) bool { return strconv.IsPrint(r) }

// Look returns the cause that can be seen in a .crate alone, without any network, "" where it looks
// provable. Of NoCommit it may still turn out that a tag has its files.
func Look(c *crate.Crate) Cause {
	info, err := c.VCSInfo()
	if err != nil && info != nil {
		return Dirty // what else is wrong with it has no info
	}
	if _, err := RepositoryURL(c.Repository()); err != nil {
		return NoRepository
	}
	if info == nil && err == nil {
		return NoCommit
	}
	return ""
}
