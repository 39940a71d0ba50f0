package log

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/internal/testlog"
)

// ask makes a request with headers, given in pairs, and takes no encoding away.
func ask(t *testing.T, method, url string, headers ...string) (int, http.Header, []byte) {
	t.Helper()
	r := testlog.Must(http.NewRequest(method, url, nil))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp := testlog.Must((&http.Client{Transport: &http.Transport{DisableCompression: true}}).Do(r))
	defer resp.Body.Close()
	return resp.StatusCode, resp.Header, testlog.Must(io.ReadAll(resp.Body))
}

func gunzip(t *testing.T, b []byte) []byte {
	t.Helper()
	return testlog.Must(io.ReadAll(testlog.Must(gzip.NewReader(bytes.NewReader(b)))))
}

// TestReadersNeedNotFetchAgainWhatTheyHave: tags, parts, HEAD, gzip where it helps, and what may be kept.
func TestReadersNeedNotFetchAgainWhatTheyHave(t *testing.T) {
	t.Parallel()
	_, l, srv := filled(t, 256)
	const forever = "public, max-age=31536000, immutable"
	for path, cache := range map[string]string{
		"/tile/0/000": forever, "/tile/0/000.p/7": forever, "/tile/entries/000": forever, "/tile/entries/000.p/9": forever,
		"/tile/entries/001.p/1": forever, "/checkpoint": "no-cache", "/v1/entries/7": "no-cache", "/v1/crates/c7/1.0.0": "no-cache",
		"/v1/crates/c7": "no-cache", "/v1/lookup/c7/1.0.0": "no-cache", "/v1/lookup/none/1.0.0": "no-cache",
		"/v1/index/c7": "no-cache", "/v1/index?bits=0": "no-cache", "/v1/crates/c7/1.0.0/claims": "no-cache", "/v1/log": "no-cache",
		"/v1/proof/inclusion?index=3&size=100": forever, "/v1/proof/consistency?old=3&size=100": forever,
		"/v1/proof/inclusion?index=3": "no-cache", "/v1/openapi.json": "no-cache",
	} {
		code, h, body := ask(t, "GET", srv.URL+path)
		tag := h.Get("ETag")
		if code != 200 || tag == "" || strings.HasPrefix(tag, "W/") || h.Get("Cache-Control") != cache ||
			h.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %v", path, code, h)
			continue
		}
		if code, h, b := ask(t, "GET", srv.URL+path, "If-None-Match", `"x", `+tag); code != 304 || len(b) != 0 ||
			h.Get("ETag") != tag || h.Get("Cache-Control") != cache {
			t.Errorf("%s, again: %d %v", path, code, h)
		}
		if code, _, b := ask(t, "GET", srv.URL+path, "If-None-Match", `"x"`); code != 200 || !bytes.Equal(b, body) {
			t.Errorf("%s with another tag: %d", path, code)
		}
		if code, h, b := ask(t, "GET", srv.URL+path, "Range", "bytes=3-9"); code != 206 || !bytes.Equal(b, body[3:10]) ||
			h.Get("Content-Range") != fmt.Sprintf("bytes 3-9/%d", len(body)) {
			t.Errorf("%s in part: %d %v", path, code, h)
		}
		if code, _, b := ask(t, "GET", srv.URL+path, "Range", "bytes=0-1", "If-Range", `"x"`); code != 200 ||
			!bytes.Equal(b, body) {
			t.Errorf("%s in part of something else: %d", path, code)
		}
		if code, h, b := ask(t, "HEAD", srv.URL+path); code != 200 || len(b) != 0 || h.Get("ETag") != tag ||
			h.Get("Content-Length") != fmt.Sprint(len(body)) {
			t.Errorf("HEAD %s: %d %v", path, code, h)
		}
	}
	for _, path := range []string{"/tile/entries/000", "/tile/entries/001.p/1"} {
		_, plainHeader, plain := ask(t, "GET", srv.URL+path)
		code, h, packed := ask(t, "GET", srv.URL+path, "Accept-Encoding", "br, gzip;q=0.5")
		if code != 200 || h.Get("Content-Encoding") != "gzip" || !bytes.Equal(gunzip(t, packed), plain) {
			t.Errorf("%s with gzip: %d %v", path, code, h)
		}
		if h.Get("ETag") == plainHeader.Get("ETag") || h.Get("Vary") != "Accept-Encoding" ||
			plainHeader.Get("Vary") != "Accept-Encoding" ||
			h.Get("Content-Length") != fmt.Sprint(len(packed)) {
			t.Errorf("%s: %v\n%v", path, h, plainHeader)
		}
		if path == "/tile/entries/000" && len(packed) > len(plain)/2 {
			t.Errorf("%s: %d bytes of %d", path, len(packed), len(plain))
		}
		for _, no := range []string{"gzip;q=0", "*;q=1, gzip;q=0", "identity", ""} {
			if _, h, b := ask(t, "GET", srv.URL+path, "Accept-Encoding", no); h.Get("Content-Encoding") != "" ||
				!bytes.Equal(b, plain) {
				t.Errorf("%s with %q: %v", path, no, h)
			}
		}
	}
	for _, path := range []string{"/tile/0/000", "/tile/entries/000.p/9"} { // hashes, and a width that few ask for
		if _, h, _ := ask(t, "GET", srv.URL+path, "Accept-Encoding", "gzip"); h.Get("Content-Encoding") != "" {
			t.Errorf("%s: %v", path, h)
		}
	}
	for range cap(l.packed.places) { // none is free: nobody waits for one
		l.packed.places <- struct{}{}
	}
	l.packed.files = newByteCache[fileKey](packedBytes, lenOf)
	if code, h, b := ask(t, "GET", srv.URL+"/tile/entries/000", "Accept-Encoding", "gzip"); code != 200 ||
		h.Get("Content-Encoding") != "" || len(b) == 0 {
		t.Errorf("without a place: %d %v", code, h)
	}
	for _, path := range []string{"/tile/0/002", "/tile/9", "/tile/entries/001.p/2", "/v1/crates/none",
		"/v1/entries/257", "/nothing", "/v1/keys/x",
		"/v1/entries/by-leaf/" + strings.Repeat("0", 64), "/v1/proof/inclusion?index=0&size=258"} {
		code, h, b := ask(t, "GET", srv.URL+path)
		if r := decodeRefusal(t, b); code != 404 || r.Reason != NotFound || h.Get("Cache-Control") != "no-store" ||
			h.Get("ETag") != "" {
			t.Errorf("%s: %d %v", path, code, h)
		}
	}
}

