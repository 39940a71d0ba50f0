package registry

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

func TestPathIsCargos(t *testing.T) {
	for name, want := range map[string]string{
		"a": "1/a", "Ab": "2/ab", "abc": "3/a/abc", "serde": "se/rd/serde", "Inflector": "in/fl/inflector", "a-_4": "a-/_4/a-_4",
	} {
		if got := Path(name); got != want {
			t.Errorf("Path(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestDownloadMarkersAreCargos(t *testing.T) {
	sum := [32]byte{0xab}
	hex := fmt.Sprintf("%x", sum)
	for dl, want := range map[string]string{
		"http://example.com/dl":                                "http://example.com/dl/Inflector/0.1.0/download",
		"http://example.com/dl/":                               "http://example.com/dl/Inflector/0.1.0/download",
		"http://example.com/{prefix}/{crate}":                  "http://example.com/In/fl/Inflector",
		"http://example.com/{lowerprefix}/{crate}-{version}.c": "http://example.com/in/fl/Inflector-0.1.0.c",
		"http://example.com/{sha256-checksum}":                 "http://example.com/" + hex,
	} {
		got, err := Config{Download: dl}.downloadURL("Inflector", "0.1.0", sum)
		if err != nil || got != want {
			t.Errorf("dl %q gives %q, %v; want %q", dl, got, err, want)
		}
	}
	if _, err := (Config{Download: "http://example.com"}).downloadURL("../x", "0.1.0", sum); err == nil {
		t.Error("a name with a path in it became part of a URL")
	}
	if _, err := (Config{Download: "http://example.com"}).downloadURL("x", "../1", sum); err == nil {
		t.Error("a version with a path in it became part of a URL")
	}
}

func line(name, version, sum, more string) string {
	return fmt.Sprintf(`{"name":%q,"vers":%q,"cksum":%q%s}`+"\n", name, version, sum, more)
}

var sumA, sumB = strings.Repeat("0a", 32), strings.Repeat("0b", 32)

func TestIndexLinesAreRead(t *testing.T) {
	b := line("Ab", "0.1.0", sumA, `,"deps":[],"yanked":true,"new":{"field":1}`) + "\n" + line("Ab", "0.1.1", sumB, "")
	r, err := ParseReleases("ab", []byte(b))
	if err != nil || len(r) != 2 || r[0].Name != "Ab" || !r[0].Yanked || r[1].Yanked || r[1].Checksum[0] != 0x0b {
		t.Fatalf("%+v, %v", r, err)
	}
	if want := strings.TrimSpace(line("Ab", "0.1.1", sumB, "")); string(r[1].Line) != want {
		t.Errorf("the line is %q, not %q", r[1].Line, want)
	}
}

func TestOneBadIndexLineHidesNoOther(t *testing.T) {
	for what, bad := range map[string]string{
		"not JSON":               "{",
		"cut":                    line("ab", "1.0.0", sumA, "")[:40],
		"no object":              "[]",
		"null":                   "null",
		"no name":                `{"vers":"1.0.0","cksum":"` + sumA + `"}`,
		"no version":             `{"name":"ab","cksum":"` + sumA + `"}`,
		"no checksum":            `{"name":"ab","vers":"1.0.0"}`,
		"null checksum":          `{"name":"ab","vers":"1.0.0","cksum":null}`,
		"checksum in other case": `{"name":"ab","vers":"1.0.0","CKSUM":"` + sumA + `"}`,
		"short checksum":         line("ab", "1.0.0", sumA[2:], ""),
		"checksum not in hex":    line("ab", "1.0.0", "zz"+sumA[2:], ""),
		"a version that is none": line("ab", "1.0", sumA, ""),
		"another crate":          line("ac", "1.0.0", sumA, ""),
		"trailing":               strings.TrimSpace(line("ab", "1.0.0", sumA, "")) + "x",
	} {
		bad = strings.TrimSuffix(bad, "\n") + "\n"
		r, err := ParseReleases("ab", []byte(line("ab", "0.1.0", sumA, "")+bad+line("ab", "0.2.0", sumB, "")))
		if err != nil || len(r) != 2 || r[0].Version != "0.1.0" || r[1].Version != "0.2.0" {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
		if r, err := ParseReleases("ab", []byte("\n"+bad)); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("%s, and no other: %+v, and an error that does not name the line: %v", what, r, err)
		}
	}
}

func FuzzIndexLinesNeverPanic(f *testing.F) {
	f.Add([]byte(line("ab", "0.1.0", sumA, "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		releases, err := ParseReleases("ab", b)
		if err != nil {
			return
		}
		for _, r := range releases {
			again, err := ParseReleases("ab", r.Line)
			if err != nil || len(again) != 1 || again[0].Checksum != r.Checksum || again[0].Version != r.Version {
				t.Errorf("the line %q read alone is %+v, %v", r.Line, again, err)
			}
		}
	})
}

func TestOfTwoLinesForAVersionTheLaterCounts(t *testing.T) {
	r, err := ParseReleases("ab", []byte(line("ab", "1.0.0", sumA, "")+line("ab", "1.0.0", sumB, "")+line("ab", "0.9.0", sumA, "")))
	fatalIf(t, err)
	if got, err := Find(r, "1.0.0"); err != nil || got.Checksum[0] != 0x0b {
		t.Errorf("found: %+v, %v", got, err)
	}
	if _, err := Find(r, "1.0.1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a version that is not there: %v", err)
	}
}

// serve starts a registry that answers paths with bodies.
func serve(t *testing.T, files map[string]string) (*Index, *httptest.Server) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, strings.ReplaceAll(body, "HOST", "http://"+r.Host))
	}))
	t.Cleanup(s.Close)
	return &Index{URL: s.URL + "/"}, s
}

