package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/config"
	"cratelog/internal/testlog"
	"cratelog/witness"
)

// witnesses are the programs that cosign.
var witnesses = []string{"witness", "litewitness", "omniwitness", "sunlight"}

// A pair is one program of ours with one of others.
type pair struct {
	name  string
	needs []string // programs
	works func(ctx context.Context) error
}

// pairs returns all of them, in the order in which they are shown.
func (w *world) pairs() []pair {
	var all []pair
	for _, k := range []kind{classic, postQuantum} {
		for _, program := range witnesses {
			if program == "litewitness" && k == postQuantum {
				continue // it has no such keys
			}
			all = append(all, pair{fmt.Sprintf("logd -> %s, %s", program, k), []string{program},
				func(context.Context) error { return w.cosigned(program, k) }})
		}
	}
	return append(all,
		pair{"torchwood VerifyProof <- bundle of logd, Ed25519", nil,
			func(context.Context) error { return w.verifyProof(classic) }},
		pair{"torchwood VerifyProof <- bundle of logd, ML-DSA-44", nil,
			func(context.Context) error { return w.verifyProof(postQuantum) }},
		pair{"torchwood client <- entries of logd", nil, w.readAll},
		pair{"Tessera fsck <- logd", []string{"fsck"}, w.fsck},
		pair{"Tessera mirror <- logd", []string{"mirror"}, w.copyLog},
		pair{"Tessera posix-oneshot -> witness", []string{"posix-oneshot"}, w.oneshot},
		pair{"loadtest -> witness", []string{"loadtest"}, w.load},
		pair{"request of ours -> litewitness, extension lines", []string{"litewitness"}, w.extended("litewitness")},
		pair{"request of ours -> omniwitness, extension lines", []string{"omniwitness"}, w.extended("omniwitness")},
		pair{"sign-subtree request of ours -> sunlight", []string{"sunlight"}, w.subtree("sunlight")},
		pair{"sign-subtree, torchwood -> witness", nil, w.subtree("witness")},
		pair{"logd -> sunlight, mirror", []string{"sunlight"}, w.mirrored},
		pair{"litebastion <- witness", []string{"litebastion"}, w.bastion},
	)
}

// cosigned wants the witness's cosignature in what the log published.
func (w *world) cosigned(program string, k kind) error {
	v, err := torchwood.NewCosignatureVerifier(w.cosigners[program].vkey[k])
	if err != nil {
		return err
	}
	n, err := note.Open(w.logs[k].checkpoint, note.VerifierList(v))
	if err != nil {
		return err
	}
	c, err := torchwood.ParseCheckpoint(n.Text)
	if err == nil && c.N != 3 {
		err = fmt.Errorf("the log has %d entries of 3", c.N)
	}
	return err
}

func (w *world) verifyProof(k kind) error {
	l := w.logs[k]
	policy, err := torchwood.ParsePolicy(l.trust)
	if err != nil {
		return err
	}
	entry, err := torchwood.ProofExtraData(l.bundle)
	if err != nil {
		return err
	}
	return torchwood.VerifyProof(policy, tlog.RecordHash(entry), l.bundle)
}

func (w *world) readAll(ctx context.Context) error {
	l := w.logs[classic]
	fetcher, err := torchwood.NewTileFetcher(l.url + "/")
	if err != nil {
		return err
	}
	c, err := torchwood.NewClient(fetcher)
	if err != nil {
		return err
	}
	n, err := note.Open(l.checkpoint, note.VerifierList(must(note.NewVerifier(l.vkey))))
	if err != nil {
		return err
	}
	checkpoint, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil {
		return err
	}
	count := int64(0)
	for range c.AllEntries(ctx, checkpoint.Tree, 0) {
		count++
	}
	if err := c.Err(); err != nil || count != checkpoint.N {
		return fmt.Errorf("%d of %d entries: %w", count, checkpoint.N, err)
	}
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // a key that this program has made
	}
	return v
}

