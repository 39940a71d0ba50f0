package log

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"cratelog/internal/clustertest"
	"cratelog/internal/testlog"
	"cratelog/log/storage"
)

// keptPlaces are where a log keeps what is beside its tree. Each returns the settings of two processes that keep it
// together: of a log that is alone, of one after the other.
var keptPlaces = map[string]func(t *testing.T) *Config{
	"files": func(t *testing.T) *Config { return &Config{Origin: testOrigin, StateDir: t.TempDir()} },
	"database": func(t *testing.T) *Config {
		return &Config{Origin: testOrigin, Cluster: &Cluster{Tree: storage.S3{Database: clustertest.Database(t), AddDeadline: patient}}}
	},
}

func TestOpeningsAreKeptOnceAndWithinTheirQuota(t *testing.T) {
	t.Parallel()
	for name, place := range keptPlaces {
		t.Run(name, func(t *testing.T) {
			cfg := place(t)
			cfg.OpeningsBytes = 9 << 20
			ctx := t.Context()
			var both [2]*openings
			for i := range both {
				both[i] = testlog.Must(openOpenings(ctx, cfg))
				defer both[i].close()
			}
			large := make([]byte, 4<<20)
			var seed [32]byte
			rand.NewChaCha8(seed).Read(large)
			var all sync.WaitGroup
			var mu sync.Mutex
			isNew := 0
			for i := range 8 {
				all.Go(func() {
					n, err := both[i%2].put(ctx, [32]byte{1}, large)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					if n {
						isNew++
					}
				})
			}
			all.Wait()
			if isNew != 1 {
				t.Errorf("it was new %d times", isNew)
			}
			testlog.Must(both[0].put(ctx, [32]byte{2}, large))
			if _, err := both[1].put(ctx, [32]byte{3}, large); !errors.Is(err, errOpeningsFull) {
				t.Errorf("a third: %v", err)
			}
			if is, err := both[1].put(ctx, [32]byte{2}, large); is || err != nil {
				t.Errorf("one that is there, of a full store: %v, %v", is, err)
			}
			kept, found, err := both[1].get(ctx, [32]byte{1})
			if want := sha256.Sum256(large); !found || err != nil || kept.sha256 != want || len(kept.gzipped) < len(large) {
				t.Errorf("%v, %v", found, err)
			}
			if sum, found, err := both[0].named(ctx, [32]byte{1}); !found || err != nil || !bytes.Equal(sum, kept.sha256[:]) {
				t.Errorf("%x, %v, %v", sum, found, err)
			}
			fatalIf(t, DeleteOpening(ctx, *withSecret(cfg), [32]byte{1}))
			if err := DeleteOpening(ctx, *withSecret(cfg), [32]byte{1}); err == nil || !strings.Contains(err.Error(), "holds no opening") {
				t.Errorf("deleted twice: %v", err)
			}
			if _, err := both[0].put(ctx, [32]byte{1}, large); !errors.Is(err, errOpeningDeleted) {
				t.Errorf("brought back: %v", err)
			}
			fatalIf(t, both[0].forget(ctx, func(id [32]byte) (bool, error) { return id != [32]byte{2}, nil }))
			if _, found, err := both[1].get(ctx, [32]byte{2}); found || err != nil {
				t.Errorf("not forgotten: %v, %v", found, err)
			}
			if _, err := both[0].put(ctx, [32]byte{1}, large); !errors.Is(err, errOpeningDeleted) {
				t.Errorf("what was deleted is forgotten: %v", err)
			}
		})
	}
}

// withSecret are settings that are whole, as those of a command.
func withSecret(cfg *Config) *Config {
	whole := *cfg
	if c := cfg.Cluster; c != nil {
		whole.Cluster = &Cluster{Tree: c.Tree, Memory: "x", Secret: make([]byte, leastSecret)}
		whole.Cluster.Tree.Bucket, whole.Cluster.Tree.AddDeadline = "x", 5*time.Second
	}
	return &whole
}

