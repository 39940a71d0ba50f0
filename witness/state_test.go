package witness

import (
	"crypto"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// Many clients push the same log, some of them another history of it. Whatever
// wins, all cosigned checkpoints must be of one history, and in the order of
// their timestamps and of the stored state the size never goes down.
func TestRacingClientsNeverGetASplitViewOrARollback(t *testing.T) {
	const clients, pushes = 8, 25
	good := newTestLog("log.example", 64)
	evil := good.fork(10, "fork")
	w := open(t, newConfig(t, good))
	url := serve(t, w)
	var mu sync.Mutex
	cosigned := map[int64]map[tlog.Hash]bool{}
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			l := good
			if c%2 == 1 {
				l = evil
			}
			rng := rand.New(rand.NewPCG(1, uint64(c)))
			for old, seen, i := int64(0), int64(0), 0; i < pushes; i++ {
				size := min(old+rng.Int64N(4), l.Tree.Size())
				got := post(t, url, l.Request(old, size))
				switch got.code {
				case 200:
					mu.Lock()
					if cosigned[size] == nil {
						cosigned[size] = map[tlog.Hash]bool{}
					}
					cosigned[size][l.root(size)] = true
					mu.Unlock()
					old = size
				case 409:
					if _, err := fmt.Sscanf(got.body, "%d\n", &old); err != nil {
						t.Errorf("conflict body %q", got.body)
					}
				case 422: // the other history has won
				default:
					t.Errorf("status %d: %s", got.code, got.body)
				}
				if old < seen {
					t.Errorf("the witness went back from %d to %d", seen, old)
				}
				seen = old
			}
		})
	}
	wg.Wait()
	for size, roots := range cosigned {
		if len(roots) > 1 {
			t.Errorf("two trees of size %d were cosigned", size)
		}
	}
	for _, l := range []testLog{good, evil} {
		all := true
		for size, roots := range cosigned {
			all = all && roots[l.root(size)]
		}
		if all {
			return
		}
	}
	t.Errorf("the cosigned checkpoints are of no single history: %v", cosigned)
}

// Two processes on one database: the second one moves the log between the check
// and the commit of the first.
func TestASecondProcessOnTheDatabaseCausesNoRollback(t *testing.T) {
	l := newLog()
	evil := l.fork(5, "fork")
	for name, second := range map[string]string{
		"longer":         l.Request(5, 20),
		"another branch": evil.Request(5, 12),
		"same size":      l.Request(5, 10),
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t, l)
			a := open(t, cfg)
			cfg.Create, cfg.testingOnlyNoLock = false, true
			b := open(t, cfg)
			mustAdd(t, a, l.Request(0, 5))
			a.testingOnlyStall = func() { mustAdd(t, b, second) }
			lines, err := a.AddCheckpoint(t.Context(), []byte(l.Request(5, 10)))
			var conflict *ConflictError
			if !errors.As(err, &conflict) || lines != nil {
				t.Fatalf("got %q, %v; want a conflict", lines, err)
			}
			req := testlog.Must(ParseRequest([]byte(second)))
			if conflict.Size != req.Checkpoint.N {
				t.Errorf("conflict says %d, want %d", conflict.Size, req.Checkpoint.N)
			}
			st := testlog.Must(a.store.state(t.Context(), l.KeyName))
			if st.Root != req.Checkpoint.Hash {
				t.Error("the second process's state is gone")
			}
		})
	}
}

// The second process, whose clock is ahead, refreshes the same checkpoint: the
// first one must not go back in time.
func TestASecondProcessOnTheDatabaseCausesNoEarlierTimestamp(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	a := open(t, cfg)
	mustAdd(t, a, l.Request(0, 5))
	ahead := newClock()
	ahead.add(time.Minute)
	cfg.Create, cfg.Now, cfg.testingOnlyNoLock = false, ahead.now, true
	b := open(t, cfg)
	a.testingOnlyStall = func() { mustAdd(t, b, l.Request(5, 5)) }
	var conflict *ConflictError
	if lines, err := a.AddCheckpoint(t.Context(), []byte(l.Request(5, 10))); !errors.As(err, &conflict) || lines != nil || conflict.Size != 5 {
		t.Fatalf("got %q, %v; want a conflict at size 5", lines, err)
	}
	a.testingOnlyStall = nil
	lines := mustAdd(t, a, l.Request(5, 10))
	if got := cosigTime(t, a, l.Head(10), lines); got != ahead.now().Unix() {
		t.Errorf("timestamp %d, want that of the other process, %d", got, ahead.now().Unix())
	}
}

