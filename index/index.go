// Package index is the map that a log's leaves make: which checksum a crate version has in this log,
// and which entries it holds of a crate, or of a binary. Its root stands in the log's seals, so that a
// reader, with a short proof, knows what the log holds, and also what it does not hold.
//
// # Rules, version 1
//
// The map is a function of the bytes of the leaves and of their order, and of nothing else; so whoever
// has the leaves has the map. A leaf at index i that is an entry inserts, in this order,
//
//	version key -> checksum || number    ; 40 bytes
//	entry key   -> number                ; 8 bytes
//	build key   -> result || root || number  ; 72 bytes; of a build claim only
//
// where a key that stands already keeps its value: the first wins. Number is i, of 64 bits, most
// significant byte first. Seals, and bytes that are no leaf, insert nothing.
//
// So a version has one checksum, that of the first entry about it, whatever is logged after it. An
// entry whose subject has another checksum than the version key is *void*: nothing that rests on it
// counts. It has an entry key all the same, for its crate's owner to see.
//
// A start at index 0 comes first: for each version key of the log before it, in which the most
// significant bit of the number is then set. It says that the number counts in a log before
// this one. The root of the map that only these keys make is in the start.
//
// # Keys
//
// A key has 97 bytes: a kind and three parts of 32.
//
//	version key = 0x00 || name || version || 0 (32 bytes)
//	entry key   = 0x00 || name || version || entry
//	build key   = 0x01 || binary || request || member
//
//	name    = SHA-256("cratelog/index/name/v1\n" || registry || "\n" || canonical name)
//	version = SHA-256("cratelog/index/version/v1\n" || canonical version)
//	entry   = SHA-256("cratelog/index/entry/v1\n" || identity || program)
//	binary  = SHA-256("cratelog/index/binary/v1\n" || checksum || target || "\n" || binary's name)
//	member  = SHA-256("cratelog/index/member/v1\n" || tag || root)
//
// The canonical name is in lower case with "_" for "-", and the canonical version is without its
// build metadata, because registries take crates that differ in no more for the same. The registry is
// that of the entry's subject, byte for byte. Request, result, root and tag are those of the claim.
//
// So all of a crate stands under the first 33 bytes, all of a version under the first 65, and all that
// builders say of a binary under the first 33.
//
// # Tree and proofs
//
// The map is a Merkle Patricia tree in the format of torchwood's package mpt (v0.10.0), whose keys
// happen to have one length here. With H for SHA-256, and numbers as unsigned varints:
//
//	empty tree: H("")
//	leaf:       H(0x00 || len(key) || key || len(value) || value)
//	inner node: H(0x01 || bit || left || right)
//
// An inner node stands where some keys agree before a bit and differ at it; bit 0 is the most
// significant of the first byte, and keys in which it is 0 stand left. A proof is the bits and the
// siblings' hashes on the way from what is proven up to the root:
//
//	path = bit || hash || ...            ; bits strictly descending
//
// Of a key that stands there the proof is the path from its leaf, of one that does not it is the
// leaf to which the search for it leads, as len(key) || key || len(value) || value, and the path from
// there. In an empty tree it is empty. Of a prefix it is the path from the subtree of all keys under
// it, which whoever checks it makes of the rows; or, where there is none, the proof that a key does
// not stand there, for the prefix continued by zero bits to a whole byte, then 0x00 and then bytes
// 0xff. There is one proof of each statement.
//
// # What a proof shows of a root that lies
//
// A log can sign the root of a tree in which keys stand at wrong places, or which is none. Whoever has
// the leaves sees that the root is wrong. But proofs do not rest on it: under any root whatever, a key
// has at most one value, or is shown not to stand there; and where a prefix has rows, no other key under
// it can be shown. It takes one step more to show that a prefix has none: the one leaf does not tell
// what stands beside it. See Prefix.Around. And no proof shows that a leaf makes a row: who relies on
// the number in it looks at that leaf, or at the start, if the number counts in a log before this one.
package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
)

// KeySize is the length of every key in bytes.
const KeySize = 97

