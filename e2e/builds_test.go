package e2e

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/build"
	"cratelog/build/rebuild"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/registrytest"
)

// TestABinaryIsWhatItsBuildersSay goes the whole way of a binary: two members of a hidden set and one of a named one
// rebuild a program, each with a home of his own, and attest it in a log; a user without a network verifies it.
// Then everything about it is as it should not be. The source claims are forged, all about builds is real.
func TestABinaryIsWhatItsBuildersSay(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles a dozen times")
	}
	b := newBuildSite(t)
	b.logSources()
	fresh := read(t, b.alpha.path("key.journal")) // what a backup would hold
	for i, m := range []*member{b.alpha, b.beta, b.gamma} {
		var more []string
		if m == b.gamma {
			more = []string{"--toolchain", b.overfull()}
		}
		b.builds(m, "app-1.0.0", more...)
		b.attest(m, b.say(m), "").want(t, 0, "Attested app of app v1.0.0", fmt.Sprintf("entry %d of the log", b.leaves+2*i))
	}
	binary := read(t, b.say(b.alpha))
	for _, m := range []*member{b.beta, b.gamma} {
		if !bytes.Equal(read(t, b.say(m)), binary) {
			t.Fatalf("the builder in %s made another binary: %v, and not %v", m.dir, command(t, "", nil, b.say(m)),
				command(t, "", nil, b.say(b.alpha)))
		}
	}
	t.Run("what lies beside the compiler is not there when it runs", func(t *testing.T) {
		// The builder gamma's has a library more, and the same id: the log took no other.
		if o := command(t, "", nil, b.say(b.gamma)); o.code != 0 || !strings.Contains(o.stdout, "librustc_driver") ||
			strings.Contains(o.stdout, "libextra") {
			t.Errorf("its build script saw %v", o)
		}
	})

	u := b.newUser(binary)
	u.policy(b.quiet, 2, "")
	u.online("--join", "early.builds").want(t, 0, "2 of 3 of set quiet say so", "shows no other result")
	b.hostileLock(u)
	b.oddBuild()
	b.copiedTag(b.say(b.alpha))
	b.restoredJournal(fresh)
	b.dissents(u)
	b.withdraws(u)
	b.site.stopAll()

	t.Run("offline", func(t *testing.T) { b.offline(t, u) })
}

// buildSite is a log that takes builds, what is built, and its builders.
type buildSite struct {
	*dependent
	environment string            // directory
	ids         [2]string         // of toolchain and environment
	crates      string            // directory with all .crates
	raw         map[string][]byte // by NAME-VERSION
	leaves      int               // of the log before the first build, seals too
	dissented   int               // index of the entry of who dissents

	alpha, beta, delta, gamma, epsilon *member // the first three are of the set quiet, the others of the set known
	quiet, known                       *build.Set
}

// member is a builder: a directory with his key, home and settings.
type member struct {
	dir string
	env []string
	set string // file
}

func (m *member) path(name string) string { return filepath.Join(m.dir, name) }

const saysManifest = `[package]
name = "app"
version = "%s"
edition = "2021"

[[bin]]
name = "app"
path = "app.rs"

[[bin]]
name = "date"
path = "date.rs"

[dependencies]
dep = "1"
quote-me = "1"
pad = "1"
`

