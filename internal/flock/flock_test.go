package flock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestALockIsHeldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	try := func(f *os.File, want bool) {
		t.Helper()
		if held, err := Try(f); err != nil || held != want {
			t.Errorf("held by another: %t, %v; want %t", held, err, want)
		}
	}
	first, second := open(), open()
	try(first, false)
	try(second, true)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	try(second, false)
	if _, err := Take(path); !errors.Is(err, ErrHeld) {
		t.Errorf("taken twice: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	third, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	try(open(), true)
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
}
