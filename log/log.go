// Package log is the log server: a Tessera POSIX log of crate proofs.
//
// It accepts an entry only after it has checked it against the .crate and
// verified its proof, puts it into the tree once, and answers with a bundle
// (c2sp.org/tlog-proof) under a checkpoint that the policy's witnesses have
// cosigned. It serves the tree by c2sp.org/tlog-tiles.
//
// # What is kept where, and who is trusted
//
//   - The tree's directory is Tessera's. Entries are durable there before
//     anything is signed. An attacker who can write there can break the log, but
//     cannot make it sign two histories while the state directory is intact.
//   - The state directory holds guard.db, the memory of what was signed, which
//     must never be restored from a copy; index.db, which is derived from the
//     tree, and is compared with it at each start; openings.db, which
//     readers can do without; builds.db, the lists of compiled crates of build claims,
//     and the evidence against builders; and spool, uploads that are not checked yet.
//   - Witnesses are the second memory: without their quorum nothing is
//     published, and nothing is signed after a start before they were asked what
//     they saw last.
//   - What the disks give back is not believed: only what hashes to the root of
//     the tree is handed out.
package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/transparency-dev/tessera"
	tclient "github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/build"
	"cratelog/client"
	"cratelog/config"
	"cratelog/crate"
	"cratelog/proofcheck"
)

// Limits bound what one submission, and all together, may take.
type Limits struct {
	Crate   crate.Limits `toml:"-"`       // of one .crate; 0: DefaultCrateLimits
	Cores   int          `toml:"cores"`   // .crates checked at a time; 0: one per core
	Waiting int          `toml:"waiting"` // accepted entries without an index yet; 0: 4096
}

// Timing says how long things take and wait. It is part of logd's settings file.
type Timing struct {
	CheckpointInterval config.Duration `toml:"checkpoint_interval"` // 0: 800 ms; at least 100 ms
	RepublishInterval  config.Duration `toml:"republish_interval"`  // a fresh checkpoint of an unchanged tree; 0: 10 min
	WitnessTimeout     config.Duration `toml:"witness_timeout"`     // for all witnesses of one checkpoint; 0: 5 s
	CosignatureGrace   config.Duration `toml:"cosignature_grace"`   // for slower witnesses, after the quorum; 0: 250 ms
	PublishWait        config.Duration `toml:"publish_wait"`        // how long a submission waits for its bundle; 0: 20 s
	ScrubPeriod        config.Duration `toml:"scrub_period"`        // in which the whole tree is read again and compared; 0: a week
	BatchSize          uint            `toml:"batch_size"`          // entries written together; 0: 256
	BatchAge           config.Duration `toml:"batch_age"`           // how long a batch waits for more; 0: 100 ms
}

// DefaultCrateLimits are those of package crate, but for the size of the
// upload, which the log must hold in memory while it checks: 10 MiB, what
// registries commonly take.
func DefaultCrateLimits() crate.Limits {
	l := crate.DefaultLimits
	l.Compressed = 10 << 20
	return l
}

