package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/modfile"

	"cratelog/internal/fixture"
)

// listed is what go list says about a package.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

// goList runs go list, once per run.
var goList = sync.OnceValues(func() ([]byte, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = ".."
	return cmd.Output()
})

func listPackages(t *testing.T) map[string]listed {
	t.Helper()
	out, err := goList()
	fatalIf(t, err)
	packages := make(map[string]listed)
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p listed
		fatalIf(t, d.Decode(&p))
		packages[strings.TrimPrefix(p.ImportPath, "cratelog/")] = p
	}
	if len(packages) < 10 {
		t.Fatalf("go list shows %d packages, so this test sees nothing", len(packages))
	}
	return packages
}

// mayImport says which packages of ours each package may import, itself. A new
// package, and a new arrow, is a decision: it is made here and in docs/design.md.
var mayImport = map[string][]string{
	"entry":             {},
	"index":             {"entry"},
	"circuit":           {"proofcheck/chain"},
	"circuit/setup":     {},
	"prover/git":        {"internal/gitobject", "internal/flock"},
	"config":            {},
	"config/signer":     {"config"},
	"witness":           {"internal/flock", "internal/sqlite", "internal/vitals", "internal/web"},
	"testdata":          {},
	"crate/manifest":    {},
	"cargo/registry":    {"entry"},
	"cargo/proxy":       {"crate", "entry", "cargo/registry", "internal/h2c"},
	"crate":             {"entry", "crate/manifest", "internal/gitobject", "internal/gunzip", "crate/lockfile"},
	"cargo":             {"crate", "entry", "cargo/registry", "crate/lockfile"},
	"proofcheck":        {"entry", "proofcheck/chain", "build"},
	"proofcheck/chain":  {},
	"opening/signature": {},
	"opening":           {"entry", "crate", "internal/gitobject"},
	"evidence":          {"entry", "index", "crate", "opening", "cargo/registry", "build"},
	"client":            {"entry", "index", "crate", "evidence", "opening"},
	"prover":            {"entry", "crate", "prover/git", "circuit", "circuit/setup", "opening", "proofcheck", "proofcheck/chain", "crate/manifest", "internal/unsafekeys", "internal/flock"},
	"log":               {"entry", "index", "config", "crate", "cargo/registry", "client", "opening", "proofcheck", "internal/mysql", "internal/sqlite", "internal/vitals", "internal/web", "build", "evidence", "log/storage"},
	"log/storage":       {"internal/mysql"},
	"crate/lockfile":    {"entry"},
	"build":             {"entry"},
	"build/membership":  {"build", "circuit/setup", "entry", "internal/unsafekeys", "proofcheck"},
	"build/sandbox":     {},
	"build/rebuild":     {"build", "build/sandbox", "cargo", "crate", "crate/manifest", "entry"},
	"build/builder":     {"build", "build/membership", "client", "config", "entry", "index", "internal/flock", "proofcheck"},
	"circuit/ceremony":  {"circuit", "circuit/setup", "proofcheck", "build", "build/membership"},

	"monitor/store":    {"entry", "index", "internal/sqlite"},
	"monitor":          {"entry", "index", "crate", "client", "config", "evidence", "opening", "cargo/registry", "monitor/store", "build"},
	"internal/testlog": {"entry", "index"},
	"monitor/alert":    {"config", "monitor/store"},
	"monitor/web":      {"monitor/store", "entry", "index", "client", "crate", "opening", "proofcheck", "internal/web", "build"},

	"monitor/web/verify":      {"build", "client", "crate", "entry", "opening", "proofcheck"},
	"monitor/web/verify/pack": {"monitor/web"},

	"cargo/policy":  {"cargo", "cargo/registry", "client", "config", "entry", "opening/signature", "proofcheck", "build"},
	"cargo/verdict": {"cargo", "cargo/policy", "cargo/registry", "client", "crate", "entry", "proofcheck", "evidence", "index", "opening", "opening/signature", "build"},

	"cargo/publish":    {"cargo/credential", "cargo", "client", "crate", "entry", "prover/git", "cargo/policy", "proofcheck", "prover", "cargo/registry"},
	"cargo/credential": {"cargo", "cargo/policy", "cargo/verdict", "client", "crate", "entry", "opening"},

	"cargo/backlog":       {"entry", "crate", "client", "proofcheck", "prover", "prover/git", "cargo", "cargo/backlog/visit", "cargo/publish", "cargo/registry", "config", "opening", "internal/flock"},
	"cargo/backlog/visit": {"prover/git"},

	"cargo/coverage": {"cargo", "crate"},

	"cmd/logd":      {"log", "log/storage", "internal/web", "client", "config", "config/signer", "crate", "proofcheck", "internal/daemon", "build"},
	"cmd/witness":   {"witness", "internal/web", "config", "config/signer", "evidence", "internal/daemon"},
	"cmd/cargo-zkp": {"prover", "client", "crate", "entry", "evidence", "index", "prover/git", "cargo", "cargo/policy", "cargo/verdict", "cargo/registry", "cargo/proxy", "cargo/publish", "cargo/credential", "cargo/backlog", "cargo/backlog/visit", "opening", "proofcheck", "build", "build/builder", "build/membership", "build/rebuild", "build/sandbox", "cargo/coverage", "internal/flock"},
	"cmd/ceremony":  {"circuit/ceremony", "circuit", "proofcheck", "internal/daemon"},
	"cmd/monitor":   {"monitor", "monitor/store", "monitor/alert", "monitor/web", "client", "config", "crate", "entry", "evidence", "proofcheck", "cargo/registry", "internal/daemon", "internal/flock", "internal/vitals", "build"},
	"cmd/cratelog":  {"circuit", "circuit/ceremony", "client", "config", "config/signer", "internal/daemon", "internal/flock", "monitor/store", "proofcheck", "witness"},
	"cmd/demo":      {"client", "config", "crate", "entry", "index", "evidence", "internal/forge", "internal/loopback", "monitor", "monitor/store", "monitor/web", "opening", "testdata", "build", "build/membership", "cargo/policy", "cargo/verdict", "log"},

	"internal/browser":      {},
	"internal/browser/look": {"internal/browser"},
	"internal/registrytest": {"cargo/registry", "internal/forge"},

	"e2e":                {},
	"e2e/interop":        {"client", "config", "internal/testlog", "testdata", "witness"},
	"release":            {},
	"release/rewrite":    {},
	"internal/daemon":    {"config"},
	"internal/durable":   {},
	"internal/group":     {},
	"internal/gitobject": {},
	"internal/gunzip":    {},
	"internal/outcome":   {},
	"internal/toml":      {},
	"internal/flock":     {},
	"internal/fixture":   {"entry", "testdata"},
	"internal/sqlite":    {},
	"internal/web":       {},
	"internal/vitals":    {"internal/web"},
	"internal/version":   {},
	"internal/h2c":       {},
	"internal/forge":     {"circuit/setup", "crate", "entry", "internal/unsafekeys", "proofcheck", "proofcheck/chain", "build"},
	"internal/logsite":   {"client", "entry", "index", "internal/clustertest", "internal/forge", "internal/testlog"},
	"internal/loopback":  {"client", "config", "log", "proofcheck", "witness"},
	"internal/makekeys":  {"circuit", "crate", "prover", "prover/git", "testdata", "build/membership", "proofcheck"},

	"internal/mysql":      {},
	"internal/unsafekeys": {"circuit/setup"},

	"internal/clustertest": {"internal/fixture"},
}

