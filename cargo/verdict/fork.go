package verdict

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/index"
)

// forked is what is said of a log that cheated. It is client.ErrFork.
func forked(origin, what, path string) error {
	return refuse(client.ErrFork, "Do not use this log. Give the evidence to the monitors and the "+
		"witnesses: it convinces anyone who knows the log's key. Nothing of this log is believed while "+
		"the file is there",
		"the log %s signed two trees that cannot both be true: %s; the evidence is %s", origin, what, path)
}

// dir is where a log's checkpoints are kept by client.State, and evidence against it.
func (h *heads) dir(origin string) string { return filepath.Join(h.cfg.State, originName(origin)) }

// fileExt ends the names of files of evidence; what else lies beside them was not written to its end.
const fileExt = ".evidence"

// oldEvidence returns a file of evidence against the log that was found before, or "".
func (s *settling) oldEvidence() (string, error) {
	entries, err := os.ReadDir(s.dir(s.origin))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", refuse(both(ErrState, err), "", "it is not known whether there is "+
			"evidence against the log %s: %v", s.origin, err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), fileExt) {
			return filepath.Join(s.dir(s.origin), e.Name()), nil
		}
	}
	return "", nil
}

// accuse writes evidence that two verified checkpoints of the log contradict each
// other, and returns the accusation. If their sizes differ, tree is that of the larger
// one. It accuses of nothing that the evidence does not show.
func (s *settling) accuse(a, b client.Checkpoint, tree tlog.HashReader) error {
	e, err := evidence.NewFork(a.Signed, b.Signed, tree, evidence.Meta{Observed: s.cfg.Now(),
		Sources: []string{"cratelog client"}})
	if err == nil && s.source == nil {
		err = errors.New("no trust file lists the log's key")
	}
	if err == nil {
		err = convicts(e, s.source.trust.Policy, nil)
	}
	if err != nil {
		return &client.Error{Reason: client.ErrConsistency, Err: err,
			What: fmt.Sprintf("two checkpoints of %s, of %d and %d entries, contradict each other, but "+
				"no evidence can be made of it", s.origin, a.Size, b.Size)}
	}
	dir := s.dir(s.origin)
	err = os.MkdirAll(dir, 0o700)
	path := ""
	if err == nil {
		path, err = evidence.Write(dir, e)
	}
	if err != nil {
		path = "lost, for it could not be written (" + err.Error() + ")"
	}
	s.cfg.Log.Error("a log has forked", "origin", s.origin, "evidence", path)
	what := fmt.Sprintf("both of %d entries, with the roots %v and %v", a.Size, a.Root, b.Root)
	if a.Size != b.Size {
		what = fmt.Sprintf("the one of %d entries does not begin with the one of %d", max(a.Size, b.Size),
			min(a.Size, b.Size))
	}
	return forked(s.origin, what, path)
}

// falseEntry is what is said of an entry that a log holds, signed and cosigned,
// although its proof does not hold. Evidence is written once for each entry; it says
// nothing about the log's other entries, which are judged by their own proofs. list is that of the
// .crate, if the proof is false only of it.
func (c *Checker) falseEntry(it *item, list []byte, cause error) error {
	r := it.result
	refusal := &client.Error{Reason: client.ErrProof, What: r.Name + " " + r.Version, Err: cause}
	path, err := c.writeEvidence(it, "false", func(l evidence.Leaf, program []byte,
		m evidence.Meta) (*evidence.Evidence, error) {
		return evidence.NewFalseEntry(evidence.ProofInvalid, r.Checkpoint.Signed, l,
			evidence.Attached{Program: program, List: list}, m)
	})
	if err != nil {
		c.cfg.Log.Warn("no evidence was written of a false entry", "crate", r.Name, "version", r.Version, "err", err)
		return refusal
	}
	refusal.What += "; the evidence is " + path
	return refusal
}

