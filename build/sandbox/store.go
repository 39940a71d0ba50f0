package sandbox

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/internal/durable"
)

// item is a file, a directory or a symbolic link.
type item struct {
	path   string
	kind   byte // tar.TypeReg, tar.TypeDir or tar.TypeSymlink
	mode   fs.FileMode
	sum    [32]byte // of a file
	size   int64    // of a file
	offset int64    // of a file's bytes in the store's archive
	target string   // of a link
}

// store is the files that an id names: items, sorted by path, and a place that has their bytes. The
// place is believed no byte: whoever reads them compares them with the items.
type store struct {
	items   []item
	archive string // a tar file, or
	dir     string // a directory
}

// find returns the item at a path, through no link, or nil.
func (s *store) find(name string) *item {
	i, ok := slices.BinarySearchFunc(s.items, name, func(it item, name string) int {
		return strings.Compare(it.path, name)
	})
	if !ok {
		return nil
	}
	return &s.items[i]
}

// resolve follows symbolic links and returns the file at a path, or nil.
func (s *store) resolve(name string) *item {
	for hops := 0; hops < 40; hops++ {
		next := ""
		for end := 0; end < len(name) && next == ""; {
			if i := strings.IndexByte(name[end+1:], '/'); i >= 0 {
				end += 1 + i
			} else {
				end = len(name)
			}
			it := s.find(name[:end])
			if it == nil {
				return nil
			}
			if it.kind != tar.TypeSymlink {
				continue
			}
			next = it.target
			if !strings.HasPrefix(next, "/") {
				next = path.Join("/", path.Dir(it.path), next)
			}
			next = strings.TrimPrefix(path.Join("/", next, name[end:]), "/")
		}
		if next == "" {
			return s.find(name)
		}
		name = next
	}
	return nil
}

// opened is a store whose place is open.
type opened struct {
	*store
	file *os.File // the archive, or
	root *os.Root // the directory
}

func (s *store) open() (*opened, error) {
	o := &opened{store: s}
	var err error
	if s.archive != "" {
		o.file, err = os.Open(s.archive)
	} else {
		o.root, err = os.OpenRoot(s.dir)
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (o *opened) close() {
	if o.file != nil {
		o.file.Close()
		return
	}
	o.root.Close()
}

// reader returns the bytes of a file; at their end it fails if they are not those of the item.
func (o *opened) reader(it *item) (io.ReadCloser, error) {
	if o.file != nil {
		return &checked{r: io.NewSectionReader(o.file, it.offset, it.size), it: it, sum: sha256.New()}, nil
	}
	f, err := openRegular(o.root, it.path)
	if err != nil {
		return nil, err
	}
	return &checked{r: io.LimitReader(f, it.size+1), c: f, it: it, sum: sha256.New()}, nil
}

// openRegular opens a file, and nothing else that has its name.
func openRegular(root *os.Root, name string) (*os.File, error) {
	info, err := root.Lstat(name) // before it is opened: that may block, or act
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", filepath.Join(root.Name(), name))
	}
	return root.Open(name)
}

// read returns the bytes of a file of at most limit bytes.
func (o *opened) read(it *item, limit int64) ([]byte, error) {
	r, err := o.reader(it)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := durable.ReadAll(r, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", it.path, err)
	}
	return b, nil
}

// checked reads the bytes of an item.
type checked struct {
	r   io.Reader
	c   io.Closer // or nil
	it  *item
	sum interface {
		io.Writer
		Sum(b []byte) []byte
	}
	n int64
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	if err == io.EOF && (c.n != c.it.size || [32]byte(c.sum.Sum(nil)) != c.it.sum) {
		err = fmt.Errorf("%s is not the file that the id names any more", c.it.path)
	}
	return n, err
}

func (c *checked) Close() error {
	if c.c == nil {
		return nil
	}
	return c.c.Close()
}

// writeTo writes all items into a tree, below a directory ("" is the root), and compares each with
// its sum.
func (s *store) writeTo(ctx context.Context, t *Tree, below string) error {
	o, err := s.open()
	if err != nil {
		return err
	}
	defer o.close()
	for i := range s.items {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := o.writeItem(t, &s.items[i], path.Join(below, s.items[i].path)); err != nil {
			return err
		}
	}
	return nil
}

func (o *opened) writeItem(t *Tree, it *item, name string) error {
	switch it.kind {
	case tar.TypeDir:
		return t.mkdir(name)
	case tar.TypeSymlink:
		return t.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: it.target, Mode: 0o777})
	}
	r, err := o.reader(it)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := t.copy(name, it.mode, it.size, r); err != nil {
		return err
	}
	_, err = r.Read(make([]byte, 1)) // the end, where it is compared
	if err == nil {
		err = fmt.Errorf("%s became longer while it was read", it.path)
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// scan reads an archive that keep wrote. It refuses what keep does not write.
func scan(ctx context.Context, archive string) (*store, error) {
	info, err := os.Stat(archive)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", archive)
	}
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := &store{archive: archive}
	counted := &counter{r: bufio.NewReaderSize(f, 1<<20)}
	kinds := make(map[string]byte)
	total := int64(0)
	for r := tar.NewReader(counted); ; {
		h, err := counted.next(r)
		if err == io.EOF {
			break
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return nil, fmt.Errorf("%s: %w", archive, err)
		}
		it := item{path: strings.TrimSuffix(h.Name, "/"), kind: h.Typeflag, mode: fs.FileMode(h.Mode), offset: counted.n}
		if err := it.checkPlain(h, kinds); err != nil {
			return nil, fmt.Errorf("%s is not as cargo zkp writes it: %w", archive, err)
		}
		if total += h.Size; len(s.items) >= maxItems || h.Size > maxFile || total > maxTotal {
			return nil, fmt.Errorf("%s: more than %d files or %d bytes", archive, maxItems, int64(maxTotal))
		}
		kinds[it.path] = it.kind
		if it.kind == tar.TypeReg {
			sum := sha256.New()
			if it.size, err = io.Copy(sum, r); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", archive, it.path, err)
			}
			it.sum = [32]byte(sum.Sum(nil))
		}
		s.items = append(s.items, it)
	}
	slices.SortFunc(s.items, func(a, b item) int { return strings.Compare(a.path, b.path) })
	return s, nil
}

