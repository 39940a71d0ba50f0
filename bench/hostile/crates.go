package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"cratelog/crate"
	"cratelog/crate/manifest"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

const (
	head = "[package]\nname = \"a\"\nversion = \"1.0.0\"\nedition = \"2021\"\n"
	meta = "[package.metadata]\n"
)

// verify does with a .crate what a verifier does once its proof holds: read it, check the claim's
// list against it, and ask for what was left out.
func verify(claim entry.Source) func(file string) error {
	return func(file string) error {
		c, err := crate.ReadFile(file, crate.DefaultLimits)
		if err != nil {
			return err
		}
		_, err = c.List(&claim)
		c.LeftOut()
		return err
	}
}

// manifests is an attack by a Cargo.toml and a Cargo.toml.orig, the same but for its end.
func manifests(text func(size int) string) attack {
	return attack{func(size int) []byte {
		s := text(size)
		return pack(forge.File{Path: "Cargo.toml", Content: s + "#\n"}, forge.File{Path: "Cargo.toml.orig", Content: s},
			forge.File{Path: "src/lib.rs"})
	}, verify(entry.Source{})}
}

func pack(files ...forge.File) []byte { return testlog.Must(forge.Pack("a", "1.0.0", files...)) }

// lines repeats a line, with its number in it, up to a size.
func lines(start, line string) func(size int) string {
	return func(size int) string {
		var b strings.Builder
		b.WriteString(start)
		for i := 0; b.Len() < size-100; i++ {
			fmt.Fprintf(&b, line, i)
		}
		return b.String()
	}
}

// keys is lines of so many keys each, no more than are read, and a comment.
func keys(start, line string, each int) func(size int) string {
	return func(size int) string {
		var b strings.Builder
		b.WriteString(start)
		for i := 0; b.Len() < size-100 && (i+1)*each < manifest.MaxKeys-100; i++ {
			fmt.Fprintf(&b, line, i)
		}
		return b.String() + "#" + strings.Repeat(".", max(0, size-100-b.Len())) + "\n"
	}
}

// repeated fills one place of a text up to a size.
func repeated(start, s, end string) func(size int) string {
	return func(size int) string {
		return start + strings.Repeat(s, (size-len(start)-len(end)-100)/len(s)) + end
	}
}

// crateOf is an attack by files.
func crateOf(files func(size int) []forge.File) attack {
	return attack{func(size int) []byte {
		return pack(append([]forge.File{{Path: "Cargo.toml", Content: head}}, files(size)...)...)
	}, verify(entry.Source{})}
}

// named makes n files by their numbers.
func named(n int, path func(i int) string) (files []forge.File) {
	for i := range n {
		files = append(files, forge.File{Path: path(i)})
	}
	return files
}

var random = rand.New(rand.NewPCG(1, 2))

func letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + random.IntN(26))
	}
	return string(b)
}

// targets lists binaries without paths, and has a file for each.
func targets(size int) []byte {
	n := size / 125
	orig := keys(head, "[[bin]]\nname = \"b%d\"\n", 2)(n * 23)
	files := append(named(n, func(i int) string { return fmt.Sprintf("src/bin/b%d.rs", i) }),
		forge.File{Path: "Cargo.toml", Content: orig + "#\n"}, forge.File{Path: "Cargo.toml.orig", Content: orig})
	return pack(files...)
}

// longLinks is a claim whose links send each file through all of them.
func longLinks() (claim entry.Source) {
	for i := range 30 {
		claim.Links = append(claim.Links, entry.Link{Path: fmt.Sprintf("l%02d", i),
			Target: strings.Repeat("d/../", 200) + fmt.Sprintf("l%02d", i+1)})
	}
	claim.Path = "l00"
	return claim
}

// inheriting has a package in which every platform inherits one dependency with many features.
func inheriting() attack {
	root := "[workspace.dependencies.x]\nversion = \"1\"\nfeatures = [" + strings.Repeat("\"f\",", 10000) + "]\n"
	a := manifests(keys(head, "[target.t%d.dependencies]\nx.workspace = true\n", 5))
	a.read = verify(entry.Source{Path: "p", Workspace: &entry.Workspace{Manifest: []byte(root)}})
	return a
}

// noise is bytes that no compression makes smaller.
func noise(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return string(b)
}

