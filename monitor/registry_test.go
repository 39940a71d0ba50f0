package monitor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/cargo/registry"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/registrytest"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

// shop is a world whose log is about the crates of a registry.
type shop struct {
	*world
	registry *registrytest.Registry
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{newWorld(t), registrytest.New(t)}
	s.cfg.Registry, s.cfg.RegistryName, s.cfg.Contents = &registry.Index{URL: s.registry.Index, HTTP: &http.Client{Timeout: time.Minute}}, "the shop", true
	s.cfg.RegistryIndex, s.cfg.RegistrySubject = "sparse+"+s.registry.Index, entry.DefaultRegistry
	s.open()
	return s
}

func pack(name, source string) []byte {
	return testlog.Must(forge.Pack(name, "1.0.0", forge.Manifest(name, "1.0.0"), forge.File{Path: "src/lib.rs", Content: source}))
}

// claims puts an entry for a .crate in the log, whose claim is about the files of another
// one, which may be the same.
func (s *shop) claims(name string, raw, claimed []byte) {
	s.t.Helper()
	e := testlog.Must(forge.Claim(claimed, name, "1.0.0", &entry.Source{Commit: [20]byte{1}, Path: "crates/" + name}))
	e.Subject.SHA256, e.Proof = sha256.Sum256(raw), entry.Proof{Program: program, Parts: [][]byte{[]byte("true")}}
	s.log.Add(testlog.Must(e.Marshal())) // and a seal: so entries have even indexes
}

// good logs and publishes crates that are what they claim to be.
func (s *shop) good(names ...string) {
	s.t.Helper()
	for _, name := range names {
		raw := pack(name, "// "+name)
		s.registry.AddCrate(raw)
		s.claims(name, raw, raw)
	}
}

func TestARegistryThatAgreesIsNoFinding(t *testing.T) {
	s := newShop(t)
	s.good("aa", "bb", "cc")
	s.clean(6)
	s.registry.Requests()
	s.found()
	if r := s.registry.Requests(); len(r) != 0 {
		t.Errorf("what was compared is asked for again: %q", r)
	}
}

func TestWhatTheRegistryDoesOtherwiseIsFoundOnce(t *testing.T) {
	for name, x := range map[string]struct {
		do   func(s *shop)
		want []string
	}{
		"another checksum in the index": {func(s *shop) {
			s.good("victim")
			s.registry.Replace("victim", "1.0.0", pack("victim", "// evil"))
		}, []string{kindRegistryIndex}},
		"another .crate under the checksum": {func(s *shop) {
			s.good("victim")
			s.registry.Swap("victim", "1.0.0", pack("victim", "// evil"))
		}, []string{kindRegistryServed}},
		"other files than claimed": {func(s *shop) {
			raw := pack("victim", "// evil")
			s.registry.AddCrate(raw)
			s.claims("victim", raw, pack("victim", "// good"))
		}, []string{kindCrateMismatch}},
		"nothing of that name, for days": {func(s *shop) {
			raw := pack("victim", "// early")
			s.claims("victim", raw, raw)
			s.clean(6)
			if n := len(s.findings()); n != 0 {
				s.t.Errorf("%d findings before it could be published", n)
			}
			s.later(25 * time.Hour)
			s.log.Publish()
		}, []string{kindNotInRegistry}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.good("aa", "zz")
			x.do(s)
			s.found(x.want...)
		})
	}
}

// A publisher's account may be stolen long after a release was logged and compared.
func TestARegistryThatChangesItsMindIsFound(t *testing.T) {
	s := newShop(t)
	s.good("aa", "bb", "cc")
	s.clean(6)
	s.registry.Replace("bb", "1.0.0", pack("bb", "// evil"))
	s.registry.Requests()
	s.later(6 * 24 * time.Hour)
	s.log.Publish()
	s.clean(6)
	if r := s.registry.Requests(); len(r) != 0 {
		t.Errorf("asked too early: %q", r)
	}
	s.later(25 * time.Hour)
	s.log.Publish()
	s.registry.Fail("/bb", http.StatusBadGateway)
	if code := s.once().ExitCode(); code != 3 {
		t.Errorf("exit code %d while the registry fails", code)
	}
	s.registry.Meddle(nil)
	s.later(time.Hour)
	s.log.Publish()
	s.found(kindRegistryIndex)
	for _, r := range s.registry.Requests() {
		if strings.Contains(r, "aa") && strings.Contains(r, "download") {
			t.Errorf("a .crate is downloaded again: %s", r)
		}
	}
}

func TestAReleaseThatIsPublishedAfterItsEntryIsCompared(t *testing.T) {
	s := newShop(t)
	early, evil := pack("early", "// early"), pack("evil", "// evil")
	s.claims("early", early, early)
	s.claims("evil", pack("evil", "// good"), pack("evil", "// good"))
	s.clean(4)
	s.registry.AddCrate(early)
	s.registry.AddCrate(evil)
	s.later(2 * time.Minute)
	s.found(kindRegistryIndex)
	s.later(48 * time.Hour)
	s.log.Publish()
	s.found(kindRegistryIndex)
}

