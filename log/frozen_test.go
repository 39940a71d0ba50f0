package log

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/testlog"
	"cratelog/log/storage"
)

// freeze ends the log of a world.
func (w *world) freeze(s Successor) client.Frozen {
	w.t.Helper()
	f, err := Freeze(w.t.Context(), w.cfg, s)
	fatalIf(w.t, err)
	return f
}

// TestAFrozenLogSignsNothingMore, answers submissions with its successor, and goes on answering readers.
func TestAFrozenLogSignsNothingMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	e, c := w.good("alpha", "1.0.0")
	w.submit(l, e, c)
	if code, _, b := get(t, serve(t, l).URL+"/frozen"); code != 404 || decodeRefusal(t, b).Reason != NotFound {
		t.Errorf("a log that goes on: %d %s", code, b)
	}
	w.closeLog(l)

	next := testlog.LogKey("log.test/2027", "next")
	for _, bad := range []Successor{{VKey: "x"}, {VKey: next.VKey, URL: "ftp://x"}, {Reason: "two\nlines"},
		{Reason: strings.Repeat("x", 201)}, {URL: "https://x.example"}} {
		if _, err := Freeze(t.Context(), w.cfg, bad); err == nil {
			t.Errorf("frozen with %+v", bad)
		}
	}
	s := Successor{VKey: next.VKey, URL: "https://log.test/2027", Reason: "The year is over."}
	f := w.freeze(s)
	policy := testlog.Must(client.ParsePolicy(w.trust))
	if got := testlog.Must(policy.CheckFrozen(f.Signed)); got.Size != 2 || got.Successor != next.VKey ||
		got.SuccessorURL != s.URL || got.Reason != s.Reason ||
		time.Since(got.Time) > time.Hour {
		t.Errorf("%+v", got)
	}
	if again := w.freeze(s); !bytes.Equal(again.Signed, f.Signed) {
		t.Error("a log has two last words")
	}
	if _, err := Freeze(t.Context(), w.cfg, Successor{}); !errors.Is(err, ErrFrozen) {
		t.Errorf("frozen again, with another successor: %v", err)
	}

	l = w.open()
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, Frozen, next.VKey+" at https://log.test/2027")
	e2, c2 := w.good("beta", "1.0.0")
	ctype, body := encodeForm(t, [2]string{"entry", string(e2)}, [2]string{"crate", string(c2)})
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	if resp, b := post(t, srv.URL+"/v1/submit", ctype, body); resp.StatusCode != http.StatusGone || decodeRefusal(t,
		b).Reason != Frozen {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	code, _, b := get(t, srv.URL+"/v1/crates/alpha/1.0.0")
	if code != 200 {
		t.Fatalf("%d %s", code, b)
	}
	w.checkBundle(b, e)
	if code, _, b := get(t, srv.URL+"/frozen"); code != 200 || !bytes.Equal(b, f.Signed) {
		t.Errorf("%d %s", code, b)
	}
	if code, _, b := get(t, srv.URL+"/healthz"); code != 200 {
		t.Errorf("%d %s", code, b)
	}
	about := decode[aboutBody](t, srv.URL+"/v1/log")
	if about.Frozen == nil || about.Frozen.Size != 2 || about.Frozen.Successor != next.VKey || about.ReadOnly {
		t.Errorf("%+v", about)
	}
	var v any
	_, _, b = get(t, srv.URL+"/v1/log")
	fatalIf(t, json.Unmarshal(b, &v))
	for _, wrong := range readAPI(t).conforms(v, &apiSchema{Ref: "#/components/schemas/Log"}, "") {
		t.Error(wrong)
	}
	if _, _, b := get(t, srv.URL+"/"); !strings.Contains(string(b), "This log has ended") || strings.Contains(string(b),
		"It accepts and publishes") {
		t.Error("the page does not say that the log has ended")
	}
	if _, _, b := get(t, srv.URL+"/metrics"); !strings.Contains(string(b), "cratelog_frozen 1\n") {
		t.Error("the metrics do not say so")
	}
	// Whatever asks it, the guard signs no checkpoint, and its memory outlives the file.
	if _, err := l.guard.Sign(f.Signed); !errors.Is(err, ErrFrozen) {
		t.Errorf("it signs: %v", err)
	}
	w.closeLog(l)
	file := filepath.Join(w.cfg.TreeDir, storage.Frozen)
	fatalIf(t, os.Remove(file))
	l = w.open()
	if b := testlog.Must(os.ReadFile(file)); !bytes.Equal(b, f.Signed) || l.frozen == nil {
		t.Error("without its file the log is not frozen")
	}
	w.closeLog(l)
}