const keyBits = 8 * KeySize

// maxValue is the largest size of a value in bytes.
const maxValue = 72

// Key is a key of the map.
type Key [KeySize]byte

// Hash is the root of a map, or of a subtree.
type Hash = [sha256.Size]byte

// bit returns bit i of a key.
func (k *Key) bit(i int) int { return int(k[i/8]>>(7-i%8)) & 1 }

// Row is one key with its value.
type Row struct {
	Key   Key
	Value []byte
}

// Prefix stands for all keys that begin with the same bits.
type Prefix struct {
	key  Key // of which the first bits count; the others are zero
	bits int
}

// NewPrefix returns the prefix of the first bits of a key. It fails if there are not so many.
func NewPrefix(k Key, bits int) (Prefix, error) {
	if bits < 0 || bits > keyBits {
		return Prefix{}, fmt.Errorf("a key has no first %d bits", bits)
	}
	p := Prefix{bits: bits}
	copy(p.key[:bits/8], k[:])
	if bits%8 > 0 {
		p.key[bits/8] = k[bits/8] & (0xff << (8 - bits%8))
	}
	return p, nil
}

// Bits returns the number of bits, and Bytes the bits, in as few bytes as hold them.
func (p Prefix) Bits() int     { return p.bits }
func (p Prefix) Bytes() []byte { return bytes.Clone(p.key[:(p.bits+7)/8]) }

// Covers says whether a key begins with the prefix.
func (p Prefix) Covers(k Key) bool {
	q, _ := NewPrefix(k, p.bits)
	return q == p
}

// Halves returns the two prefixes of one bit more.
func (p Prefix) Halves() (zero, one Prefix, err error) {
	if p.bits >= keyBits {
		return p, p, errors.New("no two keys have all bits in common")
	}
	zero, one = p, p
	zero.bits, one.bits = p.bits+1, p.bits+1
	one.key[p.bits/8] |= 1 << (7 - p.bits%8)
	return zero, one, nil
}

// Padded is the key that a search for the prefix looks for.
func (p Prefix) Padded() Key {
	k := p.key
	for i := (p.bits+7)/8 + 1; i < KeySize; i++ {
		k[i] = 0xff
	}
	return k
}

// node is a *Row, which is a leaf, or an *inner. One that a snapshot has is never changed.
type node interface{ sum() Hash }

// inner is a node with two children.
type inner struct {
	left, right node
	hash        Hash
	epoch       uint32 // of the map that made it: until the next snapshot, it is the map's own
	bit         uint16 // at which the keys to the left and to the right differ
	hashed      bool   // set by the first snapshot that has it
}

// child is the child on the way to a key, sibling the other one.
func (n *inner) child(k *Key) (child, sibling node) {
	if k.bit(int(n.bit)) == 0 {
		return n.left, n.right
	}
	return n.right, n.left
}

// Map is a map that grows. It is for one goroutine; its snapshots are for all.
type Map struct {
	root  node // nil: it is empty
	n     int
	epoch uint32
}

// Len returns the number of keys.
func (m *Map) Len() int { return m.n }

// Get returns the value of a key, and whether the key stands there.
func (m *Map) Get(k Key) ([]byte, bool) { return get(m.root, k) }

func get(n node, k Key) ([]byte, bool) {
	if n == nil {
		return nil, false
	}
	if r := search(n, &k); r.Key == k {
		return r.Value, true
	}
	return nil, false
}

// search returns the leaf to which a key leads.
func search(n node, k *Key) *Row {
	for {
		in, ok := n.(*inner)
		if !ok {
			return n.(*Row)
		}
		n, _ = in.child(k)
	}
}

// Insert adds a key, unless it stands there: then nothing changes, and it returns false. The value is
// not copied, and has 1 to 72 bytes.
func (m *Map) Insert(k Key, value []byte) bool {
	if len(value) < 1 || len(value) > maxValue {
		panic("index: a value has 1 to 72 bytes") // rules.go makes them
	}
	leaf := &Row{k, value}
	if m.root == nil {
		m.root, m.n = leaf, 1
		return true
	}
	at := differ(&search(m.root, &k).Key, &k)
	if at == keyBits {
		return false
	}
	m.root = m.insert(m.root, leaf, at)
	m.n++
	return true
}

