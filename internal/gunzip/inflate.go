package gunzip

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"sync"
)

// errCorrupt means that a stream is no DEFLATE stream.
var errCorrupt = errors.New("the compressed data is corrupt")

// Sizes of RFC 1951.
const (
	window     = 32 << 10 // how far back a match may reach
	maxMatch   = 258
	maxBits    = 15  // of a code
	maxLit     = 286 // literals, end of block, lengths
	maxDist    = 30
	numLengths = 19 // codes of the lengths of codes
	endOfBlock = 256
)

// Bits by which tables are looked up first. A code that is longer leads on to a table of the bits that follow.
const (
	litBits    = 11
	distBits   = 9
	lengthBits = 7
)

// Below each entry of a table that leads on stand two codes at least, so there are at most so many.
const (
	litSize  = 1<<litBits + 288/2<<(maxBits-litBits)
	distSize = 1<<distBits + 32/2<<(maxBits-distBits)
)

// An element of a table is, from the lowest bit on,
//
//	6 bits  the number of bits that it takes: of the code, or its rest, and of what follows it
//	2 bits  zero
//	4 bits  the number of bits of the code, or its rest, alone; where it leads on, of the index there
//	4 bits  flags
//	16 bits a literal's byte, the base of a length or a distance, or where it leads on to
const (
	isLiteral = 1 << 12
	leadsOn   = 1 << 13
	isEnd     = 1 << 14
	isWrong   = 1 << 15 // no code, or of no meaning
	special   = leadsOn | isEnd | isWrong
)

// SPEC: RFC 1951, 3.2.5: the bases of lengths and distances, and how many bits are added.
var (
	lengthBase  = [maxLit - endOfBlock - 1]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [maxLit - endOfBlock - 1]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [maxDist]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	lengthOrder = [numLengths]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)

// litElement is what a code of literals and lengths stands for, but for the code's own bits.
func litElement(symbol int) uint32 {
	switch {
	case symbol < endOfBlock:
		return isLiteral | uint32(symbol)<<16
	case symbol == endOfBlock:
		return isEnd
	case symbol < maxLit:
		i := symbol - endOfBlock - 1
		return uint32(lengthBase[i])<<16 | uint32(lengthExtra[i])
	}
	return isWrong // SPEC: "length codes 286-287 ... will never actually occur"
}

func distElement(symbol int) uint32 {
	if symbol >= maxDist {
		return isWrong // SPEC: "distance codes 30-31 will never actually occur"
	}
	return uint32(distBase[symbol])<<16 | uint32(max(symbol/2-1, 0))
}

func lengthElement(symbol int) uint32 { return uint32(symbol) << 16 }

// inflater inflates a DEFLATE stream, piece by piece.
type inflater struct {
	in    []byte
	ready []byte // what the last step inflated; it is the caller's until the next

	// Bits of in before pos that are not used yet. Bits above have are those that follow, or zero. Behind
	// the end of in pos counts on, and zeros stand for what is missing.
	pos  int
	bits uint64
	have uint

	last   bool // the block that is begun is the last
	kind   uint8
	stored int // bytes of a stored block that are left

	codes   *tables // of the block that is begun
	own     tables
	lengths [maxLit + maxDist]uint8 // of the codes in own

	out [2*window + slack]byte // what was inflated last
	end int                    // of it
}

// tables are the codes of a block.
type tables struct {
	lit  [litSize]uint32
	dist [distSize]uint32
}

// slack is what may be written behind the end of out's use: the rest of a match, and of what is copied at a time.
const slack = maxMatch + 16

// Kinds of blocks; noBlock: the next is to begin.
const (
	noBlock = iota
	storedBlock
	codedBlock
)

func (f *inflater) reset(in []byte) {
	f.in, f.ready = in, nil
	f.pos, f.bits, f.have = 0, 0, 0
	f.last, f.kind, f.stored, f.end = false, noBlock, 0, 0
}

// step inflates what comes next: up to 64 KiB, and then 32 KiB at a time. The error is io.EOF at the end, with
// the last bytes; then pos is where the stream ends.
func (f *inflater) step() (err error) {
	if f.end >= 2*window { // matches may reach back to what stands before
		copy(f.out[:window], f.out[f.end-window:f.end])
		f.end = window
	}
	begin := f.end
	for err == nil && f.end < 2*window {
		switch f.kind {
		case noBlock:
			err = f.begin()
		case storedBlock:
			err = f.copyStored()
		case codedBlock:
			err = f.decode()
		}
		if f.cutOff() {
			err = io.ErrUnexpectedEOF
		}
	}
	f.ready = f.out[begin:f.end]
	if err == io.EOF {
		f.unread()
	}
	return err
}

// refill makes sure that there are 56 bits at least.
func (f *inflater) refill() { f.pos, f.bits, f.have = refill(f.in, f.pos, f.bits, f.have) }

func refill(in []byte, pos int, b uint64, have uint) (int, uint64, uint) {
	for have < 56 {
		if pos < len(in) {
			b |= uint64(in[pos]) << have
		}
		pos++
		have += 8
	}
	return pos, b, have
}

