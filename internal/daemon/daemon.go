// Package daemon is what the programs that serve have in common: how they read a
// command line, say that they are ready, and stop.
package daemon

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"cratelog/internal/outcome"
)

// Usage marks a mistake on the command line.
func Usage(err error) error { return outcome.Misuse(err) }

// Usagef is Usage of fmt.Errorf.
func Usagef(format string, args ...any) error { return outcome.Usagef(format, args...) }

// ExitCode prints the error that ended a program and returns its exit code: 0 if
// there is none, 2 with the usage for a mistake on the command line, else 1.
func ExitCode(program, usage string, err error, stderr io.Writer) int {
	code := outcome.Exit(program, usage, err, stderr)
	if code == int(outcome.Unchecked) {
		return int(outcome.Refused)
	}
	return code
}

// Parse parses the flags of a command, which takes no other arguments, and requires
// those named to be given.
func Parse(fs *flag.FlagSet, args []string, required ...string) error {
	fs.SetOutput(io.Discard) // ExitCode prints the error with the usage
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return Usage(err)
	}
	if fs.NArg() > 0 {
		return Usagef("%s takes no argument %q", fs.Name(), fs.Arg(0))
	}
	for _, name := range required {
		if fs.Lookup(name).Value.String() == "" {
			return Usagef("%s needs -%s", fs.Name(), name)
		}
	}
	return nil
}

// WriteReady writes a URL to a file, whole or not at all, so that whoever waits for
// it never reads half a URL. Without a path it does nothing.
func WriteReady(path, url string) error {
	if path == "" {
		return nil
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(url+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// RemoveReady removes what WriteReady wrote.
func RemoveReady(path string) error {
	if path == "" {
		return nil
	}
	return os.Remove(path)
}

// Serve serves until ctx ends, then lets requests under way finish until the
// deadline. The server must have its timeouts set.
func Serve(ctx context.Context, server *http.Server, l net.Listener, logger *slog.Logger, deadline time.Duration) error {
	server.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	failed := make(chan error, 1) // buffered: nobody may be left to read it
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	logger.Info("the server stops")
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		server.Close()
		return errors.Join(errors.New("requests under way did not finish in time and were cut off"), err)
	}
	return nil
}
