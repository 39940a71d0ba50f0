package witness

import (
	"context"
	"fmt"
	"strings"

	"filippo.io/mldsa"
	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A SubtreeRequest is a parsed sign-subtree body. Nothing in it is verified yet.
//
//	subtree 8 13
//	mbsQCg+dEIMGlpqeGgk94JutQwKKS2Lo5IuDhKmDjiU=
//	CD82D2LDm0phY0+xKbHyZfq3Hw21lVkuV7Zis5EFg0k=
//	...                                             0 to 63 hashes
//
//	log.example
//	14
//	/CcKVZM9n65aH7jLaIZuUB4/MSlEFQ4+ldwUC21rDHM=
//
//	— witness.example/w1 LijDAFSpKvDUj+ZtaJ4lUVcnvnooXd...
type SubtreeRequest struct {
	Start, End int64       // the entries from Start on, before End
	Hash       tlog.Hash   // of the subtree
	Proof      []tlog.Hash // from the subtree to Checkpoint
	Checkpoint torchwood.Checkpoint
	Signatures []note.Signature // one or more, of which one is this witness's
}

// ParseSubtreeRequest parses a sign-subtree body of c2sp.org/tlog-witness. There is exactly one
// encoding of a request, as for [ParseRequest]. Errors wrap [ErrTooLarge] or [ErrMalformed].
func ParseSubtreeRequest(body []byte) (*SubtreeRequest, error) {
	head, signed, err := splitBody(body)
	if err != nil {
		return nil, err
	}
	var r SubtreeRequest
	lines := strings.Split(head, "\n")
	if err := r.parseRange(lines); err != nil {
		return nil, err
	}
	if r.Proof, err = parseHashes(lines[2:]); err != nil {
		return nil, err
	}
	if r.Checkpoint, r.Signatures, err = parseNote(signed); err != nil {
		return nil, err
	}
	// SPEC: [start, end) MUST be a valid subtree [...], and end MUST be less
	// than or equal to the checkpoint size.
	if !torchwood.ValidSubtree(r.Start, r.End) || r.End > r.Checkpoint.N {
		return nil, malformed("from %d to %d is no subtree of a tree of size %d: the first number is a multiple of the "+
			"power of two that holds the difference", r.Start, r.End, r.Checkpoint.N)
	}
	if r.Marshal() != string(body) {
		return nil, malformed("it is not in canonical form")
	}
	return &r, nil
}

// parseRange parses the first two lines.
func (r *SubtreeRequest) parseRange(lines []string) error {
	text, ok := strings.CutPrefix(lines[0], "subtree ")
	from, to, two := strings.Cut(text, " ")
	start, ok1 := parseSize(from)
	end, ok2 := parseSize(to)
	if !ok || !two || !ok1 || !ok2 {
		return malformed("the first line is not \"subtree <start> <end>\" with canonical decimal numbers")
	}
	if len(lines) < 2 {
		return malformed("the hash of the subtree is missing")
	}
	hash, err := tlog.ParseHash(lines[1])
	if err != nil {
		return malformed("the hash of the subtree is not the base64 of 32 bytes")
	}
	r.Start, r.End, r.Hash = start, end, hash
	return nil
}

// Marshal returns the one encoding of r.
func (r *SubtreeRequest) Marshal() string {
	return fmt.Sprintf("subtree %d %d\n%s\n%s\n%s", r.Start, r.End, r.Hash, formatProof(r.Proof),
		formatNote(r.Checkpoint, r.Signatures))
}

// SignSubtree handles the body of a sign-subtree request and returns a signature line of each
// ML-DSA-44 key. It remembers nothing and needs no memory: a subtree of a tree that was cosigned
// can contradict none that was. The errors are those that [StatusCode] knows.
func (w *Witness) SignSubtree(_ context.Context, body []byte) ([]byte, error) {
	req, err := ParseSubtreeRequest(body)
	if err != nil {
		return nil, err
	}
	if w.watched(req.Checkpoint.Origin) == nil {
		return nil, ErrUnknownLog
	}
	var signers []*cosigner
	for _, s := range w.cosigners {
		if _, ok := s.verifier.PublicKey().(*mldsa.PublicKey); ok {
			signers = append(signers, s)
		}
	}
	if len(signers) == 0 {
		return nil, ErrNoSubtrees
	}
	if err := w.cosigned(req); err != nil {
		return nil, err
	}
	c := req.Checkpoint
	if torchwood.CheckSubtree(req.Proof, c.N, c.Hash, req.Start, req.End, req.Hash) != nil {
		return nil, ErrSubtreeProof
	}
	var lines []note.Signature
	for _, s := range signers {
		line, err := s.signSubtree(c.Origin, req.Start, req.End, req.Hash)
		if w.health.signed(s, err); err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return []byte(formatSignatures(lines)), nil
}

// cosigned checks that this witness cosigned the reference checkpoint with one of its keys.
func (w *Witness) cosigned(req *SubtreeRequest) error {
	var own watched
	for _, s := range w.cosigners {
		own.keys = append(own.keys, s.verifier)
	}
	// SPEC: The witness MUST verify that the checkpoint includes a valid
	// cosignature from one of its own keys.
	if _, err := own.verify(req.Checkpoint, req.Signatures); err != nil {
		return ErrNotCosigned
	}
	return nil
}
