package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	maxKeyList = 4 << 20 // bytes of the list of proving keys

	// stalled is how long a log may take for the next bytes of a proving key.
	stalled = time.Minute
)

// ProvingKeys fetches the log's list of proving keys (docs/formats.md), whose reader must
// check what it says.
func (l *Log) ProvingKeys(ctx context.Context) ([]byte, error) {
	return l.get(ctx, maxKeyList, "v1", "keys")
}

// ProvingKey opens the proving key with a SHA-256, from the byte at which an earlier
// download was interrupted. What it returns begins at that byte, or at 0 if the log does
// not serve parts. Its reader must bound it, compare its hash and close it. Reading fails
// if nothing comes for a minute.
func (l *Log) ProvingKey(ctx context.Context, hash [32]byte, from int64) (body io.ReadCloser, at int64, err error) {
	u, err := l.address("v1", "keys", fmt.Sprintf("%x", hash))
	if err != nil {
		return nil, 0, err
	}
	err = l.patiently(ctx, func() error {
		body, at, err = l.part(ctx, u, from)
		return err
	})
	return body, at, err
}

// part asks once.
func (l *Log) part(ctx context.Context, u string, from int64) (io.ReadCloser, int64, error) {
	s := new(stream)
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.watch = time.AfterFunc(stalled, func() { s.cancel(errStalled) })
	at, err := l.begin(s, u, from)
	if err != nil {
		s.Close()
		return nil, 0, s.why(err)
	}
	return s, at, nil
}

// begin makes a request and returns where the answer, now the stream's, begins.
func (l *Log) begin(s *stream, u string, from int64) (at int64, err error) {
	r, err := http.NewRequestWithContext(s.ctx, http.MethodGet, u, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("User-Agent", cmp.Or(l.UserAgent, "cratelog-client"))
	r.Header.Set("Accept-Encoding", "identity") // a part is of the file as it is
	if from > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	c := l.client()
	c.Timeout = 0 // the stream has its own
	resp, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	s.body = resp.Body
	switch {
	case resp.StatusCode == http.StatusOK:
		return 0, nil
	case resp.StatusCode != http.StatusPartialContent || from == 0:
		return 0, refusal(resp)
	}
	var first, last, size int64
	h := resp.Header.Get("Content-Range")
	if _, err := fmt.Sscanf(h, "bytes %d-%d/%d", &first, &last, &size); err != nil || first != from || last != size-1 {
		return 0, fmt.Errorf("the log was asked for the bytes from %d on of %s, and answers with %q", from, u, h)
	}
	return from, nil
}

var errStalled = fmt.Errorf("the log has sent nothing for %v", stalled)

// stream is an answer whose next bytes must come in time.
type stream struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer
	body   io.ReadCloser
}

func (s *stream) Read(p []byte) (int, error) {
	s.watch.Reset(stalled)
	n, err := s.body.Read(p)
	if err != nil && err != io.EOF {
		err = s.why(err)
	}
	return n, err
}

// why says of a request that was cut off that it took too long, if that is so.
func (s *stream) why(err error) error {
	if cause := context.Cause(s.ctx); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

func (s *stream) Close() error {
	s.watch.Stop()
	s.cancel(nil)
	if s.body == nil {
		return nil
	}
	return s.body.Close()
}
