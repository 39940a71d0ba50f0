package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/evidence"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

const vectors = "../../evidence/testdata"

// command runs the program and returns its exit code and what it printed.
func command(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = outcome.Exit("monitor", run(t.Context(), args, &out, &errs), &errs)
	return code, out.String(), errs.String()
}

// ends runs the program, demands its exit code and some of what it prints, and returns
// its output.
func ends(t testing.TB, code int, says, complains string, args ...string) string {
	t.Helper()
	got, out, errs := command(t, args...)
	if got != code || !strings.Contains(out, says) || !strings.Contains(errs, complains) {
		t.Errorf("%q: exit %d, %q %q; want %d, %q %q", args, got, out, errs, code, says, complains)
	}
	return out
}

// TestEvidenceNeedsATrustFileAlone runs over the golden files: what each convicts
// stands in its text, and a byte less is nothing.
func TestEvidenceNeedsATrustFileAlone(t *testing.T) {
	files := testlog.Must(filepath.Glob(filepath.Join(vectors, "*.evidence")))
	if len(files) < 10 {
		t.Fatalf("only %d golden files", len(files))
	}
	trust := filepath.Join(vectors, "trust.policy")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".evidence")
		what := testlog.Must(os.ReadFile(filepath.Join(vectors, name+".txt")))
		code, out, errs := command(t, "verify-evidence", file, "--trust", trust)
		informational := name == "stale" || strings.HasPrefix(name, "registry-") || name == "false-entry-unknown-program"
		first := "This evidence convicts the "
		if informational {
			first = "This evidence holds, and convicts nobody.\n"
		}
		if code != 0 || errs != "" || !strings.HasPrefix(out, first) || !strings.Contains(oneLine(out), oneLine(string(what))) {
			t.Errorf("%s: exit %d, %q\n%s", name, code, errs, out)
		}
		out = ends(t, 0, "", "", "verify-evidence", "-json", "-trust="+trust, file)
		var r report
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Convicts == informational || r.Convicts != (len(r.Who) > 0) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		b := testlog.Must(os.ReadFile(file))
		cut := filepath.Join(t.TempDir(), "cut.evidence")
		fatalIf(t, os.WriteFile(cut, b[:len(b)-1], 0o600))
		if out := ends(t, 3, "", "malformed evidence", "verify-evidence", cut, "--trust", trust); out != "" {
			t.Errorf("%s, cut: %q", name, out)
		}
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestWhatDoesNotHoldEndsWithOneAndWhatCannotBeReadWithThree(t *testing.T) {
	dir := t.TempDir()
	trust := filepath.Join(vectors, "trust.policy")
	fork := filepath.Join(vectors, "fork-same-size.evidence")
	text := testlog.Must(os.ReadFile(trust))
	witnesses := filepath.Join(dir, "witnesses.policy")
	_, after, _ := strings.Cut(string(text), "\n")
	fatalIf(t, os.WriteFile(witnesses, []byte(after), 0o600))
	b := testlog.Must(os.ReadFile(fork))
	forged := filepath.Join(dir, "forged.evidence")
	fatalIf(t, os.WriteFile(forged, bytes.Replace(b, []byte("— example.com/log U"), []byte("— example.com/log V"), 1), 0o600))
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"an unknown log":           {[]string{fork, "--trust", witnesses}, 1, "accuses nobody: the evidence is not signed by a known key"},
		"a forged signature":       {[]string{forged, "--trust", trust}, 1, "anyone can have written it"},
		"no file":                  {[]string{"--trust", trust}, 2, "takes one file, not 0"},
		"two files":                {[]string{fork, fork, "--trust", trust}, 2, "takes one file, not 2"},
		"no trust file":            {[]string{fork}, 2, "needs --trust"},
		"an unknown flag":          {[]string{fork, "--trsut", trust}, 2, "trsut"},
		"a missing file":           {[]string{filepath.Join(dir, "none"), "--trust", trust}, 3, "no such file"},
		"a missing trust file":     {[]string{fork, "--trust", filepath.Join(dir, "none")}, 3, "no such file"},
		"a broken trust file":      {[]string{fork, "--trust", fork}, 3, "trust file, line 1"},
		"a trust file as evidence": {[]string{trust, "--trust", trust}, 3, "malformed evidence"},
		"a broken program":         {[]string{fork, "--trust", trust, "--program", fork}, 3, "program file"},
		"a directory":              {[]string{dir, "--trust", trust}, 3, "directory"},
	} {
		if out := ends(t, c.code, "", c.says, append([]string{"verify-evidence"}, c.args...)...); out != "" {
			t.Errorf("%s: %q", name, out)
		}
	}
}

