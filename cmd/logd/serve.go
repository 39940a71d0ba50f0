package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"k8s.io/klog/v2"

	"cratelog/internal/daemon"
	"cratelog/internal/version"
	"cratelog/log"
)

// serve runs the log until ctx ends.
func serve(ctx context.Context, args []string, stderr io.Writer, accepted programs) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	file := fs.String("config", "", "settings `FILE`")
	ready := fs.String("ready-file", "", "`FILE` to write the URL to once the log listens")
	readOnly := fs.Bool("read-only", false, "serve a copy of the tree: sign and accept nothing, and need no key")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return err
	}
	hup := daemon.CatchReloads()
	s, cfg, err := loadFor(*file, *readOnly)
	if err != nil {
		return err
	}
	cfg.Logger = newLogger(stderr, s.Debug)
	if cfg.Proofs, err = accepted(s.Programs, s.Development); err != nil {
		return err
	}
	if s.Development {
		cfg.Logger.Warn("this is a development log: anyone can make false proofs for its keys")
	}
	// The address first: a mistake in it is found before anything is written.
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return err
	}
	cfg.Problems = hup.Problems
	l, err := log.OpenLive(ctx, cfg)
	if err != nil {
		listener.Close()
		return err
	}
	url := "http://" + listener.Addr().String()
	err = daemon.WriteReady(*ready, url)
	if err == nil {
		cfg.Logger.Info("log listens", "url", url, "origin", cfg.Origin, "vkey", cfg.VKey, "version", version.String())
		r := &reloader{file: *file, accepted: accepted, log: l, settings: s, cfg: cfg}
		err = r.serve(ctx, hup, newServer(l.Handler()), listener)
	}
	return errors.Join(err, closeLog(ctx, l, s.ShutdownTimeout.Duration), daemon.RemoveReady(*ready))
}

// newLogger also takes over the two ways in which Tessera speaks.
func newLogger(w io.Writer, debug bool) *slog.Logger {
	setLogLevel(debug)
	logger := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: &logLevel}))
	klog.SetSlogLogger(logger)
	slog.SetDefault(logger)
	return logger
}

// newServer has timeouts for large .crates over slow lines: each submission waits
// for its entry to be published.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,     // of a .crate over a slow line
		WriteTimeout:      4 * time.Minute, // counted from the end of the header
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

func closeLog(ctx context.Context, l *log.Live, timeout time.Duration) error {
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	return l.Close(deadline)
}
