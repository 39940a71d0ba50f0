package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/loopback"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
	"cratelog/proofcheck"
)

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

	d.zkp(outcome.OK, []string{"nothing asks for a proof here", "cargo zkp init --from-lock"}, "verify")
	d.zkp(outcome.OK, []string{"Created zkp.toml"}, "init") // it says nothing yet, so that the next may write over it
	out := d.zkp(outcome.OK, []string{"Excepted 5 crates until ", "4 names no repository", "1 could be proven from what they name", "Created zkp.toml"},
		"init", "--from-lock", "--trust", trust, "--development")
	first, err := os.ReadFile("zkp-exceptions.toml")
	fatalIf(t, err)
	if n := strings.Count(string(first), "\n  { crate = "); n != 5 {
		t.Errorf("%d lines\n%s\n%s", n, first, out)
	}
	d.zkp(outcome.OK, []string{"0 crates proven, 5 excepted"}, "verify")
	d.zkp(outcome.OK, []string{"can be used"}, "policy", "check")
	d.zkp(outcome.Refused, []string{"is there already, and stays as it is"}, "init")
	d.zkp(outcome.Usage, []string{"is there already, and stays as it is", "under trust = [...]"}, "init", "--from-lock", "--trust", trust)
	d.zkp(outcome.Refused, []string{"zkp-exceptions.toml is there already", "cargo zkp prune"}, "init", "--from-lock")
	d.zkp(outcome.OK, []string{"1 exception of what could be proven", "hello-proof@0.1.0", "4 exceptions of what cannot be proven",
		"4 names no repository", "run cargo zkp prove --lock --submit --log " + d.log.URL}, "suggest")
	d.zkp(outcome.OK, []string{"cargo zkp prove --lock --submit --log " + d.log.URL}, "report")
	d.zkp(outcome.OK, []string{"all exceptions of zkp-exceptions.toml are needed"}, "prune")

	_, err = (&client.Log{URL: d.log.URL}).Submit(t.Context(), proof, hello, nil)
	fatalIf(t, err)
	d.zkp(outcome.OK, []string{"1 exception can go", "run cargo zkp prune"}, "suggest")
	d.zkp(outcome.OK, []string{`"crate":"hello-proof","version":"0.1.0","advice":"logged"`}, "suggest", "--message-format", "json")
	d.zkp(outcome.OK, []string{"nothing was written"}, "prune", "--dry-run")
	// A person's comment is not lost.
	put(t, "zkp-exceptions.toml", "# ours\n"+string(first))
	d.zkp(outcome.Unchecked, []string{"was changed by hand"}, "prune")
	put(t, "zkp-exceptions.toml", string(first))
	d.zkp(outcome.OK, []string{"Removing hello-proof@0.1.0: it is logged", "1 removed (1 proven now, 0 not in Cargo.lock), 4 left"}, "prune")
	d.zkp(outcome.OK, []string{"1 crate proven, 4 excepted"}, "verify")

	// A crate that is updated is not excepted.
	repository(t, dir)
	d.registry.AddCrate(registrytest.MakeCrate("leaf01", "1.1.0", nil))
	d.mustCargo("update", "-p", "leaf01")
	d.zkp(outcome.Refused, []string{"leaf01 v1.1.0: the log"}, "verify")
	d.zkp(outcome.Refused, []string{"leaf01  1.0.0  1.1.0  no: not logged, names no repository", "!hello-proof", "!leaf00", "1 crate is not"},
		"verify", "--since", "HEAD")
	d.zkp(outcome.Refused, []string{"| leaf01 | 1.0.0 | 1.1.0 | no: not logged, names no repository"}, "verify", "--since", "HEAD",
		"--message-format", "markdown")
	d.zkp(outcome.Unchecked, []string{"git finds no commit"}, "verify", "--since", "gone")
	runGit(t, dir, "add", ".")
	runGit(t, dir, "commit", "-qm", "x")
	runGit(t, dir, "tag", "my_tag")
	d.zkp(outcome.OK, []string{"or changed since my_tag."}, "verify", "--since", "my_tag")
	d.zkp(outcome.OK, []string{"1 exception about versions that Cargo.lock has no more"}, "suggest")
	d.zkp(outcome.OK, []string{"Removing leaf01@1.0.0", "3 left"}, "prune")
	d.zkp(outcome.OK, []string{"Excepted 4 crates until 2999-01-31 in zkp-exceptions.toml; 1 proven"}, "init", "--from-lock", "--force",
		"--expires", "2999-01-31")
	d.zkp(outcome.Refused, []string{"UNSAFE development keys", "warnings: 1, and"}, "verify", "--deny", "warnings")
	d.zkp(outcome.OK, []string{"0 crates proven, 1 excepted"}, "verify", "--deny", "warnings", "-p", "leaf00")

	// An end that is near is warned of, and a past one counts no more.
	soon := policy.DateIn(time.Now(), 24*time.Hour).String()
	edited, err := os.ReadFile("zkp-exceptions.toml")
	fatalIf(t, err)
	put(t, "zkp-exceptions.toml", strings.Replace(string(edited), "2999-01-31", soon, 1))
	d.zkp(outcome.OK, []string{"4 crates will be refused when an exception ends, the first after " + soon}, "verify")
	d.zkp(outcome.Refused, []string{"--deny warnings makes them errors"}, "verify", "--deny", "warnings")
	d.zkp(outcome.Refused, []string{"expire within 14 days"}, "policy", "check", "--deny", "warnings")
	d.wants(7, []string{"Excepted 4 crates until " + soon + ": leaf00 v1.0.0, leaf01 v1.1.0, leaf02 v1.0.0 and 1 more", "it ran"}, "run")
	put(t, "zkp-exceptions.toml", strings.Replace(string(edited), "2999-01-31", "2020-01-31", 1))
	grouped := d.zkp(outcome.Refused, []string{"4 crates: no log that is trusted has an entry for this version (not-logged)",
		"leaf00 v1.0.0, leaf01 v1.1.0, leaf02 v1.0.0, leaf03 v1.0.0", "exceptions for 4 of them ended, the last on 2020-01-31",
		"cargo zkp init --from-lock --force excepts the rest", "4 names no repository", "4 crates are not what the policy asks for"}, "verify")
	if strings.Count(grouped, "cargo zkp prove --lock --submit --log "+d.log.URL+"\n") != 1 {
		t.Errorf("the remedy is not told once:\n%s", grouped)
	}
	d.zkp(outcome.Refused, []string{"app 0.1.0 > leaf00 1.0.0"}, "verify", "--paths")
	d.zkp(outcome.Refused, []string{"leaf00 v1.0.0: the log", "an exception for it ended on 2020-01-31"}, "verify", "-v")
	d.zkp(outcome.Refused, []string{`"cause":"no-repository","pulled_in_by":["app 0.1.0","leaf00 1.0.0"]`}, "verify", "--message-format", "json")

	// A file that nobody can read is no empty one.
	put(t, "zkp-exceptions.toml", "version = 1\nexpires = \"2999-01-01\"\nexceptions = [{ crate = \"*\", version = \"*\", reason = \"r\" }]\n")
	d.zkp(outcome.Usage, []string{"zkp-exceptions.toml", `exceptions[1].crate`}, "verify")
}

