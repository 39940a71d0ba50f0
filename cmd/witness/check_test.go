package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
)

func TestCheckLooksAtWhatServeWouldAndChangesNothing(t *testing.T) {
	l := testlog.New("log.example/check", 1, time.Now)
	settings, _ := setUp(t, l)
	dir := filepath.Dir(settings)
	good := testlog.Must(os.ReadFile(settings))
	look := func(fails string) {
		t.Helper()
		var out bytes.Buffer
		err := run(t.Context(), []string{"check", "-config", settings}, &out, io.Discard)
		if fails == "" && err != nil || fails != "" && outcome.Of(err) != outcome.Refused || !strings.Contains(out.String(), fails) {
			t.Errorf("want %q: %v\n%s", fails, err, &out)
		}
	}
	files := func() []string { return testlog.Must(filepath.Glob(filepath.Join(dir, "*"))) }
	before := files()
	look("")
	if after := files(); !slices.Equal(before, after) {
		t.Errorf("before %q, after %q", before, after)
	}
	taken := testlog.Must(net.Listen("tcp", "127.0.0.1:0"))
	defer taken.Close()
	for old, c := range map[string][2]string{
		"name = \"witness.example/w1\"": {"name = \"witness.example/w2\"", "FAIL  logs and database"},
		"w.db":                          {"other.db", "FAIL  logs and database"},
		"key.pem":                       {"none.pem", "FAIL  settings and keys"},
		"vkey = \"":                     {"vkey = \"x", "FAIL  logs"},
		"127.0.0.1:0":                   {taken.Addr().String(), "FAIL  listen"},
		"database":                      {"datebase", "FAIL  settings"},
	} {
		fatal(t, os.WriteFile(settings, bytes.Replace(good, []byte(old), []byte(c[0]), 1), 0o644))
		look(c[1])
	}
	fatal(t, os.WriteFile(filepath.Join(dir, "w.db"), []byte("not a database, but long enough to be looked at"), 0o600))
	fatal(t, os.WriteFile(settings, good, 0o644))
	look("FAIL  logs and database")
}
