package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"cratelog/entry"
	"cratelog/internal/sqlite"
)

// Matches says whether an entry is one that the watch asks for. Names are compared as registries do: see Fold.
func (w Watch) Matches(e *Entry) bool {
	switch w.Kind {
	case WatchCrate:
		return Fold(e.Name) == Fold(w.Value)
	case WatchPrefix:
		return e.Name != "" && strings.HasPrefix(Fold(e.Name), Fold(w.Value))
	case WatchPath:
		return e.Kind != "" && e.Path == w.Value
	case WatchCommit:
		return e.Kind != "" && hex.EncodeToString(e.Commit[:]) == w.Value
	}
	return false
}

func (w Watch) check() error {
	var err error
	switch w.Kind {
	case WatchCrate, WatchPrefix:
		err = entry.CheckName(w.Value)
	case WatchPath:
		if w.Value != "" {
			err = entry.CheckPath(w.Value)
		}
	case WatchCommit:
		if b, e := hex.DecodeString(w.Value); e != nil || len(b) != 20 || w.Value != strings.ToLower(w.Value) {
			err = fmt.Errorf("the commit %q is not 40 lower-case hex digits", w.Value)
		}
	default:
		err = fmt.Errorf("the kind %q is not %s, %s, %s or %s", w.Kind, WatchCrate, WatchPrefix, WatchPath, WatchCommit)
	}
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

const selectWatch = "SELECT id, kind, value, channel, note, added FROM watches "

func scanWatch(r scanner) (Watch, error) {
	var w Watch
	err := r.Scan(&w.ID, &w.Kind, &w.Value, &w.Channel, &w.Note, moment{&w.Added})
	return w, err
}

// AddWatch remembers a watch and returns its id, which no watch had of which there are findings; the same watch
// twice is one.
func (s *Store) AddWatch(ctx context.Context, w Watch) (int64, error) {
	if err := w.check(); err != nil {
		return 0, err
	}
	if err := exec(ctx, s.write,
		"INSERT OR IGNORE INTO watches (id, kind, value, channel, note, added) VALUES (1 + max(coalesce((SELECT max(id) FROM "+
			"watches), 0), coalesce((SELECT max(watch) FROM findings), 0)),?,?,?,?,?)", w.Kind, w.Value,
		w.Channel, w.Note, millis(w.Added)); err != nil {
		return 0, err
	}
	known, _, err := sqlite.One(ctx, s.write, scanWatch, selectWatch+"WHERE kind = ? AND value = ? AND channel = ?",
		w.Kind, w.Value, w.Channel)
	return known.ID, err
}

// RemoveWatch forgets a watch, and says whether there was one.
func (s *Store) RemoveWatch(ctx context.Context, id int64) (bool, error) {
	return s.remove(ctx, "DELETE FROM watches WHERE id = ?", id)
}

// Watches returns all watches.
func (r *Reader) Watches(ctx context.Context) ([]Watch, error) {
	return sqlite.All(ctx, r.read, scanWatch, selectWatch+"ORDER BY id")
}

const selectAuthorization = "SELECT id, name, version, sha256, by, added, expires FROM authorizations "

func scanAuthorization(r scanner) (Authorization, error) {
	var a Authorization
	var sum []byte
	err := r.Scan(&a.ID, &a.Name, &a.Version, &sum, &a.By, moment{&a.Added}, moment{&a.Expires})
	if err != nil || sum == nil {
		return a, err
	}
	a.SHA256 = new([32]byte)
	return a, fixed(a.SHA256[:]).Scan(sum)
}

// Authorize announces a release and returns the id of the authorization.
func (s *Store) Authorize(ctx context.Context, a Authorization) (int64, error) {
	if err := entry.CheckName(a.Name); err != nil {
		return 0, err
	}
	if err := entry.CheckVersion(a.Version); err != nil {
		return 0, err
	}
	var sum []byte
	if a.SHA256 != nil {
		sum = a.SHA256[:]
	}
	r, err := s.write.ExecContext(ctx,
		"INSERT INTO authorizations (name, version, sha256, by, added, expires) VALUES (?,?,?,?,?,?)", a.Name,
		a.Version, sum, a.By, millis(a.Added), millis(a.Expires))
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

// RemoveAuthorization forgets an authorization, and says whether there was one.
func (s *Store) RemoveAuthorization(ctx context.Context, id int64) (bool, error) {
	return s.remove(ctx, "DELETE FROM authorizations WHERE id = ?", id)
}

// Authorizations returns all authorizations.
func (r *Reader) Authorizations(ctx context.Context) ([]Authorization, error) {
	return sqlite.All(ctx, r.read, scanAuthorization, selectAuthorization+"ORDER BY id")
}

// Authorized says whether the release of an entry was announced, at a time.
func (r *Reader) Authorized(ctx context.Context, e *Entry, now time.Time) (bool, error) {
	_, known, err := sqlite.One(ctx, r.read, scanAuthorization, selectAuthorization+
		"WHERE name = ? AND version = ? AND (sha256 IS NULL OR sha256 = ?) AND (expires = 0 OR expires > ?) LIMIT 1",
		e.Name, e.Version, e.SHA256[:], millis(now))
	return known, err
}

func (s *Store) remove(ctx context.Context, query string, id int64) (bool, error) {
	n, err := change(ctx, s.write, query, id)
	return n > 0, err
}
