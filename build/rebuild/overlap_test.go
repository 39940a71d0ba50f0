package rebuild

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"runtime"
	"testing"
)

// TestSectionsThatOverlapCostNoMemory: a build can say that each of its many sections is the whole file.
func TestSectionsThatOverlapCostNoMemory(t *testing.T) {
	const size, sections = 1 << 20, maxSections
	made := func(last byte) []byte {
		var b bytes.Buffer
		h := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: 64, Ehsize: 64, Shentsize: 64,
			Shnum: sections, Shstrndx: 1}
		copy(h.Ident[:], "\x7fELF\x02\x01\x01")
		binary.Write(&b, binary.LittleEndian, h)
		for i := range sections {
			s := elf.Section64{Type: uint32(elf.SHT_PROGBITS), Size: size - 1}
			if i == 0 {
				s = elf.Section64{}
			} else if i == 1 {
				s = elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: size - 16, Size: 8}
			} else if i == sections-1 {
				s.Size = size
			}
			binary.Write(&b, binary.LittleEndian, s)
		}
		b.Write(make([]byte, size-b.Len()-1))
		return append(b.Bytes(), last)
	}
	a, b := made(1), made(2)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := difference(a, b)
	runtime.ReadMemStats(&after)
	if want := `section "", byte 1048575 of 1048576 (at 1048575 of the file)`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("%d MiB were taken", n>>20)
	}
}