// checkPlain refuses an item of another kind or mode than keep writes, or whose directory is not
// before it.
func (it *item) checkPlain(h *tar.Header, kinds map[string]byte) error {
	if err := checkPath(it.path); err != nil {
		return err
	}
	mode := it.mode == 0o644 || it.mode == 0o755
	switch it.kind {
	case tar.TypeDir:
		mode = it.mode == 0o755
	case tar.TypeSymlink:
		it.target, mode = h.Linkname, it.mode == 0o777
		if err := checkTarget(it.target); err != nil {
			return fmt.Errorf("%s: %w", it.path, err)
		}
	case tar.TypeReg:
	default:
		return fmt.Errorf("%s is no file, directory or symbolic link", it.path)
	}
	above := path.Dir(it.path)
	switch {
	case !mode || h.PAXRecords != nil:
		return fmt.Errorf("%s has the mode %o", it.path, h.Mode)
	case kinds[it.path] != 0:
		return fmt.Errorf("%s stands there twice", it.path)
	case above != "." && kinds[above] != tar.TypeDir:
		return fmt.Errorf("%s: its directory is not before it", it.path)
	}
	return nil
}

// counter counts what is read.
type counter struct {
	r     io.Reader
	n     int64
	zeros int64 // bytes of 0 at the end of that
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if kept := len(bytes.TrimRight(p[:n], "\x00")); kept == 0 {
		c.zeros += int64(n)
	} else {
		c.zeros = int64(n - kept)
	}
	return n, err
}

// next is r.Next, where the file before has been read whole; but an archive ends with two blocks of
// zeros, or has been cut.
func (c *counter) next(r *tar.Reader) (*tar.Header, error) {
	c.zeros = 0
	h, err := r.Next()
	if err == io.EOF && c.n > 0 && c.zeros < 1024 {
		err = errors.New("the archive ends before its end: it has been cut")
	}
	return h, err
}

const (
	stagingName = ".cratelog-new-*"
	stagingAge  = 24 * time.Hour // after which nobody writes into one any more
)

// stage makes a directory beside dir, lets fill write into it, and gives it the name that fill
// returns. What is already there under this name stays.
func stage(parent string, fill func(staging string) (dir string, err error)) error {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	abandoned, _ := filepath.Glob(filepath.Join(parent, stagingName))
	for _, old := range abandoned { // by who was killed before it could
		if info, err := os.Lstat(old); err == nil && info.IsDir() && time.Since(info.ModTime()) > stagingAge {
			os.RemoveAll(old)
		}
	}
	staging, err := os.MkdirTemp(parent, stagingName)
	if err != nil {
		return err
	}
	defer os.RemoveAll(staging)
	dir, err := fill(staging)
	if err != nil {
		return err
	}
	if err := os.Chmod(staging, 0o755); err != nil {
		return err
	}
	if err := os.Rename(staging, dir); err != nil {
		if _, err2 := os.Lstat(dir); err2 == nil {
			return fmt.Errorf("%s: %w", dir, fs.ErrExist)
		}
		return err
	}
	return nil
}

// keep writes an archive of what fill writes.
func keep(file string, fill func(t *Tree) error) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	t := newTree(w)
	err = fill(t)
	if err == nil {
		err = t.w.Close()
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
