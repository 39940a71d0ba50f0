package witness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// checkFork verifies a fork as a stranger would, with nothing but the log's
// key.
func checkFork(t *testing.T, l testLog, f Fork) {
	t.Helper()
	v := testlog.Must(note.NewVerifier(l.VKey))
	var trees []torchwood.Checkpoint
	for _, signed := range []string{f.A, f.B} {
		n := testlog.Must(note.Open([]byte(signed), note.VerifierList(v)))
		c := testlog.Must(torchwood.ParseCheckpoint(n.Text))
		trees = append(trees, c)
	}
	if trees[0].Origin != l.KeyName || trees[1].Origin != l.KeyName || trees[0].N != f.Size || trees[1].N != f.Size || trees[0].Hash == trees[1].Hash {
		t.Errorf("no fork: %q and %q", f.A, f.B)
	}
}

func TestTwoSignedTreesOfOneSizeBecomeTransferableProof(t *testing.T) {
	l := newLog()
	evil := l.fork(3, "fork")
	for name, test := range map[string]struct {
		requests []string // after size 7 of l was cosigned
		code     int
	}{
		"same size as the cosigned one":       {[]string{request(7, nil, evil.signed(7))}, 422},
		"with the wrong old size":             {[]string{request(3, evil.proof(3, 7), evil.signed(7))}, 409},
		"with extension lines":                {[]string{request(7, nil, l.sign(evil.Head(7)+"x\n"))}, 422},
		"refused first, then the other grows": {[]string{request(7, nil, evil.signed(9)), l.Request(7, 9)}, 200},
		"two refused ones":                    {[]string{request(7, nil, evil.signed(12)), request(7, nil, l.signed(12))}, 422},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t, l)
			w := openAt(t, cfg, l, 7)
			url := serve(t, w)
			var got reply
			for range 3 { // repeating changes nothing
				for _, body := range test.requests {
					got = post(t, url, body)
					if got.code == 409 && test.code == 200 {
						got.code = 200 // the log has grown on the first round
					}
				}
			}
			if got.code != test.code {
				t.Errorf("status %d %q, want %d", got.code, got.body, test.code)
			}
			var forks []Fork
			check0(t, json.Unmarshal([]byte(get(t, url+"/"+originHash(l.KeyName)+"/forks").body), &forks))
			if len(forks) != 1 {
				t.Fatalf("%d forks on record, want 1", len(forks))
			}
			checkFork(t, l, forks[0])
			if !strings.Contains(get(t, url+"/metrics").body, "cratelog_witness_log_forks{origin=\"log.example\"} 1\n") {
				t.Error("the metric does not show the fork")
			}
			w = reopen(t, w, cfg)
			if again, err := w.Forks(t.Context(), l.KeyName); err != nil || len(again) != 1 || again[0] != forks[0] {
				t.Errorf("after a restart: %v, %v", again, err)
			}
		})
	}
}

// What an attacker can send with an honest log's checkpoints must not look like
// proof, and what the log did not sign must leave no trace at all.
func TestStrangersCannotMakeEvidenceAgainstAnHonestLog(t *testing.T) {
	l := newLog()
	evil := l.fork(3, "fork")
	const mallory = "mallory"
	for name, test := range map[string]struct {
		body     string
		rejected int
	}{
		"not signed by the log":      {request(7, nil, sign(evil.Head(7), l.KeyName, mallory)), 0},
		"malformed":                  {"old 7\n\n" + evil.Head(7), 0},
		"stale old":                  {l.Request(5, 20), 0},
		"old too large":              {request(25, nil, l.signed(20)), 0},
		"refresh with a proof":       {request(7, l.proof(5, 7), l.signed(7)), 0},
		"older checkpoint":           {request(7, nil, l.signed(5)), 0},
		"a junk proof":               {request(7, make([]tlog.Hash, 3), l.signed(20)), 1},
		"another junk proof":         {request(7, make([]tlog.Hash, 4), l.signed(20)), 1},
		"a junk proof, another size": {request(7, nil, l.signed(21)), 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := openAt(t, newConfig(t, l), l, 7)
			if _, err := w.AddCheckpoint(t.Context(), []byte(test.body)); err == nil {
				t.Fatal("cosigned")
			}
			rejected := testlog.Must(w.Rejected(t.Context(), l.KeyName))
			forks := testlog.Must(w.Forks(t.Context(), l.KeyName))
			if len(rejected) != test.rejected || len(forks) != 0 {
				t.Errorf("%d rejected and %d forks on record, want %d and 0", len(rejected), len(forks), test.rejected)
			}
		})
	}
}

