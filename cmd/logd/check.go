package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"cratelog/internal/daemon"
	"cratelog/internal/durable"
	"cratelog/log"
)

// check looks at all that serve would, and changes nothing.
func check(ctx context.Context, args []string, stdout io.Writer, accepted programs) error {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	file := fs.String("config", "", "settings `FILE`")
	asJSON := fs.Bool("json", false, "print JSON")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return err
	}
	var c daemon.Checks
	s, cfg, err := load(*file)
	c.Add("settings, key, trust file and sets can be read", err)
	if err == nil {
		if cfg.Proofs, err = accepted(s.Programs, s.Development); err != nil {
			c.Add("programs can be read", err)
		} else {
			log.Check(ctx, cfg, c.Add)
		}
		running := inUse(cfg.StateDir)
		c.Add("tree can be written", daemon.Writable(cfg.TreeDir))
		c.Add("state can be written", daemon.Writable(cfg.StateDir))
		checkListen(ctx, &c, s.Listen, cfg.Origin, running)
	}
	return c.Report(stdout, *asJSON)
}

// inUse says whether a log runs on a state directory.
func inUse(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	return errors.Is(err, syscall.EWOULDBLOCK)
}

// checkListen wants the address to be free, or this log to answer there.
func checkListen(ctx context.Context, c *daemon.Checks, address, origin string, running bool) {
	err := daemon.Free(address)
	switch {
	case err == nil && running:
		c.Note("listen", "a log is running on the state directory, at another address")
	case err != nil && running && originAt(ctx, address) == origin:
		c.Note("listen", "this log is running there")
	default:
		c.Add("listen", err)
	}
}

// originAt asks who answers at an address.
func originAt(ctx context.Context, address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/v1/log", nil)
	if err != nil {
		return ""
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := durable.ReadAll(resp.Body, 1<<20)
	var about struct {
		Origin string `json:"origin"`
	}
	if err != nil || json.Unmarshal(body, &about) != nil {
		return ""
	}
	return about.Origin
}
