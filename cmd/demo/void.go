package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/config"
	"cratelog/entry"
	"cratelog/index"
)

// conspiracy is a tree that the log and all its witnesses sign, whatever stands in it.
type conspiracy struct {
	leaves [][]byte
	hashes []tlog.Hash
	of     index.Map // what it is sealed with
}

func (c *conspiracy) ReadHashes(at []int64) (out []tlog.Hash, err error) {
	for _, i := range at {
		out = append(out, c.hashes[i])
	}
	return out, nil
}

// add appends a leaf, and what it inserts.
func (c *conspiracy) add(b []byte) error {
	at := len(c.leaves)
	leaf, err1 := entry.ParseLeaf(b)
	hashes, err2 := tlog.StoredHashes(int64(at), b, c)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	c.leaves, c.hashes = append(c.leaves, b), append(c.hashes, hashes...)
	return c.of.AddLeaf(uint64(at), leaf)
}

// path is the inclusion path of a leaf.
func (c *conspiracy) path(at int64) (out [][32]byte, err error) {
	path, err := tlog.ProveRecord(int64(len(c.leaves)), at, c)
	for _, h := range path {
		out = append(out, h)
	}
	return out, err
}

// twice returns the bundle of the second of two entries about one version, in a log that took both, and
// whose witnesses cosigned that.
func (s *story) twice(first, second []byte) ([]byte, error) {
	e, err := entry.Parse(second)
	if err != nil {
		return nil, err
	}
	c := &conspiracy{}
	if err := errors.Join(c.add(first), c.add(second)); err != nil {
		return nil, err
	}
	m := c.of.Snapshot()
	seal, err := (&entry.Seal{Rules: entry.Rules, Size: 2, Root: m.Root()}).Marshal()
	if err == nil {
		err = c.add(seal)
	}
	if err != nil {
		return nil, err
	}
	b := &client.Bundle{Index: 1, Entry: second, Seal: client.Seal{Leaf: seal}}
	b.Version.Value, b.Version.Proof = m.Lookup(index.VersionKey(e.Subject.Registry, e.Subject.Name, e.Subject.Version))
	var err1, err2, err3 error
	b.Hashes, err1 = c.path(1)
	b.Seal.Hashes, err2 = c.path(2)
	b.Checkpoint, err3 = s.signAll(c)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return b.Marshal()
}

// signAll signs a tree with the keys of the log and of all witnesses.
func (s *story) signAll(c *conspiracy) ([]byte, error) {
	root, err := tlog.TreeHash(int64(len(c.leaves)), c)
	if err != nil {
		return nil, err
	}
	signers := []note.Signer{s.w.Signer}
	for i, w := range s.w.Witnesses {
		key, err := config.ReadKey(filepath.Join(s.dir, fmt.Sprintf("w%d.pem", i+1)))
		if err != nil {
			return nil, err
		}
		signer, _, err := config.NewCosignatureSigner(key, w.Name)
		if err != nil {
			return nil, err
		}
		signers = append(signers, signer)
	}
	return note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", origin, len(c.leaves), root)}, signers...)
}
