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
	"path/filepath"
	"slices"
	"strings"
)

const (
	environmentDomain  = "cratelog/environment/v1\n"
	environmentArchive = "rootfs.tar"
	dpkgStatus         = "var/lib/dpkg/status"

	maxStatus  = 32 << 20 // bytes of dpkg's list of packages
	maxPadding = 16 << 20 // bytes of zeros behind an archive
)

// Environment is the files of a small distribution: what stands in a sandbox beside the toolchain.
type Environment struct {
	ID       [32]byte
	Dir      string
	Packages []string // "NAME VERSION" of each package that its dpkg knows, sorted; none for other distributions
	Files    int      // with directories and links
	Size     int64    // bytes

	files *store
}

// OpenEnvironment opens an environment that MakeEnvironment or ImportEnvironment wrote. It reads and
// hashes all of it: the id is that of what is there now.
func OpenEnvironment(ctx context.Context, dir string) (*Environment, error) {
	s, err := scan(ctx, filepath.Join(dir, environmentArchive))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no environment: make one with cargo zkp environment make %s: %w", dir, dir, err)
	} else if err != nil {
		return nil, err
	}
	for _, it := range s.items {
		if err := place(it.path); err != nil {
			return nil, err
		}
	}
	e := &Environment{Dir: dir, Files: len(s.items), files: s}
	e.compute()
	if e.Packages, err = s.packages(); err != nil {
		return nil, err
	}
	return e, nil
}

// compute computes the id.
func (e *Environment) compute() {
	sum := sha256.New()
	w := bufio.NewWriter(sum)
	w.WriteString(environmentDomain)
	for _, it := range e.files.items {
		switch it.kind {
		case tar.TypeDir:
			fmt.Fprintf(w, "dir\t755\t\t%s\n", it.path)
		case tar.TypeSymlink:
			fmt.Fprintf(w, "link\t777\t%s\t%s\n", it.target, it.path)
		default:
			fmt.Fprintf(w, "file\t%o\t%x\t%s\n", it.mode, it.sum, it.path)
		}
		e.Size += it.size
	}
	w.Flush()
	sum.Sum(e.ID[:0])
}

// KeptEnvironment returns where the environment with an id is kept below the cache directory,
// whether it is there or not.
func KeptEnvironment(cache string, id [32]byte) string {
	return filepath.Join(cache, "environments", hex.EncodeToString(id[:]))
}

