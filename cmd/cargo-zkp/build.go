package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/proxy"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
)

// wrapped are the verbs of cargo that "cargo zkp" runs behind a proxy of its own.
var wrapped = []string{"build", "check", "clippy", "test", "bench", "run", "doc", "fetch", "rustc"}

const wrapHelp = `Run "cargo %[1]s" so that no crate is built that the policy does not accept: what cargo
has on this disk is checked first, and what it downloads comes through a proxy that
checks it. Cargo.lock is brought up to date first, and then does not change.

Usage: cargo zkp %[1]s [OPTIONS] [CARGO'S OPTIONS]

Options, before "--"; all others are cargo's:
  --zkp-policy FILE    what must be proven and whom to believe (default: the nearest zkp.toml)
  --zkp-trust FILE     logs and witnesses to believe, instead of the policy's; may be repeated
  --zkp-program FILE   a program to accept, instead of the policy's; may be repeated
  --zkp-development    accept proofs made with UNSAFE development keys, which anyone can forge
  --zkp-index URL      sparse index of the real registry (default: what cargo is configured to use)
  --zkp-rehash         compare all unpacked sources again

The exit code is cargo's, and 1, 2 or 3 as for all verbs if cargo was not run.
`

// cargoExit is the exit code of a cargo that has said what is wrong.
type cargoExit int

func (e cargoExit) Error() string { return fmt.Sprintf("cargo ended with exit code %d", int(e)) }

// call is one call of cargo.
type call struct {
	verb string
	args []string // cargo's own

	settings  proxySettings
	addresses []string // where a proxy for this call may listen, in this order
	lock      lockOptions
	offline   bool // cargo's --offline or --frozen
	locked    bool // cargo's --locked or --frozen
}