// plumbing is what all but the format package may import.
var plumbing = []string{"internal/durable", "internal/outcome", "internal/toml", "internal/version", "internal/group"}

func TestPackagesImportOnlyWhatTheDesignAllows(t *testing.T) {
	packages := listPackages(t)
	for name, p := range packages {
		if strings.HasPrefix(name, "bench/") {
			continue // what measures may reach for everything; nothing imports it
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("the package %s is not in the plan: say in this test what it may import", name)
		}
		for _, i := range p.Imports {
			ours, ok := strings.CutPrefix(i, "cratelog/")
			if ok && !slices.Contains(allowed, ours) && (name == "entry" || !slices.Contains(plumbing, ours)) {
				t.Errorf("%s imports %s", name, ours)
			}
		}
		for _, i := range allowed {
			if !slices.Contains(p.Imports, "cratelog/"+i) {
				t.Errorf("%s does not import %s: the plan allows too much", name, i)
			}
		}
	}
}

// TestTheDesignShowsTheArrowsAsTheyAre compares the table of docs/design.md with mayImport, and
// wants its arrows to lead upwards only.
func TestTheDesignShowsTheArrowsAsTheyAre(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `([a-z/]+)/` \\| [^|]* \\| ([^|]*) \\|$")
	shown := make(map[string]bool)
	for _, found := range row.FindAllStringSubmatch(string(read(t, filepath.Join("..", "docs", "design.md"))), -1) {
		name, imports := found[1], strings.Split(strings.ReplaceAll(found[2], "`", ""), ", ")
		for _, i := range imports {
			if i != "" && !shown[i] {
				t.Errorf("%s imports %s, which is not above it", name, i)
			}
		}
		for _, i := range mayImport[name] {
			if !strings.HasPrefix(i, "internal/") && !slices.Contains(imports, i) {
				t.Errorf("%s imports %s, and the page does not show it", name, i)
			}
		}
		for _, i := range imports {
			if i != "" && !slices.Contains(mayImport[name], i) {
				t.Errorf("the page shows that %s imports %s", name, i)
			}
		}
		shown[name] = true
	}
	for name := range mayImport {
		if top, _, _ := strings.Cut(name, "/"); !shown[name] && !slices.Contains([]string{"cmd", "internal", "e2e", "testdata"}, top) {
			t.Errorf("the page does not show %s", name)
		}
	}
}