// TestALogWithAnMLDSAKeyCanEnd: that key signs checkpoints and nothing else, so the other one signs the end. A
// log without another one is told before anything is done.
func TestALogWithAnMLDSAKeyCanEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ed := Key{w.cfg.Signer, w.cfg.VKey}
	pq := testlog.MLDSAKey(testOrigin, time.Time{})
	pq.Time = time.Now
	rest := strings.SplitAfterN(string(w.trust), "\n", 2)[1]
	w.cfg.Policy = fmt.Appendf(nil, "log %s\nlog %s\n%s", pq.VKey, ed.VKey, rest)
	w.cfg.Signer, w.cfg.VKey, w.cfg.MoreKeys = pq, pq.VKey, nil
	if _, err := Freeze(t.Context(), w.cfg, Successor{}); err == nil || !strings.Contains(err.Error(),
		"signed with Ed25519") {
		t.Errorf("frozen by a key that cannot say so: %v", err)
	}
	w.cfg.MoreKeys = []Key{ed}
	f := w.freeze(Successor{VKey: testlog.MLDSAKey("log.test/2027", time.Time{}).VKey})
	if _, err := testlog.Must(client.ParsePolicy(w.trust)).CheckFrozen(f.Signed); err != nil {
		t.Error(err)
	}
}

// TestAFrozenNoteOfAnotherStateIsNotBelieved: a guard that does not know of it, a note of another log or tree.
func TestAFrozenNoteOfAnotherStateIsNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	e, c := w.good("alpha", "1.0.0")
	w.submit(l, e, c)
	head := l.published.head()
	w.closeLog(l)
	file := filepath.Join(w.cfg.TreeDir, storage.Frozen)
	sign := func(key note.Signer, change func(*client.Frozen)) []byte {
		f := client.Frozen{Origin: w.cfg.Origin, Size: int64(head.size), Root: head.root, Time: time.Unix(1e9, 0)}
		change(&f)
		return testlog.Must(note.Sign(&note.Note{Text: testlog.Must(f.Text())}, key))
	}
	fatalIf(t, os.WriteFile(file, sign(w.cfg.Signer, func(*client.Frozen) {}), 0o644))
	w.wantNoOpen(ErrRollback, "guard.db does not know it")
	ours := w.cfg
	w.cfg.ReadOnly, w.cfg.Signer, w.cfg.StateDir = true, nil, filepath.Join(t.TempDir(), "state")
	w.closeLog(w.open()) // a copy has only the file
	for name, b := range map[string][]byte{
		"of another key": sign(testlog.LogKey(w.cfg.Origin, "other"), func(*client.Frozen) {}),
		"of more":        sign(ours.Signer, func(f *client.Frozen) { f.Size++ }),
		"of another":     sign(ours.Signer, func(f *client.Frozen) { f.Root[0] ^= 1 }),
		"of nothing":     []byte("x"),
	} {
		fatalIf(t, os.WriteFile(file, b, 0o644))
		if l, err := Open(t.Context(), w.cfg); err == nil {
			w.closeLog(l)
			t.Errorf("a note %s is believed", name)
		}
	}
}

