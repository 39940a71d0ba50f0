package web

import (
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
	"cratelog/proofcheck"
)

// element is a start tag of a page.
type element struct {
	name string
	attr map[string]string
}

// parseHTML reads a page and fails if its elements are not nested as they must be.
func parseHTML(t testing.TB, path, body string) (elements []element, text string) {
	t.Helper()
	if !strings.HasPrefix(body, "<!doctype html>") {
		t.Fatalf("%s does not begin with a doctype", path)
	}
	d := xml.NewDecoder(strings.NewReader(body))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var b strings.Builder
	depth := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s is no well-formed HTML: %v", path, err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			depth++
			e := element{tok.Name.Local, make(map[string]string)}
			for _, a := range tok.Attr {
				if _, twice := e.attr[a.Name.Local]; twice {
					t.Errorf("%s: <%s> has the attribute %s twice", path, e.name, a.Name.Local)
				}
				e.attr[a.Name.Local] = a.Value
			}
			elements = append(elements, e)
		case xml.EndElement:
			depth--
		case xml.CharData:
			b.Write(tok)
		}
	}
	if depth != 0 {
		t.Errorf("%s leaves %d elements open", path, depth)
	}
	return elements, b.String()
}

// crawl follows every link of a server's own, from the front page, and returns what
// it found by address. It asks for no bundles: not every entry has one, and
// bundle_test.go verifies them.
func (s served) crawl() map[string]answer {
	s.t.Helper()
	found, next, searches := make(map[string]answer), []string{"/"}, 0
	for len(next) > 0 {
		path := next[0]
		next = next[1:]
		if _, done := found[path]; done {
			continue
		}
		if strings.HasPrefix(path, "/search?") { // each hash leads to one: some of them will do
			if searches++; searches > 40 {
				continue
			}
		}
		if len(found) > 6000 {
			s.t.Fatal("the pages never end")
		}
		a := s.get(path)
		if isPage(a) {
			a.elements, a.text = parseHTML(s.t, path, a.body)
		}
		found[path] = a
		for _, e := range a.elements {
			if to := e.attr["href"]; strings.HasPrefix(to, "/") && !strings.Contains(to, bundleSuffix) {
				to, _, _ = strings.Cut(to, "#")
				next = append(next, to)
			}
		}
	}
	return found
}

func isPage(a answer) bool { return strings.HasPrefix(a.header.Get("Content-Type"), "text/html") }

// Each property is tested of every page, in a world where all is well and in one where
// nothing is.
func TestPages(t *testing.T) {
	for name, makeWorld := range map[string]func(t testing.TB) *world{
		"healthy": func(t testing.TB) *world { return healthy(t, "solo: Example Org") }, "troubled": troubled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := makeWorld(t).server()
			found := s.crawl()
			for property, f := range map[string]func(t *testing.T, s served, found map[string]answer){
				"every link leads to an answer":                     everyLinkLeadsToAnAnswer,
				"pages load nothing from elsewhere and run nothing": nothingFromElsewhere,
				"pages have landmarks, headings and labels":         landmarks,
				"hostile values are text":                           hostileValuesAreText,
				"twins agree with pages":                            twinsAgree,
			} {
				t.Run(property, func(t *testing.T) { f(t, s, found) })
			}
		})
	}
}

func everyLinkLeadsToAnAnswer(t *testing.T, s served, found map[string]answer) {
	pages := 0
	for path, a := range found {
		if a.code != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, a.code, a.body)
		}
		if isPage(a) {
			pages++
		}
	}
	if pages < 100 {
		t.Errorf("only %d pages were found", pages)
	}
}

func nothingFromElsewhere(t *testing.T, s served, found map[string]answer) {
	const csp = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	for path, a := range found {
		if got := a.header.Get("Content-Security-Policy"); got != csp {
			t.Errorf("%s: CSP %q", path, got)
		}
		if a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s lacks security headers", path)
		}
		if isPage(a) {
			checkElements(t, path, a.elements)
		}
	}
}

