package sandbox

import (
	"archive/tar"
	"bytes"
	"os"
	"path"
	"strings"
	"testing"

	"cratelog/internal/fixture"
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m)) }

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused wants an error with a text.
func refused(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got the error %v, want one with %q", err, want)
	}
}

// entries are the content of a tar file. Content is a text or, of a link, its target.
type entries []struct {
	kind          byte
	name, content string
	mode          int64
}

// plainRootfs is a small root file system.
func plainRootfs() entries {
	return entries{
		{tar.TypeDir, "./", "", 0o755},
		{tar.TypeDir, "./usr/", "", 0o755},
		{tar.TypeReg, "./usr/bin/tool", "#!/bin/sh\n", 0o4755},
		{tar.TypeReg, "./etc/motd", "hello\n", 0o640},
		{tar.TypeSymlink, "./bin", "usr/bin", 0o777},
		{tar.TypeLink, "./usr/bin/other", "./usr/bin/tool", 0o755},
		{tar.TypeChar, "./dev/null", "", 0o666},
		{tar.TypeDir, "./proc/", "", 0o555},
	}
}

func (es entries) tar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range es {
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Mode: e.mode, Uid: 7, Uname: "x"}
		switch e.kind {
		case tar.TypeReg:
			h.Size = int64(len(e.content))
		case tar.TypeSymlink, tar.TypeLink:
			h.Linkname = e.content
		}
		fatalIf(t, w.WriteHeader(h))
		if e.kind == tar.TypeReg {
			_, err := w.Write([]byte(e.content))
			fatalIf(t, err)
		}
	}
	fatalIf(t, w.Close())
	return b.Bytes()
}

// imported imports a root file system to a directory of the test.
func imported(t testing.TB, rootfs []byte) *Environment {
	t.Helper()
	e, err := ImportEnvironment(t.Context(), bytes.NewReader(rootfs), path.Join(t.TempDir(), "environment"))
	fatalIf(t, err)
	return e
}
