package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cratelog/build"
	"cratelog/entry"
	"cratelog/internal/testlog"
)

// twoFaced is a world of builders, one of whom says two things of one build.
type twoFaced struct {
	testing.TB
	subject entry.Subject
	hidden  bool
	secrets map[string]build.Secret
	sets    []*build.Set // of two epochs; cat is only in the first, dan in the second
	pv      believer
}

// believer believes every hidden proof of its program, as far as its form goes, and says who could forge.
type believer struct {
	program [32]byte
	forgers string
}

func (b believer) Chain(e *entry.Entry) (entry.Chain, error) {
	if e.Proof.Program != b.program {
		return nil, entry.ErrUnknownProgram
	}
	if e.Proof.Parts[0][159] != 1 {
		return nil, errors.New("false")
	}
	return nil, nil
}

func (b believer) Forgers([32]byte) string { return b.forgers }

func newTwoFaced(t testing.TB, hidden bool) *twoFaced {
	t.Helper()
	w := &twoFaced{TB: t, hidden: hidden, secrets: map[string]build.Secret{}, pv: believer{program: [32]byte{0x77}},
		subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "alpha", Version: "1.0.0", SHA256: [32]byte{1}}}
	kind := build.Named
	if hidden {
		kind = build.Hidden
	}
	for i, names := range [][]string{{"ann", "bob", "cat"}, {"dan", "ann", "bob"}} {
		s := &build.Set{Kind: kind, Name: fmt.Sprint("epoch-", i+1)}
		for _, name := range names {
			m := build.Member{Name: name, Contact: name + "@builders.example"}
			if hidden {
				w.secrets[name] = testlog.Must(build.ParseSecret([32]byte{31: byte(len(name)), 30: name[0]}))
				m.Public = w.secrets[name].Public()
			} else {
				m.VKey = vkeyOf(name)
			}
			s.Members = append(s.Members, m)
		}
		w.sets = append(w.sets, s)
	}
	return w
}

func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func vkeyOf(name string) string {
	return testlog.Must(build.NewVKey(name, keyOf(name).Public())).String()
}

func claim(artifact byte) *entry.Build {
	return &entry.Build{Binary: "alpha", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{artifact}, Toolchain: [32]byte{2},
		Environment: [32]byte{3}, Recipe: entry.Recipe1, Lock: [32]byte{4}, Compiled: [32]byte{5}}
}

// says is what a member of a set says.
func (w *twoFaced) says(name string, set *build.Set, c *entry.Build) []byte {
	w.Helper()
	if !w.hidden {
		return testlog.Must(testlog.Must(build.Sign(keyOf(name), vkeyOf(name), set, w.subject, c)).Marshal())
	}
	request := testlog.Must(c.Request(w.subject))
	c.Root, c.Tag = set.Root(), w.secrets[name].Tag(request)
	share := w.secrets[name].Share(request, c.Result())
	part := append(share[:], make([]byte, build.HiddenPart-32)...)
	part[159] = 1
	e := &entry.Entry{Subject: w.subject, Claim: c, Proof: entry.Proof{Program: w.pv.program, Parts: [][]byte{part}}}
	return testlog.Must(e.Marshal())
}

func (w *twoFaced) files() [][]byte {
	return [][]byte{testlog.Must(w.sets[0].Marshal()), testlog.Must(w.sets[1].Marshal())}
}

// evidence is all that convicts ann.
func (w *twoFaced) evidence() map[string]*Evidence {
	one, two, next := w.says("ann", w.sets[0], claim(1)), w.says("ann", w.sets[0], claim(2)), w.says("ann", w.sets[1], claim(2))
	var program []byte
	if w.hidden {
		program = []byte("program\n")
	}
	return map[string]*Evidence{
		"in one set":  testlog.Must(NewBuilderContradiction(one, two, w.files(), nil, meta)),
		"in two sets": testlog.Must(NewBuilderContradiction(next, one, w.files(), program, meta)),
	}
}

