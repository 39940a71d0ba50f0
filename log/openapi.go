package log

import (
	_ "embed"
	"net/http"

	"cratelog/internal/web"
)

// openAPI is an OpenAPI 3.1 document, written by hand; a test holds it against routes, types and answers.
//
//go:embed openapi.json
var openAPI []byte

func (l *Log) openAPI(w http.ResponseWriter, r *http.Request) error {
	return web.Send(w, r, "application/json", openAPI)
}
