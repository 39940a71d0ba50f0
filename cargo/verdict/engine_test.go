package verdict

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/crate"
)

// give decides about one bundle of a crate.
func (p *place) give(offline bool, bundle []byte, w Want, of *crate.Crate) (*client.Result, []string, error) {
	p.t.Helper()
	a, err := p.checker(offline).Bundle(p.t.Context(), Given{Bundle: bundle, Crate: of, Rules: p.policy.Rules(w.Name,
		w.Version, now)})
	if err != nil {
		return nil, nil, err
	}
	return a.Result, a.Notes, nil
}

// A bundle that somebody hands over is compared with what the log showed before, and
// remembered, as one that was fetched is: offline, and without a .crate, too.
func TestAGivenBundleIsComparedAndRemembered(t *testing.T) {
	l, p, wants := hello(t, dev)
	w := wants[0]
	c := unpacked(t, w)
	honest, forged := l.bundle(l.Tree, 1, 7), l.bundle(grown(l.Tree.Fork(5), 7, "other"), 1, 7)
	r, notes, err := p.give(true, honest, w, c)
	if err != nil || len(notes) != 0 || r.Name != w.Name || len(r.Proven) == 0 {
		t.Fatalf("%+v, %q, %v", r, notes, err)
	}
	if r, _, err := p.give(true, honest, w, nil); err != nil || r.Commit == [20]byte{} || r.Proven != nil {
		t.Errorf("without the .crate: %+v, %v", r, err)
	}
	for _, of := range []*crate.Crate{nil, c} {
		r, _, err := p.give(true, forged, w, of)
		var e *Error
		if r != nil || !errors.As(err, &e) || e.Status != Violation || e.Reason != "fork" || !errors.Is(err,
			client.ErrFork) {
			t.Errorf("%+v, %v", r, err)
		}
		got := p.forkFiles(l, 1)
		if r, _, err := p.give(false, honest, w, of); r != nil || !errors.Is(err, client.ErrFork) ||
			!strings.Contains(err.Error(), "it did so before") {
			t.Errorf("while the evidence lies there: %+v, %v", r, err)
		}
		fatalIf(t, os.Remove(got[0]))
	}
	// Offline, what cannot be compared is said. Nothing of it is cached.
	l.pad(9, "later")
	if _, notes, err := p.give(true, l.bundle(l.Tree, 1, 9), w, nil); err != nil || len(notes) != 1 ||
		!strings.Contains(notes[0], "it was not compared") {
		t.Errorf("%q, %v", notes, err)
	}
	if _, notes, err := p.give(false, l.bundle(l.Tree, 1, 9), w, nil); err != nil || len(notes) != 0 {
		t.Errorf("%q, %v", notes, err)
	}
	if files := p.files("cache"); len(files) != 0 {
		t.Errorf("cached: %q", files)
	}
}

func TestAGivenBundleIsRefusedForItsReason(t *testing.T) {
	l, p, wants := hello(t, dev)
	w, bundle := wants[0], l.bundle(l.Tree, 1, 7)
	another := unpacked(t, wants[1])
	stranger := newLog(t, "log.example/stranger")
	_, _, entries := real(t)
	stranger.add(entries[0])
	for what, c := range map[string]struct {
		bundle []byte
		want   Want
		of     *crate.Crate
		reason error
	}{
		"no bundle":         {[]byte("x"), w, nil, client.ErrBundle},
		"another name":      {bundle, wants[2], nil, client.ErrSubject},
		"another crate":     {bundle, w, another, client.ErrSubject},
		"another log":       {stranger.bundle(stranger.Tree, 0, 2), w, nil, client.ErrLog},
		"no such entry":     {l.bundle(l.Tree, 0, 7), w, nil, client.ErrEntry},
		"of another policy": {bundle, w, nil, client.ErrStale},
	} {
		p := p
		if c.reason == client.ErrStale {
			p = newPlace(t, dev+"max-age = \"1h\"\n", l)
			p.at = now.AddDate(1, 0, 0)
		}
		r, err := p.checker(true).Bundle(t.Context(), Given{Bundle: c.bundle, Crate: c.of,
			Rules: p.policy.Rules(c.want.Name, c.want.Version, p.at)})
		var e *Error
		if r != nil || !errors.Is(err, c.reason) || !errors.As(err, &e) || e.Status != Violation {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	if r, _, err := newPlace(t, dev).give(true, bundle, w, nil); r != nil || !errors.Is(err, ErrNoLog) {
		t.Errorf("nobody is believed: %+v, %v", r, err)
	}
	if files := p.files("state"); len(files) != 0 {
		t.Errorf("remembered: %q", files)
	}
}

// Two processes share the state. What the second remembers while the first compares is
// compared as well, before the first believes anything.
func TestWhatAnotherProcessRemembersMeanwhileIsCompared(t *testing.T) {
	for what, c := range map[string]struct {
		fork bool   // what the other process remembers is of another tree
		size int64  // of that
		slug string // "" if all is well
		left int    // files of evidence
	}{
		"a newer one":                {false, 11, "", 0},
		"an older one":               {false, 8, "", 0},
		"another of the same size":   {true, 9, "fork", 2}, // client.State writes one as well
		"an older one of a fork":     {true, 8, "fork", 1},
		"a newer one that is not so": {true, 11, "consistency", 0},
	} {
		t.Run(what, func(t *testing.T) {
			l, p, wants := hello(t, dev)
			verified(t, p.all(wants[0]))
			theirs := grown(l.Tree.Fork(6), 11, "other")
			l.pad(9, "later")
			l.pad(11, "later")
			if !c.fork {
				theirs = l.Tree
			}
			signed := l.Sign(theirs, c.size, l.Witnesses...)
			state, err := client.OpenState(filepath.Join(p.dir, "state"))
			fatalIf(t, err)
			var done atomic.Bool
			l.show(9)
			l.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/tile/") && done.CompareAndSwap(false, true) {
					path := filepath.Join(p.dir, "state", originName(l.KeyName))
					fatalIf(t, os.WriteFile(filepath.Join(path, fmt.Sprintf("%020d", c.size)), signed, 0o600))
				}
				return false
			})
			v := p.all(wants[1])[0]
			if !done.Load() {
				t.Fatal("no tile was fetched, so this test sees nothing")
			}
			switch c.slug {
			case "":
				verified(t, []Verdict{v})
			case "fork":
				refused(t, v, Violation, c.slug)
			default:
				refused(t, v, Unchecked, c.slug)
			}
			p.forkFiles(l, c.left)
			if _, known, err := state.Latest(l.KeyName); err != nil || !known {
				t.Errorf("forgotten: %v", err)
			}
		})
	}
}

