package registry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"cratelog/internal/durable"
)

// Download fetches the .crate of a release and returns it if its SHA-256 is sum;
// else the error is a *ChecksumError. It may be ErrNotFound, a *StatusError, or one
// of the network as well.
func (x *Index) Download(ctx context.Context, name, version string, sum [sha256.Size]byte) ([]byte, error) {
	c, err := x.Config(ctx)
	if err != nil {
		return nil, err
	}
	address, err := c.downloadURL(name, version, sum)
	if err != nil {
		return nil, err
	}
	token := ""
	if c.Auth {
		token = x.Token
	}
	// A .crate is compressed as it is, and servers that call this its encoding are not to have it undone.
	resp, err := x.get(ctx, address, http.Header{"Accept-Encoding": {"identity"}}, token, false)
	if err != nil {
		return nil, fmt.Errorf("%s v%s: %w", name, version, err)
	}
	defer resp.Body.Close()
	raw, err := read(resp, MaxCrateSize)
	if err != nil {
		return nil, err
	}
	if got := sha256.Sum256(raw); got != sum {
		return nil, &ChecksumError{Name: name, Version: version, URL: address, Want: sum, Got: got}
	}
	return raw, nil
}

// downloadURL fills in "dl".
func (c Config) downloadURL(name, version string, sum [sha256.Size]byte) (string, error) {
	if err := checkRelease(name, version); err != nil {
		return "", err
	}
	marks := []string{
		"{crate}", name, "{version}", version, "{sha256-checksum}", fmt.Sprintf("%x", sum),
		"{prefix}", prefix(name), "{lowerprefix}", prefix(strings.ToLower(name)),
	}
	template := c.Download
	marked := false
	for i := 0; i < len(marks); i += 2 {
		marked = marked || strings.Contains(template, marks[i])
	}
	if !marked {
		template = strings.TrimSuffix(template, "/") + "/{crate}/{version}/download"
	}
	return strings.NewReplacer(marks...).Replace(template), nil
}

// file fetches a file of the index, or takes it from the cache, if there is one, if the
// registry says that it has not changed.
func (x *Index) file(ctx context.Context, path string, limit int64, cache Cache) (Cached, error) {
	address, err := x.address(path)
	if err != nil {
		return Cached{}, err
	}
	h := http.Header{}
	var old Cached
	var have bool
	if cache != nil {
		old, have = cache.Load(address)
	}
	// RFC 9110 13.1.3: If-Modified-Since is ignored where there is an If-None-Match.
	if have && old.ETag != "" {
		h.Set("If-None-Match", old.ETag)
	} else if have && old.LastModified != "" {
		h.Set("If-Modified-Since", old.LastModified)
	}
	resp, err := x.get(ctx, address, h, x.token(), true)
	if err != nil {
		return Cached{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return old, nil
	}
	body, err := read(resp, limit)
	if err != nil {
		return Cached{}, err
	}
	f := Cached{ETag: clean(resp.Header.Get("ETag")), LastModified: clean(resp.Header.Get("Last-Modified")), Body: body}
	if cache != nil && f.ETag+f.LastModified != "" {
		cache.Store(address, f)
	}
	return f, nil
}

// clean returns a validator, or "" for one that we would not repeat.
func clean(s string) string {
	if len(s) > 256 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return s
}

func (x *Index) address(path string) (string, error) {
	if err := CheckURL(x.URL, x.AllowHTTP); err != nil {
		return "", err
	}
	return x.URL + path, nil
}

// get makes one request and returns the answer if it is a success, or "not
// modified" to a request that asked for that.
func (x *Index) get(ctx context.Context, address string, h http.Header, token string,
	sameHost bool) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("the registry's URL: %w", err)
	}
	if err := checkHost(r.URL, x.AllowHTTP); err != nil {
		return nil, err
	}
	r.Header = h
	r.Header.Set("User-Agent", cmp.Or(x.UserAgent, "cratelog"))
	r.Header.Set("cargo-protocol", "version=1")
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	resp, err := x.client(sameHost).Do(r)
	if err != nil {
		return nil, err
	}
	conditional := h.Get("If-None-Match")+h.Get("If-Modified-Since") != ""
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotModified && conditional {
		return resp, nil
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone, http.StatusUnavailableForLegalReasons: // cargo's own three
		return nil, fmt.Errorf("%w (%d at %s)", ErrNotFound, resp.StatusCode, r.URL.Redacted())
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // the status is what matters
	return nil, &StatusError{URL: r.URL.Redacted(), Status: resp.StatusCode, Body: oneLine(body),
		RetryAfter: clean(resp.Header.Get("Retry-After"))}
}

func oneLine(b []byte) string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(string(b), "?")), " ")
	return s[:min(len(s), 300)]
}

// client returns the HTTP client with our rule for redirects: the index stays on
// its host; a download, whose bytes have a checksum, may lead to another host, but
// never from https to http. net/http takes the token off where the host changes.
func (x *Index) client(sameHost bool) *http.Client {
	c := http.Client{Timeout: wholeTimeout, Transport: transport}
	if x.HTTP != nil {
		c = *x.HTTP
	}
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		first := via[0].URL
		switch {
		case len(via) > maxRedirects:
			return fmt.Errorf("more than %d redirects", maxRedirects)
		case sameHost && r.URL.Host != first.Host:
			return fmt.Errorf("the registry's index redirects to another host, %s: if that is right, configure its URL",
				r.URL.Host)
		case first.Scheme == "https" && r.URL.Scheme != "https":
			return errors.New("the registry redirects from https to plain http")
		}
		return checkHost(r.URL, x.AllowHTTP)
	}
	return &c
}

// transport is shared, so that connections are.
var transport = newTransport()

func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = headTimeout
	t.MaxIdleConnsPerHost = 32
	return t
}

// read reads a body of at most limit bytes.
func read(resp *http.Response, limit int64) ([]byte, error) {
	b, err := durable.ReadAll(resp.Body, limit)
	if err != nil {
		at := *resp.Request.URL
		at.RawQuery = "" // may be a credential, after a redirect
		return nil, fmt.Errorf("the registry's answer to %s: %w", at.Redacted(), err)
	}
	return b, nil
}
