package verdict

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cratelog/client"
	"cratelog/evidence"
	"cratelog/internal/testlog"
)

// forkFiles returns the n files of evidence that a place holds, as a stranger with the keys
// verifies them.
func (p *place) forkFiles(l *fakeLog, n int) (paths []string) {
	p.t.Helper()
	var wits []string
	for _, w := range l.Witnesses {
		wits = append(wits, w.VKey)
	}
	keys, err := evidence.NewKeys([]string{l.VKey}, wits)
	fatalIf(p.t, err)
	for _, f := range p.files("state") {
		if !strings.HasSuffix(f, ".evidence") {
			continue
		}
		e, err := evidence.Read(f)
		fatalIf(p.t, err)
		c, err := evidence.Verify(e, keys, nil)
		if err != nil || c.Who != "log "+l.KeyName || len(c.Also) != 3 {
			p.t.Errorf("%s: %+v, %v", f, c, err)
		}
		paths = append(paths, f)
	}
	if len(paths) != n {
		p.t.Fatalf("not %d files of evidence: %q", n, paths)
	}
	return paths
}

func TestAGrowingLogIsShownToBeConsistent(t *testing.T) {
	l, p, wants := hello(t, dev)
	for _, size := range []int64{8, 100, 256, 257, 299, 300} {
		l.pad(size, "later")
	}
	for _, size := range []int64{7, 8, 256, 257, 300} { // each verifies under another checkpoint
		l.show(size)
		p.forget()
		verified(t, p.all(wants[0]))
	}
	l.asked()
	// Older ones are shown to be in the remembered one, in any order, and but once.
	for _, size := range []int64{100, 7, 299, 100} {
		l.show(size)
		p.forget()
		verified(t, p.all(wants...))
	}
	if reqs := l.requests; len(reqs) > 12+2*3 {
		t.Errorf("%d requests: %q", len(reqs), reqs)
	}
	l.server.Close()
	verified(t, p.all(wants...))
	p.forkFiles(l, 0)
}

func TestManyCheckpointsCostFewRequests(t *testing.T) {
	l := newLog(t, "log.example/a")
	p := newPlace(t, dev, l)
	var wants []Want
	for i := range 40 {
		name := fmt.Sprintf("crate-%d", i)
		raw, e := forged(t, name, "1.0.0")
		l.add(e)
		wants = append(wants, p.want(name, "1.0.0", raw))
	}
	// Every bundle is under the checkpoint that was the newest when it was made.
	l.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		var i int64
		_, err := fmt.Sscanf(r.URL.Path, "/v1/crates/crate-%d/1.0.0", &i)
		if err == nil {
			w.Write(l.bundle(l.Tree, 2*i, 2*i+2))
		}
		return err == nil
	})
	verified(t, p.all(wants...))
	if n := l.asked(); n > 2*len(wants) {
		t.Errorf("%d requests", n)
	}
	verified(t, p.all(wants...))
	l.wasAsked(t, 0)
}

func TestAForkStopsEverythingAndLeavesEvidence(t *testing.T) {
	for name, c := range map[string]struct {
		then func(l *fakeLog, other *testlog.Tree)
		what string
	}{
		"same size": {func(l *fakeLog, other *testlog.Tree) { l.become(grown(other, 8, "other")) },
			"both of 8 entries, with the roots "},
		"a larger tree without the past": {func(l *fakeLog, other *testlog.Tree) { l.become(grown(other, 12, "other")) },
			"the one of 12 entries does not begin with the one of 8"},
		"an older bundle of another past": {func(l *fakeLog, other *testlog.Tree) {
			l.says("/v1/", http.StatusOK, l.bundle(grown(other, 7, "other"), 3, 7))
		}, "the one of 8 entries does not begin with the one of 7"},
	} {
		t.Run(name, func(t *testing.T) {
			l, p, wants := hello(t, dev)
			other := l.Tree.Fork(6)
			honest := grown(l.Tree.Fork(6), 8, "later")
			l.become(honest)
			verified(t, p.all(wants[0]))
			c.then(l, other)
			// The first crate's bundle is in the cache and was good all the time.
			vs := p.all(wants[0], wants[1])
			for _, v := range vs {
				refused(t, v, Violation, "fork", "the log log.example/a signed two trees that cannot both be true: "+c.what, "; the evidence is "+p.dir, "Do not use this log.")
			}
			got := p.forkFiles(l, 1)
			// What it did is not forgotten when it behaves again, also offline, nor for one crate.
			l.up()
			l.become(honest)
			for _, v := range append(p.all(wants...), p.offline(wants[0])...) {
				refused(t, v, Violation, "fork", "it did so before; the evidence is "+got[0])
			}
			raw := read(t, wants[0].Path)
			if r, err := p.checker(false).Crate(t.Context(), "hello-proof", "0.1.0", wants[0].Checksum, raw); r != nil || err == nil || err.(*Error).Reason != "fork" {
				t.Errorf("got %+v, %v", r, err)
			}
			if again := p.forkFiles(l, 1); !slices.Equal(again, got) {
				t.Errorf("evidence: %q", again)
			}
		})
	}
}

