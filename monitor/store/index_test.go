package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/testlog"
)

// stored makes rows of leaves, as a monitor does.
func stored(t testing.TB, log int64, tree *testlog.Tree) []Entry {
	t.Helper()
	var out []Entry
	for i, b := range tree.Leaves {
		row := Entry{Log: log, Index: int64(i), LeafHash: tlog.RecordHash(b), FirstSeen: now, Verdict: OK, Data: b}
		leaf, err := entry.ParseLeaf(b)
		if err == nil {
			row.Kind = KindOf(leaf, row.Index)
		}
		if e, ok := leaf.(*entry.Entry); ok && err == nil {
			f := testlog.Must(index.FactsOf(e))
			row.Registry, row.Name, row.Version, row.SHA256 = f.Registry, f.Name, f.Version, f.SHA256
			row.Identity, row.Program = f.Identity, f.Program
			if b := f.Build; b != nil {
				row.Build = &Build{b.Request, b.Result, b.Root, b.Tag, b.Binary, b.Target}
			}
		}
		out = append(out, row)
	}
	return out
}

// add appends entries about sources and builds.
func add(tree *testlog.Tree, from, n int) {
	for i := from; i < from+n; i++ {
		e := &entry.Entry{Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: fmt.Sprintf("crate-%d", i%9), Version: fmt.Sprintf("1.0.%d", i),
			SHA256: [32]byte{byte(i)}}, Claim: &entry.Source{Commit: [20]byte{byte(i)}}, Proof: entry.Proof{Program: [32]byte{1}, Parts: [][]byte{{1}}}}
		if i%3 == 0 {
			e.Claim = &entry.Build{Binary: "x", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{1}, Recipe: entry.Recipe1, Root: [32]byte{31: 1},
				Tag: [32]byte{31: byte(i)}}
		}
		tree.Append(testlog.Must(e.Marshal()))
	}
}

// keep stores a tree, as verified, with checkpoints of some sizes; of the accepted ones the size is negative.
func (s *Store) keep(t testing.TB, l Log, tree *testlog.Tree, sizes ...int64) {
	t.Helper()
	ctx := t.Context()
	fatalIf(t, s.AppendEntries(ctx, l.ID, stored(t, l.ID, tree)))
	fatalIf(t, s.SetVerified(ctx, l.ID, tree.Size(), tree.Root(tree.Size()), nil))
	fatalIf(t, s.SetSealed(ctx, l.ID, tree.Size(), tree.Map(tree.Size()).Root(), -1))
	for _, size := range sizes {
		accepted := size < 0
		size = max(size, -size)
		_, _, err := s.PutCheckpoint(ctx, Checkpoint{Log: l.ID, Size: size, Root: tree.Root(size), Signed: []byte(text + "\n— log AAAAAQE=\n"),
			Source: "log", FirstSeen: now, LastSeen: now, Verdict: Consistent}, func([]byte) (bool, time.Time) { return accepted, now })
		fatalIf(t, err)
	}
}

func TestTheMapOfRowsAndThatOfBytesAreTheLeaves(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	tree := &testlog.Tree{}
	add(tree, 0, 20)
	tree.Seal() // 21
	tree.Append([]byte("no entry"), tree.Leaves[20], nil)
	add(tree, 5, 20)
	tree.Seal() // 45
	add(tree, 90, 3)
	tree.SealAs(index.Hash{1}) // 49
	add(tree, 95, 1)
	s.keep(t, l, tree, -21, 45, 49, 50)
	m := testlog.Must(s.Map(ctx, l.ID, tree.Size()))
	if m.Snapshot().Root() != tree.Map(tree.Size()).Root() {
		t.Error("the rows give another map than the leaves")
	}
	for name, leaves := range map[string]func(context.Context, int64, int64, int64) iter.Seq2[Leaf, error]{"rows": s.Leaves, "bytes": s.LeavesFromBytes} {
		m, all, err := s.SealedMaps(ctx, l.ID, 50, []int64{49, 45, 21}, leaves)
		fatalIf(t, err)
		if m.Snapshot().Root() != tree.Map(50).Root() || len(all) != 2 || all[0].Size != 45 || all[1].Size != 21 ||
			all[0].Map.Root() != tree.Map(44).Root() || all[1].Map.Root() != tree.Map(20).Root() {
			t.Errorf("%s: %+v", name, all)
		}
	}
	// The largest sealed checkpoint says something else; the largest accepted one does not.
	if sizes := testlog.Must(s.SealedSizes(ctx, l.ID, 50)); len(sizes) != 2 || sizes[0] != 49 || sizes[1] != 21 {
		t.Errorf("%v", sizes)
	}
	if all := testlog.Must(s.Sealed(ctx, l.ID)); len(all) != 1 || all[0].Size != 21 {
		t.Errorf("%+v", all)
	}
	if n := testlog.Must(s.CountLeaves(ctx, l.ID)); n != (LeafCount{Seals: 3, VoidSeals: 1}) {
		t.Errorf("%+v", n)
	}
	if err := s.SetSealed(ctx, l.ID, 51, [32]byte{}, -1); err == nil {
		t.Error("seals are compared ahead of what is verified")
	}
	if err := s.SetSealed(ctx, l.ID, 49, [32]byte{}, -1); err == nil {
		t.Error("the position went back")
	}
}

func TestAStartTakesVersionsOutOfThisDatabaseOnly(t *testing.T) {
	s, l := newStore(t)
	ctx := t.Context()
	before := &testlog.Tree{}
	add(before, 0, 20)
	before.Seal()
	after := func(change func(s *entry.Start)) *testlog.Tree {
		tree := &testlog.Tree{}
		tree.Continue(l.Origin, before, 21, change)
		add(tree, 50, 3)
		return tree
	}
	next := func(name string, tree *testlog.Tree) (*index.Map, error) {
		l := testlog.Must(s.AddLog(ctx, name, []string{"k"}, "", now))
		fatalIf(t, s.AppendEntries(ctx, l.ID, stored(t, l.ID, tree)))
		return s.Map(ctx, l.ID, tree.Size())
	}
	if _, err := next("early", after(nil)); !errors.Is(err, ErrPredecessor) {
		t.Errorf("the log before is not verified: %v", err)
	}
	s.keep(t, l, before)
	good := after(nil)
	m, err := next("good", good)
	fatalIf(t, err)
	if m.Snapshot().Root() != good.Map(good.Size()).Root() {
		t.Error("another map")
	}
	_, err = next("unknown", after(func(s *entry.Start) { s.Origin = "log.example/none" }))
	if other := new(OtherTreeError); !errors.Is(err, ErrPredecessor) || errors.As(err, &other) {
		t.Error(err)
	}
	_, err = next("other", after(func(s *entry.Start) { s.Tree[0]++ }))
	if other := new(OtherTreeError); !errors.Is(err, ErrPredecessor) || !errors.As(err, &other) || other.Root != before.Root(21) {
		t.Error(err)
	}
}
