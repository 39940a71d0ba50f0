package verdict

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/internal/registrytest"
	"cratelog/opening"
)

// At warn level what is missing passes, and what is false does not, whatever it comes with.
func TestOnlyWhatIsMissingIsMild(t *testing.T) {
	for _, c := range []struct {
		err  error
		mild bool
	}{
		{notCached(Want{}), true},
		{both(ErrUnreachable, errors.New("x")), true},
		{refuse(client.ErrNotLogged, "", "x"), true},
		{both(ErrNoOpening, opening.ErrMalformed), false},
		{both(ErrNoOpening, opening.ErrNoVerdict), true},
		{&client.Error{Reason: client.ErrProof}, false},
		{&client.Error{Reason: client.ErrSubject}, false},
		{besides(both(ErrUnreachable, errors.New("x")), &client.Error{Reason: client.ErrProof}), false},
		{both(ErrNotDownloaded, ErrSourceTampered), false},
		{interrupted(errors.New("x")), false},
		{errors.New("nobody knows"), false},
	} {
		v := Verdict{Want: Want{Demand: policy.Demand{Status: policy.Required, Warn: true}}, Status: Violation, Err: c.err}
		if v.soften(); (v.Status == Warned) != c.mild {
			t.Errorf("%v: %s", c.err, v.Status)
		}
		v.Status, v.Demand.Warn = Unchecked, false
		if v.soften(); v.Status != Unchecked {
			t.Errorf("%v is softened though it is required", c.err)
		}
	}
	for _, s := range slugs {
		if abouts[s.slug] == "" && s.slug != "unreadable" && s.slug != "interrupted" && s.slug != "state" {
			t.Errorf("nothing says what %s is about", s.slug)
		}
	}
}

// warned makes the demand one that the policy only warns about.
func warned(w Want) Want {
	w.Demand.Status, w.Demand.Warn = policy.Required, true
	return w
}

// notHeld makes a log answer that it holds nothing.
func notHeld(l *fakeLog) {
	l.says("/v1/crates/", http.StatusNotFound, []byte(`{"reason": "not-found", "message": "no"}`))
}

// TestBadEvidenceIsRefusedAtWarnLevelToo: a policy that only warns of what is missing is no cover for what is
// false, wherever it lies, and whatever else is wrong.
func TestBadEvidenceIsRefusedAtWarnLevelToo(t *testing.T) {
	l, p, wants := hello(t, dev)
	c := newCarrying(t, p)
	size := l.Tree.Size()
	good := l.bundle(l.Tree, 1, size)
	w := warned(wants[0])
	answers := map[string]func(){"not logged": func() { notHeld(l) }, "silence": l.down}
	for answer, be := range answers {
		be()
		c.forget()
		c.reg.SetEvidence(at(w, l), nil)
		if v := c.all(w)[0]; v.Status != Warned {
			t.Fatalf("%s, and no evidence: %s: %v, so that this test sees nothing", answer, v.Status, v.Err)
		}
		for name, bad := range corruptions(good, l.bundle(l.Tree, 3, size)) {
			c.forget()
			c.reg.SetEvidence(at(w, l), bad)
			if v := c.all(w)[0]; v.Status != Violation && v.Status != Unchecked {
				t.Errorf("%s, and at the registry %s: %s", answer, name, v.Status)
			}
			path := filepath.Join(t.TempDir(), "x"+BundleExt)
			fatalIf(t, os.WriteFile(path, bad, 0o600))
			beside := w
			beside.Bundle = path
			c.forget()
			c.reg.SetEvidence(at(w, l), nil)
			malformed := errors.Is(badness(c, beside, bad), client.ErrBundle)
			if v := c.all(beside)[0]; (v.Status == Warned) != malformed { // a damaged file is as good as none
				t.Errorf("%s, and beside the sources %s: %s: %v", answer, name, v.Status, v.Err)
			}
		}
	}
}

// badness is what verifying a bundle by itself says.
func badness(c *carrying, w Want, bundle []byte) error {
	if len(bundle) > client.MaxBundleSize {
		return client.ErrBundle
	}
	_, err := client.VerifyBundle(bundle, c.policy.Trust[0].Policy, &collector{proofs: c.check().proofs},
		c.policy.RulesFor(w.pkg(), now))
	return err
}

