package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cratelog/client"
	"cratelog/internal/forge"
	"cratelog/internal/logsite"
	"cratelog/proofcheck"
)

// TestAReaderOfAnotherProgramGetsTheProofUnderIt: the operator withdraws a program, and the claim
// is proven again. Of one log, the reader of each program gets a bundle that they can believe.
func TestAReaderOfAnotherProgramGetsTheProofUnderIt(t *testing.T) {
	old, err := forge.Invent("old", "solo: old", 41)
	fatalIf(t, err)
	next, err := forge.Invent("next", "solo: next", 41)
	fatalIf(t, err)
	s := newSiteWith(t, func(s *site) string {
		for name, f := range map[string]*forge.Forger{"old.json": old, "next.json": next} {
			text, err := f.Program().Marshal()
			fatalIf(t, err)
			write(t, s.path(name), string(text))
		}
		return "programs = [\"old.json\"]\n"
	})
	raw, e, err := old.Crate("turned", "1.0.0", "// turned\n")
	fatalIf(t, err)
	file := filepath.Join(t.TempDir(), "turned-1.0.0.crate")
	write(t, file, string(raw))
	submit := func(f *forge.Forger) outcome {
		t.Helper()
		list, err := forge.List(raw, e)
		fatalIf(t, err)
		fatalIf(t, f.Prove(e, list))
		b, err := e.Marshal()
		fatalIf(t, err)
		write(t, entryOf(file), string(b))
		return zkp(t, "submit", file, "--log", s.log.url)
	}
	verify := func(where []string, programs ...string) outcome {
		args := append([]string{"verify", file, "--trust", s.policy}, where...)
		for _, p := range programs {
			args = append(args, "--program", s.path(p))
		}
		return zkp(t, args...)
	}
	fromLog := func() []string { return []string{"--log", s.log.url} }
	submit(old).want(t, 0, "entry 0 of the log")
	verify(nil, "old.json").want(t, 0, "solo: old -- whoever ran it could forge")
	verify(nil, "next.json").want(t, 1, "program not accepted")
	verify(fromLog(), "next.json").want(t, 1, "hands out no claim about it that the policy counts")

	id := old.Program().ID()
	settings := string(read(t, s.path("logd.toml")))
	write(t, s.path("logd.toml"), strings.Replace(settings, "programs = [\"old.json\"]\n",
		"programs = [\"old.json\", \"next.json\"]\nwithdrawn = [\""+hexOf(id[:])+"\"]\n", 1))
	s.log.stop()
	s.startLog()
	verify(fromLog(), "old.json").want(t, 0, "entry 0 of")
	verify(fromLog(), "next.json").want(t, 1, "hands out no claim about it that the policy counts")
	submit(next).want(t, 0, "entry 2 of the log")
	verify(nil, "next.json").want(t, 0, "entry 2 of", "solo: next -- whoever ran it could forge")
	verify(nil, "old.json").want(t, 1, "program not accepted")
	verify(fromLog(), "next.json").want(t, 0, "entry 2 of")
	verify(fromLog(), "old.json").want(t, 0, "entry 0 of")
	verify(fromLog(), "old.json", "next.json").want(t, 0, "Finished turned v1.0.0")

	t.Run("nothing more under the old one", func(t *testing.T) {
		raw, e, err := old.Crate("late", "1.0.0", "// late\n")
		fatalIf(t, err)
		late := filepath.Join(t.TempDir(), "late-1.0.0.crate")
		b, err := e.Marshal()
		fatalIf(t, err)
		write(t, late, string(raw))
		write(t, entryOf(late), string(b))
		zkp(t, "submit", late, "--log", s.log.url).want(t, 1, "program-withdrawn")
	})
}

