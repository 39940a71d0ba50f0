package prover

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
)

func TestKeysThatCannotProveAreFoundBeforeTheWork(t *testing.T) {
	small := &Plan{Blocks: 60, List: &crate.List{}}
	large := &Plan{Blocks: 4000, List: &crate.List{}}
	shipped, err := proofcheck.Embedded()
	fatalIf(t, err)
	k := &Keyring{}
	id, err := k.Program(small)
	if err != nil || !slices.ContainsFunc(shipped, func(p proofcheck.Program) bool { return p.ID() == id && p.Blocks == 64 }) {
		t.Errorf("%x %v", id, err)
	}
	if _, err := k.Program(large); outcome.Of(err) != outcome.Refused || !strings.Contains(err.Error(), "4000 SHA-1 blocks") {
		t.Error(err)
	}

	dir := t.TempDir()
	file := filepath.Join(dir, "a.program")
	i := slices.IndexFunc(shipped, func(p proofcheck.Program) bool { return p.Blocks == 64 })
	text, err := shipped[i].Marshal()
	fatalIf(t, err)
	fatalIf(t, os.WriteFile(file, text, 0o644))
	err = (&Keyring{ProgramFile: file}).Check()
	refused(t, "half a pair", err, "go together")
	if err := (&Keyring{ProgramFile: dir, KeyFile: "x"}).Check(); err == nil {
		t.Error("a directory was read as a program")
	}
	fatalIf(t, os.WriteFile(filepath.Join(dir, "b.program"), []byte("{}"), 0o644))
	err = (&Keyring{ProgramFile: filepath.Join(dir, "b.program"), KeyFile: "x"}).Check()
	refused(t, "no program", err, "b.program")
	k = &Keyring{ProgramFile: file, KeyFile: filepath.Join(dir, "gone")}
	if got, err := k.Program(small); err != nil || got != id {
		t.Errorf("%x %v", got, err)
	}
	if _, err := k.Program(large); outcome.Of(err) != outcome.Refused || !strings.Contains(err.Error(), "a.program has 64 blocks") {
		t.Error(err)
	}
}

func TestAnInterruptDoesNotWaitForWhatCannotBeStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	begun, never := make(chan struct{}), make(chan struct{})
	defer close(never)
	go func() {
		<-begun
		cancel()
	}()
	if _, err := interruptible(ctx, func() (int, error) { close(begun); <-never; return 1, nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n, err := interruptible(t.Context(), func() (int, error) { return 1, nil }); n != 1 || err != nil {
		t.Error(n, err)
	}

	// Neither a proof nor a key is waited for.
	p := plan(t, "hello-proof", "0.1.0")
	if _, err := DevelopmentKeys(ctx, t.TempDir(), small, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := keys(t).Prove(ctx, p, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
