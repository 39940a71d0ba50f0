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
//     tree, and whose map is compared with its last seal at each start; openings.db, which
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
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"

	"cratelog/build"
	"cratelog/client"
	"cratelog/config"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/log/storage"
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
	BatchSize          uint            `toml:"batch_size"`          // entries added together; 0: 256
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
	TreeDir  string      // Tessera's directory; created if missing; "" with Cluster
	StateDir string      // what the package's documentation names; created if missing; not inside TreeDir

	// Cluster is what several processes need that are this log together; nil: the tree is in TreeDir, and this
	// process is the log.
	Cluster *Cluster

	// Policy is the trust file, a c2sp.org/tlog-policy, that names this log and, with
	// their URLs, its witnesses. Nothing is published without its quorum.
	Policy []byte

	// ReadersPolicy is the trust file that the log hands out to its readers; nil: Policy. While a key is
	// changed, Policy may ask for more than readers do.
	ReadersPolicy []byte

	Proofs Proofs // accepts at least one program

	// Withdrawn are ids of programs of Proofs under which nothing new is accepted. What the
	// tree holds under them is served as before.
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

	// Predecessors are the logs for which this one goes on, the oldest first: the last, and those that each of
	// them went on for. None: the log begins with nothing.
	Predecessors []Predecessor

	lease  *lease      // of a process among several: it has the lease, and writes; nil: it is a front end
	shown  []byte      // the checkpoint that this process showed last, before it became the sequencer
	wedged func(error) // hears what the writer waits for in vain, and nil when it waits no longer; may be nil

	testingOnlyTree     func(storage.Tree) storage.Tree
	testingOnlyPatience time.Duration // as if machines shared the tree
	testingOnlyAppender func(tessera.AddFn) tessera.AddFn
	testingOnlyStep     func(name string)
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
	proofs    *proofcheck.Together // remembers: who is told to come again need not be verified again
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
	index     *rowStore
	openings  *openings
	builds    *buildStore
	tree      storage.Tree
	verified  *verified // over tree; for all that is handed out
	prover    *prover   // over verified
	damages   damages
	packed    *packer                    // entry bundles with gzip
	pages     *byteCache[string, []byte] // look-ups and pages of the index, by their tags
	clock     clock
	copied    *copied        // if nothing is written; else nil
	frozen    *client.Frozen // the log's last word; nil: it goes on
	begun     *entry.Start   // the log's first leaf, if it goes on for another one; else nil
	ask       *asker
	scrubber  scrubber
	mirrors   []*pusher
	appender  tessera.AddFn
	shutdown  func(context.Context) error
	published *publication
	halt      halt
	locks     []io.Closer

	unseen    time.Time   // tendStorage's; when it last had published again what was signed
	sequencer *sequencer  // who it is; nil: this log is alone, or only reads
	begins    atomic.Bool // the log had no leaf when this front end was opened, and has some now

	ctx     context.Context // of everything that outlives a request
	cancel  context.CancelFunc
	staying context.Context // of submissions that wait for another process
	retire  context.CancelFunc
	running sync.WaitGroup // reservations, and a round until it is sealed
	watcher sync.WaitGroup // followCheckpoint, write, and others

	door door

	leaves  *leafMap
	recent  *lru.Cache[[32]byte, row] // by leaf hash: what was admitted a moment ago
	blind   bool                      // not all leaves of the tree could be read when the log was opened: it is halted
	sealing meter                     // of map, seals and guard
	wake    chan struct{}             // for the writer; has room for one

	mu     sync.Mutex
	behind error // owned by mu; why the index lacks entries of the tree: nothing is accepted

	unanswered <-chan struct{} // owned by mu; closed once what was given to Tessera, and was late, is answered

	unadded  error                      // owned by mu; why the tree could not be written last
	closing  bool                       // owned by mu
	reserved map[index.Key]*reservation // owned by mu; by crate version
	held     int                        // owned by mu; bytes of what they hold
	queue    []*reservation             // owned by mu; those that the writer has not taken yet

	indexing sync.Mutex
	indexed  uint64 // owned by indexing; rows in the index
	vouched  uint64 // first leaves whose proofs are not looked at here: they were signed before this log was opened
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
		pages:     newByteCache[string](16<<20, lenOf),
		reserved:  make(map[index.Key]*reservation),
		leaves:    newLeafMap(), wake: make(chan struct{}, 1),
		sets: make(map[[32]byte]*builderSet),
	}
	answered := make(chan struct{})
	close(answered)
	l.unanswered = answered
	l.recent, _ = lru.New[[32]byte, row](1 << 12) // refuses nothing but a size below 1
	l.halt.log, l.damages.log = cfg.Logger, cfg.Logger
	l.problems = append(l.problems, l.damages.problems, l.storageProblems, l.clock.problems)
	l.ask = newAsker(l)
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.staying, l.retire = context.WithCancel(context.WithoutCancel(ctx))
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
	for _, step := range []func(context.Context) error{l.openPolicy, l.openBuilds, l.openKeys, l.openTree, l.openState, l.openFrozen,
		l.openDoor, l.renewCheckpoint, l.openAppender, l.openAsk, l.openPredecessor, l.openIndex, l.openRegistries, l.openMirrors, l.openSequencer, l.openCondition,
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
	case c.VKey == "" || c.Signer == nil && c.signs():
		return errors.New("no signing key is configured")
	case c.Origin == "" || c.signs() && slices.ContainsFunc(c.keys(), func(k Key) bool { return k.Name() != c.Origin }):
		return fmt.Errorf("the signing key is named %q, the origin is %q: they must be the same", c.Signer.Name(), c.Origin)
	case duplicateKey(c.keys()) != "":
		return fmt.Errorf("the key %s is listed twice", duplicateKey(c.keys()))
	case len(c.MoreKeys) > maxMoreKeys:
		return fmt.Errorf("there are %d signing keys: at most %d are used", 1+len(c.MoreKeys), 1+maxMoreKeys)
	case c.TreeDir == "" && c.Cluster == nil || c.StateDir == "":
		return errors.New("the directories of the tree and of the state must both be configured")
	case c.TreeDir != "" && c.Cluster != nil:
		return errors.New("the tree is in a directory, or machines share it: both are configured")
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
	case c.Limits.Crate.Compressed > maxCrateBytes:
		return fmt.Errorf("crate_bytes is %d: the most is %d, and each .crate is read into memory", c.Limits.Crate.Compressed,
			maxCrateBytes)
	}
	if c.Cluster != nil {
		own := *c.Cluster
		own.origin = c.Origin
		if err := own.complete(c.ReadOnly); err != nil {
			return err
		}
		own.Tree.LockWait = max(own.Tree.LockWait, c.WitnessTimeout.Duration+own.Tree.AddDeadline)
		c.Cluster = &own
	}
	if err := errors.Join(c.Door.complete(), checkShards(c.Shards), c.checkPredecessors()); err != nil {
		return err
	}
	return c.checkPrograms()
}

