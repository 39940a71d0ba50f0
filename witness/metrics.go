package witness

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"cratelog/internal/vitals"
)

// metrics are those of one Witness, in a registry of its own. Labels take
// values from the settings, the database and our own constants only, never
// from a request.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec // code
	subtrees *prometheus.CounterVec // code
	seconds  prometheus.Histogram   // of add-checkpoint
	size     *prometheus.GaugeVec   // origin
	signed   *prometheus.GaugeVec   // origin
	forks    *prometheus.GaugeVec   // origin
	rejected *prometheus.CounterVec // origin, reason
	problems prometheus.Gauge
	listed   *prometheus.GaugeVec // list
	skipped  *prometheus.GaugeVec // list
	read     *prometheus.GaugeVec // list
	bastions *prometheus.GaugeVec // bastion
}

func newMetrics(room *vitals.Room) *metrics {
	gauges := func(label, name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) *prometheus.GaugeVec { return gauges("origin", name, help) }
	number := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cratelog_witness_add_checkpoint_total", Help: "add-checkpoint requests by HTTP status code."}, []string{"code"}),
		subtrees: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cratelog_witness_sign_subtree_total", Help: "sign-subtree requests by HTTP status code."}, []string{"code"}),
		problems: number("cratelog_witness_problems", "Problems that /healthz names, when it was last looked."),
		listed:   gauges("list", "cratelog_witness_list_logs", "Logs that the list names."),
		skipped: gauges("list", "cratelog_witness_list_skipped",
			"Logs that the list names and that were not taken: another key, no room, or disabled."),
		read:     gauges("list", "cratelog_witness_list_read_timestamp_seconds", "When the list was last read."),
		bastions: gauges("bastion", "cratelog_witness_bastion_connected", "1 while connected to the bastion."),
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
	m.registry.MustRegister(m.requests, m.seconds, m.size, m.signed, m.forks, m.rejected, m.subtrees, m.problems,
		m.listed, m.skipped, m.read, m.bastions)
	m.registry.MustRegister(room.Collectors()...)
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

func (m *metrics) observe(call string, code int, seconds float64) {
	if call == "sign-subtree" {
		m.subtrees.WithLabelValues(strconv.Itoa(code)).Inc()
		return
	}
	m.requests.WithLabelValues(strconv.Itoa(code)).Inc()
	m.seconds.Observe(seconds)
}
