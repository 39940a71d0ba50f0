package builder

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/testlog"
)

// shown is a log that has some entries, and shows what it has at some time.
func shown(t *testing.T, at time.Time, entries ...*entry.Entry) (*testlog.Log, *Shown) {
	t.Helper()
	l := testlog.New("log.example/builds", 3, func() time.Time { return at })
	for _, e := range entries {
		l.Tree.Append(testlog.Must(e.Marshal()))
	}
	l.Publish()
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	return l, &Shown{Log: &client.Log{URL: server.URL}, Policy: testlog.Must(client.ParsePolicy(l.Trust(server.URL))),
		Rules: client.Rules{MaxAge: time.Hour}}
}

// A builder is shown all that is said of a version, also what no list of the log's names: a second word of one
// member, which no log admits, too.
func TestABuilderIsShownAllThatIsSaid(t *testing.T) {
	k, other := newKey(t, Ed25519), newKey(t, Ed25519)
	set := setOf(t, k, other)
	first := attest(t, k, attestation(set, "binary"))
	second := attest(t, other, attestation(set, "another binary"))
	again := attest(t, reopenWithout(t, k), attestation(set, "a third binary"))
	a := attestation(set, "binary")
	l, s := shown(t, time.Now(), first, second, again)
	l.PageRows = 2 // so that it takes several pages
	rows, err := s.Builds(t.Context(), a.Subject)
	fatalIf(t, err)
	if len(rows) != 3 || rows[0] != row(t, first, 0) || rows[1] != row(t, second, 1) || rows[2] != row(t, again, 2) {
		t.Errorf("%+v", rows)
	}
	none := a.Subject
	none.Version = "0.2.0"
	if rows, err := s.Builds(t.Context(), none); err != nil || rows == nil || len(rows) != 0 {
		t.Errorf("of what nobody speaks: %+v, %v", rows, err)
	}
}

// reopenWithout opens a key as if it had attested nothing, which its owner must not do.
func reopenWithout(t *testing.T, k *Key) *Key {
	t.Helper()
	k.journal.results = map[[32]byte][32]byte{}
	return k
}

func TestALogThatDoesNotShowAllIsNotBelieved(t *testing.T) {
	k := newKey(t, Ed25519)
	set := setOf(t, k)
	a := attestation(set, "binary")
	e := attest(t, k, a)
	for name, c := range map[string]struct {
		lie  func(l *testlog.Log)
		want error
	}{
		"it hands out nothing": {func(l *testlog.Log) {
			l.Intercept(testlog.Answer("/v1/index", http.StatusNotFound, []byte(`{"reason": "not-found", "message": "no"}`)))
		}, client.ErrWithheld},
		"its tree is not sealed": {func(l *testlog.Log) {
			l.Tree.Append([]byte("no seal"))
			l.ServeSigned(l.Tree, l.Tree.Size(), l.Witnesses...)
		}, client.ErrSeal},
		"its index has what no entry makes": {func(l *testlog.Log) {
			rows := l.Tree.Map(1)
			other := attest(t, reopenWithout(t, k), attestation(set, "another binary"))
			for r := range testlog.NewTree([]byte("x"), testlog.Must(other.Marshal())).Map(2).Rows(index.VersionPrefix(a.Subject.Registry, a.Subject.Name, a.Subject.Version)) {
				if _, there := rows.Get(r.Key); !there {
					l.Tree.Phantom(r)
				}
			}
			l.Tree.Append([]byte("later"))
			l.Publish()
		}, client.ErrSeal},
		"it is old": {func(l *testlog.Log) {
			for _, w := range l.Witnesses {
				*w = *w.At(time.Now().Add(-2 * time.Hour))
			}
			l.Publish()
		}, client.ErrStale},
		"too few witnesses saw it": {func(l *testlog.Log) {
			l.ServeSigned(l.Tree, l.Tree.Size(), l.Witnesses[0])
		}, client.ErrQuorum},
	} {
		l, s := shown(t, time.Now(), e)
		if rows, err := s.Builds(t.Context(), a.Subject); err != nil || len(rows) != 1 {
			t.Fatalf("the honest log: %+v, %v", rows, err)
		}
		c.lie(l)
		if rows, err := s.Builds(t.Context(), a.Subject); rows != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, rows, err)
		}
	}
}
