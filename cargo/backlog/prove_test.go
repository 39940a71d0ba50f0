package backlog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/registrytest"
	"cratelog/prover"
)

func TestABacklogIsProvenFromFewRepositories(t *testing.T) {
	w := newWorld(t)
	one, two := files("one", "1.0.0", "https://git.example/many"), files("two", "2.0.0", "https://git.example/many/tree/main/two")
	id := w.commit("many", map[string]map[string]string{"one": one, "two": two})
	w.crate("one", "1.0.0", one, info(id, "one"))
	w.crate("two", "2.0.0", two, info(id, "two"))
	alone := files("alone", "0.1.0", "git+https://git.example/alone.git")
	w.crate("alone", "0.1.0", alone, info(w.commit("alone", map[string]map[string]string{"": alone}), ""))
	w.maps("many", "alone")
	r, err := w.run(t.Context())
	fatalIf(t, err)
	for _, name := range []string{"one", "two", "alone"} {
		w.want(r, name, Proven, "", "")
	}
	if c := said(t, r, "two"); c.Commit != id || c.Path != "two" || c.Repository != w.url+"/many" {
		t.Errorf("%+v", c)
	}
	if w.proofs.Load() != 3 {
		t.Errorf("%d proofs", w.proofs.Load())
	}
	// Again: nothing is proven twice.
	r, err = w.run(t.Context())
	fatalIf(t, err)
	w.want(r, "one", Proven, "", "")
	if w.proofs.Load() != 3 {
		t.Errorf("%d proofs after the second run", w.proofs.Load())
	}
}

