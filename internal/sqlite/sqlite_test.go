package sqlite

import (
	"bytes"
	"cmp"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kinds are a database that a command makes, and one that is made where none is.
var kinds = map[string]*Owned{
	"init": {ID: 7, Version: 2, Schema: "CREATE TABLE a (x TEXT); INSERT INTO a VALUES (?);", Journal: "wal", Conns: 1,
		What: "a test's database", Init: "test init", Advice: "find it", Damaged: "cry"},
	"no init": {ID: 7, Version: 2, Schema: "CREATE TABLE a (x TEXT); INSERT INTO a VALUES (?);", Journal: "delete", Conns: 3,
		What: "a test's database", Advice: "delete it"},
}

func TestAnOwnedDatabaseIsMadeOnceAndFoundAgain(t *testing.T) {
	for name, o := range kinds {
		path := filepath.Join(t.TempDir(), "a?mode=memory")
		db, err := o.Open(t.Context(), path, o.Init != "", "x'); DROP TABLE a; --")
		fatalIf(t, err)
		fatalIf(t, db.Close())
		info, err := os.Stat(path)
		fatalIf(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", name, info.Mode())
		}
		if _, err := o.Open(t.Context(), path, true, ""); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "already exists and is left alone") ||
			strings.Contains(err.Error(), ".new-") {
			t.Errorf("%s: created twice: %v", name, err)
		}
		db, err = o.Open(t.Context(), path, false, "another")
		fatalIf(t, err)
		defer db.Close()
		var x string
		if err := db.QueryRow("SELECT group_concat(x) FROM a").Scan(&x); err != nil || x != "x'); DROP TABLE a; --" {
			t.Errorf("%s: %q, %v", name, x, err)
		}
		r, err := o.OpenReader(t.Context(), path, 2, "")
		fatalIf(t, err)
		defer r.Close()
		if _, err := r.Exec("DELETE FROM a"); err == nil {
			t.Errorf("%s: a reader wrote", name)
		}
	}
}

// TestEveryConnectionIsDurable: each of a pool has what Open has read back from one.
func TestEveryConnectionIsDurable(t *testing.T) {
	o := kinds["no init"]
	path := filepath.Join(t.TempDir(), "db")
	for range 2 { // made, and opened again
		db, err := o.Open(t.Context(), path, false, "")
		fatalIf(t, err)
		defer db.Close()
		for range o.Conns {
			c, err := db.Conn(t.Context())
			fatalIf(t, err)
			defer c.Close()
			for pragma, want := range map[string]string{"journal_mode": o.Journal, "synchronous": "3", "fullfsync": "1", "checkpoint_fullfsync": "1", "foreign_keys": "1"} {
				var got string
				if err := c.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
					t.Errorf("%s = %q, %v; want %s", pragma, got, err, want)
				}
			}
		}
	}
}

