package e2e

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cratelog/cargo/backlog"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/flock"
	"cratelog/internal/registrytest"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

// literals returns the texts of the programs' source: each string, joined where it is added up.
func literals(t *testing.T, root string) (all []string) {
	t.Helper()
	files := token.NewFileSet()
	fatalIf(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if text := added(e); ok && text != "" {
				all = append(all, text)
				return false
			}
			return true
		})
		return nil
	}))
	return all
}

// added is the text of strings that are added up, with ... for what is no literal.
func added(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.BinaryExpr:
		if x, y := added(e.X), added(e.Y); e.Op == token.ADD && (x != "" || y != "") {
			return x + y
		}
	}
	return ""
}

// troubles returns the messages that docs/troubleshooting.md explains.
func troubles(t *testing.T) (all []string) {
	t.Helper()
	page := string(read(t, filepath.Join(fixture.Root(t), "docs", "troubleshooting.md")))
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(page, -1) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			all = append(all, m[1])
		}
	}
	return all
}

// TestEveryMessageThatIsExplainedStandsInTheSource: what is quoted, but for what differs, stands in
// one text of the programs.
func TestEveryMessageThatIsExplainedStandsInTheSource(t *testing.T) {
	all, messages := literals(t, fixture.Root(t)), troubles(t)
	for _, m := range messages {
		found := false
		for _, text := range all {
			rest, ok := text, true
			for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(m), ": ..."), "...") {
				if part = strings.Trim(part, ` "`); ok {
					_, rest, ok = strings.Cut(rest, part)
				}
			}
			found = found || ok
		}
		if !found {
			t.Errorf("docs/troubleshooting.md explains %q, which no program says", m)
		}
	}
	if len(messages) < 50 {
		t.Errorf("only %d messages are explained", len(messages))
	}
}

// complaints notes which of the page's messages were provoked.
type complaints struct {
	explained []string

	mu   sync.Mutex // protects what follows: with -short the worlds stand beside each other
	said map[string]bool
}

// parts are the pieces of a message between what differs.
func parts(message string) (all []string) {
	for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(message), ": ..."), "...") {
		if part = strings.Trim(part, ` "`); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// by fails the test unless the page explains a message, and a program that ended with a code has said it.
func (c *complaints) by(t *testing.T, message string, code int, o outcome) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said[message] = true
	if !slices.Contains(c.explained, message) {
		t.Errorf("docs/troubleshooting.md does not explain %q", message)
	}
	for _, part := range parts(message) {
		if !strings.Contains(o.stderr+o.stdout, part) || o.code != code {
			t.Errorf("%v\nwanted exit code %d and %q", o, code, part)
		}
	}
}