// TestAWebPageMaySubmit: a browser asks first, and may read what comes of it.
func TestAWebPageMaySubmit(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	for path, methods := range map[string]string{
		"/v1/submit": "POST, OPTIONS", "/v1/log": "GET, HEAD, OPTIONS", "/tile/0/000": "GET, HEAD, OPTIONS",
		"/v1/openings/" + strings.Repeat("0", 64): "GET, PUT, HEAD, OPTIONS",
	} {
		code, h, _ := ask(t, "OPTIONS", srv.URL+path, "Origin", "https://page.example", "Access-Control-Request-Method",
			"POST")
		if code != 204 || h.Get("Access-Control-Allow-Origin") != "*" ||
			h.Get("Access-Control-Allow-Methods") != methods || h.Get("Allow") != methods ||
			!strings.Contains(h.Get("Access-Control-Allow-Headers"), "Content-Type") ||
			h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %d %v", path, code, h)
		}
		if code, h, _ := ask(t, "OPTIONS", srv.URL+path); code != 204 || h.Get("Allow") != methods ||
			h.Get("Access-Control-Allow-Methods") != "" {
			t.Errorf("%s, no preflight: %d %v", path, code, h)
		}
	}
	if code, _, b := ask(t, "OPTIONS", srv.URL+"/nothing"); code != 404 || decodeRefusal(t, b).Reason != NotFound {
		t.Errorf("OPTIONS of nothing: %d", code)
	}
	e, c := w.good("alpha", "1.0.0")
	ctype, body := encodeForm(t, [2]string{"entry", string(e)}, [2]string{"crate", string(c)})
	for _, body := range [][]byte{body, body[:9]} {
		resp, _ := post(t, srv.URL+"/v1/submit", ctype, body)
		if resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
	}
}

// TestWhatIsRememberedIsBoundedInBytes: not by a number of files, which may be small or large.
func TestWhatIsRememberedIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	c := newByteCache[int](100, lenOf)
	for i := range 50 {
		c.put(i, make([]byte, 1+i%30))
		c.put(i, make([]byte, 30-i%30)) // the same again, of another size
		sum := 0
		for _, k := range c.files.Keys() {
			b, _ := c.files.Peek(k)
			sum += len(b)
		}
		if sum != c.bytes || sum > 100 {
			t.Fatalf("%d bytes are counted as %d", sum, c.bytes)
		}
	}
	if _, known := c.get(49); !known {
		t.Error("the newest is not remembered")
	}
	c.put(50, make([]byte, 101))
	if _, known := c.get(50); known || c.bytes == 0 {
		t.Error("one that is too large has a place, or took all")
	}
}

func decode[T any](t *testing.T, url string) (v T) {
	t.Helper()
	code, _, b := get(t, url)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil || code != 200 {
		t.Fatalf("%s: %d %v: %s", url, code, err, b)
	}
	return v
}

