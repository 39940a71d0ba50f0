package verdict

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/registrytest"
	"cratelog/internal/testlog"
)

// carrying is a place whose registry takes evidence.
type carrying struct {
	*place
	reg  *registrytest.Registry
	http *http.Client
}

func newCarrying(t testing.TB, p *place) *carrying {
	c := &carrying{place: p, reg: registrytest.New(t), http: &http.Client{Timeout: requestTimeout}}
	c.reg.TakeEvidence()
	return c
}

// check is place.checker with the registry.
func (c *carrying) check(edit ...func(*Config)) *Checker {
	c.t.Helper()
	cfg := Config{Policy: c.policy, Cache: filepath.Join(c.dir, "cache"), State: filepath.Join(c.dir, "state"),
		Now: func() time.Time { return c.at }, Log: slog.New(slog.DiscardHandler), HTTP: c.http}
	x := &registry.Index{URL: c.reg.Index, HTTP: c.http}
	cfg.Registry = func(string) *registry.Index { return x }
	for _, e := range edit {
		e(&cfg)
	}
	checker, err := New(cfg)
	fatalIf(c.t, err)
	return checker
}

func (c *carrying) all(wants ...Want) []Verdict {
	c.t.Helper()
	return c.check().All(c.t.Context(), wants, nil)
}

// at is where the bundle of a log about a crate lies.
func at(w Want, l *fakeLog) string {
	return registry.BundlePath(entry.Registry(w.Demand.Registry), w.Name, w.Version, l.KeyName)
}

// quietly checks that crates are verified and that nothing is said of any.
func quietly(t testing.TB, vs []Verdict) {
	t.Helper()
	verified(t, vs)
	for _, v := range vs {
		if len(v.Notes) != 0 {
			t.Errorf("%s: %q", v.Name, v.Notes)
		}
	}
}

func TestNoLogIsAskedAboutACrateWhoseRegistryCarriesItsEvidence(t *testing.T) {
	l, p, wants := hello(t, dev)
	c := newCarrying(t, p)
	for i, w := range wants {
		c.reg.SetEvidence(at(w, l), l.bundle(l.Tree, int64(2*i+1), l.Tree.Size()))
	}
	l.down()
	quietly(t, c.all(wants...))
	l.wasAsked(t, 0)
	c.reg.Requests()
	quietly(t, c.all(wants...)) // out of the cache
	if q := c.reg.Requests(); len(q) != 0 {
		t.Errorf("the registry is asked again: %q", q)
	}
}

func TestMissingEvidenceIsNotSpokenOf(t *testing.T) {
	l, p, wants := hello(t, dev)
	c := newCarrying(t, p)
	quietly(t, c.all(wants...))
	l.wasAsked(t, len(wants))
	for _, says := range []any{nil, "x", 1, []int{}, map[string]any{}, map[string]any{"evidence": nil},
		map[string]any{"evidence": "http://example.com/"}, map[string]any{"evidence": c.reg.URL + "/nothing"}} {
		c.forget()
		c.reg.Announce(says)
		quietly(t, c.all(wants...))
		l.wasAsked(t, len(wants))
	}
	c.forget()
	c.reg.Fail("/", http.StatusInternalServerError)
	quietly(t, c.all(wants...))
	c.forget()
	l.down()
	refused(t, c.all(wants[0])[0], Unchecked, "unreachable", "did not say whether it holds", "nor is there an answer of",
		"the registry answered 500")
}

// corruptions of a bundle, by name. All must be refused, or be the same in effect.
func corruptions(good, another []byte) map[string][]byte {
	out := map[string][]byte{
		"empty": {}, "nonsense": []byte("<!doctype html>\n"), "truncated": good[:len(good)/2],
		"no end": bytes.TrimSuffix(good, []byte("\n")), "a line more": append(bytes.Clone(good), '\n'),
		"CRLF": bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), "of another crate": another,
		"huge": bytes.Repeat([]byte("a"), client.MaxBundleSize+1),
	}
	begin := 0
	for i, line := range bytes.SplitAfter(good, []byte("\n")) { // a letter of each line: each part stands in its own
		if len(line) > 1 {
			b := bytes.Clone(good)
			at := begin + len(line)/2
			if b[at]++; b[at] > 'z' {
				b[at] = 'A'
			}
			out[fmt.Sprintf("line %d", i+1)] = b
		}
		begin += len(line)
	}
	return out
}

