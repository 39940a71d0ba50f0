package main

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/transparency-dev/tessera/api/layout"

	"cratelog/entry"
)

// What ships; see config/logd.example.toml. On S3 Tessera publishes once a second at most, and integrates so often: a
// round's entries in one second, and its seal in the next.
const (
	interval   = 800 * time.Millisecond
	intervalS3 = time.Second
	roundS3    = 2 * time.Second
	republish  = 10 * time.Minute
	batchAge   = 100 * time.Millisecond
)

// files is what Tessera writes of a tree that grows.
type files struct {
	size           uint64  // of the tree
	full, partial  float64 // files
	entries, tiles float64 // bytes, of all widths that were ever written
}

// grow integrates n leaves of a mean size.
func (f *files) grow(n uint64, leaf float64) {
	from := f.size
	f.size += n
	for level := -1; ; level++ {
		shift := layout.TileHeight * max(level, 0)
		a, b := from>>shift, f.size>>shift
		if a == b {
			return
		}
		for t := a / layout.TileWidth; t*layout.TileWidth < b; t++ {
			width := min(b-t*layout.TileWidth, layout.TileWidth)
			if width == layout.TileWidth {
				f.full++
			} else {
				f.partial++
			}
			if level < 0 {
				f.entries += float64(width) * leaf
			} else {
				f.tiles += float64(width) * 32
			}
		}
	}
}

// rounds is what a log does in a year.
type rounds struct {
	files
	versions, seals, waves, checkpoints float64
}

// yearOf simulates a year of so many entries a day, which come independently of each other, as log/sequence.go has it:
// a wave when its first entry is batchAge old, and a seal when a checkpoint is due. What the log does takes no time, so
// that there are as many rounds as can be. Of more entries than most a part of the year is simulated, and the rest is
// like it.
func yearOf(perDay, entrySize, sealSize, most float64, interval time.Duration) rounds {
	random := rand.New(rand.NewPCG(1, 2))
	rate, age, pause := perDay/aDay.Seconds(), batchAge.Seconds(), interval.Seconds()
	share := min(1, most/(365*perDay))
	end := share * 365 * aDay.Seconds()
	var r rounds
	now, signed := 0.0, -pause
	for next := random.ExpFloat64() / rate; next < end; {
		due := signed + pause
		for open := false; !open || next+age < due; open = true {
			now = max(now, next+age)
			n := uint64(0)
			for ; next <= now; n++ {
				next += random.ExpFloat64() / rate
			}
			r.grow(n, entrySize)
			r.versions += float64(n)
			r.waves++
		}
		now = max(now, due)
		r.grow(1, sealSize)
		r.seals++
		r.checkpoints += 1 + math.Floor((now-max(signed, 0))/republish.Seconds())
		signed = now
	}
	for _, x := range []*float64{&r.full, &r.partial, &r.entries, &r.tiles, &r.versions, &r.seals, &r.waves,
		&r.checkpoints} {
		*x /= share
	}
	return r
}

// busyYear is a year in which every checkpoint has one new entry.
func busyYear(entrySize, sealSize, most float64, interval time.Duration) files {
	var f files
	all := 365 * aDay.Seconds() / interval.Seconds()
	for range int(most) {
		f.grow(1, entrySize)
		f.grow(1, sealSize)
	}
	for _, x := range []*float64{&f.full, &f.partial, &f.entries, &f.tiles} {
		*x *= all / most
	}
	return f
}

// levels is how many levels of tiles a tree has. Of each, and of the entries, no partial file stands but those of the
// last tile when the others are collected.
func levels(leaves float64) (n int) {
	for size := uint64(leaves); size > 0; size >>= layout.TileHeight {
		n++
	}
	return n
}

// years prints what a year makes of a log, and returns it by the names of scales.
func years(entrySize, most float64) (map[string]rounds, error) {
	seal, err := (&entry.Seal{Rules: entry.Rules, Size: versionsPerDay * 365}).Marshal()
	if err != nil {
		return nil, err
	}
	sealSize := figure("seal_bytes", float64(len(seal)), "B")
	all := map[string]rounds{}
	for _, s := range scales {
		r := yearOf(s.times*versionsPerDay, entrySize, sealSize, most, interval)
		all[s.name] = r
		is := func(name string, v float64, unit string) { figure("year_"+name+"_"+s.name, v, unit) }
		is("versions", r.versions, "versions")
		is("seals", r.seals, "seals")
		is("checkpoints", r.checkpoints, "checkpoints")
		is("checkpoint_every", 365*aDay.Seconds()/r.checkpoints, "s")
		is("integrations", r.waves+r.seals, "integrations")
		leaves := r.versions + r.seals
		is("files_full", r.full, "files")
		is("files_partial", r.partial, "files")
		is("puts", r.full+r.partial+r.checkpoints, "puts")
		is("written", (r.entries+r.tiles)/1e9, "GB")
		is("files_partial_collected", (layout.TileWidth-1)*float64(levels(leaves)+1), "files")
		is("kept", (r.versions*entrySize+r.seals*sealSize+leaves*32*256/255)/1e9, "GB")
	}
	for _, every := range []time.Duration{interval, intervalS3, roundS3} {
		f := busyYear(entrySize, sealSize, most, every)
		is := func(name string, v float64, unit string) { figure("busy_"+name+"_"+every.String(), v, unit) }
		is("files_full", f.full/1e6, "million files")
		is("files_partial", f.partial/1e6, "million files")
		is("written", (f.entries+f.tiles)/1e9, "GB")
	}
	backfill := versionsSoFar * (entrySize + 2 + 32)
	figure("backfill", backfill/1e9, "GB")
	return all, nil
}
