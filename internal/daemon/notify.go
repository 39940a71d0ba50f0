package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// notify tells the service manager (sd_notify(3)), where one started this program and wants to know.
// That it does not listen is no reason to stop.
func notify(logger *slog.Logger, lines ...string) {
	if _, err := systemd.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		logger.Warn("the service manager does not listen", "err", err)
	}
}

const (
	ready     = systemd.SdNotifyReady
	stopping  = systemd.SdNotifyStopping
	reloading = systemd.SdNotifyReloading
	watchdog  = systemd.SdNotifyWatchdog

	tellEvery = 10 * time.Second // the status, and no longer than what the watchdog allows
)

// tend tells the service manager until ctx ends that the program lives and how it is: what /livez and
// /healthz of h answer. One that does not answer is restarted, if the service has WatchdogSec.
func tend(ctx context.Context, logger *slog.Logger, h http.Handler) {
	every := time.Duration(tellEvery)
	limit, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		logger.Warn("WATCHDOG_USEC cannot be read", "err", err)
	}
	if limit > 0 {
		every = min(every, limit/3)
	}
	t := time.NewTicker(every)
	defer t.Stop()
	said := ""
	for {
		var lines []string
		if code, _ := ask(ctx, h, "/livez"); limit > 0 && code == http.StatusOK {
			lines = append(lines, watchdog)
		}
		if status := "STATUS=" + status(ask(ctx, h, "/healthz")); status != said {
			said, lines = status, append(lines, status)
		}
		if len(lines) > 0 {
			notify(logger, lines...)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// status says in one line what /healthz answered.
func status(code int, body []byte) string {
	var health struct{ Problems []string }
	switch {
	case code == http.StatusOK:
		return "all is well"
	case json.Unmarshal(body, &health) != nil || len(health.Problems) == 0:
		return "not well; see /healthz"
	}
	return strings.Join(strings.Fields(strings.Join(health.Problems, "; ")), " ")
}

// ask asks the program's own handler, not through its listener, where the places may all be taken.
func ask(ctx context.Context, h http.Handler, path string) (code int, body []byte) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return 0, nil
	}
	w := &answer{header: make(http.Header), code: http.StatusOK}
	defer func() {
		if v := recover(); v != nil { // net/http would have caught it
			code = http.StatusInternalServerError
		}
	}()
	h.ServeHTTP(w, r)
	return w.code, w.body.Bytes()
}

// answer is an answer in memory.
type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