// TestEveryCauseIsTold has a crate for each, beside one that can be proven.
func TestEveryCauseIsTold(t *testing.T) {
	w := newWorld(t)
	const base = "https://git.example/"
	w.maps("good", "gone", "forced", "differs", "crlf", "tagged", "untagged", "wrongtag", "modules", "nested", "down", "large")
	make := func(name, repository string) (map[string]string, string) {
		all := files(name, "1.0.0", repository)
		return all, w.commit(name, map[string]map[string]string{"": all})
	}
	changed := func(all map[string]string, file, content string) map[string]string {
		other := map[string]string{}
		for k, v := range all {
			other[k] = v
		}
		other[file] = content
		return other
	}
	all, id := make("good", base+"good")
	w.crate("good", "1.0.0", all, info(id, ""))
	w.crate("dirty", "1.0.0", files("dirty", "1.0.0", base+"good"), strings.Replace(info(id, ""), "\"\n  },", "\",\n    \"dirty\": true\n  },", 1))
	w.crate("norepo", "1.0.0", files("norepo", "1.0.0", ""), info(id, ""))
	w.crate("ssh", "1.0.0", files("ssh", "1.0.0", "git@git.example:a/b"), info(id, ""))
	w.crate("private", "1.0.0", files("private", "1.0.0", "https://127.0.0.1/a/b"), info(id, ""))
	w.crate("gone", "1.0.0", files("gone", "1.0.0", base+"gone"), info(id, ""))
	w.mux.HandleFunc("/down/", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) })
	w.crate("down", "1.0.0", files("down", "1.0.0", base+"down"), info(id, ""))
	all, _ = make("forced", base+"forced")
	w.crate("forced", "1.0.0", all, info(strings.Repeat("12", 20), ""))
	all, id = make("differs", base+"differs")
	w.crate("differs", "1.0.0", changed(all, "src/lib.rs", "// evil\n"), info(id, ""))
	all = changed(files("crlf", "1.0.0", base+"crlf"), "data.txt", "$Id$\na\n")
	id = w.commit("crlf", map[string]map[string]string{"": all})
	w.crate("crlf", "1.0.0", changed(all, "data.txt", "$Id: 1234 $\r\na\r\n"), info(id, ""))

	all, _ = make("tagged", base+"tagged")
	w.git("tagged", "tag", "-a", "-m", "x", "v1.0.0")
	w.commit("tagged", map[string]map[string]string{"": {"src/lib.rs": "// later\n"}})
	w.crate("tagged", "1.0.0", all, "")
	all, _ = make("untagged", base+"untagged")
	w.crate("untagged", "1.0.0", all, "")
	all, _ = make("wrongtag", base+"wrongtag")
	w.git("wrongtag", "tag", "wrongtag-v1.0.0")
	w.crate("wrongtag", "1.0.0", changed(all, "src/lib.rs", "// other\n"), "")

	inner := w.commit("inner", map[string]map[string]string{"": {"x.c": "int x;\n"}})
	module := func(name, url string) {
		all := files(name, "1.0.0", base+name)
		w.commit(name, map[string]map[string]string{"": all})
		w.git(name, "config", "--file", ".gitmodules", "submodule.x.path", "vendor/inner")
		w.git(name, "config", "--file", ".gitmodules", "submodule.x.url", url)
		w.git(name, "add", ".gitmodules")
		w.git(name, "update-index", "--add", "--cacheinfo", "160000,"+inner+",vendor/inner")
		w.git(name, "commit", "-q", "-m", "x")
		id := w.git(name, "rev-parse", "HEAD")
		w.crate(name, "1.0.0", changed(all, "vendor/inner/x.c", "int x;\n"), info(id, ""))
	}
	module("modules", "../inner")
	for i, url := range []string{"ext::touch " + filepath.Join(t.TempDir(), "x"), "--upload-pack=touch", "git@git.example:a", "file://" + w.repos + "/inner",
		filepath.Join(w.repos, "inner"), w.url + "/inner", "../../../inner", "https://127.0.0.1:1/inner"} {
		name := fmt.Sprintf("module%d", i)
		w.mapping += fmt.Sprintf("%q = %q\n", base+name, w.url+"/"+name)
		module(name, url)
	}

	other := registrytest.MakeCrate("missing", "1.0.0", nil)
	w.add("missing", "1.0.0", other)
	w.cached("missing", "1.0.0", registrytest.MakeCrate("missing", "1.0.0", map[string]string{"evil": "1"}))
	w.crate("broken", "1.0.0", files("broken", "1.0.0", base+"good"), "{}")
	at := filepath.Join(w.home, "registry", "cache", "a", "garbage-1.0.0.crate")
	fatalIf(t, os.WriteFile(at, []byte("no archive"), 0o644))
	w.add("garbage", "1.0.0", []byte("no archive"))

	r, err := w.run(t.Context())
	fatalIf(t, err)
	w.want(r, "good", Proven, "", "")
	w.want(r, "tagged", Proven, "", "")
	w.want(r, "modules", Proven, "", "")
	w.want(r, "dirty", Refused, Dirty, "changes that are in no commit")
	w.want(r, "norepo", Refused, NoRepository, "names no repository")
	w.want(r, "ssh", Refused, NoRepository, "ssh")
	w.want(r, "private", Refused, NoRepository, "is not public")
	w.want(r, "gone", Refused, RepositoryGone, "404")
	w.want(r, "down", Failed, "", "503")
	w.want(r, "forced", Refused, CommitGone, "has no commit 1212")
	w.want(r, "differs", Refused, Differs, "src/lib.rs")
	w.want(r, "crlf", Refused, LineEnds, "data.txt")
	w.want(r, "untagged", Refused, NoCommit, "none of the repository's 0 tags")
	w.want(r, "wrongtag", Refused, NoCommit, "1 of its repository's tags")
	for i := range 8 {
		w.want(r, fmt.Sprintf("module%d", i), Refused, Submodule, "vendor/inner")
	}
	w.want(r, "missing", Refused, OtherRegistry, "not in cargo's cache")
	w.want(r, "broken", Refused, Other, "")
	w.want(r, "garbage", Refused, Other, "")
	for _, c := range r.Crates {
		if (c.Outcome == Refused || c.Outcome == Failed) == (c.Next == "") {
			t.Errorf("%s is %s, next: %q", c.Name, c.Outcome, c.Next)
		}
	}
	if n := w.proofs.Load(); n != 3 {
		t.Errorf("%d proofs", n)
	}
	steps := r.Steps()
	if len(steps) == 0 || len(steps) > maxSteps || !strings.Contains(steps[0], MapName) || !strings.Contains(steps[len(steps)-1], "author") {
		t.Errorf("%q", steps)
	}
}