func (w *world) fsck(ctx context.Context) error {
	l := w.logs[classic]
	key := filepath.Join(w.run, "log.vkey")
	if err := os.WriteFile(key, []byte(l.vkey), 0o644); err != nil {
		return err
	}
	out, err := output(ctx, w.run, nil, w.path("fsck"), "--storage_url="+l.url+"/", "--public_key="+key, "--ui=false")
	if err == nil && !strings.Contains(out, "Successfully fsck'd") {
		err = errors.New(lastLine(out))
	}
	return err
}

// copyLog lets Tessera's mirror copy the log. With more workers than entries it does not end.
func (w *world) copyLog(ctx context.Context) error {
	l := w.logs[classic]
	err := run(ctx, w.run, nil, w.path("mirror"), "--num_workers=1", "--source_url="+l.url+"/", "--storage_dir=copy")
	if err != nil {
		return err
	}
	for _, path := range []string{"tile/0/000.p/3", "tile/entries/000.p/3", "checkpoint"} {
		ours, err := get(ctx, l.url+"/"+path)
		if err != nil {
			return err
		}
		if copied, err := os.ReadFile(filepath.Join(w.run, "copy", path)); err != nil || !bytes.Equal(ours, copied) {
			return fmt.Errorf("the copy of %s is another one: %w", path, err)
		}
	}
	return nil
}

// oneshot has a log of Tessera's cosigned by a witness of ours with a key of each kind.
func (w *world) oneshot(ctx context.Context) error {
	secret, vkey, err := note.GenerateKey(nil, "tessera.example/log")
	if err != nil {
		return err
	}
	url, err := w.anotherWitness(ctx, "for-tessera", []string{vkey})
	if err != nil {
		return err
	}
	for _, k := range []kind{classic, postQuantum} {
		dir := "oneshot-" + string(k)
		files := map[string]string{"key": secret, "policy": fmt.Sprintf("log %s\nwitness w %s %s\ngroup g 1 w\nquorum g\n",
			vkey, w.cosigners["witness"].vkey[k], url)}
		for i := range 5 {
			files[fmt.Sprintf("e/%d", i)] = fmt.Sprint("entry ", i)
		}
		if err := writeFiles(filepath.Join(w.run, dir), files); err != nil {
			return err
		}
		if k == postQuantum { // the same log goes on
			dir = "oneshot-" + string(classic)
		}
		storage := "oneshot-storage"
		if err := run(ctx, w.run, nil, w.path("posix-oneshot"), "--storage_dir="+storage, "--private_key="+dir+"/key",
			"--entries="+dir+"/e/*",
			"--witness_policy_file=oneshot-"+string(k)+"/policy", "--witness_timeout=20s"); err != nil {
			return err
		}
		signed, err := os.ReadFile(filepath.Join(w.run, storage, "checkpoint"))
		if err != nil {
			return err
		}
		v, err := torchwood.NewCosignatureVerifier(w.cosigners["witness"].vkey[k])
		if err != nil {
			return err
		}
		if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	return nil
}

// anotherWitness starts a witness with the keys of ours, for other logs.
func (w *world) anotherWitness(ctx context.Context, name string, vkeys []string, more ...string) (url string,
	err error) {
	settings := fmt.Sprintf("name = %q\nlisten = \"127.0.0.1:0\"\ndatabase = %q\nkeys = [\"w-ed.pem\", \"w-pq.pem\"]\n%s",
		w.cosigners["witness"].name, name+".db", strings.Join(more, "\n"))
	for _, vkey := range vkeys {
		settings += fmt.Sprintf("[[log]]\nvkey = %q\n", vkey)
	}
	return w.serveWitness(ctx, name, settings)
}

// load runs the load test of omniwitness's authors: 50 logs.
func (w *world) load(ctx context.Context) error {
	yaml, err := output(ctx, w.run, nil, w.path("loadtest"))
	if err != nil && !strings.Contains(yaml, "PublicKey") {
		return err
	}
	var vkeys []string
	for _, m := range regexp.MustCompile(`PublicKey: "?([^\s"]+)`).FindAllStringSubmatch(yaml, -1) {
		vkeys = append(vkeys, m[1])
	}
	if len(vkeys) == 0 {
		return fmt.Errorf("it names no logs: %.200s", yaml)
	}
	url, err := w.anotherWitness(ctx, "for-loadtest", vkeys)
	if err != nil {
		return err
	}
	out, err := output(ctx, w.run, nil, w.path("loadtest"), "--target="+url, "--start_qps=20", "--success_qps=40")
	if err != nil {
		return err
	}
	metrics, err := get(ctx, url+"/metrics")
	if err != nil {
		return err
	}
	if m := regexp.MustCompile(`(?m)^cratelog_witness_add_checkpoint_total\{code="(4|5)\d\d"\} \d+$`).FindAll(metrics,
		-1); len(m) > 0 {
		return fmt.Errorf("the witness refused requests: %s", bytes.Join(m, []byte(", ")))
	}
	if !regexp.MustCompile(`(?m)^cratelog_witness_add_checkpoint_total\{code="200"\} `).Match(metrics) {
		return errors.New("the witness was asked nothing: " + lastLine(out))
	}
	return nil
}

// extended asks for a cosignature of a checkpoint with extension lines, of a log that this program plays.
func (w *world) extended(program string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		size, err := w.sizeAt(ctx, program)
		if err != nil {
			return err
		}
		head := w.tree.Head(size+1) + "extension\n"
		req := testlog.Request(size, w.tree.Tree.Consistency(size, size+1), string(w.tree.SignText(head)))
		code, lines, err := ask(ctx, http.MethodPost, w.cosigners[program].url+"/add-checkpoint", []byte(req))
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("status %d: %.200s: %w", code, lines, err)
		}
		v, err := torchwood.NewCosignatureVerifier(w.cosigners[program].vkey[classic])
		if err != nil {
			return err
		}
		_, err = note.Open([]byte(head+"\n"+string(lines)), note.VerifierList(v))
		return err
	}
}

