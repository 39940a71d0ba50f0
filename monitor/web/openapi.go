package web

import (
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"cratelog/internal/web"
	"cratelog/monitor/store"
)

// openAPI is an OpenAPI 3.1 document, made of the routes and of the types that they answer with.
type openAPI struct {
	OpenAPI    string                         `json:"openapi"`
	Info       apiInfo                        `json:"info"`
	Paths      map[string]map[string]apiCall  `json:"paths"` // by address, and by method
	Components map[string]map[string]jsSchema `json:"components"`
}

type apiInfo struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	Version     string `json:"version"`
}

type apiCall struct {
	Summary    string               `json:"summary"`
	Parameters []apiParameter       `json:"parameters,omitempty"`
	Body       *apiBody             `json:"requestBody,omitempty"`
	Responses  map[string]apiAnswer `json:"responses"`
}

type apiParameter struct {
	Name        string   `json:"name"`
	In          string   `json:"in"`
	Description string   `json:"description"`
	Required    bool     `json:"required,omitempty"`
	Schema      jsSchema `json:"schema"`
}

type apiBody struct {
	Description string              `json:"description"`
	Required    bool                `json:"required"`
	Content     map[string]apiMedia `json:"content"`
}

type apiAnswer struct {
	Description string              `json:"description"`
	Content     map[string]apiMedia `json:"content,omitempty"`
}

type apiMedia struct {
	Schema jsSchema `json:"schema"`
}

// jsSchema is a JSON Schema of draft 2020-12.
type jsSchema map[string]any

// parameterWords say what each parameter is.
var parameterWords = map[string]string{
	"key": "Index, leaf hash, size or SHA-256, as the address says.", "name": "Name of a crate.", "version": "Exact version.",
	"token": "What ends a subscription.", "log": "Origin of one log.", "order": "oldest or newest first.",
	"limit": "How many, 1 to 1000.", "cursor": "The value of next, to go on; all else unchanged.",
	"registry": "default, or the index of another registry.", "crate": "Name of a crate, exactly.", "checksum": "SHA-256 of the .crate.",
	"commit": "Git commit.", "path": "Of the package in its repository; empty for the root.",
	"repository": "Address of a repository that the operator's settings name.", "program": "Id of a proof program.",
	"claim": "source, build, or seal for the log's own seals.", "development": "yes: of development keys only.", "leaf": "Leaf hash.",
	"from": "Time, from which this monitor first had it; to compare, a version.", "to": "Time, before which it had it; to compare, a version.",
	"size": "Number of entries.", "verdict": "consistent, inconsistent or pending.", "class": "security, operational or info.",
	"kind": "Kind of the findings.", "standing": "yes: neither over nor acknowledged.", "root": "Root hash.", "q": "What to search for.",
	"prefix": "How names of crates begin; case, - and _ do not matter.",
}

var pathParameter = regexp.MustCompile(`\{([a-z]+)\}`)

// document makes the document.
func (s *Server) document() openAPI {
	d := openAPI{OpenAPI: "3.1.0", Info: apiInfo{"cratelog monitor: " + s.cfg.Name,
		"What this monitor has seen and checked. Nothing here needs to be believed: see docs/monitor-api.md.", "1"},
		Paths: make(map[string]map[string]apiCall), Components: map[string]map[string]jsSchema{"schemas": {}}}
	schemas := schemaMaker(d.Components["schemas"])
	refused := apiAnswer{"Refused, with a reason for programs and a sentence for people.",
		map[string]apiMedia{"application/json": {schemas.of(reflect.TypeFor[web.Refusal]())}}}
	for _, r := range s.routeTable() {
		for _, o := range r.answers {
			if o.path == "" {
				o.path = r.path()
			}
			call := apiCall{Summary: o.about, Responses: map[string]apiAnswer{"default": refused}}
			for _, m := range pathParameter.FindAllStringSubmatch(o.path, -1) {
				call.Parameters = append(call.Parameters, apiParameter{m[1], "path", parameterWords[m[1]], true, jsSchema{"type": "string"}})
			}
			for name := range strings.FieldsSeq(r.params) {
				call.Parameters = append(call.Parameters, apiParameter{name, "query", parameterWords[name], false, jsSchema{"type": "string"}})
			}
			content := map[string]apiMedia{}
			if media, ok := o.value.(string); ok {
				content[media] = apiMedia{jsSchema{"type": "string"}}
			} else {
				content["application/json"] = apiMedia{schemas.of(reflect.TypeOf(o.value))}
			}
			call.Responses["200"] = apiAnswer{o.about, content}
			d.Paths[o.path] = map[string]apiCall{"get": call}
		}
	}
	post := func(path, about, media, body string, answer apiMedia, answered string) {
		call := apiCall{Summary: about, Responses: map[string]apiAnswer{"default": refused,
			"200": {about, map[string]apiMedia{answered: answer}}}}
		for _, m := range pathParameter.FindAllStringSubmatch(path, -1) {
			call.Parameters = append(call.Parameters, apiParameter{m[1], "path", parameterWords[m[1]], true, jsSchema{"type": "string"}})
		}
		if media != "" {
			call.Body = &apiBody{body, true, map[string]apiMedia{media: {jsSchema{"type": "string"}}}}
		}
		if d.Paths[path] == nil {
			d.Paths[path] = make(map[string]apiCall)
		}
		d.Paths[path]["post"] = call
	}
	text := apiMedia{jsSchema{"type": "string"}}
	post("/v1/gossip", "Show this monitor what some log showed you", "application/octet-stream", "A signed checkpoint, or a bundle.",
		apiMedia{schemas.of(reflect.TypeFor[gossipJSON]())}, "application/json")
	post("/watch", "Subscribe an endpoint", "application/x-www-form-urlencoded", "The fields prefix, match (name or prefix) and url.", text, page_)
	post("/unsubscribe/{token}", "End a subscription", "", "", text, page_)
	return d
}

