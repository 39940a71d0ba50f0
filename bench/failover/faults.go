package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"cratelog/internal/logsite"
)

// past is longer than a lease.
const past = lease + addDeadline

// away is how long the store is not there.
const away = 5 * time.Second

// kind is a kind of fault. happen makes one, and returns when all of it is over, and what it hit.
type kind struct {
	name   string
	happen func(ctx context.Context, c *logsite.Cluster, round int) (hit string, err error)
}

var kinds = []kind{
	{"kill", ofSequencer(func(ctx context.Context, _ *logsite.Cluster, n *logsite.Node) error { return n.Kill() })},
	{"pause", ofSequencer(func(ctx context.Context, _ *logsite.Cluster, n *logsite.Node) error {
		if err := n.Pause(); err != nil {
			return err
		}
		return errors.Join(sleep(ctx, past), n.Continue())
	})},
	{"cut", ofSequencer(func(ctx context.Context, _ *logsite.Cluster, n *logsite.Node) error {
		n.Isolate()
		defer n.Heal()
		return sleep(ctx, past)
	})},
	{"database", killDatabase},
	{"store", loseStore},
	{"wedge", ofSequencer(wedge)},
}

func names() (all []string) {
	for _, k := range kinds {
		all = append(all, k.name)
	}
	return all
}

func choose(list string) (chosen []kind, err error) {
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no kind of fault %q: there are %s", name, strings.Join(names(), ", "))
		}
		chosen = append(chosen, kinds[i])
	}
	return chosen, nil
}

// ofSequencer is a fault of the node that is the sequencer.
func ofSequencer(fault func(context.Context, *logsite.Cluster, *logsite.Node) error) func(context.Context,
	*logsite.Cluster, int) (string, error) {
	return func(ctx context.Context, c *logsite.Cluster, _ int) (string, error) {
		var n *logsite.Node
		err := errors.New("there is no sequencer")
		for try := 0; err != nil && try < 100; try++ { // one may be about to be it
			if n, err = c.Sequencer(ctx); err != nil {
				err = errors.Join(err, sleep(ctx, 300*time.Millisecond))
			}
		}
		if err != nil {
			return "", err
		}
		return n.Name, fault(ctx, c, n)
	}
}

// killDatabase kills one of the two, and starts it again.
func killDatabase(ctx context.Context, c *logsite.Cluster, round int) (string, error) {
	d, name := c.Database, "the database"
	if round%2 == 1 {
		d, name = c.Memory, "the memory"
	}
	if err := d.Kill(); err != nil {
		return name, err
	}
	return name, d.Start(ctx)
}

// loseStore takes the store away for a while: by turns it is not there, which a program is when it is killed, and does
// not answer.
func loseStore(ctx context.Context, c *logsite.Cluster, round int) (string, error) {
	if round%2 == 1 {
		for _, n := range c.Nodes {
			n.Store.Blackhole()
			defer n.Store.Heal()
		}
		return "it does not answer", sleep(ctx, away)
	}
	if err := c.Store.Kill(); err != nil {
		return "", err
	}
	return "it is not there", errors.Join(sleep(ctx, away), c.Store.Restart(ctx))
}

// wedge has the store refuse the tiles of the sequencer, until its process has ended for it. All else it
// does for it, so that the sequencer finds that both answer, and yet nothing gets into the tree.
func wedge(ctx context.Context, c *logsite.Cluster, n *logsite.Node) error {
	before := n.Ends()
	n.Gate.Refuse(func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/tile/")
	})
	defer n.Gate.Refuse(nil)
	for range 10 * 60 {
		if n.Ends() > before {
			return nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s has not ended a minute after the store began to refuse its tiles", n.Name)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
