package log

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/internal/registrytest"
	"cratelog/internal/testlog"
)

// registryWorld is a world whose log asks a registry, by a clock of the test's.
type registryWorld struct {
	*world
	l   *Log
	reg *registrytest.Registry

	mu  sync.Mutex
	now time.Time
}

func newRegistryWorld(t *testing.T, edit ...func(*Config)) *registryWorld {
	t.Helper()
	w := &registryWorld{world: newWorld(t), reg: registrytest.New(t), now: time.Now()}
	w.cfg.Registries = []Registry{{Subject: entry.DefaultRegistry, Index: "sparse+" + w.reg.Index}}
	w.cfg.testingOnlyRegistryNow = func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.now
	}
	for _, e := range edit {
		e(&w.cfg)
	}
	w.l = w.open()
	eventually(t, "the first look at the registry", func() bool { return len(w.reg.Requests()) > 0 })
	return w
}

// pass lets time go by for the log's view of registries.
func (w *registryWorld) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// claim is a true claim about a .crate that has a body of its own.
func (w *registryWorld) claim(name, version, body string) (entryBytes, raw []byte) {
	w.t.Helper()
	raw = testCrate(w.t, name, version, body)
	e := testEntry(w.t, raw, name, version, 1)
	w.proofs.believe(e)
	return marshal(e), raw
}

func (w *registryWorld) try(entryBytes, raw []byte) error { return w.tryAs("", entryBytes, raw) }

func (w *registryWorld) tryAs(client string, entryBytes, raw []byte) error {
	_, err := w.l.Submit(WithClient(w.t.Context(), client), entryBytes, bytes.NewReader(raw), nil)
	return err
}

// asked returns the names that the registry was asked about since the last call.
func (w *registryWorld) asked() (names []string) {
	for _, r := range w.reg.Requests() {
		if name := r[strings.LastIndexByte(r, '/')+1:]; name != "config.json" {
			names = append(names, name)
		}
	}
	return names
}

// TestAStrangerCannotTakeAName: "squat" of the findings, the other way round.
func TestAStrangerCannotTakeAName(t *testing.T) {
	t.Parallel()
	w := newRegistryWorld(t)
	strange, strangeCrate := w.claim("serde", "99.0.0", "// a stranger's")
	r := wantRefusal(t, w.try(strange, strangeCrate), NotInRegistry, "The registry does not list serde 99.0.0")
	if r.RetryAfter < registryFresh/2 || r.RetryAfter > 30*time.Second {
		t.Errorf("it is to be tried again in %v", r.RetryAfter)
	}
	wantSize(t, w.l, 0)

	owners, ownersCrate := w.claim("serde", "99.0.0", "// the owner's")
	w.reg.AddCrate(ownersCrate)
	w.pass(registryFresh)
	r = wantRefusal(t, w.try(strange, strangeCrate), RegistryMismatch,
		fmt.Sprintf("lists serde 99.0.0 with the SHA-256 %x, and the entry is about %x", sha256.Sum256(ownersCrate), sha256.Sum256(strangeCrate)))
	if r.RetryAfter != 0 {
		t.Error("trying again would not help")
	}
	wantSize(t, w.l, 0)
	w.submit(w.l, owners, ownersCrate)

	// The registry deletes the version and takes it again: the first one stays.
	w.reg.Replace("serde", "99.0.0", strangeCrate)
	w.pass(registryFresh)
	wantRefusal(t, w.try(strange, strangeCrate), VersionConflict, "even where its registry deleted it")
	wantSize(t, w.l, 1)
}

