package policy

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/build"
	"cratelog/client"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	fatalIf(t, os.MkdirAll(filepath.Dir(path), 0o755))
	fatalIf(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// trustText is a trust file for one log, with a witness unless there is to be none.
func trustText(origin string, witness bool) string {
	log := "log " + testlog.LogKey(origin).VKey
	if !witness {
		return log + "\nquorum none\n"
	}
	return log + " https://" + origin + "\nwitness W " + testlog.WitnessKey("witness.example", time.Time{}).VKey + "\nquorum W\n"
}

// dir is a directory with two trust files, the programs that ship, and a user's
// directory with a trust file of its own.
func dir(t testing.TB) (dir, user string) {
	t.Helper()
	dir, user = t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		"a.policy":      trustText("a.example/log", true),
		"b.policy":      trustText("b.example/log", true),
		"again.policy":  trustText("a.example/log", true),
		"none.policy":   trustText("none.example/log", false),
		"broken.policy": "log me\nquorum none\n",
		"nolog.policy":  "quorum none\n",
		"trust.policy":  trustText("template.example/log", true),

		"keys/maintainers.pub": publicKey(t),
		"keys/other.pub":       publicKey(t),
	} {
		write(t, filepath.Join(dir, path), text)
	}
	write(t, filepath.Join(user, "trust", "user.policy"), trustText("user.example/log", true))
	write(t, filepath.Join(user, "trust", "README"), "not a policy")
	return dir, user
}

func load(t testing.TB, text string) (*Policy, error) {
	t.Helper()
	d, user := dir(t)
	return Load(write(t, filepath.Join(d, FileName), text), user)
}

func mustLoad(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := load(t, text)
	fatalIf(t, err)
	return p
}

func devProgram(t testing.TB) proofcheck.Program {
	t.Helper()
	all, err := proofcheck.Embedded()
	fatalIf(t, err)
	for _, p := range all {
		if p.Development() {
			return p
		}
	}
	fixture.Skip(t, "no development program ships")
	return proofcheck.Program{}
}

func TestEveryKeyIsRead(t *testing.T) {
	p := mustLoad(t, `
version = 1
trust = ["a.policy", "b.policy"]
development = true
max-age = "30d"
allow-unproven = []
require = ["serde", "tokio@1.50.0", "my-*"]
[[exception]]
crate = "x"
version = "1.2.3"
reason = "old"
expires = "2027-01-31"
[[allow]]
crate = "y"
unproven = ["Cargo.toml"]
reason = "read"
expires = "2027-01-31"
`)
	if len(p.Trust) != 2 || p.Trust[1].Policy.Logs()[0].Origin != "b.example/log" || !bytes.Contains(p.Trust[0].Text, []byte("a.example")) {
		t.Errorf("trust: %+v", p.Trust)
	}
	if !p.Development || p.MaxAge != 30*24*time.Hour || len(p.AllowUnproven) != 0 || p.TrustDir != "" {
		t.Errorf("%+v", p)
	}
	if len(p.Require) != 3 || p.Require[1].String() != "tokio@1.50.0" {
		t.Errorf("require: %v", p.Require)
	}
	if len(p.Exceptions) != 1 || p.Exceptions[0].String() != "x@1.2.3" || p.Exceptions[0].Expires.String() != "2027-01-31" {
		t.Errorf("exceptions: %v", p.Exceptions)
	}
	if got := p.Rules("y", "1.0.0", now).AllowUnproven; !slices.Equal(got, []string{"Cargo.toml"}) {
		t.Errorf("y may have unproven: %q", got)
	}
	if got := p.Rules("y", "1.0.0", now.AddDate(1, 0, 0)).AllowUnproven; len(got) != 0 {
		t.Errorf("after it expired, y may have unproven: %q", got)
	}
	if got := p.Rules("z", "1.0.0", now); len(got.AllowUnproven) != 0 || got.Name != "z" || got.Version != "1.0.0" || got.MaxAge != p.MaxAge || !got.Now.Equal(now) {
		t.Errorf("the rules of z: %+v", got)
	}
}

