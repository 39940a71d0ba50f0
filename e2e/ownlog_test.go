package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cratelog/cargo/backlog"
	"cratelog/crate"
	"cratelog/internal/fixture"
	"cratelog/internal/logsite"
)

const ownLogPage = "your-own-log.md"

// ownLogCommands are the commands of the page's first section, in their order.
func ownLogCommands(t *testing.T) (all []string) {
	t.Helper()
	_, section, ok := strings.Cut(string(read(t, filepath.Join("..", "docs", ownLogPage))), "\n## Seven commands\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, found := range regexp.MustCompile(`(?m)^    (.*)$`).FindAllStringSubmatch(section, -1) {
		all = append(all, found[1])
	}
	if !ok || len(all) != 7 {
		t.Fatalf("the section of docs/%s has %d commands: %q", ownLogPage, len(all), all)
	}
	return all
}

// TestThePageOfOnesOwnLogHasPlainCommands: each is one line, and no program of ours is a script.
func TestThePageOfOnesOwnLogHasPlainCommands(t *testing.T) {
	for _, c := range ownLogCommands(t) {
		if strings.ContainsAny(c, ";&|$`<>\\") || !regexp.MustCompile(`^(go|cargo|cratelog) `).MatchString(c) {
			t.Errorf("%q is not one plain command", c)
		}
	}
	for path := range strings.FieldsSeq(strings.TrimPrefix(ownLogCommands(t)[0], "go install ")) {
		if _, err := os.Stat(filepath.Join("..", path, "main.go")); err != nil {
			t.Errorf("the page installs %s: %v", path, err)
		}
	}
}

// TestThePageOfOnesOwnLogLeadsToAStrictBuild follows the page as a new user, with fresh homes and
// caches: a project with more than 30 crates, of repositories on a git server, ends with a build that
// refuses all that is not proven. The page's ports are others here, and the circuit's segments
// shorter, so that the key is made in seconds.
func TestThePageOfOnesOwnLogLeadsToAStrictBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a key, and proves")
	}
	d, host := newDependent(t, nil, ""), newGitHost(t)
	n := 0
	for _, repo := range []string{"alpha", "beta", "gamma", "delta"} {
		var packages []string
		for i := range 8 {
			packages = append(packages, fmt.Sprintf("%s-%d", repo, i))
		}
		host.repo(repo, packages...)
		n += host.packAll(d, repo)
	}
	for _, name := range []string{"itoa-1.0.18", "arrayref-0.3.9"} {
		n += host.real(d, name)
	}
	d.write("Cargo.toml", string(read(t, filepath.Join(d.dir, "Cargo.toml")))+host.dependent)
	d.write(backlog.MapName, host.mapping)
	port := freePorts(t, 4)
	fill := strings.NewReplacer("8300", fmt.Sprint(port), "8301", fmt.Sprint(port+1),
		"cratelog init ", fmt.Sprintf("cratelog init --port %d --blocks 8 ", port))
	var running *process
	for _, c := range ownLogCommands(t) {
		switch words := strings.Fields(fill.Replace(c)); {
		case words[0] == "go": // the programs are built, and on PATH
		case words[0] == "cratelog" && words[1] == "run":
			running = launchIn(t, d.dir, d.env, words[0], words[1:]...)
			running.eventually(t, "log that publishes", func() bool {
				return strings.Contains(running.log.String(), "Ctrl-C ends all of it.")
			})
		default:
			o := command(t, d.dir, d.env, "sh", "-c", fill.Replace(c))
			o.want(t, 0)
			if o.code != 0 {
				t.Fatalf("the page's command %q failed", c)
			}
		}
	}
	d.zkp("verify").want(t, 0, fmt.Sprintf("%d crates proven", n))
	if n < 30 {
		t.Errorf("%d crates are too few", n)
	}
	running.eventually(t, "last crate on the monitor's page", func() bool {
		b, err := logsite.Fetch(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/c/delta-7", port+1))
		return err == nil && strings.Contains(string(b), "1.0.0")
	})

	t.Run("and the build is strict", func(t *testing.T) {
		d.registry.Add("unproven", "1.0.0")
		d.write("Cargo.toml", string(read(t, filepath.Join(d.dir, "Cargo.toml")))+"unproven = \"1\"\n")
		o := d.zkp("build")
		o.want(t, 1, "unproven v1.0.0", "no entry for unproven 1.0.0")
	})
	t.Run("Ctrl-C ends all of it well", func(t *testing.T) {
		running.signal(os.Interrupt)
		for _, name := range []string{"monitor", "log", "witness-1", "witness-2"} {
			if !strings.Contains(running.log.String(), name) {
				t.Errorf("%s did not run", name)
			}
		}
		for i := range 4 {
			if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i)); err != nil {
				t.Errorf("something still listens: %v", err)
			} else {
				fatalIf(t, l.Close())
			}
		}
	})
}

