package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"cratelog/cargo"
	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/prover"
	"cratelog/prover/git"
)

// corpus are the packages of the repositories that -corpus takes, and the bytes of the entry of each with a proof of
// one segment, as -corpus prints them.
var corpus = []struct {
	repository, name, version string
	bytes                     int
}{
	{"itoa-1.0.18", "itoa", "1.0.18", 420},
	{"arrayref-0.3.9", "arrayref", "0.3.9", 423},
	{"serde-1.0.228", "serde", "1.0.228", 606},
	{"serde-1.0.228", "serde_core", "1.0.228", 524},
	{"serde-1.0.228", "serde_derive", "1.0.228", 838},
	{"prost-0.14.4", "prost", "0.14.4", 861},
	{"prost-0.14.4", "prost-derive", "0.14.4", 852},
	{"prost-0.14.4", "prost-types", "0.14.4", 849},
	{"prost-0.14.4", "prost-build", "0.14.4", 849},
	{"tokio-1.53.1", "tokio", "1.53.1", 815},
	{"wasm-bindgen-0.2.127", "wasm-bindgen", "0.2.127", 429},
	{"wasm-bindgen-0.2.127", "js-sys", "0.3.104", 536},
	{"wasm-bindgen-0.2.127", "web-sys", "0.3.104", 540},
}

// entrySize is the mean size of an entry: of a claim as those of the corpus, with as many segments as the quantiles
// say.
func entrySize() (float64, error) {
	one := 0.0
	for _, c := range corpus {
		one += float64(c.bytes) / float64(len(corpus))
	}
	var e entry.Entry
	e.Subject = entry.Subject{Registry: entry.DefaultRegistry, Name: "a", Version: "1.0.0"}
	e.Claim = &entry.Source{}
	least, err1 := sizeWith(e, 1)
	next, err2 := sizeWith(e, 2)
	if err := errors.Join(err1, err2); err != nil {
		return 0, err
	}
	more := 0.0
	for _, q := range quantiles {
		more += q.share * float64((q.blocks+circuit.SegmentBlocks-1)/circuit.SegmentBlocks-1)
	}
	figure("entry_bytes_of_one_segment", one, "B")
	figure("entry_segments", 1+more, "segments")
	return figure("entry_bytes", one+more*float64(next-least), "B"), nil
}

// sizeWith is the size of an entry with a proof of so many segments.
func sizeWith(e entry.Entry, segments int) (int, error) {
	f, err := forge.Default()
	if err == nil {
		err = f.ProveSegments(&e, []byte("ct"), segments)
	}
	if err != nil {
		return 0, err
	}
	b, err := e.Marshal()
	return len(b), err
}

// measureCorpus prints what corpus has. What is missing is said and left out.
func measureCorpus(ctx context.Context, from string) error {
	dir, err := os.MkdirTemp("", "cratelog-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	home, err := cargo.Home()
	if err != nil {
		return err
	}
	for _, c := range corpus {
		n, blocks, err := measureEntry(ctx, dir, from, home, c.repository, c.name, c.version)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench/scale: %s %s is left out: %v\n", c.name, c.version, err)
			continue
		}
		fmt.Printf("entry_bytes_%s %d B\nblocks_%s %d blocks\n", c.name, n, c.name, blocks)
	}
	return ctx.Err()
}

func measureEntry(ctx context.Context, dir, from, home, repository, name, version string) (size, blocks int,
	err error) {
	found, err := cargo.FindCached(home, name, version)
	if err != nil || len(found) == 0 {
		return 0, 0, errors.Join(err, errors.New("cargo does not have it; go run ./bench/prove -corpus fetches it"))
	}
	c, err := crate.ReadFile(found[0], crate.DefaultLimits)
	if err != nil {
		return 0, 0, err
	}
	bare := filepath.Join(dir, repository+".git")
	if _, err := os.Stat(bare); err != nil {
		archive := filepath.Join(from, repository+".git.tar.gz")
		tar := exec.CommandContext(ctx, "tar", "--no-same-owner", "-C", dir, "-xzf", archive)
		if out, err := tar.CombinedOutput(); err != nil {
			return 0, 0, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	repo, err := git.Open(ctx, bare)
	if err != nil {
		return 0, 0, err
	}
	defer repo.Close()
	plan, err := prover.NewPlan(ctx, c, repo, prover.Source{})
	if err != nil {
		return 0, 0, err
	}
	size, err = sizeWith(entry.Entry{Subject: plan.Subject, Claim: plan.Claim}, 1)
	return size, plan.Blocks, err
}
