//go:build !unix

package publish

// peakMemory is not known here.
func peakMemory() string { return "" }
