package ceremony

import (
	"bytes"
	"context"
	"io"
	"time"

	cs "github.com/consensys/gnark/constraint/bn254"

	"cratelog/circuit/setup"
	"cratelog/proofcheck"
)

// keyTimes is how long it takes to make a proving key for a claim alone, and to check one, about.
func keyTimes(claim string) (making, checking time.Duration) {
	if claim == proofcheck.ClaimBuild {
		return time.Second, time.Second
	}
	return 20 * time.Second, 10 * time.Second
}

// Solo makes the keys of a circuit without a ceremony: one operator, who
// is called by name (see proofcheck.SoloOrigin), with secrets from the system's random
// source. It writes the proving key and then the program file, and returns the program.
//
// Whoever ran it could forge, if they had taken the secrets from the process's memory;
// nobody else. They are never written, and nothing refers to them afterwards, but memory is
// not erased.
func Solo(ctx context.Context, name string, of Circuit, program, key io.Writer,
	progress Progress) (proofcheck.Program, error) {
	return solo(ctx, name, of, Circuit.compile, program, key, progress)
}

func solo(ctx context.Context, name string, of Circuit, compile func(Circuit) (*cs.R1CS, error), program, key io.Writer,
	progress Progress) (proofcheck.Program, error) {
	origin, err := proofcheck.SoloOrigin(name)
	p := of.Program(origin, nil)
	if err != nil {
		return p, err
	}
	if err := of.Check(); err != nil {
		return p, err
	}
	var system *cs.R1CS
	var keys *setup.Keys
	making, _ := keyTimes(of.Claim)
	err = progress.do(ctx, "making a key from fresh secrets", making, func() (err error) {
		if system, err = compile(of); err != nil {
			return err
		}
		secrets, err := setup.Fresh()
		if err != nil {
			return err
		}
		keys, err = setup.Run(ctx, system, secrets, new(setup.Progress))
		return err
	})
	if err != nil {
		return p, err
	}
	var verifying bytes.Buffer
	if _, err := keys.Verifying.WriteTo(&verifying); err != nil {
		return p, err
	}
	p.Key = verifying.Bytes()
	return p, writeKeys(ctx, system, keys, &p, program, key, progress)
}
