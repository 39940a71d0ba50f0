package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/term"

	"cratelog/circuit"
	"cratelog/circuit/ceremony"
	"cratelog/internal/daemon"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
)

const usage = `ceremony makes the keys of a program (docs/ceremony.md): with many people, or alone.

	ceremony solo NAME [-claim source|build] [-blocks N] [-out PROGRAM.json] [-pk FILE]
	                                          make keys alone, in under a minute, called by NAME:
	                                          whoever runs it could forge; nobody else

	ceremony init [-claim source|build] [-blocks N] [-ptau FILE] DIR
	                                          begin one in a new folder; from a .ptau file, if given
	ceremony contribute DIR                   make the next contribution
	ceremony accept DIR FILE                  verify a contribution made elsewhere, take it in
	ceremony beacon -phase 1|2 -value HEX DIR seal a phase with a public value
	ceremony status DIR                       say what is there, unverified
	ceremony verify [-ptau FILE] DIR          verify everything from the circuit, and that
	                                          phase 1 starts from that .ptau file
	ceremony export DIR -out PROGRAM.json -pk FILE
	                                          verify, then write program and proving key

The circuit is that of source claims, or with -claim build that of build claims by hidden builders.
Without -blocks it is the one that cratelog proves sources with; others serve tests. Without -out
and -pk, solo writes solo.json and solo.pk.

Exit status: 0 all is well; 1 the transcript, a contribution or a beacon is refused;
2 the command line is wrong; 3 it could not be done or checked (not finished, a file
cannot be read or written, interrupted).
`

// program is one run of the command.
type program struct {
	ctx    context.Context
	stdout io.Writer
	stderr io.Writer
}

// run is the whole program: it does what args say until that is done or ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	p := &program{ctx, stdout, stderr}
	commands := map[string]func([]string) error{
		"solo": p.solo, "init": p.init, "contribute": p.contribute, "accept": p.accept, "beacon": p.beacon,
		"status": p.status, "verify": p.verify, "export": p.export,
	}
	verbs := make(map[string]daemon.Verb)
	for name, command := range commands {
		verbs[name] = func(_ context.Context, args []string, _, _ io.Writer) error { return command(args) }
	}
	return daemon.Run(ctx, usage, verbs, args, stdout, stderr)
}

// parse parses flags, which may stand before and after the arguments, of which there
// must be as many as are named.
func parse(fs *flag.FlagSet, args []string, names ...string) ([]string, error) {
	rest, err := daemon.ParseBetween(fs, args)
	if err == nil && len(rest) != len(names) {
		err = outcome.Usagef("%s takes %v, and %d arguments are given", fs.Name(), names, len(rest))
	}
	return rest, err
}

func flags(command string) *flag.FlagSet { return flag.NewFlagSet(command, flag.ContinueOnError) }

// open opens the folder that a command's first argument names, and returns its arguments.
// usable says what else is wrong with the command line; nil is allowed.
func (p *program) open(fs *flag.FlagSet, args []string, usable func() error, names ...string) (*ceremony.Folder,
	[]string, error) {
	args, err := parse(fs, args, names...)
	if err == nil && usable != nil {
		err = usable()
	}
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintln(p.stderr, "compiling the circuit")
	f, err := ceremony.Open(args[0])
	return f, args, err
}

func (p *program) init(args []string) error {
	fs := flags("init")
	of := circuitFlags(fs)
	ptau := fs.String("ptau", "", "`FILE` that phase 1 starts from, a powers-of-tau transcript")
	args, err := parse(fs, args, "DIR")
	if err != nil {
		return err
	}
	c, err := of()
	if err != nil {
		return err
	}
	fmt.Fprintln(p.stderr, "compiling the circuit")
	f, err := ceremony.Init(args[0], c, *ptau)
	if err != nil {
		return err
	}
	e := f.Estimate()
	fmt.Fprintf(p.stdout, "A ceremony for %v begins in %s.\n", c, args[0])
	fmt.Fprintf(p.stdout, "Domain: %d points. Roughly, on two cores, with %d MB of memory:\n", e.Domain,
		e.Memory>>20)
	for i := range e.File {
		fmt.Fprintf(p.stdout, "  phase %d: a contribution is a file of %.1f MB, takes %v to make "+
			"and %v to verify\n",
			i+1, float64(e.File[i])/(1<<20), e.Contribute[i].Round(time.Second), e.Verify[i].Round(time.Second))
	}
	fmt.Fprintf(p.stdout, "  between them: %v\n", e.Start2.Round(time.Second))
	return p.next(f)
}

