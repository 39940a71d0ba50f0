package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
)

// wrapped are the verbs of cargo that "cargo zkp" runs once what they build from is checked.
var wrapped = []string{"build", "check", "clippy", "test", "bench", "run", "doc", "fetch", "rustc"}

const wrapHelp = `Run "cargo %[1]s" so that no crate is built that the policy does not accept: cargo brings
Cargo.lock up to date and downloads what is missing, all of that is checked, and then
cargo runs offline, so that it can use nothing else.

Usage: cargo zkp %[1]s [OPTIONS] [CARGO'S OPTIONS]

Options, before "--"; all others are cargo's:
  --zkp-policy FILE    what must be proven and whom to believe (default: the nearest zkp.toml)
  --zkp-trust FILE     logs and witnesses to believe, instead of the policy's; may be repeated
  --zkp-program FILE   a program to accept, instead of the policy's; may be repeated
  --zkp-development    accept proofs made with UNSAFE development keys, which anyone can forge
  --zkp-rehash         compare all unpacked sources again

The exit code is cargo's if cargo ended the call, and 1, 2 or 3 as for all verbs otherwise.
`

// cargoExit is the exit code of a cargo that has said what is wrong.
type cargoExit int

func (e cargoExit) Error() string { return fmt.Sprintf("cargo ended with exit code %d", int(e)) }

// call is one call of cargo.
type call struct {
	verb string
	args []string // cargo's own

	believe believe
	lock    lockOptions
	offline bool     // cargo's --offline or --frozen
	locked  bool     // cargo's --locked or --frozen
	targets []string // cargo's --target
	config  []string // cargo's --config and -Z, for every cargo that is called
}

// wrap returns the verb that runs one of cargo's.
func wrap(verb string) func(context.Context, *shell, []string) error {
	return func(ctx context.Context, sh *shell, args []string) error {
		c, help, err := parseCall(sh, verb, args)
		if err != nil {
			return err
		}
		if help {
			sh.tell(wrappedPage(verb))
			return nil
		}
		return c.run(ctx, sh)
	}
}

// option is one that parseCall acts on.
type option struct {
	takes bool // a value
	set   func(value string) error
}

// options are ours, whose names begin with --zkp-, and those of cargo's that matter to us.
func (c *call) options(sh *shell, help *bool) map[string]option {
	text := func(to *string) option {
		return option{true, func(v string) error { *to = v; return nil }}
	}
	flag := func(to ...*bool) option {
		return option{false, func(string) error {
			for _, b := range to {
				*b = true
			}
			return nil
		}}
	}
	b := &c.believe
	return map[string]option{
		"--zkp-policy":      text(&b.Flag),
		"--zkp-trust":       {true, policy.AppendTo(&b.Trust)},
		"--zkp-program":     {true, policy.AppendTo(&b.Programs)},
		"--zkp-development": flag(&b.Development),
		"--zkp-rehash":      flag(&c.lock.rehash),

		"-h": flag(help), "--help": flag(help),
		"-q": flag(&sh.quiet), "--quiet": flag(&sh.quiet),
		"--offline": flag(&c.offline), "--locked": flag(&c.locked), "--frozen": flag(&c.offline, &c.locked),
		"--manifest-path": text(&c.lock.manifestPath),
		"--color":         {true, sh.setColor},
		"--target":        {true, policy.AppendTo(&c.targets)},
		"--config":        {true, c.addConfig},
		"-Z":              {true, c.addUnstable},
		"--lockfile-path": {true, func(string) error { return errors.New(noLockfilePath) }},
	}
}

// addUnstable passes -Z on.
func (c *call) addUnstable(value string) error {
	if strings.HasPrefix(value, "lockfile-path") {
		return errors.New(noLockfilePath)
	}
	c.config = append(c.config, "-Z", value)
	return nil
}

const noLockfilePath = "is not for cargo zkp: it checks the Cargo.lock of the workspace"

// configKey is the first part of the key of a --config KEY=VALUE.
var configKey = regexp.MustCompile(`^[ \t]*([A-Za-z0-9_-]+)[ \t]*(?:=|\..*=)`)

