package log

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"cratelog/client"
	"cratelog/config"
	"cratelog/internal/clustertest"
	"cratelog/internal/testlog"
	"cratelog/log/storage"
)

// machines are what the processes of one log have in common.
type machines struct {
	*world
	store            *clustertest.Store
	database, memory string // data source names

	change func(*Config) // of the process that is started next; nil: nothing
}

func newMachines(t *testing.T) *machines { return machinesOf(newWorld(t)) }

func machinesOf(w *world) *machines {
	w.t.Helper()
	w.cfg.PublishWait = config.Duration{Duration: 30 * time.Second}
	return &machines{world: w, store: clustertest.FakeStore(w.t), database: clustertest.Database(w.t),
		memory: clustertest.Memory(w.t)}
}

// machine is one process of a log.
type machine struct {
	*Live
	t     *testing.T
	cfg   Config
	url   string // of its peers
	lost  chan error
	ended sync.Once
}

// start starts a process, which may lead.
func (m *machines) start(lead bool) *machine {
	m.t.Helper()
	p := &machine{t: m.t, lost: make(chan error, 1)}
	var peers atomic.Pointer[http.Handler]
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := peers.Load(); h != nil {
			(*h).ServeHTTP(w, r)
		}
	}))
	p.url, p.cfg = srv.URL, m.cfg
	p.cfg.TreeDir, p.cfg.StateDir = "", m.t.TempDir()
	if !lead {
		p.cfg.Signer = nil
	}
	p.cfg.Cluster = &Cluster{
		Tree: storage.S3{Endpoint: clustertest.Endpoint(m.store.Address), Region: m.store.Region, Bucket: m.store.Bucket,
			PathStyle: true, AccessKey: m.store.AccessKey, SecretKey: m.store.SecretKey, Database: m.database,
			AddDeadline: 2 * time.Second},
		Memory: m.memory, Address: srv.URL, Secret: bytes.Repeat([]byte{7}, leastSecret), Lead: lead, Lease: 6 * time.Second,
		Lost: func(err error) { p.lost <- err },
	}
	if m.change != nil {
		m.change(&p.cfg)
	}
	var err error
	p.Live, err = OpenLive(m.t.Context(), p.cfg)
	fatalIf(m.t, err)
	h := p.Live.Peers()
	peers.Store(&h)
	m.t.Cleanup(func() {
		p.end()
		srv.Close()
	})
	return p
}

// leads starts a process, and waits until it is the sequencer.
func (m *machines) leads() *machine {
	m.t.Helper()
	p := m.start(true)
	p.wait(roleSequencer)
	return p
}

func (p *machine) log() *Log { return p.current.Load().log }

func (p *machine) wait(role string) {
	p.t.Helper()
	eventually(p.t, "it is the "+role, func() bool { return p.log().role() == role })
}

// end closes the process, once, as a signal does.
func (p *machine) end() {
	p.ended.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.Close(ctx); err != nil && !p.gone.Load() {
			p.t.Errorf("Close: %v", err)
		}
	})
}

// exec changes the memory, as another process would.
func (m *machines) exec(stmt string, args ...any) {
	m.t.Helper()
	db := testlog.Must(sql.Open("mysql", m.memory))
	defer db.Close()
	testlog.Must(db.ExecContext(m.t.Context(), stmt, args...))
}

