// Command failover measures what a log on several machines does when one of them, a database or the store fails. It
// starts the log as it runs in earnest: three processes of logd, of which two may be the sequencer, two servers of
// MariaDB, a store, and three witnesses, each process with network links of its own. Clients submit all the time,
// at a steady rate, through all front ends, and come again when they are told to or nobody answers. Meanwhile,
// again and again:
//
//	kill      kill -9 of the sequencer
//	pause     the sequencer is stopped as it is, past its lease, and goes on
//	cut       nothing passes between the sequencer and databases, store, witnesses and other processes, past its
//	          lease, and then passes again
//	database  kill -9 of the database, or of the memory, which starts again at once
//	store     the store is not there for 5 seconds, or does not answer; versitygw: kill -9, and it starts again
//	wedge     the store answers the sequencer, but takes none of its tiles, until another process is the sequencer
//
// The outage of a fault is the longest time in which no client gets a bundle, from the fault on until all of it is over,
// every process serves again, and a submission that began after that has a bundle: what the fault itself lasts counts. When all faults are over every submission is brought to its end, and
// then the log is read: failover_lost counts bundles whose entry is not at its place, failover_doubled entries
// that are there twice, and failover_forked checkpoints that a process, the store or a bundle has ever shown, or a
// witness cosigned, of another tree, or without a seal at the end. logd fsck and monitor once must find nothing.
//
// Crates and proofs are made by internal/forge: they take a log as long as any other of one segment.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/internal/clustertest"
	"cratelog/internal/logsite"
)

type options struct {
	kinds  string
	rounds int
	rate   int
	store  string
	quick  bool
	keep   string
}

func main() {
	var o options
	flag.StringVar(&o.kinds, "kinds", strings.Join(names(), ","), "kinds of faults, in their order")
	flag.IntVar(&o.rounds, "rounds", 5, "faults of each kind")
	flag.IntVar(&o.rate, "rate", 60, "submissions a second")
	flag.StringVar(&o.store, "store", "", "`PROGRAM` of the store, versitygw; left out: one in this process")
	flag.BoolVar(&o.quick, "quick", false, "one fault of each kind")
	flag.StringVar(&o.keep, "dir", "", "`DIR` for all files, which are kept; left out: a temporary one")
	flag.Parse()
	if o.quick {
		o.rounds = 1
	}
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "bench/failover:", err)
		os.Exit(1)
	}
}

// What ships: lease and add deadline, and the bound that follows.
const (
	lease       = 10 * time.Second
	addDeadline = 5 * time.Second
	bound       = lease + 2*addDeadline + 10*time.Second
)

func run(ctx context.Context, o options) (err error) {
	kinds, err := choose(o.kinds)
	if err != nil {
		return err
	}
	dir := o.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "cratelog-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	bin := filepath.Join(dir, "bin")
	if err := errors.Join(os.Mkdir(bin, 0o755), logsite.Build(ctx, bin, "monitor")); err != nil {
		return err
	}
	cfg := logsite.ClusterConfig{Nodes: 3, Leads: 2}
	if o.store != "" {
		files := filepath.Join(dir, "store")
		if err := os.Mkdir(files, 0o755); err != nil {
			return err
		}
		if cfg.Store, err = clustertest.StartVersity(ctx, o.store, files); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cfg.Store.Close()) }()
	}
	c, err := logsite.StartCluster(ctx, bin, dir, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()

	l := logsite.StartLoad(ctx, c, o.rate)
	outages, err := faults(ctx, c, l, kinds, o.rounds)
	err = errors.Join(err, l.Finish())
	b, audit := c.Audit(ctx, l.Ledger)
	err = errors.Join(err, audit)
	if b == nil || len(outages) == 0 {
		return err
	}
	fmt.Fprintf(os.Stderr, "the log has %d entries and %d seals; checkpoints of %d sizes were shown\n", b.Entries, b.Seals,
		b.Shown)
	return errors.Join(err, report(b, kinds, outages))
}

// faults makes each kind of fault so many times, in turns, and returns their outages, by kind.
func faults(ctx context.Context, c *logsite.Cluster, l *logsite.Load, kinds []kind, rounds int) (
	outages map[string][]time.Duration, err error) {
	outages = make(map[string][]time.Duration)
	for round := range rounds {
		for _, k := range kinds {
			if err := l.Calm(ctx); err != nil {
				return outages, err
			}
			begin := time.Now()
			said, err := k.happen(ctx, c, round)
			var outage time.Duration
			if err == nil {
				outage, err = l.Outage(ctx, begin)
			}
			if err != nil {
				return outages, fmt.Errorf("%s %d: %w", k.name, round+1, err)
			}
			fmt.Fprintf(os.Stderr, "%s %d (%s): %.1f s without a bundle\n", k.name, round+1, said, outage.Seconds())
			outages[k.name] = append(outages[k.name], outage)
		}
	}
	return outages, nil
}

// report prints the figures.
func report(b *logsite.Balance, kinds []kind, outages map[string][]time.Duration) error {
	var all []time.Duration
	for _, k := range kinds {
		if of := outages[k.name]; len(of) > 0 {
			fmt.Printf("failover_%s_min %.1f s\n", k.name, slices.Min(of).Seconds())
			fmt.Printf("failover_%s_max %.1f s\n", k.name, slices.Max(of).Seconds())
			all = append(all, of...)
		}
	}
	slices.Sort(all)
	worst := all[len(all)-1]
	fmt.Printf("failover_faults %d\n", len(all))
	fmt.Printf("failover_acknowledged %d\n", b.Acknowledged)
	fmt.Printf("failover_lost %d\n", len(b.Lost))
	fmt.Printf("failover_doubled %d\n", len(b.Doubled))
	fmt.Printf("failover_forked %d\n", len(b.Forked))
	fmt.Printf("failover_outage_p50 %.1f s\n", all[len(all)/2].Seconds())
	fmt.Printf("failover_outage_max %.1f s\n", worst.Seconds())
	fmt.Printf("failover_bound %.0f s\n", bound.Seconds())
	if worst > bound {
		return fmt.Errorf("an outage took %v, which is beyond the bound of %v", worst, bound)
	}
	return nil
}
