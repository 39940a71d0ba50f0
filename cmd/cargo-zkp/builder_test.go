package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/build"
	"cratelog/build/builder"
	"cratelog/build/rebuild"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/loopback"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
	"cratelog/log"
)

// zkpSays runs the program, and wants an exit code and texts in what it prints and, behind a "!", not.
func zkpSays(t *testing.T, code outcome.Code, texts []string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if got := run(t.Context(), args, &out, &out); got != int(code) {
		t.Errorf("%q: exit %d, want %d\n%s", args, got, code, &out)
	}
	tells(t, out.String(), texts...)
	return out.String()
}

func sum(s string) [32]byte { return sha256.Sum256([]byte(s)) }

// hello is hello-proof 0.1.0. It is read before a test goes to another directory.
type hello struct{ crate, entry []byte }

func readHello(t *testing.T) hello {
	return hello{helloProof(t), fixture.Read(t, "hello-proof-0.1.0.entry")}
}

// report writes the report of a rebuild of hello-proof 0.1.0 into a new directory, and returns the binary's path.
func (h hello) report(t *testing.T, binary, second string) string {
	t.Helper()
	dir := t.TempDir()
	list := build.List{{Registry: entry.DefaultRegistry, Name: "dep", Version: "1.0.0", SHA256: sum("dep")}}
	e, err := entry.Parse(h.entry)
	fatalIf(t, err)
	r := &rebuild.Report{
		Subject: e.Subject,
		Claim: entry.Build{Binary: "hello", Target: "x86_64-unknown-linux-gnu", Artifact: sum(binary), Toolchain: sum("toolchain"),
			Environment: sum("environment"), Recipe: entry.Recipe1, Lock: sum("lock"), Compiled: list.Digest()},
		Artifact: []byte(binary), List: list, Same: second == "", Limits: "rlimits",
	}
	if second != "" {
		r.Second, r.Difference = []byte(second), "section .rodata"
	}
	fatalIf(t, r.Write(dir))
	return filepath.Join(dir, "hello")
}

// enrolledSet makes keys and a set of them in the working directory, with the verbs.
func enrolledSet(t *testing.T, name string, more []string, keys ...string) *build.Set {
	t.Helper()
	args := []string{"builder", "set", name}
	for _, k := range keys {
		zkpSays(t, outcome.OK, []string{"Created", k + ".journal"}, append([]string{"builder", "keygen", k}, more...)...)
		zkpSays(t, outcome.OK, []string{"hand it to who keeps the set"}, "builder", "enroll", k, "--set", name, "--name", k,
			"--contact", k+" at builders.example")
		args = append(args, k+".enrollment")
	}
	said := zkpSays(t, outcome.OK, []string{"root   ", "digest "}, args...)
	s, err := build.ReadSet(name + ".set")
	fatalIf(t, err)
	if want := fmt.Sprintf("root   %x\ndigest %x\n", s.Root(), s.Digest()); !strings.Contains(said, want) {
		t.Errorf("it prints\n%s, and not\n%s", said, want)
	}
	return s
}

// log is a log with hello-proof 0.1.0 in it that takes builds of a set.
func (h hello) log(t *testing.T, sets ...*build.Set) *loopback.World {
	t.Helper()
	w, err := loopback.Start(t.Context(), loopback.Config{Origin: "builds.example/log", Dir: t.TempDir(),
		Builds: log.Builds{Sets: sets, Toolchains: [][32]byte{sum("toolchain")}, Environments: [][32]byte{sum("environment")}}})
	fatalIf(t, err)
	t.Cleanup(func() { fatalIf(t, w.Close()) })
	_, err = (&client.Log{URL: w.URL}).Submit(t.Context(), h.entry, h.crate, nil)
	fatalIf(t, err)
	return w
}

