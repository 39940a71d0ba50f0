package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/transparency-dev/tessera"

	"cratelog/internal/clustertest"
	"cratelog/internal/durable"
)

// through leads what is sent to the store through f.
func through(t testing.TB, p *place, f func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	t.Helper()
	next := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: p.store.Address})
		r.Out.Host = r.In.Host // which is signed
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(w, r, next) }))
	t.Cleanup(server.Close)
	p.cfg.Endpoint = server.URL
}

// strict refuses to delete nothing, as AWS and MinIO do.
func strict(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.Method == http.MethodPost && r.URL.Query().Has("delete") {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil || !bytes.Contains(body, []byte("<Object>")) {
			xml(http.StatusBadRequest, "MalformedXML")(w, r)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	next.ServeHTTP(w, r)
}

// TestRemovingGoesOnWhereNothingIsToBeRemoved: bundles that were full at once have no partial files, and a list
// of no objects is what a store refuses to delete.
func TestRemovingGoesOnWhereNothingIsToBeRemoved(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	through(t, p, strict)
	s := p.open(t)
	r := s.run(t)
	r.grow(t, 0, 512)
	r.grow(t, 512, 520)
	r.grow(t, 520, 770) // bundle 2 had partial files
	eventually(t, "removing", func() error {
		var from int
		err := s.database.pool.QueryRowContext(t.Context(), "SELECT fromSize FROM GCCoord").Scan(&from)
		names, listErr := s.store.list(t.Context(), "tile/entries/002.p/")
		if err == nil && (from != 768 || len(names) > 0) {
			err = fmt.Errorf("it has come to %d, and there are %q", from, names)
		}
		return errors.Join(err, listErr)
	})
	s.holds(t, 770)
}

// TestAStoreThatWasAwayLosesNothing: what was added before and meanwhile is integrated when it is back.
func TestAStoreThatWasAwayLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.cfg.AddDeadline = 2 * time.Second
	s := p.open(t)
	r := s.run(t)
	r.grow(t, 0, 5)
	fatalIf(t, p.store.Kill())
	futures := make([]tessera.IndexFuture, 20)
	for i := range futures {
		futures[i] = r.add(t.Context(), tessera.NewEntry(leaf(5+i)))
	}
	for i, f := range futures { // the database answers
		if x, err := f(); err != nil || x.Index != uint64(5+i) {
			t.Fatalf("leaf %d was added as %d: %v", 5+i, x.Index, err)
		}
	}
	if database, store := s.Probe(t.Context()); database != nil || store == nil {
		t.Errorf("the database: %v, the store: %v", database, store)
	}
	if _, err := s.ReadTile(t.Context(), 0, 0, 5); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a store that is away has no file: %v", err)
	}
	if err := s.Try(t.Context()); err == nil {
		t.Error("a store that is away was written to")
	}
	time.Sleep(3 * time.Second)
	fatalIf(t, p.store.Restart(t.Context()))
	r.published(t, 25)
	s.holds(t, 25)
	if database, store := s.Probe(t.Context()); database != nil || store != nil {
		t.Errorf("the database: %v, the store: %v", database, store)
	}
	fatalIf(t, s.Try(t.Context()))
}

// TestASlowStoreKeepsNobodyFromAdding: while tiles are written, which takes longer here than a lock is waited for,
// entries get their indexes.
func TestASlowStoreKeepsNobodyFromAdding(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.cfg.AddDeadline = 3 * time.Second
	writing := make(chan struct{}, 100)
	through(t, p, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/tile/entries/") {
			writing <- struct{}{}
			time.Sleep(2 * time.Second)
		}
		next.ServeHTTP(w, r)
	})
	s := p.open(t)
	r := s.run(t)
	for i := range 2 {
		if _, err := r.add(t.Context(), tessera.NewEntry(leaf(i)))(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			<-writing
		}
	}
	r.published(t, 2)
	s.holds(t, 2)
}

