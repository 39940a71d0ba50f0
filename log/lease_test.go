package log

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"cratelog/internal/clustertest"
	"cratelog/internal/testlog"
	"cratelog/log/storage"
)

// patient is a lease that a busy machine can keep.
const patient = 20 * time.Second

func leaseAt(t *testing.T, dsn, address string, length time.Duration) *lease {
	t.Helper()
	l := testlog.Must(openLease(&Cluster{Memory: dsn, Lease: length}, testOrigin, address))
	t.Cleanup(func() { l.close(context.Background()) })
	return l
}

// runOut lets the lease end, by the clock that counts.
func runOut(t *testing.T, db *sql.DB) {
	t.Helper()
	testlog.Must(db.ExecContext(t.Context(), "UPDATE lease SET expires = UTC_TIMESTAMP(6) - INTERVAL 1 MICROSECOND"))
}

func wantLease(t *testing.T, l *lease, want bool) {
	t.Helper()
	if err := l.valid(); (err == nil) != want {
		t.Errorf("valid: %v", err)
	}
	select {
	case <-l.lost():
		if want {
			t.Error("it is said to be lost")
		}
	default:
		if !want && l.now() != nil {
			t.Error("it is not said to be lost")
		}
	}
}

func TestOneOfFiftyGetsTheLease(t *testing.T) {
	dsn := clustertest.Memory(t)
	for round := range 3 {
		var won atomic.Int32
		var winner *lease
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 50 {
			l := leaseAt(t, dsn, "http://a.example", patient)
			all.Go(func() {
				got, released, err := l.acquire(t.Context())
				for try := 0; err != nil && try < 10; try++ { // the server was busy
					got, released, err = l.acquire(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
				if (l.valid() == nil) != got {
					t.Errorf("got %v, and valid is %v", got, l.valid())
				}
				if got {
					won.Add(1)
					mu.Lock()
					winner = l
					mu.Unlock()
					if !released {
						t.Error("the former lease is said to be under way")
					}
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d have the lease", won.Load())
		}
		if epoch := winner.own().epoch; epoch != uint64(round)+1 {
			t.Errorf("epoch %d in round %d", epoch, round)
		}
		fatalIf(t, winner.release(t.Context()))
	}
}

func TestAnEpochIsOneHoldersAndGrows(t *testing.T) {
	dsn := clustertest.Memory(t)
	a, b := leaseAt(t, dsn, "http://a.example", patient), leaseAt(t, dsn, "http://b.example", patient)
	var last uint64
	for i, x := range []struct {
		lease    *lease
		released bool // by the one before
		how      string
	}{{a, true, "release"}, {a, true, "release"}, {b, true, "run out"}, {a, false, "drop"}, {b, false, "release"}, {a, true, "release"}} {
		got, released, err := x.lease.acquire(t.Context())
		if err != nil || !got || released != x.released {
			t.Fatalf("%d: got %v, released %v, %v", i, got, released, err)
		}
		fatalIf(t, x.lease.settle(t.Context(), 0))
		if other := map[*lease]*lease{a: b, b: a}[x.lease]; other.now() == nil {
			if got, _, err := other.acquire(t.Context()); got || err != nil {
				t.Fatalf("%d: two have it, %v", i, err)
			}
		}
		if _, _, err := x.lease.acquire(t.Context()); err == nil {
			t.Errorf("%d: acquired twice", i)
		}
		h := testlog.Must(leaseHolder(t.Context(), a.db))
		if own := x.lease.own(); own.epoch <= last || !own.held || !h.held || h.epoch != own.epoch || h.address != x.lease.address {
			t.Errorf("%d: after %d: %+v, and others see %+v", i, last, own, h)
		}
		last = x.lease.own().epoch
		wantLease(t, x.lease, true)
		switch x.how {
		case "run out":
			runOut(t, a.db)
		case "drop":
			x.lease.drop(errors.New("wedged"))
			wantLease(t, x.lease, false)
			fallthrough
		case "release":
			fatalIf(t, x.lease.release(t.Context()))
			wantLease(t, x.lease, false)
		}
		if h := testlog.Must(leaseHolder(t.Context(), a.db)); h.held || h.epoch != last {
			t.Errorf("%d: %v", i, h)
		}
		if x.how == "run out" { // and the holder hears of it in time
			got, _, err := a.acquire(t.Context())
			if err != nil || !got {
				t.Fatal(err)
			}
			if err := x.lease.now().renew(t.Context()); !errors.Is(err, errLeaseLost) {
				t.Errorf("renewed: %v", err)
			}
			wantLease(t, x.lease, false)
			if why := x.lease.why(); !errors.Is(why, errLeaseLost) || !strings.Contains(why.Error(),
				"it had the epoch 3, and now the process at http://a.example has the lease (epoch 4)") {
				t.Error(why)
			}
			fatalIf(t, x.lease.release(t.Context())) // which is not the other's
			if h := testlog.Must(leaseHolder(t.Context(), a.db)); !h.held || h.epoch != 4 {
				t.Errorf("released by another: %v", h)
			}
			last = 4
			runOut(t, a.db)
			a.drop(errors.New("the test goes on"))
			a.mu.Lock()
			a.term = nil // as another process
			a.mu.Unlock()
		}
	}
}

// TestAWaitThatIsCutShortIsTheNextOnes: whoever gives the lease back before what the one before it has begun has an
// end, does not say that nothing is under way.
func TestAWaitThatIsCutShortIsTheNextOnes(t *testing.T) {
	dsn := clustertest.Memory(t)
	var all [4]*lease
	for i := range all {
		all[i] = leaseAt(t, dsn, "http://a.example", patient)
	}
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	for i, x := range []struct {
		ctx      context.Context
		released bool // by the one before
	}{{t.Context(), true}, {cut, false}, {t.Context(), false}, {cut, true}} {
		l := all[i]
		got, released, err := l.acquire(t.Context())
		if !got || err != nil || released != x.released {
			t.Fatalf("%d: got %v, released %v, %v", i, got, released, err)
		}
		if err := l.settle(x.ctx, time.Millisecond); (err == nil) != (x.released || x.ctx.Err() == nil) {
			t.Errorf("%d: %v", i, err)
		}
		if i == 0 { // it dies
			runOut(t, l.db)
			continue
		}
		fatalIf(t, l.release(t.Context()))
	}
}

// TestAnAnswerThatIsLostIsFoundOut: the lease was taken, and the process was not told.
func TestAnAnswerThatIsLostIsFoundOut(t *testing.T) {
	l := leaseAt(t, clustertest.Memory(t), "http://a.example", patient)
	l.next = "somebody"
	testlog.Must(l.db.ExecContext(t.Context(), `UPDATE lease SET epoch = 7, released = FALSE, holder = 'somebody',
		expires = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR`))
	got, released, err := l.acquire(t.Context())
	if !got || released || err != nil || l.own().epoch != 8 {
		t.Errorf("got %v, released %v, epoch %d, %v", got, released, l.own().epoch, err)
	}
}

// TestOnlyTheMemorysClockCounts: not where it is said to be, and not the process's.
func TestOnlyTheMemorysClockCounts(t *testing.T) {
	dsn := clustertest.Memory(t)
	a, b := leaseAt(t, dsn, "http://a.example", patient), leaseAt(t, dsn, "http://b.example", patient)
	if got, _, err := a.acquire(t.Context()); !got {
		t.Fatal(err)
	}
	defer testlog.Must(a.db.ExecContext(t.Context(), "SET GLOBAL time_zone = 'SYSTEM'"))
	for _, zone := range []string{"+13:00", "-12:00"} {
		testlog.Must(a.db.ExecContext(t.Context(), "SET GLOBAL time_zone = '"+zone+"'"))
		for _, l := range []*lease{a, b} { // new sessions
			l.db.SetMaxIdleConns(0)
			l.db.SetMaxIdleConns(2)
		}
		if got, _, err := b.acquire(t.Context()); got || err != nil {
			t.Errorf("%s: taken from its holder, %v", zone, err)
		}
		fatalIf(t, a.now().renew(t.Context()))
		if h := testlog.Must(leaseHolder(t.Context(), b.db)); !h.held || time.Until(h.until) > patient {
			t.Errorf("%s: %v", zone, h)
		}
	}
}

// TestTheHolderKnowsFirst: whatever is between it and the memory, and for however long, nobody gets the lease while
// the holder takes it for its own.
func TestTheHolderKnowsFirst(t *testing.T) {
	const length = 400 * time.Millisecond
	dsn := clustertest.Memory(t)
	cfg := testlog.Must(driver.ParseDSN(dsn))
	link := testlog.Must(clustertest.NewLink(cfg.Addr))
	defer link.Close()
	cfg.Addr = link.Address
	other := leaseAt(t, dsn, "http://other.example", length)
	taken := 0
	for round := range 12 {
		link.Heal()
		holder := leaseAt(t, cfg.FormatDSN(), "http://holder.example", length)
		got := false
		for try := 0; !got && try < 50; try++ {
			got, _, _ = holder.acquire(t.Context())
		}
		if !got {
			t.Fatal("nobody has the lease, and it cannot be had")
		}
		fault := []func(){link.Cut, link.Blackhole}[round%2]
		time.AfterFunc(rand.N(2*length), fault)
		time.AfterFunc(rand.N(6*length), link.Heal)                      // and late renewals arrive
		for end := time.Now().Add(8 * length); time.Now().Before(end); { // it may keep it
			got, _, err := other.acquire(t.Context())
			if !got {
				if err == nil && other.now() != nil {
					t.Fatal("it has what it did not get")
				}
				continue
			}
			if err := holder.valid(); err == nil {
				t.Fatalf("round %d: two have the lease", round)
			}
			<-holder.lost() // by itself
			taken++
			time.Sleep(rand.N(length / 2))
			if err := holder.now().renew(t.Context()); err == nil {
				t.Errorf("round %d: renewed after it was lost", round)
			}
			if holder.valid() == nil {
				t.Errorf("round %d: it came back", round)
			}
			break
		}
		holder.release(t.Context())
		other.release(t.Context())
	}
	if taken == 0 {
		t.Error("the lease never changed hands")
	}
}

// TestALeaseEndsWhileTheMachineIsSuspended: time that package time does not count.
func TestALeaseEndsWhileTheMachineIsSuspended(t *testing.T) {
	l := leaseAt(t, clustertest.Memory(t), "http://a.example", patient)
	var slept atomic.Int64
	clock := l.clock
	l.clock = func() time.Duration { return clock() + time.Duration(slept.Load()) }
	if got, _, err := l.acquire(t.Context()); !got {
		t.Fatal(err)
	}
	wantLease(t, l, true)
	slept.Store(int64(patient))
	wantLease(t, l, false)
}

// TestALeaseWithoutAMemoryEnds says why, and not who may come in there.
func TestALeaseWithoutAMemoryEnds(t *testing.T) {
	cfg := testlog.Must(driver.ParseDSN(clustertest.Memory(t)))
	link := testlog.Must(clustertest.NewLink(cfg.Addr))
	defer link.Close()
	cfg.Addr = link.Address
	l := leaseAt(t, cfg.FormatDSN(), "http://a.example", 2*time.Second)
	if got, _, err := l.acquire(t.Context()); !got {
		t.Fatal(err)
	}
	link.Cut()
	<-l.lost()
	_, _, err := leaseAt(t, cfg.FormatDSN(), "http://b.example", patient).acquire(t.Context())
	_, asked := leaseHolder(t.Context(), l.db)
	for _, err := range []error{l.why(), err, asked} {
		if err == nil || !strings.Contains(err.Error(), "the memory") || strings.Contains(err.Error(), cfg.Passwd) {
			t.Errorf("%v", err)
		}
	}
	if !strings.Contains(l.why().Error(), "could not be renewed") {
		t.Error(l.why())
	}
}

func TestACommandTakesTheLeaseOrSaysWhoHasIt(t *testing.T) {
	cluster := &Cluster{Memory: clustertest.Memory(t), Lease: patient, Tree: storage.S3{AddDeadline: time.Millisecond}}
	l := testlog.Must(openLease(cluster, testOrigin, "http://a.example"))
	defer l.close(context.Background())
	if got, _, err := l.acquire(t.Context()); !got {
		t.Fatal(err)
	}
	cfg := &Config{Origin: testOrigin, Cluster: cluster}
	if _, err := holdLease(t.Context(), cfg); err == nil || cfg.lease != nil || !strings.Contains(err.Error(),
		"the process at http://a.example has the lease (epoch 1), for ") {
		t.Errorf("%v", err)
	}
	for _, end := range []func(){func() { fatalIf(t, l.release(t.Context())) }, func() { runOut(t, l.db) }} {
		end()
		done := testlog.Must(holdLease(t.Context(), cfg))
		fatalIf(t, cfg.lease.valid())
		if _, err := holdLease(t.Context(), &Config{Origin: testOrigin, Cluster: cluster}); err == nil ||
			!strings.Contains(err.Error(), "a command has the lease") {
			t.Errorf("%v", err)
		}
		fatalIf(t, done(t.Context()))
	}
	other := *cfg
	other.Origin = "log.example/other"
	if _, err := holdLease(t.Context(), &other); err == nil || !strings.Contains(err.Error(), `it belongs to the log "`) {
		t.Errorf("%v", err)
	}
}