// mustNotReach says what no package may depend on, even through others: a package with all below
// it, or without, where a $ ends it.
var mustNotReach = map[string][]string{
	"entry":            {"github.com/consensys", "github.com/transparency-dev", "modernc.org", "filippo.io", "golang.org/x/crypto", "net$"},
	"crate":            {"github.com/consensys", "github.com/transparency-dev", "modernc.org", "net/http"},
	"prover/git":       {"github.com/consensys", "github.com/transparency-dev", "modernc.org", "net/http"},
	"crate/manifest":   {"github.com/consensys", "github.com/transparency-dev", "modernc.org", "net", "os/exec"},
	"evidence":         {"cratelog/client", "cratelog/circuit", "cratelog/proofcheck", "github.com/consensys/gnark", "github.com/consensys/gnark-crypto/ecc/bn254$", "github.com/transparency-dev", "modernc.org"},
	"client":           {"github.com/consensys/gnark", "github.com/consensys/gnark-crypto/ecc/bn254$", "github.com/transparency-dev/tessera", "modernc.org", "database/sql", "cratelog/circuit", "cratelog/proofcheck", "cratelog/prover", "github.com/ProtonMail"},
	"proofcheck":       {"cratelog/circuit", "cratelog/prover", "github.com/transparency-dev", "modernc.org", "net/http"},
	"witness":          {"cratelog/entry", "cratelog/crate", "cratelog/client", "cratelog/log", "github.com/consensys", "github.com/transparency-dev/tessera"},
	"log":              {"cratelog/circuit", "cratelog/prover", "cratelog/witness", "github.com/ProtonMail"},
	"prover":           {"github.com/transparency-dev", "modernc.org", "net/http"},
	"build":            {"github.com/consensys/gnark", "github.com/consensys/gnark-crypto/ecc/bn254$", "modernc.org", "os/exec", "net/http"},
	"build/sandbox":    {"github.com/consensys", "modernc.org", "net/http"},
	"build/rebuild":    {"github.com/consensys/gnark", "modernc.org", "cratelog/proofcheck", "cratelog/client"},
	"circuit/ceremony": {"cratelog/prover", "cratelog/crate", "github.com/transparency-dev", "modernc.org", "net/http"},
	"cmd/logd":         {"cratelog/circuit", "cratelog/prover"},

	"cargo/policy":  {"cratelog/circuit", "cratelog/prover", "github.com/transparency-dev/tessera", "modernc.org"},
	"cargo/verdict": {"cratelog/circuit", "cratelog/prover", "github.com/transparency-dev/tessera", "modernc.org"},

	"cargo/credential": {"cratelog/circuit", "cratelog/prover", "github.com/transparency-dev/tessera", "modernc.org"},
	"cmd/cargo-zkp":    {"github.com/transparency-dev/tessera", "modernc.org", "cratelog/log", "cratelog/witness"},
}

func TestHeavyThingsStayBehindTheirOwnDoors(t *testing.T) {
	packages := listPackages(t)
	if deps := packages["log"].Deps; !slices.Contains(deps, "github.com/transparency-dev/tessera") {
		t.Fatal("log does not reach tessera, so this test sees nothing")
	}
	for name, refused := range mustNotReach {
		p, ok := packages[name]
		if !ok {
			t.Errorf("there is no package %s", name)
		}
		for _, dep := range p.Deps {
			for _, r := range refused {
				if r == dep+"$" || dep == strings.TrimSuffix(r, "/") || strings.HasPrefix(dep, strings.TrimSuffix(r, "/")+"/") {
					t.Errorf("%s depends on %s", name, dep)
				}
			}
		}
	}
}

