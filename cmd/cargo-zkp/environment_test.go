package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"cratelog/build/sandbox"
	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
)

// smallRootfs writes a root file system of one file.
func smallRootfs(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	fatalIf(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/motd", Size: 6, Mode: 0o644}))
	_, err := w.Write([]byte("hello\n"))
	fatalIf(t, err)
	fatalIf(t, w.Close())
	file := filepath.Join(t.TempDir(), "rootfs.tar")
	fatalIf(t, os.WriteFile(file, b.Bytes(), 0o644))
	return file
}

// zkp runs the program and returns its code and what it prints, errors too.
func zkp(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := run(t.Context(), args, &out, &out)
	return code, out.String()
}

func TestAnEnvironmentIsImportedAndShownByDirectoryAndID(t *testing.T) {
	rootfs := smallRootfs(t)
	code, kept := zkp(t, "environment", "import", "-q", rootfs)
	m := regexp.MustCompile(`^environment ([0-9a-f]{64})\nfiles 2\nsize 6 bytes \(0 MiB\)\n$`).FindStringSubmatch(kept)
	if code != 0 || m == nil {
		t.Fatalf("exit %d: %s", code, kept)
	}
	dir := filepath.Join(t.TempDir(), "environment")
	for _, args := range [][]string{
		{"environment", "import", "-q", rootfs, dir},
		{"environment", "show", dir},
		{"environment", "show", m[1]},
		{"environment", "import", "-q", rootfs},
	} {
		if code, out := zkp(t, args...); code != 0 || out != kept {
			t.Errorf("%q: exit %d: %s", args, code, out)
		}
	}
	if code, out := zkp(t, "environment", "show"); code != 0 || !strings.Contains(out, "environment "+m[1]+"\n") {
		t.Errorf("show: exit %d: %s", code, out)
	}
}

func TestMistakesAboutEnvironmentsAreNamed(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	fatalIf(t, os.WriteFile(text, []byte(strings.Repeat("text\n", 300)), 0o644))
	dir := t.TempDir()
	fatalIf(t, os.WriteFile(filepath.Join(dir, "taken"), nil, 0o644))
	for _, c := range []struct {
		args []string
		code outcome.Code
		want string
	}{
		{[]string{"environment"}, outcome.Usage, "make [DIR], import TAR [DIR] and show [DIR]"},
		{[]string{"environment", "burn"}, outcome.Usage, "make [DIR], import TAR [DIR] and show [DIR]"},
		{[]string{"environment", "import"}, outcome.Usage, "needs TAR"},
		{[]string{"environment", "import", "a", "b", "c"}, outcome.Usage, "at most 2 arguments, TAR and DIR, and got 3"},
		{[]string{"environment", "import", text}, outcome.Unchecked, "tar"},
		{[]string{"environment", "import", filepath.Join(dir, "none")}, outcome.Unchecked, "none"},
		{[]string{"environment", "import", smallRootfs(t), dir}, outcome.Unchecked, "does not exist yet"},
		{[]string{"environment", "make", "--suite", "../x", "--mirror", "http://x.example"}, outcome.Unchecked, ""},
		{[]string{"environment", "show", dir}, outcome.Unchecked, "cargo zkp environment make"},
		{[]string{"environment", "show", strings.Repeat("ab", 32)}, outcome.Unchecked, "holds no environment"},
		{[]string{"toolchain", "x"}, outcome.Usage, "takes no argument"},
		{[]string{"toolchain", "--rustc", "rustc-that-is-not-there"}, outcome.Unchecked, "there is no rustc-that-is-not-there"},
	} {
		if code, out := zkp(t, c.args...); code != int(c.code) || !strings.Contains(out, c.want) {
			t.Errorf("%q: exit %d, want %d\n%s\nwant %s", c.args, code, c.code, out, c.want)
		}
	}
}

func TestTheIDOfAToolchainIsPrinted(t *testing.T) {
	if runtime.GOOS == "windows" {
		fixture.Skip(t, "the compiler of this test is a shell script")
	}
	const host = "x86_64-unknown-linux-gnu"
	dir := t.TempDir()
	for name, content := range map[string]string{
		"bin/rustc": "#!/bin/sh\nif [ \"$1\" = --print ]; then echo '" + dir + "'; exit; fi\n" +
			"printf 'rustc 1.2.3\\nrelease: 1.2.3\\ncommit-hash: abc\\nhost: " + host + "\\n'\n",
		"bin/cargo": "cargo",
		"lib/rustlib/" + host + "/lib/libstd-1.rlib": "std",
		"lib/rustlib/manifest-rustc-" + host:         "file:bin/rustc\n",
		"lib/rustlib/manifest-cargo-" + host:         "file:bin/cargo\n",
		"lib/rustlib/manifest-rust-std-" + host:      "file:lib/rustlib/" + host + "/lib/libstd-1.rlib\n",
	} {
		fatalIf(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		fatalIf(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755))
	}
	rustc := filepath.Join(dir, "bin", "rustc")
	toolchain, err := sandbox.ReadToolchain(t.Context(), dir)
	fatalIf(t, err)
	want := fmt.Sprintf("toolchain %x\nrelease 1.2.3\ncommit abc\nhost %s\nfiles 3\nsize %d bytes (0 MiB)\n",
		toolchain.ID, host, toolchain.Size)
	for _, args := range [][]string{{"toolchain", "-q", "--rustc", rustc}, {"toolchain", "-q", "--keep", "--rustc", rustc}} {
		if code, out := zkp(t, args...); code != 0 || out != want {
			t.Errorf("%q: exit %d\n%s\nwant\n%s", args, code, out, want)
		}
	}
}

// What is said on other systems names verbs that there are.
func TestTheCommandLineForAContainerIsOurs(t *testing.T) {
	if !strings.Contains(sandbox.NotLinux, sandbox.Container) {
		t.Error("what is said on other systems does not hold the command line")
	}
	before, ours, ok := strings.Cut(sandbox.Container, " cargo zkp ")
	if !ok {
		t.Fatalf("%q runs no cargo zkp", sandbox.Container)
	}
	code, out := zkp(t, strings.Fields(ours)[0], "--help")
	if code != 0 {
		t.Errorf("%q: exit %d: %s", ours, code, out)
	}
	options := map[string]int{"--rm": 0, "-it": 0, "--security-opt": 1, "-v": 1, "-w": 1} // docker run's, and their values
	args := strings.Fields(before)
	if len(args) < 3 || args[0] != "docker" || args[1] != "run" || args[len(args)-1] != "IMAGE" {
		t.Fatalf("%q runs no image", before)
	}
	for args = args[2 : len(args)-1]; len(args) > 0; {
		n, known := options[args[0]]
		if !known || len(args) < 1+n {
			t.Fatalf("%q is no option of docker run", args[0])
		}
		args = args[1+n:]
	}
}
