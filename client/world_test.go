package client

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"
	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/fixture"
)

// now is the time at which all cosigners of these tests sign.
var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func fatalIfErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func seed(name string) []byte { h := sha256.Sum256([]byte("test seed " + name)); return h[:] }

func edKey(name string) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(seed(name)) }

// key signs notes, with the vkey to verify them.
type key struct {
	name string
	vkey string
	id   uint32
	sign func(text []byte) ([]byte, error)
}

func (k *key) Name() string                     { return k.name }
func (k *key) KeyHash() uint32                  { return k.id }
func (k *key) Sign(text []byte) ([]byte, error) { return k.sign(text) }

// logKey is a key of type 0x01.
func logKey(t testing.TB, name string) *key {
	t.Helper()
	priv := edKey(name)
	v, err := note.NewEd25519VerifierKey(name, priv.Public().(ed25519.PublicKey))
	fatalIfErr(t, err)
	nv, err := note.NewVerifier(v)
	fatalIfErr(t, err)
	return &key{name, v, nv.KeyHash(), func(text []byte) ([]byte, error) { return ed25519.Sign(priv, text), nil }}
}

// witnessKey is a key of type 0x04 that signs at the time at, written down from
// the specification and not from the library that verifies it.
func witnessKey(t testing.TB, name string, at time.Time) *key {
	t.Helper()
	priv := edKey(name)
	v, err := torchwood.NewCosignatureVerifierFromKey(name, priv.Public())
	fatalIfErr(t, err)
	return &key{name, v.String(), v.KeyHash(), func(text []byte) ([]byte, error) {
		ts := uint64(at.Unix())
		msg := fmt.Sprintf("cosignature/v1\ntime %d\n%s", ts, text)
		return append(binary.BigEndian.AppendUint64(nil, ts), ed25519.Sign(priv, []byte(msg))...), nil
	}}
}

// mldsaKey is a key of type 0x06. The zero time is signed as timestamp 0.
func mldsaKey(t testing.TB, name string, at time.Time) *key {
	t.Helper()
	priv, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed(name))
	fatalIfErr(t, err)
	v, err := torchwood.NewCosignatureVerifierFromKey(name, priv.PublicKey())
	fatalIfErr(t, err)
	return &key{name, v.String(), v.KeyHash(), func(text []byte) ([]byte, error) {
		c, err := torchwood.ParseCheckpoint(string(text))
		if err != nil {
			return nil, err
		}
		var ts uint64
		if !at.IsZero() {
			ts = uint64(at.Unix())
		}
		m := append([]byte("subtree/v1\n\x00"), byte(len(name)))
		m = binary.BigEndian.AppendUint64(append(m, name...), ts)
		m = append(append(m, byte(len(c.Origin))), c.Origin...)
		m = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(m, 0), uint64(c.N))
		sig, err := priv.Sign(nil, append(m, c.Hash[:]...), nil)
		return append(binary.BigEndian.AppendUint64(nil, ts), sig...), err
	}}
}

// tree is a log's Merkle tree in memory.
type tree struct {
	n      int64
	hashes []tlog.Hash
	leaves [][]byte
}

func (tr *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = tr.hashes[x]
	}
	return out, nil
}

func newTree(t testing.TB, leaves ...[]byte) *tree {
	t.Helper()
	tr := new(tree)
	for _, l := range leaves {
		h, err := tlog.StoredHashes(tr.n, l, tr)
		fatalIfErr(t, err)
		tr.hashes, tr.leaves, tr.n = append(tr.hashes, h...), append(tr.leaves, l), tr.n+1
	}
	return tr
}

func (tr *tree) root(t testing.TB, size int64) tlog.Hash {
	t.Helper()
	h, err := tlog.TreeHash(size, tr)
	fatalIfErr(t, err)
	return h
}

// text is the checkpoint's text for the first size entries.
func (tr *tree) text(t testing.TB, origin string, size int64) string {
	t.Helper()
	return torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: size, Hash: tr.root(t, size)}}.String()
}

