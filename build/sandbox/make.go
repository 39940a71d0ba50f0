package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"cratelog/internal/durable"
)

// Source is where the packages of a distribution come from.
type Source struct {
	Suite  string // as in "bookworm"; "": the suite that this machine has, from /etc/os-release
	Mirror string // URL of the archive; "": those that this machine's apt has for the suite
}

// madeFrom are the packages beside the essential ones.
const madeFrom = "gcc,libc6-dev,make"

// madeAt is the SOURCE_DATE_EPOCH with which packages are installed: some write it into files.
const madeAt = "1767225600"

// cleanUp removes what differs from one run to the next, or says of the machine.
const cleanUp = `rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/* "$1"/etc/machine-id ` +
	`"$1"/etc/hostname "$1"/etc/resolv.conf`

// MakeEnvironment installs a small Debian (gcc, libc6-dev, make and what is essential) with
// mmdebstrap and hands it to keep as a tar file: see ImportEnvironment and KeepEnvironment. Two calls
// give one id as long as the archive has the same packages: name a mirror that is a snapshot of it.
// progress takes the lines that mmdebstrap prints.
func MakeEnvironment(ctx context.Context, from Source, progress func(line string),
	keep func(rootfs io.Reader) (*Environment, error)) (*Environment, error) {
	program, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return nil, &Refused{Why: "an environment is made with mmdebstrap, and there is none: install the package " +
			"mmdebstrap (apt-get install mmdebstrap), or take a root file system from elsewhere: cargo zkp environment import"}
	}
	args, err := from.arguments()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+madeAt, "LC_ALL=C.UTF-8", "TZ=UTC")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = &lines{each: progress}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &untilExit{cmd: cmd, stdout: stdout}
	e, err := keep(r)
	if err != nil && !r.waited {
		cmd.Process.Kill()
		cmd.Wait()
	}
	return e, err
}

// arguments are those of mmdebstrap.
func (s Source) arguments() ([]string, error) {
	args := []string{"--variant=essential", "--include=" + madeFrom, "--format=tar"}
	for _, dir := range []string{"man", "doc", "locale", "info", "lintian"} {
		args = append(args, "--dpkgopt=path-exclude=/usr/share/"+dir+"/*")
	}
	args = append(args, "--customize-hook="+cleanUp)
	suite, err := s.suite()
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(s.Mirror, "-") || strings.ContainsFunc(s.Mirror, func(r rune) bool { return r <= ' ' }) {
		return nil, fmt.Errorf("%q is not the URL of an archive", s.Mirror)
	}
	args = append(args, suite, "-")
	if s.Mirror != "" {
		return append(args, s.Mirror), nil
	}
	own, err := readAptSources("/etc/apt")
	if err != nil {
		return nil, err
	}
	mirrors := forSuite(own, suite)
	if len(mirrors) == 0 {
		return nil, fmt.Errorf("this machine's apt has no archive for %s: name one with --mirror URL", suite)
	}
	return append(args, mirrors...), nil
}

var suiteName = regexp.MustCompile(`^[a-z][a-z0-9.-]{0,63}$`)

func (s Source) suite() (string, error) {
	suite := s.Suite
	if suite == "" {
		text, err := durable.Read("/etc/os-release", 64<<10)
		if err != nil {
			return "", fmt.Errorf("this machine does not say its distribution: name one with --suite and --mirror: %w", err)
		}
		if suite = releaseName(string(text)); suite == "" {
			return "", errors.New("this machine has no Debian: name one with --suite and --mirror")
		}
	}
	if !suiteName.MatchString(suite) {
		return "", fmt.Errorf("%q is not the name of a suite", suite)
	}
	return suite, nil
}

// releaseName returns VERSION_CODENAME of an os-release file.
func releaseName(text string) string {
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(name, `"'`)
		}
	}
	return ""
}

// aptSource is one archive and suite of apt's settings.
type aptSource struct {
	uri, suite, signedBy string
	components           []string
}

