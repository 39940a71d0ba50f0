// Package sandbox runs a compiler where nothing but the files that an id names can be seen, so
// that everybody who builds the same thing under the same ids builds it from the same bytes.
//
// # What stands inside
//
// A Toolchain is exactly the files that rustup's component manifests of rustc, cargo and rust-std
// list; an Environment is the files of a small distribution: shell, C compiler, C library. Each has
// an id, which is a digest of a listing, never of one tool's archive. The listing of a toolchain is
//
//	"cratelog/toolchain/v1\n" and, for each file, MODE " " SHA256 " " PATH "\n"
//
// and that of an environment
//
//	"cratelog/environment/v1\n" and a line for each file, directory and symbolic link:
//	"dir\t755\t\tPATH\n", "file\tMODE\tSHA256\tPATH\n" or "link\t777\tTARGET\tPATH\n"
//
// with paths relative to the root, sorted bytewise, SHA256 in lower case hex, and MODE 755 for what
// its owner may execute and 644 for all else. Owners, times, and the bits for setuid, setgid and
// sticky directories count for nothing: inside, everything is the builder's. What stands below /dev,
// /proc and /sys is left out, since the sandbox has its own; devices and pipes elsewhere, names with
// control characters and anything at /build are refused.
//
// Run copies both into memory (tmpfs), through a pipe, and hashes each file on the way: what changed
// since the id was computed never runs. No directory of the host is bound, so its paths are not in
// /proc/self/mountinfo. The toolchain is at /build/rust, what the caller adds elsewhere below /build.
//
// # What it does not promise
//
// A build script or a procedural macro is hostile code. It can change everything inside, the
// compiler's copy too: it is one of the crates that were compiled, and the next run has a fresh
// copy. It sees the kernel's version, the CPU and the size of the memory (/proc/self/mountinfo has it
// too, beside the devices of /dev). It can use all holes of the kernel: whoever builds for others does
// it in a virtual machine that is thrown away. To root a kernel without user namespaces for others is
// of no use: commands never run as the host's root, see RootsUser.
//
// Linux and bubblewrap 0.8 are needed to Run; ids are computed anywhere.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
	"time"
)

// Spec says what runs.
type Spec struct {
	Toolchain   *Toolchain // nil: none
	Environment *Environment

	// Files writes what else stands inside. Nil: nothing.
	Files func(w *Tree) error

	// Command is a program, by its absolute path inside, and its arguments. Its environment is
	// Env and what Environ says, its directory Dir ("": /build), its standard input empty.
	Command []string
	Env     map[string]string
	Dir     string

	OneCPU bool // it may run on one CPU only
	User   int  // run as this user of the host, which only root can; 0: as who calls, or, for root, as RootsUser
	Limits Limits

	// Stdout and Stderr take what the command prints. When one fails, the command is ended. Nil:
	// it is thrown away.
	Stdout, Stderr io.Writer
}

// Limits bound a command. A field that is 0 has its default.
type Limits struct {
	// Memory is in bytes, of processes and files together. Where no cgroup counts it, it is what each
	// process has for itself, added up by a watchdog; what they share is bounded only in that 256 MiB
	// are left to the machine. Default: three quarters of the machine's, at most 8 GiB.
	Memory int64

	Disk      int64         // bytes of all files inside, also of the ids; default: three quarters of Memory
	Processes int           // at one time, threads too; default 1024
	Wall      time.Duration // with the time to copy what stands inside; default 1 h
}

// Used says how a command was run.
type Used struct {
	Limits string // what enforced them: "cgroup v2", "cgroup v1" or "rlimits"
	User   string // the host's number of the user that it ran as
	Wall   time.Duration
}

// Refused says that this machine cannot run a sandbox, and what to do about it.
type Refused struct {
	Why    string // a sentence with the remedy
	Output string // what bubblewrap said, or ""
}

func (r *Refused) Error() string {
	if r.Output == "" {
		return r.Why
	}
	return r.Why + "\nbubblewrap says: " + r.Output
}

// Failed says that a command ran, and failed.
type Failed struct {
	ExitCode int    // its exit code; 128 and the signal's number if a signal ended it
	Killed   string // the limit that ended it, as in "took longer than 1h0m0s", or ""
}

func (f *Failed) Error() string {
	if f.Killed != "" {
		return "the command " + f.Killed + ", and was ended"
	}
	return fmt.Sprintf("the command failed with exit code %d", f.ExitCode)
}

// RootsUser is the host's user as whom root runs commands: high enough to be nobody's. Root itself
// would be root for files that ask for no capability, such as /proc/sys/kernel/core_pattern, inside
// as well.
const RootsUser = 64998

// Environ is the environment that each command has, beside Spec.Env, which cannot change it.
func Environ() map[string]string {
	return map[string]string{
		"HOME":              "/build/home",
		"PATH":              "/build/rust/bin:/usr/bin:/bin",
		"TZ":                "UTC",
		"LC_ALL":            "C.UTF-8",
		"SOURCE_DATE_EPOCH": "1",
	}
}

// Run runs a command and returns once no process of it is left. Files and Stdout may have been
// used when it fails. What a Failed command printed has arrived. It fails with a *Refused where
// the machine cannot run it, and with a *Failed if the command does. When ctx ends, so does it.
func Run(ctx context.Context, s Spec) (Used, error) {
	if err := s.check(); err != nil {
		return Used{}, err
	}
	return run(ctx, s)
}

// NotLinux is what Refused says on other systems.
const NotLinux = `a sandbox needs Linux: on this system run cargo zkp in a Linux virtual machine, or in a container:
  ` + Container

// Container is a command line for a container engine with docker's options. The image must have
// cargo zkp, rustup's toolchain, bubblewrap and mmdebstrap.
const Container = `docker run --rm -it --security-opt seccomp=unconfined --security-opt apparmor=unconfined ` +
	`--security-opt systempaths=unconfined -v "$PWD:/work" -w /work IMAGE cargo zkp rebuild NAME@VERSION`

// check refuses what nobody can run.
func (s *Spec) check() error {
	switch {
	case s.Environment == nil:
		return errors.New("a sandbox needs an environment: cargo zkp environment make makes one")
	case len(s.Command) == 0 || !path.IsAbs(s.Command[0]) || strings.Contains(s.Command[0], "="):
		return fmt.Errorf("a sandbox runs a program by its absolute path inside, without =, and not %q", s.Command)
	case s.Dir != "" && !path.IsAbs(s.Dir):
		return fmt.Errorf("%q is not an absolute directory inside", s.Dir)
	case s.User < 0:
		return fmt.Errorf("%d is not the number of a user", s.User)
	}
	l := s.Limits
	if l.Memory < 0 || l.Disk < 0 || l.Processes < 0 || l.Wall < 0 {
		return fmt.Errorf("a limit is negative: %+v", l)
	}
	fixed := Environ()
	for k, v := range s.Env {
		if _, ok := fixed[k]; ok || !envName.MatchString(k) || strings.ContainsRune(v, 0) {
			return fmt.Errorf("a sandbox does not set %q to %q: that name is its own, or the text is no variable", k, v)
		}
	}
	for _, arg := range s.Command {
		if strings.ContainsRune(arg, 0) {
			return fmt.Errorf("an argument of %s holds a NUL", s.Command[0])
		}
	}
	return nil
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
