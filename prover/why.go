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
	file     crate.File
	place    crate.Place // where it was looked for
	outside  bool        // that is outside of the package
	why      string
	path     string   // where it would stand in the repository, as far as links lead; "" if not known
	missing  bool     // the commit has nothing there
	module   string   // the submodule there that was not found, "" if that is not why
	mode     bool     // only its mode differs
	linkText bool     // it is the text of the link there
	content  bool     // the commit has another content there:
	blob     [20]byte // its blob
}

// An advice is what most likely happened to files that differ, and what a publisher can do
// about it. A reader is told the first only.
type advice struct {
	cause    Cause
	what, do string
}

func (a advice) String() string {
	if a.do == "" {
		return a.what
	}
	return a.what + "; " + a.do
}

var (
	adviceDirty = advice{CauseDirty,
		"packaged with --allow-dirty, by cargo's own word",
		"commit the changes and package again"}
	adviceEdited = advice{CauseEdited,
		"edited after the commit",
		"if this is the right commit, commit the changes or restore the files, and package again; if git status shows " +
			"nothing, git was told not to look: git ls-files -v marks such files with a small letter or S (git " +
			"update-index --no-assume-unchanged or --no-skip-worktree ends that)"}
	adviceOutside = advice{CauseOutside,
		"outside of the package: cargo does not look there for changes when it is run from the package's own directory",
		"commit or restore the files (if git status shows nothing, see git ls-files -v), and package again from the top " +
			"of the repository"}
	adviceCRLF = advice{CauseCRLF,
		"CRLF line endings: git wrote them at checkout, and cargo packaged them",
		"set core.autocrlf=false, or fix eol and text in .gitattributes, check the files out again, and package again"}
	adviceEOL = advice{CauseCRLF,
		"CRLF line endings: .gitattributes says eol=crlf, so every checkout has them, and the commit does not",
		"fix eol and text in .gitattributes (\"-text\" takes files as they are) and commit that with the files, or " +
			"exclude them from the package, and package again"}
	adviceIdent = advice{CauseIdent,
		"$Id$ expanded: git did that at checkout, as .gitattributes says ident, and cargo packaged it",
		"remove ident from .gitattributes, commit that, check the files out again, and package again"}
	adviceLink = advice{CauseLink,
		"checked out where git makes no symbolic links, as on Windows",
		"set core.symlinks=true (on Windows with Developer Mode), check the files out again, and package again"}
	adviceLFS = advice{CauseLFS,
		"Git LFS: the commit holds only pointers, and a commit proves nothing about what they point to",
		"commit the files themselves (git lfs migrate export), or exclude them from the package, and package again"}
	adviceWorkspace = advice{CauseWorkspace,
		"the workspace's Cargo.toml may have been another when it was packaged",
		"if the workspace's Cargo.toml was edited and not committed: cargo does not look there for changes when it is " +
			"run from the package's own directory; commit or restore it, and package again from the top of the repository"}
	adviceRootMode = advice{CauseMode,
		"the workspace's Cargo.toml has another mode than an ordinary file",
		"git update-index --chmod=-x Cargo.toml, commit that, and package again"}
	adviceNested = advice{CauseNested,
		"packaged inside of a workspace that is not in the commit, as where the repository is a submodule of another",
		"package it from a clone of its own"}
)

// adviceFilter is about files that a filter changes at checkout.
func adviceFilter(name string) advice {
	return advice{CauseFilter,
		fmt.Sprintf("filter=%s in .gitattributes: git hands the commit's content to that filter at checkout, and cargo "+
			"packaged what it made", name),
		"remove the filter from .gitattributes and commit the files as they are, or exclude them from the package, and " +
			"package again"}
}

// adviceEncoding is about files that git writes in another encoding.
func adviceEncoding(name string) advice {
	return advice{CauseEncoding,
		fmt.Sprintf("working-tree-encoding=%s in .gitattributes: git writes the files in that encoding at checkout, and "+
			"the commit has them in UTF-8", name),
		"remove it from .gitattributes and commit the files as they are, or exclude them from the package, and package " +
			"again"}
}

// adviceNoModule is about files in a submodule that was not found.
func adviceNoModule(path string) advice {
	return advice{CauseNoModule,
		fmt.Sprintf("submodule %s: check it out (git submodule update --init), or name its repository: "+
			"--submodule %s=DIR, or --submodule %s=URL", path, path, path), ""}
}

// unprovable says of a file why it is refused, and what to do.
func (w *walk) unprovable(file, at, why string, a advice) Unprovable {
	s, below := w.within(at)
	u := Unprovable{File: file, At: below, Commit: s.Commit.ID, Why: why, Cause: a.cause, Fix: a.String()}
	if w.src.Published {
		u.Fix = a.what
	}
	return u
}

