package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
)

// says runs a verb and checks its exit code and what it prints, as tells does.
func says(t *testing.T, code outcome.Code, words []string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if got := run(t.Context(), args, &out, &out); got != int(code) {
		t.Errorf("%q: exit %d, not %d\n%s", args, got, code, &out)
	}
	for _, w := range words {
		if not, ok := strings.CutPrefix(w, "!"); ok == strings.Contains(out.String(), not) {
			t.Errorf("%q: %q\n%s", args, w, &out)
		}
	}
	return out.String()
}

// leaves has the registry serve crates that nobody has proven, and returns the dependencies on them.
func (d *depot) leaves(n int) (deps string) {
	for i := range n {
		name := fmt.Sprintf("leaf%02d", i)
		d.registry.AddCrate(registrytest.MakeCrate(name, "1.0.0", nil))
		deps += name + " = \"1\"\n"
	}
	return deps
}

func TestFromALockFileToAGreenBuild(t *testing.T) {
	d := newDepot(t)
	hello, proof := helloProof(t), fixture.Read(t, "hello-proof-0.1.0.entry")
	d.registry.AddCrate(hello)
	dir := d.project("hello-proof = \"0.1\"\n" + d.leaves(4))
	trust := t.TempDir()
	text, err := os.ReadFile(d.log.File)
	fatalIf(t, err)
	put(t, filepath.Join(trust, "trust.policy"), string(text))

	out := says(t, outcome.OK, []string{"Excepted 5 crates until ", "4 names no repository", "1 could be proven from what they name", "Created zkp.toml"},
		"init", "--from-lock", "--trust", trust, "--development")
	first, err := os.ReadFile("zkp-exceptions.toml")
	fatalIf(t, err)
	if n := strings.Count(string(first), "\n  { crate = "); n != 5 {
		t.Errorf("%d lines\n%s\n%s", n, first, out)
	}
	says(t, outcome.OK, []string{"0 crates proven, 5 excepted"}, "verify")
	says(t, outcome.OK, []string{"can be used"}, "policy", "check")
	says(t, outcome.Refused, []string{"is there already, and stays as it is"}, "init")
	says(t, outcome.Refused, []string{"zkp-exceptions.toml is there already", "cargo zkp prune"}, "init", "--from-lock")
	says(t, outcome.OK, []string{"1 exception of what could be proven", "hello-proof@0.1.0", "4 exceptions of what cannot be proven",
		"4 names no repository"}, "suggest")
	says(t, outcome.OK, []string{"all exceptions of zkp-exceptions.toml are needed"}, "prune")

	_, err = (&client.Log{URL: d.log.URL}).Submit(t.Context(), proof, hello, nil)
	fatalIf(t, err)
	says(t, outcome.OK, []string{"1 exception can go", "run cargo zkp prune"}, "suggest")
	says(t, outcome.OK, []string{`"crate":"hello-proof","version":"0.1.0","advice":"logged"`}, "suggest", "--message-format", "json")
	says(t, outcome.OK, []string{"nothing was written"}, "prune", "--dry-run")
	// A person's comment is not lost.
	put(t, "zkp-exceptions.toml", "# ours\n"+string(first))
	says(t, outcome.Unchecked, []string{"was changed by hand"}, "prune")
	put(t, "zkp-exceptions.toml", string(first))
	says(t, outcome.OK, []string{"Removing hello-proof@0.1.0: it is logged", "1 removed (1 proven now, 0 not in Cargo.lock), 4 left"}, "prune")
	says(t, outcome.OK, []string{"1 crate proven, 4 excepted"}, "verify")

	// A crate that is updated is not excepted.
	repository(t, dir)
	d.registry.AddCrate(registrytest.MakeCrate("leaf01", "1.1.0", nil))
	d.mustCargo("update", "-p", "leaf01")
	says(t, outcome.Refused, []string{"leaf01 v1.1.0: the log"}, "verify")
	says(t, outcome.Refused, []string{"leaf01  1.0.0  1.1.0  no: not logged, names no repository", "!hello-proof", "!leaf00", "1 crate is not"},
		"verify", "--since", "HEAD")
	says(t, outcome.Refused, []string{"| leaf01 | 1.0.0 | 1.1.0 | no: not logged, names no repository"}, "verify", "--since", "HEAD",
		"--message-format", "markdown")
	says(t, outcome.Unchecked, []string{"git finds no commit"}, "verify", "--since", "gone")
	says(t, outcome.OK, []string{"1 exception about versions that Cargo.lock has no more"}, "suggest")
	says(t, outcome.OK, []string{"Removing leaf01@1.0.0", "3 left"}, "prune")
	says(t, outcome.OK, []string{"Excepted 4 crates until 2999-01-31 in zkp-exceptions.toml; 1 proven"}, "init", "--from-lock", "--force",
		"--expires", "2999-01-31")
	says(t, outcome.Refused, []string{"UNSAFE development keys", "warnings: 1, and"}, "verify", "--deny", "warnings")
	says(t, outcome.OK, []string{"0 crates proven, 1 excepted"}, "verify", "--deny", "warnings", "-p", "leaf00")

	// An end that is near is warned of, and a past one counts no more.
	soon := policy.DateIn(time.Now(), 24*time.Hour).String()
	edited, err := os.ReadFile("zkp-exceptions.toml")
	fatalIf(t, err)
	put(t, "zkp-exceptions.toml", strings.Replace(string(edited), "2999-01-31", soon, 1))
	says(t, outcome.OK, []string{"4 crates will be refused when an exception ends, the first after " + soon}, "verify")
	says(t, outcome.Refused, []string{"--deny warnings makes them errors"}, "verify", "--deny", "warnings")
	says(t, outcome.Refused, []string{"expire within 14 days"}, "policy", "check", "--deny", "warnings")
	d.wants(7, []string{"Excepted 4 crates until " + soon + ": leaf00 v1.0.0, leaf01 v1.1.0, leaf02 v1.0.0 and 1 more", "it ran"}, "run")
	put(t, "zkp-exceptions.toml", strings.Replace(string(edited), "2999-01-31", "2020-01-31", 1))
	grouped := says(t, outcome.Refused, []string{"4 crates: no log that is trusted has an entry for this version (not-logged)",
		"leaf00 v1.0.0, leaf01 v1.1.0, leaf02 v1.0.0, leaf03 v1.0.0", "4 names no repository", "4 crates are not what the policy asks for"}, "verify")
	if strings.Count(grouped, "cargo zkp prove --lock") != 1 {
		t.Errorf("the remedy is not told once:\n%s", grouped)
	}
	says(t, outcome.Refused, []string{"app 0.1.0 > leaf00 1.0.0"}, "verify", "--paths")
	says(t, outcome.Refused, []string{"leaf00 v1.0.0: the log", "an exception for it ended on 2020-01-31"}, "verify", "-v")
	says(t, outcome.Refused, []string{`"cause":"no-repository","pulled_in_by":["app 0.1.0","leaf00 1.0.0"]`}, "verify", "--message-format", "json")

	// A file that nobody can read is no empty one.
	put(t, "zkp-exceptions.toml", "version = 1\nexpires = \"2999-01-01\"\nexceptions = [{ crate = \"*\", version = \"*\", reason = \"r\" }]\n")
	says(t, outcome.Usage, []string{"zkp-exceptions.toml", `exceptions[1].crate`}, "verify")
}

