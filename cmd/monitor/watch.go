package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"cratelog/internal/outcome"
	"cratelog/monitor/alert"
	"cratelog/monitor/store"
)

// watch adds, removes or lists watches.
func watch(ctx context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("watch", flag.ContinueOnError)
	values := map[string]*string{
		store.WatchCrate:  fs.String("crate", "", "`NAME` of a crate"),
		store.WatchPrefix: fs.String("prefix", "", "`TEXT` with which names of crates begin"),
		store.WatchPath:   fs.String("path", "", "`PATH` of a package in its repository"),
		store.WatchCommit: fs.String("commit", "", "git commit id, in `HEX`"),
	}
	channel := fs.String("channel", "", "`NAME` of the only alert channel to use")
	note := fs.String("note", "", "a `TEXT` for people: why")
	remove := fs.Int64("remove", 0, "`NUMBER` of a watch to remove")
	s, err := parseSettings(fs, args)
	if err != nil {
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
	if *channel != "" && !s.hasChannel(*channel) {
		return fmt.Errorf("%s: there is no channel %q", s.path, *channel)
	}
	return s.withStore(ctx, func(db *store.Store) error {
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
	return slices.ContainsFunc(s.Channel, func(c alert.Config) bool { return c.Name == name })
}

// removed is the outcome of a removal.
func removed(ok bool, err error) error {
	if err == nil && !ok {
		return errors.New("nothing has this number")
	}
	return err
}

// authorize announces, withdraws or lists releases.
func authorize(ctx context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("authorize", flag.ContinueOnError)
	a := store.Authorization{Added: time.Now()}
	fs.StringVar(&a.Name, "crate", "", "`NAME` of the crate")
	fs.StringVar(&a.Version, "version", "", "its exact `VERSION`")
	fs.StringVar(&a.By, "by", "", "`NAME` of who announces it")
	fs.Func("sha256", "checksum of the .crate, in `HEX`; any if not given", func(s string) error {
		b, err := hex.DecodeString(s)
		if err != nil || len(b) != 32 {
			return errors.New("64 hex digits are needed")
		}
		a.SHA256 = (*[32]byte)(b)
		return nil
	})
	days := fs.Int("days", 30, "`N` days that this holds; 0 for ever")
	remove := fs.Int64("remove", 0, "`NUMBER` of an announcement to withdraw")
	s, err := parseSettings(fs, args)
	if err != nil {
		return err
	}
	adding := a.Name != "" || a.Version != "" || a.SHA256 != nil
	if adding && (a.Name == "" || a.Version == "" || a.By == "" || *days < 0) {
		return outcome.Usagef("authorize needs -crate, -version and -by")
	}
	if *days > 0 {
		a.Expires = a.Added.AddDate(0, 0, *days)
	}
	return s.withStore(ctx, func(db *store.Store) error {
		switch {
		case *remove != 0:
			return removed(db.RemoveAuthorization(ctx, *remove))
		case adding:
			id, err := db.Authorize(ctx, a)
			if err == nil {
				fmt.Fprintf(stdout, "authorization %d\n", id)
			}
			return err
		}
		return listAuthorizations(ctx, db, stdout)
	})
}

func listAuthorizations(ctx context.Context, db *store.Store, stdout io.Writer) error {
	all, err := db.Authorizations(ctx)
	for _, a := range all {
		sum, until := "any checksum", "for ever"
		if a.SHA256 != nil {
			sum = hex.EncodeToString(a.SHA256[:])
		}
		if !a.Expires.IsZero() {
			until = "until " + a.Expires.Format(time.DateOnly)
		}
		fmt.Fprintf(stdout, "%d\t%s\t%s\t%s\t%s\t%s\n", a.ID, a.Name, a.Version, sum, until, a.By)
	}
	return err
}