func TestARegistryInTroubleIsNoAttackAndIsAskedAgain(t *testing.T) {
	for name, spoil := range map[string]func(s *shop){
		"all: it is down":        func(s *shop) { s.registry.Fail("", http.StatusBadGateway) },
		"downloads fail":         func(s *shop) { s.registry.Fail("/bb/", http.StatusInternalServerError) },
		"all: the index is junk": func(s *shop) { s.registry.Meddle(junk) },
		"damage on the way": func(s *shop) {
			n := 0
			s.registry.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "bb-1.0.0") && !strings.Contains(r.URL.Path, "/bb/1.0.0/") {
					return false
				}
				n++
				w.Write([]byte{byte(n), byte(n >> 8), 1, 2, 3})
				return true
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.good("aa", "bb", "cc")
			spoil(s)
			if code := s.once().ExitCode(); code != 3 {
				t.Errorf("exit code %d, want 3", code)
			}
			s.later(30 * time.Minute)
			s.log.Publish()
			s.once()
			s.later(40 * time.Minute)
			want := []string{kindUnanswered}
			if strings.HasPrefix(name, "all") {
				want = append(want, kindRegistryDown)
			}
			s.found2(want...)
			s.noAttack()
			s.registry.Fail("", 0)
			s.registry.Fail("/bb/", 0)
			s.registry.Meddle(nil)
			s.open()
			s.later(2 * time.Hour)
			s.log.Publish()
			s.clean(6)
			standing, err := s.cfg.Store.CountStanding(t.Context())
			if err != nil || standing[store.Operational] != 0 {
				t.Errorf("%v, %v", standing, err)
			}
		})
	}
}

// found2 looks once more, without a restart, which would begin to count anew.
func (s *shop) found2(kinds ...string) {
	s.t.Helper()
	s.once()
	var got []string
	for _, f := range s.findings() {
		got = append(got, f.Kind)
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(kinds))) {
		s.t.Fatalf("findings %q, want %q", got, kinds)
	}
}

// TestOneCrateKeepsNoOtherFromBeingCompared: whoever may log a name that the registry answers
// oddly must not switch the comparison off.
func TestOneCrateKeepsNoOtherFromBeingCompared(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }
	}
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"403": status(http.StatusForbidden), "401": status(http.StatusUnauthorized), "500": status(http.StatusInternalServerError),
		"503":        status(http.StatusServiceUnavailable),
		"a cut line": func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"name":"odd0","vers":"1.0`)) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		},
		"a cut answer": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			odd := []string{"odd0", "odd1", "odd2", "odd3", "odd4", "odd5", "odd6"} // more than are asked for in a row
			s.good(odd...)
			s.good("victim")
			s.registry.Replace("victim", "1.0.0", pack("victim", "// evil"))
			s.registry.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/odd") {
					return false
				}
				answer(w, r)
				return true
			})
			for range 3 {
				if code := s.once().ExitCode(); code == 0 {
					t.Error("exit code 0 while nothing is known of some crates")
				}
			}
			s.found2(kindRegistryIndex)
			s.later(90 * time.Minute)
			s.log.Publish()
			s.once()
			s.once()
			s.found2(kindRegistryIndex, kindUnanswered)
			s.registry.Meddle(nil)
			s.later(8 * time.Hour)
			s.log.Publish()
			s.once()
			s.once()
			if n, _, err := s.cfg.Store.Unanswered(t.Context(), 1, 1); err != nil || n != 0 {
				t.Errorf("%d are still not answered, %v", n, err)
			}
			standing, err := s.cfg.Store.CountStanding(t.Context())
			if err != nil || standing[store.Operational] != 0 {
				t.Errorf("%v, %v", standing, err)
			}
		})
	}
}

func TestALineThatSaysOtherThanCargoTomlIsFound(t *testing.T) {
	for name, lie := range map[string]func(line map[string]any){
		"a dependency added": func(line map[string]any) {
			line["deps"] = []map[string]any{{"name": "evil", "req": "*"}}
		},
		"a feature added": func(line map[string]any) { line["features2"] = map[string]any{"default": []string{}} },
		"links":           func(line map[string]any) { line["links"] = "z" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.good("aa", "victim", "zz")
			s.registry.Doctor("victim", "1.0.0", lie)
			f := s.found(kindRegistryManifest)[0]
			if f.Evidence == "" || f.Name != "victim" {
				t.Errorf("%+v", f)
			}
		})
		t.Run(name+" later", func(t *testing.T) {
			s := newShop(t)
			s.good("aa", "victim", "zz")
			s.clean(6)
			s.registry.Doctor("victim", "1.0.0", lie)
			s.later(8 * 24 * time.Hour)
			s.log.Publish()
			s.registry.Requests()
			s.found(kindRegistryManifest)
			for _, r := range s.registry.Requests() {
				if strings.Contains(r, "/dl/") && !strings.Contains(r, "victim") {
					t.Errorf("downloaded again: %s", r)
				}
			}
		})
	}
}

