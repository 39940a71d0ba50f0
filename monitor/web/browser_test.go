package web

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cratelog/internal/browser"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
	"cratelog/internal/web"
)

const wasm = "\x00asm\x01\x00\x00\x00"

// withChecker is a world whose monitor serves a checker, which is none.
func withChecker(w *world) *world {
	w.cfg.Checker = testlog.Must(parseChecker(testlog.Must(PackChecker("go1.26.8", []byte("// exec\n"), []byte(wasm)))))
	w.cfg.Trust = map[string][]byte{testOrigin: []byte("log <hostile> </textarea><script>\n")}
	return w
}

// TestOnlyTheCheckersPageRunsAScript, and the worker in which the checker runs reaches nobody.
func TestOnlyTheCheckersPageRunsAScript(t *testing.T) {
	w := withChecker(healthy(t, "solo: Example Org"))
	s := w.server()
	entryPage := s.must("/e/0")
	link := regexp.MustCompile(`href="(/e/[0-9a-f]{64}/verify)"`).FindStringSubmatch(entryPage.body)
	if link == nil || strings.Contains(entryPage.body, "<script") ||
		entryPage.header.Get("Content-Security-Policy") != web.PageHeaders["Content-Security-Policy"] {
		t.Fatalf("the entry's page: %v\n%s", entryPage.header, entryPage.body)
	}
	page := s.must(link[1])
	if got := page.header.Get("Content-Security-Policy"); got != browserPolicy || strings.Contains(got, "unsafe") {
		t.Errorf("CSP %q", got)
	}
	if strings.Count(page.body, "<script") != 1 || !strings.Contains(page.body, "log &lt;hostile&gt; &lt;/textarea&gt;&lt;script&gt;") {
		t.Errorf("the page:\n%s", page.body)
	}
	attr := func(name string) string {
		found := regexp.MustCompile(` ` + name + `="([^"]*)"`).FindStringSubmatch(page.body)
		if found == nil {
			t.Fatalf("the page has no %s:\n%s", name, page.body)
		}
		return strings.ReplaceAll(found[1], "&#43;", "+")
	}
	sha := func(b string) string {
		sum := sha256.Sum256([]byte(b))
		return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
	}
	script := s.must(attr("src"))
	if attr("integrity") != sha(script.body) || attr("data-integrity") != sha(wasm) {
		t.Errorf("what is loaded is not what the page names:\n%s", page.body)
	}
	worker := s.must(attr("data-worker"))
	if got := worker.header.Get("Content-Security-Policy"); got != "default-src 'none'; script-src 'wasm-unsafe-eval'" ||
		!strings.HasPrefix(worker.body, "// exec\n") || !strings.Contains(worker.body, "cratelogVerify") {
		t.Errorf("the worker has the CSP %q", got)
	}
	for _, accepts := range []string{"", "br, gzip", "gzip;q=0", "gzip; q=0.5"} {
		r := httptest.NewRequest(http.MethodGet, attr("data-wasm"), nil)
		r.Header.Set("Accept-Encoding", accepts)
		a := s.ask(r)
		got := []byte(a.body)
		packed := accepts == "br, gzip" || accepts == "gzip; q=0.5"
		if packed {
			z, err := gzip.NewReader(strings.NewReader(a.body))
			fatalIf(t, err)
			got, err = io.ReadAll(z)
			fatalIf(t, err)
		}
		if string(got) != wasm || a.header.Get("Content-Type") != "application/wasm" || (a.header.Get("Content-Encoding") == "gzip") != packed {
			t.Errorf("%q: %v %q", accepts, a.header, a.body)
		}
	}
	s.wants(s.get("/e/99999/verify"), http.StatusNotFound, "")
	w.cfg.Checker = nil
	plain := w.server()
	plain.wants(plain.get("/e/0/verify"), http.StatusNotFound, "This monitor has no program for browsers")
	if strings.Contains(plain.must("/e/0").body, "/verify") {
		t.Error("a page offers what is not there")
	}
}