// saidElsewhere are the messages that tests of other packages provoke, with more than a program's call could:
// file and test.
var saidElsewhere = map[string][2]string{
	"not everything is committed": {"cargo/publish/refuse_test.go",
		"TestWhatIsNotCommittedOrNotPushedIsRefused"},
	"--allow-dirty is no way around it": {"cargo/publish/refuse_test.go",
		"TestWhatIsNotCommittedOrNotPushedIsRefused"},
	"the log's answer cannot be believed": {"cargo/publish/refuse_test.go", "TestALogThatIsDownOrLiesStopsEverything"},
	"published already, with other bytes": {"cargo/publish/refuse_test.go",
		"TestAVersionThatStandsForOtherBytesIsRefusedBeforeAnythingIsProved"},
	"proves that it holds nothing about": {"client/sealed_test.go", "TestALogThatHoldsNothingShowsThat"},
	"are not shown to be all that the log holds of the binary": {"cargo/verdict/join_test.go",
		"TestADissentThatTheListHidesIsInTheFile"},
	"no remote branch or tag that this repository knows contains commit ...": {"cargo/publish/refuse_test.go",
		"TestWhatIsNotCommittedOrNotPushedIsRefused"},
	"is not known to be logged with a proof, so it is not published": {"cargo/publish/refuse_test.go",
		"TestAPlainCargoPublishIsRefusedUntilTheCrateIsLogged"},
	"not-in-registry": {"e2e/registry_test.go",
		"TestANameIsItsOwnersWhereTheLogAsksTheRegistry"},
	"registry-mismatch": {"e2e/registry_test.go",
		"TestANameIsItsOwnersWhereTheLogAsksTheRegistry"},
	"registry-refused": {"cargo/publish/later_test.go",
		"TestNothingIsUploadedThatTheLogWouldNotTake"},
	"registry-unavailable": {"cargo/publish/later_test.go",
		"TestNothingIsUploadedThatTheLogWouldNotTake"},
	"is published, and not logged": {"cargo/publish/later_test.go",
		"TestAnEndBetweenUploadAndLogLosesNothing"},
	"takes only what the registry lists, which does not list ... yet": {"e2e/registry_test.go",
		"TestANameIsItsOwnersWhereTheLogAsksTheRegistry"},
	"is neither logged nor ready to be": {"cargo/publish/later_test.go",
		"TestTheProviderAsksForAnEntryThatIsReadyWhereTheLogAsksTheRegistry"},
	"anybody can be the first to log a version of any name": {"cmd/cargo-zkp/doctor_test.go",
		"TestADoctorFindsAHealthyMachineHealthy"},
	"it says of itself that it asks none": {"cmd/cargo-zkp/doctor_test.go",
		"TestADoctorFindsAHealthyMachineHealthy"},
	"no successor of the trust file: ...": {"cmd/cargo-zkp/trust_test.go",
		"TestATrustFileIsUpdatedOnlyByItsMaintainersAndNeverSilently"},
	"the trust file at hand names no maintainers": {"cmd/cargo-zkp/trust_test.go",
		"TestATrustFileIsUpdatedOnlyByItsMaintainersAndNeverSilently"},
	"the log's key cannot sign": {"log/cosign_test.go", "TestAKeyThatCannotSignIsNamed"},
	"with none of them: ...": {"log/cosign_test.go",
		"TestTheLogsKeysChangeOneAfterTheOther"},
	"is encrypted (...), and no ... is given":                     {"cmd/logd/keys_test.go", "TestALogSignsWithKeysOfEveryKind"},
	"has a checkpoint of ... entries, signed with this log's key": {"log/ask_test.go", "TestALogOfASnapshotSignsNothing"},
	"end what listens there, or choose another address: ...":      {"cmd/logd/logd_test.go", "TestTheRealProgram"},
	"the index is damaged":                                        {"log/derive_test.go", "TestARottenIndexIsRepairedBeforeAnythingIsAdmitted"},
	"or it was changed":                                           {"log/guard_test.go", "TestAnotherLogsTreeIsRefused"},
	"the tree contradicts itself":                                 {"log/fsck_test.go", "TestFsckFindsWhatAdmissionMustHaveStopped"},
	"the latest entry could not be written to the tree":           {"cmd/logd/disk_linux_test.go", "TestAFullOrReadOnlyDiskPasses"},
	"the tree cannot be written":                                  {"cmd/logd/disk_linux_test.go", "TestAFullOrReadOnlyDiskPasses"},
	"no process holds the lease":                                  {"log/cluster_test.go", "TestSeveralProcessesAreOneLog"},
	"has no process now that adds entries":                        {"log/cluster_test.go", "TestAFrontEndBearsWithAnAbsentSequencer"},
	"could not be renewed":                                        {"log/lease_test.go", "TestALeaseWithoutAMemoryEnds"},
	"has the lease (epoch ...), for ...":                          {"log/lease_test.go", "TestACommandTakesTheLeaseOrSaysWhoHasIt"},
	"does not know the secret":                                    {"log/cluster_test.go", "TestPeersAreStrict"},
	"set the clocks":                                              {"log/cluster_test.go", "TestPeersAreStrict"},
	"another process holds a lock":                                {"log/storage/s3_fault_test.go", "TestAStoppedProcessGivesItsLocksBack"},
	"does not refuse to overwrite":                                {"log/storage/s3_fault_test.go", "TestAStoreThatOverwritesIsRefused"},
	"innodb_flush_log_at_trx_commit = ...":                        {"internal/mysql/mysql_test.go", "TestAServerThatForgetsCommitsIsRefused"},
	"max_allowed_packet":                                          {"log/storage/s3_fault_test.go", "unfit"},
	"make it first":                                               {"log/storage/s3_fault_test.go", "TestNoAnswerOfAStoreIsBelievedOrWaitedForForEver"},
	"ListBucket":                                                  {"log/storage/s3_fault_test.go", "TestNoAnswerOfAStoreIsBelievedOrWaitedForForEver"},
	"a proof has room for ... blocks":                             {"prover/keyring_test.go", "TestKeysThatCannotProveAreFoundBeforeTheWork"},
}