// wrap returns the verb that runs one of cargo's.
func wrap(verb string) func(context.Context, *shell, []string) error {
	return func(ctx context.Context, sh *shell, args []string) error {
		c, help, err := parseCall(sh, verb, args)
		if err != nil {
			return err
		}
		if help {
			fmt.Fprintf(sh.stdout, wrapHelp, verb)
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
	b := &c.settings.believe
	return map[string]option{
		"--zkp-policy":      text(&b.Flag),
		"--zkp-trust":       {true, policy.AppendTo(&b.Trust)},
		"--zkp-program":     {true, policy.AppendTo(&b.Programs)},
		"--zkp-development": flag(&b.Development),
		"--zkp-index":       text(&c.settings.index),
		"--zkp-rehash":      flag(&c.lock.rehash),

		"-h": flag(help), "--help": flag(help),
		"-q": flag(&sh.quiet), "--quiet": flag(&sh.quiet),
		"--offline": flag(&c.offline), "--locked": flag(&c.locked), "--frozen": flag(&c.offline, &c.locked),
		"--manifest-path": text(&c.lock.manifestPath),
		"--color":         {true, sh.setColor},
	}
}

// parseCall takes our options out of a command line, and leaves cargo's in it.
func parseCall(sh *shell, verb string, args []string) (c *call, help bool, err error) {
	c = &call{verb: verb, addresses: addresses()}
	options := c.options(sh, &help)
	for len(args) > 0 && args[0] != "--" {
		name, value, given := strings.Cut(args[0], "=")
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

// run brings the lock file up to date, checks what is on the disk, and runs cargo.
func (c *call) run(ctx context.Context, sh *shell) error {
	ws, err := workspace(c.lock.manifestPath)
	if err != nil {
		return err
	}
	c.settings.manifestPath = ws.Manifest
	c.settings.believe.offline = c.offline
	var flags []string
	stop := func() error { return nil }
	var j *verdict.Judge
	if c.offline {
		flags = c.offlineFlags(ctx, ws)
	} else if flags, j, stop, err = c.serve(ctx); err != nil {
		return err
	}
	err = c.updateLock(ctx, ws, flags)
	if err == nil {
		if j != nil {
			j.Refresh() // of the lock file as it is now
		}
		err = c.verifyPresent(ctx, sh, ws, flags)
	}
	if err == nil {
		err = c.cargo(ctx, sh, flags)
	}
	return errors.Join(err, stop())
}

// serve finds or starts a proxy, and returns cargo's options for it. judge is nil if
// another process judges.
func (c *call) serve(ctx context.Context) (flags []string, j *verdict.Judge, stop func() error, err error) {
	want, dir, err := c.settings.identity(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	want.Lasting = true // one that serves another call might end before ours
	for _, address := range c.addresses {
		l, err := proxy.Listen(address, false)
		if err != nil {
			if is, err := proxy.Identify(ctx, "http://"+address, dir); err == nil && is == want {
				return proxyFlags("http://" + address), nil, func() error { return nil }, nil
			}
			continue
		}
		p, j, err := c.settings.open(ctx, l)
		if err != nil {
			l.Close()
			return nil, nil, nil, err
		}
		return proxyFlags(p.Base), j, background(ctx, p, l), nil
	}
	return nil, nil, nil, fmt.Errorf("the proxy cannot listen at %s: something else does, and it is not a proxy under "+
		"this policy", strings.Join(c.addresses, ", "))
}

// background serves a proxy until the function that it returns is called.
func background(ctx context.Context, p *proxy.Proxy, l net.Listener) (stop func() error) {
	// When ctx ends, cargo gets time to end first; the proxy goes last.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, l) }()
	return func() error {
		cancel()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}

// proxyFlags are cargo's options to use the proxy. (Its environment variables cannot
// say this.)
func proxyFlags(base string) []string {
	return []string{
		"--config", fmt.Sprintf("source.%s.replace-with=%q", cargo.DefaultSource, proxyName),
		"--config", fmt.Sprintf("source.%s.registry=%q", proxyName, proxy.Index(base)),
	}
}

// updateLock has cargo write Cargo.lock if it would have to be written anyway, so that
// what must be proven is known before anything is built.
func (c *call) updateLock(ctx context.Context, ws *cargo.Workspace, flags []string) error {
	if c.locked {
		return nil
	}
	if _, err := os.Stat(ws.LockPath); errors.Is(err, os.ErrNotExist) {
		return c.quietly(ctx, ws, flags, "generate-lockfile")
	} else if err != nil {
		return err
	}
	if c.upToDate(ctx, ws, flags) {
		return nil // the common case
	}
	return c.quietly(ctx, ws, flags, "update", "--workspace")
}

// upToDate says that the lock file is up to date and that cargo has what it needs to build
// on this machine with the default features.
func (c *call) upToDate(ctx context.Context, ws *cargo.Workspace, flags []string) bool {
	return c.quietly(ctx, ws, flags, "tree", "--workspace", "--locked", "--offline") == nil
}

// offlineFlags says where cargo shall look for what it downloaded before: under the real
// registry, or under a proxy, which cargo keeps apart. It connects to neither.
func (c *call) offlineFlags(ctx context.Context, ws *cargo.Workspace) []string {
	if c.upToDate(ctx, ws, nil) {
		return nil
	}
	for _, address := range c.addresses {
		if flags := proxyFlags("http://" + address); c.upToDate(ctx, ws, flags) {
			return flags
		}
	}
	return nil
}

// quietly runs cargo, and returns what it says if it fails.
func (c *call) quietly(ctx context.Context, ws *cargo.Workspace, flags []string, args ...string) error {
	args = slices.Concat(flags, args, []string{"--manifest-path", ws.Manifest})
	if c.offline && !slices.Contains(args, "--offline") {
		args = append(args, "--offline")
	}
	return callCargo(ctx, "before "+c.verb+", cargo", args...)
}

// verifyPresent checks what cargo has on the disk, because it will not ask the proxy
// for that. What it does not have, the proxy will check; offline, there is no proxy, and
// everything must be there.
func (c *call) verifyPresent(ctx context.Context, sh *shell, ws *cargo.Workspace, flags []string) error {
	b := c.settings.believe
	k, err := planLock(ctx, sh, b, lockOptions{manifestPath: c.lock.manifestPath, locked: true}, "")
	if errors.Is(err, os.ErrNotExist) && c.locked {
		return nil // cargo will say that it may not write the lock file
	} else if err != nil {
		return err
	}
	if err := c.look(ctx, k, ws, flags); err != nil {
		return err
	}
	b.rehash = c.lock.rehash
	if err := k.check(ctx, sh, b, nil); err != nil {
		return err
	}
	if k.worst() != verdict.Verified {
		return k.report(sh, "human")
	}
	for _, u := range k.Unmatched {
		sh.Warn("%s", u)
	}
	return nil // cargo reports the rest
}

// look finds what cargo has of the lock file's packages. What must be proven and comes
// from a registry that no proxy stands before is downloaded now: that compiles nothing.
func (c *call) look(ctx context.Context, k *lockCheck, ws *cargo.Workspace, flags []string) error {
	err := k.locate(func(missing []cargo.Package) error {
		aside := slices.ContainsFunc(missing, func(p cargo.Package) bool {
			index, _ := p.Registry()
			return !cargo.IsDefault(index)
		})
		if !aside || c.offline {
			return nil
		}
		return c.quietly(ctx, ws, flags, "fetch", "--locked")
	})
	k.KeepPresent()
	return err
}

// cargo runs the call itself. The lock file is up to date, and cargo is held to it.
func (c *call) cargo(ctx context.Context, sh *shell, flags []string) error {
	args := append(slices.Clone(flags), c.verb)
	if !c.locked {
		args = append(args, "--locked")
	}
	cmd := exec.CommandContext(ctx, cargoBin(), append(args, c.args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, sh.stdout, sh.stderr
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
// this machine, where it would not find ours. (curl reads no_proxy first, and NO_PROXY
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
