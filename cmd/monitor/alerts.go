package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cratelog/internal/daemon"
	"cratelog/internal/outcome"
	"cratelog/monitor/alert"
	"cratelog/monitor/store"
)

// outbox lets a Dispatcher take the alerts of the store.
type outbox struct {
	*store.Store
	site *setup
}

var _ alert.Outbox = outbox{}

func (o outbox) Pending(ctx context.Context, channel string, now time.Time, limit int) ([]alert.Delivery, error) {
	due, err := o.PendingDeliveries(ctx, channel, now, limit)
	var all []alert.Delivery
	for _, d := range due {
		all = append(all, alert.Delivery{ID: d.ID, Attempts: d.Attempts, Alert: o.alert(d)})
	}
	return all, err
}

// alert is the message about a finding. Its ID follows from the finding and the event alone,
// so that it is the same on all channels, after a restart, and in a restored database.
func (o outbox) alert(d store.Delivery) alert.Alert {
	f := d.Finding
	id := sha256.Sum256(fmt.Appendf(nil, "%q %q %d", f.Key, d.Event, f.FirstSeen.UnixMilli()))
	a := alert.Alert{
		ID: fmt.Sprintf("%x", id[:16]), Event: d.Event, Class: f.Class, Kind: f.Kind, Time: f.FirstSeen, Log: f.Origin,
		Summary: f.Summary, Text: f.Detail, Finding: f.ID, Crate: f.Name, Version: f.Version, Evidence: f.Evidence,
	}
	if d.Event == store.Resolved {
		a.Time, a.Summary = f.Resolved, "Over: "+f.Summary
	}
	if f.Evidence != "" {
		a.EvidenceFile = filepath.Join(o.site.evidence(), f.Evidence+".evidence")
		if o.site.PublicURL != "" {
			a.URL = strings.TrimSuffix(o.site.PublicURL, "/") + "/evidence/" + f.Evidence
			a.EvidenceURL = a.URL + ".evidence"
		}
	}
	return a
}

// kindChannelBroken is the finding that alerts do not get through.
const kindChannelBroken = "channel-broken"

// newDispatcher delivers the store's alerts over the channels of the settings.
func newDispatcher(s *store.Store, site *setup, logger *slog.Logger) (*alert.Dispatcher, error) {
	channels, err := site.channels()
	if err != nil {
		return nil, err
	}
	heartbeats := make(map[string]time.Duration)
	for _, c := range site.Channel {
		if c.Heartbeat.Duration > 0 {
			heartbeats[c.Name] = c.Heartbeat.Duration
		}
	}
	// The other channels say that one is broken.
	others := func(channel string) []string {
		all := alert.Routes(site.Channel).For(store.Operational, kindChannelBroken, "")
		return slices.DeleteFunc(all, func(c string) bool { return c == channel })
	}
	return alert.New(alert.DispatcherConfig{
		Outbox: outbox{s, site}, Channels: channels, Heartbeats: heartbeats, Logger: logger,
		Status: func(ctx context.Context) (string, string, error) { return status(ctx, s, time.Now()) },
		Broken: func(ctx context.Context, channel string, cause error) error {
			_, _, err := s.RecordFinding(ctx, store.Finding{
				Key: kindChannelBroken + "/" + channel, Kind: kindChannelBroken, Class: store.Operational,
				Index: -1, FirstSeen: time.Now(),
				Summary: fmt.Sprintf("The alert channel %s does not work.", channel),
				Detail: "The last attempt failed: " + cause.Error() +
					"\nIts alerts are kept, and tried again. Look at its settings, and try: monitor test-alert",
			}, others(channel))
			return err
		},
		Working: func(ctx context.Context, channel string) error {
			_, err := s.ResolveFinding(ctx, kindChannelBroken+"/"+channel, time.Now(), others(channel))
			return err
		},
	})
}