// TestACheckersFileIsStrict: one form, bounded, and a sentence about every other.
func TestACheckersFileIsStrict(t *testing.T) {
	pack := func(members ...string) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for i := 0; i < len(members); i += 2 {
			fatalIf(t, w.WriteHeader(&tar.Header{Name: members[i], Mode: 0o644, Size: int64(len(members[i+1]))}))
			_, err := io.WriteString(w, members[i+1])
			fatalIf(t, err)
		}
		fatalIf(t, w.Close())
		return out.Bytes()
	}
	zipped := func(s string) string {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, err := io.WriteString(z, s)
		fatalIf(t, errors.Join(err, z.Close()))
		return out.String()
	}
	good := zipped(wasm)
	if _, err := parseChecker(pack("go", "go1.27", "wasm_exec.js", "", "verify.wasm.gz", good)); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, c := range map[string]struct {
		raw  []byte
		says string
	}{
		"nothing":      {nil, "go is missing"},
		"text":         {[]byte("hello"), "go is missing"},
		"other order":  {pack("wasm_exec.js", "", "go", "go1.27", "verify.wasm.gz", good), "where go must stand"},
		"no program":   {pack("go", "go1.27", "wasm_exec.js", ""), "verify.wasm.gz is missing"},
		"more":         {pack("go", "go1.27", "wasm_exec.js", "", "verify.wasm.gz", good, "x", ""), "something follows"},
		"markup":       {pack("go", "go1.27<b>", "wasm_exec.js", "", "verify.wasm.gz", good), "is no version of Go"},
		"not zipped":   {pack("go", "go1.27", "wasm_exec.js", "", "verify.wasm.gz", wasm), "verify.wasm.gz: "},
		"no wasm":      {pack("go", "go1.27", "wasm_exec.js", "", "verify.wasm.gz", zipped("\x7fELF1234")), "is no WebAssembly"},
		"cut off":      {pack("go", "go1.27", "wasm_exec.js", "", "verify.wasm.gz", good[:len(good)-3]), "verify.wasm.gz"},
		"a huge one":   {pack("go", "go1.27", "wasm_exec.js", "", "verify.wasm.gz", zipped(wasm+strings.Repeat("\x00", maxCheckerWasm))), "unpacked"},
		"an empty one": {pack("go", "go1.27", "wasm_exec.js", "", "verify.wasm.gz", zipped("")), "is no WebAssembly"},
	} {
		if _, err := parseChecker(c.raw); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if _, err := ReadChecker(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there is read")
	}
}

func FuzzParseChecker(f *testing.F) {
	f.Add(testlog.Must(PackChecker("go1.26.8", []byte("x"), []byte(wasm))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := parseChecker(raw); err == nil && (c.size < 4 || len(c.packed) == 0 || !goVersion.MatchString(c.version)) {
			t.Errorf("accepted: %+v", c)
		}
	})
}

// TestBrowserSeesNothingWrongWithAnyPage: in a world where all is well, in one where nothing is, and in an
// empty one. Each page fits the narrowest phone, asks nobody else, and axe-core finds nothing.
func TestBrowserSeesNothingWrongWithAnyPage(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a browser, and looks at many pages")
	}
	fixture.Need(t, browser.Program)
	axe, err := browser.Axe(t.Context())
	if errors.Is(err, browser.ErrNoAxe) {
		fixture.Skip(t, "%v", err)
	}
	fatalIf(t, err)
	b, err := browser.Start(t.Context())
	fatalIf(t, err)
	defer func() { fatalIf(t, b.Close()) }()
	narrow, phone, desk := browser.Views[0], browser.Views[1], browser.Views[len(browser.Views)-1]
	for w, world := range []*world{withChecker(healthy(t, "solo: Example Org")), withChecker(troubled(t)),
		newWorld(t, "solo: Example Org")} {
		world.cfg.Name, world.cfg.Subscriptions = strings.Repeat("a monitor with a long name ", w), &subscribers{}
		s := world.server()
		site := httptest.NewServer(subscribed(s))
		defer site.Close()
		p, err := b.Page(narrow)
		fatalIf(t, err)
		for n, path := range onePageOfEachKind(s) {
			fatalIf(t, p.Look(narrow))
			fatalIf(t, p.Open(site.URL+path))
			found, err := p.Wide()
			fatalIf(t, err)
			fatalIf(t, p.Look([]browser.View{phone, desk}[(w+n)%2])) // axe takes a while: by day, or by night
			source := axe
			if w == 2 && path != "/" { // what is empty there has its looks from the two others
				source = nil
			}
			more, err := p.Check(source)
			fatalIf(t, err)
			for _, f := range append(found, more...) {
				t.Errorf("world %d, %s: %s", w, path, f)
			}
		}
		fatalIf(t, p.Close())
	}
}

// subscribed shows what the form of subscriptions leads to at an address that a browser can open.
func subscribed(s served) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/subscribed" {
			form := strings.NewReader("prefix=acme&match=prefix&url=https%3A%2F%2Fhook.example%2Fx")
			r = httptest.NewRequest(http.MethodPost, "/watch", form)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		s.ServeHTTP(w, r)
	})
}

// onePageOfEachKind are addresses: of every kind of page the one with the most on it.
func onePageOfEachKind(s served) []string {
	found, seen := s.crawl(), map[string]bool{}
	paths := []string{"/nothing-here", "/search?q=e", "/search?q=0f0e0d0c", "/subscribed",
		"/unsubscribe/" + strings.Repeat("a", 32)}
	var all []string
	for path, a := range found {
		if isPage(a) {
			all = append(all, path)
		}
	}
	slices.SortFunc(all, func(a, b string) int { return len(found[b].body) - len(found[a].body) }) // the fullest first
	for _, path := range all {
		kind, _, _ := strings.Cut(path, "?")
		parts := strings.Split(kind, "/")
		for i := 2; i < len(parts); i++ {
			if parts[i] != "verify" && parts[i] != "compare" {
				parts[i] = "*"
			}
		}
		if kind = strings.Join(parts, "/"); !seen[kind] {
			seen[kind] = true
			paths = append(paths, path)
		}
	}
	return paths
}
