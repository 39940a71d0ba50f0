package web

import (
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/internal/testlog"
	"cratelog/internal/web"
	"cratelog/proofcheck"
)

func decode[T any](t testing.TB, a answer) T {
	t.Helper()
	var v T
	fatalIf(t, json.Unmarshal([]byte(a.body), &v))
	return v
}

// allEntries pages through an address of a list until it ends.
func allEntries(t *testing.T, s served, path string) []entryJSON {
	t.Helper()
	var out []entryJSON
	for at, n := path, 0; ; n++ {
		list := read[entryList](s, at)
		out = append(out, list.Entries...)
		if list.Next == nil || n > 1000 {
			return out
		}
		at = path + "&cursor=" + *list.Next
	}
}

func indexes(entries []entryJSON) []uint64 {
	out := []uint64{}
	for _, e := range entries {
		out = append(out, e.Index)
	}
	return out
}

func TestFiltersChooseWhatANaiveSearchChooses(t *testing.T) {
	t.Parallel()
	w := troubled(t)
	w.cfg.Repositories["kelp-derive"] = "https://git.example.com/nordic/fjord.git"
	s := w.server()
	every := allEntries(t, s, "/v1/entries?limit=7")
	if len(every) != 102 {
		t.Fatalf("there are %d entries", len(every))
	}
	for i, e := range every {
		if e.Index != uint64(i) {
			t.Fatalf("entry %d stands at place %d", e.Index, i)
		}
	}
	one := every[50]
	mid := one.Seen.Format("2006-01-02T15:04:05Z07:00")
	for query, keep := range map[string]func(e entryJSON) bool{
		"crate=" + one.Crate:                                     func(e entryJSON) bool { return e.Crate == one.Crate },
		"crate=" + one.Crate + "&version=" + one.Version:         func(e entryJSON) bool { return e.Crate == one.Crate && e.Version == one.Version },
		"registry=default":                                       func(e entryJSON) bool { return e.Registry == "default" },
		"registry=" + url.QueryEscape("https://index.example/x"): func(e entryJSON) bool { return e.Registry == "https://index.example/x" },
		"version=2.4.0":                                          func(e entryJSON) bool { return e.Version == "2.4.0" },
		"checksum=" + one.Checksum:                               func(e entryJSON) bool { return e.Checksum == one.Checksum },
		"commit=" + one.Commit:                                   func(e entryJSON) bool { return e.Commit == one.Commit },
		"leaf=" + one.Leaf:                                       func(e entryJSON) bool { return e.Leaf == one.Leaf },
		"path=" + url.QueryEscape(one.Path):                      func(e entryJSON) bool { return e.Path == one.Path },
		"path=":                                                  func(e entryJSON) bool { return e.Path == "" && e.Crate != "" },
		"program=" + one.Program.ID:                              func(e entryJSON) bool { return e.Program.ID == one.Program.ID },
		"program=" + strings.Repeat("00", 32):                    func(e entryJSON) bool { return false },
		"from=" + mid:                                            func(e entryJSON) bool { return !e.Seen.Before(one.Seen) },
		"to=" + mid:                                              func(e entryJSON) bool { return e.Seen.Before(one.Seen) },
		"from=" + mid + "&to=" + mid:                             func(e entryJSON) bool { return false },
		"log=" + url.QueryEscape(testOrigin) + "&crate=iris":     func(e entryJSON) bool { return e.Crate == "iris" },
		"repository=" + url.QueryEscape("https://git.example.com/nordic/fjord.git"): func(e entryJSON) bool {
			return e.Crate == "fjord" || e.Crate == "kelp-derive"
		},
	} {
		var want []entryJSON
		for _, e := range every {
			if keep(e) {
				want = append(want, e)
			}
		}
		got := allEntries(t, s, "/v1/entries?limit=3&"+query)
		if !slices.Equal(indexes(got), indexes(want)) {
			t.Errorf("%s: %v, want %v", query, indexes(got), indexes(want))
		}
		newest := indexes(allEntries(t, s, "/v1/entries?limit=3&order=newest&"+query))
		slices.Reverse(newest)
		if !slices.Equal(newest, indexes(want)) {
			t.Errorf("%s, the newest first: %v", query, newest)
		}
	}
}

