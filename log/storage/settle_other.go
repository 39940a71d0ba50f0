//go:build !linux

package storage

// settle cannot tell when Tessera's goroutines have ended.
func settle(string) error { return nil }
