package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/forge"
)

// madeRepository makes a repository of one commit, with a package of this name at its top.
func madeRepository(t *testing.T, name string, files ...forge.File) (dir, commitID string) {
	t.Helper()
	dir = t.TempDir()
	manifest := forge.Manifest(name, "1.0.0")
	manifest.Content = strings.Replace(manifest.Content, "edition", "license = \"MIT\"\ndescription = \"a test\"\nedition", 1)
	for _, f := range append([]forge.File{manifest}, files...) {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		fatalIf(t, os.MkdirAll(filepath.Dir(path), 0o755))
		write(t, path, f.Content)
	}
	mustRun(t, dir, "git", "init", "--quiet", "--object-format=sha1")
	mustRun(t, dir, "git", "add", ".")
	commit(t, dir, "Made")
	return dir, strings.TrimSpace(mustRun(t, dir, "git", "rev-parse", "HEAD"))
}

// TestACrateOfSeveralSegments has more commit and tree blocks than one segment of the circuit: its
// proof is a chain, and no part of it can be exchanged for that of another run.
func TestACrateOfSeveralSegments(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes the proving key, and proves")
	}
	s := newSite(t)
	files := []forge.File{{Path: "src/lib.rs", Content: "// many\n"}}
	for i := range 100 {
		files = append(files, forge.File{Path: fmt.Sprintf("src/module_%03d.rs", i), Content: fmt.Sprintf("// module %d\n", i)})
	}
	repo, id := madeRepository(t, "many", files...)
	file := cargoPackage(t, checkout(t, repo, id))
	prove := func(out string) *entry.Entry {
		t.Helper()
		zkp(t, "prove", file, "--repository", repo, "-o", out).want(t, 0, "SHA-1 blocks", "Finished")
		e, err := entry.Parse(read(t, out))
		fatalIf(t, err)
		return e
	}
	first, second := prove(entryOf(file)), prove(filepath.Join(t.TempDir(), "again.entry"))
	const segment, cut = 192, 32
	proof, other := slices.Concat(first.Proof.Parts...), slices.Concat(second.Proof.Parts...)
	if len(proof) < 2*segment+cut || len(proof) != len(other) {
		t.Fatalf("proofs of %d and %d bytes: this test sees nothing without two segments", len(proof), len(other))
	}
	exchange := func(at, n int) *entry.Entry {
		b := slices.Clone(proof)
		copy(b[at:at+n], other[at:at+n])
		mixed := *first
		mixed.Proof.Parts = [][]byte{b}
		return &mixed
	}
	reader := s.reader()
	for what, e := range map[string]*entry.Entry{"the first segment": exchange(0, segment), "the cut": exchange(segment, cut),
		"the first segment and the cut": exchange(0, segment+cut), "the second segment": exchange(segment+cut, segment)} {
		b, err := e.Marshal()
		fatalIf(t, err)
		mixed := filepath.Join(t.TempDir(), "mixed.entry")
		write(t, mixed, string(b))
		t.Run(what+" of another run", func(t *testing.T) {
			zkp(t, "submit", file, "--entry", mixed, "--log", s.log.url).want(t, 1, "proof-invalid")
			bundle := filepath.Join(t.TempDir(), "mixed.tlog-proof")
			write(t, bundle, string(s.conspiracy(t, b)))
			s.verify(t, file, "--bundle", bundle).want(t, 1, "proof")
		})
	}
	if _, err := reader.proofs.Chain(second); err != nil {
		t.Errorf("the other run's own proof: %v", err)
	}
	zkp(t, "submit", file, "--log", s.log.url).want(t, 0, "entry 0 of the log")
	s.verify(t, file).want(t, 0, "Finished many v1.0.0 is the source of commit "+id)
}

