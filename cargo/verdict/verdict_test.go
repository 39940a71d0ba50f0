package verdict

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/durable"
	"cratelog/internal/testlog"
)

const dev = "development = true\n"

// hello is a log with the real entries, and a machine with their crates.
func hello(t testing.TB, settings string) (*fakeLog, *place, []Want) {
	t.Helper()
	l := newLog(t, "log.example/a")
	p := newPlace(t, settings, l)
	names, raws, entries := real(t)
	var wants []Want
	for i, e := range entries {
		l.Tree.Append(fmt.Appendf(nil, "between %d", i), testlog.Must(e.Marshal()))
		wants = append(wants, p.want(names[i][0], names[i][1], raws[i]))
	}
	l.Publish()
	return l, p, wants
}

func TestHonestCratesAreVerifiedAndRemembered(t *testing.T) {
	l, p, wants := hello(t, dev)
	first := p.all(wants...)
	verified(t, first)
	_, _, entries := real(t)
	for i, v := range first {
		src := entries[i].Claim.(*entry.Source)
		f := v.Facts
		if f.Commit != fmt.Sprintf("%x", src.Commit) || f.Path != src.Path || !f.Development || f.Log.Origin != l.KeyName ||
			f.Log.Index != uint64(2*i+1) || f.Log.First != f.Log.Index || f.Log.Size != 7 || len(f.Log.Cosignatures) != 3 || !f.Log.AsOf.Equal(now) {
			t.Errorf("%s %s: %+v", v.Name, v.Version, f)
		}
		if !slices.Contains(f.Coverage.Proven, "src/lib.rs") || !slices.Contains(f.Coverage.Derived, "Cargo.toml") {
			t.Errorf("%s %s covers %+v", v.Name, v.Version, f.Coverage)
		}
	}
	l.wasAsked(t, 3)
	l.server.Close()
	again := p.all(wants...)
	verified(t, again)
	a, err := json.Marshal(first)
	fatalIf(t, err)
	b, err := json.Marshal(again)
	fatalIf(t, err)
	if !bytes.Equal(a, b) {
		t.Errorf("a remembered verdict reads otherwise:\n%s\n%s", a, b)
	}
	verified(t, p.offline(wants...))
}

