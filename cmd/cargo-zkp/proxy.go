package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/proxy"
	"cratelog/cargo/registry"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
)

// proxyVerb runs the proxy until it is stopped, or writes it into cargo's configuration.
func proxyVerb(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "proxy", "", `Run a registry on this machine that hands cargo only crates that the policy accepts.
cargo uses it once "cargo zkp proxy --install" was run; "cargo zkp build" needs neither.`)
	var s proxySettings
	s.believe.register(fs)
	fs.StringVar(&s.index, "index", "", "`URL` of the sparse index of the real registry (default: what "+
		"cargo is configured to use)")
	fs.StringVar(&s.manifestPath, "manifest-path", "", "`PATH` of a Cargo.toml: what its workspace asks "+
		"to be verified is demanded (default: the nearest, if there is one)")
	address := fs.String("listen", proxy.Address, "`ADDRESS` to listen at; with another port, cargo "+
		"downloads everything again")
	anyAddress := fs.Bool("allow-any-address", false, "listen at an address that other machines can "+
		"reach, over plain http")
	install := fs.Bool("install", false, "write the proxy into .cargo/config.toml of the workspace, and end")
	uninstall := fs.Bool("uninstall", false, "take it out again, and end")
	user := fs.Bool("user", false, "with --install and --uninstall: in the configuration in cargo's "+
		"home, for all workspaces")
	if _, err := parseUpTo(0, fs, args, ""); err != nil {
		return err
	}
	switch {
	case *install && *uninstall:
		return outcome.Usagef("proxy takes --install or --uninstall, not both")
	case *install || *uninstall:
		return configure(sh, s.manifestPath, *address, *user, *install)
	case *user:
		return outcome.Usagef("--user says where to --install or --uninstall")
	}
	if s.manifestPath == "" {
		if found, err := cargo.FindManifest("."); err == nil {
			s.manifestPath = found
		}
	}
	s.lasting = true
	s.log = slog.New(slog.NewTextHandler(sh.stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	l, err := proxy.Listen(*address, *anyAddress)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w\nthe proxy may be running already; another --listen address has cargo "+
			"download everything again", err)
	} else if err != nil {
		return err
	}
	p, _, err := s.open(ctx, l)
	if err != nil {
		l.Close()
		return err
	}
	sh.Status("Serving", "%s in place of %s, under %s", p.Index(), p.Upstream.URL, p.Policy)
	return p.Serve(ctx, l)
}

// configure writes the proxy into a configuration file of cargo, or takes it out.
func configure(sh *shell, manifestPath, address string, user, install bool) error {
	path, err := configPath(manifestPath, user)
	if err != nil {
		return err
	}
	if !install {
		changed, err := cargo.UninstallProxy(path, proxyName)
		if err == nil && changed {
			sh.Status("Removed", "the proxy from %s", shorten(path))
		} else if err == nil {
			sh.Status("Finished", "%s has no proxy of ours", shorten(path))
		}
		return err
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return outcome.Usagef("--listen takes HOST:PORT: %v", err)
	}
	index := strings.TrimPrefix(proxy.Index("http://"+address), "sparse+")
	changed, err := cargo.InstallProxy(path, cargo.Proxy{Name: proxyName, URL: index, Replaced: cargo.DefaultSource})
	switch {
	case err != nil:
		return err
	case changed:
		sh.Status("Installed", "the proxy at %s in %s; start it with \"cargo zkp proxy\"", address, shorten(path))
	default:
		sh.Status("Finished", "%s has the proxy at %s already", shorten(path), address)
	}
	sh.Warn("cargo does not ask the proxy for what it downloaded before: \"cargo zkp verify\" checks that")
	if name := detour(os.Environ()); name != "" {
		sh.Warn("%s is set, so that cargo would not find the proxy: set no_proxy=127.0.0.1 beside it", name)
	}
	return nil
}

// detour returns the variable that has cargo send even what is for this machine to an
// HTTP proxy, or "".
func detour(env []string) string {
	found := ""
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		switch strings.ToLower(name) {
		case "no_proxy":
			if value == "*" || strings.Contains(value, "127.0.0.1") {
				return ""
			}
		case "http_proxy", "https_proxy", "all_proxy", "cargo_http_proxy":
			if value != "" {
				found = name
			}
		}
	}
	return found
}

