package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/internal/outcome"
)

func TestEachVerbTellsItsOptionsAndHasExamples(t *testing.T) {
	verbs := allVerbs()
	if len(verbs) < 30 {
		t.Fatalf("there are %d verbs only: %q", len(verbs), verbs)
	}
	for _, verb := range verbs {
		p, ok := readPage(t.Context(), verb)
		if !ok || p.verb != verb || p.flags == nil {
			t.Errorf("%s: its page is that of %q", verb, p.verb)
			continue
		}
		if s := p.summary(); s == "" || strings.ContainsAny(s, "\n\t") {
			t.Errorf("%s: what it does is %q", verb, s)
		}
		if len(examplesOf(verb)) == 0 {
			t.Errorf("%s has no example: see help_examples.go", verb)
		}
		for line := range strings.SplitSeq(p.text(), "\n") {
			if n := len([]rune(line)); n > helpWidth+10 {
				t.Errorf("%s --help has a line of %d columns: %s", verb, n, line)
			}
		}
	}
	var out bytes.Buffer
	for _, args := range [][]string{{"help"}, {"help", "--help"}, {"--help"}} {
		out.Reset()
		if code := run(t.Context(), args, &out, &out); code != 0 || out.String() != usage {
			t.Errorf("%q: exit %d\n%s", args, code, &out)
		}
	}
	for verb := range examples {
		if !slices.Contains(verbs, verb) {
			t.Errorf("there are examples of a verb %q, which is not there", verb)
		}
	}
}

// An example with an option that is no more, or a value that it does not take, fails here.
func TestTheExamplesAreCommandLines(t *testing.T) {
	exit := func(line string) (int, string) {
		var out bytes.Buffer
		words := strings.Fields(line)
		if words[0] == "cargo" {
			words = words[1:]
		}
		code := run(t.Context(), append(words[1:], "--help"), &out, &out)
		return code, out.String()
	}
	if code, _ := exit("cargo zkp verify --gone"); code != int(outcome.Usage) {
		t.Fatalf("this test sees no wrong option: exit %d", code)
	}
	for _, verb := range allVerbs() {
		for _, e := range examplesOf(verb) {
			if strings.ContainsAny(e.line, `'"$|&;`) || !strings.Contains(e.line, verb) || e.what == "" {
				t.Errorf("%s: %q is not one plain command line", verb, e.line)
			}
			if code, out := exit(e.line); code != 0 {
				t.Errorf("%s: exit %d\n%s", e.line, code, out)
			}
		}
	}
}

func TestEachHeadingHasOptions(t *testing.T) {
	known := make(map[string]bool)
	for _, verb := range allVerbs() {
		p, _ := readPage(t.Context(), verb)
		for _, g := range p.groups() {
			for _, o := range g.options {
				for _, name := range o.names {
					known[g.title+" "+strings.TrimLeft(name, "-")] = true
				}
			}
		}
	}
	for _, h := range headings {
		for name := range strings.FieldsSeq(h.names) {
			if !known[h.title+" "+name] {
				t.Errorf("no verb has an option %s under %q", name, h.title)
			}
		}
	}
}

func TestOptionsMayStandBeforeTheVerb(t *testing.T) {
	for line, want := range map[string]string{
		"-q verify --offline":                     "verify -q --offline",
		"--color always -vv builder run --follow": "builder run --color always -vv --follow",
		"--color=never policy check":              "policy check --color=never",
		"--verbose build --release -- -x":         "build --verbose --release -- -x",
		"verify -q":                               "verify -q",
		"--unknown verify":                        "--unknown verify",
		"-q":                                      "-q",
		"--help":                                  "--help",
		"--color":                                 "--color",
		"-v builder":                              "builder -v",
		"--quiet environment import x --color auto": "environment import --quiet x --color auto",
	} {
		if got := strings.Join(verbFirst(strings.Fields(line)), " "); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--color", "always", "verify", "--foo"}, &out, &out); code != 2 ||
		!strings.Contains(out.String(), "\x1b[1;31merror") {
		t.Errorf("exit %d: %q", code, &out)
	}
	out.Reset()
	if code := run(t.Context(), []string{"--color=always", "verify", "--help"}, &out, &out); code != 0 ||
		strings.Contains(out.String(), "\x1b") {
		t.Errorf("exit %d: %q", code, &out)
	}
}

func TestASlipIsAnsweredWithWhatWasMeant(t *testing.T) {
	for line, want := range map[string]string{
		"verfy":                   "did you mean verify?",
		"instal x@1.0.0":          "did you mean install?",
		"buidl":                   "did you mean build?",
		"publsh":                  "did you mean publish?",
		"policy chekc":            "did you mean check?",
		"builder stauts":          "did you mean status?",
		"verify --lokced":         "did you mean --locked?",
		"verify --dev":            "did you mean --development?",
		"verify --message_format": "did you mean --message-format?",
		"show serde 1.0.228":      "did you mean serde@1.0.228?",
		"show serde:1.0.228":      "did you mean serde@1.0.228?",
		"show serde-1.0.228":      "did you mean serde@1.0.228?",
		"show serde==1.0.228":     "did you mean serde@1.0.228?",
		"show serde@v1.0.228":     "did you mean serde@1.0.228?",
		"rebuild hexyl v0.17.0":   "did you mean hexyl@0.17.0?",
		"prove syn-2.0.0-rc.1":    "did you mean syn@2.0.0-rc.1?",
		"frobnicate":              "",
		"verify --release":        "",
		"verify -C":               "",
		"show ed25519":            "",
	} {
		var out bytes.Buffer
		args := strings.Fields(line)
		if line == "show ed25519" {
			args = append(args, "--foo") // or it would look for the crate
		}
		code := run(t.Context(), args, &out, &out)
		if code != 2 || want == "" && strings.Contains(out.String(), "mean") || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit %d, want %q\n%s", line, code, want, &out)
		}
	}
}

