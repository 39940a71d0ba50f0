package witness

import (
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// subtreeOf is the request for a subtree of the log's tree of a size. The hash is the plain definition.
func subtreeOf(l testLog, start, end, size int64, cosigned string) *SubtreeRequest {
	_, signed, _ := strings.Cut(cosigned, "\n\n")
	return &SubtreeRequest{
		Start: start, End: end, Hash: merkleTreeHash(l.Tree.Leaves[start:end]),
		Proof:      testlog.Must(torchwood.ProveSubtree(size, start, end, l.Tree)),
		Checkpoint: testlog.Must(torchwood.ParseCheckpoint(l.Head(size))),
		Signatures: testlog.Must(parseSignatures(signed)),
	}
}

// merkleTreeHash is MTH of RFC 6962, as it stands there.
func merkleTreeHash(leaves [][]byte) tlog.Hash {
	if len(leaves) == 1 {
		return tlog.RecordHash(leaves[0])
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	return tlog.NodeHash(merkleTreeHash(leaves[:k]), merkleTreeHash(leaves[k:]))
}

// openBoth opens a witness with both kinds of keys that has cosigned a size.
func openBoth(t testing.TB, l testLog, size int64) (w *Witness, cosigned string) {
	cfg := newConfig(t, l)
	cfg.Signers = append(cfg.Signers, newMLDSAKey(t, 1))
	w = open(t, cfg)
	return w, l.Head(size) + "\n" + mustAdd(t, w, l.Request(0, size))
}

func TestEverySubtreeOfACosignedTreeIsSignedAndNoOther(t *testing.T) {
	const size = 21
	l := newTestLog("log.example", size)
	w, cosigned := openBoth(t, l, size)
	v := testlog.Must(torchwood.NewCosignatureVerifier(w.VKeys()[1]))
	signed := 0
	for start := range int64(size) {
		for end := start + 1; end <= size; end++ {
			width := int64(1)
			for width < end-start {
				width *= 2
			}
			if start%width != 0 {
				body := fmt.Sprintf("subtree %d %d\n%s\n\n%s", start, end, tlog.Hash{}, cosigned)
				if _, err := w.SignSubtree(t.Context(), []byte(body)); StatusCode(err) != 400 {
					t.Errorf("[%d, %d) is no subtree, and the answer is %v", start, end, err)
				}
				continue
			}
			r := subtreeOf(l, start, end, size, cosigned)
			line := testlog.Must(w.SignSubtree(t.Context(), []byte(r.Marshal())))
			if !v.VerifySubtree(l.KeyName, start, end, r.Hash, line) || strings.Count(string(line), "\n") != 1 {
				t.Fatalf("[%d, %d): %q does not verify elsewhere", start, end, line)
			}
			if sigs := testlog.Must(parseSignatures(string(line))); string(signatureBytes(sigs[0])[:8]) != "\x00\x00\x00\x00\x00\x00\x00\x00" {
				t.Fatal("a subtree has a timestamp")
			}
			signed++
			for i := range r.Proof {
				bad := *r
				bad.Proof = append([]tlog.Hash{}, r.Proof...)
				bad.Proof[i][0] ^= 1
				refused(t, w, &bad, 422)
			}
			bad := *r
			bad.Proof = append([]tlog.Hash{{}}, r.Proof...)
			refused(t, w, &bad, 422)
			bad = *r
			bad.Hash[31] ^= 1
			refused(t, w, &bad, 422)
			if len(r.Proof) > 0 {
				bad = *r
				bad.Proof = r.Proof[1:]
				refused(t, w, &bad, 422)
			}
		}
	}
	if signed < 60 {
		t.Errorf("%d subtrees were signed", signed)
	}
}

func refused(t *testing.T, w *Witness, r *SubtreeRequest, code int) {
	t.Helper()
	if lines, err := w.SignSubtree(t.Context(), []byte(r.Marshal())); StatusCode(err) != code || lines != nil {
		t.Fatalf("[%d, %d): %q, %v, wanted %d", r.Start, r.End, lines, err, code)
	}
}

func TestSubtreesOfWhatThisWitnessDidNotCosignAreRefused(t *testing.T) {
	l := newLog()
	w, cosigned := openBoth(t, l, 20)
	evil := l.fork(3, "fork")
	stranger := newTestLog("log.example/stranger", 20)
	good := subtreeOf(l, 8, 16, 20, cosigned)
	_, lines, _ := strings.Cut(cosigned, "\n\n")
	ed, pq, _ := strings.Cut(strings.TrimSuffix(lines, "\n"), "\n")
	for name, test := range map[string]struct {
		signed string
		from   testLog
		code   int
	}{
		"its own":                         {cosigned, l, 200},
		"only the Ed25519 cosignature":    {l.Head(20) + "\n" + ed + "\n", l, 200},
		"only the ML-DSA cosignature":     {l.Head(20) + "\n" + pq + "\n", l, 200},
		"the log's signature only":        {l.signed(20), l, 403},
		"another tree":                    {evil.Head(20) + "\n" + lines, evil, 403},
		"good and bad":                    {cosigned + ed[:len(ed)-8] + "AAAAAAA=\n", l, 403},
		"an origin that it does not know": {stranger.Head(20) + "\n" + lines, stranger, 404},
	} {
		r := subtreeOf(test.from, 8, 16, 20, test.signed)
		if _, err := w.SignSubtree(t.Context(), []byte(r.Marshal())); StatusCode(err) != test.code {
			t.Errorf("%s: %v, wanted %d", name, err, test.code)
		}
	}
	plain := openAt(t, newConfig(t, l), l, 20)
	if _, err := plain.SignSubtree(t.Context(), []byte(good.Marshal())); !errors.Is(err, ErrNoSubtrees) || StatusCode(err) != http.StatusNotFound {
		t.Errorf("a witness without an ML-DSA key: %v", err)
	}
}

func TestABrokenSignerReleasesNoSubtree(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	broken := &switchSigner{Signer: newMLDSAKey(t, 1)}
	cfg.Signers = []crypto.Signer{broken}
	w := open(t, cfg)
	cosigned := l.Head(20) + "\n" + mustAdd(t, w, l.Request(0, 20))
	broken.broken = true
	refused(t, w, subtreeOf(l, 8, 16, 20, cosigned), 500)
	if p := w.Problems(t.Context()); len(p) != 1 || !strings.Contains(p[0], "does not sign") {
		t.Errorf("health says %q", p)
	}
}

func TestMalformedSubtreeRequestsAreRefused(t *testing.T) {
	l := newLog()
	w, cosigned := openBoth(t, l, 20)
	valid := subtreeOf(l, 8, 16, 20, cosigned).Marshal()
	for name, body := range map[string]string{
		"empty": "", "no subtree": strings.TrimPrefix(valid, "subtree "), "plus": strings.Replace(valid, "8 16", "+8 16", 1),
		"zero": strings.Replace(valid, "8 16", "08 16", 1), "three": strings.Replace(valid, "8 16", "8 16 20", 1),
		"one": strings.Replace(valid, "8 16", "8", 1), "empty range": strings.Replace(valid, "8 16", "8 8", 1),
		"backwards": strings.Replace(valid, "8 16", "16 8", 1), "beyond": strings.Replace(valid, "8 16", "0 21", 1),
		"negative": strings.Replace(valid, "8 16", "-8 16", 1), "huge": strings.Replace(valid, "8 16", "0 9223372036854775808", 1),
		"largest": strings.Replace(valid, "8 16", "0 9223372036854775807", 1), "no hash": "subtree 8 16\n\n" + cosigned,
		"short hash": strings.Replace(valid, "=\n", "\n", 1), "CRLF": strings.ReplaceAll(valid, "\n", "\r\n"),
		"64 lines": fmt.Sprintf("subtree 8 16\n%s\n%s\n%s", tlog.Hash{}, formatProof(make([]tlog.Hash, 64)), cosigned),
		"unsigned": "subtree 8 16\n" + tlog.Hash{}.String() + "\n\n" + l.Head(20),
		"add":      l.Request(0, 20), "cut": valid[:len(valid)-1],
	} {
		if _, err := w.SignSubtree(t.Context(), []byte(body)); StatusCode(err) != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.SignSubtree(t.Context(), []byte(strings.Repeat("x", MaxRequest+1))); StatusCode(err) != 413 {
		t.Errorf("too large: %v", err)
	}
}

func FuzzParseSubtreeRequest(f *testing.F) {
	l := newTestLog("log.example", 20)
	f.Add([]byte(subtreeOf(l, 8, 16, 20, l.signed(20)).Marshal()))
	f.Add([]byte(subtreeOf(l, 0, 20, 20, l.signed(20)).Marshal()))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseSubtreeRequest(body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		if r.Marshal() != string(body) {
			t.Errorf("%q parses and marshals to %q", body, r.Marshal())
		}
		_ = torchwood.CheckSubtree(r.Proof, r.Checkpoint.N, r.Checkpoint.Hash, r.Start, r.End, r.Hash) // no panic
	})
}
