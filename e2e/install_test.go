package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"cratelog/internal/fixture"
)

// clone makes a clone of this repository, as it is committed.
func clone(t *testing.T) string {
	t.Helper()
	fixture.Need(t, "git")
	dir := filepath.Join(t.TempDir(), "cratelog")
	git(t, "", "clone", "--quiet", fixture.Root(t), dir)
	return dir
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(patience(t), "git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestEachProgramKnowsItsVersion(t *testing.T) {
	list, err := os.ReadDir(filepath.Join(fixture.Root(t), "cmd"))
	fatalIf(t, err)
	if len(list) < 6 {
		t.Fatalf("there are %d programs only", len(list))
	}
	for _, d := range list {
		o := command(t, "", nil, program(t, d.Name()), "--version")
		if o.code != 0 || !strings.HasPrefix(o.stdout, d.Name()+" ") || strings.Count(o.stdout, "\n") != 1 {
			t.Errorf("%s --version: %v", d.Name(), o)
		}
	}
}

// As docs/install.md has it.
func TestGoInstallWorksFromAClone(t *testing.T) {
	if testing.Short() {
		t.Skip("builds cargo-zkp")
	}
	dir, bin := clone(t), t.TempDir()
	env := []string{"GOBIN=" + bin, "GOFLAGS=-buildvcs=true"} // the machine's own settings may say otherwise
	o := command(t, dir, env, "go", "install", "./cmd/cargo-zkp")
	o.want(t, 0)
	commit := git(t, dir, "rev-parse", "HEAD")
	o = command(t, "", nil, filepath.Join(bin, "cargo-zkp"), "zkp", "--version")
	if want := "cargo-zkp development build of " + commit[:12] + " ("; !strings.HasPrefix(o.stdout, want) {
		t.Errorf("%v\nwant %s", o, want)
	}
}

func TestTheRewrittenModuleBuildsAndVets(t *testing.T) {
	if testing.Short() {
		t.Skip("builds everything under another path")
	}
	dir := clone(t)
	command(t, dir, nil, "go", "run", "./release/rewrite", "example.org/team/cratelog").want(t, 0)
	if path := command(t, dir, nil, "go", "list", "-m").stdout; path != "example.org/team/cratelog\n" {
		t.Errorf("the module is %q", path)
	}
	if ours := command(t, dir, nil, "git", "grep", "-E", `^\s*([a-z_]+ )?"cratelog/[a-z/]+"$`, "--", "*.go").stdout; ours != "" {
		t.Errorf("imports with the old path:\n%s", ours)
	}
	command(t, dir, nil, "go", "build", "./...").want(t, 0)
	command(t, dir, nil, "go", "vet", "./...").want(t, 0)
	command(t, dir, nil, "go", "test", "-short", "./entry", "./internal/version", "./e2e", "-run",
		"^Test(PackagesImportOnlyWhatTheDesignAllows|OnlyATaggedCommit.*|.*Vector.*)$").want(t, 0)
}

// released makes a release 0.1.0 of cargo-zkp for this machine, once per test, and returns its files.
func released(t *testing.T) (dist, base string) {
	t.Helper()
	dir := clone(t)
	git(t, dir, "-c", "tag.gpgsign=false", "tag", "v0.1.0")
	dist = filepath.Join(dir, "..", "dist")
	command(t, dir, nil, "go", "run", "./release", "-out", dist, "-targets", runtime.GOOS+"/"+runtime.GOARCH, "-programs",
		"cargo-zkp").want(t, 0)
	return dist, fmt.Sprintf("cratelog-0.1.0-%s-%s", runtime.GOOS, runtime.GOARCH)
}

// The page docs/install.md, from SHA256SUMS to a program that runs; and the action, which does the same
// and then its work.
func TestAReleaseIsInstalledAsTheDocsSay(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a release")
	}
	fixture.Need(t, "git", "cargo", "tar", "sha256sum", "curl", "bash")
	dist, base := released(t)
	server := httptest.NewServer(http.FileServer(http.Dir(dist)))
	defer server.Close()

	dir, home := t.TempDir(), t.TempDir()
	fatalIf(t, os.MkdirAll(filepath.Join(home, ".cargo", "bin"), 0o755))
	page := &pageOf{dir: dir, env: []string{"HOME=" + home, "CARGO_HOME=" + filepath.Join(home, ".cargo"),
		"RUSTUP_HOME=" + rustupHome(t)}, not: map[string]string{"sudo dpkg": "it takes root; what it unpacks is looked at below",
		"go install": "TestGoInstallWorksFromAClone does"}, fill: []string{"URL/", server.URL + "/", "linux-amd64",
		runtime.GOOS + "-" + runtime.GOARCH, "_amd64.deb", "_" + runtime.GOARCH + ".deb"}}
	page.follow(t, "install.md")
	bin := filepath.Join(dir, base, "cargo-zkp")
	if o := command(t, dir, nil, bin, "--version"); !strings.HasPrefix(o.stdout, "cargo-zkp 0.1.0 (") {
		t.Errorf("%v", o)
	}
	for _, name := range []string{"LICENSE", "man/cargo-zkp.1", "man/cargo-zkp-verify.1", "completions/cargo-zkp.bash",
		"completions/_cargo-zkp", "completions/cargo-zkp.fish", "completions/cargo-zkp.ps1"} {
		if info, err := os.Stat(filepath.Join(dir, base, name)); err != nil || info.Size() < 100 {
			t.Errorf("the archive has no proper %s: %v", name, err)
		}
	}
	wholeList(t, filepath.Join(dist, base+".cdx.json"), bin)
	t.Run("debian", func(t *testing.T) { debianPackage(t, dist) })
	t.Run("action", func(t *testing.T) { theAction(t, server.URL, dist, base) })
}

