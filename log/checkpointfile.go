package log

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/transparency-dev/tessera/api/layout"

	"cratelog/client"
	"cratelog/internal/durable"
)

// Two things about the file of the published checkpoint keep Tessera from publishing another: a time
// that lies ahead, which it takes for a checkpoint that is fresh, and content that is no checkpoint.

// clock says what was wrong with the time of the checkpoint's file.
type clock struct {
	mu  sync.Mutex
	err string // owned by mu; why the file's time could not be set
}

// mend sets the file's time to now where it lies ahead, as it does after a clock was.
func (c *clock) mend(l *Log) {
	path := filepath.Join(l.cfg.TreeDir, layout.CheckpointPath)
	info, err := os.Stat(path)
	now, problem := time.Now(), ""
	if err == nil && info.ModTime().After(now.Add(l.cfg.CheckpointInterval.Duration)) {
		ahead := info.ModTime().Sub(now).Round(time.Second)
		if err = os.Chtimes(path, now, now); err == nil {
			l.log.Warn("the checkpoint's file was written by a clock that was ahead; it has the present time now, so that "+
				"publishing goes on", "ahead", ahead)
		} else {
			problem = fmt.Sprintf("clock: the checkpoint's file lies %v in the future, so nothing is published until then: "+
				"set the time of %s to the present (touch): %v", ahead, path, err)
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
func (l *Log) dropCheckpoint() error {
	path := filepath.Join(l.cfg.TreeDir, layout.CheckpointPath)
	raw, err := durable.Read(path, client.MaxCheckpointSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil && !errors.Is(err, durable.ErrTooLarge) {
		return err
	}
	state, stateErr := readTreeState(l.cfg.TreeDir)
	if stateErr != nil {
		return stateErr
	}
	if err == nil {
		c, checkErr := l.ownCheckpoint(raw)
		if checkErr == nil {
			if uint64(c.Size) > state.Size {
				return fmt.Errorf("%w: %s is of %d entries and signed by this log, but the tree has %d: put the newer tree back; "+
					"if it is lost, start a new log under a new origin", ErrRollback, path, c.Size, state.Size)
			}
			return nil
		}
		err = checkErr
	}
	l.log.Warn("the checkpoint's file is none of this log; it is removed, and another is published",
		"file", path, "err", err)
	return os.Remove(path)
}