func TestTheAnswersOfALogWithRegistriesOverHTTP(t *testing.T) {
	t.Parallel()
	w := newRegistryWorld(t)
	srv := httptest.NewServer(w.l.Handler())
	defer srv.Close()
	post := func(entryBytes, raw []byte) (*http.Response, refusalBody) {
		contentType, body := encodeForm(t, [2]string{"entry", string(entryBytes)}, [2]string{"crate", string(raw)})
		resp := testlog.Must(http.Post(srv.URL+"/v1/submit", contentType, bytes.NewReader(body)))
		defer resp.Body.Close()
		b := testlog.Must(io.ReadAll(resp.Body))
		if resp.StatusCode == http.StatusOK {
			return resp, refusalBody{}
		}
		return resp, decodeRefusal(t, b)
	}
	e, raw := w.claim("alpha", "1.0.0", "// a")
	if resp, r := post(e, raw); resp.StatusCode != 503 || r.Reason != NotInRegistry || resp.Header.Get("Retry-After") == "" {
		t.Errorf("not listed yet: %d %v %v", resp.StatusCode, r, resp.Header)
	}
	w.reg.AddCrate(raw)
	w.pass(registryFresh)
	if resp, r := post(e, raw); resp.StatusCode != 200 {
		t.Errorf("listed: %d %v", resp.StatusCode, r)
	}
	other := testCrate(t, "alpha", "1.0.0", "// b")
	o := testEntry(t, other, "alpha", "1.0.0", 1)
	o.Subject.Registry = "https://other.example/index"
	if resp, r := post(marshal(o), other); resp.StatusCode != 422 || r.Reason != RegistryRefused || !strings.Contains(r.Message, `"default"`) {
		t.Errorf("another registry: %d %v", resp.StatusCode, r)
	}
	var about struct{ Registries []string }
	_, _, b := get(t, srv.URL+"/v1/log")
	if err := json.Unmarshal(b, &about); err != nil || !slices.Equal(about.Registries, []string{"default"}) {
		t.Errorf("/v1/log: %v %s", err, b)
	}
}

func TestALogWithoutRegistriesSaysSo(t *testing.T) {
	t.Parallel()
	_, l := openWorld(t)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	if _, _, b := get(t, srv.URL+"/v1/log"); !bytes.Contains(b, []byte(`"registries": []`)) && !bytes.Contains(b, []byte(`"registries":[]`)) {
		t.Errorf("/v1/log: %s", b)
	}
	if _, _, b := get(t, srv.URL+"/"); !bytes.Contains(b, []byte("Anybody can be the first")) {
		t.Error("its page does not say so")
	}
}

// TestNobodyIsAskedAboutWhatIsNotTrue: whoever makes the log ask has a true claim.
func TestNobodyIsAskedAboutWhatIsNotTrue(t *testing.T) {
	t.Parallel()
	w := newRegistryWorld(t)
	raw := testCrate(t, "alpha", "1.0.0", "// a")
	wantRefusal(t, w.try(marshal(testEntry(t, raw, "alpha", "1.0.0", 1)), raw), ProofInvalid, "does not verify")
	e, _ := w.claim("beta", "1.0.0", "// b")
	wantRefusal(t, w.try(e, raw), CrateMismatch, "SHA-256")
	o := testEntry(t, raw, "alpha", "1.0.0", 1)
	o.Subject.Registry = "https://other.example/index"
	w.proofs.believe(o)
	_, err := w.l.Submit(t.Context(), marshal(o), failingReader{t}, nil)
	wantRefusal(t, err, RegistryRefused, "https://other.example/index")
	if asked := w.asked(); asked != nil {
		t.Errorf("the registry was asked about %v", asked)
	}
}

