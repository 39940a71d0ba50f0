package log

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// page is the log's front page: what it is, how it is doing, how to check it.
func (l *Log) page(w http.ResponseWriter, r *http.Request) error {
	data := struct {
		About  aboutBody
		Health healthBody
		Root   string
	}{l.aboutBody(), l.health(), ""}
	if head := l.published.head(); head.raw != nil {
		data.Root = head.root.String()
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, data); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.Header().Set("Cache-Control", "no-cache")
	w.Write(b.Bytes())
	return nil
}
