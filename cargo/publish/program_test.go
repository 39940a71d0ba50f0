package publish

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/credential"
	"cratelog/entry"
	"cratelog/internal/loopback"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
	"cratelog/prover"
)

// solo returns a program of one operator, in a size that proves in seconds, and the directory of
// proving keys that a log serves.
func solo(t *testing.T) (proofcheck.Program, string) {
	t.Helper()
	cache, served := t.TempDir(), t.TempDir()
	k, err := prover.MakeDevelopmentKeys(t.Context(), cache, 4, nil)
	fatalIf(t, err)
	found, err := filepath.Glob(filepath.Join(cache, "*.pk"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q %v", found, err)
	}
	p := k.Program
	p.Origin = "solo: publish.example"
	fatalIf(t, os.Rename(found[0], filepath.Join(served, fmt.Sprintf("%x", p.ProvingKey))))
	return p, served
}

// TestPublishProvesWithTheLogsProgram, where none is named: the log serves a key that it set up by
// itself, and is no development log.
func TestPublishProvesWithTheLogsProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a key, and proves")
	}
	p, served := solo(t)
	s := newSiteWith(t, loopback.Config{Programs: []proofcheck.Program{p}, KeysDir: served})
	s.release("0.1.0")
	keys := &prover.Keyring{Cache: t.TempDir()}
	strict := func(c *Config) { c.Prover, c.Policy.Development = keys, false }
	said := s.mustRun(strict)
	says(t, said, "Proved hello-publish v0.1.0", "Logged hello-publish v0.1.0 as entry 0", "uploaded what is logged")
	if n := len(s.reg.Published()); n != 1 {
		t.Errorf("%d were uploaded", n)
	}
	raw, err := os.ReadFile(s.kept("0.1.0", credential.ExtEntry))
	fatalIf(t, err)
	e, err := entry.Parse(raw)
	fatalIf(t, err)
	if e.Proof.Program != p.ID() {
		t.Errorf("it is proved with %x", e.Proof.Program)
	}
	keys = &prover.Keyring{Cache: keys.Cache}
	says(t, s.mustRun(strict), "Fresh hello-publish v0.1.0 is logged", "published already, with these bytes")

	// The publisher's word is none of a reader's: who has the bundle must accept the program.
	bundle, err := os.ReadFile(s.kept("0.1.0", credential.ExtBundle))
	fatalIf(t, err)
	crate, err := os.ReadFile(s.kept("0.1.0", credential.ExtCrate))
	fatalIf(t, err)
	_, err = s.reader().Verify(t.Context(), bundle, crate, nil, s.pkgOf("hello-publish", "0.1.0"), nil)
	if outcome.Of(err) != outcome.Refused || !errors.Is(err, entry.ErrUnknownProgram) {
		t.Errorf("a reader who does not accept the program: %v", err)
	}
}

// TestALogWithoutAProgramToUseIsRefusedBeforeAnythingIsDone: a publisher who accepts no
// development keys does not log what only those accept who do.
func TestALogWithoutAProgramToUseIsRefusedBeforeAnythingIsDone(t *testing.T) {
	s := newSite(t)
	s.release("0.1.0")
	keys := &prover.Keyring{Cache: t.TempDir()}
	_, err := s.run(func(c *Config) { c.Prover, c.Policy.Development = keys, false })
	if !errors.Is(err, prover.ErrNoOffer) || strings.Contains(s.out.String(), "Compared") || s.logged() != 0 {
		t.Errorf("log of %d: %v", s.logged(), err)
	}
	// With development keys it proves with those that ship.
	if p, err := keys.UseLog(t.Context(), s.client(), true); err != nil || p != nil || !keys.Development() {
		t.Errorf("%v, %v", p, err)
	}
	// A program that was named is used, whatever the log has.
	named := &prover.Keyring{ProgramFile: "p", KeyFile: "k"}
	if p, err := named.UseLog(t.Context(), s.client(), false); err != nil || p != nil || named.Log != nil {
		t.Errorf("%v, %v", p, err)
	}
}