// TestBuildersAttestInALog goes from keys to attestations: two agree, one denies it, and one would
// contradict himself.
func TestBuildersAttestInALog(t *testing.T) {
	h := readHello(t)
	t.Chdir(t.TempDir())
	set := enrolledSet(t, "rebuilders", []string{"--named"}, "alpha", "beta", "gamma")
	w := h.log(t, set)
	url := w.URL
	good, bad := h.report(t, "a binary", ""), h.report(t, "another binary", "")
	attest := func(key, file string, more ...string) []string {
		return append([]string{"attest", file, "--key", key, "--set", "rebuilders.set", "--log", url, "--trust", w.File}, more...)
	}
	status := func(key string, more ...string) []string {
		return append([]string{"builder", "status", "--key", key, "--set", "rebuilders.set", "--log", url, "--trust", w.File, "hello-proof@0.1.0"}, more...)
	}
	zkpSays(t, outcome.OK, []string{"0 attestations with this key"}, status("alpha")...)
	fresh, err := os.ReadFile("alpha.journal")
	fatalIf(t, err)
	zkpSays(t, outcome.OK, []string{"Attested", "entry 2 of the log"}, attest("alpha", good)...)
	bundle, err := os.ReadFile(good + ".tlog-proof")
	fatalIf(t, err)
	p, err := client.ParseBundle(bundle)
	fatalIf(t, err)
	e, err := entry.Parse(p.Entry)
	fatalIf(t, err)
	if member, err := build.VerifyNamed(e); err != nil || member != "alpha" || e.Claim.(*entry.Build).Root != set.Root() {
		t.Errorf("it is of %q, %v", member, err)
	}
	zkpSays(t, outcome.Refused, []string{"has attested this build already: entry 2"}, attest("alpha", good)...)
	zkpSays(t, outcome.Refused, []string{"as entry 2, that this key attested", "nothing was attested"}, attest("alpha", bad)...)

	// Made by one and handed in by another.
	zkpSays(t, outcome.OK, nil, attest("beta", good, "--hold")...)
	zkpSays(t, outcome.OK, []string{"entry 4 of the log"}, "attest", good, "--relay", "--log", url)
	zkpSays(t, outcome.OK, []string{"entry 4 of the log"}, "attest", good, "--relay", "--log", url)

	zkpSays(t, outcome.Refused, []string{"other builders say", fmt.Sprintf("%x", sum("a binary")),
		fmt.Sprintf("%x", sum("another binary")), "(entry 2)", "(entry 4)", "--dissent"}, attest("gamma", bad)...)
	zkpSays(t, outcome.OK, []string{"entry 6 of the log"}, attest("gamma", bad, "--dissent")...)

	zkpSays(t, outcome.OK, []string{"1 attestations with this key, all in its journal, which knows 1",
		fmt.Sprintf("hello-proof 0.1.0: binary hello, SHA-256 %x, entry 2", sum("a binary"))}, status("alpha")...)
	fatalIf(t, os.WriteFile("alpha.journal", fresh, 0o600))
	zkpSays(t, outcome.Refused, []string{"entry 2 says with this key", "its journal does not know it", "somebody else has the key"},
		status("alpha")...)
	all := []string{"builder", "status", "--key", "alpha", "--set", "rebuilders.set", "--log", url, "--trust", w.File}
	zkpSays(t, outcome.Refused, []string{"tree of 8 entries", "hello-proof 0.1.0: entry 2 says with this key", "somebody else has the key"},
		all...)
	zkpSays(t, outcome.Usage, []string{"no trust file of the policy names a log at " + url + "/x"}, append(all, "--log", url+"/x")...)
	zkpSays(t, outcome.Refused, []string{"attestations of this key that its journal does not know"}, attest("alpha", good)...)
	zkpSays(t, outcome.OK, []string{"Adopted"}, status("alpha", "--adopt")...)
	zkpSays(t, outcome.OK, []string{"all in its journal, which knows 1"}, status("alpha")...)
	zkpSays(t, outcome.OK, []string{"tree of 8 entries", "1 attestations with this key, all in its journal"}, all...)
}

