package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"

	"cratelog/config"
	"cratelog/entry"
	"cratelog/internal/web"
)

// Door says what a client may take of the log before it is known whether what he brings is true. It is
// the section [door] of logd's settings. A client is an IPv4 address, or an IPv6 network of 64 bits.
type Door struct {
	// Proxies in front of the log, as addresses or ranges. What they say in X-Forwarded-For and
	// X-Request-Id is believed, and nobody else.
	TrustedProxies []string `toml:"trusted_proxies"`

	Connections int `toml:"connections"` // open at a time; 0: 4096. Kept below the limit of open files

	SubmissionsPerMinute int `toml:"submissions_per_minute"` // of one client, in the long run; 0: 6000
	SubmissionsBurst     int `toml:"submissions_burst"`      // of one client, at once; 0: 3000

	QueueWait   config.Duration `toml:"queue_wait"`   // the longest wait for a check; 0: 30 s
	LeastSpeed  int64           `toml:"least_speed"`  // bytes per second of an upload, on average; 0: 8192
	UploadGrace config.Duration `toml:"upload_grace"` // time that an upload has beside; 0: 20 s
	SpoolBytes  int64           `toml:"spool_bytes"`  // of all uploads that are not checked yet; 0: 1 GiB
	SpoolMemory int64           `toml:"spool_memory"` // of these, kept in memory; 0: 128 MiB

	AccessLog string `toml:"access_log"` // what is logged: submissions, all or off; "": submissions
}

// What is written to the access log.
const (
	AccessSubmissions = "submissions"
	AccessAll         = "all"
	AccessOff         = "off"
)

// DefaultDoor is what the zero value stands for.
func DefaultDoor() (d Door) {
	if err := d.complete(); err != nil {
		panic(err) // the defaults keep the rules
	}
	return d
}

func (d *Door) complete() error {
	setDefault(&d.Connections, 4096)
	setDefault(&d.SubmissionsPerMinute, 6000)
	setDefault(&d.SubmissionsBurst, 3000)
	setDefault(&d.QueueWait.Duration, 30*time.Second)
	setDefault(&d.LeastSpeed, 8<<10)
	setDefault(&d.UploadGrace.Duration, 20*time.Second)
	setDefault(&d.SpoolBytes, 1<<30)
	setDefault(&d.SpoolMemory, 128<<20)
	setDefault(&d.AccessLog, AccessSubmissions)
	switch {
	case min(d.Connections, d.SubmissionsPerMinute, d.SubmissionsBurst) < 0,
		min(d.LeastSpeed, d.SpoolBytes, d.SpoolMemory) < 0,
		min(d.QueueWait.Duration, d.UploadGrace.Duration) < 0:
		return errors.New("a limit of [door] is negative")
	case d.AccessLog != AccessSubmissions && d.AccessLog != AccessAll && d.AccessLog != AccessOff:
		return fmt.Errorf("access_log of [door] is %q: it must be submissions, all or off", d.AccessLog)
	}
	_, err := d.proxies()
	return err
}

func (d *Door) proxies() ([]netip.Prefix, error) {
	p, err := web.ParseProxies(d.TrustedProxies)
	if err != nil {
		err = fmt.Errorf("trusted_proxies of [door]: %w", err)
	}
	return p, err
}

// door is what decides who comes in next. Clients are told apart by what web.Client says.
type door struct {
	proxies []netip.Prefix
	spool   *spool
	rates   *rates
	proofs  *turns // proofs that are checked together
	cores   *turns // .crates, and proofs of those who brought false ones lately

	suspects *lru.Cache[string, time.Time]  // clients who brought a false proof, and when
	refused  *lru.Cache[[32]byte, struct{}] // leaf hashes of entries whose proof is false
	busy     doorBusy                       // when the door refused somebody for want of room
	metrics  struct{ requests *prometheus.CounterVec }
}

