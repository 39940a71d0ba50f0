package crate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"cratelog/entry"
	"cratelog/internal/gitobject"
	"cratelog/internal/gunzip"
)

const (
	blockSize = 512
	// maxLongName is above the longest path (top directory, slash, path, NUL).
	maxLongName = 2048
	// maxKept bounds the files whose content is kept: those of keep.
	maxKept = 1 << 20
	// A tar archive may have inflatable bytes, and maxRatio more for each byte of the .crate,
	// whatever the limits say: deflate reaches 1,000, packages of sources stay below 40.
	inflatable = 64 << 20
	maxRatio   = 64
	// maxPathBytes bounds all paths together. The largest packages need a tenth of it.
	maxPathBytes = 2 << 20
)

// keep names the files whose content is needed, not only the hash.
var keep = map[string]bool{manifestFile: true, origFile: true, vcsFile: true}

// An archive is what one pass over a .crate yields.
type archive struct {
	root     string // top directory of all files
	files    []File // in the archive's order
	kept     map[string][]byte
	trailing int
}

// An unpacker walks the 512-byte blocks of a tar archive, and holds what is
// needed to refuse the next file.
type unpacker struct {
	archive
	r    io.Reader // the inflated tar
	left int64     // bytes that may still be inflated
	max  int       // number of files
	size int64     // the limit that left started from, for the sentence
	also *selection

	pathBytes int // of all paths
	blobs     gitobject.Hash
	*scratch
}

