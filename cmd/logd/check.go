package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"

	"cratelog/internal/daemon"
	"cratelog/log"
)

// check looks at all that serve would, and changes nothing.
func check(ctx context.Context, args []string, stdout io.Writer, accepted programs) error {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	file := fs.String("config", "", "settings `FILE`")
	readOnly := fs.Bool("read-only", false, "look at what serve -read-only would")
	asJSON := fs.Bool("json", false, "print JSON")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return err
	}
	var c daemon.Checks
	s, cfg, err := loadFor(*file, *readOnly)
	c.Add("settings, key, trust file and sets can be read", err)
	if err == nil {
		if cfg.Proofs, err = accepted(s.Programs, s.Development); err != nil {
			c.Add("programs can be read", err)
		} else {
			log.Check(ctx, cfg, c.Add)
		}
		if !cfg.ReadOnly && cfg.Cluster == nil {
			c.Add("tree can be written", daemon.Writable(cfg.TreeDir))
		}
		c.Add("state can be written", daemon.Writable(cfg.StateDir))
		c.Listen(ctx, "listen", s.Listen, "/v1/log", func(body []byte) bool {
			var about struct {
				Origin string `json:"origin"`
			}
			return json.Unmarshal(body, &about) == nil && about.Origin == cfg.Origin
		})
		if s.Cluster.PeersListen != "" && !cfg.ReadOnly {
			c.Listen(ctx, "peers_listen", s.Cluster.PeersListen, log.PeersPath, func(body []byte) bool {
				return bytes.Contains(body, []byte(log.PeersHeader)) // it misses that
			})
		}
	}
	return c.Report(stdout, *asJSON)
}
