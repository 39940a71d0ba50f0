package monitor

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
	"cratelog/opening"
)

// opener is a shop whose log serves openings.
type opener struct {
	*shop
	mu     sync.Mutex
	served map[string][]byte // by identity, in hex
	asked  []string
	meddle func(rw http.ResponseWriter, r *http.Request) bool
}

func newOpener(t *testing.T, contents bool) *opener {
	t.Helper()
	o := &opener{shop: newShop(t), served: map[string][]byte{}}
	o.cfg.Openings, o.cfg.Contents = true, contents
	o.open()
	o.log.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		id, ok := strings.CutPrefix(r.URL.Path, "/v1/openings/")
		if !ok {
			return false
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.asked = append(o.asked, id)
		if o.meddle != nil && o.meddle(rw, r) {
			return true
		}
		if raw, ok := o.served[id]; ok {
			rw.Write(raw)
			return true
		}
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusNotFound)
		fmt.Fprint(rw, `{"reason": "not-found", "message": "This log holds no opening of this claim."}`)
		return true
	})
	return o
}

// requests returns how often the log was asked for an opening since the last time.
func (o *opener) requests() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.asked)
	o.asked = nil
	return n
}

func (o *opener) meddles(f func(rw http.ResponseWriter, r *http.Request) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.meddle = f
}

// repo is a commit with a package in its root, whose src/lib.rs reads as given: its opening, and its id.
func repo(name, lib string, edit func(tree string) string) (raw []byte, commit [20]byte) {
	object := func(kind, content string) ([]byte, string) {
		o := fmt.Appendf(nil, "%s %d\x00%s", kind, len(content), content)
		id := sha1.Sum(o)
		return o, string(id[:])
	}
	_, manifest := object("blob", forge.Manifest(name, "1.0.0").Content)
	_, code := object("blob", lib)
	src, srcID := object("tree", "100644 lib.rs\x00"+code+"100644 secret-plan\x00"+code)
	top := "100644 Cargo.toml\x00" + manifest + "40000 src\x00" + srcID
	if edit != nil {
		top = edit(top)
	}
	root, rootID := object("tree", top)
	c, id := object("commit", fmt.Sprintf("tree %x\nauthor A <a@example.org> 1700000000 +0000\n\nA commit\n", rootID))
	return bytes.Join([][]byte{c, root, src}, nil), [20]byte([]byte(id))
}

// flat is a commit with one directory, in which there is one file.
func flat(what string) (raw []byte, commit [20]byte) {
	tree := fmt.Appendf(nil, "tree %d\x00100644 %s\x00%s", 8+len(what)+20, what, strings.Repeat("x", 20))
	c := fmt.Sprintf("tree %x\nauthor A <a@example.org> 1700000000 +0000\n\nA commit\n", sha1.Sum(tree))
	o := fmt.Appendf(nil, "commit %d\x00%s", len(c), c)
	return append(slices.Clone(o), tree...), sha1.Sum(o)
}

// publishes logs a crate with a proof that holds, of so many objects of a commit, and serves an opening.
func (o *opener) publishes(name, lib string, commit [20]byte, objects int, raw []byte) (publish func(), serve func(raw []byte)) {
	o.t.Helper()
	file := pack(name, lib)
	e := testlog.Must(forge.Claim(file, name, "1.0.0", &entry.Source{Commit: commit}))
	e.Proof = entry.Proof{Program: program, Parts: slices.Repeat([][]byte{[]byte("true")}, objects-1)}
	o.log.Add(testlog.Must(e.Marshal())) // and a seal: so entries have even indexes
	id := testlog.Must(e.Identity())
	serve = func(raw []byte) {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.served, hex.EncodeToString(id[:]))
		if raw != nil {
			o.served[hex.EncodeToString(id[:])] = raw
		}
	}
	serve(raw)
	return func() { o.registry.AddCrate(file) }, serve
}

// opens is publishes, of a crate that has lib where its commit has there.
func (o *opener) opens(name, lib, there string, edit func(string) string) {
	o.t.Helper()
	raw, commit := repo(name, there, edit)
	publish, _ := o.publishes(name, lib, commit, 3, raw)
	publish()
}

// state demands what is known of the opening of an entry.
func (o *opener) state(index int64, want string) {
	o.t.Helper()
	got, _, err := o.cfg.Store.Opening(o.t.Context(), 1, index)
	if err != nil || got.State != want {
		o.t.Errorf("the opening of entry %d is %+v, want %q: %v", index, got, want, err)
	}
}

