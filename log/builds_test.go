package log

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/transparency-dev/tessera"

	"cratelog/build"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

var (
	toolchain   = [32]byte{0x70}
	environment = [32]byte{0xe0}
)

// builder is a named member of sets.
type builder struct {
	key  ed25519.PrivateKey
	vkey string
	name string
}

func newBuilder(name string) builder {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	return builder{key, testlog.Must(build.NewVKey(name, key.Public())).String(), name}
}

var ann, bob, eve = newBuilder("ann"), newBuilder("bob"), newBuilder("eve")

func setOf(name string, members ...builder) *build.Set {
	s := &build.Set{Kind: build.Named, Name: name}
	for _, m := range members {
		s.Members = append(s.Members, build.Member{Name: m.name, Contact: m.name + "@builders.example", VKey: m.vkey})
	}
	return s
}

var rebuilders = setOf("rebuilders", ann, bob)

// buildWorld is a world whose log takes builds of rebuilders.
func buildWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.cfg.Builds = Builds{Sets: []*build.Set{rebuilders}, Toolchains: [][32]byte{toolchain}, Environments: [][32]byte{environment}}
	return w
}

// crates is the list of compiled crates of all builds here, if a test says no other.
var crates = build.List{{Registry: entry.DefaultRegistry, Name: "libc", Version: "0.2.1", SHA256: [32]byte{9}}}.Marshal()

// claimOf is a claim about the binary alpha, of whose bytes a test says what they begin with.
func claimOf(artifact byte) *entry.Build {
	return &entry.Build{Binary: "alpha", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{artifact}, Toolchain: toolchain,
		Environment: environment, Recipe: entry.Recipe1, Lock: [32]byte{0x10}, Compiled: sha256.Sum256(crates)}
}

// says is the entry in which a builder says something about the crate of a source entry.
func (b builder) says(t testing.TB, set *build.Set, source []byte, c *entry.Build) []byte {
	t.Helper()
	e, err := build.Sign(b.key, b.vkey, set, testlog.Must(entry.Parse(source)).Subject, c)
	fatalIf(t, err)
	return marshal(e)
}

// build submits a build that must be accepted, and checks the bundle.
func (w *world) build(l *Log, e []byte, source []byte) []byte {
	w.t.Helper()
	b, err := l.SubmitBuild(w.t.Context(), e, bytes.NewReader(crates), bytes.NewReader(source))
	fatalIf(w.t, err)
	w.checkBundle(b, e)
	return b
}

func wantBuildRefusal(t *testing.T, l *Log, e, list, source []byte, reason Reason, words string) *Refusal {
	t.Helper()
	_, err := l.SubmitBuild(t.Context(), e, bytes.NewReader(list), bytes.NewReader(source))
	return wantRefusal(t, err, reason, words)
}

func wantContradictions(t *testing.T, l *Log, want int) {
	t.Helper()
	if got := testlog.Must(l.builds.contradictions(t.Context(), 0, 100)); len(got) != want {
		t.Errorf("%d contradictions, want %d", len(got), want)
	}
}