func checkElements(t *testing.T, path string, elements []element) {
	for _, e := range elements {
		if slices.Contains([]string{"script", "iframe", "object", "embed", "img", "base", "style", "audio", "video", "source"}, e.name) {
			t.Errorf("%s has a <%s>", path, e.name)
		}
		for name, value := range e.attr {
			switch {
			case strings.HasPrefix(name, "on"), name == "style", name == "srcset", name == "src", name == "ping":
				t.Errorf("%s: <%s> has the attribute %s", path, e.name, name)
			case name == "action" && value != "/search" && value != "/watch" && !strings.HasPrefix(value, "/c/"):
				t.Errorf("%s: a form goes to %s", path, value)
			case name == "href" && e.name != "a" && !strings.HasPrefix(value, "/"):
				t.Errorf("%s: <%s> loads %s", path, e.name, value)
			case name == "href" && strings.HasPrefix(value, "//"):
				t.Errorf("%s links to %s", path, value)
			case name == "href" && !strings.HasPrefix(value, "/") && value != "#content" && !strings.HasPrefix(value, "https://git.example.com/nordic/fjord/commit/"):
				t.Errorf("%s links to %s", path, value)
			}
		}
	}
}

func TestTheStyleSheetNamesNoOtherHost(t *testing.T) {
	b := testlog.Must(os.ReadFile("../../internal/web/style.css"))
	if m := regexp.MustCompile(`url\(|@import|//[a-z]`).Find(b); m != nil {
		t.Errorf("the style sheet has %q", m)
	}
}

// A page must be usable with a screen reader, a keyboard, and no colors.
func landmarks(t *testing.T, s served, found map[string]answer) {
	for path, a := range found {
		if !isPage(a) {
			continue
		}
		count := make(map[string]int)
		level := 0 // of the last heading
		for _, e := range a.elements {
			count[e.name]++
			if len(e.name) == 2 && e.name[0] == 'h' && e.name[1] >= '1' && e.name[1] <= '6' {
				next := int(e.name[1] - '0')
				if next > level+1 {
					t.Errorf("%s has a heading of level %d behind one of level %d", path, next, level)
				}
				level = next
			}
			switch {
			case e.name == "html" && e.attr["lang"] != "en":
				t.Errorf("%s does not say its language", path)
			case e.name == "input" && e.attr["aria-label"] == "":
				t.Errorf("%s has an input without a label", path)
			case e.name == "th" && e.attr["scope"] == "":
				t.Errorf("%s has a header cell without a scope", path)
			case e.name == "td" && e.attr["data-label"] == "":
				t.Errorf("%s has a cell that does not name itself on a phone", path)
			case e.name == "svg" && e.attr["aria-hidden"] != "true" && e.attr["aria-label"] == "":
				t.Errorf("%s has a picture without words", path)
			}
		}
		for _, one := range []string{"header", "nav", "main", "footer", "h1", "title"} {
			if count[one] != 1 {
				t.Errorf("%s has %d <%s>", path, count[one], one)
			}
		}
		if count["table"] != count["caption"] {
			t.Errorf("%s has %d tables and %d captions", path, count["table"], count["caption"])
		}
		if !strings.Contains(a.body, `<a class="skip" href="#content">`) {
			t.Errorf("%s has no skip link", path)
		}
	}
}

func TestAnUnprovenManifestIsNotCalledDerived(t *testing.T) {
	w := newWorld(t, "solo: Example Org")
	log := w.logs[0]
	w.append(log, made(t, "big", "1.0.0", func(_ *entry.Entry, s *entry.Source) { s.Unproven = []string{"Cargo.lock", "Cargo.toml"} }),
		made(t, "small", "1.0.0"))
	w.head(log, 3)
	w.verify(log)
	s := w.server()
	for index, derived := range []bool{false, true} {
		a := s.must(fmt.Sprintf("/e/%d", index))
		if got := strings.Contains(a.body, "Cargo.toml says nothing that does not follow"); got != derived {
			t.Errorf("entry %d: Cargo.toml is called derived: %v", index, got)
		}
		if got := strings.Contains(a.body, "dependencies, features and build scripts are not proven"); got == derived {
			t.Errorf("entry %d: Cargo.toml is called unproven: %v", index, got)
		}
	}
}