// maxCrateBytes bounds the setting: with a larger one the size of an upload would overflow, and all be refused.
const maxCrateBytes = int64(1) << 40

// signs says whether the log may sign: it has the keys.
func (c *Config) signs() bool { return !c.ReadOnly && (c.Cluster == nil || c.Cluster.Lead) }

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
				"keep its file in programs, so that the log can say what it serves", id)
		}
	}
	return nil
}

// openSequencer finds out, from now on, who the sequencer is. The memory may be away.
func (l *Log) openSequencer(context.Context) error {
	if l.role() != "" {
		l.metrics.registry.MustRegister(l.clusterMetrics()...)
	}
	if !l.front() {
		return nil
	}
	memory, err := openMemory(l.cfg.Cluster, l.cfg.Origin)
	if err != nil {
		return err
	}
	l.sequencer = newSequencer(l.cfg.Cluster, memory, l.log)
	l.metrics.registry.MustRegister(l.sequencer.forwards)
	l.problems = append(l.problems, l.sequencer.problems)
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

// openPlace opens the tree of a log, to write it or to look at it.
func openPlace(ctx context.Context, cfg *Config, write bool) (storage.Tree, error) {
	if cfg.Cluster != nil {
		shared := cfg.Cluster.Tree
		shared.Fence = func() error { return errNoLease }
		if cfg.lease != nil {
			shared.Fence = cfg.lease.valid
		}
		return storage.OpenS3(ctx, shared)
	}
	return storage.OpenPosix(cfg.TreeDir, write)
}

func (l *Log) openTree(ctx context.Context) (err error) {
	if l.cfg.Cluster == nil && !l.cfg.ReadOnly {
		if err := apart(l.cfg.TreeDir, l.cfg.StateDir); err != nil {
			return err
		}
	}
	l.tree, err = openPlace(ctx, &l.cfg, !l.cfg.ReadOnly)
	if l.cfg.testingOnlyTree != nil {
		l.tree = l.cfg.testingOnlyTree(l.tree)
	}
	return err
}

// apart refuses a state that lies in the tree.
func apart(tree, state string) error {
	tree, err := filepath.Abs(tree)
	if err != nil {
		return err
	}
	if state, err = filepath.Abs(state); err != nil {
		return err
	}
	if rel, err := filepath.Rel(tree, state); err != nil || filepath.IsLocal(rel) {
		return fmt.Errorf("the state directory %s is inside the tree's directory %s: "+
			"they must be apart, so that one cannot be restored with the other", state, tree)
	}
	return nil
}

// openState takes the locks and compares the guard's memory with the tree,
// before Tessera may write.
func (l *Log) openState(ctx context.Context) error {
	if l.cfg.ReadOnly || l.front() {
		return l.openCopyState(ctx)
	}
	lock, err := l.tree.Lock(ctx)
	if err != nil {
		return err
	}
	l.locks = append(l.locks, lock)
	if err := l.lockState(); err != nil {
		return err
	}
	store, err := openGuardStore(ctx, &l.cfg)
	if err != nil {
		return err
	}
	var changed []string
	l.guard, changed, err = openGuard(ctx, store, l.tree, l.cfg.keys(), l.tree.ReadTile)
	if err != nil {
		return err
	}
	for _, what := range changed {
		l.log.Warn("the log's keys changed", "key", what)
	}
	l.guard.halt, l.guard.permit, l.guard.pace = l.halt.now, l.ask.permit, l.cfg.CheckpointInterval.Duration
	l.guard.seal = func(size uint64) ([]byte, error) {
		s, err := l.leaves.at(size, size-1)
		signed, _ := l.guard.mark()
		if why := l.leaves.contradiction(); err == nil && why != nil && size > signed.Size { // whatever sealed it
			err = fmt.Errorf("%w: %w", errUnsealed, why)
		}
		return s.leaf, err
	}
	l.guard.meter = &l.sealing
	l.problems = append(l.problems, l.guard.problems)
	if err := l.openIndexFile(ctx); err != nil {
		return err
	}
	l.clock.mend(ctx, l)
	if err := l.dropCheckpoint(ctx); err != nil {
		return err
	}
	return l.openKept(ctx)
}

// lockState takes the lock of the state's directory, which it makes.
func (l *Log) lockState() error {
	if err := os.MkdirAll(l.cfg.StateDir, 0o700); err != nil {
		return err
	}
	lock, err := storage.LockDir(l.cfg.StateDir)
	if err != nil {
		return err
	}
	l.locks = append(l.locks, lock)
	return nil
}

// openAppender starts Tessera.
func (l *Log) openAppender(ctx context.Context) error {
	if l.follows() {
		return l.openCopy(ctx)
	}
	witnesses, err := newGathering(l.ctx, l.policy, l.cfg.WitnessTimeout.Duration, l.cfg.CosignatureGrace.Duration,
		func(name, result string) { l.metrics.witness.WithLabelValues(name, result).Inc() })
	if err != nil {
		return err
	}
	witnesses.refused = l.ask.refused
	l.transport, l.guard.signed = witnesses, func(head string) {
		witnesses.begin(head)
		l.poke()
	}
	l.metrics.registry.MustRegister(witnesses.witnessMetrics()...)
	opts := tessera.NewAppendOptions().
		WithCheckpointSigner(l.guard, l.guard.others()...).
		WithCheckpointInterval(l.tree.Pace()). // the guard keeps the interval, and write
		WithCheckpointRepublishInterval(l.cfg.RepublishInterval.Duration).
		WithBatching(l.cfg.BatchSize, flush).
		WithWitnesses(witnesses.group(), &tessera.WitnessOptions{Timeout: l.cfg.WitnessTimeout.Duration, FailOpen: false})
	a, shutdown, err := l.tree.Open(l.ctx, opts, witnesses.client())
	if state, stateErr := l.tree.State(ctx); err != nil && stateErr == nil && state.Found && state.Size == 0 {
		// A new log publishes its empty tree while it opens, which fails when
		// the witnesses are away. The log starts all the same: the tree exists
		// now, and after the second try publishing goes on in the background.
		l.log.Warn("the first checkpoint is not published yet", "err", err)
		a, shutdown, err = l.tree.Open(l.ctx, opts, witnesses.client())
	}
	if err != nil {
		return err
	}
	l.appender, l.shutdown = a.Add, shutdown
	l.verified = newVerified(l.tree, l.damages.report)
	l.prover = newProver(l.verified)
	if l.cfg.testingOnlyAppender != nil {
		l.appender = l.cfg.testingOnlyAppender(l.appender)
	}
	return nil
}

// openIndex makes the index equal to the tree, so that what was added just
// before a crash is known before anything can be added again.
func (l *Log) openIndex(ctx context.Context) error {
	tree, err := l.integrated(ctx, 0, 0) // the guard has compared its root with the tiles
	if err != nil {
		return err
	}
	signed, _ := l.guard.mark()
	if l.copied != nil {
		signed.Size = tree.size
	}
	if l.vouched = signed.Size; l.follows() {
		l.vouched = math.MaxUint64
	}
	if err := l.deriveIndex(ctx, tree, signed.Size); err != nil {
		return err
	}
	if signed.Size > 0 && l.halt.reason() == nil {
		_, err := l.leaves.at(signed.Size, signed.Size)
		switch {
		case err != nil && l.copied != nil:
			return fmt.Errorf("the checkpoint in %v: %w: it is not to be believed, whoever cosigned it", l.tree, err)
		case err != nil:
			return fmt.Errorf("what this log has signed: %w: an earlier build has made it, with which this one cannot go on: "+
				"freeze it with that build, and start a new log under a new origin", err)
		}
	}
	if err := errors.Join(l.checkNamed(ctx), l.checkRoots(ctx)); err != nil {
		return err
	}
	if l.halt.reason() != nil || l.cfg.Cluster != nil && l.follows() {
		return nil // not all entries may have rows: what others are about to add has its opening already
	}
	if err := l.builds.forget(ctx, func(sum [32]byte) (bool, error) { return l.index.hasList(ctx, sum) }); err != nil {
		return err
	}
	return l.openings.forget(ctx, func(identity [32]byte) (bool, error) {
		_, logged, err := l.index.byIdentity(ctx, identity)
		return logged, err
	})
}

// checkNamed wants every program that the tree's entries name to be known: /v1/log says of each who could forge
// under it, and whether it is withdrawn.
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

// integrated waits until so many entries are in the tree, of 0 all that have an index, and returns the tree: of a
// copy that of its checkpoint. In a directory an entry has its index when it is in the tree. It is an ErrRollback if
// the tree has less than it had, or if not so many have an index.
func (l *Log) integrated(ctx context.Context, want, had uint64) (treeHead, error) {
	if l.copied != nil {
		return *l.copied.head.Load(), nil
	}
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	moved, size := time.Now(), uint64(0)
	for {
		next := want
		state, err := l.tree.State(ctx)
		if state.Size != size {
			moved, size = time.Now(), state.Size
		}
		if err == nil && (want == 0 || state.Size < want) {
			next, err = l.tree.Next(ctx)
		}
		switch {
		case err != nil && size > 0 && ctx.Err() != nil:
			return treeHead{}, fmt.Errorf("waiting for what has its place to be in the tree, which has %d entries: %w", size, ctx.Err())
		case err != nil:
			return treeHead{}, fmt.Errorf("reading the size of the tree: %w", err)
		case !state.Found:
			return treeHead{}, fmt.Errorf("%v has no state", l.tree)
		case state.Size < had, next < want:
			return treeHead{}, fmt.Errorf("%w: the tree had %d entries, and has %d", ErrRollback, max(want, had), state.Size)
		case state.Size >= next:
			return treeHead{state.Size, state.Root}, nil
		case l.patience() > 0 && time.Since(moved) > cmp.Or(l.cfg.testingOnlyPatience, wedgedAfter):
			return treeHead{}, fmt.Errorf("%v has %d of %d entries that have their places, and gets no others: is the bucket "+
				"written?", l.tree, state.Size, next)
		}
		select {
		case <-ctx.Done():
			return treeHead{}, fmt.Errorf("waiting for %d entries to be integrated: %w", next-state.Size, ctx.Err())
		case <-t.C:
		}
	}
}

// patience is how long a tree that machines share may take to answer; 0: a directory answers, or the process stands
// with it.
func (l *Log) patience() time.Duration {
	if c := l.cfg.Cluster; c != nil {
		return 2 * cmp.Or(c.Tree.AddDeadline, 5*time.Second)
	}
	return l.cfg.testingOnlyPatience
}

// wedge tells the watchdog of what is late, or, with nil, that nothing is any more.
func (l *Log) wedge(err error) {
	if l.cfg.wedged != nil {
		l.cfg.wedged(err)
	}
}

func (l *Log) start() {
	poll := max(min(l.cfg.CheckpointInterval.Duration/10, moment), l.tree.Pace()/4)
	poll = cmp.Or(l.cfg.testingOnlyPoll, poll)
	l.showAgain(l.ctx)
	// Readers who ask at once are not to be told that nothing is logged. What is wrong with the
	// checkpoint, followCheckpoint will say.
	_ = l.refreshCheckpoint(l.ctx)
	l.watcher.Go(func() { l.followCheckpoint(l.ctx, poll) })
	if !l.follows() {
		l.watcher.Go(func() { l.write(l.ctx) })
		l.watcher.Go(func() { l.tendStorage(l.ctx) })
	}
	if l.sequencer != nil {
		l.watcher.Go(func() { l.sequencer.follow(l.ctx) })
	}
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
	l.poke()
	if again {
		return true, nil
	}
	err = waitFor(ctx, &l.running)
	if err == nil {
		err = l.awaitSealed(ctx)
	}
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
	l.retire() // who waits gets what followCheckpoint has seen last
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
	if l.sequencer != nil {
		errs = append(errs, l.sequencer.close())
	}
	if l.tree != nil {
		errs = append(errs, l.tree.Close())
	}
	for _, f := range l.locks {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
