package log

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cratelog/internal/web"
)

// spool keeps the bodies of requests until they are answered: in memory, as long as there is room, and
// then in files. Together they take at most a number of bytes. Beyond it the client whose bodies take
// most loses the oldest of them, so that none can keep others out.
type spool struct {
	dir    string
	most   int64         // bytes, of all bodies
	memory int64         // of these, bytes that may be in memory
	speed  int64         // least bytes per second of an upload, on average
	grace  time.Duration // that an upload has beside
	now    func() time.Time

	mu       sync.Mutex
	bodies   map[string]map[*body]bool // owned by mu; by client
	taken    map[string]int64          // owned by mu; bytes, by client
	total    int64                     // owned by mu
	inMemory int64                     // owned by mu
	cut      uint64                    // owned by mu
	failed   error                     // owned by mu; the last failure of the disk
	failedAt time.Time                 // owned by mu
}

// Sizes of the spool.
const (
	spoolChunk   = 64 << 10
	mostInMemory = 2 << 20 // of one body
	spoolPrefix  = "upload-"
)

// spoolChunks are reused.
var spoolChunks = sync.Pool{New: func() any { return new([spoolChunk]byte) }}

// openSpool takes a directory, which it makes, and removes what a killed server left there. It needs the
// lock of the state directory.
func openSpool(dir string, d Door) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), spoolPrefix) {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	return &spool{dir: dir, most: d.SpoolBytes, memory: d.SpoolMemory, speed: d.LeastSpeed, grace: d.UploadGrace.Duration,
		now: time.Now, bodies: make(map[string]map[*body]bool), taken: make(map[string]int64)}, nil
}

// body is a request's, all of it.
type body struct {
	spool  *spool
	client string
	begun  time.Time
	stop   func() // makes its reader give up

	chunks []*[spoolChunk]byte // in memory, each full but the last
	last   int                 // bytes in the last chunk
	file   *os.File            // what follows them; nil: nothing does
	size   int64
	closed bool
	unread error // why the file could not be read; a *Refusal

	held int64 // bytes counted; owned by spool.mu
	lost bool  // another client needed the room; owned by spool.mu
}

// read reads the body of a request, which may have at most limit bytes. It waits only as long as the
// spool's least speed allows. Errors are Refusals. The body must be closed; beside an error it is, and only
// says how much came.
func (p *spool) read(w http.ResponseWriter, r *http.Request, limit int64, cut func()) (*body, error) {
	rc := http.NewResponseController(w)
	b := &body{spool: p, client: web.Client(r), begun: p.now()}
	b.stop = func() {
		_ = rc.SetReadDeadline(p.now()) // of a recorder in a test it has none
		cut()
	}
	p.enter(b)
	in := http.MaxBytesReader(w, r.Body, limit)
	for {
		_ = rc.SetReadDeadline(b.deadline())
		err := b.fill(in)
		if err == io.EOF {
			// From here on net/http watches whether the client leaves, for as long as an answer takes.
			_ = rc.SetReadDeadline(time.Time{})
			return b, b.cutError()
		}
		if err != nil {
			err = b.explain(err)
			b.close()
			return b, err
		}
	}
}

// skipPause is between two chunks of a body that is skipped: 1 MB/s.
const skipPause = 64 * time.Millisecond

// skip reads the body of a request that is refused, in the time that it would have to be accepted: a client
// that still writes would not see an early answer. One that waits to be asked for it is not. It does not
// hurry, so that whoever is told to wait does.
func (p *spool) skip(w http.ResponseWriter, r *http.Request, limit int64) {
	if r.Header.Get("Expect") != "" {
		return
	}
	rc, b := http.NewResponseController(w), &body{spool: p, begun: p.now()}
	for b.size < limit {
		_ = rc.SetReadDeadline(b.deadline())
		n, err := io.CopyN(io.Discard, r.Body, spoolChunk)
		if b.size += n; err != nil {
			return
		}
		time.Sleep(skipPause)
	}
}

// deadline is when the upload, as far as it has come, is too slow.
func (b *body) deadline() time.Time {
	p := b.spool
	return b.begun.Add(p.grace + time.Duration(float64(b.size)/float64(p.speed)*float64(time.Second)))
}

