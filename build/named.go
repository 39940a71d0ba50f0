package build

import (
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
)

const (
	namedRootDomain = "cratelog/build/set/named/v1\n"
	namedTagDomain  = "cratelog/build/tag/v1\n"
	statementHeader = "cratelog/build/v1\n"
)

// NamedProgram is the program of the entries that members sign with their names. It has no key: there
// is nothing to trust in it but the signature scheme.
var NamedProgram = sha256.Sum256([]byte("cratelog/program/v2\nnote\nbuild/1\n"))

// NamedTag returns the tag of a named member for a request.
func NamedTag(request [32]byte, vkey string) [32]byte {
	h := sha256.New()
	h.Write([]byte(namedTagDomain))
	h.Write(request[:])
	h.Write([]byte(vkey))
	return [32]byte(h.Sum(nil))
}

// Statement returns the text that a named member signs; the package comment shows it.
func Statement(request, result, root [32]byte) []byte {
	return fmt.Appendf(nil, "%srequest %x\nresult %x\nroot %x\n", statementHeader, request, result, root)
}

// Sign makes a named member's entry: of the subject and a copy of the claim that has the set's root and
// the member's tag. The signer has the private key of a vkey of the set. It is
// the caller who knows that the claim is true.
func Sign(signer crypto.Signer, vkey string, set *Set, subject entry.Subject, claim *entry.Build) (
	*entry.Entry, error) {
	if set.Kind != Named {
		return nil, fmt.Errorf("the set %s is %s: its members do not sign with their names", set.Name, set.Kind)
	}
	root, err := set.check()
	if err != nil {
		return nil, err
	}
	k, err := ParseVKey(vkey)
	if err != nil {
		return nil, err
	}
	vkeys := set.vkeys()
	index := slices.Index(vkeys, vkey)
	if index < 0 {
		return nil, fmt.Errorf("the set %s does not list the vkey of %s: ask who keeps the set to enroll it, or sign for "+
			"another set", set.Name, k.Name)
	}
	c := *claim
	request, err := c.Request(subject)
	if err != nil {
		return nil, err
	}
	path, err := proveLeaf(vkeys, index)
	if err != nil {
		return nil, err
	}
	c.Root, c.Tag = root, NamedTag(request, vkey)
	sig, err := k.Sign(signer, Statement(request, c.Result(), c.Root))
	if err != nil {
		return nil, err
	}
	e := &entry.Entry{Subject: subject, Claim: &c, Proof: entry.Proof{Program: NamedProgram,
		Parts: [][]byte{[]byte(vkey), sig, path}}}
	if _, err := VerifyNamed(e); err != nil { // what leaves is right
		return nil, err
	}
	return e, nil
}

// VerifyNamed returns the name of the member who says what an entry's build claim says: the one of the
// vkey that signed it, and that is in the set with the claim's root. Any error means that the
// proof is false. Whether the set is one to believe is the caller's affair.
func VerifyNamed(e *entry.Entry) (member string, err error) {
	c, ok := e.Claim.(*entry.Build)
	if !ok || c == nil {
		return "", errors.New("a named proof is one of a build claim, and this is another claim")
	}
	if e.Proof.Program != NamedProgram {
		return "", errors.New("the proof is not one of a named member")
	}
	request, err := c.Request(e.Subject)
	if err != nil {
		return "", err
	}
	if n := len(e.Proof.Parts); n != 3 {
		return "", fmt.Errorf("a named proof has 3 parts, and this one %d", n)
	}
	vkey := string(e.Proof.Parts[0])
	k, err := ParseVKey(vkey)
	if err != nil {
		return "", err
	}
	if err := checkLeaf(e.Proof.Parts[2], c.Root, vkey); err != nil {
		return "", err
	}
	if NamedTag(request, vkey) != c.Tag {
		return "", fmt.Errorf("the tag is not that of %s for this build", k.Name)
	}
	if !k.Verify(Statement(request, c.Result(), c.Root), e.Proof.Parts[1]) {
		return "", fmt.Errorf("the signature is not one of %s, or not of this claim", k.Name)
	}
	return k.Name, nil
}

func rootOf(size uint64, tree tlog.Hash) [32]byte {
	b := binary.BigEndian.AppendUint64([]byte(namedRootDomain), size)
	return sha256.Sum256(append(b, tree[:]...))
}

// treeOf holds the hashes of the RFC 6962 tree whose leaves are the vkeys.
func treeOf(vkeys []string) (tlog.HashReaderFunc, error) {
	var stored []tlog.Hash
	read := func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			out[i] = stored[at]
		}
		return out, nil
	}
	for i, vkey := range vkeys {
		more, err := tlog.StoredHashes(int64(i), []byte(vkey), tlog.HashReaderFunc(read))
		if err != nil {
			return nil, err
		}
		stored = append(stored, more...)
	}
	return read, nil
}

func namedRoot(vkeys []string) ([32]byte, error) {
	read, err := treeOf(vkeys)
	if err != nil {
		return [32]byte{}, err
	}
	tree, err := tlog.TreeHash(int64(len(vkeys)), read)
	if err != nil {
		return [32]byte{}, err
	}
	return rootOf(uint64(len(vkeys)), tree), nil
}

// proveLeaf makes the third part of a named proof.
func proveLeaf(vkeys []string, index int) ([]byte, error) {
	read, err := treeOf(vkeys)
	if err != nil {
		return nil, err
	}
	size := int64(len(vkeys))
	tree, err := tlog.TreeHash(size, read)
	if err != nil {
		return nil, err
	}
	path, err := tlog.ProveRecord(size, int64(index), read)
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(size))
	b = binary.BigEndian.AppendUint64(b, uint64(index))
	for _, h := range slices.Concat([]tlog.Hash{tree}, path) {
		b = append(b, h[:]...)
	}
	return b, nil
}

// checkLeaf checks the third part of a named proof.
func checkLeaf(part []byte, root [32]byte, vkey string) error {
	const head = 8 + 8 + tlog.HashSize
	if len(part) < head || (len(part)-head)%tlog.HashSize != 0 {
		return fmt.Errorf("the third part of a named proof has %d bytes, and must have %d and a multiple of %d", len(part),
			head, tlog.HashSize)
	}
	size, index := binary.BigEndian.Uint64(part), binary.BigEndian.Uint64(part[8:])
	if size < 1 || size > maxMembers || index >= size {
		return fmt.Errorf("the named proof is about member %d of %d; a set has 1 to %d", index, size, maxMembers)
	}
	tree := tlog.Hash(part[16:head])
	if rootOf(size, tree) != root {
		return errors.New("the named proof is one in a tree that has not the claim's root")
	}
	var path tlog.RecordProof
	for b := part[head:]; len(b) > 0; b = b[tlog.HashSize:] {
		path = append(path, tlog.Hash(b[:tlog.HashSize]))
	}
	if tlog.CheckRecord(path, int64(size), tree, int64(index), tlog.RecordHash([]byte(vkey))) != nil {
		return errors.New("the named proof does not show that the vkey is a member of the set with the claim's root")
	}
	return nil
}
