package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"cratelog/build/rebuild"
	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// downloadTime bounds the download of a binary.
const downloadTime = 15 * time.Minute

// installOptions are those of install.
type installOptions struct {
	question
	believe
	binary string // file or URL; "" to rebuild
	root   string
	force  bool
}

// installVerb installs a binary that builders make of a crate, or that is made here.
func installVerb(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "install", "NAME@VERSION", `Install a binary of a crate: with --binary that file, if builders make it of the crate, as the
policy's [builds] asks; without, or if builders disagree, one that is rebuilt here.`)
	var o installOptions
	o.believe.register(fs)
	o.question.register(fs)
	fs.StringVar(&o.bundle, "bundle", "", "`FILE` with what a log shows about the binary (default: what the logs show)")
	fs.StringVar(&o.binary, "binary", "", "`FILE` or URL of the binary itself, not of an archive with it (default: rebuild it)")
	fs.StringVar(&o.root, "root", "", "install into `DIR`/bin (default: as cargo install: CARGO_INSTALL_ROOT, install.root of cargo's "+
		"configuration, cargo's home)")
	fs.BoolVar(&o.force, "force", false, "replace a binary of that name")
	spec, err := parse(fs, args, "NAME@VERSION")
	if err != nil {
		return err
	}
	if err := o.named(spec); err != nil {
		return err
	}
	if o.pkg.Name == "" {
		return outcome.Usagef("install takes NAME@VERSION, one exact version")
	}
	root, err := installRoot(o.root)
	if err != nil {
		return err
	}
	if o.binary == "" {
		return o.build(ctx, sh, spec, root, nil)
	}
	p, err := binaryPolicy(&o.believe)
	if err != nil {
		return err
	}
	content, err := o.read(ctx, sh)
	if err != nil {
		return err
	}
	checker, err := o.checker(p)
	if err != nil {
		return err
	}
	built, err := o.answer(ctx, sh, checker, o.believe, sha256.Sum256(content), o.file())
	if errors.Is(err, verdict.ErrDissent) {
		sh.Warn("%v\nit is rebuilt here instead", err)
		return o.build(ctx, sh, spec, root, content)
	} else if err != nil {
		return err
	}
	reportBuilt(sh, p, o.binary, built)
	if err := runsHere(built.Claim.Target); err != nil {
		return err
	}
	return o.put(sh, root, built.Claim.Binary, content)
}

// file is the binary's if it is one; "" for a URL.
func (o *installOptions) file() string {
	if isWeb(o.binary) {
		return ""
	}
	return o.binary
}

// build rebuilds the binary here and installs it. given is the binary that builders disagree about, or nil.
func (o *installOptions) build(ctx context.Context, sh *shell, spec, root string, given []byte) error {
	name, content, err := rebuildHere(ctx, sh, o, spec)
	if err != nil {
		return err
	}
	if given != nil {
		if sha256.Sum256(given) == sha256.Sum256(content) {
			sh.Status("Compared", "what was rebuilt here is %s, byte for byte", o.binary)
		} else {
			sh.Warn("what was rebuilt here is NOT %s: that was made from something else, or in another way; it is not installed", o.binary)
		}
	}
	return o.put(sh, root, name, content)
}

// rebuildHere rebuilds a binary in the sandbox, as rebuild does. A test has another one.
var rebuildHere = func(ctx context.Context, sh *shell, o *installOptions, spec string) (name string, content []byte, err error) {
	r := rebuildOptions{believe: o.believe, binary: o.bin}
	ws, _ := workspace("") // one crate is built outside of workspaces as well
	if p, err := o.load(ws); err == nil && p.Builds != nil {
		r.requireSource = map[policy.RequireSource]string{policy.AllSources: "all", policy.CrateOnly: "crate"}[p.Builds.Source]
	}
	done, err := r.rebuild(ctx, sh, spec)
	if err != nil {
		return "", nil, err
	}
	done.print(sh)
	if !done.report.Same {
		return "", nil, outcome.Refusef("both runs made another binary: they differ in %s, so neither is installed", done.report.Difference)
	}
	return done.report.Claim.Binary, done.report.Artifact, nil
}

// put writes the binary into the root's bin.
func (o *installOptions) put(sh *shell, root, name string, content []byte) error {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	dir := filepath.Join(root, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	at := filepath.Join(dir, name)
	write := durable.WriteNew
	if o.force {
		write = durable.Write
	}
	if err := write(at, content, 0o755); errors.Is(err, os.ErrExist) {
		if old, oldErr := digestOf(at); oldErr == nil && old == sha256.Sum256(content) {
			sh.Status("Installed", "%s already is this binary", at)
			return nil
		}
		return outcome.Refusef("%s is there already and is another file; --force replaces it", at)
	} else if err != nil {
		return err
	}
	sh.Status("Installed", "%s of %s v%s as %s", strings.TrimSuffix(name, ".exe"), o.pkg.Name, o.pkg.Version, at)
	return nil
}

// read reads the binary, or downloads it. Whoever hands it out is not believed.
func (o *installOptions) read(ctx context.Context, sh *shell) ([]byte, error) {
	if !isWeb(o.binary) {
		return durable.ReadAny(o.binary, rebuild.MaxBinary)
	}
	u, err := url.Parse(o.binary)
	if err != nil || u.Host == "" || u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return nil, outcome.Usagef("--binary takes a file or an https URL, not %q", o.binary)
	}
	if o.offline {
		return nil, outcome.Usagef("--binary %s is to be downloaded, and --offline forbids that: name a file", o.binary)
	}
	sh.Status("Downloading", "%s", u.Redacted())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", userAgent)
	resp, err := (&http.Client{Timeout: downloadTime}).Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: the server answered %s", u.Redacted(), resp.Status)
	}
	return durable.ReadAll(resp.Body, rebuild.MaxBinary)
}

func isWeb(s string) bool { return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") }

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// installRoot returns where cargo install would install to.
func installRoot(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if env := os.Getenv("CARGO_INSTALL_ROOT"); env != "" {
		return env, nil
	}
	home, err := cargo.Home()
	if err != nil {
		return "", err
	}
	cfg, err := cargo.LoadConfig(".", home)
	if err != nil {
		return "", err
	}
	for _, v := range cfg.All("install", "root") {
		if root, ok := v.Value.(string); ok && filepath.IsAbs(root) {
			return root, nil
		} else if ok { // SPEC (cargo's reference): relative to the directory above that of the file
			return filepath.Join(filepath.Dir(filepath.Dir(v.File)), root), nil
		}
	}
	return home, nil
}

// architectures and systems are Go's names of what stands in target triples.
var (
	architectures = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "riscv64": "riscv64gc", "s390x": "s390x", "ppc64le": "powerpc64le"}
	systems       = map[string]string{"linux": "linux", "darwin": "apple-darwin", "windows": "windows", "freebsd": "freebsd"}
)

// runsHere refuses a binary for another kind of machine.
func runsHere(target string) error {
	arch, system := architectures[runtime.GOARCH], systems[runtime.GOOS]
	if first, rest, _ := strings.Cut(target, "-"); first == arch && strings.Contains(rest, system) {
		return nil
	}
	return outcome.Refusef("the binary is for %s, and this machine is %s %s: it would not run here", target, runtime.GOOS, runtime.GOARCH)
}
