package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"cratelog/internal/sqlite"
)

const findingColumns = "f.id, f.key, f.log, coalesce((SELECT origin FROM logs WHERE logs.id = f.log), ''), f.kind, " +
	"f.class, f.summary, f.detail, f.evidence, f.idx, f.name, f.version, f.watch, " +
	"f.first_seen, f.last_seen, f.count, f.resolved, f.ack_by, f.ack_why, f.acked"

const selectFinding = "SELECT " + findingColumns + " FROM findings f "

func scanFinding(r scanner) (Finding, error) {
	var f Finding
	err := scanFindingAnd(r, &f)
	return f, err
}

// scanFindingAnd reads the columns of a finding and those that follow them.
func scanFindingAnd(r scanner, f *Finding, more ...any) error {
	into := []any{&f.ID, &f.Key, &f.Log, &f.Origin, &f.Kind, &f.Class, &f.Summary, &f.Detail, &f.Evidence, &f.Index,
		&f.Name, &f.Version, &f.Watch,
		moment{&f.FirstSeen}, moment{&f.LastSeen}, &f.Count, moment{&f.Resolved}, &f.AckBy, &f.AckWhy, moment{&f.Acked}}
	return r.Scan(append(into, more...)...)
}

// ErrNoFinding: there is no finding with this id.
var ErrNoFinding = errors.New("there is no such finding")

// RecordFinding records a finding, together with an alert for each of the channels,
// unless one with its Key stands: that one is counted once more instead. FirstSeen
// is the time of either. It returns what is stored, and whether it is new. The
// evidence file that it names must be on the disk.
func (s *Store) RecordFinding(ctx context.Context, f Finding, channels []string) (Finding, bool, error) {
	if f.Key == "" || f.Kind == "" || f.Class.Rank() == 0 || f.FirstSeen.IsZero() {
		return f, false, fmt.Errorf("finding %q is incomplete", f.Key)
	}
	var isNew bool
	err := s.tx(ctx, func(tx *sql.Tx) error {
		n, err := change(ctx, tx,
			"UPDATE findings SET last_seen = max(last_seen, ?), count = count + 1 WHERE key = ? AND resolved = 0",
			millis(f.FirstSeen), f.Key)
		if err != nil {
			return err
		}
		if isNew = n == 0; isNew {
			if err := insertFinding(ctx, tx, f, channels); err != nil {
				return err
			}
		}
		f, _, err = sqlite.One(ctx, tx, scanFinding, selectFinding+"WHERE key = ? AND resolved = 0", f.Key)
		return err
	})
	return f, isNew, err
}

func insertFinding(ctx context.Context, tx *sql.Tx, f Finding, channels []string) error {
	r, err := tx.ExecContext(ctx,
		"INSERT INTO findings (key, log, kind, class, summary, detail, evidence, idx, name, version, watch, "+
			"first_seen, last_seen, count, resolved, ack_by, ack_why, acked) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,1,0,'','',0)",
		f.Key, f.Log, f.Kind, string(f.Class), f.Summary, f.Detail, f.Evidence, f.Index, f.Name, f.Version, f.Watch,
		millis(f.FirstSeen), millis(f.FirstSeen))
	if err != nil {
		return err
	}
	id, err := r.LastInsertId()
	if err != nil {
		return err
	}
	return insertDeliveries(ctx, tx, id, Found, f.FirstSeen, channels)
}

func insertDeliveries(ctx context.Context, tx *sql.Tx, finding int64, event string,
	now time.Time, channels []string) error {
	for _, c := range channels {
		if err := exec(ctx, tx,
			"INSERT OR IGNORE INTO deliveries (finding, channel, event, state, attempts, next_try, error, done) "+
				"VALUES (?,?,?,'pending',0,?,'',0)",
			finding, c, event, millis(now)); err != nil {
			return err
		}
	}
	return nil
}

// SetDetail replaces what the standing finding of a key says beside its summary.
func (s *Store) SetDetail(ctx context.Context, key, detail string) error {
	return exec(ctx, s.write, "UPDATE findings SET detail = ? WHERE key = ? AND resolved = 0", detail, key)
}

// ResolveFinding ends the standing finding of a key, if there is one, with an alert
// for each of the channels. It refuses security findings: those do not end.
func (s *Store) ResolveFinding(ctx context.Context, key string, now time.Time, channels []string) (bool, error) {
	var resolved bool
	err := s.tx(ctx, func(tx *sql.Tx) error {
		f, known, err := sqlite.One(ctx, tx, scanFinding, selectFinding+"WHERE key = ? AND resolved = 0", key)
		if err != nil || !known {
			return err
		}
		if f.Class == Security {
			return fmt.Errorf("finding %d is of class security and does not end", f.ID)
		}
		if err := exec(ctx, tx, "UPDATE findings SET resolved = ? WHERE id = ?", millis(now), f.ID); err != nil {
			return err
		}
		resolved = true
		return insertDeliveries(ctx, tx, f.ID, Resolved, now, channels)
	})
	return resolved, err
}