// TestACopyIsServedWithoutAKey, follows what it is a copy of, and shows nothing that does not fit.
// TestACopyOfWhichABundleIsLateIndexesNothingElse: tiles and checkpoint are there, and the entries are others.
func TestACopyOfWhichABundleIsLateIndexesNothingElse(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	copyDir := filepath.Join(t.TempDir(), "tree")
	fatalIf(t, os.CopyFS(copyDir, os.DirFS(w.cfg.TreeDir)))
	cfg := w.cfg
	cfg.ReadOnly, cfg.Signer, cfg.TreeDir, cfg.StateDir = true, nil, copyDir, filepath.Join(t.TempDir(), "state")
	reader, err := Open(t.Context(), cfg)
	fatalIf(t, err)
	defer w.closeLog(reader)
	e, c := w.good("late", "1.0.0")
	w.submit(l, e, c)
	sync := func(name string, change func([]byte) []byte) {
		b := testlog.Must(os.ReadFile(w.treeFile(name)))
		fatalIf(t, os.WriteFile(filepath.Join(copyDir, name), change(b), 0o644))
	}
	same := func(b []byte) []byte { return b }
	sync("tile/entries/000.p/6", func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("late"), []byte("evil")) })
	sync("tile/0/000.p/6", same)
	sync("checkpoint", same)
	if err := reader.refreshCopy(t.Context()); !errors.Is(err, errDamaged) {
		t.Errorf("other entries than the tree's are shown: %v", err)
	}
	sync("tile/entries/000.p/6", same)
	eventually(t, "the copy follows", func() bool { return reader.published.head().size == 6 })
	if rows := testlog.Must(reader.index.rows(t.Context(), "WHERE name = ?", "late")); len(rows) != 1 {
		t.Errorf("the index has %d rows of the entry", len(rows))
	}
}

// TestARottenFrozenNoteOfTheGuardLeavesTheFile: the tree's good note is not overwritten with it.
func TestARottenFrozenNoteOfTheGuardLeavesTheFile(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	w.closeLog(l)
	f := w.freeze(Successor{})
	file := filepath.Join(w.cfg.TreeDir, storage.Frozen)
	if findings := w.fsck(true); len(findings) > 0 {
		t.Errorf("of a frozen log that is in order: %v", findings)
	}
	fatalIf(t, os.Remove(file))
	if findings := w.fsck(true); places(findings) != storage.Frozen || !findings[0].Repaired {
		t.Errorf("without the file: %v", findings)
	}
	db := testlog.Must(guardDatabase.Open(t.Context(), filepath.Join(w.cfg.StateDir, "guard.db"), false))
	testlog.Must(db.Exec("UPDATE frozen SET note = x'00'"))
	fatalIf(t, db.Close())
	if l, err := Open(t.Context(), w.cfg); err == nil || !strings.Contains(err.Error(), "guard.db, the frozen note") {
		t.Errorf("%v, %v", l, err)
	}
	if findings := w.fsck(true); places(findings) != "guard.db" {
		t.Errorf("%v", findings)
	}
	if b := testlog.Must(os.ReadFile(file)); !bytes.Equal(b, f.Signed) {
		t.Errorf("the file is %q", b)
	}
}

func TestACopyIsServedWithoutAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	var entries [][]byte
	for i := range 3 {
		e, c := w.good(fmt.Sprintf("c%d", i), "1.0.0")
		w.submit(l, e, c)
		entries = append(entries, e)
	}
	copyDir := filepath.Join(t.TempDir(), "tree")
	fatalIf(t, os.CopyFS(copyDir, os.DirFS(w.cfg.TreeDir)))
	cfg := w.cfg
	cfg.ReadOnly, cfg.Signer, cfg.TreeDir, cfg.StateDir = true, nil, copyDir, filepath.Join(t.TempDir(), "state")
	reader, err := Open(t.Context(), cfg)
	fatalIf(t, err)
	defer w.closeLog(reader)
	srv := httptest.NewServer(reader.Handler())
	defer srv.Close()
	for i, e := range entries {
		code, _, b := get(t, fmt.Sprintf("%s/v1/crates/c%d/1.0.0", srv.URL, i))
		if code != 200 {
			t.Fatalf("%d %s", code, b)
		}
		w.checkBundle(b, e)
	}
	runFsck(t, w, srv.URL)
	e, c := w.good("late", "1.0.0")
	_, err = reader.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, ReadOnly, "submit to the log itself")
	if about := decode[aboutBody](t, srv.URL+"/v1/log"); !about.ReadOnly || about.Size != 6 {
		t.Errorf("%+v", about)
	}
	if code, _, b := get(t, srv.URL+"/healthz"); code != 200 {
		t.Errorf("%d %s", code, b)
	}
	if _, _, b := get(t, srv.URL+"/"); !strings.Contains(string(b), "a copy for readers") || strings.Contains(string(b),
		"It accepts and publishes") {
		t.Error("the page does not say that this is a copy")
	}
	files := func() string { // a copy is not written to
		out := ""
		fatalIf(t, filepath.WalkDir(copyDir, func(p string, d os.DirEntry, err error) error { out += p + "\n"; return err }))
		return out
	}
	before := files()

	w.submit(l, e, c)
	late := testlog.Must(os.ReadFile(filepath.Join(w.cfg.TreeDir, "checkpoint")))
	// The checkpoint alone is not enough: its tiles are missing.
	fatalIf(t, os.WriteFile(filepath.Join(copyDir, "checkpoint"), late, 0o644))
	if err := reader.refreshCopy(t.Context()); err == nil {
		t.Error("a checkpoint without its tiles is shown")
	}
	if files() != before {
		t.Error("the copy was written to")
	}
	half := filepath.Join(copyDir, "tile/0/000.p/8") // whoever copies is not done
	fatalIf(t, os.WriteFile(half, make([]byte, 8*32), 0o644))
	if err := reader.refreshCopy(t.Context()); err == nil || !strings.Contains(err.Error(),
		"not those of the checkpoint") {
		t.Errorf("a checkpoint with half of its tiles is shown: %v", err)
	}
	for _, name := range []string{"tile/0/000.p/8", "tile/entries/000.p/8"} {
		fatalIf(t, os.WriteFile(filepath.Join(copyDir, name), testlog.Must(os.ReadFile(filepath.Join(w.cfg.TreeDir,
			name))), 0o644))
	}
	eventually(t, "the copy follows", func() bool { return reader.published.head().size == 8 })
	code, _, b := get(t, srv.URL+"/v1/crates/late/1.0.0")
	if code != 200 {
		t.Fatalf("%d %s", code, b)
	}
	w.checkBundle(b, e)
	// What is wrong with the checkpoint's file is for whoever makes the copy.
	file, ahead := filepath.Join(copyDir, "checkpoint"), time.Now().Add(time.Hour).Truncate(time.Second)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, raw := range [][]byte{[]byte("half of a checkpoint"), late} {
		fatalIf(t, os.WriteFile(file, raw, 0o644))
		fatalIf(t, os.Chtimes(file, ahead, ahead))
		reader.followCheckpoint(ended, time.Hour)
		info := testlog.Must(os.Stat(file))
		if b := testlog.Must(os.ReadFile(file)); !bytes.Equal(b, raw) || !info.ModTime().Equal(ahead) {
			t.Errorf("the copy's checkpoint was changed: %v, %q", info.ModTime(), b)
		}
	}
	if reader.halt.reason() != nil {
		t.Error(reader.halt.reason())
	}

	// One that does not continue what was shown is not followed.
	shown := reader.published.head()
	shown.root[0] ^= 1
	shown.raw = []byte("x")
	reader.published.set(shown)
	if err := reader.refreshCopy(t.Context()); !errors.Is(err, errContradiction) {
		t.Errorf("another tree is shown: %v", err)
	}

	// A copy whose tiles were changed does not open.
	raw := testlog.Must(os.ReadFile(filepath.Join(copyDir, "tile/0/000.p/8")))
	raw[3] ^= 1
	fatalIf(t, os.WriteFile(filepath.Join(copyDir, "tile/0/000.p/8"), raw, 0o644))
	cfg.StateDir = filepath.Join(t.TempDir(), "other")
	if l, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "not those of the checkpoint") {
		if l != nil {
			w.closeLog(l)
		}
		t.Errorf("a damaged copy is served: %v", err)
	}
}

