package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/config"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/testlog"
	"cratelog/witness"
)

var rounds = flag.Int("rounds", 10, "how often the crash test kills the log and its witnesses; 3 at most with -short")

// serveWitness is a witness that can be killed. Its arguments are name, vkey of the log, directory and
// address; the file url in the directory says where it listens.
func serveWitness(ctx context.Context, args []string) error {
	name, log, dir, address := args[0], args[1], args[2], args[3]
	signer, err := config.ReadKey(filepath.Join(dir, "key.pem"))
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(dir, "witness.db"))
	w, err := witness.Open(ctx, witness.Config{Name: name, Signers: []crypto.Signer{signer}, Logs: []witness.Log{{VKey: log}},
		DBPath: filepath.Join(dir, "witness.db"), Create: errors.Is(err, os.ErrNotExist)})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "url.new"), []byte(w.VKeys()[0]+" http://"+l.Addr().String()), 0o644); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "url.new"), filepath.Join(dir, "url")); err != nil {
		return err
	}
	return http.Serve(l, w.Handler())
}

// mortal is a witness in a process of its own.
type mortal struct {
	s         *site
	name, dir string
	vkey, url string
	cmd       *exec.Cmd
	done      chan error
	killed    int
}

func (s *site) newMortal(name string) *mortal {
	s.t.Helper()
	m := &mortal{s: s, name: name, dir: s.t.TempDir(), url: "http://127.0.0.1:0"}
	fatalIf(s.t, config.GenerateKey(filepath.Join(m.dir, "key.pem")))
	m.start()
	return m
}