func TestDefaultsAreStrict(t *testing.T) {
	p := mustLoad(t, "version = 1\n")
	if p.Development || len(p.Require) != 0 || !slices.Equal(p.AllowUnproven, []string{"Cargo.lock"}) {
		t.Errorf("%+v", p)
	}
	if len(p.Trust) != 1 || p.Trust[0].Policy.Logs()[0].Origin != "user.example/log" {
		t.Errorf("the user's trust files are not the default: %+v", p.Trust)
	}
	for _, prog := range p.Programs {
		if prog.Development() {
			t.Errorf("accepted without being asked: %v", prog)
		}
	}
	if p.Rules("x", "1.0.0", now).AllowNoWitnesses {
		t.Error("logs without witnesses are accepted")
	}
	_, user := dir(t)
	d, err := Load("", user)
	fatalIf(t, err)
	if d.Path != "" || len(d.Trust) != 1 || d.Development || len(d.Require) != 0 {
		t.Errorf("default: %+v", d)
	}
	if d, err = Load("", filepath.Join(user, "nothing")); err != nil || len(d.Trust) != 0 {
		t.Errorf("without a directory: %+v, %v", d, err)
	}
}

func TestMistakesAreNamedWithFileAndKey(t *testing.T) {
	const ex = "version = 1\n[[exception]]\ncrate = \"x\"\nreason = \"r\"\nexpires = \"2027-01-31\"\n"
	edit := func(from, to string) string { return strings.Replace(ex, from, to, 1) }
	for _, c := range []struct{ text, want string }{
		{"", `zkp.toml: key "version": is missing; write version = 1 at the top`},
		{"version = 2", `zkp.toml: key "version": is 2, this program knows version 1; a newer program may read this file`},
		{"version = 1\nmax_age = \"1d\"", `zkp.toml line 2: unknown key "max_age"; correct its spelling or remove it`},
		{"version = 1\nRequire = \"all\"", `unknown key "Require"`},
		{"version = 1\n[[exceptions]]\ncrate = \"x\"", `key "exceptions": must be text in quotes`},
		{"version = 1\n[[exception]]\ncrates = \"x\"", `unknown key "exception.crates"`},
		{"version = 1\nmax-age = \"30 days\"", `zkp.toml: key "max-age": "30 days" is not an age; write it like "30d" or "36h", or "0" for any age`},
		{"version = 1\nmax-age = \"-1h\"", `is not an age`},
		{"version = 1\nmax-age = \"030d\"", `is not an age`},
		{"version = 1\nmax-age = 30", `zkp.toml line 2: key "max-age": `},
		{"version = 1\ntrust = []", `key "trust": is empty, so no log would be believed`},
		{"version = 1\ntrust = [\"\"]", `key "trust": must be at most 4096 names of files, none of them empty`},
		{"version = 1\ntrust = [\"gone.policy\"]", `the trust file cannot be read: `},
		{"version = 1\ntrust = [\"broken.policy\"]", `broken.policy: trust file, line 1: the log's key: `},
		{"version = 1\ntrust = [\"nolog.policy\"]", `nolog.policy lists no log, so it makes no log believed`},
		{"version = 1\ntrust = [\"a.policy\", \"again.policy\"]", `both list the log "a.example/log", so that it would not be clear whose quorum counts`},
		{"version = 1\nprograms = [\"gone.json\"]", `the program file cannot be read: `},
		{"version = 1\nprograms = [\"a.policy\"]", `a.policy: program file: `},
		{"version = 1\nallow-unproven = [\"../x\"]", `key "allow-unproven": "../x" is not the path of a file in a crate`},
		{"version = 1\nrequire = \"some\"", `key "require": is "some"; it must be "none", "all", or a list such as ["serde", "tokio@1.50.0", "my-*"]`},
		{"version = 1\nrequire = true", `key "require": must be "none", "all", or a list`},
		{"version = 1\nrequire = [1]", `key "require": must be "none", "all", or a list`},
		{"version = 1\nrequire = {all = true}", `key "require": must be "none", "all", or a list`},
		{"version = 1\nrequire = [\"*\"]", `key "require": "*" would be every crate; write require = "all"`},
		{"version = 1\nrequire = [\"all\"]", `key "require": "all" would be every crate; write require = "all"`},
		{"version = 1\nrequire = [\"se rde\"]", `key "require": "se rde" names no crate`},
		{"version = 1\nrequire = [\"serde@1.0\"]", `key "require": "serde@1.0": `},
		{"version = 1\nrequire = [\"serde@\"]", `behind the @ stands one exact version, like "tokio@1.50.0"`},
		{edit("crate = \"x\"\n", ""), `key "exception[1].crate": is missing; name the crate`},
		{edit(`"x"`, `"x*"`), `key "exception[1].crate": `},
		{edit("reason = \"r\"\n", ""), `key "exception[1].reason": must say why`},
		{edit(`"r"`, `"  "`), `key "exception[1].reason": must say why`},
		{edit("expires = \"2027-01-31\"\n", ""), `key "exception[1].expires": "" is not a date; give the last day on which it counts, like "2027-01-31"`},
		{ex + strings.TrimPrefix(edit("2027-01-31", "2027-02-30"), "version = 1\n"), `key "exception[2].expires": "2027-02-30" is not a date`},
		{edit("crate", "version = \"1\"\ncrate"), `key "exception[1].version": `},
		{edit("exception", "allow"), `key "allow[1].unproven": is missing; name the files that may be unproven`},
		{"version = 1\nversion = 1", `zkp.toml line 2`},
		{"\xff", `zkp.toml`},
		{"version = 1 \x00", `zkp.toml`},
	} {
		p, err := load(t, c.text)
		if err == nil || p != nil {
			t.Errorf("accepted: %q", c.text)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	_, err := load(t, "version = 3\nrequire = 1\n[[exception]]\ncrate = \"x\"\n")
	for _, key := range []string{`"version"`, `"require"`, `"exception[1].reason"`, `"exception[1].expires"`} {
		if err == nil || !strings.Contains(err.Error(), "key "+key) {
			t.Errorf("nothing is said about %s: %v", key, err)
		}
	}
}

// The origin is no part of a program's id, so a file could call a development key
// by another origin.
func TestADevelopmentKeyDoesNotPassUnderAnotherOrigin(t *testing.T) {
	prog := devProgram(t)
	honest, err := prog.Marshal()
	fatalIf(t, err)
	prog.Origin = "solo: nobody"
	posing, err := prog.Marshal()
	if err != nil { // if program files know which origins there are, that is as good
		posing = honest
	}
	d, user := dir(t)
	for _, text := range [][]byte{posing, honest} {
		write(t, filepath.Join(d, "dev.program"), string(text))
		path := write(t, filepath.Join(d, FileName), "version = 1\nprograms = [\"dev.program\"]\n")
		if p, err := Load(path, user); err == nil {
			t.Errorf("accepted: %v", p.Programs)
		}
	}
	path := write(t, filepath.Join(d, FileName), "version = 1\ndevelopment = true\nprograms = [\"dev.program\"]\n")
	p, err := Load(path, user)
	fatalIf(t, err)
	if _, err := proofcheck.New(p.Programs); err != nil {
		t.Errorf("the programs cannot be used together: %v", err)
	}
}

func TestEveryKeyOfTheTemplateParses(t *testing.T) {
	if p := mustLoad(t, Template); p.Development || len(p.Require) != 0 || len(p.Exceptions) != 0 || len(p.Trust) != 1 {
		t.Errorf("the template demands or allows something as it stands: %+v", p)
	}
	// With every setting taken over. A setting that stands there replaces its default.
	setting := regexp.MustCompile(`(?m)^#(\S.*)$`)
	full := setting.ReplaceAllString(Template, "$1")
	full = strings.Replace(full, "require = \"none\"\n", "", 1)
	full = strings.Replace(full, "programs = ", "#", 1)
	full = strings.Replace(full, "opening = \"required\"\n", "", 1)
	full = strings.Replace(full, "without = [\"builder-7\"]\n", "", 1) // for named sets, as tolerate is for hidden ones
	full = strings.Replace(full, "log.example.com/ours\"\nuntil", "template.example/log\"\nuntil", 1)
	s := setOf(t, build.Hidden, 4)
	full = strings.Replace(full, "digest = \""+anID, fmt.Sprintf("digest = \"%x", s.Digest()), 1)
	d, user := dir(t)
	write(t, filepath.Join(d, ExceptionsName), "version = 1\nexpires = \"2027-01-31\"\nexceptions = [{ crate = \"x\", version = \"1.0.0\", reason = \"r\" }]\n")
	write(t, filepath.Join(d, "rebuilders.set"), string(testlog.Must(s.Marshal())))
	p, err := Load(write(t, filepath.Join(d, FileName), full), user)
	fatalIf(t, err)
	if len(p.Require) != 3 || p.MaxAge == 0 || !p.Development || len(p.Exceptions) != 2 || len(p.Allows) != 1 || len(p.Trust) != 1 ||
		len(p.Warn) != 1 || !p.RegistryBacked("template.example/log") || p.RegistryBacked("template.example") ||
		!p.RefuseLeftOut || len(p.Openings) != 2 || p.AllowCRLF != client.AnyCRLF || len(p.Expects[0].SignedBy) != 1 ||
		p.Builds == nil || p.Builds.Until != 5000 || p.Builds.Tolerate != 1 || p.Builds.Source != AllSources ||
		!p.Allows[0].CRLF || !p.Allows[0].WithoutOpening || len(p.Git) != 1 || len(p.Expects) != 1 || len(p.Registries) != 1 {
		t.Errorf("not every setting was taken over: %+v", p)
	}
	// And every key that there is stands in it.
	for _, key := range []string{"version", "trust", "development", "programs", "max-age", "allow-unproven", "require", "warn", "exceptions",
		"crate", "version", "reason", "expires", "unproven", "left-out", "allow", "registry", "ignore", "logs", "path", "commits",
		"crlf", "opening", "without-opening", "signed-by", "set", "digest", "need", "tolerate", "log", "until", "without", "toolchains",
		"environments", "require-source", "evidence", "registry-backed"} {
		if !regexp.MustCompile(`(?m)^#?` + key + ` = `).MatchString(Template) {
			t.Errorf("the template does not show the key %q", key)
		}
	}
}

func TestResolve(t *testing.T) {
	p := mustLoad(t, `
version = 1
require = ["serde_json", "tokio@1.50.0", "my-*"]
[[exception]]
crate = "my-old"
reason = "r"
expires = "2026-08-31"
[[exception]]
crate = "my-free"
version = "1.0.0"
reason = "gone"
expires = "2026-09-01"
[[exception]]
crate = "quiet"
reason = "nobody asks for it"
expires = "2027-01-01"
`)
	itoa, err := ParsePattern("itoa")
	fatalIf(t, err)
	mispelt, err := ParsePattern("sirde")
	fatalIf(t, err)
	asks := []Ask{{Crate: itoa, Where: "Cargo.toml, [dependencies] itoa"}, {Crate: mispelt, Where: "Cargo.toml, [dependencies] sirde"}}
	r := p.Resolve(asks, []Package{
		{Name: "serde-json", Version: "1.0.0"}, {Name: "tokio", Version: "1.50.0"}, {Name: "tokio", Version: "1.50.1"}, {Name: "My_Crate", Version: "0.1.0"},
		{Name: "my-old", Version: "1.0.0"}, {Name: "my-free", Version: "1.0.0"}, {Name: "my-free", Version: "2.0.0"}, {Name: "my_free", Version: "1.0.0"}, {Name: "quiet", Version: "1.0.0"}, {Name: "itoa", Version: "1.0.0"},
	}, now)
	want := []Status{Required, Required, NotAsked, Required, Required, Excepted, Required, Required, NotAsked, Required}
	for i, d := range r.Demands {
		if d.Status != want[i] {
			t.Errorf("%s %s: %v, want %v (because %q)", d.Name, d.Version, d.Status, want[i], d.Because)
		}
		if (d.Status == NotAsked) != (len(d.Because) == 0) || (d.Status == Excepted) != (d.Except != nil) {
			t.Errorf("%+v", d)
		}
	}
	if d := r.Demands[4]; len(d.Expired) != 1 || d.Expired[0].Crate != "my-old" {
		t.Errorf("the expired exception is not told: %+v", d)
	}
	if d := r.Demands[5]; d.Except.Reason != "gone" {
		t.Errorf("%+v", d)
	}
	if got := r.Demands[9].Because; len(got) != 1 || got[0] != "Cargo.toml, [dependencies] itoa asks for it" {
		t.Errorf("because: %q", got)
	}
	if got := r.Demands[1].Because; len(got) != 1 || !strings.HasSuffix(got[0], `zkp.toml requires "tokio@1.50.0"`) {
		t.Errorf("because: %q", got)
	}
	if len(r.Missing) != 1 || r.Missing[0] != "Cargo.toml, [dependencies] sirde asks for it, but no registry package of the lock file is sirde" {
		t.Errorf("missing: %q", r.Missing)
	}
	all := mustLoad(t, "version = 1\nrequire = \"all\"\n")
	if r := all.Resolve(nil, []Package{{Name: "anything", Version: "0.0.1"}}, now); r.Demands[0].Status != Required || !strings.HasSuffix(r.Demands[0].Because[0], "requires all crates") {
		t.Errorf("%+v", r)
	}
	if r := all.Resolve(nil, nil, now); len(r.Unmatched)+len(r.Missing) != 0 {
		t.Errorf("requiring all of nothing is reported: %q", r.Unmatched)
	}
}

func TestAnExceptionCountsOnItsLastDay(t *testing.T) {
	d, err := ParseDate("2026-08-31")
	fatalIf(t, err)
	for at, past := range map[string]bool{"2026-08-31T00:00:00Z": false, "2026-08-31T23:59:59Z": false, "2026-09-01T00:00:00Z": true, "2026-09-01T01:00:00+02:00": false} {
		tm, err := time.Parse(time.RFC3339, at)
		fatalIf(t, err)
		if d.Past(tm) != past {
			t.Errorf("at %s: past is %v", at, !past)
		}
	}
}

func TestCheckWarns(t *testing.T) {
	d, user := dir(t)
	path := write(t, filepath.Join(d, FileName), `
version = 1
trust = ["none.policy", "a.policy"]
development = true
allow-unproven = ["Cargo.toml"]
require = ["my-*"]
[[exception]]
crate = "x"
reason = "r"
expires = "2026-08-31"
[[allow]]
crate = "y"
version = "1.0.0"
unproven = ["Cargo.toml"]
reason = "r"
expires = "2027-08-31"
`)
	r := Check(path, user, nil, []Package{{Name: "x", Version: "1.0.0"}}, now)
	fatalIf(t, r.Err)
	all := strings.Join(r.Warnings, "\n")
	for _, want := range []string{
		`development: proofs with UNSAFE development keys are accepted, which anyone can forge`,
		`allow-unproven: any crate may have an unproven Cargo.toml`,
		`none.policy says "quorum none": its logs can show each reader another tree; name witnesses and a quorum`,
		`none.policy names no address of the log "none.example/log"`,
		`exception[1] (x): it expired on 2026-08-31 and does not count any more`,
		`allow[1] (y@1.0.0): no registry package of the lock file is y@1.0.0; remove it, or correct its name`,
		`requires "my-*", but no registry package of the lock file is my-*`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning says: %s", want)
		}
	}
	if len(r.Warnings) != 7 {
		t.Errorf("%d warnings:\n%s", len(r.Warnings), all)
	}
	if r := Check(path, user, nil, nil, now); slices.ContainsFunc(r.Warnings, func(s string) bool { return strings.Contains(s, "lock file") }) {
		t.Errorf("without a lock file: %q", r.Warnings)
	}
	if r := Check(filepath.Join(d, "gone.toml"), user, nil, nil, now); r.Err == nil || r.Policy != nil {
		t.Errorf("a missing file: %+v", r)
	}
	if r := Check("", filepath.Join(user, "nothing"), nil, nil, now); r.Err != nil || !strings.Contains(strings.Join(r.Warnings, "\n"), "the default policy: trust: nothing can be verified: no trust file says which logs and witnesses to believe; ") {
		t.Errorf("the default policy: %+v", r)
	}
}

func TestTheNearestPolicyIsFound(t *testing.T) {
	top, user := t.TempDir(), t.TempDir()
	root := filepath.Join(top, "repo", "sub", "ws")
	fatalIf(t, os.MkdirAll(root, 0o755))
	at := Place{Root: root, UserDir: user}
	finds := func(want string) {
		t.Helper()
		if got, err := at.Find(); err != nil || got != want {
			t.Errorf("found %q, want %q: %v", got, want, err)
		}
	}
	finds("")
	users := write(t, filepath.Join(user, FileName), "version = 1")
	finds(users)
	// Outside of a repository, directories above may be another user's.
	above := write(t, filepath.Join(top, FileName), "version = 1")
	inRepo := write(t, filepath.Join(top, "repo", FileName), "version = 1")
	finds(users)
	fatalIf(t, os.Mkdir(filepath.Join(top, "repo", ".git"), 0o755))
	finds(inRepo)
	fatalIf(t, os.Remove(inRepo))
	finds(users) // and not what is above the repository's top
	own := write(t, filepath.Join(root, FileName), "version = 1")
	finds(own)
	meta := write(t, filepath.Join(top, "repo", "policy", "org.toml"), "version = 1")
	at.Metadata = "../../policy/org.toml"
	finds(meta)
	at.Flag = above
	finds(above)
	for _, p := range []Place{{Flag: filepath.Join(top, "gone")}, {Metadata: "gone", Root: root}} {
		if path, err := p.Load(); err == nil || !strings.Contains(err.Error(), "which does not exist; correct the name, or write one with cargo zkp init") {
			t.Errorf("a policy that is named and not there: %v, %v", path, err)
		}
	}
	if p, err := (Place{Root: t.TempDir()}).Load(); err != nil || p.Path != "" {
		t.Errorf("without any policy: %+v, %v", p, err)
	}
}

func TestTheCommandLineStandsAboveTheFile(t *testing.T) {
	d, user := dir(t)
	write(t, filepath.Join(d, FileName), "version = 1\ntrust = [\"a.policy\"]\nrequire = \"all\"\n")
	write(t, filepath.Join(d, "a.policy"), trustText("a.example/log", true))
	other := write(t, filepath.Join(t.TempDir(), "b.policy"), trustText("b.example/log", true))
	p, err := Place{Root: d, UserDir: user, Trust: []string{other}, Development: true}.Load()
	fatalIf(t, err)
	if len(p.Trust) != 1 || p.Trust[0].Policy.Logs()[0].Origin != "b.example/log" {
		t.Errorf("trusts %+v", p.Trust)
	}
	if !p.Development || len(p.Require) != 1 || len(p.Programs) == 0 {
		t.Errorf("the rest of the file does not count, or --development does not: %+v", p)
	}
	if _, err := (Place{Root: d, UserDir: user, Trust: []string{other + ".gone"}}).Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a trust file that is not there: %v", err)
	}
}