func TestBadEvidenceIsToldAndTheLogIsAsked(t *testing.T) {
	l, p, wants := hello(t, dev)
	c := newCarrying(t, p)
	size := l.Tree.Size()
	good := l.bundle(l.Tree, 1, size)
	all := corruptions(good, l.bundle(l.Tree, 3, size))
	if len(all) < 15 {
		t.Fatalf("%d corruptions only", len(all))
	}
	for name, bad := range all {
		c.forget()
		c.reg.SetEvidence(at(wants[0], l), bad)
		l.up()
		vs := c.all(wants[0])
		verified(t, vs)
		if notes := strings.Join(vs[0].Notes, "\n"); !strings.Contains(notes, "what the registry "+c.reg.Index+" holds does not do: ") {
			t.Errorf("%s: it is not told: %q", name, notes)
		}
		if !bytes.Equal(vs[0].Bundle, good) {
			t.Errorf("%s: the bundle is another", name)
		}
		c.forget()
		l.down()
		v := c.all(wants[0])[0]
		refused(t, v, Unchecked, "unreachable", "holds does not do")
		l.says("/v1/crates/", http.StatusNotFound, []byte(`{"reason": "not-found", "message": "no"}`))
		refused(t, c.all(wants[0])[0], Violation, "no-claim", "holds does not do")
	}
}

func TestEvidenceOfALogThatIsNotItsOwnIsNone(t *testing.T) {
	l, p, wants := hello(t, dev)
	other := newLog(t, "log.test/other")
	_, _, entries := real(t)
	other.add(entries[0])
	other.Publish()
	p.settings(dev, l, other)
	c := newCarrying(t, p)
	c.reg.SetEvidence(at(wants[0], l), other.bundle(other.Tree, 0, 2)) // both are trusted
	l.down()
	vs := c.all(wants[0])
	verified(t, vs) // by the other log, which has it
	if len(vs[0].Notes) == 0 || other.asked() != 1 {
		t.Errorf("a bundle counts where another's must lie: %+v", vs[0].Notes)
	}
}

func TestARegistryThatHangsOrRedirectsIsGivenUp(t *testing.T) {
	l, p, wants := hello(t, dev)
	c := newCarrying(t, p)
	c.http = &http.Client{Timeout: 300 * time.Millisecond}
	end := make(chan struct{})
	for name, answer := range map[string]http.HandlerFunc{
		"hangs": func(_ http.ResponseWriter, q *http.Request) {
			select {
			case <-end:
			case <-q.Context().Done():
			}
		},
		"hangs in the middle": func(w http.ResponseWriter, q *http.Request) {
			w.Write(make([]byte, 100))
			http.NewResponseController(w).Flush()
			select {
			case <-end:
			case <-q.Context().Done():
			}
		},
		"in a circle": func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, q.URL.Path, http.StatusFound) },
		"to plain http": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "http://example.com/", http.StatusFound)
		},
		"to other scheme": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "file:///etc/hosts", http.StatusFound)
		},
	} {
		c.forget()
		c.reg.Meddle(func(w http.ResponseWriter, q *http.Request) bool {
			if !strings.HasPrefix(q.URL.Path, "/evidence/") {
				return false
			}
			answer(w, q)
			return true
		})
		if vs := c.all(wants...); t.Failed() {
			t.Fatalf("%s: %+v", name, vs)
		} else {
			quietly(t, vs)
		}
		l.wasAsked(t, len(wants))
	}
	close(end)
}

func TestOldEvidenceIsPassedOver(t *testing.T) {
	l, p, wants := hello(t, dev+"max-age = \"30d\"\n")
	c := newCarrying(t, p)
	old := l.bundle(l.Tree, 1, l.Tree.Size())
	c.reg.SetEvidence(at(wants[0], l), old)
	c.at = now.Add(29 * 24 * time.Hour)
	quietly(t, c.all(wants[0]))
	l.wasAsked(t, 0)
	c.at = now.Add(31 * 24 * time.Hour)
	for _, w := range l.Witnesses {
		*w = *w.At(c.at)
	}
	l.Publish()
	quietly(t, c.all(wants[0]))
	if l.asked() == 0 {
		t.Error("nobody was asked")
	}
}

