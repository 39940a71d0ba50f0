package opening

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"cratelog/entry"
)

// TestObjectsOfACommitAreKnownWithoutAList: a true opening's, and nothing else.
func TestObjectsOfACommitAreKnownWithoutAList(t *testing.T) {
	w := newWorld(t, "crates/x", []string{"tests/data"}, entry.Source{}, nil)
	raw, n := w.opening(), len(w.list.Objects)
	fatalIf(t, CheckObjects(raw, w.claim, n))
	malformed := func(what string, b []byte, commit [20]byte, n int) {
		t.Helper()
		if err := CheckObjects(b, &entry.Source{Commit: commit}, n); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", what, err)
		}
	}
	malformed("another number", raw, w.claim.Commit, n+1)
	malformed("no objects", nil, w.claim.Commit, 0+1)
	malformed("another commit", raw, [20]byte{1}, n)
	for i := range raw {
		b := bytes.Clone(raw)
		b[i] ^= 1
		malformed(fmt.Sprintf("byte %d", i), b, w.claim.Commit, n)
	}
	objects := w.objects()
	for i := range objects {
		if i > 0 {
			swapped := slices.Clone(objects)
			swapped[i], swapped[i-1] = swapped[i-1], swapped[i]
			malformed(fmt.Sprintf("objects %d and %d exchanged", i-1, i), bytes.Join(swapped, nil), w.claim.Commit, n)
		}
		twice := slices.Insert(slices.Clone(objects), i, objects[i])
		malformed(fmt.Sprintf("object %d twice", i), bytes.Join(twice, nil), w.claim.Commit, n+1)
	}
	other := newWorld(t, "", nil, entry.Source{}, nil).objects()
	malformed("a tree of another commit", bytes.Join(append(slices.Clone(objects), other[1]), nil), w.claim.Commit, n+1)
}

// TestObjectsThatGitRefusesGiveNoVerdictWithoutAList, as with one.
func TestObjectsThatGitRefusesGiveNoVerdictWithoutAList(t *testing.T) {
	w := newWorld(t, "", nil, entry.Source{}, func(r *repo) {
		r.edit = func(_ string, entries []treeEntry) []treeEntry {
			slices.Reverse(entries)
			return entries
		}
	})
	objects := w.objects()
	if err := CheckObjects(bytes.Join(objects, nil), w.claim, len(objects)); !errors.Is(err, ErrNoVerdict) {
		t.Errorf("%v, want ErrNoVerdict", err)
	}
}