// TestAnEntrySaysWhatItsProofIsAboutAndNoMore: what nobody has proven is called that.
func TestAnEntrySaysWhatItsProofIsAboutAndNoMore(t *testing.T) {
	w := newWorld(t, "solo: Example Org")
	log := w.logs[0]
	w.append(log, real(t, "hello-proof-0.1.0"), made(t, "x", "1.0.0", func(e *entry.Entry, s *entry.Source) {
		e.Subject.Registry = "https://index.example/x"
		s.Unproven, s.CRLF = []string{"Cargo.toml", "Cargo.toml.orig"}, []string{"src/dos.rs"}
		s.Attributes = []entry.Attributes{{Path: "crates", Content: []byte("*.rs eol=crlf\n")}}
	}), made(t, "y", "1.0.0"))
	fatalIf(t, w.store.PutCrate(t.Context(), store.Crate{Log: log.ID, Index: 0, Repository: "https://git.example.com/a/b.git", NamesCommit: true}))
	fatalIf(t, w.store.PutCrate(t.Context(), store.Crate{Log: log.ID, Index: 1, Repository: "javascript:alert(1)"}))
	for i, state := range []string{store.OpeningHolds, store.OpeningContradict} {
		fatalIf(t, w.store.PutOpening(t.Context(), store.Opening{Log: log.ID, Index: int64(i), State: state, SHA256: [32]byte{7}, Since: w.now}))
	}
	w.head(log, 3)
	w.verify(log)
	s := w.server()
	commit := read[entryDetail](s, "/v1/entries/0").Commit
	for index, want := range [][]string{
		{"cargo's default registry", "The .crate itself names this commit.", "https://git.example.com/a/b.git claimed, not proven this commit there",
			"solo: Example Org -- whoever ran it could forge; nobody else", "they show the claim by SHA-1 alone", "Proof1 segment, about ", "Checked with the list of the .crate's files."},
		{"https://index.example/x", "Its files are in this commit; the crate itself names no commit", "javascript:alert(1) claimed, not proven",
			"With CRLF line ends where the commit has LF, and the same else: src/dos.rs; of some, crates/.gitattributes of the commit says so",
			"The manifest is not proven.", "The commit's own objects contradict the claim", "1 segment, about "},
		{"that it is the list of the .crate's files, only who has the .crate can tell", "This monitor has not looked whether the .crate itself names this commit."},
	} {
		path := fmt.Sprintf("/e/%d", index)
		elements, text := parseHTML(t, path, s.must(path).body)
		for _, say := range want {
			if !strings.Contains(text, say) {
				t.Errorf("%s does not say %q:\n%s", path, say, text)
			}
		}
		for _, never := range []string{"this commit there", "claimed, not proven", "Opening"} {
			if index == 2 && strings.Contains(text, never) || index == 1 && never == "this commit there" && strings.Contains(text, never) {
				t.Errorf("%s says %q", path, never)
			}
		}
		for _, e := range elements {
			if to := e.attr["href"]; strings.HasPrefix(to, "https:") && to != "https://git.example.com/a/b/commit/"+commit || strings.HasPrefix(to, "javascript") {
				t.Errorf("%s leads to %s", path, to)
			}
		}
	}
	d := read[entryDetail](s, "/v1/entries/1")
	if d.Registry != "https://index.example/x" || d.NamesCommit == nil || *d.NamesCommit || d.Proof == nil || d.Proof.Segments != 1 || d.Opening.State != "contradict" ||
		d.Repository != "javascript:alert(1)" || d.RepositoryURL != "" || !slices.Equal(d.Coverage.CRLF, []string{"src/dos.rs"}) || d.Program.Trust == "" {
		t.Errorf("the API says %+v", d)
	}
	if d := read[entryDetail](s, "/v1/entries/2"); d.NamesCommit != nil || d.Opening != nil {
		t.Errorf("the API says of what is not known %+v", d)
	}
}

// TestCratesOfTwoRegistriesAreTwoThings: one version of each is no contradiction.
func TestCratesOfTwoRegistriesAreTwoThings(t *testing.T) {
	w := newWorld(t, "solo: Example Org")
	log := w.logs[0]
	w.append(log, made(t, "x", "1.0.0"), made(t, "x", "1.0.0", func(e *entry.Entry, s *entry.Source) {
		e.Subject.Registry, e.Subject.SHA256 = "https://index.example/x", [32]byte{1}
	}))
	w.head(log, 3)
	w.verify(log)
	s := w.server()
	for _, path := range []string{"/c/x", "/c/x/1.0.0"} {
		_, text := parseHTML(t, path, s.must(path).body)
		if strings.Contains(text, "void") ||
			!strings.Contains(text, "https://index.example/x") {
			t.Errorf("%s says\n%s", path, text)
		}
	}
	if got := allEntries(t, s, "/v1/entries?registry=https://index.example/x"); len(got) != 1 || got[0].Index != 1 {
		t.Errorf("of the other registry: %+v", got)
	}
	if v := read[versionJSON](s, "/c/x/1.0.0.json"); len(v.Checksums) != 2 || v.Entries[1].Void != nil {
		t.Errorf("the API says %+v", v)
	}
	if d := read[entryDetail](s, "/v1/entries/0"); len(d.Later) != 0 {
		t.Error("an entry of another registry is called one about the same crate")
	}
}