func TestWhoAsksForJSONGetsItWhateverHappens(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{"verify", "--foo", "--message-format", "json"},
		{"verify", "a", "b", "--message-format=json"}, {"show", "--message-format", "json"},
		{"verify", "--message-format", "json"}} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), args, &stdout, &stderr)
		var got struct {
			Type    string `json:"message_type"`
			Success *bool  `json:"success"`
			Error   string `json:"error"`
		}
		err := json.Unmarshal(stdout.Bytes(), &got)
		if code == 0 || err != nil || got.Success == nil || *got.Success || got.Error == "" {
			t.Errorf("%q: exit %d, %v\n%s%s", args, code, err, &stdout, &stderr)
		}
	}
	var stdout, stderr bytes.Buffer
	run(t.Context(), []string{"verify", "--foo", "--message-format", "sarif"}, &stdout, &stderr)
	var sarif struct {
		Version string
		Runs    []struct{ Results []any }
	}
	if err := json.Unmarshal(stdout.Bytes(), &sarif); err != nil || sarif.Version != "2.1.0" || len(sarif.Runs) != 1 ||
		sarif.Runs[0].Results == nil {
		t.Errorf("%v: %s", err, &stdout)
	}
	stdout.Reset()
	if run(t.Context(), []string{"verify", "--foo"}, &stdout, &stderr); stdout.Len() > 0 {
		t.Errorf("without a format the answer is %q", &stdout)
	}
}

func TestCompletionsFollowTheFlagSets(t *testing.T) {
	t.Chdir(t.TempDir())
	fatalIf(t, os.WriteFile("Cargo.lock", []byte("version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n\n"+
		"[[package]]\nname = \"itoa\"\nversion = \"1.0.11\"\nsource = \"registry+https://index.example/index\"\nchecksum = \""+
		strings.Repeat("ab", 32)+"\"\n"), 0o644))
	fatalIf(t, os.Mkdir("src", 0o755))
	t.Chdir("src")
	for line, want := range map[string]string{
		"ver|":                              "verify :none",
		"verify --offl|":                    "--offline :none",
		"verify --message-format |":         "human json sarif :none",
		"verify --message-format=s|":        "--message-format=sarif :none",
		"--color |":                         ":none",
		"verify --color n|":                 "never :none",
		"-q verify --rehas|":                "--rehash :none",
		"policy |":                          "check :none",
		"builder en|":                       "enroll :none",
		"builder keygen --type e|":          "ed25519 :none",
		"verify -p it|":                     "itoa@1.0.11 :none",
		"show it|":                          "itoa@1.0.11 :files",
		"verify --trust |":                  ":files",
		"completions z|":                    "zsh :none",
		"build --rele|":                     "--release :files",
		"build --zkp-re|":                   "--zkp-rehash :files",
		"run -- --x|":                       ":files",
		"help verif|":                       "verify :none",
		"nonsense --|":                      ":none",
		"environment import |":              ":files",
		"verify --manifest-path x --locke|": "--locked :none",
	} {
		words := strings.Split(strings.TrimSuffix(line, "|"), " ")
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{completeVerb}, words...), &out, &errs)
		var got []string
		for l := range strings.Lines(out.String()) {
			word, _, _ := strings.Cut(strings.TrimRight(l, "\n"), "\t")
			got = append(got, word)
		}
		if text := strings.Join(got, " "); code != 0 || errs.Len() > 0 ||
			strings.TrimSuffix(strings.TrimSuffix(text, ":files"), ":none") != strings.TrimSuffix(strings.TrimSuffix(want, ":files"), ":none") {
			t.Errorf("%s: exit %d, %q, want %q\n%s", line, code, text, want, &errs)
		}
	}
}

func TestThereIsAManPageOfEachVerb(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	var out bytes.Buffer
	if code := run(t.Context(), []string{"man", dir}, &out, &out); code != 0 {
		t.Fatalf("exit %d: %s", code, &out)
	}
	files, err := os.ReadDir(dir)
	fatalIf(t, err)
	if len(files) != len(allVerbs())+1 {
		t.Errorf("%d pages of %d verbs", len(files), len(allVerbs()))
	}
	page, err := os.ReadFile(filepath.Join(dir, "cargo-zkp-verify.1"))
	fatalIf(t, err)
	for _, want := range []string{".TH CARGO", `\-\-message\-format`, ".SH EXAMPLES", ".SH EXIT STATUS", `cargo zkp verify \-p`} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page of verify lacks %q", want)
		}
	}
	if got := roff("a\n.b\n'c\\d-e"); got != "a\n\\&.b\n\\&'c\\ed\\-e" {
		t.Errorf("%q", got)
	}
}
