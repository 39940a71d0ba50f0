package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"cratelog/internal/outcome"
)

// page is the help of a verb. Its --help, the completions and the man page are all made of it.
type page struct {
	verb  string // as in "builder run"
	args  string // as in "FILE.crate | NAME@VERSION"
	about string // sentences, the first of which says what the verb does
	flags *flag.FlagSet
}

// tell prints the help of a verb, or hands it to who asked for it.
func (sh *shell) tell(p page) {
	if sh.read != nil {
		sh.read(p)
		return
	}
	fmt.Fprint(sh.stdout, p.text())
}

// readPage returns the help of a verb, which may have two words, by asking the verb itself.
func readPage(ctx context.Context, verb string) (p page, ok bool) {
	words := strings.Fields(verb)
	do := verbTable()[words[0]]
	if do == nil {
		return page{}, false
	}
	sh := newShell(io.Discard, io.Discard)
	sh.read = func(q page) { p, ok = q, true }
	do(ctx, sh, append(words[1:], "--help")) // which returns flag.ErrHelp, or nil
	return p, ok
}

// wrappedPage is the help of a verb of cargo's. The options stand in wrapHelp.
func wrappedPage(verb string) page {
	about, rest, _ := strings.Cut(fmt.Sprintf(wrapHelp, verb), "\n\nUsage: ")
	fs := flag.NewFlagSet("cargo zkp "+verb, flag.ContinueOnError)
	for _, m := range wrapOption.FindAllStringSubmatch(rest, -1) {
		if m[2] == "" {
			fs.Bool(m[1], false, m[3])
		} else {
			fs.String(m[1], "", "`"+m[2]+"`: "+m[3])
		}
	}
	return page{verb, "[CARGO'S OPTIONS]", about + "\nOur own options stand before \"--\"; all others are cargo's. " +
		"The exit code is cargo's if cargo\nended the call, and 1, 2 or 3 as for all verbs otherwise.", fs}
}

var wrapOption = regexp.MustCompile(`(?m)^  --(zkp-[a-z]+) ([A-Z]*) +(.*)$`)

// summary is what the verb does, in one line: the first sentence, up to its colon if it is long.
func (p page) summary() string {
	text := strings.Join(strings.Fields(p.about), " ")
	text, _, _ = strings.Cut(text, ". ")
	if short, _, ok := strings.Cut(text, ": "); ok && len(text) > 70 {
		text = short
	}
	text, _, _ = strings.Cut(text, "; ")
	text, _, _ = strings.Cut(text, " (default")
	return strings.TrimSuffix(text, ".")
}

// usage is how the verb is called.
func (p page) usage() string {
	return strings.Join(strings.Fields("cargo zkp "+p.verb+" "+p.args+" [OPTIONS]"), " ")
}

// opt is an option, with its other names.
type opt struct {
	names []string // with their dashes, the short ones first
	value string   // the name of its value; "" if it has none
	text  string
}

// spelled is the option as a person writes it.
func (o opt) spelled() string {
	text := strings.Join(o.names, ", ")
	if strings.HasPrefix(text, "--") {
		text = "    " + text
	}
	return strings.TrimRight(text+" "+o.value, " ")
}

var sameAs = regexp.MustCompile("^the same as --?([a-z]+)( `[^`]+`)?$")

// dashed is an option's name with its dashes, of which -vv has one, as cargo's.
func dashed(name string) string {
	if len(name) == 1 || name == "vv" {
		return "-" + name
	}
	return "--" + name
}

// options are those of the verb, by name. An option that is the same as another one stands with it.
func (p page) options() []opt {
	var list []opt
	at := make(map[string]int)
	other := make(map[string][]string)
	p.flags.VisitAll(func(f *flag.Flag) {
		if m := sameAs.FindStringSubmatch(f.Usage); m != nil && p.flags.Lookup(m[1]) != nil {
			other[m[1]] = append(other[m[1]], f.Name)
			return
		}
		if i, ok := at[strings.ToUpper(f.Name[:1])]; ok && f.Usage == p.flags.Lookup(strings.ToUpper(f.Name[:1])).Usage {
			list[i].names = append(list[i].names, dashed(f.Name)) // -F and --features
			return
		} else if i, ok := at[f.Name[:1]]; ok && f.Usage == p.flags.Lookup(f.Name[:1]).Usage {
			list[i].names = append(list[i].names, dashed(f.Name)) // -p and --package
			return
		}
		value, text := flag.UnquoteUsage(f)
		text = strings.TrimPrefix(text, value+": ")
		if f.DefValue != "" && value != "" && !slices.Contains([]string{"0", "0s", "false"}, f.DefValue) &&
			!strings.Contains(text, "(default") {
			text += fmt.Sprintf(" (default: %s)", f.DefValue)
		}
		at[f.Name] = len(list)
		list = append(list, opt{[]string{dashed(f.Name)}, value, text})
	})
	for name, more := range other {
		o := &list[at[name]]
		for _, n := range more {
			o.names = append(o.names, dashed(n))
		}
		slices.SortFunc(o.names, func(a, b string) int { return len(a) - len(b) })
	}
	return list
}

// group is options under one heading.
type group struct {
	title   string
	options []opt
}

// headings are those under which options stand in every verb's help; what is in none stands under
// "Options", before them. A heading may be for one verb, or only for verbs that have an option.
var headings = []struct {
	title, verb, only string
	names             string
}{
	{"For one FILE.crate", "verify", "", "bundle log registry deny-unproven allow-unproven max-age"},
	{"For a binary", "verify", "", "binary bin any crates join"},
	{"Whom to believe", "", "trust", "policy trust program development"},
	{"Keys", "", "proving-key", "keys program proving-key"},
	{"As cargo's", "", "manifest-path", "manifest-path p workspace exclude locked offline frozen features all-features " +
		"no-default-features target target-dir jobs registry index token no-verify"},
	{"Output", "", "", "message-format q v color h"},
}

