package alert

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/monitor/store"
)

// SubscriberConfig says who may be told. Store, Name and URL are required.
type SubscriberConfig struct {
	Store *store.Store
	Name  string // of the monitor
	URL   string // public base URL of its pages, without a slash at the end
	Max   int    // subscriptions at most; 0 for 1000
	// AllowPrivate takes endpoints at private and local addresses, over http, and on every port.
	AllowPrivate bool

	Poll   time.Duration // how often to look for news; 0 for 15 s
	First  time.Duration // wait after a first failure, doubled each time; 0 for 1 minute
	Now    func() time.Time
	Logger *slog.Logger
}

// Bounds of subscriptions.
const (
	maxSubscriptions = 1000
	maxPerHost       = 20               // subscriptions of one host
	hostRest         = 20 * time.Second // between two challenges of one host
	maxEndpoint      = 500              // bytes of an address
	maxNews          = 50               // entries, and findings, of one message
	sendAtOnce       = 8
	patience         = 7 * 24 * time.Hour // after which an endpoint that takes nothing is forgotten
	hookTimeout      = 10 * time.Second
)

// A Subscriber tells endpoints of strangers what is new about crates, each once it has confirmed that it wants
// that. It connects to public addresses only, unless the settings allow others, follows no redirect, and says
// of an endpoint that does not confirm no more than that. Its methods may be called concurrently.
type Subscriber struct {
	cfg    SubscriberConfig
	client *http.Client

	mu    sync.Mutex
	asked map[string]time.Time // hosts that were challenged of late
}

// ErrEndpoint marks what is wrong with an endpoint, in words for whoever named it.
var ErrEndpoint = errors.New("the endpoint is not taken")

// NewSubscriber checks the configuration.
func NewSubscriber(cfg SubscriberConfig) (*Subscriber, error) {
	if cfg.Store == nil || cfg.URL == "" {
		return nil, errors.New("alert: subscriptions need a store, and the public address of the pages for the links that end them")
	}
	if cfg.Max <= 0 {
		cfg.Max = maxSubscriptions
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&cfg.Poll, 15 * time.Second}, {&cfg.First, time.Minute}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Subscriber{cfg: cfg, client: hookClient(hookTimeout, !cfg.AllowPrivate), asked: make(map[string]time.Time)}, nil
}

// Challenge is the first message to an endpoint, which confirms by answering 200 with the word, and nothing else.
type Challenge struct {
	Event     string `json:"event"` // "challenge"
	Challenge string `json:"challenge"`
	Monitor   string `json:"monitor"`
	Prefix    string `json:"prefix"` // of the crates' names, folded: in lower case, with _ for -
	Exact     bool   `json:"exact"`  // it is the whole name
}

// NewsMessage is what a subscribed endpoint is sent. Fields may be added, none will go. It may come again if its answer
// was lost, with the same Id in the header Cratelog-Alert-Id, or with more in it and another Id.
type NewsMessage struct {
	Event       string        `json:"event"` // "news"
	Monitor     string        `json:"monitor"`
	Prefix      string        `json:"prefix"`
	Exact       bool          `json:"exact"`
	Entries     []NewsEntry   `json:"entries"` // verified by the monitor
	Findings    []NewsFinding `json:"findings"`
	Unsubscribe string        `json:"unsubscribe"` // POST ends it, GET asks a person
}

// NewsEntry is an entry that a log holds, and the monitor has verified.
type NewsEntry struct {
	Log      string `json:"log"`
	Index    int64  `json:"index"`
	Crate    string `json:"crate"`
	Version  string `json:"version"`
	Registry string `json:"registry"`
	Checksum string `json:"checksum"`
	Claim    string `json:"claim"`
	Commit   string `json:"commit,omitempty"`
	Verdict  string `json:"verdict"` // ok or bad
	Page     string `json:"page"`
}

// NewsFinding is something that the monitor found about a crate.
type NewsFinding struct {
	ID      int64       `json:"id"`
	Class   store.Class `json:"class"`
	Kind    string      `json:"kind"`
	Summary string      `json:"summary"`
	Crate   string      `json:"crate"`
	Version string      `json:"version"`
	Found   time.Time   `json:"found"`
	Page    string      `json:"page"`
}

