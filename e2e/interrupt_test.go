package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"cratelog/internal/fixture"
)

// TestAProofIsInterrupted presses Ctrl-C while a proof is made, and runs it again.
func TestAProofIsInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes the proving key, and proves")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "hello-proof-0.1.0.crate")
	write(t, file, string(fixture.Crate(t, "hello-proof", "0.1.0")))
	tmp := filepath.Join(dir, "tmp")
	fatalIf(t, os.Mkdir(tmp, 0o755))
	prove := []string{"prove", file, "--repository", fixture.Repo(t)}

	p := launchIn(t, "", []string{"TMPDIR=" + tmp}, "cargo-zkp", prove...)
	p.waitFor(t, "SHA-1 blocks in 1 segments")
	fatalIf(t, p.cmd.Process.Signal(os.Interrupt))
	<-p.done
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("interrupted, it ends with %v\n%s", p.err, p.log)
	}
	for _, where := range []string{tmp, dir} {
		left, err := os.ReadDir(where)
		fatalIf(t, err)
		for _, f := range left {
			if name := filepath.Join(where, f.Name()); name != tmp && name != file {
				t.Errorf("it left %s", name)
			}
		}
	}
	zkp(t, prove...).want(t, 0, "Finished")
}
