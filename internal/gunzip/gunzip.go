// Package gunzip reads one gzip member that is in memory, such as a .crate.
//
// It accepts what the standard library's compress/gzip accepts, and yields the same bytes: tests and a fuzz target
// compare the two. It is here because inflating is most of what it costs to check a .crate, and takes a fraction of the
// time when all of the input is in memory. It uses nothing unsafe: whatever the input says, an index that
// is wrong would be a panic, and not a read of other memory.
package gunzip

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// A Reader yields the inflated bytes of a gzip member. Reset must be called first. It can be used again, and takes no
// memory but its own then.
type Reader struct {
	header gzip.Reader
	in     bytes.Reader
	raw    []byte
	stream inflater
	sum    uint32 // CRC-32 of what was inflated
	size   uint32 // of it, modulo 2^32
	err    error
}

// Reset begins with another member, at the start of raw, which must not change until it is read. It fails where
// compress/gzip does. Reset(nil) forgets the last one.
func (r *Reader) Reset(raw []byte) error {
	r.raw, r.sum, r.size = raw, 0, 0
	// The header is the standard library's: of an io.ByteReader it reads no byte more, so that what follows
	// is the stream.
	r.in.Reset(raw)
	r.err = r.header.Reset(&r.in)
	r.stream.reset(raw[len(raw)-r.in.Len():])
	r.in.Reset(nil)
	return r.err
}

// Read yields inflated bytes, and io.EOF when they have the checksum and the size that stand behind the stream.
func (r *Reader) Read(p []byte) (int, error) {
	for r.err == nil && len(r.stream.ready) == 0 {
		r.err = r.stream.step()
		r.sum = crc32.Update(r.sum, crc32.IEEETable, r.stream.ready)
		r.size += uint32(len(r.stream.ready))
		if r.err == io.EOF {
			r.err = r.trailer()
		}
	}
	n := copy(p, r.stream.ready)
	r.stream.ready = r.stream.ready[n:]
	if len(r.stream.ready) == 0 && n == 0 && len(p) > 0 {
		return 0, r.err
	}
	return n, nil
}

// trailer reads what stands behind the stream.
func (r *Reader) trailer() error {
	rest := r.stream.in[r.stream.pos:]
	if len(rest) < 8 {
		return io.ErrUnexpectedEOF
	}
	if binary.LittleEndian.Uint32(rest) != r.sum || binary.LittleEndian.Uint32(rest[4:]) != r.size {
		return gzip.ErrChecksum
	}
	r.stream.pos += 8
	return io.EOF
}

// Left returns how many bytes of raw follow the member. Read must have returned io.EOF.
func (r *Reader) Left() int { return len(r.stream.in) - r.stream.pos }
