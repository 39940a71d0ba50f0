package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/api"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/logsite"
)

// item is a crate with its entry.
type item struct {
	name         string
	entry, crate []byte
}

func items(t *testing.T) []item {
	t.Helper()
	var all []item
	for _, name := range fixtures {
		all = append(all, item{name, fixture.Read(t, name+".entry"), fixture.Read(t, name+".crate")})
	}
	return all
}

// TestAKilledLogLosesNothingThatItAcknowledged kills the log at several moments
// while every fixture is being submitted, twice each, and starts it again on the
// same directories.
func TestAKilledLogLosesNothingThatItAcknowledged(t *testing.T) {
	t.Run("with the first answer", func(t *testing.T) { killLog(t, time.Minute) })
	if testing.Short() {
		return
	}
	for _, after := range []time.Duration{time.Millisecond, 30 * time.Millisecond, 80 * time.Millisecond,
		120 * time.Millisecond, 160 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) { killLog(t, after) })
	}
}

func killLog(t *testing.T, after time.Duration) {
	s := newSite(t)
	all, r := items(t), s.reader()
	acknowledged := s.submitUntilKilled(t, all, after)
	t.Logf("%d answers before the log was killed", len(acknowledged))
	s.startLog()
	log := client.Log{URL: s.log.url}
	index := make(map[string]uint64)
	for _, it := range all {
		bundle, err := log.Submit(t.Context(), it.entry, it.crate, nil)
		fatalIf(t, err)
		result, err := r.verify(it.crate, bundle)
		fatalIf(t, err)
		index[it.name] = result.Index
	}
	for _, a := range acknowledged {
		result, err := r.verify(a.crate, a.bundle)
		if err != nil {
			t.Errorf("%s, acknowledged before: %v", a.name, err)
		} else if result.Index != index[a.name] {
			t.Errorf("%s: acknowledged as entry %d before, as %d now", a.name, result.Index, index[a.name])
		}
	}
	s.holdsEachOnce(t, r, all)
}

type answer struct {
	item
	bundle []byte
}

// submitUntilKilled submits each item from two clients, kills the log after some
// time, or when the first answer comes, and returns the answers.
func (s *site) submitUntilKilled(t *testing.T, all []item, after time.Duration) []answer {
	t.Helper()
	log := client.Log{URL: s.log.url}
	answers := make(chan answer, 2*len(all))
	first := make(chan struct{}, 2*len(all))
	var clients sync.WaitGroup
	for _, it := range slices.Concat(all, all) {
		clients.Go(func() {
			if b, err := log.Submit(t.Context(), it.entry, it.crate, nil); err == nil {
				answers <- answer{it, b}
				first <- struct{}{}
			}
		})
	}
	select { // any moment will do: the claim holds for all of them
	case <-first:
	case <-time.After(after):
	}
	s.log.kill()
	clients.Wait()
	close(answers)
	var got []answer
	for a := range answers {
		got = append(got, a)
	}
	return got
}

// holdsEachOnce reads the log's entries as it serves them, in their tile, and
// checks that they are the items, each once.
func (s *site) holdsEachOnce(t *testing.T, r reader, all []item) {
	t.Helper()
	signed, err := (&client.Log{URL: s.log.url}).Checkpoint(t.Context())
	fatalIf(t, err)
	c, err := r.policy.CheckCheckpoint(signed)
	fatalIf(t, err)
	tile, err := logsite.Fetch(t.Context(), fmt.Sprintf("%s/tile/entries/000.p/%d", s.log.url, c.Size))
	fatalIf(t, err)
	var held api.EntryBundle
	fatalIf(t, held.UnmarshalText(tile))
	if n := len(held.Entries); int64(n) != c.Size {
		t.Errorf("the log has %d entries and signed for %d", n, c.Size)
	}
	if _, err := entry.SealOf(c.Size, held.Entries[len(held.Entries)-1]); err != nil {
		t.Errorf("the log signed for %d entries: %v", c.Size, err)
	}
	held.Entries = slices.DeleteFunc(held.Entries, func(b []byte) bool {
		leaf, err := entry.ParseLeaf(b)
		_, seal := leaf.(*entry.Seal)
		return err == nil && seal
	})
	if n := len(held.Entries); n != len(all) {
		t.Errorf("the log has %d entries beside seals, wanted are %d", n, len(all))
	}
	for _, it := range all {
		if !slices.ContainsFunc(held.Entries, func(h []byte) bool { return bytes.Equal(h, it.entry) }) {
			t.Errorf("%s is not in the log", it.name)
		}
	}
}

