package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/proxy"
	"cratelog/cargo/registry"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
)

// proxyCall is a call of the verb proxy.
type proxyCall struct {
	believe                     believe
	index, manifestPath, listen string
	anyAddress, user, service   bool
}

// proxyVerb runs the proxy until it is stopped, or writes it into cargo's configuration.
func proxyVerb(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "proxy", "", `Run a registry on this machine that hands cargo only crates that the policy accepts.
cargo uses it in each workspace in which "cargo zkp proxy --install" was run; one proxy serves all
of them, each under its own policy. "cargo zkp build" needs no proxy.`)
	var c proxyCall
	c.believe.register(fs)
	fs.StringVar(&c.index, "index", "", "`URL` of the sparse index of the real registry (default: what "+
		"cargo is configured to use)")
	fs.StringVar(&c.manifestPath, "manifest-path", "", "`PATH` of a Cargo.toml: what its workspace asks "+
		"to be verified is demanded (default: the nearest, if there is one)")
	fs.StringVar(&c.listen, "listen", "", "`ADDRESS` to listen at (default: the one that is installed, "+
		"or "+proxy.Address+
		"); with another port, cargo downloads everything again")
	fs.BoolVar(&c.anyAddress, "allow-any-address", false, "listen at an address that other machines can "+
		"reach, over plain http")
	install := fs.Bool("install", false, "write the proxy into .cargo/config.toml of the workspace, and end")
	uninstall := fs.Bool("uninstall", false, "take it out again, and end")
	fs.BoolVar(&c.user, "user", false, "with --install and --uninstall: in the configuration in cargo's "+
		"home, for all workspaces, under your own policy")
	fs.BoolVar(&c.service, "service", false, "with --install and --uninstall: have the system start the proxy when "+
		"you log in, and keep it running")
	if _, err := parseUpTo(0, fs, args, ""); err != nil {
		return err
	}
	switch {
	case *install && *uninstall:
		return outcome.Usagef("proxy takes --install or --uninstall, not both")
	case *install:
		return c.install(ctx, sh)
	case *uninstall:
		return c.uninstall(ctx, sh)
	case c.user || c.service:
		return outcome.Usagef("--user and --service say where to --install or --uninstall")
	}
	return c.serve(ctx, sh, fs)
}

// serve serves the workspaces that are installed, and the one that the call is about.
func (c *proxyCall) serve(ctx context.Context, sh *shell, fs *flag.FlagSet) error {
	ws, err := c.workspace()
	if err != nil {
		return err
	}
	address := c.listen
	if address == "" {
		address = c.installedAddress(ws)
	}
	if err := proxy.CheckAddress(address, c.anyAddress); err != nil {
		return outcome.Usagef("--listen: %v", err)
	}
	l, err := proxy.Listen(address, c.anyAddress)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w\nthe proxy may be running already, and then it serves this workspace too; another "+
			"--listen address has cargo download everything again", err)
	} else if err != nil {
		return err
	}
	s, err := c.server(sh, "http://"+l.Addr().String(), ws)
	if err != nil {
		l.Close()
		return err
	}
	err = c.announce(ctx, sh, s, ws, given(fs, "manifest-path") != "" && given(fs, "index") != "")
	if err != nil {
		l.Close()
		s.Close()
		return err
	}
	return proxy.Serve(ctx, l, s, s.Log)
}

// announce says what is served. It checks first that the policy can be used: a proxy that
// refuses everything would explain itself only to cargo.
func (c *proxyCall) announce(ctx context.Context, sh *shell, s *proxy.Server, ws proxy.Workspace, all bool) error {
	ids, err := s.Workspaces.IDs()
	if err != nil {
		return err
	}
	if ws.Manifest == "" && ws.Policy == "" {
		sh.Status("Serving", "the workspaces that it is installed in, %d, at %s", len(ids), s.Base)
		return nil
	}
	if err := judge(ws, s.Log).Check(); err != nil {
		return err
	}
	p, err := s.Proxy(ctx, ws.ID())
	if err != nil {
		return err
	}
	sh.Status("Serving", "%s in place of %s, under %s, and the workspaces that it is installed in: %d", p.Index(),
		p.Upstream.URL, p.Policy, len(ids))
	if all {
		// For who sets up cargo by hand. Nothing that we install ever points there.
		sh.Warn("%s is served under the same policy, to whatever workspace names it: --manifest-path and --index ask "+
			"for that", proxy.Index(s.Base))
		return s.ServeAll(ctx)
	}
	return nil
}