func TestACheckpointBesideAForkIsNotGood(t *testing.T) {
	w := troubled(t)
	s := w.server()
	p := testlog.Must(w.store.Position(t.Context(), w.logs[0].ID))
	page := fmt.Sprintf("/cp/%d", p.Verified)
	a := s.must(page)
	if strings.Contains(a.body, `"verdict good"`) || strings.Contains(a.body, "Consistent with all") {
		t.Errorf("%s is called good beside a fork:\n%s", page, a.body)
	}
	d := read[checkpointDetail](s, page+".json")
	notes := make(map[string]bool)
	for _, c := range d.Checkpoints {
		if note := s.must(c.File).body; note != c.Note || !c.Fork || !strings.Contains(a.body, html.EscapeString(c.File)) {
			t.Errorf("%s holds %q, and not the note, or the page has no link to it", c.File, note)
		}
		notes[c.Note] = true
	}
	if len(notes) != 2 {
		t.Errorf("%d notes", len(notes))
	}
	if strings.Contains(s.must("/log").body, page+`">`) && !strings.Contains(s.must("/log").body, "consistent, one of two trees") {
		t.Error("the list of checkpoints calls one of two trees consistent")
	}
	s.wants(s.get(page+"?root="+strings.Repeat("0", 64)), http.StatusNotFound, "with that root")
}

func TestInformationDoesNotFloodFindings(t *testing.T) {
	w := healthy(t, "solo: Example Org")
	for i := range 2 * pageLimit {
		w.find(store.Finding{Key: fmt.Sprint(i), Log: 1, Kind: "unproven-files", Class: store.Info, Index: int64(i), Summary: "left out"}, nil)
	}
	w.find(operational("stale"), nil)
	for i := range 3 * pageLimit {
		w.find(store.Finding{Key: fmt.Sprint("later", i), Log: 1, Kind: "unproven-files", Class: store.Info, Index: int64(i), Summary: "left out"}, nil)
	}
	s := w.server()
	for _, page := range []string{"/evidence", "/", "/feed.atom"} {
		if a := s.must(page); strings.Contains(a.body, "left out") || !strings.Contains(a.body, "not answered for an hour") {
			t.Errorf("%s is flooded by information", page)
		}
	}
	s.wants(s.get("/evidence"), http.StatusOK, `<a href="/evidence?kind=unproven-files">250 unproven-files</a>`)
	info := s.must("/evidence?class=info")
	older := regexp.MustCompile(`href="(/evidence\?[^"]*)" rel="next"`).FindStringSubmatch(info.body)
	if older == nil || strings.Count(s.must(html.UnescapeString(older[1])).body, "<p>left out</p>") != pageLimit {
		t.Errorf("the information does not go on: %q", older)
	}
}

// A list is not green where the entry's own page says that a party cheated.
func TestListsMarkEntriesThatFindingsAreAbout(t *testing.T) {
	w := healthy(t, "solo: Example Org")
	w.find(store.Finding{Key: "a", Log: 1, Index: 0, Kind: "registry-checksum", Class: store.Security,
		Summary: "another checksum", Name: "hello-proof", Version: "0.1.0"}, nil)
	w.find(store.Finding{Key: "b", Log: 1, Index: 1, Kind: "unproven-files", Class: store.Info, Summary: "left out"}, nil)
	s := w.server()
	for page, want := range map[string]int{"/c/hello-proof": 1, "/c/hello-inner": 0, "/c/hello-proof/0.1.0": 1} {
		if got := strings.Count(s.must(page).body, `>security finding</span>`); got != want {
			t.Errorf("%s marks %d entries, not %d", page, got, want)
		}
	}
	if !read[entryDetail](s, "/v1/entries/0").Accused || read[entryDetail](s, "/v1/entries/1").Accused {
		t.Error("the API does not say it")
	}
}