// repository makes a git repository of a directory, with all that is there committed.
func repository(t *testing.T, dir string) {
	t.Helper()
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", ".")
	runGit(t, dir, "commit", "-qm", "x")
}

// What --trust names is copied, and what zkp.toml says of it can be loaded.
func TestInitBringsItsTrustFilesAndPrograms(t *testing.T) {
	d := newDepot(t)
	f, err := forge.Invent("ours", proofcheck.OriginSolo+"Ours", 8)
	fatalIf(t, err)
	d.log, err = loopback.Start(t.Context(), loopback.Config{Origin: "ours.example/log", Dir: t.TempDir(),
		Programs: []proofcheck.Program{f.Program()}})
	fatalIf(t, err)
	t.Cleanup(func() { fatalIf(t, d.log.Close()) })
	raw := registrytest.MakeCrate("leaf00", "1.0.0", nil)
	d.logBy(f, "", raw, "leaf00", "1.0.0", [20]byte{1})
	program, err := f.Program().Marshal()
	fatalIf(t, err)
	trust, outside := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"ours.policy": string(d.log.Text), "program.json": string(program), "README.md": "x",
		".old.policy": "x", "more/other.json": "x"} {
		put(t, filepath.Join(trust, name), text)
	}
	put(t, filepath.Join(outside, "ours.policy"), string(d.log.Text))
	deps := d.leaves(2)
	for name, c := range map[string]struct {
		trust   string
		says    []string
		holds   []string
		program bool
	}{
		"without the program": {outside, []string{"Excepted 2 crates", "0 proven"}, []string{`trust = ["zkp/ours.policy"]`, "!program.json"}, false},
		"with it": {trust, []string{"Excepted 1 crate until", "1 proven"},
			[]string{`trust = ["zkp/ours.policy"]`, `programs = ["zkp/program.json"]`}, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := *d
			d.t = t
			dir := d.project(deps)
			d.zkp(outcome.OK, c.says, "init", "--from-lock", "--trust", c.trust)
			text, err := os.ReadFile("zkp.toml")
			fatalIf(t, err)
			tells(t, string(text), c.holds...)
			copied, err := os.ReadFile(filepath.Join("zkp", "program.json"))
			if c.program != (err == nil) || c.program && !bytes.Equal(copied, program) {
				t.Errorf("the copy: %v", err)
			}
			stands(t, dir, "zkp/ours.policy", "!zkp/README.md", "!zkp/.old.policy", "!zkp/other.json", "!zkp/more")
			if c.program {
				d.tells(outcome.OK, []string{"1 crate proven, 1 excepted"})
				d.zkp(outcome.OK, []string{"can be used; trust files: 1, programs: 1"}, "policy", "check")
			}
		})
	}
	// A copy that is there, of another program, stays; what cannot be loaded is not copied.
	dir := d.project(deps)
	put(t, filepath.Join(dir, "zkp", "program.json"), "another")
	d.zkp(outcome.Refused, []string{"program.json is there already, and is not"}, "init", "--trust", trust)
	stands(t, dir, "!zkp.toml")
	d.zkp(outcome.OK, []string{"Created zkp.toml"}, "init", "--trust", trust, "--force")
	dir = d.project(deps)
	put(t, filepath.Join(trust, "program.json"), "{}")
	d.zkp(outcome.Usage, []string{"program.json"}, "init", "--from-lock", "--trust", trust)
	stands(t, dir, "!zkp.toml", "!zkp", "!zkp-exceptions.toml")
	fatalIf(t, os.Remove(filepath.Join(trust, "ours.policy")))
	d.zkp(outcome.Usage, []string{"has no trust file (*.policy)"}, "init", "--trust", trust)
	put(t, filepath.Join(trust, "readers", "ours.policy"), string(d.log.Text)) // as cratelog init makes it
	d.zkp(outcome.Usage, []string{"it is in " + filepath.Join(trust, "readers")}, "init", "--trust", trust)
	d.zkp(outcome.Usage, []string{"there is no such file or directory"}, "init", "--trust", filepath.Join(trust, "no"))
}

