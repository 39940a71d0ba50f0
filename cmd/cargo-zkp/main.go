// Command cargo-zkp proves crates, submits them to a log and verifies them; it is what
// a cargo user and a publisher meet of cratelog. It is
// run as "cargo zkp VERB ..." or alone as "cargo-zkp VERB ...".
//
// Exit codes are those of package outcome: 0 all is as asked; 1 a check failed (a crate that
// cannot be proven, that a log refuses, or that does not verify); 2 the command line is wrong;
// 3 the check could not be made (a file, a repository or a log cannot be read).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"cratelog/cargo/credential"
	"cratelog/internal/outcome"
	"cratelog/internal/version"
)

const usage = `Check that crates are the public source that they claim to be, and prove that they are.

Usage: cargo zkp VERB [OPTIONS]

For those who depend on crates:
  verify              Check the crates of Cargo.lock; with FILE.crate, that one; with --binary FILE,
                      that builders make this binary of a crate
  install NAME@VERSION
                      Install a binary that builders make of a crate, or that is rebuilt here
  init                Write a commented zkp.toml; --from-lock, and except what is not proven yet
  suggest             Tell what can be done about exceptions, cheapest first
  prune               Take out exceptions that are not needed any more
  policy check        Look for mistakes in zkp.toml
  trust show, update  Tell whom the trust files believe; take newer ones that their maintainers signed
  report              Tell how much of Cargo.lock is proven, and which proofs would add most
  export --cargo-vet  Write what is proven as audits that cargo-vet imports
  clean               Tell how much is in the cache, and delete of it what is named
  doctor              Look for what is broken on this machine, and say how to mend it
  show NAME[@VERSION] Tell what is logged about a crate; with FILE.builds, about a binary; --slsa
  vendor [DIR]        Copy the sources of the crates, checked, for cargo to build from
  rebuild NAME@VERSION
                      Build a binary of a crate twice in a sandbox: is it the same, and which?
  evidence DIR        Write the evidence of the crates as files, for a file server or a mirror
  gossip URL          Show a monitor what the logs showed to this machine
  proxy               Serve cargo only crates that the policy accepts; --install, --uninstall
  build, check, test, run, ...
                      Run that verb of cargo once all that it builds from is checked

For those who rebuild:
  toolchain           Print the id of the compiler's files
  environment make, import, show
                      Make what stands beside the compiler in the sandbox, and print its id
  attest FILE         Say, as a member of a set of builders, that the rebuilt FILE came out
  builder keygen, enroll, set, status, run
                      Make a builder's key and a set of builders; look after a key; run as a service

For those who publish:
  publish             Package, prove, log, and publish with cargo; --dry-run, --workspace
  prove FILE.crate    Make an entry: a proof that the crate's files stand in its git commit;
                      with NAME@VERSION, of a crate that another publisher has published;
                      with --lock, of all crates of Cargo.lock that nobody has proven yet
  owner NAME          Tell all that the logs hold about a crate, with the proof that it is all
  submit FILE.crate...
                      Hand crates and their entries to a log, and fetch the cosigned bundles
  mirror-entries FROM TO
                      Submit what the log FROM holds to the log TO; --lock

For your shell:
  completions SHELL   Print completions for bash, zsh, fish or powershell
  help VERB           Tell what a verb does, with examples; --version

"cargo zkp VERB --help" tells the options of a verb; "cargo zkp --cargo-plugin --help" how this
program is cargo's credential provider, which gives a token only for what is logged.
Exit codes: 0 as asked, 1 a check failed, 2 usage, 3 the check could not be made.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// verbTable are the verbs. Each makes its flag set before it looks at anything of this machine: help,
// completions and man pages are made of these.
func verbTable() map[string]func(context.Context, *shell, []string) error {
	verbs := map[string]func(context.Context, *shell, []string) error{
		"publish": publishCrates, "prove": prove, "submit": submit, "verify": verify,
		"init": initPolicy, "suggest": suggest, "prune": prune, "policy": policyVerb, "show": show, "vendor": vendor, "gossip": gossip, "proxy": proxyVerb,
		"toolchain": toolchain, "environment": environment, "rebuild": rebuildVerb, "install": installVerb,
		"attest": attestVerb, "builder": builderVerb,
		"completions": completions, "man": manPages,
		"evidence": evidenceVerb, "trust": trustVerb, "owner": ownerVerb,
		"report": reportVerb, "export": exportVerb, "clean": cleanVerb, "doctor": doctorVerb, "mirror-entries": mirrorEntries,
	}
	for _, verb := range wrapped {
		verbs[verb] = wrap(verb)
	}
	return verbs
}

// subverbs are the verbs that a verb has.
var subverbs = map[string][]string{
	"policy": {"check"}, "trust": {"show", "update"}, "environment": {"make", "import", "show"},
	"builder": {"keygen", "enroll", "set", "status", "run"},
}

// run is the whole program. The first argument is "zkp" when cargo calls.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "zkp" {
		args = args[1:]
	}
	realDirectory()
	answer := &answer{Writer: stdout}
	sh := newShell(answer, stderr)
	if len(args) > 0 && args[0] == credential.PluginFlag {
		// cargo asks this program about what it uploads.
		switch {
		case len(args) == 1:
			return sh.fail(credential.Main(ctx, os.Stdin, stdout))
		case args[1] != "--help" && args[1] != "-h":
			return sh.fail(outcome.Usagef("%s takes no argument %q; it is for cargo to call", args[0], args[1]))
		}
		fmt.Fprint(stdout, credential.Usage)
		return int(outcome.OK)
	}
	args = verbFirst(args)
	err := sh.do(ctx, args)
	var exit cargoExit
	if errors.As(err, &exit) {
		return int(exit)
	}
	if outcome.Of(err) != outcome.OK && len(args) > 0 && !answer.begun && !slices.Contains(wrapped, args[0]) {
		answer.refuse(args, err)
	}
	return sh.fail(err)
}

// do does what the verb says that args begin with.
func (sh *shell) do(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		fmt.Fprint(sh.stdout, usage)
		return outcome.Usagef("no verb is given")
	case version.Asked(args):
		fmt.Fprintln(sh.stdout, version.Line("cargo-zkp"))
		return nil
	case args[0] == "-h", args[0] == "--help",
		args[0] == "help" && (len(args) == 1 || args[1] == "-h" || args[1] == "--help"):
		fmt.Fprint(sh.stdout, usage)
		return nil
	case args[0] == "help": // as cargo help VERB
		args = append(slices.Clone(args[1:]), "--help")
	case args[0] == completeVerb:
		return complete(ctx, sh, args[1:])
	}
	verbs := verbTable()
	verb, ok := verbs[args[0]]
	if !ok && strings.HasPrefix(args[0], "-") {
		return outcome.Usagef("there is no option %s before the verb; \"cargo zkp help\" lists the verbs", args[0])
	} else if !ok {
		return outcome.Usagef("there is no verb %q%s\n\"cargo zkp help\" lists them", args[0],
			didYouMean(args[0], slices.Collect(maps.Keys(verbs))))
	}
	if subs := subverbs[args[0]]; subs != nil && len(args) > 1 && !strings.HasPrefix(args[1], "-") &&
		!slices.Contains(subs, args[1]) {
		if meant := didYouMean(args[1], subs); meant != "" {
			return outcome.Usagef("%s has no verb %q%s", args[0], args[1], meant)
		}
	}
	return verb(ctx, sh, args[1:])
}

// verbFirst puts the options that may stand before the verb, as they may for cargo, behind it.
func verbFirst(args []string) []string {
	n := 0
	for n < len(args) && strings.HasPrefix(args[n], "-") {
		name, _, joined := strings.Cut(args[n], "=")
		switch {
		case name == "--color" && !joined:
			n++
		case name == "--color", slices.Contains([]string{"-q", "--quiet", "-v", "-vv", "--verbose"}, args[n]):
		default:
			return args
		}
		n++
	}
	if n >= len(args) {
		return args
	}
	verb := n + 1
	if verb < len(args) && slices.Contains(subverbs[args[n]], args[verb]) {
		verb++
	}
	return slices.Concat(args[n:verb], args[:n], args[verb:])
}

// realDirectory makes the working directory's path the one without links, which cargo looks for
// manifests and configuration above of. The one in PWD may be another.
func realDirectory() {
	os.Unsetenv("PWD")
	if dir, err := os.Getwd(); err == nil {
		os.Setenv("PWD", dir)
	}
}

// newFlags returns the flag set of a verb, with the options that every verb has; its
// help goes to standard output.
func newFlags(sh *shell, verb, args, about string) *flag.FlagSet {
	fs := flag.NewFlagSet("cargo zkp "+verb, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&sh.quiet, "q", false, "print errors only")
	fs.BoolVar(&sh.quiet, "quiet", false, "the same as -q")
	fs.BoolVar(&sh.verbose, "v", false, "tell everything that was checked")
	fs.BoolVar(&sh.verbose, "vv", false, "the same as -v")
	fs.BoolVar(&sh.verbose, "verbose", false, "the same as -v")
	fs.Func("color", "`WHEN`: auto, always or never (default: CARGO_TERM_COLOR, else auto)", sh.setColor)
	fs.Usage = func() { sh.tell(page{verb, args, about, fs}) }
	return fs
}

// parse reads flags and the one argument of a verb, in any order.
func parse(fs *flag.FlagSet, args []string, what string) (string, error) {
	found, err := parseUpTo(1, fs, args, what)
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", outcome.Usagef("%s takes one argument, %s, and got none\n\"%[1]s --help\" has examples", fs.Name(), what)
	}
	return found[0], nil
}

// parseUpTo reads flags and at most n arguments of a verb, in any order.
func parseUpTo(n int, fs *flag.FlagSet, args []string, what string) ([]string, error) {
	var found []string
	help := fs.Usage
	fs.Usage = func() {} // the error is not to scroll away
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			help()
			return nil, err
		} else if err != nil {
			return nil, outcome.Usagef("%s\n\"%s --help\" lists the options", mistake(fs, err.Error()), fs.Name())
		}
		if fs.NArg() == 0 {
			break
		}
		found, args = append(found, fs.Arg(0)), fs.Args()[1:]
	}
	if err := wrongSpec(found, n, what); err != nil {
		return nil, err
	}
	switch {
	case len(found) <= n:
		return found, nil
	case n == 0:
		return nil, outcome.Usagef("%s takes no argument %q", fs.Name(), found[0])
	case n > 1:
		return nil, outcome.Usagef("%s takes at most %d arguments, %s, and got %d", fs.Name(), n, what, len(found))
	}
	return nil, outcome.Usagef("%s takes one argument, %s, and got %d", fs.Name(), what, len(found))
}

// mistake says what package flag says of an option, as it was written.
func mistake(fs *flag.FlagSet, text string) string {
	option := func(name string) string {
		if len(name) > 1 {
			return "--" + name
		}
		return "-" + name
	}
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var names []string
		fs.VisitAll(func(f *flag.Flag) { names = append(names, option(f.Name)) })
		return "there is no option " + option(name) + didYouMean(option(name), names)
	} else if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return option(name) + " needs an argument"
	} else if rest, ok := strings.CutPrefix(text, "invalid boolean flag "); ok {
		name, why, _ := strings.Cut(rest, ": ")
		return option(name) + ": " + why
	} else if m := wrongValue.FindStringSubmatch(text); m != nil {
		return option(m[1]) + ": " + m[2]
	}
	return text
}

var wrongValue = regexp.MustCompile(`(?s)^invalid (?:boolean )?value ".*" for (?:flag )?-(\S+): (.*)$`)

// given returns the first of some options that stands on the command line, or "".
func given(fs *flag.FlagSet, names ...string) (name string) {
	fs.Visit(func(f *flag.Flag) {
		if name == "" && slices.Contains(names, f.Name) {
			name = f.Name
		}
	})
	return name
}
