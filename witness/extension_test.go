package witness

import (
	"crypto"
	"strings"
	"testing"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"cratelog/internal/testlog"
)

// A log may write extension lines. The Ed25519 cosignature covers them, the ML-DSA-44 one says nothing of
// them; both stand in the checkpoint that monitors get.
func TestExtensionLinesAreCosignedAsTheyAre(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	cfg.Signers = append(cfg.Signers, newMLDSAKey(t, 1))
	w := open(t, cfg)
	signed := l.sign(l.Head(9) + "one\ntwo\n")
	lines := mustAdd(t, w, request(0, nil, signed))
	stored := testlog.Must(w.Checkpoint(t.Context(), l.KeyName))
	if string(stored) != signed+lines {
		t.Errorf("monitoring shows %q", stored)
	}
	for _, vkey := range w.VKeys() {
		if _, err := note.Open(stored, note.VerifierList(testlog.Must(fnote.NewVerifier(vkey)))); err != nil {
			t.Errorf("%.40s does not verify: %v", vkey, err)
		}
	}
	ed := testlog.Must(torchwood.NewCosignatureVerifier(w.VKeys()[0]))
	if _, err := note.Open([]byte(l.Head(9)+"one\nthree\n\n"+lines), note.VerifierList(ed)); err == nil {
		t.Error("the Ed25519 cosignature does not cover the extension lines")
	}
	w = reopen(t, w, cfg) // what is stored can be read again
	mustAdd(t, w, request(9, l.proof(9, 20), l.signed(20)))
}

// The same tree may come again within a second with other extension lines. What is answered verifies over what
// was asked, and, since an ML-DSA-44 signature of a log covers none, it is no way to make the witness write.
func TestOtherExtensionLinesInTheSameSecondAreCosignedAndNotKept(t *testing.T) {
	l := newLog()
	signer := testlog.Must(torchwood.NewCosignatureSigner(l.KeyName, newMLDSAKey(t, 2)))
	cfg := newConfig(t)
	cfg.Logs = []Log{{VKey: signer.Verifier().String()}}
	cfg.Signers = []crypto.Signer{testlog.Ed25519("witness")}
	w := open(t, cfg)
	plain := string(testlog.Sign(l.Head(9), signer))
	first := mustAdd(t, w, request(0, nil, plain))
	kept := testlog.Must(w.Checkpoint(t.Context(), l.KeyName))
	for _, extra := range []string{"a\n", "b\nc\n"} {
		head := l.Head(9) + extra
		lines := mustAdd(t, w, request(9, nil, strings.Replace(plain, l.Head(9), head, 1)))
		if cosigTime(t, w, head, lines) != cosigTime(t, w, l.Head(9), first) {
			t.Error("another timestamp in the same second")
		}
		if again := testlog.Must(w.Checkpoint(t.Context(), l.KeyName)); string(again) != string(kept) {
			t.Errorf("kept is %q", again)
		}
	}
}

// Two histories are two histories, whatever extension lines they carry.
func TestAForkWithExtensionLinesIsRecorded(t *testing.T) {
	l := newLog()
	w := openAt(t, newConfig(t, l), l, 7)
	wantStatus(t, w, request(7, nil, l.sign(l.fork(3, "fork").Head(7)+"x\n")), 422)
	if forks := testlog.Must(w.Forks(t.Context(), l.KeyName)); len(forks) != 1 {
		t.Errorf("%d forks on record", len(forks))
	}
}
