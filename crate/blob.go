package crate

import (
	"encoding/binary"
	"errors"
	"hash"
	"math/bits"
	"strconv"

	"github.com/pjbgf/sha1cd"
	"github.com/pjbgf/sha1cd/ubc"
)

// A blobHash computes ids of git blobs, one after the other: SHA-1 over "blob LEN NUL content".
//
// For each known way to attack SHA-1 that a block of 64 bytes may be part of, the detection hashes
// the block again. A block of any text is suspected of a twentieth of a way; blocks can be made that
// are suspected of ten ways and more, and compress well. So suspicions are counted once there are
// many blocks, and too many are refused: deterministically, with all the files of an archive.
type blobHash struct {
	hash.Hash
	block      [sha1cd.BlockSize]byte // the one that is not full
	n          int                    // bytes of it
	blocks     int                    // since the first start
	suspicions int
}

const (
	// unwatched is how many blocks are not looked at: packages are mostly smaller.
	unwatched = 1 << 14
	// maxSuspicions are let pass, and one more for every 4 blocks.
	maxSuspicions = 1 << 19
)

var errSuspicious = errors.New("too many blocks that could be part of an attack on SHA-1")

// start begins the next blob.
func (h *blobHash) start(size int64) *blobHash {
	if h.Hash == nil {
		h.Hash = sha1cd.New()
	}
	h.Reset()
	h.n = 0
	h.Write(append(strconv.AppendInt([]byte("blob "), size, 10), 0))
	return h
}

// Write fails with errSuspicious, before p is hashed.
func (h *blobHash) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		block := rest
		if h.n == 0 && len(rest) >= len(h.block) {
			rest = rest[len(h.block):]
		} else {
			c := copy(h.block[h.n:], rest)
			if h.n, rest = h.n+c, rest[c:]; h.n < len(h.block) {
				break
			}
			block, h.n = h.block[:], 0
		}
		if h.blocks++; h.blocks > unwatched {
			h.suspicions += suspicions(block)
		}
	}
	if h.suspicions > maxSuspicions+h.blocks/4 {
		return 0, errSuspicious
	}
	return h.Hash.Write(p)
}

// suspicions is the number of ways of attack that a block could be part of.
func suspicions(block []byte) int {
	var w [80]uint32
	for i := range 16 {
		w[i] = binary.BigEndian.Uint32(block[4*i:])
	}
	for i := 16; i < len(w); i++ {
		w[i] = bits.RotateLeft32(w[i-3]^w[i-8]^w[i-14]^w[i-16], 1)
	}
	return bits.OnesCount32(ubc.CalculateDvMask(&w))
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