// sizeAt returns the size that a witness cosigned last of the log that this program plays.
func (w *world) sizeAt(ctx context.Context, program string) (size int64, err error) {
	url := w.cosigners[program].url + "/add-checkpoint"
	code, text, err := ask(ctx, http.MethodPost, url, []byte(w.tree.Request(0, 1)))
	switch {
	case err != nil:
		return 0, err
	case code == http.StatusOK:
		return 1, nil
	case code != http.StatusConflict:
		return 0, fmt.Errorf("status %d: %.200s", code, text)
	}
	_, err = fmt.Sscanf(string(text), "%d\n", &size)
	return size, err
}

// subtree has entries 8 to 16 of a tree signed, over a checkpoint that the witness cosigned.
func (w *world) subtree(program string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		const start, end, size = 8, 16, 21
		at, err := w.sizeAt(ctx, program)
		if err != nil {
			return err
		}
		url := w.cosigners[program].url
		code, lines, err := ask(ctx, http.MethodPost, url+"/add-checkpoint", []byte(w.tree.Request(at, size)))
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("add-checkpoint: status %d: %.200s: %w", code, lines, err)
		}
		hash, err1 := torchwood.SubtreeHash(start, end, w.tree.Tree)
		proof, err2 := torchwood.ProveSubtree(size, start, end, w.tree.Tree)
		v, err3 := torchwood.NewCosignatureVerifier(w.cosigners[program].vkey[postQuantum])
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		n, err := note.Open([]byte(w.tree.Head(size)+"\n"+string(lines)), note.VerifierList(v))
		if err != nil {
			return err
		}
		c, err := torchwood.ParseCheckpoint(n.Text)
		if err != nil {
			return err
		}
		req := witness.SubtreeRequest{Start: start, End: end, Hash: hash, Proof: proof, Checkpoint: c, Signatures: n.Sigs}
		code, line, err := ask(ctx, http.MethodPost, url+"/sign-subtree", []byte(req.Marshal()))
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("sign-subtree: status %d: %.200s: %w", code, line, err)
		}
		if !v.VerifySubtree(c.Origin, start, end, hash, line) {
			return errors.New("the signature of the subtree does not verify")
		}
		return nil
	}
}

