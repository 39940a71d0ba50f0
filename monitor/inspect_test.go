package monitor

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

// weighing notes how much the entries take of which it is asked at once, and says that those about 1.0.N with an odd N
// are false.
type weighing struct {
	entry.BatchVerifier
	most, asked int
}

func (w *weighing) Chains(all []*entry.Entry) ([]entry.Chain, []error) {
	n, errs := 0, make([]error, len(all))
	for i, e := range all {
		n += e.Inflated()
		if v := e.Subject.Version; (v[len(v)-1]-'0')%2 == 1 {
			errs[i] = errors.New("false")
		}
	}
	w.most, w.asked = max(w.most, n), w.asked+len(all)
	return make([]entry.Chain, len(all)), errs
}

// TestEntriesThatInflateAreInspectedInParts: 64 leaves of 1 KiB carry manifests of 1 MiB.
func TestEntriesThatInflateAreInspectedInParts(t *testing.T) {
	var raw [][]byte
	for i := range 64 {
		raw = append(raw, testlog.Must((&entry.Entry{
			Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "big", Version: fmt.Sprintf("1.0.%d", i)},
			Claim:   &entry.Source{Workspace: &entry.Workspace{Manifest: bytes.Repeat([]byte("#"), entry.MaxManifest)}},
			Proof:   entry.Proof{Parts: [][]byte{{1}}},
		}).Marshal()), []byte("no leaf"))
	}
	w := &weighing{}
	f := &follower{cfg: &Config{Proofs: w, Now: time.Now}}
	rows := f.inspect(raw, 0, store.Checkpoint{})
	for i, r := range rows {
		want := map[bool]string{true: kindMalformed, false: map[bool]string{true: kindFalseEntry}[i/2%2 == 1]}[i%2 == 1]
		if r.Index != int64(i) || r.Reason != want {
			t.Errorf("leaf %d, %d: %q instead of %q", i, r.Index, r.Reason, want)
		}
	}
	if w.asked != 64 || w.most > 32<<20 {
		t.Errorf("of %d entries up to %d MiB are held at once", w.asked, w.most>>20)
	}
}