// TestKeysRotateWithoutAGap changes the log's key and a witness's, in the steps of docs/operating.md. Readers
// who know only the old keys, and such who know only the new ones, verify what the log serves all the time:
// none of them ever sees anything that is not believed, though each asks for all witnesses.
func TestKeysRotateWithoutAGap(t *testing.T) {
	r := newRotation(t)
	s := r.site
	r.submits(0)
	old := r.reads("old", r.old)

	r.step("the witnesses know the new log key, and one has a new key of its own")
	for i := range s.witnesses {
		r.witness(i, map[bool]string{true: `"w0.pem", "w0new.pem"`, false: fmt.Sprintf(`"w%d.pem"`, i)}[i == 0], r.logKey, r.newLogKey)
	}
	r.believed(old)

	r.step("the log signs with both keys, and asks the witness for both of his")
	r.log(`"log.pem", "log2.pem"`, "both.policy", "old.policy")
	r.submits(1)
	new := r.reads("new", r.new)
	r.believed(old, new)

	r.step("readers get the new trust file")
	r.log(`"log.pem", "log2.pem"`, "both.policy", "new.policy")
	updated := filepath.Join(t.TempDir(), "trust.policy")
	write(t, updated, string(read(t, r.old)))
	o := zkp(t, "trust", "update", "--trust", updated, s.log.url)
	o.want(t, 2, "number 2 after 1, signed by alice, bob", "nothing is changed")
	if !strings.Contains(o.stdout, "- log "+r.logKey+"\n") || !strings.Contains(o.stdout, "+ log "+r.newLogKey+"\n") {
		t.Errorf("the difference is not shown:\n%s", o.stdout)
	}
	zkp(t, "trust", "update", "--trust", updated, "--yes", s.log.url).want(t, 0, "Updated")
	if string(read(t, updated)) != string(read(t, r.new)) {
		t.Error("the updated trust file is not that of the log")
	}
	for _, trust := range []string{r.old, updated, s.path("both.policy")} {
		zkp(t, "verify", r.crates[0], "--trust", trust, "--log", s.log.url, "--development").want(t, 0, "entry 0 of")
	}
	more := r.reads("updated", updated)
	r.believed(old, new, more)
	old.end()

	r.step("nobody uses the old keys any more")
	r.log(`"log2.pem"`, "last.policy", "new.policy")
	r.witness(0, `"w0new.pem"`, r.newLogKey)
	r.witness(1, `"w1.pem"`, r.newLogKey)
	r.witness(2, `"w2.pem"`, r.newLogKey)
	r.submits(2)
	r.believed(new, more)
	new.end()
	more.end()

	// The test sees what it looks for: now the old file is of no use.
	if _, err := r.verify(r.old); !errors.Is(err, client.ErrLogSignature) {
		t.Errorf("a reader of the old keys, after the end: %v", err)
	}
}

// rotation is a site whose keys change.
type rotation struct {
	*site
	newLogKey string
	old, new  string // trust files of readers
	crates    []string
	proofs    *proofcheck.Verifier
	now       atomic.Value // string: the step
}

func newRotation(t *testing.T) *rotation {
	s := newSite(t)
	r := &rotation{site: s, old: s.path("old.policy"), new: s.path("new.policy")}
	proofs, err := proofcheck.Load(nil, true)
	fatalIf(t, err)
	r.proofs = proofs
	r.step("before")
	for _, name := range fixtures {
		r.crates = append(r.crates, copyFixture(t, name, t.TempDir()))
	}
	r.newLogKey = s.run("logd", "keygen", "-origin", origin, "-out", s.path("log2.pem"))
	newWitness := s.run("witness", "keygen", "-name", witnessName(0), "-out", s.path("w0new.pem"))
	var lines []string // of the witnesses
	for line := range strings.Lines(string(read(t, s.policy))) {
		if strings.HasPrefix(line, "witness ") {
			lines = append(lines, line)
		}
	}
	added := fmt.Sprintf("witness w0new %s %s\n", newWitness, s.witnesses[0].url)
	const all = "quorum all\n"
	plain := "log " + s.logKey + "\n" + strings.Join(lines, "") + "group all all w0 w1 w2\n" + all
	last := "log " + r.newLogKey + "\n" + added + lines[1] + lines[2] + "group all all w0new w1 w2\n" + all
	write(t, s.policy, plain)
	write(t, s.path("last.policy"), last)
	write(t, s.path("both.policy"), "log "+s.logKey+"\nlog "+r.newLogKey+"\n"+strings.Join(lines, "")+added+
		"group w0both all w0 w0new\ngroup all all w0both w1 w2\n"+all)
	alice := s.run("cratelog", "trust", "keygen", "-name", "alice", "-out", s.path("alice.pem"))
	bob := s.run("cratelog", "trust", "keygen", "-name", "bob", "-out", s.path("bob.pem"))
	for n, f := range []struct{ file, text string }{{"old.policy", plain}, {"new.policy", last}} {
		write(t, s.path(f.file), fmt.Sprintf("# cratelog trust/v1 e2e\n# sequence %d\n# threshold 2\n# maintainer %s\n# maintainer %s\n%s",
			n+1, alice, bob, f.text))
		for _, key := range []string{"alice.pem", "bob.pem"} {
			s.run("cratelog", "trust", "sign", s.path(f.file), "-key", s.path(key))
		}
	}
	r.log(`"log.pem"`, "trust.policy", "old.policy")
	return r
}

