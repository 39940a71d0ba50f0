package prover

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"cratelog/crate"
	"cratelog/internal/fixture"
	"cratelog/prover/git"
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m)) }

var smallKeys = sync.OnceValues(func() (*Keys, error) {
	cache, err := DefaultCache() // fixture.Main made it
	if err != nil {
		return nil, err
	}
	return DevelopmentKeys(context.Background(), cache, small, nil)
})

// keys returns the keys of the small program, which all tests share. Tests that need
// them prove: they are not short.
func keys(t *testing.T) *Keys {
	t.Helper()
	if testing.Short() {
		t.Skip("making keys and proving takes seconds")
	}
	k, err := smallKeys()
	fatalIf(t, err)
	return k
}

// proves proves a plan, unless -short, and has crate and claim checked.
func proves(t *testing.T, c *crate.Crate, p *Plan) {
	t.Helper()
	if !testing.Short() {
		if _, err := keys(t).Prove(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Check(p.Subject, p.Claim); err != nil {
		t.Error(err)
	}
}

func readCrate(t *testing.T, name, version string) *crate.Crate {
	t.Helper()
	c, err := crate.Read(fixture.Crate(t, name, version), name, version, crate.DefaultLimits)
	fatalIf(t, err)
	return c
}

func openRepo(t *testing.T, dir string) *git.Repo {
	t.Helper()
	repo, err := git.Open(t.Context(), dir)
	fatalIf(t, err)
	t.Cleanup(func() { repo.Close() })
	return repo
}

func plan(t *testing.T, name, version string) *Plan {
	t.Helper()
	p, err := NewPlan(t.Context(), readCrate(t, name, version), openRepo(t, fixture.Repo(t)), Source{})
	fatalIf(t, err)
	return p
}

// workshop is a git repository made for one test.
type workshop struct {
	t   *testing.T
	dir string
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	w := &workshop{t, t.TempDir()}
	w.git("init", "-q", "--object-format=sha1")
	return w
}

func (w *workshop) git(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "git", args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.example",
		"GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// write writes files: paths, each with its content behind it.
func (w *workshop) write(files ...string) {
	w.t.Helper()
	for f := range slices.Chunk(files, 2) {
		to := filepath.Join(w.dir, f[0])
		fatalIf(w.t, errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, []byte(f[1]), 0o644)))
	}
}

func (w *workshop) chmod(mode os.FileMode, paths ...string) {
	w.t.Helper()
	for _, p := range paths {
		fatalIf(w.t, os.Chmod(filepath.Join(w.dir, p), mode))
	}
}

func (w *workshop) link(path, target string) {
	w.t.Helper()
	fatalIf(w.t, os.Symlink(target, filepath.Join(w.dir, path)))
}

// commit commits everything and returns the commit's id.
func (w *workshop) commit() [20]byte {
	w.t.Helper()
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "work")
	id, err := hex.DecodeString(w.git("rev-parse", "HEAD"))
	fatalIf(w.t, err)
	return [20]byte(id)
}

// source commits everything and names the package at a path of that commit.
func (w *workshop) source(path string) Source {
	commit := w.commit()
	return Source{Commit: &commit, Path: &path}
}

// submodule adds a repository as a submodule, and returns what is checked out.
func (w *workshop) submodule(sub *workshop, path string) *workshop {
	w.t.Helper()
	w.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", sub.dir, path)
	return &workshop{w.t, filepath.Join(w.dir, path)}
}

// open is for Source.Submodule, if there is one submodule.
func (w *workshop) open(context.Context, string) (*git.Repo, error) { return openRepo(w.t, w.dir), nil }

func (w *workshop) plan(c *crate.Crate, src Source) (*Plan, error) {
	w.t.Helper()
	return NewPlan(w.t.Context(), c, openRepo(w.t, w.dir), src)
}

// pack makes a .crate as cargo would, of the given contents by path; those in modes have
// another mode than 644.
func pack(t *testing.T, name string, files map[string]string, modes ...map[string]int64) *crate.Crate {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, p := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Format: tar.FormatGNU, Typeflag: tar.TypeReg, Mode: 0o644, Name: name + "-1.0.0/" + p, Size: int64(len(files[p]))}
		for _, m := range modes {
			if mode, ok := m[p]; ok {
				h.Mode = mode
			}
		}
		fatalIf(t, w.WriteHeader(h))
		if _, err := w.Write([]byte(files[p])); err != nil {
			t.Fatal(err)
		}
	}
	fatalIf(t, errors.Join(w.Close(), z.Close()))
	c, err := crate.Read(out.Bytes(), name, "1.0.0", crate.DefaultLimits)
	fatalIf(t, err)
	return c
}

// packDir makes a .crate of a directory of the work tree as it is now, as cargo
// would: through its symbolic links. Outside files are by their name in the .crate.
func (w *workshop) packDir(dir, name string, outside map[string]string) *crate.Crate {
	w.t.Helper()
	files := map[string]string{}
	read := func(as, from string) {
		b, err := os.ReadFile(filepath.Join(w.dir, from))
		fatalIf(w.t, err)
		files[as] = string(b)
	}
	var add func(below string)
	add = func(below string) {
		entries, err := os.ReadDir(filepath.Join(w.dir, dir, below))
		fatalIf(w.t, err)
		for _, e := range entries {
			at := filepath.ToSlash(filepath.Join(below, e.Name()))
			info, err := os.Stat(filepath.Join(w.dir, dir, at))
			switch {
			case err != nil:
				w.t.Fatal(err)
			case e.Name() == ".git", e.Name() == ".gitmodules":
			case info.IsDir():
				add(at)
			default:
				read(at, filepath.Join(dir, at))
			}
		}
	}
	add("")
	files["Cargo.toml.orig"] = files["Cargo.toml"]
	for as, from := range outside {
		read(as, from)
	}
	return pack(w.t, name, files)
}

// refused checks that an error says a word.
func refused(t *testing.T, what string, err error, word string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), word) {
		t.Errorf("%s: %v, want a word on %q", what, err, word)
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