// TestAnExportAnswersAsTheLogDoes: from a plain file server, to the client as it is.
func TestAnExportAnswersAsTheLogDoes(t *testing.T) {
	t.Parallel()
	w := buildWorld(t)
	w.cfg.testingOnlyPage = 2
	w.cfg.KeysDir = t.TempDir()
	key := []byte("a proving key")
	fatalIf(t, os.WriteFile(filepath.Join(w.cfg.KeysDir, fmt.Sprintf("%x", sha256.Sum256(key))), key, 0o644))
	l := w.open()
	var sources [][]byte
	for i := range 5 {
		e, c := w.good("alpha", fmt.Sprintf("1.0.%d+x", i))
		w.submit(l, e, c)
		sources = append(sources, e)
	}
	o := w.opened("opened")
	testlog.Must(l.Submit(t.Context(), o.entry, bytes.NewReader(o.crate), bytes.NewReader(o.opening)))
	for i := range byte(3) {
		builder := []builder{ann, bob, ann}[i]
		source := sources[i/2]
		w.build(l, builder.says(t, rebuilders, source, claimOf(1+i)), nil)
	}
	wantBuildRefusal(t, l, bob.says(t, rebuilders, sources[0], claimOf(9)), crates, nil, BuilderContradiction, "")
	raw := testCrate(t, "alpha", "1.0.0+x", "// other registry")
	other := testEntry(t, raw, "alpha", "1.0.0+x", 1)
	other.Subject.Registry = "https://index.example/x"
	w.proofs.believe(other)
	w.submit(l, marshal(other), raw)
	live := httptest.NewServer(l.Handler())
	w.closeLog(l)
	f := w.freeze(Successor{})
	dir := filepath.Join(t.TempDir(), "public")
	w.cfg.Withdrawn = [][32]byte{testProgram.ID()} // which has no file that could be listed
	fatalIf(t, Export(t.Context(), w.cfg, dir))
	live.Close()
	l = w.open()
	live = httptest.NewServer(l.Handler())
	defer live.Close()
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer srv.Close()
	runFsck(t, w, srv.URL)

	logged, files := &client.Log{URL: live.URL}, &client.Log{URL: srv.URL}
	same := func(what string, a, b any, errs ...error) {
		t.Helper()
		fatalIf(t, errors.Join(errs...))
		if x, y := fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b); x != y || x == "" || x == "[]" {
			t.Errorf("%s:\n%.300s\nfrom files\n%.300s", what, x, y)
		}
	}
	ctx := t.Context()
	for _, raw := range append(sources, o.entry) {
		e := testlog.Must(entry.Parse(raw))
		q := client.Query{Name: e.Subject.Name, Version: e.Subject.Version, Programs: [][32]byte{testProgram.ID()}}
		a, err := logged.Bundle(ctx, q)
		b, err2 := files.Bundle(ctx, q)
		same("bundle", a, b, err, err2)
		w.checkBundle(b, raw)
	}
	subject := testlog.Must(entry.Parse(sources[0])).Subject
	a, err := logged.Builds(ctx, subject)
	b, err2 := files.Builds(ctx, subject)
	same("builds", a, b, err, err2)
	va, err := logged.Versions(ctx, "", "ALPHA")
	vb, err2 := files.Versions(ctx, "", "alpha")
	same("versions", va, vb, err, err2)
	if len(vb) != 5 {
		t.Errorf("%d versions", len(vb))
	}
	id := testlog.Must(testlog.Must(entry.Parse(o.entry)).Identity())
	oa, err := logged.Opening(ctx, id)
	ob, err2 := files.Opening(ctx, id)
	same("opening", oa, ob, err, err2)
	aa, err := logged.Artifact(ctx, [32]byte{1})
	ab, err2 := files.Artifact(ctx, [32]byte{1})
	same("artifact", aa, ab, err, err2)
	ca, err := logged.Contradictions(ctx, 0, 9)
	cb, err2 := files.Contradictions(ctx, 0, 9)
	same("contradictions", ca, cb, err, err2)
	if more, err := files.Contradictions(ctx, cb[0].Number+1, 9); err != nil || len(more) != 0 {
		t.Errorf("contradictions from files, further: %d %v", len(more), err)
	}
	sum := sha256.Sum256(crates)
	la, err := logged.CompiledList(ctx, sum)
	lb, err2 := files.CompiledList(ctx, sum)
	same("list", la, lb, err, err2)
	ka, err := logged.Checkpoint(ctx)
	kb, err2 := files.Checkpoint(ctx)
	same("checkpoint", ka, kb, err, err2)
	fb, err := files.Frozen(ctx)
	same("frozen", f.Signed, fb, err)
	cp := testlog.Must(l.policy.CheckCheckpoint(kb))
	if _, err := files.Tiles(cp).Root(ctx, 3); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/v1/entries/0", "/v1/entries/8", fmt.Sprintf("/v1/entries/by-leaf/%x",
		testLeaf(o.entry)),
		fmt.Sprintf("/v1/entries/by-identity/%x", id), "/v1/crates/alpha/1.0.0+x/claims", "/v1/keys/" + fmt.Sprintf("%x",
			sha256.Sum256(key)), "/trust.policy", "/v1/openapi.json", "/"} {
		code, _, a := get(t, live.URL+path)
		code2, _, b := get(t, srv.URL+path)
		if path == "/" { // which says how old things are
			a, b = nil, nil
		}
		if code != 200 || code2 != 200 || !bytes.Equal(a, b) {
			t.Errorf("%s: %d and, from files, %d\n%.200s\n%.200s", path, code, code2, a, b)
		}
	}
	wa, err := logged.Lookup(ctx, "", "alpha", "1.0.0+x")
	wb, err2 := files.Lookup(ctx, "", "alpha", "1.0.0+x")
	same("look-up", wa, wb, err, err2)
	pa, err := logged.CratePage(ctx, "", "alpha")
	pb, err2 := files.CratePage(ctx, "", "alpha")
	same("page", pa, pb, err, err2)
	w.exportShowsWhatIsNotThere(l, files, dir)
	if code, _, b := get(t, srv.URL+"/404.json"); code != 200 || decodeRefusal(t, b).Reason != NotFound {
		t.Errorf("%d %s", code, b)
	}
}

