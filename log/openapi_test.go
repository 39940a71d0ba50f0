package log

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/testlog"
	"cratelog/internal/vitals"
)

type apiDocument struct {
	OpenAPI    string                          `json:"openapi"`
	Paths      map[string]map[string]apiMethod `json:"paths"`
	Components struct {
		Schemas map[string]apiSchema `json:"schemas"`
	} `json:"components"`
}

type apiMethod struct {
	Summary    string `json:"summary"`
	Parameters []struct {
		Name, In, Description string
	} `json:"parameters"`
	Responses map[string]struct {
		Description string                                 `json:"description"`
		Content     map[string]struct{ Schema *apiSchema } `json:"content"`
	} `json:"responses"`
}

type apiSchema struct {
	Ref        string                `json:"$ref"`
	Type       string                `json:"type"`
	Enum       []string              `json:"enum"`
	Properties map[string]*apiSchema `json:"properties"`
	Required   []string              `json:"required"`
	Items      *apiSchema            `json:"items"`
}

func readAPI(t *testing.T) (d apiDocument) {
	t.Helper()
	fatalIf(t, json.Unmarshal(openAPI, &d))
	return d
}

// conforms returns what of a value a schema does not say, or says otherwise.
func (d apiDocument) conforms(v any, s *apiSchema, at string) (wrong []string) {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		named, known := d.Components.Schemas[name]
		if !known {
			return []string{at + ": there is no schema " + name}
		}
		return d.conforms(v, &named, at)
	}
	is := ""
	switch v := v.(type) {
	case map[string]any:
		is = "object"
		for key, value := range v {
			if p := s.Properties[key]; p != nil {
				wrong = append(wrong, d.conforms(value, p, at+"."+key)...)
			} else if s.Properties != nil {
				wrong = append(wrong, at+"."+key+" is not declared")
			}
		}
		for _, key := range s.Required {
			if _, there := v[key]; !there {
				wrong = append(wrong, at+"."+key+" is missing")
			}
		}
	case []any:
		is = "array"
		for i, value := range v {
			wrong = append(wrong, d.conforms(value, s.Items, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case string:
		is = "string"
		if s.Enum != nil && !slices.Contains(s.Enum, v) {
			wrong = append(wrong, at+": "+v+" is not enumerated")
		}
	case bool:
		is = "boolean"
	case float64:
		if is = "number"; s.Type == "integer" && v == float64(int64(v)) {
			is = "integer"
		}
	}
	if s.Type != "" && s.Type != is {
		wrong = append(wrong, fmt.Sprintf("%s is %s, and declared as %s", at, is, s.Type))
	}
	return wrong
}

// apiTypes are the types of all answers in JSON, by the names of their schemas.
var apiTypes = map[string]any{
	"Refusal": refusalBody{}, "Versions": versionsBody{}, "Version": versionBody{}, "Claims": claimsBody{}, "Claim": claimBody{},
	"Builds": buildsBody{}, "Build": buildBody{}, "Artifacts": artifactBody{}, "Artifact": artifactRow{},
	"Contradictions": contradictionsBody{}, "Contradiction": contradictionBody{}, "Entry": entryFacts{}, "Entries": identityBody{},
	"Submission": submissionBody{}, "Inclusion": inclusionBody{}, "Consistency": consistencyBody{}, "Keys": keysBody{}, "Key": keyBody{},
	"Log": aboutBody{}, "Program": aboutProgram{}, "BuildSettings": aboutBuilds{}, "Set": aboutSet{}, "Witness": aboutWitness{},
	"Limits": aboutLimits{}, "Frozen": aboutFrozen{}, "Shard": Shard{}, "Predecessor": aboutStart{}, "Health": healthBody{}, "Probe": vitals.Health{}, "WitnessHealth": healthWitness{},
	"ClusterHealth": healthCluster{},
	"Nothing":       struct{}{},
}

// TestTheDocumentNamesEveryRouteFieldAndReason, and none that there is not.
func TestTheDocumentNamesEveryRouteFieldAndReason(t *testing.T) {
	t.Parallel()
	_, l := openWorld(t)
	d := readAPI(t)
	documented := map[string]bool{}
	for path, methods := range d.Paths {
		for method, m := range methods {
			documented[strings.ToUpper(method)+" "+path] = true
			if m.Summary == "" || len(m.Responses) == 0 {
				t.Errorf("%s %s says too little", method, path)
			}
			for _, p := range m.Parameters {
				if p.Description == "" || p.In == "path" && !strings.Contains(path, "{"+p.Name+"}") {
					t.Errorf("%s %s: the parameter %s", method, path, p.Name)
				}
			}
			if strings.Count(path, "{") != len(slices.DeleteFunc(slices.Clone(m.Parameters), func(p struct {
				Name, In,
				Description string
			}) bool {
				return p.In != "path"
			})) {
				t.Errorf("%s %s: not all of the address is described", method, path)
			}
		}
	}
	plain := strings.NewReplacer("{$}", "", "...}", "}")
	for _, r := range l.routes() {
		if name := plain.Replace(r.Pattern); !documented[name] {
			t.Errorf("log/openapi.json does not describe %s", name)
		} else {
			delete(documented, name)
		}
	}
	for name := range documented {
		t.Errorf("log/openapi.json describes %s, which the log does not have", name)
	}

	for name, v := range apiTypes {
		s, known := d.Components.Schemas[name]
		if !known {
			t.Errorf("log/openapi.json has no schema %s", name)
			continue
		}
		fields, required := map[string]bool{}, []string{}
		typ := reflect.TypeOf(v)
		for _, f := range reflect.VisibleFields(typ) {
			if f.Anonymous {
				continue
			}
			field, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields[field] = true
			if s.Properties[field] == nil {
				t.Errorf("log/openapi.json: the schema %s lacks the field %s", name, field)
			}
			if !strings.Contains(options, "omit") {
				required = append(required, field)
			}
		}
		for field := range s.Properties {
			if !fields[field] {
				t.Errorf("log/openapi.json: the schema %s has the field %s, and %T has not", name, field, v)
			}
		}
		if slices.Sort(required); !slices.Equal(required, slices.Sorted(slices.Values(s.Required))) {
			t.Errorf("log/openapi.json: the schema %s requires %v; what is always there is %v", name, s.Required, required)
		}
	}
	for name := range d.Components.Schemas {
		if apiTypes[name] == nil {
			t.Errorf("the schema %s is of no type: name it in apiTypes", name)
		}
	}

	reasons := reasonConstants(t)
	if got := slices.Sorted(slices.Values(d.Components.Schemas["Refusal"].Properties["reason"].Enum)); !slices.Equal(got, reasons) {
		t.Errorf("log/openapi.json enumerates the reasons\n%v\nand the package has\n%v", got, reasons)
	}
	statuses := map[int]bool{} // that errors have
	for _, r := range reasons {
		statuses[status(Reason(r))] = true
	}
	named := map[int]bool{}
	for path, methods := range d.Paths {
		for method, m := range methods {
			for text, a := range m.Responses {
				code, err := strconv.Atoi(text)
				if a.Description == "" || err != nil || code >= 400 && !statuses[code] &&
					code != http.StatusRequestedRangeNotSatisfiable {
					t.Errorf("%s %s: no answer has the status %s", method, path, text)
				}
				named[code] = true
			}
		}
	}
	delete(statuses, http.StatusMethodNotAllowed) // of every address; the document's description says so
	for code := range statuses {
		if !named[code] {
			t.Errorf("log/openapi.json names no answer with the status %d", code)
		}
	}
}

// reasonConstants reads the reasons out of the source.
func reasonConstants(t *testing.T) (reasons []string) {
	t.Helper()
	for _, file := range testlog.Must(os.ReadDir(".")) {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		ast.Inspect(testlog.Must(parser.ParseFile(token.NewFileSet(), file.Name(), nil, 0)), func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Reason" {
					for _, x := range v.Values {
						reasons = append(reasons, testlog.Must(strconv.Unquote(x.(*ast.BasicLit).Value)))
					}
				}
			}
			return true
		})
	}
	slices.Sort(reasons)
	if len(reasons) < 20 {
		t.Fatalf("only %d reasons were found", len(reasons))
	}
	return reasons
}

