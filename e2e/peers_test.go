//go:build peers

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"cratelog/cargo/registry"
	"cratelog/entry"
	"cratelog/internal/fixture"
)

// These tests run programs of others, which .ci/long installs.

// foreignRegistry starts a registry that knows nothing of cratelog and whose index is git, and returns
// its URL.
func foreignRegistry(t *testing.T) string {
	t.Helper()
	fixture.Need(t, "cargo-http-registry", "git")
	root := filepath.Join(t.TempDir(), "registry")
	p := &process{t: t, name: "cargo-http-registry", log: &lines{t: t, name: "registry"}, done: make(chan struct{})}
	p.cmd = exec.Command(p.name, root)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	fatalIf(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() { p.kill() }) // it knows no other end
	var config struct{ API string }
	p.eventually(t, "address", func() bool {
		b, err := readIfThere(filepath.Join(root, "config.json"))
		return err == nil && json.Unmarshal(b, &config) == nil && config.API != ""
	})
	return config.API
}

// TestARegistryWithAnIndexInGitNeedsNothingOfOurs: a crate is published with its proof to a registry of
// others; its evidence lies beside, and its users need no log.
func TestARegistryWithAnIndexInGitNeedsNothingOfOurs(t *testing.T) {
	index := foreignRegistry(t) + "/git"
	s := newSite(t)
	dir, home, at := filepath.Join(t.TempDir(), "work"), t.TempDir(), filepath.Join(t.TempDir(), "origin.git")
	config := "[registries.my]\nindex = \"" + index + "\"\n[net]\ngit-fetch-with-cli = true\n"
	policy := "[registry.\"" + index + "\"]\nlogs = [\"" + origin + "\"]\n"
	fatalIf(t, os.MkdirAll(filepath.Join(dir, "src"), 0o755))
	write(t, filepath.Join(home, "credentials.toml"), "[registries.my]\ntoken = \"any\"\n")
	write(t, filepath.Join(home, "config.toml"), config)
	write(t, filepath.Join(dir, "Cargo.toml"),
		"[package]\nname = \"hello-peer\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"+
			"license = \"MIT\"\ndescription = \"a test\"\n"+
			"[package.metadata.zkp]\nlog = \""+s.log.url+"\"\n")
	write(t, filepath.Join(dir, "src", "lib.rs"), "pub fn hello() {}\n")
	write(t, filepath.Join(dir, ".gitignore"), "/target\n/Cargo.lock\n")
	write(t, filepath.Join(dir, "zkp.toml"), "version = 1\ntrust = ["+quoted(s.policy)+"]\ndevelopment = true\n"+policy)
	env := []string{"CARGO_HOME=" + home, "GIT_CONFIG_GLOBAL=" + os.DevNull, "CARGO_TERM_COLOR=never",
		"RUSTUP_HOME=" + rustupHome(t), "XDG_STATE_HOME=" + t.TempDir(), "no_proxy=127.0.0.1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.example",
		"PATH=" + filepath.Dir(program(t, "cargo-zkp")) + string(os.PathListSeparator) + os.Getenv("PATH")}
	run := func(name string, args ...string) outcome {
		t.Helper()
		return command(t, dir, env, name, args...)
	}
	for _, args := range [][]string{{"init", "-q", "--bare", "--object-format=sha1", at},
		{"init", "-q", "--object-format=sha1"}, {"remote", "add", "origin", at},
		{"add", "-A"}, {"commit", "-q", "-m", "work"}, {"push", "-q", "origin", "HEAD:refs/heads/main"}} {
		run("git", args...).want(t, 0)
	}
	run("cargo", "zkp", "publish", "--registry", "my").want(t, 0, "is a git repository, and only sparse ones are read",
		"Logged hello-peer v0.1.0 as entry 0", "uploaded what is logged")
	// What is published already is for the registry to say, and nothing is proven or logged again.
	run("cargo", "zkp", "publish", "--registry", "my").want(t, 3, "Fresh hello-peer v0.1.0 is logged", "already exists",
		"if cargo says that it is there already, it is published, and nothing is left to do")
	run("cargo", "zkp", "prove", "hello-peer@0.1.0", "--registry", "my").want(t, 3,
		"is a git repository, and only sparse ones are read")

	d := newDependent(t, s, "hello-peer = { version = \"0.1.0\", registry = \"my\" }\n")
	d.write(".cargo/config.toml", config)
	write(t, filepath.Join(d.home, "credentials.toml"), "[registries.my]\ntoken = \"any\"\n")
	s.addLogURL()
	d.policy("require = \"all\"\n" + policy)
	d.zkp("verify").want(t, 0, "1 crate proven")
	d.zkp("report").says(t, 0, "1 of 1 crate proven (100 percent), and 100 percent of 1 line")
	d.zkp("evidence", "tree").want(t, 0, "Wrote evidence to tree: 1 new or newer, 0 as before, 0 crates without")
	crate := filepath.Join(dir, "target", "package", "hello-peer-0.1.0.crate")
	run("cargo", "zkp", "evidence", "published", "--registry", index, crate).want(t, 0, "1 new or newer")
	s.log.stop()

	d.forget()
	d.zkp("verify").want(t, 3, "did not say whether it holds hello-peer 0.1.0")
	served := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(dir, "published"))))
	defer served.Close()
	// A server, which learns what it is asked, is named for its registry.
	for _, p := range []string{"evidence = [\"tree\"]\n" + policy, policy + "evidence = [\"" + served.URL + "\"]\n"} {
		d.forget()
		d.policy("require = \"all\"\n" + p)
		d.zkp("verify").want(t, 0, "1 crate proven")
		d.zkp("build").want(t, 0)
	}

	bundle := filepath.Join(dir, "published", filepath.FromSlash(
		registry.BundlePath(entry.Registry(index), "hello-peer", "0.1.0", origin)))
	tampered := read(t, bundle)
	tampered[len(tampered)/2]++
	write(t, bundle, string(tampered))
	d.forget()
	d.zkp("build").want(t, 3, "holds does not do: ")
	fatalIf(t, os.Remove(bundle))
	d.forget()
	d.zkp("build").want(t, 3, "did not say whether it holds hello-peer 0.1.0")

	// A proxy has nothing to ask there.
	d.write(".cargo/config.toml", config+"[source.crates-io]\nreplace-with = \"my\"\n")
	d.zkp("proxy", "--install").want(t, 3, "is a git repository, and only sparse ones are read")
}

