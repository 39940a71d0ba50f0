package log

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/sqlite"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

// twoPrograms is a world whose log knows testProgram and otherProgram.
func twoPrograms(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.proofs.programs = append(w.proofs.programs, otherProgram)
	return w
}

// under is an entry with the same claim and a proof of another program, which is believed.
func (w *world) under(e []byte, p proofcheck.Program) []byte {
	w.t.Helper()
	other := testlog.Must(entry.Parse(e))
	other.Proof = entry.Proof{Program: p.ID(), Parts: [][]byte{{5, 6, 7}}}
	w.proofs.believe(other)
	return marshal(other)
}

// about is an entry about a .crate that is believed, with a changed claim.
func (w *world) about(raw []byte, name string, change func(*entry.Entry, *entry.Source)) []byte {
	w.t.Helper()
	src := &entry.Source{Commit: [20]byte{1}, Path: "crates/" + name}
	e := &entry.Entry{Claim: src}
	change(e, src)
	claimed := testlog.Must(forge.Claim(raw, name, "1.0.0", src))
	if e.Subject.Registry != "" {
		claimed.Subject.Registry = e.Subject.Registry
	}
	claimed.Proof = entry.Proof{Program: testProgram.ID(), Parts: [][]byte{{1, 2, 3, 4}}}
	w.proofs.believe(claimed)
	return marshal(claimed)
}

func (w *world) wantBundle(l *Log, q client.Query, e []byte) {
	w.t.Helper()
	b, err := l.Bundle(w.t.Context(), q)
	fatalIf(w.t, err)
	w.checkBundle(b, e)
}

func TestAClaimIsProvenAgainUnderAnotherProgram(t *testing.T) {
	t.Parallel()
	w := twoPrograms(t)
	l := w.open()
	a, c := w.good("alpha", "1.0.0")
	w.submit(l, a, c)
	b := w.under(a, otherProgram)
	w.submit(l, b, c)
	wantSize(t, l, 2)
	for _, e := range [][]byte{a, b} { // both stand
		bundle := testlog.Must(l.Submit(t.Context(), e, failingReader{t}, failingReader{t}))
		w.checkBundle(bundle, e)
	}
	wantSize(t, l, 2)

	q := client.Query{Name: "alpha", Version: "1.0.0"}
	w.wantBundle(l, q, a)
	for _, p := range []struct {
		accepted []proofcheck.Program
		want     []byte
	}{
		{[]proofcheck.Program{testProgram}, a}, {[]proofcheck.Program{otherProgram}, b},
		{[]proofcheck.Program{otherProgram, testProgram}, a}, {[]proofcheck.Program{{System: "third"}, otherProgram}, b},
	} {
		q.Programs = nil
		for _, p := range p.accepted {
			q.Programs = append(q.Programs, p.ID())
		}
		w.wantBundle(l, q, p.want)
	}
	q.Programs = [][32]byte{{1}}
	_, err := l.Bundle(t.Context(), q)
	wantRefusal(t, err, NotFound, "none such as was asked for")
}

func TestNothingNewIsAcceptedUnderAWithdrawnProgram(t *testing.T) {
	t.Parallel()
	w := twoPrograms(t)
	l := w.open()
	a, c := w.good("alpha", "1.0.0")
	w.submit(l, a, c)
	w.closeLog(l)

	w.cfg.Withdrawn = [][32]byte{testProgram.ID()}
	l = w.open()
	w.submit(l, a, failingBytes) // what stands is answered
	q := client.Query{Name: "alpha", Version: "1.0.0"}
	w.wantBundle(l, q, a) // there is no other
	fresh, fc := w.good("beta", "1.0.0")
	_, err := l.Submit(t.Context(), fresh, failingReader{t}, nil)
	wantRefusal(t, err, ProgramWithdrawn, "prove the claim again under one that /v1/log lists")
	w.submit(l, w.under(fresh, otherProgram), fc)

	b := w.under(a, otherProgram)
	w.submit(l, b, c)
	w.wantBundle(l, q, b)
	q.Programs = [][32]byte{otherProgram.ID()}
	w.wantBundle(l, q, b)
	q.Programs = [][32]byte{testProgram.ID()}
	w.wantBundle(l, q, a)
	wantSize(t, l, 3)
	w.closeLog(l)

	// Its entries cannot be verified, so that they could not be served.
	w.cfg.Withdrawn = nil
	w.proofs.programs = []proofcheck.Program{otherProgram}
	w.wantNoOpen(nil, fmt.Sprintf("name the program %x", testProgram.ID()))
	w.cfg.Withdrawn = [][32]byte{testProgram.ID()}
	w.wantNoOpen(nil, "keep its file in programs")
}

