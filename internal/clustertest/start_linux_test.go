package clustertest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestNothingOutlivesATest: what a test has started ends when the test's process is killed.
func TestNothingOutlivesATest(t *testing.T) {
	if file := os.Getenv("CLUSTERTEST_CHILD"); file != "" {
		p := NewProgram("sleep", func() *exec.Cmd { return exec.Command("sleep", "600") }, nil)
		fatalIf(t, p.Launch())
		fatalIf(t, os.WriteFile(file+".new", fmt.Append(nil, p.PID()), 0o600))
		fatalIf(t, os.Rename(file+".new", file))
		select {}
	}
	file := filepath.Join(t.TempDir(), "pid")
	parent := NewProgram("a test", func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNothingOutlivesATest$")
		cmd.Env = append(os.Environ(), "CLUSTERTEST_CHILD="+file)
		return cmd
	}, func(context.Context) error { _, err := os.Stat(file); return err })
	fatalIf(t, parent.Start(t.Context()))
	fatalIf(t, parent.Kill())
	pid, err := os.ReadFile(file)
	fatalIf(t, err)
	for range 1000 {
		if b, err := os.ReadFile("/proc/" + string(pid) + "/stat"); err != nil || bytes.Contains(b, []byte(") Z ")) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the process %s still runs", pid)
}
