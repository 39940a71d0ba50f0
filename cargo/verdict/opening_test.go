package verdict

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

// public is a crate of one source file, a commit that says what it holds, a claim about both with
// a forged proof, and what would be its opening.
type public struct {
	raw     []byte
	entry   *entry.Entry
	opening []byte
}

// publicly returns the package x 1.0.0 of a repository whose commit has the content for src/lib.rs;
// the .crate has it as packed. sign, if not nil, signs the commit.
func publicly(t testing.TB, f *forge.Forger, packed, content string, sign func(commit string) string) public {
	t.Helper()
	object := func(kind, content string) (string, [20]byte) {
		o := fmt.Sprintf("%s %d\x00%s", kind, len(content), content)
		return o, sha1.Sum([]byte(o))
	}
	manifest := forge.Manifest("x", "1.0.0")
	_, lib := object("blob", content)
	_, toml := object("blob", manifest.Content)
	_, ignore := object("blob", "target\n")
	src, srcID := object("tree", "100644 lib.rs\x00"+string(lib[:]))
	root, rootID := object("tree", "100644 .gitignore\x00"+string(ignore[:])+"100644 Cargo.toml\x00"+string(toml[:])+
		"40000 src\x00"+string(srcID[:]))
	text := fmt.Sprintf("tree %x\nauthor A <a@example.org> 1700000000 +0000\n"+
		"committer A <a@example.org> 1700000000 +0000\n\nA commit\n", rootID)
	if sign != nil {
		text = sign(text)
	}
	commit, id := object("commit", text)
	raw, err := forge.Pack("x", "1.0.0", manifest, forge.File{Path: "src/lib.rs", Content: packed})
	fatalIf(t, err)
	e, err := forge.Claim(raw, "x", "1.0.0", &entry.Source{Commit: id})
	fatalIf(t, err)
	list, err := forge.List(raw, e)
	fatalIf(t, err)
	fatalIf(t, f.Prove(e, list))
	return public{raw, e, []byte(commit + root + src)}
}

// serveOpening makes the log hand out an opening.
func (l *fakeLog) serveOpening(t testing.TB, p public) {
	id, err := p.entry.Identity()
	fatalIf(t, err)
	l.Intercept(testlog.Answer(fmt.Sprintf("/v1/openings/%x", id), http.StatusOK, p.opening))
}

func noOpenings(l *fakeLog) {
	l.Intercept(testlog.Answer("/v1/openings/", http.StatusNotFound, []byte(`{"reason": "not-found", "message": "no"}`)))
}

const asks = dev + "opening = \"required\"\n"

func TestARequiredOpeningIsFetchedCheckedAndKept(t *testing.T) {
	x := publicly(t, testlog.Must(forger()), "honest\n", "honest\n", nil)
	l := newLog(t, "log.test/openings")
	l.add(x.entry)
	p := newPlace(t, asks, l)
	w := p.want("x", "1.0.0", x.raw)

	noOpenings(l)
	refused(t, p.all(w)[0], Violation, "no-opening", "there is no opening of x 1.0.0", "x-1.0.0.opening")
	l.Intercept(testlog.Answer("/v1/openings/", http.StatusBadGateway, nil))
	refused(t, p.all(w)[0], Unchecked, "unreachable", "did not say whether it has the opening")

	l.serveOpening(t, x)
	v := p.all(w)
	verified(t, v)
	o := v[0].Facts.Opening
	if o == nil || !slices.Equal(o.LeftOut, []string{".gitignore"}) || !strings.Contains(o.Signed, "nobody") || o.Signer ||
		string(v[0].Opened) != string(x.opening) {
		t.Errorf("the opening showed %+v", o)
	}
	// It is in the cache from now on, and so is what it showed.
	l.down()
	l.asked()
	for range 2 {
		v = p.offline(w)
		verified(t, v)
		if v[0].Facts.Opening == nil || string(v[0].Opened) != string(x.opening) {
			t.Errorf("from the cache: %+v", v[0].Facts.Opening)
		}
	}
	l.wasAsked(t, 0)
	// Whoever damages it there gains nothing.
	for _, path := range p.files("cache/openings") {
		fatalIf(t, os.WriteFile(path, []byte("tree 0\x00"), 0o600))
	}
	refused(t, p.offline(w)[0], Unchecked, "no-opening")
}

// TestALogThatBringsAnotherOpeningIsPassedOver: any source is as good as another.
func TestALogThatBringsAnotherOpeningIsPassedOver(t *testing.T) {
	x := publicly(t, testlog.Must(forger()), "honest\n", "honest\n", nil)
	bad, good := newLog(t, "log.test/bad-openings"), newLog(t, "log.test/good-openings")
	bad.add(x.entry)
	bad.Intercept(testlog.Answer("/v1/openings/", http.StatusOK, []byte("tree 0\x00")))
	p := newPlace(t, asks, bad, good)
	w := p.want("x", "1.0.0", x.raw)
	noOpenings(good)
	refused(t, p.all(w)[0], Violation, "no-opening", "shows nothing", "x-1.0.0.opening")
	good.serveOpening(t, x)
	verified(t, p.all(w))
}

