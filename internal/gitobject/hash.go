package gitobject

import (
	"encoding/binary"
	"errors"
	"hash"
	"math/bits"
	"strconv"

	"github.com/pjbgf/sha1cd"
	"github.com/pjbgf/sha1cd/ubc"
)

// A Hash computes ids of git objects, one after the other: SHA-1 over "TYPE LEN NUL content".
// The zero value is ready for Start.
//
// For each known way to attack SHA-1 that a block of 64 bytes may be part of, the detection hashes
// the block again. A block of any text is suspected of a twentieth of a way; blocks can be made that
// are suspected of ten ways and more, and compress well. So suspicions are counted once there are
// many blocks, and too many are refused: deterministically, with all the objects that one Hash has seen.
type Hash struct {
	sha1       hash.Hash
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

// ErrSuspicious means that content was made to keep the detection of attacks busy.
var ErrSuspicious = errors.New("too many blocks that could be part of an attack on SHA-1")

// Start begins the next object, of a type and a size in bytes.
func (h *Hash) Start(kind string, size int64) *Hash {
	if h.sha1 == nil {
		h.sha1 = sha1cd.New()
	}
	h.sha1.Reset()
	h.n = 0
	h.Write(append(strconv.AppendInt([]byte(kind+" "), size, 10), 0))
	return h
}

// Write fails with ErrSuspicious, before p is hashed.
func (h *Hash) Write(p []byte) (int, error) {
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
		return 0, ErrSuspicious
	}
	return h.sha1.Write(p)
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

// Sum returns the id, and whether the bytes are safe: false if they carry a
// known collision attack.
func (h *Hash) Sum() (id [20]byte, safe bool) {
	b, collision := h.sha1.(sha1cd.CollisionResistantHash).CollisionResistantSum(nil)
	return [20]byte(b), !collision
}
