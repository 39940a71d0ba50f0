package prover

import (
	"fmt"
	"slices"
	"strings"

	"cratelog/crate"
)

// A Cause is what most likely happened to a file that cannot be proven; "" if that is not
// known.
type Cause string

// Causes.
const (
	CauseDirty     Cause = "dirty"        // the crate says itself that it was packaged with changes
	CauseEdited    Cause = "edited"       // after the commit
	CauseOutside   Cause = "outside"      // edited, where cargo does not look
	CauseCRLF      Cause = "crlf"         // git's line endings at checkout
	CauseIdent     Cause = "ident"        // git's $Id$ at checkout
	CauseFilter    Cause = "filter"       // a filter of git's at checkout
	CauseEncoding  Cause = "encoding"     // git's working-tree-encoding at checkout
	CauseLFS       Cause = "lfs"          // the commit has a pointer of Git LFS
	CauseLink      Cause = "link"         // checked out where there are no symbolic links
	CauseModule    Cause = "module"       // a submodule was at another commit
	CauseNoModule  Cause = "no-module"    // a submodule's repository was not found
	CauseMode      Cause = "mode"         // a mode that a proof cannot show
	CauseNoPlace   Cause = "no-place"     // the commit has no such package
	CauseWorkspace Cause = "workspace"    // the workspace's manifest was another
	CauseNested    Cause = "in-workspace" // packaged in a workspace that the commit does not hold
)

// Unprovable is a file of a crate that cannot be proven from the commit.
type Unprovable struct {
	File   string
	At     string   // where it was looked for, as far as links lead; "" if not known
	Commit [20]byte // that has At: the crate's, or a submodule's
	Why    string
	Cause  Cause
	Fix    string // what most likely happened, and what to do about it; "" if that is not known
}

// UnprovableError names every file that cannot be proven.
type UnprovableError struct {
	Commit    [20]byte
	Place     string // which directory was taken, if others could be the package as well
	Published bool   // as in Source: it speaks to a reader
	Files     []Unprovable
}

// maxShown is how many lines about files an error has; Files has them all.
const maxShown = 12

func (e *UnprovableError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the crate cannot be proven from commit %x:", e.Commit)
	groups := e.by(func(u Unprovable) string { return u.Why })
	for i, g := range groups {
		if i == maxShown {
			left := 0
			for _, g := range groups[i:] {
				left += len(g.files)
			}
			fmt.Fprintf(&b, "\n  and %d files more", left)
			break
		}
		fmt.Fprintf(&b, "\n  %s: %s", some(g.files), g.text)
	}
	if e.Place != "" {
		fmt.Fprintf(&b, "\n%s", e.Place)
	}
	for _, g := range e.by(func(u Unprovable) string { return u.Fix }) {
		fmt.Fprintf(&b, "\nabout %s: %s", some(g.files), g.text)
	}
	manifests := !slices.ContainsFunc(e.Files, func(u Unprovable) bool {
		return u.File != vcsFile && u.File != manifestFile && u.File != origFile
	})
	if manifests {
		b.WriteString("\n--unproven-manifest proves all files but Cargo.toml and Cargo.toml.orig; few readers accept that")
	}
	notTheCrate := !slices.ContainsFunc(e.Files, func(u Unprovable) bool {
		return u.Cause != CauseNoModule && u.Cause != CauseNoPlace
	})
	unexplained := slices.ContainsFunc(e.Files, func(u Unprovable) bool { return u.Fix == "" })
	switch {
	case notTheCrate: // whoever asks can mend it
	case e.Published:
		b.WriteString("\nonly the author can mend that, with a version that is packaged from a clean commit; a policy can " +
			"do without this proof ([[exception]] in zkp.toml)")
	case unexplained:
		b.WriteString("\nif the commit is the right one, package the crate from a clean checkout of it")
	}
	return b.String()
}

// A group is the files that have a text in common.
type group struct {
	text  string
	files []string
}

// by returns every text but "" once, in the order of the files.
func (e *UnprovableError) by(text func(Unprovable) string) []group {
	var out []group
	at := map[string]int{}
	for _, u := range e.Files {
		t := text(u)
		if t == "" {
			continue
		}
		i, ok := at[t]
		if !ok {
			i, at[t] = len(out), len(out)
			out = append(out, group{text: t})
		}
		out[i].files = append(out[i].files, u.File)
	}
	return out
}

// some names the first of a list of files, and counts the others.
func some(files []string) string {
	const most = 3
	if len(files) <= most {
		return strings.Join(files, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(files[:most], ", "), len(files)-most)
}

// A RootSizeError says that a crate takes values from a workspace whose manifest no entry can
// carry.
type RootSizeError struct {
	Path string // of the manifest
	Why  string
}

func (e *RootSizeError) Error() string {
	return fmt.Sprintf("Cargo.toml takes values from the workspace's manifest %s, which no entry can carry: %s; "+
		"--unproven-manifest proves all files but Cargo.toml, which few readers accept", e.Path, e.Why)
}

// notPlaced says that no directory of the commit is the crate's package.
func notPlaced(commit [20]byte, c *crate.Crate, src Source) *UnprovableError {
	return &UnprovableError{Commit: commit, Published: src.Published, Files: []Unprovable{{
		File: manifestOf(c), Cause: CauseNoPlace,
		Why: fmt.Sprintf("no directory of the commit has a Cargo.toml with this content, nor one of a package %q", c.Name),
		Fix: "another commit, or another repository: name those that the crate was packaged from with --commit (an id or a " +
			"tag) and --repository",
	}}}
}

// tried says with which of several directories a crate was compared; "" if there is one.
func tried(paths []string, path string) string {
	var others []string
	for _, p := range paths {
		if p != path {
			others = append(others, fmt.Sprintf("%q", p))
		}
	}
	if others == nil {
		return ""
	}
	return fmt.Sprintf("compared with the directory %q of the commit; its Cargo.toml stands in %s as well, which "+
		"differ in more; --path names one", path, some(others))
}
