package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"cratelog/build/sandbox"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
)

const environmentUsage = `Make, import and show environments: the files beside the toolchain in the sandbox where a crate is
rebuilt. An environment has an id, a digest of its files; builders and policies name it by that.

Usage: cargo zkp environment make [DIR] [OPTIONS]
       cargo zkp environment import TAR [DIR] [OPTIONS]
       cargo zkp environment show [DIR] [OPTIONS]

"cargo zkp environment make --help" tells the options.
`

// environment is the verbs about environments.
func environment(ctx context.Context, sh *shell, args []string) error {
	verbs := map[string]func(context.Context, *shell, []string) error{
		"make": environmentMake, "import": environmentImport, "show": environmentShow,
	}
	switch {
	case len(args) > 0 && verbs[args[0]] != nil:
		return verbs[args[0]](ctx, sh, args[1:])
	case len(args) > 0 && (args[0] == "--help" || args[0] == "-h"):
		fmt.Fprint(sh.stdout, environmentUsage)
		return nil
	}
	return outcome.Usagef("the verbs of cargo zkp environment are make [DIR], import TAR [DIR] and show [DIR]")
}

// environmentMake installs a small Debian.
func environmentMake(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "environment make", "[DIR]", `Make an environment with mmdebstrap: a small Debian with gcc, libc6-dev
and make. It is kept in the cache directory, by its id; with DIR, there.`)
	var from sandbox.Source
	fs.StringVar(&from.Suite, "suite", "", "`NAME` of the release, as in bookworm (default: this machine's)")
	fs.StringVar(&from.Mirror, "mirror", "", "`URL` of the archive (default: those of this machine's apt). Name a "+
		"snapshot, and others get the same packages, and so the same id")
	dirs, err := parseUpTo(1, fs, args, "DIR")
	if err != nil {
		return err
	}
	keep, err := keeper(ctx, dirs)
	if err != nil {
		return err
	}
	progress := func(line string) {
		if sh.verbose {
			sh.Status("", "%s", line)
		}
	}
	sh.Status("Making", "an environment; this takes some minutes")
	e, err := sandbox.MakeEnvironment(ctx, from, progress, keep)
	if err != nil {
		return err
	}
	sh.Status("Made", "%s", e.Dir)
	printEnvironment(sh.stdout, e)
	return nil
}

// environmentImport takes a root file system from elsewhere.
func environmentImport(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "environment import", "TAR [DIR]", `Make an environment of a root file system: TAR is a tar file that is not compressed, or - for
standard input, as "docker export" writes it. It needs a shell, tar and coreutils, and a C compiler
for crates that link. It is kept in the cache directory, by its id; with DIR, there.`)
	found, err := parseUpTo(2, fs, args, "TAR and DIR")
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return outcome.Usagef("cargo zkp environment import needs TAR, the file of a root file system")
	}
	keep, err := keeper(ctx, found[1:])
	if err != nil {
		return err
	}
	in := io.ReadCloser(os.Stdin)
	if found[0] != "-" {
		if in, err = os.Open(found[0]); err != nil {
			return err
		}
		defer in.Close()
	}
	e, err := keep(in)
	if err != nil {
		return err
	}
	sh.Status("Imported", "%s", e.Dir)
	printEnvironment(sh.stdout, e)
	return nil
}

// environmentShow tells about an environment, or which there are.
func environmentShow(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "environment show", "[DIR]", `Read an environment, and print its id, its packages and its size. DIR may be the id of one that is
kept in the cache directory; without it, the ids of those are printed.`)
	found, err := parseUpTo(1, fs, args, "DIR")
	if err != nil {
		return err
	}
	cache, _, err := verdict.Dirs()
	if err != nil {
		return err
	}
	if len(found) == 0 {
		ids, err := sandbox.KeptEnvironments(cache)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			sh.Warn("no environment is kept here: cargo zkp environment make makes one")
		}
		for _, id := range ids {
			fmt.Fprintf(sh.stdout, "environment %x\n", id)
		}
		return nil
	}
	var e *sandbox.Environment
	if id, err2 := hex.DecodeString(found[0]); err2 == nil && len(id) == 32 {
		e, err = sandbox.OpenKeptEnvironment(ctx, cache, [32]byte(id))
	} else {
		e, err = sandbox.OpenEnvironment(ctx, found[0])
	}
	if err != nil {
		return err
	}
	printEnvironment(sh.stdout, e)
	return nil
}

// keeper returns what keeps an environment: at the directory that is named, or in the cache.
func keeper(ctx context.Context, dirs []string) (func(io.Reader) (*sandbox.Environment, error), error) {
	if len(dirs) == 1 {
		return func(r io.Reader) (*sandbox.Environment, error) {
			return sandbox.ImportEnvironment(ctx, r,
				dirs[0])
		}, nil
	}
	cache, _, err := verdict.Dirs()
	if err != nil {
		return nil, err
	}
	return func(r io.Reader) (*sandbox.Environment, error) { return sandbox.KeepEnvironment(ctx, r, cache) }, nil
}

func printEnvironment(w io.Writer, e *sandbox.Environment) {
	fmt.Fprintf(w, "environment %x\nfiles %d\nsize %s\n", e.ID, e.Files, megabytes(e.Size))
	for _, p := range e.Packages {
		fmt.Fprintf(w, "package %s\n", p)
	}
}
