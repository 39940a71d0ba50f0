package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cratelog/entry"
)

// errNotYet: the work goes on, and is perhaps done when somebody asks again.
var errNotYet = errors.New("the crate is still being fetched or checked")

// A flight is the work on one crate. However many ask for it at one time, it is
// fetched and judged once; the work goes on when they have gone, so that a second try
// finds it done.
type flight struct {
	name, version string
	early         early         // what has arrived
	done          chan struct{} // closed when raw and err are set
	raw           []byte
	err           error
}

func (f *flight) landed() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// fly begins the work on a crate, or finds it begun. Then f.done waits for it.
func (p *Proxy) fly(name, version string) (*flight, error) {
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return nil, &badRequest{err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := name + " " + version
	if f := p.flights[key]; f != nil {
		if f.landed() {
			delete(p.flights, key) // it was owed, once
		}
		return f, nil
	}
	if p.closed {
		return nil, context.Canceled
	}
	p.work.Add(1)
	f := &flight{name: name, version: version, done: make(chan struct{})}
	p.flights[key] = f
	go func() {
		defer p.work.Done()
		f.raw, f.err = p.accept(f)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.flights, key)
		close(f.done)
	}()
	return f, nil
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

// owe keeps the outcome of a flight for the next who asks: cargo, whose answer is cut off.
func (p *Proxy) owe(f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := f.name + " " + f.version
	if p.flights[key] != nil {
		return
	}
	p.flights[key] = f
	time.AfterFunc(owedTime, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.flights[key] == f {
			delete(p.flights, key)
		}
	})
}

// owedTime is longer than cargo waits before it tries again.
const owedTime = 20 * time.Second

// meanwhile waits for a flight, or until the client has gone. When it takes long, it sends
// a few bytes now and then of what has arrived, so that cargo goes on waiting.
func (p *Proxy) meanwhile(w http.ResponseWriter, r *http.Request, f *flight) (sent int) {
	t := time.NewTimer(p.testingOnlyPatience)
	defer t.Stop()
	for {
		select {
		case <-f.done:
			return sent
		case <-r.Context().Done():
			return sent
		case <-t.C:
		}
		if b := f.early.from(sent); len(b) > 0 {
			w.Write(b) // if that fails, the client has gone
			http.NewResponseController(w).Flush()
			sent += len(b)
		}
		t.Reset(p.testingOnlyTrickle)
	}
}

// crate returns the bytes of an accepted crate.
func (p *Proxy) crate(ctx context.Context, name, version string) ([]byte, error) {
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

// accept fetches and judges one crate. The order must not change: bytes are checked
// before they are judged, and judged, with the index lines that were served, before they are
// kept or handed out.
func (p *Proxy) accept(f *flight) ([]byte, error) {
	ctx, cancel := context.WithTimeout(p.ctx, workTime)
	defer cancel()
	select {
	case p.jobs <- struct{}{}:
		defer func() { <-p.jobs }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w, err := p.release(ctx, f.name, f.version)
	if err != nil {
		return nil, err
	}
	raw, kept, err := p.fetch(ctx, w, &f.early)
	if err != nil {
		return nil, err
	}
	required, digest, err := p.Judge.Judge(ctx, w.Name, w.Version, w.Sum, raw)
	if err == nil && required {
		var lie *Lie
		if lie, err = p.agree(ctx, w, raw, digest); err != nil {
			return nil, err
		} else if lie != nil {
			err = lie
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err() // no verdict: there was no time for one
	} else if err != nil {
		p.Log.Warn("a crate is refused", "crate", w.Name, "version", w.Version, "reason", err)
		return nil, &Refusal{w.Name, w.Version, w.Sum, err}
	}
	if kept {
		return raw, nil
	}
	if err := p.Dir.crates.save(w.Sum, raw); err != nil {
		p.Log.Warn("an accepted crate could not be kept, and will be fetched again", "crate", w.Name, "version", w.Version,
			"error", err)
	}
	return raw, nil
}

// here returns the bytes that have a checksum, if they are on this machine.
func (p *Proxy) here(w Want) ([]byte, bool) {
	raw, ok := p.Dir.crates.load(w.Sum)
	if !ok && p.Local != nil {
		raw, ok = p.Local(w.Name, w.Version, w.Sum)
		ok = ok && sha256.Sum256(raw) == w.Sum
	}
	return raw, ok
}

// fetch returns the bytes that have a checksum: those that were kept, those that are on this
// machine, or the registry's.
func (p *Proxy) fetch(ctx context.Context, w Want, e *early) (raw []byte, kept bool, err error) {
	if raw, ok := p.here(w); ok {
		e.Write(raw)
		return raw, true, nil
	}
	if _, err := p.Upstream.Config(ctx); err != nil { // so that nothing but the .crate is fetched below
		return nil, false, err
	}
	if raw, err = p.Upstream.Download(context.WithValue(ctx, earlyKey{}, e), w.Name, w.Version, w.Sum); err != nil {
		p.known.Remove(strings.ToLower(w.Name)) // perhaps the index has changed since
	}
	return raw, false, err
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
	for range maxJobs {
		p.work.Add(1)
		go func() {
			defer p.work.Done()
			for {
				select {
				case <-p.ctx.Done():
					return
				case w := <-p.queue:
					ctx, cancel := context.WithTimeout(p.ctx, workTime)
					judge.Prefetch(ctx, w.Name, w.Version)
					cancel()
				}
			}
		}()
	}
}