// status is what a heartbeat says: how far each log is verified, what stands open, what waits.
func status(ctx context.Context, s *store.Store, now time.Time) (summary, text string, err error) {
	var b strings.Builder
	logs, err := s.Logs(ctx)
	if err != nil {
		return "", "", err
	}
	for _, l := range logs {
		p, err := s.Position(ctx, l.ID)
		if err != nil {
			return "", "", err
		}
		c, known, err := s.Newest(ctx, l.ID, true)
		if err != nil {
			return "", "", err
		}
		size, age := "no checkpoint", ""
		if known {
			size = fmt.Sprintf("%d entries signed", c.Size)
		}
		if known && !c.Witnessed.IsZero() {
			age = fmt.Sprintf(", cosigned %v ago", now.Sub(c.Witnessed).Round(time.Second))
		}
		fmt.Fprintf(&b, "%s: %s, %d verified, %d downloaded%s\n", l.Origin, size, p.Verified, p.Downloaded, age)
	}
	counts, err := s.CountStanding(ctx)
	if err != nil {
		return "", "", err
	}
	for _, class := range []store.Class{store.Security, store.Operational} {
		found, err := s.Findings(ctx, store.FindingQuery{Class: class, Standing: true, Limit: 10})
		if err != nil {
			return "", "", err
		}
		for _, f := range found {
			fmt.Fprintf(&b, "open %s finding %d since %s: %s\n", class, f.ID,
				f.FirstSeen.UTC().Format(time.RFC3339), f.Summary)
		}
	}
	waiting, err := s.CountDeliveries(ctx)
	if err != nil {
		return "", "", err
	}
	for _, c := range slices.Sorted(maps.Keys(waiting)) {
		fmt.Fprintf(&b, "%d alerts wait for the channel %s\n", waiting[c], c)
	}
	return fmt.Sprintf("The monitor runs: %d logs, %d open security findings, %d open operational findings.",
			len(logs), counts[store.Security], counts[store.Operational]),
		strings.TrimSuffix(b.String(), "\n"), nil
}

// testAlert sends a test to every channel, or to one, and reports on each.
func testAlert(ctx context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("test-alert", flag.ContinueOnError)
	only := fs.String("channel", "", "`NAME` of the only channel to test")
	site, err := parseSettings(fs, args)
	if err != nil {
		return err
	}
	channels, err := site.channels()
	if err != nil {
		return err
	}
	if *only != "" {
		channels = slices.DeleteFunc(channels, func(c alert.Channel) bool { return c.Name() != *only })
	}
	if len(channels) == 0 {
		return fmt.Errorf("%s: there is no such channel; channels are the tables [[channel]]", site.path)
	}
	failed := 0
	for _, r := range alert.SendTest(ctx, channels, time.Now()) {
		took := r.Took.Round(time.Millisecond)
		if r.Err != nil {
			failed++
			fmt.Fprintf(stdout, "%s: FAILED after %v: %v\n", r.Channel, took, r.Err)
			continue
		}
		fmt.Fprintf(stdout, "%s: sent in %v\n", r.Channel, took)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d channels do not work", failed, len(channels))
	}
	return nil
}

// ack notes who has taken care of findings: they do not page again.
func ack(ctx context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("ack", flag.ContinueOnError)
	file := fs.String("config", "", "settings `FILE`")
	by := fs.String("by", "", "`NAME` of who takes care of it")
	why := fs.String("why", "", "`TEXT`: what was found out, or done")
	numbers, err := someNumbers(fs, args)
	if err != nil {
		return err
	}
	if *file == "" || *by == "" || *why == "" {
		return outcome.Usagef("ack needs -config, -by and -why: who took care of it is kept with the finding")
	}
	site, err := loadSettings(*file)
	if err != nil {
		return err
	}
	return site.withStore(ctx, func(s *store.Store) error {
		for _, n := range numbers {
			f, known, err := s.FindingByID(ctx, n)
			switch {
			case err != nil:
				return err
			case !known:
				return outcome.Refusef("%w: %d", store.ErrNoFinding, n)
			}
			if err := s.Acknowledge(ctx, n, *by, *why, time.Now()); err != nil {
				return err
			}
			fmt.Fprintf(stdout, "%d: acknowledged: %s\n", n, f.Summary)
		}
		return nil
	})
}

// someNumbers parses flags and the numbers of findings.
func someNumbers(fs *flag.FlagSet, args []string) ([]int64, error) {
	words, err := daemon.ParseBetween(fs, args)
	if err == nil && len(words) == 0 {
		err = outcome.Usagef("%s needs the number of a finding", fs.Name())
	}
	if err != nil {
		return nil, err
	}
	var numbers []int64
	for _, w := range words {
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil || n < 1 {
			return nil, outcome.Usagef("%q is not the number of a finding", w)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
