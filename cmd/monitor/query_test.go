package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

// askable is a settings file beside a database with the fixtures' entries.
func askable(t *testing.T) (config string) {
	t.Helper()
	dir := t.TempDir()
	log := testlog.LogKey("log.example/q")
	config = filepath.Join(dir, "monitor.toml")
	fatalIf(t, os.WriteFile(filepath.Join(dir, "trust.policy"), []byte("log "+log.VKey+" https://log.example/\nquorum none\n"), 0o644))
	fatalIf(t, os.WriteFile(config, []byte("database = \"m.db\"\nevidence = \"evidence\"\ndevelopment = true\n[[log]]\ntrust = \"trust.policy\"\n"), 0o644))
	db := testlog.Must(store.Create(t.Context(), filepath.Join(dir, "m.db")))
	defer db.Close()
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	l := testlog.Must(db.AddLog(t.Context(), "log.example/q", []string{log.VKey}, "https://log.example/", now))
	var rows []store.Entry
	for i, name := range []string{"hello-proof-0.1.0", "hello-inner-0.1.0", "hello-proof-0.1.1"} {
		b, e := fixture.Read(t, name+".entry"), fixture.Entry(t, name)
		rows = append(rows, store.Entry{Log: l.ID, Index: int64(i), LeafHash: tlog.RecordHash(b), Name: e.Subject.Name, Version: e.Subject.Version,
			SHA256: e.Subject.SHA256, Program: e.Proof.Program, FirstSeen: now, Verdict: store.OK, Covered: 4, Data: b,
			Registry: e.Subject.Registry, Identity: testlog.Must(e.Identity()), Kind: e.Claim.Kind()})
	}
	tree := testlog.NewTree(rows[0].Data, rows[1].Data, rows[2].Data)
	tree.Seal()
	rows = append(rows, store.Entry{Log: l.ID, Index: 3, LeafHash: tlog.RecordHash(tree.Leaves[3]), Kind: store.KindSeal, FirstSeen: now,
		Verdict: store.OK, Covered: 4, Data: tree.Leaves[3]})
	fatalIf(t, db.AppendEntries(t.Context(), l.ID, rows))
	root := testlog.Must(db.Root(t.Context(), l.ID, 4))
	fatalIf(t, db.SetVerified(t.Context(), l.ID, 4, root, nil))
	fatalIf(t, db.SetSealed(t.Context(), l.ID, 4, tree.Map(3).Root(), -1))
	signed := testlog.Sign(testlog.Head(l.Origin, 4, root), log)
	_, _, err := db.PutCheckpoint(t.Context(), store.Checkpoint{Log: l.ID, Size: 4, Root: root, Signed: signed, Source: "log", FirstSeen: now, LastSeen: now, Verdict: store.Consistent},
		func([]byte) (bool, time.Time) { return true, time.Time{} })
	fatalIf(t, err)
	return config
}

func TestQueryPrintsWhatTheAPIAnswers(t *testing.T) {
	config := askable(t)
	s := testlog.Must(loadSettings(config))
	r := testlog.Must(store.OpenReader(t.Context(), s.database()))
	defer r.Close()
	server := testlog.Must(s.pagesOver(r, slog.New(slog.DiscardHandler)))
	for path, args := range map[string]string{
		"/v1/entries":                           "query -config F entries",
		"/v1/entries?crate=hello-proof&limit=1": "query entries --crate hello-proof --limit=1 --config F",
		"/v1/entries/2":                         "query -config F entry 2",
		"/e/2.entry":                            "query -config F raw 2",
		"/e/1.tlog-proof":                       "query -config F bundle 1",
		"/v1/crates/hello-proof?order=newest":   "query -config F crate hello-proof -order newest",
		"/v1/checkpoints":                       "query -config F checkpoints",
		"/cp/4.json":                            "query -config F checkpoint 4",
		"/v1/findings?class=security":           "query -config F findings --class security",
		"/v1/witnesses":                         "query -config F witnesses",
		"/v1/export.csv":                        "export -config F csv",
		"/v1/export.ndjson?version=0.1.1":       "export -config F ndjson --version 0.1.1",
	} {
		rec := httptest.NewRecorder()
		server.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		want := testlog.Must(io.ReadAll(rec.Result().Body))
		code, stdout, stderr := command(t, strings.Fields(strings.ReplaceAll(args, "F", config))...)
		if code != 0 || stdout != string(want) || rec.Code != http.StatusOK || stderr != "" {
			t.Errorf("%s: %d %s%s, want %s", args, code, stdout, stderr, want)
		}
	}
	stdout := ends(t, 0, "", "", "query", "-config", config, "bundle", "2")
	text := testlog.Must(os.ReadFile(filepath.Join(filepath.Dir(config), "trust.policy")))
	policy := testlog.Must(client.ParsePolicy(text))
	proofs := testlog.Must(s.proofs())
	rules := client.DefaultRules()
	rules.AllowNoWitnesses = true
	if _, err := client.Verify(fixture.Crate(t, "hello-proof", "0.1.1"), []byte(stdout), policy, proofs, rules); err != nil {
		t.Errorf("the bundle that was printed: %v", err)
	}
	stdout = ends(t, 0, "", "", "query", "-config", config, "logs")
	var logs struct{ Logs []struct{ Verified int } }
	if err := json.Unmarshal([]byte(stdout), &logs); err != nil || len(logs.Logs) != 1 || logs.Logs[0].Verified != 4 {
		t.Errorf("%v %s", err, stdout)
	}
}

func TestAQueryThatCannotBeAnsweredSaysWhy(t *testing.T) {
	config := askable(t)
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"query -config F":                      {2, "query needs -config, and what is asked for"},
		"query entries":                        {2, "query needs -config, and what is asked for"},
		"query -config F everything":           {2, `"everything" cannot be asked for`},
		"query -config F entry":                {2, "entry needs one key"},
		"query -config F logs 3":               {2, `logs takes parameters only, and not "3"`},
		"query -config F entries --crat x":     {2, `There is no parameter "crat" here`},
		"query -config F entries --crate":      {2, "--crate needs a value"},
		"query -config F entries --limit 9999": {2, "The parameter limit is not a number from 1 to 1000."},
		"query -config F entry 4":              {1, "This monitor holds no entry of that index"},
		"query -config F crate a/../b":         {1, "That is not the name of a crate."},
		"query -config F.missing logs":         {3, "no such file"},
		"export -config F xml":                 {2, `"xml" cannot be asked for`},
	} {
		if out := ends(t, want.code, "", want.text, strings.Fields(strings.ReplaceAll(args, "F", config))...); out != "" {
			t.Errorf("%s: %s", args, out)
		}
	}
	fatalIf(t, os.Remove(filepath.Join(filepath.Dir(config), "m.db")))
	ends(t, 3, "", "does not exist; name the database of a monitor that has run", "query", "-config", config, "logs")
}
