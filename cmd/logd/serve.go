package main

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

	"k8s.io/klog/v2"

	"cratelog/log"
)

// serve runs the log until ctx ends.
func serve(ctx context.Context, args []string, stderr io.Writer, accepted programs) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	file := fs.String("config", "", "settings file")
	ready := fs.String("ready-file", "", "file to write the URL to once the log listens")
	if err := parse(fs, args, "config"); err != nil {
		return err
	}
	s, cfg, err := load(*file)
	if err != nil {
		return err
	}
	cfg.Logger = newLogger(stderr, s.Debug)
	if cfg.Proofs, cfg.Programs, err = accepted(s.Development); err != nil {
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
	l, err := log.Open(ctx, cfg)
	if err != nil {
		listener.Close()
		return err
	}
	url := "http://" + listener.Addr().String()
	err = writeReady(*ready, url)
	if err == nil {
		cfg.Logger.Info("log listens", "url", url, "origin", cfg.Origin, "vkey", cfg.VKey)
		err = serveHTTP(ctx, listener, l, cfg.Logger, s.ShutdownTimeout.Duration)
	}
	return errors.Join(err, closeLog(ctx, l, s.ShutdownTimeout.Duration), removeReady(*ready))
}

// newLogger also takes over the two ways in which Tessera speaks.
func newLogger(w io.Writer, debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
	klog.SetSlogLogger(logger)
	slog.SetDefault(logger)
	return logger
}

// writeReady writes the file whole or not at all, so that whoever waits for it
// never reads half a URL.
func writeReady(path, url string) error {
	if path == "" {
		return nil
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(url+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func removeReady(path string) error {
	if path == "" {
		return nil
	}
	return os.Remove(path)
}

// serveHTTP serves until ctx ends, then lets requests under way finish: each
// of them waits for its entry to be published.
func serveHTTP(ctx context.Context, listener net.Listener, l *log.Log, logger *slog.Logger, shutdown time.Duration) error {
	server := &http.Server{
		Handler:           l.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,     // of a .crate over a slow line
		WriteTimeout:      4 * time.Minute, // counted from the end of the header
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1) // buffered: nobody may be left to read it
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	logger.Info("log stops")
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		server.Close()
		return errors.Join(errors.New("requests under way did not finish in time and were cut off; what was accepted is in the tree"), err)
	}
	return nil
}

func closeLog(ctx context.Context, l *log.Log, timeout time.Duration) error {
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	return l.Close(deadline)
}