// TestAllVersionsOfACrateAreListed page by page, whatever the spelling of its name.
func TestAllVersionsOfACrateAreListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.testingOnlyPage = 3
	l := w.open()
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	want := ""
	for _, v := range []string{"a-b@1.0.0", "a-b@1.10.0", "a-b@1.9.0", "A_b@3.0.0", "a-b@2.0.0-rc.1+x", "a-bc@1.0.0",
		"a@1.0.0", "a_b@0.1.0"} {
		name, version, _ := strings.Cut(v, "@")
		e, c := w.good(name, version)
		w.submit(l, e, c)
	}
	raw := testCrate(t, "a-b", "7.0.0", "// other registry")
	e := testEntry(t, raw, "a-b", "7.0.0", 1)
	e.Subject.Registry = "https://index.example/x"
	w.proofs.believe(e)
	w.submit(l, marshal(e), raw)
	for _, v := range []string{"A_b@3.0.0", "a-b@1.0.0", "a-b@1.10.0", "a-b@1.9.0", "a-b@2.0.0-rc.1+x", "a_b@0.1.0"} {
		want += v + " "
	}
	for _, name := range []string{"a-b", "A-B", "a_B"} {
		got, after, pages := "", "", 0
		for {
			b := decode[versionsBody](t, srv.URL+"/v1/crates/"+name+"?after="+strings.ReplaceAll(after, "+", "%2B"))
			for _, v := range b.Versions {
				got += v.Name + "@" + v.Version + " "
			}
			pages++
			if after = b.Next; after == "" {
				break
			}
		}
		if got != want || pages != 2 {
			t.Errorf("%s in %d pages: %s\nwant %s", name, pages, got, want)
		}
	}
	other := decode[versionsBody](t, srv.URL+"/v1/crates/a_b?registry=https%3A%2F%2Findex.example%2Fx")
	if len(other.Versions) != 1 || other.Versions[0] != (versionBody{"a-b", "7.0.0", fmt.Sprintf("%x",
		e.Subject.SHA256), 16, false}) || other.Size != 18 {
		t.Errorf("%+v", other)
	}
	for query, words := range map[string]string{"?x=1": "takes registry and after", "?after=1": "NAME@VERSION",
		"?registry=x%20y": "registry", "?after=a@1.0.0&after=b@1.0.0": "more than once"} {
		if code, _, b := get(t, srv.URL+"/v1/crates/a-b"+query); code != 400 || !strings.Contains(decodeRefusal(t,
			b).Message, words) {
			t.Errorf("%s: %d %s", query, code, b)
		}
	}
}

// TestEntriesAreFoundByLeafAndIdentity, and nothing that the tree does not bear out.
func TestEntriesAreFoundByLeafAndIdentity(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	raw, c := w.good("alpha", "1.0.0")
	w.submit(l, raw, c)
	e := testlog.Must(entry.Parse(raw))
	id := testlog.Must(e.Identity())
	leaf := tlog.RecordHash(raw)
	got := decode[entryFacts](t, fmt.Sprintf("%s/v1/entries/by-leaf/%x", srv.URL, leaf[:]))
	want := entryFacts{0, fmt.Sprintf("%x", leaf[:]), fmt.Sprintf("%x", id), fmt.Sprintf("%x", testProgram.ID()),
		"source", "default", "alpha", "1.0.0",
		fmt.Sprintf("%x", e.Subject.SHA256), false}
	if got != want {
		t.Errorf("%+v", got)
	}
	if all := decode[identityBody](t, fmt.Sprintf("%s/v1/entries/by-identity/%x", srv.URL,
		id)); len(all.Entries) != 1 || all.Entries[0] != want {
		t.Errorf("%+v", all)
	}
	at := fmt.Sprintf("%s/v1/submissions/%x", srv.URL, id)
	if b := decode[submissionBody](t, at); b.State != submissionPublished || b.Bundle != "/v1/entries/0" || *b.Index != 0 {
		t.Errorf("%+v", b)
	}
	if b := decode[submissionBody](t, at+fmt.Sprintf("?program=%x", testProgram.ID())); b.State != submissionPublished {
		t.Errorf("%+v", b)
	}
	if b := decode[submissionBody](t, at+fmt.Sprintf("?program=%x", otherProgram.ID())); b.State != submissionUnknown ||
		b.Index != nil {
		t.Errorf("%+v", b)
	}
	for _, c := range w.witnesses {
		c.setDown(true)
	}
	l.cfg.PublishWait.Duration = 1
	raw2, c2 := w.good("beta", "1.0.0")
	_, err := l.Submit(t.Context(), raw2, bytes.NewReader(c2), nil)
	wantRefusal(t, err, NotPublished, "")
	id2 := testlog.Must(testlog.Must(entry.Parse(raw2)).Identity())
	at2 := fmt.Sprintf("%s/v1/submissions/%x", srv.URL, id2)
	if b := decode[submissionBody](t, at2); b.State != submissionAccepted && b.State != submissionSequenced ||
		b.Bundle != "" {
		t.Errorf("%+v", b)
	}
	eventually(t, "it is in the tree", func() bool { return decode[submissionBody](t, at2).State == submissionSequenced })
	if b := decode[submissionBody](t, at2); *b.Index != 2 || b.Bundle != "" {
		t.Errorf("%+v", b)
	}
	if code, _, _ := get(t, fmt.Sprintf("%s/v1/entries/by-leaf/%x", srv.URL, testLeaf(raw2))); code != 404 {
		t.Errorf("what is not published is shown: %d", code)
	}
	for _, c := range w.witnesses {
		c.setDown(false)
	}
	eventually(t, "it is published", func() bool { return decode[submissionBody](t, at2).State == submissionPublished })
	// A row that was changed hides what it was, and shows nothing else.
	testlog.Must(l.index.db.Exec("UPDATE entries SET name = 'evil' WHERE idx = 0"))
	for _, path := range []string{fmt.Sprintf("/v1/entries/by-leaf/%x", leaf[:]),
		fmt.Sprintf("/v1/entries/by-identity/%x", id)} {
		if code, _, b := get(t, srv.URL+path); code != 500 || strings.Contains(string(b), "evil") {
			t.Errorf("%s: %d %s", path, code, b)
		}
	}
}