func TestSeveralProcessesAreOneLog(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	front := m.start(false) // before there is a log at all
	if code, _, b := get(t, serve(t, front.log()).URL+"/readyz"); code != 503 || !bytes.Contains(b, []byte("no process holds the lease")) {
		t.Errorf("without a sequencer: %d %s", code, b)
	}
	first := m.leads()
	standby := m.start(true)
	e, c := m.good("alpha", "1.0.0")
	for _, p := range []*machine{front, first, standby, front} {
		m.submit(p.log(), e, c)
	}

	// The same entry at once, at all doors.
	e, c = m.good("beta", "1.0.0")
	var g sync.WaitGroup
	for range 3 {
		for _, p := range []*machine{front, first, standby} {
			g.Go(func() { m.submit(p.log(), e, c) })
		}
	}
	g.Wait()

	// Two checksums of a version, at two doors.
	one, oneCrate := m.good("gamma", "1.0.0")
	raw := testCrate(t, "gamma", "1.0.0", "fn other() {}")
	x := testEntry(t, raw, "gamma", "1.0.0", 1)
	m.proofs.believe(x)
	two := marshal(x)
	var errs [2]error
	g.Go(func() { _, errs[0] = front.log().Submit(t.Context(), one, bytes.NewReader(oneCrate), nil) })
	g.Go(func() { _, errs[1] = standby.log().Submit(t.Context(), two, bytes.NewReader(raw), nil) })
	g.Wait()
	stands, err := one, errs[1]
	if errs[0] != nil {
		stands, err = two, errs[0]
	}
	if r := wantRefusal(t, err, VersionConflict, "gamma 1.0.0 is in the log with another checksum"); (errs[0] == nil) == (errs[1] == nil) || r.Index == nil {
		t.Errorf("%v", errs)
	} else {
		m.checkBundle(r.Bundle, stands)
	}
	if got := len(entriesOf(t, first.log())); got != 3 {
		t.Errorf("the tree has %d entries, want 3", got)
	}

	// What each says of itself.
	for p, want := range map[*machine]string{front: roleFrontEnd, first: roleSequencer, standby: roleFrontEnd} {
		about, health := p.log().aboutBody(), p.log().health()
		if about.Storage != "s3" || about.Role != want || health.Cluster == nil || health.Cluster.Role != want ||
			health.Cluster.Epoch != 1 || health.Cluster.Left <= 0 || !health.Cluster.Sequencer || !health.OK {
			t.Errorf("%s: %+v, %+v", want, health.Cluster, health.Health)
		}
	}

	// A sequencer that is told to end hands over at once, and its successor goes on.
	before := time.Now()
	first.end()
	standby.wait(roleSequencer)
	if age := standby.log().checkpointAge(time.Now()); age < 0 || age > 600 {
		t.Errorf("the checkpoint that it showed before is %v seconds old", age)
	}
	t.Logf("handed over in %v", time.Since(before).Round(time.Millisecond))
	select {
	case err := <-first.lost:
		t.Error("a sequencer that was told to end says that it is lost:", err)
	default:
	}
	e, c = m.good("delta", "1.0.0")
	m.submit(front.log(), e, c)
	if got := len(entriesOf(t, standby.log())); got != 4 {
		t.Errorf("the tree has %d entries, want 4", got)
	}
	// New settings change no role.
	for _, p := range []*machine{front, standby} {
		role := p.log().role()
		fatalIf(t, p.Reload(t.Context(), p.cfg))
		if p.log().role() != role {
			t.Errorf("the %s is %s", role, p.log().role())
		}
	}
	if err := standby.lease.valid(); err != nil {
		t.Error(err)
	}
	// What the watchdog was told before is of a log that is no more.
	standby.dog.report(errors.New("it waits"), time.Now())
	fatalIf(t, standby.Reload(t.Context(), standby.cfg))
	if standby.dog.err != nil {
		t.Error("the watchdog has forgotten nothing")
	}
	changed := front.cfg
	other := *changed.Cluster
	other.Memory += "x"
	changed.Cluster = &other
	if err := front.Reload(t.Context(), changed); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("another memory: %v", err)
	}
	e, c = m.good("epsilon", "1.0.0")
	m.submit(front.log(), e, c)
}

