package log

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/tessera"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/opening"
)

// opened is a package, an entry about it, and the opening of that.
type opened struct {
	entry, crate, opening []byte
	identity              [32]byte
}

// opened makes a package at the root of a repository whose commit exists, but for a file
// that only the repository has.
func (w *world) opened(name string) opened {
	w.t.Helper()
	manifest, lib := forge.Manifest(name, "1.0.0"), forge.File{Path: "src/lib.rs", Content: "// " + name}
	raw := testlog.Must(forge.Pack(name, "1.0.0", manifest, lib))
	object := func(kind, content string) (id [20]byte, o []byte) {
		o = fmt.Appendf(nil, "%s %d\x00%s", kind, len(content), content)
		return sha1.Sum(o), o
	}
	blob := func(content string) string { id, _ := object("blob", content); return string(id[:]) }
	srcID, src := object("tree", "100644 lib.rs\x00"+blob(lib.Content))
	rootID, root := object("tree", "100644 .gitignore\x00"+blob("target\n")+"100644 Cargo.toml\x00"+blob(manifest.Content)+
		"40000 src\x00"+string(srcID[:]))
	id, commit := object("commit", fmt.Sprintf("tree %x\nauthor A <a@example.org> 1700000000 +0000\n"+
		"committer A <a@example.org> 1700000000 +0000\n\nmade\n", rootID))
	e := testlog.Must(forge.Claim(raw, name, "1.0.0", &entry.Source{Commit: id}))
	e.Proof = entry.Proof{Program: testProgram.ID(), Parts: [][]byte{{1, 2, 3, 4}}}
	w.proofs.believe(e)
	return opened{marshal(e), raw, bytes.Join([][]byte{commit, root, src}, nil), testlog.Must(e.Identity())}
}

// serve serves a log, and returns a client for it.
func serve(t *testing.T, l *Log) *client.Log {
	t.Helper()
	srv := httptest.NewServer(l.Handler())
	t.Cleanup(srv.Close)
	return &client.Log{URL: srv.URL}
}

// wantOpening wants the log to serve an opening, raw and compressed, or none.
func wantOpening(t *testing.T, c *client.Log, identity [32]byte, want []byte) {
	t.Helper()
	got, err := c.Opening(t.Context(), identity)
	if want == nil && !errors.Is(err, client.ErrNotLogged) || want != nil && (err != nil || !bytes.Equal(got, want)) {
		t.Errorf("the opening: %d bytes, %v; want %d", len(got), err, len(want))
	}
	r := testlog.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/v1/openings/%x", c.URL, identity), nil))
	r.Header.Set("Accept-Encoding", "identity")
	resp := testlog.Must(http.DefaultClient.Do(r))
	defer resp.Body.Close()
	b := testlog.Must(io.ReadAll(resp.Body))
	if want != nil && (resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != "" || !bytes.Equal(b, want)) {
		t.Errorf("without compression: %d, %d bytes", resp.StatusCode, len(b))
	}
	if want == nil && (resp.StatusCode != 404 || decodeRefusal(t, b).Reason != NotFound) {
		t.Errorf("without compression: %d %s", resp.StatusCode, b)
	}
}

func refusal(t *testing.T, err error, reason Reason, words string) {
	t.Helper()
	var status *client.StatusError
	if !errors.As(err, &status) || status.Reason != string(reason) || !strings.Contains(status.Message, words) {
		t.Errorf("got %v\nwant %s: ... %s ...", err, reason, words)
	}
}

func TestAnOpeningThatComesWithItsEntryIsServed(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	c := serve(t, l)
	o := w.opened("alpha")
	wantOpening(t, c, o.identity, nil)
	b := testlog.Must(c.Submit(t.Context(), o.entry, o.crate, o.opening))
	w.checkBundle(b, o.entry)
	wantOpening(t, c, o.identity, o.opening)
	_, _, list := get(t, c.URL+"/v1/crates/alpha/1.0.0/claims")
	var claims claimsBody
	fatalIf(t, json.Unmarshal(list, &claims))
	if len(claims.Claims) != 1 || claims.Claims[0].Opening != fmt.Sprintf("%x", opening.Name(o.opening)) {
		t.Errorf("%s", list)
	}
	w.closeLog(l)
	c = serve(t, w.open())
	wantOpening(t, c, o.identity, o.opening)

	for _, address := range []string{"x", strings.Repeat("ab", 32), strings.ToUpper(fmt.Sprintf("%x", o.identity)), ""} {
		if code, _, b := get(t, c.URL+"/v1/openings/"+address); code != 404 {
			t.Errorf("%q: %d %s", address, code, b)
		}
	}
}