// TestADirectoryThatIsNotThereIsNoReasonToTryAgain: the mapping file has a misspelled path.
func TestADirectoryThatIsNotThereIsNoReasonToTryAgain(t *testing.T) {
	w := newWorld(t)
	w.mapping = "[repositories]\n\"https://git.example/a\" = \"../misspelled\"\n"
	all := files("a", "1.0.0", "https://git.example/a")
	w.crate("a", "1.0.0", all, info(strings.Repeat("12", 20), ""))
	w.crate("b", "1.0.0", files("b", "1.0.0", "https://git.example/a"), "") // which tags would tell of
	r, err := w.run(t.Context())
	fatalIf(t, err)
	w.want(r, "a", Refused, RepositoryGone, "misspelled is not there")
	w.want(r, "b", Refused, RepositoryGone, "misspelled is not there")
}

// TestWhatIsKeptCountsOnlyIfItHolds changes entries on the disk between two runs.
func TestWhatIsKeptCountsOnlyIfItHolds(t *testing.T) {
	w := newWorld(t)
	w.maps("a", "b")
	for _, name := range []string{"a", "b"} {
		all := files(name, "1.0.0", "https://git.example/"+name)
		w.crate(name, "1.0.0", all, info(w.commit(name, map[string]map[string]string{"": all}), ""))
	}
	_, err := w.run(t.Context())
	fatalIf(t, err)
	path := filepath.Join(w.cfg.Dir, "a-1.0.0.entry")
	right, err := os.ReadFile(path)
	fatalIf(t, err)
	another, err := os.ReadFile(filepath.Join(w.cfg.Dir, "b-1.0.0.entry"))
	fatalIf(t, err)
	flipped := []byte(string(right))
	flipped[len(flipped)-1] ^= 1
	proofs := w.proofs.Load()
	for what, b := range map[string][]byte{"nothing": {}, "half": right[:len(right)/2], "another crate's": another, "a bit": flipped,
		"no end": append([]byte(string(right)), make([]byte, entry.MaxSize)...)} {
		fatalIf(t, os.WriteFile(path, b, 0o644))
		r, err := w.run(t.Context())
		fatalIf(t, err)
		w.want(r, "a", Proven, "", "")
		proofs++
		if got, err := os.ReadFile(path); w.proofs.Load() != proofs || err != nil || len(got) != len(right) {
			t.Errorf("%s: %d proofs, wanted %d; %v", what, w.proofs.Load(), proofs, err)
		}
	}
}

