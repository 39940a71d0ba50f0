package log

import (
	"context"
	"errors"
	"fmt"
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
func (l *Log) canStore(ctx context.Context) error {
	if l.front() { // that is another's to say
		return nil
	}
	if err := l.tree.Writable(ctx); err != nil {
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

// tendStorage mends once a second what can be mended, until ctx ends. What does not answer holds up nothing else.
func (l *Log) tendStorage(ctx context.Context) {
	for t := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
			l.clock.mend(ctx, l)
			l.publishNewer(ctx)
			l.tryStorage(ctx)
		}
	}
}

// tryStorage finds out whether what could not be written can be written again.
func (l *Log) tryStorage(ctx context.Context) {
	l.mu.Lock()
	behind, unadded := l.behind, l.unadded
	select {
	case <-l.unanswered:
	default:
		behind = nil // it is not known yet what is to be caught up with
	}
	l.mu.Unlock()
	if behind != nil {
		err := l.indexUpTo(ctx, 0)
		if errors.Is(err, errContradiction) || errors.Is(err, ErrRollback) {
			l.halt.now(err)
		}
		l.mu.Lock()
		l.behind = err
		l.mu.Unlock()
		if err == nil {
			l.log.Info("the index has caught up with the tree; entries are accepted again")
			l.wedge(nil)
		}
	}
	if unadded != nil {
		if err := l.tree.Try(ctx); err == nil {
			l.treeWritten(nil)
			l.log.Info("the tree can be written again")
		}
	}
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