// TestEveryMessageThatIsExplainedIsSaid provokes them all, each by the program that people call, or shows the
// test that does.
func TestEveryMessageThatIsExplainedIsSaid(t *testing.T) {
	c := &complaints{explained: troubles(t), said: map[string]bool{}}
	for message, at := range saidElsewhere {
		c.said[message] = true
		if !saysInTest(t, at[0], at[1], parts(message)) {
			t.Errorf("%s: %s does not provoke %q", at[0], at[1], message)
		}
	}
	worlds := map[string]func(*testing.T, *complaints){"reader": troubledReader, "bundles": troubledBundles,
		"seals":  troubledSeals,
		"proxy":  troubledProxy,
		"prover": troubledProver, "publisher": troubledPublisher, "operator": troubledOperator}
	var done atomic.Int32
	t.Cleanup(func() { // when all of them have ended
		if int(done.Load()) < len(worlds) {
			return // one failed, or -run chose some
		}
		for _, m := range c.explained {
			if !c.said[m] {
				t.Errorf("docs/troubleshooting.md explains %q, and no test provokes it", m)
			}
		}
	})
	for name, world := range worlds {
		t.Run(name, func(t *testing.T) {
			world(t, c)
			done.Add(1)
		})
	}
}

// saysInTest says whether a test has a text with all parts of a message.
func saysInTest(t *testing.T, path, name string, parts []string) bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(fixture.Root(t), path), nil,
		parser.SkipObjectResolution)
	fatalIf(t, err)
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != name {
			continue
		}
		all := ""
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok {
				all += lit.Value + "\n"
			}
			return true
		})
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(all, p) })
	}
	return false
}

// troubled is a project that asks for a proof of a crate of the fixtures.
func (s *site) troubled(t *testing.T, crate, version string) *dependent {
	t.Helper()
	d := newDependent(t, s, crate+" = { version = \"="+version+"\", verification = \"zkp\" }\n")
	d.registry.Add("hello-proof", "0.1.2")
	d.policy("")
	return d
}

