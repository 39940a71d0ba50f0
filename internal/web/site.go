package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// look is what the pages of all programs look like: one style sheet, one layout, no script, and nothing of
// another host.
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

	Browser bool // entries can be verified in the reader's browser
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

// AllowForm sets PageHeaders, and lets the page's forms go to the server at an address as well, if it is one.
func AllowForm(w http.ResponseWriter, address string) {
	for k, v := range PageHeaders {
		w.Header().Set(k, v)
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || strings.ContainsAny(u.Host, "; ,'*") {
		return
	}
	w.Header().Set("Content-Security-Policy", strings.Replace(PageHeaders["Content-Security-Policy"], "form-action 'self'",
		"form-action 'self' "+u.Scheme+"://"+u.Host, 1))
}

// CheckAddress checks the base address of another server in settings: http or https, and no slash at the end.
func CheckAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		strings.HasSuffix(address, "/") {
		return fmt.Errorf("%q is not an http or https URL without a slash at its end", address)
	}
	return nil
}