// packAll has cargo package all members of a repository, and the project depend on them. It returns
// how many there are.
func (f *gitHost) packAll(d *dependent, repo string) int {
	f.t.Helper()
	target := f.t.TempDir()
	args := []string{"package", "--quiet", "--no-verify", "--workspace", "--target-dir", target}
	if o := command(f.t, filepath.Join(f.dir, repo), d.env, "cargo", args...); o.code != 0 {
		f.t.Fatalf("cargo %v: %v", args, o)
	}
	made, err := filepath.Glob(filepath.Join(target, "package", "*.crate"))
	fatalIf(f.t, err)
	for _, path := range made {
		d.registry.AddCrate(read(f.t, path))
		f.dependent += strings.TrimSuffix(filepath.Base(path), "-1.0.0.crate") + " = \"=1.0.0\"\n"
	}
	return len(made)
}

// real adds a crate of the shared corpus, of a commit that its author made, if that is there. It
// returns how many crates that are.
func (f *gitHost) real(d *dependent, name string) int {
	f.t.Helper()
	if !fixture.HasCorpus(f.t, name) {
		f.t.Logf("%s is left out: the shared corpus is not beside the module", name)
		return 0
	}
	bare, commit := corpus(f.t, name)
	file := cargoPackage(f.t, checkout(f.t, bare, commit))
	c, err := crate.ReadFile(file, crate.DefaultLimits)
	fatalIf(f.t, err)
	fatalIf(f.t, os.CopyFS(filepath.Join(f.dir, name), os.DirFS(bare)))
	f.mapping += fmt.Sprintf("%q = \"%s/%s\"\n", c.Repository(), f.url, name)
	f.dependent += fmt.Sprintf("%s = \"=%s\"\n", c.Name, c.Version)
	d.registry.AddCrate(read(f.t, file))
	return 1
}

// freePorts returns the first of n ports in a row that nobody uses.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		fatalIf(t, err)
		port, free := l.Addr().(*net.TCPAddr).Port, true
		fatalIf(t, l.Close())
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i))
			if free = free && err == nil; err == nil {
				fatalIf(t, l.Close())
			}
		}
		if free {
			return port
		}
	}
	t.Fatal("there are no free ports")
	return 0
}

// TestRunEndsWhenAProgramDoes: what cratelog run started ends, and it says so, when one of them cannot go on.
func TestRunEndsWhenAProgramDoes(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a key")
	}
	dir := filepath.Join(t.TempDir(), "log")
	o := command(t, "", nil, program(t, "cratelog"), "init", dir, "--port", "0", "--blocks", "1")
	o.want(t, 0)
	moved := dir + "-moved"
	fatalIf(t, os.Rename(dir, moved))
	fatalIf(t, os.Remove(filepath.Join(moved, "witness-2", "witness.db")))
	o = command(t, "", nil, program(t, "cratelog"), "run", moved)
	o.want(t, 3, "witness-2 ended", "witness-2 | ", "so all is ended")
	fatalIf(t, os.RemoveAll(filepath.Join(moved, "witness-2"))) // as if it ran elsewhere
	p := launch(t, "cratelog", "run", moved)
	p.eventually(t, "word that the quorum is missing", func() bool {
		return strings.Contains(p.log.String(), "still waiting: the log says 503")
	})
	p.stop()
}