// KeptEnvironments returns the ids of the environments that stand below the cache directory. None of
// them is opened.
func KeptEnvironments(cache string) ([][32]byte, error) {
	found, err := os.ReadDir(filepath.Join(cache, "environments"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids [][32]byte
	for _, d := range found {
		if id, err := hex.DecodeString(d.Name()); err == nil && len(id) == 32 && d.Name() == hex.EncodeToString(id) {
			ids = append(ids, [32]byte(id))
		}
	}
	return ids, nil
}

// OpenKeptEnvironment opens the environment that is kept below the cache directory under an id, and
// fails if it has another.
func OpenKeptEnvironment(ctx context.Context, cache string, id [32]byte) (*Environment, error) {
	dir := KeptEnvironment(cache, id)
	e, err := OpenEnvironment(ctx, dir)
	if err != nil {
		return nil, err
	}
	if e.ID != id {
		return nil, fmt.Errorf("the environment that is kept at %s has changed: its id is %x; delete it, and import it again",
			dir, e.ID)
	}
	return e, nil
}

// ImportEnvironment makes an environment of any root file system, as a tar file that is not
// compressed, and writes it to dir, which must not exist yet. It says in the package comment what an
// environment leaves out and what it refuses.
func ImportEnvironment(ctx context.Context, rootfs io.Reader, dir string) (*Environment, error) {
	err := stage(filepath.Dir(filepath.Clean(dir)), func(staging string) (string, error) {
		_, err := importInto(ctx, rootfs, staging)
		return dir, err
	})
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: name a directory that does not exist yet", err)
	} else if err != nil {
		return nil, err
	}
	return OpenEnvironment(ctx, dir)
}

// KeepEnvironment is ImportEnvironment to a place below the cache directory, by the environment's id;
// if it is there already, that one is opened.
func KeepEnvironment(ctx context.Context, rootfs io.Reader, cache string) (*Environment, error) {
	var id [32]byte
	err := stage(filepath.Join(cache, "environments"), func(staging string) (string, error) {
		e, err := importInto(ctx, rootfs, staging)
		if err != nil {
			return "", err
		}
		id = e.ID
		return KeptEnvironment(cache, id), nil
	})
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return OpenKeptEnvironment(ctx, cache, id)
}

// importInto writes an environment into a directory that is there.
func importInto(ctx context.Context, rootfs io.Reader, dir string) (*Environment, error) {
	spool, err := os.CreateTemp(dir, ".spool-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(spool.Name())
	defer spool.Close()
	imp := &importer{spool: spool, items: make(map[string]item)}
	if err := imp.read(ctx, rootfs); err != nil {
		return nil, fmt.Errorf("the root file system: %w", err)
	}
	if err := keep(filepath.Join(dir, environmentArchive), func(t *Tree) error { return imp.write(ctx, t) }); err != nil {
		return nil, err
	}
	return OpenEnvironment(ctx, dir)
}

// importer reads a root file system in any order. Directories that it does not list are made.
type importer struct {
	spool *os.File // the bytes of all files
	size  int64    // of the spool
	items map[string]item
}

func (m *importer) read(ctx context.Context, rootfs io.Reader) error {
	buffered := bufio.NewReaderSize(rootfs, 1<<20)
	counted := &counter{r: buffered}
	r := tar.NewReader(counted)
	for n := 0; ; n++ {
		h, err := counted.next(r)
		if err == io.EOF && n > 0 {
			return drain(buffered)
		} else if err == io.EOF {
			return errors.New("it is empty: is it a tar file, and not compressed?")
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if n >= maxItems {
			return fmt.Errorf("more than %d files", maxItems)
		}
		if err := m.add(h, r); err != nil {
			return err
		}
	}
}

// drain reads what stands behind an archive's end: zeros, and how the program exited that wrote it.
func drain(r io.Reader) error {
	rest := make([]byte, 64<<10)
	for read := 0; read < maxPadding; {
		n, err := r.Read(rest)
		if strings.Trim(string(rest[:n]), "\x00") != "" {
			return errors.New("something stands behind the end of the archive")
		}
		if read += n; err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
	return fmt.Errorf("more than %d bytes stand behind the end of the archive", maxPadding)
}

// add takes one file. A hard link becomes a copy.
func (m *importer) add(h *tar.Header, r io.Reader) error {
	name, err := rootPath(h.Name)
	if err != nil || name == "." || skipped(name) {
		return err
	}
	if err := place(name); err != nil {
		return err
	}
	it := item{path: name, kind: h.Typeflag, mode: plainMode(fs.FileMode(h.Mode))}
	switch h.Typeflag {
	case tar.TypeDir:
		if m.items[name].kind == tar.TypeDir {
			return nil
		}
	case tar.TypeSymlink:
		if it.target = h.Linkname; checkTarget(it.target) != nil {
			return fmt.Errorf("%s: %w", name, checkTarget(it.target))
		}
	case tar.TypeReg:
		if err := m.copy(&it, h.Size, r); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	case tar.TypeLink:
		to, err := rootPath(h.Linkname)
		if err != nil {
			return fmt.Errorf("%s is a hard link: %w", name, err)
		}
		file, ok := m.items[to]
		if !ok || file.kind != tar.TypeReg {
			return fmt.Errorf("%s is a hard link to %s, which is no file before it", name, to)
		}
		it = file
		it.path = name
	default:
		return fmt.Errorf("%s is a device, a pipe or of an unknown kind (%q): a sandbox takes files, directories and links",
			name, h.Typeflag)
	}
	if _, ok := m.items[name]; ok {
		return fmt.Errorf("%s stands there twice", name)
	}
	m.items[name] = it
	return nil
}

func (m *importer) copy(it *item, size int64, r io.Reader) error {
	if size > maxFile || m.size+size > maxTotal {
		return fmt.Errorf("more than %d bytes in one file, or %d in all", int64(maxFile), int64(maxTotal))
	}
	n, err := io.Copy(m.spool, r)
	it.size, it.offset = n, m.size
	m.size += n
	return err
}

// write writes the files in their order.
func (m *importer) write(ctx context.Context, t *Tree) error {
	paths := make([]string, 0, len(m.items))
	for p := range m.items {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		it := m.items[p]
		err := ctx.Err()
		switch {
		case err != nil:
		case it.kind == tar.TypeDir:
			err = t.mkdir(p)
		case it.kind == tar.TypeSymlink:
			err = t.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: p, Linkname: it.target, Mode: 0o777})
		default:
			err = t.copy(p, it.mode, it.size, io.NewSectionReader(m.spool, it.offset, it.size))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rootPath returns a path of an archive, as in "./usr/bin/" or "/usr/bin", relative to its root.
func rootPath(name string) (string, error) {
	p := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(name, "."), "/"), "/")
	if p == "" {
		return ".", nil
	}
	return p, checkPath(p)
}

// skipped tells what the sandbox has of its own.
func skipped(name string) bool {
	top, _, _ := strings.Cut(name, "/")
	return top == "dev" || top == "proc" || top == "sys"
}

// place refuses a path where the sandbox puts something itself.
func place(name string) error {
	if top, _, _ := strings.Cut(name, "/"); top == "build" || top == bootDir || skipped(name) {
		return fmt.Errorf("an environment has nothing at /%s, where the sandbox puts its own files", top)
	}
	return nil
}

// packages reads which packages dpkg has installed.
func (s *store) packages() ([]string, error) {
	status := s.find(dpkgStatus)
	if status == nil || status.kind != tar.TypeReg {
		return nil, nil
	}
	o, err := s.open()
	if err != nil {
		return nil, err
	}
	defer o.close()
	text, err := o.read(status, maxStatus)
	if err != nil {
		return nil, err
	}
	var found []string
	for stanza := range bytes.SplitSeq(text, []byte("\n\n")) {
		fields := make(map[string]string)
		for line := range strings.Lines(string(stanza)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && fields[key] == "" {
				fields[key] = value
			}
		}
		if strings.HasSuffix(fields["Status"], " installed") && !control(fields["Package"]+fields["Version"]) {
			found = append(found, fields["Package"]+" "+fields["Version"])
		}
	}
	slices.Sort(found)
	return found, nil
}