// What lies on the disk is looked at whether or not a proof is asked for.
func TestWhatCargoWouldBuildIsCompared(t *testing.T) {
	_, p, wants := hello(t, dev)
	w := wants[0]
	c := unpacked(t, w)
	dir := filepath.Join(p.dir, "src", "hello-proof-0.1.0")
	var paths []string
	for _, f := range c.Files {
		paths = append(paths, f.Path)
	}
	fatalIf(t, c.Contents(paths, limits.Inflated, func(f crate.File, content []byte) {
		path := filepath.Join(dir, f.Path)
		fatalIf(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)))
		if f.Exec {
			fatalIf(t, os.Chmod(path, 0o700))
		}
	}))
	fatalIf(t, os.WriteFile(filepath.Join(dir, ".cargo-ok"), []byte(`{"v":1}`), 0o600))
	w.Sources = []string{dir}
	notAsked, warned := w, w
	notAsked.Demand = policy.Demand{Package: w.Demand.Package}
	warned.Demand.Warn = true
	check := func(s Status, slug string, words ...string) {
		t.Helper()
		for _, w := range []Want{w, notAsked, warned} {
			if v := p.all(w)[0]; s == Verified {
				if v.Status != s && v.Status != NotAsked {
					t.Errorf("%v: %v", v.Status, v.Err)
				}
			} else {
				refused(t, v, s, slug, words...)
			}
		}
	}
	check(Verified, "")
	lib := filepath.Join(dir, "src", "lib.rs")
	old := read(t, lib)
	fatalIf(t, os.WriteFile(lib, append(old, '\n'), 0o600))
	check(Violation, "source-tampered", "unpacked source differs", "src/lib.rs has ")
	ok := filepath.Join(dir, ".cargo-ok")
	fatalIf(t, os.Rename(ok, ok+".old"))
	check(Violation, "source-tampered", ".cargo-ok.old is not in the crate")
	fatalIf(t, os.Remove(ok+".old"))
	check(Verified, "") // cargo was stopped, and will unpack again
	fatalIf(t, os.WriteFile(ok, []byte("{"), 0o600))
	check(Unchecked, "unreadable", "was not unpacked to the end", "delete it")
	fatalIf(t, os.WriteFile(ok, []byte(`{"v":1}`), 0o600))
	fatalIf(t, os.WriteFile(lib, old, 0o600))
	check(Verified, "")
	copied := filepath.Join(p.dir, "copy.crate")
	fatalIf(t, os.WriteFile(copied, []byte("x"), 0o600))
	w.Copies, notAsked.Copies, warned.Copies = []string{copied}, []string{copied}, []string{copied}
	check(Violation, "source-tampered", "archive differs from the lock file: ", copied+" has SHA-256 ", "delete it: cargo will download it again")
	for _, w := range []*Want{&w, &notAsked, &warned} {
		w.Path, w.Copies = "", nil
	}
	check(Unchecked, "not-downloaded", dir+" cannot be compared with its archive")
}

// The file of stamps is a convenience: what is damaged, or gone, is as good as none.
func TestDamagedStampsAreNone(t *testing.T) {
	dir := t.TempDir()
	st := openStamps(dir, false)
	st.at["/gone"] = stamp{"a", "b"}
	st.changed = true
	c := &Checker{stamps: func() *stamps { return st }}
	fatalIf(t, c.SaveStamps())
	if again := openStamps(dir, false); len(again.at) != 0 {
		t.Errorf("a directory that is gone was kept: %v", again.at)
	}
	for _, junk := range []string{"", "x", "null", "[]", `{"a":1}`} {
		fatalIf(t, os.WriteFile(st.path, []byte(junk), 0o600))
		if st := openStamps(dir, false); st.at == nil || len(st.at) > 1 {
			t.Errorf("%q: %v", junk, st.at)
		}
	}
}
