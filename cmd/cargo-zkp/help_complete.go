package main

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"cratelog/cargo"
	"cratelog/internal/outcome"
)

// completeVerb is the verb that the shells' scripts call with the words behind "cargo zkp", the last
// of which is being written. It prints one candidate a line, a tab behind it and what it means; and
// at the end a line that begins with a colon: ":files" if names of files fit as well, else ":none".
const completeVerb = "__complete"

//go:embed completions
var scripts embed.FS

// completions prints the script of a shell.
func completions(_ context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "completions", "SHELL", "Print completions for a shell: bash, zsh, fish or powershell. They "+
		"ask this program, and so are always\nthose of its own version. docs/install.md tells where a shell looks "+
		"for them.")
	name, err := parse(fs, args, "bash, zsh, fish or powershell")
	if err != nil {
		return err
	}
	script, err := scripts.ReadFile("completions/" + strings.ToLower(name))
	if err != nil {
		return outcome.Usagef("there are no completions for %q, but for bash, zsh, fish and powershell", name)
	}
	_, err = sh.stdout.Write(script)
	return err
}

// complete prints what may stand in the place of the last word.
func complete(ctx context.Context, sh *shell, words []string) error {
	if len(words) == 0 {
		words = []string{""}
	}
	last := len(words) - 1
	c := candidates{word: words[last]}
	c.find(ctx, verbFirst(words[:last]))
	for _, f := range c.found {
		fmt.Fprintf(sh.stdout, "%s\t%s\n", f.line, f.what)
	}
	end := ":none"
	if c.files {
		end = ":files"
	}
	fmt.Fprintln(sh.stdout, end)
	return nil
}

// candidates are what fits a word.
type candidates struct {
	word  string
	found []example
	files bool
}

func (c *candidates) add(word, what string) {
	if strings.HasPrefix(word, c.word) && word != "" {
		c.found = append(c.found, example{word, what})
	}
}

// find looks for what may follow the words before.
func (c *candidates) find(ctx context.Context, before []string) {
	verbs := verbTable()
	if len(before) == 0 || before[0] == "help" && len(before) == 1 {
		for _, verb := range slices.Sorted(maps.Keys(verbs)) {
			if subs := subverbs[verb]; subs != nil {
				c.add(verb, "with the verbs "+strings.Join(subs, ", "))
				continue
			}
			p, _ := readPage(ctx, verb)
			c.add(verb, p.summary())
		}
		if len(before) == 0 {
			c.add("help", "Tell what a verb does, with examples")
			if strings.HasPrefix(c.word, "-") {
				c.add("--help", "List the verbs")
				c.add("--version", "Print the version")
			}
		}
		return
	}
	verb, rest := before[0], before[1:]
	if verbs[verb] == nil {
		return
	}
	if subs := subverbs[verb]; subs != nil {
		if len(rest) == 0 {
			for _, sub := range subs {
				p, _ := readPage(ctx, verb+" "+sub)
				c.add(sub, p.summary())
			}
			return
		}
		verb, rest = verb+" "+rest[0], rest[1:]
	}
	if p, ok := readPage(ctx, verb); ok && !slices.Contains(rest, "--") {
		c.of(p, rest)
	} else {
		c.files = true
	}
}

// of looks for options of a verb, their values, and its arguments.
func (c *candidates) of(p page, before []string) {
	isWrapped := slices.Contains(wrapped, p.verb)
	if n := len(before); n > 0 && strings.HasPrefix(before[n-1], "-") {
		if f := p.flags.Lookup(strings.TrimLeft(before[n-1], "-")); f != nil && takesValue(f) {
			c.value(f)
			return
		}
	}
	if name, value, ok := strings.Cut(c.word, "="); ok && strings.HasPrefix(name, "-") {
		if f := p.flags.Lookup(strings.TrimLeft(name, "-")); f != nil && takesValue(f) {
			c.word = value
			c.value(f)
			for i := range c.found {
				c.found[i].line = name + "=" + c.found[i].line
			}
		}
		return
	}
	if strings.HasPrefix(c.word, "-") {
		for _, o := range append(p.options(), opt{[]string{"--help"}, "", "print this help"}) {
			for _, name := range o.names {
				if len(o.names) == 1 || strings.HasPrefix(name, "--") || c.word == "-" {
					c.add(name, firstClause(o.text))
				}
			}
		}
		if isWrapped {
			for _, name := range strings.Fields(cargosOptions) {
				c.add(name, "as cargo's")
			}
		}
		return
	}
	if strings.Contains(p.args, "NAME") && strings.Contains(p.args, "VERSION]") || strings.Contains(p.args,
		"NAME@VERSION") {
		c.packages()
	}
	if p.verb == "completions" {
		for _, name := range []string{"bash", "fish", "powershell", "zsh"} {
			c.add(name, "completions for "+name)
		}
	}
	c.files = isWrapped || fileWord.MatchString(p.args)
}

// cargosOptions are the options of cargo's that are the same for most of its verbs.
const cargosOptions = "--all-features --all-targets --benches --bin --bins --color --config --example --examples " +
	"--exclude --features --frozen --jobs --keep-going --lib --locked --manifest-path --message-format " +
	"--no-default-features --offline --package --profile --quiet --release --target --target-dir --test --tests " +
	"--verbose --workspace"

var (
	fileWord = regexp.MustCompile(`FILE|DIR|TAR|PATH|ENROLLMENT`)
	formats  = regexp.MustCompile(`\b(human|json|sarif|table)\b`)
)

func takesValue(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return !ok || !b.IsBoolFlag()
}

// value looks for values of an option.
func (c *candidates) value(f *flag.Flag) {
	name, text := flag.UnquoteUsage(f)
	switch {
	case f.Name == "color":
		for _, when := range []string{"always", "auto", "never"} {
			c.add(when, "")
		}
	case f.Name == "message-format":
		found := formats.FindAllString(text, -1)
		slices.Sort(found)
		for _, format := range slices.Compact(found) {
			c.add(format, "")
		}
	case f.Name == "type":
		c.add("ed25519", "")
		c.add("ml-dsa-44", "")
	case strings.HasPrefix(name, "NAME") && strings.Contains(name, "VERSION"):
		c.packages()
	case strings.HasPrefix(name, "FILE"), strings.HasPrefix(name, "DIR"), name == "PATH", name == "PROGRAM":
		c.files = true
	}
}

// packages are those of the nearest Cargo.lock.
func (c *candidates) packages() {
	dir, err := os.Getwd()
	for err == nil {
		lock, err := cargo.ReadLock(filepath.Join(dir, "Cargo.lock"))
		if err == nil {
			for _, p := range lock.Packages {
				c.add(p.Name+"@"+p.Version, "")
			}
			return
		}
		if parent := filepath.Dir(dir); parent == dir {
			return
		} else {
			dir = parent
		}
	}
}

// firstClause is the beginning of a text, for a list.
func firstClause(text string) string {
	text, _, _ = strings.Cut(text, "; ")
	text, _, _ = strings.Cut(text, " (default")
	if len(text) > 70 {
		text = text[:strings.LastIndex(text[:70], " ")] + " ..."
	}
	return text
}
