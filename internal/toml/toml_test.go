package toml

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// sameAsLibrary fails if Parse reads a document otherwise than go-toml, but for what the package
// comment says.
func sameAsLibrary(t *testing.T, b []byte) (accepted bool) {
	t.Helper()
	got, err := Parse(b)
	var want map[string]any
	wantErr := toml.Unmarshal(bytes.TrimPrefix(b, []byte(BOM)), &want)
	var why *Error
	switch {
	case err != nil && !errors.As(err, &why):
		t.Fatalf("%q: the error is no *Error: %v", b, err)
	case err != nil && !why.Limit && wantErr == nil:
		t.Fatalf("%q: refused (%v), go-toml reads it", b, err)
	case err == nil && wantErr != nil && !strings.Contains(string(b), ":60"):
		t.Fatalf("%q: read, go-toml refuses it: %v", b, wantErr)
	case err == nil && wantErr == nil && fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want): // NaN is not itself
		t.Fatalf("%q: read as %#v, by go-toml as %#v", b, got, want)
	}
	return err == nil
}

var seeds = []string{
	"", "a=1", "a.b=1\na.c=2\n[a.d]\n[a]\n", "[a.b]\n[a]\nb=1\n", "[a.b]\n[a]\nb.c=1\n", "[[a]]\nb=1\n[a.c]\n[[a]]\n[a.c]\n[[a.d]]\n",
	"[a]\nb.c=1\n[a.b.d]\n[a.b]\n", "a=[]\n[[a]]\n", "[[a.a]]\n[a]\na.b.c=1\n", "a={b.c=1,b.d=2,e=[{},{f={}}]}\n[a.g]\n", "a={b=1,b=2}",
	"\xef\xbb\xbfa='\\'", "a=1998-12-31T23:59:60Z\nb=23:59:60.5\nc=0x1F\nd=-0\ne=1_0\nf=nan\ng=-inf\nh=1e3\ni=1979-05-27 07:32:00\n",
	"a=99999999999999999999", "a=0o8", "a=\"\"\"\nx\\\n  y\"\"\"\n'b c'=\"\\u00e9\"\n\"b c\"=1", "a.b.c.d=[[1,2],[\"x\"]]#c\n[ a . e ]\n", "a=1\n[a]", "[[a]]\n[a]",
	"[a]\n[[a]]", "[a.b]\n[[a]]", "[a]\n[a]", "a=\n", "[", "a=[1", "a={", "=1", "\x00", "a=1 b=2", "a=2021-02-30", "a=1:2",
}

func FuzzParseAgreesWithTheLibrary(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 1<<12 {
			sameAsLibrary(t, b)
		}
	})
}

// TestTablesAreExtendedAsTheLibraryDoes tries random sequences of headers and keys over few names:
// what may be defined after what is where readers of TOML differ.
func TestTablesAreExtendedAsTheLibraryDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	key := func() string {
		k := pick("a", "b", "'a'")
		for r.IntN(2) == 0 {
			k += "." + pick("a", "b", "c")
		}
		return k
	}
	accepted := 0
	for range 20000 {
		var doc strings.Builder
		for range 1 + r.IntN(5) {
			switch r.IntN(4) {
			case 0:
				fmt.Fprintf(&doc, "[%s]\n", key())
			case 1:
				fmt.Fprintf(&doc, "[[%s]]\n", key())
			default:
				fmt.Fprintf(&doc, "%s = %s\n", key(), pick("1", "[]", "{}", "{a.b=1}", "[{a=1}, {a=2}]", "{a=1, "+key()+"=2}"))
			}
		}
		if sameAsLibrary(t, []byte(doc.String())) {
			accepted++
		}
	}
	if accepted < 2000 {
		t.Fatalf("only %d documents were accepted: this test sees too little", accepted)
	}
}

func TestAByteOrderMarkIsSkippedOnceAndOnlyAtTheStart(t *testing.T) {
	for doc, ok := range map[string]bool{BOM + "a=1": true, "a=1\n" + BOM + "b=1": false, BOM + BOM + "a=1": false} {
		if _, err := Parse([]byte(doc)); (err == nil) != ok {
			t.Errorf("%q: %v", doc, err)
		}
	}
}