func TestAMistakeInAQuestionIsASentence(t *testing.T) {
	s := troubled(t).server()
	cursor := *read[entryList](s, "/v1/entries?limit=2").Next
	for path, want := range map[string]string{
		"/v1/entries?crat=x":                                   `There is no parameter "crat" here; there are: order, limit, cursor, registry, crate, version, checksum, commit, path, repository, program, claim, development, leaf, from, to, log.`,
		"/v1/entries?crate=a&crate=b":                          "The parameter crate is given 2 times; give it once.",
		"/v1/entries?crate=":                                   "The parameter crate is empty; leave it out or give it a value.",
		"/v1/entries?crate=a%20b":                              "The parameter crate is not the name of a crate.",
		"/v1/entries?registry=sparse%2Bhttps://index.example/": `The parameter registry is neither "default" nor the index of a registry as entries name it.`,
		"/v1/entries?crate=%00":                                "The parameter crate is not text.",
		"/v1/entries?version=1":                                "The parameter version is not an exact version such as 1.2.3.",
		"/v1/entries?checksum=ABCD":                            "The parameter checksum is not 64 digits of lower-case hexadecimal.",
		"/v1/entries?commit=12":                                "The parameter commit is not 40 digits of lower-case hexadecimal.",
		"/v1/entries?from=yesterday":                           "The parameter from is not an RFC 3339 time such as 2026-01-31T12:00:00Z.",
		"/v1/entries?limit=0":                                  "The parameter limit is not a number from 1 to 1000.",
		"/v1/entries?limit=1001":                               "The parameter limit is not a number from 1 to 1000.",
		"/v1/entries?order=up":                                 "The parameter order takes one of: oldest, newest.",
		"/v1/entries?cursor=xyz":                               "The parameter cursor is none that this monitor gave; take it from the field next.",
		"/v1/entries?crate=ember&cursor=" + cursor:             "The parameter cursor belongs to another question; keep all other parameters as they were.",
		"/v1/entries?order=newest&cursor=" + cursor:            "The parameter cursor belongs to another question; keep all other parameters as they were.",
		"/v1/checkpoints?cursor=" + cursor:                     "The parameter cursor belongs to another question; keep all other parameters as they were.",
		"/v1/entries?repository=https://x.example":             "The parameter repository names none that this monitor knows: entries carry commits, not addresses, and only its operator's settings tell whose they are.",
		"/v1/entries?a;b":                                      "The part of the address behind the question mark is malformed.",
		"/v1/checkpoints?size=01":                              "The parameter size is not a number of entries.",
		"/v1/checkpoints?verdict=good":                         "The parameter verdict takes one of: consistent, inconsistent, pending.",
		"/v1/findings?class=bad":                               "The parameter class takes one of: security, operational, info.",
		"/v1/export.csv?limit=3":                               `There is no parameter "limit" here; there are: registry, crate, version, checksum, commit, path, repository, program, claim, development, leaf, from, to, log.`,
		"/index.json?x=1":                                      "This address takes no parameters.",
	} {
		a := s.get(path)
		got := decode[web.Refusal](t, a)
		if a.code != http.StatusBadRequest || got.Message != want || got.Reason != "malformed-request" {
			t.Errorf("%s: %d %q, want %q", path, a.code, got.Message, want)
		}
	}
	for path, want := range map[string]string{
		"/v1/entries?log=x":                       "This monitor follows no log of that origin; /v1/logs lists those that it does.",
		"/v1/entries/102":                         "This monitor holds no entry of that index; its copy of the log may end before it.",
		"/v1/entries/007":                         "An entry is named by its index, or by its leaf hash in 64 digits of lower-case hexadecimal.",
		"/v1/entries/-1.json":                     "An entry is named by its index, or by its leaf hash in 64 digits of lower-case hexadecimal.",
		"/v1/entries/" + strings.Repeat("ab", 32): "This monitor holds no entry with the leaf hash " + strings.Repeat("ab", 32) + ".",
		"/v1/crates/a.b":                          "That is not the name of a crate.",
		"/v1/nothing":                             "There is nothing at this address.",
		"/cp/12345.json":                          "This monitor has seen no checkpoint of that size.",
		"/evidence/..%2fx.json":                   "Evidence is named by its SHA-256, 64 digits of lower-case hexadecimal.",
		"/evidence/" + strings.Repeat("ab", 32) + ".evidence": "This monitor has no evidence of that name.",
	} {
		a := s.get(path)
		if got := decode[web.Refusal](t, a); a.code != http.StatusNotFound || got.Message != want {
			t.Errorf("%s: %d %q, want %q", path, a.code, got.Message, want)
		}
	}
}