func TestAProcessThatLosesTheLeaseEnds(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	first := m.leads()
	e, c := m.good("alpha", "1.0.0")
	m.submit(first.log(), e, c)
	m.exec("UPDATE lease SET epoch = epoch + 1, holder = 'another', address = 'http://127.0.0.1:1', released = FALSE, expires = UTC_TIMESTAMP(6)")
	var err error
	select {
	case err = <-first.lost:
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
	if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "epoch") {
		t.Error(err)
	}
	if err := first.lease.valid(); err == nil {
		t.Error("it may write")
	}
	srv := httptest.NewServer(first.Handler())
	defer srv.Close()
	e, c = m.good("beta", "1.0.0")
	ctype, body := encodeForm(t, [2]string{"entry", string(e)}, [2]string{"crate", string(c)})
	if resp, b := post(t, srv.URL+"/v1/submit", ctype, body); resp.StatusCode != 503 || decodeRefusal(t, b).Reason != ShuttingDown {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	first.end()
	next := m.leads() // as its supervisor does
	m.submit(next.log(), e, c)
	if got := len(entriesOf(t, next.log())); got != 2 {
		t.Errorf("the tree has %d entries, want 2", got)
	}
}

func TestAFrontEndBearsWithAnAbsentSequencer(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	first := m.leads()
	front := m.start(false)
	e, c := m.good("alpha", "1.0.0")
	m.submit(front.log(), e, c)
	first.end()
	front.log().cfg.PublishWait = config.Duration{Duration: time.Second}
	e, c = m.good("beta", "1.0.0")
	_, err := front.log().Submit(t.Context(), e, bytes.NewReader(c), nil)
	if r := wantRefusal(t, err, Overloaded, "has no process now that adds entries"); r.RetryAfter <= 0 {
		t.Errorf("%+v", r)
	}
	eventually(t, "it says so", func() bool {
		return strings.Contains(strings.Join(front.log().unready(time.Now()), "\n"), "no process holds the lease")
	})
	front.log().cfg.PublishWait = config.Duration{Duration: time.Minute}
	done := make(chan []byte)
	go func() {
		b, err := front.log().Submit(t.Context(), e, bytes.NewReader(c), nil)
		if err != nil {
			t.Error(err)
		}
		done <- b
	}()
	m.leads()
	m.checkBundle(<-done, e)
}

// TestPeersAreStrict: what does not know the secret, is old, or says what no front end says, gets nothing done.
func TestPeersAreStrict(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	p := m.leads()
	e, c := m.good("alpha", "1.0.0")
	good := testlog.Must(forwardEncoding.Marshal(wireForward{Entry: e}))
	now := time.Now()
	secret := p.cfg.Cluster.Secret
	send := func(method, path string, secret, signed, body []byte, at time.Time, change func(*http.Request)) (int, string) {
		r := testlog.Must(http.NewRequestWithContext(t.Context(), method, p.url+path, bytes.NewReader(body)))
		time, sum := fmt.Sprint(at.UnixMilli()), fmt.Sprintf("%x", sha256.Sum256(signed))
		mac := (&Cluster{Secret: secret, origin: testOrigin}).requestMAC(method, path, time, sum)
		r.Header.Set(PeersHeader, time+"."+sum+"."+mac)
		if change != nil {
			change(r)
		}
		resp := testlog.Must(http.DefaultClient.Do(r))
		defer resp.Body.Close()
		var b bytes.Buffer
		testlog.Must(b.ReadFrom(resp.Body))
		if want := (&Cluster{Secret: secret, origin: testOrigin}).answerMAC(mac, resp.StatusCode, b.Bytes()); (resp.Header.Get(headerAnswer) == want) != !strings.Contains(b.String(), "does not know the secret") && change == nil {
			t.Errorf("%s: the answer is not signed", path)
		}
		return resp.StatusCode, b.String()
	}
	for name, tt := range map[string]struct {
		code  int
		words string
		do    func() (int, string)
	}{
		"another secret": {401, "does not know the secret", func() (int, string) {
			return send("POST", PeersPath, bytes.Repeat([]byte{8}, leastSecret), good, good, now, nil)
		}},
		"another log with the same secret": {401, "does not know the secret", func() (int, string) {
			at, sum := fmt.Sprint(now.UnixMilli()), fmt.Sprintf("%x", sha256.Sum256(good))
			mac := (&Cluster{Secret: secret, origin: "other.example/log"}).requestMAC("POST", PeersPath, at, sum)
			return send("POST", PeersPath, secret, good, good, now, func(r *http.Request) {
				r.Header.Set(PeersHeader, at+"."+sum+"."+mac)
			})
		}},
		"another body": {401, "not the one that was signed", func() (int, string) { return send("POST", PeersPath, secret, nil, good, now, nil) }},
		"an old one": {401, "set the clocks", func() (int, string) {
			return send("POST", PeersPath, secret, good, good, now.Add(-2*maxPeerAge), nil)
		}},
		"a future one": {401, "set the clocks", func() (int, string) {
			return send("POST", PeersPath, secret, good, good, now.Add(2*maxPeerAge), nil)
		}},
		"no header": {401, "no header", func() (int, string) {
			return send("POST", PeersPath, secret, good, good, now, func(r *http.Request) { r.Header.Del(PeersHeader) })
		}},
		"another path": {404, "nothing at this address", func() (int, string) { return send("POST", "/v1/submit", secret, good, good, now, nil) }},
		"signed for another path": {401, "does not know the secret", func() (int, string) {
			return send("POST", "/v1/submit", secret, good, good, now, func(r *http.Request) { r.URL.Path = PeersPath })
		}},
		"too large": {401, "at most", func() (int, string) {
			big := make([]byte, maxForward+1)
			return send("POST", PeersPath, secret, big, big, now, nil)
		}},
		"of no length": {401, "at most", func() (int, string) {
			return send("POST", PeersPath, secret, good, good, now, func(r *http.Request) { r.ContentLength = -1 })
		}},
		"empty": {400, "not one of a front end", func() (int, string) { return send("POST", PeersPath, secret, nil, nil, now, nil) }},
		"cut": {400, "not one of a front end", func() (int, string) {
			return send("POST", PeersPath, secret, good[:len(good)-1], good[:len(good)-1], now, nil)
		}},
		"one more": {400, "not one of a front end", func() (int, string) {
			b := append(bytes.Clone(good), 0)
			return send("POST", PeersPath, secret, b, b, now, nil)
		}},
		"a list of a source": {400, "parts that its entry cannot have", func() (int, string) {
			b := testlog.Must(forwardEncoding.Marshal(wireForward{Entry: e, List: []byte("x")}))
			return send("POST", PeersPath, secret, b, b, now, nil)
		}},
		"not the one encoding": {400, "not the one encoding", func() (int, string) {
			b := append(bytes.Clone(good), 0x04, 0xf4) // false is left out
			b[0]++
			return send("POST", PeersPath, secret, b, b, now, nil)
		}},
		"no entry": {400, "not a canonical cratelog entry", func() (int, string) {
			b := testlog.Must(forwardEncoding.Marshal(wireForward{Entry: []byte("x")}))
			return send("POST", PeersPath, secret, b, b, now, nil)
		}},
		"a false proof": {422, "does not verify", func() (int, string) {
			x := testEntry(t, c, "alpha", "1.0.0", 9)
			b := testlog.Must(forwardEncoding.Marshal(wireForward{Entry: marshal(x)}))
			return send("POST", PeersPath, secret, b, b, now, nil)
		}},
	} {
		if code, b := tt.do(); code != tt.code || !strings.Contains(b, tt.words) {
			t.Errorf("%s: %d %s", name, code, b)
		}
	}
	wantSize(t, p.log(), 0)
	for range 2 { // to repeat one is harmless
		if code, b := send("POST", PeersPath, secret, good, good, now, nil); code != 200 || b != "{\"index\":0}\n" {
			t.Errorf("%d %s", code, b)
		}
	}
	if code, b := send("GET", PeersPath, secret, nil, nil, now, nil); code != 200 || b != fmt.Sprintf(
		"{\"origin\":%q,\"role\":\"sequencer\",\"lease\":%q,\"add_deadline\":%q}\n", testOrigin, p.cfg.Cluster.Lease.String(), p.cfg.Cluster.Tree.AddDeadline.String()) {
		t.Errorf("%d %s", code, b)
	}
	wantSize(t, p.log(), 1)

	front := m.start(false)
	p.url = front.url
	if code, b := send("POST", PeersPath, secret, good, good, now, nil); code != 503 || !strings.Contains(b, "not the sequencer") {
		t.Errorf("a front end: %d %s", code, b)
	}
}

// FuzzForward: what is read of a request has one encoding.
func FuzzForward(f *testing.F) {
	for _, w := range []wireForward{{}, {Entry: []byte("e")}, {[]byte("e"), []byte("o"), []byte("l"), true}} {
		f.Add(testlog.Must(forwardEncoding.Marshal(w)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		w, err := parseForward(raw)
		if err == nil && !bytes.Equal(testlog.Must(forwardEncoding.Marshal(w)), raw) {
			t.Errorf("%x was read as %+v", raw, w)
		}
	})
}

// TestAFrontEndBelievesItsOwnTree: what answers at the sequencer's address knows the secret, and lies.
func TestAFrontEndBelievesItsOwnTree(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	first := m.leads()
	e, c := m.good("alpha", "1.0.0")
	m.submit(first.log(), e, c)
	front := m.start(false)
	secret := front.cfg.Cluster.Secret
	answer := []byte(`{"index":0}`)
	status, signed := http.StatusOK, true
	liar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, mac, _ := strings.Cut(r.Header.Get(PeersHeader), ".")
		_, mac, _ = strings.Cut(mac, ".")
		if signed {
			w.Header().Set(headerAnswer, (&Cluster{Secret: secret, origin: testOrigin}).answerMAC(mac, status, answer))
		}
		w.WriteHeader(status)
		w.Write(answer)
	}))
	defer liar.Close()
	first.end()
	m.exec("UPDATE lease SET epoch = epoch + 1, holder = 'liar', address = ?, released = FALSE, expires = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR", liar.URL)
	eventually(t, "it knows the liar", func() bool { return front.log().sequencer.seen().address == liar.URL })
	front.log().cfg.PublishWait = config.Duration{Duration: time.Second}
	e, c = m.good("beta", "1.0.0")
	for _, tt := range []struct {
		status int
		signed bool
		answer string
		reason Reason
	}{
		{200, true, `{"index":0}`, NotPublished}, // that is alpha
		{200, true, `{"index":999}`, NotPublished},
		{200, true, `{"index":0,"more":1}`, Overloaded},
		{200, true, `{"index":0}{}`, Overloaded},
		{200, false, `{"index":0}`, NotPublished},
		{409, true, `{"reason":"version-conflict","message":"It is there.","index":0}`, Overloaded},
		{422, false, `{"reason":"proof-invalid","message":"It is false."}`, NotPublished},
		{422, true, `{"reason":"proof-invalid","message":"It is false."}`, ProofInvalid},
		{500, true, `oops`, Overloaded},
	} {
		status, signed, answer = tt.status, tt.signed, []byte(tt.answer)
		_, err := front.log().Submit(t.Context(), e, bytes.NewReader(c), nil)
		var r *Refusal
		if !errors.As(err, &r) || r.Reason != tt.reason {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestBuildsAndOpeningsComeThroughAFrontEnd(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	w.cfg.Openings = OpeningsAny
	m := machinesOf(w)
	first, front := m.leads(), m.start(false)
	l := front.log()
	source, raw := m.good("alpha", "1.0.0")
	m.submit(l, source, raw)
	one := ann.says(t, rebuilders, source, claimOf(1))
	m.build(l, one, nil)
	m.build(l, bob.says(t, rebuilders, source, claimOf(2)), nil) // dissent
	r := wantBuildRefusal(t, l, ann.says(t, rebuilders, source, claimOf(3)), crates, nil, BuilderContradiction, "/v1/contradictions/1")
	m.checkBundle(r.Bundle, one)
	wantContradictions(t, l, 1)
	wantContradictions(t, first.log(), 1) // they are in the database

	o := m.opened("beta")
	c := serve(t, l)
	testlog.Must(c.Submit(t.Context(), o.entry, o.crate, o.opening))
	wantOpening(t, c, o.identity, o.opening)
	shown := func(p *machine) { // what the front end shows
		eventually(t, "it is shown", func() bool { return p.log().published.head().size >= l.published.head().size })
	}
	shown(first)
	wantOpening(t, serve(t, first.log()), o.identity, o.opening)
	later := m.opened("gamma")
	testlog.Must(c.Submit(t.Context(), later.entry, later.crate, nil))
	fatalIf(t, m.put(c, later, later.identity))
	shown(first)
	wantOpening(t, serve(t, first.log()), later.identity, later.opening)

	// Another front end, which begins while one opening's entry is not published, forgets nothing.
	m.start(false)
	wantOpening(t, c, o.identity, o.opening)
	// A set says at the sequencer too as much as it has members.
	r = wantBuildRefusal(t, l, bob.says(t, rebuilders, source, claimOf(9)), crates, nil, BuilderContradiction, "")
	if r.Index == nil {
		t.Errorf("%+v", r)
	}
}

// TestALateCheckpointIsReplaced: a process that stood still puts an old checkpoint over the newer one.
func TestALateCheckpointIsReplaced(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	first, front := m.leads(), m.start(false)
	e, c := m.good("alpha", "1.0.0")
	m.submit(front.log(), e, c)
	late := testlog.Must(m.store.Get(t.Context(), storage.Checkpoint))
	e, c = m.good("beta", "1.0.0")
	m.submit(front.log(), e, c)
	size := front.log().published.head().size
	fatalIf(t, m.store.Put(t.Context(), storage.Checkpoint, late))
	eventually(t, "the newer one is back", func() bool {
		c, err := m.ownCheckpoint(first, testlog.Must(m.store.Get(t.Context(), storage.Checkpoint)))
		if now := front.log().published.head().size; now < size {
			t.Fatalf("the front end shows %d of %d entries", now, size)
		}
		return err == nil && uint64(c.Size) >= size
	})
	for _, p := range []*machine{first, front} {
		if err := p.log().halt.reason(); err != nil {
			t.Error(err)
		}
	}
	// While no process is the sequencer it stays, and a front end that starts then knows no better; the next one mends it.
	first.end()
	fatalIf(t, m.store.Put(t.Context(), storage.Checkpoint, late))
	next := m.leads()
	eventually(t, "the next sequencer has published the newer one", func() bool { return next.log().published.head().size >= size })
	e, c = m.good("gamma", "1.0.0")
	m.submit(front.log(), e, c)
}

func (m *machines) ownCheckpoint(p *machine, raw []byte) (client.Checkpoint, error) {
	return p.log().ownCheckpoint(raw)
}

func TestFrontEndsOfAFrozenLogAcceptNothing(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	first, front := m.leads(), m.start(false)
	e, c := m.good("alpha", "1.0.0")
	m.submit(front.log(), e, c)
	if _, err := Freeze(t.Context(), first.cfg, Successor{}); err == nil || !strings.Contains(err.Error(), "lease") {
		t.Errorf("beside its sequencer: %v", err)
	}
	first.end()
	cfg := first.cfg
	cfg.StateDir = t.TempDir()
	testlog.Must(Freeze(t.Context(), cfg, Successor{}))
	if frozen, err := front.log().hasFrozen(t.Context()); err != nil || !frozen {
		t.Fatal(frozen, err)
	}
	fatalIf(t, front.openAgain(t.Context(), front.log()))
	e, c = m.good("beta", "1.0.0")
	_, err := front.log().Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, Frozen, "This log has ended, with 2 entries")
	late := m.start(true)
	_, err = late.log().Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, Frozen, "This log has ended, with 2 entries")
}

