package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api"
	"golang.org/x/mod/sumdb/note"

	"cratelog/internal/clustertest"
)

func inBucket(t *testing.T) Tree {
	p := newPlace(t)
	return &opened{p.open(t), p, t}
}

// opened is a tree that is opened again when it is closed, as by another process.
type opened struct {
	*shared
	place *place
	t     *testing.T
}

func (o *opened) Close() error {
	err := o.shared.Close()
	o.shared = o.place.open(o.t)
	return err
}

// eventually tries something that takes a moment.
func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	var err error
	for range 1200 {
		if err = f(); err == nil {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("%s: %v", what, err)
}

// place is a bucket and a database.
type place struct {
	cfg   S3
	store *clustertest.Store
}

func newPlace(t testing.TB) *place {
	t.Helper()
	s := clustertest.FakeStore(t)
	return &place{store: s, cfg: S3{Endpoint: clustertest.Endpoint(s.Address), Region: s.Region, Bucket: s.Bucket,
		PathStyle: true, AccessKey: s.AccessKey, SecretKey: s.SecretKey, Database: clustertest.Database(t)}}
}

func (p *place) open(t testing.TB) *shared {
	t.Helper()
	tree, err := OpenS3(t.Context(), p.cfg)
	fatalIf(t, err)
	t.Cleanup(func() { fatalIf(t, tree.Close()) })
	return tree.(*shared)
}

// running is a tree with Tessera.
type running struct {
	*shared
	add  tessera.AddFn
	stop func() // without a shutdown, as a process that is killed
}

func options(t testing.TB) *tessera.AppendOptions {
	t.Helper()
	key, _, err := note.GenerateKey(rand.Reader, "log.example")
	fatalIf(t, err)
	signer, err := note.NewSigner(key)
	fatalIf(t, err)
	return tessera.NewAppendOptions().WithCheckpointSigner(signer).WithCheckpointInterval(time.Second).
		WithBatching(256, 5*time.Millisecond).WithGarbageCollectionInterval(100 * time.Millisecond)
}

func (s *shared) run(t testing.TB) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	a, _, err := s.Open(ctx, options(t), http.DefaultClient)
	fatalIf(t, err)
	return &running{s, a.Add, cancel}
}

func leaf(i int) []byte { return fmt.Appendf(nil, "entry %d", i) }

// grow adds the leaves from..to, each until it is answered, and waits until they are published.
func (r *running) grow(t testing.TB, from, to int) {
	t.Helper()
	futures := make([]tessera.IndexFuture, to-from)
	for i := range futures {
		futures[i] = r.add(t.Context(), tessera.NewEntry(leaf(from+i)))
	}
	for i, f := range futures {
		x, err := f()
		if err != nil || x.Index != uint64(from+i) {
			t.Fatalf("leaf %d was added as %d: %v", from+i, x.Index, err)
		}
	}
	r.published(t, to)
}

func (r *running) published(t testing.TB, size int) {
	t.Helper()
	eventually(t, "publishing", func() error {
		raw, _, err := r.Read(t.Context(), Checkpoint, 1<<16)
		if err == nil && !strings.Contains(string(raw), fmt.Sprintf("\n%d\n", size)) {
			err = fmt.Errorf("not of %d: %q", size, raw)
		}
		return err
	})
}

// leaves are those of a tree of a size.
func (s *shared) leaves(t testing.TB, size int) (leaves [][]byte) {
	t.Helper()
	for n := 0; n < size; n += 256 {
		raw, err := s.ReadEntryBundle(t.Context(), uint64(n/256), uint8(min(size-n, 256)%256))
		fatalIf(t, err)
		var b api.EntryBundle
		fatalIf(t, b.UnmarshalText(raw))
		leaves = append(leaves, b.Entries[:min(size-n, 256)]...)
	}
	return leaves
}

// holds compares the leaves of a tree of a size with those that were added.
func (s *shared) holds(t testing.TB, size int) {
	t.Helper()
	for i, got := range s.leaves(t, size) {
		if string(got) != string(leaf(i)) {
			t.Fatalf("leaf %d is %q", i, got)
		}
	}
}

