package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"

	"cratelog/internal/durable"
)

// Cached is an index file with the validators under which it was served.
type Cached struct {
	ETag, LastModified string // as sent, "" if there was none
	Body               []byte
}

// Cache keeps index files by URL. It may forget, and must not mix up.
type Cache interface {
	Load(url string) (Cached, bool)
	Store(url string, c Cached)
}

// DirCache is a Cache of files in a directory, one for each URL, which several
// processes may share. A file that is broken counts as missing. It is not pruned:
// an index has a bounded number of files, and the directory may be deleted at any
// time.
type DirCache string

var _ Cache = DirCache("")

// cacheHead is the first line of a cached file; the body follows it.
type cacheHead struct {
	URL          string
	ETag         string
	LastModified string
	SHA256       string // of the body, in hex
}

func (d DirCache) file(url string) string {
	sum := sha256.Sum256([]byte(url))
	return filepath.Join(string(d), hex.EncodeToString(sum[:16]))
}

// Load reads what was stored for a URL.
func (d DirCache) Load(url string) (Cached, bool) {
	b, err := durable.Read(d.file(url), 2*MaxIndexSize)
	if err != nil {
		return Cached{}, false
	}
	line, body, _ := bytes.Cut(b, []byte("\n"))
	var h cacheHead
	sum := sha256.Sum256(body)
	if json.Unmarshal(line, &h) != nil || h.URL != url || h.SHA256 != hex.EncodeToString(sum[:]) {
		return Cached{}, false
	}
	return Cached{ETag: h.ETag, LastModified: h.LastModified, Body: body}, true
}

// Store keeps an answer. If it fails, the file is fetched again.
func (d DirCache) Store(url string, c Cached) {
	sum := sha256.Sum256(c.Body)
	head, err := json.Marshal(cacheHead{url, c.ETag, c.LastModified, hex.EncodeToString(sum[:])})
	if err == nil {
		_ = durable.WriteCache(d.file(url), append(append(head, '\n'), c.Body...))
	}
}
