package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo"
	"cratelog/cargo/registry"
	"cratelog/internal/fixture"
	"cratelog/internal/registrytest"
)

// dependent is a cargo user: a project that depends on crates of a registry, with a
// cargo home, a cache and settings of its own.
type dependent struct {
	t         *testing.T
	site      *site
	registry  *registrytest.Registry
	dir, home string // of the project, and cargo's
	user      string // HOME
	env       []string
}

// manyCrates are crates of cargo's default registry that compile quickly; with what
// they depend on they are more than 30. With -short there are two, which withRealCrates
// makes.
func manyCrates() string {
	names := strings.Fields(`serde itoa log semver errno either fnv hex base64 bytes byteorder smallvec arrayvec cfg-if
		bitflags once_cell httparse percent-encoding humantime strsim heck scopeguard slab utf8parse adler2 memchr`)
	if testing.Short() {
		names = names[:2]
	}
	return strings.Join(names, " = \"*\"\n") + " = \"*\"\n"
}

// newDependent makes a project with dependencies, and a registry that has the fixture
// crates and passes on to the real one, if there is one.
func newDependent(t *testing.T, s *site, dependencies string) *dependent {
	t.Helper()
	fixture.Need(t, "cargo")
	d := &dependent{t: t, site: s, registry: registrytest.New(t), dir: t.TempDir(), home: t.TempDir(), user: t.TempDir()}
	for _, f := range [][2]string{{"hello-proof", "0.1.0"}, {"hello-proof", "0.1.1"}, {"hello-inner", "0.1.0"}} {
		d.registry.AddCrate(fixture.Crate(t, f[0], f[1]))
	}
	d.env = []string{"CARGO_HOME=" + d.home, "HOME=" + d.user, "XDG_CACHE_HOME=", "XDG_STATE_HOME=", "XDG_CONFIG_HOME=",
		"CARGO_TARGET_DIR=" + filepath.Join(d.dir, "target"), "CARGO_TERM_COLOR=never", "no_proxy=127.0.0.1",
		"RUSTUP_HOME=" + rustupHome(t), "PATH=" + filepath.Dir(program(t, "cargo-zkp")) +
			string(os.PathListSeparator) + os.Getenv("PATH")}
	d.write("Cargo.toml",
		"[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\n"+dependencies)
	d.write("src/lib.rs", "pub fn f() {}\n")
	d.source("sparse+" + d.registry.Index)
	return d
}

