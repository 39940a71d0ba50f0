package log

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"cratelog/entry"
	"cratelog/internal/testlog"
)

// weighing notes how much the entries take of which it is asked at once, and says that one of them is false.
type weighing struct {
	Proofs
	most, asked int
	false       string // version
}

func (w *weighing) Chains(all []*entry.Entry) ([]entry.Chain, []error) {
	n, errs := 0, make([]error, len(all))
	for i, e := range all {
		if n += e.Inflated(); e.Subject.Version == w.false {
			errs[i] = errors.New("it is false")
		}
	}
	w.most, w.asked = max(w.most, n), w.asked+len(all)
	return make([]entry.Chain, len(all)), errs
}

// TestStrangersThatInflateAreCheckedInParts: 64 leaves of 1 KiB carry manifests of 1 MiB.
func TestStrangersThatInflateAreCheckedInParts(t *testing.T) {
	var all []stranger
	for i := range uint64(64) {
		data := testlog.Must((&entry.Entry{
			Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "big", Version: fmt.Sprintf("1.0.%d", i)},
			Claim:   &entry.Source{Workspace: &entry.Workspace{Manifest: bytes.Repeat([]byte("#"), entry.MaxManifest)}},
			Proof:   entry.Proof{Parts: [][]byte{{1}}},
		}).Marshal())
		all = append(all, stranger{testlog.Must(newRow(i, data)), data})
	}
	w := &weighing{}
	l := &Log{cfg: Config{Proofs: w}}
	if err := l.checkStrangers(all); err != nil || w.asked != 64 || w.most > 32<<20 {
		t.Errorf("of %d entries up to %d MiB are held at once: %v", w.asked, w.most>>20, err)
	}
	for _, bad := range []string{"1.0.0", "1.0.40", "1.0.63"} {
		w.false = bad
		if err := l.checkStrangers(all); !errors.Is(err, errContradiction) {
			t.Errorf("a false proof of %s: %v", bad, err)
		}
	}
}
