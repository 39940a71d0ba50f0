// Package vitals is what each server says of itself: whether it lives, is ready and is well, which
// version it is, and what room its machine has left.
package vitals

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"cratelog/internal/version"
	"cratelog/internal/web"
)

// Health is the JSON of /livez and /readyz, and what the JSON of each server's /healthz begins with.
type Health struct {
	OK       bool     `json:"ok"`
	Version  string   `json:"version"`  // as --version says it, without the program's name
	Problems []string `json:"problems"` // sentences for the operator; empty when OK
}

// Of returns the health of a server with these problems.
func Of(problems []string) Health {
	if problems == nil {
		problems = []string{}
	}
	return Health{OK: len(problems) == 0, Version: version.String(), Problems: problems}
}

// Probes are the three questions to a server, whose answers are never cached: 200, or 503 with the
// problems in words.
type Probes struct {
	// Ready returns why the server does not do its work now.
	Ready func(ctx context.Context) []string
	// Health returns the JSON of /healthz, which embeds a Health, and that.
	Health func(ctx context.Context) (body any, h Health)
}

// Routes are /livez, which is 200 while the process answers, /readyz and /healthz.
func (p Probes) Routes() []web.Route {
	return []web.Route{
		{Pattern: "GET /livez", Handler: web.Plain(func(w http.ResponseWriter, r *http.Request) {
			h := Of(nil)
			tell(w, h, h)
		})},
		{Pattern: "GET /readyz", Handler: web.Plain(func(w http.ResponseWriter, r *http.Request) {
			h := Of(p.Ready(r.Context()))
			tell(w, h, h)
		})},
		{Pattern: "GET /healthz", Handler: web.Plain(func(w http.ResponseWriter, r *http.Request) {
			body, h := p.Health(r.Context())
			tell(w, body, h)
		})},
	}
}

func tell(w http.ResponseWriter, body any, h Health) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	code := http.StatusOK
	if !h.OK {
		code = http.StatusServiceUnavailable
	}
	web.WriteJSON(w, code, body)
}

// Place is a directory that a server writes to.
type Place struct {
	Name string // in messages and metrics, such as "tree"
	Path string
}

// Room is what the places of a server have left, measured at most once a second. Its methods may be
// called concurrently. It measures on Linux only; elsewhere it knows of no problem.
type Room struct {
	places  []Place
	measure func(path string) (space, error)
	files   func() (used, limit uint64, err error)

	mu     sync.Mutex
	at     time.Time // owned by mu, as what follows
	spaces []space
	errs   []error
	used   uint64
	limit  uint64
	noFile error
}

// space is what a file system has.
type space struct {
	free, size    uint64 // bytes; free for programs that are not root's
	inodes, total uint64 // free, and of all; both 0 where there is no such number
	readOnly      bool
}

// NewRoom returns the room of these places.
func NewRoom(places ...Place) *Room {
	return &Room{places: places, measure: statfs, files: descriptors}
}

const (
	second = time.Second
	// reserve is what a full disk has left when a server stops taking what it need not take: its
	// databases write after that too. Of a small disk it is a sixteenth.
	reserve       = 64 << 20
	reserveInodes = 1000
	share         = 16
)

// full says why nothing more should be written, or nothing.
func (s space) full() string {
	switch {
	case s.readOnly:
		return "is read-only"
	case s.size > 0 && s.free < min(reserve, s.size/share):
		return fmt.Sprintf("has %d bytes left of %d", s.free, s.size)
	case s.total > 0 && s.inodes < min(reserveInodes, s.total/share):
		return fmt.Sprintf("has room for %d more files of %d", s.inodes, s.total)
	}
	return ""
}

// look measures if it has not lately. It is called with mu held.
func (r *Room) look() {
	if !r.at.IsZero() && time.Since(r.at) < second {
		return
	}
	r.at, r.spaces, r.errs = time.Now(), r.spaces[:0], r.errs[:0]
	for _, p := range r.places {
		s, err := r.measure(p.Path)
		r.spaces, r.errs = append(r.spaces, s), append(r.errs, err)
	}
	r.used, r.limit, r.noFile = r.files()
}

// Full returns what is wrong with the disks, each in a sentence: they are full, read-only or gone.
func (r *Room) Full() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look()
	var all []string
	for i, p := range r.places {
		if err := r.errs[i]; err != nil {
			all = append(all, fmt.Sprintf("the disk of the %s (%s) does not answer: %v", p.Name, p.Path, err))
		} else if why := r.spaces[i].full(); why != "" {
			all = append(all, fmt.Sprintf("the disk of the %s (%s) %s", p.Name, p.Path, why))
		}
	}
	return all
}

// Problems are Full, and that few file descriptors are left.
func (r *Room) Problems() []string {
	all := r.Full()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.noFile != nil:
		all = append(all, fmt.Sprintf("no file can be opened: %v; raise LimitNOFILE, or let fewer clients connect", r.noFile))
	case r.limit > 0 && r.used > r.limit-r.limit/10:
		all = append(all, fmt.Sprintf("%d of %d file descriptors are in use; raise LimitNOFILE, or let fewer clients connect",
			r.used, r.limit))
	}
	return all
}

// Collectors are the metrics that all servers have: of the Go runtime, the process (with its file
// descriptors), the build, and the room.
func (r *Room) Collectors() []prometheus.Collector {
	return []prometheus.Collector{collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build(), free{r}}
}

// build is a gauge that is 1.
func build() prometheus.Collector {
	g := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cratelog_build_info", Help: "1; the labels say what the program was built from.",
		ConstLabels: prometheus.Labels{"version": version.String(), "commit": version.Commit(),
			"goversion": runtime.Version()},
	}, func() float64 { return 1 })
	return g
}

// free collects what is left. What cannot be measured is left out.
type free struct{ r *Room }

var (
	descFree = prometheus.NewDesc("cratelog_disk_free_bytes", "Free on the disk of a directory.",
		[]string{"directory"}, nil)
	descSize = prometheus.NewDesc("cratelog_disk_size_bytes", "Of the disk of a directory.",
		[]string{"directory"}, nil)
	descInodes = prometheus.NewDesc("cratelog_disk_free_inodes", "Files that the disk of a directory can take.",
		[]string{"directory"}, nil)
)

func (f free) Describe(out chan<- *prometheus.Desc) {
	out <- descFree
	out <- descSize
	out <- descInodes
}

func (f free) Collect(out chan<- prometheus.Metric) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.r.look()
	for i, p := range f.r.places {
		s := f.r.spaces[i]
		if f.r.errs[i] != nil || s.size == 0 {
			continue
		}
		out <- prometheus.MustNewConstMetric(descFree, prometheus.GaugeValue, float64(s.free), p.Name)
		out <- prometheus.MustNewConstMetric(descSize, prometheus.GaugeValue, float64(s.size), p.Name)
		if s.total > 0 {
			out <- prometheus.MustNewConstMetric(descInodes, prometheus.GaugeValue, float64(s.inodes), p.Name)
		}
	}
}
