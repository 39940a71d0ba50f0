package prover

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"cratelog/crate"
	"cratelog/prover/git"
)

// maxExplained bounds the files whose content is read again to tell why they
// differ, in bytes each.
const maxExplained = 16 << 20

// A difference is a file of the crate that is not what the commit has.
type difference struct {
	file    crate.File
	why     string
	path    string   // where it would stand in the repository, as far as links lead; "" if not known
	missing bool     // the commit has nothing there
	content bool     // the commit has another content there:
	blob    [20]byte // its blob
}

// What a publisher can do about files that differ.
const (
	fixEdited = "edited after the commit: if this is the right commit, commit the changes or restore the files, " +
		"and package again; " +
		"if git status shows nothing, git was told not to look: git ls-files -v marks such files with a small letter or S " +
		"(git update-index --no-assume-unchanged or --no-skip-worktree ends that)"
	fixOutside = "outside of the package: cargo does not look there for changes when it is run from the package's " +
		"own directory; commit or restore the files (if git status shows nothing, see git ls-files -v), and package again " +
		"from the top of the repository"
	fixCRLF = "CRLF line endings: git wrote them at checkout, and cargo packaged them; set core.autocrlf=false, " +
		"or fix eol and text in .gitattributes, check the files out again, and package again"
	fixIdent = "$Id$ expanded: git did that at checkout, as .gitattributes says ident, and cargo packaged it; " +
		"remove ident from .gitattributes, commit that, check the files out again, and package again"
	fixLFS = "Git LFS: the commit holds only pointers, and a commit proves nothing about what they point to; " +
		"commit the files themselves (git lfs migrate export), or exclude them from the package, and package again"
	fixWorkspace = "if the workspace's Cargo.toml was edited and not committed: cargo does not look there for changes " +
		"when it is run from the package's own directory; commit or restore it, and package again from the top of the repository"
)

// explain says of every difference what most likely happened, and what to do. It reads
// the crate once more if contents differ.
func (w *walk) explain(differences []difference) ([]Unprovable, error) {
	converted, err := conversions(w.crate, differences)
	if err != nil {
		return nil, err
	}
	var out []Unprovable
	for _, d := range differences {
		u := Unprovable{File: d.file.Path, Why: d.why}
		if by, ok := converted[d.file.Path]; ok {
			u.Why, u.Fix = d.why+": "+by.what, by.fix
		} else if d.content || d.missing {
			u.Fix = w.unlikeCommit(d)
		}
		out = append(out, u)
	}
	return out, nil
}

// unlikeCommit says what to do about a file that no conversion explains, or "".
func (w *walk) unlikeCommit(d difference) string {
	if fix := w.otherModule(d); fix != "" {
		return fix
	}
	if pkg := w.claim.Path; pkg != "" && filepath.IsLocal(d.path) && !strings.HasPrefix(d.path, pkg+"/") {
		return fixOutside
	}
	if d.content {
		return fixEdited
	}
	return ""
}

// otherModule finds the file at its place in what the submodule has checked out, if
// that is not the commit that the tree records. What cannot be read there explains
// nothing: the file is refused either way.
func (w *walk) otherModule(d difference) string {
	name := w.moduleOf(d.path)
	if name == "" {
		return ""
	}
	m := w.modules[name]
	head, err := m.repo.ResolveCommit(w.ctx, "HEAD")
	if err != nil || head == m.Commit.ID {
		return ""
	}
	checkedOut, err := m.repo.At(w.ctx, head)
	if err != nil {
		return ""
	}
	e, err := checkedOut.Entry(w.ctx, strings.TrimPrefix(d.path, name+"/"))
	if err != nil || e.ID != d.file.Blob {
		return ""
	}
	return fmt.Sprintf("submodule %s: the commit records it at %x, but the crate was packaged from its commit %x; "+
		"commit the new gitlink (git add %s), or go back (git submodule update %s), and package again",
		name, m.Commit.ID, head, name, name)
}

// A conversion is what git makes of a file at checkout.
type conversion struct{ what, fix string }

// conversions finds the files that are what git makes of the commit's blobs at
// checkout: by undoing it, and comparing blob ids.
func conversions(c *crate.Crate, differences []difference) (map[string]conversion, error) {
	want := map[string][20]byte{}
	var paths []string
	for _, d := range differences {
		if d.content {
			want[d.file.Path] = d.blob
			paths = append(paths, d.file.Path)
		}
	}
	if paths == nil {
		return nil, nil
	}
	out := map[string]conversion{}
	err := c.Contents(paths, maxExplained, func(f crate.File, content []byte) {
		if by, ok := converted(content, want[f.Path]); ok {
			out[f.Path] = by
		}
	})
	return out, err
}

// expanded is $Id$ as git's ident attribute expands it.
var expanded = regexp.MustCompile(`\$Id:[^$\n]*\$`)

// converted finds the conversion that made a content of a blob.
func converted(content []byte, blob [20]byte) (conversion, bool) {
	lf := bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
	pointer := fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%x\nsize %d\n",
		sha256.Sum256(content), len(content))
	for _, try := range []struct {
		undone []byte
		conversion
	}{
		{lf, conversion{"it was packaged with CRLF line endings", fixCRLF}},
		{expanded.ReplaceAll(content, []byte("$$Id$$")), conversion{"it was packaged with $Id$ expanded", fixIdent}},
		{expanded.ReplaceAll(lf, []byte("$$Id$$")),
			conversion{"it was packaged with CRLF line endings and $Id$ expanded", fixCRLF + "; " + fixIdent}},
		{pointer, conversion{"the commit holds only its Git LFS pointer", fixLFS}},
	} {
		// Unsafe bytes (a SHA-1 attack) are an error and explain nothing.
		if id, err := (git.Object{Type: git.TypeBlob, Content: try.undone}).ID(); err == nil && id == blob {
			return try.conversion, true
		}
	}
	return conversion{}, false
}
