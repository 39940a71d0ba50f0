package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/storage/aws"
)

// S3 says where a tree lies that several machines share: tiles and entries in a bucket of an S3-compatible store,
// and what orders them in a database of MySQL or MariaDB.
type S3 struct {
	Endpoint  string // URL of the store; "": the SDK's for the region
	Region    string // "": what the SDK's environment says, else us-east-1
	Bucket    string // holds this log and nothing else
	PathStyle bool   // the bucket stands in the path, not in the host's name

	// AccessKey and SecretKey are the credentials; both empty: what the SDK finds in its environment.
	AccessKey, SecretKey string

	Database string // data source name of go-sql-driver/mysql: user:password@tcp(host:port)/name

	// AddDeadline bounds each statement to the database and each request to the store; 0: 5 s.
	AddDeadline time.Duration

	// Fence is asked before anything is written to the bucket, and before Tessera sends anything to the database; an
	// error keeps it from being written, or sent. nil: no fence.
	Fence func() error

	// LockWait is how long a process that was stopped in the middle can hold the database's locks; 0: 15 s. Tessera
	// holds one while the witnesses are asked, and one for at most 10 s while it writes tiles, so it is to be longer.
	LockWait time.Duration
}

// shared is a tree of Tessera's AWS driver.
type shared struct {
	cfg      S3
	store    *store
	database *database
}

var _ Tree = &shared{}

// OpenS3 opens such a tree. It connects to nothing yet.
func OpenS3(ctx context.Context, cfg S3) (Tree, error) {
	if cfg.AddDeadline <= 0 {
		cfg.AddDeadline = 5 * time.Second
	}
	if cfg.LockWait <= 0 {
		cfg.LockWait = 15 * time.Second
	}
	if cfg.Fence == nil {
		cfg.Fence = func() error { return nil }
	}
	t := &shared{cfg: cfg}
	var err error
	if t.store, err = newStore(ctx, cfg); err == nil {
		t.database, err = newDatabase(cfg)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *shared) String() string {
	return fmt.Sprintf("the tree in the bucket %s and the database %s", t.cfg.Bucket, t.database)
}

// State implements Tree.
func (t *shared) State(ctx context.Context) (State, error) { return t.database.state(ctx) }

// Next implements Tree.
func (t *shared) Next(ctx context.Context) (uint64, error) { return t.database.next(ctx) }

// ReadTile implements Tree.
func (t *shared) ReadTile(ctx context.Context, level, index uint64, p uint8) ([]byte, error) {
	return partialOrFull(p, func(p uint8) ([]byte, error) {
		data, _, err := t.store.get(ctx, layout.TilePath(level, index, p), maxTile)
		return data, err
	})
}

// ReadEntryBundle implements Tree.
func (t *shared) ReadEntryBundle(ctx context.Context, index uint64, p uint8) ([]byte, error) {
	return partialOrFull(p, func(p uint8) ([]byte, error) {
		data, _, err := t.store.get(ctx, layout.EntriesPath(index, p), maxBundle)
		return data, err
	})
}

// Read implements Tree.
func (t *shared) Read(ctx context.Context, name string, most int64) ([]byte, time.Time, error) {
	return t.store.get(ctx, name, most)
}

// Write implements Tree.
func (t *shared) Write(ctx context.Context, name string, data []byte) error {
	return t.store.put(ctx, name, data, false)
}

// Remove implements Tree. Tessera is told before that nothing is published, since it does not look.
func (t *shared) Remove(ctx context.Context, name string) error {
	if name == Checkpoint {
		if err := t.database.setPublished(ctx, time.Unix(0, 0)); err != nil {
			return err
		}
	}
	return t.store.remove(ctx, name)
}

// Published implements Tree.
func (t *shared) Published(ctx context.Context) (time.Time, error) { return t.database.published(ctx) }

// SetPublished implements Tree.
func (t *shared) SetPublished(ctx context.Context, at time.Time) error {
	return t.database.setPublished(ctx, at)
}

// WriteTile implements Tree.
func (t *shared) WriteTile(ctx context.Context, level, index uint64, p uint8, data []byte) error {
	return t.store.put(ctx, layout.TilePath(level, index, p), data, false)
}

// WriteState implements Tree.
func (t *shared) WriteState(ctx context.Context, s State) error {
	if err := t.cfg.Fence(); err != nil {
		return err
	}
	return t.database.setState(ctx, s)
}

// Lock implements Tree.
func (t *shared) Lock(context.Context) (io.Closer, error) { return io.NopCloser(nil), nil }

// Writable implements Tree.
func (t *shared) Writable(ctx context.Context) error {
	if err := t.cfg.Fence(); err != nil {
		return err
	}
	return t.database.lately(ctx)
}

// Try implements Tree.
func (t *shared) Try(ctx context.Context) error {
	const most = 256 << 10
	if err := t.database.try(ctx, most); err != nil {
		return err
	}
	name := scratch()
	return errors.Join(t.store.put(ctx, name, make([]byte, most), true), t.store.remove(ctx, name))
}

// Probe says whether database and store answer now, or why not: what does not in half the deadline of an addition
// is away.
func (t *shared) Probe(ctx context.Context) (database, store error) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.AddDeadline/2)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { database = t.database.ping(ctx) })
	wg.Go(func() { store = t.store.ping(ctx) })
	wg.Wait()
	return database, store
}

// Inspect says, without writing anything, what would keep [Tree.Open] from opening the tree for batches of so many
// entries, or will not work then. It cannot say whether the store may be written to.
func (t *shared) Inspect(ctx context.Context, batch uint) (database, store error) {
	if database = t.database.check(ctx, batch); database == nil {
		_, database = t.database.state(ctx)
	}
	if store = t.store.ping(ctx); store == nil {
		_, store = t.store.list(ctx, scratchDir)
	}
	return database, store
}

// Open implements Tree. Before Tessera may write it makes sure that database and store do what it relies on.
func (t *shared) Open(ctx context.Context, opts *tessera.AppendOptions, witnesses *http.Client) (*tessera.Appender,
	func(context.Context) error, error) {
	if err := t.database.check(ctx, opts.BatchMaxSize()); err != nil {
		return nil, nil, err
	}
	if err := t.store.check(ctx); err != nil {
		return nil, nil, err
	}
	if err := t.database.unlocked(ctx); err != nil {
		return nil, nil, err
	}
	const connections = 10 // at most, and kept: it does five things at a time
	driver, err := aws.New(ctx, aws.Config{SDKConfig: &t.store.config, S3Options: t.store.options, Bucket: t.cfg.Bucket,
		DSN: t.database.name(), MaxOpenConns: connections, MaxIdleConns: connections, HTTPClient: witnesses})
	if err != nil {
		return nil, nil, err
	}
	a, shutdown, _, err := tessera.NewAppender(ctx, driver, opts)
	if err != nil {
		return nil, nil, fmt.Errorf("%s cannot be opened: %w", t, err)
	}
	return a, shutdown, nil
}

// Pace implements Tree. It is Tessera's for this driver, which counts in seconds.
func (t *shared) Pace() time.Duration { return time.Second }

// Close implements Tree. What Tessera has begun in the database ends with its connections.
func (t *shared) Close() error {
	t.store.close()
	return t.database.close()
}
