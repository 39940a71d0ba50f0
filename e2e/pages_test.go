package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cratelog/cargo/backlog"
	"cratelog/internal/fixture"
	"cratelog/internal/registrytest"
)

// A pageOf says how the commands of a page's blocks are run, one after the other and word for word but for what
// the reader has to fill in.
type pageOf struct {
	dir  string
	env  []string
	fill []string // old and new words, by turns

	before  map[string]func()    // a command's beginning: what has happened until then
	codes   map[string]int       // likewise: its exit code, if it is not 0
	running map[string]string    // a command: it runs until it is ended, and has said this before
	not     map[string]string    // likewise: why it is not run
	ran     map[string][]outcome // what the others printed
	started map[string]*process  // those that run
}

// blockCommand is a line of a block of the pages that is a command.
var blockCommand = regexp.MustCompile(`(?m)^ {4,}((?:cargo|logd|witness|monitor|ceremony|cratelog|git|go|curl|` +
	`sha256sum|tar|install|mkdir|sudo) [^\n]*)$`)

// commandsOf returns the commands of a page's blocks.
func commandsOf(t *testing.T, page string) (all []string) {
	t.Helper()
	text := string(read(t, filepath.Join(fixture.Root(t), "docs", page)))
	text = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "") // workflows, which runners run
	inBlock := false
	for line := range strings.Lines(text) {
		indented := strings.HasPrefix(line, "    ")
		if found := blockCommand.FindStringSubmatch(line); found != nil && inBlock {
			all = append(all, strings.TrimSpace(regexp.MustCompile(` +# .*$`).ReplaceAllString(found[1], "")))
		}
		inBlock = strings.TrimSpace(line) == "" || inBlock && indented
	}
	return all
}

// of returns what a map says of a command, by the longest of its beginnings.
func of[T any](m map[string]T, command string) (found T, ok bool) {
	best := -1
	for begin, value := range m {
		if strings.HasPrefix(command, begin) && len(begin) > best {
			best, found, ok = len(begin), value, true
		}
	}
	return found, ok
}

// follow runs the commands of a page.
func (p *pageOf) follow(t *testing.T, page string) {
	t.Helper()
	p.ran, p.started = map[string][]outcome{}, map[string]*process{}
	used := map[string]bool{}
	for _, c := range commandsOf(t, page) {
		if why, ok := of(p.not, c); ok {
			t.Logf("docs/%s: not run, %s: %s", page, why, c)
			used[c] = true
			continue
		}
		if before, ok := of(p.before, c); ok {
			before()
		}
		filled := strings.NewReplacer(p.fill...).Replace(c)
		if said := p.running[c]; said != "" {
			words := strings.Fields(filled)
			if words[0] == "cargo" {
				words = append([]string{"cargo-zkp"}, words[2:]...)
			}
			p.started[c] = launchIn(t, p.dir, p.env, words[0], words[1:]...)
			p.started[c].waitFor(t, said)
			continue
		}
		code, _ := of(p.codes, c)
		o := command(t, p.dir, p.env, "sh", "-c", filled)
		if o.code != code {
			t.Fatalf("docs/%s: %s (as %s): wanted exit code %d of %v", page, c, filled, code, o)
		}
		p.ran[c] = append(p.ran[c], o)
	}
	for begin := range p.not {
		found := false
		for c := range used {
			found = found || strings.HasPrefix(c, begin)
		}
		if !found {
			t.Errorf("docs/%s has no command %q, of which this says why it is not run", page, begin)
		}
	}
}

