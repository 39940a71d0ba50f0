package evidence

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"filippo.io/mldsa"
	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const origin = "example.com/log"

var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

var meta = Meta{Observed: now.Add(time.Hour), Sources: []string{"https://log.example/checkpoint"}}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// key signs notes, with the vkey to verify them.
type key struct {
	name, vkey string
	id         uint32
	sign       func(text []byte) ([]byte, error)
}

func (k *key) Name() string                     { return k.name }
func (k *key) KeyHash() uint32                  { return k.id }
func (k *key) Sign(text []byte) ([]byte, error) { return k.sign(text) }
func (k *key) String() string                   { return fmt.Sprintf("%s+%08x", k.name, k.id) }

func seed(name string) []byte { h := sha256.Sum256([]byte("test seed " + name)); return h[:] }

func logKey(t testing.TB, name, secret string) *key {
	t.Helper()
	priv := ed25519.NewKeyFromSeed(seed(secret))
	vkey, err := note.NewEd25519VerifierKey(name, priv.Public().(ed25519.PublicKey))
	fatalIf(t, err)
	v, err := note.NewVerifier(vkey)
	fatalIf(t, err)
	return &key{name, vkey, v.KeyHash(), func(text []byte) ([]byte, error) { return ed25519.Sign(priv, text), nil }}
}

func witnessKey(t testing.TB, name string) *key {
	t.Helper()
	priv := ed25519.NewKeyFromSeed(seed(name))
	v, err := torchwood.NewCosignatureVerifierFromKey(name, priv.Public())
	fatalIf(t, err)
	return &key{name, v.String(), v.KeyHash(), func(text []byte) ([]byte, error) {
		msg := fmt.Sprintf("cosignature/v1\ntime %d\n%s", now.Unix(), text)
		return append(binary.BigEndian.AppendUint64(nil, uint64(now.Unix())), ed25519.Sign(priv, []byte(msg))...), nil
	}}
}

func mldsaKey(t testing.TB, name string) *key {
	t.Helper()
	priv, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed(name))
	fatalIf(t, err)
	s, err := torchwood.NewCosignatureSigner(name, priv)
	fatalIf(t, err)
	return &key{name, s.Verifier().String(), s.KeyHash(), s.Sign}
}

// tree is a log's Merkle tree in memory.
type tree struct {
	hashes []tlog.Hash
	leaves [][]byte
}

func (tr *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= int64(len(tr.hashes)) {
			return nil, fmt.Errorf("there is no hash %d", x)
		}
		out[i] = tr.hashes[x]
	}
	return out, nil
}

func newTree(t testing.TB, leaves ...[]byte) *tree {
	t.Helper()
	tr := new(tree)
	for i, l := range leaves {
		h, err := tlog.StoredHashes(int64(i), l, tr)
		fatalIf(t, err)
		tr.hashes, tr.leaves = append(tr.hashes, h...), append(tr.leaves, l)
	}
	return tr
}

// with returns a tree with another leaf at one place.
func (tr *tree) with(t testing.TB, index int, leaf []byte) *tree {
	t.Helper()
	leaves := slices.Clone(tr.leaves)
	leaves[index] = leaf
	return newTree(t, leaves...)
}

func (tr *tree) root(t testing.TB, size int64) tlog.Hash {
	t.Helper()
	if size == 0 {
		return sha256.Sum256(nil)
	}
	h, err := tlog.TreeHash(size, tr)
	fatalIf(t, err)
	return h
}

func (tr *tree) leaf(t testing.TB, index, size int64) Leaf {
	t.Helper()
	l, err := NewLeaf(tr, size, index, tr.leaves[index])
	fatalIf(t, err)
	return l
}

func head(name string, size int64, root tlog.Hash) string {
	return torchwood.Checkpoint{Origin: name, Tree: tlog.Tree{N: size, Hash: root}}.String()
}

func sign(t testing.TB, text string, keys ...*key) []byte {
	t.Helper()
	var s []note.Signer
	for _, k := range keys {
		s = append(s, k)
	}
	b, err := note.Sign(&note.Note{Text: text}, s...)
	fatalIf(t, err)
	return b
}

func (tr *tree) note(t testing.TB, size int64, keys ...*key) []byte {
	t.Helper()
	return sign(t, head(origin, size, tr.root(t, size)), keys...)
}

// words are n leaves that no entry looks like.
func words(n int, salt string) [][]byte {
	var all [][]byte
	for i := range n {
		all = append(all, fmt.Appendf(nil, "leaf %d %s", i, salt))
	}
	return all
}