// badSeal is what is said of a bundle that does not show what else its log holds. Evidence is kept where the bundle
// is any: the tree ends in no seal, or the sealed map says that a later entry, or one that is not there, came first,
// or that this one gave its version another checksum.
func (c *Checker) badSeal(it *item, cause error) error {
	var refusal *client.Error
	b, err := client.ParseBundle(it.bundle)
	if err != nil || !errors.As(cause, &refusal) {
		return cause
	}
	of := it.current.source
	at, err := of.trust.Policy.CheckCheckpointRules(b.Checkpoint, client.Rules{AllowNoWitnesses: c.cfg.Policy.Development})
	if err != nil {
		return cause
	}
	seal, m := evidence.LeafAt(uint64(at.Size-1), b.Seal.Leaf, b.Seal.Hashes), c.meta()
	path, err := c.keepEvidence(of, fmt.Sprintf("unsealed-%x", at.Root[:8]), func() (*evidence.Evidence, error) {
		return evidence.NewUnsealed(at.Signed, seal, m)
	})
	if e, parsed := entry.Parse(b.Entry); err != nil && parsed == nil {
		s := evidence.Sealed{Note: at.Signed, Seal: seal, Index: evidence.Lookup{Value: b.Version.Value, Proof: b.Version.Proof,
			Key: index.VersionKey(e.Subject.Registry, e.Subject.Name, e.Subject.Version)}}
		path, err = c.keepEvidence(of, fmt.Sprintf("index-%x", entry.LeafHash(b.Entry)), func() (*evidence.Evidence, error) {
			l := evidence.LeafAt(b.Index, b.Entry, b.Hashes)
			if x, err := evidence.NewIndexOmission(s, l, m); err == nil {
				return x, nil
			}
			if x, err := evidence.NewIndexPhantom(s, &l, m); err == nil {
				return x, nil
			}
			return evidence.NewIndexPhantom(s, nil, m)
		})
	}
	if err != nil {
		return cause // it convicts nobody
	}
	refusal.What += "; the evidence is " + path
	return refusal
}

func (c *Checker) meta() evidence.Meta {
	return evidence.Meta{Observed: c.cfg.Now(), Sources: []string{"cratelog client"}}
}

// writeEvidence writes evidence about an entry, once for each entry and what: it returns where.
func (c *Checker) writeEvidence(it *item, what string,
	arrange func(leaf evidence.Leaf, program []byte, m evidence.Meta) (*evidence.Evidence, error)) (string, error) {
	r := it.result
	return c.keepEvidence(it.current.source, fmt.Sprintf("%s-%x", what, entry.LeafHash(r.EntryBytes)), func() (*evidence.Evidence, error) {
		prog, _ := c.proofs.Program(r.Program)
		text, err := prog.Marshal()
		if err != nil {
			return nil, err
		}
		b, err := client.ParseBundle(it.bundle)
		if err != nil {
			return nil, err
		}
		return arrange(evidence.LeafAt(r.Index, r.EntryBytes, b.Hashes), text, c.meta())
	})
}

// keepEvidence writes evidence against a log, or of one of its entries, once for each name, if it convicts: it
// returns where.
func (c *Checker) keepEvidence(of *source, name string, arrange func() (*evidence.Evidence, error)) (string, error) {
	dir := filepath.Join(c.heads.dir(of.origin), name)
	there, _ := os.ReadDir(dir) // what is not seen is written again
	for _, f := range there {
		if strings.HasSuffix(f.Name(), fileExt) {
			return filepath.Join(dir, f.Name()), nil
		}
	}
	e, err := arrange()
	if err == nil {
		err = convicts(e, of.trust.Policy, c.proofs)
	}
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", err
	}
	return evidence.Write(dir, e)
}

// convicts checks evidence as a stranger would, with the keys of a trust file.
func convicts(e *evidence.Evidence, trust *client.Policy, pv entry.Verifier) error {
	keys, err := trust.Keys()
	if err != nil {
		return err
	}
	c, err := evidence.Verify(e, keys, pv)
	if err == nil && !c.Convicts() {
		err = errors.New("it convicts no one")
	}
	return err
}
