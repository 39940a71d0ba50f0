package main

import (
	"testing"
	"time"

	"cratelog/prover"
)

func TestLongWorkSaysHowLongItWillTake(t *testing.T) {
	share := func(s float64) func() float64 { return func() float64 { return s } }
	for _, c := range []struct {
		step  prover.Step
		took  time.Duration
		share float64
		left  string
	}{
		{prover.Step{Expect: 20 * time.Second}, 5 * time.Second, 0.25, "about 15 s left"},
		{prover.Step{Expect: 20 * time.Second}, time.Minute, 0.95, "60 s"},
		{prover.Step{Expect: 20 * time.Second, Share: share(0)}, 5 * time.Second, 0, "about 15 s left"},
		{prover.Step{Expect: 20 * time.Second, Share: share(0.25)}, 10 * time.Second, 0.25, "about 30 s left"},
		{prover.Step{Expect: 20 * time.Second, Share: share(1)}, 10 * time.Second, 1, "10 s"},
		{prover.Step{}, 3 * time.Second, -1, "3 s"},
	} {
		if got, left := pace(c.step, c.took); got != c.share || left != c.left {
			t.Errorf("%+v after %v: %v, %q, want %v, %q", c.step, c.took, got, left, c.share, c.left)
		}
	}
	for _, share := range []float64{-1, 0, 0.5, 1, 7} {
		if len(filled(share)) != barWidth {
			t.Errorf("%v: %q", share, filled(share))
		}
	}
}