// Sizes of the door's memory, and of its queues.
const (
	proofsTogether = 128              // proofs in or before a batch; the others wait in their clients' lines
	mostPaused     = 64               // .crates that are read in part, and wait
	rememberedBad  = 1 << 16          // entries with false proofs
	suspected      = time.Minute      // since the last false proof
	proofCost      = time.Millisecond // what a proof counts for among clients
)

// openDoor needs the state directory's lock.
func (l *Log) openDoor(context.Context) (err error) {
	d := l.cfg.Door
	l.door.proxies, err = d.proxies()
	if err != nil {
		return err
	}
	if l.door.spool, err = openSpool(filepath.Join(l.cfg.StateDir, "spool"), d); err != nil {
		return err
	}
	l.door.rates = newRates(d.SubmissionsPerMinute, d.SubmissionsBurst)
	l.door.proofs = newTurns(proofsTogether, 0, d.QueueWait.Duration)
	l.door.proofs.flat = true
	l.door.cores = newTurns(l.limits.Cores, mostPaused, d.QueueWait.Duration)
	if l.door.suspects, err = lru.New[string, time.Time](rememberedBad); err != nil {
		return err
	}
	if l.door.refused, err = lru.New[[32]byte, struct{}](rememberedBad); err != nil {
		return err
	}
	l.problems = append(l.problems, l.doorProblems)
	l.metrics.registry.MustRegister(l.doorMetrics()...)
	return nil
}

func (l *Log) doorMetrics() []prometheus.Collector {
	l.door.metrics.requests = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cratelog_http_requests_total",
		Help: "Requests answered, by method and the status's class."}, []string{"method", "status"})
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	return []prometheus.Collector{l.door.metrics.requests,
		gauge("cratelog_door_waiting", "Submissions that wait for a check.", func() float64 {
			return float64(l.door.proofs.queued() + l.door.cores.queued())
		}),
		gauge("cratelog_spool_bytes", "Bytes of uploads that are not checked yet.", func() float64 {
			n, _ := l.door.spool.full()
			return float64(n)
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "cratelog_spool_cut_total",
			Help: "Uploads that ended because others needed the room."}, func() float64 {
			_, n := l.door.spool.full()
			return float64(n)
		}),
	}
}

type clientKey struct{}

// WithClient says for whom Submit works: clients share the log fairly. Without it all callers are one.
func WithClient(ctx context.Context, client string) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

func clientOf(ctx context.Context) string {
	client, _ := ctx.Value(clientKey{}).(string)
	return client
}

// checkProof decides whether an entry's proof holds. Proofs are checked together, but for those of clients who
// brought a false one lately: each of theirs is checked alone, among the long work, so that they make
// nobody else's dear.
func (l *Log) checkProof(ctx context.Context, s *submission) (entry.Chain, error) {
	client, leaf := clientOf(ctx), s.row.leaf
	if l.door.refused.Contains(leaf) {
		return nil, refuse(ProofInvalid, nil, "The proof does not verify for this claim.")
	}
	at, suspect := l.door.suspects.Get(client)
	suspect = suspect && time.Since(at) < suspected
	line, check := l.door.proofs, l.proofs.ChainOf
	if suspect {
		line, check = l.door.cores, l.proofs.Alone
	}
	turn, err := line.begin(ctx, client, proofCost, suspect)
	if err != nil {
		return nil, l.noTurn(err)
	}
	chain, err := check(s.entry, leaf)
	turn.end()
	if err != nil {
		l.door.refused.Add(leaf, struct{}{})
		l.door.suspects.Add(client, time.Now())
		l.door.rates.charge(client, falseProofCost)
		return nil, refuse(ProofInvalid, err, "The proof does not verify for this claim.")
	}
	return chain, ctx.Err()
}

// noTurn makes a refusal of a wait in vain.
func (l *Log) noTurn(err error) error {
	if errors.Is(err, errBusy) {
		l.door.busy.now()
		return later(Overloaded, l.retry, err, "The log is busy with other submissions: try again later.")
	}
	return err
}

// doorBusy remembers when somebody was refused for want of room.
type doorBusy struct {
	mu   sync.Mutex
	last time.Time
}

func (b *doorBusy) now() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = time.Now()
}

