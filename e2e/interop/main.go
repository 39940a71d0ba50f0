// Command interop builds what others wrote against the same specifications, outside of the
// repository, and runs it with ours. It prints a line for each pair.
//
//	go run ./e2e/interop -o DIR
//
// DIR keeps what was built, so a second run is quick. Exit status: 0 every pair works, 1 one does
// not, 2 usage, 3 ours could not be built or started. What could not be built is said, with its reason, and
// is no failure of a pair. It needs the module proxy, a C compiler, and some ten minutes. Run by root, sunlight
// makes its files immutable: chattr -R -i DIR before DIR is removed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := interop(ctx)
	stop()
	os.Exit(outcome.Exit("interop", err, os.Stderr))
}

func interop(ctx context.Context) error {
	fs := flag.NewFlagSet("interop", flag.ContinueOnError)
	out := fs.String("o", "", "`DIR` for what is built, outside of the repository")
	if err := fs.Parse(os.Args[1:]); err != nil || *out == "" || fs.NArg() > 0 {
		return outcome.Usagef("it needs a directory: go run ./e2e/interop -o DIR")
	}
	dir, err := filepath.Abs(*out)
	if err != nil {
		return err
	}
	b := &builder{dir, make(map[string]string)}
	fmt.Fprintln(os.Stderr, "building")
	if err := b.build(ctx); err != nil {
		return err
	}
	return b.runPairs(ctx)
}

// runPairs runs all pairs and prints what came of each.
func (b *builder) runPairs(ctx context.Context) error {
	fmt.Fprintln(os.Stderr, "starting")
	w := &world{builder: b, logs: make(map[kind]*logOf), tree: testlog.Of("interop.example/tree", 40),
		cosigners: make(map[string]cosigner), failed: make(map[string]error)}
	defer w.stop()
	var err error
	if w.run, err = os.MkdirTemp(b.dir, "run-"); err != nil {
		return err
	}
	for _, k := range []kind{classic, postQuantum} {
		l := &logOf{kind: k, origin: "interop.example/" + strings.ToLower(string(k))}
		if l.vkey, err = w.keygen(ctx, "logd", "-origin", l.origin, "log-"+string(k)+".pem"); err != nil {
			return err
		}
		w.logs[k] = l
	}
	if err := w.startWitnesses(ctx); err != nil {
		return err
	}
	for _, l := range w.logs {
		if err := w.startLog(ctx, l); err != nil {
			return fmt.Errorf("log with %s witnesses: %w", l.kind, err)
		}
	}
	failures := 0
	for _, p := range w.pairs() {
		result := "works"
		missing := b.has(p.needs...)
		for _, program := range p.needs {
			if missing == nil && w.failed[program] != nil {
				missing = fmt.Errorf("%s did not start: %w", program, w.failed[program])
				failures++
			}
		}
		if missing != nil {
			result = "not run: " + missing.Error()
		} else if err := w.try(ctx, p); err != nil {
			result = fmt.Sprintf("FAILS: %.500q", err.Error())
			failures++
		}
		fmt.Printf("%-55s %s\n", p.name, result)
	}
	if failures > 0 {
		return outcome.Refusef("%d pairs do not work; what the programs said is in %s", failures, w.run)
	}
	return nil
}

// try runs a pair within some time.
func (w *world) try(ctx context.Context, p pair) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	return p.works(ctx)
}