func TestOpeningsThatAgreeAreNoFindingAndAskedForOnce(t *testing.T) {
	o := newOpener(t, true)
	o.opens("aa", "// aa", "// aa", nil)
	o.good("bb")
	o.clean(4)
	o.state(0, store.OpeningHolds)
	o.state(2, "")
	if n := o.requests(); n != 2 {
		t.Errorf("%d questions, want 2", n)
	}
	o.found()
	o.later(6 * 24 * time.Hour)
	o.log.Publish()
	o.clean(4)
	if n := o.requests(); n != 0 {
		t.Errorf("%d questions about what is known, want none", n)
	}
	c, ok, err := o.cfg.Store.Crate(t.Context(), 1, 0)
	if err != nil || !ok || c.NamesCommit || c.Repository != "" {
		t.Errorf("of the .crate: %+v, %v", c, err)
	}
}

// TestAProofThatAnOpeningContradictsConvictsItsProgram, not the log, and says no name that the .crate
// does not have.
func TestAProofThatAnOpeningContradictsConvictsItsProgram(t *testing.T) {
	o := newOpener(t, true)
	o.good("aa")
	o.opens("victim", "// evil", "// good", nil)
	found := o.found(kindContradiction)
	o.state(2, store.OpeningContradict)
	if code := o.once().ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	x := found[0]
	e, err := evidence.Read(filepath.Join(o.cfg.EvidenceDir, x.Evidence+".evidence"))
	fatalIf(t, err)
	c, err := evidence.Verify(e, o.keys, told{})
	if err != nil || c.Who != fmt.Sprintf("program %x", program) || c.Also != nil {
		t.Errorf("convicted is %q: %v", c.Who, err)
	}
	for _, say := range []string{"src/lib.rs", "The log could not know"} {
		if !strings.Contains(x.Detail, say) {
			t.Errorf("it does not say %q: %s", say, x.Detail)
		}
	}
	if strings.Contains(x.Summary+x.Detail, "secret-plan") {
		t.Error("it names a file that only the repository has")
	}
}

// TestObjectsThatShowNothingConvictNobody: a tree that git refuses.
func TestObjectsThatShowNothingConvictNobody(t *testing.T) {
	for _, contents := range []bool{true, false} {
		t.Run(fmt.Sprint(contents), func(t *testing.T) {
			o := newOpener(t, contents)
			if contents {
				o.opens("victim", "// evil", "// good", func(tree string) string {
					return tree + "40000 src\x00" + strings.Repeat("x", 20)
				})
			} else {
				raw, commit := flat(".git")
				o.publishes("victim", "// x", commit, 2, raw)
			}
			x := o.found(kindNoVerdict)
			o.state(0, store.OpeningNoVerdict)
			o.noAttack()
			if strings.Contains(x[0].Summary+x[0].Detail, ".git ") {
				t.Error("it names what stands in the repository")
			}
		})
	}
}

func TestLogsThatServeNoOrBadOpeningsAreNotAccused(t *testing.T) {
	answer := func(code int, body string) func(o *opener) {
		return func(o *opener) {
			o.meddles(func(rw http.ResponseWriter, r *http.Request) bool {
				rw.WriteHeader(code)
				fmt.Fprint(rw, body)
				return true
			})
		}
	}
	for name, x := range map[string]struct {
		do     func(o *opener)
		silent bool // there is no opening, and that is well
	}{
		"none":                      {answer(http.StatusNotFound, `{"reason": "not-found", "message": "No."}`), true},
		"another program's 404":     {answer(http.StatusNotFound, "<html>"), true},
		"a server of files only":    {answer(http.StatusMethodNotAllowed, ""), true},
		"it is broken":              {answer(http.StatusInternalServerError, ""), false},
		"junk":                      {answer(http.StatusOK, "<html>Please log in to this network</html>"), false},
		"nothing":                   {answer(http.StatusOK, ""), false},
		"more than an opening has":  {answer(http.StatusOK, strings.Repeat("x", opening.MaxSize+1)), false},
		"objects of another commit": {func(o *opener) { raw, _ := repo("bb", "// other", nil); o.answers(raw) }, false},
		"an object less":            {func(o *opener) { raw, _ := repo("bb", "// bb", nil); o.answers(raw[:len(raw)-90]) }, false},
		"an object more":            {func(o *opener) { raw, _ := repo("bb", "// bb", nil); o.answers(append(raw, "tree 0\x00"...)) }, false},
	} {
		for _, contents := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, %v", name, contents), func(t *testing.T) {
				o := newOpener(t, contents)
				raw, commit := repo("bb", "// bb", nil)
				publish, _ := o.publishes("bb", "// bb", commit, 3, raw)
				publish()
				x.do(o)
				if x.silent {
					o.found()
				} else {
					if code := o.once().ExitCode(); code != 3 {
						t.Errorf("exit code %d, want 3", code)
					}
					o.later(59 * time.Minute)
					o.log.Publish()
					o.once()
					if n := len(o.findings()); n != 0 {
						t.Errorf("%d findings within the hour", n)
					}
					o.later(2 * time.Minute)
					o.found(kindOpeningsUnusable)
				}
				o.noAttack()
				o.meddles(nil)
				o.later(8 * 24 * time.Hour)
				o.log.Publish()
				o.clean(2)
				if o.clean(2); contents {
					o.state(0, store.OpeningHolds)
				} else {
					o.state(0, store.OpeningObjects)
				}
			})
		}
	}
}