// TestAFenceStopsEveryWrite, and what was added behind it is not lost.
func TestAFenceStopsEveryWrite(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	lost := errors.New("another one leads")
	var closed atomic.Bool
	p.cfg.Fence = func() error {
		if closed.Load() {
			return lost
		}
		return nil
	}
	s := p.open(t)
	r := s.run(t)
	r.grow(t, 0, 4)
	closed.Store(true)
	for i := range 3 {
		if _, err := r.add(t.Context(), tessera.NewEntry(leaf(4+i)))(); err == nil {
			t.Fatal("an entry was added behind a fence")
		}
	}
	for what, err := range map[string]error{
		"writing a file":   s.Write(t.Context(), Frozen, []byte("x")),
		"removing a file":  s.Remove(t.Context(), Frozen),
		"writing a tile":   s.WriteTile(t.Context(), 0, 0, 1, []byte("x")),
		"writing a state":  s.WriteState(t.Context(), State{}),
		"whether it could": s.Writable(t.Context()),
		"trying it":        s.Try(t.Context()),
	} {
		if !errors.Is(err, lost) {
			t.Errorf("%s behind a fence: %v", what, err)
		}
	}
	time.Sleep(2500 * time.Millisecond) // Tessera tries each second
	names, err := s.store.list(t.Context(), "tile/entries/")
	if err != nil || len(names) != 1 || names[0] != "tile/entries/000.p/4" {
		t.Errorf("behind a fence there are %q, %v", names, err)
	}
	if next, err := s.Next(t.Context()); err != nil || next != 4 {
		t.Errorf("behind a fence the next index is %d, %v", next, err)
	}
	closed.Store(false)
	r.grow(t, 4, 7)
	s.holds(t, 7)
}

// TestADatabaseServer has one of its own, whose settings it changes, and which it kills.
func TestADatabaseServer(t *testing.T) {
	t.Parallel()
	d := clustertest.MariaDB(t)
	t.Run("that would lose or refuse entries is not taken", func(t *testing.T) { unfit(t, d) })
	t.Run("takes the largest batch", func(t *testing.T) { largest(t, d) })
	t.Run("that was killed loses nothing", func(t *testing.T) { killed(t, d) })
}

// placeOn is a place with a database of a server.
func placeOn(t *testing.T, d *clustertest.DB, deadline time.Duration) *place {
	t.Helper()
	name, err := d.Database(t.Context())
	fatalIf(t, err)
	p := newPlace(t)
	p.cfg.Database, p.cfg.AddDeadline = d.DSN(d.Address, name), deadline
	return p
}

// set changes a setting of the server, and returns what it was.
func (s *shared) set(t *testing.T, setting string, value uint64) (before uint64) {
	t.Helper()
	fatalIf(t, s.database.pool.QueryRowContext(t.Context(), "SELECT @@GLOBAL."+setting).Scan(&before))
	_, err := s.database.pool.ExecContext(t.Context(), fmt.Sprintf("SET GLOBAL %s = %d", setting, value))
	fatalIf(t, err)
	return before
}

func unfit(t *testing.T, d *clustertest.DB) {
	p := placeOn(t, d, 5*time.Second)
	s := p.open(t)
	for setting, value := range map[string]uint64{"innodb_flush_log_at_trx_commit": 2, "max_allowed_packet": 16 << 20} {
		before := s.set(t, setting, value)
		_, _, err := p.open(t).Open(t.Context(), options(t), http.DefaultClient)
		if err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("with %s = %d: %v", setting, value, err)
		}
		s.set(t, setting, before)
	}
}

// largest: its packets have just the size that is asked for.
func largest(t *testing.T, d *clustertest.DB) {
	p := placeOn(t, d, time.Minute)
	s := p.open(t)
	const block = 1024 // of which the setting is a multiple
	before := s.set(t, "max_allowed_packet", (packetOf(256)+block-1)/block*block)
	defer s.set(t, "max_allowed_packet", before)
	r := p.open(t).run(t)
	futures := make([]tessera.IndexFuture, 256)
	for i := range futures {
		futures[i] = r.add(t.Context(), tessera.NewEntry(bytes.Repeat([]byte{byte(i)}, maxEntry)))
	}
	for _, f := range futures {
		_, err := f()
		fatalIf(t, err)
	}
	r.published(t, 256)
	if b, err := r.ReadEntryBundle(t.Context(), 0, 0); err != nil || len(b) != maxBundle {
		t.Errorf("the bundle has %d bytes, %v", len(b), err)
	}
}

