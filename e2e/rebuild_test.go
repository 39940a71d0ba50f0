package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cratelog/build/rebuild"
	"cratelog/build/sandbox"
	"cratelog/internal/fixture"
	"cratelog/internal/registrytest"
)

// TestAProgramIsRebuiltInASandbox: a program that depends on three crates (a library with a build
// script, a procedural macro, one that it does not compile here) is built twice. What its build script
// learns of this machine is in its binaries: nothing of the file system; and where it writes down the number of CPUs,
// both runs differ. What they print to cargo does not change the list of what was compiled, and of a crate that
// is not in it there is no code. A crate that the compiler's own cfgs ask for is in it.
func TestAProgramIsRebuiltInASandbox(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles for minutes")
	}
	b := newRebuilder(t)
	out := t.TempDir()
	b.rebuild("--bin", "app", "--out", out).want(t, 0, "nothing of it was verified", "first run", "second run, on one CPU")
	r, err := rebuild.ReadReport(out)
	fatalIf(t, err)
	var compiled []string
	for _, c := range r.List {
		compiled = append(compiled, c.Name+" "+c.Version)
	}
	if want := []string{"dep 1.0.0", "quote-me 1.0.0", "stable-only 1.0.0"}; !slices.Equal(compiled, want) || !r.Same {
		t.Errorf("compiled were %q, want %q; both the same: %v", compiled, want, r.Same)
	}
	if r.SameUser != (os.Geteuid() != 0) {
		t.Errorf("the report says same user: %v", r.SameUser)
	}
	if r.Subject.SHA256 != sha256.Sum256(read(t, b.crate)) {
		t.Errorf("the report is about %+v", r.Subject)
	}
	if !r.Same {
		t.Errorf("the first says %v\nthe second %v", command(t, "", nil, filepath.Join(out, "app")),
			command(t, "", nil, filepath.Join(out, "app.second")))
	}
	t.Run("it sees nothing of this machine", func(t *testing.T) {
		o := command(t, "", nil, filepath.Join(out, "app"))
		if o.code != 0 || !strings.Contains(o.stdout, "quoted\n") || !strings.Contains(o.stdout, "/proc proc") ||
			!strings.Contains(o.stdout, "not compiled: compile_error!(") {
			t.Fatalf("the program says %v", o)
		}
		host, err := os.Hostname()
		fatalIf(t, err)
		home, err := os.UserHomeDir()
		fatalIf(t, err)
		for _, hidden := range []string{b.dir, b.home, home, out, "/dev/sd", "/dev/vd", "/dev/nvme", "host: " + host + "\n"} {
			if strings.Contains(o.stdout, hidden) {
				t.Errorf("its build script could see %q: %s", hidden, o.stdout)
			}
		}
	})
	t.Run("cores", func(t *testing.T) {
		if runtime.NumCPU() < 2 {
			fixture.Skip(t, "with one CPU both runs have as many")
		}
		out := t.TempDir()
		b.rebuild("--bin", "cores", "--out", out).want(t, 1, "both runs made another binary", "section \".")
		if r, err := rebuild.ReadReport(out); err != nil || r.Same {
			t.Errorf("the report: %v", err)
		}
	})
	t.Run("another checksum in the lock file", func(t *testing.T) {
		b := *b
		lock := strings.Replace(b.lock, "checksum = \"", "checksum = \"00", 1)
		at := strings.Index(lock, "checksum = \"00") + len("checksum = \"00") + 62
		b.pack(lock[:at] + lock[at+2:])
		b.rebuild("--bin", "app", "--offline").want(t, 3, "no .crate with SHA-256 00")
	})
	t.Run("a lock file that cargo would change", func(t *testing.T) {
		b := *b
		b.pack(strings.Replace(b.lock, " \"quote-me\",\n", "", 1))
		b.rebuild("--bin", "app").want(t, 1, "cargo refuses to build app v1.0.0 with its own Cargo.lock",
			"cannot update the lock file")
	})
	t.Run("an interrupt ends it and leaves nothing", func(t *testing.T) {
		tmp := t.TempDir()
		p := launchIn(t, b.dir, append(b.env, "TMPDIR="+tmp), "cargo-zkp", b.args("--bin", "app")...)
		p.eventually(t, "first run", func() bool { return strings.Contains(p.log.String(), "first run") })
		fatalIf(t, p.cmd.Process.Signal(syscall.SIGINT))
		<-p.done
		if code := p.cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(p.log.String(), "run the same command again") {
			t.Errorf("exit code %d\n%s", code, p.log)
		}
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Errorf("left are %v, %v", left, err)
		}
	})
}

