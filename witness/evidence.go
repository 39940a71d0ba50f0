package witness

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"time"

	"filippo.io/torchwood"

	"cratelog/internal/sqlite"
)

const (
	// MaxForks is the number of forks kept for each log. One is proof enough;
	// the first ones stay.
	MaxForks = 32
	// MaxRejected is the number of rejected requests kept for each log. Those
	// of the largest sizes stay, so that replaying old ones changes nothing.
	MaxRejected = 100
)

// A Fork is proof that a log signed two histories: two notes of one origin and
// size with two root hashes, each with a verified signature of the log, and
// with our cosignatures if we held it. Anyone can check it offline with the
// log's key.
type Fork struct {
	Origin string    `json:"origin"`
	Size   int64     `json:"size"`
	A      string    `json:"a"` // the note with the smaller root hash
	B      string    `json:"b"`
	Seen   time.Time `json:"seen"`
}

// A Rejected is a request with a good signature of the log that failed. It is a
// reason to look at the log, never proof: the sender of a request picks its
// consistency proof, and can be anyone who holds a signed checkpoint.
type Rejected struct {
	Origin string    `json:"origin"`
	Size   int64     `json:"size"`
	Reason string    `json:"reason"` // "proof", "empty-root" or "fork"
	Old    int64     `json:"old"`
	Proof  string    `json:"proof"`  // one base64 hash per line
	Signed string    `json:"signed"` // the checkpoint with the log's verified signatures
	Held   string    `json:"held"`   // the cosigned checkpoint of that moment, "" if there was none
	Seen   time.Time `json:"seen"`
}

// evidenceReason names what is worth recording about a refusal; "" means that
// the refusal says nothing about the log.
func evidenceReason(err error) string {
	switch {
	case errors.Is(err, ErrFork):
		return "fork"
	case errors.Is(err, ErrEmptyRoot):
		return "empty-root"
	case errors.Is(err, ErrProof):
		return "proof"
	}
	return ""
}

// addRejected records r unless the same size and root is on record, or the
// log's quota is used up by larger sizes. It reports whether it did.
func (s *store) addRejected(ctx context.Context, c torchwood.Checkpoint, r Rejected) (added bool, err error) {
	err = s.tx(ctx, func(tx *sql.Tx) error {
		var known, count int
		var smallest int64
		if err := tx.QueryRowContext(ctx, `SELECT
				COUNT(*) FILTER (WHERE size = ? AND root = ?), COUNT(*), COALESCE(MIN(size), 0)
			FROM rejected WHERE origin = ?`, c.N, c.Hash[:], c.Origin).Scan(&known, &count, &smallest); err != nil {
			return err
		}
		full := count >= MaxRejected
		if known > 0 || full && c.N <= smallest {
			return nil
		}
		if full {
			if _, err := tx.ExecContext(ctx, `DELETE FROM rejected WHERE id =
				(SELECT id FROM rejected WHERE origin = ? ORDER BY size, id LIMIT 1)`, c.Origin); err != nil {
				return err
			}
		}
		added = true
		_, err := tx.ExecContext(ctx, `INSERT INTO rejected (origin, size, root, reason, old, proof, signed, held, time)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			c.Origin, c.N, c.Hash[:], r.Reason, r.Old, r.Proof, r.Signed, r.Held, r.Seen.Unix())
		return err
	})
	return added && err == nil, err
}

// findOther returns a note on record that the log signed for c's size but
// another root: the one held, or a rejected one. "" means that there is none.
func (s *store) findOther(ctx context.Context, c torchwood.Checkpoint, held state) (other string, root []byte, err error) {
	if held.Text != "" && held.Size == c.N && held.Root != c.Hash {
		return held.note(), held.Root[:], nil
	}
	err = s.db.QueryRowContext(ctx,
		"SELECT signed, root FROM rejected WHERE origin = ? AND size = ? AND root <> ? ORDER BY id LIMIT 1",
		c.Origin, c.N, c.Hash[:]).Scan(&other, &root)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil, nil
	}
	return other, root, err
}

// addFork records the pair of c, signed as given, and other, unless it is on
// record or the log's quota is used up. It reports whether it did.
func (s *store) addFork(ctx context.Context, c torchwood.Checkpoint, signed, other string, otherRoot []byte,
	now time.Time) (bool, error) {
	a, b, rootA, rootB := signed, other, c.Hash[:], otherRoot
	if bytes.Compare(rootA, rootB) > 0 {
		a, b, rootA, rootB = b, a, rootB, rootA
	}
	var n int64
	err := s.tx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO fork (origin, size, root_a, root_b, a, b, time)
			SELECT ?, ?, ?, ?, ?, ?, ? WHERE (SELECT COUNT(*) FROM fork WHERE origin = ?) < ?`,
			c.Origin, c.N, rootA, rootB, a, b, now.Unix(), c.Origin, MaxForks)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n > 0 && err == nil, err
}

// forks returns the forks on record of one log, the oldest first; never nil.
func (s *store) forks(ctx context.Context, origin string) ([]Fork, error) {
	all, err := sqlite.All(ctx, s.db, func(r sqlite.Scanner) (Fork, error) {
		f := Fork{Origin: origin}
		var seen int64
		err := r.Scan(&f.Size, &f.A, &f.B, &seen)
		f.Seen = time.Unix(seen, 0).UTC()
		return f, err
	}, "SELECT size, a, b, time FROM fork WHERE origin = ? ORDER BY id", origin)
	return append([]Fork{}, all...), err
}

// rejected returns the rejected requests on record of one log, the smallest
// size first.
func (s *store) rejected(ctx context.Context, origin string) ([]Rejected, error) {
	return sqlite.All(ctx, s.db, func(row sqlite.Scanner) (Rejected, error) {
		r := Rejected{Origin: origin}
		var seen int64
		err := row.Scan(&r.Size, &r.Reason, &r.Old, &r.Proof, &r.Signed, &r.Held, &seen)
		r.Seen = time.Unix(seen, 0).UTC()
		return r, err
	}, "SELECT size, reason, old, proof, signed, held, time FROM rejected WHERE origin = ? ORDER BY size, id", origin)
}