// TestInitGoesOnWhereItWasKilled: behind the exceptions it writes zkp.toml. What it would not write is somebody's.
func TestInitGoesOnWhereItWasKilled(t *testing.T) {
	d := newDepot(t)
	d.project(d.leaves(2))
	d.zkp(outcome.OK, []string{"Excepted 2 crates until ", "Created zkp.toml"}, "init", "--from-lock")
	made, err := os.ReadFile("zkp-exceptions.toml")
	fatalIf(t, err)
	fatalIf(t, os.Remove("zkp.toml"))
	d.zkp(outcome.OK, []string{"Excepted 2 crates until ", "Created zkp.toml"}, "init", "--from-lock")
	fatalIf(t, os.Remove("zkp.toml"))
	edited := strings.Replace(string(made), "names no repository", "is ours", 1)
	put(t, "zkp-exceptions.toml", edited)
	d.zkp(outcome.Refused, []string{"zkp-exceptions.toml is there already", "--force", "!Excepted"}, "init", "--from-lock")
	if left, err := os.ReadFile("zkp-exceptions.toml"); err != nil || string(left) != edited || edited == string(made) {
		t.Errorf("%s, %v", left, err)
	}
}

// A zkp.toml that verify does not read, or that silences a stricter one, is worse than none.
func TestInitWritesWhereItIsRead(t *testing.T) {
	d := newDepot(t)
	top := d.project("")
	manifest, err := os.ReadFile("Cargo.toml")
	fatalIf(t, err)
	put(t, "Cargo.toml", string(manifest)+"\n[package.metadata.zkp]\npolicy = \"ci/zkp.toml\"\n")
	d.zkp(outcome.OK, []string{"Created " + filepath.Join("ci", "zkp.toml"), "!will not count"}, "init", "--from-lock")
	stands(t, top, "ci/zkp.toml", "ci/zkp-exceptions.toml", "!zkp.toml", "!zkp-exceptions.toml")
	d.zkp(outcome.Refused, []string{filepath.Join("ci", "zkp.toml") + " cannot be used as it is"}, "policy", "check") // it believes nobody yet
	put(t, "ci/zkp-exceptions.toml", "version = 1\nexpires = \"2999-01-31\"\nexceptions = [{ crate = \"x\", version = \"1.0.0\", reason = \"r\" }]\n")
	d.zkp(outcome.OK, []string{"Removing x@1.0.0: Cargo.lock does not have it", "0 left"}, "prune", "--force")

	fatalIf(t, os.Mkdir(filepath.Join(top, ".git"), 0o755))
	d.settings(top, "require = \"all\"\n")
	inner := filepath.Join(top, "inner")
	put(t, filepath.Join(inner, "Cargo.toml"), "[package]\nname = \"inner\"\nversion = \"0.1.0\"\n\n[workspace]\n")
	put(t, filepath.Join(inner, "src", "lib.rs"), "")
	t.Chdir(inner)
	d.zkp(outcome.OK, []string{"will not count here any more, for zkp.toml is nearer", "Created zkp.toml"}, "init")
}

