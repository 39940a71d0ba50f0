package proofcheck_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
	"cratelog/proofcheck/chain"
)

var defaultForger = sync.OnceValue(func() *forge.Forger { return testlog.Must(forge.Default()) })

func defaultVerifier(t testing.TB) *proofcheck.Verifier {
	t.Helper()
	return testlog.Must(proofcheck.Load(nil, true))
}

// listOf is a list that differs from that of every other number.
func listOf(n int) []byte {
	h := sha256.Sum256(fmt.Append(nil, n))
	return slices.Concat([]byte("ct"), fmt.Appendf(nil, "40000 d%d\x00t100644 f\x00", n), h[:20])
}

// statement is an entry without a proof, and its list.
func statement(n int) (*entry.Entry, []byte) {
	list := listOf(n)
	return &entry.Entry{
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "nobody", Version: fmt.Sprintf("1.0.%d", n),
			SHA256: sha256.Sum256(list)},
		Claim: &entry.Source{Commit: [20]byte{1, 2, 3, byte(n)}, Files: sha256.Sum256(list)},
	}, list
}

// prove gives the entry a proof of so many segments that holds and is of this list.
func prove(t testing.TB, f *forge.Forger, e *entry.Entry, segments int, list []byte) {
	t.Helper()
	cuts := make([]fr.Element, segments-1)
	for i := range cuts {
		cuts[i].MustSetRandom()
	}
	fatalIf(t, f.ProveChain(e, cuts, func(rho fr.Element) (chain.End, error) { return chain.EndOf(list, rho) }))
}

// made are the entries of proven.
var made = make(map[[2]int]*entry.Entry)

// proven is an entry whose proof has so many segments, and its list. It is the same one each time.
func proven(t testing.TB, n, segments int) (*entry.Entry, []byte) {
	t.Helper()
	e, list := statement(n)
	key := [2]int{n, segments}
	if made[key] == nil {
		prove(t, defaultForger(), e, segments, list)
		made[key] = e
	}
	return copyOf(made[key]), list
}

// copyOf returns an entry that shares nothing with e.
func copyOf(e *entry.Entry) *entry.Entry {
	c := *e
	claim := *e.Claim.(*entry.Source)
	c.Claim, c.Proof.Parts = &claim, nil
	for _, p := range e.Proof.Parts {
		c.Proof.Parts = append(c.Proof.Parts, slices.Clone(p))
	}
	return &c
}

// altered returns a copy of an entry whose proof f has changed.
func altered(t testing.TB, e *entry.Entry, f func(p *proofcheck.Proof)) *entry.Entry {
	t.Helper()
	c := copyOf(e)
	p := testlog.Must(proofcheck.ParseProof(c.Proof.Parts))
	f(p)
	c.Proof.Parts = p.Marshal()
	return c
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
