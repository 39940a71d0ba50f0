// Command interop builds what others wrote against the same specifications, outside of the
// repository, and runs it with ours. It prints a line for each pair.
//
//	go run ./e2e/interop -o DIR
//
// DIR keeps what was built, so a second run is quick. Exit status: 0 every pair works, 1 one does
// not, 2 usage, 3 ours could not be built or started. What could not be built is said, with its reason, and
// is no failure of a pair. It needs the module proxy, a C compiler, and some ten minutes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"cratelog/internal/outcome"
)

const usage = `interop builds others' programs and runs them with ours.

	go run ./e2e/interop -o DIR
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := interop(ctx)
	stop()
	os.Exit(outcome.Exit("interop", usage, err, os.Stderr))
}

func interop(ctx context.Context) error {
	fs := flag.NewFlagSet("interop", flag.ContinueOnError)
	out := fs.String("o", "", "`DIR` for what is built, outside of the repository")
	if err := fs.Parse(os.Args[1:]); err != nil || *out == "" || fs.NArg() > 0 {
		return outcome.Usagef("interop needs -o DIR")
	}
	dir, err := filepath.Abs(*out)
	if err != nil {
		return err
	}
	b := &builder{dir, make(map[string]string)}
	if err := b.build(ctx); err != nil {
		return err
	}
	for name, why := range b.reason {
		fmt.Println(name, why)
	}
	return nil
}
