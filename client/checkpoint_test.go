package client

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"cratelog/internal/testlog"
)

// TestUnknownSignatureLinesAreIgnored: the specification wants it, whatever they
// hold, also when only the name or only the key id is known.
func TestUnknownSignatureLinesAreIgnored(t *testing.T) {
	w := newWorld(t)
	signed := w.checkpoint(7, w.all...)
	nameOnly := append([]byte{1, 2, 3, 4}, make([]byte, 72)...)
	idOnly := append([]byte{byte(w.w1.ID >> 24), byte(w.w1.ID >> 16), byte(w.w1.ID >> 8), byte(w.w1.ID)}, make([]byte, 72)...)
	for _, line := range []string{
		"— stranger.example " + b64([]byte("12345")) + "\n",
		"— " + w.w1.KeyName + " " + b64(nameOnly) + "\n",
		"— " + w.log.KeyName + " " + b64(nameOnly) + "\n",
		"— stranger.example " + b64(idOnly) + "\n",
		strings.Repeat("— stranger.example "+b64([]byte("12345"))+"\n", 90),
	} {
		c, err := w.policy.CheckCheckpoint(append(slices.Clone(signed), line...))
		if err != nil || len(c.Cosignatures) != 3 {
			t.Errorf("with %.60q: %+v, %v", line, c.Cosignatures, err)
		}
	}
}

