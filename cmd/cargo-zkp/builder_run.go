package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"cratelog/build"
	"cratelog/build/builder"
	"cratelog/build/membership"
	"cratelog/build/rebuild"
	"cratelog/entry"
	"cratelog/internal/outcome"
)

// runOptions are those of "builder run".
type runOptions struct {
	memberOptions
	rebuild       rebuildOptions
	programs, dir string
	every         time.Duration
	name, contact string
	named         bool
	follow        bool
	from          int64

	// build rebuilds a program; another one is for tests.
	build func(ctx context.Context, sh *shell, p builder.Program) (*rebuild.Report, error)
}

func builderRun(ctx context.Context, sh *shell, args []string) error {
	o := &runOptions{}
	o.build = o.rebuildProgram
	return o.run(ctx, sh, args)
}

func (o *runOptions) run(ctx context.Context, sh *shell, args []string) error {
	flags := newFlags(sh, "builder run", "", "Follow a list of programs: rebuild each, twice, and attest and submit "+
		"what came out, if nobody says\notherwise. What differs, or is denied, is not attested: the file ALERT in its "+
		"directory says why, and\n"+
		"the program is left alone until that is removed. Interrupted, it goes on where it was.\n"+
		"With --name, key and set are made if they are not there: a set of this builder alone.")
	flags.StringVar(&o.key, "key", "", "`FILE` with the builder's key (default: key in --dir)")
	flags.StringVar(&o.set, "set", "", "`FILE` of the set of builders (default: builders.set in --dir)")
	flags.StringVar(&o.memberOptions.program, "build-program", "", "`FILE` of the program for a hidden member's "+
		"proofs, as a ceremony made it")
	flags.StringVar(&o.provingKey, "proving-key", "", "`FILE` of that program's proving key; it is checked against "+
		"the circuit")
	flags.BoolVar(&o.development, "build-development", false, "instead of --build-program and --proving-key: the "+
		"development program, which shows nothing: anyone can forge its proofs")
	flags.StringVar(&o.log, "log", "", "`URL` of the log (required)")
	flags.StringVar(&o.programs, "programs", "", "`FILE` with a NAME@VERSION a line, and the binary's name behind a "+
		"space if there are several (required, or --follow); it is read again in each round")
	flags.BoolVar(&o.follow, "follow", false, "instead of --programs: all crates of which sources are logged from now "+
		"on. Those that have no binary, or are not to be built else, are left alone")
	o.from = -1
	flags.Func("from", "with --follow: begin at this `INDEX` of the log (default: with what is logged from now on)",
		func(text string) (err error) {
			if o.from, err = strconv.ParseInt(text, 10, 64); err != nil || o.from < 0 {
				return errors.New("must be the index of an entry, 0 or more")
			}
			return nil
		})
	flags.StringVar(&o.dir, "dir", "builder", "`DIR` for what is done")
	flags.DurationVar(&o.every, "every", 0, "`TIME` from the end of a round to the next, such as 1h (default: one "+
		"round only)")
	flags.StringVar(&o.name, "name", "", "`NAME` of this builder: make key and set if they are not there")
	flags.StringVar(&o.contact, "contact", "", "with --name: a `TEXT` for the set's file")
	flags.BoolVar(&o.named, "named", false, "with --name: sign with that name (default: hidden)")
	o.rebuild.register(flags)
	if _, err := parseUpTo(0, flags, args, ""); err != nil {
		return err
	}
	switch {
	case o.log == "" || o.programs == "" && !o.follow:
		return outcome.Usagef("run needs --log URL, and --programs FILE or --follow: where to attest, and what")
	case o.programs != "" && o.follow:
		return outcome.Usagef("run takes --programs or --follow, not both")
	case o.from >= 0 && !o.follow:
		return outcome.Usagef("--from says where --follow begins, which is not there")
	}
	if o.rebuild.binary != "" {
		return outcome.Usagef("run takes the names of binaries from --programs, not from --bin")
	}
	if err := o.prepare(sh); err != nil {
		return err
	}
	key, set, err := o.open("run")
	if err != nil {
		return err
	}
	defer key.Close()
	if _, err := key.Find(set); err != nil {
		return outcome.Refuse(err)
	}
	keys, err := o.keys(ctx, sh, set.Kind)
	if err != nil {
		return err
	}
	c, err := o.config(sh, key, set, keys)
	if err != nil {
		return err
	}
	alerts, failed, err := builder.Run(ctx, c)
	switch {
	case ctx.Err() != nil:
		sh.Status("Stopped", "what is not done is gone on with the next time")
		return nil
	case err != nil:
		return err
	case alerts > 0:
		return outcome.Refusef("%d programs are not attested because something differs: see the files ALERT below %s",
			alerts, o.dir)
	case failed > 0:
		return fmt.Errorf("%d programs could not be rebuilt or submitted; run the same command again", failed)
	}
	return nil
}