// TestContradictionsAreNumberedAsTheyCome: whoever lists them from the number on that he knows misses none, however
// many processes find them.
func TestContradictionsAreNumberedAsTheyCome(t *testing.T) {
	t.Parallel()
	for name, place := range keptPlaces {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			cfg := place(t)
			var both [2]*buildStore
			for i := range both {
				both[i] = testlog.Must(openBuildStore(ctx, cfg))
				defer both[i].close()
			}
			const each = 12
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					for j := range each {
						var tag [32]byte
						binary.BigEndian.PutUint64(tag[:], uint64(i%2*each+j)) // two find the same
						n, err := both[i%2].putContradiction(ctx, [32]byte{9}, tag, tag[:])
						if known, found, err2 := both[(i+1)%2].contradicts(ctx, [32]byte{9}, tag); err != nil || err2 != nil || !found || known != n {
							t.Errorf("%d, %d: number %d (%v), and the other says %d, %v (%v)", i, j, n, err, known, found, err2)
						}
					}
				})
			}
			var seen []int64
			all.Go(func() {
				for len(seen) < 2*each && !t.Failed() {
					from := int64(1)
					if len(seen) > 0 {
						from = seen[len(seen)-1] + 1
					}
					for _, c := range testlog.Must(both[0].contradictions(ctx, from, 5)) {
						seen = append(seen, c.Number)
					}
				}
			})
			all.Wait()
			for i, n := range seen {
				if n != int64(i)+1 {
					t.Fatalf("seen were %d", seen)
				}
			}
			list := []byte("a list")
			for i, want := range []bool{true, false} {
				if isNew, err := both[i].putList(ctx, list); isNew != want || err != nil {
					t.Errorf("list: %v, %v", isNew, err)
				}
			}
			if got, found, err := both[1].list(ctx, sha256.Sum256(list)); !bytes.Equal(got, list) || !found || err != nil {
				t.Errorf("%q, %v, %v", got, found, err)
			}
			fatalIf(t, both[1].forget(ctx, func([32]byte) (bool, error) { return false, nil }))
			if _, found, err := both[0].list(ctx, sha256.Sum256(list)); found || err != nil {
				t.Errorf("not forgotten: %v, %v", found, err)
			}
		})
	}
}

// TestADatabaseThatIsAwayIsAskedForAgain: a log opens without it, and says to whom it needs it for that it may come again.
func TestADatabaseThatIsAwayIsAskedForAgain(t *testing.T) {
	t.Parallel()
	cfg := testlog.Must(driver.ParseDSN(clustertest.Database(t)))
	link := testlog.Must(clustertest.NewLink(cfg.Addr))
	defer link.Close()
	cfg.Addr = link.Address
	link.Cut()
	at := &Config{Origin: testOrigin, OpeningsBytes: 1 << 20,
		Cluster: &Cluster{Tree: storage.S3{Database: cfg.FormatDSN(), AddDeadline: patient}}}
	ctx := t.Context()
	o := testlog.Must(openOpenings(ctx, at))
	defer o.close()
	b := testlog.Must(openBuildStore(ctx, at))
	defer b.close()
	for name, ask := range map[string]func() error{
		"put":            func() error { _, err := o.put(ctx, [32]byte{1}, []byte("x")); return err },
		"get":            func() error { _, _, err := o.get(ctx, [32]byte{1}); return err },
		"named":          func() error { _, _, err := o.named(ctx, [32]byte{1}); return err },
		"drop":           func() error { return o.drop(ctx, [32]byte{1}) },
		"put list":       func() error { _, err := b.putList(ctx, []byte("x")); return err },
		"list":           func() error { _, _, err := b.list(ctx, [32]byte{1}); return err },
		"contradiction":  func() error { _, _, err := b.contradiction(ctx, 1); return err },
		"contradicts":    func() error { _, _, err := b.contradicts(ctx, [32]byte{}, [32]byte{}); return err },
		"contradictions": func() error { _, err := b.contradictions(ctx, 0, 9); return err },
	} {
		err := ask()
		if r := wantRefusal(t, err, StorageFailed, "The log's database, which has that, does not answer"); r.RetryAfter <= 0 ||
			strings.Contains(r.Message, link.Address) || strings.Contains(r.Err.Error(), cfg.Passwd) {
			t.Errorf("%s: %+v", name, r)
		}
		if got := answer(err); got.Status != 503 {
			t.Errorf("%s: status %d", name, got.Status)
		}
	}
	link.Heal()
	if isNew, err := o.put(ctx, [32]byte{1}, []byte("x")); !isNew || err != nil {
		t.Errorf("when it is back: %v, %v", isNew, err)
	}
}
