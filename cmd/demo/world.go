package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"

	"cratelog/client"
	"cratelog/config"
	"cratelog/log"
	"cratelog/proofcheck"
	"cratelog/witness"
)

const origin = "demo.cratelog.example/log"

// world is a log with three witnesses on loopback, and a reader's policy.
type world struct {
	logURL    string
	signer    note.Signer // the log's key: the demonstration plays a dishonest log too
	policy    *client.Policy
	proofs    *proofcheck.Verifier
	witnesses []seat
	closers   []func() error
}

// seat is one running witness.
type seat struct{ name, url string }

func newWorld(ctx context.Context, dir string) (w *world, err error) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // Tessera's; the story is told by others
	w = &world{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.proofs, err = proofcheck.Shipped(true); err != nil {
		return w, err
	}
	key := filepath.Join(dir, "log.pem")
	if err := config.GenerateKey(key); err != nil {
		return w, err
	}
	var vkey string
	if w.signer, vkey, err = config.LogSigner(key, origin); err != nil {
		return w, err
	}
	policy := fmt.Sprintf("# Believe this log if two of its three witnesses have cosigned.\nlog %s\n", vkey)
	for i := range 3 {
		line, err := w.startWitness(ctx, dir, fmt.Sprintf("w%d", i+1), vkey)
		if err != nil {
			return w, err
		}
		policy += line
	}
	policy += "group all-witnesses 2 w1 w2 w3\nquorum all-witnesses\n"
	if err := os.WriteFile(filepath.Join(dir, "policy.txt"), []byte(policy), 0o644); err != nil {
		return w, err
	}
	if w.policy, err = client.ParsePolicy([]byte(policy)); err != nil {
		return w, err
	}
	return w, w.startLog(ctx, dir, vkey, []byte(policy))
}

// startWitness starts a witness and returns its line of the policy.
func (w *world) startWitness(ctx context.Context, dir, name, logKey string) (string, error) {
	key := filepath.Join(dir, name+".pem")
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
		Logs:   []witness.Log{{Origin: origin, VKey: logKey}},
		DBPath: filepath.Join(dir, name+".db"), Create: true,
	})
	if err != nil {
		return "", err
	}
	w.closers = append(w.closers, wit.Close)
	url, err := w.serve(wit.Handler())
	if err != nil {
		return "", err
	}
	w.witnesses = append(w.witnesses, seat{full, url})
	return fmt.Sprintf("witness %s %s %s\n", name, wit.VKeys()[0], url), nil
}

func (w *world) startLog(ctx context.Context, dir, vkey string, policy []byte) error {
	l, err := log.Open(ctx, log.Config{
		Origin: origin, Signer: w.signer, VKey: vkey,
		TreeDir: filepath.Join(dir, "log-tree"), StateDir: filepath.Join(dir, "log-state"),
		Policy: policy, Proofs: w.proofs, Programs: told(w.proofs.Programs()),
		Development: true, CheckpointInterval: 200 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, func() error {
		deadline, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return l.Close(deadline)
	})
	w.logURL, err = w.serve(l.Handler())
	return err
}

// serve serves a handler on a free port of loopback.
func (w *world) serve(h http.Handler) (url string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
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
	return "http://" + listener.Addr().String(), nil
}

// close stops everything, last started first.
func (w *world) close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	w.closers = nil
	return errors.Join(errs...)
}
