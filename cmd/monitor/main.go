// Command monitor follows transparency logs of crate proofs and believes nothing that it
// has not computed itself. See usage below and docs/monitoring.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"cratelog/internal/outcome"
)

const usage = `monitor follows transparency logs of crate proofs.

	monitor init -config FILE         create the monitor's empty database, once
	monitor run -config FILE [-ready-file FILE]
	                                  follow the logs, alert and serve until SIGINT or
	                                  SIGTERM
	monitor once -config FILE [-json] look at everything once, alert, and say how it is
	monitor watch -config FILE [-crate NAME | -prefix TEXT | -path PATH | -commit HEX]
	        [-channel NAME] [-note TEXT] [-remove NUMBER]
	                                  be told of entries; without a flag: list the watches
	monitor authorise -config FILE [-crate NAME -version VERSION [-sha256 HEX]
	        [-days N] -by NAME] [-remove NUMBER]
	                                  announce a release, so that watches do not tell of
	                                  it; without a flag: list what is announced
	monitor query -config FILE entries | entry KEY | raw KEY | bundle KEY | crate NAME |
	        checkpoints | checkpoint SIZE | findings | statistics | logs | witnesses
	        [--PARAMETER VALUE]...    answer from the database as the web API does; the
	                                  parameters are those of docs/monitor-api.md
	monitor export -config FILE csv|ndjson [--PARAMETER VALUE]...
	                                  print the history of all entries, or of some
	monitor verify-evidence FILE --policy FILE [--program FILE]...
	        [--crate FILE] [--development] [--json]
	                                  say what an evidence file shows, with the keys of
	                                  a policy alone
	monitor test-alert -config FILE [-channel NAME]
	                                  send a test over the alert channels
	monitor ack -config FILE -by NAME -why TEXT NUMBER...
	                                  note that somebody has taken care of findings, so
	                                  that they do not page again

Exit status: 0 all is well, or the evidence holds; 1 once: a security finding stands,
verify-evidence: it does not hold, query: there is no such thing; 2 the command line is wrong; 3 something could not
be read or reached, or once: an operational finding stands.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(exitCode(err, os.Stderr))
}

// verbs are the commands.
func verbs() map[string]func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return map[string]func(ctx context.Context, args []string, stdout, stderr io.Writer) error{
		"init":            initialise,
		"run":             runMonitor,
		"once":            once,
		"watch":           watch,
		"authorise":       authorise,
		"query":           query,
		"export":          export,
		"verify-evidence": verifyEvidence,
		"test-alert":      testAlert,
		"ack":             ack,
	}
}

// run is the whole program: it does what args say until that is done or ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return outcome.Misuse(errors.New("no command is given"))
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(stdout, usage)
		return err
	}
	verb := verbs()[args[0]]
	if verb == nil {
		return outcome.Usagef("there is no command %q", args[0])
	}
	return verb(ctx, args[1:], stdout, stderr)
}

// exitCode prints the error that ended the program and returns its exit code.
func exitCode(err error, stderr io.Writer) int {
	var known *exitError
	if errors.As(err, &known) {
		fmt.Fprintf(stderr, "monitor: %v\n", err)
		return known.code
	}
	return outcome.Exit("monitor", usage, err, stderr)
}