// killed: what was answered before is integrated after it.
func killed(t *testing.T, d *clustertest.DB) {
	p := placeOn(t, d, 2*time.Second)
	s := p.open(t)
	r := s.run(t)
	r.grow(t, 0, 5)
	for i := range 10 {
		if x, err := r.add(t.Context(), tessera.NewEntry(leaf(5+i)))(); err != nil || x.Index != uint64(5+i) {
			t.Fatalf("leaf %d was added as %d: %v", 5+i, x.Index, err)
		}
	}
	fatalIf(t, d.Kill())
	if _, err := r.add(t.Context(), tessera.NewEntry([]byte("nobody's")))(); err == nil {
		t.Error("an entry was added to no database")
	}
	if _, err := s.State(t.Context()); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("the state of a database that is away: %v", err)
	}
	if _, err := s.Next(t.Context()); err == nil {
		t.Error("a database that is away says what is next")
	}
	if database, store := s.Probe(t.Context()); database == nil || store != nil {
		t.Errorf("the database: %v, the store: %v", database, store)
	}
	eventually(t, "noticing", func() error {
		if s.Writable(t.Context()) == nil {
			return errors.New("a tree without a database is said to be writable")
		}
		return nil
	})
	// A reader starts without it.
	if _, err := p.open(t).ReadEntryBundle(t.Context(), 0, 5); err != nil {
		t.Errorf("reading without a database: %v", err)
	}
	fatalIf(t, d.Start(t.Context()))
	r.published(t, 15)
	r.grow(t, 15, 20)
	s.holds(t, 20)
	eventually(t, "noticing", func() error { return s.Writable(t.Context()) })
}

// TestTwoProcessesAddOnce: one that was stopped, and does not know that another one has taken over, adds entries too.
// Each stands once, where it was said to be added.
func TestTwoProcessesAddOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	old, fresh := p.open(t).run(t), p.open(t).run(t)
	const each = 300
	at := make([]uint64, 2*each)
	var wg sync.WaitGroup
	for n, r := range []*running{old, fresh} {
		wg.Go(func() {
			var futures []tessera.IndexFuture
			for i := range each {
				futures = append(futures, r.add(t.Context(), tessera.NewEntry(leaf(n*each+i))))
				if i%50 == 0 {
					time.Sleep(20 * time.Millisecond) // several batches
				}
			}
			for i, f := range futures {
				x, err := f()
				if err != nil {
					t.Errorf("leaf %d: %v", n*each+i, err)
				}
				at[n*each+i] = x.Index
			}
		})
	}
	wg.Wait()
	old.published(t, 2*each)
	leaves := fresh.leaves(t, 2*each)
	for i, where := range at {
		if where >= uint64(len(leaves)) || string(leaves[where]) != string(leaf(i)) {
			t.Errorf("leaf %d is not at %d", i, where)
		}
	}
}

// TestAStoppedProcessGivesItsLocksBack: its session says nothing more, as that of a process that was stopped, or cut
// off, in the middle of a transaction.
func TestAStoppedProcessGivesItsLocksBack(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.cfg.LockWait, p.cfg.AddDeadline = 3*time.Second, 2*time.Second
	first := p.open(t)
	r := first.run(t)
	r.grow(t, 0, 2)
	r.stop()
	next, err := first.Next(t.Context())
	if err != nil || next != 2 {
		t.Fatal(next, err)
	}
	stopped := p.open(t)
	tx, err := stopped.database.pool.BeginTx(t.Context(), nil)
	fatalIf(t, err)
	for _, table := range []string{"SeqCoord", "PubCoord"} {
		var id int
		fatalIf(t, tx.QueryRowContext(t.Context(), "SELECT id FROM "+table+" FOR UPDATE").Scan(&id))
	}
	s := p.open(t)
	// It may be adding an entry: nobody can know what is next.
	if next, err := s.Next(t.Context()); err == nil || !strings.Contains(err.Error(), "another process holds a lock") {
		t.Errorf("while a process may add, the next is %d, %v", next, err)
	}
	other := s.run(t) // waits
	other.grow(t, 2, 4)
	s.holds(t, 4)
	if err := tx.Commit(); err == nil {
		t.Error("the stopped process could commit")
	}
}

func TestAStoreThatOverwritesIsRefused(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	through(t, p, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Del("If-None-Match")
		next.ServeHTTP(w, r)
	})
	_, _, err := p.open(t).Open(t.Context(), options(t), http.DefaultClient)
	if err == nil || !strings.Contains(err.Error(), "does not refuse to overwrite") {
		t.Errorf("opened: %v", err)
	}
	names, err := p.open(t).store.list(t.Context(), "")
	if err != nil || len(names) > 0 {
		t.Errorf("in the bucket are %q, %v", names, err)
	}
}

