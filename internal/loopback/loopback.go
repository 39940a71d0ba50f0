// Package loopback runs a whole log in this process: the log server, witnesses, and
// their keys and policy, each with its own port of the loopback interface. It is for
// the demonstration, for measurements, and for tests of those who rely on a log.
package loopback

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"

	"cratelog/client"
	"cratelog/config"
	"cratelog/log"
	"cratelog/proofcheck"
	"cratelog/witness"
)

// Config says what to run. Origin is required.
type Config struct {
	Origin     string               // of the log
	Dir        string               // for all files; must exist
	Witnesses  int                  // zero: 3, of which 2 make the quorum
	Limits     log.Limits           // zero: the log's defaults
	Timing     log.Timing           // zero: the log's defaults, but a checkpoint every 200 ms
	Extra      []proofcheck.Program // programs beside those that ship
	Programs   []proofcheck.Program // if any, the only ones, and the log is no development log
	KeysDir    string               // of proving keys that the log serves; "": none
	Openings   string               // whose are kept, as for the log
	Builds     log.Builds           // build claims that the log takes; zero: none
	Registries []log.Registry       // that the log asks; none: anybody may take a name
	Logger     *slog.Logger         // of the log; nil: nothing is said
}

// World is a running log with its witnesses. Without Config.Programs it accepts the
// programs that ship with cratelog, development keys included.
type World struct {
	Log       *log.Log
	URL       string      // of the log
	Signer    note.Signer // the log's key: a test may play a dishonest log with it
	VKey      string
	Policy    *client.Policy
	Text      []byte // of the policy
	File      string // that holds Text: trust.policy
	Proofs    *proofcheck.Verifier
	Witnesses []Witness

	closers []func() error
}

// Witness is a running witness.
type Witness struct{ Name, URL, VKey string }

// Quiet keeps Tessera's own messages back; the log says what matters.
var Quiet = sync.OnceFunc(func() { klog.SetSlogLogger(slog.New(slog.DiscardHandler)) })

// Start starts everything. If it fails, nothing is left running.
func Start(ctx context.Context, cfg Config) (w *World, err error) {
	Quiet()
	w = &World{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	programs := cfg.Programs
	if len(programs) == 0 {
		if programs, err = proofcheck.Embedded(); err != nil {
			return w, err
		}
	}
	if w.Proofs, err = proofcheck.New(append(slices.Clone(programs), cfg.Extra...)); err != nil {
		return w, err
	}
	key := filepath.Join(cfg.Dir, "log.pem")
	if err := config.GenerateKey(key); err != nil {
		return w, err
	}
	if w.Signer, w.VKey, err = config.LogSigner(key, cfg.Origin); err != nil {
		return w, err
	}
	// The policy holds the log's address, so that it must be known first.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return w, err
	}
	w.URL = "http://" + listener.Addr().String()
	if err = w.startWitnesses(ctx, cfg); err == nil {
		err = w.startLog(ctx, cfg)
	}
	if err != nil {
		return w, errors.Join(err, listener.Close())
	}
	w.serveOn(listener, w.Log.Handler())
	return w, nil
}

// startWitnesses starts them and writes the policy: more than half make the quorum.
func (w *World) startWitnesses(ctx context.Context, cfg Config) error {
	n := cmp.Or(cfg.Witnesses, 3)
	text := fmt.Sprintf("# Believe this log if %d of its %d witnesses have cosigned.\nlog %s %s\n", n/2+1, n, w.VKey, w.URL)
	members := ""
	for i := range n {
		name := fmt.Sprintf("w%d", i+1)
		line, err := w.startWitness(ctx, cfg, name)
		if err != nil {
			return err
		}
		text, members = text+line, members+" "+name
	}
	text += fmt.Sprintf("group all-witnesses %d%s\nquorum all-witnesses\n", n/2+1, members)
	w.Text = []byte(text)
	w.File = filepath.Join(cfg.Dir, "trust.policy")
	var err error
	if w.Policy, err = client.ParsePolicy(w.Text); err != nil {
		return err
	}
	return os.WriteFile(w.File, w.Text, 0o644)
}

// startWitness starts a witness and returns its line of the policy.
func (w *World) startWitness(ctx context.Context, cfg Config, name string) (string, error) {
	key := filepath.Join(cfg.Dir, name+".pem")
	if err := config.GenerateKey(key); err != nil {
		return "", err
	}
	signer, err := config.ReadKey(key)
	if err != nil {
		return "", err
	}
	full := name + ".witness.example"
	wit, err := witness.Open(ctx, witness.Config{
		Name: full, Signers: []crypto.Signer{signer},
		Logs:   []witness.Log{{Origin: cfg.Origin, VKey: w.VKey}},
		DBPath: filepath.Join(cfg.Dir, name+".db"), Create: true,
	})
	if err != nil {
		return "", err
	}
	w.closers = append(w.closers, wit.Close)
	url, err := w.Serve(wit.Handler())
	if err != nil {
		return "", err
	}
	w.Witnesses = append(w.Witnesses, Witness{full, url, wit.VKeys()[0]})
	return fmt.Sprintf("witness %s %s %s\n", name, wit.VKeys()[0], url), nil
}

func (w *World) startLog(ctx context.Context, cfg Config) (err error) {
	interval := &cfg.Timing.CheckpointInterval.Duration
	*interval = cmp.Or(*interval, 200*time.Millisecond)
	w.Log, err = log.Open(ctx, log.Config{
		Origin: cfg.Origin, Signer: w.Signer, VKey: w.VKey,
		TreeDir: filepath.Join(cfg.Dir, "log-tree"), StateDir: filepath.Join(cfg.Dir, "log-state"),
		Policy: w.Text, Proofs: w.Proofs, Development: len(cfg.Programs) == 0,
		Timing: cfg.Timing, Limits: cfg.Limits, Logger: cfg.Logger, KeysDir: cfg.KeysDir, Openings: cfg.Openings,
		Builds: cfg.Builds, Registries: cfg.Registries,
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, func() error {
		deadline, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		return w.Log.Close(deadline)
	})
	return nil
}

// Serve serves a handler on a free port of loopback, until Close.
func (w *World) Serve(h http.Handler) (url string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	w.serveOn(listener, h)
	return "http://" + listener.Addr().String(), nil
}

func (w *World) serveOn(listener net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(listener) // it ends with Close
	}()
	w.closers = append(w.closers, func() error {
		err := s.Close()
		<-done
		return err
	})
}

// Close stops everything, last started first.
func (w *World) Close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	w.closers = nil
	return errors.Join(errs...)
}
