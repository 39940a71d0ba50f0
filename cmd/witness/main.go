// Command witness cosigns the checkpoints of transparency logs, as
// c2sp.org/tlog-witness says. See usage below and docs/operating.md.
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
	os.Exit(daemon.ExitCode("witness", usage, err, os.Stderr))
}
