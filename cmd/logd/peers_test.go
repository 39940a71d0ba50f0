//go:build peers

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// These tests run programs of others, which .ci/long installs.

// certificate writes a certificate of a name and its key, and returns what trusts it.
func certificate(t *testing.T, dir, name string) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private := testlog.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der := testlog.Must(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private))
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	pemOf := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	fatalIf(t, os.WriteFile(cert, pemOf("CERTIFICATE", der), 0o644))
	fatalIf(t, os.WriteFile(key, pemOf("PRIVATE KEY", testlog.Must(x509.MarshalPKCS8PrivateKey(private))), 0o600))
	roots = x509.NewCertPool()
	roots.AddCert(testlog.Must(x509.ParseCertificate(der)))
	return cert, key, roots
}

// port is one that was free a moment ago.
func port(t *testing.T) string {
	t.Helper()
	l := testlog.Must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// proxied starts the proxy of an example file before a log, and returns a client that reaches it as
// log.example.org.
func proxied(t *testing.T, name, logAddress string) *http.Client {
	t.Helper()
	dir := t.TempDir()
	cert, key, roots := certificate(t, dir, "log.example.org")
	example := "nginx.conf"
	if name == "caddy" {
		example = "Caddyfile"
	}
	text := string(testlog.Must(os.ReadFile(filepath.Join(fixture.Root(t), "deploy", example))))
	https := port(t)
	change := func(old, to string) {
		if !strings.Contains(text, old) {
			t.Fatalf("%s has no %q", example, old)
		}
		text = strings.ReplaceAll(text, old, to)
	}
	change("127.0.0.1:8300", logAddress)
	var cmd *exec.Cmd
	file := filepath.Join(dir, example)
	if name == "nginx" {
		change("listen 443 ssl http2;", "listen 127.0.0.1:"+https+" ssl http2;")
		change("/etc/ssl/log.example.org.pem", cert)
		change("/etc/ssl/private/log.example.org.key", key)
		change("/etc/ssl/witness.example.org.pem", cert)
		change("/etc/ssl/private/witness.example.org.key", key)
		var temp string
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			temp += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
		}
		text = "daemon off;\nmaster_process off;\npid " + dir + "/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n" + temp + text + "}\n"
		cmd = exec.Command("nginx", "-p", dir, "-c", file)
	} else {
		change("servers {", "admin off\nstorage file_system "+dir+"\nhttps_port "+https+"\nauto_https disable_redirects\nservers {")
		change("log.example.org {", "log.example.org {\nbind 127.0.0.1\ntls "+cert+" "+key)
		text, _, _ = strings.Cut(text, "witness.example.org {") // its certificate would be asked for
		cmd = exec.Command("caddy", "run", "--config", file, "--adapter", "caddyfile")
	}
	fatalIf(t, os.WriteFile(file, []byte(text), 0o600))
	var said bytes.Buffer
	cmd.Stderr, cmd.Env = &said, append(os.Environ(), "HOME="+dir)
	fatalIf(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill(); <-done })
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	dial := func() (net.Conn, error) { return from.DialContext(t.Context(), "tcp", "127.0.0.1:"+https) }
	for range 3000 {
		if c, err := dial(); err == nil {
			c.Close()
			tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
			tr.Dial = func(string, string) (net.Conn, error) { return dial() } //nolint:staticcheck
			return &http.Client{Transport: tr}
		}
		select {
		case err := <-done:
			done <- err
			t.Fatalf("%s ended: %v\n%s\n%s", name, err, &said, text)
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not listen\n%s", name, &said)
	return nil
}

func TestTheProxiesOfDeployCarrySubmissionsAndTheClientsAddress(t *testing.T) {
	fixture.Need(t, "nginx", "caddy")
	s := newSite(t, "checkpoint_interval = \"100ms\"\n[door]\ntrusted_proxies = [\"127.0.0.1\"]\naccess_log = \"all\"\n")
	p := s.start("logd-testproofs")
	for _, name := range []string{"nginx", "caddy"} {
		c := proxied(t, name, strings.TrimPrefix(p.url, "http://"))
		ask := func(method, path string, body io.Reader, header http.Header) (int, string) {
			t.Helper()
			r := testlog.Must(http.NewRequestWithContext(t.Context(), method, "https://log.example.org"+path, body))
			for k, v := range header {
				r.Header[k] = v
			}
			resp := testlog.Must(c.Do(r))
			defer resp.Body.Close()
			b := testlog.Must(io.ReadAll(resp.Body))
			return resp.StatusCode, string(b)
		}
		it := newItem("through-" + name)
		var form bytes.Buffer
		m := multipart.NewWriter(&form)
		for part, b := range map[string][]byte{"entry": it.entry} {
			testlog.Must(testlog.Must(m.CreateFormFile(part, part)).Write(b))
		}
		testlog.Must(testlog.Must(m.CreateFormFile("crate", "crate")).Write(it.crate))
		fatalIf(t, m.Close())
		code, bundle := ask("POST", "/v1/submit", &form, http.Header{"Content-Type": {m.FormDataContentType()},
			"X-Forwarded-For": {"203.0.113.7"}})
		if code != 200 {
			t.Errorf("%s: a submission got %d %s\n%s", name, code, bundle, p.out)
			continue
		}
		s.bundleIndex([]byte(bundle), it.entry)
		if code, _ := ask("GET", "/checkpoint", nil, nil); code != 200 {
			t.Errorf("%s: GET /checkpoint: %d", name, code)
		}
		for _, path := range []string{"/metrics", "/healthz", "/readyz", "/livez"} {
			if code, _ := ask("GET", path, nil, nil); code != 404 {
				t.Errorf("%s shows the world %s: %d", name, path, code)
			}
		}
		if code, _ := ask("POST", "/v1/submit", bytes.NewReader(make([]byte, 20<<20)), nil); code != 413 && (name != "caddy" || code < 400) { // Caddy 2.6 passes the error on
			t.Errorf("%s: 20 MiB got %d", name, code)
		}
	}
	p.stop()
	if strings.Contains(p.out.String(), "203.0.113.7") {
		t.Errorf("a client's word about his address is believed:\n%s", p.out)
	}
	if n := strings.Count(p.out.String(), "client=127.0.0.9 method=POST path=/v1/submit status=200"); n != 2 {
		t.Errorf("%d submissions of the client are in the access log:\n%s", n, p.out)
	}
}
