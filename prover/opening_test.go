package prover

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/opening"
	"cratelog/prover/git"
)

// TestWhatIsPublicIsSoWithItsSubmodules: one private submodule makes the source private, and its
// objects are in the opening.
func TestWhatIsPublicIsSoWithItsSubmodules(t *testing.T) {
	sub, w := newWorkshop(t), newWorkshop(t)
	sub.write("c.h", "int c;\n")
	sub.commit()
	w.write("Cargo.toml", "[package]\nname = \"outer\"\nversion = \"1.0.0\"\n", "src/lib.rs", "")
	module := w.submodule(sub, "vendor")
	src := w.source("")
	src.Submodule = module.open
	c := w.packDir("", "outer", nil)
	p, err := w.plan(c, src)
	fatalIf(t, err)
	if len(p.Claim.Submodules) != 1 {
		t.Fatalf("submodules: %q", p.Claim.Submodules)
	}

	var closed atomic.Pointer[string] // a repository that asks for a password
	root := t.TempDir()
	for name, dir := range map[string]string{"outer.git": w.dir, "sub.git": sub.dir} {
		w.git("clone", "-q", "--bare", dir, filepath.Join(root, name))
	}
	url := fixture.ServeGit(t, root, func(r *http.Request) bool {
		return closed.Load() == nil || !strings.HasPrefix(r.URL.Path, *closed.Load())
	})
	public := func(module string) error {
		return p.Public(t.Context(), url+"/outer.git", func(path string) string {
			if path != "vendor" {
				t.Errorf("asked for the submodule at %q", path)
			}
			return module
		}, git.Fetchable)
	}
	if err := public(url + "/sub.git"); err != nil {
		t.Error(err)
	}
	for what, module := range map[string]string{"of unknown origin": "", "a directory": sub.dir, "another repository": url + "/outer.git"} {
		refused(t, what, public(module), "the submodule at vendor: ")
	}
	for _, path := range []string{"/sub.git", "/outer.git"} {
		closed.Store(&path)
		err := public(url + "/sub.git")
		refused(t, path+" is private", err, "without credentials")
		if strings.Contains(err.Error(), "submodule") != (path == "/sub.git") {
			t.Errorf("%s is private: %v", path, err)
		}
	}

	raw, err := p.Opening()
	fatalIf(t, err)
	opened, err := opening.Check(raw, p.Claim, p.List)
	if err != nil || opened == nil || strings.Count(string(raw), "\nwork\n") != 2 {
		t.Errorf("the opening: %v", err)
	}
}
