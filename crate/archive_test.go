package crate

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/internal/fixture"
)

// A tarFile is one entry of an archive that a test makes. Zero values are what
// cargo writes.
type tarFile struct {
	name, body string
	prefix     string // ustar only
	kind       byte
	mode       int64
	ustar      bool
	edit       func(b []byte) // of the header, before its checksum is made
	spoil      func(b []byte) // of the header, after
	pad        byte           // value of the padding
}

func (f tarFile) bytes() []byte {
	b := make([]byte, blockSize)
	copy(b, f.name)
	if f.mode == 0 {
		f.mode = 0o644
	}
	if f.kind == 0 {
		f.kind = kindFile
	}
	copy(b[100:], fmt.Sprintf("%07o", f.mode))
	copy(b[108:], "0000000")
	copy(b[116:], "0000000")
	copy(b[124:], fmt.Sprintf("%011o", len(f.body)))
	copy(b[136:], fmt.Sprintf("%011o", 1153704088))
	b[156] = f.kind
	copy(b[257:], magicGNU)
	if f.ustar {
		copy(b[257:], magicUSTAR)
		copy(b[345:], f.prefix)
	}
	if f.edit != nil {
		f.edit(b)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", headerSum((*[blockSize]byte)(b))))
	if f.spoil != nil {
		f.spoil(b)
	}
	b = append(b, f.body...)
	for len(b)%blockSize != 0 {
		b = append(b, f.pad)
	}
	return b
}

func longName(name string) tarFile {
	return tarFile{name: longNameName, kind: kindLongName, body: name + "\x00"}
}

const root = "hello-1.0.0/"

func cargoToml() tarFile {
	return tarFile{name: root + "Cargo.toml", body: "[package]\nname = \"hello\"\nversion = \"1.0.0\"\n"}
}

// pack makes a .crate of the files, with the two zero blocks at its end.
func pack(files ...tarFile) []byte {
	return zip(append(tarOf(files...), make([]byte, 2*blockSize)...))
}

func tarOf(files ...tarFile) []byte {
	var b []byte
	for _, f := range files {
		b = append(b, f.bytes()...)
	}
	return b
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

func readHello(raw []byte) (*Crate, error) {
	return Read(raw, "hello", "1.0.0", DefaultLimits)
}

func TestCrateOfCargoIsRead(t *testing.T) {
	for _, c := range fixtures {
		raw := fixture.Crate(t, c.name, c.version)
		got, err := Read(raw, c.name, c.version, DefaultLimits)
		if err != nil {
			t.Errorf("%s %s: %v", c.name, c.version, err)
			continue
		}
		path := filepath.Join(t.TempDir(), "any name")
		fatalIf(t, os.WriteFile(path, raw, 0o600))
		same, err := ReadFile(path, DefaultLimits)
		if err != nil {
			t.Errorf("%s %s as a file: %v", c.name, c.version, err)
			continue
		}
		if a, b := fmt.Sprint(got), fmt.Sprint(same); a != b {
			t.Errorf("Read and ReadFile differ:\n%s\n%s", a, b)
		}
		info, err := got.VCSInfo()
		if err != nil || info == nil || info.Commit != fixture.Commit(t, c.version) {
			t.Errorf("%s %s: origin %v, %v", c.name, c.version, info, err)
		}
	}
}

func TestExecutableBitIsTheOwners(t *testing.T) {
	for mode, want := range map[int64]bool{0o644: false, 0o755: true, 0o100: true, 0o655: false, 0o711: true, 0o666: false} {
		c, err := readHello(pack(cargoToml(), tarFile{name: root + "a", mode: mode}))
		if err != nil {
			t.Errorf("%o: %v", mode, err)
		} else if f, _ := c.lookup("a"); f.Exec != want {
			t.Errorf("%o: executable is %v", mode, f.Exec)
		}
	}
}

func TestUnusualButPlainArchivesAreRead(t *testing.T) {
	long := root + strings.Repeat("d/", 60) + "file.rs"
	cut := root + strings.Repeat("é", 80) // 92 bytes in the header, then half of a character
	for name, c := range map[string]struct {
		files []tarFile
		want  string
	}{
		"ustar":             {[]tarFile{{name: root + "a", ustar: true}}, "a"},
		"ustar prefix":      {[]tarFile{{name: "a", prefix: strings.TrimSuffix(root, "/") + "/b/c", ustar: true}}, "b/c/a"},
		"old regular file":  {[]tarFile{{name: root + "a", edit: func(b []byte) { b[156] = 0 }}}, "a"},
		"NUL owners":        {[]tarFile{{name: root + "a", edit: func(b []byte) { clear(b[108:124]) }}}, "a"},
		"long name":         {[]tarFile{longName(long), {name: long[:100]}}, strings.TrimPrefix(long, root)},
		"long name, cut":    {[]tarFile{longName(cut), {name: cut[:100]}}, strings.TrimPrefix(cut, root)},
		"name of 100 bytes": {[]tarFile{{name: root + strings.Repeat("a", 100-len(root))}}, strings.Repeat("a", 100-len(root))},
		"not ASCII":         {[]tarFile{{name: root + "src/naïve-файл.rs"}}, "src/naïve-файл.rs"},
		"near a device":     {[]tarFile{{name: root + "console/com10/auxv.rs"}}, "console/com10/auxv.rs"},
		"shell's letters":   {[]tarFile{{name: root + "?*\"<>| .x"}}, "?*\"<>| .x"},
	} {
		crate, err := readHello(pack(append([]tarFile{cargoToml()}, c.files...)...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if _, ok := crate.lookup(c.want); !ok || len(crate.Files) != 2 {
			t.Errorf("%s: files %+v, want %q", name, crate.Files, c.want)
		}
	}
}

// TestHostileArchiveIsRefused: every entry is a valid crate with one thing
// wrong, and the sentence that the reader must see.
func TestHostileArchiveIsRefused(t *testing.T) {
	with := func(at int, text string) []tarFile { // in the header
		return []tarFile{{name: root + "a", body: "text", edit: func(b []byte) { copy(b[at:], text) }}}
	}
	kind := func(kind byte) []tarFile { return []tarFile{{name: root + "a", kind: kind}} }
	named := func(names ...string) (files []tarFile) {
		for _, n := range names {
			files = append(files, tarFile{name: n})
		}
		return files
	}
	nul := func(n int) string { return strings.Repeat("\x00", n) }
	long := root + strings.Repeat("long/", 30) + "name"
	for name, c := range map[string]struct {
		files []tarFile
		want  string
	}{
		"hard link":      {kind('1'), `the .crate's file "hello-1.0.0/a" is a hard link; only regular files are allowed`},
		"symbolic link":  {kind('2'), `the .crate's file "hello-1.0.0/a" is a symbolic link; only regular files are allowed`},
		"char device":    {kind('3'), `the .crate's file "hello-1.0.0/a" is a device; only regular files are allowed`},
		"block device":   {kind('4'), `the .crate's file "hello-1.0.0/a" is a device; only regular files are allowed`},
		"directory":      {[]tarFile{{name: root + "a/", kind: '5'}}, `the .crate's file "hello-1.0.0/a/" is a directory entry; only regular files are allowed, as cargo writes them`},
		"FIFO":           {kind('6'), `the .crate's file "hello-1.0.0/a" is a FIFO; only regular files are allowed`},
		"contiguous":     {kind('7'), `the .crate's file "hello-1.0.0/a" is of the unknown kind "7"; only regular files are allowed`},
		"pax":            {kind('x'), `the .crate's file "hello-1.0.0/a" is a pax record, which can change what other tar readers see; cargo writes none`},
		"global pax":     {kind('g'), `the .crate's file "hello-1.0.0/a" is a pax record, which can change what other tar readers see; cargo writes none`},
		"GNU sparse":     {kind('S'), `the .crate's file "hello-1.0.0/a" is a sparse file; only plain regular files are allowed`},
		"GNU long link":  {kind('K'), `the .crate's file "hello-1.0.0/a" is a long link target; only regular files are allowed`},
		"GNU multi part": {kind('M'), `the .crate's file "hello-1.0.0/a" is of the unknown kind "M"; only regular files are allowed`},

		"base-256 size":       {with(124, "\x80"), `the .crate's file "hello-1.0.0/a" has a size in its tar header that is not an octal number`},
		"negative size":       {with(124, "-0000000001"), `the .crate's file "hello-1.0.0/a" has a size in its tar header that is not an octal number`},
		"size with a space":   {with(124, "          4"), `the .crate's file "hello-1.0.0/a" has a size in its tar header that is not an octal number`},
		"size, no end":        {with(124, "000000000004"), `the .crate's file "hello-1.0.0/a" has a size in its tar header that is not an octal number`},
		"no size":             {with(124, nul(12)), `the .crate's file "hello-1.0.0/a" has a size in its tar header that is not an octal number`},
		"negative user":       {with(108, "\xff"), `the .crate's file "hello-1.0.0/a" has a user id in its tar header that is not an octal number`},
		"negative group":      {with(116, "\xff"), `the .crate's file "hello-1.0.0/a" has a group id in its tar header that is not an octal number`},
		"base-256 time":       {with(136, "\x80"), `the .crate's file "hello-1.0.0/a" has a time in its tar header that is not an octal number`},
		"mode of a directory": {with(100, "0040755"), `the .crate's file "hello-1.0.0/a" has a mode in its tar header that is not that of a regular file`},
		"mode of a link":      {with(100, "0120777"), `the .crate's file "hello-1.0.0/a" has a mode in its tar header that is not that of a regular file`},
		"link target":         {with(157, "b"), `the .crate's file "hello-1.0.0/a" is a file with a link target`},
		"device number":       {with(329, "0000001"), `the .crate's file "hello-1.0.0/a" is a file with a device number`},
		"GNU realsize":        {with(483, "00000000001"), `the .crate's file "hello-1.0.0/a" has a GNU tar header with times, sparse maps or continuations`},
		"GNU prefix":          {with(345, "evil"), `the .crate's file "hello-1.0.0/a" has a GNU tar header with times, sparse maps or continuations`},
		"bytes after header":  {with(511, "\x01"), `the .crate's file "hello-1.0.0/a" has bytes after its tar header`},
		"no magic":            {with(257, nul(8)), `the .crate's file "hello-1.0.0/a" has a tar header that is neither ustar nor GNU`},
		"other version":       {with(263, "01"), `the .crate's file "hello-1.0.0/a" has a tar header that is neither ustar nor GNU`},
		"name after name":     {with(50, "x"), `the .crate has a tar header whose name is empty, not valid UTF-8, or followed by other bytes`},
		"no name":             {with(0, nul(100)), `the .crate has a tar header whose name is empty, not valid UTF-8, or followed by other bytes`},
		"not UTF-8":           {named(root + "a\xff"), `the .crate has a tar header whose name is empty, not valid UTF-8, or followed by other bytes`},
		"checksum":            {[]tarFile{{name: root + "a", spoil: func(b []byte) { b[0] ^= 1 }}}, `the .crate has a tar header whose checksum is wrong`},
		"padding":             {[]tarFile{{name: root + "a", body: "text", pad: 1}}, `the .crate's file "a" is followed by padding that is not zero`},

		"outside":             {named("hello-1.0.1/a"), `the .crate's file "hello-1.0.1/a" does not lie below "hello-1.0.0/"`},
		"root's spelling":     {named("Hello-1.0.0/a"), `the .crate's file "Hello-1.0.0/a" does not lie below "hello-1.0.0/"`},
		"top level":           {named("a"), `the .crate's file "a" does not lie below "hello-1.0.0/"`},
		"absolute":            {named("/" + root + "a"), `the .crate's file "/hello-1.0.0/a" does not lie below "hello-1.0.0/"`},
		"dot first":           {named("./" + root + "a"), `the .crate's file "./hello-1.0.0/a" does not lie below "hello-1.0.0/"`},
		"the root itself":     {named(root), `the .crate's file "hello-1.0.0/" has a path that is not allowed: a path is 0 bytes long, must be 1 to 1024`},
		"upwards":             {named(root + "../a"), `the .crate's file "hello-1.0.0/../a" has a path that is not allowed: the path "../a" has the component ".."`},
		"upwards, deeper":     {named(root + "b/../../a"), `the .crate's file "hello-1.0.0/b/../../a" has a path that is not allowed: the path "b/../../a" has the component ".."`},
		"dot":                 {named(root + "./a"), `the .crate's file "hello-1.0.0/./a" has a path that is not allowed: the path "./a" has the component "."`},
		"empty component":     {named(root + "b//a"), `the .crate's file "hello-1.0.0/b//a" has a path that is not allowed: the path "b//a" has an empty component: no slash may start, end or follow another`},
		"slash at the end":    {named(root + "a/"), `the .crate's file "hello-1.0.0/a/" has a path that is not allowed: the path "a/" has an empty component: no slash may start, end or follow another`},
		"backslash":           {named(root + `b\a`), `the .crate's file "hello-1.0.0/b\\a" has a path that is not allowed: the path "b\\a" contains a backslash; paths use '/' only`},
		"control character":   {named(root + "a\n"), `the .crate's file "hello-1.0.0/a\n" has a path that is not allowed: the path "a\n" contains a control character`},
		"twice":               {named(root+"a", root+"a"), `the .crate's file "a" is there twice`},
		"manifest twice":      {[]tarFile{cargoToml()}, `the .crate's file "Cargo.toml" is there twice`},
		"other case":          {named(root + "cargo.toml"), `the .crate's file "cargo.toml" differs from "Cargo.toml" only by case or by the spelling of accents, which some file systems ignore`},
		"other case, Unicode": {named(root+"Straẞe/ſ", root+"straße/S"), `the .crate's file "straße/S" differs from "Straẞe/ſ" only by case or by the spelling of accents, which some file systems ignore`},
		"file, then below":    {named(root+"a", root+"a/b"), `the .crate's file "a/b" lies below "a", which is a file`},
		"below, then file":    {named(root+"a/b/c", root+"a"), `the .crate's file "a/b/c" lies below "a", which is a file`},
		"below, other case":   {named(root+"a/b/c", root+"A/B"), `the .crate's file "a/b/c" lies below "A/B", which is a file`},
		"composed and not":    {named(root+"e\u0301", root+"é"), `the .crate's file "é" differs from "é" only by case or by the spelling of accents, which some file systems ignore`},
		"full case folding":   {named(root+"strasse", root+"straße"), `the .crate's file "straße" differs from "strasse" only by case or by the spelling of accents, which some file systems ignore`},
		"directory's case":    {named(root+"src/lib.rs", root+"a", root+"SRC/other.rs"), `the .crate's file "SRC/other.rs" lies in a directory that differs from that of "src/lib.rs" only by case or by the spelling of accents, which some file systems ignore`},
		"directory's accents": {named(root+"d/é/x/a", root+"d/e\u0301/y/b"), "the .crate's file \"d/e\u0301/y/b\" lies in a directory that differs from that of \"d/é/x/a\" only by case or by the spelling of accents, which some file systems ignore"},
		"stream":              {named(root + "src/lib.rs::$DATA"), `the .crate's file "src/lib.rs::$DATA" has a colon in its name: Windows reads it as a stream of another file`},
		"dot at the end":      {named(root + "src./lib.rs"), `the .crate's file "src./lib.rs" has a name that ends with a dot or space: Windows leaves those out, and opens another file`},
		"space at the end":    {named(root + "lib.rs "), `the .crate's file "lib.rs " has a name that ends with a dot or space: Windows leaves those out, and opens another file`},
		"device":              {named(root + "con"), `the .crate's file "con" has a name that Windows reserves for a device`},
		"device's file":       {named(root + "src/Aux .tar.rs"), `the .crate's file "src/Aux .tar.rs" has a name that Windows reserves for a device`},
		"device's directory":  {named(root + "lpt².x/a"), `the .crate's file "lpt².x/a" has a name that Windows reserves for a device`},
		"right to left":       {named(root + "a\u202esr.bil"), `the .crate's file "a\u202esr.bil" has an invisible character in its name ('\u202e')`},
		"no width":            {named(root + "li\u200bb.rs"), `the .crate's file "li\u200bb.rs" has an invisible character in its name ('\u200b')`},
		"line separator":      {named(root + "a\u2028"), `the .crate's file "a\u2028" has an invisible character in its name ('\u2028')`},

		"long name shadows":     {[]tarFile{longName(long), {name: root + "other"}}, `the .crate's file "` + long + `" has another name ("hello-1.0.0/other") in its header: tar readers would disagree on it`},
		"long name shadows all": {[]tarFile{longName(long), cargoToml()}, `the .crate's file "` + long + `" has another name ("hello-1.0.0/Cargo.toml") in its header: tar readers would disagree on it`},
		"short long name":       {[]tarFile{longName(root + "b"), {name: root + "a"}}, `the .crate's file "hello-1.0.0/b" has another name ("hello-1.0.0/a") in its header: tar readers would disagree on it`},
		"two long names":        {[]tarFile{longName(long), longName(long), {name: long[:100]}}, `the .crate's file "` + long + `" has two long names`},
		"long name, no file":    {[]tarFile{longName(long)}, `the .crate's file "` + long + `" is announced by a long name but does not follow`},
		"long name, no NUL":     {[]tarFile{{name: longNameName, kind: 'L', body: long}, {name: long[:100]}}, `the .crate's file "` + long + `" has a long name that does not end with one NUL`},
		"long name, two NULs":   {[]tarFile{longName(long + "\x00"), {name: long[:100]}}, `the .crate's file "` + long + `" has a long name that does not end with one NUL`},
		"long name, hidden":     {[]tarFile{longName(long + "\x00more"), {name: long[:100]}}, `the .crate's file "` + long + `" has a long name that does not end with one NUL`},
		"long name, empty":      {[]tarFile{longName(""), {name: root + "a"}}, `the .crate has a long name of 1 bytes, must be 2 to 2048`},
		"long name, too long":   {[]tarFile{longName(strings.Repeat("a", 2048))}, `the .crate has a long name of 2049 bytes, must be 2 to 2048`},
		"long name, not UTF-8":  {[]tarFile{longName(long + "\xff"), {name: long[:100]}}, `the .crate's file "` + long + `\xff" has a name that is not valid UTF-8`},
		"long name's own name":  {[]tarFile{{name: root + "a", kind: 'L', body: long + "\x00"}}, `the .crate's file "hello-1.0.0/a" is a long name record that is not called "././@LongLink"`},
		"path of 1025 bytes": {[]tarFile{longName(root + strings.Repeat("a", 1025)), {name: root + strings.Repeat("a", 100-len(root))}},
			`the .crate's file "` + root + strings.Repeat("a", 1025) + `" has a path that is not allowed: a path is 1025 bytes long, must be 1 to 1024`},
	} {
		_, err := readHello(pack(append([]tarFile{cargoToml()}, c.files...)...))
		if err == nil {
			t.Errorf("%s: believed", name)
		} else if err.Error() != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, err, c.want)
		}
		var refused *ArchiveError
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("%s: the error is a %T", name, err)
		}
	}
}

func TestContainerIsStrict(t *testing.T) {
	body := tarOf(cargoToml())
	zeros := make([]byte, 2*blockSize)
	whole := append(bytes.Clone(body), zeros...)
	good := zip(whole)
	bad := func(at int) []byte {
		b := bytes.Clone(good)
		b[len(b)+at] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"empty":            {nil, "the .crate does not start with a gzip header"},
		"not gzip":         {whole, "the .crate does not start with a gzip header"},
		"checksum":         {bad(-8), "the .crate cannot be inflated: gzip: invalid checksum"},
		"length":           {bad(-1), "the .crate cannot be inflated: gzip: invalid checksum"},
		"cut off":          {good[:len(good)-1], "the .crate is cut off: the archive ends too early"},
		"cut in the data":  {good[:30], "the .crate is cut off: the archive ends too early"},
		"no end":           {zip(body), "the .crate is cut off: the archive ends too early"},
		"one zero block":   {zip(append(bytes.Clone(body), zeros[:512]...)), "the .crate is cut off: the archive ends too early"},
		"cut in a file":    {zip(whole[:600]), `the .crate is cut off: the archive ends too early`},
		"entry after end":  {zip(append(bytes.Clone(whole), tarOf(tarFile{name: root + "a"})...)), "the .crate has bytes after the end of its tar archive"},
		"entry after zero": {zip(append(append(bytes.Clone(body), zeros[:512]...), tarOf(tarFile{name: root + "a"})...)), "the .crate has bytes after the end of its tar archive"},
		"byte after end":   {zip(append(bytes.Clone(whole), 1)), "the .crate has bytes after the end of its tar archive"},
		"no files":         {zip(zeros), "Cargo.toml is missing from the .crate"},
	} {
		if name == "cut in a file" {
			c.raw = zip(whole[:520])
			c.want = `the .crate's file "Cargo.toml" is cut off: the archive ends too early`
		}
		if _, err := readHello(c.raw); err == nil || err.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", name, err, c.want)
		}
	}
	if _, err := readHello(zip(append(bytes.Clone(whole), make([]byte, 10000)...))); err != nil {
		t.Errorf("more zeros at the end, as tar writes them: %v", err)
	}
}