// failingBytes is no .crate: the log must not look at it.
var failingBytes = []byte("not looked at")

// TestTheFullestClaimComesFirst: whoever is first with a weaker claim does not stand in its way.
func TestTheFullestClaimComesFirst(t *testing.T) {
	t.Parallel()
	w := twoPrograms(t)
	l := w.open()
	raw := testlog.Must(forge.Pack("alpha", "1.0.0", forge.File{Path: "Cargo.lock", Content: "version = 4\n"},
		forge.Manifest("alpha", "1.0.0"), forge.File{Path: "src/lib.rs"}))
	weak := w.about(raw, "alpha", func(_ *entry.Entry, s *entry.Source) { s.Unproven = []string{"Cargo.lock"} })
	w.submit(l, weak, raw)
	q := client.Query{Name: "alpha", Version: "1.0.0"}
	w.wantBundle(l, q, weak)
	full := w.about(raw, "alpha", func(*entry.Entry, *entry.Source) {})
	w.submit(l, full, raw)
	again := w.about(raw, "alpha", func(_ *entry.Entry, s *entry.Source) { s.Commit[0]++; s.Path = "" })
	w.submit(l, again, raw)
	w.submit(l, w.under(weak, otherProgram), raw)
	w.wantBundle(l, q, full)

	pinned := q
	pinned.Commits = [][20]byte{{9}, {2}}
	w.wantBundle(l, pinned, again)
	pinned = q
	pinned.Path = new(string)
	w.wantBundle(l, pinned, again)
	pinned.Commits = [][20]byte{{1}}
	_, err := l.Bundle(t.Context(), pinned)
	wantRefusal(t, err, NotFound, "none such as was asked for")
	pinned = q
	pinned.Programs = [][32]byte{otherProgram.ID()}
	w.wantBundle(l, pinned, w.under(weak, otherProgram))

	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	for query, want := range map[string][]uint64{
		"":                   {2, 4, 0, 6},
		"?path=":             {4},
		"?path=crates/alpha": {2, 0, 6},
		fmt.Sprintf("?programs=%x", otherProgram.ID()): {6},
		"?registry=https://index.example":              nil,
	} {
		code, _, b := get(t, srv.URL+"/v1/crates/alpha/1.0.0/claims"+query)
		var list claimsBody
		fatalIf(t, json.Unmarshal(b, &list))
		var got []uint64
		for _, c := range list.Claims {
			got = append(got, c.Index)
			code, _, bundle := get(t, fmt.Sprintf("%s/v1/entries/%d", srv.URL, c.Index))
			e := leavesOf(t, l)[c.Index]
			if code != 200 {
				t.Errorf("entry %d: %d %s", c.Index, code, bundle)
			}
			w.checkBundle(bundle, e)
			row := testlog.Must(newRow(c.Index, e))
			if c.Identity != fmt.Sprintf("%x", row.identity) || c.Program != fmt.Sprintf("%x", row.program) || c.Commit != fmt.Sprintf("%x", row.commit) ||
				c.Path != row.path || c.Unproven != row.unproven || c.Opening != "" {
				t.Errorf("%+v of %+v", c, row)
			}
		}
		if code != 200 || !slices.Equal(got, want) || list.More {
			t.Errorf("%q: %d %s, want %v", query, code, b, want)
		}
	}
	for _, tt := range []struct {
		path   string
		code   int
		reason Reason
	}{
		{"/v1/crates/alpha/1.0.0?programs=ab", 400, MalformedRequest},
		{"/v1/crates/alpha/1.0.0/claims?programs=ab", 400, MalformedRequest},
		{"/v1/crates/alpha/1.0.0?what=1", 400, MalformedRequest},
		{"/v1/crates/alpha/x", 400, MalformedRequest},
		{"/v1/entries/8", 404, NotFound}, {"/v1/entries/7", 404, NotFound}, {"/v1/entries/01", 404, NotFound}, {"/v1/entries/-1", 404, NotFound},
		{"/v1/entries/18446744073709551616", 404, NotFound},
	} {
		code, _, b := get(t, srv.URL+tt.path)
		if r := decodeRefusal(t, b); code != tt.code || r.Reason != tt.reason {
			t.Errorf("%s: %d %s", tt.path, code, b)
		}
	}
}

