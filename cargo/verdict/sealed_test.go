package verdict

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/client"
	"cratelog/evidence"
	"cratelog/index"
	"cratelog/internal/testlog"
)

// x is a log with the one crate x 1.0.0, and a machine that wants it.
func x(t *testing.T, settings string) (*fakeLog, *place, Want) {
	t.Helper()
	l := newLog(t, "log.example/a")
	p := newPlace(t, dev+settings, l)
	raw, e := forged(t, "x", "1.0.0")
	l.add(e)
	return l, p, p.want("x", "1.0.0", raw)
}

// withRaw is a want of other bytes.
func withRaw(w Want, raw []byte) Want {
	w.Path, w.Raw, w.Checksum = "", raw, sha256.Sum256(raw)
	return w
}

// A version has the checksum of the first entry about it, and nothing that comes later is believed.
func TestABundleOfAVoidEntryIsRefused(t *testing.T) {
	l, p, w := x(t, "")
	f := testlog.Must(forger())
	raw, e, err := f.Crate("x", "1.0.0", "pub fn hostile() {}\n")
	fatalIf(t, err)
	l.add(e) // which the test's log hands out from now on
	void := withRaw(w, raw)
	words := []string{"void entry: entry 2 gives x 1.0.0 the SHA-256 " + fmt.Sprintf("%x", e.Subject.SHA256),
		"but in this log it has " + fmt.Sprintf("%x", w.Checksum), "by entry 0, which was first"}
	refused(t, p.all(void)[0], Violation, "void", words...)
	refused(t, p.all(warned(void))[0], Violation, "void")
	_, err = p.checker(false).Crate(t.Context(), "x", "1.0.0", void.Checksum, raw)
	if Explain(err).Reason != "void" {
		t.Errorf("the proxy: %v", err)
	}
	// The one that was first is not touched by it.
	l.says("/v1/crates/", http.StatusOK, l.bundle(l.Tree, 0, l.Tree.Size()))
	v := p.all(w)
	verified(t, v)
	if f := v[0].Facts.Log; f.First != 0 || f.Inherited || f.Index != 0 {
		t.Errorf("%+v", f)
	}
}