func TestARejectedRequestKeepsAllThatAPersonNeeds(t *testing.T) {
	l := newLog()
	evil := l.fork(3, "fork")
	w := openAt(t, newConfig(t, l), l, 7)
	held := testlog.Must(w.Checkpoint(t.Context(), l.KeyName))
	unknown := "— unknown.example AAAAAAAA\n"
	body := request(7, evil.proof(7, 20), evil.signed(20)+unknown)
	wantStatus(t, w, body, 422)
	all := testlog.Must(w.Rejected(t.Context(), l.KeyName))
	want := Rejected{
		Origin: l.KeyName, Size: 20, Reason: "proof", Old: 7, Proof: formatProof(evil.proof(7, 20)),
		Signed: evil.signed(20), Held: string(held), Seen: newClock().now().UTC(),
	}
	if len(all) != 1 || all[0] != want {
		t.Errorf("recorded %+v\nwant %+v", all, want)
	}
}

func TestEvidenceIsBoundedAndReplaysChangeNothing(t *testing.T) {
	const n = 3 * MaxRejected
	l := newTestLog("log.example", n+20)
	quiet := newTestLog("log.example/quiet", 40)
	w := openAt(t, newConfig(t, l, quiet), l, 7)
	junk := func(size int64) {
		t.Helper()
		wantStatus(t, w, request(7, nil, l.signed(size)), 422)
	}
	for size := int64(8); size < 8+n; size++ {
		junk(size)
	}
	all := testlog.Must(w.Rejected(t.Context(), l.KeyName))
	if len(all) != MaxRejected || all[0].Size != 8+n-MaxRejected || all[MaxRejected-1].Size != 7+n {
		t.Errorf("%d records from size %d; want the %d largest sizes", len(all), all[0].Size, MaxRejected)
	}
	var before, after int
	changes := func(into *int) {
		check0(t, w.store.db.QueryRowContext(t.Context(), "SELECT total_changes()").Scan(into))
	}
	changes(&before)
	for size := int64(8); size < 8+n; size++ {
		junk(size)
	}
	if changes(&after); after != before {
		t.Errorf("replays changed %d rows", after-before)
	}
	// One log's noise takes nothing from another's quota.
	if _, err := w.AddCheckpoint(t.Context(), []byte(quiet.Request(0, 5))); err != nil {
		t.Error(err)
	}
	wantStatus(t, w, request(5, nil, quiet.signed(9)), 422)
	if all, err := w.Rejected(t.Context(), quiet.KeyName); err != nil || len(all) != 1 {
		t.Errorf("the quiet log has %d records, %v", len(all), err)
	}
}

func TestForksAreBoundedAndTheFirstStay(t *testing.T) {
	l := newLog()
	w := openAt(t, newConfig(t, l), l, 7)
	for i := range 2 * MaxForks {
		evil := newTestLog("log.example", 7).fork(3, fmt.Sprintf("fork %d", i))
		wantStatus(t, w, request(7, nil, evil.signed(7)), 422)
	}
	forks := testlog.Must(w.Forks(t.Context(), l.KeyName))
	if len(forks) != MaxForks {
		t.Errorf("%d forks, want %d", len(forks), MaxForks)
	}
	for _, f := range forks {
		checkFork(t, l, f)
	}
	first := newTestLog("log.example", 7).fork(3, "fork 0")
	if !strings.Contains(forks[0].A+forks[0].B, first.signed(7)) {
		t.Error("the first fork is gone")
	}
}

// A log that shows a fork and hangs up must not be forgotten, and a log that has
// enough other cosignatures must not look like one that forks.
func TestHangingUpKeepsNothingOffTheRecord(t *testing.T) {
	l := newLog()
	evil := l.fork(3, "fork")
	w := openAt(t, newConfig(t, l), l, 7)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	// Whether the request gets its turn before it is seen to be gone is left to chance.
	for range 1000 {
		_, err := w.AddCheckpoint(gone, []byte(request(7, nil, evil.signed(7))))
		if errors.Is(err, ErrFork) {
			break
		} else if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	forks, err := w.Forks(t.Context(), l.KeyName)
	if err != nil || len(forks) != 1 {
		t.Fatalf("%d forks on record, want 1; %v", len(forks), err)
	}
	checkFork(t, l, forks[0])
}
