package client

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

func TestVerifySaysWhatAPersonWantsToKnow(t *testing.T) {
	w := newWorld(t)
	r := testlog.Must(w.verify(w.bundle))
	src := w.entry.Claim.(*entry.Source)
	if r.Name != "hello-proof" || r.Version != "0.1.0" || r.SHA256 != sha256.Sum256(w.raw) || r.Commit != src.Commit ||
		r.Path != "" || r.Program != w.pv.program || r.Index != helloIndex || r.Trailing != 0 ||
		!slices.Equal(r.Unproven, []string{"Cargo.toml"}) || !bytes.Equal(r.EntryBytes, w.tree.Leaves[helloIndex]) {
		t.Errorf("result: %+v", r)
	}
	c := r.Checkpoint
	if c.Origin != w.origin || c.Size != 7 || c.Root != w.tree.Root(7) || !c.Witnessed.Equal(now) || len(c.Cosignatures) != 3 {
		t.Errorf("checkpoint: %+v", c)
	}
	want := Cosignature{"W3", "w3.example", w.w3.ID, now}
	if c.Cosignatures[2] != want {
		t.Errorf("third cosignature: %+v, want %+v", c.Cosignatures[2], want)
	}
	r = testlog.Must(Verify(w.inner, w.inBnd, w.policy, w.pv, w.rules))
	if r.Path != "crates/inner" || r.Index != innerIndex {
		t.Errorf("inner: %+v", r)
	}
	if !slices.Equal(r.Derived, []string{".cargo_vcs_info.json", "Cargo.toml"}) || !slices.Contains(r.Proven, "Cargo.toml.orig") ||
		!slices.Contains(r.Proven, "src/lib.rs") || slices.Contains(r.Proven, "Cargo.toml") {
		t.Errorf("inner: proven %q, derived %q", r.Proven, r.Derived)
	}
}

func TestVerifyBundleNeedsNoCrate(t *testing.T) {
	w := newWorld(t)
	r := testlog.Must(VerifyBundle(w.bundle, w.policy, w.pv, w.rules))
	if r.Name != "hello-proof" || r.Index != helloIndex {
		t.Errorf("result: %+v", r)
	}
}

// TestBytesAfterTheArchiveAreReported: cargo ignores them, and so does the claim;
// the subject's hash covers them.
func TestBytesAfterTheArchiveAreReported(t *testing.T) {
	w := newWorld(t)
	raw := append(slices.Clone(w.raw), "tail"...)
	e := w.prove(t, raw, "hello-proof", "")
	r := testlog.Must(Verify(raw, w.logged(e), w.policy, w.pv, w.rules))
	if r.Trailing != 4 {
		t.Errorf("Trailing = %d, want 4", r.Trailing)
	}
}

// TestWhatTheAuthorNamesAndTheCrateLacksIsReported: a build script left out runs no more.
func TestWhatTheAuthorNamesAndTheCrateLacksIsReported(t *testing.T) {
	w := newWorld(t)
	orig := forge.Manifest("hello-proof", "0.1.0")
	manifest := orig
	orig.Path += ".orig"
	orig.Content += "build = \"checks.rs\"\n[[test]]\nname = \"t\"\n"
	manifest.Content += "build = false\n"
	raw := testlog.Must(forge.Pack("hello-proof", "0.1.0", manifest, orig, forge.File{Path: "src/lib.rs"}))
	r := testlog.Must(Verify(raw, w.logged(w.prove(t, raw, "hello-proof", "")), w.policy, w.pv, w.rules))
	if want := []string{"checks.rs", "tests/t.rs"}; !slices.Equal(r.LeftOut, want) {
		t.Errorf("LeftOut = %q, want %q", r.LeftOut, want)
	}
	if r := testlog.Must(w.verify(w.bundle)); r.LeftOut != nil {
		t.Errorf("of an honest crate LeftOut = %q", r.LeftOut)
	}
}

