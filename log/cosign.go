package log

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"filippo.io/torchwood"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"

	"cratelog/client"
	"cratelog/internal/durable"
)

const (
	// maxWitnessReply bounds a witness's answer, in bytes. Two cosignatures, one of them ML-DSA-44,
	// take 3.5 kB.
	maxWitnessReply = 64 << 10
	// maxConflicts is how often a witness may answer 409 to one checkpoint. Tessera tries so often.
	maxConflicts = 10
	// maxBadLines is how many lines of a known key may be wrong before the answer is.
	maxBadLines = 16
)

// gathering asks the witnesses. Tessera v1.0.4 makes the requests, their consistency proofs included,
// but keeps one key for each URL and one line of each answer, and publishes as soon as the quorum is
// there. So each key is a witness to Tessera, told apart by the fragment of its URL; gathering makes one
// request for all keys at one URL, verifies each line of the answer, and lets go of what came in when all
// have answered, or a while after the quorum has.
//
// What is published does not rest on this: the log shows only what its policy accepts (refreshCheckpoint).
type gathering struct {
	ctx     context.Context // ends with the log
	next    http.RoundTripper
	policy  *client.Policy
	timeout time.Duration // of one request, its wait for the one before included
	grace   time.Duration // after the quorum
	observe func(witness, result string)
	// refused is told of each 409 and 422; may be nil.
	refused func(endpoint string, status int, contentType string, body []byte)

	endpoints map[string]*endpoint // by address; constant

	mu    sync.Mutex
	state map[string]witnessState // by name; owned by mu
	now   *round                  // owned by mu; nil before the first
}

// endpoint is where a witness, of one or more keys, takes checkpoints.
type endpoint struct {
	url  string
	keys []witnessKey
	turn chan struct{} // holds one token while a request is under way
}

type witnessKey struct {
	name     string // in the trust file
	verifier note.Verifier
}

// fragment tells a key from the others at its address.
func (k witnessKey) fragment() string { return fmt.Sprintf("%08x", k.verifier.KeyHash()) }

// witnessState is what is known of a key of a witness.
type witnessState struct {
	ok   time.Time // when its last valid cosignature came; zero: not since the start
	size int64     // of the tree that it cosigned then
	err  string    // what was wrong with the latest answer; ""
}

// round is one checkpoint's way to the witnesses. All but head, over and released is owned by the
// gathering's mu; released is constant once over is closed.
type round struct {
	head     string            // text of the checkpoint
	calls    map[string]*call  // by address and body
	waiting  map[*endpoint]int // those that have not said their last word, and how often they said 409
	lines    map[string]string // signature lines by witness
	signed   []byte            // the checkpoint with the log's signatures
	quorum   bool
	over     chan struct{} // closed when no more is waited for
	released []string      // the lines that came before
}

// call is one request. Its fields are constant once done is closed.
type call struct {
	done   chan struct{}
	err    error
	status int
	kind   string // Content-Type
	body   []byte
	lines  map[string]string // by fragment
}

func newGathering(ctx context.Context, policy *client.Policy, timeout, grace time.Duration,
	observe func(witness, result string)) (*gathering, error) {
	g := &gathering{
		ctx: ctx, policy: policy, timeout: timeout, grace: grace, observe: observe,
		next: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
			ResponseHeaderTimeout: timeout},
		endpoints: make(map[string]*endpoint),
		state:     make(map[string]witnessState),
	}
	for _, w := range policy.Witnesses() {
		v, err := torchwood.NewCosignatureVerifier(w.VKey)
		if err != nil {
			return nil, err
		}
		address, err := endpointOf(w.URL)
		if err != nil {
			return nil, err
		}
		e := g.endpoints[address]
		if e == nil {
			e = &endpoint{url: address, turn: make(chan struct{}, 1)}
			g.endpoints[address] = e
		}
		e.keys = append(e.keys, witnessKey{w.Name, v})
	}
	return g, nil
}

