package prover

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/backend/witness"
	"github.com/consensys/gnark/constraint"
	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"
	"golang.org/x/sync/errgroup"

	"cratelog/circuit"
	"cratelog/entry"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
	"cratelog/proofcheck/chain"
)

// fits refuses a plan for which a proof of segments of so many blocks, or an entry with it, has no
// room: before the work.
func (p *Plan) fits(blocks int) error {
	if room := proofcheck.MaxSegments * blocks; p.Blocks > room || len(p.List.Bytes) > chain.MaxList {
		return outcome.Refusef("the commit and the trees on the crate's paths take %d SHA-1 blocks and the file list "+
			"%d bytes; a proof has room for %d blocks and %d bytes", p.Blocks, len(p.List.Bytes), room, chain.MaxList)
	}
	n := (p.Blocks + blocks - 1) / blocks
	proof := &proofcheck.Proof{Cuts: make([]fr.Element, n-1),
		Segments: slices.Repeat([]*groth16.Proof{{Commitments: make([]bn254.G1Affine, 1)}}, n)}
	e := &entry.Entry{Subject: p.Subject, Claim: p.Claim, Proof: entry.Proof{Parts: proof.Marshal()}}
	if _, err := e.Marshal(); err != nil {
		return outcome.Refuse(fmt.Errorf("the claim and a proof of %d segments make no entry: %w", n, err))
	}
	return nil
}

// Prove makes the entry of a plan. It verifies the proof before it returns.
//
// When ctx ends it returns at once; what computes one segment's proof cannot be stopped, and ends
// by itself or with the process. Nothing is kept: what was computed until then is worth nothing
// without the masks, and those would open what they hide.
func (k *Keys) Prove(ctx context.Context, p *Plan, progress Progress) (*entry.Entry, error) {
	if err := p.fits(k.Program.Blocks); err != nil {
		return nil, err
	}
	return interruptible(ctx, func() (*entry.Entry, error) { return k.prove(ctx, p, progress) })
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

func (k *Keys) prove(ctx context.Context, p *Plan, progress Progress) (*entry.Entry, error) {
	defer collectOften()()
	scope, err := entry.Context(p.Subject, p.Claim)
	if err != nil {
		return nil, err
	}
	id := k.Program.ID()
	proof, err := k.segments(ctx, p, func(commitments []bn254.G1Affine) fr.Element {
		return chain.Rho(id, p.Claim.Commit, scope, commitments)
	}, progress)
	if err != nil {
		return nil, fmt.Errorf("proving: %w", err)
	}
	e := &entry.Entry{Subject: p.Subject, Claim: p.Claim, Proof: entry.Proof{Program: id, Parts: proof.Marshal()}}
	v, err := proofcheck.New([]proofcheck.Program{k.Program})
	if err != nil {
		return nil, err
	}
	if err := entry.Check(v, e, p.List.Bytes); err != nil {
		return nil, fmt.Errorf("proving: the new proof was refused: %w", err)
	}
	return e, nil
}

// often counts the calls of collectOften that have not ended, and keeps the setting from before.
var often struct {
	sync.Mutex
	calls, before int
}

// collectOften has the garbage collector run when the memory in use has grown by a third, instead
// of by all of it, until the function that it returns is called. A proof takes and leaves vectors
// of megabytes: the process stays below 512 MiB, and as collecting costs little beside the sums, it
// is as fast. A collector that runs more often still, by the user's GOGC, is left alone.
func collectOften() (end func()) {
	const percent = 33
	often.Lock()
	defer often.Unlock()
	if often.calls++; often.calls == 1 {
		often.before = debug.SetGCPercent(percent)
		if 0 <= often.before && often.before < percent {
			debug.SetGCPercent(often.before)
		}
	}
	return func() {
		often.Lock()
		defer often.Unlock()
		if often.calls--; often.calls == 0 {
			debug.SetGCPercent(often.before)
		}
	}
}

// job is one proof in the making. Its masks and blinds are drawn for it, and leave it only in what
// they hide.
//
// All segments share the challenge rho, which hashes what each of them commits to. So each is
// solved twice: first until it commits, at any rho, and then, at the rho that follows from all
// commitments, to its end. What is committed to does not depend on rho, and the mask is the same:
// so is the commitment.
type job struct {
	*Keys
	stream *circuit.Stream
	commit [20]byte
	masks  []fr.Element // of the segments' commitments, not zero
	blinds []fr.Element // of the states between them

	states []chain.State // at rho
	rho    fr.Element
	info   constraint.Groth16Commitment
	noK    []bool // by wire: it has no K in the proving key
}

func newJob(k *Keys, stream *circuit.Stream, commit [20]byte) (j *job, err error) {
	j = &job{Keys: k, stream: stream, commit: commit}
	if j.masks, err = random(stream.Segments()); err != nil {
		return nil, err
	}
	if j.blinds, err = random(stream.Segments() - 1); err != nil {
		return nil, err
	}
	infos, ok := k.system.CommitmentInfo.(constraint.Groth16Commitments)
	if !ok || len(infos) != 1 {
		return nil, errors.New("the circuit has not one commitment")
	}
	j.info = infos[0]
	internal, secret, public := k.system.GetNbVariables()
	j.noK = make([]bool, internal+secret+public)
	for w := range public {
		j.noK[w] = true
	}
	for _, w := range j.info.PrivateCommitted {
		j.noK[w] = true
	}
	j.noK[j.info.CommitmentIndex] = true
	return j, nil
}

// beside is how many segments are worked on at once: what one leaves idle the other uses. More
// would take more memory, and gnark uses all processors for one.
const beside = 2

func (k *Keys) segments(ctx context.Context, p *Plan, rho func([]bn254.G1Affine) fr.Element,
	progress Progress) (*proofcheck.Proof, error) {
	stream, err := circuit.Split(k.Program.Blocks, p.objects)
	if err != nil {
		return nil, err
	}
	n := stream.Segments()
	j, err := newJob(k, stream, p.Claim.Commit)
	if err != nil {
		return nil, err
	}
	var done atomic.Int64
	const cost1, cost2 = 1, 10 // of the two passes, about
	progress.begin(fmt.Sprintf("proving %d SHA-1 blocks in %d segments", p.Blocks, n),
		time.Duration(n*k.system.GetNbConstraints())*12*time.Microsecond,
		func() float64 { return float64(done.Load()) / float64(n*(cost1+cost2)) })
	each := func(cost int64, do func(i int) error) error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(beside)
		for i := range n {
			g.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := do(i); err != nil {
					return fmt.Errorf("segment %d of %d: %w", i+1, n, err)
				}
				done.Add(cost)
				return nil
			})
		}
		return g.Wait()
	}

	any, err := random(1)
	if err != nil {
		return nil, err
	}
	if err := j.at(any[0]); err != nil {
		return nil, err
	}
	commitments, points := make([]commitment, n), make([]bn254.G1Affine, n)
	if err := each(cost1, func(i int) (err error) {
		commitments[i], err = j.commitTo(i)
		points[i] = commitments[i].point
		return err
	}); err != nil {
		return nil, err
	}
	if err := j.at(rho(points)); err != nil {
		return nil, err
	}
	proof := &proofcheck.Proof{Segments: make([]*groth16.Proof, n), Cuts: make([]fr.Element, n-1)}
	for i := range proof.Cuts {
		proof.Cuts[i] = j.states[i+1].Commitment()
	}
	if proof.End, err = chain.EndOf(p.List.Bytes, j.rho); err != nil {
		return nil, err
	}
	if end := proof.End.State(); end.Commitment() != j.states[n].Commitment() {
		return nil, fmt.Errorf("%w: its objects do not make its list", errFalse)
	}
	return proof, each(cost2, func(i int) (err error) {
		proof.Segments[i], err = j.prove(i, commitments[i])
		return err
	})
}

