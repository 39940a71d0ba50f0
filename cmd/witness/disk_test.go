//go:build linux

package main

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"

	"cratelog/internal/testlog"
)

// A disk that takes no more, as the kernel shows it to the program: no file may grow. Nothing is cosigned, which
// health says, and it goes on by itself when there is room again; what was acknowledged is remembered.
func TestAFullDiskIsSaidAndSurvived(t *testing.T) {
	l := testlog.Of("log.example", 40)
	settings, _ := setUp(t, l)
	p := start(t, build(t), settings)
	cosigns(t, p, l.Request(0, 5), 200)
	health(t, p, 200, `"ok":true`)
	limit := func(bytes uint64) {
		t.Helper()
		fatal(t, unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: math.MaxUint64}, nil))
	}
	limit(1)
	cosigns(t, p, l.Request(5, 9), 500)
	health(t, p, 503, "the database cannot be written", "make room on its disk")
	cosigns(t, p, l.Request(5, 9), 500)
	limit(math.MaxUint64)
	health(t, p, 200, `"ok":true`)
	checkRemembered(t, p.url, l, 5)
	cosigns(t, p, l.Request(5, 9), 200)
	p.cmd.Process.Kill()
	<-p.done
	checkRemembered(t, start(t, p.cmd.Path, settings).url, l, 9)
}