// Config is what a log needs to know. Fields without a default are required.
type Config struct {
	Origin   string      // the checkpoints' first line, forever
	Signer   note.Signer // of the first key (type 0x01 or 0x06), its name is Origin
	VKey     string      // the verifier key that belongs to Signer
	MoreKeys []Key       // sign each checkpoint too: while a key is changed, or of another kind
	TreeDir  string      // Tessera's directory; created if missing
	StateDir string      // what the package's documentation names; created if missing; not inside TreeDir

	// Policy is the trust file, a c2sp.org/tlog-policy, that names this log and, with
	// their URLs, its witnesses. Nothing is published without its quorum.
	Policy []byte

	// ReadersPolicy is the trust file that the log hands out to its readers; nil: Policy. While a key is
	// changed, Policy may ask for more than readers do.
	ReadersPolicy []byte

	Proofs Proofs // accepts at least one program

	// Withdrawn are ids of programs of Proofs under which nothing new is accepted. What the
	// tree holds under them is served as before: a log verifies all that it hands out.
	Withdrawn [][32]byte

	// KeysDir holds the programs' proving keys to serve, each under its SHA-256 in hex;
	// empty: none is served. Its files must not change.
	KeysDir string

	// Openings says whose openings are kept: OpeningsSubmitter, the default, OpeningsAny or
	// OpeningsOff. OpeningsBytes bounds what they take together, compressed; 0: 8 GiB.
	Openings      string
	OpeningsBytes int64

	// Registries, if there are any, are asked before a claim is admitted: the log then takes what they
	// list, and nothing else. RegistryRequests bounds the requests to all of them in any minute; 0: 120.
	Registries       []Registry
	RegistryRequests int

	Builds Builds // which build claims are taken; the zero value: none

	// Development allows programs whose key is for development only. Anyone
	// can make false proofs for such a key.
	Development bool

	Monitor string // address of a monitor that the page leads to, without a slash at its end; "" for none

	Limits Limits
	Door   Door // what a client may take
	Timing
	Logger *slog.Logger // nil: no messages

	Problems func() []string // what the program around the log has to say in /healthz; may be nil

	// ReadOnly serves a copy of the tree in TreeDir, which it does not write: it needs no Signer, signs and
	// accepts nothing, and follows the copy's checkpoint. StateDir is its own.
	ReadOnly bool

	Mirrors []Mirror // servers of others that the log keeps up to date

	Shards []Shard // other logs of the same operator, as a hint to readers

	testingOnlyAppender func(tessera.AddFn) tessera.AddFn
	testingOnlyPoll     time.Duration // between two looks at the checkpoint
	testingOnlyPage     int           // builds in one answer
	testingOnlyPlace    string        // a directory to watch beside the tree's and the state's

	testingOnlyRegistryNow func() time.Time // the clock by which registries are asked

	testingOnlyPerMember int // claims about a version, for maxPerMember
}

// Log is an open log. Its methods may be called concurrently.
type Log struct {
	cfg       Config
	limits    Limits
	log       *slog.Logger
	policy    *client.Policy
	witnesses []client.PolicyWitness
	transport *gathering
	proofs    *proofcheck.Together // what is admitted is verified again in its bundle, from memory
	programs  map[[32]byte]bool    // of Proofs, by id; false: withdrawn
	sets      map[[32]byte]*builderSet
	setOrder  [][32]byte       // roots of sets, as in the settings
	keys      *os.Root         // KeysDir; nil: none
	keyFiles  map[string]int64 // sizes by name, fixed when the log is opened
	metrics   *metrics
	retry     time.Duration // the least time to wait after a refusal
	condition condition
	problems  []func() []string // what parts of the log have to say in /healthz; fixed when the log is opened

	registries       atomic.Pointer[registries] // never nil
	registryRequests *prometheus.CounterVec     // by registry and result

	guard     *guard
	index     *index
	openings  *openings
	builds    *buildStore
	reader    tessera.LogReader
	verified  *verified // over reader; for all that is handed out
	prover    *prover   // over verified
	damages   damages
	packed    *packer // entry bundles with gzip
	clock     clock
	copied    *copied        // reader, if nothing is written; else nil
	frozen    *client.Frozen // the log's last word; nil: it goes on
	ask       *asker
	scrubber  scrubber
	mirrors   []*pusher
	appender  tessera.AddFn
	shutdown  func(context.Context) error
	published *publication
	halt      halt
	locks     []*os.File
	treeLock  *treeLock

	ctx     context.Context // of everything that outlives a request
	cancel  context.CancelFunc
	running sync.WaitGroup // sequencing
	watcher sync.WaitGroup // followCheckpoint

	door door

	mu       sync.Mutex
	behind   error                       // owned by mu; why the index lacks entries of the tree: nothing is accepted
	unadded  error                       // owned by mu; why the tree could not be written last
	closing  bool                        // owned by mu
	reserved map[versionKey]*reservation // owned by mu

	indexing sync.Mutex
	indexed  uint64 // owned by indexing; rows in the index
}

// halt is set once, when the log finds itself inconsistent.
type halt struct {
	mu  sync.Mutex
	err error
	log *slog.Logger
}

func (h *halt) now(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
		h.log.Error("HALTED: the log accepts nothing more", "err", err)
	}
}

