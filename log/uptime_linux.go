package log

import (
	"time"

	"golang.org/x/sys/unix"
)

// uptime is a clock that only grows, and unlike that of package time also while the machine is suspended.
func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return time.Since(processStart)
	}
	return time.Duration(t.Nano())
}