// prepare makes what is not there of key and set.
func (o *runOptions) prepare(sh *shell) error {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	for _, f := range []struct {
		path *string
		name string
	}{{&o.key, "key"}, {&o.set, "builders.set"}} {
		if *f.path == "" {
			*f.path = filepath.Join(o.dir, f.name)
		}
	}
	if o.name == "" {
		return nil
	}
	if o.contact == "" {
		return outcome.Usagef("--name needs --contact TEXT, which stands in the set's file")
	}
	if err := errors.Join(build.CheckMember(o.name), build.CheckContact(o.contact)); err != nil {
		return outcome.Usagef("%v", err)
	}
	if _, err := os.Stat(o.key); errors.Is(err, fs.ErrNotExist) {
		t := builder.Secret
		if o.named {
			t = builder.Ed25519
		}
		if err := builder.Generate(o.key, t); err != nil {
			return err
		}
		sh.Status("Created", "the key %s (%s) and its journal", o.key, t)
	}
	if _, err := os.Stat(o.set); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := builder.Open(o.key)
	if err != nil {
		return err
	}
	defer key.Close()
	m, err := key.Member(o.name, o.contact)
	if err != nil {
		return err
	}
	s := &build.Set{Kind: key.Kind, Name: o.name, Members: []build.Member{m}}
	if err := writeSet(sh, s, o.set); err != nil {
		return err
	}
	sh.Status("Note", "the log must have %s among the sets of its settings", o.set)
	return nil
}

// config wires the service to the real world.
func (o *runOptions) config(sh *shell, key *builder.Key, set *build.Set, keys *membership.Keys) (builder.Config,
	error) {
	shown, err := o.rebuild.shown(sh, o.log)
	if err != nil {
		return builder.Config{}, err
	}
	log := shown.Log
	c := builder.Config{
		Key: key, Set: set, Keys: keys, Log: shown, Dir: o.dir, Every: o.every,
		Programs: func(context.Context) ([]builder.Program, error) {
			text, err := readFile(o.programs, maxProgramList)
			if err != nil {
				return nil, outcome.Misuse(err)
			}
			all, err := builder.ParsePrograms(text)
			return all, outcome.Misuse(err)
		},
		Rebuild: func(ctx context.Context, p builder.Program, dir string) (*builder.Built, error) {
			r, err := o.build(ctx, sh, p)
			if err != nil {
				return nil, err
			}
			if err := r.Write(filepath.Join(dir, "out")); err != nil {
				return nil, err
			}
			return &builder.Built{Subject: r.Subject, Claim: r.Claim, List: r.List, Same: r.Same,
				Difference: r.Difference}, nil
		},
		Submit: func(ctx context.Context, e *entry.Entry, list []byte) ([]byte, error) {
			bundle, _, err := submitBuild(ctx, log, e, list, nil)
			return bundle, err
		},
		Print: func(verb, sentence string) {
			if verb == "Alert" || verb == "Failed" {
				sh.Warn("%s", sentence)
				return
			}
			sh.Status(verb, "%s", sentence)
		},
	}
	if !o.follow {
		return c, nil
	}
	f, err := o.follower(shown)
	if err == nil {
		c.Programs, c.LeaveRefused = f.Programs, true
	}
	return c, err
}

// follower reads the log.
func (o *runOptions) follower(log *builder.Shown) (*builder.Follower, error) {
	registry, err := o.rebuild.published.subjectRegistry()
	if err != nil {
		return nil, err
	}
	return &builder.Follower{Log: log.Log, Policy: log.Policy, Registry: registry, Dir: o.dir, From: o.from}, nil
}

// rebuildProgram verifies a program and builds it twice.
func (o *runOptions) rebuildProgram(ctx context.Context, sh *shell, p builder.Program) (*rebuild.Report, error) {
	r := o.rebuild
	r.binary = p.Binary
	done, err := r.rebuild(ctx, sh, p.Name+"@"+p.Version)
	if err != nil {
		return nil, err
	}
	return done.report, nil
}
