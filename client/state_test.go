package client

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cratelog/evidence"
	"cratelog/internal/testlog"
)

// history is a log with checkpoints of every size, all verified.
type history struct {
	policy *Policy
	log    *testlog.Key
	wit    *testlog.Key
	tree   tree
}

func newHistory(t testing.TB, leaves ...string) *history {
	t.Helper()
	h := &history{log: testlog.LogKey("l.example"), wit: testlog.WitnessKey("w.example", now)}
	h.policy = parsePolicy(t, "log "+h.log.VKey, "witness W "+h.wit.VKey, "quorum W")
	var b [][]byte
	for _, l := range leaves {
		b = append(b, []byte(l))
	}
	h.tree = newTree(b...)
	return h
}

func (h *history) at(t testing.TB, size int64) Checkpoint {
	t.Helper()
	c := testlog.Must(h.policy.CheckCheckpoint(testlog.Sign(h.tree.Head("l.example", size), h.log, h.wit)))
	return c
}

func openState(t testing.TB) *State {
	t.Helper()
	s := testlog.Must(OpenState(filepath.Join(t.TempDir(), "a", "b")))
	return s
}

// remembered is a state that has seen one checkpoint.
func (h *history) remembered(t testing.TB, size int64) *State {
	t.Helper()
	s := openState(t)
	testlog.Must(s.Observe(h.at(t, size), nil))
	return s
}

func (s *State) size(t testing.TB) int64 {
	t.Helper()
	c, ok, err := s.Latest("l.example")
	fatalIfErr(t, err)
	if !ok {
		return -1
	}
	return c.Size
}

func TestStateOnlyGrowsAndOnlyByProof(t *testing.T) {
	h := newHistory(t, "a", "b", "c", "d", "e", "f", "g")
	s := openState(t)
	if s.size(t) != -1 {
		t.Fatal("a new state remembers something")
	}
	for i, step := range []struct {
		size, proofFrom int64 // 0: no proof
		want            Standing
		remembered      int64
	}{
		{3, 0, First, 3},
		{3, 0, Same, 3},
		{2, 0, Older, 3},
		{0, 0, Older, 3},
		{5, 0, NewerUnproven, 3},
		{5, 3, Newer, 5},
		{3, 0, Older, 5},
		{5, 0, Same, 5},
		{7, 5, Newer, 7},
	} {
		var proof [][32]byte
		if step.proofFrom > 0 {
			proof = h.tree.consistency(step.proofFrom, step.size)
		}
		got, err := s.Observe(h.at(t, step.size), proof)
		if err != nil || got != step.want || s.size(t) != step.remembered {
			t.Errorf("step %d: %v %v, remembered %d; want %v, %d", i, got, err, s.size(t), step.want, step.remembered)
		}
	}
	c, _, err := s.Latest("l.example")
	fatalIfErr(t, err)
	again, err := h.policy.CheckCheckpoint(c.Signed)
	if err != nil || again.Root != h.tree.Root(7) {
		t.Errorf("what is remembered no longer verifies: %v", err)
	}
}

func TestStateBeginsWithAnEmptyTree(t *testing.T) {
	h := newHistory(t, "a", "b")
	s := openState(t)
	for _, size := range []int64{0, 0, 2} {
		if _, err := s.Observe(h.at(t, size), nil); err != nil || s.size(t) != size {
			t.Errorf("size %d: remembered %d, %v", size, s.size(t), err)
		}
	}
}

// TestAForkIsEvidence: both signed notes are on disk before the accusation, and
// each verifies by itself.
func TestAForkIsEvidence(t *testing.T) {
	h, fork := newHistory(t, "a", "b", "c"), newHistory(t, "a", "b", "X")
	s := h.remembered(t, 3)
	for range 2 { // found again, the evidence is there already
		_, err := s.Observe(fork.at(t, 3), nil)
		var fe *ForkError
		if !errors.As(err, &fe) || !errors.Is(err, ErrFork) {
			t.Fatalf("fork: %v", err)
		}
		want := fmt.Sprintf(`the log signed two different trees: "l.example" signed two trees of 3 entries, with the roots %v and %v; both notes are in %s. Do not use this log. Keep the evidence and give it to the monitors and the witnesses: it convinces anybody who knows the log's key.`,
			h.tree.Root(3), fork.tree.Root(3), fe.Evidence)
		if err.Error() != want {
			t.Errorf("got %s\nwant %s", err, want)
		}
		e := testlog.Must(evidence.Read(fe.Evidence))
		keys := testlog.Must(h.policy.Keys())
		c, err := evidence.Verify(e, keys, nil)
		if err != nil || c.Who != "log l.example" || len(c.Also) != 1 || c.Also[0][:len("witness w.example")] != "witness w.example" {
			t.Errorf("the evidence shows %+v, %v", c, err)
		}
	}
	if c, _, _ := s.Latest("l.example"); c.Root != h.tree.Root(3) {
		t.Error("the fork replaced what was remembered")
	}
}

