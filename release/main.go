// Command release makes the files of a release from a commit of this repository:
//
//	go run ./release [-out DIR] [-commit REV] [-targets OS/ARCH,...] [-check]
//
// For each target an archive with the programs, man pages, completions and licence; a list of what the
// programs are made of (CycloneDX, .cdx.json); for Linux a Debian package with the same; the program that a
// monitor hands to browsers (monitor/web/verify/pack); and SHA256SUMS of all. Every byte follows from
// the commit, its tags and the Go version: the commit is cloned into a new directory and built there, without
// cgo, paths of this machine or times but the commit's. -check makes everything twice, in other directories
// and the second time with an empty build cache, and compares.
//
// The version is the tag vX.Y.Z of the commit; without one it is a development build, whose files
// are named for the commit.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/module"

	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// all are the targets of a release.
var all = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(outcome.Exit("release", run(ctx, os.Args[1:]), os.Stderr))
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("release", flag.ContinueOnError)
	out := fs.String("out", "dist", "`DIR` for the files, which is made and must be empty")
	commit := fs.String("commit", "HEAD", "`REV` to build")
	targets := fs.String("targets", strings.Join(all, ","), "`OS/ARCH` to build for, with commas")
	only := fs.String("programs", "", "`NAMES` of the programs, with commas (default: all that there are for the target)")
	check := fs.Bool("check", false, "make everything twice, and compare")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil || fs.NArg() > 0 {
		return outcome.Usagef("the options are -out, -commit, -targets, -programs and -check")
	}
	r := &release{commit: *commit, targets: strings.Split(*targets, ",")}
	if *only != "" {
		r.only = strings.Split(*only, ",")
	}
	for _, t := range r.targets {
		if !slices.Contains(all, t) {
			return outcome.Usagef("%q is not one of the targets %s", t, strings.Join(all, ", "))
		}
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	if list, err := os.ReadDir(*out); err != nil {
		return err
	} else if len(list) > 0 {
		return outcome.Usagef("%s is not empty: name another directory with -out", *out)
	}
	sums, err := r.make(ctx, *out, "")
	if err != nil || !*check {
		return err
	}
	again, err := os.MkdirTemp("", "cratelog-release-again-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(again)
	fmt.Fprintln(os.Stderr, "and again, elsewhere, with an empty build cache")
	second, err := r.make(ctx, filepath.Join(again, "out"), filepath.Join(again, "cache"))
	if err != nil {
		return err
	}
	for name, sum := range sums {
		if second[name] != sum {
			return outcome.Refusef("%s is not reproducible: its SHA-256 was %x, and the second time %x", name, sum, second[name])
		}
	}
	fmt.Fprintf(os.Stderr, "%d files came out the same twice\n", len(sums))
	return nil
}

// release is one making of the files.
type release struct {
	commit  string
	targets []string
	only    []string // programs; nil for all

	src     string    // the clone
	cache   string    // build cache; "" for the user's
	time    time.Time // of the commit
	version string    // "0.1.0", or "0.0.0-dev.COMMIT"
	common  []file    // man pages, completions and so on: what all archives have
}

// file is one in an archive or a package, or a program.
type file struct {
	name string // slash-separated
	mode int64
	data []byte
}

// make makes all files in out and returns their checksums, by name.
func (r *release) make(ctx context.Context, out, cache string) (map[string][32]byte, error) {
	dir, err := os.MkdirTemp("", "cratelog-release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r.src, r.cache = filepath.Join(dir, "cratelog"), cache
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	if err := r.clone(ctx); err != nil {
		return nil, err
	}
	host := runtime.GOOS + "/" + runtime.GOARCH
	programs, err := r.build(ctx, host, filepath.Join(dir, "host"))
	if err != nil {
		return nil, err
	}
	if r.common, err = r.documents(ctx, filepath.Join(dir, "host"), programs); err != nil {
		return nil, err
	}
	sums := make(map[string][32]byte)
	write := func(name string, data []byte) error {
		sums[name] = sha256.Sum256(data)
		return durable.Write(filepath.Join(out, name), data, 0o644)
	}
	for i, target := range r.targets {
		begin := time.Now()
		built := programs // of this machine
		if target != host {
			if built, err = r.build(ctx, target, filepath.Join(dir, strconv.Itoa(i))); err != nil {
				return nil, err
			}
		}
		files, err := r.pack(target, built)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if err := write(f.name, f.data); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(os.Stderr, "%s (%d of %d, %d programs) in %d s\n", target, i+1, len(r.targets), len(built),
			int(time.Since(begin).Seconds()))
	}
	if r.only == nil || slices.Contains(r.only, "monitor") {
		f, err := r.checker(ctx, dir)
		if err == nil {
			err = write(f.name, f.data)
		}
		if err != nil {
			return nil, err
		}
	}
	var list bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&list, "%x  %s\n", sums[name], name)
	}
	return sums, write("SHA256SUMS", list.Bytes())
}

