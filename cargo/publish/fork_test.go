package publish

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"cratelog/cargo/credential"
	"cratelog/client"
	keys "cratelog/config"
	"cratelog/internal/testlog"
)

// TestALogThatForkedIsNotPublishedWith: a publisher who saw one tree of the log is shown
// another, with all cosignatures, in a kept bundle and by the log.
func TestALogThatForkedIsNotPublishedWith(t *testing.T) {
	s := newSite(t)
	logOnly := func(c *Config) { c.LogOnly = true }
	s.pkg("", "hello-publish", "0.1.0", "")
	s.push()
	s.mustRun(logOnly)
	first := s.kept("0.1.0")
	s.pkg("", "hello-publish", "0.1.1", "")
	s.push()
	s.mustRun(logOnly)
	second, err := os.ReadFile(s.kept("0.1.1"))
	if err != nil {
		t.Fatal(err)
	}
	one, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	fork := s.fork(second, one)
	evidence := func() []string {
		found, err := filepath.Glob(filepath.Join(os.Getenv("XDG_STATE_HOME"), "cratelog", "*", "*.evidence"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	forked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(fork) }))
	defer forked.Close()
	if err := os.Remove(s.kept("0.1.1")); err != nil {
		t.Fatal(err)
	}
	s.refused(func(c *Config) { c.LogOnly, c.Log = true, forked.URL }, "signed two trees", "both of 2 entries")
	if len(evidence()) != 1 {
		t.Fatalf("evidence: %q", evidence())
	}
	s.refused(logOnly, "signed two trees", "it did so before")
	if err := os.Remove(evidence()[0]); err != nil {
		t.Fatal(err)
	}
	// A kept bundle is no better, though the log itself behaves.
	s.write(s.kept("0.1.1"), string(fork))
	s.refused(logOnly, "signed two trees", "it did so before")
	if len(evidence()) != 1 || len(s.reg.Published()) != 0 {
		t.Errorf("evidence: %q", evidence())
	}
	// Nor does the credential provider let pass what it finds.
	s.write(s.kept("0.1.1"), string(second))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	said, err := s.plain(fmt.Sprintf("credential-provider = [%q, \"--trust\", %q, \"--development\"]\n", self,
		s.world.File))
	if err == nil || strings.Count(said, "signed two trees") != 2 || len(s.reg.Published()) != 0 {
		t.Errorf("%v", err)
	}
}

// kept is where the bundle of a version of hello-publish is kept.
func (s *site) kept(version string) string {
	return credential.Dir(filepath.Join(s.dir, "target", "zkp")).File("hello-publish", version, credential.ExtBundle)
}

// fork returns the first bundle under a tree of the entries of all bundles, in this order,
// signed by the log and all witnesses.
func (s *site) fork(bundles ...[]byte) []byte {
	s.t.Helper()
	fatal := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	tree := testlog.NewTree()
	for _, b := range bundles {
		p, err := client.ParseProof(b)
		fatal(err)
		tree.Append(p.Extra)
	}
	signers := []note.Signer{s.world.Signer}
	for i, w := range s.world.Witnesses {
		signer, _, err := keys.CosignatureSigner(filepath.Join(filepath.Dir(s.world.File), fmt.Sprintf("w%d.pem",
			i+1)), w.Name)
		fatal(err)
		signers = append(signers, signer)
	}
	n := tree.Size()
	return tree.Bundle(0, n, testlog.Sign(tree.Head("publish.example/log", n), signers...))
}