// mirrored waits until sunlight's mirror has all entries of a log, and compares what it would serve.
func (w *world) mirrored(ctx context.Context) error {
	l := w.logs[classic]
	held := fmt.Sprintf("cratelog_mirror_size{mirror=%q} 3\n", mirrorName)
	err := until(ctx, nil, "word of the log that the mirror holds all", func() error {
		metrics, err := get(ctx, l.url+"/metrics")
		if err == nil && !strings.Contains(string(metrics), held) {
			err = errors.New("not yet")
		}
		return err
	})
	if err != nil {
		return err
	}
	dir := filepath.Join(w.run, "sun-public", "mirror", fmt.Sprintf("%x", sha256.Sum256([]byte(l.origin))))
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	for _, vkey := range []string{w.mirrorKey, l.vkey} {
		var v note.Verifier
		if v, err = torchwood.NewCosignatureVerifier(vkey); err != nil {
			v, err = note.NewVerifier(vkey)
		}
		if err != nil {
			return err
		}
		if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
			return fmt.Errorf("the mirror's checkpoint: %w", err)
		}
	}
	tile, err := get(ctx, l.url+"/tile/0/000.p/3")
	if err != nil {
		return err
	}
	if copied, err := os.ReadFile(filepath.Join(dir, "tile/0/000.p/3")); err != nil || !bytes.Equal(tile, copied) {
		return fmt.Errorf("the mirror's tile is another one: %w", err)
	}
	return nil
}

// bastion has a witness of ours asked through litebastion.
func (w *world) bastion(ctx context.Context) error {
	keyFile := filepath.Join(w.run, "bastion-backend.pem")
	if err := config.GenerateKey(keyFile); err != nil {
		return err
	}
	key, err := config.ReadKey(keyFile)
	if err != nil {
		return err
	}
	hash := fmt.Sprintf("%x", sha256.Sum256(key.Public().(ed25519.PublicKey)))
	if err := w.serverCertificate("127.0.0.1"); err != nil {
		return err
	}
	if err := writeFiles(w.run, map[string]string{"backends": hash + "\n"}); err != nil {
		return err
	}
	backends, clients := port(), port()
	p, err := w.start(ctx, nil, "litebastion", "-backends", "backends", "-listen", backends, "-tls-cert", "server.pem",
		"-tls-key", "server.key",
		"-listen-http", clients)
	if err != nil {
		return err
	}
	if err := listens(ctx, p, backends); err != nil {
		return err
	}
	_, err = w.anotherWitness(ctx, "for-bastion", []string{w.tree.VKey}, "[[bastion]]",
		fmt.Sprintf("address = %q\nkey = \"bastion-backend.pem\"\nroots = \"server.pem\"\n", backends))
	if err != nil {
		return err
	}
	v, err := torchwood.NewCosignatureVerifier(w.cosigners["witness"].vkey[classic])
	if err != nil {
		return err
	}
	return until(ctx, p, "cosignature through the bastion", func() error {
		code, lines, err := ask(ctx, http.MethodPost, "http://"+clients+"/"+hash+"/add-checkpoint",
			[]byte(w.tree.Request(0, 5)))
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("status %d: %.200s: %w", code, lines, err)
		}
		_, err = note.Open([]byte(w.tree.Head(5)+"\n"+string(lines)), note.VerifierList(v))
		return err
	})
}