// StandingFinding returns the finding of a key that is not resolved, and whether
// there is one.
func (r *Reader) StandingFinding(ctx context.Context, key string) (Finding, bool, error) {
	return sqlite.One(ctx, r.read, scanFinding, selectFinding+"WHERE f.key = ? AND f.resolved = 0", key)
}

// FindingByID returns one finding, and whether there is one.
func (r *Reader) FindingByID(ctx context.Context, id int64) (Finding, bool, error) {
	return sqlite.One(ctx, r.read, scanFinding, selectFinding+"WHERE f.id = ?", id)
}

// CountStanding returns how many findings of each class are neither resolved nor
// acknowledged.
func (r *Reader) CountStanding(ctx context.Context) (map[Class]int64, error) {
	out, err := r.standing(ctx, "")
	for _, class := range []Class{Security, Operational, Info} {
		out[class] += 0 // so that it is there
	}
	return out, err
}

// Standing is CountStanding of one log; of log 0, of those about no log.
func (r *Reader) Standing(ctx context.Context, log int64) (map[Class]int64, error) {
	return r.standing(ctx, "log = ? AND ", log)
}

func (r *Reader) standing(ctx context.Context, where string, args ...any) (map[Class]int64, error) {
	return counts[Class](ctx, r.read,
		"SELECT class, count(*) FROM findings WHERE "+where+"resolved = 0 AND acked = 0 GROUP BY class", args...)
}

// CountFindings returns how many findings of a log, kind and watch there are; of watch 0, those that no watch
// asked for.
func (r *Reader) CountFindings(ctx context.Context, log int64, kind string, watch int64) (n int64, err error) {
	return n, r.read.QueryRowContext(ctx, "SELECT count(*) FROM findings WHERE log = ? AND kind = ? AND watch = ?",
		log, kind, watch).Scan(&n)
}

// Acknowledge notes who has taken care of a finding. It does not page again: pending
// alerts about it are dropped.
func (s *Store) Acknowledge(ctx context.Context, id int64, by, why string, now time.Time) error {
	if by == "" || why == "" {
		return errors.New("an acknowledgment needs who and why")
	}
	return s.tx(ctx, func(tx *sql.Tx) error {
		n, err := change(ctx, tx, "UPDATE findings SET ack_by = ?, ack_why = ?, acked = ? WHERE id = ?",
			by, why, millis(now), id)
		switch {
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("%w: %d", ErrNoFinding, id)
		}
		return exec(ctx, tx,
			"UPDATE deliveries SET state = 'dropped', done = ? WHERE finding = ? AND state = 'pending'", millis(now), id)
	})
}

// PendingDeliveries returns at most limit alerts for a channel that are due, those of
// class security first, then in order of their age; that a finding is over only once its channel was told of it.
func (r *Reader) PendingDeliveries(ctx context.Context, channel string, now time.Time, limit int) ([]Delivery, error) {
	return sqlite.All(ctx, r.read, func(r scanner) (Delivery, error) {
		var d Delivery
		err := scanFindingAnd(r, &d.Finding, &d.ID, &d.Channel, &d.Event, &d.State, &d.Attempts,
			moment{&d.NextTry}, &d.Error, moment{&d.Done})
		return d, err
	}, "SELECT "+findingColumns+", d.id, d.channel, d.event, d.state, d.attempts, d.next_try, d.error, d.done FROM "+
		"deliveries d JOIN findings f ON f.id = d.finding "+
		"WHERE d.state = 'pending' AND d.channel = ? AND (d.next_try <= ? OR d.next_try > ?) AND NOT EXISTS (SELECT 1 "+
		"FROM deliveries e WHERE e.finding = d.finding AND e.channel = d.channel AND e.id < d.id AND e.state = 'pending') "+
		"ORDER BY (f.class = 'security') DESC, d.id LIMIT ?", channel, millis(now), millis(now.Add(longestWait)), limit)
}

// Delivered notes that an alert reached its channel.
func (s *Store) Delivered(ctx context.Context, delivery int64, now time.Time) error {
	return exec(ctx, s.write,
		"UPDATE deliveries SET state = 'delivered', attempts = attempts + 1, error = '', done = ? WHERE id = ? AND "+
			"state = 'pending'", millis(now), delivery)
}

// Failed notes that an alert did not reach its channel, and when to try again.
func (s *Store) Failed(ctx context.Context, delivery int64, reason string, next time.Time) error {
	return exec(ctx, s.write,
		"UPDATE deliveries SET attempts = attempts + 1, error = ?, next_try = ? WHERE id = ? AND state = 'pending'",
		reason, millis(next), delivery)
}

// CountDeliveries returns how many alerts are pending, by channel.
func (r *Reader) CountDeliveries(ctx context.Context) (map[string]int64, error) {
	return counts[string](ctx, r.read,
		"SELECT channel, count(*) FROM deliveries WHERE state = 'pending' GROUP BY channel")
}