// client is for Tessera. It sets no time of its own: Tessera's witness timeout ends a round.
func (g *gathering) client() *http.Client {
	return &http.Client{Transport: g,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// group is what Tessera asks before it publishes: all witnesses of the trust file.
func (g *gathering) group() tessera.WitnessGroup { return tessera.NewWitnessGroup(1, g) }

// Endpoints is for Tessera.
func (g *gathering) Endpoints() map[string]note.Verifier {
	all := make(map[string]note.Verifier)
	for address, e := range g.endpoints {
		for _, k := range e.keys {
			all[address+"#"+k.fragment()] = k.verifier
		}
	}
	return all
}

// Satisfied is for Tessera, which calls it with each line that it has added: the policy accepts the
// checkpoint, and all lines are there that were let go together.
func (g *gathering) Satisfied(signed []byte) bool {
	g.mu.Lock()
	r := g.now
	g.mu.Unlock()
	if r == nil {
		return false
	}
	select {
	case <-r.over:
	default:
		return false
	}
	for _, line := range r.released {
		if !bytes.Contains(signed, []byte(line)) {
			return false
		}
	}
	_, err := g.policy.CheckCheckpoint(signed)
	return err == nil
}

// begin begins the round of a checkpoint, which the guard has just signed.
func (g *gathering) begin(head string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := &round{head: head, calls: make(map[string]*call), waiting: make(map[*endpoint]int),
		lines: make(map[string]string), over: make(chan struct{})}
	for _, e := range g.endpoints {
		if len(e.turn) == 0 { // one that has not answered the last time yet is not waited for
			r.waiting[e] = 0
		}
	}
	g.now = r
}

// RoundTrip implements http.RoundTripper for Tessera.
func (g *gathering) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := durable.ReadAll(r.Body, 1<<20)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	u := *r.URL
	u.Fragment = ""
	e := g.endpoints[u.String()]
	g.mu.Lock()
	now := g.now
	g.mu.Unlock()
	if e == nil || now == nil {
		return nil, fmt.Errorf("%s is no witness of the trust file", &u)
	}
	c := g.call(now, e, body)
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-c.done:
	}
	if c.err != nil {
		return nil, c.err
	}
	if c.status != http.StatusOK {
		return answerOf(r, c.status, c.kind, c.body), nil
	}
	line, ok := c.lines[r.URL.Fragment]
	if !ok {
		return nil, errors.New("the answer has no valid cosignature of this key")
	}
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-now.over:
	}
	return answerOf(r, http.StatusOK, c.kind, []byte(line)), nil
}

func answerOf(r *http.Request, status int, kind string, body []byte) *http.Response {
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {kind}}, ContentLength: int64(len(body)),
		Body: io.NopCloser(bytes.NewReader(body)), Request: r,
	}
}

// call returns the request to an endpoint with a body, which is made once in a round.
func (g *gathering) call(r *round, e *endpoint, body []byte) *call {
	g.mu.Lock()
	defer g.mu.Unlock()
	id := e.url + "\n" + string(body)
	c := r.calls[id]
	if c == nil {
		c = &call{done: make(chan struct{})}
		r.calls[id] = c
		go func() {
			g.ask(r, e, c, body)
			close(c.done)
		}()
	}
	return c
}

// ask makes a request, and goes on with it when nobody waits for it any more: whether a witness that is
// slower than the others answers at all is worth to know.
func (g *gathering) ask(r *round, e *endpoint, c *call, body []byte) {
	ctx, cancel := context.WithTimeout(g.ctx, g.timeout)
	defer cancel()
	select {
	case <-ctx.Done():
		c.err = errors.New("the witness has not answered the request before")
	case e.turn <- struct{}{}:
		c.send(ctx, g.next, e.url, body)
		<-e.turn
	}
	if c.err == nil && c.status == http.StatusOK {
		c.lines = e.validLines(r.head, c.body)
	}
	if c.err == nil && g.refused != nil && (c.status == http.StatusConflict ||
		c.status == http.StatusUnprocessableEntity) {
		g.refused(e.url, c.status, c.kind, c.body)
	}
	g.record(r, e, c, body)
}

func (c *call) send(ctx context.Context, next http.RoundTripper, url string, body []byte) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		c.err = err
		return
	}
	resp, err := next.RoundTrip(req)
	if err != nil {
		c.err = err
		return
	}
	defer resp.Body.Close()
	c.status, c.kind = resp.StatusCode, resp.Header.Get("Content-Type")
	c.body, c.err = durable.ReadAll(resp.Body, maxWitnessReply)
}

// validLines returns the signature lines of an answer that verify, one for each key, in their one
// encoding. All else is ignored: of a witness that answers too much, what is good is taken.
func (e *endpoint) validLines(head string, answer []byte) map[string]string {
	valid := make(map[string]string)
	bad := make(map[string]int)
	for line := range strings.Lines(string(answer)) {
		name, b64, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "— "), "\n"), " ")
		blob, err := base64.StdEncoding.DecodeString(b64)
		if !ok || err != nil || len(blob) < 5 {
			continue
		}
		line := "— " + name + " " + base64.StdEncoding.EncodeToString(blob) + "\n"
		for _, k := range e.keys {
			id := k.fragment()
			if name != k.verifier.Name() || fmt.Sprintf("%x", blob[:4]) != id || valid[id] != "" || bad[id] == maxBadLines {
				continue
			}
			if _, err := note.Open([]byte(head+"\n"+line), note.VerifierList(k.verifier)); err != nil {
				bad[id]++
				continue
			}
			valid[id] = line
		}
	}
	return valid
}