func TestNamesAreThoseThatTheRegistryLists(t *testing.T) {
	t.Parallel()
	w := newRegistryWorld(t)
	e, raw := w.claim("Foo-bar", "1.0.0+x", "// a")
	w.reg.AddCrate(raw)
	for _, c := range []struct {
		name, version string
		reason        Reason
		words         string
	}{
		{"foo-bar", "1.0.0+x", RegistryMismatch, `writes the name of foo-bar 1.0.0+x as "Foo-bar"`},
		{"FOO-BAR", "1.0.0+x", RegistryMismatch, `"Foo-bar"`},
		{"foo_bar", "1.0.0+x", NotInRegistry, "does not list foo_bar"},
		{"Foo-bar", "1.0.0+y", NotInRegistry, `It lists "1.0.0+x", which is another version`},
		{"Foo-bar", "1.0.0", NotInRegistry, `It lists "1.0.0+x"`},
	} {
		wantRefusal(t, w.try(w.claim(c.name, c.version, "// a")), c.reason, c.words)
	}
	w.submit(w.l, e, raw)

	// A registry that folds - and _ itself answers about its own spelling.
	w.reg.Meddle(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/baz_qux") {
			return false
		}
		fmt.Fprintf(rw, "{\"name\":\"Baz-qux\",\"vers\":\"1.0.0+x\",\"cksum\":\"%x\"}\n", sha256.Sum256(raw))
		return true
	})
	w.pass(registryFresh)
	wantRefusal(t, w.try(w.claim("baz_qux", "1.0.0+x", "// a")), RegistryMismatch, `"Baz-qux"`)

	// Yanked is listed; two checksums of one version are not one.
	e, raw = w.claim("alpha", "1.0.0", "// a")
	w.reg.AddCrate(raw)
	w.reg.Yank("alpha", "1.0.0", true)
	w.submit(w.l, e, raw)
	e, raw = w.claim("beta", "1.0.0", "// a")
	w.reg.Meddle(func(rw http.ResponseWriter, r *http.Request) bool {
		for _, sum := range [][32]byte{{1}, sha256.Sum256(raw)} {
			fmt.Fprintf(rw, "{\"name\":\"beta\",\"vers\":\"1.0.0\",\"cksum\":\"%x\"}\nnot a line\n", sum)
		}
		return true
	})
	wantRefusal(t, w.try(e, raw), RegistryMismatch, "lists beta 1.0.0 with the SHA-256 01000000")
}

// TestTheSameVersionOfTwoRegistriesIsTwoThings, and has one checksum in each.
func TestTheSameVersionOfTwoRegistriesIsTwoThings(t *testing.T) {
	t.Parallel()
	second := registrytest.New(t)
	subject := entry.Registry("sparse+" + second.Index)
	w := newRegistryWorld(t, func(c *Config) {
		c.Registries = append(c.Registries, Registry{Subject: subject, Index: second.Index})
	})
	e, raw := w.claim("alpha", "1.0.0", "// a")
	w.reg.AddCrate(raw)
	other := testCrate(t, "alpha", "1.0.0", "// b")
	second.AddCrate(other)
	o := testEntry(t, other, "alpha", "1.0.0", 1)
	o.Subject.Registry = subject
	w.proofs.believe(o)
	w.submit(w.l, e, raw)
	w.submit(w.l, marshal(o), other)
	wantSize(t, w.l, 2)
	// The second checksum in one of them.
	x := testEntry(t, raw, "alpha", "1.0.0", 1)
	x.Subject.Registry = subject
	w.proofs.believe(x)
	wantRefusal(t, w.try(marshal(x), raw), VersionConflict, "alpha 1.0.0 of the registry "+subject+" is in the log with another checksum, as entry 2")
}