// Commits fail in pairs: the state is not on disk, or it is there all the same.
// In neither case may the signature leave.
func TestNoSignatureLeavesWhenTheCommitFails(t *testing.T) {
	l := newLog()
	disk := errors.New("disk on fire")
	for name, test := range map[string]struct {
		commit func(func() error) error
		size   int64 // afterwards
	}{
		"not persisted":    {func(func() error) error { return disk }, 5},
		"persisted anyway": {func(commit func() error) error { return errors.Join(commit(), disk) }, 10},
	} {
		t.Run(name, func(t *testing.T) {
			w := openAt(t, newConfig(t, l), l, 5)
			url := serve(t, w)
			w.store.testingOnlyCommit = test.commit
			got := post(t, url, l.Request(5, 10))
			if got.code != 500 || strings.Contains(got.body, witnessName) || strings.Contains(got.body, "fire") {
				t.Errorf("status %d, body %q", got.code, got.body)
			}
			w.store.testingOnlyCommit = nil
			if got := post(t, url, l.Request(0, 20)); got.code != 409 || got.body != fmt.Sprintf("%d\n", test.size) {
				t.Errorf("afterwards: %d %q, want size %d", got.code, got.body, test.size)
			}
			mustAdd(t, w, l.Request(test.size, 20))
		})
	}
}

// brokenSigner signs something else, or nothing.
type brokenSigner struct {
	crypto.Signer
	err error
}

func (s brokenSigner) Sign(_ io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Signer.Sign(nil, append(msg, 'x'), opts)
}

func TestABrokenSignerStoresNothingAndReleasesNothing(t *testing.T) {
	l := newLog()
	for _, fail := range []error{nil, errors.New("token removed")} {
		cfg := newConfig(t, l)
		good := cfg.Signers[0]
		cfg.Signers = []crypto.Signer{brokenSigner{good, fail}}
		w := open(t, cfg)
		got := post(t, serve(t, w), l.Request(0, 5))
		if got.code != 500 || strings.Contains(got.body, "— ") {
			t.Errorf("status %d, body %q", got.code, got.body)
		}
		if cp, err := w.Checkpoint(t.Context(), l.KeyName); err != nil || cp != nil {
			t.Errorf("stored %q, %v", cp, err)
		}
	}
}

func TestTimestampsNeverGoBackWhenTheClockDoes(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	c := newClock()
	cfg.Now = c.now
	w := open(t, cfg)
	start := c.now().Unix()
	sign := func(old, size int64) int64 {
		t.Helper()
		return cosigTime(t, w, l.Head(size), mustAdd(t, w, l.Request(old, size)))
	}
	if got := sign(0, 5); got != start {
		t.Errorf("first timestamp %d, want %d", got, start)
	}
	c.add(-MaxClockStep)
	if got := sign(5, 6); got != start {
		t.Errorf("clock %v back: timestamp %d, want the last one, %d", MaxClockStep, got, start)
	}
	if got := sign(6, 6); got != start {
		t.Errorf("refresh with the clock back: timestamp %d, want %d", got, start)
	}
	c.add(-time.Second)
	refused := func(size int64) {
		t.Helper()
		got := post(t, serve(t, w), l.Request(6, size))
		if got.code != 503 || !strings.Contains(got.body, "clock is wrong") || strings.Contains(got.body, "— ") {
			t.Errorf("clock too far back: %d %q", got.code, got.body)
		}
	}
	refused(7)
	refused(6)
	// The memory of the last timestamp survives a restart.
	w = reopen(t, w, cfg)
	refused(7)
	c.add(MaxClockStep + 3*time.Second)
	if got := sign(6, 7); got != start+2 {
		t.Errorf("clock right again: timestamp %d, want %d", got, start+2)
	}
}

func TestTimestampsAreNeverZero(t *testing.T) {
	l := newLog()
	for _, now := range []time.Time{{}, time.Unix(0, 0), time.Unix(-5, 0)} {
		cfg := newConfig(t, l)
		cfg.Now = func() time.Time { return now }
		_, err := open(t, cfg).AddCheckpoint(t.Context(), []byte(l.Request(0, 5)))
		if !errors.Is(err, ErrClock) {
			t.Errorf("clock at %d: %v", now.Unix(), err)
		}
	}
}

