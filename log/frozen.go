package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"

	"cratelog/client"
	"cratelog/internal/web"
	"cratelog/log/storage"
)

// ErrFrozen says that a log has ended: it signs nothing more.
var ErrFrozen = errors.New("this log is frozen")

// Successor says where a log goes on that ends, and why it ends. All of it may be "".
type Successor struct {
	VKey   string // of the log
	URL    string // only with VKey
	Reason string // a printable sentence of at most 200 bytes
}

// freeze remembers the log's last word, which must be of the tree that was signed last. From then on the guard
// signs nothing, whatever becomes of the file beside the checkpoint.
func (g *guard) freeze(ctx context.Context, f client.Frozen) error {
	g.signing.Lock()
	defer g.signing.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen != nil {
		return ErrFrozen
	}
	if uint64(f.Size) != g.head.Size || f.Root != g.head.Root {
		return fmt.Errorf("the last checkpoint that was signed has %d entries, not %d", g.head.Size, f.Size)
	}
	if err := g.store.freeze(ctx, f.Signed); err != nil {
		return fmt.Errorf("guard: cannot remember that the log is frozen: %w", err)
	}
	g.frozen = f.Signed
	return nil
}

// Freeze ends a log that no server has open: it publishes what was accepted, signs that nothing follows, and
// remembers that before it shows it. From then on Open opens the log for reading. A log that is frozen
// already stays as it is, and its note is returned if it says the same of the successor.
func Freeze(ctx context.Context, cfg Config, s Successor) (_ client.Frozen, err error) {
	if !cfg.signs() {
		return client.Frozen{}, errors.New("log: a log is frozen where its key is: not from a copy for reading, nor from a " +
			"process that does not lead")
	}
	// What cannot be said is found before anything is done.
	draft := client.Frozen{Origin: cfg.Origin, Time: time.Unix(0, 0), Successor: s.VKey, SuccessorURL: s.URL,
		Reason: s.Reason}
	if _, err := draft.Text(); err != nil {
		return draft, fmt.Errorf("log: the frozen note: %w", err)
	}
	var signers []note.Signer
	for _, k := range cfg.keys() {
		if _, err := note.NewVerifier(k.VKey); err == nil { // Ed25519: ML-DSA-44 signs checkpoints, and nothing else
			signers = append(signers, k.Signer)
		}
	}
	if len(signers) == 0 {
		return draft, errors.New("log: the frozen note is signed with Ed25519, and the log has no such key: add one to " +
			"keys, and to the trust files, first")
	}
	if cfg.Cluster != nil {
		if err := cfg.complete(); err != nil {
			return draft, fmt.Errorf("log: %w", err)
		}
		done, err := holdLease(ctx, &cfg)
		if err != nil {
			return draft, fmt.Errorf("log: %w", err)
		}
		defer func() { _ = done(context.WithoutCancel(ctx)) }() // if it is not given back, it runs out
	}
	l, err := Open(ctx, cfg)
	if err != nil {
		return draft, err
	}
	defer func() { err = errors.Join(err, l.Close(context.WithoutCancel(ctx))) }()
	if l.frozen != nil {
		if f := *l.frozen; f.Successor != s.VKey || f.SuccessorURL != s.URL {
			return f, fmt.Errorf("log: %w already, and the note cannot be changed: %v", ErrFrozen, &f)
		}
		return *l.frozen, nil
	}
	l.indexing.Lock()
	indexed := l.indexed
	l.indexing.Unlock()
	head, err := l.published.wait(ctx, indexed)
	if err != nil {
		return draft, fmt.Errorf("log: not all %d entries are published, so the log is not frozen: the witnesses' quorum "+
			"must cosign first (%w)", indexed, err)
	}
	draft.Size, draft.Root, draft.Time = int64(head.size), head.root, time.Now().UTC().Truncate(time.Second)
	text, err := draft.Text()
	if err == nil {
		draft.Signed, err = note.Sign(&note.Note{Text: text}, signers...)
	}
	var f client.Frozen
	if err == nil {
		f, err = l.policy.CheckFrozen(draft.Signed)
	}
	if err == nil {
		err = l.guard.freeze(ctx, f)
	}
	if err == nil {
		err = l.tree.Write(ctx, storage.Frozen, f.Signed)
	}
	if err != nil {
		return f, fmt.Errorf("log: freezing: %w", err)
	}
	l.log.Warn("the log is frozen, and signs nothing more", "size", f.Size, "root", f.Root, "successor", f.Successor)
	return f, nil
}