// TestAStrangerCannotOpenWhatIsLogged: who ever cloned a private repository could.
func TestAStrangerCannotOpenWhatIsLogged(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	c := serve(t, l)
	o := w.opened("alpha")
	testlog.Must(c.Submit(t.Context(), o.entry, o.crate, nil))
	testlog.Must(c.Submit(t.Context(), o.entry, o.crate, o.opening)) // the entry stands: nothing else is read
	wantOpening(t, c, o.identity, nil)
	refusal(t, w.put(c, o, o.identity), OpeningRefused, "only if it comes with the submission of its entry")
	wantOpening(t, c, o.identity, nil)
}

// put brings an opening to what is logged.
func (w *world) put(c *client.Log, o opened, identity [32]byte) error {
	w.t.Helper()
	ctype, body := encodeForm(w.t, [2]string{"crate", string(o.crate)}, [2]string{"opening", string(o.opening)})
	r := testlog.Must(http.NewRequestWithContext(w.t.Context(), http.MethodPut, fmt.Sprintf("%s/v1/openings/%x", c.URL, identity), bytes.NewReader(body)))
	r.Header.Set("Content-Type", ctype)
	resp := testlog.Must(http.DefaultClient.Do(r))
	defer resp.Body.Close()
	b := testlog.Must(io.ReadAll(resp.Body))
	if resp.StatusCode == 200 || resp.StatusCode == 201 {
		return nil
	}
	x := decodeRefusal(w.t, b)
	return &client.StatusError{Status: resp.StatusCode, Reason: string(x.Reason), Message: x.Message}
}

func TestWhereAllMayEverybodyBringsOpenings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Openings = OpeningsAny
	l := w.open()
	c := serve(t, l)
	o, other := w.opened("alpha"), w.opened("beta")
	refusal(t, w.put(c, o, o.identity), NotFound, "no published entry")
	testlog.Must(c.Submit(t.Context(), o.entry, o.crate, nil))
	mixed := o
	mixed.crate = other.crate
	refusal(t, w.put(c, mixed, o.identity), CrateMismatch, "but the entry is about")
	mixed = o
	mixed.opening = other.opening
	refusal(t, w.put(c, mixed, o.identity), OpeningRefused, "")
	mixed.opening = nil
	refusal(t, w.put(c, mixed, o.identity), MalformedRequest, "opening is empty")
	wantOpening(t, c, o.identity, nil)
	for range 2 {
		fatalIf(t, w.put(c, o, o.identity))
		wantOpening(t, c, o.identity, o.opening)
	}
	wantSize(t, l, 1)
}

