package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"cratelog/client"
	"cratelog/internal/durable"
	"cratelog/log/storage"
)

// Two things about the file of the published checkpoint keep Tessera from publishing another: a time
// that lies ahead, which it takes for a checkpoint that is fresh, and content that is no checkpoint.

// clock says what was wrong with the time of the checkpoint's file.
type clock struct {
	mu  sync.Mutex
	err string // owned by mu; why the file's time could not be set
}

// mend sets the file's time to now where it lies ahead, as it does after a clock was.
func (c *clock) mend(ctx context.Context, l *Log) {
	at, err := l.tree.Published(ctx) // if that fails, it is known later
	now, problem := time.Now(), ""
	if err == nil && at.After(now.Add(l.cfg.CheckpointInterval.Duration)) {
		ahead := at.Sub(now).Round(time.Second)
		if err = l.tree.SetPublished(ctx, now); err == nil {
			l.log.Warn("the checkpoint's file was written by a clock that was ahead; it has the present time now, so that "+
				"publishing goes on", "ahead", ahead)
		} else {
			problem = fmt.Sprintf("clock: the checkpoint's file lies %v in the future, so nothing is published until then, "+
				"and its time cannot be set to the present: %v", ahead, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = problem
}

func (c *clock) problems() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == "" {
		return nil
	}
	return []string{c.err}
}

// ownCheckpoint reads a checkpoint that a key of this log has signed, whoever cosigned it.
func (l *Log) ownCheckpoint(signed []byte) (client.Checkpoint, error) {
	c, err := l.policy.LogKeysOnly().CheckCheckpointRules(signed, client.Rules{AllowNoWitnesses: true})
	if err == nil && c.Origin != l.cfg.Origin {
		err = fmt.Errorf("it is of another log, %q", c.Origin)
	}
	return c, err
}

// dropCheckpoint removes a checkpoint's file that this log did not sign: what it has signed the guard
// knows, and it publishes another. One that it did sign and that is larger than the tree is an ErrRollback.
func (l *Log) dropCheckpoint(ctx context.Context) error {
	raw, _, err := l.tree.Read(ctx, storage.Checkpoint, client.MaxCheckpointSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil && !errors.Is(err, durable.ErrTooLarge) {
		return err
	}
	state, stateErr := l.tree.State(ctx)
	if stateErr != nil {
		return stateErr
	}
	if err == nil {
		c, checkErr := l.ownCheckpoint(raw)
		if checkErr == nil {
			if uint64(c.Size) > state.Size {
				return fmt.Errorf("%w: the checkpoint in %v is of %d entries and signed by this log, but the tree has %d: put the "+
					"newer tree back; if it is lost, start a new log under a new origin", ErrRollback, l.tree, c.Size, state.Size)
			}
			return nil
		}
		err = checkErr
	}
	if err := l.tree.Remove(ctx, storage.Checkpoint); err != nil {
		return err
	}
	l.log.Warn("the checkpoint's file is none of this log; it is removed, and another is published", "err", err)
	return nil
}
