package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"

	"cratelog/config"
	"cratelog/evidence"
	"cratelog/internal/daemon"
	"cratelog/internal/outcome"
	"cratelog/witness"
)

const usage = `witness cosigns the checkpoints of transparency logs (c2sp.org/tlog-witness).

	witness keygen -name NAME -out FILE [-type ed25519|ml-dsa-44] [-passphrase-file FILE]
	                                  make a key file and print its vkey
	witness vkey -name NAME -key FILE print the vkey of a key file
	witness vkey -config FILE         print the vkey of each key of the settings
	witness init -config FILE         create the witness's empty database, once
	witness serve -config FILE [-ready-file FILE]
	                                  serve until SIGINT or SIGTERM; SIGHUP reads the logs and
	                                  lists of the settings again
	witness check -config FILE [-json]
	                                  look at all that serve would, and change nothing
	witness evidence -config FILE [-out DIR]
	                                  print what was recorded about the logs, as JSON, also
	                                  while the witness runs,
	                                  and write each fork to a file that anyone can check

Exit status: 0 all is well; 1 evidence found a fork, or a check failed; 2 the command line is wrong;
3 it failed.
`

var keys = daemon.Keys{
	Name: "name",
	Types: map[string]func(string, []byte) error{"ed25519": config.GenerateEncryptedKey,
		"ml-dsa-44": config.GenerateEncryptedMLDSAKey},
	VKey: func(path, name string, passphrase []byte) (string, error) {
		key, err := config.ReadEncryptedKey(path, passphrase)
		if err != nil {
			return "", err
		}
		_, vkey, err := config.NewCosignatureSigner(key, name)
		return vkey, err
	},
	All: func(path string) (vkeys []string, err error) {
		_, cfg, err := loadKeys(path, slog.New(slog.DiscardHandler))
		for _, key := range cfg.Signers {
			_, vkey, err := config.NewCosignatureSigner(key, cfg.Name)
			if err != nil {
				return nil, err
			}
			vkeys = append(vkeys, vkey)
		}
		return vkeys, err
	},
}

var verbs = map[string]daemon.Verb{
	"keygen":   keys.Keygen,
	"vkey":     keys.Show,
	"init":     initialize,
	"serve":    serve,
	"check":    check,
	"evidence": showEvidence,
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return daemon.Run(ctx, usage, verbs, args, stdout, stderr)
}

// open reads a verb's flags and settings, and opens or creates the witness.
func open(ctx context.Context, fs *flag.FlagSet, args []string, stderr io.Writer, how func(*witness.Config),
) (opened, error) {
	file := fs.String("config", "", "settings `FILE`")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return opened{}, err
	}
	o := opened{path: *file}
	var err error
	if o.settings, o.Config, err = loadKeys(o.path, slog.New(slog.NewTextHandler(stderr, nil))); err != nil {
		return o, err
	}
	how(&o.Config)
	o.w, err = witness.Open(ctx, o.Config)
	return o, err
}

// opened is a witness with its settings.
type opened struct {
	path     string // of the settings
	settings settings
	witness.Config
	w *witness.Witness
}

func initialize(ctx context.Context, args []string, _, stderr io.Writer) error {
	o, err := open(ctx, flag.NewFlagSet("init", flag.ContinueOnError), args, stderr,
		func(c *witness.Config) { c.Create = true })
	if err != nil {
		return err
	}
	o.Logger.Info("database created", "path", o.DBPath, "witness", o.Name, "logs", len(o.w.Origins()))
	return o.w.Close()
}

// showEvidence prints one JSON value with what is on record about every log.
func showEvidence(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("evidence", flag.ContinueOnError)
	out := fs.String("out", "", "`DIR` for one evidence file of each fork (docs/evidence.md)")
	o, err := open(ctx, fs, args, stderr, func(c *witness.Config) { c.ReadOnly = true })
	if err != nil {
		return err
	}
	w := o.w
	defer w.Close()
	var all struct {
		Forks    []witness.Fork     `json:"forks"`
		Rejected []witness.Rejected `json:"rejected"`
	}
	all.Forks, all.Rejected = []witness.Fork{}, []witness.Rejected{} // "[]", not "null"
	for _, origin := range w.Origins() {
		forks, err := w.Forks(ctx, origin)
		if err != nil {
			return err
		}
		rejected, err := w.Rejected(ctx, origin)
		if err != nil {
			return err
		}
		all.Forks, all.Rejected = append(all.Forks, forks...), append(all.Rejected, rejected...)
	}
	enc := json.NewEncoder(stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	if err := writeForks(*out, all.Forks, stderr); err != nil {
		return err
	}
	if n := len(all.Forks); n > 0 {
		return outcome.Refusef("there is proof of %d forks; give it to everyone who relies on these logs", n)
	}
	return nil
}

// writeForks writes an evidence file for each fork, the same again for the same fork.
func writeForks(dir string, forks []witness.Fork, stderr io.Writer) error {
	if dir == "" {
		return nil
	}
	for _, f := range forks {
		e, err := evidence.NewFork([]byte(f.A), []byte(f.B), nil,
			evidence.Meta{Observed: f.Seen, Sources: []string{"requests to a witness"}})
		if err != nil {
			return err
		}
		path, err := evidence.Write(dir, e)
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "wrote %s\n", path)
	}
	return nil
}
