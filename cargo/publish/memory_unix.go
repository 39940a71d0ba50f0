//go:build unix

package publish

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// peakMemory says how much memory this process has taken at most so far, as part of a
// sentence; "" if the system does not tell.
func peakMemory() string {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil || u.Maxrss <= 0 {
		return ""
	}
	bytes := float64(u.Maxrss)
	if runtime.GOOS != "darwin" { // there it counts bytes, elsewhere units of 1024
		bytes *= 1024
	}
	return fmt.Sprintf(", with at most %.1f GB of memory", bytes/1e9)
}
