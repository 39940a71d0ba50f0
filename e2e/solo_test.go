package e2e

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/internal/logsite"
)

const soloSaid = "solo: Example Org -- whoever ran it could forge; nobody else"

// newSoloSite is the log of an organisation on its first day, with a key that it made alone: no
// development mode. Its circuit's segments are so small that the key takes seconds, and
// hello-proof more segments than one.
func newSoloSite(t *testing.T) (s *site, program string) {
	t.Helper()
	s = newSiteWith(t, func(s *site) string {
		program = s.path("solo.json")
		made := s.run("ceremony", "solo", "Example Org", "-blocks", "8", "-out", program, "-pk", s.path("solo.pk"))
		if !strings.Contains(made, soloSaid) {
			t.Errorf("ceremony solo does not say %q:\n%s", soloSaid, made)
		}
		key := read(t, s.path("solo.pk"))
		fatalIf(t, os.Mkdir(s.path("keys"), 0o755))
		fatalIf(t, os.Rename(s.path("solo.pk"), s.path(filepath.Join("keys", fmt.Sprintf("%x", sha256.Sum256(key))))))
		return "programs = [\"solo.json\"]\nproving_keys = \"keys\"\n"
	})
	return s, program
}

// TestALogWithAKeyOfOnesOwn is the first day of an organisation's own log: its key is made, a
// publisher's prove fetches it and is interrupted, and everybody is told who could forge.
func TestALogWithAKeyOfOnesOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a key, and proves")
	}
	s, program := newSoloSite(t)
	dir, repo := t.TempDir(), fixture.Repo(t)
	file := filepath.Join(dir, "hello-proof-0.1.0.crate")
	write(t, file, string(fixture.Crate(t, "hello-proof", "0.1.0")))
	prove := []string{"prove", file, "--repository", repo, "--keys", filepath.Join(dir, "cache")}
	with := func(log string) []string { return append(prove[:len(prove):len(prove)], "--log", log) }

	keys, err := filepath.Glob(s.path("keys/*"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("%q, %v", keys, err)
	}
	slow := newSlowLog(t, s.log.url, read(t, keys[0]))
	t.Run("the key is fetched, and that is interrupted", func(t *testing.T) {
		p := launch(t, "cargo-zkp", with(slow.url)...)
		<-slow.half
		p.eventually(t, "the first half of the key", func() bool { return slow.has(t, filepath.Join(dir, "cache")) })
		fatalIf(t, p.cmd.Process.Signal(os.Interrupt))
		<-p.done
		if p.err == nil || !strings.Contains(p.log.String(), "bytes are kept, run again to go on from there") {
			t.Errorf("interrupted: %v\n%s", p.err, p.log)
		}
		if _, err := os.Stat(entryOf(file)); err == nil {
			t.Error("it left an entry")
		}
	})
	t.Run("and resumed", func(t *testing.T) {
		zkp(t, with(slow.url)...).want(t, 0, "with the log's program", soloSaid, "fetching the proving key", "Finished")
		if from := slow.resumed(); from != slow.sent {
			t.Errorf("it was resumed at byte %d, after %d that were kept", from, slow.sent)
		}
	})
	t.Run("a development proof is refused", func(t *testing.T) {
		other := copyFixture(t, "hello-proof-0.1.0", t.TempDir())
		zkp(t, "submit", other, "--log", s.log.url).want(t, 1, "unknown-program")
	})
	zkp(t, "submit", file, "--log", s.log.url).want(t, 0, "entry 0 of the log")
	believing := []string{"verify", file, "--trust", s.policy, "--program", program}
	zkp(t, believing...).want(t, 0, "Finished hello-proof v0.1.0 is the source of commit", soloSaid)
	zkp(t, believing[:4]...).want(t, 1, "program not accepted")
	trying := append(believing[:4:4], "--development")
	zkp(t, trying...).want(t, 1, "program not accepted")
	zkp(t, append(trying, "--log", s.log.url)...).want(t, 1, "hands out no claim about it that the policy counts")
	t.Run("every surface says who could forge", func(t *testing.T) { saysWhoCouldForge(t, s, program, file) })
	s.stopAll()
	zkp(t, believing...).want(t, 0, "Finished")
}

func entryOf(file string) string { return strings.TrimSuffix(file, ".crate") + ".entry" }

