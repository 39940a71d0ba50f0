package prover

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
	"cratelog/proofcheck/chain"
)

func TestKeysThatCannotProveAreFoundBeforeTheWork(t *testing.T) {
	fits := &Plan{Blocks: proofcheck.MaxSegments * circuit.SegmentBlocks, List: &crate.List{}, Claim: &entry.Source{},
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "large", Version: "1.0.0"}}
	large, long, told := *fits, *fits, *fits
	large.Blocks++
	long.List = &crate.List{Bytes: make([]byte, chain.MaxList+1)}
	told.Claim = &entry.Source{Links: []entry.Link{{Path: "a", Target: strings.Repeat("x", 1000)}}}
	shipped, err := proofcheck.Embedded()
	fatalIf(t, err)
	k := &Keyring{}
	id, err := k.Program(fits)
	if err != nil || id != shipped[0].ID() {
		t.Errorf("%x %v", id, err)
	}
	for p, why := range map[*Plan]string{&large: "a proof has room for 11808 blocks", &long: "a proof has room for 11808 blocks",
		&told: "a proof of 288 segments make no entry: the entry is"} {
		if _, err := k.Program(p); outcome.Of(err) != outcome.Refused || !strings.Contains(err.Error(), why) {
			t.Error(err)
		}
	}

	dir := t.TempDir()
	file := filepath.Join(dir, "a.program")
	text, err := shipped[0].Marshal()
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
	if got, err := k.Program(fits); err != nil || got != id {
		t.Errorf("%x %v", got, err)
	}
	if _, err := k.Program(&large); outcome.Of(err) != outcome.Refused {
		t.Error(err)
	}
	if _, err := k.Prove(t.Context(), fits, nil); !errors.Is(err, fs.ErrNotExist) {
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

// A program of build claims proves no source, wherever it is named.
func TestAProgramOfOtherClaimsIsRefused(t *testing.T) {
	const file, says = "../proofcheck/programs/build.json", "proves claims of the kind build/1; a crate's source takes one of source/2"
	k := &Keyring{ProgramFile: file, KeyFile: "none"}
	if err := k.Check(); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("the keyring: %v", err)
	}
	if _, err := OpenKeys(t.Context(), file, "none", nil); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("keys from files: %v", err)
	}
	shipped, err := proofcheck.Embedded()
	fatalIf(t, err)
	text, err := shipped[1].Marshal()
	fatalIf(t, err)
	if _, err := (&keyOffer{File: text}).offer(); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("a log's offer: %v", err)
	}
}