// Subscribe asks an endpoint to confirm, and remembers it. It returns the key of the signatures, which is the
// text itself, and the token that ends the subscription. The error is ErrEndpoint if the endpoint is the reason.
func (s *Subscriber) Subscribe(ctx context.Context, prefix string, exact bool, endpoint string) (secret, token string, err error) {
	u, err := s.checkEndpoint(endpoint)
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrEndpoint, err)
	}
	prefix = store.Fold(prefix)
	if err := s.room(ctx, hostOf(u)); err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrEndpoint, err)
	}
	word := random()
	body, err := json.Marshal(Challenge{"challenge", word, s.cfg.Name, prefix, exact})
	if err != nil {
		return "", "", err
	}
	status, answer, err := post(ctx, s.client, u, nil, s.cfg.Now(), random(), body)
	switch {
	case ctx.Err() != nil:
		return "", "", ctx.Err()
	case status == 0: // no more than this: who asks must not learn what this machine can reach
		s.cfg.Logger.Info("an endpoint was not reached", "host", u.Host, "err", err)
		return "", "", fmt.Errorf("%w: it could not be reached at a public address", ErrEndpoint)
	case err != nil || strings.TrimSpace(string(answer)) != word:
		return "", "", fmt.Errorf("%w: it did not answer 200 with the word of the challenge and nothing else", ErrEndpoint)
	}
	secret, token = random(), random()
	err = s.cfg.Store.Subscribe(ctx, store.Subscription{Token: token, Secret: []byte(secret), Prefix: prefix, Exact: exact, URL: u.String(),
		Added: s.cfg.Now()}, s.cfg.Max)
	if errors.Is(err, store.ErrSubscribed) || errors.Is(err, store.ErrTooMany) {
		err = fmt.Errorf("%w: %w", ErrEndpoint, err)
	}
	if err != nil {
		return "", "", err
	}
	s.cfg.Logger.Info("an endpoint has subscribed", "host", u.Host, "prefix", prefix, "exact", exact)
	return secret, token, nil
}

// random is 128 bits in hex.
func random() string {
	b := make([]byte, 16)
	rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// checkEndpoint reads an address that a stranger names.
func (s *Subscriber) checkEndpoint(endpoint string) (*url.URL, error) {
	if len(endpoint) > maxEndpoint || oneLine(endpoint) != endpoint {
		return nil, fmt.Errorf("its address has more than %d bytes, or is not text", maxEndpoint)
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "" || u.Scheme != "https" && (u.Scheme != "http" || !s.cfg.AllowPrivate):
		return nil, errors.New("its address is not an https URL")
	case hostOf(u) == "":
		return nil, errors.New("its address names no host")
	case u.User != nil || u.Fragment != "" || u.RawFragment != "":
		return nil, errors.New("its address must have no user and no fragment")
	case s.cfg.AllowPrivate:
		return u, nil
	}
	if port, err := strconv.Atoi(u.Port()); u.Port() != "" && (err != nil || port != 443 && port < 1024) {
		return nil, errors.New("its port is neither 443 nor above 1023")
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		if checkPublic(netip.AddrPortFrom(a, 443).String()) != nil {
			return nil, errors.New("it could not be reached at a public address")
		}
	}
	return u, nil
}

// hostOf is the host of an address in the one spelling that counts.
func hostOf(u *url.URL) string { return strings.TrimRight(strings.ToLower(u.Hostname()), ".") }

// room says whether a host may be challenged now: strangers must not use this monitor to knock at others.
func (s *Subscriber) room(ctx context.Context, host string) error {
	s.mu.Lock()
	now := s.cfg.Now()
	for h, at := range s.asked {
		if now.Sub(at) > hostRest {
			delete(s.asked, h)
		}
	}
	_, early := s.asked[host]
	if !early {
		s.asked[host] = now
	}
	s.mu.Unlock()
	if early {
		return errors.New("its host was asked a moment ago; try again in a minute")
	}
	all, err := s.cfg.Store.Subscriptions(ctx)
	if err != nil {
		return err
	}
	same := 0
	for _, x := range all {
		if known, err := url.Parse(x.URL); err == nil && hostOf(known) == host {
			same++
		}
	}
	if same >= maxPerHost {
		return errors.New("its host has as many subscriptions as one may have")
	}
	if len(all) >= s.cfg.Max {
		return store.ErrTooMany
	}
	return nil
}

// Subscription returns what a token ends, and whether there is such a subscription.
func (s *Subscriber) Subscription(ctx context.Context, token string) (store.Subscription, bool, error) {
	return s.cfg.Store.SubscriptionByToken(ctx, token)
}

// Unsubscribe ends a subscription, and says whether there was one.
func (s *Subscriber) Unsubscribe(ctx context.Context, token string) (bool, error) {
	return s.cfg.Store.Unsubscribe(ctx, token)
}

// Run tells what is new until ctx ends. Nothing that goes wrong with an endpoint ends it.
func (s *Subscriber) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.Tell(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Error("subscriptions", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.cfg.Poll):
		}
	}
	s.client.CloseIdleConnections()
}

