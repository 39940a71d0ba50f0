package store

import (
	"context"
	"encoding/hex"
	"strings"

	"cratelog/index"
	"cratelog/internal/sqlite"
)

// Fold is a crate's name as registries compare names: without case, and with "_" for "-".
func Fold(name string) string { return index.CanonicalName(name) }

// folded is Fold in SQL, as the schema's indexes have it; of an entry that parses.
const folded = "name != '' AND replace(lower(name), '-', '_') "

// above is greater than every character of a name, a version or an address.
const above = "\U0010FFFF"

// CrateCount says how much is logged about a crate.
type CrateCount struct {
	Name     string
	Entries  int64
	Versions int64
	Newest   string // the version that was logged last
}

// selectCrates: a column beside max(id) is of the row with that id, so SQLite promises.
const selectCrates = "SELECT name, count(*), count(DISTINCT version), version, max(id) " +
	"FROM entries INDEXED BY entries_by_fold WHERE " + folded

func (r *Reader) crates(ctx context.Context, where string, args ...any) ([]CrateCount, error) {
	return sqlite.All(ctx, r.read, func(r scanner) (c CrateCount, err error) {
		var last int64
		return c, r.Scan(&c.Name, &c.Entries, &c.Versions, &c.Newest, &last)
	}, selectCrates+where+" GROUP BY replace(lower(name), '-', '_'), name ORDER BY replace(lower(name), '-', '_'), name LIMIT ?",
		args...)
}

// CratesNamed returns the crates whose names differ from a name at most as Fold ignores, at most limit.
func (r *Reader) CratesNamed(ctx context.Context, name string, limit int) ([]CrateCount, error) {
	return r.crates(ctx, "= ?", Fold(name), limit)
}

// CratesFrom returns the crates whose folded names begin with a folded prefix, and go on, in order, at most
// limit.
func (r *Reader) CratesFrom(ctx context.Context, prefix string, limit int) ([]CrateCount, error) {
	p := Fold(prefix)
	return r.crates(ctx, "> ? AND replace(lower(name), '-', '_') < ?", p, p+above, limit)
}

// EntriesFrom returns the newest entries about crates whose folded names begin with a folded prefix; with
// exact, about those of that name. The newest come first.
func (r *Reader) EntriesFrom(ctx context.Context, prefix string, exact bool, limit int) ([]Entry, error) {
	where, args := byFold(prefix, exact)
	return r.selected(ctx, "entries_by_fold WHERE "+where, limit, args...)
}

func byFold(prefix string, exact bool) (where string, args []any) {
	p := Fold(prefix)
	if exact {
		return folded + "= ?", []any{p}
	}
	return folded + ">= ? AND replace(lower(name), '-', '_') < ?", []any{p, p + above}
}

// EntriesOfVersions returns entries about a crate, exactly so named, whose versions begin with the text, the
// newest first.
func (r *Reader) EntriesOfVersions(ctx context.Context, name, begin string, limit int) ([]Entry, error) {
	return r.selected(ctx, "entries_by_version WHERE name = ? AND version >= ? AND version < ?", limit, name, begin, begin+above)
}

// selected returns the newest entries that an index finds. Their ids are sorted, and not the entries.
func (r *Reader) selected(ctx context.Context, index string, limit int, args ...any) ([]Entry, error) {
	return sqlite.All(ctx, r.read, scanEntry, selectEntry+
		"WHERE id IN (SELECT id FROM entries INDEXED BY "+index+" ORDER BY id DESC LIMIT ?) ORDER BY id DESC", append(args, limit)...)
}

// Columns that EntriesWithHash looks into.
const (
	LeafHash  = "leaf_hash"
	Checksum  = "sha256"
	CommitID  = "commit_id"
	minDigits = 7
)

// EntriesWithHash returns the newest entries whose hash in a column, one of the constants, begins with some
// digits of lower-case hexadecimal: at least 7, and else none.
func (r *Reader) EntriesWithHash(ctx context.Context, column, digits string, limit int) ([]Entry, error) {
	index, length := "entries_by_leaf", 64
	switch column {
	case Checksum:
		index = "entries_by_sha256"
	case CommitID:
		index, length = "entries_by_commit", 40
	}
	if len(digits) < minDigits || len(digits) > length {
		return nil, nil
	}
	least, err := hex.DecodeString(digits + strings.Repeat("0", length-len(digits)))
	if err != nil {
		return nil, nil
	}
	most, err := hex.DecodeString(digits + strings.Repeat("f", length-len(digits)))
	if err != nil {
		return nil, err
	}
	where := " WHERE " + column + " BETWEEN ? AND ?"
	if column != LeafHash {
		where += " AND name != ''" // an entry that does not parse has zeros there
	}
	return r.selected(ctx, index+where, limit, least, most)
}

// EntriesClaiming returns the newest entries whose .crate names one of some repositories, or a place below
// one: addresses without a slash at the end, in lower case. Of an entry whose .crate this monitor has not looked
// into nothing is known.
func (r *Reader) EntriesClaiming(ctx context.Context, repositories []string, limit int) ([]Entry, error) {
	var parts []string
	var args []any
	for _, u := range repositories {
		parts = append(parts, "SELECT log, idx FROM crates INDEXED BY crates_by_repository WHERE repository != '' AND "+
			"lower(repository) = ?", "SELECT log, idx FROM crates INDEXED BY crates_by_repository WHERE repository != '' AND "+
			"lower(repository) >= ? AND lower(repository) < ?")
		args = append(args, u, u+"/", u+"0") // "0" follows "/"
	}
	if parts == nil {
		return nil, nil
	}
	return sqlite.All(ctx, r.read, scanEntry, selectEntry+"WHERE id IN (SELECT e.id FROM ("+strings.Join(parts, " UNION ")+
		") c CROSS JOIN entries e ON e.log = c.log AND e.idx = c.idx ORDER BY e.id DESC LIMIT ?) ORDER BY id DESC",
		append(args, limit)...)
}

// FindingsFrom returns the newest findings about crates whose folded names begin with a folded prefix, the
// newest first; with exact, about those of that name.
func (r *Reader) FindingsFrom(ctx context.Context, prefix string, exact bool, limit int) ([]Finding, error) {
	where, args := byFold(prefix, exact)
	return sqlite.All(ctx, r.read, scanFinding, selectFinding+
		"WHERE f.id IN (SELECT id FROM findings INDEXED BY findings_by_fold WHERE "+where+" ORDER BY id DESC LIMIT ?) "+
		"ORDER BY f.id DESC", append(args, limit)...)
}
