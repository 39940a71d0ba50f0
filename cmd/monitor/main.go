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
	"path/filepath"
	"syscall"

	"cratelog/config"
	"cratelog/internal/daemon"
	"cratelog/monitor/alert"
)

const usage = `monitor follows transparency logs of crate proofs.

	monitor verify-evidence FILE --policy FILE [--program FILE]... [--development] [--json]
	                                  say what an evidence file shows, with the keys of
	                                  a policy alone
	monitor test-alert -config FILE [-channel NAME]
	                                  send a test over the alert channels
	monitor ack -config FILE -by NAME -why TEXT NUMBER...
	                                  note that somebody has taken care of findings, so
	                                  that they do not page again

Exit status: 0 all is well, or the evidence holds; 1 it does not hold; 2 the command
line is wrong; 3 something could not be read or reached.
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
		"verify-evidence": verifyEvidence,
		"test-alert":      testAlert,
		"ack":             ack,
	}
}

// run is the whole program: it does what args say until that is done or ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return daemon.Usage(errors.New("no command is given"))
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(stdout, usage)
		return err
	}
	verb := verbs()[args[0]]
	if verb == nil {
		return daemon.Usagef("there is no command %q", args[0])
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
	return daemon.ExitCode("monitor", usage, err, stderr)
}

// settings is the settings file.
type settings struct {
	Database  string         `toml:"database"`
	Evidence  string         `toml:"evidence"`
	PublicURL string         `toml:"public_url"`
	Channel   []alert.Config `toml:"channel"`
}

// loadAlertSite reads what the alerts need of the settings file at path.
func loadAlertSite(path string) (alertSite, error) {
	var s settings
	if err := config.LoadTOML(path, &s); err != nil {
		return alertSite{}, err
	}
	dir := filepath.Dir(path)
	beside := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(dir, name)
	}
	return alertSite{Dir: dir, Database: beside(s.Database), Evidence: beside(s.Evidence), PublicURL: s.PublicURL, Channels: s.Channel}, nil
}
