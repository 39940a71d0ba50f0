package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
	"cratelog/internal/toml"
)

// audited are verdicts of which two belong into an export: the third is of another registry, the
// fourth not verified.
func audited() []verdict.Verdict {
	good := func(name, registry string, facts verdict.Facts) verdict.Verdict {
		facts.Commit = strings.Repeat("ab", 20)
		facts.Log.Origin, facts.Log.Index, facts.Log.Size = "log.example/x", 7, 9
		v := verdict.Verdict{Status: verdict.Verified, Facts: &facts}
		v.Name, v.Version = name, "1.0.0-rc.1"
		v.Demand.Package = policy.Package{Registry: registry}
		return v
	}
	witnessed := verdict.Logged{AsOf: time.Unix(1, 0)}
	bad := good("bad", "", verdict.Facts{Log: witnessed})
	bad.Refuse(verdict.Violation, nil)
	return []verdict.Verdict{
		good("z", "", verdict.Facts{Log: witnessed, Path: "a\"\\\x7f\u202e]", Coverage: verdict.Coverage{Unproven: []string{"Cargo.lock"}}}),
		good("a", "", verdict.Facts{Log: witnessed}),
		good("private", "sparse+https://registry.example/index/", verdict.Facts{Log: witnessed}), bad,
	}
}

func TestAnExportIsTOMLAndTheSameInAnyOrder(t *testing.T) {
	all := audited()
	text, n := audits(all)
	if n != 2 {
		t.Errorf("%d audits", n)
	}
	doc, err := toml.Parse(text)
	fatalIf(t, err)
	tells(t, string(text), "[criteria.matches-commit]", "!development", "[[audits.a]]", "criteria = \"matches-commit\"\nversion = \"1.0.0-rc.1\"",
		"entry 7 of the log log.example/x; not proven: Cargo.lock", "!private", "!bad")
	z := doc["audits"].(map[string]any)["z"].([]any)[0].(map[string]any)
	if notes := z["notes"].(string); !strings.Contains(notes, ` at a"\\x7f\u202e];`) {
		t.Errorf("notes %q", notes)
	}
	slices.Reverse(all)
	if again, _ := audits(all); string(again) != string(text) {
		t.Errorf("in another order it is\n%s", again)
	}
}

// What anyone can forge must not be taken for an audit by whoever imports it.
func TestAnExportKeepsUnsafeProofsApart(t *testing.T) {
	for what, change := range map[string]func(*verdict.Facts){
		"a development key": func(f *verdict.Facts) { f.Development = true },
		"no witness":        func(f *verdict.Facts) { f.Log.AsOf = time.Time{} },
	} {
		all := audited()
		change(all[1].Facts)
		text, _ := audits(all)
		_, of, _ := strings.Cut(string(text), "[[audits.a]]")
		of, rest, _ := strings.Cut(of, "[[audits.z]]")
		if !strings.Contains(of, "criteria = \"matches-commit-development\"") || !strings.Contains(rest, "criteria = \"matches-commit\"") {
			t.Errorf("%s:\n%s", what, text)
		}
	}
}

func TestAnExportHoldsWhatIsProvenHere(t *testing.T) {
	d := proven(t)
	dir := d.project("hello-proof = \"0.1\"\n")
	d.settings(dir, "")
	d.call(outcome.Usage, "export")
	out, errs := d.call(outcome.OK, "export", "--cargo-vet")
	tells(t, out, "[[audits.hello-proof]]", "criteria = \"matches-commit-development\"\nversion = \"0.1.0\"", "of the log depot.example/log")
	tells(t, errs, "UNSAFE development keys", "anyone can forge them")
	file := filepath.Join(dir, "audits.toml")
	d.call(outcome.OK, "export", "--cargo-vet", file)
	if text, err := os.ReadFile(file); err != nil || string(text) != out {
		t.Errorf("%v: the file holds\n%s", err, text)
	}
	d.settings(dir, "trust = []\n") // wrong
	fatalIf(t, os.Remove(file))
	d.call(outcome.Usage, "export", "--cargo-vet", file)
	if _, err := os.Lstat(file); err == nil {
		t.Error("a failed export left a file")
	}
}
