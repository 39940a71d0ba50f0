package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/proxy"
	"cratelog/internal/outcome"
)

// try runs cargo itself in the working directory.
func (d *depot) try(args ...string) (string, int) {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), "cargo", args...)
	cmd.Env = append(os.Environ(), "no_proxy=127.0.0.1", "CARGO_NET_RETRY=0")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return strings.ReplaceAll(string(out), "\n  ", "\n"), cmd.ProcessState.ExitCode()
}

// plain does so, and checks the exit code and that cargo says all of the words.
func (d *depot) plain(code int, words []string, args ...string) string {
	d.t.Helper()
	text, got := d.try(args...)
	if got != code {
		d.t.Errorf("cargo %q: exit %d, not %d\n%s", args, got, code, text)
	}
	tells(d.t, text, words...)
	return text
}

// zkp runs this program, and checks its exit code, that it says words, and, behind a "!", that it does not.
func (d *depot) zkp(code outcome.Code, words []string, args ...string) string {
	d.t.Helper()
	return zkpSays(d.t, code, words, args...)
}

// proxy runs the proxy in the working directory until the test ends or stop is called.
func (d *depot) proxy(args ...string) (said *lines, stop func()) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	said = &lines{}
	go func() { done <- run(ctx, append([]string{"proxy"}, args...), said, said) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if code := <-done; code != 0 {
			d.t.Errorf("the proxy ended with %d:\n%s", code, said)
		}
	}
	d.t.Cleanup(stop)
	if !said.wait(d.t, "Serving ") {
		d.t.Fatalf("the proxy said:\n%s", said)
	}
	return said, stop
}

// demanding is a project with a policy.
func (d *depot) demanding(deps, demands string) string {
	d.t.Helper()
	dir := d.project(deps)
	put(d.t, "zkp.toml", "version = 1\ndevelopment = true\ntrust = [\""+d.log.File+"\"]\n"+demands)
	return dir
}

// config is the workspace's configuration of cargo.
func config(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(".cargo", "config.toml"))
	fatalIf(t, err)
	return string(b)
}

func TestOneProxyServesEachWorkspaceUnderItsOwnPolicy(t *testing.T) {
	d := proven(t)
	d.registry.Add("leaf", "1.0.0")
	const deps = "hello-proof = \"0.1\"\nleaf = \"1\"\n"
	strict := d.demanding(deps, "require = \"all\"\n")
	d.zkp(0, []string{"Installed"}, "proxy", "--install", "--listen", d.address)
	lax := d.demanding(deps, "require = [\"hello-proof\"]\n")
	d.zkp(0, []string{"Installed"}, "proxy", "--install", "--listen", d.address)
	said, _ := d.proxy("-v")
	d.plain(0, nil, "build")
	if !strings.Contains(said.String(), "a crate is handed out") {
		t.Errorf("it does not say what it hands out:\n%s", said)
	}
	t.Chdir(strict)
	d.plain(101, []string{"got 403", "cratelog refuses leaf v1.0.0: "}, "build")
	if !said.wait(t, "a crate is refused") {
		t.Errorf("it does not say what it refuses:\n%s", said)
	}
	// Another program's hand, or an earlier version, wrote no ID.
	ours := config(t)
	for what, text := range map[string]string{
		"no ID":        ours[:strings.LastIndex(ours, d.address)] + d.address + "/index/'\n",
		"a foreign ID": ours[:strings.LastIndex(ours, d.address)] + d.address + "/0123456789abcdef/index/'\n",
	} {
		put(t, filepath.Join(".cargo", "config.toml"), text)
		if out := d.plain(101, []string{"got 403", "run \"cargo zkp proxy --install\" in the workspace"}, "update"); t.Failed() {
			t.Fatalf("%s: %s", what, out)
		}
	}
	put(t, filepath.Join(".cargo", "config.toml"), ours)
	moved := filepath.Join(t.TempDir(), "moved")
	fatalIf(t, os.Rename(strict, moved))
	t.Chdir(moved)
	d.plain(101, []string{"got 403", "moved", "run \"cargo zkp proxy --install\" in the workspace"}, "update")
	d.zkp(0, []string{"Installed"}, "proxy", "--install")
	if !strings.Contains(config(t), d.address) {
		t.Errorf("the address was not kept:\n%s", config(t))
	}
	d.plain(101, []string{"got 403", "cratelog refuses leaf v1.0.0: "}, "build")
	// What is taken out is served no more, not even to a copy.
	ours = config(t)
	d.zkp(0, []string{"Removed"}, "proxy", "--uninstall")
	put(t, filepath.Join(".cargo", "config.toml"), ours)
	d.plain(101, []string{"got 403", "run \"cargo zkp proxy --install\" in the workspace"}, "update")
	t.Chdir(lax)
	d.plain(0, nil, "update")
	// A copy that is installed is itself, and leaves the other alone.
	copied := d.demanding(deps, "require = \"all\"\n")
	b, err := os.ReadFile(filepath.Join(lax, ".cargo", "config.toml"))
	fatalIf(t, err)
	put(t, filepath.Join(copied, ".cargo", "config.toml"), string(b))
	d.zkp(0, []string{"Installed"}, "proxy", "--install")
	t.Chdir(lax)
	d.plain(0, nil, "update")
}

