package opening

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/gitobject"
	"cratelog/prover/git"
)

func TestOpeningOfATrueClaimIsAccepted(t *testing.T) {
	leave := []string{"tests/data", ".gitignore"}
	for _, path := range []string{"", "crates/x"} {
		w := newWorld(t, path, leave, entry.Source{}, nil)
		o, err := Check(w.opening(), w.claim, w.list)
		fatalIf(t, err)
		want := []string{".gitignore", "tests/"}
		if !slices.Equal(o.LeftOut, want) {
			t.Errorf("at %q, left out are %q, want %q", path, o.LeftOut, want)
		}
		if !bytes.HasPrefix(o.Commit, []byte("tree ")) || !bytes.HasSuffix(o.Commit, []byte("A commit\n")) {
			t.Errorf("the commit reads %q", o.Commit)
		}
		if o.Name != Name(w.opening()) {
			t.Error("the opening's name is not its hash")
		}
	}
}

// TestOpeningOfARealRepository: what git itself wrote.
func TestOpeningOfARealRepository(t *testing.T) {
	repo, err := git.Open(t.Context(), fixture.Repo(t))
	fatalIf(t, err)
	defer repo.Close()
	for _, name := range []string{"hello-proof", "hello-inner"} {
		c, err := crate.Read(fixture.Crate(t, name, "0.1.0"), name, "0.1.0", crate.DefaultLimits)
		fatalIf(t, err)
		info, err := c.VCSInfo()
		fatalIf(t, err)
		claim := &entry.Source{Commit: info.Commit, Path: info.Path}
		list, err := c.List(claim)
		fatalIf(t, err)
		top, err := repo.At(t.Context(), claim.Commit)
		fatalIf(t, err)
		var objects [][]byte
		for _, o := range list.Objects {
			object := top.Commit.Object
			if !o.Commit {
				tree, err := top.Tree(t.Context(), o.Path)
				fatalIf(t, err)
				object = tree.Object
			}
			objects = append(objects, object.Encode())
		}
		claim.Files = list.Digest
		if _, err := Make(objects, claim, list); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLinksAndSubmodulesAreOpened: a link on the way is an entry, and a submodule's commit an object.
func TestLinksAndSubmodulesAreOpened(t *testing.T) {
	sub := &repo{files: map[string]file{"mod.rs": {"100644", "// deep\n"}, "more": {"100644", "x"}}, message: "sub"}
	subCommit := sub.commit()
	w := newWorld(t, "crates/x", nil, entry.Source{
		Submodules: []string{"crates/x/src/deep/er"},
		Links:      []entry.Link{{Path: "crates/x/tests", Target: "../../data"}},
	}, func(r *repo) {
		delete(r.files, "crates/x/src/deep/er/mod.rs")
		delete(r.files, "crates/x/tests/data")
		r.files["crates/x/src/deep/er"] = file{"160000", string(subCommit[:])}
		r.files["crates/x/tests"] = file{"120000", "../../data"}
		r.files["data/data"] = file{"100644", "data\n"}
		r.objects = sub.objects
	})
	o, err := Check(w.opening(), w.claim, w.list)
	fatalIf(t, err)
	if want := []string{"src/deep/er/more"}; !slices.Equal(o.LeftOut, want) {
		t.Errorf("left out are %q, want %q", o.LeftOut, want)
	}
}

// TestFalseClaimsAreContradicted: no opening of a false claim passes, and the true objects of its
// commit show that it is false, in their shortest form.
func TestFalseClaimsAreContradicted(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*repo)
		want string
	}{
		"another content": {func(r *repo) { r.files["src/lib.rs"] = file{"100644", "evil\n"} }, "is the blob"},
		"another mode":    {func(r *repo) { r.files["src/lib.rs"] = file{"100755", "pub fn f() {}\n"} }, "has the mode 100755"},
		"a link":          {func(r *repo) { r.files["src/lib.rs"] = file{"120000", "pub fn f() {}\n"} }, "has the mode 120000"},
		"no file":         {func(r *repo) { delete(r.files, "src/lib.rs") }, "has no src/lib.rs"},
		"no directory": {func(r *repo) { delete(r.files, "src/deep/er/mod.rs") },
			"has no src/deep"},
		"a file for a directory": {func(r *repo) {
			delete(r.files, "src/deep/er/mod.rs")
			r.files["src/deep"] = file{"100644", "x"}
		}, "has the mode 100644"},
		"a submodule for a directory": {func(r *repo) {
			delete(r.files, "src/deep/er/mod.rs")
			r.files["src/deep"] = file{"160000", strings.Repeat("c", 20)}
		}, "has the mode 160000"},
	} {
		w := newWorld(t, "", nil, entry.Source{}, c.edit)
		objects := w.objects()
		if _, err := Make(objects, w.claim, w.list); !errors.Is(err, ErrContradiction) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a contradiction with %q", name, err, c.want)
			continue
		}
		_, err := Check(bytes.Join(objects, nil), w.claim, w.list)
		var x *Contradiction
		if !errors.As(err, &x) {
			t.Fatalf("%s: no *Contradiction: %v", name, err)
		}
		_, again := Check(x.Objects, w.claim, w.list)
		if again == nil || again.Error() != err.Error() {
			t.Errorf("%s: the objects that show it say %v, not %v", name, again, err)
		}
		parsed, err := Parse(x.Objects)
		fatalIf(t, err)
		last := len(parsed[len(parsed)-1].Encode())
		if _, err := Check(x.Objects[:len(x.Objects)-last], w.claim, w.list); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: without its last object: %v, want ErrMalformed", name, err)
		}
		list, err := crate.ParseList(w.list.Bytes)
		fatalIf(t, err)
		if _, err := Check(x.Objects, w.claim, list); !errors.Is(err, ErrContradiction) {
			t.Errorf("%s: with the list parsed from its bytes: %v", name, err)
		}
	}
}

