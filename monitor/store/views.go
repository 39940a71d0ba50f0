package store

import (
	"context"

	"cratelog/internal/sqlite"
)

const selectView = "SELECT log, source, url, size, root, largest, cosigned, tried, seen, changed, error, failing " +
	"FROM views "

func scanView(r scanner) (View, error) {
	var v View
	err := r.Scan(&v.Log, &v.Source, &v.URL, &v.Size, fixed(v.Root[:]), &v.Largest, moment{&v.Cosigned},
		moment{&v.Tried}, moment{&v.Seen}, moment{&v.Changed}, &v.Error, moment{&v.Failing})
	return v, err
}

// PutView replaces what a source shows of a log.
func (s *Store) PutView(ctx context.Context, v View) error {
	return exec(ctx, s.write,
		"INSERT OR REPLACE INTO views (log, source, url, size, root, largest, cosigned, tried, seen, changed, "+
			"error, failing) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
		v.Log, v.Source, v.URL, v.Size, v.Root[:], v.Largest, millis(v.Cosigned), millis(v.Tried), millis(v.Seen),
		millis(v.Changed), v.Error, millis(v.Failing))
}

// View returns what a source shows of a log, and whether it was ever asked.
func (r *Reader) View(ctx context.Context, log int64, source string) (View, bool, error) {
	return sqlite.One(ctx, r.read, scanView, selectView+"WHERE log = ? AND source = ?", log, source)
}

// Views returns what all sources show of a log, by name.
func (r *Reader) Views(ctx context.Context, log int64) ([]View, error) {
	return sqlite.All(ctx, r.read, scanView, selectView+"WHERE log = ? ORDER BY source", log)
}
