package backlog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
)

// keyed bounds how many hold the same key at a time.
type keyed struct {
	most int

	mu    sync.Mutex
	slots map[string]chan struct{}
}

// lock waits for a place, at most until ctx ends.
func (k *keyed) lock(ctx context.Context, key string) (unlock func(), err error) {
	k.mu.Lock()
	if k.slots == nil {
		k.slots = map[string]chan struct{}{}
	}
	slot := k.slots[key]
	if slot == nil {
		slot = make(chan struct{}, k.most)
		k.slots[key] = slot
	}
	k.mu.Unlock()
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hostOf is a URL's host, which fetches are counted by.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}

// strikes count how often in a row a host let all the time pass: the last of them may take a quarter of an
// hour, and a hostile host would take it for each of its crates.
type strikes struct {
	mu sync.Mutex
	of map[string]int
}

// maxStrikes is after how many a host is not asked any more.
const maxStrikes = 3

// out returns why a host is not asked; nil if it is.
func (s *strikes) out(host string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[host] < maxStrikes {
		return nil
	}
	return fmt.Errorf("the host %s took too long %d times in a row, and is not asked again in this run", host,
		maxStrikes)
}

// note takes in what came of asking a host.
func (s *strikes) note(host string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var late net.Error
	if !errors.As(err, &late) || !late.Timeout() {
		delete(s.of, host)
		return
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.of[host]++
}
