package crate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cratelog/entry"
	"cratelog/internal/gitobject"
)

// A tree is the part of a repository that the proven files of a crate need.
type tree struct {
	repo    Repository
	root    *node
	links   map[string]string // texts of the links that lead to the files
	modules map[string]bool   // submodules that hold them
}

// node is a listed entry, or the root.
type node struct {
	Entry
	path   string // of directories and submodules, in the repository
	below  []*node
	byName map[string]*node // of below, once they are many
}

// few is how many entries are searched one by one: most directories of a deep path have one.
const few = 8

// entry returns an entry of a directory, nil if it has none of that name.
func (n *node) entry(name string) *node {
	if n.byName != nil {
		return n.byName[name]
	}
	for _, e := range n.below {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// append adds an entry whose name is free.
func (n *node) append(e *node) {
	n.below = append(n.below, e)
	switch {
	case n.byName != nil:
		n.byName[e.Name] = e
	case len(n.below) > few:
		n.byName = make(map[string]*node, 2*few)
		for _, e := range n.below {
			n.byName[e.Name] = e
		}
	}
}

// tree puts the proven files into a tree, and notes the links that lead to them.
func (l *Layout) tree() (*tree, error) {
	t := &tree{l.repo, &node{Entry: Entry{Mode: modeDir}}, map[string]string{}, map[string]bool{}}
	texts, err := l.texts()
	if err != nil {
		return nil, err
	}
	var crlf []string // where they stand
	for p, err := range l.Files() {
		if err != nil {
			return nil, err
		}
		blob := p.File.Blob
		if text, ok := texts[p.Name]; ok {
			blob, crlf = text, append(crlf, p.At)
		}
		mode := modeFile
		if p.File.Exec || slices.Contains(l.claim.Executable, p.Name) {
			mode = modeExec // as it is in the commit; the content is the same
		}
		if err := t.add(p, Entry{Mode: mode, Blob: blob}); err != nil {
			return nil, err
		}
	}
	if err := l.addAttributes(t, crlf); err != nil {
		return nil, err
	}
	if w := l.claim.Workspace; w != nil {
		p := Place{Path: join(w.Path, manifestFile)}
		if err := l.follow(&p); err != nil {
			return nil, err
		}
		if err := t.addBlob(p, modeFile, w.Manifest); err != nil {
			return nil, err
		}
	}
	if l.claim.Lock != nil {
		if err := l.addLock(t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Complete writes into the claim the links and submodules of the repository that its
// files need.
func (l *Layout) Complete() error {
	t, err := l.tree()
	if err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(t.links)) {
		link := entry.Link{Path: path, Target: t.links[path]}
		l.claim.Links = append(l.claim.Links, link)
		if err := t.addLink(link); err != nil {
			return err
		}
	}
	l.claim.Submodules = slices.Sorted(maps.Keys(t.modules))
	return nil
}

// place returns the tree of a claim, and refuses one that lists what no file needs.
func (c *Crate) place(src *entry.Source) (*node, error) {
	t, err := c.Layout(src, newClaimed(src)).tree()
	if err != nil {
		return nil, err
	}
	for _, l := range src.Links {
		if _, ok := t.links[l.Path]; !ok {
			return nil, &PlaceError{l.Path, "is a link that no file of the crate needs"}
		}
		if err := t.addLink(l); err != nil {
			return nil, err
		}
	}
	for _, m := range src.Submodules {
		if !t.modules[m] {
			return nil, &PlaceError{m, "is a submodule that holds no file of the crate"}
		}
	}
	proven := maps.Collect(c.standing(src))
	for _, f := range src.Outside {
		if _, ok := proven[f]; !ok {
			return nil, &PlaceError{f, "is said to be from outside of the package, but is not a proven file of the crate"}
		}
	}
	return t.root, nil
}

// maxSteps is how many components the paths of one claim may have in all, counted
// again behind every link, and the paths of a .crate. The largest packages need a tenth of it;
// a hostile claim could otherwise send each of many files through many long links.
const maxSteps = 1 << 18

// claimed is the repository as a claim describes it.
type claimed struct {
	links   map[string]string
	modules []string
	steps   int
}

func newClaimed(src *entry.Source) *claimed {
	r := &claimed{links: map[string]string{}, modules: src.Submodules}
	for _, l := range src.Links {
		r.links[l.Path] = l.Target
	}
	return r
}

func (r *claimed) Link(path string) (string, bool, error) {
	text, ok := r.links[path]
	r.steps++
	for name := range strings.SplitSeq(text, "/") {
		if ok && (name == "" || name == "." || name == "..") { // the others come here themselves
			r.steps++
		}
	}
	if r.steps > maxSteps {
		return "", false, &PlaceError{path, fmt.Sprintf("is one step too many: "+
			"the paths of a claim may have %d components in all, counted again behind every link", maxSteps)}
	}
	return text, ok, nil
}

func (r *claimed) Submodule(path string) bool { return slices.Contains(r.modules, path) }

func (t *tree) addLink(l entry.Link) error {
	return t.addBlob(Place{At: l.Path}, modeLink, []byte(l.Target))
}

func (t *tree) addBlob(p Place, mode string, content []byte) error {
	id, err := gitobject.Object{Type: gitobject.TypeBlob, Content: content}.ID()
	if err != nil {
		return &CollisionError{p.At}
	}
	return t.add(p, Entry{Mode: mode, Blob: id})
}

// add puts a leaf at its place, with the directories on its way. Two files of a crate
// may come from one place, if they are equal.
func (t *tree) add(p Place, leaf Entry) error {
	for _, l := range p.Links {
		t.links[l.Path] = l.Target
	}
	d := t.root
	for from, at := 0, 0; ; from = at + 1 {
		slash := strings.IndexByte(p.At[from:], '/')
		if slash < 0 {
			leaf.Name = p.At[from:]
			return d.addLeaf(p.At, leaf)
		}
		at = from + slash
		name, walked := p.At[from:at], p.At[:at]
		next := d.entry(name)
		if next == nil {
			next = &node{Entry: Entry{Mode: modeDir, Name: name}, path: walked}
			if t.repo.Submodule(walked) {
				next.Mode, t.modules[walked] = modeModule, true
			}
			d.append(next)
		}
		if !next.parent() {
			return &PlaceError{walked, "would have to be a directory and a file at once"}
		}
		d = next
	}
}

func (n *node) addLeaf(at string, leaf Entry) error {
	switch old := n.entry(leaf.Name); {
	case old == nil:
		n.append(&node{Entry: leaf})
	case old.parent():
		return &PlaceError{at, "would have to be a directory and a file at once"}
	case old.Mode != leaf.Mode || old.Blob != leaf.Blob:
		return &PlaceError{at, "would have to be two different files: " +
			"files of the crate that come from one place must be equal"}
	}
	return nil
}