func troubledReader(t *testing.T, c *complaints) {
	s := newSite(t)
	s.logFixtures(t)
	d := s.troubled(t, "hello-proof", "0.1.1")
	d.mustCargo("fetch")
	c.by(t, "the trust file has no URL of it", 3, d.zkp("verify"))
	c.by(t, "has no address, so nothing can be fetched from it", 0, d.zkp("doctor"))
	s.addLogURL()

	d = s.troubled(t, "hello-proof", "0.1.1")
	d.mustCargo("generate-lockfile")
	c.by(t, "is not on this machine", 3, d.zkp("verify", "--offline"))
	d.mustCargo("fetch")
	c.by(t, "no bundle of ... is in the cache, and nothing is fetched offline", 3, d.zkp("verify", "--offline"))
	c.by(t, "there is no option ...", 2, d.zkp("verify", "--nonsense"))
	d.policy("max-age = \"1ns\"\n")
	c.by(t, "stale checkpoint: ...", 1, d.zkp("verify"))
	stranger := s.run("witness", "keygen", "-name", "stranger.example", "-out", filepath.Join(d.user, "key.pem"))
	d.trust("group two-of-three 2 w0 w1 w2", "witness w3 "+stranger+"\ngroup two-of-three all w0 w3")
	c.by(t, "too few witnesses: ...", 1, d.zkp("verify"))
	other := s.run("logd", "keygen", "-origin", "log.other.example", "-out", filepath.Join(d.user, "log.pem"))
	d.trust("log "+s.logKey, "log "+other+" "+s.log.url+"\nlog "+s.logKey)
	c.by(t, "shows the checkpoint of another log", 1, d.zkp("doctor"))
	d.write("zkp.toml", "version = 1\ntrust = ["+quoted(s.policy)+"]\n")
	c.by(t, "program not accepted: ...", 1, d.zkp("verify"))
	d.write("zkp.toml", "version = 1\n")
	c.by(t, "no trust file says which logs and witnesses to believe", 2, d.zkp("verify"))
	c.by(t, "is there already, and stays as it is", 1, d.zkp("init"))
	fatalIf(t, os.Remove(filepath.Join(d.dir, "zkp.toml")))
	c.by(t, "there is no zkp.toml", 1, d.zkp("doctor", "--offline"))
	c.by(t, "has no trust file (*.policy), so that no log would be believed", 2,
		d.zkp("init", "--from-lock", "--trust", "src"))
	self := program(t, "cargo-zkp")
	c.by(t, "cargo finds no cargo-zkp", 1, command(t, d.dir, append(slices.Clone(d.env), "PATH=/usr/bin:/bin"), self,
		"doctor", "--offline"))

	d.policy("")
	lib := filepath.Join(d.find("src/*/hello-proof-0.1.1"), "src", "lib.rs")
	was := read(t, lib)
	write(t, lib, "pub fn evil() {}\n")
	c.by(t, "unpacked source differs from the .crate", 1, d.zkp("verify"))
	write(t, lib, string(was))
	archive := d.find("cache/*/hello-proof-0.1.1.crate")
	write(t, archive, string(read(t, archive))+"x")
	c.by(t, "archive differs from the lock file: ...", 1, d.zkp("verify"))

	d = s.troubled(t, "hello-proof", "0.1.2")
	d.mustCargo("fetch")
	c.by(t, "no one has proved this version there", 1, d.zkp("verify"))
	d = s.troubled(t, "hello-proof", "0.1.1")
	d.registry.Replace("hello-proof", "0.1.1", changed(t, "src/lib.rs", "pub fn evil() {}\n"))
	d.mustCargo("fetch")
	c.by(t, "another crate: ...", 1, d.zkp("verify"))
	fatalIf(t, os.Remove(filepath.Join(d.dir, "zkp.toml")))
	c.by(t, "cannot be excepted: see above", 1,
		d.zkp("init", "--from-lock", "--development", "--trust", filepath.Dir(s.policy)))
	d = s.troubled(t, "hello-proof", "0.1.1")
	d.registry.Doctor("hello-proof", "0.1.1", func(line map[string]any) {
		line["features"] = map[string]any{"evil": []string{}}
	})
	d.mustCargo("fetch")
	c.by(t, "the registry's index does not say what the Cargo.toml of ... says", 1, d.zkp("verify"))

	d = newDependent(t, s, "hello-proof = { version = \"=0.1.1\", registry = \"other\" }\n")
	private := registrytest.New(t)
	private.AddCrate(fixture.Crate(t, "hello-proof", "0.1.1"))
	d.write(".cargo/config.toml", "[registries.other]\nindex = \"sparse+"+private.Index+"\"\n")
	d.policy("require = \"all\"\n")
	d.mustCargo("fetch")
	c.by(t, "so no log is asked about it", 1, d.zkp("verify"))

	troubledExceptions(t, c, s)

	s.stopAll()
	d = s.troubled(t, "hello-proof", "0.1.1")
	d.mustCargo("fetch")
	c.by(t, "does not answer", 1, d.zkp("doctor"))
	c.by(t, "the log ... did not say whether it holds", 3, d.zkp("verify"))
	fatalIf(t, os.Remove(filepath.Join(d.dir, "zkp.toml")))
	c.by(t, "could not be checked, so that nothing is written: what is not known is not excepted", 3,
		d.zkp("init", "--from-lock", "--development", "--trust", filepath.Dir(s.policy)))
}

