package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"cratelog/internal/daemon"
	"cratelog/witness"
)

// shutdownDeadline is how long requests under way may take to finish after the
// signal to stop.
const shutdownDeadline = 10 * time.Second

// reportEvery is how often the witness looks whether all is well, to say so in its log.
const reportEvery = 30 * time.Second

// serve runs the witness until ctx ends.
func serve(ctx context.Context, args []string, _, stderr io.Writer) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	ready := fs.String("ready-file", "", "`FILE` to write the URL to once the witness listens")
	reloads := daemon.CatchReloads()
	o, err := open(ctx, fs, args, stderr, func(c *witness.Config) {
		keys := c.Check
		c.Check = func() []string { return append(keys(), reloads.Problems()...) }
	})
	if err != nil {
		return err
	}
	defer o.w.Close()
	listener, err := daemon.Listen(o.settings.Listen, "listen", o.path)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	ending, background, err := o.background(ctx, reloads)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer background.Wait()
	defer ending()
	if err := daemon.WriteReady(*ready, url); err != nil {
		return errors.Join(err, listener.Close())
	}
	o.Logger.Info("witness listens", "url", url, "name", o.w.Name(), "logs", len(o.Logs), "lists", len(o.settings.List))
	for _, vkey := range o.w.VKeys() {
		o.Logger.Info("cosigning", "vkey", vkey)
	}
	err = daemon.Serve(ctx, newServer(o.w.Handler()), listener, o.Logger, shutdownDeadline)
	return errors.Join(err, daemon.RemoveReady(*ready))
}

// background starts what runs beside the server until ctx or the function that it returns ends it.
func (o *opened) background(ctx context.Context, reloads *daemon.Reloads,
) (end func(), running *sync.WaitGroup, err error) {
	var bastions []*bastion
	for _, s := range o.settings.Bastion {
		b, err := newBastion(o.path, s, o.w, o.Logger)
		if err != nil {
			return nil, nil, err
		}
		bastions = append(bastions, b)
	}
	ctx, end = context.WithCancel(ctx)
	running = new(sync.WaitGroup)
	for _, b := range bastions {
		running.Go(func() { b.run(ctx) })
	}
	ls := newLists(o.w, o.Logger, o.settings.List)
	running.Go(func() { ls.run(ctx) })
	running.Go(func() {
		reloads.OnReload(ctx, o.Logger, func(ctx context.Context) ([]string, error) { return o.reload(ctx, ls) })
	})
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(reportEvery):
				o.w.Report(ctx)
			}
		}
	})
	return end, running, nil
}

// reload takes over the logs and lists of the settings. Whatever else has changed there needs a restart, and then
// nothing is taken over.
func (o *opened) reload(ctx context.Context, ls *lists) (changes []string, err error) {
	s, cfg, err := load(o.path, o.Logger)
	if err != nil {
		return nil, err
	}
	was := o.settings
	for name, same := range map[string]bool{
		"name": s.Name == was.Name, "listen": s.Listen == was.Listen, "database": s.Database == was.Database,
		"monitor": s.Monitor == was.Monitor, "max_listed": s.MaxListed == was.MaxListed,
		"keys":    slices.Equal(s.Keys, was.Keys) && reflect.DeepEqual(s.Settings, was.Settings),
		"bastion": slices.Equal(s.Bastion, was.Bastion),
	} {
		if !same {
			return nil, fmt.Errorf("%s: the setting %q has changed, which takes a restart", o.path, name)
		}
	}
	if err := o.w.Reload(ctx, cfg.Logs, cfg.Disabled); err != nil {
		return nil, err
	}
	changes = append(changes, difference("log", texts(was.Log), texts(s.Log))...)
	changes = append(changes, difference("disabled", was.Disabled, s.Disabled)...)
	changes = append(changes, difference("list", texts(was.List), texts(s.List))...)
	o.settings = s
	ls.set(s.List)
	return changes, nil
}

func texts[T any](all []T) (out []string) {
	for _, v := range all {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// difference says what is new and what is gone.
func difference(what string, was, is []string) (changes []string) {
	for _, v := range is {
		if !slices.Contains(was, v) {
			changes = append(changes, what+" added: "+v)
		}
	}
	for _, v := range was {
		if !slices.Contains(is, v) {
			changes = append(changes, what+" removed: "+v)
		}
	}
	return changes
}

func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       2 * time.Minute, // SPEC: witnesses SHOULD support keep-alive
		MaxHeaderBytes:    16 << 10,
	}
}