func configPath(manifestPath string, user bool) (string, error) {
	if user {
		home, err := cargo.Home()
		return filepath.Join(home, "config.toml"), err
	}
	ws, err := workspace(manifestPath)
	if err != nil {
		return "", fmt.Errorf("%w\nfor all workspaces, pass --user", err)
	}
	return filepath.Join(ws.Root, ".cargo", "config.toml"), nil
}

// proxySettings are what a proxy is made of.
type proxySettings struct {
	believe      believe
	index        string // "" for what cargo is configured to use
	manifestPath string // "" for no workspace
	lasting      bool
	log          *slog.Logger // nil: nothing is said
}

// open makes a proxy that will be served at l. It checks first that the policy can be
// used: a proxy that refuses everything would explain itself only to cargo.
func (s *proxySettings) open(ctx context.Context, l net.Listener) (*proxy.Proxy, *verdict.Judge, error) {
	j := &verdict.Judge{Load: s.believe.load, Manifest: s.manifestPath, Config: s.believe.config()}
	if err := j.Check(); err != nil {
		return nil, nil, err
	}
	identity, dir, err := s.identity(ctx)
	if err != nil {
		return nil, nil, err
	}
	home, err := cargo.Home()
	if err != nil {
		return nil, nil, err
	}
	p, err := proxy.New(ctx, proxy.Config{
		Upstream: &registry.Index{URL: identity.Registry}, Judge: j, Base: "http://" + l.Addr().String(), Dir: dir,
		Policy: identity.Policy, Lasting: s.lasting, Log: s.log,
		Local: func(name, version string, sum [32]byte) ([]byte, bool) {
			raw, path := cached(home, name, version, sum)
			return raw, path != ""
		},
	})
	return p, j, err
}

// identity returns what the proxy will say of itself, and its directory. Two proxies
// with one identity read the same files, and so decide the same.
func (s *proxySettings) identity(ctx context.Context) (proxy.Identity, string, error) {
	var i proxy.Identity
	cache, _, err := verdict.Dirs()
	if err != nil {
		return i, "", err
	}
	home, err := cargo.Home()
	if err != nil {
		return i, "", err
	}
	var ws *cargo.Workspace
	dir := "."
	if s.manifestPath != "" {
		if ws, err = cargo.LoadWorkspace(s.manifestPath); err != nil {
			return i, "", err
		}
		dir = ws.Root
	}
	if i.Registry, err = realIndex(ctx, s.index, dir, home); err != nil {
		return i, "", err
	}
	p, err := s.believe.load(ws)
	if err != nil {
		return i, "", err
	}
	i.Policy, i.Lasting = s.describe(p, ws), s.lasting
	return i, filepath.Join(cache, "proxy"), nil
}

// describe names all files and options that the proxy decides by.
func (s *proxySettings) describe(p *policy.Policy, ws *cargo.Workspace) string {
	text := "the default policy"
	if p.Path != "" {
		text = absolute(p.Path)
	}
	if ws != nil {
		text += " and the manifests of " + ws.Root
	}
	for _, f := range s.believe.Trust {
		text += ", trusting " + absolute(f)
	}
	for _, f := range s.believe.Programs {
		text += ", accepting " + absolute(f)
	}
	if s.believe.Development {
		text += ", accepting UNSAFE development keys"
	}
	if s.believe.offline {
		text += ", asking no log"
	}
	return text
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// cached returns a crate from cargo's own cache, whatever registry it came from: its
// checksum says what it is. The path is "" if it is not there.
func cached(home, name, version string, sum [32]byte) (raw []byte, path string) {
	paths, _ := cargo.FindCached(home, name, version)
	for _, path := range paths {
		if raw, err := cargo.ReadCached(path); err == nil && sha256.Sum256(raw) == sum {
			return raw, path
		}
	}
	return nil, ""
}

var _ interface {
	proxy.Judge
	proxy.Prefetcher
} = &verdict.Judge{}

// addresses returns where a proxy for one call may listen: the proxy's own address and
// a few after it, for calls at one time under different policies. There are few, because
// cargo keeps what it downloads for each of them apart.
func addresses() []string {
	host, port, err := net.SplitHostPort(proxy.Address)
	first, err2 := strconv.Atoi(port)
	if errors.Join(err, err2) != nil {
		return []string{proxy.Address}
	}
	var out []string
	for n := range 8 {
		out = append(out, net.JoinHostPort(host, strconv.Itoa(first+n)))
	}
	return out
}
