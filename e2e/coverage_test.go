package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cratelog/cargo/coverage"
	"cratelog/internal/registrytest"
)

// ofLines makes a .crate of some lines of Rust; info is the rest of its .cargo_vcs_info.json, "-" for none.
func ofLines(name string, lines int, info, dependencies string) []byte {
	files := map[string]string{
		"Cargo.toml": fmt.Sprintf("[package]\nname = %q\nversion = \"1.0.0\"\nedition = \"2021\"\n"+
			"repository = \"https://git.example/a/%[1]s\"\n%s", name, dependencies),
		"src/lib.rs": "//! Not counted.\n\n" + strings.Repeat("pub mod m {}\n", lines),
		"README.md":  "not\ncounted\n",
	}
	if info != "-" {
		files[".cargo_vcs_info.json"] = "{\n  \"git\": {\n    \"sha1\": \"" + strings.Repeat("0", 40) + "\"" + info +
			"\n  },\n  \"path_in_vcs\": \"\"\n}"
	}
	return registrytest.MakeCrate(name, "1.0.0", files)
}

// TestAReportOfAWorkspaceIsWhatOneCounts: two members, six crates, of which two are proven; then doctor
// and clean, as whoever looks after that project runs them.
func TestAReportOfAWorkspaceIsWhatOneCounts(t *testing.T) {
	s := newSite(t)
	s.logFixtures(t)
	s.addLogURL()
	d := newDependent(t, s,
		"hello-proof = \"=0.1.0\"\nlarge = \"1\"\ndirty = \"1\"\n\n[workspace]\nmembers = [\"tool\"]\n")
	d.write("tool/Cargo.toml", "[package]\nname = \"tool\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\n"+
		"app = { path = \"..\" }\nhello-inner = \"0.1.0\"\nsmall = \"1\"\n")
	d.write("tool/src/lib.rs", "")
	d.registry.AddCrate(ofLines("large", 100, "", "[dependencies]\nleaf = \"1\"\n"))
	d.registry.AddCrate(ofLines("leaf", 20, "-", ""))
	d.registry.AddCrate(ofLines("dirty", 50, ",\n    \"dirty\": true", ""))
	d.registry.AddCrate(ofLines("small", 7, "", ""))
	d.policy("require = \"all\"\n[[exception]]\ncrate = \"small\"\nreason = \"later\"\nexpires = \"2999-01-01\"\n")

	// hello-proof has 4 + 2 + 4 lines, hello-inner one.
	d.zkp("report").says(t, 0, "Cargo.lock: 2 of 6 crates proven (33 percent), and 5 percent of 188 lines of Rust",
		"1 crate not proven and excepted in the policy", "2  107  not logged, and nothing known stands against a proof",
		"1   50  packaged with uncommitted changes", "2  120  large v1.0.0",
		"These 2 proofs take you from 5 to 62 percent of the lines:", "59 %  100  large v1.0.0", "62 %    7  small v1.0.0")
	var r coverage.Report
	o := d.zkp("report", "--message-format", "json", "--top", "1", "--locked")
	fatalIf(t, json.Unmarshal([]byte(o.stdout), &r))
	sum := func(crates, lines int) coverage.Sum { return coverage.Sum{Crates: crates, Lines: lines} }
	if r.Total != sum(6, 188) || r.Proven != sum(2, 11) || r.Excepted != 1 || r.Unknown != 0 {
		t.Errorf("%+v", r)
	}
	unproven := func(cause string, crates, lines int) coverage.Group {
		return coverage.Group{Cause: cause, State: coverage.Unproven, Sum: sum(crates, lines)}
	}
	if want := []coverage.Group{unproven("", 2, 107), unproven("dirty", 1, 50),
		unproven("no-commit", 1, 20)}; !slices.Equal(r.Groups, want) {
		t.Errorf("groups %+v", r.Groups)
	}
	if want := []coverage.Way{{Name: "large", Version: "1.0.0", Sum: sum(2, 120)},
		{Name: "dirty", Version: "1.0.0", Sum: sum(1, 50)}, {Name: "small", Version: "1.0.0",
			Sum: sum(1, 7)}}; !slices.Equal(r.Through, want) {
		t.Errorf("through %+v", r.Through)
	}
	if want := []coverage.Step{{Name: "large", Version: "1.0.0", Lines: 100,
		After: sum(3, 111)}}; !slices.Equal(r.Next, want) {
		t.Errorf("next %+v", r.Next)
	}

	d.zkp("doctor").says(t, 0,
		origin+" has 6 entries; its witnesses cosigned ", "workspace", "cargo zkp runs "+program(t, "cargo-zkp"))
	d.zkp("clean").says(t, 0, "--bundles", "--verdicts", "nothing was deleted")
	d.zkp("verify", "--offline").want(t, 3, "error: 3 crates could not be checked")
	d.zkp("clean", "--all").want(t, 0, "Deleted ", " of bundles, of 2")
	d.zkp("verify", "--offline").want(t, 3, "error: 5 crates could not be checked")
	d.zkp("report").says(t, 0, "2 of 6 crates proven (33 percent), and 5 percent of 188 lines of Rust")
	s.log.stop()
	d.zkp("doctor").says(t, 1, origin+" does not answer", "look whether its URL in ")
	d.zkp("doctor", "--offline").says(t, 0, "no log is asked with --offline")
}
