// Package storage is where a log's tree lies: in a directory of this machine, or in a bucket and a database
// that several machines share.
package storage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"
)

// Names of the files beside tiles and entries, for [Tree.Read].
const (
	Checkpoint = "checkpoint"     // what is published
	Frozen     = "frozen"         // the log's last word
	Version    = ".state/version" // of the layout in a directory; Tessera makes it again
)

// What an entry of c2sp.org/tlog-tiles, a tile and an entry bundle have at most.
const (
	maxEntry  = 1<<16 - 1
	maxTile   = layout.TileWidth * tlog.HashSize
	maxBundle = layout.EntryBundleWidth * (2 + maxEntry)
)

// ErrDamaged says that the record of what is integrated is there, and cannot be read: that does not pass.
var ErrDamaged = errors.New("is damaged")

// ErrBusy is returned by Close when what was begun may still write.
var ErrBusy = errors.New("what was begun in the tree has not ended")

// State is Tessera's own record of what is integrated, written only after the tiles that it stands for.
type State struct {
	Size  uint64
	Root  tlog.Hash
	Found bool // false: there is no tree yet, and Size and Root are zero
}

// Tree is the place of one log's tree. Its methods may be called concurrently. What it returns is bounded, and
// not verified: whoever can write there may have put anything in its place. A file that is missing is
// fs.ErrNotExist, one that is larger than it can be durable.ErrTooLarge; every other error but ErrDamaged is one
// that may pass.
type Tree interface {
	// String says where the tree lies, as it stands in a sentence: "the tree in /var/lib/log".
	String() string

	// State returns what is integrated.
	State(ctx context.Context) (State, error)

	// Next returns the index of the entry that is added next: more than State's Size while some that have their
	// index are not integrated yet. What an addition that failed has begun is decided when it returns.
	Next(ctx context.Context) (uint64, error)

	// ReadTile and ReadEntryBundle return a file of c2sp.org/tlog-tiles. Of a partial one (p > 0) that is gone
	// they return the full one.
	ReadTile(ctx context.Context, level, index uint64, p uint8) ([]byte, error)
	ReadEntryBundle(ctx context.Context, index uint64, p uint8) ([]byte, error)

	// Read returns a file beside tiles and entries, of at most so many bytes, and when it was written.
	Read(ctx context.Context, name string, most int64) ([]byte, time.Time, error)

	// Write puts such a file there, durably and whole, and Remove takes it away.
	Write(ctx context.Context, name string, data []byte) error
	Remove(ctx context.Context, name string) error

	// Published returns the time by which Tessera decides when the checkpoint is published again, zero if it has
	// none, and SetPublished changes it: a clock that was ahead would stop it, and the past makes it publish at once.
	Published(ctx context.Context) (time.Time, error)
	SetPublished(ctx context.Context, at time.Time) error

	// WriteTile and WriteState repair a tree that nobody else has open: a tile of its width at its place, and
	// what is integrated.
	WriteTile(ctx context.Context, level, index uint64, p uint8, data []byte) error
	WriteState(ctx context.Context, s State) error

	// Lock makes sure that nobody else writes there, until it is closed. In a directory it is an exclusive lock; of
	// a tree that machines share it does nothing, since a lease decides who writes.
	Lock(ctx context.Context) (io.Closer, error)

	// Writable returns an error where it can be known, at little cost, that Tessera could not write.
	Writable(ctx context.Context) error

	// Try writes as much as an entry may take, and removes it.
	Try(ctx context.Context) error

	// Open starts Tessera there, until ctx ends. The tree is locked. witnesses is the client by which it reaches
	// witnesses. What opens is closed with the tree. If it fails it may be called again.
	Open(ctx context.Context, opts *tessera.AppendOptions, witnesses *http.Client) (*tessera.Appender,
		func(context.Context) error, error)

	// Pace is the least time between two checkpoints that Tessera takes there.
	Pace() time.Duration

	// Close waits for what was begun, once the context of Open has ended.
	Close() error
}

// partialOrFull reads a file of the width p, or the full one where that is gone.
func partialOrFull(p uint8, read func(p uint8) ([]byte, error)) ([]byte, error) {
	data, err := read(p)
	if p > 0 && errors.Is(err, fs.ErrNotExist) {
		return read(0)
	}
	return data, err
}
