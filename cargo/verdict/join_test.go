package verdict

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/testlog"
)

// serve makes the workshop's log answer questions about builds; hide leaves out rows.
func (w *workshop) serve(hide func(index int64) bool, meddle func(path string, body map[string]any)) {
	w.log.joined = true
	w.log.Publish()
	var one sync.Mutex // the tree grows between two questions
	w.log.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		one.Lock()
		defer one.Unlock()
		body := map[string]any{}
		if w.meanwhile != nil {
			w.meanwhile(r.URL.Path)
		}
		switch path := r.URL.Path; {
		case path == "/v1/crates/app/1.0.0/builds":
			rows := []map[string]any{}
			for i, leaf := range w.log.Tree.Leaves {
				e, err := entry.Parse(leaf)
				if err != nil {
					continue
				}
				b, ok := e.Claim.(*entry.Build)
				if !ok || hide != nil && hide(int64(i)) {
					continue
				}
				request := testlog.Must(b.Request(e.Subject))
				row := map[string]any{"index": i, "binary": b.Binary, "target": b.Target}
				for key, h := range map[string][32]byte{"program": e.Proof.Program, "artifact": b.Artifact,
					"compiled": b.Compiled, "request": request,
					"result": b.Result(), "root": b.Root, "tag": b.Tag} {
					row[key] = fmt.Sprintf("%x", h)
				}
				rows = append(rows, row)
			}
			body["builds"], body["size"] = rows, w.log.Tree.Size()
		case path == fmt.Sprintf("/v1/artifacts/%x", w.binary):
			body["artifacts"] = []map[string]any{{"registry": w.app.Registry, "name": "app", "version": "1.0.0",
				"sha256": fmt.Sprintf("%x", w.app.SHA256),
				"binary": "app", "target": target, "index": w.builds[0]}}
		case path == fmt.Sprintf("/v1/lists/%x", w.claim.Compiled):
			rw.Write(w.list.Marshal())
			return true
		case strings.HasPrefix(path, "/v1/openings/") && w.opening != nil:
			rw.Write(w.opening)
			return true
		case path == "/v1/crates/app/1.0.0" && len(w.sources) == 3: // only of source claims
			rw.Write(w.log.bundle(w.log.Tree, w.sources[2], w.log.Tree.Size()))
			return true
		default:
			return false
		}
		if meddle != nil {
			meddle(r.URL.Path, body)
		}
		fatalIf(w.t, json.NewEncoder(rw).Encode(body))
		return true
	})
}

func (w *workshop) join(offline bool) ([]byte, error) {
	w.checker = w.place.checker(offline)
	return w.checker.Join(w.t.Context(), Binary{SHA256: w.binary, Package: policy.Package{Name: "app",
		Version: "1.0.0"}})
}

func TestAReaderJoinsWhatALogShowsUnderOneCheckpoint(t *testing.T) {
	w := newWorkshop(t, options{})
	w.say(4, func(b *entry.Build) { b.Artifact[0] ^= 1 })
	w.say(3, func(b *entry.Build) { b.Toolchain[0] ^= 1 })
	w.add(w.sign(w.set, 3, func(b *entry.Build) { b.Binary = "another" })) // not in the file
	w.serve(nil, nil)
	raw, err := w.join(false)
	fatalIf(t, err)
	j, err := client.ParseJoined(raw)
	fatalIf(t, err)
	want := w.file()
	same := func(a, b []client.Part) bool {
		return slices.EqualFunc(a, b, func(x, y client.Part) bool {
			return x.Index == y.Index &&
				slices.Equal(x.Hashes, y.Hashes)
		})
	}
	if !same(j.Builds, want.Builds) || !same(j.Sources, want.Sources) || string(j.List) != string(want.List) ||
		j.Lock != nil {
		t.Errorf("it holds %d builds and %d sources", len(j.Builds), len(j.Sources))
	}
	// It is enough, offline, and shows the dissent.
	w.log.Intercept(nil)
	w.policy("need = 3\nwithout = [\"b4\"]\n")
	b, err := w.decide(j, w.binary, true)
	fatalIf(t, err)
	saysAll(t, b, "3 of 4 of set rebuilders", "2 crates compiled, 2 proven")
	w.policy("need = 3\n")
	_, err = w.decide(j, w.binary, true)
	notBuilt(t, err, Violation, "dissent")
}