// TestStrangersCannotClaimAVersionWithoutEnd: a .crate that names no commit may be claimed to
// be in any, but not in any number of them.
func TestStrangersCannotClaimAVersionWithoutEnd(t *testing.T) {
	t.Parallel()
	w := twoPrograms(t)
	l := w.open()
	raw := testCrate(t, "alpha", "1.0.0", "")
	claim := func(i byte) []byte {
		return w.about(raw, "alpha", func(_ *entry.Entry, s *entry.Source) { s.Commit[0] = i })
	}
	for i := range byte(maxNameless) {
		w.submit(l, claim(i), raw)
	}
	last := claim(maxNameless)
	_, err := l.Submit(t.Context(), last, bytes.NewReader(raw), nil)
	wantRefusal(t, err, TooManyClaims, "The log holds 8 claims about alpha 1.0.0")
	w.submit(l, w.under(last, otherProgram), raw) // counted for each program
	w.submit(l, claim(3), failingBytes)           // what stands is answered
	wantSize(t, l, maxNameless+1)

	// One that names its commit, in the old form that goes with any path.
	named := testlog.Must(forge.Pack("beta", "1.0.0", forge.File{Path: ".cargo_vcs_info.json",
		Content: fmt.Sprintf("{\n  \"git\": {\n    \"sha1\": \"%x\"\n  }\n}\n", [20]byte{1})},
		forge.Manifest("beta", "1.0.0"), forge.File{Path: "src/lib.rs"}))
	for i := range maxNameless + 1 {
		w.submit(l, w.about(named, "beta", func(_ *entry.Entry, s *entry.Source) { s.Path = fmt.Sprint(i) }), named)
	}
}

// TestClaimsAtOnceAreCountedToo: more strangers than places, at the same time.
func TestClaimsAtOnceAreCountedToo(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	raw := testCrate(t, "alpha", "1.0.0", "")
	var entries [][]byte
	for i := range byte(2 * maxNameless) {
		entries = append(entries, w.about(raw, "alpha", func(_ *entry.Entry, s *entry.Source) { s.Commit[0] = i }))
	}
	var accepted, refused atomic.Int32
	var g sync.WaitGroup
	for _, e := range entries {
		g.Go(func() {
			b, err := l.Submit(t.Context(), e, bytes.NewReader(raw), nil)
			var r *Refusal
			switch {
			case errors.As(err, &r) && r.Reason == TooManyClaims:
				refused.Add(1)
			case err != nil:
				t.Error(err)
			default:
				w.checkBundle(b, e)
				accepted.Add(1)
			}
		})
	}
	g.Wait()
	if accepted.Load() != maxNameless || refused.Load() != maxNameless {
		t.Errorf("%d accepted, %d refused", accepted.Load(), refused.Load())
	}
	wantSize(t, l, maxNameless)
}