// take returns the next n bits, at most 32, that are there.
func (f *inflater) take(n uint) int {
	v := f.bits & (1<<n - 1)
	f.bits >>= n
	f.have -= n
	return int(v)
}

// cutOff says whether bits were used that are not in the input.
func (f *inflater) cutOff() bool { return f.pos-int(f.have/8) > len(f.in) }

// unread gives back the bytes of which no bit was used, and drops the bits up to there.
func (f *inflater) unread() {
	f.pos -= int(f.have / 8)
	f.bits, f.have = 0, 0
}

// begin reads the header of a block; io.EOF where there is none any more.
func (f *inflater) begin() error {
	if f.last {
		return io.EOF
	}
	f.refill()
	f.last = f.take(1) == 1
	switch f.take(2) {
	case 0:
		return f.beginStored()
	case 1:
		f.kind, f.codes = codedBlock, fixed()
		return nil
	case 2:
		f.kind, f.codes = codedBlock, &f.own
		return f.readCodes()
	}
	return errCorrupt // SPEC: "11 - reserved (error)"
}

func (f *inflater) beginStored() error {
	f.unread()
	if f.pos+4 > len(f.in) {
		return io.ErrUnexpectedEOF
	}
	n := binary.LittleEndian.Uint16(f.in[f.pos:])
	if binary.LittleEndian.Uint16(f.in[f.pos+2:]) != ^n {
		return errCorrupt
	}
	f.pos += 4
	f.kind, f.stored = storedBlock, int(n)
	return nil
}

func (f *inflater) copyStored() error {
	n := copy(f.out[f.end:2*window], f.in[f.pos:min(f.pos+f.stored, len(f.in))])
	f.end, f.pos, f.stored = f.end+n, f.pos+n, f.stored-n
	switch {
	case f.stored == 0:
		f.kind = noBlock
	case f.pos == len(f.in):
		return io.ErrUnexpectedEOF
	}
	return nil
}

// fixed makes the codes of SPEC 3.2.6, once.
var fixed = sync.OnceValue(func() *tables {
	lit, dist, t := make([]uint8, maxLit+2), make([]uint8, maxDist+2), new(tables)
	for i := range lit {
		switch {
		case i < 144:
			lit[i] = 8
		case i < 256:
			lit[i] = 9
		case i < 280:
			lit[i] = 7
		default:
			lit[i] = 8
		}
	}
	for i := range dist {
		dist[i] = 5
	}
	table(t.lit[:], litBits, lit, litElement)
	table(t.dist[:], distBits, dist, distElement)
	return t
})

// readCodes reads the lengths of a block's codes, SPEC 3.2.7, and makes the tables.
func (f *inflater) readCodes() error {
	f.refill()
	lits, dists, n := f.take(5)+257, f.take(5)+1, f.take(4)+4
	if lits > maxLit || dists > maxDist {
		return errCorrupt
	}
	var codes [numLengths]uint8
	for _, i := range lengthOrder[:n] {
		if f.have < 3 {
			f.refill()
		}
		codes[i] = uint8(f.take(3))
	}
	var t [1 << lengthBits]uint32
	if !table(t[:], lengthBits, codes[:], lengthElement) {
		return errCorrupt
	}
	all := f.lengths[:lits+dists]
	for i := 0; i < len(all); {
		f.refill() // for a code and what is added
		e := t[f.bits%(1<<lengthBits)]
		if e&isWrong != 0 || f.cutOff() {
			return errCorrupt
		}
		f.take(uint(e & 63))
		symbol, value, repeat := e>>16, uint8(0), 0
		switch {
		case symbol < 16:
			all[i] = uint8(symbol)
			i++
			continue
		case symbol == 16:
			if i == 0 {
				return errCorrupt
			}
			value, repeat = all[i-1], 3+f.take(2)
		case symbol == 17:
			repeat = 3 + f.take(3)
		default:
			repeat = 11 + f.take(7)
		}
		if repeat > len(all)-i {
			return errCorrupt
		}
		for ; repeat > 0; repeat-- {
			all[i] = value
			i++
		}
	}
	if !table(f.own.lit[:], litBits, all[:lits], litElement) || !table(f.own.dist[:], distBits, all[lits:], distElement) {
		return errCorrupt
	}
	return nil
}

