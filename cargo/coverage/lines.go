package coverage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"sync"

	"cratelog/crate"
	"cratelog/internal/durable"
)

// Count returns the lines of Rust in a .crate: see the package comment.
func Count(c *crate.Crate) (lines int, err error) {
	var sources []string
	for _, f := range c.Files {
		if path.Ext(f.Path) == ".rs" {
			sources = append(sources, f.Path)
		}
	}
	err = c.Contents(sources, crate.DefaultLimits.Inflated, func(_ crate.File, content []byte) {
		for line := range bytes.Lines(content) {
			if line = bytes.TrimSpace(line); len(line) > 0 && !bytes.HasPrefix(line, []byte("//")) {
				lines++
			}
		}
	})
	return lines, err
}

// A Fact is what follows from the bytes of a .crate alone.
type Fact struct {
	Lines int    `json:"lines"`           // of Rust; -1 if the .crate cannot be read
	Cause string `json:"cause,omitempty"` // why no proof can be made; "" if nothing in it says so
}

// A Memo remembers facts by the .crate's checksum, and by the name and version under which it was read,
// without which it is no .crate of those, in one file of the cache. A damaged file is as
// good as none. It is safe for concurrent use.
type Memo struct {
	path string

	mu      sync.Mutex
	at      map[string]Fact // by key
	used    map[string]bool
	changed bool
}

const (
	memoFormat = "cratelog/lines/v2" // of the file, and of what is counted: change it when either changes
	maxMemo    = 16 << 20            // bytes of the file
	maxFacts   = 50000               // beyond, only what was used is kept
)

type memoFile struct {
	Format string          `json:"format"`
	Facts  map[string]Fact `json:"facts"`
}

// OpenMemo reads what is remembered in a file, which need not be there.
func OpenMemo(path string) *Memo {
	m := &Memo{path: path, used: map[string]bool{}}
	var f memoFile
	if b, err := durable.Read(path, maxMemo); err == nil && json.Unmarshal(b, &f) == nil && f.Format == memoFormat {
		m.at = f.Facts
	}
	if m.at == nil {
		m.at = map[string]Fact{}
	}
	return m
}

// Of returns the fact about a .crate: the one that is remembered, or else that of look, which is
// remembered unless it fails.
func (m *Memo) Of(name, version string, sum [32]byte, look func() (Fact, error)) (Fact, error) {
	key := fmt.Sprintf("%x %s %s", sum, name, version)
	m.mu.Lock()
	f, ok := m.at[key]
	m.used[key] = true
	m.mu.Unlock()
	if ok {
		return f, nil
	}
	f, err := look()
	if err == nil {
		m.mu.Lock()
		m.at[key], m.changed = f, true
		m.mu.Unlock()
	}
	return f, err
}

// Save writes what is new.
func (m *Memo) Save() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.changed {
		return nil
	}
	if len(m.at) > maxFacts {
		for key := range m.at {
			if !m.used[key] {
				delete(m.at, key)
			}
		}
	}
	b, err := json.Marshal(memoFile{memoFormat, m.at})
	if err != nil {
		return err
	}
	return durable.WriteCache(m.path, b)
}
