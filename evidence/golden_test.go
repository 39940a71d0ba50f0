package evidence

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

//go:generate go test -run ^TestEveryKindConvictsWhomItShould$ -update .

var update = flag.Bool("update", false, "write the files in testdata")

// golden compares with a file in testdata, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		fatalIf(t, os.MkdirAll("testdata", 0o755))
		fatalIf(t, os.WriteFile(path, got, 0o644))
		return
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code makes (go test ./evidence -update writes it): %v\n%s", path, err, got[:min(len(got), 2000)])
	}
}
