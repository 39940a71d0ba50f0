// Package roguelog is a log for tests and measurements that does what it is told:
// it has real keys and witnesses with real keys, serves tiles and checkpoints as
// c2sp.org/tlog-tiles asks, and signs whatever it should not. It checks nothing that
// it takes in.
package roguelog

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Tree is a list of leaves with their Merkle tree. It is not safe for concurrent use
// while it grows.
type Tree struct {
	leaves [][]byte
	hashes []tlog.Hash
}

// Append adds leaves.
func (t *Tree) Append(leaves ...[]byte) {
	for _, l := range leaves {
		h, err := tlog.StoredHashes(int64(len(t.leaves)), l, t)
		if err != nil {
			panic(err) // our own arithmetic
		}
		t.leaves, t.hashes = append(t.leaves, l), append(t.hashes, h...)
	}
}

// Fork returns a tree that begins with the first n leaves of t.
func (t *Tree) Fork(n int64) *Tree {
	out := &Tree{}
	out.Append(t.leaves[:n]...)
	return out
}

// Size is the number of leaves.
func (t *Tree) Size() int64 { return int64(len(t.leaves)) }

// Leaf returns one of them.
func (t *Tree) Leaf(i int64) []byte { return t.leaves[i] }

// ReadHashes implements tlog.HashReader.
func (t *Tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = t.hashes[x]
	}
	return out, nil
}

// Root is the root hash of the first n leaves.
func (t *Tree) Root(n int64) tlog.Hash {
	h, err := tlog.TreeHash(n, t)
	if err != nil {
		panic(err)
	}
	return h
}

// Witness cosigns what it is told to, and serves what it is told to.
type Witness struct {
	Name   string // in the policy
	VKey   string
	priv   ed25519.PrivateKey
	signer *torchwood.CosignatureSigner
	shown  []byte
}

// Log is a log with its witnesses. Its zero value is of no use; see New.
type Log struct {
	Origin    string
	VKey      string
	Witnesses []*Witness
	Tree      *Tree // for tests to append to

	key note.Signer
	now func() time.Time

	mu        sync.Mutex
	served    *Tree
	size      int64 // of served that is published
	shown     []byte
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

// New makes a log whose keys follow from its origin.
func New(origin string, witnesses int, now func() time.Time) (*Log, error) {
	return NewSeeded(origin, origin, witnesses, now)
}

// NewSeeded makes a log with other keys.
func NewSeeded(origin, seed string, witnesses int, now func() time.Time) (*Log, error) {
	l := &Log{Origin: origin, Tree: &Tree{}, now: now}
	priv := key(seed)
	vkey, err := note.NewEd25519VerifierKey(origin, priv.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	l.VKey, l.key = vkey, &ed25519Signer{verifier, priv}
	for i := range witnesses {
		w := &Witness{Name: fmt.Sprintf("w%d", i+1)}
		w.priv = key(seed + " " + w.Name)
		if w.signer, err = torchwood.NewCosignatureSigner(w.Name+".example", w.priv); err != nil {
			return nil, err
		}
		w.VKey = w.signer.Verifier().String()
		l.Witnesses = append(l.Witnesses, w)
	}
	return l, nil
}

func key(name string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte("roguelog " + name))
	return ed25519.NewKeyFromSeed(h[:])
}

type ed25519Signer struct {
	note.Verifier
	priv ed25519.PrivateKey
}

func (s *ed25519Signer) Sign(text []byte) ([]byte, error) { return ed25519.Sign(s.priv, text), nil }

// cosigner signs at the log's time, which tests choose.
type cosigner struct {
	*torchwood.CosignatureSigner
	priv ed25519.PrivateKey
	at   time.Time
}

func (c *cosigner) Sign(text []byte) ([]byte, error) {
	msg := fmt.Sprintf("cosignature/v1\ntime %d\n%s", c.at.Unix(), text)
	out := make([]byte, 8, 72)
	for i := range 8 {
		out[i] = byte(uint64(c.at.Unix()) >> (56 - 8*i))
	}
	return append(out, ed25519.Sign(c.priv, []byte(msg))...), nil
}

// Policy returns a policy in which more than half of the witnesses make the quorum.
// url is where Handler is served.
func (l *Log) Policy(url string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "log %s %s\n", l.VKey, url)
	names := ""
	for _, w := range l.Witnesses {
		fmt.Fprintf(&b, "witness %s %s %s/%s\n", w.Name, w.VKey, url, w.Name)
		names += " " + w.Name
	}
	if len(l.Witnesses) == 0 {
		return append(b.Bytes(), "quorum none\n"...)
	}
	fmt.Fprintf(&b, "group g %d%s\nquorum g\n", len(l.Witnesses)/2+1, names)
	return b.Bytes()
}

