package proxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"cratelog/cargo/proxy"
	"cratelog/internal/registrytest"
)

// get asks without any proxy of the environment.
func get(t *testing.T, url string, headers ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	fatalIf(t, err)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	fatalIf(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	fatalIf(t, err)
	return resp.StatusCode, string(b), resp.Header
}

// answers checks the status and a word of an answer.
func answers(t *testing.T, url string, want int, word string, headers ...string) {
	t.Helper()
	if code, body, _ := get(t, url, headers...); code != want || !strings.Contains(body, word) {
		t.Errorf("%s %q: %d %s, want %d and %q", url, headers, code, body, want, word)
	}
}

// downloads counts the downloads among a registry's requests since they were last read.
func downloads(r *registrytest.Registry) (n int) {
	for _, q := range r.Requests() {
		if strings.Contains(q, "/dl/") {
			n++
		}
	}
	return n
}

func TestTheIndexIsPassedOnUnaltered(t *testing.T) {
	r, _, base := world(t, "Leaf")
	_, want, _ := get(t, r.Index+"le/af/leaf")
	code, got, h := get(t, base+"/index/le/af/leaf")
	if code != http.StatusOK || got != want {
		t.Fatalf("%d %q, want %q", code, got, want)
	}
	if code, body, _ := get(t, base+"/index/le/af/leaf", "If-None-Match", h.Get("ETag")); code != http.StatusNotModified || body != "" {
		t.Errorf("with its ETag: %d %q", code, body)
	}
	r.Add("Leaf", "1.0.1")
	answers(t, base+"/index/le/af/leaf", http.StatusOK, "1.0.1", "If-None-Match", h.Get("ETag"))
	for _, path := range []string{"no/ne/none", "le/af/Leaf", "leaf", "xx/yy/leaf", "le/af/le%2faf", "1/leaf", ""} {
		answers(t, base+"/index/"+path, http.StatusNotFound, "")
	}
	code, got, _ = get(t, base+"/index/config.json")
	if want := `{"dl":"` + base + `/d/{crate}/{version}"}`; code != http.StatusOK || got != want {
		t.Errorf("config.json: %d %s, want %s", code, got, want)
	}
}

func TestTheRegistrysFailuresStayItsOwn(t *testing.T) {
	r, _, base := world(t, "leaf")
	for registryCode, want := range map[int]int{404: 404, 410: 404, 451: 404, 401: 401, 403: 403, 429: 429, 500: 500, 503: 503} {
		for _, path := range []string{"/index/le/af/leaf", "/d/leaf/1.0.0"} {
			r.Fail("/", registryCode)
			code, body, _ := get(t, base+path)
			if code != want || !strings.HasPrefix(body, "cratelog: ") || utf8.RuneCountInString(body) > proxy.MaxSentence {
				t.Errorf("the registry says %d, %s says %d: %s", registryCode, path, code, body)
			}
		}
	}
	r.Meddle(func(w http.ResponseWriter, _ *http.Request) bool { panic(http.ErrAbortHandler) })
	answers(t, base+"/index/le/af/leaf", http.StatusBadGateway, "")
	r.Meddle(nil)
	answers(t, base+"/d/leaf/1.0.0", http.StatusOK, "")
}

func TestManyWhoAskAreServedByOneFetchAndOneJudgement(t *testing.T) {
	r, j, base := world(t, "leaf")
	raw := registrytest.MakeCrate("leaf", "1.0.0", nil)
	j.wait = make(chan struct{})
	r.Requests()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if code, body, _ := get(t, base+"/d/leaf/1.0.0"); code != http.StatusOK || body != string(raw) {
				t.Errorf("%d, %d bytes", code, len(body))
			}
		})
	}
	j.await(t, func() bool { return j.judged["leaf 1.0.0"] > 0 })
	close(j.wait)
	wg.Wait()
	// Those who came after the first were done find the crate kept, and judged anew.
	if n := downloads(r); n != 1 {
		t.Errorf("the crate was downloaded %d times", n)
	}
}

