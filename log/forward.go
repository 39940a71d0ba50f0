package log

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/prometheus/client_golang/prometheus"

	"cratelog/build"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/opening"
)

// A front end gives what it has checked to the sequencer, the process that holds the lease: POST PeersPath. The
// answer is an index, or a refusal. Neither is believed for more than where to look: the front end waits until its
// own published tree has that entry, and finds there what became of its own.

// What the processes of a log ask each other ([Live.Peers]): one address, and a header that shows that they know
// the secret, TIME.SHA256.MAC.
const (
	PeersPath   = "/v1/sequence"
	PeersHeader = "Cratelog-Peer"
)

const (
	// maxForward bounds a request, and maxForwarded its answer.
	maxForward   = entry.MaxSize + opening.MaxSize + build.MaxList + 1<<10
	maxForwarded = 64 << 10

	// maxPeerAge is how old a request may be, or how far ahead its clock. To repeat one is harmless, since an entry is
	// added once.
	maxPeerAge = 5 * time.Minute

	labelRequest = "cratelog/peer-request/v1"
	labelAnswer  = "cratelog/peer-answer/v1"

	headerAnswer = "Cratelog-Peer-Answer" // MAC
)

// wireForward is the body of a request: deterministic CBOR, in one encoding.
type wireForward struct {
	Entry    []byte `cbor:"1,keyasint"`
	Opening  []byte `cbor:"2,keyasint,omitempty"`
	List     []byte `cbor:"3,keyasint,omitempty"` // of compiled crates
	Nameless bool   `cbor:"4,keyasint,omitempty"` // the .crate names no commit
}

var (
	forwardEncoding = mode(cbor.CoreDetEncOptions().EncMode())
	forwardDecoding = mode(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 16,
	}.DecMode())
)

func mode[T any](m T, err error) T {
	if err != nil {
		panic("log: CBOR options: " + err.Error())
	}
	return m
}

func parseForward(raw []byte) (f wireForward, err error) {
	if err := forwardDecoding.Unmarshal(raw, &f); err != nil {
		return f, err
	}
	again, err := forwardEncoding.Marshal(f)
	if err == nil && !bytes.Equal(again, raw) {
		err = errors.New("it is not the one encoding of what it says")
	}
	return f, err
}

// forwarded is the good answer.
type forwarded struct {
	Index uint64 `json:"index"`
}

// requestMAC and answerMAC are what shows that the other side knows the secret, and is of the same log: another log
// may have the same secret, and checks otherwise what it forwards.
func (c *Cluster) requestMAC(method, path, at, sum string) string {
	return c.mac(labelRequest, method, path, at, sum)
}

func (c *Cluster) answerMAC(request string, status int, body []byte) string {
	return c.mac(labelAnswer, request, strconv.Itoa(status), fmt.Sprintf("%x", sha256.Sum256(body)))
}

func (c *Cluster) mac(label string, fields ...string) string {
	h := hmac.New(sha256.New, c.Secret)
	for _, f := range append([]string{label, c.origin}, fields...) {
		fmt.Fprintf(h, "%d:%s\n", len(f), f)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sequencer knows which process holds the lease, and asks it.
type sequencer struct {
	cluster *Cluster
	memory  *sql.DB
	http    *http.Client

	mu      sync.Mutex
	holder  holding       // owned by mu; as last seen
	changed chan struct{} // owned by mu; closed and replaced when another process holds the lease
	err     error         // owned by mu; why the memory could not be asked last
	refused error         // owned by mu; why the latest request came to nothing
	at      time.Time     // owned by mu; of that

	forwards *prometheus.CounterVec
	log      *slog.Logger
}

func newSequencer(c *Cluster, memory *sql.DB, logger *slog.Logger) *sequencer {
	return &sequencer{cluster: c, memory: memory, changed: make(chan struct{}), http: c.client(), log: logger,
		forwards: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cratelog_forwards_total",
			Help: "What a front end gave to the sequencer, by result: taken, again, or the reason of its refusal."}, []string{"result"}),
	}
}

