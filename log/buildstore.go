package log

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"cratelog/internal/sqlite"
)

// buildStore keeps what belongs to build claims and is not in the tree: the lists of compiled crates,
// which claims name by digest, and the evidence against builders who contradict themselves. It
// cannot be made again from the tree.
type buildStore struct {
	db kept

	mu   sync.Mutex         // guards sums
	sums map[int64][32]byte // of files of contradictions, which are large, do not change, and are listed by anybody
}

const buildsFile = "builds.db" // in the state directory

var buildsDatabase = sqlite.Owned{
	ID: 0x63726c62, Version: 1, Schema: buildsSchema, Journal: "wal", Conns: 4,
	What: "a log's builds.db",
	Advice: "move it away while the log is stopped: the log goes on without the lists and the evidence that it held, " +
		"and takes a list again with an entry that names it",
}

const buildsSchema = `
CREATE TABLE lists (
	sha256 BLOB PRIMARY KEY,
	bytes  BLOB NOT NULL
) STRICT;

-- One for each builder and build: whoever says three things has contradicted himself with two.
CREATE TABLE contradictions (
	n       INTEGER PRIMARY KEY,
	request BLOB NOT NULL,
	tag     BLOB NOT NULL,
	file    BLOB NOT NULL, -- of package evidence
	UNIQUE (request, tag)
) STRICT;
`

func openBuildStore(ctx context.Context, cfg *Config) (*buildStore, error) {
	db, err := openKeptIn(ctx, cfg, &buildsDatabase, buildsFile)
	if err != nil {
		return nil, err
	}
	return &buildStore{db: db, sums: map[int64][32]byte{}}, nil
}

// putList keeps a list, durably, and says whether it is new. The caller has checked it. It replaces one that is
// damaged.
func (b *buildStore) putList(ctx context.Context, list []byte) (isNew bool, err error) {
	sum := sha256.Sum256(list)
	if _, kept, err := b.list(ctx, sum); kept || err != nil && !errors.Is(err, errDamaged) {
		return false, err
	}
	return b.insert(ctx, "REPLACE INTO lists (sha256, bytes) VALUES (?, ?)", sum[:], append([]byte{}, list...))
}

// list returns the list with a digest, and whether it is kept. Of one that does not have it, the error is errDamaged.
func (b *buildStore) list(ctx context.Context, sum [32]byte) ([]byte, bool, error) {
	raw, kept, err := b.bytes(ctx, "SELECT bytes FROM lists WHERE sha256 = ?", sum[:])
	if err == nil && kept && sha256.Sum256(raw) != sum {
		return nil, false, &damage{listName(sum), "does not have this SHA-256; an entry that names it, submitted again with " +
			"the list, mends that"}
	}
	return raw, kept, err
}

// listName is what damages are told about.
func listName(sum [32]byte) string { return fmt.Sprintf("the list of compiled crates %x", sum) }

// dropList removes a list that no entry names.
func (b *buildStore) dropList(ctx context.Context, sum [32]byte) error {
	_, err := b.db.ExecContext(ctx, "DELETE FROM lists WHERE sha256 = ?", sum[:])
	return b.db.failed("builds", err)
}

// forget removes the lists that no entry names: of submissions that came to nothing after their list
// was kept.
func (b *buildStore) forget(ctx context.Context, named func(sum [32]byte) (bool, error)) error {
	all, err := sqlite.All(ctx, b.db.DB, func(r sqlite.Scanner) (sum [32]byte, err error) {
		var raw []byte
		if err = r.Scan(&raw); err == nil && copy(sum[:], raw) != len(sum) {
			err = errors.New("a row is damaged")
		}
		return sum, err
	}, "SELECT sha256 FROM lists")
	if err != nil {
		return b.db.failed("builds", err)
	}
	for _, sum := range all {
		is, err := named(sum)
		if err == nil && !is {
			err = b.dropList(ctx, sum)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// putContradiction keeps evidence against the builder with a tag, durably, unless there is some, and
// returns its number. Numbers come in the order in which others see them: whoever lists them misses none.
func (b *buildStore) putContradiction(ctx context.Context, request, tag [32]byte, file []byte) (n int64, err error) {
	for range 10 { // another process may have taken the number
		if _, err := b.insert(ctx, `INSERT INTO contradictions (n, request, tag, file)
			SELECT coalesce(max(n), 0) + 1, ?, ?, ? FROM contradictions`, request[:], tag[:], file); err != nil {
			return 0, err
		}
		if n, found, err := b.contradicts(ctx, request, tag); err != nil || found {
			return n, err
		}
	}
	return 0, b.db.failed("builds", errors.New("other processes keep taking the number of a contradiction"))
}

// contradiction returns the evidence with a number, and whether there is some.
func (b *buildStore) contradiction(ctx context.Context, n int64) ([]byte, bool, error) {
	return b.bytes(ctx, "SELECT file FROM contradictions WHERE n = ?", n)
}

// contradicts says whether there is evidence against the builder with a tag, and its number.
func (b *buildStore) contradicts(ctx context.Context, request, tag [32]byte) (n int64, found bool, err error) {
	err = b.db.QueryRowContext(ctx, "SELECT n FROM contradictions WHERE request = ? AND tag = ?", request[:],
		tag[:]).Scan(&n)
	n, found, err = sqlite.Found(n, err)
	return n, found, b.db.failed("builds", err)
}

// contradictions returns the numbers of evidence, from one on, and the SHA-256 of the files: at most
// limit.
func (b *buildStore) contradictions(ctx context.Context, from int64, limit int) ([]contradictionBody, error) {
	all, err := sqlite.All(ctx, b.db.DB, func(r sqlite.Scanner) (c contradictionBody, err error) {
		err = r.Scan(&c.Number)
		return c, err
	}, "SELECT n FROM contradictions WHERE n >= ? ORDER BY n LIMIT ?", from, limit)
	if err != nil {
		return nil, b.db.failed("builds", err)
	}
	for i := range all {
		sum, err := b.sum(ctx, all[i].Number)
		if err != nil {
			return nil, err
		}
		all[i].SHA256 = fmt.Sprintf("%x", sum)
	}
	return all, nil
}

// sum returns the SHA-256 of a file of evidence, which is read once. Several who ask at the same time wait for
// one.
func (b *buildStore) sum(ctx context.Context, n int64) ([32]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if sum, known := b.sums[n]; known {
		return sum, nil
	}
	file, found, err := b.contradiction(ctx, n)
	if err == nil && !found {
		err = fmt.Errorf("builds: contradiction %d is gone", n)
	}
	if err != nil {
		return [32]byte{}, err
	}
	b.sums[n] = sha256.Sum256(file)
	return b.sums[n], nil
}

// insert inserts a row unless there is one with its key, and says whether it did.
func (b *buildStore) insert(ctx context.Context, stmt string, args ...any) (isNew bool, err error) {
	err = b.db.tx(ctx, func(tx *sql.Tx) error {
		isNew, err = insertNew(ctx, tx, stmt, args...)
		return err
	})
	return isNew, b.db.failed("builds", err)
}

func (b *buildStore) bytes(ctx context.Context, query string, args ...any) ([]byte, bool, error) {
	raw, found, err := sqlite.One(ctx, b.db.DB, func(r sqlite.Scanner) (raw []byte, err error) {
		err = r.Scan(&raw)
		return raw, err
	}, query, args...)
	return raw, found, b.db.failed("builds", err)
}

func (b *buildStore) close() error { return b.db.Close() }
