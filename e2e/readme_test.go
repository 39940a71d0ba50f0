package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/fixture"
)

// TestTheCommandsOfTheREADMEWork runs them, word for word but for the names that
// the reader must fill in, beside a demonstration that runs as the README says.
func TestTheCommandsOfTheREADMEWork(t *testing.T) {
	root := fixture.Root(t)
	text := string(read(t, filepath.Join(root, "README.md")))
	if !strings.Contains(text, "\n    go run ./cmd/demo ") {
		t.Error("the README does not begin with go run ./cmd/demo, which TestTheDemonstrationCanBeLookedAt runs")
	}
	_, section, ok := strings.Cut(text, "\n## Publish: prove your own crate\n")
	section, _, _ = strings.Cut(section, "\n## ")
	commands := regexp.MustCompile(`(?m)^    (.*)$`).FindAllStringSubmatch(section, -1)
	if !ok || len(commands) < 5 {
		t.Fatalf("the README's section about one's own crate has %d commands", len(commands))
	}
	if testing.Short() {
		t.Skip("it makes the proving key, and proves")
	}
	fixture.Need(t, "cargo", "git", "sh")
	dir := ownCrate(t)
	t.Setenv("TMPDIR", t.TempDir())
	demo := launch(t, "demo")
	shown := demo.waitFor(t, "Try it:\n   go run ./cmd/cargo-zkp ")
	fill := strings.NewReplacer(
		"cd .../cratelog", "cd "+quote(root),
		"NAME-VERSION", "hello-proof-0.2.0",
		"--log URL", "--log "+group(t, shown, `--log (\S+)`),
		"--trust TRUST", "--trust "+quote(group(t, shown, `--trust (\S+)`)))
	bin := t.TempDir()
	env := []string{"GOBIN=" + bin, "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"),
		"CARGO_HOME=" + t.TempDir()}
	for _, c := range commands {
		o := command(t, dir, env, "sh", "-c", fill.Replace(c[1]))
		o.want(t, 0)
		if o.code != 0 {
			t.Fatalf("the README's command %q failed", c[1])
		}
	}
}

// TestTheREADMEShowsWhatARefusedBuildPrints compares all of it, from the error on, with what a plain
// cargo behind the proxy prints. The proxy's URL and the headers are this run's.
func TestTheREADMEShowsWhatARefusedBuildPrints(t *testing.T) {
	proxyURL := regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/[0-9a-f]+/`)
	same := func(text string) string { return proxyURL.ReplaceAllString(text, "URL/") }
	const prompt = "    $ cargo build\n"
	_, after, _ := strings.Cut(string(read(t, filepath.Join(fixture.Root(t), "README.md"))), prompt)
	var shown strings.Builder
	for line := range strings.Lines(after) {
		if line != "\n" && !strings.HasPrefix(line, "    ") {
			break
		}
		shown.WriteString(strings.TrimPrefix(line, "    "))
	}
	s := newSite(t)
	s.addLogURL()
	d := newDependent(t, s, "hello-proof = { version = \"=0.1.2\", verification = \"zkp\" }\n")
	d.registry.Add("hello-proof", "0.1.2")
	d.policy("")
	d.proxy()
	o := d.cargo("build")
	o.want(t, 101, "\nerror: ")
	_, printed, _ := strings.Cut(o.stderr, "\nerror: ")
	printed = strings.ReplaceAll(printed, "--log "+s.log.url, "--log https://log.example/2026")
	printed = strings.ReplaceAll("error: "+printed, origin, "log.example/2026")
	printed = regexp.MustCompile(`as of [0-9TZ:-]+`).ReplaceAllString(printed, "as of 2026-11-29T08:00:00Z")
	printed = regexp.MustCompile(`(?m)^  debug headers:\n  x-served-by: .*\n`).ReplaceAllString(printed, "")
	if got := same(strings.TrimSpace(shown.String())); got != same(strings.TrimSpace(printed)) {
		t.Errorf("the README shows\n%s\nand cargo prints\n%s", got, printed)
	}
}

// ownCrate returns a clean checkout of a crate that no log holds yet. It has
// no dependencies, so cargo package needs no registry.
func ownCrate(t *testing.T) string {
	t.Helper()
	dir := checkout(t, fixture.Repo(t), "v0.1.1")
	manifest := filepath.Join(dir, "Cargo.toml")
	text := string(read(t, manifest))
	write(t, manifest, strings.Replace(text, `version = "0.1.1"`, `version = "0.2.0"`, 1))
	commit(t, dir, "Release 0.2.0")
	return dir
}

func group(t *testing.T, text, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("nothing matches %s in\n%s", pattern, text)
	}
	return found[1]
}

// quote makes one word of a shell's command.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// TestTheExampleOfTheFormatsIsTheFixture reads the worked example in docs/formats.md
// back into bytes.
func TestTheExampleOfTheFormatsIsTheFixture(t *testing.T) {
	root := fixture.Root(t)
	_, example, ok := strings.Cut(string(read(t, filepath.Join(root, "docs", "formats.md"))),
		"### Example: `testdata/hello-proof-0.1.0.entry`\n\n")
	if !ok {
		t.Fatal("docs/formats.md has no example")
	}
	example, values, _ := strings.Cut(example, "\n\n")
	var digits strings.Builder
	for line := range strings.Lines(example) {
		digits.WriteString(strings.Fields(line)[0])
	}
	raw := fixture.Read(t, "hello-proof-0.1.0.entry")
	if want := hexOf(raw); digits.String() != want {
		t.Errorf("the example is\n%s\nthe entry is\n%s", digits.String(), want)
	}
	e := fixture.Entry(t, "hello-proof-0.1.0")
	id, err := e.Identity()
	fatalIf(t, err)
	context, err := entry.Context(e.Subject, e.Claim)
	fatalIf(t, err)
	leaf := entry.LeafHash(raw)
	for _, want := range []string{"identity " + hexOf(id[:]), "context  " + hexOf(context[:]), "leaf     " +
		hexOf(leaf[:])} {
		if !strings.Contains(values[:400], want) {
			t.Errorf("the example does not say %q", want)
		}
	}
}