func TestRefreshTakesANewTimestampOncePerSecond(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	c := newClock()
	cfg.Now = c.now
	w := open(t, cfg)
	first := mustAdd(t, w, l.Request(0, 5))
	w.store.testingOnlyCommit = func(func() error) error { return errors.New("no commit is due") }
	if again := mustAdd(t, w, l.Request(5, 5)); again != first {
		t.Errorf("refresh within the second: %q, want %q", again, first)
	}
	w.store.testingOnlyCommit = nil
	c.add(time.Second)
	if next := mustAdd(t, w, l.Request(5, 5)); cosigTime(t, w, l.Head(5), next) != c.now().Unix() {
		t.Errorf("refresh a second later: %q", next)
	}
}

func TestARestartRemembersEverything(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	w := openAt(t, cfg, l, 5)
	mustAdd(t, w, l.Request(5, 9))
	before := testlog.Must(w.Checkpoint(t.Context(), l.KeyName))
	w = reopen(t, w, cfg)
	after := testlog.Must(w.Checkpoint(t.Context(), l.KeyName))
	if string(before) != string(after) || len(after) == 0 {
		t.Errorf("before %q, after %q", before, after)
	}
	if got := post(t, serve(t, w), l.Request(5, 9)); got.code != 409 || got.body != "9\n" {
		t.Errorf("old size after the restart: %d %q", got.code, got.body)
	}
}

func TestALogRemovedFromTheSettingsIsDisabledAndNotForgotten(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	logs := cfg.Logs
	w := openAt(t, cfg, l, 9)
	check0(t, w.Close())

	cfg.Create, cfg.Logs = false, nil
	w = open(t, cfg)
	url := serve(t, w)
	if got := post(t, url, l.Request(9, 12)); got.code != 404 {
		t.Errorf("disabled log: %d %q", got.code, got.body)
	}
	if got := get(t, url+"/"+originHash(l.KeyName)+"/checkpoint"); got.code != 200 || !strings.HasPrefix(got.body, l.Head(9)) {
		t.Errorf("its checkpoint: %d %q", got.code, got.body)
	}
	if got := get(t, url+"/"); !strings.Contains(got.body, "log log.example\ndisabled\nsize 9\n") {
		t.Errorf("index: %q", got.body)
	}
	check0(t, w.Close())

	cfg.Logs = logs
	w = open(t, cfg)
	if got := post(t, serve(t, w), l.Request(0, 5)); got.code != 409 || got.body != "9\n" {
		t.Errorf("configured again: %d %q, the size must still be 9", got.code, got.body)
	}
}

func TestTheWitnessKeyCanBeRotatedOverOneDatabase(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	w := openAt(t, cfg, l, 9)
	check0(t, w.Close())
	cfg.Create = false
	cfg.Signers = append(cfg.Signers, testlog.Ed25519("next witness key"))
	w = open(t, cfg)
	// Within the same second the old cosignature alone would not do.
	lines := mustAdd(t, w, l.Request(9, 9))
	if strings.Count(lines, "— "+witnessName) != 2 {
		t.Errorf("cosignatures %q, want one of each key", lines)
	}
	if got := post(t, serve(t, w), l.Request(5, 9)); got.code != 409 {
		t.Errorf("the new key forgot the log: %d %q", got.code, got.body)
	}
}