// proof is the bundle of an entry under the first size entries.
func (tr *tree) proof(t testing.TB, index, size int64, signed []byte) *Proof {
	t.Helper()
	rp, err := tlog.ProveRecord(size, index, tr)
	fatalIfErr(t, err)
	p := &Proof{Index: uint64(index), Checkpoint: signed, Extra: tr.leaves[index]}
	for _, h := range rp {
		p.Hashes = append(p.Hashes, h)
	}
	return p
}

func (tr *tree) consistency(t testing.TB, old, size int64) [][32]byte {
	t.Helper()
	tp, err := tlog.ProveTree(size, old, tr)
	fatalIfErr(t, err)
	out := make([][32]byte, len(tp))
	for i, h := range tp {
		out[i] = h
	}
	return out
}

func sign(t testing.TB, text string, signers ...*key) []byte {
	t.Helper()
	s := make([]note.Signer, len(signers))
	for i, k := range signers {
		s[i] = k
	}
	b, err := note.Sign(&note.Note{Text: text}, s...)
	fatalIfErr(t, err)
	return b
}

func marshal(t testing.TB, p *Proof) []byte {
	t.Helper()
	b, err := p.Marshal()
	fatalIfErr(t, err)
	return b
}

func parsePolicy(t testing.TB, lines ...string) *Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(strings.Join(lines, "\n") + "\n"))
	fatalIfErr(t, err)
	return p
}

// fakeVerifier believes exactly the proofs it was told of: the bytes, for the
// subject and claim they were made for. It objects to everything else.
type fakeVerifier struct {
	program [32]byte
	known   map[string]bool
}

func (f *fakeVerifier) key(e *entry.Entry) string {
	id, err := e.Identity()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x %x", id, e.Proof.Parts)
}

func (f *fakeVerifier) Check(e *entry.Entry) error {
	if e.Proof.Program != f.program {
		return fmt.Errorf("program: %w", entry.ErrUnknownProgram)
	}
	if k := f.key(e); k == "" || !f.known[k] {
		return fmt.Errorf("not a proof of this claim")
	}
	return nil
}

// world is a log of seven entries with three witnesses and a policy.
type world struct {
	origin        string
	log           *key
	w1, w2, w3    *key // w3 is ML-DSA-44
	policy        *Policy
	policyText    string
	tree          *tree
	pv            *fakeVerifier
	raw, inner    []byte // hello-proof 0.1.0 with a dependency, entry 2; hello-inner 0.1.0, entry 5
	entry, inEnt  *entry.Entry
	bundle, inBnd []byte // cosigned by all three
	rules         Rules
}

const helloIndex, innerIndex = 2, 5

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		origin: "example.com/log",
		log:    logKey(t, "example.com/log"),
		w1:     witnessKey(t, "w1.example", now),
		w2:     witnessKey(t, "w2.example", now),
		w3:     mldsaKey(t, "w3.example", now),
		pv:     &fakeVerifier{program: sha256.Sum256([]byte("program")), known: make(map[string]bool)},
		raw:    withDependency(t, fixture.Crate(t, "hello-proof", "0.1.0")),
		inner:  fixture.Crate(t, "hello-inner", "0.1.0"),
		rules:  Rules{AllowUnproven: []string{"Cargo.lock", "Cargo.toml"}},
	}
	w.policyText = fmt.Sprintf("log %s\nwitness W1 %s\nwitness W2 %s\nwitness W3 %s\ngroup G all W1 W2 W3\nquorum G\n",
		w.log.vkey, w.w1.vkey, w.w2.vkey, w.w3.vkey)
	var err error
	w.policy, err = ParsePolicy([]byte(w.policyText))
	fatalIfErr(t, err)
	w.entry = w.prove(t, w.raw, "hello-proof", "")
	w.inEnt = w.prove(t, w.inner, "hello-inner", "crates/inner")
	var leaves [][]byte
	for i := range 7 {
		leaves = append(leaves, fmt.Appendf(nil, "leaf %d", i))
	}
	leaves[helloIndex], err = w.entry.Marshal()
	fatalIfErr(t, err)
	leaves[innerIndex], err = w.inEnt.Marshal()
	fatalIfErr(t, err)
	w.tree = newTree(t, leaves...)
	signed := w.checkpoint(t, 7, w.log, w.w1, w.w2, w.w3)
	w.bundle = marshal(t, w.tree.proof(t, helloIndex, 7, signed))
	w.inBnd = marshal(t, w.tree.proof(t, innerIndex, 7, signed))
	return w
}

