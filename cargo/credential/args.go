package credential

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/internal/durable"
)

// Usage tells how the provider is configured.
const Usage = `cargo-zkp is a credential provider for cargo that refuses to publish a .crate until
exactly that .crate is logged with a proof. In .cargo/config.toml:

    [registries.NAME]      # or [registry] for cargo's default registry
    credential-provider = ["cargo-zkp", OPTIONS..., "--", PROVIDER, ARGS...]

or, with another provider before it in the list:

    [registry]
    global-credential-providers = ["cargo:token", "cargo-zkp OPTIONS... --next"]

Options:
  --policy FILE      zkp.toml; default: the workspace's, or your own
  --trust FILE       trust file (C2SP tlog-policy), instead of the policy's; may be repeated
  --program FILE     program to accept, instead of the policy's; may be repeated
  --development      accept UNSAFE development keys, for trying things out
  --registry-backed ORIGIN
                     log that takes only what the registry lists, beside those that the policy
                     names: the entry must be made and verified, the log answer; may be repeated
  --log URL          log to ask, instead of those that the trust files name, or, of another registry than
                     cargo's default one, [registry."INDEX"] logs in zkp.toml; may be repeated
  --bundles DIR      where "cargo zkp publish" keeps bundles; default: target/zkp above here
  --next             leave the token to the provider before this one in the list
  -- PROVIDER ARGS   the provider that gives the token; default: cargo:token
`

// SetUp returns the function that makes a provider from its arguments. The provider was
// started in cwd; cargoHome and userDir are the directories of cargo and of the user's settings.
func SetUp(cwd, cargoHome, userDir string, env func(string) string,
	userAgent string) func(args []string) (*Provider, error) {
	settings := func() (*Settings, error) { return ReadSettings(cwd, cargoHome, env) }
	return func(args []string) (*Provider, error) {
		a, err := parseArgs(args)
		if err != nil {
			return nil, err
		}
		p := &Provider{}
		switch {
		case a.next && len(a.words) > 0:
			return nil, errors.New("--next and a provider behind \"--\" exclude each other")
		case a.next:
			p.Token = Next{}
		case len(a.words) == 0:
			a.words = []string{"cargo:token"}
			fallthrough
		default:
			if p.Token, err = Command(a.words, settings); err != nil {
				return nil, err
			}
		}
		if a.exactly != "" {
			p.Check = Exactly(a.exactly).Check
			return p, nil
		}
		p.Check = func(ctx context.Context, u Upload) error { return a.check(ctx, u, cwd, userDir, env, userAgent) }
		return p, nil
	}
}

type arguments struct {
	place         policy.Place
	logs, bundles []string
	next          bool
	exactly       string
	words         []string // of the provider that gives the token
}

func parseArgs(args []string) (*arguments, error) {
	a := &arguments{}
	fs := flag.NewFlagSet("cargo-zkp", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	a.place.Register(fs)
	fs.Func("program", "", policy.AppendTo(&a.place.Programs))
	fs.Func("registry-backed", "", policy.AppendTo(&a.place.RegistryBacked))
	fs.Func("log", "", policy.AppendTo(&a.logs))
	fs.Func("bundles", "", policy.AppendTo(&a.bundles))
	fs.BoolVar(&a.next, "next", false, "")
	fs.StringVar(&a.exactly, "exactly", "", "") // only cargo zkp publish gives it
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	a.words = fs.Args()
	if behind := len(args) - len(a.words); len(a.words) > 0 && (behind == 0 || args[behind-1] != "--") {
		return nil, fmt.Errorf("%q is not an option; the provider that gives the token stands behind \"--\"", a.words[0])
	}
	return a, nil
}

// check is done when cargo is about to publish, and only then are the policy's files
// read: cargo asks for other things too.
func (a *arguments) check(ctx context.Context, u Upload, cwd, userDir string, env func(string) string,
	userAgent string) error {
	a.place.UserDir = userDir
	if manifest, err := cargo.FindManifest(cwd); err == nil {
		ws, err := cargo.LoadWorkspace(manifest)
		if err != nil {
			return err
		}
		a.place.Root, a.place.Metadata = ws.Root, ws.Policy
	}
	p, err := a.place.Load()
	if err != nil {
		return err
	}
	reader, err := NewReader(p)
	if err != nil {
		return err
	}
	l := &Logged{Reader: reader, Dirs: a.bundles, Note: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "cargo-zkp: "+format+"\n", args...) // which cargo shows
	}}
	if len(l.Dirs) == 0 {
		l.Dirs = bundleDirs(cwd, env)
	}
	logs := a.logs
	if len(logs) == 0 {
		logs = reader.Logs(u.Index)
	}
	for _, url := range logs {
		l.Logs = append(l.Logs, &client.Log{URL: url, UserAgent: userAgent})
	}
	return l.Check(ctx, u)
}

