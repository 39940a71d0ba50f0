package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"cratelog/internal/fixture"
)

// throughCargo runs the subcommand as cargo's users do.
func throughCargo(t *testing.T, s *site, files []string) {
	fixture.Need(t, "cargo")
	path := "PATH=" + filepath.Dir(program(t, "cargo-zkp")) + string(os.PathListSeparator) + os.Getenv("PATH")
	run := func(args ...string) outcome {
		t.Helper()
		return command(t, t.TempDir(), []string{path, "CARGO_TERM_COLOR=never"}, "cargo",
			append([]string{"zkp"}, args...)...)
	}
	run(append([]string{"verify", files[0]}, s.flags()...)...).want(t, 0,
		"Finished hello-proof v0.1.0 is the source of commit")
	run(append([]string{"verify", files[1], "--bundle", bundleOf(files[0])}, s.flags()...)...).want(t, 1,
		"another crate")
	run("verify", files[0]).want(t, 2, "no trust file says which logs")
	run(append([]string{"verify", files[0] + ".gone"}, s.flags()...)...).want(t, 3, ".gone")
	o := command(t, t.TempDir(), []string{path}, "cargo", "help", "zkp")
	if o.code != 0 || len(o.stdout) == 0 {
		t.Errorf("cargo help zkp: %v", o)
	}
}
