package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// script runs inside before the command does, with the environment's shell: it unpacks what comes
// through standard input, tells that through descriptor 3, and becomes the command. Its arguments
// are a directory and those of env -i. Descriptors 4 and 5 become the command's output.
const script = `set -e
umask 022
%s -x -p -f - -C /
exec 0</dev/null
/bin/rm -rf /` + bootDir + `
ulimit -c 0
%s
echo unpacked >&3
exec 3>&-
cd "$1"
shift
exec /usr/bin/env -i "$@" >&4 2>&5 4>&- 5>&-`

// How the descriptors of the child are numbered.
const (
	readyFD  = 3
	statusFD = 6
	bootFD   = 7 // and up
)

const (
	maxDiagnosis = 16 << 10        // bytes of what bubblewrap and tar say
	maxChild     = 64 << 10        // bytes of what bubblewrap says of its child
	endTime      = 5 * time.Second // in which what was killed is gone
	tick         = 50 * time.Millisecond
)

// masked are files of the kernel that tell one machine from all others and that no build needs: they are empty
// inside. The time of its start is told by others too.
var masked = []string{"/proc/cmdline", "/proc/sys/kernel/random/boot_id", "/proc/partitions", "/proc/diskstats",
	"/proc/bus/pci/devices"}

// box is one run. Its fields are set before it starts, but for those behind mu.
type box struct {
	spec   Spec
	limits Limits
	cmd    *exec.Cmd
	group  *cgroup // nil: rlimits and the watchdog

	stdin, ready, status   pipe
	stdout, stderr, output pipe // of the command, and what bubblewrap says
	closeAfterStart        []io.Closer

	mu     sync.Mutex
	child  int    // pidfd of the sandbox's first process, or -1
	pid    int    // of it
	failed error  // what went wrong here, the first
	killed string // which limit was passed, the first
	ended  bool

	unpacked chan struct{} // closed when the command begins
}

type pipe struct{ r, w *os.File }

func run(ctx context.Context, s Spec) (Used, error) {
	bwrap, err := findBubblewrap(ctx)
	if err != nil {
		return Used{}, err
	}
	boot, err := s.Environment.files.bootFiles()
	if err != nil {
		return Used{}, fmt.Errorf("the environment at %s cannot be used: %w", s.Environment.Dir, err)
	}
	b := &box{spec: s, limits: s.Limits.orDefault(), child: -1, unpacked: make(chan struct{})}
	used := Used{Limits: "rlimits"}
	switch root := os.Geteuid() == 0; {
	case root && s.User == 0:
		b.spec.User = RootsUser
	case !root && s.User != 0 && s.User != os.Geteuid():
		return used, errors.New("only root can run a sandbox as another user")
	case !root:
		b.spec.User = os.Geteuid()
	}
	used.User = strconv.Itoa(b.spec.User)
	if b.group = newCgroup(b.limits); b.group != nil {
		used.Limits = b.group.version
		defer b.group.remove()
	}
	defer b.close()
	if err := b.prepare(bwrap, boot); err != nil {
		return used, err
	}
	used.Wall, err = b.run(ctx)
	return used, err
}