func TestABuildIsLoggedAfterItsSource(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	one := ann.says(t, rebuilders, source, claimOf(1))
	wantBuildRefusal(t, l, one, crates, nil, SourceMissing, "holds no claim about the sources of alpha 1.0.0")
	wantSize(t, l, 0)
	w.submit(l, source, raw)
	w.build(l, one, nil)
	two := bob.says(t, rebuilders, source, claimOf(1))
	w.build(l, two, nil)
	w.checkBundle(testlog.Must(l.SubmitBuild(t.Context(), one, failingReader{t}, failingReader{t})), one) // it stands
	wantSize(t, l, 3)

	c := serve(t, l)
	rows := testlog.Must(c.Builds(t.Context(), entry.Subject{Name: "alpha", Version: "1.0.0"}))
	var want []client.BuildRow
	for i, e := range [][]byte{one, two} {
		x := testlog.Must(entry.Parse(e))
		b := x.Claim.(*entry.Build)
		want = append(want, client.BuildRow{Index: uint64(2 + 2*i), Program: build.NamedProgram, Binary: b.Binary, Target: b.Target,
			Artifact: b.Artifact, Compiled: b.Compiled, Request: testlog.Must(b.Request(x.Subject)), Result: b.Result(), Root: b.Root, Tag: b.Tag})
	}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("%+v\nwant\n%+v", rows, want)
	}
	if rows := testlog.Must(c.Builds(t.Context(), entry.Subject{Registry: "https://index.example", Name: "alpha", Version: "1.0.0"})); rows != nil {
		t.Errorf("of another registry: %+v", rows)
	}
	artifacts := testlog.Must(c.Artifact(t.Context(), [32]byte{1}))
	if len(artifacts) != 1 || artifacts[0] != (client.ArtifactRow{Subject: testlog.Must(entry.Parse(source)).Subject, Binary: "alpha",
		Target: "x86_64-unknown-linux-gnu", Index: 2}) {
		t.Errorf("%+v", artifacts)
	}
	if a := testlog.Must(c.Artifact(t.Context(), [32]byte{2})); a != nil {
		t.Errorf("%+v", a)
	}
	if got := testlog.Must(c.CompiledList(t.Context(), sha256.Sum256(crates))); !bytes.Equal(got, crates) {
		t.Errorf("%q", got)
	}
	if _, err := c.CompiledList(t.Context(), [32]byte{}); !errors.Is(err, client.ErrNotLogged) {
		t.Error(err)
	}
	// The build of an entry is found by its number, and never as a claim about sources.
	q := client.Query{Name: "alpha", Version: "1.0.0"}
	w.wantBundle(l, q, source)
	w.checkBundle(testlog.Must(l.bundle(t.Context(), 4, l.published.head())), two)
	q.Programs = [][32]byte{build.NamedProgram}
	_, err := l.Bundle(t.Context(), q)
	wantRefusal(t, err, NotFound, "none such as was asked for")
	id := testlog.Must(testlog.Must(entry.Parse(one)).Identity())
	if _, err := c.Opening(t.Context(), id); !errors.Is(err, client.ErrNotLogged) || !strings.Contains(err.Error(), "about sources") {
		t.Error(err)
	}
}

// TestSourceAndBuildInEveryOrder: the log is the same whatever came first, and so is its index when it
// is made again.
func TestSourceAndBuildInEveryOrder(t *testing.T) {
	t.Parallel()
	other := newWorldOf(t, "other.test/2025", "other.test")
	l2 := other.open()
	sourceBytes, raw := other.good("alpha", "1.0.0")
	bundle := other.submit(l2, sourceBytes, raw)
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		w := buildWorld(t)
		w.cfg.Policy = joined(w.cfg.Policy, other.cfg.Policy)
		l := w.open()
		first, _ := w.good("alpha", "1.0.0")
		second := w.about(raw, "alpha", func(_ *entry.Entry, s *entry.Source) { s.Commit[0] = 2 })
		one := ann.says(t, rebuilders, first, claimOf(1))
		for _, i := range order {
			switch i {
			case 0:
				w.submit(l, first, raw)
			case 1:
				w.build(l, one, bundle)
			case 2:
				w.submit(l, second, raw)
			}
		}
		wantSize(t, l, 3)
		q := client.Query{Name: "alpha", Version: "1.0.0"}
		want := first
		if slices.Index(order, 2) < slices.Index(order, 0) {
			want = second
		}
		w.wantBundle(l, q, want)
		// A second checksum is none, whatever stands first, and whatever says so.
		theirs := testCrate(t, "alpha", "1.0.0", "fn theirs() {}")
		bad := w.about(theirs, "alpha", func(*entry.Entry, *entry.Source) {})
		_, err := l.Submit(t.Context(), bad, bytes.NewReader(theirs), nil)
		if r := wantRefusal(t, err, VersionConflict, "another checksum"); *r.Index != 0 {
			t.Errorf("%v: the conflict shows entry %d", order, *r.Index)
		}
		wantBuildRefusal(t, l, bob.says(t, rebuilders, bad, claimOf(1)), crates, bundle, VersionConflict, "another checksum")
		w.closeLog(l)
		path := filepath.Join(w.cfg.StateDir, "index.db")
		rows := rowsOf(t, path)
		w.removeIndex()
		l = w.open()
		w.wantBundle(l, q, want)
		w.closeLog(l)
		if got := rowsOf(t, path); !reflect.DeepEqual(got, rows) || len(got) != 6 {
			t.Errorf("%v: made again the index is\n%+v\nit was\n%+v", order, got, rows)
		}
	}
}

// joined is a trust file for two logs, with the quorum of the first one's witnesses and the second's.
func joined(a, b []byte) []byte {
	text := strings.NewReplacer("witness w", "witness x", " w0 w1 w2", " x0 x1 x2", "group g", "group h", "quorum g\n", "").Replace(string(b))
	head, _ := strings.CutSuffix(string(a), "quorum g\n")
	return []byte(head + text + "group both any g h\nquorum both\n")
}