func TestAnOpeningBesideTheBundleIsAsGoodAsAny(t *testing.T) {
	x := publicly(t, testlog.Must(forger()), "honest\n", "honest\n", nil)
	l := newLog(t, "log.test/openings")
	l.add(x.entry)
	p := newPlace(t, asks, l)
	w := p.want("x", "1.0.0", x.raw)
	w.Bundle = filepath.Join(p.dir, "x-1.0.0"+BundleExt)
	fatalIf(t, os.WriteFile(w.Bundle, l.bundle(l.Tree, 0, l.Tree.Size()), 0o600))
	refused(t, p.offline(w)[0], Unchecked, "no-opening", "nothing is fetched offline")
	fatalIf(t, os.WriteFile(filepath.Join(p.dir, "x-1.0.0"+OpeningExt), x.opening, 0o600))
	v := p.offline(w)
	verified(t, v)
	if v[0].Facts.Opening == nil {
		t.Error("it was not looked at")
	}
	// A given bundle, with a given opening.
	g := Given{Bundle: read(t, w.Bundle), Crate: unpacked(t, w), Rules: p.policy.Rules("x", "1.0.0", now)}
	if a, err := p.checker(true).Bundle(t.Context(), g); err == nil {
		t.Errorf("without an opening: %+v", a)
	}
	g.Opening = x.opening
	a, err := p.checker(true).Bundle(t.Context(), g)
	if err != nil || a.Opening == nil {
		t.Errorf("with its opening: %+v, %v", a, err)
	}
}

// TestOpeningsThatNobodyAsksForAreNotFetched: a log learns nothing from a reader without need.
func TestOpeningsThatNobodyAsksForAreNotFetched(t *testing.T) {
	x := publicly(t, testlog.Must(forger()), "honest\n", "honest\n", nil)
	l := newLog(t, "log.test/openings")
	l.add(x.entry)
	l.serveOpening(t, x)
	p := newPlace(t, dev, l)
	v := p.all(p.want("x", "1.0.0", x.raw))
	verified(t, v)
	if v[0].Facts.Opening != nil || slices.ContainsFunc(l.requests, func(r string) bool { return strings.Contains(r, "openings") }) {
		t.Errorf("%+v, after the requests %q", v[0].Facts.Opening, l.requests)
	}
	p.settings(dev+"opening = [\"x\"]\n[[allow]]\ncrate = \"x\"\nwithout-opening = true\nreason = \"r\"\nexpires = \"2027-01-31\"\n", l)
	noOpenings(l)
	verified(t, p.all(p.want("x", "1.0.0", x.raw)))
	p.at = now.AddDate(1, 0, 0)
	refused(t, p.all(p.want("x", "1.0.0", x.raw))[0], Violation, "no-opening")
}

// TestForgedKeysDoNotMatterWithRequiredOpenings: with the secrets of its keys anybody proves
// anything; no opening of a false claim can be made, whatever is put in its place.
func TestForgedKeysDoNotMatterWithRequiredOpenings(t *testing.T) {
	f := testlog.Must(forger())
	evil := publicly(t, f, "evil\n", "honest\n", nil)
	honest := publicly(t, f, "honest\n", "honest\n", nil)
	other := publicly(t, f, "evil\n", "evil\n", nil) // true objects of another commit
	l := newLog(t, "log.test/openings")
	l.add(evil.entry)
	// Without the rule the reader of development keys believes it: the forged proof is good.
	verified(t, newPlace(t, dev, l).all(newPlace(t, dev, l).want("x", "1.0.0", evil.raw)))
	for name, c := range map[string]struct {
		opening []byte
		slug    string
	}{
		"the commit's own":     {evil.opening, "contradicted"},
		"of the honest crate":  {honest.opening, "contradicted"}, // it is the same commit
		"of another commit":    {other.opening, "no-opening"},
		"nothing":              {[]byte{}, "no-opening"},
		"the start of it":      {evil.opening[:len(evil.opening)/2], "no-opening"},
		"its commit, and root": {evil.opening[:nth(evil.opening, "tree ", 3)], "no-opening"},
	} {
		p := newPlace(t, asks, l)
		x := evil
		x.opening = c.opening
		l.serveOpening(t, x)
		v := p.all(p.want("x", "1.0.0", evil.raw))[0]
		refused(t, v, Violation, c.slug)
		if found := p.files("state"); (c.slug == "contradicted") != slices.ContainsFunc(found, func(f string) bool {
			return strings.HasSuffix(f, ".evidence")
		}) {
			t.Errorf("%s: evidence is %q", name, found)
		}
	}
}

