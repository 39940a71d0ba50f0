package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"cratelog/internal/daemon"
	"cratelog/internal/flock"
	"cratelog/internal/outcome"
	"cratelog/monitor"
	"cratelog/monitor/alert"
	"cratelog/monitor/store"
	"cratelog/monitor/web"
	"cratelog/proofcheck"
)

// initialize makes the database and the directory of the evidence.
func initialize(ctx context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("init", flag.ContinueOnError)
	s, err := parseSettings(fs, args)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.evidence(), 0o755); err != nil {
		return err
	}
	db, err := store.Create(ctx, s.database())
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "created %s\n", s.database())
	return db.Close()
}

// opened is a monitor with everything around it.
type opened struct {
	site       *setup
	db         *store.Store
	lock       *os.File // no other process follows with this database
	monitor    *monitor.Monitor
	dispatcher *alert.Dispatcher // nil without channels
	subscriber *alert.Subscriber // nil if readers may not subscribe
	config     monitor.Config
	proofs     *proofcheck.Verifier
	logger     *slog.Logger
	reloads    *daemon.Reloads // of a monitor that serves
}

func open(ctx context.Context, site *setup, logger *slog.Logger) (_ *opened, err error) {
	o := &opened{site: site, logger: logger}
	if o.db, err = store.Open(ctx, site.database()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}()
	if o.lock, err = flock.Take(site.database() + ".lock"); errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("another monitor follows its logs with the database %s: stop that one first, "+
			"or ask it with monitor query -config %s findings", site.database(), site.path)
	} else if err != nil {
		return nil, err
	}
	if o.config, o.proofs, err = o.site.monitorConfig(o.db, logger); err != nil {
		return nil, err
	}
	if len(o.site.Channel) > 0 {
		if o.dispatcher, err = newDispatcher(o.db, site, logger); err != nil {
			return nil, err
		}
		o.config.Notify = o.dispatcher.Wake
	}
	if sub := site.Subscriptions; sub.Enabled {
		if o.subscriber, err = alert.NewSubscriber(alert.SubscriberConfig{Store: o.db, Name: site.Name,
			URL: strings.TrimSuffix(site.PublicURL, "/"), Max: sub.Max, AllowPrivate: sub.AllowPrivate, Logger: logger}); err != nil {
			return nil, err
		}
	}
	if o.monitor, err = monitor.New(ctx, o.config); err != nil {
		return nil, err
	}
	return o, o.say(ctx)
}

func (o *opened) close() error {
	err := o.db.Close()
	if o.lock != nil {
		err = errors.Join(err, o.lock.Close())
	}
	return err
}

// say logs what is followed, and how it is judged.
func (o *opened) say(ctx context.Context) error {
	logs, err := o.db.Logs(ctx)
	if err != nil {
		return err
	}
	for _, l := range o.config.Logs {
		for _, known := range logs {
			if known.Origin != l.Origin {
				continue
			}
			p, err := o.db.Position(ctx, known.ID)
			if err != nil {
				return err
			}
			o.logger.Info("following", "log", l.Origin, "url", known.URL, "mirrors", len(l.Mirrors), "witnesses",
				len(l.Policy.Witnesses()), "quorum", l.Policy.NeedsWitnesses(),
				"verified", p.Verified, "downloaded", p.Downloaded)
			if !l.Policy.NeedsWitnesses() {
				o.logger.Warn("the trust file asks for no witness: the log can show each reader another tree",
					"log", l.Origin)
			}
		}
	}
	for _, p := range o.proofs.Programs() {
		if p.Development() {
			o.logger.Warn("accepting an UNSAFE program: anyone can forge its proofs", "program", p.String())
		} else {
			o.logger.Info("accepting", "program", p.String())
		}
	}
	watches, err := o.db.Watches(ctx)
	if err != nil {
		return err
	}
	standing, err := o.db.CountStanding(ctx)
	if err != nil {
		return err
	}
	o.logger.Info("state", "database", o.db.Path(), "evidence", o.config.EvidenceDir, "registry",
		o.site.Registry.Index, "channels", len(o.site.Channel), "watches", len(watches),
		"security", standing[store.Security], "operational", standing[store.Operational])
	if len(o.site.Channel) == 0 {
		o.logger.Warn("no alert channel: findings stand in the database and on the pages only; see [[channel]]")
	}
	return nil
}

// runMonitor follows the logs and serves until ctx ends.
func runMonitor(ctx context.Context, args []string, _, stderr io.Writer) error {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	ready := fs.String("ready-file", "", "`FILE` to write the URL to once the monitor listens")
	hup := daemon.CatchReloads()
	site, err := parseSettings(fs, args)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	o, err := open(ctx, site, logger)
	if err != nil {
		return err
	}
	defer o.close()
	o.reloads = hup
	if site.Listen == "" {
		return fmt.Errorf("%s: the setting \"listen\" is missing; see config/monitor.example.toml", site.path)
	}
	handler, err := o.handler()
	if err != nil {
		return err
	}
	listener, err := daemon.Listen(site.Listen, "listen", site.path)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	if err := daemon.WriteReady(*ready, url); err != nil {
		listener.Close()
		return err
	}
	logger.Info("monitor listens", "url", url)
	return errors.Join(o.serve(ctx, listener, handler), daemon.RemoveReady(*ready))
}