// wholeList fails the test if a list of parts lacks one, or the program that is there.
func wholeList(t *testing.T, path, bin string) {
	t.Helper()
	b, err := os.ReadFile(path)
	fatalIf(t, err)
	var list struct {
		BOMFormat, SpecVersion, SerialNumber string
		Metadata                             struct {
			Component struct {
				Components []struct{ Hashes []struct{ Content string } }
			}
		}
		Components []struct{ PURL string }
	}
	fatalIf(t, json.Unmarshal(b, &list))
	program, err := os.ReadFile(bin)
	fatalIf(t, err)
	programs := list.Metadata.Component.Components
	if len(programs) != 1 || programs[0].Hashes[0].Content != fmt.Sprintf("%x", sha256.Sum256(program)) {
		t.Errorf("the list is of another program: %+v", programs)
	}
	var parts []string
	for _, c := range list.Components {
		parts = append(parts, c.PURL)
	}
	o := command(t, "", nil, "go", "version", "-m", bin)
	deps := regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(o.stdout, -1)
	if len(deps) < 10 || len(parts) != len(deps)+1 || list.BOMFormat != "CycloneDX" {
		t.Errorf("%d parts of %d modules", len(parts), len(deps))
	}
	for _, d := range deps {
		if !slices.Contains(parts, "pkg:golang/"+d[1]+"@"+d[2]) {
			t.Errorf("%s %s is in the program and not in the list", d[1], d[2])
		}
	}
}

// debianPackage installs the package into a directory.
func debianPackage(t *testing.T, dist string) {
	fixture.Need(t, "dpkg", "dpkg-deb")
	debs, err := filepath.Glob(filepath.Join(dist, "*.deb"))
	fatalIf(t, err)
	if len(debs) != 1 {
		t.Fatalf("%d packages", len(debs))
	}
	o := command(t, "", nil, "dpkg-deb", "--field", debs[0])
	for _, want := range []string{"Package: cratelog\n", "Version: 0.1.0\n", "Installed-Size: "} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("no %q in %v", want, o)
		}
	}
	root := t.TempDir()
	command(t, "", nil, "dpkg-deb", "-R", debs[0], root).want(t, 0)
	command(t, root, nil, "md5sum", "--quiet", "--check", "DEBIAN/md5sums").want(t, 0)
	if o := command(t, "", nil, filepath.Join(root, "usr/bin/cargo-zkp"), "--version"); o.code != 0 {
		t.Errorf("%v", o)
	}
	for _, name := range []string{"usr/share/man/man1/cargo-zkp-verify.1.gz", "usr/share/doc/cratelog/copyright",
		"usr/share/bash-completion/completions/cargo-zkp", "usr/share/zsh/vendor-completions/_cargo-zkp",
		"usr/share/fish/vendor_completions.d/cargo-zkp.fish", "usr/share/doc/cratelog/NEWS.md.gz",
		"usr/share/doc/cratelog/changelog.gz"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := exec.LookPath("lintian"); err == nil {
		if o := command(t, "", nil, "lintian", "--allow-root", "--fail-on", "error", debs[0]); o.code != 0 {
			t.Errorf("lintian: %v", o)
		}
	}
}