func (h *halt) reason() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// newLog checks the configuration.
func newLog(ctx context.Context, cfg Config) (*Log, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	l := &Log{
		cfg: cfg, limits: cfg.Limits, log: cfg.Logger,
		proofs:   proofcheck.NewTogether(cfg.Proofs, 1<<16),
		programs: make(map[[32]byte]bool), retry: 2 * time.Second,
		published: newPublication(),
		packed:    newPacker(cfg.Limits.Cores),
		reserved:  make(map[versionKey]*reservation),
		sets:      make(map[[32]byte]*builderSet),
	}
	l.halt.log, l.damages.log = cfg.Logger, cfg.Logger
	l.problems = append(l.problems, l.damages.problems, l.storageProblems, l.clock.problems)
	l.ask = newAsker(l)
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.metrics = l.newMetrics()
	l.scrubber = newScrubber()
	l.metrics.registry.MustRegister(slices.Concat(l.damages.metrics(), l.scrubber.metrics(), l.endMetrics())...)
	for _, p := range cfg.Proofs.Programs() {
		id := p.ID()
		l.programs[id] = !slices.Contains(cfg.Withdrawn, id)
	}
	l.programs[build.NamedProgram] = !slices.Contains(cfg.Withdrawn, build.NamedProgram)
	return l, nil
}

// Open checks the configuration and the state on the disk, opens the tree,
// brings the index up to it, and starts publishing. It refuses rather than
// start wrong; errors.Is(err, ErrRollback) when the tree is not a continuation
// of what was signed.
//
// ctx bounds the opening only. Close must be called to stop.
func Open(ctx context.Context, cfg Config) (_ *Log, err error) {
	l, err := newLog(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.cancel()
			l.watcher.Wait()
			l.closeState()
		}
	}()
	for _, step := range []func(context.Context) error{l.openPolicy, l.openBuilds, l.openKeys, l.openState, l.openFrozen,
		l.openDoor, l.renewCheckpoint, l.openTree, l.openAsk, l.openIndex, l.openRegistries, l.openMirrors, l.openCondition,
		l.awaitAsk} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
	}
	l.start()
	return l, nil
}

// complete fills in the defaults and checks the configuration.
func (c *Config) complete() error {
	setDefault(&c.Logger, slog.New(slog.DiscardHandler))
	setDefault(&c.CheckpointInterval.Duration, 800*time.Millisecond)
	setDefault(&c.RepublishInterval.Duration, max(10*time.Minute, c.CheckpointInterval.Duration))
	setDefault(&c.WitnessTimeout.Duration, 5*time.Second)
	setDefault(&c.CosignatureGrace.Duration, min(250*time.Millisecond, c.WitnessTimeout.Duration))
	setDefault(&c.ScrubPeriod.Duration, 7*24*time.Hour)
	setDefault(&c.BatchSize, 256)
	setDefault(&c.BatchAge.Duration, 100*time.Millisecond)
	setDefault(&c.Limits.Crate, DefaultCrateLimits())
	setDefault(&c.Limits.Cores, runtime.NumCPU())
	setDefault(&c.Limits.Waiting, 4096)
	setDefault(&c.PublishWait.Duration, 20*time.Second)
	setDefault(&c.Openings, OpeningsSubmitter)
	setDefault(&c.OpeningsBytes, 8<<30)
	switch {
	case !slices.Contains([]string{OpeningsSubmitter, OpeningsAny, OpeningsOff}, c.Openings):
		return fmt.Errorf("openings is %q: it must be submitter, any or off", c.Openings)
	case c.VKey == "" || c.Signer == nil && !c.ReadOnly:
		return errors.New("no signing key is configured")
	case c.Origin == "" || !c.ReadOnly && slices.ContainsFunc(c.keys(), func(k Key) bool { return k.Name() != c.Origin }):
		return fmt.Errorf("the signing key is named %q, the origin is %q: they must be the same", c.Signer.Name(), c.Origin)
	case duplicateKey(c.keys()) != "":
		return fmt.Errorf("the key %s is listed twice", duplicateKey(c.keys()))
	case len(c.MoreKeys) > maxMoreKeys:
		return fmt.Errorf("there are %d signing keys: at most %d are used", 1+len(c.MoreKeys), 1+maxMoreKeys)
	case c.TreeDir == "" || c.StateDir == "":
		return errors.New("the directories of the tree and of the state must both be configured")
	case c.CheckpointInterval.Duration < 100*time.Millisecond:
		return fmt.Errorf("the checkpoint interval is %v: the least is 100ms", c.CheckpointInterval)
	case c.RepublishInterval.Duration < c.CheckpointInterval.Duration:
		return fmt.Errorf("the republish interval (%v) is shorter than the checkpoint interval (%v)",
			c.RepublishInterval, c.CheckpointInterval)
	case c.CosignatureGrace.Duration > c.WitnessTimeout.Duration:
		return fmt.Errorf("the cosignature grace (%v) is longer than the witness timeout (%v), which ends it",
			c.CosignatureGrace, c.WitnessTimeout)
	case min(c.Limits.Cores, c.Limits.Waiting) < 0, c.OpeningsBytes < 0,
		min(c.PublishWait.Duration, c.WitnessTimeout.Duration, c.BatchAge.Duration, c.CosignatureGrace.Duration,
			c.ScrubPeriod.Duration) < 0:
		return errors.New("a limit or an interval is negative")
	}
	if err := errors.Join(c.Door.complete(), checkShards(c.Shards)); err != nil {
		return err
	}
	return c.checkPrograms()
}