// clone makes a clone with nothing but what the commit has: changes of the checkout do not count.
func (r *release) clone(ctx context.Context) error {
	root, err := command(ctx, "", nil, "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	commit, err := command(ctx, "", nil, "git", "rev-parse", "--verify", r.commit+"^{commit}")
	if err != nil {
		return err
	}
	if _, err := command(ctx, "", nil, "git", "-c", "core.autocrlf=false", "clone", "--quiet", "--no-checkout",
		strings.TrimSpace(root), r.src); err != nil {
		return err
	}
	if _, err := command(ctx, r.src, nil, "git", "-c", "core.autocrlf=false", "checkout", "--quiet", "--detach",
		strings.TrimSpace(commit)); err != nil {
		return err
	}
	seconds, err := command(ctx, r.src, nil, "git", "show", "-s", "--format=%ct")
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(seconds), 10, 64)
	r.time = time.Unix(n, 0).UTC()
	return err
}

// build builds the programs for a target.
func (r *release) build(ctx context.Context, target, dir string) ([]file, error) {
	system, arch, _ := strings.Cut(target, "/")
	names, err := r.programs(system)
	if err != nil {
		return nil, err
	}
	args := []string{"build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w", "-o", dir + string(filepath.Separator)}
	for _, name := range names {
		args = append(args, "./cmd/"+name)
	}
	if _, err := command(ctx, r.src, r.env(system, arch), "go", args...); err != nil {
		return nil, err
	}
	var programs []file
	for _, name := range names {
		if system == "windows" {
			name += ".exe"
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		programs = append(programs, file{name, 0o755, b})
	}
	r.version, err = versionOf(programs[0])
	return programs, err
}

// env is the environment of the go command: nothing of this machine's settings counts.
func (r *release) env(system, arch string) []string {
	env := []string{"CGO_ENABLED=0", "GOOS=" + system, "GOARCH=" + arch, "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off",
		"GOTOOLCHAIN=local", "GOAMD64=v1", "GOARM64=v8.0", "GO111MODULE=on", "GOFIPS140=off"}
	if r.cache != "" {
		env = append(env, "GOCACHE="+r.cache)
	}
	return env
}

// checker makes the file of a monitor's setting browser_verify. No path and no version is in it.
func (r *release) checker(ctx context.Context, dir string) (file, error) {
	path := filepath.Join(dir, "verify.tar")
	env := r.env(runtime.GOOS, runtime.GOARCH)
	if _, err := command(ctx, r.src, env, "go", "run", "./monitor/web/verify/pack", "-o", path); err != nil {
		return file{}, err
	}
	b, err := os.ReadFile(path)
	return file{"cratelog-" + r.version + "-verify.tar", 0o644, b}, err
}

// linuxOnly are the programs that are offered for Linux only: servers, which were tried there alone.
var linuxOnly = []string{"logd", "witness", "demo", "cratelog"}

// programs are the names of those of a system.
func (r *release) programs(system string) (names []string, err error) {
	list, err := os.ReadDir(filepath.Join(r.src, "cmd"))
	for _, d := range list {
		if d.IsDir() && (system == "linux" || !slices.Contains(linuxOnly, d.Name())) &&
			(r.only == nil || slices.Contains(r.only, d.Name())) {
			names = append(names, d.Name())
		}
	}
	if err == nil && len(names) == 0 {
		err = outcome.Usagef("there are no such programs for %s", system)
	}
	return names, err
}

// versionOf reads what the go command has written into a program.
func versionOf(program file) (string, error) {
	info, err := buildinfo.Read(bytes.NewReader(program.data))
	if err != nil {
		return "", fmt.Errorf("%s: %w", program.name, err)
	}
	v, meta, _ := strings.Cut(info.Main.Version, "+")
	if meta != "" {
		return "", outcome.Refusef("%s says that it was built from a commit with changes", program.name)
	}
	if rev, err := module.PseudoVersionRev(v); err == nil {
		return "0.0.0-dev." + rev, nil
	}
	if !strings.HasPrefix(v, "v") {
		return "", fmt.Errorf("%s does not say which commit it was built from: %q", program.name, v)
	}
	return v[1:], nil
}

// documents are the files beside the programs, made with the programs of this machine.
func (r *release) documents(ctx context.Context, bin string, programs []file) (list []file, err error) {
	for _, name := range []string{"LICENSE", "NEWS.md", "README.md", "docs/install.md"} {
		b, err := os.ReadFile(filepath.Join(r.src, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		list = append(list, file{name[strings.LastIndex(name, "/")+1:], 0o644, b})
	}
	for _, p := range programs {
		name := strings.TrimSuffix(p.name, ".exe")
		if name == "demo" {
			continue // it needs no explanation
		}
		if name != "cargo-zkp" {
			usage, err := command(ctx, "", nil, filepath.Join(bin, p.name), "help")
			if err != nil {
				return nil, err
			}
			list = append(list, file{"man/" + name + ".1", 0o644, man(name, r.version, usage)})
			continue
		}
		pages := filepath.Join(bin, "man")
		if _, err := command(ctx, "", nil, filepath.Join(bin, p.name), "man", "-q", pages); err != nil {
			return nil, err
		}
		err := filepath.WalkDir(pages, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			list = append(list, file{"man/" + d.Name(), 0o644, b})
			return err
		})
		if err != nil {
			return nil, err
		}
		for shell, as := range map[string]string{"bash": "cargo-zkp.bash", "zsh": "_cargo-zkp", "fish": "cargo-zkp.fish",
			"powershell": "cargo-zkp.ps1"} {
			text, err := command(ctx, "", nil, filepath.Join(bin, p.name), "completions", shell)
			if err != nil {
				return nil, err
			}
			list = append(list, file{"completions/" + as, 0o644, []byte(text)})
		}
	}
	slices.SortFunc(list, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return list, nil
}

// man makes a man page of what a program says of itself.
func man(name, version, usage string) []byte {
	clean := strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n.", "\n\\&.", "\n'", "\n\\&'", "\t", "    ")
	about, rest, _ := strings.Cut(usage, "\n")
	about = strings.TrimSuffix(strings.TrimPrefix(about, name+" "), ".")
	return fmt.Appendf(nil, ".TH %s 1 \"\" \"cratelog %s\" \"cratelog\"\n.SH NAME\n%[3]s \\- %s\n.SH USAGE\n.nf\n%s\n.fi\n",
		strings.ToUpper(name), version, name, clean.Replace(about), clean.Replace(strings.Trim(rest, "\n")))
}

// command runs a program and returns what it prints. Its error has what the program complained of.
func command(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return stdout.String(), nil
}