var crates = map[string]attack{
	"toml_keys":          manifests(lines(head+meta, "k%d=1\n")),
	"toml_tables":        manifests(keys(head, "[package.metadata.t%d]\n", 3)),
	"toml_lists":         manifests(keys(head, "[[package.metadata.l]]\nk%d=1\n", 4)),
	"toml_inline":        manifests(lines(head+meta+"x={", "k%d={a=1},")),
	"toml_inline_tables": manifests(repeated(head+meta+"x=[", "{a=1},", "]\n")),
	"toml_numbers":       manifests(repeated(head+meta+"x=[", "1,", "]\n")),
	"toml_floats":        manifests(repeated(head+meta+"x=[", "1e9,", "]\n")),
	"toml_strings":       manifests(repeated(head+meta+"x=[", "\"\",", "]\n")),
	"toml_features":      manifests(keys(head+"[features]\n", "f%d=[\"a\",\"b/c\",\"dep:d\"]\n", 1)),
	"toml_dotted":        manifests(keys(head+meta, strings.Repeat("a.", 25)+"k%d=1\n", 26)),
	"toml_nesting":       manifests(repeated(head+meta+"x=", "[", "\n")),
	"toml_braces":        manifests(repeated(head+meta, "x={", "\n")),
	"toml_comments":      manifests(repeated(head+"#", "[{.", "\n")),
	"toml_dependencies":  manifests(keys(head+"[dependencies]\n", "d%d=\"1\"\n", 1)),
	"toml_platforms":     manifests(keys(head, "[target.t%d.dependencies]\nd.version=\"1\"\n#..............\n", 5)),
	"toml_profiles":      manifests(keys(head+"[profile.dev.package]\n", "p%d={debug=1}\n#.........\n", 2)),
	"toml_lints":         manifests(keys(head+"[lints.rust]\n", "l%d=\"allow\"\n", 1)),
	"toml_inherited":     inheriting(),
	"toml_targets":       {targets, verify(entry.Source{})},

	"crate_directories": crateOf(func(size int) []forge.File { // as many files and directories as can be
		return named(min(19_990, size/50), func(i int) string { return fmt.Sprintf("%06d/", i) + strings.Repeat("a/", 507) + "b" })
	}),
	"crate_deep": crateOf(func(size int) []forge.File { // as many directories as are accepted
		return named(min(515, size/1900), func(i int) string { return fmt.Sprintf("%04d/", i) + strings.Repeat("a/", 507) + "b" })
	}),
	"crate_names": crateOf(func(size int) []forge.File { // as long a list as is accepted
		return named(size/122, func(i int) string { return fmt.Sprintf("%06d", i) + strings.Repeat("n", 244) })
	}),
	"crate_accents": crateOf(func(size int) []forge.File {
		return named(size/64, func(i int) string { return fmt.Sprintf("%06d", i) + strings.Repeat("ẞ\u0323\u0307", 12) })
	}),
	"crate_small_files": crateOf(func(size int) []forge.File {
		return named(min(19_990, size/50), func(int) string { return letters(12) })
	}),
	"crate_bomb": {func(size int) []byte { // as much as is accepted, with noise behind it
		b := bomb(64<<20+62*size, 0)
		return append(b, noise(size-len(b))...)
	}, verify(entry.Source{})},
	"crate_suspicious": {func(size int) []byte { return suspicious(size, 64<<20) }, verify(entry.Source{})},
	"crate_everything": {everything, verify(entry.Source{})},
	"crate_zeros":      {func(size int) []byte { return bomb(0, size*1020) }, verify(entry.Source{})},
	"crate_noise": crateOf(func(size int) []forge.File {
		return []forge.File{{Path: "n", Content: noise(size - 1000)}}
	}),
	"crate_tail": {func(size int) []byte { // bytes behind the archive
		return append(pack(forge.File{Path: "Cargo.toml", Content: head}), noise(size)...)
	}, verify(entry.Source{})},
	"crate_vcs_info": crateOf(func(size int) []forge.File {
		return []forge.File{{Path: ".cargo_vcs_info.json", Content: repeated("", "{\"git\":", "")(size)}}
	}),
	"crate_links": {func(size int) []byte {
		return pack(append(named(min(19_990, size/50), func(int) string { return letters(12) }),
			forge.File{Path: "Cargo.toml", Content: head})...)
	}, verify(longLinks())},
}

// bomb is a .crate with a file of so many zeros, and zeros behind the end of its archive. Deflate
// makes one byte of a thousand of them.
func bomb(file, tail int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	write := func(w io.Writer, n int) {
		for chunk := make([]byte, 1<<16); n > 0; n -= len(chunk) {
			testlog.Must(w.Write(chunk[:min(n, len(chunk))]))
		}
	}
	for _, f := range []struct {
		path, content string
		zeros         int
	}{{"Cargo.toml", head, 0}, {"zeros", "", file}} {
		fatalIf(t.WriteHeader(&tar.Header{Name: "a-1.0.0/" + f.path, Mode: 0o644, Size: int64(len(f.content) + f.zeros)}))
		testlog.Must(io.WriteString(t, f.content))
		write(t, f.zeros)
	}
	fatalIf(t.Close())
	write(z, tail)
	fatalIf(z.Close())
	return b.Bytes()
}

// suspicious has blocks that have to be hashed ten times to see that they are no attack on SHA-1.
func suspicious(size, n int) []byte {
	block := testlog.Must(hex.DecodeString("dbbe57851b62be0c5300262e832cca3a59c9aff1c3ceddbb13de814c874f44af" +
		"207a80d083e5f51e8c93752fc07a7cc30cb8ba81c4ecbf7302cae18bd95e72f2"))
	before := len(fmt.Sprintf("blob %d\x00", n)) // what git hashes first
	b := pack(forge.File{Path: "Cargo.toml", Content: head},
		forge.File{Path: "n", Content: strings.Repeat(string(block), n/64+1)[before:][:n]})
	return append(b, noise(max(0, size-len(b)))...)
}

// everything is the worst of all that one .crate can hold.
func everything(size int) []byte {
	text := keys(head+"[dependencies]\n", "d%d=\"1\"\n", 1)(min(size, megabyte))
	files := named(450, func(i int) string { return fmt.Sprintf("%04d/", i) + strings.Repeat("a/", 500) + "b" })
	files = append(files, named(min(19_000, size/53), func(i int) string { return fmt.Sprintf("%06d", i) + strings.Repeat("n", 70) })...)
	files = append(files, forge.File{Path: "Cargo.toml", Content: text + "#\n"}, forge.File{Path: "Cargo.toml.orig", Content: text},
		forge.File{Path: "zeros", Content: strings.Repeat("\x00", 64<<20)})
	b := pack(files...)
	return append(b, noise(max(0, size-len(b)))...)
}

func fatalIf(err error) { testlog.Must(0, err) }