func TestAForeignBinaryIsJoinedWithWhatBuildersMade(t *testing.T) {
	w := newWorkshop(t, options{})
	w.serve(nil, nil)
	theirs := w.binary
	w.binary[0] ^= 1
	raw, err := w.join(false)
	fatalIf(t, err)
	_, err = w.decide(testlog.Must(client.ParseJoined(raw)), w.binary, false)
	notBuilt(t, err, Violation, "another-binary", fmt.Sprintf("they made %x", theirs))
}

// TestNobodyElseNamesTheReadersBinary: who says first that another binary has the same bytes is not what is joined.
func TestNobodyElseNamesTheReadersBinary(t *testing.T) {
	w := newWorkshop(t, options{})
	leaves := w.log.Tree.Leaves[w.builds[0]:]
	other := func(b *entry.Build) { b.Binary = "other" }
	said := testlog.Must(entry.Parse(leaves[0]))
	early := [][]byte{testlog.Must(w.sign(namedSet(t, "strangers", 1), 0, other).Marshal()),
		testlog.Must(w.sign(w.set, 4, other).Marshal()),
		testlog.Must(w.sign(namedSet(t, "strangers", 2), 0, func(b *entry.Build) { b.Compiled = [32]byte{1} }).Marshal())}
	all := slices.Concat(w.log.Tree.Leaves[:w.builds[0]:w.builds[0]], early, leaves)
	w.log.Tree = &testlog.Tree{}
	w.log.Tree.Append(all...)
	w.serve(nil, nil)
	j := testlog.Must(client.ParseJoined(testlog.Must(w.join(false))))
	b, err := w.decide(j, w.binary, false)
	fatalIf(t, err)
	if b.Claim.Binary != said.Claim.(*entry.Build).Binary || len(b.Agree) != 3 {
		t.Errorf("%+v", b)
	}
}

func TestALogThatShowsOtherThanItHoldsIsNotJoined(t *testing.T) {
	first := func(body map[string]any) map[string]any { return body["builds"].([]map[string]any)[0] }
	for name, c := range map[string]struct {
		meddle func(w *workshop, path string, body map[string]any)
		status Status
		slug   string
		words  string
	}{
		"no build": {func(_ *workshop, path string, body map[string]any) { body["builds"] = []any{} }, Unchecked,
			"withheld", "lists no build of app 1.0.0, and holds one, entry 3"},
		"an index without an entry": {func(w *workshop, path string, body map[string]any) {
			first(body)["index"] = 0
		}, Unchecked, "unreachable", "says of entry 0 what does not stand in it"},
		"another list": {func(w *workshop, path string, body map[string]any) {
			for _, row := range body["builds"].([]map[string]any) {
				row["compiled"] = strings.Repeat("ab", 32)
			}
		}, Unchecked, "unreachable", "did not say what was compiled"},
		"no JSON of ours": {func(w *workshop, path string, body map[string]any) { body["builds"] = "x" },
			Unchecked, "unreachable", "did not say which builds it holds"},
		"beyond the tree": {func(w *workshop, path string, body map[string]any) {
			for i, row := range body["builds"].([]map[string]any) {
				row["index"] = 1000 + i
			}
		}, Unchecked, "unreachable", "no checkpoint covers yet"},
	} {
		w := newWorkshop(t, options{})
		w.serve(nil, func(path string, body map[string]any) {
			if strings.HasSuffix(path, "/builds") {
				c.meddle(w, path, body)
			}
		})
		_, err := w.join(false)
		notBuilt(t, err, c.status, c.slug, c.words)
		if err == nil {
			t.Errorf("%s: joined", name)
		}
	}
	w := newWorkshop(t, options{})
	w.serve(nil, nil)
	w.list = w.list[:1]
	if _, err := w.join(false); err != nil {
		t.Fatal(err) // the list is Build's to look at
	}
	_, err := w.join(true)
	notBuilt(t, err, Unchecked, "not-cached", "nothing is fetched offline")
}

