package e2e

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"cratelog/internal/fixture"
)

var (
	mdLink    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	mdHeading = regexp.MustCompile("(?m)^#+ (.*)$")
	mdCommand = regexp.MustCompile("(?m)(?:^(?:    |\t)(?:\\$ )?|`)" +
		"((?:cargo zkp|logd|witness|monitor|ceremony|cratelog) [^`\n]*)(?:`|$)")
	aFlag = regexp.MustCompile(`(?:^|[\s\[])(--?[a-zA-Z][a-zA-Z0-9-]*)`)
	aVerb = regexp.MustCompile(`^[a-z][a-z-]*$`)
)

// pages returns all pages of documentation, by their path below the root.
func pages(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	fatalIf(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if rel, err := filepath.Rel(root, path); err == nil && strings.HasSuffix(path, ".md") {
			found[filepath.ToSlash(rel)] = string(read(t, path))
		}
		return nil
	}))
	return found
}

// anchor is the one that a heading gets on the usual forges.
func anchor(heading string) string {
	heading = strings.ToLower(regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1"))
	return regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(heading, "") // spaces become - below
}

// TestEveryLinkOfThePagesLeadsSomewhere looks at links within the project, and at the index.
func TestEveryLinkOfThePagesLeadsSomewhere(t *testing.T) {
	root := fixture.Root(t)
	all := pages(t, root)
	anchors := map[string][]string{}
	for path, text := range all {
		for _, m := range mdHeading.FindAllStringSubmatch(text, -1) {
			anchors[path] = append(anchors[path], strings.ReplaceAll(anchor(m[1]), " ", "-"))
		}
	}
	linked := map[string]bool{}
	for path, text := range all {
		for _, m := range mdLink.FindAllStringSubmatch(text, -1) {
			u, err := url.Parse(m[1])
			if err != nil || u.Scheme != "" {
				continue
			}
			to := path
			if u.Path != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(path), u.Path))
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			} else if u.Fragment != "" && !slices.Contains(anchors[to], u.Fragment) {
				t.Errorf("%s links to %s, and that page has no such heading", path, m[1])
			}
			if path == "docs/README.md" {
				linked[to] = true
			}
		}
	}
	for path := range all {
		if filepath.Dir(path) == "docs" && path != "docs/README.md" && !linked[path] {
			t.Errorf("docs/README.md, the index, has no link to %s", path)
		}
	}
}

// TestEveryFolderHasItsRow in the table at the end of the README.
func TestEveryFolderHasItsRow(t *testing.T) {
	root := fixture.Root(t)
	folders, err := os.ReadDir(root)
	fatalIf(t, err)
	_, table, _ := strings.Cut(string(read(t, filepath.Join(root, "README.md"))), "\n## Where things are\n")
	for _, d := range folders {
		if d.IsDir() && !strings.HasPrefix(d.Name(), ".") && !strings.Contains(table, "\n| `"+d.Name()+"/` | ") {
			t.Errorf("README.md does not say what is in %s/", d.Name())
		}
	}
}

// TestThePagesFitTheirColumns: 100, but for tables and what is shown as it is.
func TestThePagesFitTheirColumns(t *testing.T) {
	for path, text := range pages(t, fixture.Root(t)) {
		fenced := false
		for i, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(line, "```") {
				fenced = !fenced
			}
			if utf8.RuneCountInString(line) > 100 && !fenced && !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "    ") {
				t.Errorf("%s:%d has %d columns", path, i+1, utf8.RuneCountInString(line))
			}
		}
	}
}

// withVerbs are the verbs that have verbs.
var withVerbs = []string{"cargo-zkp builder", "cargo-zkp environment", "cargo-zkp policy", "cargo-zkp trust", "cratelog trust", "logd openings"}

// wrapped are cargo's own verbs: their options are cargo's.
var wrapped = []string{"build", "check", "test", "run", "clippy", "doc", "bench"}

