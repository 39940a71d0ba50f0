// Package gitobject reads git's objects: commits and trees, by SHA-1 with detection of the known
// collision attacks, and as strictly as "git fsck". It takes no tree that two readers could take
// for two things, so that prover and verifiers agree on what a tree holds.
package gitobject

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// The types of objects that are read.
const (
	TypeCommit = "commit"
	TypeTree   = "tree"
	TypeBlob   = "blob"
)

// ErrCollision means that an object carries a known attack on SHA-1, so that
// its id could stand for another content as well.
var ErrCollision = errors.New("the object carries a SHA-1 collision attack: its id proves nothing")

// An Object is a git object: what its id is the hash of.
type Object struct {
	Type    string
	Content []byte
}

// Encode returns the bytes that git hashes: TYPE SP LENGTH NUL content, the
// length in decimal.
func (o Object) Encode() []byte {
	return fmt.Appendf(make([]byte, 0, len(o.Content)+32), "%s %d\x00%s", o.Type, len(o.Content), o.Content)
}

// ID returns the SHA-1 of Encode. The error is ErrCollision or ErrSuspicious.
func (o Object) ID() ([20]byte, error) { return new(Hash).ID(o) }

// ID is Object.ID with what this Hash has seen before.
func (h *Hash) ID(o Object) ([20]byte, error) {
	if _, err := h.Start(o.Type, int64(len(o.Content))).Write(o.Content); err != nil {
		return [20]byte{}, err
	}
	id, safe := h.Sum()
	if !safe {
		return [20]byte{}, ErrCollision
	}
	return id, nil
}

// A TreeEntry is one entry of a tree object.
type TreeEntry struct {
	Mode string // octal, as in the object: "40000", "100644", "100755", "120000", "160000"
	Name string // one component of a path; not empty, without '/' and NUL, not "." or "..", no ".git"
	ID   [20]byte
}

// Modes of tree entries.
const (
	ModeFile       = "100644"
	ModeExecutable = "100755"
	ModeSymlink    = "120000"
	ModeDirectory  = "40000"
	ModeSubmodule  = "160000"
)

// ParseCommit reads the id of the root tree out of a commit's content. It asks
// for the first line to be "tree " and 40 lower-case hexadecimal digits, and
// for a second that names a parent or the author; the rest is free.
func ParseCommit(content []byte) (tree [20]byte, err error) {
	digits, ok := bytes.CutPrefix(content, []byte("tree "))
	if !ok || len(digits) < 41 || digits[40] != '\n' {
		return tree, errors.New("the commit does not start with the line of its tree")
	}
	if tree, ok = ParseID(string(digits[:40])); !ok {
		return tree, errors.New("the commit's tree is not an id of 40 lower-case hexadecimal digits")
	}
	if next := digits[41:]; !bytes.HasPrefix(next, []byte("parent ")) && !bytes.HasPrefix(next, []byte("author ")) {
		return tree, errors.New("the commit's second line names neither a parent nor the author")
	}
	return tree, nil
}

// ParseTree reads a tree's content: entries of MODE SP NAME NUL and 20 bytes of
// id. It is as strict as "git fsck": modes without zeros in front, git's order, no name twice,
// none that is empty, ".", ".." or ".git" in any spelling that a file system takes for it, and
// no id of zeros. Permissions of files may be any, as fsck has it: old trees hold 100664.
func ParseTree(content []byte) ([]TreeEntry, error) {
	var entries []TreeEntry
	seen := map[string]bool{}
	for len(content) > 0 {
		e, rest, err := parseEntry(content)
		if err != nil {
			return nil, err
		}
		if seen[e.Name] {
			return nil, fmt.Errorf("the tree holds the name %q twice", e.Name)
		}
		seen[e.Name] = true
		if n := len(entries); n > 0 && sortKey(entries[n-1]) >= sortKey(e) {
			return nil, fmt.Errorf("the tree's entries are not in git's order: %q stands after %q", e.Name, entries[n-1].Name)
		}
		entries = append(entries, e)
		content = rest
	}
	return entries, nil
}

func parseEntry(b []byte) (e TreeEntry, rest []byte, err error) {
	mode, rest, ok := bytes.Cut(b, []byte{' '})
	if !ok {
		return e, nil, errors.New("the tree ends within the mode of an entry")
	}
	name, rest, ok := bytes.Cut(rest, []byte{0})
	if !ok {
		return e, nil, errors.New("the tree ends within the name of an entry")
	}
	e.Mode, e.Name = string(mode), string(name)
	switch e.Name {
	case "":
		return e, nil, errors.New("the tree holds an entry without a name")
	case ".", "..":
		return e, nil, fmt.Errorf("the tree holds an entry of the name %q", e.Name)
	}
	if isDotGit(e.Name) {
		return e, nil, fmt.Errorf("the tree holds the name %q, which some system takes for \".git\"", e.Name)
	}
	if bytes.IndexByte(name, '/') >= 0 {
		return e, nil, fmt.Errorf("the tree holds the name %q, which contains a slash", e.Name)
	}
	if padded := strings.TrimLeft(e.Mode, "0"); padded != e.Mode && isMode(padded) {
		return e, nil, &PaddedModeError{Name: e.Name, Mode: e.Mode}
	}
	if !isMode(e.Mode) {
		return e, nil, fmt.Errorf("the tree's entry %q has the mode %q, which git does not write", e.Name, e.Mode)
	}
	if len(rest) < 20 {
		return e, nil, fmt.Errorf("the tree ends within the id of its entry %q", e.Name)
	}
	copy(e.ID[:], rest)
	if e.ID == [20]byte{} {
		return e, nil, fmt.Errorf("the tree's entry %q has an id of zeros, which no object has", e.Name)
	}
	return e, rest[20:], nil
}

// A PaddedModeError says that a tree has a mode with zeros in front, as some tools other than
// git wrote them. git reads such trees, and warns of them; the proof's circuit takes none.
type PaddedModeError struct{ Name, Mode string }

func (e *PaddedModeError) Error() string {
	return fmt.Sprintf("the tree's entry %q has the mode %q, with a zero in front, as old versions of some tools wrote "+
		"it (git fsck says zeroPaddedFilemode): a commit with such a directory on the crate's paths cannot be proven",
		e.Name, e.Mode)
}

// isMode accepts what git writes or has written: directories, links and
// submodules have one mode each, files any permissions (100664 in old trees).
// No mode has a leading zero.
func isMode(s string) bool {
	switch s {
	case ModeDirectory, ModeSymlink, ModeSubmodule:
		return true
	}
	permissions, ok := strings.CutPrefix(s, "100")
	return ok && len(permissions) == 3 && strings.Trim(permissions, "01234567") == ""
}

// sortKey is what git compares: a directory's name ends with a slash.
func sortKey(e TreeEntry) string {
	if e.Mode == ModeDirectory {
		return e.Name + "/"
	}
	return e.Name
}

// ParseID reads 40 lower-case hexadecimal digits.
func ParseID(s string) (id [20]byte, ok bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 20 || hex.EncodeToString(b) != s {
		return id, false
	}
	return [20]byte(b), true
}