// TestProofsOfAnySize compares with the slow, obvious tree.
func TestProofsOfAnySize(t *testing.T) {
	t.Parallel()
	const size = 261
	_, l, srv := filled(t, size-1)
	fatalIf(t, os.RemoveAll(filepath.Join(l.cfg.TreeDir, "tile", "0", "000.p"))) // as a garbage collector leaves it
	var hashes []tlog.Hash
	for _, e := range leavesOf(t, l) {
		hashes = append(hashes, tlog.RecordHash(e))
	}
	unhex := func(texts []string) (out [][]byte) {
		for _, s := range texts {
			out = append(out, testlog.Must(hex.DecodeString(s)))
		}
		return out
	}
	for _, n := range []uint64{1, 2, 3, 7, 8, 255, 256, 257, 260, 261} {
		root := naiveRoot(hashes[:n])
		for _, idx := range []uint64{0, 1, n / 2, n - 1} {
			if idx >= n {
				continue
			}
			b := decode[inclusionBody](t, fmt.Sprintf("%s/v1/proof/inclusion?index=%d&size=%d", srv.URL, idx, n))
			if b.Root != hex.EncodeToString(root) || b.Leaf != hex.EncodeToString(hashes[idx][:]) {
				t.Fatalf("%+v", b)
			}
			fatalIf(t, proof.VerifyInclusion(rfc6962.DefaultHasher, idx, n, hashes[idx][:], unhex(b.Hashes), root))
		}
		for _, old := range []uint64{0, 1, n / 2, n - 1, n} {
			b := decode[consistencyBody](t, fmt.Sprintf("%s/v1/proof/consistency?old=%d&size=%d", srv.URL, old, n))
			if b.Root != hex.EncodeToString(root) {
				t.Fatalf("%+v", b)
			}
			if old > 0 {
				fatalIf(t, proof.VerifyConsistency(rfc6962.DefaultHasher, old, n, unhex(b.Hashes), naiveRoot(hashes[:old]), root))
			}
		}
	}
	for query, code := range map[string]int{"index=0&size=262": 404, "index=5&size=5": 404, "index=0&size=0": 404,
		"index=00": 400, "index=-1": 400, "": 400,
		"index=1&index=2": 400, "index=1&x=2": 400, "index=1&size=x": 400, "index=18446744073709551615": 400} {
		if got, _, b := get(t, srv.URL+"/v1/proof/inclusion?"+query); got != code {
			t.Errorf("%s: %d %s", query, got, b)
		}
	}
	if code, _, _ := get(t, srv.URL+"/v1/proof/consistency?old=9&size=8"); code != 400 {
		t.Errorf("backwards: %d", code)
	}
	// What does not lead to the published root is not served.
	l.verified = newVerified(l.tree, l.damages.report)
	name := filepath.Join(l.cfg.TreeDir, "tile", "0", "000")
	raw := testlog.Must(os.ReadFile(name))
	raw[40] ^= 1
	fatalIf(t, os.WriteFile(name, raw, 0o644))
	for _, path := range []string{"/v1/proof/inclusion?index=1&size=7", "/v1/proof/consistency?old=2&size=7",
		"/v1/proof/inclusion?index=0&size=2"} {
		if code, _, b := get(t, srv.URL+path); code != 500 {
			t.Errorf("%s: %d %s", path, code, b)
		}
	}
}

func testLeaf(entry []byte) []byte {
	h := tlog.RecordHash(entry)
	return h[:]
}