// client reaches the other processes of the log, and nobody between.
func (c *Cluster) client() *http.Client {
	d := c.Tree.AddDeadline
	return &http.Client{
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: d}).DialContext, TLSHandshakeTimeout: d,
			MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (q *sequencer) close() error {
	q.http.CloseIdleConnections()
	return q.memory.Close()
}

// follow looks in the memory who holds the lease, until ctx ends.
func (q *sequencer) follow(ctx context.Context) {
	t := time.NewTicker(q.cluster.Lease / 10)
	defer t.Stop()
	for {
		q.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (q *sequencer) look(ctx context.Context) {
	h, err := leaseHolder(ctx, q.memory)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err = err; err != nil {
		return
	}
	if h.epoch != q.holder.epoch {
		close(q.changed)
		q.changed = make(chan struct{})
		if h.held {
			q.log.Info("the process at this address has the lease, and becomes or is the sequencer", "address", h.address,
				"epoch", h.epoch)
		}
	}
	q.holder = h
}

// seen returns who held the lease when that was last known.
func (q *sequencer) seen() holding {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.holder
}

// absent says that nobody is known who could add what is submitted.
func (q *sequencer) absent(now time.Time) (problems []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.holder.held || !q.holder.until.After(now) {
		problems = append(problems, "there is no sequencer: no process holds the lease, as far as this one knows")
	}
	return problems
}

// problems says what else keeps this process from the sequencer, for /healthz.
func (q *sequencer) problems() (problems []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		problems = append(problems, "this process does not learn who the sequencer is: "+q.err.Error())
	}
	if q.refused != nil && time.Since(q.at) < 30*time.Second {
		problems = append(problems, "the sequencer did not take what was submitted within the last 30 s: "+q.refused.Error())
	}
	return problems
}

// errElsewhere says that a request is to be sent again: to another process, or later to the same.
var errElsewhere = errors.New("the sequencer did not take it")

// ask sends a request to the sequencer. The error is a *Refusal that is the sequencer's word, or errElsewhere. sent
// says that the sequencer may have done what it was asked.
func (q *sequencer) ask(ctx context.Context, body []byte) (idx uint64, sent bool, err error) {
	q.mu.Lock()
	to, changed := q.holder, q.changed
	q.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // another sequencer will not answer for this one
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	if to.address == "" {
		err = errors.New("no process holds the lease")
	} else {
		var status int
		var header http.Header
		var answer []byte
		var reached atomic.Bool
		trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { reached.Store(true) }}
		status, header, answer, err = q.cluster.peer(httptrace.WithClientTrace(ctx, trace), q.http, http.MethodPost,
			to.address, body)
		sent = err != nil && reached.Load()
		if err == nil {
			idx, err = readForwarded(status, header, answer)
		}
	}
	result, refused := "taken", error(nil)
	var final *Refusal
	switch {
	case errors.As(err, &final):
		result = string(final.Reason)
	case err != nil:
		if ctx.Err() == nil {
			refused = err
		}
		result, err = "again", fmt.Errorf("%w: %w", errElsewhere, err)
	}
	q.forwards.WithLabelValues(result).Inc()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refused, q.at = refused, time.Now()
	return idx, sent, err
}

// peer sends a request to another process of the log, and returns its answer, which shows that it knows the secret.
func (c *Cluster) peer(ctx context.Context, client *http.Client, method, address string, body []byte) (status int,
	header http.Header, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(address, "/")+PeersPath, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	at, sum := strconv.FormatInt(time.Now().UnixMilli(), 10), fmt.Sprintf("%x", sha256.Sum256(body))
	mac := c.requestMAC(method, PeersPath, at, sum)
	req.Header.Set(PeersHeader, at+"."+sum+"."+mac)
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	if answer, err = durable.ReadAll(resp.Body, maxForwarded); err != nil {
		return 0, nil, nil, err
	}
	want := c.answerMAC(mac, resp.StatusCode, answer)
	if !hmac.Equal([]byte(want), []byte(resp.Header.Get(headerAnswer))) {
		return 0, nil, nil, fmt.Errorf("what answers at %s with %s does not know the secret of this log's processes", address,
			resp.Status)
	}
	return resp.StatusCode, resp.Header, answer, nil
}