// TestCargoVetBelievesWhatIsExported: the audits that cargo zkp export writes, imported by cargo-vet
// itself from a file server.
func TestCargoVetBelievesWhatIsExported(t *testing.T) {
	fixture.Need(t, "cargo-vet")
	s := newSite(t)
	s.logFixtures(t)
	s.addLogURL()
	d := newDependent(t, s, "hello-proof = \"=0.1.0\"\nhello-inner = \"0.1.0\"\n")
	d.policy("require = \"all\"\n")
	d.mustCargo("fetch")
	fatalIf(t, os.Mkdir(filepath.Join(d.dir, "exported"), 0o755))
	d.zkp("export", "--cargo-vet", "exported/audits.toml").want(t, 0, "audits of 2 crates")
	file := filepath.Join(d.dir, "exported", "audits.toml")
	served := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(file))))
	defer served.Close()
	vet := func(criterion string, args ...string) outcome {
		t.Helper()
		d.write("supply-chain/config.toml", "\n# cargo-vet config file\n\n[cargo-vet]\nversion = \"0.10\"\n\n"+
			"[imports.proofs]\nurl = \""+served.URL+"/audits.toml\"\n\n[imports.proofs.criteria-map]\n"+criterion+
			" = \"matches-commit\"\n\n[policy.app]\naudit-as-crates-io = false\ncriteria = [\"matches-commit\"]\n")
		d.write("supply-chain/audits.toml", "\n# cargo-vet audits file\n\n[criteria.matches-commit]\n"+
			"description = \"proven\"\n\n[audits]\n")
		d.write("supply-chain/imports.lock", "\n# cargo-vet imports lock\n")
		return d.cargo(append([]string{"vet"}, args...)...)
	}
	// Everything here is proven with development keys, which is not what matches-commit means.
	vet("matches-commit", "check").says(t, 255, "hello-inner:0.1.0 missing", "hello-proof:0.1.0 missing")
	vet("matches-commit-development", "check").says(t, 0, "Vetting Succeeded (2 fully audited)")
	text := strings.ReplaceAll(string(read(t, file)), `criteria = "matches-commit-development"`,
		`criteria = "matches-commit"`)
	write(t, file, text) // as a log with keys of a ceremony has it
	vet("matches-commit", "check").says(t, 0, "Vetting Succeeded (2 fully audited)")

	// It is written as cargo-vet writes it.
	d.write("supply-chain/audits.toml", text)
	d.cargo("vet", "fmt").want(t, 0)
	if formatted := string(read(t, filepath.Join(d.dir, "supply-chain", "audits.toml"))); formatted != text {
		t.Errorf("cargo-vet writes\n%s\nwhere the export is\n%s", formatted, text)
	}
}

// TestTheScriptOfSeveralMachinesStartsThem: a crate goes in at a front end and is verified at the other, also when the
// sequencer was killed, and after all of it has ended and begun again.
func TestTheScriptOfSeveralMachinesStartsThem(t *testing.T) {
	fixture.Need(t, "versitygw", "mariadbd", "mariadb-install-db", "mariadb", "openssl")
	dir, port := filepath.Join(t.TempDir(), "several"), freePorts(t, 20)
	url := func(i int) string { return fmt.Sprintf("http://127.0.0.1:%d", port+i) }
	begin := func() *process {
		p := &process{t: t, name: "try", log: &lines{t: t, name: "try"}, done: make(chan struct{})}
		p.cmd = exec.Command(filepath.Join("..", "deploy", "cluster", "try"), dir, fmt.Sprint(port))
		p.cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program(t, "logd"))+":"+os.Getenv("PATH"))
		p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
		fatalIf(t, p.cmd.Start())
		go func() {
			defer close(p.done)
			p.err = p.cmd.Wait()
		}()
		t.Cleanup(p.stop)
		p.eventually(t, "log", func() bool { return strings.Contains(p.log.String(), "Ctrl-C ends all of it.") })
		return p
	}
	p := begin()
	files := t.TempDir()
	submit := func(name string, at int) {
		t.Helper()
		file := copyFixture(t, name, files)
		zkp(t, "submit", file, "--log", url(at)).want(t, 0, "Finished")
		zkp(t, "verify", file, "--development", "--trust", filepath.Join(dir, "trust.policy")).want(t, 0, "Finished")
	}
	submit(fixtures[0], 8)
	pid, err := strconv.Atoi(strings.TrimSpace(string(read(t, filepath.Join(dir, "logd1.pid")))))
	fatalIf(t, err)
	fatalIf(t, syscall.Kill(pid, syscall.SIGKILL))
	submit(fixtures[1], 9)
	p.stop()
	for i := range 20 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i))
		if err != nil {
			t.Errorf("something still listens: %v", err)
			continue
		}
		fatalIf(t, l.Close())
	}
	begin()
	submit(fixtures[2], 0)
	submit(fixtures[0], 0) // which it knows
}
