package log

import (
	"cratelog/entry"
	"cratelog/proofcheck"
)

// Proofs decides whether proofs hold, and lists the programs whose proofs it
// accepts. *proofcheck.Verifier is one. It must be safe for concurrent use.
type Proofs interface {
	Check(e *entry.Entry) error
	CheckBatch(entries []*entry.Entry) []error // one error an entry, as Check would
	Programs() []proofcheck.Program
}