func TestATreeInABucketGrowsAndIsRead(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := p.open(t)
	ctx := t.Context()
	if state, err := s.State(ctx); err != nil || state.Found {
		t.Errorf("of nothing the state is %+v, %v", state, err)
	}
	if next, err := s.Next(ctx); err != nil || next != 0 {
		t.Errorf("of nothing the next is %d, %v", next, err)
	}
	if at, err := s.Published(ctx); err != nil || !at.IsZero() {
		t.Errorf("nothing was published at %v, %v", at, err)
	}
	r := s.run(t)
	r.grow(t, 0, 3)
	r.grow(t, 3, 300)
	s.holds(t, 300)
	state, err := s.State(ctx)
	if err != nil || state.Size != 300 || !state.Found {
		t.Errorf("the state is %+v, %v", state, err)
	}
	if next, err := s.Next(ctx); err != nil || next != 300 {
		t.Errorf("the next is %d, %v", next, err)
	}
	if at, err := s.Published(ctx); err != nil || time.Since(at) > time.Minute {
		t.Errorf("published at %v, %v", at, err)
	}
	// The partial files of what is full are gone, and stand in for by the full ones.
	eventually(t, "removing partial files", func() error {
		if names, err := s.store.list(ctx, "tile/entries/000.p/"); err != nil || len(names) > 0 {
			return fmt.Errorf("there are %q, %w", names, err)
		}
		return nil
	})
	if b, err := s.ReadEntryBundle(ctx, 0, 3); err != nil || !strings.Contains(string(b), string(leaf(255))) {
		t.Errorf("instead of the partial bundle comes %.20q, %v", b, err)
	}
	if b, err := s.ReadTile(ctx, 0, 0, 3); err != nil || len(b) != maxTile {
		t.Errorf("instead of the partial tile come %d bytes, %v", len(b), err)
	}
	if _, err := s.ReadTile(ctx, 0, 7, 3); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tile that was never there: %v", err)
	}
	// Another process goes on from there.
	r.stop()
	other := p.open(t).run(t)
	other.grow(t, 300, 310)
	other.holds(t, 310)
	// Nobody sees what is tried.
	fatalIf(t, other.Try(ctx))
	fatalIf(t, other.Writable(ctx))
	if names, err := s.store.list(ctx, scratchDir); err != nil || len(names) > 0 {
		t.Errorf("there are %q, %v", names, err)
	}
}

// TestWhatIsPublishedCanBeTakenAway: Tessera publishes again, although the tree did not grow.
func TestWhatIsPublishedCanBeTakenAway(t *testing.T) {
	t.Parallel()
	s := newPlace(t).open(t)
	ctx := t.Context()
	fatalIf(t, s.Remove(ctx, Checkpoint)) // of nothing
	r := s.run(t)
	r.grow(t, 0, 2)
	fatalIf(t, s.Write(ctx, Checkpoint, []byte("of nobody")))
	fatalIf(t, s.Remove(ctx, Checkpoint))
	r.published(t, 2)
}

// TestARepairedStateGoesOn: entries that have their indexes behind it stay, unless they could never be integrated.
func TestARepairedStateGoesOn(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := p.open(t)
	ctx := t.Context()
	if err := s.WriteState(ctx, State{}); err == nil {
		t.Error("a state was written where nothing is")
	}
	r := s.run(t)
	r.grow(t, 0, 3)
	three, err := s.State(ctx)
	fatalIf(t, err)
	r.stop()
	if _, err := s.database.pool.ExecContext(ctx, "UPDATE IntCoord SET rootHash = ''"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.State(ctx); !errors.Is(err, ErrDamaged) {
		t.Errorf("a state without a root: %v", err)
	}
	fatalIf(t, s.WriteState(ctx, three))
	if got, err := s.State(ctx); err != nil || got != three {
		t.Errorf("%+v, %v", got, err)
	}
	for _, stmt := range []string{"UPDATE SeqCoord SET next = 9",
		"INSERT INTO Seq (id, seq, v) VALUES (0, 1, 'old'), (0, 3, 'new')"} {
		_, err := s.database.pool.ExecContext(ctx, stmt)
		fatalIf(t, err)
	}
	fatalIf(t, s.WriteState(ctx, three))
	var kept string
	fatalIf(t, s.database.pool.QueryRowContext(ctx, "SELECT GROUP_CONCAT(v) FROM Seq").Scan(&kept))
	if next, err := s.Next(ctx); err != nil || next != 9 || kept != "new" {
		t.Errorf("the next is %d after %q, %v", next, kept, err)
	}
	_, err = s.database.pool.ExecContext(ctx, "DELETE FROM Seq")
	fatalIf(t, err)
	// Entries behind a gap could never be integrated.
	fatalIf(t, s.WriteState(ctx, three))
	if next, err := s.Next(ctx); err != nil || next != 3 {
		t.Errorf("the next is %d, %v", next, err)
	}
	last := p.open(t).run(t)
	last.grow(t, 3, 5)
	last.holds(t, 5)
	// Whoever was stopped before it wrote what it found takes nothing back.
	if err := s.WriteState(ctx, three); err == nil || !strings.Contains(err.Error(), "another process has gone on") {
		t.Errorf("a state that is over: %v", err)
	}
	last.holds(t, 5)
}
