package backlog

import (
	"context"
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