// The finding: of an exception for what nobody asks to be proven, prune said that it is logged.
func TestAnExceptionFromNothingIsSaidToBeOne(t *testing.T) {
	d := newDepot(t)
	d.project(d.leaves(2))
	d.settings(".", "require = [\"leaf00\"]\nexceptions = \"zkp-exceptions.toml\"\n")
	put(t, "zkp-exceptions.toml", "version = 1\nexpires = \"2999-01-31\"\nexceptions = [\n"+
		"  { crate = \"leaf00\", version = \"1.0.0\", reason = \"r\" },\n  { crate = \"leaf01\", version = \"1.0.0\", reason = \"r\" },\n]\n")
	d.zkp(outcome.OK, []string{"1 exception of what needs no proof anyway\n  leaf01@1.0.0", "1 exception of what cannot be proven", "!logged"}, "suggest")
	d.zkp(outcome.OK, []string{"Removing leaf01@1.0.0: it needs no proof anyway", "1 removed (0 proven now, 0 not in Cargo.lock), 1 left"}, "prune", "--force")
	d.tells(outcome.OK, []string{"0 crates proven, 1 excepted, 1 with"})
}

func TestWarnLetsPassWhatIsMissingAndRefusesWhatIsFalse(t *testing.T) {
	d := newDepot(t)
	d.registry.AddCrate(helloProof(t))
	d.project("hello-proof = \"0.1\"\n" + d.leaves(2))
	d.settings(".", "warn = \"all\"\n")
	d.zkp(outcome.OK, []string{"3 crates not proven, and should be: no log that is trusted has an entry", "0 crates proven, 3 to be warned of only"}, "verify")
	d.zkp(outcome.OK, []string{`"status":"warned"`, `"success":true`, `"warnings":3`}, "verify", "--message-format", "json")
	d.zkp(outcome.OK, []string{`"level": "warning"`}, "verify", "--message-format", "sarif")
	d.zkp(outcome.Refused, []string{"--deny warnings makes them errors"}, "verify", "--deny", "warnings")
	d.wants(7, []string{"3 crates not proven, and should be", "it ran"}, "run")
	d.zkp(outcome.OK, []string{"3 written"}, "vendor")
	// What cargo would build is not what the lock file names.
	sources, err := filepath.Glob(filepath.Join(d.home, "registry", "src", "*", "leaf00-1.0.0", "src", "lib.rs"))
	if err != nil || len(sources) != 1 {
		t.Fatalf("%q, %v", sources, err)
	}
	put(t, sources[0], "// another\n")
	d.zkp(outcome.Refused, []string{"leaf00 v1.0.0", "1 crate is not what the policy asks for"}, "verify")
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
		cell := strings.TrimSuffix(strings.TrimPrefix(inCell(s), "<code>"), "</code>")
		if strings.ContainsAny(cell, "<>|`*_[]()!@~\x1b\n") || strings.Contains(cell, "://") || strings.Contains(cell, "www.") {
			t.Errorf("%q becomes %q", s, cell)
		}
	}
	// Code hosts tell whom a text names, also if it is written in numbers.
	if cell := inCell("@team"); cell != "<code>&#64;team</code>" {
		t.Errorf("%q", cell)
	}
	r := &sarif{}
	r.add("error", "error", "published by [us](https://evil.example)", 1, "")
	if text := fmt.Sprint(r.results[0]["message"]); strings.Contains(text, "](") {
		t.Errorf("a link in SARIF: %s", text)
	}
	var out bytes.Buffer
	sh := newShell(&out, &out)
	sh.Warn("%s lacks %s", "x", "a\x1b[2Kb\u202e\nremedy\r")
	sh.complain("\x1b]0;x\a")
	sh.Status("Verified", "%s", "\x1b[31m")
	if strings.ContainsAny(out.String(), "\x1b\u202e\r\a") || !strings.Contains(out.String(), "b\\u202e\n  remedy") {
		t.Errorf("%q", &out)
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

func TestALockFileWithCRLFHasItsLinesInSARIF(t *testing.T) {
	k := &lockCheck{Lock: &verdict.Lock{Workspace: &cargo.Workspace{LockPath: filepath.Join(t.TempDir(), "Cargo.lock")},
		Text: []byte("version = 4\r\n\r\n[[package]]\r\nname = \"x\"\r\nversion = \"1.0.0\"\r\n")}}
	k.verdicts = []verdict.Verdict{{Status: verdict.Violation, Err: &client.Error{Reason: client.ErrProof, What: "x"},
		Want: verdict.Want{Name: "x", Version: "1.0.0"}}}
	if at := fmt.Sprint(k.sarif().results[0]["locations"]); !strings.Contains(at, "startLine:4") {
		t.Error(at)
	}
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
		ran != (len(r.Invocations[0].ToolExecutionNotifications) == 0) || code == outcome.OK && len(r.Results) > 0 || code == outcome.Refused && len(r.Results) == 0 {
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
