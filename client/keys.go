package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"cratelog/internal/durable"
)

const (
	maxKeyList = 4 << 20     // bytes of a log's list of proving keys
	keyIdle    = time.Minute // within which some of a proving key must come
)

// ProvingKeys fetches the log's list of the programs under which it accepts entries, with
// their proving keys: the JSON of /v1/keys (docs/formats.md).
func (l *Log) ProvingKeys(ctx context.Context) ([]byte, error) {
	return l.get(ctx, maxKeyList, "", "v1", "keys")
}

// ProvingKey opens the proving key with a SHA-256 at the byte from, and says where it was
// opened: at from, or at 0 where the server does not send parts. The body is as the log sends
// it, without a bound; it ends with an error when ctx does, or nothing comes for a minute.
func (l *Log) ProvingKey(ctx context.Context, sum [32]byte, from int64) (body io.ReadCloser, at int64, err error) {
	u, err := l.address("v1", "keys", hex.EncodeToString(sum[:]))
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	idle := time.AfterFunc(keyIdle, func() { cancel(errIdle) })
	end := func() {
		idle.Stop()
		cancel(nil)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		end()
		return nil, 0, err
	}
	r.Header.Set("Accept-Encoding", "identity") // of parts, and of what does not shrink
	if from > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	c := l.client()
	c.Timeout = 0 // a key is large, and lines are slow
	resp, err := l.send(c, r)
	if err != nil {
		end()
		return nil, 0, cause(ctx, err)
	}
	if resp.StatusCode == http.StatusPartialContent {
		at, err = partAt(resp, from)
	} else if resp.StatusCode != http.StatusOK {
		text, _ := durable.ReadAll(resp.Body, maxErrorBody) // the status is what matters
		err = &parseStatus(resp, text).StatusError
	}
	if err != nil {
		resp.Body.Close()
		end()
		return nil, 0, err
	}
	return &keyBody{resp.Body, ctx, idle, end}, at, nil
}

var errIdle = errors.New("nothing came from the log for a minute")

// cause is why ctx ended, if it has.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil && err != nil && err != io.EOF {
		return why
	}
	return err
}

// partAt reads where a part begins.
func partAt(resp *http.Response, from int64) (at int64, err error) {
	text := resp.Header.Get("Content-Range")
	if _, err := fmt.Sscanf(text, "bytes %d-", &at); err != nil || at != from || from == 0 {
		return 0, fmt.Errorf("the log was asked for a part from byte %d, and answers with the range %q", from, clip(text))
	}
	return at, nil
}

// keyBody is the body of an answer, which must keep coming.
type keyBody struct {
	io.ReadCloser
	ctx  context.Context
	idle *time.Timer
	end  func()
}

func (b *keyBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.idle.Reset(keyIdle)
	}
	return n, cause(b.ctx, err)
}

func (b *keyBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}