// exportShowsWhatIsNotThere: of each version that has no file, a page shows what the log holds; without a page that
// holds, the export withholds.
func (w *world) exportShowsWhatIsNotThere(l *Log, files *client.Log, dir string) {
	w.t.Helper()
	missing := func(name, version string) error {
		return files.Missing(w.t.Context(), client.Query{Name: name, Version: version}, l.policy, client.Rules{})
	}
	for _, version := range []string{"alpha 9.0.0", "none 1.0.0", "ALPHA 1.0.0", "alpha 1.0.4+y"} {
		name, version, _ := strings.Cut(version, " ")
		var shown *client.NotLoggedError
		if err := missing(name, version); !errors.As(err, &shown) || shown.Held.Logged != (version != "9.0.0" && name != "none") {
			w.t.Errorf("%s %s: %v", name, version, err)
		}
	}
	// A page of any prefix follows from those that are there, or it takes several of them.
	live := serve(w.t, l)
	good, _ := w.good("alpha", "1.0.0+x")
	crate := testlog.Must(entry.Parse(good)).Subject
	prefixes := []index.Prefix{{}, index.NamePrefix("default", "alpha"), index.NamePrefix("default", "none"),
		index.VersionPrefix("default", "alpha", "1.0.0"), index.VersionPrefix("default", "alpha", "9.0.0"),
		index.BinaryPrefix(crate.SHA256, "alpha", "x86_64-unknown-linux-gnu"), index.BinaryPrefix(crate.SHA256, "beta", "x")}
	for _, r := range slices.Collect(testlog.Must(l.sealedAt(l.published.head().size)).snap.Rows(index.Prefix{})) {
		prefixes = append(prefixes, testlog.Must(index.NewPrefix(r.Key, 8*index.KeySize)))
	}
	for _, under := range prefixes {
		want := testlog.Must(live.Page(w.t.Context(), under))
		got, err := files.Page(w.t.Context(), under)
		if !errors.Is(err, client.ErrManyRows) && !bytes.Equal(got, want) {
			w.t.Errorf("the page of %d bits %x from files: %v", under.Bits(), under.Bytes(), err)
		}
		if parts := testlog.Must(client.ParsePage(want)).Rows; len(parts) < 2 && err != nil {
			w.t.Errorf("%d rows take several pages", len(parts))
		}
	}
	for _, name := range []string{"alpha", "Alpha", "none"} {
		a, err := live.Crate(w.t.Context(), l.policy, client.Rules{}, "", name)
		b, err2 := files.Crate(w.t.Context(), l.policy, client.Rules{}, "", name)
		fatalIf(w.t, errors.Join(err, err2))
		if len(a.Rows) != len(b.Rows) || len(a.Entries) != len(b.Entries) || (len(a.Rows) == 0) != (name == "none") {
			w.t.Errorf("%s: %d rows and %d entries, and from files %d and %d", name, len(a.Rows), len(a.Entries), len(b.Rows),
				len(b.Entries))
		}
	}
	list := strings.Fields(string(testlog.Must(os.ReadFile(filepath.Join(dir, "v1/index/index.html")))))
	if len(list) < 4 || list[0]+"\n" != client.PagesLabel {
		w.t.Fatalf("%d pages", len(list)-1)
	}
	rows := 0
	for _, name := range list[1:] {
		rows += len(testlog.Must(client.ParsePage(testlog.Must(os.ReadFile(filepath.Join(dir, "v1/pages", name))))).Rows)
	}
	if s := testlog.Must(l.sealedAt(l.published.head().size)); rows != s.snap.Len() {
		w.t.Errorf("%d rows are in pages, of %d", rows, s.snap.Len())
	}
	var others []func()
	for i, name := range list[1:] { // each page in the place of another
		file := filepath.Join(dir, "v1/pages", name)
		next := testlog.Must(os.ReadFile(filepath.Join(dir, "v1/pages", list[1+(i+1)%(len(list)-1)])))
		others = append(others, func() { fatalIf(w.t, os.WriteFile(file, next, 0o644)) })
	}
	for _, swap := range others {
		swap()
	}
	if err := missing("none", "1.0.0"); !errors.Is(err, client.ErrWithheld) {
		w.t.Errorf("a page of other keys is believed: %v", err)
	}
	fatalIf(w.t, os.RemoveAll(filepath.Join(dir, "v1/pages")))
	if err := missing("none", "1.0.0"); !errors.Is(err, client.ErrWithheld) {
		w.t.Errorf("without pages: %v", err)
	}
}

