package main

import (
	"context"
	"crypto"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"

	"cratelog/config"
	"cratelog/config/signer"
	"cratelog/evidence"
	"cratelog/internal/daemon"
	"cratelog/internal/outcome"
	"cratelog/internal/web"
	"cratelog/witness"
)

const usage = `witness cosigns the checkpoints of transparency logs (c2sp.org/tlog-witness).

	witness keygen -name NAME -out FILE [-type ed25519|ml-dsa-44] [-passphrase-file FILE]
	                                  make a key file and print its vkey
	witness vkey -name NAME -key FILE print the vkey of a key file
	witness vkey -config FILE         print the vkey of each key of the settings
	witness init -config FILE         create the witness's empty database, once
	witness serve -config FILE [-ready-file FILE]
	                                  serve until SIGINT or SIGTERM
	witness evidence -config FILE [-out DIR]
	                                  print what was recorded about the logs, as JSON,
	                                  and write each fork to a file that anyone can check

Exit status: 0 all is well; 1 evidence found a fork; 2 the command line is wrong;
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
		_, cfg, err := load(path, slog.New(slog.DiscardHandler))
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
	"evidence": showEvidence,
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return daemon.Run(ctx, usage, verbs, args, stdout, stderr)
}

// settings is the file that config/witness.example.toml explains.
type settings struct {
	Name     string   `toml:"name"`
	Listen   string   `toml:"listen"`
	Database string   `toml:"database"`
	Keys     []string `toml:"keys"`
	Monitor  string   `toml:"monitor"`
	signer.Settings
	Log []struct {
		Origin string `toml:"origin"`
		VKey   string `toml:"vkey"`
	} `toml:"log"`
}

// load reads the settings file at path and the key files that it names. File
// names in it are relative to the directory of the settings file.
func load(path string, logger *slog.Logger) (settings, witness.Config, error) {
	var s settings
	if err := config.LoadTOML(path, &s); err != nil {
		return s, witness.Config{}, err
	}
	if err := config.Require(path, "witness", map[string]string{
		"name": s.Name, "listen": s.Listen, "database": s.Database,
	}); err != nil {
		return s, witness.Config{}, err
	}
	cfg := witness.Config{Name: s.Name, DBPath: config.Beside(path, s.Database), Logger: logger,
		Monitor: s.Monitor}
	if s.Monitor != "" {
		if err := web.CheckAddress(s.Monitor); err != nil {
			return s, cfg, fmt.Errorf("%s: monitor: %w", path, err)
		}
	}
	if err := config.CheckKeyName(s.Name); err != nil {
		return s, cfg, fmt.Errorf("%s: name: %w", path, err)
	}
	for _, l := range s.Log {
		cfg.Logs = append(cfg.Logs, witness.Log{Origin: l.Origin, VKey: l.VKey})
	}
	var err error
	cfg.Signers, err = readKeys(path, s.Keys, s.Settings)
	return s, cfg, err
}

func readKeys(path string, files []string, elsewhere signer.Settings) ([]crypto.Signer, error) {
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: the setting \"keys\" is missing; make a key with: witness keygen", path)
	}
	var signers []crypto.Signer
	for _, file := range files {
		key, err := signer.Open(path, file, elsewhere)
		if err != nil {
			return nil, fmt.Errorf("%s: keys: %w", path, err)
		}
		signers = append(signers, key)
	}
	return signers, nil
}

// open reads a verb's flags and settings, and opens or creates the witness.
func open(ctx context.Context, fs *flag.FlagSet, args []string, stderr io.Writer, create bool) (settings, witness.Config,
	*witness.Witness, error) {
	file := fs.String("config", "", "settings `FILE`")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return settings{}, witness.Config{}, nil, err
	}
	s, cfg, err := load(*file, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return s, cfg, nil, err
	}
	cfg.Create = create
	w, err := witness.Open(ctx, cfg)
	return s, cfg, w, err
}

func initialize(ctx context.Context, args []string, _, stderr io.Writer) error {
	_, cfg, w, err := open(ctx, flag.NewFlagSet("init", flag.ContinueOnError), args, stderr, true)
	if err != nil {
		return err
	}
	cfg.Logger.Info("database created", "path", cfg.DBPath, "witness", cfg.Name, "logs", len(w.Origins()))
	return w.Close()
}

// showEvidence prints one JSON value with what is on record about every log.
func showEvidence(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("evidence", flag.ContinueOnError)
	out := fs.String("out", "", "`DIR` for one evidence file of each fork (docs/evidence.md)")
	_, _, w, err := open(ctx, fs, args, stderr, false)
	if err != nil {
		return err
	}
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
