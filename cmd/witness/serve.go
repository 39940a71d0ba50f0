package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"time"

	"cratelog/internal/daemon"
)

// shutdownDeadline is how long requests under way may take to finish after the
// signal to stop.
const shutdownDeadline = 10 * time.Second

// serve runs the witness until ctx ends.
func serve(ctx context.Context, args []string, _, stderr io.Writer) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	ready := fs.String("ready-file", "", "`FILE` to write the URL to once the witness listens")
	s, cfg, w, err := open(ctx, fs, args, stderr, false)
	if err != nil {
		return err
	}
	defer w.Close()
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	if err := daemon.WriteReady(*ready, url); err != nil {
		listener.Close()
		return err
	}
	cfg.Logger.Info("witness listens", "url", url, "name", w.Name(), "logs", len(cfg.Logs))
	for _, vkey := range w.VKeys() {
		cfg.Logger.Info("cosigning", "vkey", vkey)
	}
	err = daemon.Serve(ctx, newServer(w.Handler()), listener, cfg.Logger, shutdownDeadline)
	return errors.Join(err, daemon.RemoveReady(*ready))
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