// TestAnExportGoesOn where it stopped, and never among files of others.
func TestAnExportGoesOn(t *testing.T) {
	t.Parallel()
	w, l, srv := filled(t, 20)
	srv.Close()
	w.closeLog(l)
	dir := t.TempDir()
	export := func() error {
		cfg := w.cfg
		cfg.Withdrawn = [][32]byte{testProgram.ID()} // which has no file that could be listed
		return Export(t.Context(), cfg, dir)
	}
	fatalIf(t, os.WriteFile(filepath.Join(dir, "precious"), nil, 0o644))
	if err := export(); err == nil || !strings.Contains(err.Error(), "holds files") {
		t.Errorf("it writes among files of others: %v", err)
	}
	dir = t.TempDir()
	fatalIf(t, export())
	mark := func() (m exported) {
		fatalIf(t, json.Unmarshal(testlog.Must(os.ReadFile(filepath.Join(dir, exportMark))), &m))
		return m
	}
	if m := mark(); !m.Done || m.Next != 21 || m.Size != 21 {
		t.Errorf("%+v", m)
	}
	// Stopped at entry 12: what stands below is left alone, and the rest is made.
	m := mark()
	m.Next, m.Done = 12, false
	fatalIf(t, os.WriteFile(filepath.Join(dir, exportMark), testlog.Must(json.Marshal(m)), 0o644))
	old, lost := filepath.Join(dir, "v1/entries/11"), filepath.Join(dir, "v1/entries/12")
	torn := filepath.Join(dir, "v1/entries/.new-1")
	fatalIf(t, os.WriteFile(torn, nil, 0o600))
	fatalIf(t, os.WriteFile(old, []byte("old"), 0o644))
	fatalIf(t, os.Remove(lost))
	fatalIf(t, export())
	if _, err := os.Stat(torn); err == nil {
		t.Error("a file that was half written is left")
	}
	if b := testlog.Must(os.ReadFile(old)); string(b) != "old" || len(testlog.Must(os.ReadFile(lost))) == 0 ||
		!mark().Done {
		t.Error("it did not go on at entry 12")
	}
	// A newer checkpoint: all bundles are made again.
	l = w.open()
	e, c := w.good("new", "1.0.0")
	w.submit(l, e, c)
	w.closeLog(l)
	fatalIf(t, export())
	w.checkBundle(testlog.Must(os.ReadFile(filepath.Join(dir, "v1/entries/21"))), e)
	if string(testlog.Must(os.ReadFile(old))) == "old" {
		t.Error("a bundle under an older checkpoint is left")
	}
	m = mark()
	m.Size = 99
	fatalIf(t, os.WriteFile(filepath.Join(dir, exportMark), testlog.Must(json.Marshal(m)), 0o644))
	if err := export(); err == nil || !strings.Contains(err.Error(), "export the newer one") {
		t.Errorf("it goes back: %v", err)
	}
	m.Origin = "other"
	fatalIf(t, os.WriteFile(filepath.Join(dir, exportMark), testlog.Must(json.Marshal(m)), 0o644))
	if err := export(); err == nil || !strings.Contains(err.Error(), `of the log "other"`) {
		t.Errorf("it takes another log's place: %v", err)
	}
}

