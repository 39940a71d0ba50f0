package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"cratelog/entry"
	"cratelog/internal/web"
	"cratelog/monitor/store"
)

// Subscriptions tells endpoints of readers what is new about crates.
type Subscriptions interface {
	// Subscribe asks the endpoint to confirm, and remembers it. The names of the crates begin with prefix, as
	// store.Fold compares; with exact, they are it. It returns the key of the signatures and the token that ends
	// it. The error is ErrSubscription if the reader can do something about it.
	Subscribe(ctx context.Context, prefix string, exact bool, endpoint string) (secret, token string, err error)
	// Subscription returns what a token ends, and whether there is such a subscription.
	Subscription(ctx context.Context, token string) (store.Subscription, bool, error)
	// Unsubscribe ends a subscription, and says whether there was one.
	Unsubscribe(ctx context.Context, token string) (bool, error)
}

// ErrSubscription marks what is wrong with an endpoint. The error's text is shown to the reader.
var ErrSubscription = errors.New("refused")

// Each sender may try a burst of subscribeBurst subscriptions, and one more every subscribeEvery.
const (
	subscribeBurst = 5
	subscribeEvery = time.Minute
	maxForm        = 4096 // bytes
)

// watchJSON says how to be told of what is new about crates.
type watchJSON struct {
	Prefix   string `json:"prefix"`   // of the crates' names, "" if none was given
	Feed     string `json:"feed"`     // Atom, of that prefix
	Webhooks bool   `json:"webhooks"` // this monitor takes subscriptions of endpoints

	Secret string `json:"-"` // of a new subscription, with its end
	End    string `json:"-"`
	URL    string `json:"-"`
	Exact  bool   `json:"-"`
}

func (s *Server) watch(q *request) error {
	d := watchJSON{Prefix: q.get("prefix"), Webhooks: s.cfg.Subscriptions != nil}
	if d.Prefix != "" {
		if err := checkPrefix(d.Prefix); err != nil {
			return err
		}
		d.Feed = prefixFeed(d.Prefix)
	}
	return s.show(q, "watch", d, page{Title: "Watch crates", Nav: "watch", Twin: "/watch.json", Feed: d.Feed,
		FeedTitle: "Entries and findings about " + d.Prefix})
}

func checkPrefix(prefix string) error {
	if len(prefix) < 2 || entry.CheckName(prefix) != nil {
		return badRequest("The beginning of names has 2 letters or more: letters, digits, - and _ only.")
	}
	return nil
}

func prefixFeed(prefix string) string { return "/feed.atom?prefix=" + url.QueryEscape(prefix) }

// subscribe takes the form of the page.
func (s *Server) subscribe(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Subscriptions == nil {
		return notFound("This monitor takes no webhooks of readers. Its feeds say the same.")
	}
	form, err := readForm(w, r, "prefix", "match", "url")
	if err != nil {
		return err
	}
	prefix, endpoint := form.Get("prefix"), form.Get("url")
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	match := form.Get("match")
	if match != "name" && match != "prefix" {
		return badRequest("Say whether it is the whole name, or the beginning of names.")
	}
	if wait := s.subscribers.take(r.RemoteAddr); wait > 0 {
		return &web.Refusal{Status: http.StatusTooManyRequests, Reason: "too-many-requests", RetryAfter: wait,
			Message: "These are too many subscriptions in too short a time. Try again later."}
	}
	secret, token, err := s.cfg.Subscriptions.Subscribe(r.Context(), prefix, match == "name", endpoint)
	if errors.Is(err, ErrSubscription) {
		return refuse(http.StatusUnprocessableEntity, "subscription-refused", refusedText("", err))
	}
	if err != nil {
		return err
	}
	d := watchJSON{Prefix: prefix, Exact: match == "name", Feed: prefixFeed(prefix), Webhooks: true, Secret: secret, URL: endpoint,
		End: s.cfg.URL + "/unsubscribe/" + token}
	return s.answerForm(w, "watch", page{Title: "Subscribed", Nav: "watch", Data: d})
}

// readForm reads a small form that has the given fields, each once, and no others.
func readForm(w http.ResponseWriter, r *http.Request, fields ...string) (url.Values, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, badRequest("The form could not be read to its end, or is too long.")
	}
	for _, f := range fields {
		if len(r.PostForm[f]) != 1 {
			return nil, badRequest("The form needs the field " + f + ", once.")
		}
	}
	if len(r.PostForm) != len(fields) {
		return nil, badRequest("The form has fields that are not known here.")
	}
	return r.PostForm, nil
}

// answerForm answers with a page that is for one reader only.
func (s *Server) answerForm(w http.ResponseWriter, name string, p page) error {
	b, err := s.render(name, p)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, err = w.Write(b)
	return err
}

type unsubscribeData struct {
	Token, Prefix, URL string
	Exact, Ended       bool
}

func (s *Server) unsubscribePage(q *request) error {
	x, err := s.subscription(q.ctx(), q.r.PathValue("token"))
	if err != nil {
		return err
	}
	return s.answerForm(q.w, "unsubscribe", page{Title: "End a subscription", Nav: "watch",
		Data: unsubscribeData{Token: x.Token, Prefix: x.Prefix, URL: x.URL, Exact: x.Exact}})
}

// subscription finds what a token ends; a shorter or longer word is none.
func (s *Server) subscription(ctx context.Context, token string) (x store.Subscription, err error) {
	known := false
	if s.cfg.Subscriptions != nil && len(token) == 32 {
		if x, known, err = s.cfg.Subscriptions.Subscription(ctx, token); err != nil {
			return x, err
		}
	}
	if !known {
		return x, notFound("There is no such subscription; it may have ended.")
	}
	return x, nil
}

// unsubscribe ends a subscription, for people and for programs.
func (s *Server) unsubscribe(w http.ResponseWriter, r *http.Request) error {
	x, err := s.subscription(r.Context(), r.PathValue("token"))
	if err != nil {
		return err
	}
	if _, err := s.cfg.Subscriptions.Unsubscribe(r.Context(), x.Token); err != nil {
		return err
	}
	return s.answerForm(w, "unsubscribe", page{Title: "The subscription has ended", Nav: "watch",
		Data: unsubscribeData{Prefix: x.Prefix, URL: x.URL, Exact: x.Exact, Ended: true}})
}