func both(t *testing.T, f func(t *testing.T, w *twoFaced)) {
	for _, hidden := range []bool{false, true} {
		t.Run(fmt.Sprint("hidden=", hidden), func(t *testing.T) { f(t, newTwoFaced(t, hidden)) })
	}
}

func TestABuilderWhoSaysTwoThingsIsConvicted(t *testing.T) {
	both(t, func(t *testing.T, w *twoFaced) {
		for name, e := range w.evidence() {
			c, err := Verify(e, Keys{}, w.pv)
			if err != nil || c.Who != "builder ann" || !c.Transferable || !c.Convicts() || c.Kind != BuilderContradiction {
				t.Fatalf("%s: %+v, %v", name, c, err)
			}
			for _, words := range []string{"said two things of one build: that the binary alpha of alpha 1.0.0", "epoch-1", fmt.Sprintf("%x", [32]byte{1}),
				fmt.Sprintf("%x", w.sets[0].Digest())} {
				if !strings.Contains(c.What, words) {
					t.Errorf("%s: no %q in %s", name, words, c.What)
				}
			}
			b := testlog.Must(e.Marshal())
			again := testlog.Must(Parse(b))
			if c2, err := Verify(again, Keys{}, w.pv); err != nil || !reflect.DeepEqual(c2, c) {
				t.Errorf("%s, as a file: %+v, %v", name, c2, err)
			}
			path := testlog.Must(Write(t.TempDir(), e))
			if read := testlog.Must(Read(path)); !reflect.DeepEqual(read, again) {
				t.Errorf("%s: %+v", name, read)
			}
			if !w.hidden {
				golden(t, "builder-contradiction-"+strings.ReplaceAll(name, " ", "-")+".evidence", b)
				golden(t, "builder-contradiction-"+strings.ReplaceAll(name, " ", "-")+".txt", []byte(c.What+"\n"))
			}
		}
		all := w.evidence()
		if k := testlog.Must(all["in one set"].Key()); k != testlog.Must(all["in two sets"].Key()) {
			t.Error("a builder contradicts himself once about a build")
		}
	})
}

