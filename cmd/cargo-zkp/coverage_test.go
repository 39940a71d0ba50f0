package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/backlog"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
)

// call runs a verb, wants an exit code, and returns standard output and error.
func (d *depot) call(code outcome.Code, args ...string) (stdout, stderr string) {
	d.t.Helper()
	var out, errs bytes.Buffer
	if got := run(d.t.Context(), args, &out, &errs); got != int(code) {
		d.t.Fatalf("%q: exit %d, not %d\n%s%s", args, got, code, &out, &errs)
	}
	return out.String(), errs.String()
}

// tells wants words in a text and, behind a "!", the absence of others.
func tells(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if not, ok := strings.CutPrefix(w, "!"); ok == strings.Contains(text, not) {
			t.Errorf("%q in\n%s", w, text)
		}
	}
}

const vcsInfo = `{
  "git": {
    "sha1": "0123456789012345678901234567890123456789"%s
  },
  "path_in_vcs": ""
}`

// provable makes a .crate of some lines that looks as if it could be proven, or as if it was packaged dirty.
func provable(name string, lines int, dirty bool) []byte {
	info := strings.ReplaceAll(vcsInfo, "%s", "")
	if dirty {
		info = strings.ReplaceAll(vcsInfo, "%s", ",\n    \"dirty\": true")
	}
	return registrytest.MakeCrate(name, "1.0.0", map[string]string{
		".cargo_vcs_info.json": info,
		"Cargo.toml": "[package]\nname = \"" + name + "\"\nversion = \"1.0.0\"\nedition = \"2021\"\n" +
			"repository = \"https://git.example/" + name + "\"\n",
		"src/lib.rs": strings.Repeat("pub mod m {}\n", lines),
	})
}

func TestAReportSaysWhatIsProvenAndWhatWouldAddMost(t *testing.T) {
	d := proven(t)
	d.registry.AddCrate(provable("large", 3000, false))
	d.registry.AddCrate(provable("small", 50, false))
	d.registry.AddCrate(provable("dirty", 4000, true))
	dir := d.project("hello-proof = \"0.1\"\nlarge = \"1\"\nsmall = \"1\"\ndirty = \"1\"\n")
	d.settings(dir, "require = [\"small\"]\nwarn = [\"large\"]\n[[exception]]\ncrate = \"small\"\nreason = \"later\"\nexpires = \"2099-01-01\"\n")
	want := []string{"Cargo.lock: 1 of 4 crates proven (25 percent), and 0 percent of 7,0", " lines of Rust", "1 crate not proven and excepted in the policy",
		"1 crate not proven, and the policy warns only",
		"1  4,000  packaged with uncommitted changes", "2  3,050  not logged, and nothing known stands against a proof",
		"1  4,000  dirty v1.0.0", "These 2 proofs take you from 0 to 43 percent of the lines:", "42 %  3,000  large v1.0.0", "43 %     50  small v1.0.0"}
	out, _ := d.call(outcome.OK, "report")
	tells(t, out, want...)
	if n := strings.Count(out, "\n"); n > 24 {
		t.Errorf("%d lines do not fit on a screen\n%s", n, out)
	}
	// Everything is remembered, and the .crates are not read again: they may be gone.
	cache, err := filepath.Glob(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "cratelog", "lines.json"))
	fatalIf(t, err)
	if len(cache) != 1 {
		t.Fatalf("remembered in %q", cache)
	}
	again, errs := d.call(outcome.Unchecked, "report", "--offline", "--locked", "-q") // where nobody says that they are not logged
	tells(t, again, "1 of 4 crates", "3  7,050  could not be checked: not-cached", "!percent of the lines:")
	tells(t, errs, "3 crates could not be checked, so that more may be proven")

	out, _ = d.call(outcome.OK, "report", "--message-format", "json", "-q")
	var r struct {
		Format string
		Proven struct{ Crates, Lines int }
		Next   []struct {
			Name  string
			After struct{ Crates int }
		}
		Packages []struct {
			Name, State, Demand, Reason, Cause string
			Through                            []string
		}
	}
	fatalIf(t, json.Unmarshal([]byte(out), &r))
	if r.Format != "cratelog/report/v1" || r.Proven.Crates != 1 || len(r.Next) != 2 || r.Next[1].After.Crates != 3 || len(r.Packages) != 4 {
		t.Errorf("%+v", r)
	}
	if p := r.Packages[0]; p.Name != "dirty" || p.State != "unproven" || p.Demand != "not-asked" || p.Reason != "not-logged" || p.Cause != "dirty" || p.Through[0] != "dirty 1.0.0" {
		t.Errorf("%+v", p)
	}

	// What was tried in vain is not proposed again.
	var lock backlog.Report
	lock.Format, lock.Lock = backlog.Format, strings.Repeat("0", 64)
	fatalIf(t, json.Unmarshal([]byte(out), &struct {
		Packages *[]backlog.Crate `json:"packages"`
	}{&lock.Crates}))
	for i := range lock.Crates {
		c := &lock.Crates[i]
		c.Registry, c.Outcome, c.Cause = "default", backlog.Left, ""
		if c.Name == "large" {
			c.Outcome, c.Cause = backlog.Refused, backlog.RepositoryGone
		}
	}
	text, err := lock.Marshal()
	fatalIf(t, err)
	tried := filepath.Join(dir, "tried.json")
	put(t, tried, string(text))
	out, _ = d.call(outcome.OK, "report", "--prove-report", tried)
	tells(t, out, "1  3,000  its repository is gone, or not public", "This proof adds less than one percent of the lines:", "!%  3,000")
	put(t, tried, "{}")
	_, errs = d.call(outcome.Unchecked, "report", "--prove-report", tried)
	tells(t, errs, "is no report of cargo zkp prove --lock")
}

func TestAReportWithoutATrustFileBeginsAtNothing(t *testing.T) {
	d := proven(t)
	d.project("hello-proof = \"0.1\"\n")
	out, errs := d.call(outcome.OK, "report")
	tells(t, errs, "nothing counts as proven: no trust file says which logs")
	tells(t, out, "0 of 1 crate proven (0 percent)", "This proof takes you from 0 to 100 percent")
	d.call(outcome.Usage, "report", "--message-format", "xml")
	d.call(outcome.Usage, "report", "--top", "-1")
}

// The policy that asks for nothing lets a report ask no log that it may not ask.
func TestAReportAsksNoLogAboutPrivateCrates(t *testing.T) {
	d := newDepot(t)
	private := registrytest.New(t)
	private.AddCrate(registrytest.MakeCrate("secret", "1.0.0", nil))
	t.Setenv("CARGO_REGISTRIES_PRIVATE_INDEX", "sparse+"+private.Index)
	dir := d.project("secret = { version = \"1\", registry = \"private\" }\n")
	d.settings(dir, "")
	out, _ := d.call(outcome.OK, "report")
	tells(t, out, "0 of 1 crate proven", "from a registry that cannot be asked")
}
