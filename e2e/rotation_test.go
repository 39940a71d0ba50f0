package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/forge"
)

// TestAReaderOfAnotherProgramGetsTheProofUnderIt: the operator withdraws a program, and the claim
// is proven again. Of one log, the reader of each program gets a bundle that they can believe.
func TestAReaderOfAnotherProgramGetsTheProofUnderIt(t *testing.T) {
	old, err := forge.Invent("old", "solo: old", 41)
	fatalIf(t, err)
	next, err := forge.Invent("next", "solo: next", 41)
	fatalIf(t, err)
	s := newSiteWith(t, func(s *site) string {
		for name, f := range map[string]*forge.Forger{"old.json": old, "next.json": next} {
			text, err := f.Program().Marshal()
			fatalIf(t, err)
			write(t, s.path(name), string(text))
		}
		return "programs = [\"old.json\"]\n"
	})
	raw, e, err := old.Crate("turned", "1.0.0", "// turned\n")
	fatalIf(t, err)
	file := filepath.Join(t.TempDir(), "turned-1.0.0.crate")
	write(t, file, string(raw))
	submit := func(f *forge.Forger) outcome {
		t.Helper()
		list, err := forge.List(raw, e)
		fatalIf(t, err)
		fatalIf(t, f.Prove(e, list))
		b, err := e.Marshal()
		fatalIf(t, err)
		write(t, entryOf(file), string(b))
		return zkp(t, "submit", file, "--log", s.log.url)
	}
	verify := func(where []string, programs ...string) outcome {
		args := append([]string{"verify", file, "--trust", s.policy}, where...)
		for _, p := range programs {
			args = append(args, "--program", s.path(p))
		}
		return zkp(t, args...)
	}
	fromLog := func() []string { return []string{"--log", s.log.url} }
	submit(old).want(t, 0, "entry 0 of the log")
	verify(nil, "old.json").want(t, 0, "solo: old -- whoever ran it could forge")
	verify(nil, "next.json").want(t, 1, "program not accepted")
	verify(fromLog(), "next.json").want(t, 1, "under a program that the policy accepts")

	id := old.Program().ID()
	settings := string(read(t, s.path("logd.toml")))
	write(t, s.path("logd.toml"), strings.Replace(settings, "programs = [\"old.json\"]\n",
		"programs = [\"old.json\", \"next.json\"]\nwithdrawn = [\""+hexOf(id[:])+"\"]\n", 1))
	s.log.stop()
	s.startLog()
	verify(fromLog(), "old.json").want(t, 0, "entry 0 of")
	verify(fromLog(), "next.json").want(t, 1, "under a program that the policy accepts")
	submit(next).want(t, 0, "entry 1 of the log")
	verify(nil, "next.json").want(t, 0, "entry 1 of", "solo: next -- whoever ran it could forge")
	verify(nil, "old.json").want(t, 1, "program not accepted")
	verify(fromLog(), "next.json").want(t, 0, "entry 1 of")
	verify(fromLog(), "old.json").want(t, 0, "entry 0 of")
	verify(fromLog(), "old.json", "next.json").want(t, 0, "Finished turned v1.0.0")

	t.Run("nothing more under the old one", func(t *testing.T) {
		raw, e, err := old.Crate("late", "1.0.0", "// late\n")
		fatalIf(t, err)
		late := filepath.Join(t.TempDir(), "late-1.0.0.crate")
		b, err := e.Marshal()
		fatalIf(t, err)
		write(t, late, string(raw))
		write(t, entryOf(late), string(b))
		zkp(t, "submit", late, "--log", s.log.url).want(t, 1, "program-withdrawn")
	})
}