// stillTree is a tree of which a test says what is in it.
type stillTree struct {
	storage.Tree
	next, size uint64
	err        error
	probe      [2]error
}

func (s *stillTree) Next(context.Context) (uint64, error) { return s.next, s.err }
func (s *stillTree) State(context.Context) (storage.State, error) {
	return storage.State{Size: s.size, Found: true}, s.err
}
func (s *stillTree) Probe(context.Context) (database, store error) { return s.probe[0], s.probe[1] }

func TestTheWatchdogBarksAtAWedgeOnly(t *testing.T) {
	away := errors.New("away")
	for name, tt := range map[string]struct {
		wedged bool
		change func(s *stillTree, d *watchdog, second int, now time.Time)
	}{
		"idle":      {false, func(s *stillTree, _ *watchdog, _ int, _ time.Time) { s.next = 7; s.size = 7 }},
		"busy":      {false, func(s *stillTree, _ *watchdog, i int, _ time.Time) { s.next = uint64(i + 5); s.size = uint64(i / 10) }},
		"wedged":    {true, func(s *stillTree, _ *watchdog, i int, _ time.Time) { s.next = 9; s.size = 7 }},
		"no answer": {true, func(_ *stillTree, d *watchdog, i int, now time.Time) { d.report(away, now) }},
		"answers": {false, func(_ *stillTree, d *watchdog, i int, now time.Time) {
			d.report(map[bool]error{true: away}[i%4 != 0], now)
		}},
		"database away": {false, func(s *stillTree, _ *watchdog, i int, _ time.Time) {
			s.next, s.size, s.err = 9, 7, away
		}},
		"store away": {false, func(s *stillTree, d *watchdog, i int, now time.Time) {
			s.next, s.size, s.probe[1] = 9, 7, away
			d.report(away, now)
		}},
		"was away": {false, func(s *stillTree, _ *watchdog, i int, _ time.Time) {
			s.next, s.size, s.probe[0] = 9, 7, map[bool]error{true: away}[i < 22]
		}},
	} {
		s, d := &stillTree{}, &watchdog{}
		begin := time.Now()
		var err error
		for i := 0; i < 25 && err == nil; i++ {
			now := begin.Add(time.Duration(i) * time.Second)
			tt.change(s, d, i, now)
			err = d.look(t.Context(), s, now)
		}
		if (err != nil) != tt.wedged {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClusterSettingsThatCannotBe(t *testing.T) {
	good := Cluster{Tree: storage.S3{Bucket: "b", Database: "d"}, Memory: "m", Secret: make([]byte, leastSecret), Lead: true, Address: "http://127.0.0.1:1"}
	if c := good; c.complete(false) != nil || c.Lease != 10*time.Second || c.Tree.AddDeadline != 5*time.Second {
		t.Errorf("%+v", c)
	}
	for words, change := range map[string]func(*Cluster){
		"a memory on another server":  func(c *Cluster) { c.Memory = "" },
		"needs a bucket":              func(c *Cluster) { c.Tree.Bucket = "" },
		"a database":                  func(c *Cluster) { c.Tree.Database = "" },
		"the secret":                  func(c *Cluster) { c.Secret = c.Secret[1:] },
		"a lease has at least":        func(c *Cluster) { c.Lease = time.Second },
		"at most the lease":           func(c *Cluster) { c.Tree.AddDeadline = 11 * time.Second },
		"not an http":                 func(c *Cluster) { c.Address = "127.0.0.1:1" },
		"which other processes reach": func(c *Cluster) { c.Address = "" },
	} {
		c := good
		change(&c)
		if err := c.complete(false); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}

// TestCheckSaysWhatTheSequencerWould before there is one: it could not be, or not stay it.
func TestCheckSaysWhatTheSequencerWould(t *testing.T) {
	m := newMachines(t)
	p := m.leads()
	e, c := m.good("alpha", "1.0.0")
	m.submit(p.log(), e, c)
	look := func(change func(*Cluster)) map[string]error {
		cfg, c := p.cfg, *p.cfg.Cluster
		cfg.StateDir = t.TempDir() // of another process
		change(&c)
		cfg.Cluster = &c
		all := make(map[string]error)
		Check(t.Context(), cfg, func(name string, err error) { all[name] = err })
		return all
	}
	good := func() {
		t.Helper()
		for name, err := range look(func(*Cluster) {}) {
			if err != nil {
				t.Errorf("good settings: %s: %v", name, err)
			}
		}
	}
	good()
	for want, change := range map[string]func(*Cluster){
		`it has lease = "`:        func(c *Cluster) { c.Lease++ },
		`it has add_deadline = "`: func(c *Cluster) { c.Tree.AddDeadline++ },
	} {
		err := look(change)["sequencer, if there is one"]
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("beside a process with another: %v, want %s", err, want)
		}
	}
	p.end()
	good()
	root := testlog.Must(sql.Open("mysql", m.memory))
	defer root.Close()
	forgets := func(n int) { testlog.Must(root.Exec(fmt.Sprint("SET GLOBAL innodb_flush_log_at_trx_commit = ", n))) }
	for _, x := range []struct {
		name, at, want string
		change         func(*Cluster)
	}{
		{"the memory on the tree's server", "memory", "are on the same server",
			func(c *Cluster) { c.Memory = clustertest.Database(t) }},
		{"another database", "bucket", "the database knows no tree",
			func(c *Cluster) { c.Tree.Database = clustertest.Database(t) }},
		{"another database", "tree and guard", "has 0 entries, but this log has signed a checkpoint of 2",
			func(c *Cluster) { c.Tree.Database = clustertest.Database(t) }},
		{"a memory that forgets", "memory", "innodb_flush_log_at_trx_commit = 2", func(*Cluster) { forgets(2) }},
		{"a bucket that is not there", "bucket", "make it first", func(c *Cluster) { forgets(1); c.Tree.Bucket = "none" }},
		{"the address of something else", "address, if something answers there", "does not know the secret",
			func(c *Cluster) { c.Address = clustertest.Endpoint(m.store.Address) }},
	} {
		if err := look(x.change)[x.at]; err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %s: %v", x.name, x.at, err)
		}
	}
}