// readAptSources reads sources.list and sources.list.d below a directory, in both of apt's formats.
// What it does not understand it leaves out.
func readAptSources(dir string) ([]aptSource, error) {
	files, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	if err != nil {
		return nil, err
	}
	var found []aptSource
	for _, file := range append([]string{filepath.Join(dir, "sources.list")}, files...) {
		text, err := durable.Read(file, 1<<20)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case strings.HasSuffix(file, ".sources"):
			found = append(found, stanzas(string(text))...)
		case strings.HasSuffix(file, ".list"):
			found = append(found, oneLiners(string(text))...)
		}
	}
	return found, nil
}

var oneLiner = regexp.MustCompile(`^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+)$`)

// oneLiners reads lines "deb [signed-by=FILE] URI SUITE COMPONENT...".
func oneLiners(text string) (found []aptSource) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		m := oneLiner.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		a := aptSource{uri: m[2], suite: m[3], components: strings.Fields(m[4])}
		for _, option := range strings.Fields(m[1]) {
			if file, ok := strings.CutPrefix(option, "signed-by="); ok {
				a.signedBy = file
			}
		}
		found = append(found, a)
	}
	return found
}

// stanzas reads the other format: "Types: deb", "URIs: ...", "Suites: ...", "Components: ...".
func stanzas(text string) (found []aptSource) {
	for stanza := range strings.SplitSeq(text, "\n\n") {
		fields := make(map[string]string)
		for line := range strings.Lines(stanza) {
			key, value, ok := strings.Cut(line, ":")
			if ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, " ") {
				fields[strings.ToLower(key)] = strings.TrimSpace(value)
			}
		}
		if !slices.Contains(strings.Fields(fields["types"]), "deb") || strings.EqualFold(fields["enabled"], "no") {
			continue
		}
		for _, uri := range strings.Fields(fields["uris"]) {
			for _, suite := range strings.Fields(fields["suites"]) {
				found = append(found, aptSource{uri, suite, fields["signed-by"], strings.Fields(fields["components"])})
			}
		}
	}
	return found
}

// forSuite returns the archives of a suite, its updates and its security fixes, as apt's lines.
func forSuite(all []aptSource, suite string) (mirrors []string) {
	for _, a := range all {
		if !slices.Contains([]string{suite, suite + "-updates", suite + "-security"}, a.suite) ||
			!slices.Contains(a.components, "main") || !strings.Contains(a.uri, "://") {
			continue
		}
		options := ""
		if filepath.IsAbs(a.signedBy) {
			options = "[signed-by=" + a.signedBy + "] "
		}
		if line := "deb " + options + a.uri + " " + a.suite + " main"; !slices.Contains(mirrors, line) {
			mirrors = append(mirrors, line)
		}
	}
	return mirrors
}

// untilExit reads what a program prints, and at its end how it exited.
type untilExit struct {
	cmd    *exec.Cmd
	stdout io.Reader
	waited bool
	err    error // from then on
}

func (u *untilExit) Read(p []byte) (int, error) {
	if u.waited {
		return 0, u.err
	}
	n, err := u.stdout.Read(p)
	if err != io.EOF {
		return n, err
	}
	u.waited, u.err = true, io.EOF
	if err := u.cmd.Wait(); err != nil {
		u.err = fmt.Errorf("mmdebstrap: %w: %s", err, u.cmd.Stderr.(*lines).last())
	}
	return n, u.err
}

// lines hands on what is written line by line, and keeps the last ones.
type lines struct {
	each func(string)
	part []byte
	kept []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.part = append(l.part, p...)
	for {
		i := bytes.IndexByte(l.part, '\n')
		if i < 0 && len(l.part) < 4096 {
			return len(p), nil
		}
		if i < 0 {
			i = len(l.part) - 1
		}
		line := strings.ToValidUTF8(strings.TrimSpace(string(l.part[:i])), "?")
		l.part = append(l.part[:0], l.part[i+1:]...)
		if l.kept = append(l.kept, line); len(l.kept) > 5 {
			l.kept = l.kept[1:]
		}
		if l.each != nil {
			l.each(line)
		}
	}
}

func (l *lines) last() string { return strings.Join(l.kept, "\n") }
