package circuit

import (
	"crypto/sha1"
	"fmt"
	"sort"
	"strings"
)

// node is a directory of a test repository.
type node map[string]any // string: file content; node: directory; commitNode: submodule

type commitNode struct{ root node }

// repo builds git objects and the list for a repository in which every path of
// want is listed. It is the slow, obvious version of what git, crate and prover do.
type repo struct {
	objects []Object
	list    []byte
	commit  [20]byte
}

func id(data []byte) [20]byte { return sha1.Sum(data) }

func encode(kind string, content []byte) []byte {
	return append([]byte(fmt.Sprintf("%s %d\x00", kind, len(content))), content...)
}

func commitObject(root [20]byte, text string) []byte {
	const who = "A <a@b> 1700000000 +0000"
	return encode("commit", fmt.Appendf(nil, "tree %x\nauthor %s\ncommitter %s\n\n%s\n", root, who, who, text))
}

type entry struct {
	name, mode string
	id         [20]byte
	child      any
}

func entriesOf(n node) []entry {
	var es []entry
	for name, v := range n {
		e := entry{name: name}
		switch v := v.(type) {
		case string:
			e.mode, e.id = "100644", id(encode("blob", []byte(v)))
			if strings.HasPrefix(v, "#!") {
				e.mode = "100755"
			}
		case node:
			e.mode, e.id, e.child = "40000", id(treeObject(v)), v
		case commitNode:
			e.mode, e.id, e.child = "160000", id(commitObject(id(treeObject(v.root)), "sub")), v
		}
		es = append(es, e)
	}
	key := func(e entry) string {
		if e.mode == "40000" {
			return e.name + "/"
		}
		return e.name
	}
	sort.Slice(es, func(i, j int) bool { return key(es[i]) < key(es[j]) })
	return es
}

func treeObject(n node) []byte {
	var b []byte
	for _, e := range entriesOf(n) {
		b = append(b, e.mode+" "+e.name+"\x00"...)
		b = append(b, e.id[:]...)
	}
	return encode("tree", b)
}

// build lists every entry whose name does not start with '.'.
func build(root node, text string) repo {
	r := repo{}
	top := commitObject(id(treeObject(root)), text)
	r.commit = id(top)
	type item struct {
		data []byte
		tree node // nil for a commit
		root node // of a commit
	}
	queue := []item{{data: top, root: root}}
	for len(queue) > 0 {
		it := queue[0]
		queue = queue[1:]
		o := Object{Data: it.data, Listed: map[string]bool{}}
		if it.tree == nil {
			r.list = append(r.list, 'c')
			queue = append(queue, item{data: treeObject(it.root), tree: it.root})
		} else {
			r.list = append(r.list, 't')
			for _, e := range entriesOf(it.tree) {
				if strings.HasPrefix(e.name, ".") {
					continue
				}
				o.Listed[e.name] = true
				r.list = append(r.list, e.mode+" "+e.name+"\x00"...)
				switch c := e.child.(type) {
				case nil:
					r.list = append(r.list, e.id[:]...)
				case node:
					queue = append(queue, item{data: treeObject(c), tree: c})
				case commitNode:
					queue = append(queue, item{data: commitObject(id(treeObject(c.root)), "sub"), root: c.root})
				}
			}
		}
		r.objects = append(r.objects, o)
	}
	return r
}

func example() repo {
	return build(node{
		"Cargo.toml": "x",
		"src":        node{"lib.rs": "y", "main.rs": "#!z"},
		".github":    node{"ci": "z"},
		".hidden":    "q",
	}, "hello")
}

// manyTrees has trees of more than one block, a submodule, and entries that are not listed.
func manyTrees() repo {
	n := node{"Cargo.toml": "x", ".github": node{"ci": "z"}, ".hidden": "q"}
	for i := range 4 {
		d := node{}
		for k := range 4 {
			d[fmt.Sprintf("file%d.rs", k)] = fmt.Sprint(i, k)
			d[fmt.Sprintf(".no%d.rs", k)] = fmt.Sprint(i, k)
		}
		n[fmt.Sprintf("dir%d", i)] = d
	}
	n["dep"] = commitNode{node{"f": "1", "g": node{"h": "2"}}}
	return build(n, strings.Repeat("long message ", 9))
}
