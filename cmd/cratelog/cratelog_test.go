package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/client"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

// cratelog runs the command, and returns what it printed and its exit code.
func cratelog(t *testing.T, args ...string) (stdout, stderr string, code outcome.Code) {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(t.Context(), args, &out, &errs)
	outcome.Exit("cratelog", err, &errs)
	return out.String(), errs.String(), outcome.Of(err)
}

func TestInitMakesAWholeLogOrNothing(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "acme")
	stdout, stderr, code := cratelog(t, "init", dir, "--name", "Example Org", "--port", "0", "--blocks", "1", "--witnesses", "3")
	if code != outcome.OK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"cratelog run " + dir, "--trust " + filepath.Join(dir, "readers"), "witness serve -config " + filepath.Join(dir, "witness-3", "witness.toml"),
		"cannot show that you have one history", "solo: Example Org"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, stdout)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "readers", "trust.policy"))
	fatalIf(t, err)
	policy, err := client.ParsePolicy(raw)
	fatalIf(t, err)
	if n := len(policy.Witnesses()); n != 3 || !strings.Contains(string(raw), "\ngroup witnesses 2 witness-1 witness-2 witness-3\n") {
		t.Errorf("%d witnesses:\n%s", n, raw)
	}
	if origin := policy.Logs()[0].Origin; origin != fmt.Sprintf("acme/%d", time.Now().Year()) {
		t.Errorf("origin %q", origin)
	}
	program, err := proofcheck.ReadProgram(filepath.Join(dir, "readers", "program.json"))
	fatalIf(t, err)
	key, err := os.ReadFile(filepath.Join(dir, "log", "keys", fmt.Sprintf("%x", program.ProvingKey)))
	fatalIf(t, err)
	if sha256.Sum256(key) != program.ProvingKey || program.Solo() != "Example Org" {
		t.Errorf("%v, and its key is another", program)
	}
	keys := 0
	fatalIf(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if filepath.Ext(path) == ".pem" {
			if keys++; info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
		}
		if b, _ := os.ReadFile(path); bytes.Contains(b, []byte(parent)) {
			t.Errorf("%s says where it was made, so that it cannot move", path)
		}
		return err
	}))
	if keys != 4 {
		t.Errorf("%d private keys, not one for the log and three for witnesses", keys)
	}

	before := string(raw)
	if _, stderr, code := cratelog(t, "init", dir, "--port", "0"); code != outcome.Unchecked || !strings.Contains(stderr, "nothing in it is touched") {
		t.Errorf("a second time: exit code %d: %s", code, stderr)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "readers", "trust.policy")); err != nil || string(after) != before {
		t.Errorf("%v: it was changed", err)
	}
	there, err := os.ReadDir(parent)
	fatalIf(t, err)
	if len(there) != 1 {
		t.Errorf("something is left beside it: %v", there)
	}
}

