package main

// What is known of the public registry, and what is assumed. docs/scale.md has the same, with its sources.
const (
	versionsPerDay = 3000          // about 2,900, as versions grew until 2026
	versionsSoFar  = 2_655_643     // on 2026-07-09
	cratesSoFar    = 250_000       // in July 2026
	downloads      = 11e9 / 30.44  // of .crates a day, in January 2026
	downloadBytes  = 1.6e15 / 11e9 // of one

	lockFiles = 10e6 // verified a day
	lockFile  = 300  // crates of one: they have 100 to 500
)

// scales are how many times the registry of today.
var scales = []struct {
	name  string
	times float64
}{{"1x", 1}, {"10x", 10}, {"1000x", 1000}}

// quantiles are of the SHA-1 blocks of commit and trees, over about 500 packages of some 25 public repositories; the
// last, of which no more is known than single ones (165 to 2,079), is tokio's. Each stands for all from the one before.
var quantiles = []struct {
	share  float64
	blocks int
}{{0.50, 60}, {0.25, 72}, {0.15, 100}, {0.05, 165}, {0.05, 470}}