// schemaMaker makes schemas of types, those of structs by name.
type schemaMaker map[string]jsSchema

func (m schemaMaker) of(t reflect.Type) jsSchema {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return jsSchema{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[store.Class]():
		return jsSchema{"type": "string", "enum": []string{string(store.Security), string(store.Operational), string(store.Info)}}
	case t == reflect.TypeFor[[]byte]():
		return jsSchema{"type": "string", "contentEncoding": "base64"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return jsSchema{"anyOf": []jsSchema{m.of(t.Elem()), {"type": "null"}}}
	case reflect.Slice:
		return jsSchema{"type": "array", "items": m.of(t.Elem())}
	case reflect.Map:
		return jsSchema{"type": "object", "additionalProperties": m.of(t.Elem())}
	case reflect.Struct:
		name := strings.TrimSuffix(t.Name(), "JSON")
		if _, known := m[name]; !known {
			m[name] = nil // a type may hold itself
			m[name] = m.object(t)
		}
		return jsSchema{"$ref": "#/components/schemas/" + name}
	case reflect.Bool:
		return jsSchema{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return jsSchema{"type": "integer"}
	case reflect.String:
		return jsSchema{"type": "string"}
	}
	return jsSchema{} // anything
}

// object is the schema of a struct: its fields as encoding/json names them, and those that are always there.
func (m schemaMaker) object(t reflect.Type) jsSchema {
	properties, required := jsSchema{}, []string{}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "":
				add(f.Type)
				continue
			case name == "-", name == "":
				continue
			}
			properties[name] = m.of(f.Type)
			if !strings.Contains(options, "omitempty") && !slices.Contains(required, name) {
				required = append(required, name)
			}
		}
	}
	add(t)
	slices.Sort(required)
	return jsSchema{"type": "object", "properties": properties, "required": required}
}

// apiGroup is one address on the page about the API.
type apiGroup struct {
	Method, Path, Summary string
	Example               string // an address without anything to fill in
	Parameters            []apiParameter
}

// apiPage is the API for people; its twin is the document.
func (s *Server) apiPage(q *request) error {
	if strings.HasSuffix(q.r.URL.Path, jsonSuffix) {
		return q.sendJSON(s.document())
	}
	d := s.document()
	var all []apiGroup
	for _, r := range s.routeTable() {
		for _, o := range r.answers {
			if o.path == "" {
				o.path = r.path()
			}
			call := d.Paths[o.path]["get"]
			g := apiGroup{http.MethodGet, o.path, call.Summary, "", call.Parameters}
			if !strings.Contains(o.path, "{") && len(call.Parameters) == 0 {
				g.Example = o.path
			}
			all = append(all, g)
		}
	}
	for _, p := range s.posts() {
		_, path, _ := strings.Cut(p.Pattern, " ")
		call := d.Paths[path]["post"]
		all = append(all, apiGroup{http.MethodPost, path, call.Summary, "", call.Parameters})
	}
	return s.show(q, "api", nil, page{Title: "API", Nav: "api", Twin: "/openapi.json", Data: struct {
		Info    apiInfo
		Groups  []apiGroup
		BaseURL string
	}{d.Info, all, s.cfg.URL}})
}