// TestAnArchiveIsReadAsIfItWereTheFirst, whatever archive left the memory that it takes: its first bytes
// refer to no earlier one's, and errors leave nothing behind.
func TestAnArchiveIsReadAsIfItWereTheFirst(t *testing.T) {
	good := pack(cargoToml(), tarFile{name: root + "src/lib.rs", body: strings.Repeat("fn main() {}\n", 10000)})
	want, err := readHello(good)
	if err != nil {
		t.Fatal(err)
	}
	// One block with the fixed codes: three bytes from one byte before the begin, and its end (RFC 1951, section 3.2.6).
	before := append(bytes.Clone(good[:10]), 0x03, 0x02, 0x00, 0x00)
	for range 20 {
		if _, err := readHello(before); err == nil || !strings.Contains(err.Error(), "cannot be inflated: the compressed data is corrupt") {
			t.Errorf("bytes from before the begin: %v", err)
		}
		for _, cut := range []int{5, 40, len(good) / 2, len(good) - 1} {
			if _, err := readHello(good[:cut]); err == nil {
				t.Errorf("cut off after %d bytes", cut)
			}
		}
		if got, err := readHello(good); err != nil || !slices.Equal(got.Files, want.Files) || !bytes.Equal(got.manifest, want.manifest) {
			t.Errorf("another crate: %+v, %v", got, err)
		}
	}
}

