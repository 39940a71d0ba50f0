package log

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/internal/testlog"
)

// TestAWaveHasABound: of a directory one batch, of a bucket so many that Tessera takes them all, and never more bytes
// than are left of the round. What is left over waits in its order.
func TestAWaveHasABound(t *testing.T) {
	for _, tt := range []struct {
		batch   uint
		cluster *Cluster
		waiting int
		room    int
		want    int
	}{
		{256, nil, 5000, maxRound, 256},
		{256, nil, 200, maxRound, 200},
		{256, &Cluster{}, 5000, maxRound, 1024},
		{256, &Cluster{}, 1000, maxRound, 1000},
		{511, &Cluster{}, 5000, maxRound, 2044},
		{512, &Cluster{}, 5000, maxRound, 2048},
		{513, &Cluster{}, 5000, maxRound, 2048},
		{2048, &Cluster{}, 5000, maxRound, 2048},
		{3000, &Cluster{}, 5000, maxRound, 3000}, // the operator's word
		{256, &Cluster{}, 5000, 700, 700},        // a byte each
		{256, &Cluster{}, 5000, 0, 0},
	} {
		name := fmt.Sprintf("%+v", tt)
		l := &Log{cfg: Config{Cluster: tt.cluster, Timing: Timing{BatchSize: tt.batch}}}
		for i := range tt.waiting {
			l.queue = append(l.queue, &reservation{submission: &submission{raw: []byte{byte(i)}}, idx: uint64(i)})
		}
		wave, wait := l.nextWave(tt.room, false)
		if len(wave) != tt.want || len(l.queue) != tt.waiting-tt.want || wait != 0 {
			t.Errorf("%s: %d are added, %d wait, for %v", name, len(wave), len(l.queue), wait)
		}
		for i, r := range append(wave, l.queue...) {
			if r.idx != uint64(i) {
				t.Fatalf("%s: number %d comes as number %d", name, r.idx, i)
			}
		}
	}
}

// TestAnEndWhileAnEntrysPlaceIsLookedUp says nothing of the disk: the entry may be in the log. Without an end it is
// the index that fails, and nothing is accepted until it does not.
func TestAnEndWhileAnEntrysPlaceIsLookedUp(t *testing.T) {
	l := &Log{leaves: newLeafMap(), log: slog.New(slog.DiscardHandler), retry: time.Second}
	l.index = testlog.Must(openIndex(t.Context(), filepath.Join(t.TempDir(), indexFile)))
	r := &reservation{submission: &submission{}}
	ended, end := context.WithCancel(t.Context())
	end()
	_, err := l.placed(ended, r, 0, nil)
	wantRefusal(t, err, NotPublished, "may be in it or not")
	if l.behind != nil || len(l.storageProblems()) > 0 {
		t.Errorf("the index is said to fail: %v", l.storageProblems())
	}
	fatalIf(t, l.index.close())
	_, err = l.placed(t.Context(), r, 0, nil)
	wantRefusal(t, err, StorageFailed, "An entry that it has accepted stays accepted")
	if all := strings.Join(l.storageProblems(), "; "); !strings.Contains(all, "nothing is accepted until it can") {
		t.Errorf("nothing says that the index fails: %q", all)
	}
}
