package prover

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"cratelog/proofcheck"
)

const (
	maxOffers  = 256 // programs of a log that are looked at
	maxFailed  = 4   // requests in a row that bring nothing
	fetchPause = time.Second
)

// ErrNoOffer says that a log offers no proving key that may be used.
var ErrNoOffer = errors.New("the log offers no proving key that can be used")

// A KeyServer is a log as FetchKey needs it; *client.Log is one. What it returns is not
// believed.
type KeyServer interface {
	// ProvingKeys returns the log's list of proving keys, of bounded size.
	ProvingKeys(ctx context.Context) ([]byte, error)
	// ProvingKey opens a key's file at a byte, or at 0 if it cannot, and says where. It
	// need not end.
	ProvingKey(ctx context.Context, sha256 [32]byte, from int64) (body io.ReadCloser, at int64, err error)
}

// Offer is a program of a log whose proving key can be fetched.
type Offer struct {
	Program proofcheck.Program // with the hash of its proving key
	Size    int64              // bytes of the proving key's file
}

// Offered returns the program that a log wants to be used: of its list (docs/formats.md)
// the first that this version knows. Development programs count only if development is
// true. The error wraps ErrNoOffer if there is none; a list that contradicts itself is
// refused.
//
// That a log offers a program does not make its proofs believed: whoever reads them decides.
func Offered(ctx context.Context, from KeyServer, development bool) (*Offer, error) {
	text, err := from.ProvingKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the log for its proving keys: %w\nlook whether the log runs, and whether that is its URL",
			err)
	}
	var list struct {
		Keys []keyOffer `json:"keys"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("the log's list of proving keys: %w", err)
	}
	if len(list.Keys) > maxOffers {
		return nil, fmt.Errorf("the log lists %d proving keys, and at most %d are looked at", len(list.Keys), maxOffers)
	}
	var why []error
	for i, k := range list.Keys {
		o, err := k.offer()
		if err == nil && o.Program.Development() && !development {
			err = fmt.Errorf("the key of the program %x is a development key, with which anyone can make false proofs",
				o.Program.ID())
		}
		if err == nil {
			return o, nil
		}
		why = append(why, fmt.Errorf("number %d: %w", i+1, err))
	}
	if len(why) == 0 {
		why = []error{errors.New("its list is empty; ask its operator for the program file and the proving key")}
	}
	return nil, fmt.Errorf("%w: %w", ErrNoOffer, errors.Join(why...))
}

// keyOffer is a proving key of a log's list.
type keyOffer struct {
	Program string          `json:"program"` // its id, in hex
	Origin  string          `json:"origin"`
	Blocks  int             `json:"blocks"`
	SHA256  string          `json:"sha256"` // of the key's file, in hex
	Size    int64           `json:"size"`   // of the key's file, in bytes; 0 if it is not served
	File    json.RawMessage `json:"file"`   // the program file
}

// offer checks that the list says of a key what the program file says.
func (k *keyOffer) offer() (*Offer, error) {
	p, err := proofcheck.ParseProgram(k.File)
	if err != nil {
		return nil, err
	}
	id := p.ID()
	switch {
	case p.Claim != proofcheck.ClaimSource:
		return nil, errOtherClaim(p)
	case p.ProvingKey == [32]byte{}:
		return nil, fmt.Errorf("the program file of %x does not say which proving key it has", id)
	case k.Program != hex.EncodeToString(id[:]), k.Origin != p.Origin, k.Blocks != p.Blocks,
		k.SHA256 != hex.EncodeToString(p.ProvingKey[:]):
		return nil, fmt.Errorf("the list and the program file differ about the program %x", id)
	case k.Size == 0 && p.Development():
		return nil, fmt.Errorf("the log does not serve the proving key of the program %x: it is a development key, with "+
			"which anyone can make false proofs; --development says that it will do", id)
	case k.Size == 0:
		return nil, fmt.Errorf("the log does not serve the proving key of the program %x; ask its operator for it", id)
	case p.Blocks > maxBlocks:
		return nil, fmt.Errorf("the program %x has segments of %d blocks, and this version makes at most %d", id, p.Blocks,
			maxBlocks)
	case k.Size < 0 || k.Size > maxKey(p.Blocks):
		return nil, fmt.Errorf("the proving key of the program %x is said to have %d bytes, and has at most %d", id, k.Size,
			maxKey(p.Blocks))
	}
	return &Offer{p, k.Size}, nil
}

// FetchKey returns the path of an offer's proving key in the cache directory, and fetches
// it before if it is not there. What was fetched is kept when it is interrupted, by ctx too,
// and the next call goes on from there. A key that has not its hash is not kept, and the
// error wraps ErrWrongKey. That the key fits its program and its circuit is for the caller
// to check.
func FetchKey(ctx context.Context, from KeyServer, o *Offer, cache string, progress Progress) (string, error) {
	path := filepath.Join(cache, hex.EncodeToString(o.Program.ProvingKey[:])+".pk")
	if there(path, o.Size) {
		return path, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("%w: %w", errCache, err)
	}
	unlock, err := lockFile(ctx, path+".lock", "waiting for another process, which is fetching this key", progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	if there(path, o.Size) { // by now
		return path, nil
	}
	part, err := os.OpenFile(path+".part", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errCache, err)
	}
	defer part.Close()
	f := &fetch{from: from, offer: o, part: part}
	if progress != nil {
		progress(Step{What: fmt.Sprintf("fetching the proving key of the log's program, %d MB, once (kept in %s)",
			(o.Size+1<<20-1)>>20, cache), Share: f.share})
	}
	if err := f.whole(ctx); err != nil {
		return "", err
	}
	if err := errors.Join(part.Sync(), part.Close()); err != nil {
		return "", fmt.Errorf("%w: %w", errCache, err)
	}
	if err := os.Rename(part.Name(), path); err != nil {
		return "", fmt.Errorf("%w: %w", errCache, err)
	}
	return path, nil
}

// there says that a key was fetched. Its reader compares the hash.
func there(path string, size int64) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

// fetch is a download into a file that may hold the beginning already.
type fetch struct {
	from  KeyServer
	offer *Offer
	part  *os.File
	have  atomic.Int64 // bytes
}

func (f *fetch) share() float64 { return float64(f.have.Load()) / float64(f.offer.Size) }

// whole fetches what is missing and compares the hash. If the file's beginning was there
// before, it may be what is wrong, and all is fetched again, once.
func (f *fetch) whole(ctx context.Context) error {
	info, err := f.part.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", errCache, err)
	}
	before := info.Size()
	if before > f.offer.Size {
		before = 0
	}
	if err = f.attempt(ctx, before); errors.Is(err, ErrWrongKey) && before > 0 {
		err = f.attempt(ctx, 0)
	}
	if errors.Is(err, ErrWrongKey) {
		err = errors.Join(err, f.part.Close(), remove(f.part.Name()))
	}
	return err
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// attempt keeps the file's beginning, fetches the rest, over as many requests as it takes,
// and compares the hash.
func (f *fetch) attempt(ctx context.Context, begin int64) error {
	if err := f.cut(begin); err != nil {
		return err
	}
	for failed := 0; f.have.Load() < f.offer.Size; {
		had := f.have.Load()
		err := f.more(ctx)
		if err == nil {
			break
		}
		if errors.Is(err, ErrWrongKey) || errors.Is(err, errCache) {
			return err
		}
		if failed++; f.have.Load() > had {
			failed = 0
		}
		if ctx.Err() != nil || failed == maxFailed || f.have.Load() == begin {
			return f.interrupted(err)
		}
		if err := pause(ctx, time.Duration(failed+1)*fetchPause); err != nil {
			return f.interrupted(err)
		}
	}
	return f.compare()
}

func (f *fetch) interrupted(err error) error {
	if n := f.have.Load(); n > 0 {
		err = fmt.Errorf("%w; %d of %d bytes are kept, run again to go on from there", err, n, f.offer.Size)
	}
	return fmt.Errorf("fetching the proving key: %w", err)
}

var errCache = errors.New("key cache")

// cut keeps the file's first bytes, and goes to their end.
func (f *fetch) cut(n int64) error {
	err := f.part.Truncate(n)
	if err == nil {
		_, err = f.part.Seek(n, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errCache, err)
	}
	f.have.Store(n)
	return nil
}

// more makes one request for the rest.
func (f *fetch) more(ctx context.Context) error {
	have := f.have.Load()
	body, at, err := f.from.ProvingKey(ctx, f.offer.Program.ProvingKey, have)
	if err != nil {
		return err
	}
	defer body.Close()
	if at != 0 && at != have {
		return fmt.Errorf("%w: the log was asked for byte %d and sends byte %d", ErrWrongKey, have, at)
	}
	if err := f.cut(at); err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(body, f.offer.Size-at))
	if err != nil {
		return err
	}
	if at+n < f.offer.Size {
		return io.ErrUnexpectedEOF
	}
	if n, _ := io.ReadFull(body, make([]byte, 1)); n > 0 {
		return fmt.Errorf("%w: the log sends more than the %d bytes that its list says", ErrWrongKey, f.offer.Size)
	}
	return nil
}

// Write adds to the file.
func (f *fetch) Write(p []byte) (int, error) {
	n, err := f.part.Write(p)
	f.have.Add(int64(n))
	if err != nil {
		err = fmt.Errorf("%w: %w", errCache, err)
	}
	return n, err
}

// compare refuses a file that has not its hash.
func (f *fetch) compare() error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f.part, 0, f.offer.Size)); err != nil {
		return fmt.Errorf("%w: %w", errCache, err)
	}
	if sum := [32]byte(h.Sum(nil)); sum != f.offer.Program.ProvingKey {
		return fmt.Errorf("%w: what the log sent has the SHA-256 %x, and its program's proving key has %x; "+
			"ask the log's operator for it, or get it elsewhere and name it with --proving-key", ErrWrongKey, sum,
			f.offer.Program.ProvingKey)
	}
	return nil
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
