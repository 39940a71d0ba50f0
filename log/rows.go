package log

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cratelog/internal/sqlite"
)

// errContradiction marks a tree that breaks the log's own rules.
var errContradiction = errors.New("the tree contradicts itself")

// extent returns the index after the last row's, and the number of rows. They are the same but for
// damage.
func (x *rowStore) extent(ctx context.Context) (next, rows uint64, err error) {
	err = x.db.QueryRowContext(ctx, "SELECT coalesce(max(idx)+1, 0), count(*) FROM entries").Scan(&next, &rows)
	if err != nil {
		err = fmt.Errorf("index: %w", err)
	}
	return next, rows, err
}

// append adds the next rows of the tree, all or none, durably.
func (x *rowStore) append(ctx context.Context, rows []row) error {
	return x.put(ctx, rows, "")
}

// put writes rows, after a command.
func (x *rowStore) put(ctx context.Context, rows []row, first string, args ...any) error {
	err := sqlite.Tx(ctx, x.db, func(tx *sql.Tx) error {
		if first != "" {
			if _, err := tx.ExecContext(ctx, first, args...); err != nil {
				return err
			}
		}
		insert, err := tx.PrepareContext(ctx, "INSERT OR REPLACE INTO entries ("+columns+") VALUES (?"+
			strings.Repeat(", ?", strings.Count(columns, ","))+")")
		if err != nil {
			return err
		}
		defer insert.Close()
		named := map[[32]byte]bool{}
		for _, r := range rows {
			if _, err := insert.ExecContext(ctx, r.values()...); err != nil {
				return err
			}
			if r.isEntry() && !named[r.program] {
				named[r.program] = true
				if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO programs (id) VALUES (?)", r.program[:]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("index: %w", err)
	}
	return err
}

// sound asks SQLite whether the tables are well formed, and whether each of its indexes says what its table
// says: one that does not would hide what stands. It reads all.
func (x *rowStore) sound(ctx context.Context) error { return soundDatabase(ctx, x.db) }

func soundDatabase(ctx context.Context, db *sql.DB) error {
	var answer string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&answer); err != nil {
		return fmt.Errorf("SQLite cannot read it: %w", err)
	}
	if answer != "ok" {
		return fmt.Errorf("SQLite finds it damaged: %s", answer)
	}
	return nil
}

// differing returns those of some consecutive rows of the tree that the index does not have as they are.
func (x *rowStore) differing(ctx context.Context, rows []row) (bad []row, err error) {
	if len(rows) == 0 {
		return nil, nil
	}
	last := rows[len(rows)-1].idx
	has := make(map[uint64]row, len(rows))
	found, err := x.db.QueryContext(ctx, "SELECT "+columns+" FROM entries WHERE idx BETWEEN ? AND ?",
		int64(rows[0].idx), int64(last))
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer found.Close()
	for found.Next() {
		if r, err := scanRow(found); err == nil { // else it is not as it should be
			has[r.idx] = r
		}
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	for _, want := range rows {
		if got, ok := has[want.idx]; !ok || got != want {
			bad = append(bad, want)
		}
	}
	return bad, nil
}

// rewrite puts rows of the tree in the place of those that differ, and removes those from an index on, which
// no leaf stands for.
func (x *rowStore) rewrite(ctx context.Context, rows []row, end uint64) error {
	return x.put(ctx, rows, "DELETE FROM entries WHERE idx >= ? OR idx < 0", int64(end))
}

// each calls f with the rows below an index, in order. It ends with errRotten at the first that is damaged.
func (x *rowStore) each(ctx context.Context, end uint64, f func(row) error) error {
	found, err := x.db.QueryContext(ctx, "SELECT "+columns+" FROM entries WHERE idx < ? ORDER BY idx", int64(end))
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer found.Close()
	for found.Next() {
		r, err := scanRow(found)
		if err == nil {
			err = f(r)
		}
		if err != nil {
			return err
		}
	}
	return found.Err()
}

// programsDiffer says whether the list of programs is another than that of the rows.
func (x *rowStore) programsDiffer(ctx context.Context) (bool, error) {
	listed, err := x.programs(ctx)
	if err != nil {
		return true, nil // one of them is damaged
	}
	named, err := sqlite.All(ctx, x.db, func(s sqlite.Scanner) (id [32]byte, err error) {
		var b []byte
		err = s.Scan(&b)
		copy(id[:], b)
		return id, err
	}, "SELECT DISTINCT program FROM entries WHERE "+ofEntries+" ORDER BY program")
	if err != nil {
		return false, fmt.Errorf("index: %w", err)
	}
	return !slices.Equal(listed, named), nil
}

// listPrograms makes the list of programs from the rows.
func (x *rowStore) listPrograms(ctx context.Context) error {
	err := sqlite.Tx(ctx, x.db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM programs; "+
			"INSERT INTO programs SELECT DISTINCT program FROM entries WHERE "+ofEntries)
		return err
	})
	if err != nil {
		err = fmt.Errorf("index: %w", err)
	}
	return err
}
