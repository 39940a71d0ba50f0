package monitor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"cratelog/client"
	"cratelog/internal/durable"
	"cratelog/monitor/store"
)

// frozenPath is where the note is kept with which a log said that it has ended: beside the evidence, of which it
// is a half. The other half is a checkpoint.
func (f *follower) frozenPath() string {
	return filepath.Join(f.cfg.EvidenceDir, fmt.Sprintf("%x.frozen", sha256.Sum256([]byte(f.origin))))
}

// frozen returns the log's last word, from the disk or else from the log, and whether there is one. The first
// that verifies counts, and is on the disk before it does.
func (f *follower) frozen(ctx context.Context) (client.Frozen, bool, error) {
	raw, err := durable.Read(f.frozenPath(), client.MaxFrozenSize)
	if err == nil {
		note, err := f.logKeys.CheckFrozen(raw)
		return note, err == nil, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return client.Frozen{}, false, err
	}
	raw, err = f.log.Frozen(ctx)
	if err != nil || raw == nil {
		return client.Frozen{}, false, nil // whether the log answers at all, pollLog says
	}
	note, err := f.logKeys.CheckFrozen(raw)
	if err != nil || note.Origin != f.origin {
		f.cfg.Logger.Warn("the log shows a note that it has ended, which is not its", "log", f.origin, "err", err)
		return client.Frozen{}, false, nil
	}
	return note, true, durable.Write(f.frozenPath(), raw, 0o644)
}

// checkEnd looks whether the log has ended, and whether it then signed anything else, wherever that was shown.
func (f *follower) checkEnd(ctx context.Context) error {
	note, ended, err := f.frozen(ctx)
	if err != nil || !ended {
		return err
	}
	x := store.Finding{Key: kindFrozen + "/" + f.origin, Kind: kindFrozen, Index: -1, Detail: string(note.Signed),
		Summary: fmt.Sprintf("The log %s has ended, with %d entries. Its successor: %s", f.origin, note.Size, orNone(note))}
	if err := f.report(ctx, x, nil, nil); err != nil {
		return err
	}
	if err := f.checkSuccessors(ctx, note); err != nil {
		return err
	}
	beyond, err := f.beyond(ctx, note)
	if err != nil || beyond == nil {
		return err
	}
	x = store.Finding{Key: kindFrozenGrew + "/" + f.origin, Kind: kindFrozenGrew, Index: -1,
		Summary: fmt.Sprintf("The log %s signed that it had ended with %d entries, and signed a tree of %d with the root %v.",
			f.origin, note.Size, beyond.Size, beyond.Root),
		Detail: fmt.Sprintf("Both are signed by the log's key, and convict it together: the note is %s, and the checkpoint, "+
			"first shown by %s, is\n\n%s",
			f.frozenPath(), beyond.Source, beyond.Signed)}
	return f.report(ctx, x, nil, nil)
}

// checkSuccessors looks whether the logs that go on for this one take over all of it. Whether what they take over is of
// its tree, each of them is asked where its seals are compared.
func (f *follower) checkSuccessors(ctx context.Context, note client.Frozen) error {
	for _, next := range f.m.followers {
		p, err := f.store.Position(ctx, next.id)
		if err != nil {
			return err
		}
		start, err := f.store.Start(ctx, next.id)
		if err != nil {
			return err
		}
		if p.Verified == 0 || start == nil || start.Origin != f.origin || start.Size >= uint64(note.Size) {
			continue
		}
		err = next.reportStart(ctx, *start, fmt.Sprintf("By its own note that log ended with %d leaves, and what it logged in "+
			"the others has no checksum here. The note is %s.", note.Size, f.frozenPath()))
		if err != nil {
			return err
		}
	}
	return nil
}

func orNone(note client.Frozen) string {
	if note.Successor == "" {
		return "none is named."
	}
	return fmt.Sprintf("%s %s", note.Successor, note.SuccessorURL)
}

// beyond returns a checkpoint that the log may not have signed with its note; nil if there is none.
func (f *follower) beyond(ctx context.Context, note client.Frozen) (*store.Checkpoint, error) {
	c, ok, err := f.store.Newest(ctx, f.id, false)
	if err != nil {
		return nil, err
	}
	if ok && c.Size > note.Size {
		return &c, nil
	}
	same, err := f.store.CheckpointsOfSize(ctx, f.id, note.Size)
	for _, c := range same {
		if c.Root != note.Root {
			return &c, err
		}
	}
	return nil, err
}