// saysWhoCouldForge looks at all that people see of a program.
func saysWhoCouldForge(t *testing.T, s *site, program, file string) {
	want := func(what, text string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s does not say %q:\n%s", what, w, text)
			}
		}
	}
	page := func(url string) string {
		t.Helper()
		b, err := logsite.Fetch(t.Context(), url)
		fatalIf(t, err)
		return string(b)
	}
	who := []string{"solo: Example Org", "whoever ran it could forge; nobody else"}
	flags := []string{"--trust", s.policy, "--program", program, "--log", s.log.url}
	o := zkp(t, append([]string{"verify", "-v", file}, flags...)...)
	want("verify -v", o.stdout+o.stderr, soloSaid)
	want("the log's page", page(s.log.url+"/"), who...)
	want("/v1/log", page(s.log.url+"/v1/log"), who[0])
	want("/v1/keys", page(s.log.url+"/v1/keys"), who[0])

	settings := filepath.Join(t.TempDir(), "monitor.toml")
	s.addLogURL()
	write(t, settings, fmt.Sprintf("database = \"monitor.db\"\nevidence = \"evidence\"\nlisten = \"127.0.0.1:0\"\n"+
		"programs = [%q]\npoll = \"100ms\"\n[[log]]\ntrust = %q\n", program, s.policy))
	s.run("monitor", "init", "-config", settings)
	monitor := start(t, "monitor", "run", "-config", settings)
	monitor.eventually(t, "entry on the monitor's page", func() bool {
		b, err := logsite.Fetch(t.Context(), monitor.url+"/e/0?log="+url.QueryEscape(origin))
		return err == nil && strings.Contains(string(b), "hello-proof")
	})
	want("the monitor's page of the entry", page(monitor.url+"/e/0?log="+url.QueryEscape(origin)), who...)
	monitor.eventually(t, "program on the monitor's page of the log", func() bool {
		return strings.Contains(page(monitor.url+"/log?log="+url.QueryEscape(origin)), soloSaid)
	})

	d := newDependent(t, s, "hello-proof = { version = \"=0.1.0\", verification = \"zkp\" }\n")
	d.write("zkp.toml", "version = 1\ntrust = ["+quoted(s.policy)+"]\nprograms = ["+quoted(program)+"]\n")
	d.mustCargo("fetch")
	o = d.zkp("verify", "-v")
	o.want(t, 0, "1 crate proven", soloSaid)
	o = d.zkp("show", "hello-proof")
	want("show", o.stdout, soloSaid)
	o = d.zkp("show", "hello-proof", "--message-format", "json")
	want("show for machines", o.stdout, who[0])
	d.write("zkp.toml", "version = 1\ntrust = ["+quoted(s.policy)+"]\n")
	d.zkp("verify").want(t, 1, "program not accepted")
}

// slowLog passes on what a log answers. Of the first proving key that it is asked for it sends one
// half, and then nothing more.
type slowLog struct {
	url  string
	half chan struct{} // closed once half of the key was sent
	sent int64         // bytes of the key

	asked chan string // the ranges that were asked for after that
}

func newSlowLog(t *testing.T, log string, key []byte) *slowLog {
	t.Helper()
	to, err := url.Parse(log)
	fatalIf(t, err)
	l := &slowLog{half: make(chan struct{}), sent: int64(len(key) / 2), asked: make(chan string, 10)}
	proxy := httputil.NewSingleHostReverseProxy(to)
	first := make(chan struct{}, 1)
	first <- struct{}{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/keys/") {
			proxy.ServeHTTP(w, r)
			return
		}
		select {
		case <-first:
			w.Header().Set("Content-Length", strconv.Itoa(len(key)))
			if _, err := w.Write(key[:l.sent]); err != nil {
				t.Error(err)
			}
			w.(http.Flusher).Flush()
			close(l.half)
			<-r.Context().Done()
		default:
			l.asked <- r.Header.Get("Range")
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	l.url = srv.URL
	return l
}

// has says that a cache has the half that was sent.
func (l *slowLog) has(t *testing.T, cache string) bool {
	t.Helper()
	parts, err := filepath.Glob(filepath.Join(cache, "*.part"))
	fatalIf(t, err)
	if len(parts) != 1 {
		return false
	}
	info, err := os.Stat(parts[0])
	return err == nil && info.Size() == l.sent
}

// resumed returns the byte at which the key was asked for after the interruption.
func (l *slowLog) resumed() int64 {
	select {
	case text := <-l.asked:
		n, _, _ := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
		from, err := strconv.ParseInt(n, 10, 64)
		if err != nil {
			return -1
		}
		return from
	default:
		return -1
	}
}
