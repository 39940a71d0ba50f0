package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// Reloads reads a program's settings again at each SIGHUP. The signal never ends the program.
type Reloads struct {
	signals chan os.Signal

	mu  sync.Mutex
	err error // owned by mu; of the latest attempt
}

// CatchReloads takes over SIGHUP. A program calls it before it begins what a signal must not end.
func CatchReloads() *Reloads {
	r := &Reloads{signals: make(chan os.Signal, 1)}
	signal.Notify(r.signals, syscall.SIGHUP)
	return r
}

// OnReload calls reload at each SIGHUP, once at a time, until ctx ends. reload takes over everything
// or nothing, and says what changed in words; nothing changed if it says nothing.
func (r *Reloads) OnReload(ctx context.Context, logger *slog.Logger,
	reload func(context.Context) (changes []string, err error)) {
	defer signal.Stop(r.signals)
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.signals:
		}
		notify(logger, reloading, strings.TrimSpace(systemd.SdNotifyMonotonicUsec()))
		changes, err := reload(ctx)
		r.mu.Lock()
		r.err = err
		r.mu.Unlock()
		switch {
		case err != nil:
			logger.Error("the settings are not taken over; the old ones hold", "err", err)
		case len(changes) == 0:
			logger.Info("the settings were read again; nothing changed")
		default:
			logger.Info("new settings hold", "changes", changes)
		}
		notify(logger, ready)
	}
}

// Problems says that the settings on the disk are not those that hold.
func (r *Reloads) Problems() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		return nil
	}
	return []string{fmt.Sprintf("the settings were not taken over at the last SIGHUP, and the old ones hold: %v", r.err)}
}
