package monitor

import (
	"crypto/sha256"
	"net/http"
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
	s.log.Add(testlog.Must(e.Marshal()))
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
	s.clean(3)
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
			s.clean(3)
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
	s.clean(3)
	s.registry.Replace("bb", "1.0.0", pack("bb", "// evil"))
	s.registry.Requests()
	s.later(6 * 24 * time.Hour)
	s.log.Publish()
	s.clean(3)
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
	s.clean(2)
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
		"it is down":        func(s *shop) { s.registry.Fail("", http.StatusBadGateway) },
		"downloads fail":    func(s *shop) { s.registry.Fail("/bb/", http.StatusInternalServerError) },
		"the index is junk": func(s *shop) { s.registry.Meddle(junk) },
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
			s.found2(kindRegistryDown)
			s.noAttack()
			s.registry.Fail("", 0)
			s.registry.Fail("/bb/", 0)
			s.registry.Meddle(nil)
			s.open()
			s.log.Publish()
			s.clean(3)
			standing, err := s.cfg.Store.CountStanding(t.Context())
			if err != nil || standing[store.Operational] != 0 {
				t.Errorf("%v, %v", standing, err)
			}
		})
	}
}

// found2 looks once more, without a restart, which would begin to count anew.
func (s *shop) found2(kind string) {
	s.t.Helper()
	s.once()
	if all := s.findings(); len(all) != 1 || all[0].Kind != kind {
		s.t.Fatalf("findings %+v, want one %s", all, kind)
	}
}

func junk(w http.ResponseWriter, r *http.Request) bool {
	w.Write([]byte("<html>"))
	return true
}