func TestAnOpeningIsTakenFromTheRegistry(t *testing.T) {
	x := publicly(t, testlog.Must(forger()), "honest\n", "honest\n", nil)
	l := newLog(t, "log.test/openings")
	l.add(x.entry)
	l.Publish()
	p := newPlace(t, asks, l)
	w := p.want("x", "1.0.0", x.raw)
	c := newCarrying(t, p)
	c.reg.SetEvidence(at(w, l), l.bundle(l.Tree, 0, 2))
	id, err := x.entry.Identity()
	fatalIf(t, err)
	path := registry.OpeningPath("default", "x", "1.0.0", id)
	c.reg.SetEvidence(path, x.opening)
	l.down()
	vs := c.all(w)
	quietly(t, vs)
	if !bytes.Equal(vs[0].Opened, x.opening) {
		t.Error("it is verified without the opening")
	}
	l.wasAsked(t, 0)
	l.serveOpening(t, x)
	for _, bad := range [][]byte{{}, x.opening[:10], append(bytes.Clone(x.opening), 0)} {
		c.forget()
		c.reg.SetEvidence(path, bad)
		verified(t, c.all(w))
		l.wasAsked(t, 1)
	}
}

func TestOnlyTheRegistryItselfHearsOfAPrivateCrate(t *testing.T) {
	raw, e := forged(t, "secret", "1.0.0")
	e.Subject.Registry = entry.Registry(corp)
	f, err := forger()
	fatalIf(t, err)
	list, err := forge.List(raw, e)
	fatalIf(t, err)
	fatalIf(t, f.Prove(e, list))
	l := newLog(t, "log.test/corp")
	l.add(e)
	l.Publish()
	public := registrytest.New(t)
	public.TakeEvidence()
	p := newPlace(t, dev+fmt.Sprintf("evidence = [%q]\n[registry.%q]\nlogs = [\"log.test/corp\"]\n", public.URL+"/evidence/", corp), l)
	w := p.want("secret", "1.0.0", raw)
	w.Demand.Registry = corp
	c := newCarrying(t, p)
	c.reg.SetEvidence(at(w, l), l.bundle(l.Tree, 0, 2))
	quietly(t, c.all(w))
	c.forget()
	c.reg.SetEvidence(at(w, l), nil)
	quietly(t, c.all(w))
	if q := public.Requests(); len(q) != 0 {
		t.Errorf("a server that is named for public crates is asked %q", q)
	}
	// And no registry's word opens a log that the policy does not.
	p.settings(dev+fmt.Sprintf("[registry.%q]\n", corp), l)
	c.forget()
	c.reg.SetEvidence(at(w, l), l.bundle(l.Tree, 0, 2))
	refused(t, c.all(w)[0], Violation, "registry")
	l.asked()
}

func TestATreeOfEvidenceStandsInForTheLogs(t *testing.T) {
	l, p, wants := hello(t, dev)
	for i := range wants {
		wants[i].Opened = true
	}
	noOpenings(l)
	tree := filepath.Join(t.TempDir(), "tree")
	save := func(c *Checker, wants ...Want) (n int) {
		t.Helper()
		out := c.Tree(tree)
		vs := c.All(t.Context(), wants, nil)
		verified(t, vs)
		for i := range vs {
			wrote, err := out.Save(t.Context(), &vs[i])
			fatalIf(t, err)
			if wrote {
				n++
			}
		}
		fatalIf(t, out.SaveTiles(t.Context()))
		return n
	}
	if n := save(p.checker(false), wants[0]); n != 1 {
		t.Fatalf("%d were written", n)
	}
	l.pad(300, "later")
	p.forget()
	if n := save(p.checker(false), wants...); n != len(wants) {
		t.Errorf("%d were written", n)
	}
	if n := save(p.checker(false), wants...); n != 0 {
		t.Errorf("%d were written again", n)
	}
	l.pad(700, "later still")
	p.forget()
	save(p.checker(false), wants[1])
	l.down()
	l.asked()

	reader := newPlace(t, dev+fmt.Sprintf("evidence = [%q]\n", tree), l)
	var theirs []Want
	for i, n := range wants {
		theirs = append(theirs, reader.want(n.Name, n.Version, read(t, wants[i].Path)))
	}
	quietly(t, reader.all(theirs...)) // under checkpoints of several sizes
	l.wasAsked(t, 0)
	reader.forget()
	quietly(t, reader.all(theirs...))
	server := registrytest.New(t)
	server.TakeEvidence()
	server.LoadEvidence(tree)
	reader = newPlace(t, dev+fmt.Sprintf("evidence = [%q]\n", server.URL+"/evidence"), l)
	quietly(t, reader.all(theirs...))
	l.wasAsked(t, 0)

	// Tiles that are not the log's show nothing, and accuse nobody: the log is asked.
	for path := range server.Evidence() {
		if strings.Contains(path, "/tile/") {
			server.SetEvidence(path, bytes.Repeat([]byte{7}, len(server.Evidence()[path])))
		}
	}
	reader = newPlace(t, dev+fmt.Sprintf("evidence = [%q]\n", server.URL+"/evidence"), l)
	for _, v := range reader.all(theirs...) {
		if v.Status == Violation {
			t.Errorf("%s: %v", v.Name, v.Err)
		}
	}
	l.up()
	quietly(t, reader.all(theirs...))
}