func TestARegistryThatDoesNotAnswerRefusesNothingForGood(t *testing.T) {
	t.Parallel()
	w := newRegistryWorld(t)
	e, raw := w.claim("alpha", "1.0.0", "// a")
	w.reg.AddCrate(raw)
	fails := func(h func(rw http.ResponseWriter), words string, least, most time.Duration) {
		t.Helper()
		w.reg.Meddle(func(rw http.ResponseWriter, r *http.Request) bool { h(rw); return true })
		w.asked()
		r := wantRefusal(t, w.try(e, raw), RegistryUnavailable, words)
		if r.RetryAfter < least || r.RetryAfter > most {
			t.Errorf("%s: to be tried again in %v, not between %v and %v", words, r.RetryAfter, least, most)
		}
		if n := len(w.asked()); n != 1 {
			t.Errorf("%s: %d requests", words, n)
		}
		// Until then it is left alone.
		w.pass(least - time.Millisecond)
		wantRefusal(t, w.try(e, raw), RegistryUnavailable, words)
		if n := len(w.asked()); n != 0 {
			t.Errorf("%s: asked again before its time", words)
		}
		w.pass(most)
	}
	fails(func(rw http.ResponseWriter) {
		rw.Header().Set("Retry-After", "77")
		rw.WriteHeader(http.StatusTooManyRequests)
	}, "it answered 429", 77*time.Second, 90*time.Second)
	fails(func(rw http.ResponseWriter) { rw.WriteHeader(http.StatusBadGateway) }, "it answered 502", registryPause, 11*time.Second)
	fails(func(rw http.ResponseWriter) { rw.WriteHeader(http.StatusForbidden) }, "it answered 403", registryPause, 11*time.Second)
	fails(func(rw http.ResponseWriter) {
		rw.Header().Set("Content-Length", "1000")
		rw.Write([]byte("{"))
		rw.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}, "it did not answer", registryPause, 11*time.Second)
	fails(func(rw http.ResponseWriter) {
		rw.Header().Set("Retry-After", "9999999")
		rw.WriteHeader(http.StatusServiceUnavailable)
	}, "it answered 503", maxRegistryWait, maxRegistryWait+registryFresh)
	fails(func(rw http.ResponseWriter) {
		rw.Header().Set("Location", "http://127.0.0.1:1/")
		rw.WriteHeader(http.StatusFound)
	}, "it did not answer", registryPause, 11*time.Second)
	wantSize(t, w.l, 0)

	// What one name is answered with says nothing about the next.
	beta, betaCrate := w.claim("beta", "1.0.0", "// b")
	w.reg.AddCrate(betaCrate)
	w.reg.Fail("/alpha", http.StatusForbidden)
	wantRefusal(t, w.try(e, raw), RegistryUnavailable, "it answered 403")
	w.submit(w.l, beta, betaCrate)

	w.reg.Meddle(nil)
	w.pass(registryFresh)
	w.submit(w.l, e, raw)
}

// TestAnOlderAnswerDoesNotEndAPause: a question that was on its way when the registry asked for one.
func TestAnOlderAnswerDoesNotEndAPause(t *testing.T) {
	t.Parallel()
	w := newRegistryWorld(t)
	slow, slowCrate := w.claim("slow", "1.0.0", "// a")
	quick, quickCrate := w.claim("quick", "1.0.0", "// a")
	w.reg.AddCrate(slowCrate)
	w.reg.AddCrate(quickCrate)
	release := make(chan struct{})
	w.reg.Meddle(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/slow") {
			<-release
			return false
		}
		rw.Header().Set("Retry-After", "600")
		rw.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	var g sync.WaitGroup
	g.Go(func() { w.submit(w.l, slow, slowCrate) })
	eventually(t, "it waits", func() bool { return len(w.l.registries.Load().waiting) == 1 })
	wantRefusal(t, w.try(quick, quickCrate), RegistryUnavailable, "it answered 429")
	close(release)
	g.Wait()
	w.reg.Meddle(nil)
	w.asked()
	wantRefusal(t, w.try(quick, quickCrate), RegistryUnavailable, "it answered 429")
	if asked := w.asked(); asked != nil {
		t.Errorf("asked %v", asked)
	}
	w.pass(600 * time.Second)
	w.submit(w.l, quick, quickCrate)
}