func TestKeptCratesAreHashedAndJudgedAgain(t *testing.T) {
	r, j, dir := registrytest.New(t), newJudge(), t.TempDir()
	raw := registrytest.MakeCrate("leaf", "1.0.0", nil)
	sum := sha256.Sum256(raw)
	r.AddCrate(raw)
	_, base := start(t, r.Index, j, dir)
	ask := func(want int, expected int) {
		t.Helper()
		r.Requests()
		code, body, _ := get(t, base+"/d/leaf/1.0.0")
		if code != want || want == http.StatusOK && body != string(raw) {
			t.Fatalf("%d: %.300q", code, body)
		}
		if n := downloads(r); n != expected {
			t.Errorf("%d downloads, want %d", n, expected)
		}
	}
	kept := filepath.Join(dir, "crates", fmt.Sprintf("%x", sum))
	j.set("leaf 1.0.0", errors.New("no"))
	ask(http.StatusForbidden, 1)
	if _, err := os.Stat(kept); err == nil {
		t.Error("a refused crate was kept")
	}
	j.set("leaf 1.0.0", nil)
	ask(http.StatusOK, 1)
	ask(http.StatusOK, 0)
	j.set("leaf 1.0.0", errors.New("the policy has changed"))
	ask(http.StatusForbidden, 0)
	j.set("leaf 1.0.0", nil)
	for what, broken := range map[string][]byte{"changed": append([]byte("x"), raw[1:]...), "cut": raw[:len(raw)-1], "empty": nil} {
		fatalIf(t, os.WriteFile(kept, broken, 0o644))
		ask(http.StatusOK, 1)
		if b, err := os.ReadFile(kept); err != nil || sha256.Sum256(b) != sum {
			t.Errorf("a kept crate that was %s did not heal: %v", what, err)
		}
	}
	fatalIf(t, os.RemoveAll(filepath.Dir(kept)))
	ask(http.StatusOK, 1) // although nothing can be kept
}

// slowly is a config of a proxy that waits a moment, and of a judge that waits for more.
func slowly(t *testing.T, crate []byte) (*registrytest.Registry, *judge, string) {
	t.Helper()
	r, j := registrytest.New(t), newJudge()
	r.AddCrate(crate)
	j.wait = make(chan struct{})
	c := config(t, r.Index, j)
	c.SetPatience(time.Millisecond)
	return r, j, serve(t, c)
}

func TestWhoeverAsksForAnExplanationDoesNotWaitForever(t *testing.T) {
	_, j, base := slowly(t, registrytest.MakeCrate("leaf", "1.0.0", nil))
	url := base + "/explain/leaf/1.0.0"
	answers(t, url, http.StatusServiceUnavailable, "still being fetched or checked")
	close(j.wait)
	for code := 0; code != http.StatusOK; code, _, _ = get(t, url) {
		fatalIf(t, t.Context().Err())
	}
}

// begun asks for a crate, and returns the answer when its first bytes have come.
func begun(t *testing.T, url string) (*http.Response, []byte) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	fatalIf(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	first := make([]byte, 64)
	_, err = io.ReadFull(resp.Body, first)
	fatalIf(t, err)
	return resp, first
}

func TestASlowCrateComesByAndBy(t *testing.T) {
	raw := registrytest.MakeCrate("leaf", "1.0.0", map[string]string{"src/lib.rs": noise(3000)})
	_, j, base := slowly(t, raw)
	resp, first := begun(t, base+"/d/leaf/1.0.0")
	close(j.wait)
	rest, err := io.ReadAll(resp.Body)
	if got := append(first, rest...); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("%v: %d bytes of %d, or other ones", err, len(got), len(raw))
	}
}

func TestARefusalThatComesLateCutsTheAnswerOffAndIsSaidNext(t *testing.T) {
	raw := registrytest.MakeCrate("leaf", "1.0.0", map[string]string{"src/lib.rs": noise(3000)})
	r, j, base := slowly(t, raw)
	j.set("leaf 1.0.0", errors.New("nobody proved it"))
	resp, first := begun(t, base+"/d/leaf/1.0.0")
	close(j.wait)
	if rest, err := io.ReadAll(resp.Body); err == nil || len(first)+len(rest) >= len(raw)/2+1 {
		t.Errorf("%d bytes of a refused crate came, and %v", len(first)+len(rest), err)
	}
	r.Requests()
	answers(t, base+"/d/leaf/1.0.0", http.StatusForbidden, "nobody proved it")
	if n := downloads(r); n != 0 {
		t.Error("it was fetched and judged again, as slowly as before")
	}
	j.set("leaf 1.0.0", nil)
	answers(t, base+"/d/leaf/1.0.0", http.StatusOK, "") // a verdict is not kept
}

// noise is text that does not pack.
func noise(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "// %x\n", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	return b.String()
}

// vague is a long reason with a long remedy.
type vague struct{ reason, remedy string }

func (v vague) Error() string  { return v.reason }
func (v vague) Remedy() string { return v.remedy }