// TestHiddenBuildersAttestInALog: two of three say so, and none says who he is.
func TestHiddenBuildersAttestInALog(t *testing.T) {
	if testing.Short() {
		t.Skip("makes keys, and proves")
	}
	h := readHello(t)
	t.Chdir(t.TempDir())
	args := []string{"builder", "set", "rebuilders"}
	for _, k := range []string{"alpha", "beta", "gamma"} {
		zkpSays(t, outcome.OK, []string{"(hidden)"}, "builder", "keygen", k)
		enroll := []string{"builder", "enroll", k, "--set", "rebuilders", "--name", k, "--contact", "x"}
		zkpSays(t, outcome.Usage, []string{"needs --program FILE and --proving-key FILE"}, enroll...)
		zkpSays(t, outcome.OK, []string{"UNSAFE development keys"}, append(enroll, "--development")...)
		args = append(args, k+".enrollment", "vacant")
	}
	zkpSays(t, outcome.OK, []string{"UNSAFE development keys", "(hidden) of 3 builders", "hides little"}, args[:len(args)-1]...)
	set, err := build.ReadSet("rebuilders.set")
	fatalIf(t, err)
	w, good := h.log(t, set), h.report(t, "a binary", "")
	url := w.URL
	for i, k := range []string{"beta", "alpha"} {
		zkpSays(t, outcome.OK, []string{fmt.Sprintf("entry %d of the log", 2*i+2)}, "attest", good, "--key", k, "--set", "rebuilders.set",
			"--log", url, "--trust", w.File, "--development")
		zkpSays(t, outcome.OK, []string{"1 attestations with this key, all in its journal"}, "builder", "status", "--key", k, "--log", url, "--trust", w.File,
			"hello-proof@0.1.0")
		raw, err := os.ReadFile(good + ".entry")
		fatalIf(t, err)
		if bytes.Contains(raw, []byte(k)) {
			t.Errorf("the entry names %s", k)
		}
	}
	zkpSays(t, outcome.OK, []string{"0 attestations with this key"}, "builder", "status", "--key", "gamma", "--log", url, "--trust", w.File, "hello-proof@0.1.0")
}

func TestWhatIsNotToBeAttestedIsRefused(t *testing.T) {
	h := readHello(t)
	t.Chdir(t.TempDir())
	enrolledSet(t, "rebuilders", []string{"--named", "--type", "ml-dsa-44"}, "alpha")
	zkpSays(t, outcome.OK, nil, "builder", "keygen", "stranger")
	attest := func(file, key string, more ...string) []string {
		return append([]string{"attest", file, "--key", key, "--set", "rebuilders.set"}, more...)
	}
	good := h.report(t, "a binary", "")
	zkpSays(t, outcome.Refused, []string{"they differ in section .rodata", "never attested"},
		attest(h.report(t, "one", "two"), "alpha", "--offline")...)
	zkpSays(t, outcome.Usage, []string{"attest needs --log URL"}, attest(good, "alpha")...)
	for want, more := range map[string]string{"where --follow begins": "--programs x --from 3", "0 or more": "--follow --from -2",
		"--programs FILE or --follow": "--set x"} {
		zkpSays(t, outcome.Usage, []string{want}, append([]string{"builder", "run", "--log", "http://127.0.0.1:9"},
			strings.Fields(more)...)...)
	}
	zkpSays(t, outcome.Usage, []string{"--offline is without"}, attest(good, "alpha", "--offline", "--log", "http://127.0.0.1:9")...)
	zkpSays(t, outcome.Usage, []string{"needs --key FILE and --set FILE"}, "attest", good, "--offline")
	zkpSays(t, outcome.Unchecked, []string{"has no member with the key stranger"}, attest(good, "stranger", "--offline")...)
	zkpSays(t, outcome.Usage, []string{"is about"}, attest(filepath.Join(filepath.Dir(good), "other"), "alpha", "--offline")...)
	zkpSays(t, outcome.Unchecked, []string{"cargo zkp rebuild NAME@VERSION --out DIR"}, attest("alpha", "alpha", "--offline")...)
	fatalIf(t, os.WriteFile(good, []byte("A binary"), 0o755))
	zkpSays(t, outcome.Unchecked, []string{"the binary has SHA-256"}, attest(good, "alpha", "--offline")...)
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(good), "*.entry")); err != nil || len(left) > 0 {
		t.Errorf("%q, %v", left, err)
	}
	fatalIf(t, os.WriteFile(good, []byte("a binary"), 0o755))
	zkpSays(t, outcome.OK, []string{"Attested"}, attest(good, "alpha", "--offline")...)
}