// troubledExceptions is a project with exceptions.
func troubledExceptions(t *testing.T, c *complaints, s *site) {
	d := s.troubled(t, "hello-proof", "0.1.2")
	d.policy("require = \"all\"\nexceptions = \"zkp-exceptions.toml\"\n")
	d.mustCargo("fetch")
	c.by(t, "exceptions names a file that does not exist", 3, d.zkp("verify"))
	d.zkp("init", "--from-lock", "--force", "--expires", "10d").want(t, 0)
	c.by(t, "will be refused when an exception ends", 0, d.zkp("verify"))
	c.by(t, "--deny warnings makes them errors", 1, d.zkp("verify", "--deny", "warnings"))
	file := filepath.Join(d.dir, "zkp-exceptions.toml")
	text := string(read(t, file))
	write(t, file, strings.Replace(text, "0.1.2", "0.1.1", 1)+"# by hand\n")
	c.by(t, "was changed by hand: what is not an exception in it would be lost", 3,
		d.zkp("prune"))
	write(t, file, regexp.MustCompile(`(?m)^expires = .*$`).ReplaceAllString(text, `expires = "2020-01-31"`))
	c.by(t, "expired, and do not count any more", 0, d.zkp("policy", "check"))
	d.git("init", "-q")
	c.by(t, "git finds no commit", 3, d.zkp("verify", "--since", "gone"))
}

// troubledBundles is given bundles that no honest log makes.
func troubledBundles(t *testing.T, c *complaints) {
	if testing.Short() {
		t.Parallel()
	}
	dir := t.TempDir()
	l := testlog.New("log.example/trouble", 3, time.Now)
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	trust := filepath.Join(dir, "trust.policy")
	write(t, trust, string(l.Trust(server.URL)))
	good := fixture.Entry(t, "hello-proof-0.1.0")
	wrong := *good
	wrong.Proof = fixture.Entry(t, "hello-proof-0.1.1").Proof // true, of another crate
	l.Add([]byte("first"), testlog.Must(good.Marshal()))
	l.Add(testlog.Must(wrong.Marshal()))
	file := filepath.Join(dir, "hello-proof-0.1.0.crate")
	write(t, file, string(fixture.Crate(t, "hello-proof", "0.1.0")))
	state := t.TempDir()
	verify := func(args ...string) outcome {
		return command(t, dir, []string{"XDG_STATE_HOME=" + state, "XDG_CACHE_HOME=" + t.TempDir()}, program(t,
			"cargo-zkp"),
			append([]string{"verify", file, "--trust", trust, "--development"}, args...)...)
	}
	give := func(bundle []byte) outcome {
		write(t, filepath.Join(dir, "given"), string(bundle))
		return verify("--bundle", "given")
	}
	of := func(tree *testlog.Tree, index, size int64) []byte {
		return tree.Bundle(index, size, l.Sign(tree, size, l.Witnesses...))
	}
	give(of(l.Tree, 1, 3)).want(t, 0)
	c.by(t, "proof does not hold: ...", 1, give(of(l.Tree, 3, 5)))
	stranger := testlog.New("log.example/stranger", 3, time.Now)
	stranger.Add(testlog.Must(good.Marshal()))
	c.by(t, "unknown log: ...", 1, give(stranger.Tree.Bundle(0, 2, stranger.Sign(stranger.Tree, 2,
		stranger.Witnesses...))))
	newer := of(l.Tree, 1, 5)
	l.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v1/crates/") {
			_, err := w.Write(newer)
			return err == nil
		}
		return testlog.Answer("/tile/", http.StatusNotFound, nil)(w, r)
	})
	c.by(t, "it could not be shown that the tree of ... continues the one with", 3, verify("--log", server.URL))
	l.Intercept(nil)
	c.by(t, "signed two trees that cannot both be true", 1, give(of(l.Tree.With(0, []byte("another")), 1, 3)))
}

