package main

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"cratelog/internal/daemon"
	"cratelog/internal/durable"
	"cratelog/witness"
)

// check looks at all that serve would, but for what is far away, and changes nothing.
func check(ctx context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	file := fs.String("config", "", "settings `FILE`")
	asJSON := fs.Bool("json", false, "print JSON")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return err
	}
	var c daemon.Checks
	s, cfg, err := loadKeys(*file, slog.New(slog.DiscardHandler))
	c.Add("settings and keys can be read", err)
	if err == nil {
		s.look(ctx, &c, *file, cfg)
	}
	return c.Report(stdout, *asJSON)
}

func (s *settings) look(ctx context.Context, c *daemon.Checks, path string, cfg witness.Config) {
	c.Add("logs and database", witness.Check(ctx, cfg))
	c.Add("the database's directory can be written", daemon.Writable(filepath.Dir(cfg.DBPath)))
	for _, l := range s.List {
		if strings.Contains(l.From, "://") {
			continue
		}
		text, err := durable.Read(l.From, witness.MaxList)
		if err == nil {
			_, err = witness.ParseList(text)
		}
		c.Add("list "+l.From, err)
	}
	for _, b := range s.Bastion {
		_, err := newBastion(path, b, nil, nil)
		c.Add("bastion "+b.Address, err)
	}
	c.Listen(ctx, "listen", s.Listen, "/", func(body []byte) bool {
		return strings.HasPrefix(string(body), "cratelog witness "+cfg.Name+"\n")
	})
}
