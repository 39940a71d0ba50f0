package clustertest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	fatalIf(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func TestAKilledDatabaseKeepsWhatWasCommitted(t *testing.T) {
	d := MariaDB(t)
	name, err := d.Database(t.Context())
	fatalIf(t, err)
	db := open(t, d.DSN(d.Address, name))
	_, err = db.ExecContext(t.Context(), "CREATE TABLE t (x INT)")
	fatalIf(t, err)
	for i := range 10 {
		_, err = db.ExecContext(t.Context(), "INSERT INTO t VALUES (?)", i)
		fatalIf(t, err)
	}
	fatalIf(t, d.Kill())
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("a killed server answers")
	}
	fatalIf(t, d.Start(t.Context()))
	fatalIf(t, d.Pause())
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := db.PingContext(soon); err == nil {
		t.Error("a paused server answers")
	}
	fatalIf(t, d.Continue())
	var n int
	fatalIf(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM t").Scan(&n))
	if n != 10 {
		t.Errorf("%d of 10 rows are left", n)
	}
}

func TestSharedDatabasesAreEmptyAndOnTwoServers(t *testing.T) {
	ports := make(map[string]int)
	for _, dsn := range []string{Database(t), Database(t), Memory(t)} {
		db := open(t, dsn)
		_, err := db.ExecContext(t.Context(), "CREATE TABLE t (x INT)")
		fatalIf(t, err)
		var port string
		fatalIf(t, db.QueryRowContext(t.Context(), "SELECT @@port").Scan(&port))
		ports[port]++
	}
	if len(ports) != 2 {
		t.Errorf("the databases are on the servers %v", ports)
	}
}

// stores are those that tests can have. With -tags peers versitygw is among them.
var stores = map[string]func(testing.TB) *Store{"in this process": FakeStore}

func TestStoresObeyConditionsAndForgetNothing(t *testing.T) {
	for name, start := range stores {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			put := func(text string) error {
				_, err := s.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &s.Bucket, Key: aws.String("a/b"),
					Body: strings.NewReader(text), IfNoneMatch: aws.String("*")})
				return err
			}
			fatalIf(t, put("first"))
			var refused interface{ ErrorCode() string }
			if err := put("second"); !errors.As(err, &refused) || refused.ErrorCode() != "PreconditionFailed" {
				t.Errorf("a second object with If-None-Match: %v", err)
			}
			fatalIf(t, s.Put(t.Context(), "c", []byte("third")))
			fatalIf(t, s.Kill())
			if _, err := s.Get(t.Context(), "a/b"); err == nil {
				t.Error("a killed store answers")
			}
			fatalIf(t, s.Restart(t.Context()))
			for key, want := range map[string]string{"a/b": "first", "c": "third"} {
				if b, err := s.Get(t.Context(), key); err != nil || string(b) != want {
					t.Errorf("%s holds %q, %v", key, b, err)
				}
			}
		})
	}
}

// TestAGateRefusesWhatItIsTold: what it lets through is signed still.
func TestAGateRefusesWhatItIsTold(t *testing.T) {
	for name, start := range stores {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			g, err := NewGate(s.Address)
			fatalIf(t, err)
			defer func() { fatalIf(t, g.Close()) }()
			through := s.at(g.Address)
			g.Refuse(func(r *http.Request) bool { return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/b") })
			fatalIf(t, through.Put(t.Context(), "a", []byte("first")))
			if err := through.Put(t.Context(), "b", []byte("second")); err == nil {
				t.Error("what is to be refused is not")
			}
			if b, err := through.Get(t.Context(), "a"); err != nil || string(b) != "first" {
				t.Errorf("through the gate comes %q, %v", b, err)
			}
			g.Refuse(nil)
			fatalIf(t, through.Put(t.Context(), "b", []byte("third")))
			if b, err := s.Get(t.Context(), "b"); err != nil || string(b) != "third" {
				t.Errorf("in the store is %q, %v", b, err)
			}
		})
	}
}

// echo serves connections by sending back what comes.
func echo(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatalIf(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func TestALinkIsCutAndHealed(t *testing.T) {
	k, err := NewLink(echo(t))
	fatalIf(t, err)
	defer func() { fatalIf(t, k.Close()) }()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", k.Address)
		fatalIf(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	say := func(c net.Conn, word string) { // what is lost is found out by reading
		fmt.Fprint(c, word)
	}
	hear := func(c net.Conn, within time.Duration) (string, error) {
		buf := make([]byte, 5)
		c.SetReadDeadline(time.Now().Add(within))
		n, err := io.ReadFull(c, buf)
		return string(buf[:n]), err
	}
	old := dial()
	say(old, "hello")
	if word, err := hear(old, time.Minute); word != "hello" {
		t.Fatalf("through a whole link comes %q, %v", word, err)
	}

	k.Blackhole()
	fresh := dial()
	for _, c := range []net.Conn{old, fresh} {
		say(c, "later")
		if word, err := hear(c, 50*time.Millisecond); word != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("out of a black hole comes %q, %v", word, err)
		}
	}
	k.Heal()
	for _, c := range []net.Conn{old, fresh} {
		if word, err := hear(c, time.Minute); word != "later" {
			t.Errorf("when it is whole again comes %q, %v", word, err)
		}
	}

	k.Cut()
	cutOff := []net.Conn{old, fresh}
	if c, err := net.Dial("tcp", k.Address); err == nil { // it may be reset before it is known to be there
		defer c.Close()
		cutOff = append(cutOff, c)
	}
	for _, c := range cutOff {
		say(c, "never")
		if word, err := hear(c, time.Minute); word != "" || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("through a cut link comes %q, %v", word, err)
		}
	}
	k.Heal()
	again := dial()
	say(again, "hello")
	if word, err := hear(again, time.Minute); word != "hello" {
		t.Errorf("through a healed link comes %q, %v", word, err)
	}
}

func TestAProgramThatDoesNotServeIsSaidToHaveEnded(t *testing.T) {
	never := errors.New("nobody answers")
	p := NewProgram("false", func() *exec.Cmd { return exec.Command("false") }, func(context.Context) error { return never })
	if err := p.Start(t.Context()); !errors.Is(err, never) {
		t.Errorf("started: %v", err)
	}
	if err := p.Stop(); err == nil {
		t.Error("it failed, and its end is said to be well")
	}
}