func TestALongSilenceOfARegistryIsAHealthProblem(t *testing.T) {
	t.Parallel()
	w := newRegistryWorld(t)
	e, raw := w.claim("alpha", "1.0.0", "// a")
	w.reg.AddCrate(raw)
	silent := func() bool {
		return slices.ContainsFunc(w.l.health().Problems, func(p string) bool { return strings.Contains(p, `the registry "default" has given no answer for`) })
	}
	w.reg.Fail("/", http.StatusInternalServerError)
	wantRefusal(t, w.try(e, raw), RegistryUnavailable, "it answered 500")
	if silent() {
		t.Error("it is not silent for long")
	}
	w.pass(registrySilent)
	if !silent() {
		t.Errorf("health does not say that the registry is silent: %v", w.l.health().Problems)
	}
	// A look at it finds the same, and that it answers, when it does.
	x := w.l.registries.Load().of["default"]
	x.probe(t.Context(), false)
	if !silent() {
		t.Error("a look at a silent registry ended its silence")
	}
	w.reg.Fail("/alpha", http.StatusInternalServerError) // but not config.json
	w.pass(registryPause)
	x.probe(t.Context(), false)
	if !silent() {
		t.Error("config.json alone ended its silence")
	}
	w.reg.Meddle(nil)
	w.pass(registryPause)
	w.asked()
	x.probe(t.Context(), false)
	if silent() || len(w.asked()) != 1 {
		t.Error("it answers again")
	}
	x.probe(t.Context(), false)
	if n := len(w.asked()); n != 0 {
		t.Error("it is asked though nothing is in doubt")
	}

	// One name is answered oddly: that is no silence, unless all are.
	w.reg.Fail("/alpha", http.StatusForbidden)
	wantRefusal(t, w.try(e, raw), RegistryUnavailable, "it answered 403")
	x.probe(t.Context(), false)
	w.pass(2 * registrySilent)
	if silent() {
		t.Error("one odd name is no silence")
	}
	w.reg.Fail("/", http.StatusForbidden) // a token that ended
	wantRefusal(t, w.try(e, raw), RegistryUnavailable, "it answered 403")
	x.probe(t.Context(), false)
	w.pass(registrySilent)
	if !silent() {
		t.Error("a registry that refuses everything is silent")
	}
	w.reg.Meddle(nil)
	w.submit(w.l, e, raw)
	if silent() {
		t.Error("it answers again")
	}
}

// TestARegistryIsAskedOncePerNameAtATime, and what it listed is not asked for again.
func TestARegistryIsAskedOncePerNameAtATime(t *testing.T) {
	t.Parallel()
	w := newRegistryWorld(t)
	raw := testCrate(t, "alpha", "1.0.0", "// a")
	w.reg.AddCrate(raw)
	var conditional []string
	release := make(chan struct{})
	w.reg.Meddle(func(_ http.ResponseWriter, r *http.Request) bool {
		conditional = append(conditional, r.Header.Get("If-None-Match"))
		<-release
		return false
	})
	var g sync.WaitGroup
	for i := range 6 {
		e := testEntry(t, raw, "alpha", "1.0.0", byte(i+1))
		w.proofs.believe(e)
		g.Go(func() { w.submit(w.l, marshal(e), raw) })
	}
	eventually(t, "all wait for the registry", func() bool { return len(w.l.registries.Load().waiting) == 6 })
	close(release)
	g.Wait()
	if asked := w.asked(); !slices.Equal(asked, []string{"alpha"}) {
		t.Errorf("asked: %v", asked)
	}
	// Another version, which is not listed: one question in ten seconds, and a conditional one.
	e, c := w.claim("alpha", "2.0.0", "// a")
	for range 3 {
		wantRefusal(t, w.try(e, c), NotInRegistry, "alpha 2.0.0")
	}
	if asked := w.asked(); asked != nil {
		t.Errorf("asked again at once: %v", asked)
	}
	w.pass(registryFresh)
	wantRefusal(t, w.try(e, c), NotInRegistry, "alpha 2.0.0")
	w.reg.AddCrate(c)
	wantRefusal(t, w.try(e, c), NotInRegistry, "alpha 2.0.0")
	w.pass(registryFresh)
	w.submit(w.l, e, c)
	w.reg.Meddle(nil)
	if asked := w.asked(); len(asked) != 2 || len(conditional) != 3 || conditional[0] != "" || conditional[1] == "" ||
		conditional[2] != conditional[1] {
		t.Errorf("asked: %v, with %q", asked, conditional)
	}
	// The file did not change between the second and the third question, until it did: an old claim of
	// the first version needs none.
	w.pass(time.Hour)
	again := testEntry(t, raw, "alpha", "1.0.0", 99)
	w.proofs.believe(again)
	w.submit(w.l, marshal(again), raw)
	if asked := w.asked(); asked != nil {
		t.Errorf("asked about what was listed: %v", asked)
	}
}