// circuitFlags are the flags of which circuit the keys are for, and what they say once they are parsed.
func circuitFlags(fs *flag.FlagSet) func() (ceremony.Circuit, error) {
	claim := fs.String("claim", "source", "`KIND` of what is claimed: source or build")
	blocks := fs.Int("blocks", circuit.SegmentBlocks, "`N` SHA-1 blocks in a segment of the circuit")
	return func() (c ceremony.Circuit, err error) {
		asked := false
		fs.Visit(func(f *flag.Flag) { asked = asked || f.Name == "blocks" })
		switch {
		case *claim == "build" && asked:
			return c, outcome.Usagef("-blocks is for -claim source: a set of builders has none")
		case *claim == "build":
			return ceremony.Build(), nil
		case *claim != "source":
			return c, outcome.Usagef("-claim is source or build, not %q", *claim)
		case *blocks < 1 || *blocks > ceremony.MaxBlocks:
			return c, outcome.Usagef("-blocks is 1 to %d, not %d", ceremony.MaxBlocks, *blocks)
		}
		return ceremony.Source(*blocks), nil
	}
}

func (p *program) solo(args []string) error {
	fs := flags("solo")
	of := circuitFlags(fs)
	out := fs.String("out", "solo.json", "`FILE` for the program")
	pk := fs.String("pk", "solo.pk", "`FILE` for the proving key")
	args, err := parse(fs, args, "NAME")
	if err != nil {
		return err
	}
	c, err := of()
	if err != nil {
		return err
	}
	if _, err := proofcheck.SoloOrigin(args[0]); err != nil {
		return outcome.Misuse(err)
	}
	var made proofcheck.Program
	if err := p.write(*out, *pk, func(ctx context.Context, program, key io.Writer, progress ceremony.Progress) (err error) {
		made, err = ceremony.Solo(ctx, args[0], c, program, key, progress)
		return err
	}); err != nil {
		return err
	}
	p.wrote(made, *out, *pk)
	_, err = fmt.Fprintln(p.stdout, "The secrets are gone when this program ends; restart the machine if you want its memory\n"+
		"gone too. Readers who list this program trust you not to have kept them: say so where you\n"+
		"publish it. A log serves the proving key from its directory of keys, under its SHA-256.")
	return err
}

// next says who should do what.
func (p *program) next(f *ceremony.Folder) error {
	s, err := f.Status()
	if err != nil {
		return err
	}
	if s.Phase == 3 {
		_, err = fmt.Fprintln(p.stdout, "Next: both phases are sealed. Publish the folder; anyone runs `ceremony verify`.")
		return err
	}
	fmt.Fprintf(p.stdout, "Next: phase %d has %d contributions. Hand the folder to the next contributor, "+
		"who runs `ceremony contribute`", s.Phase, s.Contributions[s.Phase-1])
	if s.Contributions[s.Phase-1] > 0 {
		fmt.Fprintf(p.stdout, ";\nor, when all have contributed, wait for the beacon that was announced "+
			"and run `ceremony beacon -phase %d`", s.Phase)
	}
	_, err = fmt.Fprintln(p.stdout, ".")
	return err
}

func (p *program) status(args []string) error {
	f, _, err := p.open(flags("status"), args, nil, "DIR")
	if err != nil {
		return err
	}
	return p.next(f)
}

func (p *program) contribute(args []string) error {
	f, args, err := p.open(flags("contribute"), args, nil, "DIR")
	if err != nil {
		return err
	}
	c, err := during(p, f.Contribute)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "Contribution %d to phase %d, SHA-256 %x\n", c.Number, c.Phase, c.SHA256)
	fmt.Fprintf(p.stdout, "Publish this hash under your name, and send %s to the coordinator,\n"+
		"who runs `ceremony accept`. Its secrets are gone when this program ends; restart the\n"+
		"machine if you want its memory gone too.\n", filepath.Join(args[0], c.Name))
	return p.next(f)
}

func (p *program) accept(args []string) error {
	f, args, err := p.open(flags("accept"), args, nil, "DIR", "FILE")
	if err != nil {
		return err
	}
	c, err := during(p, func(ctx context.Context, progress ceremony.Progress) (ceremony.Contribution, error) {
		return f.Accept(ctx, args[1], progress)
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "Accepted as contribution %d to phase %d, SHA-256 %x\n", c.Number, c.Phase, c.SHA256)
	return p.next(f)
}

func (p *program) beacon(args []string) error {
	fs := flags("beacon")
	phase := fs.Int("phase", 0, "`PHASE` to seal: 1 or 2")
	text := fs.String("value", "", "the public value, in `HEX`")
	var value []byte
	f, _, err := p.open(fs, args, func() (err error) {
		if value, err = hex.DecodeString(*text); err != nil || len(value) == 0 {
			return outcome.Usagef("-value is the beacon in hex")
		}
		if *phase != 1 && *phase != 2 {
			return outcome.Usagef("-phase is 1 or 2")
		}
		return nil
	}, "DIR")
	if err != nil {
		return err
	}
	if _, err := during(p, func(ctx context.Context, progress ceremony.Progress) (any, error) {
		return nil, f.Seal(ctx, *phase, value, progress)
	}); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "Phase %d is sealed.\n", *phase)
	return p.next(f)
}

