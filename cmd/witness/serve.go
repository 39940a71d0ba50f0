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

	"cratelog/witness"
)

// shutdownDeadline is how long requests under way may take to finish after the
// signal to stop.
const shutdownDeadline = 10 * time.Second

// serve runs the witness until ctx ends.
func serve(ctx context.Context, args []string, stderr io.Writer) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	file := fs.String("config", "", "settings file")
	ready := fs.String("ready-file", "", "file to write the URL to once the witness listens")
	if err := parse(fs, args, "config"); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	s, cfg, err := load(*file, logger)
	if err != nil {
		return err
	}
	w, err := witness.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer w.Close()
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	if *ready != "" {
		if err := writeReady(*ready, url); err != nil {
			listener.Close()
			return err
		}
		defer os.Remove(*ready)
	}
	logger.Info("witness listens", "url", url, "name", w.Name(), "logs", len(cfg.Logs))
	for _, vkey := range w.VKeys() {
		logger.Info("cosigning", "vkey", vkey)
	}
	return serveHTTP(ctx, listener, w.Handler(), logger)
}

// writeReady writes the file whole or not at all, so that whoever waits for it
// never reads half a URL.
func writeReady(path, url string) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(url+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// serveHTTP serves until ctx ends, then lets requests under way finish.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, logger *slog.Logger) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       2 * time.Minute, // SPEC: witnesses SHOULD support keep-alive
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1) // buffered: nobody may be left to read it
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	logger.Info("witness stops")
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownDeadline)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		server.Close()
		return errors.Join(errors.New("requests under way did not finish in time and were cut off"), err)
	}
	return nil
}
