package client

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"filippo.io/torchwood"
	theirs "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// TestProofsAreWrittenAsTheOthersWriteThem compares with torchwood and with
// transparency-dev/formats, byte for byte, and reads what they wrote.
func TestProofsAreWrittenAsTheOthersWriteThem(t *testing.T) {
	w := newWorld(t)
	for _, extra := range [][]byte{nil, {0}, w.tree.Leaves[helloIndex]} {
		for _, hashes := range []int{0, 1, 3, 63} {
			p := &Proof{Index: 9007199254740993, Checkpoint: w.checkpoint(7, w.log, w.w1, w.w3), Extra: extra}
			var rp tlog.RecordProof
			for i := range hashes {
				h := tlog.RecordHash([]byte{byte(i)})
				rp, p.Hashes = append(rp, h), append(p.Hashes, h)
			}
			ours := marshal(p)
			torch := torchwood.FormatProof(int64(p.Index), rp, p.Checkpoint)
			if extra != nil {
				torch = torchwood.FormatProofWithExtraData(int64(p.Index), extra, rp, p.Checkpoint)
			}
			if !bytes.Equal(ours, torch) {
				t.Errorf("%d hashes: torchwood writes\n%s\nwe write\n%s", hashes, torch, ours)
			}
			formats := theirs.TLogProof{Index: p.Index, Hashes: p.Hashes, Checkpoint: p.Checkpoint, ExtraData: extra}
			if !bytes.Equal(ours, formats.Marshal()) {
				t.Errorf("%d hashes: formats writes\n%s\nwe write\n%s", hashes, formats.Marshal(), ours)
			}
			got := testlog.Must(ParseProof(torch))
			if got.Index != p.Index || !slices.Equal(got.Hashes, p.Hashes) || !bytes.Equal(got.Checkpoint, p.Checkpoint) || !bytes.Equal(got.Extra, extra) {
				t.Errorf("read back: %+v", got)
			}
			var back theirs.TLogProof
			fatalIfErr(t, back.Unmarshal(ours))
			if !bytes.Equal(back.Marshal(), ours) {
				t.Error("formats does not read what we write")
			}
		}
	}
}

// TestTheOthersVerifyOurBundles: what Verify believes, torchwood's offline
// verification believes with the same policy.
func TestTheOthersVerifyOurBundles(t *testing.T) {
	w := newWorld(t)
	testlog.Must(w.verify(w.bundle))
	policy := testlog.Must(torchwood.ParsePolicy([]byte(w.policyText)))
	leaf := testlog.Must(ParseBundle(w.bundle)).Entry
	fatalIfErr(t, torchwood.VerifyProof(policy, tlog.RecordHash(leaf), w.bundle))
}

