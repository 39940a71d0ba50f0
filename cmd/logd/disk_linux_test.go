package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/client"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// TestAFullOrReadOnlyDiskPasses: a real file system under the tree, in a mount namespace of the server's own,
// is filled, emptied, made read-only, and writable again. The server says so, hands out what it has, and goes on by
// itself. A start on such a disk ends with a sentence.
func TestAFullOrReadOnlyDiskPasses(t *testing.T) {
	fixture.Need(t, "unshare", "nsenter", "mount")
	s := newSite(t, "checkpoint_interval = \"100ms\"\n")
	tree := filepath.Join(s.dir, "tree")
	fatalIf(t, os.Mkdir(tree, 0o755))
	s.wrap = []string{"unshare", "-r", "-m", "sh", "-c", `mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"`, tree}
	p := s.start("logd-testproofs")
	bundle := testlog.Must(submit(t.Context(), p.url, newItem("before")))
	s.bundleIndex(bundle, newItem("before").entry)

	inside := filepath.Join(fmt.Sprintf("/proc/%d/root", p.cmd.Process.Pid), tree)
	full := func() (undo func()) {
		name := filepath.Join(inside, "fill")
		f := testlog.Must(os.Create(name))
		for block := make([]byte, 4096); ; {
			if _, err := f.Write(block); err != nil {
				break
			}
		}
		f.Close()
		return func() { fatalIf(t, os.Remove(name)) }
	}
	mode := func(mode string) {
		out, err := exec.Command("nsenter", "--preserve-credentials", "-U", "-m", "-t", fmt.Sprint(p.cmd.Process.Pid),
			"mount", "-o", "remount,size=2m,"+mode, tree).CombinedOutput()
		if err != nil {
			t.Fatalf("remount: %v %s", err, out)
		}
	}
	readOnly := func() (undo func()) {
		mode("ro")
		return func() { mode("rw") }
	}
	for i, fault := range []struct {
		begin func() (undo func())
		words string // of /healthz
	}{{full, "storage: the latest entry could not be written to the tree"},
		{readOnly, "storage: the latest entry could not be written to the tree: the tree cannot be written: "}} {
		it := newItem(fmt.Sprintf("c%d", i))
		undo := fault.begin()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		_, err := submit(ctx, p.url, it)
		cancel()
		var refused *client.SubmitError
		if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || refused.Reason != "storage-failed" ||
			refused.RetryAfter == 0 {
			t.Errorf("fault %d: %v", i, err)
		}
		if problems, code := p.problems(); code != http.StatusServiceUnavailable ||
			!strings.Contains(strings.Join(problems, "\n"), fault.words) {
			t.Errorf("fault %d: health %d %q", i, code, problems)
		}
		resp := testlog.Must(http.Get(p.url + "/readyz"))
		if text := string(testlog.Must(io.ReadAll(resp.Body))); resp.StatusCode != http.StatusServiceUnavailable ||
			!strings.Contains(text, "storage: ") {
			t.Errorf("fault %d: /readyz says %d %s", i, resp.StatusCode, text)
		}
		resp.Body.Close()
		testlog.Must((&client.Log{URL: p.url}).Bundle(t.Context(), client.Query{Name: "before", Version: "1.0.0"}))
		undo()
		well := false
		for range 600 {
			_, code := p.problems()
			if well = code == http.StatusOK; well {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if !well {
			t.Errorf("fault %d: it is not well by itself", i)
		}
		s.bundleIndex(testlog.Must(submit(t.Context(), p.url, it)), it.entry)
	}
	if n := len(s.readEntries(p.url)); n != 3 {
		t.Errorf("the log has %d entries, want 3", n)
	}
	p.stop()
	if text := p.out.String(); strings.Contains(text, "panic") || strings.Contains(text, "goroutine") {
		t.Errorf("it panicked:\n%s", text)
	}

	fatalIf(t, os.RemoveAll(filepath.Join(s.dir, "state")))
	s.wrap[5] = `mount -t tmpfs tmpfs "$0" && mkdir "$0/.state" && mount -o remount,ro "$0" && exec "$@"`
	p, err := s.tryStart("logd-testproofs")
	if err == nil || !strings.Contains(err.Error(), "exit status 3") ||
		!strings.Contains(p.out.String(), "read-only file system") || strings.Contains(p.out.String(), "goroutine") {
		t.Errorf("a start on a read-only disk: %v", err)
	}
}