// What the log's list leaves out stands in its index, of which nothing can be left out.
func TestADissentThatTheListHidesIsInTheFile(t *testing.T) {
	w := newWorkshop(t, options{})
	w.say(4, func(b *entry.Build) { b.Artifact[0] ^= 1 })
	dissent := w.builds[3]
	w.serve(func(i int64) bool { return i == dissent }, nil)
	raw, err := w.join(false)
	fatalIf(t, err)
	_, err = w.decide(testlog.Must(client.ParseJoined(raw)), w.binary, false)
	notBuilt(t, err, Violation, "dissent", fmt.Sprintf("(entry %d), by b4", dissent))
	// Nor can whoever hands out the file leave it out.
	j := testlog.Must(client.ParseJoined(raw))
	j.Builds = j.Builds[:3]
	_, err = w.decide(j, w.binary, true)
	notBuilt(t, err, Violation, "malformed-builds", "are not shown to be all that the log holds of the binary")
}

func TestThatThereIsNoBuildIsProven(t *testing.T) {
	w := newWorkshop(t, options{})
	w.unsay(0)
	w.serve(nil, nil)
	_, err := w.join(false)
	notBuilt(t, err, Violation, "not-logged", "shows no build of app 1.0.0: it is proved to hold none, as of 2026-09-01T12:00:00Z")
	w.log.Intercept(testlog.Answer("/v1/index", http.StatusNotFound, []byte(`{"reason": "not-found", "message": "no"}`)))
	_, err = w.join(false)
	notBuilt(t, err, Unchecked, "withheld", "does not hand out what its index has")
}

// What a log publishes while it is asked is asked for again, until all is under one checkpoint.
func TestALogThatPublishesMeanwhileIsJoinedUnderOneCheckpoint(t *testing.T) {
	w := newWorkshop(t, options{})
	w.serve(nil, nil)
	published := 0
	w.meanwhile = func(path string) {
		if (path == "/v1/index" || strings.HasPrefix(path, "/v1/lookup/")) && published < 4 {
			published++
			w.log.Add(fmt.Appendf(nil, "later %d", published))
		}
	}
	raw, err := w.join(false)
	fatalIf(t, err)
	b, err := w.decide(testlog.Must(client.ParseJoined(raw)), w.binary, true)
	fatalIf(t, err)
	saysAll(t, b, "3 of 5 of set rebuilders", "2 crates compiled, 2 proven")
	if b.Size != w.log.Tree.Size() || published != 4 {
		t.Errorf("%d entries, and the log has %d", b.Size, w.log.Tree.Size())
	}
}

func TestWhoseBinaryItIsALogTells(t *testing.T) {
	w := newWorkshop(t, options{})
	w.serve(nil, nil)
	rows, err := w.place.checker(false).Whose(t.Context(), w.binary)
	fatalIf(t, err)
	if len(rows) != 1 || rows[0].Subject != w.app || rows[0].Binary != "app" || rows[0].Target != target {
		t.Errorf("%+v", rows)
	}
	_, err = w.place.checker(false).Whose(t.Context(), [32]byte{1})
	notBuilt(t, err, Violation, "another-binary", "no build that the logs show makes a binary")
	_, err = w.place.checker(true).Whose(t.Context(), w.binary)
	notBuilt(t, err, Unchecked, "not-cached")
	w.log.down()
	_, err = w.place.checker(false).Whose(t.Context(), w.binary)
	notBuilt(t, err, Unchecked, "unreachable")
}

// The commit's lock file travels in the opening.
func TestTheCommitsLockFileIsJoined(t *testing.T) {
	w := newWorkshop(t, options{derived: true})
	w.serve(nil, nil)
	ask := Binary{SHA256: w.binary, Package: policy.Package{Name: "app", Version: "1.0.0"}, Crate: w.find}
	raw, err := w.place.checker(false).Join(t.Context(), ask)
	fatalIf(t, err)
	j := testlog.Must(client.ParseJoined(raw))
	if string(j.Lock) != string(w.commitLock) {
		t.Errorf("the lock file is %q", j.Lock)
	}
	b, err := w.decide(j, w.binary, true)
	fatalIf(t, err)
	saysAll(t, b, "versions chosen by the commit")
	w.opening[len(w.opening)-1] ^= 1
	if j := testlog.Must(client.ParseJoined(testlog.Must(w.place.checker(false).Join(t.Context(),
		ask)))); j.Lock != nil {
		t.Errorf("another lock file than the commit's was joined: %q", j.Lock)
	}
}
