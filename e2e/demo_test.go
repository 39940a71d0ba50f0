package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/internal/logsite"
)

func TestTheDemonstrationBehaves(t *testing.T) {
	tmp := t.TempDir()
	session := filepath.Join(t.TempDir(), "session.svg")
	o := command(t, t.TempDir(), []string{"TMPDIR=" + tmp}, program(t, "demo"), "-check", "-session", session)
	o.want(t, 0)
	last := o.stdout[strings.LastIndexByte(strings.TrimSuffix(o.stdout, "\n"), '\n')+1:]
	if !regexp.MustCompile(`^All [0-9]+ steps behaved\.\n$`).MatchString(last) {
		t.Errorf("its last line is %q", last)
	}
	if strings.Count(o.stdout, "Refused: ") < 7 || strings.Contains(o.stdout, "WRONG") {
		t.Errorf("it does not refuse every attack:\n%s", o.stdout)
	}
	if !regexp.MustCompile(`too few witnesses: .* cosigned by w[1-3]\.`).MatchString(o.stdout) {
		t.Errorf("no bundle had one cosignature:\n%s", o.stdout)
	}
	if got, kept := read(t, session), read(t, filepath.Join(fixture.Root(t), "docs", "session.svg")); !bytes.Equal(got, kept) {
		t.Errorf("docs/session.svg is not what the demonstration says: go generate ./cmd/demo\n%s", got)
	}
	left, err := os.ReadDir(tmp)
	fatalIf(t, err)
	if len(left) > 0 {
		t.Errorf("it left %v behind", left)
	}
}

// The demonstration without options ends with addresses to look at and a command
// to try. All of them must work until Ctrl-C.
func TestTheDemonstrationCanBeLookedAt(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	p := launch(t, "demo")
	text := p.waitFor(t, "Try it:\n   go run ./cmd/cargo-zkp ")
	urls := regexp.MustCompile(`(?m)^   (?:the|its|a) .* (http://\S+)$`).FindAllStringSubmatch(text, -1)
	if len(urls) != 7 {
		t.Errorf("wanted 7 addresses: the log, its checkpoint, a bundle, three witnesses, a monitor; got %d:\n%s", len(urls), text)
	}
	for _, u := range urls {
		_, err := logsite.Fetch(t.Context(), u[1])
		fatalIf(t, err)
	}
	_, try, _ := strings.Cut(text, "go run ./cmd/cargo-zkp ")
	try, _, _ = strings.Cut(try, "\n")
	command(t, "..", nil, program(t, "cargo-zkp"), strings.Fields(try)...).want(t, 0, "Finished hello-proof v0.1.0")
	p.signal(os.Interrupt)
	if _, err := logsite.Fetch(t.Context(), urls[0][1]); err == nil {
		t.Error("something still answers at the log's address")
	}
}

// waitFor returns the output of a process once it holds words and a whole line
// after them.
func (p *process) waitFor(t *testing.T, words string) string {
	t.Helper()
	p.eventually(t, words, func() bool {
		_, after, ok := strings.Cut(p.log.String(), words)
		return ok && strings.Contains(after, "\n")
	})
	return p.log.String()
}
