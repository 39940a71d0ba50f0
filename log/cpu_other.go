//go:build !linux

package log

// threadTime is not known.
func threadTime() int64 { return 0 }