// step is one of an action's steps.
type step struct {
	Name, If, Shell, Run, Uses string
	Dir                        string            `yaml:"working-directory"`
	Env                        map[string]string `yaml:"env"`
	With                       map[string]string `yaml:"with"`
}

// theAction runs the steps of action/action.yml as a runner does.
func theAction(t *testing.T, url, dist, base string) {
	b, err := os.ReadFile(filepath.Join(fixture.Root(t), "action", "action.yml"))
	fatalIf(t, err)
	var action struct {
		Name, Description string
		Inputs            map[string]struct {
			Description, Default string
			Required             bool
		}
		Runs struct {
			Using string
			Steps []step
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	fatalIf(t, d.Decode(&action))
	if action.Runs.Using != "composite" || len(action.Runs.Steps) != 4 {
		t.Fatalf("%+v", action.Runs)
	}
	sums, err := os.ReadFile(filepath.Join(dist, "SHA256SUMS"))
	fatalIf(t, err)

	// run runs the steps of a mode, and returns how the last one ended.
	run := func(t *testing.T, project string, more map[string]string) (o outcome) {
		temp := t.TempDir()
		inputs := map[string]string{"version": "0.1.0", "url": url, "sha256sums": string(sums)}
		for name, i := range action.Inputs {
			if _, ok := inputs[name]; !ok {
				if i.Required {
					t.Fatalf("the input %s is required", name)
				}
				inputs[name] = i.Default
			}
		}
		for name, value := range more {
			inputs[name] = value
		}
		fill := func(s string) string {
			for name, value := range inputs {
				s = strings.ReplaceAll(s, "${{ inputs."+name+" }}", value)
			}
			if strings.Contains(s, "${{") {
				t.Fatalf("%s asks for an input that is not there", s)
			}
			return s
		}
		paths := filepath.Join(temp, "path")
		arch := map[string]string{"amd64": "X64", "arm64": "ARM64"}[runtime.GOARCH]
		for _, s := range action.Runs.Steps {
			if strings.Contains(s.Run, "${{") {
				t.Fatalf("an input stands in the script of %q: it could be code", s.Name)
			}
			if s.Uses != "" || s.If != "" && s.If != "inputs.mode == '"+inputs["mode"]+"'" {
				continue
			}
			extra, err := os.ReadFile(paths)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			path := strings.Join(append(strings.Fields(string(extra)), os.Getenv("PATH")), string(filepath.ListSeparator))
			env := []string{"RUNNER_TEMP=" + temp, "RUNNER_OS=Linux", "RUNNER_ARCH=" + arch, "GITHUB_PATH=" + paths, "PATH=" + path}
			for name, value := range s.Env {
				env = append(env, name+"="+fill(value))
			}
			script := filepath.Join(temp, "script.sh")
			fatalIf(t, os.WriteFile(script, []byte(s.Run), 0o644))
			o = command(t, filepath.Join(project, fill(s.Dir)), env, "bash", "--noprofile", "--norc", "-eo", "pipefail", script)
			if o.code != 0 {
				return o
			}
		}
		return o
	}
	fixture.Need(t, "cargo")
	project := filepath.Join(t.TempDir(), "p")
	fatalIf(t, os.MkdirAll(filepath.Join(project, "inner", "src"), 0o755))
	for name, text := range map[string]string{
		"Cargo.toml": "[package]\nname = \"p\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
		"src/lib.rs": "", "zkp.toml": "version = 1\nrequire = \"none\"\n",
	} {
		fatalIf(t, os.WriteFile(filepath.Join(project, "inner", name), []byte(text), 0o644))
	}
	findings := func() (results int) {
		b, err := os.ReadFile(filepath.Join(project, "inner", "cratelog.sarif"))
		fatalIf(t, err)
		var sarif struct {
			Version string
			Runs    []struct{ Results []any }
		}
		if err := json.Unmarshal(b, &sarif); err != nil || sarif.Version != "2.1.0" || len(sarif.Runs) != 1 {
			t.Errorf("the findings are no SARIF: %v\n%s", err, b)
		}
		return len(sarif.Runs[0].Results)
	}
	inner := map[string]string{"working-directory": "inner"}
	if o := run(t, project, inner); o.code != 0 || findings() != 0 {
		t.Errorf("nothing is asked for: %v", o)
	}
	inner["args"] = "--locked\n--no-such-option\n"
	if o := run(t, project, inner); o.code != 2 || !strings.Contains(o.stderr, "there is no option --no-such-option") {
		t.Errorf("a wrong argument: %v", o)
	}
	findings() // are a file that can be read, all the same
	o := run(t, project, map[string]string{"working-directory": "inner", "mode": "publish", "args": "--dry-run\n"})
	if o.code == 0 || !strings.Contains(o.stderr, "error: ") {
		t.Errorf("publish without a log: %v", o)
	}
	for what, bad := range map[string]map[string]string{
		"has the SHA-256": {"sha256sums": strings.Repeat("0", 64) + "  " + base + ".tar.gz\n"},
		"has no line":     {"sha256sums": "x  " + base + ".tar.gz\n"},
		"mode is":         {"mode": "verify; true"},
		"version is":      {"version": "0/../../x"},
	} {
		if o := run(t, project, bad); o.code == 0 || !strings.Contains(o.stdout, what) {
			t.Errorf("%s: %v", what, o)
		}
	}
}

// The shells themselves are asked, by keys that a person presses where that can be done.
func TestTheShellsComplete(t *testing.T) {
	bin := filepath.Dir(program(t, "cargo-zkp"))
	env := []string{"PATH=" + bin + string(filepath.ListSeparator) + os.Getenv("PATH"), "TERM=dumb"}
	script := func(t *testing.T, name, shell string) string {
		path := filepath.Join(t.TempDir(), name)
		o := zkp(t, "completions", shell)
		fatalIf(t, os.WriteFile(path, []byte(o.stdout), 0o644))
		return path
	}
	t.Run("bash", func(t *testing.T) {
		fixture.Need(t, "bash")
		text := "source " + script(t, "bash", "bash") + `
before() { COMPREPLY=(cargos-own); }
complete -F before cargo
source ` + script(t, "bash", "bash") + `
try() {
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
	if [[ $1 == cargo ]]; then _cargo_or_zkp; else _cargo_zkp; fi
	echo "$*: ${COMPREPLY[*]}"
}
try cargo-zkp verif
try cargo-zkp verify --rehas
try cargo-zkp verify --color = n
try cargo zkp builder enr
try cargo +nightly zkp show --message-format j
try cargo buil
try cargo-zkp verify --trust /et
`
		const want = "cargo-zkp verif: verify\ncargo-zkp verify --rehas: --rehash\ncargo-zkp verify --color = n: never\n" +
			"cargo zkp builder enr: enroll\ncargo +nightly zkp show --message-format j: json\ncargo buil: cargos-own\n" +
			"cargo-zkp verify --trust /et: /etc\n"
		if o := command(t, "", env, "bash", "--norc", "-c", text); o.stdout != want {
			t.Errorf("%v\nwant\n%s", o, want)
		}
	})
	t.Run("fish", func(t *testing.T) {
		fixture.Need(t, "fish")
		o := command(t, "", env, "fish", "--no-config", "-c", "source "+script(t, "f.fish", "fish")+`
complete -C "cargo-zkp verif"; complete -C "cargo zkp builder enr"; complete -C "cargo-zkp verify --color=n"`)
		var got []string
		for line := range strings.Lines(o.stdout) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			got = append(got, word)
		}
		if strings.Join(got, " ") != "verify enroll --color=never" {
			t.Errorf("%v", o)
		}
	})
	t.Run("zsh", func(t *testing.T) {
		fixture.Need(t, "zsh")
		dir := filepath.Dir(script(t, "_cargo-zkp", "zsh"))
		o := command(t, dir, env, "zsh", "-f", "-c", `
zmodload zsh/zpty
zpty z "zsh -f -i"
zpty -w z "PS1='> '; fpath=($PWD \$fpath); autoload -Uz compinit; compinit -u -d $PWD/dump"
zpty -w -n z $'cargo-zkp verif\t--rehas\t--hel\t\n'
zpty -w -n z $'print END-\x4f\x4e\x45\n'
zpty -r -m z out '*END-ONE*'
print -r -- "$out"`)
		if !strings.Contains(o.stdout, "Usage: cargo zkp verify") {
			t.Errorf("%v", o)
		}
	})
}