// TestABadOpeningRefusesItsEntry: nothing of the submission is left.
func TestABadOpeningRefusesItsEntry(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	c := serve(t, l)
	o, other := w.opened("alpha"), w.opened("beta")
	for name, bad := range map[string][]byte{
		"another's":      other.opening,
		"cut":            o.opening[:len(o.opening)-1],
		"longer":         append(bytes.Clone(o.opening), 0),
		"a byte flipped": append(bytes.Clone(o.opening[:len(o.opening)-1]), o.opening[len(o.opening)-1]^1),
		"junk":           []byte("junk"),
	} {
		_, err := c.Submit(t.Context(), o.entry, o.crate, bad)
		refusal(t, err, OpeningRefused, "The opening is refused: ")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	_, err := c.Submit(t.Context(), o.entry, o.crate, make([]byte, opening.MaxSize+1))
	refusal(t, err, OpeningTooLarge, "more than 4194304 bytes")
	_, err = c.Submit(t.Context(), o.entry, o.crate, []byte{})
	refusal(t, err, MalformedRequest, "opening is empty")
	wantSize(t, l, 0)
	var kept int
	fatalIf(t, l.openings.db.QueryRow("SELECT count(*) FROM openings").Scan(&kept))
	if kept != 0 {
		t.Errorf("%d openings are kept", kept)
	}
	testlog.Must(c.Submit(t.Context(), o.entry, o.crate, o.opening))
	wantOpening(t, c, o.identity, o.opening)
}

// TestAFalseClaimIsRefusedWithItsOpening: the key is forged, SHA-1 is not.
func TestAFalseClaimIsRefusedWithItsOpening(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	c := serve(t, l)
	o := w.opened("alpha")
	real := testlog.Must(entry.Parse(o.entry)).Claim.(*entry.Source)
	forged := testlog.Must(forge.Pack("alpha", "1.0.0", forge.Manifest("alpha", "1.0.0"), forge.File{Path: "src/lib.rs", Content: "// evil"}))
	e := testlog.Must(forge.Claim(forged, "alpha", "1.0.0", &entry.Source{Commit: real.Commit}))
	e.Proof = entry.Proof{Program: testProgram.ID(), Parts: [][]byte{{1}}}
	w.proofs.believe(e)
	_, err := c.Submit(t.Context(), marshal(e), forged, o.opening)
	refusal(t, err, OpeningRefused, "contradict the claim")
	wantSize(t, l, 0)
	if _, _, b := get(t, c.URL+"/metrics"); !strings.Contains(string(b), "\ncratelog_contradictions_total 1\n") {
		t.Error("the operator is not told that somebody can forge")
	}
}

func TestADeletedOpeningIsGoneAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Openings = OpeningsAny
	l := w.open()
	c := serve(t, l)
	o, other := w.opened("alpha"), w.opened("beta")
	for _, o := range []opened{o, other} {
		testlog.Must(c.Submit(t.Context(), o.entry, o.crate, o.opening))
	}
	before := treeFiles(t, w.cfg.TreeDir)
	fatalIf(t, DeleteOpening(t.Context(), w.cfg, o.identity)) // while the log runs
	wantOpening(t, c, o.identity, nil)
	wantOpening(t, c, other.identity, other.opening)
	refusal(t, w.put(c, o, o.identity), OpeningRefused, "has deleted this opening")
	wantOpening(t, c, o.identity, nil)
	w.wantBundle(l, client.Query{Name: "alpha", Version: "1.0.0"}, o.entry)
	w.closeLog(l)
	after := treeFiles(t, w.cfg.TreeDir)
	for name, content := range before {
		if strings.Contains(name, "tile") && after[name] != content {
			t.Errorf("%s has changed", name)
		}
	}
	raw := testlog.Must(os.ReadFile(filepath.Join(w.cfg.StateDir, openingsFile)))
	packed := testlog.Must(openOpenings(t.Context(), &Config{StateDir: t.TempDir(), OpeningsBytes: 1 << 20}))
	testlog.Must(packed.put(t.Context(), o.identity, o.opening))
	kept, _, err := packed.get(t.Context(), o.identity)
	if err := errors.Join(err, packed.close()); err != nil || bytes.Contains(raw, kept.gzipped[10:len(kept.gzipped)-8]) {
		t.Errorf("its bytes are still in the file (%v)", err)
	}
	l = w.open()
	wantOpening(t, serve(t, l), o.identity, nil)
	for _, identity := range [][32]byte{o.identity, {1}} {
		if err := DeleteOpening(t.Context(), w.cfg, identity); err == nil || !strings.Contains(err.Error(), "holds no opening") {
			t.Errorf("deleted again: %v", err)
		}
	}
	empty := t.TempDir()
	if err := DeleteOpening(t.Context(), Config{StateDir: empty}, o.identity); err == nil || len(treeFiles(t, empty)) != 0 {
		t.Errorf("in another directory: %v", err)
	}
}

// treeFiles reads all files below a directory.
func treeFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	fatalIf(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	}))
	return files
}

func TestALogCanDoWithoutOpenings(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	o := w.opened("alpha")
	testlog.Must(serve(t, l).Submit(t.Context(), o.entry, o.crate, o.opening))
	w.closeLog(l)
	w.cfg.Openings = OpeningsOff
	l = w.open()
	c := serve(t, l)
	wantOpening(t, c, o.identity, nil)
	next := w.opened("beta")
	_, err := c.Submit(t.Context(), next.entry, next.crate, next.opening)
	refusal(t, err, OpeningRefused, "submit the entry without it")
	testlog.Must(c.Submit(t.Context(), next.entry, next.crate, nil))
	w.closeLog(l)

	w.cfg.Openings = OpeningsSubmitter
	w.cfg.OpeningsBytes = int64(len(o.opening)) + 100 // one fits, and no second
	l = w.open()
	c = serve(t, l)
	wantOpening(t, c, o.identity, o.opening) // it was kept, and not served
	last := w.opened("gamma")
	_, err = c.Submit(t.Context(), last.entry, last.crate, last.opening)
	refusal(t, err, OpeningsFull, "submit the entry without it")
	testlog.Must(c.Submit(t.Context(), last.entry, last.crate, nil))
	wantSize(t, l, 3)
	w.closeLog(l)
	w.cfg.Openings = "all"
	w.wantNoOpen(nil, "submitter, any or off")
}

