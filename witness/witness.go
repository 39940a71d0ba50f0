// Package witness is a witness of transparency logs, c2sp.org/tlog-witness.
//
// A witness remembers, for every log it knows, the latest checkpoint that it
// has cosigned, and cosigns another one only if the log signed it and a
// consistency proof shows that it extends the first. A reader who
// demands the cosignatures of enough independent witnesses can then be shown only
// one history. A witness does not know what a log's entries mean.
//
// What it is trusted with: its key, its database, and a clock. Its memory is
// what makes its signature worth something, so
//
//   - a new state is on disk before the signature over it leaves (the state
//     carries the signature, so signing comes first and the release last);
//   - reading the old state, checking and replacing it is one
//     compare-and-swap, in one transaction;
//   - sizes and timestamps of a log never go back, whatever the clock does;
//   - a log is never forgotten: one that is no longer configured is disabled;
//   - a list of logs adds, and never removes or changes;
//   - the database must exist (see Config.Create), stay at its place, fit the
//     witness's name, hold checkpoints that fit its own columns, and be no
//     older than the mark that the lock file beside it holds.
//
// What is signed by the log but refused is kept as possible evidence ([Fork],
// [Rejected]); it is bounded and never a verdict.
package witness

import (
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"filippo.io/mldsa"
	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/vitals"
)

// MaxClockStep is how far the clock may stand behind the last timestamp of a
// log before the witness refuses to sign for it. Within this step the last
// timestamp is used again.
const MaxClockStep = 5 * time.Minute

// emptyRoot is the root hash of the tree of size 0, SHA-256("").
var emptyRoot = tlog.Hash(sha256.Sum256(nil))

// A Config says who the witness is and which logs it watches.
type Config struct {
	// Name is the key name of the cosignatures; see c2sp.org/signed-note.
	Name string
	// Signers hold the private keys, one or more, of type Ed25519 (cosignature
	// type 0x04) or ML-DSA-44 (0x06). Every one signs every checkpoint. Their
	// keys must be used for nothing else.
	Signers []crypto.Signer
	// Logs are the logs to cosign for. A log that the database knows but Logs
	// does not is disabled: its requests get 404, its last checkpoint stays.
	Logs []Log
	// Disabled are the origins of logs not to cosign for, though Logs or a list names them.
	Disabled []string
	// MaxListed bounds the number of logs ever taken from lists; 0 means 10,000.
	MaxListed int
	// DBPath is the SQLite database. It must be on a local disk, and no older
	// copy may ever take its place.
	DBPath string
	// Create makes a new database and refuses an existing file. Without it a
	// missing database is an error.
	Create bool
	// ReadOnly opens the database beside a witness that runs. Such a witness shows what is on record
	// and cosigns nothing; what is not the program's own, as Logs, is not looked at.
	ReadOnly bool
	// Monitor is the address of a monitor that the page leads to, without a slash at its end; "" for none.
	Monitor string
	// Logger receives what an operator needs to know. Nil discards it.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Check returns in sentences what else keeps the witness from cosigning, now or after its next start, such as
	// a key file that cannot be read any more. Nil means nothing.
	Check func() []string

	testingOnlyNoLock bool
}

// defaultMaxListed is how many logs are taken from lists if the settings say nothing else.
const defaultMaxListed = 10_000

// A Log is a log and a key that is trusted to sign its checkpoints. Several
// values with one origin give the log several trusted keys.
type Log struct {
	// Origin is the first line of the log's checkpoints. Empty means the key's name.
	Origin string
	// VKey is the verifier key of c2sp.org/signed-note, of type Ed25519 (0x01)
	// or ML-DSA-44 (0x06).
	VKey string
}

// A Witness cosigns checkpoints. Its methods may be called concurrently.
type Witness struct {
	name      string
	monitor   string // of its page
	cosigners []*cosigner
	log       *slog.Logger
	now       func() time.Time
	store     *store
	metrics   *metrics
	health    *health
	room      *vitals.Room
	front     overview
	maxListed int

	changing sync.Mutex // held by whoever replaces what follows, and protects settings
	settings []Log      // of the last Open or Reload
	disabled []string

	mu     sync.RWMutex        // protects the maps, which are replaced and never changed
	logs   map[string]*watched // by origin; those that are cosigned for
	hashes map[string]string   // lowercase hex SHA-256 of the origin -> origin; all ever known

	// testingOnlyStall, if not nil, is called between the check of a request
	// and its commit.
	testingOnlyStall func()
}

