package crate

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"cratelog/entry"
	"cratelog/internal/gitobject"
)

// maxCRLF bounds the files that are hashed without their CRs, in bytes each.
const maxCRLF = 16 << 20

// withoutCR returns a text with LF line ends of which content is the same text with CRLF. ok is
// false unless content has a line end, a CR before every LF and nowhere else, and is not binary to
// git: so there is one such text, and git would write it as content.
func withoutCR(content []byte) (text []byte, ok bool) {
	ends := bytes.Count(content, []byte("\r\n"))
	if ends == 0 || bytes.Count(content, []byte{'\n'}) != ends || bytes.Count(content, []byte{'\r'}) != ends ||
		isBinary(content) {
		return nil, false
	}
	return bytes.ReplaceAll(content, []byte("\r\n"), []byte{'\n'}), true
}

// isBinary follows gather_stats and convert_is_binary of git's convert.c, by which git finds out what
// attributes do not say: a NUL, or more than one control character to 128 others.
func isBinary(content []byte) bool {
	printable, not := 0, 0
	for _, c := range bytes.TrimSuffix(content, []byte{0x1a}) { // the end of a file once
		switch {
		case c == 0:
			return true
		case c == '\r' || c == '\n':
		case c == '\b' || c == '\t' || c == 0x1b || c == '\f' || c >= ' ' && c != 0x7f:
			printable++
		default:
			not++
		}
	}
	return printable>>7 < not
}

// WithoutCR returns, of those of some files of the crate that are texts with CRLF line ends and
// nothing but, the ids of the blobs with LF line ends, by path. Left out are files above 16 MiB,
// and those whose text carries an attack on SHA-1. The .crate is unpacked again.
func (c *Crate) WithoutCR(paths []string) (map[string][20]byte, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	ids := map[string][20]byte{}
	var h gitobject.Hash // one for all, so that it counts suspicions over all
	err := c.Contents(paths, maxCRLF, func(f File, content []byte) {
		text, ok := withoutCR(content)
		if !ok {
			return
		}
		if _, err := h.Start(gitobject.TypeBlob, int64(len(text))).Write(text); err != nil {
			return
		}
		if id, safe := h.Sum(); safe {
			ids[f.Path] = id
		}
	})
	return ids, err
}

// texts returns the ids of the blobs of the files that the claim lists under CRLF, by their names
// in the commit.
func (l *Layout) texts() (map[string][20]byte, error) {
	if len(l.claim.CRLF) == 0 {
		return nil, nil
	}
	paths := map[string]string{} // by name
	for name, f := range l.crate.standing(l.claim) {
		paths[name] = f.Path
	}
	var all []string
	for _, name := range l.claim.CRLF {
		if paths[name] == "" {
			return nil, &PlaceError{name, "is said to have CRLF where the commit has LF, but is not a proven file of the crate"}
		}
		all = append(all, paths[name])
	}
	ids, err := l.crate.WithoutCR(all)
	if err != nil {
		return nil, err
	}
	texts := map[string][20]byte{}
	for _, name := range l.claim.CRLF {
		id, ok := ids[paths[name]]
		if !ok {
			return nil, &PlaceError{name, fmt.Sprintf("is said to have CRLF where the commit has LF, but is not a text of "+
				"at most %d bytes with a CR before every LF and nowhere else", maxCRLF)}
		}
		texts[name] = id
	}
	return texts, nil
}

const attributesFile = ".gitattributes"

// addAttributes adds the .gitattributes of the claim to the tree. Each must stand above a file
// that the claim lists under CRLF; these stand at the given places.
func (l *Layout) addAttributes(t *tree, crlf []string) error {
	for _, a := range l.claim.Attributes {
		p := Place{Path: join(a.Path, attributesFile)}
		if err := l.follow(&p); err != nil {
			return err
		}
		switch {
		case len(p.Links) > 0: // git does not follow them
			return &PlaceError{p.Path, "lies behind a symbolic link, where git reads no attributes"}
		case !slices.ContainsFunc(crlf, func(at string) bool { return l.above(a.Path, at) }):
			return &PlaceError{p.Path, "is listed, but stands above no file that is said to have CRLF where the commit has LF"}
		}
		if err := t.addBlob(p, modeFile, a.Content); err != nil {
			return err
		}
	}
	return nil
}

// above says whether the .gitattributes of a directory are about the file at a place: those of a
// repository end where a submodule begins.
func (l *Layout) above(dir, at string) bool {
	if dir != "" && !strings.HasPrefix(at, dir+"/") {
		return false
	}
	for d := path.Dir(at); d != "." && d != dir; d = path.Dir(d) {
		if l.repo.Submodule(d) {
			return false
		}
	}
	return true
}