// prepare makes the command line and the pipes.
func (b *box) prepare(bwrap string, boot *boot) error {
	for _, p := range []*pipe{&b.stdin, &b.ready, &b.status, &b.stdout, &b.stderr, &b.output} {
		var err error
		if p.r, p.w, err = os.Pipe(); err != nil {
			return err
		}
	}
	// Larger than the default, which costs thousands of turns of both sides; it is only faster.
	if c, err := b.stdin.w.SyscallConn(); err == nil {
		c.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
	}
	b.closeAfterStart = []io.Closer{b.stdin.r, b.ready.w, b.status.w, b.stdout.w, b.stderr.w, b.output.w}
	args := []string{
		"--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
		"--clearenv", "--cap-drop", "ALL", "--uid", "1000", "--gid", "1000", "--hostname", "builder",
		"--json-status-fd", strconv.Itoa(statusFD),
		"--size", strconv.FormatInt(b.limits.Disk, 10), "--tmpfs", "/",
		"--proc", "/proc", "--dev", "/dev", "--size", strconv.Itoa(64 << 20), "--tmpfs", "/dev/shm",
		"--remount-ro", "/dev",
	}
	for _, name := range masked {
		if _, err := os.Stat(name); err == nil {
			args = append(args, "--dev-bind", "/dev/null", name)
		}
	}
	extra := []*os.File{b.ready.w, b.stdout.w, b.stderr.w, b.status.w}
	for i, name := range slices.Sorted(maps.Keys(boot.files)) {
		f, err := memoryFile(name, boot.files[name])
		if err != nil {
			return err
		}
		extra = append(extra, f)
		b.closeAfterStart = append(b.closeAfterStart, f)
		args = append(args, "--perms", "0755", "--file", strconv.Itoa(bootFD+i), path.Join("/", bootDir, name))
	}
	start := func(program string) []string {
		if boot.loader == "" {
			return []string{path.Join("/", bootDir, program)}
		}
		return []string{path.Join("/", bootDir, boot.loader), "--library-path", "/" + bootDir,
			path.Join("/", bootDir, program)}
	}
	args = append(args, "--chdir", "/", "--")
	args = append(args, start("sh")...)
	args = append(args, "-c", fmt.Sprintf(script, strings.Join(start("tar"), " "), b.ulimits()), "sh")
	args = append(args, b.command()...)
	b.cmd = exec.Command(bwrap, args...)
	b.cmd.Dir, b.cmd.Env = "/", []string{}
	b.cmd.Stdin, b.cmd.Stdout, b.cmd.Stderr, b.cmd.ExtraFiles = b.stdin.r, b.output.w, b.output.w, extra
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal is ours to handle
	if os.Geteuid() == 0 {
		b.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(b.spec.User), Gid: uint32(b.spec.User)}
	}
	if b.group != nil {
		b.group.attach(b.cmd.SysProcAttr)
	}
	return nil
}

// command returns the arguments of script.
func (b *box) command() []string {
	env := Environ()
	maps.Copy(env, b.spec.Env)
	dir := b.spec.Dir
	if dir == "" {
		dir = "/build"
	}
	args := []string{dir}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		args = append(args, name+"="+env[name])
	}
	return append(args, b.spec.Command...)
}

// ulimits are the limits that a shell sets, where no cgroup does.
func (b *box) ulimits() string {
	if b.group != nil {
		return ":"
	}
	// The watchdog counts; these only keep what runs from being faster. Shells disagree about the
	// letter for processes.
	memory, processes := (b.limits.Memory+1<<30)>>10, b.limits.Processes+4096
	return fmt.Sprintf("ulimit -d %d\nulimit -p %d 2>/dev/null || ulimit -u %d", memory, processes, processes)
}

func memoryFile(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(content)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (b *box) close() {
	for _, p := range []pipe{b.stdin, b.ready, b.status, b.stdout, b.stderr, b.output} {
		p.r.Close()
		p.w.Close()
	}
	for _, f := range b.closeAfterStart {
		f.Close()
	}
	if b.child >= 0 {
		unix.Close(b.child)
	}
}

// run starts the sandbox, feeds and watches it, and waits until nothing of it is left.
func (b *box) run(ctx context.Context) (time.Duration, error) {
	done := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		// The kernel tells bubblewrap that its parent died when this thread ends; CPU and
		// (version 1) cgroups are a thread's too. It is never used again.
		runtime.LockOSThread()
		started <- b.start()
		done <- b.cmd.Wait()
	}()
	if err := <-started; err != nil {
		return 0, fmt.Errorf("bubblewrap did not start: %w", err)
	}
	for _, f := range b.closeAfterStart {
		f.Close()
	}
	begin := time.Now()
	var all, feeders sync.WaitGroup
	diagnosis := &tail{}
	all.Go(func() { b.drain(b.stdout.r, b.spec.Stdout) })
	all.Go(func() { b.drain(b.stderr.r, b.spec.Stderr) })
	all.Go(func() { io.Copy(diagnosis, b.output.r) })
	all.Go(func() { b.readStatus() })
	all.Go(func() {
		if text, _ := io.ReadAll(io.LimitReader(b.ready.r, 64)); string(text) == "unpacked\n" {
			begin = time.Now()
			close(b.unpacked)
		}
	})
	feeders.Go(func() { b.feed(ctx) })
	over := make(chan struct{})
	feeders.Go(func() { b.watch(ctx, over) })
	exit := <-done
	close(over)
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
	// What the dead held open is closed now. If something lives on, it does not hold us up.
	for _, r := range []*os.File{b.stdout.r, b.stderr.r, b.output.r, b.status.r, b.ready.r} {
		r.SetReadDeadline(time.Now().Add(endTime))
	}
	all.Wait()
	b.stdin.w.SetWriteDeadline(time.Now())
	feeders.Wait()
	return time.Since(begin), b.result(ctx, exit, diagnosis.String())
}

