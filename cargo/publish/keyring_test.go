package publish

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/proofcheck"
	"cratelog/prover"
)

// cancelled is a context that has ended.
func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestKeysThatCannotProveAreFoundBeforeTheWork(t *testing.T) {
	small := &prover.Plan{Blocks: 60, List: &crate.List{}}
	large := &prover.Plan{Blocks: 4000, List: &crate.List{}}
	shipped, err := proofcheck.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	var refused Refusal
	k := &Keyring{}
	id, err := k.Program(small)
	if err != nil || !slices.ContainsFunc(shipped, func(p proofcheck.Program) bool { return p.ID() == id && p.Blocks == 64 }) {
		t.Errorf("%x %v", id, err)
	}
	if _, err := k.Program(large); !errors.As(err, &refused) || !strings.Contains(err.Error(), "4000 SHA-1 blocks") {
		t.Error(err)
	}

	dir := t.TempDir()
	file := filepath.Join(dir, "a.program")
	i := slices.IndexFunc(shipped, func(p proofcheck.Program) bool { return p.Blocks == 64 })
	text, err := shipped[i].Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (&Keyring{ProgramFile: file}).Check(); err == nil || !strings.Contains(err.Error(), "go together") {
		t.Error(err)
	}
	if err := (&Keyring{ProgramFile: dir, KeyFile: "x"}).Check(); err == nil {
		t.Error("a directory was read as a program")
	}
	if err := os.WriteFile(filepath.Join(dir, "b.program"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (&Keyring{ProgramFile: filepath.Join(dir, "b.program"), KeyFile: "x"}).Check(); err == nil || !strings.Contains(err.Error(), "b.program") {
		t.Error(err)
	}
	k = &Keyring{ProgramFile: file, KeyFile: filepath.Join(dir, "gone")}
	if got, err := k.Program(small); err != nil || got != id {
		t.Errorf("%x %v", got, err)
	}
	if _, err := k.Program(large); !errors.As(err, &refused) || !strings.Contains(err.Error(), "a.program has 64 blocks") {
		t.Error(err)
	}
}

func TestMembersComeAfterWhatTheyDependOn(t *testing.T) {
	at := func(name string, deps ...dependency) *member {
		return &member{Name: name, Version: "1.0.0", Manifest: "/w/" + name + "/Cargo.toml", Dependencies: deps}
	}
	on := func(name, kind, req string) dependency {
		return dependency{Name: name, Path: "/w/" + name, Kind: kind, Req: req}
	}
	names := func(ms []*member) (out []string) {
		for _, m := range inOrder(ms) {
			out = append(out, m.Name)
		}
		return out
	}
	a := at("a", on("b", "", "^1"), on("c", "build", "^1"))
	b := at("b", on("c", "dev", "^1"), dependency{Name: "far", Req: "^1"})
	c := at("c", on("a", "dev", "*"))
	if got := names([]*member{a, b, c}); !slices.Equal(got, []string{"c", "b", "a"}) {
		t.Error(got)
	}
	// A cycle, which cargo refuses itself, ends.
	x, y := at("x", on("y", "", "^1")), at("y", on("x", "", "^1"))
	if got := names([]*member{y, x, c}); len(got) != 3 || got[0] != "c" {
		t.Error(got)
	}
}