// TestATreeForACommitIsAContradiction: the claim names the id of a tree as its commit.
func TestATreeForACommitIsAContradiction(t *testing.T) {
	w := newWorld(t, "", nil, entry.Source{}, nil)
	tree := w.objects()[1]
	w.claim.Commit, _ = object(t, tree).ID()
	_, err := Check(tree, w.claim, w.list)
	if !errors.Is(err, ErrContradiction) {
		t.Errorf("%v, want a contradiction", err)
	}
}

func object(t testing.TB, raw []byte) gitobject.Object {
	t.Helper()
	o, err := Parse(raw)
	fatalIf(t, err)
	return o[0]
}

// TestTreesThatGitRefusesGiveNoVerdict: a true proof may be about an entry of such a tree that
// another reader does not see, so the opening must not accuse anybody.
func TestTreesThatGitRefusesGiveNoVerdict(t *testing.T) {
	evil := treeEntry{"100644", "lib.rs", blob("evil\n")}
	for name, edit := range map[string]func([]treeEntry) []treeEntry{
		"a name twice":        func(e []treeEntry) []treeEntry { return append(e, evil) },
		"a name twice, first": func(e []treeEntry) []treeEntry { return append([]treeEntry{evil}, e...) },
		"file and directory": func(e []treeEntry) []treeEntry {
			return append(e, treeEntry{"40000", "lib.rs", blob("")})
		},
		"unsorted":    func(e []treeEntry) []treeEntry { slices.Reverse(e); return e },
		"padded mode": func(e []treeEntry) []treeEntry { e[0].mode = "0" + e[0].mode; return e },
		"odd mode":    func(e []treeEntry) []treeEntry { e[1].mode = "100"; return e },
		"no name":     func(e []treeEntry) []treeEntry { return append([]treeEntry{{"100644", "", blob("")}}, e...) },
		"dot":         func(e []treeEntry) []treeEntry { return append([]treeEntry{{"40000", ".", blob("")}}, e...) },
		"dot dot":     func(e []treeEntry) []treeEntry { return append([]treeEntry{{"40000", "..", blob("")}}, e...) },
		"dot git":     func(e []treeEntry) []treeEntry { return append([]treeEntry{{"40000", ".GIT", blob("")}}, e...) },
		"zeros":       func(e []treeEntry) []treeEntry { return append([]treeEntry{{"100644", "a", [20]byte{}}}, e...) },
	} {
		w := newWorld(t, "", nil, entry.Source{}, func(r *repo) {
			r.edit = func(dir string, entries []treeEntry) []treeEntry {
				if dir == "src/" {
					return edit(entries)
				}
				return entries
			}
		})
		if _, err := Check(bytes.Join(w.objects(), nil), w.claim, w.list); !errors.Is(err, ErrNoVerdict) ||
			errors.Is(err, ErrContradiction) {
			t.Errorf("%s: %v, want ErrNoVerdict", name, err)
		}
	}
}

