package verdict

import (
	"context"
	"crypto/ed25519"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/build"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

const target = "x86_64-unknown-linux-gnu"

// workshop is a log with builders: the crate app 1.0.0, which has a lock file and compiles dep-a and dep-b
// 1.0.0, all of them logged; and three of five members of the named set rebuilders, who made the same binary.
type workshop struct {
	t      testing.TB
	log    *fakeLog
	place  *place
	set    *build.Set
	crates map[[32]byte][]byte // .crates at hand, by SHA-256
	list   build.List
	binary [32]byte
	claim  entry.Build // without Root and Tag
	app    entry.Subject
	leaves []*entry.Entry

	commitLock []byte // the commit's Cargo.lock, if the crate's is derived
	opening    []byte // of the claim about app, likewise

	builds, sources []int64 // indexes of what the file holds
	checker         *Checker

	meanwhile func(path string) // is called before the log answers; see serve
}

func builder(name string) ed25519.PrivateKey { return testlog.Ed25519(name) }

func namedSet(t testing.TB, name string, n int) *build.Set {
	t.Helper()
	s := &build.Set{Kind: build.Named, Name: name}
	for i := range n {
		m := build.Member{Name: fmt.Sprintf("b%d", i), Contact: "x@example.com"}
		k, err := build.NewVKey(m.Name, builder(m.Name).Public())
		fatalIf(t, err)
		m.VKey = k.String()
		s.Members = append(s.Members, m)
	}
	return s
}

// options of a workshop that a test changes.
type options struct {
	proven  bool   // the lock file stands in the commit
	derived bool   // the lock file follows from one that does
	hostile bool   // the lock file names a dep-b that nobody has proven
	lock    string // instead of the lock file's text
	listed  func(build.List) build.List
}

func newWorkshop(t testing.TB, o options) *workshop {
	t.Helper()
	f, err := forger()
	fatalIf(t, err)
	w := &workshop{t: t, log: newLog(t, "log.example/builds"), set: namedSet(t, "rebuilders", 5),
		crates: map[[32]byte][]byte{}}
	lock := "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"1.0.0\"\ndependencies = [\n \"dep-a\",\n " +
		"\"dep-b\",\n]\n"
	for _, name := range []string{"dep-a", "dep-b"} {
		raw, e := forged(t, name, "1.0.0")
		if o.hostile && name == "dep-b" {
			raw, err = forge.Pack(name, "1.0.0", forge.Manifest(name, "1.0.0"), forge.File{Path: "src/lib.rs",
				Content: "hostile"})
			fatalIf(t, err)
		} else {
			w.leaves = append(w.leaves, e)
		}
		sum := sha256.Sum256(raw)
		w.crates[sum] = raw
		w.list = append(w.list, build.Crate{Registry: entry.DefaultRegistry, Name: name, Version: "1.0.0", SHA256: sum})
		lock += fmt.Sprintf("\n[[package]]\nname = %q\nversion = \"1.0.0\"\nsource = %q\nchecksum = \"%x\"\n", name,
			"registry+"+strings.TrimPrefix(defaultIndex, "registry+"), sum)
	}
	if o.lock != "" {
		lock = o.lock
	}
	raw, err := forge.Pack("app", "1.0.0", forge.Manifest("app", "1.0.0"), forge.File{Path: "Cargo.lock",
		Content: lock},
		forge.File{Path: "src/main.rs", Content: "fn main() {}\n"})
	fatalIf(t, err)
	src := &entry.Source{Commit: sha1.Sum([]byte("app")), Unproven: []string{"Cargo.lock"}}
	if o.proven {
		src.Unproven = nil
	}
	if o.derived {
		w.derive(src, lock)
	}
	e, err := forge.Claim(raw, "app", "1.0.0", src)
	fatalIf(t, err)
	list, err := forge.List(raw, e)
	fatalIf(t, err)
	fatalIf(t, f.Prove(e, list))
	w.app, w.crates[e.Subject.SHA256] = e.Subject, raw
	w.leaves = append(w.leaves, e)
	if o.listed != nil {
		w.list = o.listed(w.list)
	}
	w.binary = sha256.Sum256([]byte("the binary"))
	w.claim = entry.Build{Binary: "app", Target: target, Artifact: w.binary, Toolchain: [32]byte{1},
		Environment: [32]byte{2},
		Recipe:      entry.Recipe1, Lock: sha256.Sum256([]byte(lock)), Compiled: w.list.Digest()}
	for _, e := range w.leaves {
		w.sources = append(w.sources, w.add(e))
	}
	for i := range 3 {
		w.say(i, nil)
	}
	w.policy("need = 3\n")
	return w
}

// derive makes a commit whose Cargo.lock names a package more than the crate's, and has the claim name it.
func (w *workshop) derive(src *entry.Source, lock string) {
	object := func(kind, content string) (string, [20]byte) {
		o := fmt.Sprintf("%s %d\x00%s", kind, len(content), content)
		return o, sha1.Sum([]byte(o))
	}
	w.commitLock = fmt.Appendf(nil, "%s\n[[package]]\nname = \"more\"\nversion = \"1.0.0\"\nsource = %q\nchecksum "+
		"= \"%x\"\n", lock, defaultIndex, [32]byte{})
	blob, lockID := object("blob", string(w.commitLock))
	_, main := object("blob", "fn main() {}\n")
	_, manifest := object("blob", forge.Manifest("app", "1.0.0").Content)
	dir, dirID := object("tree", "100644 main.rs\x00"+string(main[:]))
	root, rootID := object("tree", "100644 Cargo.lock\x00"+string(lockID[:])+"100644 "+
		"Cargo.toml\x00"+string(manifest[:])+"40000 src\x00"+string(dirID[:]))
	commit, id := object("commit", fmt.Sprintf("tree %x\nauthor A <a@example.org> 1700000000 +0000\ncommitter A "+
		"<a@example.org> 1700000000 +0000\n\nA\n", rootID))
	src.Commit, src.Lock = id, &entry.Lock{Blob: lockID}
	w.opening = []byte(commit + root + dir + blob)
}

// defaultIndex is the source of cargo's default registry in a lock file.
const defaultIndex = "registry+https://github.com/rust-lang/crates" + ".io-index"

// add appends a leaf and returns its index.
func (w *workshop) add(e *entry.Entry) int64 {
	w.log.Tree.Append(testlog.Must(e.Marshal()))
	return w.log.Tree.Size() - 1
}

// say has a member of the set say something, the workshop's claim after a change, and puts it into the file.
func (w *workshop) say(member int, change func(*entry.Build)) *entry.Entry {
	w.t.Helper()
	e := w.sign(w.set, member, change)
	w.builds = append(w.builds, w.add(e))
	return e
}

// unsay leaves the first n builds in the log, which is another log then: its readers must be new, too.
func (w *workshop) unsay(n int) {
	if len(w.builds) > n {
		w.log.Tree, w.builds = w.log.Tree.Fork(w.builds[n]), w.builds[:n]
	}
}

func (w *workshop) sign(s *build.Set, member int, change func(*entry.Build)) *entry.Entry {
	w.t.Helper()
	claim := w.claim
	if change != nil {
		change(&claim)
	}
	m := s.Members[member]
	e, err := build.Sign(builder(m.Name), m.VKey, s, w.app, &claim)
	fatalIf(w.t, err)
	return e
}

// policy gives the reader's machine settings under [builds].
func (w *workshop) policy(lines string) { w.policyOf(w.set, "", lines) }

func (w *workshop) policyOf(s *build.Set, top, lines string) {
	w.t.Helper()
	text := testlog.Must(s.Marshal())
	for _, key := range []string{"toolchains", "environments"} {
		if !strings.Contains(lines, key) {
			id := map[string]byte{"toolchains": 1, "environments": 2}[key]
			lines += fmt.Sprintf("%s = [\"%x\"]\n", key, [32]byte{id})
		}
	}
	w.place = &place{t: w.t, dir: w.t.TempDir(), at: now}
	fatalIf(w.t, os.WriteFile(filepath.Join(w.place.dir, "b.set"), text, 0o600))
	w.place.settings(dev+top+fmt.Sprintf("[builds]\nset = \"b.set\"\ndigest = \"%x\"\n%s", s.Digest(), lines), w.log)
	w.checker = nil
}

// file joins what the file holds under one checkpoint.
func (w *workshop) file() *client.Joined {
	t := w.log.Tree
	t.Seal()
	j := &client.Joined{Checkpoint: w.log.Sign(t, t.Size(), w.log.Witnesses...), List: w.list.Marshal(), Lock: w.commitLock}
	bundle := func(i int64) *client.Bundle {
		return testlog.Must(client.ParseBundle(t.Bundle(i, t.Size(), j.Checkpoint)))
	}
	for _, i := range w.builds {
		b := bundle(i)
		j.Builds, j.Seal, j.Version = append(j.Builds, client.Part{Index: b.Index, Entry: b.Entry, Hashes: b.Hashes}), b.Seal, b.Version
	}
	for _, i := range w.sources {
		b := bundle(i)
		j.Sources = append(j.Sources, client.Part{Index: b.Index, Entry: b.Entry, Hashes: b.Hashes, Version: b.Version})
	}
	under := index.BinaryPrefix(w.app.SHA256, w.claim.Binary, w.claim.Target)
	_, j.Complete = t.Map(t.Size() - 1).Prefix(under)
	return j
}

// find is the reader's cache of .crates.
func (w *workshop) find(_ context.Context, c build.Crate) ([]byte, error) {
	return w.crates[c.SHA256], nil
}

// ask decides about the workshop's binary, offline.
func (w *workshop) ask() (*Built, error) { return w.decide(w.file(), w.binary, true) }

func (w *workshop) decide(j *client.Joined, sum [32]byte, offline bool) (*Built, error) {
	w.t.Helper()
	if w.checker == nil || w.checker.cfg.Offline != offline {
		w.checker = w.place.checker(offline)
	}
	b, err := w.checker.Build(w.t.Context(), Binary{SHA256: sum, Joined: testlog.Must(j.Marshal()), Crate: w.find,
		Package: policy.Package{Name: "app", Version: "1.0.0"}})
	if (b == nil) == (err == nil) {
		w.t.Fatalf("%+v and %v", b, err)
	}
	return b, err
}

// refuses checks that the workshop's binary is refused for a reason, in words.
func (w *workshop) refuses(s Status, slug string, words ...string) {
	w.t.Helper()
	_, err := w.ask()
	notBuilt(w.t, err, s, slug, words...)
}

func notBuilt(t testing.TB, err error, s Status, slug string, words ...string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Status != s || e.Reason != slug {
		t.Errorf("%+v: %v\nwant %v, %s", e, err, s, slug)
		return
	}
	for _, word := range words {
		if !strings.Contains(e.Error(), word) {
			t.Errorf("%v\nwant ... %s ...", e, word)
		}
	}
}

// says checks that the workshop's binary is accepted, and that it is said in words.
func (w *workshop) says(words ...string) *Built {
	w.t.Helper()
	b, err := w.ask()
	fatalIf(w.t, err)
	saysAll(w.t, b, words...)
	return b
}

func saysAll(t testing.TB, b *Built, words ...string) {
	t.Helper()
	all := strings.Join(slices.Concat(b.Says(), b.Notes), "\n")
	for _, word := range words {
		if not, ok := strings.CutPrefix(word, "!"); ok == strings.Contains(all, not) {
			t.Errorf("%s\nwant %q", all, word)
		}
	}
}