// repository makes a git repository of a directory, with all that is there committed.
func repository(t *testing.T, dir string) {
	t.Helper()
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", "x"}} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
}

func TestWarnLetsPassWhatIsMissingAndRefusesWhatIsFalse(t *testing.T) {
	d := newDepot(t)
	d.registry.AddCrate(helloProof(t))
	d.project("hello-proof = \"0.1\"\n" + d.leaves(2))
	d.settings(".", "warn = \"all\"\n")
	says(t, outcome.OK, []string{"3 crates not proven, and should be: no log that is trusted has an entry", "0 crates proven, 3 to be warned of only"}, "verify")
	says(t, outcome.OK, []string{`"status":"warned"`, `"success":true`, `"warnings":3`}, "verify", "--message-format", "json")
	says(t, outcome.OK, []string{`"level": "warning"`}, "verify", "--message-format", "sarif")
	says(t, outcome.Refused, []string{"--deny warnings makes them errors"}, "verify", "--deny", "warnings")
	d.wants(7, []string{"3 crates not proven, and should be", "it ran"}, "run")
	says(t, outcome.OK, []string{"3 written"}, "vendor")
	// What cargo would build is not what the lock file names.
	sources, err := filepath.Glob(filepath.Join(d.home, "registry", "src", "*", "leaf00-1.0.0", "src", "lib.rs"))
	if err != nil || len(sources) != 1 {
		t.Fatalf("%q, %v", sources, err)
	}
	put(t, sources[0], "// another\n")
	says(t, outcome.Refused, []string{"leaf00 v1.0.0", "1 crate is not what the policy asks for"}, "verify")
}

