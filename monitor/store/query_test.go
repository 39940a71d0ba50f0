package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// many is a store with entries of two logs, written in turns.
func many(t *testing.T) (*Store, []Log) {
	t.Helper()
	s, one := newStore(t)
	two := testlog.Must(s.AddLog(t.Context(), "other.example", []string{"k2"}, "", now))
	for i := int64(0); i < 2400; i += 800 {
		for _, l := range []Log{one, two} {
			rows := entries(l.ID, i, i+800)
			for j := range rows {
				rows[j].FirstSeen = now.Add(time.Duration(i) * time.Minute)
				rows[j].Program = sha256.Sum256([]byte{byte(rows[j].Index % 3)})
				rows[j].Path = fmt.Sprintf("p/%d", rows[j].Index%7)
				if rows[j].Index%400 == 13 {
					rows[j] = Entry{Log: l.ID, Index: rows[j].Index, LeafHash: rows[j].LeafHash, FirstSeen: rows[j].FirstSeen, Verdict: Bad, Reason: "malformed", Data: rows[j].Data}
				}
			}
			fatalIf(t, s.AppendEntries(t.Context(), l.ID, rows))
		}
	}
	return s, []Log{one, two}
}

func TestAReaderCannotWrite(t *testing.T) {
	s, _ := newStore(t)
	r := testlog.Must(OpenReader(t.Context(), s.Path()))
	defer r.Close()
	for _, q := range []string{"DELETE FROM logs", "UPDATE logs SET verified = 7", "DROP TABLE entries"} {
		if _, err := r.read.ExecContext(t.Context(), q); err == nil {
			t.Errorf("a reader did %q", q)
		}
	}
	if logs, err := r.Logs(t.Context()); err != nil || len(logs) != 1 {
		t.Errorf("%v, %v", logs, err)
	}
}

func TestAReaderOpensNothingButAMonitorsDatabase(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.db")
	if _, err := OpenReader(t.Context(), missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a reader created a file")
	}
	other := filepath.Join(dir, "other.db")
	fatalIf(t, os.WriteFile(other, nil, 0o600))
	if _, err := OpenReader(t.Context(), other); err == nil {
		t.Error("an empty file is taken for a monitor's database")
	}
	fatalIf(t, os.WriteFile(filepath.Join(dir, "text"), []byte("this is a text, and by far no database at all"), 0o600))
	if _, err := OpenReader(t.Context(), filepath.Join(dir, "text")); err == nil {
		t.Error("a text is taken for a monitor's database")
	}
}

func TestAWalkSeesEverythingOnceInOrder(t *testing.T) {
	s, logs := many(t)
	r := s.Reader
	for _, q := range []EntryQuery{{}, {Log: logs[1].ID}, {Newest: true}, {Name: "crate7"}, {Path: new("p/3")}} {
		var got []Entry
		for e, err := range r.AllEntries(t.Context(), q) {
			fatalIf(t, err)
			got = append(got, e)
		}
		var want int
		for _, l := range logs {
			for e, err := range s.EntriesIn(t.Context(), l.ID, 0, 2400) {
				fatalIf(t, err)
				if (q.Log == 0 || q.Log == l.ID) && (q.Name == "" || q.Name == e.Name) && (q.Path == nil || *q.Path == e.Path) {
					want++
				}
			}
		}
		seen := make(map[[2]int64]bool)
		for i, e := range got {
			seen[[2]int64{e.Log, e.Index}] = true
			if i > 0 && (got[i-1].Place < e.Place) == q.Newest {
				t.Fatalf("%+v: place %d follows %d", q, e.Place, got[i-1].Place)
			}
		}
		if len(got) != want || len(seen) != want || want == 0 {
			t.Errorf("%+v: %d entries, %d different, want %d", q, len(got), len(seen), want)
		}
	}
}

func TestWhatDoesNotParseIsFoundByNoValueOfAnEntry(t *testing.T) {
	s, _ := many(t)
	zero := make([]byte, 32)
	for _, q := range []EntryQuery{{Program: zero}, {SHA256: zero}, {Path: new("")}, {Name: "crate13", Version: "1.0.13"}, {Names: []string{}}, {Commit: zero[:20], Name: "x"}} {
		q.Limit = 10
		got := testlog.Must(s.Reader.Entries(t.Context(), q))
		if len(got) != 0 {
			t.Errorf("%+v finds entry %d", q, got[0].Index)
		}
	}
	leaf := tlog.RecordHash(leaf(13))
	got := testlog.Must(s.Reader.Entries(t.Context(), EntryQuery{Leaf: leaf[:], Limit: 10}))
	if len(got) != 2 || got[0].Index != 13 {
		t.Errorf("by leaf hash: %d entries", len(got))
	}
}