func TestADownloadWithOtherBytesIsNeverReturned(t *testing.T) {
	x, _ := serve(t, map[string]string{"/config.json": `{"dl":"HOST/dl/{crate}"}`, "/dl/ab": "bytes"})
	got, err := x.Download(context.Background(), "ab", "1.0.0", sha256.Sum256([]byte("bytes")))
	if err != nil || string(got) != "bytes" {
		t.Fatalf("%q, %v", got, err)
	}
	got, err = x.Download(context.Background(), "ab", "1.0.0", sha256.Sum256([]byte("other")))
	var sum *ChecksumError
	if !errors.As(err, &sum) || got != nil {
		t.Fatalf("other bytes: %q, %v", got, err)
	}
	if _, err = x.Download(context.Background(), "ac", "1.0.0", sha256.Sum256(nil)); !errors.Is(err, ErrNotFound) {
		t.Errorf("a crate that is not there: %v", err)
	}
}

func TestACrateIsNotUnpackedOnItsWay(t *testing.T) {
	var raw bytes.Buffer
	z := gzip.NewWriter(&raw)
	z.Write([]byte("an archive"))
	z.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/config.json" {
			fmt.Fprintf(w, `{"dl":"http://%s/dl"}`, r.Host)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(raw.Bytes())
	}))
	defer s.Close()
	got, err := (&Index{URL: s.URL + "/"}).Download(t.Context(), "ab", "1.0.0", sha256.Sum256(raw.Bytes()))
	if err != nil || !bytes.Equal(got, raw.Bytes()) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	for _, bad := range []string{``, `[]`, `{}`, `{"dl":""}`, `{"dl":1}`, `{"DL":"http://example.com"}`, `{"dl":"x","auth-required":"yes"}`, `{"dl":"x","api":3}`,
		`{"dl":"` + strings.Repeat("x", MaxConfigSize) + `"}`} {
		x, _ := serve(t, map[string]string{"/config.json": bad})
		if c, err := x.Config(context.Background()); err == nil {
			t.Errorf("config %.40q was accepted as %+v", bad, c)
		}
	}
	x, _ := serve(t, map[string]string{"/config.json": `{"dl":"http://example.com/dl","api":null,"auth-required":true}`})
	if c, err := x.Config(context.Background()); err != nil || c.API != "" || !c.Auth {
		t.Errorf("a good config: %+v, %v", c, err)
	}
}

func TestAnUnchangedIndexFileIsNotSentAgain(t *testing.T) {
	var sent atomic.Int32
	body := atomic.Pointer[string]{}
	first := line("ab", "1.0.0", sumA, "")
	body.Store(&first)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := *body.Load()
		etag := fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(b)))
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		sent.Add(1)
		fmt.Fprint(w, b)
	}))
	defer s.Close()
	dir := t.TempDir()
	ask := func(want string) {
		t.Helper()
		x := &Index{URL: s.URL + "/", Cache: DirCache(dir)}
		r, err := x.Releases(context.Background(), "ab")
		if err != nil || len(r) != 1 || r[0].Version != want {
			t.Fatalf("%+v, %v; want version %s", r, err, want)
		}
	}
	ask("1.0.0")
	ask("1.0.0")
	if sent.Load() != 1 {
		t.Errorf("the file was sent %d times", sent.Load())
	}
	second := line("ab", "2.0.0", sumB, "")
	body.Store(&second)
	ask("2.0.0")

	// A broken cache heals.
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	path := filepath.Join(dir, files[0].Name())
	b, err := os.ReadFile(path)
	fatalIf(t, err)
	for name, broken := range map[string][]byte{
		"changed": bytes.Replace(b, []byte("2.0.0"), []byte("6.6.6"), 1), "cut": b[:len(b)-1], "empty": nil, "no head": []byte("x\ny"),
	} {
		fatalIf(t, os.WriteFile(path, broken, 0o644))
		before := sent.Load()
		ask("2.0.0")
		if sent.Load() != before+1 {
			t.Errorf("a cached file that was %s was used", name)
		}
	}
}

