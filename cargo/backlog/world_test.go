package backlog

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cratelog/cargo"
	"cratelog/cargo/backlog/visit"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/registrytest"
	"cratelog/prover"
	"cratelog/prover/git"
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m)) }

// world is a git server on loopback, cargo's home with crates, and a mapping file that sends every
// repository at https://git.example to the server.
type world struct {
	t           *testing.T
	repos, home string
	url         string // of the git server
	mux         *http.ServeMux
	packages    []cargo.Package
	mapping     string
	cfg         Config
	proofs      atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	fixture.Need(t, "git")
	w := &world{t: t, repos: t.TempDir(), home: t.TempDir(), mux: http.NewServeMux()}
	w.mux.Handle("/", fixture.GitServer(t, w.repos))
	s := httptest.NewServer(w.mux)
	t.Cleanup(s.Close)
	w.url = s.URL
	settings, err := cargo.LoadConfig(w.home, w.home)
	fatalIf(t, err)
	forger, err := forge.Default()
	fatalIf(t, err)
	w.cfg = Config{Dir: filepath.Join(t.TempDir(), "work"), Keys: &prover.Keyring{Cache: t.TempDir()}, Home: w.home, Settings: settings,
		Visitor: &visit.Visitor{Git: git.Anonymous{Clones: git.Clones(filepath.Join(t.TempDir(), "public"))}},
		testingOnlyProve: func(p *prover.Plan) (*entry.Entry, error) {
			w.proofs.Add(1)
			e := &entry.Entry{Subject: p.Subject, Claim: p.Claim}
			return e, forger.Prove(e, p.List.Bytes)
		}}
	return w
}

func (w *world) git(repo string, args ...string) string {
	w.t.Helper()
	out, err := git.Run(w.t.Context(), filepath.Join(w.repos, repo), append([]string{"-c", "user.name=a", "-c", "user.email=a@a.example",
		"-c", "protocol.file.allow=always"}, args...)...)
	fatalIf(w.t, err)
	return strings.TrimSpace(out)
}

// files are those of a package in its commit; repository is what its manifest names.
func files(name, version, repository string) map[string]string {
	return map[string]string{"src/lib.rs": "// " + name + "\n",
		"Cargo.toml": fmt.Sprintf("[package]\nname = %q\nversion = %q\nedition = \"2021\"\nrepository = %q\n\n[lib]\nname = %q\npath = \"src/lib.rs\"\n",
			name, version, repository, name)}
}

// commit makes a commit with packages by their directories, and returns its id.
func (w *world) commit(repo string, packages map[string]map[string]string) string {
	w.t.Helper()
	dir := filepath.Join(w.repos, repo)
	fatalIf(w.t, os.MkdirAll(dir, 0o755))
	w.git(repo, "init", "-q", "--object-format=sha1")
	for at, all := range packages {
		for name, content := range all {
			path := filepath.Join(dir, at, filepath.FromSlash(name))
			fatalIf(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
			fatalIf(w.t, os.WriteFile(path, []byte(content), 0o644))
		}
	}
	w.git(repo, "add", "-A")
	w.git(repo, "commit", "-q", "--allow-empty", "-m", "x")
	return w.git(repo, "rev-parse", "HEAD")
}

// info is .cargo_vcs_info.json.
func info(commit, path string) string {
	return fmt.Sprintf("{\n  \"git\": {\n    \"sha1\": \"%s\"\n  },\n  \"path_in_vcs\": \"%s\"\n}", commit, path)
}

// crate puts a crate into cargo's cache and into the lock file.
func (w *world) crate(name, version string, all map[string]string, vcs string) []byte {
	w.t.Helper()
	all = maps.Clone(all)
	if vcs != "" {
		all[".cargo_vcs_info.json"] = vcs
	}
	raw := registrytest.MakeCrate(name, version, all)
	w.add(name, version, raw)
	w.cached(name, version, raw)
	return raw
}

func (w *world) add(name, version string, raw []byte) {
	sum := sha256.Sum256(raw)
	w.packages = append(w.packages, cargo.Package{Name: name, Version: version, Checksum: &sum, Source: "registry+https://index.example/"})
}

func (w *world) cached(name, version string, raw []byte) {
	w.t.Helper()
	path := filepath.Join(w.home, "registry", "cache", "a", name+"-"+version+".crate")
	fatalIf(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
	fatalIf(w.t, os.WriteFile(path, raw, 0o644))
}

// maps sends what manifests call https://git.example/NAME to the git server.
func (w *world) maps(names ...string) {
	w.mapping += "[repositories]\n"
	for _, name := range names {
		w.mapping += fmt.Sprintf("%q = %q\n", "https://git.example/"+name, w.url+"/"+name)
	}
}

// run proves, with the crates and the mapping so far.
func (w *world) run(ctx context.Context) (*Report, error) {
	w.t.Helper()
	cfg := w.cfg
	cfg.Packages = w.packages
	if w.mapping != "" {
		path := filepath.Join(w.t.TempDir(), MapName)
		fatalIf(w.t, os.WriteFile(path, []byte(w.mapping), 0o644))
		var err error
		cfg.Mapping, err = ReadMapping(path)
		fatalIf(w.t, err)
	}
	r, err := New(cfg)
	fatalIf(w.t, err)
	report, err := r.Run(ctx)
	raw, marshalErr := report.Marshal()
	fatalIf(w.t, marshalErr)
	if _, err := ParseReport(raw); err != nil {
		w.t.Errorf("the report cannot be read: %v\n%s", err, raw)
	}
	return report, err
}

// said finds a crate in a report.
func said(t *testing.T, r *Report, name string) Crate {
	t.Helper()
	for _, c := range r.Crates {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("%s is not in the report", name)
	return Crate{}
}

// want compares outcome and cause of a crate, and wants a word in the detail.
func (w *world) want(r *Report, name string, outcome Outcome, cause Cause, word string) {
	w.t.Helper()
	if c := said(w.t, r, name); c.Outcome != outcome || c.Cause != cause || !strings.Contains(c.Detail, word) {
		w.t.Errorf("%s is %s %q, wanted %s %q with %q:\n%s", name, c.Outcome, c.Cause, outcome, cause, word, c.Detail)
	}
}
