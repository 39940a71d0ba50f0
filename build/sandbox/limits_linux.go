package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cratelog/internal/durable"
)

const maxProcFile = 4 << 20 // bytes of a file below /proc or /sys/fs/cgroup

// orDefault sets the limits that are not given.
func (l Limits) orDefault() Limits {
	if l.Memory == 0 {
		l.Memory = 8 << 30
		var info unix.Sysinfo_t
		if unix.Sysinfo(&info) == nil {
			l.Memory = min(l.Memory, int64(uint64(info.Totalram)*uint64(info.Unit)/4*3))
		}
	}
	if l.Disk == 0 {
		l.Disk = l.Memory / 4 * 3
	}
	if l.Processes == 0 {
		l.Processes = 1024
	}
	if l.Wall == 0 {
		l.Wall = time.Hour
	}
	return l
}

// cgroup bounds memory and processes. In version 2 it is one directory, in version 1 one for each.
type cgroup struct {
	version      string
	memory, pids string   // directories
	home         []string // version 1: those that this process is in
	dir          *os.File // version 2
}

// testingOnlyNoCgroup makes this machine one where nobody may make a cgroup.
var testingOnlyNoCgroup bool

// newCgroup makes one where this process may, and returns nil where it may not.
func newCgroup(l Limits) *cgroup {
	if testingOnlyNoCgroup {
		return nil
	}
	mounts, err1 := readMounts()
	own, err2 := durable.ReadAny("/proc/self/cgroup", maxProcFile)
	if err1 != nil || err2 != nil {
		return nil
	}
	name := fmt.Sprintf(groupName+"%d-%d", os.Getpid(), time.Now().UnixNano())
	if g := newCgroup2(mounts, string(own), name, l); g != nil {
		return g
	}
	return newCgroup1(mounts, string(own), name, l)
}

// groupName begins the name of a group; the number of the process that made it follows.
const groupName = "cratelog-"

// makeGroup makes a group, and removes those of processes that were killed before they could.
func makeGroup(at, name string) (dir string, ok bool) {
	old, _ := filepath.Glob(filepath.Join(at, groupName+"*-*"))
	for _, dir := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), groupName), "-")
		if n, err := strconv.Atoi(pid); err == nil && errors.Is(unix.Kill(n, 0), unix.ESRCH) {
			os.Remove(dir) // which fails while something is in it
		}
	}
	dir = filepath.Join(at, name)
	return dir, os.Mkdir(dir, 0o755) == nil
}

// newCgroup2 makes it in the nearest group above this process that hands both controllers down.
func newCgroup2(mounts []mount, own, name string, l Limits) *cgroup {
	top, at := cgroupPlace(mounts, own, "cgroup2", "")
	for ; top != "" && strings.HasPrefix(at, top); at = filepath.Dir(at) {
		down, err := durable.ReadAny(filepath.Join(at, "cgroup.subtree_control"), maxProcFile)
		if err != nil {
			return nil
		}
		if has := strings.Fields(string(down)); !slices.Contains(has, "memory") || !slices.Contains(has, "pids") {
			continue
		}
		dir, ok := makeGroup(at, name)
		if !ok {
			continue
		}
		g := &cgroup{version: "cgroup v2", memory: dir, pids: dir}
		err = errors.Join(set(dir, "memory.max", l.Memory), set(dir, "pids.max", int64(l.Processes)+bwrapProcesses),
			set(dir, "memory.oom.group", 1))
		set(dir, "memory.swap.max", 0) // absent where there is no swap
		if err == nil {
			g.dir, err = os.Open(dir)
		}
		if err == nil {
			return g
		}
		g.remove()
	}
	return nil
}

// newCgroup1 makes a group for memory and one for processes below those of this process.
func newCgroup1(mounts []mount, own, name string, l Limits) *cgroup {
	g := &cgroup{version: "cgroup v1"}
	for _, c := range []struct {
		controller, file string
		limit            int64
		dir              *string
	}{
		{"memory", "memory.limit_in_bytes", l.Memory, &g.memory},
		{"pids", "pids.max", int64(l.Processes) + bwrapProcesses, &g.pids},
	} {
		_, at := cgroupPlace(mounts, own, "cgroup", c.controller)
		if at == "" {
			g.remove()
			return nil
		}
		dir, ok := makeGroup(at, name)
		if !ok {
			g.remove()
			return nil
		}
		*c.dir, g.home = dir, append(g.home, at)
		if set(dir, c.file, c.limit) != nil {
			g.remove()
			return nil
		}
	}
	set(g.memory, "memory.memsw.limit_in_bytes", l.Memory) // absent where swap is not counted
	return g
}

