package client

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cratelog/entry"
)

const buildRow = `{"index":%d,"program":"%064d","binary":"b","target":"x86_64-unknown-linux-gnu","artifact":"%064d","compiled":"%064d","request":"%064d","result":"%064d","root":"%064d","tag":"%064d"}`

func rowText(index int) string { return fmt.Sprintf(buildRow, index, 1, 2, 3, 4, 5, 6, 7) }

// TestAListOfBuildsIsWholeOrAnError: who looks for what he said himself must not be shown less.
func TestAListOfBuildsIsWholeOrAnError(t *testing.T) {
	for name, c := range map[string]struct {
		pages []string // by request
		want  string   // words of the error; "": two rows
	}{
		"one page":              {[]string{`{"builds":[` + rowText(1) + `,` + rowText(2) + `],"size":9}`}, ""},
		"two pages":             {[]string{`{"builds":[` + rowText(1) + `],"next":2,"size":9}`, `{"builds":[` + rowText(2) + `],"size":8}`}, ""},
		"another order":         {[]string{`{"builds":[` + rowText(2) + `,` + rowText(1) + `],"size":9}`}, "not in the order"},
		"a row twice":           {[]string{`{"builds":[` + rowText(1) + `,` + rowText(1) + `],"size":9}`}, "not in the order"},
		"a page again":          {[]string{`{"builds":[` + rowText(1) + `],"next":2,"size":9}`, `{"builds":[` + rowText(1) + `],"size":9}`}, "not in the order"},
		"a page without rows":   {[]string{`{"builds":[],"next":2,"size":9}`}, "does not go on"},
		"a next that is behind": {[]string{`{"builds":[` + rowText(5) + `],"next":2,"size":9}`}, "does not go on"},
		"no JSON":               {[]string{`<html>`}, "not the JSON"},
		"two answers":           {[]string{`{"builds":[]}{}`}, "follows its JSON"},
		"a short hash":          {[]string{`{"builds":[` + strings.Replace(rowText(1), `"tag":"0`, `"tag":"`, 1) + `],"size":9}`}, "no SHA-256"},
		"capitals":              {[]string{`{"builds":[` + strings.Replace(rowText(1), `"root":"0`, `"root":"A`, 1) + `],"size":9}`}, "no SHA-256"},
		"a hash less":           {[]string{`{"builds":[` + strings.Replace(rowText(1), `"result"`, `"other"`, 1) + `],"size":9}`}, "no SHA-256"},
		"no binary":             {[]string{`{"builds":[` + strings.Replace(rowText(1), `"binary":"b"`, `"binary":"\u001b"`, 1) + `],"size":9}`}, "binary's name"},
		"too much":              {[]string{`{"builds":[` + strings.Repeat(" ", maxBuildsBody) + `]}`}, "bytes"},
	} {
		asked := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, c.pages[min(asked, len(c.pages)-1)])
			asked++
		}))
		rows, err := (&Log{URL: s.URL}).Builds(t.Context(), entry.Subject{Name: "a", Version: "1.0.0"})
		s.Close()
		switch {
		case c.want == "" && (err != nil || len(rows) != 2 || rows[1].Index != 2 || rows[1].Tag == rows[1].Root):
			t.Errorf("%s: %+v, %v", name, rows, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %+v, %v", name, rows, err)
		}
	}
}

// TestEvidenceComesInPortions: a log can make its evidence as large and as late as it likes.
func TestEvidenceComesInPortions(t *testing.T) {
	large := strings.Repeat("x", maxContradictionBytes/2)
	files := map[string]string{"3": "a", "5": large, "6": large, "7": "b"}
	list := `{"contradictions":[{"number":3},{"number":5},{"number":6},{"number":7}]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch number := strings.TrimPrefix(r.URL.Path, "/v1/contradictions"); {
		case number == "":
			fmt.Fprint(w, list)
		case files[number[1:]] == "":
			http.NotFound(w, r)
		default:
			fmt.Fprint(w, files[number[1:]])
		}
	}))
	defer s.Close()
	ask := func(from int64, want ...int64) error {
		t.Helper()
		out, err := (&Log{URL: s.URL}).Contradictions(t.Context(), from, 64)
		var got []int64
		for _, c := range out {
			got = append(got, c.Number)
		}
		if !slices.Equal(got, want) {
			t.Errorf("from %d: %v, %v", from, got, err)
		}
		return err
	}
	ask(0, 3, 5, 6) // no more than memory holds
	delete(files, "5")
	if err := ask(0, 3); err != nil { // what came before the error
		t.Error(err)
	}
	list = `{"contradictions":[{"number":5},{"number":7}]}`
	if err := ask(4); err == nil {
		t.Error("there is no error")
	}
	list = `{"contradictions":[{"number":9223372036854775807}]}` // what follows is none
	if err := ask(4); err == nil || !strings.Contains(err.Error(), "not in order") {
		t.Error(err)
	}
}

// FuzzBuilds: what a log answers makes rows or an error, and the same every time.
func FuzzBuilds(f *testing.F) {
	f.Add([]byte(`{"builds":[` + rowText(1) + `],"next":2,"size":9}`))
	f.Add([]byte(`{"artifacts":[{"registry":"default","name":"a","version":"1.0.0","sha256":"` + strings.Repeat("0", 64) + `","binary":"b","target":"a-b","index":1}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rows, next, err := parseBuilds(raw)
		again, next2, err2 := parseBuilds(raw)
		if !reflect.DeepEqual(rows, again) || !reflect.DeepEqual(next, next2) || (err == nil) != (err2 == nil) || err != nil && rows != nil {
			t.Errorf("%+v %v", rows, err)
		}
		artifacts, err := parseArtifacts(raw)
		for _, a := range artifacts {
			if entry.CheckName(a.Subject.Name) != nil || entry.CheckBinary(a.Binary) != nil || err != nil {
				t.Errorf("%+v %v", a, err)
			}
		}
	})
}