// TestABuildAloneFixesTheChecksum: a checksum stands by any claim.
func TestABuildAloneFixesTheChecksum(t *testing.T) {
	t.Parallel()
	other := newWorldOf(t, "other.test/2025", "other.test")
	l2 := other.open()
	source, raw := other.good("alpha", "1.0.0")
	bundle := other.submit(l2, source, raw)
	w := buildWorld(t)
	w.cfg.Policy = joined(w.cfg.Policy, other.cfg.Policy)
	w.good("alpha", "1.0.0")
	l := w.open()
	w.build(l, ann.says(t, rebuilders, source, claimOf(1)), bundle)
	theirs := testCrate(t, "alpha", "1.0.0", "fn theirs() {}")
	bad := w.about(theirs, "alpha", func(*entry.Entry, *entry.Source) {})
	_, err := l.Submit(t.Context(), bad, bytes.NewReader(theirs), nil)
	if r := wantRefusal(t, err, VersionConflict, "another checksum"); *r.Index != 0 || r.Bundle == nil {
		t.Errorf("%+v", r)
	}
	_, err = l.Bundle(t.Context(), client.Query{Name: "alpha", Version: "1.0.0"})
	wantRefusal(t, err, NotFound, "no published entry")
}

// TestOnlyWhatTheSettingsNameIsTaken: each refusal says what the log takes.
func TestOnlyWhatTheSettingsNameIsTaken(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	old := setOf("old", ann, eve)
	w.cfg.Builds.Sets = append(w.cfg.Builds.Sets, old)
	w.cfg.Builds.Withdrawn = [][32]byte{old.Root()}
	w.proofs.programs = append(w.proofs.programs, hiddenProgram)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	w.submit(l, source, raw)
	with := func(change func(c *entry.Build)) []byte {
		c := claimOf(1)
		change(c)
		return ann.says(t, rebuilders, source, c)
	}
	hidden := testlog.Must(entry.Parse(with(func(*entry.Build) {})))
	hidden.Proof = entry.Proof{Program: hiddenProgram.ID(), Parts: [][]byte{{1}}}
	w.proofs.believe(hidden)
	ours := fmt.Sprintf("rebuilders (%x)", rebuilders.Root())
	for _, tt := range []struct {
		name, words string
		e           []byte
		reason      Reason
	}{
		{"a set of nobody", "It takes those of " + ours + ".", eve.says(t, setOf("others", eve), source, claimOf(1)), BuildRefused},
		{"a withdrawn set", "which was withdrawn. It takes claims of " + ours + ".", ann.says(t, old, source, claimOf(1)), SetWithdrawn},
		{"another toolchain", fmt.Sprintf("It takes those with %x.", toolchain), with(func(c *entry.Build) { c.Toolchain[5]++ }), BuildRefused},
		{"another environment", fmt.Sprintf("It takes those in %x.", environment), with(func(c *entry.Build) { c.Environment[5]++ }), BuildRefused},
		{"a hidden proof of a named set", "The set of builders rebuilders is named", marshal(hidden), BuildRefused},
	} {
		t.Log(tt.name)
		_, err := l.SubmitBuild(t.Context(), tt.e, failingReader{t}, failingReader{t})
		wantRefusal(t, err, tt.reason, tt.words)
	}
	wantSize(t, l, 1)

	// The recipe is the format's affair.
	two := claimOf(1)
	two.Recipe = 2
	x := testlog.Must(entry.Parse(with(func(*entry.Build) {})))
	x.Claim = two
	if _, err := x.Marshal(); err == nil {
		t.Error("a recipe that is not known")
	}
	plain, l2 := openWorld(t)
	_, err := l2.SubmitBuild(t.Context(), with(func(*entry.Build) {}), failingReader{t}, failingReader{t})
	wantRefusal(t, err, BuildRefused, "takes no build claims")
	plain.closeLog(l2)
}

var hiddenProgram = proofcheck.Program{System: "hidden", Claim: "build/1", Origin: proofcheck.OriginDevelopment}

