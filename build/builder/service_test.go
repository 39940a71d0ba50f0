package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/build"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/outcome"
)

// world is a log, and a machine that rebuilds. It objects by itself to what a builder must not do.
type world struct {
	t        *testing.T
	k        *Key
	set      *build.Set
	rows     []client.BuildRow
	programs string
	artifact string // that a rebuild makes
	differs  bool
	down     error // of the log
	lost     bool  // the log takes an entry, and its answer is lost

	rebuilt, submitted int
	said               []string
}

func (w *world) Builds(context.Context, entry.Subject) ([]client.BuildRow, error) {
	return append([]client.BuildRow{}, w.rows...), w.down
}

func (w *world) rebuild(_ context.Context, p Program, dir string) (*Built, error) {
	w.rebuilt++
	if _, err := os.Stat(dir); err != nil {
		w.t.Errorf("%s: %v", p, err)
	}
	a := attestation(w.set, w.artifact)
	b := &Built{Subject: a.Subject, Claim: a.Claim, List: a.List, Same: !w.differs}
	b.Subject.Name, b.Subject.Version = p.Name, p.Version
	if w.differs {
		b.Difference = "section .rodata"
	}
	return b, nil
}

func (w *world) submit(_ context.Context, e *entry.Entry, list []byte) ([]byte, error) {
	w.submitted++
	if w.down != nil {
		return nil, w.down
	}
	if _, err := build.VerifyNamed(e); err != nil {
		w.t.Errorf("a false entry is submitted: %v", err)
	}
	if l, err := build.ParseList(list); err != nil || l.Digest() != e.Claim.(*entry.Build).Compiled {
		w.t.Errorf("another list is submitted: %v", err)
	}
	r := row(w.t, e, uint64(len(w.rows)))
	for _, old := range w.rows {
		if old.Tag == r.Tag && old.Result != r.Result {
			w.t.Error("the builder contradicts himself")
		}
		if old.Tag == r.Tag && old.Root == r.Root {
			return []byte("a bundle"), nil
		}
	}
	w.rows = append(w.rows, r)
	if w.lost {
		w.lost = false
		return nil, errors.New("the answer is lost")
	}
	return []byte("a bundle"), nil
}

func newWorld(t *testing.T) (*world, Config) {
	k := newKey(t, Ed25519)
	w := &world{t: t, k: k, set: setOf(t, k), programs: "hello@0.1.0\n", artifact: "one"}
	return w, Config{Key: k, Set: w.set, Log: w, Rebuild: w.rebuild, Submit: w.submit, Dir: t.TempDir(),
		Programs: func(context.Context) ([]Program, error) { return ParsePrograms([]byte(w.programs)) },
		Print:    func(verb, sentence string) { w.said = append(w.said, verb+" "+sentence) }}
}

// run is one round.
func (w *world) run(c Config, alerts, failed int) {
	w.t.Helper()
	w.said = nil
	a, f, err := Run(w.t.Context(), c)
	if err != nil || a != alerts || f != failed {
		w.t.Errorf("%d alerts and %d failed, %v; want %d and %d\n%s", a, f, err, alerts, failed, strings.Join(w.said, "\n"))
	}
}

func (w *world) counts(rebuilt, logged int) {
	w.t.Helper()
	if w.rebuilt != rebuilt || len(w.rows) != logged {
		w.t.Errorf("%d rebuilds and %d logged, want %d and %d", w.rebuilt, len(w.rows), rebuilt, logged)
	}
}

func TestAServiceAttestsEachProgramOnce(t *testing.T) {
	w, c := newWorld(t)
	w.run(c, 0, 0)
	w.counts(1, 1)
	w.programs += "# more\n\nother@1.0.0 tool # with a name\n"
	w.run(c, 0, 0)
	w.counts(2, 2)
	w.run(c, 0, 0)
	w.counts(2, 2)
}