// explain says of every difference what most likely happened, and what to do. It reads
// the crate once more if contents differ.
func (w *walk) explain(differences []difference) ([]Unprovable, error) {
	converted, err := conversions(w.crate, differences)
	if err != nil {
		return nil, err
	}
	attributes := w.attributes(differences)
	var out []Unprovable
	for _, d := range differences {
		why, because := d.why, advice{}
		by, ok := converted[d.file.Path]
		switch attrs := attributes[d.path]; {
		case ok:
			why += ": " + by.what
			because = by.advice
			if by.advice == adviceCRLF && attrs["eol"] == "crlf" {
				because = adviceEOL
			}
		case d.module != "":
			because = adviceNoModule(d.module)
		case d.linkText:
			because = adviceLink
		case d.mode:
			because.cause = CauseMode
		case d.content && attrs["filter"] != "" && attrs["filter"] != "unset":
			because = adviceFilter(attrs["filter"])
		case d.content && attrs["working-tree-encoding"] != "" && attrs["working-tree-encoding"] != "unset":
			because = adviceEncoding(attrs["working-tree-encoding"])
		case d.content || d.missing:
			because = w.unlikeCommit(d)
		}
		out = append(out, w.unprovable(d.file.Path, d.path, why, because))
	}
	return out, nil
}

// attributes returns what git's attributes say of files whose content differs, by their path in
// the repository. What cannot be read explains nothing: the files are refused either way.
func (w *walk) attributes(differences []difference) map[string]map[string]string {
	inside := map[string][]string{} // by submodule
	for _, d := range differences {
		if d.content {
			m := w.moduleOf(d.path)
			inside[m] = append(inside[m], d.path)
		}
	}
	out := map[string]map[string]string{}
	for _, paths := range inside {
		s, below := w.top, map[string]string{}
		var names []string
		for _, p := range paths {
			var name string
			s, name = w.within(p)
			below[name] = p
			names = append(names, name)
		}
		found, err := s.Attributes(w.ctx, names, "eol", "filter", "working-tree-encoding")
		if err != nil {
			continue
		}
		for name, attrs := range found {
			out[below[name]] = attrs
		}
	}
	return out
}

// unlikeCommit says what to do about a file that no conversion explains.
func (w *walk) unlikeCommit(d difference) advice {
	if other := w.otherModule(d); other != (advice{}) {
		return other
	}
	if pkg := w.claim.Path; pkg != "" && filepath.IsLocal(d.path) && !strings.HasPrefix(d.path, pkg+"/") {
		return adviceOutside
	}
	if d.content {
		return adviceEdited
	}
	return advice{}
}

// otherModule finds the file at its place in what the submodule has checked out, if
// that is not the commit that the tree records. What cannot be read there explains
// nothing: the file is refused either way.
func (w *walk) otherModule(d difference) advice {
	name := w.moduleOf(d.path)
	if name == "" {
		return advice{}
	}
	m := w.modules[name]
	head, err := m.repo.ResolveCommit(w.ctx, "HEAD")
	if err != nil || head == m.Commit.ID {
		return advice{}
	}
	checkedOut, err := m.repo.At(w.ctx, head)
	if err != nil {
		return advice{}
	}
	e, err := checkedOut.Entry(w.ctx, strings.TrimPrefix(d.path, name+"/"))
	if err != nil || e.ID != d.file.Blob {
		return advice{}
	}
	return advice{CauseModule,
		fmt.Sprintf("submodule %s: the commit records it at %x, but the crate was packaged from its commit %x",
			name, m.Commit.ID, head),
		fmt.Sprintf("commit the new gitlink (git add %s), or go back (git submodule update %s), and package again",
			name, name)}
}

// A conversion is what git makes of a file at checkout.
type conversion struct {
	what string
	advice
}

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
	for _, u := range undone(content) {
		if id, ok := u.blob(); ok && id == blob {
			return u.conversion, true
		}
	}
	return conversion{}, false
}

// An undoing is a content before a conversion.
type undoing struct {
	content []byte
	conversion
}

// undone returns what a content can have been in the commit before git checked it out.
func undone(content []byte) []undoing {
	lf := bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
	pointer := fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%x\nsize %d\n",
		sha256.Sum256(content), len(content))
	both := advice{CauseCRLF, adviceCRLF.what + "; " + adviceIdent.what, adviceCRLF.do + "; " + adviceIdent.do}
	return []undoing{
		{lf, conversion{"it was packaged with CRLF line endings", adviceCRLF}},
		{expanded.ReplaceAll(content, []byte("$$Id$$")), conversion{"it was packaged with $Id$ expanded", adviceIdent}},
		{expanded.ReplaceAll(lf, []byte("$$Id$$")),
			conversion{"it was packaged with CRLF line endings and $Id$ expanded", both}},
		{pointer, conversion{"the commit holds only its Git LFS pointer", adviceLFS}},
	}
}

// blob returns the blob's id. Unsafe bytes (a SHA-1 attack) have none and explain nothing.
func (u undoing) blob() ([20]byte, bool) {
	id, err := git.Object{Type: git.TypeBlob, Content: u.content}.ID()
	return id, err == nil
}