// TestThePagesCommandsWork follows the pages for readers, publishers and operators, in one world: a log with a
// key of its own, a host of git repositories, a registry, a project. What is not run says why.
func TestThePagesCommandsWork(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes keys, and proves")
	}
	fixture.Need(t, "git", "cargo", "sh")
	s, program := newSoloSite(t)
	s.addLogURL()
	f, d := newGitHost(t), newDependent(t, s, "")
	f.repo("alpha", "a-one", "a-two")
	f.repo("beta", "b-one")
	f.packAll(d, "alpha")
	f.packAll(d, "beta")
	d.write("Cargo.toml", string(read(t, filepath.Join(d.dir, "Cargo.toml")))+f.dependent)
	d.write(backlog.MapName, f.mapping)
	d.write("readers/trust.policy", string(read(t, s.policy)))
	d.write("readers/solo.json", string(read(t, program)))
	d.write(".gitignore", "/target\n")
	d.git("init", "-q", "-b", "main")
	d.git("add", ".")
	as := []string{"-c", "user.name=a", "-c", "user.email=a@a.example", "commit", "-q", "-m", "x"}
	d.git(as...)
	d.git("update-ref", "refs/remotes/origin/main", "HEAD")
	d.mustCargo("fetch")

	fill := []string{"https://log.example.com/", s.log.url, "--log URL", "--log " + s.log.url, "NAME@VERSION",
		"b-one@1.0.0",
		"NAME-VERSION", "b-one-1.0.0", "NAME", "a-one", "TRUST", s.policy}
	page := func(name string, p *pageOf) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			if p.dir == "" {
				p.dir = d.dir
			}
			p.env, p.fill = append(d.env, p.env...), append(p.fill, fill...)
			p.follow(t, name+".md")
		})
	}
	page("adopt", &pageOf{before: map[string]func(){"cargo zkp verify --locked --since": func() { d.git(as...) }}})
	// What is proven by its name is left where the user stands, outside of packages.
	outside := func(p *pageOf) map[string]func() {
		return map[string]func(){"cargo zkp prove NAME@VERSION": func() {
			p.dir = t.TempDir()
			write(t, filepath.Join(p.dir, backlog.MapName), f.mapping)
			p.env = append(p.env, "CARGO_HOME="+d.home)
		}}
	}
	proving := &pageOf{}
	proving.before = outside(proving)
	page("proving", proving)
	port := freePorts(t, 1)
	listen := fmt.Sprintf(" --listen 127.0.0.1:%d", port)
	page("cargo", &pageOf{fill: []string{"proxy --install", "proxy --install" + listen},
		before: map[string]func(){"cargo zkp proxy --install": func() {
			fatalIf(t, os.RemoveAll(filepath.Join(d.dir,
				".cargo")))
		}},
		running: map[string]string{"cargo zkp proxy": "Serving"},
		not:     map[string]string{"cargo zkp proxy --install --service": "it needs the service manager of a login"}})
	d.source("sparse+" + d.registry.Index)
	page("report", &pageOf{})
	checkout := filepath.Join(f.dir, "beta")
	write(t, filepath.Join(checkout, "b-one-1.0.0.crate"), string(read(t, d.find("cache/*/b-one-1.0.0.crate"))))
	page("ceremony", &pageOf{dir: checkout, fill: []string{"ceremony solo", "ceremony solo -blocks 8",
		"--program solo.json",
		"--program " + program},
		not: map[string]string{"ceremony verify": "it takes a ceremony", "go test": "it takes minutes"}})
	pagesOfMonitors(t, s, program, page)
	publisher := &pageOf{}
	publisher.before = outside(publisher)
	pagesOfPublishers(t, s, program, publisher, func() { page("publishing", publisher) })
	page("builds", &pageOf{fill: []string{"--set NAME", "--set known", "--contact TEXT", "--contact mail"},
		not: map[string]string{
			"cargo zkp verify --binary": "TestABinaryIsWhatItsBuildersSay does",
			"cargo zkp install":         "TestABinaryIsWhatItsBuildersSay does",
			"cargo zkp rebuild":         "TestAProgramIsRebuiltInASandbox does, for minutes",
			"cargo zkp attest":          "TestABinaryIsWhatItsBuildersSay does",
		}})
}

