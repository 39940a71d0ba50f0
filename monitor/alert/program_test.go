//go:build unix

package alert

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cratelog/config"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

// script writes a program for the shell.
func script(t testing.TB, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	fatalIf(t, os.WriteFile(path, []byte("#!/bin/sh\n"+lines), 0o755))
	return path
}

// runs is the channel of a script.
func runs(t testing.TB, lines string, args ...string) Channel {
	t.Helper()
	return open(t, Config{Type: "command", Command: append([]string{script(t, lines)}, args...)})
}

func TestACommandGetsTheAlertAndNothingElse(t *testing.T) {
	out := t.TempDir()
	t.Setenv("MONITOR_SECRET", "s3cret")
	c := runs(t, `env | sort > "$1/env" && cat > "$1/stdin"`, out)
	evil := sample
	evil.Summary = "two\nlines \x1b[2J $(touch /tmp/x) `id` \u202e"
	fatalIf(t, c.Send(t.Context(), evil))
	b := testlog.Must(os.ReadFile(filepath.Join(out, "env")))
	env := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		env[k] = v
	}
	for k, want := range map[string]string{
		"EVENT": "found", "CLASS": "security", "KIND": "fork-same-size", "FINDING_ID": "7", "ALERT_ID": "f7-found", "LOG": "example.com/log",
		"CRATE": "serde", "VERSION": "1.0.0", "EVIDENCE_FILE": sample.EvidenceFile, "EVIDENCE_URL": sample.EvidenceURL, "URL": "",
		"SUMMARY": "two\uFFFDlines \uFFFD[2J $(touch /tmp/x) `id` \uFFFD", "MONITOR_SECRET": "",
	} {
		if env[k] != want {
			t.Errorf("%s=%q, want %q", k, env[k], want)
		}
	}
	var got Alert
	err := json.Unmarshal(testlog.Must(os.ReadFile(filepath.Join(out, "stdin"))), &got)
	if err != nil || got.Finding != 7 || got.Text != sample.Text || got.Evidence != "ab12" {
		t.Errorf("%v %+v", err, got)
	}
}

func TestACommandThatFailsSaysWhy(t *testing.T) {
	c := runs(t, "echo 'no \033[2J pager' >&2; exit 3\n")
	err := c.Send(t.Context(), sample)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "pager") || strings.Contains(err.Error(), "\033") {
		t.Error(err)
	}
	c = runs(t, "head -c 3000000 /dev/zero; exit 1\n")
	if err := c.Send(t.Context(), sample); err == nil || len(err.Error()) > 1000 {
		t.Error(err)
	}
	c = runs(t, "exec <&-; exit 0\n") // reads nothing
	if err := c.Send(t.Context(), sample); err != nil {
		t.Error(err)
	}
}

// TestACommandIsStoppedWithAllItsChildren: a fifo is closed when the last of them is gone.
func TestACommandIsStoppedWithAllItsChildren(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		fixture.Skip(t, "no fifo here: %v", err)
	}
	eof := make(chan error, 1)
	go func() {
		f, err := os.Open(fifo)
		if err == nil {
			defer f.Close()
			_, err = io.Copy(io.Discard, f)
		}
		eof <- err
	}()
	c := open(t, Config{Type: "command", Timeout: config.Duration{Duration: 300 * time.Millisecond},
		Command: []string{script(t, `exec 3>"$1"; (sleep 3600)& (trap '' TERM INT HUP; sleep 3600)& wait`), fifo}})
	err := c.Send(t.Context(), sample)
	if err == nil || !strings.Contains(err.Error(), "was stopped") {
		t.Error(err)
	}
	if err := <-eof; err != nil {
		t.Error(err)
	}
}

