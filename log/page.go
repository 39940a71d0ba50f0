package log

import (
	_ "embed"
	"encoding/hex"
	"html/template"
	"net/http"

	"cratelog/internal/web"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.Must(web.Layout(nil)).Parse(pageSource))

// page is the log's front page: what it is, how it is doing, how to check it.
func (l *Log) page(w http.ResponseWriter, r *http.Request) error {
	data := struct {
		About   aboutBody
		Health  healthBody
		Root    string
		Monitor string
	}{l.aboutBody(), l.health(), "", l.cfg.Monitor}
	if head := l.published.head(); head.raw != nil {
		data.Root = hex.EncodeToString(head.root[:]) // as monitors write it
	}
	b, err := web.Render(pageTemplate, web.Page{Site: web.Site{Name: l.cfg.Origin}, Title: "Log", Twin: "/v1/log", Data: data})
	if err != nil {
		return err
	}
	web.AllowForm(w, l.cfg.Monitor)
	return web.Send(w, r, "text/html; charset=utf-8", b)
}

// trust hands out the trust file, for readers to compare with what they have from elsewhere.
func (l *Log) trust(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Disposition", `attachment; filename="trust.policy"`)
	return web.Send(w, r, "text/plain; charset=utf-8", l.cfg.ReadersPolicy)
}
