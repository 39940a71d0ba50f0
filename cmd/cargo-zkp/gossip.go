package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/internal/outcome"
)

// gossip shows a monitor what the logs showed to this machine. If they showed another
// reader something different, the two views meet there.
func gossip(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "gossip", "URL", `Show a monitor the newest checkpoint that each log showed to this machine: if it showed
others another history, the monitor then has both. It learns nothing of your crates.`)
	var b believe
	b.register(fs)
	monitor, err := parse(fs, args, "URL of a monitor")
	if err != nil {
		return err
	}
	base, err := url.Parse(monitor)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return outcome.Usagef("%q is not the http or https URL of a monitor", monitor)
	}
	if b.offline {
		return outcome.Usagef("gossip cannot be --offline")
	}
	ws, _ := workspace("") // outside of workspaces the user's own policy counts
	p, err := b.trusting(ws)
	if err != nil {
		return err
	}
	_, dir, err := verdict.Dirs()
	if err != nil {
		return err
	}
	state, err := client.OpenState(dir)
	if err != nil {
		return err
	}
	sent := 0
	for _, t := range p.Trust {
		for _, l := range t.Policy.Origins() {
			c, known, err := state.Latest(l.Origin)
			if err != nil {
				return err
			}
			if !known {
				continue
			}
			sent++
			if err := sendGossip(ctx, sh, strings.TrimSuffix(monitor, "/")+"/v1/gossip", c); err != nil {
				return err
			}
		}
	}
	if sent == 0 {
		sh.Warn("no log that is trusted has shown anything to this machine yet")
	}
	return nil
}

// maxAnswer bounds a monitor's answer, in bytes.
const maxAnswer = 64 << 10

// sendGossip sends one checkpoint and tells the answer. That a log forked is a violation.
func sendGossip(ctx context.Context, sh *shell, to string, c client.Checkpoint) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(c.Signed))
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", userAgent)
	hc := &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("the monitor redirects: give its own URL")
	}}
	resp, err := hc.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	var answer struct{ Verdict, Message string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s answered %s, and not as a monitor does", to, resp.Status)
	}
	message := fmt.Sprintf("%q", answer.Message[:min(len(answer.Message), 1000)]) // a stranger's words, on a terminal
	switch {
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answered %s: %s", to, resp.Status, message)
	case answer.Verdict == "inconsistent":
		return outcome.Refusef("the log %s showed this machine another history than it showed the "+
			"monitor: %s\ndo not use this log until you know why; the monitor keeps the evidence", c.Origin, message)
	case answer.Verdict == "consistent", answer.Verdict == "pending":
		sh.Status("Gossiped", "%s, %d entries: %s: %s", c.Origin, c.Size, answer.Verdict, message)
		return nil
	}
	return fmt.Errorf("%s answered with the verdict %q, which is none", to, answer.Verdict[:min(len(answer.Verdict),
		100)])
}