func TestYankedVersionsAreNamed(t *testing.T) {
	w := healthy(t, "solo: Example Org")
	fatalIf(t, w.store.PutRelease(t.Context(), store.Release{Log: 1, Index: 0, Yanked: true}))
	s := w.server()
	for page, want := range map[string]bool{"/e/0": true, "/c/hello-proof": true, "/c/hello-proof/0.1.0": true, "/e/1": false, "/c/hello-inner": false} {
		if got := strings.Contains(s.must(page).body, `>yanked</span>`); got != want {
			t.Errorf("%s names a yanked version: %v", page, got)
		}
	}
	if !strings.Contains(s.must("/v1/export.ndjson").body, `"yanked":true`) {
		t.Error("the export does not say it")
	}
	if !read[entryDetail](s, "/v1/entries/0").Yanked {
		t.Error("the API does not say it")
	}
}

func TestAnEmptyMonitorSaysNoMoreThanItKnows(t *testing.T) {
	w := newWorld(t, "solo: Example Org")
	w.find(operational("log-unreachable"), nil)
	s := w.server()
	for _, page := range []string{"/", "/log", "/c/nothing"} {
		a := s.must(page)
		for _, wrong := range []string{"e3b0c442", "and no trouble", "first 0 entries", "Feed of new versions", "did not publish"} {
			if strings.Contains(a.body, wrong) {
				t.Errorf("%s says %q", page, wrong)
			}
		}
	}
}

func TestColorsHaveContrast(t *testing.T) {
	b := testlog.Must(os.ReadFile("../../internal/web/style.css"))
	schemes := strings.SplitN(string(b), "prefers-color-scheme: dark", 2)
	for i, css := range schemes {
		color := make(map[string]float64)
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(css, -1) {
			color[m[1]] = luminance(t, m[2])
		}
		for _, pair := range [][2]string{
			{"ink", "paper"}, {"ink", "card"}, {"soft", "paper"}, {"soft", "card"}, {"accent", "paper"}, {"accent", "card"}, {"card", "accent"},
			{"accent", "accent-soft"}, {"good", "good-soft"}, {"wait", "wait-soft"}, {"bad", "bad-soft"}, {"ink", "good-soft"}, {"ink", "wait-soft"}, {"ink", "bad-soft"}, {"ink", "accent-soft"},
		} {
			a, b := color[pair[0]], color[pair[1]]
			if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < 4.5 {
				t.Errorf("scheme %d: %s on %s has a contrast of %.2f", i, pair[0], pair[1], ratio)
			}
		}
	}
}

// luminance is the relative luminance of WCAG 2.
func luminance(t *testing.T, hex string) float64 {
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n := testlog.Must(strconv.ParseUint(hex[2*i:2*i+2], 16, 8))
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

func hostileValuesAreText(t *testing.T, s served, found map[string]answer) {
	shown := 0
	for path, a := range found {
		if !isPage(a) {
			continue
		}
		if strings.Contains(a.text, hostile) { // checkElements has looked for the tags
			shown++
		}
		if strings.Contains(a.body, "<script") || strings.Contains(a.body, "<img") {
			t.Errorf("%s: a hostile value is markup", path)
		}
	}
	if strings.HasPrefix(t.Name(), "TestPages/troubled") && shown < 5 {
		t.Errorf("hostile values were shown on %d pages, so this test sees little", shown)
	}
	for _, q := range []string{hostile, `'"<b>`, "javascript:alert(1)", "\x00\xff"} {
		a := s.get("/search?q=" + url.QueryEscape(q))
		elements, _ := parseHTML(t, "search", a.body)
		checkElements(t, "search", elements)
	}
	a := s.get("/c/%3Cscript%3E")
	if a.code != http.StatusNotFound || strings.Contains(a.body, "<script") {
		t.Errorf("a hostile address: %d %s", a.code, a.body)
	}
}

// twin returns the address that a page gives for its JSON.
func twin(elements []element) string {
	for _, e := range elements {
		if e.name == "link" && e.attr["type"] == "application/json" {
			return e.attr["href"]
		}
	}
	return ""
}

// leaves are all strings and numbers of a JSON value, but for those that only a
// machine reads.
func leaves(v any, out map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if slices.Contains([]string{"root", "checksum", "commit", "leaf", "note", "sha256", "summary", "id", "files", "version", "crate", "statement"}, k) {
				if s, ok := x.(string); ok && s != "" {
					out[s] = true
				}
			}
			leaves(x, out)
		}
	case []any:
		for _, x := range v {
			leaves(x, out)
		}
	}
}