// TestAChildThatIsLeftBehindIsNoFailure: a hook may start a service and go.
func TestAChildThatIsLeftBehindIsNoFailure(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	c := runs(t, `sleep 3600 & echo $! > "$1"`, pid)
	if err := c.Send(t.Context(), sample); err != nil {
		t.Error(err)
	}
	b := testlog.Must(os.ReadFile(pid))
	var n int
	if err := json.Unmarshal(bytes.TrimSpace(b), &n); err != nil || n < 2 {
		t.Fatal(err, n)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestMailIsAMessageWhateverTheAlertSays(t *testing.T) {
	out := filepath.Join(t.TempDir(), "mail")
	c := open(t, Config{Type: "mail", Command: []string{script(t, `cat > "$1"; test "$2" = -t`), out, "-t"},
		From: "Monitor <monitor@example.com>", To: []string{"ops@example.com", "Zoë <zoe@example.org>"}})
	send := func(a Alert) (*mail.Message, string) {
		t.Helper()
		fatalIf(t, c.Send(t.Context(), a))
		b := testlog.Must(os.ReadFile(out))
		if bytes.Contains(b, []byte("\r")) {
			t.Error("lines end in CRLF")
		}
		for line := range strings.Lines(string(b)) {
			if len(line) > 999 {
				t.Errorf("a line of %d bytes", len(line))
			}
		}
		m := testlog.Must(mail.ReadMessage(bufio.NewReader(bytes.NewReader(b))))
		body := testlog.Must(io.ReadAll(quotedprintable.NewReader(m.Body)))
		return m, string(body)
	}
	m, body := send(sample)
	if to, err := m.Header.AddressList("To"); err != nil || len(to) != 2 || to[1].Name != "Zoë" || to[1].Address != "zoe@example.org" {
		t.Error(to, err)
	}
	if d, err := m.Header.Date(); err != nil || !d.Equal(sample.Time) {
		t.Error(d, err)
	}
	for _, want := range []string{"The log signed two trees.\n\nLine one.\nLine two.\n", "monitor ack 7\n", "monitor verify-evidence ab12.evidence", sample.EvidenceURL} {
		if !strings.Contains(body, want) {
			t.Errorf("the body lacks %q:\n%s", want, body)
		}
	}
	first := m.Header.Get("Message-ID")
	m, _ = send(sample)
	if m.Header.Get("Message-ID") != first {
		t.Error("a second attempt is another message")
	}

	evil := sample
	evil.Summary = "x\r\nBcc: everybody@example.net\r\n\r\nHello é " + strings.Repeat("long ", 300)
	evil.Text = ".\nFrom me\n\x00\x1b[2J"
	evil.Class = "a\nb"
	m, body = send(evil)
	if m.Header.Get("Bcc") != "" || len(m.Header["To"]) != 1 || m.Header.Get("Message-ID") != first {
		t.Errorf("%v", m.Header)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || !strings.HasPrefix(subject, "[cratelog a\uFFFDb] x\uFFFD\uFFFDBcc: everybody") || len(subject) > 300 {
		t.Errorf("%q %v", subject, err)
	}
	if strings.ContainsAny(body, "\x00\x1b\r") {
		t.Errorf("%q", body)
	}
}

func TestSettingsAreStrict(t *testing.T) {
	dir := t.TempDir()
	short := filepath.Join(dir, "short")
	fatalIf(t, errors.Join(os.WriteFile(short, []byte("short"), 0o600), os.WriteFile(filepath.Join(dir, "long"), make([]byte, 5000), 0o600)))
	for want, c := range map[string]Config{
		"name: 1 to 64":                    {Name: "A b", Type: "webhook", URL: "https://x.example/"},
		`type: "pigeon" is not`:            {Type: "pigeon"},
		"min_class: \"bad\" is not":        {Type: "webhook", URL: "https://x.example/", MinClass: "bad"},
		"command: a webhook has no such":   {Type: "webhook", URL: "https://x.example/", Command: []string{"/bin/sh"}},
		"url: a command has no such":       {Type: "command", URL: "https://x.example/"},
		"to: a command has no such":        {Type: "command", Command: []string{"/bin/sh"}, To: []string{}},
		"url: not an http or https URL":    {Type: "webhook", URL: "ftp://x.example/"},
		"secret_file: ":                    {Type: "webhook", URL: "https://x.example/", SecretFile: "none"},
		"holds 5 bytes; 16":                {Type: "webhook", URL: "https://x.example/", SecretFile: "short"},
		"more than 1026 bytes":             {Type: "webhook", URL: "https://x.example/", SecretFile: "long"},
		"with its absolute path":           {Type: "command", Command: []string{"sh", "-c", "x"}},
		"command: exec: ":                  {Type: "command", Command: []string{filepath.Join(dir, "none")}},
		"from: \"\" is not a mail address": {Type: "mail", Command: []string{"/bin/sh"}, To: []string{"a@b.example"}},
		"to: 1 to 100 addresses":           {Type: "mail", Command: []string{"/bin/sh"}, From: "a@b.example"},
		"to: \"x\" is not a mail address":  {Type: "mail", Command: []string{"/bin/sh"}, From: "a@b.example", To: []string{"x"}},
		"is not a mail address":            {Type: "mail", Command: []string{"/bin/sh"}, From: "a@b.example\r\nBcc: c@d.example", To: []string{"a@b.example"}},
	} {
		c.Name = cmp.Or(c.Name, "a")
		if _, err := Open([]Config{c}, dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	twice := Config{Name: "a", Type: "command", Command: []string{"/bin/sh"}}
	if _, err := Open([]Config{twice, twice}, dir); err == nil || !strings.Contains(err.Error(), "channel 2") {
		t.Error(err)
	}
}

func TestSettingsAreReadFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "monitor.toml")
	text := "[[channel]]\nname = \"ops\"\ntype = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"cat\"]\nmin_class = \"info\"\nheartbeat = \"24h\"\n" +
		"[[channel]]\nname = \"pager\"\ntype = \"webhook\"\nurl = \"https://pager.example/\"\nmin_class = \"security\"\nkinds = [\"unsealed\"]\n"
	fatalIf(t, os.WriteFile(path, []byte(text), 0o600))
	var s struct {
		Channel []Config `toml:"channel"`
	}
	fatalIf(t, config.LoadTOML(path, &s))
	all, err := Open(s.Channel, filepath.Dir(path))
	if err != nil || len(all) != 2 || all[0].Name() != "ops" || s.Channel[0].Heartbeat.Duration != 24*time.Hour {
		t.Fatal(all, err)
	}
	r := Routes(s.Channel)
	for _, c := range []struct {
		class             store.Class
		kind, asked, want string
	}{
		{store.Security, "unsealed", "", "ops pager"},
		{store.Security, "fork-prefix", "", "ops"},
		{store.Operational, "unsealed", "", "ops"},
		{store.Info, "watch", "", "ops"},
		{store.Info, "watch", "pager", "pager"},
		{store.Info, "watch", "gone", "ops"},
		{"", "watch", "", ""},
	} {
		if got := strings.Join(r.For(c.class, c.kind, c.asked), " "); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	if got := (Routes{{Name: "x"}}).For(store.Info, "watch", ""); len(got) != 0 {
		t.Errorf("a channel without min_class takes %q", got)
	}
}
