package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
)

// fsck runs the verb and wants its exit status and words on what it prints.
func (s *site) fsck(want outcome.Code, words string, args ...string) {
	s.t.Helper()
	var out bytes.Buffer
	err := fsck(s.t.Context(), append([]string{"-config", filepath.Join(s.dir, "logd.toml")}, args...), &out, io.Discard, testPrograms)
	said := fmt.Sprint(out.String(), err)
	if outcome.Of(err) != want || !strings.Contains(said, words) {
		s.t.Errorf("fsck %v: exit %d, want %d and %q: %s", args, outcome.Of(err), want, words, said)
	}
}

// TestFsckSaysWhatIsWrongByItsExit: 0 clean or repaired, 1 something is wrong, 2 usage, 3 it could not look.
func TestFsckSaysWhatIsWrongByItsExit(t *testing.T) {
	s := newSite(t, "checkpoint_interval = \"100ms\"\n")
	s.fsck(outcome.Unchecked, "tree")
	p := s.start("logd-testproofs")
	for _, name := range []string{"a", "b"} {
		testlog.Must(submit(t.Context(), p.url, newItem(name)))
	}
	s.fsck(outcome.OK, "all is in order: 4 entries")
	s.fsck(outcome.Unchecked, "in use by another log server", "-repair")
	p.stop()

	tile := filepath.Join(s.dir, "tree", "tile", "0", "000.p", "4")
	b := testlog.Must(os.ReadFile(tile))
	b[1] ^= 1
	fatalIf(t, os.WriteFile(tile, b, 0o644))
	s.fsck(outcome.Refused, "tile/0/000.p/4: is not what the entries below it say")
	s.fsck(outcome.OK, "tile/0/000.p/4: is not what the entries below it say (repaired)", "-repair")
	s.fsck(outcome.OK, "all is in order: 4 entries")

	out, err := logd("fsck")
	wantExit(t, err, out, 2, "\"logd help fsck\"")
}
