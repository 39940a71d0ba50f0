package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/sqlite"
)

// ErrOtherLog: the database remembers a log of this origin under other keys.
var ErrOtherLog = errors.New("the database belongs to a log with other keys")

const selectLog = "SELECT id, origin, vkeys, url, added FROM logs "

func scanLog(r scanner) (Log, error) {
	var l Log
	var keys string
	err := r.Scan(&l.ID, &l.Origin, &keys, &l.URL, moment{&l.Added})
	l.VKeys = strings.Split(keys, "\n")
	return l, err
}

// AddLog returns the log of an origin, and remembers it if it is new. Keys that
// are new for a known log are added; a log of which no key is known any more is
// ErrOtherLog: that is another log, perhaps an attacker's.
func (s *Store) AddLog(ctx context.Context, origin string, vkeys []string, url string, now time.Time) (Log, error) {
	var l Log
	if len(vkeys) == 0 {
		return l, fmt.Errorf("the log %q has no keys", origin)
	}
	err := s.tx(ctx, func(tx *sql.Tx) error {
		old, known, err := sqlite.One(ctx, tx, scanLog, selectLog+"WHERE origin = ?", origin)
		if err != nil {
			return err
		}
		if !known {
			empty := sha256.Sum256(nil)
			err = exec(ctx, tx,
				"INSERT INTO logs (origin, vkeys, url, added, verified_root, verified_range) VALUES (?, ?, ?, ?, ?, x'')",
				origin, strings.Join(vkeys, "\n"), url, millis(now), empty[:])
		} else {
			err = updateLog(ctx, tx, old, vkeys, url)
		}
		if err != nil {
			return err
		}
		l, _, err = sqlite.One(ctx, tx, scanLog, selectLog+"WHERE origin = ?", origin)
		return err
	})
	return l, err
}

func updateLog(ctx context.Context, tx *sql.Tx, old Log, vkeys []string, url string) error {
	if !slices.ContainsFunc(vkeys, func(k string) bool { return slices.Contains(old.VKeys, k) }) {
		return fmt.Errorf("%w: for %q it knows %s; the trust file lists none of these. Give a new log a new origin, "+
			"or a new database if it was replaced on purpose", ErrOtherLog, old.Origin, strings.Join(old.VKeys, ", "))
	}
	keys := old.VKeys
	for _, k := range vkeys {
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return exec(ctx, tx, "UPDATE logs SET vkeys = ?, url = ? WHERE id = ?", strings.Join(keys, "\n"), url, old.ID)
}

// Logs returns all logs, in the order in which they were added.
func (r *Reader) Logs(ctx context.Context) ([]Log, error) {
	return sqlite.All(ctx, r.read, scanLog, selectLog+"ORDER BY id")
}

// Position returns how far a log was followed.
func (r *Reader) Position(ctx context.Context, log int64) (Position, error) {
	return position(ctx, r.read, log)
}

func position(ctx context.Context, q querier, log int64) (Position, error) {
	var p Position
	var hashes, root []byte
	err := q.QueryRowContext(ctx,
		"SELECT downloaded, verified, verified_root, verified_range, sealed, map_root, wrong_seal, registry, recheck, "+
			"recheck_began, openings, reopen, reopen_began FROM logs WHERE id = ?", log).
		Scan(&p.Downloaded, &p.Verified, fixed(p.Root[:]), &hashes, &p.Sealed, &root, &p.WrongSeal, &p.Registry, &p.Recheck,
			moment{&p.Rechecking}, &p.Openings, &p.Reopen, moment{&p.Reopening})
	if err == nil && len(root) > 0 {
		err = fixed(p.MapRoot[:]).Scan(root)
	}
	for part := range slices.Chunk(hashes, tlog.HashSize) {
		var h tlog.Hash
		err = errors.Join(err, fixed(h[:]).Scan(part))
		p.Range = append(p.Range, h)
	}
	return p, err
}

// SetVerified moves the verified position of a log to a size that is downloaded.
// The caller has compared the root with a signed one, and recorded all findings
// about the entries up to there.
func (s *Store) SetVerified(ctx context.Context, log, size int64, root tlog.Hash, hashes []tlog.Hash) error {
	b := []byte{}
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return s.tx(ctx, func(tx *sql.Tx) error {
		n, err := change(ctx, tx,
			"UPDATE logs SET verified = ?1, verified_root = ?2, verified_range = ?3 WHERE id = ?4 AND verified <= "+
				"?1 AND downloaded >= ?1",
			size, root[:], b, log)
		if err == nil && n != 1 {
			err = fmt.Errorf("the verified position of log %d cannot become %d: it would go back, or ahead of what "+
				"is stored", log, size)
		}
		return err
	})
}

// SetSealed moves the position up to which verified leaves made the map and seals were compared with it. root is
// that of the map, wrong as Position.WrongSeal. The caller has recorded all findings about the leaves up to there.
func (s *Store) SetSealed(ctx context.Context, log, size int64, root [32]byte, wrong int64) error {
	n, err := change(ctx, s.write, "UPDATE logs SET sealed = ?1, map_root = ?2, wrong_seal = ?3 WHERE id = ?4 AND "+
		"sealed <= ?1 AND verified >= ?1", size, root[:], wrong, log)
	if err == nil && n != 1 {
		err = fmt.Errorf("the seals of log %d cannot be compared up to %d: that goes back, or ahead of what is verified", log, size)
	}
	return err
}

// SetRecheck moves the position up to which entries were compared with the registry
// again, since a time.
func (s *Store) SetRecheck(ctx context.Context, log, next int64, began time.Time) error {
	return exec(ctx, s.write, "UPDATE logs SET recheck = ?, recheck_began = ? WHERE id = ?", next, millis(began), log)
}

// SetRegistry moves the position up to which entries were compared with the
// registry.
func (s *Store) SetRegistry(ctx context.Context, log, next int64) error {
	return exec(ctx, s.write, "UPDATE logs SET registry = ?1 WHERE id = ?2 AND registry <= ?1", next, log)
}