// newBuildSite packs a program with three dependencies, enrolls five builders in two sets, and starts a log that
// takes what they say.
func newBuildSite(t *testing.T) *buildSite {
	t.Helper()
	b := &buildSite{dependent: newDependent(t, nil, ""), environment: realEnvironment(t), raw: map[string][]byte{}}
	b.pack()
	id := func(o outcome, key string) string {
		for line := range strings.Lines(o.stdout) {
			if value, ok := strings.CutPrefix(line, key+" "); ok && o.code == 0 {
				return strings.TrimSpace(value)
			}
		}
		t.Fatalf("no line %q in %v", key, o)
		return ""
	}
	b.ids[0] = id(b.zkp("toolchain"), "toolchain")
	b.ids[1] = id(b.zkp("environment", "show", b.environment), "environment")
	b.alpha, b.beta, b.delta = b.member("alpha"), b.member("beta"), b.member("delta")
	b.gamma, b.epsilon = b.member("gamma", "--named"), b.member("epsilon", "--named")
	b.quiet = b.set("quiet", b.alpha, b.beta, b.delta)
	b.known = b.set("known", b.gamma, b.epsilon)
	b.site = newSiteWith(t, func(s *site) string {
		return fmt.Sprintf("development = true\n\n[builds]\nsets = [%s, %s]\ntoolchains = [%q]\nenvironments = [%q]\n",
			quoted(b.alpha.set), quoted(b.gamma.set), b.ids[0], b.ids[1])
	})
	b.site.addLogURL()
	for _, m := range []*member{b.alpha, b.beta, b.delta, b.gamma, b.epsilon} {
		write(t, m.path("zkp.toml"), "version = 1\ndevelopment = true\ntrust = ["+quoted(b.site.policy)+"]\nrequire = [\"app\"]\n")
	}
	return b
}

// pack packs the crates: app 1.0.0 as its commit has it, and app 1.0.1 with honest sources and the lock file of
// somebody who prefers an older dep.
func (b *buildSite) pack() {
	b.t.Helper()
	lib := func(name, version, more, source string) {
		b.raw[name+"-"+version] = registrytest.MakeCrate(name, version, map[string]string{"src/lib.rs": source,
			"Cargo.toml": fmt.Sprintf("[package]\nname = %q\nversion = %q\nedition = \"2021\"\n\n[lib]\npath = \"src/lib.rs\"\n%s",
				name, version, more)})
		b.registry.AddCrate(b.raw[name+"-"+version])
	}
	lib("dep", "1.0.0", "", "pub const SAID: &str = \"a hole that 1.0.1 closes\";\n")
	lib("dep", "1.0.1", "", "pub const SAID: &str = \"said\";\n")
	lib("pad", "1.0.0", "", "pub fn pad() -> usize { 7 }\n")
	lib("quote-me", "1.0.0", "proc-macro = true\n", "#[proc_macro]\npub fn quoted(_: proc_macro::TokenStream) -> "+
		"proc_macro::TokenStream { \"\\\"quoted\\\"\".parse().unwrap() }\n")
	main := "fn main() { println!(\"{} {} {}\\n{}\", dep::SAID, quote_me::quoted!(), pad::pad(), " +
		"include_str!(concat!(env!(\"OUT_DIR\"), \"/%s\"))); }\n"
	files := map[string]string{"app.rs": fmt.Sprintf(main, "libraries"), "date.rs": fmt.Sprintf(main, "date"),
		"Cargo.toml": fmt.Sprintf(saysManifest, "1.0.0"), "build.rs": `fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    let mut names: Vec<_> = std::fs::read_dir("/build/rust/lib").unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    std::fs::write(format!("{out}/libraries"), format!("{names:?}")).unwrap();
    std::fs::write(format!("{out}/date"), format!("{:?}", std::time::SystemTime::now())).unwrap();
}
`}
	fatalIf(b.t, os.RemoveAll(filepath.Join(b.dir, "src")))
	for name, text := range files {
		b.write(name, text)
	}
	b.mustCargo("fetch")
	lock := string(read(b.t, filepath.Join(b.dir, "Cargo.lock")))
	files["Cargo.lock"] = lock
	b.raw["app-1.0.0"] = registrytest.MakeCrate("app", "1.0.0", files)
	sum := func(name string) string { return fmt.Sprintf("%x", sha256.Sum256(b.raw[name])) }
	if !strings.Contains(lock, sum("dep-1.0.1")) {
		b.t.Fatalf("the commit's lock file is\n%s", lock)
	}
	lock = strings.Replace(lock, sum("dep-1.0.1"), sum("dep-1.0.0"), 1)
	lock = strings.Replace(lock, "\"dep\"\nversion = \"1.0.1\"", "\"dep\"\nversion = \"1.0.0\"", 1)
	files["Cargo.lock"] = strings.Replace(lock, "\"app\"\nversion = \"1.0.0\"", "\"app\"\nversion = \"1.0.1\"", 1)
	files["Cargo.toml"] = fmt.Sprintf(saysManifest, "1.0.1")
	b.raw["app-1.0.1"] = registrytest.MakeCrate("app", "1.0.1", files)
	b.crates = b.t.TempDir()
	for name, raw := range b.raw {
		fatalIf(b.t, os.WriteFile(filepath.Join(b.crates, name+".crate"), raw, 0o644))
	}
	b.write("Cargo.lock", lock) // so that cargo fetches the older dep as well
}