// Tell tells each subscription that does not wait what is new, once.
func (s *Subscriber) Tell(ctx context.Context) error {
	due, err := s.cfg.Store.DueSubscriptions(ctx, s.cfg.Now())
	if err != nil {
		return err
	}
	origins := make(map[int64]string)
	logs, err := s.cfg.Store.Logs(ctx)
	for _, l := range logs {
		origins[l.ID] = l.Origin
	}
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sendAtOnce)
	for _, x := range due {
		g.Go(func() error { return s.tell(ctx, x, origins) })
	}
	return g.Wait()
}

func (s *Subscriber) tell(ctx context.Context, x store.Subscription, origins map[int64]string) error {
	news, err := s.cfg.Store.News(ctx, x, maxNews)
	if err != nil {
		return err
	}
	if len(news.Entries)+len(news.Findings) == 0 {
		if news.Moved {
			return s.cfg.Store.Told(ctx, x, news)
		}
		return nil
	}
	u, err := url.Parse(x.URL)
	if err != nil {
		return err
	}
	body, err := json.Marshal(s.message(x, news, origins))
	if err != nil {
		return err
	}
	status, _, err := post(ctx, s.client, u, x.Secret, s.cfg.Now(), newsID(x, body), body)
	switch now := s.cfg.Now(); {
	case err == nil:
		return s.cfg.Store.Told(ctx, x, news)
	case ctx.Err() != nil:
		return ctx.Err()
	case status == http.StatusGone, !x.Failing.IsZero() && now.Sub(x.Failing) > patience:
		s.cfg.Logger.Info("a subscription has ended: its endpoint takes nothing", "host", u.Host, "prefix", x.Prefix, "err", err)
		_, err = s.cfg.Store.Unsubscribe(ctx, x.Token)
		return err
	default:
		since := x.Failing
		if since.IsZero() {
			since = now
		}
		wait := min(s.cfg.First<<min(x.Attempts, 9), 6*time.Hour)
		var later *LaterError
		if errors.As(err, &later) {
			wait = max(wait, later.After)
		}
		return s.cfg.Store.NotTold(ctx, x, since, now.Add(wait))
	}
}

// newsID is the same each time that the same news are sent, and another once there are more of them.
func newsID(x store.Subscription, body []byte) string {
	sum := sha256.Sum256(body)
	return fmt.Sprintf("news-%d-%x", x.ID, sum[:16])
}

func (s *Subscriber) message(x store.Subscription, n store.News, origins map[int64]string) NewsMessage {
	m := NewsMessage{Event: "news", Monitor: s.cfg.Name, Prefix: x.Prefix, Exact: x.Exact, Entries: []NewsEntry{}, Findings: []NewsFinding{},
		Unsubscribe: s.cfg.URL + "/unsubscribe/" + x.Token}
	for _, e := range n.Entries {
		v := NewsEntry{Log: origins[e.Log], Index: e.Index, Crate: e.Name, Version: e.Version, Registry: e.Registry,
			Checksum: hex.EncodeToString(e.SHA256[:]), Claim: e.Kind, Verdict: e.Verdict,
			Page: s.cfg.URL + "/e/" + hex.EncodeToString(e.LeafHash[:])}
		if e.Commit != [20]byte{} {
			v.Commit = hex.EncodeToString(e.Commit[:])
		}
		m.Entries = append(m.Entries, v)
	}
	for _, f := range n.Findings {
		v := NewsFinding{f.ID, f.Class, oneLine(f.Kind), oneLine(f.Summary), f.Name, f.Version, f.FirstSeen, s.cfg.URL + "/evidence"}
		if f.Evidence != "" {
			v.Page += "/" + f.Evidence
		}
		m.Findings = append(m.Findings, v)
	}
	return m
}