// notTheEntrys are what a process says that is not the sequencer, or not now, or has other settings or another version
// than the front end, which has found the entry good: it is not the submitter's fault.
var notTheEntrys = []Reason{ShuttingDown, Starting, MalformedRequest, MethodNotAllowed, NotFound, MalformedEntry,
	UnknownClaim, UnknownProgram, OpeningRefused}

// readForwarded makes of an answer an index, a refusal that is final, or an error after which to try again.
func readForwarded(status int, header http.Header, answer []byte) (uint64, error) {
	if status == http.StatusOK {
		var f forwarded
		if err := strict(answer, &f); err != nil {
			return 0, fmt.Errorf("its answer is none: %w", err)
		}
		return f.Index, nil
	}
	var b refusalBody
	if err := strict(answer, &b); err != nil || b.Reason == "" {
		return 0, fmt.Errorf("it answers with %d", status)
	}
	if status == http.StatusUnauthorized || slices.Contains(notTheEntrys, b.Reason) {
		return 0, errors.New(b.Message)
	}
	r := refuse(b.Reason, nil, "%s", b.Message)
	r.Index = b.Index
	if s, err := strconv.ParseUint(header.Get("Retry-After"), 10, 16); err == nil {
		r.RetryAfter = time.Duration(s) * time.Second
	}
	return 0, r
}

// strict decodes JSON that says what is known, and nothing else.
func strict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows")
	}
	return nil
}

// forward lets the sequencer put a checked entry into the tree, and returns its index when this process's own
// published tree has it. What stands in its way there is the error, as standing returns it.
func (l *Log) forward(ctx context.Context, s *submission) (uint64, error) {
	body, err := forwardEncoding.Marshal(wireForward{s.raw, s.opening, s.crates, s.nameless})
	if err != nil {
		return 0, err
	}
	wait, cancel := context.WithTimeout(ctx, l.cfg.PublishWait.Duration)
	defer cancel()
	defer context.AfterFunc(l.staying, cancel)()
	perhaps := false
	for pause := moment; ; pause = min(2*pause, time.Second) {
		idx, sent, err := l.sequencer.ask(wait, body)
		perhaps = perhaps || sent || err == nil
		var final *Refusal
		if errors.As(err, &final) && final.Index != nil {
			idx, err = *final.Index, nil
		}
		if err == nil {
			if idx, err = l.foundHere(wait, s, idx); !errors.Is(err, errElsewhere) {
				return idx, err
			}
		}
		if final != nil && final.Index == nil {
			return 0, final
		}
		select {
		case <-wait.Done():
		case <-time.After(pause):
			continue
		}
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case l.staying.Err() != nil:
			return 0, later(ShuttingDown, l.retry, err, "This process of the log takes over another role: submit the entry again "+
				"to get the bundle.")
		case perhaps:
			return 0, later(NotPublished, l.retry, err,
				"The entry may have been taken, but nobody says yet at which place: submit it again to get the bundle.")
		}
		return 0, later(Overloaded, l.retry, err, "The log has no process now that adds entries: try again later.")
	}
}

// foundHere waits until the published tree has an entry, and returns the index of the entry that says what s says,
// or what stands in its way.
func (l *Log) foundHere(ctx context.Context, s *submission, idx uint64) (uint64, error) {
	if _, err := l.published.wait(ctx, idx+1); err != nil {
		return 0, fmt.Errorf("%w: entry %d is not published yet", errElsewhere, idx)
	}
	stands, known, err := l.standing(ctx, s)
	if err == nil && !known {
		err = fmt.Errorf("%w: the entry is to be the one with the number %d, or to contradict it, and does neither", errElsewhere, idx)
	}
	return stands, err
}
