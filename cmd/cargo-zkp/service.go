package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// service has the system start the proxy when its user logs in, and keep it running. The
// system's own means are used: a systemd user unit, a launchd agent, or a scheduled task.
type service struct {
	sh      *shell
	goos    string
	program string              // path of this program
	address string              // to listen at
	dir     string              // of the user's units or agents; "" where there are no files
	env     func(string) string // what the proxy must find as it is now
	run     func(ctx context.Context, name string, args ...string) error
}

const (
	unitName  = "cratelog-proxy.service"
	agentName = "org.cratelog.proxy"
	taskName  = "cratelog-proxy"
)

// serviceEnv are the variables that say where things are.
var serviceEnv = []string{"CARGO_HOME", "CARGO", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "PATH"}

func newService(sh *shell, address string) (*service, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	s := &service{sh: sh, goos: runtime.GOOS, program: realPath(program), address: address, env: os.Getenv,
		run: runQuietly}
	switch s.goos {
	case "darwin":
		s.dir = filepath.Join(home, "Library", "LaunchAgents")
	case "linux":
		settings, err := os.UserConfigDir()
		if err != nil {
			return nil, err
		}
		s.dir = filepath.Join(settings, "systemd", "user")
	}
	return s, nil
}

// runQuietly runs a program, and returns what it says if it fails.
func runQuietly(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// file returns the path of the unit or agent.
func (s *service) file() string {
	if s.goos == "darwin" {
		return filepath.Join(s.dir, agentName+".plist")
	}
	return filepath.Join(s.dir, unitName)
}

func (s *service) install(ctx context.Context) error {
	if strings.ContainsAny(s.program, "\r\n\"\\") && s.goos != "windows" {
		return fmt.Errorf("the path of this program, %q, cannot stand in a service's file; move it", s.program)
	}
	var err error
	switch s.goos {
	case "linux":
		err = s.installed(ctx, s.unit(), []string{"systemctl", "--user", "daemon-reload"},
			[]string{"systemctl", "--user", "enable", unitName}, []string{"systemctl", "--user", "restart", unitName})
	case "darwin":
		s.run(ctx, "launchctl", "bootout", s.agent()) // one that runs already, if there is one
		err = s.installed(ctx, s.plist(), []string{"launchctl", "bootstrap", s.domain(), s.file()})
	case "windows":
		err = s.all(ctx, []string{"schtasks", "/Create", "/F", "/SC", "ONLOGON", "/TN", taskName, "/TR",
			fmt.Sprintf(`"%s" proxy --listen %s`, s.program, s.address)}, []string{"schtasks", "/Run", "/TN", taskName})
	default:
		return s.unknown()
	}
	if err != nil {
		return fmt.Errorf("%w\nthe system does not run it; have the proxy started in your own way: %s proxy "+
			"--listen %s", err, s.program, s.address)
	}
	s.sh.Status("Installed", "a service that runs the proxy at %s, now and from each login on", s.address)
	if s.goos == "linux" {
		s.sh.Warn("it ends when you log out, unless you run \"loginctl enable-linger\" once")
	}
	return nil
}

// installed writes the file and runs commands. What cannot be started is not left there.
func (s *service) installed(ctx context.Context, content []byte, commands ...[]string) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if err := durable.Write(s.file(), content, 0o644); err != nil {
		return err
	}
	err := s.all(ctx, commands...)
	if err != nil {
		err = errors.Join(err, os.Remove(s.file()))
	}
	return err
}

func (s *service) uninstall(ctx context.Context) (err error) {
	if s.dir != "" {
		if _, err := os.Stat(s.file()); errors.Is(err, fs.ErrNotExist) {
			s.sh.Status("Finished", "there is no service of ours")
			return nil
		}
	}
	switch s.goos {
	case "linux":
		err = s.all(ctx, []string{"systemctl", "--user", "disable", "--now", unitName})
	case "darwin":
		err = s.all(ctx, []string{"launchctl", "bootout", s.agent()})
	case "windows":
		s.run(ctx, "schtasks", "/End", "/TN", taskName) // if it runs
		err = s.all(ctx, []string{"schtasks", "/Delete", "/F", "/TN", taskName})
	default:
		return s.unknown()
	}
	if s.dir != "" {
		err = errors.Join(err, os.Remove(s.file()))
	}
	if err == nil {
		s.sh.Status("Removed", "the service that runs the proxy")
	}
	return err
}

func (s *service) all(ctx context.Context, commands ...[]string) error {
	for _, c := range commands {
		err := s.run(ctx, c[0], c[1:]...)
		if errors.Is(err, exec.ErrNotFound) {
			return outcome.Usagef("there is no %s here", c[0])
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (s *service) unknown() error {
	return outcome.Usagef("it is not known how %s starts programs for its users; have it run: %s proxy --listen %s",
		s.goos, s.program, s.address)
}

func (s *service) domain() string { return "gui/" + strconv.Itoa(os.Getuid()) }
func (s *service) agent() string  { return s.domain() + "/" + agentName }

// unit is the systemd unit.
func (s *service) unit() []byte {
	var b bytes.Buffer
	b.WriteString("# Written by cargo zkp proxy --install --service; --uninstall --service removes it.\n[Unit]\n" +
		"Description=cratelog proxy: hands cargo only crates that a policy accepts\n\n[Service]\n")
	for _, name := range serviceEnv {
		if v := s.env(name); v != "" && !strings.ContainsAny(v, "\r\n\"\\") {
			fmt.Fprintf(&b, "Environment=\"%s=%s\"\n", name, strings.ReplaceAll(v, "%", "%%"))
		}
	}
	fmt.Fprintf(&b, "ExecStart=\"%s\" proxy --listen %s\nRestart=on-failure\nRestartSec=5\n\n[Install]\n"+
		"WantedBy=default.target\n", strings.NewReplacer("%", "%%", "$", "$$").Replace(s.program), s.address)
	return b.Bytes()
}

// plist is the launchd agent.
func (s *service) plist() []byte {
	var b bytes.Buffer
	text := func(tag, s string) {
		b.WriteString("<" + tag + ">")
		xml.EscapeText(&b, []byte(s)) // a Buffer never fails
		b.WriteString("</" + tag + ">\n")
	}
	b.WriteString(xml.Header + `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" ` +
		`"http://www.apple.com/DTDs/PropertyList-1.0.dtd">` + "\n<plist version=\"1.0\">\n<dict>\n")
	text("key", "Label")
	text("string", agentName)
	b.WriteString("<key>ProgramArguments</key>\n<array>\n")
	for _, arg := range []string{s.program, "proxy", "--listen", s.address} {
		text("string", arg)
	}
	b.WriteString("</array>\n<key>EnvironmentVariables</key>\n<dict>\n")
	for _, name := range serviceEnv {
		if v := s.env(name); v != "" {
			text("key", name)
			text("string", v)
		}
	}
	b.WriteString("</dict>\n<key>RunAtLoad</key>\n<true/>\n<key>KeepAlive</key>\n<true/>\n</dict>\n</plist>\n")
	return b.Bytes()
}
