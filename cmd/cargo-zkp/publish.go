package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/publish"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
	"cratelog/prover"
)

// publishCrates is the verb publish.
func publishCrates(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "publish", "", "Package with cargo, prove, log, and publish the very bytes that are logged.\n"+
		"Run it again after a failure: it goes on where it stopped.")
	var cfg publish.Config
	keys := &prover.Keyring{}
	publishFlags(fs, &cfg)
	keyFlags(fs, keys)
	if _, err := parseUpTo(0, fs, args, ""); err != nil {
		return err
	}
	if cfg.DryRun && cfg.LogOnly {
		return outcome.Usagef("publish takes --dry-run or --log-only, not both")
	}
	if err := prepareKeys(keys); err != nil {
		return err
	}
	cfg.Prover, cfg.Report, cfg.UserAgent = &publishKeys{keys, sh}, sh, userAgent
	if keys.ProgramFile != "" {
		cfg.Policy.Programs = []string{keys.ProgramFile} // a publisher who proves with it believes it
	}
	if err := surroundings(sh, &cfg); err != nil {
		return err
	}
	err := publish.Run(ctx, cfg)
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted: run the same command again, and it goes on where it stopped: %w", err)
	}
	return err
}

// publishFlags are cargo publish's options, and ours.
func publishFlags(fs *flag.FlagSet, cfg *publish.Config) {
	for _, name := range []string{"p", "package"} {
		fs.Func(name, "`NAME` or NAME@VERSION of a workspace member to publish; may be repeated",
			policy.AppendTo(&cfg.Selection.Packages))
	}
	fs.BoolVar(&cfg.Selection.Workspace, "workspace", false, "publish all members that may be published")
	fs.Func("exclude", "`NAME` of a member to leave out, with --workspace; may be repeated",
		policy.AppendTo(&cfg.Selection.Exclude))
	fs.StringVar(&cfg.Registry, "registry", "", "`NAME` of the registry to publish to")
	fs.StringVar(&cfg.Index, "index", "", "`URL` of the index of the registry to publish to")
	fs.StringVar(&cfg.Token, "token", "", "`TOKEN` for the registry")
	fs.StringVar(&cfg.Log, "log", "", "`URL` of the log (default: log of [package.metadata.zkp] or "+
		"[workspace.metadata.zkp], or the one in the trust file; of another registry than cargo's default one only if "+
		"[registry.\"INDEX\"] logs in zkp.toml names that)")
	cfg.Policy.Register(fs) // about the log's answer
	fs.BoolVar(&cfg.DryRun, "dry-run", false, "do everything but log and publish; proofs are kept")
	fs.BoolVar(&cfg.LogOnly, "log-only", false, "do everything but publish, and leave that to cargo publish")
	fs.BoolVar(&cfg.Unpushed, "unpushed", false, "go on though no remote branch has the commit")
	fs.BoolFunc("opening", "hand the git objects themselves to the log, with the names of all files beside the "+
		"crate's (default: where anybody can fetch the commit; --opening=false: never)", func(v string) error {
		yes, err := strconv.ParseBool(v)
		cfg.Opening = &yes
		return err
	})
	fs.BoolFunc("allow-dirty", "refused: a proof is about a commit", func(string) error {
		return errors.New("a proof shows that a .crate is what a commit says, so what is not committed cannot be " +
			"published with one: commit first")
	})
	fs.StringVar(&cfg.Cargo.Manifest, "manifest-path", "", "`PATH` of Cargo.toml")
	for _, name := range []string{"locked", "offline", "frozen"} {
		pass(fs, &cfg.Cargo.Flags, name, false)
	}
	for _, name := range []string{"no-verify", "all-features", "no-default-features", "keep-going", "no-metadata"} {
		pass(fs, &cfg.PackageFlags, name, false)
	}
	for _, name := range []string{"F", "features", "target", "j", "jobs"} {
		pass(fs, &cfg.PackageFlags, name, true)
	}
	fs.StringVar(&cfg.Cargo.TargetDir, "target-dir", "", "`DIRECTORY` for all generated files")
}

// pass hands an option to cargo as it is.
func pass(fs *flag.FlagSet, to *[]string, name string, value bool) {
	spelled := "--" + name
	if len(name) == 1 {
		spelled = "-" + name
	}
	if value {
		fs.Func(name, "`VALUE` for cargo", func(v string) error {
			*to = append(*to, spelled, v)
			return nil
		})
		return
	}
	fs.BoolFunc(name, "as for cargo", func(v string) error {
		if v != "true" {
			return fmt.Errorf("takes no value")
		}
		*to = append(*to, spelled)
		return nil
	})
}

// surroundings fills in what comes from the process and its environment.
func surroundings(sh *shell, cfg *publish.Config) (err error) {
	c := &cfg.Cargo
	if c.Dir, err = os.Getwd(); err != nil {
		return err
	}
	c.Program, c.Out = cargoBin(), sh.stderr
	if sh.quiet {
		c.Flags = append(c.Flags, "--quiet")
	}
	if sh.verbose {
		c.Flags = append(c.Flags, "--verbose")
	}
	if sh.color {
		c.Flags = append(c.Flags, "--color", "always")
	}
	if cfg.Home, err = cargo.Home(); err != nil {
		return err
	}
	cfg.Policy.UserDir = policy.UserDir()
	// cargo asks this program about what it uploads: see main.
	cfg.Guard, err = os.Executable()
	return err
}

// keyFlags say what to prove with.
func keyFlags(fs *flag.FlagSet, k *prover.Keyring) {
	fs.StringVar(&k.Cache, "keys", "", "`DIRECTORY` of keys that are made or fetched (default: in the user's cache)")
	fs.StringVar(&k.ProgramFile, "program", "", "`FILE` of the program to prove with, with --proving-key (default: "+
		"the program of the log, or the development key)")
	fs.StringVar(&k.KeyFile, "proving-key", "", "`FILE` of the program's proving key, as \"ceremony\" writes it")
}

// prepareKeys finds mistakes about keys before the work begins.
func prepareKeys(k *prover.Keyring) (err error) {
	if err := k.Check(); err != nil {
		return outcome.Misuse(err)
	}
	if k.Cache == "" {
		k.Cache, err = prover.DefaultCache()
		if k.ProgramFile != "" {
			return nil // then what was checked of the key is not remembered
		}
	}
	return err
}

// tellKeys tells whose program the proofs will be of, once the log, if there is one, was asked.
func tellKeys(sh *shell, k *prover.Keyring, logs *proofcheck.Program) {
	if logs != nil {
		sh.Status("Proving", "with the log's program %x, origin %s", logs.ID(), logs.Trust())
	}
	if k.Development() {
		text := "proofs are made with the UNSAFE development key: only logs and readers in development mode accept them"
		if k.Log == nil {
			text += "; with --log URL they are made with the key of that log"
		}
		sh.Warn("%s", text)
	}
}

// publishKeys is a keyring that tells whose program it proves with.
type publishKeys struct {
	*prover.Keyring
	sh *shell
}

func (k *publishKeys) UseLog(ctx context.Context, log prover.KeyServer, development bool) (*proofcheck.Program, error) {
	p, err := k.Keyring.UseLog(ctx, log, development)
	if errors.Is(err, prover.ErrNoOffer) {
		return nil, fmt.Errorf("%w\nname the program and its key with --program and --proving-key", err)
	} else if err != nil {
		return nil, err
	}
	tellKeys(k.sh, k.Keyring, p)
	return p, nil
}

// The shell is publish's Reporter.
var _ publish.Reporter = &shell{}