func TestAForkWithinOneRunIsFound(t *testing.T) {
	l, p, wants := hello(t, dev)
	b := l.bundle(grown(l.Tree.Fork(6), 8, "other"), 3, 8)
	l.pad(8, "later")
	l.says("/v1/crates/hello-proof/0.1.1", http.StatusOK, b)
	for _, v := range p.all(wants...) {
		refused(t, v, Violation, "fork", "both of 8 entries")
	}
	p.forkFiles(l, 1)
}

// A fork of one log says nothing about another.
func TestOtherLogsAreStillBelieved(t *testing.T) {
	a, b := newLog(t, "log.example/a"), newLog(t, "log.example/b")
	p := newPlace(t, dev, a, b)
	rawA, eA := forged(t, "in-a", "1.0.0")
	rawB, eB := forged(t, "in-b", "1.0.0")
	a.add(eA)
	b.add(eB)
	other := grown(a.Tree.Fork(1), 4, "two")
	a.pad(4, "one")
	inA, inB := p.want("in-a", "1.0.0", rawA), p.want("in-b", "1.0.0", rawB)
	verified(t, p.all(inA))
	a.become(other)
	p.forget()
	vs := p.all(inA, inB)
	refused(t, vs[0], Violation, "fork")
	verified(t, vs[1:])
}

func TestTroubleWithTilesIsNoAccusation(t *testing.T) {
	l, p, wants := hello(t, dev)
	verified(t, p.all(wants[0]))
	l.pad(300, "later")
	tiles := func(f func(w http.ResponseWriter, r *http.Request)) {
		l.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			tile := strings.HasPrefix(r.URL.Path, "/tile/")
			if tile {
				f(w, r)
			}
			return tile
		})
	}
	for _, c := range map[string]struct {
		f    func(w http.ResponseWriter, r *http.Request)
		want string
	}{
		"none":    {func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, "it could not be shown that the tree of log.example/a with 300 entries continues the one with 7: the log's tile/"},
		"broken":  {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, "Try again when the log answers."},
		"garbage": {func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("x")) }, "has 1 bytes instead of"},
		"zeros": {func(w http.ResponseWriter, r *http.Request) {
			n := 256
			if _, width, ok := strings.Cut(r.URL.Path, ".p/"); ok {
				fmt.Sscan(width, &n)
			}
			w.Write(make([]byte, 32*n))
		}, "the tiles that the log serves are not those of the tree of"},
	} {
		tiles(c.f)
		// The crate whose checkpoint is remembered is not affected.
		vs := p.all(wants...)
		verified(t, vs[:1])
		for _, v := range vs[1:] {
			refused(t, v, Unchecked, "consistency", c.want)
		}
		p.forkFiles(l, 0)
	}
	l.up()
	verified(t, p.all(wants...))
}

