package web

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/client"
	"cratelog/evidence"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

func TestEveryBundleVerifiesForAReader(t *testing.T) {
	t.Parallel()
	w := healthy(t, proofcheck.OriginDevelopment)
	s := w.server()
	policy, rules := w.cfg.Policies[testOrigin], client.DefaultRules()
	for i := range 95 {
		a := s.must(fmt.Sprintf("/e/%d.tlog-proof", i))
		res := testlog.Must(client.VerifyBundle([]byte(a.body), policy, w.cfg.Proofs, rules))
		if res.Index != uint64(i) || res.Checkpoint.Size != 95 {
			t.Errorf("the bundle of entry %d is of entry %d under %d", i, res.Index, res.Checkpoint.Size)
		}
	}
	raw := fixture.Crate(t, "hello-proof", "0.1.1")
	a := s.must("/e/2.tlog-proof")
	if _, err := client.Verify(raw, []byte(a.body), policy, w.cfg.Proofs, rules); err != nil {
		t.Errorf("a .crate is refused with its bundle: %v", err)
	}
	if got := a.header.Get("Content-Disposition"); got != `attachment; filename="hello-proof-0.1.1.tlog-proof"` {
		t.Error(got)
	}
	want := fixture.Read(t, "hello-proof-0.1.1.entry")
	if !bytes.Equal([]byte(s.must("/e/2.entry").body), want) {
		t.Error("the raw entry is another one")
	}
}

func TestNoBundleOfWhatDoesNotVerify(t *testing.T) {
	w := troubled(t)
	s := w.server()
	for index, want := range map[int]struct {
		code int
		text string
	}{
		95: {http.StatusConflict, "it cannot be read"},
		97: {http.StatusConflict, "too few witnesses"}, // only under a checkpoint without the quorum
		99: {http.StatusNotFound, "no checkpoint that covers this entry yet"},
	} {
		s.wants(s.get(fmt.Sprintf("/e/%d.tlog-proof", index)), want.code, want.text)
	}
	// Of a proof that the monitor's programs do not accept.
	strict := testlog.Must(proofcheck.New(nil))
	w.cfg.Proofs = strict
	s.wants(w.server().get("/e/0.tlog-proof"), http.StatusConflict, "program not accepted")
}

// A monitor whose own memory is damaged must not hand out what follows from it.
func TestADamagedStoreHandsOutNothing(t *testing.T) {
	for name, damage := range map[string]string{
		"a leaf hash in a tile": "UPDATE tiles SET data = zeroblob(length(data)) WHERE level = 0",
		"an entry's bytes":      "UPDATE entries SET data = (SELECT data FROM entries WHERE idx = 5) WHERE idx = 4",
		"a root":                "UPDATE checkpoints SET root = zeroblob(32)",
		"a signed note":         "UPDATE checkpoints SET signed = replace(signed, 'a', 'b')",
		"a note of another":     "UPDATE checkpoints SET signed = (SELECT signed FROM checkpoints WHERE id = 3)",
	} {
		w := healthy(t, proofcheck.OriginDevelopment)
		w.damage(damage)
		if a := w.server().get("/e/4.tlog-proof"); a.code == http.StatusOK {
			t.Errorf("after damage to %s, a bundle is handed out", name)
		}
	}
}

func TestEvidenceThatIsNotWhatItsNameSaysIsKeptBack(t *testing.T) {
	w := troubled(t)
	s := w.server()
	list := read[findingList](s, "/v1/findings?kind=fork-same-size")
	file := list.Findings[0].File
	a := s.must(file)
	if a.header.Get("Cache-Control") != "public, max-age=31536000, immutable" || !strings.HasPrefix(a.body, "cratelog/evidence/v2\n") {
		t.Errorf("%v", a)
	}
	d := read[evidenceDetail](s, list.Findings[0].Evidence+".json")
	if d.Text != a.body || d.Bytes != len(a.body) || len(d.Findings) != 1 {
		t.Errorf("%+v", d)
	}
	fatalIf(t, os.WriteFile(filepath.Join(w.evidence, filepath.Base(file)), []byte(a.body+"x"), 0o644))
	s.wants(s.get(file), http.StatusInternalServerError, "") // not the changed file
}

func TestEveryEvidenceFileThatThereCanBeIsServed(t *testing.T) {
	if maxEvidence != evidence.MaxSize {
		t.Errorf("files of at most %d bytes are served, and %d can be written", maxEvidence, evidence.MaxSize)
	}
}
