package publish

import (
	"slices"
	"testing"
)

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
