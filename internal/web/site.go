package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"strings"
	"time"
)

// What the pages of all programs look like: one style sheet, one layout, no script, and nothing of another
// host.
//
//go:embed style.css layout.html
var look embed.FS

// Page is what a template gets, and the layout around it.
type Page struct {
	Site      Site
	Title     string
	Nav       string // which item of the navigation it stands under
	Twin      string // address of the page as JSON
	Feed      string // address of its feed, with FeedTitle
	FeedTitle string
	Now       time.Time
	Data      any
}

// Site is what the pages of one server share.
type Site struct {
	Name  string // of the server
	Style string // address of the style sheet
}

// PageHeaders are for pages that need no script, no frame, no font, and nothing of another host.
var PageHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "cross-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=()",
}

// Style returns the style sheet, and the address that it is served at, which changes with it.
func Style() (address string, css []byte) {
	css, err := look.ReadFile("style.css")
	if err != nil {
		panic(err) // it is embedded
	}
	sum := sha256.Sum256(css)
	return "/style." + hex.EncodeToString(sum[:6]) + ".css", css
}

// Look serves the style sheet and the icon.
func Look() []Route {
	address, css := Style()
	return []Route{
		{"GET " + address, func(w http.ResponseWriter, r *http.Request) error {
			Immutable(w)
			return Send(w, r, "text/css; charset=utf-8", css)
		}},
		{"GET /favicon.svg", func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Cache-Control", "max-age=86400")
			return Send(w, r, "image/svg+xml", []byte(favicon))
		}},
	}
}

const favicon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#2b8a8f"
stroke-width="2" stroke-linecap="round" stroke-linejoin="round">
<path d="M12 2 21 7v10l-9 5-9-5V7z"/><path d="m8 12 3 3 5.5-6"/></svg>
`

// Layout returns the template "layout", which wants a Page and the templates "nav", "body" and "foot". It
// defines "mark" and "icon", which takes "good", "wait" or "bad".
func Layout(funcs template.FuncMap) (*template.Template, error) {
	return template.New("layout").Funcs(funcs).ParseFS(look, "layout.html")
}

// Render executes a layout.
func Render(t *template.Template, p Page) ([]byte, error) {
	p.Site.Style, _ = Style()
	var b bytes.Buffer
	err := t.ExecuteTemplate(&b, "layout", p)
	return b.Bytes(), err
}

// Immutable says that what stands under this address never changes.
func Immutable(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
}

// Send answers a GET with bytes, or with 304 if the reader has them already.
func Send(w http.ResponseWriter, r *http.Request, contentType string, b []byte) error {
	sum := sha256.Sum256(b)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	w.Header().Set("ETag", tag)
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-cache") // may be kept, must be revalidated
	}
	for have := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if have = strings.TrimPrefix(strings.TrimSpace(have), "W/"); have == tag || have == "*" {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	w.Header().Set("Content-Type", contentType)
	if r.Method != http.MethodHead {
		w.Write(b)
	}
	return nil
}