func TestWhatOfABuildIsRefused(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	bundle := w.submit(l, source, raw)
	elsewhere, raw2 := w.good("beta", "1.0.0")
	bundle2 := w.submit(l, elsewhere, raw2)
	one := ann.says(t, rebuilders, source, claimOf(1))
	listed := func(list []byte) []byte {
		c := claimOf(1)
		c.Compiled = sha256.Sum256(list)
		return ann.says(t, rebuilders, source, c)
	}
	own := testlog.Must(entry.Parse(source)).Subject
	self := build.List{{Registry: own.Registry, Name: own.Name, Version: own.Version, SHA256: own.SHA256}}.Marshal()
	built := w.build(l, bob.says(t, rebuilders, source, claimOf(1)), nil)
	false1 := testlog.Must(entry.Parse(one))
	false1.Proof.Parts[1][3] ^= 1
	for _, tt := range []struct {
		name, words     string
		e, list, source []byte
		reason          Reason
	}{
		{"another list", "but the claim is of", one, nil, nil, ListRefused},
		{"no list", "line 1", listed([]byte("libc\n")), []byte("libc\n"), nil, ListRefused},
		{"a list with a crate twice", "twice", listed(append(slices.Clone(crates), crates...)), append(slices.Clone(crates), crates...), nil, ListRefused},
		{"a list with the crate itself", "it has alpha 1.0.0 itself", listed(self), self, nil, ListRefused},
		{"a large list", "the limit of this log", one, make([]byte, build.MaxList+1), nil, ListTooLarge},
		{"no bundle", "malformed bundle", one, crates, []byte("x"), SourceRefused},
		{"a bundle of another crate", "is about beta 1.0.0", one, crates, bundle2, SourceRefused},
		{"a bundle of a build", `of the kind "build"`, one, crates, built, SourceRefused},
		{"a bundle that was changed", "bundle of the source claim is refused", one, crates, bytes.Replace(bundle, []byte("index 0"), []byte("index 1"), 1), SourceRefused},
		{"a large bundle", "the limit of this log", one, crates, make([]byte, client.MaxBundleSize+1), SourceRefused},
	} {
		t.Log(tt.name)
		wantBuildRefusal(t, l, tt.e, tt.list, tt.source, tt.reason, tt.words)
	}
	// What no proof stands for is not read.
	_, err := l.SubmitBuild(t.Context(), marshal(false1), failingReader{t}, failingReader{t})
	wantRefusal(t, err, ProofInvalid, "does not verify")
	_, err = l.Submit(t.Context(), one, failingReader{t}, nil)
	wantRefusal(t, err, MalformedRequest, "entry, list and perhaps source")
	_, err = l.SubmitBuild(t.Context(), source, failingReader{t}, nil)
	wantRefusal(t, err, MalformedRequest, "entry, crate and perhaps opening")
	wantSize(t, l, 3)
	wantContradictions(t, l, 0)
	w.build(l, one, bundle) // a bundle of this log is as good
}

// convicted verifies evidence that a log hands out.
func convicted(t *testing.T, file []byte) evidence.Conviction {
	t.Helper()
	return testlog.Must(evidence.Verify(testlog.Must(evidence.Parse(file)), evidence.Keys{}, nil))
}

func TestABuilderWhoContradictsHimselfIsShown(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	w.submit(l, source, raw)
	one := ann.says(t, rebuilders, source, claimOf(1))
	w.build(l, one, nil)
	// Another builder may say something else: that is dissent.
	w.build(l, bob.says(t, rebuilders, source, claimOf(2)), nil)
	wantContradictions(t, l, 0)

	// A copied tag with a false proof is nothing but a false proof.
	copied := testlog.Must(entry.Parse(one))
	c := *copied.Claim.(*entry.Build)
	c.Artifact = [32]byte{3}
	copied.Claim = &c
	wantBuildRefusal(t, l, marshal(copied), crates, nil, ProofInvalid, "does not verify")
	l.mu.Lock()
	if len(l.reserved) != 0 {
		t.Error("a false proof has reserved something")
	}
	l.mu.Unlock()
	wantContradictions(t, l, 0)

	three := ann.says(t, rebuilders, source, claimOf(3))
	r := wantBuildRefusal(t, l, three, crates, nil, BuilderContradiction, "in entry 2. The log takes one of the two, and keeps both as evidence: /v1/contradictions/1")
	if *r.Index != 2 {
		t.Errorf("%+v", r)
	}
	w.checkBundle(r.Bundle, one)
	wantBuildRefusal(t, l, ann.says(t, rebuilders, source, claimOf(4)), crates, nil, BuilderContradiction, "/v1/contradictions/1")
	wantBuildRefusal(t, l, three, crates, nil, BuilderContradiction, "/v1/contradictions/1")
	wantContradictions(t, l, 1)
	wantSize(t, l, 3)
	w.closeLog(l)

	l = w.open() // it is kept
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	code, _, b := get(t, srv.URL+"/v1/contradictions")
	var list contradictionsBody
	fatalIf(t, json.Unmarshal(b, &list))
	code1, _, file := get(t, srv.URL+"/v1/contradictions/1")
	if code != 200 || code1 != 200 || len(list.Contradictions) != 1 || list.Contradictions[0] != (contradictionBody{1, fmt.Sprintf("%x", sha256.Sum256(file))}) {
		t.Errorf("%d %s, %d", code, b, code1)
	}
	got := convicted(t, file)
	if got.Who != "builder ann" || !got.Transferable || !strings.Contains(got.What, "said two things of one build") {
		t.Errorf("%+v", got)
	}
	for _, path := range []string{"/v1/contradictions/2", "/v1/contradictions/01", "/v1/contradictions/x"} {
		if code, _, b := get(t, srv.URL+path); code != 404 || decodeRefusal(t, b).Reason != NotFound {
			t.Errorf("%s: %d %s", path, code, b)
		}
	}
	files := testlog.Must((&client.Log{URL: srv.URL}).Contradictions(t.Context(), 0, 9))
	if len(files) != 1 || files[0].Number != 1 || !bytes.Equal(files[0].File, file) {
		t.Errorf("%d files", len(files))
	}
}