// maxMoreKeys bounds the signatures of a checkpoint: some witnesses read 10 KiB, and one of ML-DSA-44
// takes 3.3 kB.
const maxMoreKeys = 3

// keys are all that sign.
func (c *Config) keys() []Key { return append([]Key{{c.Signer, c.VKey}}, c.MoreKeys...) }

func duplicateKey(keys []Key) string {
	for i, k := range keys {
		if slices.ContainsFunc(keys[:i], func(o Key) bool { return o.VKey == k.VKey }) {
			return k.VKey
		}
	}
	return ""
}

func setDefault[T comparable](v *T, def T) { *v = cmp.Or(*v, def) }

func (c *Config) checkPrograms() error {
	if c.Proofs == nil || len(c.Proofs.Programs()) == 0 {
		return proofcheck.ErrNoPrograms
	}
	for _, p := range c.Proofs.Programs() {
		if p.Development() && !c.Development {
			return fmt.Errorf("the proof program %x has a development key, with which anyone can make false proofs: "+
				"configure other programs, or say that this is a development log", p.ID())
		}
	}
	for _, id := range c.Withdrawn {
		if id != build.NamedProgram &&
			!slices.ContainsFunc(c.Proofs.Programs(), func(p proofcheck.Program) bool { return p.ID() == id }) {
			return fmt.Errorf("the program %x is withdrawn, but it is none of those that the log knows: "+
				"keep its file in programs, so that the log can verify what it serves", id)
		}
	}
	return nil
}

func (l *Log) openPolicy(context.Context) error {
	p, err := parsePolicy(l.cfg.Policy, l.cfg.Origin, l.cfg.keys())
	if err != nil {
		return err
	}
	l.policy, l.witnesses = p, p.Witnesses()
	return l.openReaders()
}

