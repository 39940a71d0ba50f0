package web

import (
	"net/mail"
	"net/url"

	"cratelog/internal/web"
)

// aboutJSON says who runs this monitor, as its settings say, and what it is set up for.
type aboutJSON struct {
	Monitor  string   `json:"monitor"`
	Operator string   `json:"operator"` // "" if the settings do not say
	Contact  string   `json:"contact"`
	Since    string   `json:"since"`
	Logs     []string `json:"logs"`     // origins of those that it follows
	Programs []string `json:"programs"` // ids of the programs whose proofs it accepts
	Gossip   bool     `json:"gossip"`   // it takes checkpoints and bundles
	Webhooks bool     `json:"webhooks"` // it takes subscriptions of endpoints
}

func (s *Server) about(q *request) error {
	d := aboutJSON{Monitor: s.cfg.Name, Operator: s.cfg.Operator, Contact: s.cfg.Contact, Since: s.cfg.Since,
		Logs: []string{}, Programs: []string{}, Gossip: s.cfg.Gossip != nil, Webhooks: s.cfg.Subscriptions != nil}
	var links []logLink
	for _, l := range q.all {
		d.Logs = append(d.Logs, l.Origin)
		links = append(links, logLink{l.Origin, q.at("/log", l.ID)})
	}
	data := struct {
		aboutJSON
		Links       []logLink
		ContactURL  string
		Accepted    []programJSON
		Development bool
	}{aboutJSON: d, Links: links, ContactURL: contactURL(s.cfg.Contact)}
	for _, p := range s.cfg.Proofs.Programs() {
		v := s.programView(p.ID())
		data.Accepted, data.Development = append(data.Accepted, v), data.Development || v.Development
		d.Programs = append(d.Programs, v.ID)
	}
	data.aboutJSON = d
	return s.show(q, "about", d, page{Title: "About", Nav: "about", Twin: "/about.json", Data: data})
}

// contactURL is where a contact can be written to, "" if it is only words.
func contactURL(contact string) string {
	if a, err := mail.ParseAddress(contact); err == nil && a.Address == contact {
		return "mailto:" + contact
	}
	if u, err := url.Parse(contact); err == nil && u.Scheme == "https" && u.Host != "" {
		return contact
	}
	return ""
}

const robotsText = "User-agent: *\nDisallow: /v1/export\nDisallow: /search\nDisallow: /unsubscribe/\n"

func (s *Server) robots(q *request) error {
	return web.Send(q.w, q.r, "text/plain; charset=utf-8", []byte(robotsText))
}
