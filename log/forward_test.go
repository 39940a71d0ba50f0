package log

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestWhatWasNeverSentIsNotSaidToBeAccepted: a sequencer whose machine is silent is still being connected to when the
// submitter's time is over.
func TestWhatWasNeverSentIsNotSaidToBeAccepted(t *testing.T) {
	q := newSequencer(&Cluster{Secret: make([]byte, leastSecret)}, nil, slog.New(slog.DiscardHandler))
	q.holder = holding{held: true, address: "http://silent.example", epoch: 1, until: time.Now().Add(time.Minute)}
	dialing := make(chan struct{}, 1)
	q.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialing <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-dialing; cancel() }()
	_, sent, err := q.ask(ctx, []byte("an entry"))
	if sent || !errors.Is(err, errElsewhere) {
		t.Errorf("sent %v: %v", sent, err)
	}
}