func TestRefusalsSayWhatTheRegistrySaid(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no token,\n no crates", http.StatusUnauthorized)
	}))
	defer s.Close()
	_, err := (&Index{URL: s.URL + "/"}).Releases(context.Background(), "ab")
	var status *StatusError
	if !errors.As(err, &status) || status.Status != http.StatusUnauthorized {
		t.Fatal(err)
	}
	want := `the registry answered 401 Unauthorized to ` + s.URL + `/2/ab: "no token, no crates"; it wants a token that it knows`
	if status.Error() != want {
		t.Errorf("got  %s\nwant %s", status, want)
	}
}

func TestATokenGoesOnlyWhereItIsWanted(t *testing.T) {
	var auth atomic.Bool
	var downloads atomic.Value
	dl := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		downloads.Store(r.Header.Get("Authorization"))
	}))
	defer dl.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "secret" {
			t.Error("the index was asked without the token")
		}
		fmt.Fprintf(w, `{"dl":%q,"auth-required":%v}`, dl.URL, auth.Load())
	}))
	defer s.Close()
	for _, want := range []string{"", "secret"} {
		auth.Store(want != "")
		x := &Index{URL: s.URL + "/", Token: "secret"}
		if _, err := x.Download(context.Background(), "ab", "1.0.0", sha256.Sum256(nil)); err != nil {
			t.Fatal(err)
		}
		if downloads.Load() != want {
			t.Errorf("the download was asked with the token %q, want %q", downloads.Load(), want)
		}
	}
}

func TestRedirectsStayWhereTheyMay(t *testing.T) {
	end := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "bytes") }))
	defer end.Close()
	var loops atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/config.json":
			fmt.Fprintf(w, `{"dl":"http://%s/{crate}"}`, r.Host)
		case strings.HasSuffix(r.URL.Path, "/loop"):
			loops.Add(1)
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		case strings.HasSuffix(r.URL.Path, "/plain"):
			http.Redirect(w, r, "http://192.0.2.1/x", http.StatusFound)
		default:
			http.Redirect(w, r, end.URL+"/x", http.StatusFound)
		}
	}))
	defer s.Close()
	x := &Index{URL: s.URL + "/"}
	sum := sha256.Sum256([]byte("bytes"))
	if _, err := x.Download(context.Background(), "ab", "1.0.0", sum); err != nil {
		t.Errorf("a download that redirects to another host: %v", err)
	}
	if _, err := x.Releases(context.Background(), "ab"); err == nil || !strings.Contains(err.Error(), "redirects to another host") {
		t.Errorf("an index that redirects to another host: %v", err)
	}
	if _, err := x.Download(context.Background(), "plain", "1.0.0", sum); err == nil || !strings.Contains(err.Error(), "plain http to another machine") {
		t.Errorf("a redirect to plain http: %v", err)
	}
	if _, err := x.Download(context.Background(), "loop", "1.0.0", sum); err == nil || loops.Load() != maxRedirects+1 {
		t.Errorf("a loop was followed %d times: %v", loops.Load(), err)
	}
}

func TestPlainHTTPToOthersMustBeAllowed(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://example.com/": true, "https://example.com/index/": true, "http://127.0.0.1:1/": true, "http://localhost/": true, "http://[::1]:2/x/": true,
		"http://example.com/": false, "https://example.com": false, "https://u@example.com/": false, "https://example.com/?q": false,
		"https://example.com/?": false, "https://example.com/#x": false, "ftp://example.com/": false, "/index/": false, "": false, "https:///": false, "sparse+https://example.com/": false,
	} {
		if err := CheckURL(url, false); (err == nil) != ok {
			t.Errorf("CheckURL(%q) = %v", url, err)
		}
	}
	if err := CheckURL("http://example.com/", false); !strings.HasSuffix(fmt.Sprint(err), "to another machine: use https; http is for "+
		"localhost and loopback addresses only") {
		t.Error(err)
	}
	if err := CheckURL("http://example.com/", true); err != nil {
		t.Error(err)
	}
}