// bwrapProcesses are those of bubblewrap and the shell before the command.
const bwrapProcesses = 3

func set(dir, file string, value int64) error {
	return os.WriteFile(filepath.Join(dir, file), strconv.AppendInt(nil, value, 10), 0o644)
}

// enter moves this thread into groups of version 1, so that what it starts is in them; leave moves
// it back.
func (g *cgroup) enter() (leave func(), err error) {
	if g.dir != nil {
		return func() {}, nil
	}
	tid := int64(unix.Gettid())
	leave = func() {
		for _, at := range g.home {
			set(at, "tasks", tid)
		}
	}
	if err := errors.Join(set(g.memory, "tasks", tid), set(g.pids, "tasks", tid)); err != nil {
		leave()
		return nil, fmt.Errorf("the cgroup that bounds the sandbox: %w", err)
	}
	return leave, nil
}

// attach lets a program start in a group of version 2.
func (g *cgroup) attach(attr *syscall.SysProcAttr) {
	if g.dir != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(g.dir.Fd())
	}
}

// remove ends what is left in a group, and removes it.
func (g *cgroup) remove() {
	if g.dir != nil {
		set(g.memory, "cgroup.kill", 1)
		g.dir.Close()
	}
	for _, dir := range []string{g.memory, g.pids} {
		for range 500 { // it is busy until the kernel has forgotten the dead
			if dir == "" || os.Remove(dir) == nil || errors.Is(unix.Access(dir, unix.F_OK), unix.ENOENT) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// passed tells which limit the kernel enforced, as in "used more memory than ...", or "".
func (g *cgroup) passed(l Limits) string {
	memory := "memory.events"
	if g.dir == nil {
		memory = "memory.oom_control"
	}
	if event(filepath.Join(g.memory, memory), "oom_kill") > 0 {
		return tooMuchMemory(l)
	}
	if event(filepath.Join(g.pids, "pids.events"), "max") > 0 {
		return tooManyProcesses(l)
	}
	return ""
}

// event returns the number beside a word in a file.
func event(file, word string) int {
	text, err := durable.ReadAny(file, maxProcFile)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == word {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	return 0
}

func tooMuchMemory(l Limits) string {
	return fmt.Sprintf("used more than %d MiB of memory", l.Memory>>20)
}

func tooManyProcesses(l Limits) string {
	return fmt.Sprintf("had more than %d processes", l.Processes)
}

func tooMuchDisk(l Limits) string {
	return fmt.Sprintf("filled its %d MiB of disk", l.Disk>>20)
}

// mount is a line of mountinfo.
type mount struct{ root, at, kind, options string }

func readMounts() ([]mount, error) {
	text, err := durable.ReadAny("/proc/self/mountinfo", maxProcFile)
	if err != nil {
		return nil, err
	}
	return parseMounts(text), nil
}

// parseMounts reads "36 35 98:0 /root /at rw shared:1 - kind source options". Lines that are not so
// are left out, and so are paths with escapes.
func parseMounts(text []byte) (mounts []mount) {
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		before, after, ok := strings.Cut(s.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if ok && len(f) >= 6 && len(g) == 3 && !strings.Contains(f[3]+f[4], `\`) {
			mounts = append(mounts, mount{root: f[3], at: f[4], kind: g[0], options: g[2]})
		}
	}
	return mounts
}

// cgroupPlace returns where a hierarchy is mounted and the directory of this process in it, or "".
// own is /proc/self/cgroup; version 2 has no controller there.
func cgroupPlace(mounts []mount, own, kind, controller string) (top, at string) {
	for _, m := range mounts {
		if m.kind != kind || controller != "" && !slices.Contains(strings.Split(m.options, ","), controller) {
			continue
		}
		for line := range strings.Lines(own) {
			f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
			if len(f) != 3 || !slices.Contains(strings.Split(f[1], ","), controller) {
				continue
			}
			below, ok := strings.CutPrefix(f[2], strings.TrimSuffix(m.root, "/"))
			if !ok || path.Clean("/"+below) != "/"+strings.TrimPrefix(below, "/") {
				continue
			}
			return m.at, filepath.Join(m.at, below)
		}
	}
	return "", ""
}

// watch ends the sandbox when it passes a limit or ctx ends.
func (b *box) watch(ctx context.Context, over chan struct{}) {
	wall := time.NewTimer(b.limits.Wall)
	defer wall.Stop()
	t := time.NewTicker(tick)
	defer t.Stop()
	disk, unpacked := -1, b.unpacked
	defer func() {
		if disk >= 0 {
			unix.Close(disk)
		}
	}()
	for {
		select {
		case <-over:
			b.lastLook(disk)
			return
		case <-ctx.Done():
			b.fail(ctx.Err())
			<-over
			return
		case <-wall.C:
			b.end("took longer than " + b.limits.Wall.String())
		case <-unpacked: // at once: a command may fill the disk, and end, before the next tick
			unpacked = nil
			disk = b.openDisk()
		case <-t.C:
			if disk < 0 {
				disk = b.openDisk()
			}
			if why := b.passed(disk); why != "" {
				b.end(why)
			}
		}
	}
}

// lastLook finds the limit that a command failed of by itself, before the watchdog came.
func (b *box) lastLook(disk int) {
	why := ""
	if b.group != nil {
		why = b.group.passed(b.limits)
	}
	if why == "" && full(disk) {
		why = tooMuchDisk(b.limits)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.killed == "" && b.failed == nil && b.cmd.ProcessState.ExitCode() != 0 {
		b.killed = why
	}
}

// openDisk opens the root directory inside, once the command has begun, or returns -1.
func (b *box) openDisk() int {
	select {
	case <-b.unpacked:
	default:
		return -1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.child < 0 || b.ended {
		return -1
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/root", b.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// full tells whether the file system of a descriptor is.
func full(fd int) bool {
	var s unix.Statfs_t
	return fd >= 0 && unix.Fstatfs(fd, &s) == nil && s.Type == unix.TMPFS_MAGIC && s.Bavail == 0
}

// passed tells which limit the sandbox has passed, or "".
func (b *box) passed(disk int) string {
	if full(disk) {
		return tooMuchDisk(b.limits)
	}
	if b.group != nil {
		return b.group.passed(b.limits)
	}
	count, memory := descendants(b.cmd.Process.Pid)
	switch {
	case count > b.limits.Processes+bwrapProcesses:
		return tooManyProcesses(b.limits)
	case memory > b.limits.Memory:
		return tooMuchMemory(b.limits)
	}
	// What processes share is in no count of theirs; the machine must not run out of memory by it.
	if left := memoryLeft(); left >= 0 && left < leastMemory {
		return fmt.Sprintf("left this machine less than %d MiB of memory", int64(leastMemory)>>20)
	}
	return ""
}

// leastMemory is what a sandbox leaves the machine, in bytes, where no cgroup bounds it.
const leastMemory = 256 << 20

// memoryLeft returns the bytes that the machine can still give to programs, or -1.
func memoryLeft() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemAvailable:" {
			if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				return kib << 10
			}
		}
	}
	return -1
}

// descendants counts the threads below a process, and the bytes of memory that they do not share
// with others. In a namespace of processes, an orphan's parent is the first one of it.
func descendants(of int) (threads int, memory int64) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, 0
	}
	children := make(map[int][]process)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	for todo := []int{of}; len(todo) > 0; todo = todo[1:] {
		for _, p := range children[todo[0]] {
			threads += p.threads
			memory += p.memory
			todo = append(todo, p.pid)
		}
	}
	return threads, memory
}

type process struct {
	pid, parent, threads int
	memory               int64
}

// readProcess reads /proc/PID/stat, whose second field may hold anything, and /proc/PID/statm.
func readProcess(pid int) (process, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 18 {
		return process{}, false
	}
	p := process{pid: pid}
	p.parent, _ = strconv.Atoi(f[1])
	p.threads, _ = strconv.Atoi(f[17])
	if statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)); err == nil {
		if f := strings.Fields(string(statm)); len(f) >= 3 {
			resident, _ := strconv.ParseInt(f[1], 10, 64)
			shared, _ := strconv.ParseInt(f[2], 10, 64)
			p.memory = (resident - shared) * int64(os.Getpagesize())
		}
	}
	return p, true
}
