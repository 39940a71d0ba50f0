package witness

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are those of one Witness, in a registry of its own. Labels take
// values from the settings, the database and our own constants only, never
// from a request.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec // code
	seconds  prometheus.Histogram   // of add-checkpoint
	size     *prometheus.GaugeVec   // origin
	signed   *prometheus.GaugeVec   // origin
	forks    *prometheus.GaugeVec   // origin
	rejected *prometheus.CounterVec // origin, reason
}

func newMetrics() *metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"origin"})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cratelog_witness_add_checkpoint_total", Help: "add-checkpoint requests by HTTP status code."}, []string{"code"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cratelog_witness_add_checkpoint_seconds", Help: "Time to answer an add-checkpoint request.",
			Buckets: prometheus.DefBuckets}),
		size:   gauge("cratelog_witness_log_size", "Size of the checkpoint cosigned last."),
		signed: gauge("cratelog_witness_log_cosigned_timestamp_seconds", "Timestamp of the last cosignature, 0 if there is none."),
		forks:  gauge("cratelog_witness_log_forks", "Proofs on record that the log signed two histories. Anything but 0 needs a person."),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cratelog_witness_log_rejected_total",
			Help: "Requests signed by the log that were refused and newly recorded."}, []string{"origin", "reason"}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.size, m.signed, m.forks, m.rejected,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) setLog(origin string, st state, forks int) {
	m.setState(origin, st)
	m.forks.WithLabelValues(origin).Set(float64(forks))
}

func (m *metrics) setState(origin string, st state) {
	m.size.WithLabelValues(origin).Set(float64(st.Size))
	m.signed.WithLabelValues(origin).Set(float64(st.Time))
}

func (m *metrics) observe(code int, seconds float64) {
	m.requests.WithLabelValues(strconv.Itoa(code)).Inc()
	m.seconds.Observe(seconds)
}
