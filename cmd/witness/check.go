package main

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"cratelog/internal/daemon"
	"cratelog/witness"
)

// check looks at all that serve would, and changes nothing.
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
		witness.Check(ctx, cfg, c.Add)
		c.Add("the database's directory can be written", daemon.Writable(filepath.Dir(cfg.DBPath)))
		c.Listen(ctx, s.Listen, "/", func(body []byte) bool {
			return strings.HasPrefix(string(body), "cratelog witness "+cfg.Name+"\n")
		})
	}
	return c.Report(stdout, *asJSON)
}
