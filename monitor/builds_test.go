package monitor

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cratelog/build"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/testlog"
)

// builder is a named member of sets.
type builder struct {
	name string
	key  ed25519.PrivateKey
	vkey string
}

func newBuilder(name string) builder {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	return builder{name, key, testlog.Must(build.NewVKey(name, key.Public())).String()}
}

func setOf(name string, members ...builder) *build.Set {
	s := &build.Set{Kind: build.Named, Name: name}
	for _, m := range members {
		s.Members = append(s.Members, build.Member{Name: m.name, Contact: m.name, VKey: m.vkey})
	}
	return s
}

var (
	ann, bob, cat, eve = newBuilder("ann"), newBuilder("bob"), newBuilder("cat"), newBuilder("eve")

	rebuilders = setOf("rebuilders", ann, bob, cat) // of the settings
	strangers  = setOf("strangers", ann, eve)
)

// sign is the builder's entry about any subject.
func (b builder) sign(set *build.Set, s entry.Subject, artifact byte) []byte {
	claim := &entry.Build{Binary: "x", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{artifact}, Recipe: entry.Recipe1}
	return testlog.Must(testlog.Must(build.Sign(b.key, b.vkey, set, s, claim)).Marshal())
}

// says is what a builder says of the crate of the n-th true entry.
func (b builder) says(set *build.Set, n int64, artifact byte) []byte {
	name := fmt.Sprintf("crate-%d", n)
	return b.sign(set, entry.Subject{Registry: entry.DefaultRegistry, Name: name, Version: "1.0.0",
		SHA256: sha256.Sum256(fmt.Appendf(nil, "crate %d", n))}, artifact)
}

// entryOf is a changed entry, signed again by a builder who has a key.
func entryOf(raw []byte, change func(*entry.Entry), by builder) []byte {
	e := testlog.Must(entry.Parse(raw))
	change(e)
	if by.key != nil {
		return by.sign(rebuilders, e.Subject, 1)
	}
	return testlog.Must(e.Marshal())
}

// against is evidence of two things that a builder says.
func (b builder) against(n int64, one, two byte) []byte {
	e := testlog.Must(evidence.NewBuilderContradiction(b.says(rebuilders, n, one), b.says(rebuilders, n, two),
		[][]byte{testlog.Must(rebuilders.Marshal())}, nil, evidence.Meta{Observed: time.Unix(1, 0)}))
	return testlog.Must(e.Marshal())
}

// contradictions serves evidence as a log does, with numbers from one on.
func (w *world) contradictions(from int, files ...[]byte) func(http.ResponseWriter, *http.Request) bool {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		path, ok := strings.CutPrefix(r.URL.Path, "/v1/contradictions")
		if !ok {
			return false
		}
		var asked, number int
		fmt.Sscanf(r.URL.Query().Get("from"), "%d", &asked)
		if _, err := fmt.Sscanf(path, "/%d", &number); err == nil {
			rw.Write(files[number-from])
			return true
		}
		var rows []string
		for i := range files {
			if from+i >= asked {
				rows = append(rows, fmt.Sprintf(`{"number":%d,"sha256":"%x"}`, from+i, sha256.Sum256(files[i])))
			}
		}
		fmt.Fprintf(rw, `{"contradictions":[%s]}`, strings.Join(rows, ","))
		return true
	}
}

// TestDissentIsOneFindingABuild, however many take part, and says what there is to compare.
func TestDissentIsOneFindingABuild(t *testing.T) {
	w := verifiedWorld(t, 10)
	w.log.Add(ann.says(rebuilders, 7, 1), bob.says(rebuilders, 7, 2))
	w.once()
	w.log.Add(cat.says(rebuilders, 7, 3), ann.says(rebuilders, 8, 1))
	f := w.found(kindDissent)[0]
	for _, words := range []string{"Builders of the set rebuilders disagree about the binary x of crate-7 1.0.0.",
		fmt.Sprintf("entry 10 has the binary with the SHA-256 %x, and entry 11 the one with %x", [32]byte{1}, [32]byte{2})} {
		if !strings.Contains(f.Summary+f.Detail, words) {
			t.Errorf("no %q in %s %s", words, f.Summary, f.Detail)
		}
	}
}

// TestAContradictionWhoseProofsCanBeForgedNamesNobody: one who has the secrets of the keys writes two statements with the
// tag of any hidden builder.
func TestAContradictionWhoseProofsCanBeForgedNamesNobody(t *testing.T) {
	for by, words := range map[string]string{"": "", "anyone could forge": "This shows nothing about anybody: of the keys of " +
		"their proofs it holds that anyone could forge"} {
		t.Run(by, func(t *testing.T) {
			w := newWorld(t)
			w.cfg.Forgers = func([32]byte) string { return by }
			w.grow(10)
			w.open()
			for artifact := range byte(2) {
				e := testlog.Must(entry.Parse(ann.says(rebuilders, 7, artifact)))
				e.Proof = entry.Proof{Program: program, Parts: [][]byte{[]byte("true")}}
				w.log.Add(testlog.Must(e.Marshal()))
			}
			w.once()
			f := w.findings()[0]
			if f.Kind != kindBuilder || words == "" && strings.Contains(f.Detail, "nothing about anybody") || !strings.Contains(f.Detail, words) {
				t.Error(f.Detail)
			}
		})
	}
}

// TestABuilderOfTwoLogsSaysOneThing: each log alone has nothing to refuse.
func TestABuilderOfTwoLogsSaysOneThing(t *testing.T) {
	w := newWorld(t)
	w.grow(10)
	w.log.Add(ann.says(rebuilders, 7, 1))
	other := testlog.New("log.example/other", 1, w.clock)
	server := httptest.NewServer(other)
	defer server.Close()
	w.cfg.Logs = append(w.cfg.Logs, followed(other, server.URL))
	w.open()
	other.Add(newEntry(t, 7, nil), ann.says(rebuilders, 7, 2))
	w.once()
	all := w.findings()
	if len(all) != 1 || all[0].Kind != kindBuilder || !strings.Contains(all[0].Summary, "in entry 10 of "+origin+" and in entry 1.") {
		t.Fatalf("%+v", all)
	}
	w.checkEvidence(all[0])
}
