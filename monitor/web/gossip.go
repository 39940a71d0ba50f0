package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"cratelog/internal/web"
)

// Each sender may send a burst of gossipBurst, and one more every gossipEvery.
const (
	gossipBurst = 10
	gossipEvery = 6 * time.Second
)

// limitAll is how many times as much all senders together may send. Senders from this machine come
// through a proxy and cannot be distinguished: only the bound for all holds.
const limitAll = 20

// gossipJSON is the answer to POST /v1/gossip.
type gossipJSON struct {
	Verdict string `json:"verdict"` // consistent, inconsistent or pending
	Message string `json:"message"`
}

// gossip takes a signed checkpoint or a bundle from any reader.
func (s *Server) gossip(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Gossip == nil {
		return notFound("This monitor takes no gossip.")
	}
	if err := noParams(r); err != nil {
		return err
	}
	if wait := s.limit.take(r.RemoteAddr); wait > 0 {
		return &web.Refusal{Status: http.StatusTooManyRequests, Reason: "too-many-requests", RetryAfter: wait,
			Message: "That is too much gossip in too short a time. Try again later."}
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxGossip))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return refuse(http.StatusRequestEntityTooLarge, "too-large",
			fmt.Sprintf("A checkpoint or bundle has at most %d bytes.", MaxGossip))
	case err != nil:
		return badRequest("The body could not be read to its end.")
	case len(b) == 0:
		return badRequest("The body is empty. Send a signed checkpoint or a bundle, as it is: curl --data-binary @FILE.")
	}
	verdict, text, err := s.cfg.Gossip.Gossip(r.Context(), b)
	if errors.Is(err, ErrGossip) {
		return refuse(http.StatusUnprocessableEntity, "gossip-refused", refusedText(text, err))
	}
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	web.WriteJSON(w, http.StatusOK, gossipJSON{verdict, text})
	return nil
}

// limiter is a token bucket for each sender and one for all. A sender is an IPv4 address or
// an IPv6 /64.
type limiter struct {
	now   func() time.Time
	every time.Duration
	burst int

	mu     sync.Mutex // for those below
	all    bucket
	single *lru.Cache[netip.Prefix, bucket] // of the latest senders
}

// maxSenders bounds what the limiter remembers.
const maxSenders = 10000

type bucket struct {
	full time.Time // when it is full again; a past time if it is full
}

func newLimiter(now func() time.Time, every time.Duration, burst int) *limiter {
	single, err := lru.New[netip.Prefix, bucket](maxSenders)
	if err != nil {
		panic(err) // of a size that is not positive
	}
	return &limiter{now: now, every: every, burst: burst, single: single}
}

// take returns 0 if a request is allowed, else how long to wait.
func (l *limiter) take(remote string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, who := l.now(), sender(remote)
	one, _ := l.single.Get(who)
	all := l.all
	if !who.IsValid() {
		one = bucket{}
	}
	wait := max(one.take(now, l.every, l.burst), all.take(now, l.every/limitAll, l.burst*limitAll))
	if wait == 0 {
		l.single.Add(who, one)
		l.all = all
	}
	return wait
}

func (b *bucket) take(now time.Time, every time.Duration, burst int) time.Duration {
	if b.full.Before(now) {
		b.full = now
	}
	after := b.full.Add(every)
	if over := after.Sub(now) - every*time.Duration(burst); over > 0 {
		return over
	}
	b.full = after
	return 0
}

// sender identifies a sender; one on this machine is the zero value.
func sender(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	a := ap.Addr().Unmap().WithZone("")
	if err != nil || a.IsLoopback() {
		return netip.Prefix{}
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// refusedText is the sentence for what was refused.
func refusedText(text string, err error) string {
	if text != "" {
		return text
	}
	return strings.TrimSuffix(err.Error(), ".") + "."
}