// member makes a builder's home and key.
func (b *buildSite) member(name string, more ...string) *member {
	b.t.Helper()
	m := &member{dir: b.t.TempDir()}
	m.env = append(slices.Clone(b.env), "CARGO_HOME="+m.path("cargo"), "HOME="+m.path("home"))
	fatalIf(b.t, os.Mkdir(m.path("home"), 0o755))
	b.as(m, append([]string{"builder", "keygen", "key"}, more...)...).want(b.t, 0, "Created", "key.journal")
	set := "quiet"
	if len(more) > 0 {
		set = "known"
	}
	b.as(m, "builder", "enroll", "key", "--set", set, "--name", name, "--contact", name+"@builders.example",
		"--development").want(b.t, 0, "hand it to who keeps the set")
	return m
}

// as runs cargo-zkp as a builder, in his directory.
func (b *buildSite) as(m *member, args ...string) outcome {
	b.t.Helper()
	return command(b.t, m.dir, m.env, program(b.t, "cargo-zkp"), args...)
}

// set makes a set of members.
func (b *buildSite) set(name string, members ...*member) *build.Set {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), name+".set")
	args := []string{"builder", "set", name, "-o", file}
	for _, m := range members {
		m.set = file
		args = append(args, m.path("key.enrollment"))
	}
	zkp(b.t, args...).want(b.t, 0, "Created")
	s, err := build.ReadSet(file)
	fatalIf(b.t, err)
	return s
}

// logSources logs all but the older dep. The commit of app 1.0.1 has another lock file than the .crate, which
// is therefore unproven.
func (b *buildSite) logSources() {
	b.t.Helper()
	f, err := forge.Default()
	fatalIf(b.t, err)
	for _, name := range []string{"dep-1.0.1", "pad-1.0.0", "quote-me-1.0.0", "app-1.0.0", "app-1.0.1"} {
		at := strings.LastIndex(name, "-")
		src := &entry.Source{Commit: sha1.Sum([]byte(name))}
		if name == "app-1.0.1" {
			src.Unproven = []string{"Cargo.lock"}
		}
		e, err := forge.Claim(b.raw[name], name[:at], name[at+1:], src)
		fatalIf(b.t, err)
		list, err := forge.List(b.raw[name], e)
		fatalIf(b.t, err)
		fatalIf(b.t, f.Prove(e, list))
		text, err := e.Marshal()
		fatalIf(b.t, err)
		_, err = b.log().Submit(b.t.Context(), text, b.raw[name], nil)
		fatalIf(b.t, err)
		b.leaves += 2 // a seal behind each
	}
}

func (b *buildSite) log() *client.Log { return &client.Log{URL: b.site.log.url} }

// rebuild rebuilds a program as a builder, who has his own cargo home and keeps the toolchain in a cache of his own.
func (b *buildSite) rebuild(m *member, crate, out string, more ...string) outcome {
	b.t.Helper()
	if _, err := os.Stat(m.path("cargo")); err != nil {
		for _, lock := range []string{"", "--locked"} { // the newer dep, and the older one
			old := read(b.t, filepath.Join(b.dir, "Cargo.lock"))
			if lock == "" {
				fatalIf(b.t, os.Remove(filepath.Join(b.dir, "Cargo.lock")))
			}
			o := command(b.t, b.dir, m.env, "cargo", "fetch")
			o.want(b.t, 0)
			b.write("Cargo.lock", string(old))
		}
	}
	return b.as(m, append([]string{"rebuild", filepath.Join(b.crates, crate+".crate"), "--environment", b.environment,
		"--out", m.path(out), "--policy", "zkp.toml", "--color", "never"}, more...)...)
}