// Whatever is in the file, it is read or refused with a sentence about it.
func FuzzPolicyFile(f *testing.F) {
	f.Add(Template)
	f.Add("version = 1\nrequire = [\"a*\", \"b@1.0.0\"]\n[[exception]]\ncrate = \"x\"\nreason = \"r\"\nexpires = \"2027-01-31\"\n")
	f.Add("version = 1\nrequire = {a = [1, {}]}\nexception = [{crate = \"x\"}]\n")
	f.Add("[allow]\nunproven = [[]]\n")
	f.Add("version = 1\n[git]\nallow = [\"https://x.example/y\"]\n[registry.\"" + corp + "\"]\nignore = [\"a*\"]\n[[expect]]\ncrate = \"x\"\npath = \"\"\n")
	path := filepath.Join(f.TempDir(), FileName)
	f.Fuzz(func(t *testing.T, text string) {
		fatalIf(t, os.WriteFile(path, []byte(text), 0o600))
		r, err := readFile(path)
		if err != nil {
			if !strings.Contains(err.Error(), FileName) {
				t.Errorf("the error does not name the file: %v", err)
			}
			return
		}
		p := &Policy{Require: r.require, Registries: r.registries, Git: r.git, Exceptions: r.exceptions, Allows: r.allows, Expects: r.expects,
			Openings: r.openings}
		for _, q := range r.require {
			if again, err := ParsePattern(q.String()); q != All && (err != nil || again != q) {
				t.Errorf("%q is not read back: %v", q, err)
			}
		}
		p.Resolve(nil, []Package{{Name: "x", Version: "1.0.0"}, {"x", "1.0.0", corp}}, now)
		p.GitAllowed("https://git.example.com/x?branch=y#00")
		p.Unexpected("x", "1.0.0", "00", "")
		p.Opening(Package{Name: "x", Version: "1.0.0"}, now)
	})
}

