package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"cratelog/cargo"
	"cratelog/crate"
)

// onDisk is what cargo's home holds of one package of a registry.
type onDisk struct {
	path    string   // of an archive with the lock file's checksum; "" if there is none
	sources []string // unpacked directories, compared or stamped

	// err is why cargo would build something else than the archive that the lock file
	// names: *alteredError, *cargo.SourceError, *crate.Error, or of reading.
	err error
}

// alteredError: an archive in cargo's cache is not the one that the lock file names.
// cargo unpacks what lies there without another look.
type alteredError struct {
	path      string
	want, got [32]byte
}

func (e *alteredError) Error() string {
	return fmt.Sprintf("%s has SHA-256 %x, the lock file says %x; cargo would unpack it without looking\ndelete it: cargo will download it again", e.path, e.got, e.want)
}

// unpackedOnlyError: there is a directory to build from, and no archive to compare it with.
type unpackedOnlyError struct{ dir string }

func (e *unpackedOnlyError) Error() string {
	return fmt.Sprintf("%s cannot be compared with its archive, which is not there\ndelete it, or run \"cargo fetch\"", e.dir)
}

// lookOnDisk re-hashes the archives of packages and compares what is unpacked with
// them. Stamps let it skip directories that it has compared before.
func lookOnDisk(ctx context.Context, home string, packages []cargo.Package, st *stamps) []onDisk {
	out := make([]onDisk, len(packages))
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(packages)) {
		wg.Go(func() {
			for i := range work {
				out[i] = lookAt(home, packages[i], st)
			}
		})
	}
	for i := range packages {
		if ctx.Err() != nil {
			break
		}
		work <- i
	}
	close(work)
	wg.Wait()
	for i := range out {
		if err := ctx.Err(); err != nil && out[i].path == "" && out[i].err == nil {
			out[i].err = err
		}
	}
	return out
}

func lookAt(home string, p cargo.Package, st *stamps) (d onDisk) {
	cached, err := cargo.FindCached(home, p.Name, p.Version)
	if err == nil {
		d.sources, err = cargo.FindSources(home, p.Name, p.Version)
	}
	if err != nil {
		d.err = err
		return d
	}
	for _, path := range cached {
		sum, err := hashFile(path)
		switch {
		case err != nil:
			d.err = errors.Join(d.err, err)
		case sum != *p.Checksum:
			d.err = errors.Join(d.err, &alteredError{path, *p.Checksum, sum})
		case d.path == "":
			d.path = path
		}
	}
	if d.err != nil {
		return d
	}
	var c *crate.Crate
	for _, dir := range d.sources {
		if st.known(dir, *p.Checksum) {
			continue
		}
		if d.path == "" {
			d.err = errors.Join(d.err, &unpackedOnlyError{dir})
			continue
		}
		if c == nil {
			if c, err = readArchive(d.path, p); err != nil {
				d.err = err
				return d
			}
		}
		d.err = errors.Join(d.err, st.compare(dir, c))
	}
	return d
}

func readArchive(path string, p cargo.Package) (*crate.Crate, error) {
	raw, err := cargo.ReadCached(path)
	if err != nil {
		return nil, err
	}
	c, err := crate.Read(raw, p.Name, p.Version, crate.DefaultLimits)
	if err == nil && c.SHA256 != *p.Checksum {
		err = fmt.Errorf("%s changed while it was read", path)
	}
	return c, err
}

func hashFile(path string) (sum [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return sum, err
	}
	if !info.Mode().IsRegular() {
		return sum, fmt.Errorf("%s is no regular file: delete it", path)
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, crate.DefaultLimits.Compressed+1))
	if err == nil && n > crate.DefaultLimits.Compressed {
		err = fmt.Errorf("%s has more than %d bytes, the most that are read", path, crate.DefaultLimits.Compressed)
	}
	return [32]byte(h.Sum(nil)), err
}

// stamps remembers, in one file of the cache directory, which directories were equal
// to which archive, and how they looked then (cargo.Stamp). A damaged file is as
// good as none. It is safe for concurrent use.
type stamps struct {
	path  string
	fresh bool // trust no stamp: compare everything

	mu      sync.Mutex
	at      map[string]stamp // by directory
	changed bool
}

type stamp struct {
	Checksum string `json:"checksum"` // of the archive, hex
	Stamp    string `json:"stamp"`    // cargo.Stamp of the directory, hex
}

// maxStamps bounds the file of stamps, in bytes.
const maxStamps = 64 << 20

func openStamps(dir string, fresh bool) *stamps {
	st := &stamps{path: filepath.Join(dir, "sources.json"), fresh: fresh, at: map[string]stamp{}}
	if b, err := readFile(st.path, maxStamps); err == nil && json.Unmarshal(b, &st.at) != nil || st.at == nil {
		st.at = map[string]stamp{}
	}
	return st
}

// known says that a directory was equal to an archive and has not changed since.
func (st *stamps) known(dir string, checksum [32]byte) bool {
	if st.fresh {
		return false
	}
	st.mu.Lock()
	s, ok := st.at[dir]
	st.mu.Unlock()
	if !ok || s.Checksum != hex.EncodeToString(checksum[:]) {
		return false
	}
	now, err := cargo.Stamp(dir, time.Now())
	return err == nil && s.Stamp == hex.EncodeToString(now[:])
}

// compare compares a directory with an archive and remembers that they are equal.
func (st *stamps) compare(dir string, c *crate.Crate) error {
	before, errBefore := cargo.Stamp(dir, time.Now())
	if err := cargo.CompareSource(dir, c); err != nil {
		return err
	}
	after, errAfter := cargo.Stamp(dir, time.Now())
	if errBefore == nil && errAfter == nil && before == after {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.at[dir] = stamp{hex.EncodeToString(c.SHA256[:]), hex.EncodeToString(before[:])}
		st.changed = true
	}
	return nil
}

// save writes the stamps. It drops directories that are gone.
func (st *stamps) save() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.changed {
		return nil
	}
	for dir := range st.at {
		if _, err := os.Lstat(dir); err != nil {
			delete(st.at, dir)
		}
	}
	b, err := json.Marshal(st.at)
	if err != nil {
		return err
	}
	to, err := newOutput(st.path)
	if err != nil {
		return err
	}
	defer to.Discard()
	return to.commit(b)
}