func TestEveryListSaysWhatItLookedThrough(t *testing.T) {
	w := troubled(t)
	s := w.server()
	p := testlog.Must(w.store.Position(t.Context(), w.logs[0].ID))
	for _, path := range []string{"/v1/entries", "/v1/crates/ember", "/v1/crates/unheard-of", "/v1/findings", "/c/ember/2.4.0.json", "/evidence.json"} {
		v := read[struct{ Heads []headJSON }](s, path)
		if len(v.Heads) != 1 || v.Heads[0].Size != 102 || v.Heads[0].Verified != 101 || v.Heads[0].Root != hex.EncodeToString(p.Root[:]) {
			t.Errorf("%s: %+v", path, v.Heads)
		}
	}
}

func TestTheNumbersOfALogAddUp(t *testing.T) {
	s := troubled(t).server()
	v := read[struct{ Logs []logJSON }](s, "/v1/logs").Logs[0]
	if v.Size != 1002 || v.Downloaded != 102 || v.Verified != 101 || v.Backlog != (backlogJSON{900, 1}) || v.Results != (resultsJSON{99, 2, 1}) {
		t.Errorf("%+v %+v %+v", v, v.Backlog, v.Results)
	}
	if v.Findings != (findingCount{2, 1, 0}) || v.State != "findings" || !v.Development || len(v.Programs) != 1 || v.Programs[0].Entries != 98 {
		t.Errorf("%+v %+v", v.Findings, v.Programs)
	}
	if want := (sealsJSON{Count: 2, VoidEntries: 1, Compared: 101, Statement: v.Seals.Statement}); v.Seals != want || v.Seals.Statement == "" {
		t.Errorf("%+v", v.Seals)
	}
	if m := v.Mirrors; len(m) != 1 || *m[0].Size != 90 || *m[0].Lag != 912 || m[0].Problem != hostile {
		t.Errorf("%+v", m)
	}
	st := read[struct{ Statistics []statisticsJSON }](s, "/v1/statistics").Statistics[0]
	if st.Size != 102 || st.Backlog != v.Backlog || st.Results != v.Results || len(st.Growth) < 10 {
		t.Errorf("%+v", st)
	}
	wit := read[struct{ Witnesses []witnessJSON }](s, "/v1/witnesses").Witnesses
	if len(wit) != 3 || *wit[1].Size != 60 || *wit[1].Lag != 942 ||
		!strings.HasPrefix(wit[1].Problem, "https://w1.example/0a/checkpoint does not answer: connection refused") ||
		*wit[0].Size != 1002 || *wit[2].Lag != 906 {
		t.Errorf("%+v", wit)
	}
}