// start starts it where it listened before.
func (m *mortal) start() {
	t := m.s.t
	t.Helper()
	for range 50 { // its port may be somebody else's for a moment
		os.Remove(filepath.Join(m.dir, "url"))
		m.cmd = exec.Command(os.Args[0], "witness", m.name, m.s.vkey, m.dir, strings.TrimPrefix(m.url, "http://"))
		m.cmd.Stderr = os.Stderr
		fatalIf(t, m.cmd.Start())
		m.done = make(chan error, 1)
		cmd, done := m.cmd, m.done
		go func() { done <- cmd.Wait() }()
		t.Cleanup(func() { cmd.Process.Kill() })
		for range 3000 {
			if b, err := os.ReadFile(filepath.Join(m.dir, "url")); err == nil {
				m.vkey, m.url, _ = strings.Cut(string(b), " ")
				return
			}
			select {
			case <-done:
			case <-time.After(10 * time.Millisecond):
				continue
			}
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the witness %s does not start", m.name)
}

// kill is kill -9, by the process's own id.
func (m *mortal) kill() {
	m.s.t.Helper()
	fatalIf(m.s.t, m.cmd.Process.Kill())
	<-m.done
	m.killed++
}

// check wants what the witness has cosigned last to be a beginning of the log, and no fork in its memory.
func (m *mortal) check(all [][]byte, sealed map[int64]bool) (forked int) {
	t := m.s.t
	t.Helper()
	of := fmt.Sprintf("%s/%x/", m.url, sha256.Sum256([]byte(origin)))
	resp := testlog.Must(http.Get(of + "checkpoint"))
	signed := testlog.Must(io.ReadAll(resp.Body))
	resp.Body.Close()
	tree := treeOf(t, signed)
	if tree.N > int64(len(all)) || tree.Hash != treeHash(t, all[:tree.N]) {
		t.Errorf("the witness %s has cosigned %d entries of another tree", m.name, tree.N)
		forked++
	}
	if !sealed[tree.N] {
		t.Errorf("the witness %s has cosigned %d entries, which do not end in a seal", m.name, tree.N)
	}
	resp = testlog.Must(http.Get(of + "forks"))
	defer resp.Body.Close()
	var forks []any
	fatalIf(t, json.NewDecoder(resp.Body).Decode(&forks))
	if len(forks) > 0 {
		t.Errorf("the witness %s was shown forks: %v", m.name, forks)
	}
	return forked + len(forks)
}

// sealedSizes replays the map, and returns the sizes of the trees that end in a seal of it, and how many leaves
// are entries.
func sealedSizes(t *testing.T, all [][]byte) (sealed map[int64]bool, entries int) {
	t.Helper()
	var m index.Map
	sealed = map[int64]bool{0: true}
	for i, raw := range all {
		leaf := testlog.Must(entry.ParseLeaf(raw))
		if s, is := leaf.(*entry.Seal); is && s.Size == uint64(i) {
			if s.Rules != entry.Rules || s.Root != m.Snapshot().Root() {
				t.Errorf("the seal at %d is wrong", i)
			}
			sealed[int64(i)+1] = true
		} else if !is {
			entries++
		}
		fatalIf(t, m.AddLeaf(uint64(i), leaf))
	}
	return sealed, entries
}

// treeOf reads a checkpoint, whoever signed it.
func treeOf(t *testing.T, signed []byte) tlog.Tree {
	t.Helper()
	text, _, _ := strings.Cut(string(signed), "\n\n")
	return testlog.Must(tlog.ParseTree([]byte("go.sum database tree\n" + strings.SplitN(text, "\n", 2)[1] + "\n")))
}

func treeHash(t *testing.T, all [][]byte) tlog.Hash {
	t.Helper()
	var hashes []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
		for _, i := range indexes {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	for i, e := range all {
		hashes = append(hashes, testlog.Must(tlog.StoredHashes(int64(i), e, read))...)
	}
	return testlog.Must(tlog.TreeHash(int64(len(all)), read))
}

// newMortalSite is a site whose witnesses can be killed.
func newMortalSite(t *testing.T, settings string) (*site, []*mortal) {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.makeKey()
	var all []*mortal
	policy := ""
	for i := range 3 {
		m := s.newMortal(fmt.Sprintf("witness.test/w%d", i))
		policy += fmt.Sprintf("witness w%d %s %s\n", i, m.vkey, m.url)
		all = append(all, m)
	}
	s.makePolicy(policy)
	s.settings(settings)
	return s, all
}

// TestNothingAcknowledgedIsLostAndNothingIsLoggedTwice kills the server and its witnesses with
// SIGKILL again and again while clients submit, and submit again. go test -run ... -rounds 100 for more.
func TestNothingAcknowledgedIsLostAndNothingIsLoggedTwice(t *testing.T) {
	rounds := *rounds
	if testing.Short() {
		rounds = min(rounds, 3)
	}
	s, witnesses := newMortalSite(t, "checkpoint_interval = \"100ms\"\nbatch_age = \"10ms\"\nscrub_period = \"1s\"\n")
	pool := make([]item, 20*rounds)
	for i := range pool {
		pool[i] = newItem(fmt.Sprintf("c%d", i))
	}
	var mu sync.Mutex
	acknowledged := make(map[string][]byte) // name -> bundle
	var refusals int

	for round := range rounds {
		p := s.start("logd-testproofs")
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for ctx.Err() == nil {
					it := pool[rand.IntN(min(len(pool), 20*(round+1)))] // some are new, some are old
					bundle, err := submit(ctx, p.url, it)
					var refused *client.SubmitError
					if errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable && refused.Reason != "halted" {
						mu.Lock()
						refusals++
						mu.Unlock()
						continue // it asks to come again
					}
					if errors.As(err, &refused) {
						t.Errorf("%s: %v", it.name, err)
					}
					if err != nil {
						return // killed
					}
					mu.Lock()
					acknowledged[it.name] = bundle
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(50+rand.IntN(400)) * time.Millisecond) // any moment will do
		victim := witnesses[rand.IntN(3)]
		victim.kill() // the others are the quorum
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
		if rand.IntN(2) == 0 {
			victim.start() // else it is away while the log starts
		}
		p.kill()
		cancel()
		clients.Wait()
		if victim.dead() {
			victim.start()
		}
	}
	t.Logf("%d of %d acknowledged before the last kill", len(acknowledged), len(pool))

	p := s.start("logd-testproofs")
	early := maps.Clone(acknowledged)
	var clients sync.WaitGroup
	for c := range 16 {
		clients.Go(func() {
			for i := c; i < len(pool); i += 16 {
				bundle, err := submit(t.Context(), p.url, pool[i])
				if err != nil {
					t.Errorf("%s: %v", pool[i].name, err)
					return
				}
				mu.Lock()
				acknowledged[pool[i].name] = bundle
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	all := s.readLog(p.url)
	lost, wrong, doubled, forked, unsealed, killed := 0, 0, 0, 0, 0, 0
	sealed, entries := sealedSizes(t, all)
	if entries != len(pool) {
		t.Errorf("the log has %d entries, want %d", entries, len(pool))
	}
	at := make(map[string]int)
	for i, e := range all {
		if first, twice := at[string(e)]; twice {
			t.Errorf("entry %d is entry %d again", i, first)
			doubled++
		}
		at[string(e)] = i
	}
	for _, it := range pool {
		for when, b := range map[string][]byte{"early": early[it.name], "late": acknowledged[it.name]} {
			if b == nil {
				continue
			}
			if c := testlog.Must(client.ParseBundle(b)).Checkpoint; !sealed[treeOf(t, c).N] {
				t.Errorf("%s: the checkpoint of the bundle (%s) is of a tree without a seal at its end:\n%s", it.name, when, c)
				unsealed++
			}
			got, ok := at[string(it.entry)]
			if !ok {
				lost++
			} else if s.bundleIndex(b, it.entry) != got {
				wrong++
			} else {
				continue
			}
			t.Errorf("%s: acknowledged (%s) at another place than %d", it.name, when, got)
		}
	}
	for _, m := range witnesses {
		forked += m.check(all, sealed)
		killed += m.killed
	}
	p.stop()
	var report bytes.Buffer
	if err := fsck(t.Context(), []string{"-config", filepath.Join(s.dir, "logd.toml")}, &report, io.Discard, testPrograms); err != nil {
		t.Errorf("fsck: %v\n%s", err, &report)
	}
	t.Logf("rounds=%d witnesses_killed=%d acknowledged=%d refused_for_now=%d lost=%d wrong=%d doubled=%d forked=%d "+
		"unsealed=%d of %d sealed; %s", rounds,
		killed, len(early), refusals, lost, wrong, doubled, forked, unsealed, len(sealed)-1, strings.TrimSpace(report.String()))
}

func (m *mortal) dead() bool {
	resp, err := http.Get(m.url + "/healthz")
	if err != nil {
		return true
	}
	resp.Body.Close()
	return false
}
