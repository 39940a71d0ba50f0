package storage

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/durable"
	"cratelog/internal/testlog"
)

// trees are the kinds of places. Each function returns a new, empty one.
var trees = map[string]func(t *testing.T) Tree{
	"posix": func(t *testing.T) Tree { return testlog.Must(OpenPosix(t.TempDir()+"/tree", true)) },
	"s3":    inBucket,
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eachTree runs a test with every kind of place.
func eachTree(t *testing.T, test func(t *testing.T, tree Tree)) {
	for name, open := range trees {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := open(t)
			defer tree.Close()
			test(t, tree)
		})
	}
}

// started starts Tessera in a locked tree, and returns what stops it.
func started(t *testing.T, tree Tree, more ...func(*tessera.AppendOptions)) (a *tessera.Appender, stop func()) {
	t.Helper()
	lock := testlog.Must(tree.Lock(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	opts := tessera.NewAppendOptions().WithCheckpointSigner(testlog.LogKey("log.example/x", "key")).
		WithCheckpointInterval(tree.Pace()).WithBatching(16, time.Millisecond)
	for _, with := range more {
		with(opts)
	}
	a, shutdown, err := tree.Open(ctx, opts, nil)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	return a, func() {
		t.Helper()
		fatalIf(t, shutdown(ctx))
		cancel()
		fatalIf(t, tree.Close())
		fatalIf(t, lock.Close())
	}
}

func TestAPlaceWithoutATree(t *testing.T) {
	t.Parallel()
	eachTree(t, func(t *testing.T, tree Tree) {
		ctx := t.Context()
		if s, err := tree.State(ctx); err != nil || s.Found || s.Size != 0 || s.Root != (tlog.Hash{}) {
			t.Errorf("%+v %v", s, err)
		}
		if next, err := tree.Next(ctx); err != nil || next != 0 {
			t.Errorf("%d %v", next, err)
		}
		for name, read := range map[string]func() error{
			"tile":           func() error { _, err := tree.ReadTile(ctx, 0, 0, 0); return err },
			"partial tile":   func() error { _, err := tree.ReadTile(ctx, 1, 7, 3); return err },
			"bundle":         func() error { _, err := tree.ReadEntryBundle(ctx, 0, 0); return err },
			"partial bundle": func() error { _, err := tree.ReadEntryBundle(ctx, 3, 255); return err },
			Checkpoint:       func() error { _, _, err := tree.Read(ctx, Checkpoint, 1<<10); return err },
			Frozen:           func() error { _, _, err := tree.Read(ctx, Frozen, 1<<10); return err },
			Version:          func() error { _, _, err := tree.Read(ctx, Version, 1<<10); return err },
		} {
			if err := read(); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if at, err := tree.Published(ctx); err != nil || !at.IsZero() {
			t.Errorf("%v %v", at, err)
		}
	})
}

func TestFilesAreWrittenReadAndRemoved(t *testing.T) {
	t.Parallel()
	eachTree(t, func(t *testing.T, tree Tree) {
		ctx := t.Context()
		for _, name := range []string{Checkpoint, Frozen} {
			for _, data := range []string{"first", "the second one"} {
				fatalIf(t, tree.Write(ctx, name, []byte(data)))
				got, at, err := tree.Read(ctx, name, int64(len(data)))
				if err != nil || string(got) != data || time.Since(at).Abs() > time.Minute {
					t.Errorf("%s: %q of %v, %v", name, got, at, err)
				}
				if _, _, err := tree.Read(ctx, name, int64(len(data))-1); !errors.Is(err, durable.ErrTooLarge) {
					t.Errorf("%s of %d bytes, too large by one: %v", name, len(data), err)
				}
			}
			fatalIf(t, tree.Remove(ctx, name))
			if _, _, err := tree.Read(ctx, name, 1<<10); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", name, err)
			}
		}
	})
}

func TestTheFullFileStandsForAPartialOne(t *testing.T) {
	t.Parallel()
	eachTree(t, func(t *testing.T, tree Tree) {
		ctx := t.Context()
		part, full := bytes.Repeat([]byte{1}, 3*tlog.HashSize), bytes.Repeat([]byte{2}, maxTile)
		fatalIf(t, tree.WriteTile(ctx, 2, 1234567, 3, part))
		if got, err := tree.ReadTile(ctx, 2, 1234567, 3); err != nil || !bytes.Equal(got, part) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if _, err := tree.ReadTile(ctx, 2, 1234567, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the full one is missing: %v", err)
		}
		fatalIf(t, tree.WriteTile(ctx, 2, 1234567, 0, full))
		for p, want := range map[uint8][]byte{0: full, 3: part, 4: full} {
			if got, err := tree.ReadTile(ctx, 2, 1234567, p); err != nil || !bytes.Equal(got, want) {
				t.Errorf("width %d: %d bytes, %v", p, len(got), err)
			}
		}
		fatalIf(t, tree.WriteTile(ctx, 2, 1234567, 3, full[:3*tlog.HashSize])) // a repair
		if got, err := tree.ReadTile(ctx, 2, 1234567, 3); err != nil || !bytes.Equal(got, full[:3*tlog.HashSize]) {
			t.Errorf("the repaired one: %d bytes, %v", len(got), err)
		}
		fatalIf(t, tree.WriteTile(ctx, 0, 5, 0, append(full, 0)))
		if _, err := tree.ReadTile(ctx, 0, 5, 0); !errors.Is(err, durable.ErrTooLarge) {
			t.Errorf("one that is too large: %v", err)
		}
	})
}

// TestWhatTesseraAddsIsThere: state, entries, tile and checkpoint are what was added, also when it is opened again.
func TestWhatTesseraAddsIsThere(t *testing.T) {
	t.Parallel()
	eachTree(t, func(t *testing.T, tree Tree) {
		ctx := t.Context()
		want := testlog.NewTree()
		for round := range 2 {
			a, stop := started(t, tree)
			for i := range 3 {
				leaf := []byte{byte(round), byte(i)}
				if at := testlog.Must(a.Add(ctx, tessera.NewEntry(leaf))()); at.Index != uint64(3*round+i) {
					t.Errorf("entry %d of round %d is at %d", i, round, at.Index)
				}
				want.Append(leaf)
			}
			stop()
			size := uint64(3*round + 3)
			s, err := tree.State(ctx)
			if err != nil || !s.Found || s.Size != size || s.Root != want.Root(int64(size)) {
				t.Errorf("%+v %v", s, err)
			}
			if next, err := tree.Next(ctx); err != nil || next != size {
				t.Errorf("%d %v", next, err)
			}
			var b api.EntryBundle
			fatalIf(t, b.UnmarshalText(testlog.Must(tree.ReadEntryBundle(ctx, 0, uint8(size)))))
			tile := testlog.Must(tree.ReadTile(ctx, 0, 0, uint8(size)))
			for i, e := range b.Entries {
				if !bytes.Equal(tile[i*tlog.HashSize:][:tlog.HashSize], rfc6962.DefaultHasher.HashLeaf(e)) ||
					!bytes.Equal(e, []byte{byte(i / 3), byte(i % 3)}) {
					t.Errorf("entry %d is %x", i, e)
				}
			}
			raw, at, err := tree.Read(ctx, Checkpoint, 1<<10)
			if err != nil || !bytes.HasPrefix(raw, []byte("log.example/x\n")) || time.Since(at).Abs() > time.Minute {
				t.Errorf("%q of %v, %v", raw, at, err)
			}
		}
	})
}

// TestTheTimeOfPublishingCanBeSet: from the future, which stops it, to the past, which makes it publish at once.
func TestTheTimeOfPublishingCanBeSet(t *testing.T) {
	t.Parallel()
	eachTree(t, func(t *testing.T, tree Tree) {
		ctx := t.Context()
		a, stop := started(t, tree)
		testlog.Must(a.Add(ctx, tessera.NewEntry([]byte("a")))())
		stop()
		for _, by := range []time.Duration{time.Hour, -time.Hour, 0} {
			want := time.Now().Add(by)
			fatalIf(t, tree.SetPublished(ctx, want))
			if got, err := tree.Published(ctx); err != nil || got.Sub(want).Abs() > 2*time.Second {
				t.Errorf("it is %v, not %v: %v", got, want, err)
			}
		}
		before, _, err := tree.Read(ctx, Checkpoint, 1<<10)
		fatalIf(t, err)
		fatalIf(t, tree.SetPublished(ctx, time.Now().Add(-2*time.Hour)))
		fatalIf(t, tree.Write(ctx, Frozen, before)) // not the checkpoint
		_, stop = started(t, tree, func(o *tessera.AppendOptions) { o.WithCheckpointRepublishInterval(time.Hour) })
		defer stop()
		for range 600 {
			if at := testlog.Must(tree.Published(ctx)); time.Since(at) < time.Hour {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Error("it is not published again")
	})
}

// TestAStateIsRepaired: Tessera goes on from what was written.
func TestAStateIsRepaired(t *testing.T) {
	t.Parallel()
	eachTree(t, func(t *testing.T, tree Tree) {
		ctx := t.Context()
		a, stop := started(t, tree)
		testlog.Must(a.Add(ctx, tessera.NewEntry([]byte("a")))())
		stop()
		right := testlog.Must(tree.State(ctx))
		fatalIf(t, tree.WriteState(ctx, State{Size: 1, Root: tlog.Hash{1}}))
		if s := testlog.Must(tree.State(ctx)); s.Root != (tlog.Hash{1}) {
			t.Errorf("%+v", s)
		}
		fatalIf(t, tree.WriteState(ctx, right))
		if s := testlog.Must(tree.State(ctx)); s != right {
			t.Errorf("%+v, not %+v", s, right)
		}
		a, stop = started(t, tree)
		if at := testlog.Must(a.Add(ctx, tessera.NewEntry([]byte("b")))()); at.Index != 1 {
			t.Errorf("the next one is entry %d", at.Index)
		}
		stop()
	})
}

func TestAPlaceCanBeTried(t *testing.T) {
	t.Parallel()
	eachTree(t, func(t *testing.T, tree Tree) {
		_, stop := started(t, tree)
		defer stop()
		fatalIf(t, tree.Writable(t.Context()))
		fatalIf(t, tree.Try(t.Context()))
	})
}
