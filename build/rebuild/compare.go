package rebuild

import (
	"bytes"
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
)

// difference says where two files differ first, "" if they are equal. Of two ELF files it names the
// first section that differs, one that follows from the others only if there is no other.
func difference(a, b []byte) string {
	if bytes.Equal(a, b) {
		return ""
	}
	if text := sectionDifference(a, b); text != "" {
		return text
	}
	at := firstDifference(a, b)
	if at == min(len(a), len(b)) {
		return fmt.Sprintf("the first file has %d bytes and the second %d; up to there they are equal", len(a), len(b))
	}
	return fmt.Sprintf("byte %d of %d and %d bytes is %#02x in the first file and %#02x in the second", at, len(a), len(b),
		a[at], b[at])
}

// firstDifference returns the first place at which two texts differ.
func firstDifference(a, b []byte) int {
	const step = 1 << 16 // compared at once: there can be many sections of half a gigabyte
	n, at := min(len(a), len(b)), 0
	for at+step <= n && bytes.Equal(a[at:at+step], b[at:at+step]) {
		at += step
	}
	for at < n && a[at] == b[at] {
		at++
	}
	return at
}

// last are sections that follow from the others: a hash of the file, and the sections' names.
var last = []string{".note.gnu.build-id", ".shstrtab"}

// maxSections bounds the sections that are compared.
const maxSections = 4096

// sectionDifference names the first section, in the order of the first file, that differs; "" if
// one of the files is no ELF file, or no section says it.
func sectionDifference(a, b []byte) string {
	x, err1 := elf.NewFile(bytes.NewReader(a))
	y, err2 := elf.NewFile(bytes.NewReader(b))
	if err1 != nil || err2 != nil || len(x.Sections) > maxSections || len(y.Sections) > maxSections {
		return ""
	}
	others := map[string][]*elf.Section{} // several may have one name
	for _, s := range y.Sections {
		others[s.Name] = append(others[s.Name], s)
	}
	follows := ""
	for _, s := range x.Sections {
		same := others[s.Name]
		if len(same) == 0 {
			return fmt.Sprintf("section %.100q is in the first file only", s.Name)
		}
		others[s.Name] = same[1:]
		text := contentDifference(s, section(a, s), same[0], section(b, same[0]))
		if text != "" && !slices.Contains(last, s.Name) {
			return text
		}
		follows = cmp.Or(follows, text)
	}
	for _, s := range y.Sections {
		if len(others[s.Name]) > 0 {
			return fmt.Sprintf("section %.100q is in the second file only", s.Name)
		}
	}
	return follows
}

func contentDifference(s *elf.Section, content []byte, t *elf.Section, other []byte) string {
	at := firstDifference(content, other)
	switch {
	case len(content) != len(other) && at == min(len(content), len(other)):
		return fmt.Sprintf("section %.100q has %d bytes in the first file and %d in the second", s.Name, len(content),
			len(other))
	case at < len(content):
		return fmt.Sprintf("section %.100q, byte %d of %d (at %d of the file)", s.Name, at, len(content),
			s.Offset+uint64(at))
	}
	return ""
}

// section returns what a section has in the file; nothing if it has nothing, or lies beyond its end.
func section(file []byte, s *elf.Section) []byte {
	if s.Type == elf.SHT_NOBITS || s.Type == elf.SHT_NULL || s.Offset > uint64(len(file)) {
		return nil
	}
	rest := file[s.Offset:]
	return rest[:min(s.FileSize, uint64(len(rest)))]
}