func TestBytesAfterTheGzipMemberAreCountedAndNotRead(t *testing.T) {
	good := pack(cargoToml())
	want, err := readHello(good)
	if err != nil || want.Trailing != 0 {
		t.Fatalf("trailing %d, %v", want.Trailing, err)
	}
	for name, tail := range map[string][]byte{
		"garbage":         []byte("left over from a larger crate"),
		"zeros":           make([]byte, 100),
		"a second member": pack(tarFile{name: root + "evil"}),
		"half a header":   {0x1f, 0x8b},
	} {
		c, err := readHello(append(bytes.Clone(good), tail...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.Trailing != len(tail) || len(c.Files) != 1 {
			t.Errorf("%s: %d bytes trail, %d files; want %d and 1", name, c.Trailing, len(c.Files), len(tail))
		}
		if c.SHA256 == want.SHA256 {
			t.Errorf("%s: is not in the SHA-256", name)
		}
	}
}

func TestLimitsHoldAtTheLimitAndOneBelow(t *testing.T) {
	raw := pack(cargoToml(), tarFile{name: root + "a", body: strings.Repeat("x", 700)})
	exact := Limits{Compressed: int64(len(raw)), Inflated: 2*512 + 512 + 1024 + 1024, Files: 2}
	if _, err := Read(raw, "hello", "1.0.0", exact); err != nil {
		t.Errorf("at the limits: %v", err)
	}
	for want, lim := range map[string]Limits{
		fmt.Sprintf("the .crate is larger than the limit of %d bytes", len(raw)-1): {Compressed: exact.Compressed - 1, Inflated: exact.Inflated, Files: exact.Files},
		"the .crate inflates to more than the limit of 3583 bytes":                 {Compressed: exact.Compressed, Inflated: exact.Inflated - 1, Files: exact.Files},
		"the .crate has more files than the limit of 1":                            {Compressed: exact.Compressed, Inflated: exact.Inflated, Files: exact.Files - 1},
	} {
		var archive *ArchiveError
		if _, err := Read(raw, "hello", "1.0.0", lim); err == nil || err.Error() != want || !errors.As(err, &archive) || !archive.Limit {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := Read(raw, "hello", "1.0.0", Limits{}); err == nil {
		t.Error("no limits at all: accepted")
	}
	path := filepath.Join(t.TempDir(), "c")
	fatalIf(t, os.WriteFile(path, raw, 0o600))
	if _, err := ReadFile(path, exact); err != nil {
		t.Errorf("a file at the limits: %v", err)
	}
	exact.Compressed--
	_, err := ReadFile(path, exact)
	refused(t, "a file above the limit", err, "larger than the limit")
}

func TestZipBombStopsAtTheLimit(t *testing.T) {
	bomb := pack(cargoToml(), tarFile{name: root + "a", body: strings.Repeat("\x00", 8<<20)})
	_, err := Read(bomb, "hello", "1.0.0", Limits{Compressed: 1 << 20, Inflated: 1 << 20, Files: 10})
	refused(t, "files", err, "inflates to more than the limit of 1048576 bytes")
	bomb = zip(append(tarOf(cargoToml()), make([]byte, 8<<20)...))
	_, err = Read(bomb, "hello", "1.0.0", Limits{Compressed: 1 << 20, Inflated: 1 << 20, Files: 10})
	refused(t, "zeros at the end", err, "inflates to more than the limit of 1048576 bytes")
	big := tarFile{name: root + "Cargo.toml.bak", body: strings.Repeat("#", maxKept+1)}
	if _, err := readHello(pack(cargoToml(), big)); err != nil {
		t.Errorf("a large file: %v", err)
	}
	big.name = root + vcsFile
	want := `the .crate's file ".cargo_vcs_info.json" is larger than the limit of 1048576 bytes for it`
	if _, err := readHello(pack(cargoToml(), big)); err == nil || err.Error() != want {
		t.Errorf("a large file that is kept: %v", err)
	}
}

// TestInflationDependsOnTheSize: far below the limits, a small .crate inflates to little.
func TestInflationDependsOnTheSize(t *testing.T) {
	bomb := zip(append(tarOf(cargoToml()), make([]byte, 140<<20)...))
	_, err := readHello(bomb)
	var archive *ArchiveError
	if !errors.As(err, &archive) || !archive.Limit || !strings.Contains(err.Error(), "inflates to more than the limit of") {
		t.Errorf("%d bytes: %v", len(bomb), err)
	}
	if _, err := readHello(append(bomb, make([]byte, 2<<20)...)); err != nil {
		t.Errorf("with bytes behind: %v", err)
	}
}

// TestSuspiciousBlocksAreBounded: a block for which nine ways of attack have to be tried, again and
// again, beside one of no suspicion.
func TestSuspiciousBlocksAreBounded(t *testing.T) {
	block, err := hex.DecodeString("dbbe57851b62be0c5300262e832cca3a59c9aff1c3ceddbb13de814c874f44af" +
		"207a80d083e5f51e8c93752fc07a7cc30cb8ba81c4ecbf7302cae18bd95e72f2")
	fatalIf(t, err)
	const blocks = 1 << 17
	header := len(fmt.Sprintf("blob %d\x00", blocks*64))
	body := strings.Repeat(string(block), blocks)
	body = body[header:] + body[:header] // aligned behind git's header
	_, err = readHello(pack(cargoToml(), tarFile{name: root + "a", body: body}))
	refused(t, "the suspicious", err, "too many blocks that could be part of an attack on SHA-1")
	for name, body := range map[string]string{"zeros": strings.Repeat("\x00", len(body)), "few": body[:len(body)/4], "off by one": "x" + body} {
		if _, err := readHello(pack(cargoToml(), tarFile{name: root + "a", body: body})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPathsAreBoundedTogether: many files, each in many directories of its own.
func TestPathsAreBoundedTogether(t *testing.T) {
	deep := func(n int, dir string, times int) []tarFile {
		files := []tarFile{cargoToml()}
		for i := range n {
			name := root + fmt.Sprintf("%05d/", i) + strings.Repeat(dir, times) + "file"
			files = append(files, longName(name), tarFile{name: name[:100]})
		}
		return files
	}
	for want, files := range map[string][]tarFile{
		"":                                     deep(500, "a/", 480),
		"paths of more than 262144 components": deep(600, "a/", 480),
		"paths of more than 2097152 bytes in all": deep(2500, strings.Repeat("a", 99)+"/", 9),
	} {
		_, err := readHello(pack(files...))
		if want == "" && err != nil {
			t.Error(err)
		} else if want != "" {
			refused(t, "deep", err, want)
		}
	}
}

func TestManifestMustNameTheSubject(t *testing.T) {
	doc := func(s string) []byte { return pack(tarFile{name: root + "Cargo.toml", body: s}) }
	for s, want := range map[string]string{
		"":                        "Cargo.toml has no [package] table",
		"package = 1":             "Cargo.toml has no [package] table",
		"[Package]\nname='hello'": "Cargo.toml has no [package] table",
		"[package]\nName='hello'": "Cargo.toml has no package.name that is a string",
		"[package]\nname=1":       "Cargo.toml has no package.name that is a string",
		"[package]\nname='hello'": "Cargo.toml has no package.version that is a string; cargo writes one when it packages",
		"[package]\nname='hello'\nversion.workspace=true": "Cargo.toml has no package.version that is a string; cargo writes one when it packages",
		"[package]\nname='hello'\nversion='1'":            "Cargo.toml is refused: the version \"1\" is not an exact version such as 1.2.3, 1.2.3-rc.1 or 1.2.3+build (semver 2.0)",
		"[package]\nname='h é'\nversion='1.0.0'":          "Cargo.toml is refused: the crate name \"h é\" must be letters, digits, '_' and '-' only, and start with a letter or '_'",
		"[package]\nname='hallo'\nversion='1.0.0'":        `Cargo.toml says that the package is hallo 1.0.0, but the .crate's files lie below "hello-1.0.0"`,
		"[package]\nname='hello'\nversion='1.0.1'":        `Cargo.toml says that the package is hello 1.0.1, but the .crate's files lie below "hello-1.0.0"`,
		"[package]\nname='hello'\nname='hello'":           "Cargo.toml is not TOML: line 3: ",
		"[package":                                        "Cargo.toml is not TOML: line 1: ",
	} {
		_, err := readHello(doc(s))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", s, err, want)
		}
	}
	// The same directory name can be cut into name and version in two ways.
	raw := pack(tarFile{name: "hello-1.0.0-1.0.0/Cargo.toml", body: "[package]\nname='hello'\nversion='1.0.0-1.0.0'"})
	if _, err := Read(raw, "hello", "1.0.0-1.0.0", DefaultLimits); err != nil {
		t.Error(err)
	}
	raw = pack(tarFile{name: "hello-1.0.0-1.0.0/Cargo.toml", body: "[package]\nname='hello-1'\nversion='0.0-1.0.0'"})
	if _, err := Read(raw, "hello", "1.0.0-1.0.0", DefaultLimits); err == nil {
		t.Error("another cut of the directory's name was accepted")
	}
	for _, bad := range [][2]string{{"", "1.0.0"}, {"hello", ""}, {"hello", "1.0"}, {"../x", "1.0.0"}} {
		if _, err := Read(raw, bad[0], bad[1], DefaultLimits); err == nil {
			t.Errorf("read as %q", bad)
		}
	}
}

// FuzzRead: no input makes Read fail in any way but by an error, and what it
// accepts can be listed and keeps the promises of File.
func FuzzRead(f *testing.F) {
	f.Add(tarOf(cargoToml()), false)
	f.Add(tarOf(cargoToml(), longName(root+strings.Repeat("a", 120)), tarFile{name: (root + strings.Repeat("a", 120))[:100]}), false)
	f.Add(fixture.Crate(f, "hello-inner", "0.1.0"), true)
	f.Fuzz(func(t *testing.T, b []byte, asCrate bool) {
		raw := b
		if !asCrate {
			// Most mutations would stop at a checksum: mutate the tar, and mend its headers.
			raw = zip(append(mend(bytes.Clone(b)), make([]byte, 2*blockSize)...))
		}
		c, err := read(raw, sha256.Sum256(raw), "", Limits{Compressed: 1 << 20, Inflated: 1 << 20, Files: 100})
		if err != nil {
			return
		}
		checkAccepted(t, c)
	})
}

// mend cuts a tar to whole blocks and sets the checksums of its headers.
func mend(b []byte) []byte {
	b = b[:len(b)/blockSize*blockSize]
	for at := int64(0); at < int64(len(b)); {
		h := (*[blockSize]byte)(b[at:])
		copy(h[148:], fmt.Sprintf("%06o\x00 ", headerSum(h)))
		n, ok := octal(sizeField.of(h))
		if !ok {
			break
		}
		at += blockSize + (n+blockSize-1)/blockSize*blockSize
	}
	return b
}

// TestHeadersOfOldCargoAreRead: the file's type beside its permissions, and user and
// group ids too large for octal digits.
func TestHeadersOfOldCargoAreRead(t *testing.T) {
	old := func(mode string) func(b []byte) {
		return func(b []byte) {
			copy(b[100:], mode)
			copy(b[108:], "\x80\x00\x00\x00\x12\x34\x56\x78")
			copy(b[116:], "\x80\x00\x00\x00\x12\x34\x56\x78")
		}
	}
	for mode, exec := range map[string]bool{"0100644": false, "0100755": true, "0100664": false, "0100600": false, "0100777": true} {
		c, err := readHello(pack(cargoToml(), tarFile{name: root + "a", body: "x", edit: old(mode)}))
		if err != nil {
			t.Errorf("%s: %v", mode, err)
			continue
		}
		if f, ok := c.lookup("a"); !ok || f.Exec != exec {
			t.Errorf("%s: executable is %v", mode, f.Exec)
		}
	}
}

// refused checks that an error says a word.
func refused(t *testing.T, what string, err error, word string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), word) {
		t.Errorf("%s: %v, want a word on %q", what, err, word)
	}
}

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