// TestAServiceGoesOnAfterACrash: at any point, nothing is built or said twice that need not be.
func TestAServiceGoesOnAfterACrash(t *testing.T) {
	w, c := newWorld(t)
	w.down = errors.New("no log")
	w.run(c, 0, 1) // when the log is asked
	w.counts(1, 0)
	w.down, w.lost = nil, true
	w.run(c, 0, 1) // when the answer is to come
	w.counts(2, 1)
	if !strings.Contains(strings.Join(w.said, "\n"), "the answer is lost") {
		t.Errorf("it says %q", w.said)
	}
	w.run(c, 0, 0)
	w.counts(2, 1)

	w, c = newWorld(t)
	w.lost = true
	w.run(c, 0, 1)
	dir := filepath.Join(c.Dir, "hello@0.1.0")
	fatalIf(t, os.Remove(filepath.Join(dir, entryFile))) // as if it crashed before it was written
	w.run(c, 0, 0)
	w.counts(2, 1)
	if !strings.Contains(strings.Join(w.said, "\n"), "has attested this build already: entry 0") {
		t.Errorf("it says %q", w.said)
	}
	w.run(c, 0, 0)
	w.counts(2, 1)
}

func TestWhatDiffersIsNeverAttested(t *testing.T) {
	w, c := newWorld(t)
	w.differs = true
	w.run(c, 1, 0)
	w.counts(1, 0)
	if w.k.Attested() != 0 {
		t.Error("it stands in the journal")
	}
	w.differs = false
	w.run(c, 1, 0) // until somebody has looked
	w.counts(1, 0)
	alert := filepath.Join(c.Dir, "hello@0.1.0", alertFile)
	text, err := os.ReadFile(alert)
	fatalIf(t, err)
	if string(text) != "both builds made another binary: they differ in section .rodata\n" {
		t.Errorf("the alert says %q", text)
	}
	fatalIf(t, os.Remove(alert))
	w.run(c, 0, 0)
	w.counts(2, 1)
}

func TestAServiceDoesNotDissentByItself(t *testing.T) {
	w, c := newWorld(t)
	other := newKey(t, Ed25519)
	w.rows = append(w.rows, row(t, attest(t, other, attestation(setOf(t, other), "two")), 0))
	w.run(c, 1, 0)
	w.counts(1, 1)
	w.run(c, 1, 0)
	w.counts(1, 1)
	w.rows = nil // as if the other had never been
	fatalIf(t, os.Remove(filepath.Join(c.Dir, "hello@0.1.0", alertFile)))
	w.run(c, 0, 0)
}

func TestAServiceStopsAtItsOwnOtherResult(t *testing.T) {
	w, c := newWorld(t)
	attest(t, w.k, attestation(w.set, "two")) // and nothing was logged
	w.run(c, 1, 0)
	w.counts(1, 0)

	w, c = newWorld(t) // what was logged is not in the journal
	a := attestation(w.set, "one")
	request, err := a.Claim.Request(a.Subject)
	fatalIf(t, err)
	w.rows = []client.BuildRow{{Request: request, Result: a.Claim.Result(), Tag: w.k.tag(w.set.Members[0], request)}}
	w.run(c, 1, 0)
	w.counts(1, 1)
}

// TestARefusalForContradictionIsAnAlert: the log is asked in vain if it does not show what it has.
func TestARefusalForContradictionIsAnAlert(t *testing.T) {
	w, c := newWorld(t)
	c.Submit = func(context.Context, *entry.Entry, []byte) ([]byte, error) {
		return nil, fmt.Errorf("submitting: %w", &client.SubmitError{StatusError: client.StatusError{Status: 409}})
	}
	w.run(c, 1, 0)
}

// TestAnotherSetsEntryIsNotSubmitted: the set changed between proof and submission.
func TestAnotherSetsEntryIsNotSubmitted(t *testing.T) {
	w, c := newWorld(t)
	submit := c.Submit
	c.Submit = func(context.Context, *entry.Entry, []byte) ([]byte, error) { return nil, errors.New("no log") }
	w.run(c, 0, 1)
	c.Submit = submit
	c.Set = setOf(t, w.k, newKey(t, Ed25519))
	w.run(c, 0, 0)
	if len(w.rows) != 1 || w.rows[0].Root != c.Set.Root() {
		t.Errorf("logged is %+v", w.rows)
	}
}

