package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
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

// TestADisagreementOfTheProcessesIsNotTheSubmitters: while settings or versions are exchanged, one process after the
// other, what the front end has found good is kept for a sequencer that knows it too.
func TestADisagreementOfTheProcessesIsNotTheSubmitters(t *testing.T) {
	for reason, final := range map[Reason]bool{MalformedRequest: false, MethodNotAllowed: false, NotFound: false,
		MalformedEntry: false, UnknownClaim: false, UnknownProgram: false, OpeningRefused: false, ShuttingDown: false,
		Starting: false, ProofInvalid: true, ProgramWithdrawn: true, SetWithdrawn: true, VersionConflict: true,
		TooManyClaims: true, Overloaded: true, StorageFailed: true, Halted: true, Frozen: true} {
		body := fmt.Sprintf(`{"reason":%q,"message":"It is refused."}`, reason)
		_, err := readForwarded(status(reason), http.Header{}, []byte(body))
		var r *Refusal
		if errors.As(err, &r) != final || err == nil || !strings.Contains(err.Error(), "It is refused.") {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// TestAnAnswerIsOneValue, and nothing behind it but space.
func TestAnAnswerIsOneValue(t *testing.T) {
	for raw, good := range map[string]bool{`{"index":7}`: true, "{\"index\":7} \n": true, `{"index":7}}`: false,
		`{"index":7}]`: false, `{"index":7}{}`: false, `{"index":7},`: false, `{"index":7,"more":1}`: false, ``: false} {
		idx, err := readForwarded(http.StatusOK, nil, []byte(raw))
		if (err == nil) != good || good && idx != 7 {
			t.Errorf("%q: %d, %v", raw, idx, err)
		}
	}
}