// TestNotKnowingAProgramDependsOnWhoReads: with the reader's own program files, nothing is unknown.
func TestNotKnowingAProgramDependsOnWhoReads(t *testing.T) {
	trust := filepath.Join(vectors, "trust.policy")
	proof := filepath.Join(vectors, "false-entry-proof-invalid.evidence")
	program := testlog.Must(os.ReadFile("../../proofcheck/programs/source.json"))
	file := filepath.Join(t.TempDir(), "a.program")
	fatalIf(t, os.WriteFile(file, program, 0o600))
	ends(t, 0, "", "", "verify-evidence", proof, "--trust", trust, "--program", file, "--development")
}

// TestANamedProgramIsAccepted: with a development key, twice, and out of a pipe, whatever else is accepted.
func TestANamedProgramIsAccepted(t *testing.T) {
	const file = "../../proofcheck/programs/source.json"
	program := testlog.Must(proofcheck.ReadProgram(file))
	unknown := &evidence.Evidence{}
	refuses := testlog.Must(judgeOf(unknown, nil, false))
	if _, known := refuses.Program(program.ID()); known {
		t.Error("a development key is accepted that nobody named")
	}
	r, w, err := os.Pipe()
	fatalIf(t, err)
	defer r.Close()
	_, err = w.Write(testlog.Must(os.ReadFile(file)))
	fatalIf(t, errors.Join(err, w.Close()))
	pipe := fmt.Sprintf("/dev/fd/%d", r.Fd())
	for _, files := range [][]string{{file}, {file, file}, {pipe, file}} {
		v := testlog.Must(judgeOf(unknown, files, false))
		if p := v.Programs(); len(p) != 1 || p[0].ID() != program.ID() {
			t.Errorf("%q: %v", files, p)
		}
	}
}

// TestALargeCrateIsGivenBesideTheFile: one that the file has no room for.
func TestALargeCrateIsGivenBesideTheFile(t *testing.T) {
	dir := t.TempDir()
	e := testlog.Must(evidence.Read(filepath.Join(vectors, "false-entry-files.evidence")))
	raw := filepath.Join(dir, "a.crate")
	fatalIf(t, os.WriteFile(raw, e.Crate, 0o600))
	e.Crate = nil
	file := testlog.Must(evidence.Write(dir, e))
	args := []string{"verify-evidence", file, "--trust", filepath.Join(vectors, "trust.policy")}
	ends(t, 1, "", "it needs the .crate of hello-inner 0.1.0", args...)
	ends(t, 0, strings.TrimSuffix(filepath.Base(file), ".evidence"), "", append(args, "--crate", raw)...)
	ends(t, 1, "", "the .crate has the checksum", append(args, "--crate", file)...)
}

// TestABuilderIsConvictedWithoutATrustFile, by his own signatures.
func TestABuilderIsConvictedWithoutATrustFile(t *testing.T) {
	file := filepath.Join(vectors, "builder-contradiction-in-two-sets.evidence")
	out := ends(t, 0, "This evidence convicts the builder ann.", "", "verify-evidence", file)
	for _, words := range []string{"Set 1:", "Set 2:", "said two things of one build", "Transferable: yes"} {
		if !strings.Contains(oneLine(out), words) {
			t.Errorf("no %q in\n%s", words, out)
		}
	}
	if strings.Contains(out, "Log:") {
		t.Errorf("it is about no log:\n%s", out)
	}
}

// TestWhatAnEvidenceFileSaysOfAKeyIsTheCaptorsWord: only a program that the reader named is known.
func TestWhatAnEvidenceFileSaysOfAKeyIsTheCaptorsWord(t *testing.T) {
	const file = "../../proofcheck/programs/build.json"
	program := testlog.Must(proofcheck.ReadProgram(file))
	program.Origin = proofcheck.CeremonyOrigin([32]byte{1}, "")
	e := &evidence.Evidence{Kind: evidence.BuilderContradiction, Program: testlog.Must(os.ReadFile(file))}
	for _, named := range [][]string{nil, {file}} {
		if by := testlog.Must(judgeOf(e, named, false)).Forgers(program.ID()); by != "anyone could forge" {
			t.Errorf("a program that ships: %q", by)
		}
	}
	j := &judge{known: []proofcheck.Program{program}}
	if by := j.Forgers(program.ID()); by != "" {
		t.Errorf("a ceremony: %q", by)
	}
	if by := j.Forgers([32]byte{1}); !strings.Contains(by, "only this file says where they come from") {
		t.Errorf("of the file: %q", by)
	}
}
