package witness

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"cratelog/internal/testlog"
)

// TestTheFrontPageDoesNotKeepTheWitnessFromCosigning: where there are many logs, who looks at all of them again and
// again costs the database nothing.
func TestTheFrontPageDoesNotKeepTheWitnessFromCosigning(t *testing.T) {
	own := newLog()
	w := openAt(t, newConfig(t, own), own, 5)
	url := serve(t, w)
	if get(t, url); !w.front.until.IsZero() {
		t.Error("what is quick is remembered")
	}
	tx := testlog.Must(w.store.db.Begin())
	for i := range 2000 {
		l := newTestLog(fmt.Sprintf("l%d.example", i), 1)
		root := l.root(1)
		testlog.Must(tx.Exec("INSERT INTO log VALUES (?, 1, ?, 1, ?, ?, ?)", l.KeyName, root[:], l.Head(1), l.line(1), l.line(1)))
	}
	check0(t, tx.Commit())
	check0(t, w.Reload(t.Context(), []Log{{VKey: own.VKey}}, nil))
	before := get(t, url)
	if w.front.until.IsZero() {
		t.Fatal("what takes long is not remembered")
	}
	w.front.until = time.Now().Add(time.Hour)
	conn := testlog.Must(w.store.db.Conn(t.Context())) // nobody else has it now
	client := http.Client{Timeout: 10 * time.Second}
	for _, accept := range []string{"", "text/html"} {
		r := testlog.Must(http.NewRequest("GET", url, nil))
		r.Header.Set("Accept", accept)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatalf("%q: %v", accept, err)
		}
		if after := read(t, resp); after.code != 200 || !strings.Contains(after.body, "l1999.example") ||
			accept == "" && after.body != before.body {
			t.Errorf("%q: %d", accept, after.code)
		}
	}
	check0(t, conn.Close())
	w.front.until = time.Time{}
	mustAdd(t, w, own.Request(5, 9))
	if now := get(t, url); now.body == before.body {
		t.Error("it is remembered for too long")
	}
}