// addConfig passes --config on, unless it may say where crates come from: what counts
// is read from configuration files.
func (c *call) addConfig(value string) error {
	m := configKey.FindStringSubmatch(value)
	_, err := os.Stat(value) // a file of that name counts for cargo
	if m == nil || err == nil || slices.Contains([]string{"source", "paths", "registry", "registries", "include",
		"resolver"}, m[1]) {
		return fmt.Errorf("%q may change where crates come from, which cargo zkp reads from configuration files "+
			"only: write it into .cargo/config.toml", value)
	}
	c.config = append(c.config, "--config", value)
	return nil
}

// trailing are the verbs whose options end with the first argument that is none: what follows
// is for the program, or for rustc.
var trailing = []string{"run", "rustc"}

// valued are the options of these verbs whose value may be the next argument.
var valued = strings.Fields("-p --package --bin --example --test --bench -F --features -j --jobs --profile " +
	"--target-dir --artifact-dir --message-format --print --crate-type")

// parseCall takes our options out of a command line, and leaves cargo's in it.
func parseCall(sh *shell, verb string, args []string) (c *call, help bool, err error) {
	c = &call{verb: verb}
	options := c.options(sh, &help)
	for len(args) > 0 && args[0] != "--" {
		if slices.Contains(trailing, verb) && (args[0] == "-" || !strings.HasPrefix(args[0], "-")) {
			c.args = append(c.args, "--") // so that cargo sees it as we do
			break
		}
		name, value, given := strings.Cut(args[0], "=")
		if strings.HasPrefix(name, "-Z") && len(args[0]) > 2 {
			name, value, given = "-Z", args[0][2:], true
		}
		o, known := options[name]
		ours, n := strings.HasPrefix(name, "--zkp-"), 1
		switch {
		case ours && !known:
			return nil, false, outcome.Usagef("there is no option %s; \"cargo zkp %s --help\" lists them", name, verb)
		case ours && given && !o.takes:
			return nil, false, outcome.Usagef("%s takes no value", name)
		case o.takes && !given && len(args) == 1:
			return nil, false, outcome.Usagef("%s needs a value", name)
		case o.takes && !given:
			value, n = args[1], 2
		case len(args) > 1 && slices.Contains(valued, args[0]) && !strings.HasPrefix(args[1], "-"):
			n = 2
		}
		if known {
			if err := o.set(value); err != nil {
				return nil, false, outcome.Usagef("%s %w", name, err)
			}
		}
		if !ours {
			c.args = append(c.args, args[:n]...)
		}
		args = args[n:]
	}
	c.args = append(c.args, args...)
	return c, help, nil
}

// run has cargo bring the lock file up to date and download what is missing, checks what is
// on the disk, and runs cargo with no network, so that it uses what was checked.
func (c *call) run(ctx context.Context, sh *shell) error {
	ws, err := workspace(c.lock.manifestPath)
	if err != nil {
		return err
	}
	c.believe.offline, c.believe.rehash = c.offline, c.lock.rehash
	if _, err := c.believe.load(ws); err != nil {
		return err // before anything is downloaded
	}
	if err := c.fetch(ctx, sh, ws); err != nil {
		return err
	}
	if err := c.verifyPresent(ctx, sh); err != nil || c.verb == "fetch" {
		return err
	}
	args := []string{c.verb}
	if !c.locked {
		args = append(args, "--locked")
	}
	if !c.offline {
		args = append(args, "--offline")
	}
	return c.cargo(ctx, sh, append(args, c.args...)...)
}

// fetch has cargo bring the lock file up to date, read the index line of every package in
// it, and download what is missing; none of that runs code. Offline nothing may be missing
// but what the call does not need, so cargo reads the lines only.
func (c *call) fetch(ctx context.Context, sh *shell, ws *cargo.Workspace) error {
	if c.verb == "fetch" {
		return c.cargo(ctx, sh, append([]string{"fetch"}, c.args...)...)
	}
	args, offline := []string{"fetch"}, c.offline || netOffline()
	if offline {
		args = []string{"update", "--workspace", "--offline", "--quiet"}
	} else {
		args = append(args, c.platforms(ctx, ws)...)
	}
	args = append(args, "--manifest-path", ws.Manifest)
	if c.locked {
		args = append(args, "--locked")
	}
	if sh.quiet && !offline {
		args = append(args, "--quiet")
	}
	return c.cargo(ctx, sh, append(args, c.config...)...)
}