func TestConfiguredIndexesAreSparse(t *testing.T) {
	for s, want := range map[string]string{
		"sparse+https://example.com/index/": "https://example.com/index/", "sparse+http://127.0.0.1:1/x": "http://127.0.0.1:1/x/", "https://example.com": "https://example.com/",
		"registry+https://example.com/": "", "ssh://git@example.com/": "", "": "", "sparse+": "", "https://": "",
	} {
		got, err := SparseURL(s)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("SparseURL(%q) = %q, %v; want %q", s, got, err, want)
		}
		if !strings.HasPrefix(s, "sparse+") {
			want = "" // in cargo's configuration, it is a git repository
		}
		got, err = IndexURL(s)
		if got != want || errors.Is(err, ErrNoIndex) != (want == "") {
			t.Errorf("IndexURL(%q) = %q, %v; want %q", s, got, err, want)
		}
	}
}

func TestTheDefaultIndexIsTheOneThatCargoRecorded(t *testing.T) {
	home := t.TempDir()
	if got, err := DefaultIndex(home); !errors.Is(err, ErrNoIndex) {
		t.Errorf("nothing recorded: %q, %v", got, err)
	}
	for _, dir := range []string{"127.0.0.1-7bccb1300b6471c4", "index.example.com-0000000000000000", "EVIL host-1949cf8c6b5b557f"} {
		fatalIf(t, os.MkdirAll(filepath.Join(home, "registry", "index", dir), 0o755))
	}
	if got, err := DefaultIndex(home); !errors.Is(err, ErrNoIndex) {
		t.Errorf("others recorded: %q, %v", got, err)
	}
	fatalIf(t, os.MkdirAll(filepath.Join(home, "registry", "index", "index.example.com-1949cf8c6b5b557f"), 0o755))
	if got, err := DefaultIndex(home); err != nil || got != "https://index.example.com/" {
		t.Errorf("recorded: %q, %v", got, err)
	}
}

func TestEveryBodyIsBounded(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 1<<20)
		for r.Context().Err() == nil {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	x := &Index{URL: endless.URL + "/"}
	if _, err := x.Config(context.Background()); err == nil || !strings.Contains(err.Error(), "more than 65536 bytes") {
		t.Errorf("config.json: %v", err)
	}
	if _, err := x.Releases(context.Background(), "ab"); err == nil || !strings.Contains(err.Error(), "more than 33554432 bytes") {
		t.Errorf("an index file: %v", err)
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cargo reads such a line: it does not look into fields that it does not know.
func TestALineWithADeepFieldIsRead(t *testing.T) {
	line := func(x string) []byte {
		return []byte(`{"name":"a","vers":"1.0.0","cksum":"` + strings.Repeat("00", 32) + `","x":` + x + `,"yanked":true,"deps":[]}`)
	}
	deep := func(open, inner, shut string) string {
		return strings.Repeat(open, 20000) + inner + strings.Repeat(shut, 20000)
	}
	for _, x := range []string{deep("[", "", "]"), deep(`{"]\"[":`, `"\\"`, "}"), deep("[0,", `"`+strings.Repeat("[", 100)+`"`, ",{}]"), `"` + deep("[", "", "") + `"`} {
		if r, err := ParseRelease(line(x)); err != nil || !r.Yanked {
			t.Errorf("%.50q: %v", x, err)
		}
	}
	for _, x := range []string{deep("[", "", ""), deep("", "", "]"), `"` + deep("[", "", ""), "[}"} {
		if _, err := ParseRelease(line(x)); err == nil {
			t.Errorf("%.50q is read", x)
		}
	}
	plain := []byte(`{"a":[{"b":"[{"}]}`)
	if got := shallow(plain); string(got) != string(plain) {
		t.Errorf("%s", got)
	}
}

func TestATokenIsKeptUntilItIsAskedFor(t *testing.T) {
	for what, c := range map[string]struct{ says, refuses, want bool }{
		"nobody asks": {}, "config.json says so": {says: true, want: true}, "it refuses": {says: true, refuses: true, want: true},
		"it refuses, and does not say so": {refuses: true, want: true},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			with := r.Header.Get("Authorization") == "secret"
			switch {
			case r.URL.Path == "/config.json" && c.refuses && !with:
				w.WriteHeader(http.StatusUnauthorized)
			case r.URL.Path == "/config.json":
				fmt.Fprintf(w, `{"dl":"https://dl.example/","auth-required":%v}`, c.says)
			case with != c.want:
				t.Errorf("%s: %s with the token: %v", what, r.URL.Path, with)
			}
		}))
		x := &Index{URL: s.URL + "/", Token: "secret", TokenIfAsked: true}
		if _, err := x.Releases(t.Context(), "ab"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		s.Close()
		x = &Index{URL: s.URL + "/", TokenIfAsked: true, Token: "secret"}
		if _, err := x.Releases(t.Context(), "ab"); err == nil {
			t.Error("nobody answered")
		}
	}
}