// TestOnlyACeremonyConvictsTheHidden: whoever has the secrets of a key writes such a pair in any name.
func TestOnlyACeremonyConvictsTheHidden(t *testing.T) {
	w := newTwoFaced(t, true)
	e := w.evidence()["in one set"]
	w.pv.forgers = "anyone could forge"
	for name, pv := range map[string]entry.Verifier{"development": w.pv, "who knows": struct{ entry.Verifier }{w.pv}} {
		c, err := Verify(e, Keys{}, pv)
		if err != nil || c.Convicts() || c.Transferable || !strings.Contains(c.What, "shows nothing about anybody") || strings.Contains(c.What, "ann") {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for name, pv := range map[string]entry.Verifier{"no verifier": nil, "no program": believer{}} {
		if c, err := Verify(e, Keys{}, pv); !errors.Is(err, ErrUndecided) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	// Names need no keys.
	n := newTwoFaced(t, false).evidence()["in one set"]
	if c, err := Verify(n, Keys{}, nil); err != nil || !c.Convicts() {
		t.Errorf("%+v, %v", c, err)
	}
}

// statement changes one of the two, whose place may then be another.
func (e *Evidence) change(i int, f func(x *entry.Entry, c *entry.Build)) {
	x := testlog.Must(entry.Parse(e.Statements[i]))
	c := *x.Claim.(*entry.Build)
	x.Claim = &c
	x.Proof.Parts = slices.Clone(x.Proof.Parts)
	for i, p := range x.Proof.Parts {
		x.Proof.Parts[i] = bytes.Clone(p)
	}
	f(x, &c)
	e.Statements[i] = testlog.Must(x.Marshal())
	slices.SortFunc(e.Statements, bytes.Compare)
}

func (w *twoFaced) statements(e *Evidence, a, b []byte) {
	e.Statements = [][]byte{a, b}
	slices.SortFunc(e.Statements, bytes.Compare)
}

// frames are ways to accuse somebody of what was not said.
var frames = []struct {
	name string
	do   func(w *twoFaced, e *Evidence)
}{
	{"no statement", func(w *twoFaced, e *Evidence) { e.Statements = nil }},
	{"one statement", func(w *twoFaced, e *Evidence) { e.Statements = e.Statements[:1] }},
	{"three statements", func(w *twoFaced, e *Evidence) { e.Statements = append(e.Statements, e.Statements[0]) }},
	{"one statement twice", func(w *twoFaced, e *Evidence) { e.Statements[1] = e.Statements[0] }},
	{"the other order", func(w *twoFaced, e *Evidence) { slices.Reverse(e.Statements) }},
	{"the other order of the sets", func(w *twoFaced, e *Evidence) { slices.Reverse(e.Sets) }},
	{"no set", func(w *twoFaced, e *Evidence) { e.Sets = nil }},
	{"a set less", func(w *twoFaced, e *Evidence) { e.Sets = e.Sets[:len(e.Sets)-1] }},
	{"a set more", func(w *twoFaced, e *Evidence) { e.Sets = append(e.Sets, w.files()[1]) }},
	{"another set", func(w *twoFaced, e *Evidence) {
		s := *w.sets[0]
		s.Members = s.Members[:2]
		e.Sets[0] = testlog.Must(s.Marshal())
	}},
	{"a set that cannot be read", func(w *twoFaced, e *Evidence) { e.Sets[0] = []byte("set\n") }},
	{"a statement that is no entry", func(w *twoFaced, e *Evidence) { e.Statements[0] = []byte{0} }},
	{"a statement about sources", func(w *twoFaced, e *Evidence) {
		x := &entry.Entry{Subject: w.subject, Claim: &entry.Source{}, Proof: entry.Proof{Parts: [][]byte{{1}}}}
		w.statements(e, e.Statements[0], testlog.Must(x.Marshal()))
	}},
	{"another version", func(w *twoFaced, e *Evidence) {
		e.change(0, func(x *entry.Entry, _ *entry.Build) { x.Subject.Version = "1.0.1" })
	}},
	{"another .crate", func(w *twoFaced, e *Evidence) {
		e.change(0, func(x *entry.Entry, _ *entry.Build) { x.Subject.SHA256[0]++ })
	}},
	{"another registry", func(w *twoFaced, e *Evidence) {
		e.change(1, func(x *entry.Entry, _ *entry.Build) { x.Subject.Registry = "https://index.example" })
	}},
	{"another binary", func(w *twoFaced, e *Evidence) {
		e.change(0, func(_ *entry.Entry, c *entry.Build) { c.Binary = "beta" })
	}},
	{"another target", func(w *twoFaced, e *Evidence) {
		e.change(0, func(_ *entry.Entry, c *entry.Build) { c.Target = "aarch64-unknown-linux-gnu" })
	}},
	{"another toolchain", func(w *twoFaced, e *Evidence) { e.change(0, func(_ *entry.Entry, c *entry.Build) { c.Toolchain[0]++ }) }},
	{"another environment", func(w *twoFaced, e *Evidence) {
		e.change(0, func(_ *entry.Entry, c *entry.Build) { c.Environment[0]++ })
	}},
	{"another lock file", func(w *twoFaced, e *Evidence) { e.change(0, func(_ *entry.Entry, c *entry.Build) { c.Lock[0]++ }) }},
	{"another tag", func(w *twoFaced, e *Evidence) { e.change(0, func(_ *entry.Entry, c *entry.Build) { c.Tag[0]++ }) }},
	{"another root", func(w *twoFaced, e *Evidence) { e.change(0, func(_ *entry.Entry, c *entry.Build) { c.Root[0]++ }) }},
	{"another artifact", func(w *twoFaced, e *Evidence) {
		if !w.hidden { // of hidden ones, the circuit holds share to result; see the next
			e.change(0, func(_ *entry.Entry, c *entry.Build) { c.Artifact[0]++ })
		}
	}},
	{"another artifact, so that the line misses every key", func(w *twoFaced, e *Evidence) {
		if w.hidden {
			e.change(1, func(_ *entry.Entry, c *entry.Build) { c.Artifact[0] += 9 })
		}
	}},
	{"another share", func(w *twoFaced, e *Evidence) {
		e.change(0, func(x *entry.Entry, _ *entry.Build) { x.Proof.Parts[0][20] ^= 1 })
	}},
	{"a share that is not below the order", func(w *twoFaced, e *Evidence) {
		if w.hidden {
			e.change(0, func(x *entry.Entry, _ *entry.Build) { copy(x.Proof.Parts[0], bytes.Repeat([]byte{0xff}, 32)) })
		}
	}},
	{"a short proof", func(w *twoFaced, e *Evidence) {
		e.change(0, func(x *entry.Entry, _ *entry.Build) { x.Proof.Parts[0] = x.Proof.Parts[0][:8] })
	}},
	{"a false proof", func(w *twoFaced, e *Evidence) {
		e.change(1, func(x *entry.Entry, _ *entry.Build) {
			p := x.Proof.Parts[min(1, len(x.Proof.Parts)-1)]
			p[len(p)-1] ^= 2
			if w.hidden {
				p[len(p)-1] = 0
			}
		})
	}},
	{"the program of the other kind", func(w *twoFaced, e *Evidence) {
		e.change(0, func(x *entry.Entry, _ *entry.Build) {
			if x.Proof.Program = build.NamedProgram; !w.hidden {
				x.Proof.Program = w.pv.program
			}
		})
	}},
	{"two builders who disagree", func(w *twoFaced, e *Evidence) {
		w.statements(e, w.says("ann", w.sets[0], claim(1)), w.says("bob", w.sets[0], claim(2)))
		e.Sets = w.files()[:1]
	}},
	{"two builders under one copied tag", func(w *twoFaced, e *Evidence) {
		one := w.says("ann", w.sets[0], claim(1))
		w.statements(e, one, w.says("bob", w.sets[0], claim(2)))
		tag := testlog.Must(entry.Parse(one)).Claim.(*entry.Build).Tag
		for i := range 2 {
			e.change(i, func(_ *entry.Entry, c *entry.Build) { c.Tag = tag })
		}
		e.Sets = w.files()[:1]
	}},
	{"one who agrees with himself in two sets", func(w *twoFaced, e *Evidence) {
		a, b := w.says("ann", w.sets[0], claim(1)), w.says("ann", w.sets[1], claim(1))
		w.statements(e, a, b)
		e.Sets = w.files()
		if bytes.Compare(a, b) > 0 {
			slices.Reverse(e.Sets)
		}
	}},
	{"a note where none belongs", func(w *twoFaced, e *Evidence) {
		e.Notes = [][]byte{testlog.Sign(testlog.Head(origin, 1, [32]byte{}), testlog.LogKey(origin, "log"))}
	}},
	{"a reason", func(w *twoFaced, e *Evidence) { e.Reason = ProofInvalid }},
	{"a witness", func(w *twoFaced, e *Evidence) { e.Witness = "w+01234567" }},
	{"a list", func(w *twoFaced, e *Evidence) { e.List = []byte("x") }},
	{"a hash", func(w *twoFaced, e *Evidence) { e.Hashes = append(e.Hashes, [32]byte{}) }},
	{"an entry", func(w *twoFaced, e *Evidence) { e.Entries = []Leaf{{Bytes: e.Statements[0]}} }},
	{"a program that is not needed", func(w *twoFaced, e *Evidence) {
		if !w.hidden {
			e.Program = []byte("program\n")
		}
	}},
	{"another kind", func(w *twoFaced, e *Evidence) { e.Kind = Unsealed }},
}

func TestFramesConvictNobody(t *testing.T) {
	both(t, func(t *testing.T, w *twoFaced) {
		tried := 0
		for name := range w.evidence() {
			for _, frame := range frames {
				e := testlog.Must(Parse(testlog.Must(w.evidence()[name].Marshal())))
				whole := testlog.Must(Parse(testlog.Must(e.Marshal())))
				if frame.do(w, e); reflect.DeepEqual(e, whole) {
					continue
				}
				tried++
				c, err := Verify(e, Keys{}, w.pv)
				if err == nil && c.Who != "" {
					t.Errorf("%s with %s: %+v", name, frame.name, c)
				}
				if err != nil && !isOurs(err) {
					t.Errorf("%s with %s: an error of no kind: %v", name, frame.name, err)
				}
				if err == nil {
					t.Errorf("%s with %s shows something: %+v", name, frame.name, c)
				}
				b, err := e.Marshal()
				if err != nil {
					continue
				}
				if c, err := Verify(testlog.Must(Parse(b)), Keys{}, w.pv); err == nil {
					t.Errorf("%s with %s, as a file: %+v", name, frame.name, c)
				}
			}
		}
		if tried < 60 {
			t.Errorf("only %d frames were tried", tried)
		}
	})
}

// TestEveryByteOfAContradictionCounts: what is still believed after a bit is flipped accuses the same one
// of the same thing.
func TestEveryByteOfAContradictionCounts(t *testing.T) {
	both(t, func(t *testing.T, w *twoFaced) {
		for name, e := range w.evidence() {
			file := testlog.Must(e.Marshal())
			want := testlog.Must(Verify(e, Keys{}, w.pv))
			believed := 0
			for at := range file {
				b := bytes.Clone(file)
				b[at] ^= 1 << (at % 8)
				e, err := Parse(b)
				if err != nil {
					continue
				}
				if again, err := e.Marshal(); err != nil || !bytes.Equal(again, b) {
					t.Fatalf("%s, byte %d: two encodings", name, at)
				}
				c, err := Verify(e, Keys{}, w.pv)
				if err != nil {
					continue
				}
				believed++
				if c.Who != want.Who && !w.hidden || testlog.Must(e.Key()) != testlog.Must(w.evidence()[name].Key()) {
					t.Errorf("%s, byte %d (%q): %+v", name, at, file[max(0, at-20):at+1], c)
				}
			}
			if believed == 0 {
				t.Errorf("%s: not even the time can be changed, so this test sees nothing", name)
			}
		}
	})
}

func TestNothingIsMadeOfWhatIsNoContradiction(t *testing.T) {
	both(t, func(t *testing.T, w *twoFaced) {
		one, bob := w.says("ann", w.sets[0], claim(1)), w.says("bob", w.sets[0], claim(2))
		two := w.says("ann", w.sets[0], claim(2))
		for name, make := range map[string]func() (*Evidence, error){
			"two builders": func() (*Evidence, error) { return NewBuilderContradiction(one, bob, w.files(), nil, meta) },
			"one twice":    func() (*Evidence, error) { return NewBuilderContradiction(one, one, w.files(), nil, meta) },
			"no set":       func() (*Evidence, error) { return NewBuilderContradiction(one, two, nil, nil, meta) },
			"another set":  func() (*Evidence, error) { return NewBuilderContradiction(one, two, w.files()[1:], nil, meta) },
			"no entry":     func() (*Evidence, error) { return NewBuilderContradiction(one, nil, w.files(), nil, meta) },
		} {
			if e, err := make(); err == nil || e != nil || !isOurs(err) {
				t.Errorf("%s: %v, %v", name, e, err)
			}
		}
	})
}