// openState takes the locks and compares the guard's memory with the tree,
// before Tessera may write.
func (l *Log) openState(ctx context.Context) error {
	if l.cfg.ReadOnly {
		return l.openCopyState(ctx)
	}
	tree, err := filepath.Abs(l.cfg.TreeDir)
	if err != nil {
		return err
	}
	state, err := filepath.Abs(l.cfg.StateDir)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(tree, state); err != nil || filepath.IsLocal(rel) {
		return fmt.Errorf("the state directory %s is inside the tree's directory %s: "+
			"they must be apart, so that one cannot be restored with the other", state, tree)
	}
	for _, dir := range []struct {
		name string
		perm os.FileMode
	}{{tree, 0o755}, {state, 0o700}} {
		if err := os.MkdirAll(dir.name, dir.perm); err != nil {
			return err
		}
		lock, err := lockDir(dir.name)
		if err != nil {
			return err
		}
		l.locks = append(l.locks, lock)
	}
	if err := sweep(tree); err != nil {
		return err
	}
	var changed []string
	l.guard, changed, err = openGuard(ctx, filepath.Join(state, "guard.db"), tree, l.cfg.keys(),
		tclient.FileFetcher{Root: tree}.ReadTile)
	if err != nil {
		return err
	}
	for _, what := range changed {
		l.log.Warn("the log's keys changed", "key", what)
	}
	l.guard.halt, l.guard.permit = l.halt.now, l.ask.permit
	l.problems = append(l.problems, l.guard.problems)
	if err := l.openIndexFile(ctx); err != nil {
		return err
	}
	l.clock.mend(l)
	if err := l.dropCheckpoint(); err != nil {
		return err
	}
	if l.openings, err = openOpenings(ctx, state, l.cfg.OpeningsBytes); err != nil {
		return err
	}
	l.builds, err = openBuildStore(ctx, state)
	return err
}

// openTree starts Tessera.
func (l *Log) openTree(ctx context.Context) error {
	if l.readOnly() {
		return l.openCopy(ctx)
	}
	witnesses, err := newGathering(l.ctx, l.policy, l.cfg.WitnessTimeout.Duration, l.cfg.CosignatureGrace.Duration,
		func(name, result string) { l.metrics.witness.WithLabelValues(name, result).Inc() })
	if err != nil {
		return err
	}
	witnesses.refused = l.ask.refused
	l.transport, l.guard.signed = witnesses, witnesses.begin
	l.metrics.registry.MustRegister(witnesses.witnessMetrics()...)
	driver, err := posix.New(ctx, posix.Config{HTTPClient: witnesses.client(), Path: l.cfg.TreeDir})
	if err != nil {
		return err
	}
	opts := tessera.NewAppendOptions().
		WithCheckpointSigner(l.guard, l.guard.others()...).
		WithCheckpointInterval(l.cfg.CheckpointInterval.Duration).
		WithCheckpointRepublishInterval(l.cfg.RepublishInterval.Duration).
		WithBatching(l.cfg.BatchSize, l.cfg.BatchAge.Duration).
		WithWitnesses(witnesses.group(), &tessera.WitnessOptions{Timeout: l.cfg.WitnessTimeout.Duration, FailOpen: false})
	if l.treeLock, err = newTreeLock(l.cfg.TreeDir); err != nil {
		return err
	}
	var a *tessera.Appender
	var shutdown func(context.Context) error
	var reader tessera.LogReader
	open := func() (err error) {
		a, shutdown, reader, err = tessera.NewAppender(l.ctx, driver, opts)
		return err
	}
	err = unpanicked(open)
	if state, stateErr := readTreeState(l.cfg.TreeDir); err != nil && stateErr == nil && state.Found && state.Size == 0 {
		// A new log publishes its empty tree while it opens, which fails when
		// the witnesses are away. The log starts all the same: the tree exists
		// now, and after the second try publishing goes on in the background.
		l.log.Warn("the first checkpoint is not published yet", "err", err)
		err = unpanicked(open)
	}
	if err != nil {
		return err
	}
	l.appender, l.shutdown, l.reader = a.Add, shutdown, reader
	l.verified = newVerified(reader, l.damages.report)
	l.prover = newProver(l.verified)
	if l.cfg.testingOnlyAppender != nil {
		l.appender = l.cfg.testingOnlyAppender(l.appender)
	}
	return nil
}

// openIndex makes the index equal to the tree, so that what was added just
// before a crash is known before anything can be added again.
func (l *Log) openIndex(ctx context.Context) error {
	if _, err := l.integrated(ctx); err != nil {
		return err
	}
	state, err := readTreeState(l.cfg.TreeDir) // the guard has compared its root with the tiles
	if err != nil {
		return err
	}
	tree := treeHead{state.Size, tlog.Hash(state.Root)}
	if err := l.deriveIndex(ctx, tree); err != nil {
		return err
	}
	if err := errors.Join(l.checkNamed(ctx), l.checkRoots(ctx)); err != nil {
		return err
	}
	if l.halt.reason() != nil { // not all entries may have rows
		return nil
	}
	if err := l.builds.forget(ctx, func(sum [32]byte) (bool, error) { return l.index.hasList(ctx, sum) }); err != nil {
		return err
	}
	return l.openings.forget(ctx, func(identity [32]byte) (bool, error) {
		_, logged, err := l.index.byIdentity(ctx, identity)
		return logged, err
	})
}