// TestWhatIsAdmittedIsServed: what a reader may refuse in a claim is nothing that halts the log.
func TestWhatIsAdmittedIsServed(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	raw := testlog.Must(forge.Pack("alpha", "1.0.0", forge.File{Path: "Cargo.lock", Content: "version = 4\n"},
		forge.Manifest("alpha", "1.0.0"), forge.File{Path: "src/lib.rs", Content: "// alpha\r\n"}))
	lf := w.about(raw, "alpha", func(_ *entry.Entry, s *entry.Source) {
		s.Unproven, s.CRLF = []string{"Cargo.lock"}, []string{"src/lib.rs"}
	})
	w.submit(l, lf, raw)
	q := client.Query{Name: "alpha", Version: "1.0.0"}
	w.wantBundle(l, q, lf)
	crlf := w.about(raw, "alpha", func(_ *entry.Entry, s *entry.Source) { s.Unproven, s.Commit[0] = []string{"Cargo.lock"}, 2 })
	w.submit(l, crlf, raw)
	w.wantBundle(l, q, crlf) // its line ends are the commit's
}

// TestADirtyCrateWithoutItsManifestIsAdmitted as every reader takes it whose policy allows the files.
func TestADirtyCrateWithoutItsManifestIsAdmitted(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	manifest := forge.Manifest("alpha", "1.0.0")
	raw := testlog.Must(forge.Pack("alpha", "1.0.0", forge.File{Path: ".cargo_vcs_info.json", Content: fmt.Sprintf(
		"{\n  \"git\": {\n    \"sha1\": \"%x\",\n    \"dirty\": true\n  },\n  \"path_in_vcs\": \"crates/alpha\"\n}", [20]byte{1})},
		manifest, forge.File{Path: "Cargo.toml.orig", Content: manifest.Content}, forge.File{Path: "src/lib.rs"}))
	w.submit(l, w.about(raw, "alpha", func(_ *entry.Entry, s *entry.Source) {
		s.Unproven = []string{"Cargo.toml", "Cargo.toml.orig"}
	}), raw)
	wantSize(t, l, 1)
}

// TestAProofOfAnotherListIsRefused: it holds for the claim, and the list that it shows is
// not the one of the .crate's files, whose digest the claim has.
func TestAProofOfAnotherListIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := testlog.Must(forge.Invent("lists", "solo: us", 41))
	w.cfg.Proofs = testlog.Must(proofcheck.New([]proofcheck.Program{f.Program()}))
	l := w.open()
	raw, e, err := f.Crate("alpha", "1.0.0", "// alpha")
	fatalIf(t, err)
	good := marshal(e)
	list := testlog.Must(forge.List(raw, e))
	list[len(list)-1] ^= 1
	fatalIf(t, f.Prove(e, list))
	if _, err := w.cfg.Proofs.Chain(e); err != nil {
		t.Fatalf("the chain: %v", err) // what a monitor sees
	}
	_, err = l.Submit(t.Context(), marshal(e), bytes.NewReader(raw), nil)
	wantRefusal(t, err, ProofInvalid, "does not verify")
	w.submit(l, good, raw)
}

func TestTwoRegistriesCratesOfOneNameAreTwoThings(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	a, c := w.good("alpha", "1.0.0")
	w.submit(l, a, c)
	const registry = "https://index.example/x"
	theirs := testCrate(t, "alpha", "1.0.0", "fn theirs() {}")
	of := func(raw []byte) []byte {
		return w.about(raw, "alpha", func(e *entry.Entry, _ *entry.Source) { e.Subject.Registry = registry })
	}
	b := of(theirs)
	w.submit(l, b, theirs)
	w.wantBundle(l, client.Query{Name: "alpha", Version: "1.0.0"}, a)
	w.wantBundle(l, client.Query{Registry: registry, Name: "alpha", Version: "1.0.0"}, b)
	_, err := l.Submit(t.Context(), of(c), bytes.NewReader(c), nil)
	if r := wantRefusal(t, err, VersionConflict, "alpha 1.0.0 of the registry "+registry+" is in the log"); r.Index == nil || *r.Index != 2 {
		t.Errorf("%+v", r)
	}
}