// Every hash, version and sentence of the twin stands in the page. The lists of other
// entries and of growth are shortened in pages, so they are left out.
func twinsAgree(t *testing.T, s served, found map[string]answer) {
	twins := 0
	for path, a := range found {
		if !isPage(a) {
			continue
		}
		at := twin(a.elements)
		if at == "" {
			t.Errorf("%s has no twin", path)
			continue
		}
		j := found[at] // a page links to it
		if got := j.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: %s", at, got)
		}
		v := decode[any](t, j)
		want := make(map[string]bool)
		drop(v)
		leaves(v, want)
		if len(want) == 0 && !strings.HasPrefix(path, "/search") && !strings.HasPrefix(path, "/watch") && path != "/about" {
			t.Errorf("%s says nothing", at)
		}
		for value := range want {
			if !strings.Contains(html.UnescapeString(a.body), value) {
				t.Errorf("%s says %q, and the page does not", at, value)
			}
		}
		twins++
	}
	if twins < 50 {
		t.Errorf("only %d twins", twins)
	}
}

// drop removes what pages say in other words: of entries in lists the leaf, files and
// statements; of logs the checkpoint's note.
func drop(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, list := range []string{"entries", "earlier", "later"} {
			entries, _ := v[list].([]any)
			if list == "entries" { // of a comparison
				entries = append(slices.Clone(entries), v["from"], v["to"])
			}
			for _, e := range entries {
				e, _ := e.(map[string]any)
				for _, k := range []string{"leaf", "files", "verification", "program", "coverage"} {
					delete(e, k)
				}
			}
		}
		for _, k := range []string{"inclusion", "checkpoint", "logs", "log", "checkpoints"} {
			short(v[k], k != "checkpoints" || v["fork"] == nil)
		}
		results, _ := v["results"].([]any)
		for _, r := range results {
			drop(r)
		}
		for _, k := range []string{"findings"} {
			found, _ := v[k].([]any)
			for _, f := range found {
				delete(f.(map[string]any), "id")
				delete(f.(map[string]any), "crate")
				delete(f.(map[string]any), "version")
			}
		}
	}
}

func short(v any, list bool) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "growth")
		delete(v, "programs")
		if list {
			delete(v, "note")
		}
		if _, head := v["verdict"]; head && list {
			delete(v, "statement")
		}
		for _, x := range v {
			short(x, list)
		}
	case []any:
		for _, x := range v {
			short(x, list)
		}
	}
}

func TestAPageSaysInWordsWhetherAnEntryIsVerifiedHere(t *testing.T) {
	w := troubled(t)
	s := w.server()
	for path, want := range map[string][]string{
		"/e/0":   {"Verified here", "UNSAFE: the proof is of a development key"},
		"/e/95":  {"A seal", "Verified here", "Entries before it"},
		"/e/96":  {"An entry that cannot be read", "Failed", "malformed-entry"},
		"/e/97":  {"Failed", "false-entry", "proof does not hold", "Findings about this entry"},
		"/e/98":  {"Verified here", "Void: no reader takes it", "by entry 93, which was first"},
		"/e/101": {"Shown, not verified", "This monitor has no checkpoint that covers this entry yet."},
	} {
		a := s.must(path)
		_, text := parseHTML(t, path, a.body)
		for _, words := range want {
			if !strings.Contains(text, words) {
				t.Errorf("%s does not say %q", path, words)
			}
		}
		for _, state := range []string{"Verified here", "Failed", "Shown, not verified"} {
			if !slices.Contains(want, state) && strings.Contains(text, "\n"+state) {
				t.Errorf("%s says %q", path, state)
			}
		}
	}
	_, text := parseHTML(t, "/", healthy(t, "solo: Example Org").server().must("/").body)
	if strings.Contains(text, "UNSAFE") || !strings.Contains(text, "All 96 entries were downloaded, checked one by one, and hashed to the root that the log signed.") ||
		!strings.Contains(text, "None. This monitor has found no fork") {
		t.Error("the front page of a healthy monitor does not say so")
	}
}