// A watched log is one that is cosigned for. It does not change.
type watched struct {
	keys []note.Verifier
	// turn holds one token; its holder may read, check and replace the state of
	// this log. Other logs go on while a slow signer signs for it. It goes on
	// to the watched that takes the place of this one.
	turn chan struct{}
}

// watched returns the log, or nil if it is not cosigned for.
func (w *Witness) watched(origin string) *watched {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.logs[origin]
}

// origin returns the origin that has a hash.
func (w *Witness) origin(hash string) (string, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	origin, ok := w.hashes[hash]
	return origin, ok
}

// Open opens the witness's database and checks all of it. The caller must
// Close the witness.
func Open(ctx context.Context, cfg Config) (*Witness, error) {
	w := &Witness{
		name: cfg.Name, monitor: cfg.Monitor,
		log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		now: cfg.Now, maxListed: cmp.Or(cfg.MaxListed, defaultMaxListed),
		room: vitals.NewRoom(vitals.Place{Name: "database", Path: filepath.Dir(cfg.DBPath)}),
	}
	w.metrics = newMetrics(w.room)
	if w.now == nil {
		w.now = time.Now
	}
	w.health = newHealth(cfg.Check)
	if err := w.addSigners(cfg.Name, cfg.Signers); err != nil {
		return nil, err
	}
	if _, err := watch(cfg.Logs); err != nil {
		return nil, err
	}
	var err error
	if w.store, err = openStore(ctx, cfg); err != nil {
		return nil, err
	}
	w.store.written = w.health.wrote
	if cfg.ReadOnly {
		err = w.load(ctx)
	} else {
		err = w.Reload(ctx, cfg.Logs, cfg.Disabled)
	}
	if err != nil {
		return nil, errors.Join(err, w.store.close())
	}
	return w, nil
}

func (w *Witness) addSigners(name string, signers []crypto.Signer) error {
	if len(signers) == 0 {
		return errors.New("witness: no signing key is configured")
	}
	for _, key := range signers {
		s, err := newCosigner(name, key)
		if err != nil {
			return err
		}
		if slices.Contains(w.VKeys(), s.verifier.String()) {
			return fmt.Errorf("witness: the key %s is configured twice", s.verifier)
		}
		w.cosigners = append(w.cosigners, s)
	}
	return nil
}

// watch returns the logs by origin.
func watch(logs []Log) (map[string]*watched, error) {
	all := make(map[string]*watched)
	for _, l := range logs {
		origin, v, err := l.parse()
		if err != nil {
			return nil, err
		}
		entry := all[origin]
		if entry == nil {
			entry = &watched{turn: make(chan struct{}, 1)}
			entry.turn <- struct{}{}
			all[origin] = entry
		}
		for _, other := range entry.keys {
			if other.Name() == v.Name() && other.KeyHash() == v.KeyHash() {
				return nil, fmt.Errorf("witness: log %q: the key %s+%08x is configured twice", origin, v.Name(), v.KeyHash())
			}
		}
		entry.keys = append(entry.keys, v)
	}
	return all, nil
}

// parse returns the log's origin and the verifier of its key.
func (l Log) parse() (origin string, v note.Verifier, err error) {
	if v, err = newLogVerifier(l.VKey); err != nil {
		return "", nil, fmt.Errorf("witness: log %q: %w", l.Origin, err)
	}
	origin = cmp.Or(l.Origin, v.Name())
	if err := checkOrigin(origin); err != nil {
		return "", nil, fmt.Errorf("witness: log origin %q %w", origin, err)
	}
	return origin, v, nil
}

// newLogVerifier returns the verifier of a log's vkey.
func newLogVerifier(vkey string) (note.Verifier, error) {
	v, err := note.NewVerifier(vkey)
	if err == nil {
		return v, nil
	}
	c, err := torchwood.NewCosignatureVerifier(vkey)
	if err == nil {
		if _, ok := c.PublicKey().(*mldsa.PublicKey); ok {
			return c, nil
		}
	}
	return nil, fmt.Errorf("vkey %q is not a verifier key of type Ed25519 (0x01) or ML-DSA-44 (0x06)", vkey)
}