func pagesOfMonitors(t *testing.T, s *site, program string, page func(string, *pageOf)) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "monitor.toml"), fmt.Sprintf("database = \"monitor.db\"\nevidence = \"evidence\"\n"+
		"listen = \"127.0.0.1:0\"\nprograms = [%q]\npoll = \"100ms\"\n[[log]]\ntrust = %q\n[[channel]]\n"+
		"name = \"owner\"\n"+
		"type = \"command\"\ncommand = [\"/bin/true\"]\n", program, s.policy))
	sum := sha256.Sum256([]byte("announced"))
	const run = "monitor run  -config monitor.toml"
	p := &pageOf{dir: dir, fill: []string{"HEX", fmt.Sprintf("%x", sum)}, running: map[string]string{run: "monitor listens"}}
	p.before = map[string]func(){"monitor once": func() { p.started[run].stop() }} // one process follows at a time
	page("monitoring", p)
}

// pagesOfPublishers publishes a crate of a repository that has a remote.
func pagesOfPublishers(t *testing.T, s *site, program string, p *pageOf, follow func()) {
	reg := registrytest.New(t)
	const token = "token-of-the-end-to-end-test"
	reg.SetToken(token, false)
	dir, home, remote := filepath.Join(t.TempDir(), "work"), t.TempDir(), filepath.Join(t.TempDir(), "origin.git")
	fatalIf(t, os.MkdirAll(filepath.Join(dir, "src"), 0o755))
	write(t, filepath.Join(home, "credentials.toml"), "[registries.my]\ntoken = \""+token+"\"\n")
	write(t, filepath.Join(home, "config.toml"), "[registries.my]\nindex = \"sparse+"+reg.Index+"\"\n")
	write(t, filepath.Join(dir, "Cargo.toml"),
		"[package]\nname = \"hello-publish\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"+
			"license = \"MIT\"\ndescription = \"a test\"\n[package.metadata.zkp]\nlog = \""+s.log.url+"\"\n")
	write(t, filepath.Join(dir, "src", "lib.rs"), "pub fn hello() {}\n")
	write(t, filepath.Join(dir, ".gitignore"), "/target\n/Cargo.lock\n/DIR\n")
	write(t, filepath.Join(dir, "zkp.toml"),
		"version = 1\ntrust = ["+quoted(s.policy)+"]\nprograms = ["+quoted(program)+"]\n"+
			"[registry."+quoted("sparse+"+reg.Index)+"]\nlogs = ["+quoted(origin)+"]\n")
	for _, args := range [][]string{
		{"init", "-q", "--bare", "--object-format=sha1", remote}, {"init", "-q", "--object-format=sha1"},
		{"remote", "add", "origin", remote}, {"add", "-A"},
		{"-c", "user.name=a", "-c", "user.email=a@a.example", "commit", "-q", "-m", "x"}, {"push", "-q", "origin",
			"HEAD:refs/heads/main"}} {
		git(t, dir, args...)
	}
	p.dir, p.env = dir, []string{"CARGO_HOME=" + home, "CARGO_TARGET_DIR=" + filepath.Join(dir, "target")}
	p.fill = []string{"cargo zkp publish", "cargo zkp publish --registry my", "cargo publish",
		"cargo publish --registry my", "FILE.crate...",
		"target/package/hello-publish-0.1.0.crate --registry sparse+" + reg.Index}
	p.not = map[string]string{"go install": "it is a step of a workflow, in a checkout of cratelog"}
	p.before["cargo zkp publish --dry-run &&"] = func() { // of the next version
		manifest := filepath.Join(dir, "Cargo.toml")
		write(t, manifest, strings.Replace(string(read(t, manifest)), "0.1.0", "0.1.1", 1))
		git(t, dir, "-c", "user.name=a", "-c", "user.email=a@a.example", "commit", "-q", "-a", "-m", "y")
		git(t, dir, "push", "-q", "origin", "HEAD:refs/heads/main")
	}
	follow()
	if n := len(reg.Published()); n != 2 && p.ran != nil { // nil: -run chose other pages
		t.Errorf("%d releases were published", n)
	}
}