// TestAListOfEvidenceReadsAFileOnce: a file can have megabytes, and anybody may ask for the list.
func TestAListOfEvidenceReadsAFileOnce(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	l := w.open()
	file := []byte("evidence")
	n := testlog.Must(l.builds.putContradiction(t.Context(), [32]byte{1}, [32]byte{2}, file))
	want := []contradictionBody{{n, fmt.Sprintf("%x", sha256.Sum256(file))}}
	for range 2 {
		if got := testlog.Must(l.builds.contradictions(t.Context(), 0, 9)); !slices.Equal(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if _, err := l.builds.db.Exec("UPDATE contradictions SET file = x'00'"); err != nil { // it is not looked at again
			t.Fatal(err)
		}
	}
}

// TestOfTwoContradictionsAtOnceOneIsLogged, and the other one becomes evidence.
func TestOfTwoContradictionsAtOnceOneIsLogged(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	w.submit(l, source, raw)
	var g sync.WaitGroup
	var mu sync.Mutex
	accepted, refused := 0, 0
	for i := range byte(6) {
		e := ann.says(t, rebuilders, source, claimOf(1+i))
		g.Go(func() {
			_, err := l.SubmitBuild(t.Context(), e, bytes.NewReader(crates), nil)
			var r *Refusal
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.As(err, &r) && r.Reason == BuilderContradiction:
				refused++
			case err != nil:
				t.Error(err)
			default:
				accepted++
			}
		})
	}
	g.Wait()
	if accepted != 1 || refused != 5 {
		t.Errorf("%d accepted, %d refused", accepted, refused)
	}
	wantSize(t, l, 2)
	wantContradictions(t, l, 1)
}

// TestAMemberOfTwoSetsSaysOneThing: a tag does not depend on the set.
func TestAMemberOfTwoSetsSaysOneThing(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	w.submit(l, source, raw)
	w.build(l, ann.says(t, rebuilders, source, claimOf(1)), nil)
	w.closeLog(l)

	next := setOf("rebuilders-2", eve, ann)
	w.cfg.Builds.Sets = []*build.Set{next}
	w.wantNoOpen(nil, fmt.Sprintf("the root %x, which the settings do not: put its file back", rebuilders.Root()))
	w.cfg.Builds = Builds{}
	w.wantNoOpen(nil, "put its file back into sets of [builds]")
	w.cfg.Builds = Builds{Sets: []*build.Set{next, rebuilders}, Withdrawn: [][32]byte{rebuilders.Root()}, Toolchains: [][32]byte{toolchain}, Environments: [][32]byte{environment}}
	l = w.open()
	old := ann.says(t, rebuilders, source, claimOf(1))
	w.build(l, old, nil) // it stands
	wantBuildRefusal(t, l, bob.says(t, rebuilders, source, claimOf(1)), crates, nil, SetWithdrawn, "nothing new of the set of builders rebuilders")
	wantBuildRefusal(t, l, ann.says(t, next, source, claimOf(2)), crates, nil, BuilderContradiction, "/v1/contradictions/1")
	file, _, err := l.builds.contradiction(t.Context(), 1)
	fatalIf(t, err)
	got := convicted(t, file)
	if got.Who != "builder ann" || !strings.Contains(got.What, "and as ann of the set") {
		t.Errorf("%+v", got)
	}
	w.build(l, ann.says(t, next, source, claimOf(1)), nil) // the same under the new root
	wantSize(t, l, 3)
}