// TestLineEndsOfACheckoutAreAMatterOfPolicy packages a checkout whose files have CRLF where the
// commit has LF: because its attributes say so, or because git's configuration does.
func TestLineEndsOfACheckoutAreAMatterOfPolicy(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes the proving key, and proves")
	}
	s := newSite(t)
	for i, c := range []struct {
		name, attributes, config string
		byDefault                int // exit code
	}{
		{"attributed", "*.rs text eol=crlf\n", "false", 0},
		{"configured", "", "true", 1},
	} {
		files := []forge.File{{Path: "src/lib.rs", Content: "// one\n// two\n"}}
		if c.attributes != "" {
			files = append(files, forge.File{Path: ".gitattributes", Content: c.attributes})
		}
		repo, id := madeRepository(t, c.name, files...)
		dir := filepath.Join(t.TempDir(), "checkout")
		mustRun(t, "", "git", "clone", "--quiet", "-c", "core.autocrlf="+c.config, repo, dir)
		if text := read(t, filepath.Join(dir, "src", "lib.rs")); !strings.Contains(string(text), "\r\n") {
			t.Fatalf("git checked out %q", text)
		}
		file := cargoPackage(t, dir)
		zkp(t, "prove", file, "--repository", repo).want(t, 0, "CRLF line ends where the commit has LF", id, "Finished")
		zkp(t, "submit", file, "--log", s.log.url).want(t, 0, fmt.Sprintf("entry %d of the log", 2*i)) // a seal behind each
		s.verify(t, file).want(t, c.byDefault, "CRLF")
		policy := filepath.Join(t.TempDir(), "zkp.toml")
		with := func(crlf string) outcome {
			t.Helper()
			write(t, policy, "version = 1\ntrust = ["+quoted(s.policy)+"]\ndevelopment = true\ncrlf = \""+crlf+"\"\n")
			return zkp(t, "verify", file, "--policy", policy)
		}
		with("allow").want(t, 0, "CRLF line ends where the commit has LF", "Finished")
		with("attributes").want(t, c.byDefault, "CRLF")
		with("refuse").want(t, 1, "CRLF")
	}
}

// TestCodeOfAnEditedManifestIsProvenWithoutIt: a release tool wrote the version into Cargo.toml and
// did not commit that. The code is proven, the manifest is not, and everybody is told.
func TestCodeOfAnEditedManifestIsProvenWithoutIt(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes the proving key, and proves")
	}
	s := newSite(t)
	repo, id := madeRepository(t, "released", forge.File{Path: "src/lib.rs", Content: "// released\n"})
	dir := checkout(t, repo, id)
	manifest := filepath.Join(dir, "Cargo.toml")
	write(t, manifest, strings.Replace(string(read(t, manifest)), "1.0.0", "1.0.1", 1))
	file := cargoPackage(t, dir, "--allow-dirty")
	unprovable(t, file, repo).want(t, 1, "--unproven-manifest proves all files but Cargo.toml and Cargo.toml.orig")
	zkp(t, "prove", file, "--repository", repo, "--unproven-manifest").want(t, 0, "Cargo.toml is not proven",
		"Cargo.toml.orig is not proven", "Finished")
	if _, err := os.Stat(openingOf(file)); err == nil {
		t.Error("an opening of a repository on this disk was written without being asked for")
	}
	zkp(t, "submit", file, "--log", s.log.url).want(t, 0, "entry 0 of the log")
	s.verify(t, file).want(t, 1, "unproven files", `"Cargo.toml"`)
	s.verify(t, file, "--allow-unproven", "Cargo.toml").want(t, 1, "unproven files", `"Cargo.toml.orig"`)
	both := []string{"--allow-unproven", "Cargo.toml", "--allow-unproven", "Cargo.toml.orig"}
	o := s.verify(t, file, append(both, "-v")...)
	o.want(t, 0, "its dependencies, features and build script are not known to be the commit's", "Finished released v1.0.1")
	if !strings.Contains(o.stdout, "Cargo.toml and Cargo.toml.orig unproven") {
		t.Errorf("verify -v does not say what is unproven:\n%s", o.stdout)
	}

	d := newDependent(t, s, "released = { version = \"1\", verification = \"zkp\" }\n")
	d.registry.AddCrate(read(t, file))
	s.addLogURL()
	d.policy("")
	d.mustCargo("fetch")
	d.zkp("verify").want(t, 1, "released v1.0.1", "unproven")
	d.policy("[[allow]]\ncrate = \"released\"\nunproven = [\"Cargo.toml\", \"Cargo.toml.orig\"]\n" +
		"reason = \"its release tool writes the version\"\nexpires = \"2999-12-31\"\n")
	d.zkp("verify", "-v").want(t, 0, "1 crate proven", "Cargo.toml and Cargo.toml.orig unproven")
}