func TestCheckpointsComeWithTheirSignedNotes(t *testing.T) {
	w := troubled(t)
	s := w.server()
	list := read[checkpointList](s, "/v1/checkpoints?size=101")
	if len(list.Checkpoints) != 2 || list.Checkpoints[0].Verdict != "consistent" || list.Checkpoints[1].Verdict != "inconsistent" {
		t.Fatalf("%+v", list)
	}
	for _, c := range list.Checkpoints {
		got, err := w.cfg.Policies[testOrigin].CheckCheckpoint([]byte(c.Note))
		if c.Quorum != (err == nil) {
			t.Errorf("quorum %v, and %v", c.Quorum, err)
		}
		if err == nil && (uint64(got.Size) != c.Size || hex.EncodeToString(got.Root[:]) != c.Root || len(got.Cosignatures) != len(c.Cosignatures) || !got.Witnessed.Equal(*c.Witnessed)) {
			t.Errorf("%+v", c)
		}
	}
	if a := s.must("/cp/101" + noteSuffix); a.body != list.Checkpoints[0].Note {
		t.Error("the file is another note")
	}
	bad := read[checkpointList](s, "/v1/checkpoints?verdict=inconsistent")
	if len(bad.Checkpoints) != 1 || !read[checkpointDetail](s, "/cp/101.json").Fork {
		t.Error("the fork is not shown as one")
	}
}

func TestExportsHoldEveryEntryOnce(t *testing.T) {
	s := troubled(t).server()
	want := allEntries(t, s, "/v1/entries?limit=1000")
	a := s.must("/v1/export.ndjson")
	var got []entryJSON
	for line := range strings.Lines(a.body) {
		var e entryJSON
		fatalIf(t, json.Unmarshal([]byte(line), &e))
		got = append(got, e)
	}
	if x, y := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); len(got) != len(want) || !slices.Equal(indexes(got), indexes(want)) || len(x) != len(y) {
		t.Errorf("NDJSON has %d entries", len(got))
	}
	c := s.must("/v1/export.csv")
	rows := testlog.Must(csv.NewReader(strings.NewReader(c.body)).ReadAll())
	if !slices.Equal(rows[0], csvHeader) || len(rows) != len(want)+1 {
		t.Fatalf("CSV has %d rows", len(rows))
	}
	for i, e := range want {
		if !slices.Equal(rows[i+1], csvRow(e)) {
			t.Errorf("row %d: %q", i, rows[i+1])
		}
		for _, cell := range rows[i+1] {
			if strings.ContainsAny(cell[:min(1, len(cell))], "=+-@\t\r") {
				t.Errorf("a spreadsheet takes %q for a formula", cell)
			}
		}
	}
	if a := s.must("/v1/export.csv?crate=unheard-of"); a.body != strings.Join(csvHeader, ",")+"\n" {
		t.Errorf("an empty export: %q", a.body)
	}
}

func TestWhatCanBeKeptSaysSo(t *testing.T) {
	s := troubled(t).server()
	style, _ := web.Style()
	for path, cache := range map[string]string{
		"/": "no-cache", "/e/0": "no-cache", "/v1/entries": "no-cache", "/e/101.entry": "no-cache",
		"/e/0.entry": "public, max-age=31536000, immutable", style: "public, max-age=31536000, immutable",
	} {
		a := s.must(path)
		if got := a.header.Get("Cache-Control"); got != cache {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("If-None-Match", `"other", W/`+a.header.Get("ETag"))
		if again := s.ask(r); again.code != http.StatusNotModified || again.body != "" {
			t.Errorf("%s: what did not change is sent again (%d)", path, again.code)
		}
		head := s.ask(httptest.NewRequest(http.MethodHead, path, nil))
		if head.code != http.StatusOK || head.body != "" || head.header.Get("ETag") != a.header.Get("ETag") {
			t.Errorf("HEAD %s: %d", path, head.code)
		}
		if a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s may not be read by other pages", path)
		}
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	s := newWorld(t, proofcheck.OriginDevelopment).server()
	for _, r := range []struct{ method, path, allow string }{
		{"POST", "/v1/entries", "GET"}, {"DELETE", "/e/0", "GET"}, {"GET", "/v1/gossip", "POST"}, {"PUT", "/", "GET"},
	} {
		a := s.ask(httptest.NewRequest(r.method, r.path, nil))
		if a.code != http.StatusMethodNotAllowed || a.header.Get("Allow") != r.allow {
			t.Errorf("%s %s: %d, Allow %q", r.method, r.path, a.code, a.header.Get("Allow"))
		}
		if r.method == "POST" && a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Error("other pages may post")
		}
	}
}