func TestEverySentenceIsWholeAndFitsCargosLimit(t *testing.T) {
	r, j := registrytest.New(t), newJudge()
	name := "a" + strings.Repeat("b", 63)
	version := "1.0.0-" + strings.Repeat("x", 58)
	r.Add(name, version)
	_, base := start(t, r.Index, j, t.TempDir())
	for _, v := range []vague{
		{"short", ""},
		{"short.", "Do this."},
		{strings.Repeat("naïve ", 200), "Do this."},
		{strings.Repeat("naïve", 300), strings.Repeat("Tu was. ", 100)},
		{"two\nlines\tand \x00", "one\n\nremedy"},
	} {
		j.set(name+" "+version, v)
		code, body, _ := get(t, base+"/d/"+name+"/"+version)
		body = strings.TrimSuffix(body, "\n")
		lines := strings.Split(body, "\n")
		if code != http.StatusForbidden || utf8.RuneCountInString(body) > proxy.MaxSentence || len(lines) != 3 {
			t.Fatalf("%d, %d characters:\n%s", code, utf8.RuneCountInString(body), body)
		}
		if !strings.HasPrefix(lines[0], "cratelog refuses "+name+" v"+version+": ") || !strings.HasSuffix(lines[0], ".") || strings.HasSuffix(lines[0], "..") ||
			lines[1] == "" || lines[2] != "More: "+base+"/explain/"+name+"/"+version {
			t.Errorf("not the whole sentence:\n%s", body)
		}
		// The page has it in full.
		code, page, _ := get(t, base+"/explain/"+name+"/"+version)
		if code != http.StatusOK || !strings.Contains(strings.ReplaceAll(page, "\n         ", "\n"), v.reason) || !strings.Contains(strings.ReplaceAll(page, "\n         ", "\n"), v.remedy) {
			t.Errorf("the page does not explain: %d\n%s", code, page)
		}
	}
	j.set(name+" "+version, nil)
	answers(t, base+"/explain/"+name+"/"+version, http.StatusOK, "is handed out")
	answers(t, base+"/explain/none/1.0.0", http.StatusNotFound, "was not judged")
}

func TestWhatIsNoReleaseIsNotAskedFor(t *testing.T) {
	r, _, base := world(t, "leaf")
	r.Requests()
	for _, path := range []string{"leaf/1", "leaf/1.0.0%2f..", "..%2fleaf/1.0.0", "l%20eaf/1.0.0", "leaf/latest"} {
		answers(t, base+"/d/"+path, http.StatusBadRequest, "")
	}
	if q := r.Requests(); len(q) != 0 {
		t.Errorf("the registry was asked for %q", q)
	}
	for _, path := range []string{"LEAF/1.0.0", "leaf/1.0.1"} {
		answers(t, base+"/d/"+path, http.StatusNotFound, "")
	}
}

func TestOfTwoLinesForAVersionTheLaterCountsAsForCargo(t *testing.T) {
	raw := registrytest.MakeCrate("leaf", "1.0.0", nil)
	sum := sha256.Sum256(raw)
	r, _, base := world(t)
	r.AddCrate(raw)
	for _, c := range []struct {
		sums [2]string
		want int
	}{
		{[2]string{fmt.Sprintf("%064x", 1), fmt.Sprintf("%x", sum)}, http.StatusOK},
		{[2]string{fmt.Sprintf("%x", sum), fmt.Sprintf("%064x", 1)}, http.StatusForbidden},
	} {
		r.Meddle(func(w http.ResponseWriter, q *http.Request) bool {
			if !strings.HasSuffix(q.URL.Path, "/leaf") {
				return false
			}
			for _, s := range c.sums {
				fmt.Fprintf(w, `{"name":"leaf","vers":"1.0.0","deps":[],"features":{},"cksum":"%s","yanked":false}`+"\n", s)
			}
			return true
		})
		get(t, base+"/index/le/af/leaf")
		answers(t, base+"/d/leaf/1.0.0", c.want, "")
	}
}

func TestCargoWaitsAsLongAsTheRegistryAsks(t *testing.T) {
	r, _, base := world(t, "leaf")
	for _, after := range []string{"", "9", "Wed, 21 Oct 2065 07:28:00 GMT"} {
		for _, path := range []string{"/index/le/af/leaf", "/d/leaf/1.0.0"} {
			r.Meddle(func(w http.ResponseWriter, _ *http.Request) bool {
				if after != "" {
					w.Header().Set("Retry-After", after)
				}
				http.Error(w, "busy", http.StatusServiceUnavailable)
				return true
			})
			code, body, h := get(t, base+path)
			if code != http.StatusServiceUnavailable || h.Get("Retry-After") != after || !strings.Contains(body, "busy") {
				t.Errorf("%s, Retry-After %q: %d %q, Retry-After %q", path, after, code, body, h.Get("Retry-After"))
			}
		}
	}
}