func (b *buildSite) builds(m *member, crate string, more ...string) {
	b.t.Helper()
	o := b.rebuild(m, crate, crate, append(more, "--bin", "app")...)
	o.want(b.t, 0, "Written")
	if !strings.Contains(o.stdout, "versions     chosen by the commit") || !strings.Contains(o.stdout, b.ids[0]) {
		b.t.Errorf("%v", o)
	}
}

// say is the binary that a member has built.
func (b *buildSite) say(m *member) string { return m.path("app-1.0.0/app") }

func (b *buildSite) attest(m *member, file string, more ...string) outcome {
	b.t.Helper()
	args := []string{"attest", file, "--key", "key", "--set", m.set, "--log", b.site.log.url, "--policy", "zkp.toml"}
	if m.set == b.alpha.set {
		args = append(args, "--development")
	}
	for _, a := range more {
		if a != "" {
			args = append(args, a)
		}
	}
	return b.as(m, args...)
}

// overfull is a copy of the toolchain with a library more, of a name that a compiler would load.
func (b *buildSite) overfull() string {
	b.t.Helper()
	o := command(b.t, b.dir, b.env, "rustc", "--print", "sysroot")
	if o.code != 0 {
		b.t.Fatalf("%v", o)
	}
	dir := filepath.Join(b.t.TempDir(), "rust")
	from := strings.TrimSpace(o.stdout)
	if command(b.t, "", nil, "cp", "-al", from, dir).code != 0 { // links do where one disk has both
		fatalIf(b.t, os.RemoveAll(dir))
		fatalIf(b.t, os.CopyFS(dir, os.DirFS(from)))
	}
	write(b.t, filepath.Join(dir, "lib", "libextra.so"), "not a library")
	return dir
}

// forgery is the report of a builder whose compiler adds a back door.
func (b *buildSite) forgery(m *member) string {
	b.t.Helper()
	r, err := rebuild.ReadReport(filepath.Dir(b.say(b.alpha)))
	fatalIf(b.t, err)
	r.Artifact = append(r.Artifact, "with a back door"...)
	r.Claim.Artifact = sha256.Sum256(r.Artifact)
	fatalIf(b.t, r.Write(m.path("forgery")))
	return m.path("forgery/app")
}

// user is who has got a binary, all .crates, and no cargo home.
type user struct {
	b   *buildSite
	dir string
	env []string
}

func (b *buildSite) newUser(binary []byte) *user {
	b.t.Helper()
	u := &user{b: b, dir: b.t.TempDir()}
	u.env = append(slices.Clone(b.env), "CARGO_HOME="+u.path("cargo"), "HOME="+u.dir)
	fatalIf(b.t, os.WriteFile(u.path("app"), binary, 0o755))
	return u
}

func (u *user) path(name string) string { return filepath.Join(u.dir, name) }

// policy writes zkp.toml.
func (u *user) policy(set *build.Set, need int, more string) {
	u.b.t.Helper()
	text, err := set.Marshal()
	fatalIf(u.b.t, err)
	write(u.b.t, u.path(set.Name+".set"), string(text))
	write(u.b.t, u.path("zkp.toml"), fmt.Sprintf("version = 1\ndevelopment = true\ntrust = [%s]\n[builds]\nset = \"%s.set\"\n"+
		"digest = \"%x\"\nneed = %d\ntoolchains = [%q]\nenvironments = [%q]\n%s", quoted(u.b.site.policy), set.Name, set.Digest(),
		need, u.b.ids[0], u.b.ids[1], more))
}

// online verifies app 1.0.0 with the log's help.
func (u *user) online(more ...string) outcome {
	u.b.t.Helper()
	return command(u.b.t, u.dir, u.env, program(u.b.t, "cargo-zkp"), append([]string{"verify", "--binary", "app", "app@1.0.0",
		"--policy", "zkp.toml", "--crates", u.b.crates}, more...)...)
}