func TestAnEmptyMonitorHasPages(t *testing.T) {
	w := newWorld(t, proofcheck.OriginDevelopment)
	s := w.server()
	for path, a := range s.crawl() {
		if a.code != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
	}
	if o := read[overviewJSON](s, "/index.json"); o.Class != "operational" || o.Logs[0].State != "empty" || o.Logs[0].AgeSeconds != -1 {
		t.Errorf("%+v", o)
	}
}

func TestAQuestionThatTakesTooLongIsGivenUp(t *testing.T) {
	s := healthy(t, "solo: Example Org").server()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	a := s.ask(httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/entries", nil))
	if got := decode[web.Refusal](t, a); a.code != http.StatusServiceUnavailable || got.Reason != "too-slow" {
		t.Errorf("%d %s", a.code, a.body)
	}
	a = s.ask(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
	if a.code != http.StatusServiceUnavailable || !isPage(a) {
		t.Errorf("%d %s", a.code, a.body)
	}
}

// An export that fails in the middle must not look whole.
func TestAnExportThatFailsIsCutOff(t *testing.T) {
	w := healthy(t, "solo: Example Org")
	s := w.server()
	server := httptest.NewServer(s)
	defer server.Close()
	w.damage("UPDATE entries SET leaf_hash = x'00' WHERE idx = 50")
	for _, path := range []string{"/v1/export.csv", "/v1/export.ndjson"} {
		r, err := http.Get(server.URL + path)
		if err != nil {
			continue // cut off before the header
		}
		_, err = io.ReadAll(r.Body)
		r.Body.Close()
		if err == nil && r.StatusCode == http.StatusOK {
			t.Errorf("%s ends as if it were whole", path)
		}
	}
}

func TestPagesAreServedWhileTheMonitorWrites(t *testing.T) {
	t.Parallel()
	w := healthy(t, proofcheck.OriginDevelopment)
	s := w.server()
	done := make(chan error)
	for _, path := range []string{"/", "/log", "/v1/export.ndjson", "/v1/statistics"} {
		go func() {
			for range 15 {
				if a := s.get(path); a.code != http.StatusOK {
					done <- fmt.Errorf("%s: %d", path, a.code)
					return
				}
			}
			done <- nil
		}()
	}
	for i := range 20 {
		w.append(w.logs[0], made(t, "late", fmt.Sprintf("1.0.%d", i)))
		w.head(w.logs[0], 3)
		w.verify(w.logs[0])
	}
	for range 4 {
		fatalIf(t, <-done)
	}
	v := read[struct{ Logs []logJSON }](s, "/v1/logs").Logs[0]
	if v.Verified != 116 || v.Programs[0].Entries != 115 || v.Results.Verified != 116 {
		t.Errorf("%+v", v)
	}
}

func FuzzEveryAddressHasAnAnswer(f *testing.F) {
	w := newWorld(f, proofcheck.OriginDevelopment)
	w.append(w.logs[0], made(f, "one", "1.0.0"), made(f, "two", "1.0.0"))
	w.head(w.logs[0], 3)
	w.verify(w.logs[0])
	s := w.server()
	for _, seed := range [][2]string{
		{"/v1/entries", "crate=one&limit=1&cursor=AAAAAAAAAAEAAAAAAAAAAA"}, {"/v1/entries/1.json", ""}, {"/e/0.tlog-proof", "log=x"}, {"/c/one/1.0.0.json", ""},
		{"/cp/2", ""}, {"/evidence/../x", ""}, {"/search", "q=%ff"}, {"/v1/export.csv", "from=2026-01-01T00:00:00Z"}, {"/c/one.atom", ""}, {"//e//0", "%"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: path, RawQuery: query}
		switch a := s.ask(r); a.code {
		case http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusMethodNotAllowed:
			if isPage(a) {
				parseHTML(t, path, a.body)
			}
		case http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		default:
			t.Errorf("%q?%q: %d %s", path, query, a.code, a.body)
		}
	})
}
