package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"cratelog/entry"
)

// errNotYet: the work goes on, and is perhaps done when cargo asks again.
var errNotYet = errors.New("the crate is still being fetched or checked")

// crate returns the bytes of an accepted crate. However many ask at one time, it is
// fetched and judged once; the work goes on when they have gone, so that a second try
// finds it done.
func (p *Proxy) crate(ctx context.Context, name, version string) ([]byte, error) {
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return nil, &badRequest{err}
	}
	work := p.flights.DoChan(name+" "+version, func() (any, error) { return p.accept(name, version) })
	t := time.NewTimer(p.testingOnlyPatience)
	defer t.Stop()
	select {
	case got := <-work:
		raw, _ := got.Val.([]byte)
		return raw, got.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
		return nil, fmt.Errorf("%s v%s: %w", name, version, errNotYet)
	}
}

// begin lets work begin unless the proxy is closed. The caller then calls p.work.Done.
func (p *Proxy) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.work.Add(1)
	}
	return !p.closed
}

// accept fetches and judges one crate. The order must not change: bytes are checked
// before they are judged, and judged before they are kept or handed out.
func (p *Proxy) accept(name, version string) ([]byte, error) {
	if !p.begin() {
		return nil, context.Canceled
	}
	defer p.work.Done()
	ctx, cancel := context.WithTimeout(p.ctx, workTime)
	defer cancel()
	select {
	case p.jobs <- struct{}{}:
		defer func() { <-p.jobs }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w, err := p.release(ctx, name, version)
	if err != nil {
		return nil, err
	}
	raw, kept := p.store.load(w.Sum)
	if !kept && p.Local != nil {
		local, ok := p.Local(w.Name, w.Version, w.Sum)
		if ok && sha256.Sum256(local) == w.Sum {
			raw, kept = local, true
		}
	}
	if !kept {
		if raw, err = p.Upstream.Download(ctx, w.Name, w.Version, w.Sum); err != nil {
			p.known.Remove(strings.ToLower(name)) // perhaps the index has changed since
			return nil, err
		}
	}
	if err := p.Judge.Judge(ctx, w.Name, w.Version, w.Sum, raw); ctx.Err() != nil {
		return nil, ctx.Err() // no verdict: there was no time for one
	} else if err != nil {
		p.Log.Warn("a crate is refused", "crate", name, "version", version, "reason", err)
		return nil, &Refusal{w.Name, w.Version, w.Sum, err}
	}
	if !kept {
		if err := p.store.save(w.Sum, raw); ctx.Err() != nil {
			return nil, ctx.Err() // no verdict: there was no time for one
		} else if err != nil {
			p.Log.Warn("an accepted crate could not be kept, and will be fetched again", "crate", name, "version", version,
				"error", err)
		}
	}
	return raw, nil
}

// Prefetch begins to fetch what judging these releases will need, if the Judge is a
// Prefetcher. It does not wait.
func (p *Proxy) Prefetch(wants []Want) {
	for _, w := range wants {
		p.prefetch(w)
	}
}

// prefetch hands a release to the prefetching goroutines, or drops it if they have
// more than enough to do.
func (p *Proxy) prefetch(w Want) {
	select {
	case p.queue <- w:
	default:
	}
}

func (p *Proxy) startPrefetching() {
	judge, ok := p.Judge.(Prefetcher)
	if !ok {
		p.queue = nil // nothing is ever put in
		return
	}
	for range p.Jobs {
		p.work.Add(1)
		go func() {
			defer p.work.Done()
			for {
				select {
				case <-p.ctx.Done():
					return
				case w := <-p.queue:
					ctx, cancel := context.WithTimeout(p.ctx, workTime)
					judge.Prefetch(ctx, w.Name, w.Version, w.Sum)
					cancel()
				}
			}
		}()
	}
}
