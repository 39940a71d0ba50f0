package verify_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"cratelog/build"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/monitor/web/verify"
)

func now() time.Time { return time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC) }

// world is a log with entries, and a key that one operator made.
type world struct {
	log  *testlog.Log
	solo *forge.Forger
}

func newWorld() *world {
	return &world{testlog.New("log.example/1", 2, now), testlog.Must(forge.Invent("verify", "solo: Example Org", 41))}
}

// question logs an entry and returns the strictest question about it, with the world's trust file and program.
func (w *world) question(e *entry.Entry) *verify.Question {
	w.log.Add(testlog.Must(e.Marshal()))
	n := w.log.Tree.Size()
	return &verify.Question{Bundle: w.bundle(n-2, n),
		Trust: string(w.log.Trust("https://log.example/")), Programs: string(testlog.Must(w.solo.Program().Marshal())),
		Registry: e.Subject.Registry, Name: e.Subject.Name, Version: e.Subject.Version}
}

// bundle is that of an entry among the first size, cosigned by all witnesses.
func (w *world) bundle(i, size int64) []byte {
	return w.log.Tree.Bundle(i, size, w.log.Sign(w.log.Tree, size, w.log.Witnesses...))
}

// hello is the claim of testdata about hello-proof 0.1.0, which is true, proven with the world's key.
func (w *world) hello(t testing.TB) *entry.Entry {
	e := fixture.Entry(t, "hello-proof-0.1.0")
	if err := w.solo.Prove(e, testlog.Must(forge.List(fixture.Crate(t, "hello-proof", "0.1.0"), e))); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestTheAnswerSaysWhatWasChecked, and nothing that was not.
func TestTheAnswerSaysWhatWasChecked(t *testing.T) {
	w := newWorld()
	raw, opened := fixture.Crate(t, "hello-proof", "0.1.0"), fixture.Read(t, "hello-proof-0.1.0.opening")
	honest := w.question(w.hello(t))
	for name, c := range map[string]struct {
		change func(q *verify.Question)
		state  string
		unsafe bool
		says   string // somewhere in the answer
		step   string // "STATE WORDS" of one step
	}{
		"the bundle alone": {nil, verify.Logged, false, "the crate's files were not checked", "not checked The .crate's files"},
		"the one checksum": {nil, verify.Logged, false, "log.example/1 holds one checksum for hello-proof 0.1.0, as of 2026-09-01T12:00:00Z.",
			"ok The tree ends in a seal"},
		"the crate":   {func(q *verify.Question) { q.Crate = raw }, verify.Verified, false, "Verified by your browser", "ok The .crate's files"},
		"the opening": {func(q *verify.Question) { q.Crate, q.Opening = raw, opened }, verify.Verified, false, "By SHA-1 alone", "ok Git's own objects"},
		"an opening without the crate": {func(q *verify.Question) { q.Opening = opened }, verify.Logged, false, "were not checked",
			"not checked Git's own objects"},
		"a broken opening": {func(q *verify.Question) { q.Crate, q.Opening = raw, opened[1:] }, verify.Refused, false, "the opening shows nothing",
			"failed Git's own objects"},
		"an empty crate":     {func(q *verify.Question) { q.Crate = []byte{} }, verify.Refused, false, "another crate", "failed The entry is about this crate"},
		"another crate":      {func(q *verify.Question) { q.Crate = fixture.Crate(t, "hello-inner", "0.1.0") }, verify.Refused, false, "another crate", "failed The entry"},
		"another name":       {func(q *verify.Question) { q.Name = "serde" }, verify.Refused, false, "wanted is serde", "failed The entry is about"},
		"another version":    {func(q *verify.Question) { q.Version = "9.9.9" }, verify.Refused, false, "wanted is hello-proof 9.9.9", "failed The entry is about"},
		"another registry":   {func(q *verify.Question) { q.Registry = "https://index.example/x" }, verify.Refused, false, "wanted is that of", "failed The entry is about"},
		"no program":         {func(q *verify.Question) { q.Programs = "" }, verify.Refused, false, "program not accepted", "failed The proof is of a program"},
		"no JSON":            {func(q *verify.Question) { q.Programs = "{}}" }, verify.Refused, false, "program", "failed The trust file and the programs"},
		"many programs":      {func(q *verify.Question) { q.Programs = strings.Repeat("{}", 100) }, verify.Refused, false, "program", "failed The trust file"},
		"the program twice":  {func(q *verify.Question) { q.Programs += q.Programs }, verify.Logged, false, "solo: Example Org", "ok The proof holds"},
		"no trust file":      {func(q *verify.Question) { q.Trust = "" }, verify.Refused, false, "trust file", "failed The trust file"},
		"no bundle":          {func(q *verify.Question) { q.Bundle = nil }, verify.Refused, false, "malformed bundle", "failed The bundle"},
		"a quorum of nobody": {noQuorum, verify.Refused, false, "no witnesses asked for", "failed The log signed"},
		"a quorum of nobody, allowed": {func(q *verify.Question) { noQuorum(q); q.Development = true }, verify.Logged, true, "UNSAFE: no witnesses",
			"ok The log signed"},
	} {
		q := *honest
		if c.change != nil {
			c.change(&q)
		}
		holds(t, name, verify.Check(&q), c.state, c.unsafe, c.says, c.step)
	}
}

func noQuorum(q *verify.Question) {
	q.Trust = q.Trust[:strings.Index(q.Trust, "\n")+1] + "quorum none\n"
}

// holds compares an answer. One that is not refused has facts, and no failed step.
func holds(t *testing.T, name string, a *verify.Answer, state string, unsafe bool, says, step string) {
	t.Helper()
	text := string(testlog.Must(json.Marshal(a)))
	failed, found := 0, false
	for _, s := range a.Steps {
		if s.State == "failed" {
			failed++
		}
		found = found || strings.HasPrefix(s.State+" "+s.What, step)
	}
	plain := strings.NewReplacer(`\u003e`, ">", `\"`, `"`).Replace(text)
	if a.State != state || a.Unsafe != unsafe || !strings.Contains(plain, says) || !found || (failed == 1) != (state == verify.Refused) ||
		(len(a.Facts) == 0) != (state == verify.Refused) || a.Title == "" || a.Text == "" {
		t.Errorf("%s: wanted is %s, unsafe %t, with %q and %q:\n%s", name, state, unsafe, says, step, text)
	}
}

// TestADevelopmentKeyIsNeverGreen: refused, or UNSAFE if the reader wants it so.
func TestADevelopmentKeyIsNeverGreen(t *testing.T) {
	w := newWorld()
	q := w.question(fixture.Entry(t, "hello-proof-0.1.0"))
	q.Crate, q.Programs = fixture.Crate(t, "hello-proof", "0.1.0"), ""
	holds(t, "strict", verify.Check(q), verify.Refused, false, "program not accepted", "failed The proof is of a program")
	q.Development = true
	holds(t, "allowed", verify.Check(q), verify.Verified, true, "UNSAFE: a development key. Verified by your browser", "ok The .crate's files")
}

// TestWhatALogShouldNotHaveTakenIsRefused, although the log has it.
func TestWhatALogShouldNotHaveTakenIsRefused(t *testing.T) {
	w := newWorld()
	raw := fixture.Crate(t, "hello-proof", "0.1.0")
	for i := range 8 {
		e := w.hello(t)
		e.Proof.Parts[0] = bytes.Clone(e.Proof.Parts[0])
		e.Proof.Parts[0][i*len(e.Proof.Parts[0])/8+1] ^= 4
		q := w.question(e)
		q.Crate = raw
		holds(t, fmt.Sprint("a bit of the proof, ", i), verify.Check(q), verify.Refused, false, "proof does not hold", "failed The proof holds")
	}
	lie := w.hello(t)
	lie.Claim.(*entry.Source).Commit[0] ^= 1
	holds(t, "another commit", verify.Check(w.question(lie)), verify.Refused, false, "proof does not hold", "failed The proof holds")

	e := w.hello(t)
	e.Claim.(*entry.Source).Unproven = []string{"Cargo.toml"}
	if err := w.solo.Prove(e, testlog.Must(forge.List(raw, fixture.Entry(t, "hello-proof-0.1.0")))); err != nil {
		t.Fatal(err)
	}
	q := w.question(e)
	holds(t, "unproven", verify.Check(q), verify.Refused, false, "unproven files", "failed Nothing is left unproven")
	q.Crate = raw
	holds(t, "unproven, with the crate", verify.Check(q), verify.Refused, false, "files do not match the claim", "failed The .crate's files")
}

// TestWhatTheSealedIndexDoesNotShowIsRefused: whoever cosigned it.
func TestWhatTheSealedIndexDoesNotShowIsRefused(t *testing.T) {
	w := newWorld()
	q := w.question(w.hello(t))
	const sealed = "failed The tree ends in a seal"

	void := w.hello(t)
	void.Subject.SHA256[0] ^= 1
	holds(t, "void", verify.Check(w.question(void)), verify.Refused, false, "by entry 0, which was first", sealed)

	w.log.Tree.Append([]byte("no seal"))
	n := w.log.Tree.Size()
	q.Bundle = w.bundle(0, n)
	holds(t, "unsealed", verify.Check(q), verify.Refused, false, "the tree does not end in a seal: leaf 4 is none at all", sealed)
	w.log.Tree.SealAs(w.log.Tree.Map(0).Root())
	q.Bundle = w.bundle(0, n+1)
	holds(t, "another root", verify.Check(q), verify.Refused, false, "what the log's index holds for hello-proof 0.1.0", sealed)
	w.log.Tree.Omit(0)
	w.log.Tree.SealAs(w.log.Tree.Map(n + 1).Root())
	q.Bundle = w.bundle(0, n+2)
	holds(t, "left out", verify.Check(q), verify.Refused, false, "hello-proof 0.1.0", sealed)
}

// TestABuildersWordIsNoMoreThanThat: it is logged, cosigned, and a member's.
func TestABuildersWordIsNoMoreThanThat(t *testing.T) {
	w := newWorld()
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	vkey := testlog.Must(build.NewVKey("ann", key.Public())).String()
	set := &build.Set{Kind: build.Named, Name: "rebuilders", Members: []build.Member{{Name: "ann", Contact: "ann", VKey: vkey}}}
	e := testlog.Must(build.Sign(key, vkey, set, fixture.Entry(t, "hello-proof-0.1.0").Subject,
		&entry.Build{Binary: "tool", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{0xaf}, Toolchain: [32]byte{0x70}, Recipe: entry.Recipe1}))
	q := w.question(e)
	holds(t, "a build", verify.Check(q), verify.Logged, false, "the builder's word", "ok The builder is a member of the set")
	holds(t, "a build", verify.Check(q), verify.Logged, false, `"ann"`, "not checked The .crate's files")
	q.Crate = fixture.Crate(t, "hello-proof", "0.1.0")
	holds(t, "its crate", verify.Check(q), verify.Logged, false, "the builder's word", "not checked The .crate's files")
	q.Crate = fixture.Crate(t, "hello-proof", "0.1.1")
	holds(t, "another crate", verify.Check(q), verify.Refused, false, "this .crate has", "failed The entry is about")
	q.Crate, q.Version = nil, "0.1.1"
	holds(t, "another version", verify.Check(q), verify.Refused, false, "wanted is hello-proof 0.1.1", "failed The entry is about")
	q.Version = "0.1.0"
	e.Claim.(*entry.Build).Artifact[1] ^= 1
	holds(t, "another binary", verify.Check(w.question(e)), verify.Refused, false, "not of this claim", "failed The builder")
}

// FuzzCheck: whatever a page hands over is answered, and what is not the honest bundle is never believed
// under a trust file that it does not belong to.
func FuzzCheck(f *testing.F) {
	w := newWorld()
	honest := w.question(w.hello(f))
	raw, opened := fixture.Crate(f, "hello-proof", "0.1.0"), fixture.Read(f, "hello-proof-0.1.0.opening")
	f.Add(honest.Bundle, raw, opened, honest.Programs)
	f.Add([]byte(strings.Replace(string(honest.Bundle), "index 0", "index 1", 1)), raw[:100], []byte("commit 3\x00abc"), "{}")
	f.Fuzz(func(t *testing.T, bundle, raw, opened []byte, programs string) {
		q := *honest
		q.Bundle, q.Crate, q.Opening, q.Programs = bundle, raw, opened, programs
		a := verify.Check(&q)
		if a.State == verify.Refused {
			return
		}
		b, err := client.ParseBundle(bundle)
		if err != nil {
			t.Fatal(err)
		}
		// Another process has made another proof of the same.
		got, want := testlog.Must(entry.Parse(b.Entry)), w.hello(t)
		if got.Subject != want.Subject || !reflect.DeepEqual(got.Claim, want.Claim) {
			t.Errorf("another entry is %s: %q", a.State, bundle)
		}
	})
}