// without verifies in a network that has nothing in it, not even the log's port.
func (u *user) without(t *testing.T, binary, what, builds string, more ...string) outcome {
	t.Helper()
	return command(t, u.dir, u.env, "bwrap", append([]string{"--dev-bind", "/", "/", "--unshare-net", program(t, "cargo-zkp"),
		"verify", "--binary", binary, what, "--bundle", builds, "--policy", "zkp.toml", "--crates", u.b.crates,
		"--offline"}, more...)...)
}

// hostileLock: honest sources, and a lock file that pins another version than the commit's.
func (b *buildSite) hostileLock(u *user) {
	b.t.Helper()
	const rule = "--require-source"
	b.rebuild(b.gamma, "app-1.0.1", "app-1.0.1", "--bin", "app").want(b.t, 1, "dep v1.0.0",
		"whoever packaged app chose it: its Cargo.lock is not proven", "nothing was built")
	o := b.rebuild(b.gamma, "app-1.0.1", "app-1.0.1", "--bin", "app", rule, "crate")
	o.want(b.t, 0, "were chosen by whoever packaged app")
	if !strings.Contains(o.stdout, "chosen by whoever packaged, not proven") {
		b.t.Errorf("%v", o)
	}
	file := b.gamma.path("app-1.0.1/app")
	b.attest(b.gamma, file).want(b.t, 0, "Attested app of app v1.0.1")
	if o := command(b.t, "", nil, file); !strings.Contains(o.stdout, "a hole that 1.0.1 closes") {
		b.t.Fatalf("the lock file did not choose: %v", o)
	}
	fatalIf(b.t, os.WriteFile(u.path("hostile"), read(b.t, file), 0o755))
	u.policy(b.known, 1, "")
	ask := []string{"verify", "--binary", "hostile", "app@1.0.1", "--policy", "zkp.toml", "--crates", b.crates}
	command(b.t, u.dir, u.env, program(b.t, "cargo-zkp"), append(ask, "--join", "hostile.builds")...).want(b.t, 1,
		"the versions were chosen by whoever packaged it, not by the commit: dep 1.0.0 (not logged)")
	u.policy(b.known, 1, "require-source = \"crate\"\n")
	command(b.t, u.dir, u.env, program(b.t, "cargo-zkp"), ask...).want(b.t, 0, "3 crates compiled, 2 proven, 1 not: dep 1.0.0",
		"versions chosen by whoever packaged, not proven")
}

// oddBuild: nobody attests what comes out differently twice.
func (b *buildSite) oddBuild() {
	b.t.Helper()
	b.rebuild(b.alpha, "app-1.0.0", "odd", "--bin", "date").want(b.t, 1, "both runs made another binary", "section \".")
	b.attest(b.alpha, b.alpha.path("odd/date")).want(b.t, 1, "What differs is never attested", "section \".")
	if _, err := os.Stat(b.alpha.path("odd/date.entry")); err == nil {
		b.t.Error("there is an entry of it")
	}
}

// copiedTag: with another's tag and a proof that is not his nobody is named, or kept from speaking.
func (b *buildSite) copiedTag(file string) {
	b.t.Helper()
	e, err := entry.Parse(read(b.t, file+".entry"))
	fatalIf(b.t, err)
	claim := *e.Claim.(*entry.Build)
	claim.Artifact[0] ^= 1
	e.Claim = &claim
	text, err := e.Marshal()
	fatalIf(b.t, err)
	_, err = b.log().SubmitBuild(b.t.Context(), text, read(b.t, file+".list"), nil)
	var refused *client.SubmitError
	if !errors.As(err, &refused) || refused.Reason != "proof-invalid" {
		b.t.Errorf("the copied tag: %v", err)
	}
	if all, err := b.log().Contradictions(b.t.Context(), 0, 9); err != nil || len(all) > 0 {
		b.t.Errorf("%d builders are accused, %v", len(all), err)
	}
}

