package log

import (
	"bytes"
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

	"cratelog/client"
)

// maxWitnessReply bounds a witness's answer. Two cosignatures, one of them
// ML-DSA-44, take 3.5 kB; Tessera reads without a limit.
const maxWitnessReply = 64 << 10

// parsePolicy reads the trust file as a log needs it: it must name this log, every
// witness must be reachable, and there must be a quorum. It is parsed strictly
// by package client first: Tessera's own parser, which runs after it, skips
// log lines, keeps one witness per URL and cuts lines at a '#'.
func parsePolicy(text []byte, origin, vkey string) (*client.Policy, error) {
	p, err := client.ParsePolicy(text)
	if err != nil {
		return nil, err
	}
	if !p.NeedsWitnesses() {
		return nil, errors.New("the trust file asks for no witnesses (quorum none): " +
			"a log without witnesses can show different trees to different readers, and is refused")
	}
	urls := make(map[string]string)
	for _, w := range p.Witnesses() {
		if w.URL == "" {
			return nil, fmt.Errorf("the trust file gives no URL for the witness %s: the log must reach every witness", w.Name)
		}
		if strings.Contains(w.URL, "#") {
			return nil, fmt.Errorf("the trust file's URL for the witness %s has a '#': %q", w.Name, w.URL)
		}
		endpoint, err := endpointOf(w.URL)
		if err != nil {
			return nil, fmt.Errorf("the trust file's URL for the witness %s: %w", w.Name, err)
		}
		if other, ok := urls[endpoint]; ok {
			return nil, fmt.Errorf("the trust file gives the witnesses %s and %s the same URL: "+
				"only one of them would be asked; give each its own", other, w.Name)
		}
		urls[endpoint] = w.Name
	}
	for _, l := range p.Logs() {
		if l.Origin == origin && l.VKey == vkey {
			return p, nil
		}
	}
	return nil, fmt.Errorf("the trust file does not name this log: add the line \"log %s\"", vkey)
}

// endpointOf is how Tessera makes a witness's address of its URL.
func endpointOf(prefix string) (string, error) {
	u, err := url.Parse(prefix)
	if err != nil {
		return "", err
	}
	return u.JoinPath("/add-checkpoint").String(), nil
}

// witnessGroup returns what Tessera asks before it publishes.
func witnessGroup(text []byte, witnesses []client.PolicyWitness) (tessera.WitnessGroup, []string, error) {
	g, err := tessera.NewWitnessGroupFromPolicy(text)
	if err != nil {
		return g, nil, fmt.Errorf("the trust file: %w", err)
	}
	if g.N < 1 {
		return g, nil, errors.New("the trust file's quorum needs no witness: a log without witnesses is refused")
	}
	endpoints := g.Endpoints()
	var unasked []string
	for _, w := range witnesses {
		endpoint, err := endpointOf(w.URL)
		if err != nil {
			return g, nil, err
		}
		if _, ok := endpoints[endpoint]; !ok {
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
	refused func(endpoint string, status int, contentType string, body []byte) // told of each 409 and 422; may be nil

	mu    sync.Mutex
	state map[string]witnessState // by name; owned by mu
}

type witnessState struct {
	ok  time.Time // last 200
	err string    // of the latest request; "" when it was answered with 200 or 409
}

func newWitnessClient(witnesses []client.PolicyWitness, timeout time.Duration,
	observe func(name, result string)) (*http.Client, *witnessTransport) {
	t := &witnessTransport{
		next: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
			ResponseHeaderTimeout: timeout},
		names:   make(map[string]string),
		observe: observe,
		state:   make(map[string]witnessState),
	}
	for _, w := range witnesses {
		if endpoint, err := endpointOf(w.URL); err == nil { // parsePolicy has refused the others
			t.names[endpoint] = w.Name
		}
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
	if err == nil && t.refused != nil &&
		(resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusUnprocessableEntity) {
		body, readErr := io.ReadAll(io.LimitReader(resp.Body, maxWitnessReply))
		if readErr == nil {
			t.refused(r.URL.String(), resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
		resp.Body = limitedBody{bytes.NewReader(body), resp.Body}
	}
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