// nth returns where a text begins for the n-th time.
func nth(b []byte, text string, n int) int {
	at := 0
	for range n {
		at += strings.Index(string(b[at:]), text) + len(text)
	}
	return at - len(text)
}

// TestNoVerdictIsNoPass: a tree that holds a name twice shows nothing, for or against.
func TestNoVerdictIsNoPass(t *testing.T) {
	f := testlog.Must(forger())
	x := publicly(t, f, "honest\n", "honest\n", nil)
	_, after, _ := strings.Cut(string(x.opening), "40000 src\x00")
	srcID := after[:20]
	object := func(kind, content string) string { return fmt.Sprintf("%s %d\x00%s", kind, len(content), content) }
	src := after[20:]
	root := object("tree", "100644 Cargo.toml\x00"+strings.Repeat("t", 20)+"40000 src\x00"+srcID+"40000 src\x00"+srcID)
	commit := object("commit", fmt.Sprintf("tree %x\nauthor A <a@example.org> 1700000000 +0000\n\nA commit\n", sha1.Sum([]byte(root))))
	e, err := forge.Claim(x.raw, "x", "1.0.0", &entry.Source{Commit: sha1.Sum([]byte(commit))})
	fatalIf(t, err)
	fatalIf(t, f.Prove(e, testlog.Must(forge.List(x.raw, e))))
	l := newLog(t, "log.test/openings")
	l.add(e)
	l.serveOpening(t, public{x.raw, e, []byte(commit + root + src)})
	p := newPlace(t, asks, l)
	refused(t, p.all(p.want("x", "1.0.0", x.raw))[0], Violation, "no-opening", "no verdict", `the name "src" twice`)
	if found := p.files("state"); slices.ContainsFunc(found, func(f string) bool { return strings.HasSuffix(f, ".evidence") }) {
		t.Errorf("it accuses somebody: %q", found)
	}
}

// TestContradictionsAreShownToOthers: the evidence convicts the program, and only it.
func TestContradictionsAreShownToOthers(t *testing.T) {
	x := publicly(t, testlog.Must(forger()), "evil\n", "honest\n", nil)
	l := newLog(t, "log.test/openings")
	l.add(x.entry)
	p := newPlace(t, dev, l) // an opening that is at hand counts although nobody asked for one
	w := p.want("x", "1.0.0", x.raw)
	w.Bundle = filepath.Join(p.dir, "x-1.0.0"+BundleExt)
	fatalIf(t, os.WriteFile(w.Bundle, l.bundle(l.Tree, 0, l.Tree.Size()), 0o600))
	fatalIf(t, os.WriteFile(filepath.Join(p.dir, "x-1.0.0"+OpeningExt), x.opening, 0o600))
	refused(t, p.all(w)[0], Violation, "contradicted", "is FALSE", "src/lib.rs is the blob", "the evidence is ")
	var files []string
	for _, f := range p.files("state") {
		if strings.HasSuffix(f, ".evidence") {
			files = append(files, f)
		}
	}
	if len(files) != 1 {
		t.Fatalf("evidence is %q", files)
	}
	e, err := evidence.Parse(read(t, files[0]))
	fatalIf(t, err)
	trust, err := client.ParsePolicy([]byte(l.trust))
	fatalIf(t, err)
	keys, err := trust.Keys()
	fatalIf(t, err)
	c, err := evidence.Verify(e, keys, p.checker(true).proofs)
	fatalIf(t, err)
	if want := fmt.Sprintf("program %x", x.entry.Proof.Program); c.Who != want || !c.Transferable || len(c.Also) != 0 {
		t.Errorf("convicted is %q, want %q", c.Who, want)
	}
	refused(t, p.all(w)[0], Violation, "contradicted", files[0]) // once for each entry
}

// signer signs commits with a new ssh key, and returns the line of its public key.
func signer(t *testing.T) (sign func(commit string) string, public string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	fatalIf(t, err)
	s, err := ssh.NewSignerFromKey(key)
	fatalIf(t, err)
	sign = func(commit string) string {
		sum := sha512.Sum512([]byte(commit))
		sig, err := s.Sign(rand.Reader, append([]byte("SSHSIG"), ssh.Marshal(struct{ A, B, C, D string }{"git", "", "sha512",
			string(sum[:])})...))
		fatalIf(t, err)
		armored := string(pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: append([]byte("SSHSIG"),
			ssh.Marshal(struct {
				V                uint32
				A, B, C, D, Sign string
			}{1, string(s.PublicKey().Marshal()), "git", "", "sha512", string(ssh.Marshal(sig))})...)}))
		head, body, _ := strings.Cut(commit, "\n\n")
		return head + "\ngpgsig " + strings.ReplaceAll(strings.TrimSpace(armored), "\n", "\n ") + "\n\n" + body
	}
	return sign, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey()))) + " the maintainer\n"
}

