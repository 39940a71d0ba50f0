package store

import (
	"context"
	"database/sql"
	"fmt"

	"cratelog/internal/sqlite"
)

// Build is what the claim of an entry about a build says.
type Build struct {
	Request, Result [32]byte // as entry.Build computes them
	Root, Tag       [32]byte
	Binary, Target  string
}

func insertBuild(ctx context.Context, tx *sql.Tx, e *Entry) error {
	if e.Build == nil {
		return nil
	}
	b := e.Build
	err := exec(ctx, tx, "INSERT INTO builds (log, idx, request, result, root, tag, binary, target) VALUES (?,?,?,?,?,?,?,?)",
		e.Log, e.Index, b.Request[:], b.Result[:], b.Root[:], b.Tag[:], b.Binary, b.Target)
	if err != nil {
		return fmt.Errorf("storing the build of entry %d: %w", e.Index, err)
	}
	return nil
}

// good is the condition that the proof of the entry of a build b holds: what anybody can write says
// nothing about builders.
const good = "EXISTS (SELECT 1 FROM entries x WHERE x.log = b.log AND x.idx = b.idx AND x.verdict = 'ok')"

// BuildPair is two entries about one build. They may be of two logs.
type BuildPair struct{ First, Second Entry }

// Contradictions returns the pairs whose second entry has from <= index < to in a log, and whose first is
// the earliest in this database, of whatever log, in which the same builder says something else of the
// same build. At most limit pairs.
func (r *Reader) Contradictions(ctx context.Context, log, from, to int64, limit int) ([]BuildPair, error) {
	return r.buildPairs(ctx, "b.tag = e.tag", log, from, to, limit)
}

// Dissents is Contradictions for different members of one set: under one root, with two tags.
func (r *Reader) Dissents(ctx context.Context, log, from, to int64, limit int) ([]BuildPair, error) {
	return r.buildPairs(ctx, "b.root = e.root AND b.tag != e.tag", log, from, to, limit)
}

func (r *Reader) buildPairs(ctx context.Context, same string, log, from, to int64, limit int) ([]BuildPair, error) {
	return sqlite.All(ctx, r.read, func(row scanner) (p BuildPair, err error) {
		var firstLog, first, second int64
		if err := row.Scan(&firstLog, &first, &second); err != nil {
			return p, err
		}
		for _, e := range []struct {
			to       *Entry
			log, idx int64
		}{{&p.First, firstLog, first}, {&p.Second, log, second}} {
			*e.to, err = scanEntry(r.read.QueryRowContext(ctx, selectEntry+"WHERE log = ? AND idx = ?", e.log, e.idx))
			if err != nil {
				return p, fmt.Errorf("an entry of a pair in log %d cannot be read: %w", e.log, err)
			}
		}
		return p, nil
	}, `SELECT f.log, f.idx, e.idx FROM builds e JOIN builds f ON f.id =
		(SELECT b.id FROM builds b INDEXED BY builds_by_request WHERE b.request = e.request AND b.id < e.id
			AND b.result != e.result AND `+same+` AND `+good+` ORDER BY b.id LIMIT 1)
		WHERE e.log = ? AND e.idx >= ? AND e.idx < ?
			AND EXISTS (SELECT 1 FROM entries x WHERE x.log = e.log AND x.idx = e.idx AND x.verdict = 'ok')
		ORDER BY e.idx LIMIT ?`, log, from, to, limit)
}

// Sourceless returns the entries about builds with from <= index < to of whose .crate no followed log has a
// claim about sources, or the same one only at a higher index. At most limit entries.
func (r *Reader) Sourceless(ctx context.Context, log, from, to int64, limit int) ([]Entry, error) {
	return sqlite.All(ctx, r.read, scanEntry, selectEntry+`WHERE log = ? AND idx >= ? AND idx < ? AND kind = 'build'
		AND NOT EXISTS (SELECT 1 FROM entries s INDEXED BY entries_by_sha256 WHERE s.sha256 = entries.sha256
			AND s.kind = 'source' AND s.name = entries.name AND s.version = entries.version
			AND s.registry = entries.registry AND s.verdict = 'ok' AND (s.log != entries.log OR s.idx < entries.idx))
		ORDER BY idx LIMIT ?`, log, from, to, limit)
}