func TestProofsThatAreRefusedAndWhatIsSaid(t *testing.T) {
	const h = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
	const head, cp = "c2sp.org/tlog-proof@v1\n", "o\n0\n" + h + "\n— o AAAAAAAA\n"
	type refused struct{ name, text, want string }
	all := []refused{
		{"empty", "", `its first line is not "c2sp.org/tlog-proof@v1"`},
		{"version 2", "c2sp.org/tlog-proof@v2\nindex 0\n\n" + cp, "its first line"},
		{"header with a space", "c2sp.org/tlog-proof@v1 \nindex 0\n\n" + cp, "its first line"},
		{"header only", head, `where "index " and a decimal number below 2^63 without leading zeros must stand, it says ""`},
		{"no index", head + h + "\n" + cp, "it says"},
		{"spicy, the format before", "index 0\n" + h + "\n" + cp, "its first line"},
		{"extra without space", head + "extra\nindex 0\n\n" + cp, `it says "extra"`},
		{"extra twice", head + "extra AA==\nextra AA==\nindex 0\n\n" + cp, `it says "extra AA=="`},
		{"extra after index", head + "index 0\nextra AA==\n\n" + cp, "its hash 0 is not the padded base64 of 32 bytes"},
		{"hash unpadded", head + "index 0\n" + h[:43] + "\n\n" + cp, "its hash 0"},
		{"hash with bits after the end", head + "index 0\n" + strings.Replace(h, "U=", "V=", 1) + "\n" + cp, "its hash 0"},
		{"hash of 31 bytes", head + "index 0\n" + h + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n\n" + cp, "its hash 1"},
		{"hash of 33 bytes", head + "index 0\n" + base64.StdEncoding.EncodeToString(make([]byte, 33)) + "\n\n" + cp, "its hash 0"},
		{"hash with a space in front", head + "index 0\n " + h + "\n" + cp, "its hash 0"},
		{"64 hashes", head + "index 0\n" + strings.Repeat(h, 64) + "\n" + cp, "its hash 63"},
		{"no empty line", head + "index 0\n" + h, "it ends before the empty line in front of the checkpoint"},
		{"no empty line, no hash", head + "index 0", "it ends before the empty line"},
		{"no checkpoint", head + "index 0\n\n", "its checkpoint is missing or does not end in a newline"},
		{"checkpoint cut off", head + "index 0\n\n" + strings.TrimSuffix(cp, "\n"), "does not end in a newline"},
		{"checkpoint with CR", head + "index 0\n\n" + strings.ReplaceAll(cp, "\n", "\r\n"), "its checkpoint holds control characters; lines end in LF alone"},
		{"checkpoint with NUL", head + "index 0\n\n\x00" + cp, "control characters"},
		{"checkpoint too large", head + "index 0\n\n" + strings.Repeat("x", MaxCheckpointSize) + "\n", "its checkpoint has 131073 bytes, at most 131072 are read"},
		{"too large", head + strings.Repeat("x", MaxBundleSize), "it has 262167 bytes, at most 262144 are read"},
	}
	for _, line := range []string{
		"index ", "index -1", "index +1", "index 01", "index 00", "index 0x1", "index 1 ", "index  1", "index 1_0",
		"index 9223372036854775808", "index 18446744073709551616", "Index 0",
	} {
		all = append(all, refused{line, head + line + "\n\n" + cp, fmt.Sprintf("without leading zeros must stand, it says %q", line)})
	}
	for _, line := range []string{"extra ", "extra AAA", "extra AB==", "extra __8=", "extra AA==\r"} {
		all = append(all, refused{line, head + line + "\nindex 0\n\n" + cp, "its extra line is empty or not padded standard base64 in its one encoding"})
	}
	good := head + "index 0\n\n" + cp
	for name, p := range map[string]refused{
		"CRLF":                  {text: strings.ReplaceAll(good, "\n", "\r\n"), want: "its line endings are CRLF"},
		"a byte order mark":     {text: "\ufeff" + good, want: "byte order mark"},
		"a space behind a line": {text: strings.Replace(good, "0\n", "0 \n", 1), want: "its line 2 ends in a space"},
		"a web page":            {text: "<html>\n", want: "it is a web page"},
	} {
		all = append(all, refused{name, p.text, p.want})
	}
	for _, probe := range all {
		p, err := ParseProof([]byte(probe.text))
		if !errors.Is(err, ErrBundle) || p != nil || !strings.Contains(err.Error(), probe.want) {
			t.Errorf("%s: got %q, want %q", probe.name, fmt.Sprint(err), probe.want)
		}
	}
}

func TestProofsAtTheLimitsAreRead(t *testing.T) {
	cp := []byte(strings.Repeat("x", MaxCheckpointSize-1) + "\n")
	p := &Proof{Index: 1<<63 - 1, Hashes: make([][32]byte, 63), Checkpoint: cp, Extra: make([]byte, 90000)}
	b := marshal(p)
	if _, err := ParseProof(b); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]*Proof{
		"index":      {Index: 1 << 63, Checkpoint: cp},
		"hashes":     {Hashes: make([][32]byte, 64), Checkpoint: cp},
		"checkpoint": {Checkpoint: append([]byte("x"), cp...)},
		"all of it":  {Checkpoint: cp, Extra: make([]byte, 100000)},
	} {
		if b, err := bad.Marshal(); !errors.Is(err, ErrBundle) || b != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParseProof: what parses is written down again as the same bytes.
func FuzzParseProof(f *testing.F) {
	w := newWorld(f)
	f.Add(w.bundle)
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra AA==\nindex 0\n\n\n"))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 10\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\no\n"))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 010\nextra \n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProof(b)
		if err != nil {
			if !errors.Is(err, ErrBundle) {
				t.Fatal(err)
			}
			return
		}
		if again := marshal(p); !bytes.Equal(again, b) {
			t.Errorf("%q becomes %q", b, again)
		}
		if bytes.Equal(b, w.bundle) {
			return
		}
		if _, err := Verify(w.raw, b, w.policy, w.pv, w.rules); err == nil && !sameButLines(b, w.bundle) {
			t.Errorf("believed: %q", b)
		}
	})
}

// sameButLines says that a differs from b at most in whole signature lines.
func sameButLines(a, b []byte) bool {
	i, j := bytes.LastIndex(a, []byte("\n\n")), bytes.LastIndex(b, []byte("\n\n"))
	return i >= 0 && j >= 0 && bytes.Equal(a[:i], b[:j])
}