func TestInitRefusesWhatCannotBe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatalIf(t, err)
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	dir := filepath.Join(t.TempDir(), "parent", "log")
	fatalIf(t, os.MkdirAll(filepath.Join(filepath.Dir(dir), "something"), 0o755))
	for _, c := range []struct {
		code outcome.Code
		want string
		args []string
	}{
		{outcome.Usage, "takes one argument, DIR", nil},
		{outcome.Usage, "--witnesses is 1 to 9", []string{dir, "--witnesses", "0"}},
		{outcome.Usage, "--witnesses is 1 to 9", []string{dir, "--witnesses", "10"}},
		{outcome.Usage, "--port is 0 to 65532", []string{dir, "--port", "65533"}},
		{outcome.Usage, "speak https only", []string{dir, "--listen", "0.0.0.0"}},
		{outcome.Usage, "is an IP address of this machine", []string{dir, "--listen", "log.example.org"}},
		{outcome.Usage, "is no URL of a log", []string{dir, "--url", "log.example.org"}},
		{outcome.Usage, "choose one with --origin", []string{dir, "--origin", "a b"}},
		{outcome.Usage, "choose one with --name", []string{dir, "--name", "\u00c4"}},
		{outcome.Usage, "--blocks is 1 to", []string{dir, "--blocks", "0"}},
		{outcome.Unchecked, "nothing in it is touched", []string{filepath.Dir(dir), "--port", fmt.Sprint(taken)}},
		{outcome.Unchecked, "one cannot be had", []string{dir, "--port", fmt.Sprint(taken - 1)}},
		{outcome.Unchecked, "choose other ports with --port", []string{dir, "--port", fmt.Sprint(taken)}},
	} {
		_, stderr, code := cratelog(t, append([]string{"init"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit code %d, wanted %d and %q:\n%s", c.args, code, c.code, c.want, stderr)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v: something was made", err)
	}
}

func TestInitThatIsInterruptedLeavesNothing(t *testing.T) {
	parent := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	args := []string{"init", filepath.Join(parent, "log"), "--port", "0", "--blocks", "1"}
	if err := run(ctx, args, &bytes.Buffer{}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "interrupted: nothing is left") {
		t.Errorf("%v", err)
	}
	if there, err := os.ReadDir(parent); err != nil || len(there) > 0 {
		t.Errorf("%v %v", err, there)
	}
}

func TestTheOriginIsWhereTheLogWillBe(t *testing.T) {
	for url, want := range map[string]string{
		"":                               "acme/2031",
		"https://log.example.org":        "log.example.org/2031",
		"https://example.org:444/crates": "example.org/crates/2031",
	} {
		p := &plan{dir: "x/acme", url: url, witnesses: 2, host: "127.0.0.1", blocks: 1}
		fatalIf(t, p.check(time.Date(2031, 5, 6, 0, 0, 0, 0, time.UTC)))
		if p.origin != want || p.name != want {
			t.Errorf("%q: origin %q, name %q", url, p.origin, p.name)
		}
	}
}

func TestRunNeedsSomethingToRun(t *testing.T) {
	dir := t.TempDir()
	if _, stderr, code := cratelog(t, "run", dir); code != outcome.Unchecked || !strings.Contains(stderr, "cratelog init "+dir) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestRunIsNotRunTwice(t *testing.T) {
	dir := t.TempDir()
	fatalIf(t, os.Mkdir(filepath.Join(dir, "log"), 0o755))
	fatalIf(t, os.WriteFile(filepath.Join(dir, "log", logSettings), nil, 0o644))
	lock, err := alone(dir)
	fatalIf(t, err)
	_, stderr, code := cratelog(t, "run", dir)
	if code != outcome.Unchecked || !strings.Contains(stderr, "another cratelog runs "+dir) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	fatalIf(t, lock.Close())
	lock, err = alone(dir)
	fatalIf(t, err)
	fatalIf(t, lock.Close())
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMaintainersSignATrustFileOneAfterTheOther, also those who were maintainers before.
func TestMaintainersSignATrustFileOneAfterTheOther(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		fatalIf(t, os.WriteFile(path(name), []byte(text), 0o600))
	}
	wants := func(code outcome.Code, want string, args ...string) string {
		t.Helper()
		out, errs, got := cratelog(t, append([]string{"trust"}, args...)...)
		if got != code || !strings.Contains(out+errs, want) {
			t.Fatalf("%q: exit %d, want %d and %q\n%s%s", args, got, code, want, out, errs)
		}
		return strings.TrimSpace(out)
	}
	write("pass", "correct horse\n")
	alice := wants(0, "alice.example+", "keygen", "-name", "alice.example", "-out", path("alice.pem"))
	bob := wants(0, "bob.example+", "keygen", "-name", "bob.example", "-out", path("bob.pem"), "-passphrase-file", path("pass"))
	file := func(sequence int, maintainers ...string) string {
		text := fmt.Sprintf("# cratelog trust/v1 readers\n# sequence %d\n# threshold %d\n", sequence, len(maintainers))
		for _, m := range maintainers {
			text += "# maintainer " + m + "\n"
		}
		return text + "log " + testlog.LogKey("log.example").VKey + "\nquorum none\n"
	}
	write("one", file(1, alice))
	wants(0, "number 1: signed by 1 of the 1 that it asks for (alice.example)", "sign", path("one"), "-key", path("alice.pem"))
	write("two", file(2, bob))
	wants(outcome.Refused, "of no maintainer of "+path("two"), "sign", path("two"), "-key", path("alice.pem"))
	wants(outcome.Unchecked, "is encrypted", "sign", path("two"), "-key", path("bob.pem"))
	wants(3, "-passphrase-file", "sign", path("two"), "-key", path("bob.pem"))
	wants(0, "readers of number 1 do not take it yet", "sign", path("two"), "-key", path("bob.pem"), "-passphrase-file", path("pass"),
		"-before", path("one"))
	wants(0, "readers of number 1 take it", "sign", path("two"), "-key", path("alice.pem"), "-before", path("one"))
	one, err1 := client.ParseTrust(testlog.Must(os.ReadFile(path("one"))))
	two, err2 := client.ParseTrust(testlog.Must(os.ReadFile(path("two"))))
	fatalIf(t, errors.Join(err1, err2, one.CheckUpdate(two)))

	write("plain", "log "+testlog.LogKey("log.example").VKey+"\nquorum none\n")
	wants(outcome.Refused, "does not begin with", "sign", path("plain"), "-key", path("alice.pem"))
	wants(outcome.Usage, "needs -key", "sign", path("two"))
	wants(outcome.Usage, "keygen and sign", "sing")
}