// TestLogsAreAskedForWhatIsExpected: a log that holds several claims about a version is to answer with
// one that the policy can accept.
func TestLogsAreAskedForWhatIsExpected(t *testing.T) {
	a, b, c := strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40)
	at := func(path string) *string { return &path }
	expect := func(keys string) string { return "[[expect]]\ncrate = \"x\"\n" + keys + "\n" }
	many := make([]string, client.MaxQuery+1)
	for i := range many {
		many[i] = fmt.Sprintf("%040x", i)
	}
	for _, x := range []struct {
		text    string
		path    *string
		commits []string
	}{
		{"", nil, nil},
		{"[[expect]]\ncrate = \"y\"\npath = \"y\"\n", nil, nil},
		{expect("version = \"2.0.0\"\npath = \"y\""), nil, nil},
		{expect(`path = ""`), at(""), nil},
		{expect(`path = "crates/x"`), at("crates/x"), nil},
		{expect(fmt.Sprintf("commits = [%q, %q]", b, a)), nil, []string{b, a}},
		{expect(fmt.Sprintf("commits = [%q, %q]", a, b)) + expect(fmt.Sprintf("path = \"p\"\ncommits = [%q, %q]", b, c)), at("p"), []string{b}},
		{expect(`path = "p"`) + expect(`path = "p"`), at("p"), nil},
		// What cannot be met is not asked for: the answer shows what is there.
		{expect(`path = "p"`) + expect(`path = "q"`), nil, nil},
		{expect(fmt.Sprintf("path = \"p\"\ncommits = [%q]", a)) + expect(fmt.Sprintf("commits = [%q]", b)), nil, nil},
		{expect("path = \"p\"\ncommits = [\"" + strings.Join(many, `", "`) + "\"]"), at("p"), nil},
	} {
		p := mustLoad(t, "version = 1\n"+x.text)
		q := p.QueryFor(Package{Name: "X", Version: "1.0.0"})
		if (q.Path == nil) != (x.path == nil) || q.Path != nil && *q.Path != *x.path {
			t.Errorf("%q: the path asked for is %v", x.text, q.Path)
		}
		var commits []string
		for _, id := range q.Commits {
			commits = append(commits, hex.EncodeToString(id[:]))
		}
		if !slices.Equal(commits, x.commits) {
			t.Errorf("%q: the commits asked for are %q, want %q", x.text, commits, x.commits)
		}
		if _, err := q.Encode(); err != nil {
			t.Errorf("%q: %v", x.text, err)
		}
	}
}

