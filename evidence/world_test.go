package evidence

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/internal/testlog"
)

const origin = "example.com/log"

var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

var meta = Meta{Observed: now.Add(time.Hour), Sources: []string{"https://log.example/checkpoint"}}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree is a log's Merkle tree in memory.
type tree struct{ *testlog.Tree }

func newTree(leaves ...[]byte) tree { return tree{testlog.NewTree(leaves...)} }

// with returns a tree with another leaf at one place.
func (tr tree) with(index int64, leaf []byte) tree { return tree{tr.With(index, leaf)} }

func (tr tree) leaf(index, size int64) Leaf {
	return testlog.Must(NewLeaf(tr, size, index, tr.Leaves[index]))
}

func (tr tree) note(size int64, keys ...*testlog.Key) []byte {
	return testlog.Sign(tr.Head(origin, size), keys...)
}

// words are n leaves that no entry looks like.
func words(n int, salt string) [][]byte {
	var all [][]byte
	for i := range n {
		all = append(all, fmt.Appendf(nil, "leaf %d %s", i, salt))
	}
	return all
}

// leafHashes are what a captor computes from leaves.
func leafHashes(leaves [][]byte) (all []tlog.Hash) {
	for _, l := range leaves {
		all = append(all, entry.LeafHash(l))
	}
	return all
}