func TestTalliesAndProgramsCountWhatIsStored(t *testing.T) {
	s, logs := many(t)
	r, log := s.Reader, logs[0].ID
	fatalIf(t, s.SetVerified(t.Context(), log, 1000, tlog.Hash{}, nil))
	p := testlog.Must(r.Position(t.Context(), log))
	tally := testlog.Must(r.Tally(t.Context(), log, p))
	if tally != (Tally{Verified: 1000 - 3, Failed: 6, Pending: 1400 - 3}) {
		t.Errorf("%+v", tally)
	}
	whole := testlog.Must(r.Programs(t.Context(), log, 0, 2400))
	sum := int64(0)
	for _, cut := range [][2]int64{{0, 1}, {1, 1000}, {1000, 2400}} {
		part := testlog.Must(r.Programs(t.Context(), log, cut[0], cut[1]))
		for id, n := range part {
			whole[id] -= n
			sum += n
		}
	}
	for id, n := range whole {
		if n != 0 {
			t.Errorf("program %x: the parts differ by %d", id[:4], n)
		}
	}
	if sum != 2400-6 || len(whole) != 3 {
		t.Errorf("%d entries of %d programs", sum, len(whole))
	}
}

func TestGrowthKeepsItsEndsAndNeverFalls(t *testing.T) {
	s, l := newStore(t)
	r := s.Reader
	if got, err := r.Growth(t.Context(), l.ID, 10); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	for i := range int64(500) {
		c := Checkpoint{Log: l.ID, Size: 10 + i*i, Root: tlog.Hash{byte(i), byte(i >> 8)}, Signed: []byte("x\n\n"), FirstSeen: now.Add(time.Duration(i) * time.Minute), LastSeen: now, Verdict: Consistent}
		if i == 499 {
			c.Verdict = Inconsistent
		}
		_, _, err := s.PutCheckpoint(t.Context(), c, func([]byte) (bool, time.Time) { return i%2 == 0, time.Time{} })
		fatalIf(t, err)
	}
	got := testlog.Must(r.Growth(t.Context(), l.ID, 40))
	if len(got) < 40 || len(got) > 43 || got[0] != (GrowthPoint{now, 10}) || got[len(got)-1] != (GrowthPoint{now.Add(498 * time.Minute), 10 + 498*498}) {
		t.Errorf("%d points from %v to %v", len(got), got[0], got[len(got)-1])
	}
	if !slices.IsSortedFunc(got, func(a, b GrowthPoint) int { return int(a.Size - b.Size) }) {
		t.Error("the log shrinks")
	}
	best, ok, err := r.BestCovering(t.Context(), l.ID, 100, 1000)
	fatalIf(t, err)
	if !ok || best.Size != 10+30*30 { // 10+31*31 is larger, and its policy is not satisfied
		t.Errorf("the best checkpoint for 100 to 1000 is %d", best.Size)
	}
	heads := testlog.Must(r.Checkpoints(t.Context(), CheckpointQuery{Log: l.ID, Newest: true, Limit: 3, Verdict: Consistent}))
	if len(heads) != 3 || heads[0].Size != 10+498*498 {
		t.Errorf("%d checkpoints", len(heads))
	}
}

func TestAProofIsOfTheStoredTree(t *testing.T) {
	s, l := newStore(t)
	fatalIf(t, s.AppendEntries(t.Context(), l.ID, entries(l.ID, 0, 700)))
	for _, x := range [][2]int64{{1, 0}, {700, 0}, {700, 699}, {513, 511}, {300, 299}} {
		proof, root, err := s.Reader.Prove(t.Context(), l.ID, x[0], x[1])
		fatalIf(t, err)
		fatalIf(t, tlog.CheckRecord(proof, x[0], root, x[1], tlog.RecordHash(leaf(x[1]))))
	}
	for _, x := range [][2]int64{{0, 0}, {5, 5}, {5, -1}, {701, 3}} {
		if _, _, err := s.Reader.Prove(t.Context(), l.ID, x[0], x[1]); err == nil {
			t.Errorf("entry %d of a tree of %d is proved", x[1], x[0])
		}
	}
}
