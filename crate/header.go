package crate

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

const (
	nameSize     = 100
	longNameName = "././@LongLink"

	kindFile     = '0'
	kindLongName = 'L'
)

// A header is what counts of one tar header.
type header struct {
	name string
	kind byte // kindFile or kindLongName
	exec bool
	size int64
}

// A field is where one lies in a tar header (POSIX ustar; GNU agrees up to byte 345).
type field struct{ from, to int }

var (
	nameField     = field{0, 100}
	modeField     = field{100, 108}
	uidField      = field{108, 116}
	gidField      = field{116, 124}
	sizeField     = field{124, 136}
	mtimeField    = field{136, 148}
	checksumField = field{148, 156}
	linknameField = field{157, 257}
	magicField    = field{257, 265}
	devicesField  = field{329, 345}
	prefixField   = field{345, 500}
	restField     = field{500, 512}
)

func (f field) of(b *[blockSize]byte) []byte { return b[f.from:f.to] }

const (
	kindAt     = 156
	magicUSTAR = "ustar\x0000"
	magicGNU   = "ustar  \x00"
)

// parseHeader reads one header block that is not all zeros. It refuses every
// kind but regular files and GNU long names, and every field that cargo never
// fills and that could mean something to another reader.
func parseHeader(b *[blockSize]byte) (header, error) {
	h := header{kind: b[kindAt]}
	if want, ok := octal(checksumField.of(b)); !ok || want != headerSum(b) {
		return header{}, refuse("", "has a tar header whose checksum is wrong")
	}
	var ok bool
	if h.name, ok = headerName(b); !ok {
		return header{}, refuse("", "has a tar header whose name is empty, not valid UTF-8, or followed by other bytes")
	}
	if err := checkKind(&h); err != nil {
		return header{}, err
	}
	for _, f := range []struct {
		what  string
		field []byte
	}{{"user id", uidField.of(b)}, {"group id", gidField.of(b)}, {"time", mtimeField.of(b)}} {
		// Old versions of cargo wrote large user and group ids in base 256. Nothing
		// reads them.
		binary := f.what != "time" && f.field[0] == 0x80
		if _, ok := octal(f.field); !ok && !isZero(f.field) && !binary {
			return header{}, refuse(h.name, "has a %s in its tar header that is not an octal number", f.what)
		}
	}
	if h.size, ok = octal(sizeField.of(b)); !ok {
		return header{}, refuse(h.name, "has a size in its tar header that is not an octal number")
	}
	m, ok := octal(modeField.of(b))
	// Old versions of cargo wrote the file's type with its permissions.
	if !ok || m > 0o7777 && m&^0o7777 != 0o100000 {
		return header{}, refuse(h.name, "has a mode in its tar header that is not that of a regular file")
	}
	h.exec = m&0o100 != 0
	if !isZero(linknameField.of(b)) {
		return header{}, refuse(h.name, "is a file with a link target")
	}
	return h, checkRest(b, h.name)
}

// headerName joins prefix and name as ustar does. Only zeros may follow the
// NUL that ends either.
func headerName(b *[blockSize]byte) (string, bool) {
	n, ok := text(nameField.of(b))
	if !ok || n == "" {
		return "", false
	}
	if string(magicField.of(b)) != magicUSTAR {
		return n, true
	}
	p, ok := text(prefixField.of(b))
	if !ok {
		return "", false
	}
	if p != "" {
		n = p + "/" + n
	}
	return n, true
}

// otherKinds are the kinds that are refused, and why.
var otherKinds = map[byte]string{
	'1': "is a hard link; only regular files are allowed",
	'2': "is a symbolic link; only regular files are allowed",
	'3': "is a device; only regular files are allowed",
	'4': "is a device; only regular files are allowed",
	'5': "is a directory entry; only regular files are allowed, as cargo writes them",
	'6': "is a FIFO; only regular files are allowed",
	'x': "is a pax record, which can change what other tar readers see; cargo writes none",
	'g': "is a pax record, which can change what other tar readers see; cargo writes none",
	'S': "is a sparse file; only plain regular files are allowed",
	'K': "is a long link target; only regular files are allowed",
}

func checkKind(h *header) error {
	switch why, known := otherKinds[h.kind]; {
	case h.kind == kindFile, h.kind == kindLongName:
		return nil
	case h.kind == 0: // the old spelling of a regular file
		h.kind = kindFile
		return nil
	case known:
		return &ArchiveError{File: h.name, Why: why}
	}
	return refuse(h.name, "is of the unknown kind %q; only regular files are allowed", string(rune(h.kind)))
}

// checkRest looks at the parts that differ between ustar and GNU.
func checkRest(b *[blockSize]byte, file string) error {
	dev := devicesField.of(b)
	for _, half := range [][]byte{dev[:8], dev[8:]} {
		if n, ok := octal(half); !isZero(half) && (!ok || n != 0) {
			return refuse(file, "is a file with a device number")
		}
	}
	switch string(magicField.of(b)) {
	case magicUSTAR:
	case magicGNU:
		// SPEC: GNU keeps times, sparse maps and continuations where ustar has the prefix.
		if !isZero(prefixField.of(b)) {
			return refuse(file, "has a GNU tar header with times, sparse maps or continuations")
		}
	default:
		return refuse(file, "has a tar header that is neither ustar nor GNU")
	}
	if !isZero(restField.of(b)) {
		return refuse(file, "has bytes after its tar header")
	}
	return nil
}

// text reads a field up to its first NUL; the rest must be NULs.
func text(field []byte) (string, bool) {
	s, after, _ := bytes.Cut(field, []byte{0})
	return string(s), isZero(after) && utf8.Valid(s)
}

// octal reads a number: octal digits, then only NULs and spaces, at least one.
// So base-256 numbers, signs and leading spaces are refused.
func octal(field []byte) (int64, bool) {
	digits := bytes.TrimRight(field, " \x00")
	n, err := strconv.ParseUint(string(digits), 8, 63)
	return int64(n), err == nil && len(digits) < len(field)
}

// headerSum is the sum of all bytes, the checksum's own read as spaces.
func headerSum(b *[blockSize]byte) int64 {
	var n int64
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		n += int64(c)
	}
	return n
}