// troubledSeals is shown what a log's sealed index does not bear out.
func troubledSeals(t *testing.T, c *complaints) {
	if testing.Short() {
		t.Parallel()
	}
	l := testlog.New("log.example/seals", 3, time.Now)
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "trust.policy"), string(l.Trust(server.URL)))
	write(t, filepath.Join(dir, "hello-proof-0.1.0.crate"), string(fixture.Crate(t, "hello-proof", "0.1.0")))
	verify := func(args ...string) outcome {
		return command(t, dir, []string{"XDG_STATE_HOME=" + t.TempDir(), "XDG_CACHE_HOME=" + t.TempDir()}, program(t, "cargo-zkp"),
			append([]string{"verify", "hello-proof-0.1.0.crate", "--trust", "trust.policy", "--development"}, args...)...)
	}
	give := func(tree *testlog.Tree, index int64) outcome {
		n := tree.Size()
		write(t, filepath.Join(dir, "given"), string(tree.Bundle(index, n, l.Sign(tree, n, l.Witnesses...))))
		return verify("--bundle", "given")
	}
	good, other := fixture.Entry(t, "hello-proof-0.1.0"), fixture.Entry(t, "hello-proof-0.1.0")
	other.Subject.SHA256[0] ^= 1
	l.Add(testlog.Must(good.Marshal()))
	give(l.Tree, 0).want(t, 0)

	tree := testlog.NewTree(testlog.Must(other.Marshal()), testlog.Must(good.Marshal()))
	tree.Seal()
	c.by(t, "void entry: ...", 1, give(tree, 1))
	c.by(t, "no valid seal: ...", 1, give(testlog.NewTree(testlog.Must(good.Marshal())), 0))
	rules := l.Tree.Fork(1)
	rules.Append(testlog.Must((&entry.Seal{Rules: entry.Rules + 1, Size: 1}).Marshal()))
	c.by(t, "get a newer version", 1, give(rules, 0))

	notThere := testlog.Answer("/v1/crates/", http.StatusNotFound, []byte(`{"reason":"not-found","message":"no"}`))
	l.Intercept(notThere)
	c.by(t, "and hands out no claim about it that the policy counts", 1, verify("--log", server.URL))
	l.Intercept(testlog.Answer("/v1/", http.StatusNotFound, []byte(`{"reason":"not-found","message":"no"}`)))
	c.by(t, "the log withholds what it holds: ...", 3, verify("--log", server.URL))
}

