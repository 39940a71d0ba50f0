package publish

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cratelog/cargo/credential"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/loopback"
	"cratelog/internal/outcome"
	"cratelog/log"
)

func (s *site) opening(yes bool) func(*Config) {
	return func(c *Config) { c.LogOnly, c.Opening = true, &yes }
}

// served returns the opening that the log has of the entry that was made last; nil if none.
func (s *site) served(version string) []byte {
	s.t.Helper()
	raw, err := os.ReadFile(s.kept(version, credential.ExtEntry))
	fatalIf(s.t, err)
	e, err := entry.Parse(raw)
	fatalIf(s.t, err)
	id, err := e.Identity()
	fatalIf(s.t, err)
	b, err := s.client().Opening(s.t.Context(), id)
	if err != nil && !strings.Contains(err.Error(), "404") {
		s.t.Fatal(err)
	}
	return b
}

// opened checks that the log has the commit's opening, or none, and that the file beside the entry
// is the same.
func (s *site) opened(version string, want bool) {
	s.t.Helper()
	got := s.served(version)
	kept, err := os.ReadFile(s.kept(version, credential.ExtOpening))
	if want != (err == nil) || !bytes.Equal(got, kept) {
		s.t.Errorf("%s: the log has %d bytes, %d are kept, %v", version, len(got), len(kept), err)
	}
	commit := s.git(s.dir, "cat-file", "commit", "HEAD")
	if want && !strings.Contains(string(got), commit) {
		s.t.Errorf("%s: the opening does not hold the commit", version)
	}
}

// publicRemote has the work tree's remote be one at https://..., and returns what says whether
// anybody may fetch.
func (s *site) publicRemote() *atomic.Bool {
	s.t.Helper()
	may := new(atomic.Bool)
	origin := s.git(s.dir, "remote", "get-url", "origin")
	s.t.Setenv("XDG_CACHE_HOME", s.t.TempDir())
	url := fixture.ServeGit(s.t, filepath.Dir(origin), func(*http.Request) bool { return may.Load() })
	s.git(s.dir, "remote", "set-url", "origin", url+"/"+filepath.Base(origin))
	s.git(s.dir, "remote", "set-url", "--push", "origin", origin)
	return may
}

func TestThePrivateIsOpenedOnlyIfItIsAskedFor(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	const private = "Private hello-publish v0.1.0: neither its manifest nor its remote names a repository at https://"
	s.release("0.1.0") // the remote is a directory
	says(t, s.mustRun(logOnly), private)
	s.opened("0.1.0", false)

	s.release("0.1.1")
	says(t, s.mustRun(s.opening(true)), "warning: hello-publish v0.1.1: the opening shows, to everybody, the whole commit")
	s.opened("0.1.1", true)

	// A server that asks for a password, which cargo and git may know.
	may := s.publicRemote()
	s.release("0.1.2")
	says(t, s.mustRun(logOnly), "Private hello-publish v0.1.2: the source is taken for private: it cannot be fetched without credentials")
	s.opened("0.1.2", false)

	// A commit that the public server does not hand out.
	may.Store(true)
	s.pkg("", "hello-publish", "0.1.3", "")
	s.commit()
	says(t, s.mustRun(logOnly, func(c *Config) { c.Unpushed = true }), "Private hello-publish v0.1.3", "hands out no commit")
	s.opened("0.1.3", false)
}

func TestThePublicIsOpenedUnlessItIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.publicRemote().Store(true)
	s.release("0.1.0")
	s.mustRun(s.opening(false))
	s.opened("0.1.0", false)

	s.release("0.1.1")
	says(t, s.mustRun(func(c *Config) { c.LogOnly, c.Cargo.Flags = true, []string{"--offline"} }), "Logged")
	s.opened("0.1.1", false) // nobody was asked

	// A dry run keeps the opening, and the run that goes on hands it over.
	s.release("0.1.2")
	s.mustRun(dryRun)
	said := s.mustRun(logOnly)
	says(t, said, "Public hello-publish v0.1.2: anybody can fetch commit "+s.git(s.dir, "rev-parse", "HEAD"), "Fresh hello-publish v0.1.2 is proved")
	if strings.Contains(said, "the opening shows") {
		t.Error("it warns of what is public")
	}
	s.opened("0.1.2", true)

	// What an earlier run kept is not left where "cargo zkp submit" would take it.
	s.release("0.1.3")
	s.mustRun(dryRun)
	s.mustRun(s.opening(false))
	s.opened("0.1.3", false)
}

func TestALogThatKeepsNoOpeningsGetsTheEntry(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package")
	}
	s := newSiteWith(t, loopback.Config{Openings: log.OpeningsOff})
	s.release("0.1.0")
	says(t, s.mustRun(s.opening(true)), "warning: hello-publish v0.1.0: the log does not keep the opening", "keeps no openings", "Logged")
	if s.logged() != 1 || s.served("0.1.0") != nil {
		t.Error("the log is not as it should be")
	}
	// Without a way to go on without the opening, all is refused, and nothing logged.
	s.release("0.1.1")
	s.mustRun(dryRun, s.opening(true), func(c *Config) { c.LogOnly = false })
	read := func(ext string) []byte {
		b, err := os.ReadFile(s.kept("0.1.1", ext))
		fatalIf(t, err)
		return b
	}
	sub := Submission{Entry: read(credential.ExtEntry), Crate: read(credential.ExtCrate), Opening: read(credential.ExtOpening)}
	_, err := Submit(t.Context(), s.client(), sub)
	if outcome.Of(err) != outcome.Refused || !strings.Contains(fmt.Sprint(err), "keeps no openings") || s.logged() != 1 {
		t.Errorf("log of %d: %v", s.logged(), err)
	}
}
