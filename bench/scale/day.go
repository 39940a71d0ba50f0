package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/transparency-dev/tessera/api/layout"
)

// maxFiles bounds the files of entries that a log keeps in memory (log/verified.go).
const maxFiles = 64 << 20

// exponents are those of Zipf's law between which the popularity of versions is taken to lie. Nobody has published it.
var exponents = []float64{0.8, 1.0, 1.2}

// popularity is how often versions are asked for: so many of them with one share of the requests each.
type popularity []struct{ versions, share float64 }

// zipf is the popularity of n versions by Zipf's law; where ranks are high, those that differ by a percent are taken
// together.
func zipf(n int, exponent float64) (all popularity) {
	sum := 0.0
	for i := 1; i <= n; {
		width := min(max(1, i/100), n-i+1)
		share := math.Pow(float64(i)+float64(width-1)/2, -exponent)
		all = append(all, struct{ versions, share float64 }{float64(width), share})
		sum += share * float64(width)
		i += width
	}
	for i := range all {
		all[i].share /= sum
	}
	return all
}

// distinct is how many versions are among n requests, on average.
func (p popularity) distinct(n float64) (sum float64) {
	for _, x := range p {
		sum -= x.versions * math.Expm1(n*math.Log1p(-x.share))
	}
	return sum
}

// kept is the share of requests for those of so many versions that were asked for last, which is what a cache of that
// size has (Che, Tung and Wang, Hierarchical Web caching systems, 2002).
func (p popularity) kept(size float64) (hits float64) {
	low, high := 1.0, 1e15 // requests in which so many versions come
	for range 60 {
		if n := math.Sqrt(low * high); p.distinct(n) < size {
			low = n
		} else {
			high = n
		}
	}
	for _, x := range p {
		hits -= x.versions * x.share * math.Expm1(low*math.Log1p(-x.share))
	}
	return hits
}

// first is the popularity of versions in what a cache lets through that answers n requests out of what came before:
// each version once.
func (p popularity) first(n float64) popularity {
	q := slices.Clone(p)
	all := p.distinct(n)
	for i, x := range p {
		q[i].share = -math.Expm1(n*math.Log1p(-x.share)) / all
	}
	return q
}

// fileSize is the size of a full file of entries.
func fileSize(entry float64) float64 { return layout.EntryBundleWidth * entry }

// bundle is the processor time of a bundle, where versions are asked for like that, and the share of those whose
// file of entries the log has in memory: what is asked for one after the other stands in files that have nothing else
// that anybody asks for.
func (s *served) bundle(p popularity, entry float64) (near, cpu float64) {
	near = p.kept(maxFiles / fileSize(entry))
	return near, near*s.near + (1-near)*s.cold
}

// day prints what a day of lock files asks of a log, and what the registry asks of everybody else.
func day(s *served, l *lock, years map[string]rounds) {
	seconds := aDay.Seconds()
	rate := figure("day_cold_bundles", lockFiles*l.cold.bundles/seconds, "1/s")
	figure("day_cold_received", lockFiles*l.cold.received/1e12, "TB")
	figure("day_updated_bundles", lockFiles*l.updated.bundles/seconds, "1/s")
	figure("day_updated_tiles", lockFiles*l.updated.tiles/seconds, "1/s")
	figure("day_updated_received", lockFiles*l.updated.received/1e12, "TB")
	figure("day_downloads", downloads/seconds, "1/s")
	figure("day_downloads_received", downloads*l.bundle/1e12, "TB")
	figure("map_versions_in_64_GB", 64e9/l.mapPerVersion/1e6, "million versions")
	for _, scale := range scales {
		r := years[scale.name]
		r.versions += versionsSoFar
		for _, x := range exponents {
			is := func(name string, v float64, unit string) {
				figure(fmt.Sprintf("%s_zipf_%.1f_%s", name, x, scale.name), v, unit)
			}
			p := zipf(int(r.versions), x)
			n, every := rate*scale.times, 365*seconds/r.checkpoints
			near, made := s.bundle(p, l.entry)
			is("files_remembered", 100*near, "percent")
			is("cores_without_cache", n*(made+s.http), "cores")
			is("read_without_cache", n*(1-near)*fileSize(l.entry)/1e9, "GB/s")
			for _, cache := range []struct {
				name             string
				seconds, answers float64 // that it keeps an answer; processor time of what it asks for besides
			}{{"revalidated", every, n * (s.unchanged + s.http)}, {"kept_60s", 60, 0}} {
				q := p.first(n * cache.seconds)
				computed := p.distinct(n*cache.seconds) / cache.seconds
				near, made := s.bundle(q, l.entry)
				if cache.answers == 0 {
					made += s.http
				}
				is("computed_"+cache.name, 100*computed/n, "percent")
				is("cores_"+cache.name, cache.answers+computed*made, "cores")
				is("read_"+cache.name, computed*(1-near)*fileSize(l.entry)/1e9, "GB/s")
			}
		}
	}
	for _, scale := range scales {
		is := func(name string, v float64, unit string) { figure(name+"_"+scale.name, v, unit) }
		r := years[scale.name]
		versions, daily := versionsSoFar+r.versions, r.versions/365
		is("admit_cores", daily/seconds*s.submit, "cores")
		is("map_after_a_year", versions*l.mapPerVersion/1e9, "GB")
		is("map_of_next_shard", versions*l.mapInherited/1e9, "GB")
		is("index_db_after_a_year", (versions+r.seals)*s.row/1e9, "GB")
		is("start_after_a_year", (versions+r.seals)*s.start/60, "CPU minutes")
		is("witness_day_sent", r.checkpoints/365*l.witness/1e6, "MB")
		is("monitor_day_cpu", daily*s.monitor, "CPU s")
		for _, poll := range []struct {
			name  string
			every float64
		}{{"30s", 30}, {"5m", 300}} {
			polls := min(seconds/poll.every, r.seals/365)
			is("monitor_day_received_"+poll.name, (polls*s.poll.received+daily*l.entry)/1e6, "MB")
		}
	}
}