func TestMalformedNotesAreRefused(t *testing.T) {
	w := newWorld(t)
	signed := string(w.checkpoint(7, w.all...))
	last := string(sigLine(t, []byte(signed), w.w1.KeyName))
	for name, bad := range map[string]string{
		"too large":                        signed + strings.Repeat("— x AAAAAAAA\n", MaxCheckpointSize/10),
		"more than 100 signatures":         signed + strings.Repeat("— stranger AAAAAAAA\n", 100),
		"invalid UTF-8":                    signed + "— \xff AAAAAAAA\n",
		"NUL":                              signed + "— \x00 AAAAAAAA\n",
		"tab":                              strings.Replace(signed, "— w1.example ", "— w1.example\t", 1),
		"no newline at the end":            strings.TrimSuffix(signed, "\n"),
		"hyphen for the dash":              strings.Replace(signed, "— w1", "- w1", 1),
		"unknown line without base64":      signed + "— stranger\n",
		"unknown line, unpadded":           signed + "— stranger AAAAAAA\n",
		"unknown line, bits after the end": signed + "— stranger AAAAAAB=\n",
		"unknown line, too short":          signed + "— stranger AAAAAA==\n",
		"two spaces":                       strings.Replace(signed, "— w1.example ", "— w1.example  ", 1),
		"space after a line":               strings.Replace(signed, last, strings.TrimSuffix(last, "\n")+" \n", 1),
	} {
		if _, err := w.policy.CheckCheckpoint([]byte(bad)); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSignatureBase64HasOneEncoding: 76 bytes leave four bits of the last
// character unused, which note.Open ignores.
func TestSignatureBase64HasOneEncoding(t *testing.T) {
	w := newWorld(t)
	signed := w.checkpoint(7, w.all...)
	bad := slices.Clone(signed)
	line := sigLine(t, bad, w.w1.KeyName)
	i := len(line) - 4 // X==\n
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	line[i] = alphabet[strings.IndexByte(alphabet, line[i])+1]
	if _, err := note.Open(bad, w.policyVerifiers()); err != nil {
		t.Fatalf("the test is void, note.Open sees it: %v", err)
	}
	if _, err := w.policy.CheckCheckpoint(bad); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("other bits in the padding: %v", err)
	}
}

func (w *world) policyVerifiers() note.Verifiers {
	v := verifiers{keyRef{w.log.KeyName, w.log.ID}: w.policy.logs[0].verifier}
	for ref, k := range w.policy.keys {
		v[ref] = k
	}
	return v
}

// TestFreshnessIsTheQuorums: one fresh cosignature beside old ones makes no fresh
// quorum, and old ones beside a fresh quorum do no harm.
func TestFreshnessIsTheQuorums(t *testing.T) {
	log := testlog.LogKey("l.example")
	text := newTree([]byte("x")).Head("l.example", 1)
	const day = 24 * time.Hour
	zero := time.Time{}
	for _, probe := range []struct {
		name   string
		quorum string
		ages   [3]time.Duration // of the three cosignatures; -1: none; negative: in the future
		want   error
		age    time.Duration // of Witnessed
	}{
		{"all fresh", "group G all A B C", [3]time.Duration{0, time.Minute, time.Hour}, nil, time.Hour},
		{"any: the newest counts", "group G any A B C", [3]time.Duration{9 * day, time.Minute, 9 * day}, nil, time.Minute},
		{"all: the oldest counts", "group G all A B C", [3]time.Duration{0, 0, 2 * day}, ErrStale, 0},
		{"2 of 3: the second newest counts", "group G 2 A B C", [3]time.Duration{0, 9 * day, time.Hour}, nil, time.Hour},
		{"2 of 3, one of them fresh", "group G 2 A B C", [3]time.Duration{0, 9 * day, 2 * day}, ErrStale, 0},
		{"2 of 3, one is missing", "group G 2 A B C", [3]time.Duration{-1, 1, time.Hour}, nil, time.Hour},
		{"a fresh one outside of the quorum", "group G all A B", [3]time.Duration{2 * day, 2 * day, 0}, ErrStale, 0},
		{"groups of groups", "group H any A B\ngroup G all H C", [3]time.Duration{9 * day, time.Hour, time.Minute}, nil, time.Hour},
		{"exactly as old as allowed", "group G all A B", [3]time.Duration{day, day, -1}, nil, day},
		{"a second older", "group G all A B", [3]time.Duration{day + time.Second, day, -1}, ErrStale, 0},
		{"a clock a minute ahead", "group G all A B", [3]time.Duration{-time.Minute, 0, -1}, nil, 0},
		{"a clock a year ahead is not fresh", "group G any A B", [3]time.Duration{-365 * day, 9 * day, -1}, ErrStale, 0},
		{"too few", "group G all A B C", [3]time.Duration{0, 0, -1}, ErrQuorum, 0},
	} {
		signers := []*testlog.Key{log}
		lines := []string{"log " + log.VKey}
		for i, age := range probe.ages {
			k := testlog.WitnessKey(fmt.Sprintf("w%d.example", i), now.Add(-age))
			lines = append(lines, fmt.Sprintf("witness %c %s", 'A'+i, k.VKey))
			if age != -1 {
				signers = append(signers, k)
			}
		}
		p := parsePolicy(t, append(lines, probe.quorum, "quorum G")...)
		signed := testlog.Sign(text, signers...)
		c, err := p.CheckCheckpointRules(signed, Rules{MaxAge: day, Now: now})
		if !errors.Is(err, probe.want) {
			t.Errorf("%s: got %v, want %v", probe.name, err, probe.want)
		}
		if err == nil && !c.Witnessed.Equal(now.Add(-probe.age)) {
			t.Errorf("%s: witnessed at %v, want %v before %v", probe.name, c.Witnessed, probe.age, now)
		}
		// Without MaxAge the times do not matter.
		if _, err := p.CheckCheckpoint(signed); !errors.Is(err, probe.want) && !(err == nil && probe.want == ErrStale) {
			t.Errorf("%s, any age: %v", probe.name, err)
		}
	}

	// An ML-DSA cosigner may state no time: it counts, but never as fresh.
	m := testlog.MLDSAKey("m.example", zero)
	p := parsePolicy(t, "log "+log.VKey, "witness M "+m.VKey, "quorum M")
	signed := testlog.Sign(text, log, m)
	c := testlog.Must(p.CheckCheckpoint(signed))
	if !c.Witnessed.IsZero() || !c.Cosignatures[0].Time.IsZero() {
		t.Errorf("a cosignature without time: %+v", c)
	}
	if _, err := p.CheckCheckpointRules(signed, Rules{MaxAge: 100 * 365 * day, Now: now}); !errors.Is(err, ErrStale) {
		t.Errorf("a cosignature without time is fresh: %v", err)
	}
}

func TestNoWitnessesNeedsPermission(t *testing.T) {
	w := newWorld(t)
	signed := w.checkpoint(7, w.log)
	p := parsePolicy(t, "log "+w.log.VKey, "quorum none")
	if _, err := p.CheckCheckpoint(signed); !errors.Is(err, ErrNoWitnesses) {
		t.Errorf("zero rules: %v", err)
	}
	rules := Rules{AllowUnproven: []string{"Cargo.toml"}}
	if _, err := Verify(w.raw, w.withCheckpoint(signed), p, w.pv, rules); !errors.Is(err, ErrNoWitnesses) {
		t.Errorf("ordinary rules: %v", err)
	}
	rules.AllowNoWitnesses = true
	r := testlog.Must(Verify(w.raw, w.withCheckpoint(signed), p, w.pv, rules))
	if !r.Checkpoint.Witnessed.IsZero() || len(r.Checkpoint.Cosignatures) != 0 {
		t.Errorf("witnessed: %+v", r.Checkpoint)
	}
	rules.MaxAge = time.Hour
	if _, err := Verify(w.raw, w.withCheckpoint(signed), p, w.pv, rules); !errors.Is(err, ErrStale) {
		t.Errorf("an age that nobody states: %v", err)
	}
	// The permission does not lower a quorum that exists.
	if _, err := w.policy.CheckCheckpointRules(signed, rules); !errors.Is(err, ErrQuorum) {
		t.Errorf("quorum skipped: %v", err)
	}
}

// TestALogWithACosignatureKeyIsNoWitness: a log may sign with a cosignature key, which does
// not count for the quorum.
func TestALogWithACosignatureKeyIsNoWitness(t *testing.T) {
	for _, log := range []*testlog.Key{testlog.WitnessKey("l.example", now), testlog.MLDSAKey("l.example", now)} {
		w1 := testlog.WitnessKey("w1.example", now)
		p := parsePolicy(t, "log "+log.VKey, "witness W "+w1.VKey, "quorum W")
		text := newTree([]byte("x")).Head("l.example", 1)
		c := testlog.Must(p.CheckCheckpoint(testlog.Sign(text, log, w1)))
		if len(c.Cosignatures) != 1 || c.Cosignatures[0].Witness != "W" {
			t.Errorf("cosignatures: %+v", c.Cosignatures)
		}
		if _, err := p.CheckCheckpoint(testlog.Sign(text, log)); !errors.Is(err, ErrQuorum) {
			t.Errorf("the log alone: %v", err)
		}
	}
}

func TestEitherKeyOfOneLogIsEnough(t *testing.T) {
	a := testlog.LogKey("l.example")
	b := testlog.WitnessKey("other", now)
	b.KeyName = "l.example"
	b.VKey, b.ID = testlog.VKey(b.KeyName, typed(b.VKey))
	w1 := testlog.WitnessKey("w1.example", now)
	p := parsePolicy(t, "log "+a.VKey, "log "+b.VKey, "witness W "+w1.VKey, "quorum W")
	text := newTree([]byte("x")).Head("l.example", 1)
	for _, signers := range [][]*testlog.Key{{a, w1}, {b, w1}, {b, a, w1}, {w1, b, a}} {
		if _, err := p.CheckCheckpoint(testlog.Sign(text, signers...)); err != nil {
			t.Errorf("%d signers: %v", len(signers), err)
		}
	}
	// A bad line of one key is not healed by the other's good one.
	bad := testlog.Sign(text, a, b, w1)
	spoil(sigLine(t, bad, "l.example"))
	if _, err := p.CheckCheckpoint(bad); !errors.Is(err, ErrLogSignature) {
		t.Errorf("bad line: %v", err)
	}
}

func TestACheckedCheckpointDoesNotChangeWithItsInput(t *testing.T) {
	w := newWorld(t)
	signed := w.checkpoint(7, w.all...)
	c := testlog.Must(w.policy.CheckCheckpoint(signed))
	clear(signed)
	if !strings.HasPrefix(string(c.Signed), w.origin) {
		t.Error("Signed aliases the input")
	}
}

// TestConsistencyHoldsForTrueHistoriesOnly tries all pairs of small sizes, and
// corruptions of each proof.
func TestConsistencyHoldsForTrueHistoriesOnly(t *testing.T) {
	tr := bigTree(12)
	at := tr.head
	for next := range int64(13) {
		for old := range next + 1 {
			proof := tr.consistency(old, next)
			fatalIfErr(t, CheckConsistency(at(old), at(next), proof))
			bad := func(name string, o, n Checkpoint, proof [][32]byte) {
				if err := CheckConsistency(o, n, proof); !errors.Is(err, ErrConsistency) {
					t.Errorf("%d to %d, %s: %v", old, next, name, err)
				}
			}
			flip := func(c Checkpoint) Checkpoint { c.Root[5] ^= 1; return c }
			other := at(next)
			other.Origin = "other.example"
			bad("another log", at(old), other, proof)
			bad("old root", flip(at(old)), at(next), proof)
			if old > 0 {
				bad("new root", at(old), flip(at(next)), proof)
			}
			bad("a hash more", at(old), at(next), append(slices.Clone(proof), [32]byte{}))
			bad("64 hashes", at(old), at(next), make([][32]byte, 64))
			if old < next {
				bad("backwards", at(next), at(old), proof)
			}
			for i := range proof {
				p := slices.Clone(proof)
				p[i][0] ^= 1
				bad(fmt.Sprintf("hash %d changed", i), at(old), at(next), p)
				bad(fmt.Sprintf("hash %d removed", i), at(old), at(next), slices.Delete(slices.Clone(proof), i, i+1))
			}
		}
	}
}

// TestTreesBeyondAllArithmeticAreRefused: tlog's functions do not end for some sizes
// above 2^62, which a malicious log may sign.
func TestTreesBeyondAllArithmeticAreRefused(t *testing.T) {
	w := newWorld(t)
	for size, ok := range map[int64]bool{MaxTreeSize: true, MaxTreeSize + 1: false, MaxTreeSize + 5: false, math.MaxInt64: false} {
		text := fmt.Sprintf("%s\n%d\n%s\n", w.origin, size, b64(make([]byte, 32)))
		_, err := w.policy.CheckCheckpoint(testlog.Sign(text, w.log, w.w1, w.w2, w.w3))
		if (err == nil) != ok || !ok && !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%d entries: %v", size, err)
		}
	}
}
