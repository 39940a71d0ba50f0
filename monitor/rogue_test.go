package monitor

import (
	"bytes"
	"crypto/ed25519"
	"net/http"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"

	"cratelog/build"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

func TestAnHonestLogIsVerifiedAndAccusedOfNothing(t *testing.T) {
	w := newWorld(t)
	for size, step := int64(0), int64(0); step < 6; step++ {
		n := []int64{2, 254, 2, 2, 300, 700}[step]
		w.grow(n)
		size += n
		w.clean(size)
	}
	w.open()
	w.clean(w.log.Tree.Size())
	w.found()
	e, ok, err := w.cfg.Store.EntryAt(t.Context(), 1, 700)
	fatalIf(t, err)
	if !ok || e.Name != "crate-700" || e.Verdict != store.OK || e.Covered != 1260 || !e.Logged.Equal(w.clock()) || !bytes.Equal(e.Data, w.log.Tree.Leaves[700]) {
		t.Errorf("entry %+v", e)
	}
}

// misbehaviors are what a log can do to be convicted or suspected of, after 300
// honest entries that the monitor has verified.
var misbehaviors = []struct {
	name string
	do   func(w *world)
	want []string
}{
	{"a fork of equal size, shown by the log", func(w *world) {
		w.log.ServeSigned(w.fork(298, 2), 300, w.log.Witnesses[:2]...)
	}, []string{kindForkSameSize, kindCosignerFork, kindCosignerFork}},
	{"a larger fork, shown by the log", func(w *world) {
		w.log.ServeSigned(w.fork(200, 200), 400, w.log.Witnesses[:2]...)
	}, []string{kindForkPrefix, kindCosignerFork, kindCosignerFork}},
	{"a larger fork of which the log lost the hashes", func(w *world) {
		w.log.ServeSigned(w.fork(200, 200), 400, w.log.Witnesses[:2]...)
		w.log.Intercept(testlog.Answer("/tile/0/", http.StatusNotFound, nil))
	}, []string{kindRootMismatch}},
	{"a smaller fork, shown by a witness", func(w *world) {
		w.log.Show(w.log.Witnesses[2], w.log.Sign(w.fork(99, 2), 101, w.log.Witnesses[2]))
	}, []string{kindForkPrefix, kindCosignerFork}},
	{"a fork of equal size without cosignatures, in gossip", func(w *world) {
		w.gossip(w.log.Sign(w.fork(298, 2), 300), store.Inconsistent)
	}, []string{kindForkSameSize}},
	{"two trees of a size that is not reached yet", func(w *world) {
		for n := range int64(2) {
			other := w.fill(w.log.Tree.Fork(300), 1000+n, 1, nil)
			w.gossip(w.log.Sign(other, 301, w.log.Witnesses[n]), store.Pending)
		}
	}, []string{kindForkSameSize}},
	{"a false proof", func(w *world) {
		w.logs(1000, func(e *entry.Entry) { e.Proof.Parts = [][]byte{[]byte("lie")} })
	}, []string{kindFalseEntry}},
	{"a leaf that is no entry", func(w *world) {
		w.log.Add([]byte("hello"), []byte{})
	}, []string{kindMalformed, kindMalformed}},
	{"two checksums for one version", func(w *world) {
		w.logs(7, func(e *entry.Entry) { e.Subject.SHA256[0]++ })
	}, []string{kindVoid}},
	{"the same twice", func(w *world) {
		w.logs(7, func(e *entry.Entry) { e.Proof.Parts = append(e.Proof.Parts, []byte("again")) })
	}, []string{kindRepeat}},
	{"a program that the monitor does not accept", func(w *world) {
		w.logs(1000, func(e *entry.Entry) { e.Proof.Program[0]++ })
	}, []string{kindUnknownProgram}},
	{"a claim of a kind that is not known yet", func(w *world) {
		w.log.Add(bytes.Replace(newEntry(w.t, 1000, nil), []byte("\x66source\x02\x02"), []byte("\x66source\x02\x03"), 1))
	}, []string{kindUnknownClaim}},
	{"an unproven manifest", func(w *world) {
		w.logs(1000, func(e *entry.Entry) { e.Claim.(*entry.Source).Unproven = []string{"Cargo.lock", "Cargo.toml"} })
	}, []string{kindUnproven}},
	{"two builders who disagree", func(w *world) {
		w.log.Add(ann.says(rebuilders, 7, 1), bob.says(rebuilders, 7, 2), cat.says(rebuilders, 7, 1), ann.says(rebuilders, 8, 1), bob.says(rebuilders, 8, 1))
	}, []string{kindDissent}},
	{"two builders of a set that nobody knows here", func(w *world) {
		w.log.Add(ann.says(strangers, 7, 1), eve.says(strangers, 7, 2), bob.says(rebuilders, 7, 1))
	}, []string{kindOtherDissent}},
	{"a builder who says two things", func(w *world) {
		w.log.Add(ann.says(rebuilders, 7, 1), bob.says(rebuilders, 7, 1), ann.says(rebuilders, 7, 2), ann.says(rebuilders, 7, 3))
	}, []string{kindBuilder, kindDissent}},
	{"a builder who says two things, one of which the log refuses", func(w *world) {
		w.log.Add(ann.says(rebuilders, 7, 1))
		w.log.Intercept(w.contradictions(1, ann.against(7, 1, 2), ann.against(7, 1, 3)))
	}, []string{kindBuilder}},
	{"a builder whom the log accuses falsely", func(w *world) {
		w.log.Add(ann.says(rebuilders, 7, 1))
		file := ann.against(7, 1, 2)
		at := bytes.Index(file, []byte("statement ")) + 300
		file[at] ^= 1
		w.log.Intercept(w.contradictions(1, file, []byte("no evidence")))
	}, nil},
	{"a builder of a set that the log has made up", func(w *world) {
		madeUp, bobs := setOf("rebuilders", ann, bob), newBuilder("bob")
		bobs.key = ed25519.NewKeyFromSeed(make([]byte, 32))
		bobs.vkey = testlog.Must(build.NewVKey("bob", bobs.key.Public())).String()
		madeUp.Members[1].VKey = bobs.vkey
		e := testlog.Must(evidence.NewBuilderContradiction(bobs.says(madeUp, 7, 1), bobs.says(madeUp, 7, 2),
			[][]byte{testlog.Must(madeUp.Marshal())}, nil, evidence.Meta{Observed: time.Unix(1, 0)}))
		w.log.Intercept(w.contradictions(1, testlog.Must(e.Marshal())))
	}, nil},
	{"a build whose source nobody has logged", func(w *world) {
		w.log.Add(ann.says(rebuilders, 1007, 1))
	}, []string{kindSourceless}},
	{"a build that is logged before its source", func(w *world) {
		w.log.Add(ann.says(rebuilders, 300, 1), newEntry(w.t, 300, nil))
	}, []string{kindSourceless}},
	{"a build of another checksum", func(w *world) {
		w.log.Add(entryOf(ann.says(rebuilders, 7, 1), func(e *entry.Entry) { e.Subject.SHA256[0]++ }, ann))
	}, []string{kindVoid, kindSourceless}},
	{"a build that nobody has signed", func(w *world) {
		w.log.Add(ann.says(rebuilders, 7, 1), entryOf(ann.says(rebuilders, 7, 2), func(e *entry.Entry) { e.Proof.Parts[1][9] ^= 1 }, builder{}))
	}, []string{kindFalseEntry}},
	{"entries that do not give the root", func(w *world) {
		w.grow(100)
		other := w.log.Tree.With(350, newEntry(w.t, 1000, nil))
		w.log.Intercept(serveBundles(other))
	}, []string{kindRootMismatch}},
	{"a rollback", func(w *world) {
		w.log.ServeSigned(w.log.Tree, 200, w.log.Witnesses...)
		w.once()
		w.later(5 * time.Minute)
	}, []string{kindRollback}},
	{"an old checkpoint for us, a new one for others", func(w *world) {
		old := w.log.Sign(w.log.Tree, 300, w.log.Witnesses...)
		w.grow(100)
		w.log.Serve(w.log.Tree, 300, old)
		for range 3 {
			w.once()
			w.later(50 * time.Minute) // not older than allowed
			w.log.ServeSigned(w.log.Tree, 300, w.log.Witnesses...)
		}
	}, []string{kindLogBehind, kindEntriesUnavailable}},
	{"a checkpoint that grows old", func(w *world) {
		w.later(2 * time.Hour)
	}, []string{kindStale}},
	{"a log that hides entries", func(w *world) {
		w.grow(100)
		w.log.Intercept(testlog.Answer("/tile/entries/001", http.StatusNotFound, nil))
		w.once()
		w.later(30 * time.Minute)
	}, []string{kindEntriesUnavailable}},
	{"no quorum", func(w *world) {
		w.log.ServeSigned(w.log.Tree, 300, w.log.Witnesses[0])
		w.once()
		w.later(30 * time.Minute)
	}, []string{kindQuorumLost}},
}

// serveBundles serves the entry bundles of another tree.
func serveBundles(t *testlog.Tree) func(rw http.ResponseWriter, r *http.Request) bool {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		b, err := t.Tile(t.Size(), strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil || !strings.HasPrefix(r.URL.Path, "/tile/entries/") {
			return false
		}
		rw.Write(b)
		return true
	}
}

func TestEachMisbehaviorIsFoundNamedAndEvidencedOnce(t *testing.T) {
	for _, x := range misbehaviors {
		t.Run(x.name, func(t *testing.T) {
			w := verifiedWorld(t, 300)
			x.do(w)
			w.found(x.want...)
			security := false
			for _, kind := range x.want {
				security = security || classes[kind] == store.Security
			}
			if code := w.once().ExitCode(); security != (code == 1) {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// troubled are things that happen to honest logs. What the world looks like is
// spoilt, then looked at for a long time, then mended.
var troubled = []struct {
	name  string
	spoil func(w *world) (mend func())
	want  []string // while it lasts
}{
	{"the log is down", func(w *world) func() {
		return w.intercept(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/checkpoint" || strings.HasPrefix(r.URL.Path, "/tile/") {
				http.Error(rw, "down", http.StatusBadGateway)
				return true
			}
			return false
		})
	}, []string{kindLogUnreachable}},
	{"something else answers", func(w *world) func() {
		return w.intercept(testlog.Answer("/", http.StatusOK, []byte("<html>Please log in to this network</html>")))
	}, []string{kindLogGarbled, kindWitnessUnreachable, kindWitnessUnreachable, kindWitnessUnreachable}},
	{"a witness is down", func(w *world) func() {
		return w.intercept(testlog.Answer("/w2/", http.StatusServiceUnavailable, nil))
	}, []string{kindWitnessUnreachable}},
	{"a witness shows a checkpoint without its cosignature", func(w *world) func() {
		w.log.Show(w.log.Witnesses[0], w.log.Sign(w.log.Tree, 300, w.log.Witnesses[1]))
		return func() {}
	}, []string{kindWitnessUnreachable}},
	{"entries are cut off on their way", func(w *world) func() {
		return w.intercept(testlog.Answer("/tile/entries/", http.StatusOK, []byte{0, 200, 1, 2, 3}))
	}, []string{kindEntriesUnavailable}},
	{"entries are too large", func(w *world) func() {
		return w.intercept(testlog.Answer("/tile/entries/", http.StatusOK, make([]byte, 20<<20)))
	}, []string{kindEntriesUnavailable}},
	{"entries are damaged differently each time", func(w *world) func() {
		n := byte(0)
		return w.intercept(func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/tile/entries/001") {
				return false
			}
			b := testlog.Must(w.log.Tree.Tile(w.log.Tree.Size(), strings.TrimPrefix(r.URL.Path, "/")))
			n++
			b[len(b)-1] = n
			rw.Write(b)
			return true
		})
	}, []string{kindEntriesUnavailable}},
}

func (w *world) intercept(f func(rw http.ResponseWriter, r *http.Request) bool) func() {
	w.log.Intercept(f)
	return func() { w.log.Intercept(nil) }
}

func TestHonestTroubleIsNeverAnAttackAndEnds(t *testing.T) {
	for _, x := range troubled {
		t.Run(x.name, func(t *testing.T) {
			w := verifiedWorld(t, 290)
			w.grow(10)
			mend := x.spoil(w)
			if code := w.once().ExitCode(); code != 3 {
				t.Errorf("exit code %d, want 3: operational", code)
			}
			if n := len(w.findings()); n != 0 {
				t.Errorf("%d findings at the first sign of trouble", n)
			}
			w.later(59 * time.Minute)
			w.log.Publish() // fresh cosignatures
			if x.spoil(w); x.name == "a witness shows a checkpoint without its cosignature" {
				mend = func() { w.log.Publish() }
			}
			w.once()
			w.later(2 * time.Minute)
			w.found(x.want...)
			w.noAttack()
			mend()
			w.clean(300)
			standing := testlog.Must(w.cfg.Store.CountStanding(t.Context()))
			if standing[store.Operational] != 0 {
				t.Errorf("it is over, and %d findings stand", standing[store.Operational])
			}
		})
	}
}

func TestAMirrorHelpsOutAndIsBelievedNoMoreThanTheLog(t *testing.T) {
	w := newWorld(t)
	mirror, stop := w.mirror()
	defer stop()
	w.cfg.Logs[0].Mirrors = []string{mirror}
	w.open()
	w.grow(300)
	w.log.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/tile/") && r.Header.Get("X-Mirror") == "" {
			http.Error(rw, "lost", http.StatusNotFound)
			return true
		}
		return false
	})
	w.clean(300)
}

// TestALogIsNotAccusedOfWhatOnlyAMirrorServes: while the log hands out no entries, a mirror hands out wrong ones.
func TestALogIsNotAccusedOfWhatOnlyAMirrorServes(t *testing.T) {
	w := newWorld(t)
	mirror, stop := w.mirror()
	defer stop()
	w.cfg.Logs[0].Mirrors = []string{mirror}
	w.open()
	w.grow(300)
	wrong := testlog.Must(torchwood.AppendTileEntry(nil, newEntry(t, 7, nil)))
	w.log.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		switch {
		case !strings.HasPrefix(r.URL.Path, "/tile/entries/"):
		case r.Header.Get("X-Mirror") == "":
			http.Error(rw, "away", http.StatusServiceUnavailable)
			return true
		case strings.HasPrefix(r.URL.Path, "/tile/entries/001"):
			rw.Write(bytes.Repeat(wrong, 300-256))
			return true
		}
		return false
	})
	w.once()
	w.noAttack()
	w.log.Intercept(nil)
	w.clean(300)
}