// TestCommitsThatGitRefusesGiveNoVerdict: with digits that another reader takes for the same id.
func TestCommitsThatGitRefusesGiveNoVerdict(t *testing.T) {
	w := newWorld(t, "", nil, entry.Source{}, nil)
	objects := w.objects()
	o := object(t, objects[0])
	for i, c := range o.Content {
		if i < 45 && c >= 'a' && c <= 'f' {
			o.Content[i] = c - 'a' + 'A'
		}
	}
	objects[0] = o.Encode()
	w.claim.Commit, _ = o.ID()
	if _, err := Check(bytes.Join(objects, nil), w.claim, w.list); !errors.Is(err, ErrNoVerdict) {
		t.Errorf("%v, want ErrNoVerdict", err)
	}
}

// TestEveryByteOfAnOpeningCounts: no byte can be changed, left out or added.
func TestEveryByteOfAnOpeningCounts(t *testing.T) {
	everyByteCounts(t, newWorld(t, "crates/x", []string{"tests/data"}, entry.Source{}, nil))
	everyByteCounts(t, newLockWorld(t, nil))
}

func everyByteCounts(t *testing.T, w *world) {
	t.Helper()
	raw := w.opening()
	malformed := func(what string, b []byte) {
		t.Helper()
		if _, err := Check(b, w.claim, w.list); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%s: %v, want ErrMalformed", what, err)
		}
	}
	for i := range raw {
		for _, bit := range []byte{1, 0x20, 0x80} {
			b := bytes.Clone(raw)
			b[i] ^= bit
			malformed(fmt.Sprintf("byte %d xor %#x", i, bit), b)
		}
		malformed(fmt.Sprintf("cut at %d", i), raw[:i])
		malformed(fmt.Sprintf("without byte %d", i), append(bytes.Clone(raw[:i]), raw[i+1:]...))
	}
	objects := w.withLock()
	for i, o := range objects {
		malformed(fmt.Sprintf("object %d twice", i), bytes.Join(slices.Insert(slices.Clone(objects), i, o), nil))
		if i > 0 {
			swapped := slices.Clone(objects)
			swapped[i], swapped[i-1] = swapped[i-1], swapped[i]
			malformed(fmt.Sprintf("objects %d and %d exchanged", i-1, i), bytes.Join(swapped, nil))
		}
	}
	malformed("an object more", append(bytes.Clone(raw), "tree 0\x00"...))
	malformed("a byte more", append(bytes.Clone(raw), 0))
	malformed("nothing", nil)
}

func TestOpeningOfAnotherClaimIsRefused(t *testing.T) {
	w := newWorld(t, "", nil, entry.Source{}, nil)
	raw := w.opening()
	other := newWorld(t, "", nil, entry.Source{}, func(r *repo) { r.message = "Another commit" })
	if _, err := Check(raw, other.claim, other.list); !errors.Is(err, ErrMalformed) {
		t.Errorf("the same files in another commit: %v, want ErrMalformed", err)
	}
	fewer := newWorld(t, "", []string{"tests/data"}, entry.Source{}, nil)
	if _, err := Check(raw, w.claim, fewer.list); !errors.Is(err, ErrMalformed) {
		t.Errorf("the list of another .crate: %v, want ErrMalformed", err)
	}
}

func TestHeadersThatGitDoesNotWriteAreMalformed(t *testing.T) {
	for _, raw := range []string{
		"tree", "tree 0", "tree  0\x00", "tree 00\x00", "tree 01\x00x", "tree +1\x00x", "tree -0\x00", "tree 0x1\x00x", "Tree 0\x00",
		"blob 0\x00blob 0\x00", "blob 0\x00tree 0\x00", "Blob 0\x00", "tag 0\x00", " 0\x00", "\x00", "tree \x00", "tree 1\x00", "tree 4294967296\x00", "tree 18446744073709551616\x00",
		"commit 4194305\x00", "tree 0 \x00", "tree 0\x00tree",
	} {
		if o, err := Parse([]byte(raw)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q reads as %+v, %v", raw, o, err)
		}
	}
}