// server makes the server for the workspaces of this user.
func (c *proxyCall) server(sh *shell, base string, given proxy.Workspace) (*proxy.Server, error) {
	cache, _, err := verdict.Dirs()
	if err != nil {
		return nil, err
	}
	home, err := cargo.Home()
	if err != nil {
		return nil, err
	}
	installed, err := workspaces()
	if err != nil {
		return nil, err
	}
	dir, err := proxy.OpenDir(filepath.Join(cache, "proxy"), 0)
	if err != nil {
		return nil, err
	}
	level := slog.LevelInfo
	if sh.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(sh.stderr, &slog.HandlerOptions{Level: level}))
	open := func(ctx context.Context, w proxy.Workspace, base string) (*proxy.Proxy, error) {
		root := home
		if w.Manifest != "" {
			root = filepath.Dir(w.Manifest)
		}
		index := w.Index
		if index == "" && w.Manifest == given.Manifest {
			index = c.index
		}
		index, err := realIndex(ctx, index, root, home)
		if err != nil {
			return nil, err
		}
		upstream, judge := &registry.Index{URL: index}, judge(w, log)
		judge.Config.Registry = func(string) *registry.Index { return upstream }
		return proxy.New(ctx, proxy.Config{
			Upstream: upstream, Judge: judge, Base: base, Dir: dir, Policy: policyText(w), Log: log,
			Local: func(name, version string, sum [32]byte) ([]byte, bool) {
				raw, path := cached(home, name, version, sum)
				return raw, path != ""
			},
		})
	}
	return proxy.NewServer(proxy.ServerConfig{Base: base, Workspaces: installed, Given: &given, Open: open, Log: log})
}

// workspaces are those that are installed. They are not in the cache: a build would stop
// when that is emptied.
func workspaces() (proxy.Workspaces, error) {
	_, state, err := verdict.Dirs()
	return proxy.Workspaces(filepath.Join(state, "proxy")), err
}

// judge returns who decides for a workspace.
func judge(w proxy.Workspace, log *slog.Logger) *verdict.Judge {
	b := believe{offline: w.Offline, Place: policy.Place{Flag: w.Policy, Trust: w.Trust, Programs: w.Programs,
		Development: w.Development}}
	cfg := b.config()
	cfg.Log = log
	return &verdict.Judge{Load: b.load, Manifest: w.Manifest, Config: cfg}
}

var _ interface {
	proxy.Judge
	proxy.Prefetcher
	proxy.Keeper
} = &verdict.Judge{}

// policyText names what a workspace is judged by.
func policyText(w proxy.Workspace) string {
	text := "your own policy"
	if w.Manifest != "" {
		text = "the policy of " + filepath.Dir(w.Manifest)
	}
	if w.Policy != "" {
		text = w.Policy
	}
	for _, f := range w.Trust {
		text += ", trusting " + f
	}
	for _, f := range w.Programs {
		text += ", accepting " + f
	}
	if w.Development {
		text += ", accepting UNSAFE development keys"
	}
	if w.Offline {
		text += ", asking no log"
	}
	return text
}

// workspace returns what the options say: for the workspace that the call is in, if it is in
// one and --user does not say otherwise.
func (c *proxyCall) workspace() (w proxy.Workspace, err error) {
	w = proxy.Workspace{Development: c.believe.Development, Offline: c.believe.offline}
	if !c.user {
		path := c.manifestPath
		if path == "" {
			if path, err = cargo.FindManifest("."); err != nil {
				path = ""
			}
		}
		if path != "" {
			ws, err := cargo.LoadWorkspace(path)
			if err != nil {
				return w, err
			}
			w.Manifest = realPath(ws.Manifest)
		}
	}
	if c.believe.Flag != "" {
		w.Policy = realPath(c.believe.Flag)
	}
	for _, f := range c.believe.Trust {
		w.Trust = append(w.Trust, realPath(f))
	}
	for _, f := range c.believe.Programs {
		w.Programs = append(w.Programs, realPath(f))
	}
	if c.index != "" {
		w.Index, err = registry.SparseURL(c.index)
	}
	return w, err
}

// realPath returns the one path of a file.
func realPath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if at, err := filepath.EvalSymlinks(path); err == nil {
		path = at
	}
	return path
}

// install writes the proxy into a configuration file of cargo.
func (c *proxyCall) install(ctx context.Context, sh *shell) error {
	path, err := c.configPath()
	if err != nil {
		return err
	}
	w, err := c.workspace()
	if err != nil {
		return err
	}
	address := c.listen
	if address == "" {
		address = c.installedAddress(w)
	}
	if err := proxy.CheckAddress(address, c.anyAddress); err != nil {
		return outcome.Usagef("--listen: %v", err)
	}
	if err := c.behind(w); err != nil {
		return err
	}
	installed, err := workspaces()
	if err != nil {
		return err
	}
	if err := c.forget(installed, path, w); err != nil {
		return err
	}
	index := strings.TrimPrefix(proxy.Index("http://"+address+"/"+w.ID()), "sparse+")
	notes := []string{"If cargo cannot connect to " + address + ", start the proxy: cargo zkp proxy",
		where(w)}
	changed, err := cargo.InstallProxy(path, cargo.Proxy{Name: proxyName, Source: proxySource, URL: index,
		Notes: notes})
	if err != nil {
		return err
	}
	if err := installed.Add(w); err != nil {
		return err
	}
	if changed {
		sh.Status("Installed", "the proxy at %s in %s; start it with \"cargo zkp proxy\"", address, shorten(path))
	} else {
		sh.Status("Finished", "%s has the proxy at %s already", shorten(path), address)
	}
	c.warn(sh, path)
	if !c.service {
		return nil
	}
	service, err := newService(sh, address)
	if err != nil {
		return err
	}
	return service.install(ctx)
}

