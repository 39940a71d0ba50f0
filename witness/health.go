package witness

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"cratelog/internal/vitals"
)

const (
	probeEvery  = 10 * time.Second // a probe of the database is believed for so long
	probeWithin = 5 * time.Second
	warnEvery   = time.Minute
)

// health remembers what the last attempts to cosign came to. Its methods may be called
// concurrently.
type health struct {
	check func() []string // of the program; may be nil

	mu      sync.Mutex // protects what follows
	write   error      // of the last write
	sign    map[*cosigner]error
	probed  time.Time // when the database was last probed
	problem string    // what came of it; "" if nothing
	extra   []string  // what check said at that time
	warned  time.Time // when warn last said something
	bastion map[string]string
	last    []string          // what Report last told
	told    map[[32]byte]bool // SHA-256
}

func newHealth(check func() []string) *health {
	return &health{check: check, sign: make(map[*cosigner]error), bastion: make(map[string]string)}
}

// wrote takes what an attempt to write came to.
func (h *health) wrote(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, sql.ErrConnDone) {
		return // the asker has left, or the witness stops: nothing of the disk
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write = err
}

// signed takes what an attempt to sign came to.
func (h *health) signed(s *cosigner, err error) {
	if errors.Is(err, ErrClock) {
		err = nil // the clock is looked at by itself
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sign[s] = err
}

// Away says why a bastion does not pass requests on; "" means that it does.
func (w *Witness) Away(bastion, why string) {
	w.health.away(bastion, why)
	connected := 1.0
	if why != "" {
		connected = 0
	}
	w.metrics.bastions.WithLabelValues(bastion).Set(connected)
}

// away says why a bastion is not connected; "" means that it is.
func (h *health) away(bastion, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bastion[bastion] = why
}

// warn says something at most once in a while: who asks decides how often it happens.
func (h *health) warn(log *slog.Logger, msg string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.warned) >= warnEvery {
		h.warned = time.Now()
		log.Warn(msg, args...)
	}
}

// first says whether this is new. What it keeps is bounded; then everything is new again.
func (h *health) first(what string) bool {
	sum := sha256.Sum256([]byte(what))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.told == nil || len(h.told) >= 1000 {
		h.told = make(map[[32]byte]bool)
	}
	isNew := !h.told[sum]
	h.told[sum] = true
	return isNew
}

// healthBody is the JSON of /healthz.
type healthBody struct {
	vitals.Health
	Logs int `json:"logs"` // that are cosigned for
}

// Problems says in sentences what keeps the witness from cosigning, from what the last attempts
// came to and from a look at database, clock and keys. None means that it cosigns.
func (w *Witness) Problems(ctx context.Context) []string {
	all := w.clockProblems(ctx)
	w.probe(ctx)
	h := w.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.problem != "" {
		all = append(all, h.problem)
	}
	if h.write != nil {
		all = append(all, fmt.Sprintf("the database cannot be written (%v), so nothing is cosigned; "+
			"make room on its disk, or look at its file system", h.write))
	}
	for _, s := range w.cosigners {
		if err := h.sign[s]; err != nil {
			all = append(all, fmt.Sprintf("the key %s+%08x does not sign, so nothing is cosigned: %v",
				s.verifier.Name(), s.verifier.KeyHash(), err))
		}
	}
	all = append(all, h.extra...)
	return all
}

// probe reads from and writes to the database, unless that was done a moment ago.
func (w *Witness) probe(ctx context.Context) {
	h := w.health
	h.mu.Lock()
	due := time.Since(h.probed) >= probeEvery
	if due {
		h.probed = time.Now() // whoever comes now sees the probe before
	}
	h.mu.Unlock()
	if !due {
		return
	}
	// The probe is for all who ask within the next seconds, and does not end with who asked first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeWithin)
	defer cancel()
	problem := ""
	if err := w.store.alive(ctx); err != nil {
		problem = fmt.Sprintf("the database cannot be read (%v), so nothing is cosigned; "+
			"put it back, but never an older copy", err)
	} else {
		_ = w.store.probe(ctx) // h.write has what comes of it
	}
	var extra []string
	if h.check != nil {
		extra = h.check()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problem, h.extra = problem, extra
}

// clockProblems says for which logs the clock is too far back.
func (w *Witness) clockProblems(ctx context.Context) []string {
	now := w.now().Unix()
	if now <= 0 {
		return []string{fmt.Sprintf("the clock says %d seconds since 1970, so nothing is cosigned; set it", now)}
	}
	origins, latest, err := w.store.later(ctx, now+int64(MaxClockStep/time.Second))
	if err != nil {
		return nil // the probe will say so
	}
	origins = slices.DeleteFunc(origins, func(origin string) bool { return w.watched(origin) == nil })
	if len(origins) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the clock is %d seconds behind the last timestamp of a cosignature, so nothing is cosigned "+
		"for %d logs, %s among them; set the clock, or wait", latest-now, len(origins), origins[0])}
}

// Health is Problems, and what may become one: little room, a bastion that is away.
func (w *Witness) Health(ctx context.Context) []string {
	all := append(w.Problems(ctx), w.room.Problems()...)
	h := w.health
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, address := range slices.Sorted(maps.Keys(h.bastion)) {
		if why := h.bastion[address]; why != "" {
			all = append(all, fmt.Sprintf("the bastion %s is not connected: %s", address, why))
		}
	}
	w.metrics.problems.Set(float64(len(all)))
	return all
}

func (w *Witness) probes() vitals.Probes {
	return vitals.Probes{Ready: w.Problems, Health: func(ctx context.Context) (any, vitals.Health) {
		w.mu.RLock()
		logs := len(w.logs)
		w.mu.RUnlock()
		h := vitals.Of(w.Health(ctx))
		return healthBody{h, logs}, h
	}}
}

// Report logs what has become a problem since it was last called, and what is none any more.
func (w *Witness) Report(ctx context.Context) {
	now := w.Health(ctx)
	h := w.health
	h.mu.Lock()
	last := h.last
	h.last = now
	h.mu.Unlock()
	switch {
	case len(now) > 0 && !slices.Equal(now, last):
		for _, problem := range now {
			w.log.Warn("not well", "problem", problem)
		}
	case len(now) == 0 && len(last) > 0:
		w.log.Info("well again")
	}
}
