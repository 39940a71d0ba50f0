package web

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
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
		if res.Index != uint64(i) || res.Checkpoint.Size != 96 {
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
		95:  {http.StatusConflict, "is none about a crate"},
		96:  {http.StatusConflict, "it cannot be read"},
		98:  {http.StatusConflict, "it is void, because in this log the version has the checksum"},
		99:  {http.StatusConflict, "too few witnesses"}, // only under a checkpoint without the quorum
		101: {http.StatusNotFound, "no checkpoint that covers this entry yet"},
	} {
		s.wants(s.get(fmt.Sprintf("/e/%d.tlog-proof", index)), want.code, want.text)
	}
	// Of a proof that the monitor's programs do not accept.
	strict := testlog.Must(proofcheck.New(nil))
	w.cfg.Proofs = strict
	s.wants(w.server().get("/e/0.tlog-proof"), http.StatusConflict, "program not accepted")
}

// TestALookupShowsWhatALogHolds, and what it does not.
func TestALookupShowsWhatALogHolds(t *testing.T) {
	w := healthy(t, proofcheck.OriginDevelopment)
	s := w.server()
	for path, logged := range map[string]bool{"ember/2.4.0": true, "EMBER/2.4.0+x": true, "ember/2.4.1": false,
		"ember/2.4.0?registry=https://index.example/x": false} {
		name, version, _ := strings.Cut(path, "/")
		version, registry, other := strings.Cut(version, "?registry=")
		if !other {
			registry = entry.DefaultRegistry
		}
		l := testlog.Must(client.ParseLookup([]byte(s.must("/v1/lookup/" + path).body)))
		held, err := l.Check(w.cfg.Policies[testOrigin], client.DefaultRules(), registry, name, version)
		if err != nil || held.Logged != logged || logged && held.First != 93 || held.Checkpoint.Size != 96 {
			t.Errorf("%s: %+v, %v", path, held, err)
		}
	}
	s.wants(s.get("/v1/lookup/a.b/1.0.0"), http.StatusBadRequest, "not a crate")
	s.wants(newWorld(t, proofcheck.OriginDevelopment).server().get("/v1/lookup/a/1.0.0"), http.StatusNotFound, "no checkpoint")
	fatalIf(t, w.store.SetSealed(t.Context(), w.logs[0].ID, 96, [32]byte{}, 95))
	w.cfg.Sealed = func(string) []store.Sealed { return nil }
	s = w.server()
	s.wants(s.get("/v1/lookup/ember/2.4.0"), http.StatusConflict, "seals are not of the index")
}

// TestBundlesAreOfOwnMapsThatSealsAgreeWith, and else there is none, with words.
func TestBundlesAreOfOwnMapsThatSealsAgreeWith(t *testing.T) {
	w := newWorld(t, proofcheck.OriginDevelopment)
	log := w.logs[0]
	w.append(log, made(t, "one", "1.0.0"))
	w.head(log, 3) // unsealed
	w.verify(log)
	s := w.server()
	says := func(state, bundle string) {
		t.Helper()
		v := read[logList](s, "/v1/logs").Logs[0].Seals
		if !strings.Contains(v.Statement, state) {
			t.Errorf("%+v, want %q", v, state)
		}
		if a := s.get("/e/0.tlog-proof"); bundle == "" {
			if a.code != http.StatusOK {
				t.Errorf("%d %s", a.code, a.body)
			}
		} else {
			s.wants(a, http.StatusConflict, bundle)
		}
		_, text := parseHTML(t, "/", s.must("/").body)
		if !strings.Contains(text, v.Statement) {
			t.Errorf("the page does not say %q", v.Statement)
		}
	}
	says("It has no seal yet.", "ends in a seal that this monitor agrees with")
	w.seal(log)
	w.head(log, 3)
	p := testlog.Must(w.store.Position(t.Context(), log.ID))
	root := testlog.Must(w.store.Root(t.Context(), log.ID, p.Downloaded))
	fatalIf(t, w.store.SetVerified(t.Context(), log.ID, p.Downloaded, root, nil))
	says("compared up to entry 1", "not compared with this monitor's own map yet")
	w.verify(log)
	says("The last of its 1 seal is of the index", "")
	w.append(log, made(t, "two", "1.0.0"))
	w.head(log, 3) // the larger one is unsealed; the other one still does
	w.verify(log)
	says("The last of its 1 seal is of the index", "")
	wrong := testlog.Must((&entry.Seal{Rules: entry.Rules, Size: 3, Root: [32]byte{1}}).Marshal())
	w.append(log, store.Entry{LeafHash: tlog.RecordHash(wrong), Kind: store.KindSeal, Verdict: store.OK, Data: wrong})
	w.head(log, 3)
	w.verify(log)
	fatalIf(t, w.store.SetSealed(t.Context(), log.ID, 4, [32]byte{}, 3))
	says("Since entry 3 no seal is of the index", "seals are not of the index")
	// A monitor that runs has the maps.
	w.cfg.Sealed = func(origin string) []store.Sealed {
		m := testlog.Must(w.store.Map(t.Context(), log.ID, 1))
		return []store.Sealed{{Size: 2, Map: m.Snapshot()}}
	}
	s = w.server()
	says("Since entry 3", "") // under the checkpoint of two
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
