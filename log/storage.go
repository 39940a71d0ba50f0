package log

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// What a full or read-only disk does: of an entry that did not get into the tree the submitter is told
// so, and nothing is left of it. While the index lacks the row of an entry that did, nothing is accepted,
// because that entry could be added again. Both end by themselves when the disk can be written.

// notAdded is the refusal of an entry of which nothing is in the tree.
func (l *Log) notAdded(err error) error {
	if x := (*Refusal)(nil); errors.As(err, &x) {
		return fmt.Errorf("%w: %w", errNotAdded, err)
	}
	return later(StorageFailed, l.retry, fmt.Errorf("%w: %w", errNotAdded, err),
		"The log cannot write the entry, because its disk is full or fails. Nothing of it was kept: try again later.")
}

// fallBehind stops the door until the index has caught up with the tree.
func (l *Log) fallBehind(err error) error {
	l.mu.Lock()
	if l.behind == nil {
		l.log.Error("the index cannot be brought up to the tree; nothing is accepted until it is", "err", err)
	}
	l.behind = err
	l.mu.Unlock()
	return l.isBehind(err)
}

func (l *Log) isBehind(err error) error {
	return later(StorageFailed, l.retry, err, "The log cannot write, because its disk is full or fails: try again later. "+
		"An entry that it has accepted stays accepted.")
}

// canStore refuses while the tree cannot be written.
func (l *Log) canStore() error {
	if err := l.writable(); err != nil {
		l.treeWritten(err)
		return l.notAdded(err)
	}
	return nil
}

// treeWritten takes note of how the latest entry was added.
func (l *Log) treeWritten(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.unadded == nil {
		l.log.Error("an entry was not added to the tree", "err", err)
	}
	l.unadded = err
	if err != nil {
		l.metrics.addErrors.Inc()
	}
}

// writable returns an error where Tessera could not write: on a disk that was made read-only, and where no more
// files can be opened, at which it would panic. The lock's file does not tell: it may be on no disk (treeLock).
func (l *Log) writable() error {
	dir, err := os.Open(filepath.Join(l.cfg.TreeDir, ".state"))
	if err == nil {
		dir.Close()
		const writeOK = 2
		err = syscall.Access(dir.Name(), writeOK)
	}
	if err != nil {
		return fmt.Errorf("the tree cannot be written: %s: %w", l.cfg.TreeDir, err)
	}
	return nil
}

// tryStorage finds out whether what could not be written can be written again.
func (l *Log) tryStorage(ctx context.Context) {
	l.mu.Lock()
	behind, unadded := l.behind, l.unadded
	l.mu.Unlock()
	if behind != nil {
		err := l.indexUpTo(ctx, 0)
		if errors.Is(err, errContradiction) {
			l.halt.now(err)
		}
		l.mu.Lock()
		l.behind = err
		l.mu.Unlock()
		if err == nil {
			l.log.Info("the index has caught up with the tree; entries are accepted again")
		}
	}
	if unadded != nil {
		if err := l.tryTree(); err == nil {
			l.treeWritten(nil)
			l.log.Info("the tree can be written again")
		}
	}
}

// tryTree writes as much as an entry may take, where the next start would sweep it away.
func (l *Log) tryTree() error {
	if err := l.writable(); err != nil {
		return err
	}
	name := filepath.Join(l.cfg.TreeDir, ".state", "treeState"+strconv.FormatInt(time.Now().UnixNano(), 10))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 256<<10))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(name))
}

// storageProblems are the sentences for /healthz.
func (l *Log) storageProblems() (problems []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.behind != nil {
		problems = append(problems,
			"storage: the index cannot be written, and nothing is accepted until it can: "+l.behind.Error())
	}
	if l.unadded != nil {
		problems = append(problems, "storage: the latest entry could not be written to the tree: "+l.unadded.Error())
	}
	return problems
}