// A rebuilder is a cargo user with a packaged program and an environment.
type rebuilder struct {
	*dependent
	environment string
	lock        string
	crate       string // the file
}

// files of the program and of what it depends on.
const (
	appManifest = `[package]
name = "app"
version = "1.0.0"
edition = "2021"

[[bin]]
name = "app"
path = "app.rs"

[[bin]]
name = "cores"
path = "cores.rs"

[dependencies]
dep = "1"
quote-me = "1"

[target.'cfg(windows)'.dependencies]
elsewhere = "1"

# Only a compiler of the nightly channel, or one that is told to be as free, has this cfg.
[target.'cfg(not(target_thread_local))'.dependencies]
stable-only = "1"
`
	// The script says to cargo what cargo says of crates, and what is in mountinfo, but for what the
	// kernel counts up.
	appScript = `fn main() {
    println!("{{\"reason\":\"compiler-artifact\",\"package_id\":\"registry+x#evil@1.0.0\"}}");
    println!("cargo::warning={{\"version\":1,\"units\":[],\"roots\":[]}}");
    let out = std::env::var("OUT_DIR").unwrap();
    let write = |name: &str, text: String| std::fs::write(format!("{out}/{name}"), text).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut seen = String::new();
    for line in mounts.lines() {
        let f: Vec<&str> = line.split(' ').collect();
        let dash = f.iter().position(|x| *x == "-").unwrap();
        seen += &format!("{} {} {} {}\n", f[3], f[4], f[dash + 1], f[dash + 2]);
    }
    let mut dirs: Vec<String> = std::fs::read_dir("/").unwrap().map(|e| e.unwrap().path().display().to_string()).collect();
    dirs.sort();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let other = std::fs::read_to_string("/build/vendor/elsewhere-1.0.0/src/lib.rs").unwrap();
    write("app", format!("{seen}{dirs:?}\nhost: {host}not compiled: {other}"));
    write("cores", format!("{:?}", std::thread::available_parallelism()));
}
`
)

func newRebuilder(t *testing.T) *rebuilder {
	t.Helper()
	b := &rebuilder{dependent: newDependent(t, nil, ""), environment: realEnvironment(t)}
	b.registry.AddCrate(registrytest.MakeCrate("dep", "1.0.0", map[string]string{
		"build.rs":   "fn main() { println!(\"cargo::rustc-env=SAID=said\"); }\n",
		"src/lib.rs": "pub fn said() -> &'static str { env!(\"SAID\") }\n", "Cargo.toml": `[package]
name = "dep"
version = "1.0.0"
edition = "2021"
build = "build.rs"

[lib]
path = "src/lib.rs"
`}))
	b.registry.AddCrate(registrytest.MakeCrate("quote-me", "1.0.0", map[string]string{
		"src/lib.rs": `#[proc_macro]
pub fn quoted(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
    println!("{{\"version\":1,\"units\":[],\"roots\":[]}}");
    "\"quoted\"".parse().unwrap()
}
`, "Cargo.toml": `[package]
name = "quote-me"
version = "1.0.0"
edition = "2021"

[lib]
path = "src/lib.rs"
proc-macro = true
`}))
	b.registry.Add("elsewhere", "1.0.0")
	b.registry.Add("stable-only", "1.0.0")
	fatalIf(t, os.Remove(filepath.Join(b.dir, "src", "lib.rs")))
	for name, text := range b.files() {
		b.write(name, text)
	}
	b.mustCargo("fetch")
	b.lock = string(read(t, filepath.Join(b.dir, "Cargo.lock")))
	b.pack(b.lock)
	return b
}

// files are those of the program; its settings ask for a linker that is not there, and count for nobody.
func (b *rebuilder) files() map[string]string {
	main := "fn main() { println!(\"{}\\n{} {}\", include_str!(concat!(env!(\"OUT_DIR\"), \"/%s\")), quote_me::quoted!(), dep::said()); }\n"
	return map[string]string{"Cargo.toml": appManifest, "build.rs": appScript, "cores.rs": fmt.Sprintf(main, "cores"),
		"app.rs":  strings.Replace(fmt.Sprintf(main, "app"), "{} {}\", ", "{}\\n{}\", ", 1),
		"date.rs": fmt.Sprintf(main, "date")}
}

