package testlog

import (
	"crypto/sha256"
	"errors"

	"cratelog/entry"
)

// A Chain is what a proof shows that a test believes: it accepts the list whose digest the claim
// has.
type Chain struct{ Claim entry.Claim }

var _ entry.Chain = Chain{}

// Objects returns 2, the least.
func (c Chain) Objects() int { return 2 }

// ListBytes returns 2, the least.
func (c Chain) ListBytes() int { return 2 }

// Check compares the list with the claim's digest.
func (c Chain) Check(list []byte) error {
	if src, ok := c.Claim.(*entry.Source); !ok || sha256.Sum256(list) != src.Files {
		return errors.New("the list is not the claim's")
	}
	return nil
}

// ChainOf is a test's Verifier.Chain, where err says what it has against the proof.
func ChainOf(e *entry.Entry, err error) (entry.Chain, error) {
	if err != nil {
		return nil, err
	}
	return Chain{e.Claim}, nil
}

// Chains is a test's BatchVerifier.Chains: v's Chain of each.
func Chains(v entry.Verifier, entries []*entry.Entry) ([]entry.Chain, []error) {
	chains, errs := make([]entry.Chain, len(entries)), make([]error, len(entries))
	for i, e := range entries {
		chains[i], errs[i] = v.Chain(e)
	}
	return chains, errs
}