// TestASetSaysAsMuchAsItHasMembers: more could only be forged.
func TestASetSaysAsMuchAsItHasMembers(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	hidden := &build.Set{Kind: build.Hidden, Name: "hidden", Members: []build.Member{{Name: "a", Contact: "a", Public: [32]byte{31: 1}},
		{}, {Name: "b", Contact: "b", Public: [32]byte{31: 2}}}}
	w.cfg.Builds.Sets = append(w.cfg.Builds.Sets, hidden)
	w.proofs.programs = append(w.proofs.programs, hiddenProgram)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	w.submit(l, source, raw)
	forged := func(artifact, tag byte) []byte {
		c := claimOf(artifact)
		c.Root, c.Tag = hidden.Root(), [32]byte{31: tag}
		e := &entry.Entry{Subject: testlog.Must(entry.Parse(source)).Subject, Claim: c, Proof: entry.Proof{Program: hiddenProgram.ID(), Parts: [][]byte{{tag}}}}
		w.proofs.believe(e)
		return marshal(e)
	}
	w.build(l, forged(1, 1), nil)
	w.build(l, forged(2, 2), nil)
	wantBuildRefusal(t, l, forged(1, 3), crates, nil, TooManyBuilds, "holds 2 claims about this build of alpha 1.0.0 of the set of builders hidden")
	w.build(l, ann.says(t, rebuilders, source, claimOf(1)), nil) // another set
	wantSize(t, l, 4)
}

// TestRequestsOfAMembersMakingAreBounded: the binary's name, the target and the lock file are free text, so each
// makes a build of which the set has said nothing.
func TestRequestsOfAMembersMakingAreBounded(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	w.cfg.testingOnlyPerMember = 2
	others := setOf("others", ann, eve)
	w.cfg.Builds.Sets = append(w.cfg.Builds.Sets, others)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	w.submit(l, source, raw)
	asked := func(i int) *entry.Build {
		c := claimOf(1)
		switch i % 3 {
		case 0:
			c.Binary = fmt.Sprint("b", i)
		case 1:
			c.Target = fmt.Sprintf("x%d-unknown-linux-gnu", i)
		case 2:
			c.Lock[31] = byte(i)
		}
		return c
	}
	first := ann.says(t, rebuilders, source, asked(0))
	w.build(l, first, nil)
	for i := 1; i < 4; i++ { // two members, two each
		w.build(l, ann.says(t, rebuilders, source, asked(i)), nil)
	}
	for i := range 3 {
		wantBuildRefusal(t, l, bob.says(t, rebuilders, source, asked(4+i)), crates, nil, TooManyBuilds,
			"The log holds 4 claims about builds of alpha 1.0.0 of the set of builders rebuilders, and takes no more")
	}
	wantBuildRefusal(t, l, bob.says(t, rebuilders, source, asked(0)), crates, nil, TooManyBuilds, "a set of 2 members")
	w.build(l, first, nil)                                 // it stands
	w.build(l, eve.says(t, others, source, asked(0)), nil) // another set
	second, raw := w.good("beta", "1.0.0")                 // another version
	w.submit(l, second, raw)
	w.build(l, bob.says(t, rebuilders, second, asked(0)), nil)
	// Who contradicts himself is shown all the same.
	c := asked(0)
	c.Artifact[0] = 2
	wantBuildRefusal(t, l, ann.says(t, rebuilders, source, c), crates, nil, BuilderContradiction, "in entry 2")
	wantSize(t, l, 8)
}

// TestAListWithoutAnEntryIsForgotten: lists are kept before their entries.
func TestAListWithoutAnEntryIsForgotten(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	w.submit(l, source, raw)
	one := ann.says(t, rebuilders, source, claimOf(1))
	w.build(l, one, nil)
	stray := []byte("stray")
	testlog.Must(l.builds.putList(t.Context(), stray))
	if _, err := serve(t, l).CompiledList(t.Context(), sha256.Sum256(stray)); !errors.Is(err, client.ErrNotLogged) {
		t.Error(err)
	}
	w.closeLog(l)
	l = w.open()
	if _, kept, err := l.builds.list(t.Context(), sha256.Sum256(stray)); kept || err != nil {
		t.Error(kept, err)
	}
	// A log that has lost a list takes it again.
	fatalIf(t, l.builds.dropList(t.Context(), sha256.Sum256(crates)))
	wantBuildRefusal(t, l, one, nil, nil, ListRefused, "but the claim is of")
	w.build(l, one, nil)
	if _, kept, err := l.builds.list(t.Context(), sha256.Sum256(crates)); !kept || err != nil {
		t.Error(kept, err)
	}
}