// xml is an answer of a store.
func xml(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>said the store</Message></Error>", code)
	}
}

// endless is an answer without an end, counted.
func endless(status int, sent *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		chunk := make([]byte, 1<<20)
		for {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
}

// elsewhere is a tree without a database.
func elsewhere(t *testing.T, store string, deadline time.Duration) *shared {
	t.Helper()
	p := place{cfg: S3{Endpoint: store, Bucket: "log", PathStyle: true, AccessKey: "a", SecretKey: "b",
		Database: "log:secret@tcp(127.0.0.1:1)/log", AddDeadline: deadline}}
	return p.open(t)
}

func TestNoAnswerOfAStoreIsBelievedOrWaitedForForEver(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"an endless file":  {endless(200, &sent), "the most that is read"},
		"an endless error": {endless(500, &sent), "too large"},
		"no XML": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w, "<a<b")
		}, "500"},
		"nothing": {func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"half a file": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
		}, "unexpected EOF"},
		"forbidden":      {xml(403, "AccessDenied"), "ListBucket"},
		"no bucket":      {xml(404, "NoSuchBucket"), "make it first"},
		"busy":           {xml(503, "SlowDown"), "busy"},
		"another clock":  {xml(403, "RequestTimeTooSkewed"), "clock"},
		"another secret": {xml(403, "SignatureDoesNotMatch"), "credentials"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://store.example/", http.StatusTemporaryRedirect)
		}, "307"},
		"silence": {func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(time.Minute):
			}
		}, "not answered"},
		"a file that stops": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(time.Minute):
			}
		}, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.answer)
			t.Cleanup(server.Close)
			deadline := 10 * time.Second // more than a busy machine takes for what ends
			if name == "silence" || name == "a file that stops" {
				deadline = 400 * time.Millisecond
			}
			tree := elsewhere(t, server.URL, deadline)
			for what, read := range map[string]func() error{
				"a tile":       func() error { _, err := tree.ReadTile(t.Context(), 0, 0, 0); return err },
				"a bundle":     func() error { _, err := tree.ReadEntryBundle(t.Context(), 0, 0); return err },
				"a checkpoint": func() error { _, _, err := tree.Read(t.Context(), Checkpoint, 1<<10); return err },
			} {
				err := read()
				if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v", what, err)
				}
				if name == "an endless file" && !errors.Is(err, durable.ErrTooLarge) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if err := tree.store.ping(t.Context()); name != "an endless file" && name != "half a file" &&
				name != "a file that stops" && err == nil {
				t.Error("it is said to answer")
			}
			if err := tree.store.check(t.Context()); err == nil {
				t.Error("it is said to be a store")
			}
		})
	}
	t.Cleanup(func() {
		if n := sent.Load(); n > 1<<30 {
			t.Errorf("%d bytes were read of answers without an end", n)
		}
	})
}

// TestAListOfOtherObjectsRemovesNothing: Tessera would delete what a store names.
func TestAListOfOtherObjectsRemovesNothing(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]string{
		"another":  "<Contents><Key>tile/entries/000</Key></Contents>",
		"no names": "<Contents><Size>1</Size></Contents>",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "<?xml version=\"1.0\"?><ListBucketResult>%s</ListBucketResult>", list)
		}))
		t.Cleanup(server.Close)
		names, err := elsewhere(t, server.URL, 10*time.Second).store.list(t.Context(), "tile/entries/000.p/")
		if err == nil {
			t.Errorf("%s: listed %q", name, names)
		}
	}
}

// TestStaticCredentialsAskNoMetadataService: it would be whoever has its address.
func TestStaticCredentialsAskNoMetadataService(t *testing.T) {
	asked := make(chan string, 10)
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		http.Error(w, "no", http.StatusForbidden)
	}))
	t.Cleanup(metadata.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.URL)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	store := clustertest.FakeStore(t)
	cfg := S3{Endpoint: clustertest.Endpoint(store.Address), Bucket: store.Bucket, PathStyle: true,
		Database: "log:secret@tcp(127.0.0.1:1)/log"}
	get := func() error {
		tree, err := OpenS3(t.Context(), cfg)
		fatalIf(t, err)
		defer tree.Close()
		_, _, err = tree.Read(t.Context(), Checkpoint, 1<<10)
		return err
	}
	cfg.AccessKey, cfg.SecretKey = store.AccessKey, store.SecretKey
	if err := get(); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if len(asked) > 0 {
		t.Errorf("asked: %s", <-asked)
	}
	// The test can fail: without credentials the service is asked.
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	cfg.AccessKey, cfg.SecretKey = "", ""
	if err := get(); !errors.Is(err, errNoCredentials) || strings.Contains(err.Error(), "ListBucket") {
		t.Errorf("that it refuses is taken for the store's word: %v", err)
	}
	if len(asked) == 0 {
		t.Error("the metadata service is not asked for credentials that nobody gave")
	}
}

