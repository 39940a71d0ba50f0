package cargo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"cratelog/crate"

	"github.com/pjbgf/sha1cd"
)

// marker is the file that cargo writes last into a directory of sources, and whose
// name it never unpacks. Without it cargo unpacks again, over what is there; with another
// content cargo of 1.71 or later removes the directory before.
const marker = ".cargo-ok"

// markers is what versions of cargo write: 1.71 and later; before that "ok"; at first nothing,
// which later ones hold to be cut off.
var markers = []string{`{"v":1}`, "ok", ""}

// ErrUnfinished: cargo was stopped while it unpacked, and today's will unpack again.
var ErrUnfinished = errors.New("was not unpacked to the end; delete it: cargo unpacks the crate again")

// maxReported is how many files a *SourceError names; then the comparison stops.
const maxReported = 16

// A SourceError says in what a directory of sources differs from the crate's archive.
type SourceError struct {
	Dir   string
	Crate string       // "NAME-VERSION.crate"
	Files []SourceFile // at most 16
	More  bool         // the comparison stopped there

	Vendored bool // Dir is of a directory source
}

// A SourceFile is one difference.
type SourceFile struct {
	Path string // below Dir, "." for Dir itself
	Why  string // the rest of the sentence
}

// Error names the files and says what to do.
func (e *SourceError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is not what %s holds: ", e.Dir, e.Crate)
	for i, f := range e.Files {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(printable(f.Path) + " " + f.Why)
	}
	if e.More {
		b.WriteString("; and perhaps more")
	}
	if e.Vendored {
		fmt.Fprintf(&b, "; \"cargo zkp vendor %s\" puts it right", filepath.Dir(e.Dir))
	} else {
		b.WriteString("; delete this directory: cargo unpacks the crate again")
	}
	b.WriteString("; then run cargo clean, since cargo uses again what it has compiled from this")
	return b.String()
}

// printable quotes a name that could do something to a terminal.
func printable(name string) string {
	if q := strconv.Quote(name); q != `"`+name+`"` {
		return q
	}
	return name
}

// CompareSource compares a directory of FindSources with the crate that cargo unpacked
// into it: every file of the archive must be there with the same bytes, and where the system
// knows it the same executable bit, and nothing else but cargo's own .cargo-ok: no other
// file or directory, no link, no special file. A file named .cargo-ok in the archive is one
// that cargo does not unpack. The error is a *SourceError if the two differ.
//
// A directory whose .cargo-ok is missing or empty cargo unpacks again, over all files that
// the archive has, so that these may be anything; not so what is there besides, which cargo
// would leave and perhaps build (build.rs). If .cargo-ok is cut off, old versions of cargo
// take it for good: the error is ErrUnfinished if files of the archive differ.
//
// The caller must have checked that c is the crate that it should be, by c.SHA256. Bytes
// are compared by size and git blob id, which crate.Read has computed: SHA-1, with files
// refused that carry a known collision attack, on which every claim rests as well. So the
// archive is not inflated again, and a file is never held in memory.
//
// What cargo or a build changes afterwards is not seen: see Stamp.
func CompareSource(dir string, c *crate.Crate) error {
	cmp := newComparison(dir, c)
	cmp.lookAtMarker()
	return cmp.run(c)
}

func (c *comparison) run(from *crate.Crate) error {
	if err := filepath.WalkDir(c.dir, c.visit); err != nil {
		return err
	}
	for _, f := range from.Files {
		if _, ok := c.files[f.Path]; ok && !c.differs(f.Path, "is missing") {
			break
		}
	}
	switch {
	case len(c.found.Files) > 0:
		return &c.found
	case c.cut && c.again > 0:
		return fmt.Errorf("%s %w", c.dir, ErrUnfinished)
	}
	return nil
}

// differs keeps that a file of the archive is not as it should be, and returns whether to
// look for more. Where cargo unpacks again, it is counted only.
func (c *comparison) differs(p, why string) bool {
	if c.unfinished {
		c.again++
		return true
	}
	return c.report(p, why)
}

// lookAtMarker finds out whether cargo will unpack again.
func (c *comparison) lookAtMarker() {
	info, err := os.Lstat(filepath.Join(c.dir, marker))
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		c.unfinished = errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular()
		return
	}
	b, err := readMarker(filepath.Join(c.dir, marker))
	c.cut = err == nil && strings.HasPrefix(markers[0], string(b)) && string(b) != markers[0]
	c.unfinished = c.cut
}

