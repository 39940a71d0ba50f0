package log

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// maxDamages bounds what is remembered of damaged files. Who has more has a broken disk.
const maxDamages = 1000

// damages are the files that were found damaged and not found in order since. They are not handed
// out, and admission does not depend on them.
type damages struct {
	log *slog.Logger

	mu    sync.Mutex
	files map[string]string // by path; owned by mu
}

// repairAdvice is what an operator does about a damaged file.
const repairAdvice = `stop the log, run "logd fsck -repair" with its settings, and start it again`

// report takes note of a file that was read: of what is wrong with it, or that it is in order.
func (d *damages) report(path string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, known := d.files[path]
	switch {
	case err == nil && known:
		delete(d.files, path)
		d.log.Info("it is in order again", "file", path)
	case err != nil && !known && len(d.files) < maxDamages:
		if d.files == nil {
			d.files = make(map[string]string)
		}
		d.files[path] = err.Error()
		d.log.Error("a file of the tree is damaged, and is not handed out", "err", err, "advice", repairAdvice)
	}
}

// problems are the sentences for /healthz.
func (d *damages) problems() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.files) == 0 {
		return nil
	}
	first := d.files[slices.Min(slices.Collect(maps.Keys(d.files)))]
	return []string{fmt.Sprintf("damaged: %d files of the tree are not what was signed, and are not handed out; "+
		"one is: %s; %s", len(d.files), first, repairAdvice)}
}

func (d *damages) metrics() []prometheus.Collector {
	return []prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cratelog_damaged_files",
		Help: "Files of the tree that were found to differ from what was signed, and are not handed out."},
		func() float64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			return float64(len(d.files))
		})}
}