// What lies between the remembered checkpoint and the largest is compared, or said not to
// be, also where the largest cannot be compared: offline, or if the log has no tiles of it.
func TestNothingHidesBehindALargerCheckpoint(t *testing.T) {
	for _, size := range []int64{7, 8} {
		for _, offline := range []bool{true, false} {
			l, p, wants := hello(t, dev)
			verified(t, p.all(wants[0]))
			fork := l.bundle(grown(l.Tree.Fork(5), size, "other"), 3, size)
			l.pad(20, "later")
			dir := filepath.Join(p.dir, "cache", "bundles", originName(l.KeyName))
			fatalIf(t, os.WriteFile(filepath.Join(dir, "hello-proof-0.1.1.tlog-proof"), fork, 0o600))
			fatalIf(t, os.WriteFile(filepath.Join(dir, "hello-inner-0.1.0.tlog-proof"), l.bundle(l.Tree, 5, 20), 0o600))
			l.says("/tile/", http.StatusNotFound, nil)
			switch vs := p.checker(offline).All(t.Context(), wants[1:], nil); {
			case size == 7:
				refused(t, vs[0], Violation, "fork", "both of 7 entries")
				refused(t, vs[1], Violation, "fork")
			case offline:
				verified(t, vs)
				if len(vs[0].Notes) != 1 || len(vs[1].Notes) != 1 {
					t.Errorf("%d entries: notes %q, %q", size, vs[0].Notes, vs[1].Notes)
				}
			default:
				refused(t, vs[0], Unchecked, "consistency", "with 8 entries continues the one with 7")
				refused(t, vs[1], Unchecked, "consistency", "with 20 entries continues the one with 7")
			}
		}
	}
}

// Two processes each take what they are shown for the first, and remember it at the same
// time. Neither is noted as compared, so that whoever looks next finds the fork.
func TestTwoFirstCheckpointsAreCompared(t *testing.T) {
	l, p, wants := hello(t, dev)
	honest := grown(l.Tree.Fork(6), 10, "later")
	l.become(grown(l.Tree.Fork(6), 7, "other"))
	verified(t, p.all(wants[0])) // the first process
	l.become(honest)
	path := filepath.Join(p.dir, "state", originName(l.KeyName), fmt.Sprintf("%020d", 10))
	fatalIf(t, os.WriteFile(path, l.Sign(honest, 10, l.Witnesses...), 0o600)) // the second
	l.says("/tile/", http.StatusNotFound, nil)
	for _, v := range p.all(wants[:2]...) {
		refused(t, v, Unchecked, "consistency", "with 10 entries continues the one with 7")
	}
	l.up()
	for _, v := range p.all(wants[:2]...) {
		refused(t, v, Violation, "fork", "the one of 10 entries does not begin with the one of 7")
	}
}

func TestOfflineSaysWhatWasNotCompared(t *testing.T) {
	l, p, wants := hello(t, dev)
	verified(t, p.all(wants[0]))
	l.pad(20, "later")
	// Bundles of a newer checkpoint come into the cache by another way.
	q := newPlace(t, dev, l)
	verified(t, q.all(wants[1]))
	fatalIf(t, os.CopyFS(filepath.Join(p.dir, "cache"), os.DirFS(filepath.Join(q.dir, "cache"))))
	vs := p.offline(wants[:2]...)
	verified(t, vs)
	if len(vs[0].Notes) != 0 || len(vs[1].Notes) != 1 || vs[1].Notes[0] != "it was not compared whether the tree of log.example/a with 20 entries continues the one with 7: nothing is fetched offline" {
		t.Errorf("notes: %q, %q", vs[0].Notes, vs[1].Notes)
	}
	if b, err := vs[1].MarshalJSON(); err != nil || !bytes.Contains(b, []byte(`"notes":["it was not compared`)) {
		t.Errorf("%s, %v", b, err)
	}
	vs = p.all(wants[:2]...)
	verified(t, vs)
	if len(vs[1].Notes) != 0 {
		t.Errorf("notes: %q", vs[1].Notes)
	}
	l.server.Close()
	if vs = p.offline(wants[:2]...); len(vs[1].Notes) != 0 {
		t.Errorf("what was shown once is not noted: %q", vs[1].Notes)
	}
}

func TestARememberedCheckpointThatWasNotComparedIsSaid(t *testing.T) {
	l, p, wants := hello(t, dev)
	verified(t, p.all(wants[0]))
	l.pad(10, "later")
	verified(t, p.all(wants[1]))
	path := filepath.Join(p.dir, "state", originName(l.KeyName), fmt.Sprintf("%020d", 8))
	fatalIf(t, os.WriteFile(path, l.Sign(l.Tree, 8, l.Witnesses...), 0o600)) // by another process
	vs := p.offline(wants[:2]...)
	verified(t, vs)
	for _, v := range vs {
		if len(v.Notes) != 1 || !strings.Contains(v.Notes[0], "with 10 entries continues the one with 8") {
			t.Errorf("notes: %q", v.Notes)
		}
	}
	if vs = p.all(wants[:2]...); len(vs[0].Notes)+len(vs[1].Notes) != 0 {
		t.Errorf("notes: %q, %q", vs[0].Notes, vs[1].Notes)
	}
}

