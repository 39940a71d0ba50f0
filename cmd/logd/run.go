package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"cratelog/config"
	"cratelog/internal/daemon"
	"cratelog/internal/outcome"
	"cratelog/log"
)

const usage = `logd is the server of a transparent log of crate proofs.

	logd keygen -origin ORIGIN -out FILE [-type ed25519|ml-dsa-44] [-passphrase-file FILE]
	                                       make a key file and print its vkey
	logd vkey -origin ORIGIN -key FILE     print the vkey of a key file
	logd vkey -config FILE                 print the vkey of each key of the settings
	logd serve -config FILE [-ready-file FILE] [-read-only]
	                                       serve until SIGINT or SIGTERM; SIGHUP: take the settings over again;
	                                       -read-only: a copy of the tree, without a key
	logd check -config FILE [-read-only] [-json]
	                                       look at all that serve would, and change nothing
	logd fsck -config FILE [-repair]       compare all that is on the disk; with -repair the log must be stopped
	logd freeze -config FILE -successor VKEY|none [-url URL] [-reason TEXT]
	                                       end the log for good: sign that nothing follows, and which log goes on
	logd export -config FILE -out DIR      write the log as files that any web server can serve
	logd openings delete -config FILE -claim IDENTITY
	                                       delete the opening of a claim; the log may be running

Exit status: 0 all is well; 1 a check failed, or fsck found what is wrong and not repaired; 2 the command line is wrong;
3 it failed; 4 it was the sequencer of several processes, and is it no longer, or could not open its
log again as one of them: start it again.
`

var keys = daemon.Keys{
	Name: "origin",
	Types: map[string]func(string, []byte) error{"ed25519": config.GenerateEncryptedKey,
		"ml-dsa-44": config.GenerateEncryptedMLDSAKey},
	VKey: func(path, origin string, passphrase []byte) (string, error) {
		key, err := config.ReadEncryptedKey(path, passphrase)
		if err != nil {
			return "", err
		}
		_, vkey, err := config.NewLogSigner(key, origin)
		return vkey, err
	},
	All: func(path string) (vkeys []string, err error) {
		_, cfg, err := load(path)
		if err != nil {
			return nil, err
		}
		vkeys = []string{cfg.VKey}
		for _, k := range cfg.MoreKeys {
			vkeys = append(vkeys, k.VKey)
		}
		return vkeys, nil
	},
}

var verbs = map[string]daemon.Verb{
	"keygen": keys.Keygen,
	"vkey":   keys.Show,
	"serve": func(ctx context.Context, args []string, _, stderr io.Writer) error {
		return serve(ctx, args, stderr, loadPrograms)
	},
	"check": func(ctx context.Context, args []string, stdout, _ io.Writer) error {
		return check(ctx, args, stdout, loadPrograms)
	},
	"fsck": func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		return fsck(ctx, args, stdout, stderr, loadPrograms)
	},
	"freeze": func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		return freeze(ctx, args, stdout, stderr, loadPrograms)
	},
	"export": func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		return export(ctx, args, stdout, stderr, loadPrograms)
	},
	"openings": deleteOpening,
}

// deleteOpening deletes the opening of a claim. The log's entries stay as they are.
func deleteOpening(ctx context.Context, args []string, stdout, _ io.Writer) error {
	if len(args) > 0 && daemon.IsHelp(args[0]) {
		args = []string{"delete", "--help"}
	}
	if len(args) == 0 || args[0] != "delete" {
		return outcome.Usagef("what is to be done with openings? They can be deleted")
	}
	fs := flag.NewFlagSet("openings delete", flag.ContinueOnError)
	file := fs.String("config", "", "settings `FILE`")
	claim := fs.String("claim", "", "`IDENTITY` of the claim, in hex")
	if err := daemon.Parse(fs, args[1:], "config", "claim"); err != nil {
		return err
	}
	identity, err := ids([]string{*claim})
	if err != nil {
		return outcome.Usagef("openings delete: -claim: %v", err)
	}
	_, cfg, err := load(*file)
	if err == nil {
		err = log.DeleteOpening(ctx, cfg, identity[0])
	}
	if err == nil {
		_, err = fmt.Fprintf(stdout, "the opening of the claim %x is deleted, and will not be taken again\n", identity[0])
	}
	return err
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return daemon.Run(ctx, usage, verbs, args, stdout, stderr)
}