// TestAKilledWitnessIsNotMissedAndForgetsNothing kills one of three
// witnesses: the other two are the quorum. When it comes back it cosigns again,
// and still refuses to go back to what it had signed before.
func TestAKilledWitnessIsNotMissedAndForgetsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many programs")
	}
	const victim = 2
	s := newSite(t)
	all, r := items(t), s.reader()
	submit := func(it item) client.Checkpoint {
		t.Helper()
		b, err := (&client.Log{URL: s.log.url}).Submit(t.Context(), it.entry, it.crate, nil)
		fatalIf(t, err)
		result, err := r.verify(it.crate, b)
		fatalIf(t, err)
		return result.Checkpoint
	}
	first := submit(all[0])
	s.waitForCosignature(t, r, victim)

	s.witnesses[victim].kill()
	if without := submit(all[1]); cosignedBy(without, victim) || len(without.Cosignatures) != 2 {
		t.Errorf("with one witness killed, cosigned by %v", without.Cosignatures)
	}

	s.restartWitness(victim)
	if c := s.waitForCosignature(t, r, victim); c.Size != 4 {
		t.Errorf("it cosigned %d entries, the log has 4", c.Size)
	}
	submit(all[2])
	if c := s.waitForCosignature(t, r, victim); c.Size != 6 {
		t.Errorf("it cosigned %d entries, the log has 6", c.Size)
	}
	s.witnessRefusesToGoBack(t, victim, first, 6)
	s.witnesses[victim].stop()
	for i := range s.witnesses {
		if o := command(t, "", nil, program(t, "witness"), "evidence", "-config", s.witnessFile(i)); o.code != 0 {
			t.Errorf("witness %d has evidence against an honest log: %v", i, o)
		}
	}
}

func cosignedBy(c client.Checkpoint, witness int) bool {
	return slices.ContainsFunc(c.Cosignatures,
		func(sig client.Cosignature) bool { return sig.KeyName == witnessName(witness) })
}

// waitForCosignature waits until the log publishes a checkpoint that carries a
// witness's line. The log publishes as soon as the quorum has signed, so a third
// witness is not in every checkpoint.
func (s *site) waitForCosignature(t *testing.T, r reader, witness int) client.Checkpoint {
	t.Helper()
	var last client.Checkpoint
	s.log.eventually(t, "cosignature of "+witnessName(witness), func() bool {
		signed, err := (&client.Log{URL: s.log.url}).Checkpoint(t.Context())
		fatalIf(t, err)
		c, err := r.policy.CheckCheckpoint(signed)
		fatalIf(t, err)
		if c.Size < last.Size {
			t.Fatalf("the log went back from %d entries to %d", last.Size, c.Size)
		}
		last = c
		return cosignedBy(c, witness)
	})
	return last
}

// witnessRefusesToGoBack asks a witness to cosign an older checkpoint, truly
// signed by the log, as if nothing had been cosigned before.
func (s *site) witnessRefusesToGoBack(t *testing.T, witness int, old client.Checkpoint, now int64) {
	t.Helper()
	resp, err := http.Post(s.witnesses[witness].url+"/add-checkpoint", "text/plain",
		strings.NewReader("old 0\n\n"+string(old.Signed)))
	fatalIf(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	fatalIf(t, err)
	if resp.StatusCode != http.StatusConflict || string(b) != fmt.Sprintf("%d\n", now) {
		t.Errorf("asked to go back from %d entries to %d the witness answered %s, %q", now, old.Size, resp.Status, b)
	}
}