// TestEveryByteOfABundleIsBound flips every byte of a bundle that needs all its
// signatures, in several ways. There is no byte whose change is let pass: what
// the package comment calls free are whole signature lines.
func TestEveryByteOfABundleIsBound(t *testing.T) {
	w := newWorld(t)
	// One Ed25519 witness suffices here; ML-DSA lines are flipped below.
	w.policy = parsePolicy(t, "log "+w.log.VKey, "witness W1 "+w.w1.VKey, "quorum W1")
	bundle := w.withCheckpoint(w.checkpoint(7, w.log, w.w1))
	testlog.Must(w.verify(bundle))
	for i := range bundle {
		for _, x := range []byte{0x01, 0x02, 0x04, 0x20, 0x80, 0xff} {
			bad := slices.Clone(bundle)
			bad[i] ^= x
			if _, err := w.verify(bad); err == nil {
				t.Errorf("byte %d changed from %q to %q: believed", i, bundle[i], bad[i])
			}
		}
		if _, err := w.verify(bundle[:i]); err == nil {
			t.Errorf("cut after %d bytes: believed", i)
		}
		if _, err := w.verify(slices.Delete(slices.Clone(bundle), i, i+1)); err == nil {
			t.Errorf("byte %d removed: believed", i)
		}
	}
}

func TestEveryByteOfAnMLDSACosignatureIsBound(t *testing.T) {
	w := newWorld(t)
	w.policy = parsePolicy(t, "log "+w.log.VKey, "witness W3 "+w.w3.VKey, "quorum W3")
	signed := w.checkpoint(7, w.log, w.w3)
	testlog.Must(w.policy.CheckCheckpoint(signed))
	start := len(signed) - len(sigLine(t, signed, w.w3.KeyName))
	for i := start; i < len(signed); i++ {
		bad := slices.Clone(signed)
		bad[i] ^= 1 << (i % 8)
		if _, err := w.policy.CheckCheckpoint(bad); err == nil {
			t.Errorf("byte %d changed from %q to %q: believed", i, signed[i], bad[i])
		}
	}
}