// start runs in a thread of its own.
func (b *box) start() error {
	if b.spec.OneCPU {
		if err := pin(); err != nil {
			return fmt.Errorf("one CPU: %w", err)
		}
	}
	leave := func() {}
	if b.group != nil {
		var err error
		if leave, err = b.group.enter(); err != nil {
			return err
		}
	}
	defer leave()
	if err := keepDescriptors(); err != nil {
		return err
	}
	// A session's keys are inherited. Where the system call is forbidden, so is using them.
	unix.KeyctlJoinSessionKeyring("")
	return b.cmd.Start()
}

// keepDescriptors marks the descriptors that this process has inherited from its own parent, so that
// no child has them: one of the host's would be open inside. It holds for all later children.
func keepDescriptors() error {
	const dir = "/proc/self/fd"
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range found {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// pin lets this thread, and what it starts, run on the first of its CPUs only.
func pin() error {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	for i := range 8 * len(all) * int(unix.SizeofPtr) {
		if all.IsSet(i) {
			one.Set(i)
			return unix.SchedSetaffinity(0, &one)
		}
	}
	return errors.New("there is none")
}

// drain hands on what the command prints.
func (b *box) drain(from *os.File, to io.Writer) {
	if to == nil {
		to = io.Discard
	}
	if _, err := io.Copy(to, from); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		b.fail(fmt.Errorf("what the command prints: %w", err))
		io.Copy(io.Discard, from)
	}
}

// readStatus reads what bubblewrap says of its child: {"child-pid": N, ...} first.
func (b *box) readStatus() {
	r := io.LimitReader(b.status.r, maxChild)
	var first struct {
		Pid int `json:"child-pid"`
	}
	if json.NewDecoder(r).Decode(&first) == nil && first.Pid > 0 {
		if fd, err := unix.PidfdOpen(first.Pid, 0); err == nil {
			b.mu.Lock()
			b.child, b.pid = fd, first.Pid
			dead := b.killed != "" || b.failed != nil
			b.mu.Unlock()
			if dead {
				b.kill()
			}
		}
	}
	io.Copy(io.Discard, b.status.r)
}

// feed writes environment, toolchain and files. The archive has its end only if all of it is as the
// ids say, and the command does not begin before that.
func (b *box) feed(ctx context.Context) {
	w := bufio.NewWriterSize(b.stdin.w, 1<<20)
	t := newTree(w)
	err := b.write(ctx, t)
	if err == nil {
		err = t.w.Close()
	}
	if err == nil {
		err = w.Flush()
	}
	switch {
	case err == nil:
		b.stdin.w.Close()
	case errors.Is(err, syscall.EPIPE): // the sandbox has ended: it says why
	default:
		b.fail(err) // and the pipe stays open, so that nobody takes this for the end of the archive
	}
}

func (b *box) write(ctx context.Context, t *Tree) error {
	if err := b.spec.Environment.files.writeTo(ctx, t, ""); err != nil {
		return fmt.Errorf("the environment at %s: %w", b.spec.Environment.Dir, err)
	}
	if c := b.spec.Toolchain; c != nil {
		if err := c.files.writeTo(ctx, t, rustDir); err != nil {
			return fmt.Errorf("the toolchain at %s: %w", c.Dir, err)
		}
	}
	for _, dir := range []string{homeDir, "tmp"} {
		if t.kinds[dir] == 0 {
			if err := t.mkdir(dir); err != nil {
				return err
			}
		}
	}
	if b.spec.Files == nil {
		return nil
	}
	return b.spec.Files(t)
}

// fail ends the sandbox because something went wrong here.
func (b *box) fail(err error) {
	b.mu.Lock()
	if b.failed == nil && b.killed == "" && !b.ended {
		b.failed = err
	}
	b.mu.Unlock()
	b.kill()
}

// end ends the sandbox because it passed a limit.
func (b *box) end(why string) {
	b.mu.Lock()
	if b.failed == nil && b.killed == "" && !b.ended {
		b.killed = why
	}
	b.mu.Unlock()
	b.kill()
}

// kill ends all processes: with the first one of its namespace the kernel ends the others, and
// bubblewrap waits for that. Before that one is known, it can be too young to end with bubblewrap, and
// would wait for it forever: but it is still of its process group.
func (b *box) kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.ended:
	case b.child >= 0:
		unix.PidfdSendSignal(b.child, unix.SIGKILL, nil, 0)
	default:
		unix.Kill(-b.cmd.Process.Pid, unix.SIGKILL)
	}
}