// groups are the options as help shows them.
func (p page) groups() []group {
	list := make([]group, 1+len(headings))
	list[0].title = "Options"
	help := opt{[]string{"-h", "--help"}, "", "print this help"}
	for _, o := range append(p.options(), help) {
		at := 0
		for i, h := range headings {
			listed := func(name string) bool {
				return slices.Contains(strings.Fields(h.names), strings.TrimLeft(name, "-"))
			}
			if (h.verb == "" || h.verb == p.verb) && (h.only == "" || p.flags.Lookup(h.only) != nil) &&
				slices.ContainsFunc(o.names, listed) {
				at = i + 1
				break
			}
		}
		list[at].options = append(list[at].options, o)
	}
	for i, h := range headings {
		list[i+1].title = h.title
	}
	return slices.DeleteFunc(list, func(g group) bool { return len(g.options) == 0 })
}

// helpWidth is the width of help in columns, and helpIndent that of its left column.
const helpWidth, helpIndent = 100, 30

// text is the help of the verb.
func (p page) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUsage: %s\n", p.about, p.usage())
	if list := examplesOf(p.verb); len(list) > 0 {
		b.WriteString("\nExamples:\n")
		for _, e := range list {
			fmt.Fprintf(&b, "  %s\n      %s\n", e.line, e.what)
		}
	}
	for _, g := range p.groups() {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		for _, o := range g.options {
			left, text := "  "+o.spelled(), wrapped100(o.text)
			if len(left) > helpIndent-2 {
				b.WriteString(left + "\n")
				left = ""
			}
			for _, line := range text {
				fmt.Fprintf(&b, "%-*s%s\n", helpIndent, left, line)
				left = ""
			}
		}
	}
	return b.String()
}

// wrapped100 breaks a text into lines that fit beside the left column of help.
func wrapped100(text string) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && helpIndent+len(line)+1+len(word) > helpWidth {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// answer is standard output. It knows whether anything was said, as one who asked for JSON or SARIF
// gets a file that can be read whatever happens.
type answer struct {
	io.Writer
	begun bool
}

func (a *answer) Write(b []byte) (int, error) {
	a.begun = a.begun || len(b) > 0
	return a.Writer.Write(b)
}

// refuse says in the format that args ask for why there is no answer.
func (a *answer) refuse(args []string, why error) {
	format := ""
	for i, arg := range args {
		if name, value, ok := strings.Cut(arg, "="); strings.TrimLeft(name, "-") != "message-format" {
			continue
		} else if ok {
			format = value
		} else if i+1 < len(args) {
			format = args[i+1]
		}
	}
	var say any
	switch code := outcome.Of(why); format {
	case "json":
		say = struct {
			Type    string `json:"message_type"`
			Success bool   `json:"success"`
			Code    int    `json:"exit_code"`
			Error   string `json:"error"`
		}{"error", false, int(code), why.Error()}
	case "sarif":
		say = (&sarif{}).document(why)
	default:
		return
	}
	out := json.NewEncoder(a.Writer)
	out.SetEscapeHTML(false)
	out.Encode(say) // the error itself goes to standard error
}

// didYouMean names the known word that is nearest to what was written, if it is near.
func didYouMean(word string, known []string) string {
	if len(strings.TrimLeft(word, "-")) < 3 {
		return ""
	}
	best, least := "", max(1, len(strings.TrimLeft(word, "-"))/3)+1
	slices.Sort(known)
	for _, k := range known {
		if d := distance(word, k); d < least {
			best, least = k, d
		}
	}
	if best == "" { // or the only one that begins so
		for _, k := range known {
			if strings.HasPrefix(k, word) {
				if best != "" {
					return ""
				}
				best = k
			}
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance counts the characters to insert, delete, replace, or swap with the next one, to make b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
		for j := 1; j <= len(b); j++ {
			if i == 0 {
				rows[i][j] = j
				continue
			}
			other := 1
			if a[i-1] == b[j-1] {
				other = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+other)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

var (
	slip        = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_-]*?)(?::|==?|@v|@=|-v?)([0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.+-]*)?)$`)
	versionWord = regexp.MustCompile(`^v?([0-9]+(?:\.[0-9]+)*(?:[-+][0-9A-Za-z.+-]*)?)$`)
)

// wrongSpec finds NAME@VERSION written in another way, where the n arguments of a verb can be that.
func wrongSpec(found []string, n int, what string) error {
	if !strings.Contains(what, "NAME@VERSION") && !strings.Contains(what, "NAME[@VERSION]") {
		return nil
	}
	if len(found) == 2 && n == 1 && !strings.Contains(found[0], "@") {
		if m := versionWord.FindStringSubmatch(found[1]); m != nil {
			return outcome.Usagef("name and version are one argument: did you mean %s@%s?", found[0], m[1])
		}
	}
	for _, word := range found {
		m := slip.FindStringSubmatch(word)
		if m == nil || strings.HasSuffix(word, ".crate") || strings.HasSuffix(word, ".builds") ||
			strings.HasSuffix(word, ".entry") {
			continue
		}
		if _, err := os.Lstat(word); err != nil {
			return outcome.Usagef("%q is not NAME@VERSION: did you mean %s@%s?", word, m[1], m[2])
		}
	}
	return nil
}
