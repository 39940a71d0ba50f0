package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"cratelog/internal/daemon"
	"cratelog/internal/version"
	"cratelog/internal/web"
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
	s, cfg, err := open(*file, *readOnly, stderr, accepted)
	if err != nil {
		return err
	}
	if s.Development {
		cfg.Logger.Warn("this is a development log: anyone can make false proofs for its keys")
	}
	most, err := connections(cfg.Door.Connections)
	if err != nil {
		return err
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
		err = r.serve(ctx, hup, newServer(l.Handler()), web.Limit(listener, most))
	}
	return errors.Join(err, closeLog(ctx, l, s.ShutdownTimeout.Duration), daemon.RemoveReady(*ready))
}

// open reads the settings with all that they name, and begins to log as they say.
func open(path string, readOnly bool, stderr io.Writer, accepted programs) (settings, log.Config, error) {
	s, cfg, err := loadFor(path, readOnly)
	if err == nil {
		cfg.Logger = newLogger(stderr, s.LogFormat, s.Debug)
		cfg.Proofs, err = accepted(s.Programs, s.Development)
	}
	return s, cfg, err
}

// newLogger also takes over the two ways in which Tessera speaks.
func newLogger(w io.Writer, format string, debug bool) *slog.Logger {
	setLogLevel(debug)
	var handler slog.Handler = slog.NewTextHandler(w, &slog.HandlerOptions{Level: &logLevel})
	if format == "json" {
		handler = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: &logLevel})
	}
	logger := slog.New(handler)
	klog.SetSlogLogger(logger)
	slog.SetDefault(logger)
	return logger
}

// connections returns how many connections may be open at a time: what the settings say, or fewer, so that the
// process can always open the files that it needs. A connection may need a file beside its own descriptor.
func connections(wanted int) (int, error) {
	const reserve, least = 192, 64
	wanted = cmp.Or(wanted, log.DefaultDoor().Connections)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Cur < reserve+2*least {
		return 0, fmt.Errorf("at most %d files may be open in this process, and %d are needed at least: raise the limit "+
			"(ulimit -n, or LimitNOFILE of the unit)", limit.Cur, reserve+2*least)
	}
	return int(min(uint64(wanted), (limit.Cur-reserve)/2)), nil
}

// newServer has timeouts for everything but uploads, whose time the log itself measures by what has come,
// and which wait for their entry to be published.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,     // of other bodies than uploads
		WriteTimeout:      4 * time.Minute, // counted from the end of the header; of uploads, from their end
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ConnContext:       web.ConnContext,
		ConnState:         web.ConnState,
	}
}

func closeLog(ctx context.Context, l *log.Live, timeout time.Duration) error {
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	return l.Close(deadline)
}
