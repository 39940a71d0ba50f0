package log

import (
	"bytes"
	"compress/gzip"
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// packedBytes are what is remembered of what was compressed.
const packedBytes = 32 << 20

// byteCache keeps what was used last, up to a number of bytes. It may be used concurrently.
type byteCache[K comparable, V any] struct {
	mu    sync.Mutex
	files *simplelru.LRU[K, V] // owned by mu; the values must not be changed
	bytes int                  // owned by mu
	most  int
	size  func(V) int
}

func newByteCache[K comparable, V any](most int, size func(V) int) *byteCache[K, V] {
	c := &byteCache[K, V]{most: most, size: size}
	c.files, _ = simplelru.NewLRU(math.MaxInt, func(_ K, v V) { c.bytes -= size(v) }) // fails for a size below 1 only
	return c
}

func (c *byteCache[K, V]) get(k K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files.Get(k)
}

func (c *byteCache[K, V]) put(k K, v V) {
	n := c.size(v)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > c.most {
		return
	}
	c.files.Remove(k)
	for c.bytes+n > c.most {
		c.files.RemoveOldest()
	}
	c.bytes += n
	c.files.Add(k, v)
}

func lenOf(b []byte) int { return len(b) }

// packer compresses entry bundles for readers who take that. One that is not remembered is
// compressed only if one of few places is free: else the reader gets the bytes as they are.
type packer struct {
	places chan struct{}
	files  *byteCache[fileKey, []byte]
}

func newPacker(places int) *packer {
	return &packer{make(chan struct{}, places), newByteCache[fileKey](packedBytes, lenOf)}
}

// pack returns raw with gzip, and whether it did that.
func (p *packer) pack(k fileKey, raw []byte) ([]byte, bool) {
	if b, known := p.files.get(k); known {
		return b, true
	}
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	default:
		return nil, false
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // a known level
	if _, err := z.Write(raw); err != nil {
		return nil, false
	}
	if err := z.Close(); err != nil {
		return nil, false
	}
	p.files.put(k, b.Bytes())
	return b.Bytes(), true
}