func TestOfflineADirectoryOfEvidenceIsEnough(t *testing.T) {
	l, p, wants := hello(t, dev)
	tree := t.TempDir()
	path := filepath.Join(tree, filepath.FromSlash(at(wants[0], l)))
	fatalIf(t, os.MkdirAll(filepath.Dir(path), 0o755))
	fatalIf(t, os.WriteFile(path, l.bundle(l.Tree, 1, l.Tree.Size()), 0o644))
	p.settings(dev+fmt.Sprintf("evidence = [%q, \"http://127.0.0.1:1/\"]\n", tree), l)
	verified(t, p.offline(wants[0]))
	l.wasAsked(t, 0)
	p.forget()
	fatalIf(t, os.WriteFile(path, []byte("x"), 0o644))
	refused(t, p.offline(wants[0])[0], Violation, "malformed-bundle", "what "+tree+" holds does not do")
}

func TestATreeIsNotWrittenOlder(t *testing.T) {
	l, p, wants := hello(t, dev)
	tree := t.TempDir()
	path := filepath.Join(tree, filepath.FromSlash(at(wants[0], l)))
	fatalIf(t, os.MkdirAll(filepath.Dir(path), 0o755))
	small := l.Tree.Size()
	l.pad(20, "later")
	newer := l.bundle(l.Tree, 1, 20)
	for _, was := range [][]byte{[]byte("nonsense"), l.bundle(l.Tree, 3, 20), newer} {
		fatalIf(t, os.WriteFile(path, was, 0o644))
		p.forget()
		l.show(small)
		c := p.checker(false)
		vs := c.All(t.Context(), wants[:1], nil)
		verified(t, vs)
		wrote, err := c.Tree(tree).Save(t.Context(), &vs[0])
		fatalIf(t, err)
		if stays := bytes.Equal(was, newer); wrote == stays || bytes.Equal(read(t, path), was) != stays {
			t.Errorf("%.20q: written %t", was, wrote)
		}
	}
}

// TestALogDoesNotChooseWhereItsTilesAreWritten: a redirect names no file.
func TestALogDoesNotChooseWhereItsTilesAreWritten(t *testing.T) {
	l, p, wants := hello(t, dev)
	tree := filepath.Join(t.TempDir(), "a", "tree")
	l.pad(300, "later")
	var redirected atomic.Int64
	l.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		const out = "/tile/%2e%2e/%2e%2e/%2e%2e/%2e%2e/x?"
		switch {
		case strings.Contains(r.URL.Path, ".."):
			r.URL.Path = r.URL.RawQuery
		case strings.HasPrefix(r.URL.Path, "/tile/"):
			redirected.Add(1)
			w.Header().Set("Location", out+r.URL.Path)
			w.WriteHeader(http.StatusFound)
			return true
		}
		return false
	})
	l.anywhere = true
	c := p.checker(false)
	vs := c.All(t.Context(), wants[:1], nil)
	verified(t, vs)
	out := c.Tree(tree)
	_, err := out.Save(t.Context(), &vs[0])
	fatalIf(t, err)
	for _, now := range out.heads[l.KeyName] { // and an older one, so that tiles are needed
		now.Size, now.Root = 2, l.Tree.Root(2)
		out.heads[l.KeyName][2] = now
		break
	}
	fatalIf(t, out.SaveTiles(t.Context()))
	if err := out.write("../x", nil); err == nil {
		t.Error("a name leads out of the tree")
	}
	if redirected.Load() == 0 {
		t.Fatal("no tile was asked for, so that this test sees nothing")
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(tree), "x")); err == nil {
		t.Error("a file is written outside of the tree")
	}
	if _, err := os.Stat(filepath.Join(tree, registry.LogPath(l.KeyName), "tile", "0")); err != nil {
		t.Error(err)
	}
}
