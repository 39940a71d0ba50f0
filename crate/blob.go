package crate

import (
	"hash"
	"strconv"

	"github.com/pjbgf/sha1cd"
)

// A blobHash computes ids of git blobs, one after the other: SHA-1 over "blob LEN NUL content".
type blobHash struct{ hash.Hash }

// start begins the next blob.
func (h *blobHash) start(size int64) *blobHash {
	if h.Hash == nil {
		h.Hash = sha1cd.New()
	}
	h.Reset()
	h.Write(append(strconv.AppendInt([]byte("blob "), size, 10), 0))
	return h
}

// sum returns the id, and whether the bytes are safe: false if they carry a
// known collision attack.
func (h *blobHash) sum() (id [20]byte, safe bool) {
	b, collision := h.Hash.(sha1cd.CollisionResistantHash).CollisionResistantSum(nil)
	return [20]byte(b), !collision
}

// blobID is the id of a small blob; safe is as for sum.
func blobID(content []byte) (id [20]byte, safe bool) {
	var h blobHash
	h.start(int64(len(content))).Write(content)
	return h.sum()
}
