package crate

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"cratelog/entry"
)

// VCSInfo is what a .crate says about its own origin. The publisher states it; it proves
// nothing.
type VCSInfo struct {
	Commit  [20]byte
	HasPath bool   // false for what cargo 1.30 to 1.56 wrote: it does not say where the package stands
	Path    string // path_in_vcs, "" for the repository's root
}

// VCSInfo returns what .cargo_vcs_info.json says, and nil if there is no such
// file. A file that is not exactly as cargo writes it is a *VCSInfoError. So is
// one that says "dirty"; what it names comes with that error, so that a caller can
// find what differs from the commit.
func (c *Crate) VCSInfo() (*VCSInfo, error) {
	if c.vcsInfo == nil {
		return nil, nil
	}
	said, err := parseVCSInfo(c.vcsInfo)
	if err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(said.Git.SHA1)
	if err != nil || len(id) != 20 {
		return nil, &VCSInfoError{fmt.Sprintf("names the commit %q, which is not a SHA-1 id of 40 hexadecimal digits",
			said.Git.SHA1)}
	}
	if said.path() != "" {
		if err := entry.CheckPath(said.path()); err != nil {
			return nil, &VCSInfoError{fmt.Sprintf("names a path_in_vcs that is not allowed: %v", err)}
		}
	}
	v := &VCSInfo{Commit: [20]byte(id), HasPath: said.Path != nil, Path: said.path()}
	if said.Git.Dirty {
		return v, &VCSInfoError{dirtyWhy}
	}
	return v, c.checkVCSInfo(v.Commit, v.Path, false)
}

// NamesCommit says whether the .crate itself names a commit. A claim about another one does not
// pass Check.
func (c *Crate) NamesCommit() bool { return c.vcsInfo != nil }

const dirtyWhy = `says "dirty": the crate was packaged with changes that are in no commit`

type vcsJSON struct {
	Git struct {
		SHA1  string `json:"sha1"`
		Dirty bool   `json:"dirty"`
	} `json:"git"`
	Path *string `json:"path_in_vcs"`
}

func (v vcsJSON) path() string {
	if v.Path == nil {
		return ""
	}
	return *v.Path
}

func parseVCSInfo(b []byte) (vcsJSON, error) {
	var v vcsJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return vcsJSON{}, &VCSInfoError{fmt.Sprintf("is not what cargo writes: %v", err)}
	}
	return v, nil
}

// checkVCSInfo compares the file, if there is one, with the bytes that cargo
// writes for a commit and a path. JSON is parsed for the sentence only. The old form
// names no path, so it goes with any. What cargo writes if something is dirty is accepted only of
// a crate whose manifest is said to differ.
func (c *Crate) checkVCSInfo(commit [20]byte, path string, differs bool) error {
	if c.vcsInfo == nil {
		return nil
	}
	got := string(c.vcsInfo)
	if got == formatVCSInfo(commit, path) || got == formatOldVCSInfo(commit) ||
		differs && got == formatDirtyVCSInfo(commit, path) {
		return nil
	}
	said, err := parseVCSInfo(c.vcsInfo)
	if err != nil {
		return err
	}
	switch want := hex.EncodeToString(commit[:]); {
	case said.Git.Dirty && !differs:
		return &VCSInfoError{dirtyWhy}
	case said.Git.SHA1 != want:
		return &VCSInfoError{fmt.Sprintf("names the commit %q, but the claim is about %s", said.Git.SHA1, want)}
	case said.Path != nil && said.path() != path:
		return &VCSInfoError{fmt.Sprintf("names the path %q in the repository, but the claim is about %q", said.path(), path)}
	}
	return &VCSInfoError{"names the right commit and path, but not in the bytes that cargo writes"}
}

// formatVCSInfo is what cargo writes since 1.57 if nothing is dirty: two spaces of indent, no final
// newline. A path holds no control character and no backslash (entry.CheckPath),
// so of what JSON escapes only '"' is left.
func formatVCSInfo(commit [20]byte, path string) string {
	return fmt.Sprintf("{\n  \"git\": {\n    \"sha1\": \"%x\"\n  },\n  \"path_in_vcs\": \"%s\"\n}",
		commit, strings.ReplaceAll(path, `"`, `\"`))
}

// formatDirtyVCSInfo is what cargo writes since 1.81 with --allow-dirty, if something is dirty.
func formatDirtyVCSInfo(commit [20]byte, path string) string {
	return strings.Replace(formatVCSInfo(commit, path), "\"\n  },", "\",\n    \"dirty\": true\n  },", 1)
}

// formatOldVCSInfo is what cargo 1.30 to 1.56 wrote, also for members of workspaces: no path,
// and a final newline. No release wrote any other form.
func formatOldVCSInfo(commit [20]byte) string {
	return fmt.Sprintf("{\n  \"git\": {\n    \"sha1\": \"%x\"\n  }\n}\n", commit)
}
