package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
)

// Witness is one witness of the policy, as the log has found it.
type Witness struct {
	Name string // in the policy
	VKey string
	URL  string // submission prefix
}

// maxWitnessReply bounds a witness's answer. Two cosignatures, one of them
// ML-DSA-44, take 3.5 kB; Tessera reads without a limit.
const maxWitnessReply = 64 << 10

// parseWitnesses reads the policy as the log needs it: every witness must be
// reachable, and a quorum must exist. The text has been parsed strictly
// before, by package client; Tessera's own parser, which runs after it, skips
// log lines, keeps one witness per URL and cuts lines at a '#'.
func parseWitnesses(text []byte) ([]Witness, error) {
	var witnesses []Witness
	urls := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		f := strings.FieldsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r == ' ' || r == '\t' })
		if len(f) > 1 && f[0] == "quorum" && f[1] == "none" {
			return nil, errors.New("the policy asks for no witnesses (quorum none): a log without witnesses can show different trees to different people, and is refused")
		}
		if len(f) < 3 || f[0] != "witness" {
			continue
		}
		if len(f) != 4 {
			return nil, fmt.Errorf("the policy gives no URL for the witness %s: the log must reach every witness", f[1])
		}
		u, err := url.Parse(f[3])
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Fragment != "" || strings.Contains(f[3], "#") {
			return nil, fmt.Errorf("the policy's URL for the witness %s is not an http or https URL: %q", f[1], f[3])
		}
		endpoint := u.JoinPath("/add-checkpoint").String()
		if other, ok := urls[endpoint]; ok {
			return nil, fmt.Errorf("the policy gives the witnesses %s and %s the same URL: only one of them would be asked; give each its own", other, f[1])
		}
		urls[endpoint] = f[1]
		witnesses = append(witnesses, Witness{Name: f[1], VKey: f[2], URL: f[3]})
	}
	if len(witnesses) == 0 {
		return nil, errors.New("the policy names no witness: a log without witnesses is refused")
	}
	return witnesses, nil
}

// witnessGroup returns what Tessera asks before it publishes.
func witnessGroup(text []byte, witnesses []Witness) (tessera.WitnessGroup, []string, error) {
	g, err := tessera.NewWitnessGroupFromPolicy(text)
	if err != nil {
		return g, nil, fmt.Errorf("the policy: %w", err)
	}
	if g.N < 1 {
		return g, nil, errors.New("the policy's quorum needs no witness: a log without witnesses is refused")
	}
	endpoints := g.Endpoints()
	var unasked []string
	for _, w := range witnesses {
		u, err := url.Parse(w.URL)
		if err != nil {
			return g, nil, err
		}
		if _, ok := endpoints[u.JoinPath("/add-checkpoint").String()]; !ok {
			unasked = append(unasked, w.Name)
		}
	}
	return g, unasked, nil
}

// witnessTransport carries Tessera's requests to the witnesses. It bounds
// the answers and remembers how each witness did.
type witnessTransport struct {
	next    http.RoundTripper
	names   map[string]string // endpoint -> name
	observe func(name, result string)

	mu    sync.Mutex
	state map[string]witnessState // by name; owned by mu
}

type witnessState struct {
	ok  time.Time // last 200
	err string    // of the latest request; "" when it was answered with 200 or 409
}

func newWitnessClient(witnesses []Witness, timeout time.Duration, observe func(name, result string)) (*http.Client, *witnessTransport) {
	t := &witnessTransport{
		next:    &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: timeout},
		names:   make(map[string]string),
		observe: observe,
		state:   make(map[string]witnessState),
	}
	for _, w := range witnesses {
		u, err := url.Parse(w.URL)
		if err != nil {
			continue // parseWitnesses has refused it
		}
		t.names[u.JoinPath("/add-checkpoint").String()] = w.Name
	}
	return &http.Client{
		Transport:     t,
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, t
}

// RoundTrip implements http.RoundTripper.
func (t *witnessTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	name := t.names[r.URL.String()]
	resp, err := t.next.RoundTrip(r)
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.state[name]
	switch {
	case err != nil && r.Context().Err() != nil && errors.Is(r.Context().Err(), context.Canceled):
		// The quorum was there without it.
		return nil, err
	case err != nil:
		s.err = "unreachable"
		t.observe(name, "error")
	default:
		resp.Body = limitedBody{io.LimitReader(resp.Body, maxWitnessReply), resp.Body}
		t.observe(name, strconv.Itoa(resp.StatusCode))
		s.err = ""
		if resp.StatusCode == http.StatusOK {
			s.ok = time.Now()
		} else if resp.StatusCode != http.StatusConflict {
			s.err = "answered " + resp.Status
		}
	}
	t.state[name] = s
	return resp, err
}

func (t *witnessTransport) of(name string) witnessState {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state[name]
}

type limitedBody struct {
	io.Reader
	io.Closer
}