// scratch is the memory that reading an archive takes, and that the next one can take again.
type scratch struct {
	gzip   gunzip.Reader
	buffer [32 << 10]byte  // for what is copied
	block  [blockSize]byte // a header, or padding
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// A selection is files whose content is wanted, if it has at most max bytes.
type selection struct {
	paths map[string]bool
	max   int64
	visit func(f File, content []byte)
}

// wants says whether the content of a file is wanted; of a nil selection none is.
func (s *selection) wants(path string, size int64) bool {
	return s != nil && s.paths[path] && size <= s.max
}

// readArchive reads a whole .crate. With root "" the first file's top directory
// is the one for all. It hands the files of also, which may be nil, to its visit.
func readArchive(raw []byte, root string, lim Limits, also *selection) (*archive, error) {
	if int64(len(raw)) > lim.Compressed {
		return nil, tooLarge(lim)
	}
	mem := scratches.Get().(*scratch)
	defer func() {
		_ = mem.gzip.Reset(nil) // it keeps nothing of the caller's
		scratches.Put(mem)
	}()
	if err := mem.gzip.Reset(raw); err != nil {
		return nil, refuse("", "does not start with a gzip header")
	}
	inflated := min(lim.Inflated, inflatable+maxRatio*int64(len(raw)))
	u := &unpacker{
		archive: archive{root: root, kept: map[string][]byte{}},
		r:       pausing(&mem.gzip, lim.Pause),
		left:    inflated,
		size:    inflated,
		max:     lim.Files,
		also:    also,
		scratch: mem,
	}
	if err := u.run(); err != nil {
		var stopped *stoppedError
		if errors.As(err, &stopped) {
			return nil, stopped.why
		}
		return nil, err
	}
	if err := checkNames(u.files); err != nil {
		return nil, err
	}
	u.trailing = mem.gzip.Left()
	return &u.archive, nil
}

// pausing returns r, or a reader that calls p before each read of r.
func pausing(r io.Reader, p Pauser) io.Reader {
	if p == nil {
		return r
	}
	return &pauseReader{r, p}
}

type pauseReader struct {
	r io.Reader
	p Pauser
}

func (r *pauseReader) Read(b []byte) (int, error) {
	if err := r.p.Pause(); err != nil {
		return 0, &stoppedError{err}
	}
	const most = 32 << 10
	return r.r.Read(b[:min(len(b), most)])
}

// stoppedError is what a Pauser said.
type stoppedError struct{ why error }

func (e *stoppedError) Error() string { return e.why.Error() }

func refuse(file, why string, args ...any) error {
	return &ArchiveError{File: file, Why: fmt.Sprintf(why, args...)}
}

func refuseLimit[N int | int64](why string, limit N) error {
	return &ArchiveError{Why: fmt.Sprintf(why, limit), Limit: true}
}

func tooLarge(lim Limits) error {
	return refuseLimit("is larger than the limit of %d bytes", lim.Compressed)
}

// run reads entries up to the end of the tar and then the end of the gzip
// member, whose checksum is verified there.
func (u *unpacker) run() error {
	longName := ""
	for {
		if err := u.full(u.block[:]); err != nil {
			return err
		}
		if isZero(u.block[:]) {
			if longName != "" {
				return refuse(longName, "is announced by a long name but does not follow")
			}
			return u.end()
		}
		h, err := parseHeader(&u.block)
		if err != nil {
			return err
		}
		if h.kind == kindLongName {
			if longName != "" {
				return refuse(longName, "has two long names")
			}
			if longName, err = u.longName(h); err != nil {
				return err
			}
			continue
		}
		name := h.name
		if longName != "" {
			if name != truncated(longName) {
				return refuse(longName, "has another name (%q) in its header: tar readers would disagree on it", h.name)
			}
			name, longName = longName, ""
		}
		if err := u.file(name, h); err != nil {
			return err
		}
	}
}

// file admits one regular file, and reads and hashes its content.
func (u *unpacker) file(name string, h header) error {
	path, err := u.admit(name)
	if err != nil {
		return err
	}
	if keep[path] && h.size > maxKept {
		return refuse(path, "is larger than the limit of %d bytes for it", maxKept)
	}
	var content bytes.Buffer
	sum := u.blobs.Start(gitobject.TypeBlob, h.size)
	var to io.Writer = sum
	if keep[path] || u.also.wants(path, h.size) {
		to = io.MultiWriter(sum, &content)
	}
	if err := u.copy(to, h.size, path); err != nil {
		return err
	}
	id, safe := sum.Sum()
	if !safe {
		return &CollisionError{path}
	}
	if keep[path] {
		u.kept[path] = content.Bytes()
		if u.kept[path] == nil {
			u.kept[path] = []byte{}
		}
	}
	f := File{Path: path, Exec: h.exec, Size: h.size, Blob: id}
	u.files = append(u.files, f)
	if u.also.wants(path, h.size) {
		u.also.visit(f, content.Bytes())
	}
	return nil
}

// admit checks the name of a file by itself, and returns its path below the top directory.
func (u *unpacker) admit(name string) (string, error) {
	if len(u.files) >= u.max {
		return "", refuseLimit("has more files than the limit of %d", u.max)
	}
	root, path, ok := strings.Cut(name, "/")
	if u.root == "" && ok {
		u.root = root
	}
	if !ok || root != u.root {
		return "", refuse(name, "does not lie below %q", u.root+"/")
	}
	if err := entry.CheckPath(path); err != nil {
		return "", refuse(name, "has a path that is not allowed: %v", err)
	}
	if err := checkPortable(path); err != nil {
		return "", err
	}
	if u.pathBytes += len(path); u.pathBytes > maxPathBytes {
		return "", refuseLimit("has paths of more than %d bytes in all", maxPathBytes)
	}
	return path, nil
}

// longName reads the content of a GNU long name record.
func (u *unpacker) longName(h header) (string, error) {
	// SPEC: GNU tar, "L": the name of the next file, with a NUL at the end.
	if h.name != longNameName {
		return "", refuse(h.name, "is a long name record that is not called %q", longNameName)
	}
	if h.size < 2 || h.size > maxLongName {
		return "", refuse("", "has a long name of %d bytes, must be 2 to %d", h.size, maxLongName)
	}
	var b bytes.Buffer
	if err := u.copy(&b, h.size, ""); err != nil {
		return "", err
	}
	name, rest, ok := strings.Cut(b.String(), "\x00")
	if !ok || rest != "" || name == "" {
		return "", refuse(name, "has a long name that does not end with one NUL")
	}
	if !utf8.ValidString(name) {
		return "", refuse(name, "has a name that is not valid UTF-8")
	}
	return name, nil
}

// truncated is what stands in the header of a file with a long name: as many of
// its bytes as fit, without a part of a character.
func truncated(name string) string {
	if len(name) <= nameSize {
		return name
	}
	n := nameSize
	for n > 0 && !utf8.RuneStart(name[n]) {
		n--
	}
	return name[:n]
}

// end checks what follows the first zero block: one more, and then nothing but
// zeros up to the end of the gzip member.
func (u *unpacker) end() error {
	// SPEC: POSIX ustar: "two consecutive 512-byte logical records filled with binary zeros".
	b := u.block[:]
	if err := u.full(b); err != nil {
		return err
	}
	for n := blockSize; ; {
		if !isZero(b[:n]) {
			return refuse("", "has bytes after the end of its tar archive")
		}
		var err error
		n, err = io.ReadFull(u.r, b)
		if n > 0 {
			if err := u.charge(int64(n)); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil && err != io.ErrUnexpectedEOF {
			return inflateError(err, "")
		}
		if err == io.ErrUnexpectedEOF && n == 0 {
			return inflateError(err, "")
		}
	}
}

// copy moves n bytes of content to w and checks that the padding after it, up
// to a whole block, is zero.
func (u *unpacker) copy(w io.Writer, n int64, file string) error {
	padded := (n + blockSize - 1) / blockSize * blockSize
	if err := u.charge(padded); err != nil {
		return err
	}
	got, err := io.CopyBuffer(writerOnly{w}, io.LimitReader(u.r, n), u.buffer[:])
	if err == nil && got < n {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return inflateError(err, file)
	}
	pad := u.block[:padded-n]
	if _, err := io.ReadFull(u.r, pad); err != nil {
		return inflateError(err, file)
	}
	if !isZero(pad) {
		return refuse(file, "is followed by padding that is not zero")
	}
	return nil
}

// writerOnly hides what a writer could do beside writing, which would need a buffer of its own.
type writerOnly struct{ io.Writer }

func (u *unpacker) full(b []byte) error {
	if err := u.charge(int64(len(b))); err != nil {
		return err
	}
	if _, err := io.ReadFull(u.r, b); err != nil {
		return inflateError(err, "")
	}
	return nil
}

// charge takes n bytes from what may still be inflated, before they are.
func (u *unpacker) charge(n int64) error {
	if n > u.left {
		return refuseLimit("inflates to more than the limit of %d bytes", u.size)
	}
	u.left -= n
	return nil
}

func inflateError(err error, file string) error {
	var stopped *stoppedError
	if errors.As(err, &stopped) {
		return stopped
	}
	if errors.Is(err, gitobject.ErrSuspicious) {
		return &ArchiveError{File: file, Limit: true,
			Why: fmt.Sprintf("and those before it have %v: reading on would cost too much", err)}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse(file, "is cut off: the archive ends too early")
	}
	return refuse(file, "cannot be inflated: %v", err)
}

func isZero(b []byte) bool { return bytes.Count(b, []byte{0}) == len(b) }
