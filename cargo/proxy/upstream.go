package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// early are the first bytes of a .crate, as they arrive.
type early struct {
	mu sync.Mutex // guards b
	b  []byte
}

const (
	maxEarly  = 4 << 10
	earlyStep = 12 // bytes at a time: more than cargo's least speed, 10 bytes in 30 seconds
)

func (e *early) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.b = append(e.b, b[:min(len(b), maxEarly-len(e.b))]...)
	return len(b), nil
}

// from returns the next few bytes after those that were sent, of the first half of what has
// arrived.
func (e *early) from(sent int) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.b[min(sent, len(e.b)):max(min(sent, len(e.b)), min(sent+earlyStep, len(e.b)/2))]
}

// begins says whether the bytes that were sent are those that a .crate begins with.
func (e *early) begins(raw []byte, sent int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return sent == 0 || bytes.HasPrefix(raw, e.b[:sent])
}

// earlyKey is the context's key for where the first bytes of a download go.
type earlyKey struct{}

// newClient returns a client for registries that waits as cargo does: for as long as anything
// arrives.
func newClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = slowTime
	t.MaxIdleConnsPerHost = 32
	return &http.Client{Transport: &waiting{t, slowTime}}
}

// slowTime and slowBytes are cargo's measure: fewer bytes in this time are none.
const (
	slowTime  = 30 * time.Second
	slowBytes = 10
)

var errSlow = errors.New("the registry sent fewer than 10 bytes in 30 seconds")

// waiting is a transport that gives up on a body by cargo's measure, and shows what arrives.
type waiting struct {
	next http.RoundTripper
	slow time.Duration
}

func (t *waiting) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	show, _ := ctx.Value(earlyKey{}).(*early)
	if resp.StatusCode != http.StatusOK {
		show = nil
	}
	resp.Body = &slowBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, show: show,
		slow:  t.slow,
		timer: time.AfterFunc(t.slow, func() { cancel(errSlow) })}
	return resp, nil
}

// slowBody is a body with a timer, which ends the request.
type slowBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	slow   time.Duration
	got    int    // bytes since the timer was set
	show   *early // what arrives; nil: to nobody
}

func (b *slowBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if b.got += n; b.got >= slowBytes {
		b.got = 0
		b.timer.Reset(b.slow)
	}
	if b.show != nil {
		b.show.Write(into[:n])
	}
	if err != nil && err != io.EOF && context.Cause(b.ctx) == errSlow {
		err = errSlow
	}
	return n, err
}

func (b *slowBody) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}
