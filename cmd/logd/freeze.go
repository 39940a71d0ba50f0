package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"cratelog/internal/daemon"
	"cratelog/internal/outcome"
	"cratelog/log"
)

// freezeWait bounds how long freeze waits for the witnesses.
const freezeWait = 10 * time.Minute

// freeze ends the log.
func freeze(ctx context.Context, args []string, stdout, stderr io.Writer, accepted programs) error {
	fs := flag.NewFlagSet("freeze", flag.ContinueOnError)
	file := fs.String("config", "", "settings `FILE`")
	var s log.Successor
	fs.StringVar(&s.VKey, "successor", "", "`VKEY` of the log that goes on")
	fs.StringVar(&s.URL, "url", "", "`URL` of the log that goes on")
	fs.StringVar(&s.Reason, "reason", "", "`TEXT` that says why, a sentence of at most 200 bytes")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return err
	}
	if s.URL != "" && s.VKey == "" {
		return outcome.Usagef("freeze: -url needs -successor: readers trust keys, not addresses")
	}
	_, cfg, err := open(*file, false, stderr, accepted)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, freezeWait)
	defer cancel()
	f, err := log.Freeze(ctx, cfg, s)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s", f.Signed)
	return err
}