func TestARunningProxyGoesByThePolicyAsItIs(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.registry.Add("leaf", "1.0.0")
	const excepted = "require = \"all\"\n[[exception]]\ncrate = \"leaf\"\nreason = \"r\"\nexpires = \"2999-01-01\"\n"
	d.demanding("leaf = \"1\"\n", excepted)
	d.zkp(0, nil, "proxy", "--install", "--listen", d.address)
	ours := config(t)
	said, _ := d.proxy()
	d.plain(0, nil, "build")
	policy := "version = 1\ndevelopment = true\ntrust = [\"" + d.log.File + "\"]\n"
	put(t, "zkp.toml", policy+"require = \"all\"\n")
	forget := func() {
		t.Helper()
		fatalIf(t, os.RemoveAll(filepath.Join(d.home, "registry", "cache")))
		fatalIf(t, os.RemoveAll(filepath.Join(d.home, "registry", "src")))
	}
	refused := func(words string) {
		t.Helper()
		forget()
		d.plain(101, []string{"got 403", words}, "build")
	}
	refused("cratelog refuses leaf v1.0.0") // which it has kept
	d.registry.Add("leaf", "1.0.1")
	d.plain(0, nil, "update")
	refused("cratelog refuses leaf v1.0.1")
	put(t, "zkp.toml", policy+strings.Replace(excepted, "2999-01-01", "2026-01-31", 1))
	refused("; an exception for it ended on 2026-01-31: r.")
	put(t, "zkp.toml", policy+excepted)
	d.plain(0, nil, "build")
	// Generated exceptions are read anew too, and what is only warned of passes.
	put(t, "zkp.toml", policy+"require = \"all\"\nexceptions = \"x.toml\"\n")
	put(t, "x.toml", "version = 1\nexpires = \"2999-01-01\"\nexceptions = [{ crate = \"leaf\", version = \"1.0.1\", reason = \"r\" }]\n")
	forget()
	d.plain(0, nil, "build")
	put(t, "x.toml", "version = 1\nexpires = \"2999-01-01\"\n")
	refused("cratelog refuses leaf v1.0.1")
	put(t, "zkp.toml", policy+"warn = \"all\"\n")
	forget()
	d.plain(0, nil, "build")
	if !said.wait(t, "a crate that should be proven is not, and passes") {
		t.Errorf("the proxy said:\n%s", said)
	}
	put(t, "zkp.toml", "version = 2\n") // the last policy that could be read does not count
	refused("zkp.toml")
	if config(t) != ours {
		t.Errorf("the URL has changed:\n%s", config(t))
	}
}

// cargo goes by the index: it may lack the very crate that must be proven, or have cargo build
// what a proven crate never asked for.
func TestPlainCargoStopsAtALyingIndex(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.registry.Add("leaf", "1.0.0")
	leaf := map[string]any{"name": "leaf", "req": "^1", "features": []string{}, "optional": false, "default_features": true, "target": nil, "kind": "normal"}
	for what, lie := range map[string]map[string]any{
		`it adds the dependency "leaf"`: {"deps": []any{leaf}},
		`the feature "default"`:         {"features": map[string][]string{"default": {"x"}, "x": {}}},
	} {
		swap := func(line map[string]any) { // says it again, and it is undone
			for key := range lie {
				line[key], lie[key] = lie[key], line[key]
			}
		}
		dir := d.demanding(asked, "")
		d.zkp(0, nil, "proxy", "--install", "--listen", d.address)
		_, stop := d.proxy()
		d.registry.Doctor("hello-proof", "0.1.0", swap)
		d.plain(101, []string{"got 403", "cratelog refuses hello-proof v0.1.0: the registry's index says other than its proven Cargo.toml", what}, "build")
		if holds(t, filepath.Join(dir, "target"), "leaf") {
			t.Error("what the index added was compiled")
		}
		d.registry.Doctor("hello-proof", "0.1.0", swap)
		d.plain(0, nil, "update")
		d.plain(101, []string{"said other than its proven Cargo.toml", "remove registry/index"}, "build") // to whoever did not update
		fatalIf(t, os.RemoveAll(filepath.Join(filepath.Dir(d.home), "cache", "cratelog", "proxy", "index")))
		fatalIf(t, os.RemoveAll(filepath.Join(d.home, "registry", "index")))
		d.plain(0, nil, "update")
		d.plain(0, nil, "build")
		d.registry.Doctor("hello-proof", "0.1.0", swap)
		d.plain(101, []string{"got 403", "cratelog refuses hello-proof v0.1.0", what}, "update") // cargo has the crate
		d.registry.Doctor("hello-proof", "0.1.0", swap)
		stop()
		fatalIf(t, os.RemoveAll(filepath.Join(filepath.Dir(d.home), "cache", "cratelog", "proxy"))) // which forgets all
	}
	d.demanding("leaf = \"1\"\n", "require = [\"hello-proof\"]\n")
	d.zkp(0, nil, "proxy", "--install", "--listen", d.address)
	d.proxy()
	d.plain(101, []string{"cratelog refuses leaf v1.0.0: ", "no registry package of the lock file is hello-proof"}, "build")
}