// record notes what an endpoint answered, for the round and for the operator.
func (g *gathering) record(r *round, e *endpoint, c *call, body []byte) {
	size := sizeOf(r.head)
	conflict := c.err == nil && c.status == http.StatusConflict
	late := "cosigned, but too long after the others for readers to see it (cosignature_grace)"
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-r.over:
	default:
		late = ""
	}
	for _, k := range e.keys {
		s, line := g.state[k.name], c.lines[k.fragment()]
		result := strconv.Itoa(c.status)
		switch {
		case c.err != nil:
			s.err, result = unreachable(c.err), "error"
		case line != "":
			s = witnessState{ok: time.Now(), size: size, err: late}
			r.lines[k.name] = line
		case c.status == http.StatusOK:
			s.err, result = "answered 200 without a valid cosignature of this key", "invalid"
		case conflict:
			s.err = aheadOf(c, size)
		default:
			s.err = "answered " + strconv.Itoa(c.status) + " " + http.StatusText(c.status)
		}
		g.state[k.name] = s
		g.observe(k.name, result)
	}
	_, r.signed, _ = bytes.Cut(body, []byte("\n\n"))
	if n := conflictSize(c); conflict && n >= 0 && n <= size && !bytes.HasPrefix(body, fmt.Appendf(nil, "old %d\n", n)) {
		if said, waited := r.waiting[e]; waited && said < maxConflicts {
			r.waiting[e]++
			return // Tessera asks again
		}
	}
	delete(r.waiting, e)
	g.settle(r)
}

// settle ends the wait when all have answered, and begins the grace when the quorum has. It is called
// with mu held.
func (g *gathering) settle(r *round) {
	select {
	case <-r.over:
		return
	default:
	}
	if len(r.waiting) == 0 {
		r.end()
		return
	}
	if r.quorum {
		return
	}
	all := slices.Clone(r.signed)
	for _, line := range r.lines {
		all = append(all, line...)
	}
	if _, err := g.policy.CheckCheckpoint(all); err != nil {
		return
	}
	r.quorum = true
	time.AfterFunc(g.grace, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		select {
		case <-r.over:
			return
		default:
		}
		for e, conflicts := range r.waiting {
			if conflicts > 0 {
				continue // it did answer
			}
			for _, k := range e.keys {
				s := g.state[k.name]
				s.err = fmt.Sprintf("had not answered %v after the others made the quorum", g.grace)
				g.state[k.name] = s
			}
		}
		r.end()
	})
}

func (r *round) end() {
	for _, line := range r.lines {
		r.released = append(r.released, line)
	}
	close(r.over)
}

// of returns what is known of a witness by its name in the trust file.
func (g *gathering) of(name string) witnessState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state[name]
}

func unreachable(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "unreachable: it did not answer in time"
	}
	if errors.Is(err, durable.ErrTooLarge) {
		return "answered more than " + strconv.Itoa(maxWitnessReply) + " bytes"
	}
	return "unreachable"
}

// conflictSize is the size that a witness names in a 409, or -1.
func conflictSize(c *call) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(string(c.body), "\n"), 10, 64)
	if err != nil || c.kind != "text/x.tlog.size" || n < 0 {
		return -1
	}
	return n
}

func aheadOf(c *call, size int64) string {
	n := conflictSize(c)
	switch {
	case n < 0:
		return "answered 409 without a size"
	case n > size:
		return fmt.Sprintf("has cosigned %d entries of this log, which has %d: the log's key signed another tree, or "+
			"the tree is an older copy",
			n, size)
	}
	return fmt.Sprintf("answered 409: it has cosigned %d entries", n)
}

// sizeOf is the size that the text of a checkpoint names, which the guard has checked.
func sizeOf(head string) int64 {
	c, err := torchwood.ParseCheckpoint(head)
	if err != nil {
		return 0
	}
	return c.N
}

// witnessMetrics are what the gathering knows, for /metrics.
func (g *gathering) witnessMetrics() []prometheus.Collector {
	var all []prometheus.Collector
	for _, w := range g.policy.Witnesses() {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "cratelog_witness_last_cosigned_timestamp_seconds",
			Help:        "When the last valid cosignature of this witness's key came, POSIX seconds; 0: not since the start.",
			ConstLabels: prometheus.Labels{"witness": w.Name},
		}, func() float64 {
			if at := g.of(w.Name).ok; !at.IsZero() {
				return float64(at.Unix())
			}
			return 0
		}))
	}
	return all
}
