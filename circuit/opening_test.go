package circuit

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"cratelog/proofcheck/chain"
)

// wholeEnd is what a verifier leaves out who believes any end.
var wholeEnd = []group{endReferences, endObjects, endChildren, endBytes, endList, endOpen}

// TestNoOtherStateIsOpened: a segment goes on from the state that In commits to and from no other,
// whichever field differs. Everything else follows the lie, and any end is believed, so that
// without the constraint that opens In each lie is believed.
func TestNoOtherStateIsOpened(t *testing.T) {
	honest := func() *world {
		// Cut in the middle of the commit's text.
		w := claimed(t, build(node{"f": "1", "d": node{"g": "2"}}, strings.Repeat("-", 3*blockBytes)))
		w.cutBefore = 3
		return w
	}
	opens := func(f func(*chain.State)) func() *world {
		return func() *world {
			w := honest()
			w.blocks[w.cutBefore].opened = f
			return w
		}
	}
	lies := []struct {
		field string
		make  func() *world
	}{
		{"H", opens(func(s *chain.State) { s.H[3] ^= 4 })},
		{"Automaton", func() *world {
			// An entry that is not listed is cut in its id; what comes is listed.
			name := strings.Repeat("n", 40)
			tree := tree1(name, 1)
			w := claimed(t, over(id(tree), tree))
			as := claimed(t, over(id(tree), tree, name))
			k := w.blockOf(1) + 1
			w.blocks[k], w.cutBefore = as.blocks[k], k
			if !slices.Contains(w.blocks[k].listed[:], 1) {
				t.Fatal("no byte of the id comes after the cut")
			}
			w.blocks[k].opened = func(s *chain.State) { s.Automaton = uint64(as.blocks[k-1].state[blockBytes-1]) }
			return w
		}},
		{"Ended, with what an open object has", func() *world {
			// A tree is said to be open before it begins.
			w := honest()
			k := w.blockOf(1)
			b := &w.blocks[k]
			b.header, w.cutBefore = make([]int64, len(headerShapes)), k
			b.opened = func(s *chain.State) {
				s.Ended, s.Automaton, s.Objects = false, uint64(newAutomaton().start), s.Objects+1
				s.H, s.Length = joined(sha1IV), uint64(len(w.objects[1].Data))
			}
			return w
		}},
		{"Objects", opens(func(s *chain.State) { s.Objects++ })},
		{"Length and Blocks", func() *world {
			// The commit is said to have a block more than was hashed.
			w := honest()
			w.blocks[w.cutBefore].opened = func(s *chain.State) { s.Blocks++; s.Length += blockBytes }
			field := w.blocks[w.blockOf(1)-1].bytes[blockBytes-8:]
			binary.BigEndian.PutUint64(field, binary.BigEndian.Uint64(field)+8*blockBytes)
			return w
		}},
		{"Length", atStart(honest, func(s *chain.State) { s.Length++ })},
		{"Blocks", atStart(honest, func(s *chain.State) { s.Blocks++ })},
		{"Listed", opens(func(s *chain.State) { s.Listed++ })},
		{"Children", opens(func(s *chain.State) { s.Children++ })},
		{"Ahead", opens(func(s *chain.State) { s.Ahead = nil })},
		{"References", opens(func(s *chain.State) { s.References.SetOne() })},
		{"List", opens(func(s *chain.State) { s.List.SetOne() })},
		{"Blind", opens(func(s *chain.State) { s.Blind.SetOne() })},
	}
	for i, l := range lies {
		if testing.Short() && i > 0 {
			continue
		}
		w := l.make()
		w.cuts(func(S, offset int) {
			if testing.Short() && S != 2 {
				return
			}
			if w.refused(t, S, offset, wholeEnd...) == nil {
				t.Errorf("%s: another one is opened, in segments of %d blocks", l.field, S)
			}
			if err := w.refused(t, S, offset, append([]group{groupIn}, wholeEnd...)...); err != nil {
				t.Errorf("%s: refused without the opening of In, which shows nothing: %v", l.field, err)
			}
		})
	}
}

// atStart alters the state that is opened where an object begins, which does not read it.
func atStart(honest func() *world, f func(*chain.State)) func() *world {
	return func() *world {
		w := honest()
		w.cutBefore = w.blockOf(1)
		w.blocks[w.cutBefore].opened = f
		return w
	}
}

// TestMonitorsAreNotShownNothing: who has no list takes the number of objects, the length and the
// sum from the proof, and refuses all the same a proof in which a reference has no answer or an
// object no reference; for instance a segment of which no block is used, for any commit.
func TestMonitorsAreNotShownNothing(t *testing.T) {
	monitor := []group{endObjects, endBytes, endList}
	for _, a := range attacks {
		switch a.name {
		case "nothing at all", "another commit", "an object without a name", "one object for two names":
		default:
			continue
		}
		if testing.Short() && a.name != "nothing at all" {
			continue
		}
		w := a.make(t)
		if w.refused(t, 2, 0, monitor...) == nil {
			t.Errorf("%s: a monitor believes it", a.name)
		}
	}
	w := claimed(t, example())
	w.list = []byte("ct") // it has none
	if err := w.refused(t, 2, 0, monitor...); err != nil {
		t.Errorf("a true proof is refused without the list: %v", err)
	}
}

// TestTruthNeedsWiping: a verifier knows no last state but one in which nothing is left.
func TestTruthNeedsWiping(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles a circuit of its own")
	}
	w := claimed(t, example())
	if err := w.refused(t, 2, 0); err != nil {
		t.Fatal(err)
	}
	if w.refused(t, 2, 0, groupWiping) == nil {
		t.Error("the last state is the same without wiping: the constraints are not needed")
	}
}

// TestUnusedSegmentsMayBeAdded: they change nothing but the number of segments.
func TestUnusedSegmentsMayBeAdded(t *testing.T) {
	if testing.Short() {
		t.Skip("it solves many segments")
	}
	w := claimed(t, build(node{"f": "1"}, "m"))
	w.blocks = append(w.blocks, unused(), unused(), unused(), unused())
	if err := w.refused(t, 2, 4); err != nil {
		t.Error(err)
	}
}
