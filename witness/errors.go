package witness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// The reasons to refuse a request. [StatusCode] maps them to
// the codes of c2sp.org/tlog-witness.
var (
	// ErrTooLarge: the body exceeds [MaxRequest].
	ErrTooLarge = fmt.Errorf("the request is larger than %d bytes; send the checkpoint with the log's signature only",
		MaxRequest)
	// ErrMalformed: the body breaks the grammar.
	ErrMalformed = errors.New("malformed request")
	// ErrUnknownLog: no log with this origin is configured.
	ErrUnknownLog = errors.New("this witness does not know the checkpoint's origin; ask its operator to add the log")
	// ErrSignature: no trusted key of the log signed, or a signature that
	// claims to be by one does not verify.
	ErrSignature = errors.New("the checkpoint is not correctly signed by a key that this witness trusts for its origin")
	// ErrNotCosigned: the reference checkpoint of a sign-subtree request is not one that this witness
	// cosigned, or a signature that claims to be its own does not verify.
	ErrNotCosigned = errors.New("the checkpoint is not correctly cosigned by this witness; " +
		"send the one that it cosigned, with its cosignature")
	// ErrNoSubtrees: no key of this witness can sign subtrees.
	ErrNoSubtrees = errors.New("this witness has no ML-DSA-44 key, and so signs no subtrees")
	// ErrOldTooLarge: the old size is larger than the checkpoint's.
	ErrOldTooLarge = errors.New("the old size is larger than the checkpoint's size")
	// ErrClock: the witness's clock is before the last timestamp it gave out.
	ErrClock = errors.New("the witness's clock is wrong; it signs nothing until its operator has set it right")

	// ErrInconsistent is wrapped by every refusal of a checkpoint that is
	// well-formed and signed, but does not follow from the one cosigned before.
	ErrInconsistent = errors.New("the checkpoint is not shown to be consistent with the one cosigned before")
	// ErrProofNotEmpty: a proof was sent where only an empty one is right.
	ErrProofNotEmpty = fmt.Errorf("%w: the proof must be empty when the old size is 0 or equals the checkpoint's size", ErrInconsistent)
	// ErrProof: the consistency proof does not verify. It is not evidence against
	// the log: the sender of the request chooses the proof.
	ErrProof = fmt.Errorf("%w: the consistency proof does not verify", ErrInconsistent)
	// ErrSubtreeProof: the subtree consistency proof does not verify.
	ErrSubtreeProof = errors.New("the proof does not show that the subtree is part of the checkpoint's tree")
	// ErrEmptyRoot: the checkpoint has size 0 and not the hash of the empty tree.
	ErrEmptyRoot = fmt.Errorf("%w: a tree of size 0 has the root hash SHA-256(\"\")", ErrInconsistent)
	// ErrFork: the checkpoint has the size of the one cosigned before and
	// another root hash.
	ErrFork = fmt.Errorf("%w: it has the same size and another root hash", ErrInconsistent)
)

// A ConflictError says that the request's old size is not the size of the
// checkpoint that this witness cosigned last.
type ConflictError struct {
	Size int64 // of the checkpoint cosigned last, 0 if there is none
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the last cosigned checkpoint has size %d; send a proof from there", e.Size)
}

// StatusCode returns the HTTP status of an error of [Witness.AddCheckpoint] or
// [Witness.SignSubtree].
func StatusCode(err error) int {
	var conflict *ConflictError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrMalformed):
		return http.StatusBadRequest
	case errors.Is(err, ErrUnknownLog), errors.Is(err, ErrNoSubtrees):
		// SPEC: If the checkpoint origin is unknown, the witness MUST respond
		// with a "404 Not Found" HTTP status code.
		return http.StatusNotFound
	case errors.Is(err, ErrSignature), errors.Is(err, ErrNotCosigned):
		// SPEC: If none of the signatures verify against a trusted public key,
		// the witness MUST respond with a "403 Forbidden" HTTP status code.
		return http.StatusForbidden
	case errors.Is(err, ErrOldTooLarge):
		// SPEC: The old size MUST be equal to or lower than the checkpoint
		// size. Otherwise, [...] "400 Bad Request".
		return http.StatusBadRequest
	case errors.As(err, &conflict):
		// SPEC: The witness MUST check that the old size matches the size of
		// the latest checkpoint it cosigned [...]. Otherwise, "409 Conflict".
		return http.StatusConflict
	case errors.Is(err, ErrInconsistent), errors.Is(err, ErrSubtreeProof):
		// SPEC: If the proof is invalid, [or] the old size matches the
		// checkpoint size and the roots differ, "422 Unprocessable Entity".
		return http.StatusUnprocessableEntity
	case errors.Is(err, ErrClock), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}
