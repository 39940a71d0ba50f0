package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"cratelog/entry"
)

// errNotYet: the work goes on, and whoever asks again may find it done.
var errNotYet = errors.New("the crate is still being fetched or checked")

// flight is the work on one crate, which all who ask for it wait for.
type flight struct {
	done chan struct{} // closed when raw and err are set
	raw  []byte
	err  error
}

// crate returns the bytes of an accepted crate. However many ask at one time, it is
// fetched and judged once; that goes on when they have gone, so that a second try
// finds it done.
func (p *Proxy) crate(ctx context.Context, name, version string) ([]byte, error) {
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return nil, &badRequest{err}
	}
	f, err := p.fly(name, version)
	if err != nil {
		return nil, err
	}
	t := time.NewTimer(p.testingOnlyPatience)
	defer t.Stop()
	select {
	case <-f.done:
		return f.raw, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
		return nil, fmt.Errorf("%s v%s: %w", name, version, errNotYet)
	}
}

// fly returns the flight of a crate, and starts one if there is none.
func (p *Proxy) fly(name, version string) (*flight, error) {
	key := name + " " + version
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, ok := p.flights[key]; ok {
		return f, nil
	}
	if p.closed {
		return nil, context.Canceled
	}
	f := &flight{done: make(chan struct{})}
	p.flights[key] = f
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		ctx, cancel := context.WithTimeout(p.ctx, workTime)
		defer cancel()
		f.raw, f.err = p.work1(ctx, name, version)
		p.mu.Lock()
		delete(p.flights, key)
		p.mu.Unlock()
		close(f.done)
	}()
	return f, nil
}

// work1 fetches and judges one crate. The order must not change: bytes are checked
// before they are judged, and judged before they are kept or handed out.
func (p *Proxy) work1(ctx context.Context, name, version string) ([]byte, error) {
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
	raw, kept := p.store.load(w.sum)
	if !kept && p.Local != nil {
		local, ok := p.Local(w.name, w.version, w.sum)
		if ok && sha256.Sum256(local) == w.sum {
			raw, kept = local, true
		}
	}
	if !kept {
		if raw, err = p.Upstream.Download(ctx, w.name, w.version, w.sum); err != nil {
			p.forget(name) // perhaps the index has changed since
			return nil, err
		}
	}
	if err := p.Judge.Judge(ctx, w.name, w.version, w.sum, raw); ctx.Err() != nil {
		return nil, ctx.Err() // no verdict: there was no time for one
	} else if err != nil {
		p.Log.Warn("a crate is refused", "crate", name, "version", version, "reason", err)
		return nil, &Refusal{w.name, w.version, w.sum, err}
	}
	if !kept {
		if err := p.store.save(w.sum, raw); ctx.Err() != nil {
			return nil, ctx.Err() // no verdict: there was no time for one
		} else if err != nil {
			p.Log.Warn("an accepted crate could not be kept, and will be fetched again", "crate", name, "version", version, "error", err)
		}
	}
	return raw, nil
}

// Want is a release that cargo will probably ask for, such as one of a Cargo.lock.
type Want struct {
	Name, Version string
	Sum           [32]byte
}

// Prefetch begins to fetch what judging these releases will need, if the Judge is a
// Prefetcher. It does not wait.
func (p *Proxy) Prefetch(wants []Want) {
	for _, w := range wants {
		p.prefetch(want{w.Name, w.Version, w.Sum})
	}
}

// prefetch hands a release to the prefetching goroutines, or drops it if they have
// more than enough to do.
func (p *Proxy) prefetch(w want) {
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
					judge.Prefetch(ctx, w.name, w.version, w.sum)
					cancel()
				}
			}
		}()
	}
}
