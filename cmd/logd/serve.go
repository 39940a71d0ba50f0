package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"cratelog/internal/daemon"
	"cratelog/internal/outcome"
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
	listener, err := daemon.Listen(s.Listen, "listen", *file)
	if err != nil {
		return err
	}
	peers, err := listenPeers(*file, s, cfg)
	if err != nil {
		listener.Close()
		return err
	}
	cfg.Problems = hup.Problems
	r := &reloader{file: *file, accepted: accepted, settings: s, cfg: cfg, lost: make(chan error, 1)}
	if cfg.Cluster != nil {
		cfg.Cluster.Lost = func(err error) { r.lost <- err }
	}
	l, err := log.OpenLive(ctx, cfg)
	if err != nil {
		peers.Close()
		listener.Close()
		return err
	}
	r.log = l
	peers.serve(l, cfg.Logger, most)
	url := "http://" + listener.Addr().String()
	err = daemon.WriteReady(*ready, url)
	if err == nil {
		cfg.Logger.Info("log listens", "url", url, "origin", cfg.Origin, "vkey", cfg.VKey, "version", version.String())
		err = r.serve(ctx, hup, newServer(l.Handler()), web.Limit(listener, most))
	}
	if errors.Is(err, log.ErrLost) { // what is left of it ends with the process
		return errors.Join(outcome.Again(err), daemon.RemoveReady(*ready))
	}
	// Front ends hear of what they have given to this process until all of it is published.
	err = errors.Join(err, closeLog(ctx, l, s.ShutdownTimeout.Duration))
	peers.Close()
	return errors.Join(err, daemon.RemoveReady(*ready))
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
	klog.SetSlogLogger(slog.New(ofTessera{handler, newSaid()}))
	slog.SetDefault(logger)
	return logger
}

// ofTessera drops what Tessera says that is of no use to an operator. Ten times a second it says that a database is
// away: once a minute is enough, with how often it was.
type ofTessera struct {
	slog.Handler
	*said
}

var ofNoUse = []string{
	log.ErrEarly.Error(), // each time it asked the guard too early
	"Failed to fetch old checkpoint: file does not exist", // there is none yet
	"Running in non-AWS mode - ", "Here be dragons!\n",    // any store but one
}

// said is when something was said last, by what stands before the first colon.
type said struct {
	mu   sync.Mutex
	last map[string]utterance // owned by mu
}

type utterance struct {
	at   time.Time
	more int // dropped since
}

func newSaid() *said { return &said{last: map[string]utterance{}} }

// again says whether a message of that beginning was said within a minute, or else how often it was dropped.
func (s *said) again(begins string, now time.Time) (bool, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.last[begins]
	if ok && now.Sub(u.at) < time.Minute {
		u.more++
		s.last[begins] = u
		return true, 0
	}
	if len(s.last) > 100 {
		clear(s.last)
	}
	s.last[begins] = utterance{at: now}
	return false, u.more
}

// Handle implements slog.Handler.
func (h ofTessera) Handle(ctx context.Context, r slog.Record) error {
	if slices.ContainsFunc(ofNoUse, func(words string) bool { return strings.Contains(r.Message, words) }) {
		return nil
	}
	begins, _, _ := strings.Cut(r.Message, ":")
	again, more := h.again(begins, r.Time)
	if again {
		return nil
	}
	if more > 0 {
		r.AddAttrs(slog.Int("more_since", more))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs and WithGroup implement slog.Handler.
func (h ofTessera) WithAttrs(a []slog.Attr) slog.Handler {
	return ofTessera{h.Handler.WithAttrs(a), h.said}
}
func (h ofTessera) WithGroup(name string) slog.Handler {
	return ofTessera{h.Handler.WithGroup(name), h.said}
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
