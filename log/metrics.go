package log

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is the log's own registry: nothing of it is global, so that a test
// may run several logs.
type metrics struct {
	registry    *prometheus.Registry
	submissions *prometheus.CounterVec // by result: a reason slug, "accepted" or "known"
	duration    prometheus.Histogram
	checking    prometheus.Gauge
	waiting     prometheus.Gauge
	published   prometheus.Gauge
	indexed     prometheus.Gauge
	witness     *prometheus.CounterVec // by witness and result

	rounds, seals, voidSeals prometheus.Counter

	addErrors prometheus.Counter
	accepted  prometheus.Gauge // POSIX seconds

	contradictions prometheus.Counter
	builders       prometheus.Counter
}

func (l *Log) newMetrics() *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		submissions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cratelog_submissions_total",
			Help: "Submissions answered, by result: accepted, known, or the reason of the refusal."}, []string{"result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cratelog_submission_seconds", Help: "Time from the first byte of an accepted submission to its bundle.",
			Buckets: []float64{.05, .1, .25, .5, 1, 1.5, 2, 3, 5, 10, 20}}),
		contradictions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cratelog_contradictions_total",
			Help: "Openings that contradicted a proof that holds: somebody can forge proofs of that program."}),
		builders: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cratelog_builder_contradictions_total",
			Help: "Submissions in which a builder contradicts what stands; /v1/contradictions has the evidence."}),
		rounds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cratelog_rounds_total", Help: "Rounds in which entries were added to the tree."}),
		seals: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cratelog_seals_total", Help: "Seals that were added to the tree."}),
		voidSeals: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cratelog_void_seals_total", Help: "Seals that do not stand where they should: something else writes to the tree."}),
		addErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cratelog_add_errors_total", Help: "Entries that could not be written to the tree: most often its disk."}),
		accepted: gauge("cratelog_last_accepted_timestamp_seconds",
			"When the latest new entry was accepted; 0: not since the start."),
		checking:  gauge("cratelog_checking", "Submissions that are uploaded or checked now."),
		waiting:   gauge("cratelog_sequencing", "Accepted entries that have no durable index yet."),
		published: gauge("cratelog_published_size", "Entries under the published checkpoint."),
		indexed:   gauge("cratelog_indexed_size", "Entries of the tree that the index knows."),
		witness: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cratelog_witness_requests_total",
			Help: "Requests to witnesses, by witness and result: a status code, or error."}, []string{"witness", "result"}),
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cratelog_checkpoint_age_seconds", Help: "Time since the published checkpoint was written; -1: there is none."},
		func() float64 { return l.checkpointAge(time.Now()) })
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cratelog_ready", Help: "1 when submissions are taken and published, as /readyz says."},
		func() float64 { return zeroOrOne(len(l.unready(time.Now())) == 0) })
	halted := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cratelog_halted", Help: "1 when the log has stopped accepting because it found itself inconsistent."},
		func() float64 { return zeroOrOne(l.halt.reason() != nil) })
	for name, of := range map[string]struct {
		help  string
		value func() float64
	}{
		"cratelog_void_entries": {"Entries of the tree whose version has another checksum, that of an earlier entry.",
			func() float64 { void, _ := l.leaves.idle(); return float64(void) }},
		"cratelog_repeated_entries": {"Entries of the tree that say what an earlier one says, with a proof of the same program.",
			func() float64 { _, repeated := l.leaves.idle(); return float64(repeated) }},
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: of.help}, of.value))
	}
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "cratelog_seal_cpu_seconds_total",
		Help: "Processor time of the map, its seals, and the guard's look at them."},
		func() float64 { return float64(l.sealing.Load()) / 1e9 }))
	m.registry.MustRegister(m.rounds, m.seals, m.voidSeals, m.submissions, m.duration, m.checking, m.waiting, m.published, m.indexed, m.witness,
		m.contradictions, m.builders, m.addErrors, m.accepted, age, ready, halted)
	return m
}

func zeroOrOne(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// answered counts the answer to a submission.
func (l *Log) answered(result string) {
	l.metrics.submissions.WithLabelValues(result).Inc()
	if result == "accepted" {
		l.metrics.accepted.SetToCurrentTime()
	}
}
