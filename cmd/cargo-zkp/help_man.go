package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"cratelog/internal/durable"
	"cratelog/internal/version"
)

// manPages writes the man pages, one of the program and one of each verb.
func manPages(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "man", "DIR", "Write the man pages of cargo-zkp and of each verb into DIR, which is made if "+
		"it is not there.")
	dir, err := parse(fs, args, "DIR")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pages := map[string]string{"cargo-zkp": manOfProgram()}
	for _, verb := range allVerbs() {
		if p, ok := readPage(ctx, verb); ok {
			pages["cargo-zkp-"+strings.ReplaceAll(verb, " ", "-")] = p.man()
		}
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		if err := durable.Write(filepath.Join(dir, name+".1"), []byte(pages[name]), 0o644); err != nil {
			return err
		}
	}
	sh.Status("Written", "%d man pages to %s", len(pages), dir)
	return nil
}

// allVerbs are the verbs in order, those with two words too.
func allVerbs() (list []string) {
	for _, verb := range slices.Sorted(maps.Keys(verbTable())) {
		if subs := subverbs[verb]; subs == nil {
			list = append(list, verb)
		} else {
			for _, sub := range subs {
				list = append(list, verb+" "+sub)
			}
		}
	}
	return list
}

// roff writes a text so that troff prints it as it is.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	return roffControl.ReplaceAllString(text, `\&$1`)
}

var roffControl = regexp.MustCompile(`(?m)^([.'])`)

// manHead is the title and the name of a page.
func manHead(name, summary string) string {
	return fmt.Sprintf(".TH %s 1 \"\" \"cratelog %s\" \"cratelog\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(roff(name)),
		version.String(), roff(name), roff(summary))
}

// man is the man page of a verb.
func (p page) man() string {
	var b strings.Builder
	b.WriteString(manHead("cargo-zkp-"+strings.ReplaceAll(p.verb, " ", "-"), p.summary()))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n\\fB%s\\fR\n.SH DESCRIPTION\n%s\n", roff(p.usage()), roff(p.about))
	for _, g := range p.groups() {
		fmt.Fprintf(&b, ".SH %s\n", strings.ToUpper(roff(g.title)))
		for _, o := range g.options {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR \\fI%s\\fR\n%s\n", roff(strings.Join(o.names, ", ")), roff(o.value),
				roff(o.text))
		}
	}
	if list := examplesOf(p.verb); len(list) > 0 {
		b.WriteString(".SH EXAMPLES\n")
		for _, e := range list {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", roff(e.line), roff(e.what))
		}
	}
	b.WriteString(manExit + ".SH SEE ALSO\n.BR cargo\\-zkp (1)\n")
	return b.String()
}

const manExit = ".SH EXIT STATUS\n.TP\n0\nas asked\n.TP\n1\na check failed\n.TP\n2\nthe command line, or the " +
	"policy, is wrong\n.TP\n3\nthe check could not be made\n"

// manOfProgram is the page of the program: the usage text, whose lists stay as they are.
func manOfProgram() string {
	about, rest, _ := strings.Cut(usage, "\n\nUsage: ")
	synopsis, rest, _ := strings.Cut(rest, "\n\n")
	rest = strings.TrimRight(rest[:strings.LastIndex(rest, "Exit codes:")], "\n")
	return manHead("cargo-zkp", "check crates against their public source, and prove them") +
		".SH SYNOPSIS\n\\fB" + roff(synopsis) + "\\fR\n.SH DESCRIPTION\n" + roff(about) + "\n.SH VERBS\n.nf\n" +
		roff(rest) + "\n.fi\n" + manExit + ".SH SEE ALSO\n.BR cargo (1)\n"
}