func TestSetsAreMadeOfThoseWhoHaveTheirKeys(t *testing.T) {
	t.Chdir(t.TempDir())
	enrolledSet(t, "rebuilders", []string{"--named"}, "alpha", "beta")
	text, err := os.ReadFile("alpha.enrollment")
	fatalIf(t, err)
	put(t, "false.enrollment", strings.Replace(string(text), "alpha at", "omega at", 1))
	zkpSays(t, outcome.Refused, []string{"is not signed with the key that it enrolls"}, "builder", "set", "rebuilders",
		"false.enrollment", "-o", "x.set")
	zkpSays(t, outcome.Refused, []string{"is enrolled in the set rebuilders, not in others"}, "builder", "set", "others", "alpha.enrollment")
	zkpSays(t, outcome.Unchecked, []string{"is left alone"}, "builder", "set", "rebuilders", "alpha.enrollment")
	zkpSays(t, outcome.OK, []string{"1 of 1 members were in the set rebuilders of 2"}, "builder", "set", "rebuilders", "beta.enrollment",
		"--former", "rebuilders.set", "-o", "next.set")
	zkpSays(t, outcome.Usage, []string{"--named"}, "builder", "keygen", "x", "--type", "ed25519")
	zkpSays(t, outcome.Usage, []string{"is neither ed25519 nor ml-dsa-44"}, "builder", "keygen", "x", "--named", "--type", "rsa")
	zkpSays(t, outcome.Usage, []string{"the verbs keygen, enroll, set, status and run"}, "builder", "fly")
	zkpSays(t, outcome.OK, []string{"keygen FILE"}, "builder", "--help")
}