func (w *world) checkpoint(t testing.TB, size int64, signers ...*key) []byte {
	t.Helper()
	return sign(t, w.tree.text(t, w.origin, size), signers...)
}

// prove makes an entry that is true, with a proof that w.pv believes.
func (w *world) prove(t testing.TB, raw []byte, name, path string) *entry.Entry {
	t.Helper()
	c, err := crate.Read(raw, name, "0.1.0", crate.DefaultLimits)
	fatalIfErr(t, err)
	src := &entry.Source{Commit: fixture.Commit(t, "0.1.0"), Path: path}
	if c.Derive(nil) != nil {
		src.Unproven = []string{"Cargo.toml"}
	}
	l, err := c.List(src)
	fatalIfErr(t, err)
	src.Files = l.Digest
	return w.believe(&entry.Entry{Subject: entry.Subject{Name: name, Version: "0.1.0", SHA256: c.SHA256}, Claim: src,
		Proof: entry.Proof{Program: w.pv.program, Parts: [][]byte{[]byte("proof of " + name)}}})
}

func (w *world) believe(e *entry.Entry) *entry.Entry {
	w.pv.known[w.pv.key(e)] = true
	return e
}

// logged returns the bundle of e alone, in a tree where it is entry 2, signed
// and cosigned in full: everything about it is well but what is wrong with e.
func (w *world) logged(t testing.TB, e *entry.Entry) []byte {
	t.Helper()
	b, err := e.Marshal()
	fatalIfErr(t, err)
	return w.loggedBytes(t, b)
}

func (w *world) loggedBytes(t testing.TB, leaf []byte) []byte {
	t.Helper()
	leaves := slices.Clone(w.tree.leaves)
	leaves[helloIndex] = leaf
	tr := newTree(t, leaves...)
	signed := sign(t, tr.text(t, w.origin, 7), w.log, w.w1, w.w2, w.w3)
	p := tr.proof(t, helloIndex, 7, signed)
	return marshal(t, p)
}

func (w *world) verify(bundle []byte) (*Result, error) {
	return Verify(w.raw, bundle, w.policy, w.pv, w.rules)
}

// withCheckpoint replaces the checkpoint of the world's bundle.
func (w *world) withCheckpoint(t testing.TB, signed []byte) []byte {
	t.Helper()
	p, err := ParseProof(w.bundle)
	fatalIfErr(t, err)
	p.Checkpoint = signed
	return marshal(t, p)
}

// sigLine finds the signature line of a key in a note or a bundle.
func sigLine(t testing.TB, b []byte, name string) []byte {
	t.Helper()
	i := bytes.Index(b, []byte("— "+name+" "))
	if i < 0 {
		t.Fatalf("no signature line of %s", name)
	}
	end := bytes.IndexByte(b[i:], '\n')
	return b[i : i+end+1]
}

// spoil changes a signature line inside of its signature; it stays base64.
func spoil(line []byte) {
	c := &line[len(line)-20]
	if *c == 'A' {
		*c = 'B'
	} else {
		*c = 'A'
	}
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// withDependency returns a .crate whose Cargo.toml alone has a dependency more: it
// can only be claimed as unproven.
func withDependency(t testing.TB, raw []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(raw))
	fatalIfErr(t, err)
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	r, tw := tar.NewReader(z), tar.NewWriter(zw)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		fatalIfErr(t, err)
		content, err := io.ReadAll(r)
		fatalIfErr(t, err)
		if strings.HasSuffix(h.Name, "/Cargo.toml") {
			content = append(content, "\n[dependencies.proc-macro1]\nversion = \"1\"\n"...)
			h.Size = int64(len(content))
		}
		fatalIfErr(t, tw.WriteHeader(h))
		_, err = tw.Write(content)
		fatalIfErr(t, err)
	}
	fatalIfErr(t, errors.Join(tw.Close(), zw.Close()))
	return out.Bytes()
}