// Hundreds of failures fit a screen, and what is false is told of last.
func TestFailuresFitAScreen(t *testing.T) {
	k := &lockCheck{Lock: &verdict.Lock{}}
	add := func(n int, reason error) {
		for i := range n {
			k.verdicts = append(k.verdicts, verdict.Verdict{Status: verdict.Violation, Err: &client.Error{Reason: reason, What: "x"},
				Want: verdict.Want{Name: fmt.Sprintf("a-crate-with-a-name-%d", i), Version: "1.0.0-beta.12"}})
		}
	}
	add(2, client.ErrProof)
	add(300, client.ErrNotLogged)
	for i, e := range []error{client.ErrStale, client.ErrCRLF, client.ErrProgram, client.ErrUnproven, client.ErrNoWitnesses, client.ErrInclusion} {
		add(20+i, e)
	}
	for i := range 30 {
		k.Elsewhere = append(k.Elsewhere, fmt.Sprintf("x%d is from a git repository\nbecause\nremedy", i))
	}
	var out bytes.Buffer
	sh := newShell(&out, &out)
	err := k.report(sh, "human")
	sh.fail(err)
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	if len(lines) > 24 {
		t.Errorf("%d lines\n%s", len(lines), &out)
	}
	for _, l := range lines {
		if len(l) > columns {
			t.Errorf("%d columns: %s", len(l), l)
		}
	}
	if at := strings.Index(out.String(), "(proof)"); at < strings.Index(out.String(), "(not-logged)") || at < 0 {
		t.Errorf("a false proof is not at the end\n%s", &out)
	}
}

func TestWhatStrangersWroteIsTextInATable(t *testing.T) {
	for _, s := range []string{"<img src=x>", "a | b", "![x](y)", "`x`", "@team", "https://example.com", "\x1b[31m", "x\ny", "www.example.com", "#1", "~x~"} {
		cell := inCell(s)
		if strings.ContainsAny(cell, "<>|`*_[]()!@~\x1b\n") || strings.Contains(cell, "://") || strings.Contains(cell, "www.") {
			t.Errorf("%q becomes %q", s, cell)
		}
	}
}

// A SARIF file is one whatever the exit code is, with what OASIS wants of each part of it.
func TestEveryExitCodeHasASARIFFile(t *testing.T) {
	d := proven(t)
	top := d.project(asked + d.leaves(1))
	repository(t, top)
	d.settings(top, "require = \"all\"\n")
	check := func(code outcome.Code, args ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), append([]string{"verify", "--message-format", "sarif"}, args...), &stdout, &stderr); got != int(code) {
			t.Errorf("%q: exit %d, not %d\n%s", args, got, code, &stderr)
		}
		checkSARIF(t, stdout.Bytes(), code)
	}
	check(outcome.Refused)
	check(outcome.Usage, "--no-such-option")
	check(outcome.Usage, "--since", "HEAD")
	check(outcome.Usage, "--bundle", "x")
	check(outcome.OK, "-p", "hello-proof")
	fatalIf(t, os.Rename("Cargo.lock", "gone.lock"))
	check(outcome.Unchecked, "--locked")
	put(t, "zkp.toml", "version = 2\n")
	check(outcome.Usage)
}

func checkSARIF(t *testing.T, raw []byte, code outcome.Code) {
	t.Helper()
	type text struct {
		Text string
	}
	var doc struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name, Version string
					Rules         []struct {
						ID                     string
						ShortDescription, Help text
					}
				}
			}
			Invocations []struct {
				ExecutionSuccessful        *bool
				ToolExecutionNotifications []struct{ Message text }
			}
			Results []struct {
				RuleID    string
				RuleIndex *int
				Level     string
				Message   text
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil || doc.Version != "2.1.0" || len(doc.Runs) != 1 || !strings.Contains(doc.Schema, "sarif") {
		t.Fatalf("%v\n%s", err, raw)
	}
	r := doc.Runs[0]
	ran := code == outcome.OK || code == outcome.Refused
	if r.Tool.Driver.Name == "" || r.Tool.Driver.Version == "" || r.Tool.Driver.Rules == nil || r.Results == nil || len(r.Invocations) != 1 ||
		r.Invocations[0].ExecutionSuccessful == nil || *r.Invocations[0].ExecutionSuccessful != ran ||
		ran != (len(r.Invocations[0].ToolExecutionNotifications) == 0) || (code == outcome.OK) != (len(r.Results) == 0) {
		t.Errorf("exit %d:\n%s", code, raw)
	}
	for _, rule := range r.Tool.Driver.Rules {
		if rule.ID == "" || rule.ShortDescription.Text == "" || rule.Help.Text == "" {
			t.Errorf("a rule: %+v", rule)
		}
	}
	for _, one := range r.Results {
		at := one.Locations[0].PhysicalLocation
		if one.RuleIndex == nil || r.Tool.Driver.Rules[*one.RuleIndex].ID != one.RuleID || one.Message.Text == "" || at.Region.StartLine < 1 ||
			at.ArtifactLocation.URI != "Cargo.lock" || one.Level != "error" && one.Level != "warning" {
			t.Errorf("a result: %+v", one)
		}
	}
}