// TestAnInterruptedRunGoesOn stops a run in the middle, and again at once.
func TestAnInterruptedRunGoesOn(t *testing.T) {
	w := newWorld(t)
	names := []string{"a", "b", "c", "d"}
	w.maps(names...)
	for _, name := range names {
		all := files(name, "1.0.0", "https://git.example/"+name)
		w.crate(name, "1.0.0", all, info(w.commit(name, map[string]map[string]string{"": all}), ""))
	}
	prove := w.cfg.testingOnlyProve
	ctx, cancel := context.WithCancel(t.Context())
	w.cfg.testingOnlyProve = func(p *prover.Plan) (*entry.Entry, error) {
		if w.proofs.Load() == 2 {
			cancel()
			return nil, context.Canceled
		}
		return prove(p)
	}
	r, err := w.run(ctx)
	if !errors.Is(err, context.Canceled) || r.Count(Proven) != 2 || r.Count(Left) != 2 {
		t.Errorf("%v %+v", err, r)
	}
	if r, err := w.run(ctx); !errors.Is(err, context.Canceled) || r.Count(Left) == 0 {
		t.Errorf("%v %+v", err, r)
	}
	w.cfg.testingOnlyProve = prove
	r, err = w.run(t.Context())
	if err != nil || r.Count(Proven) != 4 || w.proofs.Load() != 4 {
		t.Errorf("%v, %d proofs: %+v", err, w.proofs.Load(), r)
	}
	// Two at a time do not work in one directory.
	unlock, err := lockDir(w.cfg.Dir)
	fatalIf(t, err)
	defer unlock()
	if _, err := w.run(t.Context()); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

// TestCratesOfTwoRegistriesAreKeptApart: of the same name and version.
func TestCratesOfTwoRegistriesAreKeptApart(t *testing.T) {
	w := newWorld(t)
	w.maps("a", "b")
	for i, name := range []string{"a", "b"} {
		all := files("same", "1.0.0", "https://git.example/"+name)
		raw := registrytest.MakeCrate("same", "1.0.0", withInfo(all, info(w.commit(name, map[string]map[string]string{"": all}), "")))
		w.add("same", "1.0.0", raw)
		w.packages[i].Source = "registry+https://" + name + ".example/"
		at := filepath.Join(w.home, "registry", "cache", name, "same-1.0.0.crate")
		fatalIf(t, os.MkdirAll(filepath.Dir(at), 0o755))
		fatalIf(t, os.WriteFile(at, raw, 0o644))
	}
	r, err := w.run(t.Context())
	if err != nil || r.Count(Proven) != 2 || r.Crates[0].Registry == r.Crates[1].Registry {
		t.Errorf("%v %+v", err, r)
	}
	for _, p := range w.packages {
		b, err := os.ReadFile(filepath.Join(w.cfg.Dir, fmt.Sprintf("same-1.0.0-%x.entry", p.Checksum[:4])))
		fatalIf(t, err)
		if e, err := entry.Parse(b); err != nil || e.Subject.SHA256 != *p.Checksum {
			t.Error(err)
		}
	}
}

func withInfo(all map[string]string, vcs string) map[string]string {
	all[".cargo_vcs_info.json"] = vcs
	return all
}

// TestASlowHostDoesNotStopTheOthers: one that lets all time pass is given up, and what lies elsewhere is proven.
func TestASlowHostDoesNotStopTheOthers(t *testing.T) {
	w := newWorld(t)
	w.cfg.Visitor.Git.Timeout = 2 * time.Second
	good := files("good", "1.0.0", "https://git.example/good")
	w.maps("good")
	backend, end := fixture.GitServer(t, w.repos), make(chan struct{})
	var hung atomic.Int64
	slow := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodPost {
			hung.Add(1)
			<-end
			return
		}
		backend.ServeHTTP(rw, q)
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(end) })
	const many = 8
	for i := range many {
		name := fmt.Sprintf("slow%d", i)
		all := files(name, "1.0.0", "https://git.example/"+name)
		w.crate(name, "1.0.0", all, info(w.commit(name, map[string]map[string]string{"": all}), ""))
		w.mapping += fmt.Sprintf("%q = %q\n", "https://git.example/"+name, slow.URL+"/"+name)
	}
	w.crate("good", "1.0.0", good, info(w.commit("good", map[string]map[string]string{"": good}), ""))
	r, err := w.run(t.Context())
	fatalIf(t, err)
	w.want(r, "good", Proven, "", "")
	for i := range many {
		w.want(r, fmt.Sprintf("slow%d", i), Failed, "", "")
	}
	if n := hung.Load(); n == 0 || n > maxStrikes+1 { // two at a time
		t.Errorf("the host hung %d times", n)
	}
	if c := said(t, r, fmt.Sprintf("slow%d", many-1)); !strings.Contains(c.Detail, "is not asked again in this run") {
		t.Error(c.Detail)
	}
}

// TestNamesThatDifferInCaseHaveFilesOfTheirOwn, also on disks that take them for one.
func TestNamesThatDifferInCaseHaveFilesOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"Same", "same"} {
		all := files(name, "1.0.0", "https://git.example/"+name)
		w.crate(name, "1.0.0", all, info(w.commit(name, map[string]map[string]string{"": all}), ""))
	}
	cfg := w.cfg
	cfg.Packages = w.packages
	r, err := New(cfg)
	fatalIf(t, err)
	if a, b := r.items[0].file, r.items[1].file; strings.EqualFold(a, b) {
		t.Errorf("%s and %s", a, b)
	}
}