func (p *program) verify(args []string) error {
	fs := flags("verify")
	ptau := fs.String("ptau", "", "`FILE` that phase 1 starts from, a powers-of-tau transcript")
	f, _, err := p.open(fs, args, nil, "DIR")
	if err != nil {
		return err
	}
	if *ptau != "" {
		if _, err := during(p, func(ctx context.Context, progress ceremony.Progress) (any, error) {
			return nil, f.CompareImport(ctx, *ptau, progress)
		}); err != nil {
			return err
		}
		fmt.Fprintln(p.stdout, "Phase 1 starts from that .ptau file.")
	}
	_, err = p.verified(f)
	return err
}

// verified verifies a folder and prints what it yields.
func (p *program) verified(f *ceremony.Folder) (*ceremony.Result, error) {
	r, err := during(p, f.Verify)
	if err != nil {
		return nil, err
	}
	if i := r.Import; i != nil {
		fmt.Fprintf(p.stdout, "phase 1 starts from a .ptau file with the SHA-256 %s,\nBLAKE2b-512 %s,\n"+
			"of power %d, with %d contributions that nothing here verifies; -ptau FILE compares\n",
			i.SHA256, i.BLAKE2b, i.Power, i.Contributions)
	}
	for _, c := range r.Contributions {
		fmt.Fprintf(p.stdout, "phase %d, contribution %d: %x\n", c.Phase, c.Number, c.SHA256)
	}
	fmt.Fprintf(p.stdout, "phase 1, beacon: %x\nphase 2, beacon: %x\n", r.Beacons[0], r.Beacons[1])
	fmt.Fprintf(p.stdout, "transcript: %x\nprogram: %x (%s, %s)\n",
		r.Transcript, r.Program.ID(), r.Program.Claim, r.Program.Parameter())
	fmt.Fprintln(p.stdout, "Everything holds. Compare the beacons with their public source, and "+
		"the contributions\n"+
		"with what the contributors published: keys are solo, whatever the number, if one\n"+
		"operator made them all.")
	return r, nil
}

func (p *program) export(args []string) error {
	fs := flags("export")
	out := fs.String("out", "", "`FILE` for the program")
	pk := fs.String("pk", "", "`FILE` for the proving key")
	f, _, err := p.open(fs, args, func() error {
		if *out == "" || *pk == "" {
			return outcome.Usagef("export needs -out and -pk")
		}
		return nil
	}, "DIR")
	if err != nil {
		return err
	}
	r, err := p.verified(f)
	if err != nil {
		return err
	}
	if err := p.write(*out, *pk, r.Export); err != nil {
		return err
	}
	p.wrote(r.Program, *out, *pk)
	return nil
}

// write has both files made and puts them in their places, whole, or neither; neither may
// exist.
func (p *program) write(out, pk string,
	work func(ctx context.Context, program, key io.Writer, progress ceremony.Progress) error) error {
	for _, path := range []string{out, pk} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w; name another file, or move it away", path, cmp.Or(err, fs.ErrExist))
		}
	}
	program, err := durable.Create(filepath.Dir(out))
	if err != nil {
		return err
	}
	defer program.Discard()
	key, err := durable.Create(filepath.Dir(pk))
	if err != nil {
		return err
	}
	defer key.Discard()
	if _, err := during(p, func(ctx context.Context, progress ceremony.Progress) (any, error) {
		return nil, work(ctx, program, key, progress)
	}); err != nil {
		return err
	}
	if err := key.CommitNew(pk, 0o644); err != nil {
		return err
	}
	if err := program.CommitNew(out, 0o644); err != nil {
		os.Remove(pk)
		return err
	}
	return nil
}

// wrote says what was written.
func (p *program) wrote(made proofcheck.Program, out, pk string) {
	fmt.Fprintf(p.stdout, "%s: the program %x,\n  origin %s\n%s: the proving key, SHA-256 %x "+
		"(the program file says it)\n", out, made.ID(), made.Trust(), pk, made.ProvingKey)
}

// during does work whose steps it prints, and on a terminal how long each has taken.
func during[T any](p *program, work func(context.Context, ceremony.Progress) (T, error)) (T, error) {
	f, ok := p.stderr.(*os.File)
	tty := ok && term.IsTerminal(int(f.Fd()))
	end := func() {}
	defer func() { end() }()
	return work(p.ctx, func(what string, expect time.Duration) {
		end()
		if expect >= 2*time.Second {
			what += fmt.Sprintf(" (about %v)", expect.Round(time.Second))
		}
		fmt.Fprintln(p.stderr, what)
		if !tty {
			return
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { tick(p.stderr, stop) })
		end = sync.OnceFunc(func() {
			close(stop)
			wg.Wait()
		})
	})
}

// tick shows the seconds since it began, on one line, until stop.
func tick(w io.Writer, stop chan struct{}) {
	begin := time.Now()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-stop:
			fmt.Fprint(w, "\r\x1b[K")
			return
		case <-t.C:
			fmt.Fprintf(w, "\r  %d s", int(time.Since(begin).Seconds()))
		}
	}
}
