package prover

import (
	"slices"
	"strings"
	"testing"
)

// TestAnExecutableBitThatPackagingLostIsClaimed: files are packaged as 644 where the
// system has no executable bits. The content is the commit's all the same.
func TestAnExecutableBitThatPackagingLostIsClaimed(t *testing.T) {
	w := newWorkshop(t)
	manifest := "[package]\nname = \"lost\"\nversion = \"1.0.0\"\n"
	files := map[string]string{"Cargo.toml": manifest, "configure": "#!/bin/sh\n", "src/lib.rs": "// lost", "src/gen.sh": "#!/bin/sh\ntrue\n"}
	for name, content := range files {
		w.write(name, content)
	}
	want := []string{"configure", "src/gen.sh"}
	w.chmod(0o755, want...)
	src := w.source("")
	c := pack(t, "lost", files) // every file with mode 644
	p, err := w.plan(c, src)
	fatalIf(t, err)
	if !slices.Equal(p.Claim.Executable, want) {
		t.Fatalf("claimed: %q", p.Claim.Executable)
	}
	_, err = c.Check(p.Subject, p.Claim)
	fatalIf(t, err) // TestFilesBehindLinksAndInSubmodulesAreProven proves such a claim
	for name, change := range map[string]struct {
		claim []string
		word  string
	}{
		"one left out":           {[]string{"configure"}, "not those that the claim is about"},
		"all left out":           {nil, "not those that the claim is about"},
		"one that did not":       {[]string{"configure", "src/gen.sh", "src/lib.rs"}, "not those that the claim is about"},
		"one that is no file":    {[]string{"configure", "missing", "src/gen.sh"}, "\"missing\" is said to have lost"},
		"one that is not proven": {[]string{".cargo_vcs_info.json", "configure", "src/gen.sh"}, "is said to have lost"},
	} {
		p.Claim.Executable = change.claim
		_, err := c.Check(p.Subject, p.Claim)
		refused(t, name, err, change.word)
	}

	// Content that differs is no lost bit, and a bit that was won is not claimed.
	files["configure"] += "rm -r /"
	_, err = w.plan(pack(t, "lost", files), src)
	refused(t, "another content", err, "its content differs")
	files["configure"] = "#!/bin/sh\n"
	w.chmod(0o644, want...)
	src = w.source("")
	p, err = w.plan(pack(t, "lost", files), src)
	if err != nil || p.Claim.Executable != nil {
		t.Fatalf("nothing is lost: %v", err)
	}
	won := pack(t, "lost", files, map[string]int64{"configure": 0o755})
	_, err = w.plan(won, src)
	refused(t, "a bit that was won", err, "its mode is 100755 in the .crate and 100644 in the commit")
	p.Claim.Executable = []string{"configure"}
	if _, err := won.Check(p.Subject, p.Claim); err == nil || !strings.Contains(err.Error(), "executable in the crate") && !strings.Contains(err.Error(), "subject") && !strings.Contains(err.Error(), "another") {
		t.Errorf("a bit that was won, claimed as lost: %v", err)
	}
	_, err = won.List(p.Claim)
	refused(t, "a bit that was won, listed as lost", err, "it is executable in the crate")
}