// restoredJournal: with the journal from before the attestation, alpha says nothing, and is told.
func (b *buildSite) restoredJournal(fresh []byte) {
	b.t.Helper()
	kept := read(b.t, b.alpha.path("key.journal"))
	fatalIf(b.t, os.WriteFile(b.alpha.path("key.journal"), fresh, 0o600))
	ask := []string{"builder", "status", "--key", "key", "--log", b.site.log.url, "--policy", "zkp.toml"}
	for _, what := range [][]string{nil, {"app@1.0.0"}} {
		b.as(b.alpha, append(ask, what...)...).want(b.t, 1, "app 1.0.0: entry", "its journal does not know it",
			"somebody else has the key, or the journal is an old one")
	}
	b.attest(b.alpha, b.say(b.alpha)).want(b.t, 1, "that its journal does not know", "the key is stolen")
	b.attest(b.alpha, b.forgery(b.alpha), "--dissent").want(b.t, 1, "as entry", "nothing was attested",
		"two results under one tag unmask their builder")
	if got := read(b.t, b.alpha.path("key.journal")); !bytes.Equal(got, fresh) {
		b.t.Errorf("the journal has got %q", got)
	}
	b.as(b.alpha, append(ask, "app@1.0.0", "--adopt")...).want(b.t, 0, "Adopted", "all in its journal, which knows 1")
	b.attest(b.alpha, b.forgery(b.alpha), "--dissent").want(b.t, 1, "nothing was attested")
	fatalIf(b.t, os.WriteFile(b.alpha.path("key.journal"), kept, 0o600))
	b.as(b.alpha, ask...).want(b.t, 0, "1 attestations with this key, all in its journal, which knows 1")
}

// dissents: the third hidden member has made something else, and must say that he means it.
func (b *buildSite) dissents(u *user) {
	b.t.Helper()
	file := b.forgery(b.delta)
	sum := fmt.Sprintf("%x", sha256.Sum256(read(b.t, u.path("app"))))
	b.attest(b.delta, file).want(b.t, 1, "other builders say that something else comes out", sum, "--dissent")
	b.attest(b.delta, file, "--dissent").want(b.t, 0, "entry")
	rows, err := b.log().Builds(b.t.Context(), b.subject())
	fatalIf(b.t, err)
	b.dissented = int(rows[len(rows)-1].Index)
	u.policy(b.quiet, 2, "")
	u.online("--join", "late.builds").want(b.t, 1, "2 of 3 of set quiet say that this is app",
		"1 say that the same build makes another",
		fmt.Sprintf("(entry %d)", b.dissented), "the policy tolerates 0")
}

func (b *buildSite) subject() entry.Subject {
	return entry.Subject{Registry: entry.DefaultRegistry, Name: "app", Version: "1.0.0"}
}

// withdraws: of a set that was withdrawn the log takes nothing new, and gives what it has.
func (b *buildSite) withdraws(u *user) {
	b.t.Helper()
	b.site.log.stop()
	old := b.site.log.url
	settings := string(read(b.t, b.site.path("logd.toml")))
	write(b.t, b.site.path("logd.toml"), settings+fmt.Sprintf("withdrawn = [\"%x\"]\n", b.known.Root()))
	b.site.startLog()
	trust := string(read(b.t, b.site.policy))
	write(b.t, b.site.policy, strings.Replace(trust, old, b.site.log.url, 1))
	dir := b.epsilon.path("app-1.0.0")
	fatalIf(b.t, os.CopyFS(dir, os.DirFS(filepath.Dir(b.say(b.alpha)))))
	for _, ext := range []string{".entry", ".list", ".tlog-proof"} {
		fatalIf(b.t, os.Remove(b.say(b.epsilon)+ext))
	}
	b.attest(b.epsilon, b.say(b.epsilon), "--dissent").want(b.t, 1, "which was withdrawn")
	u.policy(b.known, 1, "")
	u.online("--join", "withdrawn.builds").want(b.t, 0, "1 of 2 of set known say so: gamma")
}

