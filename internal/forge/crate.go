package forge

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/proofcheck"
)

// A File is one file of a .crate; its path lies below NAME-VERSION/.
type File struct{ Path, Content string }

// Manifest returns a Cargo.toml for a package without dependencies.
func Manifest(name, version string) File {
	return File{"Cargo.toml", fmt.Sprintf("[package]\nname = %q\nversion = %q\nedition = \"2021\"\n", name,
		version)}
}

// Pack packs files as a .crate.
func Pack(name, version string, files ...File) ([]byte, error) {
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	for _, f := range files {
		h := &tar.Header{Name: name + "-" + version + "/" + f.Path, Mode: 0o644, Size: int64(len(f.Content)),
			Typeflag: tar.TypeReg, Format: tar.FormatGNU}
		if err := tw.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := tw.Write([]byte(f.Content)); err != nil {
			return nil, err
		}
	}
	err := errors.Join(tw.Close(), zw.Close())
	return out.Bytes(), err
}

// Repack unpacks a .crate, lets edit change each file, and packs it again. A file
// whose name becomes "" is left out.
func Repack(crate []byte, edit func(name string, content []byte) (string, []byte)) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(crate))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	r, w := tar.NewReader(z), tar.NewWriter(zw)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		if h.Name, content = edit(h.Name, content); h.Name == "" {
			continue
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	err = errors.Join(w.Close(), zw.Close())
	return out.Bytes(), err
}

// Claim returns an entry without a proof that says of a .crate what src says; it sets
// src.Files.
func Claim(raw []byte, name, version string, src *entry.Source) (*entry.Entry, error) {
	e := &entry.Entry{Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: name, Version: version, SHA256: sha256.Sum256(raw)}, Claim: src}
	list, err := List(raw, e)
	src.Files = sha256.Sum256(list)
	return e, err
}

// List returns the list of files that a .crate's entry is about.
func List(raw []byte, e *entry.Entry) ([]byte, error) {
	c, err := crate.Read(raw, e.Subject.Name, e.Subject.Version, crate.DefaultLimits)
	if err != nil {
		return nil, err
	}
	list, err := c.List(e.Claim.(*entry.Source))
	if err != nil {
		return nil, err
	}
	return list.Bytes, nil
}

// Entry returns an entry for a .crate that a log in development mode accepts. Its
// commit does not exist: it is the hash of the name and version.
func (f *Forger) Entry(raw []byte, name, version string) (*entry.Entry, error) {
	e, err := Claim(raw, name, version, &entry.Source{Commit: sha1.Sum([]byte(name + " " + version))})
	if err != nil {
		return nil, err
	}
	list, err := List(raw, e)
	if err != nil {
		return nil, err
	}
	return e, f.Prove(e, list)
}

// Crate packs a package of one source file and returns it with an entry.
func (f *Forger) Crate(name, version, source string) (raw []byte, e *entry.Entry, err error) {
	if raw, err = Pack(name, version, Manifest(name, version), File{"src/lib.rs", source}); err != nil {
		return nil, nil, err
	}
	e, err = f.Entry(raw, name, version)
	return raw, e, err
}

// Source returns text that packs as well as sources do.
func Source(random *rand.Rand, size int) string {
	words := []string{"let", "fn", "self", "match", "Some", "None", "Ok", "Err", "impl", "pub", "mut", "=>",
		"{", "}", "(", ")", ";", "->", "&", "\n    "}
	var b strings.Builder
	for b.Len() < size {
		if random.IntN(4) == 0 {
			fmt.Fprintf(&b, "// v%x ", random.Uint32())
			continue
		}
		b.WriteString(words[random.IntN(len(words))] + " ")
	}
	return b.String()
}

// Default returns a forger for the program of source claims that ships with cratelog.
func Default() (*Forger, error) {
	programs, err := proofcheck.Embedded()
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		if p.Development() && p.Claim == proofcheck.ClaimSource {
			return New(p)
		}
	}
	return nil, errors.New("forge: no program with a development key ships with cratelog")
}