func TestTheProxyListensWhereCargoLooksForIt(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.demanding(asked, "")
	d.zkp(0, nil, "proxy", "--install", "--listen", d.address)
	said, stop := d.proxy()
	if !strings.Contains(said.String(), "Serving sparse+http://"+d.address+"/") {
		t.Errorf("it said:\n%s", said)
	}
	d.plain(0, nil, "build")
	d.zkp(outcome.Unchecked, []string{"may be running already, and then it serves this workspace too"}, "proxy")
	stop()
	fatalIf(t, os.RemoveAll(filepath.Join(d.home, "registry")))
	d.plain(101, []string{"`cratelog (cargo zkp proxy)`", d.address}, "build")
	if text := config(t); !strings.Contains(text, "start the proxy: cargo zkp proxy\n") {
		t.Errorf("the configuration does not say how to start it:\n%s", text)
	}
	d.zkp(0, []string{"Removed"}, "proxy", "--uninstall")
	if _, err := os.Stat(filepath.Join(".cargo", "config.toml")); err == nil {
		t.Error("--uninstall left the file")
	}
	d.plain(0, nil, "build")
}

// The commands that speak to a registry do not speak to the proxy, and go on working.
func TestCargoPublishAndSearchGoPastTheProxy(t *testing.T) {
	d := newDepot(t)
	d.demanding("", "")
	d.zkp(0, nil, "proxy", "--install", "--listen", d.address)
	t.Setenv("https_proxy", "http://127.0.0.1:9") // nobody is reached
	for _, args := range [][]string{{"search", "leaf"}, {"publish", "--dry-run", "--allow-dirty"}, {"owner", "--list", "leaf"},
		{"yank", "leaf@1.0.0"}} {
		if out := d.plain(101, []string{"127.0.0.1"}, args...); strings.Contains(out, "replaced") || !strings.Contains(out, "Could not connect") {
			t.Errorf("%q: %s", args, out)
		}
	}
	d.zkp(0, nil, "proxy", "--uninstall")
	put(t, filepath.Join(".cargo", "config.toml"), "[registry]\nglobal-credential-providers = []\n")
	d.zkp(0, []string{"has a [registry] table of its own"}, "proxy", "--install", "--listen", d.address)
	d.plain(101, []string{"--registry crates-io"}, "search", "leaf")
}

func TestAMirrorStandsBehindTheProxy(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t) // whose cargo asks a mirror
	d.demanding(asked, "")
	d.zkp(outcome.Usage, []string{"0.0.0.0:18081 is not a loopback address", "--allow-any-address"}, "proxy", "--install", "--listen", "0.0.0.0:18081")
	put(t, filepath.Join(".cargo", "config.toml"), "[source.crates-io]\nreplace-with = \"m\"\n[source.m]\nregistry = \"sparse+"+d.registry.Index+"\"\n")
	d.zkp(outcome.Unchecked, []string{"remove these lines first; the proxy asks a mirror that is named with --index URL, or stands in the configuration of a directory above"}, "proxy", "--install")
	put(t, filepath.Join(".cargo", "config.toml"), "")
	d.zkp(0, nil, "proxy", "--install", "--listen", d.address)
	d.proxy()
	d.registry.Requests()
	d.plain(0, nil, "build")
	if len(d.registry.Requests()) == 0 {
		t.Error("the mirror was not asked")
	}
	put(t, filepath.Join(d.home, "config.toml"), "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"v\"\n")
	d.zkp(outcome.Unchecked, []string{"take its crates from a directory", "cargo zkp verify"}, "proxy", "--install", "--listen", d.address)
}

