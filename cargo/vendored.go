package cargo

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"cratelog/crate"
	"cratelog/internal/durable"
)

// ChecksumsFile is the file by which cargo compares a package of a directory source: with the
// lock file, and each file that it lists when it compiles (cargo's reference, "Directory Sources").
const ChecksumsFile = ".cargo-checksum.json"

// maxChecksums bounds it, in bytes.
const maxChecksums = 16 << 20

// FindVendored returns the directories of a directory source, by the "NAME VERSION" of the
// package in them. cargo goes by the Cargo.toml and not by the directory's name, and takes
// any of several with one package. Directories whose name begins with a dot, and those
// without a Cargo.toml, are none.
func FindVendored(dir string) (map[string][]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	l := &loader{read: map[string]*manifest{}}
	found := map[string][]string{}
	for _, e := range entries {
		at := filepath.Join(dir, e.Name())
		file := filepath.Join(at, manifestName)
		hidden := strings.HasPrefix(e.Name(), ".") && utf8.ValidString(e.Name()) // SPEC: to cargo, no other name is
		if info, err := os.Stat(at); hidden || err != nil || !info.IsDir() {
			continue
		}
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		m, err := l.load(file)
		if err != nil {
			return nil, err
		}
		name, err1 := m.text(m.pkg, "package", "name")
		version, err2 := m.text(m.pkg, "package", "version")
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		id := name + " " + cmp.Or(strings.TrimSpace(version), "0.0.0") // SPEC: as cargo reads it
		found[id] = append(found[id], at)
	}
	return found, nil
}

// Vendored says whether a file of a crate belongs into a directory source: all but those with the
// name that cargo has for its own file, which it never unpacks, and the file of checksums.
func Vendored(f crate.File) bool { return path.Base(f.Path) != ".cargo-ok" && f.Path != ChecksumsFile }

// Vendor hands each file of a crate that belongs into a directory source to put, in the archive's
// order, and returns the content of its ChecksumsFile. put returns what it wrote, which may be other
// bytes.
func Vendor(c *crate.Crate, put func(f crate.File, content []byte) (wrote []byte, err error)) ([]byte, error) {
	var paths []string
	for _, f := range c.Files {
		if Vendored(f) {
			paths = append(paths, f.Path)
		}
	}
	sums := map[string]string{}
	var failed error
	err := c.Contents(paths, crate.DefaultLimits.Inflated, func(f crate.File, content []byte) {
		if failed == nil {
			content, failed = put(f, content)
			sums[f.Path] = fmt.Sprintf("%x", sha256.Sum256(content))
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	if len(sums) != len(paths) {
		return nil, fmt.Errorf("%d of %d files were unpacked", len(sums), len(paths))
	}
	return json.Marshal(struct {
		Files   map[string]string `json:"files"`
		Package string            `json:"package"`
	}{sums, hex.EncodeToString(c.SHA256[:])})
}

// leftOut says what "cargo vendor" does not copy.
func leftOut(p string) bool {
	base := path.Base(p)
	return base == ".gitattributes" || base == ".gitignore" || strings.HasSuffix(base, ".orig") ||
		strings.HasSuffix(base, ".rej")
}

// CompareVendored is CompareSource for a directory of FindVendored. In place of .cargo-ok there
// is .cargo-checksum.json, which must name the .crate; what "cargo vendor" leaves out may be
// missing.
func CompareVendored(dir string, c *crate.Crate) error {
	cmp := newComparison(dir, c)
	cmp.vendored, cmp.found.Vendored = true, true
	for p := range cmp.files {
		if _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(p))); leftOut(p) && errors.Is(err, fs.ErrNotExist) {
			delete(cmp.files, p)
		}
	}
	return cmp.run(c)
}

// compareChecksums says what is wrong with the file of checksums.
func (c *comparison) compareChecksums(p string) (string, error) {
	b, err := durable.Read(p, maxChecksums)
	if err != nil {
		return "", err
	}
	var said struct {
		Package string
		Files   map[string]string
	}
	if err := json.Unmarshal(b, &said); err != nil {
		return "is not what cargo writes: " + err.Error(), nil
	}
	if said.Package != hex.EncodeToString(c.sum[:]) {
		return fmt.Sprintf("says that the .crate has SHA-256 %q, not %x", said.Package, c.sum), nil
	}
	var unknown []string
	for file := range said.Files {
		if !c.known[file] {
			unknown = append(unknown, file)
		}
	}
	if slices.Sort(unknown); len(unknown) > 0 {
		return fmt.Sprintf("lists %q, which is not in the crate", unknown[0]), nil
	}
	return "", nil
}
