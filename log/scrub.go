package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/transparency-dev/tessera/api/layout"
)

// maxScrubRate bounds, in bytes a second, how fast the tree is read again: the disk is the readers'.
const maxScrubRate = 4 << 20

// scrubber reads the whole tree again and again while the log runs, so that what rots is found before
// a reader asks for it: every tile against the tile above, every entry against its tile, every row of
// the index against its entry.
type scrubber struct {
	bundles prometheus.Counter
	passed  prometheus.Gauge
}

func newScrubber() scrubber {
	return scrubber{
		bundles: prometheus.NewCounter(prometheus.CounterOpts{Name: "cratelog_scrubbed_bundles_total",
			Help: "Entry bundles that were read again, with their tiles and rows, since the start."}),
		passed: prometheus.NewGauge(prometheus.GaugeOpts{Name: "cratelog_scrub_passed_timestamp_seconds",
			Help: "When the whole tree had been read again last; 0: not since the start."}),
	}
}

func (s scrubber) metrics() []prometheus.Collector {
	return []prometheus.Collector{s.bundles, s.passed}
}

// scrub passes over the tree, once in each period or as fast as maxScrubRate allows, until ctx ends.
func (l *Log) scrub(ctx context.Context) {
	for ctx.Err() == nil {
		bundles := (l.published.head().size + layout.EntryBundleWidth - 1) / layout.EntryBundleWidth
		if bundles == 0 {
			sleep(ctx, min(l.cfg.ScrubPeriod.Duration, time.Minute))
			continue
		}
		// From anywhere: a log that is restarted often gets round all the same.
		first, pause := rand.Uint64N(bundles), l.cfg.ScrubPeriod.Duration/time.Duration(bundles)
		for i := range bundles {
			n, err := l.scrubBundle(ctx, (first+i)%bundles)
			if err != nil && ctx.Err() == nil {
				l.scrubFailed(err)
			}
			l.scrubber.bundles.Inc()
			if !sleep(ctx, max(pause, time.Duration(n)*time.Second/maxScrubRate)) {
				return
			}
		}
		if err := l.index.sound(ctx); err != nil && ctx.Err() == nil {
			l.halt.now(fmt.Errorf("index.db rotted while the log was running, and might hide what stands: restart, "+
				"and it is made again: %w", err))
		}
		l.scrubber.passed.SetToCurrentTime()
	}
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// scrubFailed tells what is not a damaged file: those were reported where they were read.
func (l *Log) scrubFailed(err error) {
	switch {
	case errors.Is(err, errDamaged):
	case errors.Is(err, errContradiction):
		l.halt.now(err)
	default:
		l.log.Warn("the tree could not be read again", "err", err)
	}
}

// scrubBundle reads a bundle, its tile, and the tiles above that end with it, and compares them with the
// published tree, and the rows of the entries with them. It returns about how many bytes it read.
func (l *Log) scrubBundle(ctx context.Context, n uint64) (bytes int, err error) {
	tree := l.published.head().tree()
	err = l.checkBundleRows(ctx, tree, n)
	if widthAt(0, n, tree.size) < layout.TileWidth {
		_, edgeErr := l.verified.readEdge(ctx, tree)
		return 64 << 10, errors.Join(err, edgeErr)
	}
	index := n
	for level := 0; widthAt(uint64(level), index, tree.size) == layout.TileWidth; level++ {
		// What is in memory is not asked: the file is.
		_, tileErr := l.verified.fullTile(ctx, tree, fileKey{level, index, layout.TileWidth})
		err = errors.Join(err, tileErr)
		if index%layout.TileWidth != layout.TileWidth-1 {
			break
		}
		index /= layout.TileWidth
	}
	return 512 << 10, err
}
