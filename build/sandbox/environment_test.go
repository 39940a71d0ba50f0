package sandbox

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The id is the digest of the listing in the package comment, made here by hand.
func TestTheIDOfAnEnvironmentIsTheDigestOfItsListing(t *testing.T) {
	tool, motd := sha256.Sum256([]byte("#!/bin/sh\n")), sha256.Sum256([]byte("hello\n"))
	listing := "cratelog/environment/v1\n" +
		"link\t777\tusr/bin\tbin\n" +
		"dir\t755\t\tetc\n" +
		fmt.Sprintf("file\t644\t%x\tetc/motd\n", motd) +
		"dir\t755\t\tusr\n" +
		"dir\t755\t\tusr/bin\n" +
		fmt.Sprintf("file\t755\t%x\tusr/bin/other\n", tool) +
		fmt.Sprintf("file\t755\t%x\tusr/bin/tool\n", tool)
	if e := imported(t, plainRootfs().tar(t)); e.ID != sha256.Sum256([]byte(listing)) || e.Files != 7 {
		t.Errorf("%x, %d files; want %x of 7", e.ID, e.Files, sha256.Sum256([]byte(listing)))
	}
}

func TestOwnersTimesOrderAndSpellingCountForNothing(t *testing.T) {
	want := imported(t, plainRootfs().tar(t)).ID
	other := entries{
		{tar.TypeReg, "/usr/bin/other", "#!/bin/sh\n", 0o711},
		{tar.TypeReg, "etc/motd", "hello\n", 0o604},
		{tar.TypeSymlink, "./bin", "usr/bin", 0},
		{tar.TypeReg, "./usr/bin/tool", "#!/bin/sh\n", 0o777},
		{tar.TypeDir, "usr", "", 0o700},
		{tar.TypeDir, "usr/", "", 0o1777},
	}
	if got := imported(t, other.tar(t)).ID; got != want {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestWhateverAnIDNamesChangesIt(t *testing.T) {
	seen := map[[32]byte]string{imported(t, plainRootfs().tar(t)).ID: "the environment itself"}
	for what, change := range map[string]func(entries) entries{
		"a byte of a file":  func(es entries) entries { es[3].content = "hellO\n"; return es },
		"a mode":            func(es entries) entries { es[3].mode = 0o755; return es },
		"a file's name":     func(es entries) entries { es[3].name = "./etc/mote"; return es },
		"a link's text":     func(es entries) entries { es[4].content = "/usr/bin"; return es },
		"a link's name":     func(es entries) entries { es[4].name = "./sbin"; return es },
		"a file for a link": func(es entries) entries { es[4].kind = tar.TypeReg; return es },
		"one file less":     func(es entries) entries { return slices.Delete(es, 3, 4) },
		"a new directory":   func(es entries) entries { es[0].name = "./opt/"; return es },
	} {
		id := imported(t, change(plainRootfs()).tar(t)).ID
		if same := seen[id]; same != "" {
			t.Errorf("%s has the id of %s", what, same)
		}
		seen[id] = what
	}
}

func TestARootFileSystemThatIsNotOneIsRefused(t *testing.T) {
	add := func(kind byte, name, content string) []byte {
		return append(plainRootfs(), entries{{kind, name, content, 0o644}}...).tar(t)
	}
	good := plainRootfs().tar(t)
	for what, c := range map[string]struct {
		rootfs []byte
		want   string
	}{
		"a path that goes up":          {add(tar.TypeReg, "../x", ""), "not a path"},
		"a path with .. inside":        {add(tar.TypeReg, "./etc/../x", ""), "not a path"},
		"a path twice absolute":        {add(tar.TypeReg, "//x", ""), "not a path"},
		"a file through a link":        {add(tar.TypeReg, "./bin/x", ""), "no directory"},
		"a file below a file":          {add(tar.TypeReg, "./etc/motd/x", ""), "no directory"},
		"a file twice":                 {add(tar.TypeReg, "./etc/motd", "hello\n"), "twice"},
		"a directory over a link":      {add(tar.TypeDir, "./bin", ""), "twice"},
		"a file over a directory":      {add(tar.TypeReg, "./usr", ""), "twice"},
		"a device outside of dev":      {add(tar.TypeChar, "./etc/null", ""), "a device"},
		"a pipe":                       {add(tar.TypeFifo, "./etc/pipe", ""), "a device, a pipe"},
		"a hard link to nothing":       {add(tar.TypeLink, "./x", "./y"), "no file before it"},
		"a hard link to a directory":   {add(tar.TypeLink, "./x", "./usr"), "no file before it"},
		"a hard link out of the root":  {add(tar.TypeLink, "./x", "../etc/passwd"), "not a path"},
		"a name with a line end":       {add(tar.TypeReg, "./etc/a\nb", ""), "not a path"},
		"a name with a tab":            {add(tar.TypeReg, "./etc/a\tb", ""), "not a path"},
		"a link with a line end":       {add(tar.TypeSymlink, "./etc/a", "b\nfile"), "not the text of a link"},
		"a link without a text":        {add(tar.TypeSymlink, "./etc/a", ""), "not the text of a link"},
		"a path too long":              {add(tar.TypeReg, "./"+strings.Repeat("a", maxPath+1), ""), "not a path"},
		"something at /build":          {add(tar.TypeReg, "./build/src", ""), "nothing at /build"},
		"something at the boot's":      {add(tar.TypeReg, "./.boot/sh", ""), "nothing at /.boot"},
		"nothing at all":               {nil, "is it a tar file"},
		"an end that is missing":       {good[:2048], "ends before its end"},
		"a file that is cut":           {good[:1024+512+4], "unexpected EOF"},
		"a text":                       {[]byte(strings.Repeat("not a tar file\n", 100)), "tar"},
		"something behind the archive": {append(slices.Clone(good), "x"...), "behind the end"},
	} {
		t.Run(what, func(t *testing.T) {
			parent := t.TempDir()
			_, err := ImportEnvironment(t.Context(), bytes.NewReader(c.rootfs), filepath.Join(parent, "e"))
			refused(t, err, c.want)
			if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
				t.Errorf("it left %v behind (%v)", left, err)
			}
		})
	}
}

func TestALinkOutOfTheRootIsKeptAndNeverFollowed(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	fatalIf(t, os.WriteFile(outside, []byte("secret"), 0o600))
	e := imported(t, append(plainRootfs(), entries{{tar.TypeSymlink, "./etc/link", outside, 0o777}}...).tar(t))
	if it := e.files.find("etc/link"); it == nil || it.target != outside {
		t.Fatalf("the link is %+v", it)
	}
	if it := e.files.resolve("etc/link"); it != nil {
		t.Errorf("it leads to %+v", it)
	}
}

func TestAnEnvironmentThatChangedIsNotTheOneThatWasKept(t *testing.T) {
	cache := t.TempDir()
	rootfs := plainRootfs().tar(t)
	e, err := KeepEnvironment(t.Context(), bytes.NewReader(rootfs), cache)
	fatalIf(t, err)
	again, err := KeepEnvironment(t.Context(), bytes.NewReader(rootfs), cache)
	fatalIf(t, err)
	if again.ID != e.ID || again.Dir != e.Dir {
		t.Errorf("kept twice it is %x at %s, and %x at %s", e.ID, e.Dir, again.ID, again.Dir)
	}
	ids, err := KeptEnvironments(cache)
	fatalIf(t, err)
	if !slices.Equal(ids, [][32]byte{e.ID}) {
		t.Errorf("kept are %x", ids)
	}
	file := filepath.Join(e.Dir, environmentArchive)
	archive, err := os.ReadFile(file)
	fatalIf(t, err)
	fatalIf(t, os.WriteFile(file, bytes.Replace(archive, []byte("hello"), []byte("hallo"), 1), 0o644))
	_, err = OpenKeptEnvironment(t.Context(), cache, e.ID)
	refused(t, err, "has changed")
	// Who opened it before the change finds out when it is copied into the sandbox.
	refused(t, e.files.writeTo(t.Context(), newTree(new(bytes.Buffer)), ""), "etc/motd is not the file that the id names")
}

func TestAnArchiveOfAnotherFormIsNotOpened(t *testing.T) {
	write := func(t *testing.T, content []byte) string {
		dir := t.TempDir()
		fatalIf(t, os.WriteFile(filepath.Join(dir, environmentArchive), content, 0o644))
		return dir
	}
	for what, es := range map[string]entries{
		"a mode with setuid":   {{tar.TypeReg, "x", "", 0o4755}},
		"a mode of its own":    {{tar.TypeReg, "x", "", 0o640}},
		"no directory above":   {{tar.TypeReg, "etc/x", "", 0o644}},
		"a link above":         {{tar.TypeSymlink, "etc", "/", 0o777}, {tar.TypeReg, "etc/x", "", 0o644}},
		"a path that goes up":  {{tar.TypeReg, "../x", "", 0o644}},
		"an absolute path":     {{tar.TypeReg, "/x", "", 0o644}},
		"a device":             {{tar.TypeChar, "x", "", 0o644}},
		"a hard link":          {{tar.TypeReg, "x", "", 0o644}, {tar.TypeLink, "y", "x", 0o644}},
		"one twice":            {{tar.TypeReg, "x", "", 0o644}, {tar.TypeReg, "x", "", 0o644}},
		"what the sandbox has": {{tar.TypeDir, "proc", "", 0o755}},
	} {
		if _, err := OpenEnvironment(t.Context(), write(t, es.tar(t))); err == nil {
			t.Errorf("%s is opened", what)
		}
	}
	_, err := OpenEnvironment(t.Context(), t.TempDir())
	refused(t, err, "cargo zkp environment make")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

func TestAnImportReplacesNothing(t *testing.T) {
	e := imported(t, plainRootfs().tar(t))
	_, err := ImportEnvironment(t.Context(), bytes.NewReader(plainRootfs().tar(t)), e.Dir)
	refused(t, err, "does not exist yet")
}

func TestThePackagesAreThoseThatDpkgHasInstalled(t *testing.T) {
	status := "Package: make\nStatus: install ok installed\nVersion: 4.3-4\nDescription: x\n Package: no\n\n" +
		"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n" +
		"Package: gcc\nStatus: hold ok installed\nVersion: 4:12.2\n"
	e := imported(t, append(plainRootfs(), entries{{tar.TypeReg, "./" + dpkgStatus, status, 0o644}}...).tar(t))
	if want := []string{"gcc 4:12.2", "make 4.3-4"}; !slices.Equal(e.Packages, want) {
		t.Errorf("%q, want %q", e.Packages, want)
	}
}

// No input makes the reader panic, and what it takes has one form: imported again, it has the same id.
func FuzzImportEnvironment(f *testing.F) {
	f.Add(plainRootfs().tar(f))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, rootfs []byte) {
		dir := filepath.Join(t.TempDir(), "e")
		e, err := ImportEnvironment(t.Context(), bytes.NewReader(rootfs), dir)
		if err != nil {
			return
		}
		kept, err := os.ReadFile(filepath.Join(dir, environmentArchive))
		fatalIf(t, err)
		again, err := ImportEnvironment(t.Context(), bytes.NewReader(kept), dir+"2")
		fatalIf(t, err)
		second, err := os.ReadFile(filepath.Join(dir+"2", environmentArchive))
		fatalIf(t, err)
		if again.ID != e.ID || !bytes.Equal(kept, second) {
			t.Errorf("imported again, %x is %x", e.ID, again.ID)
		}
	})
}

// TestWhatAKilledImportLeftIsRemoved: hundreds of megabytes would stay there for good.
func TestWhatAKilledImportLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-2 * stagingAge)
	for name, old := range map[string]bool{".cratelog-new-1": true, ".cratelog-new-2": false, ".new-3": true, "mine": true} {
		at := filepath.Join(dir, name)
		fatalIf(t, os.MkdirAll(filepath.Join(at, "sub"), 0o700))
		if old {
			fatalIf(t, os.Chtimes(at, long, long))
		}
	}
	_, err := ImportEnvironment(t.Context(), bytes.NewReader(plainRootfs().tar(t)), filepath.Join(dir, "e"))
	fatalIf(t, err)
	found, err := os.ReadDir(dir)
	fatalIf(t, err)
	var left []string
	for _, e := range found {
		left = append(left, e.Name())
	}
	if want := []string{".cratelog-new-2", ".new-3", "e", "mine"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
}
