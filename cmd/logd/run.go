package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"cratelog/config"
	"cratelog/internal/daemon"
)

const usage = `logd is the server of a transparent log of crate proofs.

	logd keygen -origin ORIGIN -out FILE   make a key file and print its vkey
	logd vkey -origin ORIGIN -key FILE     print the vkey of a key file
	logd serve -config FILE [-ready-file FILE]
	                                       serve until SIGINT or SIGTERM

Exit status: 0 all is well; 1 it failed; 2 the command line is wrong.
`

// run is the whole program: it does what args say until that is done or ctx
// ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return daemon.Usage(errors.New("no command is given"))
	}
	switch args[0] {
	case "keygen":
		return keygen(args[1:], stdout)
	case "vkey":
		return vkey(args[1:], stdout)
	case "serve":
		return serve(ctx, args[1:], stderr, loadPrograms)
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(stdout, usage)
		return err
	}
	return daemon.Usagef("there is no command %q", args[0])
}

func keygen(args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("keygen", flag.ContinueOnError)
	origin := fs.String("origin", "", "the log's origin")
	out := fs.String("out", "", "key file to write")
	if err := daemon.Parse(fs, args, "origin", "out"); err != nil {
		return err
	}
	if err := config.CheckKeyName(*origin); err != nil {
		return daemon.Usage(err)
	}
	if err := config.GenerateKey(*out); err != nil {
		return err
	}
	return printVKey(stdout, *out, *origin)
}

func vkey(args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("vkey", flag.ContinueOnError)
	origin := fs.String("origin", "", "the log's origin")
	key := fs.String("key", "", "key file")
	if err := daemon.Parse(fs, args, "origin", "key"); err != nil {
		return err
	}
	return printVKey(stdout, *key, *origin)
}

func printVKey(stdout io.Writer, path, origin string) error {
	_, vkey, err := config.LogSigner(path, origin)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, vkey)
	return err
}