func TestOfADamagedFileItIsSaidWhatToDo(t *testing.T) {
	for name, o := range kinds {
		path := filepath.Join(t.TempDir(), "db")
		db, err := o.Open(t.Context(), path, o.Init != "", "")
		fatalIf(t, errors.Join(err, db.Close()))
		fatalIf(t, os.WriteFile(path, bytes.Repeat([]byte("rotten. "), 1024), 0o600))
		for what, open := range map[string]func() (*sql.DB, error){
			"owner":  func() (*sql.DB, error) { return o.Open(t.Context(), path, false, "") },
			"reader": func() (*sql.DB, error) { return o.OpenReader(t.Context(), path, 1, "") },
		} {
			if _, err := open(); err == nil || !strings.Contains(err.Error(), cmp.Or(o.Damaged, o.Advice)) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

func TestWhatIsNotOnesOwnIsRefusedAndLeftAsItIs(t *testing.T) {
	for name, o := range kinds {
		for change, want := range map[string]string{
			"PRAGMA application_id = 8": "it is not a test's database; ",
			"PRAGMA user_version = 3":   "it has schema 3, and this program knows schemas up to 2",
			"PRAGMA user_version = 0":   "it has schema 0, which no version of this program wrote",
			// It has a table, so it is not new.
			"PRAGMA application_id = 0; PRAGMA user_version = 0": "it is not a test's database; ",
		} {
			path := filepath.Join(t.TempDir(), "db")
			db, err := o.Open(t.Context(), path, o.Init != "", "")
			fatalIf(t, err)
			fatalIf(t, db.Close())
			db, err = sql.Open("sqlite", path)
			fatalIf(t, err)
			_, err = db.Exec(change)
			fatalIf(t, errors.Join(err, db.Close()))
			before, err := os.ReadFile(path)
			fatalIf(t, err)
			for what, open := range map[string]func() (*sql.DB, error){
				"owner":  func() (*sql.DB, error) { return o.Open(t.Context(), path, false, "") },
				"reader": func() (*sql.DB, error) { return o.OpenReader(t.Context(), path, 1, "") },
			} {
				if _, err := open(); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s, %s, %s: %v", name, what, change, err)
				}
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("%s: %s: the file was changed", name, change)
			}
		}
	}
}

func TestAnEmptyFileIsNewOnlyWhereNoCommandMakesIt(t *testing.T) {
	for name, o := range kinds {
		path := filepath.Join(t.TempDir(), "db")
		_, err := o.OpenReader(t.Context(), path, 1, "look elsewhere")
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "does not exist; look elsewhere") {
			t.Errorf("%s: a reader of nothing: %v", name, err)
		}
		if o.Init != "" {
			if _, err := o.Open(t.Context(), path, false, ""); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "does not exist; find it") {
				t.Errorf("%s: a missing file: %v", name, err)
			}
		}
		fatalIf(t, os.WriteFile(path, nil, 0o600))
		db, err := o.Open(t.Context(), path, false, "")
		switch {
		case o.Init == "":
			fatalIf(t, err)
			db.Close()
		case err == nil || !strings.Contains(err.Error(), `an empty file that an interrupted "test init" left`):
			t.Errorf("%s: an empty file: %v", name, err)
		}
	}
}

func TestAnOlderSchemaIsBroughtUpToDateOnceAndWhole(t *testing.T) {
	old := &Owned{ID: 7, Version: 1, Schema: "CREATE TABLE a (x TEXT); INSERT INTO a VALUES ('kept')", Journal: "wal", Conns: 1,
		What: "a test's database", Init: "test init", Advice: "find it"}
	path := filepath.Join(t.TempDir(), "a")
	db, err := old.Open(t.Context(), path, true)
	fatalIf(t, err)
	fatalIf(t, db.Close())
	now := *old
	now.Version, now.Upgrades = 3, []string{"ALTER TABLE a ADD COLUMN y TEXT NOT NULL DEFAULT 'new'", "CREATE TABLE b (z TEXT); no SQL"}
	if _, err := now.OpenReader(t.Context(), path, 1, ""); err == nil || !strings.Contains(err.Error(), "it has schema 1; the program that writes it brings it to 3") {
		t.Errorf("a reader: %v", err)
	}
	if _, err := now.Open(t.Context(), path, false); err == nil || !strings.Contains(err.Error(), "from schema 2 to 3") {
		t.Fatalf("a step that fails: %v", err)
	}
	now.Upgrades[1] = "CREATE TABLE b (z TEXT)" // which the failed step did not leave behind
	for range 2 {
		db, err = now.Open(t.Context(), path, false)
		fatalIf(t, err)
		var x, y string
		var version int
		fatalIf(t, db.QueryRow("SELECT x, y, user_version FROM a, pragma_user_version").Scan(&x, &y, &version))
		if x != "kept" || y != "new" || version != 3 {
			t.Errorf("%q, %q, schema %d", x, y, version)
		}
		fatalIf(t, db.Close())
	}
	if _, err := old.Open(t.Context(), path, false); err == nil || !strings.Contains(err.Error(), "it has schema 3") {
		t.Errorf("an older program: %v", err)
	}
}