// checkNamed wants every program that the tree's entries name to be known: a bundle that
// cannot be verified is not handed out.
func (l *Log) checkNamed(ctx context.Context) error {
	named, err := l.index.programs(ctx)
	if err != nil {
		return err
	}
	for _, id := range named {
		if _, known := l.programs[id]; !known {
			return fmt.Errorf("entries of this log name the program %x, which the settings do not: put its file back into programs, "+
				"and its id into withdrawn if nothing new is to be accepted under it", id)
		}
	}
	return nil
}

// integrated waits until every entry that has an index is in the tree, and
// returns the tree's size. With the POSIX driver they are the same.
func (l *Log) integrated(ctx context.Context) (uint64, error) {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for {
		size, err := l.reader.IntegratedSize(ctx)
		if err != nil {
			return 0, err
		}
		next, err := l.reader.NextIndex(ctx)
		if err != nil {
			return 0, err
		}
		if size >= next {
			return size, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for %d entries to be integrated: %w", next-size, ctx.Err())
		case <-t.C:
		}
	}
}

func (l *Log) start() {
	poll := min(max(l.cfg.CheckpointInterval.Duration/10, 10*time.Millisecond), 100*time.Millisecond)
	poll = cmp.Or(l.cfg.testingOnlyPoll, poll)
	// Readers who ask at once are not to be told that nothing is logged. What is wrong with the
	// checkpoint, followCheckpoint will say.
	_ = l.refreshCheckpoint(l.ctx)
	l.watcher.Go(func() { l.followCheckpoint(l.ctx, poll) })
	l.watcher.Go(func() { l.scrub(l.ctx) })
	for _, m := range l.mirrors {
		l.watcher.Go(func() { m.run(l.ctx) })
	}
	head, _ := l.guard.mark()
	l.log.Info("log open", "origin", l.cfg.Origin, "indexed", l.indexed, "signed", head.Size,
		"witnesses", len(l.witnesses))
}

// Close stops accepting, waits until what was accepted is in the tree and
// published, and closes everything. When ctx ends first it closes all the
// same and returns an error: entries that are in the tree are published after
// the next Open.
func (l *Log) Close(ctx context.Context) error {
	again, err := l.finish(ctx)
	if again {
		return nil
	}
	return errors.Join(err, l.end())
}

// finish is the part of Close after which readers are still answered. again: it was called before.
func (l *Log) finish(ctx context.Context) (again bool, err error) {
	l.mu.Lock()
	again = l.closing
	l.closing = true
	l.mu.Unlock()
	if again {
		return true, nil
	}
	err = waitFor(ctx, &l.running)
	if err == nil {
		// Tessera counts only what was resolved, so it comes after the wait.
		err = l.shutdown(ctx)
	}
	if err != nil {
		err = fmt.Errorf("log: closed before all entries were published; they will be after the next start: %w", err)
	}
	return false, err
}

// end is the rest of Close.
func (l *Log) end() error {
	l.cancel()
	l.watcher.Wait()
	return l.closeState()
}

// waitFor waits for a group or for ctx. The goroutine that it leaves behind
// when ctx ends first ends with the process.
func waitFor(ctx context.Context, g *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		g.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Log) closeState() error {
	var errs []error
	if l.guard != nil {
		errs = append(errs, l.guard.close())
	}
	if l.index != nil {
		errs = append(errs, l.index.close())
	}
	if l.openings != nil {
		errs = append(errs, l.openings.close())
	}
	if l.builds != nil {
		errs = append(errs, l.builds.close())
	}
	if l.keys != nil {
		errs = append(errs, l.keys.Close())
	}
	if l.treeLock != nil {
		l.treeLock.close()
	}
	for _, f := range l.locks {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
