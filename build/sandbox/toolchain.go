package sandbox

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/internal/durable"
)

const (
	toolchainDomain  = "cratelog/toolchain/v1\n"
	toolchainArchive = "toolchain.tar"
	aboutFile        = "rustc-version"

	maxManifest = 8 << 20  // bytes of a component's manifest
	maxAbout    = 64 << 10 // bytes that rustc -vV prints
)

// Toolchain is a compiler and what it needs, by its files.
type Toolchain struct {
	ID    [32]byte
	Dir   string // where the files are: what rustup installed, or what KeepToolchain wrote
	Host  string // target triple, from the files' paths
	Files int
	Size  int64 // bytes

	// What the compiler says of itself (rustc -vV), and the id does not bind.
	Release, Commit string

	files *store
}

// FindToolchain asks a compiler where its files are. With rustc "" that is the compiler that cargo
// uses in the working directory.
func FindToolchain(ctx context.Context, rustc string) (sysroot string, err error) {
	if rustc == "" {
		rustc = "rustc"
	}
	out, err := ask(ctx, rustc, "--print", "sysroot")
	if err != nil {
		return "", err
	}
	sysroot, ok := strings.CutSuffix(strings.TrimSuffix(out, "\r\n"), "\n")
	if !ok && sysroot == "" || strings.Contains(sysroot, "\n") || !filepath.IsAbs(sysroot) {
		return "", fmt.Errorf("%s --print sysroot printed no absolute path: %.200q", rustc, out)
	}
	return sysroot, nil
}

// ask runs a compiler and returns what it prints.
func ask(ctx context.Context, rustc string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, rustc, args...)
	stdout, stderr := durable.Buffer{Limit: maxAbout}, durable.Buffer{Limit: maxAbout}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("there is no %s: install a toolchain with rustup, or name a compiler", rustc)
	} else if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", rustc, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// ReadToolchain computes the id of the toolchain that rustup installed at sysroot: of exactly the
// files that the manifests of its components rustc, cargo and rust-std list, without share/ and etc/.
// What stands beside them is neither counted nor copied.
func ReadToolchain(ctx context.Context, sysroot string) (*Toolchain, error) {
	root, err := os.OpenRoot(sysroot)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	paths, err := listedFiles(root)
	if err != nil {
		return nil, fmt.Errorf("the toolchain at %s: %w", sysroot, err)
	}
	s := &store{dir: sysroot}
	for _, p := range paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		it, err := hashFile(root, p)
		if err != nil {
			return nil, fmt.Errorf("the toolchain at %s: %w", sysroot, err)
		}
		s.items = append(s.items, it)
	}
	about, err := ask(ctx, filepath.Join(sysroot, "bin", "rustc"), "-vV")
	if err != nil {
		return nil, err
	}
	return newToolchain(s, sysroot, about)
}

// listedFiles returns what the manifests list, sorted.
func listedFiles(root *os.Root) ([]string, error) {
	var paths []string
	for _, component := range []string{"rustc", "cargo", "rust-std"} {
		manifest, err := findManifest(root, component)
		if err != nil {
			return nil, err
		}
		found, err := readManifest(root, manifest)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", manifest, err)
		}
		paths = append(paths, found...)
	}
	slices.Sort(paths)
	if paths = slices.Compact(paths); len(paths) > maxItems {
		return nil, fmt.Errorf("the components list more than %d files", maxItems)
	}
	return paths, nil
}

// findManifest returns the manifest of a component for the compiler's own host.
func findManifest(root *os.Root, component string) (string, error) {
	host, err := hostOf(root)
	if err != nil {
		return "", err
	}
	return path.Join("lib/rustlib", "manifest-"+component+"-"+host), nil
}

// hostOf returns the triple that stands in the name of rustc's manifest.
func hostOf(root *os.Root) (string, error) {
	names, err := fs.Glob(root.FS(), "lib/rustlib/manifest-rustc-*")
	if err != nil {
		return "", err
	}
	if len(names) != 1 {
		return "", fmt.Errorf("it has %d manifests of the component rustc in lib/rustlib, and one tells its files: "+
			"take a toolchain that rustup installed (rustup toolchain install stable)", len(names))
	}
	return strings.TrimPrefix(path.Base(names[0]), "manifest-rustc-"), nil
}