// TestAnswersAreWhatTheDocumentSays asks every address that is read, of a log that has some of everything.
func TestAnswersAreWhatTheDocumentSays(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	w.cfg.Shards = []Shard{{Origin: w.cfg.Origin, VKey: w.cfg.VKey, URL: "https://log.example", From: "2026-01-01",
		Until: "2027-01-01"}}
	l := w.open()
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	d := readAPI(t)
	raw, crate := w.good("alpha", "1.0.0")
	w.submit(l, raw, crate)
	first := ann.says(t, rebuilders, raw, claimOf(1))
	w.build(l, first, nil)
	wantBuildRefusal(t, l, ann.says(t, rebuilders, raw, claimOf(2)), crates, nil, BuilderContradiction, "")
	e, b := testlog.Must(entry.Parse(raw)), testlog.Must(entry.Parse(first)).Claim.(*entry.Build)
	id := fmt.Sprintf("%x", testlog.Must(e.Identity()))

	fill := map[string]string{"name": "alpha", "version": "1.0.0", "identity": id, "index": "0",
		"hash": fmt.Sprintf("%x", testLeaf(raw)), "number": "1",
		"path": "entries/000.p/2"}
	questions := map[string]string{"/v1/proof/inclusion": "?index=0", "/v1/proof/consistency": "?old=1", "/v1/index": "?bits=0"}
	sums := map[string][32]byte{"/v1/artifacts/{sha256}": b.Artifact, "/v1/lists/{sha256}": b.Compiled}
	missing := map[string]bool{"/v1/openings/{identity}": true, "/v1/keys/{hash}": true, "/frozen": true,
		"/v1/keys": true} // other tests have them
	jsons := 0
	for path, methods := range d.Paths {
		m, ok := methods["get"]
		if !ok || missing[path] {
			continue
		}
		address := path + questions[path]
		for k, v := range fill {
			address = strings.ReplaceAll(address, "{"+k+"}", v)
		}
		address = strings.ReplaceAll(address, "{sha256}", fmt.Sprintf("%x", sums[path]))
		code, header, body := get(t, srv.URL+address)
		media, _, _ := strings.Cut(header.Get("Content-Type"), ";")
		content, ok := m.Responses[fmt.Sprint(code)].Content[media]
		if code != 200 || !ok {
			t.Errorf("%s: %d %s, and the document says %v: %s", address, code, media, slices.Collect(maps.Keys(m.Responses)),
				body)
			continue
		}
		if media == "application/json" {
			jsons++
			var v any
			fatalIf(t, json.Unmarshal(body, &v))
			for _, wrong := range d.conforms(v, content.Schema, address) {
				t.Error(wrong)
			}
		}
		if _, tagged := m.Responses["304"]; tagged {
			if code, _, _ := ask(t, "GET", srv.URL+address, "If-None-Match", "*"); code != 304 {
				t.Errorf("%s: %d of what the reader has", address, code)
			}
			if code, _, _ := ask(t, "GET", srv.URL+address, "Range", "bytes=0-0"); code != 206 {
				t.Errorf("%s: %d of its first byte", address, code)
			}
			if code, _, _ := ask(t, "GET", srv.URL+address, "Range", "bytes=99999999-"); code != 416 {
				t.Errorf("%s: %d of a part that it has not", address, code)
			}
		}
	}
	if jsons < 12 {
		t.Errorf("only %d answers in JSON were compared", jsons)
	}
	for _, path := range []string{"/v1/crates/alpha?x", "/v1/entries/x", "/v1/contradictions?from=x"} {
		_, _, body := get(t, srv.URL+path)
		var v any
		fatalIf(t, json.Unmarshal(body, &v))
		for _, wrong := range d.conforms(v, &apiSchema{Ref: "#/components/schemas/Refusal"}, path) {
			t.Error(wrong)
		}
	}
	// The comparison sees something.
	if wrong := d.conforms(map[string]any{"reason": "new", "x": 1.0}, &apiSchema{Ref: "#/components/schemas/Refusal"},
		""); len(wrong) != 3 {
		t.Errorf("what is wrong is not seen: %q", wrong)
	}
}
