package witness

import (
	_ "embed"
	"html/template"
	"net/http"
	"time"

	"cratelog/internal/web"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.Must(web.Layout(nil)).Parse(pageSource))

// pageLog is a log as the page shows it.
type pageLog struct {
	Origin, Checkpoint, ForksAt string
	Size                        int64
	Time, When                  string // RFC 3339, and in words; "" if nothing was cosigned
	Disabled                    bool
	Forks                       int
}

// page is the front page for people; programs get text.
func (w *Witness) page(rw http.ResponseWriter, r *http.Request) {
	states, err := w.store.states(r.Context())
	if err != nil {
		w.fail(rw, "page", err)
		return
	}
	data := struct {
		Name, Monitor string
		VKeys         []string
		Logs          []pageLog
	}{Name: w.name, Monitor: w.monitor, VKeys: w.VKeys()}
	forks, err := w.store.forkCounts(r.Context())
	if err != nil {
		w.fail(rw, "page", err)
		return
	}
	for _, origin := range w.Origins() {
		st, hash := states[origin], originHash(origin)
		l := pageLog{Origin: origin, Checkpoint: "/" + hash + "/checkpoint", ForksAt: "/" + hash + "/forks", Size: int64(st.Size),
			Disabled: w.watched(origin) == nil, Forks: forks[origin]}
		if st.Text != "" {
			at := time.Unix(st.Time, 0).UTC()
			l.Time, l.When = at.Format(time.RFC3339), at.Format("2 January 2006, 15:04 UTC")
		}
		data.Logs = append(data.Logs, l)
	}
	b, err := web.Render(pageTemplate, web.Page{Site: web.Site{Name: w.name}, Title: "Witness", Data: data})
	if err != nil {
		w.fail(rw, "page", err)
		return
	}
	web.AllowForm(rw, w.monitor)
	web.Send(rw, r, "text/html; charset=utf-8", b)
}
