package store

import (
	"context"
	"strings"
	"time"

	"cratelog/internal/sqlite"
)

// CheckpointQuery says which checkpoints are asked for, in the order in which this
// database first held them. Its zero value asks for all of every log.
type CheckpointQuery struct {
	Log     int64  // 0 for every log
	Size    *int64 // exactly
	Verdict string

	After  int64 // the Checkpoint.ID after which to go on, 0 for the beginning
	Newest bool  // the newest first
	Limit  int   // at most so many; 0 is none
}

// Checkpoints returns the checkpoints that a query asks for, with their cosignatures.
func (r *Reader) Checkpoints(ctx context.Context, q CheckpointQuery) ([]Checkpoint, error) {
	var w conditions
	if q.Size != nil && q.Log != 0 {
		w.add("log = ? AND size = ?", q.Log, *q.Size) // by the index of these two
	} else if q.Size != nil {
		w.add("size = ?", *q.Size)
	}
	if q.Verdict != "" {
		w.add("verdict = ?", q.Verdict)
	}
	w.after("", q.Log, q.After, q.Newest)
	return r.checkpointsWhere(ctx, w.sql()+" ORDER BY id"+direction(q.Newest)+" LIMIT ?", append(w.args, q.Limit)...)
}

func direction(newest bool) string {
	if newest {
		return " DESC"
	}
	return ""
}

// BestCovering returns a consistent checkpoint of at least size entries whose tree
// this monitor holds: the largest that satisfies the trust file, else the largest.
func (r *Reader) BestCovering(ctx context.Context, log, size, downloaded int64) (Checkpoint, bool, error) {
	return r.firstCheckpoint(ctx,
		"WHERE log = ? AND verdict = 'consistent' AND size >= ? AND size <= ? ORDER BY accepted DESC, size DESC",
		log, size, downloaded)
}

// GrowthPoint is the size of a log at some time.
type GrowthPoint struct {
	Time time.Time
	Size int64
}

// Growth returns how a log grew: the consistent checkpoints by the time at which
// witnesses, else this monitor, saw them, thinned out to about points of them. The
// first and the last are among them.
func (r *Reader) Growth(ctx context.Context, log int64, points int) ([]GrowthPoint, error) {
	const at = "CASE WHEN witnessed > 0 THEN witnessed ELSE first_seen END"
	return sqlite.All(ctx, r.read, func(r scanner) (p GrowthPoint, err error) {
		err = r.Scan(moment{&p.Time}, &p.Size)
		return p, err
	}, `WITH heads AS (SELECT `+at+` AS t, size FROM checkpoints WHERE log = ?1 AND verdict = 'consistent'),
		ends AS (SELECT min(t) AS first, max(t) AS last FROM heads)
		SELECT * FROM (
			SELECT min(t) AS t, min(size) AS size FROM heads
			UNION SELECT max(t), max(size) FROM heads, ends GROUP BY (t - first) * ?2 / (last - first + 1))
		WHERE t IS NOT NULL ORDER BY t, size`, log, points)
}

// FindingQuery says which findings are asked for, in the order in which they were
// found. Its zero value asks for all.
type FindingQuery struct {
	Log      int64 // 0 for every log, and for findings of none
	Class    Class
	Kind     string
	Name     string // of the crate
	Evidence string // hex SHA-256 of the evidence file
	Standing bool   // only those that are neither resolved nor acknowledged
	Graver   bool   // than Info
	Index    *int64 // of the entry that it is about

	After  int64 // the Finding.ID after which to go on, 0 for the beginning
	Newest bool  // the newest first
	Limit  int   // at most so many; 0 is none
}

// Findings returns the findings that a query asks for.
func (r *Reader) Findings(ctx context.Context, q FindingQuery) ([]Finding, error) {
	var w conditions
	for _, c := range []struct{ column, value string }{
		{"f.class", string(q.Class)}, {"f.kind", q.Kind}, {"f.name", q.Name}, {"f.evidence", q.Evidence},
	} {
		if c.value != "" {
			w.add(c.column+" = ?", c.value)
		}
	}
	if q.Standing {
		w.add("f.resolved = 0 AND f.acked = 0")
	}
	if q.Graver {
		w.add("f.class IN (?, ?)", string(Security), string(Operational))
	}
	if q.Index != nil {
		w.add("f.idx = ?", *q.Index)
	}
	w.after("f.", q.Log, q.After, q.Newest)
	return sqlite.All(ctx, r.read, scanFinding, selectFinding+w.sql()+" ORDER BY f.id"+direction(q.Newest)+" LIMIT ?",
		append(w.args, q.Limit)...)
}

// CountKinds returns how many findings of a class there are, by kind; of log 0, of all.
func (r *Reader) CountKinds(ctx context.Context, log int64, class Class) (map[string]int64, error) {
	return counts[string](ctx, r.read,
		"SELECT kind, count(*) FROM findings WHERE class = ?1 AND (?2 = 0 OR log = ?2) GROUP BY kind", string(class), log)
}

// Contradicted returns the sizes of which a log signed a tree that is not ours.
func (r *Reader) Contradicted(ctx context.Context, log int64) ([]int64, error) {
	return sqlite.All(ctx, r.read, func(r scanner) (n int64, err error) { return n, r.Scan(&n) },
		"SELECT DISTINCT size FROM checkpoints WHERE log = ? AND verdict = 'inconsistent'", log)
}

// Accused returns the indexes of a log's entries that security findings are about.
func (r *Reader) Accused(ctx context.Context, log int64) ([]int64, error) {
	return sqlite.All(ctx, r.read, func(r scanner) (n int64, err error) { return n, r.Scan(&n) },
		"SELECT DISTINCT idx FROM findings WHERE class = ? AND log = ? AND idx >= 0", string(Security), log)
}

// conditions are the parts of a WHERE clause, with their arguments.
type conditions struct {
	parts []string
	args  []any
}

func (c *conditions) add(part string, args ...any) {
	c.parts = append(c.parts, part)
	c.args = append(c.args, args...)
}

func (c *conditions) sql() string {
	if len(c.parts) == 0 {
		return ""
	}
	return "WHERE " + strings.Join(c.parts, " AND ")
}

// in restricts to one of some values; of none, to nothing.
func (c *conditions) in(column string, values []string) {
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	c.add(column+" IN ("+strings.TrimSuffix(strings.Repeat("?,", len(values)), ",")+")", args...)
}

// after restricts to a log, and to what follows a row in the order of ids. The plus
// keeps SQLite from looking up a whole log by its index and sorting it.
func (c *conditions) after(table string, log, id int64, newest bool) {
	if log != 0 {
		c.add("+"+table+"log = ?", log)
	}
	switch {
	case id != 0 && newest:
		c.add(table+"id < ?", id)
	case id != 0:
		c.add(table+"id > ?", id)
	}
}