// recorder runs nothing, and notes what it was told to run.
type recorder struct {
	ran []string
	err error
}

func (r *recorder) run(_ context.Context, name string, args ...string) error {
	r.ran = append(r.ran, name+" "+strings.Join(args, " "))
	return r.err
}

func TestTheSystemKeepsTheProxyRunning(t *testing.T) {
	env := map[string]string{"CARGO_HOME": "/u/50% <cargo>", "PATH": "/bin"}
	for goos, want := range map[string]struct {
		file         string
		content, ran []string
		gone         []string
	}{
		"linux": {"cratelog-proxy.service", []string{"\nEnvironment=\"CARGO_HOME=/u/50%% <cargo>\"\n",
			"\nExecStart=\"/opt/a b/cargo-zkp\" proxy --listen 127.0.0.1:1\n", "\nRestart=on-failure\n", "\nWantedBy=default.target\n"},
			[]string{"systemctl --user daemon-reload", "systemctl --user enable cratelog-proxy.service", "systemctl --user restart cratelog-proxy.service"},
			[]string{"systemctl --user disable --now cratelog-proxy.service"}},
		"darwin": {"org.cratelog.proxy.plist", []string{"<string>/opt/a b/cargo-zkp</string>\n<string>proxy</string>", "50% &lt;cargo&gt;", "<key>KeepAlive</key>\n<true/>"},
			[]string{"launchctl bootout gui/", "launchctl bootstrap gui/"}, []string{"launchctl bootout gui/"}},
		"windows": {"", nil, []string{`schtasks /Create /F /SC ONLOGON /TN cratelog-proxy /TR "/opt/a b/cargo-zkp" proxy --listen 127.0.0.1:1`,
			"schtasks /Run /TN cratelog-proxy"}, []string{"schtasks /End /TN cratelog-proxy", "schtasks /Delete /F /TN cratelog-proxy"}},
	} {
		var out bytes.Buffer
		r := &recorder{}
		s := &service{sh: newShell(&out, &out), goos: goos, program: "/opt/a b/cargo-zkp", address: "127.0.0.1:1",
			env: func(k string) string { return env[k] }, run: r.run}
		if want.file != "" {
			s.dir = filepath.Join(t.TempDir(), "units")
		}
		same := func(got, want []string) bool {
			ok := len(got) == len(want)
			for i := range want {
				ok = ok && strings.HasPrefix(got[i], want[i])
			}
			return ok
		}
		if err := s.install(t.Context()); err != nil || !same(r.ran, want.ran) {
			t.Errorf("%s: %v, ran %q", goos, err, r.ran)
		}
		for _, part := range want.content {
			b, err := os.ReadFile(filepath.Join(s.dir, want.file))
			if err != nil || !bytes.Contains(b, []byte(part)) {
				t.Errorf("%s: the file does not hold %q: %v\n%s", goos, part, err, b)
			}
		}
		r.ran = nil
		if err := s.uninstall(t.Context()); err != nil || !same(r.ran, want.gone) {
			t.Errorf("%s: uninstall: %v, ran %q", goos, err, r.ran)
		}
		if left, _ := filepath.Glob(filepath.Join(s.dir, "*")); s.dir != "" && len(left) > 0 {
			t.Errorf("%s: left behind: %q", goos, left)
		}
		r.err = &exec.Error{Name: "x", Err: exec.ErrNotFound}
		if err := s.install(t.Context()); outcome.Of(err) != outcome.Usage || !strings.Contains(err.Error(), "have the proxy started in your own way: /opt/a b/cargo-zkp proxy --listen 127.0.0.1:1") {
			t.Errorf("%s: without its program: %v", goos, err)
		}
		if left, _ := filepath.Glob(filepath.Join(s.dir, "*")); s.dir != "" && len(left) > 0 {
			t.Errorf("%s: a service that does not run was left behind: %q", goos, left)
		}
	}
	if err := (&service{goos: "plan9"}).install(t.Context()); outcome.Of(err) != outcome.Usage {
		t.Errorf("elsewhere: %v", err)
	}
}

func TestTheLinesSayWhomTheyAreFor(t *testing.T) {
	for want, w := range map[string]proxy.Workspace{
		"The lines are for all workspaces of this user that have none of their own.":           {},
		"The lines are for /w only: in a copy of it, run cargo zkp proxy --install again.":     {Manifest: filepath.FromSlash("/w/Cargo.toml")},
		"The lines are for /a b c only: in a copy of it, run cargo zkp proxy --install again.": {Manifest: filepath.FromSlash("/a b\nc/Cargo.toml")},
	} {
		if got := filepath.ToSlash(where(w)); got != want {
			t.Errorf("%+v: %s", w, got)
		}
	}
}