// bundleDirs are the places where cargo zkp publish may have kept bundles.
func bundleDirs(cwd string, env func(string) string) []string {
	var dirs []string
	for _, name := range []string{"CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"} {
		if d := env(name); d != "" {
			if !filepath.IsAbs(d) {
				d = filepath.Join(cwd, d)
			}
			dirs = append(dirs, filepath.Join(d, "zkp"))
		}
	}
	for dir := cwd; ; dir = filepath.Dir(dir) {
		dirs = append(dirs, filepath.Join(dir, "target", "zkp"))
		if dir == filepath.Dir(dir) {
			return dirs
		}
	}
}

// Exactly is the check of cargo zkp publish, which has verified everything itself: a
// file with a line "NAME VERSION SHA256" for each crate that may be uploaded. What was
// allowed is added to a second file, FILE.asked, with the registry's index.
type Exactly string

// maxAllowed bounds a file of Exactly in bytes.
const maxAllowed = 4 << 20

// Allow returns the content of the file for a crate.
func Allow(name, version string, sum [32]byte) string {
	return fmt.Sprintf("%s %s %x\n", name, version, sum)
}

// Check returns nil if the file allows the upload.
func (e Exactly) Check(_ context.Context, u Upload) error {
	b, err := durable.Read(string(e), maxAllowed)
	if err != nil {
		return fmt.Errorf("what \"cargo zkp publish\" has proved cannot be read: %w", err)
	}
	line := Allow(u.Name, u.Version, u.SHA256)
	if !strings.Contains("\n"+string(b), "\n"+line) {
		return fmt.Errorf("cargo has packaged %s %s again with other bytes than those that were proved and logged\n"+
			"it is about to upload SHA-256 %x; nothing was uploaded\nsee what has changed since: the cargo that is used, "+
			"Cargo.lock, or the registry's index",
			u.Name, u.Version, u.SHA256)
	}
	return appendLine(string(e)+".asked", strings.TrimSuffix(line, "\n")+" "+u.Index+"\n")
}

// Asked says whether the check of a file has allowed an upload, and to which
// registry's index.
func (e Exactly) Asked(name, version string, sum [32]byte) (index string, ok bool) {
	b, err := durable.Read(string(e)+".asked", maxAllowed)
	if err != nil {
		return "", false
	}
	want := strings.TrimSuffix(Allow(name, version, sum), "\n") + " "
	for line := range strings.Lines(string(b)) {
		if index, ok := strings.CutPrefix(line, want); ok {
			return strings.TrimSuffix(index, "\n"), true
		}
	}
	return "", false
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

// Main serves cargo on in and out with this process's own directories and
// environment.
func Main(ctx context.Context, in io.Reader, out io.Writer) error {
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	home, err := cargo.Home()
	if err != nil {
		return err
	}
	return Serve(ctx, in, out, SetUp(cwd, home, policy.UserDir(), os.Getenv, "cargo-zkp"))
}