func TestWrongDatabasesAreRefused(t *testing.T) {
	l := newLog()
	change := func(statements ...string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			db := testlog.Must(sql.Open("sqlite", path))
			defer db.Close()
			for _, s := range statements {
				testlog.Must(db.Exec(s))
			}
		}
	}
	for name, test := range map[string]struct {
		spoil func(t *testing.T, path string)
		want  string
	}{
		"newer schema":          {change("PRAGMA user_version = 3"), "it has schema 3, and this program knows schemas up to 2; use the newer version"},
		"no schema":             {change("PRAGMA user_version = 0"), "it has schema 0, which no version of this program wrote"},
		"another program's":     {change("PRAGMA application_id = 1"), "it is not a witness's database"},
		"another witness's":     {change("UPDATE witness SET name = 'witness.example/w2'"), `it belongs to the witness "witness.example/w2", not to "witness.example/w1"`},
		"no owner":              {change("DELETE FROM witness"), "reading its owner"},
		"smaller size":          {change("UPDATE log SET size = 5"), "the stored state of log.example is damaged"},
		"other root":            {change("UPDATE log SET root = zeroblob(32)"), "the stored state of log.example is damaged"},
		"short root":            {change("UPDATE log SET root = zeroblob(31)"), "has a root of 31 bytes"},
		"no timestamp":          {change("UPDATE log SET time = 0"), "the stored state of log.example is damaged"},
		"no checkpoint":         {change("UPDATE log SET text = ''"), "it has a size but no checkpoint"},
		"another checkpoint":    {change("UPDATE log SET text = replace(text, 'log.example', 'log.other')"), "the stored state of log.example is damaged"},
		"no signatures":         {change("UPDATE log SET signatures = '', cosignatures = ''"), "the stored state of log.example is damaged"},
		"unreadable signatures": {change("UPDATE log SET signatures = 'x'"), "the stored state of log.example is damaged"},
		"a text file": {func(t *testing.T, path string) {
			check0(t, os.WriteFile(path, []byte(strings.Repeat("x", 4096)), 0o600))
		}, path0},
		"an empty file":           {func(t *testing.T, path string) { check0(t, os.Truncate(path, 0)) }, "an empty file that an interrupted \"witness init\" left"},
		"cut in the middle":       {func(t *testing.T, path string) { check0(t, os.Truncate(path, 6000)) }, path0},
		"a directory":             {func(t *testing.T, path string) { check0(t, os.Remove(path)); check0(t, os.Mkdir(path, 0o700)) }, path0},
		"gone":                    {func(t *testing.T, path string) { check0(t, os.Remove(path)) }, "does not exist; if this witness has never signed, create it with: witness init"},
		"overwritten in a middle": {func(t *testing.T, path string) { overwrite(t, path) }, path0},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t, l)
			w := openAt(t, cfg, l, 9)
			check0(t, w.Close())
			test.spoil(t, cfg.DBPath)
			before, _ := os.ReadFile(cfg.DBPath)
			cfg.Create = false
			w, err := Open(t.Context(), cfg)
			if err == nil {
				w.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q should contain %q", err, test.want)
			}
			if after, _ := os.ReadFile(cfg.DBPath); string(after) != string(before) {
				t.Error("the refused file was changed")
			}
		})
	}
}

// path0 stands for an error that at least names the database.
const path0 = "witness.db"

// overwrite damages the second half of the file.
func overwrite(t *testing.T, path string) {
	data := testlog.Must(os.ReadFile(path))
	for i := len(data) / 4; i < len(data); i++ {
		data[i] ^= 0x55
	}
	check0(t, os.WriteFile(path, data, 0o600))
}

func TestAnExistingDatabaseIsNeverCreatedAgain(t *testing.T) {
	cfg := newConfig(t)
	check0(t, open(t, cfg).Close())
	info := testlog.Must(os.Stat(cfg.DBPath))
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "already exists and is left alone") {
		t.Errorf("created twice: %v", err)
	}
}

// TestAPowerFailureForgetsNoCommit reads back what that takes.
func TestAPowerFailureForgetsNoCommit(t *testing.T) {
	w := open(t, newConfig(t))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "3", "fullfsync": "1", "checkpoint_fullfsync": "1"} {
		var got string
		check0(t, w.store.db.QueryRow("PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("%s = %s, want %s", pragma, got, want)
		}
	}
}

func TestOddFileNamesAreFileNames(t *testing.T) {
	l := newLog()
	dir := t.TempDir()
	for _, name := range []string{"a?mode=memory", "b%20c", "d#e", "f g", "é"} {
		cfg := newConfig(t, l)
		cfg.DBPath = filepath.Join(dir, name)
		w := openAt(t, cfg, l, 5)
		check0(t, w.Close())
		cfg.Create = false
		mustAdd(t, open(t, cfg), l.Request(5, 6))
	}
}

