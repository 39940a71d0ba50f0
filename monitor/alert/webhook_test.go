package alert

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

var sample = Alert{
	ID: "f7-found", Event: Found, Class: store.Security, Kind: "fork-same-size", Time: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC), Log: "example.com/log",
	Summary: "The log signed two trees.", Text: "Line one.\nLine two.", Finding: 7, Crate: "serde", Version: "1.0.0",
	Evidence: "ab12", EvidenceURL: "https://monitor.example/evidence/ab12", EvidenceFile: "/var/lib/monitor/ab12.evidence",
}

// open makes one channel from settings.
func open(t testing.TB, c Config) Channel {
	t.Helper()
	c.Name = "test"
	all := testlog.Must(Open([]Config{c}, t.TempDir()))
	return all[0]
}

func hook(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestAWebhookIsSignedAndCarriesItsID(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	fatalIf(t, os.WriteFile(secret, []byte("0123456789abcdef\n"), 0o600))
	var got Alert
	var bodies, ids []string
	url := hook(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(b, &got)
		}
		stamp, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get(HeaderSignature), "t="), ",")
		seconds, _ := strconv.ParseInt(stamp, 10, 64)
		if err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" ||
			r.Header.Get(HeaderSignature) != Sign([]byte("0123456789abcdef"), b, time.Unix(seconds, 0)) {
			t.Errorf("%v %v %v", err, r.Method, r.Header)
		}
		bodies, ids = append(bodies, string(b)), append(ids, r.Header.Get(HeaderID))
		w.WriteHeader(http.StatusNoContent)
	})
	c := open(t, Config{Type: "webhook", URL: url, SecretFile: secret})
	for range 2 {
		fatalIf(t, c.Send(t.Context(), sample))
	}
	if got != sample || len(ids) != 2 || ids[0] != "f7-found" || ids[1] != ids[0] || bodies[0] != bodies[1] {
		t.Errorf("%+v %q", got, ids)
	}
}

// TestSignaturesAreThoseOfTheDocumentation holds an example that receivers can test with.
func TestSignaturesAreThoseOfTheDocumentation(t *testing.T) {
	got := Sign([]byte("0123456789abcdef"), []byte("{}"), time.Unix(1788264000, 0))
	want := "t=1788264000,v1=bafa4e6ad16de5db7fb8ca845921ff015abdc1b316df6444310c96924d9fe140"
	if got != want {
		t.Errorf("got %s", got)
	}
}

func TestAWebhookIsTakenOnlyIfTheOtherSideSaysSo(t *testing.T) {
	for status, want := range map[int]string{
		200: "", 202: "", 204: "", 400: "answers 400: no[2J, never", 404: "answers 404", 500: "answers 500",
		301: "a redirect, which is not followed", 307: "a redirect, which is not followed", 308: "a redirect, which is not followed",
	} {
		followed := false
		url := hook(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/hook" {
				followed = true
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			if status >= 400 {
				io.WriteString(w, "no\x1b[2J, never"+strings.Repeat("x", 1<<20))
			}
		})
		err := open(t, Config{Type: "webhook", URL: url + "/hook"}).Send(t.Context(), sample)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(strings.ReplaceAll(err.Error(), "\uFFFD", ""), want) || err != nil && len(err.Error()) > 400 {
			t.Errorf("%d: %v", status, err)
		}
		if followed {
			t.Errorf("%d: the redirect was followed", status)
		}
	}
}

func TestAWebhookWaitsAsLongAsItIsAsked(t *testing.T) {
	for after, want := range map[string]time.Duration{"120": 2 * time.Minute, "99999999": time.Hour, "0": 0, "-5": 0, "soon": 0, "": 0} {
		url := hook(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		err := open(t, Config{Type: "webhook", URL: url}).Send(t.Context(), sample)
		var later *LaterError
		if err == nil || errors.As(err, &later) != (want > 0) || later != nil && later.After != want {
			t.Errorf("%q: %v", after, err)
		}
	}
}

// TestAWebhooksURLIsNoSecretThatErrorsTell: the path of many hooks is their password.
func TestAWebhooksURLIsNoSecretThatErrorsTell(t *testing.T) {
	l := testlog.Must(net.Listen("tcp", "127.0.0.1:0"))
	l.Close()
	for _, url := range []string{
		"http://" + l.Addr().String() + "/s3cret?token=s3cret", // where nothing listens
		hook(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }) + "/s3cret?token=s3cret",
	} {
		err := open(t, Config{Type: "webhook", URL: url}).Send(t.Context(), sample)
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Error(err)
		}
	}
	if _, err := Open([]Config{{Name: "a", Type: "webhook", URL: "s3cret://s3cret"}}, ""); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

func TestPublicOnlyRefusesAddressesOfInside(t *testing.T) {
	url := hook(t, func(http.ResponseWriter, *http.Request) { t.Error("the request was made") })
	err := open(t, Config{Type: "webhook", URL: url, PublicOnly: true}).Send(t.Context(), sample)
	if err == nil || !strings.Contains(err.Error(), "is not public") {
		t.Error(err)
	}
	for _, inside := range []string{
		"127.0.0.1:80", "10.1.2.3:80", "172.16.0.1:80", "192.168.0.1:80", "169.254.169.254:80", "100.64.1.1:80", "0.0.0.0:80", "224.0.0.1:80", "255.255.255.255:80",
		"[::1]:80", "[fe80::1]:80", "[fc00::1]:80", "[::ffff:127.0.0.1]:80", "[::ffff:10.0.0.1]:80", "[64:ff9b::7f00:1]:80", "[2002:7f00:1::]:80", "[::]:80", "localhost:80", "",
		"0.1.2.3:80", "198.18.0.1:80", "192.0.0.8:80", "240.0.0.1:80", "[fec0::1]:80", "[fec0::1%eth0]:80", "[::10.0.0.1]:80", "[::ffff:0:10.0.0.1]:80", "[64:ff9b:1::1]:80",
		"[2001::1]:80",
	} {
		if checkPublic(inside) == nil {
			t.Errorf("%s is taken for public", inside)
		}
	}
	for _, outside := range []string{"192.0.2.1:80", "[2001:db8::1]:443", "8.8.8.8:443"} {
		if err := checkPublic(outside); err != nil {
			t.Error(err)
		}
	}
}

// TestASilentHookIsLeftWhenTheContextEnds: it answers nothing, and the request ends.
func TestASilentHookIsLeftWhenTheContextEnds(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	url := hook(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if err := open(t, Config{Type: "webhook", URL: url}).Send(ctx, sample); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAWebhookBelievesNoStrangersCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request was made") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	if err := open(t, Config{Type: "webhook", URL: s.URL}).Send(t.Context(), sample); err == nil {
		t.Error("sent")
	}
}
