// Command door measures what a log's honest clients notice of attacks on it: one submission a second, from ten
// addresses in turn, beside each attack. logd and the witnesses are the real programs, with the settings that
// ship, each in a process of its own; so is the attacker, who sends as fast as he is answered.
//
// For each attack it prints how many honest submissions were refused, their 99th percentile of the time to the
// bundle, and how many requests the attacker made; and, beside these, what it is without an attack. Two bursts
// of honest submissions at once are printed too: from one address, and each from an address of its own.
package main

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cratelog/internal/logsite"
)

// options of a run.
type options struct {
	run     *regexp.Regexp
	seconds int
	burst   int
	size    int
}

func main() {
	expr := flag.String("run", ".", "run what matches this `REGEX`: idle, burst_one, burst_many, and attacks by name")
	var o options
	flag.IntVar(&o.seconds, "seconds", 60, "seconds of each attack, and honest submissions beside it")
	flag.IntVar(&o.burst, "burst", 1000, "submissions of a burst")
	flag.IntVar(&o.size, "bytes", 100_000, "about the size of a .crate")
	name := flag.String("attack", "", "be the attacker, until standard input ends (for this program itself)")
	url := flag.String("url", "", "of the log that is attacked")
	corpus := flag.String("corpus", "", "`FILE` with what the attacker sends")
	flag.Parse()
	var err error
	switch {
	case *name != "":
		err = attack(*name, *url, *corpus)
	default:
		if o.run, err = regexp.Compile(*expr); err == nil {
			err = run(o)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/door:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "cratelog-door-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "bin")
	if err := errors.Join(os.Mkdir(bin, 0o755), logsite.Build(ctx, bin)); err != nil {
		return err
	}
	idle, worst := math.NaN(), math.Inf(-1)
	chosen := slices.DeleteFunc(slices.Clone(attacks[1:]), func(a attacker) bool { return !o.run.MatchString(a.name) })
	if len(chosen) > 0 || o.run.MatchString(attacks[0].name) {
		chosen = append(attacks[:1:1], chosen...) // what attacks are compared with
	}
	for _, a := range chosen {
		p99, err := measure(ctx, o, a, bin, filepath.Join(dir, a.name))
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		if a.name == "idle" {
			idle = p99
			continue
		}
		worst = max(worst, p99-idle)
	}
	if len(chosen) > 1 {
		fmt.Printf("door_worst_over_idle %.2f s\n", worst)
	}
	for _, b := range []struct {
		name string
		many bool
	}{{"burst_one", false}, {"burst_many", true}} {
		if !o.run.MatchString(b.name) {
			continue
		}
		if err := burst(ctx, o, b.name, b.many, bin, filepath.Join(dir, b.name)); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}

// measure runs one attack on a log of its own.
func measure(ctx context.Context, o options, a attacker, bin, dir string) (p99 float64, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	honest, err := logsite.Make("honest", o.seconds, o.size)
	if err != nil {
		return 0, err
	}
	s, err := logsite.Start(ctx, bin, dir, "", a.files)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	count, stop, err := startAttacker(a, s.URL, dir)
	if err != nil {
		return 0, err
	}
	time.Sleep(2 * time.Second) // until it is at full strength
	took := make([]float64, o.seconds)
	var refused atomic.Int64
	var g sync.WaitGroup
	for i := range honest {
		g.Go(func() {
			at := time.Duration(i)*time.Second + time.Duration(i*618%1000)*time.Millisecond // not in step with checkpoints
			select {
			case <-time.After(at):
			case <-ctx.Done():
				return
			}
			c := logsite.Client(fmt.Sprintf("127.0.1.%d", 1+i%10), 1)
			defer c.CloseIdleConnections()
			begin := time.Now()
			status, body, err := logsite.Submit(c, s.URL, honest[i])
			took[i] = time.Since(begin).Seconds()
			if err != nil || status != 200 {
				refused.Add(1)
				fmt.Fprintf(os.Stderr, "%s: submission %d after %.1f s: %d %v %.200s\n", a.name, i, took[i], status, err, body)
			}
		})
	}
	g.Wait()
	alive := s.Alive()
	requests := stop()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if count && requests == 0 {
		return 0, errors.New("the attacker made no request")
	}
	slices.Sort(took)
	p99 = took[int(math.Ceil(0.99*float64(len(took))))-1]
	fmt.Printf("door_%s_refused %d of_%d\n", a.name, refused.Load(), o.seconds)
	if a.name != "idle" {
		fmt.Printf("attacker_requests %d\n", requests)
	}
	fmt.Printf("door_%s_p50 %.2f s\n", a.name, took[len(took)/2])
	fmt.Printf("door_%s_p99 %.2f s\n", a.name, p99)
	if !alive {
		return 0, errors.New("logd is gone")
	}
	return p99, nil
}

// startAttacker starts the attack in a process of its own. stop ends it, and returns how many requests it made.
func startAttacker(a attacker, url, dir string) (counts bool, stop func() int, err error) {
	if a.do == nil {
		return false, func() int { return 0 }, nil
	}
	file := filepath.Join(dir, "corpus")
	if err := writeCorpus(file, a); err != nil {
		return false, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return false, nil, err
	}
	cmd := exec.Command(self, "-attack", a.name, "-url", url, "-corpus", file)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return false, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, nil, err
	}
	if err := cmd.Start(); err != nil {
		return false, nil, err
	}
	return true, func() int {
		in.Close()
		line, _ := bufio.NewReader(out).ReadString('\n')
		cmd.Process.Kill() // what it still waits for does not matter
		cmd.Wait()
		n, _ := strconv.Atoi(strings.TrimSpace(line))
		return n
	}, nil
}

func writeCorpus(file string, a attacker) error {
	var subs []logsite.Submission
	if a.corpus != nil {
		var err error
		if subs, err = a.corpus(); err != nil {
			return err
		}
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(gob.NewEncoder(f).Encode(subs), f.Close())
}

// attack is the other process.
func attack(name, url, file string) error {
	i := slices.IndexFunc(attacks, func(a attacker) bool { return a.name == name && a.do != nil })
	if i < 0 {
		return fmt.Errorf("there is no attack %q", name)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var subs []logsite.Submission
	if err := gob.NewDecoder(f).Decode(&subs); err != nil {
		return err
	}
	a := attacks[i]
	var requests atomic.Int64
	for n := range a.n {
		from := "127.0.0.66"
		if a.spread {
			from = fmt.Sprintf("127.0.%d.%d", 2+n/250, 1+n%250)
		}
		go func() {
			for k := 0; ; k++ {
				a.do(work{url: url, from: from, n: n, k: k, subs: subs, requests: &requests})
			}
		}()
	}
	io.Copy(io.Discard, os.Stdin)
	fmt.Println(requests.Load())
	return nil
}

// burst submits many at once.
func burst(ctx context.Context, o options, name string, many bool, bin, dir string) (err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	subs, err := logsite.Make("burst", o.burst, o.size)
	if err != nil {
		return err
	}
	s, err := logsite.Start(ctx, bin, dir, "", 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var refused atomic.Int64
	var g sync.WaitGroup
	begin := time.Now()
	for i, sub := range subs {
		g.Go(func() {
			from := "127.0.1.1"
			if many {
				from = fmt.Sprintf("127.0.%d.%d", 2+i/250, 1+i%250)
			}
			c := logsite.Client(from, 1)
			defer c.CloseIdleConnections()
			if status, body, err := logsite.Submit(c, s.URL, sub); err != nil || status != 200 {
				refused.Add(1)
				fmt.Fprintf(os.Stderr, "%s: submission %d: %d %v %.200s\n", name, i, status, err, body)
			}
		})
	}
	g.Wait()
	fmt.Printf("door_%s_refused %d of_%d\n", name, refused.Load(), len(subs))
	fmt.Printf("door_%s_seconds %.1f s\n", name, time.Since(begin).Seconds())
	return nil
}
