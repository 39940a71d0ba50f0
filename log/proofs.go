package log

import (
	"cratelog/entry"
	"cratelog/proofcheck"
)

// Proofs decides whether proofs hold, and lists the programs whose proofs it
// accepts. *proofcheck.Verifier is one. It must be safe for concurrent use.
type Proofs interface {
	entry.Verifier
	entry.BatchVerifier
	Programs() []proofcheck.Program
}
