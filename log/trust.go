package log

import (
	"errors"
	"fmt"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

// policy decides what counts as published. It is the reader's code: what the
// log hands out is checked as its readers will check it.
type policy struct {
	origin string
	p      torchwood.Policy
}

func parsePolicy(text []byte, origin, vkey string) (*policy, error) {
	p, err := torchwood.ParsePolicy(text)
	if err != nil {
		return nil, fmt.Errorf("the policy: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "log" && f[1] == vkey {
			return &policy{origin, p}, nil
		}
	}
	return nil, fmt.Errorf("the policy does not name this log: add the line \"log %s\"", vkey)
}

type checkedCheckpoint struct {
	Size int64
	Root tlog.Hash
}

func (p *policy) CheckCheckpoint(raw []byte) (checkedCheckpoint, error) {
	c, _, err := torchwood.VerifyCheckpoint(raw, p.p)
	if err == nil && c.Origin != p.origin {
		err = errOtherOrigin
	}
	return checkedCheckpoint{c.N, c.Hash}, err
}

func marshalBundle(idx uint64, hashes [][]byte, data, checkpoint []byte) ([]byte, error) {
	var p tlog.RecordProof
	for _, h := range hashes {
		if len(h) != 32 {
			return nil, errors.New("hash")
		}
		p = append(p, tlog.Hash(h))
	}
	return torchwood.FormatProofWithExtraData(int64(idx), data, p, checkpoint), nil
}

func (p *policy) verifyBundle(b, data []byte) error {
	return torchwood.VerifyProof(p.p, tlog.RecordHash(data), b)
}