func (b *doorBusy) within(d time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.last.IsZero() && time.Since(b.last) < d
}

func (l *Log) doorProblems() (out []string) {
	if l.door.busy.within(30 * time.Second) {
		out = append(out, "the door is full: submissions have waited for a check in vain within the last 30 s")
	}
	if err := l.door.spool.failure(30 * time.Second); err != nil {
		out = append(out, "storage: an upload could not be kept within the last 30 s: "+err.Error())
	}
	return out
}

// rates are a bucket of tokens for each client. A bucket that is full again is forgotten.
type rates struct {
	perSecond, burst float64
	now              func() time.Time

	mu      sync.Mutex
	buckets *lru.Cache[string, *bucket] // owned by mu
}

type bucket struct {
	tokens float64
	at     time.Time
}

// falseProofCost is how many submissions a false proof counts for. Nobody brings many of them by mistake.
const falseProofCost = 300

// bytesOfOne is how much may come with a submission that counts for one: it counts for one more for each as many.
const bytesOfOne = 256 << 10

// badCrateCost is how many submissions a .crate counts for that is refused although its proof holds, and was checked
// for so long.
func badCrateCost(used time.Duration) float64 { return 20 + 5*float64(used.Milliseconds()) }

func newRates(perMinute, burst int) *rates {
	buckets, _ := lru.New[string, *bucket](1 << 16) // refuses nothing but a size below 1
	return &rates{perSecond: float64(perMinute) / 60, burst: float64(max(burst, 1)), now: time.Now, buckets: buckets}
}

// of returns a client's bucket as of now. The caller holds mu.
func (r *rates) of(client string) *bucket {
	now := r.now()
	b, ok := r.buckets.Get(client)
	if !ok {
		b = &bucket{r.burst, now}
		r.buckets.Add(client, b)
	}
	b.tokens = min(r.burst, b.tokens+max(0, now.Sub(b.at).Seconds())*r.perSecond)
	b.at = now
	return b
}

// take takes a token, or says when there will be one.
func (r *rates) take(client string) (wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.of(client)
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	return max(time.Second, time.Duration(math.Ceil((1-b.tokens)/r.perSecond))*time.Second)
}

// charge takes n tokens for something that was dearer than it looked, whether they are there or not.
func (r *rates) charge(client string, n float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.of(client)
	b.tokens = max(b.tokens-n, -r.burst)
}

// unhurried is how long the answer to a client takes that asks too often, so that it does not ask more often still.
const unhurried = time.Second

// admitRate refuses a client that submits more often than it may.
func (l *Log) admitRate(r *http.Request) error {
	client := web.Client(r)
	wait := l.door.rates.take(client)
	if wait == 0 {
		return nil
	}
	t := time.NewTimer(unhurried)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
	x := refuse(TooManyRequests, nil, "Your address submits too often: this log takes %d submissions a minute from one "+
		"client, and %d at once. False proofs count for more. Try again in %.0f s.", l.cfg.Door.SubmissionsPerMinute,
		l.cfg.Door.SubmissionsBurst, wait.Seconds())
	x.RetryAfter = wait
	return x
}

// access writes a line of the access log, and counts.
func (l *Log) access(a web.Access) {
	class := "left"
	if a.Status > 0 {
		class = fmt.Sprintf("%dxx", a.Status/100)
	}
	method := a.Method
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodOptions:
	default:
		method = "other"
	}
	l.door.metrics.requests.WithLabelValues(method, class).Inc()
	submits := a.Method == http.MethodPost || a.Method == http.MethodPut
	if l.cfg.Door.AccessLog == AccessAll || l.cfg.Door.AccessLog == AccessSubmissions && submits {
		l.log.LogAttrs(context.Background(), slog.LevelInfo, "request", a.Attrs()...)
	}
}

// closeAll closes the parts of a form whose body is needed no more.
func closeAll(parts ...io.Reader) {
	for _, p := range parts {
		if c, ok := p.(io.Closer); ok {
			c.Close()
		}
	}
}