// A checkpoint that ends in no seal of its tree is refused, whoever cosigned it.
func TestAnUnsealedCheckpointIsRefused(t *testing.T) {
	for name, unseal := range map[string]func(*testlog.Tree){
		"no seal":                  func(t *testlog.Tree) { t.Append([]byte("no seal")) },
		"the seal of another size": func(t *testlog.Tree) { t.Append(t.Leaves[1]) },
		"another map":              func(t *testlog.Tree) { t.SealAs(index.Hash{1}) },
	} {
		l, p, w := x(t, "")
		unseal(l.Tree)
		l.ServeSigned(l.Tree, l.Tree.Size(), l.Witnesses...)
		v := p.all(w)[0]
		refused(t, v, Violation, "no-seal")
		if convicts := name != "another map"; convicts != strings.Contains(v.Err.Error(), "; the evidence is ") {
			t.Errorf("%s: %v", name, v.Err) // of the map only replay shows it
		} else if convicts {
			p.convicts(l, evidence.Unsealed)
		}
		refused(t, p.all(warned(w))[0], Violation, "no-seal")
		// Nor does it show that something is not logged.
		v = p.all(p.want("y", "1.0.0", read(t, w.Path)))[0]
		refused(t, v, Violation, "withheld", "what it shows for that is no answer: no valid seal")
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// convicts checks that the one file of evidence is of a kind, and convicts the log.
func (p *place) convicts(l *fakeLog, kind evidence.Kind) {
	p.t.Helper()
	keys, err := evidence.NewKeys([]string{l.VKey}, nil)
	fatalIf(p.t, err)
	n := 0
	for _, f := range p.files("state") {
		if strings.HasSuffix(f, ".evidence") {
			e := testlog.Must(evidence.Read(f))
			if c, err := evidence.Verify(e, keys, nil); err != nil || e.Kind != kind || !c.Convicts() || c.Who != "log "+l.KeyName {
				p.t.Errorf("%s: %+v, %v", e.Kind, c, err)
			}
			n++
		}
	}
	if n != 1 {
		p.t.Errorf("%d files of evidence", n)
	}
}

// A log whose map names a later entry as the first, or none that it has, is convicted by its own bundle.
func TestAFalseMapOfTheVersionIsEvidence(t *testing.T) {
	l, p, w := x(t, "")
	again := l.Tree.Leaves[0]
	l.Tree.Append(again)
	l.Tree.Omit(0)
	l.Publish()
	l.says("/v1/crates/", http.StatusOK, l.bundle(l.Tree, 0, l.Tree.Size()))
	refused(t, p.all(w)[0], Violation, "no-seal", "says that entry 2 was the first about x 1.0.0, but entry 0 is about it too",
		"; the evidence is "+p.dir)
	p.convicts(l, evidence.IndexOmission)
}

// What a log does not hand out it must show not to hold.
func TestWhatIsNotLoggedIsShown(t *testing.T) {
	l, p, w := x(t, "")
	y := p.want("y", "1.0.0", read(t, w.Path))
	refused(t, p.all(y)[0], Violation, "not-logged", "the log log.example/a has no entry for y 1.0.0 (proved not logged, as of 2026-09-01T12:00:00Z)")
	if v := p.all(warned(y))[0]; v.Status != Warned {
		t.Errorf("%v: %v", v.Status, v.Err)
	}
	held := l.Tree.Lookup("default", "x", "1.0.0", 2, l.Sign(l.Tree, 2, l.Witnesses...))
	empty := testlog.NewTree([]byte("nothing"))
	empty.Seal()
	none := func(witnesses ...*testlog.Key) []byte {
		return empty.Lookup("default", "y", "1.0.0", 2, l.Sign(empty, 2, witnesses...))
	}
	for name, c := range map[string]struct {
		code   int
		answer []byte
		status Status
		slug   string
		words  string
	}{
		"nothing":             {http.StatusNotFound, []byte(`{"reason": "not-found", "message": "no"}`), Unchecked, "withheld", "and then shows nothing"},
		"not even that":       {http.StatusNotFound, nil, Unchecked, "withheld", "and then shows nothing"},
		"silence":             {http.StatusBadGateway, nil, Unchecked, "unreachable", "does not show it"},
		"nonsense":            {http.StatusOK, []byte("<!doctype html>"), Violation, "withheld", "malformed bundle"},
		"of another version":  {http.StatusOK, held, Violation, "withheld", "no valid seal: what the log's index holds for y 1.0.0"},
		"cosigned by too few": {http.StatusOK, none(l.Witnesses[0]), Violation, "withheld", "too few witnesses"},
	} {
		l.Intercept(func(rw http.ResponseWriter, r *http.Request) bool { // and no page shows it instead
			return testlog.Answer("/v1/lookup/", c.code, c.answer)(rw, r) || testlog.Answer("/v1/index", c.code, c.answer)(rw, r)
		})
		v := p.all(y)[0]
		refused(t, v, c.status, c.slug, c.words)
		if v := p.all(warned(y))[0]; (v.Status == Warned) != (c.status == Unchecked) {
			t.Errorf("%s, where a warning is enough: %v, %v", name, v.Status, v.Err)
		}
	}
	// The log holds it, and hands out nothing: that is told from what it does not hold.
	l.says("/v1/crates/", http.StatusNotFound, []byte(`{"reason": "not-found", "message": "no"}`))
	refused(t, p.all(w)[0], Violation, "no-claim", "holds x 1.0.0, by entry 0, and hands out no claim about it that the policy counts, as of")
	if v := p.all(warned(w))[0]; v.Status != Warned {
		t.Errorf("%v: %v", v.Status, v.Err)
	}
	// And if what it holds is another .crate, no policy passes over that.
	raw, _ := forged(t, "z", "1.0.0")
	other := withRaw(w, raw)
	refused(t, p.all(warned(other))[0], Violation, "another-crate", "holds one checksum for x 1.0.0, as of 2026-09-01T12:00:00Z: "+
		fmt.Sprintf("%x, by entry 0; this .crate has %x", w.Checksum, other.Checksum))
}

// What a log took over from the one before it is said to be of that one, and who has to believe that.
func TestAVersionOfTheLogBeforeIsNamedSo(t *testing.T) {
	l, p, w := x(t, "")
	before := l.Tree
	l.Tree = testlog.NewTree()
	l.Tree.Continue("log.example/before", before, before.Size(), nil)
	l.Tree.Seal()
	l.Publish()
	l.says("/v1/crates/", http.StatusNotFound, []byte(`{"reason": "not-found", "message": "no"}`))
	refused(t, p.all(w)[0], Violation, "no-claim", "holds x 1.0.0, by entry 0 of the log before it, and hands out no claim",
		"Let the trust file name that log too")
	raw, _ := forged(t, "z", "1.0.0")
	refused(t, p.all(withRaw(w, raw))[0], Violation, "another-crate", "by entry 0 of the log before it; this .crate has")
}

// An old checkpoint shows what was not logged then.
func TestWhatIsNotLoggedIsShownAsOfATime(t *testing.T) {
	l, p, w := x(t, "max-age = \"30d\"\n")
	y := p.want("y", "1.0.0", read(t, w.Path))
	refused(t, p.all(y)[0], Violation, "not-logged")
	p.at = now.Add(31 * 24 * time.Hour)
	refused(t, p.all(y)[0], Unchecked, "withheld", "what it shows for that is no answer: stale checkpoint")
	for _, witness := range l.Witnesses {
		*witness = *witness.At(p.at)
	}
	l.Publish()
	refused(t, p.all(y)[0], Violation, "not-logged", "as of 2026-10-02T12:00:00Z")
}

// A log that shows another history to hide a crate is caught by what it showed before.
func TestAnotherHistoryHidesNothing(t *testing.T) {
	l, p, w := x(t, "")
	l.pad(5, "later")
	verified(t, p.all(w))
	without := grown(testlog.NewTree([]byte("another")), 5, "later")
	for _, from := range []string{"log", "again"} {
		l.become(without)
		p.forget()
		refused(t, p.all(warned(w))[0], Violation, "fork", "both of 5 entries")
		p.forkFiles(l, 1)
		if from == "log" {
			fatalIf(t, removeAll(p.files("state"), ".evidence"))
		}
	}
}

// What is remembered of a verdict is of one seal: a bundle under another one is verified again.
func TestAVerdictIsRememberedOfOneSeal(t *testing.T) {
	l, p, w := x(t, "")
	first := p.all(w)
	verified(t, first)
	l.pad(9, "later")
	c := p.checker(false)
	c.keepBundle(c.sources[0], w, l.bundle(l.Tree, 0, 9))
	again := p.all(w)
	verified(t, again)
	if a, b := first[0].Facts.Log, again[0].Facts.Log; a.Size != 2 || b.Size != 9 || a.First != b.First {
		t.Errorf("%+v, then %+v", a, b)
	}
	if h := HeardOf(append(first, again...)); len(h) != 1 || h[0].Versions != 2 || h[0].Size != 2 ||
		h[0].String() != "log.example/a holds one checksum for each of 2 versions, as of 2026-09-01T12:00:00Z" {
		t.Errorf("%+v", h)
	}
}

// An entry of the log before this one is not said to be one of this log, which may have another of that number.
func TestWhatALogTookOverIsSaidToBeOfTheOneBefore(t *testing.T) {
	held := client.Held{Logged: true, Version: index.Version{SHA256: [32]byte{1}, First: 7, Inherited: true}}
	cause := &client.NotLoggedError{Name: "x", Version: "1.0.0", Held: held}
	for _, sum := range [][32]byte{{}, {2}} {
		err := absent(Want{Name: "x", Version: "1.0.0"}, sum, &source{origin: "log.example/a"}, nil, cause)
		if err == nil || !strings.Contains(err.Error(), "by entry 7 of the log before it") {
			t.Errorf("of the .crate %x: %v", sum[:1], err)
		}
	}
}

// removeAll removes the files with an extension.
func removeAll(files []string, ext string) error {
	for _, f := range files {
		if strings.HasSuffix(f, ext) {
			return os.Remove(f)
		}
	}
	return fmt.Errorf("there is none that ends in %s below %s", ext, filepath.Dir(files[0]))
}

// What a log lacked in an older tree than it has shown, it may have logged since; and what another log lacks says
// nothing of it.
func TestAnOldTreeOrAnotherLogsHidesNothing(t *testing.T) {
	l, p, w := x(t, "")
	y, entryOfY := forged(t, "y", "1.0.0")
	wantY := p.want("y", "1.0.0", y)
	old := l.Tree.Lookup("default", "y", "1.0.0", 2, l.Sign(l.Tree, 2, l.Witnesses...))
	l.add(entryOfY)
	hide := func(lookup []byte) {
		l.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
			return testlog.Answer("/v1/lookup/", http.StatusOK, lookup)(rw, r) ||
				testlog.Answer("/v1/crates/y/", http.StatusNotFound, []byte(`{"reason": "not-found", "message": "no"}`))(rw, r)
		})
	}
	hide(old)
	refused(t, p.all(wantY)[0], Violation, "not-logged", "proved not logged") // nothing else is known
	verified(t, p.all(w))                                                     // under the tree of 4
	refused(t, p.all(wantY)[0], Unchecked, "withheld", "in a tree of 2 entries, as of 2026-09-01T12:00:00Z, and has shown one of 4 before")
	log := p.checker(false).sources[0].log
	if e := Explain(p.checker(false).Missing(t.Context(), log, wantY.pkg(), wantY.Checksum)); e.Reason != "withheld" || e.Status != Unchecked {
		t.Errorf("%+v", e)
	}
	// In the run in which a tree is first seen, it does not count against what was asked before.
	l.pad(9, "later")
	hide(l.Tree.Lookup("default", "z", "1.0.0", 4, l.Sign(l.Tree, 4, l.Witnesses...)))
	z, _ := forged(t, "z", "1.0.0")
	p.forget()
	both := p.all(w, p.want("z", "1.0.0", z))
	verified(t, both[:1])
	refused(t, both[1], Violation, "not-logged")
	// It has what it had.
	l.says("/v1/crates/", http.StatusNotFound, []byte(`{"reason": "not-found", "message": "no"}`))
	p.forget()
	refused(t, p.all(w)[0], Violation, "no-claim")

	other := newLog(t, "log.example/b")
	l.trust = fmt.Sprintf("log %s %s\nlog %s\n%s", l.VKey, l.server.URL, other.VKey, l.trust[strings.Index(l.trust, "\n")+1:])
	p = newPlace(t, dev, l)
	empty := testlog.NewTree([]byte("nothing"))
	empty.Seal()
	hide(empty.Lookup("default", "y", "1.0.0", 2, other.Sign(empty, 2, l.Witnesses...)))
	v := p.all(warned(p.want("y", "1.0.0", y)))[0]
	refused(t, v, Violation, "withheld", `what it shows for that is no answer: unknown log: the checkpoint names the log "log.example/b"`)
}
