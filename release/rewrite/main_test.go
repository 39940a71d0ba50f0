package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestImportsFollowTheModuleAndLabelsStay(t *testing.T) {
	root := t.TempDir()
	before := map[string]string{
		"go.mod":          "module thing\n\ngo 1.26\n",
		"entry/entry.go":  "package entry\n\nconst Label = \"thing/entry\"\n\nconst Domain = \"thing/entry/v1\\n\"\n",
		"cmd/x/main.go":   "package main\n\nimport (\n\t\"fmt\"\n\n\te \"thing/entry\"\n\t\"thingother/entry\"\n)\n\nfunc main() { fmt.Println(e.Label, entry.X) }\n",
		"e2e/arch.go":     "package e2e\n\nvar a, b, c = \"thing/cmd/\", \"thing/\", \"thing/entry/v1\"\n",
		"docs/install.md": "    go install thing/cmd/x@latest\n\nThe label `thing/entry/v1`, and (cd .../thing && go install ./cmd/x), x/thing/cmd/x.\n",
		"testdata/a.go":   "package a\n\nimport _ \"thing/entry\"\n",
	}
	after := map[string]string{
		"go.mod":          "module example.org/a/thing\n\ngo 1.26\n",
		"entry/entry.go":  before["entry/entry.go"],
		"cmd/x/main.go":   "package main\n\nimport (\n\t\"fmt\"\n\n\te \"example.org/a/thing/entry\"\n\t\"thingother/entry\"\n)\n\nfunc main() { fmt.Println(e.Label, entry.X) }\n",
		"e2e/arch.go":     "package e2e\n\nvar a, b, c = \"example.org/a/thing/cmd/\", \"example.org/a/thing/\", \"thing/entry/v1\"\n",
		"docs/install.md": "    go install example.org/a/thing/cmd/x@latest\n\nThe label `thing/entry/v1`, and (cd .../thing && go install ./cmd/x), x/thing/cmd/x.\n",
		"testdata/a.go":   before["testdata/a.go"],
	}
	for name, text := range before {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{"", "nodot", "../x", "exa mple.org/x", "example.org/a/"} {
		if _, err := rewrite(root, bad); err == nil {
			t.Errorf("the path %q was accepted", bad)
		}
	}
	n, err := rewrite(root, "example.org/a/thing")
	if err != nil || n != 4 {
		t.Errorf("%d files, %v", n, err)
	}
	for name, want := range after {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != want {
			t.Errorf("%s, %v:\n%s\nwant\n%s", name, err, got, want)
		}
	}
}