func troubledProxy(t *testing.T, c *complaints) {
	s := newSite(t)
	s.addLogURL()
	d := s.troubled(t, "hello-proof", "0.1.2")
	c.by(t, "is not a loopback address: every machine that can connect to the proxy can use it", 2,
		d.zkp("proxy", "--listen", "0.0.0.0:18088"))
	d.proxy()
	c.by(t, "cratelog refuses ...: ", 101, d.cargo("fetch"))
	address := regexp.MustCompile(`127\.0\.0\.1:[0-9]+`).FindString(string(read(t, filepath.Join(d.dir, ".cargo",
		"config.toml"))))
	c.by(t, "the proxy may be running already, and then it serves this workspace too", 3, d.zkp("proxy", "--listen",
		address))
	ask := func(path string) outcome {
		r, err := http.Get("http://" + address + path)
		fatalIf(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		fatalIf(t, err)
		return outcome{r.StatusCode, string(b), ""}
	}
	c.by(t, "the address names no workspace", http.StatusForbidden, ask("/config.json"))
	c.by(t, "The workspace moved, or is a copy", http.StatusForbidden, ask("/0123456789abcdef/config.json"))
}

func troubledProver(t *testing.T, c *complaints) {
	s := newSite(t)
	s.addLogURL()
	d := s.troubled(t, "hello-proof", "0.1.1")
	dir := ownCrate(t)
	in := func(args ...string) outcome { return command(t, dir, d.env, "cargo", args...) }
	zkp := func(args ...string) outcome { return in(append([]string{"zkp"}, args...)...) }
	pack := func() {
		t.Helper()
		in("package", "--allow-dirty", "--no-verify", "--target-dir", "target").want(t, 0)
	}
	fatalIf(t, os.RemoveAll(filepath.Join(dir, "target")))
	pack()
	const file = "target/package/hello-proof-0.2.0.crate"
	write(t, filepath.Join(dir, "src", "lib.rs"), "pub fn changed() {}\n")
	pack()
	o := zkp("prove", file)
	c.by(t, "packaged with --allow-dirty, by cargo's own word", 1, o)
	c.by(t, "its content differs from the commit's ...", 1, o)
	c.by(t, "which log is to hold the entries?", 2, zkp("publish"))
	write(t, filepath.Join(dir, "bare-1.0.0.crate"), string(registrytest.MakeCrate("bare", "1.0.0", nil)))
	c.by(t, "so it does not say which commit it comes from", 2, zkp("prove", "bare-1.0.0.crate"))
	c.by(t, "no directory of the commit has a Cargo.toml with this content", 1,
		zkp("prove", "bare-1.0.0.crate", "--commit", "HEAD"))

	site := copyFixture(t, "hello-proof-0.1.0", t.TempDir())
	zkp("submit", site, "--log", s.log.url).want(t, 0)
	c.by(t, "is in the log with another checksum", 1,
		zkp("submit", copyFixture(t, "hello-proof-0.1.0-repacked", t.TempDir()), "--log", s.log.url))

	d.registry.AddCrate(registrytest.MakeCrate("bare", "1.0.0", nil))
	c.by(t, "needs --repository, the path or the URL of the git repository", 2,
		zkp("prove", "bare@1.0.0", "--index", d.registry.Index))
	c.by(t, "has no commit ... in its branches and tags", 1, zkp("prove", file, "--repository", "file://"+dir,
		"--commit",
		strings.Repeat("12", 20)))
	c.by(t, "is a development key, with which anyone can make false proofs", 3, zkp("prove", file, "--log", s.log.url))

	// With a lock file.
	d = s.troubled(t, "hello-proof", "0.1.1")
	d.mustCargo("fetch")
	d.write(backlog.MapName, "[crate.hello-proof]\nrepository = \"http://127.0.0.1:1/a\"\n")
	work := filepath.Join(d.dir, "target", "work")
	c.by(t, "could not be tried; run the same command again", 3, d.zkp("prove", "--lock", "--dir", work))
	fatalIf(t, os.MkdirAll(work, 0o755))
	held := testlog.Must(flock.Take(filepath.Join(work, ".lock"))) // as another process that works there
	c.by(t, "is at work there", 3, d.zkp("prove", "--lock", "--dir", work))
	fatalIf(t, held.Close())
}

func troubledPublisher(t *testing.T, c *complaints) {
	if testing.Short() {
		t.Parallel()
	}
	fixture.Need(t, "cargo", "git")
	dir := ownCrate(t)
	zkp := func(args ...string) outcome {
		return command(t, dir, []string{"CARGO_HOME=" + t.TempDir(), "RUSTUP_HOME=" + rustupHome(t),
			"XDG_CACHE_HOME=" + t.TempDir()}, program(t, "cargo-zkp"), args...)
	}
	c.by(t, "which log is to hold the entries?", 2, zkp("publish"))
	programs := testlog.Must(proofcheck.Embedded())
	write(t, filepath.Join(dir, "..", "p.json"), string(testlog.Must(programs[0].Marshal())))
	write(t, filepath.Join(dir, "..", "key"), "no key")
	command(t, dir, nil, "cargo", "package", "--no-verify", "--target-dir", "target").want(t, 0)
	c.by(t, "the proving key is not this program's", 3, zkp("prove", "target/package/hello-proof-0.2.0.crate",
		"--program", "../p.json", "--proving-key", "../key"))
	manifest := filepath.Join(dir, "Cargo.toml")
	write(t, manifest, strings.Replace(string(read(t, manifest)), "version = \"0.2.0\"\n",
		"version = \"0.2.0\"\npublish = false\n", 1))
	commit(t, dir, "Publish nothing")
	c.by(t, "says publish = false in its Cargo.toml", 1, zkp("publish", "-p", "hello-proof", "--log",
		"http://127.0.0.1:1"))
}

func troubledOperator(t *testing.T, c *complaints) {
	run := func(name string, args ...string) outcome {
		return command(t, t.TempDir(), nil, program(t, name), args...)
	}
	settings := filepath.Join(t.TempDir(), "logd.toml")
	write(t, settings, "")
	c.by(t, `the setting "..." is missing; see config/....example.toml`, 3, run("logd", "serve", "-config", settings))
	write(t, settings, "orign = \"x\"\n")
	c.by(t, "unknown key ...; correct its spelling or remove it", 3, run("logd", "serve", "-config", settings))
	write(t, settings, "name = \"w.example\"\nlisten = \"127.0.0.1:0\"\ndatabase = \"none.db\"\nkeys = [\"key.pem\"]\n")
	key := filepath.Join(filepath.Dir(settings), "key.pem")
	run("witness", "keygen", "-name", "w.example", "-out", key).want(t, 0)
	c.by(t, "the database ... does not exist", 3, run("witness", "serve", "-config", settings))
	fatalIf(t, os.Chmod(key, 0o644))
	c.by(t, "run: chmod 600 ...", 3, run("witness", "serve", "-config", settings))
	c.by(t, "holds no log, witness or monitor", 3, run("cratelog", "run", t.TempDir()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatalIf(t, err)
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	c.by(t, "end what listens there, or choose other ports with --port N", 3,
		run("cratelog", "init", "--port", port, filepath.Join(t.TempDir(), "log")))

	s := newSite(t)
	write(t, settings, fmt.Sprintf("database = \"m.db\"\nevidence = \"e\"\ndevelopment = true\n[[log]]\ntrust = %q\n", s.policy))
	run("monitor", "init", "-config", settings).want(t, 0)
	held := testlog.Must(flock.Take(filepath.Join(filepath.Dir(settings), "m.db.lock")))
	c.by(t, "another monitor follows its logs with the database ...", 3, run("monitor", "once", "-config", settings))
	fatalIf(t, held.Close())
	serve := func() outcome { return run("logd", "serve", "-config", s.path("logd.toml")) }
	c.by(t, "is in use by another log server: stop that one first", 3, serve())
	zkp(t, "submit", copyFixture(t, fixtures[0], t.TempDir()), "--log", s.log.url).want(t, 0)
	s.log.stop()
	s.copyDir("tree", "tree.old")
	s.startLog()
	zkp(t, "submit", copyFixture(t, fixtures[1], t.TempDir()), "--log", s.log.url).want(t, 0)
	s.log.stop()
	s.copyDir("tree", "tree.new")
	s.copyDir("tree.old", "tree")
	c.by(t, "was rolled back to ... entries, but this log has signed a checkpoint of ...", 3, serve())
	s.copyDir("tree.new", "tree")
	s.copyDir("state", "state.old")
	fatalIf(t, os.RemoveAll(s.path("state")))
	c.by(t, "remembers no checkpoint: ...", 3, serve())
	s.copyDir("state.old", "state")
	text := string(read(t, s.path("logd.toml")))
	write(t, s.path("logd.toml"), strings.Replace(text, "development = true\n", "", 1))
	c.by(t, "no proof program is accepted: ", 3, serve())
}