// checkOrigin refuses what no checkpoint can carry in its first line, and more
// than the 255 bytes that an ML-DSA cosignature can carry.
func checkOrigin(origin string) error {
	switch {
	case len(origin) > 255:
		return errors.New("has more than 255 bytes")
	case !utf8.ValidString(origin), strings.ContainsFunc(origin, unicode.IsControl):
		return errors.New("is not valid UTF-8 without control characters")
	}
	return nil
}

// Reload takes new settings: these logs are cosigned for, and those of lists, but for the disabled.
// A log that is not among them any more is disabled, with all that is remembered of it. On error
// everything stays as it was.
func (w *Witness) Reload(ctx context.Context, logs []Log, disabled []string) error {
	w.changing.Lock()
	defer w.changing.Unlock()
	vkeys := make(map[string][]string)
	for _, l := range logs {
		origin, _, err := l.parse()
		if err != nil {
			return err
		}
		vkeys[origin] = append(vkeys[origin], l.VKey)
	}
	if _, err := watch(logs); err != nil {
		return err
	}
	added, err := w.store.addLogs(ctx, vkeys, w.now())
	if err != nil {
		return fmt.Errorf("witness: recording the logs of the settings: %w", err)
	}
	for _, l := range added {
		w.log.Warn("the settings trust a new key for a log known before", "origin", l.Origin, "vkey", l.VKey)
	}
	was, wasDisabled := w.settings, w.disabled
	w.settings, w.disabled = slices.Clone(logs), slices.Clone(disabled)
	if err := w.load(ctx); err != nil {
		w.settings, w.disabled = was, wasDisabled
		return err
	}
	for _, origin := range disabled {
		if _, known := w.origin(originHash(origin)); !known {
			w.log.Warn("the settings disable a log that is not known", "origin", origin)
		}
	}
	return nil
}

// load reads and checks every state on record, and from then on cosigns for the logs of the
// settings and of the lists. The settings say which keys a log has that is in both.
func (w *Witness) load(ctx context.Context) error {
	listed, err := w.store.listed(ctx)
	if err != nil {
		return fmt.Errorf("witness: reading the logs of lists: %w", err)
	}
	logs, err := watch(w.settings)
	if err != nil {
		return err
	}
	listed = slices.DeleteFunc(listed, func(l Log) bool { return logs[l.Origin] != nil })
	more, err := watch(listed)
	if err != nil {
		return err
	}
	maps.Copy(logs, more)
	for _, origin := range w.disabled {
		delete(logs, origin)
	}
	states, err := w.store.states(ctx)
	if err != nil {
		return err
	}
	forks, err := w.store.forkCounts(ctx)
	if err != nil {
		return err
	}
	hashes := make(map[string]string)
	for origin, st := range states {
		hashes[originHash(origin)] = origin
		w.metrics.setLog(origin, st, forks[origin])
	}
	w.swap(logs, hashes, forks, states)
	return nil
}

// swap puts the logs in place, and says what changes.
func (w *Witness) swap(logs map[string]*watched, hashes map[string]string, forks map[string]int,
	states map[string]state) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for origin, st := range states {
		was, is := w.logs[origin] != nil, logs[origin] != nil
		if was && is {
			logs[origin].turn = w.logs[origin].turn
		}
		if !is && (was || w.hashes == nil) {
			w.log.Warn("a log in the database is not in the settings and is disabled", "origin", origin, "size", st.Size)
		}
		if forks[origin] > 0 && w.hashes == nil {
			w.log.Error("there is proof that a log signed two histories", "origin", origin, "forks", forks[origin])
		}
	}
	w.logs, w.hashes = logs, hashes
}

// originHash names a log in URLs.
func originHash(origin string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(origin)))
}

// Close closes the database. Requests under way fail.
func (w *Witness) Close() error { return w.store.close() }

// Name returns the key name of the cosignatures.
func (w *Witness) Name() string { return w.name }

// VKeys returns the verifier keys to give to those who rely on this witness.
func (w *Witness) VKeys() []string {
	var all []string
	for _, s := range w.cosigners {
		all = append(all, s.verifier.String())
	}
	return all
}

// Origins returns the origins of all logs ever configured, in order.
func (w *Witness) Origins() []string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return slices.Sorted(maps.Values(w.hashes))
}

