package sandbox

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"strings"
)

const (
	bootDir  = ".boot"
	maxBoot  = 64 << 20 // bytes of a program or library that unpacks
	maxFiles = 64       // of them
)

// boot is what unpacks inside: the environment's own shell and tar, and their libraries, in one
// directory. It is there before the environment is, and gone when the command begins.
type boot struct {
	files  map[string][]byte // by name in /.boot
	loader string            // name of the dynamic loader, or "" if both programs are static
}

// bootFiles finds them.
func (s *store) bootFiles() (*boot, error) {
	o, err := s.open()
	if err != nil {
		return nil, err
	}
	defer o.close()
	for _, need := range []string{"bin/rm", "usr/bin/env"} {
		if s.resolve(need) == nil {
			return nil, fmt.Errorf("it has no /%s", need)
		}
	}
	b := &boot{files: make(map[string][]byte)}
	for _, name := range []string{"sh", "tar"} {
		it := s.resolve("bin/" + name)
		if it == nil {
			return nil, fmt.Errorf("it has no /bin/%s", name)
		}
		if err := b.add(o, name, it); err != nil {
			return nil, fmt.Errorf("/bin/%s: %w", name, err)
		}
	}
	return b, nil
}

// add takes a program or library, and the libraries that it names.
func (b *boot) add(o *opened, name string, it *item) error {
	if b.files[name] != nil {
		return nil
	}
	if len(b.files) >= maxFiles {
		return fmt.Errorf("more than %d libraries", maxFiles)
	}
	content, err := o.read(it, maxBoot)
	if err != nil {
		return err
	}
	b.files[name] = content
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("it is no program that Linux runs: %w", err)
	}
	if err := b.addLoader(o, file); err != nil {
		return err
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, lib := range libraries {
		found := o.library(lib, file)
		if found == nil {
			return fmt.Errorf("there is no library %s", lib)
		}
		if err := b.add(o, lib, found); err != nil {
			return fmt.Errorf("%s: %w", lib, err)
		}
	}
	return nil
}

// addLoader takes the dynamic loader that a program names, if it names one.
func (b *boot) addLoader(o *opened, file *elf.File) error {
	for _, p := range file.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		if p.Filesz == 0 || p.Filesz > maxPath {
			return fmt.Errorf("its loader's name has %d bytes", p.Filesz)
		}
		text := make([]byte, p.Filesz)
		if _, err := p.ReadAt(text, 0); err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimSuffix(string(text), "\x00"), "/")
		it := o.resolve(name)
		if it == nil {
			return fmt.Errorf("its loader /%.100s is not there", name)
		}
		b.loader = path.Base(name)
		return b.add(o, b.loader, it)
	}
	return nil
}

// library finds a library of the same machine where loaders look.
func (o *opened) library(name string, user *elf.File) *item {
	if strings.Contains(name, "/") {
		return nil
	}
	for _, dir := range o.libraryDirs() {
		it := o.resolve(dir + "/" + name)
		if it == nil || it.size > maxBoot {
			continue
		}
		content, err := o.read(it, maxBoot)
		if err != nil {
			continue
		}
		lib, err := elf.NewFile(bytes.NewReader(content))
		if err == nil && lib.Class == user.Class && lib.Machine == user.Machine {
			return it
		}
	}
	return nil
}

// libraryDirs returns the directories of libraries: lib, usr/lib and the like, and those for one
// machine in them, as in usr/lib/x86_64-linux-gnu.
func (o *opened) libraryDirs() []string {
	dirs := []string{"lib", "lib64", "usr/lib", "usr/lib64"}
	for _, it := range o.items {
		if up := path.Dir(it.path); strings.Contains(path.Base(it.path), "-linux-") && slices.Contains(dirs[:4], up) {
			dirs = append(dirs, it.path)
		}
	}
	return dirs
}
