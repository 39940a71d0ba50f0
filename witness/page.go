package witness

import (
	"context"
	_ "embed"
	"html/template"
	"net/http"
	"sync"
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

// An overview is what the front page shows of all logs. Where there are many it takes long, and as long nothing can
// be cosigned: there it is remembered, so that a small part of the time goes into it, however many ask.
type overview struct {
	mu     sync.Mutex // protects what follows; held while the database is read
	until  time.Time  // for how long it is remembered
	states map[string]state
	forks  map[string]int
}

const (
	quickOverview = 10 * time.Millisecond // what takes less is not remembered
	overviewShare = 20                    // of the time goes one part into it
)

// overview returns the states of all logs, and how many forks are on record of each that has any. They are not to be
// changed.
func (w *Witness) overview(ctx context.Context) (map[string]state, map[string]int, error) {
	o := &w.front
	o.mu.Lock()
	defer o.mu.Unlock()
	begin := time.Now() // a duration, so not the witness's clock
	if begin.Before(o.until) {
		return o.states, o.forks, nil
	}
	ctx = context.WithoutCancel(ctx) // it is for others too
	states, err := w.store.states(ctx)
	if err != nil {
		return nil, nil, err
	}
	forks, err := w.store.forkCounts(ctx)
	if took := time.Since(begin); err == nil && took > quickOverview {
		o.states, o.forks, o.until = states, forks, time.Now().Add(overviewShare*took)
	}
	return states, forks, err
}

// page is the front page for people; programs get text.
func (w *Witness) page(rw http.ResponseWriter, r *http.Request) {
	states, forks, err := w.overview(r.Context())
	if err != nil {
		w.fail(rw, "page", err)
		return
	}
	data := struct {
		Name, Monitor string
		VKeys         []string
		Logs          []pageLog
	}{Name: w.name, Monitor: w.monitor, VKeys: w.VKeys()}
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