func TestEvidenceOfOtherRegistriesIsLookedForWhereThePolicySaysSo(t *testing.T) {
	const index = "sparse+https://registry.example/index/"
	p := mustLoad(t, "version = 1\nevidence = [\"https://a.example/x\", \"dir\"]\n[registry.\""+index+"\"]\nlogs = [\"l.example\"]\n"+
		"[registry.\"sparse+https://own.example/\"]\nevidence = [\"https://b.example/\"]\n[registry.\"sparse+https://none.example/\"]\nevidence = []\n")
	local := filepath.Join(filepath.Dir(p.Path), "dir")
	for of, want := range map[string][]string{"": {"https://a.example/x", local}, "crates-io": {"https://a.example/x", local}, index: {local},
		"sparse+https://unnamed.example/": {local}, "sparse+https://own.example/": {"https://b.example/"}, "sparse+https://none.example/": {}} {
		if got := p.EvidenceFor(of); !slices.Equal(got, want) {
			t.Errorf("%q: %q, not %q", of, got, want)
		}
	}
	for _, bad := range []string{`"http://a.example/"`, `"https://u@a.example/"`, `"https://a.example/?q"`, `"ftp://a.example/"`, `""`,
		strings.Repeat(`"a",`, 17)} {
		d, user := dir(t)
		if _, err := Load(write(t, filepath.Join(d, FileName), "version = 1\nevidence = ["+bad+"]\n"), user); err == nil ||
			!strings.Contains(err.Error(), `key "evidence"`) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