// TestWhatIsOldDoesNotHideWhatIsFalse: of several that do not do, the one that is false counts.
func TestWhatIsOldDoesNotHideWhatIsFalse(t *testing.T) {
	l, p, wants := hello(t, dev+"max-age = \"30d\"\n")
	size := l.Tree.Size()
	old := l.bundle(l.Tree, 1, size)
	w := warned(wants[0])
	p.at = now.Add(31 * 24 * time.Hour)
	for _, witness := range l.Witnesses {
		*witness = *witness.At(p.at)
	}
	l.Publish()
	wrong := l.bundle(l.Tree, 3, size)
	first, second := registrytest.New(t), registrytest.New(t)
	first.TakeEvidence()
	second.TakeEvidence()
	p.settings(dev+fmt.Sprintf("max-age = \"30d\"\nevidence = [%q, %q]\n", first.URL+"/evidence/", second.URL+"/evidence/"), l)
	for name, c := range map[string]struct {
		first, second, cached, log []byte
		status                     Status
	}{
		"two old ones":           {first: old, second: old, status: Warned},
		"an old and a false one": {first: old, second: wrong, status: Violation},
		"the cache":              {first: wrong, cached: old, status: Violation},
		"a false one there":      {first: old, cached: wrong, status: Violation},
		"the log has an old one": {first: wrong, log: old, status: Violation},
		"the log has a false one, the cache an old one": {cached: old, log: wrong, status: Violation},
	} {
		p.forget()
		first.SetEvidence(at(w, l), c.first)
		second.SetEvidence(at(w, l), c.second)
		l.up()
		if c.log == nil {
			notHeld(l)
		} else {
			l.says("/v1/crates/", http.StatusOK, c.log)
		}
		checker := p.checker(false)
		if c.cached != nil {
			checker.keepBundle(checker.sources[0], w, c.cached)
		}
		if v := checker.All(t.Context(), []Want{w}, nil)[0]; v.Status != c.status {
			t.Errorf("%s: %s, want %s: %v", name, v.Status, c.status, v.Err)
		}
	}
}

// TestTheProxyRefusesBadEvidenceAtWarnLevel, and hands out none that it has not verified.
func TestTheProxyRefusesBadEvidenceAtWarnLevel(t *testing.T) {
	l, p, wants := hello(t, dev+"require = \"none\"\nwarn = \"all\"\n")
	c := newCarrying(t, p)
	w := wants[0]
	size := l.Tree.Size()
	good := l.bundle(l.Tree, 1, size)
	j := &Judge{Load: func(*cargo.Workspace) (*policy.Policy, error) { return p.policy, nil }, Config: c.check().cfg}
	ask := func() error {
		_, _, err := j.Judge(t.Context(), w.Name, w.Version, w.Checksum, read(t, w.Path))
		return err
	}
	file := originName(l.KeyName) + BundleExt
	notHeld(l)
	if err := ask(); err != nil {
		t.Fatalf("without evidence: %v, so that this test sees nothing", err)
	}
	for name, bad := range corruptions(good, l.bundle(l.Tree, 3, size)) {
		c.forget()
		c.reg.SetEvidence(at(w, l), bad)
		j.Prefetch(t.Context(), w.Name, w.Version)
		if err := ask(); err == nil {
			t.Errorf("%s: it passes", name)
		}
		if _, ok := j.Kept(w.Name, w.Version, file); ok {
			t.Errorf("%s: it is handed out", name)
		}
		c.reg.SetEvidence(at(w, l), nil)
		if err := ask(); err != nil {
			t.Errorf("%s: the crate is refused also when it is gone: %v", name, err)
		}
		// Whoever put it there: what is handed out was verified.
		checker := c.check()
		checker.keepBundle(checker.sources[0], w, bad)
		if _, ok := j.Kept(w.Name, w.Version, file); ok {
			t.Errorf("%s: it is handed out of the cache", name)
		}
	}
	c.forget()
	c.reg.SetEvidence(at(w, l), good)
	if err := ask(); err != nil {
		t.Error(err)
	}
	if b, ok := j.Kept(w.Name, w.Version, file); !ok || !bytes.Equal(b, good) {
		t.Error("good evidence is not handed out")
	}
}
