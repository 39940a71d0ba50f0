package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// manager is a service manager that a program of this process talks to.
func manager(t *testing.T) chan string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	said := make(chan string, 100)
	go func() {
		defer close(said)
		for buf := make([]byte, 4096); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			said <- string(buf[:n])
		}
	}()
	t.Cleanup(func() { conn.Close() })
	return said
}

// hear waits for a message with these lines, in any order, and drops what comes before.
func hear(t *testing.T, said chan string, want ...string) string {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case m := <-said:
			lines := strings.Split(m, "\n")
			if !slices.ContainsFunc(want, func(w string) bool {
				return !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, w) })
			}) {
				return m
			}
		case <-deadline:
			t.Fatalf("the service manager was not told %q", want)
		}
	}
}

var quiet = slog.New(slog.DiscardHandler)

// serving runs Serve with a handler until stop is called.
func serving(t *testing.T, h http.Handler) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, &http.Server{Handler: h, ReadHeaderTimeout: time.Second}, l, quiet, time.Second)
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestTheServiceManagerIsToldOfTheWholeLife(t *testing.T) {
	said := manager(t)
	t.Setenv("WATCHDOG_USEC", "60000") // 60 ms
	var ill, hang atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) {
		if hang.Load() {
			panic("not alive")
		}
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `{"ok":false,"problems":["the disk\nis full","and more"]}`)
		}
	})
	stop := serving(t, mux)
	if m := hear(t, said, "READY=1"); m != "READY=1" {
		t.Errorf("ready: %q", m)
	}
	hear(t, said, "STATUS=all is well", "WATCHDOG=1")
	hear(t, said, "WATCHDOG=1")
	ill.Store(true)
	hear(t, said, "STATUS=the disk is full; and more")
	hang.Store(true)
	ill.Store(false)
	if m := hear(t, said, "STATUS=all is well"); strings.Contains(m, watchdog) {
		t.Errorf("a program that does not answer says that it lives: %q", m)
	}
	stop()
	hear(t, said, "STOPPING=1")
}

func TestNobodyToTellIsNoReasonToStop(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	t.Setenv("WATCHDOG_USEC", "soon")
	serving(t, http.NotFoundHandler())()
}

func TestSIGHUPReloadsAllOrNothingAndNeverEnds(t *testing.T) {
	said := manager(t)
	r := CatchReloads()
	ctx, cancel := context.WithCancel(t.Context())
	outcomes := []error{errors.New("line 3 is wrong"), nil}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.OnReload(ctx, quiet, func(context.Context) ([]string, error) {
			err := outcomes[0]
			outcomes = outcomes[1:]
			return []string{"trust"}, err
		})
	}()
	if p := r.Problems(); p != nil {
		t.Errorf("before any signal: %q", p)
	}
	hup := func() {
		t.Helper()
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Signal(syscall.SIGHUP)
		}
		if err != nil {
			t.Fatal(err)
		}
		m := hear(t, said, "RELOADING=1", "MONOTONIC_USEC=")
		_, usec, _ := strings.Cut(m, "MONOTONIC_USEC=")
		if n, err := strconv.ParseUint(usec, 10, 64); err != nil || n == 0 {
			t.Errorf("%q", m)
		}
		hear(t, said, "READY=1")
	}
	hup()
	if p := r.Problems(); len(p) != 1 || !strings.Contains(p[0], "line 3 is wrong") {
		t.Errorf("after a failure: %q", p)
	}
	hup()
	if p := r.Problems(); p != nil {
		t.Errorf("after a success: %q", p)
	}
	cancel()
	<-done
	if len(outcomes) != 0 {
		t.Errorf("%d outcomes are left", len(outcomes))
	}
}
