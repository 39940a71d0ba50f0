package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"cratelog/internal/durable"
	"cratelog/internal/version"
	"cratelog/witness"
)

// lists reads the lists of logs, each when it is due.
type lists struct {
	w      *witness.Witness
	log    *slog.Logger
	client *http.Client
	wake   chan struct{} // buffered; the settings have changed

	mu   sync.Mutex // protects what follows
	want []listSettings
}

func newLists(w *witness.Witness, logger *slog.Logger, want []listSettings) *lists {
	client := &http.Client{Timeout: time.Minute, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 || !private(r.URL) {
			return errors.New("the list is moved too often, or to where others could change it")
		}
		return nil
	}}
	return &lists{w: w, log: logger, client: client, wake: make(chan struct{}, 1), want: want}
}

// set replaces the lists, and has all of them read.
func (l *lists) set(want []listSettings) {
	l.mu.Lock()
	l.want = want
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// fetched is what is known of a list from the last time.
type fetched struct {
	etag, modified string
	next           time.Time
	failures       int
}

// run reads lists until ctx ends.
func (l *lists) run(ctx context.Context) {
	known := make(map[string]*fetched)
	for {
		l.mu.Lock()
		want := l.want
		l.mu.Unlock()
		soonest := time.Now().Add(longest)
		for _, s := range want {
			f := known[s.From]
			if f == nil {
				f = &fetched{}
				known[s.From] = f
			}
			if !time.Now().Before(f.next) {
				l.visit(ctx, s, f)
			}
			if f.next.Before(soonest) {
				soonest = f.next
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
			clear(known) // read all again: what a list names may be wanted now
		case <-time.After(time.Until(soonest)):
		}
	}
}

// visit reads one list and says when to come again. A list that cannot be had, or read, changes nothing.
func (l *lists) visit(ctx context.Context, s listSettings, f *fetched) {
	wait, err := l.read(ctx, s, f)
	if err != nil && ctx.Err() != nil {
		return
	}
	every := s.Every.Duration
	if err != nil {
		l.log.Warn("a list of logs could not be read; the logs stay as they are", "list", s.From, "err", err)
		f.etag, f.modified = "", ""
		every = min(every, 5*time.Minute<<min(f.failures, 8))
		f.failures++
	} else {
		f.failures = 0
	}
	every += rand.N(every/10 + 1) // many witnesses read one list
	f.next = time.Now().Add(max(every, min(wait, longest)))
}

// read reads a list and hands it to the witness. wait is how long its server asks to be left alone.
func (l *lists) read(ctx context.Context, s listSettings, f *fetched) (wait time.Duration, err error) {
	var text []byte
	if strings.Contains(s.From, "://") {
		text, wait, err = l.fetch(ctx, s.From, f)
	} else {
		text, err = durable.Read(s.From, witness.MaxList)
	}
	if err != nil || text == nil {
		return wait, err
	}
	logs, err := witness.ParseList(text)
	if err != nil {
		return wait, err
	}
	_, err = l.w.Take(ctx, s.From, logs)
	return wait, err
}

// fetch returns the list at a URL, or nil if it is the one of the last time.
func (l *lists) fetch(ctx context.Context, url string, f *fetched) (text []byte, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("User-Agent", "cratelog-witness/"+version.String())
	if f.etag != "" {
		req.Header.Set("If-None-Match", f.etag)
	} else if f.modified != "" {
		req.Header.Set("If-Modified-Since", f.modified)
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return nil, 0, nil
	default:
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
			wait = time.Duration(min(n, int(longest/time.Second))) * time.Second
		}
		return nil, wait, fmt.Errorf("its server answers %.80q", resp.Status)
	}
	text, err = io.ReadAll(io.LimitReader(resp.Body, witness.MaxList+1))
	if err != nil {
		return nil, 0, err
	}
	f.etag, f.modified = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	return append([]byte{}, text...), 0, nil
}
