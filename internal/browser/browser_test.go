package browser_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/browser"
	"cratelog/internal/fixture"
)

// TestWhatIsWrongWithAPageIsSeen: a harness that finds nothing anywhere would pass every page.
func TestWhatIsWrongWithAPageIsSeen(t *testing.T) {
	fixture.Need(t, browser.Program)
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	pages := map[string]string{
		"/good": `<h1>All is well</h1>`,
		"/bad": `<h1>Bad</h1><img src="` + other.URL + `/x.png"><p style="width: 2000px">wide</p>` +
			`<p style="color: #eee; background: #fff">faint</p><script>console.error("cry"); throw new Error("thrown")</script>`,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, `<!doctype html><html lang="en"><title>t</title><link rel="icon" href="data:,"><main>`+pages[r.URL.Path]+`</main>`)
	}))
	defer s.Close()
	b, err := browser.Start(t.Context())
	fatalIf(t, err)
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	axe, err := browser.Axe(t.Context())
	if errors.Is(err, browser.ErrNoAxe) {
		fixture.Skip(t, "%v", err)
	}
	fatalIf(t, err)
	p, err := b.Page(browser.View{Width: 390, Height: 844, Dark: true})
	fatalIf(t, err)
	fatalIf(t, p.Open(s.URL+"/good"))
	found, err := p.Check(axe)
	fatalIf(t, err)
	if len(found) != 0 {
		t.Errorf("a good page: %q", found)
	}
	var dark bool
	fatalIf(t, p.Eval("Promise.resolve(matchMedia('(prefers-color-scheme: dark)').matches)", &dark))
	shot := filepath.Join(t.TempDir(), "shot.png")
	fatalIf(t, p.Screenshot(shot))
	if png, err := os.ReadFile(shot); err != nil || !strings.HasPrefix(string(png), "\x89PNG") || !dark {
		t.Errorf("dark %v, screenshot %.8q, %v", dark, png, err)
	}
	if err := p.Eval("throw new Error('no')", nil); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("an exception is %v", err)
	}
	fatalIf(t, p.Open(s.URL+"/bad"))
	found, err = p.Check(axe)
	fatalIf(t, err)
	all := strings.Join(found, "\n")
	for _, want := range []string{"another origin: " + other.URL, "console.error: cry", "thrown", "pixels wide", "p.: wide",
		"axe image-alt", "axe color-contrast"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not found in:\n%s", want, all)
		}
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
