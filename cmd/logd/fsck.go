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

// fsck compares all that a log has on its disk, and says on stdout what is wrong.
func fsck(ctx context.Context, args []string, stdout, stderr io.Writer, accepted programs) error {
	fs := flag.NewFlagSet("fsck", flag.ContinueOnError)
	file := fs.String("config", "", "settings `FILE`")
	repair := fs.Bool("repair", false, "repair what follows from what is there; the log must not be running")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return err
	}
	_, cfg, err := open(*file, true, stderr, accepted) // it signs nothing
	if err != nil {
		return err
	}
	start := time.Now()
	var said time.Time
	entries := uint64(0)
	findings, err := log.Fsck(ctx, cfg, *repair, func(done, all uint64) {
		entries = all
		if time.Since(said) < 2*time.Second {
			return
		}
		said = time.Now()
		left := time.Duration(float64(time.Since(start)) / float64(done) * float64(all-done)).Round(time.Second)
		fmt.Fprintf(stderr, "fsck: %d of %d entries, %v left\n", done, all, left)
	})
	open := 0
	for _, f := range findings {
		fmt.Fprintln(stdout, f)
		if !f.Repaired {
			open++
		}
	}
	if err != nil {
		return err
	}
	if open > 0 {
		return outcome.Refusef("%d entries were read in %v; %d things are wrong, %d of them were repaired",
			entries, time.Since(start).Round(time.Millisecond), len(findings), len(findings)-open)
	}
	_, err = fmt.Fprintf(stdout, "all is in order: %d entries were read in %v, and %d things repaired\n", entries,
		time.Since(start).Round(time.Millisecond), len(findings))
	return err
}