// rustupHome is where rustup keeps its toolchains, which the tests' own HOME hides.
func rustupHome(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("RUSTUP_HOME"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	fatalIf(t, err)
	return filepath.Join(home, ".rustup")
}

// withRealCrates lets the registry pass on to cargo's default one, and skips the test
// where cargo cannot reach that. Its address is what cargo itself records.
func (d *dependent) withRealCrates() {
	d.t.Helper()
	if testing.Short() {
		d.registry.Add("serde", "1.0.0")
		d.registry.Add("itoa", "1.0.0")
		return
	}
	dir, home := d.t.TempDir(), d.t.TempDir()
	write(d.t, filepath.Join(dir, "Cargo.toml"),
		"[package]\nname = \"ask\"\nversion = \"0.1.0\"\n[lib]\npath = \"lib.rs\"\n[dependencies]\nitoa = \"1\"\n")
	write(d.t, filepath.Join(dir, "lib.rs"), "")
	if o := command(d.t, dir, []string{"CARGO_HOME=" + home}, "cargo", "generate-lockfile"); o.code != 0 {
		fixture.Skip(d.t, "cargo cannot reach its default registry: %v", o)
	}
	index, err := registry.DefaultIndex(home)
	fatalIf(d.t, err)
	d.registry.Upstream(&registry.Index{URL: index, UserAgent: "cratelog-e2e"})
}

func (d *dependent) write(name, text string) {
	d.t.Helper()
	path := filepath.Join(d.dir, filepath.FromSlash(name))
	fatalIf(d.t, os.MkdirAll(filepath.Dir(path), 0o755))
	write(d.t, path, text)
}

// source lets cargo take the default registry's crates from another place.
func (d *dependent) source(url string) {
	d.write(".cargo/config.toml",
		"[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nregistry = \""+url+"\"\n")
}

func (d *dependent) cargo(args ...string) outcome {
	d.t.Helper()
	return command(d.t, d.dir, d.env, "cargo", args...)
}

// mustCargo runs cargo, which must succeed.
func (d *dependent) mustCargo(args ...string) {
	d.t.Helper()
	if o := d.cargo(args...); o.code != 0 {
		d.t.Fatalf("cargo %s: %v", strings.Join(args, " "), o)
	}
}

// zkp runs "cargo zkp", as its user does.
func (d *dependent) zkp(args ...string) outcome {
	d.t.Helper()
	return d.cargo(append([]string{"zkp"}, args...)...)
}

// policy writes zkp.toml: the site's trust file, and more.
func (d *dependent) policy(more string) {
	d.t.Helper()
	d.write("zkp.toml", "version = 1\ndevelopment = true\ntrust = ["+quoted(d.site.policy)+"]\n"+more)
}

// trust lets the project trust the site's trust file with one change, and nothing else.
func (d *dependent) trust(old, changed string) {
	d.t.Helper()
	d.write("other.policy", strings.Replace(string(read(d.t, d.site.policy)), old, changed, 1))
	d.write("zkp.toml", "version = 1\ndevelopment = true\ntrust = [\"other.policy\"]\n")
}

func quoted(s string) string { return "\"" + filepath.ToSlash(s) + "\"" }

// find returns the one file or directory that a pattern below cargo's home matches.
func (d *dependent) find(pattern string) string {
	d.t.Helper()
	found, err := filepath.Glob(filepath.Join(d.home, "registry", pattern))
	fatalIf(d.t, err)
	if len(found) != 1 {
		d.t.Fatalf("%s: found %v", pattern, found)
	}
	return found[0]
}

// logFixtures submits all fixture crates to the site's log.
func (s *site) logFixtures(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range fixtures {
		zkp(t, "submit", copyFixture(t, name, dir), "--log", s.log.url).want(t, 0, "Finished")
	}
}

// TestALockFileOfRealCratesIsVerified: a project that depends on more than thirty
// crates of the real registry, and on two with proofs; and what a reader
// hears when anything about them is not as it should be.
func TestALockFileOfRealCratesIsVerified(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	s := newSite(t)
	s.logFixtures(t)
	s.addLogURL()
	d := newDependent(t, s, `hello-proof = { version = "=0.1.0", verification = "zkp" }
inner = { package = "hello-inner", version = "0.1.0" }
`+manyCrates())
	d.withRealCrates()
	d.policy("")
	d.mustCargo("fetch")
	lock, err := cargo.ReadLock(filepath.Join(d.dir, "Cargo.lock"))
	fatalIf(t, err)
	if n := len(lock.Packages); n < 33 && !testing.Short() {
		t.Fatalf("the lock file has %d packages, so that this test sees little", n)
	}

	d.zkp("verify").want(t, 0, "1 of which must be proven", "1 crate proven", "with the lock file's checksum only")
	t.Run("again, and with the log stopped", func(t *testing.T) {
		d.zkp("verify", "--offline", "--locked").want(t, 0, "1 crate proven")
	})
	t.Run("what was checked", func(t *testing.T) {
		commit := fixture.Commit(t, "0.1.0")
		d.zkp("verify", "-v").want(t, 0, "Verified hello-proof v0.1.0: commit "+hexOf(commit[:]),
			"files proven", "entry 0 of "+origin, "Hashed serde v")
	})
	t.Run("for machines", func(t *testing.T) { forMachines(t, d, len(lock.Packages)) })
	t.Run("all crates are wanted", func(t *testing.T) {
		d.policy("require = \"all\"\n")
		d.zkp("verify").want(t, 1, "crates: no log that is trusted has an entry for this version (not-logged)",
			"could be proven from what they name", "crates are not what the policy asks for")
		d.zkp("verify", "-v").want(t, 1, "error: serde v", "no one has proved this version there", "requires all crates")
		d.policy("require = [\"hello-*\"]\n")
		d.zkp("verify").want(t, 0, "2 crates proven")
		d.policy("")
	})
	t.Run("a wish that nothing can fulfil", func(t *testing.T) {
		manifest := string(read(t, filepath.Join(d.dir, "Cargo.toml")))
		defer d.write("Cargo.toml", manifest)
		d.write("Cargo.toml", manifest+"[package.metadata.zkp]\nrequire = [\"hello-prof\"]\n")
		d.zkp("verify").want(t, 1, "hello-prof is to be verified, and is not in Cargo.lock",
			"package.metadata.zkp.require")
		d.write("Cargo.toml", manifest+"[package.metadata.zkp]\nrequires = [\"hello-proof\"]\n")
		d.zkp("verify").want(t, 3, "requires")
	})
	t.Run("sources that cargo is told to build instead", func(t *testing.T) {
		config := string(read(t, filepath.Join(d.dir, ".cargo", "config.toml")))
		defer d.write(".cargo/config.toml", config)
		d.write(".cargo/config.toml", "paths = [\"/elsewhere\"]\n"+config)
		d.zkp("verify").want(t, 1, "cargo's configuration has paths")
		d.zkp("verify", "-p", "hello-proof").want(t, 1, "cargo's configuration has paths")
		d.write("elsewhere/README", "not the crates that the lock file names")
		defer os.RemoveAll(filepath.Join(d.dir, "elsewhere"))
		d.write(".cargo/config.toml",
			"[source.crates-io]\nreplace-with = \"dir\"\n[source.dir]\ndirectory = \"elsewhere\"\n")
		d.zkp("verify").want(t, 0, "1 crate proven") // cargo finds nothing to build there
		// What counts for the directory that cargo is called in counts as well.
		d.write(".cargo/config.toml", config)
		d.write("src/.cargo/config.toml", "paths = [\"/elsewhere\"]\n")
		defer os.RemoveAll(filepath.Join(d.dir, "src", ".cargo"))
		command(t, filepath.Join(d.dir, "src"), d.env, "cargo", "zkp", "verify").want(t, 1,
			"cargo's configuration has paths")
	})
	t.Run("show", func(t *testing.T) {
		o := d.zkp("show", "hello-inner")
		o.want(t, 0)
		if !strings.Contains(o.stdout, "/crates/inner") || !strings.Contains(o.stdout, "entry 4 of 6") ||
			!strings.Contains(o.stdout, "files proven") {
			t.Errorf("%v", o)
		}
		d.zkp("show", "serde").want(t, 1, "has no entry for serde")
	})
	t.Run("tampered", func(t *testing.T) { tampered(t, d) })
	t.Run("vendor", func(t *testing.T) { vendored(t, d) })
	t.Run("nothing is written elsewhere", func(t *testing.T) {
		left, err := filepath.Glob(filepath.Join(d.dir, "*"))
		fatalIf(t, err)
		for _, f := range left {
			switch filepath.Base(f) {
			case ".cargo", "Cargo.toml", "Cargo.lock", "src", "zkp.toml", "target", "vendor":
			default:
				t.Errorf("%s was left", f)
			}
		}
	})
}

// addLogURL gives the policy the log's address, which a site's own does not have.
func (s *site) addLogURL() {
	s.t.Helper()
	text := string(read(s.t, s.policy))
	write(s.t, s.policy, strings.Replace(text, "log "+s.logKey+"\n", "log "+s.logKey+" "+s.log.url+"\n", 1))
}

func forMachines(t *testing.T, d *dependent, packages int) {
	o := d.zkp("verify", "--message-format", "json", "-q")
	o.want(t, 0)
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if len(lines) != packages { // all but the project itself, and the last line
		t.Errorf("%d lines for %d packages", len(lines), packages)
	}
	var last struct {
		Type    string `json:"message_type"`
		Success bool
		Counts  map[string]int
	}
	fatalIf(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	if last.Type != "verify-finished" || !last.Success || last.Counts["verified"] != 1 {
		t.Errorf("%+v", last)
	}
	d.policy("require = [\"serde\"]\n")
	defer d.policy("")
	o = d.zkp("verify", "--message-format", "sarif", "-q")
	o.want(t, 1)
	var sarif struct {
		Version string
		Runs    []struct {
			Results []struct {
				RuleID    string
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	fatalIf(t, json.Unmarshal([]byte(o.stdout), &sarif))
	r := sarif.Runs[0].Results
	if sarif.Version != "2.1.0" || len(r) != 1 || r[0].RuleID != "not-logged" ||
		r[0].Locations[0].PhysicalLocation.ArtifactLocation.URI != "Cargo.lock" {
		t.Fatalf("%s", o.stdout)
	}
	at := r[0].Locations[0].PhysicalLocation.Region.StartLine
	if line := strings.Split(string(read(t, filepath.Join(d.dir, "Cargo.lock"))),
		"\n")[at-1]; line != `name = "serde"` {
		t.Errorf("line %d is %q", at, line)
	}
}

// tampered changes what cargo keeps, which cargo itself never notices.
func tampered(t *testing.T, d *dependent) {
	change := func(t *testing.T, path string, words ...string) {
		t.Helper()
		old := read(t, path)
		fatalIf(t, os.WriteFile(path, append(old, '\n'), 0o644))
		d.zkp("verify").want(t, 1, words...)
		fatalIf(t, os.WriteFile(path, old, 0o644))
	}
	t.Run("a source file", func(t *testing.T) {
		change(t, filepath.Join(d.find("src/*/hello-proof-0.1.0"), "src", "lib.rs"),
			"hello-proof v0.1.0: unpacked source differs", "src/lib.rs")
	})
	t.Run("a source file of a crate that needs no proof", func(t *testing.T) {
		change(t, filepath.Join(d.find("src/*/itoa-1.*"), "Cargo.toml"), "itoa v1.",
			"unpacked source differs", "Cargo.toml")
	})
	t.Run("an archive", func(t *testing.T) {
		change(t, d.find("cache/*/hello-proof-0.1.0.crate"), "hello-proof-0.1.0.crate has SHA-256",
			"cargo would unpack it without looking")
	})
	t.Run("a file that is not in the archive", func(t *testing.T) {
		extra := filepath.Join(d.find("src/*/hello-proof-0.1.0"), "build.rs")
		write(t, extra, "fn main() {}")
		d.zkp("verify").want(t, 1, "build.rs")
		fatalIf(t, os.Remove(extra))
	})
	d.zkp("verify").want(t, 0, "1 crate proven")
}

// vendored builds from a directory of verified sources, in which cargo itself then
// finds every change, and so does verify, with nothing but the directory and the state.
func vendored(t *testing.T, d *dependent) {
	o := d.zkp("vendor")
	o.want(t, 0, "Vendored", " 0 removed")
	old := read(t, filepath.Join(d.dir, ".cargo", "config.toml"))
	d.write(".cargo/config.toml", o.stdout)
	defer d.write(".cargo/config.toml", string(old))
	d.mustCargo("check", "--offline")
	d.zkp("vendor").want(t, 0, " 0 written, 0 removed")

	home, env := d.home, d.env
	d.home = t.TempDir()
	d.env = append(env, "CARGO_HOME="+d.home, "XDG_CACHE_HOME="+t.TempDir())
	defer func() { d.home, d.env = home, env }()
	d.zkp("verify", "--offline", "--locked").want(t, 0, "1 crate proven")
	d.zkp("check", "--offline", "--locked").want(t, 0)
	sources := filepath.Join(d.dir, "vendor", "hello-proof-0.1.0")
	change := func(what, file string, edit func(path string, old []byte), words ...string) {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(d.dir, "vendor", filepath.FromSlash(file))
			old, _ := os.ReadFile(path)
			fatalIf(t, os.RemoveAll(filepath.Join(d.dir, "target")))
			edit(path, old)
			d.zkp("verify", "--offline", "--locked").want(t, 1, words...)
			if file != "hello-proof-0.1.0/.cargo-checksum.json" { // which cargo itself notices
				d.zkp("check", "--offline").want(t, 1, words...)
			}
			if old == nil {
				fatalIf(t, os.Remove(path))
			} else {
				write(t, path, string(old))
			}
		})
	}
	change("a source", "hello-proof-0.1.0/src/lib.rs", func(path string, old []byte) {
		write(t, path, string(old)+"// changed\n")
		d.cargo("check", "--offline").want(t, 101, "has changed")
	}, "hello-proof v0.1.0: unpacked source differs", "src/lib.rs has", "\"cargo zkp vendor "+filepath.Join(d.dir, "vendor")+"\" puts it right")
	change("a file besides, which cargo does not compare", "hello-proof-0.1.0/build.rs", func(path string, _ []byte) {
		write(t, path, "fn main() {}")
	}, "build.rs is not in the crate")
	change("the archive beside", ".cratelog/hello-proof-0.1.0.crate", func(path string, old []byte) {
		write(t, path, string(old)+"x")
	}, "hello-proof-0.1.0.crate has SHA-256")
	change("the checksums", "hello-proof-0.1.0/.cargo-checksum.json", func(path string, _ []byte) {
		write(t, path, `{"files":{},"package":"`+strings.Repeat("ab", 32)+`"}`)
	}, ".cargo-checksum.json says that the .crate has SHA-256")
	t.Run("another directory with the same package", func(t *testing.T) {
		twin := filepath.Join(d.dir, "vendor", "zzz")
		fatalIf(t, os.CopyFS(twin, os.DirFS(sources)))
		d.zkp("verify", "--offline", "--locked").want(t, 0)
		write(t, filepath.Join(twin, "src", "lib.rs"), "pub fn evil() {}\n")
		d.zkp("verify", "--offline", "--locked").want(t, 1, "zzz is not what hello-proof-0.1.0.crate holds")
		fatalIf(t, os.RemoveAll(twin))
	})
	t.Run("no bundle and no archive", func(t *testing.T) {
		beside := filepath.Join(d.dir, "vendor", ".cratelog")
		fatalIf(t, os.Rename(beside, beside+".away"))
		d.zkp("verify", "--offline", "--locked").want(t, 3, "by which", "cargo zkp vendor "+filepath.Join(d.dir, "vendor"))
		fatalIf(t, os.Rename(beside+".away", beside))
	})

	d.home, d.env = home, env
	t.Run("again, after an update", func(t *testing.T) {
		write(t, filepath.Join(sources, "src", "lib.rs"), "pub fn evil() {}\n")
		fatalIf(t, os.RemoveAll(filepath.Join(d.dir, "vendor", ".cratelog", "hello-inner-0.1.0.crate")))
		for _, name := range []string{"gone-1.0.0", "", ".", "..", "-1.0.0", "src"} { // but the first, none of ours
			write(t, filepath.Join(d.dir, "vendor", ".cratelog", name+".crate"), "")
		}
		d.write("vendor/gone-1.0.0/Cargo.toml", "[package]\nname = \"gone\"\nversion = \"1.0.0\"\n")
		d.write("vendor/README", "somebody else's")
		d.zkp("vendor").want(t, 0, ": 1 written, 1 removed")
		read(t, filepath.Join(d.dir, "vendor", "README"))
		d.zkp("verify").want(t, 0, "1 crate proven")
	})
	t.Run("into a directory of somebody else", func(t *testing.T) {
		d.zkp("vendor", "src").want(t, 2, "did not make it")
		d.write("linked/README", "")
		defer os.RemoveAll(filepath.Join(d.dir, "linked"))
		fatalIf(t, os.Symlink("../vendor/.cratelog", filepath.Join(d.dir, "linked", ".cratelog")))
		d.zkp("vendor", "linked").want(t, 2, "did not make it")
	})
}

// TestWhatCargoVendorMadeIsVerified: it leaves some files out.
func TestWhatCargoVendorMadeIsVerified(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	s := newSite(t)
	s.logFixtures(t)
	s.addLogURL()
	d := newDependent(t, s, "hello-proof = { version = \"=0.1.0\", verification = \"zkp\" }\n")
	d.policy("")
	old := read(t, filepath.Join(d.dir, ".cargo", "config.toml"))
	o := d.cargo("vendor", "--respect-source-config")
	o.want(t, 0)
	d.write(".cargo/config.toml", strings.Replace(o.stdout, "replace-with = \"here\"", "replace-with = \"vendored-sources\"", 1))
	d.mustCargo("check", "--offline")
	d.zkp("verify").want(t, 0, "1 crate proven")
	d.zkp("build").want(t, 0, "Finished")
	lib := filepath.Join(d.dir, "vendor", "hello-proof", "src", "lib.rs")
	write(t, lib, string(read(t, lib))+"// changed\n")
	d.zkp("build").want(t, 1, "unpacked source differs", "src/lib.rs")
	d.write(".cargo/config.toml", string(old))
	d.zkp("vendor").want(t, 2, "did not make it")
}