func (r *rotation) step(what string) {
	r.t.Log("step: " + what)
	r.now.Store(what)
}

// log starts the log again, at its address, with other keys and trust files.
func (r *rotation) log(keys, trust, readers string) {
	r.t.Helper()
	u, err := url.Parse(r.site.log.url)
	fatalIf(r.t, err)
	var text strings.Builder
	for line := range strings.Lines(string(read(r.t, r.path("logd.toml")))) {
		switch key, _, _ := strings.Cut(line, " = "); key {
		case "keys":
			line = fmt.Sprintf("keys = [%s]\n", keys)
		case "trust":
			line = fmt.Sprintf("trust = %q\ntrust_for_readers = %q\n", trust, readers)
		case "trust_for_readers":
			continue
		case "republish_interval":
			line = "republish_interval = \"10m\"\n"
		case "listen":
			line = fmt.Sprintf("listen = %q\n", u.Host)
		}
		text.WriteString(line)
	}
	r.site.log.stop()
	write(r.t, r.path("logd.toml"), text.String())
	r.startLog()
}

// witness starts a witness again, at its address, with other keys, for a log with some keys.
func (r *rotation) witness(i int, keys string, logKeys ...string) {
	r.t.Helper()
	u, err := url.Parse(r.witnesses[i].url)
	fatalIf(r.t, err)
	text := fmt.Sprintf("name = %q\nlisten = %q\ndatabase = \"w%d.db\"\nkeys = [%s]\n", witnessName(i), u.Host, i, keys)
	for _, vkey := range logKeys {
		text += fmt.Sprintf("[[log]]\norigin = %q\nvkey = %q\n", origin, vkey)
	}
	r.witnesses[i].stop()
	write(r.t, r.witnessFile(i), text)
	r.startWitness(i)
}

// submits has a crate logged.
func (r *rotation) submits(n int) {
	r.t.Helper()
	zkp(r.t, "submit", r.crates[n], "--log", r.site.log.url).want(r.t, 0, fmt.Sprintf("entry %d of the log", 2*n)) // a seal behind each
}

// verify fetches the bundle of the first crate, and checks it with a trust file. away: there was none to be had.
func (r *rotation) verify(trust string) (away bool, err error) {
	policy, err := client.ParsePolicy(read(r.t, trust))
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	bundle, err := logsite.Fetch(ctx, r.site.log.url+"/v1/crates/hello-proof/0.1.0")
	if err != nil {
		return true, err
	}
	_, err = client.Verify(read(r.t, r.crates[0]), bundle, policy, r.proofs, client.DefaultRules())
	return false, err
}

// following is a reader who asks again and again.
type following struct {
	verified atomic.Int64
	end      func()
}

func (r *rotation) reads(name, trust string) *following {
	f, stop := &following{}, make(chan struct{})
	var running sync.WaitGroup
	f.end = sync.OnceFunc(func() {
		close(stop)
		running.Wait()
	})
	r.t.Cleanup(f.end)
	running.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			switch away, err := r.verify(trust); {
			case err == nil:
				f.verified.Add(1)
			case !away:
				r.t.Errorf("the reader %s, while %s: %v", name, r.now.Load(), err)
				return
			}
		}
	})
	return f
}

// believed waits until each of some readers has verified again, several times.
func (r *rotation) believed(readers ...*following) {
	r.t.Helper()
	for _, f := range readers {
		want := f.verified.Load() + 5
		r.site.log.eventually(r.t, "a reader who verifies", func() bool { return f.verified.Load() >= want || r.t.Failed() })
	}
}
