package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"cratelog/internal/daemon"
	"cratelog/log"
)

// export writes the log as files.
func export(ctx context.Context, args []string, stdout, stderr io.Writer, accepted programs) error {
	fs := flag.NewFlagSet("export", flag.ContinueOnError)
	file := fs.String("config", "", "settings `FILE`")
	out := fs.String("out", "", "`DIR` to write to: a new one, or one to go on with")
	if err := daemon.Parse(fs, args, "config", "out"); err != nil {
		return err
	}
	_, cfg, err := open(*file, true, stderr, accepted)
	if err != nil {
		return err
	}
	if err := log.Export(ctx, cfg, *out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "the log %s is exported to %s\n", cfg.Origin, *out)
	return err
}
