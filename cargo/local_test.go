package cargo

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAPathOutsideOfTheRepositoryIsNotTheUsersOwn(t *testing.T) {
	dep := func(name, path string) string { return name + " = { path = \"" + path + "\" }\n" }
	dir := layout(t, tree{
		"repo/.git/HEAD": "",
		"repo/ws/Cargo.toml": pkg("app", "[workspace]\nmembers = [\"member\", \"../../far\"]\n[dependencies]\n"+dep("beside", "../beside")+
			dep("away", "../../away")+dep("linked", "linked")+"[patch.crates-io]\n"+dep("patched", "../../patched")+"[replace]\n"+
			"\"old:1.0.0\" = { path = \"../../old\" }\n"),
		"repo/ws/member/Cargo.toml": pkg("member"),
		"far/Cargo.toml":            pkg("far", "workspace = \"../repo/ws\""),
		"repo/beside/Cargo.toml":    pkg("beside", "[dependencies]\n"+dep("further", "../../further")),
		"away/Cargo.toml":           pkg("away", "[workspace]"),
		"further/Cargo.toml":        pkg("further"),
		"patched/Cargo.toml":        pkg("patched"),
		"old/Cargo.toml":            pkg("old"),
		"target/Cargo.toml":         pkg("linked"),
	})
	fatalIf(t, os.Symlink(filepath.Join(dir, "target"), filepath.Join(dir, "repo", "ws", "linked")))
	w, err := LoadWorkspace(filepath.Join(dir, "repo", "ws", manifestName))
	fatalIf(t, err)
	for name, own := range map[string]bool{"app": true, "member": true, "far": true, "beside": true, "linked": false,
		"away": false, "further": false, "patched": false, "old": false, "unheard": false} {
		p := Package{Name: name, Version: "0.1.0"}
		if w.Own(p) != own || !own && name != "unheard" && w.Outside(p) == "" {
			t.Errorf("%s: own is %v, outside is %q", name, w.Own(p), w.Outside(p))
		}
		p.Source = "git+https://example.com/r#00"
		if w.Own(p) {
			t.Errorf("%s from git is own", name)
		}
	}
	before := w.Digest
	write(t, filepath.Join(dir, "further", manifestName), pkg("further", "[features]\nx = []"))
	w, err = LoadWorkspace(w.Manifest)
	fatalIf(t, err)
	if w.Digest == before {
		t.Error("a manifest changed, and the digest does not show it")
	}
}
