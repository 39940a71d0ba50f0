package sandbox

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

const (
	maxItems = 200_000   // files, directories and links of one archive
	maxFile  = 2 << 30   // bytes of one file
	maxTotal = 16 << 30  // bytes of all
	maxPath  = 1024      // bytes of a path
	maxLink  = 4096      // bytes of a symbolic link's text
	inside   = "/build/" // where a Tree may write
	rustDir  = "build/rust"
	homeDir  = "build/home"
)

// epoch is the time of every file inside: that of SOURCE_DATE_EPOCH.
var epoch = time.Unix(1, 0)

// Tree writes files into the sandbox, below /build but not below /build/rust. Paths are absolute
// and clean. Directories above a path are made; nothing is written twice, and nothing through a link.
type Tree struct {
	w     *tar.Writer
	kinds map[string]byte // tar's type by path, without the leading slash
	total int64
}

func newTree(w io.Writer) *Tree {
	return &Tree{w: tar.NewWriter(w), kinds: make(map[string]byte)}
}

// Dir makes a directory, if it is not there.
func (t *Tree) Dir(path string) error {
	name, err := treePath(path)
	if err != nil {
		return err
	}
	return t.mkdir(name)
}

// File writes a file. Of mode counts whether its owner may execute it.
func (t *Tree) File(path string, mode fs.FileMode, content []byte) error {
	name, err := treePath(path)
	if err != nil {
		return err
	}
	return t.copy(name, mode, int64(len(content)), strings.NewReader(string(content)))
}

// Link makes a symbolic link.
func (t *Tree) Link(path, target string) error {
	name, err := treePath(path)
	if err != nil {
		return err
	}
	if err := checkTarget(target); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return t.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
}

func treePath(p string) (string, error) {
	name := strings.TrimPrefix(p, "/")
	switch {
	case !strings.HasPrefix(p, inside) || path.Clean(p) != p:
		return "", fmt.Errorf("%q is not a clean path below /build", p)
	case name == rustDir || strings.HasPrefix(name, rustDir+"/"):
		return "", fmt.Errorf("%q: below /build/rust stands the toolchain alone", p)
	}
	return name, checkPath(name)
}

func (t *Tree) mkdir(name string) error {
	if t.kinds[name] == tar.TypeDir {
		return nil
	}
	return t.add(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
}

// copy writes a file of exactly size bytes.
func (t *Tree) copy(name string, mode fs.FileMode, size int64, content io.Reader) error {
	if t.total += size; size > maxFile || t.total > maxTotal {
		return fmt.Errorf("%s: more bytes than a sandbox takes: %d in one file, %d in all", name,
			int64(maxFile), int64(maxTotal))
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(plainMode(mode)), Size: size}
	if err := t.add(h); err != nil {
		return err
	}
	n, err := io.Copy(t.w, content)
	if err == nil && n != size {
		err = errors.New("it became shorter while it was read")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// add writes a header, and before it the directories above.
func (t *Tree) add(h *tar.Header) error {
	if t.kinds[h.Name] != 0 {
		return fmt.Errorf("/%s stands in the sandbox twice", h.Name)
	}
	if len(t.kinds) >= maxItems {
		return fmt.Errorf("/%s: more than %d files", h.Name, maxItems)
	}
	if above := path.Dir(h.Name); above != "." {
		switch t.kinds[above] {
		case tar.TypeDir:
		case 0:
			if err := t.mkdir(above); err != nil {
				return err
			}
		default:
			return fmt.Errorf("/%s: /%s is no directory", h.Name, above)
		}
	}
	t.kinds[h.Name] = h.Typeflag
	h.ModTime, h.Format = epoch, tar.FormatGNU
	if err := t.w.WriteHeader(h); err != nil {
		return fmt.Errorf("/%s: %w", h.Name, err)
	}
	return nil
}

// plainMode is 0o755 for what its owner may execute, and 0o644 for all else.
func plainMode(mode fs.FileMode) fs.FileMode {
	if mode&0o100 != 0 {
		return 0o755
	}
	return 0o644
}

// checkPath refuses a relative path that is not clean, or not text on one line.
func checkPath(name string) error {
	if name == "" || len(name) > maxPath || !fs.ValidPath(name) || name == "." || control(name) {
		return fmt.Errorf("%.100q is not a path that a sandbox takes: relative, clean, UTF-8 without control "+
			"characters, at most %d bytes", name, maxPath)
	}
	return nil
}

func checkTarget(target string) error {
	if target == "" || len(target) > maxLink || control(target) {
		return fmt.Errorf("%.100q is not the text of a link that a sandbox takes: not empty, without control "+
			"characters, at most %d bytes", target, maxLink)
	}
	return nil
}

func control(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