// pack packs the program with a lock file.
func (b *rebuilder) pack(lock string) {
	b.t.Helper()
	files := b.files()
	files["Cargo.lock"] = lock
	files[".cargo/config.toml"] = "[build]\nrustc = \"/nonexistent\"\n"
	files["rust-toolchain.toml"] = "[toolchain]\nchannel = \"1.0.0\"\n"
	b.crate = filepath.Join(b.t.TempDir(), "app-1.0.0.crate")
	fatalIf(b.t, os.WriteFile(b.crate, registrytest.MakeCrate("app", "1.0.0", files), 0o644))
}

func (b *rebuilder) args(more ...string) []string {
	return append([]string{"rebuild", b.crate, "--environment", b.environment, "--color", "never"}, more...)
}

func (b *rebuilder) rebuild(more ...string) outcome {
	b.t.Helper()
	return command(b.t, b.dir, b.env, program(b.t, "cargo-zkp"), b.args(more...)...)
}

// realEnvironment makes an environment of the files of this machine's packages: a C compiler and what it
// depends on, which dpkg knows.
func realEnvironment(t *testing.T) string {
	t.Helper()
	fixture.Need(t, "bwrap", "dpkg-query", "gcc")
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	dirs := map[string]bool{}
	for _, path := range packagedFiles(t, "gcc", "libc6-dev", "dash", "tar", "coreutils", "base-files") {
		below := func(dir string) bool { return strings.HasPrefix(path, dir) }
		if slices.ContainsFunc([]string{"/usr/", "/etc/alternatives/", "/bin", "/lib", "/sbin"}, below) &&
			!slices.ContainsFunc([]string{"/usr/share/", "/usr/include/", "/usr/lib/systemd/"}, below) {
			pack(t, w, dirs, path)
		}
	}
	fatalIf(t, w.Close())
	dir := filepath.Join(t.TempDir(), "environment")
	_, err := sandbox.ImportEnvironment(t.Context(), &packed, dir)
	fatalIf(t, err)
	return dir
}

// packagedFiles returns the paths of what packages and all that they depend on have installed, with the
// names that the system itself adds.
func packagedFiles(t *testing.T, packages ...string) []string {
	t.Helper()
	found := map[string]bool{}
	for next := packages; len(next) > 0; {
		name := next[0]
		next = next[1:]
		if found[name] {
			continue
		}
		found[name] = true
		about, err := exec.Command("dpkg-query", "-W", "-f", "${Depends}, ${Pre-Depends}", name).Output()
		if err != nil {
			delete(found, name) // an alternative, or virtual
			continue
		}
		for _, d := range strings.FieldsFunc(string(about), func(r rune) bool { return r == ',' || r == '|' }) {
			if f := strings.FieldsFunc(d, func(r rune) bool { return r == ' ' || r == ':' || r == '(' }); len(f) > 0 {
				next = append(next, f[0])
			}
		}
	}
	paths := map[string]bool{"/bin": true, "/lib": true, "/lib64": true, "/bin/sh": true, "/usr/bin/sh": true, "/usr/bin/cc": true,
		"/etc/alternatives/cc": true}
	for name := range found {
		list, err := exec.Command("dpkg-query", "-L", name).Output()
		if err != nil {
			continue // it is known, and not installed: what needed it has another one
		}
		for line := range strings.Lines(string(list)) {
			paths[strings.TrimSpace(line)] = true
		}
	}
	all := make([]string, 0, len(paths))
	for path := range paths {
		all = append(all, path)
	}
	slices.Sort(all)
	return all
}

// pack adds a file, directory or link of this machine to a tar, where its own path leads.
func pack(t *testing.T, w *tar.Writer, done map[string]bool, path string) {
	t.Helper()
	if above, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(above, filepath.Base(path)) // /bin may be /usr/bin
	}
	info, err := os.Lstat(path)
	if done[path] || errors.Is(err, fs.ErrNotExist) || path == "/" {
		return
	}
	fatalIf(t, err)
	done[path] = true
	if above := filepath.Dir(path); above != "/" {
		pack(t, w, done, above)
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err = os.Readlink(path)
		fatalIf(t, err)
	}
	h, err := tar.FileInfoHeader(info, target)
	fatalIf(t, err)
	h.Name = strings.TrimPrefix(path, "/")
	fatalIf(t, w.WriteHeader(h))
	if info.Mode().IsRegular() {
		_, err := w.Write(read(t, path))
		fatalIf(t, err)
	}
}
