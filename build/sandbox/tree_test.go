package sandbox

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestATreeWritesWhatIsInsideAndNothingElse(t *testing.T) {
	var b bytes.Buffer
	w := newTree(&b)
	fatalIf(t, w.File("/build/src/main.rs", 0o600, []byte("fn main() {}")))
	fatalIf(t, w.File("/build/src/run.sh", 0o700, nil))
	fatalIf(t, w.Dir("/build/vendor"))
	fatalIf(t, w.Dir("/build/vendor"))
	fatalIf(t, w.Link("/build/src/link", "../vendor"))
	for what, err := range map[string]error{
		"outside":            w.File("/etc/passwd", 0o644, nil),
		"beside":             w.File("/buildx/x", 0o644, nil),
		"relative":           w.File("build/x", 0o644, nil),
		"up":                 w.File("/build/../etc/x", 0o644, nil),
		"not clean":          w.File("/build//x", 0o644, nil),
		"/build itself":      w.Dir("/build"),
		"the toolchain":      w.File("/build/rust/bin/rustc", 0o755, nil),
		"the toolchain's":    w.Dir("/build/rust"),
		"twice":              w.File("/build/src/main.rs", 0o644, nil),
		"through a link":     w.File("/build/src/link/x", 0o644, nil),
		"below a file":       w.File("/build/src/main.rs/x", 0o644, nil),
		"a file for a dir":   w.File("/build/vendor", 0o644, nil),
		"a dir for a file":   w.Dir("/build/src/main.rs"),
		"a line end":         w.File("/build/a\nb", 0o644, nil),
		"a NUL":              w.File("/build/a\x00b", 0o644, nil),
		"no UTF-8":           w.File("/build/a\xff", 0o644, nil),
		"a link to nothing":  w.Link("/build/x", ""),
		"a link's line end":  w.Link("/build/x", "a\nb"),
		"a path too long":    w.File("/build/"+strings.Repeat("x/", maxPath), 0o644, nil),
		"a link's long text": w.Link("/build/x", strings.Repeat("x", maxLink+1)),
	} {
		if err == nil {
			t.Errorf("%s is written", what)
		}
	}
	fatalIf(t, w.w.Close())
	var got []string
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		fatalIf(t, err)
		got = append(got, fmt.Sprintf("%c %o %d %s %s", h.Typeflag, h.Mode, h.ModTime.Unix(), h.Name, h.Linkname))
	}
	want := "5 755 1 build \n5 755 1 build/src \n0 644 1 build/src/main.rs \n0 755 1 build/src/run.sh \n" +
		"5 755 1 build/vendor \n2 777 1 build/src/link ../vendor"
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