// answers serves one thing, whatever is asked for.
func (o *opener) answers(raw []byte) {
	o.meddles(func(rw http.ResponseWriter, r *http.Request) bool { rw.Write(raw); return true })
}

// TestALogThatTakesAnOpeningBackIsNotAccused: an operator may delete one.
func TestALogThatTakesAnOpeningBackIsNotAccused(t *testing.T) {
	o := newOpener(t, true)
	raw, commit := repo("bb", "// bb", nil)
	_, serve := o.publishes("bb", "// bb", commit, 3, []byte("rot"))
	if code := o.once().ExitCode(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	serve(nil)
	o.later(2 * time.Minute)
	o.clean(2)
	o.state(0, "")
	serve(raw)
	o.later(8 * 24 * time.Hour)
	o.log.Publish()
	o.found(kindNotInRegistry)
	o.state(0, store.OpeningObjects)
}

// TestAnOpeningIsComparedWhenTheCrateIsPublished: most are logged before.
func TestAnOpeningIsComparedWhenTheCrateIsPublished(t *testing.T) {
	for lib, want := range map[string][]string{"// good": nil, "// evil": {kindContradiction}} {
		t.Run(lib, func(t *testing.T) {
			o := newOpener(t, true)
			raw, commit := repo("early", "// good", nil)
			publish, _ := o.publishes("early", lib, commit, 3, raw)
			o.clean(2)
			o.state(0, store.OpeningObjects)
			publish()
			o.later(5 * time.Minute)
			o.found(want...)
			if want == nil {
				o.state(0, store.OpeningHolds)
			}
		})
	}
}

// TestOpeningsAreAskedForOnlyIfTheSettingsSaySo, and never faster than a look allows.
func TestOpeningsAreAskedForOnlyIfTheSettingsSaySo(t *testing.T) {
	o := newOpener(t, false)
	o.cfg.Registry, o.cfg.Openings = nil, false
	o.open()
	o.grow(openingsPerLook + 45)
	o.clean(openingsPerLook + 45)
	if n := o.requests(); n != 0 {
		t.Errorf("%d questions, want none", n)
	}
	o.cfg.Openings = true
	o.open()
	for _, want := range []int{openingsPerLook, 44, 0} {
		o.clean(openingsPerLook + 45)
		if n := o.requests(); n != want {
			t.Errorf("%d questions in a look, want %d", n, want)
		}
	}
}

// TestALogThatIsBrokenIsNotAskedForEveryOpening.
func TestALogThatIsBrokenIsNotAskedForEveryOpening(t *testing.T) {
	o := newOpener(t, false)
	o.grow(101)
	o.meddles(func(rw http.ResponseWriter, r *http.Request) bool {
		rw.WriteHeader(http.StatusInternalServerError)
		return true
	})
	o.once()
	if n := o.requests(); n != openingGiveUp {
		t.Errorf("%d questions, want %d", n, openingGiveUp)
	}
	o.meddles(nil)
	o.later(2 * time.Minute)
	o.clean(101)
	if n := o.requests(); n != 100 {
		t.Errorf("%d questions when it works again, want 100", n)
	}
}