func TestShardsAreChecked(t *testing.T) {
	t.Parallel()
	vkey := testlog.LogKey("log.test/2027", "x").VKey
	good := Shard{Origin: "log.test/2027", VKey: vkey, URL: "https://log.test/2027", From: "2027-01-01",
		Until: "2028-01-01", Frozen: true}
	pq := good
	pq.VKey = testlog.MLDSAKey(good.Origin, time.Time{}).VKey
	fatalIf(t, checkShards([]Shard{good, pq}))
	for words, change := range map[string]func(*Shard){
		"is none of a log": func(s *Shard) { s.VKey = "x" }, "it has a space": func(s *Shard) { s.VKey += " https://log.test/2027" }, "must be the same": func(s *Shard) { s.Origin = "y" }, "without a slash": func(s *Shard) { s.URL += "/" },
		"is no day": func(s *Shard) { s.From = "2027" }, "before it begins": func(s *Shard) { s.Until = "2027-01-01" },
	} {
		s := good
		if change(&s); true {
			if err := checkShards([]Shard{s}); err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%+v: %v", s, err)
			}
		}
	}
	if err := checkShards([]Shard{good, good}); err == nil || !strings.Contains(err.Error(),
		"shard 2: it is listed twice") {
		t.Error(err)
	}
}