// openFrozen finds out whether the log has ended: by what the guard remembers, which then stands beside the
// checkpoint too, so that copies of the tree have it; of a copy by the file alone.
func (l *Log) openFrozen(ctx context.Context) error {
	raw, _, err := l.tree.Read(ctx, storage.Frozen, client.MaxFrozenSize)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	known := l.guard.frozen
	switch {
	case known == nil && missing:
		return nil
	case known == nil && !l.cfg.ReadOnly && !l.front():
		return fmt.Errorf("%w: the file %s in %v says that this log is frozen, but %s does not know it: %s, or serve it "+
			"with -read-only", ErrRollback, storage.Frozen, l.tree, l.guard.store.name, l.guard.store.find)
	}
	from, word := storage.Frozen, raw
	if known != nil {
		from, word = l.guard.store.name+", the frozen note", known
	}
	f, err := l.checkFrozen(word)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if known != nil && !bytes.Equal(raw, known) {
		if err := l.tree.Write(ctx, storage.Frozen, known); err != nil {
			return err
		}
	}
	l.frozen = &f
	return nil
}

// checkFrozen verifies that a note is this log's last word.
func (l *Log) checkFrozen(signed []byte) (client.Frozen, error) {
	f, err := l.policy.CheckFrozen(signed)
	if err == nil && f.Origin != l.cfg.Origin {
		err = fmt.Errorf("it is of another log, %q", f.Origin)
	}
	return f, err
}

// readOnly says whether the log accepts and signs nothing, by its settings or because it has ended.
func (l *Log) readOnly() bool { return l.cfg.ReadOnly || l.frozen != nil }

// ended is the refusal of a log that is read-only, or nil.
func (l *Log) ended() error {
	switch {
	case l.frozen != nil:
		where := "It names no successor."
		if l.frozen.Successor != "" {
			where = "Its successor is " + l.frozen.Successor
			if l.frozen.SuccessorURL != "" {
				where += " at " + l.frozen.SuccessorURL
			}
			where += "; /frozen has that signed."
		}
		return refuse(Frozen, nil, "This log has ended, with %d entries, and accepts nothing more. %s", l.frozen.Size, where)
	case l.cfg.ReadOnly:
		return refuse(ReadOnly, nil, "This is a copy of the log for readers: submit to the log itself.")
	}
	return nil
}

// endMetrics are those of a log's end.
func (l *Log) endMetrics() []prometheus.Collector {
	return []prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cratelog_frozen", Help: "1 when the log has ended, and signs and accepts nothing more."}, func() float64 {
		if l.frozen != nil {
			return 1
		}
		return 0
	})}
}

// aboutFrozen is what /v1/log says of a log that has ended. /frozen has it signed.
type aboutFrozen struct {
	Size      uint64    `json:"size"`
	Root      string    `json:"root"`
	Time      time.Time `json:"time"`
	Successor string    `json:"successor,omitempty"` // vkey
	URL       string    `json:"url,omitempty"`       // of the successor
	Reason    string    `json:"reason,omitempty"`
}

func (l *Log) aboutFrozen() *aboutFrozen {
	if l.frozen == nil {
		return nil
	}
	f := l.frozen
	return &aboutFrozen{uint64(f.Size), fmt.Sprintf("%x", f.Root[:]), f.Time, f.Successor, f.SuccessorURL, f.Reason}
}

// frozenNote serves the log's last word.
func (l *Log) frozenNote(w http.ResponseWriter, r *http.Request) error {
	if l.frozen == nil {
		return refuse(NotFound, nil, "This log is not frozen.")
	}
	return web.Send(w, r, "text/plain; charset=utf-8", l.frozen.Signed)
}