// Attributed returns which of the files that the claim lists under CRLF have CRLF in every
// checkout: because a .gitattributes of the commit says so that the claim lists. One that
// the claim does not list may say otherwise. It takes what WithoutCR and Check accepted; of
// another claim the error is a *PlaceError.
func (c *Crate) Attributed(src *entry.Source) ([]string, error) {
	if len(src.CRLF) == 0 || len(src.Attributes) == 0 {
		return nil, nil
	}
	l := c.Layout(src, newClaimed(src))
	var said []string
	work := 0
	listed := map[string]bool{}
	for _, name := range src.CRLF {
		listed[name] = true
	}
	for p, err := range l.Files() {
		if err != nil {
			return nil, err
		}
		if !listed[p.Name] {
			continue
		}
		var eol lineEnds
		for _, a := range src.Attributes { // the outermost comes first, as it is the shortest of its prefixes
			if !l.above(a.Path, p.At) {
				continue
			}
			if work += len(a.Content) * len(p.At); work > maxMatching {
				return nil, &PlaceError{p.Name, "is one of too many files with CRLF for so long .gitattributes"}
			}
			eol.read(string(a.Content), strings.TrimPrefix(strings.TrimPrefix(p.At, a.Path), "/"))
		}
		if eol.crlf() {
			said = append(said, p.Name)
		}
	}
	return said, nil
}

// maxMatching bounds what the patterns of .gitattributes are compared with, in bytes of patterns
// times bytes of paths.
const maxMatching = 1 << 28

// lineEnds is what attributes say of a file's line ends so far: three attributes, each set, unset,
// "" for neither, or a value.
type lineEnds struct {
	text, old, eol string // old is text by its former name, crlf
	lost           bool   // something was not understood
}

const (
	attributeSet   = "\x00set" // which no line can give as a value
	attributeUnset = "\x00unset"
)

// crlf says whether git writes CRLF into a text. It decides as git does (convert_attrs in convert.c),
// once all lines are read: text counts before crlf.
func (e *lineEnds) crlf() bool {
	text := e.text
	if !slices.Contains([]string{attributeSet, attributeUnset, "auto", "input"}, text) {
		text = e.old
	}
	return !e.lost && text != attributeUnset && e.eol == "crlf"
}

// read reads a .gitattributes for the file at a path, seen from its directory. What is not
// understood (macros, quoted patterns, brackets, escapes, ?) says nothing, and nothing counts that
// stands before it.
func (e *lineEnds) read(content, path string) {
	for line := range strings.Lines(strings.TrimPrefix(content, "\ufeff")) {
		f := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) })
		switch {
		case len(f) == 0 || strings.HasPrefix(f[0], "#"), strings.HasPrefix(f[0], "!"): // git ignores these
			continue
		case strings.ContainsAny(f[0], `"[\?`) || len(line) >= maxLine || strings.Contains(line, "\x00"):
			e.lost = true
			return
		case !matchesAttribute(f[0], path):
			continue
		}
		for _, attribute := range f[1:] {
			e.set(attribute)
		}
	}
}

// maxLine is from where on git ignores a line, in bytes.
const maxLine = 2048

func (e *lineEnds) set(attribute string) {
	name, value, valued := strings.Cut(attribute, "=")
	switch {
	case valued:
	case strings.HasPrefix(name, "-"):
		name, value = name[1:], attributeUnset
	case strings.HasPrefix(name, "!"):
		name, value = name[1:], ""
	default:
		value = attributeSet
	}
	switch name {
	case "text":
		e.text = value
	case "crlf":
		e.old = value
	case "eol":
		e.eol = value
	case "binary": // the one macro that git brings along; git takes it back if another value follows
		if value == attributeSet {
			e.text = attributeUnset
		}
	}
}

// matchesAttribute says whether a pattern of gitattributes(5) matches a path: one without a slash
// its last component, any other the whole of it; ** stands for any number of directories.
func matchesAttribute(pattern, at string) bool {
	if !strings.Contains(pattern, "/") {
		return matches(pattern, path.Base(at))
	}
	want, have := strings.Split(strings.TrimPrefix(pattern, "/"), "/"), strings.Split(at, "/")
	// As with one star in a string: on a mismatch, what follows the last ** moves on by one.
	w, h, star, from := 0, 0, -1, 0
	for h < len(have) {
		switch {
		case w < len(want) && want[w] == "**":
			star, from = w, h
			w++
		case w < len(want) && matches(want[w], have[h]):
			w++
			h++
		case star >= 0:
			from++
			w, h = star+1, from
		default:
			return false
		}
	}
	return w == len(want)
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