func TestOnlyCommitsOfWhomThePolicyNamesAreAccepted(t *testing.T) {
	f := testlog.Must(forger())
	sign, key := signer(t)
	otherSign, otherKey := signer(t)
	const signed = dev + "[[expect]]\ncrate = \"x\"\nsigned-by = [\"x.pub\"]\n"
	for name, c := range map[string]struct {
		sign func(string) string
		slug string
	}{
		"the maintainer": {sign, ""}, "another": {otherSign, "signed-by"}, "nobody": {nil, "signed-by"},
		"a broken one": {func(c string) string { return strings.Replace(sign(c), "A commit", "B commit", 1) }, "signed-by"},
	} {
		x := publicly(t, f, "honest\n", "honest\n", c.sign)
		l := newLog(t, "log.test/openings")
		l.add(x.entry)
		l.serveOpening(t, x)
		p := newPlace(t, dev, l)
		fatalIf(t, os.WriteFile(filepath.Join(p.dir, "x.pub"), []byte(key), 0o600))
		p.settings(signed, l)
		v := p.all(p.want("x", "1.0.0", x.raw))
		if c.slug != "" {
			refused(t, v[0], Violation, c.slug, "is not signed with a key of")
			continue
		}
		verified(t, v)
		if o := v[0].Facts.Opening; o == nil || !o.Signer || !strings.Contains(o.Signed, "the maintainer") {
			t.Errorf("%s: %+v", name, o)
		}
		// Other keys in the same file: what was found before does not count.
		fatalIf(t, os.WriteFile(filepath.Join(p.dir, "x.pub"), []byte(otherKey), 0o600))
		p.settings(signed, l)
		refused(t, p.all(p.want("x", "1.0.0", x.raw))[0], Violation, "signed-by")
	}
}

// TestWhatIsRememberedRestsOnAllRules: another rule asks anew.
func TestWhatIsRememberedRestsOnAllRules(t *testing.T) {
	x := publicly(t, testlog.Must(forger()), "honest\n", "honest\n", nil)
	l := newLog(t, "log.test/openings")
	l.add(x.entry)
	p := newPlace(t, dev, l)
	c, it := p.checker(true), &item{}
	it.c, it.current.source, it.bundle, it.given = c, c.sources[0], []byte("b"), nil
	rules := p.policy.Rules("x", "1.0.0", now)
	keys := map[[32]byte]bool{c.memoKey(it, rules): true}
	for _, change := range []func(){
		func() { rules.AllowCRLF = client.AnyCRLF }, func() { rules.Registry = "https://other.example" },
		func() { it.open.because = "x" }, func() { it.open.local = [][]byte{[]byte("x")} },
	} {
		change()
		key := c.memoKey(it, rules)
		if keys[key] {
			t.Errorf("two rules have one key: %+v", rules)
		}
		keys[key] = true
	}
}

// TestWhoChoseTheVersionsIsShownByTheOpening: where the Cargo.lock of a crate follows from the commit's, only
// the bytes of that show it, and they are in the opening.
func TestWhoChoseTheVersionsIsShownByTheOpening(t *testing.T) {
	var l *fakeLog
	var p *place
	logged := func(o options) (*workshop, *entry.Entry, Want) {
		w := newWorkshop(t, o)
		e := w.leaves[len(w.leaves)-1]
		l = newLog(t, "log.test/versions")
		l.add(e)
		noOpenings(l)
		p = newPlace(t, dev, l)
		return w, e, p.want("app", "1.0.0", w.crates[w.app.SHA256])
	}
	says := func(what string, v []Verdict, by, why string) {
		t.Helper()
		verified(t, v)
		if f := v[0].Facts; f.Versions != by || !strings.Contains(f.VersionsWhy, why) || (why == "") != (f.VersionsWhy == "") {
			t.Errorf("%s: %q, %q", what, f.Versions, f.VersionsWhy)
		}
	}
	w, e, want := logged(options{derived: true})
	says("nobody asks", p.all(want), "whoever packaged", "not at hand")
	want.Versions = true
	says("no log has it", p.all(want), "whoever packaged", "not at hand")
	l.serveOpening(t, public{entry: e, opening: w.opening})
	says("a log has it", p.all(want), "the commit", "")
	says("it is kept", p.offline(want), "the commit", "")
	_, _, want = logged(options{proven: true})
	says("it is proven", p.all(want), "the commit", "")
	_, _, want = logged(options{})
	says("nothing binds it", p.all(want), "whoever packaged", "names no Cargo.lock")
}