// errFalse says that a plan is not true: a plan that NewPlan returned is.
var errFalse = errors.New("the statement does not hold")

// random returns random field elements that are not zero.
func random(n int) ([]fr.Element, error) {
	v := make([]fr.Element, n)
	for i := range v {
		for v[i].IsZero() {
			if _, err := v[i].SetRandom(); err != nil {
				return nil, fmt.Errorf("drawing random numbers: %w", err)
			}
		}
	}
	return v, nil
}

// at sets the challenge.
func (j *job) at(rho fr.Element) (err error) {
	j.rho = rho
	j.states, err = j.stream.States(j.commit, rho, j.blinds)
	return err
}

func (j *job) witness(i int) (witness.Witness, error) {
	return frontend.NewWitness(j.stream.Assign(i, j.states, j.rho), ecc.BN254.ScalarField())
}

// randomize returns gnark's hint that draws the mask of a commitment, nil if there is none.
var randomize = sync.OnceValue(func() solver.Hint {
	for _, h := range solver.GetRegisteredHints() {
		if solver.GetHintName(h) == "github.com/consensys/gnark/internal/hints.Randomize" {
			return h
		}
	}
	return nil
})

// masked calls solve with the circuit's hints and the segment's mask in the place of a random one.
// It fails unless the solver asks for the mask exactly once.
func (j *job) masked(i int, solve func(hints ...solver.Option) error) error {
	drawn := randomize()
	if drawn == nil {
		return errors.New("gnark draws masks in another way; this is a bug")
	}
	var calls atomic.Int32
	mask := func(_ *big.Int, _, out []*big.Int) error {
		calls.Add(1)
		j.masks[i].BigInt(out[0])
		return nil
	}
	err := solve(solver.WithHints(circuit.Hints()...), solver.OverrideHint(solver.GetHintID(drawn), mask))
	if n := calls.Load(); n != 1 && (err == nil || errors.Is(err, errCommitted)) {
		return fmt.Errorf("the solver asked for a mask %d times instead of once; this is a bug", n)
	}
	return err
}