// insert puts a leaf into a subtree all of whose keys differ from it at bit at first, or before.
func (m *Map) insert(n node, leaf *Row, at int) node {
	in, ok := n.(*inner)
	if !ok || int(in.bit) > at {
		if leaf.Key.bit(at) == 0 {
			return &inner{left: leaf, right: n, bit: uint16(at), epoch: m.epoch}
		}
		return &inner{left: n, right: leaf, bit: uint16(at), epoch: m.epoch}
	}
	if in.epoch != m.epoch {
		in = &inner{left: in.left, right: in.right, bit: in.bit, epoch: m.epoch}
	}
	if leaf.Key.bit(int(in.bit)) == 0 {
		in.left = m.insert(in.left, leaf, at)
	} else {
		in.right = m.insert(in.right, leaf, at)
	}
	return in
}

// differ returns the first bit in which two keys differ, keyBits if there is none.
func differ(a, b *Key) int {
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			return 8*i + bits.LeadingZeros8(x)
		}
	}
	return keyBits
}

// Snapshot returns the map as it is now. It costs the hashes of what changed since the last one.
func (m *Map) Snapshot() *Snapshot {
	s := &Snapshot{root: m.root, n: m.n, hash: emptyHash}
	if m.root != nil {
		s.hash = m.root.sum()
	}
	m.epoch++
	return s
}

var emptyHash = sha256.Sum256(nil)

// sum returns a subtree's hash, and keeps it.
func (n *inner) sum() Hash {
	if !n.hashed {
		n.hash, n.hashed = innerHash(int(n.bit), n.left.sum(), n.right.sum()), true
	}
	return n.hash
}

// sum returns a leaf's hash. It is not kept: a proof needs that of one leaf, seldom of more.
func (r *Row) sum() Hash { return leafHash(&r.Key, r.Value) }

func leafHash(k *Key, value []byte) Hash {
	b := make([]byte, 1, 4+KeySize+maxValue)
	return sha256.Sum256(appendLeaf(b, k, value))
}

func appendLeaf(b []byte, k *Key, value []byte) []byte {
	b = append(binary.AppendUvarint(b, KeySize), k[:]...)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

func innerHash(bit int, left, right Hash) Hash {
	b := append(make([]byte, 0, 3+2*len(left)), 1)
	b = binary.AppendUvarint(b, uint64(bit))
	return sha256.Sum256(append(append(b, left[:]...), right[:]...))
}

// Snapshot is a map at one time. Its methods may be called concurrently.
type Snapshot struct {
	root node
	n    int
	hash Hash
}

// Root returns the map's root.
func (s *Snapshot) Root() Hash { return s.hash }

// Len returns the number of keys.
func (s *Snapshot) Len() int { return s.n }

// Get returns the value of a key, and whether the key stands there.
func (s *Snapshot) Get(k Key) ([]byte, bool) { return get(s.root, k) }

// Lookup returns the value of a key, and nil if it does not stand there, with the proof of either.
func (s *Snapshot) Lookup(k Key) (value, proof []byte) {
	if s.root == nil {
		return nil, []byte{}
	}
	end, path := walk(s.root, &k, keyBits)
	leaf := end.(*Row)
	if leaf.Key == k {
		return leaf.Value, path
	}
	return nil, append(appendLeaf(nil, &leaf.Key, leaf.Value), path...)
}

// walk follows the bits of a key before a limit down from n, and returns where that ends, and the path
// from there up.
func walk(n node, k *Key, limit int) (end node, path []byte) {
	type step struct {
		bit     int
		sibling Hash
	}
	var steps []step
	for {
		in, ok := n.(*inner)
		if !ok || int(in.bit) >= limit {
			break
		}
		child, sibling := in.child(k)
		steps, n = append(steps, step{int(in.bit), sibling.sum()}), child
	}
	path = make([]byte, 0, 34*len(steps))
	for _, s := range slices.Backward(steps) {
		path = append(binary.AppendUvarint(path, uint64(s.bit)), s.sibling[:]...)
	}
	return n, path
}

// Prefix returns the proof of what stands under a prefix, and the hash of the subtree there, which is
// that of an empty map if nothing does. The rows are those of Rows.
func (s *Snapshot) Prefix(p Prefix) (Hash, []byte) {
	sub, path := s.under(p)
	if sub != nil {
		return sub.sum(), path
	}
	_, proof := s.Lookup(p.Padded())
	return emptyHash, proof
}

// under returns the subtree of all keys under a prefix, nil if there is none, and its path.
func (s *Snapshot) under(p Prefix) (node, []byte) {
	if s.root == nil {
		return nil, nil
	}
	sub, path := walk(s.root, &p.key, p.bits)
	if !p.Covers(search(sub, &p.key).Key) {
		return nil, nil
	}
	return sub, path
}

// Rows yields the rows under a prefix in the order of their keys. They must not be changed.
func (s *Snapshot) Rows(p Prefix) iter.Seq[Row] {
	sub, _ := s.under(p)
	return func(yield func(Row) bool) {
		if sub != nil {
			each(sub, yield)
		}
	}
}

func each(n node, yield func(Row) bool) bool {
	if in, ok := n.(*inner); ok {
		return each(in.left, yield) && each(in.right, yield)
	}
	return yield(*n.(*Row))
}

// ErrProof: a proof does not show what it is said to.
var ErrProof = errors.New("the proof of the map does not hold")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProof, fmt.Sprintf(format, args...))
}