// TestManyWaitForOneAnswer: however many versions of a crate are logged at once, its registry is asked once, and all are
// taken.
func TestManyWaitForOneAnswer(t *testing.T) {
	t.Parallel()
	w := newRegistryWorld(t)
	const many = 200
	release := make(chan struct{})
	w.reg.Meddle(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	errs := make(chan error, many)
	for i := range many {
		e, raw := w.claim("alpha", fmt.Sprintf("1.0.%d", i), "// a")
		w.reg.AddCrate(raw)
		go func() { errs <- w.try(e, raw) }()
	}
	eventually(t, "all wait for the registry, or have their answer", func() bool {
		return len(w.l.registries.Load().waiting)+len(errs) == many
	})
	close(release)
	for range many {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if asked := w.asked(); !slices.Equal(asked, []string{"alpha"}) {
		t.Errorf("asked: %v", asked)
	}
}

// TestOneClientLeavesNewNamesToOthers: a few true claims about what is listed nowhere, brought again and again, keep
// nobody else's first crate out.
func TestOneClientLeavesNewNamesToOthers(t *testing.T) {
	t.Parallel()
	const budget = 20 // 10 for new names, 3 for one client
	w := newRegistryWorld(t, func(c *Config) { c.RegistryRequests = budget })
	for i := range budget {
		reason := NotInRegistry
		if i >= 3 {
			reason = RegistryUnavailable
		}
		e, raw := w.claim(fmt.Sprintf("random-%d", i), "1.0.0", "// a")
		wantRefusal(t, w.tryAs("192.0.2.1", e, raw), reason, "")
	}
	e, raw := w.claim("alpha", "1.0.0", "// a")
	w.reg.AddCrate(raw)
	if err := w.tryAs("192.0.2.2", e, raw); err != nil {
		t.Error(err)
	}
	w.pass(time.Minute)
	e, raw = w.claim("random-10", "1.0.0", "// a")
	wantRefusal(t, w.tryAs("192.0.2.1", e, raw), NotInRegistry, "")
}

// TestRandomNamesSpendNoMoreThanTheBudget, and names that the log knows keep half of it.
func TestRandomNamesSpendNoMoreThanTheBudget(t *testing.T) {
	t.Parallel()
	const budget = 20
	w := newRegistryWorld(t, func(c *Config) { c.RegistryRequests = budget })
	e, raw := w.claim("alpha", "1.0.0", "// a")
	w.reg.AddCrate(raw)
	w.submit(w.l, e, raw)
	w.pass(time.Minute)
	w.asked()
	for i := range 3 * budget {
		e, raw := w.claim(fmt.Sprintf("random-%d", i), "1.0.0", "// a")
		err := w.tryAs(fmt.Sprint(i%4), e, raw)
		reason := NotInRegistry
		if i >= budget/2 {
			reason = RegistryUnavailable
		}
		if r := wantRefusal(t, err, reason, ""); r.RetryAfter <= 0 || r.RetryAfter > time.Minute+registryFresh {
			t.Errorf("%d: to be tried again in %v", i, r.RetryAfter)
		}
	}
	if asked := w.asked(); len(asked) != budget/2 {
		t.Errorf("%d requests about names that nobody knows", len(asked))
	}
	for i := range budget {
		err := w.try(w.claim("alpha", fmt.Sprintf("2.0.%d", i), "// a"))
		if i < budget/2 {
			wantRefusal(t, err, NotInRegistry, "")
		} else {
			wantRefusal(t, err, RegistryUnavailable, "as often as it may in a minute")
		}
		w.pass(registryFresh / budget) // all of it is one minute
		w.l.registries.Load().of["default"].listings.Purge()
	}
	if asked := w.asked(); len(asked) != budget/2 {
		t.Errorf("%d requests about a name that the log knows", len(asked))
	}
	w.pass(time.Minute)
	wantRefusal(t, w.try(w.claim("random-0", "1.0.0", "// a")), NotInRegistry, "")
}

func TestASubmitterWhoLeavesDoesNotEndTheQuestion(t *testing.T) {
	t.Parallel()
	w := newRegistryWorld(t)
	e, raw := w.claim("alpha", "1.0.0", "// a")
	w.reg.AddCrate(raw)
	release := make(chan struct{})
	w.reg.Meddle(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := w.l.Submit(ctx, e, bytes.NewReader(raw), nil)
		left <- err
	}()
	eventually(t, "it waits", func() bool { return len(w.l.registries.Load().waiting) == 1 })
	cancel()
	if err := <-left; err != context.Canceled {
		t.Errorf("who left got %v", err)
	}
	close(release)
	w.reg.Meddle(nil)
	w.submit(w.l, e, raw)
	if asked := w.asked(); len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
}

func TestWrongRegistriesAreRefusedByTheSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		list  []Registry
		words string
	}{
		{[]Registry{{Subject: "", Index: ""}}, "index"},
		{[]Registry{{Subject: "", Index: "git+ssh://a.example/"}}, "index"},
		{[]Registry{{Subject: "https://A.example", Index: "https://a.example/"}}, "must be written"},
		{[]Registry{{Subject: "default", Index: "http://a.example/"}}, "plain http to another machine"},
		{[]Registry{{Subject: "default", Index: "https://a.example/?x"}}, "query"},
		{[]Registry{{Subject: "default", Index: "https://a.example/"}, {Subject: "default", Index: "https://b.example/"}}, "twice"},
	} {
		w.cfg.Registries = c.list
		if _, err := Open(t.Context(), w.cfg); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%v: %v", c.list, err)
		}
	}
	w.cfg.Registries, w.cfg.RegistryRequests = nil, -1
	if _, err := Open(t.Context(), w.cfg); err == nil || !strings.Contains(err.Error(), "registry_requests") {
		t.Errorf("a negative budget: %v", err)
	}
}

