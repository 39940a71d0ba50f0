package witness

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cratelog/internal/testlog"
)

func listOf(logs ...testLog) string {
	text := "# a list\nlogs/v0\n"
	for _, l := range logs {
		text += fmt.Sprintf("\nvkey %s\nqpd 86400\ncontact somebody@example.org\n", l.VKey)
	}
	return text
}

func TestAListIsParsedAsItsFormatSays(t *testing.T) {
	a, b := newTestLog("a.example", 5), newTestLog("b.example", 5)
	text := "#\n# List: x\n\n  logs/v0  \nvkey " + a.VKey + "\r\nqpd 86400\ncontact x\n\n# next\nvkey " + b.VKey +
		"\norigin Another origin\nqpd 2147483647\ncontact " + "sysadmin (at) bar.org | more\n"
	logs := testlog.Must(ParseList([]byte(text)))
	if want := fmt.Sprint([]Log{{"a.example", a.VKey}, {"Another origin", b.VKey}}); fmt.Sprint(logs) != want {
		t.Errorf("parsed %v, wanted %v", logs, want)
	}
	if logs := testlog.Must(ParseList([]byte("logs/v0\n"))); len(logs) != 0 {
		t.Errorf("an empty list has %v", logs)
	}
	one := listOf(a)
	for name, test := range map[string]struct{ text, want string }{
		"empty":            {"", `"logs/v0" should follow`},
		"no header":        {strings.Replace(one, "logs/v0\n", "", 1), "line 3 of the list"},
		"another version":  {strings.Replace(one, "v0", "v1", 1), `a list begins with "logs/v0"`},
		"two headers":      {strings.Replace(one, "logs/v0\n", "logs/v0\nlogs/v0\n", 1), `a line "vkey" with a value should follow`},
		"an unknown key":   {one + "bastion x\n", `a line "vkey" with a value should follow`},
		"no qpd":           {strings.Replace(one, "qpd 86400\n", "", 1), `a line "origin" with a value should follow`},
		"no contact":       {strings.Replace(one, "contact", "#", 1), `ends where a line "contact" should follow`},
		"origin too late":  {strings.Replace(one, "contact", "origin x\ncontact", 1), `a line "contact"`},
		"origin twice":     {strings.Replace(one, "qpd", "origin x\norigin x\nqpd", 1), `a line "qpd"`},
		"qpd 0":            {strings.Replace(one, "86400", "0", 1), "qpd is"},
		"qpd of 2^31":      {strings.Replace(one, "86400", "2147483648", 1), "qpd is"},
		"qpd with a zero":  {strings.Replace(one, "86400", "086400", 1), "qpd is"},
		"qpd with a plus":  {strings.Replace(one, "86400", "+86400", 1), "qpd is"},
		"vkey, no value":   {"logs/v0\nvkey\nqpd 1\ncontact x\n", `a line "vkey" with a value`},
		"not UTF-8":        {one + "# \xff\n", "UTF-8"},
		"an HTML page":     {"<!doctype html>\n", "a list begins with"},
		"larger than many": {strings.Repeat("#", MaxList+1), "more than"},
	} {
		if logs, err := ParseList([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v; wanted %q", name, logs, err, test.want)
		}
	}
}

func take(t *testing.T, w *Witness, logs ...testLog) int {
	t.Helper()
	return testlog.Must(w.Take(t.Context(), "list", testlog.Must(ParseList([]byte(listOf(logs...))))))
}

func TestAListAddsAndNeverRemovesOrChanges(t *testing.T) {
	own, a, b, c := newLog(), newTestLog("a.example", 20), newTestLog("b.example", 20), newTestLog("c.example", 20)
	cfg := newConfig(t, own)
	w := open(t, cfg)
	if n := take(t, w, own, a, b, a); n != 2 {
		t.Errorf("%d logs were taken", n)
	}
	mustAdd(t, w, a.Request(0, 5))
	// a is gone from the list, and b has another key there: by whom, nobody knows.
	forged := b
	forged.Log = testlog.New(b.KeyName, 0, nil, "mallory")
	forged.Tree = b.Tree
	if n := take(t, w, c, forged); n != 1 {
		t.Errorf("%d logs were taken", n)
	}
	mustAdd(t, w, a.Request(5, 9))
	mustAdd(t, w, c.Request(0, 5))
	wantStatus(t, w, forged.Request(0, 5), 403)
	mustAdd(t, w, b.Request(0, 5))

	w = reopen(t, w, cfg) // without any list
	mustAdd(t, w, a.Request(9, 20))
	mustAdd(t, w, c.Request(5, 9))
	wantStatus(t, w, forged.Request(5, 9), 403)
}

func TestALogThatTheOperatorDisabledIsNotBroughtBackByAList(t *testing.T) {
	own, a := newLog(), newTestLog("a.example", 20)
	cfg := newConfig(t, own, a)
	w := openAt(t, cfg, a, 5)
	check0(t, w.Reload(t.Context(), cfg.Logs[:1], nil))
	wantStatus(t, w, a.Request(5, 9), 404)
	take(t, w, a)
	wantStatus(t, w, a.Request(5, 9), 404)

	b := newTestLog("b.example", 20)
	take(t, w, b)
	mustAdd(t, w, b.Request(0, 5))
	check0(t, w.Reload(t.Context(), cfg.Logs[:1], []string{"b.example"}))
	wantStatus(t, w, b.Request(5, 9), 404)
	take(t, w, b)
	wantStatus(t, w, b.Request(5, 9), 404)
	check0(t, w.Reload(t.Context(), cfg.Logs[:1], nil)) // enabled again: it goes on where it was
	wantStatus(t, w, b.Request(0, 9), 409)
	mustAdd(t, w, b.Request(5, 9))
}

func TestListsAreBounded(t *testing.T) {
	var logs []testLog
	for i := range 8 {
		logs = append(logs, newTestLog(fmt.Sprintf("l%d.example", i), 1))
	}
	cfg := newConfig(t)
	cfg.MaxListed = 5
	w := open(t, cfg)
	if n := take(t, w, logs[:3]...); n != 3 {
		t.Errorf("%d taken", n)
	}
	if n := take(t, w, logs...); n != 2 {
		t.Errorf("%d taken of 5 where there is room for 2", n)
	}
	if n := take(t, w, logs...); n != 0 || len(w.Origins()) != 5 {
		t.Errorf("%d taken, %v known", n, w.Origins())
	}
	// The witness's own name, a key of an unknown kind: the others are taken.
	cfg = newConfig(t)
	w = open(t, cfg)
	self := newTestLog(witnessName, 1)
	odd := listOf(self, logs[0]) + "vkey x+00000000+AAAA\nqpd 1\ncontact x\n"
	if n := testlog.Must(w.Take(t.Context(), "list", testlog.Must(ParseList([]byte(odd))))); n != 1 {
		t.Errorf("%d taken", n)
	}
}

// TestAListFillsNoLogAndNoMemory: what is not taken is told in parts, however much there is of it.
func TestAListFillsNoLogAndNoMemory(t *testing.T) {
	var said bytes.Buffer
	cfg := newConfig(t)
	cfg.Logger = slog.New(slog.NewTextHandler(&said, nil))
	w := open(t, cfg)
	var list strings.Builder
	list.WriteString("logs/v0\n")
	for i := range 3000 {
		fmt.Fprintf(&list, "vkey l%d+nonsense+%s\nqpd 1\ncontact x\n", i, strings.Repeat("x", 5000))
	}
	logs := testlog.Must(ParseList([]byte(list.String())))
	for range 2 {
		said.Reset()
		testlog.Must(w.Take(t.Context(), "list", logs))
		if lines := strings.Count(said.String(), "\n"); lines != maxSkips || said.Len() > maxSkips*3*2*maxSkipText {
			t.Errorf("%d lines of %d bytes are logged", lines, said.Len())
		}
	}
	if kept := len(fmt.Sprint(w.health.told)); kept > 2*maxSkips*200 {
		t.Errorf("%d bytes are kept", kept)
	}
}

func TestNewSettingsAreTakenWhileRequestsRun(t *testing.T) {
	a, b := newTestLog("a.example", 200), newTestLog("b.example", 20)
	cfg := newConfig(t, a)
	w := open(t, cfg)
	done := make(chan error, 1)
	go func() {
		for i := range int64(100) {
			if _, err := w.AddCheckpoint(t.Context(), []byte(a.Request(i, i+1))); err != nil {
				done <- fmt.Errorf("size %d: %w", i+1, err)
				return
			}
		}
		done <- nil
	}()
	both := append(cfg.Logs, Log{VKey: b.VKey})
	for i := range 20 {
		check0(t, w.Reload(t.Context(), both[:1+i%2], nil))
	}
	check0(t, <-done)
	check0(t, w.Reload(t.Context(), both, nil))
	mustAdd(t, w, b.Request(0, 5))
	if err := w.Reload(t.Context(), []Log{{VKey: "nonsense"}}, nil); err == nil {
		t.Error("nonsense was taken")
	}
	mustAdd(t, w, b.Request(5, 9)) // as before
}

// TestWhatWaitsIsJudgedByTheNewSettings: a log that is disabled, or a key that is trusted no more, is so at once.
func TestWhatWaitsIsJudgedByTheNewSettings(t *testing.T) {
	l := newLog()
	other := testlog.LogKey(l.KeyName, "another key").VKey
	for name, c := range map[string]struct {
		logs     []Log
		disabled []string
		want     error
	}{
		"gone":        {nil, nil, ErrUnknownLog},
		"disabled":    {[]Log{{VKey: l.VKey}}, []string{l.KeyName}, ErrUnknownLog},
		"another key": {[]Log{{VKey: other}}, nil, ErrSignature},
		"both keys":   {[]Log{{VKey: other}, {VKey: l.VKey}}, nil, nil},
	} {
		w := openAt(t, newConfig(t, l), l, 5)
		turn := w.watched(l.KeyName).turn
		<-turn
		done := make(chan error, 1)
		go func() {
			_, err := w.AddCheckpoint(t.Context(), []byte(l.Request(5, 9)))
			done <- err
		}()
		time.Sleep(50 * time.Millisecond) // until it waits
		check0(t, w.Reload(t.Context(), c.logs, c.disabled))
		turn <- struct{}{}
		if err := <-done; !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestASecondProcessOnOneDatabaseIsRefused(t *testing.T) {
	cfg := newConfig(t, newLog())
	w := open(t, cfg)
	cfg.Create = false
	if second, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "another process has the database") {
		if err == nil {
			second.Close()
		}
		t.Errorf("a second witness on one database: %v", err)
	}
	cfg.ReadOnly = true // evidence is read beside a witness that runs
	reader := open(t, cfg)
	if _, err := reader.Forks(t.Context(), "log.example"); err != nil {
		t.Error(err)
	}
	if _, err := reader.AddCheckpoint(t.Context(), []byte(newLog().Request(0, 5))); err == nil {
		t.Error("a reader cosigned")
	}
	cfg.ReadOnly = false
	reopen(t, w, cfg) // the lock ends with its holder
}
