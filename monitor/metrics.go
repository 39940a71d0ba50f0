package monitor

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of this process; everything else is read from the store
// when it is asked for.
type metrics struct {
	entries prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{entries: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "cratelog_monitor_entries_checked_total", Help: "Entries downloaded and checked by this process.",
	})}
}

var (
	descSize       = desc("log_size", "Entries of the largest accepted checkpoint that was seen.", "log")
	descVerified   = desc("verified_entries", "Entries that gave a signed root.", "log")
	descDownloaded = desc("downloaded_entries", "Entries that are stored and checked.", "log")
	descSealed     = desc("sealed_entries", "Verified entries whose seals were compared with their index.", "log")
	descRegistry   = desc("registry_entries", "Entries that were compared with the registry.", "log")
	descOpenings   = desc("openings_entries", "Entries whose opening the log was asked for.", "log")
	descWitnessed  = desc("checkpoint_timestamp_seconds", "When the quorum cosigned the largest accepted checkpoint.",
		"log")
	descViewSize   = desc("view_size", "Entries that a source shows; -1 for none yet.", "log", "source")
	descViewSeen   = desc("view_timestamp_seconds", "Last valid answer of a source.", "log", "source")
	descFindings   = desc("findings", "Findings that stand and are not acknowledged.", "class")
	descDeliveries = desc("deliveries_pending", "Alerts that wait for a channel.", "channel")
	descBytes      = desc("store_bytes", "Size of the database.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cratelog_monitor_"+name, help, labels, nil)
}

var _ prometheus.Collector = &Monitor{}

// Describe implements prometheus.Collector.
func (m *Monitor) Describe(out chan<- *prometheus.Desc) {
	m.metrics.entries.Describe(out)
	for _, d := range []*prometheus.Desc{descSize, descVerified, descDownloaded, descSealed, descRegistry, descOpenings,
		descWitnessed, descViewSize, descViewSeen, descFindings, descDeliveries, descBytes} {
		out <- d
	}
}

// Collect implements prometheus.Collector. What the store does not answer is left
// out, which alert rules should treat as trouble.
func (m *Monitor) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m.metrics.entries.Collect(out)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if err := m.collect(ctx, gauge); err != nil {
		m.cfg.Logger.Log(ctx, slog.LevelError, "metrics are incomplete", "err", err)
	}
}

func (m *Monitor) collect(ctx context.Context, gauge func(*prometheus.Desc, float64, ...string)) error {
	s := m.cfg.Store
	for _, f := range m.followers {
		if err := f.collect(ctx, gauge); err != nil {
			return err
		}
	}
	standing, err := s.CountStanding(ctx)
	if err != nil {
		return err
	}
	for class, n := range standing {
		gauge(descFindings, float64(n), string(class))
	}
	pending, err := s.CountDeliveries(ctx)
	if err != nil {
		return err
	}
	for channel, n := range pending {
		gauge(descDeliveries, float64(n), channel)
	}
	size, err := s.FileSize(ctx)
	if err == nil {
		gauge(descBytes, float64(size))
	}
	return err
}

func (f *follower) collect(ctx context.Context, gauge func(*prometheus.Desc, float64, ...string)) error {
	s := f.store
	p, err := s.Position(ctx, f.id)
	if err != nil {
		return err
	}
	gauge(descVerified, float64(p.Verified), f.origin)
	gauge(descDownloaded, float64(p.Downloaded), f.origin)
	gauge(descSealed, float64(p.Sealed), f.origin)
	gauge(descRegistry, float64(p.Registry), f.origin)
	gauge(descOpenings, float64(p.Openings), f.origin)
	c, ok, err := s.Newest(ctx, f.id, true)
	if err != nil {
		return err
	}
	if ok {
		gauge(descSize, float64(c.Size), f.origin)
		if !c.Witnessed.IsZero() {
			gauge(descWitnessed, float64(c.Witnessed.Unix()), f.origin)
		}
	}
	views, err := s.Views(ctx, f.id)
	for _, v := range views {
		gauge(descViewSize, float64(v.Size), f.origin, v.Source)
		if !v.Seen.IsZero() {
			gauge(descViewSeen, float64(v.Seen.Unix()), f.origin, v.Source)
		}
	}
	return err
}