func TestCrateReturnsTheFactsOrTheReason(t *testing.T) {
	l, p, wants := hello(t, dev)
	c := p.checker(false)
	raw := read(t, wants[0].Path)
	for range 2 {
		r, err := c.Crate(t.Context(), "hello-proof", "0.1.0", wants[0].Checksum, raw)
		if err != nil || r.Log.Origin == "" || r.Commit == "" || len(r.Coverage.Proven) == 0 {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	l.wasAsked(t, 1)
	for name, raw := range map[string][]byte{"one byte changed": append([]byte{raw[0] ^ 1}, raw[1:]...), "empty": {}, "nothing": nil} {
		r, err := c.Crate(t.Context(), "hello-proof", "0.1.0", wants[0].Checksum, raw)
		e, ok := err.(*Error)
		if r != nil || !ok || e.Status != Violation || e.Reason != "another-crate" || !strings.Contains(e.Message, "the lock file says") {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := c.Crate(t.Context(), "nobody", "1.0.0", wants[0].Checksum, raw); err == nil || err.(*Error).Reason != "not-logged" || err.(*Error).Status != Violation {
		t.Errorf("got %v", err)
	}
}

// A batch must neither let a bad proof pass nor blame a good one.
func TestABadProofInABatchIsNamedAndFailsAlone(t *testing.T) {
	l := newLog(t, "log.example/a")
	p := newPlace(t, dev, l)
	var wants []Want
	var last *entry.Entry
	bad := map[string]bool{"crate-7": true, "crate-20": true}
	for i := range 24 {
		name := fmt.Sprintf("crate-%d", i)
		raw, e := forged(t, name, "1.0.0")
		if bad[name] {
			e.Proof = last.Proof // true, of another crate
		}
		last = e
		l.add(e)
		wants = append(wants, p.want(name, "1.0.0", raw))
	}
	for range 2 { // nothing about a bad proof is remembered as good
		for _, v := range p.all(wants...) {
			if bad[v.Name] {
				refused(t, v, Violation, "proof", v.Name+" 1.0.0; the evidence is "+p.dir, "Do not use the crate, and keep the bundle")
			} else {
				verified(t, []Verdict{v})
			}
		}
	}
	shown := p.files("state")
	shown = slices.DeleteFunc(shown, func(s string) bool { return !strings.HasSuffix(s, ".evidence") })
	if len(shown) != len(bad) {
		t.Errorf("evidence of %d false entries: %q", len(bad), shown)
	}
	for _, path := range shown {
		e, err := evidence.Read(path)
		fatalIf(t, err)
		if e.Kind != evidence.FalseEntry || e.Reason != evidence.ProofInvalid || !strings.Contains(filepath.Dir(path), "false-") {
			t.Errorf("%s: %+v", path, e)
		}
	}
	if kept := p.files("cache"); slices.ContainsFunc(kept, func(s string) bool { return strings.Contains(s, "crate-7") }) {
		t.Errorf("something was kept of a false entry: %q", kept)
	}
	raw := read(t, wants[7].Path)
	if r, err := p.checker(false).Crate(t.Context(), "crate-7", "1.0.0", wants[7].Checksum, raw); r != nil || err == nil || err.(*Error).Reason != "proof" {
		t.Errorf("a result escaped: %+v, %v", r, err)
	}
}

// TestEvidenceThatWasCutOffIsWrittenAgain: a process that is killed while it writes leaves a file that is none.
func TestEvidenceThatWasCutOffIsWrittenAgain(t *testing.T) {
	l := newLog(t, "log.example/a")
	p := newPlace(t, dev, l)
	_, last := forged(t, "crate-1", "1.0.0")
	raw, e := forged(t, "crate-2", "1.0.0")
	e.Proof = last.Proof // true, of another crate
	l.add(e)
	w := p.want("crate-2", "1.0.0", raw)
	p.all(w)
	kept := func() (found []string) {
		for _, path := range p.files("state") {
			if strings.HasSuffix(path, ".evidence") {
				found = append(found, path)
			}
		}
		return found
	}
	written := kept()
	if len(written) != 1 {
		t.Fatalf("evidence: %q", written)
	}
	fatalIf(t, os.Rename(written[0], filepath.Join(filepath.Dir(written[0]), durable.Unfinished+"1")))
	for range 2 {
		refused(t, p.all(w)[0], Violation, "proof", "the evidence is "+filepath.Dir(written[0]), ".evidence")
		if len(kept()) != 1 {
			t.Errorf("evidence: %q", p.files("state"))
		}
	}
}

// TestALogThatTakesCratesAfterTheUploadMayNotHaveOneYet: who reads in the minutes between is told so.
func TestALogThatTakesCratesAfterTheUploadMayNotHaveOneYet(t *testing.T) {
	for settings, soon := range map[string]bool{dev: false, dev + "registry-backed = [\"log.example/a\"]\n": true} {
		_, p, wants := hello(t, settings)
		v := p.all(p.want("nobody", "1.0.0", read(t, wants[0].Path)))[0]
		refused(t, v, Violation, "not-logged", "no one has proved this version there")
		if strings.Contains(v.Err.Error(), "published within the last minutes, try again soon") != soon {
			t.Errorf("%v", v.Err)
		}
	}
	w := Want{Name: "x", Version: "1.0.0", Demand: policy.Demand{Package: policy.Package{Registry: "sparse+https://a.example/"}}}
	if err := absent(w, [32]byte{}, &source{}, &policy.Policy{}, &client.NotLoggedError{}); !strings.Contains(err.Error(), "--index sparse+https://a.example/\"") {
		t.Errorf("the remedy is for another registry: %v", err)
	}
}

func TestWhatIsNotVerifiedIsNamed(t *testing.T) {
	l, p, wants := hello(t, dev)
	raw := read(t, wants[0].Path)
	changed := p.want("changed", "1.0.0", raw)
	fatalIf(t, os.WriteFile(changed.Path, append(raw, 0), 0o600))
	big := p.want("big", "1.0.0", raw)
	fatalIf(t, os.Truncate(big.Path, limits.Compressed+1))
	// The registry, the lock file and the disk agree on a crate that is not the proven one.
	other := wants[1]
	other.Version, other.Demand = "0.1.0", required("hello-proof", "0.1.0")
	for _, c := range []struct {
		want   Want
		status Status
		slug   string
		words  []string
	}{
		{p.want("nobody", "1.0.0", raw), Violation, "not-logged", []string{"the log log.example/a has no entry for nobody 1.0.0 (proved not logged, as of 2026-09-01T12:00:00Z): no one has proved this version there", "or make an exception in zkp.toml"}},
		{Want{Name: "x", Version: "1.0.0", Demand: required("x", "1.0.0")}, Unchecked, "not-downloaded", []string{"the .crate of x 1.0.0 is not on this machine. Run cargo fetch first."}},
		{Want{Name: "x", Version: "1.0.0", Path: filepath.Join(p.dir, "gone"), Demand: required("x", "1.0.0")}, Unchecked, "not-downloaded", nil},
		{Want{Name: "x", Version: "1.0.0", Path: p.dir, Demand: required("x", "1.0.0")}, Unchecked, "unreadable", []string{p.dir + " cannot be read: "}},
		{Want{Name: "../x", Version: "1.0.0", Raw: raw, Demand: required("x", "1.0.0")}, Unchecked, "unreadable", []string{`"../x" "1.0.0" is no crate: `, "Look at the lock file."}},
		{Want{Name: "x", Version: "../../1", Raw: raw, Demand: required("x", "1.0.0")}, Unchecked, "unreadable", nil},
		{changed, Violation, "source-tampered", []string{changed.Path + " has SHA-256 ", ", the lock file says ", "cargo will download it again"}},
		{big, Violation, "files", []string{"more than 67108864 bytes"}},
		{other, Violation, "another-crate", []string{"the entry is about hello-proof 0.1.0 with SHA-256 "}},
	} {
		v := p.all(c.want)[0]
		refused(t, v, c.status, c.slug, c.words...)
	}
	l.asked()
	for _, s := range []policy.Status{policy.NotAsked, policy.Excepted} {
		w := wants[0]
		w.Demand.Status = s
		v := p.all(w)[0]
		if strings.ReplaceAll(v.Status.String(), "-", " ") != s.String() || v.Facts != nil || v.Err != nil {
			t.Errorf("%v: %+v", s, v)
		}
	}
	l.wasAsked(t, 0)
	nobody := newPlace(t, dev)
	refused(t, nobody.all(wants[0])[0], Unchecked, "no-log", "no trust file names a log that could be asked")
}

func TestTroubleIsNoViolation(t *testing.T) {
	l, p, wants := hello(t, dev)
	refused(t, p.offline(wants[0])[0], Unchecked, "not-cached", "no bundle of hello-proof 0.1.0 is in the cache, and nothing is fetched offline. Run it once without --offline.")
	l.down()
	for _, v := range p.all(wants...) {
		refused(t, v, Unchecked, "unreachable", "the log log.example/a did not say whether it holds "+v.Name+" "+v.Version+": the log answered 502 Bad Gateway")
	}
	// A 404 of anybody else than the log says nothing.
	l.says("/", http.StatusNotFound, nil)
	refused(t, p.all(wants[0])[0], Unchecked, "unreachable")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, v := range p.checker(false).All(ctx, wants, nil) {
		refused(t, v, Unchecked, "interrupted", "it was stopped before this crate was checked")
	}
	l.up()
	verified(t, p.all(wants...))
}

func TestALogThatDoesNotAnswerIsGivenUp(t *testing.T) {
	l, p, wants := hello(t, dev)
	for i := range 60 {
		w := wants[0]
		w.Version = fmt.Sprintf("0.2.%d", i)
		wants = append(wants, w)
	}
	l.down()
	if got := Counts(p.all(wants...)); got[Unchecked] != len(wants) {
		t.Errorf("verdicts: %v", got)
	}
	if n := l.asked(); n > inFlight+maxFailures {
		t.Errorf("a dead log was asked %d times", n)
	}
}

func TestADishonestBundleIsAViolation(t *testing.T) {
	l, p, wants := hello(t, dev)
	l.says("/", http.StatusOK, []byte("no bundle"))
	refused(t, p.all(wants[0])[0], Violation, "malformed-bundle", "its first line is not")
	l.says("/", http.StatusOK, l.bundle(l.Tree, 3, 7))
	refused(t, p.all(wants[0])[0], Violation, "another-crate", "the entry is about hello-proof 0.1.1, wanted is hello-proof 0.1.0")
	l.up()
	l.ServeSigned(l.Tree, 7, l.Witnesses[0])
	refused(t, p.all(wants[0])[0], Violation, "quorum", "the quorum is 2 of (w1, w2, w3), cosigned by w1")
	l.Publish()
	verified(t, p.all(wants...))
	strict := newPlace(t, "", l)
	refused(t, strict.all(wants[0])[0], Violation, "program", "is of the program")
}

func TestEachLogIsTriedInOrder(t *testing.T) {
	a, b := newLog(t, "log.example/a"), newLog(t, "log.example/b")
	raw, e := forged(t, "x", "1.0.0")
	b.add(e)
	a.pad(3, "nothing")
	p := newPlace(t, dev, a, b)
	w := p.want("x", "1.0.0", raw)
	fresh := func() *place { q := newPlace(t, dev, a, b); return q }

	if v := fresh().all(w)[0]; v.Status != Verified || v.Facts.Log.Origin != b.KeyName {
		t.Errorf("the second log has it: %v, %v", v.Status, v.Err)
	}
	a.down()
	verified(t, fresh().all(w))
	a.says("/", http.StatusOK, []byte("garbage"))
	verified(t, fresh().all(w))
	// What a says of b's crate must satisfy a's trust file, not b's.
	a.says("/", http.StatusOK, b.bundle(b.Tree, 0, 2))
	b.down()
	refused(t, fresh().all(w)[0], Violation, "unknown-log", `the checkpoint names the log "log.example/b", the trust file lists "log.example/a"`)
	a.up()
	refused(t, fresh().all(w)[0], Unchecked, "unreachable", "log.example/b")
	b.up()
	b.Serve(b.Tree, 0, nil)
	refused(t, fresh().all(w)[0], Unchecked, "withheld", "the log says that x 1.0.0 is not logged, and then shows nothing")
	b.become(testlog.NewTree([]byte("nothing")))
	refused(t, fresh().all(w)[0], Violation, "not-logged", "the log log.example/a has no entry for x 1.0.0 (proved not logged, as of ")
}

func TestABrokenCacheHeals(t *testing.T) {
	l, p, wants := hello(t, dev)
	verified(t, p.all(wants...))
	l.asked()
	damages := map[string]func(path string, content []byte) error{
		"emptied":   func(path string, _ []byte) error { return os.Truncate(path, 0) },
		"cut":       func(path string, b []byte) error { return os.Truncate(path, int64(len(b)/2)) },
		"garbage":   func(path string, b []byte) error { return os.WriteFile(path, []byte("garbage"), 0o600) },
		"flipped":   func(path string, b []byte) error { b[len(b)/2] ^= 1; return os.WriteFile(path, b, 0o600) },
		"last byte": func(path string, b []byte) error { b[len(b)-2] ^= 1; return os.WriteFile(path, b, 0o600) },
		"removed":   func(path string, _ []byte) error { return os.Remove(path) },
		"endless":   func(path string, _ []byte) error { return os.Truncate(path, 1<<30) },
		"another":   nil, // that of the next crate
	}
	for name, damage := range damages {
		files := p.files("cache")
		if len(files) != 6 {
			t.Fatalf("the cache holds %q", files)
		}
		contents := make([][]byte, len(files))
		for i, f := range files {
			var err error
			contents[i], err = os.ReadFile(f)
			fatalIf(t, err)
		}
		for i, f := range files {
			if damage != nil {
				fatalIf(t, damage(f, slices.Clone(contents[i])))
			} else {
				next := contents[i/3*3+(i+1)%3] // bundles come first, then memos
				fatalIf(t, os.WriteFile(f, next, 0o600))
			}
		}
		if name != "removed" {
			// A bundle that does not do is no reason to say anything bad of a crate.
			for _, v := range p.offline(wants...) {
				if v.Status == Verified {
					t.Errorf("%s: verified with a damaged bundle", name)
				}
			}
		}
		vs := p.all(wants...)
		verified(t, vs)
		if t.Failed() {
			t.Fatalf("with the cache %s", name)
		}
		verified(t, p.offline(wants...))
		l.wasAsked(t, 3)
	}
	// Directories where files should be cannot be replaced; verdicts stand all the same.
	for _, f := range p.files("cache") {
		fatalIf(t, os.Remove(f))
		fatalIf(t, os.MkdirAll(filepath.Join(f, "x"), 0o700))
	}
	verified(t, p.all(wants...))
	p.forget()
	verified(t, p.all(wants...))
}

// A memo may outlive its bundle, as cargo zkp clean --bundles has it: the bundle that is fetched again is
// kept again.
func TestABundleThatIsFetchedAgainIsKept(t *testing.T) {
	_, p, wants := hello(t, dev)
	verified(t, p.all(wants...))
	for _, f := range p.files("cache") {
		if strings.HasSuffix(f, BundleExt) {
			fatalIf(t, os.Remove(f))
		}
	}
	verified(t, p.all(wants...))
	verified(t, p.offline(wants...))
}

// A memo must not outlive anything that it rests on.
func TestAMemoIsForOnePolicyAndOneCrate(t *testing.T) {
	l, p, wants := hello(t, dev)
	raw, e := forged(t, "x", "1.0.0")
	l.add(e)
	wants = append(wants, p.want("x", "1.0.0", raw))
	verified(t, p.all(wants...))
	l.server.Close()

	// No program is accepted any more.
	p.settings("", l)
	refused(t, p.offline(wants[0])[0], Violation, "program")
	p.settings(dev, l)
	verified(t, p.offline(wants...))

	// The quorum asks for a witness that has not cosigned.
	trust := l.trust
	stranger := testlog.WitnessKey("stranger.example", now)
	l.trust = strings.Replace(trust, "group g 2", "witness S "+stranger.VKey+"\ngroup g all S", 1)
	p.settings(dev, l)
	for _, v := range p.offline(wants...) {
		refused(t, v, Violation, "quorum", "the quorum is 4 of (S, w1, w2, w3), cosigned by w1, w2, w3")
	}
	l.trust = strings.Replace(trust, "quorum g", "quorum none", 1)
	p.settings(dev+"max-age = \"1h\"\n", l)
	refused(t, p.offline(wants[0])[0], Violation, "stale")
	l.trust = trust

	// The crate changed, and the lock file with it.
	p.settings(dev, l)
	w := wants[0]
	bad := read(t, w.Path)
	w = p.want("hello-proof", "0.1.0", append(bad, 0))
	refused(t, p.offline(w)[0], Violation, "another-crate")
}

func TestRulesArePartOfTheMemo(t *testing.T) {
	_, p, wants := hello(t, dev)
	verified(t, p.all(wants[0]))
	c := p.checker(true)
	it := &item{c: c, want: wants[0], sum: wants[0].Checksum, bundle: []byte("b"), current: c.candidates(wants[0])[0]}
	rules := p.policy.Rules("x", "1.0.0", now)
	keys := map[[32]byte]string{c.memoKey(it, rules): "as it is"}
	add := func(what string) {
		k := c.memoKey(it, rules)
		if was, ok := keys[k]; ok {
			t.Errorf("%q has the key of %q", what, was)
		}
		keys[k] = what
	}
	rules.AllowUnproven = append(rules.AllowUnproven, "Cargo.toml")
	add("more unproven")
	rules.AllowUnproven = []string{"Cargo.lock Cargo.toml"}
	add("joined")
	rules.MaxAge = time.Hour
	add("age")
	rules.AllowNoWitnesses = false
	add("witnesses")
	rules.Name = "y"
	add("name")
	rules.Version = "2.0.0"
	add("version")
	it.sum[0]++
	add("crate")
	it.bundle = []byte("c")
	add("bundle")
	it.current.source = &source{origin: "another"}
	add("log")
	c.fingerprint[0]++
	add("policy")
}

func TestTheAgeIsMeasuredEachTime(t *testing.T) {
	l, p, wants := hello(t, dev+"max-age = \"2d\"\n")
	verified(t, p.all(wants...))
	p.at = now.Add(47 * time.Hour)
	l.asked()
	verified(t, p.all(wants...))
	l.wasAsked(t, 0)
	p.at = now.Add(49 * time.Hour)
	for _, v := range p.offline(wants...) {
		refused(t, v, Violation, "stale", "49h0m0s ago; the rules allow 48h0m0s")
	}
	l.down()
	for _, v := range p.all(wants...) {
		refused(t, v, Unchecked, "unreachable", "502 Bad Gateway; the bundle in the cache does not do: stale checkpoint: ", "Try again when the log answers")
	}
	l.up()
	refused(t, p.all(wants[0])[0], Violation, "stale", "Fetch a newer bundle. If there is none, the log has stopped or is hidden from you")
	for i, w := range l.Witnesses {
		l.Witnesses[i] = w.At(p.at)
	}
	l.Publish()
	verified(t, p.all(wants...))
	l.server.Close()
	verified(t, p.all(wants...))
	// A clock that went back does not make a remembered verdict of the future count.
	p.at = now
	for _, v := range p.offline(wants...) {
		refused(t, v, Violation, "stale", "in the future")
	}
}

func TestACheckerNeedsItsDirectories(t *testing.T) {
	p := newPlace(t, "")
	for _, cfg := range []Config{{}, {Policy: p.policy, Cache: p.dir}, {Policy: p.policy, State: p.dir}, {Cache: p.dir, State: p.dir}} {
		if c, err := New(cfg); c != nil || err == nil {
			t.Errorf("accepted: %+v", cfg)
		}
	}
	file := filepath.Join(p.dir, policy.FileName)
	if _, err := New(Config{Policy: p.policy, Cache: filepath.Join(file, "x"), State: p.dir}); err == nil {
		t.Error("a file serves as a directory")
	}
	cache, state, err := Dirs()
	if err != nil || !filepath.IsAbs(cache) || !filepath.IsAbs(state) || cache == state {
		t.Errorf("Dirs: %q, %q, %v", cache, state, err)
	}
}

func TestAllReportsProgressAndKeepsTheOrder(t *testing.T) {
	_, p, wants := hello(t, dev)
	skipped := wants[0]
	skipped.Demand.Status = policy.NotAsked
	missing := Want{Name: "gone", Version: "1.0.0", Demand: required("gone", "1.0.0")}
	wants = append([]Want{skipped, missing}, wants...)
	var mu sync.Mutex
	var last, total int
	vs := p.checker(false).All(t.Context(), wants, func(done, n int) {
		mu.Lock()
		defer mu.Unlock()
		if done < last {
			t.Errorf("progress went from %d to %d", last, done)
		}
		last, total = done, n
	})
	if last != 5 || total != 5 {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	for i, v := range vs {
		if v.Name != wants[i].Name || v.Version != wants[i].Version {
			t.Errorf("verdict %d is about %s %s", i, v.Name, v.Version)
		}
	}
	if got := Counts(vs); got[Verified] != 3 || got[NotAsked] != 1 || got[Unchecked] != 1 || Worst(vs) != Unchecked || Worst(vs[2:]) != Verified {
		t.Errorf("counts: %v, worst %v", got, Worst(vs))
	}
}

func TestManyMayAskAtOnce(t *testing.T) {
	l, p, wants := hello(t, dev)
	c := p.checker(false)
	var wg sync.WaitGroup
	for i := range 24 {
		w := wants[i%3]
		raw := read(t, w.Path)
		wg.Go(func() {
			if i%8 == 0 {
				l.Add(fmt.Appendf(nil, "more %d", i)) // the log grows meanwhile
			}
			if r, err := c.Crate(t.Context(), w.Name, w.Version, w.Checksum, raw); err != nil || r.Commit == "" {
				t.Errorf("%s: %v", w.Name, err)
			}
			verified(t, c.All(t.Context(), wants, nil))
		})
	}
	wg.Wait()
}

// What is written stays in the directories for it.
func TestNothingIsWrittenElsewhere(t *testing.T) {
	_, p, wants := hello(t, dev)
	before := p.files("")
	verified(t, p.all(wants...))
	for _, f := range p.files("") {
		rel, err := filepath.Rel(p.dir, f)
		fatalIf(t, err)
		if !slices.Contains(before, f) && !strings.HasPrefix(rel, "cache"+string(filepath.Separator)) && !strings.HasPrefix(rel, "state"+string(filepath.Separator)) {
			t.Errorf("written: %s", rel)
		}
		if strings.Contains(filepath.Base(f), "tmp-") {
			t.Errorf("left behind: %s", rel)
		}
	}
}

// A .crate that cannot be unpacked shows the order: what a false proof stands for is never looked at.
func TestTheProofComesBeforeTheArchive(t *testing.T) {
	_, e := forged(t, "bomb", "1.0.0")
	raw := []byte("this is no archive")
	e.Subject.SHA256 = sha256.Sum256(raw)
	for _, c := range []struct {
		prove func(e *entry.Entry, list []byte) error
		slug  string
	}{
		{func(*entry.Entry, []byte) error { return nil }, "proof"}, // of the bytes that it was forged for
		{testlog.Must(forger()).Prove, "files"},
	} {
		fatalIf(t, c.prove(e, []byte("ct")))
		l := newLog(t, "log.test/order")
		l.add(e)
		p := newPlace(t, dev, l)
		refused(t, p.all(p.want("bomb", "1.0.0", raw))[0], Violation, c.slug)
	}
}