// VerifyLookup returns nil if a proof shows that the map with a root has this value for a key, or, if
// the value is nil, that the key does not stand there. Else the error is ErrProof.
func VerifyLookup(root Hash, k Key, value, proof []byte) error {
	if value == nil {
		return verifyAbsence(root, Prefix{k, keyBits}, proof)
	}
	if len(value) < 1 || len(value) > maxValue {
		return wrong("a value has %d bytes, not 1 to %d", len(value), maxValue)
	}
	return climb(root, leafHash(&k, value), &k, keyBits, proof)
}

// verifyAbsence wants a proof that no key under a prefix stands in the map.
func verifyAbsence(root Hash, p Prefix, proof []byte) error {
	if root == emptyHash {
		if len(proof) > 0 {
			return wrong("%d bytes prove what an empty map holds", len(proof))
		}
		return nil
	}
	other, value, path, err := parseLeaf(proof)
	if err != nil {
		return err
	}
	if p.Covers(other) {
		return wrong("it leads to a key that is said not to be there")
	}
	padded := p.Padded()
	return climb(root, leafHash(&other, value), &other, keyBits, path, padded)
}

func parseLeaf(proof []byte) (k Key, value, path []byte, err error) {
	n, rest, err := uvarint(proof)
	if err == nil && (n != KeySize || len(rest) < KeySize) {
		err = wrong("its key has not %d bytes", KeySize)
	}
	if err != nil {
		return k, nil, nil, err
	}
	copy(k[:], rest)
	n, rest, err = uvarint(rest[KeySize:])
	if err == nil && (n < 1 || n > maxValue || uint64(len(rest)) < n) {
		err = wrong("its value has not the length that it says, or not 1 to %d bytes", maxValue)
	}
	if err != nil {
		return k, nil, nil, err
	}
	return k, rest[:n], rest[n:], nil
}

