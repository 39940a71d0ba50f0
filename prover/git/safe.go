package git

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// safeKnown has the answers of safeDirectories, by the variables that they depend on.
var safeKnown sync.Map

// safeDirectories returns variables that tell git the settings of safe.directory which it would
// find in an environment: those of the system, of the user, and of the environment itself. They
// say which repositories of other users may be read, and no more; what is read is hashed again.
// An old git knows none of it, and reads as it did.
func safeDirectories(env []string) []string {
	seen := slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		return strings.HasPrefix(kv, "GIT_") && !strings.HasPrefix(kv, "GIT_CONFIG")
	})
	key := strings.Join(slices.DeleteFunc(slices.Clone(seen), func(kv string) bool {
		return !strings.HasPrefix(kv, "GIT_CONFIG") && !strings.HasPrefix(kv, "HOME=") &&
			!strings.HasPrefix(kv, "XDG_CONFIG_HOME=")
	}), "\x00")
	if known, ok := safeKnown.Load(key); ok {
		return known.([]string)
	}
	vars := []string{}
	for i, dir := range askSafe(seen) {
		vars = append(vars, fmt.Sprintf("GIT_CONFIG_KEY_%d=safe.directory", i), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, dir))
	}
	if len(vars) > 0 {
		vars = append(vars, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(vars)/2))
	}
	safeKnown.Store(key, vars)
	return vars
}

// askSafe asks git, from a directory in no repository; what a repository says of itself never
// counts.
func askSafe(env []string) (dirs []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "config", "--show-scope", "-z", "--get-all", "safe.directory")
	cmd.Dir, cmd.Env, cmd.WaitDelay = filepath.VolumeName(cmd.Path)+string(filepath.Separator), env, time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil // none is set
	}
	for f := strings.Split(string(out), "\x00"); len(f) >= 2; f = f[2:] {
		if scope := f[0]; scope == "system" || scope == "global" || scope == "command" {
			dirs = append(dirs, f[1])
		}
	}
	return dirs
}
