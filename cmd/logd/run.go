package main

import (
	"context"
	"io"

	"cratelog/config"
	"cratelog/internal/daemon"
)

const usage = `logd is the server of a transparent log of crate proofs.

	logd keygen -origin ORIGIN -out FILE   make a key file and print its vkey
	logd vkey -origin ORIGIN -key FILE     print the vkey of a key file
	logd serve -config FILE [-ready-file FILE]
	                                       serve until SIGINT or SIGTERM

Exit status: 0 all is well; 2 the command line is wrong; 3 it failed.
`

var keys = daemon.Keys{
	Name:  "origin",
	Types: map[string]func(string) error{"ed25519": config.GenerateKey},
	VKey: func(path, origin string) (string, error) {
		_, vkey, err := config.LogSigner(path, origin)
		return vkey, err
	},
}

var verbs = map[string]daemon.Verb{
	"keygen": keys.Keygen,
	"vkey":   keys.Show,
	"serve": func(ctx context.Context, args []string, _, stderr io.Writer) error {
		return serve(ctx, args, stderr, loadPrograms)
	},
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return daemon.Run(ctx, usage, verbs, args, stdout, stderr)
}