// Every module that go.mod requires directly has its reason.
func TestEveryDependencyHasItsReason(t *testing.T) {
	mod, err := modfile.Parse("go.mod", read(t, filepath.Join("..", "go.mod")), nil)
	fatalIf(t, err)
	page := string(read(t, filepath.Join("..", "docs", "dependencies.md")))
	for _, r := range mod.Require {
		if !r.Indirect && !strings.Contains(page, "\n| `"+r.Mod.Path+"` | ") {
			t.Errorf("docs/dependencies.md has no row for %s", r.Mod.Path)
		}
	}
}

// A format package must stay small: entry brings the CBOR library and semver, which
// needs nothing itself.
func TestTheEntryFormatNeedsOnlyCBORAndSemver(t *testing.T) {
	for _, dep := range listPackages(t)["entry"].Deps {
		first, _, _ := strings.Cut(dep, "/")
		outside := (strings.Contains(first, ".") || first == "cratelog") && dep != "golang.org/x/mod/semver"
		if outside && !strings.HasPrefix(dep, "github.com/fxamacker/cbor/v2") && !strings.HasPrefix(dep, "github.com/x448/float16") {
			t.Errorf("entry depends on %s", dep)
		}
	}
}

// testOnly is what tests and each other may import, and measurements.
var testOnly = []string{"testing", "internal/clustertest", "internal/fixture", "internal/logsite", "internal/registrytest",
	"internal/testlog"}

func TestNothingImportsAProgramOrTestCode(t *testing.T) {
	for name, p := range listPackages(t) {
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if strings.HasPrefix(i, "cratelog/cmd/") || strings.HasPrefix(i, "cratelog/bench/") || i == "cratelog/e2e" {
				t.Errorf("%s imports %s", name, i)
			}
		}
		for _, i := range p.Imports {
			i = strings.TrimPrefix(i, "cratelog/")
			if slices.Contains(testOnly, i) && !slices.Contains(testOnly, name) && !strings.HasPrefix(name, "bench/") &&
				name != "e2e/interop" {
				t.Errorf("%s imports %s outside of its tests", name, i)
			}
		}
	}
}

// A test that can skip itself will: it may ask for -short, and for what the machine has by
// internal/fixture, which lets nothing be lacking in CI.
func TestOnlyShortSkipsATest(t *testing.T) {
	seen := 0
	for _, name := range committed(t) {
		if !strings.HasSuffix(name, "_test.go") || name == "e2e/arch_test.go" {
			continue
		}
		text, err := readIfThere(filepath.Join("..", name))
		fatalIf(t, err)
		before := ""
		for line := range strings.Lines(string(text)) {
			if skips.MatchString(line) {
				if seen++; !strings.Contains(before, "if testing.Short() {") {
					t.Errorf("%s: %s without testing.Short(): use fixture.Need or fixture.Skip", name, strings.TrimSpace(line))
				}
			}
			before = line
		}
	}
	if seen == 0 {
		t.Error("no test skips, so this test sees nothing")
	}
}

var skips = regexp.MustCompile(`\b[a-z]\.Skip(f|Now)?\(`)

// committed returns the names of the files that git tracks.
func committed(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		fixture.Skip(t, "this is no git checkout, so there are no committed files to look at: %v", err)
	}
	names := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if !slices.Contains(names, "go.mod") {
		t.Fatalf("git shows %d files and no go.mod, so this test sees nothing", len(names))
	}
	return names
}

// forbidden is put together from parts, so that this file does not hold what it
// forbids: hosts of package registries, and paths of one machine. Tests work without the
// one, and anywhere; readers configure their registry.
var forbidden = regexp.MustCompile(strings.Join([]string{
	`crates\.` + `io`, `(proxy|sum)\.golang\.` + `org`, `npm` + `js\.`, `debian\.` + `org`,
	`/wor` + `k/`, `/roo` + `t/`, `/ho` + `me/[a-z]`, `/Use` + `rs/[A-Za-z]`,
}, "|"))

func TestCommittedFilesNameNoRegistryAndNoMachine(t *testing.T) {
	if !forbidden.MatchString("https://index" + ".crates" + ".io/") {
		t.Fatal("the pattern matches nothing")
	}
	for _, name := range committed(t) {
		b, err := readIfThere(filepath.Join("..", name))
		fatalIf(t, err)
		if at := forbidden.FindIndex(b); at != nil {
			line := 1 + strings.Count(string(b[:at[0]]), "\n")
			t.Errorf("%s:%d says %q", name, line, b[at[0]:at[1]])
		}
	}
}