// verbAndRest takes apart a command line of a page.
func verbAndRest(line string) (verb []string, rest string) {
	line, _, _ = strings.Cut(line, " #")
	line, _, _ = strings.Cut(line, " -- ") // what is behind is for the program that is run
	line, _, _ = strings.Cut(line, " | ")
	prog, rest, _ := strings.Cut(strings.Replace(line, "cargo zkp ", "cargo-zkp ", 1), " ")
	verb = []string{prog}
	for range 2 {
		v, after, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
		if !aVerb.MatchString(v) || len(verb) == 2 && !slices.Contains(withVerbs, strings.Join(verb, " ")) {
			break
		}
		verb, rest = append(verb, v), after
	}
	return verb, rest
}

// TestTheCommandsOfThePagesHaveTheirOptions asks each program for its help: whatever a page
// shows as a command must have its verb, and all its options.
func TestTheCommandsOfThePagesHaveTheirOptions(t *testing.T) {
	root := fixture.Root(t)
	helps := map[string]string{}
	help := func(verb []string) string {
		key := strings.Join(verb, " ")
		if _, ok := helps[key]; !ok {
			o := command(t, t.TempDir(), nil, program(t, verb[0]), append(slices.Clone(verb[1:]), "--help")...)
			helps[key] = o.stdout
			if o.code != 0 || o.stdout == "" || o.stderr != "" {
				t.Errorf("%s --help: %v", key, o)
			}
		}
		return helps[key]
	}
	all, seen := pages(t, root), 0
	for path, text := range all {
		if path == "NEWS.md" {
			continue // what was
		}
		if path == "docs/troubleshooting.md" {
			text = regexp.MustCompile("(?m)^\\| `[^|]*\\|").ReplaceAllString(text, "|") // messages are no commands
		}
		for _, m := range mdCommand.FindAllStringSubmatch(text, -1) {
			verb, rest := verbAndRest(m[1])
			if verb[0] == "cargo-zkp" && len(verb) > 1 && slices.Contains(wrapped, verb[1]) {
				continue
			}
			text := help(verb)
			if verb[0] == "monitor" && strings.Contains(text, "--PARAMETER") {
				text += strings.ReplaceAll(all["docs/monitor-api.md"], "`", "-")
			}
			for _, f := range aFlag.FindAllStringSubmatch(rest, -1) {
				if !regexp.MustCompile(`-` + strings.TrimLeft(f[1], "-") + `\b`).MatchString(text) {
					t.Errorf("%s: %q: the help of %s has no %s", path, m[1], strings.Join(verb, " "), f[1])
				}
				seen++
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d options were found in the pages", seen)
	}
}

// TestEverySettingStandsInItsExample, and so can be found.
func TestEverySettingStandsInItsExample(t *testing.T) {
	root := fixture.Root(t)
	tag := regexp.MustCompile("toml:\"([a-z_0-9]+)\"")
	for program, sources := range map[string][]string{
		"logd":    {"cmd/logd", "log", "config/signer"},
		"witness": {"cmd/witness", "witness", "config/signer"},
		"monitor": {"cmd/monitor", "monitor", "monitor/alert"},
	} {
		example, settings := string(read(t, filepath.Join(root, "config", program+".example.toml"))), 0
		for _, dir := range sources {
			files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
			fatalIf(t, err)
			for _, file := range files {
				if strings.HasSuffix(file, "_test.go") {
					continue
				}
				for _, m := range tag.FindAllStringSubmatch(string(read(t, file)), -1) {
					settings++
					stands := `(?m)^(# )?(` + m[1] + ` = |\[\[?([a-z]+\.)?` + m[1] + `\])`
					if !regexp.MustCompile(stands).MatchString(example) {
						t.Errorf("config/%s.example.toml does not show %s, a setting in %s", program, m[1], file)
					}
				}
			}
		}
		if settings < 10 {
			t.Errorf("%s has only %d settings", program, settings)
		}
	}
}
