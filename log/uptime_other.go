//go:build !linux

package log

import "time"

// uptime is a clock that only grows.
func uptime() time.Duration { return time.Since(processStart) }
