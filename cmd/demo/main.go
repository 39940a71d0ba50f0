// Command demo shows all of cratelog at work on this machine: it starts a log and
// three witnesses on loopback and a monitor, submits a crate with its proof and its opening,
// verifies it as its user would, and then attacks: every attack must be refused. It uses the
// development key that ships, with which anyone could forge, and does so.
//
// It needs neither options nor a network nor Rust. Its directory is new on every run,
// and stays, so that you can look at what it wrote. With -check it ends after the last
// step and removes the directory; the exit code is 0 only if every step behaved, 1 if
// one did not, 3 if the demonstration could not be set up. With -session it draws docs/session.svg.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"cratelog/internal/loopback"
	"cratelog/internal/outcome"
	"cratelog/internal/version"
)

const origin = "demo.cratelog.example/log"

func main() {
	check := flag.Bool("check", false, "end after the last step; exit 0 only if every step behaved")
	session := flag.String("session", "", "`FILE.svg` to draw some of the steps in, once all behaved")
	which := flag.Bool("version", false, "print the version, and end")
	flag.Parse()
	if *which {
		fmt.Println(version.Line("demo"))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(outcome.Exit("demo", demo(ctx, *check, *session, os.Stdout), os.Stderr))
}

func demo(ctx context.Context, check bool, session string, stdout io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "cratelog-demo-")
	if err != nil {
		return err
	}
	if check {
		defer os.RemoveAll(dir)
	}
	b, err := newBuilders()
	if err != nil {
		return err
	}
	w, err := loopback.Start(ctx, loopback.Config{Origin: origin, Dir: dir, Builds: b.settings()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	m, err := newWatch(ctx, dir, w, b)
	if m != nil {
		defer func() { err = errors.Join(err, m.close()) }()
	}
	if err != nil {
		return err
	}
	var said strings.Builder
	s := &story{ctx: ctx, w: w, m: m, b: b, dir: dir, out: io.MultiWriter(stdout, &said)}
	s.say("cratelog: a log that accepts a crate only with a proof that it is its commit's source.")
	s.say("Everything below runs on this machine, in %s.", dir)
	for _, p := range w.Proofs.Programs() {
		s.say("Proofs are of the program %x, with a key of the origin %s.", p.ID(), p.Trust())
	}
	s.tell()
	if s.failed > 0 {
		return outcome.Refusef("%d of %d steps did not behave", s.failed, s.steps)
	}
	s.say("\nAll %d steps behaved.", s.steps)
	if session != "" {
		if err := drawSession(session, said.String()); err != nil {
			return err
		}
	}
	if check {
		return nil
	}
	s.ending()
	var followed error
	m.running.Go(func() { followed = m.monitor.Run(ctx) })
	<-ctx.Done()
	m.running.Wait()
	return followed
}
