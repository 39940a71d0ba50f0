package log

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cratelog/internal/sqlite"
)

// openings keeps the openings of entries, for readers who want to see git's objects. It is
// no part of the log's promise: an opening can be deleted, the tree never knows of it, and
// readers check it against the claim, wherever they have it from.
type openings struct {
	db    kept
	quota int64 // most bytes of all, as they are kept
}

const openingsFile = "openings.db" // in the state directory

var openingsDatabase = sqlite.Owned{
	ID: 0x63726c6f, Version: 1, Schema: openingsSchema, Journal: "delete", Conns: 4,
	What:   "a log's openings.db",
	Advice: "move it away while the log is stopped: the log goes on without the openings that it held",
}

// A claim has one opening, so what it is kept under is the claim's identity. The row of one
// that was deleted stays, without its bytes: nobody is to bring it back.
const openingsSchema = `
CREATE TABLE openings (
	identity BLOB PRIMARY KEY,
	sha256   BLOB NOT NULL,    -- of the opening
	stored   INTEGER NOT NULL, -- bytes of gzipped
	gzipped  BLOB              -- NULL: deleted
) STRICT;
CREATE INDEX openings_by_size ON openings (stored);
`

// storedOpening is an opening as it is kept.
type storedOpening struct {
	sha256  [32]byte
	gzipped []byte
}

func openOpenings(ctx context.Context, cfg *Config) (*openings, error) {
	db, err := openKeptIn(ctx, cfg, &openingsDatabase, openingsFile)
	if err != nil {
		return nil, err
	}
	return &openings{db, cfg.OpeningsBytes}, nil
}

var (
	errOpeningsFull   = errors.New("no room for openings is left")
	errOpeningDeleted = errors.New("the operator has deleted this opening")
)

// put keeps the opening of a claim, durably, and says whether it is new. The caller has
// checked it.
func (o *openings) put(ctx context.Context, identity [32]byte, raw []byte) (isNew bool, err error) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err = z.Write(raw)
	if err := errors.Join(err, z.Close()); err != nil {
		return false, err
	}
	sum := sha256.Sum256(raw)
	var refused error
	err = o.db.tx(ctx, func(tx *sql.Tx) error {
		isNew, refused = false, nil // it may be run again
		var deleted bool
		err := tx.QueryRowContext(ctx, "SELECT gzipped IS NULL FROM openings WHERE identity = ?", identity[:]).Scan(&deleted)
		switch {
		case err == nil && deleted:
			refused = errOpeningDeleted
			return nil
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		var total int64
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(sum(stored), 0) FROM openings").Scan(&total); err != nil {
			return err
		}
		if total+int64(packed.Len()) > o.quota {
			refused = errOpeningsFull
			return nil
		}
		isNew, err = insertNew(ctx, tx, "INSERT INTO openings (identity, sha256, stored, gzipped) VALUES (?, ?, ?, ?)",
			identity[:], sum[:], packed.Len(), packed.Bytes())
		return err
	})
	if err != nil {
		return false, o.db.failed("openings", err)
	}
	return isNew, refused
}

// get returns the opening of a claim, and whether there is one.
func (o *openings) get(ctx context.Context, identity [32]byte) (storedOpening, bool, error) {
	s, found, err := sqlite.One(ctx, o.db.DB, func(r sqlite.Scanner) (s storedOpening, err error) {
		var sum []byte
		if err = r.Scan(&sum, &s.gzipped); err == nil && copy(s.sha256[:], sum) != len(s.sha256) {
			err = errors.New("a row is damaged")
		}
		return s, err
	}, "SELECT sha256, gzipped FROM openings WHERE identity = ? AND gzipped IS NOT NULL", identity[:])
	return s, found, o.db.failed("openings", err)
}

// named returns the SHA-256 of a claim's opening, and whether there is one.
func (o *openings) named(ctx context.Context, identity [32]byte) (sum []byte, found bool, err error) {
	err = o.db.QueryRowContext(ctx, "SELECT sha256 FROM openings WHERE identity = ? AND gzipped IS NOT NULL",
		identity[:]).Scan(&sum)
	sum, found, err = sqlite.Found(sum, err)
	return sum, found, o.db.failed("openings", err)
}

// forget removes the rows of claims that are not logged: of submissions that came to
// nothing after their opening was kept.
func (o *openings) forget(ctx context.Context, logged func(identity [32]byte) (bool, error)) error {
	all, err := sqlite.All(ctx, o.db, func(r sqlite.Scanner) (id [32]byte, err error) {
		var b []byte
		err = r.Scan(&b)
		copy(id[:], b)
		return id, err
	}, "SELECT identity FROM openings WHERE gzipped IS NOT NULL")
	if err != nil {
		return o.db.failed("openings", err)
	}
	for _, id := range all {
		known, err := logged(id)
		if err == nil && !known {
			err = o.drop(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// drop removes the opening of a claim that is not logged.
func (o *openings) drop(ctx context.Context, identity [32]byte) error {
	_, err := o.db.ExecContext(ctx, "DELETE FROM openings WHERE identity = ?", identity[:])
	return o.db.failed("openings", err)
}

// delete overwrites the bytes of a claim's opening in a file, and says whether there was one. A server's files, its
// own logs and its backups keep them for as long as they do.
func (o *openings) delete(ctx context.Context, identity [32]byte) (bool, error) {
	c, err := o.db.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	if !o.db.shared {
		if _, err := c.ExecContext(ctx, "PRAGMA secure_delete = ON"); err != nil {
			return false, err
		}
	}
	res, err := c.ExecContext(ctx,
		"UPDATE openings SET gzipped = NULL, stored = 0 WHERE identity = ? AND gzipped IS NOT NULL", identity[:])
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

func (o *openings) close() error { return o.db.Close() }

// DeleteOpening deletes the opening of the claim with an identity from what a log keeps, which may be running. It is
// not served any more, and not taken again. The error is a sentence if there is none. Nothing else of the log changes.
func DeleteOpening(ctx context.Context, cfg Config, identity [32]byte) error {
	none := fmt.Errorf("this log holds no opening of the claim %x; "+
		"/v1/crates/NAME/VERSION/claims says which claims have one", identity)
	if cfg.Cluster != nil {
		if err := cfg.Cluster.complete(true); err != nil {
			return fmt.Errorf("log: %w", err)
		}
	} else if _, err := os.Stat(filepath.Join(cfg.StateDir, openingsFile)); err != nil {
		return fmt.Errorf("%w (%w)", none, err)
	}
	o, err := openOpenings(ctx, &cfg)
	if err != nil {
		return err
	}
	deleted, err := o.delete(ctx, identity)
	err = errors.Join(err, o.close())
	if err == nil && !deleted {
		return none
	}
	return err
}
