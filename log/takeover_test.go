package log

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"cratelog/config"
	"cratelog/internal/clustertest"
	"cratelog/internal/testlog"
	"cratelog/log/storage"
)

// writesTiles says whether a request to the store makes the tree grow.
func writesTiles(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/tile/")
}

// gated lets the processes that are started next reach the store through a gate.
func (m *machines) gated() *clustertest.Gate {
	g := testlog.Must(clustertest.NewGate(m.store.Address))
	m.t.Cleanup(func() { g.Close() })
	m.change = func(c *Config) {
		c.Cluster.Tree.Endpoint = clustertest.Endpoint(g.Address)
		c.testingOnlyPatience = 3 * time.Second // of a takeover
	}
	return g
}

// sequencedOnly has a log with one entry that has its place and is not in the tree, and no sequencer; the entry's
// submitter waits.
func (m *machines) sequencedOnly(g *clustertest.Gate) {
	m.t.Helper()
	first := m.leads()
	e, c := m.good("alpha", "1.0.0")
	m.submit(first.log(), e, c)
	g.Refuse(writesTiles)
	first.log().cfg.PublishWait = config.Duration{Duration: 2 * time.Second}
	e, c = m.good("beta", "1.0.0")
	_, err := first.log().Submit(m.t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(m.t, err, NotPublished, "accepted")
	first.lose(errors.New("a test wants it so"))
	<-first.lost
	first.end()
}

// TestATakeoverOfAWedgedTreeComesBack: who cannot go on with the tree stays a front end, and tries again.
func TestATakeoverOfAWedgedTreeComesBack(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	g := m.gated()
	m.sequencedOnly(g)
	next := m.start(true)
	eventually(t, "it says why", func() bool {
		return strings.Contains(strings.Join(next.problems(), " "), "gets no others")
	})
	srv := httptest.NewServer(next.Handler())
	defer srv.Close()
	if code, _, _ := get(t, srv.URL+"/checkpoint"); code != 200 {
		t.Errorf("the checkpoint: %d", code)
	}
	g.Refuse(nil)
	next.wait(roleSequencer)
	e, c := m.good("beta", "1.0.0")
	m.submit(next.log(), e, c)
	if got := len(entriesOf(t, next.log())); got != 2 {
		t.Errorf("the tree has %d entries, want 2", got)
	}
}

// TestALeaseLostInATakeoverEndsTheProcess, which may hang in it.
func TestALeaseLostInATakeoverEndsTheProcess(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	g := m.gated()
	m.sequencedOnly(g)
	change := m.change
	m.change = func(c *Config) { change(c); c.testingOnlyPatience = time.Hour }
	next := m.start(true)
	var hangs atomic.Bool
	g.Refuse(func(r *http.Request) bool { // the new sequencer writes the first tile
		if writesTiles(r) && next.lease.valid() == nil {
			hangs.Store(true)
		}
		return writesTiles(r)
	})
	eventually(t, "it takes over", hangs.Load)
	m.exec("UPDATE lease SET epoch = epoch + 1, holder = 'another', address = '', released = FALSE, expires = UTC_TIMESTAMP(6)")
	select {
	case err := <-next.lost:
		if !errors.Is(err, ErrLost) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it goes on")
	}
	g.Refuse(nil) // so that it can be closed
}

// TestALogThatCannotBeOpenedAgainEndsTheProcess: also of a front end that never leads.
func TestALogThatCannotBeOpenedAgainEndsTheProcess(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	first := m.leads()
	e, c := m.good("alpha", "1.0.0")
	m.submit(first.log(), e, c)
	g := m.gated()
	front := m.start(false)
	g.Refuse(func(*http.Request) bool { return true })
	front.log().begins.Store(true) // it is to be opened again
	select {
	case err := <-front.lost:
		if !errors.Is(err, ErrDead) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it goes on")
	}
}

// TestWhoCannotLeadStaysAFrontEnd, and keeps no reader waiting: its memory is not the tree's.
func TestWhoCannotLeadStaysAFrontEnd(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	first := m.leads()
	e, c := m.good("alpha", "1.0.0")
	m.submit(first.log(), e, c)
	first.end()
	m.memory = clustertest.Memory(t)
	p := m.start(true)
	before := p.log()
	eventually(t, "it says why", func() bool {
		return strings.Contains(strings.Join(p.problems(), " "), "remembers no checkpoint")
	})
	if p.log() != before {
		t.Error("the log was opened again")
	}
	if _, err := p.log().published.wait(context.Background(), 2); err != nil {
		t.Error(err)
	}
}

// TestThreeProcessesBeginTogether where nothing is yet.
func TestThreeProcessesBeginTogether(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	all := []*machine{m.start(true), m.start(true), m.start(true)}
	leading := func() (lead []*machine) {
		for _, p := range all {
			if p.log().role() == roleSequencer {
				lead = append(lead, p)
			}
		}
		return lead
	}
	for i, name := range []string{"alpha", "beta", "gamma"} {
		eventually(t, "one leads", func() bool { return len(leading()) > 0 })
		if n := len(leading()); n != 1 {
			t.Fatalf("%d processes lead", n)
		}
		e, c := m.good(name, "1.0.0")
		for _, p := range all {
			m.submit(p.log(), e, c)
		}
		lead := leading()[0]
		if got := len(entriesOf(t, lead.log())); got != i+1 {
			t.Errorf("the tree has %d entries, want %d", got, i+1)
		}
		lead.end()
		all = slices.DeleteFunc(all, func(p *machine) bool { return p == lead })
	}
}

// linked makes a link before the server of a data source name, and changes the name.
func linked(t *testing.T, dsn *string) *clustertest.Link {
	t.Helper()
	cfg := testlog.Must(driver.ParseDSN(*dsn))
	link := testlog.Must(clustertest.NewLink(cfg.Addr))
	t.Cleanup(func() { link.Close() })
	cfg.Addr = link.Address
	*dsn = cfg.FormatDSN()
	return link
}

// TestWithoutDatabaseAndMemoryTheLogIsRead, also by a process that starts then; and it leads when they are back.
func TestWithoutDatabaseAndMemoryTheLogIsRead(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	first := m.leads()
	e, c := m.good("alpha", "1.0.0")
	m.submit(first.log(), e, c)
	first.end()
	database, memory := linked(t, &m.database), linked(t, &m.memory)
	database.Cut()
	memory.Blackhole()
	p := m.start(true)
	srv := httptest.NewServer(p.Handler())
	defer srv.Close()
	for range 2 {
		if code, _, _ := get(t, srv.URL+"/checkpoint"); code != http.StatusOK {
			t.Errorf("the checkpoint: %d", code)
		}
		m.checkBundle(testlog.Must(p.log().Submit(t.Context(), e, bytes.NewReader(c), nil)), e)
		p.log().cfg.PublishWait = config.Duration{Duration: time.Second}
		other, raw := m.good("beta", "1.0.0")
		_, err := p.log().Submit(t.Context(), other, bytes.NewReader(raw), nil)
		var r *Refusal
		if !errors.As(err, &r) || r.RetryAfter <= 0 || r.Reason != Overloaded && r.Reason != NotPublished {
			t.Errorf("%v", err)
		}
		memory.Heal() // and the database is away: it must not lead
		eventually(t, "it says why", func() bool { return strings.Contains(strings.Join(p.problems(), " "), "the database") })
	}
	database.Heal()
	p.wait(roleSequencer)
	p.log().cfg.PublishWait = m.cfg.PublishWait
	e, c = m.good("beta", "1.0.0")
	m.submit(p.log(), e, c)
	if got := len(entriesOf(t, p.log())); got != 2 {
		t.Errorf("the tree has %d entries, want 2", got)
	}
}

// TestLocksOutlastTheWitnesses: Tessera holds one while they are asked.
func TestLocksOutlastTheWitnesses(t *testing.T) {
	cfg := newWorld(t).cfg
	cfg.TreeDir, cfg.WitnessTimeout = "", config.Duration{Duration: time.Minute}
	cfg.Cluster = &Cluster{Tree: storage.S3{Bucket: "b", Database: "d"}, Memory: "m", Secret: make([]byte, leastSecret)}
	given := *cfg.Cluster
	fatalIf(t, cfg.complete())
	if wait := cfg.Cluster.Tree.LockWait; wait <= time.Minute {
		t.Errorf("a lock is taken away after %v", wait)
	}
	if !cfg.Cluster.same(&given) {
		t.Error("that needs no restart")
	}
}