func TestOpeningsAreBounded(t *testing.T) {
	w := newWorld(t, "", nil, entry.Source{}, func(r *repo) { r.message = strings.Repeat("long ", MaxSize/5) })
	for what, err := range map[string]error{
		"Make":  func() error { _, err := Make(w.objects(), w.claim, w.list); return err }(),
		"Check": func() error { _, err := Check(bytes.Join(w.objects(), nil), w.claim, w.list); return err }(),
	} {
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), fmt.Sprint(MaxSize)) {
			t.Errorf("%s of more than %d bytes: %v", what, MaxSize, err)
		}
	}
}

func TestListsAreParsedStrictly(t *testing.T) {
	for _, path := range []string{"", "crates/x"} {
		w := newWorld(t, path, nil, entry.Source{}, nil)
		l, err := crate.ParseList(w.list.Bytes)
		fatalIf(t, err)
		if fmt.Sprint(l) != fmt.Sprint(w.list) {
			t.Errorf("at %q, the list parses as\n%v, want\n%v", path, l, w.list)
		}
	}
	file := func(name string) string { return "100644 " + name + "\x00" + strings.Repeat("i", 20) }
	for name, list := range map[string]string{
		"empty": "", "no tree": "c", "a tree first": "tc", "bytes after": "ctx", "a tree more": "ctt",
		"an odd mode": "ct100664 a\x00" + strings.Repeat("i", 20), "a padded mode": "ct040000 a\x00t",
		"a short id": "ct100644 a\x00ii", "no NUL": "ct100644 a", "no name": "ct" + file(""), "a slash": "ct" + file("a/b"),
		"twice": "ct" + file("a") + file("a"), "unsorted": "ct" + file("b") + file("a"), "dot dot": "ct" + file(".."),
		"file and directory": "ct" + file("a") + file("a.b") + "40000 a\x00t", "no child": "ct40000 a\x00",
		"a commit for a tree": "ct40000 a\x00ct", "a tree for a commit": "ct160000 a\x00t",
		"too deep": "c" + strings.Repeat("t40000 "+strings.Repeat("d", 99)+"\x00", 50) + "t",
	} {
		if l, err := crate.ParseList([]byte(list)); err == nil {
			t.Errorf("%s: accepted as %+v", name, l)
		}
	}
}

// TestRandomEditsNeverPassNorPanic mangles openings in many ways at once.
func TestRandomEditsNeverPassNorPanic(t *testing.T) {
	w := newWorld(t, "crates/x", nil, entry.Source{}, nil)
	raw := w.opening()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		b := bytes.Clone(raw)
		for range 1 + rnd.IntN(4) {
			i, j := rnd.IntN(len(b)), rnd.IntN(len(b))
			switch rnd.IntN(3) {
			case 0:
				b[i] = byte(rnd.UintN(256))
			case 1:
				b = append(b[:min(i, j)], b[max(i, j):]...)
				b = append(b, raw[:1+rnd.IntN(9)]...)
			case 2:
				copy(b[i:], b[j:])
			}
		}
		if _, err := Check(b, w.claim, w.list); !bytes.Equal(b, raw) && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%q: %v", b, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	w := newWorld(f, "", nil, entry.Source{}, nil)
	opening := w.opening()
	f.Add(opening)
	f.Add([]byte("tree 0\x00commit 3\x00abc"))
	f.Add(newLockWorld(f, nil).opening())
	f.Fuzz(func(t *testing.T, raw []byte) {
		objects, err := Parse(raw)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		var again []byte
		for _, o := range objects {
			again = append(again, o.Encode()...)
		}
		if !bytes.Equal(again, raw) {
			t.Errorf("%q is %q again", raw, again)
		}
		if _, err := Check(raw, w.claim, w.list); err == nil && !bytes.Equal(raw, opening) {
			t.Errorf("%q is accepted as the opening", raw)
		}
	})
}

func FuzzParseList(f *testing.F) {
	w := newWorld(f, "crates/x", nil, entry.Source{}, nil)
	f.Add(w.list.Bytes)
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := crate.ParseList(b); err == nil && !bytes.Equal(l.Bytes, b) {
			t.Errorf("%q is %q again", b, l.Bytes)
		}
	})
}
