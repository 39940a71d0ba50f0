package proxy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// A proof is what is known of a release that had to be proven, and was handed out.
type proof struct {
	sum    [32]byte // SHA-256 of its .crate
	digest [32]byte // registry.Summary.Digest, which its index lines must have
}

// proofs are in a file, to which several processes may append: for each a key, which stands for
// the index file and version, the sum and the digest. Of two the later counts.
type proofs struct {
	file *os.File

	mu   sync.Mutex // guards what follows
	all  map[proofKey]proof
	size int64 // of the file, as far as it was read
}

type proofKey [16]byte

const proofSize = 16 + 32 + 32

func openProofs(path string) (*proofs, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	p := &proofs{file: f, all: map[proofKey]proof{}}
	if err = p.cut(); err == nil {
		err = p.read()
	}
	return p, err
}

// cut takes off what is no whole proof: the disk was full, or the power failed. It would hide what comes after it. What
// other processes have appended stays.
func (p *proofs) cut() error {
	info, err := p.file.Stat()
	if err == nil && info.Size()%proofSize != 0 {
		err = p.file.Truncate(info.Size() - info.Size()%proofSize)
	}
	return err
}

func keyOf(url, version string) proofKey {
	sum := sha256.Sum256([]byte(url + " " + version))
	return proofKey(sum[:])
}

// read takes in what was appended since.
func (p *proofs) read() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < p.size {
		return fmt.Errorf("%s became shorter: start the proxy anew", p.file.Name())
	}
	b := make([]byte, (info.Size()-p.size)/proofSize*proofSize)
	if _, err := io.ReadFull(io.NewSectionReader(p.file, p.size, int64(len(b))), b); err != nil {
		return err
	}
	p.size += int64(len(b))
	for ; len(b) > 0; b = b[proofSize:] {
		p.all[proofKey(b)] = proof{[32]byte(b[16:]), [32]byte(b[48:])}
	}
	return nil
}

// get returns what is known of a release, by the URL of its index file, since the last read.
func (p *proofs) get(url, version string) (proof, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held, ok := p.all[keyOf(url, version)]
	return held, ok
}

// add keeps what is known of a release, before its .crate is handed out.
func (p *proofs) add(url, version string, is proof) error {
	key := keyOf(url, version)
	if held, ok := p.get(url, version); ok && held == is {
		return nil
	}
	if n, err := p.file.Write(append(append(key[:], is.sum[:]...), is.digest[:]...)); err != nil {
		if n > 0 {
			err = errors.Join(err, p.cut())
		}
		return err
	}
	return p.read()
}