// serve runs monitor, alerts and pages beside each other; where one fails, all stop.
func (o *opened) serve(ctx context.Context, l net.Listener, h http.Handler) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.monitor.Run(ctx) })
	g.Go(func() error { o.reloads.OnReload(ctx, o.logger, o.reload); return nil })
	g.Go(func() error { return daemon.Serve(ctx, newServer(h), l, o.logger, o.site.ShutdownTimeout.Duration) })
	if o.dispatcher != nil {
		g.Go(func() error { o.dispatcher.Run(ctx); return nil })
	}
	if o.subscriber != nil {
		g.Go(func() error { o.subscriber.Run(ctx); return nil })
	}
	return g.Wait()
}

func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       20 * time.Second,
		WriteTimeout:      10 * time.Minute, // exports
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

func (o *opened) handler() (http.Handler, error) {
	c, err := o.site.webConfig(o.db.Reader, o.config.Logs, o.proofs, o.config.Sets, o.logger)
	if err != nil {
		return nil, err
	}
	c.Gossip, c.Sealed = gossip{o.monitor}, o.monitor.Sealed
	if o.subscriber != nil {
		c.Subscriptions = subscriptions{o.subscriber}
	}
	pages, err := web.New(c)
	if err != nil {
		return nil, err
	}
	metrics := prometheus.NewRegistry()
	h := o.health(o.reloads)
	for _, c := range append(h.room.Collectors(), o.monitor) {
		if err := metrics.Register(c); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	for _, route := range h.probes().Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) { route.Handler(w, r) })
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.Handle("/", pages)
	return mux, nil
}

// gossip lets the pages hand to the monitor what readers send.
type gossip struct{ m *monitor.Monitor }

func (g gossip) Gossip(ctx context.Context, b []byte) (verdict, text string, err error) {
	c, err := g.m.Gossip(ctx, b, "gossip")
	switch {
	case errors.Is(err, monitor.ErrRefused):
		return "", "", fmt.Errorf("%w: %w", web.ErrGossip, err)
	case err != nil:
		return "", "", err
	}
	switch c.Verdict {
	case store.Consistent:
		text = fmt.Sprintf("The tree of %d entries is the one that this monitor has rebuilt from the entries.", c.Size)
	case store.Inconsistent:
		text = fmt.Sprintf("The tree of %d entries is not the one that this monitor has rebuilt. The log signed "+
			"both: it forked. The evidence is kept.", c.Size)
	default:
		text = fmt.Sprintf("This monitor has not verified %d entries yet. The checkpoint is kept, and compared as "+
			"soon as it has.", c.Size)
	}
	return c.Verdict, text, nil
}

// subscriptions lets readers of the pages subscribe.
type subscriptions struct{ *alert.Subscriber }

// Subscribe implements web.Subscriptions.
func (s subscriptions) Subscribe(ctx context.Context, prefix string, exact bool, endpoint string) (secret, token string,
	err error) {
	secret, token, err = s.Subscriber.Subscribe(ctx, prefix, exact, endpoint)
	if errors.Is(err, alert.ErrEndpoint) {
		err = fmt.Errorf("%w: %w", web.ErrSubscription, err)
	}
	return secret, token, err
}

// once looks at everything once.
func once(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("once", flag.ContinueOnError)
	asJSON := fs.Bool("json", false, "print JSON")
	site, err := parseSettings(fs, args)
	if err != nil {
		return err
	}
	o, err := open(ctx, site, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return err
	}
	defer o.close()
	sum, err := o.monitor.Once(ctx)
	if err == nil {
		err = ctx.Err()
	}
	if o.dispatcher != nil {
		// What does not get through stays in the store, for the next time.
		if err := o.dispatcher.Drain(ctx); err != nil {
			sum.Trouble = append(sum.Trouble, "alerts: "+err.Error())
		}
	}
	if err != nil {
		return err
	}
	if err := printSummary(stdout, sum, *asJSON); err != nil {
		return err
	}
	switch sum.ExitCode() {
	case 0:
		return nil
	case 1:
		return outcome.Refusef("%d security findings stand; see the evidence, and monitor ack when they are taken care of",
			sum.Security)
	}
	return fmt.Errorf("%d operational findings stand, and %d things did not work this time",
		sum.Operational, len(sum.Trouble))
}

func printSummary(w io.Writer, sum monitor.Summary, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(sum)
	}
	for _, l := range sum.Logs {
		fmt.Fprintf(w, "%s: %d entries verified of %d\n", l.Origin, l.Verified, l.Size)
	}
	for _, t := range sum.Trouble {
		fmt.Fprintf(w, "trouble: %s\n", t)
	}
	_, err := fmt.Fprintf(w, "security findings: %d\noperational findings: %d\n", sum.Security, sum.Operational)
	return err
}