func TestACrateWhoseNameDiffersInCaseIsAnotherOne(t *testing.T) {
	s := newShop(t)
	s.good("hello-proof")
	raw := pack("Hello-Proof", "// a stranger's")
	s.claims("Hello-Proof", raw, raw)
	s.clean(4)
	s.later(25 * time.Hour)
	s.log.Publish()
	s.found(kindNotInRegistry, kindVoid)
}

func TestOfTwoLinesTheLaterIsCompared(t *testing.T) {
	s := newShop(t)
	s.good("aa")
	good := http.Client{Timeout: time.Minute}
	resp := testlog.Must(good.Get(s.registry.Index + registry.Path("aa")))
	line := testlog.Must(io.ReadAll(resp.Body))
	resp.Body.Close()
	other := regexp.MustCompile(`"cksum":"......`).ReplaceAll(line, []byte(`"cksum":"000000`))
	both := [][]byte{other, line}
	s.registry.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, registry.Path("aa")) {
			return false
		}
		w.Write(slices.Concat(both...))
		return true
	})
	s.clean(2)
	slices.Reverse(both)
	s.later(8 * 24 * time.Hour)
	s.log.Publish()
	s.found(kindRegistryIndex)
}

func TestYankedIsRemembered(t *testing.T) {
	s := newShop(t)
	s.good("aa", "bb")
	s.registry.Yank("bb", "1.0.0", true)
	s.clean(4)
	for index, want := range []bool{false, true} {
		if r, err := s.cfg.Store.Release(t.Context(), 1, 2*int64(index)); err != nil || r.Yanked != want {
			t.Errorf("entry %d: %+v, %v", index, r, err)
		}
	}
}

func junk(w http.ResponseWriter, r *http.Request) bool {
	w.Write([]byte("<html>"))
	return true
}

// TestAProofOfOtherFilesIsFoundWithTheCrate: without it, the proof shows that objects exist, and
// no more. The evidence needs no .crate.
func TestAProofOfOtherFilesIsFoundWithTheCrate(t *testing.T) {
	s := newShop(t)
	s.good("honest")
	raw := pack("liar", "// nothing")
	s.registry.AddCrate(raw)
	e := testlog.Must(forge.Claim(raw, "liar", "1.0.0", &entry.Source{Commit: [20]byte{1}, Path: "p"}))
	e.Proof = entry.Proof{Program: program, Parts: [][]byte{[]byte("of other files")}}
	s.log.Add(testlog.Must(e.Marshal()))
	s.found2(kindFalseEntry)
}

// TestCratesOfOtherRegistriesAreNotAskedFor: they are other crates.
func TestCratesOfOtherRegistriesAreNotAskedFor(t *testing.T) {
	s := newShop(t)
	s.good("honest")
	raw := pack("honest", "// another registry's")
	e := testlog.Must(forge.Claim(raw, "honest", "1.0.0", &entry.Source{Commit: [20]byte{2}}))
	e.Subject.Registry, e.Proof = "https://other.example", entry.Proof{Program: program, Parts: [][]byte{[]byte("true")}}
	s.log.Add(testlog.Must(e.Marshal()))
	s.found2() // neither another checksum, nor two of one version
}

// publications says how releases were published.
type publications map[string]*registry.Trusted

func (p publications) Trusted(_ context.Context, name, _ string, _ [32]byte) (*registry.Trusted, error) {
	if says, ok := p[name]; ok {
		return says, nil
	}
	return nil, errors.New("no answer")
}

// TestPublicationsAreComparedWithTheProof: what the registry says is kept, and named where it differs;
// where it does not answer, it is asked again.
func TestPublicationsAreComparedWithTheProof(t *testing.T) {
	s := newShop(t)
	proven, other := hex.EncodeToString(append([]byte{1}, make([]byte, 19)...)), strings.Repeat("ab", 20)
	says := publications{"aa": {Provider: "github", Repository: "a/a", Run: "7", Commit: proven}, "cc": nil,
		"bb": {Provider: "gitlab", Repository: "b/b", Run: "8", Commit: other}}
	s.cfg.Publications = says
	s.open()
	s.good("aa", "bb", "cc", "dd")
	s.once()
	if x := s.found(kindPublication)[0]; !strings.Contains(x.Summary, "bb 1.0.0") || !strings.Contains(x.Detail, other) {
		t.Errorf("%+v", x)
	}
	for index, want := range []string{proven, other, "", ""} {
		p, asked, err := s.cfg.Store.Publication(t.Context(), 1, 2*int64(index))
		if err != nil || p.Commit != want || asked != (index < 3) {
			t.Errorf("entry %d: %+v, %v, %v", index, p, asked, err)
		}
	}
	says["cc"] = says["aa"]
	says["dd"] = nil
	s.later(8 * 24 * time.Hour)
	s.log.Publish()
	s.once()
	s.once()
	for index, want := range []string{proven, other, proven, ""} {
		p, asked, err := s.cfg.Store.Publication(t.Context(), 1, 2*int64(index))
		if err != nil || p.Commit != want || !asked {
			t.Errorf("entry %d, asked again: %+v, %v, %v", index, p, asked, err)
		}
	}
}
