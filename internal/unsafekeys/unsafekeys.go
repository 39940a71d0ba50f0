// Package unsafekeys names the secrets of the development keys, which are published.
//
// UNSAFE: with a key's secrets any statement can be proven, true or false. Only the prover's
// cache of development keys, build/membership's development keys and internal/forge, which makes
// such false proofs for tests, import this package.
package unsafekeys

import (
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"cratelog/circuit/setup"
)

// Published returns the secrets of the development key of a circuit with segments of so many
// blocks.
func Published(blocks int) setup.Secrets {
	return published(fmt.Sprintf("segment %d", blocks))
}

// PublishedBuild returns the secrets of the development key of the circuit of build claims with
// sets of this depth.
func PublishedBuild(depth int) setup.Secrets {
	return published(fmt.Sprintf("build/1 depth %d", depth))
}

func published(label string) setup.Secrets {
	s, err := fr.Hash([]byte(label), []byte("cratelog/development-setup/v3 UNSAFE"), 5)
	if err != nil {
		panic(err) // only a longer domain separator is refused
	}
	return setup.Secrets{Tau: s[0], Alpha: s[1], Beta: s[2], Delta: s[3], Sigma: s[4]}
}