func TestALeapSecondIsATimeOfItsOwn(t *testing.T) {
	doc, err := Parse([]byte("a=1998-12-31T23:59:60Z\nb=1998-12-31t23:59:60z\nc=1998-12-31T23:59:59Z"))
	if err != nil || !reflect.DeepEqual(doc["a"], doc["b"]) || reflect.DeepEqual(doc["a"], doc["c"]) {
		t.Errorf("%v, %v", doc, err)
	}
	if _, err := Parse([]byte("a=1998-12-31T23:59:61Z")); err == nil {
		t.Error("61 seconds are accepted")
	}
}

func TestDotsAndBracketsInTextAreNoDepth(t *testing.T) {
	for _, text := range []string{strings.Repeat(".", 2000), strings.Repeat("[", 2000), strings.Repeat("{[", 2000)} {
		doc := "# " + text + "\na = '" + text + "'\n'" + text + "' = \"\"\"" + text + "\"\"\"\n"
		if v, err := Parse([]byte(doc)); err != nil || v["a"] != text || v[text] != text {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func TestDepthTablesAndKeysAreBounded(t *testing.T) {
	repeat := strings.Repeat
	for what, c := range map[string]struct{ fits, over string }{
		"dotted key":    {repeat("a.", MaxDepth) + "a=1", repeat("a.", MaxDepth+1) + "a=1"},
		"header":        {"[a" + repeat(".a", MaxDepth-1) + "]", "[a" + repeat(".a", MaxDepth) + "]"},
		"lists":         {"a=" + repeat("[", MaxDepth) + repeat("]", MaxDepth), "a=" + repeat("[", MaxDepth+1) + repeat("]", MaxDepth+1)},
		"inline tables": {repeat("a={", MaxDepth) + repeat("}", MaxDepth), repeat("a={", MaxDepth+1) + repeat("}", MaxDepth+1)},
		"very deep":     {"a=1", "a=" + repeat("[", 1<<20)},
		"tables":        {repeat("[[a]]\n", MaxTables), repeat("[[a]]\n", MaxTables+1)},
	} {
		if _, err := Parse([]byte(c.fits)); err != nil {
			t.Errorf("%s: what fits is refused: %v", what, err)
		}
		if _, err := Parse([]byte(c.over)); err == nil {
			t.Errorf("%s: what does not fit is accepted", what)
		}
	}
	doc := []byte("[a]\nb.c=1\nd={e=1}\n")
	if CheckKeys(doc, 5) != nil || CheckKeys(doc, 4) == nil {
		t.Error("5 keys are not counted as 5")
	}
}

// TestManyKeysAreReadInLinearTime has no clock: go-toml's decoder needs minutes for this.
func TestManyKeysAreReadInLinearTime(t *testing.T) {
	for name, line := range map[string]string{
		"keys": "k%d=1\n", "inline": "k%d={a=1,b=2}\n", "tables": "[t%d]\na=1\n", "dotted": "a.b.k%d=1\n", "lists of tables": "[[a]]\n[a.b%d]\n",
	} {
		var doc bytes.Buffer
		for i := range 30000 {
			fmt.Fprintf(&doc, line, i)
		}
		if _, err := Parse(doc.Bytes()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for doc, want := range map[string]string{
		"a=1\nb=1\na=2\n":       "is not TOML: line 3: key a is already defined",
		"a=1\n[a]\n":            "is not TOML: line 2: key a already exists as a value",
		"[a]\n[a]\n":            "is not TOML: line 2: table a already exists",
		"a=1\n\nb":              "is not TOML: line 3: expected '=' after key",
		"a=1\nb=2021-02-30":     "is not TOML: line 2: impossible date",
		"a=1\nb={c=[1,2,{d=1}]": "is not TOML: line 2: inline table is incomplete",
	} {
		if _, err := Parse([]byte(doc)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %q", doc, err, want)
		}
	}
}
