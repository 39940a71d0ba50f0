package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"cratelog/client"
	"cratelog/entry"
)

const (
	maxTries = 6                // of a submission to a busy log
	maxWait  = 10 * time.Minute // between two of them
)

// waiting is how long a submission waits for a busy log; tests replace it.
type waiting func(ctx context.Context, d time.Duration) error

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Submit hands an entry and its .crate to a log and returns the bundle, which must
// still be verified. A log that answers 429 or 503 and says when to come back is
// asked again then, several times; say is told of each wait. A refusal is a Refusal.
func Submit(ctx context.Context, log *client.Log, entryBytes, raw []byte, say func(wait time.Duration)) ([]byte, error) {
	return submit(ctx, log, entryBytes, raw, say, sleep)
}

func submit(ctx context.Context, log *client.Log, entryBytes, raw []byte, say func(time.Duration), wait waiting) ([]byte, error) {
	for try := 1; ; try++ {
		b, err := log.Submit(ctx, entryBytes, raw)
		var refused *client.SubmitError
		if !errors.As(err, &refused) {
			return b, err
		}
		busy := refused.Status == http.StatusTooManyRequests || refused.Status >= 500
		if !busy {
			return nil, Refusal{refusedWhy(refused)}
		}
		if refused.Status != http.StatusTooManyRequests && refused.Status != http.StatusServiceUnavailable ||
			refused.RetryAfter == 0 || refused.RetryAfter > maxWait || try == maxTries {
			return nil, fmt.Errorf("%w\nnothing is lost: run the same command again later", err)
		}
		say(refused.RetryAfter)
		if err := wait(ctx, refused.RetryAfter); err != nil {
			return nil, err
		}
	}
}

// refusedWhy adds what to do to a log's refusal.
func refusedWhy(e *client.SubmitError) error {
	if e.Status == http.StatusConflict {
		return fmt.Errorf("%w\nthe log holds another .crate of this version, as entry %d, and a version is logged once: publish those bytes, or a new version", e, e.Index)
	}
	return e
}

// CheckAnswer checks that a bundle is about the same subject and claim as an entry.
// Whether log and witnesses really signed it is for a policy to say.
func CheckAnswer(e *entry.Entry, bundle []byte) (*client.Proof, error) {
	p, err := client.ParseProof(bundle)
	if err != nil {
		return nil, err
	}
	got, err := entry.Parse(p.Extra)
	if err != nil {
		return nil, err
	}
	same, err := sameStatement(got, e)
	if err != nil {
		return nil, err
	}
	if !same {
		return nil, errors.New("it is about another subject or claim")
	}
	return p, nil
}

// sameStatement says whether two entries have one identity: the same subject and
// claim, whatever their proofs.
func sameStatement(a, b *entry.Entry) (bool, error) {
	x, err := a.Identity()
	if err != nil {
		return false, err
	}
	y, err := b.Identity()
	return x == y, err
}