func TestADamagedStateIsNotPassedOver(t *testing.T) {
	l, p, wants := hello(t, dev)
	verified(t, p.all(wants...))
	dir := filepath.Join(p.dir, "state", originName(l.KeyName))
	noted := filepath.Join(dir, "consistent")
	for _, junk := range []string{"", "\x00", "6", "6 \n7 zz\n-1 00\n", strings.Repeat("x", 1<<20)} {
		fatalIf(t, os.WriteFile(noted, []byte(junk), 0o600))
		verified(t, p.all(wants...)) // what is not noted is shown again
	}
	remembered := filepath.Join(dir, "00000000000000000007")
	note := read(t, remembered)
	fatalIf(t, os.WriteFile(remembered, []byte("damaged"), 0o600))
	for _, v := range p.all(wants...) {
		refused(t, v, Unchecked, "state", "what the log log.example/a showed before is not known: the remembered checkpoint")
	}
	fatalIf(t, os.WriteFile(remembered, note, 0o600))
	verified(t, p.all(wants...))
	// Notes alone do not stand in for the checkpoint.
	fatalIf(t, os.Remove(remembered))
	verified(t, p.all(wants...))
	if again, err := os.ReadFile(remembered); err != nil || !bytes.Equal(again, note) {
		t.Errorf("the checkpoint was not remembered again: %v", err)
	}
}

func TestEveryReasonHasItsWord(t *testing.T) {
	reasons := []error{client.ErrPolicy, client.ErrBundle, client.ErrCheckpoint, client.ErrLog, client.ErrLogSignature, client.ErrCosignature,
		client.ErrQuorum, client.ErrNoWitnesses, client.ErrStale, client.ErrEntry, client.ErrInclusion, client.ErrSubject, client.ErrProgram,
		client.ErrProof, client.ErrFiles, client.ErrUnproven, client.ErrFork, client.ErrConsistency, client.ErrNotLogged, client.ErrCRLF, client.ErrJoined,
		client.ErrSeal, client.ErrVoid, client.ErrWithheld, ErrNoClaim,
		ErrUnreachable, ErrNotDownloaded, ErrNotCached, ErrNoLog, ErrUnreadable, ErrSourceTampered, ErrInterrupted, ErrState,
		ErrRegistry, ErrUnexpected, ErrLeftOut, ErrIndexDiffers, ErrIndexNotSeen, ErrNoOpening, ErrContradicted, ErrSigner,
		ErrNoBuilds, ErrAnotherBinary, ErrBuilders, ErrToolchain, ErrEnvironment, ErrDissent, ErrTooFew, ErrLock, ErrSources, ErrTrusted}
	words := map[string]bool{}
	for _, r := range reasons {
		e := Explain(&client.Error{Reason: r, What: "what is wrong", Err: fmt.Errorf("why")})
		if e.Reason == "error" || words[e.Reason] {
			t.Errorf("%v has the word %q", r, e.Reason)
		}
		words[e.Reason] = true
		if !strings.HasPrefix(e.Message, r.Error()) && e.Message != "what is wrong: why" || e.Error() != (&client.Error{Reason: r, What: "what is wrong", Err: fmt.Errorf("why")}).Error() {
			t.Errorf("%v: message %q, remedy %q", r, e.Message, e.Remedy)
		}
	}
	if len(words) != len(slugs) {
		t.Errorf("%d words, tested are %d", len(slugs), len(words))
	}
	// Every Err variable of client is among them.
	files, err := filepath.Glob("../../client/*.go")
	fatalIf(t, err)
	n := 0
	for _, f := range files {
		b := read(t, f)
		if !strings.HasSuffix(f, "_test.go") {
			n += len(regexp.MustCompile(`(?m)^(var |\t)Err[A-Z]\w* (error )?= `).FindAll(b, -1))
		}
	}
	if n != 24+2 { // ErrTrust and ErrManyRows are none of a verdict
		t.Errorf("client has %d Err variables, tested are 24, ErrTrust and ErrManyRows", n)
	}
	if e := Explain(fmt.Errorf("anything else")); e.Reason != "error" || e.Message != "anything else" || Explain(nil) != nil {
		t.Errorf("%+v", e)
	}
}