// TestAServiceAttestsWhatIsListedAndWhatIsLogged runs the verb, but for the sandbox.
func TestAServiceAttestsWhatIsListedAndWhatIsLogged(t *testing.T) {
	h := readHello(t)
	t.Chdir(t.TempDir())
	set := enrolledSet(t, "rebuilders", []string{"--named"}, "alpha", "beta")
	w := h.log(t, set)
	reports := map[string]string{"alpha": h.report(t, "a binary", ""), "beta": h.report(t, "a binary", "")}
	built := 0
	service := func(code outcome.Code, texts []string, key string, args ...string) {
		t.Helper()
		o := &runOptions{build: func(_ context.Context, _ *shell, p builder.Program) (*rebuild.Report, error) {
			built++
			if p != (builder.Program{Name: "hello-proof", Version: "0.1.0"}) {
				t.Errorf("%s is rebuilt", p)
			}
			return rebuild.ReadReport(filepath.Dir(reports[key]))
		}}
		var out bytes.Buffer
		sh := newShell(&out, &out)
		err := o.run(t.Context(), sh, append([]string{"--key", key, "--set", "rebuilders.set", "--log", w.URL, "--dir", key + ".d", "--trust", w.File}, args...))
		if got := outcome.Of(err); got != code {
			t.Fatalf("exit %d, want %d: %v\n%s", got, code, err, &out)
		}
		for _, text := range texts {
			if !strings.Contains(out.String(), text) {
				t.Errorf("it does not say %q:\n%s", text, &out)
			}
		}
	}
	put(t, "programs", "hello-proof@0.1.0 # a program\n")
	done := []string{"1 programs: 1 attested"}
	service(outcome.OK, append(done, "Attested"), "alpha", "--programs", "programs")
	service(outcome.OK, done, "alpha", "--programs", "programs")
	for range 2 {
		service(outcome.OK, done, "beta", "--follow", "--from", "0", "--trust", w.File)
	}
	if built != 2 {
		t.Errorf("%d rebuilds, want 2", built)
	}
	subject := entry.Subject{Registry: entry.DefaultRegistry, Name: "hello-proof", Version: "0.1.0"}
	rows, err := (&client.Log{URL: w.URL}).Builds(t.Context(), subject)
	fatalIf(t, err)
	if len(rows) != 2 || rows[0].Result != rows[1].Result || rows[0].Tag == rows[1].Tag {
		t.Errorf("logged is %+v", rows)
	}
	if text, err := os.ReadFile(filepath.Join("beta.d", "FOLLOWED")); err != nil || string(text) != "6\n" {
		t.Errorf("followed up to %q, %v", text, err)
	}

	put(t, filepath.Join("beta.d", "FOLLOWED"), "7\n")
	service(outcome.Unchecked, []string{}, "beta", "--follow", "--trust", w.File)
	put(t, filepath.Join("beta.d", "FOLLOWED"), "x\n")
	service(outcome.Unchecked, []string{}, "beta", "--follow", "--trust", w.File)
	service(outcome.Usage, nil, "beta", "--follow", "--programs", "programs")

	// Both builds differ, or others say something else: nothing is attested.
	reports["gamma"] = h.report(t, "one", "two")
	zkpSays(t, outcome.OK, nil, "builder", "keygen", "gamma", "--named")
	service(outcome.Refused, nil, "gamma", "--programs", "programs") // not in the set
	set3 := enrolledSet(t, "others", []string{"--named"}, "delta")
	fatalIf(t, os.Rename("others.set", "rebuilders.set"))
	reports["delta"] = reports["gamma"]
	service(outcome.Refused, []string{"section .rodata"}, "delta", "--programs", "programs")
	fatalIf(t, os.Remove(filepath.Join("delta.d", "hello-proof@0.1.0", "ALERT")))
	reports["delta"] = h.report(t, "another binary", "")
	service(outcome.Refused, []string{"other builders say"}, "delta", "--programs", "programs")
	if set3.Root() == set.Root() {
		t.Error("two sets have one root")
	}
}

// TestOneCommandMakesKeyAndSet: the service makes what is not there, and finds it the next time. Nothing is to be
// rebuilt.
func TestOneCommandMakesKeyAndSet(t *testing.T) {
	for _, kind := range []string{"--named", "--build-development"} {
		t.Chdir(t.TempDir())
		put(t, "programs", "# none yet\n")
		put(t, "x.policy", string(testlog.New("log.example", 1, time.Now).Trust("http://127.0.0.1:9")))
		args := []string{"builder", "run", "--log", "http://127.0.0.1:9", "--programs", "programs", kind}
		zkpSays(t, outcome.Unchecked, []string{"builders.set"}, args...)
		args = append(args, "--name", "alpha")
		zkpSays(t, outcome.Usage, []string{"--name needs --contact"}, args...)
		args = append(args, "--contact", "alpha@builders.example")
		zkpSays(t, outcome.Usage, []string{"Created", "digest ", "no trust file says which logs"}, args...)
		args = append(args, "--trust", "x.policy")
		said := zkpSays(t, outcome.OK, []string{"0 programs"}, args...)
		if strings.Contains(said, "Created") {
			t.Errorf("something is made again:\n%s", said)
		}
	}
}

func TestTheHelpOfBuildersReadsWell(t *testing.T) {
	for _, verb := range []string{"attest", "builder keygen", "builder enroll", "builder set", "builder status", "builder run"} {
		said := zkpSays(t, outcome.OK, []string{"Usage: cargo zkp " + verb}, append(strings.Fields(verb), "--help")...)
		for _, hole := range []string{"  [OPTIONS]", " string\n", " value\n", "(default true)"} {
			if strings.Contains(said, hole) {
				t.Errorf("%s --help has %q:\n%s", verb, hole, said)
			}
		}
	}
}
