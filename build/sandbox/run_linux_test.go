package sandbox

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cratelog/internal/durable"
	"cratelog/internal/fixture"
)

// programs are those of the environment of these tests.
var programs = []string{"sh", "tar", "rm", "env", "cat", "ls", "id", "dd", "sleep", "nproc", "df", "uname", "head", "chmod"}

// hostRootfs is a root file system of a few of this machine's own programs and their libraries.
var hostRootfs = sync.OnceValues(func() ([]byte, error) {
	files := make(map[string]string) // path inside: path here
	for _, name := range programs {
		file, err := exec.LookPath(name)
		if err != nil {
			return nil, err
		}
		if err := addProgram(files, "usr/bin/"+name, file); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"bin", "lib", "lib64"} {
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: dir, Linkname: "usr/" + dir})
	}
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/environment-of-the-test", Size: 2, Mode: 0o644})
	io.WriteString(w, "x\n")
	for _, inside := range slices.Sorted(maps.Keys(files)) {
		content, err := durable.Read(files[inside], maxBoot)
		if err != nil {
			return nil, err
		}
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: inside, Size: int64(len(content)), Mode: 0o755})
		w.Write(content)
	}
	err := w.Close()
	return b.Bytes(), err
})

func addProgram(files map[string]string, inside, file string) error {
	if files[inside] != "" {
		return nil
	}
	files[inside] = file
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name, err := io.ReadAll(p.Open())
			if err != nil {
				return err
			}
			loader := strings.TrimSuffix(string(name), "\x00")
			if err := addProgram(files, "usr"+strings.TrimPrefix(loader, "/usr"), loader); err != nil {
				return err
			}
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, lib := range libraries {
		dirs, err := filepath.Glob("/usr/lib/*-linux-*")
		if err != nil {
			return err
		}
		for _, dir := range append(dirs, "/usr/lib64", "/usr/lib") {
			if l, err := elf.Open(filepath.Join(dir, lib)); err == nil {
				l.Close()
				if err := addProgram(files, strings.TrimPrefix(dir, "/")+"/"+lib, filepath.Join(dir, lib)); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// hostEnvironment is that as an environment, on a machine where a sandbox runs.
func hostEnvironment(t *testing.T) *Environment {
	t.Helper()
	fixture.Need(t, append([]string{"bwrap"}, programs...)...)
	rootfs, err := hostRootfs()
	fatalIf(t, err)
	return imported(t, rootfs)
}

// runScript runs a shell inside and returns what it prints.
func runScript(t *testing.T, change func(*Spec), script string) (string, Used, error) {
	t.Helper()
	var out, errs bytes.Buffer
	s := Spec{Environment: hostEnvironment(t), Command: []string{"/bin/sh", "-c", script}, Stdout: &out, Stderr: &errs,
		Limits: Limits{Wall: time.Minute}}
	if change != nil {
		change(&s)
	}
	used, err := Run(t.Context(), s)
	var refused *Refused
	if errors.As(err, &refused) {
		fixture.Skip(t, "this machine runs no sandbox: %v", err)
	}
	if errs.Len() > 0 {
		t.Logf("standard error: %.2000s", errs.String())
	}
	return out.String(), used, err
}

// printed is runScript where nothing goes wrong.
func printed(t *testing.T, change func(*Spec), script string) string {
	t.Helper()
	out, _, err := runScript(t, change, script)
	fatalIf(t, err)
	return out
}

func TestNoPathOfTheHostIsInMountinfo(t *testing.T) {
	out := printed(t, nil, "cat /proc/self/mountinfo")
	mounts := parseMounts([]byte(out))
	if len(mounts) < 8 || len(mounts) != strings.Count(out, "\n") {
		t.Fatalf("%d mounts of\n%s", len(mounts), out)
	}
	for _, m := range mounts {
		device := m.kind == "devtmpfs" && strings.HasPrefix(m.at, "/dev/") && m.root == strings.TrimPrefix(m.at, "/dev")
		parts := m.kind == "proc" && m.at == "/proc"+strings.TrimSuffix(m.root, "/")
		empty := m.root == "/null" && slices.Contains(masked, m.at)
		if !device && !parts && !empty && (m.root != "/" || !slices.Contains([]string{"tmpfs", "devpts"}, m.kind)) {
			t.Errorf("%s of a file system %s is at %s", m.root, m.kind, m.at)
		}
	}
	if root := slices.IndexFunc(mounts, func(m mount) bool { return m.at == "/" }); root < 0 || mounts[root].kind != "tmpfs" {
		t.Error("the root is not in memory")
	}
}

func TestNothingOfTheHostIsVisible(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	fatalIf(t, os.WriteFile(secret, []byte("secret"), 0o644))
	held, err := os.Open(secret)
	fatalIf(t, err)
	defer held.Close()
	// As if this process had inherited it: without close-on-exec.
	_, err = unix.FcntlInt(held.Fd(), unix.F_SETFD, 0)
	fatalIf(t, err)
	t.Setenv("SECRET", "secret")
	out := printed(t, nil, `
for d in net dir env uid caps name etc proc host fds root; do
	echo "== $d"
	case $d in
	net) head -n 9 /proc/net/dev | while read a b; do echo ${a%%:*}; done ;;
	dir) echo /build/* ;;
	uid) id -u; id -g; id -G ;;
	caps) while read k v; do case $k in Cap*|NoNewPrivs:) echo $k $v ;; esac; done < /proc/self/status ;;
	name) uname -n ;;
	etc) echo /etc/* ;;
	proc) echo /proc/[0-9]* ;;
	host) ls `+secret+` `+filepath.Dir(secret)+` /home /work /.boot 2>&1 | while read x; do case $x in *"No such file"*|*"cannot access"*) ;; *) echo $x ;; esac; done ;;
	fds) echo /proc/self/fd/* ;;
	root) echo /* ;;
	esac
done`)
	for section, want := range map[string]string{
		"net":  "Inter-|\nface |bytes\nlo\n",
		"dir":  "/build/home\n",
		"uid":  "1000\n1000\n1000\n",
		"caps": "CapInh: 0000000000000000\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\nCapAmb: 0000000000000000\nNoNewPrivs: 1\n",
		"name": "builder\n",
		"etc":  "/etc/environment-of-the-test\n",
		"proc": "/proc/1 /proc/2\n",
		"host": "",
		"fds":  "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n",
		"root": "/bin /build /dev /etc /lib /lib64 /proc /tmp /usr\n",
	} {
		_, got, ok := strings.Cut(out, "== "+section+"\n")
		got, _, _ = strings.Cut(got, "== ")
		switch section {
		case "net":
			got = strings.ReplaceAll(got, " ", "")
			if !strings.Contains(got, "lo\n") || strings.Count(got, "\n") != 3 {
				t.Errorf("interfaces: %q", got)
			}
			continue
		case "fds": // the shell's own descriptor of the directory may be among them
			if extra := strings.Fields(strings.TrimPrefix(got, "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2")); len(extra) > 1 {
				t.Errorf("descriptors: %q", got)
			}
			continue
		}
		if !ok || got != want {
			t.Errorf("%s: %q, want %q", section, got, want)
		}
	}
}

// TestWhatNamesTheMachineIsEmpty: a build could write the id of the machine's start, or of its disk, into a binary,
// the same in both runs.
func TestWhatNamesTheMachineIsEmpty(t *testing.T) {
	for _, name := range masked[:3] {
		if content, err := os.ReadFile(name); err != nil || len(content) == 0 {
			fixture.Skip(t, "%s has nothing to hide here: %v", name, err)
		}
	}
	if out := printed(t, nil, "cat "+strings.Join(masked[:3], " ")+" && echo read"); out != "read\n" {
		t.Errorf("it prints %q", out)
	}
}

func TestTheEnvironmentIsExactlyTheList(t *testing.T) {
	t.Setenv("CARGO_ENCODED_RUSTFLAGS", "-Clinker=/evil")
	t.Setenv("LD_PRELOAD", "")
	out := printed(t, func(s *Spec) {
		s.Env = map[string]string{"CARGO_HOME": "/build/home", "ODD": "a b'\"$x\n=y"}
		s.Command = []string{"/usr/bin/env", "-0"}
	}, "")
	want := []string{"CARGO_HOME=/build/home", "HOME=/build/home", "LC_ALL=C.UTF-8", "ODD=a b'\"$x\n=y",
		"PATH=/build/rust/bin:/usr/bin:/bin", "SOURCE_DATE_EPOCH=1", "TZ=UTC"}
	got := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFilesOfTheCallerStandWhereTheyShould(t *testing.T) {
	dir, _ := installation(t)
	toolchain, err := ReadToolchain(t.Context(), dir)
	fatalIf(t, err)
	out := printed(t, func(s *Spec) {
		s.Toolchain, s.Dir = toolchain, "/build/src"
		s.Files = func(w *Tree) error {
			return errors.Join(w.File("/build/src/a", 0o600, []byte("content\n")), w.Link("/build/src/l", "a"),
				w.File("/build/src/run", 0o755, []byte("#!/bin/sh\necho ran\n")))
		}
	}, `cat l; ./run; rustc | head -n 1; ls -ln --time-style=+%s . /build/rust/bin; echo new > a; cat a; cat /dev/zero | head -c 3 >> a; ls -s /dev/shm`)
	for _, want := range []string{"content\nran\nrustc 1.2.3\n", "-rw-r--r-- 1 1000 1000  8 1 a\n", "-rwxr-xr-x 1 1000 1000 19 1 run\n",
		"5 1 cargo\n", "new\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not print %q:\n%s", want, out)
		}
	}
}

func TestACommandThatFailsSaysHow(t *testing.T) {
	out, used, err := runScript(t, nil, "echo before; exit 7")
	var failed *Failed
	if !errors.As(err, &failed) || failed.ExitCode != 7 || failed.Killed != "" || out != "before\n" {
		t.Errorf("%v, %q", err, out)
	}
	user := os.Getuid()
	if user == 0 {
		user = RootsUser
	}
	if used.Wall <= 0 || used.User != strconv.Itoa(user) || !slices.Contains([]string{"cgroup v1", "cgroup v2", "rlimits"}, used.Limits) {
		t.Errorf("%+v", used)
	}
	refused(t, err, "exit code 7")
	_, _, err = runScript(t, nil, "kill -9 $$")
	if !errors.As(err, &failed) || failed.ExitCode != 137 {
		t.Errorf("%v", err)
	}
	_, _, err = runScript(t, func(s *Spec) { s.Command = []string{"/usr/bin/nothing"} }, "")
	if !errors.As(err, &failed) || failed.ExitCode != 127 {
		t.Errorf("%v", err)
	}
}

// hogs are programs without end, and what ends them.
var hogs = map[string]struct {
	limits Limits
	script string
	want   string
}{
	"a fork bomb":    {Limits{Processes: 40}, `f() { f | f & }; while :; do f; sleep 0.1; done`, "had more than 40 processes"},
	"a memory hog":   {Limits{Memory: 200 << 20, Disk: 64 << 20}, `x=0123456789012345; while :; do x=$x$x; done`, "used more than 200 MiB of memory"},
	"a disk filler":  {Limits{Disk: 64 << 20}, `cat /dev/zero > /tmp/x; sleep 600`, "filled its 64 MiB of disk"},
	"a quick filler": {Limits{Disk: 64 << 20}, `cat /dev/zero > /tmp/x; exit 1`, "filled its 64 MiB of disk"},
	"a sleeper":      {Limits{Wall: 2 * time.Second}, `sleep 600 & sleep 600`, "took longer than 2s"},
}

func TestEachLimitEndsWhatPassesIt(t *testing.T) {
	for _, cgroups := range []bool{true, false} {
		testingOnlyNoCgroup = !cgroups
		t.Cleanup(func() { testingOnlyNoCgroup = false })
		for what, hog := range hogs {
			t.Run(fmt.Sprintf("%s, cgroups %v", what, cgroups), func(t *testing.T) {
				mark := fmt.Sprintf("hog-%d-%d", os.Getpid(), time.Now().UnixNano())
				_, used, err := runScript(t, func(s *Spec) {
					s.Limits = hog.limits
					if s.Limits.Wall == 0 {
						s.Limits.Wall = 2 * time.Minute
					}
					s.Command = append(s.Command, mark)
				}, hog.script)
				var failed *Failed
				if !errors.As(err, &failed) || failed.Killed != hog.want {
					t.Errorf("%v after %v under %s, want %q", err, used.Wall, used.Limits, hog.want)
				}
				if !cgroups && used.Limits != "rlimits" {
					t.Errorf("limits by %s", used.Limits)
				}
				noneLeft(t, mark)
			})
		}
	}
}

// noneLeft looks for a process with a mark in its command line.
func noneLeft(t *testing.T, mark string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	fatalIf(t, err)
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(mark)) {
			t.Errorf("%s is left: %q", file, line)
		}
	}
}

func TestACommandLeavesNothingRunning(t *testing.T) {
	mark := fmt.Sprintf("left-%d", time.Now().UnixNano())
	start := time.Now()
	printed(t, func(s *Spec) { s.Command = append(s.Command, mark) }, `(trap "" TERM HUP; sh -c 'sleep 600; :' `+mark+` &) ; echo gone`)
	noneLeft(t, mark)
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

func TestTheEndOfTheContextEndsAll(t *testing.T) {
	mark := fmt.Sprintf("ctx-%d", time.Now().UnixNano())
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	var once sync.Once
	s := Spec{Environment: hostEnvironment(t), Command: []string{"/bin/sh", "-c", "echo started; sleep 600", mark},
		Stdout: writer(func(p []byte) (int, error) { once.Do(func() { close(started) }); return len(p), nil })}
	done := make(chan error)
	go func() {
		_, err := Run(ctx, s)
		done <- err
	}()
	select {
	case <-started:
	case err := <-done:
		var refused *Refused
		if errors.As(err, &refused) {
			fixture.Skip(t, "this machine runs no sandbox: %v", err)
		}
		t.Fatalf("it ended: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	noneLeft(t, mark)
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestAReaderThatHasEnoughEndsTheCommand(t *testing.T) {
	full := errors.New("that is enough")
	_, _, err := runScript(t, func(s *Spec) {
		s.Stdout = writer(func(p []byte) (int, error) { return 0, full })
	}, "while :; do echo more; done")
	if !errors.Is(err, full) {
		t.Errorf("it ended with %v", err)
	}
}

func TestACommandDoesNotBeginUnlessAllIsInside(t *testing.T) {
	broken := errors.New("the lock file is missing")
	mark := fmt.Sprintf("early-%d", time.Now().UnixNano())
	for range 5 { // it is killed at another moment of its youth each time
		out, _, err := runScript(t, func(s *Spec) { s.Files = func(*Tree) error { return broken } }, "echo began "+mark)
		if !errors.Is(err, broken) || out != "" {
			t.Errorf("%v, %q", err, out)
		}
	}
	time.Sleep(100 * time.Millisecond) // what is killed is gone a little later
	noneLeft(t, mark)
	out, _, err := runScript(t, func(s *Spec) {
		file := filepath.Join(s.Environment.Dir, environmentArchive)
		archive, err := os.ReadFile(file)
		fatalIf(t, err)
		fatalIf(t, os.WriteFile(file, bytes.Replace(archive, []byte("x\n"), []byte("y\n"), 1), 0o644))
	}, "echo began")
	refused(t, err, "is not the file that the id names")
	if out != "" {
		t.Errorf("it printed %q", out)
	}
}

func TestOneCPUAndAnotherUser(t *testing.T) {
	if got := printed(t, func(s *Spec) { s.OneCPU = true }, "nproc"); got != "1\n" {
		t.Errorf("nproc prints %q", got)
	}
	var one unix.CPUSet
	fatalIf(t, unix.SchedGetaffinity(0, &one))
	if want := strconv.Itoa(one.Count()) + "\n"; printed(t, nil, "nproc") != want {
		t.Errorf("and then it does not print %q", want)
	}
	out, used, err := runScript(t, func(s *Spec) { s.User = 65534 }, "id -u; cat /proc/self/uid_map")
	if os.Getuid() != 0 {
		refused(t, err, "only root")
		return
	}
	fatalIf(t, err)
	if f := strings.Fields(out); used.User != "65534" || len(f) != 4 || f[0] != "1000" || f[1] != "1000" {
		t.Errorf("%+v: %q", used, out)
	}
}

// Whom the host takes for root may write kernel settings without any capability, one of which names
// a program that the kernel runs as root.
func TestTheHostsRootIsNotInside(t *testing.T) {
	before, err := os.Stat("/dev/null")
	fatalIf(t, err)
	out := printed(t, nil, `for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sysrq-trigger /proc/sys/vm/drop_caches; do
	(: >> $f) 2>/dev/null && echo opened $f
done
chmod 666 /dev/null 2>/dev/null && echo changed a device
echo x > /dev/null && echo written`)
	after, err := os.Stat("/dev/null")
	fatalIf(t, err)
	if out != "written\n" || after.Mode() != before.Mode() {
		t.Errorf("it prints\n%s", out)
	}
	for _, user := range []int{0, 64321} {
		if user != 0 && os.Getuid() != 0 {
			continue
		}
		mark := fmt.Sprintf("user-%d", time.Now().UnixNano())
		var seen []string
		enough := errors.New("seen")
		_, used, err := runScript(t, func(s *Spec) {
			s.User, s.Command = user, append(s.Command, mark)
			s.Stdout = writer(func([]byte) (int, error) { seen = usersOf(t, mark+"\x00"); return 0, enough })
		}, "echo started; sleep 600")
		if !errors.Is(err, enough) || len(seen) == 0 || slices.Contains(seen, "0") || slices.ContainsFunc(seen, func(u string) bool { return u != used.User }) {
			t.Errorf("as %d: %v; its processes are of the users %q, and it says %q", user, err, seen, used.User)
		}
	}
}

// usersOf returns the host's numbers of the users of the processes inside whose arguments end in a mark.
func usersOf(t *testing.T, mark string) (users []string) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Error(err)
	}
	for _, file := range files {
		if line, err := os.ReadFile(file); err != nil || !bytes.HasSuffix(line, []byte(mark)) {
			continue
		}
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "Uid:" {
				users = append(users, f[1:]...)
			}
		}
	}
	return users
}

func TestASpecThatNobodyCanRunIsRefused(t *testing.T) {
	e := imported(t, plainRootfs().tar(t))
	ok := []string{"/bin/true"}
	for what, s := range map[string]Spec{
		"no environment":      {Command: ok},
		"no command":          {Environment: e},
		"a relative command":  {Environment: e, Command: []string{"sh"}},
		"an assignment":       {Environment: e, Command: []string{"/a=b"}},
		"a NUL":               {Environment: e, Command: []string{"/bin/sh", "a\x00"}},
		"a relative place":    {Environment: e, Command: ok, Dir: "build"},
		"a fixed variable":    {Environment: e, Command: ok, Env: map[string]string{"PATH": "/evil"}},
		"an option of env":    {Environment: e, Command: ok, Env: map[string]string{"-u": "x"}},
		"a negative limit":    {Environment: e, Command: ok, Limits: Limits{Disk: -1}},
		"a negative user":     {Environment: e, Command: ok, User: -1},
		"a root without tar":  {Environment: e, Command: ok},
		"a NUL in a variable": {Environment: e, Command: ok, Env: map[string]string{"A": "\x00"}},
	} {
		if _, err := Run(t.Context(), s); err == nil {
			t.Errorf("%s runs", what)
		}
	}
}

// What bubblewrap says where it may not, and what we say then.
func TestARefusalSaysWhatToDo(t *testing.T) {
	for says, want := range map[string][]string{
		"bwrap: setting up uid map: Permission denied":                 {"/etc/apparmor.d/bwrap", "userns,", "kernel.apparmor_restrict_unprivileged_userns=0", "Root needs this too"},
		"bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted": {"AppArmor"},
		"bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user namespaces. " +
			"On e.g. debian this can be enabled with 'sysctl kernel.unprivileged_userns_clone=1'.": {"kernel.unprivileged_userns_clone=1", "root needs too", "seccomp=unconfined"},
		"bwrap: No permissions to creating new namespace, likely because":   {"seccomp=unconfined"},
		"bwrap: Creating new namespace failed: No space left on device":     {"user.max_user_namespaces"},
		"bwrap: Can't mount proc on /newroot/proc: Operation not permitted": {"systempaths=unconfined"},
		"bwrap: something else": {"virtual machine"},
	} {
		err := refusal(says+"\n", errors.New("exit status 1"))
		var r *Refused
		if !errors.As(err, &r) {
			t.Errorf("%q is no refusal: %v", says, err)
			continue
		}
		for _, w := range append(want, says) {
			refused(t, err, w)
		}
	}
	var r *Refused
	if err := refusal("tar: short read", errors.New("exit status 2")); errors.As(err, &r) || !strings.Contains(err.Error(), "tar: short read") {
		t.Errorf("%v", err)
	}
}

func TestWithoutBubblewrapItSaysSo(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	e := imported(t, plainRootfs().tar(t))
	run := func() error {
		_, err := Run(t.Context(), Spec{Environment: e, Command: []string{"/bin/sh"}})
		return err
	}
	var r *Refused
	if err := run(); !errors.As(err, &r) || !strings.Contains(err.Error(), "apt-get install bubblewrap") {
		t.Errorf("%v", err)
	}
	bwrap := filepath.Join(dir, "bwrap")
	fatalIf(t, os.WriteFile(bwrap, []byte("#!/bin/sh\necho bubblewrap 0.6.1\n"), 0o755))
	if err := run(); !errors.As(err, &r) || !strings.Contains(err.Error(), "is 0.6: install") {
		t.Errorf("%v", err)
	}
	fatalIf(t, os.WriteFile(bwrap, []byte("#!/bin/sh\necho what\n"), 0o755))
	refused(t, run(), "no version")
}

// The groups of a process are found below where their hierarchy is mounted, in containers too.
func TestTheCgroupOfAProcessIsFound(t *testing.T) {
	const mountinfo = `30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
31 24 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
32 24 0:28 / /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct
33 24 0:29 / /with\040space rw - cgroup cgroup rw,pids
garbage
`
	own := "5:memory:/docker/abc/job\n4:cpu,cpuacct:/x/../../y\n3:pids:/\n0::/user.slice/a\n"
	mounts := parseMounts([]byte(mountinfo))
	for _, c := range []struct{ kind, controller, want string }{
		{"cgroup2", "", "/sys/fs/cgroup/user.slice/a"},
		{"cgroup", "memory", "/sys/fs/cgroup/memory/job"},
		{"cgroup", "cpu", ""},
		{"cgroup", "pids", ""},
	} {
		if _, at := cgroupPlace(mounts, own, c.kind, c.controller); at != c.want {
			t.Errorf("%s %s: %q, want %q", c.kind, c.controller, at, c.want)
		}
	}
}

// Version 2 wants a group above this process that hands both controllers down and may be written.
func TestACgroupOfVersion2IsMadeWhereBothControllersAre(t *testing.T) {
	top := t.TempDir()
	at := filepath.Join(top, "a/b/c")
	fatalIf(t, os.MkdirAll(at, 0o755))
	for dir, controllers := range map[string]string{"a/b/c": "", "a/b": "cpu memory\n", "a": "cpu memory pids\n", "": "memory pids\n"} {
		fatalIf(t, os.WriteFile(filepath.Join(top, dir, "cgroup.subtree_control"), []byte(controllers), 0o644))
	}
	mounts := []mount{{root: "/", at: top, kind: "cgroup2"}}
	limits := Limits{Memory: 1 << 30, Processes: 7}
	// What a killed process left goes; what belongs to a living one, or to others, stays.
	dead := exec.Command("true")
	fatalIf(t, dead.Run())
	left := fmt.Sprintf("%s%d-1", groupName, dead.Process.Pid)
	ours := fmt.Sprintf("%s%d-1", groupName, os.Getpid())
	for _, name := range []string{left, ours, "cratelog-x-1", "other"} {
		fatalIf(t, os.Mkdir(filepath.Join(top, "a", name), 0o755))
	}
	g := newCgroup2(mounts, "1:memory:/x\n0::/a/b/c\n", "job", limits)
	if g == nil {
		t.Fatal("there is none")
	}
	defer g.dir.Close()
	if g.memory != filepath.Join(top, "a", "job") || g.version != "cgroup v2" {
		t.Errorf("it is %s at %s", g.version, g.memory)
	}
	for file, want := range map[string]string{"memory.max": "1073741824", "pids.max": strconv.Itoa(7 + bwrapProcesses), "memory.oom.group": "1", "memory.swap.max": "0"} {
		if got, err := os.ReadFile(filepath.Join(g.memory, file)); err != nil || string(got) != want {
			t.Errorf("%s is %q (%v), want %s", file, got, err, want)
		}
	}
	event := func(file, text string) { fatalIf(t, os.WriteFile(filepath.Join(g.memory, file), []byte(text), 0o644)) }
	event("memory.events", "low 0\noom 1\noom_kill 0\n")
	event("pids.events", "max 0\n")
	if why := g.passed(limits); why != "" {
		t.Errorf("it %s", why)
	}
	event("pids.events", "max 3\n")
	if why := g.passed(limits); why != "had more than 7 processes" {
		t.Errorf("it %s", why)
	}
	event("memory.events", "low 0\noom 1\noom_kill 1\n")
	if why := g.passed(limits); why != "used more than 1024 MiB of memory" {
		t.Errorf("it %s", why)
	}
	for name, stays := range map[string]bool{left: false, ours: true, "cratelog-x-1": true, "other": true} {
		if _, err := os.Stat(filepath.Join(top, "a", name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
	if none := newCgroup2(mounts, "1:memory:/x\n", "job2", limits); none != nil {
		t.Errorf("where this process has no group it is at %s", none.memory)
	}
}

func TestWhatAnEnvironmentLacksIsNamed(t *testing.T) {
	rootfs, err := hostRootfs()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		fixture.Skip(t, "%v", err)
	}
	fatalIf(t, err)
	if boot, err := imported(t, rootfs).files.bootFiles(); err != nil || boot.files["sh"] == nil || boot.files["tar"] == nil {
		t.Fatalf("%v", err)
	}
	for lack, want := range map[string]string{
		"usr/bin/tar": "no /bin/tar", "usr/bin/sh": "no /bin/sh", "usr/bin/rm": "no /bin/rm", "usr/bin/env": "no /usr/bin/env",
		"libc.so": "there is no library libc.so", "ld-": "loader",
	} {
		e := imported(t, rootfs)
		e.files.items = slices.DeleteFunc(e.files.items, func(it item) bool {
			return it.path == lack || strings.HasPrefix(filepath.Base(it.path), lack)
		})
		_, err := e.files.bootFiles()
		refused(t, err, want)
	}
}
