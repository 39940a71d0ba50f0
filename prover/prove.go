package prover

import (
	"context"
	"fmt"
	"time"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/backend"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"

	"cratelog/circuit"
	"cratelog/entry"
	"cratelog/proofcheck"
)

// Classes are the capacities that ship with keys, smallest first.
var Classes = []circuit.Capacity{circuit.Class64, circuit.Class128, circuit.Class512}

// Class returns the smallest class that a plan fits in.
func (p *Plan) Class() (circuit.Capacity, error) {
	for _, c := range Classes {
		if p.Blocks <= c.Blocks && len(p.List.Bytes) <= c.ListBytes() {
			return c, nil
		}
	}
	largest := Classes[len(Classes)-1]
	return circuit.Capacity{}, fmt.Errorf("%w: the commit and the trees on the crate's paths take "+
		"%d SHA-1 blocks and the file list %d bytes; the largest class has %d blocks and %d bytes",
		circuit.ErrCapacity, p.Blocks, len(p.List.Bytes), largest.Blocks, largest.ListBytes())
}

// Prove makes the entry of a plan. It verifies the proof before it returns. When ctx ends it
// returns at once; what computes the proof cannot be stopped, and ends by itself or with the
// process.
func (k *Keys) Prove(ctx context.Context, p *Plan, progress Progress) (*entry.Entry, error) {
	scope, err := entry.Context(p.Subject, p.Claim)
	if err != nil {
		return nil, err
	}
	progress.begin("proving", time.Duration(k.system.GetNbConstraints())*16*time.Microsecond)
	return interruptible(ctx, func() (*entry.Entry, error) { return k.prove(p, scope) })
}

// interruptible returns what f does, or the error of a context that ends before: then nobody
// waits for f any more.
func interruptible[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	done := make(chan result, 1) // buffered: nothing may wait any more
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (k *Keys) prove(p *Plan, scope [32]byte) (*entry.Entry, error) {
	digest, err := proofcheck.ListDigest(p.List.Bytes)
	if err != nil {
		return nil, err
	}
	assignment, err := circuit.Assign(k.capacity, p.Claim.Commit, p.objects, p.List.Bytes, digest, scope)
	if err != nil {
		return nil, err
	}
	witness, err := frontend.NewWitness(assignment, ecc.BN254.ScalarField())
	if err != nil {
		return nil, fmt.Errorf("proving: %w", err)
	}
	proof, err := groth16.Prove(k.system, k.proving, witness,
		backend.WithSolverOptions(solver.WithHints(circuit.Hints()...)))
	if err != nil {
		return nil, fmt.Errorf("proving: the statement does not hold: %w", err)
	}
	e := &entry.Entry{
		Subject: p.Subject, Claim: p.Claim,
		Proof: entry.Proof{Program: k.Program.ID(), Parts: [][]byte{proofcheck.MarshalProof(proof)}},
	}
	v, err := proofcheck.New([]proofcheck.Program{k.Program})
	if err != nil {
		return nil, err
	}
	if err := entry.Check(v, e, p.List.Bytes); err != nil {
		return nil, fmt.Errorf("proving: the new proof was refused: %w", err)
	}
	return e, nil
}