// netOffline says whether cargo is configured to be offline.
func netOffline() bool {
	if v := os.Getenv("CARGO_NET_OFFLINE"); v != "" {
		return v == "true"
	}
	home, err := cargo.Home()
	if err != nil {
		return false
	}
	cfg, err := cargo.LoadConfig(".", home)
	if err != nil {
		return false
	}
	all := cfg.All("net", "offline")
	return len(all) > 0 && all[0].Value == true
}

// platforms are the options that keep cargo from downloading what only other systems need.
// There are none where it is not certain for what it will build, or where all of them count:
// then it downloads all.
func (c *call) platforms(ctx context.Context, ws *cargo.Workspace) (flags []string) {
	home, err := cargo.Home()
	if err != nil || ws.Unified || len(c.config) > 0 || len(c.targets) == 0 && os.Getenv("CARGO_BUILD_TARGET") != "" {
		return nil
	}
	for _, dir := range []string{ws.Root, "."} {
		cfg, err := cargo.LoadConfig(dir, home)
		if err != nil || len(cfg.All("build", "target")) > 0 || len(cfg.All("unstable")) > 0 {
			return nil
		}
	}
	rustc := os.Getenv("RUSTC")
	if rustc == "" {
		rustc = "rustc"
	}
	out, err := exec.CommandContext(ctx, rustc, "-vV").Output()
	_, host, found := bytes.Cut(out, []byte("\nhost: "))
	host, _, _ = bytes.Cut(host, []byte("\n"))
	if err != nil || !found {
		return nil
	}
	for _, target := range append(slices.Clone(c.targets), string(host)) {
		flags = append(flags, "--target", target)
	}
	return flags
}

// verifyPresent checks what cargo has on the disk: it will have nothing else.
func (c *call) verifyPresent(ctx context.Context, sh *shell) error {
	k, err := planLock(ctx, sh, c.believe, lockOptions{manifestPath: c.lock.manifestPath, locked: true})
	if err != nil {
		return err
	}
	if err := k.locate(nil); err != nil {
		return err
	}
	if !k.Workspace.Unified { // else the line of a crate that is not built counts as well
		k.KeepPresent()
	}
	if err := k.check(ctx, sh, c.believe, nil); err != nil {
		return err
	}
	if k.worst() != verdict.Verified {
		return k.report(sh, "human")
	}
	k.warn(sh)
	for _, u := range k.Unmatched {
		sh.Warn("%s", u)
	}
	for _, h := range verdict.HeardOf(k.verdicts) {
		sh.Status("Verified", "%s", h)
	}
	if list := k.excepted(); list != "" {
		sh.Status("Excepted", "%s", list)
	}
	return nil // cargo reports the rest
}

// cargo runs cargo, which speaks for itself.
func (c *call) cargo(ctx context.Context, sh *shell, args ...string) error {
	cmd := exec.CommandContext(ctx, cargoBin(), args...)
	cmd.Stdout, cmd.Stderr = sh.stdout, sh.stderr
	if args[0] == c.verb {
		cmd.Stdin = os.Stdin // which may be for what it runs
	}
	cmd.Env = cargoEnv(os.Environ())
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return cargoExit(exit.ExitCode())
	}
	return err
}

// cargoEnv is the environment for cargo: whatever HTTP proxy is set does not count for
// this machine, where it would not find a proxy of ours that is installed, nor a registry. (curl reads no_proxy first, and NO_PROXY
// only if that is not set.)
func cargoEnv(env []string) []string {
	const here = "127.0.0.1,localhost"
	old := ""
	var out []string
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		switch {
		case !strings.EqualFold(name, "no_proxy"):
			out = append(out, v)
		case name == "no_proxy" || old == "":
			old = value
		}
	}
	list := here
	if old != "" {
		list = old + "," + here
	}
	if old == "*" {
		list = old // no proxy at all
	}
	return append(out, "no_proxy="+list, "NO_PROXY="+list)
}
