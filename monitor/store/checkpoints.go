package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/sqlite"
)

const selectCheckpoint = "SELECT id, log, size, root, signed, source, first_seen, last_seen, verdict, accepted, " +
	"witnessed FROM checkpoints "

func scanCheckpoint(r scanner) (Checkpoint, error) {
	var c Checkpoint
	err := r.Scan(&c.ID, &c.Log, &c.Size, fixed(c.Root[:]), &c.Signed, &c.Source, moment{&c.FirstSeen},
		moment{&c.LastSeen}, &c.Verdict, &c.Accepted, moment{&c.Witnessed})
	return c, err
}

// PutCheckpoint remembers that a source showed a checkpoint, whose signature lines
// the caller has verified, every one. If it is known already, its lines are added
// to those that are stored; of two lines of one key the one with the newer time
// stays. judge says whether the stored lines satisfy the trust file, and when the quorum
// cosigned. c.Verdict counts only while the stored one is Pending. It returns what
// is stored, and whether it is new.
func (s *Store) PutCheckpoint(ctx context.Context, c Checkpoint,
	judge func(signed []byte) (accepted bool, witnessed time.Time)) (Checkpoint, bool, error) {
	var isNew bool
	var stored Checkpoint
	err := s.tx(ctx, func(tx *sql.Tx) error {
		old, known, err := sqlite.One(ctx, tx, scanCheckpoint, selectCheckpoint+"WHERE log = ? AND size = ? AND root = ?",
			c.Log, c.Size, c.Root[:])
		if err != nil {
			return err
		}
		if known {
			if old.Cosignatures, err = cosignatures(ctx, tx, old.ID); err != nil {
				return err
			}
			c, err = merge(old, c)
			if err != nil {
				return err
			}
		}
		c.Accepted, c.Witnessed = judge(c.Signed)
		if known && nothingNew(old, c) {
			stored = c
			return nil
		}
		if known {
			err = exec(ctx, tx,
				"UPDATE checkpoints SET signed = ?, last_seen = ?, verdict = ?, accepted = ?, witnessed = ? WHERE id = ?",
				string(c.Signed), millis(c.LastSeen), c.Verdict, c.Accepted, millis(c.Witnessed), c.ID)
		} else {
			isNew = true
			var r sql.Result
			r, err = tx.ExecContext(ctx,
				"INSERT INTO checkpoints (log, size, root, signed, source, first_seen, last_seen, verdict, "+
					"accepted, witnessed) VALUES (?,?,?,?,?,?,?,?,?,?)",
				c.Log, c.Size, c.Root[:], string(c.Signed), c.Source, millis(c.FirstSeen), millis(c.LastSeen),
				c.Verdict, c.Accepted, millis(c.Witnessed))
			if err == nil {
				c.ID, err = r.LastInsertId()
			}
		}
		if err != nil {
			return err
		}
		for _, g := range c.Cosignatures {
			if err := exec(ctx, tx,
				"INSERT OR REPLACE INTO cosignatures (checkpoint, witness, key_name, key_id, time) VALUES (?,?,?,?,?)",
				c.ID, g.Witness, g.KeyName, g.KeyID, millis(g.Time)); err != nil {
				return err
			}
		}
		stored = c
		return nil
	})
	return stored, isNew, err
}

// seenAgain is how long a checkpoint may be seen again before that is noted, so that
// repeating one does not keep the disk busy.
const seenAgain = time.Minute

func nothingNew(old, c Checkpoint) bool {
	return bytes.Equal(old.Signed, c.Signed) && old.Verdict == c.Verdict && old.Accepted == c.Accepted &&
		old.Witnessed.Equal(c.Witnessed) && c.LastSeen.Sub(old.LastSeen) < seenAgain
}

type lineKey struct {
	name string
	id   uint32
}

