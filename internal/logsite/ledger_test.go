package logsite

import (
	"net/http/httptest"
	"testing"
	"time"

	"cratelog/client"
	"cratelog/internal/testlog"
)

// TestALedgerFindsWhatIsLostDoubledAndForked hands a ledger what a log has promised, and then serves another log.
func TestALedgerFindsWhatIsLostDoubledAndForked(t *testing.T) {
	subs, err := Make("ledger", 3, 1000)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := subs[0].Entry, subs[1].Entry, subs[2].Entry
	for name, change := range map[string]struct {
		leaves                [][]byte // of the log that is served in the end, before its seal
		unsealed              bool     // a checkpoint without a seal was shown
		lost, doubled, forked int
	}{
		"a log that keeps its word":    {leaves: [][]byte{a, b, nil, c}},
		"an entry that is gone":        {leaves: [][]byte{a, nil, c}, lost: 1, forked: 1},
		"entries in another order":     {leaves: [][]byte{b, a}, lost: 2, forked: 1},
		"an entry that is there twice": {leaves: [][]byte{a, b, nil, c, c}, doubled: 1},
		"a log that went back":         {leaves: [][]byte{a}, lost: 1, forked: 1},
		"a checkpoint without a seal":  {leaves: [][]byte{a, b, nil, c}, unsealed: true, forked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			promised := testlog.New(Origin, 2, time.Now)
			promised.Tree.Append(a, b)
			signed := promised.Publish()
			policy := testlog.Must(client.ParsePolicy(promised.Trust("http://127.0.0.1:1")))
			l := NewLedger(policy)
			for i, s := range subs[:2] {
				if err := l.Acknowledged(s, time.Now(), promised.Tree.Bundle(int64(i), 3, signed)); err != nil {
					t.Fatal(err)
				}
			}
			if change.unsealed {
				if err := l.Saw(promised.Sign(promised.Tree, 2, promised.Witnesses...)); err != nil {
					t.Fatal(err)
				}
			}
			served := testlog.New(Origin, 2, time.Now)
			for _, leaf := range change.leaves {
				if leaf == nil {
					served.Tree.Seal()
				} else {
					served.Tree.Append(leaf)
				}
			}
			served.Publish()
			server := httptest.NewServer(served)
			defer server.Close()
			got, err := l.Balance(t.Context(), server.URL)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Lost) != change.lost || len(got.Doubled) != change.doubled || len(got.Forked) != change.forked ||
				got.Acknowledged != 2 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestALedgerTakesNothingFalse: neither another entry's bundle, nor what no quorum has cosigned.
func TestALedgerTakesNothingFalse(t *testing.T) {
	subs, err := Make("ledger", 2, 1000)
	if err != nil {
		t.Fatal(err)
	}
	log := testlog.New(Origin, 2, time.Now)
	log.Tree.Append(subs[0].Entry)
	signed := log.Publish()
	l := NewLedger(testlog.Must(client.ParsePolicy(log.Trust("http://127.0.0.1:1"))))
	if err := l.Acknowledged(subs[1], time.Now(), log.Tree.Bundle(0, 2, signed)); err == nil {
		t.Error("the bundle of another entry is taken")
	}
	if err := l.Saw(log.Sign(log.Tree, 2)); err == nil {
		t.Error("a checkpoint without witnesses is taken")
	}
	if n := l.Acknowledgements(); n != 0 {
		t.Errorf("%d entries are acknowledged", n)
	}
}
