package client

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/testlog"
)

func TestAQueryIsReadAsItWasWritten(t *testing.T) {
	path, root := "crates/a b&c", ""
	for _, q := range []Query{
		{Name: "a", Version: "1.0.0"},
		{Name: "a", Version: "1.0.0", Registry: entry.DefaultRegistry},
		{Name: "a", Version: "1.0.0+b", Registry: "https://index.example/x?y=z&w"},
		{Name: "a", Version: "1.0.0", Programs: [][32]byte{{1}, {2}}, Commits: [][20]byte{{3}}, Path: &path},
		{Name: "a", Version: "1.0.0", Programs: make([][32]byte, MaxQuery), Commits: make([][20]byte, MaxQuery), Path: &root},
	} {
		text := testlog.Must(q.Encode())
		got := testlog.Must(ParseQuery(q.Name, q.Version, text))
		if q.Registry == "" {
			q.Registry = entry.DefaultRegistry
		}
		if !reflect.DeepEqual(got, q) {
			t.Errorf("%q: %+v, want %+v", text, got, q)
		}
		if strings.Contains(text, "registry") != (q.Registry != entry.DefaultRegistry) {
			t.Errorf("%q says of the registry what need not be said, or not what must be", text)
		}
		if again := testlog.Must(got.Encode()); again != text {
			t.Errorf("%q and %q", text, again)
		}
	}
}

func TestAQueryIsStrict(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for text, words := range map[string]string{
		"programs=":                                   "in lower-case hex",
		"programs=" + id + ",":                        "in lower-case hex",
		"programs=" + strings.ToUpper(id):             "in lower-case hex",
		"programs=" + id[1:]:                          "in lower-case hex",
		"programs=" + id + "," + id[2:]:               "in lower-case hex",
		"commits=" + id:                               "ids of 20 bytes",
		"programs=" + strings.Repeat(id+",", 64) + id: "more than 64",
		"programs=" + id + "&programs=" + id:          "more than once",
		"path=../x":                                   "the component",
		"path=/":                                      "empty component",
		"registry=":                                   "registry",
		"registry=HTTPS://INDEX.example/":             "must be written",
		"program=" + id:                               "no parameter",
		"%zz":                                         "not URL-encoded",
	} {
		if _, err := ParseQuery("a", "1.0.0", text); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, want a word on %q", text, err, words)
		}
	}
	for _, q := range []Query{
		{Name: "a", Version: "1.0.0", Programs: make([][32]byte, MaxQuery+1)},
		{Name: "a", Version: "1.0.0", Registry: "x"},
		{Name: "a/b", Version: "1.0.0"}, {Name: "a", Version: ".."},
	} {
		l, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
		if _, err := l.Bundle(t.Context(), q); err == nil {
			t.Errorf("%+v was asked for", q)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	f.Add("programs=" + strings.Repeat("ab", 32) + "&path=x&registry=https%3A%2F%2Fa.example")
	f.Add("commits=" + strings.Repeat("0", 40) + "&path=")
	f.Fuzz(func(t *testing.T, text string) {
		q, err := ParseQuery("a", "1.0.0", text)
		if err != nil {
			return
		}
		again, err := q.Encode()
		if err != nil {
			t.Fatalf("%q is read, and not written: %v", text, err)
		}
		if back, err := ParseQuery("a", "1.0.0", again); err != nil || !reflect.DeepEqual(back, q) {
			t.Errorf("%q: %+v, then %q: %+v (%v)", text, q, again, back, err)
		}
	})
}