// readManifest returns the files that a component's manifest lists, and those in the directories
// that it lists, without share/ and etc/.
func readManifest(root *os.Root, name string) ([]string, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := durable.ReadAll(f, maxManifest)
	if err != nil {
		return nil, err
	}
	var paths []string
	for line := range strings.Lines(string(text)) {
		kind, p, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok || kind != "file" && kind != "dir" {
			return nil, fmt.Errorf("%.100q is no line of a manifest", line)
		}
		if err := checkPath(p); err != nil {
			return nil, err
		}
		if p == "share" || p == "etc" || strings.HasPrefix(p, "share/") || strings.HasPrefix(p, "etc/") {
			continue
		}
		if kind == "file" {
			paths = append(paths, p)
			continue
		}
		err := fs.WalkDir(root.FS(), p, func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				err = checkPath(p)
				paths = append(paths, p)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return paths, nil
}

func hashFile(root *os.Root, name string) (item, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return item{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return item{}, err
	}
	if info.Size() > maxFile {
		return item{}, fmt.Errorf("%s has more than %d bytes", name, int64(maxFile))
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, maxFile))
	if err != nil {
		return item{}, err
	}
	return item{path: name, kind: tar.TypeReg, mode: plainMode(info.Mode()), size: n, sum: [32]byte(sum.Sum(nil))}, nil
}

// newToolchain computes what a Toolchain says of its files.
func newToolchain(s *store, dir, about string) (*Toolchain, error) {
	t := &Toolchain{Dir: dir, files: s}
	sum := sha256.New()
	w := bufio.NewWriter(sum)
	w.WriteString(toolchainDomain)
	for _, it := range s.items {
		if it.kind != tar.TypeReg {
			continue // directories follow from the files
		}
		fmt.Fprintf(w, "%o %x %s\n", it.mode, it.sum, it.path)
		t.Files++
		t.Size += it.size
	}
	w.Flush()
	sum.Sum(t.ID[:0])
	if err := t.readHost(); err != nil {
		return nil, fmt.Errorf("the toolchain at %s: %w", dir, err)
	}
	t.Release, t.Commit = versionLine(about, "release"), versionLine(about, "commit-hash")
	if host := versionLine(about, "host"); host != t.Host {
		return nil, fmt.Errorf("the toolchain at %s: rustc says that its host is %q, and its standard library is for %s",
			dir, host, t.Host)
	}
	return t, nil
}

// readHost finds the one target that the files have a standard library for.
func (t *Toolchain) readHost() error {
	found := make(map[string]bool)
	for _, it := range t.files.items {
		if dir, file := path.Split(it.path); strings.HasPrefix(file, "libstd-") && strings.HasSuffix(file, ".rlib") {
			target, ok := strings.CutPrefix(strings.TrimSuffix(dir, "/lib/"), "lib/rustlib/")
			found[target] = found[target] || ok && !strings.Contains(target, "/")
			t.Host = target
		}
	}
	if len(found) != 1 || !found[t.Host] {
		return errors.New("it has no standard library, or several, below lib/rustlib")
	}
	for _, need := range []string{"bin/rustc", "bin/cargo"} {
		if t.files.find(need) == nil {
			return fmt.Errorf("it has no %s", need)
		}
	}
	return nil
}

// versionLine returns the value of a line "key: value" that rustc -vV prints.
func versionLine(about, key string) string {
	for line := range strings.Lines(about) {
		if k, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ": "); ok && k == key {
			return value
		}
	}
	return ""
}

// KeepToolchain copies exactly the listed files of the toolchain at sysroot below the cache
// directory, at toolchains/ID, where OpenToolchain finds them after rustup has changed its own. A
// copy that is there is read again, and used if it has this id.
func KeepToolchain(ctx context.Context, sysroot, cache string) (*Toolchain, error) {
	t, err := ReadToolchain(ctx, sysroot)
	if err != nil {
		return nil, err
	}
	dir := toolchainDir(cache, t.ID)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		err = stage(filepath.Dir(dir), func(staging string) (string, error) {
			return dir, t.writeTo(ctx, staging)
		})
		if err != nil && !errors.Is(err, fs.ErrExist) { // or another process was faster
			return nil, err
		}
	}
	return OpenToolchain(ctx, cache, t.ID)
}

func toolchainDir(cache string, id [32]byte) string {
	return filepath.Join(cache, "toolchains", hex.EncodeToString(id[:]))
}

func (t *Toolchain) writeTo(ctx context.Context, dir string) error {
	err := keep(filepath.Join(dir, toolchainArchive), func(tree *Tree) error { return t.files.writeTo(ctx, tree, "") })
	if err != nil {
		return err
	}
	about := fmt.Sprintf("release: %s\ncommit-hash: %s\nhost: %s\n", t.Release, t.Commit, t.Host)
	return os.WriteFile(filepath.Join(dir, aboutFile), []byte(about), 0o644)
}

// OpenToolchain opens a toolchain that KeepToolchain wrote, and reads all of it: it fails if the
// files are not those of the id.
func OpenToolchain(ctx context.Context, cache string, id [32]byte) (*Toolchain, error) {
	dir := toolchainDir(cache, id)
	s, err := scan(ctx, filepath.Join(dir, toolchainArchive))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no toolchain %x is kept in %s: install it with rustup, and run cargo zkp toolchain "+
			"in a directory that uses it: %w", id, cache, err)
	} else if err != nil {
		return nil, err
	}
	about, err := durable.Read(filepath.Join(dir, aboutFile), maxAbout)
	if err != nil {
		return nil, err
	}
	t, err := newToolchain(s, dir, string(bytes.ToValidUTF8(about, []byte("?"))))
	if err != nil {
		return nil, err
	}
	if t.ID != id {
		return nil, fmt.Errorf("the toolchain that is kept at %s has changed: its id is %x; delete it, and it is "+
			"copied again", dir, t.ID)
	}
	return t, nil
}