// TestADamagedListIsNotHandedOut, and is taken again.
func TestADamagedListIsNotHandedOut(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	w.submit(l, source, raw)
	one := ann.says(t, rebuilders, source, claimOf(1))
	w.build(l, one, nil)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	address := fmt.Sprintf("%s/v1/lists/%x", srv.URL, sha256.Sum256(crates))
	for _, again := range [][]byte{one, bob.says(t, rebuilders, source, claimOf(1))} {
		testlog.Must(l.builds.db.ExecContext(t.Context(), "UPDATE lists SET bytes = X'00'"))
		if code, h, body := get(t, address); code != 500 || decodeRefusal(t, body).Reason != Damaged ||
			h.Get("Cache-Control") != "no-store" {
			t.Errorf("%d, %v: %q", code, h, body)
		}
		if p := l.health().Problems; len(p) != 1 || !strings.Contains(p[0], "submitted again with the list, mends that") {
			t.Errorf("health says %q", p)
		}
		w.build(l, again, nil)
		if code, _, body := get(t, address); code != 200 || !bytes.Equal(body, crates) {
			t.Errorf("%d: %q", code, body)
		}
		if p := l.health().Problems; len(p) != 0 {
			t.Errorf("health says %q", p)
		}
	}
}

func TestBuildSettingsThatCannotBe(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	good := w.cfg.Builds
	for words, change := range map[string]func(b *Builds){
		"have the same root":                        func(b *Builds) { b.Sets = []*build.Set{rebuilders, setOf("again", ann, bob)} },
		"is withdrawn, but it is none of sets":      func(b *Builds) { b.Withdrawn = [][32]byte{{1}} },
		"no toolchains or no environments":          func(b *Builds) { b.Toolchains = nil },
		"builds: the set x has 0 members":           func(b *Builds) { b.Sets = []*build.Set{setOf("x")} },
		"sets are named, but no toolchains or no e": func(b *Builds) { b.Environments = nil },
	} {
		w.cfg.Builds = good
		change(&w.cfg.Builds)
		w.wantNoOpen(nil, words)
	}
}

func TestBuildsOverHTTP(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	bundle := w.submit(l, source, raw)
	one := ann.says(t, rebuilders, source, claimOf(1))
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	e, list := [2]string{"entry", string(one)}, [2]string{"list", string(crates)}
	for _, tt := range []struct {
		name   string
		parts  [][2]string
		reason Reason
	}{
		{"a .crate instead of a list", [][2]string{e, {"crate", string(raw)}}, MalformedRequest},
		{"no list", [][2]string{e}, MalformedRequest},
		{"an opening instead of a bundle", [][2]string{e, list, {"opening", "x"}}, MalformedRequest},
		{"an empty bundle", [][2]string{e, list, {"source", ""}}, MalformedRequest},
		{"a part more", [][2]string{e, list, {"source", string(bundle)}, {"more", "x"}}, MalformedRequest},
		{"a list for a source", [][2]string{{"entry", string(w.about(raw, "alpha", func(_ *entry.Entry, s *entry.Source) { s.Commit[0] = 9 }))}, list}, MalformedRequest},
	} {
		contentType, body := encodeForm(t, tt.parts...)
		resp, b := post(t, srv.URL+"/v1/submit", contentType, body)
		if r := decodeRefusal(t, b); resp.StatusCode != 400 || r.Reason != tt.reason {
			t.Errorf("%s: %d %s", tt.name, resp.StatusCode, b)
		}
	}
	wantSize(t, l, 1)
	c := &client.Log{URL: srv.URL}
	w.checkBundle(testlog.Must(c.SubmitBuild(t.Context(), one, crates, bundle)), one)
	two := bob.says(t, rebuilders, source, claimOf(1))
	w.checkBundle(testlog.Must(c.SubmitBuild(t.Context(), two, crates, nil)), two)
	_, err := c.SubmitBuild(t.Context(), bob.says(t, rebuilders, source, claimOf(7)), crates, nil)
	var refused *client.SubmitError
	if !errors.As(err, &refused) || refused.Status != 409 || refused.Reason != "builder-contradiction" || refused.Index != 4 {
		t.Fatalf("%v", err)
	}
	w.checkBundle(refused.Bundle, two)

	_, _, b := get(t, srv.URL+"/v1/log")
	var about aboutBody
	fatalIf(t, json.Unmarshal(b, &about))
	want := &aboutBuilds{Sets: []aboutSet{{"rebuilders", "named", 2, fmt.Sprintf("%x", rebuilders.Root()), fmt.Sprintf("%x", rebuilders.Digest()), false}},
		Toolchains: []string{fmt.Sprintf("%x", toolchain)}, Environments: []string{fmt.Sprintf("%x", environment)}, Recipes: []int{1},
		Named: fmt.Sprintf("%x", build.NamedProgram)}
	if !reflect.DeepEqual(about.Builds, want) {
		t.Errorf("%s", b)
	}
	for _, path := range []string{"/v1/crates/alpha/1.0.0/builds?x=1", "/v1/crates/alpha/1.0.0/builds?from=01", "/v1/crates/alpha/1.0.0/builds?from=-1",
		"/v1/crates/alpha/1.0.0/builds?registry=x&registry=x", "/v1/crates/alpha/x/builds", "/v1/contradictions?from=x",
		"/v1/contradictions?from=+5", "/v1/contradictions?form=1", "/v1/contradictions?from=1&from=1"} {
		if code, _, b := get(t, srv.URL+path); code != 400 || decodeRefusal(t, b).Reason != MalformedRequest {
			t.Errorf("%s: %d %s", path, code, b)
		}
	}
	for _, path := range []string{"/v1/artifacts/ab", "/v1/lists/ab", "/v1/lists/" + strings.Repeat("AB", 32)} {
		if code, _, b := get(t, srv.URL+path); code != 404 || decodeRefusal(t, b).Reason != NotFound {
			t.Errorf("%s: %d %s", path, code, b)
		}
	}
	code, _, b := get(t, srv.URL+"/v1/crates/alpha/1.0.0/builds?from=4")
	if !strings.Contains(string(b), `"index":4`) || strings.Contains(string(b), `"index":2,`) || code != 200 {
		t.Errorf("%d %s", code, b)
	}
}

