package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"cratelog/internal/fixture"
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

// TestTheMostCommonMessagesAreSaid provokes them.
func TestTheMostCommonMessagesAreSaid(t *testing.T) {
	s := newSite(t)
	s.logFixtures(t)
	s.addLogURL()
	explained := "\x00" + strings.Join(troubles(t), "\x00") + "\x00"
	says := func(message string, code int, o outcome) {
		t.Helper()
		if !strings.Contains(explained, "\x00"+message) {
			t.Errorf("docs/troubleshooting.md does not explain %q", message)
		}
		for part := range strings.SplitSeq(strings.TrimSuffix(message, ": ..."), "...") {
			if part = strings.Trim(part, ` "`); !strings.Contains(o.stderr+o.stdout, part) || o.code != code {
				t.Errorf("%v\nwanted exit code %d and %q", o, code, part)
			}
		}
	}
	project := func(crate, version string) *dependent {
		d := newDependent(t, s, crate+" = { version = \"="+version+"\", verification = \"zkp\" }\n")
		d.registry.Add("hello-proof", "0.1.2")
		d.policy("")
		return d
	}
	d := project("hello-proof", "0.1.1")
	d.mustCargo("generate-lockfile")
	says("is not on this machine", 3, d.zkp("verify", "--offline"))
	d.mustCargo("fetch")
	says("no bundle of ... is in the cache, and nothing is fetched offline", 3, d.zkp("verify", "--offline"))
	says("there is no option ...", 2, d.zkp("verify", "--nonsense"))
	d.policy("max-age = \"1ns\"\n")
	says("stale checkpoint: ...", 1, d.zkp("verify"))
	stranger := s.run("witness", "keygen", "-name", "stranger.example", "-out", filepath.Join(d.user, "key.pem"))
	d.trust("group two-of-three 2 w0 w1 w2", "witness w3 "+stranger+"\ngroup two-of-three all w0 w3")
	says("too few witnesses: ...", 1, d.zkp("verify"))
	d.write("zkp.toml", "version = 1\ntrust = ["+quoted(s.policy)+"]\n")
	says("program not accepted: ...", 1, d.zkp("verify"))
	d.write("zkp.toml", "version = 1\n")
	says("no trust file says which logs and witnesses to believe", 2, d.zkp("verify"))
	says("is there already, and stays as it is", 1, d.zkp("init"))
	fatalIf(t, os.Remove(filepath.Join(d.dir, "zkp.toml")))
	says("there is no zkp.toml", 1, d.zkp("doctor", "--offline"))
	says("has no trust file (*.policy), so that no log would be believed", 2, d.zkp("init", "--from-lock", "--trust", "src"))
	says("is not a loopback address: every machine that can connect to the proxy can use it", 2,
		d.zkp("proxy", "--listen", "0.0.0.0:18088"))

	d = project("hello-proof", "0.1.2")
	d.mustCargo("fetch")
	says("no one has proved this version there, or not as the policy asks for", 1, d.zkp("verify"))
	d = project("hello-proof", "0.1.1")
	d.registry.Replace("hello-proof", "0.1.1", changed(t, "src/lib.rs", "pub fn evil() {}\n"))
	d.mustCargo("fetch")
	says("another crate: ...", 1, d.zkp("verify"))

	dir := ownCrate(t)
	write(t, filepath.Join(dir, "src", "lib.rs"), "pub fn changed() {}\n")
	fatalIf(t, os.RemoveAll(filepath.Join(dir, "target")))
	o := command(t, dir, d.env, "cargo", "package", "--allow-dirty", "--no-verify", "--target-dir", "target")
	o.want(t, 0)
	o = command(t, dir, d.env, "cargo", "zkp", "prove", "target/package/hello-proof-0.2.0.crate")
	says("packaged with --allow-dirty, by cargo's own word", 1, o)
	says("its content differs from the commit's ...", 1, o)
	says("which log is to hold the entries?", 2, command(t, dir, d.env, "cargo", "zkp", "publish"))

	run := func(name string, args ...string) outcome {
		return command(t, t.TempDir(), nil, program(t, name), args...)
	}
	settings := filepath.Join(t.TempDir(), "logd.toml")
	write(t, settings, "")
	says(`the setting "..." is missing; see config/....example.toml`, 3, run("logd", "serve", "-config", settings))
	write(t, settings, "orign = \"x\"\n")
	says("unknown key ...; correct its spelling or remove it", 3, run("logd", "serve", "-config", settings))
	write(t, settings, "name = \"w.example\"\nlisten = \"127.0.0.1:0\"\ndatabase = \"none.db\"\nkeys = [\"key.pem\"]\n")
	key := filepath.Join(filepath.Dir(settings), "key.pem")
	run("witness", "keygen", "-name", "w.example", "-out", key).want(t, 0)
	says("the database ... does not exist", 3, run("witness", "serve", "-config", settings))
	fatalIf(t, os.Chmod(key, 0o644))
	says("run: chmod 600 ...", 3, run("witness", "serve", "-config", settings))
	s.stopAll()
	d = project("hello-proof", "0.1.1")
	d.mustCargo("fetch")
	says("the log ... did not say whether it holds", 3, d.zkp("verify"))
	fatalIf(t, os.Remove(filepath.Join(d.dir, "zkp.toml")))
	says("could not be checked, so that nothing is written: what is not known is not excepted", 3,
		d.zkp("init", "--from-lock", "--development", "--trust", filepath.Dir(s.policy)))
	says("holds no log, witness or monitor", 3, run("cratelog", "run", t.TempDir()))
}