// Sign returns the checkpoint of the first n leaves of a tree, signed by the log and
// by the witnesses.
func (l *Log) Sign(t *Tree, n int64, witnesses ...*Witness) []byte {
	return l.SignText(torchwood.Checkpoint{Origin: l.Origin, Tree: tlog.Tree{N: n, Hash: t.Root(n)}}.String(), witnesses...)
}

// SignText signs any text.
func (l *Log) SignText(text string, witnesses ...*Witness) []byte {
	signers := []note.Signer{l.key}
	for _, w := range witnesses {
		signers = append(signers, &cosigner{w.signer, w.priv, l.now()})
	}
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		panic(err)
	}
	return signed
}

// Publish makes all leaves of Tree public under a checkpoint that every witness
// cosigned and shows, and returns it.
func (l *Log) Publish() []byte {
	signed := l.Sign(l.Tree, l.Tree.Size(), l.Witnesses...)
	l.Serve(l.Tree, l.Tree.Size(), signed)
	for _, w := range l.Witnesses {
		l.Show(w, signed)
	}
	return signed
}

// Serve makes the log serve the first n leaves of a tree, and a checkpoint.
func (l *Log) Serve(t *Tree, n int64, signed []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served, l.size, l.shown = t, n, signed
}

// Show makes a witness show a checkpoint to monitors.
func (l *Log) Show(w *Witness, signed []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.shown = signed
}

// Intercept lets f answer requests before the log does: it returns true if it has.
func (l *Log) Intercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.intercept = f
}

// ServeHTTP serves the log, and each witness's monitoring endpoint below its name.
func (l *Log) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	f, served, size, shown := l.intercept, l.served, l.size, l.shown
	for _, wit := range l.Witnesses {
		if r.URL.Path == fmt.Sprintf("/%s/%x/checkpoint", wit.Name, sha256.Sum256([]byte(l.Origin))) {
			shown = wit.shown
		}
	}
	l.mu.Unlock()
	if f != nil && f(w, r) {
		return
	}
	if strings.HasSuffix(r.URL.Path, "/checkpoint") {
		if shown == nil {
			http.NotFound(w, r)
			return
		}
		w.Write(shown)
		return
	}
	data, err := Tile(served, size, strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data)
}

// Tile returns the tile or entry bundle at a path of c2sp.org/tlog-tiles, of the first
// size leaves of a tree.
func Tile(t *Tree, size int64, path string) ([]byte, error) {
	p, err := torchwood.ParseTilePath(path)
	if err != nil {
		return nil, err
	}
	per := int64(1) // leaves below one item of the tile
	if p.L > 0 {
		per <<= torchwood.TileHeight * p.L
	}
	if t == nil || (p.N*torchwood.TileWidth+int64(p.W))*per > size {
		return nil, fmt.Errorf("not in the published tree")
	}
	if p.L >= 0 {
		return tlog.ReadTileData(p, t)
	}
	var out []byte
	for _, leaf := range t.leaves[p.N*torchwood.TileWidth:][:p.W] {
		if out, err = torchwood.AppendTileEntry(out, leaf); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Spoil returns a leaf of which one bit is another.
func Spoil(leaf []byte) []byte {
	out := slices.Clone(leaf)
	out[len(out)-1] ^= 1
	return out
}