func TestSettingsThatCannotBeAreRefusedWithoutTheSecret(t *testing.T) {
	good := S3{Bucket: "log", AccessKey: "a", SecretKey: "sesame", Database: "log:sesame@tcp(127.0.0.1:1)/log"}
	for name, change := range map[string]func(*S3){
		"no bucket":        func(c *S3) { c.Bucket = "" },
		"half credentials": func(c *S3) { c.AccessKey = "" },
		"no database":      func(c *S3) { c.Database = "" },
		"no name":          func(c *S3) { c.Database = "log:sesame@tcp(127.0.0.1:1)/" },
		"no address":       func(c *S3) { c.Database = "log:sesame@sesame/log" },
		"another option":   func(c *S3) { c.Database += "?sesame=sesame" },
		"no such TLS":      func(c *S3) { c.Database += "?tls=sesame" },
	} {
		c := good
		change(&c)
		tree, err := OpenS3(t.Context(), c)
		if err == nil {
			t.Errorf("%s: opened", name)
			tree.Close()
		} else if strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: the secret is in %q", name, err)
		}
	}
	tree, err := OpenS3(t.Context(), good)
	fatalIf(t, err)
	defer tree.Close()
	_, err = tree.State(t.Context())
	if err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("nobody listens, and: %v", err)
	}
}

func TestOnlyVersionsThatAreKnownToDoAreTaken(t *testing.T) {
	for version, want := range map[string]bool{
		"8.0.36": true, "8.4.0-commercial": true, "9.1.0": true, "5.7.44-log": false,
		"10.11.14-MariaDB-0+deb12u2": true, "10.6.1-MariaDB": true, "10.5.29-MariaDB": false, "11.4.2-MariaDB": true,
		"": false, "8": false, "x8.0.1": false, "99999.0.1": false,
	} {
		if got := known(version, strings.Contains(version, "MariaDB")); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

// TestTesseraGetsTheSameSession: what holds for our connections is in the name that it is given.
func TestTesseraGetsTheSameSession(t *testing.T) {
	d, err := newDatabase(S3{Database: "log:p@/ss:word@tcp(db.example:3307)/log?tls=true", AddDeadline: 3 * time.Second,
		LockWait: 1500 * time.Millisecond})
	fatalIf(t, err)
	defer d.close()
	c, err := mysql.ParseDSN(d.name())
	fatalIf(t, err)
	if c.User != "log" || c.Passwd != "p@/ss:word" || c.Addr != "db.example:3307" || c.DBName != "log" ||
		c.TLS == nil || c.TLS.ServerName != "db.example" || c.TLS.InsecureSkipVerify ||
		c.Timeout != 3*time.Second || c.ReadTimeout != 3*time.Second || c.WriteTimeout != 3*time.Second ||
		c.Params["wait_timeout"] != "2" || c.Params["innodb_lock_wait_timeout"] != "2" || !c.CheckConnLiveness {
		t.Errorf("%+v", c)
	}
}

// TestATreeClosesTesserasConnections: Tessera itself never does.
func TestATreeClosesTesserasConnections(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	tree, err := OpenS3(t.Context(), p.cfg)
	fatalIf(t, err)
	s := tree.(*shared)
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err = s.Open(ctx, options(t), http.DefaultClient)
	fatalIf(t, err)
	cancel()
	s.database.network.mu.Lock()
	var open []net.Conn
	for c := range s.database.network.conns {
		open = append(open, c.Conn)
	}
	s.database.network.mu.Unlock()
	fatalIf(t, tree.Close())
	if len(open) == 0 {
		t.Fatal("it had none")
	}
	for _, c := range open {
		if err := c.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a connection is open: %v", err)
		}
	}
}