// merge adds what a newly seen checkpoint has to the stored one.
func merge(old, seen Checkpoint) (Checkpoint, error) {
	text, lines, err := splitNote(old.Signed)
	if err != nil {
		return old, err
	}
	text2, more, err := splitNote(seen.Signed)
	if err != nil {
		return old, err
	}
	if text != text2 {
		return old, fmt.Errorf("two texts for the checkpoint of size %d and root %v of log %d",
			old.Size, old.Root, old.Log)
	}
	newer := mergeCosignatures(&old, seen)
	for _, l := range more {
		i := slices.IndexFunc(lines, func(known sigLine) bool { return known.key == l.key })
		switch {
		case i < 0:
			lines = append(lines, l)
		case newer[l.key]:
			lines[i] = l
		}
	}
	var b bytes.Buffer
	b.WriteString(text + "\n")
	for _, l := range lines {
		b.WriteString(l.line)
	}
	old.Signed = b.Bytes()
	if seen.LastSeen.After(old.LastSeen) {
		old.LastSeen = seen.LastSeen
	}
	if old.Verdict == Pending {
		old.Verdict = seen.Verdict
	}
	return old, nil
}

// mergeCosignatures adds cosignatures to old, and returns the keys of those that are
// newer than old's.
func mergeCosignatures(old *Checkpoint, seen Checkpoint) map[lineKey]bool {
	newer := make(map[lineKey]bool)
	old.Cosignatures = slices.Clone(old.Cosignatures)
	for _, g := range seen.Cosignatures {
		i := slices.IndexFunc(old.Cosignatures,
			func(o Cosignature) bool { return o.KeyName == g.KeyName && o.KeyID == g.KeyID })
		switch {
		case i < 0:
			old.Cosignatures = append(old.Cosignatures, g)
		case g.Time.After(old.Cosignatures[i].Time):
			old.Cosignatures[i], newer[lineKey{g.KeyName, g.KeyID}] = g, true
		}
	}
	return newer
}

type sigLine struct {
	key  lineKey
	line string
}

// splitNote takes a signed note apart, whose signatures are verified.
func splitNote(signed []byte) (text string, lines []sigLine, err error) {
	i := bytes.LastIndex(signed, []byte("\n\n"))
	if i < 0 {
		return "", nil, fmt.Errorf("a signed note has no signatures")
	}
	for line := range strings.Lines(string(signed[i+2:])) {
		name, b64, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "— "), "\n"), " ")
		sig, err := base64.StdEncoding.DecodeString(b64)
		if !ok || err != nil || len(sig) < 4 {
			return "", nil, fmt.Errorf("a signature line is malformed")
		}
		lines = append(lines, sigLine{lineKey{name, binary.BigEndian.Uint32(sig)}, line})
	}
	return string(signed[:i+1]), lines, nil
}

func cosignatures(ctx context.Context, q querier, checkpoint int64) ([]Cosignature, error) {
	return sqlite.All(ctx, q, func(r scanner) (Cosignature, error) {
		var g Cosignature
		err := r.Scan(&g.Witness, &g.KeyName, &g.KeyID, moment{&g.Time})
		return g, err
	}, "SELECT witness, key_name, key_id, time FROM cosignatures WHERE checkpoint = ? "+
		"ORDER BY witness, key_name, key_id", checkpoint)
}

// SetVerdict judges a pending checkpoint. A verdict never changes again.
func (s *Store) SetVerdict(ctx context.Context, checkpoint int64, verdict string) error {
	return exec(ctx, s.write, "UPDATE checkpoints SET verdict = ? WHERE id = ? AND verdict = 'pending'",
		verdict, checkpoint)
}

// checkpointsWhere returns checkpoints with their cosignatures.
func (r *Reader) checkpointsWhere(ctx context.Context, where string, args ...any) ([]Checkpoint, error) {
	found, err := sqlite.All(ctx, r.read, scanCheckpoint, selectCheckpoint+where, args...)
	for i := range found {
		if err == nil {
			found[i].Cosignatures, err = cosignatures(ctx, r.read, found[i].ID)
		}
	}
	return found, err
}