// TestRegistriesAreReplacedWhileTheLogIsOpen, as when the settings are read again.
func TestRegistriesAreReplacedWhileTheLogIsOpen(t *testing.T) {
	t.Parallel()
	w := newRegistryWorld(t)
	e, raw := w.claim("alpha", "1.0.0", "// a")
	wantRefusal(t, w.try(e, raw), NotInRegistry, "")
	second := registrytest.New(t)
	second.AddCrate(raw)
	if err := w.l.SetRegistries([]Registry{{Subject: "default"}}, 0); err == nil {
		t.Error("a registry without an index was taken over")
	}
	for _, budget := range []int{-1, 1 << 62} {
		err := w.l.SetRegistries([]Registry{{Subject: "default", Index: second.Index}}, budget)
		if err == nil || !strings.Contains(err.Error(), "registry_requests is") {
			t.Errorf("a budget of %d: %v", budget, err)
		}
	}
	wantRefusal(t, w.try(e, raw), NotInRegistry, "")
	fatalIf(t, w.l.SetRegistries([]Registry{{Subject: "default", Index: second.Index}}, 0))
	w.submit(w.l, e, raw)
}

// TestABuildTakesNoNameEither: one with a source that another log holds would fix the checksum.
func TestABuildTakesNoNameEither(t *testing.T) {
	t.Parallel()
	other := newWorldOf(t, "other.test/2025", "other.test")
	l2 := other.open()
	source, raw := other.good("alpha", "1.0.0")
	bundle := other.submit(l2, source, raw)
	reg := registrytest.New(t)
	w := buildWorld(t)
	w.cfg.Policy = joined(w.cfg.Policy, other.cfg.Policy)
	w.cfg.Registries = []Registry{{Subject: entry.DefaultRegistry, Index: reg.Index}}
	w.good("alpha", "1.0.0")
	l := w.open()
	one := ann.says(t, rebuilders, source, claimOf(1))
	wantBuildRefusal(t, l, one, crates, bundle, NotInRegistry, "does not list alpha 1.0.0")
	wantSize(t, l, 0)
	reg.AddCrate(raw)
	fatalIf(t, l.SetRegistries(w.cfg.Registries, 0)) // it forgets what was not listed
	w.build(l, one, bundle)
}