// TestAnOpeningWithoutAnEntryIsForgotten: the log stopped between the two.
func TestAnOpeningWithoutAnEntryIsForgotten(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	o, other := w.opened("alpha"), w.opened("beta")
	testlog.Must(serve(t, l).Submit(t.Context(), o.entry, o.crate, o.opening))
	testlog.Must(l.openings.put(t.Context(), other.identity, other.opening))
	w.closeLog(l)
	l = w.open()
	c := serve(t, l)
	wantOpening(t, c, o.identity, o.opening)
	if _, found, err := l.openings.named(t.Context(), other.identity); found || err != nil {
		t.Errorf("it is kept (%v)", err)
	}
	testlog.Must(c.Submit(t.Context(), other.entry, other.crate, nil))
	wantOpening(t, c, other.identity, nil)
}

// TestAnOpeningOfARefusedEntryIsNotKept: it would be served once the entry comes again, from one who
// does not want it open; and it would take the room of others.
func TestAnOpeningOfARefusedEntryIsNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	failed := errors.New("no space left")
	fail := true
	w.cfg.testingOnlyAppender = func(add tessera.AddFn) tessera.AddFn {
		return func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
			if fail {
				return func() (tessera.Index, error) { return tessera.Index{}, failed }
			}
			return add(ctx, e)
		}
	}
	l := w.open()
	none := func() {
		t.Helper()
		kept := 0
		fatalIf(t, l.openings.db.QueryRow("SELECT count(*) FROM openings").Scan(&kept))
		if kept != 0 {
			t.Errorf("%d openings are kept", kept)
		}
	}
	o := w.opened("alpha")
	_, err := l.Submit(t.Context(), o.entry, bytes.NewReader(o.crate), bytes.NewReader(o.opening))
	if !errors.Is(err, failed) {
		t.Fatalf("got %v", err)
	}
	none()
	fail = false
	testlog.Must(l.Submit(t.Context(), o.entry, bytes.NewReader(o.crate), nil))
	wantOpening(t, serve(t, l), o.identity, nil)

	beta := w.opened("beta") // which names no commit
	for i := range byte(maxNameless) {
		w.submit(l, w.about(beta.crate, "beta", func(_ *entry.Entry, s *entry.Source) { s.Commit[0] = i }), beta.crate)
	}
	_, err = l.Submit(t.Context(), beta.entry, bytes.NewReader(beta.crate), bytes.NewReader(beta.opening))
	wantRefusal(t, err, TooManyClaims, "")
	none()
}

// TestTheFormOfAnOpening: every part that is not as it must be, over HTTP.
func TestTheFormOfAnOpening(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	c := serve(t, l)
	o := w.opened("alpha")
	parts := [][2]string{{"entry", string(o.entry)}, {"crate", string(o.crate)}, {"opening", string(o.opening)}}
	for _, tt := range []struct {
		name  string
		parts [][2]string
		cut   int
		words string
	}{
		{"something after it", append(parts[:3:3], [2]string{"more", "x"}), 0, "nothing else"},
		{"twice", append(parts[:3:3], parts[2]), 0, "nothing else"},
		{"before the crate", [][2]string{parts[0], parts[2], parts[1]}, 0, "where crate belongs"},
		{"cut in the opening", parts, 70, "could not be read"},
		{"cut before the end", parts, 6, ""},
		{"empty", [][2]string{parts[0], parts[1], {"opening", ""}}, 0, "is empty"},
	} {
		ctype, body := encodeForm(t, tt.parts...)
		resp, b := post(t, c.URL+"/v1/submit", ctype, body[:len(body)-tt.cut])
		if r := decodeRefusal(t, b); resp.StatusCode != 400 || r.Reason != MalformedRequest || !strings.Contains(r.Message, tt.words) {
			t.Errorf("%s: %d %s", tt.name, resp.StatusCode, b)
		}
	}
	wantSize(t, l, 0)
	ctype, body := encodeForm(t, parts...)
	if resp, b := post(t, c.URL+"/v1/submit", ctype, body); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	wantOpening(t, c, o.identity, o.opening)
}
