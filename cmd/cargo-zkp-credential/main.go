// Command cargo-zkp-credential is a credential provider for cargo that refuses to
// publish a .crate until exactly that .crate is logged with a proof.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"cratelog/cargo/credential"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program. It is started by cargo, with one argument; anybody else
// is told how to configure it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) != 1 || args[0] != credential.PluginFlag {
		fmt.Fprint(stderr, credential.Usage)
		return 2
	}
	if err := credential.Main(ctx, stdin, stdout); err != nil {
		fmt.Fprintln(stderr, "cargo-zkp-credential:", err)
		return 1
	}
	return 0
}