// TestAnIndexOfAnOlderSchemaIsMadeAgain has the older one know an entry that the tree has not.
func TestAnIndexOfAnOlderSchemaIsMadeAgain(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 3)
	w.closeLog(l)
	path := filepath.Join(w.cfg.StateDir, "index.db")
	want := rowsOf(t, path)
	w.removeIndex()
	for version := 1; version < indexDatabase.Version; version++ {
		older := sqlite.Owned{ID: indexDatabase.ID, Version: version, Journal: "wal", Conns: 1, What: "x",
			Upgrades: make([]string, version-1),
			Schema:   "CREATE TABLE entries (idx INTEGER PRIMARY KEY, name TEXT); INSERT INTO entries VALUES (7, 'old')"}
		fatalIf(t, testlog.Must(older.Open(t.Context(), path, false)).Close())
		w.closeLog(w.open())
		if got := rowsOf(t, path); !reflect.DeepEqual(got, want) {
			t.Errorf("of schema %d: %v, want %v", version, got, want)
		}
		w.removeIndex()
	}
}

// rowsOf reads a whole index.
func rowsOf(t *testing.T, path string) []row {
	t.Helper()
	x := testlog.Must(openIndex(t.Context(), path))
	defer x.close()
	return testlog.Must(sqlite.All(t.Context(), x.db, scanRow, "SELECT "+columns+" FROM entries ORDER BY idx"))
}

// TestTheIndexSaysWhatTheObviousSearchSays compares it with a search through all rows.
func TestTheIndexSaysWhatTheObviousSearchSays(t *testing.T) {
	t.Parallel()
	x := testlog.Must(openIndex(t.Context(), filepath.Join(t.TempDir(), "index.db")))
	defer x.close()
	var rows []row
	for i := range uint64(48) {
		r := someRow(i, byte(i/2), byte(i%2), []string{"a", "b"}[i/24], 0)
		r.registry = []string{entry.DefaultRegistry, "https://index.example"}[i/2%2]
		r.commit[0], r.path = byte(i/4%3), strings.Repeat("p", int(i/6%2))
		r.unproven, r.crlf = int(i*7%3), int(i*5%2)
		rows = append(rows, r)
	}
	fatalIf(t, x.append(t.Context(), rows))
	path := "p"
	for n := range 64 {
		q := client.Query{Name: []string{"a", "b"}[n%2], Version: "1.0.0"}
		if n&2 != 0 {
			q.Registry = "https://index.example"
		}
		if n&4 != 0 {
			q.Programs = [][32]byte{{1}, {7}}
		}
		if n&8 != 0 {
			q.Commits = [][20]byte{{2}, {0}}
		}
		if n&16 != 0 {
			q.Path = &path
		}
		size, limit := uint64(40), 1+n&32
		var want []row
		for _, r := range rows[:size] {
			if r.name == q.Name && (r.registry == q.Registry || q.Registry == "" && r.registry == entry.DefaultRegistry) &&
				(q.Programs == nil || slices.Contains(q.Programs, r.program)) &&
				(q.Commits == nil || slices.Contains(q.Commits, r.commit)) && (q.Path == nil || *q.Path == r.path) {
				want = append(want, r)
			}
		}
		slices.SortStableFunc(want, func(a, b row) int { return cmp.Or(a.unproven-b.unproven, a.crlf-b.crlf) })
		want = want[:min(len(want), limit)]
		if got := testlog.Must(x.query(t.Context(), q, [32]byte{}, size, limit)); !slices.Equal(got, want) {
			t.Errorf("%+v, at most %d:\n%v\nwant\n%v", q, limit, got, want)
		}
	}
	if got := testlog.Must(x.programs(t.Context())); !slices.Equal(got, [][32]byte{{0}, {1}}) {
		t.Errorf("programs %x", got)
	}
}
