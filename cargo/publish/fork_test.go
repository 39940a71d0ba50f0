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
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
)

// TestALogThatForkedIsNotPublishedWith: a publisher who saw one tree of the log is shown
// another, with all cosignatures, in a kept bundle and by the log.
func TestALogThatForkedIsNotPublishedWith(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.release("0.1.0")
	s.mustRun(logOnly)
	first := s.kept("0.1.0", credential.ExtBundle)
	s.release("0.1.1")
	s.mustRun(logOnly)
	second, err := os.ReadFile(s.kept("0.1.1", credential.ExtBundle))
	fatalIf(t, err)
	one, err := os.ReadFile(first)
	fatalIf(t, err)
	fork := s.fork(second, one)
	evidence := func() []string {
		found, err := filepath.Glob(filepath.Join(os.Getenv("XDG_STATE_HOME"), "cratelog", "*", "*.evidence"))
		fatalIf(t, err)
		return found
	}
	forked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(fork) }))
	defer forked.Close()
	fatalIf(t, os.Remove(s.kept("0.1.1", credential.ExtBundle)))
	s.refused(func(c *Config) { c.LogOnly, c.Log = true, forked.URL }, "signed two trees", "both of 4 entries")
	if len(evidence()) != 1 {
		t.Fatalf("evidence: %q", evidence())
	}
	s.refused(logOnly, "signed two trees", "it did so before")
	fatalIf(t, os.Remove(evidence()[0]))
	// A kept bundle is no better, though the log itself behaves.
	s.write(s.kept("0.1.1", credential.ExtBundle), string(fork))
	s.refused(logOnly, "signed two trees", "it did so before")
	if len(evidence()) != 1 || len(s.reg.Published()) != 0 {
		t.Errorf("evidence: %q", evidence())
	}
	// Nor does the credential provider let pass what it finds.
	s.write(s.kept("0.1.1", credential.ExtBundle), string(second))
	said, err := s.plain("credential-provider = [" + s.options() + "]\n")
	if err == nil || strings.Count(said, "signed two trees") != 2 || len(s.reg.Published()) != 0 {
		t.Errorf("%v", err)
	}
}

// TestWhatCannotBeComparedIsNotRefused: a log that does not answer leaves the check undone,
// and costs the publisher no bundle.
func TestWhatCannotBeComparedIsNotRefused(t *testing.T) {
	s := newSite(t)
	for _, version := range []string{"0.1.0", "0.1.1"} {
		s.release(version)
		s.mustRun(logOnly)
	}
	s.git(s.dir, "checkout", "-q", "HEAD~1")
	kept := s.kept("0.1.0", credential.ExtBundle)
	notes, err := filepath.Glob(filepath.Join(os.Getenv("XDG_STATE_HOME"), "cratelog", "*", "consistent"))
	if err != nil || len(notes) != 1 {
		t.Fatalf("notes of what was compared: %q, %v", notes, err)
	}
	fatalIf(t, os.Remove(notes[0]))
	down := httptest.NewServer(http.HandlerFunc(http.NotFound))
	defer down.Close()
	_, err = s.run(func(c *Config) { c.LogOnly, c.Log = true, down.URL })
	if outcome.Of(err) != outcome.Unchecked {
		t.Errorf("refused: %v", err)
	}
	says(t, fmt.Sprint(err), "could not be checked", "nothing was logged")
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	s.mustRun(logOnly)
}

// fork returns the first bundle under a tree of the entries of all bundles, in this order, each sealed,
// signed by the log and all witnesses.
func (s *site) fork(bundles ...[]byte) []byte {
	s.t.Helper()
	tree := testlog.NewTree()
	for _, b := range bundles {
		p, err := client.ParseBundle(b)
		fatalIf(s.t, err)
		tree.Append(p.Entry)
		tree.Seal()
	}
	signers := []note.Signer{s.world.Signer}
	for i, w := range s.world.Witnesses {
		key, err := keys.ReadKey(filepath.Join(filepath.Dir(s.world.File), fmt.Sprintf("w%d.pem", i+1)))
		fatalIf(s.t, err)
		signer, _, err := keys.NewCosignatureSigner(key, w.Name)
		fatalIf(s.t, err)
		signers = append(signers, signer)
	}
	n := tree.Size()
	return tree.Bundle(0, n, testlog.Sign(tree.Head("publish.example/log", n), signers...))
}