// result says how it ended.
func (b *box) result(ctx context.Context, exit error, diagnosis string) error {
	b.mu.Lock()
	failed, killed := b.failed, b.killed
	b.mu.Unlock()
	begun := false
	select {
	case <-b.unpacked:
		begun = true
	default:
	}
	code := b.cmd.ProcessState.ExitCode()
	switch {
	case ctx.Err() != nil && exit != nil:
		return ctx.Err()
	case failed != nil:
		return failed
	case killed != "":
		return &Failed{ExitCode: code, Killed: killed}
	case exit == nil && begun:
		return nil
	case begun:
		return &Failed{ExitCode: code}
	}
	return refusal(diagnosis, exit)
}

// refusals are what bubblewrap says where a machine lets nobody make a sandbox, and what helps.
var refusals = []struct{ says, remedy string }{
	{`setting up uid map: Permission denied|loopback: Failed RTM_NEWADDR`,
		`this system (AppArmor) lets bubblewrap make no user namespaces. Allow it with a profile: write
  abi <abi/4.0>,
  include <tunables/global>
  profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }
to /etc/apparmor.d/bwrap and run apparmor_parser -r /etc/apparmor.d/bwrap; or allow it to all programs with
sysctl kernel.apparmor_restrict_unprivileged_userns=0. Root needs this too: it runs the sandbox as another user`},
	{`No permissions to creat(e|ing) new namespace|Creating new namespace failed|unshare|max_user_namespaces`,
		`this system lets bubblewrap make no namespaces. On a machine: sysctl kernel.unprivileged_userns_clone=1 and
user.max_user_namespaces=10000, which root needs too, since it runs the sandbox as another user; in a container
start it as in
  ` + Container},
	{`Can't mount proc|Failed to mount proc`,
		`this container hides parts of /proc, so bubblewrap may mount none. Start it as in
  ` + Container},
}

// refusal says why a sandbox ended before its command began.
func refusal(diagnosis string, exit error) error {
	diagnosis = strings.ToValidUTF8(strings.TrimSpace(diagnosis), "?")
	for _, r := range refusals {
		if regexp.MustCompile(`bwrap: .*(` + r.says + `)`).MatchString(diagnosis) {
			return &Refused{Why: r.remedy, Output: diagnosis}
		}
	}
	if strings.HasPrefix(diagnosis, "bwrap: ") {
		return &Refused{Why: "bubblewrap cannot make a sandbox on this system: try it in a virtual machine",
			Output: diagnosis}
	}
	return fmt.Errorf("the sandbox ended before its command began (%v): %s", exit, diagnosis)
}

// findBubblewrap finds the program, in a version that has all that is asked of it.
func findBubblewrap(ctx context.Context) (string, error) {
	program, err := exec.LookPath("bwrap")
	if err != nil {
		return "", &Refused{Why: "a sandbox needs bubblewrap 0.8 or later, and there is no bwrap: install the " +
			"package bubblewrap (apt-get install bubblewrap, dnf install bubblewrap)"}
	}
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", program, err)
	}
	m := regexp.MustCompile(`^bubblewrap (\d{1,6})\.(\d{1,6})`).FindStringSubmatch(string(out))
	if m == nil {
		return "", fmt.Errorf("%s --version printed no version: %.100q", program, out)
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	if major == 0 && minor < 8 {
		return "", &Refused{Why: fmt.Sprintf("a sandbox needs bubblewrap 0.8 or later, and %s is %s.%s: install a newer one",
			program, m[1], m[2])}
	}
	return program, nil
}

// tail keeps the first bytes that are written, and forgets the rest.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[:min(len(p), maxDiagnosis-len(t.b))]...)
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
