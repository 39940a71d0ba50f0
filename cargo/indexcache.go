package cargo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cratelog/cargo/registry"
	"cratelog/entry"
	"cratelog/internal/durable"
)

// An IndexLine is a line of a registry's index as cargo keeps it, and takes dependencies
// and features from it.
type IndexLine struct {
	Dir  string // name of the registry's directory below CARGO_HOME/registry/index: HOST-HASH
	Line []byte // as the registry served it; see registry.ParseRelease
}

// IndexLines returns the lines for a version that cargo keeps below home, in
// registry/index/*/.cache, of sparse and of git indexes: all that any registry's
// directory has, in the order of the directories and of their files. There may be none.
// A file that cannot be read hides no other: its error comes beside the lines.
func IndexLines(home, name, version string) ([]IndexLine, error) {
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return nil, err
	}
	base := filepath.Join(home, "registry", "index")
	dirs, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var lines []IndexLine
	var failed error
	for _, d := range dirs {
		file := filepath.Join(base, d.Name(), ".cache", filepath.FromSlash(registry.Path(name)))
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			if err != nil && !errors.Is(err, fs.ErrNotExist) && d.IsDir() {
				failed = errors.Join(failed, err)
			}
			continue
		}
		b, err := durable.Read(file, registry.MaxIndexSize)
		if err == nil {
			err = eachLine(b, func(v string, line []byte) {
				if v == version {
					lines = append(lines, IndexLine{d.Name(), bytes.Clone(line)})
				}
			})
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("cargo's cache of the index, %s: %w", file, err))
		}
	}
	return lines, failed
}

// IndexHeads returns where the git indexes below home stand: what cargo fetched last. While it is
// the same, cargo's cache of lines counts for it.
func IndexHeads(home string) (heads []string, err error) {
	base := filepath.Join(home, "registry", "index")
	dirs, err := os.ReadDir(base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, d := range dirs {
		for _, ref := range []string{"FETCH_HEAD", "refs/remotes/origin/HEAD"} {
			b, err := durable.Read(filepath.Join(base, d.Name(), ".git", filepath.FromSlash(ref)), maxHead)
			if err == nil {
				heads = append(heads, fmt.Sprintf("%s %s %q", d.Name(), ref, b))
			} else if errors.Is(err, durable.ErrTooLarge) {
				return nil, err
			}
		}
	}
	return heads, nil
}

// maxHead bounds a file that says where a git repository stands, in bytes.
const maxHead = 64 << 10

// eachLine reads a file of cargo's index cache: the format's number, from 2 on the
// number of the index's schema in four bytes, and the state of the index; then version
// and line in turn. A zero byte ends each of these.
func eachLine(b []byte, f func(version string, line []byte)) error {
	if len(b) == 0 || b[0] < 1 || b[0] > 3 {
		return errors.New("it has a format that is not known; delete it, and cargo makes it again")
	}
	head := 1
	if b[0] > 1 {
		head += 4
	}
	_, rest, ok := bytes.Cut(b[min(head, len(b)):], []byte{0})
	for ok && len(rest) > 0 {
		var version, line []byte
		version, rest, _ = bytes.Cut(rest, []byte{0})
		if line, rest, ok = bytes.Cut(rest, []byte{0}); ok {
			f(string(version), line)
		}
	}
	if !ok {
		return errors.New("it is cut off; delete it, and cargo makes it again")
	}
	return nil
}
