package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"cratelog/internal/daemon"
	"cratelog/internal/vitals"
	"cratelog/monitor/store"
)

// silence is how long a source may fail before that is a problem of the monitor's operator.
const silence = 10 * time.Minute

// health says how a running monitor is. What it finds about logs is no illness of its own.
type health struct {
	db      *store.Store
	room    *vitals.Room
	reloads *daemon.Reloads
}

func (o *opened) health(reloads *daemon.Reloads) *health {
	return &health{o.db, vitals.NewRoom(vitals.Place{Name: "database", Path: filepath.Dir(o.site.database())},
		vitals.Place{Name: "evidence", Path: o.site.evidence()}), reloads}
}

// unready returns why the monitor does not watch.
func (h *health) unready(ctx context.Context) []string {
	all := h.room.Full()
	if _, err := h.db.CountStanding(ctx); err != nil {
		all = append(all, "the database does not answer: "+err.Error())
	}
	return all
}

func (h *health) probes() vitals.Probes {
	return vitals.Probes{Ready: h.unready, Health: func(ctx context.Context) (any, vitals.Health) {
		all := append(h.unready(ctx), h.reloads.Problems()...)
		all = append(all, h.room.Problems()[len(h.room.Full()):]...)
		all = append(all, h.silent(ctx, time.Now())...)
		b := vitals.Of(all)
		return b, b
	}}
}

// silent names the sources that have not given a valid answer for a while.
func (h *health) silent(ctx context.Context, now time.Time) (all []string) {
	logs, err := h.db.Logs(ctx)
	if err != nil {
		return nil // unready says so
	}
	for _, l := range logs {
		views, err := h.db.Views(ctx, l.ID)
		if err != nil {
			return all
		}
		for _, v := range views {
			if !v.Failing.IsZero() && now.Sub(v.Failing) > silence && now.Sub(v.Tried) < 2*silence+time.Hour {
				all = append(all, fmt.Sprintf("the %s of %s has given no valid answer since %s: %s", v.Source, l.Origin,
					v.Failing.UTC().Format(time.RFC3339), v.Error))
			}
		}
	}
	return all
}

// reload says at SIGHUP whether the settings changed. They hold from the start on.
func (o *opened) reload(context.Context) ([]string, error) {
	now, err := loadSettings(o.site.path)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(now.settings, o.site.settings) {
		return nil, errors.New("they changed: the monitor takes them over when it is restarted")
	}
	return nil, nil
}

// check looks at all that run would, and changes nothing.
func check(ctx context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	asJSON := fs.Bool("json", false, "print JSON")
	file := fs.String("config", "", "settings `FILE`")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return err
	}
	var c daemon.Checks
	s, err := loadSettings(*file)
	c.Add("settings can be read", err)
	if err == nil {
		s.check(ctx, &c)
	}
	return c.Report(stdout, *asJSON)
}

func (s *setup) check(ctx context.Context, c *daemon.Checks) {
	_, err := s.logs()
	c.Add("trust files", err)
	_, err = s.proofs()
	c.Add("programs", err)
	_, err = s.sets()
	c.Add("sets of builders", err)
	_, err = s.registry()
	c.Add("registry", err)
	_, err = s.channels()
	c.Add("alert channels", err)
	c.Add("database", store.Check(ctx, s.database()))
	info, err := os.Stat(s.evidence())
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", s.evidence())
	}
	if err != nil {
		err = fmt.Errorf("%w; monitor init makes it", err)
	}
	c.Add("evidence", err)
	c.Add("evidence can be written", daemon.Writable(s.evidence()))
	c.Add("the database's directory can be written", daemon.Writable(filepath.Dir(s.database())))
	if s.Listen == "" {
		c.Add("listen", errors.New("the setting \"listen\" is missing"))
		return
	}
	c.Listen(ctx, "listen", s.Listen, "/metrics", func(body []byte) bool {
		return strings.Contains(string(body), "\ncratelog_monitor_")
	})
}
