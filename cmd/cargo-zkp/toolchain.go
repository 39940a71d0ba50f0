package main

import (
	"context"
	"fmt"

	"cratelog/build/sandbox"
	"cratelog/cargo/verdict"
)

// toolchain tells the id of the compiler that cargo uses here.
func toolchain(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "toolchain", "", `Print what compiler cargo uses in this directory, and its id: a digest of exactly the files
of its components rustc, cargo and rust-std. Builders and policies name toolchains by it.`)
	rustc := fs.String("rustc", "", "`PROGRAM`: ask this compiler instead")
	keep := fs.Bool("keep", false, "copy these files into the cache directory, where rebuild still finds them "+
		"when rustup has others")
	if _, err := parseUpTo(0, fs, args, ""); err != nil {
		return err
	}
	cache, _, err := verdict.Dirs()
	if err != nil {
		return err
	}
	sysroot, err := sandbox.FindToolchain(ctx, *rustc)
	if err != nil {
		return err
	}
	sh.Status("Hashing", "the toolchain at %s", sysroot)
	var t *sandbox.Toolchain
	if *keep {
		t, err = sandbox.KeepToolchain(ctx, sysroot, cache)
	} else {
		t, err = sandbox.ReadToolchain(ctx, sysroot)
	}
	if err != nil {
		return err
	}
	if *keep {
		sh.Status("Kept", "at %s", t.Dir)
	}
	fmt.Fprintf(sh.stdout, "toolchain %x\nrelease %s\ncommit %s\nhost %s\nfiles %d\nsize %s\n",
		t.ID, t.Release, t.Commit, t.Host, t.Files, megabytes(t.Size))
	return nil
}

// megabytes says a number of bytes, exactly and for people.
func megabytes(n int64) string {
	return fmt.Sprintf("%d bytes (%d MiB)", n, n>>20)
}
