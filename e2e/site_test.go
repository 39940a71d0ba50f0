package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/client"
	"cratelog/internal/fixture"
	"cratelog/proofcheck"
)

const origin = "log.e2e.example/2026"

// site is one operator's directory: a log, three witnesses, and the policy that
// readers use too.
type site struct {
	t         *testing.T
	dir       string
	logKey    string // vkey of the log
	policy    string // file
	witnesses [3]*process
	log       *process
}

// newSite sets everything up with the programs' own commands, as the README and
// the settings' examples say, and starts it. With -short, tests with sites run beside
// each other; proofs are made one at a time, for each takes all processors.
func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteWith(t, func(*site) string { return "development = true\n" })
}

// newSiteWith is newSite for a log that accepts other programs: prepare writes their files into
// the site's directory, and returns the settings that name them.
func newSiteWith(t *testing.T, prepare func(s *site) (settings string)) *site {
	t.Helper()
	if testing.Short() {
		t.Parallel()
	}
	s := &site{t: t, dir: t.TempDir()}
	s.policy = s.path("trust.policy")
	s.logKey = s.run("logd", "keygen", "-origin", origin, "-out", s.path("log.pem"))
	policy := "log " + s.logKey + "\n"
	for i := range s.witnesses {
		vkey := s.run("witness", "keygen", "-name", witnessName(i), "-out", s.path(fmt.Sprintf("w%d.pem", i)))
		s.witnessSettings(i, "127.0.0.1:0")
		s.run("witness", "init", "-config", s.witnessFile(i))
		s.startWitness(i)
		policy += fmt.Sprintf("witness w%d %s %s\n", i, vkey, s.witnesses[i].url)
	}
	write(t, s.policy, policy+"group two-of-three 2 w0 w1 w2\nquorum two-of-three\n")
	write(t, s.path("logd.toml"), fmt.Sprintf(`
origin = %q
listen = "127.0.0.1:0"
keys = ["log.pem"]
tree = "tree"
state = "state"
trust = "trust.policy"
checkpoint_interval = "100ms"
republish_interval = "300ms"
batch_age = "10ms"
witness_timeout = "2s"
publish_wait = "3s"
%s`, origin, prepare(s)))
	s.startLog()
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// run runs a program that must succeed and returns what it printed.
func (s *site) run(name string, args ...string) string {
	s.t.Helper()
	o := command(s.t, "", nil, program(s.t, name), args...)
	if o.code != 0 {
		s.t.Fatalf("%s %s: %v", name, strings.Join(args, " "), o)
	}
	return strings.TrimSpace(o.stdout)
}

func witnessName(i int) string           { return fmt.Sprintf("w%d.e2e.example", i) }
func (s *site) witnessFile(i int) string { return s.path(fmt.Sprintf("w%d.toml", i)) }

func (s *site) witnessSettings(i int, listen string) {
	s.t.Helper()
	write(s.t, s.witnessFile(i),
		fmt.Sprintf("name = %q\nlisten = %q\ndatabase = \"w%d.db\"\nkeys = [\"w%d.pem\"]\n[[log]]\norigin = %q\nvkey = %q\n",
			witnessName(i), listen, i, i, origin, s.logKey))
}

func (s *site) startWitness(i int) {
	s.t.Helper()
	s.witnesses[i] = start(s.t, "witness", "serve", "-config", s.witnessFile(i))
}

// restartWitness starts a witness that was killed, at its old address: the log
// knows it by that.
func (s *site) restartWitness(i int) {
	s.t.Helper()
	u, err := url.Parse(s.witnesses[i].url)
	fatalIf(s.t, err)
	s.witnessSettings(i, u.Host)
	s.startWitness(i)
}

func (s *site) startLog() {
	s.t.Helper()
	s.log = start(s.t, "logd", "serve", "-config", s.path("logd.toml"))
}

// stopAll ends the log first, then the witnesses.
func (s *site) stopAll() {
	s.t.Helper()
	s.log.stop()
	for _, w := range s.witnesses {
		w.stop()
	}
}

// reader is what a reader of the log has.
type reader struct {
	policy *client.Policy
	proofs *proofcheck.Verifier
}

func (s *site) reader() reader {
	s.t.Helper()
	policy, err := client.ParsePolicy(read(s.t, s.policy))
	fatalIf(s.t, err)
	proofs, err := proofcheck.Load(nil, true)
	fatalIf(s.t, err)
	return reader{policy, proofs}
}

func (r reader) verify(crate, bundle []byte) (*client.Result, error) {
	return client.Verify(crate, bundle, r.policy, r.proofs, client.DefaultRules())
}

// fixtures are the crates of testdata that have entries.
var fixtures = []string{"hello-proof-0.1.0", "hello-proof-0.1.1", "hello-inner-0.1.0"}

// copyFixture copies NAME.crate and NAME.entry to a directory and returns the
// path of the .crate.
func copyFixture(t testing.TB, name, dir string) string {
	t.Helper()
	for _, ext := range []string{".crate", ".entry"} {
		fatalIf(t, os.WriteFile(filepath.Join(dir, name+ext), fixture.Read(t, name+ext), 0o644))
	}
	return filepath.Join(dir, name+".crate")
}
