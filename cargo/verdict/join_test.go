package verdict

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
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
	w.log.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		body := map[string]any{}
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

func TestALogThatShowsOtherThanItHoldsIsNotJoined(t *testing.T) {
	first := func(body map[string]any) map[string]any { return body["builds"].([]map[string]any)[0] }
	for name, c := range map[string]struct {
		meddle func(w *workshop, path string, body map[string]any)
		status Status
		slug   string
		words  string
	}{
		"no build": {func(_ *workshop, path string, body map[string]any) { body["builds"] = []any{} }, Violation,
			"not-logged", "shows no build of app 1.0.0"},
		"an index without an entry": {func(w *workshop, path string, body map[string]any) {
			first(body)["index"] = 0
		}, Unchecked, "unreachable", "says of entry 0 what does not stand in it"},
		"another artifact": {func(w *workshop, path string, body map[string]any) {
			rows := body["builds"].([]map[string]any)
			rows[1]["artifact"] = strings.Repeat("ab", 32)
		}, Unchecked, "unreachable", "what does not stand in it"},
		"no JSON of ours": {func(w *workshop, path string, body map[string]any) { body["builds"] = "x" },
			Unchecked, "unreachable", "did not say which builds it holds"},
		"beyond the tree": {func(w *workshop, path string, body map[string]any) {
			for i, row := range body["builds"].([]map[string]any) {
				row["index"] = 1000 + i
			}
			body["size"] = 2000
		}, Unchecked, "unreachable", "no checkpoint covers yet"},
		"a list older than its checkpoint": {func(w *workshop, path string, body map[string]any) {
			rows := body["builds"].([]map[string]any)
			body["builds"], body["size"] = rows[:2], rows[2]["index"] // before the third, which could be a dissent
		}, Unchecked, "unreachable", "lists the builds of app 1.0.0 in a tree of 5 entries only, and its checkpoint is of 6"},
		"a list without its size": {func(w *workshop, path string, body map[string]any) { delete(body, "size") },
			Unchecked, "unreachable", "of what size the tree is"},
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

// A log can hide a dissent from a reader who asks it: that is why it is said to be the log's word.
func TestAHiddenDissentIsTheLogsWord(t *testing.T) {
	w := newWorkshop(t, options{})
	w.say(4, func(b *entry.Build) { b.Artifact[0] ^= 1 })
	dissent := w.builds[3]
	w.serve(func(i int64) bool { return i == dissent }, nil)
	raw, err := w.join(false)
	fatalIf(t, err)
	b, err := w.decide(testlog.Must(client.ParseJoined(raw)), w.binary, false)
	fatalIf(t, err)
	saysAll(t, b, "this log says it has no other result", "(not proven)")
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
