package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/monitor/store"
)

const (
	fetchers = 8 // entry bundles requested from a log at a time
	inFlight = 2 * fetchers
	// maxBundle is the size of a full entry bundle with the largest entries.
	maxBundle = torchwood.TileWidth * (2 + entry.MaxSize)
	// writeBatch is how many entries are stored in one transaction.
	writeBatch   = 1024
	maxRedirects = 3
)

// errGarbled: what came is not what the specification asks for. It may be the log's
// fault, or that of whatever is in between.
var errGarbled = errors.New("garbled")

// remoteError is the fault of a log, a mirror, or the network.
type remoteError struct{ err error }

func (e *remoteError) Error() string { return e.err.Error() }
func (e *remoteError) Unwrap() error { return e.err }

// statusError is an answer that is not 200.
type statusError struct {
	url    string
	status int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answered %d %s", e.url, e.status, http.StatusText(e.status))
}

// checkURL refuses what would send questions over the network in the open.
func (m *Monitor) checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is not an absolute http or https URL without user, query and fragment", s)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "http" && !m.cfg.AllowHTTP && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q is plain http to another machine: use https, or set allow_http", s)
	}
	return nil
}

// get fetches a URL of at most limit bytes. Redirects stay on the same host.
func (m *Monitor) get(ctx context.Context, address string, limit int64) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", UserAgent)
	c := *m.cfg.HTTP
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if r.URL.Scheme != via[0].URL.Scheme || r.URL.Host != via[0].URL.Host || len(via) > maxRedirects {
			return http.ErrUseLastResponse
		}
		return nil
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		io.CopyN(io.Discard, resp.Body, 4096) // so that the connection can be used again
		return nil, &statusError{address, resp.StatusCode}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", errGarbled, address, limit)
	}
	return b, nil
}

// bundle fetches the first width entries of an entry bundle from one base URL.
//
// SPEC (tlog-tiles): "If a partial tile is not available, clients MAY fetch the full
// tile instead": a log may delete it once there is the full one.
func (m *Monitor) bundle(ctx context.Context, base string, n int64, width int) ([][]byte, error) {
	t := tlog.Tile{H: torchwood.TileHeight, L: -1, N: n, W: width}
	b, err := m.get(ctx, base+torchwood.TilePath(t), maxBundle)
	var status *statusError
	if errors.As(err, &status) && status.status == http.StatusNotFound && width < torchwood.TileWidth {
		t.W = torchwood.TileWidth
		full, fullErr := m.get(ctx, base+torchwood.TilePath(t), maxBundle)
		if fullErr != nil {
			return nil, err
		}
		b, err = full, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := parseBundle(b, t.W)
	if err != nil {
		return nil, fmt.Errorf("%w: %s%s %w", errGarbled, base, torchwood.TilePath(t), err)
	}
	return entries[:width], nil
}

// parseBundle takes an entry bundle of n entries apart.
//
// SPEC (tlog-tiles): "a sequence of big-endian uint16 length-prefixed log entries".
func parseBundle(b []byte, n int) ([][]byte, error) {
	entries := make([][]byte, 0, n)
	for range n {
		e, rest, err := torchwood.ReadTileEntry(b)
		if err != nil {
			return nil, fmt.Errorf("ends before its entry %d does", len(entries))
		}
		entries, b = append(entries, e), rest
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("holds %d bytes after its %d entries", len(b), n)
	}
	return entries, nil
}

// fetch gets a bundle from the log, or where that fails, from a mirror.
func (f *follower) fetch(ctx context.Context, n int64, width int) ([][]byte, error) {
	var errs []error
	for i, base := range f.bases {
		entries, err := f.m.bundle(ctx, base, n, width)
		if err == nil {
			if i > 0 {
				f.mirrored.Store(true)
			}
			return entries, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// job is the part of one bundle on its way into the store.
type job struct {
	from, to int64
	done     chan struct{} // closed when the fields below are set
	entries  []store.Entry
	err      error
}

// download fetches, checks and stores entries up to the size of a checkpoint:
//
//	bundles -> fetch (fetchers at a time) -> inspect (a core each) -> in order -> store
//
// What was stored before an error stays.
func (f *follower) download(ctx context.Context, t store.Checkpoint) error {
	p, err := f.store.Position(ctx, f.id)
	if err != nil {
		return err
	}
	if p.Downloaded >= t.Size {
		return nil
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	order := make(chan *job, inFlight)
	go f.produce(work, t, p.Downloaded, order)
	var batch []store.Entry
	flush := func() error {
		err := f.store.AppendEntries(ctx, f.id, batch)
		f.m.metrics.entries.Add(float64(len(batch)))
		batch = batch[:0]
		return err
	}
	for j := range order {
		select {
		case <-j.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if j.err != nil {
			if err := flush(); err != nil {
				return err
			}
			return j.err
		}
		if batch = append(batch, j.entries...); len(batch) >= writeBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return flush()
}

// produce starts the jobs in order; at most inFlight wait in the channel.
func (f *follower) produce(ctx context.Context, t store.Checkpoint, from int64, order chan<- *job) {
	defer close(order)
	fetching, inspecting := make(chan struct{}, fetchers), make(chan struct{}, cores())
	for from < t.Size {
		n := from / torchwood.TileWidth
		j := &job{from: from, to: min((n+1)*torchwood.TileWidth, t.Size), done: make(chan struct{})}
		select {
		case order <- j:
		case <-ctx.Done():
			return
		}
		select {
		case fetching <- struct{}{}:
		case <-ctx.Done():
			return
		}
		go func() {
			defer close(j.done)
			raw, err := f.fetch(ctx, n, int(j.to-n*torchwood.TileWidth))
			<-fetching
			if err != nil {
				j.err = &remoteError{fmt.Errorf("entries %d to %d: %w", j.from, j.to-1, err)}
				return
			}
			inspecting <- struct{}{}
			defer func() { <-inspecting }()
			j.entries = f.inspect(raw[j.from-n*torchwood.TileWidth:], j.from, t)
		}()
		from = j.to
	}
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(string(b[:min(len(b), 1024)]), "\n")
	return line
}