func (b *body) explain(err error) error {
	var tooLarge *http.MaxBytesError
	var refusal *Refusal
	switch {
	case b.cutError() != nil:
		return b.cutError()
	case errors.As(err, &refusal):
		return refusal
	case errors.As(err, &tooLarge):
		return refuse(CrateTooLarge, err, "The request has more than %d bytes, the limit of this log.", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(Timeout, err, "The upload was too slow: after %.0f s, %d bytes of it had come. This log waits %.0f s, "+
			"and a second more for each %d bytes. Try again, over a faster line if this one is slow.",
			b.spool.now().Sub(b.begun).Seconds(), b.size, b.spool.grace.Seconds(), b.spool.speed)
	}
	return refuse(MalformedRequest, err, "The body could not be read to its end.")
}

func (b *body) cutError() error {
	b.spool.mu.Lock()
	defer b.spool.mu.Unlock()
	if !b.lost {
		return nil
	}
	return later(Overloaded, 2*time.Second, nil, "The log has no room for all that is uploaded at this time, and your "+
		"address has more uploads than others: try again later, with fewer at a time.")
}

// fill reads once.
func (b *body) fill(r io.Reader) error {
	if b.file == nil && (len(b.chunks) == 0 || b.last == spoolChunk) {
		if b.size+spoolChunk > mostInMemory || !b.spool.takeMemory() {
			return b.toFile(r)
		}
		b.chunks, b.last = append(b.chunks, spoolChunks.Get().(*[spoolChunk]byte)), 0
	}
	if b.file != nil {
		return b.copyToFile(r)
	}
	n, err := r.Read(b.chunks[len(b.chunks)-1][b.last:])
	b.last += n
	return b.count(n, err)
}

// count adds what was read, for which there must be room.
func (b *body) count(n int, err error) error {
	b.size += int64(n)
	if roomErr := b.spool.take(b, int64(n)); roomErr != nil {
		return roomErr
	}
	return err
}

func (b *body) toFile(r io.Reader) error {
	f, err := os.CreateTemp(b.spool.dir, spoolPrefix+"*")
	if err == nil {
		b.file = f
		err = os.Remove(f.Name()) // it lives as long as it is open
	}
	if err != nil {
		return b.spool.fail(err, "The log has no room for uploads: try again later.")
	}
	return b.copyToFile(r)
}

func (b *body) copyToFile(r io.Reader) error {
	chunk := spoolChunks.Get().(*[spoolChunk]byte)
	defer spoolChunks.Put(chunk)
	n, err := r.Read(chunk[:])
	if _, fileErr := b.file.Write(chunk[:n]); fileErr != nil {
		return b.spool.fail(fileErr, "The log has no room for uploads: try again later.")
	}
	return b.count(n, err)
}

// fail takes note of a failure of the disk, and makes a refusal of it.
func (p *spool) fail(err error, words string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed, p.failedAt = err, p.now()
	return later(StorageFailed, 2*time.Second, err, "%s", words)
}

// failure returns the last failure of the disk, if it was within a time.
func (p *spool) failure(within time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now().Sub(p.failedAt) > within {
		return nil
	}
	return p.failed
}

// reader reads the body from its begin.
func (b *body) reader() io.Reader {
	var all []io.Reader
	for i, c := range b.chunks {
		n := spoolChunk
		if i == len(b.chunks)-1 {
			n = b.last
		}
		all = append(all, bytes.NewReader(c[:n]))
	}
	if b.file != nil {
		all = append(all, spooled{io.NewSectionReader(b.file, 0, b.size), b})
	}
	return io.MultiReader(all...)
}

// spooled is the file of a body, which says when the disk is to blame.
type spooled struct {
	file io.Reader
	body *body
}

func (s spooled) Read(b []byte) (int, error) {
	n, err := s.file.Read(b)
	if err != nil && err != io.EOF {
		err = s.body.spool.fail(err, "The log cannot read again what was uploaded: try again later.")
		s.body.unread = err
	}
	return n, err
}

// close forgets the body. It may be called again.
func (b *body) close() {
	if b.closed {
		return
	}
	b.closed = true
	b.spool.leave(b)
	for _, c := range b.chunks {
		spoolChunks.Put(c)
	}
	b.chunks = nil
	if b.file != nil {
		b.file.Close()
		b.file = nil
	}
}

func (p *spool) enter(b *body) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bodies[b.client] == nil {
		p.bodies[b.client] = make(map[*body]bool)
	}
	p.bodies[b.client][b] = true
}

func (p *spool) leave(b *body) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free(b)
	p.inMemory -= int64(len(b.chunks)) * spoolChunk
	if delete(p.bodies[b.client], b); len(p.bodies[b.client]) == 0 {
		delete(p.bodies, b.client)
		delete(p.taken, b.client)
	}
}

// free uncounts a body's bytes. The caller holds mu.
func (p *spool) free(b *body) {
	p.total -= b.held
	p.taken[b.client] -= b.held
	b.held = 0
}

func (p *spool) takeMemory() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inMemory+spoolChunk > p.memory {
		return false
	}
	p.inMemory += spoolChunk
	return true
}

// take counts n bytes of a body, for which another may have to go.
func (p *spool) take(b *body, n int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.lost {
		return errors.New("cut off")
	}
	b.held += n
	p.taken[b.client] += n
	p.total += n
	for p.total > p.most {
		victim := p.victim()
		if victim == nil {
			return fmt.Errorf("the spool's books are wrong: %d bytes of nobody", p.total)
		}
		victim.lost = true
		p.cut++
		p.free(victim)
		if victim == b {
			return errors.New("cut off")
		}
		victim.stop()
	}
	return nil
}

// victim returns the oldest body of the client that has most. The caller holds mu.
func (p *spool) victim() (oldest *body) {
	richest, most := "", int64(0)
	for client, n := range p.taken {
		if n > most {
			richest, most = client, n
		}
	}
	for b := range p.bodies[richest] {
		if b.held > 0 && (oldest == nil || b.begun.Before(oldest.begun)) {
			oldest = b
		}
	}
	return oldest
}

// full returns how many bytes are there, and how many bodies had to go.
func (p *spool) full() (bytes int64, cut uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total, p.cut
}