// table makes the table of the canonical codes of these lengths, that is looked up by so many bits first. It
// returns false if they are too many, or too few: as compress/flate has it, there may be a single code of one bit, or none
// at all, but then nothing else is one.
func table(t []uint32, first uint, lengths []uint8, element func(symbol int) uint32) bool {
	var count, next [maxBits + 2]int
	longest := uint(0)
	for _, n := range lengths {
		count[n]++
		if n > 0 {
			longest = max(longest, uint(n))
		}
	}
	code := 0
	for n := uint(1); n <= longest; n++ {
		code <<= 1
		next[n] = code
		code += count[n]
	}
	short := t[:1<<min(first, longest)] // where all codes are, or begin
	switch {
	case longest == 0, longest == 1 && code == 1:
		for i := range short {
			short[i] = isWrong
		}
	case code != 1<<longest:
		return false
	}
	lead := 1 << first // the first index that leads on, before its bits are reversed
	if longest > first {
		lead = next[first+1] >> 1
		for i := lead; i < 1<<first; i++ {
			at := 1<<first + (i-lead)<<(longest-first)
			t[reverse(i, first)] = uint32(at)<<16 | leadsOn | uint32(longest-first)<<8 | uint32(first)
		}
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		code := next[n]
		next[n]++
		part, n := short, uint(n)
		if n > first {
			at := 1<<first + (code>>(n-first)-lead)<<(longest-first)
			part = t[at : at+1<<(longest-first)]
			n -= first
			code &= 1<<n - 1
		}
		e := element(symbol) + uint32(n)<<8 + uint32(n)
		for i := reverse(code, n); i < len(part); i += 1 << n {
			part[i] = e
		}
	}
	for n := len(short); n < 1<<first; n *= 2 { // the bits behind a code do not matter
		copy(t[n:2*n], t[:n])
	}
	return true
}

// reverse returns n bits the other way round: codes are packed from their highest bit on.
func reverse(code int, n uint) int { return int(bits.Reverse16(uint16(code)) >> (16 - n)) }

// more is refill, and takes one step as long as 8 bytes follow pos.
func more(in []byte, pos int, b uint64, have uint) (int, uint64, uint) {
	if pos+8 <= len(in) {
		return pos + int((63-have)>>3), b | binary.LittleEndian.Uint64(in[pos:])<<(have&63), have | 56
	}
	return refill(in, pos, b, have)
}

// decode inflates a block until its end, or until out is full.
func (f *inflater) decode() error {
	in, pos, b, have := f.in, f.pos, f.bits, f.have
	out, end := &f.out, f.end
	lit, dist := &f.codes.lit, &f.codes.dist
	err := error(nil)
	pos, b, have = more(in, pos, b, have)
	e := lit[b%(1<<litBits)] // the next element, always: its bits are there, and are not used yet
loop:
	for end < 2*window {
		if e&isLiteral != 0 {
			b >>= e & 63
			have -= uint(e & 63)
			out[end] = byte(e >> 16)
			end++
			e = lit[b%(1<<litBits)]
			if e&isLiteral != 0 { // 56 bits are four short codes and more
				b >>= e & 63
				have -= uint(e & 63)
				out[end] = byte(e >> 16)
				end++
				e = lit[b%(1<<litBits)]
				if e&isLiteral != 0 {
					b >>= e & 63
					have -= uint(e & 63)
					out[end] = byte(e >> 16)
					end++
					e = lit[b%(1<<litBits)]
				}
			}
			if pos-int(have/8) > len(in) {
				break
			}
			pos, b, have = more(in, pos, b, have) // bits that are there already stay
			if e&isLiteral != 0 {
				continue
			}
		}
		if e&special != 0 {
			if e&leadsOn != 0 {
				b >>= litBits
				have -= litBits
				e = lit[e>>16+uint32(b)&(1<<(e>>8&15)-1)]
			}
			switch {
			case e&isLiteral != 0:
				b >>= e & 63
				have -= uint(e & 63)
				out[end] = byte(e >> 16)
				end++
				pos, b, have = more(in, pos, b, have)
				e = lit[b%(1<<litBits)]
				continue
			case e&isEnd != 0:
				b >>= e & 63
				have -= uint(e & 63)
				f.kind = noBlock
				break loop
			case e&isWrong != 0:
				err = errCorrupt
				break loop
			}
		}
		// SPEC: a length takes up to 15 + 5 bits, a distance 15 + 13; 56 are there.
		length := int(e>>16) + int(b&(1<<(e&63)-1)>>(e>>8&15))
		b >>= e & 63
		have -= uint(e & 63)

		e = dist[b%(1<<distBits)]
		if e&leadsOn != 0 {
			b >>= distBits
			have -= distBits
			e = dist[e>>16+uint32(b)&(1<<(e>>8&15)-1)]
		}
		back := int(e>>16) + int(b&(1<<(e&63)-1)>>(e>>8&15))
		b >>= e & 63
		have -= uint(e & 63)
		if e&isWrong != 0 || back > end {
			err = errCorrupt
			break
		}
		if pos-int(have/8) > len(in) {
			break
		}
		pos, b, have = more(in, pos, b, have)
		e = lit[b%(1<<litBits)] // it is there when the match is copied

		from, to := end-back, end+length
		switch {
		case back >= 8: // most are short; what is written behind the end is written again
			v := binary.LittleEndian.Uint64(out[from : from+8])
			binary.LittleEndian.PutUint64(out[end:end+8], v)
			v = binary.LittleEndian.Uint64(out[from+8 : from+16])
			binary.LittleEndian.PutUint64(out[end+8:end+16], v)
			for end += 16; end < to; end += 8 {
				v := binary.LittleEndian.Uint64(out[end-back : end-back+8])
				binary.LittleEndian.PutUint64(out[end:end+8], v)
			}
			end = to
		default:
			for end < to {
				out[end] = out[from]
				from++
				end++
			}
		}
	}
	f.pos, f.bits, f.have, f.end = pos, b, have, end
	return err
}
