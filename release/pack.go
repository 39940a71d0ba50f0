package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// pack makes the files of a target.
func (r *release) pack(target string, programs []file) (list []file, err error) {
	system, arch, _ := strings.Cut(target, "/")
	base := fmt.Sprintf("cratelog-%s-%s-%s", r.version, system, arch)
	sbom, err := r.sbom(base, programs)
	if err != nil {
		return nil, err
	}
	list = append(list, file{base + ".cdx.json", 0o644, sbom})
	var archive []byte
	inside := slices.Concat(programs, r.common, []file{{"sbom.cdx.json", 0o644, sbom}})
	for i := range inside {
		inside[i].name = base + "/" + inside[i].name
	}
	name := base + ".tar.gz"
	if system == "windows" {
		name = base + ".zip"
		archive, err = zipped(inside, r.time)
	} else {
		archive, err = tarred(inside, r.time)
	}
	if err != nil {
		return nil, err
	}
	list = append(list, file{name, 0o644, archive})
	if system == "linux" {
		deb, err := r.debian(arch, programs)
		if err != nil {
			return nil, err
		}
		list = append(list, deb)
	}
	return list, nil
}

// zipped is a zip archive whose bytes follow from the files and the time.
func zipped(files []file, when time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: when}
		h.SetMode(0o644)
		if f.mode == 0o755 {
			h.SetMode(0o755)
		}
		to, err := w.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := to.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// tarred is a .tar.gz of files that belong to root, with the directories that they are in.
func tarred(files []file, when time.Time) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	made := map[string]bool{".": true, "/": true}
	var parents func(dir string) error
	parents = func(dir string) error {
		if made[dir] {
			return nil
		}
		made[dir] = true
		if err := parents(path.Dir(dir)); err != nil {
			return err
		}
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: when,
			Uname: "root", Gname: "root", Format: tar.FormatUSTAR})
	}
	for _, f := range files {
		if err := parents(path.Dir(f.name)); err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data)),
			ModTime: when, Uname: "root", Gname: "root", Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	err = z.Close()
	return b.Bytes(), err
}

// debian is the package for an architecture. deb(5) says: an ar archive of the format's version, what
// the package is, and its files.
func (r *release) debian(arch string, programs []file) (file, error) {
	files, err := r.installed(programs)
	if err != nil {
		return file{}, err
	}
	size, sums := 0, ""
	for _, f := range files {
		size += (len(f.data) + 1023) / 1024
		sums += fmt.Sprintf("%x  %s\n", md5.Sum(f.data), strings.TrimPrefix(f.name, "./")) // md5 is the format's
	}
	version := r.debianVersion()
	about := fmt.Sprintf(`Package: cratelog
Version: %s
Architecture: %s
Maintainer: `+maintainer+`
Installed-Size: %d
Recommends: ca-certificates, git
Suggests: bubblewrap, cargo, mmdebstrap
Section: devel
Priority: optional
Description: transparent log of proofs that crates come from their git commits
 cargo-zkp checks that the crates of a Cargo.lock are the public source that
 they claim to be, with zero-knowledge proofs from transparent logs, and proves
 crates. The package has the servers too: log, witness and monitor.
`, version, arch, size)
	control, err := tarred([]file{{"./control", 0o644, []byte(about)}, {"./md5sums", 0o644, []byte(sums)}}, r.time)
	if err != nil {
		return file{}, err
	}
	data, err := tarred(files, r.time)
	if err != nil {
		return file{}, err
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, f := range []file{{"debian-binary", 0, []byte("2.0\n")}, {"control.tar.gz", 0, control}, {"data.tar.gz", 0, data}} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", f.name, r.time.Unix(), 0, 0, 0o100644, len(f.data))
		b.Write(f.data)
		if len(f.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return file{fmt.Sprintf("cratelog_%s_%s.deb", version, arch), 0o644, b.Bytes()}, nil
}

const maintainer = "The cratelog maintainers <maintainers@cratelog.invalid>"

// debianVersion is the version as dpkg sorts it: what precedes a release before it.
func (r *release) debianVersion() string {
	return strings.ReplaceAll(strings.Replace(r.version, "-dev.", "~dev.", 1), "-", "~")
}

// changelog is Debian's, which says where the true one is.
func (r *release) changelog() []byte {
	return fmt.Appendf(nil, "cratelog (%s) unstable; urgency=medium\n\n  * See NEWS.md.gz.\n\n -- %s  %s\n", r.debianVersion(),
		maintainer, r.time.UTC().Format(time.RFC1123Z))
}

// installed are the files where Debian has them.
func (r *release) installed(programs []file) (list []file, err error) {
	const doc = "./usr/share/doc/cratelog/"
	zip := func(name string, data []byte) {
		var z []byte
		if z, err = compressed(data); err == nil {
			list = append(list, file{name, 0o644, z})
		}
	}
	static := "" // that the programs are static is meant
	for _, p := range programs {
		if p.name == "demo" {
			continue // of no use in everybody's PATH, and of too common a name
		}
		list = append(list, file{"./usr/bin/" + p.name, 0o755, p.data})
		static += "cratelog: statically-linked-binary [usr/bin/" + p.name + "]\n"
	}
	list = append(list, file{"./usr/share/lintian/overrides/cratelog", 0o644, []byte(static)})
	zip(doc+"changelog.gz", r.changelog())
	for _, f := range r.common {
		dir, name := path.Split(f.name)
		switch {
		case dir == "man/":
			zip("./usr/share/man/man1/"+name+".gz", f.data)
		case name == "cargo-zkp.bash":
			list = append(list, file{"./usr/share/bash-completion/completions/cargo-zkp", 0o644, f.data})
		case name == "_cargo-zkp":
			list = append(list, file{"./usr/share/zsh/vendor-completions/_cargo-zkp", 0o644, f.data})
		case name == "cargo-zkp.fish":
			list = append(list, file{"./usr/share/fish/vendor_completions.d/cargo-zkp.fish", 0o644, f.data})
		case name == "LICENSE":
			list = append(list, file{doc + "copyright", 0o644, []byte("Copyright: the authors of cratelog.\n\ncratelog is under the " +
				"Apache License, Version 2.0, which on Debian systems is in\n/usr/share/common-licenses/Apache-2.0.\n")})
		case strings.HasSuffix(name, ".md"):
			zip(doc+name+".gz", f.data)
		}
	}
	slices.SortFunc(list, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return list, err
}

func compressed(data []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(z, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	err = z.Close()
	return b.Bytes(), err
}
