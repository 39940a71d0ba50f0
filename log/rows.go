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
func (x *index) extent(ctx context.Context) (next, rows uint64, err error) {
	err = x.db.QueryRowContext(ctx, "SELECT coalesce(max(idx)+1, 0), count(*) FROM entries").Scan(&next, &rows)
	if err != nil {
		err = fmt.Errorf("index: %w", err)
	}
	return next, rows, err
}

// append adds the next rows of the tree, all or none, durably. A row that repeats a claim with a proof
// of the same program, that gives a crate version a second checksum, or in which a builder contradicts
// himself, is written like the others, since readers want to find it, and is an errContradiction:
// admission must have stopped it.
func (x *index) append(ctx context.Context, rows []row) error {
	var contradiction error
	err := sqlite.Tx(ctx, x.db, func(tx *sql.Tx) error {
		standing := standing{tx.StmtContext(ctx, x.version), tx.StmtContext(ctx, x.proven), tx.StmtContext(ctx, x.tag)}
		put, err := newPut(ctx, tx)
		if err != nil {
			return err
		}
		defer put.Close()
		for _, r := range rows {
			err := standing.allow(ctx, r)
			if errors.Is(err, errContradiction) && contradiction == nil {
				contradiction, err = err, nil
			}
			if err != nil && !errors.Is(err, errContradiction) {
				return err
			}
			if err := put.row(ctx, r); err != nil {
				return err
			}
		}
		return put.programs(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return contradiction
}

// put writes rows in a transaction.
type put struct {
	*sql.Stmt
	seen map[[32]byte]bool // programs of the rows
}

func newPut(ctx context.Context, tx *sql.Tx) (*put, error) {
	insert, err := tx.PrepareContext(ctx, "INSERT INTO entries ("+columns+") VALUES (?"+strings.Repeat(", ?", 20)+")")
	return &put{insert, map[[32]byte]bool{}}, err
}

func (p *put) row(ctx context.Context, r row) error {
	if r.kind() != kindNone {
		p.seen[r.program] = true
	}
	_, err := p.ExecContext(ctx, append(append([]any{int64(r.idx), r.identity[:], r.program[:], r.registry, r.name,
		r.version, r.sha256[:], r.commit[:], r.path, r.unproven, r.crlf, r.kind()}, r.built.values()...), r.leaf[:])...)
	return err
}

func (p *put) programs(ctx context.Context, tx *sql.Tx) error {
	for id := range p.seen {
		if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO programs (id) VALUES (?)", id[:]); err != nil {
			return err
		}
	}
	return nil
}

// standing has the statements that find what keeps a row out.
type standing struct{ version, same, tag *sql.Stmt }

// allow returns an error if what stands contradicts a row.
func (s standing) allow(ctx context.Context, r row) error {
	if r.kind() == kindNone {
		return nil // whoever made the row has said so
	}
	first, found, err := sqlite.Found(scanRow(s.version.QueryRowContext(ctx, r.name, r.version, r.registry)))
	if err == nil && found && first.sha256 != r.sha256 {
		err = fmt.Errorf("%w: entries %d and %d give %v two checksums", errContradiction, first.idx, r.idx, r.versionKey)
	}
	if err != nil {
		return err
	}
	again, found, err := sqlite.Found(scanRow(s.same.QueryRowContext(ctx, r.identity[:], r.program[:])))
	if err == nil && found {
		err = fmt.Errorf("%w: entry %d repeats entry %d (%v)", errContradiction, r.idx, again.idx, r.versionKey)
	}
	if err != nil || r.kind() != kindBuild {
		return err
	}
	other, found, err := sqlite.Found(scanRow(s.tag.QueryRowContext(ctx, r.request[:], r.tag[:], r.result[:])))
	if err == nil && found {
		err = fmt.Errorf("%w: in the entries %d and %d one builder says two things of one build (%v)", errContradiction,
			other.idx, r.idx, r.versionKey)
	}
	return err
}

// contradiction looks at all rows, and returns the first of each way in which the tree breaks the log's
// rules: nil, or an errContradiction. Other errors are the database's.
func (x *index) contradiction(ctx context.Context) error {
	var said []string
	for _, of := range []struct{ query, sentence string }{
		{"SELECT min(idx), max(idx), count(*) FROM entries WHERE kind = 'none' HAVING count(*) > 0",
			"entry %d (the last of these is %d, there are %d) is no entry"},
		{"SELECT min(idx), max(idx), count(*) FROM entries WHERE kind <> 'none' GROUP BY name, version, registry " +
			"HAVING min(sha256) <> max(sha256) ORDER BY min(idx) LIMIT 1",
			"among the entries %d to %d are %d about one crate version, with two checksums"},
		{"SELECT min(idx), max(idx), count(*) FROM entries WHERE kind <> 'none' GROUP BY identity, program " +
			"HAVING count(*) > 1 ORDER BY min(idx) LIMIT 1",
			"the entries %d and %d are the same claim with proofs of one program (%d times)"},
		{"SELECT min(idx), max(idx), count(*) FROM entries WHERE kind = 'build' GROUP BY request, tag " +
			"HAVING min(result) <> max(result) ORDER BY min(idx) LIMIT 1",
			"in the entries %d and %d one builder says two things of one build (%d entries)"},
	} {
		var a, b, n int64
		err := x.db.QueryRowContext(ctx, of.query).Scan(&a, &b, &n)
		switch {
		case err == nil:
			said = append(said, fmt.Sprintf(of.sentence, a, b, n))
		case !errors.Is(err, sql.ErrNoRows):
			return fmt.Errorf("index: %w", err)
		}
	}
	if len(said) > 0 {
		return fmt.Errorf("%w: %s", errContradiction, strings.Join(said, "; "))
	}
	return nil
}

// sound asks SQLite whether the tables are well formed, and whether each of its indexes says what its table
// says: one that does not would hide what stands. It reads all.
func (x *index) sound(ctx context.Context) error { return soundDatabase(ctx, x.db) }

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
func (x *index) differing(ctx context.Context, rows []row) (bad []row, err error) {
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

// rowsIn returns how many rows there are in a range of entries.
func (x *index) rowsIn(ctx context.Context, from, to uint64) (n uint64, err error) {
	err = x.db.QueryRowContext(ctx, "SELECT count(*) FROM entries WHERE idx >= ? AND idx < ?",
		int64(from), int64(to)).Scan(&n)
	if err != nil {
		err = fmt.Errorf("index: %w", err)
	}
	return n, err
}

// rewrite puts rows of the tree in the place of those that differ, and removes those from an index on, which
// no entry stands for.
func (x *index) rewrite(ctx context.Context, rows []row, end uint64) error {
	err := sqlite.Tx(ctx, x.db, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM entries WHERE idx >= ? OR idx < 0", int64(end)); err != nil {
			return err
		}
		for _, r := range rows {
			if _, err := tx.ExecContext(ctx, "DELETE FROM entries WHERE idx = ?", int64(r.idx)); err != nil {
				return err
			}
		}
		put, err := newPut(ctx, tx)
		if err != nil {
			return err
		}
		defer put.Close()
		for _, r := range rows {
			if err := put.row(ctx, r); err != nil {
				return err
			}
		}
		return put.programs(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

// programsDiffer says whether the list of programs is another than that of the rows.
func (x *index) programsDiffer(ctx context.Context) (bool, error) {
	listed, err := x.programs(ctx)
	if err != nil {
		return true, nil // one of them is damaged
	}
	named, err := sqlite.All(ctx, x.db, func(s sqlite.Scanner) (id [32]byte, err error) {
		var b []byte
		err = s.Scan(&b)
		copy(id[:], b)
		return id, err
	}, "SELECT DISTINCT program FROM entries WHERE kind <> 'none' ORDER BY program")
	if err != nil {
		return false, fmt.Errorf("index: %w", err)
	}
	return !slices.Equal(listed, named), nil
}

// listPrograms makes the list of programs from the rows.
func (x *index) listPrograms(ctx context.Context) error {
	err := sqlite.Tx(ctx, x.db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM programs; "+
			"INSERT INTO programs SELECT DISTINCT program FROM entries WHERE kind <> 'none'")
		return err
	})
	if err != nil {
		err = fmt.Errorf("index: %w", err)
	}
	return err
}