// TestBuildsComeInPages: whoever looks for what he said himself must see all.
func TestBuildsComeInPages(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	w.cfg.testingOnlyPage = 2
	var members []builder
	for i := range 5 {
		members = append(members, newBuilder(fmt.Sprint("b", i)))
	}
	many := setOf("many", members...)
	w.cfg.Builds.Sets = append(w.cfg.Builds.Sets, many)
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	w.submit(l, source, raw)
	c := serve(t, l)
	for i, m := range members {
		w.build(l, m.says(t, many, source, claimOf(1)), nil)
		rows := testlog.Must(c.Builds(t.Context(), entry.Subject{Name: "alpha", Version: "1.0.0"}))
		if len(rows) != i+1 || rows[i].Index != uint64(2*i+2) {
			t.Errorf("%d rows of %d: %+v", len(rows), i+1, rows)
		}
	}
}

// TestAListIsThereBeforeItsEntry, whatever becomes of that: nobody sees an entry without its list.
func TestAListIsThereBeforeItsEntry(t *testing.T) {
	t.Parallel()
	for _, happened := range []bool{false, true} {
		w := buildWorld(t)
		var l *Log
		faults, seen := 1, 0
		w.cfg.testingOnlyAppender = func(add tessera.AddFn) tessera.AddFn {
			return func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
				if testlog.Must(newRow(0, e.Data())).kind != kindBuild {
					return add(ctx, e)
				}
				seen++
				if _, kept, err := l.builds.list(ctx, sha256.Sum256(crates)); !kept || err != nil {
					t.Errorf("an entry is added before its list is kept: %v", err)
				}
				if faults--; faults < 0 {
					return add(ctx, e)
				}
				return func() (tessera.Index, error) {
					if happened {
						if _, err := add(ctx, e)(); err != nil {
							return tessera.Index{}, err
						}
					}
					return tessera.Index{}, errors.New("the disk is on fire")
				}
			}
		}
		l = w.open()
		source, raw := w.good("alpha", "1.0.0")
		w.submit(l, source, raw)
		one := ann.says(t, rebuilders, source, claimOf(1))
		_, err := l.SubmitBuild(t.Context(), one, bytes.NewReader(crates), nil)
		if happened {
			fatalIf(t, err)
		} else if !errors.Is(err, errNotAdded) {
			t.Fatalf("got %v", err)
		}
		w.build(l, one, nil)
		wantSize(t, l, 2)
		if want := map[bool]int{false: 2, true: 1}[happened]; seen != want {
			t.Errorf("the entry was added %d times", seen)
		}
	}
}
