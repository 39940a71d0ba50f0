// Command cratelog makes and runs a log of one's own: the log, witnesses and a monitor, in one
// folder. See usage below and docs/your-own-log.md.
package main

import (
	"context"
	"flag"
	"io"

	"cratelog/internal/daemon"
	"cratelog/internal/outcome"
)

const usage = `cratelog makes and runs a log of your own (docs/your-own-log.md).

	cratelog init DIR [OPTIONS]   make a new log in DIR, in under a minute: keys, a proving key, the
	                              trust file, and settings of a log, witnesses and a monitor
	cratelog run DIR              run all that is in DIR until Ctrl-C

	cratelog trust keygen -name NAME -out FILE [-passphrase-file FILE]
	                              make the key of a maintainer of a trust file, and print its vkey
	cratelog trust sign FILE -key KEY [-name NAME] [-before OLD] [-passphrase-file FILE]
	                              sign a trust file, as a maintainer of it or of OLD, the one before it

cratelog init --help lists its options. The programs that it runs are logd, witness and monitor:
beside this one, or on PATH. What readers use is cargo zkp.

Exit status: 0 all is well; 1 a trust file is refused; 2 the command line is wrong; 3 it failed, or a program ended.
`

func main() { daemon.Main("cratelog", run) }

var verbs = map[string]daemon.Verb{"init": initialize, "run": runAll, "trust": trust}

// run is the whole program: it does what args say until that is done or ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return daemon.Run(ctx, usage, verbs, args, stdout, stderr)
}

// parse parses flags, which may stand before and after the one argument, DIR.
func parse(fs *flag.FlagSet, args []string) (dir string, err error) {
	rest, err := daemon.ParseBetween(fs, args)
	if err == nil && len(rest) != 1 {
		err = outcome.Usagef("%s takes one argument, DIR, and %d are given", fs.Name(), len(rest))
	}
	if err != nil {
		return "", err
	}
	return rest[0], nil
}
