package main

import (
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"time"

	"cratelog/internal/daemon"
	"cratelog/internal/outcome"
	"cratelog/monitor/store"
)

// watch adds, removes or lists watches.
func watch(ctx context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("watch", flag.ContinueOnError)
	file := fs.String("config", "", "settings file")
	values := map[string]*string{
		store.WatchCrate:  fs.String("crate", "", "name of a crate"),
		store.WatchPrefix: fs.String("prefix", "", "beginning of names of crates"),
		store.WatchPath:   fs.String("path", "", "path of a package in its repository"),
		store.WatchCommit: fs.String("commit", "", "git commit id"),
	}
	channel := fs.String("channel", "", "the only alert channel to use")
	note := fs.String("note", "", "why, for people")
	remove := fs.Int64("remove", 0, "number of a watch to remove")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return err
	}
	var w store.Watch
	for kind, value := range values {
		if *value == "" {
			continue
		}
		if w.Kind != "" {
			return outcome.Usagef("watch takes one of -crate, -prefix, -path and -commit at a time")
		}
		w = store.Watch{Kind: kind, Value: *value, Channel: *channel, Note: *note, Added: time.Now()}
	}
	s, err := loadSettings(*file)
	if err != nil {
		return unreadable(err)
	}
	if *channel != "" && !s.hasChannel(*channel) {
		return unreadable(fmt.Errorf("%s: there is no channel %q", *file, *channel))
	}
	return withStore(ctx, s, func(db *store.Store) error {
		switch {
		case *remove != 0:
			return removed(db.RemoveWatch(ctx, *remove))
		case w.Kind != "":
			id, err := db.AddWatch(ctx, w)
			if err == nil {
				fmt.Fprintf(stdout, "watch %d\n", id)
			}
			return err
		}
		all, err := db.Watches(ctx)
		for _, w := range all {
			fmt.Fprintf(stdout, "%d\t%s\t%s\t%s\t%s\n", w.ID, w.Kind, w.Value, w.Channel, w.Note)
		}
		return err
	})
}

func (s *setup) hasChannel(name string) bool {
	for _, c := range s.Channel {
		if c.Name == name {
			return true
		}
	}
	return false
}

func withStore(ctx context.Context, s *setup, f func(db *store.Store) error) error {
	db, err := store.Open(ctx, s.database())
	if err != nil {
		return unreadable(err)
	}
	defer db.Close()
	if err := f(db); err != nil {
		return unreadable(err)
	}
	return nil
}

func removed(ok bool, err error) error {
	if err == nil && !ok {
		return fmt.Errorf("there is none with this number")
	}
	return err
}

// authorise announces, withdraws or lists releases.
func authorise(ctx context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("authorise", flag.ContinueOnError)
	file := fs.String("config", "", "settings file")
	crate := fs.String("crate", "", "name of the crate")
	version := fs.String("version", "", "its exact version")
	sum := fs.String("sha256", "", "checksum of the .crate, in hex; any if not given")
	days := fs.Int("days", 30, "how long this holds; 0 for ever")
	by := fs.String("by", "", "who announces it")
	remove := fs.Int64("remove", 0, "number of an announcement to withdraw")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return err
	}
	a := store.Authorisation{Name: *crate, Version: *version, By: *by, Added: time.Now()}
	adding := *crate != "" || *version != "" || *sum != ""
	if adding && (*crate == "" || *version == "" || *by == "" || *days < 0) {
		return outcome.Usagef("authorise needs -crate, -version and -by")
	}
	if *days > 0 {
		a.Expires = a.Added.AddDate(0, 0, *days)
	}
	if *sum != "" {
		b, err := hex.DecodeString(*sum)
		if err != nil || len(b) != 32 {
			return outcome.Usagef("-sha256 is not 64 hex digits")
		}
		a.SHA256 = (*[32]byte)(b)
	}
	s, err := loadSettings(*file)
	if err != nil {
		return unreadable(err)
	}
	return withStore(ctx, s, func(db *store.Store) error {
		switch {
		case *remove != 0:
			return removed(db.RemoveAuthorisation(ctx, *remove))
		case adding:
			id, err := db.Authorise(ctx, a)
			if err == nil {
				fmt.Fprintf(stdout, "authorisation %d\n", id)
			}
			return err
		}
		all, err := db.Authorisations(ctx)
		for _, a := range all {
			sum := "any checksum"
			if a.SHA256 != nil {
				sum = hex.EncodeToString(a.SHA256[:])
			}
			until := "for ever"
			if !a.Expires.IsZero() {
				until = "until " + a.Expires.Format(time.DateOnly)
			}
			fmt.Fprintf(stdout, "%d\t%s\t%s\t%s\t%s\t%s\n", a.ID, a.Name, a.Version, sum, until, a.By)
		}
		return err
	})
}