func TestWrongSettingsAreRefused(t *testing.T) {
	l := newTestLog("log.example", 1)
	cosignature := testlog.Must(torchwood.NewCosignatureVerifierFromKey("log.example", testlog.Ed25519("x").Public()))
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no name":          {func(c *Config) { c.Name = "" }, "invalid name"},
		"name with plus":   {func(c *Config) { c.Name = "a+b" }, "invalid name"},
		"no signer":        {func(c *Config) { c.Signers = nil }, "no signing key is configured"},
		"nil signer":       {func(c *Config) { c.Signers = []crypto.Signer{nil} }, "a signer is nil"},
		"signer twice":     {func(c *Config) { c.Signers = append(c.Signers, c.Signers[0]) }, "is configured twice"},
		"no database":      {func(c *Config) { c.DBPath = "" }, "no database file is configured"},
		"key twice":        {func(c *Config) { c.Logs = append(c.Logs, c.Logs[0]) }, "is configured twice"},
		"no vkey":          {func(c *Config) { c.Logs[0].VKey = "" }, "is not a verifier key"},
		"broken vkey":      {func(c *Config) { c.Logs[0].VKey += "x" }, "is not a verifier key"},
		"wrong key ID":     {func(c *Config) { c.Logs[0].VKey = strings.Replace(c.Logs[0].VKey, "log.example+", "log.example2+", 1) }, "is not a verifier key"},
		"cosignature vkey": {func(c *Config) { c.Logs[0].VKey = cosignature.String() }, "is not a verifier key"},
		"long origin":      {func(c *Config) { c.Logs[0].Origin = strings.Repeat("x", 256) }, "has more than 255 bytes"},
		"origin with LF":   {func(c *Config) { c.Logs[0].Origin = "a\nb" }, "without control characters"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t, l)
			test.change(&cfg)
			w, err := Open(t.Context(), cfg)
			if err == nil {
				w.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q should contain %q", err, test.want)
			}
			if _, err := os.Stat(cfg.DBPath); cfg.DBPath != "" && !errors.Is(err, os.ErrNotExist) {
				t.Error("refused settings left a database behind")
			}
		})
	}
}

// copyDatabase copies a database that is closed, and returns what puts the copy back.
func copyDatabase(t *testing.T, path string) (restore func()) {
	t.Helper()
	text := testlog.Must(os.ReadFile(path))
	return func() { check0(t, os.WriteFile(path, text, 0o600)) }
}

// An older copy of the database is well-formed, and its witness would sign what contradicts what it signed
// since. The lock file beside it knows better.
func TestAnOlderCopyOfTheDatabaseIsRefused(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	w := openAt(t, cfg, l, 5)
	check0(t, w.Close())
	restore := copyDatabase(t, cfg.DBPath)
	cfg.Create = false
	w = open(t, cfg)
	mustAdd(t, w, l.Request(5, 9))
	check0(t, w.Close())
	newer := copyDatabase(t, cfg.DBPath)
	restore()
	const want = "is an older copy: it remembers 1 signed checkpoints, and 2 were signed"
	if old, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
		if err == nil {
			old.Close()
		}
		t.Errorf("an older copy: %v", err)
	}
	newer()
	check0(t, open(t, cfg).Close())
	// A new memory for the old name is one that forgets, too.
	check0(t, os.Remove(cfg.DBPath))
	cfg.Create = true
	if fresh, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "has signed 2 times") {
		if err == nil {
			fresh.Close()
		}
		t.Errorf("a new database of the same name: %v", err)
	}
	cfg.Name = "witness.example/w2"
	open(t, cfg)
}

// The mark is never ahead of a database that is the newest there is, whatever it was when the process was killed.
func TestAMarkThatIsBehindOrUnreadableRefusesNothing(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	w := openAt(t, cfg, l, 5)
	check0(t, w.Close())
	cfg.Create = false
	for i, text := range []string{"", "00000000000000000000 " + witnessName + "\n", strings.Repeat("\x00", 40), "99 another/name\n", "nonsense"} {
		check0(t, os.WriteFile(cfg.DBPath+".lock", []byte(text), 0o600))
		w := open(t, cfg)
		mustAdd(t, w, l.Request(5+int64(i), 6+int64(i)))
		check0(t, w.Close())
	}
}

func TestNothingIsCosignedForADatabaseThatIsGone(t *testing.T) {
	l := newLog()
	for name, test := range map[string]struct {
		spoil func(path string)
		want  string
	}{
		"removed": {func(path string) { check0(t, os.Remove(path)) }, "is not at its place any more"},
		"replaced": {func(path string) {
			check0(t, os.Rename(path, path+".old"))
			check0(t, os.WriteFile(path, testlog.Must(os.ReadFile(path+".old")), 0o600))
		}, "was replaced by another file"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t, l)
			w := openAt(t, cfg, l, 5)
			test.spoil(cfg.DBPath)
			wantStatus(t, w, l.Request(5, 9), 500)
			url := serve(t, w)
			if got := get(t, url+"/healthz"); got.code != 503 || !strings.Contains(got.body, test.want) {
				t.Errorf("health: %d %s", got.code, got.body)
			}
		})
	}
}
