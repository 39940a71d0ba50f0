package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/internal/fixture"
)

// made is a release whose program is this test.
func made(t *testing.T) (*release, []file) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return &release{version: "0.1.0-rc.1", time: time.Unix(1_700_000_000, 0).UTC(), common: []file{
		{"LICENSE", 0o644, []byte("do what you like\n")}, {"NEWS.md", 0o644, []byte("# News\n")},
		{"completions/_cargo-zkp", 0o644, []byte("#compdef cargo-zkp\n")}, {"man/cargo-zkp.1", 0o644, []byte(".TH X 1\n")},
	}}, []file{{"cargo-zkp", 0o755, b}}
}

func TestTheSameFilesMakeTheSameBytes(t *testing.T) {
	r, _ := made(t)
	files := append(r.common, file{"cargo-zkp", 0o755, bytes.Repeat([]byte("program"), 1000)})
	for name, make := range map[string]func() ([]byte, error){
		"tar": func() ([]byte, error) { return tarred(files, r.time) },
		"zip": func() ([]byte, error) { return zipped(files, r.time) },
		"deb": func() ([]byte, error) { f, err := r.debian("amd64", files[len(files)-1:]); return f.data, err },
	} {
		one, err := make()
		if err != nil {
			t.Fatal(err)
		}
		two, err := make()
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s is another one the second time, %v", name, err)
		}
		r.time = r.time.Add(time.Hour)
		if other, err := make(); err != nil || bytes.Equal(one, other) {
			t.Errorf("%s does not say when the commit was made, so this test sees nothing, %v", name, err)
		}
	}
}

func TestArchivesHaveProgramsThatRunAndFilesThatAreRead(t *testing.T) {
	r, programs := made(t)
	list, err := r.pack("linux/arm64", programs)
	if err != nil {
		t.Fatal(err)
	}
	const base = "cratelog-0.1.0-rc.1-linux-arm64"
	modes := make(map[string]int64)
	z, err := gzip.NewReader(bytes.NewReader(list[1].data))
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(z); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if modes[h.Name] = h.Mode; h.Uid != 0 || h.Uname != "root" || !h.ModTime.Equal(r.time) {
			t.Errorf("%+v", h)
		}
	}
	if list[1].name != base+".tar.gz" || modes[base+"/cargo-zkp"] != 0o755 || modes[base+"/LICENSE"] != 0o644 ||
		modes[base+"/man/"] != 0o755 || modes[base+"/sbom.cdx.json"] != 0o644 {
		t.Errorf("%s: %v", list[1].name, modes)
	}
	if list, err = r.pack("windows/amd64", []file{{"cargo-zkp.exe", 0o755, programs[0].data}}); err != nil {
		t.Fatal(err)
	}
	files, err := zip.NewReader(bytes.NewReader(list[1].data), int64(len(list[1].data)))
	if err != nil {
		t.Fatal(err)
	}
	if f := files.File[0]; f.Name != "cratelog-0.1.0-rc.1-windows-amd64/cargo-zkp.exe" || f.Mode() != 0o755 ||
		!f.Modified.Equal(r.time) {
		t.Errorf("%s %v %v", f.Name, f.Mode(), f.Modified)
	}
}

// TestTheCheckerIsAmongTheFiles, as a monitor reads it.
func TestTheCheckerIsAmongTheFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the checker")
	}
	f, err := (&release{src: "..", version: "0.1.0"}).checker(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(bytes.NewReader(f.data)); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	got := strings.Join(names, " ")
	if f.name != "cratelog-0.1.0-verify.tar" || got != "go wasm_exec.js verify.wasm.gz" {
		t.Errorf("%s: %s", f.name, got)
	}
}

// A version before the release sorts before it, for Debian too.
func TestDebianReadsThePackage(t *testing.T) {
	fixture.Need(t, "dpkg-deb", "dpkg")
	r, programs := made(t)
	deb, err := r.debian("amd64", append(programs, file{"demo", 0o755, programs[0].data}))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), deb.name)
	if err := os.WriteFile(path, deb.data, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("dpkg-deb", "--show", "--showformat", "${Package} ${Version} ${Architecture}", path).CombinedOutput()
	if err != nil || string(out) != "cratelog 0.1.0~rc.1 amd64" || deb.name != "cratelog_0.1.0~rc.1_amd64.deb" {
		t.Errorf("%s: %s, %v", deb.name, out, err)
	}
	if err := exec.Command("dpkg", "--compare-versions", "0.1.0~rc.1", "lt", "0.1.0").Run(); err != nil {
		t.Errorf("0.1.0~rc.1 is not before 0.1.0: %v", err)
	}
	out, err = exec.Command("dpkg-deb", "--contents", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-rwxr-xr-x root/root") || !strings.Contains(string(out), " ./usr/bin/cargo-zkp") ||
		strings.Contains(string(out), "demo") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheListNamesEachModuleOnce(t *testing.T) {
	r, programs := made(t)
	b, err := r.sbom("x", append(programs, file{"monitor", 0o755, programs[0].data}))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		SerialNumber string
		Components   []struct {
			Ref  string `json:"bom-ref"`
			PURL string
		}
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, c := range list.Components {
		if seen[c.Ref] || c.PURL != c.Ref {
			t.Errorf("%+v", c)
		}
		seen[c.Ref] = true
	}
	if len(seen) == 0 || len(list.Dependencies) != 2 || len(list.SerialNumber) != len("urn:uuid:")+36 {
		t.Errorf("%+v", list)
	}
	for _, d := range list.Dependencies {
		for _, ref := range d.DependsOn {
			if !seen[ref] {
				t.Errorf("%s uses %s, which is not in the list", d.Ref, ref)
			}
		}
	}
	if _, err := r.sbom("x", []file{{"no-program", 0o755, []byte("x")}}); err == nil {
		t.Error("a file that is no program has a list of parts")
	}
}

func TestTheManPageOfAServerIsItsUsage(t *testing.T) {
	page := string(man("logd", "0.1.0", "logd is the server of a log.\n\n\tlogd serve -config FILE\n.dot 'quote\n"))
	for _, want := range []string{".TH LOGD 1", "logd \\- is the server of a log\n", "    logd serve \\-config FILE", "\n\\&.dot"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}