func TestTheJudgeHearsEarlyOfWhatWillBeAskedFor(t *testing.T) {
	r, j := registrytest.New(t), newJudge()
	for _, version := range []string{"0.9.0", "1.10.0", "1.9.0", "2.0.0-rc.1", "3.0.0"} {
		r.Add("leaf", version)
	}
	r.Yank("leaf", "3.0.0", true)
	_, base := start(t, r.Index, j, t.TempDir())
	get(t, base+"/index/le/af/leaf")
	j.await(t, func() bool { return j.prefetched["leaf 1.10.0"] == 1 })
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.prefetched) != 1 || len(j.judged) != 0 {
		t.Errorf("prefetched %v, judged %v", j.prefetched, j.judged)
	}
}

func TestWebPagesOfOthersCannotReadFromIt(t *testing.T) {
	_, _, base := world(t)
	for host, want := range map[string]int{"evil.example.com": 421, "evil.example.com:80": 421, "192.0.2.1": 421,
		"localhost": 200, "127.0.0.1:99": 200, "[::1]:99": 200} {
		answers(t, base+"/index/config.json", want, "", "Host", host)
	}
}

func TestAProxyIsNeverItsOwnRegistry(t *testing.T) {
	_, j, base := world(t)
	c := config(t, base+"/index/", j)
	if _, err := proxy.New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "given a proxy for its registry") {
		t.Errorf("another: %v", err)
	}
	c.Base = "http://" + strings.Split(base, "/")[2]
	if _, err := proxy.New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "is the proxy itself") {
		t.Errorf("itself: %v", err)
	}
}

func TestARegistryThatWantsATokenIsNotOpenedToOthers(t *testing.T) {
	r := registrytest.New(t)
	r.SetToken("secret", true)
	c := config(t, r.Index, newJudge())
	c.Upstream.Token = "secret"
	if _, err := proxy.New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "wants a token") {
		t.Errorf("%v", err)
	}
}

func TestTheStoreForgetsWhatWasNotUsedForLongest(t *testing.T) {
	r := registrytest.New(t)
	var size int64
	for _, name := range []string{"one", "two", "six", "ten"} {
		raw := registrytest.MakeCrate(name, "1.0.0", nil)
		r.AddCrate(raw)
		size = max(size, int64(len(raw)))
	}
	c, dir := config(t, r.Index, newJudge()), t.TempDir()
	c.Dir = openDir(t, dir, 3*size+1)
	url, kept := serve(t, c), filepath.Join(dir, "crates")
	for i, name := range []string{"one", "two", "six"} {
		get(t, url+"/d/"+name+"/1.0.0")
		// Times of files are coarse in places: they are set apart.
		entries, err := os.ReadDir(kept)
		if err != nil || len(entries) != i+1 {
			t.Fatalf("%d files, %v", len(entries), err)
		}
		for _, e := range entries {
			path := filepath.Join(kept, e.Name())
			info, err := os.Stat(path)
			fatalIf(t, err)
			old := info.ModTime().Add(-time.Hour)
			fatalIf(t, os.Chtimes(path, old, old))
		}
	}
	get(t, url+"/d/one/1.0.0") // used again
	get(t, url+"/d/ten/1.0.0")
	r.Requests()
	for _, name := range []string{"one", "ten"} {
		get(t, url+"/d/"+name+"/1.0.0")
	}
	if n := downloads(r); n != 0 {
		t.Errorf("%d crates that were just used were forgotten", n)
	}
}

func TestSentencesAreCutAtWords(t *testing.T) {
	for _, c := range []struct {
		s     string
		limit int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"one two three", 10, "one two…"}, {"ééé", 2, "é…"}, {"abc", 0, "…"}} {
		if got := proxy.Shorten(c.s, c.limit); got != c.want {
			t.Errorf("shorten(%q, %d) = %q, want %q", c.s, c.limit, got, c.want)
		}
	}
}

func TestAStoppedProxyLeavesNothingBehind(t *testing.T) {
	r, j := registrytest.New(t), newJudge()
	r.Add("leaf", "1.0.0")
	j.wait = make(chan struct{}) // never closed: the judge waits for the end
	l, err := proxy.Listen("127.0.0.1:0", false)
	fatalIf(t, err)
	c := config(t, r.Index, j)
	c.Base = "http://" + l.Addr().String()
	p, err := proxy.New(t.Context(), c)
	fatalIf(t, err)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- proxy.Serve(ctx, l, p, quiet) }()
	answer := make(chan int, 1)
	go func() {
		code, _, _ := get(t, c.Base+"/d/leaf/1.0.0")
		answer <- code
	}()
	j.await(t, func() bool { return j.judged["leaf 1.0.0"] > 0 })
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if code := <-answer; code != http.StatusServiceUnavailable {
		t.Errorf("who waited was told %d", code)
	}
}
