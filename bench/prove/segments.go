package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cratelog/prover"
)

// segmentSizes are the lengths of a segment that are compared, in SHA-1 blocks: the one that ships, and
// what a domain twice as large has room for at the cost of 41 and at its end.
var segmentSizes = []int{41, 64, 76}

// compareSegments measures segments of several lengths: key and proofs, each in a process of its own.
func compareSegments(ctx context.Context, dir string) error {
	for _, blocks := range segmentSizes {
		var peak int64
		for _, what := range []string{"key", "prove"} {
			memory, err := again(ctx, os.Stdout, "-measure", fmt.Sprintf("segments_%s_%d", what, blocks), "-cache",
				filepath.Join(dir, fmt.Sprint(blocks)))
			if err != nil {
				return err
			}
			peak = memory // of the last, which proves
		}
		fmt.Printf("segments_memory_%d %d MiB\n", blocks, peak>>20)
	}
	return nil
}

// segmentKey measures making the key of segments of so many blocks, and its file.
func segmentKey(ctx context.Context, cache string, blocks int) error {
	begin := time.Now()
	if _, err := prover.DevelopmentKeys(ctx, cache, blocks, nil); err != nil {
		return err
	}
	fmt.Printf("segments_key_%d %.1f s\n", blocks, time.Since(begin).Seconds())
	files, err := filepath.Glob(filepath.Join(cache, "*"))
	if err != nil {
		return err
	}
	var largest int64
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return err
		}
		largest = max(largest, info.Size())
	}
	if largest == 0 {
		return errors.New("no key was kept")
	}
	fmt.Printf("segments_key_file_%d %d MiB\n", blocks, largest>>20)
	return nil
}

// segmentProofs measures proofs of all sizes but the largest with segments of so many blocks.
func segmentProofs(ctx context.Context, dir, cache string, blocks int) error {
	for _, n := range sizes[:len(sizes)-1] {
		plan, err := syntheticPlan(ctx, filepath.Join(dir, fmt.Sprint(n)), n)
		if err != nil {
			return err
		}
		begin := time.Now()
		keys, err := prover.DevelopmentKeys(ctx, cache, blocks, nil)
		if err != nil {
			return err
		}
		if _, err := keys.Prove(ctx, plan, nil); err != nil {
			return err
		}
		fmt.Printf("segments_prove_%d_%d %.2f s\n", n, blocks, time.Since(begin).Seconds())
	}
	return nil
}
