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
	fs.StringVar(&s.VKey, "successor", "", "`VKEY` of the log that goes on, or none")
	fs.StringVar(&s.URL, "url", "", "`URL` of the log that goes on")
	fs.StringVar(&s.Reason, "reason", "", "`TEXT` that says why, a sentence of at most 200 bytes")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return err
	}
	switch s.VKey {
	case "":
		return outcome.Usagef("freeze needs -successor VKEY, the key of the log that goes on, or -successor none: " +
			"a frozen log stays frozen, and cannot name a successor later")
	case "none":
		if s.VKey = ""; s.URL != "" {
			return outcome.Usagef("freeze: -url needs the VKEY of -successor: readers trust keys, not addresses")
		}
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
