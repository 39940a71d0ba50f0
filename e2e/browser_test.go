package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/browser"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/loopback"
	"cratelog/internal/testlog"
	"cratelog/monitor"
	"cratelog/monitor/store"
	"cratelog/monitor/web"
	"cratelog/proofcheck"
)

// browsing is a log with a key that one operator made, a monitor of it that serves the checker, and a browser.
type browsing struct {
	t      *testing.T
	world  *loopback.World
	url    string // of the monitor
	solo   proofcheck.Program
	b      *browser.Browser
	crate  []byte
	bundle []byte
}

func newBrowsing(t *testing.T) *browsing {
	t.Helper()
	fixture.Need(t, browser.Program)
	s := &browsing{t: t, crate: fixture.Crate(t, "hello-proof", "0.1.0")}
	checker := filepath.Join(t.TempDir(), "verify.tar")
	pack := exec.CommandContext(t.Context(), "go", "run", "./monitor/web/verify/pack", "-o", checker)
	pack.Dir = ".."
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("pack: %v\n%s", err, out)
	}
	forger, err := forge.Invent("browser", "solo: Example Org", 41)
	fatalIf(t, err)
	s.solo = forger.Program()
	e := fixture.Entry(t, "hello-proof-0.1.0")
	list, err := forge.List(s.crate, e)
	fatalIf(t, err)
	fatalIf(t, forger.Prove(e, list)) // of what is true, with the secrets of a key, as nobody but Example Org could
	text, err := e.Marshal()
	fatalIf(t, err)

	dir := t.TempDir()
	s.world, err = loopback.Start(t.Context(), loopback.Config{Origin: origin, Dir: dir, Programs: []proofcheck.Program{s.solo}})
	fatalIf(t, err)
	t.Cleanup(func() { fatalIf(t, s.world.Close()) })
	log := &client.Log{URL: s.world.URL, UserAgent: "cratelog-e2e"}
	s.bundle, err = log.Submit(t.Context(), text, s.crate, fixture.Read(t, "hello-proof-0.1.0.opening"))
	fatalIf(t, err)

	db, err := store.Create(t.Context(), filepath.Join(dir, "monitor.db"))
	fatalIf(t, err)
	t.Cleanup(func() { fatalIf(t, db.Close()) })
	evidence := filepath.Join(dir, "evidence")
	fatalIf(t, os.Mkdir(evidence, 0o755))
	m, err := monitor.New(t.Context(), monitor.Config{Store: db, EvidenceDir: evidence, Proofs: s.world.Proofs, Openings: true,
		Logs: []monitor.LogConfig{{Origin: origin, Policy: s.world.Policy}}})
	fatalIf(t, err)
	_, err = m.Once(t.Context())
	fatalIf(t, err)
	c := web.Config{Store: db.Reader, Proofs: s.world.Proofs, Policies: map[string]*client.Policy{origin: s.world.Policy},
		Trust: map[string][]byte{origin: s.world.Text}, Evidence: evidence}
	c.Checker, err = web.ReadChecker(checker)
	fatalIf(t, err)
	pages, err := web.New(c)
	fatalIf(t, err)
	s.url, err = s.world.Serve(pages)
	fatalIf(t, err)
	s.b, err = browser.Start(t.Context())
	fatalIf(t, err)
	t.Cleanup(func() {
		if err := s.b.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// visit is one reader on the page that checks entry 0.
type visit struct {
	*browser.Page
	t *testing.T
}

func (s *browsing) visit(t *testing.T) *visit {
	t.Helper()
	p, err := s.b.Page(browser.View{Width: 1280, Height: 900})
	fatalIf(t, err)
	v := &visit{p, t}
	v.must(p.Open(s.url + "/e/0/verify"))
	return v
}

func (v *visit) must(err error) { v.t.Helper(); fatalIf(v.t, err) }

func (v *visit) do(js string) { v.t.Helper(); v.must(v.Eval("void "+js, nil)) }

// inJS is a string in JavaScript.
func inJS(s string) string {
	b, _ := json.Marshal(s) // which does not fail
	return string(b)
}

// choose has the reader choose a file, and waits until the page has seen it.
func (v *visit) choose(id, name string, content []byte) {
	v.t.Helper()
	file := filepath.Join(v.t.TempDir(), name)
	fatalIf(v.t, os.WriteFile(file, content, 0o600))
	v.do(`(document.getElementById('chosen').textContent = '')`)
	v.must(v.Choose("#"+id+"-file", file))
	v.must(v.WaitFor(`document.getElementById('chosen').textContent !== ''`))
}

// checked presses the button and returns what the page says: the verdict's class, and the whole answer.
func (v *visit) checked() (tone, text string) {
	v.t.Helper()
	v.do(`document.getElementById('run').click()`)
	v.must(v.WaitFor(`!document.getElementById('run').disabled && document.querySelector('#answer .verdict')`))
	v.must(v.Eval(`document.querySelector('#answer .verdict').className`, &tone))
	v.must(v.Eval(`document.getElementById('answer').innerText`, &text))
	return strings.TrimPrefix(tone, "verdict "), text
}

// says presses the button, and wants a tone and words.
func (v *visit) says(tone string, words ...string) {
	v.t.Helper()
	got, text := v.checked()
	for _, w := range append(words, "") {
		if got != tone || !strings.Contains(text, w) {
			v.t.Errorf("the page says, %s:\n%s\nwanted is %s, with %q", got, text, tone, w)
			return
		}
	}
}

// asked are the requests of the page. The icon is none: browsers ask for it when they like, or not at all.
func (v *visit) asked() []string {
	return slices.DeleteFunc(v.Requests(), func(url string) bool { return strings.HasSuffix(url, "/favicon.svg") })
}

// calm wants that the page asked nobody but the monitor, and that nothing was on the console.
func (v *visit) calm() {
	v.t.Helper()
	for _, trouble := range v.Trouble() {
		v.t.Error(trouble)
	}
	v.must(v.Close())
}

const loggedOnly = "Your browser checked: logged, cosigned, these git objects exist; the crate's files were not checked"

// TestBrowserVerifiesAnEntry in a real one: what it says is what was checked, and who was believed.
func TestBrowserVerifiesAnEntry(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the checker, and starts a browser")
	}
	s := newBrowsing(t)
	other := []byte(strings.Replace(string(s.world.Text), s.world.VKey, testlog.LogKey("stranger.example/log").VKey, 1))
	program, err := s.solo.Marshal()
	fatalIf(t, err)

	t.Run("the bundle alone, then the crate, offline", func(t *testing.T) {
		v := s.visit(t)
		if n := len(v.asked()); n != 3 {
			t.Errorf("before the button is pressed there are %d requests, and wanted are the page, its style and its script: %q", n, v.asked())
		}
		v.says("plain", loggedOnly, "It shows nothing about the monitor itself", "solo: Example Org", "not checked The .crate's files")
		before := len(v.asked())
		v.must(v.Offline(true))
		v.choose("trust", "own.policy", s.world.Text)
		v.says("plain", loggedOnly, "It shows nothing about the monitor itself") // the program is still the monitor's
		v.choose("programs", "own.json", program)
		v.says("plain", loggedOnly, "under the trust file that you chose")
		v.choose("crate", "hello-proof-0.1.0.crate", s.crate)
		v.says("good", "Verified by your browser", "under the trust file that you chose", "Proven files\n", "ok The .crate's files")
		v.choose("opening", "x.opening", fixture.Read(t, "hello-proof-0.1.0.opening"))
		v.says("good", "Verified by your browser", "By SHA-1 alone: for this no key must be believed")
		if after := v.asked(); len(after) != before {
			t.Errorf("while it checks, it asks for %q", after[before:])
		}
		v.must(v.Offline(false))
		v.calm()
	})
	t.Run("with an empty line more, a trust file is still the monitor's", func(t *testing.T) {
		v := s.visit(t)
		v.choose("programs", "own.json", program)
		v.do(`(document.getElementById('trust').value += '\n')`)
		v.says("plain", loggedOnly, "It shows nothing about the monitor itself")
		v.calm()
	})
	t.Run("what is tampered with", func(t *testing.T) {
		v := s.visit(t)
		for name, c := range corruptions(t, s.bundle) {
			v.choose("bundle", "x.tlog-proof", c.bundle)
			v.says("bad", "Refused", c.says, "failed "+c.step)
			if t.Failed() {
				t.Fatal(name)
			}
		}
		v.calm()
	})
	t.Run("other files", func(t *testing.T) {
		v := s.visit(t)
		v.choose("trust", "own.policy", other)
		v.says("bad", "Refused", "unknown log", "add a log to it only if you trust it")
		v.choose("trust", "own.policy", []byte("log nonsense\n"))
		v.says("bad", "trust file, line 1: the log's key", "failed The trust file and the programs can be used")
		v.choose("trust", "own.policy", []byte("log "+s.world.VKey+"\nquorum none\n"))
		v.says("bad", "no witnesses asked for")
		v.do(`document.getElementById('development').click()`)
		v.says("bad", "UNSAFE: no witnesses. Your browser checked")
		v.do(`document.getElementById('development').click()`)
		v.choose("trust", "own.policy", s.world.Text)
		v.do(`(document.getElementById('programs').value = '')`)
		v.says("bad", "program not accepted", "failed The proof is of a program that is accepted")
		v.choose("programs", "own.json", program)
		v.choose("crate", "hello-proof-0.1.0.crate", fixture.Crate(t, "hello-proof", "0.1.1"))
		v.says("bad", "another crate", "this .crate has")
		v.choose("crate", "hello-proof-0.1.0.crate", append(bytes.Clone(s.crate), 0))
		v.says("bad", "another crate")
		v.choose("crate", "hello-proof-0.1.0.crate", s.crate)
		v.choose("opening", "x.opening", fixture.Read(t, "hello-proof-0.1.0.opening")[1:])
		v.says("bad", "the opening shows nothing")
		v.calm()
	})
	t.Run("a huge file with a hostile name is dropped", func(t *testing.T) {
		v := s.visit(t)
		drop := func(name, content string) {
			t.Helper()
			v.do(`(() => { const d = new DataTransfer(); d.items.add(new File(` + content + `, ` + inJS(name) + `));
				document.getElementById('check').dispatchEvent(new DragEvent('drop', {dataTransfer: d, cancelable: true})) })()`)
			v.must(v.WaitFor(`document.getElementById('chosen').textContent.includes(` + inJS(name) + `)`))
		}
		const hostile = `"><img src=x onerror=document.title='owned'>.crate`
		drop(hostile, `[new Uint8Array(64000000)]`)
		v.says("bad", "another crate")
		drop(hostile, `[new Uint8Array(68000000)]`)
		v.says("bad", "Nothing was verified", hostile+" has 68000000 bytes, at most 67108864 are read.")
		drop("\u202ex.exe", `['x']`)
		drop("y.crate", `['y']`)
		drop("x.json", `['{}']`)
		v.says("bad", "Refused", "unknown proof system")
		var title string
		v.must(v.Eval("document.title", &title))
		if strings.Contains(title, "owned") {
			t.Error("the name of a file was taken for HTML")
		}
		v.calm()
	})
	t.Run("the page reaches nobody else", func(t *testing.T) {
		v := s.visit(t)
		v.says("plain", loggedOnly)
		var reached []string
		v.must(v.Eval(`Promise.all([
			fetch('`+s.world.URL+`/checkpoint').then(() => 'the log', () => ''),
			new Promise(done => { const w = new Worker(URL.createObjectURL(new Blob(['postMessage(1)']))); w.onmessage = () => done('a worker of its own'); w.onerror = () => done('') }).catch(() => ''),
		]).then(all => all.filter(Boolean))`, &reached))
		if len(reached) != 0 {
			t.Errorf("it reached %q", reached)
		}
		v.must(v.Close())
	})
	t.Run("it looks well", func(t *testing.T) { s.looksWell(t) })
}

// looksWell looks at the page before and after an answer in all views.
func (s *browsing) looksWell(t *testing.T) {
	axe, err := browser.Axe(t.Context())
	if errors.Is(err, browser.ErrNoAxe) {
		fixture.Skip(t, "%v", err)
	}
	fatalIf(t, err)
	v := s.visit(t)
	for _, state := range []string{"before", "answered"} {
		if state == "answered" {
			v.choose("crate", "hello-proof-0.1.0.crate", s.crate)
			v.says("plain", "Verified by your browser")
		}
		for _, view := range browser.Views {
			v.must(v.Look(view))
			found, err := v.Check(axe)
			v.must(err)
			for _, f := range found {
				t.Errorf("%s at %v: %s", state, view, f)
			}
		}
	}
	v.must(v.Close())
}

// corrupted is a bundle that must be refused, with words, at a step.
type corrupted struct {
	bundle     []byte
	says, step string
}

// corruptions are corruptions of a bundle, by name.
func corruptions(t *testing.T, bundle []byte) map[string]corrupted {
	t.Helper()
	p, err := client.ParseBundle(bundle)
	fatalIf(t, err)
	e, err := entry.Parse(p.Entry)
	fatalIf(t, err)
	out := map[string]corrupted{}
	with := func(name, says, step string, change func(p *client.Bundle)) {
		q := *p
		q.Entry, q.Checkpoint, q.Hashes = bytes.Clone(p.Entry), bytes.Clone(p.Checkpoint), append([][32]byte(nil), p.Hashes...)
		change(&q)
		b, err := q.Marshal()
		fatalIf(t, err)
		out[name] = corrupted{b, says, step}
	}
	const inTree = "The tree that was signed holds the entry"
	with("a bit of the proof", "entry not in the log", inTree, func(q *client.Bundle) {
		at := bytes.Index(q.Entry, e.Proof.Parts[0]) + rand.IntN(len(e.Proof.Parts[0]))
		q.Entry[at] ^= 1 << rand.IntN(8)
	})
	with("another index", "entry not in the log", inTree, func(q *client.Bundle) { q.Index++ })
	with("a hash too many", "entry not in the log", inTree, func(q *client.Bundle) { q.Hashes = append(q.Hashes, [32]byte{1}) })
	const sealed = "The tree ends in a seal, whose index gives the version this one checksum"
	with("a bit of the seal", "no valid seal", sealed, func(q *client.Bundle) {
		q.Seal.Leaf = bytes.Clone(q.Seal.Leaf)
		q.Seal.Leaf[rand.IntN(len(q.Seal.Leaf))] ^= 1 << rand.IntN(8)
	})
	with("another checksum", "no valid seal", sealed, func(q *client.Bundle) {
		q.Version.Value = bytes.Clone(q.Version.Value)
		q.Version.Value[rand.IntN(32)] ^= 1 << rand.IntN(8)
	})
	signed, lines, _ := strings.Cut(string(p.Checkpoint), "\n\n")
	flip := func(n int) func(q *client.Bundle) {
		return func(q *client.Bundle) {
			all := strings.SplitAfter(lines, "\n")
			name, sig, _ := strings.Cut(strings.TrimSpace(all[n][len("— "):]), " ")
			raw, err := base64.StdEncoding.DecodeString(sig)
			fatalIf(t, err)
			raw[len(raw)-1-rand.IntN(32)] ^= 1
			all[n] = "— " + name + " " + base64.StdEncoding.EncodeToString(raw) + "\n"
			q.Checkpoint = []byte(signed + "\n\n" + strings.Join(all, ""))
		}
	}
	const cosigned = "The log signed the checkpoint, and the witnesses' quorum cosigned it"
	with("a bit of a cosignature", "bad cosignature", cosigned, flip(1))
	with("a bit of the log's signature", "no valid signature of the log", cosigned, flip(0))
	with("no cosignatures", "too few witnesses", cosigned, func(q *client.Bundle) {
		q.Checkpoint = []byte(signed + "\n\n" + strings.SplitAfter(lines, "\n")[0])
	})
	with("another size", "no valid signature of the log", cosigned, func(q *client.Bundle) {
		q.Checkpoint = bytes.Replace(q.Checkpoint, []byte("\n2\n"), []byte("\n3\n"), 1)
	})
	out["a cut off bundle"] = corrupted{bundle[:len(bundle)/3], "malformed bundle", "The bundle is well formed"}
	return out
}