func TestTheFrontPageNeverCallsTroubleCheating(t *testing.T) {
	w := healthy(t, proofcheck.OriginDevelopment)
	s := w.server()
	o := func() overviewJSON { return read[overviewJSON](s, "/index.json") }
	if got := o(); got.Class != "info" || got.Logs[0].State != "ok" {
		t.Errorf("healthy: %s, %s", got.Class, got.Logs[0].State)
	}
	w.find(operational("log-unreachable"), nil)
	if got := o(); got.Class != "operational" || strings.Contains(got.Statement, "cheat") || got.Logs[0].State != "trouble" {
		t.Errorf("unreachable: %s, %s, %s", got.Class, got.Statement, got.Logs[0].State)
	}
	f := operational("fork")
	f.Class = "security"
	w.find(f, []byte("evidence"))
	if got := o(); got.Class != "security" || got.Statement != "A log, witness, registry or prover cheated" || got.Logs[0].State != "findings" || got.Findings[0].Kind != "fork" {
		t.Errorf("fork: %s, %s, %s", got.Class, got.Statement, got.Logs[0].State)
	}
	w.view(w.logs[0], 1, 60, "https://w1.example/0a does not answer: connection refused")
	_, text := parseHTML(t, "/", s.must("/").body)
	if !strings.Contains(text, "no checkpoint does not answer: connection refused; asked 4 minutes ago") ||
		strings.Contains(text, "w1.example/0a") {
		t.Errorf("a witness that does not answer: %s", text)
	}
}

// TestALogWithoutEntriesIsNotCalledCheckedEntryByEntry: nothing was downloaded, and the page says nothing else.
func TestALogWithoutEntriesIsNotCalledCheckedEntryByEntry(t *testing.T) {
	w := newWorld(t, "solo: Example Org")
	w.sign(w.logs[0], 0, tlog.Hash(sha256.Sum256(nil)), store.Consistent, "log", 3)
	got := read[overviewJSON](w.server(), "/index.json").Logs[0].Statement
	if want := "The newest checkpoint is of a log without entries. The witnesses' quorum cosigned it."; got != want {
		t.Errorf("%s", got)
	}
}

// A witness may show a checkpoint a moment before the quorum has cosigned it. That is
// no trouble; that no newer one gets a quorum for long is.
func TestANewCheckpointWithoutAQuorumIsNoTroubleYet(t *testing.T) {
	w := healthy(t, "solo: Example Org")
	now := testNow
	w.cfg.Now = func() time.Time { return now }
	s := w.server()
	state := func() logJSON { return read[overviewJSON](s, "/index.json").Logs[0] }
	w.append(w.logs[0], made(t, "late", "1.0.0"))
	w.head(w.logs[0], 1)
	w.verify(w.logs[0])
	if v := state(); v.State != "ok" || v.Checkpoint.Quorum || !strings.HasSuffix(v.Statement, "It lacks the quorum of the witnesses.") || v.AgeSeconds != 181 {
		t.Errorf("%s, %d s, %s", v.State, v.AgeSeconds, v.Statement)
	}
	now = now.Add(2 * time.Hour)
	if v := state(); v.State != "quorum-lost" || v.Class != "operational" {
		t.Errorf("two hours later: %s", v.State)
	}
	w.now = now.Add(-90 * time.Minute)
	w.head(w.logs[0], 3)
	if v := state(); v.State != "stale" {
		t.Errorf("old, with its quorum: %s", v.State)
	}
}

func TestAVersionThatEndsLikeATwinHasItsOwnPage(t *testing.T) {
	w := newWorld(t, proofcheck.OriginDevelopment)
	w.append(w.logs[0], made(t, "odd", "1.0.0-x"), made(t, "odd", "1.0.0-x.json"))
	s := w.server()
	for version, index := range map[string]uint64{"1.0.0-x": 0, "1.0.0-x.json": 1} {
		at := versionURL("odd", version)
		if a := s.must(at); !isPage(a) || !strings.Contains(a.body, fmt.Sprintf(`<a href="/e/%d">`, index)) {
			t.Errorf("%s is not the page of %s", at, version)
		}
		elements, _ := parseHTML(t, at, s.must(at).body)
		v := read[versionJSON](s, twin(elements))
		if v.Version != version || len(v.Entries) != 1 || v.Entries[0].Index != index {
			t.Errorf("the twin of %s is of %s", at, v.Version)
		}
	}
}

