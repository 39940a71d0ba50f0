package opening

import (
	"crypto/sha1"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/forge"
)

// repo is a repository of one commit: what it holds, by path.
type repo struct {
	files   map[string]file     // the content of a submodule is the id of its commit
	objects map[[20]byte][]byte // commits and trees
	edit    func(dir string, entries []treeEntry) []treeEntry
	message string
}

type file struct{ mode, content string }

type treeEntry struct {
	mode, name string
	id         [20]byte
}

func (r *repo) put(kind string, content []byte) [20]byte {
	o := fmt.Appendf(nil, "%s %d\x00%s", kind, len(content), content)
	id := sha1.Sum(o)
	if r.objects == nil {
		r.objects = map[[20]byte][]byte{}
	}
	r.objects[id] = o
	return id
}

func (f file) id() [20]byte {
	if f.mode == "160000" {
		return [20]byte([]byte(f.content))
	}
	return blob(f.content)
}

func blob(content string) [20]byte {
	return sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content))
}

// tree writes the tree of a directory, "" or with a slash at the end.
func (r *repo) tree(dir string) [20]byte {
	by := map[string]treeEntry{}
	for path, f := range r.files {
		below, ok := strings.CutPrefix(path, dir)
		if !ok {
			continue
		}
		if name, _, isDir := strings.Cut(below, "/"); isDir {
			by[name+"/"] = treeEntry{"40000", name, [20]byte{}}
		} else {
			by[below] = treeEntry{f.mode, below, f.id()}
		}
	}
	var entries []treeEntry
	for _, key := range slices.Sorted(maps.Keys(by)) {
		e := by[key]
		if e.mode == "40000" {
			e.id = r.tree(dir + key)
		}
		entries = append(entries, e)
	}
	if r.edit != nil {
		entries = r.edit(dir, entries)
	}
	var content []byte
	for _, e := range entries {
		content = append(fmt.Appendf(content, "%s %s\x00", e.mode, e.name), e.id[:]...)
	}
	return r.put("tree", content)
}

func (r *repo) commit() [20]byte {
	tree := r.tree("")
	return r.put("commit", fmt.Appendf(nil, "tree %x\nauthor A <a@example.org> 1700000000 +0000\n"+
		"committer A <a@example.org> 1700000000 +0000\n\n%s\n", tree, r.message))
}

// world is a package, its repository, and a claim about them.
type world struct {
	t     testing.TB
	repo  *repo
	crate *crate.Crate
	claim *entry.Source
	list  *crate.List
}

// newWorld packs the files of the repository below a path, but for those that are left out, and
// commits the repository after edit has changed it.
func newWorld(t testing.TB, path string, leaveOut []string, claim entry.Source, edit func(*repo)) *world {
	t.Helper()
	manifest := forge.Manifest("x", "1.0.0").Content
	r := &repo{files: map[string]file{}, message: "A commit"}
	for name, content := range map[string]string{"Cargo.toml": manifest, "src/lib.rs": "pub fn f() {}\n",
		"src/deep/er/mod.rs": "// deep\n", "tests/data": "data\n", ".gitignore": "target\n"} {
		r.files[join(path, name)] = file{"100644", content}
	}
	r.files["README"] = file{"100644", "of the repository\n"}
	var packed []forge.File
	for at, f := range r.files {
		name, inside := strings.CutPrefix(at, path+"/")
		if path == "" {
			name, inside = at, true
		}
		if inside && !slices.Contains(leaveOut, name) {
			packed = append(packed, forge.File{Path: name, Content: f.content})
		}
	}
	if slices.Contains(claim.Unproven, "Cargo.lock") {
		packed = append(packed, forge.File{Path: "Cargo.lock", Content: packagedLock})
	}
	sort.Slice(packed, func(i, j int) bool { return packed[i].Path < packed[j].Path })
	raw, err := forge.Pack("x", "1.0.0", packed...)
	fatalIf(t, err)
	c, err := crate.Read(raw, "x", "1.0.0", crate.DefaultLimits)
	fatalIf(t, err)
	if edit != nil {
		edit(r)
	}
	w := &world{t: t, repo: r, crate: c, claim: &claim}
	w.claim.Path = path
	w.recommit()
	return w
}

const (
	packagedLock = "version = 4\n\n[[package]]\nname = \"x\"\nversion = \"1.0.0\"\n"
	commitsLock  = "# of the workspace\n" + packagedLock + "\n[[package]]\nname = \"y\"\nversion = \"1.0.0\"\n"
)

// newLockWorld is a world whose crate has a Cargo.lock that follows from the one at the repository's root.
func newLockWorld(t testing.TB, edit func(*repo)) *world {
	t.Helper()
	claim := entry.Source{Unproven: []string{"Cargo.lock"}, Lock: &entry.Lock{Blob: blob(commitsLock)}}
	return newWorld(t, "crates/x", []string{"tests/data"}, claim, func(r *repo) {
		r.files["Cargo.lock"] = file{"100644", commitsLock}
		if edit != nil {
			edit(r)
		}
	})
}

// recommit makes the claim one about the repository as it is now.
func (w *world) recommit() {
	w.t.Helper()
	w.claim.Commit = w.repo.commit()
	var err error
	w.list, err = w.crate.List(w.claim)
	fatalIf(w.t, err)
	w.claim.Files = w.list.Digest
}

// objects are those of the list, as far as the repository has them.
func (w *world) objects() (all [][]byte) {
	ids := [][20]byte{w.claim.Commit}
	for i, o := range w.list.Objects {
		if i >= len(ids) {
			break
		}
		raw := w.repo.objects[ids[i]]
		if raw == nil {
			return all
		}
		all = append(all, raw)
		_, content, _ := strings.Cut(string(raw), "\x00")
		if o.Commit {
			var id []byte
			if n, err := fmt.Sscanf(content, "tree %x", &id); n != 1 || err != nil || len(id) != 20 {
				return all
			}
			ids = append(ids, [20]byte(id))
			continue
		}
		for _, e := range o.Entries {
			if e.Child == 0 {
				continue
			}
			head := e.Mode + " " + e.Name + "\x00"
			if at := strings.Index(content, head); at >= 0 {
				ids = append(ids, [20]byte([]byte(content[at+len(head):at+len(head)+20])))
			}
		}
	}
	return all
}

// withLock are those and the Cargo.lock, if the claim names one.
func (w *world) withLock() [][]byte {
	all := w.objects()
	if w.claim.Lock != nil {
		lock := w.repo.files["Cargo.lock"].content
		all = append(all, fmt.Appendf(nil, "blob %d\x00%s", len(lock), lock))
	}
	return all
}

func (w *world) opening() []byte {
	w.t.Helper()
	raw, err := Make(w.withLock(), w.claim, w.list)
	fatalIf(w.t, err)
	return raw
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
