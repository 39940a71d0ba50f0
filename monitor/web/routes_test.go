package web

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
	"cratelog/proofcheck"
)

// conforms says where a JSON value is not as a schema of the document says. A field that the schema lacks is
// a mistake too.
func (d openAPI) conforms(v any, schema map[string]any, at string) (wrong []string) {
	if ref, ok := schema["$ref"].(string); ok {
		return d.conforms(v, d.Components["schemas"][strings.TrimPrefix(ref, "#/components/schemas/")], at)
	}
	if some, ok := schema["anyOf"].([]any); ok {
		if v == nil {
			return nil
		}
		return d.conforms(v, some[0].(map[string]any), at)
	}
	is := map[bool]string{}
	switch v := v.(type) {
	case map[string]any:
		is[schema["type"] == "object"] = "object"
		properties, _ := schema["properties"].(map[string]any)
		rest, open := schema["additionalProperties"].(map[string]any)
		for k, x := range v {
			p, known := properties[k].(map[string]any)
			if !known && !open {
				wrong = append(wrong, at+"."+k+" is not in the document")
				continue
			}
			if !known {
				p = rest
			}
			wrong = append(wrong, d.conforms(x, p, at+"."+k)...)
		}
		required, _ := schema["required"].([]any)
		for _, k := range required {
			if _, ok := v[k.(string)]; !ok {
				wrong = append(wrong, at+"."+k.(string)+" is required and not there")
			}
		}
	case []any:
		is[schema["type"] == "array"] = "array"
		for i, x := range v {
			items, _ := schema["items"].(map[string]any)
			wrong = append(wrong, d.conforms(x, items, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case string:
		is[schema["type"] == "string"] = "string"
		if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, any(v)) {
			wrong = append(wrong, at+" is "+v)
		}
	case float64:
		is[schema["type"] == "integer"] = "integer"
	case bool:
		is[schema["type"] == "boolean"] = "boolean"
	case nil:
		is[false] = "null"
	}
	if len(schema) > 0 && is[false] != "" {
		wrong = append(wrong, fmt.Sprintf("%s is %s, and not %v", at, is[false], schema["type"]))
	}
	return wrong
}

// TestTheDocumentIsWhatTheServerDoes: every address of the server is in the OpenAPI document, every address of the
// document answers with what it says, and every field of every answer is in its schema.
func TestTheDocumentIsWhatTheServerDoes(t *testing.T) {
	w := withChecker(troubled(t))
	w.cfg.Subscriptions = &subscribers{}
	s := w.server()
	d := decode[openAPI](t, s.must("/openapi.json"))
	var generic struct {
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	fatalIf(t, json.Unmarshal([]byte(s.must("/openapi.json").body), &generic))
	for name, schema := range generic.Components.Schemas {
		d.Components["schemas"][name] = schema
		if len(schema) == 0 {
			t.Errorf("the schema %s is empty", name)
		}
	}
	documented := make(map[string]bool) // "GET /path"
	for path, methods := range d.Paths {
		for method := range methods {
			documented[strings.ToUpper(method)+" "+path] = true
		}
	}
	for _, r := range s.routeTable() {
		if len(r.answers) == 0 && !strings.HasSuffix(r.pattern, "{$}") {
			t.Errorf("%s is not documented", r.pattern)
		}
		for name := range strings.FieldsSeq(r.params) {
			if parameterWords[name] == "" {
				t.Errorf("%s: the parameter %s has no words", r.pattern, name)
			}
		}
	}
	for _, r := range s.posts() {
		if !documented[r.Pattern] {
			t.Errorf("%s is not documented", r.Pattern)
		}
	}
	evidence := read[findingList](s, "/v1/findings?class=security").Findings[0].Evidence
	questions := map[string][]string{
		"/search.json": {"?q=ember", "?q=2"}, "/c/{name}/compare": {"?from=0.1.0&to=0.1.1"}, "/c/{name}/compare.json": {"?from=0.1.0&to=0.1.1"},
		"/watch.json": {"", "?prefix=ac"}, "/v1/entries": {"?limit=1000"}, "/log.json": {"", "?claim=build", "?development=yes"},
	}
	fill := strings.NewReplacer("{name}", "hello-proof", "{version}", "0.1.0", "{key}", "2", "{token}", strings.Repeat("a", 32))
	jsons := 0
	for path, methods := range d.Paths {
		call, ok := methods["get"]
		if !ok {
			continue
		}
		if call.Summary == "" || call.Responses["default"].Description == "" {
			t.Errorf("%s says too little", path)
		}
		for _, p := range call.Parameters {
			if p.Description == "" {
				t.Errorf("%s: %s is not described", path, p.Name)
			}
		}
		asked := questions[path]
		if asked == nil {
			asked = []string{""}
		}
		for _, q := range asked {
			address := fill.Replace(path) + q
			if strings.HasPrefix(path, "/evidence/{key}") {
				address = strings.Replace(path, "/evidence/{key}", evidence, 1)
			}
			if strings.HasPrefix(path, "/cp/{key}") {
				address = strings.Replace(path, "{key}", fmt.Sprint(read[logList](s, "/v1/logs").Logs[0].Verified), 1)
			}
			a := s.must(address)
			media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
			content, ok := call.Responses["200"].Content[media]
			if !ok {
				t.Errorf("%s answers with %s, and the document says %v", address, media, call.Responses["200"].Content)
				continue
			}
			if media != "application/json" || path == "/openapi.json" {
				continue
			}
			jsons++
			for _, x := range d.conforms(decode[any](t, a), content.Schema, address) {
				t.Error(x)
			}
		}
	}
	if jsons < 20 {
		t.Errorf("only %d answers were compared", jsons)
	}
	for _, index := range []int{0, 95, 96, 97, 98, 99, 101} {
		at := fmt.Sprintf("/v1/entries/%d", index)
		for _, x := range d.conforms(decode[any](t, s.must(at)), generic.Components.Schemas["entryDetail"], at) {
			t.Error(x)
		}
	}
	// The comparison sees something.
	if len(d.conforms(map[string]any{"crate": 1.0, "x": nil}, generic.Components.Schemas["crate"], "")) < 3 {
		t.Error("what is wrong is not seen")
	}
}

func TestABadgeIsGreenOnlyForWhatIsProven(t *testing.T) {
	w := newWorld(t, "solo: Example Org")
	log := w.logs[0]
	bare := func(_ *entry.Entry, s *entry.Source) { s.Unproven = []string{"Cargo.toml"} }
	other := func(e *entry.Entry, s *entry.Source) { e.Subject.Registry = "https://index.example/x" }
	w.append(log, made(t, "good", "1.10.0"), made(t, "good", "1.9.0"), made(t, "good", "2.0.0-rc.1"), made(t, "bare", "1.0.0", bare),
		made(t, "accused", "1.0.0"), made(t, "yanked", "1.0.0"), made(t, "Pre_Only", "1.0.0-alpha.2"), made(t, "elsewhere", "1.0.0", other),
		made(t, strings.Repeat("W", 64), "1.0.0-"+strings.Repeat("9", 58)))
	w.head(log, 3)
	w.verify(log)
	w.append(log, made(t, "late", "1.0.0"))
	w.find(store.Finding{Key: "a", Log: 1, Index: 4, Kind: "registry-checksum", Class: store.Security, Summary: "x", Name: "accused"}, nil)
	fatalIf(t, w.store.PutRelease(t.Context(), store.Release{Log: 1, Index: 5, Yanked: true}))
	s := w.server()
	const green = "#1c6a43"
	for path, want := range map[string]struct {
		words string
		green bool
	}{
		"/badge/good.svg": {"1.10.0 proven", true}, "/badge/GOOD.svg": {"1.10.0 proven", true}, "/badge/bare.svg": {"1.0.0 proven but for Cargo.toml", false},
		"/badge/accused.svg": {"1.0.0 has a security finding", false}, "/badge/yanked.svg": {"1.0.0 proven, yanked", false}, "/badge/pre-only.svg": {"1.0.0-alpha.2 proven", true},
		"/badge/late.svg": {"1.0.0 not verified yet", false}, "/badge/none.svg": {"not logged", false}, "/badge/elsewhere.svg": {"not logged", false},
		"/badge/elsewhere.svg?registry=" + url.QueryEscape("https://index.example/x"): {"1.0.0 proven", true}, "/badge/" + strings.Repeat("W", 64) + ".svg": {strings.Repeat("9", 58) + " proven", true},
	} {
		a := s.must(path)
		if got := a.header.Get("Content-Type"); got != "image/svg+xml" || a.header.Get("Cache-Control") != "public, max-age=300" || a.header.Get("ETag") == "" {
			t.Errorf("%s: %s %v", path, got, a.header)
		}
		var svg struct {
			Width int    `xml:"width,attr"`
			Title string `xml:"title"`
			Texts []struct {
				X      int    `xml:"x,attr"`
				Length int    `xml:"textLength,attr"`
				Text   string `xml:",chardata"`
			} `xml:"g>text"`
		}
		fatalIf(t, xml.Unmarshal([]byte(a.body), &svg))
		last := svg.Texts[len(svg.Texts)-1]
		if !strings.HasSuffix(last.Text, want.words) || strings.Contains(a.body, green) != want.green || last.X+last.Length > svg.Width || !strings.Contains(svg.Title, last.Text) {
			t.Errorf("%s: %+v", path, svg)
		}
	}
	s.wants(s.get("/badge/good"), http.StatusNotFound, "/badge/NAME.svg")
	s.wants(s.get("/badge/%3Cscript%3E.svg"), http.StatusNotFound, "")
	w = newWorld(t, proofcheck.OriginDevelopment)
	w.append(w.logs[0], made(t, "dev", "1.0.0"))
	w.verify(w.logs[0])
	if a := w.server().must("/badge/dev.svg"); strings.Contains(a.body, green) || !strings.Contains(a.body, "UNSAFE") {
		t.Errorf("of a development key: %s", a.body)
	}
	b := testlog.Must(drawBadge("x", hostile, "#000"))
	if strings.Contains(string(b), "<script") {
		t.Errorf("the text is markup: %s", b)
	}
}

func TestTwoVersionsStandBesideEachOther(t *testing.T) {
	w := newWorld(t, "solo: Example Org")
	w.append(w.logs[0], made(t, "x", "1.0.0"), made(t, "x", "1.1.0", func(_ *entry.Entry, s *entry.Source) {
		s.Unproven, s.Path = []string{"build.rs"}, "other/it's"
	}), made(t, "x", "1.2.0", func(_ *entry.Entry, s *entry.Source) { s.Path = "other/it's" }))
	w.verify(w.logs[0])
	fatalIf(t, w.store.PutCrate(t.Context(), store.Crate{Log: 1, Index: 1, Repository: "https://git.example.com/x"}))
	s := w.server()
	d := read[compareJSON](s, "/c/x/compare.json?from=1.0.0&to=1.1.0")
	if d.SameCommit || d.SamePath || !slices.Equal(d.Appeared, []string{"build.rs"}) || !slices.Equal(d.Disappeared, []string{"Cargo.lock"}) ||
		d.ToRepository != "https://git.example.com/x" || d.Command != "git diff "+d.From.Commit+" "+d.To.Commit {
		t.Errorf("%+v", d)
	}
	s.wants(s.must("/c/x/compare?from=1.0.0&to=1.1.0"), 200, "Not proven any more in 1.1.0:</strong> build.rs")
	if d := read[compareJSON](s, "/c/x/compare.json?from=1.1.0&to=1.2.0"); !strings.HasSuffix(d.Command, ` -- 'other/it'\''s'`) {
		t.Errorf("the command is %s", d.Command)
	}
	s.wants(s.get("/c/x/compare?from=1.0.0&to=9.9.9"), 404, "x 9.9.9")
	s.wants(s.get("/c/x/compare?from=1.0.0"), 400, "two versions")
	s.wants(s.must("/c/x"), 200, `href="/c/x/compare?from=1.1.0&amp;to=1.2.0"`)
}

func TestFiltersChooseEntries(t *testing.T) {
	w := healthy(t, proofcheck.OriginDevelopment)
	s := w.server()
	all := read[logDetail](s, "/log.json")
	if got := read[logDetail](s, "/log.json?claim=source"); !slices.Equal(indexes(got.Entries), indexes(all.Entries)) || got.Next == nil {
		t.Errorf("sources: %v", indexes(got.Entries))
	}
	if got := read[logDetail](s, "/log.json?development=yes"); !slices.Equal(indexes(got.Entries), indexes(all.Entries)) {
		t.Errorf("of development keys: %v", indexes(got.Entries))
	}
	if got := read[logDetail](s, "/log.json?claim=build"); len(got.Entries) != 0 {
		t.Errorf("builds: %v", indexes(got.Entries))
	}
	s.wants(s.get("/log?claim=x"), 400, "takes one of: source, build")
	if got := allEntries(t, s, "/v1/entries?development=yes&claim=source&limit=7"); len(got) != 95 {
		t.Errorf("%d entries", len(got))
	}
	s = healthy(t, "solo: Example Org").server()
	if got := read[logDetail](s, "/log.json?development=yes"); len(got.Entries) != 0 {
		t.Errorf("of a ceremony's keys: %v", indexes(got.Entries))
	}
}

func TestAPrefixHasAFeedOfEntriesAndFindings(t *testing.T) {
	w := healthy(t, "solo: Example Org")
	w.find(store.Finding{Key: "a", Log: 1, Index: -1, Kind: "registry-checksum", Class: store.Security, Summary: "of this owner", Name: "KELP_derive"}, nil)
	w.find(store.Finding{Key: "b", Log: 1, Index: -1, Kind: "registry-checksum", Class: store.Security, Summary: "of another", Name: "fjord"}, nil)
	s := w.server()
	f := checkFeed(t, s.must("/feed.atom?prefix=Kelp-"))
	entries := 0
	for _, e := range f.Entries {
		if strings.HasPrefix(e.Title, "kelp-derive") {
			entries++
		} else if e.Summary != "of this owner" {
			t.Errorf("%+v", e)
		}
	}
	if entries == 0 || len(f.Entries) != entries+1 {
		t.Errorf("%d entries of %d", entries, len(f.Entries))
	}
	if other := checkFeed(t, s.must("/feed.atom?prefix=kelp_")); other.ID != f.ID {
		t.Error("two spellings are two feeds")
	}
	s.wants(s.get("/feed.atom?prefix=k"), 400, "2 letters")
	s.wants(s.get("/feed.atom?prefix=kelp&class=info"), 400, "do not go together")
	s.wants(s.must("/watch?prefix=kelp"), 200, `<a href="/feed.atom?prefix=kelp">`)
}

// subscribers takes endpoints.
type subscribers struct {
	asked []string
	err   error
}

func (x *subscribers) Subscribe(_ context.Context, prefix string, exact bool, endpoint string) (string, string, error) {
	x.asked = append(x.asked, fmt.Sprint(prefix, " ", exact, " ", endpoint))
	return "s3cret", strings.Repeat("a", 32), x.err
}

func (x *subscribers) Subscription(_ context.Context, token string) (store.Subscription, bool, error) {
	return store.Subscription{Token: token, Prefix: "acme", URL: "https://hook.example/" + hostile}, token == strings.Repeat("a", 32), nil
}

func (x *subscribers) Unsubscribe(_ context.Context, token string) (bool, error) {
	x.asked = append(x.asked, "end "+token)
	return true, nil
}

func TestReadersSubscribeByAForm(t *testing.T) {
	w := newWorld(t, "solo: Example Org")
	now := testNow
	w.cfg.Now, w.cfg.URL = func() time.Time { return now }, "https://monitor.example"
	post := func(s served, path, body string) answer {
		now = now.Add(subscribeEvery)
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = "192.0.2.1:1"
		return s.ask(r)
	}
	const form = "prefix=acme&match=prefix&url=https%3A%2F%2Fhook.example%2Fx"
	s := w.server()
	s.wants(post(s, "/watch", form), 404, "no webhooks of readers")
	if a := s.must("/watch"); strings.Contains(a.body, `method="post"`) {
		t.Error("a form stands where nothing takes it")
	}
	x := &subscribers{}
	w.cfg.Subscriptions = x
	s = w.server()
	s.wants(s.must("/watch"), 200, `method="post"`)
	a := post(s, "/watch", form)
	s.wants(a, 200, "https://monitor.example/unsubscribe/"+strings.Repeat("a", 32))
	if !strings.Contains(a.body, "s3cret") || a.header.Get("Cache-Control") != "no-store" || fmt.Sprint(x.asked) != "[acme false https://hook.example/x]" {
		t.Errorf("%v %v", x.asked, a.header)
	}
	for _, body := range []string{"", "prefix=acme", form + "&x=1", form + "&url=b", "prefix=a&match=prefix&url=u", "prefix=acme&match=both&url=u", "prefix=%zz",
		"prefix=ac-me%3C&match=name&url=u", form + "&y=" + strings.Repeat("x", maxForm)} {
		s.wants(post(s, "/watch", body), 400, "")
	}
	if len(x.asked) != 1 {
		t.Errorf("asked %v", x.asked)
	}
	x.err = fmt.Errorf("%w: %w", ErrSubscription, errors.New("it did not answer <b>"))
	s.wants(post(s, "/watch", form), 422, "it did not answer &lt;b&gt;")
	at := "/unsubscribe/" + strings.Repeat("a", 32)
	page := s.must(at)
	elements, _ := parseHTML(t, at, page.body)
	for _, e := range elements {
		if e.name == "script" || e.name == "img" {
			t.Error("a hostile value is markup")
		}
	}
	s.wants(page, 200, "<bdi>https://hook.example/") // it may turn the direction of what follows
	if len(x.asked) != 2 {
		t.Error("to look ended it")
	}
	s.wants(post(s, at, ""), 200, "has ended")
	if x.asked[2] != "end "+strings.Repeat("a", 32) {
		t.Errorf("asked %v", x.asked)
	}
	s.wants(s.get("/unsubscribe/"+strings.Repeat("b", 32)), 404, "")
	s.wants(s.get("/unsubscribe/a"), 404, "")
	for range subscribeBurst {
		post(s, "/watch", form)
		now = now.Add(-subscribeEvery)
	}
	a = post(s, "/watch", form)
	now = now.Add(-subscribeEvery)
	if a = post(s, "/watch", form); a.code != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", a.code)
	}
}

func TestTheAboutPageSaysWhoRunsThis(t *testing.T) {
	w := healthy(t, "solo: Example Org")
	s := w.server()
	s.wants(s.must("/about"), 200, "its settings do not say")
	w.cfg.Operator, w.cfg.Contact, w.cfg.Since = "Example Org", "ops@example.org", "May 2026"
	s = w.server()
	for _, words := range []string{"Example Org", `href="mailto:ops@example.org"`, "May 2026", "What a green tag means", "What it does not mean"} {
		s.wants(s.must("/about"), 200, words)
	}
	if d := read[aboutJSON](s, "/about.json"); d.Operator != "Example Org" || len(d.Logs) != 1 || len(d.Programs) == 0 {
		t.Errorf("%+v", d)
	}
	for contact, link := range map[string]string{"https://example.org/c": "https://example.org/c", "javascript:alert(1)": "", "call us": "", "Bob <b@example.org>": "", "http://x.example": ""} {
		if got := contactURL(contact); got != link {
			t.Errorf("%s leads to %q", contact, got)
		}
	}
	s.wants(s.must("/robots.txt"), 200, "Disallow: /v1/export")
}

func TestAnEntrySaysHowToVerifyIt(t *testing.T) {
	w := newWorld(t, proofcheck.OriginDevelopment)
	w.append(w.logs[0], made(t, "x", "1.0.0", func(e *entry.Entry, _ *entry.Source) { e.Subject.Registry = "https://index.example/x" }))
	s := w.server()
	if d := read[entryDetail](s, "/e/0.json"); d.Verify.File != "" || d.Verify.Show != "cargo zkp show x@1.0.0 --trust trust.policy --development" {
		t.Errorf("%+v", d.Verify)
	}
	w.head(w.logs[0], 3)
	w.verify(w.logs[0])
	d := read[entryDetail](s, "/e/0.json")
	if want := "cargo zkp verify x-1.0.0.crate --bundle x-1.0.0.tlog-proof --trust trust.policy --development --registry 'https://index.example/x'"; d.Verify.File != want {
		t.Errorf("%+v", d.Verify)
	}
	a := s.must("/e/0")
	for _, words := range []string{"Verify this yourself", "x-1.0.0.crate --bundle", `href="/e/0.tlog-proof"`, `href="/search?q=` + d.Checksum, `href="/search?q=` + d.Commit, `<a href="/log">`} {
		s.wants(a, 200, words)
	}
}