func TestAProofThatFailsChangesNothing(t *testing.T) {
	h, fork := newHistory(t, "a", "b", "c", "d", "e"), newHistory(t, "a", "X", "c", "d", "e")
	s := h.remembered(t, 3)
	for name, proof := range map[string][][32]byte{
		"of the fork":  fork.tree.consistency(3, 5),
		"of the truth": h.tree.consistency(3, 5),
		"empty":        {},
	} {
		if _, err := s.Observe(fork.at(t, 5), proof); !errors.Is(err, ErrConsistency) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.size(t) != 3 {
		t.Errorf("remembered %d", s.size(t))
	}
	if found, _ := filepath.Glob(filepath.Join(s.logDir("l.example"), "fork-*")); len(found) != 0 {
		t.Errorf("a failed proof was written down as evidence: %q", found)
	}
}

// TestTwoProcessesCatchAForkTogether: whoever comes second to a size compares.
func TestTwoProcessesCatchAForkTogether(t *testing.T) {
	h, fork := newHistory(t, "a", "b", "c"), newHistory(t, "a", "b", "X")
	dir := t.TempDir()
	errs := make([]error, 8)
	checkpoints := []Checkpoint{h.at(t, 3), fork.at(t, 3)}
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			s, err := OpenState(dir)
			if err == nil {
				_, err = s.Observe(checkpoints[i%2], nil)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	forks := 0
	for _, err := range errs {
		switch {
		case errors.Is(err, ErrFork):
			forks++
		case err != nil:
			t.Error(err)
		}
	}
	if forks != 4 {
		t.Errorf("%d of 8 saw the fork, want the 4 that came with the other tree", forks)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "tmp-*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestDamagedStateIsSaid(t *testing.T) {
	h := newHistory(t, "a", "b", "c")
	s := h.remembered(t, 2)
	path := filepath.Join(s.logDir("l.example"), sizeName(2))
	good := testlog.Must(os.ReadFile(path))
	for name, bad := range map[string][]byte{
		"empty":       {},
		"cut off":     good[:12],
		"other size":  bytes.Replace(good, []byte("\n2\n"), []byte("\n3\n"), 1),
		"other log":   bytes.Replace(good, []byte("l.example\n"), []byte("m.example\n"), 1),
		"no note":     []byte("x\n\n"),
		"only a text": bytes.Split(good, []byte("\n\n"))[0],
	} {
		fatalIfErr(t, os.WriteFile(path, bad, 0o600))
		for _, size := range []int64{1, 2, 3} {
			if _, err := s.Observe(h.at(t, size), nil); err == nil || !strings.Contains(err.Error(), "is damaged: look at it") {
				t.Errorf("%s, size %d: %v", name, size, err)
			}
		}
	}
}

// TestStrangeFilesAreNotTakenForState: only names of 20 digits are read.
func TestStrangeFilesAreNotTakenForState(t *testing.T) {
	h := newHistory(t, "a", "b", "c")
	s := h.remembered(t, 2)
	for _, name := range []string{"tmp-1", "3", "99999999999999999999", "+0000000000000000009", "fork-9-00-00.evidence", "0000000000000000000x", strings.Repeat("0", 19) + "٣"} {
		fatalIfErr(t, os.WriteFile(filepath.Join(s.logDir("l.example"), name), []byte("x"), 0o600))
	}
	if s.size(t) != 2 {
		t.Errorf("remembered %d", s.size(t))
	}
}

func TestLogsAreRememberedApart(t *testing.T) {
	h := newHistory(t, "a", "b")
	s := h.remembered(t, 2)
	for _, origin := range []string{"m.example", "../l.example", "", "l.example/"} {
		if _, ok, err := s.Latest(origin); ok || err != nil {
			t.Errorf("%q: %v %v", origin, ok, err)
		}
	}
}

func TestAStateThatCannotBeWrittenFails(t *testing.T) {
	h := newHistory(t, "a", "b")
	file := filepath.Join(t.TempDir(), "file")
	fatalIfErr(t, os.WriteFile(file, nil, 0o600))
	if _, err := OpenState(filepath.Join(file, "x")); err == nil {
		t.Error("opened below a file")
	}
	s := openState(t)
	fatalIfErr(t, os.WriteFile(s.logDir("l.example"), nil, 0o600))
	if _, err := s.Observe(h.at(t, 2), nil); err == nil {
		t.Error("remembered nowhere")
	}
}