// climb follows a path from a hash up to the root. The first bit must be less than limit, and all keys
// of agree must lead the same way as k.
func climb(root, h Hash, k *Key, limit int, path []byte, agree ...Key) error {
	last := limit
	for len(path) > 0 {
		b, rest, err := uvarint(path)
		if err != nil {
			return err
		}
		if b >= uint64(last) || len(rest) < len(h) {
			return wrong("its bits do not descend, or it ends within a hash")
		}
		bit, sibling := int(b), Hash(rest)
		last, path = bit, rest[len(h):]
		for i := range agree {
			if agree[i].bit(bit) != k.bit(bit) {
				return wrong("at bit %d it does not lead the way of the key", bit)
			}
		}
		if k.bit(bit) == 0 {
			h = innerHash(bit, h, sibling)
		} else {
			h = innerHash(bit, sibling, h)
		}
	}
	if h != root {
		return wrong("it does not lead to the root %x", root[:8])
	}
	return nil
}

// uvarint reads a number in its shortest encoding.
func uvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, nil, wrong("a number is not there, or not in its shortest form")
	}
	return v, b[n:], nil
}

// VerifyPrefix returns nil if a proof shows that these rows, in the order of their keys, are all that the
// map with a root has under a prefix. Else the error is ErrProof.
func VerifyPrefix(root Hash, p Prefix, rows []Row, proof []byte) error {
	if len(rows) == 0 {
		return verifyAbsence(root, p, proof)
	}
	for i := range rows {
		switch r := &rows[i]; {
		case !p.Covers(r.Key):
			return wrong("row %d is not under the prefix", i)
		case i > 0 && bytes.Compare(rows[i-1].Key[:], r.Key[:]) >= 0:
			return wrong("the rows %d and %d are not in the order of their keys", i-1, i)
		case len(r.Value) < 1 || len(r.Value) > maxValue:
			return wrong("row %d has a value of %d bytes", i, len(r.Value))
		}
	}
	return climb(root, treeHash(rows), &p.key, p.bits, proof)
}

// VerifyParts is VerifyPrefix of rows that were shown in parts, each under a longer prefix. The proof is that
// of any part that has rows.
func VerifyParts(root Hash, p Prefix, rows []Row, proof []byte) error {
	_, path, err := above(proof, p.bits)
	if err == nil && len(rows) == 0 {
		err = wrong("no part has rows")
	}
	if err != nil {
		return err
	}
	return VerifyPrefix(root, p, rows, path)
}

// Around returns the prefix of all that stands where the search for p ends, if a proof has shown that nothing
// stands under p, and the map is not empty. This prefix has rows, and the proof that they are all is one, under
// any root whatever, that p has none: what stood under p would stand beside them. Errors are ErrProof.
func (p Prefix) Around(proof []byte) (Prefix, error) {
	other, _, path, err := parseLeaf(proof)
	if err != nil {
		return Prefix{}, err
	}
	bit, _, err := above(path, p.bits)
	if err != nil {
		return Prefix{}, err
	}
	return NewPrefix(other, bit+1)
}

// above returns what of a path is above a bit, and its first bit, -1 if there is none.
func above(path []byte, limit int) (int, []byte, error) {
	for len(path) > 0 {
		bit, rest, err := uvarint(path)
		if err != nil {
			return 0, nil, err
		}
		if bit < uint64(limit) {
			return int(bit), path, nil
		}
		if len(rest) < len(emptyHash) {
			return 0, nil, wrong("it ends within a hash")
		}
		path = rest[len(emptyHash):]
	}
	return -1, nil, nil
}

// treeHash returns the root of the map of some rows, which are in the order of their keys.
func treeHash(rows []Row) Hash {
	type open struct { // a subtree, and the bit at which the next one differs from it
		hash Hash
		bit  int
	}
	var stack []open
	for i := range rows {
		h, next := leafHash(&rows[i].Key, rows[i].Value), -1
		if i+1 < len(rows) {
			next = differ(&rows[i].Key, &rows[i+1].Key)
		}
		for len(stack) > 0 && stack[len(stack)-1].bit > next {
			top := stack[len(stack)-1]
			stack, h = stack[:len(stack)-1], innerHash(top.bit, top.hash, h)
		}
		stack = append(stack, open{h, next})
	}
	return stack[0].hash
}

// Compare orders rows by their keys.
func (r Row) Compare(o Row) int { return bytes.Compare(r.Key[:], o.Key[:]) }