// offline is what the user finds out about files, with no log.
func (b *buildSite) offline(t *testing.T, u *user) {
	app := func(builds string) outcome { t.Helper(); return u.without(t, "app", "app@1.0.0", builds) }
	u.policy(b.quiet, 2, "")
	o := app("early.builds")
	o.want(t, 0, "Verified app: the binary app of app v1.0.0", "2 of 3 of set quiet say so", "3 crates compiled, 3 proven",
		"versions chosen by the commit", "offline: what the log shows was cosigned", "UNSAFE development keys")
	if strings.Contains(o.stderr, "alpha") || strings.Contains(o.stderr, "beta") {
		t.Errorf("it names members of a hidden set: %v", o)
	}
	u.policy(b.known, 1, "")
	app("early.builds").want(t, 0, "1 of 2 of set known say so: gamma", "shows no other result")

	t.Run("a member of another set says otherwise", func(t *testing.T) {
		o := app("late.builds")
		o.want(t, 0, "1 of 2 of set known say so: gamma", "shows another result only of those who do not count", "the same build makes ",
			"as 1 entry says of those who do not count")
		if strings.Contains(o.stderr, "no other result") {
			t.Errorf("the log has another result: %v", o)
		}
	})
	t.Run("one byte", func(t *testing.T) {
		changed := read(t, u.path("app"))
		changed[len(changed)/2] ^= 1
		fatalIf(t, os.WriteFile(u.path("changed"), changed, 0o755))
		u.without(t, "changed", "app@1.0.0", "early.builds").want(t, 1, "no builder made that", "Do not run it")
	})
	t.Run("another crate", func(t *testing.T) {
		u.without(t, "app", "app@1.0.1", "early.builds").want(t, 1, "the entries are about binaries of app 1.0.0")
	})
	t.Run("another toolchain", func(t *testing.T) {
		text := string(read(t, u.path("zkp.toml")))
		write(t, u.path("zkp.toml"), strings.Replace(text, b.ids[0], strings.Repeat("ab", 32), 1))
		app("early.builds").want(t, 1, "it was built with the toolchain "+b.ids[0], "does not list")
		write(t, u.path("zkp.toml"), strings.Replace(text, b.ids[1], strings.Repeat("ab", 32), 1))
		app("early.builds").want(t, 1, "it was built in the environment "+b.ids[1], "does not list")
	})
	t.Run("another file of the set", func(t *testing.T) {
		write(t, u.path("known.set"), string(read(t, u.path("quiet.set"))))
		app("early.builds").want(t, 2, "known.set has the SHA-256", "builds.digest")
	})
	t.Run("a set of which nobody spoke", func(t *testing.T) {
		other := *b.known
		other.Name, other.Members = "others", other.Members[1:]
		u.policy(&other, 1, "")
		app("early.builds").want(t, 1, "only as members of sets say that the policy does not list",
			"of the set others nobody does")
	})
	t.Run("too few", func(t *testing.T) {
		u.policy(b.quiet, 3, "")
		app("early.builds").want(t, 1, "2 of 3 of set quiet say that this is app", "and the policy needs 3")
	})
	t.Run("until", func(t *testing.T) {
		u.policy(b.quiet, 2, fmt.Sprintf("until = %d\n", b.leaves+2)) // beta's entry
		app("early.builds").want(t, 1, "1 of 3 of set quiet", "the policy needs 2")
		u.policy(b.quiet, 2, fmt.Sprintf("until = %d\n", b.dissented))
		app("late.builds").want(t, 0, "2 of 3 of set quiet say so", "1 entry stands at or behind the index")
	})
	t.Run("dissent", func(t *testing.T) {
		u.policy(b.quiet, 2, "")
		app("late.builds").want(t, 1, "say that the same build makes another result", "the policy tolerates 0")
	})
	t.Run("a hostile lock file", func(t *testing.T) {
		u.policy(b.known, 1, "")
		hostile := func() outcome { return u.without(t, "hostile", "app@1.0.1", "hostile.builds") }
		hostile().want(t, 1, "chosen by whoever packaged it, not by the commit", "dep 1.0.0 (not logged")
		u.policy(b.known, 1, "require-source = \"crate\"\n")
		hostile().want(t, 0, "versions chosen by whoever packaged, not proven", "1 not: dep 1.0.0")
	})
	t.Run("a set that was withdrawn", func(t *testing.T) {
		u.policy(b.known, 1, "")
		app("withdrawn.builds").want(t, 0, "1 of 2 of set known say so: gamma")
	})
}