func (r *Reader) firstCheckpoint(ctx context.Context, where string, args ...any) (Checkpoint, bool, error) {
	found, err := r.checkpointsWhere(ctx, where+" LIMIT 1", args...)
	if err != nil || len(found) == 0 {
		return Checkpoint{}, false, err
	}
	return found[0], true, nil
}

// CheckpointOf returns the checkpoint of a size and root hash, and whether there
// is one.
func (r *Reader) CheckpointOf(ctx context.Context, log, size int64, root tlog.Hash) (Checkpoint, bool, error) {
	return r.firstCheckpoint(ctx, "WHERE log = ? AND size = ? AND root = ?", log, size, root[:])
}

// CheckpointsOfSize returns all checkpoints of a size: more than one is a fork.
func (r *Reader) CheckpointsOfSize(ctx context.Context, log, size int64) ([]Checkpoint, error) {
	return r.checkpointsWhere(ctx, "WHERE log = ? AND size = ? ORDER BY id", log, size)
}

// Covering returns the consistent checkpoint of the smallest size that is at least
// size, and whether there is one.
func (r *Reader) Covering(ctx context.Context, log, size int64) (Checkpoint, bool, error) {
	return r.firstCheckpoint(ctx, "WHERE log = ? AND verdict = 'consistent' AND size >= ? ORDER BY size", log, size)
}

// Newest returns the largest checkpoint that is not inconsistent; if
// accepted is set, the largest one that satisfies the trust file too.
func (r *Reader) Newest(ctx context.Context, log int64, accepted bool) (Checkpoint, bool, error) {
	return r.firstCheckpoint(ctx,
		"WHERE log = ? AND verdict != 'inconsistent' AND accepted >= ? ORDER BY size DESC, id", log, accepted)
}

// PendingCheckpoints returns at most limit pending checkpoints, by size.
func (r *Reader) PendingCheckpoints(ctx context.Context, log int64, limit int) ([]Checkpoint, error) {
	return r.checkpointsWhere(ctx, "WHERE log = ? AND verdict = 'pending' ORDER BY size, id LIMIT ?", log, limit)
}

// LargestPending returns at most limit pending checkpoints of more than size entries, the
// largest first: those that are accepted, that the log itself showed first, or that are
// of this view.
func (r *Reader) LargestPending(ctx context.Context, log, size int64, view View, limit int) ([]Checkpoint, error) {
	return r.checkpointsWhere(ctx,
		"WHERE log = ? AND verdict = 'pending' AND size > ? AND (accepted = 1 OR source = 'log' OR (size = ? AND "+
			"root = ?)) ORDER BY size DESC, id LIMIT ?",
		log, size, view.Size, view.Root[:], limit)
}

// CountCheckpoints returns how many checkpoints of a log have a verdict.
func (r *Reader) CountCheckpoints(ctx context.Context, log int64, verdict string) (n int64, err error) {
	return n, r.read.QueryRowContext(ctx, "SELECT count(*) FROM checkpoints WHERE log = ? AND verdict = ?",
		log, verdict).Scan(&n)
}

// CosignedBy returns the smallest consistent checkpoint of at least size entries
// that a witness's key cosigned, and whether there is one.
func (r *Reader) CosignedBy(ctx context.Context, log int64, keyName string, keyID uint32,
	size int64) (Checkpoint, bool, error) {
	return r.firstCheckpoint(ctx,
		"WHERE log = ? AND verdict = 'consistent' AND size >= ? AND id IN (SELECT checkpoint FROM cosignatures "+
			"WHERE key_name = ? AND key_id = ?) ORDER BY size",
		log, size, keyName, keyID)
}

// SeenAbove returns when the first accepted checkpoint of more than size entries was
// seen, and whether there is one.
func (r *Reader) SeenAbove(ctx context.Context, log, size int64) (at time.Time, known bool, err error) {
	err = r.read.QueryRowContext(ctx,
		"SELECT min(first_seen) FROM checkpoints WHERE log = ? AND accepted = 1 AND verdict != 'inconsistent' AND "+
			"size > ?", log, size).Scan(moment{&at})
	return at, !at.IsZero(), err
}