// behind refuses to install a proxy that has nothing to ask.
func (c *proxyCall) behind(w proxy.Workspace) error {
	home, err := cargo.Home()
	if err != nil || c.index != "" {
		return err
	}
	root := home
	if w.Manifest != "" {
		root = filepath.Dir(w.Manifest)
	}
	config, err := cargo.LoadConfig(root, home)
	if err != nil {
		return err
	}
	source, err := config.Behind(proxySource, proxyName)
	if err == nil && source.Kind != "registry" {
		return noRegistry(source)
	} else if err == nil && source.At != "" {
		_, err = registry.IndexURL(source.At)
	}
	return err
}

// where says what a proxy is installed for.
func where(w proxy.Workspace) string {
	if w.Manifest == "" {
		return "The lines are for all workspaces of this user that have none of their own."
	}
	dir := strings.Join(strings.Fields(filepath.Dir(w.Manifest)), " ")
	return "The lines are for " + dir + " only: in a copy of it, run cargo zkp proxy --install again."
}

// warn tells what does not work as one might think.
func (c *proxyCall) warn(sh *shell, path string) {
	sh.Warn("cargo does not ask the proxy for what it downloaded before: \"cargo zkp verify\" checks that")
	if name := detour(os.Environ()); name != "" {
		sh.Warn("%s is set, so that cargo would not find the proxy: set no_proxy=127.0.0.1 beside it", name)
	}
	home, err := cargo.Home()
	if err != nil {
		return
	}
	config, err := cargo.LoadConfig(filepath.Dir(filepath.Dir(path)), home)
	if err == nil && len(config.All("registry", "default")) == 0 {
		sh.Warn("%s has a [registry] table of its own: write default = %q into it, or pass --registry %[2]s to cargo "+
			"publish, search, owner and yank, which refuse otherwise", shorten(path), cargo.DefaultSource)
	}
}

// forget has the workspace not served any more that a configuration file names, unless that is
// another workspace's, or the same again.
func (c *proxyCall) forget(installed proxy.Workspaces, path string, w proxy.Workspace) error {
	id, _, err := installedProxy(path)
	if err != nil || id == "" || id == w.ID() {
		return err
	}
	if old, err := installed.Get(id); err != nil || old.Manifest != w.Manifest {
		return nil // it is none, or not ours to take away
	}
	return installed.Remove(id)
}

// installedProxy returns the ID and the address that a configuration file of cargo names; ""
// if it does not.
func installedProxy(file string) (id, address string, err error) {
	at, err := cargo.InstalledProxy(file, proxyName)
	if err != nil || at == "" {
		return "", "", err
	}
	u, err := url.Parse(at)
	if err != nil {
		return "", "", err
	}
	return path.Base(path.Dir(path.Clean(u.Path))), u.Host, nil
}

// installedAddress is where cargo looks for the proxy: in a workspace, or else for its user.
func (c *proxyCall) installedAddress(w proxy.Workspace) string {
	var files []string
	if w.Manifest != "" {
		files = append(files, filepath.Join(filepath.Dir(w.Manifest), ".cargo", "config.toml"))
	}
	if home, err := cargo.Home(); err == nil {
		files = append(files, filepath.Join(home, "config.toml"))
	}
	for _, file := range files {
		if _, address, err := installedProxy(file); err == nil && address != "" {
			return address
		}
	}
	return proxy.Address
}

// uninstall takes the proxy out of a configuration file of cargo.
func (c *proxyCall) uninstall(ctx context.Context, sh *shell) error {
	path, err := c.configPath()
	if err != nil {
		return err
	}
	w, err := c.workspace()
	if err != nil {
		return err
	}
	installed, err := workspaces()
	if err != nil {
		return err
	}
	id, _, err := installedProxy(path)
	if err != nil {
		return err
	}
	changed, err := cargo.UninstallProxy(path, proxyName)
	if err != nil {
		return err
	}
	if old, err := installed.Get(id); err == nil && old.Manifest == w.Manifest {
		if err := installed.Remove(id); err != nil {
			return err
		}
	}
	if changed {
		sh.Status("Removed", "the proxy from %s", shorten(path))
	} else {
		sh.Status("Finished", "%s has no proxy of ours", shorten(path))
	}
	if !c.service {
		return nil
	}
	service, err := newService(sh, "")
	if err != nil {
		return err
	}
	return service.uninstall(ctx)
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

func (c *proxyCall) configPath() (string, error) {
	if c.user {
		home, err := cargo.Home()
		return filepath.Join(home, "config.toml"), err
	}
	ws, err := workspace(c.manifestPath)
	if err != nil {
		return "", fmt.Errorf("%w\nfor all workspaces, pass --user", err)
	}
	return filepath.Join(ws.Root, ".cargo", "config.toml"), nil
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
