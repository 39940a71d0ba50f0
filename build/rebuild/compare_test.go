package rebuild

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// A part is a section of an ELF file.
type part struct{ name, content string }

// makeELF makes a little ELF file with sections, and nothing that runs.
func makeELF(parts ...part) []byte {
	parts = append(append([]part{{"", ""}}, parts...), part{".shstrtab", ""})
	names := ""
	offsets := make([]int, len(parts))
	for i, p := range parts {
		offsets[i] = len(names)
		names += p.name + "\x00"
	}
	parts[len(parts)-1].content = names
	const header, section = 64, 64
	var body, table bytes.Buffer
	le := binary.LittleEndian
	for i, p := range parts {
		h := make([]byte, section)
		le.PutUint32(h, uint32(offsets[i]))
		if i > 0 {
			le.PutUint32(h[4:], 1) // SHT_PROGBITS
			le.PutUint64(h[24:], uint64(header+body.Len()))
			le.PutUint64(h[32:], uint64(len(p.content)))
		}
		if i == len(parts)-1 {
			le.PutUint32(h[4:], 3) // SHT_STRTAB
		}
		body.WriteString(p.content)
		table.Write(h)
	}
	h := make([]byte, header)
	copy(h, "\x7fELF\x02\x01\x01")
	le.PutUint16(h[16:], 2)
	le.PutUint16(h[18:], 62)
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[40:], uint64(header+body.Len()))
	le.PutUint16(h[52:], header)
	le.PutUint16(h[58:], section)
	le.PutUint16(h[60:], uint16(len(parts)))
	le.PutUint16(h[62:], uint16(len(parts)-1))
	return append(append(h, body.Bytes()...), table.Bytes()...)
}

func TestTheFirstSectionThatDiffersIsNamed(t *testing.T) {
	id := part{".note.gnu.build-id", "aaaa"}
	text, data := part{".text", "code code"}, part{".rodata", "3 cores"}
	a := makeELF(id, text, data)
	if got := difference(a, makeELF(id, text, data)); got != "" {
		t.Fatalf("equal files differ: %s", got)
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"a byte":          {makeELF(part{id.name, "bbbb"}, text, part{".rodata", "1 cores"}), `section ".rodata", byte 0 of 7 (at 77 of the file)`},
		"the hash alone":  {makeELF(part{id.name, "aabb"}, text, data), `section ".note.gnu.build-id", byte 2 of 4`},
		"longer":          {makeELF(id, text, part{".rodata", "3 coresss"}), `section ".rodata" has 7 bytes in the first file and 9 in the second`},
		"earlier counts":  {makeELF(id, part{".text", "code  ode"}, part{".rodata", "1 cores"}), `section ".text", byte 5 of 9`},
		"one is missing":  {makeELF(id, text), `section ".rodata" is in the first file only`},
		"one more":        {makeELF(id, text, data, part{".late", "x"}), `section ".late" is in the second file only`},
		"no ELF":          {[]byte("#!/bin/sh"), "byte 0 of"},
		"twice one name":  {makeELF(id, text, data, data), `section ".rodata" is in the second file only`},
		"the header only": {append(append([]byte{}, a[:9]...), append([]byte{7}, a[10:]...)...), "byte 9 of"},
	} {
		if got := difference(a, c.b); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := difference([]byte("ab"), []byte("abc")); got != "the first file has 2 bytes and the second 3; up to there they are equal" {
		t.Errorf("a beginning: %q", got)
	}
}

func FuzzDifference(f *testing.F) {
	a := makeELF(part{".text", "code"}, part{".rodata", "data"})
	f.Add(a, makeELF(part{".text", "code"}))
	f.Add(a, a[:len(a)-1])
	f.Add([]byte{}, []byte{0})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if got := difference(a, b); (got == "") != bytes.Equal(a, b) {
			t.Fatalf("%q of files that are equal: %v", got, bytes.Equal(a, b))
		}
	})
}
