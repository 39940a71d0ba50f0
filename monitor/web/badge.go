package web

import (
	"bytes"
	"fmt"
	"html/template"
	"strings"

	"golang.org/x/mod/semver"

	"cratelog/entry"
	"cratelog/internal/web"
	"cratelog/monitor/store"
)

const (
	badgeSuffix = ".svg"
	// badgeEntries is among how many entries of a crate, the last ones, its newest version is looked for.
	badgeEntries = 200
)

// badge is a picture that says whether the newest version of a crate that is logged is proven. Versions that
// are not logged it cannot know of.
func (s *Server) badge(q *request) error {
	name, ok := strings.CutSuffix(q.r.PathValue("name"), badgeSuffix)
	if !ok || entry.CheckName(name) != nil {
		return notFound("A badge is named by a crate: /badge/NAME.svg.")
	}
	registry := q.get("registry")
	if registry == "" {
		registry = entry.DefaultRegistry
	}
	found, err := s.cfg.Store.EntriesFrom(q.ctx(), name, true, badgeEntries)
	if err != nil {
		return err
	}
	word, color := "not logged", "#595f69"
	if e := newestVersion(found, registry); e != nil {
		views, err := s.entryViews(q.ctx(), q.logs, []store.Entry{*e})
		if err != nil {
			return err
		}
		word, color = badgeWords(views[0])
	}
	b, err := drawBadge(name, word, color)
	if err != nil {
		return err
	}
	q.w.Header().Set("Cache-Control", "public, max-age=300")
	return web.Send(q.w, q.r, "image/svg+xml", b)
}

// newestVersion is the entry of the greatest version, and of it the first; of the pre-releases only if there is
// nothing else.
func newestVersion(found []store.Entry, registry string) (best *store.Entry) {
	rank := func(e *store.Entry) string { return "v" + e.Version }
	for i := range found {
		e := &found[i]
		if e.Kind != (&entry.Source{}).Kind() || e.Registry != registry {
			continue
		}
		if best == nil {
			best = e
			continue
		}
		final, have := semver.Prerelease(rank(e)) == "", semver.Prerelease(rank(best)) == ""
		switch {
		case final != have:
			if final {
				best = e
			}
		case semver.Compare(rank(e), rank(best)) >= 0: // found has the newest first
			best = e
		}
	}
	return best
}

// badgeWords says how an entry is, the gravest thing first. Green is only what was verified here, with a key that
// not everyone can forge with, and with a manifest that follows from the commit.
func badgeWords(e entryJSON) (word, color string) {
	const red, amber, green = "#a3231f", "#7d5406", "#1c6a43"
	switch {
	case e.Accused:
		return e.Version + " has a security finding", red
	case e.Verification.State == "failed":
		return e.Version + " failed", red
	case e.Void != nil:
		return e.Version + " is void", red
	case e.Program.Development:
		return e.Version + " UNSAFE development key", red
	case e.Verification.State != "verified":
		return e.Version + " not verified yet", amber
	case !e.Coverage.Manifest:
		return e.Version + " proven but for Cargo.toml", amber
	case e.Yanked:
		return e.Version + " proven, yanked", amber
	}
	return e.Version + " proven", green
}

// badgeTemplate escapes what it is given, as HTML, which suits the text and the attributes of an SVG.
var badgeTemplate = template.Must(template.New("badge").Parse(
	`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="20" role="img" aria-label="{{.Label}}">
<title>{{.Label}}</title>
<rect width="{{.Width}}" height="20" rx="3" fill="#2a2d33"/>
<rect x="{{.Left}}" width="{{.Right}}" height="20" rx="3" fill="{{.Color}}"/>
<rect x="{{.Left}}" width="4" height="20" fill="{{.Color}}"/>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="7" y="14" textLength="{{.LeftText}}">cratelog</text>
<text x="{{.RightX}}" y="14" textLength="{{.RightText}}">{{.Word}}</text>
</g>
</svg>
`))

func drawBadge(name, word, color string) ([]byte, error) {
	const margin = 7
	left, right := textWidth("cratelog"), textWidth(word)
	var b bytes.Buffer
	err := badgeTemplate.Execute(&b, struct {
		Width, Left, Right, LeftText, RightX, RightText int
		Label, Word, Color                              string
	}{left + right + 4*margin, left + 2*margin, right + 2*margin, left, left + 3*margin, right,
		fmt.Sprintf("cratelog: %s %s", name, word), word, color})
	return b.Bytes(), err
}

// textWidth is about how many pixels a text has at 11 px; the badge is drawn to fit it.
func textWidth(s string) int {
	tenths := 0
	for _, c := range s {
		switch {
		case strings.ContainsRune("ijlft.,:;'|! -", c):
			tenths += 42
		case strings.ContainsRune("mwMW", c):
			tenths += 104
		case c >= 'A' && c <= 'Z':
			tenths += 78
		default:
			tenths += 68
		}
	}
	return tenths/10 + 1
}
