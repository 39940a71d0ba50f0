// Command logd is the log server: it accepts crate proofs, and serves the
// transparent log of them. See usage in run.go and docs/operating.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"cratelog/internal/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(daemon.ExitCode("logd", usage, err, os.Stderr))
}