func TestAddressesKeepTheirMeaningWhenALogIsAdded(t *testing.T) {
	w := newWorld(t, proofcheck.OriginDevelopment)
	first := w.logs[0]
	w.append(first, made(t, "one", "1.0.0"))
	w.seal(first)
	w.head(first, 3)
	w.verify(first)
	s := w.server()
	old := read[entryDetail](s, "/e/0.json")
	second := w.addLog("other.example/log")
	w.append(second, made(t, "two", "1.0.0"), made(t, "one", "2.0.0", func(*entry.Entry, *entry.Source) {}))
	w.seal(second)
	w.head(second, 3)
	w.verify(second)
	e := read[entryDetail](s, "/e/0.json")
	if e.Leaf != old.Leaf || e.Log != first.Origin {
		t.Error("/e/0 is another entry now")
	}
	e = read[entryDetail](s, "/e/0.json?log=other.example%2Flog")
	if e.Crate != "two" || e.Log != second.Origin || e.Page != "/e/0?log=other.example%2Flog" {
		t.Errorf("%+v", e.entryJSON)
	}
	s.must(e.Bundle)
	for path, a := range s.crawl() {
		if a.code != http.StatusOK {
			t.Errorf("%s: %d", path, a.code)
		}
	}
	s.wants(s.get("/e/0?log=none"), http.StatusNotFound, "")
}

// TestTrustedPublishingIsShownBesideTheProof: whether the commit that the registry names is the proven one.
func TestTrustedPublishingIsShownBesideTheProof(t *testing.T) {
	w := healthy(t, "solo: Example Org")
	s := w.server()
	if read[entryDetail](s, "/v1/entries/0").Trusted != nil || strings.Contains(s.must("/e/0").body, "Trusted publishing") {
		t.Error("it is shown though nobody asked")
	}
	commit := read[entryDetail](s, "/v1/entries/0").Commit
	p := store.Publication{Log: 1, Provider: "github", Repository: "o/<b>", Run: "7"}
	for id, want := range map[string][2]string{
		commit:                   {"agrees", "the proven commit</span>"},
		strings.Repeat("ab", 20): {"differs", "another commit</span>"},
		"":                       {"none", "names no commit that this release"},
	} {
		p.Commit = id
		fatalIf(t, w.store.PutPublication(t.Context(), p))
		body := s.must("/e/0").body
		if v := read[entryDetail](s, "/v1/entries/0").Trusted; v == nil || v.Standing != want[0] || v.Commit != id {
			t.Errorf("%+v, want %s", v, want[0])
		}
		if !strings.Contains(body, want[1]) || strings.Contains(body, "o/<b>") {
			t.Errorf("%s: the page does not say %q, or not safely", want[0], want[1])
		}
	}
}

// TestWhatTheMonitorDoesNotKnowIsNotCalledFalse: an entry of a program, or a kind of claim, that this monitor was not told of
// may be as good as any.
func TestWhatTheMonitorDoesNotKnowIsNotCalledFalse(t *testing.T) {
	w := newWorld(t, "solo: Example Org")
	program := made(t, "alpha", "1.0.0")
	program.Verdict, program.Reason, program.Detail = store.Bad, "unknown-program", "the program is not known"
	claim := store.Entry{LeafHash: tlog.RecordHash([]byte("new")), Data: []byte("new"), Verdict: store.Bad, Reason: "unknown-claim",
		Detail: "the claim is of a kind that is not known"}
	w.append(w.logs[0], program, claim, made(t, "beta", "1.0.0"))
	w.verify(w.logs[0])
	s := w.server()
	for _, path := range []string{"/e/0", "/e/1"} {
		if v := decode[entryDetail](t, s.must(path+".json")).Verification; v.State != "pending" || strings.Contains(v.Statement, "must never") ||
			!strings.Contains(v.Statement, "did not check") {
			t.Errorf("%s: %s: %s", path, v.State, v.Statement)
		}
	}
	if v := decode[logList](t, s.must("/v1/logs")).Logs[0].Results; v != (resultsJSON{1, 0, 2}) {
		t.Errorf("%+v", v)
	}
	if b := s.must("/badge/alpha.svg"); strings.Contains(b.body, "failed") {
		t.Error("the badge says that it failed")
	}
}