// Forks returns the proofs on record that the log signed two histories.
func (w *Witness) Forks(ctx context.Context, origin string) ([]Fork, error) {
	return w.store.forks(ctx, origin)
}

// Rejected returns the refused requests on record that the log had signed.
func (w *Witness) Rejected(ctx context.Context, origin string) ([]Rejected, error) {
	return w.store.rejected(ctx, origin)
}

// Checkpoint returns the checkpoint of the log that was cosigned last, with the
// log's verified signatures and our cosignatures, or nil if there is none.
func (w *Witness) Checkpoint(ctx context.Context, origin string) ([]byte, error) {
	st, err := w.store.state(ctx, origin)
	if err != nil || st.Text == "" {
		return nil, err
	}
	return []byte(st.note()), nil
}

// AddCheckpoint handles the body of an add-checkpoint request and returns the
// cosignature lines. When it returns them, the new state is on disk. The errors
// are those that [StatusCode] knows; any other one is an internal failure.
func (w *Witness) AddCheckpoint(ctx context.Context, body []byte) ([]byte, error) {
	req, err := ParseRequest(body)
	if err != nil {
		return nil, err
	}
	l := w.watched(req.Checkpoint.Origin)
	if l == nil {
		return nil, ErrUnknownLog
	}
	sigs, err := l.verify(req.Checkpoint, req.Signatures)
	if err != nil {
		return nil, err
	}
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if now := w.watched(req.Checkpoint.Origin); now != l { // there are new settings since it came
		if now == nil {
			return nil, ErrUnknownLog
		}
		if sigs, err = now.verify(req.Checkpoint, req.Signatures); err != nil {
			return nil, err
		}
	}
	// The log signed this: the sender cannot keep it off the record by hanging up.
	// What is left to do is a few statements on the database.
	return w.update(context.WithoutCancel(ctx), req, sigs)
}

// verify returns the signatures of the checkpoint that verify under a trusted key,
// one for each key. Those of unknown keys are dropped: they may hold anything.
func (l *watched) verify(c torchwood.Checkpoint, signatures []note.Signature) ([]note.Signature, error) {
	var good []note.Signature
	for _, v := range l.keys {
		found := false
		text := coveredBy(v, c)
		for _, s := range signatures {
			if s.Name != v.Name() || s.Hash != v.KeyHash() {
				continue
			}
			// SPEC: verifiers MUST ignore unknown signatures, [and] if a
			// signature by a known key fails to verify, reject the note.
			if !v.Verify(text, signatureBytes(s)) {
				return nil, ErrSignature
			}
			if !found {
				good, found = append(good, s), true
			}
		}
	}
	if len(good) == 0 {
		return nil, ErrSignature
	}
	return good, nil
}

// update checks a verified request against the log's state, cosigns it, stores
// it and releases the cosignatures, in this order. The caller has the turn.
func (w *Witness) update(ctx context.Context, req *Request, sigs []note.Signature) ([]byte, error) {
	c := req.Checkpoint
	old, err := w.store.state(ctx, c.Origin)
	if err != nil {
		return nil, err
	}
	w.recordFork(ctx, c, sigs, old)
	if err := check(req, old); err != nil {
		w.recordRejected(ctx, req, sigs, old, err)
		return nil, err
	}
	t, err := w.timestamp(old)
	if err != nil {
		w.health.warn(w.log, "nothing is cosigned for a log", "origin", c.Origin, "why", err)
		return nil, err
	}
	again := c.N == old.Size && t == old.Time && w.signedBy(old)
	if again && c.String() == old.Text {
		return []byte(old.Cosignatures), nil // within the same second: nothing new to say
	}
	var cosigs []note.Signature
	for _, s := range w.cosigners {
		cosig, err := s.cosign(c, t)
		if w.health.signed(s, err); err != nil {
			return nil, err
		}
		cosigs = append(cosigs, cosig)
	}
	if again {
		// The same tree in the same second with other extension lines, of which nothing is said and
		// which an ML-DSA signature does not cover: there may be any number, and this one is not kept.
		return []byte(formatSignatures(cosigs)), nil
	}
	next := newState(c, t, sigs, cosigs)
	if w.testingOnlyStall != nil {
		w.testingOnlyStall()
	}
	// SPEC: The witness MUST persist the new checkpoint before responding, and
	// checking the old size and persisting MUST be atomic.
	if err := w.store.advance(ctx, c.Origin, old, next); err != nil {
		return nil, w.conflict(ctx, c.Origin, err)
	}
	w.metrics.setState(c.Origin, next)
	return []byte(next.Cosignatures), nil
}

