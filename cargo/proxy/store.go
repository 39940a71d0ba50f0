package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cratelog/cargo/registry"
	"cratelog/internal/durable"
)

// store keeps accepted crates in a directory, by their SHA-256. It vouches for their
// bytes, which are hashed whenever they are read, and for nothing else: a crate out
// of the store is judged again.
type store struct {
	dir   string
	limit int64 // bytes

	mu   sync.Mutex // guards size, and pruning
	size int64
}

func openStore(dir string, limit int64) (*store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("the proxy's directory cannot be made: %w", err)
	}
	s := &store{dir: dir, limit: limit}
	return s, s.prune()
}

func (s *store) file(sum [32]byte) string { return filepath.Join(s.dir, hex.EncodeToString(sum[:])) }

// load returns kept bytes. A file that is not what its name says is removed.
func (s *store) load(sum [32]byte) ([]byte, bool) {
	raw, err := durable.Read(s.file(sum), registry.MaxCrateSize)
	if err == nil && sha256.Sum256(raw) != sum || errors.Is(err, durable.ErrTooLarge) {
		os.Remove(s.file(sum))
		return nil, false
	}
	if err != nil {
		return nil, false
	}
	now := time.Now() // for prune; it does not matter if this fails
	os.Chtimes(s.file(sum), now, now)
	return raw, true
}

// save keeps bytes.
func (s *store) save(sum [32]byte, raw []byte) error {
	if err := durable.WriteCache(s.file(sum), raw); err != nil {
		return err
	}
	s.mu.Lock()
	s.size += int64(len(raw))
	full := s.size > s.limit
	s.mu.Unlock()
	if full {
		return s.prune()
	}
	return nil
}

// prune removes the files that were not used for the longest time, until three
// quarters of the limit are left, and what an interrupted save has left behind.
func (s *store) prune() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	s.size = 0
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil || !info.Mode().IsRegular(): // gone, or not ours
		case e.Name()[0] == '.' && time.Since(info.ModTime()) > time.Hour:
			os.Remove(filepath.Join(s.dir, e.Name()))
		case e.Name()[0] != '.':
			files = append(files, info)
			s.size += info.Size()
		}
	}
	if s.size <= s.limit {
		return nil
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return a.ModTime().Compare(b.ModTime())
	})
	for _, f := range files {
		if s.size <= s.limit*3/4 {
			break
		}
		if err := os.Remove(filepath.Join(s.dir, f.Name())); err == nil {
			s.size -= f.Size()
		}
	}
	return nil
}
