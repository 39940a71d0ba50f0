package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// Headers of a webhook's request, beside Content-Type and User-Agent.
const (
	HeaderID        = "Cratelog-Alert-Id"  // Alert.ID
	HeaderSignature = "Cratelog-Signature" // see Sign
)

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 4096

// webhook sends alerts as POST requests with JSON.
type webhook struct {
	named
	url    *url.URL
	secret []byte // nil: not signed
	http   *http.Client
	now    func() time.Time
}

func newWebhook(name string, u *url.URL, secret []byte, timeout time.Duration, publicOnly bool) *webhook {
	return &webhook{named: named(name), url: u, secret: secret, now: time.Now, http: hookClient(timeout, publicOnly)}
}

// hookClient follows no redirect, uses no proxy, and with publicOnly dials no private or local address.
func hookClient(timeout time.Duration, publicOnly bool) *http.Client {
	dialer := &net.Dialer{Timeout: timeout}
	if publicOnly {
		// Control sees the address that is dialed, after the name was resolved.
		dialer.Control = func(_, address string, _ syscall.RawConn) error { return checkPublic(address) }
	}
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: timeout, MaxIdleConns: 2,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
		},
		// A redirect could lead anywhere. A hook that moved is changed in the settings.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Sign is the value of HeaderSignature: "t=<seconds since 1970>,v1=<hex>", where hex is
// HMAC-SHA-256 with the secret over the seconds in decimal, a dot, and the body. A receiver
// calculates the same, compares in constant time, and refuses times that are long past.
func Sign(secret, body []byte, at time.Time) string {
	m := hmac.New(sha256.New, secret)
	fmt.Fprintf(m, "%d.", at.Unix())
	m.Write(body)
	return fmt.Sprintf("t=%d,v1=%x", at.Unix(), m.Sum(nil))
}

func (w *webhook) Send(ctx context.Context, a Alert) error {
	body, err := json.Marshal(a.clean())
	if err != nil {
		return err
	}
	_, _, err = post(ctx, w.http, w.url, w.secret, w.now(), a.clean().ID, body)
	return err
}

// post sends JSON, signed if there is a secret. It returns the status, 0 without an answer, and the beginning of
// the answer; the error is nil for those of 2xx.
func post(ctx context.Context, client *http.Client, u *url.URL, secret []byte, now time.Time, id string,
	body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, errors.New("the URL cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "cratelog-monitor")
	req.Header.Set(HeaderID, id)
	if secret != nil {
		req.Header.Set(HeaderSignature, Sign(secret, body, now))
	}
	res, err := client.Do(req)
	if err != nil {
		// The error's text would hold the URL, which may be a secret.
		var x *url.Error
		if errors.As(err, &x) {
			err = x.Err
		}
		return 0, nil, fmt.Errorf("%s does not take it: %w", u.Host, err)
	}
	defer res.Body.Close()
	answer, _ = io.ReadAll(io.LimitReader(res.Body, maxAnswer)) // what it says matters only if it refuses
	return res.StatusCode, answer, judge(u.Host, res, answer)
}

// judge turns an answer into an error, or nil for those of 2xx.
func judge(host string, res *http.Response, answer []byte) error {
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return nil
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return fmt.Errorf("%s answers %d, a redirect, which is not followed: put the new URL into the settings",
			host, res.StatusCode)
	}
	err := fmt.Errorf("%s answers %d: %s", host, res.StatusCode, clip(oneLine(string(answer)), 200))
	seconds, bad := strconv.Atoi(res.Header.Get("Retry-After"))
	if bad == nil && seconds > 0 && (res.StatusCode == http.StatusTooManyRequests ||
		res.StatusCode == http.StatusServiceUnavailable) {
		return &LaterError{min(time.Duration(seconds)*time.Second, slowest), err}
	}
	return err
}

// inside are networks of no public host that netip does not call private: of RFC 6890 and RFC 6598, of IPv6 sites
// of old (fec0::/10), and IPv6 addresses that lead to IPv4 ones. Documentation's addresses lead nowhere.
var inside = parsePrefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4",
	"fec0::/10", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")

func parsePrefixes(all ...string) (prefixes []netip.Prefix) {
	for _, p := range all {
		prefixes = append(prefixes, netip.MustParsePrefix(p))
	}
	return prefixes
}

// checkPublic refuses addresses that are not those of public hosts.
func checkPublic(address string) error {
	p, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	a := p.Addr().Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() ||
		slices.ContainsFunc(inside, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) }) {
		return fmt.Errorf("its address %v is not public, and public_only is set", a)
	}
	return nil
}