// A comparison holds what is still to be found in the directory.
type comparison struct {
	dir   string
	files map[string]crate.File
	dirs  map[string]bool
	buf   []byte
	found SourceError

	vendored bool            // in a directory source
	sum      [32]byte        // of the .crate
	known    map[string]bool // its files

	unfinished bool // cargo will unpack again
	cut        bool // but old versions of it will not
	again      int  // files that it will unpack otherwise
}

func newComparison(dir string, c *crate.Crate) *comparison {
	cmp := &comparison{
		dir:   dir,
		files: make(map[string]crate.File, len(c.Files)),
		dirs:  map[string]bool{".": true},
		buf:   make([]byte, 64<<10),
		found: SourceError{Dir: dir, Crate: c.Name + "-" + c.Version + ".crate"},
		sum:   c.SHA256,
		known: make(map[string]bool, len(c.Files)),
	}
	for _, f := range c.Files {
		cmp.known[f.Path] = true
		if path.Base(f.Path) == marker {
			continue
		}
		cmp.files[f.Path] = f
		for d := path.Dir(f.Path); !cmp.dirs[d]; d = path.Dir(d) {
			cmp.dirs[d] = true
		}
	}
	return cmp
}

// report keeps a difference, and returns whether to look for more.
func (c *comparison) report(p, why string) bool {
	if len(c.found.Files) == maxReported {
		c.found.More = true
		return false
	}
	c.found.Files = append(c.found.Files, SourceFile{p, why})
	return true
}

func (c *comparison) visit(p string, d fs.DirEntry, err error) error {
	if err != nil {
		return err // the directory itself, or one below it, cannot be read
	}
	rel, err := filepath.Rel(c.dir, p)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	why, err := c.judge(rel, p, d)
	if err != nil || why == "" {
		return err
	}
	if !c.report(rel, why) {
		return fs.SkipAll
	}
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// judge returns what is wrong with one file or directory, "" if nothing is.
func (c *comparison) judge(rel, p string, d fs.DirEntry) (why string, err error) {
	if d.IsDir() {
		if !c.dirs[rel] {
			return "is a directory that is not in the crate", nil
		}
		return "", nil
	}
	want, ok := c.files[rel]
	delete(c.files, rel)
	switch {
	case d.Type()&fs.ModeSymlink != 0:
		return "is a symbolic link; cargo unpacks none", nil
	case !d.Type().IsRegular():
		return "is neither a file nor a directory", nil
	case rel == ChecksumsFile && c.vendored:
		return c.compareChecksums(p)
	case rel == marker && !c.vendored:
		return c.compareMarker(p)
	case !ok:
		return "is not in the crate", nil
	}
	if why, err = c.compareFile(p, want); why != "" && c.unfinished {
		c.again++
		why = ""
	}
	return why, err
}

func (c *comparison) compareMarker(p string) (string, error) {
	b, err := readMarker(p)
	if err != nil {
		return "", err
	}
	if !c.cut && !slices.Contains(markers, string(b)) {
		return fmt.Sprintf("says %q, which cargo does not write", b), nil
	}
	return "", nil
}

func readMarker(p string) ([]byte, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64))
}

func (c *comparison) compareFile(p string, want crate.File) (string, error) {
	f, err := os.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	switch {
	case !info.Mode().IsRegular():
		return "is neither a file nor a directory", nil
	case info.Size() != want.Size:
		return fmt.Sprintf("has %d bytes, not %d", info.Size(), want.Size), nil
	case runtime.GOOS != "windows" && info.Mode()&0o100 != 0 && !want.Exec:
		return "is executable, but is not in the crate", nil
	case runtime.GOOS != "windows" && info.Mode()&0o100 == 0 && want.Exec:
		return "is not executable, but is in the crate", nil
	}
	return c.compareBytes(f, want)
}

func (c *comparison) compareBytes(f *os.File, want crate.File) (string, error) {
	h := sha1cd.New().(sha1cd.CollisionResistantHash)
	h.Write(append(strconv.AppendInt([]byte("blob "), want.Size, 10), 0))
	// One byte more than there should be, so that a file that grows is seen. The wrapper
	// hides methods of the file that would allocate a buffer for each.
	if _, err := io.CopyBuffer(onlyWriter{h}, io.LimitReader(f, want.Size+1), c.buf); err != nil {
		return "", err
	}
	id, collision := h.CollisionResistantSum(nil)
	if collision || [20]byte(id) != want.Blob {
		return "has other bytes", nil
	}
	return "", nil
}

type onlyWriter struct{ io.Writer }
