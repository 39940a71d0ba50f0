package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/client"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// TestALogSignsWithKeysOfEveryKind: an encrypted file, an ML-DSA-44 key and one in an ssh-agent sign each
// checkpoint, readers of each believe it, and a log whose key cannot be had does not start.
func TestALogSignsWithKeysOfEveryKind(t *testing.T) {
	fixture.Need(t, "ssh-agent", "ssh-add", "ssh-keygen")
	s := newSite(t, "development = true\n")
	path := func(name string) string { return filepath.Join(s.dir, name) }
	fatalIf(t, os.WriteFile(path("pass"), []byte("a pass phrase\n"), 0o600))
	text := string(testlog.Must(os.ReadFile(path("logd.toml"))))
	use := func(keys, more string) {
		s.write("logd.toml", []byte(strings.Replace(text, `keys = ["key.pem"]`, "keys = ["+keys+"]\n"+more, 1)))
	}
	keygen := func(args ...string) string {
		t.Helper()
		out, err := logd(append([]string{"keygen", "-origin", origin}, args...)...)
		fatalIf(t, err)
		return strings.TrimSpace(out)
	}
	locked := keygen("-out", path("locked.pem"), "-passphrase-file", path("pass"))
	pq := keygen("-out", path("pq.pem"), "-type", "ml-dsa-44")

	dir := testlog.Must(os.MkdirTemp("", "a")) // a socket's name is short
	t.Cleanup(func() { os.RemoveAll(dir) })
	sock := filepath.Join(dir, "s")
	agent := exec.Command("ssh-agent", "-D", "-a", sock)
	fatalIf(t, agent.Start())
	t.Cleanup(func() {
		agent.Process.Kill()
		agent.Wait()
	})
	ssh := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+sock)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return string(out)
	}
	for range 600 {
		if _, err := os.Stat(sock); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	ssh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path("ssh"))
	ssh("ssh-add", "-q", path("ssh"))
	inAgent := `"ssh-agent:` + strings.Fields(ssh("ssh-keygen", "-lf", path("ssh.pub")))[1] + `"`

	all := `"key.pem", "locked.pem", "pq.pem", ` + inAgent
	secrets := "key_passphrase_file = \"pass\"\nssh_agent = \"" + sock + "\"\n"
	use(all, secrets)
	out, err := logd("vkey", "-config", path("logd.toml"))
	vkeys := strings.Fields(out)
	if err != nil || len(vkeys) != 4 || vkeys[0] != s.vkey || vkeys[1] != locked || vkeys[2] != pq {
		t.Fatalf("%v: %q", err, out)
	}
	p := s.start("logd", "serve")
	var about struct {
		VKey string   `json:"vkey"`
		More []string `json:"more_vkeys"`
	}
	p.get("/v1/log", &about)
	if about.VKey != s.vkey || strings.Join(about.More, " ") != strings.Join(vkeys[1:], " ") {
		t.Errorf("/v1/log: %+v", about)
	}
	var raw []byte
	for range 6000 {
		raw, err = (&client.Log{URL: p.url}).Checkpoint(t.Context())
		if err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	fatalIf(t, err)
	rest := strings.SplitAfterN(string(testlog.Must(os.ReadFile(path("trust.policy")))), "\n", 2)[1]
	for _, vkey := range vkeys {
		if _, err := testlog.Must(client.ParsePolicy([]byte("log " + vkey + "\n" + rest))).CheckCheckpoint(raw); err != nil {
			t.Errorf("a reader of %.40s: %v", vkey, err)
		}
	}
	p.stop()

	for keys, want := range map[string]string{
		`"locked.pem"`:                     "locked.pem is encrypted (ENCRYPTED SIGSTORE PRIVATE KEY), and no passphrase is given: name a file that holds it with key_passphrase_file",
		`"absent.pem"`:                     "absent.pem",
		`"awskms:///alias/log"`:            "make no Ed25519 signatures through sigstore 1.10",
		`"pkcs11:token=a;object=b"`:        "key \\\"pkcs11:token=a;object=b\\\"",
		`"hashivault://log?version=1"`:     "vault_address",
		`"credential:log-key"`:             "LoadCredential=",
		`"ssh-agent:SHA256:x"`:             "ssh-agent",
		`"key.pem", "key.pem"`:             "is listed twice",
		`"key.pem", ""`:                    "secret file",
		`"key.pem", "ssh-agent:SHA256:AA"`: "ssh-agent",
	} {
		use(keys, "")
		cmd := exec.Command(os.Args[0], "logd", "serve", "-config", path("logd.toml"))
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK=")
		out, err := cmd.CombinedOutput()
		want = strings.ReplaceAll(want, `\"`, `"`)
		if err == nil || cmd.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s\nwant %s", keys, err, out, want)
		}
	}
}
