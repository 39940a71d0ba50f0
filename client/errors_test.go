package client

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/internal/testlog"
)

// TestEveryRefusalSaysWhatIsWrongAndWhatToDo pins the sentences that people
// read.
func TestEveryRefusalSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	w := newWorld(t)
	text := w.tree.Head(w.origin, 7)
	otherTree := newTree([]byte("another"))
	spoiled := func(k *testlog.Key) []byte {
		b := w.checkpoint(7, w.all...)
		spoil(sigLine(t, b, k.KeyName))
		return w.withCheckpoint(b)
	}
	verify := func(bundle []byte, rules Rules) error {
		_, err := Verify(w.raw, bundle, w.policy, w.pv, rules)
		return err
	}
	def := DefaultRules()
	stale := Rules{MaxAge: time.Hour, Now: now.Add(49 * time.Hour)}
	_, noPolicy := Verify(w.raw, w.bundle, new(Policy), w.pv, def)
	_, noWitness := parsePolicy(t, "log "+w.log.VKey, "quorum none").CheckCheckpoint(w.checkpoint(7, w.log))
	_, otherCrate := Verify(w.inner, w.bundle, w.policy, w.pv, def)
	c := testlog.Must(w.policy.CheckCheckpoint(w.checkpoint(7, w.all...)))
	badHistory := CheckConsistency(Checkpoint{Origin: w.origin, Size: 3, Root: w.tree.Root(3)}, c, make([][32]byte, 3))

	for _, probe := range []struct {
		err    error
		reason error
		want   string
	}{
		{noPolicy, ErrPolicy, "trust file not usable: the trust file lists no log. Correct the trust file; nothing is believed without one."},
		{verify([]byte("x"), def), ErrBundle, `malformed bundle: its first line is not "c2sp.org/tlog-proof@v1". Fetch the bundle again; if it stays like this, tell the log's operator.`},
		{verify(w.signed(text+"x\n", w.log, w.w1, w.w2), def), ErrCheckpoint, "malformed checkpoint: it has extension lines, which cratelog's logs do not use. Fetch it again; if it stays like this, tell the log's operator."},
		{verify(w.signed(w.tree.Head("e\u202evil", 7), w.all...), def), ErrLog, `unknown log: the checkpoint names the log "e\u202evil", the trust file lists "example.com/log". Get a bundle of a log that the trust file lists; add a log to it only if you trust it.`},
		{verify(w.signed(text, w.w1), def), ErrLogSignature, `no valid signature of the log: witnesses cosigned the checkpoint of "example.com/log", but none of the 1 log keys that the trust file lists for it signed it. Do not use the crate: anyone can have written this bundle. Fetch it again from the log itself.`},
		{verify(spoiled(w.log), def), ErrLogSignature, fmt.Sprintf("no valid signature of the log: the signature line of the log key example.com/log+%08x does not verify. Do not use", w.log.ID)},
		{verify(spoiled(w.w1), def), ErrCosignature, fmt.Sprintf("bad cosignature: the line of the witness key w1.example+%08x does not verify. Do not use the crate. Fetch the bundle again; if it stays like this, tell the log's operator and the witness.", w.w1.ID)},
		{verify(w.signed(text, w.log, w.w1, w.w3), def), ErrQuorum, "too few witnesses: the quorum is 3 of (W1, W2, W3), cosigned by W1, W3. Do not use the crate yet: a log alone can show two people two different things. Fetch a bundle that more witnesses have cosigned."},
		{verify(w.signed(text, w.log), def), ErrQuorum, "cosigned by no witness of the trust file."},
		{noWitness, ErrNoWitnesses, `no witnesses asked for: the trust file says "quorum none". Name witnesses and a quorum in the trust file.`},
		{verify(w.bundle, stale), ErrStale, "stale checkpoint: the quorum cosigned it at 2026-09-01T12:00:00Z, 49h0m0s ago; the rules allow 1h0m0s. Fetch a newer bundle. If there is none, the log has stopped or is hidden from you; check your own clock as well."},
		{verify(w.loggedBytes([]byte("x")), def), ErrEntry, "malformed entry: the entry of the bundle: "},
		{verify(w.signed(otherTree.Head(w.origin, 1), w.all...), def), ErrInclusion, "entry not in the log: index 2 is not in a tree of 1 entries. Do not use the crate: what was shown is not what the log signed. Fetch the bundle again from the log itself."},
		{otherCrate, ErrSubject, fmt.Sprintf("another crate: the entry is about hello-proof 0.1.0 with SHA-256 %x, this .crate has %x. Do not use the .crate. Download it again; if it stays like this, the bytes you were served are not those that were proved.", w.entry.Subject.SHA256, w.inEnt.Subject.SHA256)},
		{verify(w.bundle, Rules{Name: "serde", Version: "1.0.0"}), ErrSubject, "another crate: the entry is about hello-proof 0.1.0, wanted is serde 1.0.0. Do not"},
		{verify(w.changed(func(e *entry.Entry, _ *entry.Source) { e.Proof.Program = [32]byte{0xab} }), def), ErrProgram, "program not accepted: the proof of hello-proof 0.1.0 is of the program ab00000000000000000000000000000000000000000000000000000000000000: program: proof of a program that is not accepted. Do not use the crate. If you trust whoever made the program's key, get its file from them and name it with --program, or under programs in zkp.toml; a newer version of this tool may hold it."},
		{verify(w.changed(func(e *entry.Entry, _ *entry.Source) { e.Proof.Parts = [][]byte{{1}} }), def), ErrProof, "proof does not hold: hello-proof 0.1.0: not a proof of this claim. Do not use the crate, and keep the bundle: it shows that the log accepted a false entry. Tell the log's operator and the monitors."},
		{verify(w.changed(func(e *entry.Entry, s *entry.Source) { s.Files[31] ^= 1; w.believe(e) }), def), ErrFiles, "files do not match the claim: hello-proof 0.1.0: the crate's files are not those that the claim is about: "},
		{verify(w.bundle, Rules{}), ErrUnproven, `unproven files: the claim about hello-proof 0.1.0 leaves out ["Cargo.toml"], which the rules do not allow. Look at these files yourself and allow them in your rules, or do not use the crate.`},
		{badHistory, ErrConsistency, "not shown to be consistent: the proof does not lead from the tree of 3 entries to that of 7. Fetch the checkpoint and the proof again from the log itself. If it stays like this, tell the monitors; a proof that fails is no evidence yet."},
	} {
		if !errors.Is(probe.err, probe.reason) || !strings.Contains(fmt.Sprint(probe.err), probe.want) {
			t.Errorf("got\n\t%v\nwant %v\n\t%s", probe.err, probe.reason, probe.want)
		}
	}
}

// TestReasonsAreApart: errors.Is of one reason is never true of another.
func TestReasonsAreApart(t *testing.T) {
	reasons := []error{ErrPolicy, ErrBundle, ErrCheckpoint, ErrLog, ErrLogSignature, ErrCosignature, ErrQuorum, ErrNoWitnesses, ErrStale,
		ErrEntry, ErrInclusion, ErrSeal, ErrVoid, ErrWithheld, ErrSubject, ErrProgram, ErrProof, ErrFiles, ErrUnproven, ErrFork, ErrConsistency}
	seen := make(map[string]bool)
	for i, a := range reasons {
		if seen[a.Error()] {
			t.Errorf("%q stands for two reasons", a)
		}
		seen[a.Error()] = true
		for j, b := range reasons {
			if errors.Is(refuse(a, "x"), b) != (i == j) {
				t.Errorf("%v is %v", a, b)
			}
		}
	}
}