func TestEveryByteOfACrateIsBound(t *testing.T) {
	w := newWorld(t)
	for i := range w.raw {
		bad := slices.Clone(w.raw)
		bad[i] ^= 1 << (i % 8)
		if _, err := Verify(bad, w.bundle, w.policy, w.pv, w.rules); !errors.Is(err, ErrSubject) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	for _, bad := range [][]byte{nil, w.raw[:len(w.raw)-1], append(slices.Clone(w.raw), 0)} {
		if _, err := Verify(bad, w.bundle, w.policy, w.pv, w.rules); !errors.Is(err, ErrSubject) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

// TestNothingFalseIsBelieved is the list of lies: each differs from a valid
// bundle in one thing, signed, cosigned and included as well as it can be.
func TestNothingFalseIsBelieved(t *testing.T) {
	w := newWorld(t)
	lines := func(b []byte) [][]byte { return bytes.SplitAfter(b, []byte("\n")) }
	signed := w.checkpoint(7, w.all...)
	with := func(change func(p *Bundle)) []byte {
		p := w.tree.proof(helloIndex, 7, signed)
		change(p)
		return marshal(p)
	}
	text := w.tree.Head(w.origin, 7)
	otherTree := newTree(append(slices.Clone(w.tree.Leaves[:6]), []byte("another"))...)
	evil := testlog.LogKey("example.com/evil")
	imposter := testlog.LogKey("imposter")
	imposter.KeyName = w.origin
	renamed := *w.w1
	renamed.KeyName = "elsewhere.example"
	edited := func(old, new string) []byte { return bytes.Replace(w.bundle, []byte(old), []byte(new), 1) }
	sized := func(size string) string { return strings.Replace(text, "\n7\n", size, 1) }
	plus := func(more []byte, k *testlog.Key) []byte {
		return w.withCheckpoint(append(slices.Clone(signed), sigLine(t, more, k.KeyName)...))
	}
	flipSig := func(name string) []byte {
		b := slices.Clone(signed)
		spoil(sigLine(t, b, name))
		return b
	}

	for _, probe := range []struct {
		name   string
		bundle []byte
		want   error
	}{
		// Sizes and form.
		{"empty", nil, ErrBundle},
		{"too large", make([]byte, MaxBundleSize+1), ErrBundle},
		{"no extra line", marshal(&Proof{helloIndex, nil, signed, nil}), ErrBundle},
		{"an entry as the extra line", marshal(&Proof{helloIndex, nil, signed, w.tree.Leaves[helloIndex]}), ErrBundle},
		{"extra line twice", bytes.Replace(w.bundle, []byte("extra "), append(slices.Clone(lines(w.bundle)[1]), "extra "...), 1), ErrBundle},
		{"index line twice", edited("index 2\n", "index 2\nindex 2\n"), ErrBundle},
		{"index with a zero in front", edited("index 2\n", "index 02\n"), ErrBundle},
		{"index with a sign", edited("index 2\n", "index +2\n"), ErrBundle},
		{"CRLF", bytes.ReplaceAll(w.bundle, []byte("\n"), []byte("\r\n")), ErrBundle},
		{"CR in the hashes", edited("=\n", "=\r\n"), ErrBundle},
		{"CR in the checkpoint", edited("example.com/log\n", "example.com/log\r\n"), ErrBundle},
		{"without the checkpoint", w.bundle[:len(w.bundle)-len(signed)], ErrBundle},
		{"checkpoint twice", append(slices.Clone(w.bundle), signed...), ErrLogSignature},
		{"empty line at the end", append(slices.Clone(w.bundle), '\n'), ErrCheckpoint},
		{"text before the header", append([]byte("\n"), w.bundle...), ErrBundle},

		// The log's signature.
		{"no signatures", w.withCheckpoint([]byte(text + "\n")), ErrCheckpoint},
		{"not signed by the log", w.signed(text, w.w1, w.w2, w.w3), ErrLogSignature},
		{"signed by strangers only", w.signed(text, imposter), ErrLogSignature},
		{"another key under the log's name", w.signed(text, imposter, w.w1, w.w2, w.w3), ErrLogSignature},
		{"bad signature of the log", w.withCheckpoint(flipSig(w.log.KeyName)), ErrLogSignature},
		{"log's signature of another size", w.withCheckpoint(bytes.Replace(signed, []byte("\n7\n"), []byte("\n6\n"), 1)), ErrLogSignature},
		{"a log that the policy does not list", w.signed(w.tree.Head(evil.KeyName, 7), evil, w.w1, w.w2, w.w3), ErrLog},
		{"another origin under the log's key", w.signed(w.tree.Head("example.com/other", 7), w.all...), ErrLog},
		{"origin is a witness's name", w.signed(w.tree.Head(w.w1.KeyName, 7), w.all...), ErrLog},
		{"log signed twice", plus(signed, w.log), ErrCheckpoint},
		{"bad second line of the log", plus(flipSig(w.log.KeyName), w.log), ErrCheckpoint},

		// The checkpoint's form, with good signatures of it.
		{"size with a zero in front", w.signed(sized("\n07\n"), w.log), ErrCheckpoint},
		{"size with a sign", w.signed(sized("\n+7\n"), w.log), ErrCheckpoint},
		{"root of 31 bytes", w.signed(w.origin+"\n7\n"+b64(make([]byte, 31))+"\n", w.log), ErrCheckpoint},
		{"no root", w.signed(w.origin+"\n7\n", w.log), ErrCheckpoint},
		{"only an origin", w.signed(w.origin+"\n", w.log), ErrCheckpoint},
		{"extension line", w.signed(text+"extension\n", w.log, w.w1, w.w2), ErrCheckpoint},
		{"size 0 with a root", w.signed(sized("\n0\n"), w.all...), ErrCheckpoint},

		// Witnesses.
		{"no cosignature", w.signed(text, w.log), ErrQuorum},
		{"one cosignature too few", w.signed(text, w.log, w.w1, w.w3), ErrQuorum},
		{"an unknown witness instead", w.signed(text, w.log, w.w1, w.w3, testlog.WitnessKey("w9.example", now)), ErrQuorum},
		{"a known key under another name", w.signed(text, w.log, &renamed, w.w2, w.w3), ErrQuorum},
		{"bad cosignature", w.withCheckpoint(flipSig(w.w2.KeyName)), ErrCosignature},
		{"bad ML-DSA cosignature", w.withCheckpoint(flipSig(w.w3.KeyName)), ErrCosignature},
		{"cosignature of a smaller tree", w.withCheckpoint(append(testlog.Sign(text, w.log, w.w1, w.w3), sigLine(t, w.checkpoint(6, w.w2), w.w2.KeyName)...)), ErrCosignature},
		{"one witness twice", plus(signed, w.w1), ErrCheckpoint},
		{"the same witness at two times", plus(testlog.Sign(text, testlog.WitnessKey("w1.example", now.Add(time.Hour))), w.w1), ErrCheckpoint},

		// Inclusion.
		{"index of another entry", with(func(p *Bundle) { p.Index = 3 }), ErrInclusion},
		{"index beyond the tree", with(func(p *Bundle) { p.Index = 7 }), ErrInclusion},
		{"largest index", with(func(p *Bundle) { p.Index = 1<<63 - 1 }), ErrInclusion},
		{"path cut off", with(func(p *Bundle) { p.Hashes = p.Hashes[:2] }), ErrInclusion},
		{"no path", with(func(p *Bundle) { p.Hashes = nil }), ErrInclusion},
		{"path too long", with(func(p *Bundle) { p.Hashes = append(p.Hashes, p.Hashes[0]) }), ErrInclusion},
		{"path swapped", with(func(p *Bundle) { p.Hashes[0], p.Hashes[1] = p.Hashes[1], p.Hashes[0] }), ErrInclusion},
		{"path of another entry", with(func(p *Bundle) { p.Hashes = w.tree.proof(innerIndex, 7, signed).Hashes }), ErrInclusion},
		{"another entry of the log", with(func(p *Bundle) { p.Entry = w.tree.Leaves[innerIndex] }), ErrInclusion},
		{"checkpoint of another tree", w.signed(otherTree.Head(w.origin, 7), w.all...), ErrInclusion},
		{"checkpoint of a smaller tree", w.withCheckpoint(w.checkpoint(6, w.all...)), ErrInclusion},
		{"checkpoint before the entry", w.withCheckpoint(w.checkpoint(2, w.all...)), ErrInclusion},
		{"checkpoint of the empty tree", w.signed(w.origin+"\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", w.all...), ErrInclusion},
		{"root itself as the entry's only hash", w.signed(w.origin+"\n1\n"+w.tree.Root(7).String()+"\n", w.all...), ErrInclusion},

		// The entry, honestly logged.
		{"not an entry", w.loggedBytes([]byte("leaf")), ErrEntry},
		{"bytes after the entry", w.loggedBytes(append(slices.Clone(w.tree.Leaves[helloIndex]), 0)), ErrEntry},
		{"entry cut off", w.loggedBytes(w.tree.Leaves[helloIndex][:50]), ErrEntry},
		{"bundle of another crate", w.inBnd, ErrSubject},
		{"another hash", w.changed(func(e *entry.Entry, _ *entry.Source) { e.Subject.SHA256[0] ^= 1; w.believe(e) }), ErrSubject},
		{"another name for the same bytes", w.changed(func(e *entry.Entry, _ *entry.Source) { e.Subject.Name = "hello-prof"; w.believe(e) }), ErrFiles},
		{"another version for the same bytes", w.changed(func(e *entry.Entry, _ *entry.Source) { e.Subject.Version = "0.1.1"; w.believe(e) }), ErrFiles},
		{"unknown program", w.changed(func(e *entry.Entry, _ *entry.Source) { e.Proof.Program[0] ^= 1 }), ErrProgram},
		{"another proof", w.changed(func(e *entry.Entry, _ *entry.Source) { e.Proof.Parts = [][]byte{[]byte("junk")} }), ErrProof},
		{"proof of another crate", w.changed(func(e *entry.Entry, _ *entry.Source) { e.Proof = w.inEnt.Proof }), ErrProof},
		{"another commit", w.changed(func(_ *entry.Entry, s *entry.Source) { s.Commit[1] ^= 1 }), ErrProof},
		{"another commit, with a proof", w.changed(func(e *entry.Entry, s *entry.Source) { s.Commit[0] ^= 1; w.believe(e) }), ErrFiles},
		{"another path, with a proof", w.changed(func(e *entry.Entry, s *entry.Source) { s.Path = "crates/x"; w.believe(e) }), ErrFiles},
		{"other files, with a proof", w.changed(func(e *entry.Entry, s *entry.Source) { s.Files[31] ^= 1; w.believe(e) }), ErrFiles},
		{"Cargo.toml claimed as proven, with a proof", w.changed(func(e *entry.Entry, s *entry.Source) { s.Unproven = nil; w.believe(e) }), ErrFiles},
		{"sources claimed as unproven, with a proof", w.changed(func(e *entry.Entry, s *entry.Source) {
			s.Unproven = []string{"Cargo.toml", "src/lib.rs"}
			w.believe(e)
		}), ErrFiles},
	} {
		r, err := w.verify(probe.bundle)
		if !errors.Is(err, probe.want) || r != nil {
			t.Errorf("%s: got %v, want %v", probe.name, err, probe.want)
		}
		if e := new(Error); err != nil && !errors.As(err, &e) {
			t.Errorf("%s: the error is no *Error: %v", probe.name, err)
		}
	}
}

func TestRulesNarrowWhatIsBelieved(t *testing.T) {
	w := newWorld(t)
	manifest := []string{"Cargo.toml"}
	for _, probe := range []struct {
		name  string
		rules Rules
		want  error
	}{
		{"the default rules: Cargo.toml is unproven", DefaultRules(), ErrUnproven},
		{"rules that allow it", w.rules, nil},
		{"the zero rules: Cargo.toml is unproven", Rules{}, ErrUnproven},
		{"only Cargo.lock", Rules{AllowUnproven: []string{"Cargo.lock"}}, ErrUnproven},
		{"the package that was wanted", Rules{Name: "hello-proof", Version: "0.1.0", AllowUnproven: manifest}, nil},
		{"another package wanted", Rules{Name: "hello-proof2", AllowUnproven: manifest}, ErrSubject},
		{"another version wanted", Rules{Name: "hello-proof", Version: "0.1.1", AllowUnproven: manifest}, ErrSubject},
		{"small crates only", Rules{AllowUnproven: manifest, Limits: crate.Limits{Compressed: 100, Inflated: 1 << 20, Files: 100}}, ErrFiles},
		{"few files only", Rules{AllowUnproven: manifest, Limits: crate.Limits{Compressed: 1 << 20, Inflated: 1 << 20, Files: 1}}, ErrFiles},
		{"fresh", Rules{AllowUnproven: manifest, MaxAge: time.Hour, Now: now.Add(time.Hour)}, nil},
		{"too old", Rules{AllowUnproven: manifest, MaxAge: time.Hour, Now: now.Add(time.Hour + time.Second)}, ErrStale},
	} {
		if _, err := Verify(w.raw, w.bundle, w.policy, w.pv, probe.rules); !errors.Is(err, probe.want) {
			t.Errorf("%s: got %v, want %v", probe.name, err, probe.want)
		}
	}
}

// TestAnUnloggedEntryIsHeldToAllButTheLog, with every byte of it.
func TestAnUnloggedEntryIsHeldToAllButTheLog(t *testing.T) {
	w := newWorld(t)
	raw := w.tree.Leaves[helloIndex]
	want, got := testlog.Must(w.verify(w.bundle)), testlog.Must(VerifyUnlogged(w.raw, raw, w.pv, w.rules))
	if got.SHA256 != want.SHA256 || got.Commit != want.Commit || !slices.Equal(got.Proven, want.Proven) || got.Checkpoint.Size != 0 {
		t.Errorf("it is %+v", got)
	}
	for i := range raw {
		bad := slices.Clone(raw)
		bad[i] ^= 1
		if _, err := VerifyUnlogged(w.raw, bad, w.pv, w.rules); err == nil {
			t.Errorf("byte %d of the entry is not bound", i)
		}
	}
	bad := slices.Clone(w.raw)
	bad[len(bad)/2] ^= 1
	for name, c := range map[string]struct {
		raw, entry []byte
		pv         entry.Verifier
		rules      Rules
		want       error
	}{
		"another .crate":         {bad, raw, w.pv, w.rules, ErrSubject},
		"another crate's entry":  {w.raw, w.tree.Leaves[innerIndex], w.pv, w.rules, ErrSubject},
		"another version wanted": {w.raw, raw, w.pv, Rules{Version: "0.1.1", AllowUnproven: w.rules.AllowUnproven}, ErrSubject},
		"unproven files":         {w.raw, raw, w.pv, Rules{}, ErrUnproven},
		"no verifier":            {w.raw, raw, nil, w.rules, ErrProgram},
		"too large":              {w.raw, make([]byte, entry.MaxSize+1), w.pv, w.rules, ErrEntry},
		"nothing":                {w.raw, nil, w.pv, w.rules, ErrEntry},
	} {
		if _, err := VerifyUnlogged(c.raw, c.entry, c.pv, c.rules); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoPolicyNoVerifierMeansNo(t *testing.T) {
	w := newWorld(t)
	for _, p := range []*Policy{nil, {}, parsePolicy(t, "quorum none"), parsePolicy(t, "witness W "+w.w1.VKey, "quorum W")} {
		if _, err := Verify(w.raw, w.bundle, p, w.pv, w.rules); !errors.Is(err, ErrPolicy) {
			t.Errorf("policy %+v: %v", p, err)
		}
	}
	if _, err := Verify(w.raw, w.bundle, w.policy, nil, w.rules); !errors.Is(err, ErrProgram) {
		t.Errorf("no verifier: %v", err)
	}
	if _, err := VerifyBundle(w.bundle, w.policy, nil, w.rules); !errors.Is(err, ErrProgram) {
		t.Errorf("no verifier: %v", err)
	}
}

// refusingVerifier records whether it was asked.
type refusingVerifier struct{ asked bool }

func (v *refusingVerifier) Chain(e *entry.Entry) (entry.Chain, error) {
	return testlog.ChainOf(e, v.check(e))
}

func (v *refusingVerifier) check(e *entry.Entry) error {
	v.asked = true
	return errors.New("no")
}

// TestCheapAndAuthenticatedComesFirst: no byte of a stranger reaches the proof
// verifier, and a .crate that nobody vouched for is not inflated.
func TestCheapAndAuthenticatedComesFirst(t *testing.T) {
	w := newWorld(t)
	v := new(refusingVerifier)
	unsigned := w.signed(w.tree.Head(w.origin, 7), w.w1, w.w2, w.w3)
	if _, err := Verify(w.raw, unsigned, w.policy, v, w.rules); !errors.Is(err, ErrLogSignature) || v.asked {
		t.Errorf("err = %v, proof verifier asked: %v", err, v.asked)
	}
	if _, err := Verify(w.inner, w.bundle, w.policy, v, w.rules); !errors.Is(err, ErrSubject) || v.asked {
		t.Errorf("err = %v, proof verifier asked: %v", err, v.asked)
	}
}

// TestAllGoodProofsAgreeWithTheOthers verifies every entry of trees of every
// small size with our code and with torchwood's, and mangles every path.
func TestAllGoodProofsAgreeWithTheOthers(t *testing.T) {
	log, w1 := testlog.LogKey("example.com/log"), testlog.WitnessKey("w1.example", now)
	policy := parsePolicy(t, "log "+log.VKey, "witness W1 "+w1.VKey, "quorum W1")
	theirs := testlog.Must(torchwood.ParsePolicy([]byte("log " + log.VKey + "\nwitness W1 " + w1.VKey + "\nquorum W1\n")))
	tr := bigTree(17)
	for size := int64(1); size <= tr.Size(); size++ {
		signed := testlog.Sign(tr.Head(log.KeyName, size), log, w1)
		c := testlog.Must(policy.CheckCheckpoint(signed))
		for i := range size {
			good := testlog.Must(ParseBundle(tr.Bundle(i, size, signed)))
			fatalIfErr(t, included(good, c))
			fatalIfErr(t, torchwood.VerifyProof(theirs, tlog.RecordHash(tr.Leaves[i]), marshal(good)))
			for name, bad := range mangled(good, uint64(size)) {
				if err := included(bad, c); !errors.Is(err, ErrInclusion) {
					t.Errorf("size %d, entry %d, %s: %v", size, i, name, err)
				}
			}
		}
	}
}

func included(b *Bundle, c Checkpoint) error {
	return includes(c, b.Index, b.Entry, b.Hashes, ErrInclusion)
}

// mangled is the list of corruptions of an inclusion proof.
func mangled(good *Bundle, size uint64) map[string]*Bundle {
	out := make(map[string]*Bundle)
	change := func(name string, f func(p *Bundle)) {
		p := *good
		p.Hashes = slices.Clone(good.Hashes)
		f(&p)
		out[name] = &p
	}
	for _, d := range []uint64{1, 2, 4, 8, 16, size} {
		change(fmt.Sprintf("index + %d", d), func(p *Bundle) { p.Index += d })
		if good.Index >= d {
			change(fmt.Sprintf("index - %d", d), func(p *Bundle) { p.Index -= d })
		}
		change(fmt.Sprintf("index xor %d", d), func(p *Bundle) { p.Index ^= d })
	}
	change("index 2^63 - 1", func(p *Bundle) { p.Index = 1<<63 - 1 })
	change("another leaf", func(p *Bundle) { p.Entry = []byte("WrongLeaf") })
	change("empty leaf", func(p *Bundle) { p.Entry = nil })
	change("root appended", func(p *Bundle) { p.Hashes = append(p.Hashes, [32]byte{}) })
	change("hash prepended", func(p *Bundle) { p.Hashes = slices.Insert(p.Hashes, 0, [32]byte{}) })
	leaf := entry.LeafHash(good.Entry)
	change("leaf hash prepended", func(p *Bundle) { p.Hashes = slices.Insert(p.Hashes, 0, leaf) })
	for i := range good.Hashes {
		change(fmt.Sprintf("hash %d changed", i), func(p *Bundle) { p.Hashes[i][i] ^= 0x10 })
		change(fmt.Sprintf("hash %d removed", i), func(p *Bundle) { p.Hashes = slices.Delete(p.Hashes, i, i+1) })
		change(fmt.Sprintf("hash %d doubled", i), func(p *Bundle) { p.Hashes = slices.Insert(p.Hashes, i, p.Hashes[i]) })
		change(fmt.Sprintf("cut to %d hashes", i), func(p *Bundle) { p.Hashes = p.Hashes[:i] })
		if i > 0 {
			change(fmt.Sprintf("hashes %d and %d swapped", i-1, i), func(p *Bundle) { p.Hashes[i-1], p.Hashes[i] = p.Hashes[i], p.Hashes[i-1] })
		}
	}
	// The inner node that leaf and sibling make, given as a leaf of a tree that
	// is one level lower: leaves and nodes are hashed apart, so it is none.
	if len(good.Hashes) > 0 {
		node := tlog.NodeHash(tlog.Hash(leaf), tlog.Hash(good.Hashes[0]))
		change("inner node as the leaf", func(p *Bundle) { p.Entry, p.Hashes, p.Index = node[:], p.Hashes[1:], p.Index/2 })
	}
	return out
}

// TestEitherOfTwoLogsIsEnough: the specification accepts any one of the
// listed logs, torchwood's parser wants all.
func TestEitherOfTwoLogsIsEnough(t *testing.T) {
	w := newWorld(t)
	other := testlog.LogKey("example.com/second")
	w.policy = parsePolicy(t, "log "+other.VKey, "log "+w.log.VKey, "witness W1 "+w.w1.VKey, "quorum W1")
	testlog.Must(w.verify(w.bundle))
	r := testlog.Must(w.verify(w.signed(w.tree.Head(other.KeyName, 7), other, w.w1)))
	if r.Checkpoint.Origin != other.KeyName {
		t.Errorf("origin %q", r.Checkpoint.Origin)
	}
	// But not the one's signature under the other's name.
	if _, err := w.verify(w.signed(w.tree.Head(other.KeyName, 7), w.log, w.w1)); !errors.Is(err, ErrLogSignature) {
		t.Errorf("crossed: %v", err)
	}
}