// TestWhatIsNotToBeBuiltIsLeftAlone: of a list it is tried again.
func TestWhatIsNotToBeBuiltIsLeftAlone(t *testing.T) {
	w, c := newWorld(t)
	rebuild, refused := c.Rebuild, 0
	c.Rebuild = func(context.Context, Program, string) (*Built, error) {
		refused++
		return nil, outcome.Refusef("it has no Cargo.lock")
	}
	w.run(c, 0, 1)
	c.LeaveRefused = true
	for range 2 {
		w.run(c, 0, 0)
	}
	if refused != 2 {
		t.Errorf("it is tried %d times, want once in a list and once more", refused)
	}
	file := filepath.Join(c.Dir, "hello@0.1.0", refusedFile)
	if text, err := os.ReadFile(file); err != nil || string(text) != "it has no Cargo.lock\n" {
		t.Errorf("%q, %v", text, err)
	}
	fatalIf(t, os.Remove(file))
	c.Rebuild = rebuild
	w.run(c, 0, 0)
	w.counts(1, 1)
}

func FuzzPrograms(f *testing.F) {
	f.Add([]byte("a@1.0.0\n\n# b\nc@1.0.0+x tool # d"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := ParsePrograms(text)
		if err != nil {
			return
		}
		var again []string
		for _, p := range all {
			if strings.ContainsAny(p.dir(), "/\\\x00") || strings.HasPrefix(p.dir(), ".") {
				t.Errorf("%q has the directory %q", p, p.dir())
			}
			again = append(again, p.String())
		}
		back, err := ParsePrograms([]byte(strings.Join(again, "\n")))
		if err != nil || fmt.Sprint(back) != fmt.Sprint(all) {
			t.Errorf("%q is read, and again as %q: %v", all, back, err)
		}
	})
}

func TestAServiceRunsUntilItIsStopped(t *testing.T) {
	w, c := newWorld(t)
	c.Every = time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	rounds := 0
	programs := c.Programs
	c.Programs = func(ctx context.Context) ([]Program, error) {
		if rounds++; rounds == 3 {
			stop()
		}
		return programs(ctx)
	}
	if _, _, err := Run(ctx, c); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if rounds != 3 {
		t.Errorf("%d rounds", rounds)
	}
	w.counts(1, 1)
}

// TestAServiceOutlivesALogThatIsAway: the programs of a log that is followed cannot be read for a round.
func TestAServiceOutlivesALogThatIsAway(t *testing.T) {
	w, c := newWorld(t)
	c.Every = time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	rounds := 0
	programs := c.Programs
	c.Programs = func(ctx context.Context) ([]Program, error) {
		switch rounds++; rounds {
		case 1, 2:
			return nil, errors.New("the log is away")
		case 4:
			stop()
		}
		return programs(ctx)
	}
	if _, _, err := Run(ctx, c); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w.counts(1, 1)
	if !slices.Contains(w.said, "Failed the programs to follow: the log is away") {
		t.Errorf("it says %q", w.said)
	}
	c.Programs = func(context.Context) ([]Program, error) { return nil, outcome.Usagef("a list that is wrong") }
	if _, _, err := Run(t.Context(), c); err == nil {
		t.Error("a list that is wrong does not end it")
	}
}

func TestListsOfProgramsAreReadStrictly(t *testing.T) {
	all, err := ParsePrograms([]byte("a@1.0.0\r\n\n# b@1.0.0\n  c@1.0.0+x   tool\t#d\na@1.0.0 other"))
	fatalIf(t, err)
	if got := fmt.Sprint(all); got != "[a@1.0.0 c@1.0.0+x tool a@1.0.0 other]" {
		t.Errorf("read as %s", got)
	}
	for text, want := range map[string]string{
		"a":                                   "is not \"NAME@VERSION\"",
		"a@":                                  "line 1",
		"a@1":                                 "version",
		"a@1.0.0 b c":                         "is not",
		"a@1.0.0 ../b":                        "name",
		"../a@1.0.0":                          "crate name",
		"a@1.0.0\na@1.0.0\n":                  "line 2: a@1.0.0 is listed twice",
		strings.Repeat("#", maxProgramFile+1): "more than",
	} {
		_, err := ParsePrograms([]byte(text))
		wants(t, fmt.Sprintf("%.20q", text), err, want)
	}
}
