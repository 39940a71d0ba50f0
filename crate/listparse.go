package crate

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxTreePath bounds the path of a tree in a list that is parsed, in bytes: it is kept for every one.
const maxTreePath = 4096

// maxPaths bounds the paths of all directories of a list, in bytes. A .crate has at most some
// thousand files, and their directories are far below that.
const maxPaths = 32 << 20

// ParseList reads the bytes of a list, for whoever has no .crate to compute it from. It is strict:
// a list has one encoding. That it is a claim's list, its digest says.
func ParseList(b []byte) (*List, error) {
	l := &List{Objects: []Object{{Commit: true}}}
	rest := b
	paths := 0
	for at := 0; at < len(l.Objects); at++ {
		o := l.Objects[at]
		want := byte('t')
		if o.Commit {
			want = 'c'
		}
		if len(rest) == 0 || rest[0] != want {
			return nil, fmt.Errorf("the list's object %d does not begin with %q", at, want)
		}
		rest = rest[1:]
		if o.Commit {
			l.Objects = append(l.Objects, Object{Path: o.Path})
			continue
		}
		for len(rest) > 0 && (rest[0] == '1' || rest[0] == '4') { // a mode
			e, after, err := parseListed(rest)
			if err != nil {
				return nil, fmt.Errorf("the list's object %d: %w", at, err)
			}
			if rest = after; e.parent() {
				e.Child = len(l.Objects)
				l.Objects = append(l.Objects, Object{Commit: e.Mode == modeModule, Path: join(o.Path, e.Name)})
			}
			if len(o.Path)+len(e.Name) >= maxTreePath {
				return nil, fmt.Errorf("the list's object %d has a path of more than %d bytes", at, maxTreePath)
			}
			if e.parent() {
				if paths += len(o.Path) + len(e.Name); paths > maxPaths {
					return nil, fmt.Errorf("the paths of the list's directories take more than %d bytes", maxPaths)
				}
			}
			o.Entries = append(o.Entries, e)
		}
		if err := checkListed(o.Entries); err != nil {
			return nil, fmt.Errorf("the list's object %d: %w", at, err)
		}
		l.Objects[at].Entries = o.Entries
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes follow the list's last object", len(rest))
	}
	l.encode()
	if !bytes.Equal(l.Bytes, b) {
		return nil, errors.New("the list is not in its one encoding")
	}
	l.Digest = sha256.Sum256(l.Bytes)
	return l, nil
}

func parseListed(b []byte) (e Entry, rest []byte, err error) {
	head, rest, ok := bytes.Cut(b, []byte{0})
	mode, name, split := bytes.Cut(head, []byte{' '})
	e.Mode, e.Name = string(mode), string(name)
	switch {
	case !ok || !split:
		return e, nil, errors.New("it ends within an entry")
	case !slices.Contains([]string{modeFile, modeExec, modeLink, modeDir, modeModule}, e.Mode):
		return e, nil, fmt.Errorf("%q has the mode %q, which no list holds", e.Name, e.Mode)
	case e.Name == "" || e.Name == "." || e.Name == ".." || strings.Contains(e.Name, "/"):
		return e, nil, fmt.Errorf("%q is no component of a path", e.Name)
	case e.parent():
		return e, rest, nil
	case len(rest) < len(e.Blob):
		return e, nil, fmt.Errorf("it ends within the id of %q", e.Name)
	}
	copy(e.Blob[:], rest)
	return e, rest[len(e.Blob):], nil
}

// checkListed checks that entries are in git's order, and that no name is there twice.
func checkListed(entries []Entry) error {
	seen := make(map[string]bool, len(entries))
	for i, e := range entries {
		if seen[e.Name] {
			return fmt.Errorf("it holds the name %q twice", e.Name)
		}
		if seen[e.Name] = true; i > 0 && entries[i-1].sortKey() >= e.sortKey() {
			return fmt.Errorf("%q does not come after %q, as in git's order", e.Name, entries[i-1].Name)
		}
	}
	return nil
}