// check applies the rules of add-checkpoint, in the order of the specification.
// It returns nil only if c may be cosigned after old.
func check(req *Request, old state) error {
	c := req.Checkpoint
	switch {
	case req.Old > c.N:
		return ErrOldTooLarge
	case req.Old != old.Size:
		return &ConflictError{old.Size}
	case c.N == 0 && c.Hash != emptyRoot:
		return ErrEmptyRoot
	case c.N == old.Size && c.Hash != old.Root:
		return ErrFork
	case (req.Old == 0 || req.Old == c.N) && len(req.Proof) > 0:
		return ErrProofNotEmpty
	}
	var hashes [][]byte
	for _, h := range req.Proof {
		hashes = append(hashes, h[:])
	}
	err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old.Size), uint64(c.N), hashes, old.Root[:], c.Hash[:])
	if err != nil {
		return ErrProof
	}
	return nil
}

// timestamp returns the time of the next cosignature of a log: now, but never
// before the last one, since a smaller time on a larger tree would contradict
// what was signed.
func (w *Witness) timestamp(old state) (int64, error) {
	now := w.now().Unix()
	switch {
	case now <= 0:
		return 0, fmt.Errorf("%w: it says %d", ErrClock, now)
	case now >= old.Time:
		return now, nil
	case now < old.Time-int64(MaxClockStep/time.Second):
		return 0, fmt.Errorf("%w: it is %d seconds behind the last timestamp of this log", ErrClock, old.Time-now)
	}
	return old.Time, nil
}

// signedBy reports whether every key of today has cosigned the state.
func (w *Witness) signedBy(st state) bool {
	sigs, err := parseSignatures(st.Cosignatures)
	if err != nil {
		return false
	}
	for _, s := range w.cosigners {
		if !slices.ContainsFunc(sigs, func(sig note.Signature) bool {
			return sig.Name == s.verifier.Name() && sig.Hash == s.verifier.KeyHash()
		}) {
			return false
		}
	}
	return true
}

// conflict turns errMoved into a conflict with the size that is on record now.
func (w *Witness) conflict(ctx context.Context, origin string, err error) error {
	if !errors.Is(err, errMoved) {
		return fmt.Errorf("witness: storing the state of %s: %w", origin, err)
	}
	st, err := w.store.state(ctx, origin)
	if err != nil {
		return err
	}
	return &ConflictError{st.Size}
}

// recordFork keeps proof that the log signed two trees of one size. Failing to
// do so is logged and does not change the answer.
func (w *Witness) recordFork(ctx context.Context, c torchwood.Checkpoint, sigs []note.Signature, held state) {
	other, root, err := w.store.findOther(ctx, c, held)
	if err == nil && other != "" {
		var added bool
		added, err = w.store.addFork(ctx, c, formatNote(c, sigs), other, root, w.now())
		if added {
			w.metrics.forks.WithLabelValues(c.Origin).Inc()
			w.log.Error("a log signed two trees of the same size; the proof is recorded",
				"origin", c.Origin, "size", c.N)
		}
	}
	if err != nil {
		w.log.Error("recording a fork failed", "origin", c.Origin, "size", c.N, "error", err)
	}
}

func (w *Witness) recordRejected(ctx context.Context, req *Request, sigs []note.Signature, held state, reason error) {
	slug := evidenceReason(reason)
	if slug == "" {
		return
	}
	c := req.Checkpoint
	added, err := w.store.addRejected(ctx, c, Rejected{
		Reason: slug, Old: req.Old, Proof: formatProof(req.Proof),
		Signed: formatNote(c, sigs), Held: held.note(), Seen: w.now(),
	})
	if added {
		w.metrics.rejected.WithLabelValues(c.Origin, slug).Inc()
		w.log.Warn("a request signed by a log was refused; it is recorded",
			"origin", c.Origin, "size", c.N, "old", req.Old, "reason", slug)
	}
	if err != nil {
		w.log.Error("recording a refused request failed", "origin", c.Origin, "size", c.N, "error", err)
	}
}
