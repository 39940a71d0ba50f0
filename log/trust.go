package log

import (
	"errors"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

func (l *Log) checkCheckpoint(raw []byte) (tlog.Tree, error) {
	p, err := torchwood.ParsePolicy(l.cfg.Policy)
	if err != nil {
		return tlog.Tree{}, err
	}
	c, _, err := torchwood.VerifyCheckpoint(raw, p)
	if err == nil && c.Origin != l.cfg.Origin {
		err = errOtherOrigin
	}
	return c.Tree, err
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

func (l *Log) verifyBundle(b, data []byte) error {
	p, err := torchwood.ParsePolicy(l.cfg.Policy)
	if err != nil {
		return err
	}
	return torchwood.VerifyProof(p, tlog.RecordHash(data), b)
}
